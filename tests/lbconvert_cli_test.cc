// lbconvert as a user meets it: what it writes, what it says, and what it refuses.
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <sstream>

#include "images/file.h"
#include "images/write.h"
#include "network/checkpoint.h"
#include "tests/graphs.h"
#include "tests/run_program.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

class LbconvertTest : public testing::Test {
 protected:
  LbconvertTest() {
    checkpoint_.state = RandomTensors(BuildNetwork("recu/resnet20", {}));
    checkpoint_.text["network"] = "recu/resnet20";
    checkpoint_.text["arguments"] = "classes=10";
    checkpoint_.text["recipe"] = "epochs = 3\n";
    checkpoint_.integers["epoch"] = 3;
    WriteImage("image.png", 32);
  }

  void WriteImage(const std::string& name, int size) {
    WritePng(folder_ / name, NoiseImage(size, size, 3));
  }
  void WriteText(const std::string& name, const std::string& text) {
    WriteFile(folder_ / name, BytesOf(text));
  }

  ProgramResult Run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(LBRT_BIN_DIR) + "/lbconvert");
    return RunProgram(arguments);
  }
  // Of checkpoint_, as it is now.
  ProgramResult Convert(const std::vector<std::string>& flags = {}) {
    WriteCheckpoint(ckpt_, checkpoint_);
    std::vector<std::string> arguments = {ckpt_, model_};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return Run(arguments);
  }

  // Exit status 1, one line that says `part`, and nothing left behind.
  void ExpectRefused(const ProgramResult& result, const std::string& part) {
    EXPECT_EQ(result.status, 1);
    EXPECT_EQ(result.error_line().substr(0, 11), "lbconvert: ");
    EXPECT_NE(result.error.find(part), std::string::npos) << result.error;
    for (const auto& entry : fs::directory_iterator(folder_.path()))
      EXPECT_EQ(entry.path().filename().string().find("model"), std::string::npos) << entry.path();
  }
  void ExpectUsageError(const ProgramResult& result, const std::string& part) {
    EXPECT_EQ(result.status, 2);
    EXPECT_EQ(result.error_line().substr(0, 11), "lbconvert: ");
    EXPECT_NE(result.error.find(part), std::string::npos) << result.error;
  }
  static void ExpectSays(const ProgramResult& result, const std::string& part) {
    EXPECT_EQ(result.status, 0) << result.error;
    EXPECT_NE(result.out.find(part), std::string::npos) << result.out;
  }

  TemporaryFolder folder_;
  const std::string ckpt_ = folder_ / "ckpt.pt", model_ = folder_ / "model.lbm";
  const std::string image_ = folder_ / "image.png";
  Checkpoint checkpoint_;
};

TEST_F(LbconvertTest, VerifiesEveryOpOfEveryStemOnEveryInstructionSet) {
  for (const char* stem : {"i24", "i16", "i8", "f32"}) {
    const ProgramResult result = Convert({"--stem", stem, "--verify", image_});
    ExpectSays(result, "verified: 1 image, 24 ops, on scalar");
    ExpectSays(result, "equal to the interpreter bit by bit");
  }
}

TEST_F(LbconvertTest, AForeignCheckpointNeedsItsNetworksName) {
  checkpoint_ = {};
  checkpoint_.state = RandomTensors(BuildNetwork("mcdonnell/wrn-20-1", {{"classes", "100"}}));
  ExpectRefused(Convert(), "mcdonnell/wrn-D-W");
  ExpectSays(Convert({"--network", "mcdonnell/wrn-20-1", "--verify", image_}), "23 ops");
  ExpectSays(Run({"--describe", model_}), "1x1x100");
  ExpectSays(Run({"--describe", model_}), "aquarium_fish");
}

// The checkpoint becomes one of another network.
void Become(Checkpoint& checkpoint, const std::string& network, const std::string& arguments) {
  checkpoint.state = RandomTensors(BuildNetwork(network, ParseArguments(arguments)));
  checkpoint.text["network"] = network;
  checkpoint.text["arguments"] = arguments;
}

