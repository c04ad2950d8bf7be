#include "network/import.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <sstream>
#include <tuple>

#include "images/error.h"
#include "network/builder.h"
#include "network/quantizers.h"
#include "network/zero_sums.h"

namespace lbrt {
namespace {

std::string ErrorOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

// Random tensors of plausible sizes for every tensor of a network.
StateDict RandomTensors(const Network& network, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.5f);
  std::uniform_real_distribution<float> positive(0.5f, 2);
  StateDict state;
  for (const TensorSpec& spec : network.tensors) {
    HostTensor& tensor = state[spec.name];
    tensor = HostTensor::Zeros(spec.type, spec.shape);
    if (spec.type != DType::kF32) continue;
    for (int64_t i = 0; i < tensor.numel(); ++i)
      tensor.f32()[i] = spec.name.ends_with("running_var") ? positive(random) : normal(random);
  }
  return state;
}

const ImportOptions kImageNet = {Stem::kI24, {0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}, 0};

ImportOptions WithStem(Stem stem) {
  ImportOptions options = kImageNet;
  options.stem = stem;
  return options;
}

const GraphNode& Named(const Graph& graph, const std::string& name, GraphOp op) {
  for (const GraphNode& node : graph.nodes)
    if (node.name == name && node.op == op) return node;
  throw std::runtime_error("no node " + name);
}

// "index op name inputs... HxWxC" of each node, a line each, for a look at the whole graph.
std::string Ops(const Graph& graph, int from, int to) {
  const char* const kNames[] = {"input",      "conv", "affine", "add",
                                "activation", "sign", "pool",   "pad", "quantize", "decode", "max",
                                "concat",     "prelu"};
  std::ostringstream text;
  for (int i = from; i < to; ++i) {
    const GraphNode& node = graph.node(i);
    text << i << " " << kNames[static_cast<size_t>(node.op)] << " " << node.name;
    for (const int input : node.inputs) text << " " << input;
    text << " " << node.height << "x" << node.width << "x" << node.channels << "\n";
  }
  return text.str();
}

TEST(ImportTest, RecuBecomesTheGraphOfTheContract) {
  const Network network = BuildNetwork("recu/resnet20", {});
  const Graph graph = Import(network, RandomTensors(network, 1), kImageNet, nullptr);
  const int n = static_cast<int>(graph.nodes.size());
  EXPECT_EQ(
      "0 input input 32x32x3\n"
      "1 conv conv1 0 32x32x16\n"
      "2 affine bn1 1 32x32x16\n"
      "3 activation hardtanh1 2 32x32x16\n"
      "4 sign layer1.0.sign1 3 32x32x16\n"
      "5 conv layer1.0.conv1 4 32x32x16\n"
      "6 affine layer1.0.bn1 5 32x32x16\n"
      "7 add layer1.0.add1 6 3 32x32x16\n"
      "8 activation layer1.0.hardtanh1 7 32x32x16\n",
      Ops(graph, 0, 9));
  EXPECT_EQ(
      "34 pool layer2.0.shortcut.pool 33 16x16x16\n"
      "35 pad layer2.0.shortcut.pad 34 16x16x32\n"
      "36 sign layer2.0.sign1 33 32x32x16\n"
      "37 conv layer2.0.conv1 36 16x16x32\n"
      "38 affine layer2.0.bn1 37 16x16x32\n"
      "39 add layer2.0.add1 38 35 16x16x32\n",
      Ops(graph, 34, 40));
  EXPECT_EQ(
      "98 pool pool 97 1x1x64\n"
      "99 affine bn2 98 1x1x64\n"
      "100 conv linear 99 1x1x10\n"
      "101 affine linear 100 1x1x10\n",
      Ops(graph, 98, n));
  EXPECT_EQ(n - 1, graph.output);
  EXPECT_EQ(ValueType::kU8, graph.node(0).type);
  EXPECT_EQ(ValueType::kI64, graph.node(1).type);
  EXPECT_EQ(ValueType::kI32, graph.node(5).type);
  EXPECT_EQ(SquareWindow(2, 2, 0), graph.node(34).window);
  EXPECT_EQ(8, graph.node(35).pad_before);
  EXPECT_EQ(8, graph.node(35).pad_after);
  EXPECT_EQ(64, graph.node(98).window.taps());
}

TEST(ImportTest, WideResNetPoolsBeforeItsLastConvolution) {
  const Network network = BuildNetwork("mcdonnell/wrn-8-1", {});
  const Graph graph = Import(network, RandomTensors(network, 1), kImageNet, nullptr);
  const int n = static_cast<int>(graph.nodes.size());
  EXPECT_EQ(
      "0 input input 32x32x3\n"
      "1 conv conv0 0 32x32x16\n"
      "2 affine conv0 1 32x32x16\n"
      "3 affine group0.block0.bn0 2 32x32x16\n"
      "4 activation group0.block0.relu0 3 32x32x16\n"
      "5 conv group0.block0.conv0 4 32x32x16\n"
      "6 affine group0.block0.bn1 5 32x32x16\n"
      "7 activation group0.block0.relu1 6 32x32x16\n"
      "8 conv group0.block0.conv1 7 32x32x16\n"
      "9 affine group0.block0.conv1 8 32x32x16\n"
      "10 add group0.block0.add 2 9 32x32x16\n",
      Ops(graph, 0, 11));
  EXPECT_EQ(
      "31 affine bn 30 8x8x64\n"
      "32 activation relu 31 8x8x64\n"
      "33 pool pool 32 1x1x64\n"
      "34 conv conv_last 33 1x1x10\n"
      "35 affine bn_last 34 1x1x10\n",
      Ops(graph, 31, n));
  EXPECT_EQ(n - 1, graph.output);
  EXPECT_EQ(ValueType::kF32, graph.node(5).type);
  const GraphNode& pool = Named(graph, "group1.block0.shortcut.pool", GraphOp::kAvgPool);
  EXPECT_EQ(SquareWindow(3, 2, 1), pool.window);
  const GraphNode& pad = Named(graph, "group1.block0.shortcut.pad", GraphOp::kPadChannels);
  EXPECT_EQ(0, pad.pad_before);
  EXPECT_EQ(16, pad.pad_after);
}

// Every weight of a convolution, found by name in the tensors and by place in the graph.
TEST(ImportTest, CodesAreTheSignsOfTheLatentWeightsChannelsLast) {
  for (const char* name : {"recu/resnet20", "mcdonnell/wrn-8-1"}) {
    const Network network = BuildNetwork(name, {});
    const StateDict state = RandomTensors(network, 2);
    const Graph graph = Import(network, state, kImageNet, nullptr);
    int64_t quantized = 0;
    for (const Node& node : network.nodes) {
      if (node.kind != NodeKind::kConv || !node.weights.quantizes()) continue;
      const GraphNode& conv = Named(graph, node.name, GraphOp::kConv);
      const HostTensor& weight = state.at(node.weight);
      const int64_t outputs = weight.shape[0], inputs = weight.shape[1];
      ASSERT_EQ(static_cast<size_t>(weight.numel()), conv.codes.size());
      quantized += weight.numel();
      for (int64_t o = 0; o < outputs; ++o) {
        double mean = 0;
        if (node.weights.kind == WeightQuantizer::kRecu)
          for (int64_t k = 0; k < inputs * 9; ++k)
            mean += weight.f32()[o * inputs * 9 + k] / static_cast<double>(inputs * 9);
        for (int64_t c = 0; c < inputs; ++c)
          for (int64_t tap = 0; tap < 9; ++tap) {
            const double w = weight.f32()[(o * inputs + c) * 9 + tap];
            if (std::fabs(w - mean) < 1e-6) continue;  // too near to say without the same rounding
            ASSERT_EQ(w > mean ? 1 : -1,
                      conv.codes[static_cast<size_t>((o * 9 + tap) * inputs + c)])
                << node.name;
          }
      }
    }
    EXPECT_EQ(Count(network).quantized_weights, quantized);
  }
}

TEST(ImportTest, BatchNormsAndScalesFoldInDoubleAndRoundOnce) {
  const Network recu = BuildNetwork("recu/resnet20", {}),
                wide = BuildNetwork("mcdonnell/wrn-8-1", {});
  const StateDict r = RandomTensors(recu, 3), w = RandomTensors(wide, 4);
  const Graph recu_graph = Import(recu, r, kImageNet, nullptr);
  const Graph wide_graph = Import(wide, w, kImageNet, nullptr);
  const auto f = [](const StateDict& state, const char* name) { return state.at(name).f32(); };

  const GraphNode& bn1 = Named(recu_graph, "layer1.0.bn1", GraphOp::kAffine);
  for (int c = 0; c < 16; ++c) {
    const double alpha =
        f(r, "layer1.0.bn1.weight")[c] / std::sqrt(f(r, "layer1.0.bn1.running_var")[c] + 1e-5);
    const auto i = static_cast<size_t>(c);
    EXPECT_EQ(static_cast<float>(alpha * f(r, "layer1.0.conv1.alpha")[c]), bn1.a[i]);
    EXPECT_EQ(static_cast<float>(f(r, "layer1.0.bn1.bias")[c] -
                                 f(r, "layer1.0.bn1.running_mean")[c] * alpha),
              bn1.b[i]);
  }
  const GraphNode& linear = Named(recu_graph, "linear", GraphOp::kAffine);
  EXPECT_EQ(std::vector<float>(10, 1.0f), linear.a);
  EXPECT_EQ(std::vector<float>(f(r, "linear.bias"), f(r, "linear.bias") + 10), linear.b);
  EXPECT_EQ(std::vector<float>(f(r, "linear.weight"), f(r, "linear.weight") + 640),
            Named(recu_graph, "linear", GraphOp::kConv).weights);

  const GraphNode& inner = Named(wide_graph, "group0.block0.bn1", GraphOp::kAffine);
  const GraphNode& outer = Named(wide_graph, "group0.block0.conv1", GraphOp::kAffine);
  const GraphNode& alone = Named(wide_graph, "group0.block0.bn0", GraphOp::kAffine);
  const GraphNode& last = Named(wide_graph, "bn_last", GraphOp::kAffine);
  for (int c = 0; c < 10; ++c) {
    const auto i = static_cast<size_t>(c);
    const double scale = std::sqrt(2.0 / 144);
    const double alpha = 1 / std::sqrt(f(w, "group0.block0.bn1.running_var")[c] + 1e-5);
    EXPECT_EQ(static_cast<float>(alpha * scale), inner.a[i]);
    EXPECT_EQ(static_cast<float>(-(f(w, "group0.block0.bn1.running_mean")[c] * alpha)), inner.b[i]);
    EXPECT_EQ(static_cast<float>(scale), outer.a[i]);
    EXPECT_EQ(0.0f, outer.b[i]);
    const double alpha0 = 1 / std::sqrt(f(w, "group0.block0.bn0.running_var")[c] + 1e-5);
    EXPECT_EQ(static_cast<float>(alpha0), alone.a[i]);
    const double alpha_last =
        f(w, "bn_last.weight")[c] / std::sqrt(f(w, "bn_last.running_var")[c] + 1e-5);
    EXPECT_EQ(static_cast<float>(alpha_last), last.a[i]);
    EXPECT_EQ(
        static_cast<float>(f(w, "bn_last.bias")[c] - f(w, "bn_last.running_mean")[c] * alpha_last),
        last.b[i]);
  }
}

class StemTest : public testing::TestWithParam<std::tuple<const char*, Stem>> {};

// At each border class the stem's affine of the integer sum is, to rounding, the convolution of the
// normalised image with the weights used: code * s_o with the normalisation taken out again.
TEST_P(StemTest, IntegerSumsMeanTheConvolutionOfTheNormalisedImage) {
  const auto [name, stem] = GetParam();
  const Network network = BuildNetwork(name, {});
  const StateDict state = RandomTensors(network, 5);
  const ImportOptions options = WithStem(stem);
  const Graph graph = Import(network, state, options, nullptr);
  const GraphNode& conv = graph.node(1);
  const GraphNode& affine = graph.node(2);
  const bool recu = network.name == "recu/resnet20";
  const int limbs = stem == Stem::kI24 ? 3 : stem == Stem::kI16 ? 2 : 1;
  ASSERT_EQ(WeightKind::kFixed, conv.weight_kind);
  EXPECT_EQ(limbs, conv.limbs);
  ASSERT_EQ(3, affine.border_rows);
  ASSERT_EQ(3, affine.border_columns);
  ASSERT_EQ(9u * 16, affine.b.size());
  const float* weights = state.at(network.node(1).weight).f32();

  std::mt19937 random(6);
  std::vector<int> image(32 * 32 * 3);
  for (int& u : image) u = static_cast<int>(random() % 256);
  for (int o = 0; o < 16; ++o) {
    double largest = 0;
    for (int c = 0; c < 3; ++c)
      for (int tap = 0; tap < 9; ++tap)
        largest = std::max(largest, std::fabs(weights[(o * 3 + c) * 9 + tap] /
                                              (255 * options.std[static_cast<size_t>(c)])));
    const double scale = largest / LimbMaximum(limbs);
    double alpha = 1, beta = 0;
    if (recu) {
      alpha =
          state.at("bn1.weight").f32()[o] / std::sqrt(state.at("bn1.running_var").f32()[o] + 1e-5);
      beta = state.at("bn1.bias").f32()[o] - state.at("bn1.running_mean").f32()[o] * alpha;
    }
    EXPECT_EQ(static_cast<float>(alpha * scale), affine.a[static_cast<size_t>(o)]);
    for (const int y : {0, 1, 17, 31})
      for (const int x : {0, 9, 31}) {
        int64_t sum = 0;
        double exact = 0;
        for (int ky = 0; ky < 3; ++ky)
          for (int kx = 0; kx < 3; ++kx)
            for (int c = 0; c < 3; ++c) {
              const int iy = y + ky - 1, ix = x + kx - 1;
              if (iy < 0 || iy > 31 || ix < 0 || ix > 31) continue;
              const auto channel = static_cast<size_t>(c);
              const int u = image[static_cast<size_t>((iy * 32 + ix) * 3 + c)];
              const int code = conv.codes[static_cast<size_t>((o * 9 + ky * 3 + kx) * 3 + c)];
              EXPECT_LE(std::fabs(weights[(o * 3 + c) * 9 + ky * 3 + kx] /
                                      (255 * options.std[channel]) / scale -
                                  code),
                        0.5 + 1e-6);
              sum += int64_t{code} * u;
              exact += code * scale * (255 * options.std[channel]) *
                       ((u / 255.0 - options.mean[channel]) / options.std[channel]);
            }
        const int row = y == 0 ? 0 : y == 31 ? 2 : 1, column = x == 0 ? 0 : x == 31 ? 2 : 1;
        const double b = affine.b[static_cast<size_t>((row * 3 + column) * 16 + o)];
        const double got = static_cast<double>(sum) * affine.a[static_cast<size_t>(o)] + b;
        const double want = alpha * exact + beta;
        const double ulps = std::fabs(b) + std::fabs(got - b);
        EXPECT_NEAR(want, got, 1.2e-7 * ulps + 1e-12) << "o=" << o << " y=" << y << " x=" << x;
      }
  }
}

INSTANTIATE_TEST_SUITE_P(ImportTest, StemTest,
                         testing::Combine(testing::Values("recu/resnet20", "mcdonnell/wrn-8-1"),
                                          testing::Values(Stem::kI24, Stem::kI16, Stem::kI8)));

TEST(ImportTest, TheFloatStemKeepsItsWeightsAndTakesFloats) {
  const Network network = BuildNetwork("mcdonnell/wrn-8-1", {});
  const StateDict state = RandomTensors(network, 7);
  const Graph graph = Import(network, state, WithStem(Stem::kF32), nullptr);
  EXPECT_EQ(
      "0 input input 32x32x3\n"
      "1 conv conv0 0 32x32x16\n"
      "2 affine group0.block0.bn0 1 32x32x16\n",
      Ops(graph, 0, 3));  // no scale, hence no affine of its own
  EXPECT_EQ(ValueType::kF32, graph.node(0).type);
  EXPECT_EQ(WeightKind::kFloat, graph.node(1).weight_kind);
  // [o][c][ky][kx] -> [o][ky][kx][c]
  EXPECT_EQ(state.at("conv0").f32()[(5 * 3 + 2) * 9 + 4],
            graph.node(1).weights[static_cast<size_t>((5 * 9 + 4) * 3 + 2)]);

  const Network recu = BuildNetwork("recu/resnet20", {});
  const Graph with_norm = Import(recu, RandomTensors(recu, 8), WithStem(Stem::kF32), nullptr);
  EXPECT_EQ("2 affine bn1 1 32x32x16\n", Ops(with_norm, 2, 3));
  EXPECT_EQ(1, with_norm.node(2).border_rows);
}

TEST(ImportTest, ZeroWeightsAndDeadChannelsAreCountedAndNamed) {
  const Network network = BuildNetwork("recu/resnet20", {});
  StateDict state = RandomTensors(network, 9);
  float* weight = state["layer1.1.conv2.weight"].f32();
  for (int k = 0; k < 144; ++k) weight[k] = k < 72 ? -0.25f : 0.25f;
  weight[3] = weight[100] = 0;                               // the mean of channel 0
  for (int k = 0; k < 144; ++k) weight[5 * 144 + k] = 0.7f;  // channel 5 is dead
  ImportReport report;
  const Graph graph = Import(network, state, kImageNet, &report);
  EXPECT_EQ(2 + 144, report.zero_weights);
  EXPECT_EQ(1, report.dead_channels);
  EXPECT_EQ((std::vector<std::string>{
                "layer1.1.conv2.weight: 146 weights are equal to their channel's mean and count "
                "as +1",
                "layer1.1.conv2.weight: output channel 5 has no other weights and is constant"}),
            report.lines);
  const GraphNode& affine = Named(graph, "layer1.1.bn2", GraphOp::kAffine);
  EXPECT_EQ(0.0f, affine.a[5]);
  EXPECT_NE(0.0f, affine.a[4]);
  EXPECT_NE(0.0f, affine.b[5]);
  EXPECT_EQ(1, Named(graph, "layer1.1.conv2", GraphOp::kConv).codes[5 * 144]);

  const Network wide = BuildNetwork("mcdonnell/wrn-8-1", {});
  StateDict zeros = RandomTensors(wide, 10);
  std::fill_n(zeros["group0.block0.conv1"].f32() + 144, 144, 0.0f);
  ImportReport wide_report;
  EXPECT_EQ(0.0f, Named(Import(wide, zeros, kImageNet, &wide_report), "group0.block0.conv1",
                        GraphOp::kAffine)
                      .a[1]);
  EXPECT_EQ(144, wide_report.zero_weights);
  EXPECT_EQ(1, wide_report.dead_channels);
}

TEST(ImportTest, WhatCannotBeImportedIsRefusedInOneLine) {
  const Network network = BuildNetwork("recu/resnet20", {});
  const auto error = [&](const std::function<void(StateDict&, ImportOptions&)>& change) {
    StateDict state = RandomTensors(network, 11);
    ImportOptions options = kImageNet;
    change(state, options);
    return ErrorOf([&] { Import(network, state, options, nullptr); });
  };
  EXPECT_EQ("no error", error([](StateDict&, ImportOptions&) {}));
  EXPECT_EQ("tensor layer1.0.conv1.alpha is missing",
            error([](StateDict& state, ImportOptions&) { state.erase("layer1.0.conv1.alpha"); }));
  EXPECT_EQ("tensor bn2.bias: shape 63, expected 64", error([](StateDict& state, ImportOptions&) {
              state["bn2.bias"] = HostTensor::Zeros(DType::kF32, {63});
            }));
  EXPECT_EQ("tensor bn2.bias: type int64, expected float32",
            error([](StateDict& state, ImportOptions&) {
              state["bn2.bias"] = HostTensor::Zeros(DType::kI64, {64});
            }));
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()})
    EXPECT_EQ("tensor bn2.bias: holds a value that is not finite",
              error([bad](StateDict& state, ImportOptions&) { state["bn2.bias"].f32()[7] = bad; }));
  EXPECT_EQ(
      "tensor bn2.running_var: holds a negative variance",
      error([](StateDict& state, ImportOptions&) { state["bn2.running_var"].f32()[7] = -1; }));
  EXPECT_EQ("node layer1.0.bn1: its scale or bias does not fit a float32",
            error([](StateDict& state, ImportOptions&) {
              state["layer1.0.bn1.weight"].f32()[0] = 3e38f;
              state["layer1.0.conv1.alpha"].f32()[0] = 100;
            }));
  EXPECT_EQ("preprocessing: expected mean and std of 3 channels",
            error([](StateDict&, ImportOptions& options) { options.mean = {0.5}; }));
  EXPECT_EQ("preprocessing: expected finite means and positive deviations",
            error([](StateDict&, ImportOptions& options) { options.std[1] = 0; }));
}

