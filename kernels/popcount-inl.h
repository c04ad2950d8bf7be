// xor_popcount_tile and xor_popcount_lanes in Highway, compiled once per target.

#include <cstring>

#include "hwy/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Where the target counts whole lanes in one instruction, sums are kept in lanes; else in bytes,
// which hold kMaxSteps counts of 8 before they must be added up.
#if HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_SVE
inline constexpr bool kCountsLanes = true;
#else
inline constexpr bool kCountsLanes = false;
#endif
inline constexpr size_t kMaxSteps = kCountsLanes ? ~size_t{0} : 31;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V AddCounts(D d, V counts, V difference) {
  if constexpr (kCountsLanes) {
    return hn::Add(counts, hn::PopulationCount(difference));
  } else {
    const hn::Repartition<uint8_t, D> d8;
    return hn::BitCast(d, hn::Add(hn::BitCast(d8, counts),
                                  hn::PopulationCount(hn::BitCast(d8, difference))));
  }
}

// Each lane's counts, added up.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V LaneSums(D d, V counts) {
  if constexpr (kCountsLanes) {
    return counts;
  } else if constexpr (sizeof(hn::TFromD<D>) == 8) {
    return hn::SumsOf8(hn::BitCast(hn::Repartition<uint8_t, D>(), counts));
  } else if constexpr (sizeof(hn::TFromD<D>) == 4) {
    const auto bytes = hn::Set(d, 0x00ff00ffu);
    const auto pairs = hn::Add(hn::And(counts, bytes), hn::And(hn::ShiftRight<8>(counts), bytes));
    return hn::Add(hn::And(pairs, hn::Set(d, 0xffffu)), hn::ShiftRight<16>(pairs));
  } else {
    return hn::Add(hn::And(counts, hn::Set(d, uint16_t{0xff})), hn::ShiftRight<8>(counts));
  }
}

// ---------------------------------------------------------------------------------------- tile

// R pixels from `first` on, and the channels of one vector: `words` points at them in the panel.
template <size_t R, class D>
HWY_INLINE void XorPopcountRows(D d, const Windows<Word>& in, const Word* first, const Word* words,
                                const int32_t* const* base, size_t channel, int32_t* acc,
                                size_t acc_stride) {
  const Word* HWY_RESTRICT a0 = first;
  const Word* HWY_RESTRICT a1 = R > 1 ? first + in.step : first;
  const Word* HWY_RESTRICT a2 = R > 2 ? first + 2 * in.step : first;
  const Word* HWY_RESTRICT a3 = R > 3 ? first + 3 * in.step : first;
  const auto zero = hn::Zero(d);
  auto sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
  auto count0 = zero, count1 = zero, count2 = zero, count3 = zero;
  size_t room = kMaxSteps;  // steps until the counts are full
  for (size_t y = 0; y < in.runs; ++y) {
    const size_t run_begin = y * in.run_stride, run_end = run_begin + in.run;
    for (size_t begin = run_begin; begin < run_end;) {
      const size_t end = HWY_MIN(run_end, begin + HWY_MIN(room, in.run));
      for (size_t i = begin; i < end; ++i, words += kPanel) {
        const auto w = hn::LoadU(d, words);
        count0 = AddCounts(d, count0, hn::Xor(w, hn::Set(d, a0[i])));
        if constexpr (R > 1) count1 = AddCounts(d, count1, hn::Xor(w, hn::Set(d, a1[i])));
        if constexpr (R > 2) count2 = AddCounts(d, count2, hn::Xor(w, hn::Set(d, a2[i])));
        if constexpr (R > 3) count3 = AddCounts(d, count3, hn::Xor(w, hn::Set(d, a3[i])));
      }
      room -= end - begin;
      begin = end;
      if (room == 0) {
        sum0 = hn::Add(sum0, LaneSums(d, count0)), count0 = zero;
        if constexpr (R > 1) sum1 = hn::Add(sum1, LaneSums(d, count1)), count1 = zero;
        if constexpr (R > 2) sum2 = hn::Add(sum2, LaneSums(d, count2)), count2 = zero;
        if constexpr (R > 3) sum3 = hn::Add(sum3, LaneSums(d, count3)), count3 = zero;
        room = kMaxSteps;
      }
    }
  }
  const hn::RebindToSigned<D> di;
  const auto store = [&](size_t r, auto sum, auto count) HWY_ATTR {
    const auto popcount = hn::BitCast(di, hn::Add(sum, LaneSums(d, count)));
    hn::StoreU(hn::Sub(hn::LoadU(di, base[r] + channel), hn::ShiftLeft<1>(popcount)), di,
               acc + r * acc_stride + channel);
  };
  store(0, sum0, count0);
  if constexpr (R > 1) store(1, sum1, count1);
  if constexpr (R > 2) store(2, sum2, count2);
  if constexpr (R > 3) store(3, sum3, count3);
}

