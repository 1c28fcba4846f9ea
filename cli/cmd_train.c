/*
 * cli/cmd_train.c: fam train: a run of training, with its progress, until it is done or asked to stop.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "fam/train.h"
#include "measure.h"
#include "message.h"
#include "numbers.h"
#include "output.h"
#include "progress.h"
#include "report.h"
#include "signals.h"

static const double TERMINAL_SECONDS = 0.2;
static const double PLAIN_SECONDS = 10;
static const double REPORT_SECONDS = 30; /* no sooner than that is the report drawn again, */
static const double REPORT_PAUSES = 50;  /* and after so many times as long as drawing took: 2 % of the time */

typedef struct train_run {
    const cli_options *options;
    fam_trainer *trainer;
    const char **sets, **overrides;
    char *out; /* where the run lies, if --out is not given */
    bool terminal;
    double started, last; /* seconds */
    double report_due;    /* when the report is drawn next */
    bool report_failed;   /* which is said once */
    int64_t first_step, tokens;
} train_run;

static void tell(void *context, fam_log_level level, const char *line)
{
    (void)context, (void)level;
    message("%s", line);
}

static bool stop_asked(void *context)
{
    (void)context;
    return signals_stop_asked();
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

/* "runs/NAME" for a recipe "…/NAME.yaml". */
static char *default_out(const char *recipe)
{
    const char *slash = strrchr(recipe, '/'), *name = slash ? slash + 1 : recipe, *dot = strrchr(name, '.');
    int length = dot && dot > name ? (int)(dot - name) : (int)strlen(name);
    size_t size = strlen("runs/") + (size_t)length + 1;
    char *out = malloc(size);
    if (out)
        snprintf(out, size, "runs/%.*s", length, name);
    return out;
}

/* The texts of a repeatable option, in order. */
static const char **texts_of(const cli_options *options, option_id id)
{
    size_t count = option_times(options, id);
    const char **list = calloc(count + 1, sizeof *list);
    for (size_t i = 0; list && i < count; i++)
        list[i] = option_nth(options, id, i)->text;
    return list;
}

static fam_status open_trainer(train_run *run, fam_error *error)
{
    const cli_options *options = run->options;
    fam_trainer_options o;
    run->sets = texts_of(options, OPTION_SET);
    run->overrides = texts_of(options, OPTION_OVERRIDE);
    run->out = default_out(options->argument);
    if (!run->sets || !run->overrides || !run->out)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "train: out of memory");
    fam_trainer_options_init(&o);
    o.out = option_given(options, OPTION_OUT) ? option_text(options, OPTION_OUT) : run->out;
    o.resume = (fam_resume)fmax(option_choice(options, OPTION_RESUME), FAM_RESUME_AUTO);
    o.sets = run->sets;
    o.set_count = option_times(options, OPTION_SET);
    o.overrides = run->overrides;
    o.override_count = option_times(options, OPTION_OVERRIDE);
    o.device = option_text(options, OPTION_DEVICE);
    o.threads = (int)option_integer(options, OPTION_THREADS);
    o.dtype = option_choice(options, OPTION_DTYPE);
    o.isa = option_text(options, OPTION_ISA);
    o.log = tell;
    o.cancelled = stop_asked;
    return fam_trainer_create(&run->trainer, options->argument, &o, error);
}

/* ---- telling ------------------------------------------------------------------------------------------------------ */

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / 1048576;
}

static void tell_plan(const train_run *run)
{
    fam_trainer_info info;
    char parameters[NUMBER_GROUPED_BYTES], tokens[NUMBER_GROUPED_BYTES];
    fam_trainer_info_get(run->trainer, &info);
    if (info.step >= info.steps) {
        message("%s: all %lld steps are done (a larger train.steps goes on)", info.out, (long long)info.steps);
        return;
    }
    message("%s: %s steps %lld to %lld, %s trained parameters, sequences of up to %s tokens (%lld at once), about %.0f MiB "
            "of memory, checkpoints of %.0f MiB",
            info.out, info.resumed_from >= 0 ? "resumed," : "new run,", (long long)info.step + 1, (long long)info.steps,
            number_grouped(parameters, info.trained_parameters), number_grouped(tokens, info.tokens_longest),
            (long long)info.sequences_longest, mebibytes(info.memory_bytes), mebibytes(info.checkpoint_bytes));
}

