// Convolutions and dense layers.
#include <algorithm>

#include "converter/onnx/lowering.h"

namespace lbrt::onnx {

// The window of a convolution or pooling of x. `cut`: the last windows of ceil_mode, whose padding
// is in the window returned.
lbrt::Window Lowering::WindowOf(const Node& node, const Traced& x, std::vector<int64_t> kernel,
                                bool* cut) const {
  const size_t axes = x.shape.size() - 2;
  if (x.shape.size() < 3 || x.channels_last || kernel.size() != axes)
    Refuse(node, "has an input of " + ShapeText(x.shape) + " and a kernel of " + ShapeText(kernel) +
                     ", expected an image, 1xCxHxW");
  std::vector<int64_t> strides = node.Ints("strides", std::vector<int64_t>(axes, 1));
  std::vector<int64_t> pads = node.Ints("pads", std::vector<int64_t>(2 * axes, 0));
  if (strides.size() != axes || pads.size() != 2 * axes)
    Refuse(node, "has strides or pads of another number of axes than its kernel");
  for (const int64_t d : node.Ints("dilations", {}))
    if (d != 1) Refuse(node, "has a dilation of " + std::to_string(d) + ", expected 1");
  for (const std::vector<int64_t>* list : {&kernel, &strides, &pads})
    for (const int64_t n : *list)
      if (n < (list == &pads ? 0 : 1) || n > 4096)
        Refuse(node, "has a kernel, stride or padding of " + std::to_string(n));
  if (axes == 1) {
    kernel.insert(kernel.begin(), 1);
    strides.insert(strides.begin(), 1);
    pads = {0, pads[0], 0, pads[1]};
  }
  const GraphNode& from = GraphNodeOf(x);
  const std::string automatic = node.Text("auto_pad", "NOTSET");
  const int64_t sides[2] = {from.height, from.width};
  for (size_t i = 0; i < 2; ++i) {
    if (automatic == "VALID") pads[i] = pads[i + 2] = 0;
    if (!automatic.starts_with("SAME")) continue;
    const int64_t outputs = (sides[i] + strides[i] - 1) / strides[i];
    const int64_t all = std::max<int64_t>(0, (outputs - 1) * strides[i] + kernel[i] - sides[i]);
    pads[i] = automatic == "SAME_UPPER" ? all / 2 : all - all / 2;
    pads[i + 2] = all - pads[i];
  }
  lbrt::Window w;
  w.kernel_h = Int(kernel[0]);
  w.kernel_w = Int(kernel[1]);
  w.stride_h = Int(strides[0]);
  w.stride_w = Int(strides[1]);
  w.pad_top = Int(pads[0]) + x.pad_top;
  w.pad_left = Int(pads[1]) + x.pad_left;
  w.pad_bottom = Int(pads[2]) + x.pad_bottom;
  w.pad_right = Int(pads[3]) + x.pad_right;
  *cut = false;
  if (node.Int("ceil_mode", 0) != 0) {
    // One window more where the rest of an axis is not empty and the window begins in the image.
    const auto extend = [&](int side, int kernel_size, int stride, int before, int* after) {
      const int room = side + before + *after - kernel_size;
      if (room < 0 || room % stride == 0 || (room / stride + 1) * stride >= side + before) return;
      *after += stride - room % stride;
      *cut = true;
    };
    extend(from.height, w.kernel_h, w.stride_h, w.pad_top, &w.pad_bottom);
    extend(from.width, w.kernel_w, w.stride_w, w.pad_left, &w.pad_right);
  }
  if (OutputHeight(w, from.height) == 0 || OutputWidth(w, from.width) == 0)
    Refuse(node, "has a kernel that is larger than its padded input");
  return w;
}

void Lowering::Layer(const Node& node, const Traced& x, const LayerWeights& weights, Numbers bias,
                     Shape shape, bool channels_last) {
  Count({weights.outputs, weights.channels, weights.window.kernel_h, weights.window.kernel_w});
  WeightList list = ListWeights(weights);
  const bool codes = x.kind == Traced::kCodes && x.scale.single() && list.why_floats.empty();
  std::string why = list.why_floats;
  if (why.empty() && !codes)
    why =
        x.kind == Traced::kCodes ? "its input has a scale a channel" : "its input is not quantized";
  if (!why.empty()) Say(node, "computed in float32, for " + why);
  Traced unpadded = x;
  unpadded.pad_top = unpadded.pad_left = unpadded.pad_bottom = unpadded.pad_right = 0;
  const int from = codes ? x.node : Float(unpadded, NameOf(node));

  Traced y;
  y.kind = Traced::kReal;
  y.shape = std::move(shape);
  y.channels_last = channels_last;
  std::vector<double> unit = list.scale;
  if (codes)
    for (double& u : unit) u *= x.scale[0];
  GraphNode& conv = graph_.Append(GraphOp::kConv, NameOf(node), {from});
  conv.window = weights.window;
  conv.height = OutputHeight(conv.window, conv.height);
  conv.width = OutputWidth(conv.window, conv.width);
  conv.channels = weights.outputs;
  conv.groups = weights.groups;
  if (codes) conv.zero = x.zero;
  SetWeights(std::move(list), graph_.node(from).type, &conv);
  y.chain.node = graph_.last();
  y.chain.integers = codes;
  if (codes) {
    y.chain.most = LargestSum(conv, graph_.node(from));
    y.chain.least = -y.chain.most;
  }
  y.chain.unit = Numbers(std::move(unit));
  y.chain.offset = std::move(bias);
  Set(node, std::move(y));
}

void Lowering::Convolution(const Node& node) {
  const Traced& x = In(node, 0);
  const Value& w = ConstantIn(node, 1);
  bool cut = false;
  if (w.shape.size() != x.shape.size() || w.shape.size() < 3)
    Refuse(node, "has weights of " + ShapeText(w.shape) + " for an input of " + ShapeText(x.shape));
  LayerWeights weights;
  weights.constant = &w;
  weights.window = WindowOf(node, x, Shape(w.shape.begin() + 2, w.shape.end()), &cut);
  weights.outputs = Int(w.shape[0]);
  const int64_t channels = GraphNodeOf(x).channels, groups = node.Int("group", 1);
  if (weights.outputs < 1 || groups < 1 || groups > channels || w.shape[0] % groups != 0 ||
      w.shape[1] * groups != channels)
    Refuse(node, "has weights of " + ShapeText(w.shape) + " in " + std::to_string(groups) +
                     " groups for " + std::to_string(channels) + " channels");
  weights.groups = Int(groups);
  weights.channels = Int(w.shape[1]);
  const lbrt::Window& window = weights.window;
  weights.index = [own = weights.channels, window](int o, int ky, int kx, int c) {
    return static_cast<size_t>(((o * own + c) * window.kernel_h + ky) * window.kernel_w + kx);
  };
  Numbers bias = 0;
  if (node.has(2)) {
    bias = Numbers(ConstantIn(node, 2).values);
    if (bias.list.size() != static_cast<size_t>(weights.outputs))
      Refuse(node, "has a bias of " + std::to_string(bias.list.size()) + " numbers");
  }
  const int height = OutputHeight(window, GraphNodeOf(x).height);
  const int width = OutputWidth(window, GraphNodeOf(x).width);
  Shape shape = {1, weights.outputs, height, width};
  if (x.shape.size() == 3) shape = {1, weights.outputs, width};
  Layer(node, x, weights, std::move(bias), std::move(shape), false);
}

// MatMul and Gemm: of a flattened image, a convolution whose window is all of it; of pixels whose
// channels are last, one of 1x1.
void Lowering::Dense(const Node& node) {
  const Traced& x = In(node, 0);
  const Value& w = ConstantIn(node, 1);
  CheckUnpadded(node, x);
  const bool gemm = node.op == "Gemm", transposed = gemm && node.Int("transB", 0) != 0;
  const double alpha = gemm ? static_cast<double>(node.Float("alpha", 1)) : 1;
  const double beta = gemm ? static_cast<double>(node.Float("beta", 1)) : 1;
  const GraphNode& from = GraphNodeOf(x);
  const bool pixels = x.shape.size() == 4 && x.channels_last;
  if (w.shape.size() != 2 || (x.shape.size() != 2 && !pixels) ||
      w.shape[transposed ? 1 : 0] != x.shape.back() || node.Int("transA", 0) != 0 || alpha == 0)
    Refuse(node, "multiplies " + ShapeText(x.shape) + " by " + ShapeText(w.shape) +
                     ", expected a row, 1xN, by a constant matrix");
  LayerWeights weights;
  weights.constant = &w;
  weights.outputs = Int(w.shape[transposed ? 0 : 1]);
  weights.channels = from.channels;
  if (!pixels) {
    weights.window.kernel_h = from.height;
    weights.window.kernel_w = from.width;
  }
  const int h = from.height, width = from.width, channels = from.channels;
  const int features = Int(x.shape.back()), outputs = weights.outputs;
  const bool last = x.channels_last;
  weights.index = [=](int o, int ky, int kx, int c) {
    const int k = pixels ? c : last ? (ky * width + kx) * channels + c : (c * h + ky) * width + kx;
    return transposed
               ? static_cast<size_t>(o) * static_cast<size_t>(features) + static_cast<size_t>(k)
               : static_cast<size_t>(k) * static_cast<size_t>(outputs) + static_cast<size_t>(o);
  };
  Shape shape = x.shape;
  shape.back() = outputs;
  Numbers bias = 0;
  if (gemm && node.has(2)) {
    bias = PerChannel(node, ConstantIn(node, 2), shape, 1);
    for (double& b : bias.list) b *= beta;
  }
  Layer(node, x, weights, std::move(bias), std::move(shape), pixels);
  if (alpha != 1)
    for (double& u : values_.at(node.outputs[0]).chain.unit.list) u *= alpha;
}

}  // namespace lbrt::onnx
