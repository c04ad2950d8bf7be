#include "trainer/step.h"

#include <ATen/ATen.h>

#include "images/error.h"

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
        model, batch.input, {Mode::kTrain, widths[i], options.random, update_statistics});
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

static at::Tensor Part(const at::Tensor& batch, int64_t part, int64_t parts) {
  if (!batch.defined()) return batch;
  const int64_t n = batch.size(0), first = n * part / parts;
  return batch.slice(0, first, n * (part + 1) / parts);
}

// The means over the parts of a batch, each as if alone on its device: sums of gradients are made
// for each part first, as those devices make them.
static StepResult AverageGradients(const TrainerModel& model, const Batch& batch,
                                   const StepOptions& options) {
  StepResult result;
  std::vector<at::Tensor> sums(model.parameters().size());
  for (int64_t part = 0; part < options.replicas; ++part) {
    const StepResult r = AddGradients(model,
                                      {Part(batch.input, part, options.replicas),
                                       Part(batch.labels, part, options.replicas),
                                       Part(batch.teacher_logits, part, options.replicas)},
                                      options, /*update_statistics=*/part == 0);
    for (size_t i = 0; i < sums.size(); ++i) {
      at::Tensor& gradient = model.at(model.parameters()[i]).mutable_grad();
      if (gradient.defined()) sums[i] = part == 0 ? gradient : sums[i] + gradient;
      gradient = at::Tensor();
    }
    if (part == 0) {
      result = r;
      continue;
    }
    for (size_t i = 0; i < r.losses.size(); ++i) result.losses[i] = result.losses[i] + r.losses[i];
    result.total = result.total + r.total;
    result.correct = result.correct + r.correct;
  }
  for (size_t i = 0; i < sums.size(); ++i)
    if (sums[i].defined())
      model.at(model.parameters()[i]).mutable_grad() = sums[i].div_(options.replicas);
  for (at::Tensor& loss : result.losses) loss = loss / options.replicas;
  result.total = result.total / options.replicas;
  return result;
}

StepResult TrainStep(const TrainerModel& model, Optimizers& optimizers, const Batch& batch,
                     const StepOptions& options) {
  optimizers.weights.ClearGradients();
  optimizers.architecture.ClearGradients();
  const StepResult result = options.replicas > 1
                                ? AverageGradients(model, batch, options)
                                : AddGradients(model, batch, options, /*update_statistics=*/true);
  optimizers.weights.Step(options.lr);
  if (!optimizers.architecture.empty()) optimizers.architecture.Step(options.lr_architecture);
  return result;
}

void SetTau(const TrainerModel& model, double tau) {
  for (const Node& node : model.network().nodes)
    if (node.weights.kind == WeightQuantizer::kRecu) model.at(node.name + ".tau").fill_(tau);
}

}  // namespace lbrt
