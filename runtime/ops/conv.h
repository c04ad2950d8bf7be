// What the kinds of convolution share. conv.cc checks them all; conv_bits.cc, conv_float.cc and
// conv_fixed.cc prepare and run them.
#pragma once

#include "runtime/ops/checks.h"
#include "runtime/ops/stages.h"

namespace lbrt {

// Of convolutions, either side; bounds the number of border classes.
inline constexpr int kMaxKernel = 16;

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
  size_t out_h() const { return static_cast<size_t>(result.h); }
  size_t out_w() const { return static_cast<size_t>(result.w); }
  size_t elements() const { return kernel_h() * kernel_w() * in_channels(); }
  int64_t macs() const { return CountTaps(ys, xs) * result.n * x.shape.c * result.c; }
  WeightRows Rows(const FileView& file) const;
  uint64_t WeightBytes(const FileView& file) const;

  const lbm::Conv& conv;
  const ArenaTensor& x;
  Window window;
  Shape result;
  BorderAxis ys, xs;  // outputs and valid taps along each axis
};

// Bytes of one output channel in each plane of the file.
int64_t WeightRowBytes(lbm::WeightKind kind, int64_t elements);

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
    return reinterpret_cast<float*>(scratch + (stages.needs_between() ? acc_bytes : 0));
  }
};

// Fills a state but for kernels' own tables, and the block sizes for the order chosen. Scratch of
// prepared.scratch_bytes so far holds sums and `between`.
ConvState PrepareConvState(const OpView& view, const ConvView& c, const Kernels& kernels,
                           const Packing& packing, bool lanes, ModelMemory& memory,
                           PreparedOp* prepared);

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

int64_t BitsConvLanesGain(const OpView& view, const Kernels& kernels);
PreparedOp PrepareBitsConv(const OpView& view, const Kernels& kernels, ModelMemory& memory);
PreparedOp PrepareFloatConv(const OpView& view, const Kernels& kernels, ModelMemory& memory);
PreparedOp PrepareFixedConv(const OpView& view, const Kernels& kernels, ModelMemory& memory);

}  // namespace lbrt
