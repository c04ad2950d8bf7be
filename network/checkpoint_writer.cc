// Writes what torch.load opens with weights_only=True, and LibTorch's C++ reader too: plain dicts
// of tensors, each with a storage of its own, in a zip file of stored records.
#include <zip.h>

#include <memory>
#include <span>

#include "images/error.h"
#include "images/file.h"
#include "network/checkpoint.h"

namespace lbrt {
namespace {

constexpr char kFolder[] = "archive/";
constexpr size_t kAlignment = 64;  // of records, as PyTorch does

const char* StorageClass(DType type) {
  switch (type) {
    case DType::kF16:
      return "HalfStorage";
    case DType::kF32:
      return "FloatStorage";
    case DType::kF64:
      return "DoubleStorage";
    case DType::kU8:
      return "ByteStorage";
    case DType::kI8:
      return "CharStorage";
    case DType::kI16:
      return "ShortStorage";
    case DType::kI32:
      return "IntStorage";
    case DType::kI64:
      return "LongStorage";
    case DType::kBool:
      return "BoolStorage";
  }
  return "";  // not reached: every type has a case
}

// Emits protocol 2; opcodes as pickletools names them.
class PickleWriter {
 public:
  PickleWriter() { bytes_ = "\x80\x02"; }  // PROTO 2

  void BeginDict() { bytes_ += "}("; }  // EMPTY_DICT MARK
  void EndDict() { bytes_ += 'u'; }     // SETITEMS

  void Text(const std::string& text) {
    bytes_ += 'X';  // BINUNICODE
    Integer(text.size(), 4);
    bytes_ += text;
  }

  // Its storage becomes the record data/<key>, key = its index in tensors().
  void Tensor(const HostTensor& tensor) {
    Global("torch._utils", "_rebuild_tensor_v2");
    bytes_ += "((";  // MARK MARK
    Text("storage");
    Global("torch", StorageClass(tensor.type));
    Text(std::to_string(tensors_.size()));
    Text("cpu");
    Number(tensor.numel());
    bytes_ += "tQ";  // TUPLE BINPERSID
    Number(0);       // offset
    Numbers(tensor.shape);
    Numbers(Strides(tensor.shape));
    bytes_ += '\x89';  // NEWFALSE: requires no gradient
    Global("collections", "OrderedDict");
    bytes_ += ")RtR";  // EMPTY_TUPLE REDUCE (no hooks), TUPLE REDUCE
    tensors_.push_back(&tensor);
  }

  void Entry(const std::string& name, const HostTensor& tensor) {
    Text(name);
    Tensor(tensor);
  }
  void Entry(const std::string& name, const StateDict& state) {
    Text(name);
    BeginDict();
    for (const std::string& key : state.names()) Entry(key, state.at(key));
    EndDict();
  }

  const std::string& Finish() { return bytes_ += '.'; }  // STOP
  const std::vector<const HostTensor*>& tensors() const { return tensors_; }

 private:
  void Integer(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xff);
  }
  void Number(int64_t value) {
    if (value == static_cast<int32_t>(value)) {
      bytes_ += 'J';  // BININT
      Integer(static_cast<uint64_t>(value), 4);
    } else {
      bytes_ += "\x8a\x08";  // LONG1, 8 bytes
      Integer(static_cast<uint64_t>(value), 8);
    }
  }
  void Numbers(const std::vector<int64_t>& values) {
    bytes_ += '(';
    for (const int64_t value : values) Number(value);
    bytes_ += 't';
  }
  void Global(const std::string& module, const std::string& name) {
    bytes_ += "c" + module + "\n" + name + "\n";
  }
  static std::vector<int64_t> Strides(const std::vector<int64_t>& shape) {
    std::vector<int64_t> strides(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    return strides;
  }

  std::string bytes_;
  std::vector<const HostTensor*> tensors_;
};

// A zip file in memory. What is added must live until Finish.
class ZipWriter {
 public:
  explicit ZipWriter(const std::string& path) : path_(path) {
    source_.reset(zip_source_buffer_create(nullptr, 0, 0, nullptr));
    Require(source_ != nullptr);
    zip_source_keep(source_.get());  // for reading it back after the archive was closed
    zip_.reset(zip_open_from_source(source_.get(), ZIP_TRUNCATE, nullptr));
    if (!zip_) zip_source_free(source_.get());
    Require(zip_ != nullptr);
  }

