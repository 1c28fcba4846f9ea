/*
 * model/training.h: a batch of sequences forward, with everything kept that the way back needs, and back: the exact
 * gradient of the weighted loss through all blocks, the state, the segments, the state norm and the prompt (spec section
 * 6).
 *
 * All sequences of a batch have T tokens and go through the layers together. One pass belongs to one thread at a time.
 */
#ifndef FAM_MODEL_TRAINING_H
#define FAM_MODEL_TRAINING_H

#include "model/gradients.h"

typedef struct fam_training fam_training;

typedef struct fam_training_batch {
    int64_t sequences, tokens; /* B, T */
    const int32_t *ids;        /* [B, T] */
    const float *weights;      /* [B, T]; number t weighs the prediction of token t, number 0 is not used */
    const int64_t *offsets;    /* [B], added to positions (RPO) */
    const float *start_state;  /* [L, F, E], shared by all (RSP): used as it is, the first update has the residual; or NULL */
} fam_training_batch;

/* Bytes that a pass for B sequences of T tokens takes on the device, known before anything is allocated. */
uint64_t fam_training_bytes(const fam_model *model, int64_t sequences, int64_t tokens);
fam_status fam_training_create(fam_training **out, const fam_model *model, int64_t sequences, int64_t tokens,
                               fam_error *error);
void fam_training_free(fam_training *training); /* NULL is allowed */

/* Runs a batch of the size that the pass was made for. *loss_sum = sum of weight * nll, *weight_sum = sum of weights, over
 * all sequences. Keeps what the way back needs. Ids below V, offsets as in a stream. */
fam_status fam_training_forward(fam_training *training, const fam_training_batch *batch, double *loss_sum,
                                double *weight_sum, fam_error *error);

/* Adds d (scale * loss_sum) / d weight of the last forward's batch to the gradients. Its batch must still be there. */
fam_status fam_training_backward(fam_training *training, fam_gradients *gradients, double scale, fam_error *error);

/* The execution that the pass runs on (for fam_gradients_clear). */
fam_exec *fam_training_exec(fam_training *training);

#endif
