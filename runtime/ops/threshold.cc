// threshold: code = how many of the channel's ascending thresholds are <= x. A quantizer of any
// steps, exact where an affine and a rounding are not.
//
//   in   x  f32 [n h w c]
//   out  y  codes [n h w c]
#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

Refusal CheckThresholds(const FileView& file, const lbm::Threshold& op, int64_t channels) {
  const lbm::Floats* list = op.thresholds();
  if (op.levels() < 1) return {"thresholds of no level", 1, 0};
  if (list == nullptr) return {"a threshold op without thresholds"};
  const int64_t all = channels * op.levels();
  if (list->count() != all && list->count() != op.levels())
    return {"not one threshold for each level and channel", all, list->count()};
  if (Refusal r = CheckFiniteFloats(file, list->segment(), list->offset(), list->count())) return r;
  const auto* t = reinterpret_cast<const float*>(file.data(list->segment()) + list->offset());
  const uint32_t row = list->count() / op.levels();
  for (uint32_t i = row; i < list->count(); ++i)
    if (t[i] < t[i - row]) return {"the thresholds of a channel do not ascend"};
  return {};
}

Refusal Check(const OpView& view) {
  const lbm::Threshold& op = *view.op().body_as_Threshold();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, op.input(), &x)) return r;
  if (x->type != lbm::TensorType::F32) return {"threshold wants an f32 input"};
  if (Refusal r = CheckThresholds(view.file, op, x->shape.c)) return r;
  return MakeTensor(view, op.output(), lbm::TensorType::Codes, x->shape, op.levels());
}

OpTensors Tensors(const lbm::Op& op, const ArenaTensor*) {
  const lbm::Threshold& threshold = *op.body_as_Threshold();
  OpTensors tensors;
  tensors.AddRead(threshold.input());
  tensors.AddMade(threshold.output());
  return tensors;
}

int64_t LanesGain(const OpView&, const Kernels&) { return kNoLanes; }

struct State {
  Place in, out;
  const float* thresholds;
  size_t row;  // from one level's thresholds to the next's: channels, or 1
  size_t channels, levels;
};

// A level after the other over all channels, which compilers make vectors of.
void CountLevels(const State& s, const float* x, uint8_t* codes) {
  for (size_t c = 0; c < s.channels; ++c) codes[c] = 0;
  const float* t = s.thresholds;
  for (size_t level = 0; level < s.levels; ++level, t += s.row) {
    if (s.row == 1)
      for (size_t c = 0; c < s.channels; ++c)
        codes[c] = static_cast<uint8_t>(codes[c] + (x[c] >= *t ? 1 : 0));
    else
      for (size_t c = 0; c < s.channels; ++c)
        codes[c] = static_cast<uint8_t>(codes[c] + (x[c] >= t[c] ? 1 : 0));
  }
}

// Halving: eight comparisons at most.
void SearchLevels(const State& s, const float* x, uint8_t* codes) {
  for (size_t c = 0; c < s.channels; ++c) {
    const float* t = s.thresholds + (s.row == 1 ? 0 : c);
    size_t code = 0;
    for (size_t step = 128; step > 0; step /= 2)
      if (code + step <= s.levels && x[c] >= t[(code + step - 1) * s.row]) code += step;
    codes[c] = static_cast<uint8_t>(code);
  }
}

template <void (*kPixel)(const State& s, const float* x, uint8_t* codes)>
void Run(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out.height);
    for (size_t x = 0; x < s.out.width; ++x)
      kPixel(s, reinterpret_cast<const float*>(arguments.arena + s.in.At(at.image, at.y, x)),
             arguments.arena + s.out.At(at.image, at.y, x));
    ZeroRing(arguments.arena, s.out, at.image, at.y);
  }
}

PreparedOp Prepare(const OpView& view, const Kernels&, ModelMemory& memory) {
  constexpr size_t kMostCounted = 31;  // levels; beyond, halving is faster
  const lbm::Threshold& op = *view.op().body_as_Threshold();
  const ArenaTensor& x = view.tensors[op.input()];
  State state = {};
  state.in = PlaceOf(x);
  state.out = PlaceOf(view.tensors[op.output()]);
  state.thresholds = reinterpret_cast<const float*>(view.file.data(op.thresholds()->segment()) +
                                                    op.thresholds()->offset());
  state.channels = static_cast<size_t>(x.shape.c);
  state.levels = op.levels();
  state.row = op.thresholds()->count() / op.levels();

  PreparedOp prepared;
  const bool counts = state.levels <= kMostCounted;
  prepared.run = counts ? Run<CountLevels> : Run<SearchLevels>;
  prepared.kernel = counts ? "count" : "search";
  prepared.why = counts ? "few levels: all are compared" : "many levels: halving";
  prepared.precision = "f32";
  prepared.units = static_cast<size_t>(x.shape.n) * state.out.height;
  prepared.most_tasks = TasksFor(prepared.units, x.shape.elements(), 500);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

extern const OpDef kThreshold = {"threshold", Check, Tensors, LanesGain, Prepare};

}  // namespace lbrt
