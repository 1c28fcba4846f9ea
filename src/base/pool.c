/*
 * base/pool.c: the thread pool of pool.h.
 *
 * One 32-bit word, the gate, carries everything that threads wait for: the number of the run, whether it takes workers,
 * and how many are inside. A worker that does not come in time (its core is busy with something else) is not waited
 * for: the others take its items and close the gate. Only a worker that is inside is waited for.
 */
#include "base/pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    GATE_INSIDE = 0x7ff, /* workers inside, up to FAM_POOL_THREADS_MAX - 1 */
    GATE_OPEN = 0x800,   /* the run takes workers */
    GATE_STOP = 0x1000,  /* workers leave for good */
    GATE_RUN = 0x2000,   /* one step of the run's number, which wraps: a worker that sleeps so long misses one run */
    SPIN_CHECK = 32,     /* pauses between two looks at the clock */
    SPIN_NANOSECONDS = 40000, /* about what a sleep and a wake-up cost together */
    LINE = 64
};

_Static_assert((int)FAM_POOL_THREADS_MAX <= (int)GATE_INSIDE, "all workers can be inside");

/* A thread's own part of the items. Others take from it when their own is done. */
typedef struct share {
    _Alignas(LINE) atomic_int_least64_t next;
    int64_t end;
} share;

typedef struct worker {
    pthread_t thread;
    fam_pool *pool;
    int number; /* 1 to threads - 1; the caller is 0 */
} worker;

struct fam_pool {
    _Alignas(LINE) atomic_uint gate;
    _Alignas(LINE) atomic_int sleeping; /* workers asleep on the gate, or about to be */
    atomic_bool caller_sleeping;
    _Alignas(LINE) pthread_mutex_t turn; /* one run at a time */
    fam_memory *memory;
    int threads, started;
    worker *workers; /* [threads], the first unused */
    share *shares;   /* [threads] */
    /* the run; written while the gate is shut and nobody is inside */
    fam_pool_body *body;
    void *context;
    int64_t count, grain;
};

