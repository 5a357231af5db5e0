/* Attention over the KV cache, or over the keys and values of the step itself.

   A tile is a run of tokens of one sequence, whose ends never decrease, with the query heads of one KV head; they are
   processed together, so that each key is read once for all of them. The softmax is online (softmax.c), over blocks of up
   to 64 keys that end where pages end, and restarts with each span of pages; the results of the spans are then added
   from the first to the last. So several threads can compute the spans of one token, and the order of additions for a
   token depends on its position alone. Blocks and pages that no token of the tile sees are not read. */

/* ---- a block ---- */

/* Computes the scores of queries from..to with the key panels first..end. */
static void score(tile_memory *m, panels keys, int scaled, int from, int to, int first, int end) {
    const int step = scaled ? PART : m->head_dim;
    product p = {.x_row = m->head_dim, .out_row = BLOCK, .panels = keys, .count = end - first};
    p.queries = to - from;
    p.out = m->scores + from * BLOCK + first * PANEL;
    for (int i = 0; i < m->head_dim; i += step) {
        p.x = m->q + (int64_t)from * m->head_dim + i;
        p.panels.at = keys.at + (first * keys.next + i * PANEL) * element_bytes(keys.type);
        p.scales = scaled ? m->scales + i / PART * BLOCK + first * PANEL : NULL;
        p.rows = least(step, m->head_dim - i);
        p.fresh = i == 0;
        multiply(&p);
    }
}

/* Adds the values of keys first..end, times their weights, to the states of queries from..to. */
static void gather(tile_memory *m, const product *whole, int from, int to, int first, int end) {
    product p = *whole;
    p.x += from * BLOCK + first;
    p.out += from * m->state;
    p.panels.at += (int64_t)first * PANEL * element_bytes(p.panels.type);
    p.rows = end - first;
    p.queries = to - from;
    multiply(&p);
}

/* The same for all queries, each with the keys that it sees: ranges whose ends ascend from query to query, or the same
   range for all if `alike`. */
static void gather_all(tile_memory *m, const product *whole, int alike) {
    if (alike) gather(m, whole, 0, m->queries, m->first[0], m->end[0]);
    for (int a = 0; !alike && a < m->queries; a += QUERY_TILE) {
        int next = least(a + QUERY_TILE, m->queries), first = m->first[next - 1], end = m->end[a];
        for (int b = a; b < next; b++)
            gather(m, whole, b, b + 1, m->first[b], first < end ? first : m->end[b]);
        if (first >= end) continue;
        gather(m, whole, a, next, first, end);
        for (int b = a; b < next; b++) gather(m, whole, b, b + 1, end, m->end[b]);
    }
}

/* Adds a block to the states of all queries. */
static void attend_block(const zg_executor *c, const zg_record *r, tile_memory *m, const tile *t, const entries *b,
                         const layout *l) {
    const int last = m->queries - 1, count = b->count;
    const int first = m->first[0] / PANEL, end = ceil_div(m->end[last], PANEL);
    const int alike = m->first[0] == m->first[last] && m->end[0] == m->end[last];

    const panels keys = keys_of(c, r, m, t, b, m->end[last]);
    if (l->key_parts) load_scales(m, b->page + l->key_scales + 2 * b->at, l->key_parts, l->positions, count);
    if (alike) score(m, keys, l->key_parts, 0, m->queries, first, end);
    for (int panel = first, from = 0, to = 0; !alike && panel < end; panel++) {
        while (m->end[from] <= panel * PANEL) from++;
        while (to < m->queries && m->first[to] < (panel + 1) * PANEL) to++;
        score(m, keys, l->key_parts, from, to, panel, panel + 1);
    }
    for (int a = 0; a < m->queries; a++)
        if (m->first[a] < m->end[a])
            soften(r->cap, m->slopes[a], m->distances[a], m->scores + a * BLOCK, m->span + a * m->state,
                   m->first[a], m->end[a], m->dim);

    const panels values = values_of(c, r, m, t, b, l, m->end[last]);
    product p = {m->scores, m->span + STATE, BLOCK, m->state, values, NULL, 0, l->dim / PANEL, 0, 0};
    if (!l->value_parts) {
        gather_all(m, &p, alike);
        return;
    }
    load_scales(m, b->page + l->value_scales + 2 * b->at, l->value_parts, l->positions, count);
    p.x = m->scaled;
    for (int i = 0; i < m->dim; i += PART) {
        const float *scales = m->scales + i / PART * BLOCK;
        for (int a = 0; a < m->queries; a++) {
            const float *weights = m->scores + a * BLOCK;
            float *scaled = m->scaled + a * BLOCK;
            for (int j = 0; j < m->end[a]; j += VF)
                vf_store(scaled + j, vf_mul(vf_load(weights + j), vf_load(scales + j)));
        }
        p.out = m->span + STATE + i;
        p.panels.at = values.at + i / PANEL * values.next * element_bytes(values.type);
        p.count = least(PART, m->dim - i) / PANEL;
        gather_all(m, &p, alike);
    }
}

