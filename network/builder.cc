#include "network/builder.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "images/error.h"

namespace lbrt {
namespace {

// A whole text as a number.
template <typename T>
bool ParseNumber(const std::string& text, T* value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && stop == end;
}

// "1,2,4" or "[1, 2, 4]"; false for anything else.
bool ParseList(const std::string& text, std::vector<int>* list) {
  std::string plain;
  for (const char c : text)
    if (c != ' ') plain += c;
  if (plain.size() >= 2 && plain.front() == '[' && plain.back() == ']')
    plain = plain.substr(1, plain.size() - 2);
  list->clear();
  for (size_t at = 0; at <= plain.size();) {
    const size_t end = std::min(plain.find(',', at), plain.size());
    int value;
    if (!ParseNumber(plain.substr(at, end - at), &value)) return false;
    list->push_back(value);
    at = end + 1;
  }
  return true;
}

// Bits are one digit each, so that "2", "1,2,4" and "124" are lists of them.
bool ParseBits(const std::string& text, int most, std::vector<int>* list) {
  list->clear();
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) {
    if (!ParseList(text, list)) return false;
  } else {
    for (const char c : text) list->push_back(c - '0');
  }
  return most == 0 || std::all_of(list->begin(), list->end(),
                                  [most](int bits) { return bits >= 1 && bits <= most; });
}

bool IsAnyPrecision(WeightQuantizer::Kind kind) {
  return kind == WeightQuantizer::kAnyPrecision || kind == WeightQuantizer::kTruncating;
}

std::string NumberText(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

}  // namespace

std::string ListText(const std::vector<int>& list) {
  std::string text;
  for (const int value : list) text += (text.empty() ? "" : ",") + std::to_string(value);
  return text;
}

std::string BatchNormPrefix(const Node& node, int width) {
  return node.per_width ? node.name + ".bn_dict." + std::to_string(width) : node.name;
}

const std::vector<std::string>& ArgumentNames() {
  static const std::vector<std::string> names = {
      "classes",     "size",            "form",   "weights",      "activations", "channel_scale",
      "bits",        "weight_bits",     "activation_bits",        "widths",      "bn_per_width",
      "t_ex",        "first_last",      "mode",   "stem",         "skips",       "head",
      "expansion",   "dropout",         "blocks", "channels"};
  return names;
}

NetworkBuilder::NetworkBuilder(std::string name, const Arguments& given,
                               const QuantizationDefaults& defaults, int size, int classes)
    : given_(given) {
  network_.name = std::move(name);
  classes_ = IntegerArgument("classes", classes, 2, 100000);
  size_ = IntegerArgument("size", size, 1, 4096);
  TakeQuantization(defaults);
}

void NetworkBuilder::Refuse(const std::string& what) const {
  throw InputError("network " + network_.name, what);
}

// --- Arguments -----------------------------------------------------------------------------------

int NetworkBuilder::IntegerArgument(const std::string& name, int fallback, int low, int high) {
  known_.insert(name);
  const auto found = given_.find(name);
  int value = fallback;
  if (found != given_.end() &&
      (!ParseNumber(found->second, &value) || value < low || value > high))
    Refuse(name + "=" + found->second + ": expected an integer from " + std::to_string(low) +
           " to " + std::to_string(high));
  return Take(name, value, std::to_string(value));
}

double NetworkBuilder::NumberArgument(const std::string& name, double fallback, double low,
                                      double high) {
  known_.insert(name);
  const auto found = given_.find(name);
  double value = fallback;
  if (found != given_.end() &&
      (!ParseNumber(found->second, &value) || !(value >= low && value <= high)))
    Refuse(name + "=" + found->second + ": expected a number from " + NumberText(low) + " to " +
           NumberText(high));
  return Take(name, value, NumberText(value));
}

std::vector<int> NetworkBuilder::ListArgument(const std::string& name,
                                              const std::vector<int>& fallback, int low,
                                              int high) {
  known_.insert(name);
  const auto found = given_.find(name);
  std::vector<int> list = fallback;
  if (found != given_.end() &&
      (!ParseList(found->second, &list) || std::any_of(list.begin(), list.end(), [&](int v) {
        return v < low || v > high;
      })))
    Refuse(name + "=" + found->second + ": expected integers from " + std::to_string(low) + " to " +
           std::to_string(high) + ", separated by commas");
  return Take(name, list, ListText(list));
}

std::string NetworkBuilder::ChoiceArgument(const std::string& name, const std::string& fallback,
                                           const std::vector<std::string>& choices) {
  known_.insert(name);
  const auto found = given_.find(name);
  const std::string value = found != given_.end() ? found->second : fallback;
  if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
    std::string expected;
    for (const std::string& choice : choices) expected += (expected.empty() ? "" : ", ") + choice;
    Refuse(name + "=" + value + ": expected one of " + expected);
  }
  return Take(name, value, value);
}

