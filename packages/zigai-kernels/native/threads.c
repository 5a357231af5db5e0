/* The threads of a context. A waiting thread first spins, because the next stage is usually microseconds away, then
   sleeps, because the next step may be seconds away. */

enum { SPIN_NANOSECONDS = 80000, PAUSES_BETWEEN_LOOKS_AT_THE_CLOCK = 32 };

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int reached(unsigned count, unsigned goal) { return (int)(count - goal) >= 0; }

/* Waits until *count, which only increases, has reached the goal. */
static void wait_for(pool *p, atomic_uint *count, unsigned goal) {
    int64_t end = 0;
    for (;;) {
        for (int i = 0; i < PAUSES_BETWEEN_LOOKS_AT_THE_CLOCK; i++) {
            if (reached(atomic_load_explicit(count, memory_order_acquire), goal)) return;
            spin_pause();
        }
        int64_t now = nanoseconds();
        if (end == 0) end = now + SPIN_NANOSECONDS;
        else if (now > end) break;
    }
    /* All these accesses are sequentially consistent: either this thread sees the new count after it has registered as
       a sleeper, or the thread that raises the count sees the sleeper. */
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->sleepers, 1);
    while (!reached(atomic_load(count), goal)) pthread_cond_wait(&p->changed, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void raise_count(pool *p, atomic_uint *count, unsigned by) {
    atomic_fetch_add(count, by);
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mutex);
    }
}

typedef struct {
    zg_context *context;
    int thread;
} helper_start;

static void walk(zg_context *c, unsigned step, int thread);

static void *helper(void *argument) {
    helper_start mine = *(helper_start *)argument;
    free(argument);
    pool *p = &mine.context->pool;
    for (unsigned step = 0;;) {
        wait_for(p, &p->start, step + 1);
        step = atomic_load(&p->start); /* steps may have completed without this thread */
        if (atomic_load(&p->leaving)) return NULL;
        walk(mine.context, step, mine.thread);
    }
}

static void pool_free(pool *p) {
    atomic_store(&p->leaving, 1);
    raise_count(p, &p->start, 1);
    for (int i = 0; i < p->running; i++) pthread_join(p->helpers[i], NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    free(p->helpers);
}

/* False if the system refuses to create a thread. */
static int pool_new(zg_context *c, int threads) {
    pool *p = &c->pool;
    sigset_t all, before;
    p->threads = threads;
    p->helpers = calloc((size_t)threads, sizeof *p->helpers);
    if (!p->helpers) return 0;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    sigfillset(&all); /* signals are handled by the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 1; i < threads; i++) {
        helper_start *start = malloc(sizeof *start);
        if (!start) break;
        *start = (helper_start){c, i};
        if (pthread_create(&p->helpers[i - 1], NULL, helper, start) != 0) {
            free(start);
            break;
        }
        p->running++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (p->running == threads - 1) return 1;
    pool_free(p);
    return 0;
}
