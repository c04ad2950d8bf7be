// Fixed-point weights (1 to 3 signed 8-bit limbs) x u8 images: exact integers, rounded to f32 once.
//
// Padding is zeros in memory: blocks of image rows are copied into the scratch with a margin (an
// image is small beside what is computed from it), so the session's input stays dense.
#include <cstring>

#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

struct FixedConv : ConvState {
  size_t height, row_bytes;          // of x
  size_t margin_left, margin_right;  // bytes before and behind a row's in the copy
  size_t copy_row;                   // bytes
  size_t block_rows;                 // output rows per copy
  size_t copy_offset;                // in the scratch
  size_t channels;
};

// The input rows of `rows` output rows from y, padding included.
void CopyRows(const FixedConv& s, const uint8_t* image, size_t y, size_t rows, uint8_t* copy) {
  const size_t count = (rows - 1) * s.stride_h + s.kernel_h;
  for (size_t i = 0; i < count; ++i, copy += s.copy_row) {
    const size_t padded = y * s.stride_h + i;  // counted from the first padding row
    if (padded < s.pad_top || padded - s.pad_top >= s.height) {
      std::memset(copy, 0, s.copy_row);
      continue;
    }
    std::memset(copy, 0, s.margin_left);
    std::memcpy(copy + s.margin_left, image + (padded - s.pad_top) * s.row_bytes, s.row_bytes);
    std::memset(copy + s.margin_left + s.row_bytes, 0, s.margin_right);
  }
}

// Pixels [x, x + pixels) of output row `row` of the copied block.
Windows<uint8_t> CopiedWindows(const FixedConv& s, const uint8_t* copy, size_t row, size_t x,
                               size_t pixels) {
  Windows<uint8_t> in;
  in.first = copy + row * s.stride_h * s.copy_row + x * s.stride_w * s.channels;
  in.rows = pixels;
  in.step = s.stride_w * s.channels;
  in.runs = s.kernel_h;
  in.run = s.kernel_w * s.channels;
  in.run_stride = s.copy_row;
  return in;
}

// The frame of both orders: for each block of rows, copied first, sums_of_rows(image, y, rows,
// copy).
template <typename Block>
void RunBlocks(const FixedConv& s, const RunArguments& arguments, size_t begin, size_t end,
               Block block) {
  uint8_t* copy = arguments.scratch + s.copy_offset;
  for (size_t unit = begin; unit < end;) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    const size_t rows = at.rows < s.block_rows ? at.rows : s.block_rows;
    CopyRows(s, arguments.arena + s.x.At(at.image, 0, 0), at.y, rows, copy);
    block(at.image, at.y, rows, copy);
    for (size_t y = at.y; y < at.y + rows; ++y) s.stages.FinishRow(arguments.arena, at.image, y);
    unit += rows;
  }
}

void RunLanes(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const FixedConv*>(state);
  auto* acc = reinterpret_cast<float*>(arguments.scratch);
  RunBlocks(s, arguments, begin, end,
            [&](size_t n, size_t first, size_t rows, const uint8_t* copy) {
              for (size_t row = 0; row < rows; ++row)
                s.kernels->fixed_point_lanes(CopiedWindows(s, copy, row, 0, s.out_w), s.weights,
                                             acc + row * s.out_w, s.acc_stride);
              s.stages.RunLanes(arguments.arena, n, first, rows, nullptr, acc, s.acc_stride,
                                s.between(arguments.scratch));
            });
}

void RunTiles(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const FixedConv*>(state);
  auto* acc = reinterpret_cast<float*>(arguments.scratch);
  RunBlocks(s, arguments, begin, end,
            [&](size_t n, size_t first, size_t rows, const uint8_t* copy) {
              for (size_t row = 0; row < rows; ++row)
                for (size_t x = 0; x < s.out_w; x += s.block) {
                  const size_t pixels = s.out_w - x < s.block ? s.out_w - x : s.block;
                  s.kernels->fixed_point_tile(CopiedWindows(s, copy, row, x, pixels), s.weights,
                                              acc, s.acc_stride);
                  s.stages.RunRows(arguments.arena, n, first + row, x, pixels, nullptr, acc,
                                   s.acc_stride, s.between(arguments.scratch));
                }
            });
}

}  // namespace

PreparedOp PrepareFixedConv(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const ConvView c(view);
  const bool lanes = RunsInLanes(view, kernels);
  PreparedOp prepared;
  FixedConv state = {};
  static_cast<ConvState&>(state) = PrepareConvState(
      view, c, kernels, lanes ? kernels.pack_fixed_point_lanes : kernels.pack_fixed_point_tile,
      lanes, memory, &prepared);
  state.channels = c.in_channels();
  state.height = static_cast<size_t>(c.x.shape.h);
  state.row_bytes = static_cast<size_t>(c.x.shape.w) * state.channels;
  state.margin_left = state.pad_left * state.channels;
  state.margin_right = static_cast<size_t>(c.window.pad_right) * state.channels;
  state.copy_row = state.margin_left + state.row_bytes + state.margin_right;
  // Several rows a copy, since neighbours share most of their input; not more than helps.
  constexpr size_t kRowsPerCopy = 8;
  state.block_rows = lanes ? state.block : kRowsPerCopy;
  if (state.block_rows > state.out_h) state.block_rows = state.out_h;
  state.copy_offset = static_cast<size_t>(prepared.scratch_bytes);
  prepared.scratch_bytes +=
      uint64_t{(state.block_rows - 1) * state.stride_h + state.kernel_h} * state.copy_row;

  constexpr const char* kPrecision[] = {"i8xu8", "i16xu8", "i24xu8"};
  prepared.precision = kPrecision[state.weights.rows.planes - 1];
  prepared.run = lanes ? RunLanes : RunTiles;
  prepared.kernel = lanes ? "fixed_point_lanes" : "fixed_point_tile";
  prepared.why = lanes ? "what follows works on vectors of pixels" : "panels of output channels";
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, 50'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace lbrt
