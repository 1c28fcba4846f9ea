/*
 * eval/run.c: fam_eval_run: questions, draws of an earlier run, the missing ones, what is told and kept. See
 * internal.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "base/file.h"
#include "eval/ask.h"
#include "eval/log.h"
#include "eval/report.h"

typedef struct eval_run {
    fam_eval_options options;
    const fam_eval_system *systems;
    size_t system_count;
    fam_eval_result *result;
    fam_memory *memory;       /* of the result */
    fam_eval_reader *readers; /* [system] */
    fam_task **tasks;         /* [number of keys]; text has none */
    fam_eval_text text;
    int64_t **pieces; /* [length]; only text */
    fam_eval_header header;
    fam_eval_log *log; /* or NULL */
    fam_eval_buffer *buffer;
    fam_eval_progress progress;
} eval_run;

/* ---- questions --------------------------------------------------------------------------------------------------- */

static fam_status make_tasks(eval_run *run, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_eval_options *options = &run->options;
    const fam_tokenizer *tokenizer = fam_engine_tokenizer(run->systems[0].engine);
    FAM_TRY_ALLOC(run->tasks, fam_alloc_array(run->memory, options->key_count, sizeof *run->tasks), "tasks");
    for (size_t i = 0; i < options->key_count; i++) {
        const fam_task_options task = {.kind = (fam_data_kind)options->task,
                                       .digits = options->digits,
                                       .keys = options->keys[i],
                                       .asked = options->asked,
                                       .path = options->file_count ? options->files[0] : NULL};
        FAM_TRY(fam_task_create(&run->tasks[i], run->memory, &task, tokenizer, error));
        int64_t fewest = fam_task_tokens_min(run->tasks[i]);
        for (size_t k = 0; k < options->length_count; k++)
            FAM_FAIL_IF(options->lengths[k] < fewest, FAM_STATUS_INVALID_ARGUMENT,
                        "lengths: found %lld, need at least %lld for the task %s with %lld keys",
                        (long long)options->lengths[k], (long long)fewest, fam_eval_task_name(options->task),
                        (long long)options->keys[i]);
    }
done:
    return status;
}

static fam_status open_text(eval_run *run, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_eval_options *options = &run->options;
    FAM_TRY_ALLOC(run->pieces, fam_alloc_array(run->memory, options->length_count, sizeof *run->pieces), "text");
    FAM_TRY(fam_eval_text_open(&run->text, run->memory, options->files, options->file_count,
                               fam_engine_tokenizer(run->systems[0].engine), error));
done:
    return status;
}

static fam_status make_questions(eval_run *run, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_eval_options *options = &run->options;
    fam_eval_result *result = run->result;
    bool text = options->task == FAM_EVAL_TEXT, start = options->task == FAM_EVAL_PASSKEY;
    size_t depths = options->depths ? options->depth_count : 1, at = 0;
    result->question_count = options->length_count * depths * options->key_count; /* each at most 4096 */
    FAM_TRY_ALLOC(result->questions, fam_alloc_array(run->memory, result->question_count, sizeof *result->questions),
                  "questions");
    for (size_t i = 0; i < options->length_count; i++) {
        int64_t draws = options->draws, pieces;
        if (text) {
            FAM_TRY(
                fam_eval_text_pieces(&run->pieces[i], &pieces, &run->text, options->lengths[i], options->seed, error));
            draws = fam_min_i64(draws, pieces);
        }
        for (size_t d = 0; d < depths; d++) {
            for (size_t k = 0; k < options->key_count; k++)
                result->questions[at++] =
                    (fam_eval_question){.length = options->lengths[i],
                                        .depth_from = options->depths ? options->depths[d] : 0,
                                        .depth_to = options->depths ? options->depths[d]
                                                    : start         ? 0
                                                                    : 1,
                                        .keys = options->keys[k],
                                        .draws = draws,
                                        .ranges = text ? fam_eval_ranges_of(options->lengths[i]) : 0};
        }
    }
    FAM_TRY(fam_eval_result_make_table(result, error));
done:
    return status;
}

/* Index of a question among its lengths and among its numbers of keys. */
static size_t length_of(const eval_run *run, size_t question)
{
    return question / (run->result->question_count / run->options.length_count);
}

static size_t key_of(const eval_run *run, size_t question)
{
    return question % run->options.key_count;
}

/* ---- what was done before ---------------------------------------------------------------------------------------- */