/* ---- a tile, or a span of one ---- */

/* The first entry that the token at `index` sees. */
static int first_seen(const zg_record *r, int index) {
    if (r->chunk) return index / r->chunk * r->chunk;
    return r->window && index >= r->window ? index - r->window + 1 : 0;
}

/* A row's end, before a window limits it. */
static int end_of(const zg_step *step, int row) { return step->ends ? step->ends[row] : step->index[row] + 1; }

/* The end of the entries that a row sees. */
static int end_seen(const zg_step *step, const zg_record *r, int row) {
    const int end = end_of(step, row);
    return r->window && step->ends ? least(end, step->index[row] + r->window) : end;
}

static tile tile_of(const zg_executor *c, const zg_record *r, int index, int kv_head) {
    tile t = {.tile = index, .row = c->tile_starts[index], .kv_head = kv_head};
    t.group = r->heads / r->kv_heads;
    t.rows = c->tile_starts[index + 1] - t.row;
    t.first = first_seen(r, c->step->index[t.row]);
    t.last = end_seen(c->step, r, t.row + t.rows - 1) - 1;
    return t;
}

static int head_of(const tile *t, int a) { return t->kv_head * t->group + a % t->group; }

/* Index of query a among the heads of all rows. */
static int64_t place(const zg_record *r, const tile *t, int a) {
    return (int64_t)(t->row + a / t->group) * r->heads + head_of(t, a);
}

static void load_queries(const zg_executor *c, const zg_record *r, const tile *t, tile_memory *m) {
    const float scale = r->cap != 0.0f ? r->factor : r->factor * LOG2_E;
    for (int a = 0; a < m->queries; a++) {
        const float *from = (const float *)address(c, r->x) + place(r, t, a) * r->head_dim;
        for (int i = 0; i < r->head_dim; i++) m->q[(int64_t)a * r->head_dim + i] = from[i] * scale;
        m->slopes[a] = r->bias ? r->bias[head_of(t, a)] * LOG2_E : 0.0f;
        m->sees[a] = first_seen(r, c->step->index[t->row + a / t->group]);
        m->until[a] = end_seen(c->step, r, t->row + a / t->group);
    }
}

static void write_result(const zg_executor *c, const zg_record *r, const tile *t, int a, float *state) {
    float *out = (float *)address(c, r->output) + place(r, t, a) * r->value_dim;
    if (r->weight) add_sink(state, ((const float *)r->weight)[head_of(t, a)], padded(r->value_dim));
    const float sum = state[SUM];
    int i = 0;
    for (; i + VF <= r->value_dim; i += VF) vf_store(out + i, vf_div(vf_load(state + STATE + i), vf_set(sum)));
    for (; i < r->value_dim; i++) out[i] = state[STATE + i] / sum;
}

/* Computes all blocks of a span into m->span. Returns 0 if the step is being stopped. */
static int attend_span(zg_executor *c, const zg_record *r, const tile *t, tile_memory *m, int span) {
    const layout l = layout_for(c, r);
    const int page = c->plan->page, sequence = c->step->sequences[t->row];
    const int index = c->step->index[t->row];
    int start = span * c->plan->span, end = start + c->plan->span;
    if (start < t->first / page * page) start = t->first / page * page;
    for (int a = 0; a < m->queries; a++) clear_state(m->span + a * m->state, m->dim);
    for (; start < end && start <= t->last; start += page) {
        const char *p = r->mode ? NULL : cached(c, r, sequence, start, t->kv_head);
        for (int at = 0; at < page && start + at <= t->last; at += BLOCK) {
            if (stopping(c)) return 0;
            int count = least(BLOCK, page - at), seen = 0;
            for (int a = 0; a < m->queries; a++) {
                int first = m->sees[a] - (start + at), end = m->until[a] - (start + at);
                m->distances[a] = start + at - (index + a / t->group);
                m->first[a] = first < 0 ? 0 : first;
                m->end[a] = end < 0 ? 0 : least(end, count);
                seen |= m->first[a] < m->end[a];
            }
            const entries b = {start + at, p, at, count};
            if (seen) attend_block(c, r, m, t, &b, &l);
        }
    }
    return 1;
}

