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
  const lbm::Floats floats = emission.AddThresholds(node);
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
