/* Dot products of a panel's 16 rows with rows of activations: the kernels of Linear.

   A panel is processed in pieces of up to 256 columns, and rows of activations in tiles of up to TILE. With few rows,
   each tile reads a whole panel in its packed form. With many rows, a piece is unpacked into the L1 cache, and all
   tiles are multiplied with it in turn.

   The chain of operations for one output does not depend on the instruction set, the tile or the number of threads:
   exact integer sums over 32 columns, then one float32 multiply-add for each of them, in the order of the columns. */

enum { FEW = 4 };     /* rows in a tile that reads a packed panel */
enum { AT_ONCE = 3 }; /* panels, with TILE rows: their sums, a vector of each and an activation fit into 32 registers */

/* Number of panels that many rows are multiplied with at once: several of floats, if a vector holds a panel. */
INLINE int panels_at_once(int type) { return is_float(type) && LANES == 1 ? AT_ONCE : 1; }

/* The largest number of rows that reads panels packed: the more work unpacking takes, the sooner doing it once pays. */
INLINE int most_few(int type) {
    const int bits = bits_of(type);
    return FEW * (is_coded(type) || panels_at_once(type) > 1 ? 1 : is_float(type) ? 16 : bits == 4 ? 7 : bits == 5 ? 4 : bits == 6 ? 2 : 8);
}

/* Rows in a tile with many rows. With by_sign a product needs more registers, which leaves fewer for sums. */
INLINE int rows_at_once(int type) { return by_sign(type) ? FEW : TILE; }

/* Rows of activations. */
typedef struct {
    const char *const *row;
    row_layout at;
} activations;

INLINE vf act_d(const activations *a, int t, int b) { return vf_set(((const float *)(a->row[t] + a->at.scales))[b]); }
/* Scaled sum number i from column `at` on, with `each` sums for 32 columns: 1 or 2. */
INLINE vf act_s(const activations *a, int t, int at, int each, int i) {
    const char *sums = a->row[t] + (each == 2 ? a->at.sums_of_16 + at / 4 : a->at.sums_of_32 + at / 8);
    return vf_set(((const float *)sums)[i]);
}
/* What `below_zero` takes for the 16 or 32 columns from `at` on. */
INLINE vi act_centre(const activations *a, int t, int at, int columns) {
    return vi_spread(a->row[t] + (columns == 16 ? a->at.centre_of_16 + at / 4 : a->at.centre_of_32 + at / 8));
}

#define EACH_TOKEN _Pragma("GCC unroll 12") for (int t = 0; t < nt; t++)

/* ---- multiplying a piece: continues y, 16 sums for each of nt rows, from the pieces before ---- */

/* Initial partial sums from column `at` on: minus `centre` times the activations, which removes the quants' offset. */
INLINE void begin(vi part[LANES][TILE], int centre, const activations *a, int at, int columns, int nt) {
    EACH_TOKEN {
        vi start = centre ? below_zero(act_centre(a, t, at, columns), centre) : zero_sum();
        EACH_LANE part[h][t] = start;
    }
}

/* total = the sums over `steps` steps from column `at` on, times the rows' factors if the type has them (one per 16
   columns). Partial sums are widened before they could overflow: see steps_together. Totals are
   whole numbers; those with factors are below 2^24, so that floats hold them as exactly as int32 does. */
