/* Linear: rows of x times the rows of a packed matrix; HeadLinear: each head of a row times those of its own matrix. A chunk
   is a range of panels, of all matrices, and a run of rows of x. */

enum {
    CHUNK_BYTES = 262144,
    ROWS = 128, GROUP = 12, /* rows of x, and panels, processed together */
    FLOATS_AT_ONCE = 192,   /* columns of panels of floats multiplied at once: those of AT_ONCE panels stay in L1 */
};

/* Panels of a matrix. */
static int panels_of(const zg_record *r) { return ceil_div(r->width, PANEL); }
static int matrices_of(const zg_record *r) { return r->operation == ZG_HEAD_LINEAR ? r->heads : 1; }

/* How a product is split into chunks. Ranges have `large` panels; the last ones, whose chunks are about one per thread, are
   split into four small ranges each, so that all threads finish at nearly the same time. */
typedef struct {
    int rows, runs; /* rows of a run (the last one may have fewer), and the number of runs */
    int panels, large, small;
    int first_small; /* index of the first small range */
    int count;
} cut;

/* Chunks are large enough to amortise taking one, and numerous enough for every thread. Many rows of x are split into
   runs that stay in the L2 cache of the thread that multiplies them. */
static cut cut_linear(const zg_executor *c, const zg_record *r) {
    const int threads = c->threads, rows = rows_of(c, r), many = rows > most_few(r->type);
    cut k = {.rows = rows, .runs = 1, .panels = panels_of(r) * matrices_of(r)};
    if (many) {
        k.rows = ceil_div(ceil_div(rows, ceil_div(rows, ROWS)), TILE) * TILE;
        k.runs = ceil_div(rows, k.rows);
    }
    int64_t panels = CHUNK_BYTES / r->stride;
    int share = k.panels * k.runs / (threads * 4);
    if (many && panels < GROUP) panels = GROUP;
    if (panels > share) panels = share;
    const int least_panels = many ? panels_at_once(r->type) : 1;
    k.large = panels < 1 ? least_panels : ceil_div(panels, least_panels) * least_panels;
    k.small = ceil_div(k.large, 4 * least_panels) * least_panels;
    const int last = ceil_div(threads, k.runs);
    k.first_small = k.panels / k.large > last ? k.panels / k.large - last : 0;
    k.count = (k.first_small + ceil_div(k.panels - k.first_small * k.large, k.small)) * k.runs;
    return k;
}

/* True if rows of x are cut into runs: threads then take chunks from both ends of a stage (threads.c). */
static int has_runs(int rows) { return rows > ROWS; }

/* The range of panels and the run of rows of a chunk. The second half of the runs is that of the last chunks, in reverse
   order: threads that come from the two ends keep to rows of their own, and meet in small chunks. Neighbouring chunks have
   the same panels, which are then read from memory once for all runs of a half. */
static void place_chunk(const cut *k, int chunk, int *range, int *run) {
    const int runs = ceil_div(k->runs, 2), chunks = k->count / k->runs * runs;
    const int from_end = k->count - 1 - chunk, others = k->runs - runs;
    *range = chunk < chunks ? chunk / runs : from_end / others;
    *run = chunk < chunks ? chunk % runs : k->runs - 1 - from_end % others;
}

static int linear_chunks(const zg_executor *c, const zg_record *r) {
    return rows_of(c, r) ? cut_linear(c, r).count : 0;
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
    if (columns == PANEL)
        for (int j = 0; j < PANEL; j += VF) vf_store(out + j, bias ? vf_add(vf_load(y + j), vf_load(bias + j)) : vf_load(y + j));
    else
        for (int j = 0; j < columns; j++) out[j] = bias ? y[j] + bias[j] : y[j];
    if (job->peaks) job->peaks[row * panels_of(r) + panel] = peak_of(out, columns);
}

static int64_t input_stride(const zg_record *r) {
    return input_row_layout(r->type, r->inner).bytes;
}

/* Panels first..end of floats (at most GROUP) with rows from..from + n of x (at most ROWS). Sums of whole panels go straight
   to the output. Returns 0 if the sums are in y instead, to be stored. */
static int many_floats(const zg_record *r, const uint8_t *weight, const linear_job *job, const activations *a, int first, int end,
                       int from, int n, float y[GROUP][ROWS * PANEL]) {
    const int direct = !job->order && !job->peaks && end * PANEL <= r->width;
    const int64_t next = r->stride / 4;
    activations tile = *a;
    for (int at = 0, columns; at < r->inner; at += columns) {
        columns = least(r->inner - at, FLOATS_AT_ONCE);
        const int last = at + columns == r->inner;
        for (int p = first, panels; p < end; p += panels) {
            panels = tile_size(end - p, AT_ONCE);
            for (int t = 0, count; t < n; t += count) {
                count = tile_size(n - t, TILE);
                tile.row = a->row + t;
                const sums between = {y[p - first] + t * PANEL, PANEL, ROWS * PANEL};
                const sums out = {job->out + (from + t) * job->out_row + (int64_t)p * PANEL, job->out_row, PANEL};
                together[panels][count]((const float *)weight + p * next + (int64_t)at * PANEL, next, &tile, at, columns,
                                        at ? &between : NULL, last && direct ? &out : &between,
                                        last && direct && job->bias ? job->bias + (int64_t)p * PANEL : NULL);
            }
        }
    }
    return direct;
}

