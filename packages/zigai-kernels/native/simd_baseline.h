/* SIMD primitives in portable C (GCC vector extensions): SSE2 on x86-64, NEON on AArch64. Every other
   instruction set offers the same names. `vf` is a vector of VF floats; `bytes` 32 bytes; `v8` 8 floats,
   into which the integer dot products of 32 bytes are split; `scales` the 8 or 16 small scales of 256. */

#define VF 4
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef struct { vf low, high; } v8;
typedef struct { u8x16 low, high; } bytes;
typedef struct { float low[8], high[8]; } scales;

INLINE vf vf_set(float x) { return (vf){x, x, x, x}; }
INLINE vf vf_zero(void) { return vf_set(0.0f); }
INLINE vf vf_load(const float *p) { vf v; memcpy(&v, p, sizeof v); return v; }
INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }
INLINE vf vf_add(vf a, vf b) { return a + b; }
INLINE vf vf_sub(vf a, vf b) { return a - b; }
INLINE vf vf_mul(vf a, vf b) { return a * b; }
INLINE vf vf_div(vf a, vf b) { return a / b; }
INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf vf_pick(i32x4 mask, vf a, vf b) { return (vf)((mask & (i32x4)a) | (~mask & (i32x4)b)); }
/* As on x86: where one is NaN, the second. */
INLINE vf vf_max(vf a, vf b) { return vf_pick(a > b, a, b); }
INLINE vf vf_min(vf a, vf b) { return vf_pick(a < b, a, b); }
INLINE vf vf_abs(vf a) { return (vf)((i32x4)a & 0x7fffffff); }
/* x < limit ? a : b */
INLINE vf vf_below(vf x, vf limit, vf a, vf b) { return vf_pick(x < limit, a, b); }
/* To the nearest, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction. */
INLINE vf vf_round(vf x) { return (x + 12582912.0f) - 12582912.0f; }
/* 2^n for whole n in -126..127 */
INLINE vf vf_pow2(vf n) { return (vf)((__builtin_convertvector(n, i32x4) + 127) << 23); }
INLINE float vf_sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
INLINE float vf_peak(vf a) {
    float low = a[0] > a[2] ? a[0] : a[2], high = a[1] > a[3] ? a[1] : a[3];
    return low > high ? low : high;
}

