/*
 * eval/log.h: draws.jsonl, what is kept of a run: a line that says what is measured, then a line a draw.
 *
 *   {"kind":"fam-eval-draws","version":1,"task":"passkey","seed":"0","digits":5,"asked":1,"files":"<16 hex digits>"}
 *   {"system":"fam","identity":"<16 hex digits>","length":4096,"depth_from":0.0,"depth_to":0.0,"keys":1,"draw":0,
 *    "parts":1,"parts_right":1,"tokens":5,"tokens_right":5,"nll":0.01,"seconds":1.5,"read":4096}
 *
 * Text has "ranges", an array of sums of nll, besides. The file is not trusted. Lines of systems, lengths and so on
 * that are not asked for now stay as they are.
 */
#ifndef FAM_EVAL_LOG_H
#define FAM_EVAL_LOG_H

#include "eval/internal.h"

/* What is measured; a file of anything else is refused. */
typedef struct fam_eval_header {
    const char *task;
    uint64_t seed;
    int64_t digits, asked;
    char files[FAM_EVAL_IDENTITY_SIZE]; /* hash of their contents */
} fam_eval_header;

typedef struct fam_eval_line {
    const char *system, *identity;
    int64_t length;
    double depth_from, depth_to;
    int64_t keys, draw;
    fam_eval_outcome outcome;       /* done and kept are not part of the file */
    double sums[FAM_EVAL_RANGES];
    int ranges;                     /* 0, or those of the length */
} fam_eval_line;

/* Gets each draw; its strings live as long as the call. A status other than FAM_OK ends the reading. */
typedef fam_status fam_eval_line_sink(void *context, const fam_eval_line *line, fam_error *error);

/* Reads `size` bytes of the file `name`. *whole is how many of them are whole lines: a last line without its end was
 * cut off and does not count. Nothing at all is fine. BAD_FORMAT; MISMATCH (another header); what the sink gives. */
fam_status fam_eval_log_parse(const char *name, const char *text, size_t size, const fam_eval_header *header,
                              fam_eval_line_sink *sink, void *context, size_t *whole, fam_error *error);

typedef struct fam_eval_log fam_eval_log;

/* Makes the directory and the file where they are missing, locks the file, gives what is in it to the sink. */
fam_status fam_eval_log_open(fam_eval_log **out, fam_memory *memory, const char *directory,
                             const fam_eval_header *header, fam_eval_line_sink *sink, void *context,
                             fam_error *error);
fam_status fam_eval_log_add(fam_eval_log *log, const fam_eval_line *line, fam_error *error);
void fam_eval_log_close(fam_eval_log *log); /* NULL is allowed */

#endif
