/*
 * cli/report_eval.c: a report's words and tables on evaluations.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "numbers.h"
#include "report.h"

static void write_systems(FILE *html, const eval_results *results)
{
    char number[NUMBER_GROUPED_BYTES];
    fputs("<h2>Systems</h2>\n<div class=\"scroll\"><table>\n<tr><th class=\"text\">name</th><th "
          "class=\"text\">settings</th>"
          "<th>sees back</th><th>read</th></tr>\n",
          html);
    for (size_t i = 0; i < results->system_count; i++) {
        const eval_system *s = &results->systems[i];
        double tokens = 0, seconds = 0;
        for (size_t k = 0; k < results->cell_count; k++) {
            if (results->cells[k].system == i) {
                tokens += (double)results->cells[k].tokens;
                seconds += isnan(results->cells[k].seconds) ? 0 : results->cells[k].seconds;
            }
        }
        fputs("<tr><td class=\"text\">", html);
        escape_html(html, s->name);
        fputs("</td><td class=\"text\">", html);
        escape_html(html, s->about);
        if (s->reach > 0)
            fprintf(html, "</td><td>%s tokens</td>", number_grouped(number, s->reach));
        else
            fputs("</td><td>no limit</td>", html);
        fprintf(html, "<td>%s tokens in %.1f s</td></tr>\n", number_grouped(number, (int64_t)fmin(tokens, 9e18)),
                seconds);
    }
    fputs("</table></div>\n", html);
}

void report_eval_head(FILE *html, const eval_results *results)
{
    char number[NUMBER_GROUPED_BYTES];
    fputs("<p class=\"state\">Evaluation: ", html);
    escape_html(html, results->task);
    fputs(results->complete ? ".</p>\n<dl>\n" : ". Not all draws are done yet.</p>\n<dl>\n", html);
    if (*results->model)
        report_fact(html, "Model", "%s", results->model);
    report_fact(html, "Task", "%s", results->task);
    report_fact(html, "Draws of each kind", "%s", number_grouped(number, results->draws));
    report_fact(html, "Seed", "%s", results->seed);
    if (results->range_count == 0) {
        report_fact(html, "Digits", "%lld", (long long)results->digits);
        report_fact(html, "Answers asked for", "%lld", (long long)results->asked);
    }
    fputs("</dl>\n", html);
    write_systems(html, results);
    fputs("<h2>Results</h2>\n", html);
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

static void write_names(FILE *html, const eval_results *results, int columns)
{
    for (size_t i = 0; i < results->system_count; i++) {
        fprintf(html, "<th colspan=\"%d\">", columns);
        escape_html(html, results->systems[i].name);
        fputs("</th>", html);
    }
}

static void write_share(FILE *html, double share)
{
    if (isnan(share))
        fputs("<td>–</td>", html);
    else
        fprintf(html, "<td>%.1f</td>", 100 * share);
}

static void write_interval(FILE *html, double value, double low, double high, double scale, int digits)
{
    if (isnan(value))
        fputs("<td>–</td>", html);
    else if (isnan(low) || isnan(high))
        fprintf(html, "<td>%.*f</td>", digits, scale * value);
    else
        fprintf(html, "<td>%.*f <span class=\"interval\">(%.*f to %.*f)</span></td>", digits, scale * value, digits,
                scale * low, digits, scale * high);
}

/* Cells of one question, in the order of the systems. */
static int by_question(const void *a, const void *b)
{
    const eval_cell *x = a, *y = b;
    if (x->length != y->length)
        return x->length < y->length ? -1 : 1;
    double from_x = isnan(x->depth_from) ? -1 : x->depth_from, from_y = isnan(y->depth_from) ? -1 : y->depth_from;
    double to_x = isnan(x->depth_to) ? -1 : x->depth_to, to_y = isnan(y->depth_to) ? -1 : y->depth_to;
    if (from_x != from_y)
        return from_x < from_y ? -1 : 1;
    if (to_x != to_y)
        return to_x < to_y ? -1 : 1;
    if (x->keys != y->keys)
        return x->keys < y->keys ? -1 : 1;
    return x->system < y->system ? -1 : x->system > y->system;
}

static bool same_question(const eval_cell *a, const eval_cell *b)
{
    eval_cell other = *b;
    other.system = a->system;
    return by_question(a, &other) == 0;
}

static void write_depth(FILE *html, const eval_cell *cell)
{
    if (cell->one_depth)
        fprintf(html, "<td>%.3g</td>", cell->depth_from);
    else if (isnan(cell->depth_from) || isnan(cell->depth_to))
        fputs("<td>–</td>", html);
    else if (cell->depth_from == 0 && cell->depth_to == 1)
        fputs("<td>anywhere</td>", html);
    else
        fprintf(html, "<td>%.3g to %.3g</td>", cell->depth_from, cell->depth_to);
}

