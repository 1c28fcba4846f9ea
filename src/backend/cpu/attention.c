/*
 * backend/cpu/attention.c: which version of attention runs at which instruction set level.
 */
#include "backend/cpu/attention.h"

void fam_cpu_select_attention(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype)
{
    (void)isa;
    out->attention = dtype == FAM_DTYPE_F32 ? fam_cpu_attention_f32_portable : fam_cpu_attention_bf16_portable;
}
