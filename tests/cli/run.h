/*
 * tests/cli/run.h: runs build/fam as a user does, with everything that it says caught; and small things to run it on.
 */
#ifndef TESTS_CLI_RUN_H
#define TESTS_CLI_RUN_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "suite.h"

enum { RUN_ARGUMENTS = 64 };

typedef struct run_plan {
    const char *arguments[RUN_ARGUMENTS]; /* without the program's name; NULL ends them */
    const char *input;                    /* standard input; NULL: empty */
    int input_fd;                         /* instead of it, if > 0 */
    const char *directory;                /* to run in */
    const char *output_path;              /* standard output goes there, is not caught */
    bool close_output, close_input, no_arguments_at_all;
    bool unprivileged; /* as nobody, if the test runs as root (98: nobody cannot run the program) */
    rlim_t address_space, open_files, file_size; /* 0: no limit */
} run_plan;

typedef struct run_result {
    int code; /* exit code, or 1000 + signal */
    char *out, *err;
    size_t out_size;
} run_result;

typedef struct run_child {
    pid_t pid;
    int out, err;
} run_child;

static char *run_read_all(int fd, size_t *size)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char *text = calloc((size_t)end + 1, 1);
    if (pread(fd, text, (size_t)end, 0) != end)
        abort();
    close(fd);
    if (size)
        *size = (size_t)end;
    return text;
}

static void run_in_child(const run_plan *plan, const run_child *child, int in)
{
    char *arguments[RUN_ARGUMENTS + 2] = {(char *)"fam"};
    for (int i = 0; i < RUN_ARGUMENTS && plan->arguments[i]; i++)
        arguments[i + 1] = (char *)plan->arguments[i];
    if (plan->no_arguments_at_all)
        arguments[0] = NULL;
    dup2(in, 0);
    dup2(plan->output_path ? open(plan->output_path, O_WRONLY) : child->out, 1);
    dup2(child->err, 2);
    if (plan->close_output)
        close(1);
    if (plan->close_input)
        close(0);
    if (plan->directory && chdir(plan->directory) != 0)
        _exit(99);
    struct rlimit limit = {plan->address_space, plan->address_space};
    if (plan->address_space && setrlimit(RLIMIT_AS, &limit) != 0)
        _exit(99);
    limit = (struct rlimit){plan->open_files, plan->open_files};
    if (plan->open_files && setrlimit(RLIMIT_NOFILE, &limit) != 0)
        _exit(99);
    limit = (struct rlimit){plan->file_size, plan->file_size};
    if (plan->file_size && setrlimit(RLIMIT_FSIZE, &limit) != 0)
        _exit(99);
    if (plan->unprivileged && geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
        _exit(98);
    unsetenv("HOME");
    execv(FAM_BUILD_DIR "/fam", arguments);
    _exit(98);
}

static run_child run_start(const run_plan *plan)
{
    run_child child = {0, memfd_create("out", MFD_CLOEXEC), memfd_create("err", MFD_CLOEXEC)};
    int in = plan->input_fd > 0 ? plan->input_fd : memfd_create("in", MFD_CLOEXEC);
    if (plan->input_fd <= 0 && plan->input) {
        if (write(in, plan->input, strlen(plan->input)) != (ssize_t)strlen(plan->input))
            abort();
        lseek(in, 0, SEEK_SET);
    }
    fflush(NULL);
    child.pid = fork();
    if (child.pid == 0)
        run_in_child(plan, &child, in);
    if (plan->input_fd <= 0)
        close(in);
    return child;
}

static run_result run_finish(run_child child)
{
    run_result result = {0};
    int state = 0;
    while (waitpid(child.pid, &state, 0) < 0 && errno == EINTR) {
    }
    result.code = WIFEXITED(state) ? WEXITSTATUS(state) : 1000 + WTERMSIG(state);
    result.out = run_read_all(child.out, &result.out_size);
    result.err = run_read_all(child.err, NULL);
    return result;
}

static run_result run_plan_now(run_plan plan)
{
    return run_finish(run_start(&plan));
}

static void run_free(run_result *result)
{
    free(result->out);
    free(result->err);
}

/* run("score", MODEL, …): arguments only. */
#define run(...) run_plan_now((run_plan){.arguments = {__VA_ARGS__}})

#define expect_code(result, need)                                                                                      \
    do {                                                                                                               \
        if ((result).code != (need))                                                                                   \
            fail_msg("exit code %d, need %d; out: %.300s; err: %.600s", (result).code, (need), (result).out,           \
                     (result).err);                                                                                    \
    } while (0)

#define expect_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (!strstr((text), (part)))                                                                                   \
            fail_msg("found \"%.800s\", need something with \"%s\"", (text), (part));                                  \
    } while (0)

/* A refusal: nothing on standard output, one line on standard error that begins with "fam: " and holds `part`. */
#define expect_refused(result, need, part)                                                                             \
    do {                                                                                                               \
        run_result refused = (result);                                                                                 \
        expect_code(refused, need);                                                                                    \
        assert_int_equal(refused.out_size, 0);                                                                         \
        expect_contains(refused.err, part);                                                                            \
        if (strncmp(refused.err, "fam: ", 5) != 0 || strchr(refused.err, '\n') != refused.err + strlen(refused.err) - 1) \
            fail_msg("found \"%.800s\", need one line that begins with fam:", refused.err);                            \
        run_free(&refused);                                                                                            \
    } while (0)

static inline json_t *run_json(const char *text)
{
    json_error_t where;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (!object)
        fail_msg("not JSON (%s): %.400s", where.text, text);
    return object;
}

/* The JSON object of --stats, among the other lines of standard error. */
static inline json_t *run_stats(const char *err)
{
    const char *line = strstr(err, "{\"tokens_read\"");
    if (!line)
        fail_msg("no stats in: %.400s", err);
    json_t *object = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(object);
    return object;
}

static inline long long run_integer(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        fail_msg("no integer %s", key);
    return json_integer_value(value);
}

/* ---- files -------------------------------------------------------------------------------------------------------- */

static char run_folder[64];

/* A folder of this case's own, removed by run_folder_remove; names in it by run_file. */
static int run_folder_make(void **state)
{
    (void)state;
    snprintf(run_folder, sizeof run_folder, "/tmp/fam-cli-XXXXXX");
    return mkdtemp(run_folder) ? 0 : -1;
}

static int run_folder_remove(void **state)
{
    (void)state;
    char command[600];
    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", run_folder, run_folder);
    return system(command) == 0 ? 0 : -1;
}

static inline const char *run_file(const char *name)
{
    static char buffers[16][512];
    static unsigned next;
    char *buffer = buffers[next++ % 16];
    snprintf(buffer, sizeof buffers[0], "%s/%s", run_folder, name);
    return buffer;
}

static inline const char *run_write(const char *name, const void *data, size_t size)
{
    const char *path = run_file(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static inline const char *run_write_text(const char *name, const char *text)
{
    return run_write(name, text, strlen(text));
}

static inline char *run_slurp(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail_msg("%s: cannot open", path);
    return run_read_all(fd, size);
}

/* `count` ids below `vocab`, divided by blanks; the same for the same seed. */
static inline const char *run_write_ids(const char *name, int count, int vocab, unsigned seed)
{
    char *text = malloc((size_t)count * 8 + 1), *p = text;
    for (int i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        p += sprintf(p, "%u ", (seed >> 8) % (unsigned)vocab);
    }
    const char *path = run_write(name, text, (size_t)(p - text));
    free(text);
    return path;
}

#define test_in_folder(function) cmocka_unit_test_setup_teardown(function, run_folder_make, run_folder_remove)

#endif
