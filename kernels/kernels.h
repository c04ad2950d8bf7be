// The table of kernels: one column (a `Kernels`) per instruction set, one row (a member) per
// operation. A kernel is an inner loop over packed words or plain numbers; it knows rows, columns
// and words, not tensors or models. What each row means on plain values: kernels/reference.h.
//
// A layer is one tile row, which writes exact sums to a scratch that stays in the L1 cache, and
// one epilogue row, which makes activations of them. So a new precision is a new tile row.
//
// Two orders of the scratch and of what follows from it:
//   rows    [pixel][channel]; tensors are NHWC. Weights in panels of `panel` output channels.
//   lanes   [channel][pixel]; tensors are planar, NCHW. A vector holds pixels of one channel: for
//           networks whose 16, 32 or 64 channels are one machine word a pixel.
//
// Bits tensors (+-1 values, bit 1 = +1) are the same for both: each pixel is a group of
// PixelBytes(channels) bytes with channel c at bit c % 8 of byte c / 8, padding bits zero. Codes
// tensors (0 to 255) are NHWC bytes.
//
// No kernel reads or writes a byte outside of what its row names, needs memory aligned beyond its
// element type (except `packed` weights: 64), allocates, or fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/numerics.h"  // Activation
#include "kernels/shapes.h"

