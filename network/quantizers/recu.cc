// ReCU (methods.md 4.1): sign(W - mean of the output channel). The mean is summed in double and
// rounded to T, since the reference subtracts a T. The learned scale is the node's alpha.
#include <algorithm>

#include "network/quantizers/codes.h"

namespace lbrt {

template <typename T>
WeightCodes RecuCodes(const WeightQuantizer&, const T* weights, int64_t outputs, int64_t taps) {
  return SignsAround(weights, outputs, taps, [taps](const T* channel) {
    // In double a sum of equal weights is rounded, and its mean may miss them.
    if (std::all_of(channel, channel + taps, [&](T w) { return w == channel[0]; }))
      return channel[0];
    double sum = 0;
    for (int64_t k = 0; k < taps; ++k) sum += static_cast<double>(channel[k]);
    return static_cast<T>(sum / static_cast<double>(taps));
  });
}
template WeightCodes RecuCodes(const WeightQuantizer&, const float*, int64_t, int64_t);
template WeightCodes RecuCodes(const WeightQuantizer&, const double*, int64_t, int64_t);

}  // namespace lbrt