TEST_F(LbconvertTest, AModelHasTheWidthsOfAnAnyPrecisionNetworkOrSomeOfThem) {
  Become(checkpoint_, "any-precision/resnet20", "blocks=1,1 channels=8,16 expansion=1");
  ExpectRefused(Convert({"--widths", "1,3"}), "has no width 3, expected one of: 1, 2, 4, 8, 32");
  ExpectUsageError(Convert({"--widths", "1,33"}), "33");
  const ProgramResult all = Convert({"--verify", image_});
  ExpectSays(all, "quantize");
  for (const char* width : {"1", "2", "4", "8"})
    ExpectSays(all, std::string("verified, width ") + width + ": 1 image");
  ExpectSays(Run({"--describe", model_}), "widths: 1,2,4,8");
  ExpectSays(Run({"--describe", model_}), "at width 8:");
  const auto whole = fs::file_size(model_);
  const ProgramResult one = Convert({"--widths", "2", "--verify", image_});
  ExpectSays(one, "2 bits");
  ExpectSays(one, "0 to 3");
  ExpectSays(one, "verified: 1 image");
  ExpectSays(Run({"--describe", model_}), "widths: 2");
  EXPECT_LT(fs::file_size(model_), whole);
  ExpectSays(Convert({"--widths", "8,32,2,8", "--verify", image_}), "verified, width 32: 1 image");
  ExpectSays(Run({"--describe", model_}), "widths: 2,8,32");
}

// The last number but one of the line of a table that begins with `width`.
size_t FileBytes(const std::string& text, const std::string& width) {
  std::istringstream lines(text);
  for (std::string line, first, bytes; std::getline(lines, line);) {
    std::istringstream words(line);
    if (!(words >> first >> bytes) || first != width) continue;
    std::erase(bytes, ',');
    return std::stoul(bytes);
  }
  return 0;
}

TEST_F(LbconvertTest, AModelIsCutBehindTheWeightsOfAWidth) {
  Become(checkpoint_, "any-precision/resnet20", "blocks=1,1 channels=8,16 expansion=1");
  const ProgramResult converted = Convert();
  const std::string described = Run({"--describe", model_}).out;
  const std::vector<uint8_t> whole = ReadFile(model_);
  const std::string cut = folder_ / "cut.lbm", head = folder_ / "head.lbm";
  for (const char* width : {"1", "2", "4", "8"}) {
    const size_t bytes = FileBytes(described, width);
    EXPECT_EQ(FileBytes(converted.out, width), bytes);
    ExpectSays(Run({"--truncate", width, model_, cut}), "widths 1");
    ASSERT_EQ(ReadFile(cut), std::vector<uint8_t>(whole.begin(),
                                                  whole.begin() + static_cast<ptrdiff_t>(bytes)));
    ExpectSays(Run({"--describe", cut}), std::string("at width ") + width + ":");
  }
  EXPECT_EQ(ReadFile(cut).size(), whole.size());
  ASSERT_EQ(Run({"--truncate", "2", model_, cut}).status, 0);
  ExpectSays(Run({"--truncate", "1", cut, head}), "widths 1\n");
  fs::remove(head);
  const ProgramResult gone = Run({"--truncate", "4", cut, head});
  EXPECT_EQ(gone.status, 1);
  EXPECT_NE(gone.error_line().find("the file ends before the weights of width 4, it has those of "
                                   "1 2"),
            std::string::npos)
      << gone.error;
  EXPECT_FALSE(fs::exists(head));
  ExpectUsageError(Run({"--truncate", "3", model_, head}), "has 1 2 4 8");
  ExpectUsageError(Run({"--truncate", "2", model_, model_}), "would be overwritten");
  ExpectUsageError(Run({"--truncate", "2", "--widths", "2", model_, head}), "--widths");
  ASSERT_EQ(Convert({"--widths", "4"}).status, 0);
  EXPECT_EQ(Run({"--truncate", "4", model_, head}).status, 1) << "nothing to cut";
}

