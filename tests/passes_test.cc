#include "converter/passes.h"

#include <gtest/gtest.h>

#include <deque>
#include <set>

#include "converter/ops.h"
#include "images/error.h"
#include "tests/graphs.h"

namespace lbrt {
namespace {

// Every value the lowered graph stores, against the graph's. Its nodes as imported do not depend on
// those that passes appended.
void ExpectSameMeaning(const PlainValue& input, const LoweredGraph& lowered,
                       const std::string& where) {
  const Graph& graph = *lowered.graph;
  const auto want = Interpret(graph, input), got = Interpret(lowered, input);
  for (const int value : StoredValues(lowered))
    EXPECT_TRUE(SameBits(AsFloats(want[static_cast<size_t>(value)]),
                         AsFloats(got[static_cast<size_t>(value)])))
        << where << ", value " << value << " of " << graph.node(value).name;
  EXPECT_NE(ProducerOf(lowered, graph.output), -1) << where;
}

// Runs all passes; after each the graph means what it meant.
LoweredGraph RunPasses(const Graph& graph, const PlainValue& input) {
  LoweredGraph lowered = Lower(graph);
  ExpectSameMeaning(input, lowered, "lowered");
  for (const Pass& pass : Passes()) {
    if (!pass.run(lowered)) continue;
    ExpectSameMeaning(input, lowered, pass.name);
    EXPECT_FALSE(pass.run(lowered)) << pass.name << " leaves something undone";
  }
  return lowered;
}
LoweredGraph RunPasses(const Graph& graph) { return RunPasses(graph, RandomInput(graph)); }

// "conv", "eltwise+" for two stages, "conv++" for three, ...
std::string Shape(const LoweredGraph& lowered) {
  std::string text;
  for (const LoweredGraph::Op& op : lowered.ops) {
    text += text.empty() ? "" : " ";
    text += op.kind == &kinds::kConv      ? "conv"
            : op.kind == &kinds::kEltwise ? "eltwise"
            : op.kind == &kinds::kConcat  ? "concat"
                                          : "pool";
    if (op.stages.size() > 1) text.append(op.stages.size() - 1, '+');
  }
  return text;
}

constexpr Window k3x3 = SquareWindow(3, 1, 1);

TEST(Passes, AnEpilogueOfEveryStepBecomesOneOp) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 5, 4, 7);
  const int affine = g.Affine(g.Conv(g.Sign(x), WeightKind::kSign, 7, k3x3), 0.1f);
  const int sum = g.Add(affine, x);
  const int z = g.Activate(sum, Activation::kHardtanh);
  const int signs = g.Sign(z);
  const int out = g.Conv(signs, WeightKind::kSign, 3, k3x3);
  const Graph graph = g.Finish(out);
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "eltwise conv conv");
  const LoweredGraph::Op& conv = lowered.ops[1];
  ASSERT_EQ(conv.stages.size(), 1u);
  EXPECT_EQ(conv.stages[0].affine, affine);
  EXPECT_EQ(conv.stages[0].add, x);
  EXPECT_EQ(conv.stages[0].activation, z);
  EXPECT_EQ(conv.stages[0].out_f32, -1);  // only its signs are read
  EXPECT_EQ(conv.stages[0].out_sign, signs);
}

TEST(Passes, AValueWithTwoUsersIsStoredBesideItsSigns) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 8);
  const int z = g.Activate(g.Conv(x, WeightKind::kFloat, 8, k3x3), Activation::kRelu);
  const int y = g.Affine(g.Conv(g.Sign(z), WeightKind::kSign, 8, k3x3), 0.1f);
  const Graph graph = g.Finish(g.Add(y, z));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv conv");
  EXPECT_EQ(lowered.ops[0].stages[0].out_f32, z);
  EXPECT_GE(lowered.ops[0].stages[0].out_sign, 0);
  EXPECT_EQ(lowered.ops[1].stages[0].add, z);
}

TEST(Passes, ASecondAffineOnAStreamThatOthersReadIsASecondStage) {  // a McDonnell block
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 6, 6, 4);
  const int affine = g.Affine(g.Conv(x, WeightKind::kSign, 4, k3x3));
  const int stream = g.Add(x, affine);
  const int relu = g.Activate(g.Affine(stream), Activation::kRelu);
  const int conv = g.Conv(relu, WeightKind::kSign, 4, k3x3);
  const Graph graph = g.Finish(g.Add(stream, conv));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv+ conv");
  EXPECT_EQ(lowered.ops[0].stages[0].out_f32, stream);
  EXPECT_EQ(lowered.ops[0].stages[1].out_f32, relu);
}

TEST(Passes, AStreamThatNobodyElseReadsIsNotStored) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 6, 6, 4);
  const int sum = g.Add(g.Affine(g.Conv(x, WeightKind::kSign, 4, k3x3)), x);
  const Graph graph = g.Finish(g.Activate(g.Affine(sum), Activation::kRelu));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv+");
  EXPECT_EQ(lowered.ops[0].stages[0].out_f32, -1);
}

