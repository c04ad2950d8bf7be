// Training runs on a tiny synthetic CIFAR-10: a resumed run ends with the same bytes, nothing is
// dropped, what is interrupted keeps its last checkpoint.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "images/error.h"
#include "tests/run_program.h"
#include "tests/tiny_cifar.h"
#include "trainer/evaluate.h"
#include "trainer/run.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTrainImages = 5 * kTinyBatch;
constexpr char kSmall[] = "mcdonnell/wrn-8-0.25";

Recipe TinyRecipe(const std::string& network) {
  Recipe recipe;
  recipe.network = network;
  recipe.batch = 8;
  recipe.rate = {Schedule::kCosine, 0.05, 0, 3, 1, {}};
  recipe.sgd = {0.9, 5e-4};
  recipe.augment = Augment::kBlack;
  recipe.preprocessing = {.channels = 3, .mean = {.485, .456, .406}, .std = {.229, .224, .225}};
  if (network.rfind("recu", 0) == 0) {
    recipe.tau_min = 0.85;
    recipe.tau_max = 0.99;
  }
  return recipe;
}

class ResumeTest : public testing::Test {
 protected:
  ResumeTest() {
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
    events.step = [&](int epoch, size_t done, size_t total) {
      EXPECT_EQ(total, kTrainImages);
      seen_[epoch].push_back(done);
    };
    events.epoch = [&](const EpochResult& result) { results_.push_back(result); };
    events.stop = std::move(stop);
    return Train(options, events);
  }

  TemporaryFolder folder_;
  std::vector<EpochResult> results_;
  std::map<int, std::vector<size_t>> seen_;  // images done after each step, by epoch
};

class ResumeOfTest : public ResumeTest, public testing::WithParamInterface<const char*> {};

TEST_P(ResumeOfTest, TwoEpochsAndOneMoreEndWithTheBytesOfThree) {
  const Recipe recipe = TinyRecipe(GetParam());
  EXPECT_TRUE(Run(Options("whole", recipe)));
  ASSERT_EQ(results_.size(), 3u);

  results_.clear();
  EXPECT_FALSE(Run(Options("parts", recipe), [&] { return results_.size() == 2; }));
  ASSERT_EQ(results_.size(), 2u);
  EXPECT_NE(TextOfFile(folder_ / "parts/last.pt"), TextOfFile(folder_ / "whole/last.pt"));
  RunOptions rest = Options("parts", recipe);
  rest.resume = folder_ / "parts/last.pt";
  EXPECT_TRUE(Run(rest));
  EXPECT_EQ(TextOfFile(folder_ / "parts/last.pt"), TextOfFile(folder_ / "whole/last.pt"));
  EXPECT_EQ(TextOfFile(folder_ / "parts/best.pt"), TextOfFile(folder_ / "whole/best.pt"));
}
INSTANTIATE_TEST_SUITE_P(Networks, ResumeOfTest, testing::Values("recu/resnet20", kSmall),
                         [](const auto& info) {
                           return std::string(info.param).substr(0, 4) == "recu" ? "Recu"
                                                                                 : "McDonnell";
                         });

TEST_F(ResumeTest, EveryImageOfAnEpochIsUsed) {
  // 60 images: batches of 8 leave 4; batches of 59 would leave one, which joins the batch before.
  static_assert(kTrainImages == 60);
  Recipe recipe = TinyRecipe(kSmall);
  recipe.rate.epochs = 1;
  Run(Options("eights", recipe));
  EXPECT_EQ(seen_[0], (std::vector<size_t>{8, 16, 24, 32, 40, 48, 56, 60}));
  seen_.clear();
  recipe.batch = 59;
  Run(Options("fifty-nines", recipe));
  EXPECT_EQ(seen_[0], (std::vector<size_t>{60}));
}

