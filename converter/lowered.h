// The lowered graph: which nodes of a graph each op of the model computes. Lower makes one op a
// node; the passes (converter/passes.h) join ops, so that middle values are no longer stored. Every
// number stays in the graph; what an op means is what its nodes mean.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "network/graph.h"

namespace lbrt {

struct OpKind;  // converter/ops.h

struct LoweredGraph {
  // A stage of an epilogue (schema/lbm.fbs): affine, addition, activation, in this order, each
  // where present; then its result z is stored in each form that is wanted. Values are named by the
  // node that makes them; -1 = none.
  struct Stage {
    int affine = -1;      // the kAffine node, or a kDecode node: z * step
    int base = -1;        // the value that is the affine's base
    int add = -1;         // the value that is added
    int activation = -1;  // the kActivation or kPRelu node
    int out_f32 = -1;     // the value that z is
    int out_sign = -1;    // the kSign node of z
    int out_codes = -1;   // the kQuantize or kThreshold node of z
    bool restart = false;  // begins with what the body makes, not with the z of the stage before
  };

  // w = 2 q - (2^bits - 1), q = (offset + sum of weights[i] * plane i) mod 2^bits. No weights: the
  // planes are those of the graph's kind of weights.
  struct PlaneWeights {
    std::vector<uint8_t> weights;
    int bits = 0, offset = 0;
  };

  struct Op {
    const OpKind* kind = nullptr;
    std::vector<int> nodes;     // all it computes, in order; the first one names the op
    std::vector<int> inputs;    // the values it reads, beside those that its stages name
    std::vector<int> body;      // the nodes before the epilogue, each computed from the one before
    std::vector<Stage> stages;  // the epilogue; none: what the body makes is stored
    // kConv, once packed: the bytes of each plane as schema/lbm.fbs wants them (WeightKind).
    std::vector<std::vector<uint8_t>> planes;
    PlaneWeights weighted;  // where the planes are WeightKind Weighted's
    std::string note;  // kEltwise: why it is no other op's epilogue
  };

  const Graph* graph = nullptr;  // outlives this, or is `extended`
  std::vector<Op> ops;           // in the order of execution
  // The graph as imported and, behind its nodes, those that passes made: other ways to values.
  std::shared_ptr<Graph> extended;

  const GraphNode& node(int value) const { return graph->node(value); }
  // For a pass that appends nodes. The first call copies the graph.
  Graph& Extend();
};

// One op a node. Throws InputError for a node that no kind of op computes.
LoweredGraph Lower(const Graph& graph);
LoweredGraph::Op LowerNode(const Graph& graph, int node);

// Stages of an epilogue, at most (schema/lbm.fbs).
inline constexpr size_t kMostStages = 8;

// The values an op reads and stores.
std::vector<int> InputsOf(const LoweredGraph::Op& op);
std::vector<int> OutputsOf(const LoweredGraph::Op& op);

// The op that stores a value; -1 for the network's input and for values that are not stored.
int ProducerOf(const LoweredGraph& lowered, int value);
// How many ops read a value; being an output of the network counts as one.
int UsersOf(const LoweredGraph& lowered, int value);

// All values that exist outside of ops, i.e. the input and what ops store, ascending: the model's
// tensors, in this order.
std::vector<int> StoredValues(const LoweredGraph& lowered);

// Puts ops into an order in which each value is stored before it is read; ops keep their places as
// far as that allows.
void SortOps(LoweredGraph& lowered);

}  // namespace lbrt
