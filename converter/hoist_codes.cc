#include <algorithm>
#include <cfloat>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "converter/passes.h"

namespace lbrt {
namespace {

using Op = LoweredGraph::Op;

// Nodes, each computed from the one before.
using Chain = std::vector<int>;

bool IsSumOrFloat(const GraphNode& node) {
  return node.type == ValueType::kF32 || node.type == ValueType::kI32;
}
bool IsStep(const GraphNode& node) {
  return node.inputs.size() == 1 &&
         (node.op == GraphOp::kAffine || node.op == GraphOp::kActivation ||
          node.op == GraphOp::kPRelu);
}
bool IsMonotone(const GraphNode& node) {
  return node.op != GraphOp::kPRelu ||
         std::ranges::all_of(node.a, [](float slope) { return slope >= 0; });
}
bool MakesCodes(const GraphNode& node) {
  return node.op == GraphOp::kSign || node.op == GraphOp::kQuantize ||
         node.op == GraphOp::kThreshold;
}
size_t CountAffines(const LoweredGraph& lowered, const Chain& chain) {
  return static_cast<size_t>(std::ranges::count_if(
      chain, [&](int i) { return lowered.node(i).op == GraphOp::kAffine; }));
}

// The part [begin, begin + count) of each channels' worth of numbers.
std::vector<float> Slice(const std::vector<float>& numbers, size_t channels, size_t begin,
                         size_t count) {
  std::vector<float> part;
  for (size_t i = begin; i < numbers.size(); i += channels)
    part.insert(part.end(), numbers.begin() + static_cast<ptrdiff_t>(i),
                numbers.begin() + static_cast<ptrdiff_t>(i + count));
  return part;
}

// Poolings and concatenations that read one another, and what follows them.
struct Carriers {
  std::set<int> nodes;
  std::vector<std::pair<int, Chain>> chains;  // from which of them, up to the codes
  std::string why_not;                        // these stay floats
};

class Hoister {
 public:
  explicit Hoister(LoweredGraph& lowered) : lowered_(lowered) {}

  bool Run() {
    bool changed = false;
    std::set<int> seen;
    const int last = lowered_.graph->last();
    for (int node = 1; node <= last; ++node) {
      if (seen.contains(node)) continue;
      FindReaders();
      if (!IsCarrier(node)) continue;
      const Carriers carriers = Find(node);
      seen.insert(carriers.nodes.begin(), carriers.nodes.end());
      if (!carriers.why_not.empty()) {
        SayWhyNot(carriers);
      } else if (!carriers.chains.empty()) {
        Replace(carriers);
        changed = true;
      }
    }
    return changed;
  }

 private:
  void FindReaders() {
    readers_.clear();
    for (const Op& op : lowered_.ops)
      for (const int value : InputsOf(op)) readers_[value].push_back(op.nodes[0]);
  }
  bool IsAveraged(int value) const {
    const auto readers = readers_.find(value);
    return readers != readers_.end() && std::ranges::any_of(readers->second, [&](int reader) {
             return lowered_.node(reader).op == GraphOp::kAvgPool;
           });
  }
  // Whether a value hands elements on as they are. Sums that are pooled and averaged then are
  // stored: codes may as well be made of those.
  bool IsCarrier(int value) const {
    const GraphNode& node = lowered_.node(value);
    if (!IsSumOrFloat(node)) return false;
    return node.op == GraphOp::kConcat ||
           (node.op == GraphOp::kMaxPool &&
            (node.type == ValueType::kF32 || !IsAveraged(value)));
  }
  bool IsOutput(int value) const {
    const Graph& graph = *lowered_.graph;
    return graph.output == value || std::ranges::count(graph.more_outputs, value) != 0;
  }

  Carriers Find(int node) {
    Carriers found;
    std::vector<int> open = {node};
    while (!open.empty()) {
      const int carrier = open.back();
      open.pop_back();
      if (!found.nodes.insert(carrier).second) continue;
      for (const int x : lowered_.node(carrier).inputs)
        if (IsCarrier(x)) open.push_back(x);
      for (const int reader : readers_[carrier])
        if (IsCarrier(reader)) open.push_back(reader);
    }
    for (const int carrier : found.nodes) FollowReaders(carrier, carrier, {}, found);
    for (const int carrier : found.nodes)
      for (const int x : lowered_.node(carrier).inputs)
        if (!found.nodes.contains(x)) CheckSource(x, found);
    return found;
  }