TEST_F(ResumeTest, AnInterruptedEpochKeepsTheCheckpointBeforeIt) {
  Recipe recipe = TinyRecipe(kSmall);
  EXPECT_FALSE(Run(Options("out", recipe), [&] { return seen_[1].size() == 3; }));
  EXPECT_EQ(seen_[1].back(), 24u);  // the step that ran was finished
  const Checkpoint checkpoint = ReadCheckpoint(folder_ / "out/last.pt");
  EXPECT_EQ(checkpoint.integers.at("epoch"), 1);
  RunOptions rest = Options("out", recipe);
  rest.resume = folder_ / "out/last.pt";
  EXPECT_TRUE(Run(rest));
  EXPECT_TRUE(Run(Options("whole", recipe)));
  EXPECT_EQ(TextOfFile(folder_ / "out/last.pt"), TextOfFile(folder_ / "whole/last.pt"));
}

TEST_F(ResumeTest, MetricsHaveEachEpochOnceHoweverOftenTheRunBegan) {
  const Recipe recipe = TinyRecipe(kSmall);
  Run(Options("out", recipe), [&] { return results_.size() == 2; });
  fs::copy(folder_ / "out/last.pt", folder_ / "second.pt");
  RunOptions rest = Options("out", recipe);
  for (int i = 0; i < 2; ++i) {  // again from the same checkpoint, as after a crash
    rest.resume = folder_ / "second.pt";
    EXPECT_TRUE(Run(rest));
  }
  std::istringstream lines(TextOfFile(folder_ / "out/metrics.csv"));
  std::vector<std::string> firsts;
  for (std::string line; std::getline(lines, line);) {
    firsts.push_back(line.substr(0, line.find(',')));
    EXPECT_EQ(std::count(line.begin(), line.end(), ','), 7) << line;
  }
  EXPECT_EQ(firsts, (std::vector<std::string>{"epoch", "0", "1", "2"}));
}

TEST_F(ResumeTest, ACheckpointSaysWhatItIs) {
  Recipe recipe = TinyRecipe("recu/resnet20");
  recipe.rate.epochs = 2;
  Run(Options("out", recipe));
  const Checkpoint c = ReadCheckpoint(folder_ / "out/last.pt");
  EXPECT_EQ(c.text.at("network"), "recu/resnet20");
  EXPECT_EQ(c.text.at("arguments"), "classes=10");
  EXPECT_EQ(c.text.at("recipe"), RecipeText(recipe));
  EXPECT_EQ(FromText(c.text.at("preprocessing"), "checkpoint"), recipe.preprocessing);
  EXPECT_EQ(c.text.at("labels").substr(0, 20), "airplane\nautomobile\n");
  EXPECT_EQ(c.text.at("seed"), "5");
  EXPECT_EQ(c.text.at("device"), "cpu");
  EXPECT_EQ(c.integers.at("epoch"), 2);
  EXPECT_EQ(c.numbers.at("last_accuracy"), results_.back().test_accuracy);
  EXPECT_EQ(c.numbers.at("best_accuracy"),
            std::max(results_[0].test_accuracy, results_[1].test_accuracy));
  EXPECT_EQ(c.groups.at("optimizer").size(),
            TrainerModel(NetworkOf(c, ""), at::kFloat, at::kCPU).parameters().size());
  EXPECT_EQ(SeedOf(c, "c"), 5u);
}

TEST_F(ResumeTest, TheLastCheckpointEvaluatesToWhatTheRunReported) {
  const Recipe recipe = TinyRecipe(kSmall);
  Run(Options("out", recipe));
  const Checkpoint c = ReadCheckpoint(folder_ / "out/last.pt");
  TrainerModel model(NetworkOf(c, ""), at::kFloat, at::kCPU);
  model.Load(c.state);
  const Samples test =
      Prepare(OpenDataset({folder_.path()}, Split::kTest), recipe.preprocessing, 32, 32, 10, 0);
  const auto quiet = [](size_t) {};
  const Evaluation first = Evaluate(model, test, recipe.preprocessing, quiet);
  EXPECT_EQ(first.accuracy(), results_.back().test_accuracy);
  EXPECT_EQ(first.loss, results_.back().test_loss);
  EXPECT_EQ(first.logits, Evaluate(model, test, recipe.preprocessing, quiet).logits);
}