// A small network of `text`, "name arguments".
Network Small(const std::string& text) {
  const size_t space = text.find(' ');
  Network network = BuildNetwork(text.substr(0, space), ParseArguments(text.substr(space)));
  network.input_std = kImageNet.std;
  return network;
}

Graph ImportSmall(const std::string& text, Stem stem = Stem::kAuto, int width = 0,
                  uint32_t seed = 12) {
  const Network network = Small(text);
  ImportOptions options = WithStem(stem);
  options.width = width;
  return Import(network, RandomTensors(network, seed), options, nullptr);
}

constexpr char kAnyPrecision[] = "any-precision/resnet20 blocks=1,1 channels=8,16 size=8";

TEST(ImportTest, AnyPrecisionBecomesCodesAtAWidth) {
  const Graph graph = ImportSmall(kAnyPrecision, Stem::kAuto, 2);
  const int n = static_cast<int>(graph.nodes.size());
  EXPECT_EQ(
      "3 affine layers.0.bn0 2 8x8x8\n"
      "4 quantize layers.0.act0 3 8x8x8\n"
      "5 conv layers.0.conv0 4 8x8x8\n"
      "6 affine layers.0.bn1 5 8x8x8\n"
      "7 quantize layers.0.act1 6 8x8x8\n"
      "8 conv layers.0.conv1 7 8x8x8\n"
      "9 affine layers.0.conv1 8 8x8x8\n"
      "10 add layers.0.add 9 2 8x8x8\n",
      Ops(graph, 3, 11));
  EXPECT_EQ(
      "21 affine bn 20 4x4x16\n"
      "22 pool pool 21 1x1x16\n"
      "23 conv fc 22 1x1x10\n"
      "24 affine fc 23 1x1x10\n",
      Ops(graph, 21, n));
  const GraphNode& quantize = graph.node(4);
  EXPECT_EQ(ValueType::kCode, quantize.type);
  EXPECT_EQ(3, quantize.levels);
  EXPECT_EQ(3.0f, quantize.inverse_step);
  EXPECT_EQ(ValueType::kI32, graph.node(5).type);
  EXPECT_EQ(WeightKind::kOdd, graph.node(5).weight_kind);
  EXPECT_EQ(2, graph.node(5).bits);
  // The skip convolution has float weights and reads the codes that conv0 reads.
  const GraphNode& skip = Named(graph, "layers.1.skip_conv", GraphOp::kConv);
  EXPECT_EQ(Named(graph, "layers.1.conv0", GraphOp::kConv).inputs, skip.inputs);
  EXPECT_EQ(WeightKind::kFixed, skip.weight_kind);
  EXPECT_EQ(ValueType::kI64, skip.type);
  EXPECT_EQ(3, skip.limbs);
  // 1 bit is signs; 32 bits are floats.
  const Graph one = ImportSmall(kAnyPrecision, Stem::kAuto, 1);
  EXPECT_EQ(WeightKind::kSign, one.node(5).weight_kind);
  EXPECT_EQ(1, one.node(4).levels);
  const Graph widest = ImportSmall(kAnyPrecision);
  EXPECT_EQ(WeightKind::kFloat, widest.node(5).weight_kind);
  EXPECT_EQ(Activation::kRelu, widest.node(4).activation);
}

