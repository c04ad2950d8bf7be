// average_pool_rows and average_pool_lanes in Highway, compiled once per target.

#include <cstring>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void AveragePoolRows(const AveragePool& p) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d), whole = p.channels / lanes * lanes;
  const Window& w = p.window;
  const int height = static_cast<int>(p.height), width = static_cast<int>(p.width);
  float* out = p.out;
  for (int oy = 0; oy < OutputHeight(w, height); ++oy) {
    const TapRange ys = ValidRows(w, height, oy);
    for (int ox = 0; ox < OutputWidth(w, width); ++ox) {
      const TapRange xs = ValidColumns(w, width, ox);
      std::memset(out, 0, p.before * sizeof(float));
      out += p.before;
      for (size_t c = 0; c < whole; c += lanes) {
        auto sum = hn::Zero(d);
        for (int ky = ys.begin; ky < ys.end; ++ky) {
          const int iy = oy * w.stride_h - w.pad_top + ky;
          for (int kx = xs.begin; kx < xs.end; ++kx) {
            const int ix = ox * w.stride_w - w.pad_left + kx;
            sum = Sum(sum,
                      hn::LoadU(d, p.in + static_cast<size_t>(iy * width + ix) * p.channels + c));
          }
        }
        hn::StoreU(Product(hn::Set(d, p.scale), sum), d, out + c);
      }
      scalar::AveragePoolRowsRange(p, static_cast<size_t>(oy), static_cast<size_t>(ox), whole,
                                   p.channels);
      out += p.channels;
      std::memset(out, 0, p.after * sizeof(float));
      out += p.after;
    }
  }
}

// A row of outputs of stride 1 or 2 where all horizontal taps are valid, from `ox` on; the rest,
// less than a vector, is left. Returns where it begins.
HWY_INLINE size_t PoolRowVectors(const AveragePool& p, const float* plane, TapRange ys, int iy,
                                 size_t ox, size_t end, float* out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d), stride = static_cast<size_t>(p.window.stride_w);
  for (; ox + lanes <= end; ox += lanes) {
    auto sum = hn::Zero(d);
    for (int ky = ys.begin; ky < ys.end; ++ky) {
      const float* row = plane + static_cast<size_t>(iy + ky) * p.width + ox * stride -
                         static_cast<size_t>(p.window.pad_left);
      for (int kx = 0; kx < p.window.kernel_w; ++kx) {
        const auto first = hn::LoadU(d, row + kx);
        if (stride == 1) {
          sum = Sum(sum, first);
          continue;
        }
        // Two loads that end at the last pixel: even pixels of the first, odd ones of the second.
        const auto second = hn::LoadU(d, row + kx + lanes - 1);
        sum = Sum(sum, hn::ConcatUpperLower(d, hn::ConcatOdd(d, second, second),
                                            hn::ConcatEven(d, first, first)));
      }
    }
    hn::StoreU(Product(hn::Set(d, p.scale), sum), d, out + ox);
  }
  return ox;
}

// One output per channel, in lanes order: eight channels at a time, so that their sums, each in
// its fixed order, overlap.
HWY_INLINE void PoolGlobal(const AveragePool& p, float* out) {
  const size_t plane = p.height * p.width;
  size_t c = 0;
  for (; c + 8 <= p.channels; c += 8) {
    const float* in = p.in + c * plane;
    float sums[8] = {};
    for (size_t i = 0; i < plane; ++i) {
      for (size_t j = 0; j < 8; ++j) sums[j] += in[j * plane + i];
    }
    for (size_t j = 0; j < 8; ++j) out[c + j] = p.scale * sums[j];
  }
  for (; c < p.channels; ++c) scalar::AveragePoolLanesRange(p, c, 0, 0, 1);
}

void AveragePoolLanes(const AveragePool& p) {
  const Window& w = p.window;
  const int height = static_cast<int>(p.height), width = static_cast<int>(p.width);
  const size_t oh = static_cast<size_t>(OutputHeight(w, height));
  const size_t ow = static_cast<size_t>(OutputWidth(w, width)), plane = oh * ow;
  std::memset(p.out, 0, p.before * plane * sizeof(float));
  std::memset(p.out + (p.before + p.channels) * plane, 0, p.after * plane * sizeof(float));
  float* out = p.out + p.before * plane;
  if (w.kernel_h == height && w.kernel_w == width && plane == 1) return PoolGlobal(p, out);
  // Output columns [inner, inner_end) have all their taps.
  size_t inner = 0, inner_end = ow;
  while (inner < ow && ValidColumns(w, width, static_cast<int>(inner)).size() < w.kernel_w) ++inner;
  while (inner_end > inner &&
         ValidColumns(w, width, static_cast<int>(inner_end) - 1).size() < w.kernel_w) {
    --inner_end;
  }
  for (size_t c = 0; c < p.channels; ++c) {
    for (size_t oy = 0; oy < oh; ++oy, out += ow) {
      scalar::AveragePoolLanesRange(p, c, oy, 0, inner);
      size_t done = inner;
      if (w.stride_w <= 2) {
        done = PoolRowVectors(p, p.in + c * p.height * p.width,
                              ValidRows(w, height, static_cast<int>(oy)),
                              static_cast<int>(oy) * w.stride_h - w.pad_top, inner, inner_end, out);
      }
      scalar::AveragePoolLanesRange(p, c, oy, done, ow);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
