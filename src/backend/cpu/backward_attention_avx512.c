/*
 * backend/cpu/backward_attention_avx512.c: what flows back through attention, on AVX-512.
 */
#include "backend/cpu/attention_vec512.h"

enum { SPREAD = 12 /* times 2 vectors: accumulators in registers */ };

#include "backend/cpu/backward_attention_rows.h"

void fam_cpu_attention_backward_avx512(const fam_attention_backward_job *job, const fam_attention_shape *shape,
                                     int64_t kv_head, fam_dtype dtype, void *scratch)
{
    attention_backward(job, shape, kv_head, dtype, scratch);
}
