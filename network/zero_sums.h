// Sums that make a sign's input exactly zero.
#pragma once

#include <cstdint>

#include "network/graph.h"

namespace lbrt {

// Pairs of an output channel and a sum of its convolution of integers, within what its weights
// allow, behind which a kSign finds exactly 0 through affines, activations and max pooling alone.
// Training's sign(0) is 0, the graph's +1 (design.md section 2).
int64_t ZeroSums(const Graph& graph);

}  // namespace lbrt
