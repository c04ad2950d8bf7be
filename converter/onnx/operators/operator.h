// What an ONNX operator is to the interpreter: a function of its node and inputs. A group of
// operators has a file, and a list in it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "converter/onnx/interpret.h"
#include "images/error.h"

namespace lbrt::onnx::operators {

struct Call {
  const Node& node;
  const Inputs& inputs;
  int64_t opset;

  [[noreturn]] void Refuse(const std::string& what) const { throw InputError(node.title(), what); }
  const Value& in(size_t i) const {
    if (i >= inputs.size() || inputs[i] == nullptr)
      Refuse("has no input " + std::to_string(i) + ", expected one");
    return *inputs[i];
  }
  bool has(size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
  double number(size_t i) const {
    if (in(i).values.size() != 1)
      Refuse("input " + std::to_string(i) + " is " + ShapeText(in(i).shape) +
             ", expected one number");
    return in(i).values[0];
  }
  std::vector<int64_t> integers(size_t i) const { return node.Integers(in(i).values); }
  size_t axis(int64_t axis, size_t rank) const {
    if (axis < 0) axis += static_cast<int64_t>(rank);
    if (axis < 0 || axis >= static_cast<int64_t>(rank))
      Refuse("has no axis " + std::to_string(axis) + " of " + std::to_string(rank));
    return static_cast<size_t>(axis);
  }
};

struct Operator {
  const char* op;
  Value (*evaluate)(const Call& call);
};
std::span<const Operator> Quantizers();
std::span<const Operator> Products();
std::span<const Operator> Elementwise();
std::span<const Operator> Poolings();
std::span<const Operator> Places();

inline double ToFloat(double x) { return static_cast<double>(static_cast<float>(x)); }

}  // namespace lbrt::onnx::operators
