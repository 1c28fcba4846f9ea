/*
 * base/folder.c: see folder.h. Everything goes through openat and its kin on descriptors, with O_NOFOLLOW.
 */
#include "base/folder.h"

#include "base/descriptor.h"
#include "base/folder_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

enum { SHOWN_SIZE = 4096, PIECE_BYTES = 1 << 20 };

/* Path of a name for messages; cut where it is too long for one. */
static const char *shown(char buffer[SHOWN_SIZE], const fam_folder *folder, const char *name)
{
    snprintf(buffer, SHOWN_SIZE, "%s/%s", folder->path, name);
    return buffer;
}

static fam_status error_in(fam_error *error, const fam_folder *folder, const char *name, const char *what, int code)
{
    char path[SHOWN_SIZE];
    return fam_io_error(error, shown(path, folder, name), what, code);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Takes the descriptor, which is closed if this fails. */
static fam_status folder_create(fam_folder **out, fam_memory *memory, int fd, const char *parent, const char *name,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    fam_folder *folder = NULL;
    FAM_TRY_ALLOC(folder, fam_alloc_zeroed(memory, sizeof *folder), name);
    folder->memory = memory;
    folder->fd = -1;
    FAM_TRY_ALLOC(folder->path, parent ? fam_path_join(memory, parent, name) : fam_strdup(memory, name), name);
    folder->fd = fd;
    fd = -1;
    *out = folder;
    folder = NULL;
done:
    if (fd >= 0)
        close(fd);
    fam_folder_close(folder);
    return status;
}

fam_status fam_folder_open(fam_folder **out, fam_memory *memory, const char *path, fam_error *error)
{
    int fd = fam_open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 && errno == ENOTDIR && fam_path_exists(path))
        return fam_error_set(error, FAM_STATUS_IO, "%s: found a file, need a folder", path);
    if (fd < 0)
        return fam_io_error(error, path, "cannot open", errno);
    return folder_create(out, memory, fd, NULL, path, error);
}

fam_status fam_folder_open_in(fam_folder **out, const fam_folder *parent, const char *name, bool make, fam_error *error)
{
    char path[SHOWN_SIZE];
    if (make && mkdirat(parent->fd, name, 0777) != 0 && errno != EEXIST)
        return error_in(error, parent, name, "cannot make", errno);
    int fd = fam_open_at(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP)) /* Linux says ENOTDIR for a link, too */
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: found a file or a link, need a folder",
                             shown(path, parent, name));
    if (fd < 0)
        return error_in(error, parent, name, "cannot open", errno);
    return folder_create(out, parent->memory, fd, parent->path, name, error);
}

void fam_folder_close(fam_folder *folder)
{
    if (!folder)
        return;
    if (folder->fd >= 0)
        close(folder->fd);
    fam_free(folder->memory, folder->path);
    fam_free(folder->memory, folder);
}

const char *fam_folder_path(const fam_folder *folder)
{
    return folder->path;
}

fam_status fam_folder_sync(const fam_folder *folder, fam_error *error)
{
    return fam_sync_folder_fd(folder->fd, folder->path, error);
}

/* Syncs the folder that `path`, changed meanwhile, lies in: up to `slash`, or the working directory. */
static fam_status sync_above(char *path, char *slash, fam_error *error)
{
    const char *above = slash ? path : ".";
    if (slash == path)
        above = "/";
    else if (slash)
        *slash = '\0';
    int fd = fam_open_at(AT_FDCWD, above, O_RDONLY | O_DIRECTORY, 0);
    fam_status status =
        fd < 0 ? fam_io_error(error, above, "cannot open", errno) : fam_sync_folder_fd(fd, above, error);
    if (fd >= 0)
        close(fd);
    if (slash)
        *slash = '/';
    return status;
}

