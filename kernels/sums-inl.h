// The tiles that are not bits times bits, in Highway, compiled once per target: sign_sum_tile,
// fma_tile, fixed_point_tile and fixed_point_lanes; and combine_limbs. A vector holds output
// channels (or, in lanes order, pixels), never elements of a window, so that each sum keeps its
// order.

#include <cstring>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// --------------------------------------------------------------------------------- float tiles

// R pixels from `first` on. weight(k) is the vector of weights of element k.
template <size_t R, class D, class WeightAt, class Step>
HWY_INLINE void FloatRows(D d, const Windows<float>& in, const float* first, WeightSpan span,
                          WeightAt weight, Step step, float* acc, size_t acc_stride) {
  const float* HWY_RESTRICT x = first;
  const size_t s = in.step;
  const auto zero = hn::Zero(d);
  auto sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
  auto sum4 = zero, sum5 = zero, sum6 = zero, sum7 = zero;
  for (size_t y = 0; y < in.runs; ++y) {
    const float* HWY_RESTRICT run = x + y * in.run_stride;
    const size_t k = span.begin + y * span.run_stride;
    for (size_t i = 0; i < in.run; ++i) {
      const auto w = weight(k + i);
      sum0 = step(w, hn::Set(d, run[i]), sum0);
      if constexpr (R > 1) sum1 = step(w, hn::Set(d, run[s + i]), sum1);
      if constexpr (R > 2) sum2 = step(w, hn::Set(d, run[2 * s + i]), sum2);
      if constexpr (R > 3) sum3 = step(w, hn::Set(d, run[3 * s + i]), sum3);
      if constexpr (R > 4) sum4 = step(w, hn::Set(d, run[4 * s + i]), sum4);
      if constexpr (R > 5) sum5 = step(w, hn::Set(d, run[5 * s + i]), sum5);
      if constexpr (R > 6) sum6 = step(w, hn::Set(d, run[6 * s + i]), sum6);
      if constexpr (R > 7) sum7 = step(w, hn::Set(d, run[7 * s + i]), sum7);
    }
  }
  hn::StoreU(sum0, d, acc);
  if constexpr (R > 1) hn::StoreU(sum1, d, acc + acc_stride);
  if constexpr (R > 2) hn::StoreU(sum2, d, acc + 2 * acc_stride);
  if constexpr (R > 3) hn::StoreU(sum3, d, acc + 3 * acc_stride);
  if constexpr (R > 4) hn::StoreU(sum4, d, acc + 4 * acc_stride);
  if constexpr (R > 5) hn::StoreU(sum5, d, acc + 5 * acc_stride);
  if constexpr (R > 6) hn::StoreU(sum6, d, acc + 6 * acc_stride);
  if constexpr (R > 7) hn::StoreU(sum7, d, acc + 7 * acc_stride);
}

// One pixel and four vectors of channels, `lanes` apart: a linear layer has no second pixel to
// hide the latency of a sum behind. weight(v, k) is vector v of the weights of element k.
template <class D, class WeightAt, class Step>
HWY_INLINE void FloatRowFour(D d, const Windows<float>& in, const float* first, WeightSpan span,
                             WeightAt weight, Step step, float* acc) {
  const auto zero = hn::Zero(d);
  auto sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
  for (size_t y = 0; y < in.runs; ++y) {
    const float* HWY_RESTRICT run = first + y * in.run_stride;
    const size_t k = span.begin + y * span.run_stride;
    for (size_t i = 0; i < in.run; ++i) {
      const auto x = hn::Set(d, run[i]);
      sum0 = step(weight(0, k + i), x, sum0);
      sum1 = step(weight(1, k + i), x, sum1);
      sum2 = step(weight(2, k + i), x, sum2);
      sum3 = step(weight(3, k + i), x, sum3);
    }
  }
  const size_t lanes = hn::Lanes(d);
  hn::StoreU(sum0, d, acc);
  hn::StoreU(sum1, d, acc + lanes);
  hn::StoreU(sum2, d, acc + 2 * lanes);
  hn::StoreU(sum3, d, acc + 3 * lanes);
}

