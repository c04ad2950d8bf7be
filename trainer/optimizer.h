// The optimizers of the five systems, as torch.optim has them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "trainer/model.h"

namespace lbrt {

struct OptimizerOptions {
  enum Kind : uint8_t { kSgd, kAdam };
  Kind kind = kSgd;
  double momentum = 0.9;    // kSgd
  bool nesterov = false;    // kSgd
  double weight_decay = 0;  // added to the gradient, of the tensors that decay (TensorSpec::decay)
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  // kAdam
};

OptimizerOptions::Kind ParseOptimizer(const std::string& text);  // throws InputError
const char* OptimizerName(OptimizerOptions::Kind kind);

// SGD: d = gradient + decay * w; m = momentum * m + d (the first time m = d);
// w -= lr * (nesterov ? d + momentum * m : m).
// Adam: bias-corrected; decay goes into the gradient, as in torch.optim.Adam.
class Optimizer {
 public:
  // Of the model's tensors of one role: kParameter or kArchitecture.
  Optimizer(const TrainerModel& model, Role role, const OptimizerOptions& options);

  bool empty() const { return parameters_.empty(); }
  void Step(double lr);  // for parameters that have a gradient
  void ClearGradients();

  // Running averages by parameter name, "<name>" (momentum, Adam's first) and "<name>.square", and
  // Adam's count of steps, "steps"; a checkpoint's group.
  StateDict ToStateDict() const;
  void Load(const StateDict& state);  // throws InputError naming a tensor that does not fit

 private:
  struct Parameter {
    std::string name;
    bool decays = true;
    at::Tensor value, average, square;  // undefined before the first step
  };

  std::vector<at::Tensor> Gradients(const std::vector<Parameter*>& parameters) const;  // with decay
  void StepSgd(const std::vector<Parameter*>& parameters, double lr);
  void StepAdam(const std::vector<Parameter*>& parameters, double lr);

  OptimizerOptions options_;
  std::vector<Parameter> parameters_;
  int64_t steps_ = 0;
};

}  // namespace lbrt
