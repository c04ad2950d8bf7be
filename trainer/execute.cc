#include "trainer/execute.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <limits>

#include "trainer/normalise.h"
#include "trainer/quantizers.h"

namespace lbrt {
namespace {

constexpr double kBatchNormMomentum = 0.1;  // of all published systems (methods.md 8)

// What happens to a network's nodes in training: a batch norm, the addition behind it and the
// rectifier behind that run as one function in place of the last of them.
struct Plan {
  struct Step {
    bool skipped = false;  // part of a later node's function
    int normalise = -1;    // the batch norm that this node's function begins with
    int add = -1;          // the addition in it
    int uses = 0;          // nodes that read this node's result
  };
  std::vector<Step> steps;
  int width;  // of the network

  Plan(const Network& network, int width) : steps(network.nodes.size()), width(width) {
    for (const Node& node : network.nodes)
      for (const Value v : node.inputs) ++steps[static_cast<size_t>(v)].uses;
    ++steps[static_cast<size_t>(network.output)].uses;
    for (size_t i = 0; i < steps.size(); ++i)
      if (network.nodes[i].kind == NodeKind::kBatchNorm) Fuse(network, static_cast<int>(i));
  }

  Step& operator[](Value v) { return steps[static_cast<size_t>(v)]; }
  const Step& operator[](Value v) const { return steps[static_cast<size_t>(v)]; }

 private:
  // The only node that reads v, or -1.
  int OnlyUser(const Network& network, Value v) const {
    if ((*this)[v].uses != 1) return -1;
    for (size_t i = static_cast<size_t>(v) + 1; i < network.nodes.size(); ++i)
      for (Value input : network.nodes[i].inputs)
        if (input == v) return static_cast<int>(i);
    return -1;
  }

  // Nodes that belong to no function yet: an addition of two batch norms belongs to the first.
  bool Free(Value v) const { return v >= 0 && !(*this)[v].skipped && (*this)[v].normalise < 0; }

  // A quantizer that rounds to codes, or rectifies at 32 bits.
  bool MakesCodes(const Node& node) const {
    const ActivationQuantizer quantizer = AtWidth(node.activations, width);
    return node.kind == NodeKind::kQuantize && quantizer.kind != ActivationQuantizer::kNone &&
           quantizer.kind != ActivationQuantizer::kSign && !quantizer.mixture;
  }

  void Fuse(const Network& network, int norm) {
    int last = norm, add = -1;
    int next = OnlyUser(network, last);
    if (Free(next) && network.node(next).kind == NodeKind::kAdd) {
      last = add = next;
      next = OnlyUser(network, last);
    }
    if (Free(next) && (network.node(next).kind == NodeKind::kRelu ||
                       network.node(next).kind == NodeKind::kHardtanh ||
                       (add < 0 && MakesCodes(network.node(next)))))
      last = next;
    for (int v : {norm, add})
      if (v >= 0) (*this)[v].skipped = v != last;
    (*this)[last].normalise = norm;
    (*this)[last].add = add;
  }
};

// A value of the network: x * scale * factor, where x may be bf16. Codes, and sums of their products,
// keep what they are multiplied by apart until somebody needs the product.
struct Scaled {
  at::Tensor x;
  double scale = 1;
  at::Tensor factor = {};  // of one element; undefined: 1
};

class Forward {
 public:
  Forward(const TrainerModel& model, const Execution& execution)
      : model_(model),
        network_(model.network()),
        training_(execution.mode == Mode::kTrain),
        fuse_(training_ && execution.fuse),
        width_(execution.width != 0 ? execution.width : network_.widest()),
        plan_(network_, width_),
        random_(execution.random),
        update_statistics_(execution.update_statistics),
        precision_(execution.precision),
        watch_(execution.watch),
        values_(network_.nodes.size()) {
    for (const Node& node : network_.nodes)
      if (node.kind == NodeKind::kConv || node.kind == NodeKind::kLinear) last_layer_ = &node;
    AllowTf32(precision_ == Precision::kTf32);  // for the gradients too, which come next
  }

