// Every pixel several times.
#include "converter/emission.h"
#include "converter/ops.h"

namespace lbrt {
namespace {

bool Lower(const Graph& graph, int i, LoweredGraph::Op& op) {
  const GraphNode& node = graph.node(i);
  if (node.op != GraphOp::kUpsample) return false;
  op.inputs = node.inputs;
  op.body = {i};
  return true;
}

TableBody Emit(Emission& emission, const LoweredGraph::Op& op) {
  const GraphNode& node = emission.node(op.body[0]);
  return {lbm::OpBody::Upsample,
          lbm::CreateUpsample(emission.builder(), emission.Tensor(op.inputs[0]),
                              static_cast<uint16_t>(node.factor_h),
                              static_cast<uint16_t>(node.factor_w), emission.Tensor(op.body[0]))
              .Union()};
}

}  // namespace

const OpKind kinds::kUpsample = {"upsampling", "follows an upsampling, which has no epilogue",
                                 Lower, Emit};

}  // namespace lbrt
