// lbtrain as users run it: what it prints, its exit status, its errors.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "images/file.h"
#include "images/npy.h"
#include "network/checkpoint.h"
#include "tests/run_program.h"
#include "tests/tiny_cifar.h"
#include "trainer/random.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

constexpr char kProgram[] = LBRT_BIN_DIR "/lbtrain";

class LbtrainTest : public testing::Test {
 protected:
  LbtrainTest() {
    fs::create_directory(folder_ / "data");
    WriteTinyCifar(folder_ / "data");
    WriteRecipe("network = \"mcdonnell/wrn-8-0.25\"\n");
  }

  // Keys that the network needs, before those of all.
  void WriteRecipe(const std::string& keys) const {
    std::ofstream(recipe_) << keys
                           << "epochs = 2\nbatch = 16\nlr = 0.05\nschedule = \"cosine\"\n"
                              "augment = \"reflect\"\n"
                              "mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n";
  }

  static std::vector<std::string> Command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {kProgram, "--threads", "1"});
    return arguments;
  }
  static ProgramResult Run(std::vector<std::string> arguments) {
    return RunProgram(Command(std::move(arguments)));
  }
  std::vector<std::string> TrainArguments(const std::string& out,
                                          std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"--recipe", recipe_, "--data", data_, "--out", folder_ / out});
    return more;
  }
  ProgramResult Train(const std::string& out, std::vector<std::string> more = {}) const {
    return Run(TrainArguments(out, std::move(more)));
  }
  // The same, which must succeed; what it printed.
  std::string Trained(const std::string& out, std::vector<std::string> more = {}) const {
    const ProgramResult result = Train(out, std::move(more));
    EXPECT_EQ(result.status, 0) << result.error;
    EXPECT_EQ(result.error, "");  // no bar where stderr is no terminal
    return result.out;
  }
  Checkpoint Read(const std::string& path) const { return ReadCheckpoint(folder_ / path); }

  // The program ends with `status` and one line on stderr that holds `word`.
  static void ExpectRefused(const ProgramResult& result, int status, const std::string& word) {
    EXPECT_EQ(result.status, status) << result.error;
    EXPECT_NE(result.error_line().find(word), std::string::npos) << result.error;
    EXPECT_EQ(result.error.rfind("lbtrain: ", 0), 0u) << result.error;
  }
  static void ExpectHas(const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\nexpected: " << part;
  }

  TemporaryFolder folder_;
  std::string recipe_ = folder_ / "recipe.toml", data_ = folder_ / "data";
};

TEST_F(LbtrainTest, TrainsResumesAndEvaluates) {
  const std::string whole = Trained("whole");
  EXPECT_EQ(std::count(whole.begin(), whole.end(), '\n'), 3) << whole;  // 1 + 2 epochs
  ExpectHas(whole, "epoch 2/2");

  // Another run of one epoch, which the flags of --resume may repeat but not change.
  EXPECT_EQ(Train("short", {"--epochs", "1"}).status, 0);
  const std::string last = folder_ / "short/last.pt";
  ExpectRefused(Train("short", {"--resume", last}), 1, "epochs = 1");
  ExpectRefused(Train("short", {"--resume", last, "--epochs", "1", "--seed", "2"}), 1, "seed 1");
  EXPECT_EQ(Train("short", {"--resume", last, "--epochs", "1", "--seed", "1"}).status, 0);

  const ProgramResult eval = Run({"--eval", folder_ / "whole/last.pt", "--data", data_});
  EXPECT_EQ(eval.status, 0) << eval.error;
  ExpectHas(eval.out, "20 images");
}

TEST_F(LbtrainTest, ARunEndsWithItsReportWhichCanBeHadBeforeToo) {
  const std::string report = folder_ / "out/report.html";
  const auto cell = [&] {
    char text[64];
    std::snprintf(text, sizeof text, "<td>test</td><td>%.2f</td>",
                  Read("out/last.pt").numbers.at("last_accuracy"));
    return std::string(text);
  };
  Trained("out");
  ExpectHas(TextOfFile(report), cell());
  ExpectHas(TextOfFile(report), "2 epochs in ");
  fs::remove(report);
  const ProgramResult again = Run({"--report", folder_ / "out"});
  EXPECT_EQ(again.status, 0) << again.error;
  EXPECT_EQ(again.out, report + "\n");
  ExpectHas(TextOfFile(report), cell());
  ExpectRefused(Run({"--report", folder_ / "nothing"}), 1, "nothing/last.pt");

  // While a run is at work.
  RunningProgram program(Command(TrainArguments("long", {"--epochs", "2000"})));
  while (!fs::exists(folder_ / "long/last.pt"))
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const ProgramResult during = Run({"--report", folder_ / "long"});
  EXPECT_EQ(during.status, 0) << during.error;
  ExpectHas(TextOfFile(folder_ / "long/report.html"), "Test accuracy");
  program.Signal(SIGTERM);
  EXPECT_EQ(program.Wait().status, 0);
}

