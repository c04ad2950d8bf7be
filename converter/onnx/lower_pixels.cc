// Pooling, concatenation, and what moves pixels or channels.
#include <algorithm>
#include <set>

#include "converter/onnx/lowering.h"

namespace lbrt::onnx {

// x with the pooled node in the place of its own.
Traced Lowering::Pooled(const Traced& x, int pool) const {
  Traced y = x;
  const GraphNode& node = graph_.node(pool);
  (x.kind == Traced::kCodes ? y.node : y.chain.node) = pool;
  y.shape = {1, node.channels, node.height, node.width};
  if (x.shape.size() == 3) y.shape = {1, node.channels, node.width};
  return y;
}

void Lowering::MaxPool(const Node& node) {
  Traced x = In(node, 0);
  CheckUnpadded(node, x);
  bool cut = false;
  const lbrt::Window window = WindowOf(node, x, node.Ints("kernel_shape", {}), &cut);
  const std::string name = NameOf(node);
  if (x.kind == Traced::kReal) {
    // Steps that rise go behind the pooling; where they fall, the least becomes the largest.
    std::vector<float> direction;
    std::vector<double> unit;
    for (size_t c = 0; c < Channels(x); ++c) {
      const int d = x.chain.Direction(c, node.title()) < 0 ? -1 : 1;
      direction.push_back(static_cast<float>(d));
      unit.push_back(x.chain.unit[c] * d);
    }
    const bool falls =
        std::any_of(direction.begin(), direction.end(), [](float d) { return d < 0; });
    if (falls || graph_.node(x.chain.node).type != ValueType::kF32)
      x.chain.node = Affine(name, x.chain.node, direction, {0});
    x.chain.unit = Numbers(std::move(unit));
    if (falls) {
      x.chain.most = std::max(x.chain.most, -x.chain.least);
      x.chain.least = -x.chain.most;
    }
  }
  const int from = x.kind == Traced::kCodes ? x.node : x.chain.node;
  GraphNode& pool = graph_.Append(GraphOp::kMaxPool, name, {from});
  pool.type = graph_.node(from).type;
  pool.levels = graph_.node(from).levels;
  pool.window = window;
  pool.height = OutputHeight(window, pool.height);
  pool.width = OutputWidth(window, pool.width);
  Set(node, Pooled(x, graph_.last()));
}

void Lowering::AveragePool(const Node& node) {
  const Traced& x = In(node, 0);
  CheckUnpadded(node, x);
  const GraphNode& from = GraphNodeOf(x);
  lbrt::Window window;
  window.kernel_h = from.height;
  window.kernel_w = from.width;
  bool keeps = true, cut = false;
  if (node.op == "AveragePool") {
    window = WindowOf(node, x, node.Ints("kernel_shape", {}), &cut);
    const bool padded =
        (window.pad_top | window.pad_left | window.pad_bottom | window.pad_right) != 0;
    if (cut || (padded && node.Int("count_include_pad", 0) == 0))
      Refuse(node,
             "averages fewer values at the border, expected count_include_pad, or no padding");
  } else if (x.shape.size() < 3 || x.channels_last) {
    Refuse(node, "averages a value of " + ShapeText(x.shape) + ", expected an image, 1xCxHxW");
  }
  if (node.op == "ReduceMean") {
    std::vector<int64_t> axes = node.Ints("axes", {});
    if (node.has(1)) axes = node.Integers(ConstantIn(node, 1).values);
    std::set<int64_t> wanted, named;
    for (int64_t i = 2; i < static_cast<int64_t>(x.shape.size()); ++i) wanted.insert(i);
    for (int64_t axis : axes)
      named.insert(axis < 0 ? axis + static_cast<int64_t>(x.shape.size()) : axis);
    if (named != wanted) Refuse(node, "averages other axes than the pixels");
    keeps = node.Int("keepdims", 1) != 0;
  }
  const bool exact = x.kind == Traced::kCodes;
  const int input = exact ? WholeNumbers(x) : Float(x, NameOf(node));
  GraphNode& pool = graph_.Append(GraphOp::kAvgPool, NameOf(node), {input});
  pool.window = window;
  pool.height = OutputHeight(window, pool.height);
  pool.width = OutputWidth(window, pool.width);
  Traced y = exact ? Real(x) : x;
  y.chain = exact ? y.chain : Chain();
  y = Pooled(y, graph_.last());
  if (exact) {
    // The graph averages whole numbers: their sum times the nearest float of 1 / taps.
    const double taps = window.taps();
    y.chain.factor = static_cast<float>(1.0 / taps);
    for (double& u : y.chain.unit.list) u /= taps;
    y.chain.least *= taps;
    y.chain.most *= taps;
  } else {
    Say(node, "averages float32 values, in a fixed order");
  }
  if (!keeps) y.shape = {1, pool.channels};
  Set(node, std::move(y));
}

void Lowering::Concat(const Node& node) {
  const Traced first = In(node, 0);
  const auto rank = static_cast<int64_t>(first.shape.size());
  int64_t axis = node.Int("axis", 1);
  if (axis < 0) axis += rank;
  if (axis != static_cast<int64_t>(first.channel_axis()))
    Refuse(node, "joins values along axis " + std::to_string(axis) + ", expected the channels");
  bool codes = true;
  Traced y = first;
  y.shape[static_cast<size_t>(axis)] = 0;
  std::vector<int> inputs;
  int channels = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Traced& x = In(node, i);
    CheckUnpadded(node, x);
    if (x.kind == Traced::kConstant) Refuse(node, "joins a constant, expected values");
    Shape others = x.shape;
    y.shape[static_cast<size_t>(axis)] += others.at(static_cast<size_t>(axis));
    others[static_cast<size_t>(axis)] = y.shape[static_cast<size_t>(axis)];
    const GraphNode& from = GraphNodeOf(x);
    if (others != y.shape || x.channels_last != first.channels_last ||
        (rank == 2 && from.height * from.width != 1))
      Refuse(node, "joins " + ShapeText(x.shape) + " to " + ShapeText(first.shape) +
                       ", expected the same but for the channels, none flattened");
    channels += from.channels;
    codes = codes && x.kind == Traced::kCodes && first.kind == Traced::kCodes &&
            x.zero == first.zero && x.scale.single() && first.scale.single() &&
            x.scale[0] == first.scale[0] && from.type == GraphNodeOf(first).type &&
            from.levels == GraphNodeOf(first).levels;
  }
  for (size_t i = 0; i < node.inputs.size(); ++i)
    inputs.push_back(codes ? In(node, i).node : Float(In(node, i), NameOf(node)));
  GraphNode& concat = graph_.Append(GraphOp::kConcat, NameOf(node), inputs);
  concat.channels = channels;
  concat.type = graph_.node(inputs[0]).type;
  concat.levels = graph_.node(inputs[0]).levels;
  if (codes) {
    y.node = graph_.last();
  } else {
    y.kind = Traced::kReal;
    y.chain = Chain();
    y.chain.node = graph_.last();
    Say(node, "joins float32 values: its operands have not the same scale");
  }
  Set(node, std::move(y));
}

