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
   scales and, for Q4_K and Q5_K, the six-bit scales and mins for each 32 columns, and -dmin. An unpacked piece holds
     quants  for each 32 columns its steps: of 4 columns, a byte for each, or of 2, an int16 for each (panels.c);
             by_sign, 8 steps of magnitudes, then 8 of signed bytes
     factor  for each 16 columns, or, with a min, for 32, in pairs of int16
     d       of each 32 columns, or, with factors, of all 256
     min     of each 32 columns
   and, for F32, `floats`, 16 for each column. */
typedef struct {
    const uint8_t *scales;
    uint8_t six_bit_scale[BLOCKS][PANEL], six_bit_min[BLOCKS][PANEL];
    vf dmin[LANES];
    union {
        struct {
            uint8_t quants[BLOCKS * MOST_STEPS * STEP];
            vi factor[BLOCKS][2][LANES];
            vf d[BLOCKS][LANES], min[BLOCKS][LANES];
        };
        float floats[PIECE * PANEL];
    };
} piece;

/* Properties of a type that kernels need; 0 where a type has none. */
INLINE int bits_of(int type) {
    return is_fixed(type) ? 16 : type == ZG_Q8_0 ? 8 : type == ZG_Q6_K ? 6 : type == ZG_Q5_0 || type == ZG_Q5_1 || type == ZG_Q5_K ? 5 : 4;
}
INLINE int has_factors(int type) { return type == ZG_Q4_K || type == ZG_Q5_K || type == ZG_Q6_K; }
INLINE int has_mins(int type) { return type == ZG_Q4_1 || type == ZG_Q5_1 || type == ZG_Q4_K || type == ZG_Q5_K; }
/* True if products use the magnitudes of weights, and activations take over their signs: two products of unsigned bytes
   do not fit into int16, two products with magnitudes up to 128 do. */
INLINE int by_sign(int type) { return type == ZG_Q8_0 && !WIDE_PRODUCTS; }
/* The offset contained in all stored quants. */
INLINE int centre_of(int type) {
    return type == ZG_Q4_0 ? 8 : type == ZG_Q5_0 ? 16 : type == ZG_Q6_K ? 32 : type == ZG_Q8_0 && !by_sign(type) ? 128 : 0;
}
INLINE int steps_of(int type) { return is_fixed(type) ? 16 : 8; }
/* The number of steps that one partial sum covers. With 32 bits: those that share a factor. With 16 bits the sum may
   overflow on the way as long as the result fits, and 2 products of each step are at most
     4 bits   8 * 2 * 15 * 127 = 30,480, and less with a centre of 8
     5 bits   4 * 2 * 31 * 127 = 31,496, or with a centre of 16 8 * 2 * 16 * 127 = 32,512
     6 bits   4 * 2 * 32 * 127 = 32,512, with a centre of 32. */
