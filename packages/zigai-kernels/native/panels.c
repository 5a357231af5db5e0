/* How a matrix lies in memory for Linear: in panels of 16 rows, so that one vector serves 16 outputs and there
   is no sum across a vector. The last panel is filled up with rows of zeros.

   A panel of F32 is its columns, one after another, each with its 16 elements. A panel of another type is the
   scales of all its blocks, then the quants of all its blocks. The quants of 32 columns are steps of 4
   columns; byte 4 r + t of a step belongs to row r and column t of the 4.
     16 bits   16 steps of 2 columns, an int16 for each
     8 bits    8 steps of 64 bytes, 128 added so that they are unsigned
     4 bits    4 vectors of 64 bytes: step 2 v in the low, step 2 v + 1 in the high halves of bytes
     5 bits    the same, then 64 bytes: bit s of a byte is the fifth bit of step s
     6 bits    the same as 4, then 2 times 64 bytes: bits 2 i and 2 i + 1 are the high bits of step 4 p + i
   Scales are 16 of each kind, row by row: float16 d, then dmin or m where the type has it; then, for Q4_K and
   Q5_K, for each 32 columns a byte with the low 4 bits of the scale and above them those of the min, and for
   columns 32 j and 128 + 32 j a byte with the rest, from the lowest bits: scale j, min j, scale j + 4, min
   j + 4; for Q6_K int8 for each 16 columns. The types' own layouts are GGUF's (ggml-quants.h).

   F16 and BF16 become fixed point: 32 columns of a row share an int8 exponent e, and an element is an int16 times
   2^e. The largest of them has 13 bits, the last of which is worth 2^e: as many as leave room for sums of 32 products
   with activations of 13 bits (activations.c). A row whose width is no multiple of 32 ends in zeros. */

enum { PANEL = 16, STEP = 64, FIXED_BITS = 13 };

typedef struct {
    int columns;        /* of a block */
    int bytes;          /* of a block in the file */
    int scales, quants; /* bytes of a panel's block */
} block_layout;

static const block_layout layouts[ZG_TYPES] = {
    [ZG_F32] = {1, 4, 0, 4 * PANEL},      [ZG_F16] = {32, 64, 16, 16 * STEP}, [ZG_BF16] = {32, 64, 16, 16 * STEP},
    [ZG_Q4_0] = {32, 18, 32, 4 * STEP},   [ZG_Q4_1] = {32, 20, 64, 4 * STEP},
    [ZG_Q5_0] = {32, 22, 32, 5 * STEP},   [ZG_Q5_1] = {32, 24, 64, 5 * STEP}, [ZG_Q8_0] = {32, 34, 32, 8 * STEP},
    [ZG_Q4_K] = {256, 144, 256, 32 * STEP}, [ZG_Q5_K] = {256, 176, 256, 40 * STEP},
    [ZG_Q6_K] = {256, 210, 288, 48 * STEP},
};

/* What the kernels ask of a type. */
INLINE int is_float(int type) { return type == ZG_F32; }
INLINE int is_fixed(int type) { return type == ZG_F16 || type == ZG_BF16; }

static inline int blocks_of(int type, int width) { return ceil_div(width, layouts[type].columns); }

/* Columns of a panel: those of whole blocks. */
static inline int columns_of(int type, int width) { return blocks_of(type, width) * layouts[type].columns; }

static inline int64_t panel_scales(int type, int width) {
    return align64((int64_t)blocks_of(type, width) * layouts[type].scales);
}

int64_t zg_panel_bytes(int32_t type, int32_t width) {
    return align64(panel_scales(type, width) + (int64_t)blocks_of(type, width) * layouts[type].quants);
}

static inline uint64_t read_u64(const uint8_t *p) { uint64_t x; memcpy(&x, p, 8); return x; }
static inline void write_u32(uint8_t *p, uint32_t x) { memcpy(p, &x, 4); }

/* 8 columns, a byte each, as 4 bytes: the first 4 low, the others high. */
static inline uint32_t nibble_steps(uint64_t q) { return (uint32_t)q | (uint32_t)(q >> 28); }

/* Bits 0, 4, 8 ... 28 of x, side by side. */
static inline uint32_t every_fourth_bit(uint32_t x) {
    x &= 0x11111111;
    x = (x | x >> 3) & 0x03030303;
    x = (x | x >> 6) & 0x000f000f;
    return (x | x >> 12) & 0xff;
}

/* ---- what each type does with one row's block: scales at s (of row 0), quants at q (of row 0) ---- */

enum { NIBBLES = 0x0f };
#define ALL_BYTES(x) ((uint64_t)(x) * 0x0101010101010101)

