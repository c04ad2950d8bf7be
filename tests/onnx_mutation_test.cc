// Mutations of ONNX files through the fuzzer's entry point: refused or converted, never a crash.
// Run it with -fsanitize=address,undefined (the preset `dev`).
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "images/file.h"
#include "tests/onnx_networks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace lbrt {
namespace {

void Mutate(std::vector<uint8_t>* file, std::mt19937* random) {
  const auto below = [&](size_t n) { return (*random)() % n; };
  for (size_t edits = 1 + below(3); edits > 0; --edits) {
    const size_t at = below(file->size());
    switch (below(4)) {
      case 0:
        (*file)[at] = static_cast<uint8_t>((*random)());
        break;
      case 1:
        (*file)[at] ^= static_cast<uint8_t>(1u << below(8));
        break;
      case 2:  // near what is there: lengths, numbers of fields, small integers
        (*file)[at] = static_cast<uint8_t>((*file)[at] + below(7) - 3);
        break;
      default: {
        const size_t length = 1 + below(12);
        if (file->size() > 2 * length)
          std::memmove(file->data() + below(file->size() - length),
                       file->data() + below(file->size() - length), length);
      }
    }
  }
  if (below(20) == 0) file->resize(1 + below(file->size()));
}

TEST(OnnxMutation, MutatedFilesAreRefusedOrConverted) {
  std::mt19937 random(2026);
  OnnxWriter small;  // mostly structure: mutations hit names, shapes and attributes
  std::string x = small.Input("x", {1, 2, 5, 5});
  x = small.Quant(x, small.Scalar(0.5f), 0, 3, true, false);
  x = small.Node("Pad", {x, small.Integers({0, 0, 1, 1, 0, 0, 1, 1})});
  x = small.Node("Conv", {x, small.Constant({2, 1, 3, 3}, std::vector<float>(18, 1))},
                 {Ints("kernel_shape", {3, 3}), Int("group", 2), Ints("strides", {2, 1})});
  x = small.Node("AveragePool", {x}, {Ints("kernel_shape", {3, 5})});
  x = small.Node("Trunc",
                 {x, small.Scalar(0.5f), small.Scalar(0), small.Scalar(8), small.Scalar(3)}, {},
                 OnnxWriter::kQonnx);
  x = small.Node("Concat", {x, x}, {Int("axis", 1)});
  x = small.Node("Reshape", {x, small.Integers({1, -1})});
  small.Output(small.Node("Gemm", {x, small.Constant({4, 3}, std::vector<float>(12, 2))}));
  const std::vector<uint8_t> files[] = {small.Bytes(), OnnxNetworks(true).Thresholds()};
  for (const std::vector<uint8_t>& original : files)
    for (int i = 0; i < 4'000; ++i) {
      std::vector<uint8_t> file = original;
      Mutate(&file, &random);
      LLVMFuzzerTestOneInput(file.data(), file.size());
    }
}

TEST(OnnxMutation, EveryPrefixIsRefusedOrConverted) {
  const std::vector<uint8_t> file = OnnxNetworks(false).Thresholds();
  for (size_t size = 0; size < file.size(); size += 7) LLVMFuzzerTestOneInput(file.data(), size);
}

TEST(OnnxMutation, TheCorpusIsReplayed) {
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(LBRT_SOURCE_DIR "/tests/data/onnx")) {
    const std::vector<uint8_t> file = ReadFile(entry.path().string());
    LLVMFuzzerTestOneInput(file.data(), file.size());
    ++files;
  }
  EXPECT_GE(files, 5u);
}

}  // namespace
}  // namespace lbrt
