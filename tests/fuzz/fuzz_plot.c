/*
 * Fuzz target: what fam plot reads. The first byte says what the rest is: metrics.jsonl, results.json, a recipe, the
 * header of a safetensors file. What reads must be told to gnuplot (as a script, not run) and to a page without harm.
 */
#include <stdlib.h>
#include <string.h>

#include "drawing.h"
#include "eval_results.h"
#include "plot_eval.h"
#include "plot_training.h"
#include "recipe_facts.h"
#include "report.h"
#include "run_curves.h"
#include "weights_count.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(fam_status status, const fam_error *error)
{
    if (status != FAM_OK &&
        (error->status != status || strncmp(error->message, "r", 1) != 0 || strchr(error->message, '\n')))
        abort();
}

static void write_page(const plotted_run *run, const eval_results *results)
{
    char *text = NULL;
    size_t size;
    FILE *html = open_memstream(&text, &size);
    if (!html)
        return;
    if (run) {
        report_training_head(html, run, 1, false);
        report_training_tables(html, run, 1);
    } else {
        report_eval_head(html, results);
        report_eval_table(html, results);
    }
    fclose(html);
    if (strstr(text, "<script"))
        abort();
    free(text);
}

static void metrics(const char *text, size_t size)
{
    static plotted_run run; /* large */
    fam_error error = {0};
    drawing d;
    FILE *in = size > 0 ? fmemopen((void *)text, size, "r") : NULL;
    if (!in)
        return;
    run.name = "r";
    run.trained = -1;
    fam_status status = run_curves_read(&run.curves, in, "r", &error);
    fclose(in);
    check_error(status, &error);
    if (status == FAM_OK && drawing_begin(&d, &error) == FAM_OK) {
        const plotted_run *both[2] = {&run, &run};
        plot_training(&d, &run, &error);
        plot_comparison(&d, both, 2, &error);
        drawing_free(&d);
        write_page(&run, NULL);
    }
    run_curves_free(run.curves);
}

static void results(const char *text, size_t size)
{
    eval_results *e = NULL;
    fam_error error = {0};
    drawing d;
    fam_status status = eval_results_parse(&e, text, size, "r", &error);
    check_error(status, &error);
    if (status == FAM_OK && drawing_begin(&d, &error) == FAM_OK) {
        plot_eval(&d, e, &error);
        drawing_free(&d);
        write_page(NULL, e);
    }
    eval_results_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static recipe_facts facts;
    char *text = malloc(size + 1);
    if (!text || size == 0) {
        free(text);
        return 0;
    }
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] == 'm')
        metrics(text, size - 1);
    else if (data[0] == 'e')
        results(text, size - 1);
    else if (data[0] == 'y')
        recipe_facts_read(&facts, text, size - 1);
    else if (data[0] == 'h' && weights_count_of_header(text, size - 1) < -1)
        abort();
    free(text);
    return 0;
}
