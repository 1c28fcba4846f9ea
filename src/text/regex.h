/*
 * text/regex.h: the regular expressions of tokenizer.json files, run by PCRE2.
 *
 * The files are written for Oniguruma (Ruby syntax) with the Unicode tables of the `tokenizers` package. Constructs
 * that mean the same in both pass, those with another meaning are translated or refused by name, so that a pattern that
 * loads splits the same way. A match takes a bounded number of steps.
 */
#ifndef FAM_TEXT_REGEX_H
#define FAM_TEXT_REGEX_H

#include "base/memory.h"

/* A compiled pattern, immutable: threads may share it, each with a scratch of its own. */
typedef struct fam_regex fam_regex;
typedef struct fam_regex_scratch fam_regex_scratch;

/* `literal`: the pattern is a plain string. `where` names file and key in messages. BAD_FORMAT: not a regular
 * expression, or one that matches the empty string; UNSUPPORTED: a construct that is not known to mean the same. */
fam_status fam_regex_compile(fam_regex **out, fam_memory *memory, const char *where, const char *pattern, size_t length,
                             bool literal, fam_error *error);
void fam_regex_free(fam_regex *regex); /* NULL is allowed */

/* Whether a match may depend on text before it (look-behind, ^, ...). */
bool fam_regex_looks_behind(const fam_regex *regex);

fam_status fam_regex_scratch_create(fam_regex_scratch **out, fam_memory *memory, const fam_regex *regex,
                                    fam_error *error);
void fam_regex_scratch_free(fam_regex_scratch *scratch); /* NULL is allowed */

typedef enum fam_found {
    FAM_FOUND,      /* [*start, *end), whatever text follows */
    FAM_FOUND_NONE, /* no match begins before the end of the text */
    FAM_FOUND_MORE  /* no match begins before *start; what begins there depends on more text */
} fam_found;

/* The first match in text[from .. size), which is valid UTF-8. With `final` no more text follows, and MORE is never the
 * answer. FAM_STATUS_UNSUPPORTED when the step limit is reached. */
fam_status fam_regex_find(fam_found *found, size_t *start, size_t *end, const fam_regex *regex,
                          fam_regex_scratch *scratch, const uint8_t *text, size_t from, size_t size, bool final,
                          fam_error *error);

#endif
