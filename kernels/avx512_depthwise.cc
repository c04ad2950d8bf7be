// depthwise_codes of avx512-popcnt: four taps of a column times their weights in one instruction
// (VPDPBUSD). A vector holds the four bytes of 16 channels.
//
// The codes of up to four rows, 64 channels each, are brought into that order once a column: with
// stride 1 three neighbouring pixels read it, each for another column of a window three wide.
#include "kernels/avx512.h"

#include <immintrin.h>

#include "kernels/pack.h"

LBRT_BEGIN_AVX512
namespace lbrt {
namespace avx512 {
namespace {

constexpr size_t kBlock = 64, kLanes = 16, kQuad = 4, kVectors = kBlock / kLanes;
constexpr size_t kQuadBytes = kBlock * kQuad;

size_t QuadsOf(const WeightRows& rows) { return (rows.runs + kQuad - 1) / kQuad; }

// Channels [c, c + 64) of a convolution, or fewer where there are no more.
struct Block {
  const int8_t* weights;  // of the windows' first column: [column][quad][channel][tap]
  size_t quads;           // of a column
  size_t c;
  __mmask64 valid;

  HWY_INLINE const int8_t* At(size_t column, size_t quad) const {
    return weights + (column * quads + quad) * kQuadBytes;
  }
  HWY_INLINE __mmask16 Valid(size_t v) const {
    return static_cast<__mmask16>(valid >> (kLanes * v));
  }
  HWY_INLINE __m512i Load(size_t v, const int32_t* acc) const {
    return _mm512_maskz_loadu_epi32(Valid(v), acc + c + kLanes * v);
  }
  HWY_INLINE void Store(const __m512i (&sum)[kVectors], int32_t* acc) const {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      _mm512_mask_storeu_epi32(acc + c + kLanes * v, Valid(v), sum[v]);
    }
  }
};

// Whether a row of the weights is one that the windows meet; they do from `row` on.
bool Meets(const DepthwiseWindows<uint8_t>& in, size_t row, size_t y) {
  return y >= row && y < row + in.rows;
}
// Ones in byte `tap` of each lane where that tap of a quad is met.
__m512i MaskOf(const DepthwiseWindows<uint8_t>& in, size_t row, size_t quad) {
  uint32_t mask = 0;
  for (size_t tap = 0; tap < kQuad; ++tap) {
    if (Meets(in, row, quad * kQuad + tap)) mask |= 0xFFu << (8 * tap);
  }
  return _mm512_set1_epi32(static_cast<int32_t>(mask));
}

// Where the tap rows of a quad begin; those that are not met are read where something is.
struct TapRows {
  const uint8_t* first[kQuad];
};
TapRows RowsOf(const DepthwiseWindows<uint8_t>& in, size_t row, size_t quad, size_t c) {
  TapRows rows;
  for (size_t tap = 0; tap < kQuad; ++tap) {
    const size_t y = quad * kQuad + tap;
    rows.first[tap] = in.first + (Meets(in, row, y) ? (y - row) * in.row_stride : 0) + c;
  }
  return rows;
}

// The codes `offset` bytes from there, kRows of them a channel, the others 0: vector v has channels
// [16 v, 16 v + 16).
template <size_t kRows>
HWY_INLINE void LoadQuads(const TapRows& rows, size_t offset, __mmask64 valid,
                          __m512i (&quads)[kVectors]) {
  // Interleaving stays inside of 16 bytes; so the four channels that vector v is to have there come
  // to its quarter first.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m512i x[kQuad];
#pragma GCC unroll 4
  for (size_t tap = 0; tap < kQuad; ++tap) {
    x[tap] = tap < kRows
                 ? _mm512_permutexvar_epi32(
                       order, _mm512_maskz_loadu_epi8(valid, rows.first[tap] + offset))
                 : _mm512_setzero_si512();
  }
  const __m512i low01 = _mm512_unpacklo_epi8(x[0], x[1]), low23 = _mm512_unpacklo_epi8(x[2], x[3]);
  const __m512i high01 = _mm512_unpackhi_epi8(x[0], x[1]);
  const __m512i high23 = _mm512_unpackhi_epi8(x[2], x[3]);
  quads[0] = _mm512_unpacklo_epi16(low01, low23);
  quads[1] = _mm512_unpackhi_epi16(low01, low23);
  quads[2] = _mm512_unpacklo_epi16(high01, high23);
  quads[3] = _mm512_unpackhi_epi16(high01, high23);
}

HWY_INLINE void LoadWeights(const int8_t* from, __m512i mask, __m512i (&weights)[kVectors]) {
#pragma GCC unroll 4
  for (size_t v = 0; v < kVectors; ++v) {
    weights[v] = _mm512_and_si512(mask, _mm512_load_si512(from + v * kLanes * kQuad));
  }
}

HWY_INLINE void AddProducts(const __m512i (&quads)[kVectors], const __m512i (&weights)[kVectors],
                            const __m512i (&from)[kVectors], __m512i (&sum)[kVectors]) {
#pragma GCC unroll 4
  for (size_t v = 0; v < kVectors; ++v) {
    sum[v] = _mm512_dpbusd_epi32(from[v], quads[v], weights[v]);
  }
}

// What sums begin with: -zero times each weight of the windows.
void FirstSums(const DepthwiseWindows<uint8_t>& in, const Block& block, size_t row, int32_t zero,
               __m512i (&first)[kVectors]) {
  for (__m512i& sum : first) sum = _mm512_setzero_si512();
  if (zero == 0) return;
  const __m512i zeros = _mm512_set1_epi8(static_cast<int8_t>(zero));
  const __m512i quads[kVectors] = {zeros, zeros, zeros, zeros};
  __m512i weights[kVectors];
  for (size_t column = 0; column < in.columns; ++column) {
    for (size_t quad = 0; quad < block.quads; ++quad) {
      LoadWeights(block.At(column, quad), MaskOf(in, row, quad), weights);
      AddProducts(quads, weights, first, first);
    }
  }
  for (__m512i& sum : first) sum = _mm512_sub_epi32(_mm512_setzero_si512(), sum);
}

// Windows of 3x3 taps, with stride 1 or 2. A pixel's sum is begun by a pixel before it, which has
// the column at hand.
template <size_t kStride>
void ThreeByThree(const DepthwiseWindows<uint8_t>& in, const Block& block, size_t row,
                  const __m512i (&first)[kVectors], int32_t* acc, size_t acc_stride) {
  const TapRows rows = RowsOf(in, row, 0, block.c);
  const __m512i mask = MaskOf(in, row, 0);
  __m512i left[kVectors], middle[kVectors], right[kVectors], quads[kVectors];
  LoadWeights(block.At(0, 0), mask, left);
  LoadWeights(block.At(1, 0), mask, middle);
  LoadWeights(block.At(2, 0), mask, right);
  __m512i sum[kVectors], next[kVectors];
  LoadQuads<3>(rows, 0, block.valid, quads);
  AddProducts(quads, left, first, sum);
  if constexpr (kStride == 1) {
    LoadQuads<3>(rows, in.column_stride, block.valid, quads);
    AddProducts(quads, middle, sum, sum);
    AddProducts(quads, left, first, next);
  }
  for (size_t r = 0; r < in.pixels; ++r) {
    const size_t offset = r * in.step;
    if constexpr (kStride == 2) {
      LoadQuads<3>(rows, offset + in.column_stride, block.valid, quads);
      AddProducts(quads, middle, sum, sum);
    }
    LoadQuads<3>(rows, offset + 2 * in.column_stride, block.valid, quads);
    AddProducts(quads, right, sum, sum);
    block.Store(sum, acc + r * acc_stride);
    if constexpr (kStride == 1) AddProducts(quads, middle, next, sum);
    AddProducts(quads, left, first, kStride == 1 ? next : sum);
  }
}

// Adds quad `quad` of the taps of kPixels pixels from `r` on. `first`: what sums begin with, or null
// where they are in `acc`.
template <size_t kRows, size_t kPixels>
void AddQuad(const DepthwiseWindows<uint8_t>& in, const Block& block, const TapRows& rows,
             __m512i mask, size_t quad, size_t r, const __m512i* first, int32_t* acc,
             size_t acc_stride) {
  const size_t stride = in.step / in.column_stride;
  __m512i sum[kPixels][kVectors], quads[kVectors], weights[kVectors];
#pragma GCC unroll 4
  for (size_t i = 0; i < kPixels; ++i) {
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      sum[i][v] = first != nullptr ? first[v] : block.Load(v, acc + (r + i) * acc_stride);
    }
  }
  const size_t columns = (kPixels - 1) * stride + in.columns;
  for (size_t x = 0; x < columns; ++x) {
    LoadQuads<kRows>(rows, r * in.step + x * in.column_stride, block.valid, quads);
#pragma GCC unroll 4
    for (size_t i = 0; i < kPixels; ++i) {
      const size_t column = x - i * stride;  // huge where it is none of this pixel's
      if (column >= in.columns) continue;
      LoadWeights(block.At(column, quad), mask, weights);
      AddProducts(quads, weights, sum[i], sum[i]);
    }
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < kPixels; ++i) block.Store(sum[i], acc + (r + i) * acc_stride);
}

template <size_t kRows>
void AddQuads(const DepthwiseWindows<uint8_t>& in, const Block& block, size_t row, size_t quad,
              const __m512i* first, int32_t* acc, size_t acc_stride) {
  const TapRows rows = RowsOf(in, row, quad, block.c);
  const __m512i mask = MaskOf(in, row, quad);
  size_t r = 0;
  for (; r + 4 <= in.pixels; r += 4) {
    AddQuad<kRows, 4>(in, block, rows, mask, quad, r, first, acc, acc_stride);
  }
  for (; r < in.pixels; ++r) {
    AddQuad<kRows, 1>(in, block, rows, mask, quad, r, first, acc, acc_stride);
  }
}

void AnyWindows(const DepthwiseWindows<uint8_t>& in, const Block& block, size_t runs, size_t row,
                const __m512i* first, int32_t* acc, size_t acc_stride) {
  constexpr decltype(&AddQuads<1>) kAdd[] = {AddQuads<1>, AddQuads<2>, AddQuads<3>, AddQuads<4>};
  for (size_t quad = 0; quad < block.quads; ++quad, first = nullptr) {
    const size_t rows = runs - quad * kQuad < kQuad ? runs - quad * kQuad : kQuad;
    kAdd[rows - 1](in, block, row, quad, first, acc, acc_stride);
  }
}

}  // namespace