TEST(Passes, OfTwoAffinesOnOneSumTheSecondRestartsFromIt) {
  GraphBuilder g;
  const int x = g.Sign(g.Input(ValueType::kF32, 4, 4, 4));
  const int sum = g.Conv(x, WeightKind::kSign, 4, k3x3);
  const Graph graph = g.Finish(g.Add(g.Affine(sum), g.Affine(sum)));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "eltwise conv+ eltwise");
  EXPECT_FALSE(lowered.ops[1].stages[0].restart);
  EXPECT_TRUE(lowered.ops[1].stages[1].restart);
}

TEST(Passes, ANinthStageStaysAloneAndSaysSo) {
  GraphBuilder g;
  int x = g.Conv(g.Input(ValueType::kF32, 3, 3, 2), WeightKind::kFloat, 2, k3x3);
  for (int i = 0; i < 9; ++i) x = g.Affine(x);
  const Graph graph = g.Finish(x);
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv+++++++ eltwise");
  EXPECT_EQ(lowered.ops[1].note, "would be a stage too many: 8 at most");
}

TEST(Passes, StepsInAnotherOrderBeginASecondStage) {
  GraphBuilder g;
  const int conv = g.Conv(g.Input(ValueType::kF32, 3, 3, 2), WeightKind::kFloat, 2, k3x3);
  const Graph graph = g.Finish(g.Affine(g.Activate(conv, Activation::kRelu)));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv+");
}

TEST(Passes, AValueIsNotAddedToItself) {
  GraphBuilder g;
  const int conv = g.Conv(g.Input(ValueType::kF32, 3, 3, 2), WeightKind::kFloat, 2, k3x3);
  const Graph graph = g.Finish(g.Add(conv, conv));
  EXPECT_EQ(Shape(RunPasses(graph)), "conv eltwise");
}

TEST(Passes, AnAdditionWaitsForWhatIsMadeFromItsOtherSide) {
  GraphBuilder g;
  const int z = g.Affine(g.Conv(g.Input(ValueType::kF32, 4, 4, 3), WeightKind::kFloat, 3, k3x3));
  const int pooled = g.AvgPool(z, SquareWindow(3, 1, 1));
  const Graph graph = g.Finish(g.Add(z, pooled));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv pool eltwise");
  EXPECT_NE(lowered.ops[2].note, "");
}

TEST(Passes, OfTwoConvolutionsTheLaterOneAdds) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 3);
  const int first = g.Affine(g.Conv(x, WeightKind::kFloat, 3, k3x3));
  const int second = g.Affine(g.Conv(x, WeightKind::kSign, 3, k3x3));
  const Graph graph = g.Finish(g.Add(first, second));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv conv");
  EXPECT_EQ(lowered.ops[1].stages[0].add, first);
}

TEST(Passes, AShortcutThatIsListedLaterRunsEarlier) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 4);
  const int y = g.Affine(g.Conv(g.Sign(x), WeightKind::kSign, 8, SquareWindow(3, 2, 1)));
  const int shortcut = g.PadChannels(g.AvgPool(x, SquareWindow(2, 2, 0)), 2, 2);
  const Graph graph = g.Finish(g.Activate(g.Add(y, shortcut), Activation::kHardtanh));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "eltwise pool conv");
}

TEST(Passes, APooledValueThatOthersReadKeepsItsOwnOp) {
  GraphBuilder g;
  const int pooled = g.AvgPool(g.Input(ValueType::kF32, 4, 4, 2), SquareWindow(2, 2, 0));
  const int padded = g.PadChannels(pooled, 0, 2);
  const int conv = g.Conv(pooled, WeightKind::kFloat, 4, k3x3);
  const Graph graph = g.Finish(g.Add(conv, padded));
  EXPECT_EQ(Shape(RunPasses(graph)), "pool pool conv");
}

TEST(Passes, ZeroChannelsOfSomethingElseAreRefused) {
  GraphBuilder g;
  const Graph graph = g.Finish(g.PadChannels(g.Input(ValueType::kF32, 4, 4, 2), 0, 2));
  EXPECT_THROW(Lower(graph), InputError);
}

TEST(Passes, SignsTakenTwiceOfOneValueAreMadeOnce) {
  GraphBuilder g;
  const int z = g.Conv(g.Input(ValueType::kF32, 4, 4, 2), WeightKind::kFloat, 2, k3x3);
  const int signs = g.Sign(z);
  const int a = g.Conv(signs, WeightKind::kSign, 2, k3x3);
  const int b = g.Conv(g.Sign(z), WeightKind::kSign, 2, k3x3);
  const Graph graph = g.Finish(g.Add(a, b));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv conv conv");
  EXPECT_EQ(lowered.ops[2].inputs[0], signs);
}

