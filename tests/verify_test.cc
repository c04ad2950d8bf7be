#include "apps/lbconvert/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "apps/model_runner.h"
#include "converter/emit.h"
#include "converter/passes.h"
#include "tests/graphs.h"
#include "tests/image_files.h"

namespace lbrt {
namespace {

LoweredGraph AllPasses(const Graph& graph) {
  LoweredGraph lowered = Lower(graph);
  for (const Pass& pass : Passes()) pass.run(lowered);
  return lowered;
}

std::vector<uint8_t> ModelOf(const Graph& graph) {
  return Emit(AllPasses(graph), {"channels = 3\nmean = 0 0 0\nstd = 1 1 1\n", {}, {}, {}});
}

Graph SmallGraph() {
  GraphBuilder g;
  const int x = g.Input(ValueType::kU8, 6, 6, 3);
  const int z = g.Affine(g.Conv(x, WeightKind::kFixed, 16, SquareWindow(3, 1, 1), 2), 1e-6f);
  const int y = g.Affine(g.Conv(g.Sign(z), WeightKind::kSign, 16, SquareWindow(3, 1, 1)), 0.1f);
  const int pooled =
      g.AvgPool(g.Activate(g.Add(y, z), Activation::kHardtanh), SquareWindow(6, 1, 0));
  return g.Finish(g.Conv(pooled, WeightKind::kFloat, 4, Window{}));
}

Dataset TwoImages() {
  Dataset data;
  data.source = "noise";
  data.height = data.width = 6;
  data.channels = 3;
  data.pixels = Noise(2 * 6 * 6 * 3);
  return data;
}

TEST(Verify, EveryValueOfEveryColumnIsCompared) {
  const Graph graph = SmallGraph();
  const Verification result = Verify(AllPasses(graph), 0, ModelOf(graph), TwoImages(), 2);
  EXPECT_EQ(result.images, 2u);
  EXPECT_EQ(result.ops, 4u);
  EXPECT_EQ(result.columns.front(), "scalar");
  EXPECT_EQ(result.logits.size(), 2u * 4u);
}

// Groups, integers of few bits, and what moves pixels and channels, of all types of values.
TEST(Verify, OperatorsOfRealFilesAreExact) {
  const Window k3x3 = SquareWindow(3, 1, 1);
  GraphBuilder g;
  const int x = g.Input(ValueType::kU8, 6, 6, 3);
  const int stem = g.Affine(g.Conv(x, WeightKind::kFixed, 12, k3x3, 1, 3), 1e-3f);
  const int depthwise =
      g.Affine(g.Conv(g.Quantize(stem, 15, 15), WeightKind::kInteger, 12, k3x3, 5, 12), 0.01f);
  const int signs = g.Upsample(g.Sign(depthwise), 2, 1);
  const int groups = g.Affine(g.Conv(signs, WeightKind::kSign, 24, k3x3, 0, 4), 0.1f);
  const int codes = g.DepthToSpace(g.Quantize(groups, 3, 3), 2, false);
  const int both =
      g.Conv(g.DepthToSpace(g.Sign(groups), 2, true), WeightKind::kTernary, 6, k3x3, 0, 6);
  const int sum = g.Add(g.Affine(g.Conv(codes, WeightKind::kInteger, 6, k3x3, 3), 0.1f),
                        g.Affine(both, 0.1f));
  const int floats = g.Conv(sum, WeightKind::kFloat, 12, SquareWindow(3, 2, 1), 0, 6);
  const int pooled = g.AvgPool(g.DepthToSpace(floats, 1, true), SquareWindow(6, 1, 0));
  const Graph graph = g.Finish(g.Conv(g.AvgPool(pooled, {7, 1, 1, 1, 0, 0, 0, 0}),
                                      WeightKind::kFloat, 4, Window{}, 0, 2));
  const LoweredGraph lowered = AllPasses(graph);
  EXPECT_EQ(Verify(lowered, 0, ModelOf(graph), TwoImages(), 2).ops, lowered.ops.size());
}

// A model with one number changed is not the graph's.
TEST(Verify, TheFirstOpThatDiffersIsNamed) {
  const Graph graph = SmallGraph();
  Graph changed = SmallGraph();
  GraphNode& affine = changed.nodes[5];
  ASSERT_EQ(affine.op, GraphOp::kAffine);
  affine.b[7] += 0.125f;
  ExpectRefusal([&] { Verify(AllPasses(graph), 0, ModelOf(changed), TwoImages(), 2); },
                "noise[0]: isa scalar, op 1 (node4)");
  ExpectRefusal([&] { Verify(AllPasses(graph), 0, ModelOf(changed), TwoImages(), 2); }, "channel 7: ");
}

Dataset ImageOf(const FittedNetwork& fitted) {
  Dataset data;
  data.source = "noise";
  data.height = fitted.network.nodes[0].height;
  data.width = fitted.network.nodes[0].width;
  data.channels = 3;
  data.pixels = fitted.image;
  return data;
}

// From the tensors to the runtime's values, on every column: what each op stores is the graph's.
void ExpectRuns(const FittedNetwork& fitted, Stem stem, int width) {
  SCOPED_TRACE(std::string(StemName(stem)) + " stem, width " + std::to_string(width));
  const Graph graph = fitted.Imported(stem, width);
  const LoweredGraph lowered = AllPasses(graph);
  const std::vector<uint8_t> file = Emit(
      lowered, {"channels = 3\nmean = 0.49 0.48 0.45\nstd = 0.25 0.24 0.26\n", {}, {}, {}});
  const Verification result = Verify(lowered, 0, file, ImageOf(fitted), 1);
  EXPECT_EQ(result.ops, lowered.ops.size());
  const auto [low, high] = std::minmax_element(result.logits.begin(), result.logits.end());
  EXPECT_LT(*low, *high);
}

class VerifyNetworks : public testing::TestWithParam<const char*> {};

TEST_P(VerifyNetworks, EveryStemAndWidthIsExact) {
  const FittedNetwork fitted(GetParam());
  for (const int width : fitted.Widths()) ExpectRuns(fitted, fitted.Stems().front(), width);
  for (const Stem stem : fitted.Stems())
    if (stem != fitted.Stems().front()) ExpectRuns(fitted, stem, fitted.Widths().front());
}
INSTANTIATE_TEST_SUITE_P(Systems, VerifyNetworks, testing::ValuesIn(kSmallNetworks));

class VerifyWidths : public testing::TestWithParam<const char*> {};

// All widths of one file, against the interpreter and against the files that hold one each.
TEST_P(VerifyWidths, AreExactAndWhatEachIsAlone) {
  const FittedNetwork fitted(GetParam());
  const std::vector<int> widths = fitted.Widths();
  ModelTexts texts = {"channels = 3\nmean = 0.49 0.48 0.45\nstd = 0.25 0.24 0.26\n", {}, {}, {}};
  std::deque<Graph> graphs;
  std::vector<LoweredGraph> lowered;
  std::vector<std::vector<uint8_t>> alone;
  for (const int width : widths) {
    graphs.push_back(fitted.Imported(fitted.Stems().front(), width));
    lowered.push_back(AllPasses(graphs.back()));
    texts.widths = {width};
    alone.push_back(Emit(lowered.back(), texts));
  }
  NestPlanes(lowered);
  texts.widths = widths;
  const std::vector<uint8_t> file = Emit(lowered, texts);
  for (size_t i = 0; i < widths.size(); ++i)
    EXPECT_EQ(Verify(lowered[i], widths[i], file, ImageOf(fitted), 1).ops, lowered[i].ops.size());

  for (size_t column = 0; lbrt_isa_name(column) != nullptr; ++column) {
    RunnerOptions options;
    options.isa = lbrt_isa_name(column);
    options.all_widths = true;
    ModelRunner all(file, "all widths", options);
    all.SetSample(ImageOf(fitted), 0);
    for (size_t turn = 0; turn < 2 * widths.size(); ++turn) {
      const size_t i = turn % 2 == 0 ? turn / 2 : widths.size() - 1 - turn / 2;
      ModelRunner one(alone[i], "one width", options);
      one.SetSample(ImageOf(fitted), 0);
      all.SetWidth(widths[i]);
      const std::span<const float> want = one.Run(), got = all.Run();
      ASSERT_EQ(want.size(), got.size());
      EXPECT_EQ(std::memcmp(want.data(), got.data(), want.size_bytes()), 0)
          << options.isa << ", width " << widths[i];
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Systems, VerifyWidths, testing::ValuesIn(kSwitchedNetworks));

TEST(Verify, EveryPairOfQuantizersIsExact) {
  for (const std::string& weights : WeightQuantizerNames()) {
    const auto kind = ParseWeightQuantizer(weights);
    if (kind == WeightQuantizer::kFixedPoint) continue;  // not of a network's body
    for (const std::string& activations : ActivationQuantizerNames()) {
      const bool bits = EntryOf(kind).most_bits > 0 ||
                        EntryOf(ParseActivationQuantizer(activations)).most_bits > 0;
      SCOPED_TRACE(weights + " " + activations);
      ExpectRuns(FittedNetwork("recu/resnet20 blocks=1,1 channels=9,21 size=8 weights=" + weights +
                               " activations=" + activations + (bits ? " bits=3/2" : "")),
                 Stem::kI24, 0);
    }
  }
}

TEST(Verify, TheInceptionsAreExact) {
  for (const char* text : kInceptions) ExpectRuns(FittedNetwork(text), Stem::kI24, 0);
}

TEST(Verify, OneWeightOfTheLastLayerIsEnough) {
  const Graph graph = SmallGraph();
  Graph changed = SmallGraph();
  changed.nodes.back().weights[0] += 1.0f;
  ExpectRefusal([&] { Verify(AllPasses(graph), 0, ModelOf(changed), TwoImages(), 2); },
                "op 3 (node9)");
}

}  // namespace
}  // namespace lbrt
