/* Linear: rows of x times the rows of a packed matrix; HeadLinear: each head of a row times those of its own matrix. A chunk
   is a range of panels, of all matrices. */

enum {
    CHUNK_BYTES = 262144,
    ROWS = 128, GROUP = 8, /* rows of x, and panels, processed together */
};

/* Panels of a matrix. */
static int panels_of(const zg_record *r) { return ceil_div(r->width, PANEL); }
static int matrices_of(const zg_record *r) { return r->operation == ZG_HEAD_LINEAR ? r->heads : 1; }

/* How a matrix is split into chunks: chunks of `large` panels, and the last ones, about one per thread, split into four
   small chunks each, so that all threads finish at nearly the same time. */
typedef struct {
    int panels, large, small;
    int first_small; /* index of the first small chunk */
    int count;
} cut;

/* Chunks are large enough to amortise taking one, and numerous enough for every thread. With many rows of x a chunk has
   more panels, because each chunk reads all of x. */
static cut cut_panels(const zg_executor *c, const zg_record *r) {
    const int threads = c->threads, many = rows_of(c, r) > most_few(r->type);
    cut k = {.panels = panels_of(r) * matrices_of(r)};
    int64_t panels = CHUNK_BYTES / r->stride;
    int share = k.panels / (threads * 4);
    if (many && panels < GROUP) panels = GROUP;
    if (panels > share) panels = share;
    const int least_panels = many && takes_two(r->type) ? 2 : 1; /* multiplied at once */
    k.large = panels < 1 ? least_panels : ceil_div(panels, least_panels) * least_panels;
    k.small = ceil_div(k.large, 4 * least_panels) * least_panels;
    k.first_small = k.panels / k.large > threads ? k.panels / k.large - threads : 0;
    k.count = k.first_small + ceil_div(k.panels - k.first_small * k.large, k.small);
    return k;
}

static int linear_chunks(const zg_executor *c, const zg_record *r) {
    return rows_of(c, r) ? cut_panels(c, r).count : 0;
}

/* The rows to multiply with a matrix: all n rows of x, or those listed in `order`. Item order[i] is row order[i] of out
   and row order[i] / divide of x. */
typedef struct {
    const char *x;
    int64_t x_stride;
    float *out;
    int64_t out_row; /* floats from one row of out to the next */
    const int32_t *order;
    int divide, n;
    const float *bias; /* of all panels; or NULL */
    float *peaks;      /* the largest number of each panel of each row of out; or NULL */
} linear_job;

INLINE const char *input_row(const linear_job *job, int i) {
    return job->x + (job->order ? job->order[i] / job->divide : i) * job->x_stride;
}

/* Number of rows in the next tile, at most `most`, with `left` rows to go: the last two tiles share their rows evenly,
   because a tile of one row is slow. */
static int tile_size(int left, int most) { return left >= 2 * most ? most : left > most ? (left + 1) / 2 : left; }

/* The largest of a panel's numbers; NaN if one is not finite. */
static float peak_of(const float *x, int columns) {
    float peak = -INFINITY, zero = 0.0f; /* the sum of 0 * x */
    if (columns == PANEL) {
        vf largest = vf_load(x), sum = vf_zero();
        for (int i = 0; i < PANEL; i += VF) {
            largest = vf_max(largest, vf_load(x + i));
            sum = vf_fma(vf_load(x + i), vf_zero(), sum);
        }
        return vf_peak(largest) + vf_sum(sum);
    }
    for (int i = 0; i < columns; i++) {
        if (x[i] > peak) peak = x[i];
        zero += 0.0f * x[i];
    }
    return peak + zero;
}

/* Stores 16 sums as panel number `panel` of item i. */
static void store_panel(const zg_record *r, const linear_job *job, const float *y, int i, int panel) {
    int64_t row = job->order ? job->order[i] : i;
    int columns = least(PANEL, r->width - panel * PANEL);
    const float *bias = job->bias ? job->bias + (int64_t)panel * PANEL : NULL;
    float *out = job->out + row * job->out_row + (int64_t)panel * PANEL;
    if (bias)
        for (int j = 0; j < columns; j++) out[j] = y[j] + bias[j];
    else memcpy(out, y, (size_t)columns * sizeof *y);
    if (job->peaks) job->peaks[row * panels_of(r) + panel] = peak_of(out, columns);
}

static int64_t input_stride(const zg_record *r) {
    return input_row_layout(r->type, r->inner).bytes;
}

