/*
 * base/file.c: see file.h. Folders and their locks are in folder.c and lock.c.
 */
#include "base/file.h"

#include "base/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

fam_status fam_io_error(fam_error *error, const char *path, const char *what, int code)
{
    char reason[128];
    /* the GNU strerror_r: thread-safe, may return its own constant string */
    const char *text = strerror_r(code, reason, sizeof reason);
    fam_status status = code == ENOENT || code == ENOTDIR ? FAM_STATUS_NOT_FOUND
                        : code == ENOMEM                  ? FAM_STATUS_OUT_OF_MEMORY
                                                          : FAM_STATUS_IO;
    return fam_error_set(error, status, "%s: %s: %s", path, what, text);
}

int fam_open_at(int folder, const char *name, int flags, unsigned mode)
{
    int fd;
    do
        fd = openat(folder, name, flags | O_CLOEXEC, (mode_t)mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

fam_status fam_sync_fd(int fd, const char *path, fam_error *error)
{
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result == 0 ? FAM_OK : fam_io_error(error, path, "cannot sync", errno);
}

fam_status fam_sync_folder_fd(int fd, const char *path, fam_error *error)
{
    int result;
    do
        result = fsync(fd);
    while (result != 0 && errno == EINTR);
    if (result != 0 && errno != EINVAL && errno != EROFS) /* some file systems cannot sync a directory */
        return fam_io_error(error, path, "cannot sync", errno);
    return FAM_OK;
}

fam_status fam_open_regular(int *fd, size_t *size, int folder, const char *name, int flags, const char *path,
                            fam_error *error)
{
    int opened = fam_open_at(folder, name, O_RDONLY | O_NONBLOCK | flags, 0);
    if (opened < 0 && errno == ELOOP && flags & O_NOFOLLOW)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: found a symbolic link, need a regular file", path);
    if (opened < 0)
        return fam_io_error(error, path, "cannot open", errno);
    struct stat st;
    if (fstat(opened, &st) != 0) {
        int code = errno;
        close(opened);
        return fam_io_error(error, path, "cannot stat", code);
    }
    if (!S_ISREG(st.st_mode)) {
        close(opened);
        return fam_error_set(error, flags & O_NOFOLLOW ? FAM_STATUS_BAD_FORMAT : FAM_STATUS_IO,
                             "%s: found %s, need a regular file", path,
                             S_ISDIR(st.st_mode) ? "a directory" : "a special file");
    }
    *fd = opened;
    *size = (size_t)st.st_size;
    return FAM_OK;
}

fam_status fam_mapping_open(fam_mapping *out, const char *path, fam_error *error)
{
    int fd;
    size_t size;
    fam_status status = fam_open_regular(&fd, &size, AT_FDCWD, path, 0, path, error);
    if (status != FAM_OK)
        return status;
    void *data = NULL;
    if (size > 0) {
        data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            int code = errno;
            close(fd);
            return fam_io_error(error, path, "cannot map", code);
        }
    }
    close(fd);
    *out = (fam_mapping){.data = data, .size = size};
    return FAM_OK;
}

void fam_mapping_close(fam_mapping *mapping)
{
    if (mapping->data)
        munmap((void *)(uintptr_t)mapping->data, mapping->size);
    *mapping = (fam_mapping){0};
}

fam_status fam_input_open(fam_input *out, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    struct stat st;
    int fd = -1;
    size_t size;
    *out = (fam_input){0};
    FAM_TRY(fam_open_regular(&fd, &size, AT_FDCWD, path, 0, path, error));
    if (fstat(fd, &st) != 0) {
        status = fam_io_error(error, path, "cannot stat", errno);
        goto done;
    }
    *out = (fam_input){.open = true,
                       .fd = fd,
                       .size = (uint64_t)st.st_size,
                       .changed_seconds = st.st_mtim.tv_sec,
                       .changed_nanoseconds = st.st_mtim.tv_nsec};
    fd = -1;
done:
    if (fd >= 0)
        close(fd);
    return status;
}

void fam_input_close(fam_input *input)
{
    if (input->open)
        close(input->fd);
    *input = (fam_input){0};
}

fam_status fam_input_read(const fam_input *input, const char *path, uint64_t offset, void *out, size_t size,
                          fam_error *error)
{
    uint8_t *to = out;
    while (size) {
        ssize_t got = pread(input->fd, to, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fam_io_error(error, path, "cannot read", errno);
        if (got == 0)
            return fam_error_set(error, FAM_STATUS_IO, "%s: found the end at byte %llu, need %zu more (it shrank)",
                                 path, (unsigned long long)offset, size);
        to += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return FAM_OK;
}

fam_status fam_input_check(const fam_input *input, const char *path, fam_error *error)
{
    struct stat st;
    if (fstat(input->fd, &st) != 0)
        return fam_io_error(error, path, "cannot stat", errno);
    if ((uint64_t)st.st_size != input->size || st.st_mtim.tv_sec != input->changed_seconds ||
        st.st_mtim.tv_nsec != input->changed_nanoseconds)
        return fam_error_set(error, FAM_STATUS_IO,
                             "%s: file: found %lld bytes, changed since it was opened, need it as it was (%llu bytes)",
                             path, (long long)st.st_size, (unsigned long long)input->size);
    return FAM_OK;
}

fam_status fam_read_fd(uint8_t **out, int fd, size_t expected, fam_memory *memory, const char *path, size_t limit,
                       fam_error *error)
{
    fam_status status = FAM_OK;
    size_t have = 0;
    uint8_t *data = NULL;
    FAM_FAIL_IF(expected > limit, FAM_STATUS_BAD_FORMAT, "%s: size: found %zu bytes, need at most %zu", path, expected,
                limit);
    FAM_TRY_ALLOC(data, fam_alloc(memory, expected + 1), path);
    while (have < expected) {
        ssize_t got = read(fd, data + have, expected - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = fam_io_error(error, path, "cannot read", errno);
            goto done;
        }
        FAM_FAIL_IF(got == 0, FAM_STATUS_IO, "%s: size: found %zu bytes, need %zu (it shrank while it was read)", path,
                    have, expected);
        have += (size_t)got;
    }
    data[expected] = '\0';
    *out = data;
    data = NULL;
done:
    fam_free(memory, data);
    return status;
}

fam_status fam_file_read(uint8_t **out, size_t *size, fam_memory *memory, const char *path, size_t limit,
                         fam_error *error)
{
    int fd;
    size_t expected;
    fam_status status = fam_open_regular(&fd, &expected, AT_FDCWD, path, 0, path, error);
    if (status != FAM_OK)
        return status;
    status = fam_read_fd(out, fd, expected, memory, path, limit, error);
    if (status == FAM_OK)
        *size = expected;
    close(fd);
    return status;
}

char *fam_path_join(fam_memory *memory, const char *directory, const char *name)
{
    size_t a = strlen(directory), b = strlen(name);
    bool slash = a > 0 && directory[a - 1] != '/';
    char *path = fam_alloc(memory, a + b + 2);
    if (!path)
        return NULL;
    snprintf(path, a + b + 2, "%s%s%s", directory, slash ? "/" : "", name);
    return path;
}

fam_status fam_path_real(char **out, fam_memory *memory, const char *path, fam_error *error)
{
    char *real = realpath(path, NULL);
    if (!real)
        return fam_io_error(error, path, "cannot resolve", errno);
    *out = fam_strdup(memory, real);
    free(real);
    return *out ? FAM_OK : fam_out_of_memory(error, path);
}

char *fam_path_parent(fam_memory *memory, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return fam_strdup(memory, ".");
    return fam_strndup(memory, path, slash == path ? 1 : (size_t)(slash - path));
}

bool fam_path_is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool fam_path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* ---- replacing a file ------------------------------------------------------------------------------------------- */

struct fam_atomic_file {
    fam_memory *memory;
    char *path, *temporary, *directory;
    int fd;
};

static void atomic_file_free(fam_atomic_file *file)
{
    fam_memory *memory = file->memory;
    if (file->fd >= 0)
        close(file->fd);
    fam_free(memory, file->path);
    fam_free(memory, file->temporary);
    fam_free(memory, file->directory);
    fam_free(memory, file);
}

/* Refuses to replace what is not a plain file: a link could lead anywhere. *mode: the permissions of what is there. */
static fam_status check_target(const char *path, mode_t *mode, fam_error *error)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? FAM_OK : fam_io_error(error, path, "cannot stat", errno);
    if (S_ISREG(st.st_mode)) {
        *mode = st.st_mode & 0777;
        return FAM_OK;
    }
    return fam_error_set(error, FAM_STATUS_IO, "%s: found %s, need a regular file or nothing", path,
                         S_ISLNK(st.st_mode)   ? "a symbolic link"
                         : S_ISDIR(st.st_mode) ? "a directory"
                                               : "a special file");
}

fam_status fam_atomic_file_begin(fam_atomic_file **out, fam_memory *memory, const char *path, fam_file_access access,
                                 fam_error *error)
{
    fam_atomic_file *file = NULL;
    mode_t mode = 0;
    fam_status status = check_target(path, &mode, error);
    if (status != FAM_OK)
        return status;
    FAM_TRY_ALLOC(file, fam_alloc_zeroed(memory, sizeof *file), path);
    file->memory = memory;
    file->fd = -1;
    size_t length = strlen(path);
    FAM_TRY_ALLOC(file->path, fam_strdup(memory, path), path);
    FAM_TRY_ALLOC(file->temporary, fam_alloc(memory, length + 64), path);
    FAM_TRY_ALLOC(file->directory, fam_path_parent(memory, path), path);
    for (unsigned number = 0; file->fd < 0; number++) {
        snprintf(file->temporary, length + 64, "%s.tmp.%ld.%u", path, (long)getpid(), number);
        file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                        access == FAM_FILE_PRIVATE || mode ? 0600 : 0644);
        if (file->fd < 0 && errno != EINTR && (errno != EEXIST || number > 1000)) {
            status = fam_io_error(error, file->temporary, "cannot create", errno);
            goto done;
        }
    }
    if (mode && fchmod(file->fd, mode) != 0) {
        status = fam_io_error(error, file->temporary, "cannot set permissions", errno);
        unlink(file->temporary);
        goto done;
    }
    *out = file;
    file = NULL;
done:
    if (file)
        atomic_file_free(file);
    return status;
}

fam_status fam_write_fd(int fd, const void *data, size_t size, const char *path, fam_error *error)
{
    const uint8_t *next = data;
    while (size > 0) {
        ssize_t wrote = write(fd, next, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return fam_io_error(error, path, "cannot write", errno);
        next += wrote;
        size -= (size_t)wrote;
    }
    return FAM_OK;
}

fam_status fam_atomic_file_write(fam_atomic_file *file, const void *data, size_t size, fam_error *error)
{
    return fam_write_fd(file->fd, data, size, file->temporary, error);
}

fam_status fam_directory_sync(const char *path, fam_error *error)
{
    int fd = fam_open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fam_io_error(error, path, "cannot open", errno);
    fam_status status = fam_sync_folder_fd(fd, path, error);
    close(fd);
    return status;
}

fam_status fam_atomic_file_commit(fam_atomic_file *file, fam_error *error)
{
    fam_status status = FAM_OK;
    bool renamed = false;
    FAM_TRY(fam_sync_fd(file->fd, file->temporary, error));
    int result = close(file->fd);
    file->fd = -1;
    if (result != 0 && errno != EINTR) {
        status = fam_io_error(error, file->temporary, "cannot close", errno);
        goto done;
    }
    if (rename(file->temporary, file->path) != 0) {
        status = fam_io_error(error, file->path, "cannot replace", errno);
        goto done;
    }
    renamed = true;
    FAM_TRY(fam_directory_sync(file->directory, error));
done:
    if (!renamed)
        unlink(file->temporary);
    atomic_file_free(file);
    return status;
}

void fam_atomic_file_abort(fam_atomic_file *file)
{
    if (!file)
        return;
    unlink(file->temporary);
    atomic_file_free(file);
}

fam_status fam_file_replace(const char *path, fam_memory *memory, const void *data, size_t size, fam_file_access access,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    fam_atomic_file *file = NULL;
    FAM_TRY(fam_atomic_file_begin(&file, memory, path, access, error));
    FAM_TRY(fam_atomic_file_write(file, data, size, error));
    status = fam_atomic_file_commit(file, error);
    file = NULL;
done:
    fam_atomic_file_abort(file);
    return status;
}
