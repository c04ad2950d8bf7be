// A tensor in host memory as checkpoints hold it: type, shape, contiguous bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace lbrt {

enum class DType : uint8_t { kF16, kF32, kF64, kU8, kI8, kI16, kI32, kI64, kBool };

size_t DTypeSize(DType type);
const char* DTypeName(DType type);  // PyTorch's: "float32", "int64", "uint8", ...

struct HostTensor {
  DType type = DType::kF32;
  std::vector<int64_t> shape;  // empty: a scalar
  std::vector<uint8_t> bytes;  // C order, little-endian

  int64_t numel() const;
  const float* f32() const { return reinterpret_cast<const float*>(bytes.data()); }
  float* f32() { return reinterpret_cast<float*>(bytes.data()); }
  const double* f64() const { return reinterpret_cast<const double*>(bytes.data()); }
  const int64_t* i64() const { return reinterpret_cast<const int64_t*>(bytes.data()); }

  static HostTensor Zeros(DType type, std::vector<int64_t> shape);
  static HostTensor FromText(const std::string& text);  // uint8 [bytes]
  std::string Text() const;                             // the inverse
};
std::string ShapeText(const std::vector<int64_t>& shape);  // "16x3x3x3", "scalar"

// Tensors by name, names as the published PyTorch code has them. `order` is the order of insertion
// (a checkpoint keeps it).
class StateDict {
 public:
  bool contains(const std::string& name) const { return tensors_.count(name) != 0; }
  const HostTensor& at(const std::string& name) const;  // throws InputError naming the tensor
  HostTensor& operator[](const std::string& name);
  const std::vector<std::string>& names() const { return order_; }
  size_t size() const { return order_.size(); }
  void erase(const std::string& name);

 private:
  std::map<std::string, HostTensor> tensors_;
  std::vector<std::string> order_;
};

}  // namespace lbrt
