/*
 * cli/plot_training.c: see plot_training.h.
 */
#include "plot_training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "message.h"
#include "numbers.h"

enum {
    WIDTH = 760,
    HEIGHT = 360,
    NAME_CHARACTERS = 40,
    LABEL_SHARE = 12 /* of the width, that a promotion's label takes */
};

static const char thick_lines[] = "linewidth 2.2";

typedef enum validation_value { VALIDATION_LOSS, VALIDATION_ACCURACY, VALIDATION_EXACT } validation_value;

static double value_of(const validation_point *p, validation_value which)
{
    return which == VALIDATION_LOSS ? p->loss : which == VALIDATION_ACCURACY ? p->accuracy : p->exact;
}

static fam_status no_memory(fam_error *error)
{
    return failure(error, FAM_STATUS_OUT_OF_MEMORY, "plots: out of memory");
}

/* ---- data ------------------------------------------------------------------------------------------------------- */

/* "$raw0": each bucket's lowest and highest number, in the order of their steps: every step, as long as there are
 * few. */
static void write_raw(drawing *d, const run_curves *c, curve_id id, size_t number, double scale)
{
    fprintf(d->script, "$raw%d_%zu << EOD\n", (int)id, number);
    for (int64_t i = 0; i < CURVE_BUCKETS; i++) {
        const curve_bucket *b = &c->buckets[id][i];
        bool low_first = b->low_step <= b->high_step;
        if (b->count > 0)
            fprintf(d->script, "%lld %.9g\n", (long long)(low_first ? b->low_step : b->high_step),
                    scale * (low_first ? b->low : b->high));
        if (b->count > 1)
            fprintf(d->script, "%lld %.9g\n", (long long)(low_first ? b->high_step : b->low_step),
                    scale * (low_first ? b->high : b->low));
    }
    fputs("EOD\n", d->script);
}

/* "$smooth0", and what its numbers reach from and to. */
static fam_status write_smooth(drawing *d, const run_curves *c, curve_id id, size_t number, double scale, double *low,
                               double *high, fam_error *error)
{
    double *values = run_curves_smoothed(c, id);
    if (!values)
        return no_memory(error);
    fprintf(d->script, "$smooth%d_%zu << EOD\n", (int)id, number);
    for (int64_t i = 0; i < CURVE_BUCKETS; i++) {
        if (isnan(values[i]))
            continue;
        fprintf(d->script, "%.9g %.9g\n", run_curves_step(c, i), scale * values[i]);
        *low = fmin(*low, scale * values[i]);
        *high = fmax(*high, scale * values[i]);
    }
    fputs("EOD\n", d->script);
    free(values);
    return FAM_OK;
}

/* "$valid0_1_2": of run 0, entry 1, value 2; how many points it has. */
static int64_t write_validation(drawing *d, const run_curves *c, size_t run, int64_t entry, validation_value which,
                                double scale)
{
    const validation_curve *v = c->validations[entry];
    int64_t written = 0;
    for (int64_t i = 0; i < v->count; i++) {
        double value = value_of(&v->points[i], which);
        if (!isfinite(value))
            continue;
        if (written++ == 0)
            fprintf(d->script, "$valid%zu_%lld_%d << EOD\n", run, (long long)entry, (int)which);
        fprintf(d->script, "%lld %.9g\n", (long long)v->points[i].step, scale * value);
    }
    if (written > 0)
        fputs("EOD\n", d->script);
    return written;
}

/* Segments of neighbouring buckets that have any: a band that is full where all steps were such. */
static void write_marked(drawing *d, const char *name, const run_curves *c, const int64_t marked[CURVE_BUCKETS])
{
    fprintf(d->script, "$%s << EOD\n", name);
    for (int64_t from = 0, to; from < CURVE_BUCKETS; from = to + 1) {
        for (to = from; to < CURVE_BUCKETS && marked[to] > 0; to++)
            continue;
        if (to > from)
            fprintf(d->script, "%.9g 0.5\n%.9g 0.5\n\n", (double)from * (double)c->width - 0.5,
                    (double)to * (double)c->width - 0.5);
    }
    fputs("EOD\n", d->script);
}

