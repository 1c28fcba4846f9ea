/*
 * model/model.h: a Transformer with its weights by role, on a device, and the feedback memory's first state.
 *
 * Immutable once made, shared by all timelines. Knows tensors by name from a checkpoint and an adapter, and no files.
 */
#ifndef FAM_MODEL_MODEL_H
#define FAM_MODEL_MODEL_H

#include "backend/backend.h"
#include "format/adapter.h"
#include "format/checkpoint.h"
#include "model/linear.h"
#include "model/window.h"

typedef struct fam_layer {
    float *norm1, *norm2; /* [E] on the device */
    fam_linear q, k, v, o, gate, up, down;
} fam_layer;

typedef struct fam_model {
    fam_memory *memory;
    fam_backend *backend;
    fam_model_config config;
    fam_window window;
    fam_state_norm state_norm;
    int64_t parameters;          /* of the base model */
    uint64_t weight_bytes;       /* of all matrices, as their types hold them, adapters included */
    int64_t lora_rank_sum;       /* the most that one group of projections needs as LoRA scratch, per row */
    double *inverse_frequencies; /* [D/2], host */

    fam_weight *embeddings; /* [V, E] */
    fam_linear head;        /* [V, E]; the embeddings if they are tied */
    bool head_is_embeddings;
    float *final_norm;      /* [E] on the device */
    fam_layer *layers;      /* [L] */

    /* Mode fam: P^0 ... P^(L-1), what each layer starts from, and the RMS of their rows (kappa). On the device. */
    float *initial_states; /* [L, F, E] */
    float *initial_rms;    /* [L, F] */

    void **owned; /* scaled copies of LoRA factors, which weights point into */
    int64_t owned_count;
} fam_model;

/* INVALID_ARGUMENT if a session would take more memory than any machine has, or its sizes could not be counted: what
 * files and options say is multiplied freely afterwards. context: mode full. */
fam_status fam_model_check_sizes(const fam_model_config *config, const fam_window *window, int64_t context,
                                 int64_t span_max, fam_error *error);

/* An adapter and the factor by which the caller wants it to count. */
typedef struct fam_model_adapter {
    const fam_adapter *adapter;
    double scale;
} fam_model_adapter;

typedef struct fam_model_source {
    const fam_checkpoint *checkpoint; /* outlives the model: weights point into it */
    const fam_model_adapter *adapters; /* in order; they outlive the model too */
    int adapter_count;
    fam_window window;
    fam_state_norm state_norm;
    const fam_tensor *prompt; /* [F, E], mode fam; else not used */
} fam_model_source;

/* Puts the weights on the device and, in mode fam, computes the first states. */
fam_status fam_model_create(fam_model **out, fam_memory *memory, fam_backend *backend, const fam_model_source *source,
                            fam_error *error);
void fam_model_free(fam_model *model); /* NULL is allowed */

#endif
