/*
 * base/folder_private.h: what is inside of a fam_folder, for the files that implement folder.h.
 */
#ifndef FAM_BASE_FOLDER_PRIVATE_H
#define FAM_BASE_FOLDER_PRIVATE_H

#include "base/folder.h"

struct fam_folder {
    fam_memory *memory;
    char *path;
    int fd;
};

#endif
