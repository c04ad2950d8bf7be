// fp32 sums and affines in the fixed order of design.md section 2, for deploy-eval: a loop of its
// own, so that its agreement with the runtime proves something. Values are NHWC.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/shapes.h"

namespace lbrt {

// Weights of a convolution, its output channels padded to whole vectors.
class OrderedSums {
 public:
  // Images are height x width x channels; weights [outputs][kernel_h][kernel_w][channels].
  OrderedSums(int height, int width, int channels, const Window& window,
              const std::vector<float>& weights);

  // One row of output pixels: for each pixel and output channel acc = +0, then for ky, kx, c
  // ascending over the valid taps acc = fma(w, a, acc). image: [height width channels], out: the
  // row's [output width][outputs].
  void Row(const float* image, int out_y, float* out) const;

 private:
  int height_, width_, channels_, outputs_;
  Window window_;
  std::vector<float> weights_;  // [kernel_h][kernel_w][channels][padded_]
  size_t padded_;
};

// z[i] = fma(x[i], a[i], b[i]) for the channels of one pixel.
void AffinePixel(const float* x, const float* a, const float* b, size_t channels, float* z);

}  // namespace lbrt