/* Computes all spans of a tile. */
static void attend(zg_executor *c, const zg_record *r, const tile *t, tile_memory *m) {
    for (int a = 0; a < m->queries; a++) clear_state(m->total + a * m->state, m->dim);
    for (int span = t->first / c->plan->span; span <= t->last / c->plan->span; span++) {
        if (!attend_span(c, r, t, m, span)) return;
        for (int a = 0; a < m->queries; a++)
            add_state(m->total + a * m->state, m->span + a * m->state, m->dim);
    }
    for (int a = 0; a < m->queries; a++) write_result(c, r, t, a, m->total + a * m->state);
}

/* ---- steps of few tokens: chunks are spans ---- */

enum { SPLIT_TOKENS = 16 }; /* steps of more tokens have enough chunks without a split by spans */

int64_t zg_partial_bytes(int32_t spans, int32_t heads, int32_t value_dim) {
    return spans > 1 ? SPLIT_TOKENS * (int64_t)spans * heads * state_floats(value_dim) * 4 : 0;
}

/* Memory for the state of query a of a tile after a span. */
static float *partial(const zg_executor *c, const zg_record *r, const tile *t, int a, int span) {
    int64_t slot = (int64_t)(t->row + a / t->group) * c->spans + span;
    return c->partials + (slot * r->heads + head_of(t, a)) * state_floats(r->value_dim);
}

/* Computes a span of a tile. The thread that completes the last span of a tile adds the spans up: the counter orders
   the other threads' writes before its reads. The counter is 0 again afterwards. */
static void attend_part(zg_executor *c, const zg_record *r, const tile *t, tile_memory *m, int span) {
    const int first = t->first / c->plan->span, last = t->last / c->plan->span;
    if (span >= first && span <= last) {
        if (!attend_span(c, r, t, m, span)) return;
        for (int a = 0; a < m->queries; a++)
            memcpy(partial(c, r, t, a, span), m->span + a * m->state, (size_t)m->state * 4);
    }
    atomic_int *done = &c->spans_done[t->tile * r->kv_heads + t->kv_head];
    const int parts = c->part_starts[t->tile + 1] - c->part_starts[t->tile];
    if (atomic_fetch_add_explicit(done, 1, memory_order_acq_rel) < parts - 1) return;
    atomic_store_explicit(done, 0, memory_order_relaxed);
    for (int a = 0; a < m->queries; a++) {
        float *total = m->total + a * m->state;
        clear_state(total, m->dim);
        for (int i = first; i <= last; i++) add_state(total, partial(c, r, t, a, i), m->dim);
        write_result(c, r, t, a, total);
    }
}

/* Splits the step's tiles into spans, if it has few tokens and a tile of several spans. */
static void cut_spans(zg_executor *c, const zg_step *step) {
    c->spans = 0;
    if (step->tokens > SPLIT_TOKENS) return;
    int parts = 0, most = 0;
    for (int tile = 0; tile < c->tiles; tile++) {
        int spans = ceil_div(end_of(step, c->tile_starts[tile + 1] - 1), c->plan->span); /* at least 1 */
        c->part_starts[tile] = parts;
        parts += spans;
        if (spans > most) most = spans;
    }
    c->part_starts[c->tiles] = parts;
    if (most < 2) return;
    c->spans = most;
    for (int i = 0; i < SPLIT_TOKENS * c->kv_heads; i++) /* a stopped step may have left counts */
        atomic_store_explicit(&c->spans_done[i], 0, memory_order_relaxed);
}

static int attention_chunks(const zg_executor *c, const zg_record *r) {
    return (c->spans ? c->part_starts[c->tiles] : c->tiles) * r->kv_heads;
}

/* Without runs of rows, tiles are taken from the last to the first, because later tokens see more keys. */
static void attention_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    tile_memory m;
    int index = chunk / r->kv_heads, span = -1;
    if (!has_runs(c->step->tokens)) index = attention_chunks(c, r) / r->kv_heads - 1 - index;
    if (c->spans) {
        int part = index;
        for (index = 0; c->part_starts[index + 1] <= part; index++) continue;
        span = part - c->part_starts[index];
    }
    const tile t = tile_of(c, r, index, chunk % r->kv_heads);
    lay_out_tile(&m, c->thread_scratch + thread * c->thread_bytes, t.rows * t.group, r->head_dim,
                 r->value_dim);
    load_queries(c, r, &t, &m);
    if (span < 0) attend(c, r, &t, &m);
    else attend_part(c, r, &t, &m, span);
}
