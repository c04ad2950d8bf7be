#include "kernels/scalar.h"

#include <cstring>
#include <type_traits>

#include "kernels/numerics.h"
#include "kernels/weights.h"

namespace lbrt {

constinit const Kernels kScalarKernels = scalar::kKernels;

namespace scalar {
namespace {

// Without a popcount instruction std::popcount is a call; this is not.
inline uint32_t Popcount(uint32_t x) {
#if defined(__POPCNT__)
  return static_cast<uint32_t>(__builtin_popcount(x));
#else
  x = x - ((x >> 1) & 0x55555555u);
  x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
  return (((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u) >> 24;
#endif
}

template <typename T>
const T* PlaneRow(const WeightRows& rows, size_t plane, size_t output) {
  return reinterpret_cast<const T*>(static_cast<const uint8_t*>(rows.plane[plane]) +
                                    output * rows.row_bytes);
}

// popcount(a ^ b) over one to four 16-bit words: any pixel, at any alignment.
inline uint32_t XorPopcount(const uint8_t* a, const uint8_t* b, size_t bytes) {
  uint32_t count = 0;
  for (size_t i = 0; i < bytes; i += 2) {
    uint16_t x, y;
    std::memcpy(&x, a + i, 2);
    std::memcpy(&y, b + i, 2);
    count += Popcount(static_cast<uint32_t>(x ^ y));
  }
  return count;
}

// The exact sum of one window and one output channel.
int64_t FixedPointSum(const Windows<uint8_t>& in, size_t r, const WeightRows& rows, size_t o) {
  int64_t sum = 0;
  const uint8_t* window = in.first + r * in.step;
  for (size_t y = 0; y < in.runs; ++y) {
    for (size_t i = 0; i < in.run; ++i) {
      const int64_t w = FixedPoint(rows, o, y * in.run + i);
      sum += w * window[y * in.run_stride + i];
    }
  }
  return sum;
}

// The general shape of both float tiles: Step(row of output channel o, element k, x, acc).
template <typename Step>
void FloatTile(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
               size_t acc_stride, Step step) {
  for (size_t r = 0; r < in.rows; ++r) {
    for (size_t o = 0; o < weights.rows.outputs; ++o) {
      float sum = 0.0f;
      for (size_t y = 0; y < in.runs; ++y) {
        const float* x = in.first + r * in.step + y * in.run_stride;
        const size_t k = span.begin + y * span.run_stride;
        for (size_t i = 0; i < in.run; ++i) sum = step(o, k + i, x[i], sum);
      }
      acc[r * acc_stride + o] = sum;
    }
  }
}

// Element `i` of the input, which belongs to channel c; b[b_index] is its bias, residual[r_index]
// what is added. Either may be null.
inline float Finish(const Epilogue& e, size_t i, size_t c, const float* b, size_t b_index,
                    const float* residual, size_t r_index) {
  float z = e.sums != nullptr ? static_cast<float>(e.sums[i]) : e.values[i];
  if (e.a != nullptr) z = Affine(z, e.a[c], b[b_index]);
  if (residual != nullptr) z += residual[r_index];
  return Activate(z, e.activation, e.activation == Activation::kPRelu ? e.slopes[c] : 0.0f);
}

// The ordered sum of one output: tap (ky, kx) of channel c lies at in[ky * row + kx * column].
inline float PoolSum(const float* in, TapRange ys, TapRange xs, size_t row, size_t column) {
  float sum = 0.0f;
  for (int ky = ys.begin; ky < ys.end; ++ky) {
    for (int kx = xs.begin; kx < xs.end; ++kx) {
      sum += in[static_cast<size_t>(ky - ys.begin) * row +
                static_cast<size_t>(kx - xs.begin) * column];
    }
  }
  return sum;
}

struct PoolAxis {
  TapRange taps;
  size_t first;  // the input position of the first valid tap
};
template <class P>  // AveragePool or MaxPool
PoolAxis PoolY(const P& p, size_t oy) {
  const TapRange taps = ValidRows(p.window, static_cast<int>(p.height), static_cast<int>(oy));
  return {taps, static_cast<size_t>(static_cast<int>(oy) * p.window.stride_h - p.window.pad_top +
                                    taps.begin)};
}
template <class P>  // AveragePool or MaxPool
PoolAxis PoolX(const P& p, size_t ox) {
  const TapRange taps = ValidColumns(p.window, static_cast<int>(p.width), static_cast<int>(ox));
  return {taps, static_cast<size_t>(static_cast<int>(ox) * p.window.stride_w - p.window.pad_left +
                                    taps.begin)};
}
template <class P>  // AveragePool or MaxPool
size_t PoolHeight(const P& p) {
  return static_cast<size_t>(OutputHeight(p.window, static_cast<int>(p.height)));
}
template <class P>  // AveragePool or MaxPool
size_t PoolWidth(const P& p) {
  return static_cast<size_t>(OutputWidth(p.window, static_cast<int>(p.width)));
}

}  // namespace

void XorPopcountTile(const Windows<Word>& in, const Weights& weights, const int32_t* const* base,
                     int32_t* acc, size_t acc_stride) {
  for (size_t r = 0; r < in.rows; ++r) {
    for (size_t o = 0; o < weights.rows.outputs; ++o) {
      const Word* w = PlaneRow<Word>(weights.rows, 0, o);
      uint32_t count = 0;
      for (size_t y = 0; y < in.runs; ++y) {
        const Word* a = in.first + r * in.step + y * in.run_stride;
        for (size_t i = 0; i < in.run; ++i) count += Popcount(a[i] ^ *w++);
      }
      acc[r * acc_stride + o] = base[r][o] - 2 * static_cast<int32_t>(count);
    }
  }
}

void XorPopcountLanes(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                      int32_t* acc) {
  const size_t run_bytes = in.kernel_w * in.pixel_bytes;
  for (size_t o = 0; o < weights.rows.outputs; ++o) {
    const uint8_t* w = PlaneRow<uint8_t>(weights.rows, 0, o);
    for (size_t y = 0; y < in.rows; ++y) {
      for (size_t x = 0; x < in.width; ++x) {
        const uint8_t* a =
            in.first + y * in.stride_h * in.row_bytes + x * in.stride_w * in.pixel_bytes;
        uint32_t count = 0;
        for (size_t ky = 0; ky < in.kernel_h; ++ky) {
          count += XorPopcount(a + ky * in.row_bytes, w + ky * run_bytes, run_bytes);
        }
        *acc++ = base[y][o * in.width + x] - 2 * static_cast<int32_t>(count);
      }
    }
  }
}

void SignSumTile(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
                 size_t acc_stride) {
  FloatTile(in, weights, span, acc, acc_stride,
            [&](size_t o, size_t k, float x, float sum) {
              const uint8_t byte = PlaneRow<uint8_t>(weights.rows, 0, o)[k / 8];
              return (byte >> (k % 8)) & 1 ? sum + x : sum - x;
            });
}

void FmaTile(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
             size_t acc_stride) {
  FloatTile(in, weights, span, acc, acc_stride,
            [&](size_t o, size_t k, float x, float sum) {
              return Fma(WeightFloat(weights.rows, o, k), x, sum);
            });
}

void FixedPointTile(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                    size_t acc_stride) {
  for (size_t r = 0; r < in.rows; ++r) {
    for (size_t o = 0; o < weights.rows.outputs; ++o) {
      acc[r * acc_stride + o] = static_cast<float>(FixedPointSum(in, r, weights.rows, o));
    }
  }
}

void FixedPointLanes(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                     size_t acc_stride) {
  for (size_t o = 0; o < weights.rows.outputs; ++o) {
    for (size_t r = 0; r < in.rows; ++r) {
      acc[o * acc_stride + r] = static_cast<float>(FixedPointSum(in, r, weights.rows, o));
    }
  }
}

void DotTile(const Windows<uint8_t>& in, const Weights& weights, const int32_t* const* base,
             int32_t* acc, size_t acc_stride) {
  constexpr size_t kChunk = 64;
  int8_t buffer[kChunk + kDotSlack];
  for (size_t o = 0; o < weights.rows.outputs; ++o) {
    for (size_t r = 0; r < in.rows; ++r) {
      acc[r * acc_stride + o] = base != nullptr ? base[r][o] : 0;
    }
    for (size_t y = 0; y < in.runs; ++y) {
      for (size_t begin = 0; begin < in.run; begin += kChunk) {
        const size_t count = in.run - begin < kChunk ? in.run - begin : kChunk;
        const int8_t* w = DotWeights(weights.rows, o, y * in.run + begin, count, buffer);
        const uint8_t* x = in.first + y * in.run_stride + begin;
        for (size_t r = 0; r < in.rows; ++r, x += in.step) {
          int32_t sum = 0;
          for (size_t i = 0; i < count; ++i) sum += int32_t{w[i]} * x[i];
          acc[r * acc_stride + o] += sum;
        }
      }
    }
  }
}

void CombineLimbsRange(const int32_t* const* sums, size_t limbs, size_t begin, size_t end,
                       float* out) {
  for (size_t i = begin; i < end; ++i) {
    int64_t sum = 0;
    for (size_t l = limbs; l-- > 0;) sum = sum * 256 + sums[l][i];
    out[i] = static_cast<float>(sum);
  }
}

void CombineLimbs(const int32_t* const* sums, size_t limbs, size_t n, float* out) {
  CombineLimbsRange(sums, limbs, 0, n, out);
}

namespace {
// acc[r * acc_stride + c]: 0, then step(w, x, acc) for each tap, whose weights are channels of W at
// w + y * row_stride + x * channels.
template <typename T, typename W, typename Sum, typename Step>
void Depthwise(const DepthwiseWindows<T>& in, const W* weights, size_t row_stride, Sum* acc,
               size_t acc_stride, Step step) {
  for (size_t r = 0; r < in.pixels; ++r) {
    Sum* sums = acc + r * acc_stride;
    for (size_t c = 0; c < in.channels; ++c) sums[c] = 0;
    for (size_t y = 0; y < in.rows; ++y) {
      const T* x = in.first + r * in.step + y * in.row_stride;
      const W* w = weights + y * row_stride;
      for (size_t i = 0; i < in.columns; ++i, x += in.column_stride, w += in.channels) {
        for (size_t c = 0; c < in.channels; ++c) sums[c] = step(w[c], x[c], sums[c]);
      }
    }
  }
}
}  // namespace

size_t DepthwiseBytes(const WeightRows& rows) {
  return RoundUp(rows.outputs * rows.elements(), kPackedAlignment);
}
void PackDepthwise(const WeightRows& rows, void* packed) {
  auto* out = static_cast<int8_t*>(packed);
  for (size_t k = 0; k < rows.elements(); ++k) {
    for (size_t o = 0; o < rows.outputs; ++o) *out++ = static_cast<int8_t>(WeightCode(rows, o, k));
  }
}

void DepthwiseCodes(const DepthwiseWindows<uint8_t>& in, const Weights& weights, size_t row,
                    size_t column, int32_t zero, int32_t* acc, size_t acc_stride) {
  const size_t row_stride = weights.rows.run * in.channels;
  Depthwise(in, static_cast<const int8_t*>(weights.packed) + row * row_stride + column * in.channels,
            row_stride, acc, acc_stride,
            [zero](int32_t w, int32_t x, int32_t sum) { return sum + w * (x - zero); });
}

void DepthwiseF32(const DepthwiseWindows<float>& in, const DepthwiseWeights& weights, float* acc,
                  size_t acc_stride) {
  Depthwise(in, weights.first, weights.row_stride, acc, acc_stride,
            [](float w, float x, float sum) { return Fma(w, x, sum); });
}

void EpilogueRowsRange(const lbrt::EpilogueRows& e, size_t pixel, size_t begin, size_t end,
                       uint8_t* bits) {
  const float* b = e.b_rows != nullptr ? e.b_rows[pixel] : e.b;
  for (size_t c = begin; c < end; ++c) {
    const float z = Finish(e, pixel * e.in_stride + c, c, b, c, e.residual,
                           pixel * e.residual_stride + c);
    if (e.out != nullptr) e.out[pixel * e.out_stride + c] = z;
    if (bits != nullptr && SignBit(z)) bits[c / 8] |= static_cast<uint8_t>(1u << (c % 8));
    if (e.codes != nullptr) {
      const float code = ActivationCode(z, e.inverse_step, e.levels);
      e.codes[pixel * e.codes_stride + c] = static_cast<uint8_t>(code);
    }
  }
}

void EpilogueRows(const lbrt::EpilogueRows& e) {
  for (size_t p = 0; p < e.pixels; ++p) {
    uint8_t* bits = e.bits != nullptr ? e.bits + p * e.bits_stride : nullptr;
    if (bits != nullptr) std::memset(bits, 0, PixelBytes(e.channels));
    EpilogueRowsRange(e, p, 0, e.channels, bits);
  }
}

void EpilogueLanesRange(const lbrt::EpilogueLanes& e, size_t begin, size_t end) {
  const size_t pixel_bytes = PixelBytes(e.channels);
  for (size_t i = begin; i < end; ++i) {
    const size_t y = i / e.width, x = i % e.width;
    uint64_t word = 0;
    for (size_t c = 0; c < e.channels; ++c) {
      const float* b = e.b_rows != nullptr ? e.b_rows[y] : e.b;
      const size_t b_index = e.b_rows != nullptr ? c * e.width + x : c;
      const float z = Finish(e, c * e.in_plane + i, c, b, b_index, e.residual,
                             c * e.residual_plane + i);
      if (e.out != nullptr) e.out[c * e.out_plane + i] = z;
      word |= uint64_t{SignBit(z)} << (c % 64);
    }
    if (e.bits == nullptr) continue;
    uint8_t* bits = e.bits + y * e.bits_row_bytes + x * pixel_bytes;
    for (size_t byte = 0; byte < pixel_bytes; ++byte) {
      bits[byte] = static_cast<uint8_t>(word >> (8 * byte));
    }
  }
}

void EpilogueLanes(const lbrt::EpilogueLanes& e) { EpilogueLanesRange(e, 0, e.rows * e.width); }

template <typename T>
void ThresholdRange(const ThresholdRows<T>& r, size_t begin, size_t end) {
  for (size_t p = 0; p < r.pixels; ++p) {
    for (size_t c = begin; c < end; ++c) {
      T x = r.in[p * r.in_stride + c];
      const T* t = r.thresholds + (r.level_stride == 1 ? 0 : c);
      size_t code = 0;
      if constexpr (std::is_same_v<T, float>) {
        for (size_t i = 0; i < r.levels; ++i) code += x >= t[i * r.level_stride] ? 1 : 0;
      } else {
        if (r.flip != nullptr) x ^= r.flip[c];
        for (size_t i = 0; i < r.levels; ++i) code += x > t[i * r.level_stride] ? 1 : 0;
      }
      if (r.codes != nullptr) r.codes[p * r.codes_stride + c] = static_cast<uint8_t>(code);
      if (r.bits != nullptr && code > 0) {
        r.bits[p * r.bits_stride + c / 8] |= static_cast<uint8_t>(1u << (c % 8));
      }
    }
  }
}
template void ThresholdRange(const ThresholdRows<int32_t>&, size_t, size_t);
template void ThresholdRange(const ThresholdRows<float>&, size_t, size_t);

namespace {
template <typename T>
void ThresholdAll(const ThresholdRows<T>& r) {
  for (size_t p = 0; r.bits != nullptr && p < r.pixels; ++p) {
    std::memset(r.bits + p * r.bits_stride, 0, PixelBytes(r.channels));
  }
  ThresholdRange(r, 0, r.channels);
}
}  // namespace

void ThresholdSums(const ThresholdRows<int32_t>& r) { ThresholdAll(r); }
void ThresholdF32(const ThresholdRows<float>& r) { ThresholdAll(r); }

void AveragePoolRowsRange(const AveragePool& p, size_t oy, size_t ox, size_t begin, size_t end) {
  const PoolAxis y = PoolY(p, oy), x = PoolX(p, ox);
  const float* in = p.in + (y.first * p.width + x.first) * p.channels;
  float* out = p.out + (oy * PoolWidth(p) + ox) * (p.before + p.channels + p.after) + p.before;
  for (size_t c = begin; c < end; ++c) {
    out[c] = p.scale * PoolSum(in + c, y.taps, x.taps, p.width * p.channels, p.channels);
  }
}

void AveragePoolRows(const AveragePool& p) {
  const size_t height = PoolHeight(p), width = PoolWidth(p);
  float* out = p.out;
  for (size_t oy = 0; oy < height; ++oy) {
    for (size_t ox = 0; ox < width; ++ox) {
      for (size_t c = 0; c < p.before; ++c) *out++ = 0.0f;
      AveragePoolRowsRange(p, oy, ox, 0, p.channels);
      out += p.channels;
      for (size_t c = 0; c < p.after; ++c) *out++ = 0.0f;
    }
  }
}

void AveragePoolLanesRange(const AveragePool& p, size_t channel, size_t oy, size_t begin,
                           size_t end) {
  const PoolAxis y = PoolY(p, oy);
  const float* in = p.in + (channel * p.height + y.first) * p.width;
  float* out = p.out + ((p.before + channel) * PoolHeight(p) + oy) * PoolWidth(p);
  for (size_t ox = begin; ox < end; ++ox) {
    const PoolAxis x = PoolX(p, ox);
    out[ox] = p.scale * PoolSum(in + x.first, y.taps, x.taps, p.width, 1);
  }
}

void AveragePoolLanes(const AveragePool& p) {
  const size_t height = PoolHeight(p), width = PoolWidth(p), plane = height * width;
  for (size_t i = 0; i < p.before * plane; ++i) p.out[i] = 0.0f;
  for (size_t c = 0; c < p.channels; ++c) {
    for (size_t oy = 0; oy < height; ++oy) AveragePoolLanesRange(p, c, oy, 0, width);
  }
  float* behind = p.out + (p.before + p.channels) * plane;
  for (size_t i = 0; i < p.after * plane; ++i) behind[i] = 0.0f;
}

template <typename T>
void MaxPoolRange(const MaxPool<T>& p, size_t oy, size_t ox, size_t begin, size_t end) {
  const PoolAxis y = PoolY(p, oy), x = PoolX(p, ox);
  T* out = p.out + (oy * PoolWidth(p) + ox) * p.channels;
  for (size_t c = begin; c < end; ++c) {
    const T* in = p.in + (y.first * p.width + x.first) * p.channels + c;
    const bool smallest = p.flip != nullptr && p.flip[c] != 0;
    T best = *in;
    for (int ky = 0; ky < y.taps.size(); ++ky, in += p.width * p.channels) {
      for (size_t kx = 0; kx < static_cast<size_t>(x.taps.size()); ++kx) {
        const T tap = in[kx * p.channels];
        best = (smallest ? tap < best : tap > best) ? tap : best;
      }
    }
    out[c] = best;
  }
}
template void MaxPoolRange(const MaxPool<float>&, size_t, size_t, size_t, size_t);
template void MaxPoolRange(const MaxPool<uint8_t>&, size_t, size_t, size_t, size_t);

namespace {
template <typename T>
void MaxPoolRows(const MaxPool<T>& p) {
  const size_t height = PoolHeight(p), width = PoolWidth(p);
  for (size_t oy = 0; oy < height; ++oy) {
    for (size_t ox = 0; ox < width; ++ox) MaxPoolRange(p, oy, ox, 0, p.channels);
  }
}
}  // namespace

void MaxPoolF32(const MaxPool<float>& p) { MaxPoolRows(p); }
void MaxPoolCodes(const MaxPool<uint8_t>& p) { MaxPoolRows(p); }

}  // namespace scalar
}  // namespace lbrt
