// Mutated and invented checkpoints are read or refused: no crash, no sanitizer report, nothing
// executed. Zip files are made anew around mutated pickles, so that no checksum guards the reader.
// Run it with -fsanitize=address,undefined (the preset `dev`).
#include <gtest/gtest.h>

#include <filesystem>
#include <initializer_list>
#include <random>

#include "images/error.h"
#include "images/file.h"
#include "network/checkpoint.h"
#include "tests/image_files.h"
#include "tests/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace lbrt {
namespace {

using Python = TorchFile::Python;

class Random {
 public:
  uint32_t Bits() { return engine_(); }
  int Between(int low, int high) {
    return low + static_cast<int>(Bits() % static_cast<uint32_t>(high - low + 1));
  }
  bool Chance(int percent) { return Between(1, 100) <= percent; }
  uint32_t Among(std::initializer_list<uint32_t> list) { return list.begin()[Bits() % list.size()]; }

 private:
  std::mt19937 engine_{2026};
};

// Every kind of value and type that the reader knows.
std::string Everything(TorchFile& file, const std::string& command) {
  StateDict state;
  for (const DType type : {DType::kF16, DType::kF32, DType::kF64, DType::kU8, DType::kI8,
                           DType::kI16, DType::kI32, DType::kI64, DType::kBool})
    state[std::string("layer.") + DTypeName(type)] = HostTensor::Zeros(type, {2, 3});
  state["conv.bn_dict.2.weight"] = HostTensor::Zeros(DType::kF32, {});
  state["mix_activ.alpha_activ"] = HostTensor::Zeros(DType::kF32, {3});
  state["mix_weight.alpha_weight"] = HostTensor::Zeros(DType::kF32, {4});
  const size_t shared = file.Storage("FloatStorage", 4, std::vector<uint8_t>(96));
  const size_t brain = file.Storage("BFloat16Storage", 2, std::vector<uint8_t>(8));
  const std::string parameter = "ctorch._utils\n_rebuild_parameter\n" +
                                file.View(shared, 2, {4, 3}, {1, 4}) + "\x88" + "}\x87R";
  return file.Dict(
      {{"epoch", file.Integer(12)},
       {"state_dict", file.State(state, "module.")},
       {"best", "G@U\xe0" + std::string(5, '\0')},
       {"id", file.Integer(int64_t{1} << 40)},
       {"none", "N"},
       {"size", "ctorch\nSize\n" + file.Tuple({1, 2}) + "\x85R"},
       {"recorder", "cmine\nRecorder\n)\x81}" + file.Text("command") + file.Text(command) + "sb"},
       {"call", "cos\nsystem\n" + file.Text(command) + "\x85R"},
       {"averages", file.Dict({{"a", parameter},
                               {"b", file.View(shared, 1, {5}, {4})},
                               {"c", file.View(brain, 0, {2, 2}, {2, 1})}})},
       {"groups", "](" + file.Dict({{"lr", file.Integer(1)}}) + "q\x05h\x05" + "e"},
       {"network", file.Tensor(HostTensor::FromText("recu/resnet20"))}});
}

void Mutate(std::string* bytes, Random* random) {
  static constexpr char kOpcodes[] =
      "(.012NJKMGTUXB])tl}ae}dsuhjqrcRbQIC\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f"
      "\x90\x91\x92\x93\x94\x95\x96";
  const auto within = [&](size_t room) {
    return random->Bits() % static_cast<uint32_t>(bytes->size() - room);
  };
  for (int edits = random->Between(1, 3); edits > 0 && bytes->size() > 40; --edits) {
    const size_t length = static_cast<size_t>(random->Between(1, 24));
    switch (random->Between(0, 6)) {
      case 0:
        (*bytes)[within(0)] = static_cast<char>(random->Bits());
        break;
      case 1:
        (*bytes)[within(0)] ^= static_cast<char>(1u << random->Between(0, 7));
        break;
      case 2: {
        const uint32_t number =
            random->Among({0u, 1u, 2u, 255u, 0x7fffffffu, 0x80000000u, 0xffffffffu, 0x10000u});
        std::memcpy(bytes->data() + within(4), &number, 4);
        break;
      }
      case 3:
        (*bytes)[within(0)] = kOpcodes[random->Bits() % (sizeof kOpcodes - 1)];
        break;
      case 4:
        bytes->insert(within(0), bytes->substr(within(length), length));
        break;
      case 5:
        bytes->insert(within(0), 1, kOpcodes[random->Bits() % (sizeof kOpcodes - 1)]);
        break;
      default:
        bytes->erase(within(length), length);
    }
  }
}

class CheckpointMutation : public testing::Test {
 protected:
  ~CheckpointMutation() override {
    EXPECT_FALSE(std::filesystem::exists(folder_ / "executed"));
  }
  std::string Command() const { return "touch " + folder_ / "executed"; }

