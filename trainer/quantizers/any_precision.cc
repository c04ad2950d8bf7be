#include "trainer/quantizers.h"
#include "trainer/quantizers/straight_through.h"
#ifdef LBRT_CUDA
#include "trainer/cuda/functions.h"
#endif

namespace lbrt {

#ifdef LBRT_CUDA
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

struct WeightsOnDevice : Function<WeightsOnDevice> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& input, int64_t bits,
                             bool truncating) {
    const at::Tensor weight = input.is_non_overlapping_and_dense() ? input : input.contiguous();
    const cuda::Codes result =
        cuda::AnyPrecisionWeightsForward(weight, static_cast<int>(bits), truncating);
    context->save_for_backward({weight, result.largest});
    context->saved_data["bits"] = bits;
    context->saved_data["truncating"] = truncating;
    context->mark_non_differentiable({result.scale});
    return {result.codes, result.scale};
  }
  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const tensor_list saved = context->get_saved_variables();
    at::Tensor grad = grads[0];
    if (grad.strides() != saved[0].strides()) grad = at::empty_like(saved[0]).copy_(grad);
    return {cuda::AnyPrecisionWeightsBackward(
                grad, saved[0], saved[1], static_cast<int>(context->saved_data["bits"].toInt()),
                context->saved_data["truncating"].toBool()),
            at::Tensor(), at::Tensor()};
  }
};

}  // namespace
#endif

Quantized AnyPrecisionWeights(const at::Tensor& weight, int bits, bool truncating) {
#ifdef LBRT_CUDA
  if (weight.is_cuda()) {
    const tensor_list results =
        WeightsOnDevice::apply(weight, static_cast<int64_t>(bits), truncating);
    return {results[0], results[1]};
  }
#endif
  const at::Tensor mean = weight.detach().abs().mean();
  const at::Tensor t = weight.tanh();
  const at::Tensor largest = t.abs().max();
  if (bits == 32) return {t / largest, mean};
  const at::Tensor u = t / 2 / largest + 0.5;
  const int levels = (1 << bits) - 1;
  const at::Tensor plain = u.detach();
  const at::Tensor q = truncating ? (plain * (1 << bits)).floor_().clamp_max_(levels)
                                  : (plain * levels).round_();
  const at::Tensor codes =
      StraightThrough::apply(u, q.mul_(2).sub_(levels), ScalarLike(u, 2.0 * levels));
  return {codes, mean / levels};
}

}  // namespace lbrt
