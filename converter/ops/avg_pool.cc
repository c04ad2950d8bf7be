// Average pooling, or its sums, then zero channels: one of the two or both (fuse_pool_pad).
#include "converter/emission.h"
#include "converter/ops.h"
#include "images/error.h"

namespace lbrt {
namespace {

bool Lower(const Graph& graph, int i, LoweredGraph::Op& op) {
  const GraphNode& node = graph.node(i);
  if (node.op != GraphOp::kAvgPool && node.op != GraphOp::kPadChannels) return false;
  // Zero channels alone are a pooling over single pixels, (+0 + x) * 1. That is x only where x is
  // not -0, which an average, being a sum that starts at +0, never is.
  if (node.op == GraphOp::kPadChannels && graph.node(node.inputs[0]).op != GraphOp::kAvgPool)
    throw InputError("node " + node.name,
                     "zero channels are only supported after an average pooling");
  op.inputs = node.inputs;
  op.body = {i};
  return true;
}

TableBody Emit(Emission& emission, const LoweredGraph::Op& op) {
  Window window;
  uint32_t before = 0, after = 0;
  bool sum = false;
  for (const int i : op.body) {
    const GraphNode& node = emission.node(i);
    if (node.op == GraphOp::kAvgPool) window = node.window;
    sum |= node.type == ValueType::kI32;
    before += static_cast<uint32_t>(node.pad_before);
    after += static_cast<uint32_t>(node.pad_after);
  }
  const lbm::Window in_table = TableWindow(window);
  return {lbm::OpBody::AvgPool,
          lbm::CreateAvgPool(emission.builder(), emission.Tensor(op.inputs[0]), &in_table, before,
                             after, emission.Tensor(op.body.back()), sum)
              .Union()};
}

}  // namespace

const OpKind kinds::kAvgPool = {"average pooling",
                                "follows a pooling, which has no epilogue", Lower, Emit};

}  // namespace lbrt
