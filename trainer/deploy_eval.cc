#include "trainer/deploy_eval.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "images/error.h"
#include "kernels/numerics.h"
#include "trainer/ordered_sums.h"

namespace lbrt {
namespace {

constexpr size_t kBatch = 50;  // images at once; no number depends on it

// Values are NHWC: images uint8; codes and their exact sums float32, or float64 where a float32
// does not hold every sum; everything else float32.

// Rows of pixels are independent: run(image, row) for each, on all threads.
template <typename Run>
void ForEachRow(const at::Tensor& out, Run run) {
  const int64_t rows = out.size(1);
  at::parallel_for(0, out.size(0) * rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run(i / rows, static_cast<int>(i % rows));
  });
}

at::Tensor NewValue(const GraphNode& node, int64_t images) {
  return at::empty({images, node.height, node.width, node.channels}, at::kFloat);
}

const float* RowOf(const at::Tensor& value, int64_t image, int row) {
  return value.data_ptr<float>() + image * value.stride(0) + row * value.stride(1);
}
float* RowOf(at::Tensor& value, int64_t image, int row) {
  return value.data_ptr<float>() + image * value.stride(0) + row * value.stride(1);
}

// The largest |sum| that codes of an input of magnitude `largest` can have.
double LargestSum(const GraphNode& conv, double largest) {
  const size_t taps = conv.codes.size() / static_cast<size_t>(conv.channels);
  double result = 0;
  for (size_t o = 0; o < conv.codes.size(); o += taps) {
    double sum = 0;
    for (size_t k = 0; k < taps; ++k) sum += std::abs(static_cast<double>(conv.codes[o + k]));
    result = std::max(result, sum * largest);
  }
  return result;
}

// The convolution of integers as a product of matrices, [pixels taps] x [taps outputs]: exact in
// any order of summation, since no sum leaves the integers that the type holds.
at::Tensor IntegerConv(const GraphNode& conv, const at::Tensor& x) {
  const double largest = LargestSum(conv, x.scalar_type() == at::kByte ? 255 : 1);
  const at::ScalarType type = largest < 0x1p24 ? at::kFloat : at::kDouble;
  if (largest >= 0x1p53) throw InputError("node " + conv.name, "its sums exceed 2^53");
  const Window& w = conv.window;
  const at::Tensor codes =
      at::from_blob(const_cast<int32_t*>(conv.codes.data()),
                    {conv.channels, static_cast<int64_t>(conv.codes.size()) / conv.channels},
                    at::kInt)
          .to(type);
  const at::Tensor padded =
      at::constant_pad_nd(x.to(type), {0, 0, w.pad_left, w.pad_right, w.pad_top, w.pad_bottom}, 0);
  const at::Tensor windows = padded.unfold(1, w.kernel_h, w.stride_h)
                                 .unfold(2, w.kernel_w, w.stride_w)  // [n oh ow c kh kw]
                                 .permute({0, 1, 2, 4, 5, 3})
                                 .reshape({-1, codes.size(1)});
  const at::Tensor sums = at::mm(windows, codes.t());
  if (!at::equal(sums, sums.round()) || sums.abs().max().item<double>() > largest)
    throw std::logic_error("deploy-eval: node " + conv.name + " has sums that are no integers");
  return sums.reshape({x.size(0), conv.height, conv.width, conv.channels});
}

at::Tensor FloatConv(const GraphNode& conv, const at::Tensor& x) {
  const std::vector<float> weights = conv.weight_kind == WeightKind::kFloat
                                         ? conv.weights
                                         : std::vector<float>(conv.codes.begin(), conv.codes.end());
  const OrderedSums sums(static_cast<int>(x.size(1)), static_cast<int>(x.size(2)),
                         static_cast<int>(x.size(3)), conv.window, weights);
  at::Tensor y = NewValue(conv, x.size(0));
  ForEachRow(
      y, [&](int64_t image, int row) { sums.Row(RowOf(x, image, 0), row, RowOf(y, image, row)); });
  return y;
}

// Border classes are those of the window of the convolution before it.
at::Tensor AffineOf(const Graph& graph, const GraphNode& affine, const at::Tensor& x) {
  const auto channels = static_cast<size_t>(affine.channels);
  const GraphNode& before = graph.node(affine.inputs[0]);
  std::vector<size_t> row_class(static_cast<size_t>(affine.height), 0);
  std::vector<size_t> column_class(static_cast<size_t>(affine.width), 0);
  if (affine.border_rows * affine.border_columns > 1) {
    const GraphNode& from = graph.node(before.inputs[0]);
    const BorderAxis rows = BorderRows(before.window, from.height);
    const BorderAxis columns = BorderColumns(before.window, from.width);
    for (int y = 0; y < affine.height; ++y)
      row_class[static_cast<size_t>(y)] = static_cast<size_t>(rows.Class(y));
    for (int i = 0; i < affine.width; ++i)
      column_class[static_cast<size_t>(i)] = static_cast<size_t>(columns.Class(i));
  }
  const at::Tensor sums = x.to(at::kFloat).contiguous();  // integers round once, half to even
  at::Tensor z = NewValue(affine, x.size(0));
  ForEachRow(z, [&](int64_t image, int row) {
    const float* in = RowOf(sums, image, row);
    float* out = RowOf(z, image, row);
    const size_t first_class =
        row_class[static_cast<size_t>(row)] * static_cast<size_t>(affine.border_columns);
    for (size_t i = 0; i < column_class.size(); ++i)
      AffinePixel(in + i * channels, affine.a.data(),
                  affine.b.data() + (first_class + column_class[i]) * channels, channels,
                  out + i * channels);
  });
  return z;
}

at::Tensor Activate(const GraphNode& node, const at::Tensor& x) {
  at::Tensor y = NewValue(node, x.size(0));
  const int64_t count = x.stride(1);
  ForEachRow(y, [&](int64_t image, int row) {
    const float* in = RowOf(x, image, row);
    float* out = RowOf(y, image, row);
    if (node.activation == Activation::kRelu)
      for (int64_t i = 0; i < count; ++i) out[i] = Relu(in[i]);
    else
      for (int64_t i = 0; i < count; ++i) out[i] = Hardtanh(in[i]);
  });
  return y;
}

// +0, then the valid taps in order, then times fl32(1 / taps).
at::Tensor AveragePool(const GraphNode& pool, const at::Tensor& x) {
  const Window& w = pool.window;
  const int height = static_cast<int>(x.size(1)), width = static_cast<int>(x.size(2));
  const int channels = pool.channels;
  const float scale = static_cast<float>(1.0 / w.taps());
  at::Tensor y = NewValue(pool, x.size(0));
  ForEachRow(y, [&](int64_t image, int row) {
    const TapRange rows = ValidRows(w, height, row);
    for (int column = 0; column < pool.width; ++column) {
      const TapRange columns = ValidColumns(w, width, column);
      float* out = RowOf(y, image, row) + column * channels;
      for (int c = 0; c < channels; ++c) {
        float sum = 0;
        for (int ky = rows.begin; ky < rows.end; ++ky)
          for (int kx = columns.begin; kx < columns.end; ++kx)
            sum += RowOf(x, image,
                         row * w.stride_h - w.pad_top +
                             ky)[(column * w.stride_w - w.pad_left + kx) * channels + c];
        out[c] = sum * scale;
      }
    }
  });
  return y;
}

at::Tensor ExecuteNode(const Graph& graph, const GraphNode& node,
                       const std::vector<at::Tensor>& values) {
  const auto value = [&](size_t i) { return values[static_cast<size_t>(node.inputs[i])]; };
  switch (node.op) {
    case GraphOp::kInput:
      break;  // given
    case GraphOp::kConv:
      return node.type == ValueType::kF32 ? FloatConv(node, value(0)) : IntegerConv(node, value(0));
    case GraphOp::kAffine:
      return AffineOf(graph, node, value(0));
    case GraphOp::kAdd:
      return value(0) + value(1);
    case GraphOp::kActivation:
      return Activate(node, value(0));
    case GraphOp::kSign:
      return at::where(value(0) >= 0, at::ones({}, at::kFloat), -at::ones({}, at::kFloat));
    case GraphOp::kAvgPool:
      return AveragePool(node, value(0));
    case GraphOp::kPadChannels:
      return at::constant_pad_nd(value(0), {node.pad_before, node.pad_after}, 0);
  }
  throw std::logic_error("deploy-eval: node " + node.name + " cannot be executed");
}

// The last node that uses each value.
std::vector<size_t> LastUsers(const Graph& graph) {
  std::vector<size_t> last(graph.nodes.size(), 0);
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    for (const int input : graph.nodes[i].inputs) last[static_cast<size_t>(input)] = i;
  last[static_cast<size_t>(graph.output)] = graph.nodes.size();
  return last;
}

}  // namespace

