#include "images/dataset.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <climits>
#include <filesystem>
#include <memory>
#include <utility>

#include "images/dataset_parts.h"
#include "images/decode.h"
#include "images/error.h"
#include "images/file.h"
#include "images/npy.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

// --- where to get the public ones ------------------------------------------------------------

// scripts/get-data.sh has the same names.
struct PublicSet {
  const char* name;
  const char* title;
  const char* plain_name;  // `name` without its hyphens
};
constexpr PublicSet kCifar10 = {"cifar10", "CIFAR-10", "cifar10"};
constexpr PublicSet kCifar100 = {"cifar100", "CIFAR-100", "cifar100"};
constexpr PublicSet kSvhn = {"svhn", "SVHN", "svhn"};
// cifar100 before cifar10, which its name begins with.
constexpr PublicSet kPublicSets[] = {kCifar100,
                                     kCifar10,
                                     kSvhn,
                                     {"tiny-imagenet", "Tiny-ImageNet", "tinyimagenet"},
                                     {"imagenette", "imagenette", "imagenette"},
                                     {"fashion-mnist", "Fashion-MNIST", "fashionmnist"}};

std::string HowToGet(const std::string& name) {
  return "; scripts/get-data.sh " + name + " DIR downloads it";
}

// A path that is not there: what its name says it should be.
[[noreturn]] void RefuseMissing(const std::string& path) {
  fs::path name = fs::path(path).filename();
  if (name.empty()) name = fs::path(path).parent_path().filename();  // after "/" at the end
  std::string plain;
  for (const char c : name.string())
    if (std::isalnum(static_cast<unsigned char>(c)))
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const std::string missing = "no such file or folder, expected ";
  for (const PublicSet& set : kPublicSets)
    if (plain.find(set.plain_name) != std::string::npos)
      throw InputError(path, missing + set.title + HowToGet(set.name));
  throw InputError(path, missing + "a data set; scripts/get-data.sh lists those it downloads");
}

// A part of a known set.
std::string Part(const fs::path& file, const PublicSet& set) {
  if (!Exists(file))
    throw InputError(file.string(),
                     std::string("no such file, expected a part of ") + set.title +
                         HowToGet(set.name));
  return file.string();
}

// --- CIFAR -----------------------------------------------------------------------------------

constexpr size_t kCifarSide = 32, kCifarPlane = kCifarSide * kCifarSide;

// Appends one file of records: [coarse label] label, then planes of red, green and blue.
void AppendCifar(const std::string& path, Dataset& data) {
  const std::vector<uint8_t> bytes = ReadFile(path);
  size_t label_bytes = 1;
  if (bytes.size() % (3 * kCifarPlane + 1) != 0 && bytes.size() % (3 * kCifarPlane + 2) == 0)
    label_bytes = 2;
  const size_t record = 3 * kCifarPlane + label_bytes;
  if (bytes.empty() || bytes.size() % record != 0)
    throw InputError(path,
                     std::to_string(bytes.size()) +
                         " bytes, expected a multiple of 3073 (CIFAR-10) or 3074 (CIFAR-100)");
  const int classes = label_bytes == 1 ? 10 : 100;
  const size_t count = bytes.size() / record;
  const size_t before = data.pixels.size();
  data.pixels.resize(before + count * 3 * kCifarPlane);
  uint8_t* out = data.pixels.data() + before;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* planes = bytes.data() + i * record + label_bytes;
    const int label = planes[-1];
    if (label >= classes)
      throw InputError(path, "record " + std::to_string(i) + " has label " + std::to_string(label) +
                                 ", expected less than " + std::to_string(classes));
    data.labels.push_back(label);
    for (size_t p = 0; p < kCifarPlane; ++p)
      for (size_t c = 0; c < 3; ++c) *out++ = planes[c * kCifarPlane + p];
  }
}

