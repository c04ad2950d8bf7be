// code_plane and plane_popcount_tile in Highway, compiled once per target. A vector holds output
// channels.

#include <cstring>

#include "hwy/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SVE  // whose vectors have no arrays

// Against dot_tile, weights x codes of so many bits, measured on AMD Zen 4, times as fast:
//                   1x1   1x2   1x3   2x2   1x4
//   avx512-popcnt   4.6   2.5   1.6   1.3   1.1
//   avx512          4.1   2.1   1.4   1.1   1.0
//   avx2            5.0   2.5   1.7   1.3   1.2
//   sse4            4.9   2.4   1.6   1.3   1.2
// A NEON vector counts 128 bits in three instructions; 8 products take one.
inline constexpr size_t kPlanePairs = 4;

void CodePlane(const uint8_t* codes, size_t pixels, size_t channels, size_t plane, Word* out) {
  const hn::CappedTag<uint8_t, 32> d;
  const auto bit = hn::Set(d, static_cast<uint8_t>(1u << plane));
  auto* bytes = reinterpret_cast<uint8_t*>(out);
  const auto words = [&](const uint8_t* from, size_t count) HWY_ATTR {
    for (size_t i = 0; i < count; i += hn::Lanes(d))
      bytes += hn::StoreMaskBits(d, hn::TestBit(hn::LoadU(d, from + i), bit), bytes);
  };
  const size_t rest = channels % 32, whole = channels - rest;
  if (rest == 0) return words(codes, pixels * channels);
  for (size_t i = 0; i < pixels; ++i, codes += channels) {
    words(codes, whole);
    uint8_t last[32] = {};
    std::memcpy(last, codes + whole, rest);
    words(last, 32);
  }
}

// R pixels from `first` on and the channels of one vector: `words` are theirs in the panel, W
// planes an input word.
template <size_t W, size_t A, size_t R, class D, class V = hn::Vec<D>>
HWY_INLINE void PlanePopcountRows(D d, const PlaneWindows& in, const Word* first,
                                  const Word* HWY_RESTRICT words, V ones, int32_t* acc,
                                  size_t acc_stride) {
  // Counts of planes i and j weigh 2^(i + j); of as many pairs as kPairs at most.
  constexpr size_t kSums = W + A - 1, kPairs = W < A ? W : A;
  V counts[R][kSums], sums[R][kSums];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (size_t s = 0; s < kSums; ++s) counts[r][s] = sums[r][s] = hn::Zero(d);
  }
  const auto add_up = [&]() HWY_ATTR {
#pragma GCC unroll 8
    for (size_t r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (size_t s = 0; s < kSums; ++s) {
        sums[r][s] = hn::Add(sums[r][s], LaneSums(d, counts[r][s]));
        counts[r][s] = hn::Zero(d);
      }
    }
  };
  constexpr size_t kRoom = kMaxSteps / kPairs;
  size_t room = kRoom;  // steps until the counts are full
  for (size_t y = 0; y < in.runs; ++y) {
    const size_t run_begin = y * in.run_stride, run_end = run_begin + in.run;
    for (size_t begin = run_begin; begin < run_end;) {
      const size_t end = HWY_MIN(run_end, begin + HWY_MIN(room, in.run));
      for (size_t k = begin; k < end; ++k, words += W * kPanel) {
        V weights[W];
#pragma GCC unroll 8
        for (size_t i = 0; i < W; ++i) weights[i] = hn::LoadU(d, words + i * kPanel);
#pragma GCC unroll 8
        for (size_t r = 0; r < R; ++r) {
#pragma GCC unroll 8
          for (size_t j = 0; j < A; ++j) {
            const auto x = hn::Set(d, first[r * in.step + j * in.plane_stride + k]);
#pragma GCC unroll 8
            for (size_t i = 0; i < W; ++i)
              counts[r][i + j] = AddCounts(d, counts[r][i + j], hn::Xor(weights[i], x));
          }
        }
      }
      room -= end - begin;
      begin = end;
      if (room == 0) {
        add_up();
        room = kRoom;
      }
    }
  }
  add_up();
  const hn::RebindToSigned<D> di;
  const auto all = hn::Mul(ones, hn::Set(d, Word{(1u << A) - 1}));
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) {
    V total = sums[r][kSums - 1];
#pragma GCC unroll 8
    for (size_t s = kSums - 1; s-- > 0;) total = hn::Add(hn::Add(total, total), sums[r][s]);
    hn::StoreU(hn::BitCast(di, hn::Sub(all, total)), di, acc + r * acc_stride);
  }
}

template <size_t W, size_t A>
void PlanePopcount(const PlaneWindows& in, const Weights& weights, int32_t* acc,
                   size_t acc_stride) {
  const hn::CappedTag<Word, kPanel> d;
  const size_t lanes = hn::Lanes(d), panel_words = (1 + in.runs * in.run * W) * kPanel;
  for (size_t channel = 0; channel < weights.rows.outputs; channel += lanes) {
    const Word* words = static_cast<const Word*>(weights.packed) +
                        channel / kPanel * panel_words + channel % kPanel;
    const auto ones = hn::LoadU(d, words);
    for (size_t r = 0; r < in.rows;) {
      const size_t left = in.rows - r, n = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      const auto rows = n == 4   ? PlanePopcountRows<W, A, 4, decltype(d)>
                        : n == 2 ? PlanePopcountRows<W, A, 2, decltype(d)>
                                 : PlanePopcountRows<W, A, 1, decltype(d)>;
      rows(d, in, in.first + r * in.step, words + kPanel, ones, acc + r * acc_stride + channel,
           acc_stride);
      r += n;
    }
  }
}

void PlanePopcountTile(const PlaneWindows& in, const Weights& weights, int32_t* acc,
                       size_t acc_stride) {
  if (weights.rows.number_bits() == 2)
    return in.planes == 1 ? PlanePopcount<2, 1>(in, weights, acc, acc_stride)
                          : PlanePopcount<2, 2>(in, weights, acc, acc_stride);
  switch (in.planes) {
    case 1: return PlanePopcount<1, 1>(in, weights, acc, acc_stride);
    case 2: return PlanePopcount<1, 2>(in, weights, acc, acc_stride);
    case 3: return PlanePopcount<1, 3>(in, weights, acc, acc_stride);
    default: return PlanePopcount<1, 4>(in, weights, acc, acc_stride);
  }
}

#endif  // HWY_SVE

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
