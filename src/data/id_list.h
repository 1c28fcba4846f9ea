/*
 * data/id_list.h: a list of token ids that grows, and texts that become ids at its end.
 */
#ifndef FAM_DATA_ID_LIST_H
#define FAM_DATA_ID_LIST_H

#include "base/memory.h"
#include "fam/tokenizer.h"

typedef struct fam_id_list {
    fam_memory *memory;
    int32_t *ids;
    size_t count, capacity;
    bool short_of_memory; /* why the sink stopped */
} fam_id_list;

/* The list is {.memory = memory} at first; `ids` is released with fam_free. */
fam_status fam_id_list_reserve(fam_id_list *list, size_t more, fam_error *error);
fam_status fam_id_list_put(fam_id_list *list, int32_t id, fam_error *error);

/* A fam_token_sink whose context is the list. */
bool fam_id_list_sink(void *list, const int32_t *ids, size_t count);

/* Puts the ids of a whole text behind those of the list. The encoder is between two texts, before and after; after a
 * failure too. INVALID_ARGUMENT: `strict`, and the vocabulary has no token for one of the bytes. */
fam_status fam_id_list_encode(fam_id_list *list, fam_encoder *encoder, const char *text, size_t size, bool strict,
                              fam_error *error);

#endif
