#include "converter/lowered.h"

#include <algorithm>
#include <set>
#include <utility>

#include "converter/ops.h"
#include "images/error.h"

namespace lbrt {

using Op = LoweredGraph::Op;
using Stage = LoweredGraph::Stage;

LoweredGraph Lower(const Graph& graph) {
  LoweredGraph lowered;
  lowered.graph = &graph;
  for (int i = 1; i < static_cast<int>(graph.nodes.size()); ++i)
    lowered.ops.push_back(LowerNode(graph, i));
  return lowered;
}

Op LowerNode(const Graph& graph, int node) {
  Op op;
  op.nodes = {node};
  for (const OpKind* kind : OpKinds())
    if (op.kind == nullptr && kind->lower(graph, node, op)) op.kind = kind;
  if (op.kind == nullptr)
    throw InputError("node " + graph.node(node).name, "no op of a model computes it");
  return op;
}

Graph& LoweredGraph::Extend() {
  if (extended == nullptr) {
    extended = std::make_shared<Graph>(*graph);
    graph = extended.get();
  }
  return *extended;
}

std::vector<int> InputsOf(const Op& op) {
  std::vector<int> values = op.inputs;
  for (const Stage& stage : op.stages)
    for (const int value : {stage.base, stage.add})
      if (value >= 0) values.push_back(value);
  return values;
}

std::vector<int> OutputsOf(const Op& op) {
  if (op.stages.empty()) return {op.body.back()};
  std::vector<int> values;
  for (const Stage& stage : op.stages)
    for (const int value : {stage.out_f32, stage.out_sign, stage.out_codes})
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
  const std::vector<int>& more = lowered.graph->more_outputs;
  int users = static_cast<int>(std::count(more.begin(), more.end(), value));
  if (lowered.graph->output == value) ++users;
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
