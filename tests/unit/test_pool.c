/*
 * Base room: the thread pool.
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"
#include "suite.h"

typedef struct tally {
    atomic_uchar *hits; /* [count] */
    atomic_llong sum;
    int threads;
    int64_t grain, count;
    atomic_int bad;
} tally;

static void count_items(void *context, int64_t begin, int64_t end, int thread)
{
    tally *t = context;
    if (thread < 0 || thread >= t->threads || end - begin > t->grain || begin >= end || end > t->count)
        atomic_fetch_add(&t->bad, 1);
    for (int64_t i = begin; i < end; i++) {
        atomic_fetch_add(&t->hits[i], 1);
        atomic_fetch_add(&t->sum, i);
    }
}

static void run_and_check(fam_pool *pool, atomic_uchar *hits, int64_t count, int64_t grain)
{
    tally t = {.hits = hits, .threads = fam_pool_threads(pool), .grain = grain, .count = count};
    memset((void *)hits, 0, (size_t)count);
    fam_pool_run(pool, count_items, &t, count, grain);
    assert_int_equal(atomic_load(&t.bad), 0);
    assert_int_equal(atomic_load(&t.sum), count * (count - 1) / 2);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(atomic_load(&hits[i]), 1);
}

static void every_item_is_done_once(void **state)
{
    (void)state;
    static atomic_uchar hits[5000];
    fam_memory memory;
    fam_memory_init(&memory);
    for (int threads = 1; threads <= 5; threads++) {
        fam_pool *pool;
        assert_int_equal(fam_pool_create(&pool, &memory, threads, NULL), FAM_OK);
        size_t allocations = memory.allocations;
        for (int64_t count = 0; count < 40; count++)
            for (int64_t grain = 1; grain < 45; grain += 3)
                run_and_check(pool, hits, count, grain);
        run_and_check(pool, hits, 5000, 1);
        run_and_check(pool, hits, 5000, 7);
        run_and_check(pool, hits, 5000, INT64_MAX);
        assert_int_equal(memory.allocations, allocations);
        fam_pool_free(pool);
    }
    assert_int_equal(memory.bytes, 0);
}

static void many_short_runs_and_runs_after_sleep(void **state)
{
    (void)state;
    static atomic_uchar hits[64];
    fam_memory memory;
    fam_memory_init(&memory);
    fam_pool *pool;
    assert_int_equal(fam_pool_create(&pool, &memory, 3, NULL), FAM_OK);
    for (int i = 0; i < 20000; i++)
        run_and_check(pool, hits, 1 + i % 17, 1);
    for (int i = 0; i < 100; i++) {
        struct timespec nap = {0, i % 2 ? 300000 : 40000}; /* asleep, and about to be */
        nanosleep(&nap, NULL);
        run_and_check(pool, hits, 64, 1);
    }
    fam_pool_free(pool);
}

static void slow_item(void *context, int64_t begin, int64_t end, int thread)
{
    (void)end;
    (void)thread;
    if (begin == 1) {
        struct timespec nap = {0, 1000000};
        nanosleep(&nap, NULL);
    }
    atomic_fetch_add((atomic_int *)context, 1);
}

static void caller_waits_for_a_slow_worker(void **state)
{
    (void)state;
    fam_memory memory;
    fam_memory_init(&memory);
    fam_pool *pool;
    assert_int_equal(fam_pool_create(&pool, &memory, 2, NULL), FAM_OK);
    for (int i = 0; i < 100; i++) {
        atomic_int done = 0;
        fam_pool_run(pool, slow_item, &done, 2, 1);
        assert_int_equal(atomic_load(&done), 2);
    }
    fam_pool_free(pool);
}

typedef struct caller {
    fam_pool *pool;
    atomic_uchar hits[100];
    int bad;
} caller;

static void *call_often(void *argument)
{
    caller *c = argument;
    for (int i = 0; i < 2000; i++) {
        tally t = {.hits = c->hits, .threads = 3, .grain = 3, .count = 100};
        memset((void *)c->hits, 0, sizeof c->hits);
        fam_pool_run(c->pool, count_items, &t, 100, 3);
        c->bad += atomic_load(&t.sum) != 4950 || atomic_load(&t.bad) != 0;
    }
    return NULL;
}

static void two_callers_take_turns(void **state)
{
    (void)state;
    static caller callers[2];
    fam_memory memory;
    fam_memory_init(&memory);
    fam_pool *pool;
    assert_int_equal(fam_pool_create(&pool, &memory, 3, NULL), FAM_OK);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        callers[i].pool = pool;
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(callers[0].bad + callers[1].bad, 0);
    fam_pool_free(pool);
}

static void create_and_free_in_a_loop(void **state)
{
    (void)state;
    static atomic_uchar hits[16];
    fam_memory memory;
    fam_memory_init(&memory);
    for (int i = 0; i < 300; i++) {
        fam_pool *pool;
        assert_int_equal(fam_pool_create(&pool, &memory, 1 + i % 4, NULL), FAM_OK);
        if (i % 3)
            run_and_check(pool, hits, 16, 1);
        fam_pool_free(pool);
    }
    assert_int_equal(memory.bytes, 0);
    fam_pool_free(NULL);
}

static void wrong_counts_and_short_memory_are_errors(void **state)
{
    (void)state;
    fam_memory memory;
    fam_memory_init(&memory);
    fam_pool *pool;
    fam_error error;
    assert_int_equal(fam_pool_create(&pool, &memory, 0, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_int_equal(fam_pool_create(&pool, &memory, FAM_POOL_THREADS_MAX + 1, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_null(pool);
    for (size_t i = 1;; i++) {
        fam_memory_init(&memory);
        memory.fail_at = i;
        fam_status status = fam_pool_create(&pool, &memory, 2, &error);
        if (status == FAM_OK) {
            assert_true(i > 1);
            break;
        }
        assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
        assert_null(pool);
        assert_int_equal(memory.bytes, 0);
    }
    fam_pool_free(pool);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_item_is_done_once),        cmocka_unit_test(many_short_runs_and_runs_after_sleep),
    cmocka_unit_test(caller_waits_for_a_slow_worker), cmocka_unit_test(two_callers_take_turns),
    cmocka_unit_test(create_and_free_in_a_loop),      cmocka_unit_test(wrong_counts_and_short_memory_are_errors),
};

SUITE_MAIN(tests)
