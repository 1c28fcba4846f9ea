/*
 * text/tokenizer_private.h: what a tokenizer is made of; for the files of this room that build and run one.
 */
#ifndef FAM_TEXT_TOKENIZER_PRIVATE_H
#define FAM_TEXT_TOKENIZER_PRIVATE_H

#include "text/added.h"
#include "text/bpe.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

enum { FAM_END_IDS_MAX = 16, FAM_ADDED_PASSES = 2 };

struct fam_tokenizer {
    fam_memory *memory;
    bool owns_memory; /* `memory` is from malloc and goes with the tokenizer */
    char *name;       /* the file, for messages */
    fam_vocabulary vocabulary;
    fam_merges merges;
    fam_split splits[FAM_SPLITS_MAX];
    size_t split_count;
    /* Added tokens are found in two passes, those marked "normalized" in the second, as the package does. */
    fam_added_set added[FAM_ADDED_PASSES];
    int32_t byte_ids[256]; /* -1: the vocabulary lacks the byte */
    int32_t unknown;       /* what stands for such a byte; -1: nothing does */
    bool fuse_unknown;     /* one for a run of them */
    bool ignore_merges;    /* a word that is a token is that token, whatever the merges say */
    size_t longest;        /* bytes of the longest token */
    int32_t bos, eos, eot;
    bool add_bos;
    int32_t end_ids[FAM_END_IDS_MAX];
    size_t end_id_count;
    char *chat_template; /* NULL if there is none */
    uint64_t fingerprint;
};

/* An empty tokenizer: ids -1, nothing allocated but the name. */
fam_status fam_tokenizer_begin(fam_tokenizer **out, fam_memory *memory, const char *name, fam_error *error);
/* When vocabulary, merges and splits are in place: fills byte_ids, added sets from the vocabulary's kinds (those whose
 * id is marked in `second_pass`, may be NULL, into the second), end ids, fingerprint. */
fam_status fam_tokenizer_complete(fam_tokenizer *tokenizer, const bool *second_pass, fam_error *error);
/* Checks bos, eos and eot, and gathers the end ids anew; for a reader that learns them late. */
fam_status fam_tokenizer_complete_ids(fam_tokenizer *tokenizer, fam_error *error);
/* Resolves and puts merge number `rank`; `where` names the merges in messages. */
fam_status fam_tokenizer_put_merge(fam_tokenizer *tokenizer, const char *where, uint32_t rank, const char *left,
                                   size_t left_length, const char *right, size_t right_length, fam_error *error);

/* Makes `split`, whose behavior is set, one by a regular expression (`literal`: by a plain string), and mixes the pattern
 * into the fingerprint. A pattern that is FAM_PATTERN_GPT2 becomes the split that needs no PCRE2. */
fam_status fam_tokenizer_put_pattern(fam_tokenizer *tokenizer, const char *where, const char *pattern, bool literal,
                                     fam_split *split, fam_error *error);
#define FAM_PATTERN_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define FAM_PATTERN_LLAMA3                                                                                             \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"          \
    "\\s+(?!\\S)|\\s+"

/* "[PAD7]": what GGUF files call an id that has no token. */
enum { FAM_PADDING_NAME_SIZE = 24 };
size_t fam_tokenizer_padding_name(char out[FAM_PADDING_NAME_SIZE], int64_t id);

/* INVALID_ARGUMENT: the id has no token. */
fam_status fam_tokenizer_bad_id(const fam_tokenizer *tokenizer, int32_t id, fam_error *error);

#endif
