/* A block of up to 64 keys and their values, as attention reads it: panels, from a page of the cache or collected from the
   step's own rows; and the memory of the tile of queries that attends to it. */

enum { BLOCK = 64 };
enum { CONVERT_FROM = 16 }; /* with this many queries, converting a block's keys and values to floats first is faster */

typedef struct {
    int tile, row, rows; /* index of the tile, its first row and its number of rows in the step */
    int kv_head, group;
    int first, last;     /* first and last entry that its tokens see */
} tile;

/* A thread's scratch memory for a tile. Queries are ordered by token, then by head. */
typedef struct {
    float *q;               /* queries times the scale, and times log2 e if there is no soft cap */
    float *span, *total;    /* a state (softmax.c) per query: of the current span, of all spans so far */
    float *scores, *scaled; /* BLOCK per query: scores, then weights; weights times the scales of the values */
    float *panels;          /* keys or values of a block, converted to floats or collected from rows */
    float *scales;          /* scales of a block's keys or values, BLOCK per part */
    float *slopes;          /* slope of each query's head, times log2 e; 0 if there are none */
    int *sees, *until;      /* range of the sequence's entries that each query sees */
    int *first, *end;       /* range of the block's keys that each query sees; both ascend from query to query */
    int *distances;         /* index of the block's first key minus the query's, for each query */
    int queries, head_dim, dim;
    int64_t state;
} tile_memory;

/* Takes n numbers of 4 bytes from memory, aligned to 64 bytes; if memory is NULL, only counts their bytes. */
static void *carve(char *memory, int64_t *used, int64_t n) {
    void *p = memory ? memory + *used : NULL;
    *used += align64(n * 4);
    return p;
}

static int64_t lay_out_tile(tile_memory *m, char *memory, int64_t queries, int head_dim, int value_dim) {
    const int64_t dim = padded(value_dim), state = state_floats(value_dim);
    const int widest = head_dim > (int)dim ? head_dim : (int)dim;
    int64_t used = 0;
    *m = (tile_memory){.queries = (int)queries, .head_dim = head_dim, .dim = (int)dim, .state = state};
    m->q = carve(memory, &used, queries * head_dim);
    m->span = carve(memory, &used, queries * state);
    m->total = carve(memory, &used, queries * state);
    m->scores = carve(memory, &used, queries * BLOCK);
    m->scaled = carve(memory, &used, queries * BLOCK);
    m->panels = carve(memory, &used, (int64_t)widest * BLOCK);
    m->scales = carve(memory, &used, (int64_t)ceil_div(widest, PART) * BLOCK);
    m->slopes = carve(memory, &used, queries);
    m->sees = carve(memory, &used, queries);
    m->until = carve(memory, &used, queries);
    m->first = carve(memory, &used, queries);
    m->end = carve(memory, &used, queries);
    m->distances = carve(memory, &used, queries);
    return used;
}

int64_t zg_attention_bytes(int32_t tile, int32_t group, int32_t head_dim, int32_t value_dim) {
    tile_memory m;
    return lay_out_tile(&m, NULL, (int64_t)tile * group, head_dim, value_dim);
}

/* Entries of a sequence from `start` on; if they are in a cache, `count` slots from `at` on of a page. */
typedef struct {
    int start;
    const char *page;
    int at, count;
} entries;

/* The heads of the step's own keys or values that a block's first n entries are: each in a row of the step. */
static void rows_of_block(const zg_executor *c, const zg_record *r, const tile *t, const entries *b, int64_t x, int width,
                          const float *row[BLOCK], int n) {
    const zg_tables *tables = &c->step->tables[r->group];
    const int32_t *numbers = tables->pages + tables->starts[c->step->sequences[t->row]] + b->start;
    const float *head = (const float *)address(c, x) + (int64_t)t->kv_head * width;
    for (int j = 0; j < n; j++) row[j] = head + (int64_t)numbers[j] * r->kv_heads * width;
}

static int converted(const zg_record *r, const tile_memory *m) { return r->type != ZG_F32 && m->queries >= CONVERT_FROM; }

/* The panels of a block's first n keys. */
static panels keys_of(const zg_executor *c, const zg_record *r, tile_memory *m, const tile *t, const entries *b, int n) {
    const int64_t next = (int64_t)m->head_dim * PANEL;
    const int count = ceil_div(n, PANEL);
    if (!r->mode) {
        panels keys = {b->page + (int64_t)b->at * m->head_dim * element_bytes(r->type), next, r->type};
        return converted(r, m) ? as_floats(keys, m->head_dim, count, m->panels) : keys;
    }
    const float *row[BLOCK];
    rows_of_block(c, r, t, b, r->y, m->head_dim, row, n);
    for (int panel = 0; panel < count; panel++) {
        const float *column[PANEL];
        for (int j = 0; j < PANEL; j++) column[j] = row[least(panel * PANEL + j, n - 1)];
        float *to = m->panels + panel * next;
        for (int i = 0; i < m->head_dim; i++, to += PANEL)
            for (int j = 0; j < PANEL; j++) to[j] = column[j][i];
    }
    return (panels){(const char *)m->panels, next, ZG_F32};
}

/* The panels of a block's first n values. */
static panels values_of(const zg_executor *c, const zg_record *r, tile_memory *m, const tile *t, const entries *b,
                        const layout *l, int n) {
    if (!r->mode) {
        const char *at = b->page + l->values + (int64_t)b->at * PANEL * element_bytes(r->type);
        panels values = {at, (int64_t)l->positions * PANEL, r->type};
        return converted(r, m) ? as_floats(values, n, l->dim / PANEL, m->panels) : values;
    }
    const float *row[BLOCK];
    rows_of_block(c, r, t, b, r->more[0], r->value_dim, row, n);
    for (int i = 0; i < r->value_dim; i += PANEL) {
        const int columns = least(PANEL, r->value_dim - i);
        float *to = m->panels + (int64_t)i * n;
        for (int j = 0; j < n; j++, to += PANEL)
            if (columns == PANEL) memcpy(to, row[j] + i, PANEL * sizeof *to);
            else for (int k = 0; k < PANEL; k++) to[k] = k < columns ? row[j][i + k] : 0.0f;
    }
    return (panels){(const char *)m->panels, (int64_t)n * PANEL, ZG_F32};
}

static void load_scales(tile_memory *m, const char *p, int parts, int positions, int count) {
    for (int part = 0; part < parts; part++)
        for (int j = 0; j < count; j += VF)
            vf_store(m->scales + part * BLOCK + j, vf_load_f16(p + 2 * ((int64_t)part * positions + j)));
}
