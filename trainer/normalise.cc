#include "trainer/normalise.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cmath>
#include <vector>

#include "trainer/quantizers.h"
#ifdef LBRT_CUDA
#include "trainer/cuda/functions.h"
#endif

namespace lbrt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::tensor_list;

// A channels-last tensor is `rows` pixels of c channels. Sums over rows run per chunk of rows, kept
// in the tensor's type, and are then added up in double, in order: chunks stay in cache, and
// results do not depend on how many threads shared them.
constexpr int64_t kChunkRows = 256;
constexpr int64_t kLanes = 16;  // channels whose sums stay in registers

int64_t Chunks(int64_t rows) { return (rows + kChunkRows - 1) / kChunkRows; }

// body(chunk, first row, rows of it)
template <typename Body>
void ForChunks(int64_t rows, const Body& body) {
  at::parallel_for(0, Chunks(rows), 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk)
      body(chunk, chunk * kChunkRows, std::min(kChunkRows, rows - chunk * kChunkRows));
  });
}

// sums[i][k] = over rows, term(row, k)[i] for `Terms` sums of each channel k. Full groups of kLanes
// channels have a constant count, so that the compiler keeps their sums in registers.
template <int Terms, typename T, typename Term>
void SumRows(int64_t rows, int64_t channels, const Term& term, T* sums) {
  for (int64_t first = 0; first < channels; first += kLanes) {
    T lanes[Terms][kLanes] = {};
    const auto add = [&](int64_t row, int64_t lane) {
      const std::array<T, Terms> t = term(row * channels + first + lane, first + lane);
      for (int i = 0; i < Terms; ++i) lanes[i][lane] += t[static_cast<size_t>(i)];
    };
    const int64_t count = std::min(kLanes, channels - first);
    for (int64_t row = 0; row < rows; ++row)
      if (count == kLanes)
        for (int64_t lane = 0; lane < kLanes; ++lane) add(row, lane);
      else
        for (int64_t lane = 0; lane < count; ++lane) add(row, lane);
    for (int i = 0; i < Terms; ++i)
      for (int64_t lane = 0; lane < count; ++lane)
        sums[i * channels + first + lane] = lanes[i][lane];
  }
}

struct Statistics {
  std::vector<double> mean, square_deviation;  // [c]; the latter summed over rows
};

// Two passes within each chunk, then Chan's formula: as exact as two passes over the tensor.
template <typename T>
Statistics Collect(const T* x, int64_t rows, int64_t channels) {
  std::vector<T> means(static_cast<size_t>(Chunks(rows) * channels)), squares(means.size());
  ForChunks(rows, [&](int64_t chunk, int64_t first, int64_t count) {
    const T* in = x + first * channels;
    T* mean = means.data() + chunk * channels;
    SumRows<1, T>(
        count, channels, [&](int64_t i, int64_t) { return std::array<T, 1>{in[i]}; }, mean);
    for (int64_t k = 0; k < channels; ++k) mean[k] /= static_cast<T>(count);
    SumRows<1, T>(
        count, channels,
        [&](int64_t i, int64_t k) {
          const T d = in[i] - mean[k];
          return std::array<T, 1>{d * d};
        },
        squares.data() + chunk * channels);
  });
  const size_t n = static_cast<size_t>(channels);
  Statistics s{std::vector<double>(n, 0), std::vector<double>(n, 0)};
  double before = 0;  // rows so far
  for (int64_t chunk = 0; chunk < Chunks(rows); ++chunk) {
    const double count = static_cast<double>(std::min(kChunkRows, rows - chunk * kChunkRows));
    for (size_t k = 0; k < n; ++k) {
      const double d = means[static_cast<size_t>(chunk) * n + k] - s.mean[k];
      s.mean[k] += d * count / (before + count);
      s.square_deviation[k] +=
          squares[static_cast<size_t>(chunk) * n + k] + d * d * before * count / (before + count);
    }
    before += count;
  }
  return s;
}

// An affine of each channel: z = x a + b.
template <typename T>
struct Affine {
  std::vector<T> a, b;  // [c]
};

