/* Pieces of panels, up to 256 columns: read in packed form, or unpacked into the L1 cache. A vector holds VF rows; a
   panel has LANES vectors. */

enum {
    LANES = PANEL / VF, LANE = 4 * VF, /* vectors of a panel; bytes of a vector */
    PIECE = 256, BLOCKS = PIECE / 32,  /* columns of a piece; blocks of 32 in it */
    MOST_STEPS = 16,                   /* steps of 32 columns, at most */
    AHEAD = 4096,                      /* prefetch distance in bytes */
};

#define EACH_LANE _Pragma("GCC unroll 4") for (int h = 0; h < LANES; h++)

/* A piece. An element of an integer type is d * factor * (q - centre) + min. A packed piece holds the address of its
   scales and, where these are bit fields, the scales and mins as bytes, and -dmin. An unpacked piece holds
     quants  for each 32 columns its steps: of 4 columns, a byte for each, or of 2, an int16 for each (panels.c);
             by_sign, 8 steps of magnitudes, then 8 of signed bytes
     factor  for each 16 columns, or for 32, as `scaled` takes it
     d       of each 32 columns, or, with factors, of all 256
     min     of each 32 columns, or of each 16
     scale   of each 16 columns, in place of d: the types of coded.c
   and, for F32, `floats`, 16 for each column. */
typedef struct {
    const uint8_t *scales;
    uint8_t scale_bytes[2 * BLOCKS][PANEL], min_bytes[2 * BLOCKS][PANEL];
    vf dmin[LANES];
    union {
        struct {
            uint8_t quants[BLOCKS * MOST_STEPS * STEP];
            vt factor[BLOCKS][2][LANES];
            vf d[BLOCKS][LANES], min[2 * BLOCKS][LANES], scale[2 * BLOCKS][LANES];
        };
        float floats[PIECE * PANEL];
    };
} piece;

/* Properties of types that kernels need; 0 where a type has none. */
typedef struct {
    int bits;          /* of a stored quant */
    int factor, min;   /* columns that share a whole factor; columns that share a min */
    int centre;        /* the offset contained in all quants, after a lookup */
    const uint8_t *values; /* quants by stored quant */
} type_traits;

static const type_traits traits[ZG_TYPES] = {
    [ZG_F16] = {16, 0, 0, 0, NULL},   [ZG_BF16] = {16, 0, 0, 0, NULL},
    [ZG_Q4_0] = {4, 0, 0, 8, NULL},   [ZG_Q4_1] = {4, 0, 32, 0, NULL},
    [ZG_Q5_0] = {5, 0, 0, 16, NULL},  [ZG_Q5_1] = {5, 0, 32, 0, NULL},  [ZG_Q8_0] = {8, 0, 0, 128, NULL},
    [ZG_Q2_K] = {2, 16, 16, 0, NULL}, [ZG_Q3_K] = {3, 16, 0, 4, NULL},
    [ZG_Q4_K] = {4, 32, 32, 0, NULL}, [ZG_Q5_K] = {5, 32, 32, 0, NULL}, [ZG_Q6_K] = {6, 16, 0, 32, NULL},
    [ZG_IQ4_NL] = {4, 0, 0, 128, iq4_values}, [ZG_IQ4_XS] = {4, 32, 0, 128, iq4_values},
    [ZG_MXFP4] = {4, 0, 0, 12, mxfp4_values},
};
static const type_traits coded_traits = {8, 0, 0, 128, NULL}; /* of the types in coded.c, unpacked */

INLINE type_traits traits_of(int type) { return is_coded(type) ? coded_traits : traits[type]; }

INLINE int bits_of(int type) { return traits_of(type).bits; }
INLINE int has_factors(int type) { return traits_of(type).factor > 0; }
INLINE int has_mins(int type) { return traits_of(type).min > 0; }
/* Factors, and mins, of 32 columns. */
INLINE int factors_of(int type) { return has_factors(type) ? 32 / traits_of(type).factor : 0; }
INLINE int mins_of(int type) { return has_mins(type) ? 32 / traits_of(type).min : 0; }
/* True if products use the magnitudes of weights, and activations take over their signs: two products of unsigned bytes
   do not fit into int16, two products with magnitudes up to 128 do. */
INLINE int by_sign(int type) { return traits_of(type).centre == 128 && !WIDE_PRODUCTS; }
/* True if unpacking multiplies the quants of 16 columns with their factor, which leaves them unsigned bytes:
     2 bits   3 * 15 at most
     3 bits   128 - factor * (q - 4), which is 0 to 252; the scale d changes its sign. */
