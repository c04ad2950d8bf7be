#include "network/checkpoint.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <random>

#include "images/error.h"
#include "images/file.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

std::string ErrorOf(const std::function<void()>& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

template <typename T>
HostTensor TensorOf(DType type, std::vector<int64_t> shape, const std::vector<T>& values) {
  HostTensor tensor = HostTensor::Zeros(type, std::move(shape));
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

void ExpectEqual(const HostTensor& want, const HostTensor& got) {
  EXPECT_STREQ(DTypeName(want.type), DTypeName(got.type));
  EXPECT_EQ(want.shape, got.shape);
  EXPECT_EQ(want.bytes, got.bytes);
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() { fs::create_directory(folder_); }
  ~CheckpointTest() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ / name; }
  static std::string Data(const std::string& name) {
    return std::string(LBRT_SOURCE_DIR) + "/tests/data/checkpoints/" + name;
  }
  size_t FilesInFolder() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {}));
  }

  const fs::path folder_ =
      fs::temp_directory_path() / ("checkpoint_test." + std::to_string(getpid()));
};

Checkpoint Sample() {
  Checkpoint checkpoint;
  checkpoint.state["weight"] = TensorOf<float>(DType::kF32, {2, 3}, {1, -2, 3, -4, 5, 6.5});
  checkpoint.state["a.counter"] = TensorOf<int64_t>(DType::kI64, {}, {int64_t{1} << 40});
  checkpoint.state["empty"] = HostTensor::Zeros(DType::kF32, {0, 3});
  checkpoint.state["double"] = TensorOf<double>(DType::kF64, {2}, {1e300, -0.0});
  checkpoint.state["packed"] = TensorOf<uint8_t>(DType::kU8, {2}, {128, 65});
  checkpoint.state["flags"] = TensorOf<uint8_t>(DType::kBool, {2}, {1, 0});
  checkpoint.state["half"] = TensorOf<uint16_t>(DType::kF16, {1}, {0x3c00});
  checkpoint.state["i8"] = TensorOf<int8_t>(DType::kI8, {1}, {-3});
  checkpoint.state["i16"] = TensorOf<int16_t>(DType::kI16, {1}, {-300});
  checkpoint.state["i32"] = TensorOf<int32_t>(DType::kI32, {1}, {-70000});
  checkpoint.groups["optimizer"]["weight"] = TensorOf<float>(DType::kF32, {1}, {0.5});
  checkpoint.groups["nothing"];
  checkpoint.text["network"] = "recu/resnet20";
  checkpoint.text["recipe"] = "epochs = 3\nname = \"\xc3\xa9\"\n";
  checkpoint.text["seed"] = "";
  checkpoint.integers["epoch"] = -7;
  checkpoint.numbers["best_accuracy"] = 87.53;
  return checkpoint;
}

void ExpectEqual(const StateDict& want, const StateDict& got) {
  EXPECT_EQ(want.names(), got.names());
  for (const std::string& name : want.names()) {
    SCOPED_TRACE(name);
    ExpectEqual(want.at(name), got.at(name));
  }
}

TEST_F(CheckpointTest, WhatIsWrittenIsRead) {
  const Checkpoint want = Sample();
  WriteCheckpoint(Path("a.pt"), want);
  const Checkpoint got = ReadCheckpoint(Path("a.pt"));
  ExpectEqual(want.state, got.state);
  ASSERT_EQ(want.groups.size(), got.groups.size());
  ExpectEqual(want.groups.at("optimizer"), got.groups.at("optimizer"));
  EXPECT_EQ(0u, got.groups.at("nothing").size());
  EXPECT_EQ(want.text, got.text);
  EXPECT_EQ(want.integers, got.integers);
  EXPECT_EQ(want.numbers, got.numbers);
  EXPECT_EQ(1u, FilesInFolder());
}

