/*
 * tests/support/token_list.h: ids gathered from a sink, for tests and fuzz targets of tokenizers.
 */
#ifndef TESTS_SUPPORT_TOKEN_LIST_H
#define TESTS_SUPPORT_TOKEN_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Released with token_list_free; a zeroed one is empty. Aborts when memory is short. */
typedef struct token_list {
    int32_t *ids;
    size_t count, capacity;
} token_list;

/* A fam_token_sink whose context is a token_list. */
static inline bool token_list_sink(void *context, const int32_t *ids, size_t count)
{
    token_list *list = context;
    if (list->capacity - list->count < count) {
        list->capacity = 2 * list->capacity + count + 64;
        list->ids = realloc(list->ids, list->capacity * sizeof *list->ids);
        if (!list->ids)
            abort();
    }
    memcpy(list->ids + list->count, ids, count * sizeof *ids);
    list->count += count;
    return true;
}

static inline bool token_list_equal(const token_list *a, const token_list *b)
{
    return a->count == b->count && (a->count == 0 || memcmp(a->ids, b->ids, a->count * sizeof *a->ids) == 0);
}

static inline void token_list_free(token_list *list)
{
    free(list->ids);
    *list = (token_list){NULL, 0, 0};
}

#endif
