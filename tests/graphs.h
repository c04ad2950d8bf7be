// Small hand-made graphs, and networks with random tensors, for the converter's tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "converter/interpret.h"
#include "network/graph.h"
#include "network/import.h"
#include "network/network.h"
#include "network/quantizers.h"
#include "tests/fitted_network.h"

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

  // `size`: limbs of kFixed, bits of kOdd and kInteger.
  int Conv(int x, WeightKind kind, int channels, Window window, int size = 0, int groups = 1) {
    const GraphNode& from = graph_.node(x);
    GraphNode node;
    node.channels = channels;
    node.window = window;
    node.height = OutputHeight(window, from.height);
    node.width = OutputWidth(window, from.width);
    node.weight_kind = kind;
    if (kind == WeightKind::kFixed) node.limbs = size;
    if (kind == WeightKind::kOdd || kind == WeightKind::kInteger) node.bits = size;
    node.groups = groups;
    if (from.type != ValueType::kF32)
      node.type = kind == WeightKind::kFixed ? ValueType::kI64 : ValueType::kI32;
    for (int i = 0; i < channels * window.taps() * (from.channels / groups); ++i) {
      if (kind == WeightKind::kFloat)
        node.weights.push_back(Float());
      else
        node.codes.push_back(Code(kind, size));
    }
    return Append(std::move(node), GraphOp::kConv, {x});
  }

  // `scale` brings the sums of a convolution into the range where activations matter. On a
  // convolution of an image b depends on the border class.
  int Affine(int x, float scale = 1.0f) {
    GraphNode node = LikeInput(x);
    const GraphNode& conv = graph_.node(x);
    if (conv.op == GraphOp::kConv && graph_.node(conv.inputs[0]).type == ValueType::kU8) {
      const GraphNode& from = graph_.node(conv.inputs[0]);
      node.border_rows = BorderRows(conv.window, from.height).classes();
      node.border_columns = BorderColumns(conv.window, from.width).classes();
    }
    for (int c = 0; c < node.channels; ++c) node.a.push_back(scale * Float());
    for (int i = 0; i < node.channels * node.border_rows * node.border_columns; ++i)
      node.b.push_back(Float());
    return Append(std::move(node), GraphOp::kAffine, {x});
  }

  // With a base.
  int AffineOnto(int x, int base, float scale = 1.0f) {
    GraphNode node = LikeInput(x);
    for (int c = 0; c < node.channels; ++c) node.a.push_back(scale * Float());
    return Append(std::move(node), GraphOp::kAffine, {x, base});
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

  int PRelu(int x) {
    GraphNode node = LikeInput(x);
    for (int c = 0; c < node.channels; ++c) node.a.push_back(Float());
    return Append(std::move(node), GraphOp::kPRelu, {x});
  }

  int Quantize(int x, float inverse_step, int levels) {
    GraphNode node = LikeInput(x);
    node.type = ValueType::kCode;
    node.levels = levels;
    node.inverse_step = inverse_step;
    return Append(std::move(node), GraphOp::kQuantize, {x});
  }

  int Threshold(int x, int levels) {
    GraphNode node = LikeInput(x);
    node.type = ValueType::kCode;
    node.levels = levels;
    const auto channels = static_cast<size_t>(node.channels);
    for (size_t i = 0; i < static_cast<size_t>(levels) * channels; ++i)
      node.thresholds.push_back(
          i < channels ? Float() : node.thresholds[i - channels] + 0.2f * (Float() + 1));
    return Append(std::move(node), GraphOp::kThreshold, {x});
  }

  int Decode(int x, float step) {
    GraphNode node = LikeInput(x);
    node.step = step;
    return Append(std::move(node), GraphOp::kDecode, {x});
  }

  int AvgPool(int x, Window window) {
    GraphNode node = Pooled(x, window);
    if (graph_.node(x).type == ValueType::kI32) node.type = ValueType::kI32;
    return Append(std::move(node), GraphOp::kAvgPool, {x});
  }

  int MaxPool(int x, Window window) {
    GraphNode node = Pooled(x, window);
    node.type = graph_.node(x).type;
    node.levels = graph_.node(x).levels;
    return Append(std::move(node), GraphOp::kMaxPool, {x});
  }

  int Upsample(int x, int factor_h, int factor_w) {
    GraphNode node = Blocks(x, factor_h, factor_w);
    node.factor_h = factor_h;
    node.factor_w = factor_w;
    return Append(std::move(node), GraphOp::kUpsample, {x});
  }

  int DepthToSpace(int x, int block, bool channel_first) {
    GraphNode node = Blocks(x, block, block);
    node.channels /= block * block;
    node.block = block;
    node.channel_first = channel_first;
    return Append(std::move(node), GraphOp::kDepthToSpace, {x});
  }

  int Concat(std::vector<int> inputs) {
    GraphNode node = LikeInput(inputs[0]);
    node.type = graph_.node(inputs[0]).type;
    node.levels = graph_.node(inputs[0]).levels;
    node.channels = 0;
    for (const int x : inputs) node.channels += graph_.node(x).channels;
    return Append(std::move(node), GraphOp::kConcat, std::move(inputs));
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
  int Integer(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

  int32_t Code(WeightKind kind, int size) {
    if (kind == WeightKind::kSign) return random_() % 2 == 0 ? 1 : -1;
    if (kind == WeightKind::kTernary) return Integer(-1, 1);
    if (kind == WeightKind::kInteger) return Integer(-(1 << (size - 1)), (1 << (size - 1)) - 1);
    if (kind == WeightKind::kOdd) return 2 * Integer(0, (1 << size) - 1) - ((1 << size) - 1);
    return Integer(-LimbMaximum(size), LimbMaximum(size));
  }

  GraphNode Pooled(int x, Window window) const {
    GraphNode node = LikeInput(x);
    node.window = window;
    node.height = OutputHeight(window, node.height);
    node.width = OutputWidth(window, node.width);
    return node;
  }

  GraphNode Blocks(int x, int block_h, int block_w) const {
    GraphNode node = LikeInput(x);
    node.type = graph_.node(x).type;
    node.levels = graph_.node(x).levels;
    node.height *= block_h;
    node.width *= block_w;
    return node;
  }

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

inline Graph RandomNetworkGraph(const std::string& name, Stem stem) {
  const Network network = BuildNetwork(name, {});
  ImportOptions options;
  options.stem = stem;
  options.mean = {0.485, 0.456, 0.406};
  options.std = {0.229, 0.224, 0.225};
  ImportReport report;
  return Import(network, RandomTensors(network), options, &report);
}

// The image a network was fitted to, as a graph takes it.
inline PlainValue InputOf(const FittedNetwork& fitted, const Graph& graph) {
  if (graph.node(0).type == ValueType::kU8) return fitted.image;
  const std::vector<double> x = fitted.NormalisedImage();
  const size_t channels = FittedNetwork::kMean.size(), pixels = fitted.image.size() / channels;
  std::vector<float> values(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    values[i] = static_cast<float>(x[i % channels * pixels + i / channels]);
  return values;
}

}  // namespace lbrt
