/*
 * cli/cmd_generate.c: fam generate: reads the input into a session, then generates.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "input.h"
#include "measure.h"
#include "message.h"
#include "model.h"
#include "note.h"
#include "numbers.h"
#include "output.h"
#include "reader.h"
#include "session_file.h"
#include "signals.h"

typedef struct generate_run {
    const cli_options *options;
    fam_engine *engine;
    const fam_tokenizer *tokenizer;
    fam_session *session;
    cli_source *sources;
    size_t source_count;
    cli_input *input;
    cli_note note;
    cli_reader reader;
    double last_save;
    bool reading; /* the input is not at its end */
    bool open_line; /* text was written, and its last line is not ended */
    fam_status output_status;
    fam_error output_error;
    int64_t first_position, generated;
    double start, read_seconds, generate_seconds;
    const char *stop;
} generate_run;

static fam_status save(generate_run *run, bool finished, fam_error *error)
{
    input_hashes(run->input);
    fam_status status = note_store_reading(&run->note, run->session, run->sources, run->source_count, run->reader.consumed,
                                           finished, error);
    if (status == FAM_OK)
        status = fam_session_save(run->session, option_text(run->options, OPTION_SESSION), error);
    run->last_save = measure_seconds();
    return status;
}

static fam_status save_now_and_then(void *context, fam_error *error)
{
    generate_run *run = context;
    double every = (double)option_integer(run->options, OPTION_SAVE_EVERY);
    if (every <= 0 || !session_file_saves(run->options) || measure_seconds() - run->last_save < every)
        return FAM_OK;
    return save(run, false, error);
}

static fam_status check(generate_run *run, fam_error *error)
{
    const cli_options *options = run->options;
    fam_status status = session_file_check(options, error);
    if (status == FAM_OK)
        status = sources_create(&run->sources, &run->source_count, options, error);
    if (status == FAM_OK && run->source_count == 0 && !option_given(options, OPTION_SESSION))
        status = failure(error, FAM_STATUS_INVALID_ARGUMENT,
                         "generate: found nothing to read, need --prompt, --file, --ids-file or --session");
    if (status == FAM_OK && option_given(options, OPTION_SPECIAL) &&
        !sources_need_tokenizer(run->sources, run->source_count))
        status = failure(error, FAM_STATUS_INVALID_ARGUMENT, "--special: found no text, need --prompt or --file");
    return status;
}

static fam_status open_all(generate_run *run, fam_error *error)
{
    const cli_options *options = run->options;
    fam_session_options session_options;
    fam_status status = model_open(&run->engine, options, error);
    if (status == FAM_OK &&
        (sources_need_tokenizer(run->sources, run->source_count) || option_given(options, OPTION_STOP)))
        status = model_tokenizer(&run->tokenizer, run->engine, options->argument, error);
    if (status != FAM_OK)
        return status;
    reader_session_options(&session_options, &run->reader);
    status = session_file_open(&run->session, run->engine, options, &session_options, error);
    if (status == FAM_OK && option_given(options, OPTION_SESSION))
        status = note_load(&run->note, run->session, option_text(options, OPTION_SESSION), error);
    if (status == FAM_OK && run->note.root)
        status = note_plan(&run->note, run->sources, &run->source_count, error);
    return status;
}

static fam_status read_input(generate_run *run, fam_error *error)
{
    fam_engine_info info;
    fam_engine_info_get(run->engine, &info);
    run->first_position = fam_session_position(run->session);
    input_plan plan = {run->sources,   run->source_count, run->tokenizer, info.vocab_size,
                       option_given(run->options, OPTION_SPECIAL), run->first_position == 0};
    fam_status status = input_create(&run->input, &plan, error);
    run->reading = status == FAM_OK; /* also while what was read before is only checked */
    if (status == FAM_OK && run->note.resumes)
        status = input_skip(run->input, run->note.skipped, error);
    if (status != FAM_OK)
        return status;
    if (run->note.resumes) {
        char tokens[NUMBER_GROUPED_BYTES];
        message("continuing after %s tokens", number_grouped(tokens, run->note.skipped));
        run->reader.skipped = run->note.skipped;
    }
    run->reader.session = run->session;
    run->reader.input = run->input;
    run->reader.after_piece = save_now_and_then;
    run->reader.context = run;
    double start = run->last_save = measure_seconds();
    status = reader_run(&run->reader, run->engine, error);
    run->read_seconds = measure_seconds() - start;
    if (status != FAM_OK)
        return status;
    run->reading = false;
    input_tell_dropped(run->input);
    if (fam_session_position(run->session) == 0)
        status = failure(error, FAM_STATUS_INVALID_ARGUMENT, "the input: found no tokens, need at least one");
    return status;
}

static bool on_text(void *context, int32_t token, const char *text, size_t length)
{
    generate_run *run = context;
    run->generated += token >= 0;
    fam_status status = FAM_OK;
    if (length > 0) {
        run->open_line = text[length - 1] != '\n';
        status = output_write(text, length, &run->output_error);
    }
    if (length > 0 && status == FAM_OK)
        status = output_flush(&run->output_error);
    run->output_status = status;
    return status == FAM_OK;
}

