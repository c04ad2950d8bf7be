#include "trainer/ordered_sums.h"

#include <algorithm>

#include "kernels/numerics.h"

namespace lbrt {
namespace {

constexpr size_t kLanes = 8;   // of a vector
constexpr size_t kPanel = 16;  // output channels that are summed at once
constexpr int kPixels = 4;     // side by side, so that the sums hide each other's latency
using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

// The hardware's fused multiply-add where a function was compiled for it, else numerics.h's. Both
// round the exact value once.
struct HardwareFma {
  [[gnu::always_inline]] static float Run(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
  }
};
struct PortableFma {
  [[gnu::always_inline]] static float Run(float a, float b, float c) { return Fma(a, b, c); }
};

// What one call of SumPixels reads: the valid taps of kPixels (or fewer) neighbouring pixels, which
// have the same ones.
struct Taps {
  const float* image;    // at the first pixel's first valid tap
  size_t row_stride;     // from one row of the image to the next
  size_t pixel_stride;   // from one pixel's taps to the next's
  const float* weights;  // of the first valid tap and the panel's first channel
  size_t weight_row_stride, weight_stride;
  int rows;    // valid ones
  size_t run;  // valid columns * channels: contiguous in image and weights alike
};

template <class FusedMultiplyAdd, int pixels>
[[gnu::always_inline]] inline void SumPixels(const Taps& taps, float (*out)[kPanel]) {
  Vector acc[pixels][2] = {};
  for (int row = 0; row < taps.rows; ++row) {
    const float* a = taps.image + static_cast<size_t>(row) * taps.row_stride;
    const float* w = taps.weights + static_cast<size_t>(row) * taps.weight_row_stride;
    for (size_t k = 0; k < taps.run; ++k, w += taps.weight_stride) {
      Vector w0, w1;
      __builtin_memcpy(&w0, w, sizeof w0);
      __builtin_memcpy(&w1, w + kLanes, sizeof w1);
#pragma GCC unroll 4
      for (int p = 0; p < pixels; ++p) {
        const float value = a[static_cast<size_t>(p) * taps.pixel_stride + k];
        for (size_t i = 0; i < kLanes; ++i) {
          acc[p][0][i] = FusedMultiplyAdd::Run(w0[i], value, acc[p][0][i]);
          acc[p][1][i] = FusedMultiplyAdd::Run(w1[i], value, acc[p][1][i]);
        }
      }
    }
  }
  __builtin_memcpy(out, acc, sizeof acc);
}

template <class FusedMultiplyAdd>
[[gnu::always_inline]] inline void Sum(const Taps& taps, int pixels, float (*out)[kPanel]) {
  if (pixels == kPixels)
    SumPixels<FusedMultiplyAdd, kPixels>(taps, out);
  else
    SumPixels<FusedMultiplyAdd, 1>(taps, out);
}

template <class FusedMultiplyAdd>
[[gnu::always_inline]] inline void Affine(const float* x, const float* a, const float* b,
                                          size_t channels, float* z) {
  for (size_t c = 0; c < channels; ++c) z[c] = FusedMultiplyAdd::Run(x[c], a[c], b[c]);
}

void PortableSum(const Taps& taps, int pixels, float (*out)[kPanel]) {
  Sum<PortableFma>(taps, pixels, out);
}
void PortableAffine(const float* x, const float* a, const float* b, size_t channels, float* z) {
  Affine<PortableFma>(x, a, b, channels, z);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void HardwareSum(const Taps& taps, int pixels,
                                                     float (*out)[kPanel]) {
  Sum<HardwareFma>(taps, pixels, out);
}
__attribute__((target("avx2,fma"))) void HardwareAffine(const float* x, const float* a,
                                                        const float* b, size_t channels, float* z) {
  Affine<HardwareFma>(x, a, b, channels, z);
}
const bool kHasFma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
const auto kSum = kHasFma ? HardwareSum : PortableSum;
const auto kAffine = kHasFma ? HardwareAffine : PortableAffine;
#else
const auto kSum = PortableSum;
const auto kAffine = PortableAffine;
#endif

}  // namespace

OrderedSums::OrderedSums(int height, int width, int channels, const Window& window,
                         const std::vector<float>& weights)
    : height_(height), width_(width), channels_(channels), window_(window) {
  const size_t taps = static_cast<size_t>(window.taps()) * static_cast<size_t>(channels);
  const size_t outputs = weights.size() / taps;
  outputs_ = static_cast<int>(outputs);
  padded_ = (outputs + kPanel - 1) / kPanel * kPanel;
  weights_.resize(taps * padded_);
  for (size_t o = 0; o < outputs; ++o)
    for (size_t k = 0; k < taps; ++k) weights_[k * padded_ + o] = weights[o * taps + k];
}

void OrderedSums::Row(const float* image, int out_y, float* out) const {
  const auto channels = static_cast<size_t>(channels_), outputs = static_cast<size_t>(outputs_);
  const TapRange rows = ValidRows(window_, height_, out_y);
  const int out_width = OutputWidth(window_, width_);
  for (int x = 0; x < out_width;) {
    const TapRange columns = ValidColumns(window_, width_, x);
    int pixels = kPixels;  // with the same valid taps
    for (int p = 1; p < kPixels; ++p)
      if (x + p >= out_width || ValidColumns(window_, width_, x + p) != columns) pixels = 1;

    Taps taps;
    taps.rows = rows.size();
    taps.run = static_cast<size_t>(columns.size()) * channels;
    taps.row_stride = static_cast<size_t>(width_) * channels;
    taps.pixel_stride = static_cast<size_t>(window_.stride_w) * channels;
    const int in_y = out_y * window_.stride_h - window_.pad_top + rows.begin;
    const int in_x = x * window_.stride_w - window_.pad_left + columns.begin;
    taps.image = image + (static_cast<size_t>(in_y) * static_cast<size_t>(width_) +
                          static_cast<size_t>(in_x)) *
                             channels;
    taps.weight_stride = padded_;
    taps.weight_row_stride = static_cast<size_t>(window_.kernel_w) * channels * padded_;
    const size_t first_tap = static_cast<size_t>(rows.begin * window_.kernel_w + columns.begin);
    for (size_t o = 0; o < outputs; o += kPanel) {
      taps.weights = weights_.data() + first_tap * channels * padded_ + o;
      float sums[kPixels][kPanel];
      kSum(taps, pixels, sums);
      for (int p = 0; p < pixels; ++p)
        std::copy_n(sums[p], std::min(kPanel, outputs - o),
                    out + static_cast<size_t>(x + p) * outputs + o);
    }
    x += pixels;
  }
}

void AffinePixel(const float* x, const float* a, const float* b, size_t channels, float* z) {
  kAffine(x, a, b, channels, z);
}

}  // namespace lbrt
