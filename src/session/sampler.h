/*
 * session/sampler.h: the next token from logits: bias, penalties, temperature, top-k, top-p, min-p, a draw.
 *
 * Knows no model. Owns the random numbers and the record of recent tokens that penalties need, and can write all of that
 * into bytes and take it back.
 */
#ifndef FAM_SESSION_SAMPLER_H
#define FAM_SESSION_SAMPLER_H

#include "base/memory.h"
#include "fam/fam.h"

typedef struct fam_sampler fam_sampler;

/* Greedy, seed 0. All memory is allocated here. */
fam_status fam_sampler_create(fam_sampler **out, fam_memory *memory, int64_t vocab_size, fam_error *error);
void fam_sampler_free(fam_sampler *sampler); /* NULL is allowed */
/* Everything that `from` holds; both have the same vocabulary. */
fam_status fam_sampler_copy(fam_sampler *to, const fam_sampler *from, fam_error *error);

/* Checks and takes the settings and reseeds. On failure the sampler is as it was. */
fam_status fam_sampler_set(fam_sampler *sampler, const fam_sampling *sampling, fam_error *error);

/* An id that is never drawn. */
void fam_sampler_forbid(fam_sampler *sampler, int32_t token);

/* Forgets all tokens and reseeds (a new stream). */
void fam_sampler_reset(fam_sampler *sampler);
/* Tells of a token that the session has read, or generated. */
void fam_sampler_saw(fam_sampler *sampler, int32_t token);
void fam_sampler_generated(fam_sampler *sampler, int32_t token);
/* A feed of the caller begins: presence and frequency count from here. */
void fam_sampler_begin_feed(fam_sampler *sampler);

/* Draws a token from logits [V]. FAM_STATUS_FAILED if no logit is finite or one is NaN. */
fam_status fam_sampler_draw(fam_sampler *sampler, int32_t *token, const float *logits, fam_error *error);

/* Bytes that pack writes; unpack verifies all before it changes anything. */
size_t fam_sampler_packed_bytes(const fam_sampler *sampler);
void fam_sampler_pack(const fam_sampler *sampler, uint8_t *out);
fam_status fam_sampler_unpack(fam_sampler *sampler, const char *name, const uint8_t *data, size_t size,
                              fam_error *error);

#endif
