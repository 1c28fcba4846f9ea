/*
 * backend/cpu/backward_rows.c: what flows back through the operators that go row by row.
 *
 * Sums over rows (dgain, dtable) are shared out by columns and taken in the order of the rows, so that no result depends
 * on the number of threads.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/internal.h"

enum {
    COLUMNS = 64,    /* a thread's item where columns are shared out */
    ROWS_MAX = 1024, /* whose factors are kept at a time */
    INLINE_ELEMENTS = 16 * 1024
};

/* Runs `body` over items of COLUMNS columns of n rows: in the caller if that is little. */
static void for_columns(fam_exec *exec, fam_pool_body *body, void *context, int64_t n, int64_t width)
{
    int64_t items = (width + COLUMNS - 1) / COLUMNS;
    if (n * width <= INLINE_ELEMENTS)
        body(context, 0, items, 0);
    else
        fam_pool_run(fam_cpu_exec_of(exec)->pool, body, context, items, 1);
}

static int64_t columns_of(int64_t item, int64_t width)
{
    return width - item * COLUMNS < COLUMNS ? width - item * COLUMNS : COLUMNS;
}

static double dot_product(const float *a, const float *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* ---- embedding ---------------------------------------------------------------------------------------------------- */

typedef struct embed_arguments {
    float *dtable;
    const float *dout;
    const int32_t *tokens;
    int64_t n, width;
} embed_arguments;

static void embed_columns(void *context, int64_t begin, int64_t end, int thread)
{
    const embed_arguments *a = context;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        int64_t count = columns_of(item, a->width);
        for (int64_t i = 0; i < a->n; i++) {
            float *to = a->dtable + a->tokens[i] * a->width + item * COLUMNS;
            const float *from = a->dout + i * a->width + item * COLUMNS;
            for (int64_t c = 0; c < count; c++)
                to[c] += from[c];
        }
    }
}

void fam_cpu_embed_backward(fam_exec *exec, float *dtable, const float *dout, const int32_t *tokens, int64_t n,
                            int64_t width)
{
    embed_arguments a = {dtable, dout, tokens, n, width};
    if (dtable)
        for_columns(exec, embed_columns, &a, n, width);
}

/* ---- norms -------------------------------------------------------------------------------------------------------- */

typedef struct norm_arguments {
    const fam_cpu_kernels *kernels;
    float *dx, *dother; /* dother: dgain or dtarget */
    const float *dout, *x, *other;
    float *factors; /* [rows] 1 / root of the mean square */
    double eps;
    int64_t n, width;
} norm_arguments;

static void rms_norm_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const norm_arguments *a = context;
    int64_t width = a->width;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *x = a->x + i * width, *dout = a->dout + i * width;
        double root = sqrt(a->kernels->mean_square(x, width) + a->eps);
        a->factors[i] = (float)(1 / root);
        if (a->dx)
            a->kernels->rms_norm_backward(a->dx + i * width, dout, x, a->other, root, width);
    }
}

static void gain_columns(void *context, int64_t begin, int64_t end, int thread)
{
    const norm_arguments *a = context;
    (void)thread;
    for (int64_t item = begin; item < end; item++) {
        int64_t count = columns_of(item, a->width);
        float sums[COLUMNS] = {0};
        for (int64_t i = 0; i < a->n; i++) {
            const float *x = a->x + i * a->width + item * COLUMNS, *dout = a->dout + i * a->width + item * COLUMNS;
            for (int64_t c = 0; c < count; c++)
                sums[c] += dout[c] * (x[c] * a->factors[i]);
        }
        for (int64_t c = 0; c < count; c++)
            a->dother[item * COLUMNS + c] += sums[c];
    }
}

void fam_cpu_rms_norm_backward(fam_exec *exec, float *dx, float *dgain, const float *dout, const float *x,
                               const float *gain, double eps, int64_t n, int64_t width)
{
    norm_arguments a = {fam_cpu_exec_of(exec)->kernels, dx, dgain, dout, x, gain, fam_cpu_exec_of(exec)->partial,
                        eps, 0, width};
    for (int64_t row = 0; row < n; row += ROWS_MAX) {
        a.n = n - row < ROWS_MAX ? n - row : ROWS_MAX;
        fam_cpu_for_rows(exec, rms_norm_rows, &a, a.n, width);
        if (dgain)
            for_columns(exec, gain_columns, &a, a.n, width);
        a.dx = dx ? a.dx + a.n * width : NULL;
        a.dout += a.n * width;
        a.x += a.n * width;
    }
}

static double root_mean_square(const fam_cpu_kernels *kernels, const float *x, int64_t width)
{
    return sqrt(kernels->mean_square(x, width) + 1e-12);
}

static void row_rms_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const norm_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *x = a->x + i * a->width;
        float factor = (float)(a->other[i] / (root_mean_square(a->kernels, x, a->width) * (double)a->width));
        for (int64_t c = 0; c < a->width; c++)
            a->dx[i * a->width + c] += factor * x[c];
    }
}

