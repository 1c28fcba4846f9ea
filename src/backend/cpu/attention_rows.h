/*
 * backend/cpu/attention_rows.h: attention of many rows (prefill) for all vector versions: everything but the products.
 *
 * Rows (query and head) lie in the lanes of vectors, keys and dimensions go down: queries are packed transposed, scores come
 * as [key][row], so softmax needs no sums across lanes, and keys are read in place, spread from memory. A file includes
 * the vector operations, says whether its products take pairs of bfloat16 (PAIRS), includes this, and defines tile_prepare,
 * tile_scores and tile_accumulate; attention_mac.h has them for machines without matrix tiles.
 *
 * A "word" is 32 bits: a float, or a pair of bfloat16 that a product takes together.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_ROWS_H
#define FAM_BACKEND_CPU_ATTENTION_ROWS_H

enum { VECS = 2, BLOCK = VECS * LANES }; /* rows that are worked on together */

typedef struct tile_layout {
    int64_t rows;  /* rows of a call, a multiple of BLOCK */
    int64_t words; /* of a packed query */
    int64_t dims;  /* of o: D and what the products add to it */
    int64_t keys;  /* of a tile, a multiple of GRAIN */
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
    float *s;             /* [keys][BLOCK]: scores, then weights; with PAIRS the weights are in p */
    float *p;             /* [keys / 2][BLOCK] words: weights of two keys */
    void *k_room, *v_room;
    /* the tile, as tile_prepare left it */
    const uint8_t *k, *v;
    int64_t k_stride, v_stride; /* bytes from key to key (of v with PAIRS: from pair to pair) */
} rows_call;

static tile_layout layout_of(const fam_attention_shape *shape, fam_dtype dtype);
/* Makes keys [begin, begin + n) of a range ready for the products. */
static void tile_prepare(rows_call *call, const uint8_t *k, const uint8_t *v, int64_t n);
/* call->s = products of block `block` with keys [from, to) of the tile. */
static void tile_scores(const rows_call *call, int64_t block, int64_t from, int64_t to);
/* o of the block += weights times values for keys [from, to), both multiples of GRAIN or the end of the tile. */
static void tile_accumulate(const rows_call *call, int64_t block, int64_t from, int64_t to);

/* ---- scratch -------------------------------------------------------------------------------------------------------- */