namespace lbrt {

using Word = uint32_t;  // of bits: weight rows are padded to it in the file

inline constexpr size_t kPackedAlignment = 64;

// Bytes of one pixel of a bits tensor: a 16-bit word up to 16 channels, else whole Words.
constexpr size_t PixelBytes(size_t channels) {
  return channels <= 16 ? 2 : (channels + 31) / 32 * 4;
}

constexpr size_t RoundUp(size_t n, size_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// ------------------------------------------------------------------------------------- weights

// Weights as the file stores them: one row per output channel, element k = (ky * kernel_w + kx) *
// channels + c at position k. Bits of a plane: element k at bit k % 8 of byte k / 8.
enum class WeightForm : uint8_t {
  kSigns,    // 1 plane of bits, 1 = +1
  kFloats,   // 1 plane of f32
  kLimbs,    // 1 to 3 planes of int8: w = sum of limb[i] * 256^i
  kTernary,  // 2 planes of bits: plane[0] 1 = +1, plane[1] 1 = not 0; where that is 0 both are
  kOdd,      // 2 to 8 planes of bits: w = sum of (2 bit[i] - 1) * 2^i
  kWeighted,  // planes of bits: w = 2 q - (2^bits - 1), where
              // q = (offset + sum of weight[i] * bit[i]) mod 2^bits
  kIntegers,  // 2 to 8 planes of bits, two's complement: the last one weighs -2^(planes - 1)
};

inline constexpr size_t kMostPlanes = 10;

struct WeightRows {
  WeightForm form;
  const void* plane[kMostPlanes];  // least significant limb or bit first
  size_t planes;
  size_t row_bytes;  // from one output channel to the next, in each plane
  size_t outputs;
  size_t runs, run;  // kernel rows, and elements in each (kernel_w * channels)
  // Of kWeighted, bits 2 to 8; else 0.
  uint8_t bits = 0, offset = 0;
  uint8_t weight[kMostPlanes] = {};

  constexpr size_t elements() const { return runs * run; }
  // Whether dot_tile multiplies by (w - 1) / 2, for w does not fit a byte.
  constexpr bool halved() const {
    return form == WeightForm::kOdd ? planes == 8 : form == WeightForm::kWeighted && bits == 8;
  }
  // Of signs, odd and weighted numbers: an odd number w is 2 q - (2^bits - 1), q having so many.
  constexpr size_t number_bits() const { return form == WeightForm::kWeighted ? bits : planes; }
  friend bool operator==(const WeightRows&, const WeightRows&) = default;
};

// What a tile row is given: the file's rows, and what the column's Packing made of them (null in
// the scalar column, which reads the file's rows).
struct Weights {
  WeightRows rows;
  const void* packed;
};

// How a column wants the weights of one tile row. bytes() is a multiple of kPackedAlignment, and 0
// where it reads the file's rows.
struct Packing {
  size_t (*bytes)(const WeightRows& rows);
  void (*pack)(const WeightRows& rows, void* packed);  // packed: kPackedAlignment
};

// --------------------------------------------------------------------------------------- tiles

// The inputs of `rows` output pixels, counted in elements T. The window of pixel r starts at
// first + r * step and is `runs` runs (kernel rows) of `run` contiguous elements, run_stride
// apart. Pixels of one output row have step = stride_w * (elements of a pixel).
template <typename T>
struct Windows {
  const T* first;
  size_t rows, step;
  size_t runs, run, run_stride;
};

// Of codes of `planes` bits, each bit in a plane of its own, `plane_stride` words apart.
struct PlaneWindows : Windows<Word> {
  size_t planes, plane_stride;
};

// Which part of the weight rows the windows of a float tile meet, so that only valid taps are
// visited at borders: run y of the window meets elements begin + y * run_stride and following.
// Away from borders {0, weights.run}.
struct WeightSpan {
  size_t begin, run_stride;
};

// The inputs of `pixels` outputs of a depthwise convolution, counted in elements T: tap (y, x) of
// pixel r is `channels` elements at first + r * step + y * row_stride + x * column_stride. Taps are
// the valid ones, and every channel meets weights of its own.
template <typename T>
struct DepthwiseWindows {
  const T* first;
  size_t pixels, step;
  size_t rows, columns;  // taps
  size_t row_stride, column_stride;
  size_t channels;
};

// Weights of a depthwise convolution: those of tap (y, x) are `channels` floats at first +
// y * row_stride + x * channels.
struct DepthwiseWeights {
  const float* first;
  size_t row_stride;
};

// +-1 pixels of 16, 32 or 64 channels (2, 4, 8 bytes) as vector lanes, for `rows` output rows of
// `width` pixels and all output channels.
struct PixelLanes {
  const uint8_t* first;  // the pixel under tap (0, 0) of the first output pixel; inside the ring
  size_t row_bytes;      // from one input row to the next
  size_t pixel_bytes;
  size_t kernel_h, kernel_w, stride_h, stride_w;
  size_t rows, width;
};

// ----------------------------------------------------------------------------------- epilogues

// z = a ? Affine(float(acc), a[c], b[c]) : acc          (kernels/numerics.h; one rounding each)
// z = residual ? z + residual : z
// z = activation(z)
// out = z where wanted; bits = SignBit(z) where wanted; in rows order also
// codes = ActivationCode(z, inverse_step, levels) where wanted
//
// Exactly one of `sums` (exact integers) and `values` is the input; the other is null.
struct Epilogue {
  const int32_t* sums;
  const float* values;
  size_t channels;
  const float* a;  // [channels], or null: no affine
  const float* b;  // [channels]
  Activation activation;
  const float* slopes = nullptr;  // [channels], of kPRelu, which lanes order does not know
};

// Rows order: `pixels` pixels of one image row; strides count elements of the type pointed at.
struct EpilogueRows : Epilogue {
  size_t pixels;
  size_t in_stride;            // of `sums` or `values`; at least `channels`
  const float* const* b_rows;  // [pixels] -> [channels]: takes the place of b where not null
  const float* residual;       // or null; may be `out`
  size_t residual_stride;
  float* out;  // or null; may be `values`
  size_t out_stride;
  uint8_t* bits;  // or null; all PixelBytes(channels) bytes of each pixel are written
  size_t bits_stride;
  uint8_t* codes = nullptr;  // or null
  size_t codes_stride = 0;
  float inverse_step = 1;
  int levels = 0;  // 1 to 255
};

// Lanes order: `rows` image rows of `width` pixels. A channel's pixels are contiguous in input,
// residual and out; planes count elements from one channel to the next.
struct EpilogueLanes : Epilogue {
  size_t rows, width;
  size_t in_plane;             // of `sums` or `values`
  const float* const* b_rows;  // [rows] -> [channels][width]: takes the place of b where not null
  const float* residual;       // or null; may be `out`
  size_t residual_plane;
  float* out;  // or null; may be `values`
  size_t out_plane;
  uint8_t* bits;  // or null; channels <= 64; PixelBytes(channels) bytes a pixel
  size_t bits_row_bytes;
};

// code = how many of the channel's ascending thresholds count: floats, t <= x; integers, t < x,
// where x = sum ^ flip[c], so that codes may fall as sums rise. bits = code > 0. Rows order; one
// of bits and codes is wanted, bits of one level only.
template <typename T>  // int32_t or float
struct ThresholdRows {
  const T* in;
  size_t pixels, in_stride, channels;
  const T* thresholds;          // [levels][channels], or [levels], the same for all channels
  size_t levels, level_stride;  // stride: channels, or 1
  const int32_t* flip;          // of sums, [channels], each 0 or -1; or null
  uint8_t* codes;
  size_t codes_stride;
  uint8_t* bits;  // all PixelBytes(channels) bytes of each pixel are written
  size_t bits_stride;
};

// out[y][x][before + c] = scale * (ordered sum over ky, kx ascending, from +0, of the valid taps),
// and +0 in the `before` channels in front and the `after` channels behind. One image.
struct AveragePool {
  const float* in;  // dense, of the row's order
  size_t height, width, channels;
  Window window;
  float scale;  // fl32(1 / n)
  size_t before, after;
  float* out;  // dense: [oh][ow][before + channels + after], or planar
};

// out[y][x] = the first valid tap, then y = x > y ? x : y for the others in order ky, kx. One
// image, rows order, dense, every window with a valid tap. T is float or uint8_t (codes; signs as
// codes).
template <typename T>
struct MaxPool {
  const T* in;
  size_t height, width, channels;
  Window window;
  T* out;
  // Of codes, [channels], or null: 255 where the smallest of a channel is wanted, 0 elsewhere.
  const uint8_t* flip = nullptr;
};

// ------------------------------------------------------------------------------------ the table

struct Kernels {
  const char* isa;
  // Tile rows in rows order write RoundUp(outputs, panel) columns of each scratch row, and read as
  // many of `base`; those from `outputs` on are without meaning.
  size_t panel;
  // Calls with a multiple of this many pixels run at full speed; any number is right.
  size_t tile_rows;

  Packing pack_xor_popcount_tile, pack_xor_popcount_lanes, pack_sign_sum_tile, pack_fma_tile,
      pack_fixed_point_tile, pack_fixed_point_lanes, pack_dot_tile, pack_plane_popcount_tile,
      pack_depthwise_codes;

  // acc[r * acc_stride + o] = base[r][o] - 2 * popcount(window r ^ weight row o): for +-1 values
  // the dot product, where base is the number of taps. Padding bits are zero in both, hence count
  // nothing; zero pixels of a ring count as -1, which base corrects per border class:
  // base = valid elements + 2 * popcount(weights over the padded taps).
  void (*xor_popcount_tile)(const Windows<Word>& in, const Weights& weights,
                            const int32_t* const* base, int32_t* acc, size_t acc_stride);

  // The same over pixel lanes: acc[(o * rows + y) * width + x], base[y][o * width + x].
  void (*xor_popcount_lanes)(const PixelLanes& in, const Weights& weights,
                             const int32_t* const* base, int32_t* acc);

  // acc[r * acc_stride + o]: acc = +0; for each k ascending: acc = fma(w, x, acc), w = +-1. A zero
  // ring gives the same bits as visiting valid taps only (such a sum is never -0).
  void (*sign_sum_tile)(const Windows<float>& in, const Weights& weights, WeightSpan span,
                        float* acc, size_t acc_stride);

  // The same for weights of any value and form; here only valid taps give the exact bits (-0
  // exists).
  void (*fma_tile)(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
                   size_t acc_stride);

  // acc = float(I), I the exact sum of u8 inputs times fixed-point weights, rounded once, half to
  // even. Padding is zeros in memory. Elements of a window: at most kMaxFixedPointElements.
  // tile: acc[r * acc_stride + o];  lanes: acc[o * acc_stride + r].
  void (*fixed_point_tile)(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                           size_t acc_stride);
  void (*fixed_point_lanes)(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                            size_t acc_stride);

  // acc[r * acc_stride + o] = base[r][o] + sum of w * x, exact in int32, or without base where that
  // is null. w: signs, ternary, odd, weighted, integers, or kLimbs of one plane. Numbers of 8 bits,
  // odd or weighted, do not fit a byte: there (w - 1) / 2 is what counts. Elements of a window: at
  // most kMaxFixedPointElements.
  void (*dot_tile)(const Windows<uint8_t>& in, const Weights& weights, const int32_t* const* base,
                   int32_t* acc, size_t acc_stride);

  // out[i] = float(sum over l of sums[l][i] * 256^l), the sum exact, rounded once, half to even; of 2
  // or 3 limbs.
  void (*combine_limbs)(const int32_t* const* sums, size_t limbs, size_t n, float* out);

  // Of `pixels` pixels of `channels` codes, the bit `plane` of each: whole words a pixel, channel c
  // at bit c % 32 of word c / 32, zeros behind the last.
  void (*code_plane)(const uint8_t* codes, size_t pixels, size_t channels, size_t plane, Word* out);
  // acc[r * acc_stride + o] = sum of w * x, w being signs, odd or weighted numbers. Each run of the
  // weights is one tap, and whole words of the windows. With w's bits p[i], of (w + 2^bits - 1) / 2,
  // and x's b[j] that is
  //   sum over i, j of 2^(i + j) * (popcount(p[i]) - popcount(p[i] ^ b[j])).
  // For numbers of 1 bit and 1 to 4 planes, or 2 and 1 to 2.
  void (*plane_popcount_tile)(const PlaneWindows& in, const Weights& weights, int32_t* acc,
                              size_t acc_stride);
  // Up to so many pairs of planes, and whole words, that is faster than dot_tile; 0: there are no
  // such two rows.
  size_t plane_pairs;

  // acc[r * acc_stride + c] = sum over the taps of w * (x - zero), exact where it fits int32. Weights
  // are signed bytes, a row a channel; tap (0, 0) of the windows meets that of (row, column).
  void (*depthwise_codes)(const DepthwiseWindows<uint8_t>& in, const Weights& weights, size_t row,
                          size_t column, int32_t zero, int32_t* acc, size_t acc_stride);
  // acc[r * acc_stride + c]: acc = +0; for each tap, y and x ascending: acc = fma(w, x, acc).
  void (*depthwise_f32)(const DepthwiseWindows<float>& in, const DepthwiseWeights& weights,
                        float* acc, size_t acc_stride);

  void (*epilogue_rows)(const EpilogueRows& e);
  void (*epilogue_lanes)(const EpilogueLanes& e);  // at most 64 channels
  void (*threshold_sums)(const ThresholdRows<int32_t>& rows);
  void (*threshold_f32)(const ThresholdRows<float>& rows);

  void (*average_pool_rows)(const AveragePool& pool);
  void (*average_pool_lanes)(const AveragePool& pool);
  void (*max_pool_f32)(const MaxPool<float>& pool);
  void (*max_pool_codes)(const MaxPool<uint8_t>& pool);
};

// 255 * 128 * this fits int32: one accumulator per limb cannot overflow.
inline constexpr size_t kMaxFixedPointElements = 65793;

// The portable column; kernels/scalar.h shows its rows for builds that have no other.
extern const Kernels kScalarKernels;

// Host builds (kernels/cpu.cc). The columns this CPU can run, slowest first; `scalar` is one.
std::span<const Kernels* const> AvailableKernels();
// By name: scalar sse4 avx2 avx512 avx512-popcnt neon sve. Null where this CPU lacks it.
const Kernels* FindKernels(const char* isa);
// The fastest, or the one the environment variable LBRT_ISA names (then null as above).
const Kernels* BestKernels();

}  // namespace lbrt
