// The first 32 bytes of a `.lbm` file. Little-endian, as everything in it.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace lbrt::lbm {

static_assert(std::endian::native == std::endian::little, "files are read in place");

inline constexpr char kMagic[4] = {'L', 'B', 'M', '1'};
inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kTableAlignment = 16;
// Segments start at multiples of this in files for hosts; readers ask for kMinSegmentAlignment and
// for file memory aligned to it.
inline constexpr size_t kSegmentAlignment = 64;
inline constexpr size_t kMinSegmentAlignment = 16;

struct Header {
  char magic[4];          // kMagic
  uint32_t version;       // kVersion
  uint64_t features;      // schema/features.h: a reader that lacks one of these refuses the file
  uint32_t table_offset;  // of the FlatBuffers table (schema/lbm.fbs); a multiple of 16
  uint32_t table_size;
  uint32_t table_crc;   // CRC-32C of the table's bytes
  uint32_t header_crc;  // CRC-32C of the 28 bytes above
};
static_assert(sizeof(Header) == 32 && offsetof(Header, header_crc) == 28);

}  // namespace lbrt::lbm
