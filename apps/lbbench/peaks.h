// What a machine can do at best: bare loops in registers, one thread, to hold kernels against.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace lbrt {

// One loop; `macs` useful multiply-adds per iteration.
struct PeakLoop {
  double macs;
  void (*run)(size_t iterations);
};

// The loops of one column of kernels/kernels.h. Where there are two, the faster counts: which one
// it is differs by CPU.
struct PeakLoops {
  std::string_view isa;
  std::span<const PeakLoop> popcount;  // +-1 x +-1: xor, popcount, add
  std::span<const PeakLoop> dot8;      // 8-bit x 8-bit, summed in 32 bits
  std::span<const PeakLoop> fma;  // f32 multiply-add (two instructions where hardware has none)
};

// nullptr for a column this file has no loops for.
const PeakLoops* FindPeakLoops(std::string_view isa);

// A chain of dependent instructions that takes kChainCycles clock cycles per step, whatever the
// clock: steps * kChainCycles / seconds is the clock, now.
#if defined(__x86_64__)
inline constexpr double kChainCycles = 3;  // imul, on every x86 since 2008
#else
inline constexpr double kChainCycles = 1;  // add
#endif
void RunChain(size_t steps);

}  // namespace lbrt
