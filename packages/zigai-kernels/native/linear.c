/* Quantise and Linear: dot products with the rows of a matrix. Block layouts are GGUF's (ggml-quants.h);
   a row of a matrix is a run of blocks. */

/* ---- activations: int8, a float scale d and the scaled sum d * sum(q) for each 32 ---- */

static void quantize_row(const float *x, int width, char *out) {
    int8_t *q = (int8_t *)out;
    float *d = (float *)(out + activation_scales(width)), *s = (float *)(out + activation_sums(width));
    for (int b = 0; b < width / 32; b++, x += 32, q += 32) {
        vf peak = vf_zero(), zero = vf_zero(); /* x * 0 is NaN for what is not finite, and then so is d */
        for (int i = 0; i < 32; i += VF) {
            vf v = vf_load(x + i);
            peak = vf_max(peak, vf_abs(v));
            zero = vf_fma(v, vf_zero(), zero);
        }
        float most = vf_peak(peak);
        d[b] = most / 127.0f + vf_sum(zero);
        /* a subnormal peak has no finite inverse worth having: such a block counts as zeros */
        s[b] = d[b] * (float)quantize32(x, most > 1e-35f ? 127.0f / most : 0.0f, q);
    }
}

static int quantize_chunks(const zg_context *c, const zg_record *r) { return rows_of(c, r); }

static void quantize_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    quantize_row((const float *)address(c, r->x) + (int64_t)chunk * r->width, r->width,
                 (char *)address(c, r->output) + chunk * activation_bytes(r->width));
}

/* ---- dot products of a row of blocks with TILE rows of activations at once ---- */

#define TILE 4 /* a constant: gcc spills accumulator arrays that are sized by a parameter */

typedef struct {
    const char *row[TILE];
    int scales, sums; /* byte offsets within a row */
} activations;

INLINE bytes act_q(const activations *a, int t, int at) { return bytes_load(a->row[t] + at); }
INLINE const float *act_d(const activations *a, int t) { return (const float *)(a->row[t] + a->scales); }
INLINE const float *act_s(const activations *a, int t) { return (const float *)(a->row[t] + a->sums); }

/* Rows of blocks of 32: x = d * q + m, where m is a multiple of d for some types. The sum of m * activations
   is m times their scaled sum. q is unsigned but for Q8_0. */
#define QUANTS_Q4_0(p) bytes_nibbles(p + 2)
#define QUANTS_Q4_1(p) bytes_nibbles(p + 4)
#define QUANTS_Q5_0(p) bytes_or(bytes_nibbles(p + 6), bytes_from_bits(p + 2))
#define QUANTS_Q5_1(p) bytes_or(bytes_nibbles(p + 8), bytes_from_bits(p + 4))
#define QUANTS_Q8_0(p) bytes_load(p + 2)

#define UNSIGNED(x) dot_unsigned(q, x)
#define SIGNED(x) dot_signed(q, bytes_abs(q), x)

/* What a type does with 32 weights. */
#define BLOCK_STEP(NAME, DOT, p, at, scale)                                                        \
    do {                                                                                           \
        bytes q = QUANTS_##NAME((p));                                                              \
        _Pragma("GCC unroll 4") for (int t = 0; t < nt; t++)                                       \
            sum[t] = v8_fma(DOT(act_q(a, t, at)), v8_set(scale), sum[t]);                          \
    } while (0)

/* The products of weight and activation scales are made for 8 blocks at a time: to convert and spread them
   one by one would cost as much as the dot products. MIN8 and MIN1 give m for 8 blocks and for one. */
#define DOT_BLOCKS(NAME, BYTES, DOT, HAS_MIN, MIN8, MIN1)                                          \
    INLINE void dot_##NAME(const uint8_t *w, int width, const activations *a, float *y, int nt) {  \
        v8 sum[TILE];                                                                              \
        float rest[TILE];                                                                          \
        for (int t = 0; t < nt; t++) sum[t] = v8_zero(), rest[t] = 0.0f;                           \
        int b = 0;                                                                                 \
        for (; b + 8 <= width / 32; b += 8, w += 8 * BYTES) {                                      \
            float scale[TILE][8];                                                                  \
            v8 d = v8_gather_f16(w, BYTES), m = MIN8;                                              \
            for (int t = 0; t < nt; t++) {                                                         \
                v8_store(scale[t], v8_mul(d, v8_load(act_d(a, t) + b)));                           \
                if (HAS_MIN) sum[t] = v8_fma(m, v8_load(act_s(a, t) + b), sum[t]);                 \
            }                                                                                      \
            _Pragma("GCC unroll 1") for (int i = 0; i < 8; i++)                                    \
                BLOCK_STEP(NAME, DOT, w + i * BYTES, 32 * (b + i), scale[t][i]);                   \
        }                                                                                          \
        for (; b < width / 32; b++, w += BYTES) {                                                  \
            float d = read_f16(w), m = MIN1;                                                       \
            BLOCK_STEP(NAME, DOT, w, 32 * b, d * act_d(a, t)[b]);                                  \
            if (HAS_MIN)                                                                           \
                for (int t = 0; t < nt; t++) rest[t] += m * act_s(a, t)[b];                        \
        }                                                                                          \
        for (int t = 0; t < nt; t++) y[t] = v8_sum(sum[t]) + rest[t];                              \
    }

