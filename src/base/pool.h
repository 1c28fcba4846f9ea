/*
 * base/pool.h: a pool of threads that share out the items of a loop.
 *
 * The caller works too. Waiting spins for a short while and then sleeps on a futex, so that a busy neighbour on a core
 * costs its share and no more. Which thread takes which item is not fixed: a loop body must give the same result
 * whoever runs it.
 */
#ifndef FAM_BASE_POOL_H
#define FAM_BASE_POOL_H

#include "base/memory.h"

typedef struct fam_pool fam_pool;

enum { FAM_POOL_THREADS_MAX = 1024 };

/* A pool of `threads` workers, the caller of fam_pool_run counted (1 to FAM_POOL_THREADS_MAX). */
fam_status fam_pool_create(fam_pool **out, fam_memory *memory, int threads, fam_error *error);
void fam_pool_free(fam_pool *pool); /* NULL is allowed */
int fam_pool_threads(const fam_pool *pool);

/* Work on items [begin, end); `thread` (0 to threads-1) picks the thread's own scratch. */
typedef void fam_pool_body(void *context, int64_t begin, int64_t end, int thread);

/* Runs `body` over items [0, count), `grain` at a time; returns when all are done. Two callers take turns. A body must
 * not call fam_pool_run of the same pool. */
void fam_pool_run(fam_pool *pool, fam_pool_body *body, void *context, int64_t count, int64_t grain);

#endif