// The normalisation as one; means and inverse deviations are double.
template <typename T>
Affine<T> AffineOf(const std::vector<T>& weight, const std::vector<T>& bias, const at::Tensor& mean,
                   const at::Tensor& inverse) {
  Affine<T> affine{std::vector<T>(weight.size()), std::vector<T>(weight.size())};
  for (size_t k = 0; k < weight.size(); ++k) {
    const double scale = weight[k] * inverse.data_ptr<double>()[k];
    affine.a[k] = static_cast<T>(scale);
    affine.b[k] = static_cast<T>(bias[k] - mean.data_ptr<double>()[k] * scale);
  }
  return affine;
}

template <typename T, typename R>
void ForwardRows(const T* x, const T* residual, int64_t rows, const Affine<T>& affine,
                 const R& rectifier, T* y) {
  const T *a = affine.a.data(), *b = affine.b.data();
  const int64_t channels = static_cast<int64_t>(affine.a.size());
  ForChunks(rows, [&](int64_t, int64_t first, int64_t count) {
    for (int64_t i = first * channels; i < (first + count) * channels; i += channels)
      if (residual)
        for (int64_t k = 0; k < channels; ++k)
          y[i + k] = rectifier.Value(x[i + k] * a[k] + b[k] + residual[i + k]);
      else
        for (int64_t k = 0; k < channels; ++k) y[i + k] = rectifier.Value(x[i + k] * a[k] + b[k]);
  });
}

// g = what passes the rectifier; sums[0] = sum g, sums[1] = sum g (x - mean), per channel.
template <typename T, typename R>
std::vector<double> BackwardSums(const T* grad, const T* y, const T* x, int64_t rows,
                                 const Affine<T>& affine, const T* mean, const R& rectifier, T* g) {
  const T *a = affine.a.data(), *b = affine.b.data();
  const int64_t channels = static_cast<int64_t>(affine.a.size());
  std::vector<T> parts(static_cast<size_t>(2 * Chunks(rows) * channels));
  ForChunks(rows, [&](int64_t chunk, int64_t first, int64_t count) {
    const int64_t start = first * channels, end = start + count * channels;
    if constexpr (R::kOfInput) {
      for (int64_t i = start; i < end; i += channels)
        for (int64_t k = 0; k < channels; ++k)
          g[i + k] = rectifier.Passed(grad[i + k], x[i + k] * a[k] + b[k]);
    } else {
      for (int64_t i = start; i < end; ++i) g[i] = rectifier.Passed(grad[i], y[i]);
    }
    SumRows<2, T>(
        count, channels,
        [&](int64_t i, int64_t k) {
          const T passed = g[start + i];
          return std::array<T, 2>{passed, passed * (x[start + i] - mean[k])};
        },
        parts.data() + chunk * 2 * channels);
  });
  std::vector<double> sums(static_cast<size_t>(2 * channels), 0);
  for (size_t i = 0; i < parts.size(); ++i) sums[i % sums.size()] += parts[i];
  return sums;
}

// dx = scale * (g - mean of g - (x - mean) * slope)
template <typename T>
void BackwardRows(const T* g, const T* x, int64_t rows, int64_t channels, const T* scale,
                  const T* mean_g, const T* mean, const T* slope, T* dx) {
  ForChunks(rows, [&](int64_t, int64_t first, int64_t count) {
    for (int64_t i = first * channels; i < (first + count) * channels; i += channels)
      for (int64_t k = 0; k < channels; ++k)
        dx[i + k] = scale[k] * (g[i + k] - mean_g[k] - (x[i + k] - mean[k]) * slope[k]);
  });
}

template <typename T>
std::vector<T> Values(const at::Tensor& tensor, int64_t channels, double otherwise) {
  if (!tensor.defined()) return std::vector<T>(static_cast<size_t>(channels), T(otherwise));
  return {tensor.data_ptr<T>(), tensor.data_ptr<T>() + channels};
}

// Tensors that may be missing are optional to functions: LibTorch takes no undefined arguments.
using Optional = c10::optional<at::Tensor>;

