#include "network/import.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "images/error.h"
#include "network/quantizers.h"

namespace lbrt {
namespace {

constexpr struct {
  Stem stem;
  const char* name;
  int limbs;  // 0: fp32 weights
} kStems[] = {
    {Stem::kI24, "i24", 3}, {Stem::kI16, "i16", 2}, {Stem::kI8, "i8", 1}, {Stem::kF32, "f32", 0}};

int StemLimbs(Stem stem) { return kStems[static_cast<size_t>(stem)].limbs; }

// Without an activation between, a global pooling may come before a 1x1 convolution and its batch
// norm: all three are linear (methods.md 3.2). Fewer pixels are left for the convolution.
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
    if (conv.kind != NodeKind::kConv || users[before()] != 1 ||
        conv.weights != WeightQuantizer::kFloat || conv.window != SquareWindow(1, 1, 0))
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

// What the sums of a convolution stand for: y = scale[o] * (sum - offset[class][o]).
struct Sums {
  std::vector<double> scale;
  std::vector<double> offset;  // empty: none
  int border_rows = 1, border_columns = 1;
  std::vector<int> dead;  // channels whose sums are to be ignored
};

// The sums are the values themselves.
Sums Plain(int channels) {
  Sums sums;
  sums.scale.assign(static_cast<size_t>(channels), 1);
  return sums;
}

// What a batch norm or a bias does to y: z = alpha[c] * y + beta[c].
struct Fold {
  std::vector<double> alpha, beta;
};

class Importer {
 public:
  Importer(const Network& network, const StateDict& tensors, const ImportOptions& options,
           ImportReport* report)
      : tensors_(tensors), options_(options), report_(report), nodes_(WithPoolingFirst(network)) {
    for (size_t i = 0; i < nodes_.size(); ++i)
      for (const Value input : nodes_[i].inputs) users_[input].push_back(static_cast<Value>(i));
  }

  Graph Run(Value output) {
    for (Value v = 0; v < static_cast<Value>(nodes_.size()); ++v)
      if (lowered_.count(v) == 0) lowered_[v] = Lower(v);
    graph_.output = lowered_.at(output);
    return std::move(graph_);
  }

 private:
  const Node& node(Value v) const { return nodes_[static_cast<size_t>(v)]; }
  const float* floats(const std::string& name) const { return tensors_.at(name).f32(); }

  // Appends a node with the first input's shape and returns it.
  GraphNode& Append(GraphOp op, const std::string& name, std::vector<int> inputs);
  int LastIndex() const { return static_cast<int>(graph_.nodes.size()) - 1; }

  // Each makes the graph nodes of a network node and returns the last one.
  int Lower(Value v);
  int LowerInput(const Node& node);
  int LowerPool(const Node& node, int x);
  int LowerBatchNorm(const Node& node, int x);
  int LowerConv(Value v, int x);

  Sums SignWeights(const Node& node, GraphNode& conv);
  Sums FixedWeights(const Node& node, GraphNode& conv);
  Sums FloatWeights(const Node& node, GraphNode& conv);
  int AppendAffine(const std::string& name, int x, const Sums& sums, const Fold& fold);

  Fold BatchNorm(const Node& node) const;
  Fold Bias(const Node& node) const;
  void Report(const std::string& weight, const SignCodes& signs, const char* zero);

