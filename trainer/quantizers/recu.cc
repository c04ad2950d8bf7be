#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "trainer/quantizers.h"
#include "trainer/quantizers/straight_through.h"
#ifdef LBRT_CUDA
#include "trainer/cuda/functions.h"
#endif

namespace lbrt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

constexpr double kEps = 1e-5;

// --- ReCU's activations on a CPU --------------------------------------------------------------
// Written out instead of composed from tensor operations: this layer is most of the elementwise
// time of a step. Each sample is read twice forward (statistics, signs) and twice backward, where
// it still lies in cache the second time. Sums run in kLanes independent partial sums, a fixed
// order that the compiler can keep in vector registers.
constexpr int64_t kLanes = 16;

template <typename T>
double LaneSum(const T* lanes) {
  double sum = 0;
  for (int64_t l = 0; l < kLanes; ++l) sum += lanes[l];
  return sum;
}

// Mean and unbiased variance of n values; two passes, since one loses digits where the mean is
// large.
template <typename T>
void MeanAndVariance(const T* x, int64_t n, double* mean, double* variance) {
  T lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += x[i + l];
  double sum = LaneSum(lanes);
  for (int64_t k = i; k < n; ++k) sum += x[k];
  *mean = sum / static_cast<double>(n);

  const T m = static_cast<T>(*mean);
  T squares[kLanes] = {};
  for (int64_t k = 0; k < i; k += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) squares[l] += (x[k + l] - m) * (x[k + l] - m);
  double square_sum = LaneSum(squares);
  for (int64_t k = i; k < n; ++k) square_sum += (x[k] - m) * (x[k] - m);
  *variance = square_sum / static_cast<double>(n - 1);
}

template <typename T>
void SignForward(const T* x, int64_t n, T* y, T* mean_out, T* inverse_out) {
  double mean, variance;
  MeanAndVariance(x, n, &mean, &variance);
  *mean_out = static_cast<T>(mean);
  *inverse_out = static_cast<T>(1 / std::sqrt(variance + kEps));
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>((x[i] > 0) - (x[i] < 0));
}

// With r = 1 / sqrt(var + eps), a = x r and t = g max(0, 2 - 2|a|):
//   dx_i = r t_i - r^3 / (n - 1) * (x_i - mean) * sum_j t_j x_j  [+ direct_i, if there is one]
template <typename T>
void SignBackward(const T* x, const T* g, const T* direct, int64_t n, T mean, T r, T* dx) {
  T lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const T t = g[i + l] * std::max(T{0}, 2 - 2 * std::abs(x[i + l] * r));
      dx[i + l] = t;
      lanes[l] += t * x[i + l];
    }
  double sum = LaneSum(lanes);
  for (; i < n; ++i) {
    dx[i] = g[i] * std::max(T{0}, 2 - 2 * std::abs(x[i] * r));
    sum += dx[i] * x[i];
  }
  const T pull = static_cast<T>(static_cast<double>(r) * r * r * sum / static_cast<double>(n - 1));
  if (direct)
    for (i = 0; i < n; ++i) dx[i] = r * dx[i] - pull * (x[i] - mean) + direct[i];
  else
    for (i = 0; i < n; ++i) dx[i] = r * dx[i] - pull * (x[i] - mean);
}

