#include "network/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>

#include "images/preprocess.h"
#include "tests/networks.h"

namespace lbrt {
namespace {

// --- Published counts ----------------------------------------------------------------------------

struct PublishedCounts {
  const char* name;
  const char* arguments;
  NetworkCounts counts;  // parameters, quantized weights and layers, float weights, MACs of both
};

const PublishedCounts kPublished[] = {
    // methods.md 1.4
    {"any-precision/resnet20", "", {6786330, 6681600, 18, 69360, 1002700800, 8768640}},
    {"any-precision/resnet20", "widths=4", {6758810, 6681600, 18, 69360, 1002700800, 8768640}},
    {"any-precision/svhn", "", {132954, 129472, 6, 2180, 2316544, 1167680}},
    {"any-precision/svhn", "widths=4", {131930, 129472, 6, 2180, 2316544, 1167680}},
    {"any-precision/resnet50", "", {25769512, 20676608, 48, 4826304, 3609460736, 479723520}},
    {"any-precision/resnet50",
     "widths=4",
     {25557032, 20676608, 48, 4826304, 3609460736, 479723520}},
    // methods.md 2.4
    {"edmips/resnet18", "", {11692456, 11157504, 19, 521408, 1695547392, 118525952}},
    {"edmips/resnet18", "mode=search", {11692589, 11157504, 19, 521408, 1695547392, 118525952}},
    {"edmips/resnet50", "", {25583272, 23445504, 52, 2057408, 3969122304, 120061952}},
    {"edmips/googlenet", "", {7015144, 5956864, 56, 1033408, 1463633920, 119037952}},
    {"edmips/inception-v3", "", {23850952, 21750272, 93, 2048864, 5691986432, 21229664}},
    // methods.md 3.3
    {"mcdonnell/wrn-20-10", "classes=100", {26794920, 26726400, 18, 68320, 4010803200, 8519680}},
    {"mcdonnell/wrn-20-10", "", {26737140, 26726400, 18, 10720, 4010803200, 4833280}},
    {"mcdonnell/wrn-20-4", "", {4280532, 4276224, 18, 4288, 641728512, 1933312}},
    {"mcdonnell/wrn-20-1", "", {268356, 267264, 18, 1072, 40108032, 483328}},
    // methods.md 4.3; the MACs of resnet18a, b and c, given in millions there, by hand
    {"recu/resnet20", "", {270522, 267264, 18, 1072, 40108032, 443008}},
    {"recu/resnet18", "", {11005002, 10985472, 16, 6848, 547356672, 1774592}},
    {"recu/resnet18a", "", {724394, 718848, 16, 2144, 63700992, 886016}},
    {"recu/resnet18b", "", {2756138, 2746368, 16, 3424, 136839168, 887296}},
    {"recu/resnet18c", "", {2886474, 2875392, 16, 4288, 254803968, 1772032}},
    {"recu/vgg-small", "", {4661770, 4571136, 5, 85376, 603979776, 3620864}},
    {"recu/imagenet-resnet18", "", {11694376, 10985472, 16, 693440, 1676279808, 137793536}},
    {"recu/imagenet-resnet34", "", {21806248, 21086208, 32, 693440, 3525967872, 137793536}},
    {"recu/two-stage-resnet18", "", {11708264, 10985472, 16, 693440, 1676279808, 137793536}},
    {"recu/two-stage-resnet34", "", {21834984, 21086208, 32, 693440, 3525967872, 137793536}},
    // methods.md 5.3; MACs in millions there by hand (14155776 more for each block of all stages)
    {"ternary/resnet20", "", {269722, 268336, 20, 0, 40551040, 0}},
    {"ternary/resnet32", "", {464154, 461872, 32, 0, 68862592, 0}},
    {"ternary/resnet44", "", {658586, 655408, 44, 0, 97174144, 0}},
    {"ternary/resnet56", "", {853018, 848944, 56, 0, 125485696, 0}},
    {"ternary/resnet18", "", {11689512, 11157504, 19, 521408, 1695547392, 118525952}},
    {"ternary/resnet18", "first_last=ternary", {11689512, 11678912, 21, 0, 1814073344, 0}},
    {"ternary/resnet18",
     "first_last=ternary t_ex=2",
     {11689512, 11678912, 21, 0, 2 * int64_t{1814073344}, 0}},
    {"ternary/resnet18",
     "first_last=ternary t_ex=4",
     {11689512, 11678912, 21, 0, 4 * int64_t{1814073344}, 0}},
    {"ternary/resnet34", "", {21797672, 21258240, 35, 521408, 3545235456, 118525952}},
    {"ternary/resnet34", "first_last=ternary", {21797672, 21779648, 37, 0, 3663761408, 0}},
    {"ternary/resnet50", "", {25557032, 23445504, 52, 2057408, 3969122304, 120061952}},
    {"ternary/resnet50", "first_last=ternary", {25557032, 25502912, 54, 0, 4089184256, 0}},
    {"ternary/resnet101", "", {44549160, 42385408, 103, 2057408, 7681343488, 120061952}},
    {"ternary/resnet101", "first_last=ternary", {44549160, 44442816, 105, 0, 7801405440, 0}},
    {"ternary/alexnet", "", {62387912, 58236928, 6, 4130848, 1025744896, 109511200}},
    {"ternary/alexnet", "first_last=ternary", {62387912, 62367776, 8, 0, 1135256096, 0}},
};

TEST(NetworkTest, CountsAreThePublishedOnes) {
  for (const PublishedCounts& want : kPublished) {
    SCOPED_TRACE(std::string(want.name) + " " + want.arguments);
    const NetworkCounts got = Count(BuildNetwork(want.name, ParseArguments(want.arguments)));
    EXPECT_EQ(want.counts.parameters, got.parameters);
    EXPECT_EQ(want.counts.quantized_weights, got.quantized_weights);
    EXPECT_EQ(want.counts.quantized_layers, got.quantized_layers);
    EXPECT_EQ(want.counts.float_weights, got.float_weights);
    EXPECT_EQ(want.counts.quantized_macs, got.quantized_macs);
    EXPECT_EQ(want.counts.float_macs, got.float_macs);
  }
}

TEST(NetworkTest, FixedPointIsNoQuantizedLayerOfTheTables) {
  const NetworkCounts want = Count(BuildNetwork("recu/resnet20", {}));
  const NetworkCounts got = Count(BuildNetwork("recu/resnet20", {{"stem", "i8"}, {"head", "i16"}}));
  EXPECT_EQ(want.quantized_layers, got.quantized_layers);
  EXPECT_EQ(want.float_weights, got.float_weights);
}

// --- Published names -----------------------------------------------------------------------------

class PublishedNames : public testing::TestWithParam<std::array<const char*, 3>> {};

TEST_P(PublishedNames, TensorsAreThoseOfThePublishedCodeInItsOrder) {
  const auto [file, network, arguments] = GetParam();
  const std::filesystem::path path = SharedFile(std::string("names/") + file + ".txt");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "the name list " << file << " is not here";
  std::vector<std::string> want, got;
  std::ifstream lines(path);
  for (std::string line; std::getline(lines, line);) want.push_back(line);
  for (const TensorSpec& spec : BuildNetwork(network, ParseArguments(arguments)).tensors)
    got.push_back(spec.name + "\t" + ShapeText(spec.shape) + "\t" + DTypeName(spec.type));
  EXPECT_EQ(want, got);
}

INSTANTIATE_TEST_SUITE_P(
    NetworkTest, PublishedNames,
    testing::Values(
        std::array{"any-precision_resnet20", "any-precision/resnet20", ""},
        std::array{"any-precision_resnet50", "any-precision/resnet50", "widths=1,2,4,8,32"},
        std::array{"any-precision_svhn", "any-precision/svhn", ""},
        std::array{"edmips_googlenet", "edmips/googlenet", ""},
        std::array{"edmips_googlenet.search", "edmips/googlenet", "mode=search"},
        std::array{"edmips_inception-v3", "edmips/inception-v3", ""},
        std::array{"edmips_inception-v3.search", "edmips/inception-v3", "mode=search"},
        std::array{"edmips_resnet18", "edmips/resnet18", ""},
        std::array{"edmips_resnet18.search", "edmips/resnet18", "mode=search"},
        std::array{"edmips_resnet50", "edmips/resnet50", ""},
        std::array{"edmips_resnet50.search", "edmips/resnet50", "mode=search"},
        std::array{"mcdonnell_wrn-20-1.classes10", "mcdonnell/wrn-20-1", "classes=10"},
        std::array{"mcdonnell_wrn-20-10.classes100", "mcdonnell/wrn-20-10", "classes=100"},
        std::array{"recu_imagenet-resnet18", "recu/imagenet-resnet18", ""},
        std::array{"recu_imagenet-resnet34", "recu/imagenet-resnet34", ""},
        std::array{"recu_resnet18.cifar", "recu/resnet18", ""},
        std::array{"recu_resnet18a.cifar", "recu/resnet18a", ""},
        std::array{"recu_resnet18b.cifar", "recu/resnet18b", ""},
        std::array{"recu_resnet18c.cifar", "recu/resnet18c", ""},
        std::array{"recu_resnet20.cifar", "recu/resnet20", ""},
        std::array{"recu_two-stage-resnet18", "recu/two-stage-resnet18", ""},
        std::array{"recu_two-stage-resnet34", "recu/two-stage-resnet34", ""},
        std::array{"recu_vgg-small.cifar", "recu/vgg-small", ""},
        std::array{"ternary_alexnet", "ternary/alexnet", ""},
        std::array{"ternary_resnet101", "ternary/resnet101", ""},
        std::array{"ternary_resnet18", "ternary/resnet18", "first_last=ternary"},
        std::array{"ternary_resnet20", "ternary/resnet20", ""},
        std::array{"ternary_resnet32", "ternary/resnet32", ""},
        std::array{"ternary_resnet34", "ternary/resnet34", ""},
        std::array{"ternary_resnet44", "ternary/resnet44", ""},
        std::array{"ternary_resnet50", "ternary/resnet50", ""},
        std::array{"ternary_resnet56", "ternary/resnet56", ""}));

TEST(NetworkTest, EveryPublishedNameListIsTested) {
  const std::filesystem::path folder = SharedFile("names");
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "the name lists are not here";
  EXPECT_EQ(32, std::distance(std::filesystem::directory_iterator(folder), {}));
}

// --- Every network of the list -------------------------------------------------------------------

TEST(NetworkTest, EveryNetworkIsSoundAndMakesLogitsOfItsClasses) {
  for (const std::string& name : SampleNames()) {
    SCOPED_TRACE(name);
    const Network network = BuildNetwork(name, {{"classes", "7"}});
    ExpectSound(network);
    EXPECT_EQ(7, network.classes());
    EXPECT_EQ(0, network.node(network.output).height);
    EXPECT_EQ("7", network.arguments.at("classes"));
    EXPECT_EQ(name, network.name);
  }
}

TEST(NetworkTest, ANetworkIsBuiltAgainFromTheArgumentsItRecorded) {
  for (const std::string& name : SampleNames()) {
    const Network network = BuildNetwork(name, {});
    EXPECT_EQ(network.arguments, BuildNetwork(name, network.arguments).arguments) << name;
  }
}

TEST(NetworkTest, DefaultsFitTheNetwork) {
  for (const std::string& name : SampleNames())
    for (const char* classes : {"10", "100", "200", "37"}) {
      SCOPED_TRACE(name + " " + classes);
      const Network network = BuildNetwork(name, {{"classes", classes}});
      const NetworkDefaults defaults = DefaultsOf(network);
      EXPECT_EQ(std::stoi(classes),
                std::count(defaults.labels.begin(), defaults.labels.end(), '\n'));
      const Preprocessing preprocessing = FromText(defaults.preprocessing, "defaults");
      EXPECT_EQ(network.nodes[0].height, preprocessing.crop_height);
      EXPECT_EQ(network.nodes[0].width, preprocessing.crop_width);
      EXPECT_GE(preprocessing.resize, preprocessing.crop_height);
      EXPECT_EQ(3u, preprocessing.std.size());
    }
}

// --- Tensors of a checkpoint ---------------------------------------------------------------------

StateDict ZerosOf(const Network& network) {
  StateDict state;
  for (const TensorSpec& spec : network.tensors)
    state[spec.name] = HostTensor::Zeros(spec.type, spec.shape);
  return state;
}

std::string CheckError(const Network& network, const StateDict& state) {
  try {
    CheckTensors(network, state);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(NetworkTest, ACheckpointHasTheTensorsOfItsNetworkAndNoOther) {
  const Network network =
      BuildNetwork("edmips/resnet18", {{"blocks", "1"}, {"channels", "4"}, {"bits", "2/2"}});
  StateDict state = ZerosOf(network);
  EXPECT_EQ("no error", CheckError(network, state));
  state.erase("bn1.num_batches_tracked");
  state.erase("layer1.0.conv1.size_product");
  state["layer1.0.conv2.size_product"] = HostTensor::Zeros(DType::kF64, {1});
  EXPECT_EQ("no error", CheckError(network, state));
  state["bn1.weight"] = HostTensor::Zeros(DType::kF32, {5});
  EXPECT_EQ("tensor bn1.weight: shape 5, expected 4", CheckError(network, state));
  state["bn1.weight"] = HostTensor::Zeros(DType::kF64, {4});
  EXPECT_EQ("tensor bn1.weight: type float64, expected float32", CheckError(network, state));
  state["bn1.weight"] = HostTensor::Zeros(DType::kF32, {4});
  state["bn1.weight"].f32()[3] = std::numeric_limits<float>::infinity();
  EXPECT_EQ("tensor bn1.weight: holds a value that is not finite", CheckError(network, state));
  state["bn1.weight"].f32()[3] = 0;
  state["bn3.weight"] = HostTensor::Zeros(DType::kF32, {4});
  EXPECT_EQ("tensor bn3.weight: is not part of network edmips/resnet18",
            CheckError(network, state));
  state.erase("bn3.weight");
  state.erase("bn1.bias");
  EXPECT_NE("no error", CheckError(network, state));
}

TEST(NetworkTest, AScalarOfACheckpointMayHaveOneElement) {
  const Network network = BuildNetwork("recu/resnet20", {});
  StateDict state = ZerosOf(network);
  state["layer1.0.conv1.tau"] = HostTensor::Zeros(DType::kF32, {1});
  EXPECT_EQ("no error", CheckError(network, state));
}

TEST(TensorTest, AStateDictKeepsTheOrderOfInsertion) {
  StateDict state;
  state["b"] = HostTensor::Zeros(DType::kF32, {2, 3});
  state["a"] = HostTensor::FromText("text");
  state["c"];
  state["b"].f32()[5] = 1;
  state.erase("c");
  EXPECT_EQ((std::vector<std::string>{"b", "a"}), state.names());
  EXPECT_EQ("2x3", ShapeText(state.at("b").shape));
  EXPECT_EQ(24u, state.at("b").bytes.size());
  EXPECT_EQ("text", state.at("a").Text());
  EXPECT_THROW(state.at("c"), InputError);
}

}  // namespace
}  // namespace lbrt