static void write_digits(char out[FAM_EVAL_IDENTITY_SIZE], uint64_t hash)
{
    snprintf(out, FAM_EVAL_IDENTITY_SIZE, "%016" PRIx64, hash);
}

/* Everything that a system's answers depend on. */
static void identify(fam_eval_description *system, bool exhaustive)
{
    char text[512];
    const fam_engine_info *info = &system->info;
    int length = snprintf(text, sizeof text,
                          "mode %d norm %d positions %d block %lld segments %lld fam %lld window %lld "
                          "dtype %d exhaustive %d weights ",
                          (int)info->mode, (int)info->state_norm, (int)info->fam_positions, (long long)info->block_size,
                          (long long)info->memory_segments, (long long)info->fam_length, (long long)info->window,
                          (int)info->dtype, exhaustive);
    memcpy(text + length, info->fingerprint, sizeof info->fingerprint);
    write_digits(system->identity, XXH3_64bits(text, (size_t)length + sizeof info->fingerprint));
}

static fam_status hash_files(eval_run *run, fam_error *error)
{
    const fam_eval_options *options = &run->options;
    uint64_t hash = 0;
    for (size_t i = 0; i < options->file_count; i++) {
        fam_mapping mapping;
        fam_status status = fam_mapping_open(&mapping, options->files[i], error);
        if (status != FAM_OK)
            return status;
        hash = XXH3_64bits_withSeed(mapping.data, mapping.size, hash);
        fam_mapping_close(&mapping);
    }
    write_digits(run->header.files, hash);
    return FAM_OK;
}

static fam_eval_outcome *find_outcome(const eval_run *run, const fam_eval_line *line, size_t system, double **sums)
{
    const fam_eval_result *result = run->result;
    for (size_t i = 0; i < result->question_count; i++) {
        const fam_eval_question *q = &result->questions[i];
        /* written with all digits, so the same numbers come back */
        bool depth = !(q->depth_from < line->depth_from || q->depth_from > line->depth_from) &&
                     !(q->depth_to < line->depth_to || q->depth_to > line->depth_to);
        if (q->length == line->length && depth && q->keys == line->keys && line->draw < q->draws) {
            *sums = fam_eval_sums_at(result, i, system, line->draw);
            return fam_eval_outcome_at(result, i, system, line->draw);
        }
    }
    return NULL;
}

static fam_status take_line(void *context, const fam_eval_line *line, fam_error *error)
{
    fam_status status = FAM_OK;
    eval_run *run = context;
    fam_eval_result *result = run->result;
    double *sums = NULL;
    size_t system = 0;
    while (system < result->system_count && strcmp(result->systems[system].name, line->system) != 0)
        system++;
    if (system == result->system_count)
        return FAM_OK;
    FAM_FAIL_IF(strcmp(result->systems[system].identity, line->identity) != 0, FAM_STATUS_MISMATCH,
                "system %s: found a draw of other weights or settings, need another directory", line->system);
    fam_eval_outcome *outcome = find_outcome(run, line, system, &sums);
    if (!outcome)
        return FAM_OK;
    FAM_FAIL_IF(outcome->done, FAM_STATUS_BAD_FORMAT, "draw %lld: found it twice, need it once", (long long)line->draw);
    FAM_FAIL_IF((sums != NULL) != (line->ranges > 0), FAM_STATUS_BAD_FORMAT, "ranges: found %d, need %s", line->ranges,
                sums ? "those of the length" : "none");
    *outcome = line->outcome;
    outcome->done = outcome->kept = true;
    if (sums)
        memcpy(sums, line->sums, (size_t)line->ranges * sizeof *sums);
done:
    return status;
}

/* ---- telling ----------------------------------------------------------------------------------------------------- */

static void tell_progress(eval_run *run)
{
    if (run->options.on_progress)
        run->options.on_progress(run->options.context, &run->progress);
}

static void tick(void *context, int64_t tokens)
{
    eval_run *run = context;
    run->progress.tokens_done += tokens;
    tell_progress(run);
}

