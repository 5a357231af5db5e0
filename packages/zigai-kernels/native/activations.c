/* Rows of float32, converted to the form that integer kernels read.
   For quantised weights: int8 elements q; for each 32 of them a float scale d; for each 32, and again for each 16, the
   scaled sum d * sum(q), and `centre`, from which `below_zero` makes an initial partial sum: a pair of sums of q, one over
   columns 4 i and 4 i + 1, one over the other columns; with WIDE_PRODUCTS, SUM_FROM minus 128 times the sum of q.
   For fixed-point weights: int16 elements with magnitudes up to FIXED_MOST, and d for each 32. A row whose width is not
   a multiple of 32 is padded with zeros. */

enum { FIXED_MOST = (1 << FIXED_BITS) - 1 }; /* 32 products of two such numbers add up to less than 2^31 */

/* Byte offsets of the parts of a row after its elements, and its size. */
typedef struct {
    int64_t scales, sums_of_32, sums_of_16, centre_of_32, centre_of_16, bytes;
} row_layout;

/* The layout of a row for products with weights of a type. */
static row_layout input_row_layout(int type, int width) {
    const int64_t blocks = ceil_div(width, 32), part = align64(4 * blocks);
    if (is_float(type)) return (row_layout){.bytes = 4 * (int64_t)width};
    if (is_fixed(type)) return (row_layout){.scales = align64(64 * blocks), .bytes = align64(64 * blocks) + part};
    const int64_t scales = align64(32 * blocks);
    const int64_t sums = scales + part, pairs = sums + 3 * part;
    return (row_layout){scales, sums, sums + part, pairs, pairs + part, pairs + 3 * part};
}

int64_t zg_activation_bytes(int32_t type, int32_t width) { return input_row_layout(type, width).bytes; }

/* Returns the scale that maps `most` to the largest absolute value of 32 floats, or NaN if one of them is not
   finite. Sets its inverse, or 0 for a scale up to 1e-37, because the inverse of a subnormal number overflows: the
   block becomes zeros. */
static float block_scale(const float *x, float most, float *inverse) {
    float peak = peak_of_32(x);
    *inverse = peak > most * 1e-37f ? most / peak : 0.0f;
    return peak / most;
}

/* Quantises 32 floats to int8 and computes the pairs of sums of both halves. Returns the scale. */
static float quantize_block(const float *x, int8_t *q, int16_t pairs[4]) {
    float inverse, scale = block_scale(x, 127.0f, &inverse);
    quantize32(x, inverse, q, pairs);
    return scale;
}

/* Stores what `below_zero` reads, 4 bytes, of a pair of sums. Returns the whole sum. */
INLINE float store_centre(char *to, const int16_t pair[2]) {
    const int32_t sum = pair[0] + pair[1], wide = SUM_FROM - 128 * sum;
    memcpy(to, WIDE_PRODUCTS ? (const void *)&wide : pair, 4);
    return (float)sum;
}

static void quantize_row(const float *x, int type, int width, char *out) {
    const row_layout l = input_row_layout(type, width);
    int8_t *q = (int8_t *)out;
    float *d = (float *)(out + l.scales), *s32 = (float *)(out + l.sums_of_32), *s16 = (float *)(out + l.sums_of_16);
    char *of_32 = out + l.centre_of_32, *of_16 = out + l.centre_of_16;
    for (int b = 0; b < width / 32; b++, x += 32, q += 32, of_16 += 8, of_32 += 4) {
        int16_t pairs[4], both[2];
        d[b] = quantize_block(x, q, pairs);
        for (int i = 0; i < 2; i++) both[i] = (int16_t)(pairs[i] + pairs[i + 2]);
        s32[b] = d[b] * store_centre(of_32, both);
        for (int i = 0; i < 2; i++) s16[2 * b + i] = d[b] * store_centre(of_16 + 4 * i, pairs + 2 * i);
    }
}

static void fix_row(const float *x, int type, int width, char *out) {
    int16_t *q = (int16_t *)out;
    float *d = (float *)(out + input_row_layout(type, width).scales), rest[32] = {0}, inverse;
    for (int b = 0; 32 * b < width; b++, x += 32, q += 32) {
        if (32 * (b + 1) > width) x = memcpy(rest, x, (size_t)(width - 32 * b) * sizeof *x);
        d[b] = block_scale(x, (float)FIXED_MOST, &inverse);
        fix32(x, inverse, q);
    }
}

static void quantize_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    const float *x = (const float *)address(c, r->x) + (int64_t)chunk * r->width;
    char *out = (char *)address(c, r->output) + chunk * input_row_layout(r->type, r->width).bytes;
    (is_fixed(r->type) ? fix_row : quantize_row)(x, r->type, r->width, out);
}
