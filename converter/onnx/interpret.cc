#include "converter/onnx/interpret.h"

#include <optional>

#include "converter/onnx/operators/operator.h"

namespace lbrt::onnx {

bool IsQuantizerDomain(const std::string& domain) {
  return domain.empty() || domain == "qonnx.custom_op.general" || domain == "onnx.brevitas" ||
         domain == "finn.custom_op.general";
}

Value Evaluate(const Node& node, const Inputs& inputs, int64_t opset) {
  const auto evaluate = [&](std::span<const operators::Operator> list) -> std::optional<Value> {
    for (const operators::Operator& entry : list)
      if (node.op == entry.op) return entry.evaluate({node, inputs, opset});
    return std::nullopt;
  };
  if (IsQuantizerDomain(node.domain))
    if (std::optional<Value> y = evaluate(operators::Quantizers())) return *std::move(y);
  if (node.domain.empty() || node.domain == "ai.onnx")
    for (const auto& group : {operators::Products(), operators::Elementwise(),
                              operators::Poolings(), operators::Places()})
      if (std::optional<Value> y = evaluate(group)) return *std::move(y);
  throw InputError(node.title(), "is an operator that is not supported" +
                                     (node.domain.empty() ? "" : ", of the domain " + node.domain));
}

std::map<std::string, Value> Interpret(const Model& model, const Array& input) {
  std::map<std::string, Value> values;
  for (const auto& [name, array] : model.constants) values[name] = Value(array);
  if (model.inputs.size() != 1)
    throw InputError("the graph",
                     "has " + std::to_string(model.inputs.size()) + " inputs, expected one");
  values[model.inputs[0].name] = Value(input);
  for (const Node& node : model.nodes) {
    Inputs inputs;
    for (const std::string& name : node.inputs) {
      if (!name.empty() && values.count(name) == 0)
        throw InputError(node.title(), "reads \"" + name + "\", expected a node's first output");
      inputs.push_back(name.empty() ? nullptr : &values.at(name));
    }
    if (!node.outputs.empty()) values[node.outputs[0]] = Evaluate(node, inputs, model.opset);
  }
  return values;
}

}  // namespace lbrt::onnx