TEST_F(ResumeTest, TrainingLearnsTheTinySet) {
  Recipe recipe = TinyRecipe(kSmall);
  recipe.augment = Augment::kNone;
  recipe.rate = {Schedule::kCosine, 0.05, 0, 12, 0, {}};
  Run(Options("out", recipe));
  EXPECT_LT(results_.back().train_loss, 0.5 * results_.front().train_loss);
  EXPECT_GT(results_.back().train_accuracy, 60);  // by chance: 10
}

TEST_F(ResumeTest, InitTakesTheWeightsAndNothingElse) {
  Recipe recipe = TinyRecipe(kSmall);
  Run(Options("first", recipe));
  recipe.rate.lr = 1e-30;  // moves nothing
  recipe.rate.epochs = 1;
  RunOptions fine = Options("fine", recipe);
  fine.init = folder_ / "first/last.pt";
  Run(fine);
  const Checkpoint a = ReadCheckpoint(folder_ / "first/last.pt");
  const Checkpoint b = ReadCheckpoint(folder_ / "fine/last.pt");
  EXPECT_EQ(a.state.at("conv0").bytes, b.state.at("conv0").bytes);
  EXPECT_EQ(b.integers.at("epoch"), 1);
}

std::string ErrorOf(const std::function<void()>& function) {
  try {
    function();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST_F(ResumeTest, RecipesThatDoNotFitTheirNetworkAreRefused) {
  Recipe recipe = TinyRecipe("recu/resnet20");
  recipe.tau_min = recipe.tau_max = 0;
  EXPECT_NE(ErrorOf([&] { Run(Options("out", recipe)); }).find("tau-min"), std::string::npos);
  recipe = TinyRecipe(kSmall);
  recipe.tau_min = recipe.tau_max = 0.9;
  EXPECT_NE(ErrorOf([&] { Run(Options("out", recipe)); }).find("tau-min"), std::string::npos);
  recipe = TinyRecipe(kSmall);
  recipe.preprocessing = {.channels = 1, .mean = {0.5}, .std = {0.5}};
  EXPECT_NE(ErrorOf([&] { Run(Options("out", recipe)); }).find("channels"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(ResumeTest, ALossThatIsNoLongerFiniteEndsTheRunInOneLine) {
  Recipe recipe = TinyRecipe(kSmall);
  recipe.rate.lr = 1e30;
  const std::string error = ErrorOf([&] { Run(Options("out", recipe)); });
  EXPECT_NE(error.find("finite"), std::string::npos) << error;
}

TEST_F(ResumeTest, AForeignCheckpointIsNotResumed) {
  Recipe recipe = TinyRecipe(kSmall);
  Checkpoint foreign;
  foreign.state = TrainerModel(BuildNetwork(kSmall, {}), at::kFloat, at::kCPU).ToStateDict();
  WriteCheckpoint(folder_ / "foreign.pt", foreign);
  RunOptions options = Options("out", recipe);
  options.resume = folder_ / "foreign.pt";
  const std::string error = ErrorOf([&] { Run(options); });
  EXPECT_NE(error.find("foreign.pt"), std::string::npos) << error;
}

TEST(MillisecondsPerStep, TimesBothForms) {
  Recipe recipe = TinyRecipe(kSmall);
  recipe.batch = 2;
  EXPECT_GT(MillisecondsPerStep(recipe, Precision::kQuantized, at::kCPU, 1), 0);
  EXPECT_GT(MillisecondsPerStep(recipe, Precision::kFloat, at::kCPU, 1), 0);
}

}  // namespace
}  // namespace lbrt
