#include "converter/passes.h"

namespace lbrt {

bool FusePoolPad(LoweredGraph& lowered) {
  bool changed = false;
  for (size_t i = 0; i < lowered.ops.size();) {
    const LoweredGraph::Op& pad = lowered.ops[i];
    const int p = ProducerOf(lowered, pad.inputs[0]);
    if (lowered.node(pad.nodes[0]).op != GraphOp::kPadChannels || p < 0 ||
        UsersOf(lowered, pad.inputs[0]) != 1) {
      ++i;
      continue;
    }
    LoweredGraph::Op& pool = lowered.ops[static_cast<size_t>(p)];
    pool.body.push_back(pad.body[0]);
    pool.nodes.push_back(pad.body[0]);
    lowered.ops.erase(lowered.ops.begin() + static_cast<ptrdiff_t>(i));
    changed = true;
  }
  return changed;
}

}  // namespace lbrt