INLINE void dot(vt total[LANES][TILE], const uint8_t *quants, int packed, int type, int steps, const vt factor[2][LANES],
                const activations *a, int at, int nt) {
    const int of_32_bits = is_fixed(type) || by_sign(type);
    const int together = is_multiplied(type, packed) || is_coded(type) ? steps : steps_together(type);
    vi part[LANES][TILE];
    _Pragma("GCC unroll 16") for (int step = 0; step < steps; step++) {
        vi q[LANES], bytes[LANES];
        EACH_LANE {
            const uint8_t *unpacked = quants + step * STEP + h * LANE;
            q[h] = packed ? packed_quants(quants, type, step, h) : vi_load(unpacked);
            if (by_sign(type)) bytes[h] = packed ? signed_bytes(q[h]) : vi_load(unpacked + 8 * STEP);
            if (by_sign(type) && packed) q[h] = vi_abs8(bytes[h]);
        }
        if (of_32_bits) {
            if (step == 0) EACH_TOKEN EACH_LANE part[h][t] = vi_zero();
        } else if (step % together == 0) begin(part, centre_of(type, packed), a, at + 4 * step, 4 * together, nt);
        EACH_TOKEN {
            vi x = vi_spread(a->row[t] + (is_fixed(type) ? 2 * at : at) + 4 * step);
            EACH_LANE part[h][t] = is_fixed(type)  ? add_pair_dot(part[h][t], q[h], x)
                                   : by_sign(type) ? add_signed_dot(part[h][t], q[h], bytes[h], x, factor ? factor[0][h] : ones())
                                                   : dot_pairs(part[h][t], q[h], x);
        }
        if ((step + 1) % together == 0) EACH_TOKEN EACH_LANE {
            const vt f = factor ? factor[factors_of(type) == 2 ? step / 4 : 0][h] : ones();
            if (of_32_bits) total[h][t] = vt_from_vi(part[h][t]);
            else if (step < together) total[h][t] = factor ? scaled(part[h][t], f) : plain(part[h][t]);
            else total[h][t] = factor ? add_scaled(total[h][t], part[h][t], f) : add_plain(total[h][t], part[h][t]);
        }
    }
}

#define Y(t, h) (y + (t) * PANEL + (h) * VF)

INLINE void times_32(const piece *w, const uint8_t *q, int packed, int type, const activations *a, int at, int blocks,
                     float *y, int nt) {
    const int mins = has_mins(type);
    vf sum[LANES][TILE];
    EACH_TOKEN EACH_LANE sum[h][t] = vf_load(Y(t, h));
    _Pragma("GCC unroll 1") for (int b = 0; b < blocks; b++, at += 32, q += quant_bytes(type, packed)) {
        vt total[LANES][TILE];
        if (packed) fetch_ahead(q, bits_of(type));
        dot(total, q, packed, type, steps_of(type), NULL, a, at, nt);
        EACH_TOKEN {
            vf da = act_d(a, t, at / 32);
            EACH_LANE {
                sum[h][t] = vf_fma(vf_from_vt(total[h][t]), vf_mul(d_of(w, type, packed, b, h), da), sum[h][t]);
                if (mins) sum[h][t] = vf_fma(min_of(w, type, packed, b, h), act_s(a, t, at, 1, 0), sum[h][t]);
            }
        }
    }
    EACH_TOKEN EACH_LANE vf_store(Y(t, h), sum[h][t]);
}

/* Mins are added first, while all sums are in registers; not for a single row that reads a packed panel, which has
   registers to spare and waits for memory. */