TEST(ImportTest, StepsScalesAndTheBatchNormOfTheWidthFold) {
  const Network network = Small(kAnyPrecision);
  const StateDict state = RandomTensors(network, 12);
  const Graph graph = ImportSmall(kAnyPrecision, Stem::kAuto, 2);
  const auto f = [&](const std::string& name) { return state.at(name).f32(); };
  const WeightCodes codes = QuantizeWeights({.kind = WeightQuantizer::kAnyPrecision, .bits = 2},
                                            f("layers.0.conv0.weight"), 8, 72);
  const GraphNode& affine = Named(graph, "layers.0.bn1", GraphOp::kAffine);
  const GraphNode& skip = Named(graph, "layers.1.skip_bn", GraphOp::kAffine);
  for (int c = 0; c < 8; ++c) {
    const double alpha = f("layers.0.bn1.bn_dict.2.weight")[c] /
                         std::sqrt(f("layers.0.bn1.bn_dict.2.running_var")[c] + 1e-5);
    EXPECT_FLOAT_EQ(static_cast<float>(alpha * codes.planes[0].scale[0] / 3),
                    affine.a[static_cast<size_t>(c)]);
    const float* weights = f("layers.1.skip_conv.weight") + c * 8;
    float largest = 0;
    for (int k = 0; k < 8; ++k) largest = std::max(largest, std::fabs(weights[k]));
    const double skip_alpha = f("layers.1.skip_bn.weight")[c] /
                              std::sqrt(f("layers.1.skip_bn.running_var")[c] + 1e-5);
    EXPECT_FLOAT_EQ(static_cast<float>(skip_alpha * largest / 8355711 / 3),
                    skip.a[static_cast<size_t>(c)]);
  }
}

