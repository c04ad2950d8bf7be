// EdMIPS's search (methods.md 2.3): what a mixture of bit widths costs, and what it chose.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "network/architecture.h"
#include "trainer/model.h"

namespace lbrt {

// Measured latencies of a target: a JSON file
//   {"device": "...", "entries": [{"inputs": 64, "outputs": 64, "kernel": [3, 3], "stride": [1, 1],
//     "size": [56, 56], "weight_bits": 2, "activation_bits": 2, "microseconds": 51.2}, ...]}
// where size is the input's height and width.
class LatencyTable {
 public:
  static LatencyTable Read(const std::string& path);  // throws InputError

  // Microseconds of a convolution; throws InputError naming the shape that the table lacks.
  double At(const Network& network, const Node& conv, int weight_bits, int activation_bits) const;

 private:
  // Inputs, outputs, kernel, stride, size, weight bits, activation bits.
  using Key = std::array<int, 10>;
  static Key KeyOf(const Network& network, const Node& conv, int weight_bits, int activation_bits);
  static std::string ShapeText(const Key& key);
  static std::string BitsText(const Key& key);

  std::string path_;
  std::map<Key, double> microseconds_;
};

// The cost of every layer at every pair of bits, normalised: a layer's multiply-accumulates times
// both bits, over the first layer's multiply-accumulates; or measured latencies, scaled so that the
// network at 2/2 bits costs the same as by that rule (so that `cd` keeps its meaning).
class SearchCost {
 public:
  SearchCost(const TrainerModel& model, const LatencyTable* latencies);

  // The expected cost under the alphas' softmax, differentiable; 0-d.
  at::Tensor Complexity(const TrainerModel& model) const;

 private:
  struct Layer {
    std::string activation_alphas, weight_alphas;
    at::Tensor costs;  // [activation bits, weight bits]
  };
  std::vector<Layer> layers_;
};

// What a search chose, as a table: bits of each layer and how sure the choice is (the entropy of
// its shares, in bits of information: 0 is certain), the total of BitOps and the mean bits.
std::string ArchitectureTable(const Network& network, const StateDict& tensors);

}  // namespace lbrt