  void Add(const std::string& record, std::span<const uint8_t> bytes) {
    const std::string name = kFolder + record;
    // Local header: 30 bytes, the name, then an extra field that fills up to the alignment.
    constexpr size_t kHeader = 30, kFieldHeader = 4;
    constexpr zip_uint16_t kPaddingField = 0x4246;  // "FB", as PyTorch calls it
    const size_t begin = offset_ + kHeader + name.size() + kFieldHeader;
    const std::vector<zip_uint8_t> padding((kAlignment - begin % kAlignment) % kAlignment, 'Z');

    zip_source_t* source = zip_source_buffer(zip_.get(), bytes.data(), bytes.size(), 0);
    Require(source != nullptr);
    const zip_int64_t index = zip_file_add(zip_.get(), name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) zip_source_free(source);
    Require(index >= 0);
    const auto entry = static_cast<zip_uint64_t>(index);
    Require(zip_set_file_compression(zip_.get(), entry, ZIP_CM_STORE, 0) == 0);
    // The earliest date of zip files, so that equal checkpoints are equal files.
    Require(zip_file_set_dostime(zip_.get(), entry, 0, 1 << 5 | 1, 0) == 0);
    Require(zip_file_extra_field_set(zip_.get(), entry, kPaddingField, 0, padding.data(),
                                     static_cast<zip_uint16_t>(padding.size()), ZIP_FL_LOCAL) == 0);
    offset_ = begin + padding.size() + bytes.size();
  }

  std::vector<uint8_t> Finish() {
    Require(zip_close(zip_.get()) == 0);
    zip_.release();
    zip_stat_t stat;
    zip_stat_init(&stat);
    Require(zip_source_open(source_.get()) == 0 && zip_source_stat(source_.get(), &stat) == 0);
    std::vector<uint8_t> bytes(stat.size);
    Require(zip_source_read(source_.get(), bytes.data(), bytes.size()) ==
            static_cast<zip_int64_t>(bytes.size()));
    return bytes;
  }

 private:
  void Require(bool done) const {
    if (!done) throw InputError(path_, "cannot write: the zip file cannot be made");
  }

  std::string path_;
  size_t offset_ = 0;
  std::unique_ptr<zip_source_t, void (*)(zip_source_t*)> source_{nullptr, zip_source_free};
  std::unique_ptr<zip_t, void (*)(zip_t*)> zip_{nullptr, zip_discard};
};

std::span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

template <typename T>
HostTensor Scalar(DType type, T value) {
  HostTensor tensor = HostTensor::Zeros(type, {});
  std::memcpy(tensor.bytes.data(), &value, sizeof value);
  return tensor;
}

}  // namespace

void WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint) {
  std::map<std::string, HostTensor> values;
  for (const auto& [name, text] : checkpoint.text) values[name] = HostTensor::FromText(text);
  for (const auto& [name, value] : checkpoint.integers) values[name] = Scalar(DType::kI64, value);
  for (const auto& [name, value] : checkpoint.numbers) values[name] = Scalar(DType::kF64, value);

  PickleWriter pickle;
  pickle.BeginDict();
  pickle.Entry("state_dict", checkpoint.state);
  for (const auto& [name, group] : checkpoint.groups) pickle.Entry(name, group);
  for (const auto& [name, value] : values) pickle.Entry(name, value);
  pickle.EndDict();

  ZipWriter zip(path);
  zip.Add("data.pkl", BytesOf(pickle.Finish()));
  const std::string byte_order = "little", version = "3\n";
  zip.Add("byteorder", BytesOf(byte_order));
  for (size_t i = 0; i < pickle.tensors().size(); ++i)
    zip.Add("data/" + std::to_string(i), pickle.tensors()[i]->bytes);
  zip.Add("version", BytesOf(version));
  WriteFile(path, zip.Finish());
}

}  // namespace lbrt
