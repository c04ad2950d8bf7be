#include "trainer/cuda/functions.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <type_traits>

#include "trainer/cuda/kernels.h"

namespace lbrt::cuda {
namespace {

Stream Current() { return c10::cuda::getCurrentCUDAStream().stream(); }

template <typename T>
T* Pointer(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<T>() : nullptr;
}
template <>
Bf16* Pointer<Bf16>(const at::Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<Bf16*>(tensor.data_ptr<at::BFloat16>()) : nullptr;
}

template <typename T>
struct Type {
  using type = T;
};

// body(Type<T>(), Type<X>()): a tensor of T or, where T is float, of bf16 too.
template <typename Body>
void WithType(at::ScalarType t, at::ScalarType x, const Body& body) {
  if (t == at::kDouble)
    body(Type<double>(), Type<double>());
  else if (x == at::kBFloat16)
    body(Type<float>(), Type<Bf16>());
  else
    body(Type<float>(), Type<float>());
}

NormaliseShape ShapeOf(const at::Tensor& x, Rectifier rectifier, const ClippedRounding& rounding) {
  return {x.numel() / x.size(1), static_cast<int>(x.size(1)), rectifier, rounding};
}

}  // namespace

Normalised NormaliseForward(const at::Tensor& x, const BatchNormTensors& tensors,
                            const at::Tensor& residual, Rectifier rectifier,
                            const ClippedRounding& rounding) {
  const c10::cuda::CUDAGuard guard(x.device());
  const NormaliseShape shape = ShapeOf(x, rectifier, rounding);
  const at::TensorOptions options = tensors.running_mean.options();
  const bool bf16 = tensors.bf16_codes && rectifier == Rectifier::kClippedRound;
  const Normalised result{at::empty_like(x, bf16 ? options.dtype(at::kBFloat16) : options),
                          at::empty({shape.channels}, options.dtype(at::kDouble)),
                          at::empty({3, shape.channels}, options)};
  const at::Tensor sums = at::empty({shape.scratch()}, options);
  const at::ScalarType t = tensors.running_mean.scalar_type();
  WithType(t, x.scalar_type(), [&](auto type, auto x_type) {
    WithType(t, result.y.scalar_type(), [&](auto, auto y_type) {
      using T = typename decltype(type)::type;
      using X = typename decltype(x_type)::type;
      using Y = typename decltype(y_type)::type;
      if constexpr (std::is_same_v<T, double> == std::is_same_v<Y, double>)
        Normalise<T, X, Y>(
            shape,
            {Pointer<X>(x), Pointer<T>(tensors.scale), Pointer<T>(residual),
             Pointer<T>(tensors.weight), Pointer<T>(tensors.bias), Pointer<T>(tensors.running_mean),
             Pointer<T>(tensors.running_var), tensors.eps, tensors.momentum, Pointer<T>(sums),
             Pointer<Y>(result.y), Pointer<double>(result.inverse), Pointer<T>(result.affine)},
            Current());
    });
  });
  return result;
}

NormaliseGradients NormaliseBackward(const at::Tensor& grad, const at::Tensor& x,
                                     const at::Tensor& scale, const Normalised& forward,
                                     const at::Tensor& weight, bool residual, Rectifier rectifier,
                                     const ClippedRounding& rounding) {
  const c10::cuda::CUDAGuard guard(x.device());
  const NormaliseShape shape = ShapeOf(x, rectifier, rounding);
  const at::TensorOptions options = forward.affine.options();
  NormaliseGradients result;
  result.dx = at::empty_like(x);
  if (weight.defined()) {
    result.dweight = at::empty_like(weight);
    result.dbias = at::empty_like(weight);
  }
  const bool passes = rectifier == Rectifier::kNone;  // the gradient behind it is the one before
  if (residual) result.dresidual = passes ? grad : at::empty_like(grad);
  const at::Tensor g = residual && !passes ? result.dresidual : at::Tensor();
  const at::Tensor y = passes || rectifier == Rectifier::kClippedRound ? at::Tensor() : forward.y;
  const at::Tensor sums = at::empty({shape.scratch()}, options);
  const at::Tensor coefficients = at::empty({3, shape.channels}, options);
  const at::ScalarType t = forward.affine.scalar_type();
  WithType(t, x.scalar_type(), [&](auto type, auto x_type) {
    WithType(t, grad.scalar_type(), [&](auto, auto y_type) {
      using T = typename decltype(type)::type;
      using X = typename decltype(x_type)::type;
      using Y = typename decltype(y_type)::type;
      if constexpr (std::is_same_v<T, double> == std::is_same_v<Y, double>)
        NormaliseGradient<T, X, Y>(
            shape,
            {Pointer<Y>(grad), Pointer<X>(x), Pointer<T>(scale), Pointer<Y>(y), Pointer<T>(weight),
             Pointer<double>(forward.inverse), Pointer<T>(forward.affine), Pointer<T>(sums),
             Pointer<T>(coefficients), Pointer<T>(g), Pointer<X>(result.dx),
             Pointer<T>(result.dweight), Pointer<T>(result.dbias)},
            Current());
    });
  });
  return result;
}

Signs RecuSignForward(const at::Tensor& x, bool bf16) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t samples = x.size(0);
  const Signs result{
      at::empty_like(x, x.options().dtype(bf16 ? at::kBFloat16 : x.scalar_type())),
      at::empty({samples}, x.options()), at::empty({samples}, x.options())};
  WithType(x.scalar_type(), result.signs.scalar_type(), [&](auto type, auto sign_type) {
    using T = typename decltype(type)::type;
    using S = typename decltype(sign_type)::type;
    RecuSign<T, S>(Pointer<T>(x), samples, x.numel() / samples, Pointer<S>(result.signs),
                   Pointer<T>(result.mean), Pointer<T>(result.inverse), Current());
  });
  return result;
}

