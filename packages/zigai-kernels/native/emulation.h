/* For tests only: AVX-512 emulated by SIMDe on machines without it, with the conversions that SIMDe lacks done on halves. */

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#define ZG_JOIN_I(low, high) _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1)
#define ZG_JOIN_F(low, high) _mm512_castsi512_ps(ZG_JOIN_I(_mm256_castps_si256(low), _mm256_castps_si256(high)))
#define ZG_LOW_F(a) _mm512_castps512_ps256(a)
#define ZG_HIGH_F(a) _mm256_castsi256_ps(_mm512_extracti64x4_epi64(_mm512_castps_si512(a), 1))

#undef _mm512_cvttps_epi32
#define _mm512_cvttps_epi32(a) ZG_JOIN_I(_mm256_cvttps_epi32(ZG_LOW_F(a)), _mm256_cvttps_epi32(ZG_HIGH_F(a)))
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps(a) ZG_JOIN_F(_mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)))
#undef _mm512_cvtps_ph
#define _mm512_cvtps_ph(a, mode) _mm256_set_m128i(_mm256_cvtps_ph(ZG_HIGH_F(a), mode), _mm256_cvtps_ph(ZG_LOW_F(a), mode))
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32(a) ZG_JOIN_I(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1)))
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps(a, half) ZG_HIGH_F(a) /* only ever used for the upper half */
#undef _mm512_madd_epi16
#define _mm512_madd_epi16(a, b) ZG_JOIN_I(_mm256_madd_epi16(_mm512_castsi512_si256(a), _mm512_castsi512_si256(b)), _mm256_madd_epi16(_mm512_extracti64x4_epi64(a, 1), _mm512_extracti64x4_epi64(b, 1)))
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps(a) ZG_JOIN_F(_mm256_cvtepi32_ps(_mm512_castsi512_si256(a)), _mm256_cvtepi32_ps(_mm512_extracti64x4_epi64(a, 1)))
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32(a) ZG_JOIN_I(_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)))
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32(a) ZG_JOIN_I(_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)))
