/*
 * cli/whole_file.c: see whole_file.h.
 */
#include "whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "message.h"

static fam_status system_failure(fam_error *error, const char *path, const char *what)
{
    int code = errno;
    fam_status status = code == ENOENT   ? FAM_STATUS_NOT_FOUND
                        : code == ENOMEM ? FAM_STATUS_OUT_OF_MEMORY
                                         : FAM_STATUS_IO;
    return failure(error, status, "%s: %s: %s", path, what, strerror(code));
}

fam_status file_open(FILE **out, const char *path, fam_error *error)
{
    struct stat about;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return system_failure(error, path, "cannot be opened");
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        close(fd);
        return failure(error, FAM_STATUS_IO, "%s: found no regular file, need one", path);
    }
    *out = fdopen(fd, "rb");
    if (*out)
        return FAM_OK;
    fam_status status = system_failure(error, path, "cannot be opened");
    close(fd);
    return status;
}

fam_status file_read(char **out, size_t *size, const char *path, size_t limit, fam_error *error)
{
    FILE *file;
    size_t capacity = 1 << 14, length = 0;
    char *data = NULL;
    *out = NULL;
    fam_status status = file_open(&file, path, error);
    while (status == FAM_OK) { /* its size is not asked for: it may grow meanwhile */
        char *grown = realloc(data, capacity + 1);
        if (!grown) {
            status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", path);
            break;
        }
        data = grown;
        length += fread(data + length, 1, capacity - length, file);
        if (ferror(file))
            status = system_failure(error, path, "cannot be read");
        else if (length > limit)
            status = failure(error, FAM_STATUS_BAD_FORMAT, "%s: found more than %zu bytes, need at most so many", path,
                             limit);
        else if (length < capacity)
            break;
        capacity *= 2;
    }
    if (file)
        fclose(file);
    if (status != FAM_OK) {
        free(data);
        return status;
    }
    data[length] = '\0';
    *out = data;
    *size = length;
    return FAM_OK;
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno != EINTR)
            return false;
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
    return true;
}

fam_status file_replace(const char *path, const char *data, size_t size, fam_error *error)
{
    char temporary[FILE_PATH_BYTES + 32];
    struct stat about;
    if (lstat(path, &about) == 0 && !S_ISREG(about.st_mode))
        return failure(error, FAM_STATUS_IO, "%s: cannot be written: found something that is no regular file", path);
    if (strlen(path) >= FILE_PATH_BYTES)
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "%.80s…: found a path of %zu bytes, need fewer than %d",
                       path, strlen(path), FILE_PATH_BYTES);
    snprintf(temporary, sizeof temporary, "%s.tmp.%ld", path, (long)getpid());
    unlink(temporary); /* of a process with our number that was killed */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return system_failure(error, path, "cannot be written");
    bool written = write_all(fd, data, size) && fsync(fd) == 0;
    int code = errno;
    bool closed = close(fd) == 0;
    if (!written)
        errno = code;
    if (written && closed && rename(temporary, path) == 0)
        return FAM_OK;
    fam_status status = system_failure(error, path, "cannot be written");
    unlink(temporary);
    return status;
}

fam_status file_path(char out[FILE_PATH_BYTES], const char *directory, const char *name, fam_error *error)
{
    size_t length = strlen(directory), name_length = strlen(name);
    if (length + name_length + 2 > FILE_PATH_BYTES)
        return failure(error, FAM_STATUS_INVALID_ARGUMENT,
                       "%.80s…: found a path of more than %d bytes, need a shorter one", directory, FILE_PATH_BYTES);
    memmove(out, directory, length);
    if (length > 0 && directory[length - 1] != '/')
        out[length++] = '/';
    memcpy(out + length, name, name_length + 1);
    return FAM_OK;
}

bool file_is_directory(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}
