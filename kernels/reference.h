// What every row of Kernels means, on unpacked plain values: naive loops that visit the valid taps
// one by one. Never part of liblbrt.a; kernels_test compares every row of every column with it,
// and the interpreter of the converter executes graphs on it, so it shares no table, no packing
// and no padding trick with what it checks. Only numerics.h and shapes.h are common ground.
//
// Tensors are one image, dense: x [height][width][channels], weights [outputs][ky][kx][channels],
// sums and values [out_height][out_width][outputs].
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "kernels/shapes.h"

namespace lbrt::reference {

struct Convolution {
  size_t height, width, channels, outputs;
  Window window;  // a linear layer is a 1x1 window on a 1x1 image
  // Equal runs of channels, each of which an equal run of outputs reads; weights are
  // [outputs][ky][kx][channels of one group].
  size_t groups = 1;

  size_t out_height() const {
    return static_cast<size_t>(OutputHeight(window, static_cast<int>(height)));
  }
  size_t out_width() const {
    return static_cast<size_t>(OutputWidth(window, static_cast<int>(width)));
  }
  size_t pixels() const { return out_height() * out_width(); }
};

// The exact sum of code times code over the valid taps: +-1, ternary or k-bit codes, u8 inputs,
// fixed-point weights. float(sums), one rounding, is what an affine takes.
void IntegerSums(const Convolution& conv, const int32_t* x, const int32_t* weights, int64_t* sums);

// acc = +0; for ky, kx, c ascending over the valid taps: acc = fma(w, x, acc).
void FloatSums(const Convolution& conv, const float* x, const float* weights, float* sums);

// values[p][c] = Affine(values[p][c], a[c], b[c]); b_of_pixel[p][c] where b depends on the border
// class (b is null then).
void Affine(size_t pixels, size_t channels, const float* a, const float* b,
            const float* const* b_of_pixel, float* values);
void Add(size_t count, const float* residual, float* values);
void Activate(size_t count, Activation activation, float* values);
// PRelu, which Activate does not know, has a slope a channel.
void ActivatePRelu(size_t pixels, size_t channels, const float* slopes, float* values);
void Signs(size_t count, const float* values, int32_t* signs);  // +-1
// codes = ActivationCode(values, inverse_step, levels): 0 to levels.
void Codes(size_t count, const float* values, float inverse_step, int levels, int32_t* codes);

// codes[p][c] = how many of thresholds [levels][channels] are <= values[p][c].
void CountThresholds(size_t pixels, size_t channels, const double* values, int levels,
                     const double* thresholds, int32_t* codes);

// y [out_height][out_width][before + channels + after]; conv.outputs is not used.
void AveragePool(const Convolution& conv, const float* x, float scale, size_t before, size_t after,
                 float* y);

// The first valid tap y, then y = x > y ? x : y for the others in order. Floats or codes; y
// [out_height][out_width][channels]; conv.outputs is not used. Every window has a valid tap. Of a
// channel with minimum[c] not 0 it is the smallest; null: of none.
void MaxPool(const Convolution& conv, const float* x, float* y,
             const uint8_t* minimum = nullptr);
void MaxPool(const Convolution& conv, const int32_t* x, int32_t* y,
             const uint8_t* minimum = nullptr);

}  // namespace lbrt::reference
