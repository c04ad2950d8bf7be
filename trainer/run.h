// A training run: epochs, evaluation, checkpoints, exact resume.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "network/checkpoint.h"
#include "trainer/metrics.h"
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
  std::string precision = "fp32";  // of training, as ParsePrecision takes it
  std::string resume;     // a checkpoint of ours: goes on where it ends, perhaps within an epoch
  std::string init;       // a checkpoint whose tensors replace the initial ones of the same name
  std::string teacher;    // a checkpoint whose network's outputs are learned instead of labels
  std::string teacher_network = "ternary/resnet34";  // of a foreign one; in full precision
  std::string latencies;  // a search's costs (trainer/search.h): a measured latency table
  int replicas = 1;       // parts of a batch with statistics of their own, as on so many devices
  const Peers* peers = nullptr;  // processes that train together, each with these options
  bool graph = true;             // on CUDA, steps are a CUDA graph where they can be
};

struct RunEvents {
  // Images of this epoch, and the mean loss of its steps as far as this process has read them (on a
  // GPU it reads every 50 steps); NaN before.
  std::function<void(int epoch, size_t done, size_t total, double loss)> step;
  std::function<void(const EpochResult&)> epoch;  // the checkpoint is written
  std::function<void(const std::string&)> note;   // a sentence for the user
  std::function<bool()> stop;  // asked after every step and between the test's batches
};

// Trains to the recipe's last epoch and returns true, or false when `events.stop` said so: then
// last.pt holds the position within the epoch, which may be its end, before the test. Each epoch
// adds a line to metrics.csv and replaces last.pt, and best.pt when the test accuracy (of the
// widest width) is the highest yet; a search also writes architecture.txt. With the same recipe,
// seed, device, thread count and data, a run that was resumed ends with the same bytes as one that
// was not. Throws InputError; a loss that is no longer finite is one, a peer that was lost another.
// With peers, all stop where one of them asks to, and only rank 0 writes; the weights are those of
// one process with as many replicas.
bool Train(const RunOptions& options, const RunEvents& events);

// The recipe, seed and precision inside a checkpoint of ours; InputError for others.
Recipe RecipeOf(const Checkpoint& checkpoint, const std::string& path);
uint64_t SeedOf(const Checkpoint& checkpoint, const std::string& path);
std::string PrecisionOf(const Checkpoint& checkpoint);  // fp32 where there is none

}  // namespace lbrt
