/*
 * backend/cpu/attention_rows.h: attention of many rows (prefill) for all vector versions: everything but the products.
 *
 * Rows (query and head) lie in the lanes of vectors, keys and dimensions go down: queries are packed transposed, scores come
 * as [key][row], so softmax needs no sums across lanes, and keys are read in place, spread from memory. A file includes
 * the vector operations, says whether its products take pairs of bfloat16 (PAIRS), includes this, and defines layout_of,
 * tile_prepare and tile_attend; attention_mac.h has them for machines without matrix tiles.
 *
 * A "word" is 32 bits: a float, or a pair of bfloat16 that a product takes together.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_ROWS_H
#define FAM_BACKEND_CPU_ATTENTION_ROWS_H

enum { VECS = 2, BLOCK = VECS * LANES }; /* rows that are worked on together */

/* The maxima are raised, and all that was summed is brought to them, only when a score lies this far above (exponents of
 * two): weights then stay below 2^8, and with tile after tile of higher scores little work is lost. */
static const float MAXIMUM_SLACK = 8;

typedef struct tile_layout {
    int64_t rows;  /* rows of a call, a multiple of BLOCK */
    int64_t words; /* of a packed query */
    int64_t dims;  /* of o: D and what the products add to it */
    int64_t keys;  /* of a tile, a multiple of GRAIN */
    int64_t score_keys; /* of s and p */
    size_t k_bytes, v_bytes; /* room for one tile prepared */
} tile_layout;

/* What one call works with. Blocks follow each other: block b of q begins at b * words * BLOCK. */
typedef struct rows_call {
    const fam_attention_job *job;
    const fam_attention_shape *shape;
    int64_t kv_head, row_begin, row_end;
    int64_t dim;
    tile_layout layout;
    fam_dtype dtype;
    float exponent_scale; /* scale * log2 e */
    float *q;             /* [blocks][words][BLOCK] words */
    float *o;             /* [blocks][dims][BLOCK], not yet divided by sum */
    float *maximum, *sum; /* [blocks][BLOCK]: greatest exponent, sum of 2^(exponent - maximum) */
    float *s;             /* [score_keys][BLOCK]: scores */
    float *p;             /* [score_keys / 2][BLOCK] words: weights of two keys (PAIRS only) */
    void *k_room, *v_room;
    /* the tile, as tile_prepare left it */
    const uint8_t *k, *v;
    int64_t k_copied; /* AMX: keys from here on lie in k_room */
    int64_t k_stride, v_stride; /* bytes from key to key (of v with PAIRS: from pair to pair) */
} rows_call;

/* What one block of rows sees of a tile: keys [from, to), `from` a multiple of GRAIN. Some rows may not see some of them
 * (masked). padded: `to` as a multiple of GRAIN. */
typedef struct block_view {
    int64_t block, from, to, padded;
    bool masked;
} block_view;

static tile_layout layout_of(const fam_attention_shape *shape, fam_dtype dtype);
/* Makes n keys and values ready for the products. */
static void tile_prepare(rows_call *call, const uint8_t *k, const uint8_t *v, int64_t n);
/* Attends all blocks of rows to the tile of n keys that begins at key `first` of the range. */
static void tile_attend(const rows_call *call, const fam_key_range *range, int64_t first, int64_t n, int64_t blocks);

/* ---- scratch -------------------------------------------------------------------------------------------------------- */

static size_t carve_call(rows_call *call, uint8_t *scratch)
{
    const tile_layout *layout = &call->layout;
    size_t used = 0, rows = (size_t)layout->rows;
    call->q = fam_carve(scratch, &used, rows * (size_t)layout->words * sizeof(float));
    call->o = fam_carve(scratch, &used, rows * (size_t)layout->dims * sizeof(float));
    call->maximum = fam_carve(scratch, &used, rows * sizeof(float));
    call->sum = fam_carve(scratch, &used, rows * sizeof(float));
    call->s = fam_carve(scratch, &used, (size_t)layout->score_keys * BLOCK * sizeof(float));
    call->p = fam_carve(scratch, &used, PAIRS ? (size_t)layout->score_keys / 2 * BLOCK * sizeof(float) : 0);
    call->k_room = fam_carve(scratch, &used, layout->k_bytes);
    call->v_room = fam_carve(scratch, &used, layout->v_bytes);
    return used;
}

static size_t rows_scratch_bytes(const fam_attention_shape *shape, fam_dtype dtype)
{
    rows_call call = {.dim = shape->head_dim, .layout = layout_of(shape, dtype)};
    return carve_call(&call, NULL);
}

/* ---- queries in ------------------------------------------------------------------------------------------------------ */

