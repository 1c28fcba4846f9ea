/*
 * base/memory.c: malloc with a header in front of each block, so that freeing can count down.
 */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 }; /* a cache line, and the widest vector register */

/* Zeroed blocks from this size on are mapped: the kernel gives zero pages when they are touched, so a large cache that is
 * never filled costs nothing. */
#define MAPPED_BYTES_MIN ((size_t)1 << 20)

typedef struct block_header {
    size_t size;
    size_t mapped; /* bytes of its mapping; 0: from malloc */
} block_header;

_Static_assert(sizeof(block_header) <= ALIGNMENT, "the header lies in front of an aligned block");

static block_header *header_of(void *block)
{
    return (block_header *)((char *)block - ALIGNMENT);
}

void fam_memory_init(fam_memory *memory)
{
    atomic_init(&memory->bytes, 0);
    atomic_init(&memory->peak_bytes, 0);
    atomic_init(&memory->allocations, 0);
    memory->fail_at = 0;
    memory->fail_for_good = false;
}

/* Counts the request; false if a test wants it to fail. */
static bool admit(fam_memory *memory)
{
    size_t number = atomic_fetch_add_explicit(&memory->allocations, 1, memory_order_relaxed) + 1;
    if (memory->fail_at == 0)
        return true;
    return memory->fail_for_good ? number < memory->fail_at : number != memory->fail_at;
}

static void count_up(fam_memory *memory, size_t size)
{
    size_t now = atomic_fetch_add_explicit(&memory->bytes, size, memory_order_relaxed) + size;
    size_t peak = atomic_load_explicit(&memory->peak_bytes, memory_order_relaxed);
    while (now > peak && !atomic_compare_exchange_weak_explicit(&memory->peak_bytes, &peak, now, memory_order_relaxed,
                                                                memory_order_relaxed)) {
    }
}

void *fam_alloc(fam_memory *memory, size_t size)
{
    size_t total;
    if (!admit(memory) || !fam_add_size(&total, size, 2 * ALIGNMENT))
        return NULL;
    total = total / ALIGNMENT * ALIGNMENT; /* aligned_alloc wants a multiple; the header needs one ALIGNMENT */
    char *raw = aligned_alloc(ALIGNMENT, total);
    if (!raw)
        return NULL;
    void *block = raw + ALIGNMENT;
    *header_of(block) = (block_header){.size = size};
    count_up(memory, size);
    return block;
}

static void *map_zeroed(fam_memory *memory, size_t size)
{
    size_t total;
    if (!admit(memory) || !fam_add_size(&total, size, ALIGNMENT))
        return NULL;
    char *raw = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    void *block = raw + ALIGNMENT;
    *header_of(block) = (block_header){.size = size, .mapped = total};
    count_up(memory, size);
    return block;
}

void *fam_alloc_zeroed(fam_memory *memory, size_t size)
{
    if (size >= MAPPED_BYTES_MIN)
        return map_zeroed(memory, size);
    void *block = fam_alloc(memory, size);
    if (block)
        memset(block, 0, size);
    return block;
}

void *fam_alloc_array(fam_memory *memory, size_t count, size_t size)
{
    size_t total;
    if (!fam_mul_size(&total, count, size))
        return NULL;
    return fam_alloc_zeroed(memory, total);
}

void *fam_realloc(fam_memory *memory, void *block, size_t size)
{
    if (!block)
        return fam_alloc(memory, size);
    void *grown = fam_alloc(memory, size);
    if (!grown)
        return NULL;
    size_t old = header_of(block)->size;
    memcpy(grown, block, old < size ? old : size);
    fam_free(memory, block);
    return grown;
}

char *fam_strndup(fam_memory *memory, const char *text, size_t length)
{
    size_t total;
    if (!fam_add_size(&total, length, 1))
        return NULL;
    char *copy = fam_alloc(memory, total);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *fam_strdup(fam_memory *memory, const char *text)
{
    return fam_strndup(memory, text, strlen(text));
}

void fam_free(fam_memory *memory, void *block)
{
    if (!block)
        return;
    block_header *header = header_of(block);
    atomic_fetch_sub_explicit(&memory->bytes, header->size, memory_order_relaxed);
    if (header->mapped)
        munmap(header, header->mapped);
    else
        free(header);
}

fam_status fam_out_of_memory(fam_error *error, const char *what)
{
    return fam_error_set(error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", what);
}
