/* Contexts, and the loop in which all threads run the stages of a step. */

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
};

/* Rows per chunk with many rows: neighbouring rows share cache lines of their outputs. */
enum { ROWS_TOGETHER = 16, MANY_ROWS = 64 };

static int rows_together(int rows) { return rows < MANY_ROWS ? 1 : ROWS_TOGETHER; }

static int stage_chunks(const zg_context *c, const zg_stage *s) {
    const zg_record *r = &c->plan->records[s->first];
    if (s->by_rows) return ceil_div(rows_of(c, r), rows_together(rows_of(c, r)));
    int chunks = 0;
    for (int i = 0; i < s->count; i++) chunks += families[r[i].operation].chunks(c, &r[i]);
    return chunks;
}

/* Time that a thread has spent on a record, indexed by the record's number in the plan. */
static int64_t *spent_on(const zg_context *c, int record, int thread) {
    return &c->spent[(int64_t)thread * c->plan->count + record];
}

static void run_record(zg_context *c, const zg_stage *s, int i, int chunk, int thread) {
    const zg_record *r = &c->plan->records[s->first + i];
    int64_t began = c->step->nanoseconds ? nanoseconds() : 0;
    families[r->operation].run(c, r, chunk, thread);
    if (began) *spent_on(c, s->first + i, thread) += nanoseconds() - began;
}

static void run_chunk(zg_context *c, const zg_stage *s, int chunk, int thread) {
    const zg_record *r = &c->plan->records[s->first];
    if (s->by_rows) {
        int rows = rows_of(c, r), together = rows_together(rows);
        for (int row = chunk * together; row < least(rows, (chunk + 1) * together); row++)
            for (int i = 0; i < s->count; i++) run_record(c, s, i, row, thread);
        return;
    }
    for (int i = 0; i < s->count; i++) {
        int chunks = families[r[i].operation].chunks(c, &r[i]);
        if (chunk < chunks) {
            run_record(c, s, i, chunk, thread);
            return;
        }
        chunk -= chunks;
    }
}

