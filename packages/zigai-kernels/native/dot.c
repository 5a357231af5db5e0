/* Dot products of a panel's 16 rows with up to TILE rows of activations: the kernels of Linear.

   Whatever the instruction set, the tile and the number of threads, an output is one and the same chain of
   operations: exact integer sums over 32 columns, then, in the order of the columns, one multiply-add in
   float32 for each of them. A vector holds VF rows; a panel takes LANES of them. */

enum { LANES = PANEL / VF, LANE = 4 * VF, AHEAD = 4096 }; /* vectors of a panel; bytes of a vector */

typedef struct {
    const char *row[TILE];
    int scales, sums, halves; /* byte offsets within a row of int8 activations */
} activations;

INLINE vf act_d(const activations *a, int t, int b) { return vf_set(((const float *)(a->row[t] + a->scales))[b]); }
INLINE vf act_s(const activations *a, int t, int b) { return vf_set(((const float *)(a->row[t] + a->sums))[b]); }
INLINE vi act_halves(const activations *a, int t, int b) { return vi_spread(a->row[t] + a->halves + 4 * b); }

#define EACH_LANE _Pragma("GCC unroll 4") for (int h = 0; h < LANES; h++)
#define EACH_TOKEN _Pragma("GCC unroll 12") for (int t = 0; t < nt; t++)
#define EACH_STEP _Pragma("GCC unroll 8") for (int step = 0; step < 8; step++)

/* Step s of 32 columns of 4, 5 or 6 bits, for the rows of lane h. */
INLINE vi step_quants(const uint8_t *p, int bits, int s, int h) {
    vi q = vi_load(p + s / 2 * STEP + h * LANE);
    q = vi_and(s % 2 ? vi_right(q, 4) : q, vi_set8(15));
    if (bits == 5) {
        vi plane = vi_load(p + 4 * STEP + h * LANE);
        q = vi_or(q, vi_and(s < 4 ? vi_left(plane, 4 - s) : vi_right(plane, s - 4), vi_set8(0x10)));
    } else if (bits == 6) {
        vi plane = vi_load(p + (4 + s / 4) * STEP + h * LANE);
        int at = s % 4 * 2;
        q = vi_or(q, vi_and(at < 4 ? vi_left(plane, 4 - at) : vi_right(plane, at - 4), vi_set8(0x30)));
    }
    return q;
}

/* part += the products of 4 columns, for each row and token */
INLINE void add_step(vi part[LANES][TILE], const vi q[LANES], const activations *a, int at, int nt) {
    EACH_TOKEN {
        vi x = vi_spread(a->row[t] + at);
        EACH_LANE part[h][t] = dot_pairs(part[h][t], q[h], x);
    }
}

INLINE void clear(vi part[LANES][TILE], int nt) {
    EACH_TOKEN EACH_LANE part[h][t] = vi_zero();
}

/* total = the sums over 32 columns from column `at` on, times the rows' scales where there are any, of which
   16 columns share one. Partial sums that might overflow are finished in time: see STEPS_OF. */
INLINE void dot_32(vi total[LANES][TILE], const uint8_t *p, int bits, const vi scales[2][LANES], int scaling,
                   const activations *a, int at, int nt) {
    vi part[LANES][TILE];
    int begun = 0;
    EACH_STEP {
        if (step % STEPS_OF(bits) == 0) clear(part, nt);
        vi q[LANES];
        EACH_LANE q[h] = step_quants(p, bits, step, h);
        add_step(part, q, a, at + 4 * step, nt);
        if ((step + 1) % STEPS_OF(bits) == 0) {
            EACH_TOKEN EACH_LANE {
                vi sum = scaling ? scaled(part[h][t], scales[step / 4][h]) : plain(part[h][t]);
                total[h][t] = begun ? vi_add(total[h][t], sum) : sum;
            }
            begun = 1;
        }
    }
}