INLINE void times_256(const piece *w, const uint8_t *q, int packed, int type, const activations *a, int at, float *y, int nt) {
    const int mins = mins_of(type), mins_first = mins && (!packed || nt > 1);
    const int multiplied = is_multiplied(type, packed);
    vf sum[LANES][TILE], part[LANES][TILE];
    EACH_TOKEN EACH_LANE sum[h][t] = vf_load(Y(t, h)), part[h][t] = vf_zero();
    if (mins_first) _Pragma("GCC unroll 1") for (int i = 0; i < 8 * mins; i++) {
        vf min[LANES];
        EACH_LANE min[h] = min_of(w, type, packed, i, h);
        EACH_TOKEN {
            vf s = act_s(a, t, at, mins, i);
            EACH_LANE sum[h][t] = vf_fma(min[h], s, sum[h][t]);
        }
    }
    _Pragma("GCC unroll 1") for (int b = 0; b < 8; b++, at += 32, q += quant_bytes(type, packed)) {
        vt total[LANES][TILE], factor[2][LANES];
        vf min[2][LANES];
        if (!multiplied) EACH_LANE {
            factor[0][h] = factor_of(w, type, packed, b, 0, h);
            if (factors_of(type) == 2) factor[1][h] = factor_of(w, type, packed, b, 1, h);
        }
        if (packed) fetch_ahead(q, bits_of(type));
        dot(total, q, packed, type, steps_of(type), multiplied ? NULL : factor, a, at, nt);
        if (!mins_first) for (int i = 0; i < mins; i++) EACH_LANE min[i][h] = min_of(w, type, 1, mins * b + i, h);
        EACH_TOKEN {
            vf da = act_d(a, t, at / 32);
            EACH_LANE {
                part[h][t] = vf_fma(vf_from_vt(total[h][t]), da, part[h][t]);
                if (!mins_first)
                    for (int i = 0; i < mins; i++) sum[h][t] = vf_fma(min[i][h], act_s(a, t, at, mins, i), sum[h][t]);
            }
        }
    }
    EACH_TOKEN EACH_LANE vf_store(Y(t, h), vf_fma(part[h][t], d_of(w, type, packed, 0, h), sum[h][t]));
}

/* Unpacked columns of a type of coded.c. */
INLINE void times_16(const piece *w, int type, const activations *a, int at, int columns, float *y, int nt) {
    const uint8_t *q = w->quants;
    vf sum[LANES][TILE];
    EACH_TOKEN EACH_LANE sum[h][t] = vf_load(Y(t, h));
    _Pragma("GCC unroll 1") for (int b = 0; b < columns / 32; b++, at += 32, q += quant_bytes(type, 0))
        for (int half = 0; half < 2; half++) {
            vt total[LANES][TILE];
            dot(total, q + 4 * half * STEP, 0, type, 4, NULL, a, at + 16 * half, nt);
            EACH_TOKEN {
                vf da = act_d(a, t, at / 32);
                EACH_LANE sum[h][t] = vf_fma(vf_from_vt(total[h][t]), vf_mul(w->scale[2 * b + half][h], da), sum[h][t]);
            }
        }
    EACH_TOKEN EACH_LANE vf_store(Y(t, h), sum[h][t]);
}

INLINE void times_floats(const float *p, int packed, const activations *a, int at, int columns, float *y, int nt) {
    vf sum[LANES][TILE];
    EACH_TOKEN EACH_LANE sum[h][t] = vf_load(Y(t, h));
    for (int i = 0; i < columns; i++, p += PANEL) {
        vf weight[LANES];
        if (packed) fetch_ahead((const uint8_t *)p, 1);
        EACH_LANE weight[h] = vf_load(p + h * VF);
        EACH_TOKEN {
            vf x = vf_set(((const float *)a->row[t])[at + i]);
            EACH_LANE sum[h][t] = vf_fma(weight[h], x, sum[h][t]);
        }
    }
    EACH_TOKEN EACH_LANE vf_store(Y(t, h), sum[h][t]);
}

/* Sums of rows with panels: floats from those of one row, and of one panel, to the next. */
typedef struct {
    float *at;
    int64_t row, panel;
} sums;

/* Columns from `at` on of np panels of floats, of which p has those of the first, times nt rows: continues the sums
   `from`, if there are any, into `to`, where a bias is added to them if given. Of vectors that hold a panel, one panel's
   sums are too few to hide the latency of multiply-adds, and nearly each multiply-add would load an activation. */