/* Where LANES rows from `row` on begin in the queries or results, as far as there are rows; returns how many. */
static int row_offsets(const rows_call *call, int64_t stride, int64_t row, int64_t offsets[LANES])
{
    int64_t group = call->shape->heads / call->shape->kv_heads, head = row % group;
    int64_t at = row / group * stride + (call->kv_head * group + head) * call->dim;
    int count = 0;
    for (; count < LANES && row + count < call->row_end; count++) {
        offsets[count] = at;
        at += call->dim;
        if (++head == group) {
            head = 0;
            at += stride - group * call->dim;
        }
    }
    return count;
}

/* Words [word, word + LANES) of the row that begins at `at`, as far as it has them. */
static inline vec load_query_words(const rows_call *call, int64_t at, int64_t word)
{
    const float *f32 = (const float *)call->job->q + at;
    const uint16_t *bf16 = (const uint16_t *)call->job->q + at;
    int64_t words = PAIRS ? call->dim / 2 : call->dim, left = words - word < LANES ? words - word : LANES;
    float part[LANES] = {0};
    if (left == LANES && (PAIRS || call->dtype == FAM_DTYPE_F32))
        return vec_load(PAIRS ? (const float *)(const void *)(bf16 + 2 * word) : f32 + word);
    if (left == LANES)
        return vec_widen(bf16 + word);
    if (PAIRS)
        memcpy(part, bf16 + 2 * word, (size_t)left * sizeof(float));
    else if (call->dtype == FAM_DTYPE_F32)
        memcpy(part, f32 + word, (size_t)left * sizeof(float));
    else
        for (int64_t i = 0; i < left; i++)
            part[i] = fam_from_bf16(bf16[word + i]);
    return vec_load(part);
}

/* LANES rows from `row` on; those beyond the end are zero. q: where their column begins in the block. */
static void pack_query_lanes(const rows_call *call, float *q, int64_t row)
{
    int64_t words = PAIRS ? call->dim / 2 : call->dim, offsets[LANES];
    int count = row_offsets(call, call->job->q_stride, row, offsets);
    for (int64_t word = 0; word < call->layout.words; word += LANES) {
        vec r[LANES];
        for (int i = 0; i < LANES; i++)
            r[i] = i < count && word < words ? load_query_words(call, offsets[i], word) : vec_set(0);
        vec_transpose(r);
        for (int i = 0; i < LANES && word + i < call->layout.words; i++)
            vec_store(q + (word + i) * BLOCK, r[i]);
    }
}

static void start_rows(const rows_call *call, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++)
        for (int v = 0; v < VECS; v++)
            pack_query_lanes(call, call->q + b * call->layout.words * BLOCK + v * LANES,
                             call->row_begin + b * BLOCK + v * LANES);
    for (int64_t i = 0; i < blocks * BLOCK; i++) {
        call->maximum[i] = FAM_NO_KEY_YET;
        call->sum[i] = 0;
    }
    memset(call->o, 0, (size_t)(blocks * BLOCK * call->layout.dims) * sizeof(float));
}

/* ---- results out ----------------------------------------------------------------------------------------------------- */

static inline void store_result(const rows_call *call, int64_t at, int64_t dim, vec values)
{
    int64_t left = call->dim - dim < LANES ? call->dim - dim : LANES;
    float *f32 = (float *)call->job->out + at + dim, part[LANES];
    uint16_t *bf16 = (uint16_t *)call->job->out + at + dim, narrow[LANES];
    if (left == LANES && call->dtype == FAM_DTYPE_F32) {
        vec_store(f32, values);
    } else if (left == LANES) {
        vec_narrow(bf16, values);
    } else if (call->dtype == FAM_DTYPE_F32) {
        vec_store(part, values);
        memcpy(f32, part, (size_t)left * sizeof(float));
    } else {
        vec_narrow(narrow, values);
        memcpy(bf16, narrow, (size_t)left * sizeof(uint16_t));
    }
}

/* LANES rows from `row` on; o: where their column begins in the block. */
static void finish_lanes(const rows_call *call, const float *o, vec sum, int64_t row)
{
    vec scale = vec_div(vec_set(1), sum);
    int64_t offsets[LANES];
    int count = row_offsets(call, call->job->out_stride, row, offsets);
    for (int64_t dim = 0; dim < call->dim && count > 0; dim += LANES) {
        vec r[LANES];
        for (int i = 0; i < LANES; i++)
            r[i] = dim + i < call->dim ? vec_mul(vec_load(o + (dim + i) * BLOCK), scale) : vec_set(0);
        vec_transpose(r);
        float rows[LANES][LANES]; /* so that r stays in registers although `count` is not known */
        for (int i = 0; i < LANES; i++)
            vec_store(rows[i], r[i]);
        for (int i = 0; i < count; i++)
            store_result(call, offsets[i], dim, vec_load(rows[i]));
    }
}

