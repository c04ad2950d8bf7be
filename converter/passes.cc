#include "converter/passes.h"

namespace lbrt {
namespace {

constexpr Pass kPasses[] = {
    {"share_codes", ShareCodes},
    {"hoist_codes", HoistCodes},
    {"fold_affines", FoldAffines},
    {"fuse_pool_pad", FusePoolPad},
    {"fuse_epilogue", FuseEpilogue},
    {"pack_weights", PackWeights},
};

}  // namespace

std::span<const Pass> Passes() { return kPasses; }

}  // namespace lbrt
