#include "converter/onnx/lower.h"

#include <algorithm>
#include <cmath>

#include "converter/onnx/lowering.h"

namespace lbrt::onnx {
namespace {

bool IsEnding(const Node& node) {
  for (const char* op : {"Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "TopK"})
    if (node.op == op) return true;
  return false;
}

}  // namespace

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
  GraphNode& input = graph_.Append(GraphOp::kInput, port.name, {});
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
  GraphNode& affine = graph_.Append(GraphOp::kAffine, name, {x});
  const auto channels = static_cast<size_t>(affine.channels);
  affine.a = std::move(a);
  affine.b = std::move(b);
  if (affine.a.size() == 1) affine.a.resize(channels, affine.a[0]);
  if (affine.b.size() == 1) affine.b.resize(channels, affine.b[0]);
  for (const std::vector<float>* list : {&affine.a, &affine.b})
    for (const float number : *list)
      if (!std::isfinite(number))
        throw InputError("node \"" + name + "\"", "its scale or bias does not fit a float32");
  return graph_.last();
}

int Lowering::WholeNumbers(const Traced& codes) {
  const auto [entry, added] = whole_.try_emplace(codes.node, 0);
  if (!added) return entry->second;
  const std::string name = graph_.node(codes.node).name;
  graph_.Append(GraphOp::kDecode, name, {codes.node});
  if (codes.zero != 0) Affine(name, graph_.last(), {1}, {static_cast<float>(-codes.zero)});
  return entry->second = graph_.last();
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
    graph_.Append(GraphOp::kActivation, name, {node}).activation = activation;
    node = graph_.last();
  };
  for (const Step& step : chain.steps) {
    if (step.kind == Step::kRelu) {
      activate(Activation::kRelu);
      continue;
    }
    if (step.kind == Step::kPRelu) {
      flush();
      GraphNode& prelu = graph_.Append(GraphOp::kPRelu, name, {node});
      for (size_t c = 0; c < channels; ++c) prelu.a.push_back(static_cast<float>(step.a[c]));
      node = graph_.last();
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

// -------------------------------------------------------------------------------------- endings

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
