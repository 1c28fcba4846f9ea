/*
 * text/added.c: see added.h. At each place where a token may begin, the range of sorted tokens that still fit is
 * narrowed byte by byte.
 */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    const fam_added_token *x = a, *y = b;
    uint32_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, shorter);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

void fam_added_set_prepare(fam_added_set *set)
{
    if (set->count)
        qsort(set->tokens, set->count, sizeof *set->tokens, compare);
    for (size_t i = 0; i < set->count; i++) {
        set->first[(uint8_t)set->tokens[i].text[0]] = true;
        set->any_plain |= !set->tokens[i].special;
    }
}

/* The first token of [low, high), all alike in their first `depth` bytes, whose next byte is at least `byte`; a token
 * that ends there sorts first. */
static size_t lower_bound(const fam_added_set *set, size_t low, size_t high, uint32_t depth, int byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const fam_added_token *token = &set->tokens[middle];
        int next = token->length > depth ? (uint8_t)token->text[depth] : -1;
        if (next < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token at the front of text; NULL if none. *more: a longer one may follow when more text comes. */
static const fam_added_token *match(const fam_added_set *set, const uint8_t *text, size_t size, bool *more)
{
    const fam_added_token *longest = NULL;
    size_t low = 0, high = set->count;
    *more = false;
    for (uint32_t depth = 0; low < high; depth++) {
        if (set->tokens[low].length == depth)
            longest = &set->tokens[low++];
        if (low == high)
            break;
        if (depth == size) {
            *more = true;
            break;
        }
        size_t begin = lower_bound(set, low, high, depth, text[depth]);
        high = lower_bound(set, begin, high, depth, text[depth] + 1);
        low = begin;
    }
    return longest;
}

fam_added_found fam_added_set_find(const fam_added_set *set, const uint8_t *text, size_t from, size_t size, bool final,
                                   size_t *start, const fam_added_token **token)
{
    for (size_t at = from; at < size; at++) {
        if (!set->first[text[at]])
            continue;
        bool more;
        *token = match(set, text + at, size - at, &more);
        *start = at;
        if (more && !final)
            return FAM_ADDED_MORE;
        if (*token)
            return FAM_ADDED_FOUND;
    }
    return FAM_ADDED_NONE;
}
