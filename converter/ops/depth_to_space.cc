// Channels that become pixels.
#include "converter/emission.h"
#include "converter/ops.h"

namespace lbrt {
namespace {

bool Lower(const Graph& graph, int i, LoweredGraph::Op& op) {
  const GraphNode& node = graph.node(i);
  if (node.op != GraphOp::kDepthToSpace) return false;
  op.inputs = node.inputs;
  op.body = {i};
  return true;
}

TableBody Emit(Emission& emission, const LoweredGraph::Op& op) {
  const GraphNode& node = emission.node(op.body[0]);
  const auto order =
      node.channel_first ? lbm::DepthOrder::ChannelFirst : lbm::DepthOrder::BlockFirst;
  return {lbm::OpBody::DepthToSpace,
          lbm::CreateDepthToSpace(emission.builder(), emission.Tensor(op.inputs[0]),
                                  static_cast<uint16_t>(node.block), order,
                                  emission.Tensor(op.body[0]))
              .Union()};
}

}  // namespace

const OpKind kinds::kDepthToSpace = {
    "depth to space", "follows a depth to space, which has no epilogue", Lower, Emit};

}  // namespace lbrt
