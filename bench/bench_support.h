/*
 * bench/bench_support.h: a clock, and the end of a benchmark that cannot go on.
 */
#ifndef BENCH_SUPPORT_H
#define BENCH_SUPPORT_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"

static inline double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void check(fam_status status, const fam_error *error)
{
    if (status == FAM_OK)
        return;
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, error->message);
    exit(fam_status_exit_code(status));
}

static inline void *need(void *memory)
{
    if (!memory) {
        fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
        exit(4);
    }
    return memory;
}

#endif
