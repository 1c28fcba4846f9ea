/*
 * backend/cpu/optimizer_portable.c: the inner loops of the optimisers, which are in optimizer_kernels.h, for any
 * processor.
 */
#include "backend/cpu/optimizer_kernels.h"

void fam_cpu_optimizer_portable(fam_cpu_optimizer_kernels *out)
{
    *out = optimizer_kernels;
}
