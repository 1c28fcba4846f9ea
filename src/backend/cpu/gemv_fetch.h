/*
 * backend/cpu/gemv_fetch.h: asking for weights ahead of their use, into the second-level cache.
 *
 * Two ways to read a run of rows, four together. In one rising stream (quantised types): row after row, four rows'
 * worth asked for together, for when each row asked for its own next bytes, the processor's own prefetcher lost the
 * thread. In four streams (bfloat16, whose arithmetic leaves more time): a quarter of the run each, which sets several
 * prefetchers to work. Measured on an Intel Xeon, one thread, rows of 576, GB/s: q8_0 6.5 row by row, 11.5 in one
 * stream, 10.5 in four; bf16 11.7 in one, 13.0 in four. 4 or 16 KiB ahead made no difference, less did; into the
 * first-level cache 9.5 instead of 11.5.
 */
#ifndef FAM_BACKEND_CPU_GEMV_FETCH_H
#define FAM_BACKEND_CPU_GEMV_FETCH_H

#include <immintrin.h>
#include <stdint.h>

enum { FETCH_AHEAD = 4096 };

/* One stream. `from`: where a step would begin if the rows that go together were read one after the other; `bytes`: of
 * one step. */
static inline __attribute__((always_inline)) void fetch(const void *from, int64_t bytes)
{
    const char *ahead = (const char *)from + FETCH_AHEAD;
    for (int64_t i = 0; i < bytes; i += 64)
        _mm_prefetch(ahead + i, _MM_HINT_T1);
}

/* Several streams of `length` bytes each: how far ahead of its place a stream is to be asked for when it has come to
 * `at`. Near the end that is in the next run, which most often comes next. */
static inline int64_t fetch_distance(int64_t at, int64_t length, int streams)
{
    return at + FETCH_AHEAD < length ? FETCH_AHEAD : FETCH_AHEAD + (streams - 1) * length;
}

#endif
