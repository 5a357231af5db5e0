/* What Python and C share. cffi reads this file as it stands, so it holds no preprocessor line. */

enum zg_operation {
    ZG_QUANTIZE,   /* float rows -> integer rows, as products with weights of the type read them */
    ZG_EMBEDDING,  /* rows of a matrix for the step's tokens */
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
    ZG_ROUTE,      /* a row's experts and their shares */
    ZG_GROUP,      /* the rows of each expert */
    ZG_EXPERT_LINEAR, /* Linear with the matrices of each row's experts */
    ZG_COMBINE,    /* the experts' results, by their shares */
    ZG_OPERATIONS  /* how many there are */
};

enum zg_type {
    ZG_F32, ZG_F16, ZG_BF16,
    ZG_Q4_0, ZG_Q4_1, ZG_Q5_0, ZG_Q5_1, ZG_Q8_0,
    ZG_Q4_K, ZG_Q5_K, ZG_Q6_K,
    ZG_TYPES       /* how many there are */
};

enum zg_rows { ZG_TOKENS, ZG_WANTED };
enum zg_activation { ZG_SILU, ZG_GELU, ZG_GELU_TANH, ZG_RELU };
enum zg_pairing { ZG_ADJACENT, ZG_HALF };
enum zg_flag { ZG_FALSE, ZG_TRUE };
enum zg_status { ZG_DONE, ZG_CANCELLED };

/* One operation of a lowered graph. Fields that an operation does not name are zero. x, y, z and output
   are byte offsets into the context's scratch memory; -1 - i stands for output array i of the step. */
typedef struct {
    int32_t operation;   /* enum zg_operation */
    int32_t type;        /* enum zg_type: of the weight, or of the cache; QUANTIZE: of the weights that it is for */
    int32_t rows;        /* enum zg_rows: how many rows the output has */
    int32_t width;       /* elements in a row of the output */
    int32_t inner;       /* LINEAR, COLUMNS, SIGMOID_GATE: elements in a row of x; norms: a group; ROPE: pairs */
    int32_t start;       /* COLUMNS: the first */
    int32_t heads;
    int32_t kv_heads;
    int32_t head_dim;
    int32_t used;        /* experts of a row: ROUTE, GROUP, EXPERT_LINEAR, COMBINE */
    int32_t repeat;      /* how many times as many rows as `rows` says; 0 is 1 */
    int32_t window;      /* ATTENTION: positions a token sees; 0: all */
    int32_t mode;        /* GATED: enum zg_activation; ROPE: enum zg_pairing;
                            ROUTE: shares add up to 1; EXPERT_LINEAR: x has a row for each expert used */
    float factor;        /* SCALE: factor; ATTENTION: scale; norms: epsilon; ROPE_TABLE: magnitude */
    float cap;           /* SOFT_CAP, ATTENTION (0: none) */
    int64_t output;
    int64_t x;           /* LINEAR: the input; STORE: keys; ATTENTION: queries; GATED: the gate */
    int64_t y;           /* STORE: values; ROPE: the table; others: the second operand */
    int64_t cache;       /* STORE, ATTENTION: byte offset of the layer in the cache */
    int64_t stride;      /* bytes from one row (EMBEDDING) or panel (LINEAR, EXPERT_LINEAR) of the weight to the next */
    const void *weight;  /* as the packing laid it out; ROPE_TABLE: frequencies */
    const float *bias;
} zg_record;

/* Records that run with no waiting between them. */
typedef struct {
    int32_t first, count;
    int32_t by_rows;     /* each chunk is some rows, and takes them through all records, one after another;
                            else each record has chunks of its own, and none reads what another one writes */
} zg_stage;

/* A compiled graph: what never changes. */
typedef struct {
    const zg_record *records;
    const zg_stage *stages;
    int32_t count;
    int32_t stage_count;
    int32_t batch;            /* tokens in a step, at most */
    int32_t page;             /* tokens in a page of the cache */
    int32_t tile;             /* tokens that attention takes together */
    int32_t span;             /* positions, whole pages, after which attention adds up what it has */
    int64_t scratch_bytes;    /* for the graph's values */
    int64_t thread_bytes;     /* more scratch for each thread */
    int64_t partial_bytes;    /* more for the spans that attention adds up */
    int64_t page_bytes_total; /* a page of all layers */
} zg_plan;

/* One step. Everything in it has been checked against the plan and the context. */
typedef struct {
    int32_t tokens;
    int32_t wanted;
    const int32_t *ids;
    const int32_t *positions;
    const int32_t *sequences;
    const int32_t *wanted_rows;
    const int32_t *pages;       /* all page tables, one after another */
    const int32_t *page_starts; /* where each sequence's table begins in them */
    float *const *outputs;
    int64_t *nanoseconds;       /* of each record, added to what is there; or NULL */
    int (*interrupted)(void *);   /* asked now and then by the caller's thread: not 0 stops the step; or NULL */
    void *interrupted_argument;
} zg_step;

typedef struct zg_context zg_context;

zg_context *zg_context_new(const zg_plan *plan, int32_t pages, int32_t threads);
void zg_context_free(zg_context *context, int forked);
int zg_run(zg_context *context, const zg_step *step);
void zg_cancel(zg_context *context, int cancelled);
void zg_copy_page(zg_context *context, int32_t from, int32_t to);
int64_t zg_attention_bytes(int32_t tile, int32_t group, int32_t head_dim);
int64_t zg_partial_bytes(int32_t spans, int32_t heads, int32_t head_dim);
int64_t zg_group_bytes(int32_t experts);
int64_t zg_activation_bytes(int32_t type, int32_t width);
int64_t zg_panel_bytes(int32_t type, int32_t width);
void zg_pack(int32_t type, const void *rows, int64_t count, int32_t width, void *panels, int64_t first, int64_t end);
int64_t zg_cache_bytes(int32_t page, int32_t kv_heads, int32_t head_dim, int32_t type);