  void Try(const std::vector<uint8_t>& file) {
    LLVMFuzzerTestOneInput(file.data(), file.size());
    try {
      ParseCheckpoint(file, "mutated");
      ++read_;
    } catch (const InputError& error) {
      ++refused_;
      EXPECT_EQ(std::string::npos, std::string(error.what()).find('\n'));
    }
  }

  const TemporaryFolder folder_;
  Random random_;
  int read_ = 0, refused_ = 0;
};

TEST_F(CheckpointMutation, TheCorpusIsReplayed) {
  for (const auto& entry :
       std::filesystem::directory_iterator(LBRT_SOURCE_DIR "/tests/data/checkpoints"))
    if (entry.path().extension() != ".py") Try(ReadFile(entry.path().string()));
  for (const Python python : {Python::k3, Python::k2}) {
    TorchFile file(python);
    const std::string root = Everything(file, Command());
    Try(file.Legacy(root));
    Try(file.Zip(root));
    Try(file.Zip(root, true));
  }
  EXPECT_EQ(8, read_);
  EXPECT_EQ(0, refused_);
}

TEST_F(CheckpointMutation, TwentyThousandMutatedPicklesAreReadOrRefused) {
  for (int i = 0; i < 20'000; ++i) {
    TorchFile file(i % 2 == 0 ? Python::k3 : Python::k2);
    std::string root = Everything(file, Command());
    Mutate(&root, &random_);
    Try(i % 4 < 2 ? file.Legacy(root) : file.Zip(root));
  }
  EXPECT_GT(read_, 2'000);
  EXPECT_GT(refused_, 2'000);
}

TEST_F(CheckpointMutation, SoAreFilesMutatedAnywhere) {
  for (int i = 0; i < 20'000; ++i) {
    TorchFile file(i % 2 == 0 ? Python::k3 : Python::k2);
    const std::string root = Everything(file, Command());
    const auto bytes = i % 4 < 2 ? file.Legacy(root) : file.Zip(root);
    std::string mutated(bytes.begin(), bytes.end());
    Mutate(&mutated, &random_);
    if (random_.Chance(10)) mutated.resize(random_.Bits() % mutated.size());
    Try({mutated.begin(), mutated.end()});
  }
  EXPECT_GT(read_, 1'000);
  EXPECT_GT(refused_, 2'000);
}

// Pickles of nothing but opcodes and small numbers go where no mutation of a good one goes.
TEST_F(CheckpointMutation, InventedPicklesAreReadOrRefused) {
  TorchFile parts;
  const std::string tensor = parts.View(parts.Storage("FloatStorage", 4, {0, 0, 0, 0}), 0, {1}, {1});
  const std::vector<std::string> words = {
      "(", "0", "1", "2", "N", "\x88", "\x89", "K\x01", "K\x02", ")", "t", "\x85", "\x86", "\x87",
      "]", "l", "a", "e", "}", "d", "s", "u", "\x8f", "\x90", "\x91", "h\x01", "h\x02", "q\x01",
      "q\x02", "\x94", "R", "b", "\x81", "\x92", "Q", "cos\nsystem\n", "ccollections\nOrderedDict\n",
      "ctorch\nSize\n", "ctorch\nFloatStorage\n", "ctorch._utils\n_rebuild_tensor_v2\n",
      "ctorch._utils\n_rebuild_parameter\n", "ctorch._tensor\n_rebuild_from_type_v2\n",
      parts.Text("storage"), parts.Text("state_dict"), parts.Text("w"), parts.Text("0"), tensor};
  for (int i = 0; i < 30'000; ++i) {
    std::string root = random_.Chance(50) ? "}(" + parts.Text("w") + tensor : "";
    for (int length = random_.Between(1, 40); length > 0; --length)
      root += words[random_.Bits() % words.size()];
    if (random_.Chance(50)) root += "u";
    Try(i % 2 == 0 ? parts.Legacy(root) : parts.Zip(root));
  }
  EXPECT_GT(read_, 100);
  EXPECT_GT(refused_, 10'000);
}

}  // namespace
}  // namespace lbrt
