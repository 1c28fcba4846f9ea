/*
 * session/open_tokenizer.h: the tokenizer that belongs to a model.
 */
#ifndef FAM_SESSION_OPEN_TOKENIZER_H
#define FAM_SESSION_OPEN_TOKENIZER_H

#include "fam/tokenizer.h"
#include "format/checkpoint.h"

/* The tokenizer of an open model; *out is NULL if it has none or one that is not supported (which `warn` is told). Fails
 * on a damaged one, and when memory is short. */
fam_status fam_open_engine_tokenizer(fam_tokenizer **out, fam_memory *memory, const fam_checkpoint *checkpoint,
                                     void (*warn)(void *context, const char *line), void *warn_context,
                                     fam_error *error);

/* Binds a session to it; all zero for NULL. */
void fam_tokenizer_fingerprint_bytes(const fam_tokenizer *tokenizer, uint8_t out[16]);

#endif
