/*
 * cli/cmd_eval.c: fam eval: how far back a model remembers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "eval_table.h"
#include "measure.h"
#include "message.h"
#include "model.h"
#include "numbers.h"
#include "output.h"
#include "progress.h"
#include "signals.h"

typedef struct eval_run {
    const cli_options *options;
    fam_eval_system *systems; /* their names and engines belong to this run */
    size_t system_count;
    int64_t *lengths, *keys;
    const char **files;
    fam_eval_options asked;
    fam_eval_result *result;
    cli_progress progress;
    fam_eval_progress last;
    bool stop_told;
} eval_run;

/* ---- systems: modes by adapters ---------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *name = path;
    for (const char *p = path; *p; p++) {
        if (*p == '/' && p[1] && p[1] != '/')
            name = p + 1;
    }
    return name;
}

/* The last component of an adapter's path, or all of it if two end alike. */
static const char *adapter_name(const cli_options *options, size_t at)
{
    const char *path = option_nth(options, OPTION_COMPARE_ADAPTER, at)->text;
    for (size_t i = 0; i < option_times(options, OPTION_COMPARE_ADAPTER); i++) {
        if (i != at && strcmp(base_name(option_nth(options, OPTION_COMPARE_ADAPTER, i)->text), base_name(path)) == 0)
            return path;
    }
    return base_name(path);
}

static char *system_name(const cli_options *options, const fam_engine *engine, size_t adapter, bool modes)
{
    fam_engine_info info;
    char *name = NULL;
    fam_engine_info_get(engine, &info);
    const char *mode = fam_mode_name((int)info.mode);
    if (option_times(options, OPTION_COMPARE_ADAPTER) == 0)
        return strdup(mode);
    const option_value *value = option_nth(options, OPTION_COMPARE_ADAPTER, adapter);
    char scale[32] = "";
    if (value->real < 1 || value->real > 1)
        snprintf(scale, sizeof scale, ":%g", value->real);
    int length =
        asprintf(&name, "%s%s%s%s", adapter_name(options, adapter), scale, modes ? "/" : "", modes ? mode : "");
    return length < 0 ? NULL : name;
}

/* One system: mode (FAM_AUTO: as the options say) and adapter number `adapter`, if there are any to compare. */
static fam_status open_system(eval_run *run, int mode, size_t adapter, bool modes, fam_error *error)
{
    const option_value *value = option_nth(run->options, OPTION_COMPARE_ADAPTER, adapter);
    const option_value *first = option_nth(run->options, OPTION_ADAPTER, 0);
    bool none = value && strcmp(value->text, "none") == 0;
    const model_variant variant = {.mode = mode, .adapter = none ? NULL : value};
    fam_engine *engine;
    fam_status status = model_open_variant(&engine, run->options, &variant, error);
    if (status != FAM_OK)
        return status;
    fam_eval_system *system = &run->systems[run->system_count++];
    system->engine = engine;
    system->adapter = variant.adapter ? variant.adapter->text : first ? first->text : NULL;
    system->name = system_name(run->options, engine, adapter, modes);
    return system->name ? FAM_OK : failure(error, FAM_STATUS_OUT_OF_MEMORY, "eval: out of memory");
}

static fam_status open_systems(eval_run *run, fam_error *error)
{
    const cli_options *options = run->options;
    const option_value *compare = option_nth(options, OPTION_COMPARE, 0);
    size_t modes = compare ? compare->list_count : 1, adapters = option_times(options, OPTION_COMPARE_ADAPTER);
    const fam_tokenizer *tokenizer;
    fam_status status = FAM_OK;
    if (compare && option_given(options, OPTION_MODE))
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--mode: found --compare too, need one of them");
    if (compare)
        status = model_check_modes(options, compare->list, modes, error);
    run->systems = calloc(modes * (adapters ? adapters : 1), sizeof *run->systems);
    if (!run->systems)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "eval: out of memory");
    for (size_t a = 0; a < (adapters ? adapters : 1) && status == FAM_OK; a++)
        for (size_t m = 0; m < modes && status == FAM_OK; m++)
            status = open_system(run, compare ? (int)compare->list[m] : FAM_AUTO, a, modes > 1, error);
    if (status == FAM_OK) /* only for its words: why there is none */
        status = model_tokenizer(&tokenizer, run->systems[0].engine, options->argument, error);
    return status;
}

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

static bool on_cancelled(void *context)
{
    (void)context;
    return signals_stop_asked();
}

