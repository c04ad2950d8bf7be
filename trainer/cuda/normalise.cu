// Batch norm in training with what follows it. A block's threads are lanes of neighbouring channels
// times rows, so that a warp reads neighbouring memory. Sums over rows are made per block first,
// then over blocks in double.
#include <type_traits>

#include "trainer/cuda/device.cuh"
#include "trainer/cuda/kernels.h"

namespace lbrt::cuda {
namespace {

// Along rows: 4 and 8 for each of an H100's processors.
constexpr int kSumBlocks = 528, kPassBlocks = 1056;
constexpr int kFinishLanes = 32, kFinishRows = 32;

struct Launch {
  dim3 grid, block;
};

Launch Over(const NormaliseShape& shape, int pack, int blocks) {
  const int lanes = (shape.channels + pack - 1) / pack;
  const int x = lanes < kThreads ? lanes : kThreads, y = kThreads / x;
  const int64_t all = (shape.rows + y - 1) / y;
  return {dim3(static_cast<unsigned>(all < blocks ? all : blocks),
               static_cast<unsigned>((lanes + x - 1) / x)),
          dim3(static_cast<unsigned>(x), static_cast<unsigned>(y))};
}

// A thread's own part of [rows, channels].
template <int N>
__device__ int FirstChannel() {
  return static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * N;
}
__device__ int64_t FirstRow() { return int64_t{blockIdx.x} * blockDim.y + threadIdx.y; }
__device__ int64_t RowStep() { return int64_t{gridDim.x} * blockDim.y; }

// parts[block][2][channels] = the block's sums of first and second.
template <typename T, int N>
__device__ void StoreSums(const T* first, const T* second, int channel, int channels, T* parts) {
  __shared__ T shared[2][kThreads * N];
  const int lane = static_cast<int>(threadIdx.x), lanes = static_cast<int>(blockDim.x);
  const int row = static_cast<int>(threadIdx.y);
  const int own = (row * lanes + lane) * N;
  for (int i = 0; i < N; ++i) {
    shared[0][own + i] = first[i];
    shared[1][own + i] = second[i];
  }
  for (int rows = static_cast<int>(blockDim.y); rows > 1;) {
    const int half = (rows + 1) / 2;
    __syncthreads();
    if (row + half < rows)
      for (int i = 0; i < N; ++i)
        for (int k = 0; k < 2; ++k) shared[k][own + i] += shared[k][own + half * lanes * N + i];
    rows = half;
  }
  if (row != 0 || channel >= channels) return;
  T* out = parts + int64_t{blockIdx.x} * 2 * channels + channel;
  for (int i = 0; i < N; ++i) {
    out[i] = shared[0][own + i];
    out[channels + i] = shared[1][own + i];
  }
}

// The sums over blocks of a channel, in threadIdx.y = 0.
template <typename T>
__device__ void SumParts(const T* parts, int blocks, int channels, int channel, double* first,
                         double* second) {
  __shared__ double shared[2][kFinishRows][kFinishLanes];
  double sums[2] = {0, 0};
  if (channel < channels)
    for (int block = static_cast<int>(threadIdx.y); block < blocks; block += kFinishRows)
      for (int k = 0; k < 2; ++k)
        sums[k] += static_cast<double>(parts[(int64_t{block} * 2 + k) * channels + channel]);
  for (int k = 0; k < 2; ++k) shared[k][threadIdx.y][threadIdx.x] = sums[k];
  __syncthreads();
  *first = *second = 0;
  for (int row = 0; row < kFinishRows; ++row) {
    *first += shared[0][row][threadIdx.x];
    *second += shared[1][row][threadIdx.x];
  }
}

// Deviations from the first row: sums of their squares lose no digits where the mean is large.
template <typename T, int N, typename X>
__global__ void StatisticsKernel(const X* x, int64_t rows, int channels, T* parts) {
  const int channel = FirstChannel<N>();
  T first[N] = {}, second[N] = {};
  if (channel < channels) {
    const Pack<T, N> origin = Load<T, N>(x + channel);
    for (int64_t row = FirstRow(); row < rows; row += RowStep()) {
      const Pack<T, N> in = Load<T, N>(x + row * channels + channel);
      for (int i = 0; i < N; ++i) {
        const T d = in.at[i] - origin.at[i];
        first[i] += d;
        second[i] += d * d;
      }
    }
  }
  StoreSums<T, N>(first, second, channel, channels, parts);
}

template <typename T, typename X, typename Y>
__global__ void FinishStatisticsKernel(NormaliseTensors<T, X, Y> t, int64_t rows, int channels,
                                       int blocks) {
  const int channel = static_cast<int>(blockIdx.x * kFinishLanes + threadIdx.x);
  double sum, squares;
  SumParts(t.sums, blocks, channels, channel, &sum, &squares);
  if (threadIdx.y != 0 || channel >= channels) return;
  const double n = static_cast<double>(rows), m = t.momentum;
  const double factor = t.scale ? static_cast<double>(t.scale[0]) : 1;  // of x
  const double mean = static_cast<double>(t.x[channel]) + sum / n;
  const double left = squares - sum * sum / n;
  const double deviation = left > 0 ? left : 0;  // squared and summed; rounding may pass 0
  const double variance = factor * factor * deviation;
  const double inverse = 1 / sqrt(variance / n + t.eps);
  const double scale = (t.weight ? static_cast<double>(t.weight[channel]) : 1) * inverse * factor;
  t.inverse[channel] = inverse;
  t.affine[channel] = static_cast<T>(scale);
  t.affine[channels + channel] =
      static_cast<T>((t.bias ? static_cast<double>(t.bias[channel]) : 0) - mean * scale);
  t.affine[2 * channels + channel] = static_cast<T>(mean);
  t.running_mean[channel] = static_cast<T>((1 - m) * t.running_mean[channel] + m * mean * factor);
  t.running_var[channel] =
      static_cast<T>((1 - m) * t.running_var[channel] + m * (variance / (n - 1)));
}

template <typename T, int N, typename X, typename Y, typename R>
__global__ void ForwardKernel(NormaliseTensors<T, X, Y> t, int64_t rows, int channels,
                              R rectifier) {
  const int channel = FirstChannel<N>();
  if (channel >= channels) return;
  T a[N], b[N];
  for (int i = 0; i < N; ++i) {
    a[i] = t.affine[channel + i];
    b[i] = t.affine[channels + channel + i];
  }
  for (int64_t row = FirstRow(); row < rows; row += RowStep()) {
    const int64_t at = row * channels + channel;
    const Pack<T, N> in = Load<T, N>(t.x + at);
    Pack<T, N> out;
    for (int i = 0; i < N; ++i) out.at[i] = in.at[i] * a[i] + b[i];
    if (t.residual) {
      const Pack<T, N> more = Load<T, N>(t.residual + at);
      for (int i = 0; i < N; ++i) out.at[i] += more.at[i];
    }
    for (int i = 0; i < N; ++i) out.at[i] = rectifier.Value(out.at[i]);
    Store(t.y + at, out);
  }
}

// What passes the rectifier at one place.
template <typename T, int N, typename X, typename Y, typename R>
__device__ Pack<T, N> Passed(const NormaliseGradientTensors<T, X, Y>& t, const R& rectifier,
                             int64_t at, const Pack<T, N>& x, const T* a, const T* b) {
  Pack<T, N> g = Load<T, N>(t.grad + at);
  if constexpr (R::kOfInput) {
    for (int i = 0; i < N; ++i) g.at[i] = rectifier.Passed(g.at[i], x.at[i] * a[i] + b[i]);
  } else if (t.y) {
    const Pack<T, N> y = Load<T, N>(t.y + at);
    for (int i = 0; i < N; ++i) g.at[i] = rectifier.Passed(g.at[i], y.at[i]);
  }
  return g;
}

template <typename T, int N, typename X, typename Y, typename R>
__global__ void GradientSumsKernel(NormaliseGradientTensors<T, X, Y> t, int64_t rows, int channels,
                                   R rectifier) {
  const int channel = FirstChannel<N>();
  T first[N] = {}, second[N] = {};
  if (channel < channels) {
    T a[N], b[N], mean[N];
    for (int i = 0; i < N; ++i) {
      a[i] = t.affine[channel + i];
      b[i] = t.affine[channels + channel + i];
      mean[i] = t.affine[2 * channels + channel + i];
    }
    for (int64_t row = FirstRow(); row < rows; row += RowStep()) {
      const int64_t at = row * channels + channel;
      const Pack<T, N> x = Load<T, N>(t.x + at);
      const Pack<T, N> g = Passed(t, rectifier, at, x, a, b);
      if (t.g) Store(t.g + at, g);
      for (int i = 0; i < N; ++i) {
        first[i] += g.at[i];
        second[i] += g.at[i] * (x.at[i] - mean[i]);
      }
    }
  }
  StoreSums<T, N>(first, second, channel, channels, t.sums);
}

template <typename T, typename X, typename Y>
__global__ void FinishGradientKernel(NormaliseGradientTensors<T, X, Y> t, int64_t rows,
                                     int channels, int blocks) {
  const int channel = static_cast<int>(blockIdx.x * kFinishLanes + threadIdx.x);
  double sum, product;
  SumParts(t.sums, blocks, channels, channel, &sum, &product);
  if (threadIdx.y != 0 || channel >= channels) return;
  const double n = static_cast<double>(rows), inverse = t.inverse[channel];
  const double factor = t.scale ? static_cast<double>(t.scale[0]) : 1;
  product *= factor;  // with the scaled x
  const double weight = t.weight ? static_cast<double>(t.weight[channel]) : 1;
  t.coefficients[channel] = static_cast<T>(weight * inverse * factor);
  t.coefficients[channels + channel] = static_cast<T>(sum / n);
  t.coefficients[2 * channels + channel] =
      static_cast<T>(product / n * inverse * inverse * factor);
  if (!t.dweight) return;
  t.dweight[channel] = static_cast<T>(product * inverse);
  t.dbias[channel] = static_cast<T>(sum);
}

// dx = scale * (g - mean of g - (x - mean) * slope)
template <typename T, int N, typename X, typename Y, typename R>
__global__ void GradientKernel(NormaliseGradientTensors<T, X, Y> t, int64_t rows, int channels,
                               R rectifier) {
  const int channel = FirstChannel<N>();
  if (channel >= channels) return;
  T a[N], b[N], mean[N], scale[N], mean_g[N], slope[N];
  for (int i = 0; i < N; ++i) {
    a[i] = t.affine[channel + i];
    b[i] = t.affine[channels + channel + i];
    mean[i] = t.affine[2 * channels + channel + i];
    scale[i] = t.coefficients[channel + i];
    mean_g[i] = t.coefficients[channels + channel + i];
    slope[i] = t.coefficients[2 * channels + channel + i];
  }
  for (int64_t row = FirstRow(); row < rows; row += RowStep()) {
    const int64_t at = row * channels + channel;
    const Pack<T, N> x = Load<T, N>(t.x + at);
    const Pack<T, N> g = t.g ? Load<T, N>(t.g + at) : Passed(t, rectifier, at, x, a, b);
    Pack<T, N> out;
    for (int i = 0; i < N; ++i)
      out.at[i] = scale[i] * (g.at[i] - mean_g[i] - (x.at[i] - mean[i]) * slope[i]);
    Store(t.dx + at, out);
  }
}

dim3 FinishGrid(int channels) {
  return dim3(static_cast<unsigned>((channels + kFinishLanes - 1) / kFinishLanes));
}
constexpr dim3 kFinishBlock(kFinishLanes, kFinishRows);

// Y other than T is for codes.
template <typename T, typename Y, typename Body>
void WithRectifierOf(const NormaliseShape& s, const Body& body) {
  WithRectifier<T>(s.rectifier, s.rounding, [&](const auto& rectifier) {
    if constexpr (std::is_same_v<T, Y> || std::decay_t<decltype(rectifier)>::kOfInput)
      body(rectifier);
    else
      throw std::logic_error("values in bf16, expected codes");
  });
}

template <int N, typename T, typename X, typename Y>
void ForwardPacked(const NormaliseShape& s, const NormaliseTensors<T, X, Y>& t, Stream stream) {
  const Launch sums = Over(s, N, kSumBlocks), pass = Over(s, N, kPassBlocks);
  StatisticsKernel<T, N><<<sums.grid, sums.block, 0, stream>>>(t.x, s.rows, s.channels, t.sums);
  FinishStatisticsKernel<<<FinishGrid(s.channels), kFinishBlock, 0, stream>>>(
      t, s.rows, s.channels, static_cast<int>(sums.grid.x));
  WithRectifierOf<T, Y>(s, [&](const auto& rectifier) {
    ForwardKernel<T, N><<<pass.grid, pass.block, 0, stream>>>(t, s.rows, s.channels, rectifier);
  });
  CheckLaunch("Normalise");
}

template <int N, typename T, typename X, typename Y>
void BackwardPacked(const NormaliseShape& s, const NormaliseGradientTensors<T, X, Y>& t,
                    Stream stream) {
  const Launch sums = Over(s, N, kSumBlocks), pass = Over(s, N, kPassBlocks);
  WithRectifierOf<T, Y>(s, [&](const auto& rectifier) {
    GradientSumsKernel<T, N>
        <<<sums.grid, sums.block, 0, stream>>>(t, s.rows, s.channels, rectifier);
    FinishGradientKernel<<<FinishGrid(s.channels), kFinishBlock, 0, stream>>>(
        t, s.rows, s.channels, static_cast<int>(sums.grid.x));
    GradientKernel<T, N><<<pass.grid, pass.block, 0, stream>>>(t, s.rows, s.channels, rectifier);
  });
  CheckLaunch("NormaliseGradient");
}

}  // namespace

int64_t NormaliseShape::scratch() const { return int64_t{kSumBlocks} * 2 * channels; }

template <typename T, typename X, typename Y>
void Normalise(const NormaliseShape& shape, const NormaliseTensors<T, X, Y>& tensors,
               Stream stream) {
  if (shape.channels % kPack<T> == 0)
    ForwardPacked<kPack<T>>(shape, tensors, stream);
  else
    ForwardPacked<1>(shape, tensors, stream);
}

template <typename T, typename X, typename Y>
void NormaliseGradient(const NormaliseShape& shape,
                       const NormaliseGradientTensors<T, X, Y>& tensors, Stream stream) {
  if (shape.channels % kPack<T> == 0)
    BackwardPacked<kPack<T>>(shape, tensors, stream);
  else
    BackwardPacked<1>(shape, tensors, stream);
}

#define LBRT_INSTANTIATE(T, X, Y)                                                                \
  template void Normalise(const NormaliseShape&, const NormaliseTensors<T, X, Y>&, Stream);      \
  template void NormaliseGradient(const NormaliseShape&, const NormaliseGradientTensors<T, X, Y>&, \
                                  Stream);
LBRT_INSTANTIATE(float, float, float)
LBRT_INSTANTIATE(float, Bf16, float)
LBRT_INSTANTIATE(float, float, Bf16)
LBRT_INSTANTIATE(float, Bf16, Bf16)
LBRT_INSTANTIATE(double, double, double)

}  // namespace lbrt::cuda
