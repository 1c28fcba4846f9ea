/*
 * tests/support/suite.h: runs the cases of one test program, each in a process of its own with a timeout.
 *
 * A test program includes this after its cases and ends with SUITE_MAIN(tests), tests being an array of CMUnitTest.
 *   program           runs all, prints a line a case and "N passed, N failed, N skipped" at the end
 *   program NAME ...  runs these in this process (for a debugger)
 *   program --list    names
 * A case that cannot run here (no file, no such processor) calls skip(), and is counted and named.
 */
#ifndef TESTS_SUPPORT_SUITE_H
#define TESTS_SUPPORT_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SUITE_TIMEOUT_SECONDS = 120 };

/* Seconds each case may take; a program may define SUITE_TIMEOUT before the include. */
#ifndef SUITE_TIMEOUT
#define SUITE_TIMEOUT SUITE_TIMEOUT_SECONDS
#endif

int suite_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count, int timeout_seconds);

#define SUITE_MAIN(tests)                                                                                              \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        return suite_main(argc, argv, (tests), sizeof(tests) / sizeof *(tests), SUITE_TIMEOUT);                        \
    }

/* Project root ("tests/..." below it), so that a test finds its fixtures wherever it is started. */
const char *suite_root(void);
/* suite_root() + "/" + name in one of a few static buffers. */
const char *suite_path(const char *name);

#endif
