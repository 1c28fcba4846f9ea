/*
 * cli/report_training.c: a report's words and tables on training runs.
 */
#include <math.h>
#include <string.h>

#include "escape.h"
#include "numbers.h"
#include "progress.h"
#include "report.h"

/* "1500": a number of the recipe; -1: it is not told. */
static int64_t recipe_integer(const plotted_run *run, const char *path)
{
    const char *text = recipe_fact_get(&run->recipe, path);
    int64_t value;
    return text && number_integer(&value, text) ? value : -1;
}

static void fact_of(FILE *html, const plotted_run *run, const char *name, const char *path)
{
    const char *value = recipe_fact_get(&run->recipe, path);
    if (value)
        report_fact(html, name, "%s", value);
}

static void write_state(FILE *html, const plotted_run *run, bool running)
{
    char done[NUMBER_GROUPED_BYTES], all[NUMBER_GROUPED_BYTES];
    int64_t steps = recipe_integer(run, "train.steps");
    bool whole = steps >= 0 && run->curves->last_step >= steps;
    fprintf(html, "<p class=\"state\">%s step %s",
            running && !whole ? "Running:"
            : whole           ? "Done:"
                              : "So far:",
            number_grouped(done, run->curves->last_step));
    if (steps >= 0)
        fprintf(html, " of %s", number_grouped(all, steps));
    fputs(running && !whole ? ". This page loads itself again every 30 seconds.</p>\n" : ".</p>\n", html);
}

static void write_model_facts(FILE *html, const plotted_run *run)
{
    char number[NUMBER_GROUPED_BYTES];
    const char *path = recipe_fact_get(&run->recipe, "model.path");
    const char *layers = recipe_fact_get(&run->recipe, "model.new.layers"),
               *width = recipe_fact_get(&run->recipe, "model.new.hidden_size");
    const char *what = recipe_fact_get(&run->recipe, "adapt.what"), *rank = recipe_fact_get(&run->recipe, "adapt.rank");
    if (path)
        report_fact(html, "Model", "%s", path);
    else if (layers && width)
        report_fact(html, "Model", "a new one, %s layers of width %s", layers, width);
    fact_of(html, run, "Begun from", "model.adapter");
    if (what && rank && strcmp(what, "adapter") == 0)
        report_fact(html, "Trained", "adapter, LoRA of rank %s", rank);
    else if (what)
        report_fact(html, "Trained", "%s", strcmp(what, "all") == 0 ? "all weights" : what);
    if (run->trained >= 0)
        report_fact(html, "Trained parameters", "%s", number_grouped(number, run->trained));
    fact_of(html, run, "Mode", "fam.mode");
    fact_of(html, run, "Block size", "fam.block_size");
    fact_of(html, run, "Segments", "fam.memory_segments");
    fact_of(html, run, "Rows of the memory", "fam.fam_length");
    fact_of(html, run, "Norm of the state", "fam.state_norm");
    fact_of(html, run, "Optimizer", "optimizer.kind");
    fact_of(html, run, "Seed", "train.seed");
}

static void write_facts(FILE *html, const plotted_run *run)
{
    const run_curves *c = run->curves;
    char number[NUMBER_GROUPED_BYTES], duration[32];
    fputs("<dl>\n", html);
    write_model_facts(html, run);
    report_fact(html, "Tokens read", "%s", number_grouped(number, (int64_t)fmin(c->tokens, 9e18)));
    progress_duration(duration, c->seconds);
    report_fact(html, "Time in steps", "%s", duration);
    if (c->seconds > 0)
        report_fact(html, "Speed", "%s tokens/s",
                    number_grouped(number, (int64_t)fmin(c->tokens / c->seconds, 9e18)));
    if (c->lines > 0)
        report_fact(html, "Clipped", "%.1f %% of the steps", 100 * (double)c->clipped_steps / (double)c->lines);
    report_fact(html, "Skipped", "%s step%s", number_grouped(number, c->skipped_steps),
                c->skipped_steps == 1 ? "" : "s");
    fputs("</dl>\n", html);
}

