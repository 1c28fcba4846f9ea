/*
 * cli/plot_eval.h: the pictures of an evaluation.
 */
#ifndef CLI_PLOT_EVAL_H
#define CLI_PLOT_EVAL_H

#include "drawing.h"
#include "eval_results.h"

/* Right answers by length, by number of keys, by system (whichever there are several of), with 95 % intervals; the
 * loss on the answers by length; length by depth of each system; the loss by depth of the task text. When there are
 * more pictures than a drawing holds, the last are left out. */
fam_status plot_eval(drawing *d, const eval_results *results, fam_error *error);

#endif
