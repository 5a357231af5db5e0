/* Short convolutions: each channel of a row with its own filter over the row and those before it. A chunk is a block of
   channels of one sequence. The state in a slot is [taps - 1][channels], the last inputs. */

enum { CHANNELS = 256 };

static int short_conv_chunks(const zg_executor *c, const zg_record *r) {
    return c->step->slots->sequences * ceil_div(r->width, CHANNELS);
}

/* A thread's memory: the block's filters [taps][CHANNELS], zeros, and where the inputs of a row are. */
typedef struct {
    float *filters, *zeros;
    const float **seen;
} conv_memory;

static conv_memory conv_memory_at(char *p, int taps) {
    float *filters = (float *)p, *zeros = filters + (int64_t)taps * CHANNELS;
    return (conv_memory){filters, zeros, (const float **)(zeros + CHANNELS)};
}

static void short_conv_run(zg_executor *c, const zg_record *r, int chunk, int thread) {
    const zg_slots *s = c->step->slots;
    const int taps = r->inner, blocks = ceil_div(r->width, CHANNELS), sequence = chunk / blocks;
    const int first = chunk % blocks * CHANNELS, used = least(CHANNELS, r->width - first);
    const int start = s->starts[sequence], read = s->reads[sequence];
    const conv_memory m = conv_memory_at(c->thread_scratch + thread * c->thread_bytes, taps);
    const float *x = (const float *)address(c, r->x) + first, *w = (const float *)r->weight + (int64_t)first * taps;
    const float *before = read < 0 ? NULL : (const float *)in_slot(c, r, read) + first;
    float *y = (float *)address(c, r->output) + first;
    memset(m.filters, 0, (size_t)(taps + 1) * CHANNELS * sizeof *m.filters); /* `zeros`, too */
    transpose(w, used, taps, m.filters, CHANNELS);
    for (int place = start; place < s->starts[sequence + 1]; place++) {
        if (stopping(c)) return;
        for (int tap = 0; tap < taps; tap++) {
            const int at = place + tap - (taps - 1); /* before `start`: one of the last inputs before the step */
            m.seen[tap] = at >= start ? x + s->rows[at] * (int64_t)r->width
                          : before    ? before + (int64_t)(at - start + taps - 1) * r->width
                                      : m.zeros;
        }
        float *out = y + s->rows[place] * (int64_t)r->width;
        for (int i = 0; i < used; i += VF) {
            const int n = least(VF, used - i);
            vf sum = !r->bias ? vf_zero() : n == VF ? vf_load(r->bias + first + i) : vf_load_part(r->bias + first + i, n);
            for (int tap = 0; tap < taps; tap++) {
                const float *from = m.seen[tap] + i;
                sum = vf_fma(n == VF ? vf_load(from) : vf_load_part(from, n),
                             vf_load(m.filters + (int64_t)tap * CHANNELS + i), sum);
            }
            if (n == VF) vf_store(out + i, sum);
            else vf_store_part(out + i, sum, n);
        }
        for (int i = s->write_starts[place]; i < s->write_starts[place + 1]; i++) {
            float *after = (float *)in_slot(c, r, s->writes[i]) + first;
            for (int tap = 1; tap < taps; tap++)
                memcpy(after + (int64_t)(tap - 1) * r->width, m.seen[tap], (size_t)used * sizeof *after);
        }
    }
}

/* ---- sizes of all operations with a recurrent state ---- */

/* The bytes of its state in a slot. */
int64_t zg_slot_bytes(const zg_record *r) {
    int64_t floats = (int64_t)(r->inner - 1) * r->width;
    if (r->operation == ZG_GATED_DELTA) floats = (int64_t)r->heads * whole_vectors(r->value_dim) * r->head_dim;
    if (r->operation == ZG_SELECTIVE_SCAN) floats = (int64_t)r->groups * whole_vectors(group_width(r)) * r->head_dim;
    return align64(4 * floats);
}

/* The bytes of scratch memory that a thread needs. */
int64_t zg_recurrent_bytes(const zg_record *r) {
    if (r->operation == ZG_SHORT_CONV) return ((int64_t)r->inner + 1) * CHANNELS * 4 + r->inner * (int64_t)sizeof(float *);
    return (int64_t)r->head_dim * COLUMNS * 4 * (r->operation == ZG_SELECTIVE_SCAN ? 2 : 1);
}

/* The number of chunks of a sequence. */
int64_t zg_recurrent_chunks(const zg_record *r) {
    if (r->operation == ZG_SHORT_CONV) return ceil_div(r->width, CHANNELS);
    return r->operation == ZG_GATED_DELTA ? (int64_t)r->heads * column_blocks(r->value_dim)
                                          : (int64_t)r->groups * column_blocks(group_width(r));
}
