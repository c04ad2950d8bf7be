// xor_popcount_lanes of avx512-popcnt, 3x3 windows of strides 1 and 2. Other than in Highway's row,
// vectors go across image rows, so that an 8x8 image fills them too, and strided pixels come from
// two masked loads and one permutation; both once for all output channels.
#include "kernels/avx512.h"

#include <immintrin.h>

#include <cstring>

#include "kernels/pack.h"

LBRT_BEGIN_AVX512
namespace lbrt {

namespace N_AVX3_DL {  // simd.cc: for other windows
void XorPopcountLanes(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                      int32_t* acc);
}

namespace avx512 {
namespace {

// Lanes of one pixel word each. Masked-off lanes of a load are not touched in memory.
template <typename T>
HWY_INLINE __m512i LoadPixels(__m512i merge, uint64_t mask, const uint8_t* p) {
  if constexpr (sizeof(T) == 2) {
    return _mm512_mask_loadu_epi16(merge, static_cast<__mmask32>(mask), p);
  } else if constexpr (sizeof(T) == 4) {
    return _mm512_mask_loadu_epi32(merge, static_cast<__mmask16>(mask), p);
  } else {
    return _mm512_mask_loadu_epi64(merge, static_cast<__mmask8>(mask), p);
  }
}
// Every second lane of both.
template <typename T>
HWY_INLINE __m512i Even(__m512i low, __m512i high) {
  if constexpr (sizeof(T) == 2) {
    const __m512i index = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36,
                                           34, 32, 30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6,
                                           4, 2, 0);
    return _mm512_permutex2var_epi16(low, index, high);
  } else if constexpr (sizeof(T) == 4) {
    const __m512i index =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_epi32(low, index, high);
  } else {
    return _mm512_permutex2var_epi64(low, _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), high);
  }
}

// Where an output pixel lies.
struct Position {
  size_t y, x;
};

// The input pixels of one vector of output pixels, under tap (0, 0): masked loads whose addresses
// are those of lane 0, wherever the first lane read is. A vector goes across image rows.
template <typename T>
struct Sources {
  static constexpr size_t kLanes = 64 / sizeof(T);
  struct Load {
    const uint8_t* from;
    uint64_t mask;
  };
  Load loads[2][kLanes];  // of source lanes [0, kLanes), and of those behind, where stride is 2
  size_t count[2] = {0, 0};

  // `n` output pixels from `at` on; returns where the next one lies.
  Position Fill(const PixelLanes& in, Position at, size_t n) {
    for (size_t done = 0; done < n;) {
      const size_t left = in.width - at.x, here = n - done < left ? n - done : left;
      const uint8_t* pixels =
          in.first + at.y * in.stride_h * in.row_bytes + at.x * in.stride_w * sizeof(T);
      // Lane l of the vector is source lane stride * l; nothing behind the last one used is read.
      const size_t begin = in.stride_w * done, end = begin + in.stride_w * (here - 1) + 1;
      const uint8_t* lane0 = pixels - begin * sizeof(T);
      if (begin < kLanes) {
        loads[0][count[0]++] = {lane0, LowBits(end < kLanes ? end : kLanes) & ~LowBits(begin)};
      }
      if (end > kLanes) {
        const size_t first = begin > kLanes ? begin - kLanes : 0;
        loads[1][count[1]++] = {lane0 + 64, LowBits(end - kLanes) & ~LowBits(first)};
      }
      done += here;
      at.x += here;
      if (at.x == in.width) at = {at.y + 1, 0};
    }
    return at;
  }

  HWY_INLINE __m512i Part(size_t part, size_t offset) const {
    __m512i pixels = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (size_t i = 0; i < count[part]; ++i) {
      pixels = LoadPixels<T>(pixels, loads[part][i].mask, loads[part][i].from + offset);
    }
    return pixels;
  }
  // Under the tap `offset` bytes from the first.
  HWY_INLINE __m512i Tap(size_t stride, size_t offset) const {
    const __m512i low = Part(0, offset);
    if (stride == 1) return low;
    return Even<T>(low, Part(1, offset));
  }
};

// Sums of 16 output pixels: where their base lies, and how many of them there are.
struct Sums16 {
  const int32_t* from[16];  // of lane 0, wherever the first lane read is
  __mmask16 mask[16];
  size_t count = 0;
  __mmask16 used = 0;

