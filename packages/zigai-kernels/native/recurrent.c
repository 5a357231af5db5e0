/* The gated delta rule and the selective scan: operations whose state is a matrix for each head.

   Both go through the rows of a sequence in order, and in both each column of a state's matrix depends on its own
   inputs alone. So a chunk is a block of columns of one sequence: its part of the state stays in the L1 cache from row
   to row, vectors run along columns, and no sum runs across a vector. All numbers are computed in an order that depends
   on neither the step, nor the rows in it, nor the threads.

   A block of a state is an array [rows][columns], padded to whole vectors; blocks follow each other. For the delta rule
   rows are keys' elements and columns values'; for the scan rows are the numbers of a channel and columns the channels
   of a group. The state before a step is only read. The state after a row is written to the first slot that the step
   has for it, otherwise to the thread's scratch memory, and is read from there for the next row. */

enum { VECTORS = 4, COLUMNS = VECTORS * VF };

static inline int whole_vectors(int n) { return (n + VF - 1) / VF * VF; }

/* The state of an operation in a slot. Those of all slots are next to each other. */
static char *in_slot(const zg_executor *c, const zg_record *r, int slot) {
    return c->caches[r->group] + r->cache * c->pages[r->group] + slot * r->stride;
}

/* A block of columns of a sequence. */
typedef struct {
    int start, end;  /* places of the sequence's rows among the step's */
    int part;        /* head or group */
    int column;      /* first column in it */
    int used;        /* number of columns */
    int vectors;     /* that hold them */
    int rows;        /* of the state */
    int64_t offset;  /* of the state's block in the state, in floats */
    const float *from; /* the block before the next row */
    float *own;      /* the thread's block */
} block;

static int column_blocks(int width) { return ceil_div(whole_vectors(width), COLUMNS); }

/* The block that a chunk computes, of `parts` parts whose states have `rows` rows and `width` columns. */
static block block_of(const zg_executor *c, const zg_record *r, int chunk, int thread, int parts, int rows, int width) {
    const zg_slots *s = c->step->slots;
    const int blocks = column_blocks(width), sequence = chunk / (parts * blocks), read = s->reads[sequence];
    block b = {.start = s->starts[sequence], .end = s->starts[sequence + 1], .rows = rows};
    b.part = chunk / blocks % parts;
    b.column = chunk % blocks * COLUMNS;
    b.used = least(COLUMNS, width - b.column);
    b.vectors = whole_vectors(b.used) / VF;
    b.offset = ((int64_t)b.part * whole_vectors(width) + b.column) * rows;
    b.own = (float *)(c->thread_scratch + thread * c->thread_bytes);
    b.from = read < 0 ? memset(b.own, 0, (size_t)rows * b.vectors * VF * sizeof *b.own)
                      : (float *)in_slot(c, r, read) + b.offset;
    return b;
}

/* Where the block after the row of a place goes. */
static float *block_after(const zg_executor *c, const zg_record *r, const block *b, int place) {
    const zg_slots *s = c->step->slots;
    const int first = s->write_starts[place];
    return first == s->write_starts[place + 1] ? b->own : (float *)in_slot(c, r, s->writes[first]) + b->offset;
}

/* Copies the block after the row of a place to the other slots that the step has for it, and makes it the block before
   the next row. */
static void keep_block(const zg_executor *c, const zg_record *r, block *b, int place, const float *after) {
    const zg_slots *s = c->step->slots;
    for (int i = s->write_starts[place] + 1; i < s->write_starts[place + 1]; i++)
        memcpy((float *)in_slot(c, r, s->writes[i]) + b->offset, after, (size_t)b->rows * b->vectors * VF * sizeof *after);
    b->from = after;
}

/* n numbers, padded with zeros, as vectors. */
static void load_columns(const float *x, int n, vf *to) {
    int v = 0;
    for (; (v + 1) * VF <= n; v++) to[v] = vf_load(x + v * VF);
    if (v * VF < n) to[v] = vf_load_part(x + v * VF, n - v * VF);
}
static void store_columns(float *x, int n, const vf *from) {
    int v = 0;
    for (; (v + 1) * VF <= n; v++) vf_store(x + v * VF, from[v]);
    if (v * VF < n) vf_store_part(x + v * VF, from[v], n - v * VF);
}

/* to[j * stride + i] = from[i * columns + j] */
static void transpose(const float *from, int rows, int columns, float *to, int stride) {
    const int square_rows = rows / 4 * 4, square_columns = columns / 4 * 4;
    for (int i = 0; i < square_rows; i += 4)
        for (int j = 0; j < square_columns; j += 4) {
            u32x4 part[4];
            for (int n = 0; n < 4; n++) memcpy(&part[n], from + (int64_t)(i + n) * columns + j, sizeof *part);
            transpose_words(part);
            for (int n = 0; n < 4; n++) memcpy(to + (int64_t)(j + n) * stride + i, &part[n], sizeof *part);
        }
    for (int i = 0; i < rows; i++)
        for (int j = i < square_rows ? square_columns : 0; j < columns; j++)
            to[(int64_t)j * stride + i] = from[(int64_t)i * columns + j];
}

