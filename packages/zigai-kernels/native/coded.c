/* Types whose elements are small integers found by code: stored blocks are unpacked when a panel is read, to int8 elements
   and a float scale for each 16 of them. Block layouts are GGUF's (ggml-common.h); zigai_core's contracts/dtypes/coded.py
   defines the same in numpy. */

static zg_codebooks books;

void zg_use_codebooks(const zg_codebooks *of) { books = *of; }

/* Elements of a vector of `n` at v, with the sign of each by a byte, or by a bit. */
INLINE void signed_vector(int8_t *q, const int8_t *v, const int8_t *signs, int n) {
    for (int i = 0; i < n; i++) q[i] = (int8_t)(v[i] * signs[i]);
}
INLINE void vector_by_bits(int8_t *q, const int8_t *v, int minus, int n) {
    for (int i = 0; i < n; i++) q[i] = (int8_t)((minus >> i & 1) ? -v[i] : v[i]);
}
/* Eight times v + 1/8, or v - 1/8. */
INLINE void vector_of_eighths(int8_t *q, const int8_t *v, int minus) {
    for (int i = 0; i < 8; i++) q[i] = (int8_t)(8 * v[i] + 1 - 2 * minus);
}
INLINE void same_scales(float *scales, int count, float d) {
    for (int i = 0; i < count; i++) scales[i] = d;
}
/* Column i of 256 whose pairs of bits are at p: see pack_pairs. */
static inline int pair_of_bits(const uint8_t *p, int i) { return p[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }
/* Scale number g of those with 4 bits. */
INLINE int scale_of_4_bits(const uint8_t *p, int g) { return p[g / 2] >> 4 * (g % 2) & 15; }

static void decode_NVFP4(const uint8_t *w, int8_t *q, float *scales) {
    for (int g = 0; g < 4; g++) {
        const int exponent = w[g] >> 3 & 15, mantissa = w[g] & 7;
        scales[g] = w[g] == 127 ? 0.0f : exponent ? ldexpf((float)(8 + mantissa), exponent - 11) : ldexpf((float)mantissa, -10);
        for (int i = 0; i < 8; i++) {
            q[16 * g + i] = (int8_t)(mxfp4_values[w[4 + 8 * g + i] & 15] - 12);
            q[16 * g + 8 + i] = (int8_t)(mxfp4_values[w[4 + 8 * g + i] >> 4] - 12);
        }
    }
}
static void decode_Q1_0(const uint8_t *w, int8_t *q, float *scales) {
    same_scales(scales, 8, read_f16(w));
    for (int i = 0; i < 128; i++) q[i] = (int8_t)(2 * (w[2 + i / 8] >> i % 8 & 1) - 1);
}
static void decode_Q2_0(const uint8_t *w, int8_t *q, float *scales) {
    same_scales(scales, 4, read_f16(w));
    for (int i = 0; i < 64; i++) q[i] = (int8_t)((w[2 + i / 4] >> 2 * (i % 4) & 3) - 1);
}
static void decode_Q8_1(const uint8_t *w, int8_t *q, float *scales) {
    same_scales(scales, 2, read_f16(w));
    memcpy(q, w + 4, 32);
}
static void decode_Q8_K(const uint8_t *w, int8_t *q, float *scales) {
    float d;
    memcpy(&d, w, 4);
    same_scales(scales, 16, d);
    memcpy(q, w + 4, 256);
}
/* `count` digits to base 3 of each of n bytes: the byte times 3, without the digits before, over 256. */
INLINE void ternary(const uint8_t *w, int n, int count, int8_t *q) {
    for (int digit = 0, power = 1; digit < count; digit++, power *= 3, q += n)
        for (int i = 0; i < n; i++) q[i] = (int8_t)(((uint8_t)(w[i] * power) * 3 >> 8) - 1);
}
static void decode_TQ1_0(const uint8_t *w, int8_t *q, float *scales) {
    same_scales(scales, 16, read_f16(w + 52));
    ternary(w, 32, 5, q), ternary(w + 32, 16, 5, q + 160), ternary(w + 48, 4, 4, q + 240);
}
static void decode_TQ2_0(const uint8_t *w, int8_t *q, float *scales) {
    same_scales(scales, 16, read_f16(w + 64));
    for (int i = 0; i < 256; i++) q[i] = (int8_t)(pair_of_bits(w, i) - 1);
}
static void decode_IQ1_S(const uint8_t *w, int8_t *q, float *scales) {
    const float d = read_f16(w);
    for (int b = 0; b < 8; b++) {
        const int high = read_u16(w + 34 + 2 * b);
        same_scales(scales + 2 * b, 2, d * (float)(2 * (high >> 12 & 7) + 1) * 0.125f);
        for (int i = 0; i < 4; i++, q += 8)
            vector_of_eighths(q, books.iq1_s + 8 * (w[2 + 4 * b + i] | (high >> 3 * i & 7) << 8), high >> 15);
    }
}
static void decode_IQ1_M(const uint8_t *w, int8_t *q, float *scales) {
    int bits = 0;
    for (int i = 0; i < 4; i++) bits |= (w[49 + 2 * i] >> 4) << 4 * i;
    const float d = f32_from_f16((uint16_t)bits);
    for (int g = 0; g < 16; g++)
        scales[g] = d * (float)(2 * (read_u16(w + 48 + g / 4 * 2) >> 3 * (g % 4) & 7) + 1) * 0.125f;
    for (int i = 0; i < 32; i++, q += 8) {
        const int code = scale_of_4_bits(w + 32, i);
        vector_of_eighths(q, books.iq1_s + 8 * (w[i] | (code & 7) << 8), code >> 3);
    }
}
static void decode_IQ2_XXS(const uint8_t *w, int8_t *q, float *scales) {
    const float d = read_f16(w);
    w += 2;
    for (int b = 0; b < 8; b++, w += 8) {
        const uint32_t rest = read_u32(w + 4);
        same_scales(scales + 2 * b, 2, d * (float)(2 * (rest >> 28) + 1) * 0.125f);
        for (int i = 0; i < 4; i++, q += 8) signed_vector(q, books.iq2_xxs + 8 * w[i], books.signs + 8 * (rest >> 7 * i & 127), 8);
    }
}
static void decode_IQ2_XS(const uint8_t *w, int8_t *q, float *scales) {
    const float d = read_f16(w);
    for (int g = 0; g < 16; g++) scales[g] = d * (float)(2 * scale_of_4_bits(w + 66, g) + 1) * 0.125f;
    for (int i = 0; i < 32; i++, q += 8) {
        const int code = read_u16(w + 2 + 2 * i);
        signed_vector(q, books.iq2_xs + 8 * (code & 511), books.signs + 8 * (code >> 9), 8);
    }
}
static void decode_IQ2_S(const uint8_t *w, int8_t *q, float *scales) {
    const float d = read_f16(w);
    for (int g = 0; g < 16; g++) scales[g] = d * (float)(2 * scale_of_4_bits(w + 74, g) + 1) * 0.125f;
    for (int i = 0; i < 32; i++, q += 8)
        vector_by_bits(q, books.iq2_s + 8 * (w[2 + i] | (w[66 + i / 4] >> 2 * (i % 4) & 3) << 8), w[34 + i], 8);
}
static void decode_IQ3_XXS(const uint8_t *w, int8_t *q, float *scales) {
    const float d = read_f16(w);
    for (int b = 0; b < 8; b++) {
        const uint32_t rest = read_u32(w + 66 + 4 * b);
        same_scales(scales + 2 * b, 2, d * (float)(2 * (rest >> 28) + 1) * 0.25f);
        for (int i = 0; i < 8; i++, q += 4) {
            const int8_t *signs = books.signs + 8 * (rest >> 7 * (i / 2) & 127) + 4 * (i % 2);
            signed_vector(q, books.iq3_xxs + 4 * w[2 + 8 * b + i], signs, 4);
        }
    }
}
static void decode_IQ3_S(const uint8_t *w, int8_t *q, float *scales) {
    const float d = read_f16(w);
    for (int b = 0; b < 8; b++) same_scales(scales + 2 * b, 2, d * (float)(1 + 2 * scale_of_4_bits(w + 106, b)));
    for (int i = 0; i < 64; i++, q += 4)
        vector_by_bits(q, books.iq3_s + 4 * (w[2 + i] | (w[66 + i / 8] >> i % 8 & 1) << 8), w[74 + i / 2] >> 4 * (i % 2), 4);
}

/* Decodes a block to all its elements, and to a scale for each 16 of them. */
static void (*const decoders[ZG_TYPES])(const uint8_t *w, int8_t *q, float *scales) = {
    [ZG_NVFP4] = decode_NVFP4,     [ZG_Q1_0] = decode_Q1_0,   [ZG_Q2_0] = decode_Q2_0,   [ZG_TQ1_0] = decode_TQ1_0,
    [ZG_TQ2_0] = decode_TQ2_0,     [ZG_IQ1_S] = decode_IQ1_S, [ZG_IQ1_M] = decode_IQ1_M, [ZG_IQ2_XXS] = decode_IQ2_XXS,
    [ZG_IQ2_XS] = decode_IQ2_XS,   [ZG_IQ2_S] = decode_IQ2_S, [ZG_IQ3_XXS] = decode_IQ3_XXS, [ZG_IQ3_S] = decode_IQ3_S,
    [ZG_Q8_1] = decode_Q8_1,       [ZG_Q8_K] = decode_Q8_K,
};

/* Copies a panel's blocks: the 16 rows of each, one after another. */
static void pack_coded(const uint8_t *rows, int64_t stride, int count, int width, int type, uint8_t *out) {
    const block_layout *l = &layouts[type];
    for (int b = 0; b < width / l->columns; b++, rows += l->bytes, out += l->quants)
        for (int row = 0; row < count; row++) memcpy(out + row * l->bytes, rows + row * stride, (size_t)l->bytes);
}

/* A row of n dequantised elements. */
static void coded_row(const uint8_t *w, int type, float *y, int n) {
    int8_t q[256];
    float scales[16];
    const int columns = layouts[type].columns;
    for (; n > 0; n -= columns, w += layouts[type].bytes, y += columns) {
        decoders[type](w, q, scales);
        for (int i = 0; i < columns; i++) y[i] = scales[i / 16] * (float)q[i];
    }
}
