/*
 * model/timeline.h: what a stream has read, as the model needs it to go on: position, the ring of recent keys and values,
 * and the feedback state. Its size does not depend on how much was read.
 */
#ifndef FAM_MODEL_TIMELINE_H
#define FAM_MODEL_TIMELINE_H

#include "model/model.h"

typedef struct fam_timeline {
    const fam_model *model;
    int64_t position;  /* tokens read */
    bool torn;         /* an operator failed on the way: only fam_forward_begin mends it, or a restore */
    int64_t offset;    /* added to every position for RoPE */
    int64_t ring_rows; /* R: token t lies in row t mod R */
    void *ring_k, *ring_v; /* activations [L, G, R, D] */

    /* Mode fam. The state's queries, keys and values are those that the present block uses. */
    bool with_residual; /* the next update adds the state before (false only before the first from the learned start) */
    float *state;       /* [L, F, E] */
    void *state_q;      /* activations [L, F, H D] */
    void *state_k, *state_v; /* activations [L, G, F, D] */
} fam_timeline;

/* Bytes on the device, known before anything is allocated. */
uint64_t fam_timeline_ring_bytes(const fam_model *model, int64_t ring_rows);
uint64_t fam_timeline_state_bytes(const fam_model *model);

/* context: rows of the cache in mode full; else not used. Empty until fam_forward_begin. */
fam_status fam_timeline_create(fam_timeline **out, const fam_model *model, int64_t context, int64_t offset,
                               fam_error *error);
void fam_timeline_free(fam_timeline *timeline); /* NULL is allowed */
/* Everything that `from` holds; both were created with the same arguments. */
void fam_timeline_copy(fam_timeline *to, const fam_timeline *from);

/* The most tokens that may still be read: in mode full what the ring has room for; offset plus index stays at most
 * FAM_POSITION_MAX. */
int64_t fam_timeline_room(const fam_timeline *timeline);

/* Start of layer l's part of a ring or state buffer. */
void *fam_timeline_ring_layer(const fam_timeline *timeline, void *ring, int64_t layer);

/* Device memory that a saved session holds, in a fixed order: the state, then per layer and head the visible rows of the
 * ring, oldest first. A visitor gets each run of bytes; what it writes there is taken over. */
typedef fam_status fam_timeline_visitor(void *context, void *device, size_t bytes, fam_error *error);
fam_status fam_timeline_visit(fam_timeline *timeline, fam_timeline_visitor *state_visitor,
                              fam_timeline_visitor *ring_visitor, void *context, fam_error *error);

#endif
