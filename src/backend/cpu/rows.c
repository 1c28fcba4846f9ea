/*
 * backend/cpu/rows.c: the operators that go row by row. One row is done by the caller at once: sharing it out would
 * cost more than it.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/internal.h"

enum { SHARE_ELEMENTS = 16 * 1024 /* a thread's item, about */ };

/* Rows an item, given elements a row. */
static int64_t grain(int64_t width)
{
    int64_t rows = SHARE_ELEMENTS / (width > 0 ? width : 1);
    return rows < 1 ? 1 : rows;
}

void fam_cpu_for_rows(fam_exec *exec, fam_pool_body *body, void *context, int64_t n, int64_t width)
{
    int64_t g = grain(width);
    if (n <= g)
        body(context, 0, n, 0);
    else
        fam_pool_run(fam_cpu_exec_of(exec)->pool, body, context, n, g);
}

typedef struct row_arguments {
    const fam_cpu_kernels *kernels;
    void *out;
    const float *x, *y; /* y: gain, up, or target */
    int64_t width;
    double eps;
} row_arguments;

static void *activation_row(const row_arguments *a, int64_t row)
{
    return (uint8_t *)a->out + (size_t)(row * a->width) * fam_dtype_bytes(a->kernels->dtype);
}

static void rms_norm_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const row_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        a->kernels->rms_norm(activation_row(a, i), a->x + i * a->width, a->y, a->eps, a->width);
}

void fam_cpu_rms_norm(fam_exec *exec, void *out, const float *x, const float *gain, double eps, int64_t n,
                      int64_t width)
{
    row_arguments a = {fam_cpu_exec_of(exec)->kernels, out, x, gain, width, eps};
    fam_cpu_for_rows(exec, rms_norm_rows, &a, n, width);
}

static void silu_multiply_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const row_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        a->kernels->silu_multiply(activation_row(a, i), a->x + i * a->width, a->y + i * a->width, a->width);
}

void fam_cpu_silu_multiply(fam_exec *exec, void *out, const float *gate, const float *up, int64_t n, int64_t width)
{
    row_arguments a = {fam_cpu_exec_of(exec)->kernels, out, gate, up, width, 0};
    fam_cpu_for_rows(exec, silu_multiply_rows, &a, n, width);
}

static double root_mean_square(const fam_cpu_kernels *kernels, const float *x, int64_t width)
{
    return sqrt(kernels->mean_square(x, width) + 1e-12);
}

static void row_rms_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const row_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        ((float *)a->out)[i] = (float)root_mean_square(a->kernels, a->x + i * a->width, a->width);
}

void fam_cpu_row_rms(fam_exec *exec, float *target, const float *x, int64_t n, int64_t width)
{
    row_arguments a = {fam_cpu_exec_of(exec)->kernels, target, x, NULL, width, 0};
    fam_cpu_for_rows(exec, row_rms_rows, &a, n, width);
}

static void rescale_rows_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const row_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        float *row = (float *)a->out + i * a->width;
        double target = a->y ? a->y[i] : 1.0;
        a->kernels->scale(row, (float)(target / root_mean_square(a->kernels, row, a->width)), a->width);
    }
}

void fam_cpu_rescale_rows(fam_exec *exec, float *x, const float *target, int64_t n, int64_t width)
{
    row_arguments a = {fam_cpu_exec_of(exec)->kernels, x, NULL, target, width, 0};
    fam_cpu_for_rows(exec, rescale_rows_rows, &a, n, width);
}

/* ---- sums --------------------------------------------------------------------------------------------------------- */

enum { ZERO_BYTES = 4096 };

typedef struct zero_arguments {
    uint8_t *memory;
    size_t bytes;
} zero_arguments;

static void zero_parts(void *context, int64_t begin, int64_t end, int thread)
{
    const zero_arguments *a = context;
    size_t from = (size_t)begin * ZERO_BYTES, to = (size_t)end * ZERO_BYTES;
    (void)thread;
    memset(a->memory + from, 0, (to < a->bytes ? to : a->bytes) - from);
}

void fam_cpu_zero(fam_exec *exec, void *memory, size_t bytes)
{
    zero_arguments a = {memory, bytes};
    if (bytes)
        fam_cpu_for_rows(exec, zero_parts, &a, (int64_t)((bytes + ZERO_BYTES - 1) / ZERO_BYTES), ZERO_BYTES / 4);
}