TEST_F(LbtrainTest, AReportStandsBesideWhatWasPublishedOfSuchARun) {
  // A published recipe, cut short to some images.
  const std::string recipes = LBRT_SOURCE_DIR "/trainer/recipes/";
  const ProgramResult result =
      Run({"--recipe", recipes + "recu-resnet20-cifar10.toml", "--data", data_, "--out",
           folder_ / "out", "--epochs", "1", "--batch", "60"});
  ASSERT_EQ(result.status, 0) << result.error;
  const std::string report = TextOfFile(folder_ / "out/report.html");
  ExpectHas(report, "<th>published: vanilla</th>");
  ExpectHas(report, "<td>87.5</td>");
  ExpectHas(report, "<td>88.0</td>");  // fine-tuned, which the recipe does not tell apart
}

TEST_F(LbtrainTest, AFinishedRunHasNothingLeftToDo) {
  Trained("out");
  const ProgramResult again =
      Run({"--resume", folder_ / "out/last.pt", "--data", data_, "--out", folder_ / "elsewhere"});
  EXPECT_EQ(again.status, 0) << again.error;
  ExpectHas(again.out, "out/last.pt has all its 2 epochs");
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
    ExpectHas(deployed.out, std::string("stem ") + stem);
    const NpyArray logits = ReadNpy(folder_ / "deployed.npy");
    EXPECT_EQ(logits.shape, floats.shape);
    for (size_t i = 0; i < logits.count(); ++i)
      EXPECT_NEAR(logits.floats()[i], floats.floats()[i], 1e-3) << i;
  }
  const ProgramResult rounded =
      Run({"--eval", last, "--data", data_, "--limit", "7", "--deploy", "--fp32-layers", "i8",
           "--logits", folder_ / "deployed.npy"});
  EXPECT_EQ(rounded.status, 0) << rounded.error;
  ExpectHas(rounded.out, "fp32 layers i8");
  EXPECT_NE(ReadFile(folder_ / "deployed.npy"), ReadFile(folder_ / "plain.npy"));
}

TEST_F(LbtrainTest, TheDataFolderMayHoldTheFolderOfFiles) {
  fs::create_directory(folder_ / "above");
  fs::rename(data_, folder_ / "above/cifar-10-batches-bin");
  EXPECT_EQ(Run({"--recipe", recipe_, "--data", folder_ / "above", "--out", folder_ / "out",
                 "--epochs", "1"})
                .status,
            0);
}

TEST_F(LbtrainTest, BenchTimesTheStepBesideThatOfFullPrecision) {
  const ProgramResult result = Run({"--bench", recipe_, "--batch", "4"});
  EXPECT_EQ(result.status, 0) << result.error;
  for (const char* word : {"quantized", "full precision", "ratio", "batch 4"})
    ExpectHas(result.out, word);
}

// --- What flags do -------------------------------------------------------------------------------

TEST_F(LbtrainTest, KeysOfTheRecipeCanBeSet) {
  Trained("out", {"--epochs", "1", "--set", "batch=20", "network=mcdonnell/wrn-8-0.5", "--set",
                  "std=0.5,0.25,0.125"});
  const Checkpoint c = Read("out/last.pt");
  EXPECT_EQ(c.text.at("network"), "mcdonnell/wrn-8-0.5");
  ExpectHas(c.text.at("recipe"), "batch = 20\n");
  ExpectHas(c.text.at("recipe"), "std = [0.5, 0.25, 0.125]\n");
  ExpectRefused(Train("o", {"--set", "colour=red"}), 1, "colour");
  ExpectRefused(Train("o", {"--set", "blocks=1,2"}), 1, "unknown argument blocks");
  ExpectRefused(Train("o", {"--set", "batch"}), 2, "KEY=VALUE");
  EXPECT_FALSE(fs::exists(folder_ / "o"));
}

