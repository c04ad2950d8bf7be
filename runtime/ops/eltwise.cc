// eltwise: y = stages(x): an epilogue standing alone.
//
//   in   x     f32 [n h w c]
//   in   adds  f32 [n h w c] (stages)
//   out  y     f32 and bits [n h w c] (stages)
#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

Refusal Check(const OpView& view) {
  const lbm::Eltwise& eltwise = *view.op().body_as_Eltwise();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, eltwise.input(), &x)) return r;
  if (x->type != lbm::TensorType::F32) return {"eltwise wants an f32 input"};
  return CheckStages(view, *eltwise.stages(), x->shape, 0);
}

int64_t LanesGain(const OpView& view, const Kernels&) {
  const lbm::Eltwise& eltwise = *view.op().body_as_Eltwise();
  return view.tensors[eltwise.input()].shape.c <= kMostLanesChannels ? 0 : kNoLanes;
}

struct State {
  Place x;
  Stages stages;
  size_t height, width, block;  // block: pixels, or rows, at a time
};

void RunRows(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.height);
    for (size_t x = 0; x < s.width; x += s.block) {
      const size_t pixels = s.width - x < s.block ? s.width - x : s.block;
      s.stages.RunRows(arguments.arena, at.image, at.y, x, pixels, nullptr,
                       reinterpret_cast<const float*>(arguments.arena + s.x.At(at.image, at.y, x)),
                       s.x.pixel / sizeof(float), reinterpret_cast<float*>(arguments.scratch));
    }
    s.stages.FinishRow(arguments.arena, at.image, at.y);
  }
}

void RunLanes(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  for (size_t unit = begin; unit < end;) {
    const RowPosition at = RowAt(unit, end, s.height);
    const size_t rows = at.rows < s.block ? at.rows : s.block;
    s.stages.RunLanes(arguments.arena, at.image, at.y, rows, nullptr,
                      reinterpret_cast<const float*>(arguments.arena + s.x.At(at.image, at.y, 0)),
                      s.x.plane / sizeof(float), reinterpret_cast<float*>(arguments.scratch));
    for (size_t y = at.y; y < at.y + rows; ++y) s.stages.FinishRow(arguments.arena, at.image, y);
    unit += rows;
  }
}

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const lbm::Eltwise& eltwise = *view.op().body_as_Eltwise();
  const ArenaTensor& x = view.tensors[eltwise.input()];
  const bool lanes = RunsInLanes(view, kernels);
  const BorderAxis no_border(1, 1, 1, 0, 0);
  State state = {};
  state.x = PlaceOf(x);
  state.height = static_cast<size_t>(x.shape.h);
  state.width = static_cast<size_t>(x.shape.w);
  state.stages = PrepareStages(view, *eltwise.stages(), x.shape, lanes, no_border, no_border,
                               kernels, memory.allocator);
  const size_t channels = static_cast<size_t>(x.shape.c);
  const size_t unit_bytes = channels * sizeof(float) * (lanes ? state.width : 1);
  const size_t most = lanes ? state.height : state.width;
  state.block = kScratchTarget / unit_bytes;
  if (state.block < 1) state.block = 1;
  if (state.block > most) state.block = most;

  PreparedOp prepared;
  // Lanes: `between` has the input's strides, so planes of the whole image; a block of rows of
  // each is used.
  if (state.stages.needs_between())
    prepared.scratch_bytes = lanes ? static_cast<uint64_t>(x.shape.h) * x.shape.w * x.shape.c * 4
                                   : uint64_t{state.block} * unit_bytes;
  prepared.units = static_cast<size_t>(x.shape.n) * state.height;
  prepared.run = lanes ? RunLanes : RunRows;
  prepared.kernel = lanes ? "epilogue_lanes" : "epilogue_rows";
  prepared.precision = "f32";
  prepared.why = "no convolution before it to do this in its epilogue";
  prepared.most_tasks = TasksFor(prepared.units, x.shape.elements(), 2'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

const OpDef kEltwise = {"eltwise", Check, LanesGain, Prepare};

}  // namespace lbrt
