// eltwise: y = stages(x): an epilogue standing alone. Bits and codes become f32 in the scratch.
//
//   in   x     f32, bits or codes [n h w c]
//   in   adds  f32 [n h w c] (stages)
//   out  y     f32, bits and codes [n h w c] (stages)
#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

Refusal Check(const OpView& view) {
  const lbm::Eltwise& eltwise = *view.op().body_as_Eltwise();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, eltwise.input(), &x)) return r;
  if (x->type == lbm::TensorType::U8) return {"eltwise wants f32, bits or codes"};
  return CheckStages(view, *eltwise.stages(), x->shape, 0, false);
}

OpTensors Tensors(const lbm::Op& op, const ArenaTensor*) {
  const lbm::Eltwise& eltwise = *op.body_as_Eltwise();
  OpTensors tensors;
  tensors.AddRead(eltwise.input()).heir = eltwise.stages()->Get(0)->out_f32();
  AddTensors(*eltwise.stages(), &tensors);
  return tensors;
}

int64_t LanesGain(const OpView& view, const Kernels&) {
  const lbm::Eltwise& eltwise = *view.op().body_as_Eltwise();
  const ArenaTensor& x = view.tensors[eltwise.input()];
  const bool possible = x.type == lbm::TensorType::F32 && x.shape.c <= kMostLanesChannels &&
                        StagesKnowLanes(*eltwise.stages());
  return possible ? 0 : kNoLanes;
}

struct State {
  Place x;
  Stages stages;
  size_t height, width, block;  // block: pixels, or rows, at a time
  size_t between_offset;        // in the scratch
};

void DecodeBits(const uint8_t* pixel, size_t channels, float* values) {
  for (size_t c = 0; c < channels; ++c)
    values[c] = (pixel[c / 8] >> (c % 8)) & 1 ? 1.0f : -1.0f;
}
void DecodeCodes(const uint8_t* pixel, size_t channels, float* values) {
  for (size_t c = 0; c < channels; ++c) values[c] = pixel[c];
}

template <void (*kDecode)(const uint8_t* pixel, size_t channels, float* values)>
void RunDecoded(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  const size_t channels = s.stages.channels;
  auto* values = reinterpret_cast<float*>(arguments.scratch);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.height);
    for (size_t x = 0; x < s.width; x += s.block) {
      const size_t pixels = s.width - x < s.block ? s.width - x : s.block;
      const uint8_t* from = arguments.arena + s.x.At(at.image, at.y, x);
      for (size_t i = 0; i < pixels; ++i)
        kDecode(from + i * s.x.pixel, channels, values + i * channels);
      s.stages.RunRows(arguments.arena, at.image, at.y, x, pixels, nullptr, values, channels,
                       reinterpret_cast<float*>(arguments.scratch + s.between_offset));
    }
    s.stages.FinishRow(arguments.arena, at.image, at.y);
  }
}

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
  state.stages = PrepareStages(view, *eltwise.stages(), x.shape, lanes, false, no_border,
                               no_border, kernels, memory.allocator);
  const size_t channels = static_cast<size_t>(x.shape.c);
  const size_t unit_bytes = channels * sizeof(float) * (lanes ? state.width : 1);
  const size_t most = lanes ? state.height : state.width;
  state.block = kScratchTarget / unit_bytes;
  if (state.block < 1) state.block = 1;
  if (state.block > most) state.block = most;

  PreparedOp prepared;
  if (x.type != lbm::TensorType::F32) prepared.scratch_bytes = uint64_t{state.block} * unit_bytes;
  state.between_offset = static_cast<size_t>(prepared.scratch_bytes);
  // Lanes: `between` has the input's strides, so planes of the whole image; a block of rows of
  // each is used.
  if (state.stages.needs_between)
    prepared.scratch_bytes += lanes ? static_cast<uint64_t>(x.shape.h) * x.shape.w * x.shape.c * 4
                                    : uint64_t{state.block} * unit_bytes;
  prepared.units = static_cast<size_t>(x.shape.n) * state.height;
  switch (x.type) {
    case lbm::TensorType::Bits: prepared.run = RunDecoded<DecodeBits>; break;
    case lbm::TensorType::Codes: prepared.run = RunDecoded<DecodeCodes>; break;
    default: prepared.run = lanes ? RunLanes : RunRows;
  }
  prepared.kernel = lanes ? "epilogue_lanes" : "epilogue_rows";
  prepared.precision = ActivationText(x);
  prepared.why = "no convolution before it to do this in its epilogue";
  prepared.most_tasks = TasksFor(prepared.units, x.shape.elements(), 2'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

extern const OpDef kEltwise = {"eltwise", Check, Tensors, LanesGain, Prepare};

}  // namespace lbrt
