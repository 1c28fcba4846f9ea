/*
 * format/names.h: copies of names that a file holds, and a hash from a name to its place in a table.
 *
 * Knows no file format. Names are NUL-terminated; both kinds of object take their memory from a fam_memory and are not
 * thread-safe while they are filled. The hash is seeded, so that a file cannot be made whose names all collide.
 */
#ifndef FAM_FORMAT_NAMES_H
#define FAM_FORMAT_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

enum { FAM_NAME_MAX = 65535 }; /* bytes of one name, without the NUL */

/* Many small strings with one lifetime. Begin with a zeroed one whose memory is set. */
typedef struct fam_name_store {
    fam_memory *memory;
    struct fam_name_chunk *chunks;
} fam_name_store;

/* A copy of `length` bytes (at most FAM_NAME_MAX) with a NUL after them; NULL when memory is short. */
const char *fam_name_store_add(fam_name_store *store, const uint8_t *text, size_t length);
void fam_name_store_free(fam_name_store *store);

/* From name to index. The names stay the caller's and must live as long as the table. A zeroed one may be freed, and
 * must be initialised before anything else. */
typedef struct fam_name_table {
    struct fam_name_slot *slots;
    size_t mask;
    uint64_t seed;
} fam_name_table;

/* Room for `count` names (below 2^31); false when memory is short. */
bool fam_name_table_init(fam_name_table *table, fam_memory *memory, size_t count, uint64_t seed);
void fam_name_table_free(fam_name_table *table, fam_memory *memory);

/* False, and nothing is changed, if the name is there already. */
bool fam_name_table_add(fam_name_table *table, const char *name, size_t index);
/* False, and *index untouched, if the name is not there. */
bool fam_name_table_find(const fam_name_table *table, const char *name, size_t *index);

#endif
