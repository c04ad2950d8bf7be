#include "converter/passes.h"

#include <gtest/gtest.h>

#include "images/error.h"
#include "tests/graphs.h"

namespace lbrt {
namespace {

using Kind = LoweredGraph::Kind;

// Every value the lowered graph stores, against the graph.
void ExpectSameMeaning(const Graph& graph, const LoweredGraph& lowered, const std::string& where) {
  const PlainValue input = RandomInput(graph);
  const auto want = Interpret(graph, input), got = Interpret(lowered, input);
  for (const int value : StoredValues(lowered))
    EXPECT_TRUE(SameBits(AsFloats(want[static_cast<size_t>(value)]),
                         AsFloats(got[static_cast<size_t>(value)])))
        << where << ", value " << value << " of " << graph.node(value).name;
  EXPECT_NE(ProducerOf(lowered, graph.output), -1) << where;
}

// Runs all passes; after each the graph means what it meant.
LoweredGraph RunPasses(const Graph& graph) {
  LoweredGraph lowered = Lower(graph);
  ExpectSameMeaning(graph, lowered, "lowered");
  for (const Pass& pass : Passes()) {
    pass.run(lowered);
    ExpectSameMeaning(graph, lowered, pass.name);
    EXPECT_FALSE(pass.run(lowered)) << pass.name << " leaves something undone";
  }
  return lowered;
}

// "conv", "eltwise+" for two stages, ...
std::string Shape(const LoweredGraph& lowered) {
  std::string text;
  for (const LoweredGraph::Op& op : lowered.ops) {
    text += text.empty() ? "" : " ";
    text += op.kind == Kind::kConv ? "conv" : op.kind == Kind::kEltwise ? "eltwise" : "pool";
    if (op.stages.size() == 2) text += "+";
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
  EXPECT_EQ(conv.stages[0].activation, Activation::kHardtanh);
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

TEST(Passes, OfTwoAffinesOnOneSumTheFirstIsASecondStage) {
  GraphBuilder g;
  const int x = g.Sign(g.Input(ValueType::kF32, 4, 4, 4));
  const int sum = g.Conv(x, WeightKind::kSign, 4, k3x3);
  const Graph graph = g.Finish(g.Add(g.Affine(sum), g.Affine(sum)));
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "eltwise conv+ eltwise");
  EXPECT_EQ(lowered.ops[1].stages[0].out_f32, sum);  // the integers, as floats
}

TEST(Passes, AThirdStageStaysAloneAndSaysSo) {
  GraphBuilder g;
  int x = g.Conv(g.Input(ValueType::kF32, 3, 3, 2), WeightKind::kFloat, 2, k3x3);
  for (int i = 0; i < 3; ++i) x = g.Affine(x);
  const Graph graph = g.Finish(x);
  const LoweredGraph lowered = RunPasses(graph);
  EXPECT_EQ(Shape(lowered), "conv+ eltwise");
  EXPECT_EQ(lowered.ops[1].note, "would be a third stage");
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

TEST(Passes, WhatCannotBeConvertedYetIsRefusedInOneLine) {
  const auto error = [](const char* network) -> std::string {
    try {
      Lower(RandomNetworkGraph(network, Stem::kI24));
    } catch (const InputError& refused) {
      return refused.what();
    }
    return "none";
  };
  EXPECT_EQ(error("ternary/resnet20"),
            "node stage_1.0.conv_a: ternary weights cannot be converted yet");
  EXPECT_EQ(error("edmips/cifar-resnet20"),
            "node layers.0.conv0.activ: activations of several bits cannot be converted yet");
  EXPECT_EQ(error("recu/vgg-small"), "node pool1: max pooling cannot be converted yet");
  EXPECT_EQ(error("recu/resnet18a"), "none");
}

TEST(Passes, SignsTakenTwiceOfOneValueAreOneOpEach) {
  GraphBuilder g;
  const int z = g.Conv(g.Input(ValueType::kF32, 4, 4, 2), WeightKind::kFloat, 2, k3x3);
  const int a = g.Conv(g.Sign(z), WeightKind::kSign, 2, k3x3);
  const int b = g.Conv(g.Sign(z), WeightKind::kSign, 2, k3x3);
  const Graph graph = g.Finish(g.Add(a, b));
  EXPECT_EQ(Shape(RunPasses(graph)), "conv conv eltwise conv");
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

TEST(Passes, BitKOfARowIsBitKModEightOfByteKDivEight) {
  GraphBuilder g;
  const int conv = g.Conv(g.Input(ValueType::kF32, 1, 1, 16), WeightKind::kSign, 1, Window{});
  for (int c = 0; c < 16; ++c)
    g.node(conv).codes[static_cast<size_t>(c)] = c == 0 || c == 9 ? 1 : -1;
  const Graph graph = g.Finish(conv);
  LoweredGraph lowered = Lower(graph);
  PackWeights(lowered);
  EXPECT_EQ(lowered.ops[0].planes[0], (std::vector<uint8_t>{1, 2, 0, 0}));
}

class PassesOnNetworks : public testing::TestWithParam<std::pair<const char*, Stem>> {};

TEST_P(PassesOnNetworks, KeepEveryBit) {
  const Graph graph = RandomNetworkGraph(GetParam().first, GetParam().second);
  const LoweredGraph lowered = RunPasses(graph);
  for (const LoweredGraph::Op& op : lowered.ops)
    if (op.kind == Kind::kEltwise) {
      EXPECT_EQ(op.note, "follows a pooling, which has no epilogue");
    }
  // 20 convolutions or linear layers, 2 shortcuts and the last pooling; ReCU normalises after it.
  EXPECT_EQ(lowered.ops.size(), std::string(GetParam().first) == "recu/resnet20" ? 24u : 23u);
}
INSTANTIATE_TEST_SUITE_P(All, PassesOnNetworks,
                         testing::Values(std::pair{"recu/resnet20", Stem::kI24},
                                         std::pair{"recu/resnet20", Stem::kI8},
                                         std::pair{"recu/resnet20", Stem::kF32},
                                         std::pair{"mcdonnell/wrn-20-1", Stem::kI16},
                                         std::pair{"mcdonnell/wrn-20-1", Stem::kF32}));

}  // namespace
}  // namespace lbrt
