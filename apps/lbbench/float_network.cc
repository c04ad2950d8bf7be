#include "apps/lbbench/float_network.h"

#include <algorithm>
#include <cmath>

#include "apps/random_model.h"
#include "images/error.h"

namespace lbrt {
namespace {

// Which value each node of the network is, as the layers are made.
class Maker {
 public:
  explicit Maker(const Network& network) : network_(network), users_(network.nodes.size(), 0) {
    for (const Node& node : network.nodes)
      for (Value input : node.inputs) ++users_[static_cast<size_t>(input)];
  }

  FloatNetwork Make() {
    for (const Node& node : network_.nodes) values_.push_back(Add(node));
    return std::move(result_);
  }

 private:
  int Add(const Node& node) {
    switch (node.kind) {
      case NodeKind::kInput:
        result_.height = node.height;
        result_.width = node.width;
        result_.channels = node.channels;
        return 0;
      case NodeKind::kConv:
      case NodeKind::kLinear:
        return AddConv(node);
      case NodeKind::kBatchNorm:  // a scale and a bias of the weights before or after it
      case NodeKind::kQuantize:
        return Of(node.inputs[0]);
      case NodeKind::kHardtanh:
        LayerThatMakes(node.inputs[0]).clip = true;
        return Of(node.inputs[0]);
      case NodeKind::kAdd:
        LayerThatMakes(node.inputs[0]).residual = Of(node.inputs[1]);
        return Of(node.inputs[0]);
      case NodeKind::kAvgPool:
      case NodeKind::kGlobalAvgPool:
        return AddPool(node);
      case NodeKind::kPadChannels: {
        FloatLayer& layer = Append(node, FloatLayer::Kind::kPadChannels);
        layer.pad_before = node.pad_before;
        layer.pad_after = node.pad_after;
        return Last();
      }
      case NodeKind::kRelu:
      case NodeKind::kClip:
      case NodeKind::kPRelu:
      case NodeKind::kBias:
      case NodeKind::kConcat:
      case NodeKind::kMaxPool:
      case NodeKind::kFlatten:
      case NodeKind::kDropout:
        break;
    }
    throw InputError(network_.name, node.name + ": the float peers have no such layer");
  }

  int AddConv(const Node& node) {
    FloatLayer& layer = Append(node, FloatLayer::Kind::kConv);
    layer.window = node.kind == NodeKind::kConv ? node.window : Window{};
    const size_t inputs =
        static_cast<size_t>(layer.window.taps()) * static_cast<size_t>(layer.in_channels);
    layer.weights = RandomFloats(inputs * static_cast<size_t>(layer.channels), values_.size());
    for (float& w : layer.weights) w /= std::sqrt(static_cast<float>(inputs));
    layer.bias = RandomFloats(static_cast<size_t>(layer.channels), values_.size() + 1000000);
    for (float& b : layer.bias) b *= 0.1f;
    return Last();
  }

  int AddPool(const Node& node) {
    FloatLayer& layer = Append(node, FloatLayer::Kind::kAveragePool);
    layer.window = node.window;
    if (node.kind == NodeKind::kGlobalAvgPool) {
      layer.window = SquareWindow(1, 1, 0);
      layer.window.kernel_h = layer.in_height;
      layer.window.kernel_w = layer.in_width;
    }
    if (layer.window.pad_top != 0 || layer.window.pad_left != 0)
      throw InputError(network_.name, node.name + ": the float peers' pooling has no padding");
    return Last();
  }

  FloatLayer& Append(const Node& node, FloatLayer::Kind kind) {
    FloatLayer layer;
    layer.kind = kind;
    layer.input = Of(node.inputs[0]);
    layer.height = std::max(node.height, 1);
    layer.width = std::max(node.width, 1);
    layer.channels = node.channels;
    layer.in_height = layer.input == 0 ? result_.height : Layer(layer.input).height;
    layer.in_width = layer.input == 0 ? result_.width : Layer(layer.input).width;
    layer.in_channels = layer.input == 0 ? result_.channels : Layer(layer.input).channels;
    result_.layers.push_back(std::move(layer));
    return result_.layers.back();
  }