static void finish_rows(const rows_call *call, int64_t blocks)
{
    for (int64_t lanes = 0; lanes < blocks * VECS; lanes++)
        finish_lanes(call, call->o + lanes / VECS * call->layout.dims * BLOCK + lanes % VECS * LANES,
                     vec_load(call->sum + lanes * LANES), call->row_begin + lanes * LANES);
}

/* ---- softmax --------------------------------------------------------------------------------------------------------- */

static bool block_sees(const rows_call *call, int64_t block, const fam_key_range *range, int64_t first, int64_t n,
                       block_view *view)
{
    int64_t group = call->shape->heads / call->shape->kv_heads, row = call->row_begin + block * BLOCK;
    int64_t end = row + BLOCK < call->row_end ? row + BLOCK : call->row_end;
    fam_key_span any = fam_queries_see(range, row / group, (end - 1) / group);
    fam_key_span all = fam_queries_share(range, row / group, (end - 1) / group);
    int64_t from = any.begin > first ? any.begin - first : 0, to = any.end - first < n ? any.end - first : n;
    if (from >= to)
        return false;
    from = from / GRAIN * GRAIN;
    *view = (block_view){block, from, to, fam_round_up(to, GRAIN), all.begin > first + from || all.end < first + to};
    return true;
}

/* Scores of keys that a row does not see become -infinity. first: the tile's first key in the range. */
static void hide_keys(const rows_call *call, const block_view *view, const fam_key_range *range, int64_t first, float *s)
{
    int64_t group = call->shape->heads / call->shape->kv_heads;
    int32_t lower[BLOCK], upper[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        fam_key_span sees = fam_query_sees(range, (call->row_begin + view->block * BLOCK + i) / group);
        int64_t low = sees.begin - first, high = sees.end - first;
        lower[i] = (int32_t)(low < 0 ? 0 : low > view->to ? view->to : low);
        upper[i] = (int32_t)(high < 0 ? 0 : high > view->to ? view->to : high);
    }
    for (int64_t key = view->from; key < view->to; key++)
        for (int v = 0; v < VECS; v++) {
            float *score = s + key * BLOCK + v * LANES;
            vec_store(score, vec_hide(vec_load(score), lower + v * LANES, upper + v * LANES, (int32_t)key));
        }
}

static inline vec weight_of(vec score, vec scale, vec maximum)
{
    vec exponent = vec_fms(score, scale, maximum);
    return PAIRS ? vec_exp2_rough(exponent) : vec_exp2(exponent);
}

/* The greatest of keys [from, to) in each lane; s is the lanes' column. Four chains, so as not to wait for each other. */
static vec greatest_score(const float *s, int64_t from, int64_t to)
{
    vec a = vec_load(s + from * BLOCK), b = a, c = a, d = a;
    int64_t key = from;
    for (; key + 4 <= to; key += 4) {
        a = vec_max(a, vec_load(s + key * BLOCK));
        b = vec_max(b, vec_load(s + (key + 1) * BLOCK));
        c = vec_max(c, vec_load(s + (key + 2) * BLOCK));
        d = vec_max(d, vec_load(s + (key + 3) * BLOCK));
    }
    for (; key < to; key++)
        a = vec_max(a, vec_load(s + key * BLOCK));
    return vec_max(vec_max(a, b), vec_max(c, d));
}

/* Finds the maxima with the scores of a view; true if some lie so far above the present ones that these must rise. */
static bool maxima_rise(const rows_call *call, const block_view *view, const float *s, vec raised[VECS])
{
    bool rise = false;
    for (int v = 0; v < VECS; v++) {
        vec old = vec_load(call->maximum + view->block * BLOCK + v * LANES);
        vec greatest = greatest_score(s + v * LANES, view->from, view->to);
        raised[v] = vec_max(vec_mul(greatest, vec_set(call->exponent_scale)), old);
        rise |= vec_any_above(raised[v], vec_add(old, vec_set(MAXIMUM_SLACK)));
    }
    return rise;
}

/* Sets higher maxima, and brings what was summed so far to them. */
static void raise_maxima(const rows_call *call, int64_t block, const vec raised[VECS])
{
    for (int v = 0; v < VECS; v++) {
        float *maximum = call->maximum + block * BLOCK + v * LANES, *sum = call->sum + block * BLOCK + v * LANES;
        float *o = call->o + block * call->layout.dims * BLOCK + v * LANES;
        vec shrink = weight_of(vec_load(maximum), vec_set(1), raised[v]);
        vec_store(maximum, raised[v]);
        vec_store(sum, vec_mul(vec_load(sum), shrink));
        for (int64_t dim = 0; dim < call->dim; dim++)
            vec_store(o + dim * BLOCK, vec_mul(vec_load(o + dim * BLOCK), shrink));
    }
}

