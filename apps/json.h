// Writes JSON (RFC 8259), one value after the other; commas are set as needed.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "apps/utf8.h"

namespace lbrt {

class Json {
 public:
  Json& BeginObject() { return Open('{'); }
  Json& EndObject() { return Close('}'); }
  Json& BeginArray() { return Open('['); }
  Json& EndArray() { return Close(']'); }

  Json& Key(std::string_view key) {
    String(key);
    text_ += ':';
    comma_ = false;
    return *this;
  }

  // Bytes that are not UTF-8 become U+FFFD.
  Json& String(std::string_view value) {
    Separate();
    text_ += '"';
    for (size_t i = 0; i < value.size();) {
      const size_t length = Utf8Length(value.substr(i));
      const unsigned char c = static_cast<unsigned char>(value[i]);
      if (length == 0) {
        text_ += "\\ufffd";
      } else if (c < 0x20 || c == 0x7f) {
        char escaped[8];
        std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
        text_ += escaped;
      } else {
        if (c == '"' || c == '\\') text_ += '\\';
        text_ += value.substr(i, length);
      }
      i += length == 0 ? 1 : length;
    }
    text_ += '"';
    return Written();
  }

  Json& Integer(int64_t value) {
    Separate();
    text_ += std::to_string(value);
    return Written();
  }

  // `digits` significant ones: 9 keep every float. What is not finite has no number in JSON: null.
  Json& Number(double value, int digits) {
    Separate();
    char number[40];
    std::snprintf(number, sizeof number, "%.*g", digits, value);
    text_ += std::isfinite(value) ? number : "null";
    return Written();
  }

  const std::string& text() const { return text_; }

 private:
  void Separate() {
    if (comma_) text_ += ',';
  }
  Json& Written() {
    comma_ = true;
    return *this;
  }
  Json& Open(char bracket) {
    Separate();
    text_ += bracket;
    comma_ = false;
    return *this;
  }
  Json& Close(char bracket) {
    text_ += bracket;
    return Written();
  }

  std::string text_;
  bool comma_ = false;  // something stands before the next value
};

}  // namespace lbrt