/* The same for panels of any type but floats of which several are multiplied at once: the sums are in y. */
static void many_pieces(const zg_record *r, const uint8_t *weight, const activations *a, int first, int end, int n,
                        float y[GROUP][ROWS * PANEL]) {
    const panel_kernels *k = &kernels[r->type];
    const block_layout l = layouts[r->type];
    const int64_t scales = panel_scales(r->type, r->inner);
    const int width = columns_of(r->type, r->inner);
    activations tile = *a;
    piece w;
    for (int p = first; p < end; p++) memset(y[p - first], 0, (size_t)n * PANEL * sizeof(float));
    for (int at = 0, columns; at < width; at += columns) {
        const int64_t blocks = at / l.columns;
        columns = least(width - at, PIECE);
        for (int p = first; p < end; p++) {
            const uint8_t *panel = weight + p * r->stride;
            k->unpack(&w, panel + blocks * l.scales, panel + scales + blocks * l.quants, columns);
            for (int t = 0, count; t < n; t += count) {
                count = tile_size(n - t, rows_at_once(r->type));
                tile.row = a->row + t;
                k->many[count](&w, &tile, at, columns, y[p - first] + t * PANEL);
            }
        }
    }
}

static void many_rows(const zg_record *r, const uint8_t *weight, const linear_job *job, const activations *a, int first, int end,
                      int from, int n) {
    float y[GROUP][ROWS * PANEL];
    if (panels_at_once(r->type) == 1) many_pieces(r, weight, a, first, end, n, y);
    else if (many_floats(r, weight, job, a, first, end, from, n, y)) return;
    for (int t = 0; t < n; t++) /* row by row: panels of a row are neighbours in memory, rows are far apart */
        for (int p = first; p < end; p++) store_panel(r, job, y[p - first] + t * PANEL, from + t, p);
}

static void few_rows(const zg_record *r, const uint8_t *weight, const linear_job *job, const activations *a, int first,
                     int end) {
    const int64_t scales = panel_scales(r->type, r->inner);
    activations tile = *a;
    float y[FEW * PANEL];
    for (int p = first; p < end; p++) {
        const uint8_t *panel = weight + p * r->stride;
        for (int t = 0, count; t < job->n; t += count) {
            count = tile_size(job->n - t, FEW);
            tile.row = a->row + t;
            kernels[r->type].few[count](panel, panel + scales, columns_of(r->type, r->inner), &tile, y);
            for (int i = 0; i < count; i++) store_panel(r, job, y + i * PANEL, t + i, p);
        }
    }
}

/* Panels first..end of the output. Many rows of x are processed in runs, so that a run's columns of one piece stay in
   the L2 cache for a whole group of panels. */
static void linear_panels(const zg_record *r, const uint8_t *weight, const linear_job *job, int first, int end) {
    const char *row[ROWS];
    const activations a = {row, input_row_layout(r->type, r->inner)};
    for (int from = 0, n; from < job->n; from += n) {
        n = least(job->n - from, ROWS);
        for (int i = 0; i < n; i++) row[i] = input_row(job, from + i);
        if (job->n <= most_few(r->type)) few_rows(r, weight, job, &a, first, end);
        else
            for (int p = first; p < end; p += GROUP) many_rows(r, weight, job, &a, p, least(p + GROUP, end), from, n);
    }
}
_Static_assert(FEW * 16 <= ROWS, "few rows are a single run: most_few");

static void linear_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const cut k = cut_linear(c, r);
    int range, run;
    place_chunk(&k, chunk, &range, &run);
    const int row = run * k.rows, rows = least(k.rows, rows_of(c, r) - row);
    const int small = range - k.first_small, heads = matrices_of(r), panels = panels_of(r);
    int first = small < 0 ? range * k.large : k.first_small * k.large + small * k.small;
    const int end = least(first + (small < 0 ? k.large : k.small), k.panels);
    float *peaks = r - c->plan->records == c->plan->logits ? c->step->peaks : NULL;
    for (int count; first < end; first += count) {
        const int head = first / panels, from = first % panels;
        count = least(end - first, panels - from);
        linear_job job = {(const char *)address(c, r->x) + ((int64_t)row * heads + head) * input_stride(r),
                          heads * input_stride(r),
                          (float *)address(c, r->output) + ((int64_t)row * heads + head) * r->width,
                          (int64_t)heads * r->width, NULL, 1, rows, r->bias,
                          peaks ? peaks + (int64_t)row * panels : NULL};
        const uint8_t *weight = (const uint8_t *)r->weight + (int64_t)head * panels * r->stride;
        linear_panels(r, weight, &job, from, from + count);
    }
}
