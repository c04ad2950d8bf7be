// What follows a convolution's sum, one channel at a time, and where it reaches something.
#pragma once

#include <cstdint>

#include "kernels/numerics.h"
#include "network/graph.h"

namespace lbrt {

// z of a channel behind a kAffine without border classes, a kActivation or a kPRelu.
inline float StepValue(const GraphNode& node, size_t channel, float z) {
  if (node.op == GraphOp::kAffine) return Affine(z, node.a[channel], node.b[channel]);
  if (node.op == GraphOp::kPRelu) return PRelu(z, node.a[channel]);
  return Activate(z, node.activation, 0);
}

// The first position of [first, last] where `reached` holds, which holds from there on; last + 1
// where it nowhere does.
template <typename Reached>
int64_t FirstReached(int64_t first, int64_t last, Reached reached) {
  int64_t after = last + 1;
  while (first < after) {
    const int64_t middle = first + (after - first) / 2;
    if (reached(middle))
      after = middle;
    else
      first = middle + 1;
  }
  return after;
}

}  // namespace lbrt
