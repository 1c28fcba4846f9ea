/*
 * eval/report.h: results.json.
 */
#ifndef FAM_EVAL_REPORT_H
#define FAM_EVAL_REPORT_H

#include "eval/internal.h"

/* Replaces DIRECTORY/results.json. */
fam_status fam_eval_report_write(const fam_eval_result *result, fam_memory *memory, const char *directory,
                                 fam_error *error);

#endif
