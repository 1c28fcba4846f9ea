/*
 * base/lock.c: the lock of folder.h, by flock: the kernel lets it go with its last descriptor, so a dead process holds
 * none. The text in the file is for the message only.
 */
#include "base/folder.h"

#include "base/descriptor.h"
#include "base/folder_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct fam_lock {
    fam_memory *memory;
    int fd;
};

enum { TEXT_SIZE = 320 };

static fam_status in_use(int fd, const char *path, fam_error *error)
{
    char text[TEXT_SIZE] = "", *end = text;
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    long process = strtol(text, &end, 10);
    if (process <= 0 || *end != ' ' || end[1] == '\0') /* it is about to write its name, or cannot */
        return fam_error_set(error, FAM_STATUS_MISMATCH,
                             "%s: found a folder in use by another process, need one that is not in use", path);
    end[1 + strcspn(end + 1, "\n")] = '\0';
    return fam_error_set(error, FAM_STATUS_MISMATCH,
                         "%s: found a folder in use by process %ld on %s, need one that is not in use", path, process,
                         end + 1);
}

/* Whether the name still leads to the file that was locked: another may have deleted it in between. */
static bool is_current(int fd, const fam_folder *folder, const char *name)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && fstatat(folder->fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

static fam_status open_lock(int *fd, const fam_folder *folder, const char *name, const char *path, fam_error *error)
{
    struct stat st;
    *fd = fam_open_at(folder->fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (*fd < 0 && errno == ELOOP)
        return fam_error_set(error, FAM_STATUS_IO, "%s: found a symbolic link, need a regular file or nothing", path);
    if (*fd < 0)
        return fam_io_error(error, path, "cannot open", errno);
    if (fstat(*fd, &st) != 0)
        return fam_io_error(error, path, "cannot stat", errno);
    if (!S_ISREG(st.st_mode))
        return fam_error_set(error, FAM_STATUS_IO, "%s: found a special file, need a regular file or nothing", path);
    return FAM_OK;
}

static fam_status take(int fd, const char *path, fam_error *error)
{
    int result;
    do
        result = flock(fd, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR);
    if (result == 0)
        return FAM_OK;
    return errno == EWOULDBLOCK ? in_use(fd, path, error) : fam_io_error(error, path, "cannot lock", errno);
}

static int shorten(int fd)
{
    int result;
    do
        result = ftruncate(fd, 0);
    while (result != 0 && errno == EINTR);
    return result;
}

static fam_status sign(int fd, const char *path, fam_error *error)
{
    char host[256] = "", text[TEXT_SIZE];
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "an unnamed host");
    int length = snprintf(text, sizeof text, "%ld %s\n", (long)getpid(), host);
    if (shorten(fd) != 0)
        return fam_io_error(error, path, "cannot write", errno);
    return fam_write_fd(fd, text, (size_t)length, path, error);
}

fam_status fam_lock_take(fam_lock **out, const fam_folder *folder, const char *name, fam_error *error)
{
    enum { TRIES = 100 };
    fam_status status = FAM_OK;
    fam_lock *lock = NULL;
    char *path = NULL;
    FAM_TRY_ALLOC(path, fam_path_join(folder->memory, folder->path, name), folder->path);
    FAM_TRY_ALLOC(lock, fam_alloc_zeroed(folder->memory, sizeof *lock), path);
    lock->memory = folder->memory;
    lock->fd = -1;
    for (int i = 0;; i++) {
        FAM_FAIL_IF(i == TRIES, FAM_STATUS_IO, "%s: cannot lock: it is deleted again and again", path);
        FAM_TRY(open_lock(&lock->fd, folder, name, path, error));
        FAM_TRY(take(lock->fd, path, error));
        if (is_current(lock->fd, folder, name))
            break;
        close(lock->fd);
        lock->fd = -1;
    }
    FAM_TRY(sign(lock->fd, path, error));
    *out = lock;
    lock = NULL;
done:
    if (lock && lock->fd >= 0)
        close(lock->fd);
    fam_free(folder->memory, lock);
    fam_free(folder->memory, path);
    return status;
}

void fam_lock_release(fam_lock *lock)
{
    if (!lock)
        return;
    shorten(lock->fd); /* nobody's name is left in it; if that fails, the lock is gone all the same */
    close(lock->fd);
    fam_free(lock->memory, lock);
}
