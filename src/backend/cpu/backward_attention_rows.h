/*
 * backend/cpu/backward_attention_rows.h: what flows back through attention, for all vector versions: a block of rows
 * (query and head) at a time over all its keys.
 *
 * As in attention_rows.h rows lie in the lanes, keys and dimensions go down. All five products are one: a matrix spread
 * number by number from memory times rows of vectors, accumulators in registers. What a key and a dimension gather for
 * their gradients is added to memory a block at a time. Everything is float32; bfloat16 is widened on the way in.
 *
 * A file includes the vector operations, defines SPREAD (rows of accumulators, two vectors each) and includes this.
 */
#ifndef FAM_BACKEND_CPU_BACKWARD_ATTENTION_ROWS_H
#define FAM_BACKEND_CPU_BACKWARD_ATTENTION_ROWS_H

enum { STRIP = 2 * LANES, ROWS_MAX = 32 };

/* What one call works with; a block is `rows` rows, those beyond the last are zero and see nothing. */
typedef struct back_call {
    const fam_attention_backward_job *job;
    const fam_attention_shape *shape;
    int64_t kv_head, row_begin, row_end;
    int64_t dim, stride; /* stride: of q and dout */
    int64_t rows, keys;  /* of a block; of a tile */
    int64_t scores_room; /* keys that s holds */
    bool kept;           /* the scores of all keys of the block are in s */
    fam_dtype dtype;
    float exponent_scale;                /* scale * log2 e */
    float *q, *dout;                     /* [rows][stride] */
    float *q_across, *dout_across, *dq_across; /* [D][rows] */
    float *maximum, *sum, *through;      /* [rows]; sum becomes 1 / sum; through: -(dout . out) */
    float *k_room, *v_room;              /* [keys][D]: a tile of bfloat16 widened */
    float *dscore;                       /* [keys][rows] */
    float *s;                            /* [scores_room][rows]: scores, then weights */
} back_call;

/* ---- the product ---------------------------------------------------------------------------------------------------- */

/* Element (i, k) of the matrix that is spread: data[i * row + k * step]. */
typedef struct spread_matrix {
    const float *data;
    int64_t row, step;
} spread_matrix;

static inline __attribute__((always_inline)) void product_tile(float *c, int64_t c_stride, bool add, spread_matrix a,
                                                               const float *b, int64_t b_stride, int64_t depth,
                                                               const int rows, const int vecs)
{
    vec sum[SPREAD][2];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vecs; v++)
            sum[i][v] = add ? vec_load(c + i * c_stride + v * LANES) : vec_set(0);
    for (int64_t k = 0; k < depth; k++, b += b_stride, a.data += a.step) {
        vec right[2];
        for (int v = 0; v < vecs; v++)
            right[v] = vec_load(b + v * LANES);
        for (int i = 0; i < rows; i++) {
            vec left = vec_set(a.data[i * a.row]);
            for (int v = 0; v < vecs; v++)
                sum[i][v] = vec_fma(left, right[v], sum[i][v]);
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vecs; v++)
            vec_store(c + i * c_stride + v * LANES, sum[i][v]);
}

static inline __attribute__((always_inline)) void product_strip(float *c, int64_t c_stride, bool add, spread_matrix a,
                                                                int64_t m, const float *b, int64_t b_stride,
                                                                int64_t depth, const int vecs)
{
    int64_t i = 0;
    for (; i + SPREAD <= m; i += SPREAD, a.data += SPREAD * a.row)
        product_tile(c + i * c_stride, c_stride, add, a, b, b_stride, depth, SPREAD, vecs);
    for (; i + 4 <= m; i += 4, a.data += 4 * a.row)
        product_tile(c + i * c_stride, c_stride, add, a, b, b_stride, depth, 4, vecs);
    for (; i < m; i++, a.data += a.row)
        product_tile(c + i * c_stride, c_stride, add, a, b, b_stride, depth, 1, vecs);
}

/* The last columns, fewer than a vector: b is filled up with zeros, c ends where it ends. */
static void product_rest(float *c, int64_t c_stride, bool add, spread_matrix a, int64_t m, const float *b, int64_t b_stride,
                         int64_t n, int64_t depth)
{
    float part[LANES] = {0};
    for (int64_t i = 0; i < m; i++, a.data += a.row) {
        if (add)
            memcpy(part, c + i * c_stride, (size_t)n * sizeof *part);
        product_tile(part, LANES, add, a, b, b_stride, depth, 1, 1);
        memcpy(c + i * c_stride, part, (size_t)n * sizeof *part);
    }
}

