/* Rotary position embedding. The cosines and sines of a step's positions are computed once, into a table that all layers
   with the same frequencies read. A row of it is `inner` cosines, then `inner` sines. */

static void rope_table_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *frequencies = r->weight;
    const int32_t *positions = c->step->positions + chunk;
    float *cosines = (float *)address(c, r->output) + (int64_t)chunk * r->width, *sines = cosines + r->inner;
    for (int i = 0; i < r->inner; i++) {
        int64_t section = r->sections ? r->sections[i] : 0;
        float angle = (float)positions[section * c->step->section_rows] * frequencies[i];
        cosines[i] = cosf(angle) * r->factor;
        sines[i] = sinf(angle) * r->factor;
    }
}

static void rope_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    int pairs = r->inner, step = r->mode == ZG_ADJACENT ? 2 : 1, apart = r->mode == ZG_ADJACENT ? 1 : pairs;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width;
    const float *cosines = (const float *)address(c, r->y) + (int64_t)chunk * 2 * pairs, *sines = cosines + pairs;
    float *y = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    for (int h = 0; h < r->width; h += r->head_dim, x += r->head_dim, y += r->head_dim) {
        for (int i = 0; i < pairs; i++) {
            float a = x[i * step], b = x[i * step + apart];
            y[i * step] = a * cosines[i] - b * sines[i];
            y[i * step + apart] = a * sines[i] + b * cosines[i];
        }
        for (int i = 2 * pairs; i < r->head_dim; i++) y[i] = x[i];
    }
}
