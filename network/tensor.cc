#include "network/tensor.h"

#include <utility>

#include "images/error.h"

namespace lbrt {

size_t DTypeSize(DType type) {
  switch (type) {
    case DType::kU8:
    case DType::kI8:
    case DType::kBool:
      return 1;
    case DType::kF16:
    case DType::kI16:
      return 2;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF64:
    case DType::kI64:
      return 8;
  }
  return 0;  // not reached: every type has a case
}

const char* DTypeName(DType type) {
  switch (type) {
    case DType::kF16:
      return "float16";
    case DType::kF32:
      return "float32";
    case DType::kF64:
      return "float64";
    case DType::kU8:
      return "uint8";
    case DType::kI8:
      return "int8";
    case DType::kI16:
      return "int16";
    case DType::kI32:
      return "int32";
    case DType::kI64:
      return "int64";
    case DType::kBool:
      return "bool";
  }
  return "";  // not reached: every type has a case
}

int64_t HostTensor::numel() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

HostTensor HostTensor::Zeros(DType type, std::vector<int64_t> shape) {
  HostTensor tensor{type, std::move(shape), {}};
  tensor.bytes.resize(static_cast<size_t>(tensor.numel()) * DTypeSize(type));
  return tensor;
}

HostTensor HostTensor::FromText(const std::string& text) {
  return {DType::kU8, {static_cast<int64_t>(text.size())}, {text.begin(), text.end()}};
}

std::string HostTensor::Text() const { return {bytes.begin(), bytes.end()}; }

std::string ShapeText(const std::vector<int64_t>& shape) {
  if (shape.empty()) return "scalar";
  std::string text;
  for (const int64_t size : shape) {
    if (!text.empty()) text += 'x';
    text += std::to_string(size);
  }
  return text;
}

const HostTensor& StateDict::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw InputError("tensor " + name + " is missing");
  return found->second;
}

HostTensor& StateDict::operator[](const std::string& name) {
  const auto [entry, is_new] = tensors_.try_emplace(name);
  if (is_new) order_.push_back(name);
  return entry->second;
}

void StateDict::erase(const std::string& name) {
  if (tensors_.erase(name) != 0) std::erase(order_, name);
}

}  // namespace lbrt
