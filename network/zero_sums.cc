#include "network/zero_sums.h"

#include <vector>

#include "network/channel_steps.h"

namespace lbrt {
namespace {

// From the convolution to what a sign reads: affines and activations, the last one first.
struct Chain {
  const GraphNode* conv = nullptr;
  double largest = 0;  // of the sums
  std::vector<const GraphNode*> steps;
};

Chain ChainBehind(const Graph& graph, int x) {
  Chain chain;
  for (;; x = graph.node(x).inputs[0]) {
    const GraphNode& node = graph.node(x);
    if (node.op == GraphOp::kConv) {
      if (node.type == ValueType::kF32) return {};
      chain.conv = &node;
      chain.largest = LargestSum(graph, x);
      return chain;
    }
    const bool step = node.op == GraphOp::kAffine || node.op == GraphOp::kActivation;
    if (!step && node.op != GraphOp::kMaxPool) return {};
    if (node.op == GraphOp::kAffine && node.border_rows * node.border_columns != 1) return {};
    if (step) chain.steps.push_back(&node);
  }
}

int64_t ZerosOf(const Chain& chain, size_t channel) {
  const auto last = static_cast<int64_t>(chain.largest);
  const auto at = [&](int64_t sum) {
    auto z = static_cast<float>(sum);
    for (auto step = chain.steps.rbegin(); step != chain.steps.rend(); ++step)
      z = StepValue(**step, channel, z);
    return z;
  };
  if (at(last) == at(-last)) return 0;  // a constant
  const float sign = at(last) > at(-last) ? 1.0f : -1.0f;
  const int64_t first = FirstReached(-last, last, [&](int64_t sum) { return sign * at(sum) >= 0; });
  return FirstReached(first, last, [&](int64_t sum) { return sign * at(sum) > 0; }) - first;
}

}  // namespace

int64_t ZeroSums(const Graph& graph) {
  int64_t zeros = 0;
  for (const GraphNode& sign : graph.nodes) {
    if (sign.op != GraphOp::kSign) continue;
    const Chain chain = ChainBehind(graph, sign.inputs[0]);
    for (int c = 0; chain.conv != nullptr && c < chain.conv->channels; ++c)
      zeros += ZerosOf(chain, static_cast<size_t>(c));
  }
  return zeros;
}

}  // namespace lbrt
