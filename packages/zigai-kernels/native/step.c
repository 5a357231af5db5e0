/* Executors, and the stages of a step. */

static const family families[ZG_OPERATIONS] = {
    [ZG_QUANTIZE] = {NULL, quantize_run},
    [ZG_EMBEDDING] = {NULL, embedding_run},
    [ZG_LINEAR] = {linear_chunks, linear_run},
    [ZG_RMS_NORM] = {NULL, rms_norm_run},
    [ZG_LAYER_NORM] = {NULL, layer_norm_run},
    [ZG_ROPE_TABLE] = {NULL, rope_table_run},
    [ZG_ROPE] = {NULL, rope_run},
    [ZG_STORE] = {NULL, store_run},
    [ZG_ATTENTION] = {attention_chunks, attention_run},
    [ZG_GATED] = {NULL, gated_run},
    [ZG_ADD] = {NULL, add_run},
    [ZG_MULTIPLY] = {NULL, multiply_run},
    [ZG_SCALE] = {NULL, scale_run},
    [ZG_SOFT_CAP] = {NULL, soft_cap_run},
    [ZG_SELECT] = {NULL, select_run},
    [ZG_COLUMNS] = {NULL, columns_run},
    [ZG_SIGMOID_GATE] = {NULL, sigmoid_gate_run},
    [ZG_GATED_CLAMP] = {NULL, gated_clamp_run},
    [ZG_ROUTE] = {NULL, route_run},
    [ZG_CHOOSE] = {NULL, choose_run},
    [ZG_WEIGH] = {NULL, weigh_run},
    [ZG_GROUP] = {group_chunks, group_run},
    [ZG_EXPERT_LINEAR] = {expert_chunks, expert_linear_run},
    [ZG_COMBINE] = {NULL, combine_run},
    [ZG_POOL] = {NULL, pool_run},
    [ZG_UNARY] = {NULL, unary_run},
    [ZG_L2_NORM] = {NULL, l2_norm_run},
    [ZG_COLUMN_SCALE] = {NULL, column_scale_run},
    [ZG_COLUMN_SHIFT] = {NULL, column_shift_run},
    [ZG_POSITION_SCALE] = {NULL, position_scale_run},
    [ZG_HEAD_LINEAR] = {linear_chunks, linear_run},
    [ZG_SHORT_CONV] = {short_conv_chunks, short_conv_run},
    [ZG_GATED_DELTA] = {gated_delta_chunks, gated_delta_run},
    [ZG_CONCAT] = {NULL, concat_run},
    [ZG_INPUTS] = {NULL, inputs_run},
    [ZG_SELECTIVE_SCAN] = {selective_scan_chunks, selective_scan_run},
    [ZG_MIX_STREAMS] = {NULL, mix_streams_run},
    [ZG_MATCH_MAGNITUDE] = {NULL, match_magnitude_run},
    [ZG_GAUSSIAN_CUT] = {NULL, gaussian_cut_run},
};

/* Rows per chunk with many rows: neighbouring rows share cache lines of their outputs. */
enum { ROWS_TOGETHER = 16, MANY_ROWS = 64 };

static int rows_together(int rows) { return rows < MANY_ROWS ? 1 : ROWS_TOGETHER; }

static int stage_chunks(const zg_executor *c, const zg_stage *s) {
    const zg_record *r = &c->plan->records[s->first];
    if (s->by_rows) return ceil_div(rows_of(c, r), rows_together(rows_of(c, r)));
    int chunks = 0;
    for (int i = 0; i < s->count; i++) chunks += families[r[i].operation].chunks(c, &r[i]);
    return chunks;
}

/* Time that a thread has spent on a record, indexed by the record's number in the plan. */
static int64_t *spent_on(const zg_executor *c, int record, int thread) {
    return &c->spent[(int64_t)thread * c->plan->count + record];
}

static void run_record(zg_executor *c, const zg_stage *s, int i, int chunk, int thread) {
    const zg_record *r = &c->plan->records[s->first + i];
    int64_t began = c->step->nanoseconds ? nanoseconds() : 0;
    families[r->operation].run(c, r, chunk, thread);
    if (began) *spent_on(c, s->first + i, thread) += nanoseconds() - began;
}

static void run_chunk(zg_executor *c, const zg_stage *s, int chunk, int thread) {
    const zg_record *r = &c->plan->records[s->first];
    if (s->by_rows) {
        int rows = rows_of(c, r), together = rows_together(rows);
        for (int row = chunk * together; row < least(rows, (chunk + 1) * together); row++)
            for (int i = 0; i < s->count; i++) run_record(c, s, i, row, thread);
        return;
    }
    for (int half = 0; half < 2; half++) /* of each record's chunks, so that each end of the stage has the same rows */
        for (int i = 0; i < s->count; i++) {
            int chunks = families[r[i].operation].chunks(c, &r[i]), first = ceil_div(chunks, 2);
            int count = half ? chunks - first : first;
            if (chunk < count) {
                run_record(c, s, i, half * first + chunk, thread);
                return;
            }
            chunk -= count;
        }
}

