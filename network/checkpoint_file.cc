#include "network/checkpoint_file.h"

#include <zip.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

#include "images/error.h"
#include "images/file.h"

static_assert(std::endian::native == std::endian::little, "tensors are little-endian in memory");

namespace lbrt {
namespace {

using Kind = PickleValue::Kind;

// 0x1950a86a20f9469cfc6c, the number that legacy files begin with, as a pickle holds it.
constexpr char kLegacyMagic[] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kLegacyVersion = 1001;

struct StorageClass {
  const char* name;
  size_t size;                // bytes of an element in the file
  std::optional<DType> type;  // what it is read as; none: legacy files are read past it
};
constexpr StorageClass kStorageClasses[] = {
    {"HalfStorage", 2, DType::kF16},     {"FloatStorage", 4, DType::kF32},
    {"DoubleStorage", 8, DType::kF64},   {"ByteStorage", 1, DType::kU8},
    {"CharStorage", 1, DType::kI8},      {"ShortStorage", 2, DType::kI16},
    {"IntStorage", 4, DType::kI32},      {"LongStorage", 8, DType::kI64},
    {"BoolStorage", 1, DType::kBool},    {"BFloat16Storage", 2, DType::kF32},
    {"ComplexFloatStorage", 8, {}},      {"ComplexDoubleStorage", 16, {}},
    {"QInt8Storage", 1, {}},             {"QUInt8Storage", 1, {}},
    {"QInt32Storage", 4, {}},            {"UntypedStorage", 1, {}},
};

// "torch FloatStorage", "torch.cuda FloatStorage" -> "FloatStorage".
std::string ClassName(const PickleValue& storage) {
  const std::string& name = storage.items[0]->text;
  return name.substr(name.find(' ') + 1);
}

// Null for a class that is not in the list.
const StorageClass* ClassOf(const PickleValue& storage) {
  const std::string name = ClassName(storage);
  for (const StorageClass& entry : kStorageClasses)
    if (name == entry.name) return &entry;
  return nullptr;
}

// a * b, or nothing when it does not fit.
std::optional<int64_t> Product(int64_t a, int64_t b) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// A tensor's place in its storage, in elements; everything in it was checked.
struct View {
  int64_t offset = 0;
  int64_t numel = 1;
  std::vector<int64_t> shape, strides;
};

// Nothing when the view has no meaning or reaches outside `elements`.
std::optional<View> CheckedView(const PickleValue& tensor, int64_t elements) {
  constexpr size_t kMostDimensions = 64;  // PyTorch's own limit
  const auto& shape = tensor.items[2]->items;
  const auto& strides = tensor.items[3]->items;
  if (shape.size() != strides.size() || shape.size() > kMostDimensions) return std::nullopt;

  View view;
  view.offset = tensor.items[1]->integer;
  int64_t last = view.offset;  // the last element that is read
  int64_t extent = 1;          // numel with 1 for each 0, so that no product can overflow
  for (size_t i = 0; i < shape.size(); ++i) {
    if (!shape[i]->is(Kind::kInteger) || !strides[i]->is(Kind::kInteger)) return std::nullopt;
    const int64_t size = shape[i]->integer, stride = strides[i]->integer;
    if (size < 0 || stride < 0) return std::nullopt;
    const auto grown = Product(extent, std::max<int64_t>(size, 1));
    const auto reach = Product(std::max<int64_t>(size - 1, 0), stride);
    if (!grown || !reach || __builtin_add_overflow(last, *reach, &last)) return std::nullopt;
    extent = *grown;
    view.numel *= size;
    view.shape.push_back(size);
    view.strides.push_back(stride);
  }
  if (view.offset < 0 || view.offset > elements) return std::nullopt;
  if (view.numel > 0 && last >= elements) return std::nullopt;
  // More elements than the storage has: stride 0, which no parameter or buffer is saved with.
  if (view.numel > elements) return std::nullopt;
  return view;
}

bool IsContiguous(const View& view) {
  int64_t stride = 1;
  for (size_t d = view.shape.size(); d-- > 0;) {
    if (view.shape[d] != 1 && view.strides[d] != stride) return false;
    stride *= view.shape[d];
  }
  return true;
}

// Copies the elements of a view in C order.
void Gather(const uint8_t* storage, size_t item, const View& view, uint8_t* out) {
  if (view.numel == 0) return;
  if (IsContiguous(view)) {
    std::memcpy(out, storage + static_cast<size_t>(view.offset) * item,
                static_cast<size_t>(view.numel) * item);
    return;
  }
  std::vector<int64_t> index(view.shape.size(), 0);
  int64_t at = view.offset;
  for (int64_t i = 0; i < view.numel; ++i) {
    std::memcpy(out, storage + static_cast<size_t>(at) * item, item);
    out += item;
    for (size_t d = view.shape.size(); d-- > 0;) {
      at += view.strides[d];
      if (++index[d] < view.shape[d]) break;
      at -= index[d] * view.strides[d];
      index[d] = 0;
    }
  }
}

void ReverseEach(std::vector<uint8_t>& bytes, size_t item) {
  for (auto at = bytes.begin(); at != bytes.end(); at += static_cast<ptrdiff_t>(item))
    std::reverse(at, at + static_cast<ptrdiff_t>(item));
}

// bfloat16 is the upper half of a float32.
std::vector<uint8_t> Widened(const std::vector<uint8_t>& halves) {
  std::vector<uint8_t> floats(2 * halves.size());
  for (size_t i = 0; i < halves.size(); i += 2)
    std::memcpy(floats.data() + 2 * i + 2, halves.data() + i, 2);
  return floats;
}

bool BeginsLikeZip(std::span<const uint8_t> head) {
  return head.size() >= 4 && std::memcmp(head.data(), "PK\3\4", 4) == 0;
}

}  // namespace

void CheckpointFile::CloseZip::operator()(zip* archive) const { zip_discard(archive); }

CheckpointFile::CheckpointFile(const std::string& path) : path_(path) {
  uint8_t head[4] = {};
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(head), sizeof head);
  if (!BeginsLikeZip(head)) {
    owned_ = ReadFile(path);
    file_ = owned_;
    OpenLegacy();
    return;
  }
  std::error_code unknown;
  bytes_left_ = std::filesystem::file_size(path_, unknown);
  int code = 0;
  zip_.reset(zip_open(path_.c_str(), ZIP_RDONLY, &code));
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  if (!zip_) FailZip("damaged zip file", error);
  OpenZip();
}

