// Weight quantizers: latent weights to integer codes and scales, for import, and as what the
// trainer's tensor quantizers are tested against.
//
// Weights are [outputs][taps] in any order of the taps; T is float (checkpoints) or double (the
// trainer in float64). Weights must be finite.
#pragma once

#include <cstdint>
#include <vector>

namespace lbrt {

struct SignCodes {
  std::vector<int8_t> codes;  // +-1, in the order of the weights
  int64_t zero_weights = 0;   // weights the reference's three-valued sign makes 0: here +1
  std::vector<int> dead;      // output channels of nothing but those, ascending
};

// sign(W - mean of the output channel) (methods.md 4.1). The mean is summed in double and rounded
// to T, since the reference subtracts a T.
template <typename T>
SignCodes RecuCodes(const T* weights, int64_t outputs, int64_t taps);

// sign(W) (methods.md 3.1); the scale is the same for a whole layer: sqrt(2 / taps).
template <typename T>
SignCodes McDonnellCodes(const T* weights, int64_t outputs, int64_t taps);
double McDonnellScale(int64_t taps);

// The largest magnitude that fits `limbs` signed 8-bit limbs on both sides of zero: 127, 32639,
// 8355711 (design.md section 2).
constexpr int32_t LimbMaximum(int limbs) {
  int32_t maximum = 0;
  for (int i = 0; i < limbs; ++i) maximum = maximum * 256 + 127;
  return maximum;
}

// code = weight / scale, rounded half to even, with scale = max|weight| / LimbMaximum(limbs) of the
// output channel; 1 for a channel of zeros (methods.md 8a).
struct FixedCodes {
  std::vector<int32_t> codes;
  std::vector<double> scale;  // [outputs]
};
FixedCodes FixedPointCodes(const double* weights, int64_t outputs, int64_t taps, int limbs);

}  // namespace lbrt
