// lbtrain as users run it: what it prints, its exit status, its errors.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "images/npy.h"
#include "network/checkpoint.h"
#include "tests/run_program.h"
#include "tests/tiny_cifar.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

constexpr char kProgram[] = LBRT_BIN_DIR "/lbtrain";

class LbtrainTest : public testing::Test {
 protected:
  LbtrainTest() {
    fs::create_directory(folder_ / "data");
    WriteTinyCifar(folder_ / "data");
    std::ofstream(recipe_) << "network = \"mcdonnell/wrn-8-0.25\"\n"
                              "epochs = 2\nbatch = 16\nlr = 0.05\nschedule = \"cosine\"\n"
                              "augment = \"reflect\"\n"
                              "mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n";
  }

  ProgramResult Run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {kProgram, "--threads", "1"});
    return RunProgram(std::move(arguments));
  }
  ProgramResult Train(const std::string& out, std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"--recipe", recipe_, "--data", data_, "--out", folder_ / out});
    return Run(std::move(more));
  }

  // The program ends with `status` and one line on stderr that holds `word`.
  static void ExpectRefused(const ProgramResult& result, int status, const std::string& word) {
    EXPECT_EQ(result.status, status) << result.error;
    EXPECT_NE(result.error_line().find(word), std::string::npos) << result.error;
    EXPECT_EQ(result.error.rfind("lbtrain: ", 0), 0u) << result.error;
  }

  TemporaryFolder folder_;
  std::string recipe_ = folder_ / "recipe.toml", data_ = folder_ / "data";
};

TEST_F(LbtrainTest, TrainsResumesAndEvaluates) {
  const ProgramResult whole = Train("whole");
  EXPECT_EQ(whole.status, 0) << whole.error;
  EXPECT_EQ(whole.error, "");  // no bar where stderr is no terminal
  EXPECT_EQ(std::count(whole.out.begin(), whole.out.end(), '\n'), 3) << whole.out;  // 1 + 2 epochs
  EXPECT_NE(whole.out.find("epoch 2/2"), std::string::npos) << whole.out;

  // Another run of one epoch, which the flags of --resume may repeat but not change.
  EXPECT_EQ(Train("short", {"--epochs", "1"}).status, 0);
  const std::string last = folder_ / "short/last.pt";
  ExpectRefused(Train("short", {"--resume", last}), 1, "epochs = 1");
  ExpectRefused(Train("short", {"--resume", last, "--epochs", "1", "--seed", "2"}), 1, "seed 1");
  EXPECT_EQ(Train("short", {"--resume", last, "--epochs", "1", "--seed", "1"}).status, 0);

  const ProgramResult eval = Run({"--eval", folder_ / "whole/last.pt", "--data", data_});
  EXPECT_EQ(eval.status, 0) << eval.error;
  EXPECT_NE(eval.out.find("20 images"), std::string::npos) << eval.out;
}

TEST_F(LbtrainTest, WritesLogitsOfTheFloatAndOfTheDeployedNetwork) {
  ASSERT_EQ(Train("out").status, 0);
  const std::string last = folder_ / "out/last.pt";
  const ProgramResult plain =
      Run({"--eval", last, "--data", data_, "--limit", "7", "--logits", folder_ / "plain.npy"});
  EXPECT_EQ(plain.status, 0) << plain.error;
  const NpyArray floats = ReadNpy(folder_ / "plain.npy");
  EXPECT_EQ(floats.shape, (std::vector<int64_t>{7, 10}));
  for (const char* stem : {"i24", "f32"}) {
    const ProgramResult deployed = Run({"--eval", last, "--data", data_, "--limit", "7", "--deploy",
                                        "--stem", stem, "--logits", folder_ / "deployed.npy"});
    EXPECT_EQ(deployed.status, 0) << deployed.error;
    EXPECT_NE(deployed.out.find(std::string("stem ") + stem), std::string::npos) << deployed.out;
    const NpyArray logits = ReadNpy(folder_ / "deployed.npy");
    EXPECT_EQ(logits.shape, floats.shape);
    for (size_t i = 0; i < logits.count(); ++i)
      EXPECT_NEAR(logits.floats()[i], floats.floats()[i], 1e-3) << i;
  }
}

TEST_F(LbtrainTest, TheDataFolderMayHoldTheFolderOfFiles) {
  fs::create_directory(folder_ / "above");
  fs::rename(data_, folder_ / "above/cifar-10-batches-bin");
  EXPECT_EQ(Run({"--recipe", recipe_, "--data", folder_ / "above", "--out", folder_ / "out",
                 "--epochs", "1"})
                .status,
            0);
}

TEST_F(LbtrainTest, BenchTimesTheStepBesideThePlainNetworks) {
  const ProgramResult result = Run({"--bench", recipe_, "--batch", "4"});
  EXPECT_EQ(result.status, 0) << result.error;
  for (const char* word : {"quantized", "plain float", "ratio", "batch 4"})
    EXPECT_NE(result.out.find(word), std::string::npos) << result.out;
}

