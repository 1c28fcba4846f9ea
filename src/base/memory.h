/*
 * base/memory.h: every allocation of the library goes through a fam_memory, which counts it.
 *
 * A fam_memory belongs to one root object (an engine, a tokenizer, an open file) and outlives all that it allocated.
 * The counters make "flat memory" and "no allocation while decoding" testable, and let a test make the n-th allocation
 * fail. Thread-safe.
 */
#ifndef FAM_BASE_MEMORY_H
#define FAM_BASE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct fam_memory {
    atomic_size_t bytes;       /* held now */
    atomic_size_t peak_bytes;  /* most ever held */
    atomic_size_t allocations; /* calls so far that asked for memory */
    /* For tests: allocation number `fail_at` (counted from 1) fails; 0: none does. With fail_for_good all later ones do
     * too. */
    size_t fail_at;
    bool fail_for_good;
} fam_memory;

void fam_memory_init(fam_memory *memory);

/* All return NULL when memory is short or the size overflows; a size of 0 gives a valid pointer. Blocks are aligned to
 * 64 bytes. fam_free takes NULL. */
void *fam_alloc(fam_memory *memory, size_t size);
void *fam_alloc_zeroed(fam_memory *memory, size_t size);
void *fam_alloc_array(fam_memory *memory, size_t count, size_t size); /* zeroed; count * size is checked */
void *fam_realloc(fam_memory *memory, void *block, size_t size);      /* on failure the block stays as it was */
char *fam_strdup(fam_memory *memory, const char *text);
char *fam_strndup(fam_memory *memory, const char *text, size_t length); /* `length` bytes, then a NUL */
void fam_free(fam_memory *memory, void *block);

/* Reports FAM_STATUS_OUT_OF_MEMORY: "<what>: out of memory". */
fam_status fam_out_of_memory(fam_error *error, const char *what);

/* pointer = call; goes to `done` with FAM_STATUS_OUT_OF_MEMORY if it is NULL. */
#define FAM_TRY_ALLOC(pointer, call, what)                                                                             \
    do {                                                                                                               \
        (pointer) = (call);                                                                                            \
        if (!(pointer)) {                                                                                              \
            status = fam_out_of_memory(error, (what));                                                                 \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

/* Checked arithmetic: false, and *out untouched, on overflow. */
static inline bool fam_add_size(size_t *out, size_t a, size_t b)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

static inline bool fam_mul_size(size_t *out, size_t a, size_t b)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

static inline bool fam_mul_i64(int64_t *out, int64_t a, int64_t b)
{
    int64_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

#endif
