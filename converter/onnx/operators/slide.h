// Windows that slide over images, of convolutions and poolings.
#pragma once

#include "converter/onnx/operators/operator.h"

namespace lbrt::onnx::operators {

struct Slide {
  int64_t kernel[2], stride[2], dilation[2], before[2], after[2];
  int64_t out[2];
};

// Kernel, strides and padding of a node over images of height[0] and width[1]; one spatial axis is
// a width.
Slide SlideOf(const Call& call, std::vector<int64_t> kernel, int64_t height, int64_t width);

// N, C, H, W of [N, C, W] or [N, C, H, W].
struct Images {
  int64_t n, c, h, w;
};
Images ImagesOf(const Call& call, const Value& x);
Shape ImageShape(const Value& x, int64_t channels, const Slide& s);

// visit(y, x) for each tap (ky, kx) of output (oy, ox) that lies inside of the image.
template <typename Visit>
void ForEachTap(const Slide& s, const Images& x, int64_t oy, int64_t ox, Visit visit) {
  for (int64_t ky = 0; ky < s.kernel[0]; ++ky)
    for (int64_t kx = 0; kx < s.kernel[1]; ++kx) {
      const int64_t y = oy * s.stride[0] - s.before[0] + ky * s.dilation[0];
      const int64_t column = ox * s.stride[1] - s.before[1] + kx * s.dilation[1];
      if (y >= 0 && y < x.h && column >= 0 && column < x.w) visit(ky, kx, y, column);
    }
}

}  // namespace lbrt::onnx::operators
