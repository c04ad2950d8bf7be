// 20,000 random mutations of each of four model files: half of them in header or table, half with
// the checksums made right again, so that what lies behind them is reached. Whatever still opens is
// run: no crash, no sanitizer report. Run it with -fsanitize=address,undefined (the preset `dev`).
#include <gtest/gtest.h>

#include <map>

#include "runtime/lbrt.h"
#include "tests/tiny_model.h"

namespace lbrt {
namespace {

// Bytes are set, numbers made extreme, ranges copied: one to three times.
void Mutate(std::vector<uint8_t>* file, size_t begin, size_t end, Random* random) {
  const auto within = [&](size_t room) { return begin + random->Bits() % (end - begin - room); };
  for (int edits = random->Between(1, 3); edits > 0; --edits) {
    switch (random->Between(0, 4)) {
      case 0:
        (*file)[within(0)] = static_cast<uint8_t>(random->Bits());
        break;
      case 1:
        (*file)[within(0)] ^= static_cast<uint8_t>(1u << random->Between(0, 7));
        break;
      case 2: {
        const uint32_t number = random->Among({0u, 1u, 2u, 3u, 16u, 0x7FFFFFFFu, 0x80000000u,
                                               0xFFFFFFFFu, 0xFFFFFFFEu, 0x10000u, 0x7F800000u});
        std::memcpy(file->data() + within(4), &number, 4);
        break;
      }
      case 3: {  // a small step up or down in a 16-bit number
        uint16_t number;
        const size_t at = within(2);
        std::memcpy(&number, file->data() + at, 2);
        number = static_cast<uint16_t>(number + random->Between(-4, 4));
        std::memcpy(file->data() + at, &number, 2);
        break;
      }
      default: {
        const size_t length = static_cast<size_t>(random->Between(1, 16));
        std::memmove(file->data() + within(length), file->data() + within(length), length);
      }
    }
  }
}

// Makes every checksum right that can be found, and the mask.
void Seal(std::vector<uint8_t>* file) {
  lbm::Header header;
  std::memcpy(&header, file->data(), sizeof(header));
  if (header.table_offset == sizeof(header) && header.table_size <= file->size() &&
      header.table_size > 0) {
    flatbuffers::Verifier verifier(file->data() + sizeof(header), header.table_size);
    if (lbm::VerifyModelBuffer(verifier)) {
      // All is read before anything is written: in a mutated table the two may overlap.
      const lbm::Model* model = lbm::GetModel(file->data() + sizeof(header));
      header.features |= lbm::UsedFeatures(*model);
      std::vector<std::pair<size_t, lbm::Segment>> sealed;
      for (uint32_t i = 0; model->segments() != nullptr && i < model->segments()->size(); ++i) {
        const lbm::Segment& old = *model->segments()->Get(i);
        if (uint64_t{old.offset()} + old.size() > file->size()) continue;
        const auto at = reinterpret_cast<const uint8_t*>(&old) - file->data();
        sealed.emplace_back(static_cast<size_t>(at),
                            lbm::Segment(old.offset(), old.size(),
                                         lbm::Crc32c(file->data() + old.offset(), old.size())));
      }
      for (const auto& [at, segment] : sealed)
        std::memcpy(file->data() + at, &segment, sizeof(segment));
      std::memcpy(file->data(), &header, sizeof(header));
    }
  }
  ModelFile::SealHeader(file);
}

// Opens and runs; the status, and how many were run.
lbrt_status OpenAndRun(const std::vector<uint8_t>& file, const char* isa, size_t* run) {
  constexpr size_t kMostMemory = 16 << 20;
  constexpr int64_t kMostWork = 50'000'000;
  AlignedBytes memory(file);
  lbrt_model_options options = {};
  options.struct_size = sizeof(options);
  options.isa = isa;
  size_t bytes = 0, session_bytes = 0;
  lbrt_status status = lbrt_model_bytes(memory.data(), file.size(), &options, &bytes);
  if (status != LBRT_OK) return status;
  EXPECT_LT(bytes, kMostMemory) << "more than so small a file can need";
  AlignedBytes model_memory(bytes);
  const lbrt_model* model = nullptr;
  status =
      lbrt_model_open(memory.data(), file.size(), &options, model_memory.data(), bytes, &model);
  if (status != LBRT_OK) return status;
  // A valid description of something huge is no fault: not run, for the time it would take.
  int64_t work = 0;
  lbrt_op op = {};
  op.struct_size = sizeof(op);
  for (int bits = 1; bits <= 32; ++bits) {
    const lbrt_model* at = nullptr;
    if (lbrt_model_at(model, bits, &at) != LBRT_OK) continue;
    for (size_t i = 0; lbrt_model_op(at, i, &op) == LBRT_OK; ++i) work += op.macs;
  }
  EXPECT_EQ(LBRT_OK, lbrt_session_bytes(model, nullptr, &session_bytes));
  if (work > kMostWork || session_bytes > kMostMemory) return LBRT_OK;
  AlignedBytes session_memory(session_bytes);
  lbrt_session* session = nullptr;
  EXPECT_EQ(LBRT_OK,
            lbrt_session_create(model, nullptr, session_memory.data(), session_bytes, &session));
  lbrt_info info = {};
  info.struct_size = sizeof(info);
  EXPECT_EQ(LBRT_OK, lbrt_model_info(model, &info));
  for (uint32_t w = 0; w < info.width_count; ++w) {
    EXPECT_EQ(LBRT_OK, lbrt_set_width(session, info.widths[w]));
    EXPECT_EQ(LBRT_OK, lbrt_run(session));
    // Every byte of every output can be read.
    lbrt_tensor output = {};
    output.struct_size = sizeof(output);
    for (size_t i = 0; lbrt_output(session, i, &output) == LBRT_OK; ++i) {
      const auto count = static_cast<size_t>(int64_t{output.shape[0]} * output.shape[1] *
                                             output.shape[2] * output.shape[3]);
      std::vector<float> values(count);
      EXPECT_EQ(LBRT_OK, lbrt_tensor_read(session, output.index, values.data(), count));
    }
  }
  ++*run;
  return LBRT_OK;
}

void MutateTwentyThousandTimes(ModelFile tiny) {
  tiny.alignment = lbm::kMinSegmentAlignment;  // few bytes between segments, where only zeros pass
  const std::vector<uint8_t> original = tiny.Bytes();
  lbm::Header header;
  std::memcpy(&header, original.data(), sizeof(header));
  const size_t table_end = sizeof(header) + header.table_size;

  std::vector<std::string> isas;
  while (const char* name = lbrt_isa_name(isas.size())) isas.push_back(name);
  Random random(2026);
  std::map<lbrt_status, size_t> statuses;
  size_t run = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::vector<uint8_t> file = original;
    const bool in_table = i % 2 == 0, sealed = i % 4 < 2;
    // A sealed header is refused for what it says; so most mutations are made behind it.
    const size_t begin = sealed && random.Chance(80) ? sizeof(header) : 0;
    Mutate(&file, begin, in_table ? table_end : file.size(), &random);
    if (random.Chance(2)) file.resize(random.Bits() % (file.size() + 64));
    if (sealed && file.size() >= sizeof(header)) Seal(&file);
    ++statuses[OpenAndRun(file, isas[static_cast<size_t>(i) % isas.size()].c_str(), &run)];
    ASSERT_FALSE(testing::Test::HasFailure()) << "mutation " << i;
  }
  // The mutations reach what they are meant to reach.
  EXPECT_GT(run, 1'000u);
  EXPECT_GT(statuses[LBRT_BAD_MODEL], 2'000u);
  EXPECT_GT(statuses[LBRT_BAD_CHECKSUM], 2'000u);
  EXPECT_GT(statuses[LBRT_TRUNCATED], 50u);
  EXPECT_GT(statuses[LBRT_NOT_A_MODEL], 10u);
  EXPECT_GT(statuses[LBRT_NEEDS_FEATURE], 0u);
}

TEST(ModelMutation, TwentyThousandMutationsAreRefusedOrRun) {
  MutateTwentyThousandTimes(TinyModel());
}
TEST(ModelMutation, SoAreThoseOfAModelOfCodes) { MutateTwentyThousandTimes(TinyCodesModel()); }
TEST(ModelMutation, SoAreThoseOfAModelOfOperators) {
  MutateTwentyThousandTimes(TinyOperatorsModel());
}
TEST(ModelMutation, SoAreThoseOfAModelOfWidths) { MutateTwentyThousandTimes(TinyWidthsModel()); }

}  // namespace
}  // namespace lbrt
