// Quantizer nodes as functions, for the lowering. Private to converter/onnx/.
#pragma once

#include "converter/onnx/chain.h"
#include "converter/onnx/interpret.h"

namespace lbrt::onnx {

// An operand that has one number for all, or one a channel: as numbers.
// Throws InputError where `operand`, broadcast to `shape`, changes along another axis than
// `channel_axis`.
Numbers PerChannel(const Node& node, const Array& operand, const Shape& shape, size_t channel_axis);

bool IsQuantizer(const Node& node);

// Of Quant, IntQuant, BipolarQuant, Trunc or MultiThreshold on a value of `shape`; `constants` are
// its inputs but the first. Trunc's range follows from the chain. At most 256 levels.
Quantizer QuantizerOf(const Node& node, const std::vector<const Value*>& constants,
                      const Shape& shape, size_t channel_axis, const Chain& chain, size_t channels);

// A quantized constant (weights, biases), of any bit width, with a scale an element if need be.
Value QuantizeConstant(const Node& node, const std::vector<const Value*>& inputs);

}  // namespace lbrt::onnx