static void tell_draw(const eval_run *run, size_t question, size_t system, int64_t number)
{
    const fam_eval_question *q = &run->result->questions[question];
    const fam_eval_outcome *outcome = fam_eval_outcome_at(run->result, question, system, number);
    if (!run->options.on_draw)
        return;
    const fam_eval_draw draw = {.system = system,
                                .length = q->length,
                                .depth_from = q->depth_from,
                                .depth_to = q->depth_to,
                                .keys = q->keys,
                                .number = number,
                                .parts = outcome->parts,
                                .parts_right = outcome->parts_right,
                                .tokens = outcome->tokens,
                                .tokens_right = outcome->tokens_right,
                                .nll = outcome->nll / (double)outcome->tokens,
                                .seconds = outcome->seconds,
                                .tokens_read = outcome->tokens_read,
                                .kept = outcome->kept};
    run->options.on_draw(run->options.context, &draw);
}

/* What is still to do. */
static int64_t tokens_of(const eval_run *run, size_t question, size_t system)
{
    int64_t length = run->result->questions[question].length;
    return run->options.task == FAM_EVAL_TEXT
               ? length
               : fam_eval_ask_tokens(&run->readers[system], length, run->options.exhaustive);
}

static void count_work(eval_run *run)
{
    const fam_eval_result *result = run->result;
    for (size_t q = 0; q < result->question_count; q++) {
        for (size_t s = 0; s < result->system_count; s++) {
            int64_t tokens = tokens_of(run, q, s);
            for (int64_t i = 0; i < result->questions[q].draws; i++) {
                bool kept = fam_eval_outcome_at(result, q, s, i)->done;
                run->progress.draws_total++;
                run->progress.draws_done += kept;
                run->progress.tokens_total += kept ? 0 : tokens;
            }
        }
    }
}

/* ---- doing ------------------------------------------------------------------------------------------------------- */

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static fam_status keep(eval_run *run, size_t question, size_t system, int64_t number, fam_error *error)
{
    const fam_eval_question *q = &run->result->questions[question];
    const fam_eval_description *description = &run->result->systems[system];
    if (!run->log)
        return FAM_OK;
    fam_eval_line line = {.system = description->name,
                          .identity = description->identity,
                          .length = q->length,
                          .depth_from = q->depth_from,
                          .depth_to = q->depth_to,
                          .keys = q->keys,
                          .draw = number,
                          .outcome = *fam_eval_outcome_at(run->result, question, system, number),
                          .ranges = q->ranges};
    if (q->ranges > 0)
        memcpy(line.sums, fam_eval_sums_at(run->result, question, system, number),
               (size_t)q->ranges * sizeof *line.sums);
    return fam_eval_log_add(run->log, &line, error);
}

static fam_status do_draw(eval_run *run, size_t question, size_t system, int64_t number, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_eval_question *q = &run->result->questions[question];
    fam_eval_outcome *outcome = fam_eval_outcome_at(run->result, question, system, number);
    fam_eval_reader *reader = &run->readers[system];
    const fam_draw draw = {.seed = run->options.seed,
                           .number = (uint64_t)number,
                           .tokens = q->length,
                           .depth_from = q->depth_from,
                           .depth_to = q->depth_to};
    double begin = seconds_now();
    if (q->ranges > 0)
        FAM_TRY(fam_eval_read_text(outcome, fam_eval_sums_at(run->result, question, system, number), reader, &run->text,
                                   run->pieces[length_of(run, question)][number], q->length, run->buffer, error));
    else
        FAM_TRY(fam_eval_ask(outcome, reader, run->tasks[key_of(run, question)], &draw, run->options.exhaustive,
                             run->buffer, error));
    outcome->seconds = seconds_now() - begin;
    FAM_TRY(keep(run, question, system, number, error));
    run->progress.draws_done++;
    run->progress.tokens_total += outcome->tokens_read - tokens_of(run, question, system);
    tell_progress(run);
done:
    if (status != FAM_OK)
        fam_error_prefix(error, status, run->systems[system].name);
    return status;
}

static fam_status write_report(eval_run *run, fam_error *error)
{
    fam_eval_result_summarise(run->result);
    return run->options.directory ? fam_eval_report_write(run->result, run->memory, run->options.directory, error)
                                  : FAM_OK;
}

/* All draws of a question; every system reads a draw before the next one comes, so that what is done can be compared
 * whenever it is stopped. */