static fam_status print_plan(const train_run *run, fam_error *error)
{
    fam_trainer_info info;
    fam_trainer_info_get(run->trainer, &info);
    json_t *plan = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I}}", "out", info.out, "step", (json_int_t)info.step,
                             "steps", (json_int_t)info.steps, "trained_parameters", (json_int_t)info.trained_parameters,
                             "tokens_longest", (json_int_t)info.tokens_longest, "sequences_longest",
                             (json_int_t)info.sequences_longest, "memory_bytes", (json_int_t)info.memory_bytes,
                             "checkpoint_bytes", (json_int_t)info.checkpoint_bytes, "memory_by_recompute", "none",
                             (json_int_t)info.memory_none, "layer", (json_int_t)info.memory_layer, "span",
                             (json_int_t)info.memory_span);
    fam_status status = output_json(plan, error);
    json_decref(plan);
    return status;
}

static void tell_validation(const train_run *run, const fam_step_metrics *m)
{
    const fam_validation_result *results;
    size_t count = fam_trainer_validation(run->trainer, &results);
    for (size_t i = 0; i < count; i++) {
        const fam_validation_result *v = &results[i];
        if (isnan(v->accuracy))
            message("step %lld: held out, %s: loss %.4f over %lld sequences", (long long)m->step, v->name, v->loss,
                    (long long)v->sequences);
        else
            message("step %lld: held out, %s: loss %.4f, answer tokens %.1f %%, whole answers %.1f %% of %lld sequences",
                    (long long)m->step, v->name, v->loss, 100 * v->accuracy, 100 * v->exact, (long long)v->sequences);
    }
}

/* "step 120 of 2,300, loss 1.2345, answers 87 %, 4 blocks, 12,345 tok/s, 3 min 20 s to go" */
static void format_line(char *line, size_t size, const train_run *run, const fam_step_metrics *m, int64_t steps)
{
    char number[NUMBER_GROUPED_BYTES], total[NUMBER_GROUPED_BYTES], left[32];
    double seconds = measure_seconds() - run->started;
    int64_t done = m->step - run->first_step;
    int n = snprintf(line, size, "step %s of %s, loss %.4f", number_grouped(number, m->step), number_grouped(total, steps),
                     m->loss);
    if (!isnan(m->accuracy))
        n += snprintf(line + n, size - (size_t)n, ", answers %.0f %%", 100 * m->accuracy);
    if (m->level > 0)
        n += snprintf(line + n, size - (size_t)n, ", %lld of up to %lld blocks", (long long)m->blocks, (long long)m->level);
    else if (m->blocks > 0)
        n += snprintf(line + n, size - (size_t)n, ", %lld blocks", (long long)m->blocks);
    progress_duration(left, seconds / (double)(done > 0 ? done : 1) * (double)(steps - m->step));
    snprintf(line + n, size - (size_t)n, ", %s tok/s, %s to go",
             number_grouped(number, (int64_t)((double)run->tokens / (seconds > 0 ? seconds : 1))), left);
}

static void tell_step(train_run *run, const fam_step_metrics *m, int64_t steps)
{
    char line[320], whole[384];
    double now = measure_seconds();
    if (m->promoted)
        message("step %lld: sequences may now be %lld blocks long", (long long)m->step,
                (long long)m->level);
    if (m->validated)
        tell_validation(run, m);
    if (now - run->last < (run->terminal ? TERMINAL_SECONDS : PLAIN_SECONDS) && m->step < steps)
        return;
    run->last = now;
    format_line(line, sizeof line, run, m, steps);
    if (!run->terminal) {
        message("%s", line);
        return;
    }
    int length = snprintf(whole, sizeof whole, "\r\033[K%s", line);
    message_set_progress_line(write(STDERR_FILENO, whole, (size_t)length) > 0);
}