TEST_F(CheckpointTest, EqualCheckpointsAreEqualFiles) {
  WriteCheckpoint(Path("a.pt"), Sample());
  WriteCheckpoint(Path("b.pt"), Sample());
  EXPECT_EQ(ReadFile(Path("a.pt")), ReadFile(Path("b.pt")));
}

TEST_F(CheckpointTest, RecordsAreStoredAndAligned) {
  WriteCheckpoint(Path("a.pt"), Sample());
  const Bytes file = ReadFile(Path("a.pt"));
  const auto integer = [&](size_t at, int bytes) {
    size_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | file.at(at + static_cast<size_t>(i));
    return value;
  };
  size_t at = 0, records = 0;
  for (; integer(at, 4) == 0x04034b50; ++records) {  // local headers, one after another
    EXPECT_EQ(0u, integer(at + 8, 2)) << "compression of record " << records;
    const size_t begin = at + 30 + integer(at + 26, 2) + integer(at + 28, 2);
    EXPECT_EQ(0u, begin % 64) << "record " << records;
    at = begin + integer(at + 18, 4);
  }
  EXPECT_EQ(0x02014b50u, integer(at, 4));  // the central directory follows at once
  EXPECT_EQ(3 + 16u, records);             // pickle, byte order, version, tensors
}

// The state of tests/data/checkpoints/make.py.
void ExpectMadeByPython(const Checkpoint& got) {
  StateDict want;
  want["conv.weight"] = TensorOf<float>(DType::kF32, {2, 2}, {1.5, -2.0, 0.25, 4.0});
  want["transposed"] =
      TensorOf<float>(DType::kF32, {4, 3}, {2, 6, 10, 3, 7, 11, 4, 8, 12, 5, 9, 13});
  want["strided"] = TensorOf<float>(DType::kF32, {5}, {1, 6, 11, 16, 21});
  want["bn.num_batches_tracked"] = TensorOf<int64_t>(DType::kI64, {}, {int64_t{1} << 40});
  want["tau"] = TensorOf<float>(DType::kF32, {}, {0.85f});
  want["empty"] = HostTensor::Zeros(DType::kF32, {0, 3});
  want["packed"] = TensorOf<uint8_t>(DType::kU8, {2}, {128, 65});
  want["half"] = TensorOf<uint16_t>(DType::kF16, {2}, {0x3c00, 0xb800});
  want["double"] = TensorOf<double>(DType::kF64, {1}, {1e300});
  want["flags"] = TensorOf<uint8_t>(DType::kBool, {2}, {1, 0});
  ExpectEqual(want, got.state);
  EXPECT_EQ((std::map<std::string, int64_t>{{"epoch", 12}}), got.integers);
  EXPECT_EQ((std::map<std::string, double>{{"best_prec1", 87.5}}), got.numbers);
  EXPECT_TRUE(got.text.empty());
  ASSERT_EQ(1u, got.groups.size());  // the optimizer is no dict of tensors
  ExpectEqual(TensorOf<float>(DType::kF32, {2}, {0, 1}), got.groups.at("averages").at("first"));
}

TEST_F(CheckpointTest, AZipFileOfPythonsIsRead) {
  ExpectMadeByPython(ReadCheckpoint(Data("zip.pt")));
}

TEST_F(CheckpointTest, ALegacyFileOfPythonsIsRead) {
  ExpectMadeByPython(ReadCheckpoint(Data("legacy.pt")));
}

// A Python that has torch, or "".
std::string PythonWithTorch() {
  for (const std::string python : {"python3", "/usr/bin/python3"})
    if (std::system((python + " -c 'import torch' 2> /dev/null").c_str()) == 0) return python;
  return "";
}

