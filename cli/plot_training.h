/*
 * cli/plot_training.h: the pictures of one training run, or of several in one.
 */
#ifndef CLI_PLOT_TRAINING_H
#define CLI_PLOT_TRAINING_H

#include "drawing.h"
#include "recipe_facts.h"
#include "run_curves.h"

typedef struct plotted_run {
    const char *name;
    run_curves *curves;
    recipe_facts recipe;
    int64_t trained; /* how many numbers; -1: not known */
} plotted_run;

/* One run: loss, accuracy, blocks, norm of the gradient, learning rate, speed; what it has no numbers of is left
 * out. */
fam_status plot_training(drawing *d, const plotted_run *run, fam_error *error);

/* Several (2 to DRAWING_COLOURS): loss, accuracy, level and speed, each over the others. */
fam_status plot_comparison(drawing *d, const plotted_run *const *runs, size_t count, fam_error *error);

#endif
