/*
 * model/workspace.h: the memory behind fam_workspace; private to forward.c and workspace.c.
 */
#ifndef FAM_MODEL_WORKSPACE_H
#define FAM_MODEL_WORKSPACE_H

#include "model/forward.h"
#include "model/layer.h"

struct fam_workspace {
    const fam_model *model;
    fam_exec *exec;
    int64_t span_max, updates_max; /* tokens, and state updates, of one span at the most */
    int64_t prepared_rows;         /* the last n that everything was prepared for */
    bool state_prepared;

    void *x;                       /* [span_max, E] float32: the residual stream */
    void *span_k, *span_v;         /* activations [G, span_max, D]: the span's own keys and values */
    fam_rows_scratch tokens;
    void *cos, *sin;               /* [span_max, D/2] */

    /* Mode fam. Slot 0 of the states that a span's blocks read is the timeline's; slot i + 1 follows update i. */
    fam_rows_scratch rows;
    void *slot_k, *slot_v;         /* activations [updates_max, G, F, D] */
    void *state_cos, *state_sin;   /* [updates_max + 2, F, D/2]: positions as keys of the blocks from the first on */

    void *logit_rows;              /* activations [FAM_LOGIT_ROWS_MAX, E] */
    void *logits;                  /* [FAM_LOGIT_ROWS_MAX, V] */
    void *hidden_row;              /* [E] float32 */
    float *probe_rows;             /* host [max(span_max, F), E], made when a probe first asks */

    double *positions;             /* host [max(span_max, (updates_max + 2) F)] */
    fam_attention_job *jobs;       /* host [pieces_max] */
    int64_t pieces_max;
    int64_t last_row;              /* of x: the newest token of the last span */
};

#endif
