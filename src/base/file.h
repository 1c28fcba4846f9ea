/*
 * base/file.h: whole files, mapped or read, and files that are replaced at once or not at all.
 *
 * Errors name the path. Only regular files are opened for mapping and reading (a directory, FIFO or device is refused at
 * once, without blocking).
 */
#ifndef FAM_BASE_FILE_H
#define FAM_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"

/* Reports what the system said (an errno): "<path>: <what>: <reason>". FAM_STATUS_NOT_FOUND, FAM_STATUS_OUT_OF_MEMORY or
 * FAM_STATUS_IO. */
fam_status fam_io_error(fam_error *error, const char *path, const char *what, int code);

/* A file mapped read-only. If another process shortens the file, touching what is gone raises SIGBUS: a program that
 * wants a clean message installs a handler (fam does). */
typedef struct fam_mapping {
    const uint8_t *data; /* NULL when size is 0 */
    size_t size;
} fam_mapping;

fam_status fam_mapping_open(fam_mapping *out, const char *path, fam_error *error);
void fam_mapping_close(fam_mapping *mapping);

/* A regular file that is read at any place, and may be larger than memory. All zero: closed. */
typedef struct fam_input {
    bool open;
    int fd;
    uint64_t size;
    int64_t changed_seconds, changed_nanoseconds; /* its time of change, when it was opened */
} fam_input;

fam_status fam_input_open(fam_input *out, const char *path, fam_error *error);
void fam_input_close(fam_input *input);
/* Exactly `size` bytes from `offset`; a file that ends before is an error. Thread-safe. */
fam_status fam_input_read(const fam_input *input, const char *path, uint64_t offset, void *out, size_t size,
                          fam_error *error);
/* IO: size or time of change are no longer those of the opening. */
fam_status fam_input_check(const fam_input *input, const char *path, fam_error *error);

/* Reads a whole regular file of at most `limit` bytes; *out is NUL-terminated (the NUL is not counted) and is released
 * with fam_free. Larger: FAM_STATUS_BAD_FORMAT. */
fam_status fam_file_read(uint8_t **out, size_t *size, fam_memory *memory, const char *path, size_t limit,
                         fam_error *error);

/* directory + "/" + name, released with fam_free; NULL when memory is short. */
char *fam_path_join(fam_memory *memory, const char *directory, const char *name);
/* The path from the root, without links, "." and ".."; something must be there. Released with fam_free. */
fam_status fam_path_real(char **out, fam_memory *memory, const char *path, fam_error *error);
/* The directory that holds it ("." for a plain name), released with fam_free; NULL when memory is short. */
char *fam_path_parent(fam_memory *memory, const char *path);
bool fam_path_is_directory(const char *path);
bool fam_path_exists(const char *path); /* any kind of file, also a dangling link */

/* Makes what was renamed in a directory last. */
fam_status fam_directory_sync(const char *path, fam_error *error);

/* Permissions of a new file. */
typedef enum fam_file_access { FAM_FILE_SHARED, FAM_FILE_PRIVATE } fam_file_access;

/* Replacing a file atomically: begin makes `<path>.tmp.<pid>.<n>` beside it, write appends, commit syncs the file, renames it and syncs
 * the directory; abort (or a failed commit) removes the temporary file. The old file is whole until the rename. A path
 * that is a symbolic link, or anything but a regular file, is refused. A file that is replaced keeps its permissions; a new
 * one has those of `access` (PRIVATE: for its owner only). */
typedef struct fam_atomic_file fam_atomic_file;
fam_status fam_atomic_file_begin(fam_atomic_file **out, fam_memory *memory, const char *path, fam_file_access access,
                                 fam_error *error);
fam_status fam_atomic_file_write(fam_atomic_file *file, const void *data, size_t size, fam_error *error);
fam_status fam_atomic_file_commit(fam_atomic_file *file, fam_error *error); /* frees `file`, whatever happens */
void fam_atomic_file_abort(fam_atomic_file *file);                         /* NULL is allowed */
/* All of it in one. */
fam_status fam_file_replace(const char *path, fam_memory *memory, const void *data, size_t size, fam_file_access access,
                            fam_error *error);

#endif
