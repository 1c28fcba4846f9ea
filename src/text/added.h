/*
 * text/added.h: finding added tokens (special ones, and others that go before merging) in a text: leftmost, then
 * longest.
 */
#ifndef FAM_TEXT_ADDED_H
#define FAM_TEXT_ADDED_H

#include "base/memory.h"

enum { FAM_ADDED_BYTES_MAX = 256 }; /* the longest text of an added token */

typedef struct fam_added_token {
    const char *text; /* belongs to the vocabulary */
    uint32_t length;
    int32_t id;
    bool special;
} fam_added_token;

/* The tokens of one pass, sorted by bytes. Immutable once sorted. */
typedef struct fam_added_set {
    fam_added_token *tokens;
    size_t count;
    bool any_plain; /* one that is not special */
    bool first[256];
} fam_added_set;

/* Sorts the tokens, whose texts differ, and fills what depends on them. */
void fam_added_set_prepare(fam_added_set *set);

typedef enum fam_added_found {
    FAM_ADDED_FOUND, /* *token at *start */
    FAM_ADDED_NONE,
    FAM_ADDED_MORE /* what begins at *start depends on more text */
} fam_added_found;

/* The first token in text[from .. size); `final`: no more text follows. */
fam_added_found fam_added_set_find(const fam_added_set *set, const uint8_t *text, size_t from, size_t size, bool final,
                                   size_t *start, const fam_added_token **token);

#endif
