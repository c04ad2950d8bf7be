#include "converter/interpret.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/graphs.h"

namespace lbrt {
namespace {

// A 3x3 convolution with padding 1 of +1 weights on +1 activations, from an all-zero f32 image.
std::vector<int32_t> AllOnesConvolution(int size, int stride, int channels) {
  GraphBuilder g;
  const int x = g.Sign(g.Input(ValueType::kF32, size, size, channels));
  const int conv = g.Conv(x, WeightKind::kSign, 1, SquareWindow(3, stride, 1));
  for (int32_t& code : g.node(conv).codes) code = 1;
  const Graph graph = g.Finish(conv);
  const PlainValue zeros = std::vector<float>(static_cast<size_t>(size * size * channels));
  return std::get<std::vector<int32_t>>(Interpret(graph, zeros).back());
}

TEST(Interpret, PaddingOfSignsMeansZero) {  // methods.md 9
  const int c = 5;
  EXPECT_EQ(AllOnesConvolution(4, 1, c), (std::vector<int32_t>{4 * c, 6 * c, 6 * c, 4 * c,  //
                                                               6 * c, 9 * c, 9 * c, 6 * c,  //
                                                               6 * c, 9 * c, 9 * c, 6 * c,  //
                                                               4 * c, 6 * c, 6 * c, 4 * c}));
}

TEST(Interpret, StrideTwoPadsTopAndLeftOnly) {
  EXPECT_EQ(AllOnesConvolution(4, 2, 1), (std::vector<int32_t>{4, 6, 6, 9}));
}

// The border class a bordered affine takes at each position, told by b = class, a = 0.
std::vector<float> BorderClasses(int size, int stride) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kU8, size, size, 1);
  const int conv = g.Conv(x, WeightKind::kFixed, 1, SquareWindow(3, stride, 1), 1);
  const int affine = g.Affine(conv);
  g.node(affine).a = {0.0f};
  for (size_t i = 0; i < g.node(affine).b.size(); ++i) g.node(affine).b[i] = static_cast<float>(i);
  const Graph graph = g.Finish(affine);
  return std::get<std::vector<float>>(Interpret(graph, RandomInput(graph)).back());
}

TEST(Interpret, AThreeByThreeWindowHasNineBorderClasses) {
  EXPECT_EQ(BorderClasses(4, 1),
            (std::vector<float>{0, 1, 1, 2, 3, 4, 4, 5, 3, 4, 4, 5, 6, 7, 7, 8}));
}

TEST(Interpret, WithStrideTwoOnAnEvenInputItHasFour) {
  EXPECT_EQ(BorderClasses(6, 2), (std::vector<float>{0, 1, 1, 2, 3, 3, 2, 3, 3}));
}

TEST(Interpret, AveragePoolingCountsThePadding) {  // methods.md 9
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 4, 4, 1);
  const Graph graph = g.Finish(g.AvgPool(x, SquareWindow(3, 2, 1)));
  const auto y =
      std::get<std::vector<float>>(Interpret(graph, std::vector<float>(16, 1.0f)).back());
  const float ninth = 1.0f / 9.0f;
  EXPECT_EQ(y, (std::vector<float>{4 * ninth, 6 * ninth, 6 * ninth, 9 * ninth}));
}

TEST(Interpret, AnAverageOfSumsIsTheirSum) {
  GraphBuilder g;
  const int signs = g.Sign(g.Input(ValueType::kF32, 4, 4, 1));
  const int conv = g.Conv(signs, WeightKind::kInteger, 1, SquareWindow(1, 1, 0), 8);
  g.node(conv).codes = {-100};
  const Graph graph = g.Finish(g.AvgPool(conv, SquareWindow(3, 2, 1)));
  EXPECT_EQ(std::get<std::vector<int32_t>>(Interpret(graph, std::vector<float>(16, 1.0f)).back()),
            (std::vector<int32_t>{-400, -600, -600, -900}));
}

TEST(Interpret, AFloatConvolutionAddsInTheOrderOfItsTapsWithOneRoundingEach) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 1, 1, 3);
  const int conv = g.Conv(x, WeightKind::kFloat, 1, SquareWindow(1, 1, 0));
  // The middle step needs an fma: 1 + 2^-11 + 2^-24 exactly, which rounds up thanks to 2^-60.
  g.node(conv).weights = {0x1p-60f, 1.0f + 0x1p-12f, -1.0f};
  const Graph graph = g.Finish(conv);
  const auto y = std::get<std::vector<float>>(
      Interpret(graph, std::vector<float>{1.0f, 1.0f + 0x1p-12f, 1.0f}).back());
  EXPECT_EQ(y, std::vector<float>{0x1p-11f + 0x1p-23f});
}

