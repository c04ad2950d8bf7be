#include "trainer/step.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "images/error.h"
#include "trainer/cuda_graph.h"
#include "trainer/peers.h"

namespace lbrt {

static constexpr struct {
  Targets targets;
  const char* name;
} kTargets[] = {
    {Targets::kHard, "hard"}, {Targets::kSoft, "soft"}, {Targets::kRecursive, "recursive"}};

Targets ParseTargets(const std::string& text) {
  for (const auto& t : kTargets)
    if (text == t.name) return t.targets;
  throw InputError("unknown targets \"" + text + "\", expected hard, soft or recursive");
}

const char* TargetsName(Targets targets) { return kTargets[static_cast<size_t>(targets)].name; }

// mean over the batch of -sum target * log_softmax(logits).
static at::Tensor SoftCrossEntropy(const at::Tensor& logits, const at::Tensor& target) {
  return -(target * at::log_softmax(logits, 1)).sum(1).mean();
}

// Adds a batch's gradients to the parameters'; losses of all widths.
static StepResult AddGradients(const TrainerModel& model, const Batch& batch,
                               const StepOptions& options, bool update_statistics) {
  StepResult result;
  std::vector<int> widths = model.network().widths;
  if (widths.empty()) widths = {0};
  at::Tensor target;  // probabilities; undefined: labels
  if (batch.teacher_logits.defined()) target = batch.teacher_logits.softmax(1);
  for (size_t i = widths.size(); i-- > 0;) {
    const bool widest = i + 1 == widths.size();
    const at::Tensor logits = Execute(
        model, batch.input,
        {Mode::kTrain, widths[i], options.random, update_statistics, options.fuse,
         options.precision});
    at::Tensor loss = target.defined() ? SoftCrossEntropy(logits, target)
                                       : at::cross_entropy_loss(logits, batch.labels);
    result.losses.push_back(loss.detach());
    if (options.cost != nullptr) {
      const at::Tensor complexity = options.cost->Complexity(model);
      result.complexity = complexity.detach();
      loss = loss + options.cd * complexity;
    }
    loss.backward();
    result.total = result.total.defined() ? result.total + loss.detach() : loss.detach();
    const at::Tensor plain = logits.detach();
    if (widest) result.correct = plain.argmax(1).eq(batch.labels).sum();
    if (options.targets == Targets::kRecursive || (options.targets == Targets::kSoft && widest))
      target = plain.softmax(1);
  }
  return result;
}

static at::Tensor Part(const at::Tensor& batch, int64_t begin, int64_t end) {
  return batch.defined() ? batch.slice(0, begin, end) : batch;
}

// Takes the random numbers of parts that other processes execute.
static void SkipParts(const TrainerModel& model, Random* random, int64_t parts) {
  if (random == nullptr) return;
  const Network& network = model.network();
  const int64_t dropouts =
      std::count_if(network.nodes.begin(), network.nodes.end(),
                    [](const Node& node) { return node.kind == NodeKind::kDropout; });
  const int64_t widths = std::max<int64_t>(1, static_cast<int64_t>(network.widths.size()));
  for (int64_t i = 0; i < parts * dropouts * widths; ++i) random->Next();
}

// Adds up what each process has summed over its own parts, in one exchange.
static void AddPeers(const Peers& peers, bool stop, std::vector<at::Tensor>& sums,
                     StepResult& result) {
  at::Tensor correct = result.correct.to(result.total.scalar_type());  // exact to 2^24
  result.stop = at::full_like(result.total, stop ? 1 : 0);
  std::vector<at::Tensor*> all{&result.total, &correct, &result.stop};
  for (at::Tensor& loss : result.losses) all.push_back(&loss);
  for (at::Tensor& sum : sums)
    if (sum.defined()) all.push_back(&sum);
  std::vector<at::Tensor> flat;
  for (const at::Tensor* tensor : all) flat.push_back(tensor->reshape({-1}));
  const at::Tensor total = peers.Sum(at::cat(flat));
  int64_t begin = 0;
  for (at::Tensor* tensor : all) {
    const int64_t end = begin + tensor->numel();
    *tensor = total.slice(0, begin, end).view(tensor->sizes());
    begin = end;
  }
  result.correct = correct.to(at::kLong);
}

// The means over the parts of a batch, each as if alone on its device: sums of gradients are made
// for each part first, as those devices make them.
static StepResult AverageGradients(const TrainerModel& model, const Batch& batch,
                                   const StepOptions& options) {
  const int64_t own = options.replicas;
  const int64_t first = options.peers != nullptr ? own * options.peers->rank() : 0;
  const int64_t parts = options.peers != nullptr ? own * options.peers->size() : own;
  const int64_t images = options.peers != nullptr ? batch.whole : batch.input.size(0);
  const auto begin = [&](int64_t part) { return images * part / parts - images * first / parts; };
  StepResult result;
  std::vector<at::Tensor> sums(model.parameters().size());
  SkipParts(model, options.random, first);
  for (int64_t part = first; part < first + own; ++part) {
    const StepResult r = AddGradients(model,
                                      {Part(batch.input, begin(part), begin(part + 1)),
                                       Part(batch.labels, begin(part), begin(part + 1)),
                                       Part(batch.teacher_logits, begin(part), begin(part + 1))},
                                      options, /*update_statistics=*/part == 0);
    for (size_t i = 0; i < sums.size(); ++i) {
      at::Tensor& gradient = model.at(model.parameters()[i]).mutable_grad();
      if (gradient.defined()) sums[i] = part == first ? gradient : sums[i] + gradient;
      gradient = at::Tensor();
    }
    if (part == first) {
      result = r;
      continue;
    }
    for (size_t i = 0; i < r.losses.size(); ++i) result.losses[i] = result.losses[i] + r.losses[i];
    result.total = result.total + r.total;
    result.correct = result.correct + r.correct;
  }
  SkipParts(model, options.random, parts - first - own);
  if (options.peers != nullptr) AddPeers(*options.peers, options.stop, sums, result);
  for (size_t i = 0; i < sums.size(); ++i)
    if (sums[i].defined()) model.at(model.parameters()[i]).mutable_grad() = sums[i].div_(parts);
  for (at::Tensor& loss : result.losses) loss = loss / parts;
  result.total = result.total / parts;
  return result;
}

static StepResult Gradients(const TrainerModel& model, const Batch& batch,
                            const StepOptions& options) {
  if (options.replicas > 1 || options.peers != nullptr)
    return AverageGradients(model, batch, options);
  const auto whole = [&](const Batch& all) {
    return AddGradients(model, all, options, /*update_statistics=*/true);
  };
  return options.graph != nullptr ? options.graph->Run(model, batch, whole) : whole(batch);
}

StepResult TrainStep(const TrainerModel& model, Optimizers& optimizers, const Batch& batch,
                     const StepOptions& options) {
  optimizers.weights.ClearGradients();
  optimizers.architecture.ClearGradients();
  const StepResult result = Gradients(model, batch, options);
  if (options.keep_finite && !std::isfinite(result.total.item<double>())) return result;
  optimizers.weights.Step(options.lr);
  if (!optimizers.architecture.empty()) optimizers.architecture.Step(options.lr_architecture);
  return result;
}

std::string FirstNotFinite(const TrainerModel& model, const Batch& batch,
                           const StepOptions& options) {
  at::NoGradGuard no_grad;
  std::string first;
  std::vector<int> widths = model.network().widths;
  if (widths.empty()) widths = {0};
  for (size_t i = widths.size(); i-- > 0 && first.empty();)
    Execute(model, batch.input,
            {Mode::kTrain, widths[i], /*random=*/nullptr, /*update_statistics=*/false,
             /*fuse=*/false, options.precision, [&](const Node& node, const at::Tensor& result) {
               if (first.empty() && !at::isfinite(result).all().item<bool>()) first = node.name;
             }});
  return first;
}

void SetTau(const TrainerModel& model, double tau) {
  for (const Node& node : model.network().nodes)
    if (const char* buffer = EntryOf(node.weights.kind).buffer;
        buffer != nullptr && std::string_view(buffer) == "tau")
      model.at(node.name + ".tau").fill_(tau);
}

}  // namespace lbrt
