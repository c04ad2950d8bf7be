// Rows of the column avx512-popcnt written with intrinsics, because a benchmark showed them to be
// worth it (avx512.cc says what each gains).
#pragma once

#include "kernels/kernels.h"

namespace lbrt::avx512 {

size_t LanesBytes(const WeightRows& rows);
void PackLanes(const WeightRows& rows, void* packed);
void XorPopcountLanes(const PixelLanes& in, const Weights& weights, const int32_t* const* base,
                      int32_t* acc);

size_t FixedPointTileBytes(const WeightRows& rows);
void PackFixedPointTile(const WeightRows& rows, void* packed);
void FixedPointTile(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                    size_t acc_stride);

size_t FixedPointLanesBytes(const WeightRows& rows);
void PackFixedPointLanes(const WeightRows& rows, void* packed);
void FixedPointLanes(const Windows<uint8_t>& in, const Weights& weights, float* acc,
                     size_t acc_stride);

// The column of Highway's AVX3_DL with these rows in the place of its own.
constexpr Kernels Replace(Kernels column) {
  column.pack_xor_popcount_lanes = {LanesBytes, PackLanes};
  column.xor_popcount_lanes = XorPopcountLanes;
  column.pack_fixed_point_tile = {FixedPointTileBytes, PackFixedPointTile};
  column.fixed_point_tile = FixedPointTile;
  column.pack_fixed_point_lanes = {FixedPointLanesBytes, PackFixedPointLanes};
  column.fixed_point_lanes = FixedPointLanes;
  return column;
}

}  // namespace lbrt::avx512
