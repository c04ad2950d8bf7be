// Plain float evaluation of a checkpoint's network.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "trainer/model.h"
#include "trainer/samples.h"

namespace lbrt {

// Top-5 accuracies are told from so many classes on.
inline constexpr size_t kTop5Classes = 100;

struct Evaluation {
  std::vector<float> logits;  // [images classes], where they were asked for
  size_t images = 0, classes = 0;
  size_t correct = 0, correct_of_five = 0;  // the label is first, is among the first five
  double loss_sum = 0;                      // cross entropies

  size_t Class(size_t image) const;  // of the largest logit; ties go to the lower index
  double accuracy() const { return Percent(correct); }
  double top5() const { return Percent(correct_of_five); }
  double loss() const { return loss_sum / static_cast<double>(images); }

 private:
  double Percent(size_t count) const {
    return 100.0 * static_cast<double>(count) / static_cast<double>(images);
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

// The network in eval mode, at one of its widths (0: the widest), on every sample, in order, with
// its logits. `progress` is told the images done.
Evaluation Evaluate(const TrainerModel& model, int width, const Samples& samples,
                    const Preprocessing& preprocessing,
                    const std::function<void(size_t done)>& progress);

// The same without logits, at several widths, on a share of the samples; `batcher` is theirs, and
// each image is read once. Before each batch `go_on` is asked: after a no, nothing comes back.
std::vector<Evaluation> EvaluateWidths(const TrainerModel& model, const std::vector<int>& widths,
                                       const Samples& samples, const Batcher& batcher, Share share,
                                       const std::function<bool()>& go_on);

}  // namespace lbrt
