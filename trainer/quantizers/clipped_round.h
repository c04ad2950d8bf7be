// Rounding to codes of one value, for the loops that contain it.
#pragma once

#include <limits>

#ifdef __CUDACC__
#define LBRT_DEVICE __host__ __device__
#else
#define LBRT_DEVICE
#endif

namespace lbrt {

// round(clip(x, 0, levels * step) / step), and where its gradient passes.
struct ClippedRounding {
  double step = 1;
  int levels = 1;
};

template <typename T>
class ClippedRounder {
 public:
  explicit ClippedRounder(const ClippedRounding& r)
      : unit_(r.step == 1.0 / r.levels),
        top_(static_cast<T>(r.levels * r.step)),
        factor_(static_cast<T>(unit_ ? r.levels : r.step)),
        slope_(static_cast<T>(unit_ ? r.levels : 1 / r.step)) {}

  // The reference multiplies by the levels where the range is [0, 1] and divides by the step in
  // HWGQ.
  bool unit() const { return unit_; }
  template <bool kUnit>
  LBRT_DEVICE T Code(T x) const {
    const T positive = x < 0 ? T{0} : x;
    const T clipped = positive > top_ ? top_ : positive;
    return Round(kUnit ? clipped * factor_ : clipped / factor_);
  }
  // d Code / d x, straight through the rounding. No branch, so that loops vectorise.
  LBRT_DEVICE T Slope(T x) const { return (x >= 0) & (x <= top_) ? slope_ : T{0}; }

 private:
  // 0 <= x < 2^22 to the nearest integer, ties to even: next to this number there are integers
  // only. std::nearbyint is a call for each element where SSE4.1 may not be taken for granted.
  LBRT_DEVICE static T Round(T x) {
    constexpr T kIntegersOnly = T{1.5} / std::numeric_limits<T>::epsilon();
    return (x + kIntegersOnly) - kIntegersOnly;
  }

  bool unit_;
  T top_, factor_, slope_;
};

}  // namespace lbrt
