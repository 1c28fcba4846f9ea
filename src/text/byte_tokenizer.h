/*
 * text/byte_tokenizer.h: writing the tokenizer of a model from nothing, as `tokenizers` and transformers read it.
 */
#ifndef FAM_TEXT_BYTE_TOKENIZER_H
#define FAM_TEXT_BYTE_TOKENIZER_H

#include "base/memory.h"

/* Ids of the byte tokenizer: a byte's value, and one more that ends a text. */
enum { FAM_BYTE_TOKENIZER_END = 256, FAM_BYTE_TOKENIZER_SIZE = 257 };

/* Writes tokenizer.json (byte-level BPE without merges: a token for each byte, and "<|endoftext|>") and
 * tokenizer_config.json into a directory that is there. IO, OUT_OF_MEMORY. */
fam_status fam_byte_tokenizer_write(const char *directory, fam_memory *memory, fam_error *error);

#endif
