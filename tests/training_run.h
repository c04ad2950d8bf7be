// Small training runs on a tiny synthetic CIFAR-10, one of each system, for tests of what a run
// does.
#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/run_program.h"
#include "tests/tiny_cifar.h"
#include "trainer/run.h"

namespace lbrt {

inline constexpr size_t kTrainImages = 5 * kTinyBatch;

// A small network of each system. Its images are the data's, shrunk to `size`.
struct Example {
  const char* name;
  const char* network;
  const char* arguments;
  int size = 32;
};
inline const Example kMcDonnell = {"McDonnell", "mcdonnell/wrn-8-0.25", ""};
inline const Example kRecu = {"Recu", "recu/resnet20", "blocks=1,1 channels=4,8 size=8", 8};
// Widths, Adam and dropout: the random state moves within an epoch.
inline const Example kSvhn = {"AnyPrecision", "any-precision/svhn", "expansion=1 widths=1,32", 40};
inline const Example kSearch = {"EdmipsSearch", "edmips/cifar-resnet20",
                                "mode=search blocks=1,1 channels=4,8 size=8", 8};
inline const Example kTernary = {"Ternary", "ternary/resnet20", "blocks=1,1 channels=4,8 size=8",
                                 8};
inline const Example kExamples[] = {kMcDonnell, kRecu, kSvhn, kSearch, kTernary};

inline Recipe RecipeFor(const Example& example) {
  Recipe recipe;
  recipe.network = example.network;
  recipe.arguments = ParseArguments(example.arguments);
  recipe.batch = 8;
  recipe.rate.schedule = Schedule::kCosine;
  recipe.rate.lr = 0.05;
  recipe.rate.epochs = 3;
  recipe.rate.warmup = 1;
  recipe.optimizer.weight_decay = 5e-4;
  recipe.augment = Augmentation::kBlack;
  recipe.preprocessing = {.channels = 3, .mean = {.485, .456, .406}, .std = {.229, .224, .225}};
  if (example.size != 32) recipe.preprocessing.resize = example.size;
  const std::string system = example.name;
  if (system == "Recu") {
    recipe.tau_min = 0.85;
    recipe.tau_max = 0.99;
  }
  if (system == "AnyPrecision") {
    recipe.optimizer.kind = OptimizerOptions::kAdam;
    recipe.rate.lr = 1e-3;
  }
  if (system == "EdmipsSearch") {
    recipe.cd = 0.1;
    recipe.lra = 1;
  }
  if (system == "Ternary") recipe.optimizer.nesterov = true;
  return recipe;
}

class TrainingRunTest : public testing::Test {
 protected:
  TrainingRunTest() {
    at::set_num_threads(1);  // tests share the machine
    WriteTinyCifar(folder_.path());
  }

  RunOptions Options(const std::string& out, const Recipe& recipe) const {
    RunOptions options;
    options.recipe = recipe;
    options.data = folder_.path();
    options.out = folder_ / out;
    options.seed = 5;
    return options;
  }

  // Trains until `stop` says so; the epochs that were finished are in results_.
  bool Run(
      const RunOptions& options, std::function<bool()> stop = [] { return false; }) {
    RunEvents events;
    events.step = [&](int epoch, size_t done, size_t total, double loss) {
      EXPECT_EQ(total, kTrainImages);
      seen_[epoch].push_back(done);
      loss_[epoch] = loss;
      ++steps_;
    };
    events.epoch = [&](const EpochResult& result) { results_.push_back(result); };
    events.note = [&](const std::string& text) { note_ = text; };
    events.stop = std::move(stop);
    return Train(options, events);
  }
  // Goes on from the last checkpoint of `out`.
  bool GoOn(
      RunOptions options, std::function<bool()> stop = [] { return false; }) {
    options.resume = options.out + "/last.pt";
    return Run(options, std::move(stop));
  }

  void ExpectSameFile(const std::string& a, const std::string& b) const {
    EXPECT_TRUE(TextOfFile(folder_ / a) == TextOfFile(folder_ / b)) << a << " and " << b;
  }
  Checkpoint Read(const std::string& path) const { return ReadCheckpoint(folder_ / path); }

  TemporaryFolder folder_;
  std::vector<EpochResult> results_;
  std::map<int, std::vector<size_t>> seen_;  // images done after each step, by epoch
  std::map<int, double> loss_;               // that the epoch's last step told
  int steps_ = 0;
  std::string note_;
};

}  // namespace lbrt
