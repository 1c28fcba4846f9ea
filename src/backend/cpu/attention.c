/*
 * backend/cpu/attention.c: which version of attention runs at which instruction set level.
 */
#include "backend/cpu/attention.h"

static const fam_cpu_attention_kernel *best_f32(fam_cpu_isa isa)
{
    if (isa >= FAM_CPU_AVX512)
        return &fam_cpu_attention_f32_avx512;
    return isa >= FAM_CPU_AVX2 ? &fam_cpu_attention_f32_avx2 : &fam_cpu_attention_f32_portable;
}

static const fam_cpu_attention_kernel *best_bf16(fam_cpu_isa isa)
{
    if (isa >= FAM_CPU_AMX)
        return &fam_cpu_attention_bf16_amx;
    if (isa >= FAM_CPU_AVX512BF16)
        return &fam_cpu_attention_bf16_avx512bf16;
    if (isa >= FAM_CPU_AVX512)
        return &fam_cpu_attention_bf16_avx512;
    return isa >= FAM_CPU_AVX2 ? &fam_cpu_attention_bf16_avx2 : &fam_cpu_attention_bf16_portable;
}

void fam_cpu_select_attention(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype)
{
    out->attention_backward = isa >= FAM_CPU_AVX512 ? fam_cpu_attention_backward_avx512
                              : isa >= FAM_CPU_AVX2 ? fam_cpu_attention_backward_avx2
                                                    : fam_cpu_attention_backward_portable;
    if (isa >= FAM_CPU_AMX && dtype == FAM_DTYPE_BF16)
        out->attention_backward = fam_cpu_attention_backward_amx;
    out->attention = *(dtype == FAM_DTYPE_F32 ? best_f32(isa) : best_bf16(isa));
}
