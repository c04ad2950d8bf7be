// Whole runs on a CUDA device, at every precision: what they leave behind is a network that a CPU
// evaluates as the device did.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "images/dataset.h"
#include "tests/image_files.h"
#include "tests/tiny_cifar.h"
#include "trainer/evaluate.h"
#include "trainer/run.h"

namespace lbrt {
namespace {

class CudaRunTest : public testing::TestWithParam<const char*> {
 protected:
  CudaRunTest() {
    WriteTinyCifar(folder_.path());
    recipe_.network = "any-precision/resnet20";
    recipe_.arguments = {
        {"expansion", "1"}, {"blocks", "1,1"}, {"channels", "8,16"}, {"widths", "2,32"}};
    recipe_.batch = 8;
    recipe_.rate.lr = 1e-3;
    recipe_.rate.epochs = 3;
    recipe_.optimizer.kind = OptimizerOptions::kAdam;
    recipe_.augment = Augmentation::kBlack;
    recipe_.preprocessing = {.channels = 3, .mean = {.5, .5, .5}, .std = {.25, .25, .25}};
  }
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }

  RunOptions Options(const std::string& out) const {
    RunOptions options;
    options.recipe = recipe_;
    options.data = folder_.path();
    options.out = folder_ / out;
    options.device = "cuda";
    options.precision = GetParam();
    return options;
  }
  bool Run(
      const RunOptions& options, const std::function<bool()>& stop = [] { return false; }) {
    RunEvents events;
    events.step = [&](int, size_t, size_t, double) { ++steps_; };
    events.epoch = [&](const EpochResult& result) { results_.push_back(result); };
    events.stop = stop;
    return Train(options, events);
  }

  TemporaryFolder folder_;
  Recipe recipe_;
  int steps_ = 0;
  std::vector<EpochResult> results_;
};

TEST_P(CudaRunTest, EvaluatesOnACpuToWhatTheDeviceSaid) {
  for (const bool graph : {true, false}) {
    results_.clear();
    RunOptions options = Options("out");
    options.graph = graph;
    ASSERT_TRUE(Run(options));
    ASSERT_EQ(results_.size(), 3u);
    EXPECT_LT(results_.back().train_loss, results_.front().train_loss);
    const Checkpoint c = ReadCheckpoint(folder_ / "out/last.pt");
    TrainerModel model(NetworkOf(c, ""), at::kFloat, at::kCPU);
    model.Load(c.state);
    const Samples test =
        Prepare(OpenDataset({folder_.path()}, Split::kTest), recipe_.preprocessing, 32, 32, 10, 0);
    for (const WidthResult& width : results_.back().widths) {
      const Evaluation e = Evaluate(model, width.width, test, recipe_.preprocessing, [](size_t) {});
      // Sums in another order: a code at a threshold may be another one.
      EXPECT_NEAR(e.loss(), width.test_loss, 0.05 * width.test_loss) << width.width << " bits";
    }
  }
}

TEST_P(CudaRunTest, GoesOnWithinAnEpochAndDoesNoStepTwice) {
  EXPECT_FALSE(Run(Options("out"), [&] { return steps_ == 11; }));
  EXPECT_EQ(ReadCheckpoint(folder_ / "out/last.pt").integers.at("position"), 24);
  RunOptions on = Options("out");
  on.resume = folder_ / "out/last.pt";
  EXPECT_TRUE(Run(on));
  EXPECT_EQ(steps_, 24);
  EXPECT_EQ(results_.size(), 3u);
  for (const EpochResult& epoch : results_) EXPECT_TRUE(std::isfinite(epoch.train_loss));
}

TEST_P(CudaRunTest, ALossThatIsNoLongerFiniteEndsTheRunAndLeavesNoCheckpoint) {
  recipe_.optimizer.kind = OptimizerOptions::kSgd;
  recipe_.rate.lr = 1e30;
  const std::string line = Refusal([&] { Run(Options("out")); });
  EXPECT_EQ(line.find("epoch 1, "), 0u) << line;
  EXPECT_NE(line.find("finite"), std::string::npos) << line;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out/last.pt"));
}

INSTANTIATE_TEST_SUITE_P(Precisions, CudaRunTest, testing::Values("fp32", "tf32", "bf16"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lbrt
