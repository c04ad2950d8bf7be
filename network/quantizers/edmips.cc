// EdMIPS (methods.md 2.1): odd codes c = 2 round(W / step + 1/2) - 1, clipped to +-(2^bits - 1), of
// weights c step / 2, with step = EdmipsStep(bits) times the deviation of the layer's weights.
#include <algorithm>
#include <cmath>

#include "network/quantizers/codes.h"

namespace lbrt {

double EdmipsStep(int bits) {
  constexpr double kSteps[] = {1.596, 0.996, 0.586, 0.336};
  return kSteps[bits - 1];
}

double HwgqStep(int bits) {
  constexpr double kSteps[] = {0.799, 0.538, 0.3217, 0.185};
  return kSteps[bits - 1];
}

template <typename T>
WeightCodes EdmipsCodes(const WeightQuantizer& q, const T* weights, int64_t outputs,
                        int64_t taps) {
  const int64_t count = outputs * taps;
  double mean = 0, squares = 0;
  for (int64_t i = 0; i < count; ++i) mean += static_cast<double>(weights[i]);
  mean /= static_cast<double>(count);
  for (int64_t i = 0; i < count; ++i)
    squares += (static_cast<double>(weights[i]) - mean) * (static_cast<double>(weights[i]) - mean);
  // The reference rounds the deviation to T, multiplies in double and divides in T.
  const T deviation = static_cast<T>(std::sqrt(squares / static_cast<double>(count - 1)));
  const double step = EdmipsStep(q.bits) * static_cast<double>(deviation);
  const T divisor = step > 0 ? static_cast<T>(step) : T{1};
  const int largest = (1 << q.bits) - 1;

  WeightCodes result;
  WeightPlane& plane = PlaneOf(result, outputs, taps, step / 2);
  for (int64_t i = 0; i < count; ++i) {
    const T level = std::nearbyint(weights[i] / divisor + T{0.5});
    const T code = std::clamp<T>(2 * level - 1, static_cast<T>(-largest), static_cast<T>(largest));
    plane.codes.push_back(static_cast<int16_t>(code));
  }
  return result;
}
template WeightCodes EdmipsCodes(const WeightQuantizer&, const float*, int64_t, int64_t);
template WeightCodes EdmipsCodes(const WeightQuantizer&, const double*, int64_t, int64_t);

}  // namespace lbrt
