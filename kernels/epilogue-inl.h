// epilogue_rows and epilogue_lanes in Highway, compiled once per target.

#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Both activations are one Clip: relu(x) = Clip(x, +0, inf), NaN and -0.0 included.
struct Bounds {
  float low, high;
};
constexpr Bounds BoundsOf(Activation activation) {
  return activation == Activation::kRelu ? Bounds{0.0f, std::numeric_limits<float>::infinity()}
                                         : Bounds{-1.0f, 1.0f};
}

template <class D>  // float
HWY_INLINE hn::Vec<D> LoadInput(D d, const Epilogue& e, size_t i) {
  const hn::RebindToSigned<D> di;
  return e.sums != nullptr ? ToFloat(d, hn::LoadU(di, e.sums + i)) : hn::LoadU(d, e.values + i);
}

void EpilogueRows(const lbrt::EpilogueRows& e) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d), whole = e.channels / lanes * lanes;
  const Bounds bounds = BoundsOf(e.activation);
  const auto low = hn::Set(d, bounds.low), high = hn::Set(d, bounds.high);
  for (size_t p = 0; p < e.pixels; ++p) {
    const float* b = e.b_rows != nullptr ? e.b_rows[p] : e.b;
    uint8_t* bits = e.bits != nullptr ? e.bits + p * e.bits_stride : nullptr;
    if (bits != nullptr) std::memset(bits, 0, PixelBytes(e.channels));
    for (size_t c = 0; c < whole; c += lanes) {
      auto z = LoadInput(d, e, p * e.in_stride + c);
      if (e.a != nullptr) z = Fma(d, z, hn::LoadU(d, e.a + c), hn::LoadU(d, b + c));
      if (e.residual != nullptr) {
        z = Sum(z, hn::LoadU(d, e.residual + p * e.residual_stride + c));
      }
      if (e.activation != Activation::kNone) z = Clip(z, low, high);
      if (e.out != nullptr) hn::StoreU(z, d, e.out + p * e.out_stride + c);
      if (bits != nullptr) {
        uint8_t signs[8] = {};
        hn::StoreMaskBits(d, SignMask(d, z), signs);
        if (lanes < 8) {
          bits[c / 8] |= static_cast<uint8_t>(signs[0] << (c % 8));
        } else {
          std::memcpy(bits + c / 8, signs, lanes / 8);
        }
      }
    }
    scalar::EpilogueRowsRange(e, p, whole, e.channels, bits);
  }
}

// The vectors of pixels [begin, end) of which b_row, if not null, is one image row; the rest, less
// than a vector, is left. Returns where it begins.
HWY_INLINE size_t EpilogueLanesVectors(const lbrt::EpilogueLanes& e, size_t begin, size_t end,
                                       const float* b_row) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const size_t lanes = hn::Lanes(d), pixel_bytes = PixelBytes(e.channels);
  const Bounds bounds = BoundsOf(e.activation);
  const auto low = hn::Set(d, bounds.low), high = hn::Set(d, bounds.high);
  size_t i = begin;
  for (; i + lanes <= end; i += lanes) {
    auto word0 = hn::Zero(du), word1 = word0;  // channels below 32, and from there on
    for (size_t c = 0; c < e.channels; ++c) {
      auto z = LoadInput(d, e, c * e.in_plane + i);
      if (e.a != nullptr) {
        const auto b = b_row != nullptr ? hn::LoadU(d, b_row + c * e.width + (i - begin))
                                        : hn::Set(d, e.b[c]);
        z = Fma(d, z, hn::Set(d, e.a[c]), b);
      }
      if (e.residual != nullptr) z = Sum(z, hn::LoadU(d, e.residual + c * e.residual_plane + i));
      if (e.activation != Activation::kNone) z = Clip(z, low, high);
      if (e.out != nullptr) hn::StoreU(z, d, e.out + c * e.out_plane + i);
      if (e.bits != nullptr) {
        const auto bit = hn::IfThenElseZero(hn::RebindMask(du, SignMask(d, z)),
                                            hn::Set(du, uint32_t{1} << (c % 32)));
        if (c < 32) {
          word0 = hn::Or(word0, bit);
        } else {
          word1 = hn::Or(word1, bit);
        }
      }
    }
    if (e.bits == nullptr) continue;
    HWY_ALIGN uint32_t words[2][hn::MaxLanes(d)];
    hn::Store(word0, du, words[0]);
    hn::Store(word1, du, words[1]);
    size_t y = i / e.width, x = i % e.width;
    for (size_t j = 0; j < lanes; ++j) {
      const uint64_t word = words[0][j] | uint64_t{words[1][j]} << 32;
      std::memcpy(e.bits + y * e.bits_row_bytes + x * pixel_bytes, &word, pixel_bytes);
      if (++x == e.width) x = 0, ++y;
    }
  }
  return i;
}

void EpilogueLanes(const lbrt::EpilogueLanes& e) {
  const size_t pixels = e.rows * e.width;
  if (e.b_rows == nullptr) {
    scalar::EpilogueLanesRange(e, EpilogueLanesVectors(e, 0, pixels, nullptr), pixels);
    return;
  }
  for (size_t y = 0; y < e.rows; ++y) {
    const size_t begin = y * e.width, end = begin + e.width;
    scalar::EpilogueLanesRange(e, EpilogueLanesVectors(e, begin, end, e.b_rows[y]), end);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
