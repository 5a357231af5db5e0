/* The 256-bit integer primitives and the 8-float vectors that AVX2 and AVX-512 share. See simd_baseline.h
   for what each must do. */

#ifdef ZG_EMULATE
#include "emulation.h"
#else
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

typedef __m256 v8;
typedef __m256i bytes;
typedef __m256i scales; /* 16 int16: a scale j at word j of the low half, its partner at word j of the high */

INLINE float f32_from_f16(uint16_t half) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half))); }
INLINE uint16_t f16_from_f32(float x) {
    return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT), 0);
}

INLINE v8 v8_zero(void) { return _mm256_setzero_ps(); }
INLINE v8 v8_set(float x) { return _mm256_set1_ps(x); }
INLINE v8 v8_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void v8_store(float *p, v8 v) { _mm256_storeu_ps(p, v); }
INLINE int half_at(const uint8_t *p) { uint16_t x; memcpy(&x, p, 2); return x; }
/* The float16 at p, p + stride, ... p + 7 * stride */
INLINE v8 v8_gather_f16(const uint8_t *p, int stride) {
    __m128i low = _mm_cvtsi32_si128(half_at(p)), high = _mm_cvtsi32_si128(half_at(p + 4 * stride));
    low = _mm_insert_epi16(low, half_at(p + stride), 1);
    high = _mm_insert_epi16(high, half_at(p + 5 * stride), 1);
    low = _mm_insert_epi16(low, half_at(p + 2 * stride), 2);
    high = _mm_insert_epi16(high, half_at(p + 6 * stride), 2);
    low = _mm_insert_epi16(low, half_at(p + 3 * stride), 3);
    high = _mm_insert_epi16(high, half_at(p + 7 * stride), 3);
    return _mm256_cvtph_ps(_mm_unpacklo_epi64(low, high));
}
INLINE v8 v8_add(v8 a, v8 b) { return _mm256_add_ps(a, b); }
INLINE v8 v8_mul(v8 a, v8 b) { return _mm256_mul_ps(a, b); }
INLINE v8 v8_fma(v8 a, v8 b, v8 c) { return _mm256_fmadd_ps(a, b, c); }
INLINE float sum_of_4(__m128 a) {
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}
INLINE float v8_sum(v8 a) { return sum_of_4(_mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1))); }
INLINE float v8_peak(v8 a) {
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}
INLINE v8 v8_from_u8(const uint8_t *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

INLINE bytes bytes_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE bytes bytes_set(uint8_t x) { return _mm256_set1_epi8((char)x); }
INLINE bytes bytes_or(bytes a, bytes b) { return _mm256_or_si256(a, b); }
INLINE bytes bytes_sub(bytes a, bytes b) { return _mm256_sub_epi8(a, b); }
INLINE bytes bytes_bits(bytes a, int shift, uint8_t mask) {
    return _mm256_and_si256(shift ? _mm256_srli_epi16(a, shift) : a, bytes_set(mask));
}
INLINE bytes bytes_shift_left(bytes a, int shift) { return _mm256_slli_epi16(a, shift); }
INLINE bytes bytes_abs(bytes a) { return _mm256_abs_epi8(a); }
INLINE bytes bytes_nibbles(const uint8_t *p) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), bytes_set(15));
}
INLINE bytes bytes_from_bits(const uint8_t *p) {
    int32_t bits;
    memcpy(&bits, p, 4);
    const __m256i which = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                           2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ULL);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(bits), which), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), bytes_set(16));
}

INLINE scales scales_from_u8(const uint8_t *p) {
    return _mm256_broadcastsi128_si256(_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE scales scales_from_i8_pairs(const uint8_t *p) {
    const __m128i even_odd = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p), even_odd));
}
INLINE __m256i scale_words(scales s, int j) {
    return _mm256_shuffle_epi8(s, _mm256_set1_epi16((short)((2 * j + 1) << 8 | 2 * j)));
}

INLINE __m256i pair_products(bytes w, bytes a) { return _mm256_maddubs_epi16(w, a); }
INLINE __m256i quad_products(bytes w, bytes a) {
#ifdef ZG_VNNI
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), w, a);
#else
    return _mm256_madd_epi16(pair_products(w, a), _mm256_set1_epi16(1));
#endif
}
/* Pairs of products fit int16 as long as w <= 128 and |a| <= 127: 2 * 128 * 127 = 32,512. */
INLINE v8 dot_unsigned(bytes w, bytes a) { return _mm256_cvtepi32_ps(quad_products(w, a)); }
/* w * a = |w| * (a with w's sign) */
INLINE v8 dot_signed(bytes w, bytes magnitude, bytes a) { return dot_unsigned(magnitude, _mm256_sign_epi8(a, w)); }
INLINE v8 dot_unsigned_scaled(bytes w, bytes a, scales s, int j) {
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(pair_products(w, a), scale_words(s, j)));
}
INLINE v8 dot_signed_scaled(bytes w, bytes magnitude, bytes a, scales s, int j) {
    return dot_unsigned_scaled(magnitude, _mm256_sign_epi8(a, w), s, j);
}

INLINE int quantize32(const float *x, float inverse, int8_t *q) {
    const __m256 scale = _mm256_set1_ps(inverse);
    __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), scale));
    __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), scale));
    __m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16), scale));
    __m256i d = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 24), scale));
    /* the packs work within 128-bit halves; the permutation puts the groups of 4 back in order */
    __m256i v = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    v = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    v = _mm256_max_epi8(v, _mm256_set1_epi8(-127)); /* what is not finite becomes -128 before */
    _mm256_storeu_si256((__m256i *)q, v);
    __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), v), _mm256_set1_epi16(1));
    __m128i t = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
    t = _mm_add_epi32(t, _mm_shuffle_epi32(t, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}

INLINE void spin_pause(void) { _mm_pause(); }
