// The kinds of ops that a model has. A kind is a file in converter/ops/, a line in the list of
// converter/ops.cc, and an op of runtime/ops/.
#pragma once

#include <span>

#include "converter/lowered.h"

namespace lbrt {

class Emission;    // converter/emission.h
struct TableBody;  // the same

struct OpKind {
  const char* name;
  // Why no epilogue can be joined to it, as a table says it; null: it has one.
  const char* no_epilogue;
  // Whether node `i` of the graph is one of this kind's; then `op` gets its inputs, and what it
  // computes from them as body or stage. Throws InputError for one that the kind cannot express.
  bool (*lower)(const Graph& graph, int i, LoweredGraph::Op& op);
  // Its part of the file's table.
  TableBody (*emit)(Emission& emission, const LoweredGraph::Op& op);
};

namespace kinds {
extern const OpKind kConv, kEltwise, kAvgPool, kMaxPool, kConcat, kThreshold, kUpsample,
    kDepthToSpace;
}

std::span<const OpKind* const> OpKinds();

}  // namespace lbrt
