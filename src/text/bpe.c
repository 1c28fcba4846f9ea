/*
 * text/bpe.c: see bpe.h. Short words, nearly all, by looking for the best pair again and again; long ones by a heap of
 * pairs over a linked list of symbols. Both give the same.
 */
#include "text/bpe.h"

#include <string.h>

enum {
    SHORT_WORD = 48,        /* symbols; above it the heap is faster */
    KEPT_SYMBOLS = 1 << 14, /* work space that is kept for the next word */
    HEAP_ARITY = 4
};

#define NO_SYMBOL UINT32_MAX

/* A symbol of a long word; one that was merged into its left neighbour has id -1. */
typedef struct fam_bpe_symbol {
    int32_t id;
    uint32_t previous, next;
} fam_bpe_symbol;

fam_status fam_merges_create(fam_merges *out, fam_memory *memory, size_t count, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t slots = 16;
    while (slots / 2 < count)
        slots *= 2;
    *out = (fam_merges){.memory = memory, .mask = slots - 1};
    FAM_TRY_ALLOC(out->slots, fam_alloc_array(memory, slots, sizeof *out->slots), "merges");
    for (size_t i = 0; i < slots; i++)
        out->slots[i].id = -1;
done:
    return status;
}

void fam_merges_destroy(fam_merges *merges)
{
    fam_free(merges->memory, merges->slots);
    merges->slots = NULL;
}

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static fam_merge *slot_of(const fam_merges *merges, uint64_t pair)
{
    uint64_t hash = pair * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
    size_t at = (size_t)hash & merges->mask;
    while (merges->slots[at].id >= 0 && merges->slots[at].pair != pair)
        at = (at + 1) & merges->mask;
    return &merges->slots[at];
}

void fam_merges_put(fam_merges *merges, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    uint64_t pair = pair_of(left, right);
    fam_merge *slot = slot_of(merges, pair);
    merges->count += slot->id < 0;
    *slot = (fam_merge){.pair = pair, .rank = rank, .id = id};
}

const fam_merge *fam_merges_find(const fam_merges *merges, int32_t left, int32_t right)
{
    const fam_merge *slot = slot_of(merges, pair_of(left, right));
    return slot->id >= 0 ? slot : NULL;
}

static size_t merge_short(const fam_merges *merges, int32_t *ids, size_t count)
{
    const fam_merge *pairs[SHORT_WORD]; /* pairs[i]: the merge of symbols i and i + 1 */
    for (size_t i = 0; i + 1 < count; i++)
        pairs[i] = fam_merges_find(merges, ids[i], ids[i + 1]);
    while (count > 1) {
        size_t best = count;
        uint32_t rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < count; i++)
            if (pairs[i] && pairs[i]->rank < rank) {
                rank = pairs[i]->rank;
                best = i;
            }
        if (best == count)
            break;
        ids[best] = pairs[best]->id;
        count--;
        memmove(ids + best + 1, ids + best + 2, (count - best - 1) * sizeof *ids);
        memmove(pairs + best, pairs + best + 1, (count - best - 1) * sizeof *pairs);
        if (best > 0)
            pairs[best - 1] = fam_merges_find(merges, ids[best - 1], ids[best]);
        if (best + 1 < count)
            pairs[best] = fam_merges_find(merges, ids[best], ids[best + 1]);
    }
    return count;
}

/* A heap entry is rank << 32 | position of the left symbol: the smallest is the next merge. */
static fam_status heap_push(fam_bpe *bpe, uint64_t entry, fam_error *error)
{
    if (bpe->heap_count == bpe->heap_capacity) {
        size_t capacity = bpe->heap_capacity + bpe->heap_capacity / 2 + 64;
        uint64_t *grown = fam_realloc(bpe->memory, bpe->heap, capacity * sizeof *grown);
        if (!grown)
            return fam_out_of_memory(error, "tokenizer: merging a long word");
        bpe->heap = grown;
        bpe->heap_capacity = capacity;
    }
    size_t at = bpe->heap_count++;
    while (at > 0 && entry < bpe->heap[(at - 1) / HEAP_ARITY]) {
        bpe->heap[at] = bpe->heap[(at - 1) / HEAP_ARITY];
        at = (at - 1) / HEAP_ARITY;
    }
    bpe->heap[at] = entry;
    return FAM_OK;
}

