/*
 * cli/plot_eval.c: see plot_eval.h.
 */
#include "plot_eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "message.h"

enum { WIDTH = 760, HEIGHT = 380, NAME_CHARACTERS = 40, CURVES_EACH = 8 /* pictures of one kind, at most */ };

static fam_status no_memory(fam_error *error)
{
    return failure(error, FAM_STATUS_OUT_OF_MEMORY, "plots: out of memory");
}

/* ---- what there is ---------------------------------------------------------------------------------------------- */

/* Cells of one system, length and number of keys, taken together over their depths. Without draws the rest is NaN. */
typedef struct pooled {
    double draws, exact, low, high, parts, nll;
} pooled;

static pooled pool(const eval_results *results, size_t system, int64_t length, int64_t keys)
{
    pooled sum = {0, NAN, NAN, NAN, NAN, NAN};
    const eval_cell *only = NULL;
    double exact = 0, parts = 0, nll = 0, told = 0;
    for (size_t i = 0; i < results->cell_count; i++) {
        const eval_cell *cell = &results->cells[i];
        double draws = (double)cell->draws;
        if (cell->system != system || cell->length != length || eval_cell_keys(cell) != keys || cell->draws == 0)
            continue;
        if (!isnan(cell->nll)) {
            nll += draws * cell->nll;
            told += draws;
        }
        if (isnan(cell->exact))
            continue;
        only = sum.draws == 0 ? cell : NULL;
        exact += draws * cell->exact;
        parts += draws * cell->parts;
        sum.draws += draws;
    }
    if (sum.draws > 0) {
        sum.exact = fmin(exact / sum.draws, 1);
        sum.parts = parts / sum.draws;
        eval_wilson(sum.exact, sum.draws, &sum.low, &sum.high);
    }
    if (only && !isnan(only->exact_low) && !isnan(only->exact_high)) {
        sum.low = only->exact_low;
        sum.high = only->exact_high;
    }
    if (told > 0)
        sum.nll = nll / told;
    return sum;
}

/* ---- curves ----------------------------------------------------------------------------------------------------- */

static void percent_axis(drawing *d, const char *label)
{
    fprintf(d->script, "set ylabel '%s'\nset yrange [-4:104]\nset ytics 0,20,100\nset format y '%%.0f %%%%'\n", label);
}

/* Each system a little aside, so that equal points stand beside one another. */
static double aside(size_t system, size_t systems, double span)
{
    return exp2(((double)system - ((double)systems - 1) / 2) * fmin(0.008 * span, 0.05));
}

/* "$points3": x, share, low, high in per cent, of one system; how many. */
typedef struct sweep {
    const int64_t *values;
    size_t count;
    int64_t other;  /* what stays: the number of keys, or the length */
    bool over_keys; /* values are numbers of keys */
} sweep;

static pooled sweep_at(const eval_results *results, const sweep *s, size_t system, size_t i)
{
    return s->over_keys ? pool(results, system, s->other, s->values[i]) : pool(results, system, s->values[i], s->other);
}

static bool write_points(drawing *d, const eval_results *results, const sweep *s, size_t system)
{
    double span = s->values[0] > 0 ? log2((double)s->values[s->count - 1] / (double)s->values[0]) : 1;
    bool any = false;
    fprintf(d->script, "$points%zu << EOD\n", system);
    for (size_t i = 0; i < s->count; i++) {
        pooled p = sweep_at(results, s, system, i);
        if (isnan(p.exact))
            continue;
        fprintf(d->script, "%.9g %.6f %.6f %.6f %.6f\n",
                (double)s->values[i] * aside(system, results->system_count, span), 100 * p.exact, 100 * p.low,
                100 * p.high, isnan(p.parts) ? 100 * p.exact : 100 * p.parts);
        any = true;
    }
    fputs("EOD\n", d->script);
    return any;
}

/* How far back a system sees, where that lies within the axis. */
static void mark_reach(drawing *d, const eval_results *results, const sweep *s)
{
    for (size_t i = 0; i < results->system_count; i++) {
        int64_t reach = results->systems[i].reach;
        if (reach > s->values[0] && reach < s->values[s->count - 1])
            fprintf(d->script,
                    "set arrow from first %lld, graph 0 to first %lld, graph 1 nohead back dashtype 3 linewidth 1.6 "
                    "linecolor rgb '#%s'\n",
                    (long long)reach, (long long)reach, drawing_colour(i));
    }
}

