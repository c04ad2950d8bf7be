#include "trainer/deploy_eval.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "images/error.h"
#include "kernels/numerics.h"
#include "trainer/ordered_sums.h"

namespace lbrt {

// A thread takes whole images: there is one synchronisation a batch, not one a node.
// Values are [h w c]: images and codes uint8, signs int8, exact sums int32 or int64, all else
// float32.

struct DeployedGraph::Prepared {
  at::Tensor codes;                             // kConv of integers: [outputs taps], int32 or int64
  std::optional<OrderedSums> sums;              // kConv of floats
  std::vector<size_t> row_class, column_class;  // kAffine: border class along each axis
};

namespace {

constexpr size_t kBatch = 100;  // images at once; no number depends on it

at::Tensor NewValue(const GraphNode& node) {
  return at::empty({node.height, node.width, node.channels}, at::kFloat);
}

at::Tensor IntegerWeights(const GraphNode& conv, const GraphNode& from) {
  const double largest = LargestSum(conv, from);
  if (largest >= 0x1p63) throw InputError("node " + conv.name, "its sums exceed 63 bits");
  const int64_t taps = static_cast<int64_t>(conv.codes.size()) / conv.channels;
  return at::from_blob(const_cast<int32_t*>(conv.codes.data()), {conv.channels, taps}, at::kInt)
      .to(largest < 0x1p31 ? at::kInt : at::kLong);
}

OrderedSums FloatWeights(const GraphNode& conv, const GraphNode& from) {
  return {from.height, from.width, from.channels, conv.window,
          conv.weight_kind == WeightKind::kFloat
              ? conv.weights
              : std::vector<float>(conv.codes.begin(), conv.codes.end())};
}

std::vector<size_t> Classes(const BorderAxis& axis) {
  std::vector<size_t> classes;
  for (int i = 0; i < axis.outputs(); ++i) classes.push_back(static_cast<size_t>(axis.Class(i)));
  return classes;
}

// The convolution as a product of matrices, [outputs taps] x [taps pixels]. LibTorch multiplies
// integers by a loop of its own, exactly and faster than a plain BLAS does floats.
at::Tensor IntegerConv(const GraphNode& conv, const at::Tensor& codes, const at::Tensor& x) {
  const Window& w = conv.window;
  const at::Tensor planes = x.permute({2, 0, 1}).to(codes.scalar_type()).contiguous();
  const at::Tensor taps =
      at::constant_pad_nd(planes, {w.pad_left, w.pad_right, w.pad_top, w.pad_bottom}, 0)
          .unfold(1, w.kernel_h, w.stride_h)
          .unfold(2, w.kernel_w, w.stride_w)  // [c oh ow kh kw]
          .permute({3, 4, 0, 1, 2})
          .reshape({codes.size(1), -1});
  return at::mm(codes, taps).t().reshape({conv.height, conv.width, conv.channels});
}

at::Tensor FloatConv(const GraphNode& conv, const OrderedSums& sums, const at::Tensor& x) {
  at::Tensor y = NewValue(conv);
  const int64_t row_size = int64_t{conv.width} * conv.channels;
  for (int row = 0; row < conv.height; ++row)
    sums.Row(x.data_ptr<float>(), row, y.data_ptr<float>() + row * row_size);
  return y;
}

at::Tensor AffineOf(const GraphNode& affine, const std::vector<size_t>& row_class,
                    const std::vector<size_t>& column_class, const at::Tensor& x,
                    const at::Tensor* base) {
  const auto channels = static_cast<size_t>(affine.channels);
  const at::Tensor sums = x.to(at::kFloat);  // integers round once, half to even
  at::Tensor z = NewValue(affine);
  const float* in = sums.data_ptr<float>();
  float* out = z.data_ptr<float>();
  for (const size_t row : row_class)
    for (const size_t column : column_class) {
      const size_t border = row * static_cast<size_t>(affine.border_columns) + column;
      const float* b = affine.b.data() + border * channels;
      if (base != nullptr) b = base->data_ptr<float>() + (out - z.data_ptr<float>());
      AffinePixel(in, affine.a.data(), b, channels, out);
      in += channels;
      out += channels;
    }
  return z;
}

at::Tensor Activate(const GraphNode& node, const at::Tensor& x) {
  at::Tensor y = NewValue(node);
  const float* in = x.data_ptr<float>();
  float* out = y.data_ptr<float>();
  const auto each = [&](auto function) {
    for (int64_t i = 0; i < y.numel(); ++i) out[i] = function(in[i]);
  };
  if (node.activation == Activation::kRelu) each(Relu);
  if (node.activation == Activation::kHardtanh) each(Hardtanh);
  if (node.activation == Activation::kClipUnit) each(ClipUnit);
  return y;
}

at::Tensor PReluOf(const GraphNode& node, const at::Tensor& x) {
  at::Tensor y = NewValue(node);
  const float* in = x.data_ptr<float>();
  float* out = y.data_ptr<float>();
  for (int64_t i = 0; i < y.numel(); ++i)
    out[i] = PRelu(in[i], node.a[static_cast<size_t>(i % node.channels)]);
  return y;
}

at::Tensor Quantize(const GraphNode& node, const at::Tensor& x) {
  at::Tensor codes = at::empty_like(x, at::kByte);
  const float* in = x.data_ptr<float>();
  uint8_t* out = codes.data_ptr<uint8_t>();
  for (int64_t i = 0; i < x.numel(); ++i)
    out[i] = static_cast<uint8_t>(ActivationCode(in[i], node.inverse_step, node.levels));
  return codes;
}

at::Tensor Decode(const GraphNode& node, const at::Tensor& codes) {
  at::Tensor y = codes.to(at::kFloat);
  float* values = y.data_ptr<float>();
  for (int64_t i = 0; i < y.numel(); ++i) values[i] *= node.step;
  return y;
}

// Calls visit(result pixel, input pixel) for the valid taps of each window, in order.
template <typename Visit>
void ForEachTap(const GraphNode& pool, const at::Tensor& x, Visit visit) {
  const Window& w = pool.window;
  const int height = static_cast<int>(x.size(0)), width = static_cast<int>(x.size(1));
  for (int row = 0; row < pool.height; ++row)
    for (int column = 0; column < pool.width; ++column) {
      const TapRange rows = ValidRows(w, height, row);
      const TapRange columns = ValidColumns(w, width, column);
      for (int ky = rows.begin; ky < rows.end; ++ky)
        for (int kx = columns.begin; kx < columns.end; ++kx) {
          const int in_y = row * w.stride_h - w.pad_top + ky;
          const int in_x = column * w.stride_w - w.pad_left + kx;
          visit(int64_t{row} * pool.width + column, int64_t{in_y} * width + in_x);
        }
    }
}

// 0, then the valid taps in order.
template <typename T>
at::Tensor SumPool(const GraphNode& pool, const at::Tensor& x) {
  const int channels = pool.channels;
  at::Tensor y = at::zeros({pool.height, pool.width, channels}, x.options());
  const T* in = x.data_ptr<T>();
  T* out = y.data_ptr<T>();
  ForEachTap(pool, x, [&](int64_t to, int64_t from) {
    for (int c = 0; c < channels; ++c) out[to * channels + c] += in[from * channels + c];
  });
  return y;
}

at::Tensor AveragePool(const GraphNode& pool, const at::Tensor& x) {
  if (pool.type == ValueType::kI32) return SumPool<int32_t>(pool, x);
  at::Tensor y = SumPool<float>(pool, x);
  float* out = y.data_ptr<float>();
  const float scale = static_cast<float>(1.0 / pool.window.taps());
  for (int64_t i = 0; i < y.numel(); ++i) out[i] *= scale;
  return y;
}

template <typename T>
at::Tensor MaxPool(const GraphNode& pool, const at::Tensor& x) {
  const int channels = pool.channels;
  at::Tensor y = at::empty({pool.height, pool.width, channels}, x.options());
  const T* in = x.data_ptr<T>();
  T* out = y.data_ptr<T>();
  int64_t last = -1;
  ForEachTap(pool, x, [&](int64_t to, int64_t from) {
    for (int c = 0; c < channels; ++c) {
      const T value = in[from * channels + c];
      T& largest = out[to * channels + c];
      if (to != last || value > largest) largest = value;
    }
    last = to;
  });
  return y;
}

at::Tensor MaxPoolOf(const GraphNode& pool, const at::Tensor& x) {
  switch (pool.type) {
    case ValueType::kSign:
      return MaxPool<int8_t>(pool, x);
    case ValueType::kCode:
      return MaxPool<uint8_t>(pool, x);
    case ValueType::kI32:
      return MaxPool<int32_t>(pool, x);
    default:
      return MaxPool<float>(pool, x);
  }
}

}  // namespace

DeployedGraph::DeployedGraph(const Graph& graph)
    : graph_(graph), last_user_(graph.nodes.size(), 0) {
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const GraphNode& node = graph.nodes[i];
    Prepared& prepared = *prepared_.emplace_back(std::make_unique<Prepared>());
    for (const int input : node.inputs) last_user_[static_cast<size_t>(input)] = i;
    if (node.op == GraphOp::kConv) {
      const GraphNode& from = graph.node(node.inputs[0]);
      if (node.type == ValueType::kF32)
        prepared.sums = FloatWeights(node, from);
      else
        prepared.codes = IntegerWeights(node, from);
    }
    if (node.op == GraphOp::kAffine) {
      prepared.row_class.assign(static_cast<size_t>(node.height), 0);
      prepared.column_class.assign(static_cast<size_t>(node.width), 0);
      if (node.border_rows * node.border_columns == 1) continue;
      const GraphNode& conv = graph.node(node.inputs[0]);
      const GraphNode& from = graph.node(conv.inputs[0]);
      prepared.row_class = Classes(BorderRows(conv.window, from.height));
      prepared.column_class = Classes(BorderColumns(conv.window, from.width));
    }
  }
  last_user_[static_cast<size_t>(graph.output)] = graph.nodes.size();
}

