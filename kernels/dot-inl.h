// dot_tile in Highway, compiled once per target: bytes times bytes, widened to 16 bits, two
// neighbours of a run at a time (multiplied and added in pairs in one instruction where there is
// one). A vector holds output channels.

#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Pixels and pairs that are widened at a time; the sums of a chunk are added up in `acc`.
inline constexpr size_t kDotPixels = 8, kDotChunk = 256;

// n bytes, at least one vector of them, widened; the last vector may overlap the one before it.
template <class D>
HWY_INLINE void WidenVectors(D d, const uint8_t* HWY_RESTRICT in, size_t n,
                             int16_t* HWY_RESTRICT out) {
  const hn::Rebind<uint8_t, D> d8;
  const size_t lanes = hn::Lanes(d);
  for (size_t k = 0; k < n; k += lanes) {
    const size_t at = HWY_MIN(k, n - lanes);
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(d8, in + at)), d, out + at);
  }
}

// Pairs [begin, begin + count) of window r; a run of odd length ends with a zero.
HWY_INLINE void WidenPairs(const Windows<uint8_t>& in, size_t r, size_t begin, size_t count,
                           int16_t* HWY_RESTRICT out) {
  const hn::CappedTag<int16_t, 16> d;
  const hn::CappedTag<int16_t, 8> d_short;
  const size_t run_pairs = (in.run + 1) / 2;
  const uint8_t* run = in.first + r * in.step + begin / run_pairs * in.run_stride;
  size_t i = begin % run_pairs * 2;
  for (size_t left = 2 * count; left > 0; run += in.run_stride, i = 0) {
    const size_t n = HWY_MIN(in.run - i, left);
    if (n >= hn::Lanes(d)) {
      WidenVectors(d, run + i, n, out);
    } else if (n >= hn::Lanes(d_short)) {
      WidenVectors(d_short, run + i, n, out);
    } else {
      for (size_t k = 0; k < n; ++k) out[k] = run[i + k];
    }
    if (n % 2 != 0) out[n] = 0;
    out += RoundUp(n, 2);
    left -= RoundUp(n, 2);
  }
}

// R pixels times one or two vectors of channels. x: their pairs, kDotChunk apart; w0 and w1: the
// vectors' weights of the first pair, in their panels; add(r): what is added to the sums of pixel
// r, at the first channel, or null.
template <size_t R, bool kTwo, class D, class AddAt>
HWY_INLINE void DotRows(D d, const int16_t* HWY_RESTRICT x, size_t pairs,
                        const int8_t* HWY_RESTRICT w0, const int8_t* HWY_RESTRICT w1, AddAt add,
                        int32_t* acc, size_t acc_stride) {
  const hn::Repartition<int16_t, D> d16;
  const hn::Rebind<int8_t, decltype(d16)> d8;
  const auto zero = hn::Zero(d);
  auto sum00 = zero, sum10 = zero, sum20 = zero, sum30 = zero;
  auto sum01 = zero, sum11 = zero, sum21 = zero, sum31 = zero;
  // The other halves of the sums, on targets that widen without adding neighbours.
  auto more00 = zero, more10 = zero, more20 = zero, more30 = zero;
  auto more01 = zero, more11 = zero, more21 = zero, more31 = zero;
  for (size_t i = 0; i < pairs; ++i, w0 += 2 * kPanel, w1 += kTwo ? 2 * kPanel : 0) {
    const auto weights0 = hn::PromoteTo(d16, hn::LoadU(d8, w0));
    const auto weights1 = kTwo ? hn::PromoteTo(d16, hn::LoadU(d8, w1)) : weights0;
    const auto step = [&](size_t r, auto& s0, auto& m0, auto& s1, auto& m1) HWY_ATTR {
      int32_t pair;
      std::memcpy(&pair, x + 2 * (r * kDotChunk + i), sizeof(pair));
      const auto pixel = hn::BitCast(d16, hn::Set(d, pair));
      s0 = hn::ReorderWidenMulAccumulate(d, weights0, pixel, s0, m0);
      if constexpr (kTwo) s1 = hn::ReorderWidenMulAccumulate(d, weights1, pixel, s1, m1);
    };
    step(0, sum00, more00, sum01, more01);
    if constexpr (R > 1) step(1, sum10, more10, sum11, more11);
    if constexpr (R > 2) step(2, sum20, more20, sum21, more21);
    if constexpr (R > 3) step(3, sum30, more30, sum31, more31);
  }
  const auto store = [&](size_t r, auto s0, auto m0, auto s1, auto m1) HWY_ATTR {
    const int32_t* addend = add(r);
    int32_t* out = acc + r * acc_stride;
    auto total = hn::RearrangeToOddPlusEven(s0, m0);
    if (addend != nullptr) total = hn::Add(total, hn::LoadU(d, addend));
    hn::StoreU(total, d, out);
    if constexpr (kTwo) {
      total = hn::RearrangeToOddPlusEven(s1, m1);
      if (addend != nullptr) total = hn::Add(total, hn::LoadU(d, addend + hn::Lanes(d)));
      hn::StoreU(total, d, out + hn::Lanes(d));
    }
  };
  store(0, sum00, more00, sum01, more01);
  if constexpr (R > 1) store(1, sum10, more10, sum11, more11);
  if constexpr (R > 2) store(2, sum20, more20, sum21, more21);
  if constexpr (R > 3) store(3, sum30, more30, sum31, more31);
}