  Position Fill(const PixelLanes& in, const int32_t* const* base, Position at, size_t n) {
    used = static_cast<__mmask16>(LowBits(n));
    for (size_t done = 0; done < n;) {
      const size_t left = in.width - at.x, here = n - done < left ? n - done : left;
      from[count] = base[at.y] + at.x - done;
      mask[count++] = static_cast<__mmask16>(LowBits(done + here) & ~LowBits(done));
      done += here;
      at.x += here;
      if (at.x == in.width) at = {at.y + 1, 0};
    }
    return at;
  }
  bool whole() const { return count == 1 && mask[0] == 0xffff; }  // one load, one store

  // acc[0, 16) = base - 2 * popcount, the base of the channel `offset` elements behind the first.
  template <bool kWhole>
  HWY_INLINE void Store(__m512i popcount, size_t offset, int32_t* acc) const {
    const __m512i twice = _mm512_add_epi32(popcount, popcount);
    if constexpr (kWhole) {
      _mm512_storeu_si512(acc, _mm512_sub_epi32(_mm512_loadu_si512(from[0] + offset), twice));
      return;
    }
    __m512i base = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (size_t i = 0; i < count; ++i) {
      base = _mm512_mask_loadu_epi32(base, mask[i], from[i] + offset);
    }
    const __m512i sums = _mm512_sub_epi32(base, twice);
    if (used == 0xffff) {
      _mm512_storeu_si512(acc, sums);
    } else if (used != 0) {
      _mm512_mask_storeu_epi32(acc, used, sums);
    }
  }
};

template <typename T>
HWY_INLINE __m512i Popcount(__m512i x) {
  if constexpr (sizeof(T) == 2) return _mm512_popcnt_epi16(x);
  if constexpr (sizeof(T) == 4) return _mm512_popcnt_epi32(x);
  return _mm512_popcnt_epi64(x);
}
template <typename T>
HWY_INLINE __m512i Add(__m512i a, __m512i b) {
  if constexpr (sizeof(T) == 2) return _mm512_add_epi16(a, b);
  if constexpr (sizeof(T) == 4) return _mm512_add_epi32(a, b);
  return _mm512_add_epi64(a, b);
}
// A weight word in all lanes; 16-bit words are stored twice, as one of 32 bits.
template <typename T>
HWY_INLINE __m512i Broadcast(const uint8_t* words, size_t tap) {
  if constexpr (sizeof(T) == 8) {
    int64_t word;
    std::memcpy(&word, words + 8 * tap, 8);
    return _mm512_set1_epi64(word);
  } else {
    int32_t word;
    std::memcpy(&word, words + 4 * tap, 4);
    return _mm512_set1_epi32(word);
  }
}

constexpr size_t kTaps = 9;

template <typename T>
HWY_INLINE __m512i TapSums(const __m512i (&a)[kTaps], const uint8_t* words) {
  __m512i sum = Popcount<T>(_mm512_xor_si512(a[0], Broadcast<T>(words, 0)));
#pragma GCC unroll 8
  for (size_t t = 1; t < kTaps; ++t) {
    sum = Add<T>(sum, Popcount<T>(_mm512_xor_si512(a[t], Broadcast<T>(words, t))));
  }
  return sum;
}

// Two vectors of pixels are worked on at once. Their sums fill this many vectors of 32 bits.
template <typename T>
inline constexpr size_t kParts = 8 / sizeof(T);

// All output channels of these pixels; kOne: the second vector is empty.
template <typename T, bool kWhole, bool kOne>
HWY_INLINE void AllOutputs(const __m512i (&a)[2][kTaps], const uint8_t* words, size_t words_stride,
                           const Sums16 (&to)[kParts<T>], size_t outputs, size_t base_stride,
                           int32_t* acc, size_t acc_stride) {
  constexpr size_t kUsed = kOne && sizeof(T) < 8 ? kParts<T> / 2 : kParts<T>;
  for (size_t o = 0; o < outputs; ++o, words += words_stride, acc += acc_stride) {
    const __m512i first = TapSums<T>(a[0], words);
    const __m512i sum[2] = {first, kOne ? first : TapSums<T>(a[1], words)};
    __m512i parts[kParts<T>];
    if constexpr (sizeof(T) == 2) {
#pragma GCC unroll 2
      for (size_t v = 0; v < 2; ++v) {
        parts[2 * v] = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(sum[v]));
        parts[2 * v + 1] = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(sum[v], 1));
      }
    } else if constexpr (sizeof(T) == 4) {
      parts[0] = sum[0];
      parts[1] = sum[1];
    } else {
      parts[0] = Even<uint32_t>(sum[0], sum[1]);
    }
#pragma GCC unroll 4
    for (size_t part = 0; part < kUsed; ++part) {
      to[part].template Store<kWhole>(parts[part], o * base_stride, acc + 16 * part);
    }
  }
}

