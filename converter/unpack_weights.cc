#include "converter/unpack_weights.h"

#include <cstring>
#include <utility>

namespace lbrt {
namespace {

using Planes = std::vector<std::vector<uint8_t>>;

// Bit k of row `output` of a plane of bits.
int Bit(const std::vector<uint8_t>& plane, size_t outputs, size_t output, size_t k) {
  const size_t row_bytes = plane.size() / outputs;
  return plane[output * row_bytes + k / 8] >> (k % 8) & 1;
}

int32_t Code(WeightKind kind, const Planes& planes, size_t outputs, size_t taps, size_t i) {
  const auto bit = [&](const auto& plane) { return Bit(plane, outputs, i / taps, i % taps); };
  int32_t code = 0;
  switch (kind) {
    case WeightKind::kSign:
      return bit(planes[0]) == 1 ? 1 : -1;
    case WeightKind::kTernary:
      return bit(planes[1]) == 0 ? 0 : bit(planes[0]) == 1 ? 1 : -1;
    case WeightKind::kOdd:
      for (const auto& plane : planes) code = code * 2 + (bit(plane) == 1 ? 1 : -1);
      return code;
    case WeightKind::kInteger:
      for (const auto& plane : planes)
        code = code * 2 + (&plane == &planes[0] ? -1 : 1) * bit(plane);
      return code;
    case WeightKind::kFixed:
      for (const auto& plane : planes) code = code * 256 + static_cast<int8_t>(plane[i]);
      return code;
    case WeightKind::kFloat:
      break;
  }
  return code;
}

int32_t WeightedCode(const LoweredGraph::Op& op, size_t outputs, size_t taps, size_t i) {
  const int32_t size = 1 << op.weighted.bits;
  int32_t q = op.weighted.offset;
  for (size_t plane = 0; plane < op.planes.size(); ++plane)
    q += op.weighted.weights[plane] * Bit(op.planes[plane], outputs, i / taps, i % taps);
  return 2 * (q % size) - (size - 1);
}

}  // namespace

GraphNode WithUnpackedWeights(GraphNode conv, const LoweredGraph::Op& op) {
  const Planes& planes = op.planes;
  if (conv.weight_kind == WeightKind::kFloat) {
    conv.weights.resize(planes[0].size() / sizeof(float));
    std::memcpy(conv.weights.data(), planes[0].data(), planes[0].size());
    return conv;
  }
  const auto outputs = static_cast<size_t>(conv.channels);
  const size_t taps = conv.codes.size() / outputs;
  const bool weighted = !op.weighted.weights.empty();
  for (size_t i = 0; i < conv.codes.size(); ++i)
    conv.codes[i] = weighted ? WeightedCode(op, outputs, taps, i)
                             : Code(conv.weight_kind, planes, outputs, taps, i);
  return conv;
}

}  // namespace lbrt
