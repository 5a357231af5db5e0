/* The cache and attention over it.

   A page of a layer is, for each KV head, its `page` keys, then its `page` values; a key or value is
   head_dim elements padded with zeros to a multiple of 16. Attention takes a tile of tokens of one
   sequence and the query heads of one KV head together, so each key that is read serves all of them.
   Softmax is online (Milakov and Gimelshein, 2018, arXiv:1805.02867), in blocks of up to 64 keys that end
   where pages end: the order of additions for a token depends on its position alone. */

enum { BLOCK = 64, QUERY_TILE = 4, PAD = 16 };

static inline int padded(int head_dim) { return (head_dim + PAD - 1) / PAD * PAD; }
static inline int element_bytes(int type) { return type == ZG_F32 ? 4 : 2; }

int64_t zg_cache_bytes(int32_t page, int32_t kv_heads, int32_t head_dim, int32_t type) {
    return align64((int64_t)page * kv_heads * 2 * padded(head_dim) * element_bytes(type));
}

/* Bytes of a head's keys (or values) in a page. */
static inline int64_t half_bytes(const zg_context *c, const zg_record *r) {
    return (int64_t)c->plan->page * padded(r->head_dim) * element_bytes(r->type);
}

static char *cached(const zg_context *c, const zg_record *r, int sequence, int position, int kv_head) {
    int page = c->step->pages[c->step->page_starts[sequence] + position / c->plan->page];
    int64_t page_bytes = zg_cache_bytes(c->plan->page, r->kv_heads, r->head_dim, r->type);
    return c->cache + r->cache * c->pages + page * page_bytes + kv_head * 2 * half_bytes(c, r);
}

static void store_vector(const float *x, int n, char *out, int type) {
    if (type == ZG_F32) {
        memcpy(out, x, (size_t)n * 4);
        return;
    }
    int i = 0;
    for (; i + VF <= n; i += VF) vf_store_f16(out + 2 * i, vf_load(x + i));
    for (; i < n; i++) {
        uint16_t half = f16_from_f32(x[i]);
        memcpy(out + 2 * i, &half, 2);
    }
}

static void store_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    int position = c->step->positions[chunk], slot = position % c->plan->page;
    int64_t at = (int64_t)slot * padded(r->head_dim) * element_bytes(r->type), row = (int64_t)chunk * r->width;
    const float *keys = (const float *)address(c, r->x) + row, *values = (const float *)address(c, r->y) + row;
    for (int h = 0; h < r->kv_heads; h++) {
        char *page = cached(c, r, c->step->sequences[chunk], position, h);
        store_vector(keys + h * r->head_dim, r->head_dim, page + at, r->type);
        store_vector(values + h * r->head_dim, r->head_dim, page + half_bytes(c, r) + at, r->type);
    }
}

/* ---- attention ---- */

/* What a thread holds while it works on a tile: per query, padded q and the running maximum, sum and
   weighted values, and the scores of one block. */
typedef struct {
    float *q, *out, *scores, *most, *sum;
    int *first, *end; /* the keys of the block that a query sees */
} tile_memory;

int64_t zg_attention_bytes(int32_t tile, int32_t group, int32_t head_dim) {
    int64_t queries = (int64_t)tile * group;
    return 4 * align64(queries * 4) + 2 * align64(queries * padded(head_dim) * 4) + align64(queries * BLOCK * 4);
}

static tile_memory tile_memory_at(char *p, int queries, int dim) {
    tile_memory m;
    int64_t numbers = align64((int64_t)queries * 4), vectors = align64((int64_t)queries * dim * 4);
    m.q = (float *)p, p += vectors;
    m.out = (float *)p, p += vectors;
    m.most = (float *)p, p += numbers;
    m.sum = (float *)p, p += numbers;
    m.first = (int *)p, p += numbers;
    m.end = (int *)p, p += numbers;
    m.scores = (float *)p;
    return m;
}

INLINE vf load_cached(const char *p, int i, int half) {
    return half ? vf_load_f16(p + 2 * (int64_t)i) : vf_load((const float *)p + i);
}

