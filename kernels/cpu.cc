// Which columns this CPU can run. The one file of kernels/ that asks the operating system.
#include <cstdlib>
#include <cstring>

#include "kernels/columns.h"
#include "kernels/crc32c.h"

#if defined(__x86_64__)
#include <cpuinfo.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace lbrt {
namespace {

// Each column needs all that the one before it needs, so that what a CPU can run is a prefix.
constinit const Kernels* const kColumns[] = {
    &kScalarKernels,
#if defined(__x86_64__)
    &kSse4Kernels,
    &kAvx2Kernels,
    &kAvx512Kernels,
    &kAvx512PopcntKernels,
#elif defined(__aarch64__)
    &kNeonKernels,
    &kSveKernels,
#endif
};

#if defined(__x86_64__)
size_t CountColumns() {
  if (!cpuinfo_initialize()) return 1;
  if (!(cpuinfo_has_x86_sse4_2() && cpuinfo_has_x86_pclmulqdq() && cpuinfo_has_x86_aes())) return 1;
  if (!(cpuinfo_has_x86_avx2() && cpuinfo_has_x86_bmi() && cpuinfo_has_x86_bmi2() &&
        cpuinfo_has_x86_fma3() && cpuinfo_has_x86_f16c())) {
    return 2;
  }
  if (!(cpuinfo_has_x86_avx512f() && cpuinfo_has_x86_avx512bw() && cpuinfo_has_x86_avx512dq() &&
        cpuinfo_has_x86_avx512vl())) {
    return 3;
  }
  if (!(cpuinfo_has_x86_avx512vbmi() && cpuinfo_has_x86_avx512vbmi2() &&
        cpuinfo_has_x86_avx512vnni() && cpuinfo_has_x86_avx512bitalg() &&
        cpuinfo_has_x86_avx512vpopcntdq())) {
    return 4;
  }
  return 5;
}
Crc32cRow* Crc32cOfThisCpu() {
  return cpuinfo_initialize() && cpuinfo_has_x86_sse4_2() ? Crc32cInstruction : nullptr;
}
#elif defined(__aarch64__)
// NEON belongs to AArch64. cpuinfo would read /proc/cpuinfo, which an emulator takes from its host.
size_t CountColumns() {
#if defined(__linux__)
  constexpr unsigned long kHwcapSve = 1ul << 22;
  return getauxval(AT_HWCAP) & kHwcapSve ? 3 : 2;
#else
  return 2;
#endif
}
Crc32cRow* Crc32cOfThisCpu() {
#if defined(__linux__)
  constexpr unsigned long kHwcapCrc32 = 1ul << 7;
  return getauxval(AT_HWCAP) & kHwcapCrc32 ? Crc32cInstruction : nullptr;
#else
  return nullptr;
#endif
}
#else
size_t CountColumns() { return 1; }
Crc32cRow* Crc32cOfThisCpu() { return nullptr; }
#endif

}  // namespace

std::span<const Kernels* const> AvailableKernels() { return {kColumns, CountColumns()}; }

Crc32cRow* FindCrc32c() { return Crc32cOfThisCpu(); }

const Kernels* FindKernels(const char* isa) {
  for (const Kernels* kernels : AvailableKernels()) {
    if (std::strcmp(kernels->isa, isa) == 0) return kernels;
  }
  return nullptr;
}

const Kernels* BestKernels() {
  const char* isa = std::getenv("LBRT_ISA");
  return isa != nullptr && *isa != '\0' ? FindKernels(isa) : AvailableKernels().back();
}

}  // namespace lbrt
