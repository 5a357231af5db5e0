/* Linear: rows of x times the rows of a matrix in panels. A chunk is a run of panels. */

enum { CHUNK_BYTES = 262144, PANELS_FOR_MANY = 4, TOKENS_BYTES = 196608 };

static int panels_of(const zg_record *r) { return ceil_div(r->width, PANEL); }

/* Panels in a chunk: enough work to be worth fetching, enough chunks for every thread. With many rows of x
   more of them, since each chunk reads all of x. */
static int chunk_panels(const zg_context *c, const zg_record *r) {
    int64_t panels = CHUNK_BYTES / r->stride;
    int share = panels_of(r) / (c->pool.threads * 4);
    if (rows_of(c, r) > TILE && panels < PANELS_FOR_MANY) panels = PANELS_FOR_MANY;
    if (panels > share) panels = share;
    return panels < 1 ? 1 : (int)panels;
}

static int linear_chunks(const zg_context *c, const zg_record *r) {
    return rows_of(c, r) ? ceil_div(panels_of(r), chunk_panels(c, r)) : 0;
}

/* The rows that meet a matrix: all n of x, or those that `order` lists. Item order[i] is row order[i] of out
   and row order[i] / divide of x. */
typedef struct {
    const char *x;
    int64_t x_stride;
    float *out;
    const int32_t *order;
    int divide, n;
} linear_job;

INLINE const char *input_row(const linear_job *job, int i) {
    return job->x + (job->order ? job->order[i] / job->divide : i) * job->x_stride;
}

/* How many of the `left` rows the next tile takes. */
static int tile_size(int left) { return left >= TILE ? TILE : left >= 4 ? 4 : left; }

static void store_tile(const zg_record *r, const linear_job *job, const float *y, int first, int count, int panel) {
    int columns = least(PANEL, r->width - panel * PANEL);
    for (int t = 0; t < count; t++, y += PANEL) {
        int64_t row = job->order ? job->order[first + t] : first + t;
        float *out = job->out + row * r->width + (int64_t)panel * PANEL;
        const float *bias = r->bias ? r->bias + (int64_t)panel * PANEL : NULL;
        for (int i = 0; i < columns; i++) out[i] = bias ? y[i] + bias[i] : y[i];
    }
}

static int64_t input_stride(const zg_record *r) {
    return r->type <= ZG_BF16 ? (int64_t)r->inner * 4 : activation_bytes(r->inner);
}

/* Panels first..end of the output. Rows of x are taken in blocks that stay in the second-level cache while
   the panels pass. */
static void linear_panels(const zg_record *r, const uint8_t *weight, const linear_job *job, int first, int end) {
    const int64_t scales = panel_scales(r->type, r->inner);
    activations a = {.scales = (int)activation_scales(r->inner), .sums = (int)activation_sums(r->inner),
                     .halves = (int)activation_halves(r->inner)};
    int64_t fitting = TOKENS_BYTES / job->x_stride / TILE * TILE;
    int block = fitting < TILE ? TILE : (int)fitting;
    float y[TILE * PANEL];
    for (int from = 0; from < job->n; from += block) {
        int to = job->n - from < block ? job->n : from + block;
        for (int panel = first; panel < end; panel++)
            for (int t = from, count; t < to; t += count) {
                count = tile_size(to - t);
                for (int i = 0; i < count; i++) a.row[i] = input_row(job, t + i);
                panel_kernels[r->type][count](weight + panel * r->stride, scales, r->inner, &a, y);
                store_tile(r, job, y, t, count, panel);
            }
    }
}

static void linear_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    int panels = chunk_panels(c, r), first = chunk * panels;
    linear_job job = {address(c, r->x), input_stride(r), address(c, r->output), NULL, 1, rows_of(c, r)};
    linear_panels(r, r->weight, &job, first, least(first + panels, panels_of(r)));
}
