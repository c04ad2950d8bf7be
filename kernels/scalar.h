// The portable column: plain C++ on the file's own weight rows, nothing repacked. Builds that have
// no other column call these rows by name, so that the linker drops those they do not use; the
// vector columns finish their tails with the *Range functions.
#pragma once

#include "kernels/kernels.h"

namespace lbrt::scalar {

void XorPopcountTile(const Windows<Word>& in, const Weights& weights, const int32_t* const* base,
                     int32_t* acc, size_t acc_stride);
void XorPopcountLanes(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                      int32_t* acc);
void SignSumTile(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
                 size_t acc_stride);
void FmaTile(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
             size_t acc_stride);
void FixedPointTile(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                    size_t acc_stride);
void FixedPointLanes(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                     size_t acc_stride);
void DotTile(const Windows<uint8_t>& in, const Weights& weights, const int32_t* const* base,
             int32_t* acc, size_t acc_stride);
void CombineLimbs(const int32_t* const* sums, size_t limbs, size_t n, float* out);
// Elements [begin, end).
void CombineLimbsRange(const int32_t* const* sums, size_t limbs, size_t begin, size_t end,
                       float* out);
void DepthwiseCodes(const DepthwiseWindows<uint8_t>& in, const Weights& weights, size_t row,
                    size_t column, int32_t zero, int32_t* acc, size_t acc_stride);
void DepthwiseF32(const DepthwiseWindows<float>& in, const DepthwiseWeights& weights,
                  float* acc, size_t acc_stride);
void EpilogueRows(const lbrt::EpilogueRows& e);
void EpilogueLanes(const lbrt::EpilogueLanes& e);
void ThresholdSums(const ThresholdRows<int32_t>& rows);
void ThresholdF32(const ThresholdRows<float>& rows);
void AveragePoolRows(const AveragePool& pool);
void AveragePoolLanes(const AveragePool& pool);
void MaxPoolF32(const MaxPool<float>& pool);
void MaxPoolCodes(const MaxPool<uint8_t>& pool);

// Channels [begin, end) of one pixel; `bits` is the pixel's group, zero there, or null.
void EpilogueRowsRange(const lbrt::EpilogueRows& e, size_t pixel, size_t begin, size_t end,
                       uint8_t* bits);
// Pixels [begin, end) of all channels, counted over all rows; with their bits.
void EpilogueLanesRange(const lbrt::EpilogueLanes& e, size_t begin, size_t end);
// Channels [begin, end) of all pixels, whose bits are zero there. T is int32_t or float.
template <typename T>
void ThresholdRange(const ThresholdRows<T>& rows, size_t begin, size_t end);
// Output pixel (oy, ox): channels [begin, end).
void AveragePoolRowsRange(const AveragePool& pool, size_t oy, size_t ox, size_t begin, size_t end);
// Output pixels [begin, end) of row oy of one channel.
void AveragePoolLanesRange(const AveragePool& pool, size_t channel, size_t oy, size_t begin,
                           size_t end);
// Output pixel (oy, ox): channels [begin, end). T is float or uint8_t.
template <typename T>
void MaxPoolRange(const MaxPool<T>& pool, size_t oy, size_t ox, size_t begin, size_t end);

inline constexpr Packing kNoPacking = {[](const WeightRows&) { return size_t{0}; },
                                       [](const WeightRows&, void*) {}};

// Signed bytes [tap][channel].
size_t DepthwiseBytes(const WeightRows& rows);
void PackDepthwise(const WeightRows& rows, void* packed);
inline constexpr Packing kDepthwiseBytes = {DepthwiseBytes, PackDepthwise};

inline constexpr Kernels kKernels = {
    .isa = "scalar",
    .panel = 1,
    .tile_rows = 1,
    .pack_xor_popcount_tile = kNoPacking,
    .pack_xor_popcount_lanes = kNoPacking,
    .pack_sign_sum_tile = kNoPacking,
    .pack_fma_tile = kNoPacking,
    .pack_fixed_point_tile = kNoPacking,
    .pack_fixed_point_lanes = kNoPacking,
    .pack_dot_tile = kNoPacking,
    .pack_plane_popcount_tile = kNoPacking,
    .pack_depthwise_codes = kDepthwiseBytes,
    .xor_popcount_tile = XorPopcountTile,
    .xor_popcount_lanes = XorPopcountLanes,
    .sign_sum_tile = SignSumTile,
    .fma_tile = FmaTile,
    .fixed_point_tile = FixedPointTile,
    .fixed_point_lanes = FixedPointLanes,
    .dot_tile = DotTile,
    .combine_limbs = CombineLimbs,
    .code_plane = nullptr,
    .plane_popcount_tile = nullptr,
    .plane_pairs = 0,
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

}  // namespace lbrt::scalar
