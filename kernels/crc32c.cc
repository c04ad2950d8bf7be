// CRC-32C by the CPU's own instruction, which takes three cycles for eight bytes but may start
// every cycle: so three parts of the bytes side by side, put together afterwards.
#include "kernels/crc32c.h"

#include <cstring>

#if defined(__x86_64__) || defined(__aarch64__)
namespace lbrt {
namespace {

#if defined(__x86_64__)
inline uint32_t Add(uint32_t crc, uint64_t eight_bytes) {
  uint64_t sum = crc;
  __asm__("crc32q %1, %0" : "+r"(sum) : "rm"(eight_bytes));
  return static_cast<uint32_t>(sum);
}
inline uint32_t Add(uint32_t crc, uint8_t byte) {
  __asm__("crc32b %1, %0" : "+r"(crc) : "qm"(byte));
  return crc;
}
#else
inline uint32_t Add(uint32_t crc, uint64_t eight_bytes) {
  __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(eight_bytes));
  return crc;
}
inline uint32_t Add(uint32_t crc, uint8_t byte) {
  __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(uint32_t{byte}));
  return crc;
}
#endif

inline uint64_t EightBytes(const uint8_t* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

// Polynomials of the checksum's field: x^i at bit 31 - i.
constexpr uint32_t kOne = 1u << 31;

constexpr uint32_t Times(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? 0x82F63B78u : 0u);
  }
  return product;
}

struct Powers {
  uint32_t of[64];
};
constexpr Powers kPowers = [] {  // x^(2^i)
  Powers powers = {};
  powers.of[0] = kOne >> 1;
  for (int i = 1; i < 64; ++i) powers.of[i] = Times(powers.of[i - 1], powers.of[i - 1]);
  return powers;
}();

// x^n: what n bits behind it make of a checksum, as a factor.
uint32_t PowerOfX(uint64_t n) {
  uint32_t power = kOne;
  for (int i = 0; n != 0; ++i, n >>= 1) {
    if ((n & 1) != 0) power = Times(power, kPowers.of[i]);
  }
  return power;
}

}  // namespace

uint32_t Crc32cInstruction(const void* data, size_t size, uint32_t crc) {
  constexpr size_t kWorthParts = 2048;  // below, putting parts together takes longer than they save
  const auto* bytes = static_cast<const uint8_t*>(data);
  crc = ~crc;
  if (size >= kWorthParts) {
    const size_t part = size / (3 * sizeof(uint64_t)) * sizeof(uint64_t);
    uint32_t second = 0, third = 0;
    for (size_t i = 0; i < part; i += sizeof(uint64_t)) {
      crc = Add(crc, EightBytes(bytes + i));
      second = Add(second, EightBytes(bytes + part + i));
      third = Add(third, EightBytes(bytes + 2 * part + i));
    }
    const uint32_t factor = PowerOfX(8 * uint64_t{part});
    crc = Times(Times(crc, factor) ^ second, factor) ^ third;
    bytes += 3 * part;
    size -= 3 * part;
  }
  for (; size >= sizeof(uint64_t); size -= sizeof(uint64_t), bytes += sizeof(uint64_t)) {
    crc = Add(crc, EightBytes(bytes));
  }
  for (; size > 0; --size, ++bytes) crc = Add(crc, *bytes);
  return ~crc;
}

}  // namespace lbrt

#endif
