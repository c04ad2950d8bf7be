#include "kernels/reference.h"

#include <vector>

#include "kernels/numerics.h"

namespace lbrt::reference {
namespace {

// Calls visit(pixel, tap, input pixel) for each valid tap of each output pixel, taps ascending.
template <typename Visit>
void ForEachTap(const Convolution& conv, Visit visit) {
  const Window& w = conv.window;
  for (size_t oy = 0; oy < conv.out_height(); ++oy) {
    for (size_t ox = 0; ox < conv.out_width(); ++ox) {
      for (int ky = 0; ky < w.kernel_h; ++ky) {
        for (int kx = 0; kx < w.kernel_w; ++kx) {
          const int iy = static_cast<int>(oy) * w.stride_h - w.pad_top + ky;
          const int ix = static_cast<int>(ox) * w.stride_w - w.pad_left + kx;
          if (iy < 0 || ix < 0 || iy >= static_cast<int>(conv.height) ||
              ix >= static_cast<int>(conv.width)) {
            continue;
          }
          visit(oy * conv.out_width() + ox, static_cast<size_t>(ky * w.kernel_w + kx),
                static_cast<size_t>(iy) * conv.width + static_cast<size_t>(ix));
        }
      }
    }
  }
}

// Sums of step(acc, w, x) for every output, over valid taps and channels ascending.
template <typename T, typename Sum, typename Step>
void Sums(const Convolution& conv, const T* x, const T* weights, Sum* sums, Step step) {
  for (size_t i = 0; i < conv.pixels() * conv.outputs; ++i) sums[i] = 0;
  ForEachTap(conv, [&](size_t pixel, size_t tap, size_t input) {
    const size_t taps = static_cast<size_t>(conv.window.taps());
    const size_t channels = conv.channels / conv.groups;
    for (size_t o = 0; o < conv.outputs; ++o) {
      Sum& sum = sums[pixel * conv.outputs + o];
      const size_t first = o / (conv.outputs / conv.groups) * channels;
      for (size_t c = 0; c < channels; ++c) {
        sum = step(sum, weights[(o * taps + tap) * channels + c],
                   x[input * conv.channels + first + c]);
      }
    }
  });
}

template <typename T>
void Maxima(const Convolution& conv, const T* x, const uint8_t* minimum, T* y) {
  std::vector<bool> met(conv.pixels(), false);
  ForEachTap(conv, [&](size_t pixel, size_t, size_t input) {
    for (size_t c = 0; c < conv.channels; ++c) {
      const T tap = x[input * conv.channels + c];
      T& best = y[pixel * conv.channels + c];
      const bool smallest = minimum != nullptr && minimum[c] != 0;
      if (!met[pixel] || (smallest ? tap < best : tap > best)) best = tap;
    }
    met[pixel] = true;
  });
}

}  // namespace

void IntegerSums(const Convolution& conv, const int32_t* x, const int32_t* weights,
                 int64_t* sums) {
  Sums(conv, x, weights, sums,
       [](int64_t sum, int32_t w, int32_t value) { return sum + int64_t{w} * value; });
}

void FloatSums(const Convolution& conv, const float* x, const float* weights, float* sums) {
  Sums(conv, x, weights, sums,
       [](float sum, float w, float value) { return ExactFma(w, value, sum); });
}

void Affine(size_t pixels, size_t channels, const float* a, const float* b,
            const float* const* b_of_pixel, float* values) {
  for (size_t p = 0; p < pixels; ++p) {
    const float* bias = b_of_pixel != nullptr ? b_of_pixel[p] : b;
    for (size_t c = 0; c < channels; ++c) {
      float& z = values[p * channels + c];
      z = ExactFma(z, a[c], bias[c]);
    }
  }
}

void Add(size_t count, const float* residual, float* values) {
  for (size_t i = 0; i < count; ++i) values[i] += residual[i];
}

void Activate(size_t count, Activation activation, float* values) {
  for (size_t i = 0; i < count; ++i) {
    if (activation == Activation::kRelu) values[i] = Relu(values[i]);
    if (activation == Activation::kHardtanh) values[i] = Hardtanh(values[i]);
    if (activation == Activation::kClipUnit) values[i] = ClipUnit(values[i]);
  }
}

void Signs(size_t count, const float* values, int32_t* signs) {
  for (size_t i = 0; i < count; ++i) signs[i] = SignBit(values[i]) ? 1 : -1;
}

void ActivatePRelu(size_t pixels, size_t channels, const float* slopes, float* values) {
  for (size_t i = 0; i < pixels * channels; ++i) values[i] = PRelu(values[i], slopes[i % channels]);
}

void Codes(size_t count, const float* values, float inverse_step, int levels, int32_t* codes) {
  for (size_t i = 0; i < count; ++i) {
    codes[i] = static_cast<int32_t>(ActivationCode(values[i], inverse_step, levels));
  }
}

void CountThresholds(size_t pixels, size_t channels, const double* values, int levels,
                     const double* thresholds, int32_t* codes) {
  for (size_t i = 0; i < pixels * channels; ++i) {
    codes[i] = 0;
    for (size_t level = 0; level < static_cast<size_t>(levels); ++level) {
      codes[i] += thresholds[level * channels + i % channels] <= values[i] ? 1 : 0;
    }
  }
}

void AveragePool(const Convolution& conv, const float* x, float scale, size_t before, size_t after,
                 float* y) {
  const size_t stride = before + conv.channels + after;
  for (size_t i = 0; i < conv.pixels() * stride; ++i) y[i] = 0.0f;
  ForEachTap(conv, [&](size_t pixel, size_t, size_t input) {
    for (size_t c = 0; c < conv.channels; ++c) {
      y[pixel * stride + before + c] += x[input * conv.channels + c];
    }
  });
  for (size_t pixel = 0; pixel < conv.pixels(); ++pixel) {
    for (size_t c = 0; c < conv.channels; ++c) y[pixel * stride + before + c] *= scale;
  }
}

void MaxPool(const Convolution& conv, const float* x, float* y, const uint8_t* minimum) {
  Maxima(conv, x, minimum, y);
}
void MaxPool(const Convolution& conv, const int32_t* x, int32_t* y, const uint8_t* minimum) {
  Maxima(conv, x, minimum, y);
}

}  // namespace lbrt::reference
