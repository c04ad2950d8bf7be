// fixed_point_tile and fixed_point_lanes of avx512-popcnt: limbs of 8 bits times u8, four at a time
// (VPDPBUSD), where Highway's rows multiply doubles.
//
// Four elements of a window are a dword, of which a limb's sum is one VPDPBUSD; per limb an int32
// sum. Tiles take each run's dwords from where they lie, the last one filled up with zeros; lanes
// put all elements of a window in one sequence first.
#include "kernels/avx512.h"

#include <immintrin.h>

#include <cstring>

#include "kernels/pack.h"

LBRT_BEGIN_AVX512
namespace lbrt {
namespace avx512 {
namespace {

size_t Dwords(const WeightRows& rows) { return (rows.elements() + 3) / 4; }

// Elements [k, k + 4) of those below `end`.
uint32_t LimbDword(const WeightRows& rows, size_t limb, size_t output, size_t k, size_t end) {
  uint32_t dword = 0;
  if (output >= rows.outputs) return 0;
  for (size_t b = 0; b < 4 && k + b < end; ++b) {
    dword |= uint32_t{RowElement<uint8_t>(rows, limb, output, k + b)} << (8 * b);
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

// One dword of each pixel times the limbs of 16 channels.
template <int kLimbs, size_t kRows>
HWY_INLINE void AddDword(const int32_t (&pixels)[kRows], const __m512i* w,
                         __m512i (&sum)[kRows][kLimbs]) {
#pragma GCC unroll 4
  for (size_t j = 0; j < kRows; ++j) {
    const __m512i pixel = _mm512_set1_epi32(pixels[j]);
#pragma GCC unroll 3
    for (int l = 0; l < kLimbs; ++l) sum[j][l] = _mm512_dpbusd_epi32(sum[j][l], pixel, w[l]);
  }
}

// Panels: [panel][run][dword][limb][16 channels].
template <int kLimbs, bool kSmall>
void FixedPointTileOf(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                      size_t acc_stride) {
  constexpr size_t kRows = 4;
  const size_t run = in.run, tail = run % 4, whole = run - tail;
  for (size_t r = 0; r < in.rows; r += kRows) {
    const size_t n = in.rows - r < kRows ? in.rows - r : kRows;
    const uint8_t* windows[kRows];  // the last one in place of those that are not there
    for (size_t j = 0; j < kRows; ++j) windows[j] = in.first + (r + (j < n ? j : n - 1)) * in.step;
    const auto* w = static_cast<const __m512i*>(weights.packed);
    for (size_t o = 0; o < weights.rows.outputs; o += 16) {
      __m512i sum[kRows][kLimbs];
#pragma GCC unroll 4
      for (auto& row : sum) {
#pragma GCC unroll 3
        for (auto& limb : row) limb = _mm512_setzero_si512();
      }
      int32_t pixels[kRows];
      for (size_t y = 0; y < in.runs; ++y) {
        const size_t at = y * in.run_stride;
        for (size_t x = 0; x < whole; x += 4, w += kLimbs) {
#pragma GCC unroll 4
          for (size_t j = 0; j < kRows; ++j) std::memcpy(&pixels[j], windows[j] + at + x, 4);
          AddDword<kLimbs>(pixels, w, sum);
        }
        if (tail == 0) continue;
#pragma GCC unroll 4
        for (size_t j = 0; j < kRows; ++j) pixels[j] = LastBytes(windows[j] + at + run, run, tail);
        AddDword<kLimbs>(pixels, w, sum);
        w += kLimbs;
      }
#pragma GCC unroll 4
      for (size_t j = 0; j < kRows; ++j) {
        if (j >= n) break;
        _mm512_storeu_ps(acc + (r + j) * acc_stride + o, ToFloat<kLimbs, kSmall>(sum[j]));
      }
    }
  }
}

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

size_t FixedPointTileBytes(const WeightRows& rows) {
  return RoundUp(rows.outputs, 16) * pack::GroupsOf<4>(rows) * rows.planes * 4;
}
void PackFixedPointTile(const WeightRows& rows, void* packed) {
  auto* out = static_cast<uint32_t*>(packed);
  for (size_t first = 0; first < rows.outputs; first += 16) {
    for (size_t y = 0; y < rows.runs; ++y) {
      const size_t end = (y + 1) * rows.run;
      for (size_t k = y * rows.run; k < end; k += 4) {
        for (size_t limb = 0; limb < rows.planes; ++limb) {
          for (size_t o = first; o < first + 16; ++o) *out++ = LimbDword(rows, limb, o, k, end);
        }
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
      for (size_t limb = 0; limb < rows.planes; ++limb) *out++ = LimbDword(rows, limb, o, 4 * g, rows.elements());
    }
  }
}
void FixedPointLanes(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                     size_t acc_stride) {
  const bool small = weights.rows.elements() <= kSmallWindow;
  const size_t limbs = weights.rows.planes;
  const auto run =
      small ? (limbs == 1   ? FixedPointLanesOf<1, true>
               : limbs == 2 ? FixedPointLanesOf<2, true>
                            : FixedPointLanesOf<3, true>)
            : (limbs == 1   ? FixedPointLanesOf<1, false>
               : limbs == 2 ? FixedPointLanesOf<2, false>
                            : FixedPointLanesOf<3, false>);
  run(in, weights, acc, acc_stride);
}

}  // namespace avx512
}  // namespace lbrt
LBRT_END_AVX512
