// Private to converter/.
#pragma once

#include <cstdint>
#include <vector>

#include "network/graph.h"

namespace lbrt {

// A convolution with the weights that its planes hold, written from their description in
// schema/lbm.fbs: the inverse of PackWeights.
GraphNode WithUnpackedWeights(GraphNode conv, const std::vector<std::vector<uint8_t>>& planes);

}  // namespace lbrt
