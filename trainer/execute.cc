#include "trainer/execute.h"

#include <ATen/ATen.h>

#include <array>

#include "trainer/quantizers.h"

namespace lbrt {
namespace {

constexpr double kBatchNormMomentum = 0.1;  // of all published systems (methods.md 8)

struct Forward {
  const Model& model;
  Mode mode;
  Precision precision;

  at::Tensor Optional(const std::string& name) const {
    return model.contains(name) ? model.at(name) : at::Tensor();
  }

  at::Tensor Weights(const Node& node) const {
    const at::Tensor& weight = model.at(node.weight);
    if (precision == Precision::kFloat) return weight;
    switch (node.weights) {
      case WeightQuantizer::kFloat: return weight;
      case WeightQuantizer::kRecu:
        return RecuWeights(weight, model.at(node.name + ".alpha"), model.at(node.name + ".tau"));
      case WeightQuantizer::kMcDonnell: return McDonnellWeights(weight);
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
    if (mode == Mode::kTrain) {
      const at::Tensor batches = Optional(node.name + ".num_batches_tracked");
      if (batches.defined()) batches.add_(1);
    }
    return at::batch_norm(x, Optional(node.name + ".weight"), Optional(node.name + ".bias"),
                          model.at(node.name + ".running_mean"),
                          model.at(node.name + ".running_var"), mode == Mode::kTrain,
                          kBatchNormMomentum, node.eps, /*cudnn_enabled=*/true);
  }

  at::Tensor Quantize(const Node& node, const at::Tensor& x) const {
    if (precision == Precision::kFloat || node.activations == ActivationQuantizer::kNone) return x;
    return mode == Mode::kTrain ? RecuSign(x) : at::sign(x);
  }

  at::Tensor Pool(const Node& node, const at::Tensor& x) const {
    const Window& w = node.window;
    return at::avg_pool2d(x, {w.kernel_h, w.kernel_w}, {w.stride_h, w.stride_w},
                          {w.pad_top, w.pad_left}, /*ceil_mode=*/false,
                          /*count_include_pad=*/true);
  }

  at::Tensor Run(const Node& node, const std::vector<at::Tensor>& values) const {
    const at::Tensor x =
        node.inputs.empty() ? at::Tensor() : values[static_cast<size_t>(node.inputs[0])];
    switch (node.kind) {
      case NodeKind::kInput: return x;
      case NodeKind::kConv: return Conv(node, x);
      case NodeKind::kLinear:
        return at::linear(x, Weights(node), node.bias ? model.at(node.name + ".bias") : at::Tensor());
      case NodeKind::kBatchNorm: return BatchNorm(node, x);
      case NodeKind::kQuantize: return Quantize(node, x);
      case NodeKind::kRelu: return at::relu(x);
      case NodeKind::kHardtanh: return at::hardtanh(x);
      case NodeKind::kAdd: return x + values[static_cast<size_t>(node.inputs[1])];
      case NodeKind::kAvgPool: return Pool(node, x);
      case NodeKind::kGlobalAvgPool: return x.mean({2, 3});
      case NodeKind::kPadChannels:
        return at::constant_pad_nd(x, {0, 0, 0, 0, node.pad_before, node.pad_after});
    }
    return x;
  }
};

}  // namespace

at::Tensor Execute(const Model& model, const at::Tensor& input, Mode mode, Precision precision) {
  const Network& network = model.network();
  std::vector<size_t> last_use(network.nodes.size(), 0);
  for (size_t i = 0; i < network.nodes.size(); ++i)
    for (Value v : network.nodes[i].inputs) last_use[static_cast<size_t>(v)] = i;

  const Forward forward{model, mode, precision};
  std::vector<at::Tensor> values(network.nodes.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const Node& node = network.nodes[i];
    values[i] = node.kind == NodeKind::kInput ? input : forward.Run(node, values);
    for (Value v : node.inputs)
      if (last_use[static_cast<size_t>(v)] == i && v != network.output)
        values[static_cast<size_t>(v)] = at::Tensor();
  }
  return values[static_cast<size_t>(network.output)];
}

}  // namespace lbrt
