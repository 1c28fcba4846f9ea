/*
 * train/metrics_file.c: see metrics_file.h.
 */
#include "train/metrics_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/descriptor.h"
#include "format/json.h"
#include "train/snapshot_private.h"

#define NAME "metrics.jsonl"

struct fam_metrics_file {
    fam_memory *memory;
    char *path;
    int fd;
    off_t size; /* of the whole lines; what lies behind it is half a line that could not be taken back */
    bool torn;
};

static fam_status cut(fam_metrics_file *file, off_t size, fam_error *error)
{
    int result;
    do
        result = ftruncate(file->fd, size);
    while (result != 0 && errno == EINTR);
    if (result != 0)
        return fam_io_error(error, file->path, "cannot shorten", errno);
    file->size = size;
    file->torn = false;
    return FAM_OK;
}

/* The step of a line, or -1 if it has none. */
static int64_t step_of_line(const char *line, size_t size)
{
    int64_t step = -1;
    json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
    const json_t *value = json_object_get(object, "step"); /* NULL when it is no object */
    if (json_is_integer(value))
        step = json_integer_value(value);
    json_decref(object);
    return step;
}

/* Where the last line of a step of at most `resume_step` ends: looked for from the end, which is where it lies. */
static size_t end_of_step(const fam_mapping *map, int64_t resume_step)
{
    const char *text = (const char *)map->data;
    size_t end = map->size;
    if (resume_step < 0)
        return 0;
    while (end > 0) {
        const char *newline = memrchr(text, '\n', end);
        if (!newline)
            return 0;
        end = (size_t)(newline - text);
        const char *before = end > 0 ? memrchr(text, '\n', end) : NULL;
        size_t begin = before ? (size_t)(before - text) + 1 : 0;
        int64_t step = step_of_line(text + begin, end - begin);
        if (step >= 0 && step <= resume_step)
            return end + 1;
        end = begin;
    }
    return 0;
}

static fam_status open_file(fam_metrics_file *file, fam_error *error)
{
    struct stat st;
    file->fd = fam_open_at(AT_FDCWD, file->path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (file->fd < 0 && errno == ELOOP)
        return fam_error_set(error, FAM_STATUS_IO, "%s: found a symbolic link, need a regular file or nothing",
                             file->path);
    if (file->fd < 0)
        return fam_io_error(error, file->path, "cannot open", errno);
    if (fstat(file->fd, &st) != 0)
        return fam_io_error(error, file->path, "cannot stat", errno);
    if (!S_ISREG(st.st_mode))
        return fam_error_set(error, FAM_STATUS_IO, "%s: found a special file, need a regular file or nothing",
                             file->path);
    file->size = st.st_size;
    return FAM_OK;
}

fam_status fam_metrics_file_open(fam_metrics_file **out, const fam_run_folder *run, int64_t resume_step,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    fam_mapping map = {0};
    fam_metrics_file *file = NULL;
    FAM_TRY_ALLOC(file, fam_alloc_zeroed(run->memory, sizeof *file), NAME);
    file->memory = run->memory;
    file->fd = -1;
    FAM_TRY_ALLOC(file->path, fam_path_join(run->memory, fam_folder_path(run->root), NAME), NAME);
    FAM_TRY(open_file(file, error));
    FAM_TRY(fam_mapping_open(&map, file->path, error));
    size_t end = end_of_step(&map, resume_step);
    if (end != (size_t)file->size)
        FAM_TRY(cut(file, (off_t)end, error));
    FAM_TRY(fam_sync_fd(file->fd, file->path, error));
    FAM_TRY(fam_folder_sync(run->root, error)); /* its name, too */
    *out = file;
    file = NULL;
done:
    fam_mapping_close(&map);
    fam_metrics_file_close(file);
    return status;
}

fam_status fam_metrics_file_append(fam_metrics_file *file, const char *line, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    struct iovec parts[] = {{(void *)(uintptr_t)line, size}, {(void *)(uintptr_t) "\n", 1}};
    FAM_FAIL_IF(memchr(line, '\n', size), FAM_STATUS_INVALID_ARGUMENT, "%s: line: found a newline in it, need none",
                file->path);
    if (file->torn)
        FAM_TRY(cut(file, file->size, error));
    ssize_t wrote;
    do
        wrote = writev(file->fd, parts, 2);
    while (wrote < 0 && errno == EINTR);
    if (wrote == (ssize_t)size + 1) {
        file->size += wrote;
        return FAM_OK;
    }
    /* a part of it means that the disk has no room for more */
    status = fam_io_error(error, file->path, "cannot write", wrote < 0 ? errno : ENOSPC);
    file->torn = true;
    cut(file, file->size, NULL);
done:
    return status;
}

fam_status fam_metrics_file_sync(fam_metrics_file *file, fam_error *error)
{
    return fam_sync_fd(file->fd, file->path, error);
}

void fam_metrics_file_close(fam_metrics_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0)
        close(file->fd);
    fam_free(file->memory, file->path);
    fam_free(file->memory, file);
}
