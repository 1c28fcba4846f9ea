/*
 * model/forward.h: reading a span: a run of consecutive tokens of one stream, which may begin and end anywhere in a
 * block. A decode step is a span of one token, a long prompt is cut into spans of many blocks; the layer is written once,
 * for a span (spec section 9: block-major and layer-major are only the span's length).
 */
#ifndef FAM_MODEL_FORWARD_H
#define FAM_MODEL_FORWARD_H

#include "model/timeline.h"

/* Intermediate results of one execution; made once, for spans of up to span_max tokens. */
typedef struct fam_workspace fam_workspace;

/* Bytes that a workspace takes, known before anything is allocated. */
uint64_t fam_workspace_bytes(const fam_model *model, int64_t span_max);
fam_status fam_workspace_create(fam_workspace **out, const fam_model *model, int64_t span_max, fam_error *error);
void fam_workspace_free(fam_workspace *workspace); /* NULL is allowed */

/* Told of intermediate results; for tests and tools. Host memory, valid during the call; members may be NULL. */
typedef struct fam_probe {
    /* hidden [n, E] after `layer` layers (0: the embeddings; the final norm is not applied), for tokens start ... */
    void (*hidden)(void *context, int64_t layer, int64_t start, const float *hidden, int64_t n);
    /* state [F, E] of a layer after complete block `block`. */
    void (*state)(void *context, int64_t block, int64_t layer, const float *state);
    void *context;
} fam_probe;

/* Puts a timeline at its start: position 0, and in mode fam the learned first states, or start_state [L, F, E] (host
 * memory), which is used as it is and makes the first update one with residual. Makes the state's projections. */
fam_status fam_forward_begin(fam_workspace *workspace, fam_timeline *timeline, const float *start_state,
                             fam_error *error);

/* Makes the state's queries, keys and values from the state and the position: after begin or a restore. */
fam_status fam_forward_project_state(fam_workspace *workspace, fam_timeline *timeline, fam_error *error);

/* Reads tokens [n] (n <= span_max and <= the timeline's room; ids below V). Hidden states of the last layer are made for
 * the newest `wanted` tokens only (1 to n): see fam_forward_logits. All memory is made beforehand, so that a failure
 * leaves the timeline as it was, but for a lost device. probe may be NULL. */
fam_status fam_forward_span(fam_workspace *workspace, fam_timeline *timeline, const int32_t *tokens, int64_t n,
                            int64_t wanted, const fam_probe *probe, fam_error *error);

/* The last layer's output for the newest token of the last span: [E] float32 on the device. */
const float *fam_forward_last_hidden(const fam_workspace *workspace);

/* nll [rows] (host): minus the log-probability of targets [rows], predicted by rows of the last span's output, counted
 * from its first token; only the newest `wanted` rows are there. rows <= FAM_LOGIT_ROWS_MAX. */
enum { FAM_LOGIT_ROWS_MAX = 32 };
fam_status fam_forward_nll(fam_workspace *workspace, double *nll, const int32_t *targets, int64_t first_row,
                           int64_t rows, fam_error *error);
/* Makes everything that the nll of a span's rows needs, so that it cannot fail for want of memory afterwards. */
fam_status fam_forward_prepare_nll(fam_workspace *workspace, int64_t rows, fam_error *error);
/* logits [V] (host) of one hidden state [E] (host). */
fam_status fam_forward_logits_of(fam_workspace *workspace, float *logits, const float *hidden, fam_error *error);
/* The same for the nll of one target. */
fam_status fam_forward_nll_of(fam_workspace *workspace, double *nll, int32_t target, const float *hidden,
                              fam_error *error);

#endif
