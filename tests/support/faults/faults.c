/*
 * tests/support/faults/faults.c: see faults.h. The list of calls is that of tests/CMakeLists.txt.
 */
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "power.h"

static struct {
    bool armed;
    faults_kind kind;
    long at, count;
    int code;
    const char *name, *hit, *root;
    unsigned long long seed;
} faults = {.hit = "none"};

void faults_arm(faults_kind kind, long at, int code, const char *name)
{
    faults.kind = kind;
    faults.at = at;
    faults.count = 0;
    faults.code = code;
    faults.name = name;
    faults.hit = "none";
    faults.armed = true;
    power_begin();
}

void faults_power(const char *root, unsigned long long seed)
{
    faults.root = root;
    faults.seed = seed;
}

long faults_disarm(void)
{
    faults.armed = false;
    return faults.count;
}

const char *faults_hit(void)
{
    return faults.hit;
}

/* Does `what` if the call that was made may be lost with the power; the calls of `what` itself have no faults. */
#define NOTE_IF(condition, what)                                                                                       \
    do {                                                                                                               \
        if (faults.armed && faults.kind == FAULTS_POWER && (condition)) {                                              \
            faults.armed = false;                                                                                      \
            what;                                                                                                      \
            faults.armed = true;                                                                                       \
        }                                                                                                              \
    } while (0)

typedef enum verdict { PASS, FAIL, FAIL_LATE, SHORT, KILL } verdict;

/* Counts a call; what is to become of it. `late`: it may be made and fail all the same. */
static verdict judge(const char *name, bool late)
{
    if (!faults.armed || (faults.name && strcmp(faults.name, name) != 0))
        return PASS;
    long number = ++faults.count;
    bool lasts =
        faults.kind == FAULTS_FOR_GOOD || faults.kind == FAULTS_SHORT || faults.kind == FAULTS_SHORT_THEN_ERROR;
    if (faults.kind == FAULTS_COUNT || number < faults.at || (number > faults.at && !lasts))
        return PASS;
    if (number == faults.at)
        faults.hit = name;
    switch (faults.kind) {
    case FAULTS_LATE_ERROR:
        return late ? FAIL_LATE : FAIL;
    case FAULTS_SHORT:
        return SHORT;
    case FAULTS_SHORT_THEN_ERROR:
        return number == faults.at ? SHORT : FAIL;
    case FAULTS_KILL_BEFORE:
        raise(SIGKILL);
        return PASS;
    case FAULTS_KILL_AFTER:
        return KILL;
    case FAULTS_POWER:
        faults.armed = false;
        power_lose(faults.root, faults.seed);
        raise(SIGKILL);
        return PASS;
    default:
        return FAIL;
    }
}

/* After a call that was made: whether it is to be told as failed. */
static bool fails_late(verdict v)
{
    if (v == KILL)
        raise(SIGKILL);
    if (v == FAIL_LATE)
        errno = faults.code;
    return v == FAIL_LATE;
}

static bool fails(verdict v)
{
    if (v == FAIL)
        errno = faults.code;
    return v == FAIL;
}

/* `note` is done after a call that went well. */
#define WRAP_NOTED(type, name, late, failed, note, parameters, ...)                                                    \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        verdict v = judge(#name, late);                                                                                \
        if (fails(v))                                                                                                  \
            return failed;                                                                                             \
        type result = __real_##name(__VA_ARGS__);                                                                      \
        NOTE_IF(result != failed, note);                                                                               \
        return fails_late(v) ? failed : result;                                                                        \
    }

#define WRAP(type, name, late, failed, parameters, ...)                                                                \
    WRAP_NOTED(type, name, late, failed, (void)0, parameters, __VA_ARGS__)

WRAP_NOTED(int, fsync, true, -1, power_note_synced(fd), (int fd), fd)
WRAP_NOTED(int, ftruncate, true, -1, power_note_written(fd), (int fd, off_t size), fd, size)
WRAP(int, rename, true, -1, (const char *a, const char *b), a, b)
WRAP_NOTED(int, renameat, true, -1, power_note_renamed(f, a, b, false), (int f, const char *a, int g, const char *b), f,
           a, g, b)
