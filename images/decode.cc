#include "images/decode.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "images/error.h"
#include "images/file.h"
#include "images/formats.h"

namespace lbrt {
namespace {

bool StartsWith(Bytes bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

Image DecodeStored(Bytes bytes, const std::string& name, const LeastSide& least_side,
                   int& orientation) {
  if (StartsWith(bytes, "\x89PNG\r\n\x1a\n")) return DecodePng(bytes, name, orientation);
  if (StartsWith(bytes, "\xff\xd8\xff"))
    return DecodeJpeg(bytes, name, least_side, orientation);
  if (StartsWith(bytes, "BM")) return DecodeBmp(bytes, name);
  if (bytes.size() > 2 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '6')
    return DecodePnm(bytes, name);
  throw InputError(name, bytes.empty() ? "empty file, expected an image (PNG, JPEG, BMP, PPM)"
                                       : "not an image, expected PNG, JPEG, BMP or PPM");
}

// Drops an alpha channel: the colour over white.
Image OnWhite(Image image) {
  if (image.channels % 2 != 0) return image;
  Image result(image.width, image.height, image.channels - 1);
  const uint8_t* in = image.pixels.data();
  for (size_t out = 0; out < result.pixels.size(); ++in) {
    const uint32_t alpha = in[result.channels];
    for (int c = 0; c < result.channels; ++c)
      result.pixels[out++] = DividedBy255(*in++ * alpha + 255 * (255 - alpha));
  }
  return result;
}

// EXIF's eight orientations are: mirror the source's x, mirror its y, then perhaps transpose.
Image Upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool transpose = orientation >= 5;
  const bool mirror_x = orientation == 2 || orientation == 3 || orientation >= 7;
  const bool mirror_y =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int width = transpose ? image.height : image.width;
  const int height = transpose ? image.width : image.height;
  Image result(width, height, image.channels);
  uint8_t* out = result.pixels.data();
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      int from_x = transpose ? y : x, from_y = transpose ? x : y;
      if (mirror_x) from_x = image.width - 1 - from_x;
      if (mirror_y) from_y = image.height - 1 - from_y;
      out = std::copy_n(image.row(from_y) + static_cast<size_t>(from_x) * image.channels,
                        image.channels, out);
    }
  return result;
}

}  // namespace

void CheckSize(int64_t width, int64_t height, const std::string& name) {
  const std::string size = std::to_string(width) + "x" + std::to_string(height) + " pixels";
  if (width < 1 || height < 1) throw InputError(name, size + ", expected at least 1x1");
  if (width > kMaxPixels / height)
    throw InputError(name, size + ", expected at most " + std::to_string(kMaxPixels) + " in all");
}

int ExifOrientation(Bytes tiff) {
  if (tiff.size() < 8) return 1;
  const bool big = tiff[0] == 'M';
  const auto u16 = [&](size_t at) {
    return big ? tiff[at] << 8 | tiff[at + 1] : tiff[at + 1] << 8 | tiff[at];
  };
  const auto u32 = [&](size_t at) {
    return big ? static_cast<uint32_t>(u16(at)) << 16 | u16(at + 2)
               : static_cast<uint32_t>(u16(at + 2)) << 16 | u16(at);
  };
  if (tiff[1] != tiff[0] || (!big && tiff[0] != 'I') || u16(2) != 42) return 1;
  const size_t directory = u32(4);
  if (directory > tiff.size() - 2) return 1;
  const size_t entries = std::min<size_t>(u16(directory), (tiff.size() - 2 - directory) / 12);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;  // tag, type, count, value
    if (u16(entry) != 0x0112) continue;
    const int value = u16(entry + 8);
    const bool valid = u16(entry + 2) == 3 && u32(entry + 4) == 1 && value >= 1 && value <= 8;
    return valid ? value : 1;
  }
  return 1;
}

Image DecodeBytes(std::span<const uint8_t> bytes, const std::string& name,
                  const LeastSide& least_side) {
  try {
    int orientation = 1;
    Image image = DecodeStored(bytes, name, least_side, orientation);
    return Upright(OnWhite(std::move(image)), orientation);
  } catch (const std::bad_alloc&) {
    throw InputError(name, "not enough memory to decode");
  }
}

Image DecodeFile(const std::string& path, const LeastSide& least_side) {
  return DecodeBytes(ReadFile(path), path, least_side);
}

}  // namespace lbrt
