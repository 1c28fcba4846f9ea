/*
 * backend/cpu/features.h: which instruction sets this processor and its operating system offer, by feature bits.
 *
 * A level names the best kernels that may run. It is a ladder: each level includes those below.
 */
#ifndef FAM_BACKEND_CPU_FEATURES_H
#define FAM_BACKEND_CPU_FEATURES_H

#include <stdbool.h>

typedef enum fam_cpu_isa {
    FAM_CPU_PORTABLE,   /* plain C: the tests' reference */
    FAM_CPU_AVX2,       /* AVX2, FMA, F16C */
    FAM_CPU_AVX512,     /* F, BW, VL, DQ */
    FAM_CPU_AVX512VNNI, /* and VNNI */
    FAM_CPU_AVX512BF16, /* and BF16 */
    FAM_CPU_AMX,        /* and AMX-TILE, AMX-BF16, AMX-INT8, with the kernel's permission to use the tiles */
    FAM_CPU_ISA_COUNT
} fam_cpu_isa;

/* The best level of this machine. Asks the kernel for the AMX tiles (arch_prctl) if the processor has them. Thread-safe. */
fam_cpu_isa fam_cpu_best_isa(void);

const char *fam_cpu_isa_name(fam_cpu_isa isa);             /* "portable", "avx2", "avx512", ... */
bool fam_cpu_isa_from_name(fam_cpu_isa *out, const char *name);

#endif