TEST_F(LbtrainTest, RepeatedRunsHaveAMeanAndADeviation) {
  const std::string out =
      Trained("out", {"--epochs", "1", "--repeat", "3", "--seed", "7", "--batch", "30"});
  double mean = 0, squares = 0;
  for (const char* seed : {"7", "8", "9"}) {
    const Checkpoint c = Read(std::string("out/seed-") + seed + "/last.pt");
    EXPECT_EQ(c.text.at("seed"), seed);
    mean += c.numbers.at("last_accuracy") / 3;
  }
  for (const char* seed : {"7", "8", "9"})
    squares += std::pow(
        Read(std::string("out/seed-") + seed + "/last.pt").numbers.at("last_accuracy") - mean, 2);
  char line[100];
  std::snprintf(line, sizeof line,
                "3 runs, last epoch: mean %.2f %%, standard deviation %.2f\n", mean,
                std::sqrt(squares / 2));
  ExpectHas(out, line);
  ExpectRefused(Run({"--resume", folder_ / "out", "--data", data_, "--repeat", "2"}), 2,
                "--repeat needs --recipe");

  // A command that was stopped in its second run goes on: the first is there, the third anew.
  const std::string want = TextOfFile(folder_ / "out/seed-8/last.pt");
  fs::remove_all(folder_ / "out/seed-9");
  ASSERT_EQ(Train("out/seed-8", {"--epochs", "1", "--seed", "8", "--batch", "30"}).status, 0);
  EXPECT_TRUE(TextOfFile(folder_ / "out/seed-8/last.pt") == want);
  const std::string resumed = Trained("out", {"--epochs", "1", "--repeat", "3", "--seed", "7",
                                              "--batch", "30", "--resume", folder_ / "out"});
  ExpectHas(resumed, "out/seed-7/last.pt has all its 1 epochs");
  EXPECT_EQ(resumed.find("seed-9/last.pt has all"), std::string::npos);
  ExpectHas(resumed, line);
}

TEST_F(LbtrainTest, ASearchPrintsItsArchitectureWhichTrainingTakes) {
  WriteRecipe("network = \"edmips/cifar-resnet20\"\nblocks = [1, 1]\nchannels = [4, 8]\n"
              "size = 8\nresize = 8\nbits = \"2/2\"\n");
  const std::string found =
      Trained("found", {"--search", "--lra", "0.5", "--cd", "0.01", "--step-epoch", "1"});
  ExpectHas(found, "complexity ");
  ExpectHas(found, "layers.1.skip_conv ");
  ExpectHas(found, " bits in the mean (uniform 2/2: ");
  ExpectHas(found, "found/architecture.txt: train it with --arch");
  ExpectHas(TextOfFile(folder_ / "found/report.html"), " bits in the mean (uniform 2/2: ");
  ExpectRefused(Run({"--eval", folder_ / "found/last.pt", "--data", data_, "--deploy"}), 1,
                "search");
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, std::vector<std::string>{"--search"}}) {
    std::vector<std::string> bench = {"--bench", recipe_, "--batch", "4"};
    bench.insert(bench.end(), more.begin(), more.end());
    const ProgramResult result = Run(bench);
    EXPECT_EQ(result.status, 0) << result.error;
    ExpectHas(result.out, "ratio");
  }
  ExpectHas(Read("found/last.pt").text.at("recipe"), "milestones = [1]\n");
  const std::string architecture = TextOfFile(folder_ / "found/architecture.txt");

  // From the file and from the checkpoint; a run of its own, which needs neither afterwards.
  for (const char* file : {"found/architecture.txt", "found/last.pt"}) {
    Trained("trained", {"--arch", folder_ / file, "--epochs", "1"});
    const Arguments arguments = ParseArguments(Read("trained/last.pt").text.at("arguments"));
    EXPECT_EQ("weight_bits=" + arguments.at("weight_bits") + "\nactivation_bits=" +
                  arguments.at("activation_bits") + "\n",
              architecture);
  }
  EXPECT_EQ(Train("trained", {"--arch", folder_ / "found/last.pt", "--epochs", "1", "--resume",
                              folder_ / "trained/last.pt"})
                .status,
            0);
  fs::remove_all(folder_ / "found");
  const std::string last = folder_ / "trained/last.pt";
  const ProgramResult again =
      Run({"--resume", last, "--data", data_, "--out", folder_ / "trained"});
  EXPECT_EQ(again.status, 0) << again.error;
  ExpectRefused(Train("o", {"--arch", folder_ / "nothing"}), 1, "nothing");
  ExpectRefused(Run({"--resume", last, "--data", data_, "--set", "weight_bits=2"}), 1,
                "weight_bits");

  const ProgramResult deployed = Run({"--eval", last, "--data", data_, "--deploy"});
  EXPECT_EQ(deployed.status, 0) << deployed.error;
  ExpectHas(deployed.out, "the same class on ");
}

