#include "network/zero_sums.h"

#include <cmath>

#include "kernels/numerics.h"

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
      chain.largest = LargestSum(node, graph.node(node.inputs[0]));
      return chain;
    }
    const bool step = node.op == GraphOp::kAffine || node.op == GraphOp::kActivation;
    if (!step && node.op != GraphOp::kMaxPool) return {};
    if (node.op == GraphOp::kAffine && node.border_rows * node.border_columns != 1) return {};
    if (step) chain.steps.push_back(&node);
  }
}

float Through(const Chain& chain, size_t channel, double sum) {
  auto z = static_cast<float>(sum);
  for (auto step = chain.steps.rbegin(); step != chain.steps.rend(); ++step) {
    const GraphNode& node = **step;
    if (node.op == GraphOp::kAffine) {
      z = Affine(z, node.a[channel], node.b[channel]);
    } else {
      z = node.activation == Activation::kRelu       ? Relu(z)
          : node.activation == Activation::kHardtanh ? Hardtanh(z)
                                                     : ClipUnit(z);
    }
  }
  return z;
}

// The first whole number of (low, high] for which `passes`, which does not change back, holds.
template <typename Passes>
double First(double low, double high, Passes passes) {
  while (high - low > 1) {
    const double middle = std::floor((low + high) / 2);
    (passes(middle) ? high : low) = middle;
  }
  return high;
}

int64_t ZerosOf(const Chain& chain, size_t channel) {
  const double end = chain.largest + 1;
  const auto at = [&](double sum) { return Through(chain, channel, sum); };
  if (at(chain.largest) == at(-chain.largest)) return 0;  // a constant
  const bool rises = at(chain.largest) > at(-chain.largest);
  const double first =
      First(-end, end, [&](double sum) { return rises ? at(sum) >= 0 : at(sum) <= 0; });
  const double past =
      First(-end, end, [&](double sum) { return rises ? at(sum) > 0 : at(sum) < 0; });
  return static_cast<int64_t>(past - first);
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