static void add_elements(void *context, int64_t begin, int64_t end, int thread)
{
    const row_arguments *a = context;
    (void)thread;
    a->kernels->add((float *)a->out + begin, a->x + begin, end - begin);
}

void fam_cpu_add(fam_exec *exec, float *out, const float *x, int64_t count)
{
    row_arguments a = {.kernels = fam_cpu_exec_of(exec)->kernels, .out = out, .x = x};
    fam_cpu_for_rows(exec, add_elements, &a, count, 1);
}

/* ---- loss --------------------------------------------------------------------------------------------------------- */

typedef struct cross_entropy_arguments {
    const fam_cpu_kernels *kernels;
    double *nll;
    const float *logits;
    const int32_t *targets;
    int64_t width;
} cross_entropy_arguments;

static void cross_entropy_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const cross_entropy_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *row = a->logits + i * a->width;
        a->nll[i] = a->kernels->log_sum_exp(row, a->width) - (double)row[a->targets[i]];
    }
}

void fam_cpu_cross_entropy(fam_exec *exec, double *nll, const float *logits, const int32_t *targets, int64_t n,
                           int64_t width)
{
    cross_entropy_arguments a = {fam_cpu_exec_of(exec)->kernels, nll, logits, targets, width};
    fam_cpu_for_rows(exec, cross_entropy_rows, &a, n, width);
}

/* ---- embedding ---------------------------------------------------------------------------------------------------- */

typedef struct embed_arguments {
    float *out;
    const fam_weight *table;
    const int32_t *tokens;
} embed_arguments;

static void embed_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const embed_arguments *a = context;
    const fam_weight_source *source = &a->table->source;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        fam_type_dequantize(a->out + i * source->columns,
                            (const uint8_t *)source->data + (size_t)a->tokens[i] * a->table->row_bytes, source->type,
                            source->columns);
}

void fam_cpu_embed(fam_exec *exec, float *out, const fam_weight *table, const int32_t *tokens, int64_t n)
{
    embed_arguments a = {out, table, tokens};
    fam_cpu_for_rows(exec, embed_rows, &a, n, table->source.columns);
}

/* ---- rotation ---------------------------------------------------------------------------------------------------- */

typedef struct rope_table_arguments {
    float *cosines, *sines;
    const double *positions, *inverse_frequency;
    int64_t half;
} rope_table_arguments;

static void rope_table_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const rope_table_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t k = 0; k < a->half; k++) {
            double angle = a->positions[i] * a->inverse_frequency[k];
            a->cosines[i * a->half + k] = (float)cos(angle);
            a->sines[i * a->half + k] = (float)sin(angle);
        }
    }
}

void fam_cpu_rope_table(fam_exec *exec, float *cosines, float *sines, const double *positions,
                        const double *inverse_frequency, int64_t n, int64_t half)
{
    const int64_t sine_cost = 64; /* in elements of the simple operators */
    rope_table_arguments a = {cosines, sines, positions, inverse_frequency, half};
    fam_cpu_for_rows(exec, rope_table_rows, &a, n, half * sine_cost);
}

typedef struct rope_arguments {
    const fam_cpu_kernels *kernels;
    uint8_t *out;
    fam_head_layout layout;
    const float *x, *cosines, *sines;
    int64_t heads, head_dim;
} rope_arguments;

static void rope_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const rope_arguments *a = context;
    size_t element = fam_dtype_bytes(a->kernels->dtype);
    int64_t half = a->head_dim / 2;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *c = a->cosines ? a->cosines + i * half : NULL, *s = a->cosines ? a->sines + i * half : NULL;
        for (int64_t h = 0; h < a->heads; h++)
            a->kernels->rope(a->out + (size_t)(i * a->layout.row_stride + h * a->layout.head_stride) * element,
                             a->x + (i * a->heads + h) * a->head_dim, c, s, a->head_dim);
    }
}

void fam_cpu_rope(fam_exec *exec, void *out, fam_head_layout layout, const float *x, const float *cosines,
                  const float *sines, int64_t n, int64_t heads, int64_t head_dim)
{
    rope_arguments a = {fam_cpu_exec_of(exec)->kernels, out, layout, x, cosines, sines, heads, head_dim};
    fam_cpu_for_rows(exec, rope_rows, &a, n, heads * head_dim);
}