Dataset OpenCifar(const std::vector<fs::path>& files) {
  Dataset data;
  data.source = files.size() == 1 ? files[0].string() : files[0].parent_path().string();
  data.height = data.width = kCifarSide;
  data.channels = 3;
  int classes = 0;
  for (const fs::path& file : files) AppendCifar(file.string(), data);
  for (const int label : data.labels) classes = std::max(classes, label + 1);
  const fs::path folder = files[0].parent_path();
  data.class_names = ReadLines(folder / "batches.meta.txt");
  if (data.class_names.empty()) data.class_names = ReadLines(folder / "fine_label_names.txt");
  if (data.class_names.size() < static_cast<size_t>(classes)) data.class_names.clear();
  return data;
}

// --- IDX -------------------------------------------------------------------------------------

// Reads a plain or gzip file from its beginning; zlib tells them apart.
class IdxFile {
 public:
  explicit IdxFile(const std::string& path) : path_(path), file_(gzopen(path.c_str(), "rb")) {
    if (IsFolder(path)) throw InputError(path, "is a folder, expected an IDX file");
    if (!file_) throw InputError(path, "cannot open");
  }

  uint32_t U32() {
    const std::vector<uint8_t> b = Bytes(4);
    return static_cast<uint32_t>(b[0]) << 24 | b[1] << 16 | b[2] << 8 | b[3];
  }
  // In pieces, so that a header that lies about the size costs no memory.
  std::vector<uint8_t> Bytes(uint64_t count) {
    constexpr uint64_t kPiece = uint64_t{1} << 24;
    std::vector<uint8_t> bytes;
    while (bytes.size() < count) {
      const size_t begin = bytes.size();
      const auto piece = static_cast<unsigned>(std::min<uint64_t>(count - begin, kPiece));
      bytes.resize(begin + piece);
      const int got = gzread(file_.get(), bytes.data() + begin, piece);
      if (got != static_cast<int>(piece)) {
        const uint64_t end = begin + static_cast<uint64_t>(std::max(got, 0));
        throw InputError(path_, (got < 0 ? "damaged gzip data: " : "truncated: ") +
                                    std::to_string(end) + " bytes, expected " +
                                    std::to_string(count) + " more");
      }
    }
    return bytes;
  }
  void ExpectEnd() {
    uint8_t byte;
    if (gzread(file_.get(), &byte, 1) > 0)
      throw InputError(path_, "more bytes than its header says");
    int error = Z_OK;  // gzip's checksum, or no end
    gzerror(file_.get(), &error);
    if (error != Z_OK) throw InputError(path_, "damaged gzip data");
  }
  [[noreturn]] void Refuse(const char* expected) const {
    throw InputError(path_, std::string("not the IDX file it should be, expected ") + expected);
  }

 private:
  struct Close {
    void operator()(gzFile_s* file) const { gzclose(file); }
  };
  std::string path_;
  std::unique_ptr<gzFile_s, Close> file_;
};

