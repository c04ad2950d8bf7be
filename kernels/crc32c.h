// Host builds: the checksum of schema/crc32c.h by the instruction that x86-64 has since SSE4.2, and
// most of AArch64.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lbrt {

// Of `size` bytes; `crc` is the result of the bytes before, or 0.
using Crc32cRow = uint32_t(const void* data, size_t size, uint32_t crc);

// Null where this CPU has no such instruction (kernels/cpu.cc).
Crc32cRow* FindCrc32c();

#if defined(__x86_64__) || defined(__aarch64__)
Crc32cRow Crc32cInstruction;  // on a CPU that has it
#endif

}  // namespace lbrt
