/* Dot products of a panel's 16 rows with rows of activations: the kernels of Linear.

   A panel is taken in pieces of up to 256 columns, and rows of activations in tiles of up to TILE. Where there are few
   rows, one tile goes through all of a panel, reading it as it is packed. Where there are many, a piece is unpacked
   into the first-level cache, and all tiles go through it, one after another.

   Whatever the instruction set, the tile and the number of threads, an output is one and the same chain of
   operations: exact integer sums over 32 columns, then, in the order of the columns, one multiply-add in
   float32 for each of them. A vector holds VF rows; a panel takes LANES of them. */

enum {
    LANES = PANEL / VF, LANE = 4 * VF, /* vectors of a panel; bytes of a vector */
    FEW = 4,                           /* rows that read a panel as it is packed */
    AHEAD = 4096,                      /* bytes that memory is asked for in advance */
    PIECE = 256, BLOCKS = PIECE / 32, /* columns of a piece, blocks of 32 in it */
    BYTE_STEPS = WIDENED ? 16 : 8, /* of 32 columns of bytes; of 16, the first 8 are the even columns of each 4 */
};

/* A piece. Of integer types an element is d * factor * (q - centre) + min. Packed, it is where its scales begin, and of
   Q4_K and Q5_K their six-bit scales and mins, for each 32 columns, and -dmin. Unpacked it is
     quants  for each 32 columns its steps: of 4 columns, a byte for each (panels.c)
     factor  for each 16 columns, or, with a min, for 32, in pairs of int16; both of 32 columns in one pair
     d       of each 32 columns, or, where there are factors, of all 256
     min     of each 32 columns
   and of float types `floats`, 16 for each column. */
typedef struct {
    const uint8_t *scales;
    uint8_t six_bit_scale[BLOCKS][PANEL], six_bit_min[BLOCKS][PANEL];
    vf dmin[LANES];
    union {
        struct {
            uint8_t quants[BLOCKS * BYTE_STEPS * STEP];
            vi factor[BLOCKS][2][LANES], both[BLOCKS][LANES];
            vf d[BLOCKS][LANES], min[BLOCKS][LANES];
        };
        float floats[PIECE * PANEL];
    };
} piece;

typedef struct {
    const char *row[TILE];
    int scales, sums, halves, widened; /* byte offsets within a row of int8 activations */
} activations;

INLINE vf act_d(const activations *a, int t, int b) { return vf_set(((const float *)(a->row[t] + a->scales))[b]); }
INLINE vf act_s(const activations *a, int t, int b) { return vf_set(((const float *)(a->row[t] + a->sums))[b]); }
INLINE vi act_halves(const activations *a, int t, int b) { return vi_spread(a->row[t] + a->halves + 4 * b); }

#define EACH_LANE _Pragma("GCC unroll 4") for (int h = 0; h < LANES; h++)
#define EACH_TOKEN _Pragma("GCC unroll 12") for (int t = 0; t < nt; t++)
#define EACH_STEP _Pragma("GCC unroll 8") for (int step = 0; step < 8; step++)

/* What the kernels ask of a type; 0 where it has none. */
INLINE int is_float(int type) { return type <= ZG_BF16; }
INLINE int bits_of(int type) {
    return type == ZG_Q8_0 ? 8 : type == ZG_Q6_K ? 6 : type == ZG_Q5_0 || type == ZG_Q5_1 || type == ZG_Q5_K ? 5 : 4;
}
INLINE int has_factors(int type) { return type == ZG_Q4_K || type == ZG_Q5_K || type == ZG_Q6_K; }
INLINE int has_mins(int type) { return type == ZG_Q4_1 || type == ZG_Q5_1 || type == ZG_Q4_K || type == ZG_Q5_K; }
/* What all quants of a type are too large by; unpacked as int16 they are not. */
INLINE int centre_of(int type, int packed) {
    return type == ZG_Q4_0 ? 8 : type == ZG_Q5_0 ? 16 : type == ZG_Q6_K ? 32
         : type == ZG_Q8_0 && (packed || BYTE_STEPS == 8) ? 128 : 0;
}
INLINE int steps_of(int type) { return type == ZG_Q8_0 ? BYTE_STEPS : 8; }

/* ---- reading a panel as it is packed ---- */

