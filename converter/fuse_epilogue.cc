#include <algorithm>
#include <set>
#include <utility>

#include "converter/ops.h"
#include "converter/passes.h"

namespace lbrt {
namespace {

using Op = LoweredGraph::Op;
using Stage = LoweredGraph::Stage;

// Whether one of `values` is made by op `op`, or from something that is. Ops are in order, so that
// nothing before `op` need be looked at.
bool DependOn(const LoweredGraph& lowered, std::vector<int> values, int op) {
  std::set<int> seen;
  while (!values.empty()) {
    const int value = values.back();
    values.pop_back();
    const int producer = ProducerOf(lowered, value);
    if (producer == op) return true;
    if (producer < op || !seen.insert(producer).second) continue;
    const std::vector<int> inputs = InputsOf(lowered.ops[static_cast<size_t>(producer)]);
    values.insert(values.end(), inputs.begin(), inputs.end());
  }
  return false;
}

// The place of a stage's last step in the order of steps.
int LastStep(const Stage& stage) {
  if (stage.activation >= 0) return 3;
  if (stage.add >= 0) return 2;
  return stage.affine >= 0 ? 1 : 0;
}

bool MakesCodes(const Stage& stage) { return stage.out_sign >= 0 || stage.out_codes >= 0; }

// Of a stage that makes signs or codes and nothing else: puts them into `last` where there is room.
bool JoinCodes(const Stage& next, Stage& last) {
  int& place = next.out_sign >= 0 ? last.out_sign : last.out_codes;
  if (place >= 0) return false;
  place = next.out_sign >= 0 ? next.out_sign : next.out_codes;
  return true;
}

// Of a stage of one step that makes a value: puts the step behind those of `last`.
bool JoinStep(const Stage& next, Stage& last) {
  if (MakesCodes(last) || LastStep(last) >= LastStep(next)) return false;
  if (next.affine >= 0) last.affine = next.affine;
  if (next.base >= 0) last.base = next.base;
  if (next.add >= 0) last.add = next.add;
  if (next.activation >= 0) last.activation = next.activation;
  last.out_f32 = next.out_f32;
  return true;
}

// A first stage without steps that nothing of is stored or handed on.
void DropEmptyStage(std::vector<Stage>& stages) {
  const Stage& first = stages[0];
  if (LastStep(first) > 0 || MakesCodes(first) || first.out_f32 >= 0) return;
  stages.erase(stages.begin());
  stages[0].restart = false;
}

// Appends `next`, a stage of one step or one of signs or codes only, to op p's epilogue; `x` is the
// value it continues from. Returns why that cannot be done, or nothing when it is done.
std::string Append(LoweredGraph& lowered, int p, int x, const Stage& next) {
  if (p < 0) return "follows the network's input";
  Op& op = lowered.ops[static_cast<size_t>(p)];
  if (op.stages.empty()) return op.kind->no_epilogue;
  const ValueType type = lowered.node(x).type;
  if (type == ValueType::kSign || type == ValueType::kCode) return "takes codes as numbers";
  if (DependOn(lowered, {next.base, next.add}, p)) return "adds a value made from the other";

  const auto of_x = std::find_if(op.stages.begin(), op.stages.end(),
                                 [&](const Stage& stage) { return stage.out_f32 == x; });
  Stage& last = op.stages.back();
  const bool only_user = UsersOf(lowered, x) == 1;
  if (MakesCodes(next) && JoinCodes(next, *of_x)) {
    if (only_user) of_x->out_f32 = -1;
    return {};
  }
  const bool from_sum = !op.body.empty() && x == op.body.back();
  if (&*of_x != &last && !from_sum) return "follows a value that goes on to another stage";
  if (&*of_x == &last && only_user && !MakesCodes(next) && JoinStep(next, last)) return {};
  if (op.stages.size() == kMostStages)
    return "would be a stage too many: " + std::to_string(kMostStages) + " at most";
  Stage more = next;
  more.restart = &*of_x != &last;
  if (only_user) {
    of_x->out_f32 = -1;
  } else if (MakesCodes(next) && !more.restart) {
    std::swap(last.out_f32, more.out_f32);  // where further codes of x find it
  }
  op.stages.push_back(more);
  DropEmptyStage(op.stages);
  return {};
}

// The op as a stage of one step, or of signs or codes.
Stage AsStage(const Op& op) {
  if (!op.stages.empty()) return op.stages[0];
  Stage stage;
  stage.out_codes = op.body[0];  // by thresholds
  return stage;
}

// Joins the eltwise or threshold op `e` to the op that makes its input, or, for an addition, the
// other operand: the later one of the two, since then the other is there already.
bool Fuse(LoweredGraph& lowered, int e) {
  const Op op = lowered.ops[static_cast<size_t>(e)];
  struct Choice {
    int producer, x, add;
  };
  const Stage own = AsStage(op);
  const int input = op.inputs[0], add = own.add;
  std::vector<Choice> choices = {{ProducerOf(lowered, input), input, add}};
  if (add >= 0) choices.push_back({ProducerOf(lowered, add), add, input});
  std::stable_sort(choices.begin(), choices.end(),
                   [](const Choice& a, const Choice& b) { return a.producer > b.producer; });
  for (const Choice& choice : choices) {
    Stage next = own;
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
    const bool joins = op.kind == &kinds::kEltwise || op.kind == &kinds::kThreshold;
    if (joins && op.nodes.size() == 1) changed |= Fuse(lowered, e);
  }
  return changed;
}

}  // namespace lbrt
