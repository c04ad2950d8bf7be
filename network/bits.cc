#include "network/bits.h"

#include <algorithm>
#include <cmath>

#include "images/error.h"

namespace lbrt {
namespace {

int BitsOf(const WeightQuantizer& quantizer) {
  switch (quantizer.kind) {
    case WeightQuantizer::kFloat:
      return 32;
    case WeightQuantizer::kRecu:
    case WeightQuantizer::kMcDonnell:
      return 1;
    case WeightQuantizer::kAnyPrecision:
    case WeightQuantizer::kTruncating:
    case WeightQuantizer::kEdmips:
      return quantizer.bits;
    case WeightQuantizer::kTernary:
      return 2 * quantizer.t_ex;
    case WeightQuantizer::kFixedPoint:
      return 8 * quantizer.limbs;
  }
  return 0;
}

int BitsOf(const ActivationQuantizer& quantizer) {
  switch (quantizer.kind) {
    case ActivationQuantizer::kNone:
      return 32;
    case ActivationQuantizer::kSign:
      return 1;
    case ActivationQuantizer::kAnyPrecision:
    case ActivationQuantizer::kHwgq:
      return quantizer.bits;
  }
  return 0;
}

double Positions(const Node& node) { return std::max(1, node.height) * std::max(1, node.width); }

}  // namespace

double SizeProduct(const Node& input, int outputs, const Window& window) {
  const double weights = static_cast<double>(input.channels) * outputs * window.taps();
  return weights * 1e-6 / (window.stride_h * window.stride_w) * Positions(input);
}

double MemorySize(const Node& input) { return input.channels * Positions(input) * 1e-3; }

std::vector<QuantizedLayer> QuantizedLayers(const Network& network) {
  std::vector<QuantizedLayer> layers;
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const Node& node = network.nodes[i];
    if (!node.weights.quantizes() || node.weights.kind == WeightQuantizer::kFixedPoint) continue;
    const Node& input = network.node(node.inputs[0]);
    layers.push_back({static_cast<Value>(i),
                      input.kind == NodeKind::kQuantize ? node.inputs[0] : -1,
                      SizeProduct(input, node.channels, node.window)});
  }
  return layers;
}

BitCosts CostsOf(const Network& network) {
  BitCosts costs;
  double macs_m = 0;
  for (const QuantizedLayer& layer : QuantizedLayers(network)) {
    const Node &conv = network.node(layer.conv), &input = network.node(conv.inputs[0]);
    if (conv.weights.mixture)
      throw InputError("network " + network.name, "a search has no bits to count before its end");
    const int weight_bits = BitsOf(AtWidth(conv.weights, network.widest()));
    const int activation_bits =
        layer.quantize < 0
            ? 32
            : BitsOf(AtWidth(network.node(layer.quantize).activations, network.widest()));
    macs_m += layer.size_product;
    costs.bitops_m += layer.size_product * weight_bits * activation_bits;
    costs.bitw_m += 1e-6 * input.channels * conv.channels * conv.window.taps() * weight_bits;
  }
  if (macs_m > 0) costs.mean_bits = std::sqrt(costs.bitops_m / macs_m);
  return costs;
}

bool IsSearch(const Network& network) {
  return std::any_of(network.nodes.begin(), network.nodes.end(),
                     [](const Node& node) { return node.weights.mixture; });
}

}  // namespace lbrt
