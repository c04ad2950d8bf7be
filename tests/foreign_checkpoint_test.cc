// Checkpoints that others wrote: read, fitted to their network, refused where they do not fit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "images/error.h"
#include "images/file.h"
#include "network/architecture.h"
#include "network/checkpoint.h"
#include "tests/fitted_network.h"
#include "tests/image_files.h"
#include "tests/torch_file.h"

namespace lbrt {
namespace {

using Bytes = std::vector<uint8_t>;
using Python = TorchFile::Python;

std::string ErrorOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

Checkpoint Parse(const Bytes& file) { return ParseCheckpoint(file, "a.pth"); }
std::string ParseError(const Bytes& file) {
  const std::string line = ErrorOf([&] { Parse(file); });
  return line.starts_with("a.pth: ") ? line.substr(7) : line;
}

void ExpectEqual(const StateDict& want, const StateDict& got) {
  ASSERT_EQ(want.names(), got.names());
  for (const std::string& name : want.names()) {
    EXPECT_STREQ(DTypeName(want.at(name).type), DTypeName(got.at(name).type)) << name;
    EXPECT_EQ(want.at(name).shape, got.at(name).shape) << name;
    EXPECT_EQ(want.at(name).bytes, got.at(name).bytes) << name;
  }
}

StateDict Small() {
  StateDict state;
  state["conv.weight"] = HostTensor::Zeros(DType::kF32, {2, 3, 1, 1});
  for (int i = 0; i < 6; ++i) state["conv.weight"].f32()[i] = static_cast<float>(i) - 2.5f;
  state["bn.num_batches_tracked"] = HostTensor::Zeros(DType::kI64, {});
  state["bn.num_batches_tracked"].bytes[5] = 1;
  state["packed"] = HostTensor{DType::kU8, {2}, {128, 65}};
  return state;
}

// --- Containers ----------------------------------------------------------------------------------

TEST(ForeignCheckpointTest, BothContainersOfBothPythonsAreRead) {
  for (const Python python : {Python::k3, Python::k2})
    for (const std::string prefix : {"", "module.", "_orig_mod.", "module._orig_mod.",
                                     "_orig_mod.module."}) {
      SCOPED_TRACE(prefix);
      TorchFile file(python);
      const std::string root =
          file.Dict({{"epoch", file.Integer(3)}, {"state_dict", file.State(Small(), prefix)}});
      for (const bool other : {false, true}) {
        ExpectEqual(Small(), Parse(file.Legacy(root, !other)).state);
        ExpectEqual(Small(), Parse(file.Zip(root, other)).state);
      }
      EXPECT_EQ(3, Parse(file.Zip(root)).integers.at("epoch"));
    }
}

TEST(ForeignCheckpointTest, TheStateDictIsFoundWhereItLies) {
  TorchFile file;
  const std::string state = file.State(Small()), epoch = file.Integer(3);
  for (const std::string& root :
       {state, file.Dict({{"state_dict", state}, {"epoch", epoch}}),
        file.Dict({{"epoch", epoch}, {"model", state}}), file.Dict({{"net", state}}),
        // What ReCU's and any-precision's say of themselves.
        file.Dict({{"model", file.Text("resnet20_1w1a")}, {"state_dict", state}}),
        file.Dict({{"model", file.Dict({{"module", file.Dict({{"state_dict", state}})}})}})})
    ExpectEqual(Small(), Parse(file.Zip(root)).state);
  const std::string seven =
      file.Dict({{"net", file.Dict({{"net", file.Dict({{"net", file.Dict({{"net", file.Dict({{
          "net", file.Dict({{"net", state}})}})}})}})}})}});
  EXPECT_EQ("holds no tensors, but net; expected a state dict or one named state_dict, model, ...",
            ParseError(file.Zip(seven)));
  EXPECT_EQ("holds no tensors, but epoch, a, b, c, d, ...; expected a state dict or one named "
            "state_dict, model, ...",
            ParseError(file.Zip(file.Dict({{"epoch", epoch}, {"a", epoch}, {"b", epoch},
                                           {"c", epoch}, {"d", epoch}, {"e", epoch}}))));
}

TEST(ForeignCheckpointTest, TwoNamesOfOneTensorAreRefused) {
  TorchFile file;
  const std::string tensor = file.Tensor(Small().at("packed"));
  EXPECT_EQ("has both w and module.w, expected one of them",
            ParseError(file.Zip(file.Dict({{"w", tensor}, {"module.w", tensor}}))));
}

TEST(ForeignCheckpointTest, TensorsMayShareAStorage) {
  TorchFile file;
  HostTensor ten = HostTensor::Zeros(DType::kF32, {10});
  for (int i = 0; i < 10; ++i) ten.f32()[i] = static_cast<float>(i);
  const size_t storage = file.Storage("FloatStorage", 4, ten.bytes);
  const std::string root = file.Dict({{"a", file.View(storage, 1, {2, 3}, {1, 2})},
                                      {"b", file.View(storage, 4, {6}, {1})}});
  for (const Bytes& bytes : {file.Legacy(root), file.Zip(root)}) {
    const StateDict state = Parse(bytes).state;
    EXPECT_EQ((std::vector<float>{1, 3, 5, 2, 4, 6}),
              std::vector<float>(state.at("a").f32(), state.at("a").f32() + 6));
    EXPECT_EQ((std::vector<float>{4, 5, 6, 7, 8, 9}),
              std::vector<float>(state.at("b").f32(), state.at("b").f32() + 6));
  }
}

TEST(ForeignCheckpointTest, Python2WritesLargeIntegersInDecimals) {
  TorchFile file(Python::k2);
  const int64_t identity = 139876543210123;  // of a parameter, in an optimizer's param_groups
  const std::string root =
      file.Dict({{"state_dict", file.State(Small())}, {"id", file.Integer(identity)}});
  EXPECT_EQ(identity, Parse(file.Legacy(root)).integers.at("id"));
  EXPECT_NE(std::string::npos,
            ParseError(file.Legacy(file.Dict({{"id", "I12three\n"}}))).find("is no integer"));
}

TEST(ForeignCheckpointTest, TypesThatWeDoNotHaveAreSkippedBesideTheState) {
  TorchFile file;
  const std::string complex =
      file.View(file.Storage("ComplexFloatStorage", 8, Bytes(16)), 0, {2}, {1});
  const std::string root = file.Dict({{"state_dict", file.State(Small())}, {"spectrum", complex}});
  ExpectEqual(Small(), Parse(file.Legacy(root)).state);
  ExpectEqual(Small(), Parse(file.Zip(root)).state);
  EXPECT_EQ("tensor w: ComplexFloatStorage is not supported",
            ParseError(file.Zip(file.Dict({{"w", complex}}))));
}

TEST(ForeignCheckpointTest, BytesThatAreNoTextOfOursAreNotTakenForIt) {
  TorchFile file;
  const std::string state = file.State(Small()), noise = file.Tensor(Small().at("packed"));
  EXPECT_TRUE(
      Parse(file.Zip(file.Dict({{"state_dict", state}, {"random", noise}}))).text.empty());
  const std::string name = file.Tensor(HostTensor::FromText("recu/resnet20"));
  EXPECT_EQ("recu/resnet20",
            Parse(file.Zip(file.Dict({{"state_dict", state}, {"network", name}})))
                .text.at("network"));
}

// --- What is never done --------------------------------------------------------------------------

TEST(ForeignCheckpointTest, NothingIsExecuted) {
  const TemporaryFolder folder;
  TorchFile file;
  const std::string command = file.Text("touch " + folder / "executed");
  const std::string state = file.State(Small());
  for (const std::string& call :
       {"cos\nsystem\n(" + command + "tR", "cposix\nsystem\n" + command + "\x85R",
        "cbuiltins\neval\n(" + command + "tR", "csubprocess\nPopen\n" + command + "\x85\x81",
        file.Text("os") + file.Text("system") + "\x93" + command + "\x85R",
        "cmine\nRecorder\n)\x81}" + file.Text("x") + command + "sb"}) {
    const std::string root = file.Dict({{"recorder", call}, {"state_dict", state}});
    ExpectEqual(Small(), Parse(file.Legacy(root)).state);
    ExpectEqual(Small(), Parse(file.Zip(root)).state);
  }
  EXPECT_FALSE(std::filesystem::exists(folder / "executed"));
}

TEST(ForeignCheckpointTest, AWholeModuleIsNamedAndNotBuilt) {
  TorchFile file;
  EXPECT_EQ("holds no tensors, but an object of class models.resnet.ResNet; expected a state dict "
            "or one named state_dict, model, ...",
            ParseError(file.Zip("cmodels.resnet\nResNet\n)\x81}" + file.Text("training") +
                                "\x88sb")));
}

// A million names of one dict, each with a thousand tensors: every value is looked at once.
TEST(ForeignCheckpointTest, RepeatedValuesCostNothing) {
  TorchFile file;
  TorchFile::Entries tensors, entries;
  const std::string none = file.Tensor(HostTensor::Zeros(DType::kF32, {0}));
  for (int i = 0; i < 1000; ++i) tensors.emplace_back(std::to_string(i), none);
  std::string root = "}(" + file.Text("state_dict") + file.State(Small()) + file.Text("g") +
                     file.Dict(tensors) + "q\x01";
  for (int i = 0; i < 500'000; ++i) root += "U\x03" + std::to_string(i % 900 + 100) + "h\x01";
  EXPECT_EQ("no error", ParseError(file.Zip(root + "u")));
}

// --- Types ---------------------------------------------------------------------------------------

// A state dict of one network in which one tensor was replaced.
Network Fit(Checkpoint* checkpoint, const std::string& name, const Arguments& arguments = {}) {
  checkpoint->path = "a.pth";
  checkpoint->text.clear();
  return FitToNetwork(checkpoint, name, arguments);
}

TEST(ForeignCheckpointTest, EveryHalfBecomesItsFloat) {
  const Network network = BuildNetwork("recu/vgg-small", {});
  StateDict state;
  HostTensor& half = state["fc.weight"] = HostTensor::Zeros(DType::kF16, {10, 8192});
  for (int i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    std::memcpy(half.bytes.data() + 2 * i, &bits, 2);
  }
  FitTensors(network, &state);
  ASSERT_EQ(DType::kF32, state.at("fc.weight").type);
  const float* got = state.at("fc.weight").f32();
  for (int i = 0; i < 0x10000; ++i) {
    const int exponent = i >> 10 & 31, fraction = i & 1023;
    const double sign = i >> 15 ? -1 : 1;
    if (exponent == 31) {
      EXPECT_EQ(fraction != 0, std::isnan(got[i])) << i;
      EXPECT_EQ(fraction == 0, std::isinf(got[i])) << i;
      continue;
    }
    const double value = exponent == 0 ? fraction * std::pow(2.0, -24)
                                       : (1 + fraction / 1024.0) * std::pow(2.0, exponent - 15);
    ASSERT_EQ(sign * value, static_cast<double>(got[i])) << i;
    ASSERT_EQ(i >> 15 == 1, std::signbit(got[i])) << i;
  }
}

TEST(ForeignCheckpointTest, DoublesAndBrainFloatsBecomeFloats) {
  const std::string name = "recu/resnet20";
  TorchFile file;
  Checkpoint checkpoint;
  checkpoint.state = RandomTensors(BuildNetwork(name, {}));
  HostTensor doubles = HostTensor::Zeros(DType::kF64, {10});
  const double third = 1.0 / 3;
  std::memcpy(doubles.bytes.data() + 8, &third, 8);
  checkpoint.state["linear.bias"] = doubles;
  // 1, -2 and 2^-126 as bfloat16, then zeros.
  Bytes brain(32);
  for (const auto& [at, byte] : {std::pair{0, 0x80}, {1, 0x3f}, {3, 0xc0}, {4, 0x80}, {5, 0x00}})
    brain[static_cast<size_t>(at)] = static_cast<uint8_t>(byte);
  const std::string view = file.View(file.Storage("BFloat16Storage", 2, brain), 0, {16}, {1});
  for (const bool big_endian : {false, true}) {
    const StateDict read = Parse(file.Zip(file.Dict({{"w", view}}), big_endian)).state;
    checkpoint.state["bn1.bias"] = read.at("w");
    Fit(&checkpoint, name);
    EXPECT_EQ(static_cast<float>(third), checkpoint.state.at("linear.bias").f32()[1]);
    const float* got = checkpoint.state.at("bn1.bias").f32();
    EXPECT_EQ((std::vector<float>{1, -2, 0x1p-126f, 0}), std::vector<float>(got, got + 4));
  }
  const double huge = 1e300;  // no float32
  checkpoint.state["linear.bias"] = doubles;
  std::memcpy(checkpoint.state["linear.bias"].bytes.data(), &huge, 8);
  EXPECT_EQ("a.pth: tensor linear.bias: holds a value that is not finite",
            ErrorOf([&] { Fit(&checkpoint, name); }));
}

TEST(ForeignCheckpointTest, CountersMayBeOfAnotherIntegerType) {
  Checkpoint checkpoint;
  checkpoint.state = RandomTensors(BuildNetwork("recu/resnet20", {}));
  checkpoint.state["bn1.num_batches_tracked"] = HostTensor{DType::kI32, {}, {7, 0, 0, 0}};
  Fit(&checkpoint, "recu/resnet20");
  EXPECT_EQ(7, *checkpoint.state.at("bn1.num_batches_tracked").i64());
}

// --- Packed weights (methods.md 3.6) -------------------------------------------------------------

TEST(ForeignCheckpointTest, PackedBitsAreChannelsFromTheHighestOn) {
  StateDict state;  // 16 channels with bits at 0, 9 and 15
  state["group0.block0.conv1"] = HostTensor{DType::kU8, {16, 2, 3, 3}, Bytes(16 * 2 * 9)};
  state["group0.block0.conv1"].bytes[0] = 128;
  state["group0.block0.conv1"].bytes[9] = 65;
  FitTensors(BuildNetwork("mcdonnell/wrn-8-1", {}), &state);
  const HostTensor& weight = state.at("group0.block0.conv1");
  ASSERT_EQ((std::vector<int64_t>{16, 16, 3, 3}), weight.shape);
  const float scale = static_cast<float>(std::sqrt(2.0 / 144));
  for (int c = 0; c < 16; ++c)
    EXPECT_EQ(c == 0 || c == 9 || c == 15 ? scale : -scale, weight.f32()[c * 9]) << c;
}

HostTensor Packed(const HostTensor& weight) {
  const int64_t outputs = weight.shape[0], channels = weight.shape[1], taps = 9;
  HostTensor packed = HostTensor::Zeros(DType::kU8, {outputs, channels / 8, 3, 3});
  for (int64_t o = 0; o < outputs; ++o)
    for (int64_t j = 0; j < channels / 8; ++j)
      for (int64_t tap = 0; tap < taps; ++tap)
        for (int64_t t = 0; t < 8; ++t)
          if (weight.f32()[(o * channels + 8 * j + t) * taps + tap] > 0)
            packed.bytes[static_cast<size_t>((o * channels / 8 + j) * taps + tap)] |=
                static_cast<uint8_t>(1 << (7 - t));
  return packed;
}

TEST(ForeignCheckpointTest, APackedNetworkBecomesTheSameGraph) {
  const std::string name = "mcdonnell/wrn-8-1";
  const Network network = BuildNetwork(name, {{"classes", "10"}});
  const StateDict latent = RandomTensors(network);
  StateDict packed = latent;
  int count = 0;
  for (const Node& node : network.nodes)
    if (node.weights.kind == WeightQuantizer::kMcDonnell) {
      packed[node.weight] = Packed(latent.at(node.weight));
      ++count;
    }
  EXPECT_EQ(6, count);
  TorchFile file(Python::k2);
  Checkpoint checkpoint = Parse(file.Legacy(file.State(packed, "module.")));
  const Network fitted = Fit(&checkpoint, name);
  const ImportOptions options = {Stem::kI24, FittedNetwork::kMean, FittedNetwork::kStd, 0};
  const Graph want = Import(network, latent, options, nullptr);
  const Graph got = Import(fitted, checkpoint.state, options, nullptr);
  ASSERT_EQ(want.nodes.size(), got.nodes.size());
  for (size_t i = 0; i < want.nodes.size(); ++i) {
    EXPECT_EQ(want.nodes[i].codes, got.nodes[i].codes) << want.nodes[i].name;
    EXPECT_EQ(want.nodes[i].a, got.nodes[i].a) << want.nodes[i].name;
    EXPECT_EQ(want.nodes[i].b, got.nodes[i].b) << want.nodes[i].name;
  }
}

TEST(ForeignCheckpointTest, PackedWeightsOfOtherSystemsAreRefused) {
  Checkpoint checkpoint;
  checkpoint.state = RandomTensors(BuildNetwork("recu/resnet20", {}));
  checkpoint.state["layer1.0.conv1.weight"] = HostTensor::Zeros(DType::kU8, {16, 2, 3, 3});
  EXPECT_EQ("a.pth: tensor layer1.0.conv1.weight: shape 16x2x3x3, expected 16x16x3x3",
            ErrorOf([&] { Fit(&checkpoint, "recu/resnet20"); }));
}

// --- Networks ------------------------------------------------------------------------------------

struct Sample {
  explicit Sample(const std::string& text) {
    const size_t space = std::min(text.find(' '), text.size());
    name = text.substr(0, space);
    arguments = ParseArguments(text.substr(space));
    network = BuildNetwork(name, arguments);
    state = RandomTensors(network);
    arguments.erase("classes");  // and widths: they are derived
    arguments.erase("widths");
  }
  std::string name;
  Arguments arguments;
  Network network;
  StateDict state;
};

void ExpectSame(const Network& want, const Network& got) {
  EXPECT_EQ(want.widths, got.widths);
  EXPECT_EQ(want.classes(), got.classes());
  ASSERT_EQ(want.nodes.size(), got.nodes.size());
  for (size_t i = 0; i < want.nodes.size(); ++i) {
    EXPECT_EQ(want.nodes[i].name, got.nodes[i].name);
    EXPECT_EQ(want.nodes[i].weights.bits, got.nodes[i].weights.bits);
  }
}

TEST(ForeignCheckpointTest, EveryNetworkIsReadFromEveryContainer) {
  std::vector<std::string> networks(std::begin(kSmallNetworks), std::end(kSmallNetworks));
  networks.insert(networks.end(), std::begin(kInceptions), std::end(kInceptions));
  for (const std::string& text : networks) {
    SCOPED_TRACE(text);
    const Sample sample(text);
    for (const Python python : {Python::k3, Python::k2}) {
      TorchFile file(python);
      const bool old = python == Python::k2;
      const std::string state = file.State(sample.state, old ? "module." : "");
      Checkpoint checkpoint =
          Parse(old ? file.Legacy(file.Dict({{"state_dict", state}})) : file.Zip(state));
      ExpectSame(sample.network, Fit(&checkpoint, sample.name, sample.arguments));
      ExpectEqual(sample.state, checkpoint.state);
    }
  }
}

TEST(ForeignCheckpointTest, WidthsAndClassesAreThoseOfTheTensors) {
  const Sample sample(
      "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 widths=2,4 classes=7");
  Checkpoint checkpoint;
  checkpoint.state = sample.state;
  const Network network = Fit(&checkpoint, sample.name, sample.arguments);
  EXPECT_EQ((std::vector<int>{2, 4}), network.widths);
  EXPECT_EQ(7, network.classes());
  Arguments given = sample.arguments;
  given["widths"] = "2";  // the user's word wins, and then there is too much
  EXPECT_NE(std::string::npos, ErrorOf([&] {
              Fit(&checkpoint, sample.name, given);
            }).find("are not part of it (layers.0.bn0.bn_dict.4.weight, "));
}

TEST(ForeignCheckpointTest, TensorsThatDifferAreCountedAndTheFirstAreNamed) {
  Checkpoint checkpoint;
  checkpoint.state = RandomTensors(BuildNetwork("recu/resnet20", {}));
  for (const char* name : {"conv1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"})
    checkpoint.state.erase(name);
  for (const char* name : {"stem.weight", "stem.bias"})
    checkpoint.state[name] = HostTensor::Zeros(DType::kF32, {1});
  checkpoint.state["bn1.weight"] = HostTensor::Zeros(DType::kF32, {15});
  EXPECT_EQ("a.pth: tensors differ from those of network recu/resnet20: 4 tensors are missing "
            "(conv1.weight, bn1.bias, bn1.running_mean, ...), 1 tensor does not fit "
            "(bn1.weight: shape 15, expected 16), 2 tensors are not part of it (stem.weight, "
            "stem.bias)",
            ErrorOf([&] { Fit(&checkpoint, "recu/resnet20"); }));
}

// What a checkpoint of ours says of its network yields to what the user says.
TEST(ForeignCheckpointTest, GivenBitsReplaceThoseOfTheCheckpoint) {
  const std::string name = "edmips/cifar-resnet20";
  Checkpoint checkpoint;
  checkpoint.state = RandomTensors(BuildNetwork(name, {{"bits", "2/2"}}));
  checkpoint.text = {{"network", name}, {"arguments", "bits=2/2 classes=10"}};
  const auto bits = [&](const Arguments& arguments) {
    for (const Node& node : FitToNetwork(&checkpoint, "", arguments).nodes)
      if (node.weights.kind == WeightQuantizer::kEdmips) return node.weights.bits;
    return 0;
  };
  EXPECT_EQ(2, bits({}));
  EXPECT_EQ(3, bits({{"bits", "3/4"}}));
  EXPECT_EQ(4, bits({{"weight_bits", "4"}, {"activation_bits", "2"}}));
}

TEST(ForeignCheckpointTest, ASearchsCheckpointGivesTheBitsOfEveryLayer) {
  const TemporaryFolder folder;
  StateDict state = RandomTensors(BuildNetwork("edmips/resnet18", {{"mode", "search"}}));
  int layer = 0;
  Architecture want;
  for (const std::string& name : state.names()) {
    const bool weights = name.ends_with(".alpha_weight");
    if (!weights && !name.ends_with(".alpha_activ")) continue;
    HostTensor& alphas = state[name];
    std::fill_n(alphas.f32(), alphas.numel(), 0.01f);
    const int64_t chosen = ++layer % alphas.numel();
    alphas.f32()[chosen] = 0.5f;
    (weights ? want.weight_bits : want.activation_bits)
        .push_back(static_cast<int>(chosen) + (weights ? 1 : 2));
  }
  TorchFile file;
  WriteFile(folder / "arch_checkpoint.pth.tar",
            file.Legacy(file.Dict({{"epoch", file.Integer(25)},
                                   {"arch", file.Text("mixres18_w1234a234")},
                                   {"state_dict", file.State(state, "module.")}})));
  const Architecture got = ReadArchitecture(folder / "arch_checkpoint.pth.tar");
  EXPECT_EQ(19u, got.weight_bits.size());
  EXPECT_EQ(want.weight_bits, got.weight_bits);
  EXPECT_EQ(want.activation_bits, got.activation_bits);
}

// --- Python --------------------------------------------------------------------------------------

// Modules whose parameters and buffers are named as the networks', saved as published code does.
constexpr char kScript[] = R"(
import os, sys, warnings
import torch

class Plain(torch.nn.Module):
    pass

def build(state):
    root = Plain()
    for name, tensor in state.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, Plain())
            module = getattr(module, part)
        if tensor.is_floating_point() and not last.startswith("running_"):
            module.register_parameter(last, torch.nn.Parameter(tensor))
        else:
            module.register_buffer(last, tensor)
    return root

folder = sys.argv[1]
for path in sorted(os.listdir(folder)):
    if not path.endswith(".pt"):
        continue
    state = torch.load(folder + "/" + path)["state_dict"]
    plain = build(state)
    wrapped = torch.nn.DataParallel(plain)
    optimizer = torch.optim.SGD([p for p in plain.parameters()], lr=0.1, momentum=0.9)
    training = {"epoch": 5, "arch": "resnet", "state_dict": wrapped.state_dict(),
                "best_acc1": torch.tensor(61.5), "optimizer": optimizer.state_dict()}
    stem = folder + "/" + path[:-3]
    for form, content in (("plain", plain.state_dict()), ("wrapped", wrapped.state_dict()),
                          ("training", training), ("nested", {"model": plain.state_dict()})):
        torch.save(content, stem + "." + form + ".zip.pth")
        torch.save(content, stem + "." + form + ".legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in state.items()},
               stem + ".half.zip.pth")
)";

std::string PythonWithTorch() {
  for (const std::string python : {"python3", "/usr/bin/python3"})
    if (std::system((python + " -c 'import torch' 2> /dev/null").c_str()) == 0) return python;
  return "";
}

TEST(ForeignCheckpointTest, WhatPlainTorchSavesIsRead) {
  const std::string python = PythonWithTorch();
  if (python.empty()) GTEST_SKIP() << "no python3 with torch here";
  const TemporaryFolder folder;
  std::vector<std::string> networks(std::begin(kSmallNetworks), std::end(kSmallNetworks));
  networks.push_back(kInceptions[0]);
  for (size_t i = 0; i < networks.size(); ++i) {
    Checkpoint ours;
    ours.state = Sample(networks[i]).state;
    WriteCheckpoint(folder / (std::to_string(i) + ".pt"), ours);
  }
  std::ofstream(folder / "save.py") << kScript;
  ASSERT_EQ(0, std::system((python + " " + folder / "save.py" + " " + folder.path().string())
                               .c_str()));
  for (size_t i = 0; i < networks.size(); ++i) {
    const Sample sample(networks[i]);
    for (const char* form : {"plain.zip", "plain.legacy", "wrapped.zip", "wrapped.legacy",
                             "training.zip", "training.legacy", "nested.zip", "nested.legacy",
                             "half.zip"}) {
      SCOPED_TRACE(networks[i] + ": " + form);
      Checkpoint checkpoint = ReadCheckpoint(folder / (std::to_string(i) + "." + form + ".pth"));
      EXPECT_EQ(sample.state.size(), checkpoint.state.size());
      ExpectSame(sample.network, FitToNetwork(&checkpoint, sample.name, sample.arguments));
      for (const std::string& name : sample.state.names()) {
        const HostTensor &want = sample.state.at(name), &got = checkpoint.state.at(name);
        ASSERT_EQ(want.shape, got.shape) << name;
        if (form[0] != 'h') {
          ASSERT_EQ(want.bytes, got.bytes) << name;
        }
      }
      if (form[0] == 't') {
        EXPECT_EQ(61.5, checkpoint.numbers.at("best_acc1"));
      }
    }
  }
}

}  // namespace
}  // namespace lbrt