/* The same for 8 bits. Where products of unsigned bytes would not fit, first the low, then the high halves. */
INLINE void dot_32_bytes(vi total[LANES][TILE], const uint8_t *p, const activations *a, int at, int nt) {
    vi part[LANES][TILE], q[LANES];
    clear(part, nt);
#ifdef ZG_WIDE_PRODUCTS
    EACH_STEP {
        EACH_LANE q[h] = vi_load(p + step * STEP + h * LANE);
        add_step(part, q, a, at + 4 * step, nt);
    }
    EACH_TOKEN EACH_LANE total[h][t] = plain(part[h][t]);
#else
    EACH_STEP {
        EACH_LANE q[h] = vi_and(vi_load(p + step * STEP + h * LANE), vi_set8(15));
        add_step(part, q, a, at + 4 * step, nt);
    }
    EACH_TOKEN EACH_LANE total[h][t] = plain(part[h][t]);
    clear(part, nt);
    EACH_STEP {
        EACH_LANE q[h] = vi_and(vi_right(vi_load(p + step * STEP + h * LANE), 4), vi_set8(15));
        add_step(part, q, a, at + 4 * step, nt);
    }
    EACH_TOKEN EACH_LANE total[h][t] = vi_add(total[h][t], scaled(part[h][t], vi_pairs(16, 16)));
#endif
}

/* Asks for what a panel's kernel will read a while later: hardware does not look past the end of a page. */
INLINE void fetch_ahead(const uint8_t *p, int steps) {
    _Pragma("GCC unroll 8") for (int i = 0; i < steps; i++) __builtin_prefetch(p + AHEAD + i * STEP, 0, 3);
}

#define PANEL_SUMS                                                                                 \
    vf sum[LANES][TILE];                                                                           \
    EACH_TOKEN EACH_LANE sum[h][t] = vf_zero()
#define PANEL_STORE EACH_TOKEN EACH_LANE vf_store(y + t * PANEL + h * VF, sum[h][t])

/* ---- blocks of 32: x = d * (q - centre) + m; a type has a centre or an m ---- */

INLINE void panel_32(const uint8_t *s, int64_t scales, int width, const activations *a, float *y, int nt,
                     int bits, int centre, int min) {
    const uint8_t *p = s + scales;
    PANEL_SUMS;
    for (int b = 0; b < width / 32; b++, s += min ? 64 : 32, p += (bits == 8 ? 8 : bits) * STEP) {
        vi total[LANES][TILE];
        fetch_ahead(p, bits == 8 ? 8 : bits);
        if (bits == 8) dot_32_bytes(total, p, a, 32 * b, nt);
        else dot_32(total, p, bits, NULL, 0, a, 32 * b, nt);
        EACH_TOKEN {
            vf da = act_d(a, t, b);
            vi centred = centre ? pair_dot(act_halves(a, t, b), vi_pairs(-centre, -centre)) : vi_zero();
            EACH_LANE {
                vf d = vf_load_f16(s + h * VF * 2), whole = vf_from_vi(centre ? vi_add(total[h][t], centred) : total[h][t]);
                sum[h][t] = vf_fma(whole, vf_mul(d, da), sum[h][t]);
                if (min) sum[h][t] = vf_fma(vf_load_f16(s + 32 + h * VF * 2), act_s(a, t, b), sum[h][t]);
            }
        }
    }
    PANEL_STORE;
}

/* ---- Q4_K and Q5_K: x = d * scale * q - dmin * min, per 32 ---- */

/* The 6-bit scales and mins of 8 times 32 columns, 16 rows each. */
INLINE void unpack_panel_scales(const uint8_t *s, uint8_t scale[8][PANEL], uint8_t min[8][PANEL]) {
    const uint8_t *low = s + 64, *high = s + 192;
    for (int j = 0; j < 4; j++)
        for (int r = 0; r < PANEL; r++) {
            uint8_t a = low[16 * j + r], b = low[16 * j + 64 + r], c = high[16 * j + r];
            scale[j][r] = (uint8_t)((a & 15) | (c & 3) << 4);
            min[j][r] = (uint8_t)(a >> 4 | (c >> 2 & 3) << 4);
            scale[j + 4][r] = (uint8_t)((b & 15) | (c >> 4 & 3) << 4);
            min[j + 4][r] = (uint8_t)(b >> 4 | c >> 6 << 4);
        }
}