/* Distributes a duration over records first..end in proportion to the time that threads spent on each. */
static void share_time(zg_executor *c, int first, int end, int64_t all) {
    int64_t spent = 0, given = 0;
    for (int i = first; i < end; i++)
        for (int t = 0; t < c->threads; t++) spent += *spent_on(c, i, t);
    for (int i = first; i < end; i++) {
        int64_t own = 0;
        for (int t = 0; t < c->threads; t++) {
            own += *spent_on(c, i, t);
            *spent_on(c, i, t) = 0;
        }
        int64_t share = i == end - 1 ? all - given : spent ? (int64_t)((double)own / (double)spent * (double)all) : 0;
        c->step->nanoseconds[i] += share;
        given += share;
    }
}

enum { POLL_NANOSECONDS = 50000000 };

/* Lets Python handle signals, in the caller's thread: a prefill may take minutes, a response to Ctrl-C must not. */
static void poll(zg_executor *c) {
    if (!c->step->interrupted || nanoseconds() < c->next_poll) return;
    if (c->step->interrupted(c->step->interrupted_argument))
        atomic_store_explicit(&c->stopped, 1, memory_order_relaxed);
    c->next_poll = nanoseconds() + POLL_NANOSECONDS;
}

/* Opens a stage once all stages before it are complete: their results may determine its number of chunks. */
static void open_stage(zg_pool *p, zg_executor *c, unsigned step, int i) {
    /* In a step that is being stopped, the results of earlier stages may be missing and must not be read. */
    const zg_stage *s = &c->plan->stages[i];
    p->stage = i;
    p->chunks = stopping(c) ? 0 : stage_chunks(c, s);
    p->each = ceil_div(p->chunks, MOST_PORTIONS);
    p->portions = p->chunks > 0 ? ceil_div(p->chunks, p->each) : 1; /* an empty one: who takes it completes the stage */
    atomic_store_explicit(&p->unfinished, p->portions, memory_order_relaxed);
    set_ticket(p, ticket_of(step, has_runs(rows_of(c, &c->plan->records[s->first])), p->portions));
}

/* True if a stage consists of one row. */
static int is_one_row(const zg_executor *c, int i) {
    const zg_stage *s = &c->plan->stages[i];
    return s->by_rows && rows_of(c, &c->plan->records[s->first]) == 1;
}

/* Completes a stage. The calling thread, which finished the last chunk, also runs the one-row stages that follow, which
   is faster than handing them over, and opens the next stage or ends the step. */
static void pass_stage(zg_pool *p, zg_executor *c, unsigned step, int thread) {
    const zg_stage *stages = c->plan->stages;
    const int first = stages[p->stage].first;
    int i = p->stage + 1;
    for (; i < c->plan->stage_count && is_one_row(c, i); i++)
        if (!stopping(c)) run_chunk(c, &stages[i], 0, thread);
    if (c->step->nanoseconds) {
        int64_t now = nanoseconds();
        share_time(c, first, stages[i - 1].first + stages[i - 1].count, now - c->began);
        c->began = now;
    }
    if (i < c->plan->stage_count) open_stage(p, c, step, i);
    else set_ticket(p, ticket_of(step + 1, 0, 0));
}

/* Runs the portion that `take` gave. After a stop portions are taken but not computed. */
static void run_portion(zg_pool *p, unsigned step, int portion, int thread) {
    zg_executor *c = p->executor;
    const zg_stage *s = &c->plan->stages[p->stage];
    const int end = least(p->chunks, (portion + 1) * p->each);
    if (thread == 0) poll(c);
    for (int chunk = portion * p->each; chunk < end && !stopping(c); chunk++) run_chunk(c, s, chunk, thread);
    if (atomic_fetch_sub_explicit(&p->unfinished, 1, memory_order_acq_rel) == 1) pass_stage(p, c, step, thread);
}

/* Groups neighbouring rows of a sequence, whose ends do not decrease, into tiles of up to plan->tile rows, which attention
   processes together. */
static void cut_tiles(zg_executor *c, const zg_step *step) {
    int tiles = 0;
    for (int row = 0; row < step->tokens; row++) {
        int joins = row > 0 && step->sequences[row] == step->sequences[row - 1]
                    && row - c->tile_starts[tiles - 1] < c->plan->tile
                    && (!step->ends || step->ends[row] >= step->ends[row - 1]);
        if (!joins) c->tile_starts[tiles++] = row;
    }
    c->tile_starts[tiles] = step->tokens;
    c->tiles = tiles;
}