  at::Tensor Run(const at::Tensor& input) {
    for (size_t i = 0; i < values_.size(); ++i) {
      const Node& node = network_.nodes[i];
      const Plan::Step& step = plan_.steps[i];
      if (fuse_ && step.skipped) continue;
      if (node.kind == NodeKind::kInput) {
        values_[i] = {input};
      } else if (fuse_ && step.normalise >= 0) {
        values_[i] = Normalise(node, step);
        for (const int v : {step.normalise, step.add})
          if (v >= 0 && v != static_cast<int>(i)) Release(network_.node(v));
      } else {
        values_[i] = Evaluate(node);
      }
      if (watch_) watch_(node, values_[i].x);
      Release(node);
    }
    return Real(network_.output);
  }

 private:
  Scaled& at(Value v) { return values_[static_cast<size_t>(v)]; }
  at::Tensor Real(Value v) {
    const Scaled& value = at(v);
    at::Tensor x = value.x.to(model_.type());
    if (value.factor.defined()) x = x * value.factor;
    return value.scale == 1 ? x : x * value.scale;
  }
  at::Tensor Optional(const std::string& name) const {
    return !name.empty() && model_.contains(name) ? model_.at(name) : at::Tensor();
  }
  void Release(const Node& node) {  // values that nobody reads any more
    for (const Value v : node.inputs)
      if (--plan_[v].uses == 0) at(v).x = at::Tensor();
  }

  Scaled Evaluate(const Node& node);
  Quantized Weights(const Node& node) const;
  Scaled Layer(const Node& node);
  bool RoundsToBf16(const Node& node) const;
  bool NormalisesOnly(const Node& node) const;
  at::Tensor Product(const Node& node, const at::Tensor& x, const at::Tensor& weights) const;
  static at::Tensor Sums(const Node& node, const at::Tensor& x, const at::Tensor& weights);
  Scaled Normalise(const Node& last, const Plan::Step& step);
  at::Tensor BatchNorm(const Node& node, const at::Tensor& x) const;
  Scaled Quantize(const Node& node);
  Scaled Dropout(const Node& node);
  Scaled Concat(const Node& node);

