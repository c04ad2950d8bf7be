// The depthwise rows in Highway, compiled once per target. A vector holds channels; weights are
// loaded once for a few pixels.

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Channels [c, c + lanes) of R pixels from `r` on: step(w, x, sum) at each tap; load(x) makes a
// vector of lanes elements.
template <size_t R, class D, typename T, typename Weight, class Load, class Step>
HWY_INLINE void DepthwisePixels(D d, const DepthwiseWindows<T>& in,
                                const DepthwiseWeights<Weight>& weights, size_t r, size_t c,
                                Weight* acc, size_t acc_stride, Load load, Step step) {
  static_assert(R == 1 || R == 4);
  auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (size_t y = 0; y < in.rows; ++y) {
    const T* HWY_RESTRICT x = in.first + r * in.step + y * in.row_stride + c;
    const Weight* HWY_RESTRICT w = weights.first + y * weights.row_stride + c;
    for (size_t i = 0; i < in.columns; ++i, x += in.column_stride, w += in.channels) {
      const auto weight = hn::LoadU(d, w);
      sum0 = step(weight, load(x), sum0);
      if constexpr (R == 4) {
        sum1 = step(weight, load(x + in.step), sum1);
        sum2 = step(weight, load(x + 2 * in.step), sum2);
        sum3 = step(weight, load(x + 3 * in.step), sum3);
      }
    }
  }
  Weight* out = acc + r * acc_stride + c;
  hn::StoreU(sum0, d, out);
  if constexpr (R == 4) {
    hn::StoreU(sum1, d, out + acc_stride);
    hn::StoreU(sum2, d, out + 2 * acc_stride);
    hn::StoreU(sum3, d, out + 3 * acc_stride);
  }
}

// The last vector of channels may overlap the one before it; there is one at least.
template <class D, typename T, typename Weight, class Load, class Step>
HWY_INLINE void Depthwise(D d, const DepthwiseWindows<T>& in,
                          const DepthwiseWeights<Weight>& weights, Weight* acc, size_t acc_stride,
                          Load load, Step step) {
  const size_t lanes = hn::Lanes(d);
  for (size_t c = 0; c < in.channels; c += lanes) {
    const size_t at = HWY_MIN(c, in.channels - lanes);
    size_t r = 0;
    for (; r + 4 <= in.pixels; r += 4) {
      DepthwisePixels<4>(d, in, weights, r, at, acc, acc_stride, load, step);
    }
    for (; r < in.pixels; ++r) {
      DepthwisePixels<1>(d, in, weights, r, at, acc, acc_stride, load, step);
    }
  }
}

void DepthwiseCodes(const DepthwiseWindows<uint8_t>& in, const DepthwiseWeights<int32_t>& weights,
                    int32_t zero, int32_t* acc, size_t acc_stride) {
  const hn::CappedTag<int32_t, 16> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  if (in.channels < hn::Lanes(d)) {
    return scalar::DepthwiseCodes(in, weights, zero, acc, acc_stride);
  }
  const auto means_zero = hn::Set(d, zero);
  Depthwise(
      d, in, weights, acc, acc_stride,
      [&](const uint8_t* x)
          HWY_ATTR { return hn::Sub(hn::PromoteTo(d, hn::LoadU(d8, x)), means_zero); },
      [](auto w, auto x, auto sum) HWY_ATTR { return hn::Add(sum, hn::Mul(w, x)); });
}

void DepthwiseF32(const DepthwiseWindows<float>& in, const DepthwiseWeights<float>& weights,
                  float* acc, size_t acc_stride) {
  const hn::CappedTag<float, 16> d;
  if (in.channels < hn::Lanes(d)) return scalar::DepthwiseF32(in, weights, acc, acc_stride);
  Depthwise(
      d, in, weights, acc, acc_stride, [&](const float* x) HWY_ATTR { return hn::LoadU(d, x); },
      [&](auto w, auto x, auto sum) HWY_ATTR { return Fma(d, w, x, sum); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
