/*
 * backend/cpu/optimizer_avx2.c: the inner loops of the optimisers with AVX2; they are in optimizer_kernels.h.
 */
#include "backend/cpu/optimizer_kernels.h"

void fam_cpu_optimizer_avx2(fam_cpu_optimizer_kernels *out)
{
    *out = optimizer_kernels;
}
