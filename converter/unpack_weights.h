// Private to converter/.
#pragma once

#include <cstdint>
#include <vector>

#include "converter/lowered.h"

namespace lbrt {

// A convolution with the weights that its op's planes hold, written from their description in
// schema/lbm.fbs: the inverse of PackWeights and NestPlanes.
GraphNode WithUnpackedWeights(GraphNode conv, const LoweredGraph::Op& op);

}  // namespace lbrt
