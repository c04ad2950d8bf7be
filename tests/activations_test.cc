// Float activations that become 8-bit codes: the step that is chosen, the graph that results, and
// what the runtime makes of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "apps/lbconvert/calibrate.h"
#include "apps/lbconvert/verify.h"
#include "converter/activation_histogram.h"
#include "converter/emit.h"
#include "converter/passes.h"
#include "converter/quantize_activations.h"
#include "tests/graphs.h"
#include "tests/image_files.h"

namespace lbrt {
namespace {

using Groups = std::vector<std::vector<int>>;

constexpr Window k3x3 = SquareWindow(3, 1, 1);

// ------------------------------------------------------------------------------------- histograms

// With a few large ones.
std::vector<float> Rectified(size_t count) {
  std::mt19937 random(5);
  std::vector<float> values(count);
  for (float& value : values) {
    const float x = std::normal_distribution<float>(0.1f, 2.0f)(random);
    value = std::max(0.0f, x * x * x);
  }
  return values;
}

double SquaredError(const std::vector<float>& values, double step) {
  double sum = 0;
  for (const float value : values) {
    const double code = std::round(std::clamp(static_cast<double>(value) / step, 0.0, 255.0));
    sum += std::pow(static_cast<double>(value) - code * step, 2);
  }
  return sum;
}

TEST(ActivationHistogram, TheStepIsTheBestOfAFineGrid) {
  const std::vector<float> values = Rectified(20000);
  ActivationHistogram histogram;
  histogram.Add(values);
  EXPECT_EQ(histogram.largest(), static_cast<double>(*std::ranges::max_element(values)));
  const double step = histogram.BestStep(255), error = SquaredError(values, step);
  double squares = 0;
  for (const float value : values) squares += std::pow(static_cast<double>(value), 2);
  EXPECT_NEAR(histogram.Error(step, 255), error / squares, 0.02 * error / squares);
  for (double other = histogram.largest() / 255 / 40; other < 5; other *= 1.01)
    EXPECT_GE(SquaredError(values, other), 0.97 * error) << other;
}

// A million values between 0 and 1 and one of 4, clipped at c: (4 - c)^2 + 10^6 / 12 (c / 255)^2.
TEST(ActivationHistogram, RareLargeValuesAreClipped) {
  ActivationHistogram histogram;
  for (int i = 0; i < 1'000'000; ++i) {
    const float value = static_cast<float>(i) * 1e-6f;
    histogram.Add({&value, 1});
  }
  histogram.Add(std::vector<float>{4.0f});
  EXPECT_NEAR(histogram.BestStep(255) * 255, 4 / (1 + 1e6 / 12 / (255 * 255)), 0.05);
}

TEST(ActivationHistogram, ValuesOfOneSizeAreHitExactlyEnough) {
  ActivationHistogram histogram;
  histogram.Add(std::vector<float>(100, 3.0f));
  const double step = histogram.BestStep(255);
  EXPECT_LT(histogram.Error(step, 255), 1e-6);
  EXPECT_NEAR(std::round(3 / step) * step, 3, 1e-3);
}

TEST(ActivationHistogram, TheOrderOfValuesChangesNothing) {
  std::vector<float> values = Rectified(3000);
  values.push_back(1e-9f);
  ActivationHistogram up, down;
  std::ranges::sort(values);
  for (const float value : values) up.Add({&value, 1});
  std::ranges::reverse(values);
  down.Add(values);
  EXPECT_EQ(up.BestStep(255), down.BestStep(255));
  for (const double step : {0.001, 0.01, 0.1})
    EXPECT_EQ(up.Error(step, 255), down.Error(step, 255)) << step;
}

TEST(ActivationHistogram, NothingButZerosHasAStepAndNoError) {
  ActivationHistogram histogram;
  histogram.Add(std::vector<float>(10, 0.0f));
  EXPECT_EQ(histogram.BestStep(255), 1);
  EXPECT_EQ(histogram.Error(1, 255), 0);
}

// ----------------------------------------------------------------------------------------- graphs

// Builds one graph twice: as it is, and with what `round` makes of an activation, i.e. floats that
// are rounded to multiples of a step, which no code of the converter's did.
using Round = std::function<int(GraphBuilder&, int x, double step)>;
using Build = std::function<int(GraphBuilder&, const Round&)>;

Graph Built(const Build& build, const Round& round) {
  GraphBuilder g;
  const int output = build(g, round);
  return g.Finish(output);
}
int AsItIs(GraphBuilder&, int x, double) { return x; }
int Rounded(GraphBuilder& g, int x, double step) {
  return g.Decode(g.Quantize(x, static_cast<float>(1 / step), 255), static_cast<float>(step));
}

void ExpectNear(const std::vector<float>& want, const std::vector<float>& got) {
  ASSERT_EQ(want.size(), got.size());
  float largest = 0;
  for (const float value : want) largest = std::max(largest, std::abs(value));
  ASSERT_GT(largest, 0);
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(want[i], got[i], 1e-5f * largest) << i;
}

// The graph with codes; it means what the one of rounded floats means, and every convolution of
// integer weights reads codes.
Graph ExpectCodes(const Build& build, const Groups& groups, const std::vector<double>& steps) {
  const Graph graph = Built(build, AsItIs);
  EXPECT_EQ(FloatActivations(graph), groups);
  Graph coded = QuantizeActivations(graph, steps);
  EXPECT_TRUE(FloatActivations(coded).empty());
  const Graph rounded = Built(build, Rounded);
  const PlainValue input = RandomInput(graph);
  ExpectNear(AsFloats(Interpret(rounded, input)[static_cast<size_t>(rounded.output)]),
             AsFloats(Interpret(coded, input)[static_cast<size_t>(coded.output)]));
  for (const GraphNode& node : coded.nodes) {
    if (node.op != GraphOp::kConv || node.weight_kind == WeightKind::kFloat) continue;
    EXPECT_EQ(coded.node(node.inputs[0]).type, ValueType::kCode) << node.name;
    const bool fixed = node.weight_kind == WeightKind::kFixed;
    EXPECT_EQ(node.type, fixed ? ValueType::kI64 : ValueType::kI32);
  }
  return coded;
}

size_t CountOf(const Graph& graph, GraphOp op) {
  return static_cast<size_t>(
      std::ranges::count_if(graph.nodes, [op](const GraphNode& node) { return node.op == op; }));
}

LoweredGraph AllPasses(const Graph& graph) {
  LoweredGraph lowered = Lower(graph);
  for (const Pass& pass : Passes()) pass.run(lowered);
  return lowered;
}

int FloatStem(GraphBuilder& g, int size, int channels) {
  return g.Affine(g.Conv(g.Input(ValueType::kF32, size, size, 3), WeightKind::kFloat, channels,
                         k3x3));
}

TEST(QuantizeActivations, TheQuantizerTakesTheReLUsPlaceAndTheAffineTheStep) {
  const Build build = [](GraphBuilder& g, const Round& round) {
    const int relu = g.Activate(FloatStem(g, 6, 8), Activation::kRelu);
    return g.Affine(g.Conv(round(g, relu, 0.02), WeightKind::kSign, 5, k3x3), 0.1f);
  };
  const Graph coded = ExpectCodes(build, {{3}}, {0.02});
  EXPECT_EQ(CountOf(coded, GraphOp::kActivation), 0u);
  EXPECT_EQ(CountOf(coded, GraphOp::kDecode), 0u);
  EXPECT_EQ(coded.nodes.size(), 6u);
  const LoweredGraph lowered = AllPasses(coded);
  ASSERT_EQ(lowered.ops.size(), 2u);
  EXPECT_EQ(lowered.ops[0].stages[0].out_f32, -1);
}

TEST(QuantizeActivations, AResidualAdditionReadsTheFloatsThatTheSameOpStores) {
  const Build build = [](GraphBuilder& g, const Round& round) {
    const int relu = g.Activate(FloatStem(g, 6, 8), Activation::kRelu);
    const int y = g.Affine(g.Conv(round(g, relu, 0.03), WeightKind::kTernary, 8, k3x3), 0.1f);
    return g.Add(y, relu);
  };
  const LoweredGraph before = AllPasses(Built(build, AsItIs));
  const Graph coded = ExpectCodes(build, {{3}}, {0.03});
  const LoweredGraph after = AllPasses(coded);
  EXPECT_EQ(before.ops.size(), after.ops.size());
  ASSERT_EQ(after.ops[0].stages.size(), 1u);
  EXPECT_GE(after.ops[0].stages[0].out_f32, 0);
  EXPECT_GE(after.ops[0].stages[0].out_codes, 0);
}

TEST(QuantizeActivations, SumsThatNoAffineReadsGetOne) {
  const Build build = [](GraphBuilder& g, const Round& round) {
    const int relu = round(g, g.Activate(FloatStem(g, 5, 4), Activation::kRelu), 0.05);
    const int a = g.Conv(relu, WeightKind::kSign, 4, k3x3);
    const int b = g.Affine(g.Conv(relu, WeightKind::kSign, 4, k3x3));
    return g.Add(a, g.Add(b, g.Affine(a)));
  };
  const Graph coded = ExpectCodes(build, {{3}}, {0.05});
  EXPECT_EQ(CountOf(coded, GraphOp::kQuantize), 1u);
  EXPECT_EQ(CountOf(coded, GraphOp::kAffine), 4u);
  EXPECT_EQ(CountOf(ExpectCodes(
                        [](GraphBuilder& g, const Round& round) {
                          const int relu = g.Activate(FloatStem(g, 5, 4), Activation::kRelu);
                          return g.Conv(round(g, relu, 0.05), WeightKind::kSign, 4, k3x3);
                        },
                        {{3}}, {0.05}),
                    GraphOp::kAffine),
            2u);  // the network's output itself
}

TEST(QuantizeActivations, PlanesOfOneLayerTakeTheStepEach) {
  ExpectCodes(
      [](GraphBuilder& g, const Round& round) {
        const int x = round(g, g.Activate(FloatStem(g, 5, 4), Activation::kRelu), 0.05);
        const int a = g.Conv(x, WeightKind::kTernary, 4, k3x3);
        const int b = g.Conv(x, WeightKind::kTernary, 4, k3x3);
        return g.AffineOnto(b, g.Affine(a));
      },
      {{3}}, {0.05});
}

TEST(QuantizeActivations, EveryKindOfIntegerWeightsReadsCodes) {
  ExpectCodes(
      [](GraphBuilder& g, const Round& round) {
        int x = round(g, g.Activate(FloatStem(g, 5, 4), Activation::kRelu), 0.05);
        x = g.Affine(g.Conv(x, WeightKind::kOdd, 4, k3x3, 8), 1e-3f);
        x = round(g, g.Activate(x, Activation::kClipUnit), 0.01);
        return g.Affine(g.Conv(x, WeightKind::kFixed, 4, k3x3, 2), 1e-3f);
      },
      {{3}, {6}}, {0.05, 0.01});
}

TEST(QuantizeActivations, MaxPoolingsAreOfCodesWhereCodesAreRead) {
  const Build build = [](GraphBuilder& g, const Round& round) {
    const int relu = g.Activate(FloatStem(g, 6, 4), Activation::kRelu);
    const int pooled = g.MaxPool(relu, SquareWindow(3, 2, 1));
    const int y = g.Affine(g.Conv(round(g, pooled, 0.05), WeightKind::kSign, 4, k3x3));
    return g.Add(y, pooled);
  };
  const Graph coded = ExpectCodes(build, {{3}}, {0.05});
  EXPECT_EQ(CountOf(coded, GraphOp::kMaxPool), 2u);  // the addition reads floats
}

TEST(QuantizeActivations, ConcatenatedCodesShareAStep) {
  ExpectCodes(
      [](GraphBuilder& g, const Round& round) {
        const int stem = FloatStem(g, 6, 4);
        const int a = g.Activate(g.Affine(stem), Activation::kRelu);
        const int b = g.Activate(g.Affine(stem), Activation::kRelu);
        const int c = g.Activate(g.Affine(stem), Activation::kRelu);
        const int joined = g.Concat({a, g.MaxPool(c, k3x3)});
        const int x = g.Affine(g.Conv(round(g, b, 0.05), WeightKind::kSign, 4, k3x3));
        const int y = g.Affine(g.Conv(round(g, joined, 0.02), WeightKind::kSign, 4, k3x3));
        return g.Add(x, y);
      },
      {{4, 8}, {6}}, {0.02, 0.05});
}

TEST(QuantizeActivations, WhatMayBeNegativeOrIsReadByFloatWeightsStays) {
  GraphBuilder g;
  const int stem = FloatStem(g, 5, 4);
  const int clipped = g.Activate(stem, Activation::kHardtanh);
  const int relu = g.Activate(stem, Activation::kRelu);
  const int x = g.Conv(clipped, WeightKind::kSign, 4, k3x3);
  const int y = g.Conv(relu, WeightKind::kFloat, 4, k3x3);
  const int z = g.Conv(g.Concat({clipped, relu}), WeightKind::kSign, 4, k3x3);
  const int codes = g.Conv(g.Quantize(relu, 1, 3), WeightKind::kSign, 4, k3x3);
  const int sum = g.Add(g.Affine(x), g.Add(y, g.Add(g.Affine(z), g.Affine(codes))));
  const Graph graph = g.Finish(sum);
  EXPECT_TRUE(FloatActivations(graph).empty());
  const PlainValue input = RandomInput(graph);
  const Graph same = QuantizeActivations(graph, {});
  EXPECT_TRUE(SameBits(AsFloats(Interpret(graph, input)[static_cast<size_t>(graph.output)]),
                       AsFloats(Interpret(same, input)[static_cast<size_t>(same.output)])));
}

// --------------------------------------------------------------------------------------- networks

constexpr char kPreprocessing[] = "channels = 3\nmean = 0.49 0.48 0.45\nstd = 0.25 0.24 0.26\n";

Calibration CalibrationOf(const FittedNetwork& fitted) {
  Calibration calibration;
  calibration.preprocessing = kPreprocessing;
  calibration.data.source = "noise";
  calibration.data.height = fitted.network.nodes[0].height;
  calibration.data.width = fitted.network.nodes[0].width;
  calibration.data.channels = 3;
  calibration.data.pixels = fitted.image;
  return calibration;
}

class CodedNetworks : public testing::TestWithParam<const char*> {};

// On every column each op stores the interpreter's values, and the logits are almost the floats'.
TEST_P(CodedNetworks, RunExactly) {
  const FittedNetwork fitted(GetParam());
  const Graph graph = fitted.Imported(Stem::kAuto, 0);
  const Calibration calibration = CalibrationOf(fitted);
  std::vector<std::string> lines;
  const Graph coded = Calibrate(graph, calibration, &lines);
  EXPECT_EQ(lines.size(), FloatActivations(graph).size());
  const LoweredGraph lowered = AllPasses(coded);
  const Verification result =
      Verify(lowered, 0, Emit(lowered, {kPreprocessing, {}, {}, {}}), calibration.data, 1);
  const std::vector<float> floats =
      AsFloats(Interpret(graph, InputOf(fitted, graph))[static_cast<size_t>(graph.output)]);
  double error = 0, squares = 0;
  for (size_t i = 0; i < floats.size(); ++i) {
    error += std::pow(static_cast<double>(floats[i] - result.logits[i]), 2);
    squares += std::pow(static_cast<double>(floats[i]), 2);
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(error, 0.05 * 0.05 * squares);
}
INSTANTIATE_TEST_SUITE_P(
    Systems, CodedNetworks,
    testing::Values("mcdonnell/wrn-8-0.5", "mcdonnell/wrn-8-0.5 size=16 stem=i8 head=i16",
                    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16",
                    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16 t_ex=2",
                    "ternary/resnet18 blocks=1,1 channels=8,16 size=32 classes=10 t_ex=4",
                    "ternary/resnet50 blocks=1,1 channels=4,8 size=32 classes=10",
                    "ternary/alexnet channels=8,8,8,8,8,16,16 size=96 classes=10"));

TEST(Calibrate, TheSameImagesGiveTheSameSteps) {
  const FittedNetwork fitted("mcdonnell/wrn-8-0.5 size=16");
  const Graph graph = fitted.Imported(Stem::kAuto, 0);
  std::vector<std::string> first, second;
  Calibrate(graph, CalibrationOf(fitted), &first);
  Calibrate(graph, CalibrationOf(fitted), &second);
  EXPECT_EQ(first, second);
  EXPECT_NE(first[0].find("group0.block0.relu0: rounded to 0 to 255 times "), std::string::npos);
}

TEST(Calibrate, AtMostSoManyImagesAreUsed) {
  Calibration calibration;
  calibration.data.source = "a/b";
  calibration.data.height = calibration.data.width = 1;
  calibration.data.channels = 1;
  calibration.data.pixels.resize(1000);
  EXPECT_EQ(calibration.Text(), "256 images of b");
  calibration.data.pixels.resize(255);
  EXPECT_EQ(calibration.images(), 255u);
}

TEST(Calibrate, RefusesWhatHasNothingToCalibrateOrNoImages) {
  std::vector<std::string> lines;
  for (const char* text : {"recu/resnet20 blocks=1,1 channels=8,16 size=16",
                           "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8",
                           "mcdonnell/wrn-8-0.5 size=16 form=full-precision"}) {
    const FittedNetwork fitted(text);
    ExpectRefusal(
        [&] { Calibrate(fitted.Imported(Stem::kAuto, 0), CalibrationOf(fitted), &lines); },
        "quantized already");
  }
  const FittedNetwork fitted("mcdonnell/wrn-8-0.5 size=16");
  Calibration none = CalibrationOf(fitted);
  none.data.pixels.clear();
  ExpectRefusal([&] { Calibrate(fitted.Imported(Stem::kAuto, 0), none, &lines); },
                "no images to calibrate with");
}

}  // namespace
}  // namespace lbrt
