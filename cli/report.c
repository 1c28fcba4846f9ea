/*
 * cli/report.c: see report.h.
 */
#include "report.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "escape.h"
#include "fam/fam.h"
#include "message.h"
#include "plot_eval.h"
#include "weights_count.h"
#include "whole_file.h"

enum { RECIPE_BYTES = 1 << 20 };

/* What a report is made from. */
typedef struct material {
    bool training;
    size_t count;
    char names[REPORT_PATHS][CURVE_NAME_BYTES];
    plotted_run runs[REPORT_PATHS];
    char *recipes[REPORT_PATHS]; /* the text; NULL: there is none */
    eval_results *results;       /* all in one */
} material;

/* ---- reading ---------------------------------------------------------------------------------------------------- */

fam_status report_find(char file[], bool *training, const char *path, fam_error *error)
{
    static const char *const names[] = {"metrics.jsonl", "results.json"};
    struct stat about;
    if (stat(path, &about) != 0)
        return failure(error, errno == ENOENT ? FAM_STATUS_NOT_FOUND : FAM_STATUS_IO, "%s: cannot be opened: %s", path,
                       strerror(errno));
    if (!S_ISDIR(about.st_mode)) {
        size_t length = strlen(path), tail = strlen(names[0]);
        *training = length >= tail && strcmp(path + length - tail, names[0]) == 0;
        if (length >= FILE_PATH_BYTES)
            return failure(error, FAM_STATUS_INVALID_ARGUMENT, "%.80s…: found a path of %zu bytes, need a shorter one",
                           path, length);
        memcpy(file, path, length + 1);
        return FAM_OK;
    }
    for (int i = 0; i < 2; i++) {
        fam_status status = file_path(file, path, names[i], error);
        if (status != FAM_OK)
            return status;
        *training = i == 0;
        if (stat(file, &about) == 0)
            return FAM_OK;
    }
    return failure(error, FAM_STATUS_NOT_FOUND,
                   "%s: found neither metrics.jsonl (of fam train) nor results.json (of fam eval), "
                   "need one of them",
                   path);
}

/* "tutorial" for "runs/tutorial/"; of a file the folder's name. */
static void name_of(char out[CURVE_NAME_BYTES], const char *path)
{
    char real[PATH_MAX], *last = realpath(path, real);
    if (last && !file_is_directory(real) && (last = strrchr(real, '/')))
        *last = '\0';
    last = last ? strrchr(real, '/') : NULL;
    snprintf(out, CURVE_NAME_BYTES, "%.100s", last && last[1] ? last + 1 : path);
}

/* A name that another path has too says nothing: then the path as it was given. */
static void name_apart(material *m, size_t i, const char *path)
{
    for (size_t k = 0; k < i; k++) {
        if (strcmp(m->names[k], m->names[i]) == 0) {
            snprintf(m->names[i], CURVE_NAME_BYTES, "%.100s", path);
            return;
        }
    }
}

/* The recipe beside the metrics, as far as there is one: the curves do not need it. */
static fam_status read_recipe(material *m, size_t i, const char *metrics, fam_error *error)
{
    char path[FILE_PATH_BYTES];
    size_t size;
    snprintf(path, sizeof path, "%s", metrics);
    char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    if (folder + strlen("recipe.yaml") >= sizeof path)
        return FAM_OK;
    strcpy(path + folder, "recipe.yaml");
    fam_status status = file_read(&m->recipes[i], &size, path, RECIPE_BYTES, error);
    if (status == FAM_STATUS_NOT_FOUND)
        return FAM_OK;
    if (status != FAM_OK)
        return status;
    recipe_facts_read(&m->runs[i].recipe, m->recipes[i], size);
    strcpy(path + folder, ".");
    const char *what = recipe_fact_get(&m->runs[i].recipe, "adapt.what");
    m->runs[i].trained = what ? weights_count_of_run(path, what) : -1;
    return FAM_OK;
}

static fam_status read_run(material *m, size_t i, const char *file, fam_error *error)
{
    FILE *in;
    fam_status status = file_open(&in, file, error);
    if (status != FAM_OK)
        return status;
    m->runs[i].name = m->names[i];
    m->runs[i].trained = -1;
    status = run_curves_read(&m->runs[i].curves, in, file, error);
    fclose(in);
    return status == FAM_OK ? read_recipe(m, i, file, error) : status;
}