/* Calls a function with the number of vectors as a constant, so that its vectors stay in registers. */
#define BY_VECTORS(f, n, ...)                \
    switch (n) {                             \
    case 1: f(1, __VA_ARGS__); break;        \
    case 2: f(2, __VA_ARGS__); break;        \
    case 3: f(3, __VA_ARGS__); break;        \
    default: f(VECTORS, __VA_ARGS__); break; \
    }

/* sums = from^T k */
INLINE void sum_rows(const int n, const float *from, int rows, const float *k, vf *sums) {
    vf total[VECTORS];
    for (int v = 0; v < n; v++) total[v] = vf_zero();
    for (int i = 0; i < rows; i++, from += n * VF) {
        const vf ki = vf_set(k[i]);
        for (int v = 0; v < n; v++) total[v] = vf_fma(vf_load(from + v * VF), ki, total[v]);
    }
    for (int v = 0; v < n; v++) sums[v] = total[v];
}

/* to = decay * from + k add^T; out = to^T q; with `ahead`, also sums = to^T next, which the next row begins with: one
   pass through the state is enough for each row. */
INLINE void advance_rows(const int n, const int ahead, const float *from, float *to, int rows, const vf *decay,
                         const vf *add, const float *k, const float *q, const float *next, vf *out, vf *sums) {
    vf keep[VECTORS], more[VECTORS], total[VECTORS], after[VECTORS];
    for (int v = 0; v < n; v++) keep[v] = decay[v], more[v] = add[v], total[v] = after[v] = vf_zero();
    for (int i = 0; i < rows; i++, from += n * VF, to += n * VF) {
        const vf ki = vf_set(k[i]), qi = vf_set(q[i]), ni = ahead ? vf_set(next[i]) : vf_zero();
        for (int v = 0; v < n; v++) {
            const vf s = vf_fma(ki, more[v], vf_mul(keep[v], vf_load(from + v * VF)));
            vf_store(to + v * VF, s);
            total[v] = vf_fma(s, qi, total[v]);
            if (ahead) after[v] = vf_fma(s, ni, after[v]);
        }
    }
    for (int v = 0; v < n; v++) out[v] = total[v], sums[v] = after[v];
}

static void advance(int n, const float *from, float *to, int rows, const vf *decay, const vf *add, const float *k,
                    const float *q, vf *out) {
    vf unused[VECTORS];
    BY_VECTORS(advance_rows, n, 0, from, to, rows, decay, add, k, q, NULL, out, unused)
}
static void advance_and_sum(int n, const float *from, float *to, int rows, const vf *decay, const vf *add,
                            const float *k, const float *q, const float *next, vf *out, vf *sums) {
    BY_VECTORS(advance_rows, n, 1, from, to, rows, decay, add, k, q, next, out, sums)
}

/* ---- the gated delta rule: rows are the elements of keys, columns those of a head's values ---- */

static int gated_delta_chunks(const zg_executor *c, const zg_record *r) {
    return c->step->slots->sequences * r->heads * column_blocks(r->value_dim);
}

static void gated_delta_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    block b = block_of(c, r, chunk, thread, r->heads, r->head_dim, r->value_dim);
    const int32_t *order = c->step->slots->rows;
    const int head = b.part, key_head = r->mode == ZG_TILED ? head % r->groups : head / (r->heads / r->groups);
    const int64_t key_width = (int64_t)r->groups * r->head_dim, values = (int64_t)head * r->value_dim + b.column;
    const float *q = (const float *)address(c, r->x) + (int64_t)key_head * r->head_dim;
    const float *k = (const float *)address(c, r->y) + (int64_t)key_head * r->head_dim;
    const float *v = (const float *)address(c, r->more[0]) + values;
    const float *decays = (const float *)address(c, r->more[1]) + head;
    const float *betas = (const float *)address(c, r->more[2]) + head;
    float *y = (float *)address(c, r->output) + values;
    vf sums[VECTORS], decay[VECTORS], add[VECTORS], out[VECTORS];
    BY_VECTORS(sum_rows, b.vectors, b.from, b.rows, k + order[b.start] * key_width, sums)
    for (int place = b.start; place < b.end; place++) {
        if (stopping(c)) return;
        const int64_t row = order[place];
        const vf kept = vf_exp(vf_set(decays[row * r->heads])), beta = vf_set(betas[row * r->heads]);
        load_columns(v + row * r->width, b.used, add);
        for (int i = 0; i < b.vectors; i++) {
            decay[i] = kept;
            add[i] = vf_mul(beta, vf_sub(add[i], vf_mul(kept, sums[i])));
        }
        float *after = block_after(c, r, &b, place);
        if (place + 1 < b.end)
            advance_and_sum(b.vectors, b.from, after, b.rows, decay, add, k + row * key_width, q + row * key_width,
                            k + order[place + 1] * key_width, out, sums);
        else advance(b.vectors, b.from, after, b.rows, decay, add, k + row * key_width, q + row * key_width, out);
        for (int i = 0; i < b.vectors; i++) out[i] = vf_mul(out[i], vf_set(r->factor));
        store_columns(y + row * r->width, b.used, out);
        keep_block(c, r, &b, place, after);
    }
}

