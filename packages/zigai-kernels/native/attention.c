/* The cache and attention over it.

   A page of a layer holds, for each KV head, the keys and the values of its positions in panels of 16
   columns: 16 positions of all elements of the keys, 16 elements of all positions of the values. So scores
   (queries . keys) and results (weights . values) are one kind of matrix product, in which a float of the
   left is multiplied with vectors of a panel, and nothing is summed across a vector. Q8_0 has a float16
   scale for each 32 elements of a key or value, kept apart from them.

   Attention takes a tile of tokens of one sequence and the query heads of one KV head together, so each key
   that is read serves all of them. Softmax is online (Milakov and Gimelshein, 2018, arXiv:1805.02867) in
   blocks of up to 64 keys that end where pages end, and starts anew with each span of pages; the results of
   spans are then added up from the first to the last. That way one token's spans can be computed by several
   threads, and the order of additions for a token depends on its position alone. */

enum { BLOCK = 64, PART = 32, STATE = 16 };
enum { SPLIT_TOKENS = 16 }; /* steps of more tokens give enough work without splitting it by spans */
enum { CONVERT_FROM = 16 }; /* so many queries are worth converting a block's keys and values beforehand */

/* The queries that meet a panel together keep 12 sums in registers, what hides the latency of multiply-adds
   and leaves 4 of 16 registers; fewer queries meet several panels at once. */
enum { SUMS = 12, QUERY_TILE = SUMS / LANES };

static inline int padded(int n) { return (n + PANEL - 1) / PANEL * PANEL; }
static inline int element_bytes(int type) { return type == ZG_F32 ? 4 : type == ZG_F16 ? 2 : 1; }

/* How the keys and values of one KV head lie in a page; offsets are in bytes. */
typedef struct {
    int positions, dim; /* of a page and of a value, whole panels */
    int parts;          /* scales of a vector */
    int64_t key_scales, values, value_scales, bytes;
} layout;

static layout layout_of(int page, int head_dim, int type) {
    layout l = {.positions = padded(page), .dim = padded(head_dim)};
    l.parts = type == ZG_Q8_0 ? ceil_div(head_dim, PART) : 0;
    int64_t scales = (int64_t)l.parts * l.positions * 2;
    l.key_scales = (int64_t)l.positions * head_dim * element_bytes(type);
    l.values = l.key_scales + scales;
    l.value_scales = l.values + (int64_t)l.positions * l.dim * element_bytes(type);
    l.bytes = l.value_scales + scales;
    return l;
}

int64_t zg_cache_bytes(int32_t page, int32_t kv_heads, int32_t head_dim, int32_t type) {
    return align64(kv_heads * layout_of(page, head_dim, type).bytes);
}

static char *cached(const zg_context *c, const zg_record *r, int sequence, int position, int kv_head) {
    int page = c->step->pages[c->step->page_starts[sequence] + position / c->plan->page];
    int64_t page_bytes = zg_cache_bytes(c->plan->page, r->kv_heads, r->head_dim, r->type);
    return c->cache + r->cache * c->pages + page * page_bytes
           + kv_head * layout_of(c->plan->page, r->head_dim, r->type).bytes;
}

/* ---- storing ---- */

/* Up to PART floats as the cache holds them. Returns their scale as float16, where it has one. */
static uint16_t encode(const float *x, int n, char *out, int type) {
    float part[PART];
    if (n < PART) {
        for (int i = 0; i < PART; i++) part[i] = i < n ? x[i] : 0.0f;
        x = part;
    }
    if (type == ZG_F32)
        for (int i = 0; i < PART; i += VF) vf_store((float *)out + i, vf_load(x + i));
    if (type == ZG_F16)
        for (int i = 0; i < PART; i += VF) vf_store_f16(out + 2 * i, vf_load(x + i));
    int16_t sums[2];
    return type == ZG_Q8_0 ? f16_from_f32(quantize_block(x, (int8_t *)out, sums)) : 0;
}

