/* The k largest of a row of logits, without sorting the row. A row as it is: one pass finds the largest logit of each
   block, and the k best are in the k blocks with the largest ones. A row with edits or a mask: one pass collects the
   logits above a threshold; a full buffer is reduced to its k largest, of which the smallest is the new threshold. */

enum {
    LOGITS = 64, /* of a block */
    PANELS = 16, /* of a block of a row whose largest logits of each panel are known */
    CHAINS = 4,  /* vectors that are accumulated side by side */
    LINE = 16,   /* logits of a cache line */
    EARLY = 2048 /* logits by which lines are fetched early: a row is seldom in a near cache */
};

typedef struct {
    const float *row;
    const float *peaks;   /* the largest logit of each panel, NaN if one is not finite; or NULL */
    const uint32_t *mask; /* bit id % 32 of word id / 32 is set if token id may be chosen; or NULL */
    uint64_t *keys;
    int64_t room, count, k;
    float least;          /* the threshold; -inf before the first reduction */
    vf zero;              /* sum of 0 * logit: NaN if a logit of the row is not finite, else 0 */
} search;

/* A key that is larger for a larger logit, and for a lower id if logits are equal; 0 and -0 are equal. */
static inline uint64_t key_of(float x, int64_t id) {
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, 4);
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~(uint32_t)id;
}
static inline float logit_of(uint64_t key) {
    uint32_t bits = (uint32_t)(key >> 32);
    float x;
    bits = bits & 0x80000000u ? bits & 0x7fffffffu : ~bits;
    memcpy(&x, &bits, 4);
    return x;
}

static inline int64_t block_size(const search *s) { return s->peaks ? PANELS * PANEL : LOGITS; }

static inline int64_t least64(int64_t a, int64_t b) { return a < b ? a : b; }

/* Moves the k largest of `count` keys to the front by radix selection, in at most 8 passes. */
static void keep_largest(uint64_t *keys, int64_t count, int64_t k) {
    int64_t low = 0, high = count; /* the undecided range: all keys before it are among the k largest, none after it */
    for (int shift = 56; shift >= 0 && k < high; shift -= 8) {
        int64_t counts[256] = {0}, above = low, i = low, end;
        int bucket = 255;
        for (int64_t j = low; j < high; j++) counts[keys[j] >> shift & 255]++;
        while (above + counts[bucket] < k) above += counts[bucket--];
        end = above + counts[bucket];
        for (int64_t larger = low, smaller = high; i < smaller;) {
            uint64_t key = keys[i];
            int digit = (int)(key >> shift & 255);
            if (digit > bucket) keys[i++] = keys[larger], keys[larger++] = key;
            else if (digit < bucket) keys[i] = keys[--smaller], keys[smaller] = key;
            else i++;
        }
        low = above;
        high = end;
    }
}

/* Heapsort, largest first: it needs no additional memory. */
static void sort_keys(uint64_t *keys, int64_t count) {
    for (int64_t start = count / 2, end = count; end > 1;) {
        uint64_t key;
        int64_t at;
        if (start > 0) key = keys[at = --start];
        else {
            key = keys[--end];
            keys[end] = keys[0];
            at = 0;
        }
        for (int64_t child; (child = 2 * at + 1) < end; at = child) {
            if (child + 1 < end && keys[child + 1] < keys[child]) child++;
            if (keys[child] >= key) break;
            keys[at] = keys[child];
        }
        keys[at] = key;
    }
}

/* Adds a logit to the keys if it exceeds the threshold and the mask allows its token. */
static void offer(search *s, float x, int64_t id) {
    if (!(x > s->least) || (s->mask && !(s->mask[id >> 5] >> (id & 31) & 1))) return;
    s->keys[s->count++] = key_of(x, id);
    if (s->count < s->room) return;
    keep_largest(s->keys, s->count, s->k);
    s->count = s->k;
    uint64_t least = s->keys[0];
    for (int64_t i = 1; i < s->k; i++)
        if (s->keys[i] < least) least = s->keys[i];
    s->least = logit_of(least);
}

