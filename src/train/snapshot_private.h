/*
 * train/snapshot_private.h: what the files that implement snapshot.h share: an open run folder, and the names of steps.
 */
#ifndef FAM_TRAIN_SNAPSHOT_PRIVATE_H
#define FAM_TRAIN_SNAPSHOT_PRIVATE_H

#include "base/folder.h"
#include "train/snapshot.h"

#define FAM_CHECKPOINTS "checkpoints"

struct fam_run_folder {
    fam_memory *memory;
    fam_folder *root, *checkpoints;
    fam_lock *lock;
    bool writing; /* a writer is open */
    bool made, empty; /* when it was opened: it was not there, and there was nothing in it */
};

enum { FAM_STEP_NAME_SIZE = 40 }; /* "step_", up to 19 digits, ".tmp" */

/* "step_00000200": at least eight digits. */
void fam_step_name(char out[FAM_STEP_NAME_SIZE], int64_t step);
void fam_step_temporary_name(char out[FAM_STEP_NAME_SIZE], int64_t step); /* with ".tmp" behind it */
/* The step of exactly such a name; -1 for any other. */
int64_t fam_step_of_name(const char *name);
int64_t fam_step_of_temporary_name(const char *name);

/* Renames to a name that begins with .trash- and that nothing has. */
fam_status fam_trash_put(const fam_run_folder *folder, const char *name, fam_error *error);
/* Deletes what is called so. */
fam_status fam_trash_empty(const fam_run_folder *folder, fam_error *error);

#endif
