// Plain float evaluation of a checkpoint's network.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/model.h"
#include "trainer/samples.h"

namespace lbrt {

struct Evaluation {
  std::vector<float> logits;  // [images classes]
  size_t images = 0, classes = 0;
  size_t correct = 0;
  double loss = 0;  // mean cross entropy

  size_t Class(size_t image) const;  // of the largest logit; ties go to the lower index
  double accuracy() const {          // percent
    return 100.0 * static_cast<double>(correct) / static_cast<double>(images);
  }
};

// What the logits say of the labels; all zero of none.
Evaluation Judge(std::vector<float> logits, const std::vector<int64_t>& labels);

// Two evaluations of the same images.
struct Agreement {
  size_t same_class = 0;
  double largest_logit = 0, largest_difference = 0;  // in magnitude
};
Agreement Compare(const Evaluation& a, const Evaluation& b);

// Of the batches of an evaluation, every `parts`-th from number `part` on.
struct Share {
  int part = 0, parts = 1;
};

// The network in eval mode, at one of its widths (0: the widest), on every sample, in order, or on
// a share of them. `progress` is told the images done. The same numbers every time: batches of one
// size, no random choice.
Evaluation Evaluate(const TrainerModel& model, int width, const Samples& samples,
                    const Preprocessing& preprocessing,
                    const std::function<void(size_t done)>& progress, Share share = {});
// The same with the samples' own batcher, which has their images on its device already.
Evaluation Evaluate(const TrainerModel& model, int width, const Samples& samples,
                    const Batcher& batcher, const std::function<void(size_t done)>& progress,
                    Share share = {});

}  // namespace lbrt
