/*
 * base/options.h: options structs of the public API, which begin with their size, so that they can grow.
 */
#ifndef FAM_BASE_OPTIONS_H
#define FAM_BASE_OPTIONS_H

#include <stddef.h>

#include "base/error.h"

/* Copies an options struct of a caller that may have been built against another header: members that its size does not
 * cover keep their defaults (already in `into`). A size of 0 or larger than ours: INVALID_ARGUMENT. */
fam_status fam_options_copy(void *into, size_t size, const void *from, size_t from_size, const char *what,
                            fam_error *error);

/* The other way: writes defaults into a caller's struct of `into_size` bytes, and its size. */
void fam_options_give(void *into, size_t into_size, const void *defaults, size_t size);

#endif
