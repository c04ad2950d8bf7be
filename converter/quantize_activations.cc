#include "converter/quantize_activations.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace lbrt {
namespace {

// Of one node. A value may be wanted as floats, as codes, or as both.
struct Plan {
  bool codable = false;      // its codes can be had
  bool reads_codes = false;  // a convolution
  bool wants_floats = false, wants_codes = false;
  bool replaced = false;     // a ReLU whose place the quantizer takes
  int group = -1;            // where codes are wanted; of ReLUs, poolings and concatenations
};

bool IsRectified(const GraphNode& node) {
  return node.op == GraphOp::kActivation &&
         (node.activation == Activation::kRelu || node.activation == Activation::kClipUnit);
}

bool HandsOnCodes(const GraphNode& node) {
  return node.type == ValueType::kF32 &&
         (node.op == GraphOp::kMaxPool || node.op == GraphOp::kConcat);
}

// Whether sums of codes are exact in the runtime, which has 32 bits for them.
bool SumsFit(const GraphNode& conv) {
  constexpr int64_t kMostElements = 65793;  // kernels/kernels.h
  const int64_t elements =
      static_cast<int64_t>(conv.codes.size()) / static_cast<int64_t>(conv.channels);
  const int64_t weight = conv.weight_kind == WeightKind::kOdd       ? (int64_t{1} << conv.bits) - 1
                         : conv.weight_kind == WeightKind::kInteger ? int64_t{1} << (conv.bits - 1)
                                                                    : 1;
  return elements <= kMostElements && elements * weight * kCodedActivationLevels <= INT32_MAX;
}

class Planner {
 public:
  explicit Planner(const Graph& graph) : graph_(graph), plans_(graph.nodes.size()) {}

  std::vector<Plan> Run() {
    for (size_t i = 0; i < plans_.size(); ++i) FindReaders(graph_.nodes[i], plans_[i]);
    plan(graph_.output).wants_floats = true;
    for (size_t i = plans_.size(); i-- > 0;) Want(graph_.nodes[i], plans_[i]);
    Group();
    return std::move(plans_);
  }

 private:
  Plan& plan(int i) { return plans_[static_cast<size_t>(i)]; }

  void FindReaders(const GraphNode& node, Plan& plan) {
    const auto codable = [this](int x) { return this->plan(x).codable; };
    plan.codable = IsRectified(node) ||
                   (HandsOnCodes(node) && std::ranges::all_of(node.inputs, codable));
    plan.reads_codes = node.op == GraphOp::kConv && node.type == ValueType::kF32 &&
                       node.weight_kind != WeightKind::kFloat && codable(node.inputs[0]) &&
                       SumsFit(node);
  }

  // What a node, all of whose users have been asked, wants of its inputs.
  void Want(const GraphNode& node, Plan& plan) {
    if (plan.wants_codes && !IsRectified(node)) {
      for (const int x : node.inputs) this->plan(x).wants_codes = true;
    } else if (plan.wants_codes && !plan.wants_floats) {
      plan.replaced = node.activation == Activation::kRelu;
      plan.wants_floats = !plan.replaced;
      if (plan.replaced) this->plan(node.inputs[0]).wants_floats = true;
    }
    if (!plan.wants_floats) return;
    for (const int x : node.inputs)
      (plan.reads_codes ? this->plan(x).wants_codes : this->plan(x).wants_floats) = true;
  }

  // Numbers the groups by their first activation. Codes that meet in a node are of one group:
  // each such node joins those of its inputs.
  void Group() {
    std::vector<int> parent(plans_.size());
    const auto root = [&parent](int i) {
      while (parent[static_cast<size_t>(i)] != i) i = parent[static_cast<size_t>(i)];
      return i;
    };
    for (int i = 0; i < static_cast<int>(plans_.size()); ++i) {
      parent[static_cast<size_t>(i)] = i;
      if (!plan(i).wants_codes || IsRectified(graph_.node(i))) continue;
      for (const int x : graph_.node(i).inputs) {
        const int a = root(x), b = root(i);
        parent[static_cast<size_t>(std::max(a, b))] = std::min(a, b);
      }
    }
    int groups = 0;
    for (int i = 0; i < static_cast<int>(plans_.size()); ++i) {
      if (!plan(i).wants_codes) continue;
      const int first = root(i);
      plan(i).group = first == i ? groups++ : plan(first).group;
    }
  }

  const Graph& graph_;
  std::vector<Plan> plans_;
};

class Quantizer {
 public:
  Quantizer(const Graph& graph, const std::vector<double>& steps)
      : graph_(graph),
        steps_(steps),
        plans_(Planner(graph).Run()),
        floats_(graph.nodes.size(), -1),
        codes_(graph.nodes.size(), -1) {}

