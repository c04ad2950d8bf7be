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
// Files that are truncated, damaged, of zero size or above kMaxPixels throw InputError. A JPEG with
// damaged but complete data decodes, as everywhere.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "images/image.h"

namespace lbrt {

Image DecodeFile(const std::string& path);

// `name` stands in messages.
Image DecodeBytes(std::span<const uint8_t> bytes, const std::string& name);

}  // namespace lbrt
