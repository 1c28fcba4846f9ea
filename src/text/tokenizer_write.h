/*
 * text/tokenizer_write.h: a tokenizer in the files of the ecosystem: tokenizer.json, or the metadata of a GGUF file.
 *
 * What is written opens again to one that gives the same ids. What the other form has no words for is refused by name:
 * FAM_STATUS_UNSUPPORTED.
 */
#ifndef FAM_TEXT_TOKENIZER_WRITE_H
#define FAM_TEXT_TOKENIZER_WRITE_H

#include "text/tokenizer.h"

struct fam_gguf_writer;

/* Writes tokenizer.json and tokenizer_config.json (special tokens, chat template) into a directory. */
fam_status fam_tokenizer_write_json(const fam_tokenizer *tokenizer, fam_memory *memory, const char *directory,
                                    fam_error *error);

/* Puts the keys tokenizer.*; `rows` is the length of the model's embedding table: ids without a token get a name as
 * padding. */
fam_status fam_tokenizer_write_gguf(const fam_tokenizer *tokenizer, fam_memory *memory, struct fam_gguf_writer *writer,
                                    int64_t rows, fam_error *error);

#endif