/* n elements, each a row of panels further. */
INLINE void scatter(const char *from, char *to, int n, int bytes) {
    for (int i = 0; i < n; i++) memcpy(to + (int64_t)i * PANEL * bytes, from + i * bytes, (size_t)bytes);
}

static void store_scale(char *scales, const layout *l, int element, int slot, uint16_t scale) {
    memcpy(scales + 2 * ((int64_t)element / PART * l->positions + slot), &scale, 2);
}

static void store_key(const float *x, char *page, const layout *l, int slot, int head_dim, int type) {
    char part[4 * PART];
    const int bytes = element_bytes(type);
    char *to = page + ((int64_t)slot / PANEL * head_dim * PANEL + slot % PANEL) * bytes;
    for (int i = 0; i < head_dim; i += PART, to += PART * PANEL * bytes) {
        int n = least(PART, head_dim - i);
        uint16_t scale = encode(x + i, n, part, type);
        if (bytes == 1) scatter(part, to, n, 1);
        else if (bytes == 2) scatter(part, to, n, 2);
        else scatter(part, to, n, 4);
        if (l->parts) store_scale(page + l->key_scales, l, i, slot, scale);
    }
}

static void store_value(const float *x, char *page, const layout *l, int slot, int head_dim, int type) {
    char part[4 * PART];
    const int bytes = element_bytes(type);
    for (int i = 0; i < head_dim; i += PART) {
        uint16_t scale = encode(x + i, least(PART, head_dim - i), part, type);
        for (int at = 0; at < PART && i + at < l->dim; at += PANEL) {
            int64_t row = (int64_t)(i + at) / PANEL * l->positions + slot;
            memcpy(page + l->values + row * PANEL * bytes, part + at * bytes, (size_t)PANEL * bytes);
        }
        if (l->parts) store_scale(page + l->value_scales, l, i, slot, scale);
    }
}

static void store_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const layout l = layout_of(c->plan->page, r->head_dim, r->type);
    const int position = c->step->positions[chunk], slot = position % c->plan->page;
    for (int kv_head = 0; kv_head < r->kv_heads; kv_head++) {
        int64_t at = (int64_t)chunk * r->width + kv_head * r->head_dim;
        char *page = cached(c, r, c->step->sequences[chunk], position, kv_head);
        store_key((const float *)address(c, r->x) + at, page, &l, slot, r->head_dim, r->type);
        store_value((const float *)address(c, r->y) + at, page, &l, slot, r->head_dim, r->type);
    }
}

/* ---- products with panels ---- */

typedef struct {
    const char *at;
    int64_t next; /* elements from one panel to the next */
    int type;
} panels;

/* out[a][column] = sum over i of x[a][i] * row i of the panels, from 0 where it is fresh, else from what is
   there. With scales that sum is multiplied with the column's before it is added. */
typedef struct {
    const float *x;
    float *out;
    int64_t x_row, out_row; /* floats from one query to the next */
    panels panels;
    const float *scales;
    int rows, count, queries; /* count: of panels */
    int fresh;
} product;

INLINE vf load_element(const char *p, int64_t i, int type) {
    if (type == ZG_Q8_0) return vf_load_i8(p + i);
    return type == ZG_F16 ? vf_load_f16(p + 2 * i) : vf_load((const float *)p + i);
}

