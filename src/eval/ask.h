/*
 * eval/ask.h: one draw, read by one system.
 */
#ifndef FAM_EVAL_ASK_H
#define FAM_EVAL_ASK_H

#include "data/task.h"
#include "eval/internal.h"
#include "eval/reader.h"
#include "eval/text.h"

/* Room for what is read at once; 8192 is the most that a reader takes. */
enum { FAM_EVAL_BUFFER = 8192 };
typedef struct fam_eval_buffer {
    int32_t ids[FAM_EVAL_BUFFER];
    uint8_t answers[FAM_EVAL_BUFFER];
    double nll[FAM_EVAL_BUFFER];
} fam_eval_buffer;

/* An episode with questions. Before each token of an answer the session draws what it would generate; a right answer
 * is a run of tokens that were all drawn right. On failure *outcome is not changed. */
fam_status fam_eval_ask(fam_eval_outcome *outcome, fam_eval_reader *reader, const fam_task *task, const fam_draw *draw,
                        bool exhaustive, fam_eval_buffer *buffer, fam_error *error);

/* How many tokens _ask will read, or a few more. */
int64_t fam_eval_ask_tokens(const fam_eval_reader *reader, int64_t length, bool exhaustive);

/* A piece of text of `length` tokens from ids[start] on; sums [ranges of the length]. */
fam_status fam_eval_read_text(fam_eval_outcome *outcome, double *sums, fam_eval_reader *reader,
                              const fam_eval_text *text, int64_t start, int64_t length, fam_eval_buffer *buffer,
                              fam_error *error);

#endif