// The files name no classes, and Fashion-MNIST's are called as MNIST's: its first labels tell it.
std::vector<std::string> IdxClassNames(const std::vector<uint8_t>& labels) {
  static constexpr uint8_t kTrain[] = {9, 0, 0, 3, 0, 2, 7, 2, 5, 5};
  static constexpr uint8_t kTest[] = {9, 2, 1, 1, 6, 1, 4, 6, 5, 7};
  for (const auto& [first, count] : {std::pair(kTrain, 60000u), std::pair(kTest, 10000u)})
    if (labels.size() == count && std::equal(first, first + 10, labels.begin()))
      return {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
              "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  std::vector<std::string> numbers;
  const int last = labels.empty() ? -1 : *std::max_element(labels.begin(), labels.end());
  for (int i = 0; i <= last; ++i) numbers.push_back(std::to_string(i));
  return numbers;
}

Dataset OpenIdx(const std::string& images_path, const std::string& labels_path) {
  Dataset data;
  data.source = images_path;
  data.channels = 1;

  IdxFile images(images_path);
  if (images.U32() != 0x803) images.Refuse("8-bit images (magic number 0x00000803)");
  const uint64_t count = images.U32(), height = images.U32(), width = images.U32();
  constexpr uint64_t kMaxSide = 4096;
  if (height < 1 || height > kMaxSide || width < 1 || width > kMaxSide)
    throw InputError(images_path, "images of " + std::to_string(width) + "x" +
                                      std::to_string(height) +
                                      " pixels, expected 1x1 to 4096x4096");
  data.height = static_cast<int>(height);
  data.width = static_cast<int>(width);
  data.pixels = images.Bytes(count * height * width);
  images.ExpectEnd();

  IdxFile labels(labels_path);
  if (labels.U32() != 0x801) labels.Refuse("8-bit labels (magic number 0x00000801)");
  const uint64_t label_count = labels.U32();
  if (label_count != count)
    throw InputError(labels_path, std::to_string(label_count) + " labels, expected " +
                                      std::to_string(count) + ", one per image");
  const std::vector<uint8_t> bytes = labels.Bytes(label_count);
  labels.ExpectEnd();
  data.labels.assign(bytes.begin(), bytes.end());
  data.class_names = IdxClassNames(bytes);
  return data;
}

// --- arrays ----------------------------------------------------------------------------------

Dataset OpenArrays(const std::string& samples, const std::string& labels) {
  Dataset data = OpenArray(samples);
  const NpyArray array = ReadNpy(labels);
  if (array.type == NpyType::kF32 || array.shape.size() != 1)
    throw InputError(labels, "not labels, expected an integer array of one axis");
  if (array.count() != data.size())
    throw InputError(labels, std::to_string(array.count()) + " labels, expected " +
                                 std::to_string(data.size()) + ", one per sample");
  for (const int64_t label : array.integers()) {
    if (label < 0 || label > INT_MAX)
      throw InputError(labels, "label " + std::to_string(label) + ", expected 0 or more");
    data.labels.push_back(static_cast<int>(label));
  }
  return data;
}

// --- SVHN ------------------------------------------------------------------------------------

// Training takes the extra images too, where they are (methods.md 1.5).
Dataset OpenSvhn(const fs::path& folder, Split split) {
  Dataset data;
  data.source = folder.string();
  for (int digit = 0; digit < 10; ++digit) data.class_names.push_back(std::to_string(digit));
  if (split == Split::kTest) {
    AppendSvhn(Part(folder / "test_32x32.mat", kSvhn), data);
    return data;
  }
  AppendSvhn(Part(folder / "train_32x32.mat", kSvhn), data);
  const fs::path extra = folder / "extra_32x32.mat";
  if (Exists(extra)) AppendSvhn(extra.string(), data);
  return data;
}

// --- folders of known data sets --------------------------------------------------------------

Dataset OpenFolder(const fs::path& folder, Split split, const std::vector<std::string>& labels) {
  const bool train = split == Split::kTrain;
  for (const char* inside :
       {"cifar-10-batches-bin", "cifar-100-binary", "tiny-imagenet-200", "imagenette2-160"})
    if (IsFolder(folder / inside)) return OpenFolder(folder / inside, split, labels);
  if (Exists(folder / "data_batch_1.bin") || Exists(folder / "test_batch.bin")) {
    if (!train) return OpenCifar({Part(folder / "test_batch.bin", kCifar10)});
    std::vector<fs::path> batches;
    for (int i = 1; i <= 5; ++i)
      batches.push_back(Part(folder / ("data_batch_" + std::to_string(i) + ".bin"), kCifar10));
    return OpenCifar(batches);
  }
  if (Exists(folder / "train.bin") || Exists(folder / "test.bin"))
    return OpenCifar({Part(folder / (train ? "train.bin" : "test.bin"), kCifar100)});
  for (const char* part : {"train", "test", "extra"})
    if (Exists(folder / (std::string(part) + "_32x32.mat"))) return OpenSvhn(folder, split);
  const std::string prefix = (folder / (train ? "train" : "t10k")).string();
  for (const char* suffix : {"", ".gz"})
    if (Exists(prefix + "-images-idx3-ubyte" + suffix))
      return OpenIdx(prefix + "-images-idx3-ubyte" + suffix,
                     prefix + "-labels-idx1-ubyte" + suffix);
  if (HoldsSplits(folder)) return OpenSplit(folder, split, labels);
  Dataset data = OpenClassFolders(folder, labels);
  data.whole = true;
  return data;
}

}  // namespace

