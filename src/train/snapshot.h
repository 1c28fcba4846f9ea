/*
 * train/snapshot.h: the output folder of a run and the checkpoints in it: locked by one trainer, written so that a kill
 * or a full disk at any moment leaves the newest good one, verified whole before anything is used.
 *
 * Knows files, sizes and hashes, and nothing of what is in them. POSIX file systems.
 *
 *   RUN/recipe.yaml  metrics.jsonl  lock
 *   RUN/checkpoints/step_00000200/  MANIFEST (JSON, written last), and the files that it lists with sizes and XXH3-128
 *   RUN/checkpoints/step_00000400.tmp/   being written; .trash-*  being deleted
 */
#ifndef FAM_TRAIN_SNAPSHOT_H
#define FAM_TRAIN_SNAPSHOT_H

#include "base/file.h"

typedef struct fam_run_folder fam_run_folder; /* holds the lock */

/* Makes the folder (and those above it) if it is not there, takes the lock (MISMATCH "in use by process N on HOST"
 * while its holder lives), and clears away what a killed run left (.tmp, .trash). IO; BAD_FORMAT: checkpoints is a link
 * or a file. A folder is used by one thread. */
fam_status fam_run_folder_open(fam_run_folder **out, fam_memory *memory, const char *path, fam_error *error);
void fam_run_folder_close(fam_run_folder *folder); /* NULL is allowed */
/* Closes it, too; and takes back what was made in it, if it was empty when it was opened, and the folder, if it was not
 * there: for a run that comes to nothing before its first step. NULL is allowed. */
void fam_run_folder_discard(fam_run_folder *folder);
const char *fam_run_folder_path(const fam_run_folder *folder);

/* `name` in it becomes what `fresh` is, at once where the file system can exchange two names; what was there is deleted.
 * Names of one component. And: whatever has this name is deleted. */
fam_status fam_run_folder_replace(fam_run_folder *folder, const char *fresh, const char *name, fam_error *error);
fam_status fam_run_folder_remove(fam_run_folder *folder, const char *name, fam_error *error);

/* ---- writing ---- */

typedef struct fam_snapshot_writer fam_snapshot_writer;
/* Begins step_N.tmp. bytes: about what it will take, checked against the free space first (IO). One writer at a time
 * and no negative step: INVALID_ARGUMENT. */
fam_status fam_snapshot_begin(fam_snapshot_writer **out, fam_run_folder *folder, int64_t step, uint64_t bytes,
                              fam_error *error);
/* The folder that files are to be written in (sub-folders may be made). */
const char *fam_snapshot_folder(const fam_snapshot_writer *writer);
/* Hashes what is there, syncs it, writes MANIFEST, renames, syncs; then deletes all but the newest `keep` (at least 2),
 * by renaming to .trash first. A checkpoint of this step that is there already is replaced; those of later steps, which
 * the run has left behind (they were damaged, or it was begun anew), are deleted. Frees the writer, whatever happens;
 * after a failure before the rename nothing but the old checkpoints is left. A failure after it (the folder cannot be
 * synced, old ones not deleted) is told, too, though the new one is in place. IO; INVALID_ARGUMENT: what was written is
 * no files and folders, or too many, or nested too deep (train/manifest.h has the limits). */
fam_status fam_snapshot_commit(fam_snapshot_writer *writer, int64_t keep, fam_error *error);
void fam_snapshot_abort(fam_snapshot_writer *writer); /* NULL is allowed */

/* ---- reading ---- */

typedef struct fam_snapshot {
    int64_t step;
    int64_t damaged; /* newer ones that are not whole */
    char *folder; /* released with fam_free */
} fam_snapshot;

/* The newest checkpoint that is whole: every file of its MANIFEST there with its size and hash; files that it does not
 * list are not looked at. `skipped` (may be NULL) is told, a line each, about those that are damaged, left by a kill,
 * or called as no step is. *out.folder NULL: there is none. What the system refuses (IO, OUT_OF_MEMORY), and a whole
 * MANIFEST of a newer version (UNSUPPORTED), is an error: going on from an older one would throw steps away. The folder
 * need not be locked; without the lock, one that is deleted meanwhile is told as skipped. */
fam_status fam_snapshot_find(fam_snapshot *out, fam_memory *memory, const char *run,
                             void (*skipped)(void *context, const char *line), void *context, fam_error *error);
/* Checks one checkpoint folder. BAD_FORMAT names the file; UNSUPPORTED; NOT_FOUND: no such folder; IO. */
fam_status fam_snapshot_check(const char *folder, fam_memory *memory, fam_error *error);

#endif
