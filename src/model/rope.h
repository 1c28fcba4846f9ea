/*
 * model/rope.h: inverse frequencies of the rotary embedding, with the scalings that change them.
 */
#ifndef FAM_MODEL_ROPE_H
#define FAM_MODEL_ROPE_H

#include "format/checkpoint.h"

/* out [D/2], in double: theta^(-2i/D), rescaled as the configuration says. */
void fam_rope_inverse_frequencies(double *out, const fam_model_config *config);

#endif
