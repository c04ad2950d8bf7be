// Networks that were trained with float activations, on 8-bit codes (methods.md 3.2 and 5.2): the
// one change of a graph that changes its values, made before it is lowered.
#pragma once

#include <vector>

#include "network/graph.h"

namespace lbrt {

inline constexpr int kCodedActivationLevels = 255;

// The activations that can become codes: ReLUs, and clips to [0, 1], that convolutions of integer
// weights read, themselves or through max poolings and concatenations. Those of one group share a
// step, as codes that are concatenated must. In the order of the graph; none where no convolution
// of integer weights reads floats that are never negative.
std::vector<std::vector<int>> FloatActivations(const Graph& graph);

// Before: those convolutions read floats.
// After:  they read codes 0 to 255 that the activation was rounded to, code * steps[group] being
//         the value, and make exact integers; the step becomes part of the affine behind them, or
//         an affine of its own where something else is there. A ReLU that nothing else reads is no
//         more: the quantizer's clip at zero does the same. Whoever else reads the activation, as
//         residual additions do, gets the float as before, which is exact and costs no op: an
//         epilogue stores both.
Graph QuantizeActivations(const Graph& graph, const std::vector<double>& steps);

}  // namespace lbrt
