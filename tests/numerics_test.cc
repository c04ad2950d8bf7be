// kernels/numerics.h and kernels/shapes.h: the arithmetic everything else must agree on.
#include "kernels/numerics.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <limits>

#include "kernels/shapes.h"
#include "tests/kernels_data.h"

namespace lbrt {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// glibc's fmaf is correctly rounded, with and without the instruction.
void ExpectExact(float a, float b, float c) {
  const float want = std::fma(a, b, c);
  ASSERT_TRUE(SameFloat(ExactFma(a, b, c), want))
      << std::hexfloat << a << " * " << b << " + " << c << ": " << ExactFma(a, b, c)
      << " instead of " << want;
  ASSERT_TRUE(SameFloat(Fma(a, b, c), want)) << std::hexfloat << a << " * " << b << " + " << c;
}

TEST(FmaTest, RoundsOnceWhereTwoRoundingsDiffer) {
  EXPECT_EQ(ExactFma(1.0f + 0x1p-12f, 1.0f + 0x1p-12f, 0x1p-60f), 1.0f + 0x1p-11f + 0x1p-23f);
  EXPECT_EQ(ExactFma(1.0f + 0x1p-12f, 1.0f + 0x1p-12f, -0x1p-60f), 1.0f + 0x1p-11f);
  static_assert(ExactFma(1.0f + 0x1p-12f, 1.0f + 0x1p-12f, 0x1p-60f) == 1.0f + 0x1p-11f + 0x1p-23f);
}

TEST(FmaTest, AgreesOnEveryKindOfFloat) {
  Random random(1);
  for (int i = 0; i < 1000000; ++i) {
    ExpectExact(random.AnyFloat(), random.AnyFloat(), random.AnyFloat());
  }
}

TEST(FmaTest, AgreesOnValuesThatOverlap) {
  Random random(2);
  for (int i = 0; i < 1000000; ++i) {
    const float a = random.Unit(), b = random.Unit();
    ExpectExact(a, b, std::ldexp(random.Unit(), random.Between(-30, 30)));
    ExpectExact(a, b, -a * b);  // what the rounding of the product left over
  }
}

TEST(FmaTest, AgreesNextToTies) {
  Random random(3);
  for (int i = 0; i < 1000000; ++i) {
    // A product of 25 bits whose last is set lies between two floats; c is dust.
    const float a = static_cast<float>(random.Between(1, 4095) | 2048) * 2.0f + 1.0f;
    const float b = static_cast<float>(random.Between(1, 4095) | 2048) * 2.0f + 1.0f;
    const float dust = std::ldexp(static_cast<float>(random.Sign()), -random.Between(1, 80));
    ExpectExact(a, b, dust);
    ExpectExact(-a, b, dust * random.Unit());
  }
}

TEST(FmaTest, AgreesInTheSubnormals) {
  Random random(4);
  for (int i = 0; i < 500000; ++i) {
    const float a = std::ldexp(random.Unit(), random.Between(-75, -60));
    const float b = std::ldexp(random.Unit(), random.Between(-75, -60));
    ExpectExact(a, b, std::ldexp(random.Unit(), random.Between(-149, -120)));
    ExpectExact(a, b, 0.0f);
  }
}

TEST(FmaTest, AgreesOnZerosInfinitiesAndNan) {
  for (const float a : {0.0f, -0.0f, 1.0f, -1.0f, kInf, -kInf, kNan, 1e-45f, 3.4e38f}) {
    for (const float b : {0.0f, -0.0f, 1.0f, -1.0f, kInf, kNan, -1e-45f, -3.4e38f}) {
      for (const float c : {0.0f, -0.0f, 1.0f, -1.0f, kInf, -kInf, kNan, 1e-45f, 3.4e38f}) {
        ExpectExact(a, b, c);
      }
    }
  }
}

TEST(SelectionTest, ClipAndReluAreDefinedForNanAndNegativeZero) {
  EXPECT_FALSE(std::signbit(Relu(-0.0f)));
  EXPECT_EQ(Relu(kNan), 0.0f);
  EXPECT_EQ(Relu(3.0f), 3.0f);
  EXPECT_EQ(Relu(-3.0f), 0.0f);
  EXPECT_EQ(Hardtanh(kNan), -1.0f);
  EXPECT_EQ(Hardtanh(-kInf), -1.0f);
  EXPECT_EQ(Hardtanh(kInf), 1.0f);
  EXPECT_TRUE(std::signbit(Hardtanh(-0.0f)));
}

TEST(SelectionTest, TheSignOfZeroIsPlusAndOfNanMinus) {
  EXPECT_TRUE(SignBit(0.0f));
  EXPECT_TRUE(SignBit(-0.0f));
  EXPECT_TRUE(SignBit(1e-45f));
  EXPECT_FALSE(SignBit(-1e-45f));
  EXPECT_FALSE(SignBit(kNan));
}

TEST(RoundTest, HalvesGoToTheEvenInteger) {
  for (int i = -1000; i <= 1000; ++i) {
    const float half = static_cast<float>(i) + 0.5f;
    EXPECT_EQ(RoundHalfEven(half), std::nearbyint(half)) << half;
    EXPECT_EQ(RoundHalfEven(std::nextafter(half, kInf)), static_cast<float>(i + 1));
    EXPECT_EQ(RoundHalfEven(std::nextafter(half, -kInf)), static_cast<float>(i));
    EXPECT_EQ(RoundHalfEven(static_cast<float>(i)), static_cast<float>(i));
  }
}

// ------------------------------------------------------------------------------------- shapes

int Classes(const Window& window, int height, int width) {
  return BorderRows(window, height).classes() * BorderColumns(window, width).classes();
}

TEST(ShapesTest, BorderClassesHaveTheirPublishedCounts) {
  EXPECT_EQ(Classes(SquareWindow(3, 1, 1), 32, 32), 9);
  EXPECT_EQ(Classes(SquareWindow(3, 2, 1), 32, 32), 4);  // an even input: only top and left
  EXPECT_EQ(Classes(SquareWindow(3, 2, 1), 33, 33), 9);
  EXPECT_EQ(Classes(SquareWindow(7, 2, 3), 224, 224), 16);
  EXPECT_EQ(Classes(SquareWindow(1, 1, 0), 8, 8), 1);
  EXPECT_EQ(Classes(SquareWindow(3, 1, 0), 8, 8), 1);
  EXPECT_EQ(Classes(SquareWindow(3, 1, 1), 1, 1), 1);  // every output is every border at once
  EXPECT_EQ(Classes(SquareWindow(3, 1, 1), 2, 2), 4);
}

TEST(ShapesTest, OutputSizesFollowFloorMode) {
  EXPECT_EQ(OutputWidth(SquareWindow(3, 1, 1), 32), 32);
  EXPECT_EQ(OutputWidth(SquareWindow(3, 2, 1), 32), 16);
  EXPECT_EQ(OutputWidth(SquareWindow(7, 2, 3), 224), 112);
  EXPECT_EQ(OutputWidth(SquareWindow(2, 2, 0), 7), 3);
  EXPECT_EQ(OutputWidth(SquareWindow(5, 1, 0), 4), 0);
}

TEST(ShapesTest, ValidTapsAreThoseInsideTheInput) {
  for (const int kernel : {1, 2, 3, 7}) {
    for (const int stride : {1, 2, 3}) {
      for (int pad = 0; pad < kernel; ++pad) {
        for (int input = 1; input < 12; ++input) {
          const int outputs = WindowOutput(input, kernel, stride, pad, pad);
          for (int out = 0; out < outputs; ++out) {
            const TapRange taps = ValidTaps(input, kernel, stride, pad, out);
            for (int tap = 0; tap < kernel; ++tap) {
              const int at = out * stride - pad + tap;
              EXPECT_EQ(at >= 0 && at < input, tap >= taps.begin && tap < taps.end);
            }
          }
        }
      }
    }
  }
}

TEST(ShapesTest, OutputsOfOneClassHaveTheSameValidTaps) {
  for (const int input : {1, 2, 3, 4, 7, 8, 32}) {
    for (const int stride : {1, 2}) {
      const BorderAxis axis(input, 7, stride, 3, 3);
      for (int a = 0; a < axis.outputs(); ++a) {
        EXPECT_EQ(axis.taps(a), axis.taps(axis.First(axis.Class(a))));
        for (int b = 0; b < a; ++b) {
          EXPECT_EQ(axis.Class(a) == axis.Class(b), axis.taps(a) == axis.taps(b));
        }
      }
    }
  }
}

}  // namespace
}  // namespace lbrt