TEST(Passes, CodesOfOneStepAreMadeOnceAndOthersByAStageOfTheirOwn) {
  GraphBuilder g;
  const int z = g.Conv(g.Input(ValueType::kF32, 4, 4, 2), WeightKind::kFloat, 2, k3x3);
  int sum = z;
  for (const int levels : {1, 3, 7, 3, 15}) {
    const int codes = g.Quantize(z, 2.0f, levels);
    sum = g.Add(sum, g.Affine(g.Conv(codes, WeightKind::kTernary, 2, k3x3)));
  }
  // Another step, and the signs, which need no stage of their own.
  sum = g.Add(sum, g.Conv(g.Quantize(z, 3.0f, 3), WeightKind::kSign, 2, k3x3));
  const Graph graph = g.Finish(g.Add(sum, g.Conv(g.Sign(z), WeightKind::kSign, 2, k3x3)));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered).find("eltwise"), std::string::npos);
  const LoweredGraph::Op& conv = lowered.ops[0];
  ASSERT_EQ(conv.stages.size(), 5u);
  const int levels[] = {1, 3, 7, 15, 3};
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(graph.node(conv.stages[i].out_codes).levels, levels[i]);
    EXPECT_EQ(conv.stages[i].out_f32, i == 4 ? z : -1);
    EXPECT_EQ(conv.stages[i].out_sign >= 0, i == 4);
  }
}

TEST(Passes, AStageStoresFloatsSignsAndCodesAtOnce) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 3);
  const int z = g.Activate(g.Affine(g.Conv(x, WeightKind::kFloat, 3, k3x3)), Activation::kClipUnit);
  const int signs = g.Sign(z), codes = g.Quantize(z, 3.0f, 3);
  const int a = g.Conv(signs, WeightKind::kOdd, 3, k3x3, 3);
  const int b = g.Affine(g.Conv(codes, WeightKind::kOdd, 3, k3x3, 8));
  const Graph graph = g.Finish(g.Add(g.Add(a, b), z));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv conv conv+");
  ASSERT_EQ(lowered.ops[0].stages.size(), 1u);
  EXPECT_EQ(lowered.ops[0].stages[0].out_f32, z);
  EXPECT_EQ(lowered.ops[0].stages[0].out_sign, signs);
  EXPECT_EQ(lowered.ops[0].stages[0].out_codes, codes);
}

TEST(Passes, SignsOfAValueThatGoesOnToASecondStageJoinTheFirst) {
  GraphBuilder g;
  const int z = g.Conv(g.Input(ValueType::kF32, 4, 4, 3), WeightKind::kFloat, 3, k3x3);
  const int affine = g.Affine(z);
  const int signs = g.Sign(z);
  const Graph graph = g.Finish(g.Add(g.Conv(signs, WeightKind::kSign, 3, k3x3), affine));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv+ conv");
  EXPECT_EQ(lowered.ops[0].stages[0].out_f32, -1);
  EXPECT_EQ(lowered.ops[0].stages[0].out_sign, signs);
}

TEST(Passes, CodesThatNobodyReadsAsFloatsAreAllThatIsStored) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 3);
  const int z = g.Activate(g.Affine(g.Conv(x, WeightKind::kFloat, 3, k3x3)), Activation::kRelu);
  const int codes = g.Quantize(z, 2.0f, 7);
  const Graph graph = g.Finish(g.Affine(g.Conv(codes, WeightKind::kFixed, 3, k3x3, 2), 1e-3f));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv conv");
  EXPECT_EQ(OutputsOf(lowered.ops[0]), std::vector<int>{codes});
}

TEST(Passes, PlanesAreAddedByTheEpiloguesOfTheLaterOnes) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 3);
  const int first = g.Affine(g.Conv(x, WeightKind::kTernary, 3, k3x3));
  const int second = g.AffineOnto(g.Conv(x, WeightKind::kTernary, 3, k3x3), first);
  const int third = g.AffineOnto(g.Conv(x, WeightKind::kTernary, 3, k3x3), second);
  const Graph graph = g.Finish(g.Activate(g.Add(third, x), Activation::kRelu));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv conv conv");
  EXPECT_EQ(lowered.ops[1].stages[0].base, first);
  ASSERT_EQ(lowered.ops[2].stages.size(), 1u);
  EXPECT_EQ(lowered.ops[2].stages[0].base, second);
  EXPECT_EQ(lowered.ops[2].stages[0].add, x);
}

TEST(Passes, ABaseIsNotAnEpilogueOfWhatMakesIt) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 3);
  const int sum = g.Conv(x, WeightKind::kTernary, 3, k3x3);
  const Graph graph = g.Finish(g.AffineOnto(sum, g.Affine(sum)));
  EXPECT_EQ(Shape(RunPasses(graph)), "conv+ eltwise");
}

