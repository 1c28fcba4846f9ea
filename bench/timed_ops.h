/*
 * bench/timed_ops.h: a backend's table of operators with a clock around each: where a step's time goes.
 *
 * Calls on many rows (tokens) and on few (a state's) are told apart. One backend of a program can be timed, by the
 * thread that runs the model.
 */
#ifndef BENCH_TIMED_OPS_H
#define BENCH_TIMED_OPS_H

#include <string.h>

#include "backend/backend.h"
#include "bench_support.h"

/* X(operator, rows of the call, parameters, arguments): those that give nothing back. */
#define TIMED_OPS(X)                                                                                                   \
    X(copy, 0, (fam_backend * b, void *to, const void *from, size_t bytes), (b, to, from, bytes))                      \
    X(embed, n, (fam_exec * e, float *out, const fam_weight *t, const int32_t *tokens, int64_t n),                     \
      (e, out, t, tokens, n))                                                                                          \
    X(rms_norm, n, (fam_exec * e, void *out, const float *x, const float *gain, double eps, int64_t n, int64_t width), \
      (e, out, x, gain, eps, n, width))                                                                                \
    X(matmul, n, (fam_exec * e, const fam_matmul_job *jobs, int count, int64_t n), (e, jobs, count, n))                \
    X(rope_table, n,                                                                                                   \
      (fam_exec * e, float *c, float *s, const double *p, const double *f, int64_t n, int64_t half),                   \
      (e, c, s, p, f, n, half))                                                                                        \
    X(rope, n,                                                                                                         \
      (fam_exec * e, void *out, fam_head_layout l, const float *x, const float *c, const float *s, int64_t n,          \
       int64_t heads, int64_t dim),                                                                                    \
      (e, out, l, x, c, s, n, heads, dim))                                                                             \
    X(attention, jobs->queries *count,                                                                                 \
      (fam_exec * e, const fam_attention_job *jobs, int count, const fam_attention_shape *shape),                      \
      (e, jobs, count, shape))                                                                                         \
    X(silu_multiply, n, (fam_exec * e, void *out, const float *gate, const float *up, int64_t n, int64_t width),       \
      (e, out, gate, up, n, width))                                                                                    \
    X(row_rms, n, (fam_exec * e, float *target, const float *x, int64_t n, int64_t width), (e, target, x, n, width))   \
    X(rescale_rows, n, (fam_exec * e, float *x, const float *target, int64_t n, int64_t width),                        \
      (e, x, target, n, width))                                                                                        \
    X(cross_entropy, n,                                                                                                \
      (fam_exec * e, double *nll, const float *logits, const int32_t *targets, int64_t n, int64_t vocab),              \
      (e, nll, logits, targets, n, vocab))                                                                             \
    X(zero, 0, (fam_exec * e, void *memory, size_t bytes), (e, memory, bytes))                                         \
    X(add, 0, (fam_exec * e, float *out, const float *x, int64_t count), (e, out, x, count))                           \
    X(embed_backward, n,                                                                                               \
      (fam_exec * e, float *dtable, const float *dout, const int32_t *tokens, int64_t n, int64_t width),               \
      (e, dtable, dout, tokens, n, width))                                                                             \
    X(rms_norm_backward, n,                                                                                            \
      (fam_exec * e, float *dx, float *dgain, const float *dout, const float *x, const float *gain, double eps,        \
       int64_t n, int64_t width),                                                                                      \
      (e, dx, dgain, dout, x, gain, eps, n, width))                                                                    \
    X(matmul_backward, n, (fam_exec * e, const fam_matmul_backward_job *jobs, int count, int64_t n),                   \
      (e, jobs, count, n))                                                                                             \
    X(rope_backward, n,                                                                                                \
      (fam_exec * e, float *dx, const float *dout, fam_head_layout l, const float *c, const float *s, int64_t n,       \
       int64_t heads, int64_t dim),                                                                                    \
      (e, dx, dout, l, c, s, n, heads, dim))                                                                           \
    X(attention_backward, jobs->forward->queries *count,                                                               \
      (fam_exec * e, const fam_attention_backward_job *jobs, int count, const fam_attention_shape *shape),             \
      (e, jobs, count, shape))                                                                                         \
    X(silu_multiply_backward, n,                                                                                       \
      (fam_exec * e, float *dgate, float *dup, const float *dout, const float *gate, const float *up, int64_t n,       \
       int64_t width),                                                                                                 \
      (e, dgate, dup, dout, gate, up, n, width))                                                                       \
    X(row_rms_backward, n, (fam_exec * e, float *dx, const float *dtarget, const float *x, int64_t n, int64_t width),  \
      (e, dx, dtarget, x, n, width))                                                                                   \
    X(rescale_rows_backward, n,                                                                                        \
      (fam_exec * e, float *dx, float *dtarget, const float *dout, const float *x, const float *target, int64_t n,     \
       int64_t width),                                                                                                 \
      (e, dx, dtarget, dout, x, target, n, width))                                                                     \
    X(cross_entropy_backward, n,                                                                                       \
      (fam_exec * e, float *dlogits, const float *logits, const int32_t *targets, const float *scale, int64_t n,       \
       int64_t vocab),                                                                                                 \
      (e, dlogits, logits, targets, scale, n, vocab))                                                                  \
    X(row_best, n, (fam_exec * e, int32_t *best, const float *x, int64_t n, int64_t width), (e, best, x, n, width))    \
    X(add_noise, n, (fam_exec * e, float *x, double level, uint64_t seed, int64_t n, int64_t width),                   \
      (e, x, level, seed, n, width))                                                                                   \
    X(adamw, 0,                                                                                                        \
      (fam_exec * e, float *x, float *m, float *v, const float *gradient, int64_t count, const fam_adamw_step *step),  \
      (e, x, m, v, gradient, count, step))

