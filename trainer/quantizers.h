// The quantizers of training, as differentiable functions of LibTorch tensors (float32 or float64,
// any device). What they mean for inference, and their names, is network/quantizers.h; a quantizer
// is a file in trainer/quantizers/ and a case in quantizers.cc. sign has three values here,
// sign(0) = 0, as in the published code; in a converted model 0 becomes +1 (design.md section 2).
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "network/quantizers.h"

namespace lbrt {

// codes * scale is the value; gradients go through both. Codes are small integers, so that sums of
// their products are exact, where one scale serves all that is summed. Else they are the values
// themselves: of float and ternary weights, of mixtures, and of a fixed-point stem that knows its
// input's deviations. At 32 bits they are neither.
struct Quantized {
  at::Tensor codes;
  at::Tensor scale;  // 0-d, or [o, 1, ...] a channel; undefined: 1
  at::Tensor Value() const;
};

// What a layer's weights are made from; undefined where the quantizer has no use for it.
struct WeightTensors {
  at::Tensor weight;        // latent [o, ...]
  at::Tensor tau;           // kRecu
  at::Tensor mixture;       // alphas of a mixture [4]
  std::vector<double> input_std;  // kFixedPoint of a stem: deviations of the input's channels
};
// `quantizer` has bits, where its kind needs some.
Quantized QuantizeWeights(const WeightQuantizer& quantizer, const WeightTensors& tensors);

// The codes' scale is a number, since activations have one step.
struct QuantizedActivations {
  at::Tensor codes;
  double scale = 1;
};
// `x` is replaced by what its other users are to read: the same values, whose gradient is then
// added in the quantizer's own pass. `mixture`: alphas [3] of a mixture.
// bf16: codes may come back in it.
QuantizedActivations QuantizeActivations(const ActivationQuantizer& quantizer, at::Tensor& x,
                                         bool training, const at::Tensor& mixture,
                                         bool bf16 = false);

// --- One file each in trainer/quantizers/ --------------------------------------------------------

// ReCU's weights (methods.md 4.1): codes sign(clip(w1, -Q, Q)), where w1 is W without its channel's
// mean, divided by its channel's standard deviation / (2 sqrt 2), and Q the tau-quantile of |w1|
// over the whole tensor, a plain number. The gradient passes sign unchanged, is 0 where the clip
// acts, and flows through mean and variance. tau: 1 element.
Quantized RecuWeights(const at::Tensor& weight, const at::Tensor& tau);

// ReCU's activations in training (methods.md 4.1): sign(a0), a0 = x / sqrt(var(x) + 1e-5), the
// unbiased variance per sample; gradient g * max(0, 2 - 2 |a0|), through the variance too. x is
// [n, ...]. `unchanged` is x again, for those who use x too: the gradient that comes back there
// is added in the same pass.
struct RecuSigns {
  at::Tensor signs, unchanged;
};
// bf16: a GPU returns the signs in it.
RecuSigns RecuSign(const at::Tensor& x, bool bf16 = false);

// McDonnell's weights (methods.md 3.1): sqrt(2 / K) * sign(W), K taps an output; identity gradient.
Quantized McDonnellWeights(const at::Tensor& weight);

// Any-precision weights (methods.md 1.1): (2q - n) E / n with q = round(n u), or the prefix of
// floor(256 u) where `truncating` (1.3 e); straight through the rounding only: the gradient goes
// through tanh and through the largest |tanh W|, not through E. 32 bits: E tanh(W) / max|tanh(W)|.
Quantized AnyPrecisionWeights(const at::Tensor& weight, int bits, bool truncating);

// EdMIPS's weights (methods.md 2.1): odd codes times half a step; identity gradient for all W.
Quantized EdmipsWeights(const at::Tensor& weight, int bits);
// sum over bits 1 to 4 of softmax(alphas) * quantized W (methods.md 2.3).
at::Tensor EdmipsMixture(const at::Tensor& weight, const at::Tensor& alphas);

// Ternary weights (methods.md 5.1): the sum of t_ex planes; identity gradient times t_ex where
// -1 < W < 1, else 0.
at::Tensor TernaryWeights(const at::Tensor& weight, int t_ex);

// Fixed-point weights (methods.md 8a): codes and a scale an output channel; identity gradient.
Quantized FixedPointWeights(const at::Tensor& weight, int limbs,
                            const std::vector<double>& input_std);

// clip(x, low, high), whose gradient passes on the closed interval (methods.md 1.1); at::clamp's does
// so in LibTorch 1.13, no longer in 2.15.
at::Tensor Clip(const at::Tensor& x, double low, double high);

// round(clip(x, 0, levels * step) / step): codes 0 .. levels of any-precision activations
// (methods.md 1.1, step = 1 / levels) and of HWGQ (2.1). The gradient passes the rounding
// unchanged and is 0 outside of the closed interval.
at::Tensor ClippedRound(const at::Tensor& x, double step, int levels);
// The same made of LibTorch's own operators, for any device.
at::Tensor ClippedRoundComposed(const at::Tensor& x, double step, int levels);

}  // namespace lbrt