TEST_F(CheckpointTest, PythonReadsWhatWeWriteAndWeReadWhatItWrites) {
  const std::string python = PythonWithTorch();
  if (python.empty()) GTEST_SKIP() << "no python3 with torch here";
  WriteCheckpoint(Path("ours.pt"), Sample());
  std::ofstream(Path("check.py")) << R"(
import inspect, sys, torch
safe = {"weights_only": True} if "weights_only" in inspect.signature(torch.load).parameters else {}
got = torch.load(sys.argv[1] + "/ours.pt", **safe)
assert list(got) == ["state_dict", "nothing", "optimizer", "best_accuracy", "epoch", "network",
                     "recipe", "seed"], list(got)
state = got["state_dict"]
assert list(state)[:3] == ["weight", "a.counter", "empty"]
assert torch.equal(state["weight"], torch.tensor([[1, -2, 3], [-4, 5, 6.5]]))
assert state["a.counter"].item() == 1 << 40 and state["a.counter"].dtype == torch.int64
assert state["empty"].shape == (0, 3)
assert state["double"].tolist() == [1e300, -0.0]
assert state["packed"].dtype == torch.uint8 and state["packed"].tolist() == [128, 65]
assert state["flags"].tolist() == [True, False]
assert state["half"].item() == 1.0 and state["half"].dtype == torch.float16
assert [state[k].item() for k in ("i8", "i16", "i32")] == [-3, -300, -70000]
assert got["optimizer"]["weight"].item() == 0.5
assert bytes(got["recipe"].tolist()).decode() == 'epochs = 3\nname = "\u00e9"\n'
assert got["epoch"].item() == -7 and got["best_accuracy"].item() == 87.53
)";
  EXPECT_EQ(0, std::system((python + " " + Path("check.py") + " " + folder_.string()).c_str()));

  ASSERT_EQ(0, std::system((python + " " + Data("make.py") + " " + folder_.string()).c_str()));
  ExpectMadeByPython(ReadCheckpoint(Path("zip.pt")));
  ExpectMadeByPython(ReadCheckpoint(Path("legacy.pt")));
}

TEST_F(CheckpointTest, WhatIsNoCheckpointIsRefusedInOneLine) {
  const auto error = [&](const std::string& name, const std::string& content) {
    WriteFile(Path(name), {reinterpret_cast<const uint8_t*>(content.data()), content.size()});
    const std::string line = ErrorOf([&] { ReadCheckpoint(Path(name)); });
    return line.starts_with(Path(name) + ": ") ? line.substr(Path(name).size() + 2) : line;
  };
  const std::string none = "not a checkpoint: expected a file that torch.save wrote";
  EXPECT_EQ(none, error("empty", ""));
  EXPECT_EQ(none, error("text", "epochs = 3\n"));
  EXPECT_EQ(none, error("pickle", "\x80\x02K\x05."));
  EXPECT_EQ("not a checkpoint: damaged pickle at byte 3: unknown opcode 0xff",
            error("opcode", "\x80\x02\xff"));
  EXPECT_TRUE(error("zip", "PK\3\4 and no more").starts_with("not a checkpoint: damaged zip file"));
  EXPECT_EQ("x.pt: cannot open: No such file or directory",
            ErrorOf([] { ReadCheckpoint("x.pt"); }));
}

// Every file that is cut or has a byte changed is read or refused in one line; run under the
// sanitizers this is the test that no offset is believed.
void ExpectNoCrash(const std::string& original, const std::string& scratch, uint32_t seed) {
  const Bytes file = ReadFile(original);
  int refused = 0;
  const auto try_reading = [&](const Bytes& bytes) {
    fs::remove(scratch);  // some file systems flush a file that is cut to nothing and rewritten
    std::ofstream(scratch, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<ptrdiff_t>(bytes.size()));
    const std::string line = ErrorOf([&] { ReadCheckpoint(scratch); });
    refused += line != "no error";
    EXPECT_EQ(std::string::npos, line.find('\n'));
  };
  for (size_t size = 0; size < file.size(); ++size)
    try_reading(Bytes(file.begin(), file.begin() + static_cast<ptrdiff_t>(size)));
  EXPECT_EQ(static_cast<int>(file.size()), refused) << "truncated files that were accepted";
  std::mt19937 random(seed);
  for (int round = 0; round < 2; ++round)
    for (size_t at = 0; at < file.size(); ++at) {
      Bytes changed = file;
      changed[at] = static_cast<uint8_t>(round == 0 ? changed[at] ^ 1u << random() % 8 : random());
      try_reading(changed);
    }
  for (int round = 0; round < 2000; ++round) {
    Bytes changed = file;
    for (int i = 0; i < 4; ++i) changed[random() % file.size()] = static_cast<uint8_t>(random());
    try_reading(changed);
  }
}

