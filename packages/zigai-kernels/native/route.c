/* Routing: computing experts' shares from their scores, and choosing each row's experts by their shares. */

/* Inserts item e with value v into a list of up to `most` items, largest value first, equal values in the order of
   their insertion. Returns the list's new length. */
static int keep_best(int32_t *items, float *values, int count, int most, int32_t e, float v) {
    if (count == most && !(v > values[most - 1])) return count;
    int k = count < most ? count++ : most - 1;
    for (; k > 0 && v > values[k - 1]; k--) items[k] = items[k - 1], values[k] = values[k - 1];
    items[k] = e, values[k] = v;
    return count;
}

/* Bytes of scratch memory for routing a row: six arrays of one element per expert. */
int64_t zg_route_bytes(int32_t experts) { return 6 * 4 * (int64_t)experts; }

static void softmax_of(float *x, int n) {
    float most = x[0], sum = 0.0f;
    for (int i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    for (int i = 0; i < n; i++) sum += x[i] = expf(x[i] - most);
    for (int i = 0; i < n; i++) x[i] /= sum;
}

/* Sets used[g] to 1 for each group whose experts can be chosen, else to 0. Returns 0 if a group's value is NaN. */
static int use_groups(const zg_record *r, const float *choice, float *values, float *best, int32_t *items, int32_t *used) {
    const int size = r->width / r->groups;
    int count = 0;
    for (int g = 0; g < r->groups; g++) {
        int found = 0;
        for (int e = g * size; e < (g + 1) * size; e++) found = keep_best(items, best, found, r->group_best, e, choice[e]);
        values[g] = 0.0f;
        for (int i = 0; i < found; i++) values[g] += best[i];
        if (values[g] != values[g]) return 0;
        used[g] = 0;
    }
    for (int g = 0; g < r->groups; g++) count = keep_best(items, best, count, r->groups_used, g, values[g]);
    for (int i = 0; i < count; i++) used[items[i]] = 1;
    return 1;
}

static void route_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    const int n = r->width, size = n / r->groups;
    const float *scores = (const float *)address(c, r->x) + (int64_t)chunk * n;
    float *out = (float *)address(c, r->output) + (int64_t)chunk * n, sum = 0.0f;
    float *share = (float *)(c->thread_scratch + thread * c->thread_bytes), *choice = share + n, *best = choice + n;
    int32_t *items = (int32_t *)(best + n), *used = items + n;
    int count = 0, right = 1;
    memcpy(share, scores, (size_t)n * sizeof *share);
    if (r->mode == ZG_SOFTMAX) softmax_of(share, n);
    if (r->mode == ZG_SIGMOID)
        for (int e = 0; e < n; e++) share[e] = 1.0f / (1.0f + expf(-share[e]));
    for (int e = 0; e < n; e++) {
        choice[e] = r->bias ? share[e] + r->bias[e] : share[e];
        right &= choice[e] == choice[e];
    }
    if (right && r->groups > 1) right = use_groups(r, choice, (float *)(used + n), best, items, used);
    if (!right) { /* a score is NaN, so all shares are */
        for (int e = 0; e < n; e++) out[e] = NAN;
        return;
    }
    for (int e = 0; e < n; e++)
        if (r->groups == 1 || used[e / size]) count = keep_best(items, best, count, r->used, e, choice[e]);
    for (int k = 0; k < count; k++) best[k] = share[items[k]];
    if (r->mode == ZG_SOFTMAX_CHOSEN) softmax_of(best, count);
    for (int k = 0; k < count; k++) sum += best[k];
    memset(out, 0, (size_t)n * sizeof *out);
    for (int k = 0; k < count; k++) out[items[k]] = (r->renormalise ? best[k] / (sum + r->offset) : best[k]) * r->factor;
}

/* Output of CHOOSE for a row: its `used` experts, largest absolute share first, then the share of each. If fewer shares
   are not 0, the remaining experts are -1. */
static int32_t *chosen_experts(const zg_record *r, void *chosen, int row) {
    return (int32_t *)chosen + (int64_t)row * 2 * r->used;
}
static float *chosen_shares(const zg_record *r, void *chosen, int row) {
    return (float *)(chosen_experts(r, chosen, row) + r->used);
}

static void choose_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->inner;
    int32_t *experts = chosen_experts(r, address(c, r->output), chunk);
    float *shares = chosen_shares(r, address(c, r->output), chunk);
    int count = 0;
    for (int e = 0; e < r->inner; e++)
        if (x[e] != 0.0f) count = keep_best(experts, shares, count, r->used, e, x[e] == x[e] ? fabsf(x[e]) : INFINITY);
    for (int k = 0; k < r->used; k++) {
        if (k >= count) experts[k] = -1;
        shares[k] = k < count ? x[experts[k]] : 0.0f;
    }
}
