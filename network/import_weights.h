// What import makes of the weights of a convolution or dense layer: integers or floats, and what
// their sums stand for. Private to network/.
#pragma once

#include <string>
#include <vector>

#include "network/graph.h"
#include "network/quantizers.h"

namespace lbrt {

// What a layer reads.
struct LayerInput {
  ValueType type = ValueType::kF32;
  int height = 1, width = 1, channels = 0;
  double step = 1;  // kSign, kCode: code * step is the value
  // kU8: byte u of channel c stands for (u - offset[c]) / divisor[c].
  std::vector<double> offset, divisor;
};

struct LayerWeights {
  std::string name;               // of the node, for messages
  WeightQuantizer quantizer;      // with its bits
  const float* latent = nullptr;  // [outputs][channels][taps of the window]
  const float* alpha = nullptr;   // [outputs], the learned scale; null: none
  int outputs = 0;
  Window window;
  int limbs = 3;  // where float weights meet integers
  // Of a kFixedPoint layer that reads the image: what training divided its weights by, a channel.
  std::vector<double> trained_divisor;
};

// y[o] = the sum over planes of scale[o] * (sum[o] - offset[class][o]).
struct LayerPlane {
  GraphNode conv;  // type, window, channels, weight_kind and its numbers
  std::vector<double> scale;
};
struct LayerSums {
  std::vector<LayerPlane> planes;
  std::vector<double> offset;  // of the image's mean, by border class; empty: none. One plane then
  int border_rows = 1, border_columns = 1;
  std::vector<int> dead;  // channels whose sums are to be ignored
  int64_t cases = 0;      // WeightCodes::cases
};

// Of an image, any weights become fixed-point weights; of codes (kSign, kCode), float weights do.
// Throws InputError where an image is normalised in another way than a fixed-point layer was
// trained with.
LayerSums SumsOf(const LayerWeights& layer, const LayerInput& input);

}  // namespace lbrt
