// Channels of several values of one type, in order.
#include "converter/emission.h"
#include "converter/ops.h"
#include "images/error.h"

namespace lbrt {
namespace {

constexpr size_t kMostInputs = 16;  // schema/lbm.fbs

bool Lower(const Graph& graph, int i, LoweredGraph::Op& op) {
  const GraphNode& node = graph.node(i);
  if (node.op != GraphOp::kConcat) return false;
  if (node.inputs.size() < 2 || node.inputs.size() > kMostInputs)
    throw InputError("node " + node.name, "joins " + std::to_string(node.inputs.size()) +
                                              " values, expected 2 to 16");
  op.inputs = node.inputs;
  op.body = {i};
  return true;
}

TableBody Emit(Emission& emission, const LoweredGraph::Op& op) {
  std::vector<uint32_t> inputs;
  for (const int value : op.inputs) inputs.push_back(emission.Tensor(value));
  return {lbm::OpBody::Concat, lbm::CreateConcatDirect(emission.builder(), &inputs,
                                                       emission.Tensor(op.body[0]))
                                   .Union()};
}

}  // namespace

const OpKind kinds::kConcat = {"concatenation",
                               "follows a concatenation, which has no epilogue", Lower, Emit};

}  // namespace lbrt