std::vector<NetworkBuilder::Stage> NetworkBuilder::StageArguments(
    const std::vector<Stage>& fallback) {
  std::vector<int> blocks, channels;
  for (const Stage& stage : fallback) {
    blocks.push_back(stage.blocks);
    channels.push_back(stage.channels);
  }
  blocks = ListArgument("blocks", blocks, 1, 1000);
  channels = ListArgument("channels", channels, 1, 65536);
  if (blocks.size() != channels.size())
    Refuse("blocks=" + ListText(blocks) + " and channels=" + ListText(channels) +
           ": expected as many of one as of the other");
  std::vector<Stage> stages;
  for (size_t i = 0; i < blocks.size(); ++i) stages.push_back({blocks[i], channels[i]});
  return stages;
}

bool NetworkBuilder::BoolArgument(const std::string& name, bool fallback) {
  return ChoiceArgument(name, fallback ? "true" : "false", {"true", "false"}) == "true";
}

WeightQuantizer NetworkBuilder::FixedPointArgument(const std::string& name) {
  const std::string form = ChoiceArgument(name, "float", {"float", "i16", "i8"});
  WeightQuantizer quantizer;
  if (form == "float") return quantizer;
  quantizer.kind = WeightQuantizer::kFixedPoint;
  quantizer.limbs = form == "i8" ? 1 : 2;
  return quantizer;
}

void NetworkBuilder::TakeQuantization(const QuantizationDefaults& defaults) {
  const std::string form =
      ChoiceArgument("form", "quantized", {"quantized", "full-precision", "binary-activations"});
  form_ = form == "quantized"        ? Form::kQuantized
          : form == "full-precision" ? Form::kFullPrecision
                                     : Form::kBinaryActivations;
  weights_.kind = ParseWeightQuantizer(ChoiceArgument(
      "weights", EntryOf(defaults.weights).name, WeightQuantizerNames()));
  activations_.kind = ParseActivationQuantizer(ChoiceArgument(
      "activations", EntryOf(defaults.activations).name, ActivationQuantizerNames()));
  if (weights_.kind == WeightQuantizer::kFixedPoint)
    Refuse("weights=fixed-point: is for stem, skips and head, expected another quantizer");
  channel_scale_ = BoolArgument("channel_scale", defaults.channel_scale);
  stem_ = FixedPointArgument("stem");
  skips_ = FixedPointArgument("skips");
  head_ = FixedPointArgument("head");
  if (weights_.kind == WeightQuantizer::kTernary) {
    weights_.t_ex = IntegerArgument("t_ex", 1, 1, 4);
    if (weights_.t_ex == 3) Refuse("t_ex=3: expected 1, 2 or 4");
    first_last_ = ChoiceArgument("first_last", defaults.first_last_quantized ? "ternary" : "float",
                                 {"float", "ternary"}) == "ternary";
    if (first_last_ && (stem_.quantizes() || head_.quantizes()))
      Refuse("first_last=ternary leaves no stem and head for fixed point");
  }
  if (defaults.weights == WeightQuantizer::kEdmips)
    search_ = ChoiceArgument("mode", "final", {"final", "search"}) == "search";
  if (search_ && (weights_.kind != WeightQuantizer::kEdmips ||
                  activations_.kind != ActivationQuantizer::kHwgq || form_ != Form::kQuantized))
    Refuse("mode=search needs weights=edmips, activations=hwgq and form=quantized");
  TakeBits(defaults);

  if (form_ != Form::kQuantized) TakeForm(/*switches=*/*defaults.widths != 0);
}

// The other forms (methods.md 5.7). Any-precision networks have their full precision at 32 bits,
// unless one of their quantizers is another system's, which has no such width.
void NetworkBuilder::TakeForm(bool switches) {
  first_last_ = false;
  if (form_ == Form::kFullPrecision && switches && IsAnyPrecision(weights_.kind) &&
      activations_.kind == ActivationQuantizer::kAnyPrecision) {
    SetWidths({32});
    return;
  }
  weights_ = WeightQuantizer();
  activations_ = ActivationQuantizer();
  if (form_ == Form::kBinaryActivations) {
    channel_scale_ = false;
    activations_.kind = ActivationQuantizer::kSign;
  }
  SetWidths({});
}

