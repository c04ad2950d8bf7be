// The depthwise rows in Highway, compiled once per target. A vector holds channels; weights are
// loaded once for a few pixels.

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Channels [c, c + lanes) of R pixels from `r` on: step(w, x, sum) at each tap; load(x) and
// load(w) make vectors of lanes elements. Rows of weights are weight_stride apart.
template <size_t R, class D, typename T, typename W, typename Sum, class Load, class Step>
HWY_INLINE void DepthwisePixels(D d, const DepthwiseWindows<T>& in, const W* weights,
                                size_t weight_stride, size_t r, size_t c, Sum* acc,
                                size_t acc_stride, Load load, Step step) {
  static_assert(R == 1 || R == 4);
  auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  for (size_t y = 0; y < in.rows; ++y) {
    const T* HWY_RESTRICT x = in.first + r * in.step + y * in.row_stride + c;
    const W* HWY_RESTRICT w = weights + y * weight_stride + c;
    for (size_t i = 0; i < in.columns; ++i, x += in.column_stride, w += in.channels) {
      const auto weight = load(w);
      sum0 = step(weight, load(x), sum0);
      if constexpr (R == 4) {
        sum1 = step(weight, load(x + in.step), sum1);
        sum2 = step(weight, load(x + 2 * in.step), sum2);
        sum3 = step(weight, load(x + 3 * in.step), sum3);
      }
    }
  }
  Sum* out = acc + r * acc_stride + c;
  hn::StoreU(sum0, d, out);
  if constexpr (R == 4) {
    hn::StoreU(sum1, d, out + acc_stride);
    hn::StoreU(sum2, d, out + 2 * acc_stride);
    hn::StoreU(sum3, d, out + 3 * acc_stride);
  }
}

// The last vector of channels may overlap the one before it; there is one at least.
template <class D, typename T, typename W, typename Sum, class Load, class Step>
HWY_INLINE void Depthwise(D d, const DepthwiseWindows<T>& in, const W* weights,
                          size_t weight_stride, Sum* acc, size_t acc_stride, Load load, Step step) {
  const size_t lanes = hn::Lanes(d);
  for (size_t c = 0; c < in.channels; c += lanes) {
    const size_t at = HWY_MIN(c, in.channels - lanes);
    size_t r = 0;
    for (; r + 4 <= in.pixels; r += 4) {
      DepthwisePixels<4>(d, in, weights, weight_stride, r, at, acc, acc_stride, load, step);
    }
    for (; r < in.pixels; ++r) {
      DepthwisePixels<1>(d, in, weights, weight_stride, r, at, acc, acc_stride, load, step);
    }
  }
}

// Codes as they are, weights as they are: widened to 32 bits.
template <class D>
struct WidenBytes {
  D d;
  HWY_INLINE hn::Vec<D> operator()(const uint8_t* x) const {
    return hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint8_t, D>(), x));
  }
  HWY_INLINE hn::Vec<D> operator()(const int8_t* w) const {
    return hn::PromoteTo(d, hn::LoadU(hn::Rebind<int8_t, D>(), w));
  }
};

void DepthwiseCodes(const DepthwiseWindows<uint8_t>& in, const Weights& weights, size_t row,
                    size_t column, int32_t zero, int32_t* acc, size_t acc_stride) {
  const hn::CappedTag<int32_t, 16> d;
  if (in.channels < hn::Lanes(d)) {
    return scalar::DepthwiseCodes(in, weights, row, column, zero, acc, acc_stride);
  }
  const size_t weight_stride = weights.rows.run * in.channels;
  const auto* w =
      static_cast<const int8_t*>(weights.packed) + row * weight_stride + column * in.channels;
  const auto means_zero = hn::Set(d, zero);
  Depthwise(d, in, w, weight_stride, acc, acc_stride, WidenBytes<decltype(d)>{d},
            [&](auto weight, auto x, auto sum)
                HWY_ATTR { return hn::Add(sum, hn::Mul(weight, hn::Sub(x, means_zero))); });
}

void DepthwiseF32(const DepthwiseWindows<float>& in, const DepthwiseWeights& weights, float* acc,
                  size_t acc_stride) {
  const hn::CappedTag<float, 16> d;
  if (in.channels < hn::Lanes(d)) return scalar::DepthwiseF32(in, weights, acc, acc_stride);
  Depthwise(
      d, in, weights.first, weights.row_stride, acc, acc_stride,
      [&](const float* x) HWY_ATTR { return hn::LoadU(d, x); },
      [&](auto w, auto x, auto sum) HWY_ATTR { return Fma(d, w, x, sum); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
