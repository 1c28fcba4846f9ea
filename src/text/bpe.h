/*
 * text/bpe.h: byte pair encoding of one word: of all adjacent pairs that may merge, the one of lowest rank, leftmost
 * first, until none is left (Sennrich et al., arXiv:1508.07909). Knows symbols by number only.
 */
#ifndef FAM_TEXT_BPE_H
#define FAM_TEXT_BPE_H

#include "base/memory.h"

typedef struct fam_merge {
    uint64_t pair; /* left id << 32 | right id */
    uint32_t rank;
    int32_t id; /* what the pair becomes; -1: an empty slot */
} fam_merge;

/* Merges by pair: open addressing. */
typedef struct fam_merges {
    fam_memory *memory;
    fam_merge *slots;
    size_t mask, count;
} fam_merges;

fam_status fam_merges_create(fam_merges *out, fam_memory *memory, size_t count, fam_error *error);
void fam_merges_destroy(fam_merges *merges);
/* Puts a merge; of two merges of one pair the later counts. At most the announced count. */
void fam_merges_put(fam_merges *merges, int32_t left, int32_t right, uint32_t rank, int32_t id);
/* NULL if the pair does not merge. */
const fam_merge *fam_merges_find(const fam_merges *merges, int32_t left, int32_t right);

/* Work space, of one encoder. Zero it, set memory. */
typedef struct fam_bpe {
    fam_memory *memory;
    struct fam_bpe_symbol *symbols;
    uint64_t *heap;
    size_t symbol_capacity, heap_count, heap_capacity;
} fam_bpe;
void fam_bpe_destroy(fam_bpe *bpe);

/* Merges ids[0..*count) in place and sets *count to what is left. Time n log n, memory 20 to 28 bytes a symbol, given
 * back after a long word. *count is below 2^31. */
fam_status fam_bpe_merge(fam_bpe *bpe, const fam_merges *merges, int32_t *ids, size_t *count, fam_error *error);

#endif
