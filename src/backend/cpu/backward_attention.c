/*
 * backend/cpu/backward_attention.c: what flows back through attention.
 *
 * A key/value head is one thread's affair: it goes through the jobs and the queries in order, so the sums for keys and
 * values come out the same whoever does it. Nothing is kept of the forward pass but its result: with P the weights of a
 * query's keys, dV += P^T dout, dS = P (dout V^T - dout . out) scale, dQ = dS K, dK += dS^T Q.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/attention.h"

static float element(const void *data, int64_t index, fam_dtype dtype)
{
    return dtype == FAM_DTYPE_F32 ? ((const float *)data)[index] : fam_from_bf16(((const uint16_t *)data)[index]);
}

static float dot_product(const void *a, int64_t a_at, const void *b, int64_t b_at, int64_t count, fam_dtype dtype)
{
    float sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += element(a, a_at + i, dtype) * element(b, b_at + i, dtype);
    return sum;
}

static float mixed_dot_product(const float *a, const void *b, int64_t b_at, int64_t count, fam_dtype dtype)
{
    float sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * element(b, b_at + i, dtype);
    return sum;
}

/* ---- plain loops ---------------------------------------------------------------------------------------------------- */

/* One query head of one query. */
typedef struct query_row {
    const fam_attention_backward_job *job;
    int64_t query, kv_head, q_at, out_at; /* elements in front of it in q and dq, in out and dout */
    float maximum, sum, through_out;      /* through_out: dout . out */
} query_row;

static void find_statistics(query_row *row, const fam_attention_shape *shape, fam_dtype dtype)
{
    const fam_attention_job *job = row->job->forward;
    int64_t dim = shape->head_dim;
    row->maximum = FAM_NO_KEY_YET;
    row->sum = 0;
    for (int r = 0; r < job->range_count; r++) {
        const fam_key_range *range = &job->ranges[r];
        fam_key_span span = fam_query_sees(range, row->query);
        for (int64_t key = span.begin; key < span.end; key++) {
            float exponent = dot_product(job->q, row->q_at, range->k, row->kv_head * range->head_stride + key * dim, dim,
                                         dtype) * (shape->scale * FAM_LOG2_E);
            if (exponent > row->maximum) {
                row->sum *= exp2f(row->maximum - exponent);
                row->maximum = exponent;
            }
            row->sum += exp2f(exponent - row->maximum);
        }
    }
    row->through_out = mixed_dot_product(row->job->dout + row->out_at, job->out, row->out_at, dim, dtype);
}

static void flow_back_range(const query_row *row, const fam_attention_shape *shape, fam_dtype dtype, int r)
{
    const fam_attention_job *job = row->job->forward;
    const fam_key_range *range = &job->ranges[r];
    const float *dout = row->job->dout + row->out_at;
    float *dq = row->job->dq ? row->job->dq + row->q_at : NULL, *dk = row->job->gradients[r].dk,
          *dv = row->job->gradients[r].dv;
    int64_t dim = shape->head_dim, gradient_head = row->kv_head * row->job->gradients[r].head_stride;
    fam_key_span span = fam_query_sees(range, row->query);
    for (int64_t key = span.begin; key < span.end; key++) {
        int64_t at = row->kv_head * range->head_stride + key * dim, to = gradient_head + key * dim;
        float score = dot_product(job->q, row->q_at, range->k, at, dim, dtype);
        float weight = exp2f(score * (shape->scale * FAM_LOG2_E) - row->maximum) / row->sum;
        float dweight = mixed_dot_product(dout, range->v, at, dim, dtype);
        float dscore = weight * (dweight - row->through_out) * shape->scale;
        for (int64_t i = 0; dv && i < dim; i++)
            dv[to + i] += weight * dout[i];
        for (int64_t i = 0; dk && i < dim; i++)
            dk[to + i] += dscore * element(job->q, row->q_at + i, dtype);
        for (int64_t i = 0; dq && i < dim; i++)
            dq[i] += dscore * element(range->k, at + i, dtype);
    }
}

void fam_cpu_attention_backward_portable(const fam_attention_backward_job *job, const fam_attention_shape *shape,
                                         int64_t kv_head, fam_dtype dtype, void *scratch)
{
    int64_t group = shape->heads / shape->kv_heads;
    (void)scratch;
    for (int64_t index = 0; index < job->forward->queries * group; index++) {
        query_row row = {job, index / group, kv_head, fam_row_offset(shape, job->forward->q_stride, kv_head, index),
                         fam_row_offset(shape, job->forward->out_stride, kv_head, index), 0, 0, 0};
        find_statistics(&row, shape, dtype);
        if (job->dq)
            memset(job->dq + row.q_at, 0, (size_t)shape->head_dim * sizeof *job->dq);
        for (int r = 0; r < job->forward->range_count; r++)
            flow_back_range(&row, shape, dtype, r);
    }
}

/* ---- the operator --------------------------------------------------------------------------------------------------- */

typedef struct head_work {
    const fam_cpu_exec *exec;
    fam_cpu_attention_back *run;
    const fam_attention_backward_job *jobs;
    int count;
    const fam_attention_shape *shape;
    fam_dtype dtype;
} head_work;

static void run_heads(void *context, int64_t begin, int64_t end, int thread)
{
    const head_work *work = context;
    for (int64_t head = begin; head < end; head++)
        for (int j = 0; j < work->count; j++)
            work->run(&work->jobs[j], work->shape, head, work->dtype, fam_cpu_scratch(work->exec, thread));
}

void fam_cpu_attention_backward(fam_exec *base, const fam_attention_backward_job *jobs, int count,
                                const fam_attention_shape *shape)
{
    const fam_cpu_exec *exec = fam_cpu_exec_of(base);
    head_work work = {exec, exec->kernels->attention_backward, jobs, count, shape, base->backend->dtype};
    if (shape->head_dim > FAM_HEAD_DIM_MAX)
        work.run = fam_cpu_attention_backward_portable;
    fam_pool_run(exec->pool, run_heads, &work, shape->kv_heads, 1);
}