WRAP_NOTED(int, renameat2, true, -1, power_note_renamed(f, a, b, h == RENAME_EXCHANGE),
           (int f, const char *a, int g, const char *b, unsigned h), f, a, g, b, h)
WRAP_NOTED(int, mkdir, true, -1, power_note_made(AT_FDCWD, path), (const char *path, mode_t mode), path, mode)
WRAP_NOTED(int, mkdirat, true, -1, power_note_made(f, path), (int f, const char *path, mode_t mode), f, path, mode)
WRAP(int, unlink, true, -1, (const char *path), path)
WRAP(int, unlinkat, true, -1, (int f, const char *path, int flags), f, path, flags)
WRAP(int, flock, false, -1, (int fd, int how), fd, how)
WRAP(int, fchmod, true, -1, (int fd, mode_t mode), fd, mode)
WRAP(int, stat, false, -1, (const char *path, struct stat *st), path, st)
WRAP(int, lstat, false, -1, (const char *path, struct stat *st), path, st)
WRAP(int, fstat, false, -1, (int fd, struct stat *st), fd, st)
WRAP(int, fstatat, false, -1, (int f, const char *path, struct stat *st, int flags), f, path, st, flags)
WRAP(int, fstatvfs, false, -1, (int fd, struct statvfs *st), fd, st)
WRAP(DIR *, fdopendir, false, NULL, (int fd), fd)
WRAP(struct dirent *, readdir, false, NULL, (DIR * stream), stream)

/* A descriptor that could not be closed is closed all the same. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    verdict v = judge("close", true);
    int result = __real_close(fd);
    return fails(v) || fails_late(v) ? -1 : result;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    verdict v = judge("open", false);
    if (fails(v))
        return -1;
    int fd = __real_open(path, flags, mode);
    NOTE_IF(fd >= 0 && flags & O_EXCL, power_note_created(fd));
    return fails_late(v) ? -1 : fd;
}

int __real_openat(int folder, const char *path, int flags, ...);
int __wrap_openat(int folder, const char *path, int flags, ...);
int __wrap_openat(int folder, const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    verdict v = judge("openat", false);
    if (fails(v))
        return -1;
    int fd = __real_openat(folder, path, flags, mode);
    NOTE_IF(fd >= 0 && flags & O_EXCL, power_note_created(fd));
    return fails_late(v) ? -1 : fd;
}

static size_t half(verdict v, size_t size)
{
    return v == SHORT && size > 1 ? size / 2 : size;
}

ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size)
{
    verdict v = judge("read", false);
    if (fails(v))
        return -1;
    ssize_t result = __real_read(fd, data, half(v, size));
    return fails_late(v) ? -1 : result;
}

ssize_t __real_pread(int fd, void *data, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void *data, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void *data, size_t size, off_t at)
{
    verdict v = judge("pread", false);
    if (fails(v))
        return -1;
    ssize_t result = __real_pread(fd, data, half(v, size), at);
    return fails_late(v) ? -1 : result;
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
    verdict v = judge("write", false);
    if (fails(v))
        return -1;
    ssize_t result = __real_write(fd, data, half(v, size));
    NOTE_IF(result > 0, power_note_written(fd));
    return fails_late(v) ? -1 : result;
}

ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    verdict v = judge("writev", false);
    if (fails(v))
        return -1;
    ssize_t result =
        v == SHORT ? __real_write(fd, parts[0].iov_base, half(v, parts[0].iov_len)) : __real_writev(fd, parts, count);
    return fails_late(v) ? -1 : result;
}

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    verdict v = flags & MAP_ANONYMOUS ? PASS : judge("mmap", false); /* memory is fam_memory's to refuse */
    if (fails(v))
        return MAP_FAILED;
    void *result = __real_mmap(at, size, protection, flags, fd, offset);
    return fails_late(v) ? MAP_FAILED : result;
}
