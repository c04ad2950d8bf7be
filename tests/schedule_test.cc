// Learning rates and tau: the published sequences of methods.md.
#include "trainer/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <utility>

#include "tests/image_files.h"

namespace lbrt {
namespace {

LearningRate Rate(Schedule schedule, int epochs, int warmup = 0) {
  LearningRate rate;
  rate.schedule = schedule;
  rate.epochs = epochs;
  rate.warmup = warmup;
  return rate;
}

TEST(LearningRate, RestartsAreThePublishedSequence) {  // methods.md 3.4
  LearningRate rate = Rate(Schedule::kRestarts, 256);
  rate.lr_min = 1e-4;
  const double want[] = {.05005, .0001, .1, .05005, .1, .08537, .05005, .01473, .1, .0962};
  for (int epoch = 0; epoch < 10; ++epoch) EXPECT_NEAR(rate.At(epoch), want[epoch], 5e-6) << epoch;
  EXPECT_NEAR(rate.At(255), 1.15e-4, 5e-7);
  for (const int start : {16, 32, 64, 128}) EXPECT_DOUBLE_EQ(rate.At(start), 0.1);
}

TEST(LearningRate, CosineWithWarmUpIsThePublishedOne) {  // methods.md 4.4, 9
  LearningRate rate = Rate(Schedule::kCosine, 600, 5);
  EXPECT_DOUBLE_EQ(rate.At(0), 0.02);
  EXPECT_DOUBLE_EQ(rate.At(3), 0.08);
  EXPECT_DOUBLE_EQ(rate.At(4), 0.1);
  EXPECT_DOUBLE_EQ(rate.At(5), 0.05 * (1 + std::cos(std::numbers::pi / 596)));
  EXPECT_DOUBLE_EQ(rate.At(599), 0.05 * (1 + std::cos(std::numbers::pi * 595 / 596)));
  rate.warmup = 0;
  EXPECT_DOUBLE_EQ(rate.At(0), 0.1);
  EXPECT_NEAR(rate.At(300), 0.05, 1e-12);
}

TEST(LearningRate, LinearFallsToZeroAndAfterAWarmUpNotQuite) {  // methods.md 4.4
  LearningRate rate = Rate(Schedule::kLinear, 600);
  EXPECT_DOUBLE_EQ(rate.At(0), 0.1);
  EXPECT_DOUBLE_EQ(rate.At(300), 0.05);
  EXPECT_NEAR(rate.At(599), 0.1 / 600, 1e-15);
  rate.warmup = 5;
  EXPECT_DOUBLE_EQ(rate.At(0), 0.02);
  EXPECT_DOUBLE_EQ(rate.At(4), 0.1);
  EXPECT_NEAR(rate.At(5), 0.1005, 5e-6);
  EXPECT_NEAR(rate.At(599), 0.0008, 5e-5);
  for (const int epoch : {5, 100, 599})
    EXPECT_NEAR(rate.At(epoch), 0.1 * (1 - (epoch - 8) / 596.0), 1e-15) << epoch;
}

TEST(LearningRate, MilestonesActFourEpochsLateAfterAWarmUpOfFive) {  // methods.md 4.4
  LearningRate rate = Rate(Schedule::kStep, 200);
  rate.milestones = {80, 120};
  EXPECT_DOUBLE_EQ(rate.At(79), 0.1);
  EXPECT_DOUBLE_EQ(rate.At(80), 0.01);
  EXPECT_NEAR(rate.At(120), 0.001, 1e-15);
  rate.warmup = 5;
  EXPECT_DOUBLE_EQ(rate.At(83), 0.1);
  EXPECT_DOUBLE_EQ(rate.At(84), 0.01);
}

TEST(LearningRate, MilestonesMayHaveFactorsOfTheirOwn) {  // methods.md 5.4
  LearningRate rate = Rate(Schedule::kStep, 200);
  rate.milestones = {80, 120, 160};
  rate.factors = {0.1, 0.1, 0.5};
  EXPECT_NEAR(rate.At(159), 0.001, 1e-15);
  EXPECT_NEAR(rate.At(160), 0.0005, 1e-15);
  rate = Rate(Schedule::kStep, 50);
  rate.lr = 1e-4;
  rate.milestones = {30, 40, 45};
  rate.factors = {0.2, 0.2, 0.5};
  EXPECT_NEAR(rate.At(29), 1e-4, 1e-18);
  EXPECT_NEAR(rate.At(30), 2e-5, 1e-18);
  EXPECT_NEAR(rate.At(44), 4e-6, 1e-18);
  EXPECT_NEAR(rate.At(49), 2e-6, 1e-18);
  rate.factors = {0.2};  // 0.1 at the others
  EXPECT_NEAR(rate.At(49), 2e-7, 1e-18);
}

TEST(LearningRate, FactorsArePartsOfTheHighest) {
  LearningRate rate = Rate(Schedule::kStep, 25);
  rate.milestones = {10, 20};
  for (int epoch = 0; epoch < 25; ++epoch)
    EXPECT_DOUBLE_EQ(rate.At(epoch), 0.1 * rate.FactorAt(epoch));
  EXPECT_DOUBLE_EQ(rate.FactorAt(9), 1);
  EXPECT_DOUBLE_EQ(rate.FactorAt(10), 0.1);
}

TEST(Schedule, NamesAreReadAndWritten) {
  for (const Schedule schedule :
       {Schedule::kCosine, Schedule::kStep, Schedule::kLinear, Schedule::kRestarts})
    EXPECT_EQ(ParseSchedule(ScheduleName(schedule)), schedule);
  ExpectRefusal([] { ParseSchedule("cosinus"); }, "cosine, step, linear or restarts");
}

TEST(RecuTau, RisesExponentiallyAsPublished) {  // methods.md 4.1
  const std::pair<int, double> want[] = {
      {0, 0.85}, {100, 0.86478}, {300, 0.90286}, {500, 0.956}, {599, 0.98963}};
  for (const auto& [epoch, tau] : want)
    EXPECT_NEAR(RecuTau(0.85, 0.99, epoch, 600), tau, 6e-6) << epoch;
  EXPECT_EQ(static_cast<float>(RecuTau(0.85, 0.99, 100, 600)), 0.8647766709327698f);
}

}  // namespace
}  // namespace lbrt
