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

#endif
