// A CIFAR-10 of a few images that a network can tell apart, for tests of training.
#pragma once

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

namespace lbrt {

inline constexpr size_t kTinyBatch = 12, kTinyTest = 20;

// One record: the label, then the red, green and blue planes. A class is a brightness of the left
// and one of the right half, the rest is noise.
inline std::string TinyCifarRecord(std::minstd_rand& random) {
  const unsigned label = random() % 10;
  std::string record(1, static_cast<char>(label));
  for (int i = 0; i < 3 * 32 * 32; ++i) {
    const bool left = i % 32 < 16;
    const unsigned base = left ? 20 * label : 200 - 20 * label;
    record += static_cast<char>(base + random() % 50);
  }
  return record;
}

inline void WriteTinyCifar(const std::filesystem::path& folder) {
  std::minstd_rand random(9);
  const auto write = [&](const std::string& name, size_t images) {
    std::ofstream file(folder / name, std::ios::binary);
    for (size_t i = 0; i < images; ++i) file << TinyCifarRecord(random);
  };
  for (int i = 1; i <= 5; ++i) write("data_batch_" + std::to_string(i) + ".bin", kTinyBatch);
  write("test_batch.bin", kTinyTest);
}

}  // namespace lbrt