  void FollowReaders(int carrier, int value, const Chain& chain, Carriers& found) {
    const auto keep = [&](const std::string& reader) {
      if (found.why_not.empty())
        found.why_not = lowered_.node(carrier).name + " is read as floats by " + reader;
    };
    if (IsOutput(value)) keep("the caller");
    for (const int reader : readers_[value]) {
      const GraphNode& node = lowered_.node(reader);
      Chain longer = chain;
      longer.push_back(reader);
      if (MakesCodes(node))
        found.chains.emplace_back(carrier, std::move(longer));
      else if (IsStep(node) && IsMonotone(node))
        FollowReaders(carrier, reader, longer, found);
      else if (!chain.empty() || !IsCarrier(reader))
        keep(node.name);
    }
  }

  // The steps from the sums of a convolution of integers, or of those pooled, which are put in
  // front, to value x; empty where there are others, or another source. Floats could be no number,
  // which max poolings ignore, or not, depending on where it lies.
  Chain SourceOf(int x) const {
    Chain chain = {x};
    while (IsStep(lowered_.node(chain.front())))
      chain.insert(chain.begin(), lowered_.node(chain.front()).inputs[0]);
    const GraphNode& first = lowered_.node(chain.front());
    const bool sums = first.type == ValueType::kI32 || first.type == ValueType::kI64;
    return sums && first.op != GraphOp::kConcat ? chain : Chain{};
  }

  void CheckSource(int x, Carriers& found) const {
    const Chain source = SourceOf(x);
    if (source.empty()) {
      if (found.why_not.empty())
        found.why_not = lowered_.node(x).name + " is not made of one convolution's integer sums";
      return;
    }
    size_t stages = IsAveraged(source.front()) ? 1 : 0;  // which stores the sums themselves
    for (const auto& [carrier, chain] : found.chains) {
      stages += std::max(size_t{1}, CountAffines(lowered_, source) + CountAffines(lowered_, chain));
      if (!IsFinite(source, chain) && found.why_not.empty())
        found.why_not = lowered_.node(x).name + " can become infinite";
    }
    if (stages > kMostStages && found.why_not.empty())
      found.why_not = lowered_.node(x).name + " would need " + std::to_string(stages) + " stages";
  }

  bool IsFinite(const Chain& source, const Chain& chain) const {
    const auto most = [](const std::vector<float>& numbers) {
      double largest = 0;
      for (const float x : numbers) largest = std::max(largest, std::fabs(static_cast<double>(x)));
      return largest;
    };
    double bound = LargestSum(*lowered_.graph, source.front());
    bool finite = true;
    for (const Chain* part : {&source, &chain})
      for (const int i : *part) {
        const GraphNode& node = lowered_.node(i);
        if (node.op == GraphOp::kAffine) bound = bound * most(node.a) + most(node.b);
        if (node.op == GraphOp::kPRelu) bound = bound * std::max(1.0, most(node.a));
        finite = finite && bound < static_cast<double>(FLT_MAX);
      }
    return finite;
  }

  void SayWhyNot(const Carriers& carriers) {
    for (const auto& [carrier, chain] : carriers.chains)
      for (Op& op : lowered_.ops)
        if (op.nodes[0] == chain[0]) op.note = carriers.why_not;
  }

  void Replace(const Carriers& carriers) {
    Graph& graph = lowered_.Extend();
    std::set<int> replaced = carriers.nodes;
    for (const int carrier : carriers.nodes)
      for (const int x : lowered_.node(carrier).inputs)
        if (!carriers.nodes.contains(x)) {
          const Chain source = SourceOf(x);
          replaced.insert(source.begin() + 1, source.end());
        }
    for (const auto& [carrier, chain] : carriers.chains) {
      replaced.insert(chain.begin(), chain.end());
      made_.clear();
      const int codes = MakeCodes(graph, carrier, chain, 0);
      const auto place = std::ranges::find_if(
          lowered_.ops, [last = chain.back()](const Op& op) { return op.nodes[0] == last; });
      lowered_.ops.insert(place, made_.begin(), made_.end());
      for (Op& op : lowered_.ops) std::ranges::replace(op.inputs, chain.back(), codes);
    }
    DropUnused(replaced);
  }

