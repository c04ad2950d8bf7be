// Steps on single values, and quantizers.
#include <algorithm>
#include <cmath>

#include "converter/onnx/lowering.h"

namespace lbrt::onnx {

// ---------------------------------------------------------------------------------- element-wise

void Lowering::AddStep(const Node& node, const Traced& x, const Step& step) {
  const bool keeps_zero =
      step.kind == Step::kMultiply || step.kind == Step::kDivide || step.kind == Step::kRelu;
  if (!keeps_zero) CheckUnpadded(node, x);
  if (x.kind == Traced::kCodes && (step.kind == Step::kMultiply || step.kind == Step::kDivide) &&
      step.a.single() && step.a[0] > 0) {
    Traced y = x;
    for (double& scale : y.scale.list)
      scale *= step.kind == Step::kMultiply ? step.a[0] : 1 / step.a[0];
    return Set(node, std::move(y));
  }
  if (x.kind == Traced::kCodes && step.kind == Step::kRelu && x.zero == 0 &&
      graph_.node(x.node).type == ValueType::kCode)
    return Set(node, x);
  Traced y = Real(x);
  y.chain.steps.push_back(step);
  Set(node, std::move(y));
}

void Lowering::AddValues(const Node& node, const Traced& a, const Traced& b, bool subtract) {
  if (a.shape != b.shape || a.channels_last != b.channels_last)
    Refuse(node, "has operands of " + ShapeText(a.shape) + " and " + ShapeText(b.shape) +
                     ", expected the same shape");
  CheckUnpadded(node, a);
  CheckUnpadded(node, b);
  Traced negated = Real(b);
  if (subtract) negated.chain.steps.push_back({Step::kMultiply, -1, {}, {}, {}});
  const int x = Float(a, NameOf(node)), y = Float(negated, NameOf(node));
  graph_.Append(GraphOp::kAdd, NameOf(node), {x, y});
  Traced sum;
  sum.kind = Traced::kReal;
  sum.shape = a.shape;
  sum.channels_last = a.channels_last;
  sum.chain.node = graph_.last();
  Set(node, std::move(sum));
}

void Lowering::Pairwise(const Node& node) {
  const Traced &a = In(node, 0), &b = In(node, 1);
  const bool first = a.kind == Traced::kConstant;
  if (!first && b.kind != Traced::kConstant) {
    if (node.op == "Add" || node.op == "Sub") return AddValues(node, a, b, node.op == "Sub");
    Refuse(node, "has two operands that depend on the input, expected a constant");
  }
  const Traced& x = first ? b : a;
  const Numbers numbers = PerChannel(node, (first ? a : b).constant, x.shape, x.channel_axis());
  if (numbers.list.size() != 1 && numbers.list.size() != Channels(x))
    Refuse(node, "has a number for each pixel of a flattened image, expected one a channel");
  Step step = {Step::kAdd, numbers, {}, {}, {}};
  if (node.op == "Mul") step.kind = Step::kMultiply;
  if (node.op == "Div") step.kind = Step::kDivide;
  if (node.op == "Sub" && first) step.kind = Step::kSubtractFrom;
  if (node.op == "Sub" && !first)
    for (double& n : step.a.list) n = -n;
  if (node.op == "Div" && first) Refuse(node, "divides a constant, expected to divide by one");
  if (step.kind == Step::kDivide)
    for (const double n : numbers.list)
      if (n == 0) Refuse(node, "divides by 0");
  AddStep(node, x, step);
}

void Lowering::Steps(const Node& node) {
  const Traced& x = In(node, 0);
  const size_t channels = Channels(x);
  if (node.op == "Relu") return AddStep(node, x, {Step::kRelu, {}, {}, {}, {}});
  if (node.op == "Neg") return AddStep(node, x, {Step::kMultiply, -1, {}, {}, {}});
  if (node.op == "LeakyRelu") {
    const double slope = static_cast<double>(node.Float("alpha", 0.01f));
    return AddStep(node, x, {Step::kPRelu, slope, {}, {}, {}});
  }
  if (node.op == "PRelu") {
    const Numbers slopes = PerChannel(node, ConstantIn(node, 1), x.shape, x.channel_axis());
    if (slopes.list.size() != 1 && slopes.list.size() != channels)
      Refuse(node, "has a slope for each pixel, expected one a channel");
    return AddStep(node, x, {Step::kPRelu, slopes, {}, {}, {}});
  }
  if (node.op == "Clip") {
    double least = static_cast<double>(node.Float("min", -INFINITY));
    double most = static_cast<double>(node.Float("max", INFINITY));
    for (size_t i = 1; i < 3; ++i)
      if (node.has(i)) (i == 1 ? least : most) = ConstantIn(node, i).values.at(0);
    if (least == 0 && std::isinf(most)) return AddStep(node, x, {Step::kRelu, {}, {}, {}, {}});
    if (!std::isfinite(least) || !std::isfinite(most) || !(least < most))
      Refuse(node, "expected a least and a greater most value");
    return AddStep(node, x, {Step::kClip, least, most, {}, {}});
  }
  // A batch normalisation: weight, bias, mean and variance.
  std::vector<double> numbers[4];
  for (size_t i = 0; i < 4; ++i) {
    numbers[i] = ConstantIn(node, i + 1).values;
    if (numbers[i].size() != channels || x.channel_axis() != 1)
      Refuse(node, "has " + std::to_string(numbers[i].size()) + " numbers for a value of " +
                       ShapeText(x.shape) + ", expected one a channel");
  }
  const double eps = static_cast<double>(node.Float("epsilon", 1e-5f));
  for (double& variance : numbers[3]) {
    if (!(variance + eps > 0)) Refuse(node, "has a variance that is not above 0");
    variance = std::sqrt(variance + eps);
  }
  AddStep(node, x,
          {Step::kBatchNorm, Numbers(numbers[2]), Numbers(numbers[3]), Numbers(numbers[0]),
           Numbers(numbers[1])});
}

// ------------------------------------------------------------------------------------ quantizers

Traced Lowering::Codes(const Node& node, const Traced& x, const Quantizer& q) {
  const std::string name = NameOf(node);
  const size_t channels = Channels(x);
  const Thresholds thresholds = FindThresholds(x.chain, q, channels, node.title());
  Traced codes;
  codes.kind = Traced::kCodes;
  codes.shape = x.shape;
  codes.channels_last = x.channels_last;
  codes.scale = q.scale;
  if (q.sign) {
    // Two levels apart, which are reached together.
    std::vector<float> b(thresholds.values.begin(),
                         thresholds.values.begin() + static_cast<ptrdiff_t>(channels));
    for (float& t : b) t = -t;
    const int z = Affine(name, x.chain.node, thresholds.direction, b);
    graph_.Append(GraphOp::kSign, name, {z}).type = ValueType::kSign;
    codes.node = graph_.last();
    return codes;
  }
  const CodeAffine affine = FindAffine(x.chain, q, thresholds, channels, node.title());
  const int levels = q.levels();
  if (affine.why.empty()) {
    const int z = Affine(name, x.chain.node, affine.a, affine.b);
    graph_.Append(GraphOp::kQuantize, name, {z});
    Say(node, "codes 0 to " + std::to_string(levels) + ", its scales fold exactly");
  } else {
    int z = x.chain.node;
    if (std::any_of(thresholds.direction.begin(), thresholds.direction.end(),
                    [](float d) { return d < 0; }))
      z = Affine(name, z, thresholds.direction, {0});
    graph_.Append(GraphOp::kThreshold, name, {z}).thresholds = thresholds.values;
    Say(node, "codes 0 to " + std::to_string(levels) + "; " + affine.why);
  }
  graph_.nodes.back().type = ValueType::kCode;
  graph_.nodes.back().levels = levels;
  codes.node = graph_.last();
  return codes;
}

void Lowering::Quantize(const Node& node) {
  const Traced x = Real(In(node, 0));
  std::vector<const Value*> constants;
  for (size_t i = 1; i < node.inputs.size(); ++i)
    constants.push_back(node.has(i) ? &ConstantIn(node, i) : nullptr);
  const bool flat = x.shape.size() == 2 && GraphNodeOf(x).height * GraphNodeOf(x).width > 1;
  size_t axis = x.channel_axis();
  if (node.op == "MultiThreshold" && x.shape.size() == 4 &&
      (node.Text("data_layout", "NCHW") == "NHWC") != x.channels_last)
    Refuse(node, "has another data_layout than its input");
  const Quantizer q = QuantizerOf(node, constants, x.shape, axis, x.chain, Channels(x));
  for (const Numbers* numbers : {&q.scale, &q.zero})
    if (flat && numbers->list.size() != 1)
      Refuse(node, "has a number for each pixel of a flattened image, expected one a channel");
  if (q.levels() < 1) Refuse(node, "makes one value only");
  if (x.padded()) {
    bool zero = x.chain.steps.empty() && x.chain.offset.single() && x.chain.offset[0] == 0;
    for (size_t c = 0; zero && c < Channels(x); ++c) zero = q.integer(0, c) == q.zero[c];
    if (!zero) Refuse(node, "follows a Pad and does not keep its zeros, expected a convolution");
  }
  Traced codes = Codes(node, x, q);
  codes.pad_top = x.pad_top;
  codes.pad_left = x.pad_left;
  codes.pad_bottom = x.pad_bottom;
  codes.pad_right = x.pad_right;
  if (q.sign && q.zero.single() && q.zero[0] == 0) return Set(node, std::move(codes));
  const double zero = q.zero[0] - (q.sign ? 0 : q.least);
  if (!q.sign && q.zero.single() && zero == std::floor(zero) && zero >= 0 && zero <= 255) {
    codes.zero = Int(static_cast<int64_t>(zero));
    return Set(node, std::move(codes));
  }
  // 0 is no code: (code + least - zero) * scale as a real number.
  Traced real = Real(codes);
  std::vector<double> offset;
  for (size_t c = 0; c < Channels(x); ++c)
    offset.push_back(((q.sign ? 0 : q.least) - q.zero[c]) * q.scale[c]);
  real.chain.offset = Numbers(std::move(offset));
  Say(node, "0 is none of its codes: what reads it computes in float32");
  Set(node, std::move(real));
}

}  // namespace lbrt::onnx
