/*
 * cli/run_curves.h: metrics.jsonl of a training run (docs/TRAINING.md has the fields) as curves of bounded size. Steps
 * lie in buckets; a run of more steps than buckets has several steps in each, whose mean, lowest and highest are kept.
 */
#ifndef CLI_RUN_CURVES_H
#define CLI_RUN_CURVES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "fam/status.h"

enum {
    CURVE_BUCKETS = 2048,
    CURVE_LINE_BYTES = 1 << 20, /* the longest line that is read */
    CURVE_PROMOTIONS = 64,
    CURVE_VALIDATIONS = 16, /* entries of the validation that are kept */
    CURVE_VALIDATION_POINTS = 1024,
    CURVE_NAME_BYTES = 128
};

typedef enum curve_id {
    CURVE_LOSS,
    CURVE_ACCURACY,
    CURVE_GRADIENT_NORM,
    CURVE_RATE,
    CURVE_PROMPT_RATE,
    CURVE_SPEED, /* tokens a second */
    CURVE_STEP_BLOCKS,
    CURVE_LEVEL,
    CURVE_COUNT
} curve_id;

typedef struct curve_bucket {
    int64_t count; /* numbers in it */
    double sum, low, high;
    int64_t low_step, high_step;
} curve_bucket;

typedef struct validation_point {
    int64_t step, sequences, blocks;
    double loss, accuracy, exact; /* NaN: none */
} validation_point;

typedef struct validation_curve {
    char name[CURVE_NAME_BYTES];
    int64_t count, stride; /* every stride-th point is kept, and the last */
    int64_t seen;
    validation_point points[CURVE_VALIDATION_POINTS];
} validation_curve;

typedef struct run_curves {
    int64_t lines, last_step;
    int64_t width; /* steps of a bucket: bucket b has those from b * width on */
    curve_bucket buckets[CURVE_COUNT][CURVE_BUCKETS];
    int64_t clipped[CURVE_BUCKETS], skipped[CURVE_BUCKETS]; /* how many steps */
    int64_t clipped_steps, skipped_steps;
    int64_t promotions[CURVE_PROMOTIONS], promoted_to[CURVE_PROMOTIONS]; /* the step, and the level from then on */
    int64_t promotion_count;
    validation_curve *validations[CURVE_VALIDATIONS];
    int64_t validation_count, validations_left_out;
    double tokens, seconds; /* of all steps */
} run_curves;

/* Reads all lines; `name` is for messages. A last line without its end is left out if it is torn. BAD_FORMAT: a line is
 * not what it should be. *out is released with run_curves_free, whatever comes back. */
fam_status run_curves_read(run_curves **out, FILE *in, const char *name, fam_error *error);
void run_curves_free(run_curves *curves);

/* Whether there is any number, and from what to what. */
bool run_curves_range(const run_curves *curves, curve_id id, double *low, double *high);

/* The means of the buckets, smoothed by a Gaussian: NaN where the curve has no number. The result has CURVE_BUCKETS
 * numbers and is released with free; NULL: out of memory. */
double *run_curves_smoothed(const run_curves *curves, curve_id id);
/* About how many steps a smoothed number stands for. */
int64_t run_curves_smoothing(const run_curves *curves);
/* The step that stands for a bucket. */
double run_curves_step(const run_curves *curves, int64_t bucket);

#endif
