/* The memory layout of a matrix for Linear: panels of 16 rows, so that one vector serves 16 outputs and no sum across a
   vector is needed. The last panel is padded with rows of zeros.

   A panel of F32 stores its columns one after another, 16 elements each. A panel of another type stores the scales of
   all its blocks, then the quants of all its blocks. The quants of 32 columns are steps of 4 columns; byte 4 r + t of a
   step belongs to row r and column t of the 4.
     16 bits   16 steps of 2 columns, an int16 for each
     8 bits    8 steps of 64 bytes, 128 added so that they are unsigned
     2 bits    2 vectors of 64 bytes: steps 4 v to 4 v + 3, from the lowest bits
     3 bits    3 vectors: step 2 v in the low 3 bits, step 2 v + 1 in the next 3; above them in vectors 0 and 1 the low 2
               bits of steps 6 and 7, in vector 2 their high bits
     4 bits    4 vectors of 64 bytes: step 2 v in the low, step 2 v + 1 in the high halves of bytes
     5 bits    5 vectors: steps 0 to 4 in the low 5 bits; above them in vectors 0, 1 and 2 the low 3 bits of steps 5, 6
               and 7, in vectors 3 and 4 the high 2 bits of steps 5 and 6, and in their highest bits those of step 7
     6 bits    twice, for 4 steps, 3 vectors: the first 3 of the steps in the low 6 bits, the last one in the 2 above
               them, from its lowest bits
   Scales are 16 of each kind, row by row: float16 d, then dmin or m where the type has it; for MXFP4 an int8 exponent
   instead. Then
     Q4_K, Q5_K  for each 32 columns a byte with the low 4 bits of the scale and above them those of the min, and for
                 columns 32 j and 128 + 32 j a byte with the rest, from the lowest bits: scale j, min j, scale j + 4,
                 min j + 4
     Q6_K        int8 for each 16 columns
     others      the bytes of scales of the stored block: 16 of Q2_K, 12 of Q3_K; of IQ4_XS, 4 with low bits and then 2
                 with high bits

   The types of coded.c keep their blocks as in the file: of each block of columns, those of the 16 rows.

   F16 and BF16 become fixed point: 32 columns of a row share an int8 exponent e, and an element is an int16 times
   2^e. The largest of them has 13 bits, the last of which is worth 2^e: as many as leave room for sums of 32 products
   with activations of 13 bits (activations.c). A row whose width is no multiple of 32 ends in zeros. */

enum { PANEL = 16, STEP = 64, FIXED_BITS = 13 };

typedef struct {
    int columns;        /* columns of a block */
    int bytes;          /* bytes of a block in the file */
    int scales, quants; /* bytes of a panel's block */
} block_layout;

static const block_layout layouts[ZG_TYPES] = {
    [ZG_F32] = {1, 4, 0, 4 * PANEL},      [ZG_F16] = {32, 64, 16, 16 * STEP}, [ZG_BF16] = {32, 64, 16, 16 * STEP},
    [ZG_Q4_0] = {32, 18, 32, 4 * STEP},   [ZG_Q4_1] = {32, 20, 64, 4 * STEP},
    [ZG_Q5_0] = {32, 22, 32, 5 * STEP},   [ZG_Q5_1] = {32, 24, 64, 5 * STEP}, [ZG_Q8_0] = {32, 34, 32, 8 * STEP},
    [ZG_IQ4_NL] = {32, 18, 32, 4 * STEP}, [ZG_MXFP4] = {32, 17, 16, 4 * STEP},
    [ZG_Q2_K] = {256, 84, 320, 16 * STEP}, [ZG_Q3_K] = {256, 110, 224, 24 * STEP},
    [ZG_Q4_K] = {256, 144, 256, 32 * STEP}, [ZG_Q5_K] = {256, 176, 256, 40 * STEP},
    [ZG_Q6_K] = {256, 210, 288, 48 * STEP}, [ZG_IQ4_XS] = {256, 136, 128, 32 * STEP},
#define CODED(columns, bytes) {columns, bytes, 0, PANEL * (bytes)}
    [ZG_NVFP4] = CODED(64, 36),   [ZG_Q1_0] = CODED(128, 18),   [ZG_Q2_0] = CODED(64, 18),
    [ZG_TQ1_0] = CODED(256, 54),  [ZG_TQ2_0] = CODED(256, 66),  [ZG_IQ1_S] = CODED(256, 50),   [ZG_IQ1_M] = CODED(256, 56),
    [ZG_IQ2_XXS] = CODED(256, 66), [ZG_IQ2_XS] = CODED(256, 74), [ZG_IQ2_S] = CODED(256, 82),
    [ZG_IQ3_XXS] = CODED(256, 98), [ZG_IQ3_S] = CODED(256, 110), [ZG_Q8_1] = CODED(32, 36),    [ZG_Q8_K] = CODED(256, 292),
};

static const uint8_t iq4_values[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241}; /* + 128 */
static const uint8_t mxfp4_values[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};              /* + 12 */

/* Properties of a type that kernels need. */
INLINE int is_float(int type) { return type == ZG_F32; }
INLINE int is_coded(int type) { return type >= ZG_NVFP4; }
INLINE int is_fixed(int type) { return type == ZG_F16 || type == ZG_BF16; }
INLINE int has_exponents(int type) { return is_fixed(type) || type == ZG_MXFP4; } /* int8, in place of d */

static inline int blocks_of(int type, int width) { return ceil_div(width, layouts[type].columns); }

/* Columns of a panel, rounded up to whole blocks. */
static inline int columns_of(int type, int width) { return blocks_of(type, width) * layouts[type].columns; }

static inline int64_t panel_scales(int type, int width) {
    return align64((int64_t)blocks_of(type, width) * layouts[type].scales);
}

int64_t zg_panel_bytes(int32_t type, int32_t width) {
    return align64(panel_scales(type, width) + (int64_t)blocks_of(type, width) * layouts[type].quants);
}
