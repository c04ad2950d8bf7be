// Thresholds: codes by counting those that a value reaches.
#pragma once

#include "runtime/op.h"

namespace lbrt {

// [levels][channels], or [levels]; finite, and of a channel ascending.
Refusal CheckThresholds(const FileView& file, const lbm::Floats* list, int64_t levels,
                        int64_t channels);

struct Thresholds {
  const float* list = nullptr;
  size_t levels = 0, stride = 0;  // stride: from one level to the next: channels, or 1
};
Thresholds ThresholdsOf(const FileView& file, const lbm::Floats& list, size_t levels);

// Codes of `pixels` pixels of values: by counting with the kernel's row, or, of so many levels that
// this is slower, by halving.
void CountThresholds(const Kernels& kernels, const Thresholds& thresholds, const float* values,
                     size_t pixels, size_t channels, size_t in_stride, uint8_t* codes,
                     size_t codes_stride);
inline constexpr size_t kMostCounted = 31;  // levels

// What follows an exact sum, of one channel: affine, activation, then a sign or a code.
struct SumChain {
  bool affine = false;
  float a = 1, b = 0;
  Activation activation = Activation::kNone;
  float slope = 0;       // of kPRelu, not below 0
  float inverse_step = 1;
  Thresholds counted;  // in place of inverse_step; `list` is the channel's
  int levels = 0;      // 0: a sign

  int Code(int64_t sum) const;
};

// Into thresholds[level * stride], for each level: the code of the chain of every sum there can be
// is how many are below it, or where *flip is -1 below its complement.
void FindSumThresholds(const SumChain& chain, size_t stride, int32_t* thresholds, int32_t* flip);

}  // namespace lbrt
