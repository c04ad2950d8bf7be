// Required features: one bit for each thing a reader must understand to run a file. The converter
// writes the mask, the runtime refuses bits it does not know, and files whose mask does not name
// what they use.
#pragma once

#include <cstdint>

#include "schema/lbm_generated.h"

namespace lbrt::lbm {

enum Feature : uint64_t {
  kFeatureConv = 1u << 0,
  kFeatureEltwise = 1u << 1,
  kFeatureAvgPool = 1u << 2,
  kFeatureSignWeights = 1u << 3,
  kFeatureFloatWeights = 1u << 4,
  kFeatureFixedWeights = 1u << 5,
  kFeatureBitsTensors = 1u << 6,
};
inline constexpr uint64_t kKnownFeatures = (1u << 7) - 1;

// The features a verified table uses. Verified does not mean sensible: a body may be absent.
inline uint64_t UsedFeatures(const Model& model) {
  uint64_t features = 0;
  for (const Op* op : *model.ops()) {
    if (const Conv* conv = op->body_as_Conv()) {
      features |= kFeatureConv;
      switch (conv->kind()) {
        case WeightKind::Sign: features |= kFeatureSignWeights; break;
        case WeightKind::Float: features |= kFeatureFloatWeights; break;
        case WeightKind::Fixed: features |= kFeatureFixedWeights; break;
      }
    }
    if (op->body_as_Eltwise() != nullptr) features |= kFeatureEltwise;
    if (op->body_as_AvgPool() != nullptr) features |= kFeatureAvgPool;
  }
  for (const Tensor* tensor : *model.tensors())
    if (tensor->type() == TensorType::Bits) features |= kFeatureBitsTensors;
  return features;
}

}  // namespace lbrt::lbm