static bool any_reach(const eval_results *results, const sweep *s)
{
    for (size_t i = 0; i < results->system_count; i++) {
        if (results->systems[i].reach > s->values[0] && results->systems[i].reach < s->values[s->count - 1])
            return true;
    }
    return false;
}

static void draw_shares(drawing *d, const eval_results *results, const sweep *s, const char *name, const char *title)
{
    bool there[EVAL_SYSTEMS], any = false, parts = results->asked > 1;
    if (drawing_full(d))
        return;
    drawing_picture(d, name, WIDTH, HEIGHT, title);
    drawing_note(d, "Bars: 95 %% intervals (Wilson).%s%s",
                 !s->over_keys && any_reach(results, s) ? " Dotted: as far back as the system of that colour can see."
                                                        : "",
                 parts ? " Dashed: mean share of the answers that are right." : "");
    for (size_t i = 0; i < results->system_count; i++)
        any |= there[i] = write_points(d, results, s, i);
    drawing_marked_axis(d, DRAWING_X, s->values, s->count);
    fprintf(d->script, "set xlabel '%s'\n", s->over_keys ? "keys" : "length of the text (tokens; k = 1,024)");
    percent_axis(d, "all answers right");
    if (!s->over_keys)
        mark_reach(d, results, s);
    const char *comma = "plot ";
    for (size_t i = 0; i < results->system_count; i++) {
        if (!there[i])
            continue;
        fprintf(d->script,
                "%s$points%zu using 1:2:3:4 with yerrorbars linecolor rgb '#%s' linewidth 1.2 pointtype %d pointsize "
                "0.01 notitle",
                comma, i, drawing_colour(i), drawing_mark(i));
        comma = ", ";
        fprintf(d->script,
                ", $points%zu using 1:2 with linespoints linecolor rgb '#%s' linewidth 2 pointtype %d pointsize 0.8", i,
                drawing_colour(i), drawing_mark(i));
        fputs(" title ", d->script);
        escape_gnuplot(d->script, results->systems[i].name, NAME_CHARACTERS);
        if (parts)
            fprintf(d->script, ", $points%zu using 1:5 with lines linecolor rgb '#%s' dashtype 2 linewidth 1.2 notitle",
                    i, drawing_colour(i));
    }
    fputs(any ? "\n" : "plot 0 with lines linecolor rgb '#ffffff' notitle\n", d->script);
}

/* Nats per token of the answers: what moves before any answer is right. */
static void draw_answer_loss(drawing *d, const eval_results *results, const sweep *s, const char *title)
{
    bool there[EVAL_SYSTEMS] = {0}, any = false;
    double high = 0;
    for (size_t k = 0; k < results->system_count; k++) {
        for (size_t i = 0; i < s->count; i++) {
            double nll = sweep_at(results, s, k, i).nll;
            any |= there[k] |= !isnan(nll);
            high = isnan(nll) ? high : fmax(high, nll);
        }
    }
    if (drawing_full(d) || !any)
        return;
    drawing_picture(d, "answer_loss", WIDTH, HEIGHT, title);
    for (size_t k = 0; k < results->system_count; k++) {
        fprintf(d->script, "$points%zu << EOD\n", k);
        for (size_t i = 0; i < s->count; i++) {
            double nll = sweep_at(results, s, k, i).nll;
            if (!isnan(nll))
                fprintf(d->script, "%lld %.9g\n", (long long)s->values[i], nll);
        }
        fputs("EOD\n", d->script);
    }
    drawing_marked_axis(d, DRAWING_X, s->values, s->count);
    fprintf(d->script, "set xlabel '%s'\nset ylabel 'loss on the answers (nats per token)'\n",
            s->over_keys ? "keys" : "length of the text (tokens; k = 1,024)");
    drawing_y_range(d, 0, 1.08 * high);
    if (!s->over_keys)
        mark_reach(d, results, s);
    const char *comma = "plot ";
    for (size_t k = 0; k < results->system_count; k++) {
        if (!there[k])
            continue;
        fprintf(d->script,
                "%s$points%zu using 1:2 with linespoints linecolor rgb '#%s' dashtype %d linewidth 2 pointtype %d "
                "pointsize 0.8 title ",
                comma, k, drawing_colour(k), drawing_dash(k), drawing_mark(k));
        escape_gnuplot(d->script, results->systems[k].name, NAME_CHARACTERS);
        comma = ", ";
    }
    fputc('\n', d->script);
}

