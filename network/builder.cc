#include "network/builder.h"

#include <charconv>
#include <utility>

#include "images/error.h"

namespace lbrt {

NetworkBuilder::NetworkBuilder(std::string name, std::string system, const Arguments& given)
    : given_(given) {
  network_.name = std::move(name);
  network_.system = std::move(system);
}

int NetworkBuilder::IntegerArgument(const std::string& name, int fallback, int low, int high) {
  int value = fallback;
  if (const auto found = given_.find(name); found != given_.end()) {
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < low || value > high)
      throw InputError("network " + network_.name,
                       name + "=" + text + ": expected an integer from " + std::to_string(low) +
                           " to " + std::to_string(high));
  }
  network_.arguments[name] = std::to_string(value);
  return value;
}

void NetworkBuilder::Declare(const TensorSpec& spec) {
  if (declared_.insert(spec.name).second) network_.tensors.push_back(spec);
}

Node& NetworkBuilder::Append(NodeKind kind, const std::string& name,
                             const std::vector<Value>& inputs) {
  Node node;
  node.kind = kind;
  node.name = name;
  node.inputs = inputs;
  if (!inputs.empty()) {
    const Node& x = network_.node(inputs[0]);
    node.channels = x.channels;
    node.height = x.height;
    node.width = x.width;
  }
  network_.nodes.push_back(std::move(node));
  network_.output = static_cast<Value>(network_.nodes.size()) - 1;
  return network_.nodes.back();
}

Value NetworkBuilder::Input(int channels, int height, int width) {
  Node& node = Append(NodeKind::kInput, "input", {});
  node.channels = channels;
  node.height = height;
  node.width = width;
  return network_.output;
}

Value NetworkBuilder::Conv(const std::string& name, Value x, int channels, Window window,
                           const Weights& weights) {
  Node& node = Append(NodeKind::kConv, name, {x});
  Declare({weights.tensor,
           {channels, node.channels, window.kernel_h, window.kernel_w},
           DType::kF32,
           /*buffer=*/false,
           weights.init});
  node.channels = channels;
  node.height = OutputHeight(window, node.height);
  node.width = OutputWidth(window, node.width);
  node.window = window;
  node.weights = weights.quantizer;
  node.weight = weights.tensor;
  if (weights.quantizer == WeightQuantizer::kRecu) {
    Declare({name + ".alpha", {channels, 1, 1}, DType::kF32, /*buffer=*/false, Init::kUniform01});
    Declare({name + ".tau", {}, DType::kF32, /*buffer=*/true, Init::kOnes});
  }
  return network_.output;
}

Value NetworkBuilder::Linear(const std::string& name, Value x, int channels) {
  Node& node = Append(NodeKind::kLinear, name, {x});
  node.weight = name + ".weight";
  node.bias = true;
  Declare({node.weight, {channels, node.channels}, DType::kF32, false, Init::kTorchLinear});
  Declare({name + ".bias", {channels}, DType::kF32, false, Init::kTorchLinear});
  node.channels = channels;
  return network_.output;
}

Value NetworkBuilder::BatchNorm(const std::string& name, Value x, bool affine) {
  Node& node = Append(NodeKind::kBatchNorm, name, {x});
  node.affine = affine;
  if (affine) {
    Declare({name + ".weight", {node.channels}, DType::kF32, /*buffer=*/false, Init::kOnes});
    Declare({name + ".bias", {node.channels}, DType::kF32, /*buffer=*/false, Init::kZeros});
  }
  Declare({name + ".running_mean", {node.channels}, DType::kF32, /*buffer=*/true, Init::kZeros});
  Declare({name + ".running_var", {node.channels}, DType::kF32, /*buffer=*/true, Init::kOnes});
  Declare({name + ".num_batches_tracked", {}, DType::kI64, /*buffer=*/true, Init::kZeros});
  return network_.output;
}

Value NetworkBuilder::Quantize(const std::string& name, Value x, ActivationQuantizer quantizer) {
  Append(NodeKind::kQuantize, name, {x}).activations = quantizer;
  return network_.output;
}

Value NetworkBuilder::Relu(const std::string& name, Value x) {
  Append(NodeKind::kRelu, name, {x});
  return network_.output;
}

Value NetworkBuilder::Hardtanh(const std::string& name, Value x) {
  Append(NodeKind::kHardtanh, name, {x});
  return network_.output;
}

Value NetworkBuilder::Add(const std::string& name, Value x, Value y) {
  Append(NodeKind::kAdd, name, {x, y});
  return network_.output;
}

Value NetworkBuilder::AvgPool(const std::string& name, Value x, Window window) {
  Node& node = Append(NodeKind::kAvgPool, name, {x});
  node.window = window;
  node.height = OutputHeight(window, node.height);
  node.width = OutputWidth(window, node.width);
  return network_.output;
}

Value NetworkBuilder::GlobalAvgPool(const std::string& name, Value x) {
  Node& node = Append(NodeKind::kGlobalAvgPool, name, {x});
  node.height = node.width = 0;
  return network_.output;
}

Value NetworkBuilder::PadChannels(const std::string& name, Value x, int before, int after) {
  Node& node = Append(NodeKind::kPadChannels, name, {x});
  node.pad_before = before;
  node.pad_after = after;
  node.channels += before + after;
  return network_.output;
}

Network NetworkBuilder::Finish(Value output) {
  for (const auto& [name, value] : given_) {
    if (network_.arguments.count(name) != 0) continue;
    throw InputError("network " + network_.name, "unknown argument " + name + "; it takes: " +
                                                     ArgumentsText(network_.arguments));
  }
  network_.output = output;
  return std::move(network_);
}

}  // namespace lbrt
