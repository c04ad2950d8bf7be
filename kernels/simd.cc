// The vector columns: written once in Highway, compiled into one column per target.
//
// Which of them a CPU can run is for cpu.cc to say. So Highway's own detection, which wants AES of
// every ARM core, is not used, and its headers are all that is needed of it.

#define HWY_WANT_AVX3_DL 1
// A column each for SSE4, AVX2, AVX-512 with and without VPOPCNTDQ, NEON and SVE.
#define HWY_COMPILE_ALL_ATTAINABLE 1
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/simd.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#if HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

#include "kernels/pack.h"
// Once per target, so without include guards, and in this order: the first two serve the others.
#include "kernels/panel-inl.h"
#include "kernels/float-inl.h"
// The rows, by family.
#include "kernels/depthwise-inl.h"
#include "kernels/dot-inl.h"
#include "kernels/epilogue-inl.h"
#include "kernels/pack-inl.h"
#include "kernels/pool-inl.h"
#include "kernels/popcount-inl.h"
#include "kernels/planes-inl.h"
#include "kernels/sums-inl.h"
#include "kernels/threshold-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {

constexpr Kernels kColumn = {
#if HWY_TARGET == HWY_SSE4
    .isa = "sse4",
#elif HWY_TARGET == HWY_AVX2
    .isa = "avx2",
#elif HWY_TARGET == HWY_AVX3
    .isa = "avx512",
#elif HWY_TARGET == HWY_AVX3_DL
    .isa = "avx512-popcnt",
#elif HWY_TARGET == HWY_NEON
    .isa = "neon",
#elif HWY_TARGET == HWY_SVE
    .isa = "sve",
#endif
    .panel = kPanel,
    .tile_rows = 8,
    .pack_xor_popcount_tile = kWordPanels,
    .pack_xor_popcount_lanes = scalar::kNoPacking,
    .pack_sign_sum_tile = pack::kSignPanels<kPanel>,
    .pack_fma_tile = kFloatPanels,
    .pack_fixed_point_tile = pack::kFixedPointPanels<kPanel>,
    .pack_fixed_point_lanes = pack::kFixedPointRows,
    .pack_dot_tile = kDotPanels<2>,
    .pack_plane_popcount_tile = kPlanePanels,
    .pack_depthwise_codes = scalar::kDepthwiseBytes,
    .xor_popcount_tile = XorPopcountTile,
    .xor_popcount_lanes = XorPopcountLanes,
    .sign_sum_tile = SignSumTile,
    .fma_tile = FmaTile,
    .fixed_point_tile = FixedPointTile,
    .fixed_point_lanes = FixedPointLanes,
    .dot_tile = DotTile,
    .combine_limbs = CombineLimbs,
#if HWY_TARGET != HWY_SVE
    .code_plane = CodePlane,
    .plane_popcount_tile = PlanePopcountTile,
    .plane_pairs = kPlanePairs,
#else
    .code_plane = nullptr,
    .plane_popcount_tile = nullptr,
    .plane_pairs = 0,
#endif
    .depthwise_codes = DepthwiseCodes,
    .depthwise_f32 = DepthwiseF32,
    .epilogue_rows = EpilogueRows,
    .epilogue_lanes = EpilogueLanes,
    .threshold_sums = ThresholdSums,
    .threshold_f32 = ThresholdF32,
    .average_pool_rows = AveragePoolRows,
    .average_pool_lanes = AveragePoolLanes,
    .max_pool_f32 = MaxPoolF32,
    .max_pool_codes = MaxPoolCodes,
};

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();

#endif  // HWY_TARGET

#if HWY_ONCE
#include "kernels/columns.h"
#if HWY_ARCH_X86
#include "kernels/avx512.h"
#endif

namespace lbrt {

#if HWY_ARCH_X86
constinit const Kernels kSse4Kernels = N_SSE4::kColumn;
constinit const Kernels kAvx2Kernels = N_AVX2::kColumn;
constinit const Kernels kAvx512Kernels = N_AVX3::kColumn;
constinit const Kernels kAvx512PopcntKernels = 
    avx512::Replace(N_AVX3_DL::kColumn, N_AVX3_DL::kDotPanels<4>);
#elif HWY_ARCH_ARM_A64
constinit const Kernels kNeonKernels = N_NEON::kColumn;
constinit const Kernels kSveKernels = N_SVE::kColumn;
#endif

}  // namespace lbrt
#endif  // HWY_ONCE
