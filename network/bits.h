// What a network's quantized layers cost by EdMIPS's published rule (methods.md 2.3): what a search
// minimises and reports of its choice, and the size of any network's packed weights.
#pragma once

#include <vector>

#include "network/network.h"

namespace lbrt {

// Multiply-adds in millions of a convolution: Cin Cout kh kw Hin Win / stride^2. The size is the
// input's, which counts an unpadded convolution as if it were padded. A vector has size 1 x 1.
double SizeProduct(const Node& input, int outputs, const Window& window);
// Values in thousands that it reads: Cin Hin Win.
double MemorySize(const Node& input);

struct QuantizedLayer {
  Value conv = -1;      // kConv or kLinear
  Value quantize = -1;  // the kQuantize node that it reads; -1: its activations are float
  double size_product = 0;
};
// The layers with quantized weights, those in fixed point left out, in registration order.
std::vector<QuantizedLayer> QuantizedLayers(const Network& network);

// Whether its layers are mixtures of bit widths (methods.md 2.3).
bool IsSearch(const Network& network);

struct BitCosts {
  double bitops_m = 0;   // sum of size_product * weight bits * activation bits
  double bitw_m = 0;     // sum of weights * weight bits, in millions
  double mean_bits = 0;  // sqrt(bitops / sum of size_product); 0 without quantized layers
};
// At the network's widest width. Signs are 1 bit, ternary weights 2 bits a plane, floats 32. Throws
// InputError for a search, whose layers have no bits yet.
BitCosts CostsOf(const Network& network);

}  // namespace lbrt