/* ---- axes and legends ------------------------------------------------------------------------------------------- */

static void step_axis(drawing *d, int64_t last)
{
    fprintf(d->script, "set xlabel 'step'\nset xrange [0:%lld]\nset format x '%s'\n", (long long)(last < 1 ? 1 : last),
            last >= 20000 ? "%.0s%c" : "%.0f");
}

static void percent_axis(drawing *d, const char *label)
{
    fprintf(d->script, "set ylabel '%s'\nset yrange [-3:103]\nset ytics 0,20,100\nset format y '%%.0f %%%%'\n", label);
}

/* Logarithmic where the smoothed numbers, low to high, want it. The raw ones are in it as far as they do not press the
 * others into a corner. */
static void value_axis(drawing *d, const char *label, double low, double high, double raw_low, double raw_high)
{
    fprintf(d->script, "set ylabel '%s'\n", label);
    if (drawing_wants_log(low, high))
        drawing_log_axis(d, DRAWING_Y, fmax(fmin(low, raw_low), low / 4) / 1.15,
                         fmin(fmax(high, raw_high), high * 4) * 1.15);
    else if (low >= 0)
        drawing_y_range(d, 0, fmin(fmax(high, raw_high), high * 2) * 1.05);
}

static void write_title(drawing *d, const char *name, const char *what)
{
    char title[CURVE_NAME_BYTES + 64];
    snprintf(title, sizeof title, "%.*s%s%s", CURVE_NAME_BYTES, name, *name && *what ? ", " : "", what);
    fputs(" title ", d->script);
    escape_gnuplot(d->script, title, NAME_CHARACTERS);
}

/* Where the curriculum went up, with the length from there on where a label has room; `height` of the labels: 0 is the
 * bottom, 1 the top, wherever the curve is not. */
static void mark_promotions(drawing *d, const run_curves *c, double height)
{
    int64_t labelled = -c->last_step;
    for (int64_t i = 0; i < c->promotion_count; i++) {
        int64_t step = c->promotions[i];
        fprintf(d->script,
                "set arrow from first %lld, graph 0 to first %lld, graph 1 nohead back dashtype 3 linewidth 1.2 "
                "linecolor rgb '#777777'\n",
                (long long)step, (long long)step);
        if (c->promoted_to[i] <= 0 || (step - labelled) * LABEL_SHARE < c->last_step)
            continue;
        labelled = step;
        bool right = step * 10 > c->last_step * 9;
        fprintf(d->script,
                "set label '%lld blocks' at first %lld, graph %.3g %s offset %s0.4,0 front font ',12' noenhanced "
                "textcolor rgb '#555555'\n",
                (long long)c->promoted_to[i], (long long)step, height, right ? "right" : "left",
                right ? "-" : "");
    }
}

static const char *promotions_note(const run_curves *c)
{
    return c->promotion_count > 0 ? "Dotted: the longest sequences became twice as long." : "";
}

static void smoothing_note(drawing *d, const run_curves *c, const char *more)
{
    char number[NUMBER_GROUPED_BYTES];
    drawing_note(d, "Thin: %s. Thick: mean over about %s steps. %s",
                 c->width == 1 ? "each step" : "lowest and highest of neighbouring steps",
                 number_grouped(number, run_curves_smoothing(c)), more);
}

/* The raw numbers, faint, and the smoothed ones over them. */
static void draw_pair(drawing *d, curve_id id, size_t colour, const char *title)
{
    fprintf(d->script,
            "plot $raw%d_0 using 1:2 with lines linecolor rgb '#A8%s' linewidth 1 notitle, "
            "$smooth%d_0 using 1:2 with lines linecolor rgb '#%s' %s %s",
            (int)id, drawing_colour(colour), (int)id, drawing_colour(colour), thick_lines, title);
}

