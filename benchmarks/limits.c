/* Limits of a machine: bytes read from memory and multiply-adds per second, with one or several threads.
 * Compiled by limits.py for the CPU it runs on. */

#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { READ, INT8, F32 };
enum { L1 = 4096 };          /* bytes of operands, which fit the first-level cache */
enum { MOST_THREADS = 256 };

/* --- multiply-adds: `steps` iterations of the innermost loop --- */

/* Twelve accumulators as separate variables: the compiler would keep an array of them in memory. */
#define TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#define INT8_NAME "vpdpbusd, 512 bits"
#define INT8_STEP (12 * 64)
static int64_t int8_steps(const int8_t *data, int64_t steps) {
    __m512i weight = _mm512_loadu_si512(data), total = _mm512_setzero_si512();
#define BEGIN(j) __m512i sum##j = _mm512_setzero_si512();
#define ADD(j) sum##j = _mm512_dpbusd_epi32(sum##j, weight, _mm512_loadu_si512(x + 64 * j));
#define END(j) total = _mm512_add_epi32(total, sum##j);
    TWELVE(BEGIN)
    for (int64_t s = 0; s < steps; s++) {
        const int8_t *x = data + (s & 31) * 64;
        TWELVE(ADD)
    }
    TWELVE(END)
    return _mm512_reduce_add_epi32(total);
}
#elif defined(__AVXVNNI__) || defined(__AVX2__)
#ifdef __AVXVNNI__
#define INT8_NAME "vpdpbusd, 256 bits"
#define INT8_ADD(sum, a, b) sum = _mm256_dpbusd_avx_epi32(sum, a, b);
#else
/* Exact if the pairwise products and their partial sums fit 16 bits, as with 4-bit weights. Without the empty asm
   statement the compiler computes all products before the first addition and runs out of registers. */
#define INT8_NAME "vpmaddubsw and vpaddw, 256 bits"
#define INT8_ADD(sum, a, b) sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(a, b)); __asm__("" : "+x"(sum));
#endif
#define INT8_STEP (12 * 32)
static int64_t int8_steps(const int8_t *data, int64_t steps) {
    __m256i weight = _mm256_loadu_si256((const __m256i *)data), total = _mm256_setzero_si256();
#define BEGIN(j) __m256i sum##j = _mm256_setzero_si256();
#define ADD(j) INT8_ADD(sum##j, weight, _mm256_loadu_si256(x + j))
#define END(j) total = _mm256_add_epi32(total, sum##j);
    TWELVE(BEGIN)
    for (int64_t s = 0; s < steps; s++) {
        const __m256i *x = (const __m256i *)(data + (s & 31) * 64);
        TWELVE(ADD)
    }
    TWELVE(END)
    return _mm256_extract_epi32(total, 0);
}
#else
#define INT8_NAME "a dot product in plain C, vectorised by the compiler"
#define INT8_STEP (L1 / 2)
static int64_t int8_steps(const int8_t *data, int64_t steps) {
    int64_t sum = 0;
    for (int64_t s = 0; s < steps; s++) {
        int32_t part = 0;
        for (int i = 0; i < L1 / 2; i++) part += (int32_t)data[i] * data[i + L1 / 2];
        __asm__ volatile("" ::: "memory"); /* keeps the compiler from hoisting the inner loop */
        sum += part;
    }
    return sum;
}
#endif
#undef BEGIN
#undef ADD
#undef END

#if defined(__AVX512F__)
typedef float floats __attribute__((vector_size(64)));
#elif defined(__AVX__)
typedef float floats __attribute__((vector_size(32)));
#else
typedef float floats __attribute__((vector_size(16)));
#endif
#define F32_STEP (12 * (int)(sizeof(floats) / sizeof(float)))
static int64_t f32_steps(const int8_t *data, int64_t steps) {
    floats a, b, total = {0};
    for (int i = 0; i < (int)(sizeof a / sizeof(float)); i++) a[i] = 0.5f, b[i] = data[i];
#define BEGIN(j) floats sum##j = b + (float)j;
#define ADD(j) sum##j = sum##j * a + b;
#define END(j) total += sum##j;
    TWELVE(BEGIN)
    for (int64_t s = 0; s < steps; s++) {
        TWELVE(ADD)
    }
    TWELVE(END)
    return (int64_t)total[0];
}
#undef BEGIN
#undef ADD
#undef END

const char *limits_int8_name(void) { return INT8_NAME; }

/* Multiply-adds per step. */
int limits_step(int kind) { return kind == INT8 ? INT8_STEP : kind == F32 ? F32_STEP : 0; }

/* --- reading --- */

static int64_t read_words(const uint64_t *words, int64_t count) {
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += words[i];
    return (int64_t)sum;
}

/* --- threads --- */

typedef struct {
    int kind, threads, passes;
    int64_t work; /* bytes or steps per thread */
    const char *data;
    double *seconds;
    atomic_int arrived, turn;
    atomic_llong sink;
} task;

typedef struct {
    task *task;
    int index;
} worker;

/* A barrier: returns once all threads of the task have called it. */
static void barrier(task *t) {
    int turn = atomic_load(&t->turn);
    if (atomic_fetch_add(&t->arrived, 1) == t->threads - 1) {
        atomic_store(&t->arrived, 0);
        atomic_fetch_add(&t->turn, 1);
    } else
        while (atomic_load(&t->turn) == turn) sched_yield();
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int64_t pass(const task *t, int index, const int8_t *operands) {
    switch (t->kind) {
    case READ: return read_words((const uint64_t *)(t->data + index * t->work), t->work / 8);
    case INT8: return int8_steps(operands, t->work);
    default: return f32_steps(operands, t->work);
    }
}

static void *work(void *argument) {
    worker *w = argument;
    task *t = w->task;
    _Alignas(64) int8_t operands[L1]; /* aligned, because loads across two cache lines take twice as long */
    memset(operands, 1, sizeof operands);
    for (int i = 0; i < t->passes; i++) {
        barrier(t);
        double began = now();
        atomic_fetch_add(&t->sink, pass(t, w->index, operands));
        barrier(t);
        if (w->index == 0) t->seconds[i] = now() - began;
    }
    return NULL;
}

/* In each pass each thread does `amount` of work: bytes read from its own part of `data`, or steps. `seconds[passes]`
 * receives the duration of each pass, until the last thread is done. Returns 0, or -1 for a wrong number of threads. */
int limits_run(int kind, int threads, int passes, int64_t amount, const char *data, double *seconds) {
    if (threads < 1 || threads > MOST_THREADS) return -1;
    task t = {.kind = kind, .threads = threads, .passes = passes, .work = amount, .data = data, .seconds = seconds};
    pthread_t handles[MOST_THREADS];
    worker workers[MOST_THREADS];
    for (int i = 0; i < threads; i++) {
        workers[i] = (worker){&t, i};
        if (i && pthread_create(&handles[i], NULL, work, &workers[i])) abort(); /* the others would wait for it forever */
    }
    work(&workers[0]);
    for (int i = 1; i < threads; i++) pthread_join(handles[i], NULL);
    return 0;
}
