#include "trainer/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "images/error.h"

namespace lbrt {

OptimizerOptions::Kind ParseOptimizer(const std::string& text) {
  if (text == "sgd") return OptimizerOptions::kSgd;
  if (text == "adam") return OptimizerOptions::kAdam;
  throw InputError("unknown optimizer \"" + text + "\", expected sgd or adam");
}

const char* OptimizerName(OptimizerOptions::Kind kind) {
  return kind == OptimizerOptions::kSgd ? "sgd" : "adam";
}

Optimizer::Optimizer(const TrainerModel& model, Role role, const OptimizerOptions& options)
    : options_(options) {
  for (const TensorSpec& spec : model.network().tensors)
    if (spec.role == role)
      parameters_.push_back({spec.name, spec.decay, model.at(spec.name), {}, {}});
}

void Optimizer::ClearGradients() {
  for (Parameter& p : parameters_) p.value.mutable_grad() = at::Tensor();
}

// All tensors of one kind of operation go to LibTorch at once: on a GPU the launches would cost
// more than the arithmetic.
void Optimizer::Step(double lr) {
  at::NoGradGuard no_grad;
  ++steps_;
  std::vector<Parameter*> parameters;
  for (Parameter& p : parameters_)
    if (p.value.grad().defined()) parameters.push_back(&p);
  if (parameters.empty()) return;
  if (options_.kind == OptimizerOptions::kSgd)
    StepSgd(parameters, lr);
  else
    StepAdam(parameters, lr);
}

std::vector<at::Tensor> Optimizer::Gradients(const std::vector<Parameter*>& parameters) const {
  std::vector<at::Tensor> result, decaying, values;
  for (const Parameter* p : parameters) {
    result.push_back(p->value.grad());
    if (options_.weight_decay == 0 || !p->decays) continue;
    decaying.push_back(p->value.grad());
    values.push_back(p->value);
  }
  if (decaying.empty()) return result;
  const std::vector<at::Tensor> sums = at::_foreach_add(decaying, values, options_.weight_decay);
  for (size_t i = 0, k = 0; i < result.size(); ++i)
    if (parameters[i]->decays) result[i] = sums[k++];
  return result;
}

void Optimizer::StepSgd(const std::vector<Parameter*>& parameters, double lr) {
  std::vector<at::Tensor> values, updates = Gradients(parameters), old, gradients;
  for (size_t i = 0; i < parameters.size(); ++i) {
    Parameter* p = parameters[i];
    values.push_back(p->value);
    if (options_.momentum == 0) continue;
    if (p->average.defined()) {
      old.push_back(p->average);
      gradients.push_back(updates[i]);
    } else {
      p->average = updates[i].clone();
    }
  }
  if (!old.empty()) {
    at::_foreach_mul_(old, options_.momentum);
    at::_foreach_add_(old, gradients, 1);
  }
  if (options_.momentum != 0) {
    std::vector<at::Tensor> averages;
    for (const Parameter* p : parameters) averages.push_back(p->average);
    if (options_.nesterov)
      updates = at::_foreach_add(updates, averages, options_.momentum);
    else
      updates = averages;
  }
  at::_foreach_add_(values, updates, -lr);
}

void Optimizer::StepAdam(const std::vector<Parameter*>& parameters, double lr) {
  const double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(steps_));
  std::vector<at::Tensor> values, averages, squares;
  const std::vector<at::Tensor> gradients = Gradients(parameters);
  for (Parameter* p : parameters) {
    if (!p->average.defined()) {
      p->average = at::zeros_like(p->value);
      p->square = at::zeros_like(p->value);
    }
    values.push_back(p->value);
    averages.push_back(p->average);
    squares.push_back(p->square);
  }
  at::_foreach_mul_(averages, options_.beta1);
  at::_foreach_add_(averages, gradients, 1 - options_.beta1);
  at::_foreach_mul_(squares, options_.beta2);
  at::_foreach_addcmul_(squares, gradients, gradients, 1 - options_.beta2);
  std::vector<at::Tensor> divisors = at::_foreach_sqrt(squares);
  at::_foreach_div_(divisors, std::sqrt(correction2));
  at::_foreach_add_(divisors, options_.eps);
  at::_foreach_addcdiv_(values, averages, divisors, -lr / correction1);
}

StateDict Optimizer::ToStateDict() const {
  StateDict state;
  for (const Parameter& p : parameters_) {
    if (p.average.defined()) state[p.name] = ToHost(p.average);
    if (p.square.defined()) state[p.name + ".square"] = ToHost(p.square);
  }
  if (options_.kind == OptimizerOptions::kAdam)
    state["steps"] = ToHost(at::scalar_tensor(steps_, at::kLong));
  return state;
}

void Optimizer::Load(const StateDict& state) {
  const auto take = [&](const Parameter& p, const std::string& name, at::Tensor* tensor) {
    if (!state.contains(name)) return;
    const HostTensor& host = state.at(name);
    if (host.shape != p.value.sizes().vec())
      throw InputError("optimizer tensor \"" + name + "\"",
                       "has shape " + ShapeText(host.shape) + ", expected " +
                           ShapeText(p.value.sizes().vec()));
    *tensor = FromHost(host).to(p.value.options().requires_grad(false));
  };
  for (Parameter& p : parameters_) {
    take(p, p.name, &p.average);
    take(p, p.name + ".square", &p.square);
  }
  if (state.contains("steps")) steps_ = FromHost(state.at("steps")).item<int64_t>();
}

}  // namespace lbrt
