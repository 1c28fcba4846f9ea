/*
 * cli/gnuplot.c: see gnuplot.h. The script, the pictures and the complaints go through files in memory, so that neither
 * side waits for the other.
 */
#include "gnuplot.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "measure.h"
#include "message.h"

enum { OUT_LIMIT = 1 << 28, WAIT_SECONDS = 60 };

enum { STREAM_IN, STREAM_OUT, STREAM_ERR, STREAMS };

static fam_status no_memory(fam_error *error)
{
    return failure(error, FAM_STATUS_OUT_OF_MEMORY, "gnuplot: out of memory");
}

static bool write_script(int fd, const char *script, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, script, size);
        if (written < 0 && errno != EINTR)
            return false;
        if (written > 0) {
            script += written;
            size -= (size_t)written;
        }
    }
    return lseek(fd, 0, SEEK_SET) == 0;
}

/* In a group of its own: Ctrl-C stops the training as it should, and not the picture. */
static int spawn(pid_t *child, const int streams[STREAMS])
{
    static char name[] = "gnuplot", defaults[] = "--default-settings";
    char *const arguments[] = {name, defaults, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0)
        return code;
    code = posix_spawnattr_init(&attributes);
    if (code != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return code;
    }
    for (int i = 0; i < STREAMS && code == 0; i++)
        code = posix_spawn_file_actions_adddup2(&actions, streams[i], i);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (code == 0)
        code = posix_spawnp(child, name, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* Whether it ended well, in time. */
static bool wait_for(pid_t child)
{
    const struct timespec pause = {0, 2000000};
    const double until = measure_seconds() + WAIT_SECONDS;
    bool killed = false;
    int state = 0;
    for (;;) {
        pid_t ended = waitpid(child, &state, WNOHANG);
        if (ended == child)
            return WIFEXITED(state) && WEXITSTATUS(state) == 0;
        if (ended < 0 && errno != EINTR)
            return false;
        if (!killed && measure_seconds() > until)
            killed = kill(child, SIGKILL) == 0;
        nanosleep(&pause, NULL);
    }
}

static fam_status read_back(char **out, size_t *size, int fd, fam_error *error)
{
    off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0 || end > OUT_LIMIT)
        return failure(error, FAM_STATUS_FAILED, "gnuplot: found a picture of more than %d MiB, need a smaller one",
                       OUT_LIMIT >> 20);
    char *text = malloc((size_t)end + 1);
    if (!text)
        return no_memory(error);
    for (off_t at = 0; at < end;) {
        ssize_t got = pread(fd, text + at, (size_t)(end - at), at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            free(text);
            return failure(error, FAM_STATUS_IO, "gnuplot: its pictures cannot be read back");
        }
        at += got;
    }
    text[end] = '\0';
    *out = text;
    *size = (size_t)end;
    return FAM_OK;
}

/* The first line of its complaints that says something. */
static fam_status complain(int fd, fam_error *error)
{
    char text[2048], *line = text;
    ssize_t size = pread(fd, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = '\0';
    for (char *next = text; (next = strstr(next, "line ")) != NULL; next++)
        line = next; /* "line 12: undefined variable", behind the line itself and a mark */
    line += strspn(line, " \t\n^");
    line[strcspn(line, "\n")] = '\0';
    return failure(error, FAM_STATUS_FAILED, "gnuplot: could not draw: %s", *line ? line : "it ended without a word");
}

fam_status gnuplot_run(char **out, size_t *size, const char *script, size_t script_size, fam_error *error)
{
    static const char *const names[STREAMS] = {"script", "pictures", "complaints"};
    int streams[STREAMS] = {-1, -1, -1};
    fam_status status = FAM_OK;
    pid_t child = 0;
    *out = NULL;
    for (int i = 0; i < STREAMS && status == FAM_OK; i++) {
        streams[i] = memfd_create(names[i], MFD_CLOEXEC);
        if (streams[i] < 0)
            status = failure(error, FAM_STATUS_IO, "gnuplot: no file for its %s: %s", names[i], strerror(errno));
    }
    if (status == FAM_OK && !write_script(streams[STREAM_IN], script, script_size))
        status = no_memory(error);
    int code = status == FAM_OK ? spawn(&child, streams) : 0;
    if (code == ENOENT || code == EACCES || code == ENOTDIR)
        status =
            failure(error, FAM_STATUS_UNSUPPORTED,
                    "plots: found no program gnuplot, need it: install the package gnuplot-nox (Debian) or gnuplot");
    else if (code != 0)
        status = failure(error, FAM_STATUS_FAILED, "gnuplot: cannot be started: %s", strerror(code));
    if (status == FAM_OK && !wait_for(child))
        status = complain(streams[STREAM_ERR], error);
    if (status == FAM_OK)
        status = read_back(out, size, streams[STREAM_OUT], error);
    for (int i = 0; i < STREAMS; i++) {
        if (streams[i] >= 0)
            close(streams[i]);
    }
    return status;
}
