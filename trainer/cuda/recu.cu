// ReCU's quantizers: a block a sample of activations, and a block an output channel of weights.
// What a block reads again lies in its processor's cache.
#include <cmath>

#include "trainer/cuda/device.cuh"
#include "trainer/cuda/kernels.h"

namespace lbrt::cuda {
namespace {

constexpr double kEps = 1e-5;
constexpr int kSampleThreads = 512;  // a block's: samples are few

template <typename T>
__device__ T Sign(T x) {
  return static_cast<T>((x > 0) - (x < 0));
}

// body(index of the first element, N) for a block's share of n elements.
template <int N, typename Body>
__device__ void ForPacks(int64_t n, const Body& body) {
  for (int64_t i = int64_t{threadIdx.x} * N; i < n; i += int64_t{blockDim.x} * N) body(i);
}

// Deviations from the first element: sums of their squares lose no digits where the mean is large.
template <int N, typename T, typename S>
__global__ void __launch_bounds__(kSampleThreads)
    SignKernel(const T* all, int64_t n, S* signs, T* means, T* inverses) {
  const T* x = all + blockIdx.x * n;
  S* out = signs + blockIdx.x * n;
  const T origin = x[0];
  T first = 0, second = 0;
  ForPacks<N>(n, [&](int64_t i) {
    const Pack<T, N> in = Load<T, N>(x + i);
    for (int k = 0; k < N; ++k) {
      const T d = in.at[k] - origin;
      first += d;
      second += d * d;
    }
  });
  const double sum = OverBlock<kSampleThreads>(static_cast<double>(first));
  const double squares = OverBlock<kSampleThreads>(static_cast<double>(second));
  const double left = squares - sum * sum / static_cast<double>(n);
  const double variance = (left > 0 ? left : 0) / static_cast<double>(n - 1);
  if (threadIdx.x == 0) {
    means[blockIdx.x] = static_cast<T>(static_cast<double>(origin) + sum / static_cast<double>(n));
    inverses[blockIdx.x] = static_cast<T>(1 / sqrt(variance + kEps));
  }
  ForPacks<N>(n, [&](int64_t i) {
    Pack<T, N> pack = Load<T, N>(x + i);
    for (int k = 0; k < N; ++k) pack.at[k] = Sign(pack.at[k]);
    Store(out + i, pack);
  });
}

// With r = 1 / sqrt(var + eps), a = x r and t = g max(0, 2 - 2|a|):
//   dx_i = r t_i - r^3 / (n - 1) * (x_i - mean) * sum_j t_j x_j  [+ direct_i, if there is one]
template <int N, typename T, typename S>
__global__ void __launch_bounds__(kSampleThreads)
    SignGradientKernel(const T* all, const S* grads, const T* directs, const T* means,
                       const T* inverses, int64_t n, T* dxs) {
  const int64_t start = blockIdx.x * n;
  const T* x = all + start;
  const S* g = grads + start;
  const T mean = means[blockIdx.x], r = inverses[blockIdx.x];
  const auto through = [&](T grad, T value) {
    const T slope = 2 - 2 * abs(value * r);
    return grad * (slope > 0 ? slope : T{0});
  };
  T own = 0;
  ForPacks<N>(n, [&](int64_t i) {
    const Pack<T, N> in = Load<T, N>(x + i), grad = Load<T, N>(g + i);
    for (int k = 0; k < N; ++k) own += through(grad.at[k], in.at[k]) * in.at[k];
  });
  const double sum = OverBlock<kSampleThreads>(static_cast<double>(own));
  const double wide = static_cast<double>(r);
  const T pull = static_cast<T>(wide * wide * wide * sum / static_cast<double>(n - 1));
  ForPacks<N>(n, [&](int64_t i) {
    const Pack<T, N> in = Load<T, N>(x + i), grad = Load<T, N>(g + i);
    Pack<T, N> out;
    for (int k = 0; k < N; ++k)
      out.at[k] = r * through(grad.at[k], in.at[k]) - pull * (in.at[k] - mean);
    if (directs) {
      const Pack<T, N> direct = Load<T, N>(directs + start + i);
      for (int k = 0; k < N; ++k) out.at[k] += direct.at[k];
    }
    Store(dxs + start + i, out);
  });
}

// rows: [0] the mean of an output channel's weights, [1] its factor 2 sqrt 2 / deviation, [2] the
// sum of |w1|.
template <typename T>
__global__ void RowsKernel(const T* weight, int64_t taps, T* rows) {
  const T* w = weight + blockIdx.x * taps;
  const double n = static_cast<double>(taps);
  double own = 0;
  ForPacks<1>(taps, [&](int64_t i) { own += static_cast<double>(w[i]); });
  const double mean = OverBlock<kThreads>(own) / n;
  own = 0;
  ForPacks<1>(taps, [&](int64_t i) {
    const double d = static_cast<double>(w[i]) - mean;
    own += d * d;
  });
  const double deviation = sqrt(OverBlock<kThreads>(own) / (n - 1) + kEps);
  const T center = static_cast<T>(mean), factor = static_cast<T>(2 * sqrt(2.0) / deviation);
  own = 0;
  ForPacks<1>(taps, [&](int64_t i) { own += static_cast<double>(abs((w[i] - center) * factor)); });
  const double magnitude = OverBlock<kThreads>(own);
  if (threadIdx.x != 0) return;
  rows[blockIdx.x] = center;
  rows[gridDim.x + blockIdx.x] = factor;
  rows[2 * gridDim.x + blockIdx.x] = static_cast<T>(magnitude);
}

template <typename T>
__global__ void WeightSignsKernel(const T* weight, const T* tau, int64_t taps, const T* rows,
                                  T* signs, T* limit) {
  double own = 0;
  ForPacks<1>(gridDim.x, [&](int64_t row) {
    own += static_cast<double>(rows[2 * gridDim.x + row]);
  });
  const double magnitude = OverBlock<kThreads>(own) / (static_cast<double>(taps) * gridDim.x);
  const T q = static_cast<T>(-magnitude * log(2 - 2 * static_cast<double>(tau[0])));
  if (blockIdx.x == 0 && threadIdx.x == 0) limit[0] = q;
  const int64_t start = blockIdx.x * taps;
  const T center = rows[blockIdx.x];
  ForPacks<1>(taps, [&](int64_t i) {
    const T w = weight[start + i] - center;  // the factor has no sign
    signs[start + i] = q > 0 ? Sign(w) : T{0};
  });
}

template <typename T>
__global__ void WeightGradientKernel(const T* weight, const T* grad, const T* rows, const T* limit,
                                     int64_t taps, T* dweight) {
  const int64_t start = blockIdx.x * taps;
  const T center = rows[blockIdx.x], factor = rows[gridDim.x + blockIdx.x], q = limit[0];
  const auto passed = [&](int64_t i, T w0) {
    return abs(w0 * factor) <= q ? grad[start + i] : T{0};
  };
  double own = 0, own_product = 0;
  ForPacks<1>(taps, [&](int64_t i) {
    const T w0 = weight[start + i] - center, g = passed(i, w0);
    own += static_cast<double>(g);
    own_product += static_cast<double>(g) * static_cast<double>(w0);
  });
  const double n = static_cast<double>(taps), s = static_cast<double>(factor);
  const T mean_g = static_cast<T>(OverBlock<kThreads>(own) / n);
  // factor / deviation^2 = factor^3 / 8
  const T pull = static_cast<T>(s * s * s / 8 * OverBlock<kThreads>(own_product) / (n - 1));
  ForPacks<1>(taps, [&](int64_t i) {
    const T w0 = weight[start + i] - center;
    dweight[start + i] = factor * (passed(i, w0) - mean_g) - pull * w0;
  });
}

template <typename T>
bool Packs(int64_t n) {
  return n % kPack<T> == 0;
}

unsigned Blocks(int64_t n) { return static_cast<unsigned>(n); }

}  // namespace

template <typename T, typename S>
void RecuSign(const T* x, int64_t samples, int64_t n, S* signs, T* mean, T* inverse,
              Stream stream) {
  const auto kernel = Packs<T>(n) ? SignKernel<kPack<T>, T, S> : SignKernel<1, T, S>;
  kernel<<<Blocks(samples), kSampleThreads, 0, stream>>>(x, n, signs, mean, inverse);
  CheckLaunch("RecuSign");
}

template <typename T, typename S>
void RecuSignGradient(const T* x, const S* grad, const T* direct, const T* mean, const T* inverse,
                      int64_t samples, int64_t n, T* dx, Stream stream) {
  const auto kernel =
      Packs<T>(n) ? SignGradientKernel<kPack<T>, T, S> : SignGradientKernel<1, T, S>;
  kernel<<<Blocks(samples), kSampleThreads, 0, stream>>>(x, grad, direct, mean, inverse, n, dx);
  CheckLaunch("RecuSignGradient");
}

template <typename T>
void RecuWeights(const T* weight, const T* tau, int64_t outputs, int64_t taps, T* signs, T* rows,
                 T* limit, Stream stream) {
  RowsKernel<<<Blocks(outputs), kThreads, 0, stream>>>(weight, taps, rows);
  WeightSignsKernel<<<Blocks(outputs), kThreads, 0, stream>>>(weight, tau, taps, rows, signs,
                                                              limit);
  CheckLaunch("RecuWeights");
}

template <typename T>
void RecuWeightsGradient(const T* weight, const T* grad, const T* rows, const T* limit,
                         int64_t outputs, int64_t taps, T* dweight, Stream stream) {
  WeightGradientKernel<<<Blocks(outputs), kThreads, 0, stream>>>(weight, grad, rows, limit, taps,
                                                                 dweight);
  CheckLaunch("RecuWeightsGradient");
}

#define LBRT_INSTANTIATE_SIGN(T, S)                                                               \
  template void RecuSign(const T*, int64_t, int64_t, S*, T*, T*, Stream);                         \
  template void RecuSignGradient(const T*, const S*, const T*, const T*, const T*, int64_t,       \
                                 int64_t, T*, Stream);
LBRT_INSTANTIATE_SIGN(float, float)
LBRT_INSTANTIATE_SIGN(float, Bf16)
LBRT_INSTANTIATE_SIGN(double, double)

#define LBRT_INSTANTIATE(T)                                                                       \
  template void RecuWeights(const T*, const T*, int64_t, int64_t, T*, T*, T*, Stream);            \
  template void RecuWeightsGradient(const T*, const T*, const T*, const T*, int64_t, int64_t, T*, \
                                    Stream);
LBRT_INSTANTIATE(float)
LBRT_INSTANTIATE(double)

}  // namespace lbrt::cuda
