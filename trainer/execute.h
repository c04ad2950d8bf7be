// Executes a network with LibTorch: the trainer's forward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include "trainer/model.h"

namespace lbrt {

enum class Mode {
  kTrain,  // batch statistics (running ones are updated), the quantizers' training rules, gradients
  kEval,   // running statistics, plain quantizers: the float network that a checkpoint means
};

// What becomes of the quantizers: kFloat leaves them out (weights as they are, activations
// unquantized), the plain network of the same topology.
enum class Precision { kQuantized, kFloat };

// input [n, c, h, w] of the model's type and device -> logits [n, classes].
at::Tensor Execute(const TrainerModel& model, const at::Tensor& input, Mode mode,
                   Precision precision = Precision::kQuantized);

}  // namespace lbrt