/* ---- one run ---------------------------------------------------------------------------------------------------- */

/* Whole answers have open marks and dashes, around those of their tokens. */
static void draw_validations(drawing *d, const run_curves *c, validation_value which, const int64_t counts[],
                             const char *what)
{
    for (int64_t i = 0; i < c->validation_count; i++) {
        if (counts[i] == 0)
            continue;
        size_t look = 1 + (size_t)i;
        bool open = which == VALIDATION_EXACT;
        fprintf(
            d->script,
            ", $valid0_%lld_%d using 1:2 with linespoints linecolor rgb '#%s' linewidth 1.4 dashtype %d pointtype %d "
            "pointsize %s",
            (long long)i, (int)which, drawing_colour(look), open ? 2 : 1, open ? 6 : drawing_mark(look),
            open ? "1.3" : "0.7");
        write_title(d, c->validations[i]->name, what);
    }
}

static fam_status draw_loss(drawing *d, const run_curves *c, fam_error *error)
{
    int64_t counts[CURVE_VALIDATIONS];
    double low, high, smooth_low = INFINITY, smooth_high = -INFINITY;
    if (!run_curves_range(c, CURVE_LOSS, &low, &high))
        return FAM_OK;
    drawing_picture(d, "loss", WIDTH, HEIGHT, "Loss");
    smoothing_note(d, c, promotions_note(c));
    write_raw(d, c, CURVE_LOSS, 0, 1);
    fam_status status = write_smooth(d, c, CURVE_LOSS, 0, 1, &smooth_low, &smooth_high, error);
    for (int64_t i = 0; i < c->validation_count; i++) {
        counts[i] = write_validation(d, c, 0, i, VALIDATION_LOSS, 1);
        for (int64_t k = 0; k < c->validations[i]->count; k++) {
            smooth_low = fmin(smooth_low, c->validations[i]->points[k].loss);
            smooth_high = fmax(smooth_high, c->validations[i]->points[k].loss);
        }
    }
    step_axis(d, c->last_step);
    value_axis(d, "loss (nats per token)", smooth_low, smooth_high, low, high);
    mark_promotions(d, c, 0.96);
    draw_pair(d, CURVE_LOSS, 0, "title 'training'");
    draw_validations(d, c, VALIDATION_LOSS, counts, "held out");
    fputc('\n', d->script);
    return status;
}

static fam_status draw_accuracy(drawing *d, const run_curves *c, fam_error *error)
{
    int64_t tokens[CURVE_VALIDATIONS], whole[CURVE_VALIDATIONS];
    double low, high;
    if (!run_curves_range(c, CURVE_ACCURACY, &low, &high))
        return FAM_OK;
    drawing_picture(d, "accuracy", WIDTH, HEIGHT, "Right answers");
    smoothing_note(d, c, promotions_note(c));
    write_raw(d, c, CURVE_ACCURACY, 0, 100);
    fam_status status = write_smooth(d, c, CURVE_ACCURACY, 0, 100, &low, &high, error);
    for (int64_t i = 0; i < c->validation_count; i++) {
        tokens[i] = write_validation(d, c, 0, i, VALIDATION_ACCURACY, 100);
        whole[i] = write_validation(d, c, 0, i, VALIDATION_EXACT, 100);
    }
    step_axis(d, c->last_step);
    percent_axis(d, "right answer tokens");
    mark_promotions(d, c, 0.05);
    draw_pair(d, CURVE_ACCURACY, 0, "title 'training'");
    draw_validations(d, c, VALIDATION_ACCURACY, tokens, "held out");
    draw_validations(d, c, VALIDATION_EXACT, whole, "whole answers");
    fputc('\n', d->script);
    return status;
}

