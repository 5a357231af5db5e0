/* Elementwise operations, and selection and pooling of rows and columns. */

#define ELEMENTWISE(NAME, VECTOR)                                                                  \
    static void NAME##_run(zg_executor *c, const zg_record *r, int chunk, int thread) {       \
        (void)thread;                                                                              \
        int64_t at = (int64_t)chunk * r->width;                                                    \
        int n = r->width, i = 0;                                                                   \
        const float *x = (const float *)address(c, r->x) + at;                                     \
        const float *y = (const float *)address(c, r->y) + at;                                     \
        float *out = (float *)address(c, r->output) + at;                                          \
        for (; i + VF <= n; i += VF) vf_store(out + i, VECTOR(r, vf_load(x + i), vf_load(y + i))); \
        if (i < n)                                                                                 \
            vf_store_part(out + i, VECTOR(r, vf_load_part(x + i, n - i), vf_load_part(y + i, n - i)), n - i); \
    }

INLINE vf element_add(const zg_record *r, vf x, vf y) { (void)r; return vf_add(x, y); }
INLINE vf element_multiply(const zg_record *r, vf x, vf y) { (void)r; return vf_mul(x, y); }
INLINE vf element_scale(const zg_record *r, vf x, vf y) { (void)y; return vf_mul(x, vf_set(r->factor)); }
INLINE vf element_soft_cap(const zg_record *r, vf x, vf y) {
    (void)y;
    return vf_mul(vf_tanh(vf_div(x, vf_set(r->cap))), vf_set(r->cap));
}
/* The share of the normal distribution above |x|: erfc(z) / 2 with z = |x| / sqrt(2). erfc(z) is e^-z^2 times a function
   that falls slowly, which is t times a polynomial in t = 1 / (1 + 0.4 z), fitted for z up to 9.5 with a relative error of
   6e-8; beyond, e^-z^2 is 0. */
INLINE vf vf_normal_above(vf x) {
    static const float factors[] = {0.040267471f, -0.13547097f, 0.073841915f, 0.099729836f, 0.071508147f,
                                    0.19696309f,  0.20095856f,  0.22657572f,  0.2256263f};
    const vf one = vf_set(1.0f);
    vf t = vf_div(one, vf_fma(vf_set(0.4f * 0.70710678f), vf_abs(x), one)), sum = vf_set(factors[0]);
    _Pragma("GCC unroll 8") for (int i = 1; i < 9; i++) sum = vf_fma(sum, t, vf_set(factors[i]));
    return vf_mul(vf_mul(vf_mul(t, sum), vf_set(0.5f)), vf_exp(vf_mul(vf_mul(vf_set(-0.5f), x), x)));
}

INLINE vf element_gated(const zg_record *r, vf x, vf y) {
    const vf one = vf_set(1.0f), half = vf_set(0.5f);
    switch (r->mode) {
    case ZG_SILU:
        return vf_mul(vf_div(x, vf_add(one, vf_exp(vf_sub(vf_zero(), x)))), y);
    case ZG_GELU_QUICK:
        return vf_mul(vf_div(x, vf_add(one, vf_exp(vf_mul(vf_set(-1.702f), x)))), y);
    case ZG_RELU:
        return vf_mul(vf_max(vf_zero(), x), y);
    case ZG_GELU_TANH: {
        vf cube = vf_mul(vf_mul(x, x), x);
        vf inside = vf_mul(vf_set(0.7978845608028654f), vf_fma(vf_set(0.044715f), cube, x));
        return vf_mul(vf_mul(vf_mul(half, x), vf_add(one, vf_tanh(inside))), y);
    }
    default: {
        vf above = vf_normal_above(x);
        return vf_mul(vf_mul(x, vf_below(x, vf_zero(), above, vf_sub(one, above))), y);
    }
    }
}

/* NaN stays NaN, because vf_min and vf_max return the second operand if one of them is NaN. */
INLINE vf element_gated_clamp(const zg_record *r, vf x, vf y) {
    const vf most = vf_set(r->cap);
    y = vf_max(vf_set(-r->cap), vf_min(most, y));
    return element_gated(r, vf_min(most, x), vf_add(y, vf_set(r->offset)));
}

/* ln(1 + e^x) = max(x, 0) + ln(1 + z) with z = e^-|x|, and ln(1 + z) = 2 atanh(z / (2 + z)), a series in s = z / (2 + z),
   which is at most 1/3: without the terms after s^15 the relative error is below 1e-8. */