/* True if the words of the mask that cover the LOGITS tokens from `from` on have a bit set. */
static inline int allowed(const uint32_t *mask, int64_t from) {
    uint32_t any = 0;
    for (int64_t word = from >> 5; word <= (from + LOGITS - 1) >> 5; word++) any |= mask[word];
    return any != 0;
}

/* Offers the logits from..end of the row one by one. */
static void look_at_each(search *s, int64_t from, int64_t end) {
    for (int64_t i = from; i < end; i++) {
        s->zero = vf_fma(vf_set(s->row[i]), vf_zero(), s->zero);
        offer(s, s->row[i], i);
    }
}

/* Offers the logits from..end of the row; those of a panel without a large one are not read. */
static void look_at_panels(search *s, int64_t from, int64_t end) {
    const int64_t first = least64(end, (from + PANEL - 1) / PANEL * PANEL);
    int64_t i = first;
    look_at_each(s, from, first);
    for (; i + PANEL <= end; i += PANEL) {
        const float peak = s->peaks[i / PANEL];
        s->zero = vf_fma(vf_set(peak), vf_zero(), s->zero);
        if (peak <= s->least || (s->mask && !(s->mask[i >> 5] >> (i & 31) & 0xffff))) continue;
        for (int64_t id = i; id < i + PANEL; id++) offer(s, s->row[id], id);
    }
    look_at_each(s, i, end);
}

/* Offers the logits from..end of the row. */
static void look_through(search *s, int64_t from, int64_t end) {
    int64_t i = from;
    if (s->peaks) {
        look_at_panels(s, from, end);
        return;
    }
    for (; i + LOGITS <= end; i += LOGITS) {
        vf peak = vf_load(s->row + i);
        for (int j = 0; j < LOGITS; j += VF) {
            vf v = vf_load(s->row + i + j);
            peak = vf_max(peak, v);
            s->zero = vf_fma(v, vf_zero(), s->zero);
        }
        if (!(vf_peak(peak) > s->least) || (s->mask && !allowed(s->mask, i))) continue;
        for (int j = 0; j < LOGITS; j += VF)
            if (vf_peak(vf_load(s->row + i + j)) > s->least)
                for (int l = j; l < j + VF; l++) offer(s, s->row[i + l], i + l);
    }
    look_at_each(s, i, end);
}

/* Writes a key for each of the `whole` blocks of a row: its largest logit and its number. */
static void peaks_of_blocks(search *s, int64_t whole) {
    vf zeros[CHAINS]; /* sums of 0 * logit; several, as each addition waits for the one before it */
    for (int c = 0; c < CHAINS; c++) zeros[c] = vf_zero();
    for (int64_t b = 0; b < whole; b++) {
        const float *row = s->row + b * LOGITS;
        vf peaks[CHAINS];
        for (int j = 0; j < LOGITS; j += LINE) __builtin_prefetch(row + EARLY + j);
        for (int c = 0; c < CHAINS; c++) peaks[c] = vf_load(row + c * VF);
        for (int j = 0; j < LOGITS; j += CHAINS * VF)
            for (int c = 0; c < CHAINS; c++) {
                const vf v = vf_load(row + j + c * VF);
                peaks[c] = vf_max(peaks[c], v);
                zeros[c] = vf_fma(v, vf_zero(), zeros[c]);
            }
        for (int c = 1; c < CHAINS; c++) peaks[0] = vf_max(peaks[0], peaks[c]);
        s->keys[b] = key_of(vf_peak(peaks[0]), b);
    }
    for (int c = 0; c < CHAINS; c++) s->zero = vf_add(s->zero, zeros[c]);
}

/* The same for blocks of PANELS panels, from their largest logits. */
static void peaks_of_panels(search *s, int64_t whole) {
    for (int64_t b = 0; b < whole; b++) {
        const float *peaks = s->peaks + b * PANELS;
        vf peak = vf_load(peaks);
        for (int j = 0; j < PANELS; j += VF) {
            const vf v = vf_load(peaks + j);
            peak = vf_max(peak, v);
            s->zero = vf_fma(v, vf_zero(), s->zero);
        }
        s->keys[b] = key_of(vf_peak(peak), b);
    }
}

