/*
 * backend/cpu/attention_decode.h: attention of one query over a part of its keys (decoding) for all vector versions.
 *
 * Here dimensions lie in the lanes. Each row of keys and values is read once for up to HEADS_MAX heads; a tile is small enough
 * to stay in the first-level cache while the heads take turns. The including file defines vec_mac(a, b, sum) on words,
 * load_words (LANES words of a row), with PAIRS also values_add and values_out; PAIRS as in attention_rows.h.
 */
#ifndef FAM_BACKEND_CPU_ATTENTION_DECODE_H
#define FAM_BACKEND_CPU_ATTENTION_DECODE_H

enum {
    HEADS_MAX = 16,   /* heads of a group that share one walk over the keys */
    DECODE_KEYS = 64, /* most keys of a tile */
    DECODE_PAD = 16,  /* scores behind a tile that may be written */
    PADDED_TILE_BYTES = 64 * 1024
};

typedef struct decode_call {
    const fam_attention_shape *shape;
    fam_dtype dtype;
    int64_t dim, words, heads; /* words of a row, rounded up to LANES; heads of this walk */
    int64_t keys;              /* of a tile */
    int64_t out_dims;          /* dim rounded up so that values_add has whole vectors */
    float *q;                  /* [heads][words] */
    float *o;                  /* [heads][out_dims], in the order that values_add likes */
    float *s;                  /* [heads][DECODE_KEYS + DECODE_PAD]: scores, then weights */
    float *maximum, *sum;      /* [heads] */
    uint8_t *k_room, *v_room;  /* a tile with rows padded, where D does not fill vectors */
} decode_call;

/* Bytes of one padded row of keys or values: whole vectors. */
static int64_t decode_row_bytes(const decode_call *call)
{
    return call->out_dims * (int64_t)fam_dtype_bytes(call->dtype);
}

static bool decode_needs_padding(const decode_call *call)
{
    return call->dim != call->out_dims;
}

static size_t carve_decode(decode_call *call, const fam_attention_shape *shape, fam_dtype dtype, uint8_t *scratch)
{
    size_t used = 0, tile;
    call->shape = shape;
    call->dtype = dtype;
    call->dim = shape->head_dim;
    call->out_dims = fam_round_up(call->dim, PAIRS ? 2 * LANES : LANES);
    call->words = PAIRS ? call->out_dims / 2 : call->out_dims;
    call->keys = DECODE_KEYS;
    if (decode_needs_padding(call) && call->keys > PADDED_TILE_BYTES / decode_row_bytes(call))
        call->keys = PADDED_TILE_BYTES / decode_row_bytes(call);
    tile = decode_needs_padding(call) ? (size_t)(call->keys * decode_row_bytes(call)) : 0;
    call->q = fam_carve(scratch, &used, HEADS_MAX * (size_t)call->words * sizeof(float));
    call->o = fam_carve(scratch, &used, HEADS_MAX * (size_t)call->out_dims * sizeof(float));
    call->s = fam_carve(scratch, &used, HEADS_MAX * (DECODE_KEYS + DECODE_PAD) * sizeof(float));
    call->maximum = fam_carve(scratch, &used, HEADS_MAX * sizeof(float));
    call->sum = fam_carve(scratch, &used, HEADS_MAX * sizeof(float));
    call->k_room = fam_carve(scratch, &used, tile);
    call->v_room = fam_carve(scratch, &used, tile);
    return used;
}

/* ---- scores ---------------------------------------------------------------------------------------------------------- */

/* LANES words of a row of keys. */
static inline vec load_words(const uint8_t *row, int64_t word, fam_dtype dtype);

/* Scores of `keys` keys for `heads` heads: heads * keys <= LANES sums, each over the lanes of one vector. Keys beyond n
 * repeat the last one. */
static inline __attribute__((always_inline)) void score_some(const decode_call *call, int64_t head, const uint8_t *k,
                                                             int64_t stride, int64_t n, float *s, const int heads,
                                                             const int keys, const fam_dtype dtype)
{
    vec sum[LANES];
    float sums[LANES];
    const uint8_t *row[LANES];
    for (int i = 0; i < LANES; i++)
        sum[i] = vec_set(0);
    for (int j = 0; j < keys; j++)
        row[j] = k + (j < n ? j : n - 1) * stride;
    for (int64_t word = 0; word < call->words; word += LANES) {
        vec q[4];
        for (int h = 0; h < heads; h++)
            q[h] = vec_load(call->q + (head + h) * call->words + word);
        for (int j = 0; j < keys; j++) {
            vec key = load_words(row[j], word, dtype);
            for (int h = 0; h < heads; h++)
                sum[h * keys + j] = vec_mac(q[h], key, sum[h * keys + j]);
        }
    }
    vec_store(sums, vec_sums(sum));
    for (int h = 0; h < heads; h++)
        memcpy(s + h * (DECODE_KEYS + DECODE_PAD), sums + h * keys, (size_t)keys * sizeof(float));
}

