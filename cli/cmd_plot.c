/*
 * cli/cmd_plot.c: fam plot: a training run or an evaluation as a page.
 */
#include <string.h>

#include "commands.h"
#include "message.h"
#include "output.h"
#include "report.h"
#include "whole_file.h"

/* report.html beside what is drawn. */
static fam_status default_out(char out[FILE_PATH_BYTES], const char *path, fam_error *error)
{
    bool training;
    fam_status status = report_find(out, &training, path, error);
    if (status != FAM_OK)
        return status;
    char folder[FILE_PATH_BYTES] = ".";
    const char *slash = strrchr(out, '/');
    if (slash)
        snprintf(folder, sizeof folder, "%.*s", slash == out ? 1 : (int)(slash - out), out);
    return slash ? file_path(out, folder, "report.html", error) : (strcpy(out, "report.html"), FAM_OK);
}

static fam_status plot(const cli_options *options, fam_error *error)
{
    char beside[FILE_PATH_BYTES];
    report_options o = {option_text(options, OPTION_PLOT_OUT), option_text(options, OPTION_SVG), false};
    fam_status status = FAM_OK;
    if (!o.out && options->argument_count > 1)
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--out: found none with %zu PATHs, need the file to write",
                       options->argument_count);
    if (!o.out) {
        status = default_out(beside, options->argument, error);
        o.out = beside;
    }
    if (status == FAM_OK)
        status = report_write(options->arguments, options->argument_count, &o, error);
    return status == FAM_OK ? output_format(error, "%s\n", o.out) : status;
}

int cmd_plot(const cli_options *options)
{
    fam_error error = {0}, closing = {0};
    fam_status status = plot(options, &error);
    fam_status closed = output_close(&closing);
    if (status != FAM_OK)
        return message_failure(&error);
    return closed == FAM_OK ? 0 : message_failure(&closing);
}
