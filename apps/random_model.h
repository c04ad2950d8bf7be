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

struct RandomModelOptions {
  Arguments arguments = {};         // as for BuildNetwork
  std::string preprocessing = {};   // images/preprocess.h, text form; empty: the published one
  int width = 0;                    // of a network that switches; 0: the widest
};

// `network` as for BuildNetwork, with the labels of its published form.
RandomModel MakeRandomModel(const std::string& network, Stem stem,
                            const RandomModelOptions& options = {});

// The .lbm file of a network at several of its widths; none: of one that does not switch.
std::vector<uint8_t> MakeRandomFile(const std::string& network, Stem stem,
                                    const std::vector<int>& widths);

}  // namespace lbrt
