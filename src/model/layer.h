/*
 * model/layer.h: the two halves of a layer, for any rows that pass through it: tokens, state rows, and the learned
 * prompt use the same functions and the same weights.
 */
#ifndef FAM_MODEL_LAYER_H
#define FAM_MODEL_LAYER_H

#include "model/model.h"

/* Intermediate results for up to `capacity` rows. All on the device. */
typedef struct fam_rows_scratch {
    int64_t capacity;
    void *normed;              /* activations [n, E] */
    float *q, *k, *v;          /* [n, H D], [n, G D], [n, G D], before RoPE */
    void *rotated_q;           /* activations [n, H D] */
    void *attended;            /* activations [n, H D] */
    float *gate, *up;          /* [n, I] */
    void *gated;               /* activations [n, I] */
    void *lora;                /* activations [n, lora_rank_sum] */
} fam_rows_scratch;

/* cos and sin [n, D/2] on the device. */
typedef struct fam_rope_rows {
    const float *cos, *sin;
} fam_rope_rows;

uint64_t fam_rows_scratch_bytes(const fam_model *model, int64_t capacity);
fam_status fam_rows_scratch_create(fam_rows_scratch *out, const fam_model *model, int64_t capacity, fam_error *error);
void fam_rows_scratch_release(fam_rows_scratch *scratch, const fam_model *model);

/* Where keys and values of rows go, for `sequences` sequences with equally many rows each: those of sequence b begin
 * b * sequence_stride elements on. */
typedef struct fam_key_place {
    void *k, *v; /* activations */
    fam_head_layout layout;
    int64_t sequences, sequence_stride;
} fam_key_place;

/* Q, K, V of norm1(x), with RoPE: x [n, E] -> q activations [n, H D]; k, v where `place` says.
 * Tokens have the same positions as queries and as keys; state rows do not. */
void fam_layer_project(fam_exec *exec, const fam_model *model, const fam_layer *layer, fam_rows_scratch *scratch,
                       const float *x, int64_t n, fam_rope_rows q_rope, fam_rope_rows k_rope, void *q,
                       const fam_key_place *place);

/* x [n, E] becomes A = x + Wo attended; with_residual false: A = Wo attended. */
void fam_layer_add_attended(fam_exec *exec, const fam_layer *layer, fam_rows_scratch *scratch, float *x,
                            const void *attended, int64_t n, bool with_residual);
/* The feed-forward's halves: scratch->gate, scratch->up from x [n, E]; then out [n, E] (+)= FF. */
void fam_layer_gate_up(fam_exec *exec, const fam_model *model, const fam_layer *layer, fam_rows_scratch *scratch,
                       const float *x, int64_t n);
void fam_layer_down(fam_exec *exec, const fam_model *model, const fam_layer *layer, fam_rows_scratch *scratch,
                    float *out, int64_t n, bool accumulate);
/* x [n, E] becomes x + FF(norm2(x)). */
void fam_layer_add_feed_forward(fam_exec *exec, const fam_model *model, const fam_layer *layer,
                                fam_rows_scratch *scratch, float *x, int64_t n);
/* Both, one after the other. */
void fam_layer_finish(fam_exec *exec, const fam_model *model, const fam_layer *layer, fam_rows_scratch *scratch,
                      float *x, const void *attended, int64_t n, bool with_residual);

/* fam_backend_ops.prepare for all of a layer's projections. */
fam_status fam_layer_prepare(fam_exec *exec, const fam_layer *layer, int64_t n, fam_error *error);

/* The shape of the model's attention, and the layout of a token's or state row's query. */
fam_attention_shape fam_layer_attention_shape(const fam_model *model);

#endif