TEST_F(LbtrainTest, WidthsAreTrainedAndEvaluatedOneByOne) {
  WriteRecipe("network = \"any-precision/resnet20\"\nexpansion = 1\nblocks = [1, 1]\n"
              "channels = [4, 8]\nsize = 8\nresize = 8\n");
  const std::string out = Trained("out", {"--widths", "2,8", "--epochs", "1", "--set",
                                          "targets=soft"});
  ExpectHas(out, "test  8 bits ");
  ExpectHas(out, "  2 bits ");
  const std::string last = folder_ / "out/last.pt";
  const ProgramResult two = Run({"--eval", last, "--data", data_, "--width", "2", "--deploy"});
  EXPECT_EQ(two.status, 0) << two.error;
  ExpectHas(two.out, "last.pt, 2 bits: 20 images");
  const ProgramResult widest = Run({"--eval", last, "--data", data_});
  ExpectHas(widest.out, "last.pt, 8 bits: 20 images");
  ExpectRefused(Run({"--eval", last, "--data", data_, "--width", "4"}), 1, "no width 4");
  ExpectRefused(Train("o", {"--widths", "9"}), 1, "widths");
}

TEST_F(LbtrainTest, ATeacherAndInitialWeightsAreTakenFromCheckpoints) {
  WriteRecipe("network = \"recu/resnet20\"\nblocks = [1, 1]\nchannels = [4, 8]\nsize = 8\n"
              "resize = 8\ntau-min = 0.85\ntau-max = 0.99\n");
  Trained("teacher", {"--epochs", "1", "--set", "form=full-precision", "tau-min=0", "tau-max=0"});
  const std::string teacher = folder_ / "teacher/last.pt";
  const std::string said = Trained("student", {"--epochs", "1", "--teacher", teacher, "--init",
                                               teacher, "--replicas", "2"});
  ExpectHas(said, "teacher/last.pt lacks ");
  ExpectHas(said, " tensors, which start anew: layer1.0.conv1.");
  const Checkpoint c = Read("student/last.pt");
  EXPECT_EQ(c.text.at("teacher"), teacher);
  EXPECT_EQ(c.integers.at("replicas"), 2);
  ExpectRefused(Train("o", {"--teacher", folder_ / "nothing.pt"}), 1, "nothing.pt");
}

// --- Signals -------------------------------------------------------------------------------------

TEST_F(LbtrainTest, PrecisionIsPartOfARun) {
  ExpectHas(Trained("out", {"--epochs", "1", "--precision", "bf16"}), "cpu, bf16, 1 threads");
  const std::string last = folder_ / "out/last.pt";
  EXPECT_EQ(Read("out/last.pt").text.at("precision"), "bf16");
  ExpectRefused(Train("out", {"--epochs", "1", "--resume", last, "--precision", "fp32"}), 1,
                "has precision bf16, asked for fp32");
  ExpectHas(Trained("out", {"--epochs", "1", "--resume", last}), "cpu, bf16, 1 threads");
  ExpectRefused(Train("out", {"--precision", "tf32"}), 1, "--device cuda");
}

class SignalTest : public LbtrainTest {
 protected:
  static constexpr char kEpochs[] = "40";