TEST(Interpret, ExactSumsAreRoundedToFloatOnceHalfToEven) {
  EXPECT_EQ(AsFloats(std::vector<int64_t>{16777217, 16777219, -16777217, (int64_t{1} << 40) + 1}),
            (std::vector<float>{16777216.0f, 16777220.0f, -16777216.0f, 0x1p40f}));
}

TEST(Interpret, FixedPointSumsExceedThirtyTwoBits) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kU8, 3, 3, 3);
  const int conv = g.Conv(x, WeightKind::kFixed, 1, SquareWindow(3, 1, 0), 3);
  for (int32_t& code : g.node(conv).codes) code = 8355711;
  const Graph graph = g.Finish(conv);
  const auto values = Interpret(graph, std::vector<uint8_t>(27, 255));
  EXPECT_EQ(std::get<std::vector<int64_t>>(values.back()),
            std::vector<int64_t>{int64_t{27} * 255 * 8355711});
}

TEST(Interpret, ThePlusOneSignBeginsAtMinusZero) {
  GraphBuilder g;
  const Graph graph = g.Finish(g.Sign(g.Input(ValueType::kF32, 1, 1, 4)));
  const auto signs = std::get<std::vector<int8_t>>(
      Interpret(graph, std::vector<float>{-0.0f, 0.0f, -0x1p-149f, NAN}).back());
  EXPECT_EQ(signs, (std::vector<int8_t>{1, 1, -1, -1}));
}

TEST(Interpret, ZeroChannelsComeBeforeAndAfter) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 1, 2, 2);
  const Graph graph = g.Finish(g.PadChannels(x, 1, 2));
  const auto y =
      std::get<std::vector<float>>(Interpret(graph, std::vector<float>{1, 2, 3, 4}).back());
  EXPECT_EQ(y, (std::vector<float>{0, 1, 2, 0, 0, 0, 3, 4, 0, 0}));
}

TEST(Interpret, CodesRoundHalfToEvenAndStayInTheirRange) {
  GraphBuilder g;
  const int codes = g.Quantize(g.Input(ValueType::kF32, 1, 9, 1), 3.0f, 3);
  const Graph graph = g.Finish(g.Decode(codes, 2.0f));
  const float third = 1.0f / 3;
  const auto values = Interpret(graph, std::vector<float>{-1, -0.0f, third / 2, 0.5f, 0.51f,
                                                          5 * third / 2, 1, 1e30f, third});
  EXPECT_EQ(std::get<std::vector<uint8_t>>(values[1]),
            (std::vector<uint8_t>{0, 0, 0, 2, 2, 2, 3, 3, 1}));
  EXPECT_EQ(std::get<std::vector<float>>(values[2]),
            (std::vector<float>{0, 0, 0, 4, 4, 4, 6, 6, 2}));
}

TEST(Interpret, ANumberThatIsNoneHasTheCodeZero) {
  GraphBuilder g;
  const Graph graph = g.Finish(g.Quantize(g.Input(ValueType::kF32, 1, 1, 2), 1.0f, 255));
  EXPECT_EQ(std::get<std::vector<uint8_t>>(
                Interpret(graph, std::vector<float>{NAN, INFINITY}).back()),
            (std::vector<uint8_t>{0, 255}));
}

TEST(Interpret, DecodedSignsAreSteps) {
  GraphBuilder g;
  const Graph graph = g.Finish(g.Decode(g.Sign(g.Input(ValueType::kF32, 1, 1, 2)), 0.25f));
  EXPECT_EQ(std::get<std::vector<float>>(Interpret(graph, std::vector<float>{-3, 7}).back()),
            (std::vector<float>{-0.25f, 0.25f}));
}

TEST(Interpret, PReluHasASlopeAChannel) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 1, 2, 2);
  const int y = g.PRelu(x);
  g.node(y).a = {0.5f, -2.0f};
  const Graph graph = g.Finish(y);
  EXPECT_TRUE(SameBits(
      AsFloats(Interpret(graph, std::vector<float>{-4, -4, -0.0f, 3}).back()), {-2, 8, -0.0f, 3}));
}

