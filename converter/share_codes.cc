#include <algorithm>

#include "converter/passes.h"

namespace lbrt {
namespace {

using Op = LoweredGraph::Op;

// Whether two ops of one node make the same signs or codes of the same value.
bool SameCodes(const LoweredGraph& lowered, const Op& a, const Op& b) {
  if (a.nodes.size() != 1 || b.nodes.size() != 1 || a.inputs != b.inputs) return false;
  const GraphNode &x = lowered.node(a.nodes[0]), &y = lowered.node(b.nodes[0]);
  if (x.op != GraphOp::kSign && x.op != GraphOp::kQuantize && x.op != GraphOp::kThreshold)
    return false;
  return x.op == y.op && x.levels == y.levels && x.inverse_step == y.inverse_step &&
         x.thresholds == y.thresholds;
}

}  // namespace

bool ShareCodes(LoweredGraph& lowered) {
  bool changed = false;
  for (size_t i = 0; i < lowered.ops.size(); ++i)
    for (size_t k = i + 1; k < lowered.ops.size();) {
      if (!SameCodes(lowered, lowered.ops[i], lowered.ops[k])) {
        ++k;
        continue;
      }
      // Codes are read as inputs only: what stages name are floats.
      const int kept = lowered.ops[i].nodes[0], dropped = lowered.ops[k].nodes[0];
      for (Op& op : lowered.ops) std::replace(op.inputs.begin(), op.inputs.end(), dropped, kept);
      lowered.ops.erase(lowered.ops.begin() + static_cast<ptrdiff_t>(k));
      changed = true;
    }
  return changed;
}

}  // namespace lbrt
