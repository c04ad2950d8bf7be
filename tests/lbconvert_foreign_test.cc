// lbconvert on checkpoints that others wrote, as a user meets it.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "images/file.h"
#include "images/write.h"
#include "network/architecture.h"
#include "network/checkpoint.h"
#include "tests/graphs.h"
#include "tests/run_program.h"
#include "tests/torch_file.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

class LbconvertForeignTest : public testing::Test {
 protected:
  LbconvertForeignTest() { WritePng(image_, NoiseImage(32, 32, 3)); }

  ProgramResult Run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(LBRT_BIN_DIR) + "/lbconvert");
    return RunProgram(arguments);
  }
  // Of file_.
  ProgramResult Convert(const std::string& network, const std::vector<std::string>& flags = {}) {
    std::vector<std::string> arguments = {file_, "--network", network};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    // Flags that take several values would take it too.
    arguments.insert(flags.empty() || flags[0] != "--set" ? arguments.begin() + 1 : arguments.end(),
                     model_);
    return Run(arguments);
  }
  void ExpectRefused(const ProgramResult& result, const std::string& part) {
    EXPECT_EQ(result.status, 1) << result.out;
    EXPECT_NE(result.error_line().find(part), std::string::npos) << result.error;
    EXPECT_FALSE(fs::exists(model_));
  }
  static void ExpectSays(const ProgramResult& result, const std::string& part) {
    EXPECT_EQ(result.status, 0) << result.error;
    EXPECT_NE(result.out.find(part), std::string::npos) << result.out;
  }
  static StateDict StateOf(const std::string& network, const std::string& arguments = "") {
    return RandomTensors(BuildNetwork(network, ParseArguments(arguments)));
  }

  TemporaryFolder folder_;
  const std::string file_ = folder_ / "file.pth.tar", model_ = folder_ / "model.lbm";
  const std::string image_ = folder_ / "image.png";
};

// What it becomes is what a checkpoint of ours with the same tensors becomes, byte for byte.
TEST_F(LbconvertForeignTest, EveryNetworkConvertsToTheSameBytesAsOneOfOurs) {
  for (const std::string text : {
           "recu/resnet20 classes=10",
           "recu/resnet18 blocks=1,1 channels=8,16 classes=10 size=16",
           "recu/vgg-small channels=8,16,32 classes=7 size=16",
           "recu/imagenet-resnet18 blocks=1,1 channels=8,16 classes=10 size=32",
           "recu/two-stage-resnet18 blocks=1,1 channels=8,16 classes=10 size=32",
           "mcdonnell/wrn-8-0.5 classes=100",
           "any-precision/resnet20 blocks=1,1 channels=8,16 classes=10 size=16 widths=1,2,4,8",
           "any-precision/svhn classes=10 expansion=1 size=40 widths=2,8",
           "any-precision/resnet50 blocks=1,1 channels=4,8 classes=10 size=32 widths=2,32",
           "edmips/resnet18 bits=3/2 blocks=1,1 channels=16,32 classes=10 size=32",
           "edmips/googlenet classes=10 size=32",
           "ternary/resnet20 classes=10",
           "ternary/resnet18 blocks=1,1 channels=8,16 classes=10 first_last=ternary size=32 t_ex=2",
           "ternary/alexnet channels=8,8,8,8,8,16,16 classes=10 size=96",
       }) {
    SCOPED_TRACE(text);
    const size_t space = text.find(' ');
    const std::string name = text.substr(0, space), arguments = text.substr(space + 1);
    Checkpoint ours;
    ours.state = StateOf(name, arguments);
    ours.text = {{"network", name}, {"arguments", arguments}};
    WriteCheckpoint(folder_ / "ours.pt", ours);
    ASSERT_EQ(0, Run({folder_ / "ours.pt", folder_ / "ours.lbm"}).status);

    TorchFile file(TorchFile::Python::k2);
    WriteFile(file_, file.Legacy(file.Dict({{"state_dict", file.State(ours.state, "module.")}})));
    std::vector<std::string> flags;
    for (const auto& [key, value] : ParseArguments(arguments))
      if (key != "classes" && key != "widths") flags.insert(flags.end(), {"--set", key + "=" + value});
    const ProgramResult result = Convert(name, flags);
    ASSERT_EQ(0, result.status) << result.error;
    EXPECT_EQ(ReadFile(folder_ / "ours.lbm"), ReadFile(model_));
    fs::remove(model_);
  }
}