// Whether all channels have the same numbers.
bool Lowering::MeansTheSame(const Traced& x) {
  if (x.kind == Traced::kCodes) return x.scale.single();
  const auto single = [](const Numbers& numbers) { return numbers.list.size() <= 1; };
  return single(x.chain.unit) && single(x.chain.offset) &&
         std::all_of(x.chain.steps.begin(), x.chain.steps.end(), [&](const Step& step) {
           return single(step.a) && single(step.b) && single(step.c) && single(step.d);
         });
}

// x becomes what a node makes of it that moves pixels or channels, which must mean the same where
// they come to lie together; else it is floats first.
GraphNode& Lowering::AppendBlocks(const Node& node, GraphOp op, Traced* x, int block_h,
                                  int block_w) {
  const bool same = op == GraphOp::kUpsample || MeansTheSame(*x);
  if (!same) {
    const int from = Float(*x, NameOf(node));
    x->kind = Traced::kReal;
    x->chain = Chain();
    x->chain.node = from;
    Say(node, "joins channels that have not the same scale: float32 values");
  }
  if (x->kind == Traced::kReal) {
    const ValueType type = graph_.node(x->chain.node).type;
    if (type == ValueType::kI32 || type == ValueType::kI64)
      x->chain.node = Affine(NameOf(node), x->chain.node, {1}, {0});
  }
  const int from = x->kind == Traced::kCodes ? x->node : x->chain.node;
  GraphNode& y = graph_.Append(op, NameOf(node), {from});
  y.type = graph_.node(from).type;
  y.levels = graph_.node(from).levels;
  y.height *= block_h;
  y.width *= block_w;
  (x->kind == Traced::kCodes ? x->node : x->chain.node) = graph_.last();
  return y;
}

