// ModelProto and what it holds; field numbers are those of onnx.proto, whose messages name them.
#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "converter/onnx/model.h"
#include "converter/onnx/wire.h"
#include "images/error.h"

namespace lbrt::onnx {
namespace {

constexpr size_t kMostElements = size_t{1} << 26;

enum DataType : int64_t {
  kFloat = 1,
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kInt32,
  kInt64,
  kBool = 9,
  kFloat16,
  kDouble,
  kUint32,
  kUint64,
  kBfloat16 = 16,
};

// Bytes of an element in raw_data; 0: no type of numbers that is read here.
size_t ElementSize(int64_t type) {
  switch (type) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
    case kFloat16:
    case kBfloat16:
      return 2;
    case kFloat:
    case kInt32:
    case kUint32:
      return 4;
    case kInt64:
    case kDouble:
    case kUint64:
      return 8;
    default:
      return 0;
  }
}

bool IsReal(int64_t type) {
  return type == kFloat || type == kDouble || type == kFloat16 || type == kBfloat16;
}

double HalfToDouble(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  double value = exponent == 0    ? std::ldexp(fraction, -24)
                 : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                  : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -value : value;
}

double BfloatToDouble(uint16_t bits) {
  return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(bits) << 16));
}

template <typename T>
double As(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return static_cast<double>(value);
}
uint16_t Bits16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

double RawElement(int64_t type, const uint8_t* bytes) {
  switch (type) {
    case kFloat:
      return As<float>(bytes);
    case kUint8:
      return As<uint8_t>(bytes);
    case kInt8:
      return As<int8_t>(bytes);
    case kUint16:
      return As<uint16_t>(bytes);
    case kInt16:
      return As<int16_t>(bytes);
    case kInt32:
      return As<int32_t>(bytes);
    case kInt64:
      return As<int64_t>(bytes);
    case kBool:
      return *bytes != 0;
    case kFloat16:
      return HalfToDouble(Bits16(bytes));
    case kDouble:
      return As<double>(bytes);
    case kUint32:
      return As<uint32_t>(bytes);
    case kUint64:
      return As<uint64_t>(bytes);
    default:
      return BfloatToDouble(Bits16(bytes));
  }
}

// int32_data holds the smaller types: halves as their bits, signed ones sign-extended.
double ListedElement(int64_t type, int64_t element) {
  switch (type) {
    case kFloat16:
      return HalfToDouble(static_cast<uint16_t>(element));
    case kBfloat16:
      return BfloatToDouble(static_cast<uint16_t>(element));
    case kUint64:
      return static_cast<double>(static_cast<uint64_t>(element));
    default:
      return static_cast<double>(element);
  }
}

