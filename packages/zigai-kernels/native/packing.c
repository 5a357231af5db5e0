/* Packs a stored matrix into panels, 4 rows at a time, one vector lane per row. The stored layouts are GGUF's
   (ggml-quants.h). */

static inline void write_u32(uint8_t *p, uint32_t x) { memcpy(p, &x, 4); }

/* ---- packing one block of 4 rows, `stride` bytes apart, for each type: scales go to s (row 0 of the panel), quants to
   q (the first of the 4 rows, which is row `row` of the panel). Vectors hold one word of each row. ---- */

enum { TOGETHER = 4 };

/* A word with the byte x in each of its 4 bytes. */
#define BYTES(x) ((uint32_t)(x) * 0x01010101u)

/* One word of each row; 4 words of each row. */
INLINE u32x4 load_word(const uint8_t *p, int64_t stride) {
    return (u32x4){read_u32(p), read_u32(p + stride), read_u32(p + 2 * stride), read_u32(p + 3 * stride)};
}
INLINE void load_words(const uint8_t *p, int64_t stride, u32x4 words[4]) {
    for (int r = 0; r < 4; r++) memcpy(&words[r], p + r * stride, 16);
    transpose_words(words);
}
INLINE void store_step(uint8_t *q, int step, u32x4 x) { memcpy(q + step * STEP, &x, sizeof x); }

/* Stores byte i of each row in run i; the 4 runs are 16 bytes apart. */
INLINE void store_bytes(uint8_t *s, u32x4 x) {
    x = transpose_bytes(x);
    for (int i = 0; i < 4; i++) write_u32(s + 16 * i, x[i]);
}

/* Copies the float16 number at p of each row. */
INLINE void copy_scales(const uint8_t *p, int64_t stride, uint8_t *s, int row) {
    for (int r = 0; r < TOGETHER; r++) memcpy(s + 2 * (row + r), p + r * stride, 2);
}

/* Combines two steps of 4 columns: their low nibbles, or their high nibbles. */
INLINE u32x4 low_nibbles(u32x4 a, u32x4 b) { return (a & BYTES(15)) | (b & BYTES(15)) << 4; }
INLINE u32x4 high_nibbles(u32x4 a, u32x4 b) { return (a >> 4 & BYTES(15)) | (b & BYTES(0xf0)); }

/* 16 bytes of nibbles: columns 0..15 are the low ones, 16..31 the high ones. */
INLINE void pack_nibbles(const uint8_t *w, int64_t stride, uint8_t *q) {
    u32x4 x[4];
    load_words(w, stride, x);
    for (int v = 0; v < 2; v++) {
        store_step(q, v, low_nibbles(x[2 * v], x[2 * v + 1]));
        store_step(q, v + 2, high_nibbles(x[2 * v], x[2 * v + 1]));
    }
}

/* Stores 8 steps of 2, 3, 5 or 6 bits; layout: panels.c. */
INLINE void store_twos(uint8_t *q, const u32x4 x[8]) {
    for (int i = 0; i < 8; i += 4) store_step(q, i / 4, x[i] | x[i + 1] << 2 | x[i + 2] << 4 | x[i + 3] << 6);
}
INLINE void store_threes(uint8_t *q, const u32x4 x[8]) {
    const u32x4 above[3] = {x[6] & BYTES(3), x[7] & BYTES(3), (x[6] >> 2 & BYTES(1)) | (x[7] >> 1 & BYTES(2))};
    for (int v = 0; v < 3; v++) store_step(q, v, x[2 * v] | x[2 * v + 1] << 3 | above[v] << 6);
}
INLINE void store_fives(uint8_t *q, const u32x4 x[8]) {
    for (int v = 0; v < 3; v++) store_step(q, v, x[v] | (x[v + 5] & BYTES(7)) << 5);
    store_step(q, 3, x[3] | (x[5] & BYTES(24)) << 2 | (x[7] & BYTES(8)) << 4);
    store_step(q, 4, x[4] | (x[6] & BYTES(24)) << 2 | (x[7] & BYTES(16)) << 3);
}
INLINE void store_sixes(uint8_t *q, const u32x4 x[8]) {
    for (int i = 0; i < 8; i += 4, q += 3 * STEP)
        for (int v = 0; v < 3; v++) store_step(q, v, x[i + v] | (x[i + 3] >> 2 * v & BYTES(3)) << 6);
}

/* Moves bits 0 to 3 of each word to the lowest bits of its 4 bytes. */
INLINE u32x4 spread_bits(u32x4 x) {
    x &= 15;
    x |= x << 7;
    return (x | x << 14) & BYTES(1);
}

