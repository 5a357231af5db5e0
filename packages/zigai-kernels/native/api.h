/* The interface between Python and C. cffi parses this file unchanged, so it has no preprocessor lines. */

enum zg_operation {
    ZG_QUANTIZE,   /* float rows -> integer rows, in the form that products with weights of the type read */
    ZG_EMBEDDING,  /* the rows of a matrix that the step's tokens select */
    ZG_LINEAR,     /* x . weight^T + bias */
    ZG_RMS_NORM,
    ZG_LAYER_NORM,
    ZG_ROPE_TABLE, /* cosines and sines of the step's positions */
    ZG_ROPE,
    ZG_STORE,      /* the step's keys and values into the cache */
    ZG_ATTENTION,
    ZG_GATED,
    ZG_ADD,
    ZG_MULTIPLY,
    ZG_SCALE,
    ZG_SOFT_CAP,
    ZG_SELECT,
    ZG_COLUMNS,
    ZG_SIGMOID_GATE, /* rows times the sigmoid of a dot product */
    ZG_GATED_CLAMP, /* GATED with operands that are clamped first */
    ZG_ROUTE,      /* scores of experts -> shares, 0 for an expert not used */
    ZG_CHOOSE,     /* shares -> the row's experts and their shares */
    ZG_WEIGH,      /* a row for each expert used: the row of x times the share */
    ZG_GROUP,      /* the rows of each expert */
    ZG_EXPERT_LINEAR, /* Linear with the matrices of each row's experts */
    ZG_COMBINE,    /* sum of the experts' results, weighted by their shares */
    ZG_POOL,       /* the mean, first or last of all rows of the row's sequence */
    ZG_UNARY,      /* a function of each element */
    ZG_L2_NORM,
    ZG_COLUMN_SCALE, /* rows times a vector */
    ZG_COLUMN_SHIFT, /* rows plus a vector */
    ZG_POSITION_SCALE, /* rows times a number that depends on their position */
    ZG_HEAD_LINEAR, /* Linear with a matrix for each head of a row */
    ZG_SHORT_CONV, /* the convolution of each channel with its own filter */
    ZG_GATED_DELTA, /* x: queries, y: keys, more: values, decays, betas */
    ZG_SELECTIVE_SCAN, /* x: inputs, y: steps, more: b, c */
    ZG_CONCAT,     /* x and y side by side, in each group of a row */
    ZG_MIX_STREAMS, /* sums of the streams of a row of x, by shares in y */
    ZG_MATCH_MAGNITUDE, /* streams of x as large as the row of y */
    ZG_GAUSSIAN_CUT, /* what exceeds the mean by a number of deviations */
    ZG_INPUTS,     /* x, with the step's embeddings in place of some rows; x and output may be the same memory */
    ZG_OPERATIONS  /* number of operations */
};

enum zg_type {
    ZG_F32, ZG_F16, ZG_BF16,
    ZG_Q4_0, ZG_Q4_1, ZG_Q5_0, ZG_Q5_1, ZG_Q8_0,
    ZG_Q2_K, ZG_Q3_K, ZG_Q4_K, ZG_Q5_K, ZG_Q6_K,
    ZG_IQ4_NL, ZG_IQ4_XS, ZG_MXFP4,
    /* types in coded.c */
    ZG_NVFP4, ZG_Q1_0, ZG_Q2_0, ZG_TQ1_0, ZG_TQ2_0, ZG_IQ1_S, ZG_IQ1_M,
    ZG_IQ2_XXS, ZG_IQ2_XS, ZG_IQ2_S, ZG_IQ3_XXS, ZG_IQ3_S, ZG_Q8_1, ZG_Q8_K,
    ZG_TYPES       /* number of types */
};

enum zg_rows { ZG_TOKENS, ZG_WANTED };
enum zg_activation {
    ZG_SILU, ZG_GELU, ZG_GELU_TANH, ZG_GELU_QUICK, ZG_RELU,
    ZG_LOGISTIC, ZG_TANH, ZG_SOFTPLUS, ZG_RELU_SQUARED /* of UNARY alone */
};
enum zg_route { ZG_SOFTMAX, ZG_SIGMOID, ZG_SOFTMAX_CHOSEN };
enum zg_pairing { ZG_ADJACENT, ZG_HALF };
enum zg_pool_kind { ZG_MEAN, ZG_CLS, ZG_LAST };
enum zg_row_of { ZG_OF_TOKEN, ZG_OF_POSITION, ZG_OF_START, ZG_OF_TYPE };
enum zg_head_order { ZG_GROUPED, ZG_TILED };
enum zg_flag { ZG_FALSE, ZG_TRUE };
enum zg_status { ZG_DONE, ZG_CANCELLED };

/* One operation of a lowered graph. Fields that an operation does not use are zero. x, y and output are byte
   offsets into the executor's scratch memory; -1 - i is output array i of the step. */
