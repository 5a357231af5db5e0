/* SIMD primitives for AVX2 with FMA and F16C: vectors of 8 floats. */

#include "simd_x86.h"

#define VF 8
typedef __m256 vf;

INLINE vf vf_set(float x) { return _mm256_set1_ps(x); }
INLINE vf vf_zero(void) { return _mm256_setzero_ps(); }
INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf vf_abs(vf a) { return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }
INLINE vf vf_below(vf x, vf limit, vf a, vf b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, limit, _CMP_LT_OQ)); }
INLINE vf vf_round(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf vf_pow2(vf n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
INLINE float vf_sum(vf a) { return v8_sum(a); }
INLINE float vf_peak(vf a) { return v8_peak(a); }
INLINE vf vf_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE void vf_store_f16(void *p, vf v) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_i8(const void *p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE vf vf_load_bf16(const void *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

#define TILE 6
#define SUM_FROM 0
#define WIDE_PRODUCTS 0
typedef __m256i vi;
typedef vi vt;

INLINE vi vi_zero(void) { return _mm256_setzero_si256(); }
INLINE vi vi_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE void vi_store(void *p, vi v) { _mm256_storeu_si256((__m256i *)p, v); }
INLINE vi vi_set8(int x) { return _mm256_set1_epi8((char)x); }
INLINE vi vi_spread(const void *p) { int32_t x; memcpy(&x, p, 4); return _mm256_set1_epi32(x); }
INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
INLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
INLINE vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
INLINE vi vi_left(vi a, int n) { return _mm256_slli_epi16(a, n); }
INLINE vi vi_right(vi a, int n) { return _mm256_srli_epi16(a, n); }
INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
INLINE vi vi_sub8(vi a, vi b) { return _mm256_sub_epi8(a, b); }
INLINE vi vi_mul8(vi bytes, vi pairs) {
    vi even = _mm256_and_si256(_mm256_mullo_epi16(bytes, pairs), _mm256_set1_epi16(255));
    return vi_or(even, vi_left(_mm256_mullo_epi16(vi_right(bytes, 8), pairs), 8));
}
INLINE vi vi_table(const uint8_t *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)); }
INLINE vi vi_lookup(vi table, vi index) { return _mm256_shuffle_epi8(table, index); }
INLINE vi vi_abs8(vi a) { return _mm256_abs_epi8(a); }
INLINE vf vf_from_vi(vi a) { return _mm256_cvtepi32_ps(a); }
INLINE vf vf_from_u8(const uint8_t *p) { return vf_from_vi(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p))); }
INLINE vi pair_dot(vi a, vi b) { return _mm256_madd_epi16(a, b); }
/* Byte i of the 8 bytes at p, twice in lane i: in the low or the high bytes of its two int16, as given by `order`. */
INLINE vi bytes_in_pairs(const uint8_t *p, vi order) {
    return _mm256_shuffle_epi8(_mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)p)), order);
}
INLINE vt row_signed_scales(const uint8_t *p) {
    const vi order = _mm256_setr_epi8(-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3,
                                      -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7);
    return _mm256_srai_epi16(bytes_in_pairs(p, order), 8);
}
INLINE vt row_scales(const uint8_t *p) {
    const vi order = _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1,
                                      4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1);
    return bytes_in_pairs(p, order);
}
INLINE vi dot_pairs(vi part, vi w, vi a) {
    part = _mm256_add_epi16(part, _mm256_maddubs_epi16(w, a));
    __asm__("" : "+x"(part)); /* keeps gcc from computing all products first, which would spill registers */
    return part;
}
INLINE vi add_pair_dot(vi sum, vi a, vi b) {
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    __asm__("" : "+x"(sum));
    return sum;
}
INLINE vi row_pairs(const uint8_t *p) { return row_scales(p); }
INLINE vt ones(void) { return _mm256_set1_epi16(1); }
INLINE vi add_signed_dot(vi sum, vi magnitude, vi w, vi a, vt scale) {
    return add_pair_dot(sum, _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(a, w)), scale);
}
INLINE vi zero_sum(void) { return vi_zero(); }
INLINE vi below_zero(vi pairs, int centre) { return _mm256_mullo_epi16(pairs, _mm256_set1_epi16((short)-centre)); }
INLINE vt scaled(vi part, vt scale) { return pair_dot(part, scale); }
INLINE vt plain(vi part) { return pair_dot(part, _mm256_set1_epi16(1)); }
INLINE vt add_plain(vt total, vi part) { return vi_add(total, plain(part)); }
INLINE vt add_scaled(vt total, vi part, vt scale) { return vi_add(total, scaled(part, scale)); }
INLINE vt vt_from_vi(vi a) { return a; }
INLINE vf vf_from_vt(vt a) { return vf_from_vi(a); }