TEST_F(CheckpointTest, DamagedLegacyFilesDoNotCrashTheReader) {
  ExpectNoCrash(Data("legacy.pt"), Path("damaged.pt"), 1);
}

TEST_F(CheckpointTest, DamagedZipFilesDoNotCrashTheReader) {
  ExpectNoCrash(Data("zip.pt"), Path("damaged.pt"), 2);
}

class PickleTest : public CheckpointTest {
 protected:
  // Reads a legacy file with a dict of one entry "w", whose pickle is `value`, and a storage "0" of
  // 4 floats; returns the error.
  std::string Read(const std::string& value, bool storage = true) {
    std::string file("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
    file += std::string("\x80\x02M\xe9\x03.", 6);
    file += std::string("\x80\x02}X\x0d\0\0\0little_endian\x88s.", 24);
    file += std::string("\x80\x02}X\x01\0\0\0w", 9) + value + "s.";
    file += storage ? std::string(
                          "\x80\x02]X\x01\0\0\0"
                          "0a.",
                          11)
                    : "\x80\x02].";
    file += std::string("\4\0\0\0\0\0\0\0", 8) + std::string(16, '\0');
    WriteFile(Path("a.pt"), {reinterpret_cast<const uint8_t*>(file.data()), file.size()});
    const std::string line =
        ErrorOf([&] { shape_ = ShapeText(ReadCheckpoint(Path("a.pt")).state.at("w").shape); });
    return line.starts_with(Path("a.pt") + ": ") ? line.substr(Path("a.pt").size() + 2) : line;
  }
  // A tensor of storage "0" with what follows the storage: offset, shape, strides.
  static std::string View(const std::string& rest, const std::string& type = "FloatStorage") {
    return "ctorch._utils\n_rebuild_tensor_v2\n((" + std::string("X\x07\0\0\0storage", 12) +
           "ctorch\n" + type + "\n" +
           std::string(
               "X\x01\0\0\0"
               "0X\x03\0\0\0"
               "cpuK\x04tQ",
               18) +
           rest + "\x89)tR";
  }
  std::string shape_;
};

TEST_F(PickleTest, AViewInsideItsStorageIsRead) {
  EXPECT_EQ("no error", Read(View(std::string("K\0", 2) + "K\x02K\x02\x86K\x02K\x01\x86")));
  EXPECT_EQ("2x2", shape_);
  EXPECT_EQ("no error", Read(View("K\x03K\x01\x85K\x01\x85")));
}

TEST_F(PickleTest, AViewOutsideItsStorageIsRefused) {
  const std::string outside = "tensor w: its view is outside of its storage";
  const std::string huge("\x8a\x08\0\0\0\0\0\0\0\x40", 10);  // 2^62
  const std::string zero("K\0", 2);
  EXPECT_EQ(outside, Read(View("K\x01K\x04\x85K\x01\x85")));                // one element too far
  EXPECT_EQ(outside, Read(View("K\x05K\x01\x85K\x01\x85")));                // begins beyond the end
  EXPECT_EQ(outside, Read(View("J\xff\xff\xff\xffK\x01\x85K\x01\x85")));    // begins before it
  EXPECT_EQ(outside, Read(View(zero + "K\x02\x85K\x04\x85")));              // a long stride
  EXPECT_EQ(outside, Read(View(zero + "J\xff\xff\xff\xff\x85K\x01\x85")));  // a negative size
  EXPECT_EQ(outside, Read(View(zero + "K\x02\x85J\xff\xff\xff\xff\x85")));  // a negative stride
  EXPECT_EQ(outside, Read(View(zero + "K\x02\x85K\x01K\x01\x86")));      // two strides for one size
  EXPECT_EQ(outside, Read(View(zero + huge + "\x85" + zero + "\x85")));  // expanded
  EXPECT_EQ(outside, Read(View(zero + huge + huge + "\x86" + zero + zero + "\x86")));
  EXPECT_EQ(outside, Read(View(zero + "K\x03\x85" + huge + "\x85")));  // the product overflows
  EXPECT_EQ(outside, Read(View(zero + huge + huge + zero + "\x87K\x01K\x01K\x01\x87")));
}

TEST_F(PickleTest, AnUnsupportedTypeIsNamed) {
  EXPECT_EQ("storage 0 has an unsupported type",
            Read(View("K\x03K\x01\x85K\x01\x85", "Float7Storage")));
}

TEST_F(PickleTest, NestingIsNoProblemAndEndlessValuesAreOne) {
  const std::string deep(1'000'000, '\x85');  // a tuple in a tuple in a tuple
  EXPECT_EQ("holds no tensors, but w; expected a state dict or one named state_dict, model, ...",
            Read("N" + deep, false));
  EXPECT_TRUE(Read(std::string(2'100'000, 'N'), false).ends_with("more than 2000000 values"));
  for (const std::string endless : {"2", "(", "h\x01", "\x94"}) {
    std::string again = endless == "h\x01" ? "Nq\x01" : "N";
    for (int i = 0; i < 2'100'000; ++i) again += endless;
    EXPECT_NE(std::string::npos, Read(again, false).find("endless ")) << endless;
  }
  // A list of 1,000 items copied 10,000 times.
  std::string copies = "](" + std::string(1000, ')') + "eq\x01";
  for (int i = 0; i < 10'000; ++i) copies += "ctorch\nSize\nh\x01\x85R0";
  EXPECT_TRUE(Read(copies, false).ends_with("more than 2000000 items"));
}

TEST_F(CheckpointTest, AFullDiskIsAnErrorAndLeavesNoFile) {
  signal(SIGXFSZ, SIG_IGN);  // so that the write fails
  rlimit limit;
  ASSERT_EQ(0, getrlimit(RLIMIT_FSIZE, &limit));
  const rlimit small = {500, limit.rlim_max};
  ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &small));
  const std::string line = ErrorOf([&] { WriteCheckpoint(Path("a.pt"), Sample()); });
  ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
  EXPECT_EQ(Path("a.pt") + ": cannot write: File too large", line);
  EXPECT_EQ(0u, FilesInFolder());
}

