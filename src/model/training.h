/*
 * model/training.h: a batch of sequences forward, with what the way back needs kept or made again, and back: the exact
 * gradient of the weighted loss through all blocks, the state, the segments, the state norm and the prompt (spec section
 * 6).
 *
 * All sequences of a batch have T tokens and go through the layers together. One pass belongs to one thread at a time.
 */
#ifndef FAM_MODEL_TRAINING_H
#define FAM_MODEL_TRAINING_H

#include "model/gradients.h"

typedef struct fam_training fam_training;

/* What is kept between forward and backward: everything; only each layer's input, the rest being made again layer by
 * layer; or the same made again a span of blocks at a time. Less memory, more time; the same gradients to the bit. */
typedef enum fam_recompute { FAM_RECOMPUTE_NONE, FAM_RECOMPUTE_LAYER, FAM_RECOMPUTE_SPAN } fam_recompute;

/* "none", "layer", "span"; NULL outside of the enumeration. */
const char *fam_recompute_name(int recompute);

typedef struct fam_training_options {
    int64_t sequences, tokens; /* B, T */
    fam_recompute recompute;
    bool stop_gradient_segments; /* keys and values of earlier blocks count as given (an ablation: paper, M1_SG) */
    bool backward;               /* false: only forward passes (validation), with the memory that they need */
} fam_training_options;

typedef struct fam_training_batch {
    const int32_t *ids;        /* [B, T] */
    const float *weights;      /* [B, T]; number t weighs the prediction of token t, number 0 is not used */
    const int64_t *offsets;    /* [B], added to positions (RPO) */
    const float *start_states; /* [B, L, F, E] host, or NULL: all sequences start from the learned state */
    const bool *given;         /* [B]: sequence b starts from start_states[b], used as it is, and its first update has the
                                  residual; else from the learned state. NULL: all do, if there are start_states */
    double state_noise;        /* each update adds this times the row's RMS times a standard normal number (before nobody has
                                  read it, after it is rescaled); the gradient takes the noise as given. 0: none */
    uint64_t noise_seed;       /* the same seed gives the same noise */
} fam_training_batch;

/* Bytes that a pass takes, with everything that its execution and the packed weights need and with the gradients, known
 * before anything is allocated; true to 5%. */
uint64_t fam_training_bytes(const fam_model *model, const fam_training_options *options, fam_trained trained);
fam_status fam_training_create(fam_training **out, const fam_model *model, const fam_training_options *options,
                               fam_error *error);
void fam_training_free(fam_training *training); /* NULL is allowed */

/* Runs a batch of the size that the pass was made for. *loss_sum = sum of weight * nll, *weight_sum = sum of weights, over
 * all sequences. Keeps what the way back needs. Ids below V, offsets as in a stream. */
fam_status fam_training_forward(fam_training *training, const fam_training_batch *batch, double *loss_sum,
                                double *weight_sum, fam_error *error);

/* Of the last forward, for tokens 1 ... T-1 of each sequence: minus the log probability of the token, and whether it was
 * the most probable one (ties to the lowest id). [B, T], number 0 of each row is 0 and false. Belong to the pass. */
const float *fam_training_nll(const fam_training *training);
const bool *fam_training_hits(const fam_training *training);

/* Mode fam: the state after each sequence's last complete block (without one: what it started from), [B, L, F, E]. */
void fam_training_final_states(const fam_training *training, float *out);

/* Adds d (scale * loss_sum) / d weight of the last forward's batch to the gradients. Its batch must still be there. */
fam_status fam_training_backward(fam_training *training, fam_gradients *gradients, double scale, fam_error *error);

/* The execution that the pass runs on (for fam_gradients_clear and the optimizer). */
fam_exec *fam_training_exec(fam_training *training);

#endif
