/*
 * backend/cpu/optimizer_portable.c: the inner loops of the optimisers in plain C: what every processor has; they are in optimizer_kernels.h.
 */
#include "backend/cpu/optimizer_kernels.h"

void fam_cpu_optimizer_portable(fam_cpu_optimizer_kernels *out)
{
    *out = optimizer_kernels;
}
