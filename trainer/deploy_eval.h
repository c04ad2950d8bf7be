// Deploy-eval: executes an imported graph with LibTorch, to the bit as the numeric contract says
// (design.md section 2) and without a line of kernels/'s rows or of the runtime: low-bit and
// fixed-point convolutions as matrix products of exact integers, fp32 layers by a loop of its own.
// `lbtrain --eval CKPT --deploy` writes the logits that `lbrun --eval` must reproduce.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "network/graph.h"
#include "trainer/evaluate.h"

namespace lbrt {

// `input` is what the graph takes: uint8 [n h w c], or float32 [n c h w] (already normalised) for a
// float stem. Returns the logits, float32 [n classes].
at::Tensor ExecuteGraph(const Graph& graph, const at::Tensor& input);

// The graph on every sample, in order. `progress` is told the images done.
Evaluation EvaluateGraph(const Graph& graph, const Samples& samples,
                         const Preprocessing& preprocessing,
                         const std::function<void(size_t done)>& progress);

}  // namespace lbrt