class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  Model Run(std::span<const uint8_t> bytes) {
    bool graph = false;
    for (WireReader in(bytes, file_); in.Next();) {
      if (in.field() == 2) model_.producer = in.Text();
      if (in.field() == 7) {
        ReadGraph(in.Message());
        graph = true;
      }
      if (in.field() == 8) ReadOpset(in.Message());
      if (in.field() == 25) in.Fail("it defines functions of its own, expected plain nodes");
    }
    if (!graph) throw InputError(file_, "it holds no graph: no ONNX file, or an empty one");
    std::erase_if(model_.inputs,
                  [&](const Port& port) { return model_.constants.count(port.name) != 0; });
    CheckOrder();
    return std::move(model_);
  }

 private:
  void ReadOpset(WireReader in) {
    std::string domain;
    int64_t version = 0;
    while (in.Next()) {
      if (in.field() == 1) domain = in.Text();
      if (in.field() == 2) version = in.Integer();
    }
    if (domain.empty() || domain == "ai.onnx") model_.opset = version;
  }

  void ReadGraph(WireReader in) {
    while (in.Next()) switch (in.field()) {
        case 1:
          ReadNode(in.Message());
          break;
        case 5: {
          std::string name;
          Array array = ReadTensor(in.Message(), &name);
          model_.constants[name] = std::move(array);
          break;
        }
        case 11:
          model_.inputs.push_back(ReadPort(in.Message()));
          break;
        case 12:
          model_.outputs.push_back(ReadPort(in.Message()));
          break;
        case 15:
          in.Fail("it has sparse initializers, expected dense ones");
      }
  }

  void ReadNode(WireReader in) {
    Node node;
    while (in.Next()) switch (in.field()) {
        case 1:
          node.inputs.push_back(in.Text());
          break;
        case 2:
          node.outputs.push_back(in.Text());
          break;
        case 3:
          node.name = in.Text();
          break;
        case 4:
          node.op = in.Text();
          break;
        case 5:
          ReadAttribute(in.Message(), &node);
          break;
        case 7:
          node.domain = in.Text();
          break;
      }
    model_.nodes.push_back(std::move(node));
  }

  void ReadAttribute(WireReader in, Node* node) {
    std::string name;
    Attribute attribute;
    while (in.Next()) switch (in.field()) {
        case 1:
          name = in.Text();
          break;
        case 2:
          attribute.floats.push_back(static_cast<double>(in.Float()));
          break;
        case 3:
          attribute.ints.push_back(in.Integer());
          break;
        case 4:
          attribute.text = in.Text();
          break;
        case 5:
          attribute.tensors.push_back(ReadTensor(in.Message(), nullptr));
          break;
        case 6:
        case 11:
          in.Fail(node->title() + ": holds a graph, expected plain nodes");
        case 7:
          in.AppendFloats(&attribute.floats);
          break;
        case 8:
          in.AppendIntegers(&attribute.ints);
          break;
      }
    node->attributes[name] = std::move(attribute);
  }

  Array ReadTensor(WireReader in, std::string* name) {
    Array array;
    int64_t type = 0;
    std::string own;
    std::vector<int64_t> listed;
    std::span<const uint8_t> raw;
    bool has_raw = false;
    while (in.Next()) switch (in.field()) {
        case 1:
          in.AppendIntegers(&array.shape);
          break;
        case 2:
          type = in.Integer();
          break;
        case 4:
          in.AppendFloats(&array.values);
          break;
        case 5:
        case 7:
        case 11:
          in.AppendIntegers(&listed);
          break;
        case 8:
          own = in.Text();
          break;
        case 9:
          raw = in.Bytes();
          has_raw = true;
          break;
        case 10:
          in.AppendDoubles(&array.values);
          break;
        case 13:
          in.Fail("tensor \"" + own + "\": its data lie in another file, expected them here");
        case 14:
          if (in.Integer() != 0)
            in.Fail("tensor \"" + own + "\": its data lie in another file, expected them here");
          break;
      }
    if (name != nullptr) *name = own;
    const std::string where = file_ + ": tensor \"" + own + "\"";
    const size_t size = ElementSize(type);
    if (size == 0)
      throw InputError(where, "has the type " + std::to_string(type) + ", expected numbers");
    array.integers = !IsReal(type);
    for (const int64_t element : listed) array.values.push_back(ListedElement(type, element));
    if (has_raw) {
      if (raw.size() % size != 0 || !array.values.empty())
        throw InputError(where, "has " + std::to_string(raw.size()) +
                                    " bytes of data, expected a "
                                    "multiple of " +
                                    std::to_string(size) + " and no others");
      for (size_t i = 0; i < raw.size(); i += size)
        array.values.push_back(RawElement(type, &raw[i]));
    }
    if (type == kDouble)
      for (double& value : array.values) value = static_cast<double>(static_cast<float>(value));
    size_t count = 0;
    try {
      count = Count(array.shape);
    } catch (const InputError& error) {
      throw InputError(where, error.what());
    }
    if (array.values.size() != count)
      throw InputError(where, "has " + std::to_string(array.values.size()) +
                                  " elements, expected " + std::to_string(count) + " as " +
                                  ShapeText(array.shape) + " are");
    return array;
  }

  Port ReadPort(WireReader in) {
    Port port;
    while (in.Next()) {
      if (in.field() == 1) port.name = in.Text();
      if (in.field() != 2) continue;
      for (WireReader type = in.Message(); type.Next();)
        if (type.field() == 1) ReadTensorType(type.Message(), &port);
    }
    return port;
  }

  static void ReadTensorType(WireReader in, Port* port) {
    while (in.Next()) {
      if (in.field() == 1) port->type = in.Integer();
      if (in.field() != 2) continue;
      for (WireReader shape = in.Message(); shape.Next();) {
        if (shape.field() != 1) continue;
        int64_t side = -1;
        for (WireReader dim = shape.Message(); dim.Next();)
          if (dim.field() == 1) side = dim.Integer();
        port->shape.push_back(side);
      }
    }
  }

  void CheckOrder() const {
    std::set<std::string> known;
    for (const auto& [name, array] : model_.constants) known.insert(name);
    for (const Port& port : model_.inputs) known.insert(port.name);
    for (const Node& node : model_.nodes) {
      for (const std::string& input : node.inputs)
        if (!input.empty() && known.count(input) == 0)
          throw InputError(file_ + ": " + node.title(),
                           "reads \"" + input + "\", which nothing before it makes");
      for (const std::string& output : node.outputs)
        if (!output.empty() && !known.insert(output).second)
          throw InputError(file_ + ": " + node.title(),
                           "makes \"" + output + "\", which is there already");
    }
    for (const Port& port : model_.outputs)
      if (known.count(port.name) == 0)
        throw InputError(file_, "its output \"" + port.name + "\" is made by no node");
  }

  const std::string file_;
  Model model_;
};

}  // namespace

