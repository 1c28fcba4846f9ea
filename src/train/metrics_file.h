/*
 * train/metrics_file.h: RUN/metrics.jsonl, one line of JSON a step, in the order of the steps. Only whole lines count.
 *
 * For one thread. The run folder's lock keeps other trainers away.
 */
#ifndef FAM_TRAIN_METRICS_FILE_H
#define FAM_TRAIN_METRICS_FILE_H

#include "train/snapshot.h"

typedef struct fam_metrics_file fam_metrics_file;

/* Opens metrics.jsonl in the run's folder, made if it is not there (only a regular file is opened, no link: IO), and
 * cuts it behind the last line whose member "step", an integer, is at most resume_step: lines of later steps, lines
 * that are torn, and those that follow go. A line's step is the number of steps done, so resume_step is the
 * checkpoint's; -1 (a run that begins) keeps nothing. The run outlives it. IO, OUT_OF_MEMORY. */
fam_status fam_metrics_file_open(fam_metrics_file **out, const fam_run_folder *run, int64_t resume_step,
                                 fam_error *error);
/* Appends `line` (`size` bytes: a JSON object without a newline) and a newline, in one write. INVALID_ARGUMENT: there
 * is a newline in it. IO (a full disk): the line is lost and the file has whole lines only, so the caller may say so,
 * go on, and try the next line; if half a line could not be taken back, the next append does that first, or the next
 * open. */
fam_status fam_metrics_file_append(fam_metrics_file *file, const char *line, size_t size, fam_error *error);
/* All lines so far are on the disk afterwards. Called before a checkpoint is committed: its past is then never shorter
 * than it says. IO. */
fam_status fam_metrics_file_sync(fam_metrics_file *file, fam_error *error);
void fam_metrics_file_close(fam_metrics_file *file); /* NULL is allowed; does not sync */

#endif
