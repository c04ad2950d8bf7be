// dot_tile of avx512-popcnt: four bytes of a run times four weights of 16 channels in one
// instruction (VPDPBUSD), where Highway's row widens them to 16 bits first.
#include "kernels/avx512.h"

#include <immintrin.h>

#include <cstring>

#include "kernels/pack.h"

LBRT_BEGIN_AVX512
namespace lbrt {
namespace avx512 {
namespace {

constexpr size_t kPanel = 16, kGroup = 4;

// One group of R pixels times V panels, `panel_bytes` apart.
template <size_t R, size_t V>
HWY_INLINE void AddGroup(const int32_t (&pixels)[R], const int8_t* w, size_t panel_bytes,
                         __m512i (&sum)[R][V]) {
  __m512i weights[V];
#pragma GCC unroll 4
  for (size_t v = 0; v < V; ++v) weights[v] = _mm512_load_si512(w + v * panel_bytes);
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) {
    const __m512i pixel = _mm512_set1_epi32(pixels[r]);
#pragma GCC unroll 4
    for (size_t v = 0; v < V; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], pixel, weights[v]);
  }
}

// R pixels from `first` on times V panels from `channel` on.
template <size_t R, size_t V>
void DotRows(const Windows<uint8_t>& in, const uint8_t* first, const int8_t* w, size_t panel_bytes,
             const int32_t* const* base, size_t channel, int32_t* acc, size_t acc_stride) {
  __m512i sum[R][V];
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (size_t v = 0; v < V; ++v) {
      sum[r][v] = base != nullptr ? _mm512_loadu_si512(base[r] + channel + kPanel * v)
                                  : _mm512_setzero_si512();
    }
  }
  const size_t step = in.step, tail = in.run % kGroup, whole = in.run - tail;
  int32_t pixels[R];
  for (size_t y = 0; y < in.runs; ++y) {
    const uint8_t* run = first + y * in.run_stride;
    for (size_t i = 0; i < whole; i += kGroup, w += kPanel * kGroup) {
#pragma GCC unroll 8
      for (size_t r = 0; r < R; ++r) std::memcpy(&pixels[r], run + r * step + i, kGroup);
      AddGroup<R, V>(pixels, w, panel_bytes, sum);
    }
    if (tail == 0) continue;
#pragma GCC unroll 8
    for (size_t r = 0; r < R; ++r) pixels[r] = LastBytes(run + r * step + in.run, in.run, tail);
    AddGroup<R, V>(pixels, w, panel_bytes, sum);
    w += kPanel * kGroup;
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (size_t v = 0; v < V; ++v) {
      _mm512_storeu_si512(acc + r * acc_stride + channel + kPanel * v, sum[r][v]);
    }
  }
}

// All pixels times V panels. Each number of pixels up to 8 has its code: images of 7 or 14 pixels
// are common in deep layers, whose weights should be read once.
template <size_t V>
void DotPanels(const Windows<uint8_t>& in, const int8_t* w, size_t panel_bytes,
               const int32_t* const* base, size_t channel, int32_t* acc, size_t acc_stride) {
  constexpr decltype(&DotRows<1, V>) kRows[] = {DotRows<1, V>, DotRows<2, V>, DotRows<3, V>,
                                                DotRows<4, V>, DotRows<5, V>, DotRows<6, V>,
                                                DotRows<7, V>, DotRows<8, V>};
  for (size_t r = 0; r < in.rows;) {
    const size_t n = in.rows - r < 8 ? in.rows - r : 8;
    kRows[n - 1](in, in.first + r * in.step, w, panel_bytes, base != nullptr ? base + r : nullptr,
                 channel, acc + r * acc_stride, acc_stride);
    r += n;
  }
}

}  // namespace

void DotTile(const Windows<uint8_t>& in, const Weights& weights, const int32_t* const* base,
             int32_t* acc, size_t acc_stride) {
  const size_t panel_bytes = pack::GroupsOf<kGroup>(weights.rows) * kPanel * kGroup;
  const auto* w = static_cast<const int8_t*>(weights.packed);
  size_t channel = 0;
  for (; channel + kPanel < weights.rows.outputs; channel += 2 * kPanel, w += 2 * panel_bytes) {
    DotPanels<2>(in, w, panel_bytes, base, channel, acc, acc_stride);
  }
  if (channel < weights.rows.outputs) {
    DotPanels<1>(in, w, panel_bytes, base, channel, acc, acc_stride);
  }
}

}  // namespace avx512
}  // namespace lbrt
LBRT_END_AVX512
