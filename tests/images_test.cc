// images/: decoding. What each kind of file must become is written out here as pixels; Pillow says
// the same of all of them (checked when the tests were made), except where a comment says so.
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>

#include "images/decode.h"
#include "images/file.h"
#include "images/write.h"
#include "tests/image_files.h"

namespace lbrt {
namespace {

using Pixels = std::vector<uint8_t>;

Image Decode(const std::vector<uint8_t>& bytes) { return DecodeBytes(bytes, "image"); }

void ExpectImage(const std::vector<uint8_t>& file, int width, int height, int channels,
                 const Pixels& pixels) {
  const Image image = Decode(file);
  EXPECT_EQ(image.width, width);
  EXPECT_EQ(image.height, height);
  EXPECT_EQ(image.channels, channels);
  EXPECT_EQ(image.pixels, pixels);
}

// --- PNG -------------------------------------------------------------------------------------

TEST(PngTest, GreyAndRgbKeepTheirValues) {
  for (const bool interlaced : {false, true})
    for (const int channels : {1, 3})
      for (const auto& [width, height] : {std::pair{1, 1}, {5, 9}, {8, 8}, {33, 17}}) {
        const Image image = NoiseImage(width, height, channels);
        EXPECT_EQ(image, Decode(MakePng({.width = width,
                                         .height = height,
                                         .colour_type = channels == 1 ? 0 : 2,
                                         .interlaced = interlaced,
                                         .rows = image.pixels})));
      }
}

TEST(PngTest, FewBitsOfGreySpanTheRange) {
  ExpectImage(MakePng({.width = 3, .height = 2, .bits = 1, .rows = {0b01000000, 0b10100000}}), 3, 2,
              1, {0, 255, 0, 255, 0, 255});
  ExpectImage(MakePng({.width = 4, .height = 1, .bits = 2, .rows = {0b00011011}}), 4, 1, 1,
              {0, 85, 170, 255});
  ExpectImage(MakePng({.width = 2, .height = 1, .bits = 4, .rows = {0x1f}}), 2, 1, 1, {17, 255});
}

TEST(PngTest, SixteenBitsKeepTheHighByte) {
  ExpectImage(MakePng({.width = 2, .height = 1, .bits = 16, .rows = {0x12, 0xff, 0xff, 0x00}}), 2,
              1, 1, {0x12, 0xff});
  ExpectImage(MakePng({.width = 1,
                       .height = 1,
                       .bits = 16,
                       .colour_type = 2,
                       .rows = {1, 200, 2, 200, 3, 200}}),
              1, 1, 3, {1, 2, 3});
}

TEST(PngTest, PalettesOfAllDepthsBecomeRgb) {
  const Pixels palette = {10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120};
  ExpectImage(MakePng({.width = 2,
                       .height = 1,
                       .bits = 1,
                       .colour_type = 3,
                       .rows = {0b01000000},
                       .palette = {10, 20, 30, 40, 50, 60}}),
              2, 1, 3, {10, 20, 30, 40, 50, 60});
  ExpectImage(MakePng({.width = 2,
                       .height = 1,
                       .bits = 2,
                       .colour_type = 3,
                       .rows = {0b11000000},
                       .palette = palette}),
              2, 1, 3, {100, 110, 120, 10, 20, 30});
  ExpectImage(MakePng({.width = 2,
                       .height = 1,
                       .bits = 8,
                       .colour_type = 3,
                       .rows = {2, 1},
                       .palette = palette}),
              2, 1, 3, {70, 80, 90, 40, 50, 60});
}

TEST(PngTest, TransparencyIsCompositedOnWhite) {
  // (c * a + 255 * (255 - a)) / 255, rounded: 0 at half alpha (128) is 127.
  ExpectImage(MakePng({.width = 3,
                       .height = 1,
                       .colour_type = 6,
                       .rows = {9, 8, 7, 255, 9, 8, 7, 0, 0, 100, 255, 128}}),
              3, 1, 3, {9, 8, 7, 255, 255, 255, 127, 177, 255});
  ExpectImage(MakePng({.width = 2, .height = 1, .colour_type = 4, .rows = {0, 128, 77, 255}}), 2, 1,
              1, {127, 77});
  ExpectImage(
      MakePng({.width = 1, .height = 1, .bits = 16, .colour_type = 4, .rows = {0, 0, 128, 9}}), 1,
      1, 1, {127});
  ExpectImage(MakePng({.width = 2,
                       .height = 1,
                       .colour_type = 3,
                       .rows = {0, 1},
                       .palette = {0, 0, 0, 40, 50, 60},
                       .palette_alpha = {0}}),
              2, 1, 3, {255, 255, 255, 40, 50, 60});
  ExpectImage(MakePng({.width = 2, .height = 1, .rows = {60, 61}, .transparent = {60, 60, 60}}), 2,
              1, 1, {255, 61});
  ExpectImage(MakePng({.width = 2,
                       .height = 1,
                       .colour_type = 2,
                       .rows = {1, 2, 3, 1, 2, 4},
                       .transparent = {1, 2, 3}}),
              2, 1, 3, {255, 255, 255, 1, 2, 4});
}

TEST(PngTest, WhatWePngWriteWeRead) {
  TemporaryFolder folder;
  for (const int channels : {1, 3}) {
    const Image image = NoiseImage(31, 7, channels);
    WritePng(folder / "image.png", image);
    EXPECT_EQ(DecodeFile(folder / "image.png"), image);
  }
}

// --- orientation -----------------------------------------------------------------------------

// What abc/def looks like upright, for each orientation (EXIF 2.3, 4.6.4 A).
constexpr const char* kUpright[8] = {"abc/def",  "cba/fed",  "fed/cba",  "def/abc",
                                     "ad/be/cf", "da/eb/fc", "fc/eb/da", "cf/be/ad"};

std::string Letters(const Image& image) {
  std::string text;
  for (int y = 0; y < image.height; ++y) {
    if (y > 0) text += '/';
    text.append(image.row(y), image.row(y) + image.width);
  }
  return text;
}

TEST(OrientationTest, PngIsTurnedAsItsExifSays) {
  for (const bool big_endian : {false, true})
    for (int o = 1; o <= 8; ++o)
      EXPECT_EQ(kUpright[o - 1], Letters(Decode(MakePng({.width = 3,
                                                         .height = 2,
                                                         .rows = {'a', 'b', 'c', 'd', 'e', 'f'},
                                                         .exif = MakeExif(o, big_endian)}))));
}

TEST(OrientationTest, JpegIsTurnedAsItsExifSays) {
  // One flat 8x8 block per letter, 20 levels apart.
  Pixels pixels(24 * 16);
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 24; ++x)
      pixels[y * 24 + x] = static_cast<uint8_t>(20 * (y / 8 * 3 + x / 8));
  for (int o = 1; o <= 8; ++o) {
    const Image image = Decode(MakeJpeg({.width = 24,
                                         .height = 16,
                                         .channels = 1,
                                         .pixels = pixels,
                                         .exif = MakeExif(o, o % 2 == 0)}));
    Image centres(image.width / 8, image.height / 8, 1);
    for (int y = 0; y < centres.height; ++y)
      for (int x = 0; x < centres.width; ++x)
        centres.row(y)[x] = static_cast<uint8_t>('a' + (image.row(8 * y + 4)[8 * x + 4] + 10) / 20);
    EXPECT_EQ(kUpright[o - 1], Letters(centres)) << "orientation " << o;
  }
}

TEST(OrientationTest, ColourIsTurnedPixelByPixel) {
  ExpectImage(MakePng({.width = 2,
                       .height = 1,
                       .colour_type = 2,
                       .rows = {1, 2, 3, 4, 5, 6},
                       .exif = MakeExif(8, false)}),
              1, 2, 3, {4, 5, 6, 1, 2, 3});
}

TEST(OrientationTest, DamagedExifIsIgnored) {
  const Pixels letters = {'a', 'b', 'c', 'd', 'e', 'f'};
  const std::vector<uint8_t> good = MakeExif(6, false);
  const auto decode = [&](const std::vector<uint8_t>& exif) {
    return Letters(Decode(
        MakeJpeg({.width = 3, .height = 2, .channels = 1, .pixels = letters, .exif = exif})));
  };
  ASSERT_EQ(decode(good).find('/'), 2u);                       // turned: 2 wide
  for (size_t length = 1; length + 8 < good.size(); ++length)  // up to the value itself
    EXPECT_EQ(decode({good.begin(), good.begin() + length}).find('/'), 3u) << length;
  for (const int bad : {0, 9, 65535}) EXPECT_EQ(decode(MakeExif(bad, true)).find('/'), 3u);
  std::vector<uint8_t> far = good;
  std::fill_n(far.begin() + 4, 4, 0xff);  // the directory's offset
  EXPECT_EQ(decode(far).find('/'), 3u);
}

// --- JPEG ------------------------------------------------------------------------------------

TEST(JpegTest, DecodesAsPillowDoes) {
  // Hashes of what Pillow decodes from these very files: smooth colour subsampled 2x2, and grey.
  Pixels pixels;
  for (int y = 0; y < 37; ++y)
    for (int x = 0; x < 45; ++x)
      for (int c = 0; c < 3; ++c)
        pixels.push_back(static_cast<uint8_t>((x * (c + 2) + y * (5 - c) + x * y / (9 + c)) % 256));
  JpegFile file = {.width = 45, .height = 37, .subsampled = true, .quality = 80, .pixels = pixels};
  for (const bool progressive : {false, true}) {
    file.progressive = progressive;
    EXPECT_EQ(Hash(Decode(MakeJpeg(file)).pixels), uint64_t{0x7e971841faeed685});
  }
}

TEST(JpegTest, GreyStaysOneChannel) {
  const Image image = Decode(
      MakeJpeg({.width = 3, .height = 2, .channels = 1, .pixels = {128, 128, 128, 128, 128, 128}}));
  EXPECT_EQ(image.channels, 1);
  EXPECT_EQ(image.pixels, Pixels(6, 128));
}

TEST(JpegTest, CmykAndYcckAreTakenAsInverted) {
  const Pixels inverted = {200, 100, 50, 255, 200, 100, 50, 128, 255, 255, 255, 0};
  const double expected[3][3] = {{200, 100, 50}, {100.4, 50.2, 25.1}, {0, 0, 0}};
  for (const bool ycck : {false, true})
    for (int i = 0; i < 3; ++i) {
      Pixels flat;
      for (int p = 0; p < 64; ++p)
        flat.insert(flat.end(), inverted.begin() + 4 * i, inverted.begin() + 4 * i + 4);
      const Image image =
          Decode(MakeJpeg({.width = 8, .height = 8, .channels = 4, .ycck = ycck, .pixels = flat}));
      ASSERT_EQ(image.channels, 3);
      for (int c = 0; c < 3; ++c)
        EXPECT_NEAR(image.pixels[c], expected[i][c], 2) << "ycck " << ycck << " colour " << i;
    }
}

// --- BMP -------------------------------------------------------------------------------------

TEST(BmpTest, RowsRunFromTheBottomUnlessTheHeightIsNegative) {
  const Pixels rows = {3, 2, 1, 6,  5,  4,  0, 0,
                       9, 8, 7, 12, 11, 10, 0, 0};  // BGR, padded to 4 bytes
  ExpectImage(MakeBmp({.width = 2, .height = 2, .data = rows}), 2, 2, 3,
              {7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6});
  ExpectImage(MakeBmp({.width = 2, .height = -2, .data = rows}), 2, 2, 3,
              {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
}

TEST(BmpTest, PalettesOfOneFourAndEightBits) {
  const Pixels two = {30, 20, 10, 0, 60, 50, 40, 0};  // BGR0
  const Pixels expected = {40, 50, 60, 10, 20, 30};
  const auto with = [&](int bits, const Pixels& row) {
    Pixels data = two;
    data.insert(data.end(), row.begin(), row.end());
    return MakeBmp(
        {.width = 2, .height = 1, .bits = bits, .colours = 2, .before_rows = 8, .data = data});
  };
  ExpectImage(with(1, {0b10000000, 0, 0, 0}), 2, 1, 3, expected);
  ExpectImage(with(4, {0x10, 0, 0, 0}), 2, 1, 3, expected);
  ExpectImage(with(8, {1, 0, 0, 0}), 2, 1, 3, expected);
  // An index beyond the palette is black.
  ExpectImage(with(8, {1, 77, 0, 0}), 2, 1, 3, {40, 50, 60, 0, 0, 0});
}

TEST(BmpTest, SixteenAndThirtyTwoBitsFollowTheirMasks) {
  ExpectImage(MakeBmp({.width = 2, .height = 1, .bits = 16, .data = {0x1f, 0x7c, 0x10, 0x02}}), 2,
              1, 3, {255, 0, 255, 0, 131, 131});  // 5-5-5: 16 * 255 / 31 = 131
  ExpectImage(MakeBmp({.width = 2,
                       .height = 1,
                       .bits = 16,
                       .compression = 3,
                       .before_rows = 12,
                       .data = {0, 0xf8, 0, 0, 0xe0, 0x07, 0, 0, 0x1f, 0, 0, 0,  //
                                0xe0, 0x07, 0x00, 0x04}}),
              2, 1, 3, {0, 255, 0, 0, 129, 0});  // 5-6-5: 32 * 255 / 63 = 129
  ExpectImage(MakeBmp({.width = 1, .height = 1, .bits = 32, .data = {3, 2, 1, 99}}), 1, 1, 3,
              {1, 2, 3});
  ExpectImage(MakeBmp({.width = 1,
                       .height = 1,
                       .bits = 32,
                       .compression = 6,
                       .before_rows = 16,
                       .data = {0, 0, 0xff, 0,  0, 0xff, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0xff,  //
                                0, 0, 0,    128}}),
              1, 1, 3, {127, 127, 127});  // alpha
}

TEST(BmpTest, OldHeadersHaveShortPalettes) {
  const std::vector<uint8_t> core = {'B', 'M', 0,  0,  0,  0,  0,  0,  0,    0, 32, 0,
                                     0,   0,   12, 0,  0,  0,  2,  0,  1,    0, 1,  0,
                                     1,   0,   30, 20, 10, 60, 50, 40, 0x80, 0, 0,  0};
  ExpectImage(core, 2, 1, 3, {40, 50, 60, 10, 20, 30});
}

TEST(BmpTest, RunsLiteralsAndMovesOfRle) {
  Pixels palette;
  for (int i = 0; i < 16; ++i)
    for (int c = 0; c < 4; ++c) palette.push_back(static_cast<uint8_t>(c < 3 ? 10 * i : 0));
  const auto decode = [&](int bits, const Pixels& codes) {
    Pixels data = palette;
    data.insert(data.end(), codes.begin(), codes.end());
    const Image image = Decode(MakeBmp({.width = 6,
                                        .height = 3,
                                        .bits = bits,
                                        .compression = bits == 8 ? 1u : 2u,
                                        .colours = 16,
                                        .before_rows = 64,
                                        .data = data}));
    std::string rows;
    for (int y = 0; y < 3; ++y) {
      for (int x = 0; x < 6; ++x) rows += "0123456789abcdef"[image.row(y)[3 * x] / 10];
      rows += '/';
    }
    return rows;
  };
  // From the bottom: a run; literals (three, padded to 16 bits) after a move; a run that is cut.
  EXPECT_EQ(decode(8, {4, 7, 0, 0, 0, 2, 1, 0, 0, 3, 1, 2, 3, 0, 0, 0, 200, 9, 0, 1}),
            "999999/012300/777700/");
  // Four bits: a run alternates its two values.
  EXPECT_EQ(decode(4, {5, 0x78, 0, 0, 0, 2, 1, 0, 0, 3, 0x12, 0x30, 0, 0, 200, 0x9a, 0, 1}),
            "9a9a9a/012300/787870/");
  ExpectRefusal([&] { decode(8, {4, 7, 0, 0, 2, 1}); }, "truncated BMP");
}

// --- PPM -------------------------------------------------------------------------------------

TEST(PpmTest, AllSixKinds) {
  ExpectImage(BytesOf("P1 # bits\n3 2\n010\n1 1 0"), 3, 2, 1, {255, 0, 255, 0, 0, 255});
  ExpectImage(BytesOf("P2\n#grey\n3 1 #more\n4\n0 2 4\n"), 3, 1, 1, {0, 128, 255});
  ExpectImage(BytesOf("P3 1 2 255 1 2 3\t4\r5 6"), 1, 2, 3, {1, 2, 3, 4, 5, 6});
  ExpectImage(BytesOf("P4 10 1\n\xaa\x80"), 10, 1, 1, {0, 255, 0, 255, 0, 255, 0, 255, 0, 255});
  ExpectImage(BytesOf("P5 2 1 255\n#\n"), 2, 1, 1, {'#', '\n'});  // pixels, not a comment
  ExpectImage(BytesOf("P6 1 1 255 abc"), 1, 1, 3, {'a', 'b', 'c'});
}

TEST(PpmTest, OtherLargestValuesAreScaledAndRoundedHalfToEven) {
  ExpectImage(BytesOf("P2 4 1 6 1 3 5 9"), 4, 1, 1,
              {42, 128, 212, 255});  // 42.5 127.5 212.5 clipped
  std::vector<uint8_t> wide = BytesOf("P5 3 1 65535\n");
  for (const uint8_t byte : {0x00, 0x80, 0x00, 0x81, 0xff, 0xff}) wide.push_back(byte);
  ExpectImage(wide, 3, 1, 1, {0, 1, 255});  // 128 / 257, 129 / 257
}

// --- refusals --------------------------------------------------------------------------------

// Small files of every kind.
struct Sample {
  std::string name;
  std::vector<uint8_t> bytes;
};
std::vector<Sample> Samples() {
  const Pixels grey = Noise(9 * 5), colour = Noise(9 * 5 * 3), four = Noise(9 * 5 * 4);
  Pixels rle(64, 0);
  for (const uint8_t byte : {4, 7, 0, 0, 0, 2, 1, 0, 0, 3, 1, 2, 3, 0, 0, 1}) rle.push_back(byte);
  Pixels bmp(1024);
  bmp.resize(1024 + 12 * 5, 1);
  std::vector<uint8_t> pgm = BytesOf("P5 9 5 255\n");
  pgm.insert(pgm.end(), grey.begin(), grey.end());
  return {
      {"png", MakePng({.width = 9, .height = 5, .rows = grey})},
      {"interlaced png", MakePng({.width = 9,
                                  .height = 5,
                                  .colour_type = 6,
                                  .interlaced = true,
                                  .rows = four,
                                  .exif = MakeExif(6, true)})},
      {"palette png", MakePng({.width = 9,
                               .height = 5,
                               .colour_type = 3,
                               .rows = Pixels(45, 1),
                               .palette = {1, 2, 3, 4, 5, 6},
                               .palette_alpha = {9, 9}})},
      {"jpeg", MakeJpeg({.width = 9,
                         .height = 5,
                         .subsampled = true,
                         .quality = 50,
                         .pixels = colour,
                         .exif = MakeExif(5, false)})},
      {"progressive jpeg",
       MakeJpeg({.width = 9, .height = 5, .progressive = true, .quality = 50, .pixels = colour})},
      {"ycck jpeg",
       MakeJpeg(
           {.width = 9, .height = 5, .channels = 4, .ycck = true, .quality = 50, .pixels = four})},
      {"bmp", MakeBmp({.width = 9, .height = 5, .bits = 8, .before_rows = 1024, .data = bmp})},
      {"32-bit bmp", MakeBmp({.width = 9, .height = -5, .bits = 32, .data = four})},
      {"rle bmp", MakeBmp({.width = 6,
                           .height = 3,
                           .bits = 8,
                           .compression = 1,
                           .colours = 16,
                           .before_rows = 64,
                           .data = rle})},
      {"pgm", pgm},
  };
}

TEST(RefusalTest, EveryTruncationOfEveryKindIsRefused) {
  for (const Sample& sample : Samples()) {
    const std::vector<uint8_t>& bytes = sample.bytes;
    EXPECT_EQ(Refusal([&] { Decode(bytes); }), "") << sample.name;
    for (size_t length = 0; length < bytes.size(); ++length)
      EXPECT_NE(Refusal([&] {
                  Decode({bytes.begin(), bytes.begin() + length});
                }),
                "")
          << sample.name << " cut to " << length << " of " << bytes.size();
  }
}

TEST(RefusalTest, FlippedBytesDecodeOrAreRefused) {
  uint32_t random = 1;
  const auto next = [&](size_t below) {
    random = random * 1664525u + 1013904223u;
    return static_cast<size_t>((uint64_t{random} * below) >> 32);
  };
  for (const auto& [name, bytes] : Samples())
    for (int round = 0; round < 400; ++round) {
      std::vector<uint8_t> damaged = bytes;
      for (size_t flips = 1 + next(3); flips > 0; --flips)
        damaged[next(round % 2 == 0 ? damaged.size() : std::min<size_t>(damaged.size(), 60))] ^=
            static_cast<uint8_t>(1 << next(8));
      // Runs may leave most of a huge image out: valid, but slow.
      const auto high = [&](size_t at) { return damaged[at] | damaged[at + 1] | damaged[at + 2]; };
      if (name == "rle bmp" && (high(19) | high(23)) != 0) continue;
      Refusal([&] {
        const Image image = Decode(damaged);
        EXPECT_EQ(image.pixels.size(), size_t(image.width) * image.height * image.channels);
      });
    }
}

TEST(RefusalTest, WhatIsNoImageIsNamed) {
  ExpectRefusal([] { DecodeBytes({}, "a.png"); }, "a.png: empty file, expected an image");
  ExpectRefusal([] { Decode(BytesOf("GIF89a")); }, "image: not an image, expected PNG");
  ExpectRefusal([] { DecodeFile("/nonexistent/a.png"); },
                "/nonexistent/a.png: cannot open: No such");
  TemporaryFolder folder;
  ExpectRefusal([&] { DecodeFile(folder.path().string()); }, "is a folder, expected a file");
  ExpectRefusal([] { DecodeBytes({}, "two\nlines"); }, "two?lines: ");
}

TEST(RefusalTest, EmptyAndAbsurdlyLargeImagesAreRefused) {
  ExpectRefusal([] { Decode(BytesOf("P6 0 5 255\n")); }, "0x5 pixels, expected at least 1x1");
  ExpectRefusal([] { Decode(MakeBmp({.width = 5, .height = 0})); }, "5x0 pixels");
  ExpectRefusal([] { Decode(MakeBmp({.width = -5, .height = 5})); }, "-5x5 pixels");
  ExpectRefusal([] { Decode(BytesOf("P5 16385 16384 255\n")); },
                "16385x16384 pixels, expected at most 268435456");
  ExpectRefusal([] { Decode(BytesOf("P5 9999999999 9999999999 255\n")); }, "expected at most");
  ExpectRefusal([] { Decode(MakeBmp({.width = 1 << 30, .height = 1 << 30})); }, "expected at most");
  ExpectRefusal([] { Decode(MakeBmp({.width = 1, .height = INT32_MIN})); }, "1x2147483648 pixels");
  // A JPEG's size is in its SOF0 marker, at most 65535 each way.
  std::vector<uint8_t> jpeg = MakeJpeg({.width = 8, .height = 8, .pixels = Pixels(192, 7)});
  for (size_t i = 0; i + 9 < jpeg.size(); ++i)
    if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc0) {
      jpeg[i + 5] = jpeg[i + 7] = 0x80;
      break;
    }
  ExpectRefusal([&] { Decode(jpeg); }, "32776x32776 pixels, expected at most");
}

TEST(RefusalTest, OneByOneAndTwentyThousandPixelsWideDecode) {
  ExpectImage(BytesOf("P6 1 1 255 abc"), 1, 1, 3, {'a', 'b', 'c'});
  const Image wide = NoiseImage(20000, 2, 3);
  EXPECT_EQ(Decode(MakePng({.width = 20000, .height = 2, .colour_type = 2, .rows = wide.pixels})),
            wide);
}

TEST(RefusalTest, KindsOfBmpThatDoNotExistAreNamed) {
  ExpectRefusal([] { Decode(MakeBmp({.width = 1, .height = 1, .bits = 7})); },
                "a BMP of 7 bits with compression 0");
  ExpectRefusal([] { Decode(MakeBmp({.width = 1, .height = 1, .bits = 8, .compression = 5})); },
                "compression 5");
}

}  // namespace
}  // namespace lbrt
