// A training step's forward and backward pass as one CUDA graph: the device gets its many small
// kernels at once instead of one after another.
#pragma once

#include <functional>
#include <memory>

#include "trainer/step.h"

namespace lbrt {

class CudaGraph {
 public:
  // Adds a batch's gradients to the parameters'; the results are of the model's device.
  using Gradients = std::function<StepResult(const Batch&)>;

  // Steps of one shape that are executed as they are before the next one is captured: in them
  // LibTorch's libraries choose their algorithms and take their memory.
  static constexpr int kWarmup = 3;

  // Whether a network's steps can be captured: not with dropout, which draws numbers.
  static bool Takes(const Network& network);

  CudaGraph();
  ~CudaGraph();

  // What gradients(batch) does, for a `model` whose parameters have no gradients yet. After kWarmup
  // batches of one shape in a row it is captured for good: it must do the same every time, depend
  // on nothing but the batch and the model's tensors (no random numbers) and not wait for the
  // device. Batches of other shapes, and all on a CPU or in a program without CUDA, are executed as
  // they are. The gradients live until the next call. Throws InputError where LibTorch cannot
  // capture it; the process is then of no more use for CUDA.
  StepResult Run(const TrainerModel& model, const Batch& batch, const Gradients& gradients);

  // Whether the next batch like the last one is replayed.
  bool captured() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lbrt