CheckpointFile::CheckpointFile(std::span<const uint8_t> bytes, const std::string& path)
    : path_(path), file_(bytes) {
  if (!BeginsLikeZip(bytes)) {
    OpenLegacy();
    return;
  }
  bytes_left_ = bytes.size();
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  if (source == nullptr) FailZip("cannot be read", error);
  zip_.reset(zip_open_from_source(source, ZIP_RDONLY, &error));
  if (!zip_) {
    zip_source_free(source);
    FailZip("damaged zip file", error);
  }
  OpenZip();
}

void CheckpointFile::FailZip(const std::string& what, const zip_error& error) const {
  zip_error copy = error;
  const std::string text = zip_error_strerror(&copy);
  zip_error_fini(&copy);
  throw InputError(path_, "not a checkpoint: " + what + ": " + text);
}

void CheckpointFile::OpenZip() {
  // Views that share a storage make more bytes than there are in the file, though not many times.
  bytes_left_ = 4 * bytes_left_ + (1 << 20);
  constexpr char kPickleName[] = "/data.pkl";
  constexpr size_t kPickleNameLength = sizeof kPickleName - 1;
  for (zip_int64_t i = 0; i < zip_get_num_entries(zip_.get(), 0) && folder_.empty(); ++i) {
    const char* entry = zip_get_name(zip_.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
    const std::string name = entry != nullptr ? entry : "";
    if (name.size() > kPickleNameLength && name.find('/') == name.size() - kPickleNameLength)
      folder_ = name.substr(0, name.find('/') + 1);
  }
  if (folder_.empty()) throw InputError(path_, "not a checkpoint: a zip file without data.pkl");
  if (zip_name_locate(zip_.get(), (folder_ + "byteorder").c_str(), ZIP_FL_ENC_RAW) >= 0) {
    const Bytes record = ReadRecord("byteorder");
    const std::string order(record.begin(), record.end());
    if (order != "little" && order != "big")
      throw InputError(path_, "byte order \"" + order.substr(0, 24) + "\", expected little or big");
    big_endian_ = order == "big";
  }
  pickle_ = std::make_unique<Pickle>(ReadRecord("data.pkl"), path_);
}

// Pickles one after another: magic, version, what system wrote it, the object, the keys of its
// storages; then per key the number of elements and the elements. Numbers and elements are
// little-endian whatever system wrote them (its mark, "little_endian", says what it computed with).
void CheckpointFile::OpenLegacy() {
  bytes_left_ = 4 * file_.size() + (1 << 20);
  std::span<const uint8_t> rest = file_;
  const auto next = [&] {
    auto pickle = std::make_unique<Pickle>(rest, path_);
    rest = rest.subspan(pickle->size());
    return pickle;
  };
  if (rest.size() < 2 || rest[0] != 0x80 || next()->root().text != kLegacyMagic)
    throw InputError(path_, "not a checkpoint: expected a file that torch.save wrote");
  if (next()->root().integer != kLegacyVersion)
    throw InputError(path_, "not a checkpoint: expected version 1001 of the legacy format");
  next();  // the system
  pickle_ = next();

  std::map<std::string, const PickleValue*> named;
  for (const PickleValue* storage : pickle_->storages()) named.emplace(storage->text, storage);
  const auto keys = next();
  for (const PickleValue* key : keys->root().items) {
    const auto storage = named.find(key->text);
    const StorageClass* type = storage == named.end() ? nullptr : ClassOf(*storage->second);
    if (type == nullptr)
      throw InputError(path_, "storage " + key->text.substr(0, 40) + " has an unsupported type");
    storages_[key->text] =
        ReadLegacyStorage(key->text, storage->second->integer, type->size, &rest);
  }
}

std::span<const uint8_t> CheckpointFile::ReadLegacyStorage(
    const std::string& key, int64_t elements, uint64_t element_size,
    std::span<const uint8_t>* rest) const {
  int64_t found = -1;
  if (rest->size() >= sizeof found) {
    std::memcpy(&found, rest->data(), sizeof found);
    *rest = rest->subspan(sizeof found);
  }
  const auto bytes = Product(found, static_cast<int64_t>(element_size));
  if (found != elements || !bytes || static_cast<uint64_t>(*bytes) > rest->size())
    throw InputError(path_, "truncated: storage " + key + " has not the " +
                                std::to_string(elements) + " elements expected");
  const auto taken = rest->first(static_cast<size_t>(*bytes));
  *rest = rest->subspan(taken.size());
  return taken;
}

void CheckpointFile::Charge(uint64_t bytes) {
  if (bytes > bytes_left_)
    throw InputError(path_, "its tensors have many times the bytes of the file");
  bytes_left_ -= bytes;
}

CheckpointFile::Bytes CheckpointFile::ReadRecord(const std::string& record) {
  const std::string name = folder_ + record;
  zip_stat_t stat;
  zip_stat_init(&stat);
  if (zip_stat(zip_.get(), name.c_str(), ZIP_FL_ENC_RAW, &stat) != 0)
    throw InputError(path_, "no record " + name);
  if ((stat.valid & ZIP_STAT_COMP_METHOD) == 0 || stat.comp_method != ZIP_CM_STORE)
    throw InputError(path_, "record " + name + " is compressed, expected a stored one");
  Charge(stat.size);
  Bytes bytes(stat.size);
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(
      zip_fopen_index(zip_.get(), stat.index, 0), zip_fclose);
  uint8_t beyond;  // reading the end makes libzip compare the checksum
  if (!file ||
      zip_fread(file.get(), bytes.data(), stat.size) != static_cast<zip_int64_t>(stat.size) ||
      zip_fread(file.get(), &beyond, 1) != 0)
    throw InputError(path_, "record " + name + " is damaged");
  return bytes;
}

std::span<const uint8_t> CheckpointFile::StorageBytes(const std::string& key) {
  if (zip_ && storages_.count(key) == 0) storages_[key] = records_[key] = ReadRecord("data/" + key);
  const auto found = storages_.find(key);
  if (found == storages_.end()) throw InputError(path_, "no storage " + key);
  return found->second;
}

bool CheckpointFile::CanRead(const PickleValue& tensor) {
  const StorageClass* type = ClassOf(*tensor.items[0]);
  return type != nullptr && type->type.has_value();
}

HostTensor CheckpointFile::ReadTensor(const std::string& name, const PickleValue& tensor) {
  const PickleValue& storage = *tensor.items[0];
  if (!CanRead(tensor))
    throw InputError(path_, "tensor " + name + ": " + ClassName(storage) + " is not supported");
  const StorageClass& type = *ClassOf(storage);

  int64_t begin = 0, elements = storage.integer;
  if (storage.items.size() > 1) {  // a view of a storage: (key, offset, elements)
    const auto& view = storage.items[1]->items;
    if (view.size() != 3 || view[1]->integer < 0 || view[2]->integer < 0 ||
        view[1]->integer > elements || view[2]->integer > elements - view[1]->integer)
      throw InputError(path_, "tensor " + name + ": its storage's view is outside of the storage");
    begin = view[1]->integer;
    elements = view[2]->integer;
  }
  const auto view = CheckedView(tensor, elements);
  if (!view) throw InputError(path_, "tensor " + name + ": its view is outside of its storage");
  const std::span<const uint8_t> bytes = StorageBytes(storage.text);
  if (bytes.size() / type.size < static_cast<uint64_t>(storage.integer))
    throw InputError(path_, "tensor " + name + ": its storage has " + std::to_string(bytes.size()) +
                                " bytes, expected " + std::to_string(storage.integer) +
                                " elements of " + DTypeName(*type.type));
  constexpr uint64_t kOverhead = 64;  // no tensor takes less of the file, nor of our memory
  Charge(static_cast<uint64_t>(view->numel) * DTypeSize(*type.type) + kOverhead);

  HostTensor result{*type.type, view->shape, Bytes(static_cast<size_t>(view->numel) * type.size)};
  Gather(bytes.data() + static_cast<size_t>(begin) * type.size, type.size, *view,
         result.bytes.data());
  if (big_endian_) ReverseEach(result.bytes, type.size);
  if (type.size != DTypeSize(result.type)) result.bytes = Widened(result.bytes);
  return result;
}

}  // namespace lbrt