/* One length and one number of keys: systems side by side. */
static void draw_systems(drawing *d, const eval_results *results, int64_t length, int64_t keys)
{
    char count[DRAWING_COUNT_BYTES], title[96];
    if (drawing_full(d))
        return;
    snprintf(title, sizeof title, "Right answers at %s tokens", drawing_count(count, length));
    drawing_picture(d, "exact", WIDTH, HEIGHT, title);
    drawing_note(d, "Bars: 95 %% intervals (Wilson).");
    fputs("$points << EOD\n", d->script);
    for (size_t i = 0; i < results->system_count; i++) {
        pooled p = pool(results, i, length, keys);
        if (!isnan(p.exact))
            fprintf(d->script, "%zu %.6f %.6f %.6f 0x%s\n", i, 100 * p.exact, 100 * p.low, 100 * p.high,
                    drawing_colour(i));
    }
    fprintf(d->script, "NaN NaN NaN NaN 0\nEOD\nset xrange [-0.6:%zu.6]\nset xtics (", results->system_count - 1);
    for (size_t i = 0; i < results->system_count; i++) {
        fputs(i ? ", " : "", d->script);
        escape_gnuplot(d->script, results->systems[i].name, 24);
        fprintf(d->script, " %zu", i);
    }
    fputs(") noenhanced\n", d->script);
    percent_axis(d, "all answers right");
    fputs("plot $points using 1:2:3:4:5 with yerrorbars linecolor rgb variable linewidth 1.6 pointtype 7 pointsize 1 "
          "notitle\n",
          d->script);
}

static fam_status draw_curves(drawing *d, const eval_results *results, fam_error *error)
{
    size_t length_count, key_count;
    int64_t *lengths = eval_numbers(results, eval_cell_length, &length_count);
    int64_t *keys = eval_numbers(results, eval_cell_keys, &key_count);
    char count[DRAWING_COUNT_BYTES], title[96];
    fam_status status = lengths && keys ? FAM_OK : no_memory(error);
    bool by_keys = key_count > 1,
         by_length = length_count > (by_keys ? 2 : 1); /* a line through two lengths says little */
    for (size_t i = 0; status == FAM_OK && by_length && i < key_count && i < CURVES_EACH; i++) {
        sweep s = {lengths, length_count, keys[i], false};
        snprintf(title, sizeof title, "Right answers by length");
        if (key_count > 1)
            snprintf(title, sizeof title, "Right answers by length, %s key%s", drawing_count(count, keys[i]),
                     keys[i] == 1 ? "" : "s");
        draw_shares(d, results, &s, "exact_by_length", title);
    }
    for (size_t i = 0; status == FAM_OK && by_keys && i < length_count && i < CURVES_EACH; i++) {
        sweep s = {keys, key_count, lengths[i], true};
        snprintf(title, sizeof title, "Right answers by number of keys, %s tokens", drawing_count(count, lengths[i]));
        draw_shares(d, results, &s, "exact_by_keys", title);
    }
    if (status == FAM_OK && length_count == 1 && key_count == 1)
        draw_systems(d, results, lengths[0], keys[0]);
    if (status == FAM_OK && length_count > 1 && !by_keys)
        draw_answer_loss(d, results, &(sweep){lengths, length_count, keys[0], false}, "Loss on the answers by length");
    for (size_t i = 0; status == FAM_OK && by_keys && i < length_count && i < CURVES_EACH; i++) {
        snprintf(title, sizeof title, "Loss on the answers by number of keys, %s tokens",
                 drawing_count(count, lengths[i]));
        draw_answer_loss(d, results, &(sweep){keys, key_count, lengths[i], true}, title);
    }
    free(lengths);
    free(keys);
    return status;
}

/* ---- length by depth -------------------------------------------------------------------------------------------- */

