/* Embedding: rows of a matrix, dequantised in plain C. Block layouts are GGUF's (ggml-quants.h). */

static void row_F32(const uint8_t *w, float *y, int n) { memcpy(y, w, (size_t)n * 4); }
static void row_F16(const uint8_t *w, float *y, int n) {
    for (int i = 0; i < n; i++) y[i] = read_f16(w + 2 * (int64_t)i);
}
static inline float f32_from_bf16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
static void row_BF16(const uint8_t *w, float *y, int n) {
    for (int i = 0; i < n; i++) y[i] = f32_from_bf16(read_u16(w + 2 * (int64_t)i));
}
/* Bit i of the 32 bits at p, in the place of a weight's fifth bit. Below, weight i of 32 in 16 bytes. */
static inline int fifth_bit(const uint8_t *p, int i) { return (p[i / 8] >> (i % 8) & 1) << 4; }
static inline int nibble(const uint8_t *p, int i) { return i < 16 ? p[i] & 15 : p[i - 16] >> 4; }

static void row_Q4_0(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 32, w += 18, y += 32) {
        float d = read_f16(w);
        for (int i = 0; i < 32; i++) y[i] = d * (float)(nibble(w + 2, i) - 8);
    }
}
static void row_Q4_1(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 32, w += 20, y += 32) {
        float d = read_f16(w), m = read_f16(w + 2);
        for (int i = 0; i < 32; i++) y[i] = d * (float)nibble(w + 4, i) + m;
    }
}
static void row_Q5_0(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 32, w += 22, y += 32) {
        float d = read_f16(w);
        for (int i = 0; i < 32; i++) y[i] = d * (float)((nibble(w + 6, i) | fifth_bit(w + 2, i)) - 16);
    }
}
static void row_Q5_1(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 32, w += 24, y += 32) {
        float d = read_f16(w), m = read_f16(w + 2);
        for (int i = 0; i < 32; i++) y[i] = d * (float)(nibble(w + 8, i) | fifth_bit(w + 4, i)) + m;
    }
}
static void row_Q8_0(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 32, w += 34, y += 32) {
        float d = read_f16(w);
        for (int i = 0; i < 32; i++) y[i] = d * (float)(int8_t)w[2 + i];
    }
}
static inline void row_K(const uint8_t *w, float *y, const uint8_t *quants, const uint8_t *high) {
    uint32_t words[4];
    uint8_t sm[16];
    UNPACK_K_SCALES(read_u32(w + 4), read_u32(w + 8), read_u32(w + 12), words);
    memcpy(sm, words, sizeof sm);
    float d = read_f16(w), dmin = read_f16(w + 2);
    for (int j = 0; j < 8; j++) {
        float scale = d * (float)sm[j], min = dmin * (float)sm[8 + j];
        for (int i = 0; i < 32; i++) {
            int q = quants[j / 2 * 32 + i] >> (j % 2 * 4) & 15;
            if (high) q |= (high[i] >> j & 1) << 4;
            y[32 * j + i] = scale * (float)q - min;
        }
    }
}
static void row_Q4_K(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 256, w += 144, y += 256) row_K(w, y, w + 16, NULL);
}
static void row_Q5_K(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 256, w += 176, y += 256) row_K(w, y, w + 48, w + 16);
}
static void row_Q6_K(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 256, w += 210, y += 256) {
        float d = read_f16(w + 208);
        for (int i = 0; i < 256; i++) {
            int half = i / 128, quarter = i % 128 / 32;
            int low = w[64 * half + 32 * (quarter % 2) + i % 32] >> (quarter / 2 * 4) & 15;
            int high = w[128 + 32 * half + i % 32] >> (2 * quarter) & 3;
            y[i] = d * (float)(int8_t)w[192 + i / 16] * (float)((low | high << 4) - 32);
        }
    }
}

