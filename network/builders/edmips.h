// What the builders of EdMIPS's networks share.
#pragma once

#include "network/builder.h"

namespace lbrt {

// 1-4 bit weights and 2-4 bit activations; `bits` are "weights/activations" of the published shape,
// which other blocks and channels cannot have: they get none.
QuantizationDefaults EdmipsQuantization(const char* bits, const Arguments& given);

// A quantizer (in full precision a ReLU) and a convolution under EdMIPS's names: those of a mixture
// where the network is a search. Its costs are registered too (methods.md 2.3, 2.7).
Value EdmipsConv(NetworkBuilder& b, const std::string& name, Value x, int channels, Window window,
                 Init init);

}  // namespace lbrt
