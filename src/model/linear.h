/*
 * model/linear.h: a projection of the model: its matrix, and what adapters add to it.
 *
 * y = x W^T + sum over adapters of (x A^T) (scale B)^T. The scale lies in B. The state's rows and the prompt's go
 * through the same projections as tokens (spec section 3).
 */
#ifndef FAM_MODEL_LINEAR_H
#define FAM_MODEL_LINEAR_H

#include "backend/backend.h"

enum { FAM_ADAPTERS_MAX = 8, FAM_LINEAR_GROUP_MAX = 3 };

typedef struct fam_lora {
    fam_weight *a; /* [rank, in] */
    fam_weight *b; /* [out, rank], scaled */
    int64_t rank;
    double scale;  /* what B was multiplied by */
} fam_lora;

typedef struct fam_linear {
    fam_weight *weight; /* [out, in] */
    int lora_count;
    fam_lora lora[FAM_ADAPTERS_MAX];
} fam_linear;

/* One member of a group of projections that read the same rows. */
typedef struct fam_linear_job {
    const fam_linear *linear;
    float *out;      /* [n, out] */
    bool accumulate; /* add to out instead of overwriting */
} fam_linear_job;

/* out (+)= projection of in [n, in] (activations), for all jobs. lora_scratch: activations, n times the sum of the ranks
 * of all adapters of all jobs. */
void fam_linear_forward(fam_exec *exec, const fam_linear_job *jobs, int count, const void *in, int64_t n,
                        void *lora_scratch);

/* Makes everything that products of n rows need (fam_backend_ops.prepare). */
fam_status fam_linear_prepare(fam_exec *exec, const fam_linear *linear, int64_t n, fam_error *error);

void fam_linear_release(fam_backend *backend, fam_linear *linear);

#endif
