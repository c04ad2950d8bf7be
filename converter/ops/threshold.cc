// Codes by comparison with thresholds.
#include "converter/emission.h"
#include "converter/ops.h"

namespace lbrt {
namespace {

bool Lower(const Graph& graph, int i, LoweredGraph::Op& op) {
  const GraphNode& node = graph.node(i);
  if (node.op != GraphOp::kThreshold) return false;
  op.inputs = node.inputs;
  op.body = {i};
  return true;
}

TableBody Emit(Emission& emission, const LoweredGraph::Op& op) {
  const GraphNode& node = emission.node(op.body[0]);
  const auto channels = static_cast<size_t>(node.channels);
  std::vector<float> thresholds, shared;
  bool same = true;
  for (size_t i = 0; i < node.thresholds.size(); ++i) {
    same = same && node.thresholds[i] == node.thresholds[i / channels * channels];
    if (i % channels == 0) shared.push_back(node.thresholds[i]);
  }
  thresholds = same ? shared : node.thresholds;
  const lbm::Floats floats = emission.segments().AddAll(thresholds);
  return {
      lbm::OpBody::Threshold,
      lbm::CreateThreshold(emission.builder(), emission.Tensor(op.inputs[0]),
                           static_cast<uint8_t>(node.levels), &floats, emission.Tensor(op.body[0]))
          .Union()};
}

}  // namespace

const OpKind kinds::kThreshold = {"threshold", "follows thresholds, which have no epilogue", Lower,
                                  Emit};

}  // namespace lbrt
