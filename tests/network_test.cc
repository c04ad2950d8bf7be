#include "network/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "images/error.h"

namespace lbrt {
namespace {

std::string ErrorOf(const std::string& name, const Arguments& arguments) {
  try {
    BuildNetwork(name, arguments);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

struct PublishedCounts {
  const char* name;
  const char* classes;
  NetworkCounts counts;
};

// methods.md 3.3 and 4.3.
const PublishedCounts kPublished[] = {
    {"recu/resnet20", "10", {270522, 267264, 18, 1072, 40108032, 443008}},
    {"mcdonnell/wrn-20-10", "100", {26794920, 26726400, 18, 68320, 4010803200, 8519680}},
    {"mcdonnell/wrn-20-10", "10", {26737140, 26726400, 18, 10720, 4010803200, 4833280}},
    {"mcdonnell/wrn-20-4", "10", {4280532, 4276224, 18, 4288, 641728512, 1933312}},
    {"mcdonnell/wrn-20-1", "10", {268356, 267264, 18, 1072, 40108032, 483328}},
};

TEST(NetworkTest, CountsAreThePublishedOnes) {
  for (const PublishedCounts& want : kPublished) {
    SCOPED_TRACE(std::string(want.name) + " classes=" + want.classes);
    const NetworkCounts got = Count(BuildNetwork(want.name, {{"classes", want.classes}}));
    EXPECT_EQ(want.counts.parameters, got.parameters);
    EXPECT_EQ(want.counts.quantized_weights, got.quantized_weights);
    EXPECT_EQ(want.counts.quantized_layers, got.quantized_layers);
    EXPECT_EQ(want.counts.float_weights, got.float_weights);
    EXPECT_EQ(want.counts.quantized_macs, got.quantized_macs);
    EXPECT_EQ(want.counts.float_macs, got.float_macs);
  }
}

// The published tensor lists lie in a folder beside the repository; LBRT_SHARED names another one.
std::filesystem::path NamesFile(const std::string& name) {
  const char* shared = std::getenv("LBRT_SHARED");
  const std::filesystem::path folder =
      shared != nullptr ? shared : std::filesystem::path(LBRT_SOURCE_DIR) / ".." / "shared";
  return folder / "names" / name;
}

class PublishedNames : public testing::TestWithParam<std::array<const char*, 3>> {};

TEST_P(PublishedNames, TensorsAreThoseOfThePublishedCodeInItsOrder) {
  const auto [file, network, classes] = GetParam();
  const std::filesystem::path path = NamesFile(file);
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "the name list " << file << " is not here";
  std::vector<std::string> want, got;
  std::ifstream lines(path);
  for (std::string line; std::getline(lines, line);) want.push_back(line);
  for (const TensorSpec& spec : BuildNetwork(network, {{"classes", classes}}).tensors)
    got.push_back(spec.name + "\t" + ShapeText(spec.shape) + "\t" + DTypeName(spec.type));
  EXPECT_EQ(want, got);
}

INSTANTIATE_TEST_SUITE_P(
    NetworkTest, PublishedNames,
    testing::Values(std::array{"recu_resnet20.cifar.txt", "recu/resnet20", "10"},
                    std::array{"mcdonnell_wrn-20-1.classes10.txt", "mcdonnell/wrn-20-1", "10"},
                    std::array{"mcdonnell_wrn-20-10.classes100.txt", "mcdonnell/wrn-20-10",
                               "100"}));

TEST(NetworkTest, NodesComeAfterTheirInputsAndHaveNamesOfTheirOwn) {
  for (const char* name : {"recu/resnet20", "mcdonnell/wrn-8-0.5", "mcdonnell/wrn-20-1"}) {
    const Network network = BuildNetwork(name, {{"classes", "7"}});
    std::set<std::string> names;
    for (size_t i = 0; i < network.nodes.size(); ++i) {
      EXPECT_TRUE(names.insert(network.nodes[i].name).second) << network.nodes[i].name;
      for (const Value input : network.nodes[i].inputs) EXPECT_LT(input, static_cast<Value>(i));
    }
    EXPECT_EQ(7, network.node(network.output).channels);
    EXPECT_EQ(0, network.node(network.output).height);
    EXPECT_EQ("7", network.arguments.at("classes"));
  }
}

TEST(NetworkTest, BothInputsOfAnAddHaveOneShape) {
  for (const char* name : {"recu/resnet20", "mcdonnell/wrn-14-1.5", "mcdonnell/wrn-20-10"})
    for (const Network network = BuildNetwork(name, {}); const Node& node : network.nodes) {
      if (node.kind != NodeKind::kAdd) continue;
      const Node &x = network.node(node.inputs[0]), &y = network.node(node.inputs[1]);
      EXPECT_EQ(x.channels, y.channels) << node.name;
      EXPECT_EQ(x.height, y.height) << node.name;
      EXPECT_EQ(x.width, y.width) << node.name;
    }
}

TEST(NetworkTest, ATensorStartsAsItsSystemSaysItDoes) {
  std::map<std::string, TensorSpec> recu, wide;
  for (const TensorSpec& spec : BuildNetwork("recu/resnet20", {}).tensors) recu[spec.name] = spec;
  for (const TensorSpec& spec : BuildNetwork("mcdonnell/wrn-20-1", {}).tensors)
    wide[spec.name] = spec;
  EXPECT_EQ(Init::kKaimingNormalFanIn, recu.at("layer1.0.conv1.weight").init);
  EXPECT_EQ(Init::kUniform01, recu.at("layer1.0.conv1.alpha").init);
  EXPECT_FALSE(recu.at("layer1.0.conv1.alpha").buffer);
  EXPECT_TRUE(recu.at("layer1.0.conv1.tau").buffer);
  EXPECT_EQ(Init::kOnes, recu.at("layer1.0.bn1.weight").init);
  EXPECT_EQ(Init::kZeros, recu.at("layer1.0.bn1.bias").init);
  EXPECT_EQ(Init::kZeros, recu.at("layer1.0.bn1.running_mean").init);
  EXPECT_EQ(Init::kOnes, recu.at("layer1.0.bn1.running_var").init);
  EXPECT_TRUE(recu.at("layer1.0.bn1.running_var").buffer);
  EXPECT_EQ(Init::kTorchLinear, recu.at("linear.bias").init);
  EXPECT_EQ(Init::kKaimingNormalFanOut, wide.at("group1.block0.conv0").init);
  EXPECT_EQ(Init::kKaimingNormalFanOut, wide.at("conv_last").init);
  EXPECT_EQ(Init::kOnes, wide.at("bn_last.weight").init);
}

TEST(NetworkTest, WidthMayBeADecimalNumber) {
  const Network network = BuildNetwork("mcdonnell/wrn-8-2.75", {});
  EXPECT_EQ(44, network.node(1).channels);  // int(16 * 2.75)
}

TEST(NetworkTest, ANameOrArgumentThatCannotBeBuiltIsRefusedInOneLine) {
  EXPECT_EQ("unknown network \"recu/resnet21\", expected one of: mcdonnell/wrn-D-W, recu/resnet20",
            ErrorOf("recu/resnet21", {}));
  EXPECT_EQ(
      "unknown network \"mcdonnell/wrn-20\", expected one of: mcdonnell/wrn-D-W, "
      "recu/resnet20",
      ErrorOf("mcdonnell/wrn-20", {}));
  EXPECT_EQ("network recu/resnet20: unknown argument width; it takes: classes=10",
            ErrorOf("recu/resnet20", {{"width", "4"}}));
  EXPECT_EQ("network recu/resnet20: classes=ten: expected an integer from 2 to 100000",
            ErrorOf("recu/resnet20", {{"classes", "ten"}}));
  EXPECT_EQ("network recu/resnet20: classes=99999999999999: expected an integer from 2 to 100000",
            ErrorOf("recu/resnet20", {{"classes", "99999999999999"}}));
  EXPECT_EQ("network mcdonnell/wrn-21-1: depth 21: expected 8, 14, 20, ... (6 n + 2, below 1000)",
            ErrorOf("mcdonnell/wrn-21-1", {}));
  EXPECT_EQ("network mcdonnell/wrn-20-0: width 0: expected from 1/16 to 100",
            ErrorOf("mcdonnell/wrn-20-0", {}));
  EXPECT_EQ(
      "network mcdonnell/wrn-20-1.05: width 1.05: expected channels that double from group "
      "to group",
      ErrorOf("mcdonnell/wrn-20-1.05", {}));
  EXPECT_EQ("network mcdonnell/wrn-20-1.2.3: 1.2.3 is not a number",
            ErrorOf("mcdonnell/wrn-20-1.2.3", {}));
}

TEST(NetworkTest, ArgumentsSurviveTheirTextForm) {
  const Arguments arguments = {{"classes", "10"}, {"width", "4"}};
  EXPECT_EQ("classes=10 width=4", ArgumentsText(arguments));
  EXPECT_EQ(arguments, ParseArguments("classes=10 width=4"));
  EXPECT_EQ(Arguments{}, ParseArguments(""));
  EXPECT_THROW(ParseArguments("classes"), InputError);
  EXPECT_THROW(ParseArguments("=10"), InputError);
  EXPECT_THROW(ParseArguments("a=1 a=2"), InputError);
}

TEST(NetworkTest, DefaultLabelsAreOnePerClass) {
  for (const char* classes : {"10", "100", "37"}) {
    const std::string labels =
        DefaultsOf(BuildNetwork("recu/resnet20", {{"classes", classes}})).labels;
    EXPECT_EQ(std::stoi(classes), std::count(labels.begin(), labels.end(), '\n'));
  }
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
