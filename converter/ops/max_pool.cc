// Max pooling, of floats, signs or codes.
#include "converter/emission.h"
#include "converter/ops.h"

namespace lbrt {
namespace {

bool Lower(const Graph& graph, int i, LoweredGraph::Op& op) {
  const GraphNode& node = graph.node(i);
  if (node.op != GraphOp::kMaxPool) return false;
  op.inputs = node.inputs;
  op.body = {i};
  return true;
}

TableBody Emit(Emission& emission, const LoweredGraph::Op& op) {
  const lbm::Window window = TableWindow(emission.node(op.body[0]).window);
  return {lbm::OpBody::MaxPool,
          lbm::CreateMaxPool(emission.builder(), emission.Tensor(op.inputs[0]), &window,
                             emission.Tensor(op.body[0]))
              .Union()};
}

}  // namespace

const OpKind kinds::kMaxPool = {"max pooling",
                                "follows a pooling, which has no epilogue", Lower, Emit};

}  // namespace lbrt