void NetworkBuilder::SetWidths(const std::vector<int>& widths) {
  network_.widths = widths;
  if (!widths.empty()) {
    network_.arguments["widths"] = ListText(widths);
    return;
  }
  // They would not be taken again.
  for (const char* argument : {"widths", "bn_per_width"}) network_.arguments.erase(argument);
}

void NetworkBuilder::TakeBits(const QuantizationDefaults& defaults) {
  const bool any_weights = IsAnyPrecision(weights_.kind);
  const bool any_activations = activations_.kind == ActivationQuantizer::kAnyPrecision;
  if (any_weights || any_activations) {
    std::vector<int> fallback;
    if (*defaults.widths != 0) ParseList(defaults.widths, &fallback);
    std::vector<int> widths = ListArgument("widths", fallback, 1, 32);
    std::sort(widths.begin(), widths.end());
    widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
    for (const int width : widths)
      if (width > 8 && width != 32)
        Refuse("widths: " + std::to_string(width) + " is given, expected 1 to 8 and 32");
    SetWidths(widths);
    if (!widths.empty()) bn_per_width_ = BoolArgument("bn_per_width", true);
  }
  const bool switches = !network_.widths.empty();
  const int most_weight = any_weights && switches ? 0 : EntryOf(weights_.kind).most_bits;
  const int most_activation =
      any_activations && switches ? 0 : EntryOf(activations_.kind).most_bits;
  if (search_ || form_ != Form::kQuantized || (most_weight == 0 && most_activation == 0)) return;

  // "w/a" for all layers, or lists of them.
  known_.insert("bits");
  std::string bits = defaults.bits;
  if (const auto found = given_.find("bits"); found != given_.end()) bits = found->second;
  std::vector<int> weight_bits, activation_bits;
  if (!bits.empty()) {
    const size_t slash = bits.find('/');
    if (slash == std::string::npos ||
        !ParseBits(bits.substr(0, slash), most_weight, &weight_bits) ||
        !ParseBits(bits.substr(slash + 1), most_activation, &activation_bits))
      Refuse("bits=" + bits + ": expected weight and activation bits, e.g. 2/2");
  }
  if (most_weight > 0) {
    weight_bits_ = ListArgument("weight_bits", weight_bits, 1, most_weight);
    network_.arguments["weight_bits"] = ListText(weight_bits_);
  }
  if (most_activation > 0) {
    activation_bits_ = ListArgument("activation_bits", activation_bits, 1, most_activation);
    network_.arguments["activation_bits"] = ListText(activation_bits_);
  }
  if ((most_weight > 0 && weight_bits_.empty()) ||
      (most_activation > 0 && activation_bits_.empty()))
    Refuse("its quantizers need bits, e.g. bits=2/2");
}

int NetworkBuilder::BitsAt(const std::vector<int>& bits) const {
  if (bits.empty()) return 0;
  const size_t layer = static_cast<size_t>(next_layer_);
  // After the last layer, a tail is quantized like it; Finish refuses a list that is too short.
  return bits.size() == 1 || layer >= bits.size() ? bits.back() : bits[layer];
}

// --- Nodes ---------------------------------------------------------------------------------------

void NetworkBuilder::Declare(const TensorSpec& spec) {
  if (declared_.insert(spec.name).second) network_.tensors.push_back(spec);
}

void NetworkBuilder::RegisterLast(const std::string& prefix) {
  std::stable_partition(network_.tensors.begin(), network_.tensors.end(),
                        [&](const TensorSpec& spec) { return !spec.name.starts_with(prefix); });
}

Node& NetworkBuilder::Append(NodeKind kind, const std::string& name,
                             const std::vector<Value>& inputs) {
  Node node;
  node.kind = kind;
  node.name = name;
  node.inputs = inputs;
  if (!inputs.empty()) {
    const Node& x = network_.node(inputs[0]);
    node.channels = x.channels;
    node.height = x.height;
    node.width = x.width;
  }
  network_.nodes.push_back(std::move(node));
  network_.output = static_cast<Value>(network_.nodes.size()) - 1;
  return network_.nodes.back();
}

// Windows that do not fit (an image too small for the network) are refused here, for all nodes.
void NetworkBuilder::ApplyWindow(Node& node) {
  node.height = OutputHeight(node.window, node.height);
  node.width = OutputWidth(node.window, node.width);
  if (node.height < 1 || node.width < 1)
    Refuse("size=" + std::to_string(size_) + " is too small for node " + node.name);
}

Value NetworkBuilder::Input(int channels) {
  Node& node = Append(NodeKind::kInput, "input", {});
  node.channels = channels;
  node.height = node.width = size_;
  return network_.output;
}

