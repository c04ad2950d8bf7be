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
#include "tests/plain_network.h"

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

  // `size`: limbs of kFixed, bits of kOdd.
  int Conv(int x, WeightKind kind, int channels, Window window, int size = 0) {
    const GraphNode& from = graph_.node(x);
    GraphNode node;
    node.channels = channels;
    node.window = window;
    node.height = OutputHeight(window, from.height);
    node.width = OutputWidth(window, from.width);
    node.weight_kind = kind;
    if (kind == WeightKind::kFixed) node.limbs = size;
    if (kind == WeightKind::kOdd) node.bits = size;
    if (from.type != ValueType::kF32)
      node.type = kind == WeightKind::kFixed ? ValueType::kI64 : ValueType::kI32;
    for (int i = 0; i < channels * window.taps() * from.channels; ++i) {
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

  int Decode(int x, float step) {
    GraphNode node = LikeInput(x);
    node.step = step;
    return Append(std::move(node), GraphOp::kDecode, {x});
  }

  int AvgPool(int x, Window window) { return Append(Pooled(x, window), GraphOp::kAvgPool, {x}); }

  int MaxPool(int x, Window window) {
    GraphNode node = Pooled(x, window);
    node.type = graph_.node(x).type;
    node.levels = graph_.node(x).levels;
    return Append(std::move(node), GraphOp::kMaxPool, {x});
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

// Every network of the five systems in small, with every kind of quantizer, operator and form; the
// first word is the name.
inline constexpr const char* kSmallNetworks[] = {
    "recu/resnet20 blocks=1,1,1",
    "recu/resnet20 blocks=1,1,1 form=full-precision size=16",
    "recu/resnet20 blocks=1,1 channels=8,16 size=16 form=binary-activations",
    "recu/resnet20 blocks=1,1 channels=8,16 size=8 weights=ternary activations=hwgq bits=3/2",
    "recu/resnet18 blocks=1,1 channels=8,16 size=16",
    "recu/resnet18a blocks=1,1,1,1 size=16",
    "recu/resnet18b blocks=1,1 channels=8,16 size=8",
    "recu/resnet18c blocks=1,1 channels=8,16 size=8",
    "recu/vgg-small channels=8,16,32 size=16",
    "recu/imagenet-resnet18 blocks=1,1 channels=8,16 size=32 classes=10",
    "recu/imagenet-resnet18 blocks=1,1 channels=8,16 size=32 classes=10 stem=i16 skips=i8 head=i8",
    "recu/imagenet-resnet34 blocks=1,1 channels=8,16 size=32 classes=10",
    "recu/two-stage-resnet18 blocks=1,1 channels=8,16 size=32 classes=10",
    "recu/two-stage-resnet18 blocks=1,1 channels=8,16 size=32 classes=10 form=binary-activations",
    "recu/two-stage-resnet34 blocks=1,1 channels=8,16 size=32 classes=10 form=full-precision",
    "mcdonnell/wrn-8-0.5",
    "mcdonnell/wrn-8-0.5 size=16 stem=i8 head=i16",
    "mcdonnell/wrn-8-0.5 size=16 activations=hwgq activation_bits=2",
    "mcdonnell/wrn-8-0.5 size=16 form=full-precision",
    "any-precision/resnet20 expansion=1 blocks=1,1,1 size=8",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=9,21 size=9 widths=1,2,4,8,32",
    "any-precision/resnet20 expansion=1 blocks=1,1,1 size=8 weights=truncating widths=3,5",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 stem=i8 skips=i8 head=i16",
    "any-precision/svhn expansion=1 size=48",
    "any-precision/resnet50 blocks=1,1 channels=4,8 size=32 classes=10 widths=2,32",
    "edmips/resnet18 blocks=1,1 channels=16,32 size=32 bits=3/2 classes=10",
    "edmips/resnet50 blocks=1,1 channels=4,8 size=32 bits=1/4 classes=10",
    "edmips/cifar-resnet20 blocks=1,1 channels=8,16 size=16 bits=4,1,2,3,4/2,3,4,2,3",
    "edmips/cifar-resnet20 blocks=1,1 channels=8,16 size=16 bits=1/1",
    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16",
    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16 t_ex=2 first_last=float",
    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16 activations=sign",
    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16 t_ex=2 activations=hwgq bits=2/2",
    "ternary/resnet18 blocks=1,1 channels=8,16 size=32 classes=10 first_last=ternary t_ex=4",
    "ternary/resnet50 blocks=1,1 channels=4,8 size=32 classes=10 first_last=ternary",
    "ternary/alexnet channels=8,8,8,8,8,16,16 size=96 classes=10 first_last=ternary",
};
// Concatenations of values and codes of several steps.
inline constexpr const char* kInceptions[] = {
    "edmips/googlenet size=32 classes=10",
    "edmips/inception-v3 size=75 classes=10",
};

// A network with random tensors whose batch norms fit it, so that codes of all sizes occur, and the
// image they were fitted to.
struct FittedNetwork {
  explicit FittedNetwork(const std::string& text) {
    const size_t space = std::min(text.find(' '), text.size());
    network = BuildNetwork(text.substr(0, space), ParseArguments(text.substr(space)));
    network.input_std = kStd;
    tensors = RandomTensors(network);
    const Node& input = network.nodes[0];
    std::mt19937 random(12);
    image.resize(static_cast<size_t>(input.height * input.width * input.channels));
    for (uint8_t& pixel : image) pixel = static_cast<uint8_t>(random());
    for (const int width : Widths())
      PlainNetwork(network, tensors, width).Calibrate(NormalisedImage(), tensors);
  }

  std::vector<int> Widths() const {
    return network.widths.empty() ? std::vector<int>{0} : network.widths;
  }
  // Those it may be imported with.
  std::vector<Stem> Stems() const {
    for (const Node& node : network.nodes)
      if (node.weights.kind == WeightQuantizer::kFixedPoint &&
          network.node(node.inputs[0]).kind == NodeKind::kInput)
        return {Stem::kAuto};
    return {Stem::kI24, Stem::kI16, Stem::kI8, Stem::kF32};
  }
  Graph Imported(Stem stem, int width) const {
    return Import(network, tensors, {stem, kMean, kStd, width}, nullptr);
  }
  // The image, [h w c], as [c h w].
  std::vector<double> NormalisedImage() const {
    const size_t channels = kMean.size(), pixels = image.size() / channels;
    std::vector<double> x(image.size());
    for (size_t i = 0; i < image.size(); ++i)
      x[i % channels * pixels + i / channels] =
          (static_cast<double>(image[i]) / 255 - kMean[i % channels]) / kStd[i % channels];
    return x;
  }
  // The image as a graph takes it.
  PlainValue Input(const Graph& graph) const {
    if (graph.node(0).type == ValueType::kU8) return image;
    const std::vector<double> x = NormalisedImage();
    const size_t channels = kMean.size(), pixels = image.size() / channels;
    std::vector<float> values(x.size());
    for (size_t i = 0; i < x.size(); ++i)
      values[i] = static_cast<float>(x[i % channels * pixels + i / channels]);
    return values;
  }

  static inline const std::vector<double> kMean = {0.49, 0.48, 0.45}, kStd = {0.25, 0.24, 0.26};
  Network network;
  StateDict tensors;
  std::vector<uint8_t> image;  // [h w c]
};

}  // namespace lbrt
