// Private to network/.
#pragma once

#include <vector>

#include "network/network.h"

namespace lbrt {

// The nodes of a network, where a global pooling comes before the 1x1 convolution that is followed
// by nothing else, or by a batch norm, and then by it: without an activation between, all three are
// linear (methods.md 3.2). Fewer pixels are left for the convolution.
std::vector<Node> WithPoolingFirst(const Network& network);

}  // namespace lbrt