  const StateDict& tensors_;
  const ImportOptions& options_;
  ImportReport* report_;
  std::vector<Node> nodes_;
  std::map<Value, std::vector<Value>> users_;
  std::map<Value, int> lowered_;  // the graph node that a network's value became
  Graph graph_;
};

GraphNode& Importer::Append(GraphOp op, const std::string& name, std::vector<int> inputs) {
  GraphNode node;
  node.op = op;
  node.name = name;
  if (!inputs.empty()) {
    const GraphNode& x = graph_.node(inputs[0]);
    node.height = x.height;
    node.width = x.width;
    node.channels = x.channels;
    if (x.type == ValueType::kU8 && node.op != GraphOp::kConv)
      throw InputError("node " + name, "needs the image as floats, expected stem f32");
  }
  node.inputs = std::move(inputs);
  graph_.nodes.push_back(std::move(node));
  return graph_.nodes.back();
}

int Importer::Lower(Value v) {
  const Node& node = this->node(v);
  std::vector<int> inputs;
  for (const Value input : node.inputs) inputs.push_back(lowered_.at(input));
  switch (node.kind) {
    case NodeKind::kInput:
      return LowerInput(node);
    case NodeKind::kConv:
    case NodeKind::kLinear:
      return LowerConv(v, inputs[0]);
    case NodeKind::kBatchNorm:
      return LowerBatchNorm(node, inputs[0]);
    case NodeKind::kAvgPool:
    case NodeKind::kGlobalAvgPool:
      return LowerPool(node, inputs[0]);
    case NodeKind::kQuantize:
      Append(GraphOp::kSign, node.name, inputs).type = ValueType::kSign;
      break;
    case NodeKind::kRelu:
      Append(GraphOp::kActivation, node.name, inputs).activation = Activation::kRelu;
      break;
    case NodeKind::kHardtanh:
      Append(GraphOp::kActivation, node.name, inputs).activation = Activation::kHardtanh;
      break;
    case NodeKind::kAdd:
      Append(GraphOp::kAdd, node.name, inputs);
      break;
    case NodeKind::kPadChannels: {
      GraphNode& pad = Append(GraphOp::kPadChannels, node.name, inputs);
      pad.pad_before = node.pad_before;
      pad.pad_after = node.pad_after;
      pad.channels += node.pad_before + node.pad_after;
      break;
    }
  }
  return LastIndex();
}

int Importer::LowerInput(const Node& node) {
  const auto channels = static_cast<size_t>(node.channels);
  if (options_.mean.size() != channels || options_.std.size() != channels)
    throw InputError("preprocessing",
                     "expected mean and std of " + std::to_string(channels) + " channels");
  for (size_t c = 0; c < channels; ++c)
    if (!std::isfinite(options_.mean[c]) || !std::isfinite(options_.std[c]) || options_.std[c] <= 0)
      throw InputError("preprocessing", "expected finite means and positive deviations");
  GraphNode& input = Append(GraphOp::kInput, node.name, {});
  input.type = options_.stem == Stem::kF32 ? ValueType::kF32 : ValueType::kU8;
  input.height = node.height;
  input.width = node.width;
  input.channels = node.channels;
  return LastIndex();
}

int Importer::LowerPool(const Node& node, int x) {
  GraphNode& pool = Append(GraphOp::kAvgPool, node.name, {x});
  pool.window = node.window;
  if (node.kind == NodeKind::kGlobalAvgPool) {
    pool.window.kernel_h = pool.height;
    pool.window.kernel_w = pool.width;
  }
  const int height = pool.height, width = pool.width;
  pool.height = OutputHeight(pool.window, height);
  pool.width = OutputWidth(pool.window, width);
  return LastIndex();
}

int Importer::LowerBatchNorm(const Node& node, int x) {
  return AppendAffine(node.name, x, Plain(node.channels), BatchNorm(node));
}

// The convolution with its scales, and with the batch norm that alone uses it, if one does.
int Importer::LowerConv(Value v, int x) {
  const Node& node = this->node(v);
  GraphNode& conv = Append(GraphOp::kConv, node.name, {x});
  conv.window = node.window;
  conv.height = OutputHeight(node.window, conv.height);
  conv.width = OutputWidth(node.window, conv.width);
  Sums sums;
  if (node.weights != WeightQuantizer::kFloat)
    sums = SignWeights(node, conv);
  else if (graph_.node(x).type == ValueType::kU8)
    sums = FixedWeights(node, conv);
  else
    sums = FloatWeights(node, conv);
  conv.channels = node.channels;
  const int index = LastIndex();

  const std::vector<Value>& users = users_[v];
  if (users.size() == 1 && this->node(users[0]).kind == NodeKind::kBatchNorm && !node.bias) {
    const Node& norm = this->node(users[0]);
    lowered_[users[0]] = AppendAffine(norm.name, index, sums, BatchNorm(norm));
    return index;
  }
  if (conv.weight_kind == WeightKind::kFloat && !node.bias) return index;  // y is the sum
  return AppendAffine(node.name, index, sums, Bias(node));
}

// PyTorch's [o][c][taps] to the graph's [o][taps][c].
template <typename T>
std::vector<T> ChannelsLast(const std::vector<T>& weights, int channels, int taps) {
  std::vector<T> result;
  result.reserve(weights.size());
  const size_t size = static_cast<size_t>(channels) * static_cast<size_t>(taps);
  for (size_t o = 0; o < weights.size(); o += size)
    for (int tap = 0; tap < taps; ++tap)
      for (int c = 0; c < channels; ++c)
        result.push_back(weights[o + static_cast<size_t>(c * taps + tap)]);
  return result;
}

Sums Importer::SignWeights(const Node& node, GraphNode& conv) {
  const int inputs = conv.channels, taps = inputs * node.window.taps();
  const bool recu = node.weights == WeightQuantizer::kRecu;
  const float* weights = floats(node.weight);
  const SignCodes signs =
      recu ? RecuCodes(weights, node.channels, taps) : McDonnellCodes(weights, node.channels, taps);
  Report(node.weight, signs, recu ? "equal to their channel's mean" : "zero");
  conv.weight_kind = WeightKind::kSign;
  conv.codes = ChannelsLast(std::vector<int32_t>(signs.codes.begin(), signs.codes.end()), inputs,
                            node.window.taps());
  const bool exact = graph_.node(conv.inputs[0]).type == ValueType::kSign;
  conv.type = exact ? ValueType::kI32 : ValueType::kF32;

  Sums sums;
  sums.dead = signs.dead;
  for (int o = 0; o < node.channels; ++o)
    sums.scale.push_back(recu ? floats(node.name + ".alpha")[o] : McDonnellScale(taps));
  return sums;
}

// The image's bytes u meet integer weights: the normalisation (u / 255 - mean) / std goes into the
// weights and, for the mean, into an offset per border class (design.md section 2).
Sums Importer::FixedWeights(const Node& node, GraphNode& conv) {
  const int inputs = conv.channels, taps = node.window.taps();
  const float* weights = floats(node.weight);
  std::vector<double> folded;
  for (int o = 0; o < node.channels; ++o)
    for (int c = 0; c < inputs; ++c)
      for (int tap = 0; tap < taps; ++tap)
        folded.push_back(*weights++ / (255 * options_.std[static_cast<size_t>(c)]));
  conv.type = ValueType::kI64;
  conv.weight_kind = WeightKind::kFixed;
  conv.limbs = StemLimbs(options_.stem);
  FixedCodes fixed = FixedPointCodes(folded.data(), node.channels, inputs * taps, conv.limbs);
  conv.codes = ChannelsLast(fixed.codes, inputs, taps);

  Sums sums;
  sums.scale = std::move(fixed.scale);
  const GraphNode& image = graph_.node(conv.inputs[0]);
  const BorderAxis rows = BorderRows(node.window, image.height);
  const BorderAxis columns = BorderColumns(node.window, image.width);
  sums.border_rows = rows.classes();
  sums.border_columns = columns.classes();
  for (int row = 0; row < rows.classes(); ++row)
    for (int column = 0; column < columns.classes(); ++column)
      for (int o = 0; o < node.channels; ++o) {
        const TapRange ys = rows.taps(rows.First(row)), xs = columns.taps(columns.First(column));
        double offset = 0;
        for (int ky = ys.begin; ky < ys.end; ++ky)
          for (int kx = xs.begin; kx < xs.end; ++kx)
            for (int c = 0; c < inputs; ++c) {
              const int tap = ky * node.window.kernel_w + kx;
              offset += conv.codes[static_cast<size_t>((o * taps + tap) * inputs + c)] *
                        (255 * options_.mean[static_cast<size_t>(c)]);
            }
        sums.offset.push_back(offset);
      }
  return sums;
}

Sums Importer::FloatWeights(const Node& node, GraphNode& conv) {
  const float* weights = floats(node.weight);
  const int taps = node.window.taps();
  conv.weights = ChannelsLast(
      std::vector<float>(weights, weights + int64_t{node.channels} * conv.channels * taps),
      conv.channels, taps);
  return Plain(node.channels);
}

int Importer::AppendAffine(const std::string& name, int x, const Sums& sums, const Fold& fold) {
  GraphNode& affine = Append(GraphOp::kAffine, name, {x});
  affine.border_rows = sums.border_rows;
  affine.border_columns = sums.border_columns;
  const auto channels = static_cast<size_t>(affine.channels);
  std::vector<double> a(channels);
  for (size_t c = 0; c < channels; ++c) a[c] = fold.alpha[c] * sums.scale[c];
  for (const int dead : sums.dead) a[static_cast<size_t>(dead)] = 0;
  for (const double value : a) affine.a.push_back(static_cast<float>(value));
  const int classes = sums.border_rows * sums.border_columns;
  for (size_t i = 0; i < static_cast<size_t>(classes) * channels; ++i) {
    const double offset = sums.offset.empty() ? 0 : a[i % channels] * sums.offset[i];
    affine.b.push_back(static_cast<float>(fold.beta[i % channels] - offset));
  }
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(affine.a.begin(), affine.a.end(), finite) ||
      !std::all_of(affine.b.begin(), affine.b.end(), finite))
    throw InputError("node " + name, "its scale or bias does not fit a float32");
  return LastIndex();
}

Fold Importer::BatchNorm(const Node& node) const {
  const float* mean = floats(node.name + ".running_mean");
  const float* variance = floats(node.name + ".running_var");
  const float* weight = node.affine ? floats(node.name + ".weight") : nullptr;
  const float* bias = node.affine ? floats(node.name + ".bias") : nullptr;
  Fold fold;
  for (int c = 0; c < node.channels; ++c) {
    if (variance[c] < 0)
      throw InputError("tensor " + node.name + ".running_var", "holds a negative variance");
    const double alpha = (weight ? weight[c] : 1.0) / std::sqrt(variance[c] + node.eps);
    fold.alpha.push_back(alpha);
    fold.beta.push_back((bias ? bias[c] : 0.0) - mean[c] * alpha);
  }
  return fold;
}

Fold Importer::Bias(const Node& node) const {
  const auto channels = static_cast<size_t>(node.channels);
  Fold fold = {std::vector<double>(channels, 1), std::vector<double>(channels, 0)};
  if (node.bias) std::copy_n(floats(node.name + ".bias"), channels, fold.beta.begin());
  return fold;
}

void Importer::Report(const std::string& weight, const SignCodes& signs, const char* zero) {
  if (report_ == nullptr || signs.zero_weights == 0) return;
  report_->zero_weights += signs.zero_weights;
  report_->dead_channels += static_cast<int64_t>(signs.dead.size());
  report_->lines.push_back(weight + ": " + std::to_string(signs.zero_weights) + " weights are " +
                           zero + " and count as +1");
  for (const int o : signs.dead)
    report_->lines.push_back(weight + ": output channel " + std::to_string(o) +
                             " has no other weights and is constant");
}

}  // namespace

Stem ParseStem(const std::string& text) {
  std::string known;
  for (const auto& entry : kStems) {
    if (text == entry.name) return entry.stem;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw InputError("unknown stem \"" + text + "\", expected one of: " + known);
}

const char* StemName(Stem stem) { return kStems[static_cast<size_t>(stem)].name; }

Graph Import(const Network& network, const StateDict& tensors, const ImportOptions& options,
             ImportReport* report) {
  CheckTensors(network, tensors);
  return Importer(network, tensors, options, report).Run(network.output);
}

}  // namespace lbrt
