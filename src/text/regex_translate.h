/*
 * text/regex_translate.h: a pattern in Oniguruma's Ruby syntax as one for PCRE2 (used by regex.c alone).
 */
#ifndef FAM_TEXT_REGEX_TRANSLATE_H
#define FAM_TEXT_REGEX_TRANSLATE_H

#include "base/memory.h"

/* *out is released with fam_free; *line_start: it asks for the beginning of a line. UNSUPPORTED names the first
 * construct whose meaning may differ. */
fam_status fam_regex_translate(char **out, size_t *out_length, bool *line_start, fam_memory *memory, const char *where,
                               const char *pattern, size_t length, fam_error *error);

#endif
