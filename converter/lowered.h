// The lowered graph: which nodes of a graph each op of the model computes. Lower makes one op a
// node; the passes (converter/passes.h) join ops, so that middle values are no longer stored. Every
// number stays in the graph; what an op means is what its nodes mean.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "network/graph.h"

namespace lbrt {

struct LoweredGraph {
  // A stage of an epilogue (schema/lbm.fbs): affine, addition, activation, in this order, each
  // where present. Values are named by the node that makes them; -1 = none.
  struct Stage {
    int affine = -1;  // the kAffine node
    int add = -1;     // the value that is added
    Activation activation = Activation::kNone;
    int out_f32 = -1;   // the value that z is, where z is stored
    int out_sign = -1;  // the kSign node of z
  };

  enum class Kind : uint8_t {
    kConv,     // a convolution and its epilogue
    kEltwise,  // an epilogue standing alone
    kAvgPool,  // average pooling, then zero channels
  };

  struct Op {
    Kind kind = Kind::kEltwise;
    std::vector<int> nodes;     // what it computes, in order; the first one names the op
    int input = -1;             // a value
    std::vector<Stage> stages;  // kConv, kEltwise: 1 or 2
    int pool = -1, pad = -1;    // kAvgPool: the nodes; one of them may be missing
    // kConv, once packed: the bytes of each plane as schema/lbm.fbs wants them (WeightKind).
    std::vector<std::vector<uint8_t>> planes;
    std::string note;  // kEltwise: why it is no convolution's epilogue
  };

  const Graph* graph = nullptr;  // outlives this
  std::vector<Op> ops;           // in the order of execution

  const GraphNode& node(int value) const { return graph->node(value); }
};

// Throws InputError for a node that no op can compute.
void CheckConvertible(const Graph& graph, const GraphNode& node);

// One op a node. Throws InputError for nodes that are not convertible, and for zero channels that
// do not follow an average pooling.
LoweredGraph Lower(const Graph& graph);

// The values an op reads and stores.
std::vector<int> InputsOf(const LoweredGraph::Op& op);
std::vector<int> OutputsOf(const LoweredGraph::Op& op);

// The op that stores a value; -1 for the network's input and for values that are not stored.
int ProducerOf(const LoweredGraph& lowered, int value);
// How many ops read a value; being the network's output counts as one.
int UsersOf(const LoweredGraph& lowered, int value);

// All values that exist outside of ops, i.e. the input and what ops store, ascending: the model's
// tensors, in this order.
std::vector<int> StoredValues(const LoweredGraph& lowered);

// Puts ops into an order in which each value is stored before it is read; ops keep their places as
// far as that allows.
void SortOps(LoweredGraph& lowered);

}  // namespace lbrt