size_t Count(const Shape& shape) {
  size_t count = 1;
  for (const int64_t side : shape) {
    if (side < 0 || static_cast<uint64_t>(side) > kMostElements ||
        (count *= static_cast<size_t>(side)) > kMostElements)
      throw InputError("a tensor of " + ShapeText(shape) + " elements, expected at most 2^26");
  }
  return count;
}

std::string ShapeText(const Shape& shape) {
  std::string text;
  for (const int64_t side : shape)
    text += (text.empty() ? "" : "x") + (side < 0 ? "?" : std::to_string(side));
  return text.empty() ? "1" : text;
}

std::string Node::title() const {
  const std::string& known = name.empty() && !outputs.empty() ? outputs[0] : name;
  return "node \"" + known + "\" (" + op + ")";
}

int64_t Node::Int(const std::string& attribute, int64_t absent) const {
  const auto found = attributes.find(attribute);
  return found == attributes.end() || found->second.ints.empty() ? absent : found->second.ints[0];
}
float Node::Float(const std::string& attribute, float absent) const {
  const auto found = attributes.find(attribute);
  return found == attributes.end() || found->second.floats.empty()
             ? absent
             : static_cast<float>(found->second.floats[0]);
}
std::vector<int64_t> Node::Ints(const std::string& attribute, std::vector<int64_t> absent) const {
  const auto found = attributes.find(attribute);
  return found == attributes.end() ? absent : found->second.ints;
}
std::string Node::Text(const std::string& attribute, const std::string& absent) const {
  const auto found = attributes.find(attribute);
  return found == attributes.end() ? absent : found->second.text;
}

std::vector<int64_t> Node::Integers(std::span<const double> input) const {
  std::vector<int64_t> result;
  for (const double x : input) {
    if (x != std::floor(x))
      throw InputError(title(), "reads " + std::to_string(x) + ", expected a whole number");
    result.push_back(x >= 9.2e18 ? INT64_MAX : x <= -9.2e18 ? INT64_MIN : static_cast<int64_t>(x));
  }
  return result;
}

Model ReadModel(std::span<const uint8_t> bytes, const std::string& name) {
  return Reader(name).Run(bytes);
}

}  // namespace lbrt::onnx
