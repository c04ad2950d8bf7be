#include "network/import.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "images/error.h"
#include "network/import_pooling.h"
#include "network/import_weights.h"
#include "network/quantizers.h"
#include "network/zero_sums.h"

namespace lbrt {
namespace {

constexpr struct {
  Stem stem;
  const char* name;
  int limbs;  // 0: fp32 weights
} kStems[] = {{Stem::kI24, "i24", 3},
              {Stem::kI16, "i16", 2},
              {Stem::kI8, "i8", 1},
              {Stem::kF32, "f32", 0},
              {Stem::kAuto, "auto", 3}};

int StemLimbs(Stem stem) { return kStems[static_cast<size_t>(stem)].limbs; }
const char* LimbsName(int limbs) { return limbs == 1 ? "i8" : "i16"; }

// The stem that was trained in fixed point (methods.md 8a), if there is one.
const Node* TrainedStem(const Network& network) {
  for (const Node& node : network.nodes)
    if (node.weights.kind == WeightQuantizer::kFixedPoint &&
        network.node(node.inputs[0]).kind == NodeKind::kInput)
      return &node;
  return nullptr;
}

// Of float weights that meet integers. They keep their digits beside a stem that was trained in
// fixed point: its form was learned, theirs was not.
int FloatLimbs(const Network& network, Stem stem) {
  const Node* trained = TrainedStem(network);
  if (trained == nullptr) return StemLimbs(stem);
  if (stem != Stem::kAuto && StemLimbs(stem) != trained->weights.limbs) {
    const std::string form = LimbsName(trained->weights.limbs);
    throw InputError("node " + trained->name,
                     "was trained with an " + form + " stem, expected " + form + " or auto");
  }
  return StemLimbs(Stem::kAuto);
}

bool IsCode(ValueType type) { return type == ValueType::kSign || type == ValueType::kCode; }

int WidthOf(const Network& network, int width) {
  if (width == 0) return network.widest();
  std::string known;
  for (const int other : network.widths) {
    if (width == other) return width;
    known += (known.empty() ? "" : ", ") + std::to_string(other);
  }
  throw InputError("network " + network.name,
                   "has no width " + std::to_string(width) + ", expected " +
                       (known.empty() ? "none, it cannot be switched" : "one of: " + known));
}

// What a batch norm or a bias does to y: z = alpha[c] * y + beta[c].
struct Fold {
  std::vector<double> alpha, beta;
};

// What plane t's sums are multiplied by, of each channel; 0 where it has no weights.
std::vector<double> Scales(const LayerSums& sums, size_t t) {
  std::vector<double> scales = sums.planes[t].scale;
  for (const int dead : sums.dead) scales[static_cast<size_t>(dead)] = 0;
  return scales;
}

class Importer {
 public:
  Importer(const Network& network, const StateDict& tensors, const ImportOptions& options,
           ImportReport* report)
      : network_(network),
        tensors_(tensors),
        options_(options),
        report_(report),
        width_(WidthOf(network, options.width)),
        limbs_(FloatLimbs(network, options.stem)),
        nodes_(WithPoolingFirst(network)) {
    for (size_t i = 0; i < nodes_.size(); ++i)
      for (const Value input : nodes_[i].inputs) users_[input].push_back(static_cast<Value>(i));
  }

  Graph Run(Value output) {
    for (Value v = 0; v < static_cast<Value>(nodes_.size()); ++v)
      if (lowered_.count(v) == 0) lowered_[v] = Lower(v);
    graph_.output = Real(lowered_.at(output));
    return std::move(graph_);
  }

 private:
  const Node& node(Value v) const { return nodes_[static_cast<size_t>(v)]; }
  const float* floats(const std::string& name) const { return tensors_.at(name).f32(); }
  double StepOf(int x) const { return steps_.count(x) == 0 ? 1 : steps_.at(x); }
  bool IsSum(int x) const { return scales_.count(x) != 0; }

  // Appends a node with the first input's shape and returns it.
  GraphNode& Append(GraphOp op, const std::string& name, std::vector<int> inputs);
  // x as floats: codes are decoded and sums scaled, once for all who need that.
  int Real(int x);
  void CheckChannels(const Node& node, int x) const;

