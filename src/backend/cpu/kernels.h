/*
 * backend/cpu/kernels.h: the table of inner kernels, and how a set is chosen for an instruction set level.
 *
 * A kernel works on one thread's share and knows no threads. Each has a portable version, the reference of the tests;
 * fam_cpu_kernels_select fills a table with the best version at or below a level.
 */
#ifndef FAM_BACKEND_CPU_KERNELS_H
#define FAM_BACKEND_CPU_KERNELS_H

#include <stdint.h>

#include "backend/backend.h"
#include "backend/cpu/features.h"

/* ---- one-row products (gemv_*.c) ---------------------------------------------------------------------------------- */

/* out [rows] = W [rows, columns] x. `w` points to the first row, rows follow each other without padding. `x` is what the
 * type's `prepare` made of the activations, 64-byte aligned. */
typedef void fam_cpu_gemv(float *out, const void *w, const void *x, int64_t rows, int64_t columns);
/* Turns one row of activations (float32 or bfloat16 bits, as the backend's dtype says) into what the gemv reads. */
typedef void fam_cpu_gemv_prepare(void *prepared, const void *activations, int64_t columns);

typedef struct fam_cpu_gemv_kernel {
    fam_cpu_gemv *run;
    fam_cpu_gemv_prepare *prepare;
    size_t (*prepared_bytes)(int64_t columns);
} fam_cpu_gemv_kernel;

/* ---- attention (attention_*.c) -------------------------------------------------------------------------------------- */

/* The queries of a job and the H/G query heads that share a key/value head make rows: row = query * (H/G) + head in group.
 * scratch: 64-byte aligned, scratch_bytes(shape) long, at most FAM_ATTENTION_SCRATCH_MAX. D is even and at most
 * FAM_HEAD_DIM_MAX; H/G is any. Nothing depends on what the scratch held before. */
typedef struct fam_cpu_attention_kernel {
    /* Rows [row_begin, row_end) of one key/value head, at most rows(shape) of them. */
    void (*run)(const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head, int64_t row_begin,
                int64_t row_end, void *scratch);
    int64_t (*rows)(const fam_attention_shape *shape); /* how many rows one call should take */
    size_t (*scratch_bytes)(const fam_attention_shape *shape);
    /* One query over a part of its keys (decoding, split among threads): keys [key_begin, key_end), key_begin < key_end,
     * of those that the query sees, the ranges laid end to end. Writes for each head of the group [2 + D] float32: an
     * exponent m near the greatest of score * scale * log2 e, the sum of 2^(exponent - m), and the same sum weighted with
     * the values. */
    void (*partial)(float *out, const fam_attention_job *job, const fam_attention_shape *shape, int64_t kv_head,
                    int64_t query, int64_t key_begin, int64_t key_end, void *scratch);
} fam_cpu_attention_kernel;

/* What flows back through one job to one key/value head, the job's rows in order (FAM_ATTENTION_SCRATCH_MAX of scratch). */
typedef void fam_cpu_attention_back(const fam_attention_backward_job *job, const fam_attention_shape *shape,
                                    int64_t kv_head, fam_dtype dtype, void *scratch);

/* ---- optimisers (optimizer_*.c): a run of elements a call; all levels give the same bits ------------------------------- */

/* A step's numbers as the loops take them. */
typedef struct fam_cpu_adamw {
    float scale;           /* of the gradient */
    float fresh1;          /* 1 - beta1 */
    float beta2, fresh2;   /* and 1 - beta2 */
    float root_correction; /* 1 / sqrt(1 - beta2^step) */
    float epsilon;
    float rate;            /* corrected for the first moment's bias */
    float keep;            /* 1 - rate * weight decay */
} fam_cpu_adamw;

typedef struct fam_cpu_adafactor {
    float scale;
    float beta1, fresh1;   /* fresh1: the rate times 1 - beta1 */
    float beta2, fresh2;   /* corrected for the moments' bias */
    float floor;           /* added to squared gradients */
    float keep;
} fam_cpu_adafactor;

typedef struct fam_cpu_optimizer_kernels {
    double (*sum_squares)(const float *x, int64_t count);
    void (*adamw)(float *x, float *m, float *v, const float *gradient, int64_t count, const fam_cpu_adamw *a);
    /* v: the moving average of squared gradients. */
    void (*average_squares)(float *v, const float *gradient, int64_t count, const fam_cpu_adafactor *a);
    void (*add_squares)(double *sums, const float *x, int64_t count); /* element by element */
    double (*sum_quotients)(const float *gradient, const float *v, int64_t count); /* of gradient^2 / v */
    /* The update is factor * gradient / sqrt(v). */
    void (*adafactor)(float *x, float *m, const float *gradient, const float *v, int64_t count, float factor,
                      const fam_cpu_adafactor *a);
} fam_cpu_optimizer_kernels;

void fam_cpu_optimizer_portable(fam_cpu_optimizer_kernels *out);
void fam_cpu_optimizer_avx2(fam_cpu_optimizer_kernels *out);
void fam_cpu_optimizer_avx512(fam_cpu_optimizer_kernels *out);

/* ---- rows (rows_*.c): see the operators of the same names in backend.h; one row a call -------------------------------- */

typedef struct fam_cpu_kernels {
    fam_cpu_isa isa;
    fam_dtype dtype;
    fam_cpu_gemv_kernel gemv[FAM_TYPE_COUNT];
    fam_cpu_attention_kernel attention;
    fam_cpu_attention_back *attention_backward;
    fam_cpu_optimizer_kernels optimizer;
    void (*rms_norm)(void *out, const float *x, const float *gain, double eps, int64_t width);
    void (*silu_multiply)(void *out, const float *gate, const float *up, int64_t width);
    /* One head of one row: out [D] activations. cos NULL: conversion only. */
    void (*rope)(void *out, const float *x, const float *cos, const float *sin, int64_t head_dim);
    /* log(sum(e^x)), in double but for the exponentials. */
    double (*log_sum_exp)(const float *x, int64_t count);
    void (*to_activations)(void *out, const float *x, int64_t count);
    void (*add)(float *out, const float *x, int64_t count); /* out += x */
    double (*mean_square)(const float *x, int64_t count);
    void (*scale)(float *x, float factor, int64_t count);
    /* One row of the operators of these names; dgate and dup may each be NULL. */
    void (*silu_multiply_backward)(float *dgate, float *dup, const float *dout, const float *gate, const float *up,
                                   int64_t width);
    /* root: of mean(x^2) + eps. */
    void (*rms_norm_backward)(float *dx, const float *dout, const float *x, const float *gain, double root,
                              int64_t width);
    /* out = factor e^(x - log_sum); out may be x. */
    void (*scaled_softmax)(float *out, const float *x, double log_sum, float factor, int64_t count);
} fam_cpu_kernels;

/* Fills the table with the best versions for `dtype` at or below `isa`. */
void fam_cpu_kernels_select(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype);

/* The parts of it, one function a file family; each fills its own members. */
void fam_cpu_select_gemv(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype);
void fam_cpu_select_attention(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype);
void fam_cpu_select_rows(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype);

#endif
