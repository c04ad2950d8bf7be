// Convolutions and linear layers of an ONNX graph as kConv nodes. Private to converter/onnx/.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "converter/onnx/chain.h"
#include "converter/onnx/interpret.h"
#include "network/graph.h"

namespace lbrt::onnx {

// The weights of a layer: constant[index(o, ky, kx, c)].
struct LayerWeights {
  const Value* constant = nullptr;
  std::function<size_t(int o, int ky, int kx, int c)> index;
  int outputs = 0, groups = 1;
  int channels = 0;  // of a group
  Window window;
};

// Weights as the graph has them, [o][ky][kx][c]: whole numbers and a scale an output, where they
// are quantized with one scale an output, or whole as they stand; else floats.
struct WeightList {
  std::vector<int32_t> codes;
  std::vector<double> scale;  // an output
  std::vector<float> floats;
  std::string why_floats;
};
WeightList ListWeights(const LayerWeights& weights);

// Fills the kind of weights that stores `list` in the fewest bits, and the type of the sums over an
// input of type `input`.
void SetWeights(WeightList list, ValueType input, GraphNode* conv);

}  // namespace lbrt::onnx
