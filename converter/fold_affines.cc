#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "converter/passes.h"
#include "kernels/numerics.h"
#include "network/channel_steps.h"

namespace lbrt {
namespace {

using Op = LoweredGraph::Op;

// What follows the sum of a convolution of integers: affines and activations, then kSign or
// kQuantize.
struct Chain {
  int conv = -1;
  std::vector<int> steps;
  int codes = -1;
};

// 0 to the codes' levels, of signs 0 and 1.
int Code(const GraphNode& codes, float z) {
  if (codes.op == GraphOp::kSign) return SignBit(z) ? 1 : 0;
  return static_cast<int>(ActivationCode(z, codes.inverse_step, codes.levels));
}
int Levels(const GraphNode& codes) { return codes.op == GraphOp::kSign ? 1 : codes.levels; }

// One channel of a chain as a function that does not fall, of positions: sums, times -1 where the
// codes fall as the sum rises.
class Channel {
 public:
  Channel(const LoweredGraph& lowered, const Chain& chain, size_t channel)
      : lowered_(lowered), chain_(chain), codes_(lowered.node(chain.codes)), channel_(channel) {
    last_ = static_cast<int64_t>(LargestSum(*lowered.graph, chain.conv));
    slope_ = 1;
    for (const int i : chain.steps)
      if (lowered.node(i).op == GraphOp::kAffine)
        slope_ *= static_cast<double>(lowered.node(i).a[channel]);
    if (slope_ < 0) direction_ = -1;
  }

  // An affine of the sum that gives the same codes of every sum that can be, if one is found.
  std::optional<std::pair<float, float>> Fold() const {
    const int levels = Levels(codes_);
    const double a = std::fabs(slope_);
    // Of the b of a * position + b: each level's first position gives a least and a most.
    double least = -std::numeric_limits<double>::infinity(), most = -least;
    std::vector<int64_t> firsts;
    int64_t first = -last_;
    for (int level = 1; level <= levels; ++level) {
      first = FirstReached(first, last_, [&](int64_t p) { return CodeAt(p) >= level; });
      firsts.push_back(first);
      const double z = Middle(level);
      if (first <= last_) least = std::max(least, z - a * static_cast<double>(first));
      if (first > -last_) most = std::min(most, z - a * static_cast<double>(first - 1));
    }
    const int constant = CodeAt(-last_);
    std::pair<float, float> found;
    if (constant == CodeAt(last_))
      found = {0.0f, static_cast<float>((Middle(constant) + Middle(constant + 1)) / 2)};
    else
      found = {static_cast<float>(direction_ * a), static_cast<float>((least + most) / 2)};
    // Right at both ends and on both sides of each threshold: right everywhere, for both rise.
    const auto right = [&](int64_t p) {
      return p < -last_ || p > last_ ||
             Code(codes_, Affine(Sum(p), found.first, found.second)) == CodeAt(p);
    };
    bool all = right(-last_) && right(last_);
    for (const int64_t p : firsts) all = all && right(p) && right(p - 1);
    if (!all) return {};
    return found;
  }

 private:
  float Sum(int64_t position) const { return static_cast<float>(direction_ * position); }
  int CodeAt(int64_t position) const {
    float z = Sum(position);
    for (const int i : chain_.steps) z = StepValue(lowered_.node(i), channel_, z);
    return Code(codes_, z);
  }
  // Where a value's code becomes `level`.
  double Middle(int level) const {
    if (codes_.op == GraphOp::kSign) return 2 * level - 2;
    return (level - 0.5) / static_cast<double>(codes_.inverse_step);
  }

  const LoweredGraph& lowered_;
  const Chain& chain_;
  const GraphNode& codes_;
  const size_t channel_;
  int64_t last_ = 0;
  double slope_ = 1;
  int64_t direction_ = 1;
};

// The only op that reads a value; null where there are others.
const Op* OnlyReader(const LoweredGraph& lowered, int value) {
  if (UsersOf(lowered, value) != 1) return nullptr;
  for (const Op& op : lowered.ops)
    for (const int input : InputsOf(op))
      if (input == value) return &op;
  return nullptr;
}

bool IsStep(const LoweredGraph& lowered, const Op& op) {
  const GraphNode& node = lowered.node(op.nodes[0]);
  if (op.nodes.size() != 1 || InputsOf(op).size() != 1) return false;
  switch (node.op) {
    case GraphOp::kAffine: return node.border_rows * node.border_columns == 1;
    case GraphOp::kActivation: return true;
    case GraphOp::kPRelu: return std::ranges::all_of(node.a, [](float s) { return s >= 0; });
    default: return false;
  }
}

// The chain that begins with op `begin`, if it is one of more affines than one.
std::optional<Chain> ChainOf(const LoweredGraph& lowered, const Op& begin) {
  Chain chain;
  const Op* op = &begin;
  size_t affines = 0;
  for (; op != nullptr && IsStep(lowered, *op); op = OnlyReader(lowered, op->nodes[0])) {
    chain.steps.push_back(op->nodes[0]);
    affines += lowered.node(op->nodes[0]).op == GraphOp::kAffine;
  }
  if (op == nullptr || affines < 2) return {};
  chain.codes = op->nodes[0];
  const GraphOp codes = lowered.node(chain.codes).op;
  chain.conv = begin.inputs[0];
  const GraphNode& conv = lowered.node(chain.conv);
  const bool sums = conv.op == GraphOp::kConv &&
                    (conv.type == ValueType::kI32 || conv.type == ValueType::kI64);
  if (!sums || (codes != GraphOp::kSign && codes != GraphOp::kQuantize)) return {};
  return chain;
}

// The affine that a whole chain is, if it is one.
std::optional<GraphNode> Fold(const LoweredGraph& lowered, const Chain& chain) {
  GraphNode affine = lowered.node(chain.steps[0]);
  affine.op = GraphOp::kAffine;
  affine.inputs = {chain.conv};
  affine.a.clear();
  affine.b.clear();
  for (int c = 0; c < affine.channels; ++c) {
    const auto folded = Channel(lowered, chain, static_cast<size_t>(c)).Fold();
    if (!folded) return {};
    affine.a.push_back(folded->first);
    affine.b.push_back(folded->second);
  }
  return affine;
}

}  // namespace

bool FoldAffines(LoweredGraph& lowered) {
  bool changed = false;
  for (size_t i = 0; i < lowered.ops.size(); ++i) {
    const auto chain = ChainOf(lowered, lowered.ops[i]);
    if (!chain) continue;
    auto affine = Fold(lowered, *chain);
    if (!affine) continue;
    Graph& graph = lowered.Extend();
    graph.nodes.push_back(std::move(*affine));
    lowered.ops[i] = LowerNode(graph, graph.last());
    // A node of their own, so that nodes stay in the order of computation.
    GraphNode codes = graph.node(chain->codes);
    codes.inputs = {graph.last()};
    graph.nodes.push_back(std::move(codes));
    for (Op& op : lowered.ops) {
      if (op.nodes[0] == chain->codes) op = LowerNode(graph, graph.last());
      std::ranges::replace(op.inputs, chain->codes, graph.last());
    }
    std::erase_if(lowered.ops, [&](const Op& op) {
      return std::ranges::count(chain->steps, op.nodes[0]) != 0;
    });
    changed = true;
  }
  return changed;
}

}  // namespace lbrt
