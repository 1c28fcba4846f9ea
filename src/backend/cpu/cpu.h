/*
 * backend/cpu/cpu.h: the CPU as a backend.
 */
#ifndef FAM_BACKEND_CPU_CPU_H
#define FAM_BACKEND_CPU_CPU_H

#include "backend/backend.h"
#include "backend/cpu/features.h"

typedef struct fam_cpu_options {
    int threads;
    fam_dtype dtype;
    fam_cpu_isa isa; /* the best version that kernels may use; above what the machine has: FAM_STATUS_UNSUPPORTED */
} fam_cpu_options;

/* `memory` outlives the backend. */
fam_status fam_cpu_backend_create(fam_backend **out, fam_memory *memory, const fam_cpu_options *options,
                                  fam_error *error);

#endif
