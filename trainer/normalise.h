// Batch normalisation in training with what follows it, in one function: the statistics, the
// affine, a residual addition and an activation are one reading and one writing of the tensor
// instead of four, and their gradients one function too. That is a sixth of a training step on a
// CPU. On a GPU it is the kernels of trainer/cuda.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/rectifier.h"

namespace lbrt {

struct BatchNormTensors {
  at::Tensor weight, bias;               // [c], or undefined: 1 and 0
  at::Tensor running_mean, running_var;  // [c], updated in place
  double eps = 1e-5;
  double momentum = 0.1;
  at::Tensor scale = {};    // of one element: x is multiplied by it first; undefined: 1
  bool bf16_codes = false;  // kClippedRound returns bf16
};

// Whether NormaliseAddRectify takes `x` with a scale, in bf16 too, and returns codes in bf16: on a
// GPU, where it spares a pass over the tensor for each.
bool TakesScaledBf16(const at::Tensor& x);

// rectifier(batch_norm(x) + residual), batch statistics; residual may be undefined. x [n, c, h, w]
// or [n, c], of any device. The gradient of hardtanh is 0 at exactly +-1, of relu at 0, as
// LibTorch's. `rounding` is kClippedRound's, whose result is codes and which takes no residual.
// Results do not depend on the number of threads.
at::Tensor NormaliseAddRectify(const at::Tensor& x, const BatchNormTensors& tensors,
                               const at::Tensor& residual, Rectifier rectifier,
                               const ClippedRounding& rounding = {});

}  // namespace lbrt
