/*
 * text/vocabulary.h: tokens by id and by text, and the alphabet of byte-level BPE.
 *
 * In a byte-level vocabulary every byte is written as one printable character: the 188 printable ones of Latin-1 as
 * themselves, the other 68 in order as U+0100, U+0101 and so on ("Ġ" is a space). Knows nothing of merges or files.
 */
#ifndef FAM_TEXT_VOCABULARY_H
#define FAM_TEXT_VOCABULARY_H

#include "base/memory.h"
#include "text/tokenizer.h"

enum { FAM_VOCABULARY_MAX = 1 << 24 };

typedef struct fam_token {
    const char *text;     /* as the file writes it; not NUL-terminated */
    const uint8_t *bytes; /* what it stands for in a text */
    uint32_t text_length, bytes_length;
    uint8_t kind;  /* fam_token_kind */
    bool in_model; /* the merging sees it; false for tokens that were only added */
} fam_token;

typedef struct fam_vocabulary {
    fam_memory *memory;
    fam_token *tokens; /* [size] */
    int32_t size;      /* ids are below it; an id may be without a token (kind NONE) */
    uint32_t *slots;   /* open addressing: id + 1, or 0 */
    size_t slot_mask;
    uint8_t *arena; /* texts and bytes of all tokens */
    size_t arena_used, arena_size;
} fam_vocabulary;

/* Room for ids below `size` and tokens whose texts have `text_bytes` together. */
fam_status fam_vocabulary_create(fam_vocabulary *out, fam_memory *memory, int32_t size, size_t text_bytes,
                                 fam_error *error);
void fam_vocabulary_destroy(fam_vocabulary *vocabulary);

/* Puts a token; the texts put must fit the room announced. Returns -1, or the id of another token that already has this
 * text, or `id` if the id is taken; then nothing is put. */
int32_t fam_vocabulary_put(fam_vocabulary *vocabulary, int32_t id, const char *text, size_t length, fam_token_kind kind,
                           bool in_model);

/* The id of a text, -1 if there is none. */
int32_t fam_vocabulary_find(const fam_vocabulary *vocabulary, const char *text, size_t length);
/* The same among the tokens that the merging sees. */
int32_t fam_vocabulary_find_in_model(const fam_vocabulary *vocabulary, const char *text, size_t length);

/* Writes the character that stands for `byte`, at most 2 bytes of UTF-8; returns its length. */
size_t fam_byte_level_encode(uint8_t byte, char out[2]);
/* Writes the bytes that `text` stands for (never more than `length`) and sets *size; false if a character is not of the
 * alphabet. */
bool fam_byte_level_decode(uint8_t *out, size_t *size, const char *text, size_t length);

#endif