/* The marks of an axis in blocks: powers of two. */
static void blocks_axis(drawing *d, double high)
{
    int64_t marks[64];
    size_t count = 0;
    for (int64_t mark = 1; count < 53 && ((double)mark < 2 * high || count < 2); mark *= 2)
        marks[count++] = mark;
    drawing_marked_axis(d, DRAWING_Y, marks, count);
    fputs("set ylabel 'blocks in a sequence'\n", d->script);
}

static void draw_blocks(drawing *d, const run_curves *c)
{
    double low, high, level_low, level_high;
    bool blocks = run_curves_range(c, CURVE_STEP_BLOCKS, &low, &high);
    bool level = run_curves_range(c, CURVE_LEVEL, &level_low, &level_high);
    if (!level && (!blocks || low == high))
        return; /* the same at each step */
    drawing_picture(d, "blocks", WIDTH, HEIGHT, "Length of sequences");
    drawing_note(d, "%s", promotions_note(c));
    if (blocks)
        write_raw(d, c, CURVE_STEP_BLOCKS, 0, 1);
    if (level)
        write_raw(d, c, CURVE_LEVEL, 0, 1);
    step_axis(d, c->last_step);
    blocks_axis(d, fmax(blocks ? high : 1, level ? level_high : 1));
    mark_promotions(d, c, 0.05);
    fputs("plot ", d->script);
    if (blocks)
        fprintf(d->script,
                "$raw%d_0 using 1:2 with points linecolor rgb '#80%s' pointtype 7 pointsize 0.3 title 'of the step'",
                CURVE_STEP_BLOCKS, drawing_colour(0));
    if (level)
        fprintf(d->script, "%s$raw%d_0 using 1:2 with steps linecolor rgb '#%s' %s title 'longest allowed'",
                blocks ? ", " : "", CURVE_LEVEL, drawing_colour(1), thick_lines);
    fputc('\n', d->script);
}

static fam_status draw_norm(drawing *d, const run_curves *c, const recipe_facts *recipe, fam_error *error)
{
    double low, high, smooth_low = INFINITY, smooth_high = -INFINITY, clip = 0;
    const char *told = recipe_fact_get(recipe, "optimizer.clip");
    char number[NUMBER_GROUPED_BYTES];
    if (!run_curves_range(c, CURVE_GRADIENT_NORM, &low, &high))
        return FAM_OK;
    drawing_picture(d, "gradient_norm", WIDTH, HEIGHT, "Norm of the gradient");
    smoothing_note(d, c,
                   c->clipped_steps + c->skipped_steps > 0 ? "Bars on top: steps that were clipped or skipped." : "");
    write_raw(d, c, CURVE_GRADIENT_NORM, 0, 1);
    fam_status status = write_smooth(d, c, CURVE_GRADIENT_NORM, 0, 1, &smooth_low, &smooth_high, error);
    write_marked(d, "clipped", c, c->clipped);
    write_marked(d, "skipped", c, c->skipped);
    step_axis(d, c->last_step);
    fputs("set ylabel 'norm before clipping'\n", d->script);
    if (low > 0)
        drawing_log_axis(d, DRAWING_Y, fmax(low, smooth_low / 1000) / 1.3, fmin(high, smooth_high * 1000) * 1.8);
    fputs("set y2range [-30.5:1]\n", d->script);
    draw_pair(d, CURVE_GRADIENT_NORM, 0, "title 'norm'");
    if (told && number_real(&clip, told) && clip > 0)
        fprintf(d->script, ", %.9g with lines linecolor rgb '#444444' dashtype 2 title 'clipped above %.6g'", clip,
                clip);
    if (c->clipped_steps > 0)
        fprintf(d->script,
                ", $clipped using 1:2 axes x1y2 with lines linecolor rgb '#%s' linewidth 6 title 'clipped (%s)'",
                drawing_colour(4), number_grouped(number, c->clipped_steps));
    if (c->skipped_steps > 0)
        fprintf(d->script,
                ", $skipped using 1:2 axes x1y2 with lines linecolor rgb '#%s' linewidth 10 title 'skipped (%s)'",
                drawing_colour(6), number_grouped(number, c->skipped_steps));
    fputc('\n', d->script);
    return status;
}