/* 16 bytes of nibbles: columns 0..15 are the low ones, 16..31 the high ones. */
static inline void pack_nibbles(const uint8_t *w, uint8_t *q) {
    for (int v = 0; v < 4; v++)
        write_u32(q + v * STEP, nibble_steps(read_u64(w + v % 2 * 8) >> v / 2 * 4 & ALL_BYTES(NIBBLES)));
}

static inline void pack_fifth_bits(const uint8_t *w, uint8_t *q) {
    uint32_t bits = read_u32(w), out = 0;
    for (int t = 0; t < 4; t++) out |= every_fourth_bit(bits >> t) << 8 * t;
    write_u32(q, out);
}

static void pack_Q4_0(const uint8_t *w, uint8_t *s, uint8_t *q, int row) {
    memcpy(s + 2 * row, w, 2);
    pack_nibbles(w + 2, q);
}
static void pack_Q4_1(const uint8_t *w, uint8_t *s, uint8_t *q, int row) {
    memcpy(s + 2 * row, w, 2), memcpy(s + 32 + 2 * row, w + 2, 2);
    pack_nibbles(w + 4, q);
}
static void pack_Q5_0(const uint8_t *w, uint8_t *s, uint8_t *q, int row) {
    memcpy(s + 2 * row, w, 2);
    pack_nibbles(w + 6, q);
    pack_fifth_bits(w + 2, q + 4 * STEP);
}
static void pack_Q5_1(const uint8_t *w, uint8_t *s, uint8_t *q, int row) {
    memcpy(s + 2 * row, w, 2), memcpy(s + 32 + 2 * row, w + 2, 2);
    pack_nibbles(w + 8, q);
    pack_fifth_bits(w + 4, q + 4 * STEP);
}
static void pack_Q8_0(const uint8_t *w, uint8_t *s, uint8_t *q, int row) {
    memcpy(s + 2 * row, w, 2);
    for (int v = 0; v < 8; v++) write_u32(q + v * STEP, read_u32(w + 2 + 4 * v) ^ 0x80808080);
}

/* Q4_K and Q5_K keep 8 scales and 8 mins of 6 bits in 12 bytes: sm[0..7] scales, sm[8..15] mins. */
static inline void unpack_k_scales(const uint8_t *p, uint8_t sm[16]) {
    uint32_t a = read_u32(p), b = read_u32(p + 4), c = read_u32(p + 8);
    uint32_t out[4] = {
        a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | ((a >> 2) & 0x30303030),
        b & 0x3f3f3f3f, ((c >> 4) & 0x0f0f0f0f) | ((b >> 2) & 0x30303030)};
    memcpy(sm, out, 16);
}

/* Sub-blocks 2 i and 2 i + 1 are the low and the high halves of 32 bytes; bit j of 32 others is the fifth bit
   of sub-block j. */
static inline void pack_k(const uint8_t *w, const uint8_t *nibbles, const uint8_t *fifth, uint8_t *s, uint8_t *q, int row) {
    uint8_t sm[16];
    unpack_k_scales(w + 4, sm);
    memcpy(s + 2 * row, w, 2), memcpy(s + 32 + 2 * row, w + 2, 2);
    for (int j = 0; j < 8; j++) s[64 + 16 * j + row] = (uint8_t)((sm[j] & 15) | sm[8 + j] << 4);
    for (int j = 0; j < 4; j++)
        s[192 + 16 * j + row] = (uint8_t)(sm[j] >> 4 | sm[8 + j] >> 4 << 2 | sm[j + 4] >> 4 << 4 | sm[12 + j] >> 4 << 6);
    for (int j = 0; j < 8; j++, q += fifth ? 5 * STEP : 4 * STEP) {
        for (int v = 0; v < 4; v++)
            write_u32(q + v * STEP, nibble_steps(read_u64(nibbles + j / 2 * 32 + 8 * v) >> j % 2 * 4 & ALL_BYTES(NIBBLES)));
        if (!fifth) continue;
        uint32_t out = 0;
        for (int step = 0; step < 8; step++) out |= (read_u32(fifth + 4 * step) >> j & 0x01010101) << step;
        write_u32(q + 4 * STEP, out);
    }
}
static void pack_Q4_K(const uint8_t *w, uint8_t *s, uint8_t *q, int row) { pack_k(w, w + 16, NULL, s, q, row); }
static void pack_Q5_K(const uint8_t *w, uint8_t *s, uint8_t *q, int row) { pack_k(w, w + 48, w + 16, s, q, row); }

