#include "converter/interpret.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/reference.h"

namespace lbrt {
namespace {

template <typename T, typename From>
std::vector<T> As(const std::vector<From>& elements) {
  return std::vector<T>(elements.begin(), elements.end());
}
std::vector<int32_t> AsIntegers(const PlainValue& value) {
  return std::visit([](const auto& elements) { return As<int32_t>(elements); }, value);
}

reference::Convolution Shape(const GraphNode& node, const GraphNode& from) {
  return {static_cast<size_t>(from.height), static_cast<size_t>(from.width),
          static_cast<size_t>(from.channels), static_cast<size_t>(node.channels), node.window};
}

size_t Elements(const GraphNode& node) {
  return static_cast<size_t>(node.height) * static_cast<size_t>(node.width) *
         static_cast<size_t>(node.channels);
}

// `codes` or `weights` are the node's own, or were unpacked.
PlainValue Convolve(const GraphNode& conv, const GraphNode& from, const PlainValue& x,
                    const std::vector<int32_t>& codes, const std::vector<float>& weights) {
  const reference::Convolution shape = Shape(conv, from);
  if (conv.type == ValueType::kF32) {
    std::vector<float> sums(Elements(conv));
    reference::FloatSums(
        shape, std::get<std::vector<float>>(x).data(),
        (conv.weight_kind == WeightKind::kFloat ? weights : As<float>(codes)).data(), sums.data());
    return sums;
  }
  std::vector<int64_t> sums(Elements(conv));
  reference::IntegerSums(shape, AsIntegers(x).data(), codes.data(), sums.data());
  if (conv.type == ValueType::kI64) return sums;
  return As<int32_t>(sums);
}

void ApplyAffine(const Graph& graph, const GraphNode& affine, std::vector<float>& z) {
  const size_t channels = static_cast<size_t>(affine.channels);
  const size_t pixels = z.size() / channels;
  if (affine.b.size() == channels) {
    reference::Affine(pixels, channels, affine.a.data(), affine.b.data(), nullptr, z.data());
    return;
  }
  // b by border class of the convolution before it.
  const GraphNode& conv = graph.node(affine.inputs[0]);
  const GraphNode& from = graph.node(conv.inputs[0]);
  const BorderAxis rows = BorderRows(conv.window, from.height);
  const BorderAxis columns = BorderColumns(conv.window, from.width);
  std::vector<const float*> b_of_pixel;
  for (int y = 0; y < affine.height; ++y)
    for (int x = 0; x < affine.width; ++x) {
      const int border = rows.Class(y) * affine.border_columns + columns.Class(x);
      b_of_pixel.push_back(affine.b.data() + static_cast<size_t>(border) * channels);
    }
  reference::Affine(pixels, channels, affine.a.data(), nullptr, b_of_pixel.data(), z.data());
}

std::vector<int8_t> Signs(const std::vector<float>& z) {
  std::vector<int32_t> signs(z.size());
  reference::Signs(z.size(), z.data(), signs.data());
  return As<int8_t>(signs);
}

std::vector<float> Pool(const GraphNode& pool, const GraphNode& from, const std::vector<float>& x) {
  const float scale = static_cast<float>(1.0 / pool.window.taps());
  std::vector<float> y(Elements(pool));
  reference::AveragePool(Shape(pool, from), x.data(), scale, 0, 0, y.data());
  return y;
}

std::vector<float> PadChannels(const GraphNode& pad, const std::vector<float>& x) {
  std::vector<float> y(Elements(pad));
  const auto channels = static_cast<size_t>(pad.channels);
  const size_t pixels = y.size() / channels, copied = x.size() / pixels;
  for (size_t p = 0; p < pixels; ++p)
    std::copy_n(&x[p * copied], copied, &y[p * channels + static_cast<size_t>(pad.pad_before)]);
  return y;
}

PlainValue Evaluate(const Graph& graph, const GraphNode& node,
                    const std::vector<PlainValue>& values) {
  CheckConvertible(graph, node);
  const PlainValue& x = values[static_cast<size_t>(node.inputs[0])];
  const GraphNode& from = graph.node(node.inputs[0]);
  if (node.op == GraphOp::kConv) return Convolve(node, from, x, node.codes, node.weights);
  std::vector<float> z = AsFloats(x);
  switch (node.op) {
    case GraphOp::kInput:
    case GraphOp::kConv:
      break;
    case GraphOp::kAffine:
      ApplyAffine(graph, node, z);
      break;
    case GraphOp::kAdd:
      reference::Add(z.size(), AsFloats(values[static_cast<size_t>(node.inputs[1])]).data(),
                     z.data());
      break;
    case GraphOp::kActivation:
      reference::Activate(z.size(), node.activation, z.data());
      break;
    case GraphOp::kSign:
      return Signs(z);
    case GraphOp::kAvgPool:
      return Pool(node, from, z);
    case GraphOp::kPadChannels:
      return PadChannels(node, z);
    case GraphOp::kQuantize:
    case GraphOp::kDecode:
    case GraphOp::kMaxPool:
    case GraphOp::kConcat:
    case GraphOp::kPRelu:
      break;  // not convertible
  }
  return z;
}

// The inverse of PackWeights, written from the layout's description in schema/lbm.fbs.
std::vector<int32_t> UnpackCodes(const GraphNode& conv,
                                 const std::vector<std::vector<uint8_t>>& planes) {
  std::vector<int32_t> codes(conv.codes.size());
  const size_t taps = codes.size() / static_cast<size_t>(conv.channels);
  const size_t row_bytes = planes[0].size() / static_cast<size_t>(conv.channels);
  for (size_t i = 0; i < codes.size(); ++i) {
    if (conv.weight_kind == WeightKind::kSign) {
      const size_t k = i % taps;
      codes[i] = (planes[0][i / taps * row_bytes + k / 8] >> (k % 8) & 1) != 0 ? 1 : -1;
    } else {
      for (const auto& plane : planes) codes[i] = codes[i] * 256 + static_cast<int8_t>(plane[i]);
    }
  }
  return codes;
}

std::vector<float> UnpackFloats(const std::vector<uint8_t>& plane) {
  std::vector<float> weights(plane.size() / sizeof(float));
  std::memcpy(weights.data(), plane.data(), plane.size());
  return weights;
}

PlainValue EvaluateConv(const LoweredGraph& lowered, const LoweredGraph::Op& op,
                        const PlainValue& x) {
  const GraphNode& conv = lowered.node(op.nodes[0]);
  const GraphNode& from = lowered.node(op.input);
  if (op.planes.empty()) return Convolve(conv, from, x, conv.codes, conv.weights);
  if (conv.weight_kind == WeightKind::kFloat)
    return Convolve(conv, from, x, {}, UnpackFloats(op.planes[0]));
  return Convolve(conv, from, x, UnpackCodes(conv, op.planes), {});
}

void EvaluateOp(const LoweredGraph& lowered, const LoweredGraph::Op& op,
                std::vector<PlainValue>& values) {
  const auto value = [&](int i) -> PlainValue& { return values[static_cast<size_t>(i)]; };
  const bool conv = op.kind == LoweredGraph::Kind::kConv;
  std::vector<float> z =
      AsFloats(conv ? EvaluateConv(lowered, op, value(op.input)) : value(op.input));
  if (op.pool >= 0) z = Pool(lowered.node(op.pool), lowered.node(op.input), z);
  if (op.pad >= 0) z = PadChannels(lowered.node(op.pad), z);
  for (const LoweredGraph::Stage& stage : op.stages) {
    if (stage.affine >= 0) ApplyAffine(*lowered.graph, lowered.node(stage.affine), z);
    if (stage.add >= 0) reference::Add(z.size(), AsFloats(value(stage.add)).data(), z.data());
    reference::Activate(z.size(), stage.activation, z.data());
    if (stage.out_f32 >= 0) value(stage.out_f32) = z;
    if (stage.out_sign >= 0) value(stage.out_sign) = Signs(z);
  }
  if (op.kind == LoweredGraph::Kind::kAvgPool) value(OutputsOf(op)[0]) = std::move(z);
}

}  // namespace

std::vector<float> AsFloats(const PlainValue& value) {
  return std::visit([](const auto& elements) { return As<float>(elements); }, value);
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

std::vector<PlainValue> Interpret(const Graph& graph, const PlainValue& input) {
  std::vector<PlainValue> values(graph.nodes.size());
  values[0] = input;
  for (size_t i = 1; i < values.size(); ++i) values[i] = Evaluate(graph, graph.nodes[i], values);
  return values;
}

std::vector<PlainValue> Interpret(const LoweredGraph& lowered, const PlainValue& input) {
  std::vector<PlainValue> values(lowered.graph->nodes.size());
  values[0] = input;
  for (const LoweredGraph::Op& op : lowered.ops) EvaluateOp(lowered, op, values);
  return values;
}

}  // namespace lbrt
