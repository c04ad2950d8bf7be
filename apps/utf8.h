// Which bytes are UTF-8.
#pragma once

#include <cstddef>
#include <string_view>

namespace lbrt {

// Bytes of the well-formed character `text` begins with (no overlong forms, no surrogates), or 0.
inline size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto continues = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  if (text.empty()) return 0;
  const int b0 = byte(0), b1 = byte(1);
  if (b0 < 0x80) return 1;
  if (b0 >= 0xc2 && b0 < 0xe0) return continues(1) ? 2 : 0;
  if (b0 >= 0xe0 && b0 < 0xf0) {
    const bool range = (b0 != 0xe0 || b1 >= 0xa0) && (b0 != 0xed || b1 < 0xa0);
    return range && continues(1) && continues(2) ? 3 : 0;
  }
  if (b0 >= 0xf0 && b0 < 0xf5) {
    const bool range = (b0 != 0xf0 || b1 >= 0x90) && (b0 != 0xf4 || b1 < 0x90);
    return range && continues(1) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

// Characters, a malformed byte counting as one: the cells a terminal fills, for most scripts.
inline size_t Utf8Characters(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    const size_t length = Utf8Length(text.substr(i));
    i += length == 0 ? 1 : length;
  }
  return count;
}

}  // namespace lbrt
