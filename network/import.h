// Import: a network and its tensors become the graph of design.md section 2. All folding of
// batch norms, scales and input normalisation into affines happens here, in double, rounded once.
#pragma once

#include <string>
#include <vector>

#include "network/graph.h"
#include "network/network.h"

namespace lbrt {

// Limbs of float weights that meet integers: of the stem, which reads the image's bytes, and of
// float weights that read activation codes (kF32: the codes become floats first). Beside a stem
// that was trained in fixed point (methods.md 8a) those keep three.
enum class Stem : uint8_t {
  kI24,
  kI16,
  kI8,
  kF32,
  kAuto,  // those a fixed-point stem was trained with, else kI24
};
Stem ParseStem(const std::string& text);  // throws InputError
const char* StemName(Stem stem);
// What kAuto stands for in a network; any other as it is.
Stem ResolvedStem(const Network& network, Stem stem);

struct ImportOptions {
  // Any but kAuto must be what the stem was trained with, where it was trained in fixed point.
  Stem stem = Stem::kAuto;
  // Normalisation of the input, per channel, in units of 1: x = (byte / 255 - mean) / std.
  std::vector<double> mean, std;
  // Bits, of a network that can be switched; 0 = the widest.
  int width = 0;
  // Limbs of the weights of layers that are not quantized, but the stem's: integers of 1 or 2 limbs
  // and a scale an output channel (FixedPointCodes), rounded half to even. 0: they stay as they
  // are, or are as `stem` says where they read codes.
  int float_limbs = 0;
};
// "f32", "i16", "i8": 0, 2 and 1 limbs. Throws InputError.
int ParseFloatLimbs(const std::string& text);

// Cases the contract decides and the converter counts (design.md section 2).
struct ImportReport {
  int64_t zero_weights = 0;    // +-1 weights that were exactly zero (or their channel's mean): +1
  int64_t dead_channels = 0;   // channels of nothing but those: A = 0
  int64_t between_codes = 0;   // any-precision weights whose code the 8-bit code decides
  int64_t zero_sums = 0;       // sums that make a sign of exactly zero: +1 (network/zero_sums.h)
  std::vector<std::string> lines;  // one sentence a case, with the tensor's name
};

// Throws InputError for tensors that are missing, of another shape or type, or not finite, for a
// width that the network does not have, and for a search's mixtures.
Graph Import(const Network& network, const StateDict& tensors, const ImportOptions& options,
             ImportReport* report);

}  // namespace lbrt
