#include "converter/passes.h"

namespace lbrt {

bool FusePoolPad(LoweredGraph& lowered) {
  bool changed = false;
  for (size_t i = 0; i < lowered.ops.size();) {
    const LoweredGraph::Op& pad = lowered.ops[i];
    const int p = ProducerOf(lowered, pad.input);
    if (pad.kind != LoweredGraph::Kind::kAvgPool || pad.pool >= 0 || p < 0 ||
        UsersOf(lowered, pad.input) != 1) {
      ++i;
      continue;
    }
    LoweredGraph::Op& pool = lowered.ops[static_cast<size_t>(p)];
    pool.pad = pad.pad;
    pool.nodes.push_back(pad.pad);
    lowered.ops.erase(lowered.ops.begin() + static_cast<ptrdiff_t>(i));
    changed = true;
  }
  return changed;
}

}  // namespace lbrt