TEST(Passes, APReluIsAnActivationLikeOthers) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 3);
  const int prelu = g.PRelu(g.Add(g.Affine(g.Conv(x, WeightKind::kFloat, 3, k3x3)), x));
  const Graph graph = g.Finish(g.Conv(g.Sign(g.Affine(prelu)), WeightKind::kSign, 3, k3x3));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv+ conv");
  EXPECT_EQ(lowered.ops[0].stages[0].activation, prelu);
}

TEST(Passes, CodesAsNumbersBeginAnOp) {
  GraphBuilder g;
  const int z = g.Conv(g.Input(ValueType::kF32, 4, 4, 3), WeightKind::kFloat, 3, k3x3);
  const int real = g.Decode(g.Quantize(z, 2.0f, 7), 0.3217f);
  const int ones = g.Affine(g.Decode(g.Sign(z), 1));
  const Graph graph = g.Finish(g.Add(g.Activate(real, Activation::kRelu), ones));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv eltwise eltwise");
  EXPECT_EQ(lowered.ops[1].note, "takes codes as numbers");
  EXPECT_EQ(lowered.ops[1].stages[0].affine, real);
  ASSERT_EQ(lowered.ops[2].stages.size(), 1u);  // times 1 is no step
}

TEST(Passes, PoolingsAndConcatenationsKeepCodes) {
  GraphBuilder g;
  const int z = g.Conv(g.Input(ValueType::kF32, 6, 6, 3), WeightKind::kFloat, 3, k3x3);
  const Window k3x3s2 = SquareWindow(3, 2, 1);
  const int codes = g.Quantize(z, 2.0f, 3), signs = g.Sign(z);
  const int pooled = g.MaxPool(codes, k3x3s2), binary = g.MaxPool(signs, k3x3s2);
  const int both = g.Concat({pooled, pooled}), four = g.Concat({binary, binary});
  const int real = g.Concat({g.MaxPool(z, k3x3s2), g.AvgPool(z, k3x3s2)});
  const int a = g.Affine(g.Conv(both, WeightKind::kOdd, 6, k3x3, 2));
  const int b = g.Affine(g.Conv(four, WeightKind::kTernary, 6, k3x3));
  const Graph graph = g.Finish(g.Add(g.Add(a, b), g.Affine(real)));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv pool pool concat concat pool pool concat conv conv eltwise");
  EXPECT_EQ(lowered.ops.back().note, "follows a concatenation, which has no epilogue");
}

// Convolutions of integers, three poolings and a concatenation, one affine of which is read at two
// widths, another through a further pooling: a block of GoogLeNet's.
TEST(Passes, CodesAreMadeBeforePoolingsAndConcatenations) {
  GraphBuilder g;
  const int x = g.Quantize(g.Input(ValueType::kF32, 7, 6, 5), 4.0f, 7);
  const int a = g.Affine(g.Conv(x, WeightKind::kOdd, 4, k3x3, 2), 0.05f);
  const int b = g.MaxPool(g.Affine(g.Conv(x, WeightKind::kTernary, 3, k3x3)), k3x3);
  const int pooled = g.MaxPool(g.Concat({a, b, a}), SquareWindow(3, 2, 1));
  const int z = g.Affine(pooled);
  const int narrow = g.Quantize(g.Activate(z, Activation::kRelu), 3.0f, 3);
  const int wide = g.Quantize(z, 6.0f, 7);
  const int further = g.Sign(g.Affine(g.MaxPool(pooled, k3x3)));
  int sum = g.Conv(narrow, WeightKind::kSign, 2, k3x3);
  sum = g.Add(sum, g.Conv(wide, WeightKind::kOdd, 2, k3x3, 3));
  sum = g.Add(sum, g.Conv(further, WeightKind::kSign, 2, k3x3));
  const Graph graph = g.Finish(sum);
  const LoweredGraph lowered = RunPasses(graph);
  size_t minima = 0;
  for (const LoweredGraph::Op& op : lowered.ops) {
    EXPECT_NE(op.kind == &kinds::kEltwise && op.inputs[0] != 0, true) << op.note;
    if (op.kind != &kinds::kMaxPool && op.kind != &kinds::kConcat) continue;
    EXPECT_NE(lowered.node(op.body[0]).type, ValueType::kF32);
    minima += lowered.node(op.body[0]).a.empty() ? 0 : 1;
  }
  EXPECT_GT(minima, 0u);
}

