// A file of torch.save's, zip or legacy: its pickle, and the tensors that the pickle names, read
// one by one so that what nobody asks for costs nothing. Every offset, size and stride is checked,
// and no more bytes are made than a few times the file's own. Private to network/.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "network/pickle.h"
#include "network/tensor.h"

struct zip;
struct zip_error;

namespace lbrt {

class CheckpointFile {
 public:
  // Throw InputError "path: ...". The bytes of a file in memory outlive this object.
  explicit CheckpointFile(const std::string& path);
  CheckpointFile(std::span<const uint8_t> bytes, const std::string& path);

  const PickleValue& root() const { return pickle_->root(); }
  // Whether a kTensor of the pickle is of a type that HostTensor has, or of bfloat16, which is read
  // as float32 (that holds it exactly).
  static bool CanRead(const PickleValue& tensor);
  // A kTensor of the pickle, gathered into C order; `name` is for messages.
  HostTensor ReadTensor(const std::string& name, const PickleValue& tensor);

 private:
  using Bytes = std::vector<uint8_t>;
  struct CloseZip {
    void operator()(zip* archive) const;
  };

  void OpenZip();
  void OpenLegacy();
  std::span<const uint8_t> ReadLegacyStorage(const std::string& key, int64_t elements,
                                             uint64_t element_size,
                                             std::span<const uint8_t>* rest) const;
  [[noreturn]] void FailZip(const std::string& what, const zip_error& error) const;
  Bytes ReadRecord(const std::string& record);
  // The bytes of a storage, whole. A zip file's are kept once they were read.
  std::span<const uint8_t> StorageBytes(const std::string& key);
  void Charge(uint64_t bytes);

  std::string path_;
  uint64_t bytes_left_ = 0;  // that may still be made
  std::unique_ptr<Pickle> pickle_;

  std::unique_ptr<zip, CloseZip> zip_;  // null for a legacy file
  std::string folder_;                  // of the zip's records: "archive/"
  bool big_endian_ = false;             // its storages
  Bytes owned_;                         // a legacy file, whole
  std::span<const uint8_t> file_;       // the same, or the caller's
  std::map<std::string, std::span<const uint8_t>> storages_;
  std::map<std::string, Bytes> records_;
};

}  // namespace lbrt
