/*
 * base/directory.c: see directory.h.
 */
#include "base/directory.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
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
