/* Checksums of packed weights, to detect accidental changes of a file; they are no protection against an attacker.
   Lanes are updated as in XXH32 (Collet, xxHash's specification), but there are 64 of them in place of 4, and they
   are combined by a rotation and a multiplication each. For a given input every step is a bijection of the lane, and
   then of the sum, so a change within one aligned word of 4 bytes is always detected. Of random changes one in 2^32
   is missed if it is confined to one lane, else one in 2^64. All instruction sets compute the same sums. */

enum { CHECKSUM_LANES = 64, CHECKSUM_STRIPE = 4 * CHECKSUM_LANES, CHECKSUM_CHAINS = 4, CHECKSUM_AHEAD = 2048 };

/* Four independent chains, because the latency of a vector multiplication is ten times its reciprocal throughput. */
typedef uint32_t checksum_lanes __attribute__((vector_size(4 * CHECKSUM_LANES / CHECKSUM_CHAINS)));

INLINE void add_stripe(checksum_lanes lanes[CHECKSUM_CHAINS], const uint8_t *p) {
    for (int i = 0; i < CHECKSUM_CHAINS; i++) {
        checksum_lanes words;
        memcpy(&words, p + i * (int)sizeof words, sizeof words);
        words = lanes[i] + words * 0x85EBCA77u;
        lanes[i] = (words << 13 | words >> 19) * 0x9E3779B1u;
    }
}

static uint64_t checksum(const uint8_t *data, int64_t nbytes) {
    checksum_lanes lanes[CHECKSUM_CHAINS];
    uint32_t words[CHECKSUM_LANES];
    for (int i = 0; i < CHECKSUM_LANES; i++) words[i] = (uint32_t)(i + 1) * 0xC2B2AE3Du;
    memcpy(lanes, words, sizeof words);
    const int64_t whole = nbytes / CHECKSUM_STRIPE * CHECKSUM_STRIPE;
    for (int64_t at = 0; at < whole; at += CHECKSUM_STRIPE) {
        for (int line = 0; line < CHECKSUM_STRIPE; line += 64) __builtin_prefetch(data + at + CHECKSUM_AHEAD + line);
        add_stripe(lanes, data + at);
    }
    if (whole < nbytes) {
        uint8_t last[CHECKSUM_STRIPE] = {0}; /* `sum` starts with the size, so padding and stored zeros differ */
        memcpy(last, data + whole, (size_t)(nbytes - whole));
        add_stripe(lanes, last);
    }
    memcpy(words, lanes, sizeof words);
    uint64_t sum = (uint64_t)nbytes;
    for (int i = 0; i < CHECKSUM_LANES; i++) sum = ((sum << 29 | sum >> 35) ^ words[i]) * 0x9E3779B185EBCA87u;
    return sum ^ sum >> 32;
}

/* Writes the checksums of blocks first..end to sums[first..end]. A block has `block` bytes; the last of the `nbytes`
   bytes may have fewer. */
void zg_checksums(const void *data, int64_t nbytes, int64_t block, int64_t first, int64_t end, uint64_t *sums) {
    guarded++;
    for (int64_t i = first; i < end; i++) {
        int64_t at = i * block, left = nbytes - at;
        sums[i] = checksum((const uint8_t *)data + at, left < block ? left : block);
    }
    guarded--;
}