// A block of Inception-v3's, as import makes it: two convolutions' sums are joined for one branch,
// averaged and joined for another; and those of a third are pooled before they are averaged.
TEST(Passes, CodesOfSumsAreMadeBehindEachConvolutionAndEachAverage) {
  GraphBuilder g;
  const int x = g.Quantize(g.Input(ValueType::kF32, 7, 6, 5), 4.0f, 7);
  const int a = g.Conv(x, WeightKind::kOdd, 4, k3x3, 2);
  const int b = g.Conv(x, WeightKind::kTernary, 3, k3x3);
  const int pooled = g.MaxPool(g.Conv(x, WeightKind::kSign, 2, k3x3), k3x3);
  const int joined = g.Concat({a, g.Concat({b, pooled})});
  const int averages = g.Concat(
      {g.AvgPool(a, k3x3), g.Concat({g.AvgPool(b, k3x3), g.AvgPool(pooled, k3x3)})});
  const int codes = g.Quantize(g.Affine(joined, 0.1f), 3.0f, 3);
  const int averaged = g.Quantize(g.Affine(averages, 0.02f), 3.0f, 7);
  const int largest = g.Sign(g.Affine(g.MaxPool(joined, k3x3), 0.1f));
  int sum = g.Conv(codes, WeightKind::kSign, 2, k3x3);
  sum = g.Add(sum, g.Conv(averaged, WeightKind::kOdd, 2, k3x3, 3));
  sum = g.Add(sum, g.Conv(largest, WeightKind::kSign, 2, k3x3));
  const Graph graph = g.Finish(sum);
  const LoweredGraph lowered = RunPasses(graph);
  size_t of_sums = 0;
  for (const LoweredGraph::Op& op : lowered.ops) {
    if (op.kind == &kinds::kConcat) {
      EXPECT_NE(lowered.node(op.body[0]).type, ValueType::kI32);
    } else if (op.kind == &kinds::kEltwise && op.inputs[0] != 0) {
      // Behind poolings, whose sums are averaged or are averages, and from there to codes.
      EXPECT_EQ(op.note, "follows a pooling, which has no epilogue");
      for (const LoweredGraph::Stage& stage : op.stages) EXPECT_EQ(stage.out_f32, -1);
      ++of_sums;
    }
  }
  EXPECT_EQ(of_sums, 5u);
}

// As CodesAreMadeBeforePoolings, but for one thing: then all stays as it was, and says why.
std::string WhyNotHoisted(void (*change)(GraphBuilder& g, int sum, int pooled, int* out)) {
  GraphBuilder g;
  const int x = g.Quantize(g.Input(ValueType::kF32, 6, 6, 4), 4.0f, 7);
  const int sum = g.Affine(g.Conv(x, WeightKind::kTernary, 4, k3x3), 0.1f);
  const int pooled = g.MaxPool(sum, k3x3);
  int out = g.Conv(g.Quantize(g.Affine(pooled), 3.0f, 3), WeightKind::kSign, 4, k3x3);
  change(g, sum, pooled, &out);
  const Graph graph = g.Finish(out);
  for (const LoweredGraph::Op& op : RunPasses(graph).ops)
    if (op.kind == &kinds::kEltwise && op.inputs[0] == pooled) return op.note;
  return "hoisted";
}

TEST(Passes, FloatsThatAreReadElsewhereOrNotSumsOfIntegersStayFloats) {
  EXPECT_EQ(WhyNotHoisted([](GraphBuilder&, int, int, int*) {}), "hoisted");
  EXPECT_EQ(WhyNotHoisted([](GraphBuilder& g, int sum, int, int* out) { *out = g.Add(*out, sum); }),
            "hoisted");
  EXPECT_EQ(WhyNotHoisted([](GraphBuilder& g, int, int pooled, int* out) {
              *out = g.Add(*out, g.AvgPool(pooled, k3x3));
            }),
            "node4 is read as floats by node8");
  EXPECT_EQ(WhyNotHoisted([](GraphBuilder& g, int, int pooled, int* out) {
              *out = g.Add(*out, g.Activate(g.Affine(pooled), Activation::kRelu));
            }),
            "node4 is read as floats by node10");
  EXPECT_EQ(WhyNotHoisted([](GraphBuilder& g, int, int pooled, int* out) {
              *out = g.Add(*out, g.Conv(g.Sign(g.PRelu(pooled)), WeightKind::kSign, 4, k3x3));
            }),
            "node4 is read as floats by node8");
  EXPECT_EQ(WhyNotHoisted([](GraphBuilder& g, int, int, int*) { g.node(3).a[1] = 3e38f; }),
            "node3 can become infinite");
}

TEST(Passes, OnlySumsOfIntegersAreHoisted) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 6, 6, 4);
  const int real = g.Affine(g.Conv(x, WeightKind::kTernary, 4, k3x3), 0.1f);
  const int codes = g.Quantize(g.Affine(g.MaxPool(real, k3x3)), 3.0f, 3);
  const Graph graph = g.Finish(g.Conv(codes, WeightKind::kSign, 4, k3x3));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv pool eltwise conv");
  EXPECT_EQ(lowered.ops[2].note, "node2 is not made of one convolution's integer sums");
}

