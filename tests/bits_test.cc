#include "network/bits.h"

#include <gtest/gtest.h>

#include "network/checkpoint.h"
#include "tests/networks.h"

namespace lbrt {
namespace {

std::vector<int> WeightBits(const Network& network) {
  std::vector<int> bits;
  for (const QuantizedLayer& layer : QuantizedLayers(network))
    bits.push_back(network.node(layer.conv).weights.bits);
  return bits;
}

std::vector<int> ActivationBits(const Network& network) {
  std::vector<int> bits;
  for (const QuantizedLayer& layer : QuantizedLayers(network))
    bits.push_back(network.node(layer.quantize).activations.bits);
  return bits;
}

TEST(BitsTest, ListsMeetTheLayersInRegistrationOrder) {
  const Network network = BuildNetwork("edmips/resnet18", {{"blocks", "[1, 1]"},
                                                           {"channels", "[16, 32]"},
                                                           {"weight_bits", "3,1,2,4,1"},
                                                           {"activation_bits", "4,2,3,2,4"}});
  EXPECT_EQ((std::vector<int>{3, 1, 2, 4, 1}), WeightBits(network));
  EXPECT_EQ((std::vector<int>{4, 2, 3, 2, 4}), ActivationBits(network));
  EXPECT_EQ(1, NodeNamed(network, "layer2.0.downsample.0").weights.bits);
  EXPECT_EQ(4, NodeNamed(network, "layer2.0.downsample.0.activ").activations.bits);
  // One batch norm feeds both quantizers of the block's input.
  EXPECT_EQ(NodeNamed(network, "layer2.0.downsample.0.activ").inputs,
            NodeNamed(network, "layer2.0.conv1.activ").inputs);
  for (const char* name : {"edmips/resnet18", "edmips/resnet50", "edmips/googlenet",
                           "edmips/inception-v3", "edmips/cifar-resnet20"}) {
    const Network published = BuildNetwork(name, {});
    std::vector<std::string> layers, tensors;
    for (const QuantizedLayer& layer : QuantizedLayers(published))
      layers.push_back(published.node(layer.conv).weight);
    for (const TensorSpec& spec : published.tensors)
      if (spec.name.ends_with(".conv.weight")) tensors.push_back(spec.name);
    EXPECT_EQ(tensors, layers) << name;
  }
}

TEST(BitsTest, BitsMayBeNumbersListsOrDigits) {
  const Arguments small = {{"blocks", "1"}, {"channels", "16"}};
  for (const char* bits : {"12/34", "1,2/3,4", "[1, 2]/[3, 4]"}) {
    Arguments arguments = small;
    arguments["bits"] = bits;
    const Network network = BuildNetwork("edmips/resnet18", arguments);
    EXPECT_EQ((std::vector<int>{1, 2}), WeightBits(network)) << bits;
    EXPECT_EQ((std::vector<int>{3, 4}), ActivationBits(network)) << bits;
    EXPECT_EQ("1,2", network.arguments.at("weight_bits"));
  }
  EXPECT_EQ("network edmips/resnet18: its quantizers need bits, e.g. bits=2/2",
            ErrorOf("edmips/resnet18", small));
  for (const char* bits : {"2", "5/2", "2/5", "0/2", "2/", "two/2"})
    EXPECT_EQ(std::string("network edmips/resnet18: bits=") + bits +
                  ": expected weight and activation bits, e.g. 2/2",
              ErrorOf("edmips/resnet18", {{"bits", bits}}));
  EXPECT_EQ("network edmips/resnet18: 2 weight bits are given for 19 quantized layers",
            ErrorOf("edmips/resnet18", {{"weight_bits", "1,2"}}));
}

TEST(BitsTest, ASearchMixesAllBits) {
  const Network network = BuildNetwork("edmips/cifar-resnet20", {{"mode", "search"}});
  ASSERT_EQ(20u, QuantizedLayers(network).size());
  for (const QuantizedLayer& layer : QuantizedLayers(network)) {
    EXPECT_TRUE(network.node(layer.conv).weights.mixture);
    EXPECT_TRUE(network.node(layer.quantize).activations.mixture);
  }
  const TensorSpec& alpha = TensorNamed(network, "layers.0.conv0.mix_activ.alpha_activ");
  EXPECT_EQ(Role::kArchitecture, alpha.role);
  EXPECT_EQ(Constant(0.01), alpha.init);
  EXPECT_TRUE(alpha.decay);
  EXPECT_THROW(CostsOf(network), InputError);
}

struct PublishedCosts {
  const char* name;
  double mean_bits, bitops_m, bitw_m;                  // of the shipped configuration
  double uniform_bitops_m, uniform, start, normaliser;  // 2/2; normalised 2/2 and 2.5 * 3
};

TEST(BitsTest, CostsAreThePublishedOnes) {  // methods.md 2.3, 2.4
  const PublishedCosts published[] = {
      {"edmips/resnet18", 1.992, 6730.8, 23.32, 6782.2, 58.67, 110.0, 115.61},
      {"edmips/resnet50", 2.007, 15992.1, 45.71, 15876.5, 1236, 2317.5, 12.845},
      {"edmips/googlenet", 1.994, 5820.6, 13.65, 5854.5, 455.8, 854.6, 12.845},
      {"edmips/inception-v3", 1.982, 22633.1, 43.83, 23052.6, 112.7, 211.3, 204.60},
  };
  for (const PublishedCosts& want : published) {
    SCOPED_TRACE(want.name);
    const BitCosts shipped = CostsOf(BuildNetwork(want.name, {}));
    EXPECT_NEAR(want.mean_bits, shipped.mean_bits, 0.0005);
    EXPECT_NEAR(want.bitops_m, shipped.bitops_m, 0.05);
    EXPECT_NEAR(want.bitw_m, shipped.bitw_m, 0.005);
    const BitCosts uniform = CostsOf(BuildNetwork(want.name, {{"bits", "2/2"}}));
    EXPECT_NEAR(want.uniform_bitops_m, uniform.bitops_m, 0.05);
    EXPECT_DOUBLE_EQ(2, uniform.mean_bits);
    const auto layers = QuantizedLayers(BuildNetwork(want.name, {{"mode", "search"}}));
    EXPECT_NEAR(want.normaliser, layers[0].size_product, want.normaliser * 5e-5);
    double start = 0;
    for (const QuantizedLayer& layer : layers) start += 2.5 * 3 * layer.size_product;
    EXPECT_NEAR(want.start, start / layers[0].size_product, 0.06);
    EXPECT_NEAR(want.uniform, uniform.bitops_m / layers[0].size_product, want.uniform * 4e-4);
  }
  EXPECT_NEAR(6730.81, CostsOf(BuildNetwork("edmips/resnet18", {})).bitops_m, 0.005);
}

TEST(BitsTest, CostsOfTheOtherQuantizersCountTheirBits) {
  const BitCosts recu = CostsOf(BuildNetwork("recu/resnet20", {}));
  EXPECT_NEAR(40.108032, recu.bitops_m, 1e-9);
  EXPECT_NEAR(0.267264, recu.bitw_m, 1e-9);
  EXPECT_DOUBLE_EQ(1, recu.mean_bits);
  EXPECT_NEAR(40.108032 * 32, CostsOf(BuildNetwork("mcdonnell/wrn-20-1", {})).bitops_m, 1e-6);
  const BitCosts ternary = CostsOf(BuildNetwork("ternary/resnet20", {{"t_ex", "2"}}));
  EXPECT_NEAR(0.268336 * 4, ternary.bitw_m, 1e-9);
  const BitCosts any = CostsOf(BuildNetwork("any-precision/resnet20", {{"widths", "1,4"}}));
  EXPECT_DOUBLE_EQ(4, any.mean_bits);
  EXPECT_EQ(0, CostsOf(BuildNetwork("recu/resnet20", {{"form", "full-precision"}})).mean_bits);
}

TEST(BitsTest, SizesAreThoseOfThePublishedCode) {
  const std::filesystem::path path = SharedFile("golden/ed_search_small/trace.pt");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "the trace of a search is not here";
  const Checkpoint trace = ReadCheckpoint(path.string());
  const Network network = BuildNetwork("edmips/resnet18", {{"mode", "search"},
                                                           {"blocks", "1,1"},
                                                           {"channels", "16,32"},
                                                           {"classes", "10"},
                                                           {"size", "64"}});
  int compared = 0;
  for (const TensorSpec& spec : network.tensors) {
    if (spec.role != Role::kConstant) continue;
    EXPECT_EQ(*trace.state.at("after." + spec.name).f32(), static_cast<float>(spec.init.value))
        << spec.name;
    ++compared;
  }
  EXPECT_EQ(10, compared);
}

}  // namespace
}  // namespace lbrt