  // The convolution a value comes from, if nothing else reads it before.
  FloatLayer& LayerThatMakes(Value value) {
    const bool alone = users_[static_cast<size_t>(value)] == 1 && Of(value) != 0;
    if (!alone || Layer(Of(value)).kind != FloatLayer::Kind::kConv)
      throw InputError(network_.name, network_.node(value).name +
                                          ": the float peers want a convolution of one use here");
    return Layer(Of(value));
  }

  int Of(Value value) const { return values_[static_cast<size_t>(value)]; }
  FloatLayer& Layer(int value) { return result_.layers[static_cast<size_t>(value - 1)]; }
  int Last() const { return static_cast<int>(result_.layers.size()); }

  const Network& network_;
  std::vector<int> users_, values_;
  FloatNetwork result_;
};

double Convolve(const FloatLayer& layer, std::span<const float> in, int y, int x, int o) {
  const Window& w = layer.window;
  const TapRange rows = ValidRows(w, layer.in_height, y);
  const TapRange columns = ValidColumns(w, layer.in_width, x);
  double sum = layer.bias[static_cast<size_t>(o)];
  for (int ky = rows.begin; ky < rows.end; ++ky)
    for (int kx = columns.begin; kx < columns.end; ++kx)
      for (int c = 0; c < layer.in_channels; ++c) {
        const int row = y * w.stride_h - w.pad_top + ky, column = x * w.stride_w - w.pad_left + kx;
        sum +=
            static_cast<double>(
                in[static_cast<size_t>((row * layer.in_width + column) * layer.in_channels + c)]) *
            static_cast<double>(layer.weights[static_cast<size_t>(
                ((o * w.kernel_h + ky) * w.kernel_w + kx) * layer.in_channels + c)]);
      }
  return sum;
}

double Average(const FloatLayer& layer, std::span<const float> in, int y, int x, int c) {
  const Window& w = layer.window;
  double sum = 0;
  for (int ky = 0; ky < w.kernel_h; ++ky)
    for (int kx = 0; kx < w.kernel_w; ++kx)
      sum += static_cast<double>(in[static_cast<size_t>(
          ((y * w.stride_h + ky) * layer.in_width + x * w.stride_w + kx) * layer.in_channels + c)]);
  return sum / w.taps();
}

double Padded(const FloatLayer& layer, std::span<const float> in, int y, int x, int c) {
  const int from = c - layer.pad_before;
  if (from < 0 || from >= layer.in_channels) return 0;
  return static_cast<double>(
      in[static_cast<size_t>((y * layer.in_width + x) * layer.in_channels + from)]);
}

}  // namespace

size_t FloatLayer::outputs() const {
  return static_cast<size_t>(height) * static_cast<size_t>(width) * static_cast<size_t>(channels);
}

FloatNetwork MakeFloatNetwork(const Network& network) { return Maker(network).Make(); }

std::vector<float> Run(const FloatLayer& layer, std::span<const float> in,
                       std::span<const float> residual) {
  std::vector<float> out;
  out.reserve(layer.outputs());
  for (int y = 0; y < layer.height; ++y)
    for (int x = 0; x < layer.width; ++x)
      for (int c = 0; c < layer.channels; ++c) {
        double z = layer.kind == FloatLayer::Kind::kConv          ? Convolve(layer, in, y, x, c)
                   : layer.kind == FloatLayer::Kind::kAveragePool ? Average(layer, in, y, x, c)
                                                                  : Padded(layer, in, y, x, c);
        if (!residual.empty()) z += static_cast<double>(residual[out.size()]);
        if (layer.clip) z = std::clamp(z, -1.0, 1.0);
        out.push_back(static_cast<float>(z));
      }
  return out;
}

std::vector<float> Run(const FloatNetwork& network, std::span<const float> input) {
  std::vector<std::vector<float>> values = {{input.begin(), input.end()}};
  for (const FloatLayer& layer : network.layers) {
    std::span<const float> residual;
    if (layer.residual >= 0) residual = values[static_cast<size_t>(layer.residual)];
    values.push_back(Run(layer, values[static_cast<size_t>(layer.input)], residual));
  }
  return values.back();
}

}  // namespace lbrt
