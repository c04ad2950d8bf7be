// What may follow a batch norm in one function with it, as types for the loops and CUDA kernels
// that contain it.
#pragma once

#include "trainer/quantizers/clipped_round.h"

namespace lbrt {

enum class Rectifier { kNone, kRelu, kHardtanh, kClippedRound };

// Of z = what they are given and y = their result. Passed is the gradient of z; it reads y, or z
// where kOfInput says so. No branches, so that loops vectorise.
template <typename T>
struct NoRectifier {
  static constexpr bool kOfInput = false;
  LBRT_DEVICE T Value(T z) const { return z; }
  LBRT_DEVICE T Passed(T grad, T) const { return grad; }
};
template <typename T>
struct Relu {
  static constexpr bool kOfInput = false;
  LBRT_DEVICE T Value(T z) const { return z <= 0 ? T{0} : z; }  // what is no number stays none
  LBRT_DEVICE T Passed(T grad, T y) const { return y > 0 ? grad : T{0}; }
};
template <typename T>
struct Hardtanh {
  static constexpr bool kOfInput = false;
  LBRT_DEVICE T Value(T z) const { return z < -1 ? T{-1} : z > 1 ? T{1} : z; }
  LBRT_DEVICE T Passed(T grad, T y) const { return (y > -1) & (y < 1) ? grad : T{0}; }
};
template <typename T, bool kUnit>
struct Rounded {
  static constexpr bool kOfInput = true;
  ClippedRounder<T> rounder;
  LBRT_DEVICE T Value(T z) const { return rounder.template Code<kUnit>(z); }
  LBRT_DEVICE T Passed(T grad, T z) const { return grad * rounder.Slope(z); }
};

// Calls body with the rectifier as a type, so that inner loops do not ask for it.
template <typename T, typename Body>
void WithRectifier(Rectifier rectifier, const ClippedRounding& rounding, const Body& body) {
  switch (rectifier) {
    case Rectifier::kNone:
      return body(NoRectifier<T>());
    case Rectifier::kRelu:
      return body(Relu<T>());
    case Rectifier::kHardtanh:
      return body(Hardtanh<T>());
    case Rectifier::kClippedRound: {
      const ClippedRounder<T> rounder(rounding);
      if (rounder.unit()) return body(Rounded<T, true>{rounder});
      return body(Rounded<T, false>{rounder});
    }
  }
}

}  // namespace lbrt
