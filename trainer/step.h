// The training step: forward, loss, backward, update. lbtrain and the golden tests run this one.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "trainer/execute.h"
#include "trainer/model.h"
#include "trainer/optimizer.h"
#include "trainer/search.h"

namespace lbrt {

class CudaGraph;
class Peers;

// What the widths of an any-precision network learn from; the widest learns from labels always
// (methods.md 1.5).
enum class Targets {
  kHard,       // labels
  kSoft,       // the widest width's probabilities
  kRecursive,  // the next wider width's
};
Targets ParseTargets(const std::string& text);  // throws InputError listing the names
const char* TargetsName(Targets targets);

struct Batch {
  at::Tensor input;           // [n, c, h, w]
  at::Tensor labels;          // int64 [n]
  at::Tensor teacher_logits;  // [n, classes], learned instead of the labels; or undefined
  int64_t whole = 0;          // with peers: images of the whole batch, of which these are one's own
};

struct StepOptions {
  double lr = 0.1;
  Targets targets = Targets::kRecursive;
  double lr_architecture = 0;          // of a search's alphas
  double cd = 0;                       // weight of its complexity
  const SearchCost* cost = nullptr;    // of a search
  Random* random = nullptr;            // for dropout
  // Parts of a batch with batch statistics of their own, whose gradients are averaged: the same as
  // so many devices. The first part's statistics go into the running ones.
  int replicas = 1;
  const Peers* peers = nullptr;  // each has `replicas` parts of a batch; or alone
  bool stop = false;             // with peers: this process asks all to stop after this step
  bool fuse = true;  // see Execution
  Precision precision = Precision::kFp32;
  // Reads the loss, which waits for the device; where it is not finite, the step changes no weight.
  bool keep_finite = false;
  CudaGraph* graph = nullptr;  // one replica, no peers, no dropout: the same, captured once
};

// Tensors without gradient on the model's device: reading one waits for the device.
struct StepResult {
  std::vector<at::Tensor> losses;  // a width's, the widest first; one where there are no widths
  at::Tensor total;                // their sum, with cd * complexity
  at::Tensor complexity;           // of a search, normalised; else undefined
  at::Tensor correct;  // int64: images whose largest logit is the label's, at the widest width
  at::Tensor stop;                 // with peers: how many ask to stop
};

// The optimizers of a model's weights and of a search's alphas.
struct Optimizers {
  Optimizer weights, architecture;
  Optimizers(const TrainerModel& model, const OptimizerOptions& options,
             const OptimizerOptions& architecture_options)
      : weights(model, Role::kParameter, options),
        architecture(model, Role::kArchitecture, architecture_options) {}
};

// One step on a batch. Gradients of all widths add up; they stay until the next step. With peers,
// what they get is the same for all: means and counts over the whole batch.
StepResult TrainStep(const TrainerModel& model, Optimizers& optimizers, const Batch& batch,
                     const StepOptions& options);

// The first node of a step's forward pass whose result is not finite, at any width; "" where all
// are.
std::string FirstNotFinite(const TrainerModel& model, const Batch& batch,
                           const StepOptions& options);

// Sets the tau of every layer that has one (ReCU), before each epoch.
void SetTau(const TrainerModel& model, double tau);

}  // namespace lbrt
