#include <algorithm>
#include <array>
#include <bit>

#include "images/error.h"
#include "images/formats.h"

namespace lbrt {
namespace {

enum Compression : uint32_t { kRgb = 0, kRle8 = 1, kRle4 = 2, kBitFields = 3, kAlphaBitFields = 6 };

constexpr size_t kFileHeader = 14;

struct Header {
  int64_t width = 0, height = 0;
  bool top_down = false;
  int bits = 0;  // per pixel
  uint32_t compression = kRgb;
  size_t pixels = 0;                                  // offset of the first stored row
  std::array<uint32_t, 4> masks{};                    // red, green, blue, alpha
  std::array<std::array<uint8_t, 3>, 256> palette{};  // RGB; black where the file has none
};

// Little-endian reads that end at the end of the file.
class Cursor {
 public:
  Cursor(Bytes bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  Bytes Take(size_t at, size_t count) const {
    if (at > bytes_.size() || count > bytes_.size() - at)
      throw InputError(name_, "truncated BMP: " + std::to_string(bytes_.size()) +
                                  " bytes, expected at least " + std::to_string(at + count));
    return bytes_.subspan(at, count);
  }
  uint32_t U16(size_t at) const {
    const Bytes b = Take(at, 2);
    return b[0] | b[1] << 8;
  }
  uint32_t U32(size_t at) const { return U16(at) | U16(at + 2) << 16; }
  int32_t I32(size_t at) const { return static_cast<int32_t>(U32(at)); }

 private:
  Bytes bytes_;
  const std::string& name_;
};

bool KnownCombination(const Header& h) {
  switch (h.compression) {
    case kRgb:
      return h.bits == 1 || h.bits == 4 || h.bits == 8 || h.bits == 16 || h.bits == 24 ||
             h.bits == 32;
    case kRle8:
      return h.bits == 8 && !h.top_down;
    case kRle4:
      return h.bits == 4 && !h.top_down;
    case kBitFields:
    case kAlphaBitFields:
      return h.bits == 16 || h.bits == 32;
    default:
      return false;
  }
}

Header ReadHeader(const Cursor& in, const std::string& name) {
  Header h;
  h.pixels = in.U32(10);
  const uint32_t size = in.U32(kFileHeader);
  const bool core = size == 12;  // OS/2 1: 16-bit sizes, palette entries of 3 bytes
  if (!core && (size < 40 || size > 124))
    throw InputError(name, "damaged BMP: a header of " + std::to_string(size) +
                               " bytes, expected 12 or 40 to 124");
  uint32_t colours = 0;
  if (core) {
    h.width = in.U16(18);
    h.height = in.U16(20);
    h.bits = static_cast<int>(in.U16(24));
  } else {
    const int64_t height = in.I32(22);
    h.width = in.I32(18);
    h.height = height < 0 ? -height : height;
    h.top_down = height < 0;
    h.bits = static_cast<int>(in.U16(28));
    h.compression = in.U32(30);
    colours = in.U32(46);
  }
  CheckSize(h.width, h.height, name);
  if (!KnownCombination(h))
    throw InputError(name, "a BMP of " + std::to_string(h.bits) + " bits with compression " +
                               std::to_string(h.compression) +
                               ", expected 1, 4, 8, 16, 24 or 32 bits, RLE or bit fields");

  size_t end = kFileHeader + size;  // of headers and masks: the palette begins here
  if (h.compression == kBitFields || h.compression == kAlphaBitFields) {
    // The masks follow a 40-byte header and are part of the longer ones, at the same place.
    const size_t masks = h.compression == kAlphaBitFields || size >= 56 ? 4 : 3;
    for (size_t i = 0; i < masks; ++i) h.masks[i] = in.U32(kFileHeader + 40 + 4 * i);
    end = std::max(end, kFileHeader + 40 + 4 * masks);
  } else if (h.bits == 16) {
    h.masks = {0x7c00, 0x03e0, 0x001f, 0};
  } else if (h.bits == 32) {
    h.masks = {0xff0000, 0xff00, 0xff, 0};
  }
  if (h.bits <= 8) {
    const uint32_t most = 1u << h.bits;
    const uint32_t count = colours == 0 || colours > most ? most : colours;
    const size_t entry = core ? 3 : 4;
    for (uint32_t i = 0; i < count; ++i) {
      const Bytes bgr = in.Take(end + i * entry, 3);
      h.palette[i] = {bgr[2], bgr[1], bgr[0]};
    }
  }
  return h;
}

// The field of `pixel` under a mask, scaled to 0..255.
uint8_t Field(uint32_t pixel, uint32_t mask) {
  if (mask == 0) return 0;
  const int shift = std::countr_zero(mask);
  return static_cast<uint8_t>(uint64_t{(pixel & mask) >> shift} * 255 / (mask >> shift));
}

// One stored row of an uncompressed file.
void DecodeRow(const Header& h, const uint8_t* in, uint8_t* out) {
  const bool alpha = h.masks[3] != 0;
  for (int64_t x = 0; x < h.width; ++x) {
    if (h.bits <= 8) {
      const int per_byte = 8 / h.bits;
      const int shift = 8 - h.bits * (static_cast<int>(x % per_byte) + 1);
      const int index = in[x / per_byte] >> shift & ((1 << h.bits) - 1);
      out = std::copy_n(h.palette[index].begin(), 3, out);
    } else if (h.bits == 24) {
      *out++ = in[3 * x + 2];
      *out++ = in[3 * x + 1];
      *out++ = in[3 * x];
    } else {
      const uint8_t* p = in + x * (h.bits / 8);
      uint32_t pixel = p[0] | p[1] << 8;
      if (h.bits == 32) pixel |= static_cast<uint32_t>(p[2] | p[3] << 8) << 16;
      for (int c = 0; c < (alpha ? 4 : 3); ++c) *out++ = Field(pixel, h.masks[c]);
    }
  }
}

Image DecodeRows(const Header& h, const Cursor& in) {
  const int64_t stride = (h.width * h.bits + 31) / 32 * 4;
  const Bytes rows = in.Take(h.pixels, static_cast<size_t>(stride * h.height));
  Image image(static_cast<int>(h.width), static_cast<int>(h.height), h.masks[3] != 0 ? 4 : 3);
  for (int y = 0; y < image.height; ++y)
    DecodeRow(h, rows.data() + y * stride, image.row(h.top_down ? y : image.height - 1 - y));
  return image;
}

// Runs (count, value) and escapes (0, what). Pixels that no run reaches have index 0; runs that
// leave the image are cut.
Image DecodeRle(const Header& h, const Cursor& in) {
  Image image(static_cast<int>(h.width), static_cast<int>(h.height), 3);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = h.palette[0][i % 3];
  int64_t x = 0, y = 0;  // y counts from the bottom
  const auto put = [&](int index) {
    if (x < h.width)
      std::copy_n(h.palette[index].begin(), 3,
                  image.row(static_cast<int>(h.height - 1 - y)) + 3 * x);
    ++x;
  };
  const auto nibble = [](uint8_t byte, int i) { return byte >> (i % 2 == 0 ? 4 : 0) & 15; };
  for (size_t at = h.pixels; y < h.height;) {
    const Bytes code = in.Take(at, 2);
    at += 2;
    if (code[0] > 0) {
      for (int i = 0; i < code[0]; ++i) put(h.bits == 8 ? code[1] : nibble(code[1], i));
    } else if (code[1] == 0) {  // end of line
      x = 0;
      ++y;
    } else if (code[1] == 1) {  // end of bitmap
      break;
    } else if (code[1] == 2) {  // move
      const Bytes delta = in.Take(at, 2);
      at += 2;
      x += delta[0];
      y += delta[1];
    } else {  // literal pixels, padded to 16 bits
      const size_t bytes = (static_cast<size_t>(code[1]) * h.bits + 15) / 16 * 2;
      const Bytes literal = in.Take(at, bytes);
      at += bytes;
      for (int i = 0; i < code[1]; ++i) put(h.bits == 8 ? literal[i] : nibble(literal[i / 2], i));
    }
  }
  return image;
}

}  // namespace

Image DecodeBmp(Bytes bytes, const std::string& name) {
  const Cursor in(bytes, name);
  const Header header = ReadHeader(in, name);
  const bool rle = header.compression == kRle8 || header.compression == kRle4;
  return rle ? DecodeRle(header, in) : DecodeRows(header, in);
}

}  // namespace lbrt
