// avx512-popcnt by hand: VPOPCNTW/D/Q over pixel lanes, and VPDPBUSD for fixed-point stems.
//
//   xor_popcount_lanes  vectors go across image rows (an 8x8 image fills them too), strided pixels
//                       come from two masked loads and a permutation, once for all channels
//   fixed_point_*       limbs of 8 bits times u8, four at a time, where Highway's column multiplies
//                       doubles
#include "kernels/avx512.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC bug 105593, in its own intrinsics
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstring>

#include "hwy/base.h"
#include "kernels/pack.h"

HWY_PUSH_ATTRIBUTES(
    "avx,avx2,bmi,bmi2,fma,avx512f,avx512vl,avx512dq,avx512bw,avx512vbmi,avx512vbmi2,avx512vnni,"
    "avx512bitalg,avx512vpopcntdq")

namespace lbrt {

namespace N_AVX3_DL {  // simd.cc: what this file has no better row for
void XorPopcountLanes(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                      int32_t* acc);
}

namespace avx512 {
namespace {

constexpr uint64_t LowBits(size_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

// ---------------------------------------------------------------------------------- popcount

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

// ------------------------------------------------------------------------------- fixed point
// Elements of a window in one sequence, four to a dword: sum of limb[i] over a dword is one
// VPDPBUSD. Per limb an int32 sum.

size_t Dwords(const WeightRows& rows) { return (rows.elements() + 3) / 4; }

uint32_t LimbDword(const WeightRows& rows, size_t limb, size_t output, size_t g) {
  uint32_t dword = 0;
  if (output >= rows.outputs) return 0;
  for (size_t b = 0; b < 4 && 4 * g + b < rows.elements(); ++b) {
    dword |= uint32_t{pack::RowElement<uint8_t>(rows, limb, output, 4 * g + b)} << (8 * b);
  }
  return dword;
}

// float(limb[0] + 256 * limb[1] + 65536 * limb[2]), rounded once. kSmall: windows of at most 255
// elements, whose two lower limbs together fit int32; then all is done in float: the sum is split
// into halves that both are exact there, and one fma rounds.
template <int kLimbs, bool kSmall>
HWY_INLINE __m512 ToFloat(const __m512i (&limb)[kLimbs]) {
  if constexpr (kLimbs == 1) {
    return _mm512_cvtepi32_ps(limb[0]);
  } else if constexpr (kSmall) {
    const __m512i low = _mm512_add_epi32(_mm512_slli_epi32(limb[1], 8), limb[0]);
    if constexpr (kLimbs == 2) return _mm512_cvtepi32_ps(low);
    const __m512i carry =
        _mm512_srai_epi32(_mm512_add_epi32(low, _mm512_set1_epi32(1 << 15)), 16);
    const __m512i rest = _mm512_sub_epi32(low, _mm512_slli_epi32(carry, 16));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(limb[kLimbs - 1], carry)),
                           _mm512_set1_ps(65536.0f), _mm512_cvtepi32_ps(rest));
  } else {
    __m256 half[2];
    for (int h = 0; h < 2; ++h) {
      __m512d sum = _mm512_setzero_pd();
      for (int l = kLimbs; l-- > 0;) {
        const __m256i part = h == 0 ? _mm512_castsi512_si256(limb[l])
                                    : _mm512_extracti64x4_epi64(limb[l], 1);
        sum = _mm512_fmadd_pd(sum, _mm512_set1_pd(256.0), _mm512_cvtepi32_pd(part));
      }
      half[h] = _mm512_cvtpd_ps(sum);
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(half[0]), half[1], 1);
  }
}
constexpr size_t kSmallWindow = 255, kChunk = 64;  // elements; dwords at a time, for lanes

// Elements [4 * g, 4 * (g + count)) of one window, zeros behind its end. `out` has room for 64
// bytes more.
void Flatten(const Windows<uint8_t>& in, size_t r, size_t g, size_t count, uint8_t* out) {
  const uint8_t* window = in.first + r * in.step;
  size_t y = 4 * g / in.run, x = 4 * g % in.run;
  for (size_t left = 4 * count; left > 0 && y < in.runs;) {
    size_t n = in.run - x < left ? in.run - x : left;
    if (n > 64) n = 64;
    _mm512_storeu_si512(out, _mm512_maskz_loadu_epi8(LowBits(n),
                                                     window + y * in.run_stride + x));
    out += n;
    left -= n;
    x += n;
    if (x == in.run) x = 0, ++y;
    if (y == in.runs) std::memset(out, 0, left);
  }
}

// Panels: [panel][dword][limb][16 channels].
template <int kLimbs, bool kSmall>
void FixedPointTileOf(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                      size_t acc_stride) {
  constexpr size_t kRows = 4, kChunk = 256;
  alignas(64) uint8_t x[kRows][4 * kChunk + 64];
  const size_t dwords = Dwords(weights.rows);
  for (size_t r = 0; r < in.rows; r += kRows) {
    const size_t n = in.rows - r < kRows ? in.rows - r : kRows;
    const auto* w = static_cast<const __m512i*>(weights.packed);
    for (size_t o = 0; o < weights.rows.outputs; o += 16) {
      __m512i sum[kRows][kLimbs];
      for (auto& row : sum) {
        for (auto& limb : row) limb = _mm512_setzero_si512();
      }
      for (size_t begin = 0; begin < dwords; begin += kChunk) {
        const size_t count = dwords - begin < kChunk ? dwords - begin : kChunk;
        if (o == 0 || dwords > kChunk) {
          for (size_t j = 0; j < n; ++j) Flatten(in, r + j, begin, count, x[j]);
        }
        for (size_t g = 0; g < count; ++g, w += kLimbs) {
#pragma GCC unroll 4
          for (size_t j = 0; j < kRows; ++j) {
            int32_t four;
            std::memcpy(&four, x[j] + 4 * g, 4);
            const __m512i pixels = _mm512_set1_epi32(four);
#pragma GCC unroll 3
            for (int l = 0; l < kLimbs; ++l) {
              sum[j][l] = _mm512_dpbusd_epi32(sum[j][l], pixels, w[l]);
            }
          }
        }
      }
#pragma GCC unroll 4
      for (size_t j = 0; j < kRows; ++j) {
        if (j < n) _mm512_storeu_ps(acc + (r + j) * acc_stride + o, ToFloat<kLimbs, kSmall>(sum[j]));
      }
    }
  }
}

// Dwords [g, g + count) of windows [r, r + n), n <= 16, one vector each, lane by lane; vectors
// `stride` apart.
void FlattenLanes(const Windows<uint8_t>& in, size_t r, size_t n, size_t g, size_t count,
                  size_t stride, __m512i* out) {
  const size_t span = (n - 1) * in.step + in.run;
  if (span > 128 || in.run > 128) {  // widely strided or long: window by window
    alignas(64) uint8_t window[4 * 64 + 64];
    for (size_t j = 0; j < n; ++j) {
      Flatten(in, r + j, g, count, window);
      for (size_t k = 0; k < count; ++k) {
        std::memcpy(reinterpret_cast<uint8_t*>(out + k * stride) + 4 * j, window + 4 * k, 4);
      }
    }
    return;
  }
  // All windows' bytes of one run lie in two registers. Byte b of lane j of dword k is byte
  // 4 * k + b - y * run of the run y of window j.
  const __m512i lane = _mm512_mullo_epi32(
      _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
      _mm512_set1_epi32(static_cast<int32_t>(in.step * 0x01010101u)));
  const __m512i index = _mm512_add_epi8(lane, _mm512_set1_epi32(0x03020100));
  for (size_t y = 4 * g / in.run; y < in.runs && y * in.run < 4 * (g + count); ++y) {
    const uint8_t* run = in.first + r * in.step + y * in.run_stride;
    const __m512i low = _mm512_maskz_loadu_epi8(LowBits(span), run);
    const __m512i high =
        span > 64 ? _mm512_maskz_loadu_epi8(LowBits(span - 64), run + 64) : low;
    const size_t begin = y * in.run, end = begin + in.run;  // in the sequence of elements
    const size_t first = begin / 4 > g ? begin / 4 : g;
    const size_t last = (end + 3) / 4 < g + count ? (end + 3) / 4 : g + count;
    for (size_t k = first; k < last; ++k) {
      // Which bytes of the dword are this run's: a nibble, the same in all lanes.
      const size_t low_byte = begin > 4 * k ? begin - 4 * k : 0;
      const size_t high_byte = end < 4 * k + 4 ? end - 4 * k : 4;
      const uint64_t bytes = (LowBits(high_byte) & ~LowBits(low_byte)) * 0x1111111111111111;
      const __m512i from = _mm512_add_epi8(
          index, _mm512_set1_epi8(static_cast<char>(static_cast<uint8_t>(4 * k - begin))));
      const __m512i dword = _mm512_maskz_permutex2var_epi8(bytes, low, from, high);
      __m512i& to = out[(k - g) * stride];
      to = begin <= 4 * k ? dword : _mm512_or_si512(to, dword);
    }
  }
}

// The same for kVectors vectors of windows.
template <size_t kVectors>
HWY_INLINE void FlattenVectors(const Windows<uint8_t>& in, size_t r, size_t g, size_t count,
                               __m512i (*x)[kVectors]) {
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t left = in.rows - r - 16 * v;
    FlattenLanes(in, r + 16 * v, left < 16 ? left : 16, g, count, kVectors, &x[0][v]);
  }
}

// Dwords [0, count) of kOutputs output channels (their limbs at w[...]) and kVectors vectors of
// pixels, added to `sum`.
template <int kLimbs, size_t kVectors, size_t kOutputs>
HWY_INLINE void AddDwords(const __m512i (*x)[kVectors], size_t count, const int32_t* w,
                          size_t w_stride, __m512i (&sum)[kOutputs][kVectors][kLimbs]) {
  for (size_t g = 0; g < count; ++g, w += kLimbs) {
#pragma GCC unroll 4
    for (size_t j = 0; j < kOutputs; ++j) {
#pragma GCC unroll 3
      for (int l = 0; l < kLimbs; ++l) {
        const __m512i weight = _mm512_set1_epi32(w[j * w_stride + static_cast<size_t>(l)]);
#pragma GCC unroll 2
        for (size_t v = 0; v < kVectors; ++v) {
          sum[j][v][l] = _mm512_dpbusd_epi32(sum[j][v][l], x[g][v], weight);
        }
      }
    }
  }
}

// Up to 16 * kVectors pixels from r on, and kOutputs output channels from o on, whose inputs are in
// x where the window is small. Weight rows: [output][dword][limb].
template <int kLimbs, bool kSmall, size_t kVectors, size_t kOutputs>
HWY_INLINE void FixedPointOutputs(const Windows<uint8_t>& in, size_t r, const Weights& weights,
                                  size_t o, __m512i (*x)[kVectors], float* acc,
                                  size_t acc_stride) {
  const size_t dwords = Dwords(weights.rows), w_stride = dwords * kLimbs;
  const int32_t* w = static_cast<const int32_t*>(weights.packed) + o * w_stride;
  __m512i sum[kOutputs][kVectors][kLimbs];
#pragma GCC unroll 4
  for (auto& output : sum) {
#pragma GCC unroll 2
    for (auto& vector : output) {
#pragma GCC unroll 3
      for (auto& limb : vector) limb = _mm512_setzero_si512();
    }
  }
  if constexpr (kSmall) {
    AddDwords(x, dwords, w, w_stride, sum);
  } else {
    for (size_t begin = 0; begin < dwords; begin += kChunk) {
      const size_t count = dwords - begin < kChunk ? dwords - begin : kChunk;
      FlattenVectors<kVectors>(in, r, begin, count, x);
      AddDwords(x, count, w + begin * kLimbs, w_stride, sum);
    }
  }
#pragma GCC unroll 4
  for (size_t j = 0; j < kOutputs; ++j) {
    float* out = acc + (o + j) * acc_stride + r;
#pragma GCC unroll 2
    for (size_t v = 0; v < kVectors; ++v) {
      const __m512 value = ToFloat<kLimbs, kSmall>(sum[j][v]);
      const size_t left = in.rows - r - 16 * v;
      if (left >= 16) {
        _mm512_storeu_ps(out + 16 * v, value);
      } else {
        _mm512_mask_storeu_ps(out + 16 * v, static_cast<__mmask16>(LowBits(left)), value);
      }
    }
  }
}

template <int kLimbs, bool kSmall, size_t kVectors>
HWY_INLINE void FixedPointPixels(const Windows<uint8_t>& in, size_t r, const Weights& weights,
                                 float* acc, size_t acc_stride) {
  constexpr size_t kOutputs = kVectors == 2 ? 2 : 4;
  __m512i x[kChunk][kVectors];
  if constexpr (kSmall) FlattenVectors<kVectors>(in, r, 0, Dwords(weights.rows), x);
  size_t o = 0;
  for (; o + kOutputs <= weights.rows.outputs; o += kOutputs) {
    FixedPointOutputs<kLimbs, kSmall, kVectors, kOutputs>(in, r, weights, o, x, acc, acc_stride);
  }
  for (; o < weights.rows.outputs; ++o) {
    FixedPointOutputs<kLimbs, kSmall, kVectors, 1>(in, r, weights, o, x, acc, acc_stride);
  }
}

template <int kLimbs, bool kSmall>
void FixedPointLanesOf(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                       size_t acc_stride) {
  size_t r = 0;
  for (; r + 16 < in.rows; r += 32) {
    FixedPointPixels<kLimbs, kSmall, 2>(in, r, weights, acc, acc_stride);
  }
  if (r < in.rows) FixedPointPixels<kLimbs, kSmall, 1>(in, r, weights, acc, acc_stride);
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
      *out++ = pack::RowElement<uint16_t>(rows, 0, o, t) * 0x00010001u;
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

size_t FixedPointTileBytes(const WeightRows& rows) {
  return RoundUp(rows.outputs, 16) * Dwords(rows) * rows.planes * 4;
}
void PackFixedPointTile(const WeightRows& rows, void* packed) {
  auto* out = static_cast<uint32_t*>(packed);
  for (size_t first = 0; first < rows.outputs; first += 16) {
    for (size_t g = 0; g < Dwords(rows); ++g) {
      for (size_t limb = 0; limb < rows.planes; ++limb) {
        for (size_t o = first; o < first + 16; ++o) *out++ = LimbDword(rows, limb, o, g);
      }
    }
  }
}
void FixedPointTile(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                    size_t acc_stride) {
  const bool small = weights.rows.elements() <= kSmallWindow;
  const size_t limbs = weights.rows.planes;
  const auto run = limbs == 1   ? FixedPointTileOf<1, true>
                   : limbs == 2 ? (small ? FixedPointTileOf<2, true> : FixedPointTileOf<2, false>)
                                : (small ? FixedPointTileOf<3, true> : FixedPointTileOf<3, false>);
  run(in, weights, acc, acc_stride);
}

size_t FixedPointLanesBytes(const WeightRows& rows) {
  return pack::Padded(rows.outputs * Dwords(rows) * rows.planes * 4);
}
void PackFixedPointLanes(const WeightRows& rows, void* packed) {
  auto* out = static_cast<uint32_t*>(packed);
  for (size_t o = 0; o < rows.outputs; ++o) {
    for (size_t g = 0; g < Dwords(rows); ++g) {
      for (size_t limb = 0; limb < rows.planes; ++limb) *out++ = LimbDword(rows, limb, o, g);
    }
  }
}
void FixedPointLanes(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                     size_t acc_stride) {
  const bool small = weights.rows.elements() <= kSmallWindow;
  const size_t limbs = weights.rows.planes;
  const auto run = limbs == 1   ? (small ? FixedPointLanesOf<1, true> : FixedPointLanesOf<1, false>)
                   : limbs == 2 ? (small ? FixedPointLanesOf<2, true> : FixedPointLanesOf<2, false>)
                                : (small ? FixedPointLanesOf<3, true> : FixedPointLanesOf<3, false>);
  run(in, weights, acc, acc_stride);
}

}  // namespace avx512
}  // namespace lbrt

HWY_POP_ATTRIBUTES
