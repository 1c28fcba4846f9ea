/*
 * cli/whole_file.h: files that are read with a limit, and files that are replaced at once or not at all.
 */
#ifndef CLI_WHOLE_FILE_H
#define CLI_WHOLE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "fam/status.h"

/* Opens a regular file for reading; a directory, FIFO or device is refused without blocking. NOT_FOUND, IO. */
fam_status file_open(FILE **out, const char *path, fam_error *error);

/* All of it, at most `limit` bytes (more: BAD_FORMAT), with a NUL behind; released with free. */
fam_status file_read(char **out, size_t *size, const char *path, size_t limit, fam_error *error);

/* Writes `<path>.tmp.<pid>` and renames it; what is there and is no regular file stays, and is an error. IO. */
fam_status file_replace(const char *path, const char *data, size_t size, fam_error *error);

/* "directory/name". INVALID_ARGUMENT: it is too long. */
enum { FILE_PATH_BYTES = 4096 };
fam_status file_path(char out[FILE_PATH_BYTES], const char *directory, const char *name, fam_error *error);

bool file_is_directory(const char *path);

#endif