static fam_status read_results(material *m, size_t i, const char *file, fam_error *error)
{
    char *text;
    size_t size;
    eval_results *results = NULL;
    fam_status status = file_read(&text, &size, file, EVAL_FILE_BYTES, error);
    if (status != FAM_OK)
        return status;
    status = eval_results_parse(&results, text, size, file, error);
    free(text);
    if (status == FAM_OK && m->count > 1)
        eval_results_label(results, m->names[i]);
    if (status == FAM_OK && m->results) {
        status = eval_results_append(m->results, results, file, error);
    } else if (status == FAM_OK) {
        m->results = results;
        return FAM_OK;
    }
    eval_results_free(results);
    return status;
}

static fam_status read_material(material *m, const char *const *paths, size_t count, fam_error *error)
{
    char file[FILE_PATH_BYTES];
    m->count = count;
    for (size_t i = 0; i < count; i++) {
        bool training;
        fam_status status = report_find(file, &training, paths[i], error);
        if (status != FAM_OK)
            return status;
        if (i > 0 && training != m->training)
            return failure(error, FAM_STATUS_MISMATCH, "%s: found %s, need %s as the first", paths[i],
                           training ? "a training run" : "an evaluation",
                           m->training ? "a training run" : "an evaluation");
        m->training = training;
        name_of(m->names[i], paths[i]);
        name_apart(m, i, paths[i]);
        status = training ? read_run(m, i, file, error) : read_results(m, i, file, error);
        if (status != FAM_OK)
            return status;
    }
    return FAM_OK;
}

static void material_free(material *m)
{
    for (size_t i = 0; i < REPORT_PATHS; i++) {
        run_curves_free(m->runs[i].curves);
        free(m->recipes[i]);
    }
    eval_results_free(m->results);
    free(m);
}

/* ---- the page --------------------------------------------------------------------------------------------------- */

static const char style[] =
    "body{font:16px/1.5 system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;color:#222;background:#fff;"
    "max-width:1640px;margin:0 auto;padding:1.2rem 1.6rem 3rem}\n"
    "h1{font-size:1.7rem;font-weight:600;margin:.2rem 0 .3rem;overflow-wrap:anywhere}\n"
    "h2{font-size:1.15rem;font-weight:600;margin:2rem 0 .6rem}\n"
    ".state{color:#555;margin:0 0 1rem}\n"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(11.5rem,1fr));gap:.7rem 1.4rem;margin:1rem 0 "
    "1.6rem}\n"
    "dt{color:#666;font-size:.8rem}dd{margin:0;font-size:1rem;overflow-wrap:anywhere}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(34rem,100%),1fr));gap:1.2rem}\n"
    "figure{margin:0;padding:.9rem 1rem .7rem;border:1px solid "
    "#ddd;border-radius:6px;background:#fff;max-width:60rem}\n"
    "figure h2{margin:0 0 .3rem;font-size:1.05rem;overflow-wrap:anywhere}\nfigure "
    "svg{width:100%;height:auto;display:block}\n"
    "figcaption{color:#666;font-size:.82rem;min-height:1.2em}\n"
    ".scroll{overflow-x:auto}\n"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}\n"
    "th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #e4e4e4;white-space:nowrap}\n"
    "th{font-weight:600;color:#444}th.text,td.text{text-align:left;white-space:normal}\n"
    "th[colspan]{text-align:center}.interval{color:#777;font-size:.85em}\n"
    "details{margin:1.6rem 0}summary{cursor:pointer;font-weight:600}\n"
    "pre{background:#f6f7f8;border:1px solid #e4e4e4;border-radius:6px;padding:.8rem "
    "1rem;font-size:.82rem;overflow-x:auto}\n"
    "ul{padding-left:1.2rem}footer{color:#777;font-size:.82rem;margin-top:2.4rem}\n"
    "@media print{figure{break-inside:avoid}}\n";