DeployedGraph::~DeployedGraph() = default;

at::Tensor DeployedGraph::RunNode(size_t index, const std::vector<at::Tensor>& values) const {
  const GraphNode& node = graph_.nodes[index];
  const Prepared& prepared = *prepared_[index];
  const at::Tensor& x = values[static_cast<size_t>(node.inputs[0])];
  switch (node.op) {
    case GraphOp::kInput:
      break;  // given
    case GraphOp::kConv:
      return prepared.sums ? FloatConv(node, *prepared.sums, x)
                           : IntegerConv(node, prepared.codes, x);
    case GraphOp::kAffine:
      return AffineOf(node, prepared.row_class, prepared.column_class, x,
                      node.inputs.size() > 1 ? &values[static_cast<size_t>(node.inputs[1])]
                                             : nullptr);
    case GraphOp::kAdd:
      return x + values[static_cast<size_t>(node.inputs[1])];
    case GraphOp::kActivation:
      return Activate(node, x);
    case GraphOp::kSign:
      return (x >= 0).to(at::kChar) * 2 - 1;
    case GraphOp::kAvgPool:
      return AveragePool(node, x);
    case GraphOp::kPadChannels:
      return at::constant_pad_nd(x, {node.pad_before, node.pad_after}, 0);
    case GraphOp::kQuantize:
      return Quantize(node, x);
    case GraphOp::kDecode:
      return Decode(node, x);
    case GraphOp::kMaxPool:
      return MaxPoolOf(node, x);
    case GraphOp::kConcat: {
      std::vector<at::Tensor> parts;
      for (const int input : node.inputs) parts.push_back(values[static_cast<size_t>(input)]);
      return at::cat(parts, 2);
    }
    case GraphOp::kPRelu:
      return PReluOf(node, x);
    case GraphOp::kThreshold:
    case GraphOp::kUpsample:
    case GraphOp::kDepthToSpace:
      break;  // import makes none
  }
  throw std::logic_error("deploy-eval: node " + node.name + " cannot be executed");
}

