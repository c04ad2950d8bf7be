// Writes a lowered, packed graph as a `.lbm` file (schema/lbm.fbs). The same input gives the same
// bytes.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "converter/lowered.h"

namespace lbrt {

// What a model says of itself beside its numbers.
struct ModelTexts {
  std::string preprocessing;        // images/preprocess.h, text form; empty: takes no images
  std::vector<std::string> labels;  // none or one per class
  std::vector<std::pair<std::string, std::string>> provenance;
  std::vector<std::pair<std::string, float>> accuracy;  // what was measured, percent
  int width = 1;  // bits per weight, of a network that can be switched
};

// The bytes of the file. Tensor i of the file is the i-th of StoredValues(lowered). Throws
// InputError where the file would be larger than 4 GiB.
std::vector<uint8_t> Emit(const LoweredGraph& lowered, const ModelTexts& texts);

}  // namespace lbrt
