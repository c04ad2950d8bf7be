// Import: a network and its tensors become the graph of design.md section 2. All folding of
// batch norms, scales and input normalisation into affines happens here, in double, rounded once.
#pragma once

#include <string>
#include <vector>

#include "network/graph.h"
#include "network/network.h"

namespace lbrt {

enum class Stem : uint8_t { kI24, kI16, kI8, kF32 };
Stem ParseStem(const std::string& text);  // throws InputError
const char* StemName(Stem stem);

struct ImportOptions {
  Stem stem = Stem::kI24;
  // Normalisation of the input, per channel, in units of 1: x = (byte / 255 - mean) / std.
  std::vector<double> mean, std;
};

// Cases the contract decides and the converter counts (design.md section 2).
struct ImportReport {
  int64_t zero_weights = 0;   // +-1 weights that were exactly zero (or their channel's mean): +1
  int64_t dead_channels = 0;  // channels of nothing but those: A = 0
  std::vector<std::string> lines;  // one sentence a case, with the tensor's name
};

// Throws InputError for tensors that are missing, of another shape or type, or not finite.
Graph Import(const Network& network, const StateDict& tensors, const ImportOptions& options,
             ImportReport* report);

}  // namespace lbrt
