/*
 * model/training_private.h: what a training pass keeps; for training*.c alone.
 *
 * For B sequences of T tokens, U complete blocks, state rows F. Tokens are worked on a span at a time: S consecutive
 * tokens (whole blocks, where there are blocks) of all sequences, so that what lives for a span only does not grow with
 * T. All ways of keeping or making again go through the same spans with the same calls, and so give the same bits.
 *
 *   token rows  span by span; within a span of s tokens row b s + i;   token keys  [B, G, T, D]
 *   state rows  row b F + i;                                           state keys  [B, G, F, D]
 */
#ifndef FAM_MODEL_TRAINING_PRIVATE_H
#define FAM_MODEL_TRAINING_PRIVATE_H

#include "model/layer.h"
#include "model/layer_backward.h"
#include "model/training.h"

enum {
    /* Token rows of a span, about: many enough that products and attention occupy many threads, few enough that what a
     * span needs (some 20 numbers of the layer's width a row) stays small beside the inputs of all layers. */
    FAM_TRAINING_SPAN_ROWS = 4096,
    /* Logits at a time: at least so many rows, so that the head's weights and gradient are not read for a few rows;
     * more where the vocabulary is small. */
    FAM_TRAINING_LOGIT_ROWS = 512,
    FAM_TRAINING_LOGIT_BYTES = 128 << 20,
    FAM_TRAINING_BUFFERS = 96
};

/* What some rows leave behind on their way through one layer. */
typedef struct fam_rows_tape {
    float *x;         /* [n, E] as it comes in */
    void *q;          /* activations [n, H D], rotated */
    void *k, *v;      /* activations, keys as above */
    void *attended;   /* activations [n, H D] */
    float *mid;       /* [n, E] after attention */
    float *gate, *up; /* [n, I] */
    float *raw;       /* [n, E] a state's update before it is rescaled */
} fam_rows_tape;

/* A run of tokens of all sequences, and the blocks that it has a part of. */
typedef struct fam_training_span {
    int64_t start, length;  /* tokens of each sequence */
    int64_t row, rows;      /* its rows among all */
    int64_t blocks_begin, blocks_end;
} fam_training_span;

struct fam_training {
    const fam_model *model;
    fam_exec *exec;
    fam_training_options options;
    bool fam;
    int64_t sequences, tokens;
    int64_t span, spans;   /* S; how many */
    int64_t updates;       /* U: complete blocks; 0 but in mode fam */
    int64_t readers;       /* blocks with at least one token: states 0 ... readers - 1 are read */
    int64_t state_slots;   /* states of a layer whose tapes are there at once: block u's in number u mod state_slots */
    int64_t logit_rows_max;
    fam_training_batch batch;

    /* Tapes: .x of all layers (and the last one's result) if there is a way back, else of one at a time; the rest of
     * all layers, of one, or of one span of it, as the options say. */
    fam_rows_tape token, state, prompt;
    float *kappa;                   /* [L, B F]: RMS of the prompt's rows, the same for each sequence */
    float *cos, *sin;               /* [B T, D/2] in row order */
    float *state_cos, *state_sin;   /* [U + 2, B F, D/2] */
    float *prompt_cos, *prompt_sin; /* [F, D/2] */

    fam_rows_scratch forward_scratch; /* of the rows of a span or of the states; gate and up are a tape's */
    fam_rows_backward backward_scratch; /* shares with it what lives in one way only */
    void *logit_rows;                 /* activations [logit_rows_max, E] */
    float *logits;                    /* [logit_rows_max, V] */
    bool logits_there;                /* those of the last forward, all rows */

    /* Host. */
    fam_attention_job *jobs;
    fam_attention_backward_job *backward_jobs;
    double *positions;
    int32_t *ids, *targets; /* [B T] in row order; the token, and what it is followed by (0 at the end) */
    float *weights;         /* [B T] in row order: of the target; 0 at the end */
    double *row_nll;        /* [logit_rows_max], as the next two */
    int32_t *row_best;
    float *row_scale;
    float *nll;             /* [B, T] */
    bool *hits;             /* [B, T] */

