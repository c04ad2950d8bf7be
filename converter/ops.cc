#include "converter/ops.h"

namespace lbrt {
namespace {

constexpr const OpKind* kKinds[] = {&kinds::kConv, &kinds::kEltwise, &kinds::kAvgPool,
                                    &kinds::kMaxPool, &kinds::kConcat,  &kinds::kThreshold,
                                    &kinds::kUpsample, &kinds::kDepthToSpace};

}  // namespace

std::span<const OpKind* const> OpKinds() { return kKinds; }

}  // namespace lbrt
