// The quantizers of training, as differentiable functions of LibTorch tensors (float32 or float64).
// sign has three values here, sign(0) = 0, as in the published code; in a converted model 0 becomes
// +1 (design.md section 2).
#pragma once

#include <ATen/core/Tensor.h>

namespace lbrt {

// ReCU's weights (methods.md 4.1): alpha_o * sign(clip(w1, -Q, Q)), where w1 is W without its
// channel's mean, divided by its channel's standard deviation / (2 sqrt 2), and Q the tau-quantile
// of |w1| over the whole tensor, a plain number. The gradient passes sign unchanged, is 0 where the
// clip acts, and flows through mean and variance. weight [o, ...], alpha [o, 1, 1], tau 1 element.
at::Tensor RecuWeights(const at::Tensor& weight, const at::Tensor& alpha, const at::Tensor& tau);

// ReCU's activations in training (methods.md 4.1): sign(a0), a0 = x / sqrt(var(x) + 1e-5), the
// unbiased variance per sample; gradient g * max(0, 2 - 2 |a0|), through the variance too. x is
// [n, c, h, w]. `unchanged` is x again, for those who use x too: the gradient that comes back there
// is added in the same pass.
struct RecuSigns {
  at::Tensor signs, unchanged;
};
RecuSigns RecuSign(const at::Tensor& x);
// The same made of LibTorch's own operators: any device, slower, a sum in another order.
RecuSigns RecuSignComposed(const at::Tensor& x);

// McDonnell's weights (methods.md 3.1): sqrt(2 / K) * sign(W), K taps an output; identity gradient.
at::Tensor McDonnellWeights(const at::Tensor& weight);

}  // namespace lbrt
