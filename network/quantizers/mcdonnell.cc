// McDonnell (methods.md 3.1): sqrt(2/K) * sign(W); the scale is the same for a whole layer.
#include <cmath>

#include "network/quantizers/codes.h"

namespace lbrt {

double McDonnellScale(int64_t taps) { return std::sqrt(2.0 / static_cast<double>(taps)); }

template <typename T>
WeightCodes McDonnellCodes(const WeightQuantizer&, const T* weights, int64_t outputs,
                           int64_t taps) {
  WeightCodes result = SignsAround(weights, outputs, taps, [](const T*) { return T{0}; });
  for (double& scale : result.planes[0].scale) scale = McDonnellScale(taps);
  return result;
}
template WeightCodes McDonnellCodes(const WeightQuantizer&, const float*, int64_t, int64_t);
template WeightCodes McDonnellCodes(const WeightQuantizer&, const double*, int64_t, int64_t);

}  // namespace lbrt
