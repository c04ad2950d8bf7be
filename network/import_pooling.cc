#include "network/import_pooling.h"

#include <utility>

namespace lbrt {

std::vector<Node> WithPoolingFirst(const Network& network) {
  std::vector<Node> nodes = network.nodes;
  std::vector<int> users(nodes.size(), 0);
  for (const Node& node : nodes)
    for (const Value input : node.inputs) ++users[static_cast<size_t>(input)];

  for (size_t pool = 0; pool < nodes.size(); ++pool) {
    if (nodes[pool].kind != NodeKind::kGlobalAvgPool) continue;
    // The places of the pooling, perhaps the batch norm before it, and the convolution before that.
    std::vector<size_t> places = {pool};
    const auto before = [&] { return static_cast<size_t>(nodes[places.back()].inputs[0]); };
    if (nodes[before()].kind == NodeKind::kBatchNorm && users[before()] == 1)
      places.push_back(before());
    const Node& conv = nodes[before()];
    const bool real = conv.weights.kind == WeightQuantizer::kFloat ||
                      conv.weights.kind == WeightQuantizer::kFixedPoint;
    if (conv.kind != NodeKind::kConv || users[before()] != 1 || !real ||
        conv.window != SquareWindow(1, 1, 0) ||
        nodes[static_cast<size_t>(conv.inputs[0])].kind == NodeKind::kInput)
      continue;
    places.push_back(before());

    // The pooling takes the first place; the others each move on by one.
    Node pooling = nodes[pool];
    pooling.inputs = conv.inputs;
    pooling.channels = nodes[before()].channels;
    for (size_t i = 0; i + 1 < places.size(); ++i) {
      nodes[places[i]] = nodes[places[i + 1]];
      nodes[places[i]].inputs = {static_cast<Value>(places[i + 1])};
    }
    nodes[places.back()] = std::move(pooling);
  }
  return nodes;
}

}  // namespace lbrt
