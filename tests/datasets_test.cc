// images/: labelled images from class folders, CIFAR, SVHN and IDX files and NumPy arrays.
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "images/dataset.h"
#include "images/file.h"
#include "images/npy.h"
#include "images/write.h"
#include "tests/image_files.h"
#include "tests/mat_files.h"

namespace lbrt {
namespace {

using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

Dataset Open(const std::string& path, Split split = Split::kTest,
             const std::vector<std::string>& labels = {}) {
  return OpenDataset({path}, split, labels);
}

// --- class folders ---------------------------------------------------------------------------

// a.png is 1x1 of value 1, and so on: the content says which file was read.
void MakeClass(const TemporaryFolder& folder, const std::string& name,
               const std::vector<uint8_t>& values) {
  fs::create_directory(folder / name);
  for (const uint8_t value : values) {
    Image image(1, 1, 1);
    image.pixels[0] = value;
    WritePng(folder / (name + "/" + static_cast<char>('a' + value) + ".png"), image);
  }
}

TEST(ClassFoldersTest, WithoutLabelsThePositionCounts) {
  TemporaryFolder folder;
  MakeClass(folder, "dog", {3, 1});
  MakeClass(folder, "cat", {2});
  MakeClass(folder, ".hidden", {9});
  WriteFile(folder / "dog/notes.txt", BytesOf("no image"));
  WriteFile(folder / "README", BytesOf("no folder"));
  const Dataset data = Open(folder.path().string());
  ASSERT_EQ(data.size(), 3u);
  EXPECT_EQ(data.labels, std::vector<int>({0, 1, 1}));
  EXPECT_EQ(data.class_names, std::vector<std::string>({"cat", "dog"}));
  EXPECT_EQ(data.name(0), "cat/c.png");
  EXPECT_EQ(data.image(0).pixels, Bytes({2}));
  EXPECT_EQ(data.image(1).pixels, Bytes({1}));  // files are sorted
  EXPECT_EQ(data.image(2).pixels, Bytes({3}));
}

TEST(ClassFoldersTest, AModelsLabelsNameTheClasses) {
  TemporaryFolder folder;
  MakeClass(folder, "cat", {1});
  MakeClass(folder, "dog", {2});
  const Dataset data = Open(folder.path().string(), Split::kTest, {"bird", "dog", "frog", "cat"});
  EXPECT_EQ(data.labels, std::vector<int>({3, 1}));
  EXPECT_EQ(data.class_names[3], "cat");
}

TEST(ClassFoldersTest, FoldersThatMeetInOneLabelAreRefused) {
  TemporaryFolder folder;
  MakeClass(folder, "cat", {1});  // unknown: position 0
  MakeClass(folder, "dog", {2});  // label 0
  ExpectRefusal(
      [&] {
        Open(folder.path().string(), Split::kTest, {"dog", "frog"});
      },
      "dog: label 0 is another folder's");
  ExpectRefusal([&] { Open(folder.path().string(), Split::kTest, {"bird"}); },
                "dog: label 1 is another folder's or not the model's");
}

TEST(ClassFoldersTest, EmptyOnesAreRefused) {
  TemporaryFolder folder;
  ExpectRefusal([&] { Open(folder.path().string()); }, "no folders, expected one folder of images");
  fs::create_directory(folder / "cat");
  ExpectRefusal([&] { Open(folder.path().string()); }, "/cat: no images, expected .png");
  WriteFile(folder / "cat/a.png", BytesOf("no png"));
  const Dataset data = Open(folder.path().string());
  ExpectRefusal([&] { data.image(0); }, "/cat/a.png: not an image");
}

// --- training and test images side by side ---------------------------------------------------

TEST(SplitTest, ChoosesTrainOrVal) {
  TemporaryFolder folder;
  for (const char* half : {"train", "val", "test"}) fs::create_directory(folder / half);
  MakeClass(folder, "train/n2", {3});
  MakeClass(folder, "train/n1", {1, 2});
  MakeClass(folder, "train/n0", {7});
  MakeClass(folder, "val/n2", {4});  // n0 and n1 have no test images: n2 stays the third class
  MakeClass(folder, "test/n1", {5});
  const std::string path = folder.path().string();
  const Dataset train = Open(path, Split::kTrain), val = Open(path, Split::kTest);
  EXPECT_EQ(train.labels, std::vector<int>({0, 1, 1, 2}));
  EXPECT_EQ(train.class_names, std::vector<std::string>({"n0", "n1", "n2"}));
  EXPECT_EQ(train.image(3).pixels, Bytes({3}));
  EXPECT_EQ(val.labels, std::vector<int>({2}));
  EXPECT_EQ(val.class_names, train.class_names);
  EXPECT_EQ(val.image(0).pixels, Bytes({4}));
  EXPECT_EQ(Open(path, Split::kTest, {"n2", "n1", "n0"}).labels, std::vector<int>({0}));
  // The folder that the archive of imagenette unpacks to, below the one given.
  TemporaryFolder outer;
  fs::copy(folder.path(), outer / "imagenette2-160", fs::copy_options::recursive);
  EXPECT_EQ(Open(outer.path().string(), Split::kTest).labels, val.labels);

  fs::remove_all(folder / "val");
  EXPECT_EQ(Open(path, Split::kTest).image(0).pixels, Bytes({5}));  // test/, then
  fs::remove_all(folder / "test");
  ExpectRefusal([&] { Open(path, Split::kTest); },
                "holds train/ only, expected the test images in val/ or test/");
}

TEST(SplitTest, FoldersThatDoNotFitAreRefused) {
  TemporaryFolder folder;
  fs::create_directory(folder / "train");
  fs::create_directory(folder / "val");
  const std::string path = folder.path().string();
  MakeClass(folder, "val/n1", {4});
  EXPECT_EQ(Open(path, Split::kTest).labels, std::vector<int>({0}));  // its own classes
  ExpectRefusal([&] { Open(path, Split::kTrain); }, "/train: no class folders");
  MakeClass(folder, "train/n0", {1});
  ExpectRefusal([&] { Open(path, Split::kTest); },
                "/val/n1: is none of the training images' classes");
  fs::remove_all(folder / "val/n1");
  ExpectRefusal([&] { Open(path, Split::kTest); }, "/val: no folders, expected one folder");
}

// Tiny-ImageNet: train/n1/images/*.JPEG, and val/images/ with a table of their classes.
class TinyImageNetTest : public testing::Test {
 protected:
  TinyImageNetTest() {
    for (const char* name : {"train", "train/n1", "train/n2", "val", "test", "test/images"})
      fs::create_directories(folder_ / ("tiny-imagenet-200/" + std::string(name)));
    MakeClass(folder_, "tiny-imagenet-200/train/n1/images", {1, 2});
    MakeClass(folder_, "tiny-imagenet-200/train/n2/images", {3});
    WriteFile(folder_ / "tiny-imagenet-200/train/n1/n1_boxes.txt", BytesOf("b.JPEG\t0\t0\t1\t1\n"));
    MakeClass(folder_, "tiny-imagenet-200/val/images", {4, 5, 6});
    WriteTable("e.png\tn2\t0\t0\t1\t1\nf.png\tn1\t0\t0\t1\t1\r\ng.png\tn2\t0\t0\t1\t1\n");
  }
  void WriteTable(const std::string& text) {
    WriteFile(folder_ / "tiny-imagenet-200/val/val_annotations.txt", BytesOf(text));
  }
  Dataset OpenTiny(Split split) { return Open(folder_.path().string(), split); }

