// An 8-bit image in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lbrt {

// The most pixels an image may have; decoders refuse more before they allocate.
inline constexpr int64_t kMaxPixels = int64_t{1} << 28;

struct Image {
  int width = 0, height = 0;
  int channels = 0;             // 1 grey, 3 red green blue
  std::vector<uint8_t> pixels;  // [height width channels]

  Image() = default;
  // All pixels 0 (black). width, height >= 1.
  Image(int width, int height, int channels)
      : width(width),
        height(height),
        channels(channels),
        pixels(static_cast<size_t>(width) * height * channels) {}

  uint8_t* row(int y) { return pixels.data() + static_cast<size_t>(y) * width * channels; }
  const uint8_t* row(int y) const {
    return pixels.data() + static_cast<size_t>(y) * width * channels;
  }
  friend bool operator==(const Image&, const Image&) = default;
};

}  // namespace lbrt