  const TrainerModel& model_;
  const Network& network_;
  bool training_, fuse_;
  int width_;
  Plan plan_;
  Random* random_;
  bool update_statistics_;
  Precision precision_;
  std::function<void(const Node&, const at::Tensor&)> watch_;
  const Node* last_layer_ = nullptr;
  std::vector<Scaled> values_;
};

Quantized Forward::Weights(const Node& node) const {
  WeightTensors tensors;
  tensors.weight = model_.at(node.weight);
  tensors.tau = Optional(node.name + ".tau");
  tensors.mixture = Optional(node.name + ".mix_weight.alpha_weight");
  if (network_.node(node.inputs[0]).kind == NodeKind::kInput)
    tensors.input_std = network_.input_std;
  Quantized weights = QuantizeWeights(AtWidth(node.weights, width_), tensors);
  if (node.alpha.empty()) return weights;
  std::vector<int64_t> an_output(static_cast<size_t>(tensors.weight.dim()), 1);
  an_output[0] = -1;
  const at::Tensor alpha = model_.at(node.alpha).view(an_output);
  weights.scale = weights.scale.defined() ? weights.scale * alpha : alpha;
  return weights;
}

// Whether a layer's operands and results are rounded to bf16.
bool Forward::RoundsToBf16(const Node& node) const {
  return precision_ == Precision::kBf16 && &node != last_layer_;
}

// Whether the only user of a layer is a function that begins with a batch norm.
bool Forward::NormalisesOnly(const Node& node) const {
  const auto is_input = [&](const Plan::Step& step) {
    return step.normalise >= 0 &&
           &network_.node(network_.node(step.normalise).inputs[0]) == &node;
  };
  return fuse_ && plan_.steps[static_cast<size_t>(&node - network_.nodes.data())].uses == 1 &&
         std::any_of(plan_.steps.begin(), plan_.steps.end(), is_input);
}

// A convolution or dense layer without bias; in bf16 where it rounds to that.
at::Tensor Forward::Product(const Node& node, const at::Tensor& x,
                            const at::Tensor& weights) const {
  if (RoundsToBf16(node)) return Sums(node, x.to(at::kBFloat16), weights.to(at::kBFloat16));
  return Sums(node, x.to(model_.type()), weights);
}

at::Tensor Forward::Sums(const Node& node, const at::Tensor& x, const at::Tensor& weights) {
  if (node.kind == NodeKind::kLinear) return at::linear(x, weights);
  const Window& w = node.window;
  if (w.pad_top == w.pad_bottom && w.pad_left == w.pad_right)
    return at::conv2d(x, weights, {}, {w.stride_h, w.stride_w}, {w.pad_top, w.pad_left});
  return at::conv2d(
      at::constant_pad_nd(x, {w.pad_left, w.pad_right, w.pad_top, w.pad_bottom}), weights, {},
      {w.stride_h, w.stride_w});
}

Scaled Forward::Layer(const Node& node) {
  const Scaled& input = at(node.inputs[0]);
  const Quantized weights = Weights(node);
  at::Tensor scale = weights.scale;
  if (input.scale != 1)
    scale = scale.defined() ? scale * input.scale
                            : at::scalar_tensor(input.scale, weights.codes.options()
                                                                 .requires_grad(false));
  at::Tensor y;
  if (!scale.defined()) {
    y = Product(node, input.x, weights.codes);
  } else if (model_.type() == at::kDouble || (RoundsToBf16(node) && !scale.requires_grad())) {
    y = Product(node, input.x, weights.codes);
    if (y.scalar_type() == at::kBFloat16 && TakesScaledBf16(y) && scale.numel() == 1 &&
        !node.bias && NormalisesOnly(node))
      return {y, 1, scale};
    // [o, 1, 1, 1] is a column of weights, and [o, 1, 1] of results.
    const bool channels = scale.dim() > 0 && scale.numel() > 1;
    if (channels && node.kind == NodeKind::kConv) scale = scale.view({-1, 1, 1});
    if (channels && node.kind == NodeKind::kLinear) scale = scale.view({-1});
    y = y.to(model_.type()) * scale;
  } else {
    y = Product(node, input.x, weights.codes * scale);
  }
  if (TakesScaledBf16(y) && !node.bias && NormalisesOnly(node)) return {y};
  y = y.to(model_.type());
  if (!node.bias) return {y};
  const at::Tensor bias = model_.at(node.name + ".bias") * node.weights.t_ex;  // methods.md 5.1
  return {y + (node.kind == NodeKind::kConv ? bias.view({-1, 1, 1}) : bias)};
}

at::Tensor Forward::BatchNorm(const Node& node, const at::Tensor& x) const {
  const std::string prefix = BatchNormPrefix(node, width_);
  return at::batch_norm(x, Optional(prefix + ".weight"), Optional(prefix + ".bias"),
                        model_.at(prefix + ".running_mean"), model_.at(prefix + ".running_var"),
                        training_, kBatchNormMomentum, node.eps, /*cudnn_enabled=*/true);
}

// A batch norm in training with what follows it; `last` is the last node of them.
Scaled Forward::Normalise(const Node& last, const Plan::Step& step) {
  const Node& norm = network_.node(step.normalise);
  at::Tensor residual;
  if (step.add >= 0) {
    const std::vector<Value>& inputs = network_.node(step.add).inputs;
    residual = Real(inputs[inputs[0] == step.normalise ? 1 : 0]);
  }
  const std::string prefix = BatchNormPrefix(norm, width_);
  at::Tensor mean = model_.at(prefix + ".running_mean");
  at::Tensor variance = model_.at(prefix + ".running_var");
  if (update_statistics_) {
    const at::Tensor batches = Optional(prefix + ".num_batches_tracked");
    if (batches.defined()) batches.add_(1);
  } else {
    mean = mean.clone();
    variance = variance.clone();
  }
  const ActivationQuantizer quantizer = AtWidth(last.activations, width_);
  Rectifier rectifier = Rectifier::kNone;
  ClippedRounding rounding;
  if (last.kind == NodeKind::kHardtanh) rectifier = Rectifier::kHardtanh;
  if (last.kind == NodeKind::kRelu) rectifier = Rectifier::kRelu;
  if (last.kind == NodeKind::kQuantize) {
    rectifier = quantizer.bits == 32 ? Rectifier::kRelu : Rectifier::kClippedRound;
    if (quantizer.bits != 32) rounding = {CodesOf(quantizer).step, CodesOf(quantizer).levels};
  }
  BatchNormTensors tensors{Optional(prefix + ".weight"), Optional(prefix + ".bias"), mean,
                           variance, norm.eps, kBatchNormMomentum};
  const Scaled& from = at(norm.inputs[0]);
  const bool as_is = TakesScaledBf16(from.x) && from.scale == 1;
  if (as_is) tensors.scale = from.factor;
  tensors.bf16_codes = as_is && precision_ == Precision::kBf16;
  return {NormaliseAddRectify(as_is ? from.x : Real(norm.inputs[0]), tensors, residual, rectifier,
                              rounding),
          rounding.step};
}

// Later users of the input get what the quantizer gives back for them.
Scaled Forward::Quantize(const Node& node) {
  Scaled& input = at(node.inputs[0]);
  if (input.scale != 1 || input.x.scalar_type() != model_.type()) input = {Real(node.inputs[0])};
  const QuantizedActivations result =
      QuantizeActivations(AtWidth(node.activations, width_), input.x, training_,
                          Optional(node.name + ".alpha_activ"), precision_ == Precision::kBf16);
  return {result.codes, result.scale};
}

// The generator's whole state is one number of the run's own source, so that a resumed run goes on
// exactly.
Scaled Forward::Dropout(const Node& node) {
  const Scaled& input = at(node.inputs[0]);
  if (!training_ || random_ == nullptr) return input;
  const double kept = 1 - node.probability;
  at::Generator generator = at::globalContext().defaultGenerator(input.x.device()).clone();
  generator.set_current_seed(random_->Next());
  const at::Tensor mask = at::empty_like(input.x).bernoulli_(kept, generator);
  return {input.x * mask.div_(kept), input.scale};
}

Scaled Forward::Concat(const Node& node) {
  std::vector<at::Tensor> parts;
  for (const Value v : node.inputs) parts.push_back(Real(v));
  return {at::cat(parts, 1)};
}

Scaled Forward::Evaluate(const Node& node) {
  const Value from = node.inputs[0];
  const Window& w = node.window;
  switch (node.kind) {
    case NodeKind::kInput:
      break;  // Run sets it
    case NodeKind::kConv:
    case NodeKind::kLinear:
      return Layer(node);
    case NodeKind::kBatchNorm:
      return {BatchNorm(node, Real(from))};
    case NodeKind::kQuantize:
      return Quantize(node);
    case NodeKind::kRelu:
      return {at::relu(Real(from))};
    case NodeKind::kHardtanh:
      return {at::hardtanh(Real(from))};
    case NodeKind::kClip:
      return {width_ == 32 ? at::relu(Real(from)) : Clip(Real(from), 0, 1)};
    case NodeKind::kPRelu:
      return {at::prelu(Real(from), model_.at(node.name + ".weight"))};
    case NodeKind::kBias:
      return {Real(from) + model_.at(node.name + ".bias")};
    case NodeKind::kAdd:
      return {Real(from) + Real(node.inputs[1])};
    case NodeKind::kConcat:
      return Concat(node);
    case NodeKind::kMaxPool: {
      at::Tensor x = at(from).x;
      const bool even = w.pad_top == w.pad_bottom && w.pad_left == w.pad_right;
      if (!even)
        x = at::constant_pad_nd(x, {w.pad_left, w.pad_right, w.pad_top, w.pad_bottom},
                                -std::numeric_limits<double>::infinity());
      return {at::max_pool2d(x, {w.kernel_h, w.kernel_w}, {w.stride_h, w.stride_w},
                             even ? std::array<int64_t, 2>{w.pad_top, w.pad_left}
                                  : std::array<int64_t, 2>{0, 0}),
              at(from).scale};
    }
    case NodeKind::kAvgPool:
      return {at::avg_pool2d(Real(from), {w.kernel_h, w.kernel_w}, {w.stride_h, w.stride_w},
                             {w.pad_top, w.pad_left}, /*ceil_mode=*/false,
                             /*count_include_pad=*/true)};
    case NodeKind::kGlobalAvgPool:
      return {Real(from).mean({2, 3})};
    case NodeKind::kPadChannels:
      return {at::constant_pad_nd(Real(from), {0, 0, 0, 0, node.pad_before, node.pad_after})};
    case NodeKind::kFlatten:
      return {at(from).x.flatten(1), at(from).scale};
    case NodeKind::kDropout:
      return Dropout(node);
  }
  return at(from);
}

}  // namespace

at::Tensor Execute(const TrainerModel& model, const at::Tensor& input,
                   const Execution& execution) {
  return Forward(model, execution).Run(input);
}

}  // namespace lbrt
