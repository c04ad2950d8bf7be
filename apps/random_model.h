// Models with random weights, the same everywhere: to time and to test without trained ones.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "converter/lowered.h"
#include "network/import.h"

namespace lbrt {

// Uniform in [-1, 1).
std::vector<float> RandomFloats(size_t count, uint64_t seed);

struct RandomModel {
  Network network;
  std::unique_ptr<Graph> graph;  // `lowered` refers to it
  LoweredGraph lowered;
  std::vector<uint8_t> file;  // the .lbm file's bytes
};

// `network` as for BuildNetwork, with the labels of its published form; and its preprocessing,
// unless another is given (images/preprocess.h, text form).
RandomModel MakeRandomModel(const std::string& network, Stem stem,
                            const std::string& preprocessing = {});

}  // namespace lbrt