/* Scores of nq queries (at q, dim apart) with nk keys. */
INLINE void dot_keys(const float *q, const char *keys, int dim, float *scores, int nq, int nk, int half) {
    vf sum[QUERY_TILE][2];
    const int64_t key_bytes = (int64_t)dim * (half ? 2 : 4);
    for (int a = 0; a < nq; a++)
        for (int b = 0; b < nk; b++) sum[a][b] = vf_zero();
    for (int i = 0; i < dim; i += VF) {
        vf k[2];
        for (int b = 0; b < nk; b++) k[b] = load_cached(keys + b * key_bytes, i, half);
        _Pragma("GCC unroll 4") for (int a = 0; a < nq; a++) {
            vf x = vf_load(q + (int64_t)a * dim + i);
            for (int b = 0; b < nk; b++) sum[a][b] = vf_fma(x, k[b], sum[a][b]);
        }
    }
    for (int a = 0; a < nq; a++)
        for (int b = 0; b < nk; b++) scores[a * BLOCK + b] = vf_sum(sum[a][b]);
}

/* out += sum of p[j] * value j, for nq queries and the keys first..end. */
INLINE void add_values(const float *p, const char *values, int dim, float *out, int first, int end, int nq, int half) {
    const int64_t value_bytes = (int64_t)dim * (half ? 2 : 4);
    int i = 0;
    for (; i + 2 * VF <= dim; i += 2 * VF) {
        vf sum[QUERY_TILE][2];
        for (int a = 0; a < nq; a++)
            sum[a][0] = vf_load(out + (int64_t)a * dim + i), sum[a][1] = vf_load(out + (int64_t)a * dim + i + VF);
        for (int j = first; j < end; j++) {
            vf v0 = load_cached(values + j * value_bytes, i, half);
            vf v1 = load_cached(values + j * value_bytes, i + VF, half);
            _Pragma("GCC unroll 4") for (int a = 0; a < nq; a++) {
                vf weight = vf_set(p[a * BLOCK + j]);
                sum[a][0] = vf_fma(weight, v0, sum[a][0]);
                sum[a][1] = vf_fma(weight, v1, sum[a][1]);
            }
        }
        for (int a = 0; a < nq; a++)
            vf_store(out + (int64_t)a * dim + i, sum[a][0]), vf_store(out + (int64_t)a * dim + i + VF, sum[a][1]);
    }
    for (; i < dim; i += VF) {
        vf sum[QUERY_TILE];
        for (int a = 0; a < nq; a++) sum[a] = vf_load(out + (int64_t)a * dim + i);
        for (int j = first; j < end; j++) {
            vf v = load_cached(values + j * value_bytes, i, half);
            for (int a = 0; a < nq; a++) sum[a] = vf_fma(vf_set(p[a * BLOCK + j]), v, sum[a]);
        }
        for (int a = 0; a < nq; a++) vf_store(out + (int64_t)a * dim + i, sum[a]);
    }
}

/* Scores become the weights of an online softmax; keys outside first..end get weight 0. */
static void soften(const zg_record *r, tile_memory *m, int query, int dim) {
    float *s = m->scores + query * BLOCK;
    int first = m->first[query], end = least(m->end[query], BLOCK);
    vf most = vf_set(-INFINITY), scale = vf_set(r->factor), cap = vf_set(r->cap);
    for (int j = 0; j < BLOCK; j += VF) {
        vf v = vf_mul(vf_load(s + j), scale);
        if (r->cap != 0.0f) v = vf_mul(vf_tanh(vf_div(v, cap)), cap);
        vf_store(s + j, v);
    }
    for (int j = 0; j < first; j++) s[j] = -INFINITY;
    for (int j = end; j < BLOCK; j++) s[j] = -INFINITY;
    for (int j = 0; j < BLOCK; j += VF) most = vf_max(most, vf_load(s + j));
    float before = m->most[query], now = vf_peak(most), part[VF];
    if (now < before) now = before;
    vf total = vf_zero(), shift = vf_set(now);
    for (int j = 0; j < BLOCK; j += VF) {
        vf v = vf_exp(vf_sub(vf_load(s + j), shift));
        vf_store(s + j, v);
        total = vf_add(total, v);
    }
    vf_store(part, vf_exp(vf_set(before - now)));
    if (before == -INFINITY) part[0] = 0.0f; /* the first block: nothing to carry over */
    m->sum[query] = m->sum[query] * part[0] + vf_sum(total);
    m->most[query] = now;
    if (part[0] != 1.0f) {
        float *out = m->out + (int64_t)query * dim;
        vf fade = vf_set(part[0]);
        for (int i = 0; i < dim; i += VF) vf_store(out + i, vf_mul(vf_load(out + i), fade));
    }
}