TEST_F(LbconvertTest, ANetworkThatCannotBeSwitchedHasNoWidths) {
  ExpectRefused(Convert({"--widths", "2"}), "has no width 2, expected none");
}

// Training divided the stem's weights by the deviations of its own preprocessing (methods.md 8a).
TEST_F(LbconvertTest, AFixedPointStemKeepsTheNormalisationItWasTrainedWith) {
  Become(checkpoint_, "recu/resnet20", "blocks=1,1 channels=8,16 stem=i8");
  const ProgramResult result = Convert({"--verify", image_});
  ExpectSays(result, "i8");
  ExpectSays(result, "verified: 1 image");
  fs::remove(model_);
  WriteText("p.txt", "channels = 3\nmean = 0 0 0\nstd = .1 .2 .3\n");
  ExpectRefused(Convert({"--preprocess", folder_ / "p.txt"}), "its deviations differ");
}

TEST_F(LbconvertTest, SaysWhatBecameOfPlanesAndPoolings) {
  Become(checkpoint_, "ternary/resnet18", "blocks=1,1 channels=8,16 classes=10 size=32 t_ex=2");
  WriteText("p.txt", "channels = 3\nmean = 0 0 0\nstd = 1 1 1\n");
  WriteText("l.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
  const ProgramResult result = Convert({"--preprocess", folder_ / "p.txt", "--labels",
                                        folder_ / "l.txt", "--verify", image_});
  ExpectSays(result, "ternary");
  ExpectSays(result, "max pool 3x3 s2 p1");
  ExpectSays(result, "verified: 1 image");
}

TEST_F(LbconvertTest, FloatActivationsBecomeCodes) {
  Become(checkpoint_, "mcdonnell/wrn-8-0.5", "");
  fs::create_directories(folder_ / "images/cat");
  fs::copy_file(image_, folder_ / "images/cat/a.png");
  ASSERT_EQ(Convert().status, 0);
  const std::vector<uint8_t> floats = ReadFile(model_);
  const std::vector<std::string> flags = {"--activations", "u8",     "--calibrate",
                                          folder_ / "images/cat",    "--verify",
                                          image_,          "--measure", folder_ / "images"};
  const ProgramResult result = Convert(flags);
  ExpectSays(result, "group0.block0.relu0: rounded to 0 to 255 times ");
  ExpectSays(result, "equal to the interpreter bit by bit");
  ExpectSays(result, "of images, i24 stem: ");
  ExpectSays(result, "of images, i24 stem, u8 activations: ");
  ExpectSays(Run({"--describe", model_}), "activations: u8");
  ExpectSays(Run({"--describe", model_}), "calibration: 1 image of cat");
  ExpectSays(Run({"--describe", model_}), "measured, top-1 on 1 image of images, i24 stem, u8");
  const std::vector<uint8_t> codes = ReadFile(model_);
  EXPECT_NE(floats, codes);
  ASSERT_EQ(Convert(flags).status, 0);
  EXPECT_EQ(codes, ReadFile(model_));
}

// The percentage behind `what` in a report.
double Percentage(const ProgramResult& result, const std::string& what) {
  const size_t at = result.out.find(what + ": ");
  EXPECT_NE(at, std::string::npos) << result.out << result.error;
  return at == std::string::npos ? 0 : std::stod(result.out.substr(at + what.size() + 2));
}

TEST_F(LbconvertTest, LossyChoicesMustNotCostMoreThanTheUserAllows) {
  // Images that all have one label: of the ten labels, one at least is recognised less often as soon
  // as one image changes its class.
  const std::vector<uint8_t> bytes = Noise(60 * 3072);
  const std::string noise(bytes.begin(), bytes.end());
  double drop = 0;
  for (char label = 0; label < 10 && drop <= 0; ++label) {
    std::string records;
    for (size_t i = 0; i < 60; ++i) records += label + noise.substr(i * 3072, 3072);
    WriteText("test_batch.bin", records);
    const std::vector<std::string> flags = {"--stem", "i8", "--verify", folder_ / "test_batch.bin",
                                            "--limit", "1", "--max-drop"};
    const auto with = [&](double most) {
      std::vector<std::string> all = flags;
      all.push_back(std::to_string(most));
      return Convert(all);
    };
    const ProgramResult result = with(100);
    drop = Percentage(result, "i24 stem") - Percentage(result, "i8 stem");
    if (drop <= 0) continue;
    EXPECT_EQ(with(drop + 0.01).status, 0);
    fs::remove(model_);
    ExpectRefused(with(drop - 0.01), "points less (--max-drop)");
  }
  EXPECT_GT(drop, 0) << "the stem changed no class";
}

TEST_F(LbconvertTest, CodesForFloatActivationsNeedThemAndImages) {
  ExpectRefused(Convert({"--activations", "u8", "--calibrate", image_}), "quantized already");
  ExpectUsageError(Convert({"--activations", "u8"}), "--calibrate IMAGES");
  ExpectUsageError(Convert({"--calibrate", image_}), "--activations u8");
  ExpectUsageError(Convert({"--activations", "u4", "--calibrate", image_}), "u4");
  Become(checkpoint_, "mcdonnell/wrn-8-0.5", "");
  fs::create_directories(folder_ / "none");
  ExpectRefused(Convert({"--activations", "u8", "--calibrate", folder_ / "none"}), "none");
  WriteText("broken.png", "no image");
  ExpectRefused(Convert({"--activations", "u8", "--calibrate", folder_ / "broken.png"}),
                "broken.png");
}

TEST_F(LbconvertTest, TheSameCheckpointGivesTheSameBytes) {
  ASSERT_EQ(Convert().status, 0);
  const std::vector<uint8_t> first = ReadFile(model_);
  ASSERT_EQ(Convert().status, 0);
  EXPECT_EQ(ReadFile(model_), first);
}

TEST_F(LbconvertTest, SaysWhatBecameOfEveryLayer) {
  float* dead = checkpoint_.state["layer1.0.conv2.weight"].f32();
  std::fill(dead, dead + 144, 0.25f);  // each is its channel's mean: zero in the reference
  const ProgramResult result = Convert();
  ExpectSays(result, "conv 3x3 p1, affine, add, hardtanh, sign");
  ExpectSays(result, "follows a pooling, which has no epilogue");
  ExpectSays(result, "fp32: its weights and its input are real numbers");
  ExpectSays(result,
             "144 one-bit weights exactly zero, stored as +1; 1 channel of nothing but those");
  ExpectSays(result, "layer1.0.conv2");
}

TEST_F(LbconvertTest, DescribesCheckpointsAndModels) {
  checkpoint_.text["preprocessing"] = "channels = 3\nmean = 0 0 0\nstd = 1 1 1\n";
  ASSERT_EQ(Convert().status, 0);
  const ProgramResult network = Run({"--describe", ckpt_});
  ExpectSays(network, "layer3.2.conv2");
  ExpectSays(network, "267,264 quantized weights in 18 layers");
  ExpectSays(network, "epoch: 3");
  const ProgramResult model = Run({"--describe", model_});
  ExpectSays(model, "its checksums hold");
  ExpectSays(model, "layer3.2.conv2");
  ExpectSays(model, "std = 1 1 1");
  ExpectSays(model, "airplane, automobile");
  ExpectSays(model, "epochs = 3");
  ExpectSays(model, "stem: i24");
}

TEST_F(LbconvertTest, DescribesTheTensorsOfACheckpointItDoesNotKnow) {
  checkpoint_.text.clear();
  WriteCheckpoint(ckpt_, checkpoint_);
  ExpectSays(Run({"--describe", ckpt_}), "157 tensors, 1,088,336 bytes");
  ExpectSays(Run({"--describe", ckpt_, "--network", "recu/resnet20"}), "batch norm");
}

TEST_F(LbconvertTest, PreprocessingAndLabelsCanBeReplaced) {
  WriteText("p.txt",
            "channels = 3\nresize = 28\ncrop = 28\npad = 2\nmean = .5 .5 .5\nstd = .5 .5 .5\n");
  WriteText("l.txt", "a\nb\r\nc\nd\ne\nf\ng\nh\ni\nj\n");
  WriteImage("large.png", 57);
  ExpectSays(Convert({"--preprocess", folder_ / "p.txt", "--labels", folder_ / "l.txt", "--verify",
                      folder_ / "large.png"}),
             "verified: 1 image");
  ExpectSays(Run({"--describe", model_}), "resize = 28");
  ExpectSays(Run({"--describe", model_}), "a, b, c, d, e, f, g, h, i, j");
}

TEST_F(LbconvertTest, PreprocessingAndLabelsThatDoNotFitAreRefused) {
  WriteText("grey.txt", "channels = 1\nmean = 0\nstd = 1\n");
  ExpectRefused(Convert({"--preprocess", folder_ / "grey.txt"}), "makes 1 channels, expected 3");
  WriteText("crop.txt", "channels = 3\ncrop = 28\nmean = 0 0 0\nstd = 1 1 1\n");
  ExpectRefused(Convert({"--preprocess", folder_ / "crop.txt"}), "28x28 pixels, expected 32x32");
  WriteText("bad.txt", "channels = 3\nmean = 0 0 0\nstd = 0 1 1\n");
  ExpectRefused(Convert({"--preprocess", folder_ / "bad.txt"}), "bad.txt");
  WriteText("two.txt", "cat\ndog\n");
  ExpectRefused(Convert({"--labels", folder_ / "two.txt"}), "2 labels, expected 10");
  ExpectRefused(Convert({"--labels", folder_ / "nothing.txt"}), "nothing.txt");
}

TEST_F(LbconvertTest, MeasuresAccuracyAndStoresIt) {
  fs::create_directories(folder_ / "images/cat");
  fs::create_directories(folder_ / "images/dog");
  WriteImage("images/cat/a.png", 32);
  WriteImage("images/dog/a.png", 32);  // the same image: at most one of the two is right
  ASSERT_EQ(Convert({"--measure", folder_ / "images"}).status, 0);
  ExpectSays(Run({"--describe", model_}), "measured, top-1 on 2 images of images, i24 stem: ");
}

TEST_F(LbconvertTest, WhatIsNoCheckpointIsRefused) {
  ExpectRefused(Run({folder_ / "nothing.pt", model_}), "nothing.pt");
  WriteText("text.pt", "epoch 3\n");
  ExpectRefused(Run({folder_ / "text.pt", model_}), "text.pt");
  WriteText("empty.pt", "");
  ExpectRefused(Run({folder_ / "empty.pt", model_}), "empty.pt");
  ExpectRefused(Run({folder_.path().string(), model_}), folder_.path().string());
  ExpectRefused(Run({image_, model_}), "image.png");
  WriteCheckpoint(ckpt_, checkpoint_);
  std::vector<uint8_t> half = ReadFile(ckpt_);
  half.resize(half.size() / 2);
  WriteFile(ckpt_, half);
  ExpectRefused(Run({ckpt_, model_}), "ckpt.pt");
  ExpectRefused(Run({"--describe", ckpt_}), "ckpt.pt");
}

TEST_F(LbconvertTest, AnUnknownNetworkIsRefused) {
  checkpoint_.text["network"] = "nobody/knows";
  ExpectRefused(Convert(), "recu/resnet20");
  ExpectRefused(Convert({"--network", "recu/resnet21"}), "recu/resnet21");
}

TEST_F(LbconvertTest, TensorsThatDoNotFitAreRefusedByName) {
  const Checkpoint good = checkpoint_;
  checkpoint_.state.erase("layer2.1.bn1.running_var");
  ExpectRefused(Convert(), "layer2.1.bn1.running_var");

  checkpoint_ = good;
  checkpoint_.state["linear.weight"] = HostTensor::Zeros(DType::kF32, {10, 63});
  ExpectRefused(Convert(), "linear.weight");

  for (const float bad : {NAN, INFINITY}) {
    checkpoint_ = good;
    checkpoint_.state["layer3.0.conv1.alpha"].f32()[5] = bad;
    ExpectRefused(Convert(), "layer3.0.conv1.alpha");
  }
  checkpoint_ = good;
  checkpoint_.state["bn1.running_var"].f32()[0] = -1;
  ExpectRefused(Convert(), "bn1");
}

TEST_F(LbconvertTest, AModelThatIsDamagedIsNotDescribed) {
  ASSERT_EQ(Convert().status, 0);
  std::vector<uint8_t> file = ReadFile(model_);
  file.back() ^= 1;
  const std::string damaged = folder_ / "damaged.lbm";
  WriteFile(damaged, file);
  const ProgramResult result = Run({"--describe", damaged});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.error_line().find("damaged.lbm"), std::string::npos) << result.error;
}

