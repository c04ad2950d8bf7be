// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, as in iSCSI, RFC 3720 B.4): the checksum of
// header, table and segments.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lbrt::lbm {

inline constexpr std::array<uint32_t, 256> kCrc32cTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}();

// Of `size` bytes; pass the result of the bytes before to continue.
inline uint32_t Crc32c(const void* data, size_t size, uint32_t crc = 0) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  crc = ~crc;
  for (size_t i = 0; i < size; ++i) crc = kCrc32cTable[(crc ^ bytes[i]) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

}  // namespace lbrt::lbm