INLINE void product_tile(const product *p, int query, int panel, int nq, int np, int type, int scaled) {
    vf sum[SUMS];
    const int n = np * LANES;
    const int64_t x_row = p->x_row, out_row = p->out_row, next = p->panels.next;
    const char *k = p->panels.at + panel * next * element_bytes(type);
    const float *x = p->x + query * x_row;
    float *out = p->out + query * out_row + panel * PANEL;
    for (int a = 0; a < nq; a++)
        for (int v = 0; v < n; v++)
            sum[a * n + v] = p->fresh || scaled ? vf_zero() : vf_load(out + a * out_row + v * VF);
    for (int i = 0; i < p->rows; i++, k += PANEL * element_bytes(type)) {
        vf y[SUMS];
        _Pragma("GCC unroll 12") for (int v = 0; v < n; v++)
            y[v] = load_element(k, v / LANES * next + v % LANES * VF, type);
        _Pragma("GCC unroll 12") for (int a = 0; a < nq; a++) {
            vf w = vf_set(x[a * x_row + i]);
            _Pragma("GCC unroll 12") for (int v = 0; v < n; v++)
                sum[a * n + v] = vf_fma(w, y[v], sum[a * n + v]);
        }
    }
    for (int a = 0; a < nq; a++)
        for (int v = 0; v < n; v++) {
            float *to = out + a * out_row + v * VF;
            vf y = sum[a * n + v], before = scaled && !p->fresh ? vf_load(to) : vf_zero();
            vf_store(to, scaled ? vf_fma(y, vf_load(p->scales + panel * PANEL + v * VF), before) : y);
        }
}

/* nq queries with all panels, as many at a time as there are sums. */
INLINE void product_few(const product *p, int query, int nq, int type, int scaled) {
    const int sums = SUMS / LANES / nq, np = sums >= 4 ? 4 : sums >= 2 ? 2 : 1;
    int panel = 0;
    for (; panel + np <= p->count; panel += np) product_tile(p, query, panel, nq, np, type, scaled);
    for (; panel < p->count; panel++) product_tile(p, query, panel, nq, 1, type, scaled);
}

INLINE void product_all(const product *p, int type, int scaled) {
    int a = p->queries / QUERY_TILE * QUERY_TILE;
    for (int panel = 0; panel < p->count; panel++)
        for (int query = 0; query < a; query += QUERY_TILE)
            product_tile(p, query, panel, QUERY_TILE, 1, type, scaled);
    for (; QUERY_TILE > 4 && p->queries - a >= 4; a += 4) product_few(p, a, 4, type, scaled);
    for (; QUERY_TILE > 3 && p->queries - a >= 3; a += 3) product_few(p, a, 3, type, scaled);
    if (p->queries - a == 2) product_few(p, a, 2, type, scaled);
    if (p->queries - a == 1) product_few(p, a, 1, type, scaled);
}

static void product_f32(const product *p) { product_all(p, ZG_F32, 0); }
static void product_f16(const product *p) { product_all(p, ZG_F16, 0); }
static void product_i8(const product *p) { product_all(p, ZG_Q8_0, 0); }
static void product_f32_scaled(const product *p) { product_all(p, ZG_F32, 1); }
static void product_i8_scaled(const product *p) { product_all(p, ZG_Q8_0, 1); }

static void multiply(const product *p) {
    if (p->queries <= 0 || p->rows <= 0) return;
    if (p->panels.type == ZG_F16) product_f16(p);
    else if (p->panels.type == ZG_F32) (p->scales ? product_f32_scaled : product_f32)(p);
    else (p->scales ? product_i8_scaled : product_i8)(p);
}

/* The panels as floats, at `to`: what is multiplied with many queries is converted once. */
static panels as_floats(panels from, int rows, int count, float *to) {
    const int n = rows * PANEL;
    for (int panel = 0; panel < count; panel++) {
        const char *p = from.at + panel * from.next * element_bytes(from.type);
        float *out = to + (int64_t)panel * n;
        if (from.type == ZG_F16)
            for (int i = 0; i < n; i += VF) vf_store(out + i, vf_load_f16(p + 2 * i));
        else
            for (int i = 0; i < n; i += VF) vf_store(out + i, vf_load_i8(p + i));
    }
    return (panels){(const char *)to, n, ZG_F32};
}

/* ---- softmax, of scores that are logarithms to base 2 ---- */

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
enum { MOST, SUM };

static inline int64_t state_floats(int head_dim) { return STATE + padded(head_dim); }

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

