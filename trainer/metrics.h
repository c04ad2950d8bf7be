// What an epoch of a training run was like, and metrics.csv, which holds a line of it for each.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lbrt {

struct WidthResult {
  int width = 0;  // 0: a network without widths
  double train_loss = 0, test_loss = 0, test_accuracy = 0;
  std::optional<double> test_top5;  // percent; of 100 classes and more
};

struct EpochResult {
  int epoch = 0;  // counted from 0
  double lr = 0, tau = 0;
  double train_loss = 0, train_accuracy = 0;  // summed over widths; of the widest, percent
  double test_loss = 0, test_accuracy = 0;    // of the widest
  double complexity = 0;                      // of a search, the last step's
  double best_accuracy = 0;
  double seconds = 0;            // of training and evaluation
  double whole_seconds = 0;      // the same with what was done of the epoch before it was resumed
  double images_per_second = 0;  // in training
  double data_share = 0;         // of the training time: reading and augmenting
  std::vector<WidthResult> widths;  // the widest first; one of a network without widths
};

// Adds the epoch's line to metrics.csv at `path`, behind those of the epochs before it: a run that
// died between this file and its checkpoint does an epoch twice, the file shows it once.
void WriteMetrics(const std::string& path, const EpochResult& result);

}  // namespace lbrt
