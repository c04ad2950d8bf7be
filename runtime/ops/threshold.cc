// threshold: code = how many of the channel's ascending thresholds are <= x. A quantizer of any
// steps, exact where an affine and a rounding are not.
//
//   in   x  f32 [n h w c]
//   out  y  codes [n h w c]
#include "runtime/ops/conv.h"
#include "runtime/ops/thresholds.h"

namespace lbrt {
namespace {

Refusal Check(const OpView& view) {
  const lbm::Threshold& op = *view.op().body_as_Threshold();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, op.input(), &x)) return r;
  if (x->type != lbm::TensorType::F32) return {"threshold wants an f32 input"};
  if (Refusal r = CheckThresholds(view.file, op.thresholds(), op.levels(), x->shape.c)) return r;
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
  Thresholds thresholds;
  size_t channels;
  const Kernels* kernels;
};

void Run(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out.height);
    CountThresholds(*s.kernels, s.thresholds,
                    reinterpret_cast<const float*>(arguments.arena + s.in.At(at.image, at.y, 0)),
                    s.out.width, s.channels, s.in.pixel / sizeof(float),
                    arguments.arena + s.out.At(at.image, at.y, 0), s.out.pixel);
    ZeroRing(arguments.arena, s.out, at.image, at.y);
  }
}

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const lbm::Threshold& op = *view.op().body_as_Threshold();
  const ArenaTensor& x = view.tensors[op.input()];
  State state = {};
  state.in = PlaceOf(x);
  state.out = PlaceOf(view.tensors[op.output()]);
  state.thresholds = ThresholdsOf(view.file, *op.thresholds(), op.levels());
  state.channels = static_cast<size_t>(x.shape.c);
  state.kernels = &kernels;

  PreparedOp prepared;
  const bool counts = op.levels() <= kMostCounted;
  prepared.run = Run;
  prepared.kernel = counts ? "threshold_f32" : "search";
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