fam_status fam_folder_make(fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    char *copy = NULL, *slash = NULL;
    FAM_FAIL_IF(path[0] == '\0', FAM_STATUS_INVALID_ARGUMENT, "folder: found an empty path, need a name");
    FAM_TRY_ALLOC(copy, fam_strdup(memory, path), path);
    /* each component in turn: `slash` is the one before it, `end` the one after it */
    for (char *next = copy + strspn(copy, "/"), *end; *next; next = end + strspn(end, "/")) {
        end = next + strcspn(next, "/");
        char kept = *end;
        if (next > copy)
            slash = next - 1;
        *end = '\0';
        if (mkdir(copy, 0777) == 0) {
            FAM_TRY(sync_above(copy, slash, error));
        } else {
            int code = errno; /* EEXIST, or no right to write above what is there already */
            FAM_FAIL_IF(code == EEXIST && !fam_path_is_directory(copy), FAM_STATUS_IO,
                        "%s: found a file, need a folder", copy);
            if (!fam_path_is_directory(copy)) {
                status = fam_io_error(error, copy, "cannot make", code);
                goto done;
            }
        }
        *end = kept;
    }
done:
    fam_free(memory, copy);
    return status;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static fam_status add_name(fam_folder_names *names, int64_t *capacity, const char *name, const char *path,
                           fam_error *error)
{
    fam_status status = FAM_OK;
    if (names->count == *capacity) {
        int64_t larger = 2 * *capacity + 16;
        char **list;
        FAM_TRY_ALLOC(list, fam_realloc(names->memory, names->list, (size_t)larger * sizeof *list), path);
        names->list = list;
        *capacity = larger;
    }
    FAM_TRY_ALLOC(names->list[names->count], fam_strdup(names->memory, name), path);
    names->count++;
done:
    return status;
}

fam_status fam_folder_list(fam_folder_names *out, const fam_folder *folder, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_folder_names names = {.memory = folder->memory};
    int64_t capacity = 0;
    DIR *stream = NULL;
    int fd = fam_open_at(folder->fd, ".", O_RDONLY | O_DIRECTORY, 0); /* a place of its own in the folder */
    if (fd < 0)
        return fam_io_error(error, folder->path, "cannot open", errno);
    stream = fdopendir(fd);
    if (!stream) {
        status = fam_io_error(error, folder->path, "cannot list", errno);
        close(fd);
        return status;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (!entry && errno != 0) {
            status = fam_io_error(error, folder->path, "cannot list", errno);
            goto done;
        }
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        FAM_TRY(add_name(&names, &capacity, entry->d_name, folder->path, error));
    }
    if (names.count > 0)
        qsort(names.list, (size_t)names.count, sizeof *names.list, compare_names);
    *out = names;
    names = (fam_folder_names){.memory = folder->memory};
done:
    closedir(stream);
    fam_folder_names_free(&names);
    return status;
}

void fam_folder_names_free(fam_folder_names *names)
{
    for (int64_t i = 0; i < names->count; i++)
        fam_free(names->memory, names->list[i]);
    if (names->list)
        fam_free(names->memory, names->list);
    *names = (fam_folder_names){.memory = names->memory};
}

fam_status fam_folder_look(fam_folder_kind *out, uint64_t *bytes, const fam_folder *folder, const char *name,
                           fam_error *error)
{
    struct stat st;
    if (fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT)
            return error_in(error, folder, name, "cannot stat", errno);
        *out = FAM_FOLDER_NOTHING;
        return FAM_OK;
    }
    *out = S_ISREG(st.st_mode)   ? FAM_FOLDER_FILE
           : S_ISDIR(st.st_mode) ? FAM_FOLDER_FOLDER
           : S_ISLNK(st.st_mode) ? FAM_FOLDER_LINK
                                 : FAM_FOLDER_OTHER;
    if (bytes)
        *bytes = (uint64_t)st.st_size;
    return FAM_OK;
}

const char *fam_folder_kind_words(fam_folder_kind kind)
{
    static const char *const words[] = {"nothing", "a file", "a folder", "a symbolic link", "a special file"};
    return words[kind];
}

fam_status fam_folder_free_bytes(uint64_t *out, const fam_folder *folder, fam_error *error)
{
    struct statvfs st;
    int result;
    do
        result = fstatvfs(folder->fd, &st);
    while (result != 0 && errno == EINTR);
    if (result != 0)
        return fam_io_error(error, folder->path, "cannot ask for the free space", errno);
    if (st.f_blocks == 0 || __builtin_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, out))
        *out = UINT64_MAX;
    return FAM_OK;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

fam_status fam_folder_read(uint8_t **out, size_t *size, const fam_folder *folder, const char *name, size_t limit,
                           fam_error *error)
{
    char path[SHOWN_SIZE];
    int fd;
    size_t expected;
    fam_status status =
        fam_open_regular(&fd, &expected, folder->fd, name, O_NOFOLLOW, shown(path, folder, name), error);
    if (status != FAM_OK)
        return status;
    status = fam_read_fd(out, fd, expected, folder->memory, path, limit, error);
    if (status == FAM_OK)
        *size = expected;
    close(fd);
    return status;
}