/* The scores s of a block become weights; keys outside first..end get weight 0. */
static void soften(float cap, float *s, float *state, int first, int end, int dim) {
    const int bound = (end + VF - 1) / VF * VF;
    if (cap != 0.0f)
        for (int j = 0; j < bound; j += VF)
            vf_store(s + j, vf_mul(vf_tanh(vf_div(vf_load(s + j), vf_set(cap))), vf_set(cap * LOG2_E)));
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

/* ---- a block of keys ---- */

/* What a thread holds while it works on a tile of queries, those of a token side by side. */
typedef struct {
    float *q;               /* times the scale, and log2 e where no soft cap comes between */
    float *span, *total;    /* states */
    float *scores, *scaled; /* BLOCK for each query; scaled: times the scales of the values */
    float *panels;          /* a block's keys or values as floats */
    float *scales;          /* of a block's keys or values, BLOCK for each part */
    int *first, *end;       /* the keys of the block that a query sees */
    int queries, head_dim, dim;
    int64_t state;
} tile_memory;

/* The next n numbers of 4 bytes; without memory they are only counted. */
static void *carve(char *memory, int64_t *used, int64_t n) {
    void *p = memory ? memory + *used : NULL;
    *used += align64(n * 4);
    return p;
}

static int64_t lay_out_tile(tile_memory *m, char *memory, int64_t queries, int head_dim) {
    const int64_t dim = padded(head_dim), state = state_floats(head_dim);
    int64_t used = 0;
    *m = (tile_memory){.queries = (int)queries, .head_dim = head_dim, .dim = (int)dim, .state = state};
    m->q = carve(memory, &used, queries * head_dim);
    m->span = carve(memory, &used, queries * state);
    m->total = carve(memory, &used, queries * state);
    m->scores = carve(memory, &used, queries * BLOCK);
    m->scaled = carve(memory, &used, queries * BLOCK);
    m->panels = carve(memory, &used, dim * BLOCK);
    m->scales = carve(memory, &used, (int64_t)ceil_div(head_dim, PART) * BLOCK);
    m->first = carve(memory, &used, queries);
    m->end = carve(memory, &used, queries);
    return used;
}

int64_t zg_attention_bytes(int32_t tile, int32_t group, int32_t head_dim) {
    tile_memory m;
    return lay_out_tile(&m, NULL, (int64_t)tile * group, head_dim);
}

static void load_scales(tile_memory *m, const char *p, const layout *l, int count) {
    for (int part = 0; part < l->parts; part++)
        for (int j = 0; j < count; j += VF)
            vf_store(m->scales + part * BLOCK + j, vf_load_f16(p + 2 * ((int64_t)part * l->positions + j)));
}

/* Scores of the queries from..to with the panels of keys first..end. */
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

/* Adds the values of the keys first..end, times their weights, to the queries from..to. */
static void gather(tile_memory *m, const product *whole, int from, int to, int first, int end) {
    product p = *whole;
    p.x += from * BLOCK + first;
    p.out += from * m->state;
    p.panels.at += (int64_t)first * PANEL * element_bytes(p.panels.type);
    p.rows = end - first;
    p.queries = to - from;
    multiply(&p);
}

/* The same for all queries and what each sees; both ends of that go up from query to query. */
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

/* The block of `count` keys from slot `at` on. */
static void attend_block(const zg_record *r, tile_memory *m, const char *page, const layout *l, int at,
                         int count) {
    const int bytes = element_bytes(r->type), last = m->queries - 1;
    const int convert = r->type != ZG_F32 && m->queries >= CONVERT_FROM;
    const int first = m->first[0] / PANEL, end = ceil_div(m->end[last], PANEL);
    const int alike = m->first[0] == m->first[last] && m->end[0] == m->end[last];

    panels keys = {page + (int64_t)at * m->head_dim * bytes, (int64_t)m->head_dim * PANEL, r->type};
    if (convert) keys = as_floats(keys, m->head_dim, end, m->panels);
    load_scales(m, page + l->key_scales + 2 * at, l, count);
    if (alike) score(m, keys, l->parts, 0, m->queries, first, end);
    for (int panel = first, from = 0, to = 0; !alike && panel < end; panel++) {
        while (m->end[from] <= panel * PANEL) from++;
        while (to < m->queries && m->first[to] < (panel + 1) * PANEL) to++;
        score(m, keys, l->parts, from, to, panel, panel + 1);
    }
    for (int a = 0; a < m->queries; a++)
        if (m->first[a] < m->end[a])
            soften(r->cap, m->scores + a * BLOCK, m->span + a * m->state, m->first[a], m->end[a], m->dim);

    panels values = {page + l->values + (int64_t)at * PANEL * bytes, (int64_t)l->positions * PANEL, r->type};
    if (convert) values = as_floats(values, m->end[last], l->dim / PANEL, m->panels);
    product p = {m->scores, m->span + STATE, BLOCK, m->state, values, NULL, 0, l->dim / PANEL, 0, 0};
    if (!l->parts) {
        gather_all(m, &p, alike);
        return;
    }
    load_scales(m, page + l->value_scales + 2 * at, l, count);
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

typedef struct {
    int tile, row, rows; /* of the step */
    int kv_head, group;
    int first, last;     /* positions that any of its tokens sees */
} tile;

static tile tile_of(const zg_context *c, const zg_record *r, int index, int kv_head) {
    tile t = {.tile = index, .row = c->tile_starts[index], .kv_head = kv_head};
    t.group = r->heads / r->kv_heads;
    t.rows = c->tile_starts[index + 1] - t.row;
    t.first = r->window ? c->step->positions[t.row] - r->window + 1 : 0;
    if (t.first < 0) t.first = 0;
    t.last = c->step->positions[t.row + t.rows - 1];
    return t;
}

/* Query a's place in a row of queries or results. */
static int64_t place(const zg_record *r, const tile *t, int a) {
    return (int64_t)(t->row + a / t->group) * r->width + (t->kv_head * t->group + a % t->group) * r->head_dim;
}

static void load_queries(const zg_context *c, const zg_record *r, const tile *t, tile_memory *m) {
    const float scale = r->cap != 0.0f ? r->factor : r->factor * LOG2_E;
    for (int a = 0; a < m->queries; a++) {
        const float *from = (const float *)address(c, r->x) + place(r, t, a);
        for (int i = 0; i < r->head_dim; i++) m->q[(int64_t)a * r->head_dim + i] = from[i] * scale;
    }
}

static void write_result(const zg_context *c, const zg_record *r, const tile *t, int a, const float *state) {
    float *out = (float *)address(c, r->output) + place(r, t, a);
    for (int i = 0; i < r->head_dim; i++) out[i] = state[STATE + i] / state[SUM];
}

/* All blocks of a span, into m->span. False where the step is being stopped. */
static int attend_span(zg_context *c, const zg_record *r, const tile *t, tile_memory *m, int span) {
    const layout l = layout_of(c->plan->page, r->head_dim, r->type);
    const int page = c->plan->page, sequence = c->step->sequences[t->row];
    const int position = c->step->positions[t->row];
    int start = span * c->plan->span, end = start + c->plan->span;
    if (start < t->first / page * page) start = t->first / page * page;
    for (int a = 0; a < m->queries; a++) clear_state(m->span + a * m->state, m->dim);
    for (; start < end && start <= t->last; start += page) {
        const char *p = cached(c, r, sequence, start, t->kv_head);
        for (int at = 0; at < page && start + at <= t->last; at += BLOCK) {
            if (stopping(c)) return 0;
            int count = least(BLOCK, page - at), seen = 0;
            for (int a = 0; a < m->queries; a++) {
                int own = position + a / t->group - (start + at);
                int first = r->window ? own - r->window + 1 : 0;
                m->first[a] = first < 0 ? 0 : first;
                m->end[a] = own < 0 ? 0 : least(own + 1, count);
                seen |= m->first[a] < m->end[a];
            }
            if (seen) attend_block(r, m, p, &l, at, count);
        }
    }
    return 1;
}

/* A tile as a whole. */
static void attend(zg_context *c, const zg_record *r, const tile *t, tile_memory *m) {
    for (int a = 0; a < m->queries; a++) clear_state(m->total + a * m->state, m->dim);
    for (int span = t->first / c->plan->span; span <= t->last / c->plan->span; span++) {
        if (!attend_span(c, r, t, m, span)) return;
        for (int a = 0; a < m->queries; a++)
            add_state(m->total + a * m->state, m->span + a * m->state, m->dim);
    }
    for (int a = 0; a < m->queries; a++) write_result(c, r, t, a, m->total + a * m->state);
}

/* ---- steps of few tokens: chunks are spans ---- */

int64_t zg_partial_bytes(int32_t spans, int32_t heads, int32_t head_dim) {
    return spans > 1 ? SPLIT_TOKENS * (int64_t)spans * heads * state_floats(head_dim) * 4 : 0;
}

/* Where query a of a tile keeps what it gathered in a span. */
static float *partial(const zg_context *c, const zg_record *r, const tile *t, int a, int span) {
    int64_t slot = (int64_t)(t->row + a / t->group) * c->spans + span;
    return c->partials + (slot * r->heads + t->kv_head * t->group + a % t->group) * state_floats(r->head_dim);
}

/* Whoever is the last to be done with a span of a tile adds them up: the counter, which is 0 again after
   that, orders what the others wrote before what it reads. */
static void attend_part(zg_context *c, const zg_record *r, const tile *t, tile_memory *m, int span) {
    const int first = t->first / c->plan->span, last = t->last / c->plan->span;
    if (span >= first) {
        if (!attend_span(c, r, t, m, span)) return;
        for (int a = 0; a < m->queries; a++)
            memcpy(partial(c, r, t, a, span), m->span + a * m->state, (size_t)m->state * 4);
    }
    atomic_int *done = &c->spans_done[t->tile * r->kv_heads + t->kv_head];
    if (atomic_fetch_add_explicit(done, 1, memory_order_acq_rel) < last) return;
    atomic_store_explicit(done, 0, memory_order_relaxed);
    for (int a = 0; a < m->queries; a++) {
        float *total = m->total + a * m->state;
        clear_state(total, m->dim);
        for (int i = first; i <= last; i++) add_state(total, partial(c, r, t, a, i), m->dim);
        write_result(c, r, t, a, total);
    }
}

/* Lays out the spans of the step's tiles, if it is to be split. */
static void cut_spans(zg_context *c, const zg_step *step) {
    c->spans = 0;
    if (step->tokens > SPLIT_TOKENS) return;
    int parts = 0, most = 0;
    for (int tile = 0; tile < c->tiles; tile++) {
        int spans = step->positions[c->tile_starts[tile + 1] - 1] / c->plan->span + 1;
        c->part_starts[tile] = parts;
        parts += spans;
        if (spans > most) most = spans;
    }
    c->part_starts[c->tiles] = parts;
    if (most < 2) return;
    c->spans = most;
    for (int i = 0; i < SPLIT_TOKENS * c->kv_heads; i++) /* a step that was stopped may have left some */
        atomic_store_explicit(&c->spans_done[i], 0, memory_order_relaxed);
}

static int attention_chunks(const zg_context *c, const zg_record *r) {
    return (c->spans ? c->part_starts[c->tiles] : c->tiles) * r->kv_heads;
}

/* Tiles are taken from the last on, since later tokens see more keys. */
static void attention_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    tile_memory m;
    int index = attention_chunks(c, r) / r->kv_heads - 1 - chunk / r->kv_heads, span = -1;
    if (c->spans) {
        int part = index;
        for (index = 0; c->part_starts[index + 1] <= part; index++) continue;
        span = part - c->part_starts[index];
    }
    const tile t = tile_of(c, r, index, chunk % r->kv_heads);
    lay_out_tile(&m, c->thread_scratch + thread * c->thread_bytes, t.rows * t.group, r->head_dim);
    load_queries(c, r, &t, &m);
    if (span < 0) attend(c, r, &t, &m);
    else attend_part(c, r, &t, &m, span);
}
