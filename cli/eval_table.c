/*
 * cli/eval_table.c: see eval_table.h.
 */
#include "eval_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "numbers.h"
#include "output.h"

enum { COLUMN = 34, CELL_BYTES = 96 };

/* "12.5 (2.2 to 47.1)", percent; "-" where nothing was drawn. */
static void share(char out[CELL_BYTES], const fam_eval_cell *cell)
{
    if (cell->draws == 0)
        snprintf(out, CELL_BYTES, "-");
    else
        snprintf(out, CELL_BYTES, "%.1f (%.1f to %.1f)", 100 * cell->exact, 100 * cell->exact_low,
                 100 * cell->exact_high);
}

/* ---- one row a question ------------------------------------------------------------------------------------------ */

static void row_cell(char out[CELL_BYTES], const eval_table *table, const fam_eval_cell *cell)
{
    share(out, cell);
    size_t length = strlen(out);
    if (cell->draws > 0 && table->asked > 1)
        length += (size_t)snprintf(out + length, CELL_BYTES - length, " %6.1f", 100 * cell->parts);
    if (cell->draws > 0)
        snprintf(out + length, CELL_BYTES - length, " %6.1f", 100 * cell->digits);
}

static fam_status print_rows(const eval_table *table, fam_error *error)
{
    size_t count;
    const fam_eval_cell *cells = fam_eval_cells(table->result, &count);
    fam_status status =
        output_format(error, "%s: right answers (95 %% interval)%s, right digits; in %%\n\n%10s %6s %6s", table->task,
                      table->asked > 1 ? ", right parts" : "", "tokens", "keys", "draws");
    for (size_t s = 0; s < table->systems && status == FAM_OK; s++)
        status = output_format(error, " %*s", COLUMN, table->names[s]);
    for (size_t i = 0; i < count && status == FAM_OK; i++) {
        char text[CELL_BYTES];
        int64_t fewest = cells[i].draws; /* a run that was stopped may have one more in the first columns */
        for (size_t s = 1; i % table->systems == 0 && s < table->systems; s++)
            fewest = cells[i + s].draws < fewest ? cells[i + s].draws : fewest;
        if (i % table->systems == 0)
            status = output_format(error, "\n%10lld %6lld %6lld", (long long)cells[i].length, (long long)cells[i].keys,
                                   (long long)fewest);
        row_cell(text, table, &cells[i]);
        if (status == FAM_OK)
            status = output_format(error, " %*s", COLUMN, text);
    }
    return status == FAM_OK ? output_format(error, "\n") : status;
}

/* ---- a matrix ---------------------------------------------------------------------------------------------------- */

/* The cells of one system and number of keys stand apart by `step`; rows are lengths. */
static fam_status print_matrix(const fam_eval_cell *cells, size_t first, size_t count, size_t step, fam_error *error)
{
    fam_status status = output_format(error, "%10s", "tokens");
    for (size_t i = first; i < count && cells[i].length == cells[first].length && status == FAM_OK; i += step)
        status = output_format(error, " %8.3g", cells[i].depth_from);
    for (size_t i = first; i < count && status == FAM_OK; i += step) {
        if (i == first || cells[i].length != cells[i - step].length)
            status = output_format(error, "\n%10lld", (long long)cells[i].length);
        if (status == FAM_OK && cells[i].draws > 0)
            status = output_format(error, " %8.1f", 100 * cells[i].exact);
        else if (status == FAM_OK)
            status = output_format(error, " %8s", "-");
    }
    return status == FAM_OK ? output_format(error, "\n") : status;
}

static fam_status print_matrices(const eval_table *table, fam_error *error)
{
    size_t count, step = 0;
    const fam_eval_cell *cells = fam_eval_cells(table->result, &count);
    /* Order: lengths, depths, keys, systems. What stands before the second depth belongs to the first. */
    while (step < count && cells[step].length == cells[0].length &&
           fabs(cells[step].depth_from - cells[0].depth_from) < 1e-15)
        step++;
    fam_status status = output_format(error, "%s: right answers in %%, length by depth of the key\n", table->task);
    for (size_t i = 0; i < step && status == FAM_OK; i++) {
        status = output_format(error, "\n%s", table->names[cells[i].system]);
        if (status == FAM_OK && step > table->systems)
            status = output_format(error, ", %lld key%s", (long long)cells[i].keys, cells[i].keys == 1 ? "" : "s");
        if (status == FAM_OK)
            status = output_format(error, "\n");
        if (status == FAM_OK)
            status = print_matrix(cells, i, count, step, error);
    }
    return status;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static fam_status print_depths(const eval_table *table, fam_error *error)
{
    size_t count;
    const fam_eval_depth *rows = fam_eval_by_depth(table->result, &count);
    fam_status status = output_format(error, "%s: nats per token (95 %% interval)\n", table->task);
    for (size_t i = 0; i < count && status == FAM_OK; i++) {
        if (rows[i].system == 0 && rows[i].from == 0) {
            status = output_format(error, "\n%10s %12s %12s %6s", "tokens", "from", "to", "draws");
            for (size_t s = 0; s < table->systems && status == FAM_OK; s++)
                status = output_format(error, " %*s", COLUMN, table->names[s]);
            status = status == FAM_OK ? output_format(error, "\n") : status;
        }
        char text[CELL_BYTES] = "-";
        if (rows[i].draws > 1)
            snprintf(text, sizeof text, "%.4f (%.4f to %.4f)", rows[i].nll, rows[i].nll_low, rows[i].nll_high);
        else if (rows[i].draws == 1)
            snprintf(text, sizeof text, "%.4f", rows[i].nll);
        if (status == FAM_OK && rows[i].system == 0)
            status = output_format(error, "%10lld %12lld %12lld %6lld", (long long)rows[i].length,
                                   (long long)rows[i].from, (long long)rows[i].to, (long long)rows[i].draws);
        if (status == FAM_OK)
            status = output_format(error, " %*s%s", COLUMN, text, rows[i].system + 1 == table->systems ? "\n" : "");
    }
    return status;
}

static fam_status print_times(const eval_table *table, fam_error *error)
{
    fam_status status = output_format(error, "\n");
    size_t count;
    const fam_eval_cell *cells = fam_eval_cells(table->result, &count);
    for (size_t s = 0; s < table->systems && status == FAM_OK; s++) {
        double seconds = 0;
        int64_t tokens = 0;
        char grouped[NUMBER_GROUPED_BYTES];
        for (size_t i = s; i < count; i += table->systems) {
            seconds += cells[i].seconds;
            tokens += cells[i].tokens;
        }
        status = output_format(error, "%s: read %s tokens in %.1f s\n", table->names[s],
                               number_grouped(grouped, tokens), seconds);
    }
    return status;
}

fam_status eval_table_print(const eval_table *table, fam_error *error)
{
    size_t ranges;
    fam_eval_by_depth(table->result, &ranges);
    fam_status status = ranges > 0      ? print_depths(table, error)
                        : table->depths ? print_matrices(table, error)
                                        : print_rows(table, error);
    return status == FAM_OK ? print_times(table, error) : status;
}