// Files older than PyTorch 0.4.1 (methods.md 7). Where there is LibTorch, the check by the float
// network loads the tensors too.
TEST_F(LbconvertForeignTest, AFileWithoutCountersOfBatchesIsTheSame) {
  StateDict state = StateOf("recu/resnet20");
  const auto converted = [&] {
    fs::remove(model_);
    TorchFile file(TorchFile::Python::k2);
    WriteFile(file_, file.Legacy(file.Dict({{"state_dict", file.State(state, "module.")}})));
    ExpectSays(Convert("recu/resnet20", {"--verify", image_}), "verified: 1 image");
    return ReadFile(model_);
  };
  const std::vector<uint8_t> with = converted();
  int counters = 0;
  for (const std::string& name : std::vector<std::string>(state.names())) {
    if (!IsCounter(name)) continue;
    state.erase(name);
    ++counters;
  }
  EXPECT_EQ(counters, 20);
  EXPECT_EQ(converted(), with);
}

TEST_F(LbconvertForeignTest, APackedFileBecomesAModelOfItsSize) {
  const StateDict latent = StateOf("mcdonnell/wrn-20-1");
  TorchFile file(TorchFile::Python::k2);
  TorchFile::Entries entries;
  int64_t packed_bytes = 0;
  for (const std::string& name : latent.names()) {
    HostTensor tensor = latent.at(name);
    if (name.starts_with("group") && tensor.shape.size() == 4) {
      tensor = HostTensor::Zeros(DType::kU8, {tensor.shape[0], tensor.shape[1] / 8, 3, 3});
      for (size_t i = 0; i < tensor.bytes.size(); ++i)
        tensor.bytes[i] = static_cast<uint8_t>(i * 37 + i / 256);
      packed_bytes += tensor.numel();
    }
    entries.emplace_back("module." + name, file.Tensor(tensor));
  }
  EXPECT_EQ(267264 / 8, packed_bytes);
  WriteFile(file_, file.Legacy(file.OrderedDict(entries)));
  ExpectSays(Convert("mcdonnell/wrn-20-1", {"--verify", image_}), "verified: 1 image");
  EXPECT_LT(ReadFile(model_).size(), 65'000u);
}

TEST_F(LbconvertForeignTest, BitsAreThePublishedOnesOrThoseGiven) {
  const std::string sizes = "blocks=1,1 channels=16,32 classes=10 size=32";
  const std::vector<std::string> set = {"--set", "blocks=1,1", "--set", "channels=16,32", "--set",
                                        "size=32"};
  const auto convert = [&](std::vector<std::string> flags) {
    fs::remove(model_);
    flags.insert(flags.end(), set.begin(), set.end());
    return Convert("edmips/resnet18", flags);
  };
  TorchFile file;
  const StateDict state = StateOf("edmips/resnet18", sizes + " bits=2/2");
  WriteFile(file_, file.Legacy(file.Dict({{"state_dict", file.State(state)}})));
  ExpectSays(convert({"--bits", "3/4"}), "3 bits");
  ExpectSays(Run({"--describe", model_}), "weight_bits=3");
  ExpectSays(Run({"--describe", model_}), "activation_bits=4");

  const StateDict search = StateOf("edmips/resnet18", sizes + " mode=search");
  TorchFile alphas;
  WriteFile(folder_ / "arch_checkpoint.pth.tar",
            alphas.Zip(alphas.Dict({{"state_dict", alphas.State(search, "module.")}})));
  const std::string bits = ArchitectureText(ArchitectureOf(search));
  WriteFile(folder_ / "architecture.txt", BytesOf(bits));
  for (const char* flag : {"--arch", "--bits"})
    for (const char* name : {"arch_checkpoint.pth.tar", "architecture.txt"}) {
      ExpectSays(convert({flag, folder_ / name}), "layer1.0.conv2");
      ExpectSays(Run({"--describe", model_}), bits.substr(0, bits.find('\n')));
    }
  ExpectRefused(convert({}), "bits");  // a network of this size was not published
  ExpectRefused(convert({"--bits", "3,3/2,2"}), "bits");
  ExpectRefused(convert({"--bits", folder_ / "nothing"}), "nothing");
  ExpectRefused(convert({"--arch", file_}), "expected those of a search");
  EXPECT_EQ(2, convert({"--bits", "2/2", "--arch", file_}).status);
  EXPECT_EQ(2, convert({"--bits", "2/2", "--set", "bits=2/2"}).status);
}

TEST_F(LbconvertForeignTest, WhatTheUserSaysOfTheNetworkIsChecked) {
  TorchFile file;
  WriteFile(file_, file.Zip(file.State(StateOf("recu/resnet20"))));
  ExpectRefused(Convert("recu/resnet20", {"--set", "colour=red"}), "colour");
  ExpectRefused(Convert("recu/resnet20", {"--set", "size=0"}), "size=0");
  EXPECT_EQ(2, Convert("recu/resnet20", {"--set", "size"}).status);
  EXPECT_EQ(2, Convert("recu/resnet20", {"--set", "size=8", "--set", "size=9"}).status);
  ExpectRefused(Convert("recu/resnet18"),
                "tensors differ from those of network recu/resnet18: ");
  ExpectSays(Run({"--describe", file_, "--network", "recu/resnet20", "--set", "size=16"}),
             "size=16");
}

TEST_F(LbconvertForeignTest, LayersThatStayFloatMayBecomeIntegers) {
  TorchFile file;
  const std::string arguments = "blocks=1,1 channels=16,32 classes=1000 size=32";
  const std::vector<std::string> sizes = {"--set", "blocks=1,1", "--set", "channels=16,32", "--set",
                                          "size=32"};
  WriteFile(file_, file.Zip(file.State(StateOf("recu/imagenet-resnet18", arguments))));
  fs::create_directories(folder_ / "images/7");
  fs::copy_file(image_, folder_ / "images/7/a.png");
  std::map<std::string, size_t> bytes;
  for (const std::string form : {"f32", "i16", "i8"}) {
    std::vector<std::string> flags = {"--fp32-layers", form, "--verify", image_, "--measure",
                                      folder_ / "images"};
    flags.insert(flags.end(), sizes.begin(), sizes.end());
    const ProgramResult result = Convert("recu/imagenet-resnet18", flags);
    ExpectSays(result, "verified: 1 image");
    ExpectSays(result, "images, i24 stem: ");  // before
    if (form != "f32") {
      ExpectSays(result, "images, i24 stem, " + form + " fp32 layers: ");
      ExpectSays(result, "fc.weight: rounded to integers of " + form.substr(1) + " bits");
      ExpectSays(Run({"--describe", model_}), "fp32_layers: " + form);
    }
    bytes[form] = ReadFile(model_).size();
  }
  // The head and the skip have 32 x 1000 and 16 x 32 weights; the head gets scales.
  constexpr double kWeights = 32 * 1000 + 16 * 32, kScales = 4 * 1000, kOther = 200;
  EXPECT_NEAR(static_cast<double>(bytes["f32"] - bytes["i16"]), 2 * kWeights - kScales, kOther);
  EXPECT_NEAR(static_cast<double>(bytes["f32"] - bytes["i8"]), 3 * kWeights - kScales, kOther);
  EXPECT_EQ(2, Convert("recu/imagenet-resnet18", {"--fp32-layers", "i24"}).status);
}

TEST_F(LbconvertForeignTest, HostileFilesAreRefusedInOneLine) {
  TorchFile file;
  const std::string command = file.Text("touch " + folder_ / "executed");
  const std::string call = "cos\nsystem\n" + command + "\x85R";
  WriteFile(file_, file.Legacy(call));
  ExpectRefused(Convert("recu/resnet20"), "an object of class os.system");
  WriteFile(file_, file.Zip(file.Dict({{"state_dict", call}})));
  ExpectRefused(Convert("recu/resnet20"), "holds no tensors, but state_dict");
  EXPECT_FALSE(fs::exists(folder_ / "executed"));
}

}  // namespace
}  // namespace lbrt
