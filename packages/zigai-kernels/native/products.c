/* Products of floats with panels of the KV cache. */

/* Queries that are multiplied with a panel together keep 12 sums in registers, which hides the latency of multiply-adds
   and leaves 4 of 16 registers; fewer queries process several panels at once. */
enum { SUMS = 12, QUERY_TILE = SUMS / LANES };

typedef struct {
    const char *at;
    int64_t next; /* elements from one panel to the next */
    int type;
} panels;

/* out[a][column] = sum over i of x[a][i] * row i of the panels; if not `fresh`, added to the previous contents. With
   scales the sum is multiplied by the column's scale before it is added. */
typedef struct {
    const float *x;
    float *out;
    int64_t x_row, out_row; /* floats from one query to the next */
    panels panels;
    const float *scales;
    int rows, count, queries; /* count: of panels */
    int fresh;
} product;

INLINE vf load_element(const char *p, int64_t i, int type) {
    if (type == ZG_Q8_0) return vf_load_i8(p + i);
    return type == ZG_F16 ? vf_load_f16(p + 2 * i) : vf_load((const float *)p + i);
}

INLINE void product_tile(const product *p, int query, int panel, int nq, int np, int type, int scaled) {
    vf sum[SUMS];
    const int n = np * LANES;
    const int64_t x_row = p->x_row, out_row = p->out_row, next = p->panels.next;
    const char *k = p->panels.at + panel * next * element_bytes(type);
    const float *x = p->x + query * x_row;
    float *out = p->out + query * out_row + panel * PANEL;
    for (int a = 0; a < nq; a++)
        for (int v = 0; v < n; v++)
            sum[a * n + v] = p->fresh || scaled ? vf_zero() : vf_load(out + a * out_row + v * VF);
    for (int i = 0; i < p->rows; i++, k += PANEL * element_bytes(type)) {
        vf y[SUMS];
        _Pragma("GCC unroll 12") for (int v = 0; v < n; v++)
            y[v] = load_element(k, v / LANES * next + v % LANES * VF, type);
        _Pragma("GCC unroll 12") for (int a = 0; a < nq; a++) {
            vf w = vf_set(x[a * x_row + i]);
            _Pragma("GCC unroll 12") for (int v = 0; v < n; v++)
                sum[a * n + v] = vf_fma(w, y[v], sum[a * n + v]);
        }
    }
    for (int a = 0; a < nq; a++)
        for (int v = 0; v < n; v++) {
            float *to = out + a * out_row + v * VF;
            vf y = sum[a * n + v], before = scaled && !p->fresh ? vf_load(to) : vf_zero();
            vf_store(to, scaled ? vf_fma(y, vf_load(p->scales + panel * PANEL + v * VF), before) : y);
        }
}

/* nq queries with all panels, as many panels at a time as the sums allow. */
INLINE void product_few(const product *p, int query, int nq, int type, int scaled) {
    const int sums = SUMS / LANES / nq, np = sums >= 4 ? 4 : sums >= 2 ? 2 : 1;
    int panel = 0;
    for (; panel + np <= p->count; panel += np) product_tile(p, query, panel, nq, np, type, scaled);
    for (; panel < p->count; panel++) product_tile(p, query, panel, nq, 1, type, scaled);
}

INLINE void product_all(const product *p, int type, int scaled) {
    int a = p->queries / QUERY_TILE * QUERY_TILE;
    for (int panel = 0; panel < p->count; panel++)
        for (int query = 0; query < a; query += QUERY_TILE)
            product_tile(p, query, panel, QUERY_TILE, 1, type, scaled);
    for (; QUERY_TILE > 4 && p->queries - a >= 4; a += 4) product_few(p, a, 4, type, scaled);
    for (; QUERY_TILE > 3 && p->queries - a >= 3; a += 3) product_few(p, a, 3, type, scaled);
    if (p->queries - a == 2) product_few(p, a, 2, type, scaled);
    if (p->queries - a == 1) product_few(p, a, 1, type, scaled);
}

static void product_f32(const product *p) { product_all(p, ZG_F32, 0); }
static void product_f16(const product *p) { product_all(p, ZG_F16, 0); }
static void product_i8(const product *p) { product_all(p, ZG_Q8_0, 0); }
static void product_f32_scaled(const product *p) { product_all(p, ZG_F32, 1); }
static void product_i8_scaled(const product *p) { product_all(p, ZG_Q8_0, 1); }

static void multiply(const product *p) {
    if (p->queries <= 0 || p->rows <= 0) return;
    if (p->panels.type == ZG_F16) product_f16(p);
    else if (p->panels.type == ZG_F32) (p->scales ? product_f32_scaled : product_f32)(p);
    else (p->scales ? product_i8_scaled : product_i8)(p);
}

/* The panels converted to floats at `to`: for many queries, converting once is faster. */
static panels as_floats(panels from, int rows, int count, float *to) {
    const int n = rows * PANEL;
    for (int panel = 0; panel < count; panel++) {
        const char *p = from.at + panel * from.next * element_bytes(from.type);
        float *out = to + (int64_t)panel * n;
        if (from.type == ZG_F16)
            for (int i = 0; i < n; i += VF) vf_store(out + i, vf_load_f16(p + 2 * i));
        else
            for (int i = 0; i < n; i += VF) vf_store(out + i, vf_load_i8(p + i));
    }
    return (panels){(const char *)to, n, ZG_F32};
}
