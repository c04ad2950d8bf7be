// The columns of simd.cc. On a CPU without its instruction set a column may be named, not called.
#pragma once

#include "kernels/kernels.h"

namespace lbrt {

#if defined(__x86_64__)
extern const Kernels kSse4Kernels;          // SSE4.2, PCLMUL, AES
extern const Kernels kAvx2Kernels;          // AVX2, BMI2, FMA, F16C
extern const Kernels kAvx512Kernels;        // AVX-512 F, BW, DQ, VL
extern const Kernels kAvx512PopcntKernels;  // and VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ
#elif defined(__aarch64__)
extern const Kernels kNeonKernels;
extern const Kernels kSveKernels;
#endif

}  // namespace lbrt