static void futex_wait(atomic_uint *word, unsigned seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static inline void pause_a_little(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static int64_t nanoseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Waits until the gate differs from `seen` in the bits of `mask`, for a short while; returns what it shows then. */
static unsigned spin(atomic_uint *gate, unsigned seen, unsigned mask)
{
    int64_t deadline = 0;
    for (;;) {
        for (int i = 0; i < SPIN_CHECK; i++) {
            unsigned now = atomic_load_explicit(gate, memory_order_acquire);
            if ((now ^ seen) & mask)
                return now;
            pause_a_little();
        }
        int64_t now = nanoseconds_now();
        if (deadline == 0)
            deadline = now + SPIN_NANOSECONDS;
        else if (now > deadline)
            return atomic_load_explicit(gate, memory_order_acquire);
    }
}

/* Takes items, first of the thread's own share and then of the others', until none is left. */
static void work(fam_pool *pool, int thread)
{
    for (int i = 0; i < pool->threads; i++) {
        int owner = thread + i;
        share *from = &pool->shares[owner < pool->threads ? owner : owner - pool->threads];
        while (atomic_load_explicit(&from->next, memory_order_relaxed) < from->end) {
            int64_t begin = atomic_fetch_add_explicit(&from->next, pool->grain, memory_order_relaxed);
            if (begin >= from->end)
                break;
            int64_t end = from->end - begin < pool->grain ? from->end : begin + pool->grain;
            pool->body(pool->context, begin, end, thread);
        }
    }
}

static void leave(fam_pool *pool)
{
    unsigned before = atomic_fetch_sub_explicit(&pool->gate, 1, memory_order_seq_cst);
    if ((before & GATE_INSIDE) == 1 && !(before & GATE_OPEN) && atomic_load(&pool->caller_sleeping))
        futex_wake_all(&pool->gate);
}

/* Waits for a run that this worker has not seen, or for the end. */
static unsigned wait_for_run(fam_pool *pool, unsigned seen)
{
    const unsigned run = ~(unsigned)(GATE_RUN - 1) | GATE_STOP;
    unsigned gate = spin(&pool->gate, seen, run);
    while (!((gate ^ seen) & run)) {
        atomic_fetch_add(&pool->sleeping, 1);
        gate = atomic_load(&pool->gate);
        if (!((gate ^ seen) & run))
            futex_wait(&pool->gate, gate);
        atomic_fetch_sub(&pool->sleeping, 1);
        gate = atomic_load_explicit(&pool->gate, memory_order_acquire);
    }
    return gate;
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    fam_pool *pool = self->pool;
    unsigned gate = 0; /* the first run's number is 1 */
    for (;;) {
        gate = wait_for_run(pool, gate);
        if (gate & GATE_STOP)
            return NULL;
        while (gate & GATE_OPEN) {
            if (atomic_compare_exchange_weak_explicit(&pool->gate, &gate, gate + 1, memory_order_acquire,
                                                      memory_order_acquire)) {
                work(pool, self->number);
                leave(pool);
                break;
            }
        }
    }
}

static fam_status start_workers(fam_pool *pool, fam_error *error)
{
    sigset_t all, before;
    sigfillset(&all);
    /* But a fault is reported to the thread that made it, and blocked there it kills the program without its handler: a
     * mapped file that shrinks raises SIGBUS wherever it is read. */
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the program's own threads */
    int failed = 0;
    for (pool->started = 1; pool->started < pool->threads && !failed; pool->started += !failed) {
        worker *w = &pool->workers[pool->started];
        w->pool = pool;
        w->number = pool->started;
        failed = pthread_create(&w->thread, NULL, worker_main, w);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return fam_error_set(error, FAM_STATUS_OUT_OF_MEMORY, "thread pool: found room for %d threads, need %d",
                             pool->started, pool->threads);
    return FAM_OK;
}

fam_status fam_pool_create(fam_pool **out, fam_memory *memory, int threads, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_pool *pool = NULL;
    *out = NULL;
    FAM_FAIL_IF(threads < 1 || threads > FAM_POOL_THREADS_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "threads: found %d, need 1 to %d", threads, FAM_POOL_THREADS_MAX);
    FAM_TRY_ALLOC(pool, fam_alloc_zeroed(memory, sizeof *pool), "thread pool");
    pool->memory = memory;
    pool->threads = threads;
    pool->started = 1;
    pthread_mutex_init(&pool->turn, NULL);
    FAM_TRY_ALLOC(pool->workers, fam_alloc_array(memory, (size_t)threads, sizeof *pool->workers), "thread pool");
    FAM_TRY_ALLOC(pool->shares, fam_alloc_array(memory, (size_t)threads, sizeof *pool->shares), "thread pool");
    FAM_TRY(start_workers(pool, error));
    *out = pool;
    pool = NULL;
done:
    fam_pool_free(pool);
    return status;
}

void fam_pool_free(fam_pool *pool)
{
    if (!pool)
        return;
    atomic_fetch_or(&pool->gate, GATE_STOP);
    futex_wake_all(&pool->gate);
    for (int i = 1; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_mutex_destroy(&pool->turn);
    fam_free(pool->memory, pool->workers);
    fam_free(pool->memory, pool->shares);
    fam_free(pool->memory, pool);
}

int fam_pool_threads(const fam_pool *pool)
{
    return pool->threads;
}

/* Equal parts of whole grains, each contiguous, so that a thread reads memory in one stream. */
static void share_out(fam_pool *pool, int64_t grains)
{
    int64_t each = grains / pool->threads, more = grains % pool->threads, at = 0;
    for (int t = 0; t < pool->threads; t++) {
        share *s = &pool->shares[t];
        int64_t end = at + each + (t < more);
        atomic_store_explicit(&s->next, at * pool->grain, memory_order_relaxed);
        s->end = end * pool->grain < pool->count ? end * pool->grain : pool->count;
        at = end;
    }
}

/* Shuts the gate and waits for the workers that came in. */
static void close_run(fam_pool *pool)
{
    unsigned gate = atomic_fetch_and(&pool->gate, ~(unsigned)GATE_OPEN) & ~(unsigned)GATE_OPEN;
    while (gate & GATE_INSIDE) {
        gate = spin(&pool->gate, gate, GATE_INSIDE);
        if (!(gate & GATE_INSIDE))
            break;
        atomic_store(&pool->caller_sleeping, true);
        gate = atomic_load(&pool->gate);
        if (gate & GATE_INSIDE)
            futex_wait(&pool->gate, gate);
        atomic_store(&pool->caller_sleeping, false);
        gate = atomic_load_explicit(&pool->gate, memory_order_acquire);
    }
}

void fam_pool_run(fam_pool *pool, fam_pool_body *body, void *context, int64_t count, int64_t grain)
{
    if (count <= 0)
        return;
    if (grain < 1)
        grain = 1;
    int64_t grains = count / grain + (count % grain != 0);
    pthread_mutex_lock(&pool->turn);
    if (pool->threads == 1 || grains == 1) {
        for (int64_t begin = 0; begin < count; begin += grain)
            body(context, begin, count - begin < grain ? count : begin + grain, 0);
    } else {
        pool->body = body;
        pool->context = context;
        pool->count = count;
        pool->grain = grain;
        share_out(pool, grains);
        unsigned gate = atomic_load_explicit(&pool->gate, memory_order_relaxed);
        atomic_store(&pool->gate, (gate + GATE_RUN) | GATE_OPEN);
        if (atomic_load(&pool->sleeping) > 0)
            futex_wake_all(&pool->gate);
        work(pool, 0);
        close_run(pool);
    }
    pthread_mutex_unlock(&pool->turn);
}
