// Any-precision weights: two kernels forward and two backward, each a pass over the weights. Blocks
// leave partial results, which every block of the next kernel combines for itself.
#include <cmath>

#include "trainer/cuda/device.cuh"
#include "trainer/cuda/kernels.h"

namespace lbrt::cuda {
namespace {

constexpr int kBlocks = kThreads;  // at most: a thread for each block's part

template <typename Body>
__device__ void ForOwn(int64_t n, const Body& body) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * kThreads)
    body(i);
}

// Both kinds of parts, combined: parts [2][blocks].
template <typename OfSecond, typename T>
__device__ void Combine(const T* parts, int blocks, double* first, T* second) {
  const int i = static_cast<int>(threadIdx.x);
  *first = OverBlock<kThreads>(i < blocks ? static_cast<double>(parts[i]) : 0.0);
  *second = OverBlock<kThreads, OfSecond>(i < blocks ? parts[blocks + i] : T{0});
}

// parts: the sum of |w|, the largest |tanh w|.
template <typename T>
__global__ void PartsKernel(const T* weight, int64_t n, T* parts) {
  double sum = 0;
  T largest = 0;
  ForOwn(n, [&](int64_t i) {
    sum += static_cast<double>(abs(weight[i]));
    largest = Largest::Of(largest, abs(tanh(weight[i])));
  });
  sum = OverBlock<kThreads>(sum);
  largest = OverBlock<kThreads, Largest>(largest);
  if (threadIdx.x != 0) return;
  parts[blockIdx.x] = static_cast<T>(sum);
  parts[gridDim.x + blockIdx.x] = largest;
}

template <typename T>
__global__ void CodesKernel(const T* weight, const T* parts, AnyPrecisionShape shape, T* codes,
                            T* scale, T* largest) {
  double sum;
  T top;
  Combine<Largest>(parts, static_cast<int>(gridDim.x), &sum, &top);
  const bool floats = shape.bits == 32;
  const int levels = floats ? 1 : (1 << shape.bits) - 1;
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    scale[0] = static_cast<T>(sum / static_cast<double>(shape.n)) / static_cast<T>(levels);
    largest[0] = top;
  }
  ForOwn(shape.n, [&](int64_t i) {
    const T t = tanh(weight[i]);
    if (floats) {
      codes[i] = t / top;
      return;
    }
    const T u = t / 2 / top + T{0.5};
    const T last = static_cast<T>(levels);
    T q = rint(u * last);
    if (shape.truncating) {
      q = floor(u * static_cast<T>(levels + 1));
      if (q > last) q = last;
    }
    codes[i] = q * 2 - last;
  });
}

// parts: the sum of g tanh w, the count of weights that are the largest.
template <typename T>
__global__ void GradientPartsKernel(const T* weight, const T* grad, const T* largest, int64_t n,
                                    T* parts) {
  const T top = largest[0];
  double sum = 0;
  T count = 0;
  ForOwn(n, [&](int64_t i) {
    const T t = tanh(weight[i]);
    sum += static_cast<double>(grad[i]) * static_cast<double>(t);
    count += static_cast<T>(abs(t) == top);
  });
  sum = OverBlock<kThreads>(sum);
  count = OverBlock<kThreads>(count);
  if (threadIdx.x != 0) return;
  parts[blockIdx.x] = static_cast<T>(sum);
  parts[gridDim.x + blockIdx.x] = count;
}

// codes go as levels * t / top; the gradient of top is shared by those that are it.
template <typename T>
__global__ void GradientKernel(const T* weight, const T* grad, const T* largest, const T* parts,
                               AnyPrecisionShape shape, T* dweight) {
  double sum;
  T count;
  Combine<Sum>(parts, static_cast<int>(gridDim.x), &sum, &count);
  const T top = largest[0];
  const double levels = shape.bits == 32 ? 1 : (1 << shape.bits) - 1;
  const double wide = static_cast<double>(top);
  const T slope = static_cast<T>(levels / wide);
  const T share = static_cast<T>(-levels * sum / (wide * wide) / static_cast<double>(count));
  ForOwn(shape.n, [&](int64_t i) {
    const T t = tanh(weight[i]);
    T dt = grad[i] * slope;
    if (abs(t) == top) dt += t > 0 ? share : -share;
    dweight[i] = dt * (1 - t * t);
  });
}

unsigned BlocksOf(int64_t n) {
  const int64_t all = (n + 4 * kThreads - 1) / (4 * kThreads);
  return static_cast<unsigned>(all < kBlocks ? all : kBlocks);
}

}  // namespace

int64_t AnyPrecisionShape::scratch() const { return 2 * int64_t{BlocksOf(n)}; }

template <typename T>
void AnyPrecisionWeights(const AnyPrecisionShape& shape, const T* weight, T* sums, T* codes,
                         T* scale, T* largest, Stream stream) {
  const unsigned blocks = BlocksOf(shape.n);
  PartsKernel<<<blocks, kThreads, 0, stream>>>(weight, shape.n, sums);
  CodesKernel<<<blocks, kThreads, 0, stream>>>(weight, sums, shape, codes, scale, largest);
  CheckLaunch("AnyPrecisionWeights");
}

template <typename T>
void AnyPrecisionWeightsGradient(const AnyPrecisionShape& shape, const T* weight, const T* grad,
                                 const T* largest, T* sums, T* dweight, Stream stream) {
  const unsigned blocks = BlocksOf(shape.n);
  GradientPartsKernel<<<blocks, kThreads, 0, stream>>>(weight, grad, largest, shape.n, sums);
  GradientKernel<<<blocks, kThreads, 0, stream>>>(weight, grad, largest, sums, shape, dweight);
  CheckLaunch("AnyPrecisionWeightsGradient");
}

#define LBRT_INSTANTIATE(T)                                                                    \
  template void AnyPrecisionWeights(const AnyPrecisionShape&, const T*, T*, T*, T*, T*, Stream); \
  template void AnyPrecisionWeightsGradient(const AnyPrecisionShape&, const T*, const T*,      \
                                            const T*, T*, T*, Stream);
LBRT_INSTANTIATE(float)
LBRT_INSTANTIATE(double)

}  // namespace lbrt::cuda
