/* Encoders of float rows: the bytes of zigai_core's contracts/dtypes/quantize.py, which documents the methods. So each
   operation here is one of numpy's: no vf_fma, sums element by element, a lane for each block. */

enum { SUB_BLOCK = 32, SIDE = PANEL }; /* elements that share a scale; groups encoded side by side, LANES vectors of them */

typedef vf lanes[LANES];

/* Adds 1/2 less its last bit: cutting the fraction off then rounds to nearest, halves away from zero. */
#define BELOW_HALF 0x1.fffffep-2f

INLINE vf zero_unless_finite(vf x) { return vf_below(vf_abs(x), vf_set(INFINITY), x, vf_zero()); }
INLINE vf inverse_of(vf x) { return zero_unless_finite(vf_div(vf_set(1.0f), x)); }
INLINE vf code_of(vf x, float low, float high) { return vf_round(vf_min(vf_set(high), vf_max(vf_set(low), x))); }
INLINE vf add_product(vf sum, vf a, vf b) { return vf_add(sum, vf_mul(a, b)); }
INLINE vf negative_part(vf x) { return vf_below(x, vf_zero(), x, vf_zero()); }
INLINE vf negated(vf x) { return vf_sub(vf_zero(), x); }

/* Groups of 32 elements at p as columns of 16 lanes; lanes without a group are zeros. */
static void as_columns(const float *p, int groups, float *x) {
    if (groups < SIDE) memset(x, 0, SUB_BLOCK * SIDE * sizeof *x);
    if (groups == SIDE)
        for (int g = 0; g < SIDE; g += 4, p += 4 * SUB_BLOCK)
            for (int i = 0; i < SUB_BLOCK; i += 4) {
                u32x4 words[4];
                for (int r = 0; r < 4; r++) memcpy(&words[r], p + r * SUB_BLOCK + i, 16);
                transpose_words(words);
                for (int r = 0; r < 4; r++) memcpy(x + (i + r) * SIDE + g, &words[r], 16);
            }
    else
        for (int g = 0; g < groups; g++, p += SUB_BLOCK)
            for (int i = 0; i < SUB_BLOCK; i++) x[i * SIDE + g] = p[i];
}
INLINE vf column(const float *x, int i, int h) { return vf_load(x + i * SIDE + h * VF); }

static void quantize_Q8_0(const float *x, int blocks, uint8_t *out) {
    float peaks[SIDE] = {0}, inverse[SIDE];
    uint16_t d[SIDE];
    for (int b = 0; b < blocks; b++) {
        vf peak = vf_zero();
        for (int i = 0; i < 32; i += VF) peak = vf_max(peak, vf_abs(vf_load(x + 32 * b + i)));
        peaks[b] = vf_peak(peak);
    }
    EACH_LANE {
        const vf scale = vf_div(vf_load(peaks + h * VF), vf_set(127.0f));
        vf_store_f16(d + h * VF, scale);
        vf_store(inverse + h * VF, inverse_of(scale));
    }
    for (int b = 0; b < blocks; b++, x += 32, out += 34) {
        int8_t q[32];
        memcpy(out, &d[b], 2);
        for (int i = 0; i < 32; i++) {
            const float y = x[i] * inverse[b];
            q[i] = (int8_t)(int)(y + copysignf(BELOW_HALF, y));
        }
        memcpy(out + 2, q, 32);
    }
}