/* Asks for what a panel's kernel will read a while later: hardware does not look past the end of a page. */
INLINE void fetch_ahead(const uint8_t *q, int steps) {
    _Pragma("GCC unroll 8") for (int i = 0; i < steps; i++) __builtin_prefetch(q + AHEAD + i * STEP, 0, 3);
}

/* A step of 32 columns, for the rows of lane h. */
INLINE vi packed_quants(const uint8_t *q, int type, int step, int h) {
    const int bits = bits_of(type);
    q += h * LANE;
    if (bits == 8) {
        vi bytes = vi_load(q + step % 8 * STEP);
        return BYTE_STEPS == 8 ? bytes : step < 8 ? vi_and(bytes, vi_pairs(255, 255)) : vi_right(bytes, 8);
    }
    vi x = vi_load(q + step / 2 * STEP);
    x = vi_and(step % 2 ? vi_right(x, 4) : x, vi_set8(15));
    if (bits == 5) {
        vi plane = vi_load(q + 4 * STEP);
        x = vi_or(x, vi_and(step < 4 ? vi_left(plane, 4 - step) : vi_right(plane, step - 4), vi_set8(0x10)));
    } else if (bits == 6) {
        vi plane = vi_load(q + (4 + step / 4) * STEP);
        int at = step % 4 * 2;
        x = vi_or(x, vi_and(at < 4 ? vi_left(plane, 4 - at) : vi_right(plane, at - 4), vi_set8(0x30)));
    }
    return x;
}