/* Adds to y and z the columns from `at` on of a panel of floats and the next one, for rows from..from + n of x. */
static void two_many_rows(const zg_record *r, const uint8_t *panel, const linear_job *job, activations *a, int from, int n,
                          int at, int columns, float *y, float *z) {
    const float *p = (const float *)panel + (int64_t)at * PANEL, *q = (const float *)(panel + r->stride) + (int64_t)at * PANEL;
    for (int t = 0, count; t < n; t += count) {
        count = tile_size(n - t, TILE);
        for (int i = 0; i < count; i++) a->row[i] = input_row(job, from + t + i);
        two[count](p, q, a, at, columns, y + t * PANEL, z + t * PANEL);
    }
}

/* Panels first..end (at most GROUP) with rows from..from + n of x (at most ROWS). */
static void many_rows(const zg_record *r, const uint8_t *weight, const linear_job *job, activations *a, int first, int end,
                      int from, int n) {
    const panel_kernels *k = &kernels[r->type];
    const block_layout l = layouts[r->type];
    const int64_t scales = panel_scales(r->type, r->inner);
    const int width = columns_of(r->type, r->inner);
    piece w;
    float y[GROUP][ROWS * PANEL];
    for (int p = first; p < end; p++) memset(y[p - first], 0, (size_t)n * PANEL * sizeof(float));
    for (int at = 0, columns; at < width; at += columns) {
        const int64_t blocks = at / l.columns;
        columns = least(width - at, takes_two(r->type) ? PIECE / 2 : PIECE); /* half of each panel: both stay in L1 */
        for (int p = first; p < end; p++) {
            const uint8_t *panel = weight + p * r->stride;
            if (takes_two(r->type) && p + 1 < end) {
                two_many_rows(r, panel, job, a, from, n, at, columns, y[p - first], y[p + 1 - first]);
                p++;
                continue;
            }
            k->unpack(&w, panel + blocks * l.scales, panel + scales + blocks * l.quants, columns);
            for (int t = 0, count; t < n; t += count) {
                count = tile_size(n - t, rows_at_once(r->type));
                for (int i = 0; i < count; i++) a->row[i] = input_row(job, from + t + i);
                k->many[count](&w, a, at, columns, y[p - first] + t * PANEL);
            }
        }
    }
    for (int t = 0; t < n; t++) /* row by row: panels of a row are neighbours in memory, rows are far apart */
        for (int p = first; p < end; p++) store_panel(r, job, y[p - first] + t * PANEL, from + t, p);
}

static void few_rows(const zg_record *r, const uint8_t *weight, const linear_job *job, activations *a, int first, int end) {
    const int64_t scales = panel_scales(r->type, r->inner);
    float y[FEW * PANEL];
    for (int p = first; p < end; p++) {
        const uint8_t *panel = weight + p * r->stride;
        for (int t = 0, count; t < job->n; t += count) {
            count = tile_size(job->n - t, FEW);
            for (int i = 0; i < count; i++) a->row[i] = input_row(job, t + i);
            kernels[r->type].few[count](panel, panel + scales, columns_of(r->type, r->inner), a, y);
            for (int i = 0; i < count; i++) store_panel(r, job, y + i * PANEL, t + i, p);
        }
    }
}

/* Panels first..end of the output. Many rows of x are processed in runs, so that a run's columns of one piece stay in
   the L2 cache for a whole group of panels. */
static void linear_panels(const zg_record *r, const uint8_t *weight, const linear_job *job, int first, int end) {
    activations a = {.at = input_row_layout(r->type, r->inner)};
    if (job->n <= most_few(r->type)) few_rows(r, weight, job, &a, first, end);
    else
        for (int from = 0; from < job->n; from += ROWS)
            for (int p = first; p < end; p += GROUP)
                many_rows(r, weight, job, &a, p, least(p + GROUP, end), from, least(job->n - from, ROWS));
}

static void linear_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const cut k = cut_panels(c, r);
    const int small = chunk - k.first_small, heads = matrices_of(r), panels = panels_of(r);
    int first = small < 0 ? chunk * k.large : k.first_small * k.large + small * k.small;
    const int end = least(first + (small < 0 ? k.large : k.small), k.panels);
    for (int count; first < end; first += count) {
        const int head = first / panels, from = first % panels;
        count = least(end - first, panels - from);
        linear_job job = {(const char *)address(c, r->x) + head * input_stride(r), heads * input_stride(r),
                          (float *)address(c, r->output) + (int64_t)head * r->width, (int64_t)heads * r->width,
                          NULL, 1, rows_of(c, r), r->bias,
                          r - c->plan->records == c->plan->logits ? c->step->peaks : NULL};
        const uint8_t *weight = (const uint8_t *)r->weight + (int64_t)head * panels * r->stride;
        linear_panels(r, weight, &job, from, from + count);
    }
}
