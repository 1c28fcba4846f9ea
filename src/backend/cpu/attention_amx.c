/*
 * backend/cpu/attention_amx.c: attention in bfloat16 with AMX tiles (16 x 16 sums of 32 products).
 *
 * Scores come transposed, keys down and rows across: a tile of keys is then read in place, and the weights, as they lie
 * after softmax, are what the second product wants. Only the values must be transposed, once a tile for all rows of a
 * call. Weights are rounded to bfloat16, and their sum is that of the rounded ones.
 *
 * Tile products and vector arithmetic take turns, because on this family of processors they share a port: mixing the
 * two closely was slower (by a tenth) than one after the other. With a unit of 128 keys and heads of 64, scores,
 * weights, queries and sums stay in the first-level cache.
 */
#include "backend/cpu/attention_vec512.h"

#define PAIRS 1
enum { GRAIN = 32 }; /* keys of one tile product */

#include "backend/cpu/attention_pairs.h"
#include "backend/cpu/attention_rows.h"
#include "backend/cpu/attention_tiles.h"

enum {
    ROW_BYTES = BLOCK * 4, /* of s, o, p and packed queries: one key's, dimension's, pair's, word's row */
    CALL_ROWS_MAX = 192,
    TILE_KEYS_MAX = 512,
    UNIT_KEYS = 128,  /* one unit of work: a block of rows by so many keys */
    COPIED_KEYS = 64  /* keys of a tile whose rows must be padded */
};

static int64_t padded_dim(const fam_attention_shape *shape)
{
    return fam_round_up(shape->head_dim, 32);
}

static int64_t rows(const fam_attention_shape *shape)
{
    int64_t dims = padded_dim(shape);
    return dims <= 128 ? CALL_ROWS_MAX : dims <= 256 ? 96 : 32;
}

static tile_layout layout_of(const fam_attention_shape *shape, fam_dtype dtype)
{
    int64_t dims = padded_dim(shape), keys = 64 * 1024 / (dims * 2) / GRAIN * GRAIN;
    bool in_place = dims == shape->head_dim; /* then only the last keys of a tile are ever copied */
    (void)dtype;
    keys = !in_place ? COPIED_KEYS : keys > TILE_KEYS_MAX ? TILE_KEYS_MAX : keys;
    return (tile_layout){.rows = rows(shape),
                         .words = dims / 2,
                         .dims = dims,
                         .keys = keys,
                         .score_keys = UNIT_KEYS,
                         .k_bytes = (size_t)((in_place ? GRAIN : keys) * dims) * sizeof(uint16_t),
                         .v_bytes = (size_t)(keys * dims) * sizeof(uint16_t)};
}

/* ---- a tile of keys and values
 * ---------------------------------------------------------------------------------------- */

/* Keys with whole tile rows are read in place, but for those at the end that do not fill a tile; these are copied, with
 * zeros around them. */
static void prepare_keys(rows_call *call, const uint8_t *k, int64_t n)
{
    int64_t row = call->dim * 2, padded = call->layout.dims * 2;
    call->k = k;
    call->k_stride = padded;
    call->k_copied = row == padded ? n / GRAIN * GRAIN : 0;
    uint8_t *out = call->k_room;
    for (int64_t key = call->k_copied; key < n; key++, out += padded) {
        memcpy(out, k + key * row, (size_t)row);
        memset(out + row, 0, (size_t)(padded - row));
    }
    memset(out, 0, (size_t)((fam_round_up(n, GRAIN) - n) * padded));
}

static const uint8_t *keys_at(const rows_call *call, int64_t key)
{
    if (key < call->k_copied)
        return call->k + key * call->k_stride;
    return (const uint8_t *)call->k_room + (key - call->k_copied) * call->k_stride;
}

/* Values of 32 keys, transposed: D rows of GROUP_BYTES. */
static uint8_t *values_at(const rows_call *call, int64_t key)
{
    return (uint8_t *)call->v_room + key / GRAIN * call->layout.dims * GROUP_BYTES;
}