  // Each makes the graph nodes of a network node and returns the last one.
  int Lower(Value v);
  int LowerInput(const Node& node);
  int LowerAvgPool(const Node& node, int x);
  int LowerMaxPool(Value v, int x);
  int LowerQuantize(const Node& node, int x);
  int LowerAffine(const Node& node, int x);
  int LowerPRelu(const Node& node, int x);
  int LowerPadChannels(const Node& node, int x);
  int LowerActivation(const Node& node, int x, Activation activation);
  int LowerConcat(const Node& node, std::vector<int> inputs);
  int LowerLayer(Value v, int x);
  bool StaysSum(Value v, const LayerSums& sums);
  bool JoinsSums(int x) const { return IsSum(x) && graph_.node(x).op == GraphOp::kConcat; }
  bool IsAveraged(Value v);
  template <typename Pool>
  int PoolEach(const Node& node, int x, Pool pool);

  LayerInput InputOf(int x) const;
  LayerWeights WeightsOf(const Node& node, int x) const;
  int AppendAffine(const std::string& name, std::vector<int> inputs, const std::vector<double>& a,
                   const std::vector<double>& b);
  int AppendAffines(const std::string& name, const std::vector<int>& convs, const LayerSums& sums,
                    const Fold& fold);

  Fold Identity(int channels) const;
  Fold BatchNorm(const Node& node) const;
  void Report(const Node& node, const WeightQuantizer& quantizer, const LayerSums& sums);