INLINE void times_together(const float *p, int64_t next, const activations *a, int at, int columns, const sums *from,
                           const sums *to, const float *bias, int np, int nt) {
    vf sum[AT_ONCE][TILE];
    for (int j = 0; j < np; j++)
        EACH_TOKEN sum[j][t] = from ? vf_load(from->at + j * from->panel + t * from->row) : vf_zero();
    for (int i = 0; i < columns; i++, p += PANEL) {
        vf weight[AT_ONCE];
        for (int j = 0; j < np; j++) weight[j] = vf_load(p + j * next);
        EACH_TOKEN {
            vf x = vf_set(((const float *)a->row[t])[at + i]);
            for (int j = 0; j < np; j++) sum[j][t] = vf_fma(weight[j], x, sum[j][t]);
        }
    }
    EACH_TOKEN for (int j = 0; j < np; j++)
        vf_store(to->at + j * to->panel + t * to->row, bias ? vf_add(sum[j][t], vf_load(bias + j * PANEL)) : sum[j][t]);
}

/* The columns from `at` on; their quants or floats are at q if packed, else in the piece. */
INLINE void times(const piece *w, const uint8_t *q, int packed, int type, const activations *a, int at, int columns, float *y, int nt) {
    if (is_float(type)) times_floats(packed ? (const float *)q : w->floats, packed, a, at, columns, y, nt);
    else if (is_coded(type)) times_16(w, type, a, at, columns, y, nt);
    else if (has_factors(type)) times_256(w, q, packed, type, a, at, y, nt);
    else times_32(w, q, packed, type, a, at, columns / 32, y, nt);
}

/* A whole panel of a type of coded.c: unpacked piece by piece, for any number of rows. */
static void times_coded(int type, const uint8_t *q, int width, const activations *a, float *y, int nt,
                        void (*many)(const piece *w, const activations *a, int at, int columns, float *y)) {
    piece w;
    memset(y, 0, (size_t)nt * PANEL * sizeof *y);
    for (int at = 0, columns; at < width; at += columns) {
        columns = least(width - at, PIECE);
        unpack_coded(&w, type, q, columns);
        many(&w, a, at, columns, y);
        q += (int64_t)columns / layouts[type].columns * layouts[type].quants;
    }
}

/* A whole panel with scales at s and quants at q. */
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

/* ---- kernels for each type and number of rows: both are compile-time constants, so that sums stay in registers ---- */

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
#define OF_TOGETHER(NP, NT)                                                                        \
    static void together_##NP##_##NT(const float *p, int64_t next, const activations *a, int at, int columns, \
                                     const sums *from, const sums *to, const float *bias) {        \
        times_together(p, next, a, at, columns, from, to, bias, NP, NT);                           \
    }