static inline __attribute__((always_inline)) void score_heads(const decode_call *call, int64_t head, const uint8_t *k,
                                                              int64_t stride, int64_t n, const int heads,
                                                              const fam_dtype dtype)
{
    const int keys = LANES / heads;
    for (int64_t j = 0; j < n; j += keys)
        score_some(call, head, k + j * stride, stride, n - j, call->s + head * (DECODE_KEYS + DECODE_PAD) + j, heads,
                   keys, dtype);
}

static inline __attribute__((always_inline)) void score_tile(const decode_call *call, const uint8_t *k, int64_t stride,
                                                             int64_t n, const fam_dtype dtype)
{
    int64_t head = 0;
    for (; call->heads - head >= 4 && call->heads - head != 6; head += 4)
        score_heads(call, head, k, stride, n, 4, dtype);
    for (; call->heads - head >= 3; head += 3)
        score_heads(call, head, k, stride, n, 3, dtype);
    if (call->heads - head == 2)
        score_heads(call, head, k, stride, n, 2, dtype);
    else if (call->heads - head == 1)
        score_heads(call, head, k, stride, n, 1, dtype);
}

/* ---- softmax --------------------------------------------------------------------------------------------------------- */

static float greatest_lane(vec a)
{
    float part[LANES], greatest;
    vec_store(part, a);
    greatest = part[0];
    for (int i = 1; i < LANES; i++)
        greatest = part[i] > greatest ? part[i] : greatest;
    return greatest;
}

static float sum_of_lanes(vec a)
{
    float part[LANES], sum = 0;
    vec_store(part, a);
    for (int i = 0; i < LANES; i++)
        sum += part[i];
    return sum;
}

static inline vec decode_exp2(vec x)
{
    return PAIRS ? vec_exp2_rough(x) : vec_exp2(x);
}

/* Turns a head's scores of n keys into weights; behind them come zeros. */
static void weigh_head(const decode_call *call, int64_t head, int64_t n)
{
    float *s = call->s + head * (DECODE_KEYS + DECODE_PAD);
    for (int64_t j = n; j < fam_round_up(n, LANES); j++)
        s[j] = -__builtin_inff();
    vec scale = vec_set(call->shape->scale * FAM_LOG2_E), greatest = vec_mul(vec_load(s), scale), total = vec_set(0);
    for (int64_t j = LANES; j < n; j += LANES)
        greatest = vec_max(greatest, vec_mul(vec_load(s + j), scale));
    float old = call->maximum[head], maximum = greatest_lane(greatest);
    if (maximum > old) {
        vec shrink = decode_exp2(vec_set(old - maximum));
        float factor[LANES], *o = call->o + head * call->out_dims;
        vec_store(factor, shrink);
        call->sum[head] *= factor[0];
        call->maximum[head] = maximum;
        for (int64_t i = 0; i < call->out_dims; i += LANES)
            vec_store(o + i, vec_mul(vec_load(o + i), shrink));
    }
    vec top = vec_set(call->maximum[head]);
    for (int64_t j = 0; j < n; j += LANES) {
        vec weight = decode_exp2(vec_fms(vec_load(s + j), scale, top));
        total = vec_add(total, weight);
        vec_store(s + j, weight);
    }
    call->sum[head] += sum_of_lanes(total);
}

/* ---- values ---------------------------------------------------------------------------------------------------------- */

/* o += weights times values of n keys. */
static void values_add(const decode_call *call, const uint8_t *v, int64_t stride, int64_t n);
/* The results of a head in their order. */
static void values_out(const decode_call *call, int64_t head, float *out);

