#include <cstring>

#include "converter/passes.h"

namespace lbrt {
namespace {

using Plane = std::vector<uint8_t>;

// Rows of bits, 1 = +1, each padded to 32 bits.
std::vector<Plane> PackSigns(const std::vector<int32_t>& codes, size_t outputs) {
  const size_t taps = codes.size() / outputs;
  const size_t row_bytes = (taps + 31) / 32 * 4;
  Plane plane(outputs * row_bytes);
  for (size_t o = 0; o < outputs; ++o)
    for (size_t k = 0; k < taps; ++k)
      if (codes[o * taps + k] > 0)
        plane[o * row_bytes + k / 8] |= static_cast<uint8_t>(1u << (k % 8));
  return {plane};
}

std::vector<Plane> PackFloats(const std::vector<float>& weights) {
  Plane plane(weights.size() * sizeof(float));
  std::memcpy(plane.data(), weights.data(), plane.size());
  return {plane};
}

// Signed digits of base 256, the most significant plane first.
std::vector<Plane> PackLimbs(const std::vector<int32_t>& codes, int limbs) {
  std::vector<Plane> planes(static_cast<size_t>(limbs), Plane(codes.size()));
  for (size_t i = 0; i < codes.size(); ++i) {
    int32_t rest = codes[i];
    for (auto plane = planes.rbegin(); plane != planes.rend(); ++plane) {
      const auto limb = static_cast<int8_t>(rest & 255);  // the residue in -128..127
      (*plane)[i] = static_cast<uint8_t>(limb);
      rest = (rest - limb) / 256;
    }
  }
  return planes;
}

}  // namespace

bool PackWeights(LoweredGraph& lowered) {
  bool changed = false;
  for (LoweredGraph::Op& op : lowered.ops) {
    if (op.kind != LoweredGraph::Kind::kConv || !op.planes.empty()) continue;
    const GraphNode& conv = lowered.node(op.nodes[0]);
    switch (conv.weight_kind) {
      case WeightKind::kSign:
        op.planes = PackSigns(conv.codes, static_cast<size_t>(conv.channels));
        break;
      case WeightKind::kFloat:
        op.planes = PackFloats(conv.weights);
        break;
      case WeightKind::kFixed:
        op.planes = PackLimbs(conv.codes, conv.limbs);
        break;
      case WeightKind::kTernary:
      case WeightKind::kOdd:
        break;  // not convertible
    }
    changed = true;
  }
  return changed;
}

}  // namespace lbrt