static void quantize_Q4_0(const float *p, int blocks, uint8_t *out) {
    static const float steps[] = {-9.0f, -8.625f, -8.25f, -7.875f, -7.5f, -7.125f, -6.75f, -6.375f};
    float x[32 * SIDE];
    uint8_t q[32][SIDE];
    uint16_t d[SIDE];
    lanes peak, best, scale;
    as_columns(p, blocks, x);
    EACH_LANE {
        vf low = column(x, 0, h), high = low;
        for (int i = 1; i < 32; i++) low = vf_min(low, column(x, i, h)), high = vf_max(high, column(x, i, h));
        peak[h] = vf_below(high, negated(low), low, high);
        best[h] = scale[h] = vf_zero();
    }
    for (int step = 0; step < 8; step++) {
        lanes inverse, xq, qq;
        EACH_LANE inverse[h] = zero_unless_finite(vf_div(vf_set(steps[step]), peak[h])), xq[h] = qq[h] = vf_zero();
        for (int i = 0; i < 32; i++) EACH_LANE {
            const vf y = column(x, i, h), code = code_of(vf_mul(y, inverse[h]), -8.0f, 7.0f);
            xq[h] = add_product(xq[h], y, code);
            qq[h] = add_product(qq[h], code, code);
        }
        EACH_LANE {
            const vf fitted = vf_div(xq[h], qq[h]), gain = vf_mul(xq[h], fitted);
            scale[h] = vf_below(best[h], gain, fitted, scale[h]);
            best[h] = vf_below(best[h], gain, gain, best[h]);
        }
    }
    EACH_LANE {
        vf_store_f16(d + h * VF, scale[h]);
        const vf inverse = inverse_of(vf_load_f16(d + h * VF));
        for (int i = 0; i < 32; i++) {
            float code[VF];
            vf_store(code, vf_add(code_of(vf_mul(column(x, i, h), inverse), -8.0f, 7.0f), vf_set(8.0f)));
            for (int r = 0; r < VF; r++) q[i][h * VF + r] = (uint8_t)(int)code[r];
        }
    }
    for (int g = 0; g < blocks; g++, out += 18) {
        memcpy(out, &d[g], 2);
        for (int i = 0; i < 16; i++) out[2 + i] = (uint8_t)(q[i][g] | q[i + 16][g] << 4);
    }
}

/* The scale and the minimum of each of 16 groups: `_affine`. */
static void fit_affine(const float *x, lanes scale, lanes minimum) {
    static const float steps[] = {13.0f, 13.625f, 14.25f, 14.875f, 15.5f, 16.125f};
    const int count = sizeof steps / sizeof *steps;
    lanes low, width, total, best, start;
    EACH_LANE {
        vf high = low[h] = column(x, 0, h);
        total[h] = vf_add(vf_zero(), column(x, 0, h));
        for (int i = 1; i < SUB_BLOCK; i++) {
            const vf y = column(x, i, h);
            low[h] = vf_min(low[h], y), high = vf_max(high, y), total[h] = vf_add(total[h], y);
        }
        low[h] = negative_part(low[h]);
        width[h] = vf_sub(high, low[h]);
        start[h] = vf_below(total[h], vf_zero(), vf_div(total[h], vf_set(32.0f)), vf_zero());
        best[h] = vf_mul(start[h], total[h]), scale[h] = vf_zero();
    }
    for (int step = 0; step <= count; step++) {
        lanes first, inverse, sum_q, qq, xq;
        EACH_LANE {
            first[h] = step < count ? low[h] : start[h];
            inverse[h] = step < count ? zero_unless_finite(vf_div(vf_set(steps[step]), width[h])) : inverse_of(scale[h]);
            sum_q[h] = qq[h] = xq[h] = vf_zero();
        }
        for (int i = 0; i < SUB_BLOCK; i++) EACH_LANE {
            const vf y = column(x, i, h), q = code_of(vf_mul(vf_sub(y, first[h]), inverse[h]), 0.0f, 15.0f);
            sum_q[h] = vf_add(sum_q[h], q);
            qq[h] = add_product(qq[h], q, q);
            xq[h] = add_product(xq[h], y, q);
        }
        EACH_LANE {
            const vf n = vf_set(32.0f), t = total[h];
            const vf determinant = vf_sub(vf_mul(n, qq[h]), vf_mul(sum_q[h], sum_q[h]));
            vf intercept = vf_div(vf_sub(vf_mul(qq[h], t), vf_mul(sum_q[h], xq[h])), determinant);
            vf slope = vf_div(vf_sub(vf_mul(n, xq[h]), vf_mul(t, sum_q[h])), determinant);
            intercept = vf_below(vf_zero(), determinant, intercept, vf_set(1.0f)); /* 1: through zero */
            slope = vf_below(vf_zero(), intercept, vf_div(xq[h], qq[h]), slope);
            intercept = vf_below(vf_zero(), intercept, vf_zero(), intercept);
            vf gain = vf_add(vf_mul(slope, xq[h]), vf_mul(intercept, t));
            gain = vf_below(vf_zero(), slope, gain, vf_set(-1.0f)); /* -1: not better */
            scale[h] = vf_below(best[h], gain, slope, scale[h]);
            start[h] = vf_below(best[h], gain, intercept, start[h]);
            best[h] = vf_below(best[h], gain, gain, best[h]);
        }
    }
    EACH_LANE minimum[h] = vf_below(start[h], vf_zero(), negated(start[h]), vf_zero());
}

