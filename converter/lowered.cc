#include "converter/lowered.h"

#include <algorithm>
#include <set>
#include <utility>

#include "images/error.h"

namespace lbrt {

using Op = LoweredGraph::Op;
using Stage = LoweredGraph::Stage;
using Kind = LoweredGraph::Kind;

namespace {

// What keeps a node from being converted; null: nothing.
const char* Obstacle(const Graph& graph, const GraphNode& node) {
  switch (node.op) {
    case GraphOp::kConv: {
      const ValueType from = graph.node(node.inputs[0]).type;
      if (node.weight_kind == WeightKind::kTernary) return "ternary weights";
      if (node.weight_kind == WeightKind::kOdd) return "weights of several bits";
      if (from == ValueType::kCode) return "activations of several bits";
      if (node.weight_kind == WeightKind::kFixed && from != ValueType::kU8)
        return "fixed-point weights behind the stem";
      return nullptr;
    }
    case GraphOp::kAffine:
      return node.inputs.size() > 1 ? "sums of several planes" : nullptr;
    case GraphOp::kActivation:
      return node.activation == Activation::kClipUnit ? "clipping to [0, 1]" : nullptr;
    case GraphOp::kQuantize:
      return "activations of several bits";
    case GraphOp::kDecode:
      return "activation codes used as numbers";
    case GraphOp::kMaxPool:
      return "max pooling";
    case GraphOp::kConcat:
      return "concatenation";
    case GraphOp::kPRelu:
      return "PReLU";
    case GraphOp::kInput:
    case GraphOp::kAdd:
    case GraphOp::kSign:
    case GraphOp::kAvgPool:
    case GraphOp::kPadChannels:
      break;
  }
  return nullptr;
}

}  // namespace

void CheckConvertible(const Graph& graph, const GraphNode& node) {
  if (const char* obstacle = Obstacle(graph, node))
    throw InputError("node " + node.name, std::string(obstacle) + " cannot be converted yet");
}

LoweredGraph Lower(const Graph& graph) {
  LoweredGraph lowered;
  lowered.graph = &graph;
  for (int i = 0; i < static_cast<int>(graph.nodes.size()); ++i) {
    const GraphNode& node = graph.node(i);
    if (node.op == GraphOp::kInput) continue;
    CheckConvertible(graph, node);
    Op op;
    op.nodes = {i};
    op.input = node.inputs[0];
    Stage stage;
    stage.out_f32 = i;
    switch (node.op) {
      case GraphOp::kInput:
        break;
      case GraphOp::kConv:
        op.kind = Kind::kConv;
        break;
      case GraphOp::kAffine:
        stage.affine = i;
        break;
      case GraphOp::kAdd:
        stage.add = node.inputs[1];
        break;
      case GraphOp::kActivation:
        stage.activation = node.activation;
        break;
      case GraphOp::kSign:
        std::swap(stage.out_f32, stage.out_sign);
        break;
      case GraphOp::kAvgPool:
        op.kind = Kind::kAvgPool;
        op.pool = i;
        break;
      case GraphOp::kPadChannels:
        // As a pooling over single pixels, (+0 + x) * 1. That is x only where x is not -0, which an
        // average, being a sum that starts at +0, never is.
        if (graph.node(op.input).op != GraphOp::kAvgPool)
          throw InputError(node.name, "zero channels are only supported after an average pooling");
        op.kind = Kind::kAvgPool;
        op.pad = i;
        break;
      case GraphOp::kQuantize:
      case GraphOp::kDecode:
      case GraphOp::kMaxPool:
      case GraphOp::kConcat:
      case GraphOp::kPRelu:
        break;  // not convertible
    }
    if (op.kind != Kind::kAvgPool) op.stages = {stage};
    lowered.ops.push_back(std::move(op));
  }
  return lowered;
}

std::vector<int> InputsOf(const Op& op) {
  std::vector<int> values = {op.input};
  for (const Stage& stage : op.stages)
    if (stage.add >= 0) values.push_back(stage.add);
  return values;
}

std::vector<int> OutputsOf(const Op& op) {
  if (op.kind == Kind::kAvgPool) return {op.pad >= 0 ? op.pad : op.pool};
  std::vector<int> values;
  for (const Stage& stage : op.stages)
    for (const int value : {stage.out_f32, stage.out_sign})
      if (value >= 0) values.push_back(value);
  return values;
}

int ProducerOf(const LoweredGraph& lowered, int value) {
  for (size_t i = 0; i < lowered.ops.size(); ++i)
    for (const int output : OutputsOf(lowered.ops[i]))
      if (output == value) return static_cast<int>(i);
  return -1;
}

int UsersOf(const LoweredGraph& lowered, int value) {
  int users = lowered.graph->output == value ? 1 : 0;
  for (const Op& op : lowered.ops) {
    const std::vector<int> inputs = InputsOf(op);
    users += static_cast<int>(std::count(inputs.begin(), inputs.end(), value));
  }
  return users;
}

std::vector<int> StoredValues(const LoweredGraph& lowered) {
  std::vector<int> values = {0};
  for (const Op& op : lowered.ops)
    for (const int output : OutputsOf(op)) values.push_back(output);
  std::sort(values.begin(), values.end());
  return values;
}

void SortOps(LoweredGraph& lowered) {
  std::vector<Op> waiting = std::exchange(lowered.ops, {});
  std::set<int> stored = {0};
  while (!waiting.empty()) {
    const auto ready = std::find_if(waiting.begin(), waiting.end(), [&](const Op& op) {
      const std::vector<int> inputs = InputsOf(op);
      return std::all_of(inputs.begin(), inputs.end(),
                         [&](int value) { return stored.count(value) != 0; });
    });
    for (const int output : OutputsOf(*ready)) stored.insert(output);
    lowered.ops.push_back(std::move(*ready));
    waiting.erase(ready);
  }
}

}  // namespace lbrt
