/*
 * tests/support/suite.c: see suite.h.
 */
#include "suite.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SKIPPED_EXIT = 77 };

/* A sanitizer makes a case several times as slow, and its time-out is there for what hangs. */
#if defined(__has_feature)
#define SUITE_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SUITE_SANITIZED 1
#else
#define SUITE_SANITIZED 0
#endif
enum { SANITIZED_TIMES = SUITE_SANITIZED ? 5 : 1 };

static int run_here(const struct CMUnitTest *test)
{
    struct CMUnitTest one = *test;
    int failed = _cmocka_run_group_tests(one.name, &one, 1, NULL, NULL);
    return failed ? 1 : 0;
}

/* cmocka reports a skip only in its text, so the child's output is read for it. */
static int run_case(const struct CMUnitTest *test, int timeout_seconds, char *output, size_t capacity)
{
    int pipe_fds[2];
    if (pipe(pipe_fds) != 0)
        return 1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        close(pipe_fds[0]);
        dup2(pipe_fds[1], 1);
        dup2(pipe_fds[1], 2);
        close(pipe_fds[1]);
        alarm((unsigned)timeout_seconds);
        int failed = run_here(test);
        fflush(NULL);
        exit(failed); /* not _exit: coverage and leak checks run at exit */
    }
    close(pipe_fds[1]);
    size_t length = 0;
    char spill[4096];
    for (;;) {
        size_t room = capacity - 1 - length;
        ssize_t got = read(pipe_fds[0], room ? output + length : spill, room ? room : sizeof spill);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        if (room)
            length += (size_t)got;
    }
    output[length] = '\0';
    close(pipe_fds[0]);
    int state = 0;
    while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
    }
    kill(-child, SIGKILL); /* whatever it started */
    if (WIFSIGNALED(state)) {
        snprintf(output + length, capacity - length, "%s: %s\n", test->name,
                 WTERMSIG(state) == SIGALRM ? "timed out" : strsignal(WTERMSIG(state)));
        return 1;
    }
    if (WEXITSTATUS(state) == 0 && strstr(output, "[  SKIPPED ]"))
        return SKIPPED_EXIT;
    return WEXITSTATUS(state);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int suite_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count, int timeout_seconds)
{
    enum { OUTPUT_BYTES = 1 << 20 };
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++)
            puts(tests[i].name);
        return 0;
    }
    if (argc > 1) {
        int failed = 0;
        for (int a = 1; a < argc; a++) {
            size_t i = 0;
            while (i < count && strcmp(tests[i].name, argv[a]) != 0)
                i++;
            if (i == count)
                fprintf(stderr, "no case %s\n", argv[a]);
            failed |= i == count || run_here(&tests[i]);
        }
        return failed;
    }
    char *output = malloc(OUTPUT_BYTES);
    if (!output)
        return 1;
    int passed = 0, failed = 0, skipped = 0;
    for (size_t i = 0; i < count; i++) {
        double start = seconds_now();
        int result = run_case(&tests[i], timeout_seconds * SANITIZED_TIMES, output, OUTPUT_BYTES);
        const char *word = result == 0 ? "pass" : result == SKIPPED_EXIT ? "SKIP" : "FAIL";
        passed += result == 0;
        skipped += result == SKIPPED_EXIT;
        failed += result != 0 && result != SKIPPED_EXIT;
        printf("%s %-60s %6.2f s\n", word, tests[i].name, seconds_now() - start);
        if (result != 0)
            fputs(output, stdout);
        fflush(stdout);
    }
    free(output);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0;
}

const char *suite_root(void)
{
    return FAM_PROJECT_ROOT;
}

const char *suite_path(const char *name)
{
    static char buffers[8][4096];
    static unsigned next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, sizeof buffers[0], "%s/%s", suite_root(), name);
    return buffer;
}
