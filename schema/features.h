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
  kFeatureMaxPool = 1u << 7,
  kFeatureConcat = 1u << 8,
  kFeatureTernaryWeights = 1u << 9,
  kFeatureOddWeights = 1u << 10,
  kFeatureCodesTensors = 1u << 11,
  kFeatureEpilogues2 = 1u << 12,    // base, slopes, ClipUnit and PRelu
  kFeatureMixedOperands = 1u << 13,  // Fixed weights on f32 or bits, eltwise on bits
  kFeatureWeightedWeights = 1u << 14,
  kFeaturePrograms = 1u << 15,
  kFeatureThreshold = 1u << 16,
  kFeatureZero = 1u << 17,           // codes that mean code - zero
  kFeatureGroups = 1u << 18,
  kFeatureIntegersWeights = 1u << 19,
  kFeatureUpsample = 1u << 20,
  kFeatureDepthToSpace = 1u << 21,
  kFeatureLongEpilogues = 1u << 22,  // more than 2 stages, and restarts
  kFeatureMinimum = 1u << 23,
  kFeatureStageThresholds = 1u << 24,
  kFeatureSumPool = 1u << 25
};
inline constexpr uint64_t kKnownFeatures = (1u << 26) - 1;

// The features of an op's epilogue.
template <typename Stages>
uint64_t StageFeatures(const Stages& stages) {
  uint64_t features = 0;
  if (stages.size() > 2) features |= kFeatureLongEpilogues;
  for (const Stage* stage : stages) {
    if (stage->restart()) features |= kFeatureLongEpilogues;
    if (stage->thresholds() != nullptr) features |= kFeatureStageThresholds;
    if (stage->base() != -1 || stage->slopes() != nullptr ||
        stage->activation() > Activation::Hardtanh)
      features |= kFeatureEpilogues2;
  }
  return features;
}

// The features of a model's ops and tensors, or of a program's.
template <typename Program>
uint64_t ProgramFeatures(const Program& program) {
  const auto reads = [&](uint32_t tensor, TensorType type) {
    return tensor < program.tensors()->size() && program.tensors()->Get(tensor)->type() == type;
  };
  uint64_t features = 0;
  for (const Op* op : *program.ops()) {
    if (const Conv* conv = op->body_as_Conv()) {
      features |= kFeatureConv | StageFeatures(*conv->stages());
      switch (conv->kind()) {
        case WeightKind::Sign: features |= kFeatureSignWeights; break;
        case WeightKind::Float: features |= kFeatureFloatWeights; break;
        case WeightKind::Fixed: features |= kFeatureFixedWeights; break;
        case WeightKind::Ternary: features |= kFeatureTernaryWeights; break;
        case WeightKind::Odd: features |= kFeatureOddWeights; break;
        case WeightKind::Weighted: features |= kFeatureWeightedWeights; break;
        case WeightKind::Integers: features |= kFeatureIntegersWeights; break;
      }
      if (conv->kind() == WeightKind::Fixed &&
          (reads(conv->input(), TensorType::F32) || reads(conv->input(), TensorType::Bits)))
        features |= kFeatureMixedOperands;
      if (conv->zero() != 0) features |= kFeatureZero;
      if (conv->groups() != 1) features |= kFeatureGroups;
    }
    if (const Eltwise* eltwise = op->body_as_Eltwise()) {
      features |= kFeatureEltwise | StageFeatures(*eltwise->stages());
      if (reads(eltwise->input(), TensorType::Bits)) features |= kFeatureMixedOperands;
    }
    if (const AvgPool* pool = op->body_as_AvgPool()) {
      features |= kFeatureAvgPool;
      if (pool->sum()) features |= kFeatureSumPool;
    }
    if (const MaxPool* pool = op->body_as_MaxPool()) {
      features |= kFeatureMaxPool;
      if (pool->minimum() != nullptr) features |= kFeatureMinimum;
    }
    if (op->body_as_Concat() != nullptr) features |= kFeatureConcat;
    if (op->body_as_Threshold() != nullptr) features |= kFeatureThreshold;
    if (op->body_as_Upsample() != nullptr) features |= kFeatureUpsample;
    if (op->body_as_DepthToSpace() != nullptr) features |= kFeatureDepthToSpace;
  }
  for (const Tensor* tensor : *program.tensors()) {
    if (tensor->type() == TensorType::Bits) features |= kFeatureBitsTensors;
    if (tensor->type() == TensorType::Codes) features |= kFeatureCodesTensors;
  }
  return features;
}

// The features a verified table uses. Verified does not mean sensible: a body may be absent, a
// tensor may not exist.
inline uint64_t UsedFeatures(const Model& model) {
  uint64_t features = ProgramFeatures(model);
  if (model.programs() == nullptr) return features;
  features |= kFeaturePrograms;
  for (const Program* program : *model.programs()) features |= ProgramFeatures(*program);
  return features;
}

}  // namespace lbrt::lbm