TEST_F(CheckpointTest, AFullDiskLeavesTheEarlierFile) {
  WriteCheckpoint(Path("a.pt"), Sample());
  const Bytes before = ReadFile(Path("a.pt"));
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit;
  ASSERT_EQ(0, getrlimit(RLIMIT_FSIZE, &limit));
  const rlimit small = {500, limit.rlim_max};
  ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &small));
  EXPECT_THROW(WriteCheckpoint(Path("a.pt"), Sample()), InputError);
  ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
  EXPECT_EQ(before, ReadFile(Path("a.pt")));
  EXPECT_EQ(1u, FilesInFolder());
}

// A checkpoint of a network whose tensors are all 1.
Checkpoint Ones(const std::string& name, const Arguments& arguments, bool own) {
  Checkpoint checkpoint;
  checkpoint.path = "ckpt.pt";
  for (const TensorSpec& spec : BuildNetwork(name, arguments).tensors) {
    HostTensor& tensor = checkpoint.state[spec.name];
    tensor = HostTensor::Zeros(spec.type, spec.shape);
    if (spec.type == DType::kF32) std::fill_n(tensor.f32(), tensor.numel(), 1.0f);
  }
  if (!own) return checkpoint;
  checkpoint.text["network"] = name;
  checkpoint.text["arguments"] = ArgumentsText(arguments);
  return checkpoint;
}

