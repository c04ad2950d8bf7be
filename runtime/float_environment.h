// The floating-point environment of the numeric contract: round to nearest, subnormals kept, no
// traps. Set for as long as the object lives, then put back as it was.
#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace lbrt {

class FloatEnvironment {
 public:
#if defined(__SSE__)
  FloatEnvironment() : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80); }  // all exceptions masked
  ~FloatEnvironment() { _mm_setcsr(saved_); }

 private:
  uint32_t saved_;
#elif defined(__aarch64__)
  FloatEnvironment() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" : : "r"(uint64_t{0}) : "memory");
  }
  ~FloatEnvironment() { asm volatile("msr fpcr, %0" : : "r"(saved_) : "memory"); }

 private:
  uint64_t saved_;
#elif defined(__arm__) && defined(__ARM_FP)
  FloatEnvironment() {
    asm volatile("vmrs %0, fpscr" : "=r"(saved_));
    asm volatile("vmsr fpscr, %0" : : "r"(0) : "memory");
  }
  ~FloatEnvironment() { asm volatile("vmsr fpscr, %0" : : "r"(saved_) : "memory"); }

 private:
  uint32_t saved_;
#else
  FloatEnvironment() {}  // software arithmetic has no modes
  ~FloatEnvironment() {}
#endif

 public:
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;
};

}  // namespace lbrt
