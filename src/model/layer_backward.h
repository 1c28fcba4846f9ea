/*
 * model/layer_backward.h: what flows back through the two halves of a layer, for any rows: the counterpart of layer.h,
 * function by function.
 */
#ifndef FAM_MODEL_LAYER_BACKWARD_H
#define FAM_MODEL_LAYER_BACKWARD_H

#include "model/gradients.h"
#include "model/layer.h"

/* Room for some rows' intermediate results; on the device. Activations are made again where that is cheap. */
typedef struct fam_rows_backward {
    void *normed, *gated, *lora; /* activations [n, E], [n, I], [n, lora_rank_sum] */
    float *dnormed, *dgated;     /* [n, E], [n, I] */
    float *dgate, *dup;          /* [n, I] */
    float *dlora;                /* [n, lora_rank_sum] */
} fam_rows_backward;

/* Counterpart of fam_layer_add_feed_forward: dx [n, E] (d of the result) becomes d of x. mid [n, E] is x as it went in;
 * gate, up [n, I] as they were. */
void fam_layer_feed_forward_backward(fam_exec *exec, const fam_model *model, int64_t layer, fam_gradients *gradients,
                                     const fam_rows_backward *scratch, float *dx, const float *mid, const float *gate,
                                     const float *up, int64_t n);

/* Counterpart of fam_layer_add_attended, but for the residual: dattended [n, H D] (overwritten) from dx [n, E]. */
void fam_layer_attended_backward(fam_exec *exec, const fam_model *model, int64_t layer, fam_gradients *gradients,
                                 const fam_rows_backward *scratch, float *dattended, const float *dx,
                                 const void *attended, int64_t n);

/* Counterpart of fam_layer_project: dx [n, E] += d of x [n, E], from dq [n, H D], dk, dv [n, G D], already rotated
 * back. dx NULL: only the weights' gradients are wanted. */
void fam_layer_project_backward(fam_exec *exec, const fam_model *model, int64_t layer, fam_gradients *gradients,
                                const fam_rows_backward *scratch, float *dx, const float *x, const float *dq,
                                const float *dk, const float *dv, int64_t n);

/* prepare_backward for all of a layer's projections. */
fam_status fam_layer_prepare_backward(fam_exec *exec, const fam_layer *layer, int64_t n, fam_error *error);

#endif
