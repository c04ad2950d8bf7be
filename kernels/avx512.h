// Rows of the column avx512-popcnt written with intrinsics, because a benchmark showed them to be
// worth it: avx512_lanes.cc, avx512_fixed_point.cc, avx512_dot.cc, avx512_depthwise.cc.
#pragma once

#include <cstring>

#include "hwy/base.h"
#include "kernels/kernels.h"

// Around what needs the instruction set; headers come before.
#define LBRT_BEGIN_AVX512                                                              \
  HWY_PUSH_ATTRIBUTES("avx,avx2,bmi,bmi2,fma,avx512f,avx512vl,avx512dq,avx512bw,"      \
                      "avx512vbmi,avx512vbmi2,avx512vnni,avx512bitalg,avx512vpopcntdq")
#define LBRT_END_AVX512 HWY_POP_ATTRIBUTES

namespace lbrt::avx512 {

constexpr uint64_t LowBits(size_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

// The last `count` bytes (1 to 3) of a run of `run` bytes that ends at `end`, zeros behind them.
HWY_INLINE int32_t LastBytes(const uint8_t* end, size_t run, size_t count) {
  uint32_t bytes = 0;
  if (run >= 4) {
    std::memcpy(&bytes, end - 4, 4);
    bytes >>= 8 * (4 - count);
  } else {
    for (size_t i = 0; i < count; ++i) bytes |= uint32_t{end[i - count]} << (8 * i);
  }
  return static_cast<int32_t>(bytes);
}

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

void DotTile(const Windows<uint8_t>& in, const Weights& weights, const int32_t* const* base,
             int32_t* acc, size_t acc_stride);

size_t DepthwiseBytes(const WeightRows& rows);
void PackDepthwise(const WeightRows& rows, void* packed);
void DepthwiseCodes(const DepthwiseWindows<uint8_t>& in, const Weights& weights, size_t row,
                    size_t column, int32_t zero, int32_t* acc, size_t acc_stride);

// The column of Highway's AVX3_DL with these rows in the place of its own. `dot_panels`: weights of
// dot_tile in groups of four.
constexpr Kernels Replace(Kernels column, const Packing& dot_panels) {
  column.pack_xor_popcount_lanes = {LanesBytes, PackLanes};
  column.xor_popcount_lanes = XorPopcountLanes;
  column.pack_fixed_point_tile = {FixedPointTileBytes, PackFixedPointTile};
  column.fixed_point_tile = FixedPointTile;
  column.pack_fixed_point_lanes = {FixedPointLanesBytes, PackFixedPointLanes};
  column.fixed_point_lanes = FixedPointLanes;
  column.pack_dot_tile = dot_panels;
  column.dot_tile = DotTile;
  column.pack_depthwise_codes = {DepthwiseBytes, PackDepthwise};
  column.depthwise_codes = DepthwiseCodes;
  return column;
}

}  // namespace lbrt::avx512
