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
  const GraphNode& pool = emission.node(op.body[0]);
  const lbm::Window window = TableWindow(pool.window);
  std::vector<uint8_t> bits((pool.a.size() + 7) / 8);
  for (size_t c = 0; c < pool.a.size(); ++c)
    if (pool.a[c] < 0) bits[c / 8] |= static_cast<uint8_t>(1u << (c % 8));
  return {lbm::OpBody::MaxPool,
          lbm::CreateMaxPoolDirect(emission.builder(), emission.Tensor(op.inputs[0]), &window,
                                   emission.Tensor(op.body[0]), bits.empty() ? nullptr : &bits)
              .Union()};
}

}  // namespace

const OpKind kinds::kMaxPool = {"max pooling",
                                "follows a pooling, which has no epilogue", Lower, Emit};

}  // namespace lbrt