/* c [m][n] = (or +=) a [m][depth] b [depth][n] */
static void product(float *c, int64_t c_stride, bool add, spread_matrix a, int64_t m, const float *b, int64_t b_stride,
                    int64_t n, int64_t depth)
{
    int64_t column = 0;
    for (; column + STRIP <= n; column += STRIP)
        product_strip(c + column, c_stride, add, a, m, b + column, b_stride, depth, 2);
    for (; column + LANES <= n; column += LANES)
        product_strip(c + column, c_stride, add, a, m, b + column, b_stride, depth, 1);
    if (column < n)
        product_rest(c + column, c_stride, add, a, m, b + column, b_stride, n - column, depth);
}

/* ---- scratch -------------------------------------------------------------------------------------------------------- */

static void carve_back_call(back_call *call, uint8_t *scratch)
{
    size_t used = 0, row = (size_t)call->rows * sizeof(float), dim = (size_t)call->dim;
    size_t tile = call->dtype == FAM_DTYPE_BF16 ? (size_t)call->keys * dim * sizeof(float) : 0;
    call->q = fam_carve(scratch, &used, row * (size_t)call->stride);
    call->dout = fam_carve(scratch, &used, row * (size_t)call->stride);
    call->q_across = fam_carve(scratch, &used, row * dim);
    call->dout_across = fam_carve(scratch, &used, row * dim);
    call->dq_across = fam_carve(scratch, &used, row * dim);
    call->maximum = fam_carve(scratch, &used, row);
    call->sum = fam_carve(scratch, &used, row);
    call->through = fam_carve(scratch, &used, row);
    call->k_room = fam_carve(scratch, &used, tile);
    call->v_room = fam_carve(scratch, &used, tile);
    call->dscore = fam_carve(scratch, &used, row * (size_t)call->keys);
    call->s = fam_carve(scratch, &used, 0);
    call->scores_room = (int64_t)((FAM_ATTENTION_SCRATCH_MAX - used) / row);
}

/* ---- rows in and out ------------------------------------------------------------------------------------------------ */

static void widen_elements(float *to, const void *from, int64_t at, int64_t count, fam_dtype dtype)
{
    const uint16_t *bits = (const uint16_t *)from + at;
    int64_t i = 0;
    if (dtype == FAM_DTYPE_F32) {
        memcpy(to, (const float *)from + at, (size_t)count * sizeof *to);
        return;
    }
    for (; i + LANES <= count; i += LANES)
        vec_store(to + i, vec_widen(bits + i));
    for (; i < count; i++)
        to[i] = fam_from_bf16(bits[i]);
}

/* across [D][rows] = rows [rows][stride] */
static void turn_rows(const back_call *call, float *across, const float *rows)
{
    int64_t dim = 0;
    for (; dim + LANES <= call->dim; dim += LANES)
        for (int64_t row = 0; row < call->rows; row += LANES) {
            vec r[LANES];
            for (int i = 0; i < LANES; i++)
                r[i] = vec_load(rows + (row + i) * call->stride + dim);
            vec_transpose(r);
            for (int i = 0; i < LANES; i++)
                vec_store(across + (dim + i) * call->rows + row, r[i]);
        }
    for (; dim < call->dim; dim++)
        for (int64_t row = 0; row < call->rows; row++)
            across[dim * call->rows + row] = rows[row * call->stride + dim];
}

static void load_block(back_call *call)
{
    const fam_attention_job *forward = call->job->forward;
    int64_t dim = call->dim;
    memset(call->q, 0, (size_t)(call->rows * call->stride) * sizeof(float));
    memset(call->dout, 0, (size_t)(call->rows * call->stride) * sizeof(float));
    memset(call->dq_across, 0, (size_t)(call->rows * dim) * sizeof(float));
    for (int64_t i = 0; i < call->rows; i++) {
        int64_t row = call->row_begin + i;
        float out[FAM_HEAD_DIM_MAX], through = 0, *dout = call->dout + i * call->stride;
        call->maximum[i] = FAM_NO_KEY_YET;
        call->sum[i] = call->through[i] = 0;
        if (row >= call->row_end)
            continue;
        int64_t out_at = fam_row_offset(call->shape, forward->out_stride, call->kv_head, row);
        widen_elements(call->q + i * call->stride, forward->q,
                       fam_row_offset(call->shape, forward->q_stride, call->kv_head, row), dim, call->dtype);
        widen_elements(out, forward->out, out_at, dim, call->dtype);
        memcpy(dout, call->job->dout + out_at, (size_t)dim * sizeof *dout);
        for (int64_t d = 0; d < dim; d++)
            through += dout[d] * out[d];
        call->through[i] = -through;
    }
    turn_rows(call, call->q_across, call->q);
    turn_rows(call, call->dout_across, call->dout);
}

