/*
 * backend/cpu/attention.c: which version of attention runs at which instruction set level.
 *
 * Measured on one thread of an Intel Xeon with AMX (two virtual cores, busy neighbours; bench_attention), GFLOP/s of
 * visible keys in a prefill of 4,096 tokens, 9 query and 3 key/value heads of width 64 | 32 and 8 of width 128:
 *   avx2        f32  98 |   89     avx2        bf16  93 |  93
 *   avx512      f32 156 |  133     avx512      bf16 142 | 138
 *   avx512bf16  bf16 101 | 102 (this processor takes pairs at a quarter of the rate of float32 instructions)
 *   amx         bf16 630 to 750 | 760
 * Decoding with 4,096 keys and more read keys and values at 7 to 9 GB/s in f32 and 5 to 7 GB/s in bf16; the machine's
 * plain reads reached 6.8 to 9 GB/s.
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
