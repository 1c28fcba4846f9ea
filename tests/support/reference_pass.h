/*
 * tests/support/reference_pass.h: a training pass forward in double, one sequence and one token at a time, from the
 * specification alone: what gradients are compared with, by central differences. Shares no code with the model but
 * window.h, which has its own test.
 */
#ifndef TESTS_SUPPORT_REFERENCE_PASS_H
#define TESTS_SUPPORT_REFERENCE_PASS_H

#include "model/training.h"

typedef struct reference_pass reference_pass;

/* Reads the model's weights. */
reference_pass *reference_pass_open(const fam_model *model, fam_exec *exec, const fam_training_options *options);
void reference_pass_free(reference_pass *pass);

/* The weighted sum of nll. With `record` what counts as given is made and kept (noise; with stop_gradient_segments the
 * segments' keys and values); without it is used as it was. */
double reference_pass_loss(reference_pass *pass, const fam_training_batch *batch, bool record);

/* Of the last loss: [B, T]; [B, L, F, E]. */
const double *reference_pass_nll(const reference_pass *pass);
const double *reference_pass_states(const reference_pass *pass);

/* The values of a trained tensor, which may be changed. */
double *reference_pass_values(reference_pass *pass, const fam_gradient *gradient);

#endif
