/* For tests only: emulates the AVX-512 instructions that simd_avx512.h uses, with AVX2 on each half of a vector, for
   machines without AVX-512. An instruction that is missing here does not compile. On machines with AVX-512,
   tests/test_emulation.py compares the emulation with the instructions. */

#include <immintrin.h>

typedef struct { __m256 low, high; } zg_floats;
typedef struct { __m256i low, high; } zg_integers;
typedef zg_floats zg_mask16;  /* bit i of the mask is element i: all ones or all zeros */
typedef zg_integers zg_mask64; /* bit i of the mask is the top bit of byte i */
#define __m512 zg_floats
#define __m512i zg_integers

#define ZG_INLINE static inline __attribute__((always_inline))
#define ZG_BOTH(result, name, low_half, high_half, ...) \
    ZG_INLINE result zg_##name(__VA_ARGS__) { return (result){low_half, high_half}; }
#define ZG_SET(result, name, half, type) ZG_BOTH(result, name, half(x), half(x), type x)
#define ZG_1(result, name, half, type) ZG_BOTH(result, name, half(a.low), half(a.high), type a)
#define ZG_2(type, name, half) ZG_BOTH(type, name, half(a.low, b.low), half(a.high, b.high), type a, type b)
#define ZG_SHIFT(name, half) \
    ZG_BOTH(zg_integers, name, half(a.low, (int)n), half(a.high, (int)n), zg_integers a, unsigned n)

ZG_BOTH(zg_floats, setzero_ps, _mm256_setzero_ps(), _mm256_setzero_ps(), void)
ZG_BOTH(zg_integers, setzero_si512, _mm256_setzero_si256(), _mm256_setzero_si256(), void)
ZG_SET(zg_floats, set1_ps, _mm256_set1_ps, float)
ZG_SET(zg_integers, set1_epi8, _mm256_set1_epi8, char)
ZG_SET(zg_integers, set1_epi16, _mm256_set1_epi16, short)
ZG_SET(zg_integers, set1_epi32, _mm256_set1_epi32, int)

ZG_BOTH(zg_floats, loadu_ps, _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8), const float *p)
ZG_INLINE void zg_storeu_ps(float *p, zg_floats a) { _mm256_storeu_ps(p, a.low), _mm256_storeu_ps(p + 8, a.high); }
ZG_INLINE zg_integers zg_loadu_si512(const void *p) {
    const __m256i *half = p;
    return (zg_integers){_mm256_loadu_si256(half), _mm256_loadu_si256(half + 1)};
}
ZG_INLINE void zg_storeu_si512(void *p, zg_integers a) {
    __m256i *half = p;
    _mm256_storeu_si256(half, a.low), _mm256_storeu_si256(half + 1, a.high);
}

ZG_2(zg_floats, add_ps, _mm256_add_ps)
ZG_2(zg_floats, sub_ps, _mm256_sub_ps)
ZG_2(zg_floats, mul_ps, _mm256_mul_ps)
ZG_2(zg_floats, div_ps, _mm256_div_ps)
ZG_2(zg_floats, max_ps, _mm256_max_ps)
ZG_2(zg_floats, min_ps, _mm256_min_ps)
ZG_BOTH(zg_floats, fmadd_ps, _mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high),
        zg_floats a, zg_floats b, zg_floats c)
#define ZG_ABS(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
ZG_1(zg_floats, abs_ps, ZG_ABS, zg_floats)

ZG_2(zg_integers, and_si512, _mm256_and_si256)
ZG_2(zg_integers, or_si512, _mm256_or_si256)
ZG_2(zg_integers, xor_si512, _mm256_xor_si256)
ZG_2(zg_integers, add_epi32, _mm256_add_epi32)
ZG_2(zg_integers, sub_epi8, _mm256_sub_epi8)
ZG_2(zg_integers, sub_epi32, _mm256_sub_epi32)
ZG_2(zg_integers, shuffle_epi8, _mm256_shuffle_epi8)
ZG_BOTH(zg_integers, broadcast_i32x4, _mm256_broadcastsi128_si256(a), _mm256_broadcastsi128_si256(a), __m128i a)
ZG_2(zg_integers, mullo_epi32, _mm256_mullo_epi32)
ZG_2(zg_integers, mullo_epi16, _mm256_mullo_epi16)
ZG_1(zg_integers, abs_epi8, _mm256_abs_epi8, zg_integers)
ZG_SHIFT(slli_epi16, _mm256_slli_epi16)
ZG_SHIFT(srli_epi16, _mm256_srli_epi16)
ZG_SHIFT(slli_epi32, _mm256_slli_epi32)
ZG_SHIFT(srai_epi32, _mm256_srai_epi32)

ZG_1(zg_floats, castsi512_ps, _mm256_castsi256_ps, zg_integers)
ZG_1(zg_floats, cvtepi32_ps, _mm256_cvtepi32_ps, zg_integers)
ZG_1(zg_integers, cvttps_epi32, _mm256_cvttps_epi32, zg_floats)
#define ZG_UPPER(a) _mm256_extracti128_si256(a, 1)
ZG_BOTH(zg_floats, cvtph_ps, _mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(ZG_UPPER(a)), __m256i a)
ZG_BOTH(zg_integers, cvtepu16_epi32, _mm256_cvtepu16_epi32(_mm256_castsi256_si128(a)),
        _mm256_cvtepu16_epi32(ZG_UPPER(a)), __m256i a)