static void draw_rate(drawing *d, const run_curves *c)
{
    double low, high, prompt_low, prompt_high;
    bool prompt = run_curves_range(c, CURVE_PROMPT_RATE, &prompt_low, &prompt_high), differs = false;
    if (!run_curves_range(c, CURVE_RATE, &low, &high))
        return;
    for (int64_t i = 0; i < CURVE_BUCKETS; i++)
        differs |= c->buckets[CURVE_RATE][i].sum != c->buckets[CURVE_PROMPT_RATE][i].sum;
    drawing_picture(d, "learning_rate", WIDTH, HEIGHT, "Learning rate");
    write_raw(d, c, CURVE_RATE, 0, 1);
    write_raw(d, c, CURVE_PROMPT_RATE, 0, 1);
    step_axis(d, c->last_step);
    high = fmax(high, prompt ? prompt_high : 0);
    drawing_y_range(d, 0, high * 1.08);
    fprintf(d->script, "set ylabel 'learning rate'\nset format y '%s'\n",
            high > 0 && high < 1e-2 ? "%.1t·10^{%T}" : "%g");
    fprintf(d->script, "set ytics add ('0' 0)\nplot $raw%d_0 using 1:2 with lines linecolor rgb '#%s' %s %s",
            CURVE_RATE, drawing_colour(0), thick_lines, prompt && differs ? "title 'weights'" : "notitle");
    if (prompt && differs)
        fprintf(d->script,
                ", $raw%d_0 using 1:2 with lines linecolor rgb '#%s' dashtype 2 %s title 'prompt of the memory'",
                CURVE_PROMPT_RATE, drawing_colour(1), thick_lines);
    fputc('\n', d->script);
}

static fam_status draw_speed(drawing *d, const run_curves *c, fam_error *error)
{
    double low, high, smooth_low = INFINITY, smooth_high = -INFINITY;
    if (!run_curves_range(c, CURVE_SPEED, &low, &high))
        return FAM_OK;
    drawing_picture(d, "speed", WIDTH, HEIGHT, "Speed");
    smoothing_note(d, c, "");
    write_raw(d, c, CURVE_SPEED, 0, 1);
    fam_status status = write_smooth(d, c, CURVE_SPEED, 0, 1, &smooth_low, &smooth_high, error);
    step_axis(d, c->last_step);
    drawing_y_range(d, 0, fmin(high, 2 * smooth_high) * 1.08);
    fprintf(d->script, "set ylabel 'tokens per second'\nset format y '%s'\n", smooth_high >= 10000 ? "%.0s%c" : "%.0f");
    draw_pair(d, CURVE_SPEED, 2, "notitle");
    fputc('\n', d->script);
    return status;
}

fam_status plot_training(drawing *d, const plotted_run *run, fam_error *error)
{
    fam_status status = draw_loss(d, run->curves, error);
    if (status == FAM_OK)
        status = draw_accuracy(d, run->curves, error);
    if (status == FAM_OK)
        draw_blocks(d, run->curves);
    if (status == FAM_OK)
        status = draw_norm(d, run->curves, &run->recipe, error);
    if (status == FAM_OK)
        draw_rate(d, run->curves);
    return status == FAM_OK ? draw_speed(d, run->curves, error) : status;
}

/* ---- several runs ----------------------------------------------------------------------------------------------- */

/* The validation of all runs that have one, in the colours of the runs. */
static void compare_validations(drawing *d, const plotted_run *const *runs, size_t count, validation_value which,
                                int64_t (*points)[CURVE_VALIDATIONS])
{
    for (size_t r = 0; r < count; r++) {
        for (int64_t i = 0; i < runs[r]->curves->validation_count; i++) {
            if (points[r][i] == 0)
                continue;
            fprintf(d->script,
                    ", $valid%zu_%lld_%d using 1:2 with linespoints linecolor rgb '#%s' dashtype 2 linewidth 1.2 "
                    "pointtype %d pointsize 0.75 notitle",
                    r, (long long)i, (int)which, drawing_colour(r), drawing_mark(r));
        }
    }
}

