#include <algorithm>
#include <bit>
#include <vector>

#include "converter/ops.h"
#include "converter/pack_weights.h"
#include "converter/passes.h"

namespace lbrt {
namespace {

using Op = LoweredGraph::Op;

// Bits of a convolution whose weights are all odd numbers; 0 of any other.
int OddBits(const GraphNode& conv) {
  if (conv.weight_kind == WeightKind::kSign) return 1;
  return conv.weight_kind == WeightKind::kOdd ? conv.bits : 0;
}
int Code(int32_t weight, int bits) { return (weight + (1 << bits) - 1) / 2; }

// The convolutions of a width, each of which the same place of the list has at any other width.
std::vector<Op*> Convolutions(LoweredGraph& lowered) {
  std::vector<Op*> convs;
  for (Op& op : lowered.ops)
    if (op.kind == &kinds::kConv) convs.push_back(&op);
  // The k-th of a layer, whatever else its op computes and where it stands.
  std::stable_sort(convs.begin(), convs.end(), [&](const Op* a, const Op* b) {
    return lowered.node(a->body[0]).name < lowered.node(b->body[0]).name;
  });
  return convs;
}

// How many of the upper planes two convolutions have in common.
size_t CommonPlanes(const Op& a, const Op& b) {
  size_t count = 0;
  while (count < std::min(a.planes.size(), b.planes.size()) && a.planes[count] == b.planes[count])
    ++count;
  return count;
}

// With f = (2^wide - 1) / (2^narrow - 1): q_wide = f * q_narrow + r - (f - 1) / 2, r from 0 to
// f - 1. The r of every weight, or none where that does not hold.
struct Nesting {
  int narrow_bits = 0, bits = 0, factor = 1;
  std::vector<int32_t> rest;

  int rest_planes() const { return std::bit_width(static_cast<unsigned>(factor - 1)); }
};
Nesting NestingOf(const GraphNode& wide, const GraphNode& narrow) {
  Nesting nesting;
  nesting.bits = OddBits(wide);
  nesting.narrow_bits = OddBits(narrow);
  const int levels = (1 << nesting.bits) - 1, narrow_levels = (1 << nesting.narrow_bits) - 1;
  if (levels % narrow_levels != 0 || wide.codes.size() != narrow.codes.size()) return {};
  nesting.factor = levels / narrow_levels;
  for (size_t i = 0; i < wide.codes.size(); ++i) {
    const int rest = Code(wide.codes[i], nesting.bits) + (nesting.factor - 1) / 2 -
                     nesting.factor * Code(narrow.codes[i], nesting.narrow_bits);
    if (rest < 0 || rest >= nesting.factor) return {};
    nesting.rest.push_back(rest);
  }
  return nesting;
}

void Nest(const Nesting& nesting, const GraphNode& conv, const Op& narrow, Op& wide) {
  const auto add_weight = [&](int weight) {
    wide.weighted.weights.push_back(static_cast<uint8_t>(weight));
  };
  wide.planes = narrow.planes;
  for (int bit = nesting.narrow_bits - 1; bit >= 0; --bit) add_weight(nesting.factor << bit);
  for (int bit = nesting.rest_planes() - 1; bit >= 0; --bit) {
    wide.planes.push_back(
        PackBits(conv, nesting.rest, [&](int32_t rest) { return (rest >> bit & 1) != 0; }));
    add_weight(1 << bit);
  }
  wide.weighted.bits = nesting.bits;
  wide.weighted.offset = (1 << nesting.bits) - (nesting.factor - 1) / 2;
}

// The narrower convolution, if any, on which `wide` is stored in the fewest planes of its own.
bool NestOne(const GraphNode& conv, Op& wide, const std::vector<const LoweredGraph*>& graphs,
             const std::vector<const Op*>& narrow) {
  size_t fewest = wide.planes.size();
  for (const Op* op : narrow) fewest = std::min(fewest, wide.planes.size() - CommonPlanes(wide, *op));
  Nesting best;
  const Op* base = nullptr;
  for (size_t i = 0; i < narrow.size(); ++i) {
    const GraphNode& other = graphs[i]->node(narrow[i]->body[0]);
    if (OddBits(other) == 0 || !narrow[i]->weighted.weights.empty()) continue;
    Nesting nesting = NestingOf(conv, other);
    if (nesting.rest.empty() || static_cast<size_t>(nesting.rest_planes()) >= fewest) continue;
    fewest = static_cast<size_t>(nesting.rest_planes());
    best = std::move(nesting);
    base = narrow[i];
  }
  if (base == nullptr) return false;
  Nest(best, conv, *base, wide);
  return true;
}

}  // namespace

bool NestPlanes(std::span<LoweredGraph> widths) {
  bool changed = false;
  std::vector<std::vector<Op*>> convs;
  for (LoweredGraph& lowered : widths) convs.push_back(Convolutions(lowered));
  for (size_t w = 1; w < widths.size(); ++w)
    for (size_t k = 0; k < convs[w].size(); ++k) {
      const GraphNode& conv = widths[w].node(convs[w][k]->body[0]);
      if (OddBits(conv) < 2) continue;
      std::vector<const LoweredGraph*> graphs;
      std::vector<const Op*> narrow;
      for (size_t n = 0; n < w; ++n) {
        if (k >= convs[n].size() ||
            widths[n].node(convs[n][k]->body[0]).name != conv.name)
          continue;
        graphs.push_back(&widths[n]);
        narrow.push_back(convs[n][k]);
      }
      changed |= NestOne(conv, *convs[w][k], graphs, narrow);
    }
  return changed;
}

}  // namespace lbrt