TEST_F(LbtrainTest, ASignalEndsTheRunAndTheCheckpointStays) {
  // Far too many epochs; some of them are done when the signal comes.
  const ProgramResult result = RunProgram(
      {"timeout", "--preserve-status", "-s", "TERM", "5", kProgram, "--threads", "1", "--recipe",
       recipe_, "--data", data_, "--out", folder_ / "out", "--epochs", "100000"});
  EXPECT_EQ(result.status, 128 + 15);
  EXPECT_NE(result.error_line().find("--resume"), std::string::npos) << result.error;
  const Checkpoint checkpoint = ReadCheckpoint(folder_ / "out/last.pt");
  const int64_t epoch = checkpoint.integers.at("epoch");
  EXPECT_GT(epoch, 0);
  EXPECT_NE(result.error.find("in epoch " + std::to_string(epoch + 1)), std::string::npos)
      << result.error << epoch;
}

TEST_F(LbtrainTest, WrongUsageIsStatusTwo) {
  ExpectRefused(Run({"--recipes", recipe_}), 2, "--recipes");
  ExpectRefused(Run({}), 2, "--recipe");
  ExpectRefused(Run({"--recipe", recipe_, "--bench", recipe_, "--data", data_}), 2, "--bench");
  ExpectRefused(Run({"--recipe", recipe_}), 2, "--data");
  ExpectRefused(Run({"--recipe", recipe_, "--data", data_, "--batch", "1"}), 2, "batch");
  ExpectRefused(Run({"--recipe", recipe_, "--data", data_, "--device", "tpu"}), 2, "device");
  ExpectRefused(Run({"--eval", "x.pt", "--data", data_, "--stem", "i8"}), 2, "--deploy");
  ExpectRefused(Run({"--eval", "x.pt", "--data", data_, "--stem", "i7", "--deploy"}), 2, "stem");
}

TEST_F(LbtrainTest, ADeviceThatIsNotThereIsToldInOneLine) {
  const ProgramResult result = Run({"--bench", recipe_, "--batch", "4", "--device", "cuda"});
  if (result.status == 0) GTEST_SKIP() << "this machine has a CUDA device";
  ExpectRefused(result, 1, "cuda");
}

TEST_F(LbtrainTest, MissingFilesAreRefusedInOneLine) {
  const std::string nothing = folder_ / "nothing";
  ExpectRefused(Run({"--recipe", nothing, "--data", data_}), 1, nothing);
  ExpectRefused(Run({"--recipe", recipe_, "--data", nothing, "--out", folder_ / "o"}), 1, nothing);
  ExpectRefused(Run({"--resume", nothing, "--data", data_}), 1, nothing);
  ExpectRefused(Run({"--eval", nothing, "--data", data_}), 1, nothing);
  EXPECT_FALSE(fs::exists(folder_ / "o"));
}

TEST_F(LbtrainTest, RecipesAndCheckpointsThatAreNoneAreRefusedInOneLine) {
  const auto with = [&](const std::string& line) {
    std::ofstream(folder_ / "bad.toml") << TextOfFile(recipe_) << line;
    return Run({"--recipe", folder_ / "bad.toml", "--data", data_, "--out", folder_ / "o"});
  };
  ExpectRefused(with("learning-rate = 1\n"), 1, "learning-rate");
  ExpectRefused(with("arguments = \"classes=3\"\n"), 1, "label");
  ExpectRefused(with("arguments = \"colours=3\"\n"), 1, "colours");
  std::string text = TextOfFile(recipe_);
  text.replace(text.find("mcdonnell/wrn-8-0.25"), 20, "mcdonnell/wrn-9-1");
  std::ofstream(recipe_) << text;
  ExpectRefused(Train("o"), 1, "wrn-9-1");
  text.replace(text.find("mcdonnell/wrn-9-1"), 17, "nobody/net");
  std::ofstream(recipe_) << text;
  ExpectRefused(Train("o"), 1, "unknown network");
  ExpectRefused(Run({"--eval", recipe_, "--data", data_}), 1, "recipe.toml");
}

TEST_F(LbtrainTest, AFullDiskIsToldAndLeavesNoPartOfACheckpoint) {
  // Files of at most 8 blocks; metrics.csv fits, a checkpoint does not.
  const ProgramResult result =
      RunProgram({"sh", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh", kProgram, "--threads",
                  "1", "--recipe", recipe_, "--data", data_, "--out", folder_ / "out"});
  ExpectRefused(result, 1, ".pt");
  for (const auto& entry : fs::directory_iterator(folder_ / "out"))
    EXPECT_EQ(entry.path().filename(), "metrics.csv");
  ASSERT_EQ(Train("good", {"--epochs", "1"}).status, 0);
  ExpectRefused(Run({"--eval", folder_ / "good/last.pt", "--data", data_, "--logits", "/dev/full"}),
                1, "/dev/full");
}

}  // namespace
}  // namespace lbrt