// Up to `left` output pixels from `at` on, under each tap; returns where the next one lies.
template <typename T>
HWY_INLINE Position LoadTaps(const PixelLanes& in, Position at, size_t left,
                             __m512i (&a)[kTaps]) {
  constexpr size_t kLanes = 64 / sizeof(T);
  if (in.stride_w == 1 && in.width - at.x >= kLanes && left >= kLanes) {
    const uint8_t* from = in.first + at.y * in.stride_h * in.row_bytes + at.x * sizeof(T);
#pragma GCC unroll 9
    for (size_t t = 0; t < kTaps; ++t) {
      a[t] = _mm512_loadu_si512(from + t / 3 * in.row_bytes + t % 3 * sizeof(T));
    }
    return at.x + kLanes == in.width ? Position{at.y + 1, 0} : Position{at.y, at.x + kLanes};
  }
  Sources<T> sources;
  at = sources.Fill(in, at, left < kLanes ? left : kLanes);
#pragma GCC unroll 9
  for (size_t t = 0; t < kTaps; ++t) {
    a[t] = sources.Tap(in.stride_w, t / 3 * in.row_bytes + t % 3 * sizeof(T));
  }
  return at;
}

template <typename T>
void XorPopcount3x3(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                    int32_t* acc) {
  constexpr size_t kLanes = 64 / sizeof(T);
  const size_t pixels = in.rows * in.width, outputs = weights.rows.outputs;
  const auto* words = static_cast<const uint8_t*>(sizeof(T) == 2 ? weights.packed
                                                                 : weights.rows.plane[0]);
  const size_t words_stride = sizeof(T) == 2 ? 4 * kTaps : weights.rows.row_bytes;
  Position at = {0, 0}, sums_at = {0, 0};
  for (size_t i = 0; i < pixels; i += 2 * kLanes) {
    const size_t left = pixels - i;
    __m512i a[2][kTaps];
    at = LoadTaps<T>(in, at, left, a[0]);
    at = LoadTaps<T>(in, at, left > kLanes ? left - kLanes : 0, a[1]);
    Sums16 to[kParts<T>];
    bool whole = true;  // of the parts used, if no row ends in them
    for (size_t part = 0; part < kParts<T> && 16 * part < left; ++part) {
      const size_t n = left - 16 * part;
      sums_at = to[part].Fill(in, base, sums_at, n < 16 ? n : 16);
      whole = whole && to[part].whole();
    }
    int32_t* out = acc + i;
    if (whole && left >= 2 * kLanes) {
      AllOutputs<T, true, false>(a, words, words_stride, to, outputs, in.width, out, pixels);
    } else if (whole && left == kLanes) {
      AllOutputs<T, true, true>(a, words, words_stride, to, outputs, in.width, out, pixels);
    } else if (left <= kLanes) {
      AllOutputs<T, false, true>(a, words, words_stride, to, outputs, in.width, out, pixels);
    } else {
      AllOutputs<T, false, false>(a, words, words_stride, to, outputs, in.width, out, pixels);
    }
  }
}

}  // namespace

size_t LanesBytes(const WeightRows& rows) {
  // Only 16-bit words are packed: twice each, since a broadcast of 32 bits costs nothing.
  return rows.elements() == 16 * kTaps ? pack::Padded(rows.outputs * 4 * kTaps) : 0;
}
void PackLanes(const WeightRows& rows, void* packed) {
  auto* out = static_cast<uint32_t*>(packed);
  for (size_t o = 0; o < rows.outputs; ++o) {
    for (size_t t = 0; t < kTaps; ++t) {
      *out++ = RowElement<uint16_t>(rows, 0, o, t) * 0x00010001u;
    }
  }
}
void XorPopcountLanes(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                      int32_t* acc) {
  if (in.kernel_h != 3 || in.kernel_w != 3 || in.stride_w > 2) {
    return N_AVX3_DL::XorPopcountLanes(in, weights, base, acc);
  }
  switch (in.pixel_bytes) {
    case 2: return XorPopcount3x3<uint16_t>(in, weights, base, acc);
    case 4: return XorPopcount3x3<uint32_t>(in, weights, base, acc);
    default: return XorPopcount3x3<uint64_t>(in, weights, base, acc);
  }
}

}  // namespace avx512
}  // namespace lbrt
LBRT_END_AVX512