void XorPopcountTile(const Windows<Word>& in, const Weights& weights, const int32_t* const* base,
                     int32_t* acc, size_t acc_stride) {
  const hn::CappedTag<Word, kPanel> d;
  const size_t lanes = hn::Lanes(d), panel_words = in.runs * in.run * kPanel;
  for (size_t channel = 0; channel < weights.rows.outputs; channel += lanes) {
    const Word* words = static_cast<const Word*>(weights.packed) +
                        channel / kPanel * panel_words + channel % kPanel;
    for (size_t r = 0; r < in.rows;) {
      const Word* first = in.first + r * in.step;
      const size_t left = in.rows - r, n = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      const auto rows = n == 4   ? XorPopcountRows<4, decltype(d)>
                        : n == 2 ? XorPopcountRows<2, decltype(d)>
                                 : XorPopcountRows<1, decltype(d)>;
      rows(d, in, first, words, base + r, channel, acc + r * acc_stride, acc_stride);
      r += n;
    }
  }
}

// --------------------------------------------------------------------------------------- lanes

// n <= Lanes(d) pixels, `stride` apart, without reading any other.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadPixels(D d, const uint8_t* from, size_t stride, size_t n) {
  const size_t lanes = hn::Lanes(d);
  if (n == lanes && stride == 1) return hn::LoadU(d, reinterpret_cast<const T*>(from));
  if (n == lanes && stride == 2 && lanes > 1) {
    // Two loads that end at the last pixel: even pixels of the first, odd ones of the second.
    const auto first = hn::LoadU(d, reinterpret_cast<const T*>(from));
    const auto second = hn::LoadU(d, reinterpret_cast<const T*>(from) + lanes - 1);
    return hn::ConcatUpperLower(d, hn::ConcatOdd(d, second, second),
                                hn::ConcatEven(d, first, first));
  }
  HWY_ALIGN T pixels[hn::MaxLanes(d)] = {};
  for (size_t i = 0; i < n; ++i) std::memcpy(&pixels[i], from + i * stride * sizeof(T), sizeof(T));
  return hn::Load(d, pixels);
}

// acc[i] = base[i] - 2 * popcount[i] for the first n lanes.
template <class D, typename T = hn::TFromD<D>>
HWY_INLINE void StorePixelSums(D d, hn::Vec<D> popcount, size_t n, const int32_t* base,
                               int32_t* acc) {
  const size_t lanes = hn::Lanes(d);
  if (n < lanes) {
    HWY_ALIGN T counts[hn::MaxLanes(d)];
    hn::Store(popcount, d, counts);
    for (size_t i = 0; i < n; ++i) acc[i] = base[i] - 2 * static_cast<int32_t>(counts[i]);
    return;
  }
  const auto store = [&](auto di, auto counts, size_t at) HWY_ATTR {
    hn::StoreU(hn::Sub(hn::LoadU(di, base + at), hn::ShiftLeft<1>(counts)), di, acc + at);
  };
  if constexpr (sizeof(T) == 2) {
    const hn::Half<D> dh;
    const hn::Rebind<int32_t, decltype(dh)> di;
    store(di, hn::PromoteTo(di, hn::LowerHalf(dh, popcount)), 0);
    store(di, hn::PromoteTo(di, hn::UpperHalf(dh, popcount)), lanes / 2);
  } else if constexpr (sizeof(T) == 4) {
    const hn::RebindToSigned<D> di;
    store(di, hn::BitCast(di, popcount), 0);
  } else {
    const hn::Rebind<uint32_t, D> du;
    const hn::Rebind<int32_t, D> di;
    store(di, hn::BitCast(di, hn::TruncateTo(du, popcount)), 0);
  }
}

