/*
 * eval/internal.h: what the files of this room share: questions, outcomes, the result.
 *
 * A question is a length, a depth and a number of keys; every system answers each of its draws. The outcomes of all
 * lie in one table, [question][system][draw], where those of an earlier run are put first and the missing ones are
 * made; the summary is made from the table in its order, so that a run that was interrupted and resumed ends with the
 * same figures.
 */
#ifndef FAM_EVAL_INTERNAL_H
#define FAM_EVAL_INTERNAL_H

#include "base/memory.h"
#include "fam/eval.h"

enum { FAM_EVAL_IDENTITY_SIZE = 17 }; /* 16 hexadecimal digits and a NUL */

typedef struct fam_eval_question {
    int64_t length;
    double depth_from, depth_to;
    int64_t keys;
    int64_t draws;         /* at most those asked for */
    int64_t first_outcome; /* in the table: [system][draw] from here */
    int64_t first_sum;     /* text: of the sums of nll, [system][draw][range] from here */
    int ranges;            /* text: that the length reaches into; else 0 */
} fam_eval_question;

typedef struct fam_eval_outcome {
    bool done, kept;
    int64_t parts, parts_right, tokens, tokens_right;
    double nll; /* sum over `tokens` */
    double seconds;
    int64_t tokens_read;
} fam_eval_outcome;

/* What is said of a system in the results. */
typedef struct fam_eval_description {
    char *name, *adapter; /* adapter may be NULL */
    fam_engine_info info; /* its strings are not used: they belong to the engine */
    int64_t reach;        /* the most tokens back that it can see; -1: no limit */
    char identity[FAM_EVAL_IDENTITY_SIZE];
} fam_eval_description;

struct fam_eval_result {
    fam_memory memory; /* counts everything below */
    int task;
    uint64_t seed;
    int64_t draws, digits, asked;
    char *model; /* or NULL */
    fam_eval_description *systems;
    size_t system_count;
    fam_eval_question *questions;
    size_t question_count;
    fam_eval_outcome *outcomes;
    double *sums;
    fam_eval_cell *cells; /* [question][system] */
    fam_eval_depth *depths;
    size_t cell_count, depth_count;
    bool complete;
};

static inline fam_eval_outcome *fam_eval_outcome_at(const fam_eval_result *result, size_t question, size_t system,
                                                    int64_t draw)
{
    const fam_eval_question *q = &result->questions[question];
    return &result->outcomes[q->first_outcome + (int64_t)system * q->draws + draw];
}

/* The sums of nll of one draw of text, one for each range; NULL for other tasks. */
static inline double *fam_eval_sums_at(const fam_eval_result *result, size_t question, size_t system, int64_t draw)
{
    const fam_eval_question *q = &result->questions[question];
    return result->sums ? &result->sums[q->first_sum + ((int64_t)system * q->draws + draw) * q->ranges] : NULL;
}

/* Ranges that the tokens 0 to length - 1 lie in, and how many of them have a loss in one (nothing predicts the
 * first). */
int fam_eval_ranges_of(int64_t length);
int64_t fam_eval_range_tokens(int range, int64_t length);

/* eval/options.c: a copy of what the caller gave, checked as far as that needs no file. */
fam_status fam_eval_options_read(fam_eval_options *out, const fam_eval_options *given, fam_error *error);
fam_status fam_eval_systems_check(const fam_eval_system *systems, size_t count, const fam_eval_options *options,
                                  fam_error *error);

/* eval/result.c. Fills an empty result with what is known before any draw, the identities left out. */
fam_status fam_eval_result_fill(fam_eval_result *result, const fam_eval_system *systems, size_t system_count,
                                const fam_eval_options *options, fam_error *error);
/* The table for these questions (draws and ranges are set), all of it still to do. */
fam_status fam_eval_result_make_table(fam_eval_result *result, fam_error *error);
/* Cells and ranges from the table as it stands. */
void fam_eval_result_summarise(fam_eval_result *result);
fam_eval_cell fam_eval_cell_of(const fam_eval_result *result, size_t question, size_t system);

/* Share right/n with its Wilson score interval of 95 %; NaN when n is 0. */
void fam_eval_wilson(int64_t right, int64_t n, double *low, double *high);

/* For tests: fam_eval_run whose allocations (the engines' not counted) fail as fam_memory describes it. bytes_left:
 * what a failed run has not released. */
typedef struct fam_eval_fault {
    size_t fail_at;
    bool fail_for_good;
    size_t bytes_left;
} fam_eval_fault;
void fam_eval_result_free_counted(fam_eval_result *result, size_t *bytes_left);
fam_status fam_eval_run_faulty(fam_eval_result **out, const fam_eval_system *systems, size_t system_count,
                               const fam_eval_options *options, fam_eval_fault *fault, fam_error *error);

#endif
