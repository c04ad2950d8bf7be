// What inference makes of weights and activations: methods.md's golden values (section 9), ties and
// cases that the contract decides.
#include "network/quantizers.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/numerics.h"

namespace lbrt {
namespace {

TEST(QuantizersTest, LimbsHoldTheContractsMaxima) {
  EXPECT_EQ(127, LimbMaximum(1));
  EXPECT_EQ(32639, LimbMaximum(2));
  EXPECT_EQ(8355711, LimbMaximum(3));
}

using Codes = std::vector<int16_t>;

// The codes of the only plane.
WeightCodes Quantized(const WeightQuantizer& quantizer, const std::vector<float>& weights,
                      int64_t outputs = 1) {
  return QuantizeWeights(quantizer, weights.data(), outputs,
                         static_cast<int64_t>(weights.size()) / outputs);
}

TEST(QuantizersTest, RecuTakesTheSignAroundTheChannelsMean) {
  const WeightQuantizer recu = {.kind = WeightQuantizer::kRecu};
  const WeightCodes got = Quantized(recu,
                                    {1,    2,    3,    6,     // mean 3: one weight is it
                                     -1,   -1,   -1,   -1,    // dead
                                     0.1f, 0.1f, 0.1f, 0.1f,  // dead, and no sum of it is exact
                                     0,    0,    0,    1},
                                    4);
  EXPECT_EQ((Codes{-1, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, 1}), got.planes[0].codes);
  EXPECT_EQ(9, got.cases);
  EXPECT_EQ((std::vector<int>{1, 2}), got.dead);
  // In double the sum of 0.1 is not exact either.
  const std::vector<double> tenths(9, 0.1);
  EXPECT_EQ(1u, QuantizeWeights(recu, tenths.data(), 1, 9).dead.size());
}

TEST(QuantizersTest, McDonnellTakesTheSignAroundZeroAndAConstantScale) {
  const WeightCodes got =
      Quantized({.kind = WeightQuantizer::kMcDonnell}, {-1e-30f, 0, -0.0f, 5, 0, 0, 0, 0}, 2);
  EXPECT_EQ((Codes{-1, 1, 1, 1, 1, 1, 1, 1}), got.planes[0].codes);
  EXPECT_EQ(std::vector<double>(2, std::sqrt(0.5)), got.planes[0].scale);
  EXPECT_EQ(6, got.cases);
  EXPECT_EQ(std::vector<int>{1}, got.dead);
  // methods.md 3.1
  EXPECT_NEAR(0.0372678, McDonnellScale(1440), 5e-8);
  EXPECT_NEAR(0.0263523, McDonnellScale(2880), 5e-8);
  EXPECT_NEAR(0.0186339, McDonnellScale(5760), 5e-8);
}

// methods.md 1.3: the first 8-bit code of each upper cell.
TEST(QuantizersTest, AnyPrecisionCodesFollowFromThatOfEightBits) {
  const auto boundaries = [](int bits) {
    std::vector<int> result;
    for (int q = 1; q < 256; ++q)
      if (AnyPrecisionFrom8(q, bits) != AnyPrecisionFrom8(q - 1, bits)) result.push_back(q);
    return result;
  };
  EXPECT_EQ(std::vector<int>{128}, boundaries(1));
  EXPECT_EQ((std::vector<int>{43, 128, 213}), boundaries(2));
  EXPECT_EQ((std::vector<int>{9, 26, 43, 60, 77, 94, 111, 128, 145, 162, 179, 196, 213, 230, 247}),
            boundaries(4));
  EXPECT_EQ(255u, boundaries(8).size());
  for (const int bits : {1, 2, 4, 8}) EXPECT_EQ((1 << bits) - 1, AnyPrecisionFrom8(255, bits));
}

// methods.md 9: u = 0.5 is 2, 8 and 128 of 2, 4 and 8 bits; of 1 bit the contract's 1, where the
// reference has 0, which is counted.
TEST(QuantizersTest, AnyPrecisionTakesAZeroWeightUpwards) {
  for (const int bits : {1, 2, 4, 8}) {
    const WeightCodes got =
        Quantized({.kind = WeightQuantizer::kAnyPrecision, .bits = bits}, {-3, 0, 3, 0});
    const auto most = static_cast<int16_t>((1 << bits) - 1);
    EXPECT_EQ((Codes{static_cast<int16_t>(-most), 1, most, 1}), got.planes[0].codes);
    EXPECT_DOUBLE_EQ(1.5 / most, got.planes[0].scale[0]);  // E = 1.5; 2 bits: -1, -1/3, 1/3, 1
    EXPECT_EQ(bits == 1 ? 2 : 0, got.cases);
  }
  const WeightCodes floats =
      Quantized({.kind = WeightQuantizer::kAnyPrecision, .bits = 32}, {-3, 0, 3, 0});
  EXPECT_EQ((std::vector<float>{-1.5f, 0, 1.5f, 0}), floats.floats);
}

TEST(QuantizersTest, TruncatingCodesArePrefixesOfThoseOfEightBits) {
  std::vector<float> weights;
  for (int i = -40; i <= 40; ++i) weights.push_back(static_cast<float>(i) / 20);
  const Codes eight =
      Quantized({.kind = WeightQuantizer::kTruncating, .bits = 8}, weights).planes[0].codes;
  for (int bits = 1; bits < 8; ++bits) {
    const Codes got =
        Quantized({.kind = WeightQuantizer::kTruncating, .bits = bits}, weights).planes[0].codes;
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_EQ((eight[i] + 255) / 2 >> (8 - bits), (got[i] + (1 << bits) - 1) / 2);
  }
}

// methods.md 9, with more weights that make the deviation 1.
TEST(QuantizersTest, EdmipsRoundsMidRiseAndClips) {
  std::vector<float> weights = {-2.6f, -1, 0, 0.3f, 0.996f, 3, 0.7688f, -0.7688f};
  weights.resize(20, 0);
  const WeightCodes got = Quantized({.kind = WeightQuantizer::kEdmips, .bits = 2}, weights);
  const Codes first(got.planes[0].codes.begin(), got.planes[0].codes.begin() + 6);
  EXPECT_NEAR(0.996 / 2, got.planes[0].scale[0], 1e-4);
  EXPECT_EQ((Codes{-3, -3, -1, 1}), Codes(first.begin(), first.begin() + 4));
  EXPECT_EQ(3, first[5]);
}

// methods.md 9
TEST(QuantizersTest, TernaryThresholdsAreAsymmetric) {
  const WeightCodes got = Quantized({.kind = WeightQuantizer::kTernary}, {1, -0.05f, 0.05f, -1});
  EXPECT_EQ((Codes{1, 0, 1, -1}), got.planes[0].codes);
  EXPECT_NEAR(0.525, got.planes[0].scale[0], 1e-7);
  const WeightCodes four =
      Quantized({.kind = WeightQuantizer::kTernary, .t_ex = 4}, {1, 0.18f, 0.12f, -0.07f, 0.02f});
  ASSERT_EQ(4u, four.planes.size());
  EXPECT_EQ((Codes{1, 1, 1, -1, 0}), four.planes[0].codes);
  EXPECT_EQ((Codes{1, 1, 1, 0, 0}), four.planes[1].codes);
  EXPECT_EQ((Codes{1, 1, 0, 0, 0}), four.planes[2].codes);
  EXPECT_EQ((Codes{1, 0, 0, 0, 0}), four.planes[3].codes);
  EXPECT_NEAR((1 + 0.18 + 0.12) / 3, four.planes[1].scale[0], 1e-7);
}

// methods.md 9
TEST(QuantizersTest, ActivationCodesAreRoundedHalfToEven) {
  const auto codes = [](const ActivationQuantizer& quantizer, const std::vector<float>& xs) {
    const ActivationCodes steps = CodesOf(quantizer);
    std::vector<int> result;
    for (const float x : xs)
      result.push_back(static_cast<int>(
          ActivationCode(x, static_cast<float>(1 / steps.step), steps.levels)));
    return result;
  };
  const ActivationQuantizer any = {.kind = ActivationQuantizer::kAnyPrecision, .bits = 2};
  EXPECT_EQ((std::vector<int>{0, 2, 0, 3, 0, 3}),
            codes(any, {1.0f / 6, 0.5f, -1, 7, std::nanf(""), 1e38f}));
  for (const int bits : {1, 2, 4, 8})  // the step is exactly 1 / n: x n, as the reference has it
    EXPECT_EQ(static_cast<float>((1 << bits) - 1),
              static_cast<float>(
                  1 / CodesOf({.kind = ActivationQuantizer::kAnyPrecision, .bits = bits}).step));
  EXPECT_EQ((std::vector<int>{0, 0, 1, 2, 3}),
            codes({.kind = ActivationQuantizer::kHwgq, .bits = 2}, {0.2f, 0.269f, 0.27f, 0.9f, 5}));
}

TEST(QuantizersTest, FixedPointRoundsHalfToEvenOnAScaleOfTheChannel) {
  const double weights[] = {127, 0.5, 1.5, -2.5, -254, 1, 3, 5, 0, 0, 0, 0};
  const FixedCodes got = FixedPointCodes(weights, 3, 4, 1);
  EXPECT_EQ((std::vector<double>{1, 2, 1}), got.scale);
  EXPECT_EQ((std::vector<int32_t>{127, 0, 2, -2, -127, 0, 2, 2, 0, 0, 0, 0}), got.codes);
  for (const int limbs : {2, 3}) {
    const FixedCodes fine = FixedPointCodes(weights, 3, 4, limbs);
    EXPECT_EQ(LimbMaximum(limbs), fine.codes[0]);
    EXPECT_EQ(-LimbMaximum(limbs), fine.codes[4]);
  }
}

}  // namespace
}  // namespace lbrt
