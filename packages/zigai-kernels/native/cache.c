/* The KV cache: its layout, and storing keys and values in it.

   A page of a layer holds, for each KV head, the keys and the values of its positions in panels of 16 columns. A panel
   of keys has 16 positions as columns and the elements as rows; a panel of values has 16 elements as columns and the
   positions as rows. So scores (queries . keys) and results (weights . values) are the same kind of matrix product: a
   float of the left operand times vectors of a panel, without a sum across a vector. Q8_0 has a float16 scale for each
   32 elements of a key or value; scales of keys follow the keys, scales of values the values. */

enum { PART = 32 };

static inline int padded(int n) { return (n + PANEL - 1) / PANEL * PANEL; }
static inline int element_bytes(int type) { return type == ZG_F32 ? 4 : type == ZG_F16 ? 2 : 1; }

/* Layout of one KV head's keys and values in a page; offsets are in bytes. */
typedef struct {
    int positions, dim;         /* positions of a page and elements of a value, padded to whole panels */
    int key_parts, value_parts; /* number of scales of a key and of a value */
    int64_t key_scales, values, value_scales, bytes;
} layout;

static layout layout_of(int page, int head_dim, int value_dim, int type) {
    layout l = {.positions = padded(page), .dim = padded(value_dim)};
    l.key_parts = type == ZG_Q8_0 ? ceil_div(head_dim, PART) : 0;
    l.value_parts = type == ZG_Q8_0 ? ceil_div(value_dim, PART) : 0;
    l.key_scales = (int64_t)l.positions * head_dim * element_bytes(type);
    l.values = l.key_scales + (int64_t)l.key_parts * l.positions * 2;
    l.value_scales = l.values + (int64_t)l.positions * l.dim * element_bytes(type);
    l.bytes = l.value_scales + (int64_t)l.value_parts * l.positions * 2;
    return l;
}

static layout layout_for(const zg_executor *c, const zg_record *r) {
    return layout_of(c->plan->page, r->head_dim, r->value_dim, r->type);
}

int64_t zg_cache_bytes(int32_t page, int32_t kv_heads, int32_t head_dim, int32_t value_dim, int32_t type) {
    return align64(kv_heads * layout_of(page, head_dim, value_dim, type).bytes);
}

/* The keys and values of a KV head in the page that has entry `index` of a sequence. The pages of a state are next to
   each other. */
static char *cached(const zg_executor *c, const zg_record *r, int sequence, int index, int kv_head) {
    const zg_tables *t = &c->step->tables[r->group];
    int page = t->pages[t->starts[sequence] + index / c->plan->page];
    int64_t head_bytes = layout_for(c, r).bytes;
    return c->caches[r->group] + r->cache * c->pages[r->group] + page * align64(r->kv_heads * head_bytes)
           + kv_head * head_bytes;
}

/* Converts n <= PART floats, padded with zeros to PART, to the cache's type. Returns their scale as float16 for Q8_0,
   else 0. */
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
    int16_t pairs[4];
    return type == ZG_Q8_0 ? f16_from_f32(quantize_block(x, (int8_t *)out, pairs)) : 0;
}

/* Copies n elements into one column of a panel, a row each. */
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
        if (l->key_parts) store_scale(page + l->key_scales, l, i, slot, scale);
    }
}

/* Stores the first value_dim of n elements; the scale of the last ones is that of their 32 of the n. */
static void store_value(const float *x, int n, char *page, const layout *l, int slot, int value_dim, int type) {
    char part[4 * PART];
    const int bytes = element_bytes(type);
    for (int i = 0; i < value_dim; i += PART) {
        uint16_t scale = encode(x + i, least(PART, n - i), part, type);
        for (int at = 0; at < PART && i + at < l->dim; at += PANEL) {
            int64_t row = (int64_t)(i + at) / PANEL * l->positions + slot;
            memcpy(page + l->values + row * PANEL * bytes, part + at * bytes, (size_t)PANEL * bytes);
        }
        if (l->value_parts) store_scale(page + l->value_scales, l, i, slot, scale);
    }
}

static void store_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const layout l = layout_for(c, r);
    const int index = c->step->index[chunk], slot = index % c->plan->page;
    const int n = r->mode ? r->head_dim : r->value_dim; /* with values in keys, a value begins a key */
    const float *keys = address(c, r->x), *values = address(c, r->mode ? r->x : r->y);
    for (int kv_head = 0; kv_head < r->kv_heads; kv_head++) {
        const int64_t head = (int64_t)chunk * r->kv_heads + kv_head;
        char *page = cached(c, r, c->step->sequences[chunk], index, kv_head);
        store_key(keys + head * r->head_dim, page, &l, slot, r->head_dim, r->type);
        store_value(values + head * n, n, page, &l, slot, r->value_dim, r->type);
    }
}
