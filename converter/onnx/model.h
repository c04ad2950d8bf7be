// An ONNX file as plain values: a list of nodes, constants by name, one graph. What a node means:
// converter/onnx/interpret.h; what it becomes: converter/onnx/lower.h.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace lbrt::onnx {

using Shape = std::vector<int64_t>;

// Elements of a shape; throws InputError for negative sides and more than 2^26.
size_t Count(const Shape& shape);
std::string ShapeText(const Shape& shape);  // "1x3x32x32"

// A dense tensor of any number type, in row-major order.
struct Array {
  Shape shape;
  bool integers = false;       // an integer or bool type
  std::vector<double> values;  // floats are representable as float32
};

struct Attribute {
  std::vector<double> floats;  // of a float: one
  std::vector<int64_t> ints;   // of an integer: one
  std::string text;
  std::vector<Array> tensors;  // of a tensor: one
};

struct Node {
  std::string name, op, domain;
  std::vector<std::string> inputs;  // "" = not given
  std::vector<std::string> outputs;
  std::map<std::string, Attribute> attributes;

  // `node "conv1" (Conv)`, for messages; named by its first output where it has no name.
  std::string title() const;
  bool has(size_t input) const { return input < inputs.size() && !inputs[input].empty(); }
  int64_t Int(const std::string& attribute, int64_t absent) const;
  float Float(const std::string& attribute, float absent) const;
  std::vector<int64_t> Ints(const std::string& attribute, std::vector<int64_t> absent) const;
  std::string Text(const std::string& attribute, const std::string& absent) const;
  // The numbers of an input that gives sides, axes or places, those past int64 at its ends; throws
  // InputError where one is not whole.
  std::vector<int64_t> Integers(std::span<const double> input) const;
};

struct Port {
  std::string name;
  int64_t type = 0;  // TensorProto.DataType; 1 = float32
  Shape shape;       // -1 = a side without a number
};

struct Model {
  std::string producer;
  int64_t opset = 0;  // of the domain ""
  std::vector<Node> nodes;
  std::map<std::string, Array> constants;  // initializers
  std::vector<Port> inputs, outputs;       // inputs: without those that have an initializer
};

// Throws InputError, whose line begins with `name`: no ONNX file, cut off, data in other files,
// number types that are none, nodes that read what no node before them makes.
Model ReadModel(std::span<const uint8_t> bytes, const std::string& name);

}  // namespace lbrt::onnx
