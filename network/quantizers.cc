#include "network/quantizers.h"

#include "images/error.h"
#include "network/quantizers/codes.h"

namespace lbrt {
namespace {

constexpr char kZero[] = "zero and count as +1";

template <typename T>
WeightCodes Floats(const WeightQuantizer&, const T* weights, int64_t outputs, int64_t taps) {
  WeightCodes result;
  for (int64_t i = 0; i < outputs * taps; ++i)
    result.floats.push_back(static_cast<float>(weights[i]));
  return result;
}

using W = WeightQuantizer;
constexpr WeightQuantizerEntry kWeightQuantizers[] = {
    {W::kFloat, "float", 0, nullptr, nullptr, Floats, Floats},
    {W::kRecu, "recu", 0, "tau", "equal to their channel's mean and count as +1", RecuCodes,
     RecuCodes},
    {W::kMcDonnell, "mcdonnell", 0, nullptr, kZero, McDonnellCodes, McDonnellCodes},
    {W::kAnyPrecision, "any-precision", 8, nullptr,
     "between two codes and take the one that their 8-bit code implies", AnyPrecisionCodes,
     AnyPrecisionCodes},
    {W::kTruncating, "truncating", 8, nullptr, nullptr, TruncatingCodes, TruncatingCodes},
    {W::kEdmips, "edmips", 4, nullptr, nullptr, EdmipsCodes, EdmipsCodes},
    {W::kTernary, "ternary", 0, nullptr, nullptr, TernaryCodes, TernaryCodes},
    // Its codes depend on what the weights meet; import calls FixedPointCodes.
    {W::kFixedPoint, "fixed-point", 0, nullptr, nullptr, nullptr, nullptr},
};

using A = ActivationQuantizer;
constexpr ActivationQuantizerEntry kActivationQuantizers[] = {
    {A::kNone, "float", 0},
    {A::kSign, "sign", 0},
    {A::kAnyPrecision, "any-precision", 8},
    {A::kHwgq, "hwgq", 4},
};

template <typename Entry, size_t n>
const Entry& Named(const Entry (&entries)[n], const std::string& name, const char* what) {
  std::string known;
  for (const Entry& entry : entries) {
    if (name == entry.name) return entry;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw InputError("unknown " + std::string(what) + " quantizer \"" + name +
                   "\", expected one of: " + known);
}

template <typename Entry, size_t n>
std::vector<std::string> Names(const Entry (&entries)[n]) {
  std::vector<std::string> names;
  for (const Entry& entry : entries) names.push_back(entry.name);
  return names;
}

}  // namespace

WeightQuantizer AtWidth(WeightQuantizer quantizer, int width) {
  if (quantizer.bits == 0 && EntryOf(quantizer.kind).most_bits > 0) quantizer.bits = width;
  return quantizer;
}

ActivationQuantizer AtWidth(ActivationQuantizer quantizer, int width) {
  if (quantizer.bits == 0 && EntryOf(quantizer.kind).most_bits > 0) quantizer.bits = width;
  return quantizer;
}

template <>
WeightCodes QuantizeWeights(const WeightQuantizer& quantizer, const float* weights, int64_t outputs,
                            int64_t taps) {
  return EntryOf(quantizer.kind).codes32(quantizer, weights, outputs, taps);
}
template <>
WeightCodes QuantizeWeights(const WeightQuantizer& quantizer, const double* weights,
                            int64_t outputs, int64_t taps) {
  return EntryOf(quantizer.kind).codes64(quantizer, weights, outputs, taps);
}

ActivationCodes CodesOf(const ActivationQuantizer& quantizer) {
  const int levels = (1 << quantizer.bits) - 1;
  switch (quantizer.kind) {
    case A::kAnyPrecision:
      return {1.0 / levels, levels};
    case A::kHwgq:
      return {HwgqStep(quantizer.bits), levels};
    case A::kNone:
    case A::kSign:
      break;
  }
  return {};
}

const WeightQuantizerEntry& EntryOf(WeightQuantizer::Kind kind) {
  return kWeightQuantizers[static_cast<size_t>(kind)];
}
const ActivationQuantizerEntry& EntryOf(ActivationQuantizer::Kind kind) {
  return kActivationQuantizers[static_cast<size_t>(kind)];
}

WeightQuantizer::Kind ParseWeightQuantizer(const std::string& name) {
  return Named(kWeightQuantizers, name, "weight").kind;
}
ActivationQuantizer::Kind ParseActivationQuantizer(const std::string& name) {
  return Named(kActivationQuantizers, name, "activation").kind;
}
std::vector<std::string> WeightQuantizerNames() { return Names(kWeightQuantizers); }
std::vector<std::string> ActivationQuantizerNames() { return Names(kActivationQuantizers); }

}  // namespace lbrt
