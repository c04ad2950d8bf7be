// A convolution and its epilogue. A linear layer's window is its whole input.
#include "converter/emission.h"
#include "converter/ops.h"

namespace lbrt {
namespace {

bool Lower(const Graph& graph, int i, LoweredGraph::Op& op) {
  const GraphNode& node = graph.node(i);
  if (node.op != GraphOp::kConv) return false;
  op.inputs = node.inputs;
  op.body = {i};
  op.stages.emplace_back().out_f32 = i;
  return true;
}

TableBody Emit(Emission& emission, const LoweredGraph::Op& op) {
  const GraphNode& conv = emission.node(op.body[0]);
  const std::vector<uint32_t> planes = emission.Planes(op);
  const auto stages = emission.Stages(op);
  const lbm::Window window = TableWindow(conv.window);
  const bool weighted = !op.weighted.weights.empty();
  const auto kind = weighted ? lbm::WeightKind::Weighted
                    : conv.weight_kind == WeightKind::kInteger
                        ? lbm::WeightKind::Integers
                        : static_cast<lbm::WeightKind>(conv.weight_kind);
  return {lbm::OpBody::Conv,
          lbm::CreateConvDirect(emission.builder(), emission.Tensor(op.inputs[0]),
                                static_cast<uint32_t>(conv.channels), &window, kind, &planes,
                                &stages, static_cast<uint8_t>(conv.zero),
                                weighted ? &op.weighted.weights : nullptr,
                                static_cast<uint8_t>(op.weighted.bits),
                                static_cast<uint8_t>(op.weighted.offset),
                                static_cast<uint32_t>(conv.groups))
              .Union()};
}

template <WeightKind kind, lbm::WeightKind file>
constexpr bool kSame = static_cast<int>(kind) == static_cast<int>(file);
static_assert(kSame<WeightKind::kSign, lbm::WeightKind::Sign> &&
              kSame<WeightKind::kFloat, lbm::WeightKind::Float> &&
              kSame<WeightKind::kFixed, lbm::WeightKind::Fixed> &&
              kSame<WeightKind::kTernary, lbm::WeightKind::Ternary> &&
              kSame<WeightKind::kOdd, lbm::WeightKind::Odd>);

}  // namespace

const OpKind kinds::kConv = {"convolution", nullptr, Lower, Emit};

}  // namespace lbrt