static fam_status do_question(eval_run *run, size_t question, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_eval_options *options = &run->options;
    fam_eval_result *result = run->result;
    for (int64_t i = 0; i < result->questions[question].draws; i++) {
        for (size_t s = 0; s < run->system_count; s++) {
            if (!fam_eval_outcome_at(result, question, s, i)->done) {
                FAM_FAIL_IF(options->cancelled && options->cancelled(options->context), FAM_STATUS_CANCELLED,
                            "cancelled after %lld of %lld draws", (long long)run->progress.draws_done,
                            (long long)run->progress.draws_total);
                FAM_TRY(do_draw(run, question, s, i, error));
            }
            tell_draw(run, question, s, i);
        }
    }
    for (size_t s = 0; s < run->system_count && options->on_cell; s++) {
        const fam_eval_cell cell = fam_eval_cell_of(result, question, s);
        options->on_cell(options->context, &cell);
    }
    FAM_TRY(write_report(run, error));
done:
    return status;
}

/* Everything that can be refused, before the first draw. */
static fam_status set_up(eval_run *run, const fam_eval_options *given, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_eval_options *options = &run->options;
    FAM_TRY(fam_eval_options_read(options, given, error));
    FAM_TRY(fam_eval_systems_check(run->systems, run->system_count, options, error));
    FAM_TRY(fam_eval_result_fill(run->result, run->systems, run->system_count, options, error));
    FAM_TRY_ALLOC(run->buffer, fam_alloc(run->memory, sizeof *run->buffer), "evaluation");
    FAM_TRY_ALLOC(run->readers, fam_alloc_array(run->memory, run->system_count, sizeof *run->readers), "evaluation");
    for (size_t i = 0; i < run->system_count; i++) {
        fam_eval_reader_init(&run->readers[i], run->systems[i].engine);
        run->readers[i].tick = tick;
        run->readers[i].context = run;
        identify(&run->result->systems[i], options->exhaustive);
    }
    FAM_TRY(options->task == FAM_EVAL_TEXT ? open_text(run, error) : make_tasks(run, error));
    FAM_TRY(make_questions(run, error));
    if (options->directory) {
        run->header = (fam_eval_header){.task = fam_eval_task_name(options->task),
                                        .seed = options->seed,
                                        .digits = options->digits,
                                        .asked = options->asked};
        FAM_TRY(hash_files(run, error));
        FAM_TRY(fam_eval_log_open(&run->log, run->memory, options->directory, &run->header, take_line, run, error));
    }
    count_work(run);
done:
    return status;
}

static void release(eval_run *run)
{
    const fam_eval_options *options = &run->options;
    for (size_t i = 0; run->readers && i < run->system_count; i++)
        fam_eval_reader_release(&run->readers[i]);
    for (size_t i = 0; run->tasks && i < options->key_count; i++)
        fam_task_free(run->tasks[i]);
    for (size_t i = 0; run->pieces && i < options->length_count; i++)
        fam_free(run->memory, run->pieces[i]);
    if (run->pieces)
        fam_eval_text_release(&run->text);
    fam_free(run->memory, run->readers);
    fam_free(run->memory, run->tasks);
    fam_free(run->memory, run->pieces);
    fam_free(run->memory, run->buffer);
    fam_eval_log_close(run->log);
}

fam_status fam_eval_run_faulty(fam_eval_result **out, const fam_eval_system *systems, size_t system_count,
                               const fam_eval_options *options, fam_eval_fault *fault, fam_error *error)
{
    fam_status status = FAM_OK, kept;
    eval_run run = {.systems = systems, .system_count = system_count};
    *out = NULL;
    FAM_TRY_ALLOC(run.result, calloc(1, sizeof *run.result), "evaluation"); /* its own fam_memory cannot count it */
    run.memory = &run.result->memory;
    fam_memory_init(run.memory);
    run.memory->fail_at = fault->fail_at;
    run.memory->fail_for_good = fault->fail_for_good;
    FAM_TRY(set_up(&run, options, error));
    tell_progress(&run);
    for (size_t i = 0; i < run.result->question_count; i++)
        FAM_TRY(do_question(&run, i, error));
done:
    if (status == FAM_STATUS_CANCELLED && (kept = write_report(&run, error)) != FAM_OK)
        status = kept;
    if (run.result) {
        release(&run);
        run.memory->fail_at = 0;
    }
    if (status == FAM_OK || status == FAM_STATUS_CANCELLED) {
        *out = run.result;
    } else if (run.result) {
        fam_eval_result_free_counted(run.result, &fault->bytes_left);
    }
    return status;
}

fam_status fam_eval_run(fam_eval_result **out, const fam_eval_system *systems, size_t system_count,
                        const fam_eval_options *options, fam_error *error)
{
    return fam_eval_run_faulty(out, systems, system_count, options, &(fam_eval_fault){0}, error);
}
