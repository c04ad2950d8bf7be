// Where a training run stands, beside its model and its optimizers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "network/checkpoint.h"
#include "trainer/random.h"
#include "trainer/step.h"

namespace lbrt {

// The sums of an epoch so far: on the device, so that no step waits to read them.
struct EpochSums {
  std::vector<at::Tensor> losses;  // double, of each width, times images
  at::Tensor correct;              // int64
  at::Tensor complexity;           // of a search, the last step's; else undefined

  void Add(const StepResult& step, size_t images);
};

// All that a checkpoint keeps so that the run goes on to the byte.
struct RunState {
  explicit RunState(uint64_t random_state) : random(random_state) {}

  Random random;
  int epoch = 0;            // the one that is running, or the next
  size_t position = 0;      // images done of it; 0: it has not begun
  uint64_t order_seed = 0;  // of its order and augmentation
  EpochSums sums;
  int64_t best_epoch = 0;  // counted from 1; 0: none yet
  double best_accuracy = 0;

  // What of it stands in a checkpoint; reads the sums, which waits for the device.
  void WriteTo(Checkpoint* checkpoint) const;
  // From the checkpoint that was read from `path`, of a network with so many widths. InputError
  // where it is none of ours.
  static RunState ReadFrom(const Checkpoint& checkpoint, const std::string& path, size_t widths,
                           const at::Device& device);
};

}  // namespace lbrt
