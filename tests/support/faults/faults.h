/*
 * tests/support/faults/faults.h: makes one system call of the code under test fail, fall short, or be the last one of
 * the process. The linker puts these calls before the system's (--wrap) in test programs called test_NAME_faults; the
 * product's code knows nothing of it. Calls that libc makes itself are not seen. For one thread.
 */
#ifndef TESTS_SUPPORT_FAULTS_H
#define TESTS_SUPPORT_FAULTS_H

#include <stdbool.h>

typedef enum faults_kind {
    FAULTS_COUNT,            /* none fails, calls are counted */
    FAULTS_ERROR,            /* the call is not made, and gives `code` */
    FAULTS_LATE_ERROR,       /* the call is made, and gives `code` all the same (where it changes names, or syncs) */
    FAULTS_FOR_GOOD,         /* as FAULTS_ERROR, and so do all later ones */
    FAULTS_SHORT,            /* reads and writes do half of what was asked for, this one and all later ones */
    FAULTS_SHORT_THEN_ERROR, /* a read or write does half, and all calls after it give `code` */
    FAULTS_KILL_BEFORE,      /* the process is killed (SIGKILL) */
    FAULTS_KILL_AFTER,
    FAULTS_POWER             /* the machine loses power before the call (power.h), which ends the process, too */
} faults_kind;

/* From now on call number `at` (from 1) has this fault. `name` (NULL: any) counts only calls of that name. */
void faults_arm(faults_kind kind, long at, int code, const char *name);
/* Where a loss of power strikes, and how; set before arming. */
void faults_power(const char *root, unsigned long long seed);
/* Calls go through again. Returns how many were counted. */
long faults_disarm(void);
/* The call that had the fault; "none". */
const char *faults_hit(void);

#endif