INLINE float f32_from_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = (uint32_t)(half & 0x7fff) << 13, bits;
    float x;
    memcpy(&x, &rest, 4);
    x *= 0x1p112f; /* moves the exponent's bias from 15 to 127, and makes subnormals normal */
    memcpy(&bits, &x, 4);
    if (rest >= 0x0f800000) bits |= 0x7f800000; /* infinity or NaN */
    bits |= sign;
    memcpy(&x, &bits, 4);
    return x;
}
INLINE uint16_t f16_from_f32(float x) {
    uint32_t bits, sign, magic = 0x3f000000; /* 0.5f: its last bit is worth half's smallest subnormal */
    memcpy(&bits, &x, 4);
    sign = bits & 0x80000000;
    bits ^= sign;
    if (bits >= 0x47800000) return (uint16_t)((sign >> 16) | (bits > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (bits < 0x38800000) {
        float y, half;
        memcpy(&y, &bits, 4);
        memcpy(&half, &magic, 4);
        y += half; /* the addition rounds to nearest even */
        memcpy(&bits, &y, 4);
        return (uint16_t)((sign >> 16) | (bits - magic));
    }
    bits += 0xc8000fff + ((bits >> 13) & 1); /* re-bias the exponent by -112, round to nearest even */
    return (uint16_t)((sign >> 16) | (bits >> 13));
}
INLINE vf vf_load_f16(const void *p) {
    uint16_t half[4];
    memcpy(half, p, sizeof half);
    i32x4 bits = {half[0], half[1], half[2], half[3]}, sign = (bits & 0x8000) << 16, rest = (bits & 0x7fff) << 13;
    i32x4 special = (rest >= 0x0f800000) & 0x7f800000;
    return (vf)((i32x4)((vf)rest * 0x1p112f) | special | sign);
}
INLINE void vf_store_f16(void *p, vf v) {
    uint16_t half[4] = {f16_from_f32(v[0]), f16_from_f32(v[1]), f16_from_f32(v[2]), f16_from_f32(v[3])};
    memcpy(p, half, sizeof half);
}
INLINE vf vf_load_bf16(const void *p) {
    uint16_t half[4];
    memcpy(half, p, sizeof half);
    return (vf)((u32x4){half[0], half[1], half[2], half[3]} << 16);
}

INLINE v8 v8_zero(void) { return (v8){vf_zero(), vf_zero()}; }
INLINE v8 v8_set(float x) { return (v8){vf_set(x), vf_set(x)}; }
INLINE v8 v8_load(const float *p) { return (v8){vf_load(p), vf_load(p + 4)}; }
INLINE void v8_store(float *p, v8 v) { vf_store(p, v.low); vf_store(p + 4, v.high); }
/* The float16 at p, p + stride, ... p + 7 * stride */
INLINE v8 v8_gather_f16(const uint8_t *p, int stride) {
    uint16_t half[8];
    for (int i = 0; i < 8; i++) memcpy(half + i, p + i * stride, 2);
    return (v8){vf_load_f16(half), vf_load_f16(half + 4)};
}
INLINE v8 v8_add(v8 a, v8 b) { return (v8){a.low + b.low, a.high + b.high}; }
INLINE v8 v8_mul(v8 a, v8 b) { return (v8){a.low * b.low, a.high * b.high}; }
INLINE v8 v8_fma(v8 a, v8 b, v8 c) { return (v8){a.low * b.low + c.low, a.high * b.high + c.high}; }
INLINE float v8_sum(v8 a) { return vf_sum(a.low + a.high); }
INLINE v8 v8_from_u8(const uint8_t *p) {
    return (v8){{p[0], p[1], p[2], p[3]}, {p[4], p[5], p[6], p[7]}};
}

INLINE bytes bytes_load(const void *p) { bytes b; memcpy(&b, p, 32); return b; }
INLINE bytes bytes_set(uint8_t x) { u8x16 v = (u8x16){0} + x; return (bytes){v, v}; }
INLINE bytes bytes_or(bytes a, bytes b) { return (bytes){a.low | b.low, a.high | b.high}; }
INLINE bytes bytes_sub(bytes a, bytes b) { return (bytes){a.low - b.low, a.high - b.high}; }
/* (each byte >> shift) & mask; the mask has no bits that a neighbour could shift in */
INLINE bytes bytes_bits(bytes a, int shift, uint8_t mask) {
    return (bytes){(a.low >> shift) & mask, (a.high >> shift) & mask};
}
INLINE bytes bytes_shift_left(bytes a, int shift) { return (bytes){a.low << shift, a.high << shift}; }
INLINE bytes bytes_abs(bytes a) {
    u8x16 low = (u8x16)(a.low > 127), high = (u8x16)(a.high > 127);
    return (bytes){(a.low ^ low) - low, (a.high ^ high) - high};
}
/* 16 bytes of nibbles: the low ones, then the high ones */
INLINE bytes bytes_nibbles(const uint8_t *p) {
    u8x16 v;
    memcpy(&v, p, 16);
    return (bytes){v & 15, v >> 4};
}
/* 32 bits: a byte 0x10 for each that is set */
INLINE bytes bytes_from_bits(const uint8_t *p) {
    const u8x16 bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint64_t each = 0x0101010101010101;
    u8x16 low = (u8x16)(u64x2){p[0] * each, p[1] * each}, high = (u8x16)(u64x2){p[2] * each, p[3] * each};
    return (bytes){(u8x16)((low & bit) != 0) & 16, (u8x16)((high & bit) != 0) & 16};
}

INLINE scales scales_from_u8(const uint8_t *p) {
    scales s;
    for (int i = 0; i < 8; i++) s.low[i] = s.high[i] = p[i];
    return s;
}
INLINE scales scales_from_i8_pairs(const uint8_t *p) {
    scales s;
    for (int i = 0; i < 8; i++) { s.low[i] = (int8_t)p[2 * i]; s.high[i] = (int8_t)p[2 * i + 1]; }
    return s;
}

/* Sign extension: each element twice, side by side, then shifted down. */
INLINE i16x8 widen_low(u8x16 a) {
    const u8x16 twice = {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7};
    return (i16x8)__builtin_shuffle(a, twice) >> 8;
}
INLINE i16x8 widen_high(u8x16 a) {
    const u8x16 twice = {8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15};
    return (i16x8)__builtin_shuffle(a, twice) >> 8;
}
INLINE vf float_low(i16x8 a) {
    const i16x8 twice = {0, 0, 1, 1, 2, 2, 3, 3};
    return __builtin_convertvector((i32x4)__builtin_shuffle(a, twice) >> 16, vf);
}
INLINE vf float_high(i16x8 a) {
    const i16x8 twice = {4, 4, 5, 5, 6, 6, 7, 7};
    return __builtin_convertvector((i32x4)__builtin_shuffle(a, twice) >> 16, vf);
}
/* Sums of 2 products of int8 in int16: |w| <= 128 and |a| <= 127 give at most 32,512. */
INLINE i16x8 pair_products(u8x16 w, u8x16 a) {
    return widen_low(w) * widen_low(a) + widen_high(w) * widen_high(a);
}
/* Exact integer dot products of 32 weights and 32 activations, in 8 parts; weights unsigned up to 127. */
INLINE v8 dot_unsigned(bytes w, bytes a) {
    i16x8 low = pair_products(w.low, a.low), high = pair_products(w.high, a.high);
    return (v8){float_low(low) + float_low(high), float_high(low) + float_high(high)};
}
/* The same, weights signed; magnitude is bytes_abs(w). */
INLINE v8 dot_signed(bytes w, bytes magnitude, bytes a) { (void)magnitude; return dot_unsigned(w, a); }
/* The same, times scale j of s: of both halves of the 32, or one for each half. */
INLINE v8 dot_unsigned_scaled(bytes w, bytes a, scales s, int j) {
    i16x8 low = pair_products(w.low, a.low), high = pair_products(w.high, a.high);
    vf sl = vf_set(s.low[j]), sh = vf_set(s.high[j]); /* whole numbers below 2^24 all the way: exact */
    return (v8){float_low(low) * sl + float_low(high) * sh, float_high(low) * sl + float_high(high) * sh};
}
INLINE v8 dot_signed_scaled(bytes w, bytes magnitude, bytes a, scales s, int j) {
    (void)magnitude;
    return dot_unsigned_scaled(w, a, s, j);
}

/* q = round(x * inverse) for 32 floats, |q| <= 127; returns the sum of q. */
INLINE int quantize32(const float *x, float inverse, int8_t *q) {
    int sum = 0;
    for (int i = 0; i < 32; i += 4) {
        vf v = vf_round(vf_load(x + i) * inverse);
        v = vf_min(vf_set(127.0f), vf_max(vf_set(-127.0f), v));
        for (int j = 0; j < 4; j++) { q[i + j] = (int8_t)(v[j] == v[j] ? v[j] : 0.0f); sum += q[i + j]; }
    }
    return sum;
}

INLINE void spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