INLINE float f32_from_bf16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
INLINE vf packed_floats(const uint8_t *p, int type) {
    if (type == ZG_F16) return vf_load_f16(p);
    if (type == ZG_BF16) return vf_load_bf16(p);
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Q4_K and Q5_K: see panels.c. */
INLINE void six_bits(piece *w) {
    const uint8_t *low = w->scales + 64, *high = w->scales + 192;
    for (int j = 0; j < 4; j++)
        for (int r = 0; r < PANEL; r++) {
            uint8_t a = low[16 * j + r], b = low[16 * j + 64 + r], c = high[16 * j + r];
            w->six_bit_scale[j][r] = (uint8_t)((a & 15) | (c & 3) << 4);
            w->six_bit_min[j][r] = (uint8_t)(a >> 4 | (c >> 2 & 3) << 4);
            w->six_bit_scale[j + 4][r] = (uint8_t)((b & 15) | (c >> 4 & 3) << 4);
            w->six_bit_min[j + 4][r] = (uint8_t)(b >> 4 | c >> 6 << 4);
        }
}

INLINE void begin_piece(piece *w, int type, const uint8_t *scales) {
    w->scales = scales;
    if (!has_factors(type) || !has_mins(type)) return;
    EACH_LANE w->dmin[h] = vf_sub(vf_zero(), vf_load_f16(scales + 32 + h * VF * 2));
    six_bits(w);
}

/* ---- a piece's scales, packed or not ---- */

INLINE vf d_of(const piece *w, int type, int packed, int b, int h) {
    const int bytes = has_factors(type) ? 0 : layouts[type].scales;
    return packed ? vf_load_f16(w->scales + b * bytes + h * VF * 2) : w->d[b][h];
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
INLINE vi both_of(const piece *w, int packed, int b, int h) {
    const uint8_t *s = w->scales + 32 + 32 * b + h * VF;
    return packed ? row_scale_pairs(s, s + 16) : w->both[b][h];
}

/* ---- unpacking a piece ---- */

INLINE void unpack_scales(piece *w, int type, const uint8_t *scales, int blocks) {
    const int factors = has_factors(type), mins = has_mins(type);
    begin_piece(w, type, scales);
    for (int b = 0; b < blocks; b++) EACH_LANE {
        if (!factors || b == 0) w->d[b][h] = d_of(w, type, 1, b, h);
        if (mins) w->min[b][h] = min_of(w, type, 1, b, h);
        if (factors) w->factor[b][0][h] = factor_of(w, type, 1, b, 0, h);
        if (factors && !mins) w->factor[b][1][h] = factor_of(w, type, 1, b, 1, h), w->both[b][h] = both_of(w, 1, b, h);
    }
}

INLINE void unpack(piece *to, int type, const uint8_t *s, const uint8_t *q, int columns) {
    if (is_float(type)) {
        const int bytes = layouts[type].quants;
        for (int i = 0; i < columns; i++, q += bytes) {
            if (i * bytes % STEP == 0) fetch_ahead(q, 1);
            EACH_LANE vf_store(to->floats + i * PANEL + h * VF, packed_floats(q + h * bytes / LANES, type));
        }
        return;
    }
    uint8_t *out = to->quants;
    unpack_scales(to, type, s, columns / 32);
    for (int b = 0; b < columns / 32; b++, q += bits_of(type) * STEP) {
        fetch_ahead(q, bits_of(type));
        _Pragma("GCC unroll 16") for (int step = 0; step < steps_of(type); step++, out += STEP) EACH_LANE {
            vi x = packed_quants(q, type, step, h);
            if (steps_of(type) == 16) x = vi_sub16(x, vi_pairs(128, 128));
            vi_store(out + h * LANE, x);
        }
    }
}

/* ---- multiplying a piece: y, 16 sums for each of nt rows, goes on where the pieces before have left it ---- */

INLINE void clear(vi part[LANES][TILE], int nt) {
    EACH_TOKEN EACH_LANE part[h][t] = vi_zero();
}

/* total = the sums over 32 columns from column `at` on, times the rows' factors where there are any, of which
   16 columns share one. Partial sums that might overflow are finished in time: see STEPS_OF. */
INLINE void dot_32(vi total[LANES][TILE], const uint8_t *quants, int packed, int type, const vi factor[2][LANES],
                   const activations *a, int at, int nt) {
    const int steps = steps_of(type), of_16_bits = steps == 16, together = of_16_bits ? 16 : STEPS_OF(bits_of(type));
    vi part[LANES][TILE];
    _Pragma("GCC unroll 16") for (int step = 0; step < steps; step++) {
        vi q[LANES];
        EACH_LANE q[h] = packed ? packed_quants(quants, type, step, h) : vi_load(quants + step * STEP + h * LANE);
        if (step % together == 0) clear(part, nt);
        EACH_TOKEN {
            vi x = vi_spread(a->row[t] + (of_16_bits ? a->widened + 2 * at : at) + 4 * step);
            EACH_LANE part[h][t] = of_16_bits ? add_pair_dot(part[h][t], q[h], x) : dot_pairs(part[h][t], q[h], x);
        }
        if ((step + 1) % together == 0) EACH_TOKEN EACH_LANE {
            vi sum = factor ? scaled(part[h][t], factor[has_mins(type) ? 0 : step / 4][h]) : of_16_bits ? part[h][t] : plain(part[h][t]);
            total[h][t] = step < together ? sum : vi_add(total[h][t], sum);
        }
    }
}

#define Y(t, h) (y + (t) * PANEL + (h) * VF)

INLINE void times_32(const piece *w, const uint8_t *q, int packed, int type, const activations *a, int at, int blocks,
                     float *y, int nt) {
    const int centre = centre_of(type, packed), mins = has_mins(type), stride = (packed ? bits_of(type) : steps_of(type)) * STEP;
    vf sum[LANES][TILE];
    EACH_TOKEN EACH_LANE sum[h][t] = vf_load(Y(t, h));
    _Pragma("GCC unroll 1") for (int b = 0; b < blocks; b++, at += 32, q += stride) {
        vi total[LANES][TILE];
        if (packed) fetch_ahead(q, bits_of(type));
        dot_32(total, q, packed, type, NULL, a, at, nt);
        EACH_TOKEN {
            vf da = act_d(a, t, at / 32);
            vi centred = centre ? pair_dot(act_halves(a, t, at / 32), vi_pairs(-centre, -centre)) : vi_zero();
            EACH_LANE {
                vf whole = vf_from_vi(centre ? vi_add(total[h][t], centred) : total[h][t]);
                sum[h][t] = vf_fma(whole, vf_mul(d_of(w, type, packed, b, h), da), sum[h][t]);
                if (mins) sum[h][t] = vf_fma(min_of(w, type, packed, b, h), act_s(a, t, at / 32), sum[h][t]);
            }
        }
    }
    EACH_TOKEN EACH_LANE vf_store(Y(t, h), sum[h][t]);
}

/* The mins of an unpacked piece come first, while all its sums are in registers. */
INLINE void times_256(const piece *w, const uint8_t *q, int packed, int type, const activations *a, int at, float *y, int nt) {
    const int mins = has_mins(type), stride = (packed ? bits_of(type) : steps_of(type)) * STEP;
    vf sum[LANES][TILE], part[LANES][TILE];
    EACH_TOKEN EACH_LANE sum[h][t] = vf_load(Y(t, h)), part[h][t] = vf_zero();
    if (mins && !packed) _Pragma("GCC unroll 1") for (int b = 0; b < 8; b++) EACH_TOKEN {
        vf s = act_s(a, t, at / 32 + b);
        EACH_LANE sum[h][t] = vf_fma(w->min[b][h], s, sum[h][t]);
    }
    _Pragma("GCC unroll 1") for (int b = 0; b < 8; b++, at += 32, q += stride) {
        vi total[LANES][TILE], factor[2][LANES], both[LANES];
        vf min[LANES];
        EACH_LANE {
            factor[0][h] = factor_of(w, type, packed, b, 0, h);
            if (!mins) factor[1][h] = factor_of(w, type, packed, b, 1, h), both[h] = both_of(w, packed, b, h);
        }
        if (packed) fetch_ahead(q, bits_of(type));
        dot_32(total, q, packed, type, factor, a, at, nt);
        if (mins && packed) EACH_LANE min[h] = min_of(w, type, 1, b, h);
        EACH_TOKEN {
            vf da = act_d(a, t, at / 32);
            EACH_LANE {
                vi whole = mins ? total[h][t] : vi_sub(total[h][t], vi_times_32(pair_dot(act_halves(a, t, at / 32), both[h])));
                part[h][t] = vf_fma(vf_from_vi(whole), da, part[h][t]);
                if (mins && packed) sum[h][t] = vf_fma(min[h], act_s(a, t, at / 32), sum[h][t]);
            }
        }
    }
    EACH_TOKEN EACH_LANE vf_store(Y(t, h), vf_fma(part[h][t], d_of(w, type, packed, 0, h), sum[h][t]));
}

INLINE void times_floats(const piece *w, const uint8_t *p, int packed, int type, const activations *a, int at, int columns,
                         float *y, int nt) {
    const int bytes = layouts[type].quants;
    vf sum[LANES][TILE];
    EACH_TOKEN EACH_LANE sum[h][t] = vf_load(Y(t, h));
    for (int i = 0; i < columns; i++, p += bytes) {
        vf weight[LANES];
        if (packed && i * bytes % STEP == 0) fetch_ahead(p, 1);
        EACH_LANE weight[h] = packed ? packed_floats(p + h * bytes / LANES, type) : vf_load(w->floats + i * PANEL + h * VF);
        EACH_TOKEN {
            vf x = vf_set(((const float *)a->row[t])[at + i]);
            EACH_LANE sum[h][t] = vf_fma(weight[h], x, sum[h][t]);
        }
    }
    EACH_TOKEN EACH_LANE vf_store(Y(t, h), sum[h][t]);
}

/* The columns from `at` on; their quants or floats are at q where they are packed, and in the piece where not. */
INLINE void times(const piece *w, const uint8_t *q, int packed, int type, const activations *a, int at, int columns, float *y, int nt) {
    if (is_float(type)) times_floats(w, q, packed, type, a, at, columns, y, nt);
    else if (has_factors(type)) times_256(w, q, packed, type, a, at, y, nt);
    else times_32(w, q, packed, type, a, at, columns / 32, y, nt);
}

/* A whole panel, whose scales begin at s and whose quants at q. */
INLINE void times_panel(const uint8_t *s, const uint8_t *q, int type, int width, const activations *a, float *y, int nt) {
    const block_layout l = layouts[type];
    piece w;
    EACH_TOKEN EACH_LANE vf_store(Y(t, h), vf_zero());
    for (int at = 0, columns; at < width; at += columns) {
        columns = least(width - at, PIECE);
        if (!is_float(type)) begin_piece(&w, type, s);
        times(&w, q, 1, type, a, at, columns, y, nt);
        s += columns / l.columns * l.scales, q += (int64_t)columns / l.columns * l.quants;
    }
}

/* ---- the kernels of each type, for each number of rows: that is a constant in them, so that sums stay in registers ---- */

typedef struct {
    void (*few[FEW + 1])(const uint8_t *s, const uint8_t *q, int width, const activations *a, float *y);
    void (*unpack)(piece *to, const uint8_t *s, const uint8_t *q, int columns);
    void (*many[TILE + 1])(const piece *w, const activations *a, int at, int columns, float *y);
} panel_kernels;

#define OF_FEW(TYPE, NT)                                                                           \
    static void few_##TYPE##_##NT(const uint8_t *s, const uint8_t *q, int width, const activations *a, float *y) { \
        times_panel(s, q, ZG_##TYPE, width, a, y, NT);                                             \
    }
#define OF_MANY(TYPE, NT)                                                                          \
    static void many_##TYPE##_##NT(const piece *w, const activations *a, int at, int columns, float *y) { \
        times(w, w->quants, 0, ZG_##TYPE, a, at, columns, y, NT);                                  \
    }
#define UNPACK(TYPE)                                                                               \
    static void unpack_##TYPE(piece *to, const uint8_t *s, const uint8_t *q, int columns) {        \
        unpack(to, ZG_##TYPE, s, q, columns);                                                      \
    }
#define FROM_1_TO_4(OF, TYPE) OF(TYPE, 1) OF(TYPE, 2) OF(TYPE, 3) OF(TYPE, 4)
#define NAMES_1_TO_4(OF) NULL, OF##_1, OF##_2, OF##_3, OF##_4
#if TILE == 4
#define FROM_1_TO_TILE(OF, TYPE) FROM_1_TO_4(OF, TYPE)
#define NAMES_1_TO_TILE(OF) NAMES_1_TO_4(OF)
#elif TILE == 6
#define FROM_1_TO_TILE(OF, TYPE) FROM_1_TO_4(OF, TYPE) OF(TYPE, 5) OF(TYPE, 6)
#define NAMES_1_TO_TILE(OF) NAMES_1_TO_4(OF), OF##_5, OF##_6
#else
#define FROM_1_TO_TILE(OF, TYPE) FROM_1_TO_4(OF, TYPE) OF(TYPE, 5) OF(TYPE, 6) OF(TYPE, 7) OF(TYPE, 8)
#define NAMES_1_TO_TILE(OF) NAMES_1_TO_4(OF), OF##_5, OF##_6, OF##_7, OF##_8
#endif
#define KERNELS(TYPE) FROM_1_TO_4(OF_FEW, TYPE) UNPACK(TYPE)
#define TABLE(TYPE, MANY) [ZG_##TYPE] = {{NAMES_1_TO_4(few_##TYPE)}, unpack_##TYPE, {NAMES_1_TO_TILE(many_##MANY)}}

KERNELS(F32) KERNELS(F16) KERNELS(BF16) FROM_1_TO_TILE(OF_MANY, F32) /* unpacked they are all the same */
KERNELS(Q4_0) FROM_1_TO_TILE(OF_MANY, Q4_0)
KERNELS(Q4_1) FROM_1_TO_TILE(OF_MANY, Q4_1)
KERNELS(Q5_0) FROM_1_TO_TILE(OF_MANY, Q5_0)
KERNELS(Q5_1) FROM_1_TO_TILE(OF_MANY, Q5_1)
KERNELS(Q8_0) FROM_1_TO_TILE(OF_MANY, Q8_0)
KERNELS(Q4_K) FROM_1_TO_TILE(OF_MANY, Q4_K)
KERNELS(Q5_K) FROM_1_TO_TILE(OF_MANY, Q5_K)
KERNELS(Q6_K) FROM_1_TO_TILE(OF_MANY, Q6_K)

static const panel_kernels kernels[ZG_TYPES] = {
    TABLE(F32, F32),   TABLE(F16, F32),   TABLE(BF16, F32),  TABLE(Q4_0, Q4_0), TABLE(Q4_1, Q4_1), TABLE(Q5_0, Q5_0),
    TABLE(Q5_1, Q5_1), TABLE(Q8_0, Q8_0), TABLE(Q4_K, Q4_K), TABLE(Q5_K, Q5_K), TABLE(Q6_K, Q6_K),
};
