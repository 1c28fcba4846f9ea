/*
 * train/optimizer.h: AdamW (Loshchilov and Hutter, 2019) and Adafactor (Shazeer and Stern, 2018, with momentum and
 * decay as the paper's section 4 has them) on float32 masters; and the learning rate of a step.
 *
 * A step with a gradient that is not finite changes nothing.
 */
#ifndef FAM_TRAIN_OPTIMIZER_H
#define FAM_TRAIN_OPTIMIZER_H

#include "train/parameters.h"
#include "train/recipe.h"

typedef struct fam_optimizer fam_optimizer;

/* Moments are zero. parameters outlive it. */
fam_status fam_optimizer_create(fam_optimizer **out, fam_parameters *parameters, const fam_recipe *recipe, fam_error *error);
void fam_optimizer_free(fam_optimizer *optimizer); /* NULL is allowed */
/* Bytes of moments on the device for so many trained elements, told before a run. */
uint64_t fam_optimizer_bytes(const fam_recipe *recipe, const fam_gradients *gradients);

typedef struct fam_step_result {
    double gradient_norm; /* of all gradients together, before clipping */
    bool clipped;
    bool skipped;         /* the norm was not finite: nothing was changed */
} fam_step_result;

/* One step with the gradients that lie beside the parameters, then pushes the masters into the model. `rate` and
 * `prompt_rate` are those of this step. */
fam_status fam_optimizer_step(fam_optimizer *optimizer, fam_exec *exec, double rate, double prompt_rate,
                              fam_step_result *result, fam_error *error);

int64_t fam_optimizer_steps(const fam_optimizer *optimizer); /* that changed something */

/* Moments as host tensors "m.NAME", "v.NAME" (Adafactor: "m.", "row.", "column."), for a file; released as in
 * fam_parameters_tensors. */
fam_status fam_optimizer_tensors(const fam_optimizer *optimizer, fam_tensor **out, int64_t *count, void **block,
                                 fam_error *error);
/* All or nothing: MISMATCH if a tensor is missing or of another shape; BAD_FORMAT: not finite, or a second moment below 0. */
fam_status fam_optimizer_restore(fam_optimizer *optimizer, const struct fam_safetensors *file, int64_t steps,
                                 fam_error *error);

/* The rate of step `step` (from 0) for a peak rate: warm-up, then constant or cosine. Without the curriculum's recovery. */
double fam_learning_rate(const fam_recipe *recipe, double peak, int64_t step);

#endif