// With stem f32 the float skip reads numbers, the quantized convolution codes.
TEST(ImportTest, FloatWeightsReadDecodedCodesWhereTheStemIsFloat) {
  const Graph graph = ImportSmall(kAnyPrecision, Stem::kF32, 4);
  const GraphNode& skip = Named(graph, "layers.1.skip_conv", GraphOp::kConv);
  EXPECT_EQ(WeightKind::kFloat, skip.weight_kind);
  const GraphNode& decode = graph.node(skip.inputs[0]);
  EXPECT_EQ(GraphOp::kDecode, decode.op);
  EXPECT_EQ(1.0f / 15, decode.step);
  EXPECT_EQ(Named(graph, "layers.1.conv0", GraphOp::kConv).inputs, decode.inputs);
}

TEST(ImportTest, MaxPoolingAndDropoutKeepCodes) {
  const Graph graph = ImportSmall("any-precision/svhn expansion=1 size=48", Stem::kAuto, 8);
  const GraphNode& conv = Named(graph, "layers.20", GraphOp::kConv);
  EXPECT_EQ(ValueType::kCode, graph.node(conv.inputs[0]).type);
  EXPECT_EQ(255, graph.node(conv.inputs[0]).levels);
  EXPECT_EQ(Activation::kClipUnit, Named(graph, "layers.21", GraphOp::kActivation).activation);
  // A dense layer of 3x3 pixels is a convolution of all of them: [o][c][h][w] to [o][h][w][c].
  const GraphNode& dense = Named(graph, "fc", GraphOp::kConv);
  EXPECT_EQ((Window{3, 3, 1, 1, 0, 0, 0, 0}), dense.window);
  const Network network = Small("any-precision/svhn expansion=1 size=48");
  const StateDict state = RandomTensors(network, 12);
  EXPECT_EQ(state.at("fc.weight").f32()[(7 * 64 + 5) * 9 + 4],
            dense.weights[static_cast<size_t>((7 * 9 + 4) * 64 + 5)]);
}