INLINE int is_multiplied(int type, int packed) { return !packed && WIDE_PRODUCTS && bits_of(type) < 4 && traits_of(type).factor == 16; }
/* The offset that a kernel removes. By_sign, unpacking does; with WIDE_PRODUCTS, it moves all offsets to 128. */
INLINE int centre_of(int type, int packed) {
    if (by_sign(type)) return 0;
    return !packed && WIDE_PRODUCTS && traits_of(type).centre ? 128 : traits_of(type).centre;
}
INLINE int steps_of(int type) { return is_fixed(type) ? 16 : 8; }
/* The number of steps that one partial sum covers. With 32 bits: those that share a factor. With 16 bits the sum may
   overflow on the way as long as the result fits, and 2 products of each step are at most
     4 bits   8 * 2 * 15 * 127 = 30,480, and less with a centre of 8, or of 12
     5 bits   4 * 2 * 31 * 127 = 31,496, or with a centre of 16 8 * 2 * 16 * 127 = 32,512
     6 bits   4 * 2 * 32 * 127 = 32,512, with a centre of 32. */
INLINE int steps_together(int type) {
    int in_16_bits = bits_of(type) == 5 && !traits_of(type).centre && !WIDE_PRODUCTS;
    return traits_of(type).factor == 16 || in_16_bits ? 4 : steps_of(type);
}
/* Bytes of 32 columns' quants. */
INLINE int quant_bytes(int type, int packed) { return (packed ? bits_of(type) : by_sign(type) ? 16 : steps_of(type)) * STEP; }

/* ---- reading a packed panel ---- */

/* Prefetches what the kernel will read AHEAD bytes later: the hardware prefetcher stops at the end of a page. */
INLINE void fetch_ahead(const uint8_t *q, int steps) {
    _Pragma("GCC unroll 8") for (int i = 0; i < steps; i++) __builtin_prefetch(q + AHEAD + i * STEP, 0, 3);
}

/* `bits` bits of each byte, starting at bit `at`, moved to bit `to`. */
INLINE vi moved(vi x, int at, int bits, int to) {
    return vi_and(at < to ? vi_left(x, to - at) : vi_right(x, at - to), vi_set8(((1 << bits) - 1) << to));
}

/* The stored quants of one step of 32 columns for the rows of lane h; layout: panels.c. */
INLINE vi stored_quants(const uint8_t *q, int type, int step, int h) {
    const int bits = bits_of(type);
    q += h * LANE;
    if (bits == 8 || bits == 16) return vi_load(q + step * STEP);
    if (bits == 2) return moved(vi_load(q + step / 4 * STEP), step % 4 * 2, 2, 0);
    if (bits == 3) {
        if (step < 6) return moved(vi_load(q + step / 2 * STEP), step % 2 * 3, 3, 0);
        vi high = vi_load(q + 2 * STEP);
        return vi_or(moved(vi_load(q + (step - 6) * STEP), 6, 2, 0), moved(high, step, 1, 2));
    }
    if (bits == 4) return moved(vi_load(q + step / 2 * STEP), step % 2 * 4, 4, 0);
    if (bits == 6) {
        q += step / 4 * 3 * STEP;
        if (step % 4 < 3) return moved(vi_load(q + step % 4 * STEP), 0, 6, 0);
        vi low = moved(vi_load(q), 6, 2, 0), middle = moved(vi_load(q + STEP), 6, 2, 2);
        return vi_or(vi_or(low, middle), moved(vi_load(q + 2 * STEP), 6, 2, 4));
    }
    if (step < 5) return moved(vi_load(q + step * STEP), 0, 5, 0);
    vi low = moved(vi_load(q + (step - 5) * STEP), 5, 3, 0), three = vi_load(q + 3 * STEP), four = vi_load(q + 4 * STEP);
    if (step < 7) return vi_or(low, moved(step == 5 ? three : four, 5, 2, 3));
    return vi_or(low, vi_or(moved(three, 7, 1, 3), moved(four, 7, 1, 4)));
}

INLINE vi packed_quants(const uint8_t *q, int type, int step, int h) {
    vi stored = stored_quants(q, type, step, h);
    return traits_of(type).values ? vi_lookup(vi_table(traits_of(type).values), stored) : stored;
}

/* Removes the offset of 128 from bytes. */
INLINE vi signed_bytes(vi q) { return vi_xor(q, vi_set8(128)); }

