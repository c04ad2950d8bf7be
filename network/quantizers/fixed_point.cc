// Fixed-point weights (methods.md 8a): integers of one to three limbs, a scale an output channel.
#include <algorithm>
#include <cmath>

#include "network/quantizers/codes.h"

namespace lbrt {

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