WeightQuantizer NetworkBuilder::WeightsOf(Part part) const {
  if (part == Part::kSkip) return skips_;
  if (part == Part::kStem && !first_last_) return stem_;
  if (part == Part::kHead && !first_last_) return head_;
  WeightQuantizer weights = weights_;
  weights.bits = BitsAt(weight_bits_);
  weights.mixture = search_;
  return weights;
}

void NetworkBuilder::DeclareWeights(const std::string& name, Node& node,
                                    std::vector<int64_t> shape, const Layer& layer) {
  node.weights = WeightsOf(layer.part);
  node.weight = layer.weight.empty() ? name + ".weight" : layer.weight;
  node.bias = layer.bias;
  if (node.weights.mixture)
    Declare({name + ".mix_weight.alpha_weight", {std::ssize(kMixtureWeightBits)}, DType::kF32,
             Role::kArchitecture, Constant(0.01)});
  Declare({node.weight, std::move(shape), DType::kF32, Role::kParameter, layer.init});
  if (layer.part == Part::kBody) {
    if (channel_scale_) {
      node.alpha = name + ".alpha";
      Declare({node.alpha, {node.channels, 1, 1}, DType::kF32, Role::kParameter,
               {Init::kUniform01}});
    }
    if (const char* buffer = EntryOf(node.weights.kind).buffer)
      Declare({name + "." + buffer, {}, DType::kF32, Role::kBuffer, Constant(1)});
    ++next_layer_;
  }
  if (layer.bias)
    Declare({name + ".bias", {node.channels}, DType::kF32, Role::kParameter, layer.bias_init});
}

Value NetworkBuilder::Conv(const std::string& name, Value x, int channels, Window window,
                           const Layer& layer) {
  Node& node = Append(NodeKind::kConv, name, {x});
  const int inputs = node.channels;
  node.channels = channels;
  node.window = window;
  ApplyWindow(node);
  DeclareWeights(name, node, {channels, inputs, window.kernel_h, window.kernel_w}, layer);
  return network_.output;
}

Value NetworkBuilder::Linear(const std::string& name, Value x, int channels, const Layer& layer) {
  Node& node = Append(NodeKind::kLinear, name, {x});
  const int inputs = node.channels;
  node.channels = channels;
  DeclareWeights(name, node, {channels, inputs}, layer);
  return network_.output;
}

Value NetworkBuilder::Head(const std::string& name, Value x) {
  return Linear(name, x, classes_,
                {.part = Part::kHead, .init = {Init::kTorchDefault}, .bias = true});
}

Value NetworkBuilder::BatchNorm(const std::string& name, Value x, const Norm& norm) {
  Node& node = Append(NodeKind::kBatchNorm, name, {x});
  node.affine = norm.affine;
  node.eps = norm.eps;
  node.per_width = norm.per_width && bn_per_width_ && !network_.widths.empty();
  for (const int width : node.per_width ? network_.widths : std::vector<int>{0}) {
    const std::string prefix = BatchNormPrefix(node, width);
    const std::vector<int64_t> shape = {node.channels};
    const auto declare = [&](const char* tensor, Role role, double value) {
      Declare({prefix + tensor, shape, DType::kF32, role, Constant(value)});
    };
    if (norm.affine) {
      declare(".weight", Role::kParameter, norm.weight);
      declare(".bias", Role::kParameter, 0);
    }
    declare(".running_mean", Role::kBuffer, 0);
    declare(".running_var", Role::kBuffer, 1);
    Declare({prefix + ".num_batches_tracked", {}, DType::kI64, Role::kBuffer, Constant(0)});
  }
  return network_.output;
}

Value NetworkBuilder::Quantize(const std::string& name, Value x) {
  if (activations_.kind == ActivationQuantizer::kNone) return x;
  Node& node = Append(NodeKind::kQuantize, name, {x});
  node.activations = activations_;
  node.activations.bits = BitsAt(activation_bits_);
  node.activations.mixture = search_;
  if (search_)
    Declare({name + ".alpha_activ", {std::ssize(kMixtureActivationBits)}, DType::kF32,
             Role::kArchitecture, Constant(0.01)});
  return network_.output;
}

Value NetworkBuilder::Activate(const std::string& name, Value x) {
  return activations_.kind == ActivationQuantizer::kNone ? Relu(name, x) : Quantize(name, x);
}

Value NetworkBuilder::Rectify(const std::string& name, Value x) {
  return activations_.kind == ActivationQuantizer::kSign ? Hardtanh(name, x) : Relu(name, x);
}

Value NetworkBuilder::Relu(const std::string& name, Value x) {
  Append(NodeKind::kRelu, name, {x});
  return network_.output;
}