void fam_cpu_row_rms_backward(fam_exec *exec, float *dx, const float *dtarget, const float *x, int64_t n, int64_t width)
{
    norm_arguments a = {.kernels = fam_cpu_exec_of(exec)->kernels, .dx = dx, .x = x, .other = dtarget, .width = width};
    if (dx)
        fam_cpu_for_rows(exec, row_rms_rows, &a, n, width);
}

static void rescale_rows_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const norm_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *x = a->x + i * a->width, *dout = a->dout + i * a->width;
        double rms = root_mean_square(a->kernels, x, a->width), target = a->other ? a->other[i] : 1;
        double sum = dot_product(dout, x, a->width);
        float direct = (float)(target / rms), along = (float)(target * sum / (rms * rms * rms * (double)a->width));
        if (a->dother)
            a->dother[i] += (float)(sum / rms);
        for (int64_t c = 0; a->dx && c < a->width; c++)
            a->dx[i * a->width + c] = direct * dout[c] - along * x[c];
    }
}

void fam_cpu_rescale_rows_backward(fam_exec *exec, float *dx, float *dtarget, const float *dout, const float *x,
                                   const float *target, int64_t n, int64_t width)
{
    norm_arguments a = {.kernels = fam_cpu_exec_of(exec)->kernels, .dx = dx, .dother = dtarget, .dout = dout, .x = x,
                        .other = target, .width = width};
    fam_cpu_for_rows(exec, rescale_rows_rows, &a, n, width);
}

/* ---- feed forward ------------------------------------------------------------------------------------------------- */

typedef struct silu_arguments {
    const fam_cpu_kernels *kernels;
    float *dgate, *dup;
    const float *dout, *gate, *up;
    int64_t width;
} silu_arguments;

static void silu_multiply_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const silu_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int64_t at = i * a->width;
        a->kernels->silu_multiply_backward(a->dgate ? a->dgate + at : NULL, a->dup ? a->dup + at : NULL, a->dout + at,
                                           a->gate + at, a->up + at, a->width);
    }
}

void fam_cpu_silu_multiply_backward(fam_exec *exec, float *dgate, float *dup, const float *dout, const float *gate,
                                    const float *up, int64_t n, int64_t width)
{
    silu_arguments a = {fam_cpu_exec_of(exec)->kernels, dgate, dup, dout, gate, up, width};
    fam_cpu_for_rows(exec, silu_multiply_rows, &a, n, width);
}

/* ---- loss --------------------------------------------------------------------------------------------------------- */

typedef struct cross_entropy_arguments {
    const fam_cpu_kernels *kernels;
    float *dlogits;
    const float *logits, *scale;
    const int32_t *targets;
    int64_t width;
} cross_entropy_arguments;

static void cross_entropy_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const cross_entropy_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *row = a->logits + i * a->width;
        float *to = a->dlogits + i * a->width, scale = a->scale[i];
        if (scale == 0) { /* a row that does not count may hold anything */
            memset(to, 0, (size_t)a->width * sizeof *to);
            continue;
        }
        double log_sum = a->kernels->log_sum_exp(row, a->width);
        a->kernels->scaled_softmax(to, row, log_sum, scale, a->width);
        to[a->targets[i]] -= scale;
    }
}

void fam_cpu_cross_entropy_backward(fam_exec *exec, float *dlogits, const float *logits, const int32_t *targets,
                                    const float *scale, int64_t n, int64_t vocab)
{
    cross_entropy_arguments a = {fam_cpu_exec_of(exec)->kernels, dlogits, logits, scale, targets, vocab};
    fam_cpu_for_rows(exec, cross_entropy_rows, &a, n, vocab);
}

/* ---- rotation ----------------------------------------------------------------------------------------------------- */

typedef struct rope_arguments {
    float *dx;
    const float *dout, *cosines, *sines;
    fam_head_layout layout;
    int64_t heads, head_dim;
} rope_arguments;

static void unrotate(float *dx, const float *dout, const float *cosines, const float *sines, int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        float a = dout[i], b = dout[half + i];
        dx[i] = a * cosines[i] + b * sines[i];
        dx[half + i] = b * cosines[i] - a * sines[i];
    }
}

static void rope_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const rope_arguments *a = context;
    int64_t half = a->head_dim / 2;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t h = 0; h < a->heads; h++) {
            const float *dout = a->dout + i * a->layout.row_stride + h * a->layout.head_stride;
            float *dx = a->dx + (i * a->heads + h) * a->head_dim;
            if (a->cosines)
                unrotate(dx, dout, a->cosines + i * half, a->sines + i * half, half);
            else
                memcpy(dx, dout, (size_t)a->head_dim * sizeof *dx);
        }
    }
}

void fam_cpu_rope_backward(fam_exec *exec, float *dx, const float *dout, fam_head_layout layout, const float *cosines,
                           const float *sines, int64_t n, int64_t heads, int64_t head_dim)
{
    rope_arguments a = {dx, dout, cosines, sines, layout, heads, head_dim};
    fam_cpu_for_rows(exec, rope_rows, &a, n, heads * head_dim);
}