// weight(channel, k): the vector of weights of element k from `channel` on.
template <class D, class WeightAt, class Step>
HWY_INLINE void FloatTile(D d, const Windows<float>& in, const Weights& weights, WeightSpan span,
                          float* acc, size_t acc_stride, WeightAt weight, Step step) {
  const size_t lanes = hn::Lanes(d), channels = RoundUp(weights.rows.outputs, kPanel);
  for (size_t r = 0; r < in.rows;) {
    const float* first = in.first + r * in.step;
    float* out = acc + r * acc_stride;
    const size_t left = in.rows - r, n = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    for (size_t channel = 0; channel < channels;) {
      if (n == 1 && channel + 4 * lanes <= channels) {
        FloatRowFour(d, in, first, span,
                     [&](size_t v, size_t k) HWY_ATTR { return weight(channel + v * lanes, k); },
                     step, out + channel);
        channel += 4 * lanes;
        continue;
      }
      const auto at = [&](size_t k) HWY_ATTR { return weight(channel, k); };
      switch (n) {
        case 8: FloatRows<8>(d, in, first, span, at, step, out + channel, acc_stride); break;
        case 4: FloatRows<4>(d, in, first, span, at, step, out + channel, acc_stride); break;
        case 2: FloatRows<2>(d, in, first, span, at, step, out + channel, acc_stride); break;
        default: FloatRows<1>(d, in, first, span, at, step, out + channel, acc_stride); break;
      }
      channel += lanes;
    }
    r += n;
  }
}

void FmaTile(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
             size_t acc_stride) {
  const hn::CappedTag<float, kPanel> d;
  const float* packed = static_cast<const float*>(weights.packed);
  const size_t panel_floats = weights.rows.elements() * kPanel;
  FloatTile(
      d, in, weights, span, acc, acc_stride,
      [&](size_t channel, size_t k) HWY_ATTR {
        return hn::LoadU(d, packed + channel / kPanel * panel_floats + k * kPanel +
                                channel % kPanel);
      },
      [&](auto w, auto x, auto sum) HWY_ATTR { return Fma(d, w, x, sum); });
}

void SignSumTile(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
                 size_t acc_stride) {
  const hn::CappedTag<float, kPanel> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  constexpr size_t kBytes = kPanel / 8;
  const uint8_t* packed = static_cast<const uint8_t*>(weights.packed);
  const size_t panel_bytes = weights.rows.elements() * kBytes;
  const auto lane = hn::Iota(du, 0);
  FloatTile(
      d, in, weights, span, acc, acc_stride,
      [&](size_t channel, size_t k) HWY_ATTR {
        uint16_t bits = 0;
        std::memcpy(&bits, packed + channel / kPanel * panel_bytes + k * kBytes, kBytes);
        const auto of_lane = hn::Set(du, uint32_t{bits} >> (channel % kPanel));
        const auto bit = hn::And(of_lane, hn::Shl(hn::Set(du, 1), lane));
        return hn::IfThenElse(hn::RebindMask(d, hn::Eq(bit, hn::Zero(du))), hn::Set(d, -1.0f),
                              hn::Set(d, 1.0f));
      },
      [](auto w, auto x, auto sum) HWY_ATTR { return SignMulAdd(w, x, sum); });
}

// --------------------------------------------------------------------------------- fixed point
// Every product and every sum is a whole number below 2^53, so double holds them exactly, in any
// order; the one rounding is the conversion to float.

// Elements [begin, begin + count) of window r as doubles.
HWY_INLINE void WidenWindow(const Windows<uint8_t>& in, size_t r, size_t begin, size_t count,
                            double* HWY_RESTRICT out) {
  const uint8_t* window = in.first + r * in.step;
  for (size_t k = begin, end; k < begin + count; k = end) {
    const size_t y = k / in.run;
    end = HWY_MIN((y + 1) * in.run, begin + count);
    const uint8_t* run = window + y * in.run_stride + (k - y * in.run);
    for (size_t i = 0; i < end - k; ++i) *out++ = static_cast<double>(run[i]);
  }
}

