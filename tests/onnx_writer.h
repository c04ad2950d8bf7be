// Writes ONNX files, for tests: nodes, attributes, initializers, as onnx.proto numbers them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace lbrt {

// One message of the wire format in the making.
struct Message {
  std::string bytes;

  void Number(uint64_t n) {
    for (; n >= 0x80; n >>= 7) bytes += static_cast<char>(n | 0x80);
    bytes += static_cast<char>(n);
  }
  void Integer(int field, int64_t n) {
    Number(static_cast<uint64_t>(field) << 3);
    Number(static_cast<uint64_t>(n));
  }
  void Text(int field, const std::string& text) {
    Number(static_cast<uint64_t>(field) << 3 | 2);
    Number(text.size());
    bytes += text;
  }
  void Float(int field, float value) {
    Number(static_cast<uint64_t>(field) << 3 | 5);
    bytes.append(reinterpret_cast<const char*>(&value), 4);
  }
};

struct OnnxAttribute {
  std::string message;
};
inline OnnxAttribute Int(const std::string& name, int64_t value) {
  Message m;
  m.Text(1, name);
  m.Integer(3, value);
  m.Integer(20, 2);
  return {m.bytes};
}
inline OnnxAttribute Ints(const std::string& name, const std::vector<int64_t>& values) {
  Message m, packed;
  m.Text(1, name);
  for (const int64_t value : values) packed.Number(static_cast<uint64_t>(value));
  m.Text(8, packed.bytes);
  m.Integer(20, 7);
  return {m.bytes};
}
inline OnnxAttribute Real(const std::string& name, float value) {
  Message m;
  m.Text(1, name);
  m.Float(2, value);
  m.Integer(20, 1);
  return {m.bytes};
}
inline OnnxAttribute Text(const std::string& name, const std::string& value) {
  Message m;
  m.Text(1, name);
  m.Text(4, value);
  m.Integer(20, 3);
  return {m.bytes};
}

class OnnxWriter {
 public:
  static constexpr const char* kQonnx = "qonnx.custom_op.general";

  // A float32 input; -1 is a side without a number.
  std::string Input(const std::string& name, const std::vector<int64_t>& shape, int type = 1) {
    graph_.Text(11, Port(name, shape, type));
    return name;
  }
  void Output(const std::string& name) { graph_.Text(12, Port(name, {}, 1)); }

  std::string Constant(const std::vector<int64_t>& shape, const std::vector<float>& values) {
    Message m;
    for (const int64_t side : shape) m.Integer(1, side);
    m.Integer(2, 1);
    const std::string name = NewName("c");
    m.Text(8, name);
    m.Text(9, std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4));
    graph_.Text(5, m.bytes);
    return name;
  }
  std::string Scalar(float value) { return Constant({}, {value}); }
  std::string Integers(const std::vector<int64_t>& values) {
    Message m, packed;
    m.Integer(1, static_cast<int64_t>(values.size()));
    m.Integer(2, 7);
    for (const int64_t value : values) packed.Number(static_cast<uint64_t>(value));
    m.Text(7, packed.bytes);
    const std::string name = NewName("i");
    m.Text(8, name);
    graph_.Text(5, m.bytes);
    return name;
  }
  // An initializer as a whole message but for its name.
  std::string Initializer(Message m) {
    const std::string name = NewName("t");
    m.Text(8, name);
    graph_.Text(5, m.bytes);
    return name;
  }

  // Appends a node, named like its output, which is returned.
  std::string Node(const std::string& op, const std::vector<std::string>& inputs,
                   const std::vector<OnnxAttribute>& attributes = {},
                   const std::string& domain = "") {
    Message m;
    const std::string name = NewName(op);
    for (const std::string& input : inputs) m.Text(1, input);
    m.Text(2, name);
    m.Text(3, name);
    m.Text(4, op);
    for (const OnnxAttribute& attribute : attributes) m.Text(5, attribute.message);
    if (!domain.empty()) m.Text(7, domain);
    graph_.Text(1, m.bytes);
    return name;
  }

  std::string Quant(const std::string& x, const std::string& scale, float zero, float bits,
                    bool is_signed, bool narrow, const std::string& rounding = "ROUND",
                    const std::string& domain = kQonnx) {
    return Node("Quant", {x, scale, Scalar(zero), Scalar(bits)},
                {Int("signed", is_signed), Int("narrow", narrow), Text("rounding_mode", rounding)},
                domain);
  }
  std::string Bipolar(const std::string& x, float scale) {
    return Node("BipolarQuant", {x, Scalar(scale)}, {}, kQonnx);
  }

  std::vector<uint8_t> Bytes(const std::string& extra = "") const {
    Message model, opset;
    model.Integer(1, 8);
    model.Text(2, "lbrt tests");
    model.Text(7, graph_.bytes);
    opset.Integer(2, 13);
    model.Text(8, opset.bytes);
    model.bytes += extra;
    return std::vector<uint8_t>(model.bytes.begin(), model.bytes.end());
  }

 private:
  std::string NewName(const std::string& prefix) { return prefix + std::to_string(++names_); }

  static std::string Port(const std::string& name, const std::vector<int64_t>& shape, int type) {
    Message port, value, tensor, sides;
    for (const int64_t side : shape) {
      Message dim;
      if (side >= 0)
        dim.Integer(1, side);
      else
        dim.Text(2, "batch");
      sides.Text(1, dim.bytes);
    }
    tensor.Integer(1, type);
    if (!shape.empty()) tensor.Text(2, sides.bytes);
    value.Text(1, tensor.bytes);
    port.Text(1, name);
    port.Text(2, value.bytes);
    return port.bytes;
  }

  Message graph_;
  int names_ = 0;
};

}  // namespace lbrt