template <typename T>
HWY_INLINE T LoadWord(const uint8_t* from) {
  T word;
  std::memcpy(&word, from, sizeof(T));
  return word;
}

// The file's rows serve as they are: one word per tap.
template <typename T>
void XorPopcountPixels(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                       int32_t* acc) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d), taps = in.kernel_h * in.kernel_w;
  const WeightRows& rows = weights.rows;
  for (size_t y = 0; y < in.rows; ++y) {
    for (size_t x = 0; x < in.width; x += lanes) {
      const size_t n = HWY_MIN(lanes, in.width - x);
      const uint8_t* first =
          in.first + y * in.stride_h * in.row_bytes + x * in.stride_w * sizeof(T);
      const auto load = [&](size_t ky, size_t kx) HWY_ATTR {
        return LoadPixels(d, first + ky * in.row_bytes + kx * sizeof(T), in.stride_w, n);
      };
      const auto each_output = [&](auto popcount) HWY_ATTR {
        for (size_t o = 0; o < rows.outputs; ++o) {
          const uint8_t* w = static_cast<const uint8_t*>(rows.plane[0]) + o * rows.row_bytes;
          StorePixelSums(d, popcount(w), n, base[y] + o * in.width + x,
                         acc + (o * in.rows + y) * in.width + x);
        }
      };
      if (in.kernel_h == 3 && in.kernel_w == 3) {
        const auto a0 = load(0, 0), a1 = load(0, 1), a2 = load(0, 2);
        const auto a3 = load(1, 0), a4 = load(1, 1), a5 = load(1, 2);
        const auto a6 = load(2, 0), a7 = load(2, 1), a8 = load(2, 2);
        each_output([&](const uint8_t* w) HWY_ATTR {
          const auto tap = [&](auto counts, auto a, size_t t) HWY_ATTR {
            return AddCounts(d, counts, hn::Xor(a, hn::Set(d, LoadWord<T>(w + t * sizeof(T)))));
          };
          auto counts = tap(hn::Zero(d), a0, 0);
          counts = tap(tap(tap(tap(counts, a1, 1), a2, 2), a3, 3), a4, 4);
          counts = tap(tap(tap(tap(counts, a5, 5), a6, 6), a7, 7), a8, 8);
          return LaneSums(d, counts);
        });
      } else {
        each_output([&](const uint8_t* w) HWY_ATTR {
          auto sum = hn::Zero(d), counts = hn::Zero(d);
          for (size_t t = 0; t < taps; ++t) {
            const auto word = hn::Set(d, LoadWord<T>(w + t * sizeof(T)));
            counts = AddCounts(d, counts, hn::Xor(load(t / in.kernel_w, t % in.kernel_w), word));
            if (t % kMaxSteps == kMaxSteps - 1) {
              sum = hn::Add(sum, LaneSums(d, counts));
              counts = hn::Zero(d);
            }
          }
          return hn::Add(sum, LaneSums(d, counts));
        });
      }
    }
  }
}

void XorPopcountLanes(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                      int32_t* acc) {
  switch (in.pixel_bytes) {
    case 2: return XorPopcountPixels<uint16_t>(in, weights, base, acc);
    case 4: return XorPopcountPixels<uint32_t>(in, weights, base, acc);
    default: return XorPopcountPixels<uint64_t>(in, weights, base, acc);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
