// The formats behind decode.h; private to images/. Each decoder gives the pixels as they are
// stored: 8 bits per channel, 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha, not yet turned
// upright. `name` stands in messages. Everything wrong with the bytes throws InputError.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "images/decode.h"
#include "images/image.h"

namespace lbrt {

using Bytes = std::span<const uint8_t>;

// orientation: set where the file says one.
Image DecodePng(Bytes bytes, const std::string& name, int& orientation);
Image DecodeJpeg(Bytes bytes, const std::string& name, const LeastSide& least_side,
                 int& orientation);
Image DecodeBmp(Bytes bytes, const std::string& name);
Image DecodePnm(Bytes bytes, const std::string& name);

// Throws unless the size is 1x1 .. kMaxPixels. Called before anything is allocated.
void CheckSize(int64_t width, int64_t height, const std::string& name);

// The orientation, 1..8, that a TIFF header with its first directory states; 1 where it states none
// or is damaged.
int ExifOrientation(Bytes tiff);

// round(x / 255) for x up to 255 * 255.
constexpr uint8_t DividedBy255(uint32_t x) {
  return static_cast<uint8_t>((x + 128 + ((x + 128) >> 8)) >> 8);
}

}  // namespace lbrt