// Elements of one sample lie together in NCHW and in channels-last order alike, and no step needs
// to know which.
bool DenseSamples(const at::Tensor& x) {
  return x.is_contiguous() || x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

struct RecuSignFunction : Function<RecuSignFunction> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& input) {
    context->set_materialize_grads(false);
    const at::Tensor x = DenseSamples(input) ? input : input.contiguous();
    const int64_t samples = x.size(0), n = x.numel() / samples;
    const at::Tensor y = at::empty_like(x);
    const at::Tensor mean = at::empty({samples}, x.options()), inverse = at::empty_like(mean);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "recu_sign", [&] {
      const scalar_t* in = x.data_ptr<scalar_t>();
      scalar_t* out = y.data_ptr<scalar_t>();
      scalar_t* m = mean.data_ptr<scalar_t>();
      scalar_t* r = inverse.data_ptr<scalar_t>();
      at::parallel_for(0, samples, 1, [&](int64_t begin, int64_t end) {
        for (int64_t s = begin; s < end; ++s) SignForward(in + s * n, n, out + s * n, m + s, r + s);
      });
    });
    context->save_for_backward({x, mean, inverse});
    return {y, input};
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const tensor_list saved = context->get_saved_variables();
    const at::Tensor x = saved[0], mean = saved[1], inverse = saved[2];
    const int64_t samples = x.size(0), n = x.numel() / samples;
    if (!grads[0].defined()) return {grads[1]};
    const at::MemoryFormat format = x.suggest_memory_format();
    const at::Tensor g = grads[0].contiguous(format);
    const at::Tensor direct = grads[1].defined() ? grads[1].contiguous(format) : at::Tensor();
    const at::Tensor dx = at::empty_like(x);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "recu_sign_backward", [&] {
      const scalar_t* in = x.data_ptr<scalar_t>();
      const scalar_t* grad = g.data_ptr<scalar_t>();
      const scalar_t* m = mean.data_ptr<scalar_t>();
      const scalar_t* r = inverse.data_ptr<scalar_t>();
      const scalar_t* more = direct.defined() ? direct.data_ptr<scalar_t>() : nullptr;
      scalar_t* out = dx.data_ptr<scalar_t>();
      at::parallel_for(0, samples, 1, [&](int64_t begin, int64_t end) {
        for (int64_t s = begin; s < end; ++s)
          SignBackward(in + s * n, grad + s * n, more ? more + s * n : nullptr, n, m[s], r[s],
                       out + s * n);
      });
    });
    return {dx};
  }
};

#ifdef LBRT_CUDA
struct SignOnDevice : Function<SignOnDevice> {
  static tensor_list forward(AutogradContext* context, const at::Tensor& input, bool bf16) {
    context->set_materialize_grads(false);
    const at::Tensor x = DenseSamples(input) ? input : input.contiguous();
    const cuda::Signs result = cuda::RecuSignForward(x, bf16);
    context->save_for_backward({x, result.mean, result.inverse});
    return {result.signs, input};
  }
  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    if (!grads[0].defined()) return {grads[1], at::Tensor()};
    const tensor_list saved = context->get_saved_variables();
    const at::MemoryFormat format = saved[0].suggest_memory_format();
    const at::Tensor direct = grads[1].defined() ? grads[1].contiguous(format) : at::Tensor();
    return {cuda::RecuSignBackward(grads[0].contiguous(format), direct, saved[0], saved[1],
                                   saved[2]),
            at::Tensor()};
  }
};

struct WeightsOnDevice : Function<WeightsOnDevice> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& tau) {
    const at::Tensor weight = DenseSamples(input) ? input : input.contiguous();
    const cuda::WeightSigns result = cuda::RecuWeightsForward(weight, tau);
    context->save_for_backward({weight, result.rows, result.limit});
    return result.signs;
  }
  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const tensor_list saved = context->get_saved_variables();
    const at::Tensor grad = grads[0].contiguous(saved[0].suggest_memory_format());
    return {cuda::RecuWeightsBackward(grad, saved[0], saved[1], saved[2]), at::Tensor()};
  }
};
#endif

}  // namespace

Quantized RecuWeights(const at::Tensor& weight, const at::Tensor& tau) {
#ifdef LBRT_CUDA
  if (weight.is_cuda()) return {WeightsOnDevice::apply(weight, tau), at::Tensor()};
#endif
  const at::Tensor w = weight.flatten(1);
  const at::Tensor w0 = w - w.mean(1, /*keepdim=*/true);
  const at::Tensor deviation = (w0.var(1, /*unbiased=*/true, /*keepdim=*/true) + kEps).sqrt();
  const at::Tensor w1 = w0 / (deviation / (2 * std::sqrt(2.0)));
  const at::Tensor q = -w1.detach().abs().mean() * at::log(2 - 2 * tau.flatten()[0]);
  const at::Tensor clipped = at::clamp(w1, -q, q);
  const at::Tensor signs =
      StraightThrough::apply(clipped, clipped.detach().sign(), ScalarLike(w, 1));
  return {signs.view(weight.sizes()), at::Tensor()};
}

RecuSigns RecuSign(const at::Tensor& x, [[maybe_unused]] bool bf16) {
#ifdef LBRT_CUDA
  const tensor_list results =
      x.is_cuda() ? SignOnDevice::apply(x, bf16) : RecuSignFunction::apply(x);
#else
  const tensor_list results = RecuSignFunction::apply(x);
#endif
  return {results[0], results[1]};
}

}  // namespace lbrt