size_t Dataset::size() const {
  if (!files.empty()) return files.size();
  if (!pixels.empty()) return pixels.size() / (static_cast<size_t>(height) * width * channels);
  size_t each = 1;
  for (const int64_t side : shape) each *= static_cast<size_t>(side);
  return each == 0 ? 0 : values.size() / each;
}

Image Dataset::image(size_t i, const LeastSide& least_side) const {
  if (!files.empty()) return DecodeFile(files[i], least_side);
  Image image(width, height, channels);
  std::copy_n(pixels.begin() + static_cast<std::ptrdiff_t>(i * image.pixels.size()),
              image.pixels.size(), image.pixels.begin());
  return image;
}

std::string Dataset::name(size_t i) const {
  if (files.empty()) return fs::path(source).filename().string() + "[" + std::to_string(i) + "]";
  const fs::path file(files[i]);
  return (file.parent_path().filename() / file.filename()).string();
}

Dataset OpenArray(const std::string& path) {
  NpyArray array = ReadNpy(path);
  Dataset data;
  data.source = path;
  std::vector<int64_t>& shape = array.shape;
  if (array.type == NpyType::kF32) {
    if (shape.empty() || array.count() == 0)
      throw InputError(path, "an empty array, expected samples along its first axis");
    data.values = array.floats();
    data.shape.assign(shape.begin() + 1, shape.end());
    return data;
  }
  if (array.type != NpyType::kU8)
    throw InputError(path, "integers that are not 8-bit, expected uint8 images or float32 inputs");
  const auto is_channels = [](int64_t side) { return side == 1 || side == 3; };
  if (shape.size() == 3 && is_channels(shape[2])) shape.insert(shape.begin(), 1);
  if (shape.size() == 3) shape.push_back(1);
  if (shape.size() != 4 || !is_channels(shape[3]) || array.count() == 0)
    throw InputError(path,
                     "a uint8 array that holds no images, expected [n height width channels]"
                     " with 1 or 3 channels, or [n height width]");
  if (shape[1] > kMaxPixels / shape[2])
    throw InputError(path, "images of more than " + std::to_string(kMaxPixels) + " pixels");
  data.height = static_cast<int>(shape[1]);
  data.width = static_cast<int>(shape[2]);
  data.channels = static_cast<int>(shape[3]);
  data.pixels = std::move(array.bytes);
  return data;
}

Dataset OpenDataset(const std::vector<std::string>& paths, Split split,
                    const std::vector<std::string>& labels) {
  const auto is_array = [](const fs::path& path) { return path.extension() == ".npy"; };
  if (paths.size() == 2) {
    if (is_array(paths[0]) && is_array(paths[1])) return OpenArrays(paths[0], paths[1]);
    return OpenIdx(paths[0], paths[1]);
  }
  if (paths.size() != 1)
    throw InputError(std::to_string(paths.size()) + " paths for a data set, expected one or two");
  const fs::path path = paths[0];
  if (!Exists(path)) RefuseMissing(paths[0]);
  if (IsFolder(path)) return OpenFolder(path, split, labels);
  if (path.extension() == ".bin") {
    Dataset data = OpenCifar({path});
    data.whole = true;
    return data;
  }
  throw InputError(paths[0],
                   "not a data set by itself, expected a folder, a CIFAR .bin, or two"
                   " files: IDX images and labels, or X.npy and y.npy");
}

Dataset OpenImages(const std::vector<std::string>& paths, Split split) {
  const fs::path first = paths.empty() ? fs::path() : fs::path(paths[0]);
  Dataset data;
  if (HasImageExtension(first)) {
    data.files = paths;
  } else if (paths.size() == 1 && IsFolder(first)) {
    for (const fs::path& file : Entries(first, HasImageExtension))
      data.files.push_back(file.string());
  } else if (paths.size() == 1 && first.extension() == ".npy") {
    return OpenArray(paths[0]);
  }
  if (data.files.empty()) return OpenDataset(paths, split);
  data.source = paths[0];
  return data;
}

}  // namespace lbrt