/* One step. No other step may run in the pool, which must have grown to the executor's number of threads. */
int zg_run(zg_pool *p, zg_executor *c, const zg_step *step) {
    c->step = step;
    cut_tiles(c, step);
    cut_spans(c, step);
    atomic_store(&c->stopped, 0);
    c->began = nanoseconds();
    c->next_poll = c->began + POLL_NANOSECONDS;
    p->executor = c;
    const unsigned number = step_of(atomic_load(&p->ticket));
    open_stage(p, c, number, 0);
    if (c->threads > 1)
        tell(p, &p->start, (unsigned long long)number << 32 | (unsigned)c->threads, &p->started, &p->idle);
    guarded++;
    walk(p, number, 0);
    guarded--;
    return stopping(c) ? ZG_CANCELLED : ZG_DONE;
}

static int has_slots(const zg_record *r) {
    return r->operation == ZG_SHORT_CONV || r->operation == ZG_GATED_DELTA || r->operation == ZG_SELECTIVE_SCAN;
}

/* Copies whole pages or slots of a group, one pair (from, to) after the other. */
void zg_copy_pages(zg_executor *c, int32_t group, const int32_t *pairs, int64_t count) {
    const zg_plan *plan = c->plan;
    for (int i = 0; i < plan->count; i++) {
        const zg_record *r = &plan->records[i];
        if ((r->operation != ZG_STORE && !has_slots(r)) || r->group != group) continue;
        int64_t bytes = has_slots(r) ? r->stride
                                     : zg_cache_bytes(plan->page, r->kv_heads, r->head_dim, r->value_dim, r->type);
        char *state = c->caches[group] + r->cache * c->pages[group];
        for (const int32_t *pair = pairs; pair < pairs + 2 * count; pair += 2)
            if (pair[0] != pair[1]) memcpy(state + pair[1] * bytes, state + pair[0] * bytes, (size_t)bytes);
    }
}

/* Zeroed, page-aligned memory that is committed only when touched; with `huge`, a huge page at a time, where the system
   has them. Under AddressSanitizer, which checks the heap only,
   it comes from the heap. */
#ifdef __SANITIZE_ADDRESS__
static char *reserve(int64_t bytes, int huge) { (void)huge; return calloc(1, (size_t)bytes); }
static void give_back(char *p, int64_t bytes) { (void)bytes, free(p); }
#else
static char *reserve(int64_t bytes, int huge) {
    void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
    if (huge) madvise(p, (size_t)bytes, MADV_HUGEPAGE);
#else
    (void)huge;
#endif
    return p;
}
static void give_back(char *p, int64_t bytes) {
    if (p) munmap(p, (size_t)bytes);
}
#endif

/* No step may run in it. */
void zg_executor_free(zg_executor *c) {
    for (int i = 0; c->caches && i < c->plan->groups; i++)
        give_back(c->caches[i], c->plan->group_bytes[i] * c->pages[i] + 64);
    give_back(c->scratch, c->scratch_bytes);
    give_back(c->thread_scratch, c->thread_bytes * c->threads);
    give_back((char *)c->partials, c->plan->partial_bytes + 64);
    free(c->caches);
    free(c->pages);
    free(c->tile_starts);
    free(c->part_starts);
    free(c->spans_done);
    free(c->spent);
    free(c);
}

/* NULL if memory is not available. `pages` has a number for each group. The plan must outlive the executor. */
zg_executor *zg_executor_new(const zg_plan *plan, const int32_t *pages, int32_t threads) {
    zg_executor *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->plan = plan;
    c->threads = threads;
    c->scratch_bytes = plan->scratch_bytes + 64;
    c->thread_bytes = align64(plan->thread_bytes) + 64;
    c->scratch = reserve(c->scratch_bytes, 1);
    c->thread_scratch = reserve(c->thread_bytes * threads, 1);
    c->caches = calloc((size_t)plan->groups + 1, sizeof *c->caches);
    c->pages = calloc((size_t)plan->groups + 1, sizeof *c->pages);
    c->partials = (float *)reserve(plan->partial_bytes + 64, 0);
    for (int i = 0; i < plan->count; i++)
        if (plan->records[i].kv_heads > c->kv_heads) c->kv_heads = plan->records[i].kv_heads;
    c->spans_done = calloc((size_t)SPLIT_TOKENS * c->kv_heads + 1, sizeof *c->spans_done);
    c->part_starts = calloc(SPLIT_TOKENS + 1, sizeof *c->part_starts);
    c->tile_starts = calloc((size_t)plan->batch + 1, sizeof *c->tile_starts);
    c->spent = calloc((size_t)threads * plan->count + 1, sizeof *c->spent);
    int found = c->scratch && c->thread_scratch && c->caches && c->pages && c->partials && c->tile_starts
                && c->part_starts && c->spans_done && c->spent;
    for (int i = 0; found && i < plan->groups; i++) {
        c->pages[i] = pages[i];
        c->caches[i] = reserve(plan->group_bytes[i] * pages[i] + 64, 0);
        found = c->caches[i] != NULL;
    }
    if (found) return c;
    zg_executor_free(c);
    return NULL;
}