enum timed_number {
#define TIMED_NUMBER(name, rows, parameters, arguments) TIMED_##name,
    TIMED_OPS(TIMED_NUMBER)
#undef TIMED_NUMBER
    TIMED_sum_squares,
    TIMED_weight_write,
    TIMED_COUNT
};

static struct {
    const fam_backend_ops *real;
    fam_backend_ops table;
    int64_t few; /* calls on up to so many rows are told apart */
    struct {
        double seconds;
        int64_t calls;
    } spent[TIMED_COUNT][2]; /* on few rows, on many */
} timed;

static inline void timed_count(enum timed_number number, int64_t rows, double begin)
{
    int many = rows > timed.few;
    timed.spent[number][many].seconds += seconds_now() - begin;
    timed.spent[number][many].calls++;
}

#define TIMED_DEFINE(name, rows, parameters, arguments)                                                                \
    static inline void timed_##name parameters                                                                         \
    {                                                                                                                  \
        double begin = seconds_now();                                                                                  \
        timed.real->name arguments;                                                                                    \
        timed_count(TIMED_##name, (rows), begin);                                                                      \
    }
TIMED_OPS(TIMED_DEFINE)
#undef TIMED_DEFINE

static inline double timed_sum_squares(fam_exec *exec, const float *x, int64_t count)
{
    double begin = seconds_now(), sum = timed.real->sum_squares(exec, x, count);
    timed_count(TIMED_sum_squares, 0, begin);
    return sum;
}

static inline fam_status timed_weight_write(fam_exec *exec, fam_weight *weight, const float *values, double factor,
                                            fam_error *error)
{
    double begin = seconds_now();
    fam_status status = timed.real->weight_write(exec, weight, values, factor, error);
    timed_count(TIMED_weight_write, 0, begin);
    return status;
}

/* From now on all calls through the backend's table are timed. */
static inline void timed_begin(fam_backend *backend, int64_t few)
{
    memset(timed.spent, 0, sizeof timed.spent);
    timed.few = few;
    if (backend->ops == &timed.table)
        return;
    timed.real = backend->ops;
    timed.table = *backend->ops;
#define TIMED_SET(name, rows, parameters, arguments)                                                                   \
    if (timed.real->name)                                                                                              \
        timed.table.name = timed_##name;
    TIMED_OPS(TIMED_SET)
#undef TIMED_SET
    if (timed.real->sum_squares)
        timed.table.sum_squares = timed_sum_squares;
    if (timed.real->weight_write)
        timed.table.weight_write = timed_weight_write;
    backend->ops = &timed.table;
}

/* A line an operator: milliseconds a step, share of `total` seconds, calls a step; what no operator took at the end. */
static inline void timed_report(FILE *out, int steps, double total)
{
    static const char *const names[] = {
#define TIMED_NAME(name, rows, parameters, arguments) #name,
        TIMED_OPS(TIMED_NAME)
#undef TIMED_NAME
            "sum_squares", "weight_write"};
    double rest = total;
    fprintf(out, "operator\trows\tms a step\tshare\tcalls a step\n");
    for (int i = 0; i < TIMED_COUNT; i++)
        for (int many = 0; many < 2; many++) {
            double seconds = timed.spent[i][many].seconds;
            if (timed.spent[i][many].calls == 0)
                continue;
            fprintf(out, "%s\t%s\t%.2f\t%.1f%%\t%lld\n", names[i], many ? "many" : "few", seconds / steps * 1e3,
                    100 * seconds / total, (long long)(timed.spent[i][many].calls / steps));
            rest -= seconds;
        }
    fprintf(out, "outside of operators\t\t%.2f\t%.1f%%\n", rest / steps * 1e3, 100 * rest / total);
}

#endif
