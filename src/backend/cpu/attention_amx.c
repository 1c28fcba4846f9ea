/*
 * backend/cpu/attention_amx.c: attention in bfloat16 with AMX tiles (16 x 16 sums of 32 products).
 *
 * Scores come transposed, keys down and rows across: a tile of keys is then read in place, and the weights, as they lie after
 * softmax, are what the second product wants. Only the values must be transposed, once a tile for all rows of a call.
 * Weights are rounded to bfloat16, and their sum is that of the rounded ones.
 */
#include "backend/cpu/attention_vec512.h"

#define PAIRS 1
enum {
    GRAIN = 32,       /* keys of one tile product */
    SCORE_BUFFERS = 2 /* of the block whose weights are made, and of the one before or after it */
};

#include "backend/cpu/attention_rows.h"
#include "backend/cpu/attention_pairs.h"

enum {
    ROW_BYTES = BLOCK * 4, /* of s, o, p and packed queries: one key's, dimension's, pair's, word's row */
    CALL_ROWS_MAX = 192,
    WEIGH_KEYS = 16       /* keys whose weights are made between two tile products */
};

typedef struct tile_config {
    _Alignas(64) uint8_t palette;
    uint8_t start_row, reserved[14];
    uint16_t columns[16]; /* bytes of a row */
    uint8_t rows[16];
} tile_config;

static const tile_config EIGHT_FULL_TILES = {
    .palette = 1, .columns = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

static int64_t rows(const fam_attention_shape *shape)
{
    int64_t dims = fam_round_up(shape->head_dim, 32);
    return dims <= 128 ? CALL_ROWS_MAX : dims <= 256 ? 64 : 32;
}

static tile_layout layout_of(const fam_attention_shape *shape, fam_dtype dtype)
{
    int64_t dims = fam_round_up(shape->head_dim, 32), keys = dims <= 64 ? 128 : dims <= 256 ? 64 : 32;
    size_t tile = (size_t)(keys * dims) * sizeof(uint16_t);
    (void)dtype;
    return (tile_layout){.rows = rows(shape), .words = dims / 2, .dims = dims, .keys = keys, .k_bytes = tile, .v_bytes = tile};
}

/* ---- a tile of keys and values ---------------------------------------------------------------------------------------- */

/* Keys with whole tile rows are read in place; others are copied, with zeros around them. */
static void prepare_keys(rows_call *call, const uint8_t *k, int64_t n)
{
    int64_t row = call->dim * 2, padded = call->layout.dims * 2;
    call->k = k;
    call->k_stride = row;
    if (row == padded && n % GRAIN == 0)
        return;
    uint8_t *out = call->k_room;
    for (int64_t key = 0; key < n; key++, out += padded) {
        memcpy(out, k + key * row, (size_t)row);
        memset(out + row, 0, (size_t)(padded - row));
    }
    memset(out, 0, (size_t)((fam_round_up(n, GRAIN) - n) * padded));
    call->k = call->k_room;
    call->k_stride = padded;
}

/* 32 keys (those from n on are zero) by 32 dimensions of values, transposed: out row d holds dimension d of the keys. */
static void transpose_values(uint8_t *out, int64_t out_stride, const uint16_t *v, int64_t dim, int64_t n, __mmask32 columns)
{
    vec low[LANES], high[LANES];
    for (int pair = 0; pair < LANES; pair++) {
        const uint16_t *row = v + 2 * pair * dim;
        __m512i even = _mm512_maskz_loadu_epi16(2 * pair < n ? columns : 0, row);
        __m512i odd = _mm512_maskz_loadu_epi16(2 * pair + 1 < n ? columns : 0, row + dim);
        low[pair] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(even, odd));
        high[pair] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(even, odd));
    }
    vec_transpose(low);
    vec_transpose(high);
    for (int i = 0; i < LANES; i++) { /* unpacking took dimensions 0-3, 8-11, 16-19, 24-27 and the others apart */
        int d = i / 4 * 8 + i % 4;
        vec_store((float *)(void *)(out + d * out_stride), low[i]);
        vec_store((float *)(void *)(out + (d + 4) * out_stride), high[i]);
    }
}

static void tile_prepare(rows_call *call, const uint8_t *k, const uint8_t *v, int64_t n)
{
    prepare_keys(call, k, n);
    call->v = call->v_room;
    call->v_stride = call->layout.keys * 2; /* from dimension to dimension */
    for (int64_t dim = 0; dim < call->layout.dims; dim += 32) {
        __mmask32 columns = call->dim - dim < 32 ? (__mmask32)((1u << (call->dim - dim)) - 1) : 0xffffffff;
        for (int64_t key = 0; key < n; key += GRAIN)
            transpose_values((uint8_t *)call->v_room + dim * call->v_stride + key * 2, call->v_stride,
                             (const uint16_t *)(const void *)v + key * call->dim + dim, call->dim, n - key, columns);
    }
}

/* ---- products --------------------------------------------------------------------------------------------------------- */

static float *scores_of(const rows_call *call, int turn)
{
    return call->s + turn % 2 * call->layout.keys * BLOCK;
}

static float *weights_of(const rows_call *call, int turn)
{
    return call->p + turn % 2 * call->layout.keys / 2 * BLOCK;
}

