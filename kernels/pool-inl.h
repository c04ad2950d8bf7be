// average_pool_rows, average_pool_lanes and the max_pools in Highway, compiled once per target.

#include <cstring>
#include <type_traits>

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

// A row of outputs of stride 1 or 2 where all horizontal taps are valid, from `ox` on. `in` is the
// pixel under the first tap of output 0. Returns the first output that is left, less than a vector
// before the end.
template <class D>
HWY_INLINE size_t PoolRowVectors(D d, const AveragePool& p, const float* in, int kernel_h,
                                 size_t ox, size_t end, float* out) {
  const size_t lanes = hn::Lanes(d), stride = static_cast<size_t>(p.window.stride_w);
  for (; ox + lanes <= end; ox += lanes) {
    auto sum = hn::Zero(d);
    const float* row = in + ox * stride;
    for (int ky = 0; ky < kernel_h; ++ky, row += p.width) {
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

// Windows of 2x2, a stride of 2 and no padding on images of even height: all channels are one
// sequence of pairs of rows, and every pixel is loaded once.
template <class D>
HWY_INLINE size_t PoolRowPair(D d, const float* in, size_t width, size_t ox, float scale,
                              float* out) {
  const size_t lanes = hn::Lanes(d);
  for (; ox + lanes <= width / 2; ox += lanes) {
    hn::Vec<D> even0, odd0, even1, odd1;
    hn::LoadInterleaved2(d, in + 2 * ox, even0, odd0);
    hn::LoadInterleaved2(d, in + 2 * ox + width, even1, odd1);
    const auto upper = Sum(Sum(hn::Zero(d), even0), odd0);
    hn::StoreU(Product(hn::Set(d, scale), Sum(Sum(upper, even1), odd1)), d, out + ox);
  }
  return ox;
}
HWY_INLINE void PoolPairs(const AveragePool& p, float* out) {
  const size_t width = p.width, pairs = p.channels * p.height / 2, ow = width / 2;
  const float* in = p.in;
  for (size_t row = 0; row < pairs; ++row, in += 2 * width, out += ow) {
    size_t done = PoolRowPair(hn::ScalableTag<float>(), in, width, 0, p.scale, out);
    done = PoolRowPair(hn::CappedTag<float, 4>(), in, width, done, p.scale, out);
    if (done == ow) continue;
    scalar::AveragePoolLanesRange(p, row / (p.height / 2), row % (p.height / 2), done, ow);
  }
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
  if (w == SquareWindow(2, 2, 0) && height % 2 == 0) return PoolPairs(p, out);
  // Output columns [inner, inner_end) have all their taps.
  size_t inner = 0, inner_end = ow;
  while (inner < ow && ValidColumns(w, width, static_cast<int>(inner)).size() < w.kernel_w) ++inner;
  while (inner_end > inner &&
         ValidColumns(w, width, static_cast<int>(inner_end) - 1).size() < w.kernel_w) {
    --inner_end;
  }
  for (size_t c = 0; c < p.channels; ++c) {
    const float* in = p.in + c * p.height * p.width;
    for (size_t oy = 0; oy < oh; ++oy, out += ow) {
      const TapRange ys = ValidRows(w, height, static_cast<int>(oy));
      const int iy = static_cast<int>(oy) * w.stride_h - w.pad_top + ys.begin;
      const float* row = in + iy * width - w.pad_left;
      size_t done = inner;
      if (w.stride_w <= 2) {
        done = PoolRowVectors(hn::ScalableTag<float>(), p, row, ys.size(), done, inner_end, out);
        done = PoolRowVectors(hn::CappedTag<float, 4>(), p, row, ys.size(), done, inner_end, out);
      }
      if (inner > 0) scalar::AveragePoolLanesRange(p, c, oy, 0, inner);
      if (done < ow) scalar::AveragePoolLanesRange(p, c, oy, done, ow);
    }
  }
}

// x > y ? x : y.
template <class V>
HWY_INLINE V Larger(V x, V y) {
  if constexpr (std::is_same_v<hn::TFromV<V>, float>) {
    return SelectGreater(x, y);
  } else {
    return hn::Max(x, y);
  }
}

// Channels of one output pixel from c on, in whole vectors; returns the first that is left. `in` is
// the first of ys * xs valid taps. The smallest code is the largest of all codes flipped.
template <bool kFlip, class D, typename T>
HWY_INLINE size_t MaxPoolVectors(D d, const MaxPool<T>& p, const T* in, int ys, int xs, size_t c,
                                 T* out) {
  const size_t lanes = hn::Lanes(d);
  for (; c + lanes <= p.channels; c += lanes) {
    const T* row = in + c;
    const auto flipped = [&](auto codes) HWY_ATTR {
      if constexpr (kFlip) return hn::Xor(codes, hn::LoadU(d, p.flip + c));
      return codes;
    };
    auto best = flipped(hn::LoadU(d, row));
    for (int ky = 0; ky < ys; ++ky, row += p.width * p.channels) {
      for (int kx = 0; kx < xs; ++kx) {
        best = Larger(flipped(hn::LoadU(d, row + static_cast<size_t>(kx) * p.channels)), best);
      }
    }
    hn::StoreU(flipped(best), d, out + c);
  }
  return c;
}

template <bool kFlip, typename T>
HWY_INLINE void MaxPoolRows(const MaxPool<T>& p) {
  const Window& w = p.window;
  const int height = static_cast<int>(p.height), width = static_cast<int>(p.width);
  T* out = p.out;
  for (int oy = 0; oy < OutputHeight(w, height); ++oy) {
    const TapRange ys = ValidRows(w, height, oy);
    const int iy = oy * w.stride_h - w.pad_top + ys.begin;
    for (int ox = 0; ox < OutputWidth(w, width); ++ox, out += p.channels) {
      const TapRange xs = ValidColumns(w, width, ox);
      const int ix = ox * w.stride_w - w.pad_left + xs.begin;
      const T* in = p.in + static_cast<size_t>(iy * width + ix) * p.channels;
      size_t c = MaxPoolVectors<kFlip>(hn::ScalableTag<T>(), p, in, ys.size(), xs.size(), 0, out);
      c = MaxPoolVectors<kFlip>(hn::CappedTag<T, 16 / sizeof(T)>(), p, in, ys.size(), xs.size(), c,
                                out);
      if (sizeof(T) == 1) {
        c = MaxPoolVectors<kFlip>(hn::CappedTag<T, 4>(), p, in, ys.size(), xs.size(), c, out);
      }
      if (c == p.channels) continue;
      scalar::MaxPoolRange(p, static_cast<size_t>(oy), static_cast<size_t>(ox), c, p.channels);
    }
  }
}

void MaxPoolF32(const MaxPool<float>& p) { MaxPoolRows<false>(p); }
void MaxPoolCodes(const MaxPool<uint8_t>& p) {
  if (p.flip == nullptr) return MaxPoolRows<false>(p);
  MaxPoolRows<true>(p);
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
