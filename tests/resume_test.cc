// A resumed run ends with the same bytes wherever it was stopped, and what a run began with it goes
// on with.
#include <cmath>
#include <filesystem>
#include <fstream>

#include "network/bits.h"
#include "tests/training_run.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

using ResumeTest = TrainingRunTest;

class ResumeOfTest : public ResumeTest, public testing::WithParamInterface<Example> {};

TEST_P(ResumeOfTest, StoppedAnywhereItEndsWithTheBytesOfAWholeRun) {
  const Recipe recipe = RecipeFor(GetParam());
  EXPECT_TRUE(Run(Options("whole", recipe)));
  ASSERT_EQ(results_.size(), 3u);
  ASSERT_EQ(steps_, 24);
  Random random(11);
  for (int round = 0; round < 2; ++round) {
    steps_ = 0;
    const RunOptions options = Options("parts", recipe);
    const int first = 1 + static_cast<int>(random.Below(7));  // within the first epoch
    EXPECT_FALSE(Run(options, [&] { return steps_ == first; }));
    EXPECT_EQ(Read("parts/last.pt").integers.at("position"), 8 * first);
    EXPECT_FALSE(TextOfFile(folder_ / "parts/last.pt") == TextOfFile(folder_ / "whole/last.pt"));
    for (bool done = false; !done;) {
      const int next = steps_ + 1 + static_cast<int>(random.Below(12));
      done = GoOn(options, [&] { return steps_ == next; });
    }
    EXPECT_EQ(steps_, 24) << "steps were done twice or left out";
    ExpectSameFile("parts/last.pt", "whole/last.pt");
    ExpectSameFile("parts/best.pt", "whole/best.pt");
    fs::remove_all(folder_ / "parts");
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, ResumeOfTest, testing::ValuesIn(kExamples),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(ResumeTest, AStopBeforeTheTestLeavesItToTheNextRun) {
  for (const Example& example : {kSvhn, kSearch}) {
    const Recipe recipe = RecipeFor(example);
    ASSERT_TRUE(Run(Options("whole", recipe)));
    results_.clear();
    steps_ = 0;
    EXPECT_FALSE(Run(Options("parts", recipe), [&] { return steps_ == 8; }));
    EXPECT_TRUE(results_.empty());
    EXPECT_EQ(Read("parts/last.pt").integers.at("position"), 60);
    EXPECT_TRUE(GoOn(Options("parts", recipe)));
    EXPECT_EQ(results_.size(), 3u);
    EXPECT_EQ(results_[0].images_per_second, 0);  // of no training
    EXPECT_TRUE(std::isfinite(results_[0].whole_seconds));
    ExpectSameFile("parts/last.pt", "whole/last.pt");
    fs::remove_all(folder_ / "parts");
  }
}

TEST_F(ResumeTest, AStopAtTheEndOfAnEpochIsOneBetweenEpochs) {
  const Recipe recipe = RecipeFor(kMcDonnell);
  EXPECT_FALSE(Run(Options("parts", recipe), [&] { return results_.size() == 2; }));
  EXPECT_EQ(results_.size(), 2u);
  const Checkpoint c = Read("parts/last.pt");
  EXPECT_EQ(c.integers.at("epoch"), 2);
  EXPECT_EQ(c.integers.count("position"), 0u);
  EXPECT_TRUE(GoOn(Options("parts", recipe)));
  // A run that has all its epochs has nothing to do.
  const std::string before = TextOfFile(folder_ / "parts/last.pt");
  results_.clear();
  EXPECT_TRUE(GoOn(Options("parts", recipe)));
  EXPECT_TRUE(results_.empty());
  EXPECT_TRUE(TextOfFile(folder_ / "parts/last.pt") == before);
}

TEST_F(ResumeTest, ReplicasArePartOfTheRun) {
  const Recipe recipe = RecipeFor(kRecu);
  RunOptions two = Options("two", recipe);
  two.replicas = 2;
  EXPECT_FALSE(Run(two, [&] { return steps_ == 4; }));
  EXPECT_TRUE(GoOn(two));
  two.out = folder_ / "whole";
  Run(two);
  ExpectSameFile("two/last.pt", "whole/last.pt");
  Run(Options("one", recipe));
  EXPECT_FALSE(Read("one/last.pt").state.at("conv1.weight").bytes ==
               Read("two/last.pt").state.at("conv1.weight").bytes);
  ExpectRefusal([&] { GoOn(Options("two", recipe)); }, "has 2 replicas, asked for 1");
}

TEST_F(ResumeTest, TheBitsOfAFileStayWithTheRun) {
  std::ofstream(folder_ / "bits.txt") << "weight_bits=1,2,3,4,1\nactivation_bits=2,3,4,2,3\n";
  Recipe recipe = RecipeFor(kSearch);
  recipe.arguments["mode"] = "final";
  recipe.arguments["bits"] = folder_ / "bits.txt";
  EXPECT_FALSE(Run(Options("out", recipe), [&] { return steps_ == 3; }));
  fs::remove(folder_ / "bits.txt");
  RunOptions rest = Options("out", RecipeOf(Read("out/last.pt"), "last.pt"));
  EXPECT_TRUE(GoOn(rest));
  EXPECT_EQ(NetworkOf(Read("out/last.pt"), "").arguments.at("weight_bits"), "1,2,3,4,1");
}

TEST_F(ResumeTest, CheckpointsThatAreNotOfThisRunAreRefused) {
  const Recipe recipe = RecipeFor(kMcDonnell);
  Checkpoint foreign;
  foreign.state = TrainerModel(recipe.Build(), at::kFloat, at::kCPU).ToStateDict();
  WriteCheckpoint(folder_ / "foreign.pt", foreign);
  RunOptions options = Options("out", recipe);
  options.resume = folder_ / "foreign.pt";
  ExpectRefusal([&] { Run(options); }, "foreign.pt: has no recipe");
  // Within an epoch of more images than the data has.
  Run(Options("out", recipe), [&] { return steps_ == 2; });
  Checkpoint beyond = Read("out/last.pt");
  beyond.integers["position"] = 61;
  WriteCheckpoint(folder_ / "beyond.pt", beyond);
  options.resume = folder_ / "beyond.pt";
  ExpectRefusal([&] { Run(options); }, "is at image 61, the data has 60");
}

}  // namespace
}  // namespace lbrt
