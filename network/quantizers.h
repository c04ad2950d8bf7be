// Weight and activation quantizers: which there are, and what inference makes of them, i.e. latent
// weights become integer codes and scales. Import uses that, and the trainer's differentiable forms
// (trainer/quantizers.h) are tested against it. A quantizer is a file in network/quantizers/ and a
// line in the list of quantizers.cc.
//
// Weights are [outputs][taps] in any order of the taps; T is float (checkpoints) or double (the
// trainer in float64). Weights must be finite.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lbrt {

// How the latent weights of a convolution or dense layer become the weights used.
struct WeightQuantizer {
  enum Kind : uint8_t {
    kFloat,         // as they are
    kRecu,          // sign(W - mean_o) (methods.md 4.1)
    kMcDonnell,     // sqrt(2/K) * sign(W) (methods.md 3.1)
    kAnyPrecision,  // `bits` by rounding tanh(W) (methods.md 1.1)
    kTruncating,    // the same by truncation: narrower codes are prefixes (methods.md 1.3 e)
    kEdmips,        // `bits` of a Gaussian quantizer (methods.md 2.1), or a mixture of 1 to 4 bits
    kTernary,       // -1, 0, 1 in t_ex planes (methods.md 5.1)
    kFixedPoint,    // `limbs` signed 8-bit limbs an output channel (methods.md 8a)
  };
  Kind kind = kFloat;
  int bits = 0;          // kAnyPrecision, kTruncating: 0 = the network's current width; 32: float
  bool mixture = false;  // kEdmips
  int t_ex = 1;          // kTernary: 1, 2 or 4
  int limbs = 0;         // kFixedPoint: 1 or 2
  bool quantizes() const { return kind != kFloat; }
  friend bool operator==(const WeightQuantizer&, const WeightQuantizer&) = default;
};

struct ActivationQuantizer {
  enum Kind : uint8_t {
    kNone,          // as they are
    kSign,          // +-1 with ReCU's training rule (methods.md 4.1)
    kAnyPrecision,  // codes 0 .. 2^bits - 1 over [0, 1] (methods.md 1.1); ReLU at 32 bits
    kHwgq,          // half-wave Gaussian, codes 0 .. 2^bits - 1 (methods.md 2.1), or a mixture
  };
  Kind kind = kNone;
  int bits = 0;          // kAnyPrecision: 0 = the network's current width; kHwgq: 1 to 4
  bool mixture = false;  // kHwgq: of 2, 3 and 4 bits
  friend bool operator==(const ActivationQuantizer&, const ActivationQuantizer&) = default;
};

// The quantizer with its bits at a width of the network.
WeightQuantizer AtWidth(WeightQuantizer quantizer, int width);
ActivationQuantizer AtWidth(ActivationQuantizer quantizer, int width);

constexpr int kMixtureWeightBits[] = {1, 2, 3, 4};
constexpr int kMixtureActivationBits[] = {2, 3, 4};

// The weight of tap k of output o is the sum over planes of scale[o] * codes[o * taps + k], or
// floats[o * taps + k] where there are no planes.
struct WeightPlane {
  std::vector<int16_t> codes;
  std::vector<double> scale;  // [outputs]
};
struct WeightCodes {
  std::vector<WeightPlane> planes;
  std::vector<float> floats;
  int64_t cases = 0;      // weights for which the contract, not the reference, decides the code
  std::vector<int> dead;  // +-1 weights: output channels of nothing but zeros, ascending
};
// `quantizer` is no mixture, has bits where its kind needs some, and is not kFixedPoint.
template <typename T>
WeightCodes QuantizeWeights(const WeightQuantizer& quantizer, const T* weights, int64_t outputs,
                            int64_t taps);

// A code stands for code * step; codes are 0 .. levels. kSign: +-1, step 1, levels 0.
struct ActivationCodes {
  double step = 1;
  int levels = 0;
};
ActivationCodes CodesOf(const ActivationQuantizer& quantizer);

// --- The list ------------------------------------------------------------------------------------
struct WeightQuantizerEntry {
  WeightQuantizer::Kind kind;
  const char* name;     // as recipes say it
  int most_bits;        // 0: has no bits
  const char* buffer;   // a scalar buffer "<name>.<buffer>" that it keeps; null: none
  const char* cases;    // what WeightCodes::cases weights are: "N weights are ..."; null: never any
  WeightCodes (*codes32)(const WeightQuantizer&, const float*, int64_t outputs, int64_t taps);
  WeightCodes (*codes64)(const WeightQuantizer&, const double*, int64_t outputs, int64_t taps);
};
const WeightQuantizerEntry& EntryOf(WeightQuantizer::Kind kind);
struct ActivationQuantizerEntry {
  ActivationQuantizer::Kind kind;
  const char* name;
  int most_bits;
};
const ActivationQuantizerEntry& EntryOf(ActivationQuantizer::Kind kind);
// Kinds by name; throw InputError listing the names.
WeightQuantizer::Kind ParseWeightQuantizer(const std::string& name);
ActivationQuantizer::Kind ParseActivationQuantizer(const std::string& name);
std::vector<std::string> WeightQuantizerNames();
std::vector<std::string> ActivationQuantizerNames();

// --- Details that trainer and tests share --------------------------------------------------------
double McDonnellScale(int64_t taps);  // sqrt(2 / taps)

// EdMIPS's step as a multiple of the weights' standard deviation, and HWGQ's step; bits 1 to 4.
double EdmipsStep(int bits);
double HwgqStep(int bits);

// Thresholds of a ternary quantizer as parts of the largest weight: t_ex of them.
std::vector<double> TernaryThresholds(int t_ex);

// The code of `bits` that the any-precision code of 8 bits implies; bits 1, 2, 4 or 8.
int AnyPrecisionFrom8(int code8, int bits);

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