// Nearest neighbours at whole factors: the pixel that an output pixel lies in, which is what
// half_pixel coordinates give when they are rounded, and asymmetric ones when they are cut off.
void Lowering::Upsample(const Node& node) {
  Traced x = In(node, 0);
  CheckUnpadded(node, x);
  const std::string coordinates = node.Text("coordinate_transformation_mode", "half_pixel");
  const std::string nearest = node.Text("nearest_mode", "round_prefer_floor");
  const bool resize = node.op == "Resize" && model_.opset >= 11;
  const bool own = coordinates == "asymmetric" ? nearest == "floor"
                   : coordinates == "half_pixel" || coordinates == "pytorch_half_pixel"
                       ? nearest.starts_with("round_prefer")
                       : false;
  if (resize && !own && node.Text("mode", "nearest") == "nearest")
    Refuse(node, "has the modes " + coordinates + " and " + nearest +
                     ", expected asymmetric and floor");
  const Shape shape = ShapeMade(node, x.shape);
  const size_t channel = x.channel_axis();
  if (x.shape.size() < 3 || shape[0] != x.shape[0] || shape[channel] != x.shape[channel])
    Refuse(node, "resizes " + ShapeText(x.shape) + " to " + ShapeText(shape) +
                     ", expected more pixels of an image");
  int factors[2] = {1, 1};
  for (size_t axis = 1, i = x.shape.size() == 3 ? 1 : 0; axis < x.shape.size(); ++axis)
    if (axis != channel) factors[i++] = Int(shape[axis] / x.shape[axis]);
  GraphNode& y = AppendBlocks(node, GraphOp::kUpsample, &x, factors[0], factors[1]);
  y.factor_h = factors[0];
  y.factor_w = factors[1];
  x.shape = shape;
  Set(node, std::move(x));
}

void Lowering::DepthToSpace(const Node& node) {
  Traced x = In(node, 0);
  CheckUnpadded(node, x);
  const int64_t block = node.Int("blocksize", 0);
  const std::string mode = node.Text("mode", "DCR");
  if (mode != "DCR" && mode != "CRD")
    Refuse(node, "has the mode \"" + mode + "\", expected DCR or CRD");
  if (x.shape.size() != 4 || x.channels_last || block < 1 || block > 64 ||
      x.shape[1] % (block * block) != 0)
    Refuse(node, "makes blocks of " + std::to_string(block) + " of " + ShapeText(x.shape) +
                     ", expected an image whose channels that divides, twice");
  const int side = Int(block);
  GraphNode& y = AppendBlocks(node, GraphOp::kDepthToSpace, &x, side, side);
  y.channels /= side * side;
  y.block = side;
  y.channel_first = mode == "CRD";
  x.shape = {1, y.channels, y.height, y.width};
  Set(node, std::move(x));
}

}  // namespace lbrt::onnx