#if PAIRS
/* Two keys' weights, rounded to bfloat16, as one word a row. */
static inline vec pair_of(vec even, vec odd);
/* sum + both weights of each pair. */
static inline vec add_pair(vec sum, vec pair);

/* p = weights of keys [from, to) of the scores, `from` even; pairs up to `padded` get zeros. */
static inline void weigh(const rows_call *call, int64_t block, const float *s, float *p, int64_t from, int64_t to,
                         int64_t padded)
{
    vec scale = vec_set(call->exponent_scale), maximum[VECS], sum[VECS];
    for (int v = 0; v < VECS; v++) {
        maximum[v] = vec_load(call->maximum + block * BLOCK + v * LANES);
        sum[v] = vec_load(call->sum + block * BLOCK + v * LANES);
    }
    int64_t key = from;
    for (; key + 1 < to; key += 2)
        for (int v = 0; v < VECS; v++) {
            const float *two = s + key * BLOCK + v * LANES;
            vec pair = pair_of(weight_of(vec_load(two), scale, maximum[v]),
                               weight_of(vec_load(two + BLOCK), scale, maximum[v]));
            sum[v] = add_pair(sum[v], pair);
            vec_store(p + key / 2 * BLOCK + v * LANES, pair);
        }
    for (; key < padded; key += 2)
        for (int v = 0; v < VECS; v++) {
            vec last = key < to ? weight_of(vec_load(s + key * BLOCK + v * LANES), scale, maximum[v]) : vec_set(0);
            vec pair = pair_of(last, vec_set(0));
            sum[v] = add_pair(sum[v], pair);
            vec_store(p + key / 2 * BLOCK + v * LANES, pair);
        }
    for (int v = 0; v < VECS; v++)
        vec_store(call->sum + block * BLOCK + v * LANES, sum[v]);
}
#else
/* Turns the scores of keys [from, to) into weights. */
static void weigh(const rows_call *call, int64_t block, float *s, int64_t from, int64_t to)
{
    vec scale = vec_set(call->exponent_scale), maximum[VECS], sum[VECS];
    for (int v = 0; v < VECS; v++) {
        maximum[v] = vec_load(call->maximum + block * BLOCK + v * LANES);
        sum[v] = vec_load(call->sum + block * BLOCK + v * LANES);
    }
    for (int64_t key = from; key < to; key++)
        for (int v = 0; v < VECS; v++) {
            float *score = s + key * BLOCK + v * LANES;
            vec weight = weight_of(vec_load(score), scale, maximum[v]);
            sum[v] = vec_add(sum[v], weight);
            vec_store(score, weight);
        }
    for (int v = 0; v < VECS; v++)
        vec_store(call->sum + block * BLOCK + v * LANES, sum[v]);
}
#endif

/* ---- the loop -------------------------------------------------------------------------------------------------------- */

static void attend_range(rows_call *call, const fam_key_range *range, int64_t blocks)
{
    int64_t group = call->shape->heads / call->shape->kv_heads;
    fam_key_span sees = fam_queries_see(range, call->row_begin / group, (call->row_end - 1) / group);
    int64_t row_bytes = call->dim * (int64_t)fam_dtype_bytes(call->dtype);
    int64_t head = call->kv_head * range->head_stride * (int64_t)fam_dtype_bytes(call->dtype);
    for (int64_t first = sees.begin; first < sees.end; first += call->layout.keys) {
        int64_t n = sees.end - first < call->layout.keys ? sees.end - first : call->layout.keys;
        tile_prepare(call, (const uint8_t *)range->k + head + first * row_bytes,
                     (const uint8_t *)range->v + head + first * row_bytes, n);
        tile_attend(call, range, first, n, blocks);
    }
}

static void attend_rows(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                        int64_t row_begin, int64_t row_end, void *scratch, fam_dtype dtype)
{
    rows_call call = {.job = job, .shape = shape, .kv_head = kv_head, .row_begin = row_begin, .row_end = row_end,
                      .dim = shape->head_dim, .layout = layout_of(shape, dtype), .dtype = dtype,
                      .exponent_scale = shape->scale * FAM_LOG2_E};
    int64_t blocks = (row_end - row_begin + BLOCK - 1) / BLOCK;
    carve_call(&call, scratch);
    start_rows(&call, blocks);
    for (int r = 0; r < job->range_count; r++)
        attend_range(&call, &job->ranges[r], blocks);
    finish_rows(&call, blocks);
}

#endif
