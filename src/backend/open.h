/*
 * backend/open.h: a device by its name.
 */
#ifndef FAM_BACKEND_OPEN_H
#define FAM_BACKEND_OPEN_H

#include "backend/backend.h"

typedef struct fam_backend_options {
    const char *device; /* "cpu"; NULL: that */
    const char *isa;    /* the CPU's level of kernels by name; NULL: the best */
    int threads;        /* or FAM_AUTO: as many as the process may use processors */
    int dtype;          /* enum fam_dtype, or FAM_AUTO: bf16 where the device computes in it, else f32 */
} fam_backend_options;

/* What was chosen. */
typedef struct fam_backend_choice {
    const char *isa;
    int threads;
} fam_backend_choice;

/* UNSUPPORTED: a device that this build does not have, a level above the machine's. `memory` outlives the backend. */
fam_status fam_backend_open(fam_backend **out, fam_backend_choice *choice, fam_memory *memory,
                            const fam_backend_options *options, fam_error *error);

#endif