/* Rounds the scales, or the minimums, of 16 groups to 6 bits, relative to a float16 number for each 8 of them. */
static void six_bits_of(const lanes of, uint16_t d[SIDE / 8], lanes d_of, lanes rounded) {
    float each[SIDE], spread[SIDE];
    EACH_LANE vf_store(each + h * VF, of[h]);
    for (int b = 0; b < SIDE; b += 8) {
        float peak = each[b];
        for (int g = b + 1; g < b + 8; g++) peak = each[g] > peak ? each[g] : peak;
        d[b / 8] = f16_from_f32(peak / 63.0f);
        for (int g = b; g < b + 8; g++) spread[g] = f32_from_f16(d[b / 8]);
    }
    EACH_LANE {
        d_of[h] = vf_load(spread + h * VF);
        rounded[h] = vf_round(vf_min(vf_set(63.0f), vf_mul(of[h], inverse_of(d_of[h]))));
    }
}

static void quantize_Q4_K(const float *p, int blocks, uint8_t *out) {
    static const float neighbours[9][2] = {{0, 0}, {-1, -1}, {-1, 0}, {-1, 1}, {0, -1}, {0, 1}, {1, -1}, {1, 0}, {1, 1}};
    float x[SUB_BLOCK * SIDE];
    uint8_t q[SUB_BLOCK][SIDE], s[SIDE], m[SIDE];
    uint16_t d[SIDE / 8], dmin[SIDE / 8];
    lanes scale, minimum, d_of, dmin_of, scales, minimums, best, chosen_scale, chosen_minimum;
    as_columns(p, 8 * blocks, x);
    fit_affine(x, scale, minimum);
    six_bits_of(scale, d, d_of, scales);
    six_bits_of(minimum, dmin, dmin_of, minimums);
    EACH_LANE best[h] = vf_set(INFINITY), chosen_scale[h] = scales[h], chosen_minimum[h] = minimums[h];
    for (int n = 0; n < 9; n++) {
        lanes tried_scale, tried_minimum, factor, offset, inverse, error;
        EACH_LANE {
            const vf zero = vf_zero(), most = vf_set(63.0f);
            tried_scale[h] = vf_min(most, vf_max(zero, vf_add(scales[h], vf_set(neighbours[n][0]))));
            tried_minimum[h] = vf_min(most, vf_max(zero, vf_add(minimums[h], vf_set(neighbours[n][1]))));
            factor[h] = vf_mul(d_of[h], tried_scale[h]), offset[h] = vf_mul(dmin_of[h], tried_minimum[h]);
            inverse[h] = inverse_of(factor[h]), error[h] = zero;
        }
        for (int i = 0; i < SUB_BLOCK; i++) EACH_LANE {
            const vf y = column(x, i, h), code = code_of(vf_mul(vf_add(y, offset[h]), inverse[h]), 0.0f, 15.0f);
            const vf difference = vf_sub(vf_sub(vf_mul(factor[h], code), offset[h]), y);
            error[h] = add_product(error[h], difference, difference);
        }
        EACH_LANE {
            chosen_scale[h] = vf_below(error[h], best[h], tried_scale[h], chosen_scale[h]);
            chosen_minimum[h] = vf_below(error[h], best[h], tried_minimum[h], chosen_minimum[h]);
            best[h] = vf_below(error[h], best[h], error[h], best[h]);
        }
    }
    EACH_LANE {
        float number[VF];
        const vf offset = vf_mul(dmin_of[h], chosen_minimum[h]), inverse = inverse_of(vf_mul(d_of[h], chosen_scale[h]));
        vf_store(number, chosen_scale[h]);
        for (int r = 0; r < VF; r++) s[h * VF + r] = (uint8_t)(int)number[r];
        vf_store(number, chosen_minimum[h]);
        for (int r = 0; r < VF; r++) m[h * VF + r] = (uint8_t)(int)number[r];
        for (int i = 0; i < SUB_BLOCK; i++) {
            vf_store(number, code_of(vf_mul(vf_add(column(x, i, h), offset), inverse), 0.0f, 15.0f));
            for (int r = 0; r < VF; r++) q[i][h * VF + r] = (uint8_t)(int)number[r];
        }
    }
    for (int b = 0; b < blocks; b++, out += 144) {
        const uint8_t *sb = s + 8 * b, *mb = m + 8 * b;
        memcpy(out, &d[b], 2), memcpy(out + 2, &dmin[b], 2);
        for (int g = 0; g < 4; g++) {
            out[4 + g] = (uint8_t)(sb[g] | sb[g + 4] >> 4 << 6);
            out[8 + g] = (uint8_t)(mb[g] | mb[g + 4] >> 4 << 6);
            out[12 + g] = (uint8_t)((sb[g + 4] & 15) | (mb[g + 4] & 15) << 4);
            for (int i = 0; i < SUB_BLOCK; i++) out[16 + 32 * g + i] = (uint8_t)(q[i][8 * b + 2 * g] | q[i][8 * b + 2 * g + 1] << 4);
        }
    }
}