// Through two affines, each rounded, and through one: the same codes of every sum there is.
TEST(Passes, AffinesInARowThatEndInCodesBecomeOneWhereOneIsExact) {
  for (const int levels : {0, 1, 3, 15}) {
    GraphBuilder g(static_cast<uint32_t>(levels) + 1);
    const int x = g.Quantize(g.Input(ValueType::kF32, 9, 9, 5), 4.0f, 7);
    const int sum = g.Conv(x, WeightKind::kOdd, 40, k3x3, 2);
    const int first = g.Affine(sum, 0.02f);
    // Signs go through a clip; other codes would be fewer behind it than an affine's.
    const int z = g.Affine(levels == 0 ? g.Activate(first, Activation::kHardtanh) : first);
    const int codes = levels == 0 ? g.Sign(z) : g.Quantize(z, static_cast<float>(levels), levels);
    const Graph graph = g.Finish(g.Conv(codes, WeightKind::kSign, 2, k3x3));
    const LoweredGraph lowered = RunPasses(graph);
    EXPECT_EQ(Shape(lowered), "eltwise conv conv") << levels;
    const GraphNode& folded = lowered.node(lowered.ops[1].stages[0].affine);
    // Of all sums, by the nodes themselves.
    const int most = static_cast<int>(LargestSum(graph.node(sum), graph.node(x)));
    for (int i = -most; i <= most; ++i)
      for (size_t c = 0; c < 40; ++c) {
        const auto step = [&](int node, float value) {
          return Affine(value, graph.node(node).a[c], graph.node(node).b[c]);
        };
        const auto code = [&](float value) {
          return levels == 0 ? static_cast<float>(SignBit(value))
                             : ActivationCode(value, static_cast<float>(levels), levels);
        };
        const float value = static_cast<float>(i);
        const float middle = step(first, value);
        ASSERT_EQ(code(Affine(value, folded.a[c], folded.b[c])),
                  code(step(z, levels == 0 ? Hardtanh(middle) : middle)))
            << levels << " levels, sum " << i << ", channel " << c;
      }
  }
}

// 255 steps on sums of 25 bits are finer than floats: no affine is as right as two.
TEST(Passes, AffinesThatNoOtherIsAsGoodAsStay) {
  GraphBuilder g;
  const int x = g.Quantize(g.Input(ValueType::kF32, 9, 9, 64), 4.0f, 255);
  const int sum = g.Conv(x, WeightKind::kOdd, 8, k3x3, 8);
  const int z = g.Affine(g.Affine(sum, 1e-7f));
  const int codes = g.Quantize(z, 255.0f, 255);
  const Graph graph = g.Finish(g.Conv(codes, WeightKind::kSign, 2, k3x3));
  EXPECT_EQ(Shape(RunPasses(graph)), "eltwise conv+ conv");
}

TEST(Passes, ThresholdsAreCodesLikeOthers) {
  GraphBuilder g;
  const int x = g.Quantize(g.Input(ValueType::kF32, 6, 6, 4), 4.0f, 7);
  const int sum = g.Conv(x, WeightKind::kTernary, 5, k3x3);
  const int counted = g.Threshold(g.Affine(sum, 0.1f), 5);
  const int pooled = g.Threshold(g.MaxPool(g.Affine(sum, 0.1f), k3x3), 3);
  const int a = g.Conv(counted, WeightKind::kSign, 4, k3x3);
  const Graph graph = g.Finish(g.Add(a, g.Conv(pooled, WeightKind::kSign, 4, k3x3)));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "eltwise conv+ pool conv conv");
  EXPECT_EQ(lowered.ops[1].stages[0].out_codes, counted);
  EXPECT_TRUE(lowered.ops[1].stages[1].restart);
}

TEST(Passes, APoolingHasNoEpilogue) {
  GraphBuilder g;
  const int pooled = g.AvgPool(g.Input(ValueType::kF32, 4, 4, 2), SquareWindow(4, 1, 0));
  const Graph graph = g.Finish(g.Activate(g.Affine(pooled), Activation::kRelu));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "pool eltwise");
  EXPECT_EQ(lowered.ops[1].nodes.size(), 2u);
  EXPECT_EQ(lowered.ops[1].note, "follows a pooling, which has no epilogue");
}

TEST(Passes, PackedWeightsOfEveryKindAreTheSameNumbers) {
  for (const int limbs : {1, 2, 3}) {
    GraphBuilder g(static_cast<uint32_t>(limbs));
    const int x = g.Input(ValueType::kU8, 5, 5, 3);
    const int stem = g.Affine(g.Conv(x, WeightKind::kFixed, 5, k3x3, limbs), 1e-6f);
    const int largest = limbs == 1 ? 127 : limbs == 2 ? 32639 : 8355711;
    g.node(1).codes[0] = largest;
    g.node(1).codes[1] = -largest;
    g.node(1).codes[2] = -128 < -largest ? -largest : -128;
    const int binary = g.Affine(g.Conv(stem, WeightKind::kSign, 4, k3x3), 0.1f);
    const Graph graph = g.Finish(g.Conv(binary, WeightKind::kFloat, 2, SquareWindow(5, 1, 0)));
    const LoweredGraph lowered = RunPasses(graph);
    EXPECT_EQ(lowered.ops[0].planes.size(), static_cast<size_t>(limbs));
    // 3 * 3 * 5 = 45 bits, padded to two words a row.
    EXPECT_EQ(lowered.ops[1].planes[0].size(), 4u * 8u);
    for (size_t row = 0; row < 4; ++row)
      EXPECT_EQ(lowered.ops[1].planes[0][row * 8 + 5] & 0xE0, 0) << "padding bits are zero";
  }
}

