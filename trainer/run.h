// A training run: epochs, evaluation, checkpoints, exact resume.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "network/checkpoint.h"
#include "trainer/model.h"
#include "trainer/recipe.h"

namespace lbrt {

// "cpu" or "cuda"; throws InputError for the latter where LibTorch has none.
at::Device ParseDevice(const std::string& text);

struct RunOptions {
  Recipe recipe;
  std::string data;  // a folder, as OpenDataset takes it
  std::string out;   // folder for last.pt, best.pt, metrics.csv; made if missing
  uint64_t seed = 1;
  std::string device = "cpu";
  std::string resume;  // a checkpoint of ours: goes on after its last epoch
  std::string init;    // a checkpoint whose tensors replace the initial ones
};

struct EpochResult {
  int epoch = 0;  // counted from 0
  double lr = 0, tau = 0;
  double train_loss = 0, train_accuracy = 0, test_loss = 0, test_accuracy = 0;  // percent
  double best_accuracy = 0;
  double seconds = 0;  // of training and evaluation
};

struct RunEvents {
  std::function<void(int epoch, size_t done, size_t total)> step;  // images of this epoch
  std::function<void(const EpochResult&)> epoch;                   // the checkpoint is written
  std::function<bool()> stop;  // asked after every step and epoch
};

// Trains to the recipe's last epoch and returns true, or false when `events.stop` said so: what was
// done since the last checkpoint is then lost. Each epoch adds a line to metrics.csv and replaces
// last.pt, and best.pt when the test accuracy is the highest yet. With the same recipe, seed,
// device, thread count and data, a run that was resumed ends with the same bytes as one that was
// not. Throws InputError; a loss that is no longer finite is one.
bool Train(const RunOptions& options, const RunEvents& events);

// The recipe and seed inside a checkpoint of ours; InputError for others.
Recipe RecipeOf(const Checkpoint& checkpoint, const std::string& path);
uint64_t SeedOf(const Checkpoint& checkpoint, const std::string& path);

// Median milliseconds of a training step on random images; `precision` kFloat is the plain network
// of the same topology.
double MillisecondsPerStep(const Recipe& recipe, Precision precision, at::Device device, int steps);

}  // namespace lbrt
