/*
 * text/chat_template.h: whether two Jinja chat templates say the same, as far as spelling goes.
 *
 * Templates are never run. They are brought into one spelling (blanks, quotes, escapes, trimmed lines, message.role or
 * message['role'], text between tags or in an expression) and compared with known ones.
 */
#ifndef FAM_TEXT_CHAT_TEMPLATE_H
#define FAM_TEXT_CHAT_TEMPLATE_H

#include "base/memory.h"

enum { FAM_CHAT_TEMPLATE_BYTES_MAX = 1 << 16 };

/* Stands in a known template for any text within one string. */
#define FAM_CHAT_HOLE "\x03"

/* *out (NUL-terminated, released with fam_free): the template in the one spelling; NULL with FAM_OK if it is longer
 * than the limit, holds control characters or has a tag without its end, which no known template does. */
fam_status fam_chat_template_normalize(char **out, fam_memory *memory, const char *text, size_t length,
                                       fam_error *error);

/* Whether `text` equals `known`, both in the one spelling; what stands in its hole (at most one) lies at *hole. */
bool fam_chat_template_match(const char *text, const char *known, const char **hole, size_t *hole_length);

#endif
