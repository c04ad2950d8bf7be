// Deploy-eval: executes an imported graph with LibTorch, to the bit as the numeric contract says
// (design.md section 2) and without a line of kernels/'s rows or of the runtime: low-bit and
// fixed-point convolutions as matrix products of integers, fp32 layers by a loop of its own.
// `lbtrain --eval CKPT --deploy` writes the logits that `lbrun --eval` must reproduce.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "network/graph.h"
#include "trainer/evaluate.h"

namespace lbrt {

class DeployedGraph {
 public:
  explicit DeployedGraph(const Graph& graph);  // which must outlive it
  ~DeployedGraph();

  // `input` is what the graph takes: uint8 [n h w c], or float32 [n c h w] (already normalised) for
  // a float stem. Returns the logits, float32 [n classes]. Images are spread over the threads.
  at::Tensor Run(const at::Tensor& input) const;

 private:
  struct Prepared;

  at::Tensor RunImage(at::Tensor image) const;
  at::Tensor RunNode(size_t index, const std::vector<at::Tensor>& values) const;

  const Graph& graph_;
  std::vector<std::unique_ptr<Prepared>> prepared_;  // a node's
  std::vector<size_t> last_user_;                    // of a node's value
};

// The graph on every sample, in order. `progress` is told the images done.
Evaluation EvaluateGraph(const Graph& graph, const Samples& samples,
                         const Preprocessing& preprocessing,
                         const std::function<void(size_t done)>& progress);

}  // namespace lbrt
