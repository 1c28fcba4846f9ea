/*
 * backend/cpu/backward_matmul.c: what flows back through matrix products: din += dout W, dweight += dout^T in.
 *
 * Plain loops, shared out by columns of din and by rows of dweight: each element is one sum in one order.
 */
#include "backend/cpu/internal.h"
#include "base/float16.h"

enum { COLUMNS = 256 /* of din, a thread's item: whole blocks of every type */ };

typedef struct plain_work {
    const fam_matmul_backward_job *job;
    fam_dtype dtype;
    int64_t n;
} plain_work;

/* Which row of the file is row `row` of the weight. */
static int64_t file_row(const fam_weight_source *source, int64_t row)
{
    int64_t d = source->permuted_head_dim;
    if (d == 0)
        return row;
    int64_t in_head = row % d, half = d / 2;
    return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

static void plain_din(void *context, int64_t begin, int64_t end, int thread)
{
    const plain_work *work = context;
    const fam_matmul_backward_job *job = work->job;
    const fam_weight_source *source = &job->weight->source;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        int64_t column = item * COLUMNS, left = source->columns - column, count = left < COLUMNS ? left : COLUMNS;
        size_t offset = 0;
        (void)fam_type_row_bytes(&offset, source->type, column);
        for (int64_t r = 0; r < source->rows; r++) {
            float w[COLUMNS];
            fam_type_dequantize(w, (const uint8_t *)source->data + offset +
                                       (size_t)file_row(source, r) * job->weight->row_bytes, source->type, count);
            for (int64_t i = 0; i < work->n; i++) {
                float dout = job->dout[i * source->rows + r], *din = job->din + i * source->columns + column;
                for (int64_t c = 0; c < count; c++)
                    din[c] += dout * w[c];
            }
        }
    }
}

static void plain_dweight(void *context, int64_t begin, int64_t end, int thread)
{
    const plain_work *work = context;
    const fam_matmul_backward_job *job = work->job;
    int64_t rows = job->weight->source.rows, columns = job->weight->source.columns;
    (void)thread;
    for (int64_t r = begin; r < end; r++) {
        float *dweight = job->dweight + r * columns;
        for (int64_t i = 0; i < work->n; i++) {
            float dout = job->dout[i * rows + r];
            const float *f32 = (const float *)job->in + i * columns;
            const uint16_t *bf16 = (const uint16_t *)job->in + i * columns;
            if (work->dtype == FAM_DTYPE_F32)
                for (int64_t c = 0; c < columns; c++)
                    dweight[c] += dout * f32[c];
            else
                for (int64_t c = 0; c < columns; c++)
                    dweight[c] += dout * fam_from_bf16(bf16[c]);
        }
    }
}

void fam_cpu_matmul_backward(fam_exec *base, const fam_matmul_backward_job *jobs, int count, int64_t n)
{
    fam_cpu_exec *exec = fam_cpu_exec_of(base);
    if (exec->failure.status != FAM_OK || n <= 0)
        return;
    for (int j = 0; j < count; j++) {
        plain_work work = {&jobs[j], base->backend->dtype, n};
        const fam_weight_source *source = &jobs[j].weight->source;
        if (jobs[j].din)
            fam_pool_run(exec->pool, plain_din, &work, (source->columns + COLUMNS - 1) / COLUMNS, 1);
        if (jobs[j].dweight)
            fam_pool_run(exec->pool, plain_dweight, &work, source->rows, 4);
    }
}

fam_status fam_cpu_prepare_backward(fam_exec *exec, const fam_weight *weight, int64_t n, fam_error *error)
{
    (void)exec;
    (void)weight;
    (void)n;
    (void)error;
    return FAM_OK;
}
