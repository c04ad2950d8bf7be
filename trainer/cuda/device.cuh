// What the kernels share.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace lbrt::cuda {

constexpr int kThreads = 256;

// As many neighbouring elements as a thread reads at once: 16 bytes of T, or one.
template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};
template <typename T>
constexpr int kPack = 16 / sizeof(T);

// N elements of another type as T, and back.
template <typename T, int N, typename X>
__device__ Pack<T, N> Load(const X* from) {
  const Pack<X, N> in = *reinterpret_cast<const Pack<X, N>*>(from);
  Pack<T, N> out;
  for (int i = 0; i < N; ++i) out.at[i] = static_cast<T>(in.at[i]);
  return out;
}
template <typename X, typename T, int N>
__device__ void Store(X* to, const Pack<T, N>& pack) {
  Pack<X, N> out;
  for (int i = 0; i < N; ++i) out.at[i] = static_cast<X>(pack.at[i]);
  *reinterpret_cast<Pack<X, N>*>(to) = out;
}

struct Sum {
  template <typename T>
  __device__ static T Of(T a, T b) {
    return a + b;
  }
};
struct Largest {
  template <typename T>
  __device__ static T Of(T a, T b) {
    return a > b ? a : b;
  }
};

// The sum, or the largest, of the values >= 0 of a block of `Threads` threads in one row; in every
// thread.
template <int Threads, typename Of = Sum, typename T>
__device__ T OverBlock(T value) {
  __shared__ T warps[Threads / 32];
  for (int step = 16; step > 0; step /= 2)
    value = Of::Of(value, __shfl_xor_sync(~0u, value, step));
  __syncthreads();  // the result before may still be read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  T result = warps[0];
  for (int w = 1; w < Threads / 32; ++w) result = Of::Of(result, warps[w]);
  return result;
}

inline void CheckLaunch(const char* name) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("CUDA kernel ") + name + ": " + cudaGetErrorString(error));
}

}  // namespace lbrt::cuda