  // Starts or goes on with a run, and sends a signal some milliseconds after an epoch was done.
  ProgramResult Interrupted(const std::string& out, int signal, int milliseconds) const {
    std::vector<std::string> arguments = TrainArguments(out, {"--epochs", kEpochs});
    const std::string last = folder_ / out + "/last.pt", metrics = folder_ / out + "/metrics.csv";
    if (fs::exists(last)) arguments.insert(arguments.end(), {"--resume", last});
    const auto before = TimeOf(metrics);
    RunningProgram program(Command(arguments));
    for (int i = 0; i < 60000 && TimeOf(metrics) == before; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    program.Signal(signal);
    return program.Wait();
  }
  static fs::file_time_type TimeOf(const std::string& path) {
    std::error_code missing;
    return fs::last_write_time(path, missing);
  }
  void ExpectTheBytesOfAWholeRun(const std::string& out) const {
    const std::string last = folder_ / out + "/last.pt";
    EXPECT_EQ(Train(out, {"--epochs", kEpochs, "--resume", last}).status, 0);
    Trained("whole", {"--epochs", kEpochs});
    for (const char* file : {"/last.pt", "/best.pt"})
      EXPECT_TRUE(TextOfFile(folder_ / out + file) == TextOfFile(folder_ / "whole" + file)) << file;
  }
};

TEST_F(SignalTest, TermEndsTheRunInOrderAndItGoesOnWithTheSameBytes) {
  Random random(3);
  for (const int signal : {SIGTERM, SIGINT, SIGTERM}) {
    const ProgramResult result =
        Interrupted("out", signal, static_cast<int>(random.Below(60)));
    ASSERT_EQ(result.status, 0) << result.error;
    EXPECT_EQ(result.error, "");
    const Checkpoint c = Read("out/last.pt");
    const int64_t epoch = c.integers.at("epoch");
    if (epoch == 40) break;  // it was faster than the signal
    const auto position = c.integers.find("position");
    const int64_t images = position == c.integers.end() ? 0 : position->second;
    ExpectHas(result.out, "stopped by signal " + std::to_string(signal) + " in epoch " +
                              std::to_string(epoch + 1) + " after " + std::to_string(images) +
                              " images; go on with --resume ");
  }
  ExpectTheBytesOfAWholeRun("out");
}

TEST_F(SignalTest, KillLosesAtMostTheRunningEpoch) {
  Random random(4);
  for (int i = 0; i < 3; ++i) {
    const ProgramResult result =
        Interrupted("out", SIGKILL, static_cast<int>(random.Below(60)));
    if (result.status == 0) break;  // it was faster than the signal
    // The epoch whose line was there when the signal came was in the checkpoint or the next.
    std::istringstream lines(TextOfFile(folder_ / "out/metrics.csv"));
    const auto epochs = std::count(std::istreambuf_iterator<char>(lines), {}, '\n') - 1;
    if (fs::exists(folder_ / "out/last.pt"))
      EXPECT_GE(Read("out/last.pt").integers.at("epoch"), epochs - 1);
    else
      EXPECT_EQ(epochs, 1);
  }
  if (fs::exists(folder_ / "out/last.pt")) ExpectTheBytesOfAWholeRun("out");
}

// --- What is refused -----------------------------------------------------------------------------

TEST_F(LbtrainTest, WrongUsageIsStatusTwo) {
  ExpectRefused(Run({"--recipes", recipe_}), 2, "--recipes");
  ExpectRefused(Run({}), 2, "--recipe");
  ExpectRefused(Run({"--recipe", recipe_, "--bench", recipe_, "--data", data_}), 2, "--bench");
  ExpectRefused(Run({"--recipe", recipe_}), 2, "--data");
  ExpectRefused(Run({"--recipe", recipe_, "--data", data_, "--batch", "1"}), 2, "batch");
  ExpectRefused(Run({"--recipe", recipe_, "--data", data_, "--replicas", "0"}), 2, "replicas");
  ExpectRefused(Run({"--recipe", recipe_, "--data", data_, "--device", "tpu"}), 2, "device");
  ExpectRefused(Run({"--resume", "x.pt", "--data", data_, "--init", "y.pt"}), 2, "--init");
  ExpectRefused(Run({"--eval", "x.pt", "--data", data_, "--stem", "i8"}), 2, "--deploy");
  ExpectRefused(Run({"--eval", "x.pt", "--data", data_, "--fp32-layers", "i8"}), 2, "--deploy");
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
  ExpectRefused(with("classes = 3\n"), 1, "label");
  ExpectRefused(with("blocks = 3\n"), 1, "blocks");
  ExpectRefused(with("latent = \n"), 1, "bad.toml");
  WriteRecipe("network = \"mcdonnell/wrn-9-1\"\n");
  ExpectRefused(Train("o"), 1, "wrn-9-1");
  WriteRecipe("network = \"nobody/net\"\n");
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