typedef struct comparison {
    const char *name, *title, *label;
    curve_id id;
    double scale;
    bool validated;
    validation_value which;
} comparison;

static fam_status compare(drawing *d, const comparison *what, const plotted_run *const *runs, size_t count,
                          fam_error *error)
{
    int64_t points[DRAWING_COLOURS][CURVE_VALIDATIONS] = {{0}}, last = 0, validations = 0;
    bool there[DRAWING_COLOURS], any = false;
    char number[NUMBER_GROUPED_BYTES];
    double low = INFINITY, high = -INFINITY, ignored, ignored_too;
    fam_status status = FAM_OK;
    for (size_t r = 0; r < count; r++) {
        any |= there[r] = run_curves_range(runs[r]->curves, what->id, &ignored, &ignored_too);
        last = runs[r]->curves->last_step > last ? runs[r]->curves->last_step : last;
    }
    if (!any)
        return FAM_OK;
    drawing_picture(d, what->name, WIDTH, HEIGHT, what->title);
    for (size_t r = 0; r < count && status == FAM_OK; r++) {
        status = write_smooth(d, runs[r]->curves, what->id, r, what->scale, &low, &high, error);
        if (what->id == CURVE_LEVEL)
            write_raw(d, runs[r]->curves, what->id, r, what->scale);
        for (int64_t i = 0; what->validated && i < runs[r]->curves->validation_count; i++)
            validations += points[r][i] = write_validation(d, runs[r]->curves, r, i, what->which, what->scale);
    }
    if (what->id != CURVE_LEVEL)
        drawing_note(d, "Lines: mean over about %s steps in training.%s",
                     number_grouped(number, run_curves_smoothing(runs[0]->curves)),
                     validations > 0 ? " Marks: held out." : "");
    step_axis(d, last);
    if (what->id == CURVE_ACCURACY)
        percent_axis(d, what->label);
    else if (what->id == CURVE_LEVEL)
        blocks_axis(d, high);
    else
        value_axis(d, what->label, low, high, low, high);
    const char *comma = "plot ";
    for (size_t r = 0; r < count; r++) {
        if (!there[r])
            continue;
        bool level = what->id == CURVE_LEVEL;
        fprintf(d->script, "%s$%s%d_%zu using 1:2 with %s linecolor rgb '#%s' %s", comma, level ? "raw" : "smooth",
                (int)what->id, r, level ? "steps" : "lines", drawing_colour(r), thick_lines);
        write_title(d, runs[r]->name, "");
        comma = ", ";
    }
    compare_validations(d, runs, count, what->which, points);
    fputc('\n', d->script);
    return status;
}

fam_status plot_comparison(drawing *d, const plotted_run *const *runs, size_t count, fam_error *error)
{
    static const comparison all[] = {
        {"loss", "Loss", "loss (nats per token)", CURVE_LOSS, 1, true, VALIDATION_LOSS},
        {"accuracy", "Right answers", "right answer tokens", CURVE_ACCURACY, 100, true, VALIDATION_ACCURACY},
        {"blocks", "Longest sequences allowed", "", CURVE_LEVEL, 1, false, VALIDATION_LOSS},
        {"gradient_norm", "Norm of the gradient", "norm before clipping", CURVE_GRADIENT_NORM, 1, false,
         VALIDATION_LOSS},
        {"speed", "Speed", "tokens per second", CURVE_SPEED, 1, false, VALIDATION_LOSS},
    };
    fam_status status = FAM_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == FAM_OK; i++)
        status = compare(d, &all[i], runs, count, error);
    return status;
}