/* s = scores of 32 keys for 32 rows. */
static void score_32(const rows_call *call, const block_view *view, float *s, int64_t key)
{
    const uint8_t *k = call->k + key * call->k_stride;
    const float *q = call->q + view->block * call->layout.words * BLOCK;
    s += key * BLOCK;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t word = 0; word < call->layout.words; word += 16) {
        _tile_loadd(6, q + word * BLOCK, ROW_BYTES);
        _tile_loadd(4, k + word * 4, call->k_stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, q + word * BLOCK + LANES, ROW_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, k + 16 * call->k_stride + word * 4, call->k_stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, s, ROW_BYTES);
    _tile_stored(1, s + LANES, ROW_BYTES);
    _tile_stored(2, s + 16 * BLOCK, ROW_BYTES);
    _tile_stored(3, s + 16 * BLOCK + LANES, ROW_BYTES);
}

/* o of 32 dimensions for 32 rows += values times weights. */
static void accumulate_32(const rows_call *call, const block_view *view, const float *p, int64_t dim)
{
    float *o = call->o + (view->block * call->layout.dims + dim) * BLOCK;
    const uint8_t *v = call->v + dim * call->v_stride;
    _tile_loadd(0, o, ROW_BYTES);
    _tile_loadd(1, o + LANES, ROW_BYTES);
    _tile_loadd(2, o + 16 * BLOCK, ROW_BYTES);
    _tile_loadd(3, o + 16 * BLOCK + LANES, ROW_BYTES);
    for (int64_t key = view->from; key < view->padded; key += GRAIN) {
        const float *pairs = p + key / 2 * BLOCK;
        _tile_loadd(6, pairs, ROW_BYTES);
        _tile_loadd(4, v + key * 2, call->v_stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, pairs + LANES, ROW_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, v + 16 * call->v_stride + key * 2, call->v_stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, o, ROW_BYTES);
    _tile_stored(1, o + LANES, ROW_BYTES);
    _tile_stored(2, o + 16 * BLOCK, ROW_BYTES);
    _tile_stored(3, o + 16 * BLOCK + LANES, ROW_BYTES);
}

/* ---- the loop: the tile unit works on the neighbours of the block whose weights the vector units make ------------------- */

/* Products that wait for their turn: scores of the next block (NULL: none), values of the one before. */
typedef struct tile_queue {
    const block_view *next, *before;
    int turn; /* of the block in between */
    int64_t key, dim;
} tile_queue;

static int64_t queue_length(const rows_call *call, const tile_queue *queue)
{
    int64_t scores = queue->next ? (queue->next->padded - queue->key) / GRAIN : 0;
    return scores + (queue->before ? (call->layout.dims - queue->dim) / 32 : 0);
}

static void queue_step(const rows_call *call, tile_queue *queue)
{
    if (queue->before && queue->dim < call->layout.dims) {
        accumulate_32(call, queue->before, weights_of(call, queue->turn - 1), queue->dim);
        queue->dim += 32;
    } else if (queue->next && queue->key < queue->next->padded) {
        score_32(call, queue->next, scores_of(call, queue->turn + 1), queue->key);
        queue->key += GRAIN;
    }
}

/* Weights of one block, a few keys at a time, with tile products in between. */
static void weigh_beside(const rows_call *call, const block_view *view, tile_queue *queue)
{
    const float *s = scores_of(call, queue->turn);
    float *p = weights_of(call, queue->turn);
    int64_t products = queue_length(call, queue), steps = (view->padded - view->from) / WEIGH_KEYS, done = 0;
    for (int64_t step = 0; step < steps; step++) {
        int64_t key = view->from + step * WEIGH_KEYS, end = key + WEIGH_KEYS;
        for (; done < products * (step + 1) / steps; done++)
            queue_step(call, queue);
        weigh(call, view->block, s, p, key, view->to < end ? view->to : end, end);
    }
}

static void tile_attend(const rows_call *call, const fam_key_range *range, int64_t first, int64_t n, int64_t blocks)
{
    block_view views[CALL_ROWS_MAX / BLOCK];
    int count = 0;
    for (int64_t block = 0; block < blocks; block++)
        count += block_sees(call, block, range, first, n, &views[count]);
    if (count == 0)
        return;
    for (int64_t key = views[0].from; key < views[0].to; key += GRAIN)
        score_32(call, &views[0], scores_of(call, 0), key);
    for (int turn = 0; turn < count; turn++) {
        tile_queue queue = {.next = turn + 1 < count ? &views[turn + 1] : NULL, .before = turn > 0 ? &views[turn - 1] : NULL,
                            .turn = turn, .key = turn + 1 < count ? views[turn + 1].from : 0};
        if (views[turn].masked)
            hide_keys(call, &views[turn], range, first, scores_of(call, turn));
        raise_maxima(call, &views[turn], scores_of(call, turn));
        weigh_beside(call, &views[turn], &queue);
    }
    for (int64_t dim = 0; dim < call->layout.dims; dim += 32)
        accumulate_32(call, &views[count - 1], weights_of(call, count - 1), dim);
}

/* ---- the kernel ------------------------------------------------------------------------------------------------------- */

static size_t scratch_bytes(const fam_attention_shape *shape)
{
    size_t many = rows_scratch_bytes(shape, FAM_DTYPE_BF16);
    size_t one = fam_cpu_attention_bf16_avx512bf16.scratch_bytes(shape);
    return many > one ? many : one;
}

static void run(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                int64_t row_end, void *scratch)
{
    /* gcc 12 believes that _tile_loadconfig reads 8 bytes. */
    __asm__ volatile("" ::"r"(&EIGHT_FULL_TILES) : "memory");
    _tile_loadconfig(&EIGHT_FULL_TILES);
    attend_rows(job, shape, kv_head, row_begin, row_end, scratch, FAM_DTYPE_BF16);
    _tile_release();
}

const fam_cpu_attention_kernel fam_cpu_attention_bf16_amx = {run, rows, scratch_bytes, fam_cpu_attention_partial_bf16};
