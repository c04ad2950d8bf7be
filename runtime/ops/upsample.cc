// upsample: every pixel factor_h x factor_w times.
//
//   in   x  f32, bits or codes [n h w c]
//   out  y  the same type [n h * factor_h w * factor_w c]
#include <cstring>

#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

constexpr int32_t kMostFactor = 64;

Refusal Check(const OpView& view) {
  const lbm::Upsample& op = *view.op().body_as_Upsample();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, op.input(), &x)) return r;
  if (x->type == lbm::TensorType::U8) return {"upsample wants f32, bits or codes"};
  for (const int32_t factor : {int32_t{op.factor_h()}, int32_t{op.factor_w()}})
    if (factor < 1 || factor > kMostFactor)
      return {"a factor is out of range", kMostFactor, factor};
  // Before the product of the sides: a tensor has 2^28 elements at most.
  if (x->shape.elements() * op.factor_h() * op.factor_w() > kMaxElements)
    return {"the result is too large", kMaxElements, -1};
  return MakeTensor(view, op.output(), x->type,
                    {x->shape.n, x->shape.h * op.factor_h(), x->shape.w * op.factor_w(),
                     x->shape.c},
                    x->levels);
}

OpTensors Tensors(const lbm::Op& op, const ArenaTensor*) {
  const lbm::Upsample& upsample = *op.body_as_Upsample();
  OpTensors tensors;
  tensors.AddRead(upsample.input());
  tensors.AddMade(upsample.output());
  return tensors;
}

int64_t LanesGain(const OpView&, const Kernels&) { return kNoLanes; }

struct State {
  Place in, out;
  size_t factor_h, factor_w;
};

void Run(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out.height);
    const uint8_t* from = arguments.arena + s.in.At(at.image, at.y / s.factor_h, 0);
    uint8_t* to = arguments.arena + s.out.At(at.image, at.y, 0);
    for (size_t x = 0; x < s.in.width; ++x, from += s.in.pixel)
      for (size_t i = 0; i < s.factor_w; ++i, to += s.out.pixel)
        std::memcpy(to, from, s.in.pixel);
    ZeroRing(arguments.arena, s.out, at.image, at.y);
  }
}

PreparedOp Prepare(const OpView& view, const Kernels&, ModelMemory& memory) {
  const lbm::Upsample& op = *view.op().body_as_Upsample();
  const ArenaTensor& y = view.tensors[op.output()];
  State state = {};
  state.in = PlaceOf(view.tensors[op.input()]);
  state.out = PlaceOf(y);
  state.factor_h = op.factor_h();
  state.factor_w = op.factor_w();

  PreparedOp prepared;
  prepared.run = Run;
  prepared.kernel = "repeat";
  prepared.why = "whole pixels";
  prepared.precision = ActivationText(y);
  prepared.units = static_cast<size_t>(y.shape.n) * state.out.height;
  prepared.most_tasks =
      TasksFor(prepared.units, y.shape.pixels() * static_cast<int64_t>(state.out.pixel), 4'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

extern const OpDef kUpsample = {"upsample", Check, Tensors, LanesGain, Prepare};

}  // namespace lbrt
