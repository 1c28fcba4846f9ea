/*
 * backend/cpu/kernels.c: chooses kernels for an instruction set level.
 */
#include "backend/cpu/kernels.h"

#include <string.h>

#include "backend/cpu/gemv_select.h"
#include "backend/cpu/rows_select.h"

void fam_cpu_select_gemv(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype)
{
    fam_cpu_gemv_portable(out, dtype);
    if (isa >= FAM_CPU_AVX2)
        fam_cpu_gemv_avx2(out);
    if (isa >= FAM_CPU_AVX512)
        fam_cpu_gemv_avx512(out);
    if (isa >= FAM_CPU_AVX512VNNI && dtype == FAM_DTYPE_BF16)
        fam_cpu_gemv_avx512vnni(out);
    if (isa >= FAM_CPU_AVX512BF16 && dtype == FAM_DTYPE_BF16)
        fam_cpu_gemv_avx512bf16(out);
}

void fam_cpu_select_rows(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype)
{
    fam_cpu_rows_portable(out, dtype);
    if (isa >= FAM_CPU_AVX2)
        fam_cpu_rows_avx2(out, dtype);
    if (isa >= FAM_CPU_AVX512)
        fam_cpu_rows_avx512(out, dtype);
}

void fam_cpu_kernels_select(fam_cpu_kernels *out, fam_cpu_isa isa, fam_dtype dtype)
{
    memset(out, 0, sizeof *out);
    out->isa = isa;
    out->dtype = dtype;
    fam_cpu_select_gemv(out, isa, dtype);
    fam_cpu_select_rows(out, isa, dtype);
    fam_cpu_select_attention(out, isa, dtype);
    (isa >= FAM_CPU_AVX512 ? fam_cpu_optimizer_avx512
     : isa >= FAM_CPU_AVX2 ? fam_cpu_optimizer_avx2
                           : fam_cpu_optimizer_portable)(&out->optimizer);
}
