#include "apps/lbbench/peaks.h"

#include <bit>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace lbrt {
namespace {

// A loop over independent sums, sum = STEP(sum, a, b): enough of them to hide latency, few enough
// for 16 registers. They are variables, since an array may stay in memory. The empty asm statements
// hide values from the compiler, so that it computes every step; R is their constraint.
#define LBRT_FOUR(DO, ...) \
  DO(s0, __VA_ARGS__) DO(s1, __VA_ARGS__) DO(s2, __VA_ARGS__) DO(s3, __VA_ARGS__)
#define LBRT_EIGHT(DO, ...)  \
  LBRT_FOUR(DO, __VA_ARGS__) \
  DO(s4, __VA_ARGS__) DO(s5, __VA_ARGS__) DO(s6, __VA_ARGS__) DO(s7, __VA_ARGS__)
#define LBRT_TWELVE(DO, ...)  \
  LBRT_EIGHT(DO, __VA_ARGS__) \
  DO(s8, __VA_ARGS__) DO(s9, __VA_ARGS__) DO(s10, __VA_ARGS__) DO(s11, __VA_ARGS__)
#define LBRT_START(sum, ZERO) auto sum = ZERO;
#define LBRT_STEP(sum, R, STEP) \
  asm volatile("" : R(a));      \
  sum = STEP(sum, a, b);        \
  asm volatile("" : R(sum));
#define LBRT_LOOP(NAME, ATTRIBUTE, SUMS, R, ZERO, A, B, STEP) \
  ATTRIBUTE void NAME(size_t iterations) {                    \
    auto a = A;                                               \
    const auto b = B;                                         \
    SUMS(LBRT_START, ZERO)                                    \
    for (size_t i = 0; i < iterations; ++i) {                 \
      SUMS(LBRT_STEP, R, STEP)                                \
    }                                                         \
  }
#define LBRT_TARGET(x) __attribute__((target(x)))

// -------- any CPU

#if defined(__x86_64__)
#define LBRT_FLOAT_REGISTER "+x"
#elif defined(__aarch64__)
#define LBRT_FLOAT_REGISTER "+w"
#else
#define LBRT_FLOAT_REGISTER "+f"
#endif
#define LBRT_POPCOUNT(s, a, b) s + static_cast<uint64_t>(std::popcount(a ^ b))
#define LBRT_MULADD(s, a, b) s + a* b
LBRT_LOOP(PopcountScalar, , LBRT_FOUR, "+r", uint64_t{0}, uint64_t{0x123456789abcdef},
          uint64_t{0xfedcba987654321}, LBRT_POPCOUNT)
LBRT_LOOP(Dot8Scalar, , LBRT_FOUR, "+r", int32_t{0}, int32_t{77}, int32_t{91}, LBRT_MULADD)
LBRT_LOOP(FmaScalar, , LBRT_TWELVE, LBRT_FLOAT_REGISTER, 0.f, 1.5f, 1.25f, LBRT_MULADD)

constexpr PeakLoop kScalarPopcount[] = {{4 * 64, PopcountScalar}};
constexpr PeakLoop kScalarDot8[] = {{4, Dot8Scalar}};
constexpr PeakLoop kScalarFma[] = {{12, FmaScalar}};

#if defined(__x86_64__)
// -------- x86

// The bytes' popcounts by two table look-ups, summed in bytes; every eight, in 64 bits.
#define LBRT_POPCOUNT_BY_TABLE(NAME, TARGET, V, M, BITS, TABLE)                                 \
  LBRT_TARGET(TARGET) void NAME(size_t iterations) {                                            \
    const V low = M##_set1_epi8(15), zero = M##_setzero_##BITS(), table = TABLE, b = table;     \
    V a = low, sum = zero;                                                                      \
    for (size_t i = 0; i < iterations; ++i) {                                                   \
      V s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero; \
      LBRT_EIGHT(LBRT_TABLE_STEP, V, M, BITS)                                                   \
      const V even = M##_add_epi8(M##_add_epi8(s0, s2), M##_add_epi8(s4, s6));                  \
      const V odd = M##_add_epi8(M##_add_epi8(s1, s3), M##_add_epi8(s5, s7));                   \
      sum = M##_add_epi64(sum, M##_sad_epu8(M##_add_epi8(even, odd), zero));                    \
      asm volatile("" : "+v"(sum));                                                             \
    }                                                                                           \
  }
#define LBRT_TABLE_STEP(s, V, M, BITS)                                                    \
  {                                                                                       \
    asm volatile("" : "+v"(a));                                                           \
    const V x = M##_xor_##BITS(a, b);                                                     \
    s = M##_add_epi8(M##_shuffle_epi8(table, M##_and_##BITS(x, low)),                     \
                     M##_shuffle_epi8(table, M##_and_##BITS(M##_srli_epi16(x, 4), low))); \
  }
#define LBRT_TABLE _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4)
LBRT_POPCOUNT_BY_TABLE(PopcountSse4, "sse4.1", __m128i, _mm, si128, LBRT_TABLE)
LBRT_POPCOUNT_BY_TABLE(PopcountAvx2, "avx2", __m256i, _mm256, si256,
                       _mm256_broadcastsi128_si256(LBRT_TABLE))
LBRT_POPCOUNT_BY_TABLE(PopcountAvx512, "avx512f,avx512bw", __m512i, _mm512, si512,
                       _mm512_maskz_broadcast_i32x4(0xffff, LBRT_TABLE))
LBRT_LOOP(PopcountInstruction, LBRT_TARGET("popcnt"), LBRT_FOUR, "+r", uint64_t{0},
          uint64_t{0x123456789abcdef}, uint64_t{0xfedcba987654321}, LBRT_POPCOUNT)
#define LBRT_VPOPCNT(s, a, b) _mm512_add_epi64(s, _mm512_popcnt_epi64(_mm512_xor_si512(a, b)))
LBRT_LOOP(PopcountVpopcntdq, LBRT_TARGET("avx512f,avx512vpopcntdq"), LBRT_TWELVE, "+v",
          _mm512_setzero_si512(), _mm512_set1_epi64(77), _mm512_set1_epi64(-91), LBRT_VPOPCNT)

#define LBRT_MADD_128(s, a, b) _mm_add_epi32(s, _mm_madd_epi16(a, b))
#define LBRT_MADD_256(s, a, b) _mm256_add_epi32(s, _mm256_madd_epi16(a, b))
#define LBRT_MADD_512(s, a, b) _mm512_add_epi32(s, _mm512_madd_epi16(a, b))
LBRT_LOOP(Dot8Sse4, LBRT_TARGET("sse4.1"), LBRT_TWELVE, "+v", _mm_setzero_si128(),
          _mm_set1_epi16(77), _mm_set1_epi16(91), LBRT_MADD_128)
LBRT_LOOP(Dot8Avx2, LBRT_TARGET("avx2"), LBRT_TWELVE, "+v", _mm256_setzero_si256(),
          _mm256_set1_epi16(77), _mm256_set1_epi16(91), LBRT_MADD_256)
LBRT_LOOP(Dot8Avx512, LBRT_TARGET("avx512f,avx512bw"), LBRT_TWELVE, "+v", _mm512_setzero_si512(),
          _mm512_set1_epi16(77), _mm512_set1_epi16(91), LBRT_MADD_512)
LBRT_LOOP(Dot8Vnni, LBRT_TARGET("avx512f,avx512vnni"), LBRT_TWELVE, "+v", _mm512_setzero_si512(),
          _mm512_set1_epi8(77), _mm512_set1_epi8(91), _mm512_dpbusd_epi32)

#define LBRT_FMA_128(s, a, b) _mm_add_ps(s, _mm_mul_ps(a, b))
#define LBRT_FMA_256(s, a, b) _mm256_fmadd_ps(a, b, s)
#define LBRT_FMA_512(s, a, b) _mm512_fmadd_ps(a, b, s)
LBRT_LOOP(FmaSse4, LBRT_TARGET("sse4.1"), LBRT_TWELVE, "+v", _mm_setzero_ps(), _mm_set1_ps(1.5f),
          _mm_set1_ps(1.25f), LBRT_FMA_128)
LBRT_LOOP(FmaAvx2, LBRT_TARGET("avx2,fma"), LBRT_TWELVE, "+v", _mm256_setzero_ps(),
          _mm256_set1_ps(1.5f), _mm256_set1_ps(1.25f), LBRT_FMA_256)
LBRT_LOOP(FmaAvx512, LBRT_TARGET("avx512f"), LBRT_TWELVE, "+v", _mm512_setzero_ps(),
          _mm512_set1_ps(1.5f), _mm512_set1_ps(1.25f), LBRT_FMA_512)

constexpr PeakLoop kSse4Popcount[] = {{8 * 128, PopcountSse4}, {4 * 64, PopcountInstruction}};
constexpr PeakLoop kSse4Dot8[] = {{12 * 8, Dot8Sse4}};
constexpr PeakLoop kSse4Fma[] = {{12 * 4, FmaSse4}};
constexpr PeakLoop kAvx2Popcount[] = {{8 * 256, PopcountAvx2}, {4 * 64, PopcountInstruction}};
constexpr PeakLoop kAvx2Dot8[] = {{12 * 16, Dot8Avx2}};
constexpr PeakLoop kAvx2Fma[] = {{12 * 8, FmaAvx2}};
constexpr PeakLoop kAvx512Popcount[] = {{8 * 512, PopcountAvx512}, {4 * 64, PopcountInstruction}};
constexpr PeakLoop kAvx512Dot8[] = {{12 * 32, Dot8Avx512}};
constexpr PeakLoop kAvx512Fma[] = {{12 * 16, FmaAvx512}};
constexpr PeakLoop kVpopcntdqPopcount[] = {{12 * 512, PopcountVpopcntdq}};
constexpr PeakLoop kVnniDot8[] = {{12 * 64, Dot8Vnni}};

constexpr PeakLoops kLoops[] = {
    {"scalar", kScalarPopcount, kScalarDot8, kScalarFma},
    {"sse4", kSse4Popcount, kSse4Dot8, kSse4Fma},
    {"avx2", kAvx2Popcount, kAvx2Dot8, kAvx2Fma},
    {"avx512", kAvx512Popcount, kAvx512Dot8, kAvx512Fma},
    {"avx512-popcnt", kVpopcntdqPopcount, kVnniDot8, kAvx512Fma},
};

#elif defined(__aarch64__)
// -------- AArch64; the loops of `sve` are NEON's, whose vectors most cores with SVE share

#define LBRT_CNT(s, a, b) vpadalq_u8(s, vcntq_u8(veorq_u8(a, b)))
LBRT_LOOP(PopcountNeon, , LBRT_TWELVE, "+w", vdupq_n_u16(0), vdupq_n_u8(0x5b), vdupq_n_u8(0xa7),
          LBRT_CNT)
LBRT_LOOP(Dot8Neon, , LBRT_TWELVE, "+w", vdupq_n_s32(0), vdup_n_s16(77), vdup_n_s16(91), vmlal_s16)
LBRT_LOOP(FmaNeon, , LBRT_TWELVE, "+w", vdupq_n_f32(0), vdupq_n_f32(1.5f), vdupq_n_f32(1.25f),
          vfmaq_f32)

constexpr PeakLoop kNeonPopcount[] = {{12 * 128, PopcountNeon}};
constexpr PeakLoop kNeonDot8[] = {{12 * 4, Dot8Neon}};
constexpr PeakLoop kNeonFma[] = {{12 * 4, FmaNeon}};

constexpr PeakLoops kLoops[] = {
    {"scalar", kScalarPopcount, kScalarDot8, kScalarFma},
    {"neon", kNeonPopcount, kNeonDot8, kNeonFma},
    {"sve", kNeonPopcount, kNeonDot8, kNeonFma},
};

#else
constexpr PeakLoops kLoops[] = {{"scalar", kScalarPopcount, kScalarDot8, kScalarFma}};
#endif

}  // namespace

const PeakLoops* FindPeakLoops(std::string_view isa) {
  for (const PeakLoops& loops : kLoops)
    if (loops.isa == isa) return &loops;
  return nullptr;
}

void RunChain(size_t steps) {
  uint64_t x = 3;
  for (size_t i = 0; i < steps; i += 8) {
#if defined(__x86_64__)
    asm volatile(
        "imul %0, %0\n imul %0, %0\n imul %0, %0\n imul %0, %0\n"
        "imul %0, %0\n imul %0, %0\n imul %0, %0\n imul %0, %0\n"
        : "+r"(x));
#elif defined(__aarch64__)
    asm volatile(
        "add %0, %0, %0\n add %0, %0, %0\n add %0, %0, %0\n add %0, %0, %0\n"
        "add %0, %0, %0\n add %0, %0, %0\n add %0, %0, %0\n add %0, %0, %0\n"
        : "+r"(x));
#else
    for (int k = 0; k < 8; ++k) {
      x += x;
      asm volatile("" : "+r"(x));
    }
#endif
  }
}

}  // namespace lbrt