INLINE void panel_k(const uint8_t *s, int64_t scales, int width, const activations *a, float *y, int nt, int bits) {
    const uint8_t *p = s + scales;
    PANEL_SUMS;
    for (int b = 0; b < width / 256; b++, s += 256) {
        uint8_t scale[8][PANEL], min[8][PANEL];
        vf part[LANES][TILE], d[LANES], dmin[LANES];
        unpack_panel_scales(s, scale, min);
        EACH_LANE {
            d[h] = vf_load_f16(s + h * VF * 2);
            dmin[h] = vf_sub(vf_zero(), vf_load_f16(s + 32 + h * VF * 2));
        }
        EACH_TOKEN EACH_LANE part[h][t] = vf_zero();
        _Pragma("GCC unroll 1") for (int j = 0; j < 8; j++, p += bits * STEP) {
            vi factor[2][LANES], total[LANES][TILE];
            EACH_LANE factor[0][h] = factor[1][h] = row_scales(scale[j] + h * VF);
            fetch_ahead(p, bits);
            dot_32(total, p, bits, factor, 1, a, 256 * b + 32 * j, nt);
            vf offset[LANES];
            EACH_LANE offset[h] = vf_mul(dmin[h], vf_from_u8(min[j] + h * VF));
            EACH_TOKEN {
                vf da = act_d(a, t, 8 * b + j), sa = act_s(a, t, 8 * b + j);
                EACH_LANE {
                    part[h][t] = vf_fma(vf_from_vi(total[h][t]), da, part[h][t]);
                    sum[h][t] = vf_fma(offset[h], sa, sum[h][t]);
                }
            }
        }
        EACH_TOKEN EACH_LANE sum[h][t] = vf_fma(part[h][t], d[h], sum[h][t]);
    }
    PANEL_STORE;
}

/* ---- Q6_K: x = d * scale * (q - 32), a scale per 16 ---- */

INLINE void panel_6(const uint8_t *s, int64_t scales, int width, const activations *a, float *y, int nt) {
    const uint8_t *p = s + scales;
    PANEL_SUMS;
    for (int b = 0; b < width / 256; b++, s += 288) {
        vf part[LANES][TILE];
        EACH_TOKEN EACH_LANE part[h][t] = vf_zero();
        _Pragma("GCC unroll 1") for (int j = 0; j < 8; j++, p += 6 * STEP) {
            const uint8_t *scale = s + 32 + 32 * j;
            vi factor[2][LANES], both[LANES], total[LANES][TILE];
            EACH_LANE {
                factor[0][h] = row_signed_scales(scale + h * VF);
                factor[1][h] = row_signed_scales(scale + 16 + h * VF);
                both[h] = row_scale_pairs(scale + h * VF, scale + 16 + h * VF);
            }
            fetch_ahead(p, 6);
            dot_32(total, p, 6, factor, 1, a, 256 * b + 32 * j, nt);
            EACH_TOKEN {
                vf da = act_d(a, t, 8 * b + j);
                vi halves = act_halves(a, t, 8 * b + j);
                EACH_LANE {
                    vi whole = vi_sub(total[h][t], vi_times_32(pair_dot(halves, both[h])));
                    part[h][t] = vf_fma(vf_from_vi(whole), da, part[h][t]);
                }
            }
        }
        EACH_TOKEN EACH_LANE sum[h][t] = vf_fma(part[h][t], vf_load_f16(s + h * VF * 2), sum[h][t]);
    }
    PANEL_STORE;
}

/* ---- float weights: float arithmetic ---- */

