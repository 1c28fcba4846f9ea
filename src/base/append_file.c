/*
 * base/append_file.c: see append_file.h.
 */
#include "base/append_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct fam_append_file {
    fam_memory *memory;
    char *path;
    int fd;
    off_t size; /* everything before it is whole */
};

static fam_status system_error(const fam_append_file *file, const char *what, fam_error *error)
{
    char reason[128];
    int code = errno;
    return fam_error_set(error, code == ENOENT || code == ENOTDIR ? FAM_STATUS_NOT_FOUND : FAM_STATUS_IO, "%s: %s: %s",
                         file->path, what, strerror_r(code, reason, sizeof reason));
}

fam_status fam_append_file_open(fam_append_file **out, fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    struct stat about;
    fam_append_file *file = NULL;
    FAM_TRY_ALLOC(file, fam_alloc_zeroed(memory, sizeof *file), path);
    file->memory = memory;
    file->fd = -1;
    FAM_TRY_ALLOC(file->path, fam_strdup(memory, path), path);
    do /* O_NONBLOCK: a FIFO does not block, and is refused below */
        file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    while (file->fd < 0 && errno == EINTR);
    if (file->fd < 0 || fstat(file->fd, &about) != 0) {
        status = system_error(file, "cannot open", error);
        goto done;
    }
    FAM_FAIL_IF(!S_ISREG(about.st_mode), FAM_STATUS_IO, "%s: found a special file, need a regular file", path);
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        FAM_FAIL_IF(errno == EWOULDBLOCK, FAM_STATUS_IO,
                    "%s: found another process that writes to it, need it to end first", path);
        status = system_error(file, "cannot lock", error);
        goto done;
    }
    file->size = about.st_size;
    *out = file;
    file = NULL;
done:
    fam_append_file_close(file);
    return status;
}

fam_status fam_append_file_cut(fam_append_file *file, uint64_t size, fam_error *error)
{
    if (ftruncate(file->fd, (off_t)size) != 0)
        return system_error(file, "cannot cut", error);
    file->size = (off_t)size;
    return FAM_OK;
}

fam_status fam_append_file_write(fam_append_file *file, const void *data, size_t size, fam_error *error)
{
    size_t done_bytes = 0;
    while (done_bytes < size) {
        ssize_t written =
            pwrite(file->fd, (const char *)data + done_bytes, size - done_bytes, file->size + (off_t)done_bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            fam_status status = system_error(file, "cannot write", error);
            int ignored = ftruncate(file->fd, file->size);
            (void)ignored;
            return status;
        }
        done_bytes += (size_t)written;
    }
    file->size += (off_t)size;
    return FAM_OK;
}

void fam_append_file_close(fam_append_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    fam_free(file->memory, file->path);
    fam_free(file->memory, file);
}
