// An epilogue standing alone; of one step when it is lowered.
#include "converter/emission.h"
#include "converter/ops.h"

namespace lbrt {
namespace {

bool Lower(const Graph& graph, int i, LoweredGraph::Op& op) {
  const GraphNode& node = graph.node(i);
  LoweredGraph::Stage stage;
  stage.out_f32 = i;
  switch (node.op) {
    case GraphOp::kAffine:
      stage.affine = i;
      if (node.inputs.size() > 1) stage.base = node.inputs[1];
      break;
    case GraphOp::kDecode:
      if (node.step != 1) stage.affine = i;
      break;
    case GraphOp::kAdd:
      stage.add = node.inputs[1];
      break;
    case GraphOp::kActivation:
    case GraphOp::kPRelu:
      stage.activation = i;
      break;
    case GraphOp::kSign:
      stage.out_f32 = -1;
      stage.out_sign = i;
      break;
    case GraphOp::kQuantize:
      stage.out_f32 = -1;
      stage.out_codes = i;
      break;
    default:
      return false;
  }
  op.inputs = {node.inputs[0]};
  op.stages = {stage};
  return true;
}

TableBody Emit(Emission& emission, const LoweredGraph::Op& op) {
  const auto stages = emission.Stages(op);
  return {lbm::OpBody::Eltwise,
          lbm::CreateEltwiseDirect(emission.builder(), emission.Tensor(op.inputs[0]), &stages)
              .Union()};
}

}  // namespace

const OpKind kinds::kEltwise = {"epilogue", nullptr, Lower, Emit};

}  // namespace lbrt