TEST_F(LbconvertTest, AFullDiskLeavesNoFile) {
  WriteCheckpoint(ckpt_, checkpoint_);
  // Files end at 8,192 bytes, in this process and those it starts; a model has 50,000.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(0, getrlimit(RLIMIT_FSIZE, &limit));
  const rlimit small = {8192, limit.rlim_max};
  ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &small));
  const ProgramResult result = Run({ckpt_, model_});
  ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
  ExpectRefused(result, "model.lbm");
  if (fs::exists("/dev/full")) {
    const ProgramResult full = Run({ckpt_, "/dev/full"});
    EXPECT_EQ(full.status, 1);
    EXPECT_NE(full.error_line().find("/dev/full"), std::string::npos) << full.error;
  }
}

TEST_F(LbconvertTest, ImagesToVerifyThatCannotBeReadAreRefused) {
  WriteText("broken.png", "no image");
  ExpectRefused(Convert({"--verify", folder_ / "broken.png"}), "broken.png");
  WriteText("as-it-is.txt", "channels = 3\nmean = .5 .5 .5\nstd = .5 .5 .5\n");  // resizes nothing
  WriteImage("large.png", 64);
  ExpectRefused(Convert({"--preprocess", folder_ / "as-it-is.txt", "--verify",
                         folder_ / "large.png"}),
                "large.png");
  ExpectRefused(Convert({"--verify", folder_ / "nothing"}), "nothing");
}

