// What the command-line tools print.
#include <gtest/gtest.h>

#include "apps/progress.h"

namespace lbrt {
namespace {

TEST(Progress, TellsTheRateOfWhatWasDoneSinceItBegan) {
  EXPECT_EQ(ProgressText("epoch 1/2", 0, 600, 1000, 6, ""),
            "epoch 1/2 [##################............] 600/1000, 100/s, 4 s left");
  // A run that goes on at image 500.
  EXPECT_EQ(ProgressText("epoch 1/2", 500, 600, 1000, 2, ""),
            "epoch 1/2 [##################............] 600/1000, 50/s, 8 s left");
  EXPECT_EQ(ProgressText("a", 0, 7, 7, 1, ""),
            "a [##############################] 7/7, 7/s, 0 s left");
}

TEST(Progress, EndsWithTheDetail) {
  EXPECT_EQ(ProgressText("a", 0, 7, 7, 1, "loss 0.5"),
            "a [##############################] 7/7, 7/s, 0 s left, loss 0.5");
  EXPECT_EQ(ProgressText("a", 0, 0, 7, 0, "loss 0.5"),
            "a [..............................] 0/7, loss 0.5");
}

TEST(Progress, TellsNoRateWhereNothingWasDoneYet) {
  const std::string none = "a [###############...............] 500/1000";
  EXPECT_EQ(ProgressText("a", 500, 500, 1000, 0.001, ""), none);
  EXPECT_EQ(ProgressText("a", 0, 500, 1000, 0, ""), none);
  EXPECT_EQ(ProgressText("a", 0, 0, 0, 0, ""), "a [##############################] 0/0");
}

}  // namespace
}  // namespace lbrt