struct Fused : Function<Fused> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const Optional& optional_weight, const Optional& optional_bias,
                            const Optional& optional_residual, const BatchNormTensors& tensors,
                            int64_t rectifier_in, double step, int64_t levels) {
    const at::Tensor weight = optional_weight.value_or(at::Tensor());
    const at::Tensor bias = optional_bias.value_or(at::Tensor());
    const auto rectifier = static_cast<Rectifier>(rectifier_in);
    const at::Tensor x = input.contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor residual = optional_residual
                                    ? optional_residual->contiguous(at::MemoryFormat::ChannelsLast)
                                    : at::Tensor();
    const int64_t channels = x.size(1), rows = x.numel() / channels;
    const at::Tensor y = at::empty_like(x);
    const at::Tensor mean = at::empty({channels}, at::kDouble), inverse = at::empty_like(mean);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "normalise", [&] {
      using T = scalar_t;
      const Statistics s = Collect(x.data_ptr<T>(), rows, channels);
      const std::vector<T> w = Values<T>(weight, channels, 1), b = Values<T>(bias, channels, 0);
      T* running_mean = tensors.running_mean.data_ptr<T>();
      T* running_var = tensors.running_var.data_ptr<T>();
      const double n = static_cast<double>(rows), m = tensors.momentum;
      for (size_t k = 0; k < w.size(); ++k) {
        const double inv = 1 / std::sqrt(s.square_deviation[k] / n + tensors.eps);
        mean.data_ptr<double>()[k] = s.mean[k];
        inverse.data_ptr<double>()[k] = inv;
        running_mean[k] = static_cast<T>((1 - m) * running_mean[k] + m * s.mean[k]);
        running_var[k] =
            static_cast<T>((1 - m) * running_var[k] + m * (s.square_deviation[k] / (n - 1)));
      }
      const Affine<T> affine = AffineOf(w, b, mean, inverse);
      WithRectifier<T>(rectifier, {step, static_cast<int>(levels)}, [&](const auto& rectify) {
        ForwardRows<T>(x.data_ptr<T>(), residual.defined() ? residual.data_ptr<T>() : nullptr,
                       rows, affine, rectify, y.data_ptr<T>());
      });
    });
    context->saved_data["rectifier"] = rectifier_in;
    context->saved_data["step"] = step;
    context->saved_data["levels"] = levels;
    context->saved_data["residual"] = residual.defined();
    const bool of_input = rectifier == Rectifier::kClippedRound;
    context->save_for_backward(
        {x, of_input ? at::Tensor() : y, weight, of_input ? bias : at::Tensor(), mean, inverse});
    return y;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const tensor_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &y = saved[1], &weight = saved[2], &bias = saved[3],
                     &mean = saved[4], &inverse = saved[5];
    const auto rectifier = static_cast<Rectifier>(context->saved_data["rectifier"].toInt());
    const ClippedRounding rounding = {context->saved_data["step"].toDouble(),
                                      static_cast<int>(context->saved_data["levels"].toInt())};
    const at::Tensor grad = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
    const int64_t channels = x.size(1), rows = x.numel() / channels;
    const at::Tensor g = at::empty_like(x), dx = at::empty_like(x);
    at::Tensor dweight, dbias;
    if (weight.defined()) {
      dweight = at::empty_like(weight);
      dbias = at::empty_like(weight);
    }
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "normalise_backward", [&] {
      using T = scalar_t;
      const at::Tensor center = mean.to(x.scalar_type());
      const std::vector<T> w = Values<T>(weight, channels, 1), b = Values<T>(bias, channels, 0);
      const Affine<T> affine = AffineOf(w, b, mean, inverse);
      std::vector<double> sums;
      WithRectifier<T>(rectifier, rounding, [&](const auto& rectify) {
        sums = BackwardSums<T>(grad.data_ptr<T>(), y.defined() ? y.data_ptr<T>() : nullptr,
                               x.data_ptr<T>(), rows, affine, center.data_ptr<T>(), rectify,
                               g.data_ptr<T>());
      });
      std::vector<T> scale(w.size()), mean_g(w.size()), slope(w.size());
      const double n = static_cast<double>(rows);
      for (size_t k = 0; k < w.size(); ++k) {
        const double inv = inverse.data_ptr<double>()[k], sum_gx = sums[w.size() + k];
        scale[k] = static_cast<T>(w[k] * inv);
        mean_g[k] = static_cast<T>(sums[k] / n);
        slope[k] = static_cast<T>(sum_gx / n * inv * inv);
        if (!weight.defined()) continue;
        dweight.data_ptr<T>()[k] = static_cast<T>(sum_gx * inv);
        dbias.data_ptr<T>()[k] = static_cast<T>(sums[k]);
      }
      BackwardRows<T>(g.data_ptr<T>(), x.data_ptr<T>(), rows, channels, scale.data(), mean_g.data(),
                      center.data_ptr<T>(), slope.data(), dx.data_ptr<T>());
    });
    const bool residual = context->saved_data["residual"].toBool();
    const at::Tensor none;
    return {dx, dweight, dbias, residual ? g : none, none, none, none, none};
  }
};