void DotTile(const Windows<uint8_t>& in, const Weights& weights, const int32_t* const* base,
             int32_t* acc, size_t acc_stride) {
  const hn::CappedTag<int32_t, kPanel> d;
  HWY_ALIGN int16_t x[kDotPixels * 2 * kDotChunk];
  const size_t lanes = hn::Lanes(d), channels = RoundUp(weights.rows.outputs, kPanel);
  const size_t pairs = in.runs * ((in.run + 1) / 2);
  for (size_t r = 0; r < in.rows; r += kDotPixels) {
    const size_t n = HWY_MIN(kDotPixels, in.rows - r);
    for (size_t begin = 0; begin < pairs; begin += kDotChunk) {
      const size_t count = HWY_MIN(kDotChunk, pairs - begin);
      for (size_t j = 0; j < n; ++j) WidenPairs(in, r + j, begin, count, x + j * 2 * kDotChunk);
      const auto weights_of = [&](size_t channel) {
        return static_cast<const int8_t*>(weights.packed) +
               2 * ((channel / kPanel * pairs + begin) * kPanel + channel % kPanel);
      };
      for (size_t channel = 0; channel < channels; channel += 2 * lanes) {
        const bool two = channel + lanes < channels;
        const int8_t* w0 = weights_of(channel);
        const int8_t* w1 = two ? weights_of(channel + lanes) : w0;
        for (size_t j = 0; j < n;) {
          int32_t* out = acc + (r + j) * acc_stride + channel;
          const auto add = [&](size_t row) -> const int32_t* {
            if (begin > 0) return out + row * acc_stride;
            return base != nullptr ? base[r + j + row] + channel : nullptr;
          };
          const auto rows = [&](auto pixels) HWY_ATTR {
            constexpr size_t kRows = decltype(pixels)::value;
            const int16_t* from = x + j * 2 * kDotChunk;
            if (two) {
              DotRows<kRows, true>(d, from, count, w0, w1, add, out, acc_stride);
            } else {
              DotRows<kRows, false>(d, from, count, w0, w1, add, out, acc_stride);
            }
            j += kRows;
          };
          if (n - j >= 4) {
            rows(std::integral_constant<size_t, 4>());
          } else if (n - j == 3) {
            rows(std::integral_constant<size_t, 3>());
          } else if (n - j == 2) {
            rows(std::integral_constant<size_t, 2>());
          } else {
            rows(std::integral_constant<size_t, 1>());
          }
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
