/*
 * backend/cpu/rows_select.h: the versions of the row kernels, and the one pattern by which each file makes its set: a
 * body with a last argument `bf16`, compiled once for each arithmetic type.
 */
#ifndef FAM_BACKEND_CPU_ROWS_SELECT_H
#define FAM_BACKEND_CPU_ROWS_SELECT_H

#include "backend/cpu/kernels.h"

void fam_cpu_rows_portable(fam_cpu_kernels *out, fam_dtype dtype);
void fam_cpu_rows_avx2(fam_cpu_kernels *out, fam_dtype dtype);
void fam_cpu_rows_avx512(fam_cpu_kernels *out, fam_dtype dtype);

/* The functions rms_norm_f32 and so on of one file, from its rms_norm(..., bf16) and so on. */
#define FAM_ROW_KERNELS(suffix, bf16)                                                                                  \
    static void rms_norm_##suffix(void *out, const float *x, const float *gain, double eps, int64_t width)             \
    {                                                                                                                  \
        rms_norm(out, x, gain, eps, width, bf16);                                                                      \
    }                                                                                                                  \
    static void silu_multiply_##suffix(void *out, const float *gate, const float *up, int64_t width)                   \
    {                                                                                                                  \
        silu_multiply(out, gate, up, width, bf16);                                                                     \
    }                                                                                                                  \
    static void rope_##suffix(void *out, const float *x, const float *cosines, const float *sines, int64_t head_dim)   \
    {                                                                                                                  \
        rope(out, x, cosines, sines, head_dim, bf16);                                                                  \
    }                                                                                                                  \
    static void to_activations_##suffix(void *out, const float *x, int64_t count)                                      \
    {                                                                                                                  \
        to_activations(out, x, count, bf16);                                                                           \
    }

#define FAM_ROW_KERNELS_SET(table, dtype)                                                                              \
    (table)->rms_norm = (dtype) == FAM_DTYPE_F32 ? rms_norm_f32 : rms_norm_bf16;                                       \
    (table)->silu_multiply = (dtype) == FAM_DTYPE_F32 ? silu_multiply_f32 : silu_multiply_bf16;                        \
    (table)->rope = (dtype) == FAM_DTYPE_F32 ? rope_f32 : rope_bf16;                                                   \
    (table)->to_activations = (dtype) == FAM_DTYPE_F32 ? to_activations_f32 : to_activations_bf16;                     \
    (table)->add = add;                                                                                                \
    (table)->mean_square = mean_square;                                                                                \
    (table)->scale = scale;                                                                                            \
    (table)->log_sum_exp = log_sum_exp;                                                                                \
    (table)->silu_multiply_backward = silu_multiply_backward;                                                          \
    (table)->rms_norm_backward = rms_norm_backward;                                                                    \
    (table)->scaled_softmax = scaled_softmax;

#endif
