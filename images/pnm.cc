#include <algorithm>
#include <cmath>
#include <vector>

#include "images/error.h"
#include "images/formats.h"

namespace lbrt {
namespace {

constexpr int kMaxValue = 65535;

bool IsSpace(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

class Scanner {
 public:
  Scanner(Bytes bytes, const std::string& name) : rest_(bytes.subspan(2)), name_(name) {}

  // The next decimal number; white space and comments before it are skipped.
  int64_t Number(const char* what) {
    SkipSpace(what);
    int64_t value = 0;
    size_t digits = 0;
    for (; !rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9'; rest_ = rest_.subspan(1)) {
      value = 10 * value + (rest_[0] - '0');
      if (++digits > 10) Refuse(what);
    }
    if (digits == 0) Refuse(what);
    return value;
  }

  // A pixel of P1: one digit, with or without white space.
  int Bit() {
    SkipSpace("pixel");
    if (rest_[0] != '0' && rest_[0] != '1') Refuse("pixel");
    const int bit = rest_[0] - '0';
    rest_ = rest_.subspan(1);
    return bit;
  }

  // `count` bytes after the one character of white space that ends the header.
  Bytes Binary(size_t count) {
    if (rest_.empty() || !IsSpace(rest_[0])) Refuse("white space after the header");
    rest_ = rest_.subspan(1);
    ExpectBytes(count);
    return rest_.first(count);
  }

  // Before an image is allocated: what it takes at least must be there.
  void ExpectBytes(size_t count) const {
    if (rest_.size() < count)
      throw InputError(name_, "truncated PPM: " + std::to_string(rest_.size()) +
                                  " bytes of pixels, expected at least " + std::to_string(count));
  }

  [[noreturn]] void Refuse(const char* what) const {
    throw InputError(name_, std::string("damaged PPM: bad ") + what);
  }

 private:
  void SkipSpace(const char* what) {
    bool comment = false;
    while (!rest_.empty() && (comment || IsSpace(rest_[0]) || rest_[0] == '#')) {
      comment = rest_[0] != '\n' && rest_[0] != '\r' && (comment || rest_[0] == '#');
      rest_ = rest_.subspan(1);
    }
    if (rest_.empty()) throw InputError(name_, std::string("truncated PPM: no ") + what);
  }

  Bytes rest_;
  const std::string& name_;
};

}  // namespace

Image DecodePnm(Bytes bytes, const std::string& name) {
  // P1, P4 bits (1 = black); P2, P5 grey; P3, P6 colour; the first three of each are text.
  const int kind = bytes[1] - '0';
  const bool text = kind <= 3, bits = kind == 1 || kind == 4;
  const int channels = kind == 3 || kind == 6 ? 3 : 1;
  Scanner in(bytes, name);
  const int64_t width = in.Number("width"), height = in.Number("height");
  CheckSize(width, height, name);
  const int64_t most = bits ? 1 : in.Number("largest value");
  if (most < 1 || most > kMaxValue) in.Refuse("largest value, expected 1 to 65535");
  std::vector<uint8_t> to_8_bits(static_cast<size_t>(most) + 1);
  for (int64_t v = 0; v <= most; ++v)
    to_8_bits[v] = static_cast<uint8_t>(std::nearbyint(static_cast<double>(v) * 255 / most));
  const auto scaled = [&](int64_t v) { return to_8_bits[std::min(v, most)]; };

  const size_t samples = static_cast<size_t>(width * height * channels);
  const size_t stride = bits ? (static_cast<size_t>(width) + 7) / 8
                             : static_cast<size_t>(width) * channels * (most > 255 ? 2 : 1);
  Bytes binary;
  if (text)
    in.ExpectBytes(samples);
  else
    binary = in.Binary(stride * static_cast<size_t>(height));

  Image image(static_cast<int>(width), static_cast<int>(height), channels);
  if (text) {
    for (uint8_t& v : image.pixels) v = bits ? 255 * (1 - in.Bit()) : scaled(in.Number("pixel"));
  } else if (bits) {
    for (int y = 0; y < image.height; ++y)
      for (int x = 0; x < image.width; ++x)
        image.row(y)[x] = (binary[y * stride + x / 8] >> (7 - x % 8) & 1) != 0 ? 0 : 255;
  } else {
    for (size_t i = 0; i < samples; ++i)
      image.pixels[i] = scaled(most > 255 ? binary[2 * i] << 8 | binary[2 * i + 1] : binary[i]);
  }
  return image;
}

}  // namespace lbrt