#ifdef LBRT_CUDA
struct FusedOnDevice : Function<FusedOnDevice> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const Optional& weight, const Optional& /*bias*/,
                            const Optional& optional_residual, const BatchNormTensors& tensors,
                            int64_t rectifier, double step, int64_t levels) {
    const at::Tensor x = input.contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor residual = optional_residual
                                    ? optional_residual->contiguous(at::MemoryFormat::ChannelsLast)
                                    : at::Tensor();
    const cuda::Normalised result =
        cuda::NormaliseForward(x, tensors, residual, static_cast<Rectifier>(rectifier),
                               {step, static_cast<int>(levels)});
    context->saved_data["rectifier"] = rectifier;
    context->saved_data["step"] = step;
    context->saved_data["levels"] = levels;
    context->saved_data["residual"] = residual.defined();
    const bool of_input = static_cast<Rectifier>(rectifier) == Rectifier::kClippedRound;
    context->save_for_backward({x, of_input ? at::Tensor() : result.y,
                                weight.value_or(at::Tensor()), result.inverse, result.affine,
                                tensors.scale});
    return result.y;
  }

  static tensor_list backward(AutogradContext* context, const tensor_list& grads) {
    const tensor_list saved = context->get_saved_variables();
    const cuda::NormaliseGradients result = cuda::NormaliseBackward(
        grads[0].contiguous(at::MemoryFormat::ChannelsLast), saved[0], saved[5],
        {saved[1], saved[3], saved[4]}, saved[2], context->saved_data["residual"].toBool(),
        static_cast<Rectifier>(context->saved_data["rectifier"].toInt()),
        {context->saved_data["step"].toDouble(),
         static_cast<int>(context->saved_data["levels"].toInt())});
    const at::Tensor none;
    return {result.dx, result.dweight, result.dbias, result.dresidual, none, none, none, none};
  }
};
#endif

template <typename F>
at::Tensor Apply(const at::Tensor& x, const BatchNormTensors& tensors, const at::Tensor& residual,
                 Rectifier rectifier, const ClippedRounding& rounding) {
  const auto optional = [](const at::Tensor& t) { return t.defined() ? Optional(t) : Optional(); };
  return F::apply(x, optional(tensors.weight), optional(tensors.bias), optional(residual), tensors,
                  static_cast<int64_t>(rectifier), rounding.step,
                  static_cast<int64_t>(rounding.levels));
}

}  // namespace

#ifdef LBRT_CUDA
bool TakesScaledBf16(const at::Tensor& x) { return x.is_cuda() && x.dim() == 4; }
#else
bool TakesScaledBf16(const at::Tensor&) { return false; }
#endif

at::Tensor NormaliseAddRectify(const at::Tensor& x, const BatchNormTensors& tensors,
                               const at::Tensor& residual, Rectifier rectifier,
                               const ClippedRounding& rounding) {
  if (x.is_cpu() && x.dim() == 4) return Apply<Fused>(x, tensors, residual, rectifier, rounding);
#ifdef LBRT_CUDA
  if (TakesScaledBf16(x))
    return Apply<FusedOnDevice>(x, tensors, residual, rectifier, rounding);
#endif
  at::Tensor y =
      at::batch_norm(x, tensors.weight, tensors.bias, tensors.running_mean, tensors.running_var,
                     /*training=*/true, tensors.momentum, tensors.eps, /*cudnn_enabled=*/true);
  if (residual.defined()) y = y + residual;
  switch (rectifier) {
    case Rectifier::kNone:
      return y;
    case Rectifier::kRelu:
      return at::relu(y);
    case Rectifier::kHardtanh:
      return at::hardtanh(y);
    case Rectifier::kClippedRound:
      return ClippedRound(y, rounding.step, rounding.levels);
  }
  return y;
}

}  // namespace lbrt
