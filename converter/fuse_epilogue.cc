#include <algorithm>
#include <utility>

#include "converter/passes.h"

namespace lbrt {
namespace {

using Op = LoweredGraph::Op;
using Stage = LoweredGraph::Stage;
using Kind = LoweredGraph::Kind;

// Whether `value` is made by op `op`, or from something that is. Ops are in order, so that nothing
// before `op` need be looked at.
bool DependsOn(const LoweredGraph& lowered, int value, int op) {
  const int producer = ProducerOf(lowered, value);
  if (producer <= op) return producer == op;
  const std::vector<int> inputs = InputsOf(lowered.ops[static_cast<size_t>(producer)]);
  return std::any_of(inputs.begin(), inputs.end(),
                     [&](int input) { return DependsOn(lowered, input, op); });
}

// The place of a stage's last step in the order of steps.
int LastStep(const Stage& stage) {
  if (stage.activation != Activation::kNone) return 3;
  if (stage.add >= 0) return 2;
  return stage.affine >= 0 ? 1 : 0;
}

// Appends `next`, a stage of one step or one of signs only, to op p's epilogue; `x` is the value it
// continues from. Returns why that cannot be done, or nothing when it is done.
std::string Append(LoweredGraph& lowered, int p, int x, const Stage& next) {
  if (p < 0) return "follows the network's input";
  Op& op = lowered.ops[static_cast<size_t>(p)];
  if (op.kind == Kind::kAvgPool) return "follows a pooling, which has no epilogue";
  Stage& last = op.stages.back();
  if (last.out_f32 != x) return "follows a value that goes on to another stage";
  if (next.add >= 0 && DependsOn(lowered, next.add, p)) return "adds a value made from the other";

  const bool only_user = UsersOf(lowered, x) == 1;
  if (next.out_sign >= 0) {
    if (last.out_sign >= 0) return "takes signs a second time";
    last.out_sign = next.out_sign;
    if (only_user) last.out_f32 = -1;
    return {};
  }
  if (only_user && last.out_sign < 0 && LastStep(last) < LastStep(next)) {
    if (next.affine >= 0) last.affine = next.affine;
    if (next.add >= 0) last.add = next.add;
    if (next.activation != Activation::kNone) last.activation = next.activation;
    last.out_f32 = next.out_f32;
    return {};
  }
  if (op.stages.size() == 2) return "would be a third stage";
  if (only_user) last.out_f32 = -1;
  op.stages.push_back(next);
  return {};
}

// Joins the eltwise op `e` to the op that makes its input, or, for an addition, the other operand:
// the later one of the two, since then the other is there already.
bool Fuse(LoweredGraph& lowered, int e) {
  const Op op = lowered.ops[static_cast<size_t>(e)];
  struct Choice {
    int producer, x, add;
  };
  const int add = op.stages[0].add;
  std::vector<Choice> choices = {{ProducerOf(lowered, op.input), op.input, add}};
  if (add >= 0) choices.push_back({ProducerOf(lowered, add), add, op.input});
  std::stable_sort(choices.begin(), choices.end(),
                   [](const Choice& a, const Choice& b) { return a.producer > b.producer; });
  for (const Choice& choice : choices) {
    Stage next = op.stages[0];
    next.add = choice.add;
    std::string why_not = Append(lowered, choice.producer, choice.x, next);
    if (why_not.empty()) {
      auto& nodes = lowered.ops[static_cast<size_t>(choice.producer)].nodes;
      nodes.insert(nodes.end(), op.nodes.begin(), op.nodes.end());
      lowered.ops.erase(lowered.ops.begin() + e);
      SortOps(lowered);
      return true;
    }
    std::string& note = lowered.ops[static_cast<size_t>(e)].note;
    if (note.empty()) note = std::move(why_not);
  }
  return false;
}

}  // namespace

bool FuseEpilogue(LoweredGraph& lowered) {
  bool changed = false;
  // By node, i.e. inputs before users, so that a producer has all it can have when its user asks.
  for (int node = 0; node < static_cast<int>(lowered.graph->nodes.size()); ++node) {
    const int e = ProducerOf(lowered, node);
    if (e < 0) continue;
    const Op& op = lowered.ops[static_cast<size_t>(e)];
    if (op.kind == Kind::kEltwise && op.nodes.size() == 1) changed |= Fuse(lowered, e);
  }
  return changed;
}

}  // namespace lbrt
