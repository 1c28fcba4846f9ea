/*
 * backend/cpu/optimizer_avx512.c: the inner loops of the optimisers with AVX-512; they are in optimizer_kernels.h.
 */
#include "backend/cpu/optimizer_kernels.h"

void fam_cpu_optimizer_avx512(fam_cpu_optimizer_kernels *out)
{
    *out = optimizer_kernels;
}
