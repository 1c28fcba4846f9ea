/*
 * model/training_private.h: what a training pass keeps; for training*.c alone.
 *
 * Layouts, for B sequences of T tokens, U complete blocks, state rows F:
 *   token rows  row b T + t;            token keys  [B, G, T, D]
 *   state rows  row b F + i;            state keys  [B, G, F, D]
 */
#ifndef FAM_MODEL_TRAINING_PRIVATE_H
#define FAM_MODEL_TRAINING_PRIVATE_H

#include "model/layer.h"
#include "model/layer_backward.h"
#include "model/training.h"

enum { FAM_TRAINING_LOGIT_ROWS = 128, FAM_TRAINING_BUFFERS = 64 };

/* What some rows leave behind on their way through one layer. */
typedef struct fam_rows_tape {
    float *x;        /* [n, E] as it comes in */
    void *q;         /* activations [n, H D], rotated */
    void *k, *v;     /* activations, keys as above */
    void *attended;  /* activations [n, H D] */
    float *mid;      /* [n, E] after attention */
    float *gate, *up; /* [n, I] */
} fam_rows_tape;

struct fam_training {
    const fam_model *model;
    fam_exec *exec;
    int64_t sequences, tokens;
    int64_t updates;  /* U: complete blocks; 0 but in mode fam */
    int64_t readers;  /* blocks with at least one token: states 0 ... readers - 1 are read */
    fam_training_batch batch;

    fam_rows_tape *token_tape;  /* [L] */
    fam_rows_tape *state_tape;  /* [L, U + 1]: number u is the state that block u reads and its update */
    fam_rows_tape *prompt_tape; /* [L] */
    float *state_raw;           /* [L, U, B F, E]: updated states before they are rescaled */
    float *final;               /* [B T, E]: the last layer's output */
    float *prompt_rms;          /* [L, F] */

    float *cos, *sin;             /* [B T, D/2] */
    float *state_cos, *state_sin; /* [U + 2, B F, D/2] */
    float *prompt_cos, *prompt_sin; /* [F, D/2] */
    double *positions;              /* host */

    fam_rows_scratch forward_scratch; /* for max(B T, B F) rows; gate and up point into a tape while a layer runs */
    float *own_gate, *own_up;         /* what the scratch was made with */
    fam_rows_backward backward_scratch;
    fam_attention_job *jobs;          /* host [B * blocks] */
    fam_attention_backward_job *backward_jobs;
    int64_t jobs_max;

    void *logit_rows; /* activations [FAM_TRAINING_LOGIT_ROWS, E] */
    float *logits;    /* [FAM_TRAINING_LOGIT_ROWS, V] */
    double *row_nll;   /* host [FAM_TRAINING_LOGIT_ROWS] */
    int32_t *row_best; /* host, the same */
    float *row_scale;  /* host, the same */
    float *nll;        /* host [B, T] */
    bool *hits;        /* host [B, T] */

    /* The way back. */
    float *dx;              /* [B T, E] */
    float *dattended;       /* [max rows, H D] */
    float *dq, *dstate_q;   /* [B T, H D]; [B F, H D] */
    float *dq_rows;         /* [max rows, H D], rotated back */
    float *dk, *dv;         /* [B, G, T, D] */
    float *dk_rows, *dv_rows; /* [max rows, G D], rotated back */
    float *dstate_k, *dstate_v; /* [U + 1, B, G, F, D] */
    float *dstate, *dupdate;    /* [B F, E] */
    float *dinitial;            /* [L, F, E] */
    float *dtarget;             /* [F] */
    float *dnormed;             /* [FAM_TRAINING_LOGIT_ROWS, E] */

    void *buffers[FAM_TRAINING_BUFFERS]; /* everything above that is on the device, to be released */
    int buffer_count;
};

/* The rows of sequence b's keys in a [B, G, rows, D] buffer. */
size_t fam_training_kv_bytes(const fam_training *t, int64_t rows, int64_t sequence);

/* Fills t->jobs with the attention of all tokens of a layer, sequence by sequence, block by block; returns how many. */
int64_t fam_training_token_jobs(fam_training *t, int64_t layer);
/* The attention of update u of a layer: one job a sequence. */
int64_t fam_training_update_jobs(fam_training *t, int64_t layer, int64_t update);
/* The prompt rows' attention in a layer. */
void fam_training_prompt_job(fam_training *t, int64_t layer);

fam_rope_rows fam_training_state_rope(const fam_training *t, int64_t block);

static inline fam_rows_tape *fam_training_state(const fam_training *t, int64_t layer, int64_t update)
{
    return &t->state_tape[layer * (t->updates + 1) + update];
}

/* The state after an update, before it is rescaled: [B F, E]. */
static inline float *fam_training_raw_state(const fam_training *t, int64_t layer, int64_t update)
{
    int64_t elements = t->sequences * t->model->window.fam_length * t->model->config.hidden_size;
    return t->state_raw + (layer * t->updates + update) * elements;
}

/* Whether sequence b starts from a given state, and not from the learned one. */
static inline bool fam_training_given(const fam_training *t, int64_t sequence)
{
    return t->batch.start_states && (!t->batch.given || t->batch.given[sequence]);
}

/* Whether update u of sequence b adds the state before. */
static inline bool fam_training_has_residual(const fam_training *t, int64_t update, int64_t sequence)
{
    return update > 0 || fam_training_given(t, sequence);
}

#endif