at::Tensor ExecuteGraph(const Graph& graph, const at::Tensor& input) {
  at::NoGradGuard no_grad;
  const bool image = graph.node(0).type == ValueType::kU8;
  const std::vector<size_t> last_user = LastUsers(graph);
  std::vector<at::Tensor> values(graph.nodes.size());
  values[0] = image ? input : input.permute({0, 2, 3, 1}).contiguous();
  for (size_t i = 1; i < graph.nodes.size(); ++i) {
    const GraphNode& node = graph.nodes[i];
    values[i] = ExecuteNode(graph, node, values).contiguous();
    for (const int from : node.inputs)
      if (last_user[static_cast<size_t>(from)] == i)
        values[static_cast<size_t>(from)] = at::Tensor();
  }
  return values[static_cast<size_t>(graph.output)].flatten(1);
}

Evaluation EvaluateGraph(const Graph& graph, const Samples& samples,
                         const Preprocessing& preprocessing,
                         const std::function<void(size_t done)>& progress) {
  Batcher batcher(samples, preprocessing);
  std::vector<float> logits;
  for (size_t first = 0; first < samples.size(); first += kBatch) {
    const size_t count = std::min(kBatch, samples.size() - first);
    const at::Tensor input = graph.node(0).type == ValueType::kU8
                                 ? at::from_blob(const_cast<uint8_t*>(samples.image(first)),
                                                 {static_cast<int64_t>(count), samples.height,
                                                  samples.width, samples.channels},
                                                 at::kByte)
                                 : batcher.Images(first, count);
    const at::Tensor out = ExecuteGraph(graph, input).contiguous();
    logits.insert(logits.end(), out.data_ptr<float>(), out.data_ptr<float>() + out.numel());
    progress(first + count);
  }
  return Judge(std::move(logits), samples.labels);
}

}  // namespace lbrt