QuantizationDefaults EdmipsAtTwoBits() {
  QuantizationDefaults defaults;
  defaults.weights = WeightQuantizer::kEdmips;
  defaults.activations = ActivationQuantizer::kHwgq;
  defaults.bits = "2/2";
  return defaults;
}

// Two convolutions of codes, joined and pooled: what reads that is a batch norm, or an average and
// then one (methods.md 2.2), or floats.
Network JoinedSums(bool averaged, bool add) {
  NetworkBuilder b("joined", {}, EdmipsAtTwoBits(), 6, 10);
  const NetworkBuilder::Layer stem = {.part = NetworkBuilder::Part::kStem}, body;
  const NetworkBuilder::Layer head = {.part = NetworkBuilder::Part::kHead};
  const Value x = b.Quantize("p", b.Conv("stem", b.Input(3), 8, SquareWindow(3, 1, 1), stem));
  const Value one = b.Conv("one", x, 8, SquareWindow(1, 1, 0), body);
  const Value three = b.Conv("three", x, 4, SquareWindow(3, 1, 1), body);
  Value y = b.MaxPool("pool", b.Concat("concat", {one, three}), 2, 2, 0);
  Value z = averaged ? b.AvgPool("average", y, SquareWindow(3, 1, 1)) : y;
  z = b.BatchNorm("bn", z);
  if (add) z = b.Add("add", z, y);
  return b.Finish(b.Linear("fc", b.GlobalAvgPool("global", z), 10, head));
}

TEST(ImportTest, SumsStaySumsUpToTheBatchNormThatTakesTheirScales) {
  const Network network = JoinedSums(false, false);
  const StateDict state = RandomTensors(network, 19);
  const Graph graph = Import(network, state, kImageNet, nullptr);
  EXPECT_EQ(ValueType::kI32, Named(graph, "concat", GraphOp::kConcat).type);
  EXPECT_EQ(ValueType::kI32, Named(graph, "pool", GraphOp::kMaxPool).type);
  // What one affine of the sums alone does: y = step_w * s_a / 2 * I (methods.md 2.2), normalised.
  const GraphNode& affine = Named(graph, "bn", GraphOp::kAffine);
  EXPECT_EQ(graph.node(affine.inputs[0]).name, "pool");
  for (const auto& [layer, begin, outputs] :
       {std::tuple("one", size_t{0}, size_t{8}), std::tuple("three", size_t{8}, size_t{4})}) {
    const HostTensor& w = state.at(std::string(layer) + ".weight");
    double mean = 0, squares = 0;
    const auto count = static_cast<double>(w.numel());
    for (int64_t i = 0; i < w.numel(); ++i) mean += static_cast<double>(w.f32()[i]) / count;
    for (int64_t i = 0; i < w.numel(); ++i)
      squares += std::pow(static_cast<double>(w.f32()[i]) - mean, 2);
    const double step = 0.996 * std::sqrt(squares / (count - 1));
    for (size_t c = begin; c < begin + outputs; ++c) {
      const double variance = static_cast<double>(state.at("bn.running_var").f32()[c]) + 1e-5;
      const double a = static_cast<double>(state.at("bn.weight").f32()[c]) / std::sqrt(variance) *
                       step * 0.538 / 2;
      EXPECT_NEAR(static_cast<double>(affine.a[c]), a, 1e-6 * std::fabs(a)) << layer << " " << c;
    }
  }
}

