// Arithmetic in a fixed order, defined once (design.md section 2): what import, interpreter,
// deploy-eval and every column of Kernels must agree on to the last bit. Header-only; no libm.
// The vector form for Highway is kernels/float-inl.h.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace lbrt {

// a * b + c, rounded once. The product of two floats is exact in double; the sum is rounded to odd
// there, so that the second rounding, to float, gives what one rounding of the exact value would
// (double has more than two bits to spare). Subnormal results included. A library fmaf is not used:
// newlib's rounds twice where there is no FPU for it.
constexpr float ExactFma(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  if (!(sum - sum == 0)) return static_cast<float>(sum);  // infinite or NaN: nothing to correct
  // Two-sum: the rounding error of the addition, exactly.
  const double virtual_addend = sum - product;
  const double error = (product - (sum - virtual_addend)) + (addend - virtual_addend);
  if (error == 0) return static_cast<float>(sum);
  const uint64_t bits = std::bit_cast<uint64_t>(sum);
  if (bits & 1) return static_cast<float>(sum);  // odd already
  // Truncate towards zero if `sum` overshot, then set the last bit: the odd neighbour of the exact
  // value. (An error exists only where sum is not zero.)
  const bool overshot = (error < 0) == (sum > 0);
  return static_cast<float>(std::bit_cast<double>((overshot ? bits - 1 : bits) | 1));
}

constexpr float Fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  if (!std::is_constant_evaluated()) return __builtin_fmaf(a, b, c);
#endif
  return ExactFma(a, b, c);
}

// The per-channel affine that follows an integer convolution or an fp32 sum.
constexpr float Affine(float x, float a, float b) { return Fma(x, a, b); }

// Compare and select: deterministic for NaN (which becomes `low`) and for -0.0.
constexpr float Clip(float x, float low, float high) {
  const float y = x > low ? x : low;
  return y < high ? y : high;
}
constexpr float Relu(float x) { return x > 0.0f ? x : 0.0f; }
constexpr float Hardtanh(float x) { return Clip(x, -1.0f, 1.0f); }
constexpr float ClipUnit(float x) { return Clip(x, 0.0f, 1.0f); }
// One rounding; the product of -0 or a NaN is taken as it comes.
constexpr float PRelu(float x, float slope) { return x > 0.0f ? x : x * slope; }

enum class Activation : uint8_t { kNone, kRelu, kHardtanh, kClipUnit, kPRelu };
// `slope`: the channel's, of kPRelu.
constexpr float Activate(float z, Activation activation, float slope) {
  switch (activation) {
    case Activation::kNone: break;
    case Activation::kRelu: return Relu(z);
    case Activation::kHardtanh: return Hardtanh(z);
    case Activation::kClipUnit: return ClipUnit(z);
    case Activation::kPRelu: return PRelu(z, slope);
  }
  return z;
}

// The sign of an activation: bit 1 (= +1) when z >= 0, so -0.0 is +1 and NaN is -1.
constexpr bool SignBit(float z) { return z >= 0.0f; }

// Rounds half to even where |x| < 2^22. The addition makes the unit the last place.
constexpr float RoundHalfEven(float x) {
  constexpr float kMagic = 0x1.8p23f;
  return (x + kMagic) - kMagic;
}

// The code, 0 .. levels, of an unsigned activation (methods.md 1.1, 2.1); at most 255 levels. A NaN
// has the code 0.
constexpr float ActivationCode(float x, float inverse_step, int levels) {
  return RoundHalfEven(Clip(x * inverse_step, 0.0f, static_cast<float>(levels)));
}

}  // namespace lbrt
