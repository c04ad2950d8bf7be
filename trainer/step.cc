#include "trainer/step.h"

#include <ATen/ATen.h>

#include "images/error.h"

namespace lbrt {

Sgd::Sgd(const TrainerModel& model, const SgdOptions& options) : options_(options) {
  for (const std::string& name : model.parameters())
    parameters_.push_back({name, model.at(name), at::Tensor()});
}

void Sgd::ClearGradients() {
  for (Parameter& p : parameters_) p.value.mutable_grad() = at::Tensor();
}

void Sgd::Step(double lr) {
  at::NoGradGuard no_grad;
  for (Parameter& p : parameters_) {
    if (!p.value.grad().defined()) continue;
    at::Tensor d = p.value.grad();
    if (options_.weight_decay != 0) d = d.add(p.value, options_.weight_decay);
    if (p.momentum.defined())
      p.momentum.mul_(options_.momentum).add_(d);
    else
      p.momentum = d.clone();
    p.value.add_(p.momentum, -lr);
  }
}

StateDict Sgd::ToStateDict() const {
  StateDict state;
  for (const Parameter& p : parameters_)
    if (p.momentum.defined()) state[p.name] = ToHost(p.momentum);
  return state;
}

void Sgd::Load(const StateDict& state) {
  for (Parameter& p : parameters_) {
    if (!state.contains(p.name)) continue;
    const HostTensor& momentum = state.at(p.name);
    if (momentum.shape != p.value.sizes().vec())
      throw InputError("optimizer tensor \"" + p.name + "\"",
                       "has shape " + ShapeText(momentum.shape) + ", expected " +
                           ShapeText(p.value.sizes().vec()));
    p.momentum = FromHost(momentum).to(p.value.options().requires_grad(false));
  }
}

StepResult TrainStep(const TrainerModel& model, Sgd& sgd, const at::Tensor& input,
                     const at::Tensor& labels, double lr, Precision precision) {
  sgd.ClearGradients();
  const at::Tensor logits = Execute(model, input, Mode::kTrain, precision);
  const at::Tensor loss = at::cross_entropy_loss(logits, labels);
  loss.backward();
  sgd.Step(lr);
  return {loss.item<double>(), logits.argmax(1).eq(labels).sum().item<int64_t>()};
}

void SetTau(const TrainerModel& model, double tau) {
  for (const Node& node : model.network().nodes)
    if (node.weights == WeightQuantizer::kRecu) model.at(node.name + ".tau").fill_(tau);
}

}  // namespace lbrt
