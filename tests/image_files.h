// Makes image files for the tests of images/: noise, PNG, JPEG and BMP of chosen kinds, in memory.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "images/error.h"
#include "images/image.h"

namespace lbrt {

// A folder that disappears with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::path(testing::TempDir()) / "lbrt.XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The top byte of a linear congruential generator: the golden values were made with it.
inline std::vector<uint8_t> Noise(size_t count, uint32_t seed = 1) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = (seed = seed * 1664525u + 1013904223u) >> 24;
  return bytes;
}

inline Image NoiseImage(int width, int height, int channels) {
  Image image(width, height, channels);
  image.pixels = Noise(image.pixels.size());
  return image;
}

// FNV-1a.
inline uint64_t Hash(std::span<const uint8_t> bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

inline std::vector<uint8_t> BytesOf(const std::string& text) { return {text.begin(), text.end()}; }

// The line an InputError says; "" where none is thrown. Checks that it is one line.
inline std::string Refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    const std::string line = error.what();
    EXPECT_EQ(line.find('\n'), std::string::npos) << line;
    return line;
  }
  return "";
}

inline void ExpectRefusal(const std::function<void()>& action, const std::string& part) {
  const std::string line = Refusal(action);
  EXPECT_NE(line, "") << "expected a refusal that says: " << part;
  EXPECT_NE(line.find(part), std::string::npos) << line << "\nexpected: " << part;
}

// PNG. Rows hold `rows` as the file stores them before filtering: packed bits, big-endian 16 bits.
struct PngFile {
  int width = 0, height = 0;
  int bits = 8;
  int colour_type = 0;  // 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha
  bool interlaced = false;
  std::vector<uint8_t> rows = {};
  std::vector<uint8_t> palette = {};        // RGB triples
  std::vector<uint8_t> palette_alpha = {};  // tRNS of a palette
  int transparent[3] = {-1, -1, -1};        // tRNS of grey (the first) or RGB
  std::vector<uint8_t> exif = {};           // TIFF bytes
};
std::vector<uint8_t> MakePng(const PngFile& png);

struct JpegFile {
  int width = 0, height = 0;
  int channels = 3;   // 1, 3, or 4 = CMYK as Adobe stores it: 255 = no ink
  bool ycck = false;  // store CMYK as YCCK
  bool progressive = false;
  bool subsampled = false;
  int quality = 100;
  std::vector<uint8_t> pixels = {};
  std::vector<uint8_t> exif = {};  // TIFF bytes
};
std::vector<uint8_t> MakeJpeg(const JpegFile& jpeg);

// A TIFF header with one directory that holds the orientation.
std::vector<uint8_t> MakeExif(int orientation, bool big_endian);

// BMP with a 40-byte header. `data` is all that follows the headers: masks, palette (BGR0), rows.
struct BmpFile {
  int width = 0, height = 0;  // height < 0: top-down
  int bits = 24;
  uint32_t compression = 0;
  uint32_t colours = 0;
  uint32_t before_rows = 0;  // bytes of masks and palette in `data`
  std::vector<uint8_t> data = {};
};
std::vector<uint8_t> MakeBmp(const BmpFile& bmp);

}  // namespace lbrt
