/*
 * text/pretokenize.h: text in pieces of any size becomes words, which BPE then merges one by one.
 *
 * A pre-tokenizer is a row of splits; each cuts every piece that the one before it made. A split holds text back only
 * until more text cannot change where it cuts, so the words do not depend on how the text was fed. Knows no tokens.
 */
#ifndef FAM_TEXT_PRETOKENIZE_H
#define FAM_TEXT_PRETOKENIZE_H

#include "base/memory.h"
#include "text/regex.h"

typedef enum fam_split_kind {
    FAM_SPLIT_NOTHING, /* cuts nothing; used for its add_prefix_space */
    FAM_SPLIT_GPT2,    /* the regular expression of GPT-2, by gpt2_match.c */
    FAM_SPLIT_DIGITS,  /* characters that are numeric */
    FAM_SPLIT_REGEX
} fam_split_kind;

/* What becomes of the matches; names and meaning are those of tokenizer.json. */
typedef enum fam_split_behavior {
    FAM_SPLIT_ISOLATED,
    FAM_SPLIT_REMOVED,
    FAM_SPLIT_CONTIGUOUS,
    FAM_SPLIT_MERGED_WITH_PREVIOUS,
    FAM_SPLIT_MERGED_WITH_NEXT
} fam_split_behavior;

typedef struct fam_split {
    fam_split_kind kind;
    fam_split_behavior behavior;
    bool invert;           /* what does not match counts as the match */
    bool add_prefix_space; /* a piece that does not begin with a space gets one */
    bool llama3;           /* the regular expression is that of Llama 3 */
    fam_regex *regex;      /* of FAM_SPLIT_REGEX; owned by whoever owns the split */
} fam_split;

enum { FAM_SPLITS_MAX = 16 };

/* Takes a word: `offset` is where its first byte lies in the text (one less when a space was put before it). */
typedef fam_status fam_word_sink(void *context, const uint8_t *word, size_t size, int64_t offset, fam_error *error);

typedef struct fam_pretokenizer fam_pretokenizer;

/* `splits` outlives the pretokenizer. */
fam_status fam_pretokenizer_create(fam_pretokenizer **out, fam_memory *memory, const fam_split *splits, size_t count,
                                   fam_word_sink *sink, void *sink_context, fam_error *error);
void fam_pretokenizer_free(fam_pretokenizer *pretokenizer); /* NULL is allowed */

/* Goes on with the text; `offset` is that of text[0]. With `end` the text ends here, and the next call begins another.
 * After a failure only fam_pretokenizer_reset and _free may follow. */
fam_status fam_pretokenizer_push(fam_pretokenizer *pretokenizer, const uint8_t *text, size_t size, int64_t offset,
                                 bool end, fam_error *error);
void fam_pretokenizer_reset(fam_pretokenizer *pretokenizer); /* forgets what is held back */

/* How many bytes are held back now. */
size_t fam_pretokenizer_held(const fam_pretokenizer *pretokenizer);

/* The length of the word at the front of text (size > 0) by GPT-2's
 * 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ ; 0 when that depends on more text, never
 * with `final`. Without `final` the text does not end within a character. */
size_t fam_gpt2_match(const uint8_t *text, size_t size, bool final);

#endif