/* Distributes a duration over records first..end in proportion to the time that threads spent on each. */
static void share_time(zg_context *c, int first, int end, int64_t all) {
    int64_t spent = 0, given = 0;
    for (int i = first; i < end; i++)
        for (int t = 0; t < c->pool.threads; t++) spent += *spent_on(c, i, t);
    for (int i = first; i < end; i++) {
        int64_t own = 0;
        for (int t = 0; t < c->pool.threads; t++) {
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
static void poll(zg_context *c) {
    if (!c->step->interrupted || nanoseconds() < c->next_poll) return;
    if (c->step->interrupted(c->step->interrupted_argument))
        atomic_store_explicit(&c->stopped, 1, memory_order_relaxed);
    c->next_poll = nanoseconds() + POLL_NANOSECONDS;
}

/* Opens a stage once all stages before it are complete: their results may determine its number of chunks. */
static void open_stage(zg_context *c, unsigned step, int i) {
    /* In a step that is being stopped, the results of earlier stages may be missing and must not be read. */
    int chunks = stopping(c) ? 0 : stage_chunks(c, &c->plan->stages[i]);
    if (chunks < 1) chunks = 1; /* an empty chunk: the thread that takes it completes the stage */
    atomic_store_explicit(&c->work[i].unfinished, chunks, memory_order_relaxed);
    atomic_store_explicit(&c->work[i].ticket, (unsigned long long)step << 32 | (unsigned)chunks,
                          memory_order_release);
}

/* True if a stage consists of one row. */
static int is_one_row(const zg_context *c, int i) {
    const zg_stage *s = &c->plan->stages[i];
    return s->by_rows && rows_of(c, &c->plan->records[s->first]) == 1;
}

/* Completes a stage. The calling thread, which finished the last chunk, also runs the one-row stages that follow, which
   is faster than handing them over, and opens the next stage. */
static void pass_stage(zg_context *c, unsigned step, int i, int thread) {
    const int stages = c->plan->stage_count;
    unsigned passed = 1;
    for (i++; i < stages && is_one_row(c, i); i++, passed++) {
        atomic_store_explicit(&c->work[i].ticket, (unsigned long long)step << 32, memory_order_relaxed);
        if (!stopping(c)) run_chunk(c, &c->plan->stages[i], 0, thread);
    }
    if (i < stages) open_stage(c, step, i);
    raise_count(&c->pool, &c->pool.passed, passed);
}

/* Takes a chunk of a stage; chunks count down to 1, the last one. 0: none is left. -1: the step is over. */
static int take(work *w, unsigned step) {
    unsigned long long ticket = atomic_load_explicit(&w->ticket, memory_order_acquire);
    for (;;) {
        if (ticket >> 32 != step) return -1;
        unsigned left = (unsigned)ticket;
        if (left == 0) return 0;
        if (atomic_compare_exchange_weak_explicit(&w->ticket, &ticket, ticket - 1, memory_order_acq_rel,
                                                  memory_order_acquire))
            return (int)left;
    }
}

/* Runs a step in one thread: stage by stage, takes chunks until none is left, then waits until the chunks of other
   threads are complete. Threads wait for work, not for each other: a thread that the system has suspended delays no
   other unless it holds a chunk, and when it resumes it finds the current stage, or that the step is over. A thread may
   access the step only while it holds a chunk, because the step cannot end before. After a cancellation chunks are taken
   but not computed. */
static void walk(zg_context *c, unsigned step, int thread) {
    pool *p = &c->pool;
    const int stages = c->plan->stage_count;
    unsigned goal = (step - 1) * (unsigned)stages;
    int timed = thread == 0 && c->step->nanoseconds; /* the caller's thread is present until the step ends */
    int64_t began = timed ? c->began : 0;
    for (int i = 0, first = 0; i < stages; i++) {
        const zg_stage *s = &c->plan->stages[i];
        int left;
        while ((left = take(&c->work[i], step)) > 0) {
            if (thread == 0) poll(c);
            if (!stopping(c)) {
                int chunks = stage_chunks(c, s);
                if (chunks > 0) run_chunk(c, s, chunks - left, thread);
            }
            if (atomic_fetch_sub_explicit(&c->work[i].unfinished, 1, memory_order_acq_rel) == 1)
                pass_stage(c, step, i, thread);
        }
        if (left < 0) return;
        wait_for(p, &p->passed, ++goal);
        if (timed && (i + 1 == stages || !is_one_row(c, i + 1))) {
            int64_t now = nanoseconds();
            share_time(c, first, s->first + s->count, now - began);
            began = now, first = s->first + s->count;
        }
    }
}

/* Groups neighbouring rows of a sequence into tiles of up to plan->tile rows, which attention processes together. */
static void cut_tiles(zg_context *c, const zg_step *step) {
    int tiles = 0;
    for (int row = 0; row < step->tokens; row++) {
        int joins = row > 0 && step->sequences[row] == step->sequences[row - 1]
                    && row - c->tile_starts[tiles - 1] < c->plan->tile;
        if (!joins) c->tile_starts[tiles++] = row;
    }
    c->tile_starts[tiles] = step->tokens;
    c->tiles = tiles;
}

int zg_run(zg_context *c, const zg_step *step) {
    c->step = step;
    cut_tiles(c, step);
    cut_spans(c, step);
    atomic_store(&c->stopped, 0);
    c->began = nanoseconds();
    c->next_poll = c->began + POLL_NANOSECONDS;
    unsigned number = atomic_load(&c->pool.start) + 1;
    open_stage(c, number, 0);
    raise_count(&c->pool, &c->pool.start, 1);
    walk(c, number, 0);
    return stopping(c) ? ZG_CANCELLED : ZG_DONE;
}

void zg_cancel(zg_context *c, int cancelled) { atomic_store(&c->cancelled, cancelled); }

void zg_copy_page(zg_context *c, int32_t from, int32_t to) {
    const zg_plan *plan = c->plan;
    if (from == to) return;
    for (int i = 0; i < plan->count; i++) {
        const zg_record *r = &plan->records[i];
        if (r->operation != ZG_STORE) continue;
        int64_t bytes = zg_cache_bytes(plan->page, r->kv_heads, r->head_dim, r->value_dim, r->type);
        char *layer = c->cache + r->cache * c->pages;
        memcpy(layer + to * bytes, layer + from * bytes, (size_t)bytes);
    }
}

/* Zeroed, page-aligned memory that is committed only when touched. Under AddressSanitizer, which checks the heap only,
   it comes from the heap. */
#ifdef __SANITIZE_ADDRESS__
static char *reserve(int64_t bytes) { return calloc(1, (size_t)bytes); }
static void give_back(char *p, int64_t bytes) { (void)bytes, free(p); }
#else
static char *reserve(int64_t bytes) {
    void *p = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}
static void give_back(char *p, int64_t bytes) {
    if (p) munmap(p, (size_t)bytes);
}
#endif

static void free_memory(zg_context *c) {
    give_back(c->scratch, c->scratch_bytes);
    give_back(c->thread_scratch, c->thread_bytes * c->pool.threads);
    give_back(c->cache, c->cache_bytes);
    give_back((char *)c->partials, c->plan->partial_bytes + 64);
    free(c->tile_starts);
    free(c->part_starts);
    free(c->spans_done);
    free(c->work);
    free(c->spent);
    free(c);
}

/* NULL if memory or threads are not available. The plan must outlive the context. */
zg_context *zg_context_new(const zg_plan *plan, int32_t pages, int32_t threads) {
    zg_context *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->plan = plan;
    c->pages = pages;
    c->pool.threads = threads;
    c->scratch_bytes = plan->scratch_bytes + 64;
    c->thread_bytes = align64(plan->thread_bytes) + 64;
    c->cache_bytes = plan->page_bytes_total * pages + 64;
    c->scratch = reserve(c->scratch_bytes);
    c->thread_scratch = reserve(c->thread_bytes * threads);
    c->cache = reserve(c->cache_bytes);
    c->partials = (float *)reserve(plan->partial_bytes + 64);
    for (int i = 0; i < plan->count; i++)
        if (plan->records[i].kv_heads > c->kv_heads) c->kv_heads = plan->records[i].kv_heads;
    c->spans_done = calloc((size_t)SPLIT_TOKENS * c->kv_heads + 1, sizeof *c->spans_done);
    c->part_starts = calloc(SPLIT_TOKENS + 1, sizeof *c->part_starts);
    c->tile_starts = calloc((size_t)plan->batch + 1, sizeof *c->tile_starts);
    c->work = calloc((size_t)plan->stage_count + 1, sizeof *c->work);
    c->spent = calloc((size_t)threads * plan->count + 1, sizeof *c->spent);
    int found = c->scratch && c->thread_scratch && c->cache && c->partials && c->tile_starts && c->part_starts
                && c->spans_done && c->work && c->spent;
    if (found && pool_new(c, threads)) return c;
    free_memory(c);
    return NULL;
}

/* In a forked child the helper threads do not exist, and one of them may hold the mutex: only memory is freed. */
void zg_context_free(zg_context *c, int forked) {
    if (!forked) pool_free(&c->pool);
    free_memory(c);
}
