// Opening models: from a file's bytes in memory to a session that can run. Checks, checksums,
// choices, packed weights.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/lbbench/measure.h"

namespace lbrt {

struct OpeningChoice {
  std::string name;  // "opening/recu/imagenet-resnet18"
  const char* network;
  std::vector<int> widths;  // of a network that switches
};

std::vector<OpeningChoice> OpeningChoices();

class OpeningBenchmark {
 public:
  OpeningBenchmark(const OpeningChoice& choice, const char* isa);

  const std::string& name() const { return name_; }
  size_t file_bytes() const { return file_->size(); }
  uint64_t packed_bytes() const { return packed_bytes_; }  // of weights
  const std::vector<Timed>& ways() const { return ways_; }  // with and without checksums

 private:
  std::string name_;
  std::shared_ptr<const std::vector<uint8_t>> file_;
  uint64_t packed_bytes_ = 0;
  std::vector<Timed> ways_;
};

}  // namespace lbrt