typedef struct {
    int32_t operation;   /* enum zg_operation */
    int32_t type;        /* enum zg_type: of the weight, or of the cache; QUANTIZE: of the weights that will read the rows */
    int32_t rows;        /* enum zg_rows: how many rows the output has */
    int32_t width;       /* elements in a row of the output; HEAD_LINEAR: in a head of it */
    int32_t inner;       /* LINEAR, COLUMNS, CONCAT, SIGMOID_GATE, CHOOSE: elements in a row of x; HEAD_LINEAR: in a head of x;
                            norms: a group; ROPE: pairs; POSITION_SCALE: positions after which the factor grows;
                            SHORT_CONV: taps; MIX_STREAMS, MATCH_MAGNITUDE: in a stream;
                            EMBEDDING: rows of the matrix, if tokens may be beyond them, else 0 */
    int32_t start;       /* MIX_STREAMS: streams of x; COLUMNS: first column, of each group; EMBEDDING: the row, if mode says so, or of tokens beyond `inner`; POSITION_SCALE: added to positions */
    int32_t heads;       /* HEAD_LINEAR: also the number of matrices; else query heads, or experts */
    int32_t kv_heads;
    int32_t head_dim;    /* ROPE: width of a head; STORE, ATTENTION: width of a head's query and key;
                            GATED_DELTA: of a key; SELECTIVE_SCAN: numbers of the state for each channel */
    int32_t value_dim;   /* STORE, ATTENTION, GATED_DELTA: width of a head's value; SELECTIVE_SCAN: of a head */
    int32_t used;        /* experts per row: ROUTE, CHOOSE, WEIGH, GROUP, EXPERT_LINEAR, COMBINE */
    int32_t groups;      /* COLUMNS, CONCAT: groups of a row; ROUTE: groups of experts; GATED_DELTA: key heads; SELECTIVE_SCAN: groups of heads */
    int32_t groups_used; /* ROUTE: groups whose experts can be chosen */
    int32_t group_best;  /* ROUTE: number of a group's best experts whose sum is the group's value */
    int32_t renormalise; /* ROUTE: shares are divided by their sum */
    int32_t repeat;      /* factor on the number of rows; 0 means 1 */
    int32_t window;      /* ATTENTION: a row sees entries less than window away from its index; 0: all */
    int32_t chunk;       /* ATTENTION: a row sees entries from the last multiple of chunk on; 0: all */
    int32_t group;       /* STORE, ATTENTION: index of the group of caches that the keys and values are in,
                            or of the table of the step's rows;
                            operations with a recurrent state: of the group of slots */
    int32_t mode;        /* GATED, UNARY: enum zg_activation; EMBEDDING: enum zg_row_of; RMS_NORM: the weight is as wide as a row; ROPE: enum zg_pairing;
                            STORE: a head's value is the first value_dim elements of its key;
                            ATTENTION: the keys and values are the step's own, y and more[0], not in a cache;
                            ROUTE: enum zg_route; POOL: enum zg_pool_kind; EXPERT_LINEAR: x has a row for each expert used;
                            COMBINE: the results already include the shares; CONCAT: y is the same for all groups; GATED_DELTA: enum zg_head_order;
                            SELECTIVE_SCAN: `a` has a number for each number of the state, not one for each head */
    float factor;        /* SCALE: factor; ATTENTION, ROUTE, GATED_DELTA: scale; norms: epsilon; ROPE_TABLE: magnitude;
                            POSITION_SCALE: factor of the logarithm */
    float cap;           /* SOFT_CAP, ATTENTION (0: none); GATED_CLAMP: limit, INFINITY for none */
    float offset;        /* ROUTE: added to the sum of shares; GATED_CLAMP: added to y */
    int64_t output;
    int64_t x;           /* LINEAR: the input; STORE: keys; ATTENTION: queries; GATED: the gate */
    int64_t y;           /* STORE: values; ROPE: the table; others: the second operand */
    int64_t cache;       /* byte offset of the state in a page or slot of its group */
    int64_t stride;      /* bytes from one row (EMBEDDING) or panel (LINEAR, HEAD_LINEAR, EXPERT_LINEAR) of the weight to the next;
                            operations with a recurrent state: of the state in a slot */
    const void *weight;  /* in the layout of its packing; ROPE_TABLE: frequencies; ATTENTION: sinks or NULL;
                            SELECTIVE_SCAN: a */
    const float *bias;   /* ATTENTION: slopes or NULL; SELECTIVE_SCAN: d or NULL */
    const int32_t *sections; /* ROPE_TABLE: the section of positions that each pair reads; NULL: the first */
    int64_t more[3];     /* further operands */
} zg_record;

/* Records that run without a barrier between them. */
typedef struct {
    int32_t first, count;
    int32_t by_rows;     /* true: a chunk is a few rows and runs all records on them in order;
                            false: each record has its own chunks, and no record reads another's output */
} zg_stage;