#if !PAIRS
static inline __attribute__((always_inline)) void values_of(const decode_call *call, int64_t head, int64_t dim,
                                                            const uint8_t *v, int64_t stride, int64_t n, const int heads,
                                                            const int vecs, const fam_dtype dtype)
{
    vec sum[4][VALUE_VECS];
    const float *s = call->s + head * (DECODE_KEYS + DECODE_PAD);
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < vecs; i++)
            sum[h][i] = vec_load(call->o + (head + h) * call->out_dims + dim + i * LANES);
    for (int64_t j = 0; j < n; j++, v += stride) {
        vec value[VALUE_VECS];
        for (int i = 0; i < vecs; i++)
            value[i] = load_words(v, dim + i * LANES, dtype);
        for (int h = 0; h < heads; h++) {
            vec weight = vec_spread(s + h * (DECODE_KEYS + DECODE_PAD) + j);
            for (int i = 0; i < vecs; i++)
                sum[h][i] = vec_fma(weight, value[i], sum[h][i]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < vecs; i++)
            vec_store(call->o + (head + h) * call->out_dims + dim + i * LANES, sum[h][i]);
}

static inline __attribute__((always_inline)) void values_of_heads(const decode_call *call, int64_t head,
                                                                  const uint8_t *v, int64_t stride, int64_t n,
                                                                  const int heads, const fam_dtype dtype)
{
    int64_t dim = 0;
    for (; dim + VALUE_VECS * LANES <= call->out_dims; dim += VALUE_VECS * LANES)
        values_of(call, head, dim, v, stride, n, heads, VALUE_VECS, dtype);
    for (; dim < call->out_dims; dim += LANES)
        values_of(call, head, dim, v, stride, n, heads, 1, dtype);
}

static inline __attribute__((always_inline)) void values_typed(const decode_call *call, const uint8_t *v, int64_t stride,
                                                               int64_t n, const fam_dtype dtype)
{
    int64_t head = 0;
    for (; call->heads - head >= 4 && call->heads - head != 6; head += 4)
        values_of_heads(call, head, v, stride, n, 4, dtype);
    for (; call->heads - head >= 3; head += 3)
        values_of_heads(call, head, v, stride, n, 3, dtype);
    for (; head < call->heads; head++)
        values_of_heads(call, head, v, stride, n, 1, dtype);
}

static void values_add(const decode_call *call, const uint8_t *v, int64_t stride, int64_t n)
{
    if (call->dtype == FAM_DTYPE_F32)
        values_typed(call, v, stride, n, FAM_DTYPE_F32);
    else
        values_typed(call, v, stride, n, FAM_DTYPE_BF16);
}

static void values_out(const decode_call *call, int64_t head, float *out)
{
    memcpy(out, call->o + head * call->out_dims, (size_t)call->dim * sizeof *out);
}
#endif

/* ---- the loop -------------------------------------------------------------------------------------------------------- */

static const uint8_t *pad_rows(const decode_call *call, uint8_t *room, const uint8_t *rows, int64_t n)
{
    size_t bytes = (size_t)call->dim * fam_dtype_bytes(call->dtype), padded = (size_t)decode_row_bytes(call);
    for (int64_t j = 0; j < n; j++) {
        memcpy(room + (size_t)j * padded, rows + (size_t)j * bytes, bytes);
        memset(room + (size_t)j * padded + bytes, 0, padded - bytes);
    }
    return room;
}

static void decode_tile(const decode_call *call, const uint8_t *k, const uint8_t *v, int64_t n)
{
    int64_t stride = decode_row_bytes(call);
    if (decode_needs_padding(call)) {
        k = pad_rows(call, call->k_room, k, n);
        v = pad_rows(call, call->v_room, v, n);
    }
    if (call->dtype == FAM_DTYPE_F32)
        score_tile(call, k, stride, n, FAM_DTYPE_F32);
    else
        score_tile(call, k, stride, n, FAM_DTYPE_BF16);
    for (int64_t head = 0; head < call->heads; head++)
        weigh_head(call, head, n);
    values_add(call, v, stride, n);
}

static void start_heads(const decode_call *call, const fam_attention_job *job, int64_t kv_head, int64_t row)
{
    for (int64_t head = 0; head < call->heads; head++) {
        int64_t at = fam_row_offset(call->shape, job->q_stride, kv_head, row + head);
        float *q = call->q + head * call->words;
        memset(q, 0, (size_t)call->words * sizeof *q);
        if (PAIRS || call->dtype == FAM_DTYPE_F32)
            memcpy(q, (const uint8_t *)job->q + (size_t)at * fam_dtype_bytes(call->dtype),
                   (size_t)call->dim * fam_dtype_bytes(call->dtype));
        else
            for (int64_t i = 0; i < call->dim; i++)
                q[i] = fam_from_bf16(((const uint16_t *)job->q)[at + i]);
        call->maximum[head] = FAM_NO_KEY_YET;
        call->sum[head] = 0;
    }
    memset(call->o, 0, (size_t)(call->heads * call->out_dims) * sizeof(float));
}

static void attend_one(float *out, const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                       int64_t query, int64_t key_begin, int64_t key_end, void *scratch, fam_dtype dtype)
{
    int64_t group = shape->heads / shape->kv_heads, bytes = (int64_t)fam_dtype_bytes(dtype);
    decode_call call;
    carve_decode(&call, shape, dtype, scratch);
    for (int64_t first = 0; first < group; first += HEADS_MAX) {
        fam_key_walk walk = {.job = job, .query = query, .begin = key_begin, .end = key_end};
        const fam_key_range *range;
        fam_key_span span;
        call.heads = group - first < HEADS_MAX ? group - first : HEADS_MAX;
        start_heads(&call, job, kv_head, query * group + first);
        while (fam_key_walk_next(&walk, &range, &span, call.keys)) {
            int64_t at = (kv_head * range->head_stride + span.begin * call.dim) * bytes;
            decode_tile(&call, (const uint8_t *)range->k + at, (const uint8_t *)range->v + at, span.end - span.begin);
        }
        for (int64_t head = 0; head < call.heads; head++, out += 2 + call.dim) {
            out[0] = call.maximum[head];
            out[1] = call.sum[head];
            values_out(&call, head, out + 2);
        }
    }
}

#endif
