/* What runs before main on the board of mps2_an386.ld. */
#include <stdint.h>

extern void _start(void); /* newlib's, with semihosting (rdimon.specs) */

void Reset(void) {
  *(volatile uint32_t*)0xE000ED88 |= 0xFu << 20; /* CPACR: the FPU may be used */
  _start();
}

__attribute__((section(".vectors"), used)) static const struct {
  uint32_t stack;
  void (*reset)(void);
} vectors = {0x20400000, Reset};