// The same of windows [r, r + n): element by element, `lanes` windows each.
HWY_INLINE void WidenWindows(const Windows<uint8_t>& in, size_t r, size_t n, size_t lanes,
                             size_t begin, size_t count, double* HWY_RESTRICT out) {
  constexpr size_t kSpan = 256;
  double wide[kSpan];
  for (size_t k = begin, end; k < begin + count; k = end) {
    const size_t y = k / in.run;
    end = HWY_MIN((y + 1) * in.run, begin + count);
    const uint8_t* run = in.first + r * in.step + y * in.run_stride + (k - y * in.run);
    const size_t span = (n - 1) * in.step + (end - k);
    double* to = out + (k - begin) * lanes;
    if (span <= kSpan) {  // neighbours overlap: convert each byte once
      for (size_t i = 0; i < span; ++i) wide[i] = static_cast<double>(run[i]);
      for (size_t i = 0; i < end - k; ++i) {
        for (size_t j = 0; j < n; ++j) to[i * lanes + j] = wide[j * in.step + i];
      }
    } else {
      for (size_t i = 0; i < end - k; ++i) {
        for (size_t j = 0; j < n; ++j) {
          to[i * lanes + j] = static_cast<double>(run[j * in.step + i]);
        }
      }
    }
  }
}

// Four pixels times two vectors of channels at once: eight sums hide the latency of an addition.
void FixedPointTile(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                    size_t acc_stride) {
  const hn::CappedTag<double, kPanel / 2> d;
  const hn::Rebind<float, decltype(d)> df;
  constexpr size_t kRows = 4, kChunk = 256;
  HWY_ALIGN double x[kRows][kChunk] = {};
  const size_t elements = weights.rows.elements(), lanes = hn::Lanes(d);
  const size_t channels = RoundUp(weights.rows.outputs, kPanel);
  for (size_t r = 0; r < in.rows; r += kRows) {
    const size_t n = HWY_MIN(kRows, in.rows - r);
    for (size_t channel = 0; channel < channels; channel += 2 * lanes) {
      const float* w = static_cast<const float*>(weights.packed) +
                       channel / kPanel * elements * kPanel + channel % kPanel;
      const auto zero = hn::Zero(d);
      auto sum00 = zero, sum10 = zero, sum20 = zero, sum30 = zero;
      auto sum01 = zero, sum11 = zero, sum21 = zero, sum31 = zero;
      for (size_t begin = 0; begin < elements; begin += kChunk) {
        const size_t count = HWY_MIN(kChunk, elements - begin);
        if (channel == 0 || elements > kChunk) {
          for (size_t j = 0; j < n; ++j) WidenWindow(in, r + j, begin, count, x[j]);
        }
        for (size_t i = 0; i < count; ++i, w += kPanel) {
          const auto w0 = hn::PromoteTo(d, hn::LoadU(df, w));
          const auto w1 = hn::PromoteTo(d, hn::LoadU(df, w + lanes));
          const auto x0 = hn::Set(d, x[0][i]), x1 = hn::Set(d, x[1][i]);
          sum00 = IntegerMulAdd(w0, x0, sum00), sum01 = IntegerMulAdd(w1, x0, sum01);
          sum10 = IntegerMulAdd(w0, x1, sum10), sum11 = IntegerMulAdd(w1, x1, sum11);
          const auto x2 = hn::Set(d, x[2][i]), x3 = hn::Set(d, x[3][i]);
          sum20 = IntegerMulAdd(w0, x2, sum20), sum21 = IntegerMulAdd(w1, x2, sum21);
          sum30 = IntegerMulAdd(w0, x3, sum30), sum31 = IntegerMulAdd(w1, x3, sum31);
        }
      }
      const auto store = [&](size_t j, auto low, auto high) HWY_ATTR {
        if (j >= n) return;
        float* out = acc + (r + j) * acc_stride + channel;
        hn::StoreU(NarrowToFloat(df, low), df, out);
        hn::StoreU(NarrowToFloat(df, high), df, out + lanes);
      };
      store(0, sum00, sum01), store(1, sum10, sum11);
      store(2, sum20, sum21), store(3, sum30, sum31);
    }
  }
}