ZG_BOTH(zg_integers, cvtepi8_epi32, _mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)), __m128i a)
ZG_BOTH(zg_integers, cvtepu8_epi32, _mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)), __m128i a)

/* Unsigned times signed bytes, the sum of four products in each int32; AVX2's maddubs would saturate. */
ZG_INLINE __m256i zg_dot_bytes(__m256i sum, __m256i a, __m256i b) {
    __m256i even = _mm256_madd_epi16(
        _mm256_and_si256(a, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8));
    __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(a, 8), _mm256_srai_epi16(b, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
ZG_BOTH(zg_integers, dpbusd_epi32, zg_dot_bytes(sum.low, a.low, b.low), zg_dot_bytes(sum.high, a.high, b.high),
        zg_integers sum, zg_integers a, zg_integers b)
ZG_BOTH(zg_integers, dpwssd_epi32, _mm256_add_epi32(sum.low, _mm256_madd_epi16(a.low, b.low)),
        _mm256_add_epi32(sum.high, _mm256_madd_epi16(a.high, b.high)), zg_integers sum, zg_integers a, zg_integers b)

ZG_INLINE zg_mask64 zg_movepi8_mask(zg_integers a) { return a; }
ZG_BOTH(zg_integers, mask_sub_epi8, _mm256_blendv_epi8(other.low, _mm256_sub_epi8(a.low, b.low), mask.low),
        _mm256_blendv_epi8(other.high, _mm256_sub_epi8(a.high, b.high), mask.high),
        zg_integers other, zg_mask64 mask, zg_integers a, zg_integers b)
ZG_BOTH(zg_floats, mask_blend_ps, _mm256_blendv_ps(a.low, b.low, mask.low),
        _mm256_blendv_ps(a.high, b.high, mask.high), zg_mask16 mask, zg_floats a, zg_floats b)

/* Macros, because the last operand must be a compile-time constant. */
#define _mm512_cmp_ps_mask(a, b, how) \
    ((zg_mask16){_mm256_cmp_ps((a).low, (b).low, how), _mm256_cmp_ps((a).high, (b).high, how)})
#define _mm512_roundscale_ps(a, how) ((zg_floats){_mm256_round_ps((a).low, how), _mm256_round_ps((a).high, how)})
#define _mm512_cvtps_ph(a, how) _mm256_set_m128i(_mm256_cvtps_ph((a).high, how), _mm256_cvtps_ph((a).low, how))
#define _mm512_extractf32x8_ps(a, half) ((half) ? (a).high : (a).low)
#define _mm512_castps512_ps256(a) ((a).low)
#define _mm512_abs_epi8 zg_abs_epi8
#define _mm512_abs_ps zg_abs_ps
#define _mm512_add_epi32 zg_add_epi32
#define _mm512_add_ps zg_add_ps
#define _mm512_and_si512 zg_and_si512
#define _mm512_broadcast_i32x4 zg_broadcast_i32x4
#define _mm512_castsi512_ps zg_castsi512_ps
#define _mm512_cvtepi32_ps zg_cvtepi32_ps
#define _mm512_cvtepi8_epi32 zg_cvtepi8_epi32
#define _mm512_cvtepu16_epi32 zg_cvtepu16_epi32
#define _mm512_cvtepu8_epi32 zg_cvtepu8_epi32
#define _mm512_cvtph_ps zg_cvtph_ps
#define _mm512_cvttps_epi32 zg_cvttps_epi32
#define _mm512_div_ps zg_div_ps
#define _mm512_dpbusd_epi32 zg_dpbusd_epi32
#define _mm512_dpwssd_epi32 zg_dpwssd_epi32
#define _mm512_fmadd_ps zg_fmadd_ps
#define _mm512_loadu_ps zg_loadu_ps
#define _mm512_loadu_si512 zg_loadu_si512
#define _mm512_mask_blend_ps zg_mask_blend_ps
#define _mm512_mask_sub_epi8 zg_mask_sub_epi8
#define _mm512_max_ps zg_max_ps
#define _mm512_min_ps zg_min_ps
#define _mm512_movepi8_mask zg_movepi8_mask
#define _mm512_mul_ps zg_mul_ps
#define _mm512_mullo_epi16 zg_mullo_epi16
#define _mm512_mullo_epi32 zg_mullo_epi32
#define _mm512_or_si512 zg_or_si512
#define _mm512_set1_epi16 zg_set1_epi16
#define _mm512_set1_epi32 zg_set1_epi32
#define _mm512_set1_epi8 zg_set1_epi8
#define _mm512_set1_ps zg_set1_ps
#define _mm512_setzero_ps zg_setzero_ps
#define _mm512_setzero_si512 zg_setzero_si512
#define _mm512_shuffle_epi8 zg_shuffle_epi8
#define _mm512_slli_epi16 zg_slli_epi16
#define _mm512_slli_epi32 zg_slli_epi32
#define _mm512_srai_epi32 zg_srai_epi32
#define _mm512_srli_epi16 zg_srli_epi16
#define _mm512_storeu_ps zg_storeu_ps
#define _mm512_storeu_si512 zg_storeu_si512
#define _mm512_sub_epi32 zg_sub_epi32
#define _mm512_sub_epi8 zg_sub_epi8
#define _mm512_sub_ps zg_sub_ps
#define _mm512_xor_si512 zg_xor_si512
