// Files as Python's torch.save writes them, in both containers and of both Pythons: written here
// from the format's description (methods.md section 7), so that tests need no Python.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "network/tensor.h"

namespace lbrt {

class TorchFile {
 public:
  enum class Python : uint8_t { k3, k2 };
  explicit TorchFile(Python python = Python::k3) : python_(python) {}

  // --- Pickled values ----------------------------------------------------------------------------

  using Entries = std::vector<std::pair<std::string, std::string>>;  // name, pickled value

  std::string Text(const std::string& text) const {
    if (python_ == Python::k2 && text.size() < 256)
      return "U" + Number(text.size(), 1) + text;  // SHORT_BINSTRING
    return "X" + Number(text.size(), 4) + text;    // BINUNICODE
  }
  std::string Integer(int64_t value) const {
    if (value >= 0 && value < 256) return "K" + Number(static_cast<uint64_t>(value), 1);
    if (value >= INT32_MIN && value <= INT32_MAX)
      return "J" + Number(static_cast<uint64_t>(value), 4);
    if (python_ == Python::k2) return "I" + std::to_string(value) + "\n";
    return "\x8a\x08" + Number(static_cast<uint64_t>(value), 8);  // LONG1
  }
  std::string Tuple(const std::vector<int64_t>& numbers) const {
    std::string text = "(";
    for (const int64_t number : numbers) text += Integer(number);
    return text + "t";
  }
  std::string Dict(const Entries& entries) const { return "}(" + Pairs(entries) + "u"; }
  // With the attribute _metadata, as a state dict has it.
  std::string OrderedDict(const Entries& entries) const {
    if (python_ == Python::k2) {
      std::string text = "ccollections\nOrderedDict\n](";
      for (const auto& [name, value] : entries) text += "](" + Text(name) + value + "e";
      return text + "e\x85R";
    }
    return "ccollections\nOrderedDict\n)R(" + Pairs(entries) + "u}" + Text("_metadata") +
           "ccollections\nOrderedDict\n)Rs" + "b";
  }

  // The number of a new storage; `type` is its class, e.g. "FloatStorage".
  size_t Storage(const std::string& type, size_t element_size, std::vector<uint8_t> bytes) {
    storages_.push_back({type, element_size, std::move(bytes)});
    return storages_.size() - 1;
  }
  std::string View(size_t storage, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides) const {
    const auto& [type, size, bytes] = storages_[storage];
    return "ctorch._utils\n_rebuild_tensor_v2\n((" + Text("storage") + "ctorch\n" + type + "\n" +
           Text(Key(storage)) + Text("cuda:0") +
           Integer(static_cast<int64_t>(bytes.size() / size)) + (with_views_ ? "Nt" : "t") + "Q" +
           Integer(offset) + Tuple(shape) + Tuple(strides) +
           "\x89" "ccollections\nOrderedDict\n)RtR";
  }
  // With a storage of its own.
  std::string Tensor(const HostTensor& tensor) {
    std::vector<int64_t> strides(tensor.shape.size(), 1);
    for (size_t d = strides.size(); d-- > 1;) strides[d - 1] = strides[d] * tensor.shape[d];
    return View(Storage(ClassOf(tensor.type), DTypeSize(tensor.type), tensor.bytes), 0,
                tensor.shape, strides);
  }
  std::string State(const StateDict& state, const std::string& prefix = "") {
    Entries entries;
    for (const std::string& name : state.names())
      entries.emplace_back(prefix + name, Tensor(state.at(name)));
    return OrderedDict(entries);
  }

  // --- Files -------------------------------------------------------------------------------------

  // Before torch 1.6. The mark says what system wrote it; the bytes are the same.
  std::vector<uint8_t> Legacy(const std::string& root, bool little_endian = true) const {
    std::string file = Pickle("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
    file += Pickle(Integer(1001));
    file += Pickle(Dict({{"protocol_version", Integer(1001)},
                         {"little_endian", little_endian ? "\x88" : "\x89"},
                         {"type_sizes", Dict({{"int", Integer(4)}})}}));
    file += Pickle(root);
    std::string keys = "](";
    for (size_t i = 0; i < storages_.size(); ++i) keys += Text(Key(i));
    file += Pickle(keys + "e");
    for (const auto& [type, size, bytes] : storages_)
      file += Number(bytes.size() / size, 8) + std::string(bytes.begin(), bytes.end());
    return {file.begin(), file.end()};
  }

  // Since torch 1.6; of a big-endian system the storages too.
  std::vector<uint8_t> Zip(const std::string& root, bool big_endian = false) const {
    std::string file, directory;
    int records = 0;
    const auto add = [&](const std::string& name, const std::string& bytes) {
      const std::string sizes = Number(Crc32(bytes), 4) + Number(bytes.size(), 4) +
                                Number(bytes.size(), 4) + Number(name.size(), 2);
      const std::string what = std::string("\0\0\0\0\0\0\0\0", 8);  // stored; no flags, no time
      directory += "PK\1\2" + std::string("\0\0\0\0", 4) + what + sizes + std::string(12, '\0') +
                   Number(file.size(), 4) + name;
      file += "PK\3\4" + std::string("\0\0", 2) + what + sizes + std::string(2, '\0') + name + bytes;
      ++records;
    };
    add("archive/data.pkl", Pickle(root));
    if (big_endian) add("archive/byteorder", "big");
    for (size_t i = 0; i < storages_.size(); ++i) {
      const auto& [type, size, bytes] = storages_[i];
      std::string data(bytes.begin(), bytes.end());
      for (size_t at = 0; big_endian && at + size <= data.size(); at += size)
        for (size_t b = 0; b < size / 2; ++b) std::swap(data[at + b], data[at + size - 1 - b]);
      add("archive/data/" + Key(i), data);
    }
    add("archive/version", "3\n");
    const std::string count = Number(static_cast<uint64_t>(records), 2);
    const std::string end = "PK\5\6" + std::string(4, '\0') + count + count +
                            Number(directory.size(), 4) + Number(file.size(), 4) +
                            std::string(2, '\0');
    file += directory + end;
    return {file.begin(), file.end()};
  }

 private:
  struct StorageData {
    std::string type;
    size_t element_size;
    std::vector<uint8_t> bytes;
  };

  static std::string Number(uint64_t value, int bytes) {
    std::string text;
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> 8 * i);
    return text;
  }
  static std::string Pickle(const std::string& value) { return "\x80\x02" + value + "."; }
  static std::string Key(size_t storage) { return std::to_string(storage); }
  std::string Pairs(const Entries& entries) const {
    std::string text;
    for (const auto& [name, value] : entries) text += Text(name) + value;
    return text;
  }
  static const char* ClassOf(DType type) {
    constexpr std::array kNames = {"HalfStorage", "FloatStorage", "DoubleStorage",
                                   "ByteStorage", "CharStorage",  "ShortStorage",
                                   "IntStorage",  "LongStorage",  "BoolStorage"};
    return kNames[static_cast<size_t>(type)];
  }
  static uint32_t Crc32(const std::string& bytes) {
    uint32_t crc = ~0u;
    for (const char c : bytes) {
      crc ^= static_cast<uint8_t>(c);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
  }

  const Python python_;
  const bool with_views_ = python_ == Python::k2;  // None, where a storage may view another one
  std::vector<StorageData> storages_;
};

}  // namespace lbrt