/* Keys whose values differ, beside one another. */
static void write_differences(FILE *html, const plotted_run *runs, size_t count)
{
    fputs("<h2>What differs in the recipes</h2>\n<div class=\"scroll\"><table>\n<tr><th class=\"text\">key</th>", html);
    for (size_t r = 0; r < count; r++) {
        fputs("<th>", html);
        escape_html(html, runs[r].name);
        fputs("</th>", html);
    }
    fputs("</tr>\n", html);
    for (size_t r = 0; r < count; r++) {
        for (size_t i = 0; i < runs[r].recipe.count; i++) {
            const char *path = runs[r].recipe.facts[i].path;
            bool differs = false, told = false;
            for (size_t k = 0; k < count; k++) {
                const char *mine = recipe_fact_get(&runs[r].recipe, path),
                           *other = recipe_fact_get(&runs[k].recipe, path);
                differs |= !mine != !other || (mine && strcmp(mine, other) != 0);
                told |= k < r && other; /* with an earlier run */
            }
            if (!differs || told)
                continue;
            fputs("<tr><td class=\"text\">", html);
            escape_html(html, path);
            fputs("</td>", html);
            for (size_t k = 0; k < count; k++) {
                const char *value = recipe_fact_get(&runs[k].recipe, path);
                fputs("<td>", html);
                escape_html(html, value ? value : "–");
                fputs("</td>", html);
            }
            fputs("</tr>\n", html);
        }
    }
    fputs("</table></div>\n", html);
}

void report_training_head(FILE *html, const plotted_run *runs, size_t count, bool running)
{
    if (count == 1) {
        write_state(html, &runs[0], running);
        write_facts(html, &runs[0]);
        return;
    }
    fprintf(html, "<p class=\"state\">%zu training runs.</p>\n", count);
    write_differences(html, runs, count);
    fputs("<h2>Curves</h2>\n", html);
}

static void write_cell(FILE *html, double value, double scale, const char *unit, int digits)
{
    if (isfinite(value))
        fprintf(html, "<td>%.*f%s</td>", digits, scale * value, unit);
    else
        fputs("<td>–</td>", html);
}

/* The newest validation, and of the training the last smoothed numbers are in the pictures. */
void report_training_tables(FILE *html, const plotted_run *runs, size_t count)
{
    char number[NUMBER_GROUPED_BYTES];
    bool any = false;
    for (size_t r = 0; r < count; r++)
        any |= runs[r].curves->validation_count > 0;
    if (!any)
        return;
    fputs("<h2>The newest validation</h2>\n<div class=\"scroll\"><table>\n<tr>", html);
    fprintf(html,
            "%s<th class=\"text\">held out</th><th>step</th><th>blocks</th><th>sequences</th><th>loss (nats)</th>"
            "<th>right answer tokens</th><th>whole answers</th></tr>\n",
            count > 1 ? "<th class=\"text\">run</th>" : "");
    for (size_t r = 0; r < count; r++) {
        for (int64_t i = 0; i < runs[r].curves->validation_count; i++) {
            const validation_curve *v = runs[r].curves->validations[i];
            const validation_point *p = &v->points[v->count - 1];
            fputs("<tr>", html);
            if (count > 1) {
                fputs("<td class=\"text\">", html);
                escape_html(html, runs[r].name);
                fputs("</td>", html);
            }
            fputs("<td class=\"text\">", html);
            escape_html(html, v->name);
            fprintf(html, "</td><td>%s</td>", number_grouped(number, p->step));
            fprintf(html, "<td>%s</td>", number_grouped(number, p->blocks));
            fprintf(html, "<td>%s</td>", number_grouped(number, p->sequences));
            write_cell(html, p->loss, 1, "", 4);
            write_cell(html, p->accuracy, 100, " %", 1);
            write_cell(html, p->exact, 100, " %", 1);
            fputs("</tr>\n", html);
        }
    }
    fputs("</table></div>\n", html);
    for (size_t r = 0; r < count; r++) {
        if (runs[r].curves->validations_left_out > 0)
            fprintf(html, "<p>Only the first %d entries of the validation are drawn.</p>\n", CURVE_VALIDATIONS);
    }
}
