/*
 * train/optimizer.h: AdamW and Adafactor on float32 masters; and the learning rate of a step.
 *
 * AdamW is Loshchilov and Hutter's (2019) as torch.optim.AdamW has it. Adafactor is Shazeer and Stern's (2018) with the
 * beta1 and beta2 of the paper (section 4): factored second moments and updates clipped to RMS 1 as in their sections 3
 * and 6, a constant decay beta2 with Adam's correction in it (7.1), momentum on the update with the rate inside as
 * Tensor2Tensor and Praxis have it, no relative step and no scale by the parameter. backend.h has it to the letter.
 * epsilon is added to the root of AdamW's second moment; in Adafactor its square is added to the squared gradient.
 *
 * All gradients together are clipped to the norm `clip` (times clip / norm, where the norm is larger). Matrices decay,
 * vectors and the prompt do not. A step with a gradient that is not finite changes nothing.
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
    bool skipped;         /* the norm was not finite, or 1e18 and more: nothing was changed */
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
