/*
 * cli/report.h: reports: one HTML file each, with its pictures inside, that needs no network, no scripts and nothing
 * beside it. Written whole or not at all.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "drawing.h"
#include "eval_results.h"
#include "plot_training.h"

typedef struct report_options {
    const char *out;        /* the HTML file */
    const char *svg_folder; /* also each picture there as NAME.svg; made if need be; NULL: no */
    bool running;           /* the page loads itself again now and then */
} report_options;

enum { REPORT_PATHS = DRAWING_COLOURS };

/* Of run folders (with metrics.jsonl), or of evaluations (folders with results.json, or such files): not of both.
 * BAD_FORMAT, UNSUPPORTED (also: no gnuplot), MISMATCH, NOT_FOUND, IO, FAILED, INVALID_ARGUMENT, OUT_OF_MEMORY. */
fam_status report_write(const char *const *paths, size_t count, const report_options *options, fam_error *error);

/* FOLDER/report.html of a run, for the trainer that works in it. */
fam_status report_write_training(const char *folder, bool running, fam_error *error);

/* Whether the path is a run, an evaluation, or neither (NOT_FOUND); the file that has its numbers. */
fam_status report_find(char file[], bool *training, const char *path, fam_error *error);

/* ---- parts of the page, for the two kinds ----------------------------------------------------------------------- */

/* What was asked of which systems; the table behind the pictures (false: out of memory). */
void report_eval_head(FILE *html, const eval_results *results);
bool report_eval_table(FILE *html, const eval_results *results);

/* What the run is and where it stands (of several: what differs); the newest validation, behind the pictures. */
void report_training_head(FILE *html, const plotted_run *runs, size_t count, bool running);
void report_training_tables(FILE *html, const plotted_run *runs, size_t count);

/* "<dt>name</dt><dd>value</dd>", both escaped. */
void report_fact(FILE *html, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
