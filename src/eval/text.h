/*
 * eval/text.h: documents as ids, cut into pieces that do not overlap, in an order drawn from a seed.
 *
 * All ids are held in memory, 4 bytes a token: about a byte for each byte of text.
 */
#ifndef FAM_EVAL_TEXT_H
#define FAM_EVAL_TEXT_H

#include "base/memory.h"
#include "fam/tokenizer.h"

typedef struct fam_eval_text {
    fam_memory *memory;
    int32_t bos;         /* at the beginning of a piece; -1: none */
    int32_t *ids;        /* of all documents, one after another */
    size_t count, room;
    size_t *ends;        /* of each document, in ids */
    size_t document_count;
} fam_eval_text;

/* Reads the files. NOT_FOUND, IO, OUT_OF_MEMORY. */
fam_status fam_eval_text_open(fam_eval_text *out, fam_memory *memory, const char *const *files, size_t count,
                              const fam_tokenizer *tokenizer, fam_error *error);
void fam_eval_text_release(fam_eval_text *text);

/* The pieces of `length` tokens (the one for the beginning of text counted): where each begins in ids, in the order in
 * which they are drawn. *starts is released with fam_free. A text without one: INVALID_ARGUMENT. */
fam_status fam_eval_text_pieces(int64_t **starts, int64_t *count, const fam_eval_text *text, int64_t length,
                                uint64_t seed, fam_error *error);

#endif
