/*
 * format/names.c: see names.h. Names are bump-allocated from chunks; the table is open addressing, at most 2/3 full.
 */
#include "format/names.h"

#include <string.h>
#include <xxhash.h>

enum { CHUNK_BYTES = FAM_NAME_MAX + 1 };

struct fam_name_chunk {
    struct fam_name_chunk *next;
    size_t used;
    char text[CHUNK_BYTES];
};

struct fam_name_slot {
    const char *name; /* NULL: free */
    size_t index;
};

const char *fam_name_store_add(fam_name_store *store, const uint8_t *text, size_t length)
{
    struct fam_name_chunk *chunk = store->chunks;
    if (!chunk || sizeof chunk->text - chunk->used <= length) {
        chunk = fam_alloc(store->memory, sizeof *chunk);
        if (!chunk)
            return NULL;
        chunk->next = store->chunks;
        chunk->used = 0;
        store->chunks = chunk;
    }
    char *copy = chunk->text + chunk->used;
    memcpy(copy, text, length);
    copy[length] = '\0';
    chunk->used += length + 1;
    return copy;
}

void fam_name_store_free(fam_name_store *store)
{
    while (store->chunks) {
        struct fam_name_chunk *next = store->chunks->next;
        fam_free(store->memory, store->chunks);
        store->chunks = next;
    }
}

bool fam_name_table_init(fam_name_table *table, fam_memory *memory, size_t count, uint64_t seed)
{
    size_t capacity = 2;
    while (capacity < count + count / 2 + 1)
        capacity *= 2;
    struct fam_name_slot *slots = fam_alloc_array(memory, capacity, sizeof *slots);
    if (!slots)
        return false;
    *table = (fam_name_table){.slots = slots, .mask = capacity - 1, .seed = seed};
    return true;
}

void fam_name_table_free(fam_name_table *table, fam_memory *memory)
{
    fam_free(memory, table->slots);
    *table = (fam_name_table){0};
}

/* The slot that holds `name`, or the free one where it belongs. */
static struct fam_name_slot *slot_of(const fam_name_table *table, const char *name)
{
    size_t at = (size_t)XXH3_64bits_withSeed(name, strlen(name), table->seed) & table->mask;
    while (table->slots[at].name && strcmp(table->slots[at].name, name) != 0)
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

bool fam_name_table_add(fam_name_table *table, const char *name, size_t index)
{
    struct fam_name_slot *slot = slot_of(table, name);
    if (slot->name)
        return false;
    *slot = (struct fam_name_slot){.name = name, .index = index};
    return true;
}

bool fam_name_table_find(const fam_name_table *table, const char *name, size_t *index)
{
    const struct fam_name_slot *slot = slot_of(table, name);
    if (!slot->name)
        return false;
    *index = slot->index;
    return true;
}
