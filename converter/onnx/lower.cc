#include "converter/onnx/lower.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "converter/onnx/layers.h"
#include "converter/onnx/quantizers.h"
#include "images/error.h"

namespace lbrt::onnx {
namespace {

// An ONNX value: a constant, codes of the graph, or a chain of steps.
struct Traced {
  enum Kind { kConstant, kCodes, kReal } kind = kConstant;
  Value constant;
  Shape shape;                 // of the ONNX value, its batch 1
  bool channels_last = false;  // four axes: NHWC; two: flattened from that
  // Zeros around it that the next convolution takes for its padding.
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  // kCodes: the value is (code - zero) * scale; of a kSign node, +-scale.
  int node = -1, zero = 0;
  Numbers scale = 1;
  Chain chain;  // kReal

  bool padded() const { return (pad_top | pad_left | pad_bottom | pad_right) != 0; }
  size_t channel_axis() const { return channels_last && shape.size() > 2 ? shape.size() - 1 : 1; }
};

int Int(int64_t n) { return static_cast<int>(n); }

bool IsEnding(const Node& node) {
  for (const char* op : {"Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "TopK"})
    if (node.op == op) return true;
  return false;
}

[[noreturn]] void Refuse(const Node& node, const std::string& what) {
  throw InputError(node.title(), what);
}

class Lowering {
 public:
  Lowering(const Model& model, std::vector<std::string>* lines) : model_(model), lines_(lines) {}

  Graph Run() {
    for (const auto& [name, array] : model_.constants) values_[name] = Constant(Value(array));
    AppendInput();
    for (const Node& node : model_.nodes) LowerNode(node);
    const std::string& output = model_.outputs.at(0).name;
    const Traced& x = values_.at(output);
    if (x.kind == Traced::kConstant)
      throw InputError("output \"" + output + "\"", "does not depend on the input");
    const int logits = Float(x, output);
    const GraphNode& last = graph_.node(logits);
    if (last.height != 1 || last.width != 1 || logits == 0)
      throw InputError("output \"" + output + "\"",
                       "is " + ShapeText(x.shape) + ", expected a row of logits, 1xCLASSES");
    graph_.output = logits;
    for (size_t i = 1; i < model_.outputs.size(); ++i) AddOutput(model_.outputs[i]);
    return std::move(graph_);
  }

 private:
  // One more, of any shape. An ending's are the logits that it is left out of.
  void AddOutput(const Port& port) {
    if (endings_.count(port.name) != 0) return;
    const auto found = values_.find(port.name);
    if (found == values_.end() || found->second.kind == Traced::kConstant)
      throw InputError("output \"" + port.name + "\"", "does not depend on the input");
    int value = Float(found->second, port.name);
    const std::vector<int>& others = graph_.more_outputs;
    if (value == 0 || value == graph_.output ||
        std::find(others.begin(), others.end(), value) != others.end())
      value = Affine(port.name, value, {1}, {0});
    graph_.more_outputs.push_back(value);
  }

  using Rule = void (Lowering::*)(const Node& node);
  static const std::map<std::string, Rule>& Rules();

  void AppendInput();
  bool InputIsFlat() const;
  void LowerNode(const Node& node);

  static Traced Constant(Value value) {
    Traced x;
    x.shape = value.shape;
    x.constant = std::move(value);
    return x;
  }
  const Traced& In(const Node& node, size_t i) const {
    if (!node.has(i)) Refuse(node, "has no input " + std::to_string(i) + ", expected one");
    const auto found = values_.find(node.inputs[i]);
    if (found == values_.end())
      Refuse(node, "reads \"" + node.inputs[i] + "\", expected a node's first output");
    return found->second;
  }
  const Value& ConstantIn(const Node& node, size_t i) const {
    const Traced& x = In(node, i);
    if (x.kind != Traced::kConstant)
      Refuse(node, "expected a constant as input " + std::to_string(i));
    return x.constant;
  }
  bool IsConstant(const Node& node, size_t i) const {
    return In(node, i).kind == Traced::kConstant;
  }
  void Set(const Node& node, Traced x) { values_[node.outputs.at(0)] = std::move(x); }
  void Say(const Node& node, const std::string& what) {
    if (lines_ != nullptr) lines_->push_back(node.title() + ": " + what);
  }

  GraphNode& Append(GraphOp op, const std::string& name, std::vector<int> inputs) {
    GraphNode node;
    node.op = op;
    node.name = name;
    if (!inputs.empty()) {
      const GraphNode& x = graph_.node(inputs[0]);
      node.height = x.height;
      node.width = x.width;
      node.channels = x.channels;
    }
    node.inputs = std::move(inputs);
    graph_.nodes.push_back(std::move(node));
    return graph_.nodes.back();
  }
  int Last() const { return Int(static_cast<int64_t>(graph_.nodes.size())) - 1; }
  static std::string NameOf(const Node& node) {
    return node.name.empty() ? node.outputs.at(0) : node.name;
  }
  const GraphNode& GraphNodeOf(const Traced& x) const {
    return graph_.node(x.kind == Traced::kCodes ? x.node : x.chain.node);
  }
  size_t Channels(const Traced& x) const { return static_cast<size_t>(GraphNodeOf(x).channels); }

  int Affine(const std::string& name, int x, std::vector<float> a, std::vector<float> b);
  int WholeNumbers(const Traced& codes);  // code - zero, as floats
  Traced Real(const Traced& x);           // as a chain
  int Float(const Traced& x, const std::string& name);
  void CheckUnpadded(const Node& node, const Traced& x) const {
    if (x.padded()) Refuse(node, "follows a Pad, expected a convolution there");
  }

  // One a group of operators.
  void Pass(const Node& node) { Set(node, In(node, 0)); }
  void ShapeNode(const Node& node);
  void Reshape(const Node& node);
  void Transpose(const Node& node);
  void Pad(const Node& node);
  void Pairwise(const Node& node);
  void Steps(const Node& node);
  void Quantize(const Node& node);
  void Convolution(const Node& node);
  void Dense(const Node& node);
  void MaxPool(const Node& node);
  void AveragePool(const Node& node);
  void Concat(const Node& node);
  void Upsample(const Node& node);
  void DepthToSpace(const Node& node);
  void Ending(const Node& node);

  void AddStep(const Node& node, const Traced& x, const Step& step);
  void AddValues(const Node& node, const Traced& a, const Traced& b, bool subtract);
  Traced Codes(const Node& node, const Traced& x, const Quantizer& quantizer);
  void Layer(const Node& node, const Traced& x, const LayerWeights& weights, Numbers bias,
             Shape shape, bool channels_last);
  lbrt::Window WindowOf(const Node& node, const Traced& x, std::vector<int64_t> kernel,
                        bool* cut) const;
  Traced Pooled(const Traced& x, int pool) const;
  static bool MeansTheSame(const Traced& x);
  GraphNode& AppendBlocks(const Node& node, GraphOp op, Traced* x, int block_h, int block_w);

  const Model& model_;
  std::vector<std::string>* lines_;
  std::map<std::string, Traced> values_;
  std::set<std::string> endings_;  // outputs of nodes that are left out
  std::map<int, int> whole_;  // WholeNumbers, by node of codes
  Graph graph_;
};

const std::map<std::string, Lowering::Rule>& Lowering::Rules() {
  static const std::map<std::string, Rule> kRules = {
      {"Identity", &Lowering::Pass},
      {"Dropout", &Lowering::Pass},
      {"Cast", &Lowering::Pass},
      {"Shape", &Lowering::ShapeNode},
      {"Reshape", &Lowering::Reshape},
      {"Flatten", &Lowering::Reshape},
      {"Squeeze", &Lowering::Reshape},
      {"Unsqueeze", &Lowering::Reshape},
      {"Transpose", &Lowering::Transpose},
      {"Pad", &Lowering::Pad},
      {"Add", &Lowering::Pairwise},
      {"Sub", &Lowering::Pairwise},
      {"Mul", &Lowering::Pairwise},
      {"Div", &Lowering::Pairwise},
      {"Neg", &Lowering::Steps},
      {"Relu", &Lowering::Steps},
      {"Clip", &Lowering::Steps},
      {"LeakyRelu", &Lowering::Steps},
      {"PRelu", &Lowering::Steps},
      {"BatchNormalization", &Lowering::Steps},
      {"Conv", &Lowering::Convolution},
      {"Gemm", &Lowering::Dense},
      {"MatMul", &Lowering::Dense},
      {"MaxPool", &Lowering::MaxPool},
      {"AveragePool", &Lowering::AveragePool},
      {"GlobalAveragePool", &Lowering::AveragePool},
      {"ReduceMean", &Lowering::AveragePool},
      {"Concat", &Lowering::Concat},
      {"Resize", &Lowering::Upsample},
      {"Upsample", &Lowering::Upsample},
      {"DepthToSpace", &Lowering::DepthToSpace},
      {"Softmax", &Lowering::Ending},
      {"LogSoftmax", &Lowering::Ending},
      {"Sigmoid", &Lowering::Ending},
      {"ArgMax", &Lowering::Ending},
      {"TopK", &Lowering::Ending},
  };
  return kRules;
}

// ------------------------------------------------------------------------------------- the walk

// Whether all that reads the input flattens it, be it after steps that have one number for all.
bool Lowering::InputIsFlat() const {
  static const std::set<std::string> kStepsOfOne = {"Identity", "Dropout", "Cast",     "Add",
                                                    "Sub",      "Mul",     "Div",      "Neg",
                                                    "Relu",     "Clip",    "LeakyRelu"};
  std::set<std::string> images = {model_.inputs[0].name};
  for (const Node& node : model_.nodes) {
    bool reads = false, single = true;
    for (const std::string& input : node.inputs) {
      if (images.count(input) != 0) {
        reads = true;
        continue;
      }
      const auto constant = values_.find(input);
      single = single && (input.empty() || (constant != values_.end() &&
                                            constant->second.constant.values.size() == 1));
    }
    if (!reads || node.op == "Shape" || node.op == "Flatten" || node.op == "Reshape") continue;
    if (!single || node.outputs.empty() || (kStepsOfOne.count(node.op) == 0 && !IsQuantizer(node)))
      return false;
    images.insert(node.outputs[0]);
  }
  return true;
}

void Lowering::AppendInput() {
  if (model_.inputs.size() != 1)
    throw InputError("the graph",
                     "has " + std::to_string(model_.inputs.size()) + " inputs, expected one");
  const Port& port = model_.inputs[0];
  const std::string where = "input \"" + port.name + "\"";
  if (port.type != 1)
    throw InputError(where, "has the type " + std::to_string(port.type) + ", expected 1 (float32)");
  Shape shape = port.shape;
  if (shape.size() < 2 || shape.size() > 4 || shape[0] > 1)
    throw InputError(where, "is " + ShapeText(shape) + ", expected 1xN or 1xCxHxW");
  shape[0] = 1;
  Count(shape);
  for (const int64_t side : shape)
    if (side < 1 || side > 65535)
      throw InputError(where, "is " + ShapeText(shape) + ", expected sides of 1 to 65535");
  GraphNode& input = Append(GraphOp::kInput, port.name, {});
  input.channels = Int(shape[1]);
  if (shape.size() == 3) input.width = Int(shape[2]);
  if (shape.size() == 4) {
    input.height = Int(shape[2]);
    input.width = Int(shape[3]);
  }
  if (shape.size() > 2 && InputIsFlat()) {
    input.channels = Int(static_cast<int64_t>(Count(shape)));
    input.height = input.width = 1;
  }
  Traced x;
  x.kind = Traced::kReal;
  x.shape = shape;
  x.chain.node = 0;
  values_[port.name] = std::move(x);
}

void Lowering::LowerNode(const Node& node) {
  if (node.outputs.empty()) return;
  bool constant = true;
  std::vector<const Value*> inputs;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Traced* x = node.has(i) ? &In(node, i) : nullptr;
    constant = constant && (x == nullptr || x->kind == Traced::kConstant);
    inputs.push_back(x == nullptr ? nullptr : &x->constant);
  }
  const bool reads = node.has(0);
  if (!constant && !reads) Refuse(node, "has no input 0, expected one");
  const bool pairwise = Rules().count(node.op) != 0 && Rules().at(node.op) == &Lowering::Pairwise;
  if (!constant && !pairwise && IsConstant(node, 0))
    Refuse(node, "has a constant as input 0, expected a value that depends on the graph's input");
  if (IsQuantizer(node)) {
    if (!constant || !reads) return Quantize(node);
    return Set(node, Constant(QuantizeConstant(node, inputs)));
  }
  if (constant) return Set(node, Constant(Evaluate(node, inputs, model_.opset)));
  const auto rule = Rules().find(node.op);
  if (rule == Rules().end() || !(node.domain.empty() || node.domain == "ai.onnx"))
    Refuse(node, "is an operator that is not supported" +
                     (node.domain.empty() ? "" : ", of the domain " + node.domain));
  (this->*rule->second)(node);
}

// ---------------------------------------------------------------------------------------- values

int Lowering::Affine(const std::string& name, int x, std::vector<float> a, std::vector<float> b) {
  GraphNode& affine = Append(GraphOp::kAffine, name, {x});
  const auto channels = static_cast<size_t>(affine.channels);
  affine.a = std::move(a);
  affine.b = std::move(b);
  if (affine.a.size() == 1) affine.a.resize(channels, affine.a[0]);
  if (affine.b.size() == 1) affine.b.resize(channels, affine.b[0]);
  for (const std::vector<float>* list : {&affine.a, &affine.b})
    for (const float number : *list)
      if (!std::isfinite(number))
        throw InputError("node \"" + name + "\"", "its scale or bias does not fit a float32");
  return Last();
}

int Lowering::WholeNumbers(const Traced& codes) {
  const auto [entry, added] = whole_.try_emplace(codes.node, 0);
  if (!added) return entry->second;
  const std::string name = graph_.node(codes.node).name;
  Append(GraphOp::kDecode, name, {codes.node});
  if (codes.zero != 0) Affine(name, Last(), {1}, {static_cast<float>(-codes.zero)});
  return entry->second = Last();
}

Traced Lowering::Real(const Traced& x) {
  if (x.kind != Traced::kCodes) return x;
  Traced real = x;
  real.kind = Traced::kReal;
  const GraphNode& from = graph_.node(x.node);
  const bool sign = from.type == ValueType::kSign;
  real.chain.integers = true;
  real.chain.least = sign ? -1 : -x.zero;
  real.chain.most = sign ? 1 : from.levels - x.zero;
  real.chain.unit = x.scale;
  real.chain.node = WholeNumbers(x);
  return real;
}

// Steps are joined to affines, whose numbers are computed in double and rounded once.
int Lowering::Float(const Traced& traced, const std::string& name) {
  if (traced.padded())
    throw InputError("node \"" + name + "\"", "follows a Pad, expected a convolution there");
  const Traced real = Real(traced);
  const Chain& chain = real.chain;
  const size_t channels = Channels(real);
  int node = chain.node;
  std::vector<double> a(channels), b(channels);
  for (size_t c = 0; c < channels; ++c) {
    a[c] = chain.unit[c] / static_cast<double>(chain.factor);
    b[c] = chain.offset[c];
  }
  const auto flush = [&] {
    const bool same = std::all_of(a.begin(), a.end(), [](double v) { return v == 1; }) &&
                      std::all_of(b.begin(), b.end(), [](double v) { return v == 0; });
    if (!same || graph_.node(node).type != ValueType::kF32)
      node = Affine(name, node, {a.begin(), a.end()}, {b.begin(), b.end()});
    a.assign(channels, 1);
    b.assign(channels, 0);
  };
  const auto activate = [&](Activation activation) {
    flush();
    Append(GraphOp::kActivation, name, {node}).activation = activation;
    node = Last();
  };
  for (const Step& step : chain.steps) {
    if (step.kind == Step::kRelu) {
      activate(Activation::kRelu);
      continue;
    }
    if (step.kind == Step::kPRelu) {
      flush();
      GraphNode& prelu = Append(GraphOp::kPRelu, name, {node});
      for (size_t c = 0; c < channels; ++c) prelu.a.push_back(static_cast<float>(step.a[c]));
      node = Last();
      continue;
    }
    for (size_t c = 0; c < channels; ++c) {
      const double p = step.a[c];
      switch (step.kind) {
        case Step::kAdd:
          b[c] += p;
          break;
        case Step::kSubtractFrom:
          a[c] = -a[c];
          b[c] = p - b[c];
          break;
        case Step::kMultiply:
          a[c] *= p;
          b[c] *= p;
          break;
        case Step::kDivide:
          a[c] /= p;
          b[c] /= p;
          break;
        case Step::kBatchNorm: {
          const double factor = step.c[c] / step.b[c];
          a[c] *= factor;
          b[c] = (b[c] - p) * factor + step.d[c];
          break;
        }
        case Step::kClip: {  // to [0, 1] of the interval
          const double size = step.b[c] - p;
          a[c] /= size;
          b[c] = (b[c] - p) / size;
          break;
        }
        default:
          break;
      }
    }
    if (step.kind != Step::kClip) continue;
    activate(Activation::kClipUnit);
    for (size_t c = 0; c < channels; ++c) {
      a[c] = step.b[c] - step.a[c];
      b[c] = step.a[c];
    }
  }
  flush();
  return node;
}

// ---------------------------------------------------------------------------------------- shapes

void Lowering::ShapeNode(const Node& node) {
  const Traced& x = In(node, 0);
  Value shape;
  shape.integers = true;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    const bool height = x.shape.size() == 4 && i == (x.channels_last ? 1u : 2u);
    const bool width = x.shape.size() == 4 && i == (x.channels_last ? 2u : 3u);
    shape.values.push_back(static_cast<double>(x.shape[i] +
                                               (height ? x.pad_top + x.pad_bottom : 0) +
                                               (width ? x.pad_left + x.pad_right : 0)));
  }
  shape.shape = {static_cast<int64_t>(shape.values.size())};
  Set(node, Constant(std::move(shape)));
}

// Reshape, Flatten, Squeeze and Unsqueeze: between an image and its flattened form, or adding and
// dropping sides of 1.
void Lowering::Reshape(const Node& node) {
  Traced x = In(node, 0);
  CheckUnpadded(node, x);
  // The shape that the operator makes, from a value of the same shape.
  Value empty;
  empty.shape = x.shape;
  empty.values.resize(Count(x.shape));
  std::vector<const Value*> inputs = {&empty};
  for (size_t i = 1; i < node.inputs.size(); ++i)
    inputs.push_back(node.has(i) ? &ConstantIn(node, i) : nullptr);
  const Shape shape = Evaluate(node, inputs, model_.opset).shape;

  const GraphNode& from = GraphNodeOf(x);
  const Shape image = x.channels_last ? Shape{1, from.height, from.width, from.channels}
                                      : Shape{1, from.channels, from.height, from.width};
  const bool flat = shape.size() == 2 && shape[0] == 1;
  const bool row = shape.size() == 3 && !x.channels_last && from.height == 1 &&
                   shape == Shape{1, from.channels, from.width};
  const bool vector = from.height == 1 && from.width == 1 && shape.size() > 2 && shape[0] == 1 &&
                      shape[1] == from.channels &&
                      Count(shape) == static_cast<size_t>(from.channels);
  if (!flat && !row && !vector && shape != image)
    Refuse(node, "reshapes " + ShapeText(x.shape) + " to " + ShapeText(shape) +
                     ", expected a flattened image, or sides of 1 to come or go");
  if (vector) x.channels_last = false;
  x.shape = shape;
  Set(node, std::move(x));
}

void Lowering::Transpose(const Node& node) {
  Traced x = In(node, 0);
  CheckUnpadded(node, x);
  const std::vector<int64_t> order = node.Ints("perm", {});
  const bool to_last = order == std::vector<int64_t>{0, 2, 3, 1};
  const bool to_first = order == std::vector<int64_t>{0, 3, 1, 2};
  if (x.shape.size() != 4 || !(x.channels_last ? to_first : to_last))
    Refuse(node, "transposes " + ShapeText(x.shape) +
                     ", expected channels to go behind the pixels, or back");
  x.channels_last = to_last;
  Shape shape;
  for (const int64_t axis : order) shape.push_back(x.shape[static_cast<size_t>(axis)]);
  x.shape = shape;
  Set(node, std::move(x));
}

void Lowering::Pad(const Node& node) {
  Traced x = In(node, 0);
  std::vector<int64_t> pads = node.Ints("pads", {});
  if (node.has(1)) {
    pads.clear();
    for (const double p : ConstantIn(node, 1).values) pads.push_back(static_cast<int64_t>(p));
  }
  double fill = static_cast<double>(node.Float("value", 0));
  if (node.has(2) && !ConstantIn(node, 2).values.empty()) fill = ConstantIn(node, 2).values[0];
  if (node.Text("mode", "constant") != "constant" || fill != 0 || x.shape.size() != 4 ||
      pads.size() != 8 || node.has(3))
    Refuse(node, "expected zeros around the pixels of an image, 1xCxHxW");
  const size_t h = x.channels_last ? 1 : 2;
  for (size_t i = 0; i < 8; ++i)
    if (pads[i] < 0 || pads[i] > 255 || (pads[i] != 0 && i % 4 != h && i % 4 != h + 1))
      Refuse(node, "expected zeros around the pixels of an image, at most 255");
  x.pad_top += Int(pads[h]);
  x.pad_left += Int(pads[h + 1]);
  x.pad_bottom += Int(pads[h + 4]);
  x.pad_right += Int(pads[h + 5]);
  Set(node, std::move(x));
}

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
  Append(GraphOp::kAdd, NameOf(node), {x, y});
  Traced sum;
  sum.kind = Traced::kReal;
  sum.shape = a.shape;
  sum.channels_last = a.channels_last;
  sum.chain.node = Last();
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
    Append(GraphOp::kSign, name, {z}).type = ValueType::kSign;
    codes.node = Last();
    return codes;
  }
  const CodeAffine affine = FindAffine(x.chain, q, thresholds, channels, node.title());
  const int levels = q.levels();
  if (affine.why.empty()) {
    const int z = Affine(name, x.chain.node, affine.a, affine.b);
    Append(GraphOp::kQuantize, name, {z});
    Say(node, "codes 0 to " + std::to_string(levels) + ", its scales fold exactly");
  } else {
    int z = x.chain.node;
    if (std::any_of(thresholds.direction.begin(), thresholds.direction.end(),
                    [](float d) { return d < 0; }))
      z = Affine(name, z, thresholds.direction, {0});
    Append(GraphOp::kThreshold, name, {z}).thresholds = thresholds.values;
    Say(node, "codes 0 to " + std::to_string(levels) + "; " + affine.why);
  }
  graph_.nodes.back().type = ValueType::kCode;
  graph_.nodes.back().levels = levels;
  codes.node = Last();
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

// ---------------------------------------------------------------------------------------- layers

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
  GraphNode& conv = Append(GraphOp::kConv, NameOf(node), {from});
  conv.window = weights.window;
  conv.height = OutputHeight(conv.window, conv.height);
  conv.width = OutputWidth(conv.window, conv.width);
  conv.channels = weights.outputs;
  conv.groups = weights.groups;
  if (codes) conv.zero = x.zero;
  SetWeights(std::move(list), graph_.node(from).type, &conv);
  y.chain.node = Last();
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

// --------------------------------------------------------------------------------------- pooling

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
  GraphNode& pool = Append(GraphOp::kMaxPool, name, {from});
  pool.type = graph_.node(from).type;
  pool.levels = graph_.node(from).levels;
  pool.window = window;
  pool.height = OutputHeight(window, pool.height);
  pool.width = OutputWidth(window, pool.width);
  Set(node, Pooled(x, Last()));
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
    if (node.has(1))
      for (const double axis : ConstantIn(node, 1).values)
        axes.push_back(static_cast<int64_t>(axis));
    std::set<int64_t> wanted, named;
    for (int64_t i = 2; i < static_cast<int64_t>(x.shape.size()); ++i) wanted.insert(i);
    for (int64_t axis : axes)
      named.insert(axis < 0 ? axis + static_cast<int64_t>(x.shape.size()) : axis);
    if (named != wanted) Refuse(node, "averages other axes than the pixels");
    keeps = node.Int("keepdims", 1) != 0;
  }
  const bool exact = x.kind == Traced::kCodes;
  const int input = exact ? WholeNumbers(x) : Float(x, NameOf(node));
  GraphNode& pool = Append(GraphOp::kAvgPool, NameOf(node), {input});
  pool.window = window;
  pool.height = OutputHeight(window, pool.height);
  pool.width = OutputWidth(window, pool.width);
  Traced y = exact ? Real(x) : x;
  y.chain = exact ? y.chain : Chain();
  y = Pooled(y, Last());
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
  GraphNode& concat = Append(GraphOp::kConcat, NameOf(node), inputs);
  concat.channels = channels;
  concat.type = graph_.node(inputs[0]).type;
  concat.levels = graph_.node(inputs[0]).levels;
  if (codes) {
    y.node = Last();
  } else {
    y.kind = Traced::kReal;
    y.chain = Chain();
    y.chain.node = Last();
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
  GraphNode& y = Append(op, NameOf(node), {from});
  y.type = graph_.node(from).type;
  y.levels = graph_.node(from).levels;
  y.height *= block_h;
  y.width *= block_w;
  (x->kind == Traced::kCodes ? x->node : x->chain.node) = Last();
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
  // The shape that the operator makes, from a value of the same shape.
  Value empty;
  empty.shape = x.shape;
  empty.values.resize(Count(x.shape));
  std::vector<const Value*> inputs = {&empty};
  for (size_t i = 1; i < node.inputs.size(); ++i)
    inputs.push_back(node.has(i) ? &ConstantIn(node, i) : nullptr);
  const Shape shape = Evaluate(node, inputs, model_.opset).shape;
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

// What only ranks classes, or makes probabilities of logits, is left out at the end.
void Lowering::Ending(const Node& node) {
  const bool end = std::any_of(model_.outputs.begin(), model_.outputs.end(), [&](const Port& port) {
    return std::find(node.outputs.begin(), node.outputs.end(), port.name) != node.outputs.end();
  });
  if (!end) Refuse(node, "is only supported where it is the graph's output");
  Say(node, "left out: the model's outputs are the logits before it");
  for (const std::string& output : node.outputs) {
    if (output.empty()) continue;
    values_[output] = In(node, 0);
    endings_.insert(output);
  }
}

}  // namespace

std::string LogitsOf(const Model& model) {
  std::string name = model.outputs.at(0).name;
  for (auto node = model.nodes.rbegin(); node != model.nodes.rend(); ++node)
    if (IsEnding(*node) &&
        std::find(node->outputs.begin(), node->outputs.end(), name) != node->outputs.end())
      name = node->inputs.at(0);
  return name;
}

Graph Lower(const Model& model, std::vector<std::string>* lines) {
  if (model.outputs.empty()) throw InputError("the graph", "has no output, expected one");
  return Lowering(model, lines).Run();
}

}  // namespace lbrt::onnx
