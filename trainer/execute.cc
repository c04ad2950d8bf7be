#include "trainer/execute.h"

#include <ATen/ATen.h>

#include <array>

#include "trainer/normalise.h"
#include "trainer/quantizers.h"

namespace lbrt {
namespace {

constexpr double kBatchNormMomentum = 0.1;  // of all published systems (methods.md 8)

// What happens to a network's nodes in training: a batch norm, the addition behind it and the
// rectifier behind that run as one function in place of the last of them.
struct Plan {
  struct Step {
    bool skipped = false;  // part of a later node's function
    int normalise = -1;    // the batch norm that this node's function begins with
    int add = -1;          // the addition in it
    int uses = 0;          // nodes that read this node's result
  };
  std::vector<Step> steps;

  explicit Plan(const Network& network) : steps(network.nodes.size()) {
    for (const Node& node : network.nodes)
      for (Value v : node.inputs) ++steps[static_cast<size_t>(v)].uses;
    ++steps[static_cast<size_t>(network.output)].uses;
    for (size_t i = 0; i < steps.size(); ++i)
      if (network.nodes[i].kind == NodeKind::kBatchNorm) Fuse(network, static_cast<int>(i));
  }

  Step& operator[](Value v) { return steps[static_cast<size_t>(v)]; }
  const Step& operator[](Value v) const { return steps[static_cast<size_t>(v)]; }

 private:
  // The only node that reads v, or -1.
  int OnlyUser(const Network& network, Value v) const {
    if ((*this)[v].uses != 1) return -1;
    for (size_t i = static_cast<size_t>(v) + 1; i < network.nodes.size(); ++i)
      for (Value input : network.nodes[i].inputs)
        if (input == v) return static_cast<int>(i);
    return -1;
  }

  // Nodes that belong to no function yet: an addition of two batch norms belongs to the first.
  bool Free(Value v) const { return v >= 0 && !(*this)[v].skipped && (*this)[v].normalise < 0; }

  void Fuse(const Network& network, int norm) {
    int last = norm, add = -1;
    int next = OnlyUser(network, last);
    if (Free(next) && network.node(next).kind == NodeKind::kAdd) {
      last = add = next;
      next = OnlyUser(network, last);
    }
    if (Free(next) && (network.node(next).kind == NodeKind::kRelu ||
                       network.node(next).kind == NodeKind::kHardtanh))
      last = next;
    for (int v : {norm, add})
      if (v >= 0) (*this)[v].skipped = v != last;
    (*this)[last].normalise = norm;
    (*this)[last].add = add;
  }
};

struct Forward {
  const TrainerModel& model;
  Mode mode;
  Precision precision;

  at::Tensor Optional(const std::string& name) const {
    return model.contains(name) ? model.at(name) : at::Tensor();
  }

  at::Tensor Weights(const Node& node) const {
    const at::Tensor& weight = model.at(node.weight);
    if (precision == Precision::kFloat) return weight;
    switch (node.weights) {
      case WeightQuantizer::kFloat:
        return weight;
      case WeightQuantizer::kRecu:
        return RecuWeights(weight, model.at(node.name + ".alpha"), model.at(node.name + ".tau"));
      case WeightQuantizer::kMcDonnell:
        return McDonnellWeights(weight);
    }
    return weight;
  }

  at::Tensor Conv(const Node& node, at::Tensor x) const {
    const Window& w = node.window;
    std::array<int64_t, 2> pad{w.pad_top, w.pad_left};
    if (w.pad_top != w.pad_bottom || w.pad_left != w.pad_right) {
      x = at::constant_pad_nd(x, {w.pad_left, w.pad_right, w.pad_top, w.pad_bottom});
      pad = {0, 0};
    }
    return at::conv2d(x, Weights(node), node.bias ? model.at(node.name + ".bias") : at::Tensor(),
                      {w.stride_h, w.stride_w}, pad);
  }

  at::Tensor BatchNorm(const Node& node, const at::Tensor& x) const {
    return at::batch_norm(x, Optional(node.name + ".weight"), Optional(node.name + ".bias"),
                          model.at(node.name + ".running_mean"),
                          model.at(node.name + ".running_var"), /*training=*/false,
                          kBatchNormMomentum, node.eps, /*cudnn_enabled=*/true);
  }