static void row_Q2_K(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 256, w += 84, y += 256) {
        float d = read_f16(w + 80), dmin = read_f16(w + 82);
        for (int i = 0; i < 256; i++) {
            float scale = d * (float)(w[i / 16] & 15), min = dmin * (float)(w[i / 16] >> 4);
            y[i] = scale * (float)pair_of_bits(w + 16, i) - min;
        }
    }
}
static void row_Q3_K(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 256, w += 110, y += 256) {
        const uint8_t *scales = w + 96;
        float d = read_f16(w + 108);
        for (int i = 0; i < 256; i++) {
            int g = i / 16, low = scales[g % 8] >> (g / 8 * 4) & 15, high = scales[8 + g % 4] >> (g / 4 * 2) & 3;
            int q = pair_of_bits(w + 32, i) | (w[i % 32] >> (i / 32) & 1) << 2;
            y[i] = d * (float)((low | high << 4) - 32) * (float)(q - 4);
        }
    }
}
static void row_IQ4_NL(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 32, w += 18, y += 32) {
        float d = read_f16(w);
        for (int i = 0; i < 32; i++) y[i] = d * (float)(iq4_values[nibble(w + 2, i)] - 128);
    }
}
static void row_IQ4_XS(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 256, w += 136, y += 256) {
        float d = read_f16(w);
        for (int i = 0; i < 256; i++) {
            int g = i / 32, low = scale_of_4_bits(w + 4, g), high = read_u16(w + 2) >> 2 * g & 3;
            y[i] = d * (float)((low | high << 4) - 32) * (float)(iq4_values[nibble(w + 8 + 16 * g, i % 32)] - 128);
        }
    }
}
static void row_MXFP4(const uint8_t *w, float *y, int n) {
    for (; n > 0; n -= 32, w += 17, y += 32) {
        float d = ldexpf(1.0f, w[0] - 128);
        for (int i = 0; i < 32; i++) y[i] = d * (float)(mxfp4_values[nibble(w + 1, i)] - 12);
    }
}

static void (*const row_readers[ZG_TYPES])(const uint8_t *, float *, int) = {
    [ZG_F32] = row_F32, [ZG_F16] = row_F16, [ZG_BF16] = row_BF16,
    [ZG_Q4_0] = row_Q4_0, [ZG_Q4_1] = row_Q4_1, [ZG_Q5_0] = row_Q5_0, [ZG_Q5_1] = row_Q5_1,
    [ZG_Q8_0] = row_Q8_0, [ZG_Q2_K] = row_Q2_K, [ZG_Q3_K] = row_Q3_K, [ZG_Q4_K] = row_Q4_K,
    [ZG_Q5_K] = row_Q5_K, [ZG_Q6_K] = row_Q6_K,
    [ZG_IQ4_NL] = row_IQ4_NL, [ZG_IQ4_XS] = row_IQ4_XS, [ZG_MXFP4] = row_MXFP4,
};

static void embedding_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const zg_step *step = c->step;
    int32_t at = r->start;
    switch (r->mode) {
    case ZG_OF_TOKEN: at = step->ids[chunk]; break;
    case ZG_OF_POSITION: at = step->positions[chunk]; break;
    case ZG_OF_TYPE: at = step->types ? step->types[chunk] : 0; break;
    default: break;
    }
    if (r->inner && at >= r->inner) at = r->start; /* a token that the table does not have */
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    if (at < 0) { /* the table has no row for what INPUTS replaces */
        memset(out, 0, (size_t)r->width * sizeof *out);
        return;
    }
    const uint8_t *row = (const uint8_t *)r->weight + at * r->stride;
    if (is_coded(r->type)) coded_row(row, r->type, out, r->width);
    else row_readers[r->type](row, out, r->width);
}

/* Without embeddings, and with x and output in the same memory, there is nothing to do. */
static void inputs_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const zg_step *step = c->step;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width;
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    if (step->replaced && step->replaced[chunk] >= 0) x = step->embeddings + (int64_t)step->replaced[chunk] * r->width;
    if (x != out) memcpy(out, x, (size_t)r->width * sizeof *out);
}
