#include "trainer/quantizers.h"

#include <ATen/ATen.h>

namespace lbrt {

at::Tensor Quantized::Value() const { return scale.defined() ? codes * scale : codes; }

Quantized QuantizeWeights(const WeightQuantizer& quantizer, const WeightTensors& t) {
  switch (quantizer.kind) {
    case WeightQuantizer::kFloat:
      break;
    case WeightQuantizer::kRecu:
      return RecuWeights(t.weight, t.tau);
    case WeightQuantizer::kMcDonnell:
      return McDonnellWeights(t.weight);
    case WeightQuantizer::kAnyPrecision:
      return AnyPrecisionWeights(t.weight, quantizer.bits, /*truncating=*/false);
    case WeightQuantizer::kTruncating:
      return AnyPrecisionWeights(t.weight, quantizer.bits, /*truncating=*/true);
    case WeightQuantizer::kEdmips:
      if (quantizer.mixture) return {EdmipsMixture(t.weight, t.mixture), at::Tensor()};
      return EdmipsWeights(t.weight, quantizer.bits);
    case WeightQuantizer::kTernary:
      return {TernaryWeights(t.weight, quantizer.t_ex), at::Tensor()};
    case WeightQuantizer::kFixedPoint:
      return FixedPointWeights(t.weight, quantizer.limbs, t.input_std);
  }
  return {t.weight, at::Tensor()};
}

// sum over 2, 3 and 4 bits of softmax(alphas) * HWGQ(x) (methods.md 2.3).
static at::Tensor HwgqMixture(const at::Tensor& x, const at::Tensor& alphas) {
  const at::Tensor shares = alphas.softmax(0);
  at::Tensor sum;
  for (size_t i = 0; i < std::size(kMixtureActivationBits); ++i) {
    const int bits = kMixtureActivationBits[i];
    const at::Tensor part = ClippedRound(x, HwgqStep(bits), (1 << bits) - 1) *
                            (shares[static_cast<int64_t>(i)] * HwgqStep(bits));
    sum = sum.defined() ? sum + part : part;
  }
  return sum;
}

QuantizedActivations QuantizeActivations(const ActivationQuantizer& quantizer, at::Tensor& x,
                                         bool training, const at::Tensor& mixture, bool bf16) {
  if (quantizer.kind == ActivationQuantizer::kNone) return {x, 1};
  if (quantizer.kind == ActivationQuantizer::kSign) {
    if (!training) return {at::sign(x), 1};
    RecuSigns result = RecuSign(x, bf16);
    x = std::move(result.unchanged);
    return {std::move(result.signs), 1};
  }
  if (quantizer.mixture) return {HwgqMixture(x, mixture), 1};
  if (quantizer.bits == 32) return {at::relu(x), 1};
  const ActivationCodes codes = CodesOf(quantizer);
  return {ClippedRound(x, codes.step, codes.levels), codes.step};
}

}  // namespace lbrt
