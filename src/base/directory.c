/*
 * base/directory.c: see directory.h.
 */
#include "base/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"

fam_status fam_directory_make(const char *path, fam_error *error)
{
    struct stat st;
    if (mkdir(path, 0777) == 0)
        return FAM_OK;
    int code = errno;
    if (code != EEXIST)
        return fam_io_error(error, path, "cannot make the directory", code);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_IO, "%s: found a file, need a directory or nothing", path);
}

fam_status fam_file_remove(const char *path, fam_error *error)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? FAM_OK : fam_io_error(error, path, "cannot stat", errno);
    if (!S_ISREG(st.st_mode))
        return fam_error_set(error, FAM_STATUS_IO, "%s: found no regular file, need one or nothing", path);
    return unlink(path) == 0 || errno == ENOENT ? FAM_OK : fam_io_error(error, path, "cannot remove", errno);
}

char *fam_path_trim(fam_memory *memory, const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return fam_strndup(memory, path, length);
}

bool fam_path_same(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

fam_status fam_path_free_space(const char *path, fam_memory *memory, uint64_t *out, fam_error *error)
{
    fam_status status = FAM_OK;
    struct statvfs st;
    char *parent = NULL;
    FAM_TRY_ALLOC(parent, fam_path_parent(memory, path), path);
    if (statvfs(parent, &st) != 0) {
        status = fam_io_error(error, parent, "cannot stat", errno);
        goto done;
    }
    *out = (uint64_t)st.f_bavail * (uint64_t)st.f_frsize;
done:
    fam_free(memory, parent);
    return status;
}

/* ---- a directory at once ----------------------------------------------------------------------------------------- */

struct fam_new_directory {
    fam_memory *memory;
    char *path, *temporary, *parent;
};

static void directory_free(fam_new_directory *directory)
{
    fam_memory *memory = directory->memory;
    fam_free(memory, directory->path);
    fam_free(memory, directory->temporary);
    fam_free(memory, directory->parent);
    fam_free(memory, directory);
}

fam_status fam_path_refuse_existing(const char *path, fam_error *error)
{
    if (!fam_path_exists(path))
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_IO, "%s: found something there already, need a new path", path);
}

fam_status fam_new_directory_begin(fam_new_directory **out, fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_new_directory *directory = NULL;
    size_t room = strlen(path) + 64;
    FAM_TRY(fam_path_refuse_existing(path, error));
    FAM_TRY_ALLOC(directory, fam_alloc_zeroed(memory, sizeof *directory), path);
    directory->memory = memory;
    FAM_TRY_ALLOC(directory->path, fam_strdup(memory, path), path);
    FAM_TRY_ALLOC(directory->parent, fam_path_parent(memory, path), path);
    FAM_TRY_ALLOC(directory->temporary, fam_alloc(memory, room), path);
    for (unsigned number = 0;; number++) {
        snprintf(directory->temporary, room, "%s.tmp.%ld.%u", path, (long)getpid(), number);
        if (mkdir(directory->temporary, 0777) == 0)
            break;
        if (errno != EEXIST || number > 1000) {
            status = fam_io_error(error, directory->temporary, "cannot make the directory", errno);
            goto done;
        }
    }
    *out = directory;
    directory = NULL;
done:
    if (directory)
        directory_free(directory);
    return status;
}

const char *fam_new_directory_path(const fam_new_directory *directory)
{
    return directory->temporary;
}

/* The files in it, then itself; a directory in it is none of ours and stays. */
static void remove_temporary(const char *path)
{
    DIR *list = opendir(path);
    struct dirent *entry;
    while (list && (entry = readdir(list)))
        unlinkat(dirfd(list), entry->d_name, 0); /* refuses "." and ".." */
    if (list)
        closedir(list);
    rmdir(path);
}

fam_status fam_new_directory_commit(fam_new_directory *directory, fam_error *error)
{
    fam_status status = FAM_OK;
    bool renamed = false;
    FAM_TRY(fam_directory_sync(directory->temporary, error));
    FAM_TRY(fam_path_refuse_existing(directory->path, error));
    int result = renameat2(AT_FDCWD, directory->temporary, AT_FDCWD, directory->path, RENAME_NOREPLACE);
    if (result != 0 && (errno == EINVAL || errno == ENOSYS)) /* a file system without it */
        result = rename(directory->temporary, directory->path);
    if (result != 0) {
        status = fam_io_error(error, directory->path, "cannot rename to it", errno);
        goto done;
    }
    renamed = true;
    FAM_TRY(fam_directory_sync(directory->parent, error));
done:
    if (!renamed)
        remove_temporary(directory->temporary);
    directory_free(directory);
    return status;
}

void fam_new_directory_abort(fam_new_directory *directory)
{
    if (!directory)
        return;
    remove_temporary(directory->temporary);
    directory_free(directory);
}