at::Tensor RecuSignBackward(const at::Tensor& grad, const at::Tensor& direct, const at::Tensor& x,
                            const at::Tensor& mean, const at::Tensor& inverse) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t samples = x.size(0);
  const at::Tensor dx = at::empty_like(x);
  WithType(x.scalar_type(), grad.scalar_type(), [&](auto type, auto sign_type) {
    using T = typename decltype(type)::type;
    using S = typename decltype(sign_type)::type;
    RecuSignGradient<T, S>(Pointer<T>(x), Pointer<S>(grad), Pointer<T>(direct), Pointer<T>(mean),
                           Pointer<T>(inverse), samples, x.numel() / samples, Pointer<T>(dx),
                           Current());
  });
  return dx;
}

WeightSigns RecuWeightsForward(const at::Tensor& weight, const at::Tensor& tau) {
  const c10::cuda::CUDAGuard guard(weight.device());
  const int64_t outputs = weight.size(0);
  const WeightSigns result{at::empty_like(weight), at::empty({3, outputs}, weight.options()),
                           at::empty({1}, weight.options())};
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "recu_weights", [&] {
    using T = scalar_t;
    RecuWeights<T>(Pointer<T>(weight), Pointer<T>(tau), outputs, weight.numel() / outputs,
                   Pointer<T>(result.signs), Pointer<T>(result.rows), Pointer<T>(result.limit),
                   Current());
  });
  return result;
}

at::Tensor RecuWeightsBackward(const at::Tensor& grad, const at::Tensor& weight,
                               const at::Tensor& rows, const at::Tensor& limit) {
  const c10::cuda::CUDAGuard guard(weight.device());
  const int64_t outputs = weight.size(0);
  const at::Tensor dweight = at::empty_like(weight);
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "recu_weights_backward", [&] {
    using T = scalar_t;
    RecuWeightsGradient<T>(Pointer<T>(weight), Pointer<T>(grad), Pointer<T>(rows),
                           Pointer<T>(limit), outputs, weight.numel() / outputs,
                           Pointer<T>(dweight), Current());
  });
  return dweight;
}

Codes AnyPrecisionWeightsForward(const at::Tensor& weight, int bits, bool truncating) {
  const c10::cuda::CUDAGuard guard(weight.device());
  const AnyPrecisionShape shape{weight.numel(), bits, truncating};
  const Codes result{at::empty_like(weight), at::empty({}, weight.options()),
                     at::empty({1}, weight.options())};
  const at::Tensor sums = at::empty({shape.scratch()}, weight.options());
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "any_precision_weights", [&] {
    using T = scalar_t;
    AnyPrecisionWeights<T>(shape, Pointer<T>(weight), Pointer<T>(sums), Pointer<T>(result.codes),
                           Pointer<T>(result.scale), Pointer<T>(result.largest), Current());
  });
  return result;
}

at::Tensor AnyPrecisionWeightsBackward(const at::Tensor& grad, const at::Tensor& weight,
                                       const at::Tensor& largest, int bits, bool truncating) {
  const c10::cuda::CUDAGuard guard(weight.device());
  const AnyPrecisionShape shape{weight.numel(), bits, truncating};
  const at::Tensor dweight = at::empty_like(weight);
  const at::Tensor sums = at::empty({shape.scratch()}, weight.options());
  AT_DISPATCH_FLOATING_TYPES(weight.scalar_type(), "any_precision_weights_backward", [&] {
    using T = scalar_t;
    AnyPrecisionWeightsGradient<T>(shape, Pointer<T>(weight), Pointer<T>(grad),
                                   Pointer<T>(largest), Pointer<T>(sums), Pointer<T>(dweight),
                                   Current());
  });
  return dweight;
}

at::Tensor CropAndNormalise(const at::Tensor& images, const at::Tensor& chosen,
                            const at::Tensor& moves, const at::Tensor& table, bool reflect) {
  const c10::cuda::CUDAGuard guard(images.device());
  const int64_t n = chosen.size(0);
  const at::Tensor out = at::empty({n, images.size(1), images.size(2), images.size(3)},
                                   table.options());
  CropAndNormalise({images.data_ptr<uint8_t>(), chosen.data_ptr<int64_t>(),
                    moves.data_ptr<int64_t>(), table.data_ptr<float>(), n, moves.stride(0),
                    static_cast<int>(images.size(1)), static_cast<int>(images.size(2)),
                    static_cast<int>(images.size(3)), reflect},
                   out.data_ptr<float>(), Current());
  return out.permute({0, 3, 1, 2});
}

}  // namespace lbrt::cuda