INLINE vf vf_softplus(vf x) {
    vf z = vf_exp(vf_sub(vf_zero(), vf_abs(x)));
    vf s = vf_div(z, vf_add(vf_set(2.0f), z)), square = vf_mul(s, s);
    vf sum = vf_set(1.0f / 15.0f);
    for (int i = 13; i >= 3; i -= 2) sum = vf_fma(sum, square, vf_set(1.0f / (float)i));
    vf log = vf_fma(vf_mul(vf_mul(s, square), sum), vf_set(2.0f), vf_add(s, s));
    return vf_add(vf_max(vf_zero(), x), log);
}

INLINE vf element_unary(const zg_record *r, vf x, vf y) {
    const vf one = vf_set(1.0f);
    (void)y;
    switch (r->mode) {
    case ZG_LOGISTIC: return vf_div(one, vf_add(one, vf_exp(vf_sub(vf_zero(), x))));
    case ZG_TANH: return vf_tanh(x);
    case ZG_SOFTPLUS: return vf_softplus(x);
    case ZG_RELU_SQUARED: x = vf_max(vf_zero(), x); return vf_mul(x, x);
    default: return element_gated(r, x, one);
    }
}

ELEMENTWISE(add, element_add)
ELEMENTWISE(multiply, element_multiply)
ELEMENTWISE(scale, element_scale)
ELEMENTWISE(soft_cap, element_soft_cap)
ELEMENTWISE(gated, element_gated)
ELEMENTWISE(gated_clamp, element_gated_clamp)
ELEMENTWISE(unary, element_unary)

/* A row with a vector of the file. */
static void column_scale_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width, *w = r->weight;
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    for (int i = 0; i < r->width; i++) out[i] = x[i] * w[i];
}

static void column_shift_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width, *w = r->weight;
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    for (int i = 0; i < r->width; i++) out[i] = x[i] + w[i];
}

/* Rounds down, also for negative positions, which give -infinity or NaN. */
static void position_scale_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width;
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    const int64_t at = (int64_t)c->step->positions[chunk] + r->start;
    const int64_t turns = at >= 0 ? at / r->inner : -((r->inner - 1 - at) / r->inner);
    const float share = 1.0f + r->factor * log1pf((float)turns);
    for (int i = 0; i < r->width; i++) out[i] = x[i] * share;
}

static void columns_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->inner + r->start;
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    const int inner = r->inner / r->groups, part = r->width / r->groups;
    for (int group = 0; group < r->groups; group++)
        memcpy(out + (int64_t)group * part, x + (int64_t)group * inner, (size_t)part * sizeof *x);
}

static void concat_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const int left = r->inner / r->groups, whole = r->width / r->groups, right = whole - left;
    const int step = r->mode == ZG_TRUE ? 0 : right;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->inner;
    const float *y = (const float *)address(c, r->y) + (int64_t)chunk * (step ? r->width - r->inner : right);
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    for (int group = 0; group < r->groups; group++) {
        memcpy(out + (int64_t)group * whole, x + (int64_t)group * left, (size_t)left * sizeof *x);
        memcpy(out + (int64_t)group * whole + left, y + (int64_t)group * step, (size_t)right * sizeof *y);
    }
}

static void sigmoid_gate_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->inner, *w = r->weight;
    const float *y = (const float *)address(c, r->y) + (int64_t)chunk * r->width;
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width, rest = 0.0f;
    vf sum = vf_zero();
    int i = 0;
    for (; i + VF <= r->inner; i += VF) sum = vf_fma(vf_load(x + i), vf_load(w + i), sum);
    for (; i < r->inner; i++) rest += x[i] * w[i];
    float share = 1.0f / (1.0f + expf(-(vf_sum(sum) + rest)));
    for (i = 0; i < r->width; i++) out[i] = y[i] * share;
}

static void select_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)c->step->wanted_rows[chunk] * r->width;
    memcpy((float *)address(c, r->output) + (int64_t)chunk * r->width, x, (size_t)r->width * sizeof *x);
}

/* Rows of a sequence are in its order, but there may be rows of others between them. */
static void pool_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const zg_step *step = c->step;
    const int32_t sequence = step->sequences[step->wanted_rows[chunk]];
    const float *rows = (const float *)address(c, r->x);
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    const size_t bytes = (size_t)r->width * sizeof *out;
    int count = 0;
    for (int row = 0; row < step->tokens; row++) {
        if (step->sequences[row] != sequence) continue;
        const float *x = rows + (int64_t)row * r->width;
        if (count++ == 0 || r->mode == ZG_LAST) memcpy(out, x, bytes);
        else if (r->mode == ZG_MEAN)
            for (int i = 0; i < r->width; i++) out[i] += x[i];
        else break;
    }
    if (r->mode != ZG_MEAN) return;
    const float share = 1.0f / (float)count;
    for (int i = 0; i < r->width; i++) out[i] *= share;
}
