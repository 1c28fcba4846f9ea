/*
 * text/stop.h: finds the first of several strings in a text that comes in pieces, and holds back what may be the
 * beginning of one, so that nothing of a stop string is ever shown. Strings are bytes. Belongs to one thread.
 */
#ifndef FAM_TEXT_STOP_H
#define FAM_TEXT_STOP_H

#include "base/memory.h"

typedef struct fam_stop fam_stop;

enum { FAM_STOP_STRINGS_MAX = 1024, FAM_STOP_BYTES_MAX = 1 << 16 /* of all together */ };

/* `strings` [count], NUL-terminated, copied; count may be 0. INVALID_ARGUMENT: an empty string, more than the limits.
 */
fam_status fam_stop_create(fam_stop **out, fam_memory *memory, const char *const *strings, size_t count,
                           fam_error *error);
void fam_stop_free(fam_stop *stop); /* NULL is allowed */

/* Adds text. *ready (valid until the next call) is what can be shown now; *found: a string was found and *ready ends
 * where it begins; what follows it is dropped, and later text too, until a reset. Of strings that end at the same byte
 * the longest is meant. Allocates only when a piece is longer than all before. Linear in text times strings. */
fam_status fam_stop_feed(fam_stop *stop, const char *text, size_t size, const char **ready, size_t *ready_size,
                         bool *found, fam_error *error);
/* The text is over: what was held back. Begins anew. */
void fam_stop_finish(fam_stop *stop, const char **ready, size_t *ready_size);
void fam_stop_reset(fam_stop *stop);
/* Which string was found; -1: none yet. */
int64_t fam_stop_which(const fam_stop *stop);

#endif