TEST(NetworkOfTest, OursSaysWhichNetworkItIsOf) {
  const Network network = NetworkOf(Ones("recu/resnet20", {{"classes", "7"}}, true), "");
  EXPECT_EQ("recu/resnet20", network.name);
  EXPECT_EQ("7", network.arguments.at("classes"));
}

TEST(NetworkOfTest, AForeignOneIsToldAndItsClassesAreDerived) {
  for (const char* name : {"recu/resnet20", "mcdonnell/wrn-8-1"}) {
    const Checkpoint foreign = Ones(name, {{"classes", "37"}}, false);
    EXPECT_EQ("37", NetworkOf(foreign, name).arguments.at("classes"));
    EXPECT_TRUE(ErrorOf([&] {
                  NetworkOf(foreign, "");
                }).starts_with("ckpt.pt: does not say which network it is of"));
  }
}

TEST(NetworkOfTest, ThePublishedFormsOfCountersAndTauAreAccepted) {
  Checkpoint checkpoint = Ones("recu/resnet20", {}, false);
  checkpoint.state.erase("bn1.num_batches_tracked");
  checkpoint.state["layer1.0.conv1.tau"].shape = {1};
  EXPECT_EQ("recu/resnet20", NetworkOf(checkpoint, "recu/resnet20").name);
}

TEST(NetworkOfTest, TheFirstTensorThatDiffersIsNamed) {
  const auto error = [](const std::function<void(StateDict&)>& change) {
    Checkpoint checkpoint = Ones("recu/resnet20", {}, true);
    change(checkpoint.state);
    return ErrorOf([&] { NetworkOf(checkpoint, ""); });
  };
  const float nan = std::nanf(""), infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ("ckpt.pt: tensor linear.bias is missing",
            error([](StateDict& state) { state.erase("linear.bias"); }));
  EXPECT_EQ("ckpt.pt: tensor bn1.weight: shape 15, expected 16", error([](StateDict& state) {
              state["bn1.weight"] = HostTensor::Zeros(DType::kF32, {15});
            }));
  EXPECT_EQ(
      "ckpt.pt: tensor bn1.weight: type float64, expected float32",
      error([](StateDict& state) { state["bn1.weight"] = HostTensor::Zeros(DType::kF64, {16}); }));
  EXPECT_EQ("ckpt.pt: tensor conv1.weight: holds a value that is not finite",
            error([=](StateDict& state) { state["conv1.weight"].f32()[100] = nan; }));
  EXPECT_EQ("ckpt.pt: tensor layer1.0.conv1.alpha: holds a value that is not finite",
            error([=](StateDict& state) { state["layer1.0.conv1.alpha"].f32()[3] = infinity; }));
  EXPECT_EQ("ckpt.pt: tensor layer9.weight: is not part of network recu/resnet20",
            error([](StateDict& state) { state["layer9.weight"]; }));
}

TEST(NetworkOfTest, AnUnknownNetworkIsRefused) {
  Checkpoint checkpoint = Ones("recu/resnet20", {}, true);
  checkpoint.text["network"] = "recu/resnet999";
  const std::string error = ErrorOf([&] { NetworkOf(checkpoint, ""); });
  EXPECT_TRUE(error.starts_with("ckpt.pt: unknown network \"recu/resnet999\", expected one of: "))
      << error;
  checkpoint.text["network"] = "mcdonnell/wrn-20-1";
  const std::string other = ErrorOf([&] { NetworkOf(checkpoint, ""); });
  EXPECT_TRUE(other.starts_with("ckpt.pt: tensors differ from those of network "
                                "mcdonnell/wrn-20-1: 62 tensors are missing (conv0, "))
      << other;
}

}  // namespace
}  // namespace lbrt