INLINE void attend_block(const zg_record *r, tile_memory *m, const char *keys, const char *values, int count,
                         int queries, int dim, int half) {
    const int64_t key_bytes = (int64_t)dim * (half ? 2 : 4);
    int first = BLOCK, end = 0; /* what any query sees */
    for (int a = 0; a < queries; a++) {
        if (m->first[a] >= m->end[a]) continue;
        first = least(first, m->first[a]);
        if (m->end[a] > end) end = m->end[a];
    }
    if (end > count) end = count;
    int a = 0;
    for (; a < queries; a += a + QUERY_TILE <= queries ? QUERY_TILE : 1) {
        const float *q = m->q + (int64_t)a * dim;
        float *s = m->scores + a * BLOCK;
        int j = first;
        if (a + QUERY_TILE <= queries) {
            for (; j + 2 <= end; j += 2) dot_keys(q, keys + j * key_bytes, dim, s + j, QUERY_TILE, 2, half);
            if (j < end) dot_keys(q, keys + j * key_bytes, dim, s + j, QUERY_TILE, 1, half);
        } else {
            for (; j + 2 <= end; j += 2) dot_keys(q, keys + j * key_bytes, dim, s + j, 1, 2, half);
            if (j < end) dot_keys(q, keys + j * key_bytes, dim, s + j, 1, 1, half);
        }
    }
    for (a = 0; a < queries; a++)
        if (m->first[a] < m->end[a]) soften(r, m, a, dim);
    for (a = 0; a < queries;) {
        const float *p = m->scores + a * BLOCK;
        float *out = m->out + (int64_t)a * dim;
        int alike = a + QUERY_TILE <= queries;
        for (int b = 1; alike && b < QUERY_TILE; b++)
            alike = m->first[a + b] == m->first[a] && m->end[a + b] == m->end[a];
        if (alike) {
            add_values(p, values, dim, out, m->first[a], m->end[a], QUERY_TILE, half);
            a += QUERY_TILE;
        } else {
            add_values(p, values, dim, out, m->first[a], m->end[a], 1, half);
            a++;
        }
    }
}

static int attention_chunks(const zg_context *c, const zg_record *r) { return c->tiles * r->kv_heads; }

static void attention_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    const zg_step *step = c->step;
    const int page = c->plan->page, dim = padded(r->head_dim), group = r->heads / r->kv_heads;
    const int half = r->type == ZG_F16, kv_head = chunk % r->kv_heads;
    const int row = c->tile_starts[chunk / r->kv_heads], rows = c->tile_starts[chunk / r->kv_heads + 1] - row;
    const int queries = rows * group, last = step->positions[row + rows - 1], sequence = step->sequences[row];
    tile_memory m = tile_memory_at(c->thread_scratch + thread * c->thread_bytes, queries, dim);

    for (int a = 0; a < queries; a++) {
        const float *q = (const float *)address(c, r->x)
                         + (int64_t)(row + a / group) * r->width + (kv_head * group + a % group) * r->head_dim;
        memcpy(m.q + (int64_t)a * dim, q, (size_t)r->head_dim * 4);
        for (int i = r->head_dim; i < dim; i++) m.q[(int64_t)a * dim + i] = 0.0f;
        for (int i = 0; i < dim; i++) m.out[(int64_t)a * dim + i] = 0.0f;
        m.most[a] = -INFINITY;
        m.sum[a] = 0.0f;
    }
    int from = r->window ? step->positions[row] - r->window + 1 : 0;
    if (from < 0) from = 0;
    for (int start = from / page * page; start <= last; start += page) {
        const char *keys = cached(c, r, sequence, start, kv_head), *values = keys + half_bytes(c, r);
        for (int at = 0; at < page && start + at <= last; at += BLOCK) {
            if (stopping(c)) return;
            int count = least(BLOCK, page - at), seen = 0;
            for (int a = 0; a < queries; a++) {
                int position = step->positions[row + a / group] - (start + at);
                int first = r->window ? position - r->window + 1 : 0;
                m.first[a] = first < 0 ? 0 : first;
                m.end[a] = least(position + 1, count);
                seen |= m.first[a] < m.end[a];
            }
            if (!seen) continue;
            const char *k = keys + (int64_t)at * dim * element_bytes(r->type);
            const char *v = values + (int64_t)at * dim * element_bytes(r->type);
            if (half) attend_block(r, &m, k, v, count, queries, dim, 1);
            else attend_block(r, &m, k, v, count, queries, dim, 0);
        }
    }
    for (int a = 0; a < queries; a++) {
        float *out = (float *)address(c, r->output)
                     + (int64_t)(row + a / group) * r->width + (kv_head * group + a % group) * r->head_dim;
        for (int i = 0; i < r->head_dim; i++) out[i] = m.out[(int64_t)a * dim + i] / m.sum[a];
    }
}
