/* The pool of threads that all executors of a process share, and the loop in which the threads run a step.

   A waiting thread first spins, because the next stage is usually microseconds away, then sleeps, because the next step
   may be seconds away. Steps take turns: the caller sees to that. A helper may read the executor only while it holds a
   portion of a stage, because the step cannot end before; the pool is never freed. */

enum { SPIN_NANOSECONDS = 80000, PAUSES_BETWEEN_LOOKS_AT_THE_CLOCK = 32 };
enum { COUNT_BITS = 15, MOST_PORTIONS = (1 << COUNT_BITS) - 1 };

struct zg_pool {
    /* The number of the step; a bit, set if every second thread takes portions of the current stage from the end; then, of
       COUNT_BITS each, the number of those taken from the end, and of those not yet taken. After a step: the number of the
       next one, and zeros. */
    _Alignas(64) atomic_ullong ticket;
    _Alignas(64) atomic_int unfinished; /* portions of the current stage */
    _Alignas(64) atomic_ullong start;   /* the number of the last step of several threads << 32 | its threads */
    /* Of the step. Written only while no helper holds a portion. */
    zg_executor *executor;
    int stage, chunks, portions, each; /* a portion is `each` chunks: one, unless there are too many to count */
    pthread_mutex_t mutex;              /* protects sleeping only: spinning threads never take it */
    pthread_cond_t started, changed;
    atomic_int idle;                    /* helpers that sleep until `start` changes */
    atomic_int waiting;                 /* threads that sleep until `ticket` changes */
    int helpers;
};

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Waits until *now is not `old`, at once in sleep if not `spins`. Returns the new number. */
static unsigned long long wait_for(zg_pool *p, atomic_ullong *now, unsigned long long old, int spins,
                                   pthread_cond_t *woken, atomic_int *sleepers) {
    int64_t end = 0;
    while (spins) {
        for (int i = 0; i < PAUSES_BETWEEN_LOOKS_AT_THE_CLOCK; i++) {
            unsigned long long found = atomic_load_explicit(now, memory_order_acquire);
            if (found != old) return found;
            spin_pause();
        }
        int64_t time = nanoseconds();
        if (end == 0) end = time + SPIN_NANOSECONDS;
        else if (time > end) break;
    }
    /* All these accesses are sequentially consistent: either this thread sees the new number after it has registered as
       a sleeper, or the thread that stores it sees the sleeper. */
    unsigned long long found;
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(sleepers, 1);
    while ((found = atomic_load(now)) == old) pthread_cond_wait(woken, &p->mutex);
    atomic_fetch_sub(sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
    return found;
}

static void tell(zg_pool *p, atomic_ullong *now, unsigned long long found, pthread_cond_t *woken, atomic_int *sleepers) {
    atomic_store(now, found);
    if (atomic_load(sleepers) > 0) {
        pthread_mutex_lock(&p->mutex);
        pthread_cond_broadcast(woken);
        pthread_mutex_unlock(&p->mutex);
    }
}

/* The ticket of a stage of which no portion is taken. */
static unsigned long long ticket_of(unsigned step, int two_ends, int portions) {
    return ((unsigned long long)step << 1 | (unsigned)two_ends) << 2 * COUNT_BITS | (unsigned)portions;
}

static unsigned step_of(unsigned long long ticket) { return (unsigned)(ticket >> (2 * COUNT_BITS + 1)); }

static void set_ticket(zg_pool *p, unsigned long long ticket) {
    tell(p, &p->ticket, ticket, &p->changed, &p->waiting);
}

enum { STEP_IS_OVER = -1, NONE_IS_LEFT = -2 };

/* Takes a portion of the current stage: the first or the last of those left. A thread that takes rows from the same end in
   each stage finds most of them in its caches. */
static int take(zg_pool *p, unsigned step, int thread) {
    unsigned long long ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    for (;;) {
        if (step_of(ticket) != step) return STEP_IS_OVER;
        const int left = (int)(ticket & MOST_PORTIONS), from_end = (int)(ticket >> COUNT_BITS & MOST_PORTIONS);
        if (left == 0) return NONE_IS_LEFT;
        const unsigned at_end = (unsigned)(ticket >> 2 * COUNT_BITS) & (unsigned)thread & 1;
        const unsigned long long rest =
            left == 1 ? ticket_of(step, 0, 0) : ticket - 1 + ((unsigned long long)at_end << COUNT_BITS);
        if (atomic_compare_exchange_weak_explicit(&p->ticket, &ticket, rest, memory_order_acq_rel, memory_order_acquire))
            return at_end ? p->portions - 1 - from_end : p->portions - from_end - left;
    }
}

static void run_portion(zg_pool *p, unsigned step, int portion, int thread);

/* Runs a step in one thread: takes portions of the current stage until none is left, then waits until the stage has
   changed. Threads wait for work, not for each other: a thread that the system has suspended delays no other unless it
   holds a portion, and when it resumes it finds the current stage, or that the step is over. */
static void walk(zg_pool *p, unsigned step, int thread) {
    for (int portion; (portion = take(p, step, thread)) != STEP_IS_OVER;) {
        if (portion >= 0) run_portion(p, step, portion, thread);
        else wait_for(p, &p->ticket, ticket_of(step, 0, 0), 1, &p->changed, &p->waiting);
    }
}

typedef struct {
    zg_pool *pool;
    int thread;
    unsigned long long start;
} helper_start;

static void *helper(void *argument) {
    helper_start mine = *(helper_start *)argument;
    zg_pool *p = mine.pool;
    free(argument);
    guarded = 1;
    for (int used = 1;;) {
        mine.start = wait_for(p, &p->start, mine.start, used, &p->started, &p->idle);
        used = mine.thread < (int)(unsigned)mine.start; /* steps may have completed without this thread */
        if (used) walk(p, (unsigned)(mine.start >> 32), mine.thread);
    }
    return NULL;
}

/* NULL if memory is not available. */
zg_pool *zg_pool_new(void) {
    zg_pool *p = aligned_alloc(64, (size_t)align64(sizeof *p));
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->started, NULL);
    pthread_cond_init(&p->changed, NULL);
    return p;
}

/* Creates helpers until steps can have `threads` threads, with the caller's. False if the system refuses one. One call
   at a time, also while a step runs. */
int zg_pool_grow(zg_pool *p, int32_t threads) {
    sigset_t all, before;
    sigfillset(&all); /* signals are handled by the program's own threads, */
    sigdelset(&all, SIGBUS); /* but for that of a thread's own reading: guard.c */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (p->helpers < threads - 1) {
        pthread_t created;
        helper_start *start = malloc(sizeof *start);
        if (!start) break;
        *start = (helper_start){p, p->helpers + 1, atomic_load(&p->start)};
        if (pthread_create(&created, NULL, helper, start) != 0) {
            free(start);
            break;
        }
        pthread_detach(created);
        p->helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return p->helpers >= threads - 1;
}