/* Unpacks the scales of a packed piece that are bit fields; layouts: panels.c. */
INLINE void six_bits(piece *w) {
    const uint8_t *low = w->scales + 64, *high = w->scales + 192;
    const vi nibble = vi_set8(15), above = vi_set8(0x30);
    for (int i = 0; i < 4 * PANEL; i += LANE) {
        vi a = vi_load(low + i), b = vi_load(low + 4 * PANEL + i), c = vi_load(high + i);
        uint8_t *scale = (uint8_t *)w->scale_bytes + i, *min = (uint8_t *)w->min_bytes + i;
        vi_store(scale, vi_or(vi_and(a, nibble), vi_and(vi_left(c, 4), above)));
        vi_store(min, vi_or(vi_and(vi_right(a, 4), nibble), vi_and(vi_left(c, 2), above)));
        vi_store(scale + 4 * PANEL, vi_or(vi_and(b, nibble), vi_and(c, above)));
        vi_store(min + 4 * PANEL, vi_or(vi_and(vi_right(b, 4), nibble), vi_and(vi_right(c, 2), above)));
    }
}
INLINE void scales_of_Q2_K(piece *w) {
    const uint8_t *both = w->scales + 64;
    for (int i = 0; i < 16 * PANEL; i += LANE) {
        vi x = vi_load(both + i);
        vi_store((uint8_t *)w->scale_bytes + i, moved(x, 0, 4, 0));
        vi_store((uint8_t *)w->min_bytes + i, moved(x, 4, 4, 0));
    }
}
/* 8 bytes with the low 4 bits of scales j and j + 8, 4 bytes with the high 2 of scales j, j + 4, j + 8 and j + 12. */
INLINE void scales_of_Q3_K(piece *w) {
    const uint8_t *low = w->scales + 32, *high = low + 8 * PANEL;
    uint8_t *scale = (uint8_t *)w->scale_bytes;
    for (int i = 0; i < 4 * PANEL; i += LANE) {
        vi a = vi_load(low + i), b = vi_load(low + 4 * PANEL + i), c = vi_load(high + i), centre = vi_set8(32);
        vi_store(scale + i, vi_sub8(vi_or(moved(a, 0, 4, 0), moved(c, 0, 2, 4)), centre));
        vi_store(scale + 4 * PANEL + i, vi_sub8(vi_or(moved(b, 0, 4, 0), moved(c, 2, 2, 4)), centre));
        vi_store(scale + 8 * PANEL + i, vi_sub8(vi_or(moved(a, 4, 4, 0), moved(c, 4, 2, 4)), centre));
        vi_store(scale + 12 * PANEL + i, vi_sub8(vi_or(moved(b, 4, 4, 0), moved(c, 6, 2, 4)), centre));
    }
}
/* 4 bytes with the low 4 bits of scales 2 j and 2 j + 1, 2 bytes with the high 2 of 4 scales each. */
INLINE void scales_of_IQ4_XS(piece *w) {
    const uint8_t *low = w->scales + 32, *high = low + 4 * PANEL;
    for (int j = 0; j < 8; j++)
        for (int r = 0; r < PANEL; r++) {
            int four = low[j / 2 * PANEL + r] >> j % 2 * 4 & 15, two = high[j / 4 * PANEL + r] >> j % 4 * 2 & 3;
            w->scale_bytes[j][r] = (uint8_t)((four | two << 4) - 32);
        }
}

INLINE void begin_piece(piece *w, int type, const uint8_t *scales) {
    w->scales = scales;
    if (has_factors(type) && has_mins(type))
        EACH_LANE w->dmin[h] = vf_sub(vf_zero(), vf_load_f16(scales + 32 + h * VF * 2));
    if (type == ZG_Q2_K) scales_of_Q2_K(w);
    if (type == ZG_Q3_K) scales_of_Q3_K(w);
    if (type == ZG_Q4_K || type == ZG_Q5_K) six_bits(w);
    if (type == ZG_IQ4_XS) scales_of_IQ4_XS(w);
}

/* ---- scales of a piece, packed or unpacked ---- */

