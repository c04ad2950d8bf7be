// The C header, compiled as C99 with -Wall -Wextra -pedantic -Werror (tests/CMakeLists.txt), and
// the program in it.
#include <gtest/gtest.h>

#include "runtime/lbrt.h"
#include "tests/tiny_model.h"

extern "C" int api_c99_run(const void* file, size_t size, int32_t bits, void* memory,
                           size_t memory_bytes, float* logits, size_t most);

namespace lbrt {
namespace {

TEST(ApiC99, AProgramInCRunsAModel) {
  const ModelFile model = TinyModel();
  AlignedBytes file(model.Bytes()), memory(1 << 20);
  float logits[3] = {};
  ASSERT_EQ(3, api_c99_run(file.data(), file.size(), 0, memory.data(), memory.size(), logits, 3));
  const PlainModel plain(model, {{1, 4, 4, 1, std::vector<float>(16, 0.0f)}});
  EXPECT_EQ(plain.tensor(9).values, std::vector<float>(logits, logits + 3));
}

TEST(ApiC99, AProgramInCChoosesAWidth) {
  const ModelFile model = TinyWidthsModel();
  AlignedBytes file(model.Bytes()), memory(1 << 20);
  const auto run = [&](int32_t bits, float* logits) {
    return api_c99_run(file.data(), file.size(), bits, memory.data(), memory.size(), logits, 3);
  };
  for (size_t i = 0; i < 3; ++i) {
    float logits[3] = {};
    ASSERT_EQ(3, run(model.table.widths[i], logits));
    const PlainModel plain(model.OneWidth(i), {{1, 4, 4, 1, std::vector<float>(16, 0.0f)}});
    EXPECT_EQ(plain.tensor(5).values, std::vector<float>(logits, logits + 3));
  }
  float logits[3];
  EXPECT_EQ(-1 - LBRT_BAD_WIDTH, run(2, logits));
}

TEST(ApiC99, ADamagedFileComesBackAsAStatus) {
  std::vector<uint8_t> bytes = TinyModel().Bytes();
  bytes[50] ^= 1;
  AlignedBytes file(bytes), memory(1 << 20);
  float logits[3];
  EXPECT_EQ(-1 - 7, api_c99_run(file.data(), file.size(), 0, memory.data(), memory.size(), logits, 3));
}

}  // namespace
}  // namespace lbrt
