/* Rows of float32 as the integer kernels read them: int8, and for each 32 of them a float scale d, the scaled
   sum d * sum(q), and the sums of q over both halves. Where products of unsigned bytes do not fit into int16, WIDENED,
   int16 as well: of each 32 the even ones, then the odd ones. */

#ifdef ZG_WIDE_PRODUCTS
enum { WIDENED = 0 };
#else
enum { WIDENED = 1 };
#endif

/* A row is its int8 elements, then the scales, the scaled sums, the pairs of int16 sums and the int16 elements. */
static inline int64_t activation_part(int width) { return align64((int64_t)width / 32 * 4); }
static inline int64_t activation_scales(int width) { return align64(width); }
static inline int64_t activation_sums(int width) { return activation_scales(width) + activation_part(width); }
static inline int64_t activation_halves(int width) { return activation_sums(width) + activation_part(width); }
static inline int64_t activation_widened(int width) { return activation_halves(width) + activation_part(width); }
static inline int64_t activation_bytes(int width) { return activation_widened(width) + (WIDENED ? align64(2 * (int64_t)width) : 0); }

int64_t zg_activation_bytes(int32_t width) { return activation_bytes(width); }

/* 32 floats as int8 and the sums of both halves. Returns their scale, that of the largest over 127; NaN where one
   is not finite. A subnormal peak has no finite inverse worth having: such a block counts as zeros. */
static float quantize_block(const float *x, int8_t *q, int16_t *halves) {
    vf peak = vf_zero(), zero = vf_zero(); /* x * 0 is NaN for what is not finite */
    for (int i = 0; i < 32; i += VF) {
        vf v = vf_load(x + i);
        peak = vf_max(peak, vf_abs(v));
        zero = vf_fma(v, vf_zero(), zero);
    }
    float most = vf_peak(peak);
    quantize32(x, most > 1e-35f ? 127.0f / most : 0.0f, q, halves);
    return most / 127.0f + vf_sum(zero);
}

static void quantize_row(const float *x, int width, char *out) {
    int8_t *q = (int8_t *)out;
    float *d = (float *)(out + activation_scales(width)), *s = (float *)(out + activation_sums(width));
    int16_t *halves = (int16_t *)(out + activation_halves(width));
    int16_t *widened = (int16_t *)(out + activation_widened(width));
    for (int b = 0; b < width / 32; b++, x += 32, q += 32, halves += 2) {
        d[b] = quantize_block(x, q, halves);
        s[b] = d[b] * (float)(halves[0] + halves[1]);
        for (int i = 0; WIDENED && i < 16; i++) widened[32 * b + i] = q[2 * i], widened[32 * b + 16 + i] = q[2 * i + 1];
    }
}

static void quantize_run(zg_context *c, const zg_record *r, int chunk, int thread) {
    (void)thread;
    quantize_row((const float *)address(c, r->x) + (int64_t)chunk * r->width, r->width,
                 (char *)address(c, r->output) + chunk * activation_bytes(r->width));
}