TEST(Passes, PackedCodesOfEveryKindAreTheSameNumbers) {
  GraphBuilder g;
  const int x = g.Quantize(g.Input(ValueType::kF32, 5, 5, 5), 2.0f, 15);
  const int ternary = g.Conv(x, WeightKind::kTernary, 4, k3x3);
  int sum = g.Affine(ternary);
  for (int bits = 2; bits <= 8; ++bits) {
    const int conv = g.Conv(x, WeightKind::kOdd, 4, k3x3, bits);
    g.node(conv).codes[0] = (1 << bits) - 1;
    g.node(conv).codes[1] = 1 - (1 << bits);
    sum = g.Add(sum, g.Affine(conv));
  }
  const Graph graph = g.Finish(sum);
  for (const LoweredGraph::Op& op : RunPasses(graph).ops) {
    if (op.kind != &kinds::kConv) continue;
    const GraphNode& conv = graph.node(op.nodes[0]);
    const int planes = conv.weight_kind == WeightKind::kTernary ? 2 : conv.bits;
    EXPECT_EQ(op.planes.size(), static_cast<size_t>(planes));
    for (const auto& plane : op.planes) {
      EXPECT_EQ(plane.size(), 4u * 8u);
      for (size_t row = 0; row < 4; ++row)
        EXPECT_EQ(plane[row * 8 + 5] & 0xE0, 0) << "padding bits are zero";
    }
  }
}

// The planes of a 1x1 convolution with these weights of one output.
std::vector<std::vector<uint8_t>> PlanesOf(WeightKind kind, const std::vector<int32_t>& codes,
                                           int bits = 0) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 1, 1, static_cast<int>(codes.size()));
  const int conv = g.Conv(x, kind, 1, Window{}, bits);
  g.node(conv).codes = codes;
  const Graph graph = g.Finish(conv);
  LoweredGraph lowered = Lower(graph);
  PackWeights(lowered);
  return lowered.ops[0].planes;
}

using Planes = std::vector<std::vector<uint8_t>>;

TEST(Passes, ATernaryWeightIsItsSignAndWhetherItIsNotZero) {
  EXPECT_EQ(PlanesOf(WeightKind::kTernary, {1, 0, -1, 1}), (Planes{{9, 0, 0, 0}, {13, 0, 0, 0}}));
}

TEST(Passes, AnOddWeightIsItsSignsMostSignificantFirst) {
  // 3 = 2 + 1, 1 = 2 - 1, -1 = -2 + 1, -3 = -2 - 1
  EXPECT_EQ(PlanesOf(WeightKind::kOdd, {3, 1, -1, -3}, 2), (Planes{{3, 0, 0, 0}, {5, 0, 0, 0}}));
  EXPECT_EQ(PlanesOf(WeightKind::kOdd, {255, -255, 1}, 8)[0], (std::vector<uint8_t>{5, 0, 0, 0}));
  EXPECT_EQ(PlanesOf(WeightKind::kOdd, {255, -255, 1}, 8)[7], (std::vector<uint8_t>{1, 0, 0, 0}));
}

TEST(Passes, BitKOfARowIsBitKModEightOfByteKDivEight) {
  std::vector<int32_t> codes(16, -1);
  codes[0] = codes[9] = 1;
  EXPECT_EQ(PlanesOf(WeightKind::kSign, codes), (Planes{{1, 2, 0, 0}}));
}

class PassesOnNetworks : public testing::TestWithParam<std::pair<const char*, Stem>> {};

TEST_P(PassesOnNetworks, KeepEveryBit) {
  const Graph graph = RandomNetworkGraph(GetParam().first, GetParam().second);
  const LoweredGraph lowered = RunPasses(graph);
  for (const LoweredGraph::Op& op : lowered.ops)
    if (op.kind == &kinds::kEltwise) {
      EXPECT_EQ(op.note, "follows a pooling, which has no epilogue");
    }
  // 20 convolutions or linear layers, 2 shortcuts and the last pooling; ReCU normalises after it.
  EXPECT_EQ(lowered.ops.size(), std::string(GetParam().first) == "recu/resnet20" ? 24u : 23u);
}
INSTANTIATE_TEST_SUITE_P(All, PassesOnNetworks,
                         testing::Values(std::pair{"recu/resnet20", Stem::kI24},
                                         std::pair{"recu/resnet20", Stem::kF32},
                                         std::pair{"mcdonnell/wrn-20-1", Stem::kI16},
                                         std::pair{"mcdonnell/wrn-20-1", Stem::kF32}));