TEST(Interpret, MaxPoolingTakesTheFirstOfTheLargestAndPaddingNeverWins) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 2, 2, 1);
  const Graph graph = g.Finish(g.MaxPool(x, SquareWindow(3, 1, 1)));
  EXPECT_TRUE(SameBits(AsFloats(Interpret(graph, std::vector<float>{-3, -0.0f, -1, 0.0f}).back()),
                       {-0.0f, -0.0f, -0.0f, -0.0f}));
  EXPECT_TRUE(SameBits(AsFloats(Interpret(graph, std::vector<float>{-3, -4, -1, -2}).back()),
                       {-1, -1, -1, -1}));
}

TEST(Interpret, MaxPoolingKeepsSignsAndCodes) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 1, 4, 1);
  const Window pairs = {1, 2, 1, 2};
  const int codes = g.MaxPool(g.Quantize(x, 1.0f, 7), pairs);
  const Graph graph = g.Finish(g.MaxPool(g.Sign(x), pairs));
  const auto values = Interpret(graph, std::vector<float>{5, -1, -2, -3});
  EXPECT_EQ(std::get<std::vector<uint8_t>>(values[static_cast<size_t>(codes)]),
            (std::vector<uint8_t>{5, 0}));
  EXPECT_EQ(std::get<std::vector<int8_t>>(values.back()), (std::vector<int8_t>{1, -1}));
}

TEST(Interpret, ConcatenationKeepsTheOrderOfValuesAndChannels) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 1, 2, 2);
  const int y = g.PadChannels(x, 1, 0);
  const Graph graph = g.Finish(g.Concat({y, x}));
  EXPECT_EQ(std::get<std::vector<float>>(Interpret(graph, std::vector<float>{1, 2, 3, 4}).back()),
            (std::vector<float>{0, 1, 2, 1, 2, 0, 3, 4, 3, 4}));
}

TEST(Interpret, AnAffineOntoABaseRoundsOnce) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 1, 1, 2);
  const int base = g.Affine(x);
  g.node(base).a = {0, 0};
  g.node(base).b = {-1, 4};
  const int y = g.AffineOnto(x, base);
  g.node(y).a = {1.0f + 0x1p-12f, 2};
  const Graph graph = g.Finish(y);
  // (1 + 2^-12)^2 - 1 = 2^-11 + 2^-24, whose last part a rounded product would lose.
  EXPECT_EQ(std::get<std::vector<float>>(
                Interpret(graph, std::vector<float>{1.0f + 0x1p-12f, 3}).back()),
            (std::vector<float>{0x1p-11f + 0x1p-24f, 10}));
}

// One output of a 1x1 convolution of two channels with these weights, as floats.
float SumOf(WeightKind kind, int size, std::vector<int32_t> codes, bool quantize,
            std::vector<float> x) {
  GraphBuilder g;
  int from = g.Input(ValueType::kF32, 1, 1, 2);
  if (quantize) from = g.Quantize(from, 1.0f, 255);
  const int conv = g.Conv(from, kind, 1, Window{}, size);
  g.node(conv).codes = std::move(codes);
  const Graph graph = g.Finish(conv);
  return AsFloats(Interpret(graph, std::move(x)).back())[0];
}

TEST(Interpret, WeightsOfEveryKindMultiplyCodesAndFloats) {
  EXPECT_EQ(SumOf(WeightKind::kSign, 0, {-1, 1}, true, {200, 3}), -197);
  EXPECT_EQ(SumOf(WeightKind::kTernary, 0, {-1, 0}, true, {200, 3}), -200);
  EXPECT_EQ(SumOf(WeightKind::kOdd, 8, {255, -253}, true, {255, 255}), 510);
  EXPECT_EQ(SumOf(WeightKind::kFixed, 3, {8355711, 1}, true, {255, 255}), 2130706560.0f);
  EXPECT_EQ(SumOf(WeightKind::kTernary, 0, {-1, 0}, false, {0.5f, 3}), -0.5f);
  EXPECT_EQ(SumOf(WeightKind::kOdd, 2, {3, -1}, false, {0.5f, 2}), -0.5f);
  EXPECT_EQ(SumOf(WeightKind::kFixed, 2, {1000, 7}, false, {0.5f, -1}), 493);
}

TEST(Interpret, SameBitsTellsMinusZeroFromZero) {
  EXPECT_FALSE(SameBits({0.0f}, {-0.0f}));
  EXPECT_FALSE(SameBits({1.0f}, {1.0f, 2.0f}));
  EXPECT_TRUE(SameBits({NAN, -0.0f}, {NAN, -0.0f}));
}

}  // namespace
}  // namespace lbrt
