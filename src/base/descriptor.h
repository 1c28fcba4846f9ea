/*
 * base/descriptor.h: system calls on descriptors, taken up again when a signal interrupts them, for code that keeps a
 * file open. `path` stands for the file in messages.
 */
#ifndef FAM_BASE_DESCRIPTOR_H
#define FAM_BASE_DESCRIPTOR_H

#include "base/file.h"

/* openat with O_CLOEXEC; -1 and errno. `mode` is that of a new file. */
int fam_open_at(int folder, const char *name, int flags, unsigned mode);

/* Opens a regular file for reading; a FIFO without a writer does not block. With O_NOFOLLOW in `flags` (a file of a
 * folder that must hold it itself) whatever else is there is BAD_FORMAT, else IO. */
fam_status fam_open_regular(int *fd, size_t *size, int folder, const char *name, int flags, const char *path,
                            fam_error *error);
/* Reads `expected` bytes of at most `limit`; *out is NUL-terminated. */
fam_status fam_read_fd(uint8_t **out, int fd, size_t expected, fam_memory *memory, const char *path, size_t limit,
                       fam_error *error);
fam_status fam_write_fd(int fd, const void *data, size_t size, const char *path, fam_error *error);
fam_status fam_sync_fd(int fd, const char *path, fam_error *error);
fam_status fam_sync_folder_fd(int fd, const char *path, fam_error *error); /* OK where folders cannot be synced */

#endif
