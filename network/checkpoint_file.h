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

namespace lbrt {

class CheckpointFile {
 public:
  explicit CheckpointFile(const std::string& path);  // throws InputError "path: ..."

  const PickleValue& root() const { return pickle_->root(); }
  // A kTensor of the pickle, gathered into C order; `name` is for messages.
  HostTensor ReadTensor(const std::string& name, const PickleValue& tensor);

 private:
  using Bytes = std::vector<uint8_t>;
  struct CloseZip {
    void operator()(zip* archive) const;
  };

  void OpenZip();
  void OpenLegacy();
  Bytes ReadRecord(const std::string& record);
  // The bytes of a storage, whole. A zip file's are kept once they were read.
  std::span<const uint8_t> StorageBytes(const std::string& key);
  void Charge(uint64_t bytes);

  std::string path_;
  uint64_t bytes_left_ = 0;  // that may still be made
  std::unique_ptr<Pickle> pickle_;

  std::unique_ptr<zip, CloseZip> zip_;  // null for a legacy file
  std::string folder_;                  // of the zip's records: "archive/"
  Bytes file_;                          // a legacy file, whole
  std::map<std::string, std::span<const uint8_t>> storages_;
  std::map<std::string, Bytes> records_;
};

}  // namespace lbrt