  TemporaryFolder folder_;
};

TEST_F(TinyImageNetTest, TrainingImagesLieOneFolderDeeper) {
  const Dataset train = OpenTiny(Split::kTrain);
  EXPECT_EQ(train.labels, std::vector<int>({0, 0, 1}));
  EXPECT_EQ(train.class_names, std::vector<std::string>({"n1", "n2"}));
  EXPECT_EQ(train.image(2).pixels, Bytes({3}));
}

TEST_F(TinyImageNetTest, ATableNamesTheClassesOfTheValidationImages) {
  const Dataset val = OpenTiny(Split::kTest);
  EXPECT_EQ(val.labels, std::vector<int>({1, 0, 1}));
  EXPECT_EQ(val.class_names, std::vector<std::string>({"n1", "n2"}));
  EXPECT_EQ(val.image(1).pixels, Bytes({5}));
}

TEST_F(TinyImageNetTest, TablesThatDoNotFitAreRefused) {
  const auto refuses = [&](const std::string& table, const std::string& part) {
    WriteTable(table);
    ExpectRefusal([&] { OpenTiny(Split::kTest); }, part);
  };
  refuses("e.png\tn2\nf.png\tn1\n", "images/g.png: has no line in ");
  refuses("e.png\tn2\nf.png\tn1\ng.png\tn1\nh.png\tn1\n", "images: 3 images, expected 4");
  refuses("e.png\tn2\nf.png\tn3\n", "val_annotations.txt: n3 is none of the training images'");
  refuses("e.png n2\n", "val_annotations.txt: a line without tabs");
  fs::remove_all(folder_ / "tiny-imagenet-200/train");
  refuses("e.png\tn2\nf.png\tn1\ng.png\tn1\n",
          "train: no class folders, expected Tiny-ImageNet's training images");
}

// --- SVHN ------------------------------------------------------------------------------------

void ExpectSvhnImage(const Dataset& data, size_t i, size_t in_file, uint32_t seed) {
  const Bytes columns = Noise((in_file + 1) * 3072, seed);
  const Image image = data.image(i);
  ASSERT_EQ(image.pixels.size(), 3072u);
  for (int y = 0; y < 32; ++y)
    for (int x = 0; x < 32; ++x)
      for (int c = 0; c < 3; ++c)
        ASSERT_EQ(image.row(y)[3 * x + c], columns[in_file * 3072 + c * 1024 + x * 32 + y]);
}

TEST(SvhnTest, TrainingTakesTheExtraImagesToo) {
  TemporaryFolder folder;
  const std::string path = folder.path().string();
  WriteMat(folder / "train_32x32.mat", {SvhnImages(3, 1), SvhnLabels({1, 10, 9})});
  WriteMat(folder / "test_32x32.mat", {SvhnImages(1, 2), SvhnLabels({5})});
  EXPECT_EQ(Open(path, Split::kTrain).labels, std::vector<int>({1, 0, 9}));  // 10 is the digit 0
  WriteMat(folder / "extra_32x32.mat", {SvhnImages(2, 3), SvhnLabels({10, 2})});
  const Dataset train = Open(path, Split::kTrain), test = Open(path, Split::kTest);
  EXPECT_EQ(train.labels, std::vector<int>({1, 0, 9, 0, 2}));
  ASSERT_EQ(train.size(), 5u);
  ExpectSvhnImage(train, 1, 1, 1);
  ExpectSvhnImage(train, 4, 1, 3);
  EXPECT_EQ(test.labels, std::vector<int>({5}));
  ExpectSvhnImage(test, 0, 0, 2);
  ASSERT_EQ(test.class_names.size(), 10u);
  EXPECT_EQ(test.class_names[7], "7");
}

TEST(SvhnTest, ArraysMayBeUncompressedAndLabelsDoubles) {
  TemporaryFolder folder;
  const double labels[] = {10, 3};
  Bytes bytes(sizeof labels);
  std::memcpy(bytes.data(), labels, sizeof labels);
  WriteMat(folder / "test_32x32.mat",
           {{"y", MAT_C_DOUBLE, {2, 1}, bytes}, SvhnImages(2, 4)}, MAT_COMPRESSION_NONE);
  const Dataset test = Open(folder.path().string());
  EXPECT_EQ(test.labels, std::vector<int>({0, 3}));
  ExpectSvhnImage(test, 1, 1, 4);
}

TEST(SvhnTest, OtherVariablesAreRefused) {
  TemporaryFolder folder;
  const auto refuses = [&](const std::vector<MatVariable>& variables, const std::string& part) {
    WriteMat(folder / "test_32x32.mat", variables);
    ExpectRefusal([&] { Open(folder.path().string()); }, "test_32x32.mat: " + part);
  };
  const MatVariable x = SvhnImages(2, 1), y = SvhnLabels({1, 2});
  refuses({x}, "holds no variable y, expected X and y");
  refuses({y}, "holds no variable X");
  refuses({x, SvhnLabels({1, 2, 3})}, "y is [3 1] of class 9, expected [2 1]");
  refuses({x, {"y", MAT_C_INT16, {2, 1}, {1, 0, 2, 0}}}, "y is [2 1] of class 10");
  refuses({x, SvhnLabels({1, 11})}, "label 11.000000 of image 1, expected 1 to 10");
  refuses({x, SvhnLabels({0, 1})}, "label 0.000000 of image 0, expected 1 to 10");
  refuses({{"X", MAT_C_UINT8, {32, 3, 32, 2}, Noise(6144)}, y}, "X is [32 3 32 2] of class 9");
  refuses({{"X", MAT_C_UINT8, {32, 32, 3}, Noise(3072)}, y}, "X is [32 32 3] of class 9");
  refuses({{"X", MAT_C_INT16, {32, 32, 3, 1}, Noise(6144)}, y}, "X is [32 32 3 1] of class 10");
  fs::rename(folder / "test_32x32.mat", folder / "train_32x32.mat");
  ExpectRefusal([&] { Open(folder.path().string()); },
                "test_32x32.mat: no such file, expected a part of SVHN;"
                " scripts/get-data.sh svhn DIR downloads it");
}

TEST(SvhnTest, TruncatedFilesAndOtherVersionsAreRefused) {
  TemporaryFolder folder;
  const std::string path = folder / "test_32x32.mat";
  for (const matio_compression compression : {MAT_COMPRESSION_NONE, MAT_COMPRESSION_ZLIB}) {
    WriteMat(path, {SvhnImages(1, 1), SvhnLabels({1})}, compression);
    const Bytes bytes = ReadFile(path);
    // Inside the header, the tags and the arrays of both variables, and one byte short.
    for (size_t length = 0; length < bytes.size(); length += length < 256 ? 8 : 331) {
      WriteFile(path, Bytes(bytes.begin(), bytes.begin() + length));
      ExpectRefusal([&] { Open(folder.path().string()); }, "test_32x32.mat: ");
    }
    WriteFile(path, Bytes(bytes.begin(), bytes.end() - 1));
    ExpectRefusal([&] { Open(folder.path().string()); }, "truncated or damaged");
  }
  WriteMat(path, {{"y", MAT_C_DOUBLE, {1, 1}, Bytes(8)}}, MAT_COMPRESSION_NONE, MAT_FT_MAT4);
  ExpectRefusal([&] { Open(folder.path().string()); }, "not a MATLAB file of version 5");
}

// --- CIFAR -----------------------------------------------------------------------------------

// Records whose planes are noise: the pixel (y, x) of record i, colour c is at a known place.
Bytes CifarRecords(size_t count, size_t label_bytes, uint8_t first_label) {
  Bytes bytes;
  for (size_t i = 0; i < count; ++i) {
    if (label_bytes == 2) bytes.push_back(19);  // the coarse label
    bytes.push_back(static_cast<uint8_t>(first_label + i));
    const Bytes planes = Noise(3072, static_cast<uint32_t>(first_label + i));
    bytes.insert(bytes.end(), planes.begin(), planes.end());
  }
  return bytes;
}

void ExpectCifarImage(const Dataset& data, size_t i, uint8_t label) {
  const Bytes planes = Noise(3072, label);
  const Image image = data.image(i);
  ASSERT_EQ(image.pixels.size(), 3072u);
  EXPECT_EQ(data.labels[i], label);
  for (int p = 0; p < 1024; ++p)
    for (int c = 0; c < 3; ++c) ASSERT_EQ(image.pixels[3 * p + c], planes[1024 * c + p]);
}

TEST(CifarTest, RecordsOf3073BytesAreCifar10) {
  TemporaryFolder folder;
  WriteFile(folder / "some.bin", CifarRecords(3, 1, 4));
  const Dataset data = Open(folder / "some.bin");
  ASSERT_EQ(data.size(), 3u);
  for (uint8_t i = 0; i < 3; ++i) ExpectCifarImage(data, i, 4 + i);
  EXPECT_EQ(data.name(2), "some.bin[2]");
  EXPECT_TRUE(data.class_names.empty());
}

TEST(CifarTest, RecordsOf3074BytesAreCifar100WithTheFineLabel) {
  TemporaryFolder folder;
  WriteFile(folder / "some.bin", CifarRecords(2, 2, 98));
  const Dataset data = Open(folder / "some.bin");
  ASSERT_EQ(data.size(), 2u);
  for (uint8_t i = 0; i < 2; ++i) ExpectCifarImage(data, i, 98 + i);
}

TEST(CifarTest, FoldersHaveTheirSplitsAndNames) {
  TemporaryFolder folder;
  fs::create_directory(folder / "cifar-10-batches-bin");
  const std::string inside = "cifar-10-batches-bin/";
  for (uint8_t i = 1; i <= 5; ++i)
    WriteFile(folder / (inside + "data_batch_" + std::to_string(i) + ".bin"),
              CifarRecords(1, 1, i));
  WriteFile(folder / (inside + "test_batch.bin"), CifarRecords(1, 1, 9));
  WriteFile(folder / (inside + "batches.meta.txt"), BytesOf("a\nb\nc\nd\ne\nf\ng\nh\ni\r\nj\n\n"));
  for (const std::string& path : {folder.path().string(), folder / "cifar-10-batches-bin"}) {
    const Dataset train = Open(path, Split::kTrain), test = Open(path, Split::kTest);
    EXPECT_EQ(train.labels, std::vector<int>({1, 2, 3, 4, 5}));
    ExpectCifarImage(train, 4, 5);
    EXPECT_EQ(test.labels, std::vector<int>({9}));
    ASSERT_EQ(test.class_names.size(), 10u);
    EXPECT_EQ(test.class_names[8], "i");
  }
  fs::remove(folder / (inside + "data_batch_3.bin"));
  ExpectRefusal([&] { Open(folder.path().string(), Split::kTrain); },
                "data_batch_3.bin: no such file, expected a part of CIFAR-10;"
                " scripts/get-data.sh cifar10 DIR downloads it");
}

TEST(CifarTest, TheFolderOfCifar100Too) {
  TemporaryFolder folder;
  WriteFile(folder / "train.bin", CifarRecords(2, 2, 0));
  WriteFile(folder / "test.bin", CifarRecords(1, 2, 7));
  EXPECT_EQ(Open(folder.path().string(), Split::kTrain).size(), 2u);
  ExpectCifarImage(Open(folder.path().string(), Split::kTest), 0, 7);
}

TEST(CifarTest, DamagedFilesAreRefused) {
  TemporaryFolder folder;
  Bytes bytes = CifarRecords(2, 1, 4);
  bytes.pop_back();
  WriteFile(folder / "cut.bin", bytes);
  ExpectRefusal([&] { Open(folder / "cut.bin"); },
                "cut.bin: 6145 bytes, expected a multiple of 3073 (CIFAR-10) or 3074 (CIFAR-100)");
  WriteFile(folder / "empty.bin", {});
  ExpectRefusal([&] { Open(folder / "empty.bin"); }, "0 bytes, expected a multiple");
  WriteFile(folder / "label.bin", CifarRecords(2, 1, 9));
  ExpectRefusal([&] { Open(folder / "label.bin"); },
                "record 1 has label 10, expected less than 10");
  WriteFile(folder / "label100.bin", CifarRecords(1, 2, 100));
  ExpectRefusal([&] { Open(folder / "label100.bin"); }, "record 0 has label 100, expected less");
}

// --- IDX -------------------------------------------------------------------------------------

Bytes Idx(const std::vector<uint32_t>& header, const Bytes& data) {
  Bytes bytes;
  for (const uint32_t word : header)
    for (int shift = 24; shift >= 0; shift -= 8)
      bytes.push_back(static_cast<uint8_t>(word >> shift));
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

void WriteGzip(const std::string& path, const Bytes& bytes) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
}

TEST(IdxTest, PlainAndGzipPairsAreTheSame) {
  TemporaryFolder folder;
  const Bytes pixels = Noise(3 * 4 * 5);
  const Bytes images = Idx({0x803, 3, 4, 5}, pixels), labels = Idx({0x801, 3}, {7, 0, 255});
  WriteFile(folder / "images", images);
  WriteFile(folder / "labels", labels);
  WriteGzip(folder / "images.gz", images);
  WriteGzip(folder / "labels.gz", labels);
  for (const std::string suffix : {"", ".gz"}) {
    const Dataset data =
        OpenDataset({folder / ("images" + suffix), folder / ("labels" + suffix)}, Split::kTest);
    ASSERT_EQ(data.size(), 3u);
    EXPECT_EQ(data.labels, std::vector<int>({7, 0, 255}));
    EXPECT_EQ(data.pixels, pixels);
    const Image image = data.image(1);
    EXPECT_EQ(image.width, 5);
    EXPECT_EQ(image.height, 4);
    EXPECT_EQ(image.channels, 1);
    EXPECT_EQ(image.pixels, Bytes(pixels.begin() + 20, pixels.begin() + 40));
  }
}

TEST(IdxTest, FoldersHaveTheirSplits) {
  TemporaryFolder folder;
  WriteGzip(folder / "train-images-idx3-ubyte.gz", Idx({0x803, 2, 1, 1}, {1, 2}));
  WriteGzip(folder / "train-labels-idx1-ubyte.gz", Idx({0x801, 2}, {3, 4}));
  WriteFile(folder / "t10k-images-idx3-ubyte", Idx({0x803, 1, 1, 1}, {5}));
  WriteFile(folder / "t10k-labels-idx1-ubyte", Idx({0x801, 1}, {6}));
  EXPECT_EQ(Open(folder.path().string(), Split::kTrain).labels, std::vector<int>({3, 4}));
  EXPECT_EQ(Open(folder.path().string(), Split::kTest).labels, std::vector<int>({6}));
}

TEST(IdxTest, ClassesAreNumbersExceptThoseOfFashionMnist) {
  TemporaryFolder folder;
  const auto names = [&](const Bytes& labels) {
    const auto count = static_cast<uint32_t>(labels.size());
    WriteFile(folder / "images", Idx({0x803, count, 1, 1}, Bytes(count)));
    WriteFile(folder / "labels", Idx({0x801, count}, labels));
    return OpenDataset({folder / "images", folder / "labels"}, Split::kTest).class_names;
  };
  EXPECT_EQ(names({2, 0, 1}), std::vector<std::string>({"0", "1", "2"}));
  Bytes labels = {9, 2, 1, 1, 6, 1, 4, 6, 5, 7};  // as the test labels begin
  labels.resize(10000);
  ASSERT_EQ(names(labels).size(), 10u);
  EXPECT_EQ(names(labels)[9], "Ankle boot");
  labels[0] = 7;  // as MNIST's begin
  EXPECT_EQ(names(labels)[7], "7");
}

TEST(IdxTest, DamagedFilesAreRefused) {
  TemporaryFolder folder;
  const Bytes good_images = Idx({0x803, 2, 4, 5}, Noise(40)), good_labels = Idx({0x801, 2}, {1, 2});
  const auto refuses = [&](const Bytes& images, const Bytes& labels, const std::string& part) {
    WriteFile(folder / "images", images);
    WriteFile(folder / "labels", labels);
    ExpectRefusal([&] { OpenDataset({folder / "images", folder / "labels"}, Split::kTest); }, part);
  };
  Bytes cut = good_images, longer = good_images;
  cut.pop_back();
  longer.push_back(0);
  refuses(cut, good_labels, "images: truncated: 39 bytes, expected 40");
  refuses(longer, good_labels, "images: more bytes than its header says");
  refuses(good_labels, good_images, "images: not the IDX file it should be");
  refuses(good_images, good_images, "labels: not the IDX file it should be");
  refuses(good_images, Idx({0x801, 3}, {1, 2, 3}), "labels: 3 labels, expected 2");
  refuses(Idx({0x803, 2, 0, 5}, {}), good_labels, "images of 5x0 pixels");
  refuses(Idx({0x803, 0xffffffff, 4096, 4096}, {}), good_labels, "truncated: 0 bytes");
  refuses({}, good_labels, "images: truncated");

  WriteGzip(folder / "good.gz", good_images);
  Bytes gzip = ReadFile(folder / "good.gz");
  for (size_t length = 3; length < gzip.size(); ++length) {
    WriteFile(folder / "images", Bytes(gzip.begin(), gzip.begin() + length));
    ExpectRefusal(
        [&] {
          OpenDataset({folder / "images", folder / "labels"}, Split::kTest);
        },
        "images: ");
  }
  gzip[gzip.size() - 6] ^= 1;  // the checksum
  refuses(gzip, good_labels, "images: ");
}

TEST(DatasetTest, WhatIsNoDataSetIsNamed) {
  TemporaryFolder folder;
  ExpectRefusal([&] { Open(folder / "none"); }, "none: no such file or folder");
  WriteFile(folder / "a.png", {});
  ExpectRefusal([&] { Open(folder / "a.png"); },
                "a.png: not a data set by itself, expected a folder");
  ExpectRefusal(
      [&] {
        OpenDataset({folder / "none", folder / "none"}, Split::kTest);
      },
      "none: cannot open");
  ExpectRefusal(
      [&] {
        OpenDataset({folder.path().string(), folder / "a.png"}, Split::kTest);
      },
      "is a folder, expected an IDX file");
  ExpectRefusal([] { OpenDataset({}, Split::kTest); }, "0 paths for a data set");
}

TEST(DatasetTest, ThePublicOnesSayHowToGetThem) {
  const auto says = [](const std::string& path, const std::string& part) {
    ExpectRefusal([&] { Open(path); }, path + ": no such file or folder, expected " + part);
  };
  says("/none/cifar10", "CIFAR-10; scripts/get-data.sh cifar10 DIR downloads it");
  says("/none/CIFAR-100/", "CIFAR-100; scripts/get-data.sh cifar100 DIR downloads it");
  says("/none/svhn", "SVHN; scripts/get-data.sh svhn DIR downloads it");
  says("/none/tiny_imagenet", "Tiny-ImageNet; scripts/get-data.sh tiny-imagenet DIR");
  says("/none/imagenette2", "imagenette; scripts/get-data.sh imagenette DIR");
  says("/none/Fashion-MNIST", "Fashion-MNIST; scripts/get-data.sh fashion-mnist DIR");
  says("/cifar10/data", "a data set; scripts/get-data.sh lists those it downloads");
}

// --- .npy ------------------------------------------------------------------------------------

// A .npy file of format `version` with this header text.
Bytes Npy(const std::string& header, const Bytes& data, int version = 1) {
  Bytes bytes = BytesOf("\x93NUMPY");
  bytes.push_back(static_cast<uint8_t>(version));
  bytes.push_back(0);
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
    bytes.push_back(static_cast<uint8_t>(header.size() >> 8 * i));
  bytes.insert(bytes.end(), header.begin(), header.end());
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

std::string Header(const std::string& descr, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }   \n";
}

NpyArray Read(const Bytes& file) {
  TemporaryFolder folder;
  WriteFile(folder / "a.npy", file);
  return ReadNpy(folder / "a.npy");
}

TEST(NpyTest, ReadsAllVersionsTypesAndRanks) {
  for (const int version : {1, 2, 3}) {
    const NpyArray array = Read(Npy(Header("|u1", "(2, 3)"), {1, 2, 3, 4, 5, 6}, version));
    EXPECT_EQ(array.shape, std::vector<int64_t>({2, 3}));
    EXPECT_EQ(array.integers(), std::vector<int64_t>({1, 2, 3, 4, 5, 6}));
  }
  EXPECT_EQ(Read(Npy(Header("<i4", "(1,)"), {0xfe, 0xff, 0xff, 0xff})).integers(),
            std::vector<int64_t>({-2}));
  EXPECT_EQ(Read(Npy(Header("<i8", "(1,)"), {0, 0, 0, 0, 1, 0, 0, 0})).integers(),
            std::vector<int64_t>({int64_t{1} << 32}));
  EXPECT_EQ(Read(Npy(Header("<f4", "()"), {0, 0, 0xc0, 0x3f})).floats(),
            std::vector<float>({1.5f}));
  EXPECT_EQ(Read(Npy(Header("<f4", "(0, 3)"), {})).count(), 0u);
  // Keys in another order, other quotes, no comma at the end.
  EXPECT_EQ(Read(Npy("{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"|u1\"}", {8, 9})).bytes,
            Bytes({8, 9}));
}

TEST(NpyTest, WhatWeWriteWeReadAndNumPyToo) {
  TemporaryFolder folder;
  const std::vector<float> values = {1.5f, -0.0f, 3e-45f, 4, 5, 6};
  WriteNpy(folder / "a.npy", values, 2, 3);
  const NpyArray array = ReadNpy(folder / "a.npy");
  EXPECT_EQ(array.shape, std::vector<int64_t>({2, 3}));
  EXPECT_EQ(array.floats(), values);
  EXPECT_TRUE(std::signbit(array.floats()[1]));
  // NumPy wants magic, version, and a header that ends in a newline at a multiple of 64 bytes.
  const Bytes bytes = ReadFile(folder / "a.npy");
  ASSERT_EQ(bytes.size(), 128u + 24);
  EXPECT_EQ(std::string(bytes.begin() + 10, bytes.begin() + 69),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
  EXPECT_EQ(bytes[8], 118);
  EXPECT_EQ(bytes[127], '\n');
}

TEST(NpyTest, BadFilesAreRefused) {
  const auto refuses = [](const Bytes& file, const std::string& part) {
    ExpectRefusal([&] { Read(file); }, part);
  };
  const Bytes good = Npy(Header("|u1", "(2, 3)"), {1, 2, 3, 4, 5, 6});
  for (size_t length = 0; length < good.size(); ++length)
    refuses(Bytes(good.begin(), good.begin() + length), "a.npy: ");
  refuses(BytesOf("PK\3\4 not an array"), "not a NumPy array");
  refuses(Npy(Header("|u1", "(1,)"), {1}, 4), ".npy format version 4, expected 1 to 3");
  refuses(Npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", {}),
          "the array is in Fortran order, expected C order");
  for (const char* type : {"<f8", ">f4", "<f2", "|b1", "<U3"})
    refuses(Npy(Header(type, "(1,)"), {}), std::string("elements of type ") + type);
  refuses(Npy(Header("|u1", "(2,)"), {1}), "1 bytes of elements, expected 2");
  refuses(Npy(Header("|u1", "(2,)"), {1, 2, 3}), "3 bytes of elements, expected 2");
  refuses(Npy(Header("<f4", "(4611686018427387904, 4)"), {}), "an array too large for any file");
  for (const char* header :
       {"", "{", "{}", "{'descr': '|u1'}", "{'descr': '|u1', 'fortran_order': False, 'shape': (1}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1 1)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '|u1', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'more': 1}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}", "{'descr"})
    refuses(Npy(header, {1}), "damaged .npy header");
}

TEST(ArraysTest, ImagesAndLabels) {
  TemporaryFolder folder;
  const Bytes pixels = Noise(2 * 3 * 4 * 3);
  WriteFile(folder / "x.npy", Npy(Header("|u1", "(2, 3, 4, 3)"), pixels));
  WriteFile(folder / "y.npy", Npy(Header("<i8", "(2,)"), {7, 0, 0, 0, 0, 0, 0, 0,  //
                                                          1, 0, 0, 0, 0, 0, 0, 0}));
  const Dataset data = OpenDataset({folder / "x.npy", folder / "y.npy"}, Split::kTest);
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(data.labels, std::vector<int>({7, 1}));
  const Image image = data.image(1);
  EXPECT_EQ(image.width, 4);
  EXPECT_EQ(image.height, 3);
  EXPECT_EQ(image.pixels, Bytes(pixels.begin() + 36, pixels.end()));
}

TEST(ArraysTest, ShapesOfImages) {
  TemporaryFolder folder;
  const auto open = [&](const std::string& shape, size_t count) {
    WriteFile(folder / "x.npy", Npy(Header("|u1", shape), Noise(count)));
    return OpenArray(folder / "x.npy");
  };
  EXPECT_EQ(open("(5, 4, 6)", 120).size(), 5u);  // grey
  EXPECT_EQ(open("(5, 4, 6)", 120).image(0).channels, 1);
  EXPECT_EQ(open("(5, 4, 3)", 60).size(), 1u);  // one in colour
  EXPECT_EQ(open("(5, 4, 3)", 60).image(0).channels, 3);
  for (const char* shape : {"(12,)", "(3, 4)", "(1, 2, 3, 2)", "(1, 1, 2, 2, 3)", "(0, 2, 2, 3)"})
    ExpectRefusal([&] { open(shape, std::string(shape) == "(0, 2, 2, 3)" ? 0 : 12); },
                  "x.npy: a uint8 array that holds no images");
}

TEST(ArraysTest, FloatsAreTheNetworksOwnInput) {
  TemporaryFolder folder;
  WriteNpy(folder / "x.npy", std::vector<float>{1, 2, 3, 4, 5, 6}, 3, 2);
  WriteFile(folder / "y.npy", Npy(Header("|u1", "(3,)"), {2, 1, 0}));
  const Dataset data = OpenDataset({folder / "x.npy", folder / "y.npy"}, Split::kTest);
  EXPECT_EQ(data.size(), 3u);
  EXPECT_EQ(data.shape, std::vector<int64_t>({2}));
  EXPECT_EQ(data.values, std::vector<float>({1, 2, 3, 4, 5, 6}));
}

TEST(ArraysTest, LabelsThatDoNotFitAreRefused) {
  TemporaryFolder folder;
  WriteNpy(folder / "x.npy", std::vector<float>{1, 2}, 2, 1);
  const auto refuses = [&](const Bytes& labels, const std::string& part) {
    WriteFile(folder / "y.npy", labels);
    ExpectRefusal([&] { OpenDataset({folder / "x.npy", folder / "y.npy"}, Split::kTest); }, part);
  };
  refuses(Npy(Header("|u1", "(3,)"), {1, 2, 3}), "y.npy: 3 labels, expected 2");
  refuses(Npy(Header("|u1", "(2, 1)"), {1, 2}), "expected an integer array of one axis");
  refuses(Npy(Header("<f4", "(2,)"), Bytes(8)), "expected an integer array of one axis");
  refuses(Npy(Header("<i4", "(2,)"), {0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}), "label -1, expected 0");
  ExpectRefusal(
      [&] {
        OpenDataset({folder / "y.npy", folder / "x.npy"}, Split::kTest);
      },
      "y.npy: integers that are not 8-bit");
}

TEST(ImagesWithoutLabelsTest, AreFilesFoldersArraysAndDataSets) {
  TemporaryFolder folder;
  MakeClass(folder, "cat", {2, 1});
  MakeClass(folder, "dog", {3});
  const std::string cat = folder / "cat", dog = folder / "dog";
  EXPECT_EQ(OpenImages({dog + "/d.png", cat + "/b.png"}).name(1), "cat/b.png");
  EXPECT_EQ(OpenImages({cat}).name(0), "cat/b.png");
  EXPECT_EQ(OpenImages({folder.path().string()}).size(), 3u);  // class folders
  ExpectRefusal([&] { OpenImages({folder / "nothing"}); }, "no such file or folder");
}

}  // namespace
}  // namespace lbrt
