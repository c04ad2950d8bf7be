// The training step: forward, loss, backward, update. lbtrain and the golden tests run this one.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "trainer/execute.h"
#include "trainer/model.h"

namespace lbrt {

struct SgdOptions {
  double momentum = 0.9;
  double weight_decay = 0;
};

// Stochastic gradient descent with momentum, as torch.optim.SGD: d = gradient + decay * w;
// m = momentum * m + d (the first time m = d); w -= lr * m. Which parameters decay is the
// system's rule: ReCU's CIFAR networks and McDonnell's decay all of them (methods.md 3.4, 4.4).
class Sgd {
 public:
  Sgd(const TrainerModel& model, const SgdOptions& options);

  void Step(double lr);  // for parameters that have a gradient
  void ClearGradients();

  // Momentum by parameter name; the checkpoint's group "optimizer".
  StateDict ToStateDict() const;
  void Load(const StateDict& state);  // throws InputError naming a tensor that does not fit

 private:
  struct Parameter {
    std::string name;
    at::Tensor value, momentum;  // momentum undefined before the first step
  };
  SgdOptions options_;
  std::vector<Parameter> parameters_;
};

struct StepResult {
  double loss = 0;      // mean cross entropy of the batch
  int64_t correct = 0;  // images whose largest logit is the label's
};

// One step on a batch: input [n, c, h, w], labels int64 [n]. Gradients stay until the next step.
StepResult TrainStep(const TrainerModel& model, Sgd& sgd, const at::Tensor& input,
                     const at::Tensor& labels, double lr,
                     Precision precision = Precision::kQuantized);

// Sets the tau of every layer that has one (ReCU), before each epoch.
void SetTau(const TrainerModel& model, double tau);

}  // namespace lbrt