Value NetworkBuilder::Hardtanh(const std::string& name, Value x) {
  Append(NodeKind::kHardtanh, name, {x});
  return network_.output;
}

Value NetworkBuilder::Clip(const std::string& name, Value x) {
  Append(form_ == Form::kFullPrecision ? NodeKind::kRelu : NodeKind::kClip, name, {x});
  return network_.output;
}

Value NetworkBuilder::PRelu(const std::string& name, Value x) {
  const Node& node = Append(NodeKind::kPRelu, name, {x});
  Declare({name + ".weight", {node.channels}, DType::kF32, Role::kParameter, Constant(0.25)});
  return network_.output;
}

Value NetworkBuilder::Bias(const std::string& name, Value x) {
  const Node& node = Append(NodeKind::kBias, name, {x});
  Declare({name + ".bias", {1, node.channels, 1, 1}, DType::kF32, Role::kParameter, Constant(0)});
  return network_.output;
}

Value NetworkBuilder::Add(const std::string& name, Value x, Value y) {
  const Node &left = node(x), &right = node(y);
  if (left.channels != right.channels) Refuse("channels of node " + name + " differ");
  if (left.height != right.height || left.width != right.width)
    Refuse("size=" + std::to_string(size_) + " does not fit: sizes at node " + name + " differ");
  Append(NodeKind::kAdd, name, {x, y});
  return network_.output;
}

Value NetworkBuilder::Concat(const std::string& name, const std::vector<Value>& inputs) {
  Node& node = Append(NodeKind::kConcat, name, inputs);
  node.channels = 0;
  for (const Value x : inputs) {
    const Node& input = network_.node(x);
    if (input.height != node.height || input.width != node.width)
      Refuse("size=" + std::to_string(size_) + " does not fit: sizes at node " + name + " differ");
    node.channels += input.channels;
  }
  return network_.output;
}

// With ceil_mode, the last window may end outside: the same as padding there.
Value NetworkBuilder::MaxPool(const std::string& name, Value x, int kernel, int stride, int pad,
                              bool ceil_mode) {
  Node& node = Append(NodeKind::kMaxPool, name, {x});
  node.window = SquareWindow(kernel, stride, pad);
  if (ceil_mode) {
    const auto rest = [&](int input) {
      const int left = (input + 2 * pad - kernel) % stride;
      return left == 0 ? 0 : stride - left;
    };
    node.window.pad_bottom += rest(node.height);
    node.window.pad_right += rest(node.width);
  }
  ApplyWindow(node);
  return network_.output;
}

Value NetworkBuilder::AvgPool(const std::string& name, Value x, Window window) {
  Node& node = Append(NodeKind::kAvgPool, name, {x});
  node.window = window;
  ApplyWindow(node);
  return network_.output;
}

Value NetworkBuilder::GlobalAvgPool(const std::string& name, Value x) {
  Node& node = Append(NodeKind::kGlobalAvgPool, name, {x});
  node.height = node.width = 0;
  return network_.output;
}

Value NetworkBuilder::PadChannels(const std::string& name, Value x, int before, int after) {
  if (before < 0 || after < 0) Refuse("channels shrink at node " + name + ", expected growth");
  Node& node = Append(NodeKind::kPadChannels, name, {x});
  node.pad_before = before;
  node.pad_after = after;
  node.channels += before + after;
  return network_.output;
}

Value NetworkBuilder::Flatten(const std::string& name, Value x) {
  Node& node = Append(NodeKind::kFlatten, name, {x});
  node.channels *= node.height * node.width;
  node.height = node.width = 0;
  return network_.output;
}

Value NetworkBuilder::Dropout(const std::string& name, Value x, double probability) {
  if (probability == 0) return x;
  Append(NodeKind::kDropout, name, {x}).probability = probability;
  return network_.output;
}

Network NetworkBuilder::Finish(Value output) {
  for (const auto& [name, value] : given_) {
    if (known_.count(name) != 0) continue;
    std::string takes;
    for (const std::string& known : known_) takes += (takes.empty() ? "" : ", ") + known;
    Refuse("unknown argument " + name + "; it takes: " + takes);
  }
  for (const auto* bits : {&weight_bits_, &activation_bits_})
    if (bits->size() > 1 && bits->size() != static_cast<size_t>(next_layer_))
      Refuse(std::to_string(bits->size()) + (bits == &weight_bits_ ? " weight" : " activation") +
             " bits are given for " + std::to_string(next_layer_) + " quantized layers");
  for (TensorSpec& spec : network_.tensors)
    if (decays_) spec.decay = decays_(spec);
  network_.output = output;
  return std::move(network_);
}

}  // namespace lbrt