DOT_BLOCKS(Q4_0, 18, UNSIGNED, 1, v8_mul(d, v8_set(-8.0f)), d * -8.0f)
DOT_BLOCKS(Q5_0, 22, UNSIGNED, 1, v8_mul(d, v8_set(-16.0f)), d * -16.0f)
DOT_BLOCKS(Q4_1, 20, UNSIGNED, 1, v8_gather_f16(w + 2, 20), read_f16(w + 2))
DOT_BLOCKS(Q5_1, 24, UNSIGNED, 1, v8_gather_f16(w + 2, 24), read_f16(w + 2))
DOT_BLOCKS(Q8_0, 34, SIGNED, 0, v8_zero(), 0.0f)

/* Q4_K and Q5_K keep 8 scales and 8 mins of 6 bits in 12 bytes: sm[0..7] scales, sm[8..15] mins. */
INLINE void unpack_k_scales(const uint8_t *p, uint8_t sm[16]) {
    uint32_t a = read_u32(p), b = read_u32(p + 4), c = read_u32(p + 8);
    uint32_t out[4] = {
        a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | ((a >> 2) & 0x30303030),
        b & 0x3f3f3f3f, ((c >> 4) & 0x0f0f0f0f) | ((b >> 2) & 0x30303030)};
    memcpy(sm, out, 16);
}

/* What the three K types do with 32 weights that share scales j. */
#define K_STEP(DOT, j)                                                                             \
    _Pragma("GCC unroll 4") for (int t = 0; t < nt; t++)                                           \
        part[t] = v8_fma(DOT(act_q(a, t, 256 * b + 32 * (j))), v8_set(act_d(a, t)[8 * b + (j)]), part[t])

/* x = d * scale * q - dmin * min, per 32 */
#define DOT_K(NAME, BYTES, QUANTS, LOW, HIGH)                                                      \
    INLINE void dot_##NAME(const uint8_t *w, int width, const activations *a, float *y, int nt) {  \
        v8 sum[TILE];                                                                              \
        for (int t = 0; t < nt; t++) sum[t] = v8_zero();                                           \
        for (int b = 0; b < width / 256; b++, w += BYTES) {                                        \
            uint8_t sm[16];                                                                        \
            unpack_k_scales(w + 4, sm);                                                            \
            scales s = scales_from_u8(sm);                                                         \
            v8 d = v8_set(read_f16(w));                                                            \
            v8 mins = v8_mul(v8_from_u8(sm + 8), v8_set(-read_f16(w + 2)));                        \
            v8 part[TILE];                                                                         \
            for (int t = 0; t < nt; t++) part[t] = v8_zero();                                      \
            _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {                                  \
                bytes q = bytes_load(w + QUANTS + 32 * i), low = LOW, high = HIGH;                 \
                K_STEP(LOW_DOT, 2 * i);                                                            \
                K_STEP(HIGH_DOT, 2 * i + 1);                                                       \
            }                                                                                      \
            _Pragma("GCC unroll 4") for (int t = 0; t < nt; t++)                                   \
                sum[t] = v8_fma(part[t], d, v8_fma(mins, v8_load(act_s(a, t) + 8 * b), sum[t]));   \
        }                                                                                          \
        for (int t = 0; t < nt; t++) y[t] = v8_sum(sum[t]);                                        \
    }
#define LOW_DOT(x) dot_unsigned_scaled(low, x, s, 2 * i)
#define HIGH_DOT(x) dot_unsigned_scaled(high, x, s, 2 * i + 1)
#define FIFTH_BIT(shift) bytes_shift_left(bytes_bits(bytes_load(w + 16), shift, 1), 4)