#define OF_FEW_CODED(TYPE, NT)                                                                     \
    static void few_##TYPE##_##NT(const uint8_t *s, const uint8_t *q, int width, const activations *a, float *y) { \
        (void)s;                                                                                   \
        times_coded(ZG_##TYPE, q, width, a, y, NT, many_NVFP4_##NT);                               \
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
#define CODED_KERNELS(TYPE) FROM_1_TO_4(OF_FEW_CODED, TYPE) UNPACK(TYPE)
#define CODED_TABLE(TYPE) [ZG_##TYPE] = {{NAMES_1_TO_4(few_##TYPE)}, unpack_##TYPE, {NAMES_1_TO_TILE(many_NVFP4)}}
#define TABLE(TYPE) {{NAMES_1_TO_4(few_##TYPE)}, unpack_##TYPE, {NAMES_1_TO_TILE(many_##TYPE)}}

KERNELS(F32) FROM_1_TO_TILE(OF_MANY, F32)
KERNELS(F16) FROM_1_TO_TILE(OF_MANY, F16) /* also serves BF16: the packed form is the same */
KERNELS(Q4_0) FROM_1_TO_TILE(OF_MANY, Q4_0)
KERNELS(Q4_1) FROM_1_TO_TILE(OF_MANY, Q4_1)
KERNELS(Q5_0) FROM_1_TO_TILE(OF_MANY, Q5_0)
KERNELS(Q5_1) FROM_1_TO_TILE(OF_MANY, Q5_1)
KERNELS(Q8_0) FROM_1_TO_TILE(OF_MANY, Q8_0)
KERNELS(Q2_K) FROM_1_TO_TILE(OF_MANY, Q2_K)
KERNELS(Q3_K) FROM_1_TO_TILE(OF_MANY, Q3_K)
KERNELS(Q4_K) FROM_1_TO_TILE(OF_MANY, Q4_K)
KERNELS(Q5_K) FROM_1_TO_TILE(OF_MANY, Q5_K)
KERNELS(Q6_K) FROM_1_TO_TILE(OF_MANY, Q6_K)
KERNELS(IQ4_NL) FROM_1_TO_TILE(OF_MANY, IQ4_NL)
KERNELS(IQ4_XS) FROM_1_TO_TILE(OF_MANY, IQ4_XS)
KERNELS(MXFP4) FROM_1_TO_TILE(OF_MANY, MXFP4)

FROM_1_TO_TILE(OF_MANY, NVFP4) /* serves all types of coded.c: their unpacked form is the same */
CODED_KERNELS(NVFP4) CODED_KERNELS(Q1_0) CODED_KERNELS(Q2_0) CODED_KERNELS(TQ1_0) CODED_KERNELS(TQ2_0)
CODED_KERNELS(IQ1_S) CODED_KERNELS(IQ1_M) CODED_KERNELS(IQ2_XXS) CODED_KERNELS(IQ2_XS) CODED_KERNELS(IQ2_S)
CODED_KERNELS(IQ3_XXS) CODED_KERNELS(IQ3_S) CODED_KERNELS(Q8_1) CODED_KERNELS(Q8_K)

static const panel_kernels kernels[ZG_TYPES] = {
    [ZG_F32] = TABLE(F32),   [ZG_F16] = TABLE(F16),   [ZG_BF16] = TABLE(F16),
    [ZG_Q4_0] = TABLE(Q4_0), [ZG_Q4_1] = TABLE(Q4_1), [ZG_Q5_0] = TABLE(Q5_0), [ZG_Q5_1] = TABLE(Q5_1),
    [ZG_Q8_0] = TABLE(Q8_0), [ZG_Q2_K] = TABLE(Q2_K), [ZG_Q3_K] = TABLE(Q3_K), [ZG_Q4_K] = TABLE(Q4_K),
    [ZG_Q5_K] = TABLE(Q5_K), [ZG_Q6_K] = TABLE(Q6_K),
    [ZG_IQ4_NL] = TABLE(IQ4_NL), [ZG_IQ4_XS] = TABLE(IQ4_XS), [ZG_MXFP4] = TABLE(MXFP4),
    CODED_TABLE(NVFP4), CODED_TABLE(Q1_0), CODED_TABLE(Q2_0), CODED_TABLE(TQ1_0), CODED_TABLE(TQ2_0),
    CODED_TABLE(IQ1_S), CODED_TABLE(IQ1_M), CODED_TABLE(IQ2_XXS), CODED_TABLE(IQ2_XS), CODED_TABLE(IQ2_S),
    CODED_TABLE(IQ3_XXS), CODED_TABLE(IQ3_S), CODED_TABLE(Q8_1), CODED_TABLE(Q8_K),
};

typedef void panels_together(const float *p, int64_t next, const activations *a, int at, int columns, const sums *from,
                             const sums *to, const float *bias);
#if VF == 16 /* LANES == 1 */
FROM_1_TO_TILE(OF_TOGETHER, 1) FROM_1_TO_TILE(OF_TOGETHER, 2) FROM_1_TO_TILE(OF_TOGETHER, 3)
static panels_together *const together[AT_ONCE + 1][TILE + 1] = {
    {NULL}, {NAMES_1_TO_TILE(together_1)}, {NAMES_1_TO_TILE(together_2)}, {NAMES_1_TO_TILE(together_3)},
};
#else
static panels_together *const together[AT_ONCE + 1][TILE + 1];
#endif
