#include "converter/pack_weights.h"

#include <cstring>

#include "converter/ops.h"
#include "converter/passes.h"

namespace lbrt {
namespace {

using Plane = std::vector<uint8_t>;

template <typename Bit>
Plane PackBits(const GraphNode& conv, Bit bit) {
  return lbrt::PackBits(conv, conv.codes, bit);
}

std::vector<Plane> PackSigns(const GraphNode& conv) {
  return {PackBits(conv, [](int32_t w) { return w > 0; })};
}

std::vector<Plane> PackFloats(const GraphNode& conv) {
  Plane plane(conv.weights.size() * sizeof(float));
  std::memcpy(plane.data(), conv.weights.data(), plane.size());
  return {plane};
}

// Signed digits of base 256, the most significant plane first.
std::vector<Plane> PackLimbs(const GraphNode& conv) {
  std::vector<Plane> planes(static_cast<size_t>(conv.limbs), Plane(conv.codes.size()));
  for (size_t i = 0; i < conv.codes.size(); ++i) {
    int32_t rest = conv.codes[i];
    for (auto plane = planes.rbegin(); plane != planes.rend(); ++plane) {
      const auto limb = static_cast<int8_t>(rest & 255);  // the residue in -128..127
      (*plane)[i] = static_cast<uint8_t>(limb);
      rest = (rest - limb) / 256;
    }
  }
  return planes;
}

std::vector<Plane> PackTernary(const GraphNode& conv) {
  return {PackBits(conv, [](int32_t w) { return w > 0; }),
          PackBits(conv, [](int32_t w) { return w != 0; })};
}

// (w + 2^bits - 1) / 2 in binary, the most significant plane first.
std::vector<Plane> PackOdd(const GraphNode& conv) {
  const int32_t largest = (1 << conv.bits) - 1;
  std::vector<Plane> planes;
  for (int bit = conv.bits - 1; bit >= 0; --bit)
    planes.push_back(
        PackBits(conv, [&](int32_t w) { return ((w + largest) / 2 >> bit & 1) != 0; }));
  return planes;
}

// Two's complement, the most significant plane first.
std::vector<Plane> PackIntegers(const GraphNode& conv) {
  std::vector<Plane> planes;
  for (int bit = conv.bits - 1; bit >= 0; --bit)
    planes.push_back(PackBits(conv, [&](int32_t w) { return (w >> bit & 1) != 0; }));
  return planes;
}

std::vector<Plane> Pack(const GraphNode& conv) {
  switch (conv.weight_kind) {
    case WeightKind::kSign:
      return PackSigns(conv);
    case WeightKind::kFloat:
      return PackFloats(conv);
    case WeightKind::kFixed:
      return PackLimbs(conv);
    case WeightKind::kTernary:
      return PackTernary(conv);
    case WeightKind::kOdd:
      return PackOdd(conv);
    case WeightKind::kInteger:
      return PackIntegers(conv);
  }
  return {};
}

}  // namespace

bool PackWeights(LoweredGraph& lowered) {
  bool changed = false;
  for (LoweredGraph::Op& op : lowered.ops) {
    if (op.kind != &kinds::kConv || !op.planes.empty()) continue;
    op.planes = Pack(lowered.node(op.body[0]));
    changed = true;
  }
  return changed;
}

}  // namespace lbrt
