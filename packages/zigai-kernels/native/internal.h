/* Shared by all operation families: the executor, chunks of work, small vector functions. */

struct zg_executor {
    const zg_plan *plan;
    const zg_step *step;
    char *scratch;
    char *thread_scratch;
    char **caches;           /* the pages of each group */
    int32_t *pages;          /* number of pages of each group */
    float *partials;         /* attention's partial result of each span */
    int64_t scratch_bytes, thread_bytes;
    int32_t threads;         /* number of threads of a step, including the caller's */
    int32_t tiles;           /* number of tiles in this step */
    int32_t *tile_starts;    /* first row of each tile, then the end of the last tile */
    int32_t spans;           /* spans of the longest tile if this step is split by spans, else 0 */
    int32_t *part_starts;    /* if split: index of each tile's first span, then the end of the last */
    atomic_int *spans_done;  /* if split: spans completed, per tile and KV head */
    int32_t kv_heads;        /* largest number of KV heads of any layer */
    int64_t *spent;          /* nanoseconds per thread and record, until the record's stage is complete */
    atomic_int stopped;      /* set once this step has seen `stop`: the step stays stopped even if that is cleared */
    int64_t began;           /* nanoseconds: start of the stage, if the step is profiled */
    int64_t next_poll;       /* nanoseconds */
};

/* An operation: the number of chunks that its work in a step is split into, and the function that runs one chunk.
   Chunks of a record run in any order on any thread, so no chunk may read what another chunk writes. Without a
   `chunks` function a chunk is one row, computed from the same row of its inputs or from results of earlier stages. */
typedef struct {
    int (*chunks)(const zg_executor *c, const zg_record *r);
    void (*run)(zg_executor *c, const zg_record *r, int chunk, int thread);
} family;

static inline int64_t align64(int64_t n) { return (n + 63) / 64 * 64; }
static inline int ceil_div(int64_t a, int64_t b) { return (int)((a + b - 1) / b); }
static inline int least(int a, int b) { return a < b ? a : b; }

static inline int stopping(zg_executor *c) {
    if (__atomic_load_n(c->step->stop, __ATOMIC_RELAXED))
        atomic_store_explicit(&c->stopped, 1, memory_order_relaxed);
    return atomic_load_explicit(&c->stopped, memory_order_relaxed);
}

static inline int rows_of(const zg_executor *c, const zg_record *r) {
    int rows = r->rows == ZG_WANTED ? c->step->wanted : c->step->tokens;
    return r->repeat ? rows * r->repeat : rows;
}
static inline void *address(const zg_executor *c, int64_t offset) {
    return offset < 0 ? (void *)c->step->outputs[-1 - offset] : (void *)(c->scratch + offset);
}

static inline uint16_t read_u16(const uint8_t *p) { uint16_t x; memcpy(&x, p, 2); return x; }
static inline uint32_t read_u32(const uint8_t *p) { uint32_t x; memcpy(&x, p, 4); return x; }
INLINE float read_f16(const uint8_t *p) { return f32_from_f16(read_u16(p)); }

/* The first n floats at p, padded with zeros, so that tails use the same arithmetic as full vectors. */
INLINE vf vf_load_part(const float *p, int n) {
    float part[VF] = {0};
    memcpy(part, p, (size_t)n * sizeof *p);
    return vf_load(part);
}
INLINE void vf_store_part(float *p, vf v, int n) {
    float part[VF];
    vf_store(part, v);
    memcpy(p, part, (size_t)n * sizeof *p);
}

/* The largest of 32 absolute values; NaN if one of them is not finite. */
INLINE float peak_of_32(const float *x) {
    vf peak = vf_zero(), zero = vf_zero(); /* x * 0 is NaN if x is not finite */
    for (int i = 0; i < 32; i += VF) {
        vf v = vf_load(x + i);
        peak = vf_max(peak, vf_abs(v));
        zero = vf_fma(v, vf_zero(), zero);
    }
    return vf_peak(peak) + vf_sum(zero);
}

/* e^x with a relative error of about 1e-7, after Cephes' expf (Moshier): x = n ln 2 + r, a polynomial in r, times 2^n.
   0 below -87.3, infinite above 88; NaN stays NaN. */
INLINE vf vf_exp(vf x) {
    const vf low = vf_set(-87.3f), high = vf_set(88.0f);
    vf y = vf_min(high, vf_max(low, x));
    vf n = vf_round(vf_mul(y, vf_set(1.44269504f)));
    vf r = vf_fma(n, vf_set(2.12194440e-4f), vf_fma(n, vf_set(-0.693359375f), y));
    vf p = vf_set(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set(5.0000001201e-1f));
    p = vf_add(vf_fma(vf_mul(r, r), p, r), vf_set(1.0f));
    y = vf_below(x, low, vf_zero(), vf_mul(p, vf_pow2(n)));
    return vf_below(high, x, vf_set(INFINITY), y);
}

/* tanh x = 1 - 2 / (e^2x + 1); near 0, where that difference loses digits, its Taylor series. */
INLINE vf vf_tanh(vf x) {
    vf far = vf_sub(vf_set(1.0f), vf_div(vf_set(2.0f), vf_add(vf_exp(vf_add(x, x)), vf_set(1.0f))));
    vf s = vf_mul(x, x);
    vf near = vf_fma(s, vf_set(62.0f / 2835.0f), vf_set(-17.0f / 315.0f));
    near = vf_fma(s, near, vf_set(2.0f / 15.0f));
    near = vf_fma(s, near, vf_set(-1.0f / 3.0f));
    near = vf_fma(vf_mul(s, x), near, x);
    return vf_below(vf_abs(x), vf_set(0.25f), near, far);
}
