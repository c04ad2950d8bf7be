#include "network/graph.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace lbrt {

GraphNode& Graph::Append(GraphOp op, const std::string& name, std::vector<int> inputs) {
  GraphNode appended;
  appended.op = op;
  appended.name = name;
  if (!inputs.empty()) {
    const GraphNode& x = node(inputs[0]);
    appended.height = x.height;
    appended.width = x.width;
    appended.channels = x.channels;
  }
  appended.inputs = std::move(inputs);
  nodes.push_back(std::move(appended));
  return nodes.back();
}

double LargestSum(const GraphNode& conv, const GraphNode& from) {
  const double input = from.type == ValueType::kU8     ? 255
                       : from.type == ValueType::kCode
                           ? std::max(from.levels - conv.zero, conv.zero)
                                                       : 1;
  const size_t taps = conv.codes.size() / static_cast<size_t>(conv.channels);
  double largest = 0;
  for (size_t o = 0; o < conv.codes.size(); o += taps) {
    double sum = 0;
    for (size_t k = 0; k < taps; ++k) sum += std::abs(static_cast<double>(conv.codes[o + k]));
    largest = std::max(largest, sum * input);
  }
  return largest;
}

double LargestSum(const Graph& graph, int value) {
  const GraphNode& node = graph.node(value);
  if (node.op == GraphOp::kConv) return LargestSum(node, graph.node(node.inputs[0]));
  double largest = 0;
  for (const int x : node.inputs) largest = std::max(largest, LargestSum(graph, x));
  return node.op == GraphOp::kAvgPool ? largest * node.window.taps() : largest;
}

}  // namespace lbrt