static void store_block(const back_call *call)
{
    for (int64_t i = 0; i < call->rows && call->row_begin + i < call->row_end; i++) {
        float *dq = call->job->dq + fam_row_offset(call->shape, call->job->forward->q_stride, call->kv_head,
                                                   call->row_begin + i);
        for (int64_t d = 0; d < call->dim; d++)
            dq[d] = call->dq_across[d * call->rows + i];
    }
}

/* ---- softmax -------------------------------------------------------------------------------------------------------- */

/* Keys [first, first + n) of a range, as float32. */
typedef struct key_tile {
    const fam_key_range *range;
    int index;         /* of the range */
    int64_t first, n;
    bool masked;       /* some rows do not see some of them */
    float *s;          /* [n][rows] */
} key_tile;

static const float *tile_elements(const back_call *call, const key_tile *tile, const void *from, float *room)
{
    int64_t at = call->kv_head * tile->range->head_stride + tile->first * call->dim;
    if (call->dtype == FAM_DTYPE_F32)
        return (const float *)from + at;
    widen_elements(room, from, at, tile->n * call->dim, call->dtype);
    return room;
}

/* Scores of keys that a row does not see become -infinity. */
static void hide_unseen(const back_call *call, const key_tile *tile)
{
    int64_t group = call->shape->heads / call->shape->kv_heads;
    int32_t lower[ROWS_MAX], upper[ROWS_MAX];
    for (int64_t i = 0; i < call->rows; i++) {
        int64_t row = call->row_begin + i;
        fam_key_span sees = fam_query_sees(tile->range, row / group);
        int64_t low = sees.begin - tile->first, high = row < call->row_end ? sees.end - tile->first : 0;
        lower[i] = (int32_t)(low < 0 ? 0 : low > tile->n ? tile->n : low);
        upper[i] = (int32_t)(high < 0 ? 0 : high > tile->n ? tile->n : high);
    }
    for (int64_t key = 0; key < tile->n; key++)
        for (int64_t row = 0; row < call->rows; row += LANES) {
            float *s = tile->s + key * call->rows + row;
            vec_store(s, vec_hide(vec_load(s), lower + row, upper + row, (int32_t)key));
        }
}

static void score_tile(const back_call *call, const key_tile *tile, const float *k)
{
    product(tile->s, call->rows, false, (spread_matrix){k, call->dim, 1}, tile->n, call->q_across, call->rows, call->rows,
            call->dim);
    if (tile->masked)
        hide_unseen(call, tile);
}

/* Raises the maxima to the tile's; with `sums` also adds up the weights, brought to the new maxima. */
static void gather_tile(const back_call *call, const key_tile *tile, bool sums)
{
    vec scale = vec_set(call->exponent_scale);
    for (int64_t row = 0; row < call->rows; row += LANES) {
        const float *s = tile->s + row;
        vec old = vec_load(call->maximum + row), top = vec_load(s);
        for (int64_t key = 1; key < tile->n; key++)
            top = vec_max(top, vec_load(s + key * call->rows));
        vec maximum = vec_max(vec_mul(top, scale), old);
        vec_store(call->maximum + row, maximum);
        if (!sums)
            continue;
        vec sum = vec_mul(vec_load(call->sum + row), vec_exp2(vec_fms(old, vec_set(1), maximum)));
        for (int64_t key = 0; key < tile->n; key++)
            sum = vec_add(sum, vec_exp2(vec_fms(vec_load(s + key * call->rows), scale, maximum)));
        vec_store(call->sum + row, sum);
    }
}

/* Scores of n keys become weights, not yet divided by their sum, which is added to call->sum. */
static void weigh_keys(const back_call *call, float *scores, int64_t n)
{
    vec scale = vec_set(call->exponent_scale);
    for (int64_t row = 0; row < call->rows; row += LANES) {
        vec maximum = vec_load(call->maximum + row), sum = vec_load(call->sum + row);
        for (int64_t key = 0; key < n; key++) {
            float *s = scores + key * call->rows + row;
            vec weight = vec_exp2(vec_fms(vec_load(s), scale, maximum));
            sum = vec_add(sum, weight);
            vec_store(s, weight);
        }
        vec_store(call->sum + row, sum);
    }
}

static void invert_sums(const back_call *call)
{
    for (int64_t i = 0; i < call->rows; i++)
        call->sum[i] = call->sum[i] > 0 ? 1 / call->sum[i] : call->sum[i]; /* rows beyond the last have no sum */
}

/* tile->s: weights (from the scores, if the weights were not kept); dscore: from the gradients of the weights. */
static void flow_through_softmax(const back_call *call, const key_tile *tile)
{
    vec scale = vec_set(call->exponent_scale), factor = vec_set(call->shape->scale);
    for (int64_t row = 0; row < call->rows; row += LANES) {
        vec maximum = vec_load(call->maximum + row), share = vec_load(call->sum + row);
        vec through = vec_load(call->through + row);
        for (int64_t key = 0; key < tile->n; key++) {
            float *s = tile->s + key * call->rows + row, *d = call->dscore + key * call->rows + row;
            vec weight = vec_load(s);
            if (!call->kept)
                weight = vec_exp2(vec_fms(weight, scale, maximum));
            weight = vec_mul(weight, share);
            vec_store(s, weight);
            vec_store(d, vec_mul(vec_mul(weight, factor), vec_add(vec_load(d), through)));
        }
    }
}