DOT_K(Q4_K, 144, 16, bytes_bits(q, 0, 15), bytes_bits(q, 4, 15))
DOT_K(Q5_K, 176, 48, bytes_or(bytes_bits(q, 0, 15), FIFTH_BIT(2 * i)),
      bytes_or(bytes_bits(q, 4, 15), FIFTH_BIT(2 * i + 1)))

/* x = d * scale * (q - 32), a scale per 16. Each half of 128 holds 64 bytes of low nibbles, 32 of high bits. */
INLINE void dot_Q6_K(const uint8_t *w, int width, const activations *a, float *y, int nt) {
    v8 sum[TILE];
    for (int t = 0; t < nt; t++) sum[t] = v8_zero();
    for (int b = 0; b < width / 256; b++, w += 210) {
        scales s = scales_from_i8_pairs(w + 192);
        v8 d = v8_set(read_f16(w + 208)), part[TILE];
        for (int t = 0; t < nt; t++) part[t] = v8_zero();
        _Pragma("GCC unroll 2") for (int half = 0; half < 2; half++) {
            bytes high = bytes_load(w + 128 + 32 * half);
            _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
                bytes low = bytes_bits(bytes_load(w + 64 * half + 32 * (i % 2)), i < 2 ? 0 : 4, 15);
                bytes q = bytes_or(low, bytes_shift_left(bytes_bits(high, 2 * i, 3), 4));
                q = bytes_sub(q, bytes_set(32));
                bytes magnitude = bytes_abs(q);
#define SIX_DOT(x) dot_signed_scaled(q, magnitude, x, s, 4 * half + i)
                K_STEP(SIX_DOT, 4 * half + i);
            }
        }
        _Pragma("GCC unroll 4") for (int t = 0; t < nt; t++) sum[t] = v8_fma(part[t], d, sum[t]);
    }
    for (int t = 0; t < nt; t++) y[t] = v8_sum(sum[t]);
}

/* ---- float weights: float arithmetic ---- */

INLINE float f32_from_bf16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
INLINE vf vector_F32(const uint8_t *p) { vf v; memcpy(&v, p, sizeof v); return v; }
INLINE vf vector_F16(const uint8_t *p) { return vf_load_f16(p); }
INLINE vf vector_BF16(const uint8_t *p) { return vf_load_bf16(p); }
INLINE float single_F32(const uint8_t *p) { float x; memcpy(&x, p, 4); return x; }
INLINE float single_F16(const uint8_t *p) { return read_f16(p); }
INLINE float single_BF16(const uint8_t *p) { return f32_from_bf16(read_u16(p)); }

#define DOT_FLOAT(NAME, BYTES)                                                                     \
    INLINE void dot_##NAME(const uint8_t *w, int width, const activations *a, float *y, int nt) {  \
        vf even[TILE], odd[TILE];                                                                  \
        float rest[TILE];                                                                          \
        for (int t = 0; t < nt; t++) even[t] = odd[t] = vf_zero(), rest[t] = 0.0f;                 \
        int i = 0;                                                                                 \
        for (; i + 2 * VF <= width; i += 2 * VF) {                                                 \
            vf first = vector_##NAME(w + (int64_t)i * BYTES);                                      \
            vf second = vector_##NAME(w + (int64_t)(i + VF) * BYTES);                              \
            _Pragma("GCC unroll 4") for (int t = 0; t < nt; t++) {                                 \
                const float *x = (const float *)a->row[t] + i;                                     \
                even[t] = vf_fma(first, vf_load(x), even[t]);                                      \
                odd[t] = vf_fma(second, vf_load(x + VF), odd[t]);                                  \
            }                                                                                      \
        }                                                                                          \
        for (; i < width; i++)                                                                     \
            for (int t = 0; t < nt; t++)                                                           \
                rest[t] += single_##NAME(w + (int64_t)i * BYTES) * ((const float *)a->row[t])[i];  \
        for (int t = 0; t < nt; t++) y[t] = vf_sum(vf_add(even[t], odd[t])) + rest[t];             \
    }

DOT_FLOAT(F32, 4)
DOT_FLOAT(F16, 2)
DOT_FLOAT(BF16, 2)

/* ---- Linear ---- */

enum { CHUNK_BYTES = 65536, MOST_ROWS = 64, LEAST_ROWS = 4, ROWS_FOR_MANY = 16 };