class PassesOnSmallNetworks : public testing::TestWithParam<const char*> {};

TEST_P(PassesOnSmallNetworks, KeepEveryBitAtEveryWidth) {
  const FittedNetwork fitted(GetParam());
  for (const int width : fitted.Widths())
    for (const Stem stem : {fitted.Stems().front(), fitted.Stems().back()}) {
      SCOPED_TRACE(std::string(StemName(stem)) + " stem, width " + std::to_string(width));
      const Graph graph = fitted.Imported(stem, width);
      RunPasses(graph, InputOf(fitted, graph));
    }
}
INSTANTIATE_TEST_SUITE_P(Systems, PassesOnSmallNetworks, testing::ValuesIn(kSmallNetworks));

TEST(Passes, KeepEveryBitOfTheInceptions) {
  for (const char* text : kInceptions) {
    const FittedNetwork fitted(text);
    const Graph graph = fitted.Imported(Stem::kI24, 0);
    RunPasses(graph, InputOf(fitted, graph));
  }
}

// A network at all of its widths, each through the passes, then nested.
struct Nested {
  explicit Nested(const std::string& network) : fitted(network) {
    for (const int width : fitted.Widths()) {
      graphs.push_back(fitted.Imported(fitted.Stems().front(), width));
      lowered.push_back(RunPasses(graphs.back(), InputOf(fitted, graphs.back())));
    }
    NestPlanes(lowered);
  }
  // How many planes of bits the widths of one quantized layer have in all, on average.
  double PlanesOfALayer() const {
    std::set<std::string> planes;
    std::set<std::string> layers;
    for (const LoweredGraph& width : lowered)
      for (const LoweredGraph::Op& op : width.ops) {
        if (op.kind != &kinds::kConv) continue;
        const GraphNode& conv = width.node(op.body[0]);
        if (conv.weight_kind != WeightKind::kSign && conv.weight_kind != WeightKind::kOdd) continue;
        layers.insert(conv.name);
        for (const auto& plane : op.planes) planes.emplace(plane.begin(), plane.end());
      }
    return static_cast<double>(planes.size()) / static_cast<double>(layers.size());
  }

  FittedNetwork fitted;
  std::deque<Graph> graphs;
  std::vector<LoweredGraph> lowered;
};

class NestedPlanes : public testing::TestWithParam<const char*> {};

TEST_P(NestedPlanes, KeepEveryBitAtEveryWidth) {
  Nested nested(GetParam());
  for (size_t i = 0; i < nested.lowered.size(); ++i) {
    const PlainValue input = InputOf(nested.fitted, nested.graphs[i]);
    ExpectSameMeaning(input, nested.lowered[i],
                      "width " + std::to_string(nested.fitted.Widths()[i]));
  }
  EXPECT_FALSE(NestPlanes(nested.lowered)) << "something is left undone";
}
INSTANTIATE_TEST_SUITE_P(Systems, NestedPlanes, testing::ValuesIn(kSwitchedNetworks));

// methods.md 1.3: ten planes for widths 1, 2, 4 and 8, of which each prefix is a width; truncated
// codes need no more planes than their widest; the upper bit of all codes is the same.
TEST(Passes, WidthsShareTheirPlanes) {
  const auto planes = [](const std::string& arguments) {
    return Nested("any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 " + arguments)
        .PlanesOfALayer();
  };
  EXPECT_EQ(planes("widths=8"), 8);
  EXPECT_EQ(planes("widths=1,2"), 2);
  EXPECT_EQ(planes("widths=1,2,4"), 5);
  EXPECT_EQ(planes("widths=1,2,4,8"), 10);
  EXPECT_EQ(planes("widths=1,2,4,8,32"), 10);
  EXPECT_EQ(planes("widths=4,8"), 9);
  EXPECT_EQ(planes("widths=1,8"), 8);
  EXPECT_EQ(planes("widths=3,6"), 7);
  EXPECT_EQ(planes("weights=truncating widths=1,2,3,4,5,6,7,8"), 8);
  EXPECT_EQ(planes("weights=truncating widths=3,5"), 5);
}

TEST(Passes, NestedCodesAreTheNarrowOnesAndWhatIsLeft) {
  Nested nested("any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 widths=1,2,4,8");
  size_t weighted = 0;
  for (const LoweredGraph& width : nested.lowered)
    for (const LoweredGraph::Op& op : width.ops) {
      if (op.weighted.weights.empty()) continue;
      ++weighted;
      EXPECT_EQ(op.weighted.weights, (std::vector<uint8_t>{136, 68, 34, 17, 16, 8, 4, 2, 1}));
      EXPECT_EQ(op.weighted.bits, 8);
      EXPECT_EQ(op.weighted.offset, 256 - 8);
    }
  EXPECT_EQ(weighted, 4u) << "two convolutions of each block, at 8 bits only";
}

}  // namespace
}  // namespace lbrt