static void end_line(const train_run *run)
{
    if (run->terminal) {
        static const char clear[] = "\r\033[K";
        ssize_t ignored = write(STDERR_FILENO, clear, sizeof clear - 1);
        (void)ignored;
        message_set_progress_line(0);
    }
}

/* ---- the report --------------------------------------------------------------------------------------------------- */

static void draw_report(train_run *run, const char *folder, bool running)
{
    fam_error error = {0};
    double begun = measure_seconds();
    if (option_given(run->options, OPTION_NO_REPORT) || (running && begun < run->report_due))
        return;
    if (report_write_training(folder, running, &error) != FAM_OK && !run->report_failed) {
        run->report_failed = true;
        message("no report.html, the training goes on without: %s", error.message);
    }
    double ended = measure_seconds();
    run->report_due = ended + fmax(REPORT_SECONDS, REPORT_PAUSES * (ended - begun));
}

/* ---- running ------------------------------------------------------------------------------------------------------ */

/* What ends a run from outside (its data, memory, the disk) does not cost the steps since the last checkpoint. */
static void save_before_failing(train_run *run, fam_status why)
{
    fam_trainer_info info;
    fam_error ignored;
    fam_trainer_info_get(run->trainer, &info);
    if (why != FAM_STATUS_FAILED && why != FAM_STATUS_DEVICE && info.step > run->first_step &&
        fam_trainer_save(run->trainer, &ignored) == FAM_OK)
        message("%s: saved at step %lld of %lld; the same command goes on there", info.out, (long long)info.step,
                (long long)info.steps);
}

/* STOPPED: a stop was asked for, and what was done is in a checkpoint. */
static fam_status stop(train_run *run, fam_error *error)
{
    fam_trainer_info info;
    fam_trainer_info_get(run->trainer, &info);
    fam_status status = fam_trainer_save(run->trainer, error);
    if (status == FAM_OK)
        status = failure(error, FAM_STATUS_STOPPED, "%s: stopped and saved at step %lld of %lld; the same command goes on there",
                         info.out, (long long)info.step, (long long)info.steps);
    return status;
}

static fam_status run_steps(train_run *run, fam_error *error)
{
    fam_trainer_info info;
    fam_status status = FAM_OK;
    fam_trainer_info_get(run->trainer, &info);
    run->started = run->last = measure_seconds();
    run->report_due = run->started + REPORT_SECONDS;
    run->first_step = info.step;
    while (status == FAM_OK && !fam_trainer_done(run->trainer)) {
        fam_step_metrics m;
        status = signals_stop_asked() ? FAM_STATUS_STOPPED : fam_trainer_step(run->trainer, &m, error);
        if (status == FAM_OK) {
            run->tokens += m.tokens;
            tell_step(run, &m, info.steps);
            draw_report(run, info.out, true);
        }
    }
    end_line(run);
    if (status == FAM_STATUS_STOPPED)
        status = stop(run, error);
    else if (status != FAM_OK)
        save_before_failing(run, status);
    draw_report(run, info.out, false);
    if (status == FAM_OK)
        status = fam_trainer_finish(run->trainer, error);
    if (status == FAM_OK)
        status = output_format(error, "%s\n", info.result);
    return status;
}

int cmd_train(const cli_options *options)
{
    train_run run = {.options = options, .terminal = isatty(STDERR_FILENO) == 1};
    fam_error error = {0};
    signals_stop_on_usr1();
    fam_status status = open_trainer(&run, &error);
    if (status == FAM_OK) {
        tell_plan(&run);
        status = option_given(options, OPTION_DRY_RUN) ? print_plan(&run, &error) : run_steps(&run, &error);
    }
    fam_trainer_free(run.trainer);
    free(run.sets);
    free(run.overrides);
    free(run.out);
    fam_error closing = {0};
    fam_status closed = output_close(&closing);
    if (status != FAM_OK)
        return message_failure(&error);
    return closed == FAM_OK ? 0 : message_failure(&closing);
}
