// PNG, JPEG, BMP and PPM/PGM/PBM files to 8-bit images, upright and opaque.
//
// One decoder for all tools, because two never agree. The results are Pillow's
// (Image.open, ImageOps.exif_transpose, paste on white, convert):
// - grey files give 1 channel, all others 3 (palettes are looked up);
// - 16-bit PNG: the high byte. PPM of any maxval, 16 bits included: v * 255 / maxval, rounded half
// to
//   even. 16-bit BMP: v * 255 / (2^bits - 1), truncated;
// - JPEG: accurate integer DCT, smooth chroma upsampling (libjpeg's defaults). CMYK and YCCK are
//   taken as inverted, as Adobe writes them; no colour profiles;
// - transparency is composited on white, rounded to nearest;
// - EXIF orientation 1..8 of JPEG and PNG is applied; damaged EXIF data is ignored.
// Training may do with less than the whole of a large JPEG (LeastSide); evaluation never does.
// Files that are truncated, damaged, of zero size or above kMaxPixels throw InputError. A JPEG with
// damaged but complete data decodes, as everywhere.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "images/image.h"

namespace lbrt {

// How small an image may be decoded: given its width and height, upright, the least length of its
// shorter side, in pixels. Called once for every JPEG and for nothing else. The image is then
// decoded at the smallest of 1/8, 1/4, 1/2 and 1 of its size that leaves so much, which is faster,
// and not the same as to decode and resize it: for training only. (The eighths between
// those have no fast transforms in libjpeg-turbo: 5/8 to 7/8 take longer than the whole.)
using LeastSide = std::function<int(int width, int height)>;

Image DecodeFile(const std::string& path, const LeastSide& least_side = {});

// `name` stands in messages.
Image DecodeBytes(std::span<const uint8_t> bytes, const std::string& name,
                  const LeastSide& least_side = {});

}  // namespace lbrt
