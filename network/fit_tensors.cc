#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <utility>

#include "network/checkpoint.h"

namespace lbrt {
namespace {

template <typename T>
T ElementAt(const HostTensor& tensor, int64_t i) {
  T value;
  std::memcpy(&value, tensor.bytes.data() + static_cast<size_t>(i) * sizeof value, sizeof value);
  return value;
}

// IEEE 754 binary16, whose every value a float32 holds.
float FromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half >> 15) << 31;
  const uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  const float magnitude = exponent == 0
                              ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(fraction + 1024),
                                           static_cast<int>(exponent) - 25);
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

std::optional<float> FloatAt(const HostTensor& tensor, int64_t i) {
  if (tensor.type == DType::kF16) return FromHalf(ElementAt<uint16_t>(tensor, i));
  if (tensor.type == DType::kF64) return static_cast<float>(ElementAt<double>(tensor, i));
  return std::nullopt;
}

std::optional<int64_t> IntegerAt(const HostTensor& tensor, int64_t i) {
  switch (tensor.type) {
    case DType::kU8:
      return ElementAt<uint8_t>(tensor, i);
    case DType::kI16:
      return ElementAt<int16_t>(tensor, i);
    case DType::kI32:
      return ElementAt<int32_t>(tensor, i);
    default:
      return std::nullopt;
  }
}

bool IsPacked(const TensorSpec& spec, const HostTensor& tensor) {
  if (tensor.type != DType::kU8 || spec.type != DType::kF32) return false;
  if (spec.shape.size() != 4 || tensor.shape.size() != 4) return false;
  std::vector<int64_t> shape = spec.shape;
  shape[1] = (shape[1] + 7) / 8;
  return tensor.shape == shape;
}

// Bytes of eight input channels, the first one in the highest bit (methods.md 3.6).
HostTensor Unpacked(const TensorSpec& spec, const HostTensor& packed) {
  HostTensor result = HostTensor::Zeros(DType::kF32, spec.shape);
  const int64_t channels = spec.shape[1], taps = spec.shape[2] * spec.shape[3];
  const float scale =
      static_cast<float>(std::sqrt(2.0 / static_cast<double>(std::max<int64_t>(1, channels * taps))));
  for (int64_t i = 0; i < result.numel(); ++i) {
    const int64_t output = i / (channels * taps), channel = i / taps % channels, tap = i % taps;
    const int64_t byte = (output * packed.shape[1] + channel / 8) * taps + tap;
    const bool bit = packed.bytes[static_cast<size_t>(byte)] >> (7 - channel % 8) & 1;
    result.f32()[i] = bit ? scale : -scale;
  }
  return result;
}

// Weights that only their signs matter of, or that are used as they are.
bool TakesPacked(const Network& network, const std::string& name) {
  const auto node = std::find_if(network.nodes.begin(), network.nodes.end(),
                                 [&](const Node& node) { return node.weight == name; });
  return node != network.nodes.end() && (node->weights.kind == WeightQuantizer::kMcDonnell ||
                                         node->weights.kind == WeightQuantizer::kFloat);
}

// Nothing where the types are not such that one becomes the other.
std::optional<HostTensor> Fitted(const Network& network, const TensorSpec& spec,
                                 const HostTensor& tensor) {
  if (IsPacked(spec, tensor) && TakesPacked(network, spec.name)) return Unpacked(spec, tensor);
  const bool floats = spec.type == DType::kF32;
  if (!floats && spec.type != DType::kI64) return std::nullopt;
  HostTensor result = HostTensor::Zeros(spec.type, tensor.shape);
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    if (floats) {
      const auto value = FloatAt(tensor, i);
      if (!value) return std::nullopt;
      result.f32()[i] = *value;
    } else {
      const auto value = IntegerAt(tensor, i);
      if (!value) return std::nullopt;
      std::memcpy(result.bytes.data() + static_cast<size_t>(i) * sizeof *value, &*value,
                  sizeof *value);
    }
  }
  return result;
}

}  // namespace

void FitTensors(const Network& network, StateDict* state) {
  for (const TensorSpec& spec : network.tensors) {
    if (!state->contains(spec.name)) continue;
    HostTensor& tensor = (*state)[spec.name];
    if (tensor.type == spec.type) continue;
    if (auto fitted = Fitted(network, spec, tensor)) tensor = *std::move(fitted);
  }
}

}  // namespace lbrt