/* ---- the selective scan: rows are the numbers of a channel, columns the channels of a group ---- */

static int group_width(const zg_record *r) { return r->width / r->groups; }

static int selective_scan_chunks(const zg_executor *c, const zg_record *r) {
    return c->step->slots->sequences * r->groups * column_blocks(group_width(r));
}

/* Copies numbers of heads, `stride` apart, to columns: those of channel first + i to to[i]. */
static void spread_heads(const zg_record *r, const float *of_heads, int64_t stride, int first, int count, float *to) {
    int head = first / r->value_dim, left = r->value_dim - first % r->value_dim;
    for (int i = 0; i < count; i++) {
        to[i] = of_heads[head * stride];
        if (--left == 0) head++, left = r->value_dim;
    }
}

/* As `advance_rows`, but with another decay for each row: e^(step * a). */
INLINE void decay_rows(const int n, const float *from, float *to, int rows, const float *a, const vf *step,
                       const vf *add, const float *k, const float *q, vf *out) {
    vf total[VECTORS];
    for (int v = 0; v < n; v++) total[v] = vf_zero();
    for (int i = 0; i < rows; i++, from += n * VF, to += n * VF, a += n * VF) {
        const vf ki = vf_set(k[i]), qi = vf_set(q[i]);
        for (int v = 0; v < n; v++) {
            const vf keep = vf_exp(vf_mul(step[v], vf_load(a + v * VF)));
            const vf s = vf_fma(ki, add[v], vf_mul(keep, vf_load(from + v * VF)));
            vf_store(to + v * VF, s);
            total[v] = vf_fma(s, qi, total[v]);
        }
    }
    for (int v = 0; v < n; v++) out[v] = total[v];
}

static void selective_scan_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    block b = block_of(c, r, chunk, thread, r->groups, r->head_dim, group_width(r));
    const int32_t *order = c->step->slots->rows;
    const int first = b.part * group_width(r) + b.column, width = b.vectors * VF;
    const int64_t state_width = (int64_t)r->groups * r->head_dim, state = (int64_t)b.part * r->head_dim;
    const float *x = (const float *)address(c, r->x) + first, *steps = address(c, r->y);
    const float *k = (const float *)address(c, r->more[0]) + state, *q = (const float *)address(c, r->more[1]) + state;
    float *y = (float *)address(c, r->output) + first;
    float *a = b.own + (int64_t)b.rows * COLUMNS, part[COLUMNS] = {0}, direct[COLUMNS] = {0}; /* zeros in the padding */
    const int numbers = r->mode ? b.rows : 1; /* of `a`, for each channel */
    memset(a, 0, (size_t)numbers * width * sizeof *a);
    if (r->value_dim == 1) transpose((const float *)r->weight + (int64_t)first * numbers, b.used, numbers, a, width);
    else
        for (int i = 0; i < numbers; i++)
            spread_heads(r, (const float *)r->weight + i, numbers, first, b.used, a + (int64_t)i * width);
    if (r->bias) spread_heads(r, r->bias, 1, first, b.used, direct);
    for (int place = b.start; place < b.end; place++) {
        if (stopping(c)) return;
        const int64_t row = order[place];
        vf step[VECTORS], in[VECTORS], add[VECTORS], decay[VECTORS], out[VECTORS];
        spread_heads(r, steps + row * r->heads, 1, first, b.used, part);
        load_columns(x + row * r->width, b.used, in);
        for (int i = 0; i < b.vectors; i++) {
            step[i] = vf_load(part + i * VF);
            add[i] = vf_mul(step[i], in[i]);
        }
        float *after = block_after(c, r, &b, place);
        if (r->mode) {
            BY_VECTORS(decay_rows, b.vectors, b.from, after, b.rows, a, step, add, k + row * state_width,
                       q + row * state_width, out)
        } else {
            for (int i = 0; i < b.vectors; i++) decay[i] = vf_exp(vf_mul(step[i], vf_load(a + i * VF)));
            advance(b.vectors, b.from, after, b.rows, decay, add, k + row * state_width, q + row * state_width, out);
        }
        for (int i = 0; i < b.vectors; i++) out[i] = vf_fma(vf_load(direct + i * VF), in[i], out[i]);
        store_columns(y + row * r->width, b.used, out);
        keep_block(c, r, &b, place, after);
    }
}