  // A batch norm in training with what follows it; `last` is the last node of them.
  at::Tensor Normalise(const Node& last, const Plan::Step& step,
                       const std::vector<at::Tensor>& values) const {
    const Network& network = model.network();
    const Node& norm = network.node(step.normalise);
    at::Tensor residual;
    if (step.add >= 0) {
      const std::vector<Value>& inputs = network.node(step.add).inputs;
      residual = values[static_cast<size_t>(inputs[inputs[0] == step.normalise ? 1 : 0])];
    }
    const at::Tensor batches = Optional(norm.name + ".num_batches_tracked");
    if (batches.defined()) batches.add_(1);
    return NormaliseAddRectify(values[static_cast<size_t>(norm.inputs[0])],
                               {Optional(norm.name + ".weight"), Optional(norm.name + ".bias"),
                                model.at(norm.name + ".running_mean"),
                                model.at(norm.name + ".running_var"), norm.eps, kBatchNormMomentum},
                               residual,
                               last.kind == NodeKind::kRelu       ? Rectifier::kRelu
                               : last.kind == NodeKind::kHardtanh ? Rectifier::kHardtanh
                                                                  : Rectifier::kNone);
  }

  // Later users of x get what RecuSign gives back for them.
  at::Tensor Quantize(const Node& node, at::Tensor& x) const {
    if (precision == Precision::kFloat || node.activations == ActivationQuantizer::kNone) return x;
    if (mode == Mode::kEval) return at::sign(x);
    RecuSigns result = RecuSign(x);
    x = std::move(result.unchanged);
    return std::move(result.signs);
  }

  at::Tensor Pool(const Node& node, const at::Tensor& x) const {
    const Window& w = node.window;
    return at::avg_pool2d(x, {w.kernel_h, w.kernel_w}, {w.stride_h, w.stride_w},
                          {w.pad_top, w.pad_left}, /*ceil_mode=*/false,
                          /*count_include_pad=*/true);
  }

  at::Tensor Run(const Node& node, std::vector<at::Tensor>& values) const {
    at::Tensor& x = values[static_cast<size_t>(node.inputs[0])];
    switch (node.kind) {
      case NodeKind::kInput:
        break;  // has no inputs; Execute sets it
      case NodeKind::kConv:
        return Conv(node, x);
      case NodeKind::kLinear:
        return at::linear(x, Weights(node),
                          node.bias ? model.at(node.name + ".bias") : at::Tensor());
      case NodeKind::kBatchNorm:
        return BatchNorm(node, x);
      case NodeKind::kQuantize:
        return Quantize(node, x);
      case NodeKind::kRelu:
        return at::relu(x);
      case NodeKind::kHardtanh:
        return at::hardtanh(x);
      case NodeKind::kAdd:
        return x + values[static_cast<size_t>(node.inputs[1])];
      case NodeKind::kAvgPool:
        return Pool(node, x);
      case NodeKind::kGlobalAvgPool:
        return x.mean({2, 3});
      case NodeKind::kPadChannels:
        return at::constant_pad_nd(x, {0, 0, 0, 0, node.pad_before, node.pad_after});
    }
    return x;
  }
};

}  // namespace

at::Tensor Execute(const TrainerModel& model, const at::Tensor& input, Mode mode,
                   Precision precision) {
  const Network& network = model.network();
  Plan plan(network);
  const Forward forward{model, mode, precision};
  std::vector<at::Tensor> values(network.nodes.size());
  const auto release = [&](const Node& node) {  // values that nobody reads any more
    for (Value v : node.inputs)
      if (--plan[v].uses == 0) values[static_cast<size_t>(v)] = at::Tensor();
  };
  for (size_t i = 0; i < values.size(); ++i) {
    const Node& node = network.nodes[i];
    const Plan::Step& step = plan.steps[i];
    if (mode == Mode::kTrain && step.skipped) continue;
    if (node.kind == NodeKind::kInput) {
      values[i] = input;
    } else if (mode == Mode::kTrain && step.normalise >= 0) {
      values[i] = forward.Normalise(node, step, values);
      for (int v : {step.normalise, step.add})
        if (v >= 0 && v != static_cast<int>(i)) release(network.node(v));
    } else {
      values[i] = forward.Run(node, values);
    }
    release(node);
  }
  return values[static_cast<size_t>(network.output)];
}

}  // namespace lbrt
