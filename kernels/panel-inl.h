// The width of a weight panel on each target: one vector of 32-bit lanes, but at least 8 and at
// most 16 channels.

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {

inline constexpr size_t kPanel = HWY_MAX_BYTES >= 64 ? 16 : 8;

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
