/* A mixture of experts: each row of x meets the matrices of a few experts. The rows are gathered by expert,
   so that a matrix is read once for all rows that use it. `items` are pairs of a row and one of its experts. */

/* What ROUTE leaves for a row: its experts, best first, and the share of each. */
static int32_t *routed_experts(const zg_record *r, void *route, int row) {
    return (int32_t *)route + (int64_t)row * 2 * r->used;
}
static float *routed_shares(const zg_record *r, void *route, int row) {
    return (float *)(routed_experts(r, route, row) + r->used);
}

/* What GROUP leaves, for `width` experts: how many have items; which; where each one's items begin; items. */
typedef struct {
    int32_t *active, *experts, *starts, *items;
} groups;

static groups groups_at(int32_t *p, int experts) { return (groups){p, p + 1, p + 1 + experts, p + 2 + 2 * experts}; }

int64_t zg_group_bytes(int32_t experts) { return 4 * (2 * (int64_t)experts + 2); }

static void route_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    const float *scores = (const float *)address(c, r->x) + (int64_t)chunk * r->width;
    float *share = (float *)(c->thread_scratch + thread * c->thread_bytes), most = scores[0], sum = 0.0f;
    int32_t *experts = routed_experts(r, address(c, r->output), chunk);
    float *shares = routed_shares(r, address(c, r->output), chunk), chosen = 0.0f;
    for (int e = 1; e < r->width; e++) most = scores[e] > most ? scores[e] : most;
    for (int e = 0; e < r->width; e++) sum += share[e] = expf(scores[e] - most);
    for (int e = 0; e < r->width; e++) share[e] /= sum;
    for (int k = 0; k < r->used; k++) {
        int best = -1; /* of equal shares, the first; -1 marks the ones that are taken */
        for (int e = 0; e < r->width; e++)
            if (share[e] != -1.0f && (best < 0 || share[e] > share[best])) best = e;
        experts[k] = best;
        shares[k] = share[best];
        chosen += share[best];
        share[best] = -1.0f;
    }
    if (r->mode)
        for (int k = 0; k < r->used; k++) shares[k] /= chosen;
}

static int group_chunks(const zg_context *c, const zg_record *r) { return rows_of(c, r) > 0; }

static void group_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)chunk, (void)thread;
    groups g = groups_at(address(c, r->output), r->width);
    int rows = rows_of(c, r);
    memset(g.starts, 0, ((size_t)r->width + 1) * 4);
    for (int row = 0; row < rows; row++)
        for (int k = 0; k < r->used; k++) g.starts[routed_experts(r, address(c, r->x), row)[k] + 1]++;
    for (int e = 0; e < r->width; e++) {
        g.starts[e + 1] += g.starts[e];
        g.experts[e] = g.starts[e]; /* for now: where the next item goes */
    }
    for (int row = 0; row < rows; row++)
        for (int k = 0; k < r->used; k++)
            g.items[g.experts[routed_experts(r, address(c, r->x), row)[k]]++] = row * r->used + k;
    *g.active = 0;
    for (int e = 0; e < r->width; e++)
        if (g.starts[e] < g.starts[e + 1]) g.experts[(*g.active)++] = e;
}

static int expert_panels(const zg_record *r) {
    int64_t panels = CHUNK_BYTES / r->stride;
    return panels < 1 ? 1 : panels > GROUP ? GROUP : (int)panels;
}

static int expert_chunks(const zg_context *c, const zg_record *r) {
    if (!rows_of(c, r)) return 0;
    return *groups_at(address(c, r->y), r->heads).active * ceil_div(panels_of(r), expert_panels(r));
}

static void expert_linear_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    groups g = groups_at(address(c, r->y), r->heads);
    int panels = expert_panels(r), pieces = ceil_div(panels_of(r), panels);
    int expert = g.experts[chunk / pieces], first = chunk % pieces * panels;
    linear_job job = {address(c, r->x), input_stride(r), address(c, r->output), g.items + g.starts[expert],
                      r->mode ? 1 : r->used, g.starts[expert + 1] - g.starts[expert]};
    const uint8_t *weight = (const uint8_t *)r->weight + expert * panels_of(r) * r->stride;
    linear_panels(r, weight, &job, first, least(first + panels, panels_of(r)));
}

static void combine_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *parts = (const float *)address(c, r->x) + (int64_t)chunk * r->used * r->width;
    const float *shares = routed_shares(r, address(c, r->y), chunk);
    float *out = (float *)address(c, r->output) + (int64_t)chunk * r->width;
    for (int i = 0; i < r->width; i++) out[i] = 0.0f;
    for (int k = 0; k < r->used; k++, parts += r->width)
        for (int i = 0; i < r->width; i++) out[i] += shares[k] * parts[i];
}
