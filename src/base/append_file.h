/*
 * base/append_file.h: a file that records are added to as they happen, by one process at a time.
 */
#ifndef FAM_BASE_APPEND_FILE_H
#define FAM_BASE_APPEND_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

typedef struct fam_append_file fam_append_file;

/* Opens a regular file, or makes it, and locks it. Held by another process: FAM_STATUS_IO. A symbolic link or
 * anything but a regular file: FAM_STATUS_IO. */
fam_status fam_append_file_open(fam_append_file **out, fam_memory *memory, const char *path, fam_error *error);
/* Cuts the file to its first `size` bytes; what is added goes behind them. */
fam_status fam_append_file_cut(fam_append_file *file, uint64_t size, fam_error *error);
/* Adds all of it; on failure (a full disk) the file is cut back to what it was. */
fam_status fam_append_file_write(fam_append_file *file, const void *data, size_t size, fam_error *error);
void fam_append_file_close(fam_append_file *file); /* NULL is allowed */

#endif
