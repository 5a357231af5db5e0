/* RMSNorm, LayerNorm and L2 normalisation. A chunk is one row. */

INLINE float sum_of_squares(const float *x, int n, float centre) {
    vf sum = vf_zero(), c = vf_set(centre);
    int i = 0;
    for (; i + VF <= n; i += VF) {
        vf d = vf_sub(vf_load(x + i), c);
        sum = vf_fma(d, d, sum);
    }
    float rest = 0.0f;
    for (; i < n; i++) rest += (x[i] - centre) * (x[i] - centre);
    return vf_sum(sum) + rest;
}

INLINE float sum_of(const float *x, int n) {
    vf sum = vf_zero();
    int i = 0;
    for (; i + VF <= n; i += VF) sum = vf_add(sum, vf_load(x + i));
    float rest = 0.0f;
    for (; i < n; i++) rest += x[i];
    return vf_sum(sum) + rest;
}

static void rms_norm_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width, *w = r->weight;
    float *y = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    int n = r->inner;
    for (int g = 0; g < r->width; g += n, x += n, y += n, w += r->mode ? n : 0) {
        float scale = 1.0f / sqrtf(sum_of_squares(x, n, 0.0f) / (float)n + r->factor);
        for (int i = 0; i < n; i++) y[i] = x[i] * scale * w[i];
    }
}

static void l2_norm_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width;
    float *y = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    int n = r->inner;
    for (int g = 0; g < r->width; g += n, x += n, y += n) {
        float scale = 1.0f / sqrtf(sum_of_squares(x, n, 0.0f) + r->factor);
        for (int i = 0; i < n; i++) y[i] = x[i] * scale;
    }
}

static void layer_norm_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width, *w = r->weight, *b = r->bias;
    float *y = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    int n = r->width;
    float mean = sum_of(x, n) / (float)n;
    float scale = 1.0f / sqrtf(sum_of_squares(x, n, mean) / (float)n + r->factor);
    if (w && b)
        for (int i = 0; i < n; i++) y[i] = (x[i] - mean) * scale * w[i] + b[i];
    else if (w)
        for (int i = 0; i < n; i++) y[i] = (x[i] - mean) * scale * w[i];
    else if (b)
        for (int i = 0; i < n; i++) y[i] = (x[i] - mean) * scale + b[i];
    else
        for (int i = 0; i < n; i++) y[i] = (x[i] - mean) * scale;
}
