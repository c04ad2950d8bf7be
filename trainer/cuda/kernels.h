// The trainer's own CUDA kernels, for programs of a LibTorch with CUDA (LBRT_CUDA): the functions
// that are most of a training step's time next to the convolutions, each in as few passes over its
// tensors as it can be done in. What they compute is said where they are called: normalise.h and
// quantizers.h. Sums are made in a fixed order, so a step's results do not change from run to run.
//
// All pointers are to device memory, of T float or double; kernels are launched on `stream`. What a
// convolution reads or returns may be bf16 where T is float (trainer/precision.h).
#pragma once

#include <cstdint>

#include "trainer/rectifier.h"

struct CUstream_st;
struct __nv_bfloat16;

namespace lbrt::cuda {

using Stream = CUstream_st*;
using Bf16 = __nv_bfloat16;

// --- Batch norm, residual addition and rectifier (trainer/normalise.h) ---------------------------

// x, y and so on are [rows, channels]: pixels of a channels-last tensor.
struct NormaliseShape {
  int64_t rows;
  int channels;
  Rectifier rectifier;
  ClippedRounding rounding;
  // Elements of `sums`, memory that the kernels need for themselves.
  int64_t scratch() const;
};

// X is the type of x, Y that of y: T or Bf16; y is Bf16 for codes alone.
template <typename T, typename X, typename Y>
struct NormaliseTensors {
  const X* x;
  const T* scale;                 // x is multiplied by it first: 1 element, or nullptr
  const T* residual;              // or nullptr
  const T *weight, *bias;         // [channels], or nullptr: 1 and 0
  T *running_mean, *running_var;  // updated
  double eps, momentum;
  T* sums;
  Y* y;
  double* inverse;  // [channels]: 1 / standard deviation, for the backward pass
  T* affine;        // [3, channels]: factors and offsets of x, and its means, likewise
};
template <typename T, typename X, typename Y>
void Normalise(const NormaliseShape& shape, const NormaliseTensors<T, X, Y>& tensors,
               Stream stream);

template <typename T, typename X, typename Y>
struct NormaliseGradientTensors {
  const Y* grad;
  const X* x;
  const T* scale;
  const Y* y;       // where the rectifier reads it
  const T* weight;  // or nullptr
  const double* inverse;
  const T* affine;
  T* sums;
  T* coefficients;  // [3, channels], scratch
  T* g;             // the gradient behind the rectifier, for the residual; or nullptr
  X* dx;
  T *dweight, *dbias;  // or nullptr
};
template <typename T, typename X, typename Y>
void NormaliseGradient(const NormaliseShape& shape,
                       const NormaliseGradientTensors<T, X, Y>& tensors, Stream stream);

// --- ReCU (methods.md 4.1, trainer/quantizers.h) -------------------------------------------------

// Samples of n elements each; mean and inverse deviation [samples] are for the gradient. S is the
// type of the signs and of what comes back to them.
template <typename T, typename S>
void RecuSign(const T* x, int64_t samples, int64_t n, S* signs, T* mean, T* inverse,
              Stream stream);
// direct: what comes back to x on other ways, or nullptr.
template <typename T, typename S>
void RecuSignGradient(const T* x, const S* grad, const T* direct, const T* mean, const T* inverse,
                      int64_t samples, int64_t n, T* dx, Stream stream);

// Weights [outputs, taps] with tau [1]; `rows` [3, outputs] and `limit` [1] are for the gradient.
template <typename T>
void RecuWeights(const T* weight, const T* tau, int64_t outputs, int64_t taps, T* signs, T* rows,
                 T* limit, Stream stream);
template <typename T>
void RecuWeightsGradient(const T* weight, const T* grad, const T* rows, const T* limit,
                         int64_t outputs, int64_t taps, T* dweight, Stream stream);

// --- Any-precision weights (methods.md 1.1, trainer/quantizers.h) --------------------------------

struct AnyPrecisionShape {
  int64_t n;  // weights
  int bits;   // 1 .. 8, or 32
  bool truncating;
  int64_t scratch() const;  // elements of `sums`
};
// scale [1]; `largest` [1] is for the gradient.
template <typename T>
void AnyPrecisionWeights(const AnyPrecisionShape& shape, const T* weight, T* sums, T* codes,
                         T* scale, T* largest, Stream stream);
template <typename T>
void AnyPrecisionWeightsGradient(const AnyPrecisionShape& shape, const T* weight, const T* grad,
                                 const T* largest, T* sums, T* dweight, Stream stream);

// --- Images (trainer/samples.h) ------------------------------------------------------------------

// The crops that moves [3, n] (y, x, 1 for a flip; rows are `stride` apart) say of images
// [., height, width, channels], normalised by table [channels, 256]: out [n, height, width,
// channels]. `chosen` [n] numbers the images.
struct Crops {
  const uint8_t* images;
  const int64_t *chosen, *moves;
  const float* table;
  int64_t n, stride;
  int height, width, channels;
  bool reflect;  // at the border; else it is black
};
void CropAndNormalise(const Crops& crops, float* out, Stream stream);

}  // namespace lbrt::cuda
