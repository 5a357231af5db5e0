/* Online softmax, one block of keys at a time (Milakov and Gimelshein, 2018, arXiv:1805.02867). Scores are
   multiplied by log2 e, so that weights are powers of 2. */

#define LOG2_E 1.44269504f

/* 2^x for x <= 0 with a relative error of about 2e-7: x = n + r, and a polynomial in r, of least relative error on
   -1/2..1/2 and exact at 0, times 2^n. 0 below -126; NaN stays NaN. */
INLINE vf exp2_of(vf x) {
    const vf low = vf_set(-126.0f);
    vf y = vf_max(low, x), n = vf_round(y), r = vf_sub(y, n);
    vf p = vf_fma(vf_set(1.3264727313e-3f), r, vf_set(9.6715129912e-3f));
    p = vf_fma(p, r, vf_set(5.5507335812e-2f));
    p = vf_fma(p, r, vf_set(2.4022242427e-1f));
    p = vf_fma(p, r, vf_set(6.9314700365e-1f));
    p = vf_fma(p, r, vf_set(1.0f));
    return vf_below(x, low, vf_zero(), vf_mul(p, vf_pow2(n)));
}

/* The state of a query: at MOST the largest score, at SUM the sum of the weights, 0 before the first key, and from
   STATE on the sum of the values times their weights. */
enum { MOST, SUM, STATE = 16 };

static inline int64_t state_floats(int value_dim) { return STATE + padded(value_dim); }

static void clear_state(float *s, int dim) {
    memset(s, 0, (size_t)(STATE + dim) * 4);
    s[MOST] = -INFINITY;
}

INLINE float one_exp2(float x) {
    float part[VF];
    vf_store(part, exp2_of(vf_set(x)));
    return part[0];
}

/* Adds the state of a later span to the state of the spans before it. */
static void add_state(float *s, const float *later, int dim) {
    if (later[SUM] == 0.0f) return;
    if (s[SUM] == 0.0f) {
        memcpy(s, later, (size_t)(STATE + dim) * 4);
        return;
    }
    float most = s[MOST] > later[MOST] ? s[MOST] : later[MOST];
    float mine = one_exp2(s[MOST] - most), its = one_exp2(later[MOST] - most);
    s[MOST] = most;
    s[SUM] = s[SUM] * mine + later[SUM] * its;
    for (int i = STATE; i < STATE + dim; i += VF)
        vf_store(s + i, vf_fma(vf_load(later + i), vf_set(its), vf_mul(vf_load(s + i), vf_set(mine))));
}

/* Adds the score of a key without a value. In double: a sink may be any float, and times log2 e a large one would
   overflow float. */
static void add_sink(float *s, float sink, int dim) {
    double own = (double)sink * LOG2_E, most = own > s[MOST] ? own : s[MOST];
    float fade = one_exp2((float)(s[MOST] - most));
    s[SUM] = s[SUM] * fade + one_exp2((float)(own - most));
    for (int i = STATE; i < STATE + dim; i += VF) vf_store(s + i, vf_mul(vf_load(s + i), vf_set(fade)));
}

/* Adds slope * (position of the key - position of the query) to scores; `distance` is that difference for the first. */
static void add_bias(float slope, int distance, float *s, int bound) {
    static const float lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int j = 0; j < bound; j += VF) {
        vf far = vf_add(vf_load(lanes), vf_set((float)(distance + j)));
        vf_store(s + j, vf_fma(vf_set(slope), far, vf_load(s + j)));
    }
}

/* Replaces the scores s of a block by weights, 0 for keys outside first..end. Updates the state's largest score and sum
   of weights, and rescales its values. */
static void soften(float cap, float slope, int distance, float *s, float *state, int first, int end, int dim) {
    const int bound = (end + VF - 1) / VF * VF;
    if (cap != 0.0f)
        for (int j = 0; j < bound; j += VF)
            vf_store(s + j, vf_mul(vf_tanh(vf_div(vf_load(s + j), vf_set(cap))), vf_set(cap * LOG2_E)));
    if (slope != 0.0f) add_bias(slope, distance, s, bound);
    for (int j = 0; j < first; j++) s[j] = -INFINITY;
    for (int j = end; j < bound; j++) s[j] = -INFINITY;
    vf most = vf_set(-INFINITY), total = vf_zero();
    for (int j = 0; j < bound; j += VF) most = vf_max(most, vf_load(s + j));
    float before = state[MOST], now = vf_peak(most);
    if (now < before) now = before;
    vf shift = vf_set(now);
    for (int j = 0; j < bound; j += VF) {
        vf v = exp2_of(vf_sub(vf_load(s + j), shift));
        vf_store(s + j, v);
        total = vf_add(total, v);
    }
    state[MOST] = now;
    if (state[SUM] != 0.0f && now != before) {
        float fade = one_exp2(before - now);
        state[SUM] *= fade;
        for (int i = STATE; i < STATE + dim; i += VF)
            vf_store(state + i, vf_mul(vf_load(state + i), vf_set(fade)));
    }
    state[SUM] += vf_sum(total);
}