// Two vectors of pixels times four channels.
void FixedPointLanes(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                     size_t acc_stride) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  constexpr size_t kMaxPixels = 2 * hn::MaxLanes(d), kChunk = 2048 / kMaxPixels;
  HWY_ALIGN double x[kChunk * kMaxPixels] = {};
  const size_t elements = weights.rows.elements(), outputs = weights.rows.outputs;
  const size_t lanes = hn::Lanes(d), pixels = 2 * lanes;
  for (size_t r = 0; r < in.rows; r += pixels) {
    const size_t n = HWY_MIN(pixels, in.rows - r);
    const auto store = [&](size_t o, auto low, auto high) HWY_ATTR {
      if (o >= outputs) return;
      float* out = acc + o * acc_stride + r;
      HWY_ALIGN float values[kMaxPixels];
      float* to = n == pixels ? out : values;
      hn::StoreU(NarrowToFloat(df, low), df, to);
      hn::StoreU(NarrowToFloat(df, high), df, to + lanes);
      if (n < pixels) std::memcpy(out, values, n * sizeof(float));
    };
    for (size_t o = 0; o < outputs; o += 4) {
      const auto row = [&](size_t j) {
        return static_cast<const double*>(weights.packed) + HWY_MIN(o + j, outputs - 1) * elements;
      };
      const double *w0 = row(0), *w1 = row(1), *w2 = row(2), *w3 = row(3);
      const auto zero = hn::Zero(d);
      auto sum00 = zero, sum10 = zero, sum20 = zero, sum30 = zero;
      auto sum01 = zero, sum11 = zero, sum21 = zero, sum31 = zero;
      for (size_t begin = 0; begin < elements; begin += kChunk) {
        const size_t end = HWY_MIN(begin + kChunk, elements);
        if (o == 0 || elements > kChunk) {
          WidenWindows(in, r, n, pixels, begin, end - begin, x);
        }
        for (size_t k = begin; k < end; ++k) {
          const double* at = x + (k - begin) * pixels;
          const auto x0 = hn::LoadU(d, at), x1 = hn::LoadU(d, at + lanes);
          const auto a0 = hn::Set(d, w0[k]), a1 = hn::Set(d, w1[k]);
          sum00 = IntegerMulAdd(a0, x0, sum00), sum01 = IntegerMulAdd(a0, x1, sum01);
          sum10 = IntegerMulAdd(a1, x0, sum10), sum11 = IntegerMulAdd(a1, x1, sum11);
          const auto a2 = hn::Set(d, w2[k]), a3 = hn::Set(d, w3[k]);
          sum20 = IntegerMulAdd(a2, x0, sum20), sum21 = IntegerMulAdd(a2, x1, sum21);
          sum30 = IntegerMulAdd(a3, x0, sum30), sum31 = IntegerMulAdd(a3, x1, sum31);
        }
      }
      store(o, sum00, sum01), store(o + 1, sum10, sum11);
      store(o + 2, sum20, sum21), store(o + 3, sum30, sum31);
    }
  }
}

// In double, where sums below 2^31 times 256^2 are exact.
template <bool kThree>
HWY_INLINE size_t CombineLimbVectors(const int32_t* const* sums, size_t n, float* out) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<int32_t, decltype(d)> di;
  const hn::Rebind<float, decltype(d)> df;
  const size_t lanes = hn::Lanes(d);
  const int32_t* const low = sums[0];
  const int32_t* const middle = sums[1];
  const int32_t* const high = kThree ? sums[2] : middle;
  const auto base = hn::Set(d, 256.0);
  const auto load = [&](const int32_t* from) HWY_ATTR {
    return hn::PromoteTo(d, hn::LoadU(di, from));
  };
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto sum = load(middle + i);
    if constexpr (kThree) sum = IntegerMulAdd(load(high + i), base, sum);
    sum = IntegerMulAdd(sum, base, load(low + i));
    hn::StoreU(NarrowToFloat(df, sum), df, out + i);
  }
  return i;
}

void CombineLimbs(const int32_t* const* sums, size_t limbs, size_t n, float* out) {
  const size_t done = limbs == 3 ? CombineLimbVectors<true>(sums, n, out)
                                 : CombineLimbVectors<false>(sums, n, out);
  scalar::CombineLimbsRange(sums, limbs, done, n, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