TEST(ImportTest, AveragesOfSumsAreOneAConvolutionAndLeaveTheDivisorToTheAffine) {
  const Network network = JoinedSums(true, false);
  const StateDict state = RandomTensors(network, 19);
  const Graph graph = Import(network, state, kImageNet, nullptr);
  const GraphNode& affine = Named(graph, "bn", GraphOp::kAffine);
  const GraphNode& joined = graph.node(affine.inputs[0]);
  ASSERT_EQ(GraphOp::kConcat, joined.op);
  ASSERT_EQ(2u, joined.inputs.size());
  const char* const layers[] = {"one", "three"};
  for (const size_t i : {0, 1}) {
    const GraphNode& average = graph.node(joined.inputs[i]);
    EXPECT_EQ(GraphOp::kAvgPool, average.op);
    EXPECT_EQ(ValueType::kI32, average.type);
    const GraphNode& pool = graph.node(average.inputs[0]);
    EXPECT_EQ(GraphOp::kMaxPool, pool.op);
    EXPECT_EQ(layers[i], graph.node(pool.inputs[0]).name);
  }
  const Network plain = JoinedSums(false, false);
  const Graph without = Import(plain, state, kImageNet, nullptr);
  const std::vector<float>& a = Named(without, "bn", GraphOp::kAffine).a;
  for (size_t c = 0; c < a.size(); ++c)
    EXPECT_NEAR(a[c] / 9, affine.a[c], 1e-6f * std::fabs(a[c]));
}

TEST(ImportTest, SumsThatAreAlsoReadAsFloatsAreScaledOnce) {
  const Network network = JoinedSums(false, true);
  const Graph graph = Import(network, RandomTensors(network, 19), kImageNet, nullptr);
  const GraphNode& real = graph.node(Named(graph, "add", GraphOp::kAdd).inputs[1]);
  EXPECT_EQ(GraphOp::kAffine, real.op);
  EXPECT_EQ("pool", graph.node(real.inputs[0]).name);
  EXPECT_EQ(std::vector<float>(12, 0.0f), real.b);
}

// Two quantizers of a stem's result, the second one of `bits` bits, which are concatenated for a
// convolution and, as numbers, added.
Network TwoQuantizers(int bits) {
  NetworkBuilder b("two", {}, EdmipsAtTwoBits(), 4, 10);
  const NetworkBuilder::Layer stem = {.part = NetworkBuilder::Part::kStem}, body;
  const NetworkBuilder::Layer head = {.part = NetworkBuilder::Part::kHead};
  const Value x = b.Conv("stem", b.Input(3), 8, SquareWindow(3, 1, 1), stem);
  const Value p = b.Quantize("p", x), q = b.Quantize("q", x);
  Value y = b.Conv("conv", b.Concat("concat", {p, q}), 8, SquareWindow(1, 1, 0), body);
  y = b.Add("add1", b.Add("add0", y, p), p);
  Network network = b.Finish(b.Linear("fc", b.GlobalAvgPool("pool", y), 10, head));
  network.nodes[static_cast<size_t>(q)].activations.bits = bits;
  return network;
}

TEST(ImportTest, ConcatenationsKeepCodesThatMeanTheSame) {
  for (const int bits : {2, 3}) {
    const Network network = TwoQuantizers(bits);
    const Graph graph = Import(network, RandomTensors(network, 13), kImageNet, nullptr);
    const GraphNode& concat = Named(graph, "concat", GraphOp::kConcat);
    EXPECT_EQ(16, concat.channels);
    EXPECT_EQ(bits == 2 ? ValueType::kCode : ValueType::kF32, concat.type);
    EXPECT_EQ(bits == 2 ? 3 : 0, concat.levels);
    for (const int input : concat.inputs)
      EXPECT_EQ(bits == 2 ? GraphOp::kQuantize : GraphOp::kDecode, graph.node(input).op);
    EXPECT_EQ(bits == 2 ? ValueType::kI32 : ValueType::kF32,
              Named(graph, "conv", GraphOp::kConv).type);
    EXPECT_EQ(1.858736f, Named(graph, "p", GraphOp::kQuantize).inverse_step);
    // All who need numbers of p share one decode.
    const GraphNode& decode = Named(graph, "p", GraphOp::kDecode);
    EXPECT_EQ(0.538f, decode.step);
    EXPECT_EQ(1, std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const GraphNode& node) {
                return node.op == GraphOp::kDecode && node.name == "p";
              }));
    EXPECT_EQ(&decode, &graph.node(Named(graph, "add0", GraphOp::kAdd).inputs[1]));
    EXPECT_EQ(&decode, &graph.node(Named(graph, "add1", GraphOp::kAdd).inputs[1]));
  }
}

TEST(ImportTest, ABiasFoldsIntoTheBatchNormBehindIt) {
  NetworkBuilder b("biased", {}, QuantizationDefaults(), 4, 10);
  NetworkBuilder::Layer stem, head;
  stem.part = NetworkBuilder::Part::kStem;
  stem.bias = true;
  head.part = NetworkBuilder::Part::kHead;
  const Value x = b.BatchNorm("bn", b.Conv("stem", b.Input(3), 8, SquareWindow(3, 1, 1), stem));
  const Network network = b.Finish(b.Linear("fc", b.Flatten("flatten", x), 10, head));
  const StateDict state = RandomTensors(network, 13);
  const Graph graph = Import(network, state, WithStem(Stem::kF32), nullptr);
  EXPECT_EQ(
      "1 conv stem 0 4x4x8\n"
      "2 affine bn 1 4x4x8\n"
      "3 conv fc 2 1x1x10\n",
      Ops(graph, 1, static_cast<int>(graph.nodes.size())));
  const auto f = [&](const char* name) { return static_cast<double>(state.at(name).f32()[5]); };
  EXPECT_FLOAT_EQ(static_cast<float>((f("stem.bias") - f("bn.running_mean")) /
                                         std::sqrt(f("bn.running_var") + 1e-5) * f("bn.weight") +
                                     f("bn.bias")),
                  graph.node(2).b[5]);
}

