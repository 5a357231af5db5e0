/* Softmax of scores that are logarithms to base 2, a block of keys after another (online: Milakov and Gimelshein,
   2018, arXiv:1805.02867). */

#define LOG2_E 1.44269504f

/* 2^x for x <= 0 to about 2e-7 relative: x = n + r, and 2^r is a polynomial fitted to the least relative
   error on -1/2..1/2, exact at 0. Below -126 it is 0; NaN stays NaN. */
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

/* What attention has gathered for a query so far: the largest score, the sum of the weights, which is 0
   before the first key, and at STATE the weighted values. */
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

/* Adds what a later span gathered to what those before it did. */
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

/* One more score, of a key that has no value. In doubles: any float is a sink, and most are too large for one when they
   become logarithms to base 2. */
static void add_sink(float *s, float sink, int dim) {
    double own = (double)sink * LOG2_E, most = own > s[MOST] ? own : s[MOST];
    float fade = one_exp2((float)(s[MOST] - most));
    s[SUM] = s[SUM] * fade + one_exp2((float)(own - most));
    for (int i = STATE; i < STATE + dim; i += VF) vf_store(s + i, vf_mul(vf_load(s + i), vf_set(fade)));
}

/* Adds slope times (the key's position - the query's) to scores; `distance` is that of the first. */
static void add_bias(float slope, int distance, float *s, int bound) {
    static const float lanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int j = 0; j < bound; j += VF) {
        vf far = vf_add(vf_load(lanes), vf_set((float)(distance + j)));
        vf_store(s + j, vf_fma(vf_set(slope), far, vf_load(s + j)));
    }
}

/* The scores s of a block become weights; keys outside first..end get weight 0. */
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