/* An encoder, the largest magnitude that it takes, and the blocks that it takes together. */
static const struct {
    void (*encode)(const float *x, int blocks, uint8_t *out);
    float largest;
    int together;
} quantizers[ZG_TYPES] = {
    [ZG_Q8_0] = {quantize_Q8_0, 127 * 65504.0f, 16},
    [ZG_Q4_0] = {quantize_Q4_0, 0x1p18f, SIDE},
    [ZG_Q4_K] = {quantize_Q4_K, 0x1p21f, SIDE / 8},
};

/* Some elements, a multiple of 32, of a float type as float32. */
static void widen(int source, const uint8_t *p, int n, float *x) {
    if (source == ZG_F32) memcpy(x, p, (size_t)n * sizeof *x);
    else
        for (int i = 0; i < n; i += VF) vf_store(x + i, source == ZG_F16 ? vf_load_f16(p + 2 * i) : vf_load_bf16(p + 2 * i));
}

/* True if all of n elements, a multiple of 32, are finite and their magnitudes `largest` at most. */
INLINE int within(const float *x, int n, float largest) {
    vf peak = vf_zero(), zero = vf_zero(); /* x * 0 is NaN if x is not finite */
    for (int i = 0; i < n; i += VF) {
        const vf y = vf_load(x + i);
        peak = vf_max(peak, vf_abs(y));
        zero = vf_add(zero, vf_mul(y, vf_zero()));
    }
    return vf_peak(peak) + vf_sum(zero) <= largest;
}

/* Encodes `blocks` blocks of `type` from elements of `source`: F32, F16 or BF16. Returns -1, or else the first block with a
   number that the type cannot store, at which it stops. */
int64_t zg_quantize(int32_t type, int32_t source, const void *elements, int64_t blocks, void *out) {
    float x[512];
    const int columns = layouts[type].columns, together = quantizers[type].together;
    const int64_t bytes = (source == ZG_F32 ? 4 : 2) * (int64_t)columns;
    int64_t bad = -1;
    guarded++;
    for (int64_t b = 0; b < blocks && bad < 0; b += together) {
        const int some = blocks - b < together ? (int)(blocks - b) : together;
        widen(source, (const uint8_t *)elements + b * bytes, some * columns, x);
        if (!within(x, some * columns, quantizers[type].largest))
            for (int i = 0; bad < 0; i++)
                if (!within(x + i * columns, columns, quantizers[type].largest)) bad = b + i;
        if (bad < 0) quantizers[type].encode(x, some, (uint8_t *)out + b * layouts[type].bytes);
    }
    guarded--;
    return bad;
}