    /* The way back. */
    float *dx;                  /* [B T, E] */
    float *dattended;           /* [rows, H D] */
    float *dq, *dstate_q;       /* [span rows, H D]; [B F, H D] */
    float *dk, *dv;             /* [B, G, T, D] */
    float *dq_rows;             /* [rows, H D], rotated back */
    float *dk_rows, *dv_rows;   /* [rows, G D], rotated back */
    float *dstate_k, *dstate_v; /* [state_slots, B, G, F, D] */
    float *dstate, *dupdate;    /* [B F, E] */
    float *dinitial;            /* [L, F, E] */
    float *dkappa;              /* [B F] */
    float *dnormed;             /* [logit_rows_max, E] */

    void *device[FAM_TRAINING_BUFFERS], *host[FAM_TRAINING_BUFFERS]; /* everything above, to be released */
    int device_count, host_count;
};

static inline int64_t fam_training_state_rows(const fam_training *t)
{
    return t->sequences * t->model->window.fam_length;
}

/* How much is worked on at once; what fam_training_create takes, or, in tests, less. */
typedef struct fam_training_limits {
    int64_t span_rows, logit_rows; /* about; the most */
} fam_training_limits;

fam_status fam_training_create_limited(fam_training **out, const fam_model *model, const fam_training_options *options,
                                       const fam_training_limits *limits, fam_error *error);

fam_training_span fam_training_span_at(const fam_training *t, int64_t number);
/* Of a row: its sequence and its token. */
void fam_training_place(const fam_training *t, int64_t row, int64_t *sequence, int64_t *token);

/* What comes into a layer [B T, E], from a row on; layer L: what comes out of the last. */
float *fam_training_x(const fam_training *t, int64_t layer, int64_t row);
/* The tapes of a span's tokens (k and v: of all tokens of the layer), of the state that block `block` reads and its
 * update, and of the prompt, in one layer. */
fam_rows_tape fam_training_tokens(const fam_training *t, int64_t layer, const fam_training_span *span);
fam_rows_tape fam_training_state(const fam_training *t, int64_t layer, int64_t block);
fam_rows_tape fam_training_prompt(const fam_training *t, int64_t layer);

/* Fill t->jobs; with a way back also t->backward_jobs, from t->dattended to t->dq (or t->dstate_q) and all keys'
 * gradients. Return how many. */
int64_t fam_training_token_jobs(fam_training *t, int64_t layer, const fam_training_span *span);
int64_t fam_training_update_jobs(fam_training *t, int64_t layer, int64_t update); /* one a sequence */
int64_t fam_training_prompt_job(fam_training *t, int64_t layer);

fam_rope_rows fam_training_token_rope(const fam_training *t, const fam_training_span *span);
fam_rope_rows fam_training_state_rope(const fam_training *t, int64_t block);

/* Where gradients of the keys of the state that block `block` reads are, in t->dstate_k or t->dstate_v. */
float *fam_training_dstate_key(const fam_training *t, float *all, int64_t block);

/* training_forward.c: makes again what the way back through a layer needs; first the projections of all tokens. */
void fam_training_project_again(fam_training *t, int64_t layer);
void fam_training_span_again(fam_training *t, int64_t layer, const fam_training_span *span);
void fam_training_prompt_again(fam_training *t, int64_t layer);

/* training_loss.c: everything after the last layer. */
fam_status fam_training_loss(fam_training *t, double *loss_sum, double *weight_sum, fam_error *error);
/* t->dx = d of the last layer's output. */
void fam_training_loss_back(fam_training *t, fam_gradients *gradients, double scale);

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

/* The seed of the noise that an update of a layer gets: element i of its [B F, E] is number i of that stream. */
static inline uint64_t fam_training_noise_seed(uint64_t seed, int64_t layer, int64_t update)
{
    return seed + ((uint64_t)layer << 40 | (uint64_t)update) * 0xd1342543de82ef95u;
}

#endif
