/* Several streams side by side in a row, and the cut of small elements. A chunk is one row. */

static void mix_streams_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const int width = r->inner, streams = r->start, made = r->width / width;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * streams * width;
    const float *shares = (const float *)address(c, r->y) + (int64_t)chunk * made * streams;
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    for (int i = 0; i < made; i++, out += width, shares += streams) {
        for (int k = 0; k < width; k++) out[k] = 0.0f;
        for (int j = 0; j < streams; j++) {
            const float share = shares[j] + r->offset, *stream = x + (int64_t)j * width;
            for (int k = 0; k < width; k++) out[k] += share * stream[k];
        }
    }
}

/* NaN stays NaN, which fmaxf would not return. */
static void match_magnitude_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const int n = r->inner;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width;
    float *y = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    const float wanted = sqrtf(sum_of_squares((const float *)address(c, r->y) + (int64_t)chunk * n, n, 0.0f) / (float)n);
    for (int g = 0; g < r->width; g += n, x += n, y += n) {
        const float power = sum_of_squares(x, n, 0.0f) / (float)n;
        const float scale = wanted / sqrtf(power < r->factor ? r->factor : power);
        for (int i = 0; i < n; i++) y[i] = x[i] * scale;
    }
}

static void gaussian_cut_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const int n = r->width;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * n;
    float *y = (float *)address(c, r->output) + (int64_t)chunk * n;
    const float mean = sum_of(x, n) / (float)n;
    const float least = r->factor * sqrtf(sum_of_squares(x, n, mean) / (float)n);
    for (int i = 0; i < n; i++) {
        const float over = x[i] - mean - least;
        y[i] = over < 0.0f ? 0.0f : over;
    }
}