static void tile_prepare(rows_call *call, const uint8_t *k, const uint8_t *v, int64_t n)
{
    const uint16_t *values = (const uint16_t *)(const void *)v;
    prepare_keys(call, k, n);
    for (int64_t key = 0; key < n; key += GRAIN)
        for (int64_t dim = 0; dim < call->layout.dims; dim += 32) {
            __mmask32 columns = call->dim - dim < 32 ? (__mmask32)((1u << (call->dim - dim)) - 1) : 0xffffffff;
            transpose_values(values_at(call, key) + dim * GROUP_BYTES, values + key * call->dim + dim, call->dim,
                             n - key, columns);
        }
}

/* ---- products
 * --------------------------------------------------------------------------------------------------------- */

/* A block of rows by UNIT_KEYS keys or fewer, from key `offset` of the tile; the view's keys count from there. */
typedef struct unit {
    int64_t offset;
    block_view view;
} unit;

/* Scores of 32 keys for 32 rows. */
static inline void score_32(const rows_call *call, const unit *u, int64_t key)
{
    const uint8_t *k = keys_at(call, u->offset + key);
    const float *q = call->q + u->view.block * call->layout.words * BLOCK;
    float *s = call->s + key * BLOCK;
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
static inline void accumulate_32(const rows_call *call, const unit *u, int64_t dim)
{
    float *o = call->o + (u->view.block * call->layout.dims + dim) * BLOCK;
    _tile_loadd(0, o, ROW_BYTES);
    _tile_loadd(1, o + LANES, ROW_BYTES);
    _tile_loadd(2, o + 16 * BLOCK, ROW_BYTES);
    _tile_loadd(3, o + 16 * BLOCK + LANES, ROW_BYTES);
    for (int64_t key = u->view.from; key < u->view.padded; key += GRAIN) {
        const float *pairs = call->p + key / 2 * BLOCK;
        const uint8_t *v = values_at(call, u->offset + key) + dim * GROUP_BYTES;
        _tile_loadd(6, pairs, ROW_BYTES);
        _tile_loadd(4, v, GROUP_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, pairs + LANES, ROW_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, v + 16 * GROUP_BYTES, GROUP_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, o, ROW_BYTES);
    _tile_stored(1, o + LANES, ROW_BYTES);
    _tile_stored(2, o + 16 * BLOCK, ROW_BYTES);
    _tile_stored(3, o + 16 * BLOCK + LANES, ROW_BYTES);
}

/* gcc 12 does not know that tile loads read memory: what was stored before must be there. */
static inline void before_tile_loads(void)
{
    __asm__ volatile("" ::: "memory");
}

static void attend_unit(const rows_call *call, const unit *u, const fam_key_range *range, int64_t first)
{
    vec raised[VECS];
    before_tile_loads();
    for (int64_t key = u->view.from; key < u->view.padded; key += GRAIN)
        score_32(call, u, key);
    if (u->view.masked)
        hide_keys(call, &u->view, range, first + u->offset, call->s);
    if (maxima_rise(call, &u->view, call->s, raised))
        raise_maxima(call, u->view.block, raised);
    weigh(call, u->view.block, call->s, call->p, u->view.from, u->view.to, u->view.padded);
    before_tile_loads();
    for (int64_t dim = 0; dim < call->layout.dims; dim += 32)
        accumulate_32(call, u, dim);
}

static void tile_attend(const rows_call *call, const fam_key_range *range, int64_t first, int64_t n, int64_t blocks)
{
    for (int64_t block = 0; block < blocks; block++)
        for (int64_t offset = 0; offset < n; offset += UNIT_KEYS) {
            unit u = {.offset = offset};
            if (block_sees(call, block, range, first + offset, n - offset < UNIT_KEYS ? n - offset : UNIT_KEYS,
                           &u.view))
                attend_unit(call, &u, range, first);
        }
}

/* ---- the kernel
 * ------------------------------------------------------------------------------------------------------- */

static size_t scratch_bytes(const fam_attention_shape *shape)
{
    size_t many = rows_scratch_bytes(shape, FAM_DTYPE_BF16);
    size_t one = fam_cpu_attention_bf16_avx512bf16.scratch_bytes(shape);
    return many > one ? many : one;
}

static void run(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                int64_t row_end, void *scratch)
{
    begin_tiles();
    attend_rows(job, shape, kv_head, row_begin, row_end, scratch, FAM_DTYPE_BF16);
    _tile_release();
}

const fam_cpu_attention_kernel fam_cpu_attention_bf16_amx = {run, rows, scratch_bytes, fam_cpu_attention_partial_bf16};