size_t DepthwiseBytes(const WeightRows& rows) {
  return RoundUp(rows.outputs, kBlock) / kBlock * rows.run * QuadsOf(rows) * kQuadBytes;
}

// [block][column][quad][channel][tap], zeros where there is none.
void PackDepthwise(const WeightRows& rows, void* packed) {
  auto* out = static_cast<int8_t*>(packed);
  for (size_t c = 0; c < RoundUp(rows.outputs, kBlock); c += kBlock) {
    for (size_t x = 0; x < rows.run; ++x) {
      for (size_t y = 0; y < QuadsOf(rows) * kQuad; y += kQuad) {
        for (size_t o = c; o < c + kBlock; ++o) {
          for (size_t tap = y; tap < y + kQuad; ++tap) {
            const bool inside = o < rows.outputs && tap < rows.runs;
            *out++ = static_cast<int8_t>(inside ? WeightCode(rows, o, tap * rows.run + x) : 0);
          }
        }
      }
    }
  }
}

void DepthwiseCodes(const DepthwiseWindows<uint8_t>& in, const Weights& weights, size_t row,
                    size_t column, int32_t zero, int32_t* acc, size_t acc_stride) {
  const WeightRows& rows = weights.rows;
  const size_t column_bytes = QuadsOf(rows) * kQuadBytes;
  Block block;
  block.quads = QuadsOf(rows);
  block.weights = static_cast<const int8_t*>(weights.packed) + column * column_bytes;
  const bool three = in.columns == 3 && rows.runs == 3;
  __m512i first[kVectors];
  for (block.c = 0; block.c < in.channels;
       block.c += kBlock, block.weights += rows.run * column_bytes) {
    block.valid = LowBits(in.channels - block.c);
    FirstSums(in, block, row, zero, first);
    if (three && in.step == in.column_stride) {
      ThreeByThree<1>(in, block, row, first, acc, acc_stride);
    } else if (three && in.step == 2 * in.column_stride) {
      ThreeByThree<2>(in, block, row, first, acc, acc_stride);
    } else {
      AnyWindows(in, block, rows.runs, row, first, acc, acc_stride);
    }
  }
}

}  // namespace avx512
}  // namespace lbrt
LBRT_END_AVX512
