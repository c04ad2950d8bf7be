// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, as in iSCSI, RFC 3720 B.4): the checksum of
// header, table and segments.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lbrt::lbm {

// Of each file that includes it, its own. Firmware goes byte by byte; elsewhere memory for seven
// more tables makes it five times as fast (slicing by 8: Kounavis and Berry, "Novel Table
// Lookup-Based Algorithms for High-Performance CRC Generation", 2008), where the CPU has no
// instruction for it (kernels/crc32c.h).
#if defined(LBRT_HOST) && LBRT_HOST
constexpr size_t kCrc32cSlices = 8;
#else
constexpr size_t kCrc32cSlices = 1;
#endif

// [s][b]: what byte b does to the checksum s bytes later.
constexpr auto kCrc32cTables = [] {
  std::array<std::array<uint32_t, 256>, kCrc32cSlices> tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0u);
    tables[0][i] = crc;
  }
  for (size_t s = 1; s < kCrc32cSlices; ++s)
    for (size_t i = 0; i < 256; ++i)
      tables[s][i] = (tables[s - 1][i] >> 8) ^ tables[0][tables[s - 1][i] & 0xFF];
  return tables;
}();

// Of `size` bytes; pass the result of the bytes before to continue.
[[maybe_unused]] static uint32_t Crc32c(const void* data, size_t size, uint32_t crc = 0) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  crc = ~crc;
  if constexpr (kCrc32cSlices == 8) {
    const auto word = [](const uint8_t* at) {
      return uint32_t{at[0]} | uint32_t{at[1]} << 8 | uint32_t{at[2]} << 16 | uint32_t{at[3]} << 24;
    };
    const auto& t = kCrc32cTables;
    for (; size >= 8; size -= 8, bytes += 8) {
      const uint32_t low = word(bytes) ^ crc, high = word(bytes + 4);
      crc = t[7][low & 0xFF] ^ t[6][low >> 8 & 0xFF] ^ t[5][low >> 16 & 0xFF] ^ t[4][low >> 24] ^
            t[3][high & 0xFF] ^ t[2][high >> 8 & 0xFF] ^ t[1][high >> 16 & 0xFF] ^ t[0][high >> 24];
    }
  }
  for (size_t i = 0; i < size; ++i) crc = kCrc32cTables[0][(crc ^ bytes[i]) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

}  // namespace lbrt::lbm
