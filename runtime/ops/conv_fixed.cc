// Fixed-point weights (1 to 3 signed 8-bit limbs) x u8 images: exact integers, rounded to f32 once.
//
// Padding is zeros in memory: blocks of image rows are copied, so the session's input stays dense.
#include "runtime/ops/copied_rows.h"

namespace lbrt {
namespace {

struct FixedConv : ConvState {
  CopiedRows copied;
};

// The frame of both orders: for each block of rows, copied first, block(image, y, rows, copy).
template <typename Block>
void RunBlocks(const FixedConv& s, const RunArguments& arguments, size_t begin, size_t end,
               Block block) {
  uint8_t* copy = arguments.scratch + s.copied.offset;
  for (size_t unit = begin; unit < end;) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    const size_t rows = at.rows < s.copied.block ? at.rows : s.copied.block;
    s.copied.Copy(at.y, rows, copy, [&](size_t y, uint8_t* to) {
      std::memcpy(to, arguments.arena + s.x.At(at.image, y, 0), s.copied.row_bytes);
    });
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
                s.kernels->fixed_point_lanes(s.copied.At(copy, row, 0, s.out_w), s.weights,
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
                  s.kernels->fixed_point_tile(s.copied.At(copy, row, x, pixels), s.weights, acc,
                                              s.acc_stride);
                  s.stages.RunRows(arguments.arena, n, first + row, x, pixels, nullptr, acc,
                                   s.acc_stride, s.between(arguments.scratch));
                }
            });
}

int64_t LanesGain(const OpView&, const Kernels&) { return 0; }

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const ConvView c(view);
  const bool lanes = RunsInLanes(view, kernels);
  PreparedOp prepared;
  FixedConv state = {};
  static_cast<ConvState&>(state) = PrepareConvState(view, c, kernels, lanes, memory, &prepared);
  state.weights = PackWeights(
      c, c.Rows(view.file), lanes ? kernels.pack_fixed_point_lanes : kernels.pack_fixed_point_tile,
      memory);
  state.copied = PrepareCopiedRows(c, lanes ? state.block : kRowsPerCopy, &prepared);

  prepared.run = lanes ? RunLanes : RunTiles;
  prepared.kernel = lanes ? "fixed_point_lanes" : "fixed_point_tile";
  prepared.why = lanes ? "what follows works on vectors of pixels" : "panels of output channels";
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, 50'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

const ConvSum kFixedSum = {kMaxFixedPointElements, LanesGain, Prepare};

}  // namespace lbrt
