#include "converter/onnx/wire.h"

#include <cstring>

#include "images/error.h"

namespace lbrt::onnx {
namespace {

// Little endian, as protocol buffers are.
template <typename T>
T Number(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace

void WireReader::Fail(const std::string& what) const { throw InputError(where_, what); }

std::span<const uint8_t> WireReader::Take(uint64_t count) {
  if (count > rest_.size())
    Fail("a field of " + std::to_string(count) + " bytes, but " + std::to_string(rest_.size()) +
         " are left: no ONNX file, or cut off");
  const auto taken = rest_.first(static_cast<size_t>(count));
  rest_ = rest_.subspan(static_cast<size_t>(count));
  return taken;
}

uint64_t WireReader::Varint() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const uint8_t byte = Take(1)[0];
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  Fail("a number of more than 10 bytes: no ONNX file");
}

bool WireReader::Next() {
  if (rest_.empty()) return false;
  const uint64_t key = Varint();
  field_ = static_cast<uint32_t>(key >> 3);
  form_ = static_cast<uint32_t>(key & 7);
  if (key >> 32 != 0 || field_ == 0) Fail("a field with an impossible number: no ONNX file");
  switch (form_) {
    case kVarint:
      number_ = Varint();
      return true;
    case kFixed64:
      bytes_ = Take(8);
      return true;
    case kBytes:
      bytes_ = Take(Varint());
      return true;
    case kFixed32:
      bytes_ = Take(4);
      return true;
    default:
      Fail("a field of an unknown form: no ONNX file");
  }
}

int64_t WireReader::Integer() const {
  if (form_ != kVarint) Fail("field " + std::to_string(field_) + " is no integer");
  return static_cast<int64_t>(number_);
}

float WireReader::Float() const {
  if (form_ != kFixed32) Fail("field " + std::to_string(field_) + " is no float");
  return Number<float>(bytes_.data());
}

std::span<const uint8_t> WireReader::Bytes() const {
  if (form_ != kBytes) Fail("field " + std::to_string(field_) + " has no bytes");
  return bytes_;
}

std::string WireReader::Text() const {
  const auto bytes = Bytes();
  return std::string(bytes.begin(), bytes.end());
}

void WireReader::AppendIntegers(std::vector<int64_t>* values) const {
  if (form_ == kVarint) {
    values->push_back(Integer());
    return;
  }
  WireReader packed = Message();
  while (!packed.rest_.empty()) values->push_back(static_cast<int64_t>(packed.Varint()));
}

void WireReader::AppendFloats(std::vector<double>* values) const {
  if (form_ == kFixed32) {
    values->push_back(static_cast<double>(Float()));
    return;
  }
  const auto bytes = Bytes();
  if (bytes.size() % 4 != 0) Fail("a list of floats of " + std::to_string(bytes.size()) + " bytes");
  for (size_t i = 0; i < bytes.size(); i += 4)
    values->push_back(static_cast<double>(Number<float>(&bytes[i])));
}

void WireReader::AppendDoubles(std::vector<double>* values) const {
  if (form_ != kFixed64 && form_ != kBytes)
    Fail("field " + std::to_string(field_) + " is no double");
  if (bytes_.size() % 8 != 0)
    Fail("a list of doubles of " + std::to_string(bytes_.size()) + " bytes");
  for (size_t i = 0; i < bytes_.size(); i += 8) values->push_back(Number<double>(&bytes_[i]));
}

}  // namespace lbrt::onnx