static fam_status generate(generate_run *run, fam_error *error)
{
    static const char *const reasons[] = {"length", "end", "string", "output"};
    const cli_options *options = run->options;
    fam_generate_options generating;
    fam_generate_options_init(&generating);
    generating.max_tokens = option_integer(options, OPTION_MAX_TOKENS);
    if (generating.max_tokens == 0)
        return FAM_OK;
    if (!fam_engine_tokenizer(run->engine))
        message("%s: it has no tokenizer: what is generated cannot be shown as text", options->argument);
    const char **stop = calloc(options->count + 1, sizeof *stop);
    if (!stop)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the options: out of memory");
    generating.stop_count = option_times(options, OPTION_STOP);
    for (size_t i = 0; i < generating.stop_count; i++)
        stop[i] = option_nth(options, OPTION_STOP, i)->text;
    generating.stop = stop;
    generating.on_text = on_text;
    generating.context = run;
    run->reader.quiet = true;
    fam_generate_result result = {0, FAM_STOP_CALLER};
    double start = measure_seconds();
    fam_status status = fam_session_generate(run->session, &generating, &result, error);
    run->generate_seconds = measure_seconds() - start;
    free(stop);
    /* For the prompt of the shell; elsewhere the output is the text and nothing else. */
    if (run->open_line && run->output_status == FAM_OK && isatty(STDOUT_FILENO) == 1) {
        run->output_status = output_write("\n", 1, &run->output_error);
        if (run->output_status == FAM_OK)
            run->output_status = output_flush(&run->output_error);
    }
    if (status == FAM_OK) {
        run->generated = result.tokens;
        run->stop = reasons[result.reason];
        if (run->output_status != FAM_OK) {
            *error = run->output_error;
            status = run->output_status;
        }
    }
    return status;
}

static void add_speed(json_t *stats, const char *seconds_name, const char *speed_name, double seconds, int64_t tokens)
{
    json_object_set_new(stats, seconds_name, output_json_real(seconds));
    json_object_set_new(stats, speed_name, seconds > 0 ? output_json_real((double)tokens / seconds) : json_null());
}

static void tell_stats(const generate_run *run)
{
    fam_session_stats stats;
    uint64_t bytes = 0, peak = 0, allocations = 0;
    fam_session_stats_get(run->session, &stats);
    fam_engine_memory(run->engine, &bytes, &peak, &allocations);
    json_t *object = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s?}", "tokens_read", (json_int_t)stats.tokens_read,
                               "tokens_in_window", (json_int_t)stats.tokens_in_window, "tokens_in_memory",
                               (json_int_t)stats.tokens_in_memory, "blocks", (json_int_t)stats.blocks, "input_tokens",
                               (json_int_t)run->reader.consumed, "generated", (json_int_t)run->generated, "stop", run->stop);
    if (!object)
        return;
    add_speed(object, "read_seconds", "read_tok_s", run->read_seconds, run->reader.consumed);
    add_speed(object, "generate_seconds", "generate_tok_s", run->generate_seconds, run->generated);
    json_object_set_new(object, "seconds", output_json_real(measure_seconds() - run->start));
    json_object_set_new(object, "peak_bytes", json_integer(measure_peak_bytes()));
    json_object_set_new(object, "allocated_bytes", json_integer((json_int_t)bytes));
    char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (text)
        fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(object);
}

/* Interrupted: keeps what was done, and says what was kept. */
static void tell_interrupted(const generate_run *run)
{
    char read[NUMBER_GROUPED_BYTES];
    number_grouped(read, fam_session_position(run->session));
    const char *path = option_text(run->options, OPTION_SESSION);
    if (session_file_saves(run->options))
        message("interrupted after %s tokens; %s is saved%s", read, path,
                run->reading ? ": the same command goes on" : "");
    else
        message("interrupted after %s tokens; nothing is kept without --session%s", read, path ? " that is saved" : "");
}

/* Whether the session holds something that is worth keeping: also after a failed output, a file that could not be read
 * further, a full context. Not after an input that is wrong: what was read of it belongs to another text. */
static bool keeps(const generate_run *run, fam_status status)
{
    if (!run->input || !session_file_saves(run->options))
        return false;
    if (status == FAM_OK || status == FAM_STATUS_CANCELLED)
        return true;
    bool more = fam_session_position(run->session) > run->first_position;
    return more && (status == FAM_STATUS_IO || status == FAM_STATUS_OUT_OF_MEMORY ||
                    (status == FAM_STATUS_CONTEXT_FULL && !run->reading));
}

static fam_status finish(generate_run *run, fam_status status, fam_error *error)
{
    fam_error other;
    if (keeps(run, status) && save(run, !run->reading, &other) != FAM_OK) {
        if (status != FAM_OK)
            message("%s", status == FAM_STATUS_CANCELLED ? "interrupted" : error->message);
        *error = other;
        return other.status;
    }
    if (status == FAM_STATUS_CANCELLED && run->input)
        tell_interrupted(run);
    else if (status == FAM_STATUS_CANCELLED)
        message("interrupted");
    return status;
}

static void free_all(generate_run *run)
{
    input_free(run->input);
    note_free(&run->note);
    fam_session_free(run->session);
    fam_engine_free(run->engine);
    free(run->sources);
}

int cmd_generate(const cli_options *options)
{
    generate_run run = {.options = options, .start = measure_seconds(), .output_status = FAM_OK};
    fam_error error = {FAM_OK, ""};
    fam_status status = check(&run, &error);
    if (status == FAM_OK)
        status = open_all(&run, &error);
    if (status == FAM_OK)
        status = model_set_sampling(run.session, options, &error);
    if (status == FAM_OK)
        status = read_input(&run, &error);
    if (status == FAM_OK)
        status = generate(&run, &error);
    status = finish(&run, status, &error);
    if (run.output_status == FAM_OK) {
        fam_error closing;
        fam_status closed = output_close(&closing);
        if (status == FAM_OK && closed != FAM_OK) {
            status = closed;
            error = closing;
        }
    }
    if (option_given(options, OPTION_STATS) && run.input && (status == FAM_OK || status == FAM_STATUS_CANCELLED))
        tell_stats(&run);
    int result = fam_status_exit_code(status);
    if (status != FAM_OK && status != FAM_STATUS_CANCELLED)
        result = message_failure(&error);
    free_all(&run);
    return result;
}