/* A compiled graph. Immutable. */
typedef struct {
    const zg_record *records;
    const zg_stage *stages;
    int32_t count;
    int32_t stage_count;
    int32_t batch;            /* largest number of rows in a step */
    int32_t page;             /* entries in a page of a cache */
    int32_t tile;             /* number of rows that attention processes together */
    int32_t span;             /* entries (whole pages) per partial result of attention */
    int32_t groups;           /* number of groups of caches and slots */
    int32_t logits;           /* the LINEAR whose output is the logits, or -1: it also finds the largest of each panel */
    const int64_t *group_bytes; /* size of a page or slot of each group, all its states together */
    int64_t scratch_bytes;    /* size of the graph's intermediate values */
    int64_t thread_bytes;     /* additional scratch per thread */
    int64_t partial_bytes;    /* memory for attention's partial results */
} zg_plan;

/* The pages of a group in a step: entry `index` of sequence s is in page pages[starts[s] + index / page]. After the groups'
   tables comes that of the step's rows, if attention reads the step's own keys and values: entry `index` of sequence s
   is row pages[starts[s] + index]. */
typedef struct {
    const int32_t *pages;
    const int32_t *starts;
} zg_tables;

/* The slots of recurrent states in a step. A place is a number in `rows`: rows of a sequence are next to each other, in
   ascending index. Places starts[i]..starts[i + 1] - 1 are those of the i-th sequence with rows, whose state before the
   step is in slot reads[i], -1 for none. The state after place p is written to the slots writes[write_starts[p]]..
   writes[write_starts[p + 1] - 1]. No slot is read and written, and none is written twice. */
typedef struct {
    int32_t sequences;            /* that have rows */
    const int32_t *starts;
    const int32_t *rows;
    const int32_t *reads;
    const int32_t *write_starts;
    const int32_t *writes;
} zg_slots;

/* One step. The caller has checked every field against the plan and the executor. */
typedef struct {
    int32_t tokens;
    int32_t wanted;
    int32_t section_rows;         /* numbers from one section of positions to the next; 0: all sections are one */
    const int32_t *ids;
    const int32_t *sequences;
    const int32_t *index;         /* the place of each row in its sequence */
    const int32_t *ends;          /* a row sees entries below its end, at least 1; NULL: index + 1 */
    const int32_t *positions;     /* for RoPE: sections of a number per row */
    const int32_t *types;         /* of the tokens; NULL: all are 0 */
    const int32_t *replaced;      /* of each row: the row of embeddings in its place, whose token is -1; -1: none; NULL: none at all */
    const float *embeddings;      /* rows as wide as the output of INPUTS; NULL: there are none */
    const int32_t *wanted_rows;
    const zg_tables *tables;      /* of each group; those of slots are not read */
    const zg_slots *slots;        /* of the recurrent states; NULL: there are none */
    float *const *outputs;
    float *peaks;                 /* the largest logit of each panel of each wanted row, NaN if one is not finite */
    int64_t *nanoseconds;         /* per record, accumulated; or NULL */
    const int32_t *stop;          /* the step ends soon after this number has become nonzero */
    int (*interrupted)(void *);   /* polled by the caller's thread; a nonzero result stops the step; or NULL */
    void *interrupted_argument;
} zg_step;

/* Tables of vectors of int8, and of the signs of 8 elements by 7 bits. */
typedef struct {
    const int8_t *iq1_s, *iq2_xxs, *iq2_xs, *iq2_s, *iq3_xxs, *iq3_s, *signs;
} zg_codebooks;

typedef struct zg_executor zg_executor;
typedef struct zg_pool zg_pool;

void zg_use_codebooks(const zg_codebooks *of);
void zg_guard(void);
int zg_torn(void);
zg_pool *zg_pool_new(void);
int zg_pool_grow(zg_pool *pool, int32_t threads);
zg_executor *zg_executor_new(const zg_plan *plan, const int32_t *pages, int32_t threads);
void zg_executor_free(zg_executor *executor);
int zg_run(zg_pool *pool, zg_executor *executor, const zg_step *step);
void zg_copy_pages(zg_executor *executor, int32_t group, const int32_t *pairs, int64_t count);
int64_t zg_attention_bytes(int32_t tile, int32_t group, int32_t head_dim, int32_t value_dim);
int64_t zg_partial_bytes(int32_t spans, int32_t heads, int32_t value_dim);
int64_t zg_group_bytes(int32_t experts);
int64_t zg_route_bytes(int32_t experts);
int64_t zg_activation_bytes(int32_t type, int32_t width);
int64_t zg_panel_bytes(int32_t type, int32_t width);
void zg_pack(int32_t type, const void *rows, int64_t count, int32_t width, void *panels);
int64_t zg_quantize(int32_t type, int32_t source, const void *elements, int64_t blocks, void *out);
void zg_checksums(const void *data, int64_t nbytes, int64_t block, int64_t first, int64_t end, uint64_t *sums);
int64_t zg_cache_bytes(int32_t page, int32_t kv_heads, int32_t head_dim, int32_t value_dim, int32_t type);
int64_t zg_slot_bytes(const zg_record *record);
int64_t zg_recurrent_bytes(const zg_record *record);
int64_t zg_recurrent_chunks(const zg_record *record);
int64_t zg_best(const float *row, int64_t n, const float *peaks, int64_t k, const int32_t *edited, const float *values,
                int64_t edits, const uint32_t *mask, uint64_t *keys, int64_t room, int32_t *ids, float *logits,
                int64_t *damaged);