/* From white to a deep blue, evenly darker: 0xrrggbb. */
static unsigned shade(double share)
{
    static const double stops[3][3] = {{0xf4, 0xf8, 0xfc}, {0x6b, 0xae, 0xd6}, {0x08, 0x30, 0x6b}};
    int from = share < 0.5 ? 0 : 1;
    double part = share * 2 - from;
    unsigned colour = 0;
    for (int i = 0; i < 3; i++)
        colour = colour << 8 | (unsigned)lround(stops[from][i] + part * (stops[from + 1][i] - stops[from][i]));
    return colour;
}

typedef struct depth_map {
    const int64_t *lengths;
    const double *depths;
    size_t length_count, depth_count;
    int64_t keys;
    bool several_keys;
} depth_map;

static void write_fields(drawing *d, const eval_results *results, const depth_map *m, size_t system)
{
    fputs("$fields << EOD\n", d->script);
    for (size_t i = 0; i < results->cell_count; i++) {
        const eval_cell *cell = &results->cells[i];
        size_t row = 0, column = 0;
        if (cell->system != system || !cell->one_depth || eval_cell_keys(cell) != m->keys || isnan(cell->exact))
            continue;
        while (row < m->length_count && m->lengths[row] != cell->length)
            row++;
        while (column < m->depth_count && fabs(m->depths[column] - cell->depth_from) > 1e-9)
            column++;
        fprintf(d->script, "%zu %zu 0x%06x %.0f 0x%s\n", column, row, shade(cell->exact), 100 * cell->exact,
                cell->exact > 0.5 ? "ffffff" : "222222");
    }
    fputs("EOD\n", d->script);
}

static void draw_map(drawing *d, const eval_results *results, const depth_map *m, size_t system)
{
    char title[EVAL_NAME_BYTES + 96], count[DRAWING_COUNT_BYTES], keys[DRAWING_COUNT_BYTES + 16] = "";
    int height = 110 + 40 * (int)(m->length_count < 24 ? m->length_count : 24);
    size_t stride = m->depth_count / 16 + 1;
    if (drawing_full(d))
        return;
    if (m->several_keys)
        snprintf(keys, sizeof keys, ", %s key%s", drawing_count(count, m->keys), m->keys == 1 ? "" : "s");
    snprintf(title, sizeof title, "Right answers in %%, length by depth: %.*s%s", EVAL_NAME_BYTES,
             results->systems[system].name, keys);
    drawing_picture(d, "depths", WIDTH, height, title);
    write_fields(d, results, m, system);
    fprintf(d->script,
            "unset grid\nunset key\nset border 0\nset tics scale 0\nset xrange [-0.5:%zu.5]\nset yrange [-0.5:%zu.5]\n"
            "set xlabel 'depth of the key (0: at the start of the text)'\nset ylabel 'length (tokens)'\nset xtics (",
            m->depth_count - 1, m->length_count - 1);
    for (size_t i = 0; i < m->depth_count; i += stride)
        fprintf(d->script, "%s'%.3g' %zu", i ? ", " : "", m->depths[i], i);
    fputs(")\nset ytics (", d->script);
    for (size_t i = 0; i < m->length_count; i += m->length_count / 24 + 1)
        fprintf(d->script, "%s'%s' %zu", i ? ", " : "", drawing_count(count, m->lengths[i]), i);
    fputs(")\nplot $fields using 1:2:(0.48):(0.46):3 with boxxyerror linecolor rgb variable notitle", d->script);
    if (m->depth_count <= 24)
        fputs(", $fields using 1:2:(sprintf('%d', int($4))):5 with labels textcolor rgb variable notitle", d->script);
    fputc('\n', d->script);
}

static fam_status draw_maps(drawing *d, const eval_results *results, fam_error *error)
{
    depth_map m;
    size_t key_count;
    int64_t *lengths = eval_numbers(results, eval_cell_length, &m.length_count);
    int64_t *keys = eval_numbers(results, eval_cell_keys, &key_count);
    double *depths = eval_depths(results, &m.depth_count);
    fam_status status = lengths && keys && depths ? FAM_OK : no_memory(error);
    m.lengths = lengths;
    m.depths = depths;
    m.several_keys = key_count > 1;
    for (size_t k = 0; status == FAM_OK && m.depth_count > 1 && k < key_count && k < CURVES_EACH; k++) {
        m.keys = keys[k];
        for (size_t i = 0; i < results->system_count; i++)
            draw_map(d, results, &m, i);
    }
    free(lengths);
    free(keys);
    free(depths);
    return status;
}

