/* SIMD primitives for AVX-512 (F, BW, DQ, VL) with VNNI: vectors of 16 floats, and dot products of bytes with sums in
   int32. */

#include "simd_x86.h"

#define VF 16
typedef __m512 vf;

INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf vf_abs(vf a) { return _mm512_abs_ps(a); }
INLINE vf vf_below(vf x, vf limit, vf a, vf b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), b, a);
}
INLINE vf vf_round(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf vf_pow2(vf n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvttps_epi32(n), _mm512_set1_epi32(127)), 23));
}
INLINE __m256 upper_half(vf a) { return _mm512_extractf32x8_ps(a, 1); }
INLINE float vf_sum(vf a) { return v8_sum(_mm256_add_ps(_mm512_castps512_ps256(a), upper_half(a))); }
INLINE float vf_peak(vf a) { return v8_peak(_mm256_max_ps(_mm512_castps512_ps256(a), upper_half(a))); }
INLINE vf vf_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
INLINE void vf_store_f16(void *p, vf v) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_i8(const void *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE vf vf_load_bf16(const void *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

#define TILE 8
#define WIDE_PRODUCTS 1
#define SUM_FROM 0x4b400000 /* the bits of SUM_BASE: a sum n is the bits of the float SUM_BASE + n */
#define SUM_BASE 12582912.0f /* 1.5 * 2^23 */
typedef __m512i vi;
typedef vf vt;

INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
INLINE vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE void vi_store(void *p, vi v) { _mm512_storeu_si512(p, v); }
INLINE vi vi_set8(int x) { return _mm512_set1_epi8((char)x); }
INLINE vi vi_spread(const void *p) { int32_t x; memcpy(&x, p, 4); return _mm512_set1_epi32(x); }
INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
INLINE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
INLINE vi vi_abs8(vi a) { return _mm512_abs_epi8(a); }
INLINE vi vi_left(vi a, int n) { return _mm512_slli_epi16(a, (unsigned)n); }
INLINE vi vi_right(vi a, int n) { return _mm512_srli_epi16(a, (unsigned)n); }
INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
INLINE vi vi_sub8(vi a, vi b) { return _mm512_sub_epi8(a, b); }
INLINE vi vi_mul8(vi bytes, vi pairs) {
    vi even = _mm512_and_si512(_mm512_mullo_epi16(bytes, pairs), _mm512_set1_epi16(255));
    return _mm512_or_si512(even, _mm512_slli_epi16(_mm512_mullo_epi16(_mm512_srli_epi16(bytes, 8), pairs), 8));
}
INLINE vi vi_table(const uint8_t *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); }
INLINE vi vi_lookup(vi table, vi index) { return _mm512_shuffle_epi8(table, index); }
INLINE vf vf_from_vi(vi a) { return _mm512_cvtepi32_ps(a); }
INLINE vt vt_from_vi(vi a) { return vf_from_vi(a); }
INLINE vf vf_from_vt(vt a) { return a; }
INLINE vi row_bytes(const uint8_t *p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
INLINE vt row_signed_scales(const uint8_t *p) { return vf_load_i8(p); }
INLINE vt row_scales(const uint8_t *p) { return vf_from_vi(row_bytes(p)); }
INLINE vf vf_from_u8(const uint8_t *p) { return row_scales(p); }
INLINE vi row_pairs(const uint8_t *p) { return vi_or(row_bytes(p), _mm512_slli_epi32(row_bytes(p), 16)); }
INLINE vi add_pair_dot(vi sum, vi a, vi b) { return _mm512_dpwssd_epi32(sum, a, b); }
INLINE vi dot_pairs(vi part, vi w, vi a) { return _mm512_dpbusd_epi32(part, w, a); }
INLINE vt ones(void) { return vf_set(1.0f); }
/* Compiled but never run: by_sign is for sums of 16 bits. */
INLINE vi add_signed_dot(vi sum, vi magnitude, vi w, vi a, vt scale) {
    vi product = dot_pairs(vi_zero(), magnitude, _mm512_mask_sub_epi8(a, _mm512_movepi8_mask(w), vi_zero(), a));
    return vi_add(sum, _mm512_mullo_epi32(product, _mm512_cvttps_epi32(scale)));
}
INLINE vi zero_sum(void) { return _mm512_set1_epi32(SUM_FROM); }
INLINE vi below_zero(vi wide, int centre) {
    if (centre == 128) return wide;
    vi sum = zero_sum(), from_zero = _mm512_sub_epi32(wide, zero_sum());
    _Pragma("GCC unroll 7") for (int bit = 0; bit < 7; bit++)
        if (centre >> bit & 1) sum = vi_add(sum, _mm512_srai_epi32(from_zero, 7 - bit));
    return sum;
}
INLINE vt plain(vi part) { return vf_sub(_mm512_castsi512_ps(part), vf_set(SUM_BASE)); }
INLINE vt scaled(vi part, vt scale) {
    return vf_fma(_mm512_castsi512_ps(part), scale, vf_mul(scale, vf_set(-SUM_BASE)));
}
INLINE vt add_plain(vt total, vi part) { return vf_add(total, plain(part)); }
INLINE vt add_scaled(vt total, vi part, vt scale) { return vf_fma(plain(part), scale, total); }
