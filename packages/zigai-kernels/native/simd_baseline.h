/* SIMD primitives in portable C (GCC vector extensions): SSE2 on x86-64, NEON on AArch64. The headers of the other
   instruction sets define the same names. `vf` is a vector of VF floats; `vi` is a vector of VF lanes of 32 bits: an
   int32, a pair of int16 or 4 bytes each. */

#define VF 4
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(16)));
typedef int32_t i32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef int16_t i16x8 __attribute__((vector_size(16)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

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
/* As on x86, the second operand if one of them is NaN. */
INLINE vf vf_max(vf a, vf b) { return vf_pick(a > b, a, b); }
INLINE vf vf_min(vf a, vf b) { return vf_pick(a < b, a, b); }
INLINE vf vf_abs(vf a) { return (vf)((i32x4)a & 0x7fffffff); }
/* x < limit ? a : b */
INLINE vf vf_below(vf x, vf limit, vf a, vf b) { return vf_pick(x < limit, a, b); }
/* Rounds to nearest, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction. */
INLINE vf vf_round(vf x) { return (x + 12582912.0f) - 12582912.0f; }
/* 2^n for integers n in -126..127 */
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
INLINE vf vf_load_i8(const void *p) {
    int8_t q[4];
    memcpy(q, p, sizeof q);
    return __builtin_convertvector((i32x4){q[0], q[1], q[2], q[3]}, vf);
}
INLINE vf vf_load_bf16(const void *p) {
    uint16_t half[4];
    memcpy(half, p, sizeof half);
    return (vf)((u32x4){half[0], half[1], half[2], half[3]} << 16);
}

/* Transposes 4 rows of 4 words: word i of row r becomes word r of row i. Transposes 4 words of 4 bytes: byte i of
   word r becomes byte r of word i. */
INLINE void transpose_words(u32x4 x[4]) {
    u32x4 y[4];
    for (int r = 0; r < 4; r++) y[r] = (u32x4){x[0][r], x[1][r], x[2][r], x[3][r]};
    memcpy(x, y, sizeof y);
}
INLINE u32x4 transpose_bytes(u32x4 x) {
    u8x16 a = (u8x16)x, b;
    for (int i = 0; i < 16; i++) b[i] = a[i % 4 * 4 + i / 4];
    return (u32x4)b;
}

/* q = round(x * inverse) for 32 floats, |q| <= 127. pairs: for each 16 of them, the sum of q over columns 4 i and
   4 i + 1, and the sum over the other columns. */
INLINE void quantize32(const float *x, float inverse, int8_t *q, int16_t pairs[4]) {
    memset(pairs, 0, 4 * sizeof *pairs);
    for (int i = 0; i < 32; i += 4) {
        vf v = vf_round(vf_load(x + i) * inverse);
        v = vf_min(vf_set(127.0f), vf_max(vf_set(-127.0f), v));
        for (int j = 0; j < 4; j++) {
            q[i + j] = (int8_t)(v[j] == v[j] ? v[j] : 0.0f);
            pairs[i / 16 * 2 + j / 2] = (int16_t)(pairs[i / 16 * 2 + j / 2] + q[i + j]);
        }
    }
}

/* q = round(x * inverse) for 32 floats whose results fit int16; any value for floats that are not finite. */
INLINE void fix32(const float *x, float inverse, int16_t *q) {
    for (int i = 0; i < 32; i += 4) {
        vf v = vf_round(vf_load(x + i) * inverse);
        for (int j = 0; j < 4; j++) q[i + j] = (int16_t)(fabsf(v[j]) < 32768.0f ? v[j] : 0.0f);
    }
}

INLINE void spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- primitives of pieces.c and dot.c ---- */

#define WIDE_PRODUCTS 0 /* 1 if products of unsigned and signed bytes are summed in 32 bits, 0 if in 16 */
#define SUM_FROM 0      /* the number that stands for a partial sum of 0 */
#define TILE 4 /* rows of activations that are multiplied together */
typedef i32x4 vi;
typedef vi vt; /* totals of 32 columns, one for each row: int32, or floats with WIDE_PRODUCTS */

INLINE vi vi_zero(void) { return (vi){0}; }
INLINE vi vi_load(const void *p) { vi v; memcpy(&v, p, sizeof v); return v; }
INLINE void vi_store(void *p, vi v) { memcpy(p, &v, sizeof v); }
INLINE vi vi_set8(int x) { return (vi)((u8x16){0} + (uint8_t)x); }
/* Copies the 4 bytes at p to each lane. */
INLINE vi vi_spread(const void *p) { int32_t x; memcpy(&x, p, 4); return (vi){x, x, x, x}; }
INLINE vi vi_and(vi a, vi b) { return a & b; }
INLINE vi vi_or(vi a, vi b) { return a | b; }
INLINE vi vi_xor(vi a, vi b) { return a ^ b; }
/* Shifts of 16-bit elements: the caller masks the bits that cross from byte to byte. */
INLINE vi vi_left(vi a, int n) { return (vi)((u16x8)a << n); }
INLINE vi vi_right(vi a, int n) { return (vi)((u16x8)a >> n); }
INLINE vi vi_add(vi a, vi b) { return a + b; }
/* Differences of bytes. */
INLINE vi vi_sub8(vi a, vi b) { return (vi)((u8x16)a - (u8x16)b); }
/* Bytes times one byte for each lane, which `pairs` has as two int16; modulo 256. */
INLINE vi vi_mul8(vi bytes, vi pairs) {
    u16x8 even = (u16x8)bytes * (u16x8)pairs & 255, odd = ((u16x8)bytes >> 8) * (u16x8)pairs << 8;
    return (vi)(even | odd);
}
/* A table of 16 bytes, and the bytes of the table that the bytes 0..15 of `index` select. */
INLINE vi vi_table(const uint8_t *p) { return vi_load(p); }
INLINE vi vi_lookup(vi table, vi index) { return (vi)__builtin_shuffle((u8x16)table, (u8x16)index); }
/* Absolute values of signed bytes, as unsigned bytes. */
INLINE vi vi_abs8(vi a) { u8x16 minus = (u8x16)((i8x16)a < 0); return (vi)(((u8x16)a ^ minus) - minus); }
INLINE vf vf_from_vi(vi a) { return __builtin_convertvector(a, vf); }
INLINE vf vf_from_u8(const uint8_t *p) { return (vf){p[0], p[1], p[2], p[3]}; }
/* In each lane, the dot product of two pairs of int16. */
INLINE vi pair_dot(vi a, vi b) { return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); }
/* sum + pair_dot(a, b) */
INLINE vi add_pair_dot(vi sum, vi a, vi b) { return sum + pair_dot(a, b); }
/* The scales of VF rows, a byte each, in the form that `scaled` takes. */
INLINE vt row_scales(const uint8_t *p) { return (vi){p[0], p[1], p[2], p[3]} * 0x10001; }
INLINE vt row_signed_scales(const uint8_t *p) {
    vi s = {(int8_t)p[0], (int8_t)p[1], (int8_t)p[2], (int8_t)p[3]};
    return (s & 0xffff) | s << 16;
}
/* A byte for each of VF rows, in pairs of int16. */
INLINE vi row_pairs(const uint8_t *p) { return row_scales(p); }
/* A scale of 1. */
INLINE vt ones(void) { return vi_zero() + 0x10001; }
/* part + the products of 4 columns in each lane, weights unsigned, activations signed. The format of a lane of a
   partial sum depends on the instruction set; `plain` and `scaled` convert it to one int32. */
INLINE vi dot_pairs(vi part, vi w, vi a) {
    i16x8 even = (i16x8)((u16x8)w & 255) * ((i16x8)((u16x8)a << 8) >> 8);
    i16x8 odd = (i16x8)((u16x8)w >> 8) * ((i16x8)a >> 8);
    return (vi)((u16x8)part + (u16x8)even + (u16x8)odd);
}
INLINE vi zero_sum(void) { return vi_zero(); }
/* -centre times the sum of activations, as an initial partial sum: from pairs of sums, or with WIDE_PRODUCTS from
   -128 times the sum (activations.c). */
INLINE vi below_zero(vi pairs, int centre) { return (vi)((u16x8)pairs * (uint16_t)-centre); }
INLINE vt plain(vi part) { return (part << 16 >> 16) + (part >> 16); }
/* sum + scale times the products of 4 columns in each lane, both operands signed; the sum over two columns fits int16. */
INLINE vi add_signed_dot(vi sum, vi magnitude, vi w, vi a, vt scale) {
    i16x8 even = ((i16x8)w << 8 >> 8) * ((i16x8)a << 8 >> 8), odd = ((i16x8)w >> 8) * ((i16x8)a >> 8);
    (void)magnitude;
    return sum + pair_dot((vi)(even + odd), scale);
}
INLINE vt scaled(vi part, vt scale) { return pair_dot(part, scale); }
INLINE vt add_plain(vt total, vi part) { return total + plain(part); }
INLINE vt add_scaled(vt total, vi part, vt scale) { return total + scaled(part, scale); }
INLINE vt vt_from_vi(vi a) { return a; }
INLINE vf vf_from_vt(vt a) { return vf_from_vi(a); }