TEST(ImportTest, APerChannelNodeBehindAFlatteningIsRefused) {
  NetworkBuilder b("flat", {}, QuantizationDefaults(), 4, 10);
  NetworkBuilder::Layer head;
  head.part = NetworkBuilder::Part::kHead;
  Value x = b.MaxPool("pool", b.Conv("stem", b.Input(3), 8, SquareWindow(3, 1, 1), head), 2, 2, 0);
  x = b.BatchNorm("bn", b.Flatten("flatten", x));
  const Network network = b.Finish(b.Linear("fc", x, 10, head));
  EXPECT_EQ(
      "node bn: follows a flattened value of several pixels, expected a dense layer there",
      ErrorOf([&] { Import(network, RandomTensors(network, 13), kImageNet, nullptr); }));
}

TEST(ImportTest, PlanesAreConvolutionsWhoseAffinesFollowOneAnother) {
  const char* const text = "ternary/resnet20 blocks=1,1 channels=8,16 size=8 t_ex=2";
  const Network network = Small(text);
  const StateDict state = RandomTensors(network, 12);
  const Graph graph = ImportSmall(text);
  EXPECT_EQ(
      "4 conv stage_1.0.conv_a 3 8x8x8\n"
      "5 conv stage_1.0.conv_a 3 8x8x8\n"
      "6 affine stage_1.0.bn_a 4 8x8x8\n"
      "7 affine stage_1.0.bn_a 5 6 8x8x8\n",
      Ops(graph, 4, 8));
  const WeightCodes codes =
      QuantizeWeights({.kind = WeightQuantizer::kTernary, .t_ex = 2},
                      state.at("stage_1.0.conv_a.weight").f32(), 8, 72);
  for (const int plane : {0, 1}) {
    EXPECT_EQ(WeightKind::kTernary, graph.node(4 + plane).weight_kind);
    const double alpha = state.at("stage_1.0.bn_a.weight").f32()[3] /
                         std::sqrt(state.at("stage_1.0.bn_a.running_var").f32()[3] + 1e-5);
    EXPECT_FLOAT_EQ(
        static_cast<float>(alpha * codes.planes[static_cast<size_t>(plane)].scale[3]),
        graph.node(6 + plane).a[3]);
  }
  EXPECT_TRUE(graph.node(7).b.empty());
  // The bias counts once a plane (methods.md 5.1); the stem is fixed-point weights of both.
  const GraphNode& last = graph.nodes[graph.nodes.size() - 2];
  EXPECT_EQ("classifier", last.name);
  EXPECT_EQ(2 * state.at("classifier.bias").f32()[4], last.b[4]);
  EXPECT_EQ(WeightKind::kFixed, graph.node(1).weight_kind);
  EXPECT_EQ(WeightKind::kTernary, ImportSmall(text, Stem::kF32).node(1).weight_kind);
}

// Layers that stay float may become what layers that were trained in fixed point are.
TEST(ImportTest, FloatLayersMayBecomeIntegersWithAScaleAChannel) {
  for (const auto& [text, trained, limbs] :
       {std::tuple{"recu/imagenet-resnet18 blocks=1,1 channels=8,16 size=32 classes=10",
                   "skips=i8 head=i8", 1},
        {"recu/two-stage-resnet18 blocks=1,1 channels=8,16 size=32 classes=10",
         "skips=i16 head=i16", 2},
        {"any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8", "skips=i8 head=i8",
         1},
        {"mcdonnell/wrn-8-0.5 size=8", "head=i16", 2}})
    for (const Stem stem : {Stem::kI24, Stem::kF32}) {
      SCOPED_TRACE(text);
      const Network network = Small(text);
      const StateDict state = RandomTensors(network, 12);
      ImportOptions options = WithStem(stem);
      const Graph want = ImportSmall(std::string(text) + " " + trained, stem);
      options.float_limbs = limbs;
      ImportReport report;
      const Graph got = Import(network, state, options, &report);
      ASSERT_EQ(want.nodes.size(), got.nodes.size());
      int rounded = 0;
      for (size_t i = 0; i < want.nodes.size(); ++i) {
        EXPECT_EQ(want.nodes[i].weight_kind, got.nodes[i].weight_kind) << want.nodes[i].name;
        EXPECT_EQ(want.nodes[i].limbs, got.nodes[i].limbs) << want.nodes[i].name;
        EXPECT_EQ(want.nodes[i].codes, got.nodes[i].codes) << want.nodes[i].name;
        EXPECT_EQ(want.nodes[i].a, got.nodes[i].a) << want.nodes[i].name;
        EXPECT_EQ(want.nodes[i].b, got.nodes[i].b) << want.nodes[i].name;
        rounded += i > 1 && want.nodes[i].weight_kind == WeightKind::kFixed;
      }
      EXPECT_GT(rounded, 0);
      EXPECT_EQ(rounded, std::count_if(report.lines.begin(), report.lines.end(),
                                       [](const std::string& line) {
                                         return line.find("rounded to") != std::string::npos;
                                       }));
    }
  EXPECT_EQ(0, ParseFloatLimbs("f32"));
  EXPECT_EQ(2, ParseFloatLimbs("i16"));
  EXPECT_EQ(1, ParseFloatLimbs("i8"));
  EXPECT_THROW(ParseFloatLimbs("i24"), InputError);
}

TEST(ImportTest, AStemTrainedInFixedPointKeepsItsLimbs) {
  const char* const text = "mcdonnell/wrn-8-0.5 size=8 stem=i8 head=i16";
  const Network network = Small(text);
  const StateDict state = RandomTensors(network, 12);
  for (const Stem stem : {Stem::kAuto, Stem::kI8}) {
    const Graph graph = ImportSmall(text, stem);
    EXPECT_EQ(1, graph.node(1).limbs);
    const std::vector<int32_t>& codes = graph.node(1).codes;
    EXPECT_TRUE(std::all_of(codes.begin(), codes.end(), [](int32_t code) {
      return std::abs(code) <= 127;
    }));
    // Of float inputs: sums of codes, with the scale in the affine.
    const GraphNode& head = Named(graph, "conv_last", GraphOp::kConv);
    EXPECT_EQ(WeightKind::kFixed, head.weight_kind);
    EXPECT_EQ(2, head.limbs);
    EXPECT_EQ(ValueType::kF32, head.type);
  }
  // A float skip of codes was not trained so.
  for (const Stem stem : {Stem::kAuto, Stem::kI8}) {
    const Graph graph = ImportSmall(kAnyPrecision + std::string(" stem=i8"), stem, 4);
    EXPECT_EQ(1, Named(graph, "conv0", GraphOp::kConv).limbs);
    EXPECT_EQ(3, Named(graph, "layers.1.skip_conv", GraphOp::kConv).limbs);
  }
  for (const Stem stem : {Stem::kI24, Stem::kI16, Stem::kF32})
    EXPECT_EQ("node conv0: was trained with an i8 stem, expected i8 or auto",
              ErrorOf([&] { ImportSmall(text, stem); }));
  ImportOptions other = kImageNet;
  other.stem = Stem::kAuto;
  other.std = {0.229, 0.224, 0.229};
  EXPECT_EQ(
      "preprocessing: its deviations differ from those that node conv0 was trained with in fixed "
      "point",
      ErrorOf([&] { Import(network, state, other, nullptr); }));
  // The same for all channels is a matter of the scale.
  ImportOptions twice = kImageNet;
  twice.stem = Stem::kAuto;
  for (double& deviation : twice.std) deviation *= 2;
  const Graph once = ImportSmall(text), half = Import(network, state, twice, nullptr);
  EXPECT_EQ(once.node(1).codes, half.node(1).codes);
  EXPECT_FLOAT_EQ(once.node(2).a[3] / 2, half.node(2).a[3]);
}

