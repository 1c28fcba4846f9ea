/*
 * backend/cpu/attention_avx512bf16.c: attention in bfloat16 with AVX512-BF16: products of pairs summed in float32.
 *
 * Keys are read in place; values are interleaved by pairs of keys once a tile for all rows of a call. Weights are rounded
 * to bfloat16, and their sum is that of the rounded ones, so that the rounding does not shift the result.
 */
#include "backend/cpu/attention_vec512.h"

#define PAIRS 1
enum {
    GRAIN = 2,
    SPREAD_KEYS = 12,
    SPREAD_DIMS = 12
};

#include "backend/cpu/attention_rows.h"
#include "backend/cpu/attention_pairs.h"

static inline vec vec_mac(vec a, vec b, vec sum)
{
    return dot_pairs(a, b, sum);
}

#include "backend/cpu/attention_mac.h"
#include "backend/cpu/attention_decode.h"

static void tile_prepare(rows_call *call, const uint8_t *k, const uint8_t *v, int64_t n)
{
    const uint16_t *row = (const uint16_t *)(const void *)v;
    uint32_t *out = call->v_room;
    call->k = k;
    call->k_stride = call->dim * (int64_t)sizeof(uint16_t);
    call->v = call->v_room;
    call->v_stride = call->dim * (int64_t)sizeof(uint32_t);
    for (int64_t key = 0; key < n; key += 2, row += 2 * call->dim, out += call->dim)
        for (int64_t dim = 0; dim < call->dim; dim += LANES) {
            __mmask16 columns = call->dim - dim < LANES ? (__mmask16)((1u << (call->dim - dim)) - 1) : 0xffff;
            __m512i words = interleave(row + dim, key + 1 < n ? row + call->dim + dim : NULL, columns);
            _mm512_mask_storeu_epi32(out + dim, columns, words);
        }
}

/* ---- one query ------------------------------------------------------------------------------------------------------- */

static inline vec load_words(const uint8_t *row, int64_t word, fam_dtype dtype)
{
    (void)dtype;
    return _mm512_castsi512_ps(_mm512_loadu_si512(row + word * 4));
}

/* Interleaves two rows of 32 values. Within each 128 bits, low[] has dimensions 0 to 3 and high[] 4 to 7: values_out
 * brings them into order. */
static inline void interleave_rows(const uint8_t *even, const uint8_t *odd, vec *low, vec *high)
{
    __m512i a = _mm512_loadu_si512(even), b = odd ? _mm512_loadu_si512(odd) : _mm512_setzero_si512();
    *low = _mm512_castsi512_ps(_mm512_unpacklo_epi16(a, b));
    *high = _mm512_castsi512_ps(_mm512_unpackhi_epi16(a, b));
}

/* Dimensions [dim, dim + 32 * halves) for `heads` heads; the weights are pairs of keys by now. */
static inline __attribute__((always_inline)) void values_of(const decode_call *call, int64_t head, int64_t dim,
                                                            const uint8_t *v, int64_t stride, int64_t n, const int heads,
                                                            const int halves)
{
    vec sum[4][4];
    const float *pairs = call->s + head * (DECODE_KEYS + DECODE_PAD);
    v += dim * (int64_t)sizeof(uint16_t);
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < 2 * halves; i++)
            sum[h][i] = vec_load(call->o + (head + h) * call->out_dims + dim + i * LANES);
    for (int64_t j = 0; j < n; j += 2, v += 2 * stride) {
        vec value[4];
        for (int i = 0; i < halves; i++)
            interleave_rows(v + i * 64, j + 1 < n ? v + stride + i * 64 : NULL, &value[2 * i], &value[2 * i + 1]);
        for (int h = 0; h < heads; h++) {
            vec weight = vec_spread(pairs + h * (DECODE_KEYS + DECODE_PAD) + j / 2);
            for (int i = 0; i < 2 * halves; i++)
                sum[h][i] = dot_pairs(weight, value[i], sum[h][i]);
        }
    }
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < 2 * halves; i++)
            vec_store(call->o + (head + h) * call->out_dims + dim + i * LANES, sum[h][i]);
}

static inline __attribute__((always_inline)) void values_of_heads(const decode_call *call, int64_t head,
                                                                  const uint8_t *v, int64_t stride, int64_t n,
                                                                  const int heads)
{
    int64_t dim = 0;
    for (; dim + 64 <= call->out_dims; dim += 64)
        values_of(call, head, dim, v, stride, n, heads, 2);
    for (; dim < call->out_dims; dim += 32)
        values_of(call, head, dim, v, stride, n, heads, 1);
}

/* Weights of one head, in place: floats of two keys become one word. Behind n there are zeros up to whole vectors. */
static void pair_weights(float *s, int64_t n)
{
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    for (int64_t j = 0; j < n; j += 2 * LANES) {
        vec a = vec_load(s + j), b = j + LANES < n ? vec_load(s + j + LANES) : vec_set(0);
        vec_store(s + j / 2, pair_of(_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)));
    }
}

static void values_add(const decode_call *call, const uint8_t *v, int64_t stride, int64_t n)
{
    int64_t head = 0;
    for (int64_t h = 0; h < call->heads; h++)
        pair_weights(call->s + h * (DECODE_KEYS + DECODE_PAD), n);
    for (; call->heads - head >= 4 && call->heads - head != 6; head += 4)
        values_of_heads(call, head, v, stride, n, 4);
    for (; call->heads - head >= 3; head += 3)
        values_of_heads(call, head, v, stride, n, 3);
    for (; head < call->heads; head++)
        values_of_heads(call, head, v, stride, n, 1);
}

static void values_out(const decode_call *call, int64_t head, float *out)
{
    const float *o = call->o + head * call->out_dims;
    for (int64_t dim = 0; dim < call->dim; dim++) {
        int64_t at = dim % 32, part = at / 8 * 4 + at % 4; /* lane in low or high */
        out[dim] = o[dim - at + (at % 8 < 4 ? 0 : LANES) + part];
    }
}

/* ---- the kernel ------------------------------------------------------------------------------------------------------ */

static int64_t rows(const fam_attention_shape *shape)
{
    return call_rows(shape->head_dim);
}

static size_t scratch_bytes(const fam_attention_shape *shape)
{
    decode_call call;
    size_t many = rows_scratch_bytes(shape, FAM_DTYPE_BF16), one = carve_decode(&call, shape, FAM_DTYPE_BF16, NULL);
    return many > one ? many : one;
}

static void run(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                int64_t row_end, void *scratch)
{
    attend_rows(job, shape, kv_head, row_begin, row_end, scratch, FAM_DTYPE_BF16);
}

void fam_cpu_attention_partial_bf16(float *out, const fam_attention_job *job, const fam_attention_shape *shape,
                                    int64_t kv_head, int64_t query, int64_t key_begin, int64_t key_end, void *scratch)
{
    attend_one(out, job, shape, kv_head, query, key_begin, key_end, scratch, FAM_DTYPE_BF16);
}

const fam_cpu_attention_kernel fam_cpu_attention_bf16_avx512bf16 = {run, rows, scratch_bytes,
                                                                   fam_cpu_attention_partial_bf16};