/* Packs 16 bytes of nibbles (order as in pack_nibbles) and a word with their fifth bits, one bit per column. */
INLINE void pack_fives(const uint8_t *nibbles, const uint8_t *fifth, int64_t stride, uint8_t *q) {
    u32x4 x[8], bits = load_word(fifth, stride);
    load_words(nibbles, stride, x);
    for (int v = 0; v < 4; v++) {
        x[v + 4] = (x[v] >> 4 & BYTES(15)) | spread_bits(bits >> (16 + 4 * v)) << 4;
        x[v] = (x[v] & BYTES(15)) | spread_bits(bits >> 4 * v) << 4;
    }
    store_fives(q, x);
}

static void pack_Q4_0(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    copy_scales(w, stride, s, row);
    pack_nibbles(w + 2, stride, q);
}
static void pack_Q4_1(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    copy_scales(w, stride, s, row), copy_scales(w + 2, stride, s + 32, row);
    pack_nibbles(w + 4, stride, q);
}
static void pack_Q5_0(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    copy_scales(w, stride, s, row);
    pack_fives(w + 6, w + 2, stride, q);
}
static void pack_Q5_1(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    copy_scales(w, stride, s, row), copy_scales(w + 2, stride, s + 32, row);
    pack_fives(w + 8, w + 4, stride, q);
}
static void pack_IQ4_NL(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    pack_Q4_0(w, stride, s, q, row);
}
/* The stored exponent is 128 more than that of d. d = 2^-128 becomes 0, as 2^-127 does (vf_pow2). */
static void pack_MXFP4(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    for (int r = 0; r < TOGETHER; r++) s[row + r] = (uint8_t)((w[r * stride] ? w[r * stride] : 1) - 128);
    pack_nibbles(w + 1, stride, q);
}
static void pack_Q8_0(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    u32x4 x[8];
    copy_scales(w, stride, s, row);
    load_words(w + 2, stride, x), load_words(w + 18, stride, x + 4);
    for (int v = 0; v < 8; v++) store_step(q, v, x[v] ^ BYTES(0x80));
}

/* Each half of 128 columns has 32 bytes of pairs of bits; bit j of 32 other bytes is the third bit of columns
   32 j .. 32 j + 31. */
INLINE void pack_pairs(const uint8_t *pairs, const uint8_t *third, int64_t stride, uint8_t *q) {
    u32x4 bits[8] = {{0}}, x[8], out[8];
    if (third) load_words(third, stride, bits), load_words(third + 16, stride, bits + 4);
    for (int half = 0; half < 2; half++, pairs += 32) {
        load_words(pairs, stride, x), load_words(pairs + 16, stride, x + 4);
        for (int j = 0; j < 4; j++) {
            for (int v = 0; v < 8; v++) out[v] = (x[v] >> 2 * j & BYTES(3)) | (bits[v] >> (4 * half + j) & BYTES(1)) << 2;
            if (third) store_threes(q, out), q += 3 * STEP;
            else store_twos(q, out), q += 2 * STEP;
        }
    }
}
static void pack_Q2_K(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    u32x4 x[4];
    copy_scales(w + 80, stride, s, row), copy_scales(w + 82, stride, s + 32, row);
    load_words(w, stride, x);
    for (int i = 0; i < 4; i++) store_bytes(s + 64 + 64 * i + row, x[i]);
    pack_pairs(w + 16, NULL, stride, q);
}
static void pack_Q3_K(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    copy_scales(w + 108, stride, s, row);
    for (int i = 0; i < 3; i++) store_bytes(s + 32 + 64 * i + row, load_word(w + 96 + 4 * i, stride));
    pack_pairs(w + 32, w, stride, q);
}

static void pack_IQ4_XS(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    copy_scales(w, stride, s, row);
    store_bytes(s + 32 + row, load_word(w + 4, stride));
    for (int r = 0; r < TOGETHER; r++)
        for (int i = 0; i < 2; i++) s[96 + 16 * i + row + r] = w[r * stride + 2 + i];
    for (int j = 0; j < 8; j++) pack_nibbles(w + 8 + 16 * j, stride, q + j * 4 * STEP);
}

/* Q4_K and Q5_K keep 8 scales and 8 mins of 6 bits in 3 words: sm[0] and sm[1] are 4 scales each, the others mins. */
#define UNPACK_K_SCALES(a, b, c, sm)                                                               \
    (sm[0] = (a) & BYTES(63), sm[1] = ((c) & BYTES(15)) | ((a) >> 2 & BYTES(0x30)),                \
     sm[2] = (b) & BYTES(63), sm[3] = ((c) >> 4 & BYTES(15)) | ((b) >> 2 & BYTES(0x30)))