  Graph Run() {
    for (int i = 0; i < static_cast<int>(plans_.size()); ++i) {
      if (i == 0 || plan(i).wants_floats) MakeFloats(i);
      if (plan(i).wants_codes) MakeCodes(i);
    }
    result_.output = floats(graph_.output);
    return std::move(result_);
  }

 private:
  const Plan& plan(int i) const { return plans_[static_cast<size_t>(i)]; }
  int& floats(int i) { return floats_[static_cast<size_t>(i)]; }
  int& codes(int i) { return codes_[static_cast<size_t>(i)]; }
  double StepOf(int i) const { return steps_[static_cast<size_t>(plan(i).group)]; }

  int Append(GraphNode node) {
    result_.nodes.push_back(std::move(node));
    return static_cast<int>(result_.nodes.size()) - 1;
  }

  bool IsAffineOf(int i, int conv) const {
    const GraphNode& node = graph_.node(i);
    return node.op == GraphOp::kAffine && node.inputs[0] == conv &&
           std::ranges::count(node.inputs, conv) == 1;
  }
  // Whether only affines, which can take the step, read a convolution.
  bool OnlyAffinesRead(int conv) const {
    for (int i = 0; i < static_cast<int>(plans_.size()); ++i)
      if (plan(i).wants_floats && std::ranges::count(graph_.node(i).inputs, conv) != 0 &&
          !IsAffineOf(i, conv))
        return false;
    return graph_.output != conv;
  }

  void MakeFloats(int i) {
    GraphNode node = graph_.node(i);
    if (plan(i).reads_codes) {
      MakeSums(i, std::move(node));
      return;
    }
    const int conv = node.op == GraphOp::kAffine ? node.inputs[0] : -1;
    if (conv >= 0 && plan(conv).reads_codes && OnlyAffinesRead(conv))
      Scale(node, StepOf(graph_.node(conv).inputs[0]));
    for (int& x : node.inputs) x = floats(x);
    floats(i) = Append(std::move(node));
  }

  static void Scale(GraphNode& affine, double step) {
    for (float& a : affine.a) a = static_cast<float>(static_cast<double>(a) * step);
  }

  void MakeSums(int i, GraphNode conv) {
    const int x = conv.inputs[0];
    GraphNode affine;
    affine.op = GraphOp::kAffine;
    affine.name = conv.name;
    affine.height = conv.height;
    affine.width = conv.width;
    affine.channels = conv.channels;
    affine.a.assign(static_cast<size_t>(conv.channels), static_cast<float>(StepOf(x)));
    affine.b.assign(static_cast<size_t>(conv.channels), 0.0f);
    conv.inputs = {codes(x)};
    conv.type = conv.weight_kind == WeightKind::kFixed ? ValueType::kI64 : ValueType::kI32;
    floats(i) = Append(std::move(conv));
    if (OnlyAffinesRead(i)) return;
    affine.inputs = {floats(i)};
    floats(i) = Append(std::move(affine));
  }

  void MakeCodes(int i) {
    GraphNode node = graph_.node(i);
    node.type = ValueType::kCode;
    node.levels = kCodedActivationLevels;
    if (IsRectified(node)) {
      const int x = plan(i).replaced ? floats(node.inputs[0]) : floats(i);
      node.op = GraphOp::kQuantize;
      node.activation = Activation::kNone;
      node.inverse_step = static_cast<float>(1 / StepOf(i));
      node.inputs = {x};
    } else {
      for (int& x : node.inputs) x = codes(x);
    }
    codes(i) = Append(std::move(node));
  }

  const Graph& graph_;
  const std::vector<double>& steps_;
  const std::vector<Plan> plans_;
  std::vector<int> floats_, codes_;  // of a node of the old graph, the new one's
  Graph result_;
};

}  // namespace

std::vector<std::vector<int>> FloatActivations(const Graph& graph) {
  const std::vector<Plan> plans = Planner(graph).Run();
  std::vector<std::vector<int>> groups;
  for (size_t i = 0; i < plans.size(); ++i) {
    if (!plans[i].wants_codes || !IsRectified(graph.nodes[i])) continue;
    const auto group = static_cast<size_t>(plans[i].group);
    if (group >= groups.size()) groups.resize(group + 1);
    groups[group].push_back(static_cast<int>(i));
  }
  return groups;
}

Graph QuantizeActivations(const Graph& graph, const std::vector<double>& steps) {
  return Quantizer(graph, steps).Run();
}

}  // namespace lbrt
