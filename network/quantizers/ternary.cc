// Ternarized networks (methods.md 5.1): with D = t max|W|, +1 where W >= D, -1 where W < -D, else
// 0, times the mean of |W| where that is at least D. A residual expansion is the sum of several t.
#include <algorithm>
#include <cmath>

#include "network/quantizers/codes.h"

namespace lbrt {

std::vector<double> TernaryThresholds(int t_ex) {
  constexpr double kThresholds[] = {0.05, 0.1, 0.15, 0.2};
  return {kThresholds, kThresholds + t_ex};
}

template <typename T>
WeightCodes TernaryCodes(const WeightQuantizer& q, const T* weights, int64_t outputs,
                         int64_t taps) {
  const int64_t count = outputs * taps;
  T largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(weights[i]));
  WeightCodes result;
  for (const double t : TernaryThresholds(q.t_ex)) {
    const T threshold = static_cast<T>(t) * largest;
    double sum = 0;
    int64_t kept = 0;
    WeightPlane& plane = PlaneOf(result, outputs, taps, 0);
    for (int64_t i = 0; i < count; ++i) {
      const T w = weights[i];
      plane.codes.push_back(static_cast<int16_t>((w >= threshold) - (w < -threshold)));
      if (std::abs(w) < threshold) continue;
      sum += static_cast<double>(std::abs(w));
      ++kept;
    }
    std::fill(plane.scale.begin(), plane.scale.end(), sum / static_cast<double>(kept));
  }
  return result;
}
template WeightCodes TernaryCodes(const WeightQuantizer&, const float*, int64_t, int64_t);
template WeightCodes TernaryCodes(const WeightQuantizer&, const double*, int64_t, int64_t);

}  // namespace lbrt