INLINE void pack_k_scales(const uint8_t *w, int64_t stride, uint8_t *s, int row) {
    u32x4 x[4], sm[4];
    load_words(w, stride, x);
    copy_scales(w, stride, s, row), copy_scales(w + 2, stride, s + 32, row);
    UNPACK_K_SCALES(x[1], x[2], x[3], sm);
    for (int i = 0; i < 2; i++) store_bytes(s + 64 + 64 * i + row, low_nibbles(sm[i], sm[i + 2]));
    for (int i = 0; i < 4; i++) sm[i] = sm[i] >> 4 & BYTES(3);
    store_bytes(s + 192 + row, sm[0] | sm[2] << 2 | sm[1] << 4 | sm[3] << 6);
}

/* Sub-blocks 2 i and 2 i + 1 are the low and the high halves of 32 bytes; bit j of 32 others is the fifth bit
   of sub-block j. */
INLINE void pack_k(const uint8_t *nibbles, const uint8_t *fifth, int64_t stride, uint8_t *q) {
    u32x4 bits[8], x[8], out[8];
    if (fifth) load_words(fifth, stride, bits), load_words(fifth + 16, stride, bits + 4);
    for (int j = 0; j < 8; j += 2, nibbles += 32) {
        load_words(nibbles, stride, x), load_words(nibbles + 16, stride, x + 4);
        if (!fifth) {
            for (int v = 0; v < 4; v++) store_step(q, v, low_nibbles(x[2 * v], x[2 * v + 1]));
            for (int v = 0; v < 4; v++) store_step(q, v + 4, high_nibbles(x[2 * v], x[2 * v + 1]));
            q += 8 * STEP;
            continue;
        }
        for (int i = 0; i < 2; i++, q += 5 * STEP) {
            for (int v = 0; v < 8; v++) out[v] = (x[v] >> 4 * i & BYTES(15)) | (bits[v] >> (j + i) & BYTES(1)) << 4;
            store_fives(q, out);
        }
    }
}
static void pack_Q4_K(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    pack_k_scales(w, stride, s, row);
    pack_k(w + 16, NULL, stride, q);
}
static void pack_Q5_K(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    pack_k_scales(w, stride, s, row);
    pack_k(w + 48, w + 16, stride, q);
}

/* Each half of 128 columns has 64 bytes of nibbles (columns 0..63 low, 64..127 high) and 32 of pairs of bits. */
static void pack_Q6_K(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    u32x4 x[8], pairs[8];
    copy_scales(w + 208, stride, s, row);
    load_words(w + 192, stride, x);
    for (int i = 0; i < 4; i++) store_bytes(s + 32 + 64 * i + row, x[i]);
    for (int half = 0; half < 2; half++) {
        load_words(w + 128 + 32 * half, stride, pairs), load_words(w + 144 + 32 * half, stride, pairs + 4);
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++, q += 6 * STEP) {
            const uint8_t *nibbles = w + 64 * half + 32 * (j % 2);
            load_words(nibbles, stride, x), load_words(nibbles + 16, stride, x + 4);
            for (int v = 0; v < 8; v++) x[v] = (x[v] >> (j < 2 ? 0 : 4) & BYTES(15)) | (pairs[v] >> 2 * j & BYTES(3)) << 4;
            store_sixes(q, x);
        }
    }
}

/* The exponent of a block with the given largest absolute value, or -128 if an element is not finite: vf_pow2 turns
   that into an infinity, so that no output of the row is finite. */
static inline int fixed_exponent(float peak) {
    if (!isfinite(peak)) return -128;
    uint32_t bits;
    memcpy(&bits, &peak, 4);
    int e = (int)(bits >> 23); /* biased exponent */
    return e > FIXED_BITS ? e - 126 - FIXED_BITS : -126;
}

INLINE void pack_fixed(const uint8_t *w, int64_t stride, int type, uint8_t *s, uint8_t *q, int row) {
    float x[32], inverse[VF];
    int16_t fixed[TOGETHER][32];
    for (int r = 0; r < TOGETHER; r++, w += stride) {
        for (int i = 0; i < 32; i += VF)
            vf_store(x + i, type == ZG_F16 ? vf_load_f16(w + 2 * i) : vf_load_bf16(w + 2 * i));
        int e = fixed_exponent(peak_of_32(x));
        s[row + r] = (uint8_t)e;
        vf_store(inverse, vf_pow2(vf_set(e == -128 ? 0.0f : (float)-e)));
        fix32(x, inverse[0], fixed[r]);
    }
    for (int v = 0; v < 16; v += 4) {
        u32x4 steps[4];
        load_words((const uint8_t *)&fixed[0][2 * v], sizeof fixed[0], steps);
        for (int i = 0; i < 4; i++) store_step(q, v + i, steps[i]);
    }
}
static void pack_F16(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    pack_fixed(w, stride, ZG_F16, s, q, row);
}
static void pack_BF16(const uint8_t *w, int64_t stride, uint8_t *s, uint8_t *q, int row) {
    pack_fixed(w, stride, ZG_BF16, s, q, row);
}

