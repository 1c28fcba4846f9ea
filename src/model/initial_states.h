/*
 * model/initial_states.h: the first states, P^0 ... P^(L-1): the learned prompt pushed through the layers (spec section
 * 4). They depend on no input, so they are computed once when a model is made.
 */
#ifndef FAM_MODEL_INITIAL_STATES_H
#define FAM_MODEL_INITIAL_STATES_H

#include "model/model.h"

/* Fills model->initial_states and model->initial_rms from prompt [F, E]. */
fam_status fam_initial_states_compute(fam_model *model, const fam_tensor *prompt, fam_error *error);

#endif