  const Network& network_;
  const StateDict& tensors_;
  const ImportOptions& options_;
  ImportReport* report_;
  const int width_;
  const int limbs_;  // of float weights that meet integers; 0: they stay floats
  std::vector<Node> nodes_;
  std::map<Value, std::vector<Value>> users_;
  std::map<Value, int> lowered_;  // the graph node that a network's value became
  std::map<int, int> reals_;      // of a graph node of codes or sums: the floats
  std::map<int, double> steps_;   // of a graph node of codes
  std::map<int, std::vector<double>> scales_;  // of a graph node of sums, [channels], none negative
  Graph graph_;
};

GraphNode& Importer::Append(GraphOp op, const std::string& name, std::vector<int> inputs) {
  if (!inputs.empty() && graph_.node(inputs[0]).type == ValueType::kU8 && op != GraphOp::kConv)
    throw InputError("node " + name, "needs the image as floats, expected stem f32");
  return graph_.Append(op, name, std::move(inputs));
}

int Importer::Real(int x) {
  const bool sum = IsSum(x);
  if (!sum && !IsCode(graph_.node(x).type)) return x;
  const auto [entry, added] = reals_.try_emplace(x, 0);
  if (!added) return entry->second;
  const std::string name = graph_.node(x).name;
  if (sum)
    AppendAffine(name, {x}, scales_.at(x), Identity(graph_.node(x).channels).beta);
  else
    Append(GraphOp::kDecode, name, {x}).step = static_cast<float>(StepOf(x));
  return entry->second = graph_.last();
}

// A flattened value keeps its rows, columns and channels in the graph; that is what the dense layer
// behind it wants, but nothing that has a number a feature.
void Importer::CheckChannels(const Node& node, int x) const {
  if (graph_.node(x).channels != this->node(node.inputs[0]).channels)
    throw InputError("node " + node.name,
                     "follows a flattened value of several pixels, expected a dense layer there");
}

// Whether a node reads codes as they are, not as numbers.
bool TakesCodes(NodeKind kind) {
  return kind == NodeKind::kConv || kind == NodeKind::kLinear || kind == NodeKind::kMaxPool ||
         kind == NodeKind::kConcat || kind == NodeKind::kFlatten || kind == NodeKind::kDropout;
}

// Whether a node reads the sums of a convolution of integers, to be scaled later: what pools or
// joins them can do so exactly, and a batch norm's factors take the scales in (methods.md 2.2).
bool TakesSums(NodeKind kind) {
  return kind == NodeKind::kMaxPool || kind == NodeKind::kAvgPool || kind == NodeKind::kConcat ||
         kind == NodeKind::kBatchNorm || kind == NodeKind::kDropout;
}

int Importer::Lower(Value v) {
  const Node& node = this->node(v);
  std::vector<int> inputs;
  for (const Value input : node.inputs) {
    const int x = lowered_.at(input);
    const bool as_it_is = IsSum(x) ? TakesSums(node.kind) : TakesCodes(node.kind);
    inputs.push_back(as_it_is ? x : Real(x));
  }
  switch (node.kind) {
    case NodeKind::kInput:
      return LowerInput(node);
    case NodeKind::kConv:
    case NodeKind::kLinear:
      return LowerLayer(v, inputs[0]);
    case NodeKind::kFlatten:
    case NodeKind::kDropout:
      return inputs[0];
    case NodeKind::kMaxPool:
      return LowerMaxPool(v, inputs[0]);
    case NodeKind::kAvgPool:
    case NodeKind::kGlobalAvgPool:
      return LowerAvgPool(node, inputs[0]);
    case NodeKind::kConcat:
      return LowerConcat(node, std::move(inputs));
    case NodeKind::kQuantize:
      return LowerQuantize(node, inputs[0]);
    case NodeKind::kRelu:
      return LowerActivation(node, inputs[0], Activation::kRelu);
    case NodeKind::kHardtanh:
      return LowerActivation(node, inputs[0], Activation::kHardtanh);
    case NodeKind::kClip:
      return LowerActivation(node, inputs[0],
                             width_ == 32 ? Activation::kRelu : Activation::kClipUnit);
    case NodeKind::kBatchNorm:
    case NodeKind::kBias:
      return LowerAffine(node, inputs[0]);
    case NodeKind::kPRelu:
      return LowerPRelu(node, inputs[0]);
    case NodeKind::kPadChannels:
      return LowerPadChannels(node, inputs[0]);
    case NodeKind::kAdd:
      Append(GraphOp::kAdd, node.name, inputs);
      break;
  }
  return graph_.last();
}

int Importer::LowerAffine(const Node& node, int x) {
  CheckChannels(node, x);
  Fold fold = node.kind == NodeKind::kBatchNorm ? BatchNorm(node) : Identity(node.channels);
  if (node.kind == NodeKind::kBias)
    std::copy_n(floats(node.name + ".bias"), fold.beta.size(), fold.beta.begin());
  for (size_t c = 0; IsSum(x) && c < fold.alpha.size(); ++c) fold.alpha[c] *= scales_.at(x)[c];
  return AppendAffine(node.name, {x}, fold.alpha, fold.beta);
}

int Importer::LowerPRelu(const Node& node, int x) {
  CheckChannels(node, x);
  const float* slope = floats(node.name + ".weight");
  Append(GraphOp::kPRelu, node.name, {x}).a = {slope, slope + node.channels};
  return graph_.last();
}

int Importer::LowerPadChannels(const Node& node, int x) {
  CheckChannels(node, x);
  GraphNode& pad = Append(GraphOp::kPadChannels, node.name, {x});
  pad.pad_before = node.pad_before;
  pad.pad_after = node.pad_after;
  pad.channels += node.pad_before + node.pad_after;
  return graph_.last();
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
  return graph_.last();
}

// Gives a node, which has its input's shape, the one that the window makes of it.
void Slide(GraphNode& node, const Window& window) {
  node.window = window;
  const int height = node.height, width = node.width;
  node.height = OutputHeight(window, height);
  node.width = OutputWidth(window, width);
}

// What `pool` makes of each of the values that x joins, joined. Sums of several convolutions are
// averaged so: what quantizes the averages can then follow each pooling.
template <typename Pool>
int Importer::PoolEach(const Node& node, int x, Pool pool) {
  std::vector<int> parts = graph_.node(x).inputs;
  for (int& part : parts) part = pool(part);
  return LowerConcat(node, std::move(parts));
}

int Importer::LowerAvgPool(const Node& node, int x) {
  Window window = node.window;
  if (node.kind == NodeKind::kGlobalAvgPool) {
    window.kernel_h = graph_.node(x).height;
    window.kernel_w = graph_.node(x).width;
  }
  if (IsSum(x) && LargestSum(graph_, x) * window.taps() >= 0x1p24) x = Real(x);
  if (JoinsSums(x))
    return PoolEach(node, x, [&](int part) { return LowerAvgPool(node, part); });
  GraphNode& pool = Append(GraphOp::kAvgPool, node.name, {x});
  Slide(pool, window);
  if (!IsSum(x)) return graph_.last();
  pool.type = ValueType::kI32;
  std::vector<double> scales = scales_.at(x);
  for (double& scale : scales) scale /= window.taps();
  scales_[graph_.last()] = std::move(scales);
  return graph_.last();
}

// Whether an average of value v is taken, perhaps behind other poolings and concatenations.
bool Importer::IsAveraged(Value v) {
  return std::ranges::any_of(users_[v], [&](Value user) {
    const NodeKind kind = node(user).kind;
    return kind == NodeKind::kAvgPool ||
           ((kind == NodeKind::kMaxPool || kind == NodeKind::kConcat) && IsAveraged(user));
  });
}

int Importer::LowerMaxPool(Value v, int x) {
  const Node& node = this->node(v);
  if (JoinsSums(x) && IsAveraged(v))
    return PoolEach(node, x, [&](int part) { return LowerMaxPool(v, part); });
  GraphNode& pool = Append(GraphOp::kMaxPool, node.name, {x});
  const GraphNode& from = graph_.node(x);
  pool.type = from.type;
  pool.levels = from.levels;
  Slide(pool, node.window);
  const BorderAxis rows = BorderRows(pool.window, from.height);
  const BorderAxis columns = BorderColumns(pool.window, from.width);
  for (const BorderAxis* axis : {&rows, &columns})
    for (int i = 0; i < axis->outputs(); ++i)
      if (axis->taps(i).size() == 0)
        throw InputError("node " + node.name, "one of its windows lies in the padding");
  steps_[graph_.last()] = StepOf(x);
  if (IsSum(x)) scales_[graph_.last()] = scales_.at(x);
  return graph_.last();
}

int Importer::LowerQuantize(const Node& node, int x) {
  const ActivationQuantizer quantizer = AtWidth(node.activations, width_);
  if (quantizer.kind == ActivationQuantizer::kNone) return x;
  if (quantizer.kind == ActivationQuantizer::kSign) {
    Append(GraphOp::kSign, node.name, {x}).type = ValueType::kSign;
    return graph_.last();
  }
  if (quantizer.bits == 32) return LowerActivation(node, x, Activation::kRelu);
  const ActivationCodes codes = CodesOf(quantizer);
  GraphNode& quantize = Append(GraphOp::kQuantize, node.name, {x});
  quantize.type = ValueType::kCode;
  quantize.levels = codes.levels;
  quantize.inverse_step = static_cast<float>(1 / codes.step);
  steps_[graph_.last()] = codes.step;
  return graph_.last();
}

int Importer::LowerActivation(const Node& node, int x, Activation activation) {
  Append(GraphOp::kActivation, node.name, {x}).activation = activation;
  return graph_.last();
}

// Codes stay codes where all of them mean the same; sums, each with the scales of its channels, do.
int Importer::LowerConcat(const Node& node, std::vector<int> inputs) {
  const ValueType type = graph_.node(inputs[0]).type;
  const int levels = graph_.node(inputs[0]).levels;
  const double step = StepOf(inputs[0]);
  const bool sums = IsSum(inputs[0]);
  const bool same = std::all_of(inputs.begin(), inputs.end(), [&](int x) {
    const GraphNode& from = graph_.node(x);
    return from.type == type && from.levels == levels && StepOf(x) == step && IsSum(x) == sums;
  });
  if (!same)
    for (int& x : inputs) x = Real(x);
  int channels = 0;
  std::vector<double> scales;
  for (const int x : inputs) {
    channels += graph_.node(x).channels;
    if (same && sums) scales.insert(scales.end(), scales_.at(x).begin(), scales_.at(x).end());
  }
  GraphNode& concat = Append(GraphOp::kConcat, node.name, std::move(inputs));
  concat.channels = channels;
  if (same) {
    concat.type = type;
    concat.levels = levels;
    steps_[graph_.last()] = step;
    if (sums) scales_[graph_.last()] = std::move(scales);
  }
  return graph_.last();
}

LayerInput Importer::InputOf(int x) const {
  const GraphNode& from = graph_.node(x);
  LayerInput input = {from.type, from.height, from.width, from.channels, StepOf(x), {}, {}};
  if (from.type != ValueType::kU8) return input;
  for (const double mean : options_.mean) input.offset.push_back(255 * mean);
  for (const double deviation : options_.std) input.divisor.push_back(255 * deviation);
  return input;
}

LayerWeights Importer::WeightsOf(const Node& node, int x) const {
  const GraphNode& from = graph_.node(x);
  LayerWeights layer;
  layer.name = node.name;
  layer.quantizer = AtWidth(node.weights, width_);
  layer.latent = floats(node.weight);
  if (!node.alpha.empty()) layer.alpha = floats(node.alpha);
  layer.outputs = node.channels;
  layer.window = node.window;
  if (node.kind == NodeKind::kLinear) layer.window = {from.height, from.width, 1, 1, 0, 0, 0, 0};
  layer.limbs = limbs_;
  const bool stem = this->node(node.inputs[0]).kind == NodeKind::kInput;
  if (!stem && options_.float_limbs != 0 && !node.weights.quantizes()) {
    layer.quantizer.kind = WeightQuantizer::kFixedPoint;
    layer.quantizer.limbs = options_.float_limbs;
  }
  if (node.weights.kind != WeightQuantizer::kFixedPoint || !stem) return layer;
  for (const double deviation : network_.input_std)
    layer.trained_divisor.push_back(255 * deviation);
  return layer;
}

// The convolution with its scales, and with the batch norm that alone uses it, if one does.
int Importer::LowerLayer(Value v, int x) {
  const Node& node = this->node(v);
  if (IsCode(graph_.node(x).type) && options_.stem == Stem::kF32 &&
      (!node.weights.quantizes() || AtWidth(node.weights, width_).bits == 32))
    x = Real(x);
  const LayerWeights layer = WeightsOf(node, x);
  LayerSums sums = SumsOf(layer, InputOf(x));
  Report(node, layer.quantizer, sums);
  std::vector<int> convs;
  for (LayerPlane& plane : sums.planes) {
    plane.conv.name = node.name;
    plane.conv.inputs = {x};
    if (plane.conv.type == ValueType::kI32 &&
        LargestSum(plane.conv, graph_.node(x)) >= 0x1p31)
      throw InputError("node " + node.name, "its sums exceed 32 bits");
    graph_.nodes.push_back(std::move(plane.conv));
    convs.push_back(graph_.last());
  }

  Fold bias = Identity(node.channels);
  if (node.bias)  // once a plane (methods.md 5.1)
    for (size_t o = 0; o < bias.beta.size(); ++o)
      bias.beta[o] = node.weights.t_ex * static_cast<double>(floats(node.name + ".bias")[o]);
  const std::vector<Value>& users = users_[v];
  if (users.size() == 1 && this->node(users[0]).kind == NodeKind::kBatchNorm) {
    const Node& norm = this->node(users[0]);
    Fold fold = BatchNorm(norm);
    for (size_t o = 0; node.bias && o < fold.beta.size(); ++o)
      fold.beta[o] += fold.alpha[o] * bias.beta[o];
    lowered_[users[0]] = AppendAffines(norm.name, convs, sums, fold);
    return convs.back();
  }
  const bool plain = graph_.node(convs[0]).weight_kind == WeightKind::kFloat && node.alpha.empty();
  if (plain && !node.bias) return convs[0];  // y is the sum
  if (StaysSum(v, sums)) {
    scales_[convs[0]] = Scales(sums, 0);
    return convs[0];
  }
  return AppendAffines(node.name, convs, sums, bias);
}

int Importer::AppendAffine(const std::string& name, std::vector<int> inputs,
                           const std::vector<double>& a, const std::vector<double>& b) {
  GraphNode& affine = Append(GraphOp::kAffine, name, std::move(inputs));
  affine.a.assign(a.begin(), a.end());
  affine.b.assign(b.begin(), b.end());
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(affine.a.begin(), affine.a.end(), finite) ||
      !std::all_of(affine.b.begin(), affine.b.end(), finite))
    throw InputError("node " + name, "its scale or bias does not fit a float32");
  return graph_.last();
}

// Whether a layer's y is a sum with a scale alone, and all that read it take that.
bool Importer::StaysSum(Value v, const LayerSums& sums) {
  if (sums.planes.size() != 1 || graph_.node(graph_.last()).type != ValueType::kI32 ||
      node(v).bias || !sums.offset.empty())
    return false;
  const std::vector<Value>& users = users_[v];
  return !users.empty() &&
         std::ranges::all_of(users, [&](Value user) { return TakesSums(node(user).kind); }) &&
         std::ranges::all_of(Scales(sums, 0), [](double scale) { return scale >= 0; });
}

// fold of y, whose planes are added in their order.
int Importer::AppendAffines(const std::string& name, const std::vector<int>& convs,
                            const LayerSums& sums, const Fold& fold) {
  const size_t channels = fold.alpha.size();
  int last = -1;
  for (size_t t = 0; t < convs.size(); ++t) {
    std::vector<double> a = Scales(sums, t), b;
    for (size_t c = 0; c < channels; ++c) a[c] *= fold.alpha[c];
    if (t > 0) {
      last = AppendAffine(name, {convs[t], last}, a, {});
      continue;
    }
    const auto classes = static_cast<size_t>(sums.border_rows * sums.border_columns);
    for (size_t i = 0; i < classes * channels; ++i)
      b.push_back(fold.beta[i % channels] -
                  (sums.offset.empty() ? 0 : a[i % channels] * sums.offset[i]));
    last = AppendAffine(name, {convs[t]}, a, b);
    graph_.nodes.back().border_rows = sums.border_rows;
    graph_.nodes.back().border_columns = sums.border_columns;
  }
  return last;
}

Fold Importer::Identity(int channels) const {
  const auto count = static_cast<size_t>(channels);
  return {std::vector<double>(count, 1), std::vector<double>(count, 0)};
}

Fold Importer::BatchNorm(const Node& node) const {
  const std::string prefix = BatchNormPrefix(node, width_);
  const float* mean = floats(prefix + ".running_mean");
  const float* variance = floats(prefix + ".running_var");
  const float* weight = node.affine ? floats(prefix + ".weight") : nullptr;
  const float* bias = node.affine ? floats(prefix + ".bias") : nullptr;
  Fold fold;
  for (int c = 0; c < node.channels; ++c) {
    if (variance[c] < 0)
      throw InputError("tensor " + prefix + ".running_var", "holds a negative variance");
    const double alpha = (weight ? weight[c] : 1.0) / std::sqrt(variance[c] + node.eps);
    fold.alpha.push_back(alpha);
    fold.beta.push_back((bias ? bias[c] : 0.0) - mean[c] * alpha);
  }
  return fold;
}

void Importer::Report(const Node& node, const WeightQuantizer& quantizer, const LayerSums& sums) {
  if (report_ == nullptr) return;
  if (!node.weights.quantizes() && quantizer.kind == WeightQuantizer::kFixedPoint)
    report_->lines.push_back(node.weight + ": rounded to integers of " +
                             std::to_string(8 * quantizer.limbs) +
                             " bits with a scale an output channel");
  if (sums.cases == 0) return;
  const WeightQuantizerEntry& entry = EntryOf(quantizer.kind);
  const bool signs = quantizer.kind == WeightQuantizer::kRecu ||
                     quantizer.kind == WeightQuantizer::kMcDonnell;
  (signs ? report_->zero_weights : report_->between_codes) += sums.cases;
  report_->dead_channels += static_cast<int64_t>(sums.dead.size());
  report_->lines.push_back(node.weight + ": " + std::to_string(sums.cases) + " weights are " +
                           entry.cases);
  for (const int o : sums.dead)
    report_->lines.push_back(node.weight + ": output channel " + std::to_string(o) +
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

int ParseFloatLimbs(const std::string& text) {
  if (text == "f32") return 0;
  if (text == "i16") return 2;
  if (text == "i8") return 1;
  throw InputError("unknown form of float layers \"" + text + "\", expected f32, i16 or i8");
}

Stem ResolvedStem(const Network& network, Stem stem) {
  if (stem != Stem::kAuto) return stem;
  const Node* trained = TrainedStem(network);
  if (trained == nullptr) return Stem::kI24;
  return trained->weights.limbs == 1 ? Stem::kI8 : Stem::kI16;
}

const char* StemName(Stem stem) { return kStems[static_cast<size_t>(stem)].name; }

Graph Import(const Network& network, const StateDict& tensors, const ImportOptions& options,
             ImportReport* report) {
  for (const Node& node : network.nodes)
    if (node.weights.mixture || node.activations.mixture)
      throw InputError("network " + network.name,
                       "is a search's mixture of bit widths, expected a final network");
  CheckTensors(network, tensors);
  Graph graph = Importer(network, tensors, options, report).Run(network.output);
  if (report != nullptr) report->zero_sums = ZeroSums(graph);
  return graph;
}

}  // namespace lbrt
