/* Contexts, and the walk of all threads over the records of a step. */

static const family families[ZG_OPERATIONS] = {
    [ZG_QUANTIZE] = {quantize_chunks, quantize_run},
    [ZG_EMBEDDING] = {embedding_chunks, embedding_run},
    [ZG_LINEAR] = {linear_chunks, linear_run},
    [ZG_RMS_NORM] = {row_chunks, rms_norm_run},
    [ZG_LAYER_NORM] = {row_chunks, layer_norm_run},
    [ZG_ROPE_TABLE] = {row_chunks, rope_table_run},
    [ZG_ROPE] = {row_chunks, rope_run},
    [ZG_STORE] = {tile_chunks, store_run},
    [ZG_ATTENTION] = {attention_chunks, attention_run},
    [ZG_GATED] = {element_chunks, gated_run},
    [ZG_ADD] = {element_chunks, add_run},
    [ZG_MULTIPLY] = {element_chunks, multiply_run},
    [ZG_SCALE] = {element_chunks, scale_run},
    [ZG_SOFT_CAP] = {element_chunks, soft_cap_run},
    [ZG_SELECT] = {row_chunks, select_run},
    [ZG_COLUMNS] = {row_chunks, columns_run},
    [ZG_SIGMOID_GATE] = {row_chunks, sigmoid_gate_run},
    [ZG_ROUTE] = {row_chunks, route_run},
    [ZG_GROUP] = {group_chunks, group_run},
    [ZG_EXPERT_LINEAR] = {expert_chunks, expert_linear_run},
    [ZG_COMBINE] = {row_chunks, combine_run},
};

enum { POLL_NANOSECONDS = 50000000 };

/* The caller's thread lets Python see to signals: a prefill may take minutes, and Ctrl-C must not. */
static void poll(zg_context *c) {
    if (!c->step->interrupted || nanoseconds() < c->next_poll) return;
    if (c->step->interrupted(c->step->interrupted_argument))
        atomic_store_explicit(&c->stopped, 1, memory_order_relaxed);
    c->next_poll = nanoseconds() + POLL_NANOSECONDS;
}

/* Lays out a record's chunks once all before it are done: what they left may tell how many there are. */
static void open_record(zg_context *c, unsigned step, int i) {
    const zg_record *r = &c->plan->records[i];
    /* Of a step that is being stopped nothing counts any more, and what was skipped must not be read. */
    int chunks = stopping(c) ? 0 : families[r->operation].chunks(c, r);
    if (chunks < 1) chunks = 1; /* of nothing: whoever takes it says that the record is done */
    atomic_store_explicit(&c->work[i].unfinished, chunks, memory_order_relaxed);
    atomic_store_explicit(&c->work[i].ticket, (unsigned long long)step << 32 | (unsigned)chunks,
                          memory_order_release);
}

/* Takes a chunk of a record, counted from 1 for the last one. 0: none is left. -1: the step is over. */
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

/* Record by record: take chunks until none is left, then wait until those that others took are done. What is
   waited for is work, not threads: one that the system does not run holds up nobody, unless it has a chunk,
   and when it runs again it finds the place or that the step is over. A thread that has a chunk may look at
   the step, since that cannot end before the chunk; no other may. After a cancellation chunks are taken and
   left undone. */
static void walk(zg_context *c, unsigned step, int thread) {
    pool *p = &c->pool;
    unsigned goal = (step - 1) * (unsigned)c->plan->count;
    int64_t *elapsed = thread == 0 ? c->step->nanoseconds : NULL; /* the caller's thread ends with the step */
    int64_t began = elapsed ? nanoseconds() : 0;
    for (int i = 0; i < c->plan->count; i++) {
        const zg_record *r = &c->plan->records[i];
        const family *f = &families[r->operation];
        int left;
        while ((left = take(&c->work[i], step)) > 0) {
            if (thread == 0) poll(c);
            if (!stopping(c)) {
                int chunks = f->chunks(c, r);
                if (chunks > 0) f->run(c, r, chunks - left, thread);
            }
            if (atomic_fetch_sub_explicit(&c->work[i].unfinished, 1, memory_order_acq_rel) == 1) {
                if (i + 1 < c->plan->count) open_record(c, step, i + 1);
                raise_count(p, &p->passed);
            }
        }
        if (left < 0) return;
        wait_for(p, &p->passed, ++goal);
        if (elapsed) {
            int64_t now = nanoseconds();
            elapsed[i] += now - began;
            began = now;
        }
    }
}

/* Neighbouring rows of one sequence, up to plan->tile of them, attend together. */
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
    c->next_poll = nanoseconds() + POLL_NANOSECONDS;
    unsigned number = atomic_load(&c->pool.start) + 1;
    open_record(c, number, 0);
    raise_count(&c->pool, &c->pool.start);
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
        int64_t bytes = zg_cache_bytes(plan->page, r->kv_heads, r->head_dim, r->type);
        char *layer = c->cache + r->cache * c->pages;
        memcpy(layer + to * bytes, layer + from * bytes, (size_t)bytes);
    }
}

/* Zeroed memory that costs nothing until it is touched, aligned to a page. AddressSanitizer watches the heap
   alone, so under it memory comes from there. */
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
    free(c);
}

/* NULL where memory or threads cannot be had. The plan must outlive the context. */
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
    c->work = calloc((size_t)plan->count + 1, sizeof *c->work);
    int found = c->scratch && c->thread_scratch && c->cache && c->partials && c->tile_starts && c->part_starts
                && c->spans_done && c->work;
    if (found && pool_new(c, threads)) return c;
    free_memory(c);
    return NULL;
}

/* In a forked child the helpers do not exist and the mutex may be held by one of them: only memory goes. */
void zg_context_free(zg_context *c, int forked) {
    if (!forked) pool_free(&c->pool);
    free_memory(c);
}