  // Appends the nodes that make the codes at the end of `chain` of value x, whose channel 0 is the
  // chain's channel `begin`; `made_` gets their ops. Returns the node of the codes.
  int MakeCodes(Graph& graph, int x, const Chain& chain, size_t begin) {
    const auto [known, is_new] = codes_.try_emplace({x, chain.back(), begin}, -1);
    if (!is_new) return known->second;
    const GraphOp op = graph.node(x).op;
    int& codes = known->second;
    if (!IsCarrier(x)) {
      codes = CopyChains(graph, x, chain, begin);
    } else if (op == GraphOp::kMaxPool) {
      GraphNode pool = graph.node(x);
      pool.inputs = {MakeCodes(graph, pool.inputs[0], chain, begin)};
      pool.a = Directions(graph, chain, begin, static_cast<size_t>(pool.channels));
      codes = Append(graph, std::move(pool), graph.node(chain.back()));
    } else {
      GraphNode concat = graph.node(x);
      size_t channel = begin;
      for (int& input : concat.inputs) {
        const auto channels = static_cast<size_t>(graph.node(input).channels);
        input = MakeCodes(graph, input, chain, channel);
        channel += channels;
      }
      codes = Append(graph, std::move(concat), graph.node(chain.back()));
    }
    return codes;
  }

  int CopyChains(Graph& graph, int x, const Chain& chain, size_t begin) {
    Chain source = SourceOf(x);
    int value = source.front();
    const GraphNode& like = graph.node(x);
    const int height = like.height, width = like.width, channels = like.channels;
    for (size_t i = 1; i < source.size(); ++i) {
      GraphNode step = graph.node(source[i]);
      step.inputs = {value};
      value = Append(graph, std::move(step));
    }
    for (const int i : chain) {
      GraphNode step = graph.node(i);
      const auto all = static_cast<size_t>(step.channels);
      step.a = Slice(step.a, all, begin, static_cast<size_t>(channels));
      step.b = Slice(step.b, all, begin, static_cast<size_t>(channels));
      step.thresholds = Slice(step.thresholds, all, begin, static_cast<size_t>(channels));
      step.height = height;
      step.width = width;
      step.channels = channels;
      step.inputs = {value};
      value = Append(graph, std::move(step));
    }
    return value;
  }

  // -1 where the codes fall as the value rises, else 1; empty where they fall nowhere.
  static std::vector<float> Directions(const Graph& graph, const Chain& chain, size_t begin,
                                       size_t channels) {
    std::vector<float> directions(channels, 1);
    for (const int i : chain) {
      const GraphNode& node = graph.node(i);
      for (size_t c = 0; node.op == GraphOp::kAffine && c < channels; ++c)
        if (node.a[begin + c] < 0) directions[c] *= -1;
    }
    if (std::ranges::count(directions, -1) == 0) directions.clear();
    return directions;
  }

  int Append(Graph& graph, GraphNode node) {
    graph.nodes.push_back(std::move(node));
    made_.push_back(LowerNode(graph, graph.last()));
    return graph.last();
  }
  // A carrier of codes like `codes`.
  int Append(Graph& graph, GraphNode carrier, const GraphNode& codes) {
    carrier.type = codes.type;
    carrier.levels = codes.levels;
    return Append(graph, std::move(carrier));
  }

  void DropUnused(const std::set<int>& replaced) {
    for (size_t i = lowered_.ops.size(); i-- > 0;) {
      const int node = lowered_.ops[i].nodes[0];
      if (replaced.contains(node) && UsersOf(lowered_, node) == 0)
        lowered_.ops.erase(lowered_.ops.begin() + static_cast<ptrdiff_t>(i));
    }
  }

  LoweredGraph& lowered_;
  std::map<int, std::vector<int>> readers_;
  std::map<std::tuple<int, int, size_t>, int> codes_;  // made: of a value, by a chain, from where
  std::vector<Op> made_;
};

}  // namespace

bool HoistCodes(LoweredGraph& lowered) { return Hoister(lowered).Run(); }

}  // namespace lbrt
