/*
 * backend/cpu/attention_portable.c: attention in plain C, one row at a time: the reference of the faster versions.
 *
 * Online softmax over tiles of KEYS keys, products and statistics in float32; nothing is rounded to bfloat16 but the
 * result.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/attention.h"

enum { KEYS = 64 };

typedef struct row_state {
    float maximum, sum;
    float *output; /* [D], not yet divided by sum */
} row_state;

static float element(const void *data, int64_t index, fam_dtype dtype)
{
    return dtype == FAM_DTYPE_F32 ? ((const float *)data)[index] : fam_from_bf16(((const uint16_t *)data)[index]);
}

static void add_tile(row_state *row, const fam_key_range *range, fam_key_span span, int64_t head, const void *q,
                     int64_t q_offset, const fam_attention_shape *shape, fam_dtype dtype)
{
    int64_t dim = shape->head_dim;
    float exponent[KEYS], maximum = row->maximum;
    for (int64_t key = span.begin; key < span.end; key++) {
        float dot = 0;
        for (int64_t i = 0; i < dim; i++)
            dot +=
                element(q, q_offset + i, dtype) * element(range->k, head * range->head_stride + key * dim + i, dtype);
        exponent[key - span.begin] = dot * (shape->scale * FAM_LOG2_E);
        maximum = fmaxf(maximum, exponent[key - span.begin]);
    }
    float shrink = exp2f(row->maximum - maximum);
    row->maximum = maximum;
    row->sum *= shrink;
    for (int64_t i = 0; i < dim; i++)
        row->output[i] *= shrink;
    for (int64_t key = span.begin; key < span.end; key++) {
        float weight = exp2f(exponent[key - span.begin] - maximum);
        row->sum += weight;
        for (int64_t i = 0; i < dim; i++)
            row->output[i] += weight * element(range->v, head * range->head_stride + key * dim + i, dtype);
    }
}

static void add_keys(row_state *row, const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                     int64_t index, int64_t key_begin, int64_t key_end, fam_dtype dtype)
{
    int64_t query = index / (shape->heads / shape->kv_heads);
    fam_key_walk walk = {.job = job, .query = query, .begin = key_begin, .end = key_end};
    const fam_key_range *range;
    fam_key_span span;
    row->maximum = FAM_NO_KEY_YET;
    row->sum = 0;
    memset(row->output, 0, (size_t)shape->head_dim * sizeof *row->output);
    while (fam_key_walk_next(&walk, &range, &span, KEYS))
        add_tile(row, range, span, kv_head, job->q, fam_row_offset(shape, job->q_stride, kv_head, index), shape, dtype);
}

static void run(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                int64_t row_end, void *scratch, fam_dtype dtype)
{
    row_state row = {.output = scratch};
    for (int64_t index = row_begin; index < row_end; index++) {
        int64_t out = fam_row_offset(shape, job->out_stride, kv_head, index);
        add_keys(&row, job, shape, kv_head, index, 0, INT64_MAX, dtype);
        for (int64_t i = 0; i < shape->head_dim; i++) {
            float value = row.output[i] / row.sum;
            if (dtype == FAM_DTYPE_F32)
                ((float *)job->out)[out + i] = value;
            else
                ((uint16_t *)job->out)[out + i] = fam_to_bf16(value);
        }
    }
}

static void partial(float *out, const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                    int64_t query, int64_t key_begin, int64_t key_end, fam_dtype dtype)
{
    int64_t group = shape->heads / shape->kv_heads;
    for (int64_t head = 0; head < group; head++, out += 2 + shape->head_dim) {
        row_state row = {.output = out + 2};
        add_keys(&row, job, shape, kv_head, query * group + head, key_begin, key_end, dtype);
        out[0] = row.maximum;
        out[1] = row.sum;
    }
}

static void run_f32(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                    int64_t row_end, void *scratch)
{
    run(job, shape, kv_head, row_begin, row_end, scratch, FAM_DTYPE_F32);
}

static void run_bf16(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                     int64_t row_end, void *scratch)
{
    run(job, shape, kv_head, row_begin, row_end, scratch, FAM_DTYPE_BF16);
}

static void partial_f32(float *out, const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                        int64_t query, int64_t key_begin, int64_t key_end, void *scratch)
{
    (void)scratch;
    partial(out, job, shape, kv_head, query, key_begin, key_end, FAM_DTYPE_F32);
}

static void partial_bf16(float *out, const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                         int64_t query, int64_t key_begin, int64_t key_end, void *scratch)
{
    (void)scratch;
    partial(out, job, shape, kv_head, query, key_begin, key_end, FAM_DTYPE_BF16);
}

static int64_t rows(const fam_attention_shape *shape)
{
    (void)shape;
    return 32;
}

static size_t scratch_bytes(const fam_attention_shape *shape)
{
    return (size_t)shape->head_dim * sizeof(float);
}

const fam_cpu_attention_kernel fam_cpu_attention_f32_portable = {run_f32, rows, scratch_bytes, partial_f32};
const fam_cpu_attention_kernel fam_cpu_attention_bf16_portable = {run_bf16, rows, scratch_bytes, partial_bf16};
