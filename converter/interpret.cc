#include "converter/interpret.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "converter/unpack_weights.h"
#include "kernels/numerics.h"
#include "kernels/reference.h"

namespace lbrt {
namespace {

using Inputs = std::vector<const PlainValue*>;

template <typename T, typename From>
std::vector<T> As(const std::vector<From>& elements) {
  return std::vector<T>(elements.begin(), elements.end());
}
std::vector<int32_t> AsIntegers(const PlainValue& value) {
  return std::visit([](const auto& elements) { return As<int32_t>(elements); }, value);
}

reference::Convolution Shape(const GraphNode& node, const GraphNode& from) {
  return {static_cast<size_t>(from.height), static_cast<size_t>(from.width),
          static_cast<size_t>(from.channels), static_cast<size_t>(node.channels), node.window,
          static_cast<size_t>(node.groups)};
}

size_t Elements(const GraphNode& node) {
  return static_cast<size_t>(node.height) * static_cast<size_t>(node.width) *
         static_cast<size_t>(node.channels);
}

// ------------------------------------------------------------------------- one function a GraphOp

PlainValue Convolve(const Graph& graph, const GraphNode& conv, const Inputs& inputs) {
  const reference::Convolution shape = Shape(conv, graph.node(conv.inputs[0]));
  if (conv.type == ValueType::kF32) {
    const bool floats = conv.weight_kind == WeightKind::kFloat;
    const std::vector<float> weights = floats ? conv.weights : As<float>(conv.codes);
    std::vector<float> sums(Elements(conv));
    reference::FloatSums(shape, std::get<std::vector<float>>(*inputs[0]).data(), weights.data(),
                         sums.data());
    return sums;
  }
  std::vector<int64_t> sums(Elements(conv));
  std::vector<int32_t> x = AsIntegers(*inputs[0]);
  for (int32_t& code : x) code -= conv.zero;
  reference::IntegerSums(shape, x.data(), conv.codes.data(), sums.data());
  if (conv.type == ValueType::kI64) return sums;
  return As<int32_t>(sums);
}

// Of each pixel, b by border class of the convolution before the affine.
std::vector<const float*> BorderBiases(const Graph& graph, const GraphNode& affine) {
  const GraphNode& conv = graph.node(affine.inputs[0]);
  const GraphNode& from = graph.node(conv.inputs[0]);
  const BorderAxis rows = BorderRows(conv.window, from.height);
  const BorderAxis columns = BorderColumns(conv.window, from.width);
  std::vector<const float*> biases;
  for (int y = 0; y < affine.height; ++y)
    for (int x = 0; x < affine.width; ++x) {
      const int border = rows.Class(y) * affine.border_columns + columns.Class(x);
      biases.push_back(affine.b.data() +
                       static_cast<size_t>(border) * static_cast<size_t>(affine.channels));
    }
  return biases;
}

PlainValue ApplyAffine(const Graph& graph, const GraphNode& affine, const Inputs& inputs) {
  const auto channels = static_cast<size_t>(affine.channels);
  std::vector<float> z = AsFloats(*inputs[0]), base;
  const size_t pixels = z.size() / channels;
  std::vector<const float*> b_of_pixel;
  if (inputs.size() > 1) {
    base = AsFloats(*inputs[1]);
    for (size_t p = 0; p < pixels; ++p) b_of_pixel.push_back(&base[p * channels]);
  } else if (affine.b.size() > channels) {
    b_of_pixel = BorderBiases(graph, affine);
  }
  reference::Affine(pixels, channels, affine.a.data(), affine.b.data(),
                    b_of_pixel.empty() ? nullptr : b_of_pixel.data(), z.data());
  return z;
}

PlainValue AddValues(const Graph&, const GraphNode&, const Inputs& inputs) {
  std::vector<float> z = AsFloats(*inputs[0]);
  reference::Add(z.size(), AsFloats(*inputs[1]).data(), z.data());
  return z;
}

PlainValue Activate(const Graph&, const GraphNode& node, const Inputs& inputs) {
  std::vector<float> z = AsFloats(*inputs[0]);
  reference::Activate(z.size(), node.activation, z.data());
  return z;
}

PlainValue PReluOf(const Graph&, const GraphNode& node, const Inputs& inputs) {
  std::vector<float> z = AsFloats(*inputs[0]);
  for (size_t i = 0; i < z.size(); ++i) z[i] = PRelu(z[i], node.a[i % node.a.size()]);
  return z;
}

PlainValue Signs(const Graph&, const GraphNode&, const Inputs& inputs) {
  const std::vector<float> z = AsFloats(*inputs[0]);
  std::vector<int32_t> signs(z.size());
  reference::Signs(z.size(), z.data(), signs.data());
  return As<int8_t>(signs);
}

PlainValue Quantize(const Graph&, const GraphNode& node, const Inputs& inputs) {
  std::vector<uint8_t> codes;
  for (const float x : AsFloats(*inputs[0]))
    codes.push_back(static_cast<uint8_t>(ActivationCode(x, node.inverse_step, node.levels)));
  return codes;
}

PlainValue Decode(const Graph&, const GraphNode& node, const Inputs& inputs) {
  std::vector<float> z = AsFloats(*inputs[0]);
  for (float& x : z) x *= node.step;
  return z;
}

PlainValue AveragePool(const Graph& graph, const GraphNode& pool, const Inputs& inputs) {
  const bool sums = pool.type == ValueType::kI32;
  const float scale = sums ? 1.0f : static_cast<float>(1.0 / pool.window.taps());
  std::vector<float> y(Elements(pool));
  reference::AveragePool(Shape(pool, graph.node(pool.inputs[0])), AsFloats(*inputs[0]).data(),
                         scale, 0, 0, y.data());
  if (std::holds_alternative<std::vector<int32_t>>(*inputs[0])) return As<int32_t>(y);
  return y;
}

PlainValue PadChannels(const Graph&, const GraphNode& pad, const Inputs& inputs) {
  const std::vector<float> x = AsFloats(*inputs[0]);
  std::vector<float> y(Elements(pad));
  const auto channels = static_cast<size_t>(pad.channels);
  const size_t pixels = y.size() / channels, copied = x.size() / pixels;
  for (size_t p = 0; p < pixels; ++p)
    std::copy_n(&x[p * copied], copied, &y[p * channels + static_cast<size_t>(pad.pad_before)]);
  return y;
}

template <typename T>
std::vector<T> Largest(const GraphNode& pool, const GraphNode& from, const std::vector<T>& x) {
  const Window& w = pool.window;
  std::vector<T> y;
  for (int row = 0; row < pool.height; ++row)
    for (int column = 0; column < pool.width; ++column)
      for (int c = 0; c < pool.channels; ++c) {
        const bool smallest = !pool.a.empty() && pool.a[static_cast<size_t>(c)] < 0;
        bool any = false;
        T best = 0;
        for (int iy = row * w.stride_h - w.pad_top, ky = 0; ky < w.kernel_h; ++ky, ++iy)
          for (int ix = column * w.stride_w - w.pad_left, kx = 0; kx < w.kernel_w; ++kx, ++ix) {
            if (iy < 0 || iy >= from.height || ix < 0 || ix >= from.width) continue;
            const T value = x[static_cast<size_t>((iy * from.width + ix) * pool.channels + c)];
            if (!any || (smallest ? value < best : value > best)) best = value;
            any = true;
          }
        y.push_back(best);
      }
  return y;
}

PlainValue MaxPool(const Graph& graph, const GraphNode& pool, const Inputs& inputs) {
  const GraphNode& from = graph.node(pool.inputs[0]);
  return std::visit([&](const auto& x) -> PlainValue { return Largest(pool, from, x); },
                    *inputs[0]);
}

PlainValue Concatenate(const Graph& graph, const GraphNode& concat, const Inputs& inputs) {
  const size_t pixels = static_cast<size_t>(concat.height) * static_cast<size_t>(concat.width);
  const auto join = [&]<typename T>(const std::vector<T>&) -> PlainValue {
    std::vector<T> y;
    for (size_t p = 0; p < pixels; ++p)
      for (size_t i = 0; i < inputs.size(); ++i) {
        const auto channels = static_cast<size_t>(graph.node(concat.inputs[i]).channels);
        const T* x = std::get<std::vector<T>>(*inputs[i]).data() + p * channels;
        y.insert(y.end(), x, x + channels);
      }
    return y;
  };
  return std::visit(join, *inputs[0]);
}

PlainValue CountThresholds(const Graph&, const GraphNode& node, const Inputs& inputs) {
  const std::vector<float> x = AsFloats(*inputs[0]);
  const auto channels = static_cast<size_t>(node.channels);
  std::vector<uint8_t> codes(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    for (size_t t = i % channels; t < node.thresholds.size(); t += channels)
      if (x[i] >= node.thresholds[t]) ++codes[i];
  return codes;
}

// Every pixel of x becomes block_h x block_w; from(c, by, bx) is the channel of x that is channel c
// of one of them.
template <typename From>
PlainValue Blocks(const Graph& graph, const GraphNode& node, const PlainValue& value, int block_h,
                  int block_w, From from) {
  const GraphNode& in = graph.node(node.inputs[0]);
  const auto spread = [&]<typename T>(const std::vector<T>& x) -> PlainValue {
    std::vector<T> y;
    for (int row = 0; row < node.height; ++row)
      for (int column = 0; column < node.width; ++column)
        for (int c = 0; c < node.channels; ++c) {
          const int pixel = row / block_h * in.width + column / block_w;
          y.push_back(x[static_cast<size_t>(pixel * in.channels +
                                            from(c, row % block_h, column % block_w))]);
        }
    return y;
  };
  return std::visit(spread, value);
}

PlainValue Upsample(const Graph& graph, const GraphNode& node, const Inputs& inputs) {
  return Blocks(graph, node, *inputs[0], node.factor_h, node.factor_w,
                [](int c, int, int) { return c; });
}

PlainValue DepthToSpace(const Graph& graph, const GraphNode& node, const Inputs& inputs) {
  return Blocks(graph, node, *inputs[0], node.block, node.block, [&](int c, int by, int bx) {
    return node.channel_first ? (c * node.block + by) * node.block + bx
                              : (by * node.block + bx) * node.channels + c;
  });
}

PlainValue Evaluate(const Graph& graph, const GraphNode& node, const Inputs& inputs) {
  switch (node.op) {
    case GraphOp::kInput:
      break;  // given
    case GraphOp::kConv:
      return Convolve(graph, node, inputs);
    case GraphOp::kAffine:
      return ApplyAffine(graph, node, inputs);
    case GraphOp::kAdd:
      return AddValues(graph, node, inputs);
    case GraphOp::kActivation:
      return Activate(graph, node, inputs);
    case GraphOp::kSign:
      return Signs(graph, node, inputs);
    case GraphOp::kAvgPool:
      return AveragePool(graph, node, inputs);
    case GraphOp::kPadChannels:
      return PadChannels(graph, node, inputs);
    case GraphOp::kQuantize:
      return Quantize(graph, node, inputs);
    case GraphOp::kDecode:
      return Decode(graph, node, inputs);
    case GraphOp::kMaxPool:
      return MaxPool(graph, node, inputs);
    case GraphOp::kConcat:
      return Concatenate(graph, node, inputs);
    case GraphOp::kPRelu:
      return PReluOf(graph, node, inputs);
    case GraphOp::kThreshold:
      return CountThresholds(graph, node, inputs);
    case GraphOp::kUpsample:
      return Upsample(graph, node, inputs);
    case GraphOp::kDepthToSpace:
      return DepthToSpace(graph, node, inputs);
  }
  return *inputs[0];
}

// --------------------------------------------------------------------------------- lowered graphs

PlainValue EvaluateBody(const LoweredGraph& lowered, const LoweredGraph::Op& op, Inputs inputs) {
  PlainValue z = *inputs[0];
  for (const int i : op.body) {
    const GraphNode& node = lowered.node(i);
    z = op.planes.empty()
            ? Evaluate(*lowered.graph, node, inputs)
            : Evaluate(*lowered.graph, WithUnpackedWeights(node, op), inputs);
    inputs = {&z};
  }
  return z;
}

void EvaluateOp(const LoweredGraph& lowered, const LoweredGraph::Op& op,
                std::vector<PlainValue>& values) {
  const auto value = [&](int i) -> PlainValue& { return values[static_cast<size_t>(i)]; };
  Inputs inputs;
  for (const int i : op.inputs) inputs.push_back(&value(i));
  PlainValue z = EvaluateBody(lowered, op, std::move(inputs));
  if (op.stages.empty()) {
    value(op.body.back()) = std::move(z);
    return;
  }
  // z, or z and another value, through a node.
  const auto evaluate = [&](int i, int other) {
    Inputs both = {&z};
    if (other >= 0) both.push_back(&value(other));
    return Evaluate(*lowered.graph, lowered.node(i), both);
  };
  z = AsFloats(z);
  const PlainValue sum = z;
  for (const LoweredGraph::Stage& stage : op.stages) {
    if (stage.restart) z = sum;
    if (stage.affine >= 0) z = evaluate(stage.affine, stage.base);
    if (stage.add >= 0) z = AddValues(*lowered.graph, {}, {&z, &value(stage.add)});
    if (stage.activation >= 0) z = evaluate(stage.activation, -1);
    if (stage.out_f32 >= 0) value(stage.out_f32) = z;
    if (stage.out_sign >= 0) value(stage.out_sign) = evaluate(stage.out_sign, -1);
    if (stage.out_codes >= 0) value(stage.out_codes) = evaluate(stage.out_codes, -1);
  }
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
  for (size_t i = 1; i < values.size(); ++i) {
    Inputs inputs;
    for (const int from : graph.nodes[i].inputs)
      inputs.push_back(&values[static_cast<size_t>(from)]);
    values[i] = Evaluate(graph, graph.nodes[i], inputs);
  }
  return values;
}

std::vector<PlainValue> Interpret(const LoweredGraph& lowered, const PlainValue& input) {
  std::vector<PlainValue> values(lowered.graph->nodes.size());
  values[0] = input;
  for (const LoweredGraph::Op& op : lowered.ops) EvaluateOp(lowered, op, values);
  return values;
}

}  // namespace lbrt
