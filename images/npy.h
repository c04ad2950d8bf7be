// NumPy's .npy files (format versions 1, 2 and 3), C order, little endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lbrt {

enum class NpyType { kU8, kI32, kI64, kF32 };

struct NpyArray {
  NpyType type = NpyType::kF32;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;  // count() elements

  size_t count() const;
  std::vector<float> floats() const;      // type must be kF32
  std::vector<int64_t> integers() const;  // any integer type, widened
};

// Throws InputError: not a .npy file, another type, Fortran order, a size that does not match.
NpyArray ReadNpy(const std::string& path);

// float32, format version 1, written atomically. values: [rows columns].
void WriteNpy(const std::string& path, std::span<const float> values, size_t rows, size_t columns);

}  // namespace lbrt
