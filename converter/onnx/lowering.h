// The lowering's state and rules; each group of operators has a file lower_*.cc.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "converter/onnx/layers.h"
#include "converter/onnx/quantizers.h"
#include "images/error.h"

namespace lbrt::onnx {

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

inline int Int(int64_t n) { return static_cast<int>(n); }

[[noreturn]] inline void Refuse(const Node& node, const std::string& what) {
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
  Shape ShapeMade(const Node& node, const Shape& shape) const;
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

}  // namespace lbrt::onnx