static void on_progress(void *context, const fam_eval_progress *now)
{
    eval_run *run = context;
    run->last = *now;
    if (signals_stop_asked() && !run->stop_told) {
        run->stop_told = true;
        message("stopping after the present draw; once more stops at once");
    }
    if (!progress_due(&run->progress))
        return;
    char line[256], done[NUMBER_GROUPED_BYTES], left[32];
    double seconds = run->progress.last - run->progress.start, rate = (double)now->tokens_done / seconds;
    int length =
        snprintf(line, sizeof line, "%lld of %lld draws, %s tokens read, %.0f tok/s", (long long)now->draws_done,
                 (long long)now->draws_total, number_grouped(done, now->tokens_done), rate);
    if (now->tokens_done > 0 && now->tokens_total >= now->tokens_done) {
        progress_duration(left, (double)(now->tokens_total - now->tokens_done) / rate);
        snprintf(line + length, sizeof line - (size_t)length, ", %.0f %%, %s to go",
                 100 * (double)now->tokens_done / (double)now->tokens_total, left);
    }
    progress_say(&run->progress, line);
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static fam_status read_options(eval_run *run, fam_error *error)
{
    const cli_options *options = run->options;
    fam_eval_options *asked = &run->asked;
    const option_value *depths = option_nth(options, OPTION_TASK_DEPTHS, 0);
    fam_eval_options_init(asked);
    if (!option_given(options, OPTION_TASK))
        return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--task: found none, need one of %s",
                       option_get(OPTION_TASK)->value_name);
    asked->task = option_choice(options, OPTION_TASK); /* the table has them in the library's order */
    run->lengths = option_list(options, OPTION_LENGTHS, &asked->length_count);
    run->keys = option_list(options, OPTION_KEYS, &asked->key_count);
    asked->file_count = option_times(options, OPTION_TASK_FILE);
    run->files = calloc(asked->file_count + 1, sizeof *run->files);
    if (!run->lengths || !run->keys || !run->files)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "eval: out of memory");
    for (size_t i = 0; i < asked->file_count; i++)
        run->files[i] = option_nth(options, OPTION_TASK_FILE, i)->text;
    asked->files = run->files;
    asked->lengths = run->lengths;
    asked->keys = option_given(options, OPTION_KEYS) ? run->keys : NULL;
    asked->depths = depths ? depths->reals : NULL;
    asked->depth_count = depths ? depths->list_count : 0;
    asked->asked = option_integer(options, OPTION_ASKED);
    asked->digits = option_integer(options, OPTION_DIGITS);
    asked->draws = option_integer(options, OPTION_DRAWS);
    asked->seed = option_unsigned(options, OPTION_TASK_SEED);
    asked->exhaustive = option_given(options, OPTION_EXHAUSTIVE);
    asked->model = options->argument;
    asked->directory = option_text(options, OPTION_EVAL_OUT);
    asked->cancelled = on_cancelled;
    asked->on_progress = on_progress;
    asked->context = run;
    return FAM_OK;
}

static fam_status print_result(eval_run *run, fam_error *error)
{
    char *json = NULL;
    const char **names = calloc(run->system_count, sizeof *names);
    fam_status status = names ? FAM_OK : failure(error, FAM_STATUS_OUT_OF_MEMORY, "eval: out of memory");
    if (status == FAM_OK && option_given(run->options, OPTION_JSON)) {
        status = fam_eval_json(&json, run->result, error);
        if (status == FAM_OK)
            status = output_write(json, strlen(json), error);
        if (status == FAM_OK)
            status = output_write("\n", 1, error);
        fam_string_free(json);
    } else if (status == FAM_OK) {
        for (size_t i = 0; i < run->system_count; i++)
            names[i] = run->systems[i].name;
        const eval_table table = {.task = fam_eval_task_name(run->asked.task),
                                  .asked = run->asked.asked,
                                  .names = names,
                                  .systems = run->system_count,
                                  .depths = run->asked.depth_count > 1,
                                  .result = run->result};
        status = eval_table_print(&table, error);
    }
    free(names);
    return status == FAM_OK ? output_close(error) : status;
}

static fam_status measure(eval_run *run, fam_error *error)
{
    fam_status status = read_options(run, error), printed = FAM_OK;
    if (status == FAM_OK)
        status = open_systems(run, error);
    if (status != FAM_OK)
        return status;
    progress_start(&run->progress, 0, 0, 0);
    status = fam_eval_run(&run->result, run->systems, run->system_count, &run->asked, error);
    progress_end(&run->progress);
    if (run->result)
        printed = print_result(run, error);
    return printed == FAM_OK ? status : printed;
}

int cmd_eval(const cli_options *options)
{
    eval_run run = {.options = options};
    fam_error error = {FAM_OK, ""};
    fam_status status = measure(&run, &error);
    int result = 0;
    if (status == FAM_STATUS_CANCELLED) {
        message("interrupted after %lld of %lld draws; %s", (long long)run.last.draws_done,
                (long long)run.last.draws_total,
                run.asked.directory ? "the same command does the rest" : "with --out they would be kept");
        result = fam_status_exit_code(status);
    } else if (status != FAM_OK) {
        result = message_failure(&error);
    }
    fam_eval_result_free(run.result);
    for (size_t i = 0; i < run.system_count; i++) {
        free((char *)run.systems[i].name);
        fam_engine_free(run.systems[i].engine);
    }
    free(run.systems);
    free(run.lengths);
    free(run.keys);
    free(run.files);
    return result;
}
