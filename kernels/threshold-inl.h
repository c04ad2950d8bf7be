// threshold_sums and threshold_f32 in Highway, compiled once per target.

#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Where a threshold counts: 32-bit integers know no >= here.
template <class D>
HWY_INLINE hn::Mask<D> Counts(D, hn::Vec<D> x, hn::Vec<D> threshold) {
  if constexpr (std::is_same_v<hn::TFromD<D>, float>) {
    return hn::Ge(x, threshold);
  } else {
    return hn::Gt(x, threshold);
  }
}

// `count`, one more where the mask is set: one instruction where masks are registers.
template <class M, class V>
HWY_INLINE V CountWhere(M mask, V count) {
  const hn::DFromV<V> d;
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return hn::IfThenElse(mask, hn::Add(count, hn::Set(d, 1)), count);
#else
  return hn::Sub(count, hn::VecFromMask(d, mask));
#endif
}

// All pixels, in whole vectors of channels from c on, a multiple of the vector's; returns the first
// channel that is left. kLevels is how many levels there are, whose thresholds stay in registers,
// or 0: any number.
template <size_t kLevels, class D, typename T>
HWY_INLINE size_t ThresholdVectors(D d, const ThresholdRows<T>& r, size_t c) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> d8;
  // Copies, for bytes that are stored could be these.
  const size_t lanes = hn::Lanes(d), channels = r.channels, pixels = r.pixels, levels = r.levels;
  const size_t in_stride = r.in_stride, bits_stride = r.bits_stride, level_stride = r.level_stride;
  const size_t codes_stride = r.codes_stride;
  const T* thresholds = r.thresholds;
  const auto one_more = [&](auto x, auto t, auto count) HWY_ATTR {
    return CountWhere(hn::RebindMask(di, Counts(d, x, t)), count);
  };
  for (; c + lanes <= channels; c += lanes) {
    const auto threshold = [&](size_t level) HWY_ATTR {
      const T* row = thresholds + level * level_stride;
      return level_stride == 1 ? hn::Set(d, *row) : hn::LoadU(d, row + c);
    };
    const auto flip = r.flip != nullptr ? hn::LoadU(di, r.flip + c) : hn::Zero(di);
    const auto first = threshold(0);
    const auto second = kLevels > 1 ? threshold(1) : first;
    const auto third = kLevels > 2 ? threshold(2) : first;
    const T* in = r.in + c;
    uint8_t* codes = r.codes;
    uint8_t* bits = r.bits;
    for (size_t p = 0; p < pixels; ++p, in += in_stride) {
      auto x = hn::LoadU(d, in);
      if constexpr (!std::is_same_v<T, float>) x = hn::Xor(x, flip);
      if (kLevels == 1 && bits != nullptr) {
        StoreMask(d, Counts(d, x, first), bits, c);
        bits += bits_stride;
        continue;
      }
      auto count = one_more(x, first, hn::Zero(di));
      if constexpr (kLevels > 1) count = one_more(x, second, count);
      if constexpr (kLevels > 2) count = one_more(x, third, count);
      if constexpr (kLevels == 0) {
        for (size_t level = 1; level < levels; ++level) {
          count = one_more(x, threshold(level), count);
        }
      }
      hn::StoreU(hn::DemoteTo(d8, count), d8, codes + c);
      codes += codes_stride;
    }
  }
  return c;
}

template <size_t kLevels, typename T>
HWY_INLINE void ThresholdRowsWith(const ThresholdRows<T>& r) {
  size_t c = ThresholdVectors<kLevels>(hn::ScalableTag<T>(), r, 0);
  if (c < r.channels) c = ThresholdVectors<kLevels>(hn::CappedTag<T, 4>(), r, c);
  const size_t filled = (c + 7) / 8, bytes = PixelBytes(r.channels);
  if (r.bits != nullptr && filled < bytes) {  // the bytes that whole vectors did not fill
    for (size_t p = 0; p < r.pixels; ++p) {
      std::memset(r.bits + p * r.bits_stride + filled, 0, bytes - filled);
    }
  }
  if (c < r.channels) scalar::ThresholdRange(r, c, r.channels);
}

template <typename T>
HWY_INLINE void ThresholdAnyRows(const ThresholdRows<T>& r) {
  if (r.levels == 1) return ThresholdRowsWith<1>(r);
  if (r.levels == 3) return ThresholdRowsWith<3>(r);
  ThresholdRowsWith<0>(r);
}

void ThresholdSums(const ThresholdRows<int32_t>& r) { ThresholdAnyRows(r); }
void ThresholdF32(const ThresholdRows<float>& r) { ThresholdAnyRows(r); }

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
