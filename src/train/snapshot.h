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

/* Makes the folder if it is not there, takes the lock (MISMATCH "in use by process N on HOST" while its holder lives),
 * and clears away what a killed run left (.tmp, .trash). IO. */
fam_status fam_run_folder_open(fam_run_folder **out, fam_memory *memory, const char *path, fam_error *error);
void fam_run_folder_close(fam_run_folder *folder); /* NULL is allowed */
const char *fam_run_folder_path(const fam_run_folder *folder);

/* ---- writing ---- */

typedef struct fam_snapshot_writer fam_snapshot_writer;
/* Begins step_N.tmp. bytes: about what it will take, checked against the free space first (IO). */
fam_status fam_snapshot_begin(fam_snapshot_writer **out, fam_run_folder *folder, int64_t step, uint64_t bytes,
                              fam_error *error);
/* The folder that files are to be written in (sub-folders may be made). */
const char *fam_snapshot_folder(const fam_snapshot_writer *writer);
/* Hashes what is there, syncs it, writes MANIFEST, renames, syncs; then deletes all but the newest `keep`, by renaming
 * to .trash first. Frees the writer, whatever happens; after a failure nothing but the old checkpoints is left. */
fam_status fam_snapshot_commit(fam_snapshot_writer *writer, int64_t keep, fam_error *error);
void fam_snapshot_abort(fam_snapshot_writer *writer); /* NULL is allowed */

/* ---- reading ---- */

typedef struct fam_snapshot {
    int64_t step;
    char *folder; /* released with fam_free */
} fam_snapshot;

/* The newest checkpoint that is whole: every file of its MANIFEST there with its size and hash. `skipped` (may be NULL)
 * is told, a line each, about those that are not. *out.folder NULL: there is none. The folder need not be locked. */
fam_status fam_snapshot_find(fam_snapshot *out, fam_memory *memory, const char *run, void (*skipped)(void *context, const char *line),
                             void *context, fam_error *error);
/* Checks one checkpoint folder. BAD_FORMAT names the file. */
fam_status fam_snapshot_check(const char *folder, fam_memory *memory, fam_error *error);

#endif
