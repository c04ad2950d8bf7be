// The wire format of protocol buffers, as far as ONNX files need it: a message is a list of fields,
// each a number, 4 or 8 bytes, or bytes of a stated length. Nothing is read outside of the bytes
// given, and nothing is believed of them: every error is an InputError.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lbrt::onnx {

class WireReader {
 public:
  // `where` begins every message.
  WireReader(std::span<const uint8_t> bytes, std::string where)
      : rest_(bytes), where_(std::move(where)) {}

  // Goes to the next field; false behind the last one.
  bool Next();
  uint32_t field() const { return field_; }

  // The current field's value. Throws where the file has it in another form.
  int64_t Integer() const;
  float Float() const;
  std::span<const uint8_t> Bytes() const;
  std::string Text() const;
  WireReader Message() const { return {Bytes(), where_}; }

  // A repeated number, one of many or several packed into one field.
  void AppendIntegers(std::vector<int64_t>* values) const;
  void AppendFloats(std::vector<double>* values) const;
  void AppendDoubles(std::vector<double>* values) const;

  [[noreturn]] void Fail(const std::string& what) const;

 private:
  enum Form : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

  uint64_t Varint();
  std::span<const uint8_t> Take(uint64_t count);

  std::span<const uint8_t> rest_;
  std::string where_;
  uint32_t field_ = 0, form_ = 0;
  uint64_t number_ = 0;             // of kVarint
  std::span<const uint8_t> bytes_;  // of the others
};

}  // namespace lbrt::onnx