TEST(ImportTest, BiasesAndPReluKeepTheirPlaces) {
  const Graph graph =
      ImportSmall("recu/two-stage-resnet18 blocks=1,1 channels=8,16 size=32 classes=10");
  EXPECT_EQ(
      "3 max maxpool 2 8x8x8\n"
      "4 affine layer1.0.move0 3 8x8x8\n"
      "5 sign layer1.0.sign 4 8x8x8\n"
      "6 conv layer1.0.conv 5 8x8x8\n"
      "7 affine layer1.0.bn 6 8x8x8\n"
      "8 add layer1.0.add 7 3 8x8x8\n"
      "9 affine layer1.0.move1 8 8x8x8\n"
      "10 prelu layer1.0.nonlinear 9 8x8x8\n"
      "11 affine layer1.0.move2 10 8x8x8\n",
      Ops(graph, 3, 12));
  EXPECT_EQ(std::vector<float>(8, 1.0f), graph.node(4).a);
}

// A convolution of three signs, sums -3 to 3, through an affine, hardtanh and another affine.
TEST(ZeroSums, AreTheSumsBehindWhichASignFindsZero) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  struct Channel {
    float a, b, a2, b2;
    int64_t zeros;
  };
  const Channel channels[] = {{0.5f, 0.5f, 2, 0, 1},    // -1
                              {-1, 0.25f, 1, 1, 2},     // 2 and 3, which hardtanh makes -1
                              {1, 0.5f, 1, 0, 0},       // between two sums
                              {0, 0, 1, 0, 0},          // a constant
                              {tiny, 0, 0.25f, 0, 5}};  // -2 to 2: products below any float
  Graph graph;
  graph.Append(GraphOp::kInput, "x", {}).channels = 3;
  graph.Append(GraphOp::kSign, "signs", {0}).type = ValueType::kSign;
  GraphNode& conv = graph.Append(GraphOp::kConv, "conv", {1});
  conv.type = ValueType::kI32;
  conv.weight_kind = WeightKind::kSign;
  conv.channels = static_cast<int>(std::size(channels));
  conv.codes.assign(3 * std::size(channels), 1);
  GraphNode& first = graph.Append(GraphOp::kAffine, "first", {2});
  for (const Channel& c : channels) {
    first.a.push_back(c.a);
    first.b.push_back(c.b);
  }
  graph.Append(GraphOp::kActivation, "hardtanh", {3}).activation = Activation::kHardtanh;
  GraphNode& second = graph.Append(GraphOp::kAffine, "second", {4});
  for (const Channel& c : channels) {
    second.a.push_back(c.a2);
    second.b.push_back(c.b2);
  }
  graph.Append(GraphOp::kSign, "sign", {5}).type = ValueType::kSign;
  int64_t want = 0;
  for (const Channel& c : channels) {
    int64_t zeros = 0;
    for (int sum = -3; c.a != 0 && sum <= 3; ++sum) {
      const float z = std::fma(static_cast<float>(sum), c.a, c.b);
      zeros += std::fma(std::clamp(z, -1.0f, 1.0f), c.a2, c.b2) == 0;
    }
    EXPECT_EQ(zeros, c.zeros) << c.a;
    want += c.zeros;
  }
  EXPECT_EQ(ZeroSums(graph), want);
}

TEST(ImportTest, AnyPrecisionCasesAreCountedAndNamed) {
  const Network network = Small(kAnyPrecision);
  StateDict state = RandomTensors(network, 12);
  state["layers.0.conv1.weight"].f32()[9] = 0;
  ImportOptions options = WithStem(Stem::kAuto);
  options.width = 1;
  ImportReport report;
  Import(network, state, options, &report);
  EXPECT_EQ(1, report.between_codes);
  EXPECT_EQ(0, report.zero_weights);
  EXPECT_EQ((std::vector<std::string>{"layers.0.conv1.weight: 1 weights are between two codes and "
                                      "take the one that their 8-bit code implies"}),
            report.lines);
}

TEST(ImportTest, WidthsAndSearchesThatCannotBeImportedAreRefused) {
  EXPECT_EQ(
      "network any-precision/resnet20: has no width 3, expected one of: 1, 2, 4, 8, 32",
      ErrorOf([] { ImportSmall(kAnyPrecision, Stem::kAuto, 3); }));
  EXPECT_EQ("network mcdonnell/wrn-8-0.5: has no width 2, expected none, it cannot be switched",
            ErrorOf([] { ImportSmall("mcdonnell/wrn-8-0.5 size=8", Stem::kAuto, 2); }));
  EXPECT_EQ("network edmips/cifar-resnet20: is a search's mixture of bit widths, expected a final "
            "network",
            ErrorOf([] { ImportSmall("edmips/cifar-resnet20 size=8 mode=search"); }));
}

TEST(ImportTest, StemsHaveTheNamesOfTheCommandLine) {
  for (const char* name : {"i24", "i16", "i8", "f32", "auto"})
    EXPECT_STREQ(name, StemName(ParseStem(name)));
  EXPECT_EQ("unknown stem \"i32\", expected one of: i24, i16, i8, f32, auto",
            ErrorOf([] { ParseStem("i32"); }));
}

}  // namespace
}  // namespace lbrt
