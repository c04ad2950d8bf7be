// The list of ops: one line each.
#include "runtime/op.h"

namespace lbrt {

extern const OpDef kConv, kEltwise, kAvgPool, kMaxPool, kConcat, kThreshold, kUpsample,
    kDepthToSpace;

namespace {

// By their number in the union of schema/lbm.fbs.
constexpr const OpDef* kOps[] = {nullptr,  &kConv,       &kEltwise,  &kAvgPool,     &kMaxPool,
                                 &kConcat, &kThreshold, &kUpsample, &kDepthToSpace};
static_assert(sizeof(kOps) / sizeof(kOps[0]) == static_cast<size_t>(lbm::OpBody::MAX) + 1);

}  // namespace

const OpDef* FindOp(lbm::OpBody body) {
  return body <= lbm::OpBody::MAX ? kOps[static_cast<size_t>(body)] : nullptr;
}

}  // namespace lbrt