void report_fact(FILE *html, const char *name, const char *format, ...)
{
    char value[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    fputs("<div><dt>", html);
    escape_html(html, name);
    fputs("</dt><dd>", html);
    escape_html(html, value);
    fputs("</dd></div>\n", html);
}

static void write_title(FILE *html, const material *m)
{
    for (size_t i = 0; i < m->count; i++) {
        fputs(i ? ", " : "", html);
        escape_html(html, m->names[i]);
    }
}

/* The picture without what may only stand at a document's begin. */
static void write_figure(FILE *html, const picture *p)
{
    fputs("<figure>\n<h2>", html);
    escape_html(html, p->title);
    fputs("</h2>\n", html);
    fputs(strstr(p->svg, "<svg"), html);
    fputs("<figcaption>", html);
    escape_html(html, p->note ? p->note : "");
    fputs("</figcaption>\n</figure>\n", html);
}

/* false: out of memory. */
static bool write_page(FILE *html, const material *m, const drawing *d, bool running)
{
    fprintf(html,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n%s"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
            "<meta name=\"generator\" content=\"fam %s\"/>\n<title>",
            running ? "<meta http-equiv=\"refresh\" content=\"30\"/>\n" : "", fam_version());
    write_title(html, m);
    fprintf(html, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", style);
    write_title(html, m);
    fputs("</h1>\n", html);
    if (m->training)
        report_training_head(html, m->runs, m->count, running);
    else
        report_eval_head(html, m->results);
    fputs("<section class=\"plots\">\n", html);
    for (size_t i = 0; i < d->count; i++)
        write_figure(html, &d->pictures[i]);
    fputs("</section>\n", html);
    bool memory = true;
    if (m->training)
        report_training_tables(html, m->runs, m->count);
    else
        memory = report_eval_table(html, m->results);
    for (size_t i = 0; i < m->count && m->training; i++) {
        if (!m->recipes[i])
            continue;
        fputs("<details>\n<summary>The recipe", html);
        if (m->count > 1) {
            fputs(" of ", html);
            escape_html(html, m->names[i]);
        }
        fputs("</summary>\n<pre>", html);
        escape_html(html, m->recipes[i]);
        fputs("</pre>\n</details>\n", html);
    }
    fprintf(html, "<footer>fam %s</footer>\n</body>\n</html>\n", fam_version());
    return memory;
}

static fam_status write_html(const material *m, const drawing *d, const report_options *options, fam_error *error)
{
    char *text = NULL;
    size_t size = 0;
    FILE *html = open_memstream(&text, &size);
    if (!html)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", options->out);
    bool memory = write_page(html, m, d, options->running);
    fam_status status = fclose(html) == 0 && memory
                            ? file_replace(options->out, text, size, error)
                            : failure(error, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", options->out);
    free(text);
    return status;
}

static fam_status write_svgs(const drawing *d, const char *folder, fam_error *error)
{
    char path[FILE_PATH_BYTES], name[DRAWING_NAME_BYTES + 8];
    fam_status status = FAM_OK;
    if (mkdir(folder, 0777) != 0 && !(errno == EEXIST && file_is_directory(folder)))
        return failure(error, FAM_STATUS_IO, "%s: cannot be made: %s", folder, strerror(errno));
    for (size_t i = 0; i < d->count && status == FAM_OK; i++) {
        snprintf(name, sizeof name, "%s.svg", d->pictures[i].name);
        status = file_path(path, folder, name, error);
        if (status == FAM_OK)
            status = file_replace(path, d->pictures[i].svg, d->pictures[i].svg_size, error);
    }
    return status;
}

static fam_status draw(drawing *d, const material *m, fam_error *error)
{
    const plotted_run *runs[REPORT_PATHS];
    fam_status status = drawing_begin(d, error);
    if (status != FAM_OK)
        return status;
    for (size_t i = 0; i < m->count; i++)
        runs[i] = &m->runs[i];
    if (!m->training)
        status = plot_eval(d, m->results, error);
    else
        status = m->count > 1 ? plot_comparison(d, runs, m->count, error) : plot_training(d, runs[0], error);
    return status == FAM_OK ? drawing_finish(d, error) : status;
}

fam_status report_write(const char *const *paths, size_t count, const report_options *options, fam_error *error)
{
    drawing d = {0};
    if (count > REPORT_PATHS)
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "plot: found %zu paths, need at most %d", count,
                       REPORT_PATHS);
    material *m = calloc(1, sizeof *m);
    if (!m)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "plot: out of memory");
    fam_status status = read_material(m, paths, count, error);
    if (status == FAM_OK)
        status = draw(&d, m, error);
    if (status == FAM_OK)
        status = write_html(m, &d, options, error);
    if (status == FAM_OK && options->svg_folder)
        status = write_svgs(&d, options->svg_folder, error);
    drawing_free(&d);
    material_free(m);
    return status;
}

fam_status report_write_training(const char *folder, bool running, fam_error *error)
{
    char out[FILE_PATH_BYTES];
    fam_status status = file_path(out, folder, "report.html", error);
    return status == FAM_OK ? report_write(&folder, 1, &(report_options){out, NULL, running}, error) : status;
}