/* Rows of the weight in a chunk: enough work to be worth fetching, enough chunks for every thread. */
static int linear_rows(const zg_context *c, const zg_record *r) {
    int64_t rows = CHUNK_BYTES / r->stride;
    int share = ceil_div(r->width, (int64_t)c->pool.threads * 4);
    if (rows > share) rows = share;
    if (rows > MOST_ROWS) rows = MOST_ROWS;
    if (rows > ROWS_FOR_MANY && rows_of(c, r) > TILE) rows = ROWS_FOR_MANY;
    return rows < LEAST_ROWS ? LEAST_ROWS : (int)rows;
}

static int linear_chunks(const zg_context *c, const zg_record *r) {
    return rows_of(c, r) ? ceil_div(r->width, linear_rows(c, r)) : 0;
}

/* The rows that meet a matrix: all n of x, or those that `order` lists. Item order[i] is row order[i] of out
   and row order[i] / divide of x. */
typedef struct {
    const char *x;
    int64_t x_stride;
    float *out;
    const int32_t *order;
    int divide, n;
} linear_job;

INLINE const char *input_row(const linear_job *job, int i) {
    return job->x + (job->order ? job->order[i] / job->divide : i) * job->x_stride;
}

/* Columns first..end of the output. Each (row of x, row of the weight) is one and the same chain of
   operations whatever the tile, so a batch gives what its rows give alone. */
typedef void linear_kernel(const zg_record *r, const uint8_t *weight, const linear_job *job, int first, int end);

INLINE void store_tile(const zg_record *r, const linear_job *job, const float *y, int t, int column, int nt) {
    for (int i = 0; i < nt; i++) {
        int64_t row = job->order ? job->order[t + i] : t + i;
        job->out[row * r->width + column] = r->bias ? y[i] + r->bias[column] : y[i];
    }
}

#define LINEAR_TILE(NAME, NT)                                                                      \
    do {                                                                                           \
        for (int i = 0; i < NT; i++) a.row[i] = input_row(job, t + i);                             \
        for (int column = first; column < end; column++) {                                         \
            float y[TILE];                                                                         \
            dot_##NAME(weight + column * r->stride, r->inner, &a, y, NT);                          \
            store_tile(r, job, y, t, column, NT);                                                  \
        }                                                                                          \
    } while (0)

#define LINEAR(NAME)                                                                               \
    static void linear_##NAME(const zg_record *r, const uint8_t *weight, const linear_job *job,    \
                              int first, int end) {                                                \
        activations a = {.scales = (int)activation_scales(r->inner),                               \
                         .sums = (int)activation_sums(r->inner)};                                  \
        int t = 0, n = job->n;                                                                     \
        for (; t + TILE <= n; t += TILE) LINEAR_TILE(NAME, TILE);                                  \
        if (n - t == 3) LINEAR_TILE(NAME, 3);                                                      \
        else if (n - t == 2) LINEAR_TILE(NAME, 2);                                                 \
        else if (n - t == 1) LINEAR_TILE(NAME, 1);                                                 \
    }

LINEAR(F32)
LINEAR(F16)
LINEAR(BF16)
LINEAR(Q4_0)
LINEAR(Q4_1)
LINEAR(Q5_0)
LINEAR(Q5_1)
LINEAR(Q8_0)
LINEAR(Q4_K)
LINEAR(Q5_K)
LINEAR(Q6_K)

static linear_kernel *const linear_kernels[ZG_TYPES] = {
    [ZG_F32] = linear_F32, [ZG_F16] = linear_F16, [ZG_BF16] = linear_BF16,
    [ZG_Q4_0] = linear_Q4_0, [ZG_Q4_1] = linear_Q4_1, [ZG_Q5_0] = linear_Q5_0, [ZG_Q5_1] = linear_Q5_1,
    [ZG_Q8_0] = linear_Q8_0, [ZG_Q4_K] = linear_Q4_K, [ZG_Q5_K] = linear_Q5_K, [ZG_Q6_K] = linear_Q6_K,
};

static int64_t input_stride(const zg_record *r) {
    return r->type <= ZG_BF16 ? (int64_t)r->inner * 4 : activation_bytes(r->inner);
}

static void linear_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    int rows = linear_rows(c, r), first = chunk * rows;
    linear_job job = {address(c, r->x), input_stride(r), address(c, r->output), NULL, 1, rows_of(c, r)};
    linear_kernels[r->type](r, r->weight, &job, first, least(first + rows, r->width));
}
