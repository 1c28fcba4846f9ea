/*
 * tests/support/token_list.h: ids gathered from a sink, for tests of tokenizers.
 */
#ifndef TESTS_SUPPORT_TOKEN_LIST_H
#define TESTS_SUPPORT_TOKEN_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Released with token_list_free; a zeroed one is empty. Aborts when memory is short. */
typedef struct token_list {
    int32_t *ids;
    size_t count, capacity;
} token_list;

/* A fam_token_sink whose context is a token_list. */
bool token_list_sink(void *list, const int32_t *ids, size_t count);
bool token_list_equal(const token_list *a, const token_list *b);
void token_list_free(token_list *list);

#endif