/* ---- the loss by depth ------------------------------------------------------------------------------------------ */

/* Where a range of tokens is drawn: in its middle, as a logarithmic axis has it. */
static double middle(const eval_range *range)
{
    return range->from > 0 ? sqrt((double)range->from * ((double)range->to + 1)) : ((double)range->to + 1) / 2;
}

static bool write_ranges(drawing *d, const eval_results *results, int64_t length, size_t system, double axis[4])
{
    bool any = false;
    fprintf(d->script, "$range%zu << EOD\n", system);
    for (size_t i = 0; i < results->range_count; i++) {
        const eval_range *range = &results->ranges[i];
        if (range->length != length || range->system != system || isnan(range->nll))
            continue;
        double low = isnan(range->nll_low) ? range->nll : range->nll_low,
               high = isnan(range->nll_high) ? range->nll : range->nll_high;
        fprintf(d->script, "%.9g %.9g %.9g %.9g\n", middle(range), range->nll, low, high);
        axis[0] = fmin(axis[0], middle(range));
        axis[1] = fmax(axis[1], middle(range));
        axis[2] = fmin(axis[2], low);
        axis[3] = fmax(axis[3], high);
        any = true;
    }
    fputs("EOD\n", d->script);
    return any;
}

static void draw_text(drawing *d, const eval_results *results, int64_t length)
{
    char title[96], count[DRAWING_COUNT_BYTES];
    double axis[4] = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    bool there[EVAL_SYSTEMS], any = false;
    for (size_t i = 0; i < results->range_count && !any; i++)
        any = results->ranges[i].length == length && !isnan(results->ranges[i].nll);
    if (drawing_full(d) || !any)
        return;
    snprintf(title, sizeof title, "Loss by depth, pieces of %s tokens", drawing_count(count, length));
    drawing_picture(d, "loss_by_depth", WIDTH, HEIGHT, title);
    drawing_note(d, "Bands: 95 %% intervals of the mean over pieces.");
    for (size_t i = 0; i < results->system_count; i++)
        there[i] = write_ranges(d, results, length, i, axis);
    double room = fmax((axis[3] - axis[2]) * 0.08, 1e-3);
    drawing_y_range(d, axis[2] - room, axis[3] + room);
    fprintf(d->script, "set logscale x 2\nset xrange [%.9g:%.9g]\nset xtics (", axis[0] / 1.15, axis[1] * 1.15);
    for (int64_t mark = 64, i = 0; (double)mark < axis[1] * 1.15 && i < 53; mark *= 2) {
        if ((double)mark > axis[0] / 1.15)
            fprintf(d->script, "%s'%s' %lld", i++ ? ", " : "", drawing_count(count, mark), (long long)mark);
    }
    fputs(")\nset xlabel 'tokens read before (k = 1,024)'\nset ylabel 'loss (nats per token)'\n", d->script);
    const char *comma = "plot ";
    for (size_t i = 0; i < results->system_count; i++) {
        if (!there[i])
            continue;
        fprintf(d->script, "%s$range%zu using 1:3:4 with filledcurves fillcolor rgb '#C0%s' notitle", comma, i,
                drawing_colour(i));
        fprintf(d->script,
                ", $range%zu using 1:2 with linespoints linecolor rgb '#%s' dashtype %d linewidth 2 pointtype %d "
                "pointsize 0.8 title ",
                i, drawing_colour(i), drawing_dash(i), drawing_mark(i));
        escape_gnuplot(d->script, results->systems[i].name, NAME_CHARACTERS);
        comma = ", ";
    }
    fputc('\n', d->script);
}

fam_status plot_eval(drawing *d, const eval_results *results, fam_error *error)
{
    size_t length_count;
    if (results->range_count == 0) {
        fam_status status = results->cell_count > 0 ? draw_curves(d, results, error) : FAM_OK;
        return status == FAM_OK ? draw_maps(d, results, error) : status;
    }
    int64_t *lengths = eval_numbers(results, eval_cell_length, &length_count);
    if (!lengths)
        return no_memory(error);
    for (size_t i = 0; i < length_count; i++)
        draw_text(d, results, lengths[i]);
    free(lengths);
    return FAM_OK;
}
