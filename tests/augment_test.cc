// images/: what training does to its images. Values named Pillow's or NumPy's come from Pillow 11.3
// and NumPy 2.4, by the calls that torchvision and ReCU's code make; the boxes from torchvision's
// formulas, written out in Python and fed with the same numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "images/augment.h"
#include "images/decode.h"
#include "images/file.h"
#include "images/transform.h"
#include "images/write.h"
#include "tests/image_files.h"

namespace lbrt {
namespace {

using Bytes = std::vector<uint8_t>;

// These numbers, one after the other; a test that draws more fails.
Uniform Numbers(std::deque<double> numbers) {
  return [numbers]() mutable {
    EXPECT_FALSE(numbers.empty()) << "more numbers are drawn than expected";
    if (numbers.empty()) return 0.0;
    const double first = numbers.front();
    numbers.pop_front();
    return first;
  };
}

// The generator of Noise, of 32 bits.
Uniform Lcg(uint32_t seed) {
  return [seed]() mutable { return (seed = seed * 1664525u + 1013904223u) / 4294967296.0; };
}

Image Grey(int width, int height, const Bytes& pixels) {
  Image image(width, height, 1);
  image.pixels = pixels;
  return image;
}

TEST(AugmentationTest, NamesAreReadAndWritten) {
  for (const char* name : {"none", "black", "reflect", "imagenet", "recu-imagenet", "rotate"})
    EXPECT_STREQ(AugmentationName(ParseAugmentation(name)), name);
  EXPECT_EQ(ParseAugmentation("recu-imagenet"), Augmentation::kRecuImageNet);
  ExpectRefusal([] { ParseAugmentation("Black"); },
                "unknown augmentation \"Black\", expected none, black, reflect, imagenet,"
                " recu-imagenet or rotate");
}

// --- moved crops -----------------------------------------------------------------------------

Image Placed(const Image& image, bool reflect, const Placement& placement) {
  Image out(image.width, image.height, image.channels);
  std::fill(out.pixels.begin(), out.pixels.end(), 99);
  Place(image.pixels.data(), image.height, image.width, image.channels, reflect, placement,
        out.pixels.data());
  return out;
}

TEST(PlacementTest, ABlackBorderIsAPaddedImageCropped) {
  const Image image = NoiseImage(7, 6, 3), padded = Pad(image, kCropBorder);
  for (int y = -4; y <= 4; ++y)
    for (int x = -4; x <= 4; ++x) {
      const Image want = ResizeBox(padded, {x + 4, y + 4, 7, 6}, 7, 6);
      EXPECT_EQ(Placed(image, false, {y, x, false}), want) << y << " " << x;
      EXPECT_EQ(Placed(image, false, {y, x, true}), FlipLeftRight(want)) << y << " " << x;
    }
}

TEST(PlacementTest, AReflectedBorderDoesNotRepeatTheEdge) {
  const Image row = Grey(6, 6, [] {
    Bytes pixels;
    for (int i = 0; i < 36; ++i) pixels.push_back(static_cast<uint8_t>(10 * (i / 6) + i % 6));
    return pixels;
  }());
  const auto first_row = [&](const Placement& placement) {
    const Image placed = Placed(row, true, placement);
    return Bytes(placed.row(0), placed.row(0) + 6);
  };
  EXPECT_EQ(first_row({0, 0, false}), Bytes({0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(first_row({0, -4, false}), Bytes({4, 3, 2, 1, 0, 1}));
  EXPECT_EQ(first_row({0, 4, false}), Bytes({4, 5, 4, 3, 2, 1}));
  EXPECT_EQ(first_row({0, 4, true}), Bytes({1, 2, 3, 4, 5, 4}));
  EXPECT_EQ(first_row({-3, 0, false}), Bytes({30, 31, 32, 33, 34, 35}));
  EXPECT_EQ(Placed(row, true, {4, 0, false}).row(5)[0], 10);  // 9 is 1 below 5, reflected
}

TEST(PlacementTest, EveryPlaceIsAsLikely) {
  const auto equal = [](const Placement& p, int y, int x, bool flip) {
    return p.y == y && p.x == x && p.flip == flip;
  };
  EXPECT_TRUE(equal(DrawPlacement(Numbers({0, 0.9999, 0.5})), -4, 4, true));
  EXPECT_TRUE(equal(DrawPlacement(Numbers({4.5 / 9, 1.0 / 9, 0.4999})), 0, -3, false));
  const Uniform uniform = Lcg(5);
  int count[9][9][2] = {};
  constexpr int kDraws = 162 * 400;
  for (int i = 0; i < kDraws; ++i) {
    const Placement p = DrawPlacement(uniform);
    ++count[p.y + 4][p.x + 4][p.flip];
  }
  for (const auto& rows : count)
    for (const auto& places : rows)
      for (const int n : places) EXPECT_NEAR(n, 400, 100);  // five standard deviations of 20
}

// --- boxes -----------------------------------------------------------------------------------

TEST(BoxTest, ResizedAsPillowDoes) {
  const struct {
    int width, height, channels;
    Box box;
    int to_width, to_height;
    uint64_t pillow;
  } cases[] = {
      {40, 30, 3, {3, 5, 20, 17}, 8, 8, 0xf2bc4c4959c8c9ca},
      {40, 30, 1, {0, 0, 40, 30}, 13, 7, 0xf11f1645424b86dc},
      {40, 30, 3, {39, 29, 1, 1}, 3, 2, 0x1772c2b6095bf8f3},
      {40, 30, 3, {10, 4, 12, 9}, 24, 24, 0x5ca73c7dea55feb7},
      {40, 30, 3, {7, 6, 16, 16}, 16, 16, 0xd975f7a2a3b1bb42},
      {301, 200, 3, {50, 20, 211, 160}, 224, 224, 0xf2f74c5b0b6997a6},
  };
  for (const auto& c : cases) {
    const Image image = NoiseImage(c.width, c.height, c.channels);
    EXPECT_EQ(Hash(ResizeBox(image, c.box, c.to_width, c.to_height).pixels), c.pillow)
        << c.box.width << "x" << c.box.height;
  }
  EXPECT_EQ(ResizeBox(NoiseImage(6, 4, 1), {1, 1, 4, 3}, 2, 2).pixels, Bytes({111, 140, 111, 96}));
}

TEST(BoxTest, PixelsOutsideHaveNoPart) {
  Image image = NoiseImage(20, 20, 1);
  const Box box = {5, 6, 8, 7};
  const Image want = ResizeBox(image, box, 3, 3);
  for (int y = 0; y < 20; ++y)
    for (int x = 0; x < 20; ++x)
      if (y < 6 || y >= 13 || x < 5 || x >= 13) image.row(y)[x] ^= 0xff;
  EXPECT_EQ(ResizeBox(image, box, 3, 3), want);
}

// From the same numbers, torchvision's formulas in Python.
TEST(BoxTest, DrawnAsTorchvisionDoes) {
  const struct {
    int width, height;
    double max_area;
    uint32_t seed;
    Box want;
  } cases[] = {
      {500, 375, 1, 1, {193, 66, 227, 245}},
      {500, 375, 1, 123456789, {84, 89, 254, 205}},
      {500, 375, 1, 3000000000, {60, 64, 349, 299}},
      {375, 500, 1.25, 1, {89, 116, 249, 269}},
      {375, 500, 1.25, 123456789, {34, 145, 277, 223}},
      {375, 500, 1.25, 3000000000, {24, 225, 268, 202}},
      {64, 64, 1, 123456789, {9, 18, 38, 30}},
      {64, 64, 1, 3000000000, {5, 17, 52, 44}},
      {1000, 40, 1, 1, {473, 0, 53, 40}},  // no box fits: the centre's
      {40, 1000, 1.25, 1, {0, 473, 40, 53}},
      {1, 1, 1, 1, {0, 0, 1, 1}},
      {333, 250, 1.25, 1, {118, 36, 166, 179}},
      {333, 250, 1.25, 123456789, {51, 53, 185, 149}},
      {333, 250, 1.25, 3000000000, {30, 25, 258, 221}},
  };
  for (const auto& c : cases) {
    const Box box = DrawBox(c.width, c.height, c.max_area, Lcg(c.seed));
    EXPECT_TRUE(box.left == c.want.left && box.top == c.want.top && box.width == c.want.width &&
                box.height == c.want.height)
        << c.width << "x" << c.height << " seed " << c.seed << ": " << box.left << " " << box.top
        << " " << box.width << " " << box.height;
  }
}

TEST(BoxTest, AfterTenThatDoNotFitTheWholeOfACommonShape) {
  std::deque<double> numbers(20, 0.999);  // area 1.25, ratio 4/3, ten times
  const Box box = DrawBox(100, 90, 1.25, Numbers(numbers));
  EXPECT_EQ(box.left, 0);
  EXPECT_EQ(box.width, 100);
  EXPECT_EQ(box.height, 90);
}

TEST(BoxTest, AreasAndRatiosKeepTheirBounds) {
  const Uniform uniform = Lcg(3);
  double area = 0, log_ratio = 0;
  constexpr int kDraws = 4000, kSide = 1000;
  for (int i = 0; i < kDraws; ++i) {
    const Box box = DrawBox(kSide, kSide, 1.0, uniform);
    ASSERT_GE(box.left, 0);
    ASSERT_GE(box.top, 0);
    ASSERT_LE(box.left + box.width, kSide);
    ASSERT_LE(box.top + box.height, kSide);
    const double ratio = static_cast<double>(box.width) / box.height;
    EXPECT_GT(ratio, 0.745);
    EXPECT_LT(ratio, 1.342);
    area += static_cast<double>(box.width) * box.height / (kSide * kSide);
    log_ratio += std::log(ratio);
  }
  EXPECT_GT(area / kDraws, 0.45);  // below 0.54: large boxes of uneven sides do not fit
  EXPECT_LT(area / kDraws, 0.54);
  EXPECT_NEAR(log_ratio / kDraws, 0, 0.012);
}

// --- rotation, flip, lighting ----------------------------------------------------------------

TEST(RotateTest, IsPillows) {
  const struct {
    int width, height, channels;
    double degrees;
    uint64_t pillow;
  } cases[] = {
      {32, 32, 3, 20.0, 0x8cd82883a7b3d14f},      {32, 32, 3, -20.0, 0x1e4595a2611fb9ea},
      {31, 17, 1, 7.25, 0x884ab43215e4f598},      {224, 224, 3, -13.37, 0xc65e90b6a4713e41},
      {64, 64, 3, 0.001, 0x9fb6c6c1cf946b73},     {5, 5, 1, 0.0, 0x49e7839921538f19},
      {33, 32, 3, 19.999, 0x1b9fbd6bbc273557},
  };
  for (const auto& c : cases)
    EXPECT_EQ(Hash(Rotate(NoiseImage(c.width, c.height, c.channels), c.degrees).pixels), c.pillow)
        << c.width << "x" << c.height << " by " << c.degrees;
  Image image(5, 5, 1);
  for (int i = 0; i < 25; ++i) image.pixels[i] = static_cast<uint8_t>(i + 1);
  EXPECT_EQ(Rotate(image, 20).pixels,
            Bytes({0, 3, 4,  5,  0,  1,  7, 8,  9,  15, 6, 12, 13,
                   14, 20, 11, 17, 18, 19, 25, 0, 21, 22, 23, 0}));
}

TEST(RotateTest, AnglesAreFromMinus20To20) {
  EXPECT_EQ(DrawRotation(Numbers({0})), -20);
  EXPECT_EQ(DrawRotation(Numbers({0.5})), 0);
  EXPECT_EQ(DrawRotation(Numbers({0.75})), 10);
}

TEST(FlipTest, MirrorsLeftAndRight) {
  Image image(3, 2, 3);
  for (size_t i = 0; i < 18; ++i) image.pixels[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(FlipLeftRight(image).pixels,
            Bytes({6, 7, 8, 3, 4, 5, 0, 1, 2, 15, 16, 17, 12, 13, 14, 9, 10, 11}));
  EXPECT_FALSE(DrawFlip(Numbers({0.4999})));
  EXPECT_TRUE(DrawFlip(Numbers({0.5})));
}

TEST(LightingTest, ShiftsAreNumPys) {
  const auto shift = DrawLighting(Lcg(7));
  EXPECT_NEAR(shift[0], -0.006099110391890872, 1e-12);
  EXPECT_NEAR(shift[1], -0.008068977247693015, 1e-12);
  EXPECT_NEAR(shift[2], -0.009600681774312314, 1e-12);
}

TEST(LightingTest, TakesOneFromAWholeColourOrNothing) {
  Image image(4, 1, 3);
  image.pixels = {0, 0, 0, 1, 1, 1, 128, 128, 128, 254, 255, 255};
  Image shifted = image;
  AddLighting({0.0, -0.02, 0.02}, shifted);
  EXPECT_EQ(shifted.pixels, Bytes({0, 0, 0, 1, 0, 1, 128, 127, 128, 254, 254, 255}));
  shifted = image;
  AddLighting({-1.5, 300, 1}, shifted);  // clipped, then truncated
  EXPECT_EQ(shifted.pixels, Bytes({0, 255, 1, 0, 255, 2, 126, 255, 129, 252, 255, 255}));
  Image grey = Grey(2, 1, {0, 77});
  AddLighting({-0.5, -0.5, -0.5}, grey);
  EXPECT_EQ(grey.pixels, Bytes({0, 77}));
}

// --- JPEG at less than its size --------------------------------------------------------------

// Smooth, so that an average of pixels says something.
Bytes SmoothJpeg(int width, int height, int orientation = 1) {
  JpegFile jpeg;
  jpeg.width = width;
  jpeg.height = height;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (const int value : {255 * x / width, 255 * y / height, 128})
        jpeg.pixels.push_back(static_cast<uint8_t>(value));
  if (orientation != 1) jpeg.exif = MakeExif(orientation, false);
  return MakeJpeg(jpeg);
}

double MeanDifference(const Image& a, const Image& b) {
  EXPECT_EQ(a.pixels.size(), b.pixels.size());
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) sum += std::abs(a.pixels[i] - b.pixels[i]);
  return sum / static_cast<double>(a.pixels.size());
}

TEST(LeastSideTest, TheShorterSideKeepsIt) {
  const Bytes jpeg = SmoothJpeg(101, 60);
  const struct {
    int least, width, height;
  } cases[] = {{61, 101, 60}, {31, 101, 60}, {30, 51, 30}, {16, 51, 30},
               {15, 26, 15},  {9, 26, 15},   {8, 13, 8},   {1, 13, 8}};
  for (const auto& c : cases) {
    const Image image = DecodeBytes(jpeg, "a.jpg", [&](int width, int height) {
      EXPECT_EQ(width, 101);
      EXPECT_EQ(height, 60);
      return c.least;
    });
    EXPECT_EQ(image.width, c.width) << c.least;
    EXPECT_EQ(image.height, c.height) << c.least;
  }
}

TEST(LeastSideTest, ShowsTheSameAndIsUpright) {
  for (const int orientation : {1, 3, 6, 8}) {
    const Bytes jpeg = SmoothJpeg(96, 64, orientation);
    const bool turned = orientation >= 5;
    const Image whole = DecodeBytes(jpeg, "a.jpg");
    const Image half = DecodeBytes(jpeg, "a.jpg", [&](int width, int height) {
      EXPECT_EQ(width, turned ? 64 : 96);
      EXPECT_EQ(height, turned ? 96 : 64);
      return 32;
    });
    ASSERT_EQ(half.width, turned ? 32 : 48);
    EXPECT_LT(MeanDifference(half, Resize(whole, half.width, half.height)), 1.5) << orientation;
  }
}

TEST(LeastSideTest, OnlyJpegsAreAsked) {
  TemporaryFolder folder;
  WritePng(folder / "a.png", NoiseImage(40, 40, 3));
  const Image image = DecodeFile(folder / "a.png", [](int, int) {
    ADD_FAILURE() << "a PNG is decoded whole";
    return 1;
  });
  EXPECT_EQ(image, NoiseImage(40, 40, 3));
}

// --- whole images ----------------------------------------------------------------------------

Preprocessing Plain(int channels, int resize = 0) {
  Preprocessing p;
  p.channels = channels;
  p.resize = resize;
  p.mean.assign(channels, 0.5);
  p.std.assign(channels, 0.5);
  return p;
}

Dataset InMemory(const Image& image) {
  Dataset data;
  data.source = "memory";
  data.labels = {0};
  data.width = image.width;
  data.height = image.height;
  data.channels = image.channels;
  data.pixels = image.pixels;
  return data;
}

Dataset OneFile(const std::string& path) {
  Dataset data;
  data.source = path;
  data.labels = {0};
  data.files = {path};
  return data;
}

TEST(TrainingImageTest, CropsMoveOverThePreprocessedImage) {
  const Image image = NoiseImage(20, 20, 3), resized = Resize(image, 24, 24);
  const Dataset data = InMemory(image);
  const auto training = [&](Augmentation augmentation, const Uniform& uniform) {
    return TrainingImage(data, 0, Plain(3, 24), augmentation, 24, 24, uniform);
  };
  EXPECT_EQ(training(Augmentation::kNone, Numbers({})), resized);
  const std::deque<double> numbers = {0.95, 0.05, 0.7};  // y 4, x -4, flipped
  EXPECT_EQ(training(Augmentation::kBlack, Numbers(numbers)),
            Placed(resized, false, {4, -4, true}));
  EXPECT_EQ(training(Augmentation::kReflect, Numbers(numbers)),
            Placed(resized, true, {4, -4, true}));
}

TEST(TrainingImageTest, RotationFollowsTheResizing) {
  const Image image = NoiseImage(16, 16, 3);
  EXPECT_EQ(TrainingImage(InMemory(image), 0, Plain(3, 56), Augmentation::kRotate, 56, 56,
                          Numbers({0.25, 0.6})),
            FlipLeftRight(Rotate(Resize(image, 56, 56), -10)));
}

TEST(TrainingImageTest, BoxesAreCutFromTheImageItself) {
  TemporaryFolder folder;
  const Image image = NoiseImage(60, 50, 1);  // grey, as some of ImageNet are
  WritePng(folder / "a.png", image);
  const Image box = ResizeBox(WithChannels(image, 3), DrawBox(60, 50, 1.0, Lcg(9)), 32, 32);
  const auto training = [&](Augmentation augmentation, double flip, double light) {
    // The box of Lcg(9) fits at once: four numbers.
    const Uniform lcg = Lcg(9);
    std::deque<double> numbers = {lcg(), lcg(), lcg(), lcg()};
    if (augmentation == Augmentation::kRecuImageNet)
      numbers.insert(numbers.end(), {0.9, light, 0.9, 0.25, 0.9, 0.25});
    numbers.push_back(flip);
    return TrainingImage(OneFile(folder / "a.png"), 0, Plain(3, 40), augmentation, 32, 32,
                         Numbers(numbers));
  };
  EXPECT_EQ(training(Augmentation::kImageNet, 0.1, 0), box);
  EXPECT_EQ(training(Augmentation::kImageNet, 0.9, 0), FlipLeftRight(box));
  // Other boxes, up to 1.25 of the area, and then light: less of all colours, or not.
  const Uniform lcg = Lcg(9);
  Image lit = ResizeBox(WithChannels(image, 3), DrawBox(60, 50, 1.25, lcg), 32, 32);
  EXPECT_EQ(training(Augmentation::kRecuImageNet, 0.1, 0.5), lit);  // the first axis backwards
  for (uint8_t& value : lit.pixels) value = static_cast<uint8_t>(std::max(value - 1, 0));
  EXPECT_EQ(training(Augmentation::kRecuImageNet, 0.9, 0.0), FlipLeftRight(lit));
}

TEST(TrainingImageTest, LargeJpegsAreDecodedSmallerAndShowTheSame) {
  TemporaryFolder folder;
  const std::string path = folder / "a.jpg";
  WriteFile(path, SmoothJpeg(640, 480));
  const Image whole = DecodeFile(path);
  int reduced = 0;
  for (const uint32_t seed : {1u, 123456789u, 3000000000u, 77u, 4000000000u}) {
    const Image want = ResizeBox(whole, DrawBox(640, 480, 1.0, Lcg(seed)), 32, 32);
    Image got =
        TrainingImage(OneFile(path), 0, Plain(3), Augmentation::kImageNet, 32, 32, Lcg(seed));
    // Which way it is turned, the next number decides.
    if (MeanDifference(got, want) > MeanDifference(FlipLeftRight(got), want))
      got = FlipLeftRight(got);
    EXPECT_LT(MeanDifference(got, want), 2) << seed;
    reduced += got != want;
  }
  EXPECT_GT(reduced, 0) << "none was decoded smaller";
}

TEST(TrainingImageTest, OtherSizesAreRefused) {
  const auto refuses = [](const Image& image, Augmentation augmentation, int side,
                          const std::string& part) {
    ExpectRefusal(
        [&] {
          TrainingImage(InMemory(image), 0, Plain(3), augmentation, side, side, Lcg(1));
        },
        part);
  };
  refuses(NoiseImage(20, 10, 3), Augmentation::kBlack, 20,
          "memory[0]: is 20 x 10 pixels after preprocessing, the network takes 20 x 20");
  refuses(NoiseImage(4, 4, 3), Augmentation::kReflect, 4, "too small for a reflected border");
}

}  // namespace
}  // namespace lbrt