fam_status fam_folder_write(const fam_folder *folder, const char *name, const void *data, size_t size, fam_error *error)
{
    char path[SHOWN_SIZE];
    fam_status status = FAM_OK;
    int fd = fam_open_at(folder->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
    if (fd < 0)
        return error_in(error, folder, name, "cannot create", errno);
    FAM_TRY(fam_write_fd(fd, data, size, shown(path, folder, name), error));
    FAM_TRY(fam_sync_fd(fd, path, error));
    int result = close(fd);
    fd = -1;
    if (result != 0 && errno != EINTR)
        status = fam_io_error(error, path, "cannot close", errno);
done:
    if (fd >= 0)
        close(fd);
    return status;
}

static void put_hash(fam_file_hash *out, uint64_t bytes, XXH128_hash_t hash)
{
    out->bytes = bytes;
    snprintf(out->digits, sizeof out->digits, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

void fam_hash_bytes(fam_file_hash *out, const void *data, size_t size)
{
    put_hash(out, size, XXH3_128bits(data, size));
}

fam_status fam_folder_hash(fam_file_hash *out, const fam_folder *folder, const char *name, bool sync, fam_error *error)
{
    char path[SHOWN_SIZE];
    int fd;
    size_t expected;
    uint64_t bytes = 0;
    uint8_t *piece = NULL;
    XXH3_state_t *hash = NULL;
    fam_status status =
        fam_open_regular(&fd, &expected, folder->fd, name, O_NOFOLLOW, shown(path, folder, name), error);
    if (status != FAM_OK)
        return status;
    FAM_TRY_ALLOC(piece, fam_alloc(folder->memory, PIECE_BYTES), path);
    FAM_TRY_ALLOC(hash, XXH3_createState(), path);
    XXH3_128bits_reset(hash);
    for (;;) {
        ssize_t got = read(fd, piece, PIECE_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = fam_io_error(error, path, "cannot read", errno);
            goto done;
        }
        if (got == 0)
            break;
        XXH3_128bits_update(hash, piece, (size_t)got);
        bytes += (uint64_t)got;
    }
    if (sync)
        FAM_TRY(fam_sync_fd(fd, path, error));
    put_hash(out, bytes, XXH3_128bits_digest(hash));
done:
    XXH3_freeState(hash);
    fam_free(folder->memory, piece);
    close(fd);
    return status;
}

/* ---- renaming and deleting --------------------------------------------------------------------------------------- */

fam_status fam_folder_rename(const fam_folder *folder, const char *from, const char *to, fam_error *error)
{
    if (renameat(folder->fd, from, folder->fd, to) == 0)
        return FAM_OK;
    int code = errno;
    char what[300];
    snprintf(what, sizeof what, "cannot rename to %.256s", to);
    return error_in(error, folder, from, what, code);
}

fam_status fam_folder_exchange(const fam_folder *folder, const char *a, const char *b, fam_error *error)
{
    if (renameat2(folder->fd, a, folder->fd, b, RENAME_EXCHANGE) == 0)
        return FAM_OK;
    int code = errno;
    char what[300];
    snprintf(what, sizeof what, "cannot change places with %.256s", b);
    fam_status status = error_in(error, folder, a, what, code);
    if (code == EINVAL || code == ENOSYS || code == EOPNOTSUPP)
        status = fam_error_prefix(error, FAM_STATUS_UNSUPPORTED, "exchange");
    return status;
}

/* `at` is an open folder whose contents go; its own name is the caller's to remove. */
static fam_status empty_folder(const fam_folder *at, int depth, fam_error *error);

static fam_status remove_name(const fam_folder *folder, const char *name, int depth, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_folder *inner = NULL;
    if (unlinkat(folder->fd, name, 0) == 0 || errno == ENOENT)
        return FAM_OK;
    if (errno != EISDIR && errno != EPERM) /* EPERM is POSIX's word for a folder */
        return error_in(error, folder, name, "cannot delete", errno);
    int code = errno;
    if (unlinkat(folder->fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return FAM_OK;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return error_in(error, folder, name, "cannot delete", errno == ENOTDIR ? code : errno);
    FAM_FAIL_IF(depth == FAM_FOLDER_DEPTH_MAX, FAM_STATUS_IO,
                "%s/%s: cannot delete: found folders nested more than %d deep", folder->path, name,
                FAM_FOLDER_DEPTH_MAX);
    FAM_TRY(fam_folder_open_in(&inner, folder, name, false, error));
    FAM_TRY(empty_folder(inner, depth + 1, error));
    if (unlinkat(folder->fd, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        status = error_in(error, folder, name, "cannot delete", errno);
done:
    fam_folder_close(inner);
    return status;
}

static fam_status empty_folder(const fam_folder *at, int depth, fam_error *error)
{
    fam_folder_names names = {0};
    fam_status status = fam_folder_list(&names, at, error);
    if (status != FAM_OK)
        return status;
    for (int64_t i = 0; i < names.count && status == FAM_OK; i++)
        status = remove_name(at, names.list[i], depth, error);
    fam_folder_names_free(&names);
    return status;
}

fam_status fam_folder_remove(const fam_folder *folder, const char *name, fam_error *error)
{
    return remove_name(folder, name, 0, error);
}
