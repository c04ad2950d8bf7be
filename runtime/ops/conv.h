// What the kinds of convolution share. conv.cc checks them all and has the table of them;
// conv_bits.cc, conv_codes.cc, conv_fixed.cc and conv_float.cc prepare and run them, conv_planes.cc
// those of codes that have few bits, and conv_groups.cc those of any kind that have groups.
#pragma once

#include "runtime/ops/border.h"
#include "runtime/ops/checks.h"
#include "runtime/ops/stages.h"

namespace lbrt {

// Scratch of sums is kept within this: it and the weights at work share an L1 cache of 32 KiB.
inline constexpr size_t kScratchTarget = 16 * 1024;

// A convolution as check left it.
struct ConvView {
  explicit ConvView(const OpView& view)
      : conv(*view.op().body_as_Conv()),
        x(view.tensors[conv.input()]),
        window(ToWindow(*conv.window())),
        result{x.shape.n, OutputHeight(window, x.shape.h), OutputWidth(window, x.shape.w),
               static_cast<int32_t>(conv.channels())},
        ys(BorderRows(window, x.shape.h)),
        xs(BorderColumns(window, x.shape.w)) {}

  size_t kernel_h() const { return static_cast<size_t>(window.kernel_h); }
  size_t kernel_w() const { return static_cast<size_t>(window.kernel_w); }
  size_t in_channels() const { return static_cast<size_t>(x.shape.c); }
  size_t outputs() const { return static_cast<size_t>(result.c); }
  size_t groups() const { return conv.groups(); }
  size_t group_channels() const { return in_channels() / groups(); }
  size_t out_h() const { return static_cast<size_t>(result.h); }
  size_t out_w() const { return static_cast<size_t>(result.w); }
  size_t elements() const { return kernel_h() * kernel_w() * group_channels(); }
  int64_t macs() const {
    return CountTaps(ys, xs) * result.n * result.c * static_cast<int64_t>(group_channels());
  }
  WeightRows Rows(const FileView& file) const;
  uint64_t WeightBytes(const FileView& file) const;

  const lbm::Conv& conv;
  const ArenaTensor& x;
  Window window;
  Shape result;
  BorderAxis ys, xs;  // outputs and valid taps along each axis
};

// Of some kind of weights and type of input, how its sums are computed.
struct ConvSum {
  int64_t most_elements;  // of a window
  int64_t (*lanes)(const OpView& view, const Kernels& kernels);
  PreparedOp (*prepare)(const OpView& view, const Kernels& kernels, ModelMemory& memory);
};
extern const ConvSum kBitsSum, kCodesSum, kFixedSum, kFloatSum, kGroupsSum, kFloatGroupsSum;

// Of codes of few bits: whether conv_planes.cc computes their sums faster than conv_codes.cc, and
// how.
bool PlanesAreFaster(const ConvView& c, const WeightRows& rows, const Kernels& kernels);
PreparedOp PreparePlanes(const OpView& view, const Kernels& kernels, ModelMemory& memory);

// What every run of a convolution starts from.
struct ConvState {
  const Kernels* kernels;
  Weights weights;
  Place x;
  Stages stages;
  size_t out_h, out_w;
  size_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
  size_t acc_stride;  // rows order: from one pixel's sums to the next's; lanes: one channel's
  size_t block;       // rows order: pixels at a time; lanes: rows at a time
  size_t acc_bytes;   // of the sums in the scratch; `between` of the stages lies behind them

  float* between(uint8_t* scratch) const {
    return reinterpret_cast<float*>(scratch + (stages.needs_between ? acc_bytes : 0));
  }
};

// What a kernel's packing makes of rows: those of a convolution, or part `part` of them. Widths
// that want the same share it. In `groups` equal runs of outputs each is packed apart, one behind
// the other.
Weights PackWeights(const ConvView& c, const WeightRows& rows, const Packing& packing,
                    ModelMemory& memory, int part = 0, size_t groups = 1);

// [y][x] -> [stride]: -zero times the sum of the weights over the valid taps, what codes that mean
// code - zero add to sums of codes.
const int32_t* const* const* ZeroBase(const ConvView& c, const WeightRows& rows, int32_t zero,
                                      size_t stride, Allocator& allocator);

// Of `rows` in so many groups, those of one.
inline WeightRows GroupOf(const WeightRows& rows, size_t group, size_t groups) {
  WeightRows own = rows;
  own.outputs = rows.outputs / groups;
  for (size_t i = 0; i < rows.planes; ++i)
    if (rows.plane[i] != nullptr)
      own.plane[i] =
          static_cast<const uint8_t*>(rows.plane[i]) + group * own.outputs * rows.row_bytes;
  return own;
}

// Output pixels [begin, end) of a row, which meet kernel columns [first, first + taps).
struct TapSegment {
  size_t begin, end, first, taps;
};
// The segments that a row of outputs falls into, where only valid taps are visited.
struct TapSegments {
  const TapSegment* list;
  size_t count;
};
TapSegments SegmentsOf(const ConvView& c, Allocator& allocator);

// Fills a state but for weights and kernels' own tables: the stages, and the block sizes for the
// order chosen, where a kernel makes `arrays` sums of each output. Scratch of
// prepared.scratch_bytes so far holds one of them and `between`.
ConvState PrepareConvState(const OpView& view, const ConvView& c, const Kernels& kernels,
                           bool lanes, ModelMemory& memory, PreparedOp* prepared,
                           size_t arrays = 1);

// Copies a state into the model's memory.
template <typename State>
const State* Keep(const State& state, Allocator& allocator) {
  State* kept = allocator.Take<State>(1);
  if (kept != nullptr) *kept = state;
  return kept;
}

// One output row after another: image, row in it, and how many more rows of `end - unit` follow in
// the same image.
struct RowPosition {
  size_t image, y, rows;
};
inline RowPosition RowAt(size_t unit, size_t end, size_t height) {
  const size_t y = unit % height;
  const size_t left = height - y;
  return {unit / height, y, left < end - unit ? left : end - unit};
}

}  // namespace lbrt