static uint64_t heap_pop(fam_bpe *bpe)
{
    uint64_t top = bpe->heap[0], moved = bpe->heap[--bpe->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = at * HEAP_ARITY + 1, end = child + HEAP_ARITY;
        if (end > bpe->heap_count)
            end = bpe->heap_count;
        size_t least = child;
        for (size_t i = child + 1; i < end; i++)
            if (bpe->heap[i] < bpe->heap[least])
                least = i;
        if (child >= bpe->heap_count || moved <= bpe->heap[least])
            break;
        bpe->heap[at] = bpe->heap[least];
        at = least;
    }
    bpe->heap[at] = moved;
    return top;
}

static fam_status push_pair(fam_bpe *bpe, const fam_merges *merges, uint32_t left, uint32_t right, fam_error *error)
{
    if (left == NO_SYMBOL || right == NO_SYMBOL)
        return FAM_OK;
    const fam_merge *merge = fam_merges_find(merges, bpe->symbols[left].id, bpe->symbols[right].id);
    return merge ? heap_push(bpe, (uint64_t)merge->rank << 32 | left, error) : FAM_OK;
}

static fam_status prepare(fam_bpe *bpe, const int32_t *ids, size_t count, fam_error *error)
{
    if (bpe->symbol_capacity < count) {
        fam_free(bpe->memory, bpe->symbols);
        bpe->symbol_capacity = 0;
        bpe->symbols = fam_alloc(bpe->memory, count * sizeof *bpe->symbols); /* count < 2^31 */
        if (!bpe->symbols)
            return fam_out_of_memory(error, "tokenizer: merging a long word");
        bpe->symbol_capacity = count;
    }
    if (bpe->heap_capacity < count) { /* at first there is at most one entry a pair */
        fam_free(bpe->memory, bpe->heap);
        bpe->heap_capacity = 0;
        bpe->heap = fam_alloc(bpe->memory, count * sizeof *bpe->heap);
        if (!bpe->heap)
            return fam_out_of_memory(error, "tokenizer: merging a long word");
        bpe->heap_capacity = count;
    }
    for (size_t i = 0; i < count; i++)
        bpe->symbols[i] = (fam_bpe_symbol){.id = ids[i],
                                           .previous = i ? (uint32_t)i - 1 : NO_SYMBOL,
                                           .next = i + 1 < count ? (uint32_t)i + 1 : NO_SYMBOL};
    bpe->heap_count = 0;
    return FAM_OK;
}

static fam_status merge_long(fam_bpe *bpe, const fam_merges *merges, size_t count, fam_error *error)
{
    fam_status status = FAM_OK;
    for (size_t i = 0; i + 1 < count; i++)
        FAM_TRY(push_pair(bpe, merges, (uint32_t)i, (uint32_t)i + 1, error));
    while (bpe->heap_count) {
        uint64_t entry = heap_pop(bpe);
        uint32_t at = (uint32_t)entry;
        fam_bpe_symbol *left = &bpe->symbols[at];
        if (left->id < 0 || left->next == NO_SYMBOL)
            continue;
        fam_bpe_symbol *right = &bpe->symbols[left->next];
        const fam_merge *merge = fam_merges_find(merges, left->id, right->id);
        if (!merge || merge->rank != entry >> 32)
            continue; /* one of the two has merged with another meanwhile */
        left->id = merge->id;
        right->id = -1;
        left->next = right->next;
        if (left->next != NO_SYMBOL)
            bpe->symbols[left->next].previous = at;
        FAM_TRY(push_pair(bpe, merges, left->previous, at, error));
        FAM_TRY(push_pair(bpe, merges, at, left->next, error));
    }
done:
    return status;
}

static void release(fam_bpe *bpe)
{
    fam_free(bpe->memory, bpe->symbols);
    fam_free(bpe->memory, bpe->heap);
    bpe->symbols = NULL;
    bpe->heap = NULL;
    bpe->symbol_capacity = bpe->heap_capacity = bpe->heap_count = 0;
}

void fam_bpe_destroy(fam_bpe *bpe)
{
    release(bpe);
}

fam_status fam_bpe_merge(fam_bpe *bpe, const fam_merges *merges, int32_t *ids, size_t *count, fam_error *error)
{
    fam_status status = FAM_OK;
    if (*count <= SHORT_WORD) {
        *count = merge_short(merges, ids, *count);
        return FAM_OK;
    }
    FAM_TRY(prepare(bpe, ids, *count, error));
    FAM_TRY(merge_long(bpe, merges, *count, error));
    size_t left = 0;
    for (uint32_t at = 0; at != NO_SYMBOL; at = bpe->symbols[at].next)
        ids[left++] = bpe->symbols[at].id;
    *count = left;
done:
    if (bpe->symbol_capacity > KEPT_SYMBOLS)
        release(bpe);
    return status;
}