at::Tensor DeployedGraph::RunImage(at::Tensor image) const {
  std::vector<at::Tensor> values(graph_.nodes.size());
  values[0] = std::move(image);
  for (size_t i = 1; i < values.size(); ++i) {
    values[i] = RunNode(i, values).contiguous();
    for (const int from : graph_.nodes[i].inputs)
      if (last_user_[static_cast<size_t>(from)] == i) values[static_cast<size_t>(from)].reset();
  }
  return values[static_cast<size_t>(graph_.output)].flatten();
}

at::Tensor DeployedGraph::Run(const at::Tensor& input) const {
  const bool bytes = graph_.node(0).type == ValueType::kU8;
  const at::Tensor images = bytes ? input : input.permute({0, 2, 3, 1}).contiguous();
  const GraphNode& output = graph_.node(graph_.output);
  const at::Tensor logits = at::empty(
      {images.size(0), int64_t{output.height} * output.width * output.channels}, at::kFloat);
  at::parallel_for(0, images.size(0), 1, [&](int64_t begin, int64_t end) {
    at::NoGradGuard no_grad;  // each thread has its own
    for (int64_t i = begin; i < end; ++i) logits[i].copy_(RunImage(images[i]));
  });
  return logits;
}

Evaluation EvaluateGraph(const Graph& graph, const Samples& samples,
                         const Preprocessing& preprocessing,
                         const std::function<void(size_t done)>& progress) {
  const DeployedGraph deployed(graph);
  const Batcher batcher(samples, preprocessing, at::kCPU);
  std::vector<float> logits;
  for (size_t first = 0; first < samples.size(); first += kBatch) {
    const size_t count = std::min(kBatch, samples.size() - first);
    const at::Tensor input = graph.node(0).type == ValueType::kU8 ? samples.Pixels(first, count)
                                                                  : batcher.Images(first, count);
    const at::Tensor out = deployed.Run(input);
    logits.insert(logits.end(), out.data_ptr<float>(), out.data_ptr<float>() + out.numel());
    progress(first + count);
  }
  return Judge(std::move(logits), samples.labels);
}

}  // namespace lbrt
