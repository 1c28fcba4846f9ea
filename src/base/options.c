/*
 * base/options.c: see options.h.
 */
#include "base/options.h"

#include <string.h>

void fam_options_give(void *into, size_t into_size, const void *defaults, size_t size)
{
    memset(into, 0, into_size); /* a larger struct is of a newer header, whose members this library does not know */
    memcpy(into, defaults, into_size < size ? into_size : size);
    memcpy(into, &into_size, sizeof into_size); /* every options struct begins with its size */
}

fam_status fam_options_copy(void *into, size_t size, const void *from, size_t from_size, const char *what,
                            fam_error *error)
{
    if (from_size < sizeof(size_t) || from_size > size)
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                             "%s: size: found %zu, need %zu (set it with the struct's _init function)", what, from_size,
                             size);
    memcpy(into, from, from_size);
    return FAM_OK;
}
