// What the files of this folder define, one quantizer each (network/quantizers.h lists them).
#pragma once

#include "network/quantizers.h"

namespace lbrt {

template <typename T>
WeightCodes RecuCodes(const WeightQuantizer&, const T* weights, int64_t outputs, int64_t taps);
template <typename T>
WeightCodes McDonnellCodes(const WeightQuantizer&, const T* weights, int64_t outputs, int64_t taps);
template <typename T>
WeightCodes AnyPrecisionCodes(const WeightQuantizer&, const T* weights, int64_t outputs,
                              int64_t taps);
template <typename T>
WeightCodes TruncatingCodes(const WeightQuantizer&, const T* weights, int64_t outputs,
                            int64_t taps);
template <typename T>
WeightCodes EdmipsCodes(const WeightQuantizer&, const T* weights, int64_t outputs, int64_t taps);
template <typename T>
WeightCodes TernaryCodes(const WeightQuantizer&, const T* weights, int64_t outputs, int64_t taps);

// Signs of weights - centre(channel), where equality counts as +1; scale 1.
template <typename T, typename Centre>
WeightCodes SignsAround(const T* weights, int64_t outputs, int64_t taps, Centre centre) {
  WeightCodes result;
  WeightPlane& plane = result.planes.emplace_back();
  plane.codes.reserve(static_cast<size_t>(outputs * taps));
  plane.scale.assign(static_cast<size_t>(outputs), 1);
  for (int64_t o = 0; o < outputs; ++o) {
    const T* channel = weights + o * taps;
    const T middle = centre(channel);
    int64_t zeros = 0;
    for (int64_t k = 0; k < taps; ++k) {
      plane.codes.push_back(channel[k] >= middle ? 1 : -1);
      zeros += channel[k] == middle;
    }
    result.cases += zeros;
    if (zeros == taps) result.dead.push_back(static_cast<int>(o));
  }
  return result;
}

// One plane whose scale is the same for every output.
inline WeightPlane& PlaneOf(WeightCodes& result, int64_t outputs, int64_t taps, double scale) {
  WeightPlane& plane = result.planes.emplace_back();
  plane.codes.reserve(static_cast<size_t>(outputs * taps));
  plane.scale.assign(static_cast<size_t>(outputs), scale);
  return plane;
}

}  // namespace lbrt