TEST_F(LbconvertTest, TheNetworksOwnInputVerifiesAFloatStem) {
  std::string npy = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 32, 32), }";
  npy.resize(128 - 10 - 1, ' ');
  npy = std::string("\x93NUMPY\x01\0\x76\0", 10) + npy + "\n";
  for (int i = 0; i < 2 * 3 * 32 * 32; ++i) {
    const float value = std::sin(static_cast<float>(i));
    npy.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  WriteText("x.npy", npy);
  ExpectRefused(Convert({"--verify", folder_ / "x.npy"}), "x.npy");  // its stem takes bytes
  ExpectSays(Convert({"--stem", "f32", "--verify", folder_ / "x.npy"}), "verified: 2 images");
}

TEST_F(LbconvertTest, WrongUsageIsStatusTwo) {
  WriteCheckpoint(ckpt_, checkpoint_);
  ExpectUsageError(Run({}), "CKPT");
  ExpectUsageError(Run({ckpt_}), "MODEL");
  ExpectUsageError(Run({ckpt_, model_, "--nonsense"}), "--nonsense");
  ExpectUsageError(Run({ckpt_, model_, "--stem", "i12"}), "i12");
  ExpectUsageError(Run({ckpt_, model_, "--limit", "0"}), "--limit");
  ExpectUsageError(Run({ckpt_, model_, "--width", "0"}), "--width");
  ExpectUsageError(Run({ckpt_, model_, "--verify"}), "--verify");
  ExpectUsageError(Run({ckpt_, model_, "--describe", ckpt_}), "--describe");
  ExpectUsageError(Run({ckpt_, ckpt_}), "overwritten");
  EXPECT_FALSE(fs::exists(model_));
  ExpectSays(Run({"--help"}), "example: lbconvert");
}

}  // namespace
}  // namespace lbrt