static void write_row(FILE *html, const eval_results *results, const eval_cell *cells, size_t count)
{
    char number[NUMBER_GROUPED_BYTES];
    int64_t fewest = cells[0].draws;
    for (size_t i = 1; i < count; i++)
        fewest = cells[i].draws < fewest ? cells[i].draws : fewest;
    fprintf(html, "<tr><td>%s</td>", number_grouped(number, cells[0].length));
    write_depth(html, &cells[0]);
    fprintf(html, "<td>%s</td>", number_grouped(number, cells[0].keys));
    fprintf(html, "<td>%s</td>", number_grouped(number, fewest));
    for (size_t system = 0, at = 0; system < results->system_count; system++) {
        static const eval_cell none = {
            .exact = NAN, .exact_low = NAN, .exact_high = NAN, .parts = NAN, .digits = NAN, .nll = NAN};
        const eval_cell *cell = at < count && cells[at].system == system ? &cells[at] : &none;
        while (at < count && cells[at].system == system)
            at++;
        write_interval(html, cell->exact, cell->exact_low, cell->exact_high, 100, 1);
        if (results->asked > 1)
            write_share(html, cell->parts);
        write_share(html, cell->digits);
        write_interval(html, cell->nll, NAN, NAN, 1, 3);
    }
    fputs("</tr>\n", html);
}

/* false: out of memory, as below. */
static bool write_cells(FILE *html, const eval_results *results)
{
    bool parts = results->asked > 1;
    eval_cell *cells = malloc((results->cell_count + 1) * sizeof *cells);
    if (!cells || results->cell_count == 0) {
        bool memory = cells != NULL;
        free(cells);
        return memory;
    }
    memcpy(cells, results->cells, results->cell_count * sizeof *cells);
    qsort(cells, results->cell_count, sizeof *cells, by_question);
    fputs("<h2>Table</h2>\n<p class=\"state\">Right answers with their 95 % interval", html);
    fprintf(html,
            "%s, right digits (all in %%), loss on the answers (nats per token).</p>\n<div class=\"scroll\"><table>\n"
            "<tr><th colspan=\"4\"></th>",
            parts ? ", right parts" : "");
    write_names(html, results, parts ? 4 : 3);
    fputs("</tr>\n<tr><th>tokens</th><th>depth</th><th>keys</th><th>draws</th>", html);
    for (size_t i = 0; i < results->system_count; i++)
        fprintf(html, "<th>answers</th>%s<th>digits</th><th>loss</th>", parts ? "<th>parts</th>" : "");
    fputs("</tr>\n", html);
    for (size_t from = 0, to; from < results->cell_count; from = to) {
        for (to = from + 1; to < results->cell_count && same_question(&cells[from], &cells[to]); to++)
            continue;
        write_row(html, results, cells + from, to - from);
    }
    fputs("</table></div>\n", html);
    free(cells);
    return true;
}

static int by_place(const void *a, const void *b)
{
    const eval_range *x = a, *y = b;
    if (x->length != y->length)
        return x->length < y->length ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->to != y->to)
        return x->to < y->to ? -1 : 1;
    return x->system < y->system ? -1 : x->system > y->system;
}

static bool write_ranges(FILE *html, const eval_results *results)
{
    char number[NUMBER_GROUPED_BYTES];
    eval_range *ranges = malloc((results->range_count + 1) * sizeof *ranges);
    if (!ranges)
        return false;
    memcpy(ranges, results->ranges, results->range_count * sizeof *ranges);
    qsort(ranges, results->range_count, sizeof *ranges, by_place);
    fputs("<h2>Table</h2>\n<p class=\"state\">Nats per token with the 95 % interval of the mean.</p>\n<div "
          "class=\"scroll\"><table>\n"
          "<tr><th>length</th><th>from</th><th>to</th><th>draws</th>",
          html);
    write_names(html, results, 1);
    fputs("</tr>\n", html);
    for (size_t i = 0; i < results->range_count;) {
        const eval_range first = ranges[i];
        fprintf(html, "<tr><td>%s</td>", number_grouped(number, first.length));
        fprintf(html, "<td>%s</td>", number_grouped(number, first.from));
        fprintf(html, "<td>%s</td>", number_grouped(number, first.to));
        fprintf(html, "<td>%s</td>", number_grouped(number, first.draws));
        for (size_t system = 0; system < results->system_count; system++) {
            const eval_range *range = &ranges[i];
            bool here = i < results->range_count && range->length == first.length && range->from == first.from &&
                        range->to == first.to && range->system == system;
            write_interval(html, here ? range->nll : NAN, here ? range->nll_low : NAN, here ? range->nll_high : NAN, 1,
                           4);
            while (here && i < results->range_count && ranges[i].system == system && ranges[i].length == first.length &&
                   ranges[i].from == first.from && ranges[i].to == first.to)
                i++;
        }
        fputs("</tr>\n", html);
    }
    fputs("</table></div>\n", html);
    free(ranges);
    return true;
}

bool report_eval_table(FILE *html, const eval_results *results)
{
    bool memory = results->range_count > 0 ? write_ranges(html, results) : write_cells(html, results);
    if (results->note_count == 0)
        return memory;
    fputs("<h2>Notes</h2>\n<ul>\n", html);
    for (size_t i = 0; i < results->note_count; i++) {
        fputs("<li>", html);
        escape_html(html, results->notes[i]);
        fputs("</li>\n", html);
    }
    fputs("</ul>\n", html);
    return memory;
}