INLINE int steps_together(int type) {
    int in_16_bits = bits_of(type) == 5 && !centre_of(type) && !WIDE_PRODUCTS;
    return type == ZG_Q6_K || in_16_bits ? 4 : steps_of(type);
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

/* The quants of one step of 32 columns for the rows of lane h; layout: panels.c. */
INLINE vi packed_quants(const uint8_t *q, int type, int step, int h) {
    const int bits = bits_of(type);
    q += h * LANE;
    if (bits == 8 || bits == 16) return vi_load(q + step * STEP);
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

/* Removes the offset of 128 from bytes. */
INLINE vi signed_bytes(vi q) { return vi_xor(q, vi_set8(128)); }

/* Unpacks the six-bit scales and mins of Q4_K and Q5_K; layout: panels.c. */
INLINE void six_bits(piece *w) {
    const uint8_t *low = w->scales + 64, *high = w->scales + 192;
    const vi nibble = vi_set8(15), above = vi_set8(0x30);
    for (int i = 0; i < 4 * PANEL; i += LANE) {
        vi a = vi_load(low + i), b = vi_load(low + 4 * PANEL + i), c = vi_load(high + i);
        uint8_t *scale = (uint8_t *)w->six_bit_scale + i, *min = (uint8_t *)w->six_bit_min + i;
        vi_store(scale, vi_or(vi_and(a, nibble), vi_and(vi_left(c, 4), above)));
        vi_store(min, vi_or(vi_and(vi_right(a, 4), nibble), vi_and(vi_left(c, 2), above)));
        vi_store(scale + 4 * PANEL, vi_or(vi_and(b, nibble), vi_and(c, above)));
        vi_store(min + 4 * PANEL, vi_or(vi_and(vi_right(b, 4), nibble), vi_and(vi_right(c, 2), above)));
    }
}

INLINE void begin_piece(piece *w, int type, const uint8_t *scales) {
    w->scales = scales;
    if (!has_factors(type) || !has_mins(type)) return;
    EACH_LANE w->dmin[h] = vf_sub(vf_zero(), vf_load_f16(scales + 32 + h * VF * 2));
    six_bits(w);
}

/* ---- scales of a piece, packed or unpacked ---- */

INLINE vf d_of(const piece *w, int type, int packed, int b, int h) {
    if (!packed) return w->d[b][h];
    const uint8_t *s = w->scales + b * layouts[type].scales;
    return is_fixed(type) ? vf_pow2(vf_load_i8(s + h * VF)) : vf_load_f16(s + h * VF * 2);
}
INLINE vf min_of(const piece *w, int type, int packed, int b, int h) {
    if (!packed) return w->min[b][h];
    if (has_factors(type)) return vf_mul(w->dmin[h], vf_from_u8(w->six_bit_min[b] + h * VF));
    return vf_load_f16(w->scales + b * layouts[type].scales + 32 + h * VF * 2);
}
INLINE vi factor_of(const piece *w, int type, int packed, int b, int half, int h) {
    if (!packed) return w->factor[b][half][h];
    if (has_mins(type)) return row_scales(w->six_bit_scale[b] + h * VF);
    return row_signed_scales(w->scales + 32 + 32 * b + 16 * half + h * VF);
}

/* ---- unpacking a piece ---- */

INLINE void unpack_scales(piece *w, int type, const uint8_t *scales, int blocks) {
    const int factors = has_factors(type), mins = has_mins(type);
    begin_piece(w, type, scales);
    for (int b = 0; b < blocks; b++) EACH_LANE {
        if (!factors || b == 0) w->d[b][h] = d_of(w, type, 1, b, h);
        if (mins) w->min[b][h] = min_of(w, type, 1, b, h);
        if (factors) w->factor[b][0][h] = factor_of(w, type, 1, b, 0, h);
        if (factors && !mins) w->factor[b][1][h] = factor_of(w, type, 1, b, 1, h);
    }
}

INLINE void unpack(piece *to, int type, const uint8_t *s, const uint8_t *q, int columns) {
    if (is_float(type)) {
        for (int i = 0; i < columns; i++) fetch_ahead(q + i * STEP, 1);
        memcpy(to->floats, q, (size_t)columns * STEP);
        return;
    }
    uint8_t *out = to->quants;
    unpack_scales(to, type, s, columns / 32);
    for (int b = 0; b < columns / 32; b++, q += quant_bytes(type, 1), out += quant_bytes(type, 0)) {
        fetch_ahead(q, bits_of(type));
        _Pragma("GCC unroll 16") for (int step = 0; step < steps_of(type); step++) EACH_LANE {
            uint8_t *to_step = out + step * STEP + h * LANE;
            vi x = packed_quants(q, type, step, h);
            if (by_sign(type)) {
                vi_store(to_step + 8 * STEP, signed_bytes(x));
                x = vi_abs8(signed_bytes(x));
            }
            vi_store(to_step, x);
        }
    }
}
