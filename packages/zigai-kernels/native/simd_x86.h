/* Primitives that AVX2 and AVX-512 share, on 128-bit and 256-bit vectors. simd_baseline.h documents each of them. */

#ifdef ZG_EMULATE
#include "emulation.h"
#else
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

typedef __m256 v8;
typedef uint32_t u32x4 __attribute__((vector_size(16)));

INLINE void transpose_words(u32x4 x[4]) {
    __m128i a = _mm_unpacklo_epi32((__m128i)x[0], (__m128i)x[1]), b = _mm_unpackhi_epi32((__m128i)x[0], (__m128i)x[1]);
    __m128i c = _mm_unpacklo_epi32((__m128i)x[2], (__m128i)x[3]), d = _mm_unpackhi_epi32((__m128i)x[2], (__m128i)x[3]);
    x[0] = (u32x4)_mm_unpacklo_epi64(a, c), x[1] = (u32x4)_mm_unpackhi_epi64(a, c);
    x[2] = (u32x4)_mm_unpacklo_epi64(b, d), x[3] = (u32x4)_mm_unpackhi_epi64(b, d);
}
INLINE u32x4 transpose_bytes(u32x4 x) {
    return (u32x4)_mm_shuffle_epi8((__m128i)x, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}

INLINE float f32_from_f16(uint16_t half) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half))); }
INLINE uint16_t f16_from_f32(float x) {
    return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT), 0);
}

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
INLINE void quantize32(const float *x, float inverse, int8_t *q, int16_t pairs[4]) {
    const __m256 scale = _mm256_set1_ps(inverse);
    __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x), scale));
    __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8), scale));
    __m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 16), scale));
    __m256i d = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 24), scale));
    /* packing works within 128-bit halves; the permutation restores the order of the groups of 4 */
    __m256i v = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    v = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    v = _mm256_max_epi8(v, _mm256_set1_epi8(-127)); /* elements that are not finite have become -128 */
    _mm256_storeu_si256((__m256i *)q, v);
    __m256i s = _mm256_maddubs_epi16(_mm256_set1_epi8(1), v);
    s = _mm256_add_epi16(s, _mm256_shuffle_epi32(s, 0x4e));
    s = _mm256_add_epi16(s, _mm256_shuffle_epi32(s, 0xb1));
    _mm_storeu_si64(pairs, _mm_unpacklo_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
}

INLINE void fix32(const float *x, float inverse, int16_t *q) {
    const __m256 scale = _mm256_set1_ps(inverse);
    for (int i = 0; i < 32; i += 16) {
        __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), scale));
        __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8), scale));
        __m256i v = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
        _mm256_storeu_si256((__m256i *)(q + i), v);
    }
}

INLINE void spin_pause(void) { _mm_pause(); }
