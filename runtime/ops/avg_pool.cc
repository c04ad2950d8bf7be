// avg_pool: y = fl32(1 / taps) * (ordered sum of the window's valid taps), taps counting padding
// too, or that sum itself; zero channels before and behind.
//
//   in   x  f32 [n h w c]
//   out  y  f32 [n oh ow before + c + after]
#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

Refusal Check(const OpView& view) {
  const lbm::AvgPool& pool = *view.op().body_as_AvgPool();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, pool.input(), &x)) return r;
  if (x->type != lbm::TensorType::F32) return {"avg_pool wants an f32 input"};
  const int64_t channels = int64_t{pool.pad_before()} + x->shape.c + pool.pad_after();
  Shape result;
  if (Refusal r = CheckWindow(*pool.window(), kMaxPoolKernel, x->shape, channels, &result))
    return r;
  return MakeTensor(view, pool.output(), lbm::TensorType::F32, result);
}

OpTensors Tensors(const lbm::Op& op, const ArenaTensor*) {
  const lbm::AvgPool& pool = *op.body_as_AvgPool();
  OpTensors tensors;
  tensors.AddRead(pool.input()).dense = true;
  tensors.AddMade(pool.output()).dense = true;
  return tensors;
}

int64_t LanesGain(const OpView&, const Kernels&) { return 0; }

struct State {
  AveragePool pool;  // but for the pointers
  void (*run)(const AveragePool& pool);
  Place in, out;
};

void Run(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  AveragePool pool = s.pool;
  for (size_t image = begin; image < end; ++image) {
    pool.in = reinterpret_cast<const float*>(arguments.arena + s.in.At(image, 0, 0));
    pool.out = reinterpret_cast<float*>(arguments.arena + s.out.At(image, 0, 0));
    s.run(pool);
  }
}

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const lbm::AvgPool& from = *view.op().body_as_AvgPool();
  const ArenaTensor& x = view.tensors[from.input()];
  const ArenaTensor& y = view.tensors[from.output()];
  const bool lanes = RunsInLanes(view, kernels);
  State state = {};
  state.pool.height = static_cast<size_t>(x.shape.h);
  state.pool.width = static_cast<size_t>(x.shape.w);
  state.pool.channels = static_cast<size_t>(x.shape.c);
  state.pool.window = ToWindow(*from.window());
  state.pool.scale = from.sum() ? 1.0f : 1.0f / static_cast<float>(state.pool.window.taps());
  state.pool.before = from.pad_before();
  state.pool.after = from.pad_after();
  state.run = lanes ? kernels.average_pool_lanes : kernels.average_pool_rows;
  state.in = PlaceOf(x);
  state.out = PlaceOf(y);

  PreparedOp prepared;
  prepared.units = static_cast<size_t>(x.shape.n);
  prepared.run = Run;
  prepared.kernel = lanes ? "average_pool_lanes" : "average_pool_rows";
  prepared.precision = "f32";
  prepared.why = lanes ? "vectors of pixels, as its input lies" : "vectors of channels";
  prepared.macs = CountTaps(BorderRows(state.pool.window, x.shape.h),
                            BorderColumns(state.pool.window, x.shape.w)) *
                  x.shape.n * x.shape.c;
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, 2'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

extern const OpDef kAvgPool = {"avg_pool", Check, Tensors, LanesGain, Prepare};

}  // namespace lbrt