INLINE float f32_from_bf16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
INLINE vf load_weights(const uint8_t *p, int type) {
    if (type == ZG_F16) return vf_load_f16(p);
    if (type == ZG_BF16) return vf_load_bf16(p);
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

INLINE void panel_float(const uint8_t *p, int width, const activations *a, float *y, int nt, int type) {
    const int bytes = type == ZG_F32 ? 4 : 2;
    PANEL_SUMS;
    for (int i = 0; i < width; i++, p += PANEL * bytes) {
        vf w[LANES];
        if (i * PANEL * bytes % STEP == 0) fetch_ahead(p, 1);
        EACH_LANE w[h] = load_weights(p + h * VF * bytes, type);
        EACH_TOKEN {
            vf x = vf_set(((const float *)a->row[t])[i]);
            EACH_LANE sum[h][t] = vf_fma(w[h], x, sum[h][t]);
        }
    }
    PANEL_STORE;
}

/* A kernel for each type and each number of tokens up to TILE: the number is a constant in it, so that sums
   stay in registers. y gets 16 outputs for each token. */
typedef void panel_kernel(const uint8_t *panel, int64_t scales, int width, const activations *a, float *y);

#define KERNEL(NAME, NT, CALL)                                                                     \
    static void NAME##_##NT(const uint8_t *p, int64_t scales, int width, const activations *a, float *y) { \
        enum { nt = NT };                                                                          \
        (void)scales;                                                                              \
        CALL;                                                                                      \
    }
#define KERNELS_OF_4(NAME, CALL) KERNEL(NAME, 1, CALL) KERNEL(NAME, 2, CALL) KERNEL(NAME, 3, CALL) KERNEL(NAME, 4, CALL)
#if TILE == 4
#define KERNELS(NAME, CALL) KERNELS_OF_4(NAME, CALL)
#define TABLE(NAME) {NULL, NAME##_1, NAME##_2, NAME##_3, NAME##_4}
#elif TILE == 6
#define KERNELS(NAME, CALL) KERNELS_OF_4(NAME, CALL) KERNEL(NAME, 6, CALL)
#define TABLE(NAME) {NULL, NAME##_1, NAME##_2, NAME##_3, NAME##_4, NULL, NAME##_6}
#else
#define KERNELS(NAME, CALL) KERNELS_OF_4(NAME, CALL) KERNEL(NAME, 8, CALL)
#define TABLE(NAME) {NULL, NAME##_1, NAME##_2, NAME##_3, NAME##_4, NULL, NULL, NULL, NAME##_8}
#endif

KERNELS(F32, panel_float(p, width, a, y, nt, ZG_F32))
KERNELS(F16, panel_float(p, width, a, y, nt, ZG_F16))
KERNELS(BF16, panel_float(p, width, a, y, nt, ZG_BF16))
KERNELS(Q4_0, panel_32(p, scales, width, a, y, nt, 4, 8, 0))
KERNELS(Q4_1, panel_32(p, scales, width, a, y, nt, 4, 0, 1))
KERNELS(Q5_0, panel_32(p, scales, width, a, y, nt, 5, 16, 0))
KERNELS(Q5_1, panel_32(p, scales, width, a, y, nt, 5, 0, 1))
KERNELS(Q8_0, panel_32(p, scales, width, a, y, nt, 8, 128, 0))
KERNELS(Q4_K, panel_k(p, scales, width, a, y, nt, 4))
KERNELS(Q5_K, panel_k(p, scales, width, a, y, nt, 5))
KERNELS(Q6_K, panel_6(p, scales, width, a, y, nt))

static panel_kernel *const panel_kernels[ZG_TYPES][TILE + 1] = {
    [ZG_F32] = TABLE(F32), [ZG_F16] = TABLE(F16), [ZG_BF16] = TABLE(BF16),
    [ZG_Q4_0] = TABLE(Q4_0), [ZG_Q4_1] = TABLE(Q4_1), [ZG_Q5_0] = TABLE(Q5_0), [ZG_Q5_1] = TABLE(Q5_1),
    [ZG_Q8_0] = TABLE(Q8_0), [ZG_Q4_K] = TABLE(Q4_K), [ZG_Q5_K] = TABLE(Q5_K), [ZG_Q6_K] = TABLE(Q6_K),
};