INLINE vf d_of(const piece *w, int type, int packed, int b, int h) {
    if (!packed) return w->d[b][h];
    const uint8_t *s = w->scales + b * layouts[type].scales;
    return has_exponents(type) ? vf_pow2(vf_load_i8(s + h * VF)) : vf_load_f16(s + h * VF * 2);
}
INLINE vf min_of(const piece *w, int type, int packed, int i, int h) {
    if (!packed) return w->min[i][h];
    if (has_factors(type)) return vf_mul(w->dmin[h], vf_from_u8(w->min_bytes[i] + h * VF));
    return vf_load_f16(w->scales + i * layouts[type].scales + 32 + h * VF * 2);
}
INLINE vt factor_of(const piece *w, int type, int packed, int b, int half, int h) {
    if (!packed) return w->factor[b][half][h];
    if (type == ZG_Q6_K) return row_signed_scales(w->scales + 32 + 32 * b + 16 * half + h * VF);
    const uint8_t *bytes = w->scale_bytes[factors_of(type) * b + half] + h * VF;
    return has_mins(type) ? row_scales(bytes) : row_signed_scales(bytes);
}

/* ---- unpacking a piece ---- */

INLINE void unpack_scales(piece *w, int type, const uint8_t *scales, int blocks) {
    const int factors = has_factors(type);
    begin_piece(w, type, scales);
    for (int b = 0; b < blocks; b++) EACH_LANE {
        if (!factors || b == 0) w->d[b][h] = d_of(w, type, 1, b, h);
        if (b == 0 && is_multiplied(type, 0) && traits_of(type).centre) w->d[0][h] = vf_sub(vf_zero(), w->d[0][h]);
        for (int i = mins_of(type) * b; i < mins_of(type) * (b + 1); i++) w->min[i][h] = min_of(w, type, 1, i, h);
        for (int half = 0; half < factors_of(type) && !is_multiplied(type, 0); half++)
            w->factor[b][half][h] = factor_of(w, type, 1, b, half, h);
    }
}

/* Quants times the factors of their rows, as is_multiplied says. */
INLINE vi multiplied(vi q, int type, const uint8_t *factors) {
    vi product = vi_mul8(vi_sub8(q, vi_set8(traits_of(type).centre)), row_pairs(factors));
    return traits_of(type).centre ? vi_sub8(vi_set8(128), product) : product;
}

/* Unpacks columns of a type of coded.c. */
static void unpack_coded(piece *to, int type, const uint8_t *q, int columns) {
    const block_layout l = layouts[type];
    float *to_scales = (float *)to->scale;
    for (int at = 0; at < columns; at += l.columns)
        for (int row = 0; row < PANEL; row++, q += l.bytes) {
            int8_t elements[PIECE];
            float scales[PIECE / 16];
            decoders[type](q, elements, scales);
            for (int g = 0; g < l.columns / 16; g++) to_scales[(at / 16 + g) * PANEL + row] = scales[g];
            for (int i = 0; i < l.columns; i += 4) {
                uint8_t *out = to->quants + (at + i) / 32 * quant_bytes(type, 0) + i % 32 / 4 * STEP + 4 * row;
                uint32_t word = read_u32((const uint8_t *)elements + i);
                if (!by_sign(type)) {
                    write_u32(out, word ^ BYTES(128));
                    continue;
                }
                write_u32(out + 8 * STEP, word);
                for (int j = 0; j < 4; j++) out[j] = (uint8_t)abs(elements[i + j]);
            }
        }
}

INLINE void unpack(piece *to, int type, const uint8_t *s, const uint8_t *q, int columns) {
    if (is_float(type)) {
        for (int i = 0; i < columns; i++) fetch_ahead(q + i * STEP, 1);
        memcpy(to->floats, q, (size_t)columns * STEP);
        return;
    }
    if (is_coded(type)) {
        unpack_coded(to, type, q, columns);
        return;
    }
    uint8_t *out = to->quants;
    unpack_scales(to, type, s, columns / 32);
    for (int b = 0; b < columns / 32; b++, q += quant_bytes(type, 1), out += quant_bytes(type, 0)) {
        fetch_ahead(q, bits_of(type));
        _Pragma("GCC unroll 16") for (int step = 0; step < steps_of(type); step++) EACH_LANE {
            uint8_t *to_step = out + step * STEP + h * LANE;
            vi x = packed_quants(q, type, step, h);
            if (is_multiplied(type, 0)) x = multiplied(x, type, to->scale_bytes[2 * b + step / 4] + h * VF);
            else if (centre_of(type, 0) != centre_of(type, 1)) x = vi_sub8(x, vi_set8(centre_of(type, 1) - centre_of(type, 0)));
            if (by_sign(type)) {
                vi_store(to_step + 8 * STEP, signed_bytes(x));
                x = vi_abs8(signed_bytes(x));
            }
            vi_store(to_step, x);
        }
    }
}
