/*
 * backend/cpu/gemv_select.h: the versions of the one-row products. Each function sets the types that it has a version
 * for and leaves the others as they are.
 */
#ifndef FAM_BACKEND_CPU_GEMV_SELECT_H
#define FAM_BACKEND_CPU_GEMV_SELECT_H

#include "backend/cpu/kernels.h"

void fam_cpu_gemv_portable(fam_cpu_kernels *out, fam_dtype dtype); /* sets everything */
void fam_cpu_gemv_avx2(fam_cpu_kernels *out);                      /* all types, x prepared as float32 */
void fam_cpu_gemv_avx512(fam_cpu_kernels *out);                    /* the same */
void fam_cpu_gemv_avx512vnni(fam_cpu_kernels *out);                /* quantised types, from bf16 activations */
void fam_cpu_gemv_q4_avx512vnni(fam_cpu_kernels *out);             /* part of the above */
void fam_cpu_gemv_avx512bf16(fam_cpu_kernels *out);                /* BF16, from bf16 activations */

/* The preparation that most versions use: activations as float32. */
void fam_cpu_gemv_prepare_f32(void *prepared, const void *activations, int64_t columns);
void fam_cpu_gemv_prepare_bf16(void *prepared, const void *activations, int64_t columns);
size_t fam_cpu_gemv_prepared_floats(int64_t columns);

#endif
