// What the quantized layers of a network take on this machine at every pair of bits that EdMIPS's
// search chooses from (methods.md 2.3): the table that `lbtrain --search` reads (trainer/search.h).
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "network/network.h"

namespace lbrt {

struct ShapeLatency {
  int inputs, outputs;  // channels
  int kernel_h, kernel_w, stride_h, stride_w;
  int height, width;   // of the input
  int layers = 0;      // that have this shape
  std::map<std::pair<int, int>, double> us;  // by {weight bits, activation bits}; mean of the layers

  std::string name() const;  // "16 -> 32, 3x3/2, 32x32"
};

struct Latencies {
  std::string isa;
  Arguments arguments;  // of the network
  std::vector<ShapeLatency> shapes;  // in the order in which they first occur
};

// Runs the network at each pair, the same everywhere, with random weights: one thread, one image.
// A layer's time is its op's among the others of the network: the convolution and what is fused
// into it, inputs and weights as far away as the rest of the network leaves them. In each round
// every pair runs twice, the second time measured, so that drift meets all pairs alike; models move
// to other memory every few rounds, so that where one lies favours no pair. The median of the
// rounds counts. Throws InputError for a network whose layers have no such bits.
Latencies MeasureLatencies(const std::string& network, const Arguments& arguments, const char* isa,
                           int rounds);

// As text: a row a shape, a column a pair; microseconds, and times those at 2/2 bits.
std::string LatencyText(const Latencies& latencies);
// As trainer/search.h wants it, and what was measured where.
std::string LatencyJson(const Latencies& latencies, const std::string& network,
                        const std::string& device, int rounds);

}  // namespace lbrt
