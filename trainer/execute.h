// Executes a network with LibTorch: the trainer's forward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "trainer/model.h"
#include "trainer/precision.h"
#include "trainer/random.h"

namespace lbrt {

enum class Mode {
  kTrain,  // batch statistics (running ones are updated), the quantizers' training rules, gradients
  kEval,   // running statistics, plain quantizers: the float network that a checkpoint means
};

struct Execution {
  Mode mode = Mode::kEval;
  int width = 0;             // 0: the network's widest, where it has widths
  Random* random = nullptr;  // for dropout in training; without it, none
  bool update_statistics = true;  // kTrain: the running ones
  bool fuse = true;  // kTrain: batch norms with what follows them; false to compare with that
  Precision precision = Precision::kFp32;
  // Told each node's result, in order, but of nodes that a fused function has taken in.
  std::function<void(const Node&, const at::Tensor&)> watch = {};
};

// input [n, c, h, w] of the model's type and device -> logits [n, classes].
//
// In float64, layers of integer codes are convolved as such and scaled afterwards, so that their
// sums are exact and ties are ties; so they are in bf16, which holds codes exactly, by scales that
// do not train. In float32 the scales are multiplied into the weights, which are fewer.
at::Tensor Execute(const TrainerModel& model, const at::Tensor& input, const Execution& execution);

}  // namespace lbrt