/* Each half of 128 columns has 64 bytes of nibbles (columns 0..63 low, 64..127 high) and 32 of pairs of bits. */
static void pack_Q6_K(const uint8_t *w, uint8_t *s, uint8_t *q, int row) {
    memcpy(s + 2 * row, w + 208, 2);
    for (int i = 0; i < 16; i++) s[32 + 16 * i + row] = w[192 + i];
    for (int j = 0; j < 8; j++, q += 6 * STEP) {
        const uint8_t *low = w + j / 4 * 64 + j % 2 * 32, *high = w + 128 + j / 4 * 32;
        for (int v = 0; v < 4; v++)
            write_u32(q + v * STEP, nibble_steps(read_u64(low + 8 * v) >> j % 4 / 2 * 4 & ALL_BYTES(NIBBLES)));
        for (int p = 0; p < 2; p++) {
            uint32_t out = 0;
            for (int i = 0; i < 4; i++) out |= (read_u32(high + 16 * p + 4 * i) >> 2 * (j % 4) & 0x03030303) << 2 * i;
            write_u32(q + (4 + p) * STEP, out);
        }
    }
}

/* The exponent of a block by the largest of its absolute values: vf_pow2 of -128 is infinite, since where an element
   is not finite no output may be. */
static inline int fixed_exponent(float peak) {
    if (!isfinite(peak)) return -128;
    uint32_t bits;
    memcpy(&bits, &peak, 4);
    int e = (int)(bits >> 23); /* 127 and the exponent */
    return e > FIXED_BITS ? e - 126 - FIXED_BITS : -126;
}

INLINE void pack_fixed(const uint8_t *w, int type, uint8_t *s, uint8_t *q, int row) {
    float x[32], inverse[VF];
    int16_t fixed[32];
    for (int i = 0; i < 32; i += VF)
        vf_store(x + i, type == ZG_F16 ? vf_load_f16(w + 2 * i) : vf_load_bf16(w + 2 * i));
    int e = fixed_exponent(peak_of_32(x));
    s[row] = (uint8_t)e;
    vf_store(inverse, vf_pow2(vf_set(e == -128 ? 0.0f : (float)-e)));
    fix32(x, inverse[0], fixed);
    for (int v = 0; v < 16; v++) memcpy(q + v * STEP, fixed + 2 * v, 4);
}
static void pack_F16(const uint8_t *w, uint8_t *s, uint8_t *q, int row) { pack_fixed(w, ZG_F16, s, q, row); }
static void pack_BF16(const uint8_t *w, uint8_t *s, uint8_t *q, int row) { pack_fixed(w, ZG_BF16, s, q, row); }

static void (*const block_packers[ZG_TYPES])(const uint8_t *, uint8_t *, uint8_t *, int) = {
    [ZG_F16] = pack_F16,   [ZG_BF16] = pack_BF16,
    [ZG_Q4_0] = pack_Q4_0, [ZG_Q4_1] = pack_Q4_1, [ZG_Q5_0] = pack_Q5_0, [ZG_Q5_1] = pack_Q5_1,
    [ZG_Q8_0] = pack_Q8_0, [ZG_Q4_K] = pack_Q4_K, [ZG_Q5_K] = pack_Q5_K, [ZG_Q6_K] = pack_Q6_K,
};

/* Rows of float32 become columns of 16; in pieces, so that what is written stays near. */
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

/* Writes panels first..end of a matrix whose rows lie one after another at `rows`. */
void zg_pack(int32_t type, const void *rows, int64_t count, int32_t width, void *panels, int64_t first, int64_t end) {
    const block_layout *l = &layouts[type];
    const int64_t stride = (int64_t)width * l->bytes / l->columns, bytes = zg_panel_bytes(type, width);
    const int blocks = width / l->columns;
    const size_t rest = (size_t)(stride - (int64_t)blocks * l->bytes); /* bytes of a row's last block that is not whole */
    for (int64_t p = first; p < end; p++) {
        uint8_t *scales = (uint8_t *)panels + p * bytes, *quants = scales + panel_scales(type, width);
        const uint8_t *w = (const uint8_t *)rows + p * PANEL * stride;
        int filled = count - p * PANEL < PANEL ? (int)(count - p * PANEL) : PANEL;
        if (filled < PANEL) memset(scales, 0, (size_t)bytes);
        if (is_float(type)) {
            pack_floats(w, stride, filled, width, quants);
            continue;
        }
        for (int b = 0; b < blocks; b++, w += l->bytes, scales += l->scales, quants += l->quants)
            for (int row = 0; row < filled; row++)
                block_packers[type](w + row * stride, scales, quants + 4 * row, row);
        for (int row = 0; rest && row < filled; row++) {
            uint8_t block[64] = {0};
            memcpy(block, w + row * stride, rest);
            block_packers[type](block, scales, quants + 4 * row, row);
        }
    }
}