/* Moves the k best of a row, which is used as it is, to the front of the keys. Of equal largest logits, a block before
   another is preferred, as its tokens are. Returns their number; -1 if a logit is not finite. `keys` has room for a key
   for each block and for all logits of k blocks. */
static int64_t look_by_blocks(search *s, int64_t n) {
    const int64_t size = block_size(s), whole = n / size, blocks = (n + size - 1) / size;
    uint64_t *found = s->keys + blocks;
    if (s->peaks) peaks_of_panels(s, whole);
    else peaks_of_blocks(s, whole);
    if (whole < blocks) {
        const float *row = s->row + whole * size;
        float largest = row[0];
        for (int j = 0; j < n - whole * size; j++) {
            s->zero = vf_fma(vf_set(row[j]), vf_zero(), s->zero);
            if (row[j] > largest) largest = row[j];
        }
        s->keys[whole] = key_of(largest, whole);
    }
    if (vf_sum(s->zero) != 0.0f) return -1;
    int64_t chosen = least64(s->k, blocks), count = 0;
    keep_largest(s->keys, blocks, chosen);
    uint64_t least = s->keys[0];
    for (int64_t i = 1; i < chosen; i++)
        if (s->keys[i] < least) least = s->keys[i];
    const float threshold = blocks > s->k ? logit_of(least) : -INFINITY;
    for (int64_t i = 0; i < chosen; i++) {
        const int64_t block = (uint32_t)~(uint32_t)s->keys[i], end = least64(n, (block + 1) * size);
        for (int64_t from = block * size; from < end; from += PANEL) {
            if (s->peaks && block < whole && s->peaks[from / PANEL] < threshold) continue;
            for (int64_t id = from; id < least64(end, from + PANEL); id++)
                if (s->row[id] >= threshold) found[count++] = key_of(s->row[id], id);
        }
    }
    keep_largest(found, count, s->k);
    count = least64(count, s->k);
    memmove(s->keys, found, (size_t)count * sizeof *found);
    return count;
}

/* Finds the k best of a row of n logits and writes them to `ids` and `logits`, the best first. Returns their number,
   at most k: -inf and NaN are never among them. `peaks` are those of the row's panels, or NULL. The ids in `edited` ascend, each once; their logits are replaced by
   `values`. `keys` is scratch memory for `room` > k keys. `damaged` becomes the first id whose logit in the row
   itself is not finite, or -1. */
int64_t zg_best(const float *row, int64_t n, const float *peaks, int64_t k, const int32_t *edited, const float *values,
                int64_t edits, const uint32_t *mask, uint64_t *keys, int64_t room, int32_t *ids, float *logits,
                int64_t *damaged) {
    search s = {row, peaks, mask, keys, room, 0, k, -INFINITY, vf_zero()};
    const int plain = !edits && !mask && room >= n / block_size(&s) + 1 + k * block_size(&s);
    int64_t next = 0;
    s.count = plain ? look_by_blocks(&s, n) : -1;
    if (s.count < 0) {
        s.count = 0;
        s.zero = vf_zero();
        for (int64_t i = 0; i < edits; next = edited[i++] + 1) {
            look_through(&s, next, edited[i]);
            s.zero = vf_fma(vf_set(row[edited[i]]), vf_zero(), s.zero);
            offer(&s, values[i], edited[i]);
        }
        look_through(&s, next, n);
        keep_largest(keys, s.count, k);
        if (s.count > k) s.count = k;
    }
    sort_keys(keys, s.count);
    for (int64_t i = 0; i < s.count; i++) {
        ids[i] = (int32_t)~(uint32_t)keys[i];
        logits[i] = logit_of(keys[i]);
    }
    *damaged = -1;
    if (vf_sum(s.zero) != 0.0f)
        for (int64_t i = n - 1; i >= 0; i--)
            if (!(fabsf(row[i]) < INFINITY)) *damaged = i;
    return s.count;
}