static void (*const block_packers[ZG_TYPES])(const uint8_t *, int64_t, uint8_t *, uint8_t *, int) = {
    [ZG_F16] = pack_F16,   [ZG_BF16] = pack_BF16,
    [ZG_Q4_0] = pack_Q4_0, [ZG_Q4_1] = pack_Q4_1, [ZG_Q5_0] = pack_Q5_0, [ZG_Q5_1] = pack_Q5_1,
    [ZG_Q8_0] = pack_Q8_0, [ZG_Q2_K] = pack_Q2_K, [ZG_Q3_K] = pack_Q3_K, [ZG_Q4_K] = pack_Q4_K,
    [ZG_Q5_K] = pack_Q5_K, [ZG_Q6_K] = pack_Q6_K,
    [ZG_IQ4_NL] = pack_IQ4_NL, [ZG_IQ4_XS] = pack_IQ4_XS, [ZG_MXFP4] = pack_MXFP4,
};

/* Packs a block of `filled` rows of `bytes` bytes each. */
static void pack_block(int type, const uint8_t *w, int64_t stride, int filled, int bytes, uint8_t *s, uint8_t *q) {
    enum { MOST_BYTES = 256, SOON = 512 };
    int row = 0;
    if (bytes == layouts[type].bytes)
        for (; row + TOGETHER <= filled; row += TOGETHER) {
            for (int r = row; r < row + TOGETHER; r++) /* 16 rows are too many streams for the hardware prefetcher */
                for (int at = 0; at < bytes; at += 64) __builtin_prefetch(w + r * stride + SOON + at);
            block_packers[type](w + row * stride, stride, s, q + 4 * row, row);
        }
    for (; row < filled; row += TOGETHER) { /* missing rows are zeros */
        uint8_t some[TOGETHER][MOST_BYTES] = {{0}};
        for (int r = 0; r < least(TOGETHER, filled - row); r++) memcpy(some[r], w + (row + r) * stride, (size_t)bytes);
        block_packers[type](some[0], MOST_BYTES, s, q + 4 * row, row);
    }
}

/* Transposes rows of float32 into columns of 16, in pieces that stay in the cache. */
static void pack_floats(const uint8_t *rows, int64_t stride, int count, int width, uint8_t *out) {
    enum { PIECE = 64 };
    for (int at = 0; at < width; at += PIECE) {
        int end = least(at + PIECE, width);
        for (int row = 0; row < count; row++) {
            const uint8_t *w = rows + row * stride;
            for (int i = at; i < end; i++) memcpy(out + ((int64_t)i * PANEL + row) * 4, w + (int64_t)i * 4, 4);
        }
    }
}

/* Writes the panels of `count` rows that are contiguous at `rows`. */
void zg_pack(int32_t type, const void *rows, int64_t count, int32_t width, void *panels) {
    const block_layout *l = &layouts[type];
    const int64_t stride = (int64_t)width * l->bytes / l->columns, bytes = zg_panel_bytes(type, width);
    const int blocks = width / l->columns, rest = (int)(stride - (int64_t)blocks * l->bytes); /* bytes of the last, incomplete block */
    guarded++;
    for (int64_t p = 0; p * PANEL < count; p++) {
        uint8_t *scales = (uint8_t *)panels + p * bytes, *quants = scales + panel_scales(type, width);
        const uint8_t *w = (const uint8_t *)rows + p * PANEL * stride;
        int filled = count - p * PANEL < PANEL ? (int)(count - p * PANEL) : PANEL;
        if (filled < PANEL) memset(scales, 0, (size_t)bytes);
        if (is_float(type)) {
            pack_floats(w, stride, filled, width, quants);
            continue;
        }
        if (is_coded(type)) {
            pack_coded(w, stride, filled, width, type, quants);
            continue;
        }
        for (int b = 0; b < blocks; b++, w += l->bytes, scales += l->scales, quants += l->quants)
            pack_block(type, w, stride, filled, l->bytes, scales, quants);
        if (rest) pack_block(type, w, stride, filled, rest, scales, quants);
    }
    guarded--;
}
