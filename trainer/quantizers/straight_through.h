// The estimator that most quantizers share: forward the codes, backward the gradient times a slope.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

namespace lbrt {

struct StraightThrough : torch::autograd::Function<StraightThrough> {
  // d codes / d x = slope (broadcast to x).
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& /*x*/,
                            const at::Tensor& codes, const at::Tensor& slope) {
    context->save_for_backward({slope});
    return codes;
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               const torch::autograd::tensor_list& grads) {
    return {grads[0] * context->get_saved_variables()[0], at::Tensor(), at::Tensor()};
  }
};

// Codes of which codes * scale is the value, with the identity as the value's gradient.
inline at::Tensor IdentityGradient(const at::Tensor& x, const at::Tensor& codes,
                                   const at::Tensor& scale) {
  return StraightThrough::apply(x, codes, scale.reciprocal());
}

inline at::Tensor ScalarLike(const at::Tensor& x, double value) {
  return at::scalar_tensor(value, x.options().requires_grad(false));
}

}  // namespace lbrt
