// Small hand-made graphs, and networks with random tensors, for the converter's tests.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "converter/interpret.h"
#include "network/graph.h"
#include "network/import.h"
#include "network/network.h"

namespace lbrt {

// Appends nodes and their shapes; weights, affines and inputs are random, the same for a seed.
class GraphBuilder {
 public:
  explicit GraphBuilder(uint32_t seed = 1) : random_(seed) {}

  int Input(ValueType type, int height, int width, int channels) {
    GraphNode node;
    node.type = type;
    node.height = height;
    node.width = width;
    node.channels = channels;
    return Append(std::move(node), GraphOp::kInput, {});
  }

  int Conv(int x, WeightKind kind, int channels, Window window, int limbs = 0) {
    const GraphNode& from = graph_.node(x);
    GraphNode node;
    node.channels = channels;
    node.window = window;
    node.height = OutputHeight(window, from.height);
    node.width = OutputWidth(window, from.width);
    node.weight_kind = kind;
    node.limbs = limbs;
    if (kind == WeightKind::kFixed) node.type = ValueType::kI64;
    if (from.type == ValueType::kSign) node.type = ValueType::kI32;
    const int largest = limbs == 1 ? 127 : limbs == 2 ? 32639 : 8355711;
    for (int i = 0; i < channels * window.taps() * from.channels; ++i) {
      if (kind == WeightKind::kFloat) node.weights.push_back(Float());
      if (kind == WeightKind::kSign) node.codes.push_back(random_() % 2 == 0 ? 1 : -1);
      if (kind == WeightKind::kFixed)
        node.codes.push_back(std::uniform_int_distribution(-largest, largest)(random_));
    }
    return Append(std::move(node), GraphOp::kConv, {x});
  }

  // `scale` brings the sums of a convolution into the range where activations matter. On a kFixed
  // convolution b depends on the border class.
  int Affine(int x, float scale = 1.0f) {
    GraphNode node = LikeInput(x);
    const GraphNode& conv = graph_.node(x);
    if (conv.op == GraphOp::kConv && conv.weight_kind == WeightKind::kFixed) {
      const GraphNode& from = graph_.node(conv.inputs[0]);
      node.border_rows = BorderRows(conv.window, from.height).classes();
      node.border_columns = BorderColumns(conv.window, from.width).classes();
    }
    for (int c = 0; c < node.channels; ++c) node.a.push_back(scale * Float());
    for (int i = 0; i < node.channels * node.border_rows * node.border_columns; ++i)
      node.b.push_back(Float());
    return Append(std::move(node), GraphOp::kAffine, {x});
  }

  int Add(int x, int y) { return Append(LikeInput(x), GraphOp::kAdd, {x, y}); }

  int Activate(int x, Activation activation) {
    GraphNode node = LikeInput(x);
    node.activation = activation;
    return Append(std::move(node), GraphOp::kActivation, {x});
  }

  int Sign(int x) {
    GraphNode node = LikeInput(x);
    node.type = ValueType::kSign;
    return Append(std::move(node), GraphOp::kSign, {x});
  }

  int AvgPool(int x, Window window) {
    GraphNode node = LikeInput(x);
    node.window = window;
    node.height = OutputHeight(window, node.height);
    node.width = OutputWidth(window, node.width);
    return Append(std::move(node), GraphOp::kAvgPool, {x});
  }

  int PadChannels(int x, int before, int after) {
    GraphNode node = LikeInput(x);
    node.pad_before = before;
    node.pad_after = after;
    node.channels += before + after;
    return Append(std::move(node), GraphOp::kPadChannels, {x});
  }

  GraphNode& node(int i) { return graph_.nodes[static_cast<size_t>(i)]; }
  Graph Finish(int output) {
    graph_.output = output;
    return std::move(graph_);
  }

 private:
  float Float() { return std::uniform_real_distribution(-1.0f, 1.0f)(random_); }

  GraphNode LikeInput(int x) const {
    GraphNode node;
    node.height = graph_.node(x).height;
    node.width = graph_.node(x).width;
    node.channels = graph_.node(x).channels;
    return node;
  }

  int Append(GraphNode node, GraphOp op, std::vector<int> inputs) {
    node.op = op;
    node.name = "node" + std::to_string(graph_.nodes.size());
    node.inputs = std::move(inputs);
    graph_.nodes.push_back(std::move(node));
    return static_cast<int>(graph_.nodes.size()) - 1;
  }

  std::mt19937 random_;
  Graph graph_;
};

inline PlainValue RandomInput(const Graph& graph, uint32_t seed = 7) {
  std::mt19937 random(seed);
  const GraphNode& node = graph.node(0);
  const size_t count = static_cast<size_t>(node.height * node.width * node.channels);
  if (node.type == ValueType::kU8) {
    std::vector<uint8_t> pixels(count);
    for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random());
    return pixels;
  }
  std::vector<float> values(count);
  for (float& value : values) value = std::normal_distribution<float>()(random);
  return values;
}

// Tensors as training leaves them in size and sign; deviations stay away from zero.
inline StateDict RandomTensors(const Network& network, uint32_t seed = 3) {
  std::mt19937 random(seed);
  StateDict tensors;
  for (const TensorSpec& spec : network.tensors) {
    HostTensor tensor = HostTensor::Zeros(spec.type, spec.shape);
    const bool variance = spec.name.ends_with("running_var");
    for (int64_t i = 0; spec.type == DType::kF32 && i < tensor.numel(); ++i)
      tensor.f32()[i] = variance ? std::uniform_real_distribution(0.5f, 2.0f)(random)
                                 : std::normal_distribution<float>(0.0f, 0.5f)(random);
    if (spec.name.ends_with(".tau")) tensor.f32()[0] = 0.99f;
    tensors[spec.name] = std::move(tensor);
  }
  return tensors;
}

inline Graph RandomNetworkGraph(const std::string& name, Stem stem) {
  const Network network = BuildNetwork(name, {});
  ImportOptions options;
  options.stem = stem;
  options.mean = {0.485, 0.456, 0.406};
  options.std = {0.229, 0.224, 0.225};
  ImportReport report;
  return Import(network, RandomTensors(network), options, &report);
}

}  // namespace lbrt
