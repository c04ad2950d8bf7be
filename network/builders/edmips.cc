#include "network/builders/edmips.h"

#include "network/bits.h"

namespace lbrt {

QuantizationDefaults EdmipsQuantization(const char* bits, const Arguments& given) {
  const bool published = given.count("blocks") == 0 && given.count("channels") == 0;
  return {.weights = WeightQuantizer::kEdmips,
          .activations = ActivationQuantizer::kHwgq,
          .bits = published ? bits : ""};
}

Value EdmipsConv(NetworkBuilder& b, const std::string& name, Value x, int channels, Window window,
                 Init init) {
  const Node& input = b.node(x);
  b.Declare({name + ".size_product", {}, DType::kF32, Role::kConstant,
             Constant(SizeProduct(input, channels, window))});
  b.Declare({name + ".memory_size", {}, DType::kF32, Role::kConstant,
             Constant(MemorySize(input))});
  x = b.Activate(name + (b.search() ? ".mix_activ" : ".activ"), x);
  const char* weight = b.search() ? ".mix_weight.conv.weight" : ".conv.weight";
  return b.Conv(name, x, channels, window, {.weight = name + weight, .init = init});
}

}  // namespace lbrt