/* ---- the two passes over a block's keys ----------------------------------------------------------------------------- */

static void add_to_statistics(const back_call *call, const key_tile *tile)
{
    score_tile(call, tile, tile_elements(call, tile, tile->range->k, call->k_room));
    gather_tile(call, tile, !call->kept);
}

static void flow_back_tile(const back_call *call, const key_tile *tile)
{
    const float *k = tile_elements(call, tile, tile->range->k, call->k_room);
    const float *v = tile_elements(call, tile, tile->range->v, call->v_room);
    int64_t rows = call->rows, dim = call->dim;
    int64_t at = call->kv_head * call->job->gradients[tile->index].head_stride + tile->first * dim;
    float *dk = call->job->gradients[tile->index].dk, *dv = call->job->gradients[tile->index].dv;
    if (!call->kept)
        score_tile(call, tile, k);
    product(call->dscore, rows, false, (spread_matrix){v, dim, 1}, tile->n, call->dout_across, rows, rows, dim);
    flow_through_softmax(call, tile);
    if (dv)
        product(dv + at, dim, true, (spread_matrix){tile->s, rows, 1}, tile->n, call->dout, call->stride, dim, rows);
    if (dk)
        product(dk + at, dim, true, (spread_matrix){call->dscore, rows, 1}, tile->n, call->q, call->stride, dim, rows);
    if (call->job->dq)
        product(call->dq_across, rows, true, (spread_matrix){k, 1, dim}, dim, call->dscore, rows, rows, tile->n);
}

/* Keys that some row of the block sees. */
static fam_key_span block_span(const back_call *call, const fam_key_range *range, fam_key_span *shared)
{
    int64_t group = call->shape->heads / call->shape->kv_heads;
    int64_t first = call->row_begin / group, last = (call->row_end < call->row_begin + call->rows
                                                         ? call->row_end : call->row_begin + call->rows) - 1;
    *shared = fam_queries_share(range, first, last / group);
    return fam_queries_see(range, first, last / group);
}

static int64_t block_keys(const back_call *call)
{
    int64_t count = 0;
    for (int r = 0; r < call->job->forward->range_count; r++) {
        fam_key_span shared, span = block_span(call, &call->job->forward->ranges[r], &shared);
        count += span.end > span.begin ? span.end - span.begin : 0;
    }
    return count;
}

static void for_tiles(const back_call *call, void (*visit)(const back_call *call, const key_tile *tile))
{
    int64_t before = 0;
    bool partial = call->row_begin + call->rows > call->row_end;
    for (int r = 0; r < call->job->forward->range_count; r++) {
        const fam_key_range *range = &call->job->forward->ranges[r];
        fam_key_span shared, span = block_span(call, range, &shared);
        for (int64_t first = span.begin; first < span.end; first += call->keys) {
            int64_t n = span.end - first < call->keys ? span.end - first : call->keys;
            key_tile tile = {range, r, first, n, partial || shared.begin > first || shared.end < first + n,
                             call->s + (call->kept ? before * call->rows : 0)};
            visit(call, &tile);
            before += n;
        }
    }
}

static void flow_back_block(back_call *call)
{
    int64_t keys = block_keys(call);
    call->kept = keys <= call->scores_room;
    load_block(call);
    for_tiles(call, add_to_statistics);
    if (call->kept)
        weigh_keys(call, call->s, keys);
    invert_sums(call);
    for_tiles(call, flow_back_tile);
    if (call->job->dq)
        store_block(call);
}

static void attention_backward(const fam_attention_backward_job *job, const fam_attention_shape *shape, int64_t kv_head,
                               fam_dtype dtype, void *scratch)
{
    int64_t dim = shape->head_dim, rows = job->forward->queries * (shape->heads / shape->kv_heads);
    back_call call = {.job = job, .shape = shape, .kv_head = kv_head, .row_end = rows, .dim = dim,
                      .stride = fam_round_up(dim, LANES), .rows = dim <= 256 ? ROWS_MAX : ROWS_MAX / 2,
                      .keys = dim <= 128 ? 96 : dim <= 256 ? 24 : 16, .dtype = dtype,
                      .exponent_scale = shape->scale * FAM_LOG2_E};
    carve_back_call(&call, scratch);
    for (; call.row_begin < rows; call.row_begin += call.rows)
        flow_back_block(&call);
}

#endif
