// images/: Pillow's resizing, torchvision's cropping, preprocessing and its text form, whole files.
#include "images/preprocess.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>

#include "images/file.h"
#include "images/transform.h"
#include "tests/image_files.h"

namespace lbrt {
namespace {

using Pixels = std::vector<uint8_t>;

// --- Resize ----------------------------------------------------------------------------------

TEST(ResizeTest, SmallImageAsPillowResizesIt) {
  EXPECT_EQ(NoiseImage(4, 4, 1).pixels,
            Pixels({60, 94, 129, 180, 12, 94, 198, 142, 4, 163, 64, 108, 151, 214, 60, 251}));
  EXPECT_EQ(Resize(NoiseImage(4, 4, 1), 3, 2).pixels, Pixels({53, 127, 152, 100, 128, 147}));
}

TEST(ResizeTest, EqualsPillowOnNoise) {
  // FNV-1a of Image.fromarray(noise).resize((to_width, to_height), Image.BILINEAR), Pillow 12.0.
  struct {
    int width, height, channels, to_width, to_height;
    uint64_t hash;
  } const cases[] = {
      {32, 32, 3, 28, 28, 0xb14c3d70b19bcdab},     {28, 28, 1, 32, 32, 0x1e4fbb2b2f08ddbc},
      {64, 48, 3, 32, 24, 0x5373f1f76024628a},     {101, 67, 3, 40, 27, 0x370920041def3f12},
      {67, 101, 1, 33, 50, 0x5b7144aa11e60d89},    {1, 1, 3, 7, 5, 0xaf44f714a9a7e84c},
      {1, 9, 1, 4, 36, 0x81bd1756ffc2c585},        {9, 1, 3, 1, 1, 0xc1370a1b3364955f},
      {13, 7, 3, 13, 3, 0xa2d161cc7066b9a1},       {13, 7, 3, 5, 7, 0xb69116e2b769590c},
      {300, 200, 1, 3, 2, 0x32a115c3888e57d2},     {5, 3, 3, 131, 97, 0x4d70aec028362c65},
      {257, 255, 3, 224, 222, 0xcb1eb71294148032}, {31, 31, 1, 1, 1, 0xaf643e4c86029312},
      {2, 2, 3, 3, 3, 0x980dd89d1b97e1de},         {500, 2, 1, 8, 8, 0xa9ee5b5d3391f671},
  };
  for (const auto& c : cases)
    EXPECT_EQ(
        Hash(Resize(NoiseImage(c.width, c.height, c.channels), c.to_width, c.to_height).pixels),
        c.hash)
        << c.width << "x" << c.height << " to " << c.to_width << "x" << c.to_height;
}

TEST(ResizeTest, ARegionIsPartOfTheWhole) {
  const Image image = NoiseImage(50, 37, 3);
  const Image whole = Resize(image, 81, 20);
  for (const Box& box : {Box{0, 0, 81, 20}, {80, 19, 1, 1}, {7, 3, 40, 9}, {0, 10, 81, 10}}) {
    const Image part = Resize(image, {81, 20}, box);
    for (int y = 0; y < box.height; ++y)
      EXPECT_EQ(0, std::memcmp(part.row(y), whole.row(static_cast<int>(box.top) + y) + 3 * box.left,
                               3 * box.width));
  }
}

TEST(ResizeTest, TheSameSizeChangesNothing) {
  const Image image = NoiseImage(19, 23, 3);
  EXPECT_EQ(Resize(image, 19, 23), image);
}

TEST(ResizeTest, TheLongerSideIsTruncatedAsTorchvisionDoes) {
  const auto size = [](int width, int height, int shorter) {
    const Size s = ShorterSideSize(Image(width, height, 1), shorter);
    return std::pair(s.width, s.height);
  };
  EXPECT_EQ(size(500, 375, 256), std::pair(int64_t{341}, int64_t{256}));  // 341.33
  EXPECT_EQ(size(375, 500, 256), std::pair(int64_t{256}, int64_t{341}));
  EXPECT_EQ(size(3, 2, 33), std::pair(int64_t{49}, int64_t{33}));  // 49.5
  EXPECT_EQ(size(7, 7, 28), std::pair(int64_t{28}, int64_t{28}));
  EXPECT_EQ(size(20000, 1, 256), std::pair(int64_t{5120000}, int64_t{256}));
  EXPECT_EQ(ResizeShorterSide(NoiseImage(101, 67, 3), 27), Resize(NoiseImage(101, 67, 3), 40, 27));
}

// --- crops, borders, channels ----------------------------------------------------------------

// 0 1 2 ... in a row or a column.
Image Ramp(int width, int height) {
  Image image(width, height, 1);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i);
  return image;
}

TEST(CenterCropTest, AnOddExcessIsRoundedHalfToEven) {
  for (const auto& [width, first] : {std::pair{4, 0},
                                     {5, 0},
                                     {6, 1},
                                     {7, 2},
                                     {8, 2},
                                     {9, 2},
                                     {10, 3},
                                     {11, 4},
                                     {12, 4},
                                     {13, 4}}) {
    // round((width - 4) / 2.0) in Python: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, 3.5 -> 4, 4.5 -> 4
    EXPECT_EQ(CenterCrop(Ramp(width, 1), 4, 1).pixels[0], first) << width;
    EXPECT_EQ(CenterCrop(Ramp(1, width), 1, 4).pixels[0], first) << width;
  }
}

TEST(CenterCropTest, ASmallImageIsSurroundedWithBlack) {
  Image image(2, 1, 1);
  image.pixels = {7, 9};
  EXPECT_EQ(CenterCrop(image, 5, 2).pixels, Pixels({0, 7, 9, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(CenterCrop(image, 1, 3).pixels, Pixels({0, 7, 0}));  // narrower and taller
}

TEST(PadTest, TheBorderHasOneValue) {
  Image image(1, 1, 3);
  image.pixels = {1, 2, 3};
  Pixels expected(27, 5);
  std::copy_n(image.pixels.begin(), 3, expected.begin() + 12);
  EXPECT_EQ(Pad(image, 1, 5).pixels, expected);
}

TEST(ChannelsTest, ColourBecomesPillowsLuma) {
  EXPECT_EQ(WithChannels(NoiseImage(4, 4, 3), 1).pixels,
            Pixels({88, 72, 143, 99, 178, 214, 138, 28, 133, 90, 107, 149, 210, 227, 87, 91}));
}

TEST(ChannelsTest, GreyIsRepeatedAndComesBack) {
  Image ramp = Ramp(256, 1);
  const Image colour = WithChannels(ramp, 3);
  EXPECT_EQ(colour.pixels[3 * 77 + 1], 77);
  EXPECT_EQ(WithChannels(colour, 1), ramp);
}

// --- Preprocessing ---------------------------------------------------------------------------

const Preprocessing kFashion = {.channels = 3,
                                .resize = 28,
                                .crop_height = 28,
                                .crop_width = 28,
                                .pad = 2,
                                .mean = {0.5, 0.5, 0.5},
                                .std = {0.5, 0.5, 0.5}};

TEST(PreprocessTest, GreyOf28x28IsPaddedAndRepeated) {
  const Image image = NoiseImage(28, 28, 1);
  EXPECT_EQ(Apply(kFashion, image), Pad(WithChannels(image, 3), 2));
}

TEST(PreprocessTest, PhotographsAreResizedThenCropped) {
  const Preprocessing p = {
      .resize = 40, .crop_height = 36, .crop_width = 33, .mean = {0, 0, 0}, .std = {1, 1, 1}};
  const Image image = NoiseImage(171, 97, 3);
  const Image resized = ResizeShorterSide(image, 40);
  ASSERT_EQ(resized.width, 70);  // 37 to drop: round(18.5) = 18 left
  const Image result = Apply(p, image);
  ASSERT_EQ(result.width, 33);
  ASSERT_EQ(result.height, 36);
  for (int y = 0; y < 36; ++y)
    EXPECT_EQ(0, std::memcmp(result.row(y), resized.row(2 + y) + 3 * 18, 3 * 33)) << y;
}

TEST(PreprocessTest, WithoutResizeAndCropTheSizeStays) {
  const Preprocessing p = {.channels = 1, .mean = {0}, .std = {1}};
  EXPECT_EQ(Apply(p, NoiseImage(5, 3, 1)), NoiseImage(5, 3, 1));
}

TEST(PreprocessTest, ThinImagesAreCroppedWithoutBecomingHuge) {
  // Resized whole, this one would have 256 * 5,120,000 pixels.
  Preprocessing p = {
      .resize = 256, .crop_height = 224, .crop_width = 224, .mean = {0, 0, 0}, .std = {1, 1, 1}};
  const Image thin = NoiseImage(20000, 1, 3);
  EXPECT_EQ(Apply(p, thin).pixels.size(), 224u * 224 * 3);
  EXPECT_EQ(Apply(p, NoiseImage(1, 1, 1)).row(100)[300], NoiseImage(1, 1, 1).pixels[0]);
  p.crop_height = p.crop_width = 0;
  ExpectRefusal([&] { Apply(p, thin); }, "20000x1 pixels becomes too large when resized to 256");
}

TEST(PreprocessTest, TheTableIsRoundedOnceFromDouble) {
  const Preprocessing p = {.mean = {0.485, 0.456, 0.406}, .std = {0.229, 0.224, 0.225}};
  const std::vector<float> table = NormaliseTable(p);
  ASSERT_EQ(table.size(), 768u);
  EXPECT_EQ(table[0], static_cast<float>(-0.485 / 0.229));
  EXPECT_EQ(table[256 + 51], static_cast<float>((0.2 - 0.456) / 0.224));
  EXPECT_EQ(table[767], static_cast<float>((1.0 - 0.406) / 0.225));
}

TEST(PreprocessTextTest, SurvivesTheRoundTrip) {
  Preprocessing odd = {.channels = 1,
                       .resize = 256,
                       .crop_height = 224,
                       .crop_width = 200,
                       .pad = 0,
                       .mean = {125.3 / 255},
                       .std = {1e-3 / 3}};
  for (const Preprocessing& p : {kFashion, odd}) EXPECT_EQ(FromText(ToText(p), "p"), p);
}

TEST(PreprocessTextTest, IsReadableAndForgivesBlanksAndComments) {
  EXPECT_EQ(ToText(kFashion),
            "channels = 3\nresize = 28\ncrop = 28 28\npad = 2\nmean = 0.5 0.5 0.5\n"
            "std = 0.5 0.5 0.5\n");
  EXPECT_EQ(FromText("# Fashion-MNIST\n\n channels=3\r\n\tresize =28\ncrop = 28 # square\npad = 2\n"
                     "mean = 0.5  0.5\t0.5\nstd = .5 5e-1 0.5",
                     "p"),
            kFashion);
}

TEST(PreprocessTextTest, BadTextIsRefusedWithItsLine) {
  const std::string rest = "mean = 0\nstd = 1\n";
  const auto refuses = [&](const std::string& text, const std::string& part) {
    ExpectRefusal([&] { FromText(text, "p.txt"); }, part);
  };
  refuses("channels = 1\nresize 28\n" + rest, "p.txt: line 2: expected `key = value`");
  refuses("channels = 1\n\nsize = 28\n" + rest, "p.txt: line 3: unknown key size");
  refuses("channels = 1\nchannels = 1\n" + rest, "line 2: channels is given twice");
  refuses("channels = 2\n" + rest, "line 1: bad channels, expected 1 or 3");
  for (const char* bad : {"resize = -1", "resize = 1.5", "resize =", "resize = x", "resize = 1 2",
                          "resize = 99999999999999", "resize = nan", "resize = 28px"})
    refuses(std::string("channels = 1\n") + bad + "\n" + rest,
            "line 2: bad resize, expected an int");
  refuses("channels = 1\ncrop = 28 0\n" + rest, "line 2: bad crop");
  refuses("channels = 1\npad = 5000\n" + rest, "line 2: bad pad");
  refuses("channels = 1\nmean = 0\nstd = 0\n", "line 3: bad std, expected numbers above 0");
  refuses("channels = 1\nmean = inf\nstd = 1\n", "line 2: bad mean");
  refuses("channels = 3\n" + rest, "1 means and 1 stds, expected 3 of each");
  refuses("channels = 1\nmean = 0\n", "no std is given");
  refuses("", "no channels is given");
}

// --- whole files -----------------------------------------------------------------------------

size_t Entries(const TemporaryFolder& folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

std::string Text(const std::string& path) {
  const std::vector<uint8_t> bytes = ReadFile(path);
  return {bytes.begin(), bytes.end()};
}

TEST(AtomicFileTest, AppearsOnlyWhenCommitted) {
  TemporaryFolder folder;
  {
    AtomicFile file(folder / "a");
    file.Write("one");
    EXPECT_FALSE(std::filesystem::exists(folder / "a"));
    file.Write(" two");
    file.Commit();
  }
  EXPECT_EQ(Text(folder / "a"), "one two");
  {
    AtomicFile file(folder / "a");
    file.Write("never committed");
  }
  EXPECT_EQ(Text(folder / "a"), "one two");
  EXPECT_EQ(Entries(folder), 1u);
}

TEST(AtomicFileTest, AFullDiskLeavesNoPartAndTheOldFile) {
  TemporaryFolder folder;
  WriteFile(folder / "a", BytesOf("old"));
  // Files may grow to 1000 bytes only: the kernel refuses as a full disk does.
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {1000, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string line = Refusal([&] { WriteFile(folder / "a", Noise(5000)); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(line.find("/a: cannot write: "), std::string::npos) << line;
  EXPECT_EQ(Text(folder / "a"), "old");
  EXPECT_EQ(Entries(folder), 1u);
  if (std::filesystem::exists("/dev/full"))
    ExpectRefusal([&] { WriteFile("/dev/full", Noise(10)); }, "/dev/full: cannot write: No space");
}

TEST(AtomicFileTest, LinksAreFollowedAndDevicesStayDevices) {
  TemporaryFolder folder;
  WriteFile(folder / "a", BytesOf("old"));
  std::filesystem::create_symlink("a", folder / "link");
  WriteFile(folder / "link", BytesOf("new"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(Text(folder / "a"), "new");
  WriteFile("/dev/null", BytesOf("x"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
}

TEST(AtomicFileTest, FoldersAreNoFiles) {
  TemporaryFolder folder;
  ExpectRefusal([&] { WriteFile(folder.path().string(), {}); }, "is a folder, expected a file");
  ExpectRefusal([&] { WriteFile(folder / "no/such", {}); }, "no/such: cannot write: No such file");
  ExpectRefusal([&] { ReadFile(folder / "none"); }, "none: cannot open: No such file");
}

}  // namespace
}  // namespace lbrt
