// Private to converter/.
#pragma once

#include <cstdint>
#include <vector>

#include "network/graph.h"

namespace lbrt {

// A plane of the bits bit(value) of one value a weight, [o][ky][kx][c], as schema/lbm.fbs wants
// planes of bits: a row an output channel, padded to 32 bits.
template <typename Bit>
std::vector<uint8_t> PackBits(const GraphNode& conv, const std::vector<int32_t>& values, Bit bit) {
  const auto outputs = static_cast<size_t>(conv.channels);
  const size_t taps = values.size() / outputs;
  const size_t row_bytes = (taps + 31) / 32 * 4;
  std::vector<uint8_t> plane(outputs * row_bytes);
  for (size_t o = 0; o < outputs; ++o)
    for (size_t k = 0; k < taps; ++k)
      if (bit(values[o * taps + k]))
        plane[o * row_bytes + k / 8] |= static_cast<uint8_t>(1u << (k % 8));
  return plane;
}

}  // namespace lbrt
