/*
 * base/directory.h: directories that results are written into.
 *
 * Errors name the path. Nothing here follows a symbolic link at the end of a path, and nothing removes what it does not
 * know.
 */
#ifndef FAM_BASE_DIRECTORY_H
#define FAM_BASE_DIRECTORY_H

#include <stdint.h>

#include "base/memory.h"

/* Makes one directory (its parent must be there). One that is there already will do; anything else: FAM_STATUS_IO. */
fam_status fam_directory_make(const char *path, fam_error *error);
/* Removes a regular file; none there is no error. */
fam_status fam_file_remove(const char *path, fam_error *error);

/* A path without the slashes at its end; released with fam_free; NULL when memory is short. "/" stays. */
char *fam_path_trim(fam_memory *memory, const char *path);
/* Whether both are there and are the same file or directory, by whatever names. */
bool fam_path_same(const char *a, const char *b);
/* Bytes that may still be written where `path` is to be made (its directory must be there). */
fam_status fam_path_free_space(const char *path, fam_memory *memory, uint64_t *out, fam_error *error);

/* FAM_STATUS_IO if something is at `path`, even a dangling link. */
fam_status fam_path_refuse_existing(const char *path, fam_error *error);

/* A directory that appears at once with all that is in it, or not at all: begin makes "<path>.tmp.<pid>.<n>", files are
 * written there, commit renames it to `path` and syncs the parent; abort (or a failed commit) removes it and the files
 * in it. Something that is at `path` already is refused at both ends. */
typedef struct fam_new_directory fam_new_directory;
fam_status fam_new_directory_begin(fam_new_directory **out, fam_memory *memory, const char *path, fam_error *error);
const char *fam_new_directory_path(const fam_new_directory *directory);              /* where to write */
fam_status fam_new_directory_commit(fam_new_directory *directory, fam_error *error); /* frees it, whatever happens */
void fam_new_directory_abort(fam_new_directory *directory);                          /* NULL is allowed */

#endif
