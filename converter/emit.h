// Writes a lowered, packed graph, or the same network at several widths, as a `.lbm` file
// (schema/lbm.fbs). The same input gives the same bytes.
#pragma once

#include <cstdint>
#include <span>
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
  std::vector<int> widths = {1};  // bits per weight, ascending: one for each graph
};

// The bytes of the file, of one graph a width: the segments that the narrowest needs come first,
// then those that the next one has more, and so on. Tensor i of a width is the i-th of
// StoredValues. Throws InputError where the file would be larger than 4 GiB.
std::vector<uint8_t> Emit(std::span<const LoweredGraph> widths, const ModelTexts& texts);
inline std::vector<uint8_t> Emit(const LoweredGraph& lowered, const ModelTexts& texts) {
  return Emit({&lowered, 1}, texts);
}

}  // namespace lbrt
