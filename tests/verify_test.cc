#include "apps/lbconvert/verify.h"

#include <gtest/gtest.h>

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
  const Verification result = Verify(AllPasses(graph), ModelOf(graph), TwoImages(), 2);
  EXPECT_EQ(result.images, 2u);
  EXPECT_EQ(result.ops, 4u);
  EXPECT_EQ(result.columns.front(), "scalar");
  EXPECT_EQ(result.logits.size(), 2u * 4u);
}

// A model with one number changed is not the graph's.
TEST(Verify, TheFirstOpThatDiffersIsNamed) {
  const Graph graph = SmallGraph();
  Graph changed = SmallGraph();
  GraphNode& affine = changed.nodes[5];
  ASSERT_EQ(affine.op, GraphOp::kAffine);
  affine.b[7] += 0.125f;
  ExpectRefusal([&] { Verify(AllPasses(graph), ModelOf(changed), TwoImages(), 2); },
                "noise[0]: isa scalar, op 1 (node4)");
  ExpectRefusal([&] { Verify(AllPasses(graph), ModelOf(changed), TwoImages(), 2); }, "channel 7: ");
}

TEST(Verify, OneWeightOfTheLastLayerIsEnough) {
  const Graph graph = SmallGraph();
  Graph changed = SmallGraph();
  changed.nodes.back().weights[0] += 1.0f;
  ExpectRefusal([&] { Verify(AllPasses(graph), ModelOf(changed), TwoImages(), 2); },
                "op 3 (node9)");
}

}  // namespace
}  // namespace lbrt