static size_t carve_call(rows_call *call, uint8_t *scratch)
{
    const tile_layout *layout = &call->layout;
    size_t used = 0, rows = (size_t)layout->rows;
    call->q = fam_carve(scratch, &used, rows * (size_t)layout->words * sizeof(float));
    call->o = fam_carve(scratch, &used, rows * (size_t)layout->dims * sizeof(float));
    call->maximum = fam_carve(scratch, &used, rows * sizeof(float));
    call->sum = fam_carve(scratch, &used, rows * sizeof(float));
    call->s = fam_carve(scratch, &used, (size_t)layout->keys * BLOCK * sizeof(float));
    call->p = fam_carve(scratch, &used, PAIRS ? (size_t)layout->keys / 2 * BLOCK * sizeof(float) : 0);
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

/* Words [word, word + LANES) of one row, as far as it has them. */
static vec load_query_words(const rows_call *call, int64_t row, int64_t word)
{
    int64_t at = fam_row_offset(call->shape, call->job->q_stride, call->kv_head, row);
    const float *f32 = (const float *)call->job->q + at;
    const uint16_t *bf16 = (const uint16_t *)call->job->q + at;
    int64_t words = PAIRS ? call->dim / 2 : call->dim, left = words - word < LANES ? words - word : LANES;
    float part[LANES] = {0};
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
    int64_t words = PAIRS ? call->dim / 2 : call->dim;
    for (int64_t word = 0; word < call->layout.words; word += LANES) {
        vec r[LANES];
        for (int i = 0; i < LANES; i++)
            r[i] = row + i < call->row_end && word < words ? load_query_words(call, row + i, word) : vec_set(0);
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

static void store_result(const rows_call *call, int64_t row, int64_t dim, vec values)
{
    int64_t at = fam_row_offset(call->shape, call->job->out_stride, call->kv_head, row) + dim;
    int64_t left = call->dim - dim < LANES ? call->dim - dim : LANES;
    float part[LANES];
    uint16_t narrow[LANES];
    if (call->dtype == FAM_DTYPE_F32) {
        vec_store(part, values);
        memcpy((float *)call->job->out + at, part, (size_t)left * sizeof(float));
    } else {
        vec_narrow(narrow, values);
        memcpy((uint16_t *)call->job->out + at, narrow, (size_t)left * sizeof(uint16_t));
    }
}

static void finish_rows(const rows_call *call, int64_t blocks)
{
    for (int64_t lanes = 0; lanes < blocks * VECS; lanes++) {
        int64_t row = call->row_begin + lanes * LANES;
        const float *o = call->o + lanes / VECS * call->layout.dims * BLOCK + lanes % VECS * LANES;
        vec scale = vec_div(vec_set(1), vec_load(call->sum + lanes * LANES));
        for (int64_t dim = 0; dim < call->dim && row < call->row_end; dim += LANES) {
            vec r[LANES];
            for (int i = 0; i < LANES; i++)
                r[i] = dim + i < call->dim ? vec_mul(vec_load(o + (dim + i) * BLOCK), scale) : vec_set(0);
            vec_transpose(r);
            for (int i = 0; i < LANES && row + i < call->row_end; i++)
                store_result(call, row + i, dim, r[i]);
        }
    }
}

/* ---- softmax --------------------------------------------------------------------------------------------------------- */

/* Scores of keys that a row does not see become -infinity. first: the tile's first key in the range. */
static void hide_keys(const rows_call *call, int64_t block, const fam_key_range *range, int64_t first, int64_t from,
                      int64_t to)
{
    int64_t group = call->shape->heads / call->shape->kv_heads;
    int32_t lower[BLOCK], upper[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        fam_key_span sees = fam_query_sees(range, (call->row_begin + block * BLOCK + i) / group);
        int64_t low = sees.begin - first, high = sees.end - first;
        lower[i] = (int32_t)(low < 0 ? 0 : low > to ? to : low);
        upper[i] = (int32_t)(high < 0 ? 0 : high > to ? to : high);
    }
    for (int64_t key = from; key < to; key++)
        for (int v = 0; v < VECS; v++) {
            float *s = call->s + key * BLOCK + v * LANES;
            vec_store(s, vec_hide(vec_load(s), lower + v * LANES, upper + v * LANES, (int32_t)key));
        }
}

static inline vec weight_of(vec score, vec scale, vec maximum)
{
    vec exponent = vec_fms(score, scale, maximum);
    return PAIRS ? vec_exp2_rough(exponent) : vec_exp2(exponent);
}

/* Raises the maxima to those of the scores, and brings what was summed so far to them. */
static void raise_maxima(const rows_call *call, int64_t block, int64_t from, int64_t to)
{
    vec scale = vec_set(call->exponent_scale);
    for (int v = 0; v < VECS; v++) {
        float *maximum = call->maximum + block * BLOCK + v * LANES, *sum = call->sum + block * BLOCK + v * LANES;
        const float *s = call->s + v * LANES;
        vec greatest = vec_load(s + from * BLOCK), old = vec_load(maximum);
        for (int64_t key = from + 1; key < to; key++)
            greatest = vec_max(greatest, vec_load(s + key * BLOCK));
        vec raised = vec_max(vec_mul(greatest, scale), old);
        if (vec_all_equal(raised, old))
            continue;
        vec shrink = weight_of(old, vec_set(1), raised);
        vec_store(maximum, raised);
        vec_store(sum, vec_mul(vec_load(sum), shrink));
        float *o = call->o + block * call->layout.dims * BLOCK + v * LANES;
        for (int64_t dim = 0; dim < call->dim; dim++)
            vec_store(o + dim * BLOCK, vec_mul(vec_load(o + dim * BLOCK), shrink));
    }
}

#if PAIRS
/* Two keys' weights, rounded to bfloat16, as one word a row. */
static inline vec pair_of(vec even, vec odd);
/* sum + both weights of each pair. */
static inline vec add_pair(vec sum, vec pair);

/* Weights of keys [from, to), `from` even; pairs up to `padded` get zeros. */
static void weigh(const rows_call *call, int64_t block, int64_t from, int64_t to, int64_t padded)
{
    vec scale = vec_set(call->exponent_scale), maximum[VECS], sum[VECS];
    for (int v = 0; v < VECS; v++) {
        maximum[v] = vec_load(call->maximum + block * BLOCK + v * LANES);
        sum[v] = vec_load(call->sum + block * BLOCK + v * LANES);
    }
    int64_t key = from;
    for (; key + 1 < to; key += 2)
        for (int v = 0; v < VECS; v++) {
            const float *s = call->s + key * BLOCK + v * LANES;
            vec pair = pair_of(weight_of(vec_load(s), scale, maximum[v]), weight_of(vec_load(s + BLOCK), scale, maximum[v]));
            sum[v] = add_pair(sum[v], pair);
            vec_store(call->p + key / 2 * BLOCK + v * LANES, pair);
        }
    for (; key < padded; key += 2)
        for (int v = 0; v < VECS; v++) {
            vec last = key < to ? weight_of(vec_load(call->s + key * BLOCK + v * LANES), scale, maximum[v]) : vec_set(0);
            vec pair = pair_of(last, vec_set(0));
            sum[v] = add_pair(sum[v], pair);
            vec_store(call->p + key / 2 * BLOCK + v * LANES, pair);
        }
    for (int v = 0; v < VECS; v++)
        vec_store(call->sum + block * BLOCK + v * LANES, sum[v]);
}
#else
static void weigh(const rows_call *call, int64_t block, int64_t from, int64_t to, int64_t padded)
{
    vec scale = vec_set(call->exponent_scale), maximum[VECS], sum[VECS];
    (void)padded;
    for (int v = 0; v < VECS; v++) {
        maximum[v] = vec_load(call->maximum + block * BLOCK + v * LANES);
        sum[v] = vec_load(call->sum + block * BLOCK + v * LANES);
    }
    for (int64_t key = from; key < to; key++)
        for (int v = 0; v < VECS; v++) {
            float *s = call->s + key * BLOCK + v * LANES;
            vec weight = weight_of(vec_load(s), scale, maximum[v]);
            sum[v] = vec_add(sum[v], weight);
            vec_store(s, weight);
        }
    for (int v = 0; v < VECS; v++)
        vec_store(call->sum + block * BLOCK + v * LANES, sum[v]);
}
#endif

/* ---- the loop -------------------------------------------------------------------------------------------------------- */

/* One block of rows over the tile of n keys from `first` on. */
static void attend_block(const rows_call *call, int64_t block, const fam_key_range *range, int64_t first, int64_t n)
{
    int64_t group = call->shape->heads / call->shape->kv_heads, row = call->row_begin + block * BLOCK;
    int64_t end = row + BLOCK < call->row_end ? row + BLOCK : call->row_end;
    fam_key_span sees = fam_queries_see(range, row / group, (end - 1) / group);
    fam_key_span shared = fam_queries_share(range, row / group, (end - 1) / group);
    int64_t from = sees.begin > first ? sees.begin - first : 0, to = sees.end - first < n ? sees.end - first : n;
    if (from >= to)
        return;
    from = from / GRAIN * GRAIN;
    tile_scores(call, block, from, to);
    if (shared.begin > first + from || shared.end < first + to)
        hide_keys(call, block, range, first, from, to);
    raise_maxima(call, block, from, to);
    int64_t padded = fam_round_up(to, GRAIN);
    weigh(call, block, from, to, padded);
    tile_accumulate(call, block, from, padded);
}

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
        for (int64_t block = 0; block < blocks; block++)
            attend_block(call, block, range, first, n);
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
