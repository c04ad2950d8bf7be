// A network as float engines run it: the topology of network/, with batch norms folded away, signs
// left out and random weights, since speed does not depend on them. The peers build it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "network/network.h"

namespace lbrt {

struct FloatLayer {
  enum class Kind : uint8_t { kConv, kAveragePool, kPadChannels };
  Kind kind = Kind::kConv;
  int input = 0;      // a value: 0 is the network's input, i + 1 what layer i makes
  int residual = -1;  // kConv: a value that is added before clipping; -1: none
  Window window;      // kConv (a linear layer is 1x1), kAveragePool (no padding)
  int height = 1, width = 1, channels = 0;  // of the result
  int in_height = 1, in_width = 1, in_channels = 0;
  int pad_before = 0, pad_after = 0;  // kPadChannels
  bool clip = false;                  // kConv: to [-1, 1]
  std::vector<float> weights;         // kConv: [o][ky][kx][c]
  std::vector<float> bias;            // kConv: [o]

  size_t outputs() const;
};

struct FloatNetwork {
  int height = 0, width = 0, channels = 0;  // of the input, NHWC
  std::vector<FloatLayer> layers;
};

// Throws InputError for networks that need more than convolutions with folded batch norms, sums,
// unpadded pooling and zero channels.
FloatNetwork MakeFloatNetwork(const Network& network);

// The plain meaning, summed in double: what peers are checked against. `residual` may be empty.
std::vector<float> Run(const FloatLayer& layer, std::span<const float> in,
                       std::span<const float> residual);
std::vector<float> Run(const FloatNetwork& network, std::span<const float> input);

}  // namespace lbrt
