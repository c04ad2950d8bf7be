// Written out on a CPU, where it is one pass forward and one backward instead of four and three.
#include <ATen/Parallel.h>

#include <limits>

#include "trainer/quantizers.h"
#include "trainer/quantizers/straight_through.h"

namespace lbrt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

constexpr int64_t kGrain = 1 << 15;

// The reference multiplies by the levels where the range is [0, 1] and divides by the step in HWGQ.
struct Rounding {
  double step, top;
  int levels;
  bool unit;  // top == 1
};

// 0 <= x < 2^22 to the nearest integer, ties to even: next to this number there are integers only.
// std::nearbyint is a call for each element where SSE4.1 may not be taken for granted.
template <typename T>
T Round(T x) {
  constexpr T kIntegersOnly = T{1.5} / std::numeric_limits<T>::epsilon();
  return (x + kIntegersOnly) - kIntegersOnly;
}

template <typename T>
void Forward(const T* x, int64_t n, const Rounding& r, T* codes) {
  const T top = static_cast<T>(r.top), step = static_cast<T>(r.step);
  const T levels = static_cast<T>(r.levels);
  const auto clip = [&](T v) { return std::min(std::max(v, T{0}), top); };
  if (r.unit)
    for (int64_t i = 0; i < n; ++i) codes[i] = Round(clip(x[i]) * levels);
  else
    for (int64_t i = 0; i < n; ++i) codes[i] = Round(clip(x[i]) / step);
}

template <typename T>
void Backward(const T* x, const T* grad, int64_t n, const Rounding& r, T* out) {
  const T top = static_cast<T>(r.top);
  const T slope = static_cast<T>(r.unit ? r.levels : 1 / r.step);
  for (int64_t i = 0; i < n; ++i) {  // no branch, so that the loop vectorises
    const T factor = (x[i] >= 0) & (x[i] <= top) ? slope : T{0};
    out[i] = grad[i] * factor;
  }
}

struct ClippedRoundFunction : Function<ClippedRoundFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, double step,
                            int64_t levels) {
    const Rounding r = {step, levels * step, static_cast<int>(levels), step == 1.0 / levels};
    const at::Tensor x = input.contiguous(input.suggest_memory_format());
    const at::Tensor codes = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "clipped_round", [&] {
      const scalar_t* in = x.data_ptr<scalar_t>();
      scalar_t* out = codes.data_ptr<scalar_t>();
      at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
        Forward(in + begin, end - begin, r, out + begin);
      });
    });
    context->save_for_backward({x});
    context->saved_data["step"] = step;
    context->saved_data["levels"] = levels;
    return codes;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const at::Tensor x = context->get_saved_variables()[0];
    const double step = context->saved_data["step"].toDouble();
    const int64_t levels = context->saved_data["levels"].toInt();
    const Rounding r = {step, levels * step, static_cast<int>(levels), step == 1.0 / levels};
    const at::Tensor g = grads[0].contiguous(x.suggest_memory_format());
    const at::Tensor dx = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "clipped_round_backward", [&] {
      const scalar_t* in = x.data_ptr<scalar_t>();
      const scalar_t* grad = g.data_ptr<scalar_t>();
      scalar_t* out = dx.data_ptr<scalar_t>();
      at::parallel_for(0, x.numel(), kGrain, [&](int64_t begin, int64_t end) {
        Backward(in + begin, grad + begin, end - begin, r, out + begin);
      });
    });
    return {dx, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor ClippedRound(const at::Tensor& x, double step, int levels) {
  if (!x.is_cpu()) return ClippedRoundComposed(x, step, levels);
  return ClippedRoundFunction::apply(x, step, static_cast<int64_t>(levels));
}

at::Tensor ClippedRoundComposed(const at::Tensor& x, double step, int levels) {
  const bool unit = step == 1.0 / levels;
  const at::Tensor clipped = Clip(x, 0, levels * step);
  const at::Tensor plain = clipped.detach();
  return StraightThrough::apply(clipped, (unit ? plain * levels : plain / step).round_(),
                                ScalarLike(x, unit ? levels : 1 / step));
}

at::Tensor Clip(const at::Tensor& x, double low, double high) {
  const at::Tensor plain = x.detach();
  return StraightThrough::apply(x, plain.clamp(low, high),
                                plain.ge(low).logical_and_(plain.le(high)));
}

}  // namespace lbrt
