// `lbconvert --verify`: the runtime against the interpreter (converter/interpret.h), op by op.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "converter/lowered.h"
#include "images/dataset.h"

namespace lbrt {

struct Verification {
  size_t images = 0, ops = 0;
  std::vector<std::string> columns;  // the instruction sets compared: all this CPU can run
  std::vector<float> logits;         // [images classes]
};

// Runs `file`, which was made from `lowered` at `width` (and others; 0: it has one), on the first
// `images` samples with every instruction set, and compares every value that an op stores with the
// graph's, bit by bit. Throws InputError naming the first op that differs.
Verification Verify(const LoweredGraph& lowered, int width, const std::vector<uint8_t>& file,
                    const Dataset& data, size_t images);
inline Verification Verify(const LoweredGraph& lowered, const std::vector<uint8_t>& file,
                           const Dataset& data, size_t images) {
  return Verify(lowered, 0, file, data, images);
}

}  // namespace lbrt
