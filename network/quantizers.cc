#include "network/quantizers.h"

#include <algorithm>
#include <cmath>

namespace lbrt {
namespace {

// Signs of weights - centre(o), where equality counts as +1.
template <typename T, typename Centre>
SignCodes Signs(const T* weights, int64_t outputs, int64_t taps, Centre centre) {
  SignCodes result;
  result.codes.reserve(static_cast<size_t>(outputs * taps));
  for (int64_t o = 0; o < outputs; ++o) {
    const T* channel = weights + o * taps;
    const T middle = centre(channel);
    int64_t zeros = 0;
    for (int64_t k = 0; k < taps; ++k) {
      result.codes.push_back(channel[k] >= middle ? 1 : -1);
      zeros += channel[k] == middle;
    }
    result.zero_weights += zeros;
    if (zeros == taps) result.dead.push_back(static_cast<int>(o));
  }
  return result;
}

}  // namespace

template <typename T>
SignCodes RecuCodes(const T* weights, int64_t outputs, int64_t taps) {
  return Signs(weights, outputs, taps, [taps](const T* channel) {
    // In double a sum of equal weights is rounded, and its mean may miss them.
    if (std::all_of(channel, channel + taps, [&](T w) { return w == channel[0]; }))
      return channel[0];
    double sum = 0;
    for (int64_t k = 0; k < taps; ++k) sum += static_cast<double>(channel[k]);
    return static_cast<T>(sum / static_cast<double>(taps));
  });
}
template SignCodes RecuCodes(const float*, int64_t, int64_t);
template SignCodes RecuCodes(const double*, int64_t, int64_t);

template <typename T>
SignCodes McDonnellCodes(const T* weights, int64_t outputs, int64_t taps) {
  return Signs(weights, outputs, taps, [](const T*) { return T{0}; });
}
template SignCodes McDonnellCodes(const float*, int64_t, int64_t);
template SignCodes McDonnellCodes(const double*, int64_t, int64_t);

double McDonnellScale(int64_t taps) { return std::sqrt(2.0 / static_cast<double>(taps)); }

FixedCodes FixedPointCodes(const double* weights, int64_t outputs, int64_t taps, int limbs) {
  FixedCodes result;
  for (int64_t o = 0; o < outputs; ++o) {
    const double* channel = weights + o * taps;
    double largest = 0;
    for (int64_t k = 0; k < taps; ++k) largest = std::max(largest, std::fabs(channel[k]));
    const double scale = largest > 0 ? largest / LimbMaximum(limbs) : 1;
    result.scale.push_back(scale);
    for (int64_t k = 0; k < taps; ++k)  // the rounding mode is half to even: Run and tools keep it
      result.codes.push_back(static_cast<int32_t>(std::nearbyint(channel[k] / scale)));
  }
  return result;
}

}  // namespace lbrt
