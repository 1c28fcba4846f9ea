/*
 * backend/cpu/attention_mac.h: the products of attention_rows.h on vectors: keys and values spread from memory, rows in
 * lanes, accumulators in registers.
 *
 * The including file defines SPREAD_KEYS (keys whose scores are summed at once) and vec_mac(a, b, sum), which takes words.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_MAC_H
#define FAM_BACKEND_CPU_ATTENTION_MAC_H

static inline vec vec_mac(vec a, vec b, vec sum);

/* Keys of a tile: what keeps scores and a tile in the first-level cache or not far from it. */
static int64_t tile_keys(int64_t dim)
{
    return dim <= 128 ? 96 : dim <= 256 ? 48 : 24;
}

static int64_t call_rows(int64_t dim)
{
    int64_t rows = 8192 / dim / BLOCK * BLOCK;
    return rows < 32 ? 32 : rows > 192 ? 192 : rows;
}

static tile_layout layout_of(const fam_attention_shape *shape, fam_dtype dtype)
{
    int64_t dim = shape->head_dim, keys = tile_keys(dim);
    tile_layout layout = {.rows = call_rows(dim), .words = PAIRS ? dim / 2 : dim, .dims = dim,
                          .keys = keys, .score_keys = keys};
    size_t tile = (size_t)(keys * dim) * sizeof(float);
    if (PAIRS)
        layout.v_bytes = tile / 2;
    else if (dtype == FAM_DTYPE_BF16)
        layout.k_bytes = layout.v_bytes = tile;
    return layout;
}

static inline __attribute__((always_inline)) void scores_of_keys(float *s, const float *q, const uint8_t *k,
                                                                 int64_t stride, int64_t words, const int keys)
{
    vec sum[SPREAD_KEYS][VECS];
    for (int i = 0; i < keys; i++)
        for (int v = 0; v < VECS; v++)
            sum[i][v] = vec_set(0);
    for (int64_t w = 0; w < words; w++) {
        vec row[VECS];
        for (int v = 0; v < VECS; v++)
            row[v] = vec_load(q + w * BLOCK + v * LANES);
        for (int i = 0; i < keys; i++) {
            vec key = vec_spread(k + i * stride + w * 4);
            for (int v = 0; v < VECS; v++)
                sum[i][v] = vec_mac(key, row[v], sum[i][v]);
        }
    }
    for (int i = 0; i < keys; i++)
        for (int v = 0; v < VECS; v++)
            vec_store(s + i * BLOCK + v * LANES, sum[i][v]);
}

static void block_scores(const rows_call *call, const block_view *view)
{
    int64_t words = call->layout.words, stride = call->k_stride, key = view->from, to = view->to;
    const float *q = call->q + view->block * words * BLOCK;
    for (; key + SPREAD_KEYS <= to; key += SPREAD_KEYS)
        scores_of_keys(call->s + key * BLOCK, q, call->k + key * stride, stride, words, SPREAD_KEYS);
    for (; key + 3 <= to; key += 3)
        scores_of_keys(call->s + key * BLOCK, q, call->k + key * stride, stride, words, 3);
    for (; key < to; key++)
        scores_of_keys(call->s + key * BLOCK, q, call->k + key * stride, stride, words, 1);
}

static inline __attribute__((always_inline)) void accumulate_dims(float *o, const float *weights, const uint8_t *v,
                                                                  int64_t stride, int64_t n, const int dims)
{
    vec sum[SPREAD_DIMS][VECS];
    for (int i = 0; i < dims; i++)
        for (int r = 0; r < VECS; r++)
            sum[i][r] = vec_load(o + i * BLOCK + r * LANES);
    for (int64_t j = 0; j < n; j++, v += stride) {
        vec weight[VECS];
        for (int r = 0; r < VECS; r++)
            weight[r] = vec_load(weights + j * BLOCK + r * LANES);
        for (int i = 0; i < dims; i++) {
            vec value = vec_spread(v + i * 4);
            for (int r = 0; r < VECS; r++)
                sum[i][r] = vec_mac(value, weight[r], sum[i][r]);
        }
    }
    for (int i = 0; i < dims; i++)
        for (int r = 0; r < VECS; r++)
            vec_store(o + i * BLOCK + r * LANES, sum[i][r]);
}

static void block_accumulate(const rows_call *call, const block_view *view)
{
    int64_t dim = 0, begin = view->from / GRAIN, n = (view->padded - view->from) / GRAIN, stride = call->v_stride;
    const float *weights = (PAIRS ? call->p : call->s) + begin * BLOCK;
    const uint8_t *v = call->v + begin * stride;
    float *o = call->o + view->block * call->layout.dims * BLOCK;
    for (; dim + SPREAD_DIMS <= call->dim; dim += SPREAD_DIMS)
        accumulate_dims(o + dim * BLOCK, weights, v + dim * 4, stride, n, SPREAD_DIMS);
    for (; dim < call->dim; dim += 2)
        accumulate_dims(o + dim * BLOCK, weights, v + dim * 4, stride, n, 2);
}

static void tile_attend(const rows_call *call, const fam_key_range *range, int64_t first, int64_t n, int64_t blocks)
{
    block_view view;
    vec raised[VECS];
    for (int64_t block = 0; block < blocks; block++) {
        if (!block_sees(call, block, range, first, n, &view))
            continue;
        block_scores(call, &view);
        if (view.masked)
            hide_keys(call, &view, range, first, call->s);
        if (maxima_rise(call, &view, call->s, raised))
            raise_maxima(call, block, raised);
#if PAIRS
        weigh(call, block, call->s, call->p, view.from, view.to, view.padded);
#else
        weigh(call, block, call->s, view.from, view.to);
#endif
        block_accumulate(call, &view);
    }
}

#if !PAIRS
static void widen_run(float *to, const uint16_t *from, int64_t count)
{
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        vec_store(to + i, vec_widen(from + i));
    for (; i < count; i++)
        to[i] = fam_from_bf16(from[i]);
}

static void tile_prepare(rows_call *call, const uint8_t *k, const uint8_t *v, int64_t n)
{
    call->k_stride = call->v_stride = call->dim * (int64_t)sizeof(float);
    if (call->dtype == FAM_DTYPE_BF16) {
        widen_run(call->k_room, (const uint16_t *)(const void *)k, n * call->dim);
        widen_run(call->v_room, (const uint16_t *)(const void *)v, n * call->dim);
        k = call->k_room;
        v = call->v_room;
    }
    call->k = k;
    call->v = v;
}
#endif

#endif
