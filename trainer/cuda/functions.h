// The kernels on LibTorch's tensors, forward and backward, for the functions of normalise.h and
// quantizers.h; on the current stream. Tensors are of one CUDA device and one type, float32 or
// float64; those that may be undefined say so.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/normalise.h"

namespace lbrt::cuda {

struct Normalised {
  at::Tensor y, inverse, affine;  // the latter two for the gradient
};
// x (of the type or bf16), residual (or undefined) [n, c, h, w], channels-last.
Normalised NormaliseForward(const at::Tensor& x, const BatchNormTensors& tensors,
                            const at::Tensor& residual, Rectifier rectifier,
                            const ClippedRounding& rounding);

struct NormaliseGradients {
  at::Tensor dx, dweight, dbias, dresidual;
};
// dresidual is made where `residual` says so; dweight and dbias where the weight is defined.
NormaliseGradients NormaliseBackward(const at::Tensor& grad, const at::Tensor& x,
                                     const at::Tensor& scale, const Normalised& forward,
                                     const at::Tensor& weight, bool residual, Rectifier rectifier,
                                     const ClippedRounding& rounding);

struct Signs {
  at::Tensor signs, mean, inverse;  // [n, ...], [n], [n]
};
Signs RecuSignForward(const at::Tensor& x, bool bf16);  // dense samples; signs in bf16 or x's type
// direct: undefined, or added.
at::Tensor RecuSignBackward(const at::Tensor& grad, const at::Tensor& direct, const at::Tensor& x,
                            const at::Tensor& mean, const at::Tensor& inverse);

struct WeightSigns {
  at::Tensor signs, rows, limit;  // as the weight, [3, outputs], [1]
};
WeightSigns RecuWeightsForward(const at::Tensor& weight, const at::Tensor& tau);  // dense rows
at::Tensor RecuWeightsBackward(const at::Tensor& grad, const at::Tensor& weight,
                               const at::Tensor& rows, const at::Tensor& limit);

struct Codes {
  at::Tensor codes, scale, largest;  // as the weight, 0-d, [1]
};
Codes AnyPrecisionWeightsForward(const at::Tensor& weight, int bits, bool truncating);  // dense
at::Tensor AnyPrecisionWeightsBackward(const at::Tensor& grad, const at::Tensor& weight,
                                       const at::Tensor& largest, int bits, bool truncating);

// Crops of images [., h, w, c] (uint8) in channels-last float32 [n, c, h, w]: see Crops in
// kernels.h. chosen [n], moves [3, n] (rows may lie apart), table [c, 256].
at::Tensor CropAndNormalise(const at::Tensor& images, const at::Tensor& chosen,
                            const at::Tensor& moves, const at::Tensor& table, bool reflect);

}  // namespace lbrt::cuda
