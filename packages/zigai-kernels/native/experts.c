/* Mixture of experts: each row of x is multiplied with the matrices of a few experts. Rows are grouped by expert, so
   that a matrix is read once for all rows that use it. An item is a pair of a row and one of its `used` experts:
   item row * used + k is the k-th expert of the row. */

/* Output of GROUP for `width` experts: the number of experts with items, the ids of these, the index of each expert's
   first item (and the end of the last), and the items ordered by expert. */
typedef struct {
    int32_t *active, *experts, *starts, *items;
} groups;

static groups groups_at(int32_t *p, int experts) { return (groups){p, p + 1, p + 1 + experts, p + 2 + 2 * experts}; }

int64_t zg_group_bytes(int32_t experts) { return 4 * (2 * (int64_t)experts + 2); }

/* A chunk is an item: its row of x times its share. */
static void weigh_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const int row = chunk / r->used;
    const float *x = (const float *)address(c, r->x) + (int64_t)row * r->width;
    const float share = chosen_shares(r, address(c, r->y), row)[chunk % r->used];
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    for (int i = 0; i < r->width; i++) out[i] = share * x[i];
}

static int group_chunks(const zg_executor *c, const zg_record *r) { return rows_of(c, r) > 0; }

static void group_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)chunk, (void)thread;
    groups g = groups_at(address(c, r->output), r->width);
    int rows = rows_of(c, r);
    memset(g.starts, 0, ((size_t)r->width + 1) * 4);
    for (int row = 0; row < rows; row++) {
        const int32_t *experts = chosen_experts(r, address(c, r->x), row);
        for (int k = 0; k < r->used && experts[k] >= 0; k++) g.starts[experts[k] + 1]++;
    }
    for (int e = 0; e < r->width; e++) {
        g.starts[e + 1] += g.starts[e];
        g.experts[e] = g.starts[e]; /* until the next loop ends: the index of the expert's next item */
    }
    for (int row = 0; row < rows; row++) {
        const int32_t *experts = chosen_experts(r, address(c, r->x), row);
        for (int k = 0; k < r->used && experts[k] >= 0; k++) g.items[g.experts[experts[k]]++] = row * r->used + k;
    }
    *g.active = 0;
    for (int e = 0; e < r->width; e++)
        if (g.starts[e] < g.starts[e + 1]) g.experts[(*g.active)++] = e;
}

static int expert_panels(const zg_record *r) {
    int64_t panels = CHUNK_BYTES / r->stride;
    return panels < 1 ? 1 : panels > GROUP ? GROUP : (int)panels;
}

static int expert_chunks(const zg_executor *c, const zg_record *r) {
    if (!rows_of(c, r)) return 0;
    return *groups_at(address(c, r->y), r->heads).active * ceil_div(panels_of(r), expert_panels(r));
}

static void expert_linear_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    groups g = groups_at(address(c, r->y), r->heads);
    int panels = expert_panels(r), pieces = ceil_div(panels_of(r), panels);
    int expert = g.experts[chunk / pieces], first = chunk % pieces * panels;
    linear_job job = {address(c, r->x), input_stride(r), address(c, r->output), r->width, g.items + g.starts[expert],
                      r->mode ? 1 : r->used, g.starts[expert + 1] - g.starts[expert],
                      r->bias ? r->bias + (int64_t)expert * r->width : NULL, NULL};
    const uint8_t *weight = (const uint8_t *)r->weight + expert * panels_of(r) * r->stride;
    linear_panels(r, weight, &job, first, least(first + panels, panels_of(r)));
}

static void combine_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *parts = (const float *)address(c, r->x) + (int64_t)chunk * r->used * r->width;
    const int32_t *experts = chosen_experts(r, address(c, r->y), chunk);
    const float *shares = chosen_shares(r, address(c, r->y), chunk);
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    for (int i = 0; i < r->width; i++) out[i] = 0.0f;
    for (int k = 0; k < r->used && experts[k] >= 0; k++, parts += r->width) {
        const float share = r->mode ? 1.0f : shares[k];
        for (int i = 0; i < r->width; i++) out[i] += share * parts[i];
    }
}
