/*
 * train/trainer.c: the public trainer: making one, stepping it, and what is due after a step. See fam/train.h.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "train/trainer_private.h"

#define RESULT "result"
#define FRESH_RESULT "result.new"

void fam_trainer_options_init_sized(fam_trainer_options *options, size_t size)
{
    const fam_trainer_options defaults = {.threads = FAM_AUTO, .dtype = FAM_AUTO};
    fam_options_give(options, size, &defaults, sizeof defaults);
}

static void say(const fam_trainer *t, fam_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(const fam_trainer *t, fam_log_level level, const char *format, ...)
{
    char line[FAM_ERROR_SIZE];
    va_list arguments;
    if (!t->options.log)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    t->options.log(t->options.log_context, level, line);
}

/* ---- resuming ----------------------------------------------------------------------------------------------------- */

typedef struct difference {
    const fam_trainer *t;
    char keys[512]; /* those that are not overridden, with both values */
} difference;

/* What is trained has its shape from the files of the checkpoint: an override would say what is not so. */
static bool is_fixed(const char *key)
{
    static const char *const fixed[] = {"model.new", "adapt.", "fam.fam_length", "fam.prompt_"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (strncmp(key, fixed[i], strlen(fixed[i])) == 0)
            return true;
    return false;
}

bool fam_trainer_overrides(const fam_trainer *t, const char *key)
{
    for (size_t i = 0; i < t->options.override_count; i++)
        if (strcmp(t->options.overrides[i], key) == 0)
            return true;
    return false;
}

static void note_difference(void *context, const char *key, const char *saved, const char *given)
{
    difference *d = context;
    if (fam_trainer_overrides(d->t, key) && !is_fixed(key)) {
        say(d->t, FAM_LOG_INFO, "resuming with another %s: %s instead of %s", key, given, saved);
        return;
    }
    size_t used = strlen(d->keys);
    snprintf(d->keys + used, sizeof d->keys - used, "%s%s (%s instead of %s%s)", used ? ", " : "", key, given, saved,
             is_fixed(key) ? "; this one cannot be overridden" : "");
}

static fam_status check_overrides(const fam_trainer *t, fam_error *error)
{
    for (size_t i = 0; i < t->options.override_count; i++)
        if (!fam_recipe_has_key(t->options.overrides[i]))
            return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                                 "override: found \"%s\", need a key of a recipe, as in optimizer.learning_rate",
                                 t->options.overrides[i]);
    return FAM_OK;
}

static fam_status check_same_recipe(fam_trainer *t, const fam_snapshot *snapshot, fam_error *error)
{
    fam_status status = FAM_OK;
    enum { RECIPE_MAX = 4 << 20 };
    char *path = NULL;
    uint8_t *text = NULL;
    size_t size;
    fam_recipe *saved = NULL;
    difference d = {.t = t};
    FAM_TRY_ALLOC(path, fam_path_join(&t->memory, snapshot->folder, "recipe.yaml"), "recipe.yaml");
    FAM_TRY(fam_file_read(&text, &size, &t->memory, path, RECIPE_MAX, error));
    FAM_TRY(fam_recipe_parse(&saved, &t->memory, path, (const char *)text, size, NULL, 0, error));
    FAM_TRY(fam_recipe_compare(saved, t->recipe, note_difference, &d, error));
    FAM_FAIL_IF(d.keys[0], FAM_STATUS_MISMATCH,
                "%s: resuming step %lld of %s: found other values, need the same or an override of each: %s",
                t->recipe->path, (long long)snapshot->step, fam_run_folder_path(t->folder), d.keys);
done:
    fam_recipe_free(saved);
    fam_free(&t->memory, text);
    fam_free(&t->memory, path);
    return status;
}

static void tell_skipped(void *context, const char *line)
{
    say(context, FAM_LOG_WARNING, "%s", line);
}

static fam_status find_snapshot(fam_trainer *t, fam_snapshot *out, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *folder = fam_run_folder_path(t->folder);
    FAM_TRY(fam_snapshot_find(out, &t->memory, folder, tell_skipped, t, error));
    FAM_FAIL_IF(!out->folder && t->options.resume == FAM_RESUME_MUST, FAM_STATUS_NOT_FOUND,
                "%s: checkpoint: found none that is whole, need one to resume", folder);
    FAM_FAIL_IF(!out->folder && out->damaged > 0, FAM_STATUS_BAD_FORMAT,
                "%s: checkpoints: found %lld and none that is whole, need one to go on (or another folder to begin anew)",
                folder, (long long)out->damaged);
    FAM_FAIL_IF(out->folder && t->options.resume == FAM_RESUME_NEVER, FAM_STATUS_INVALID_ARGUMENT,
                "%s: found a run at step %lld, need another folder for a new one (or leave to resume)", folder,
                (long long)out->step);
    if (out->folder)
        FAM_TRY(check_same_recipe(t, out, error));
done:
    return status;
}

/* ---- making ------------------------------------------------------------------------------------------------------- */

static fam_status write_recipe(fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    char *yaml = NULL, *path = NULL;
    FAM_TRY(fam_recipe_write(&yaml, t->recipe, error));
    FAM_TRY_ALLOC(path, fam_path_join(&t->memory, fam_run_folder_path(t->folder), "recipe.yaml"), "recipe.yaml");
    FAM_TRY(fam_file_replace(path, &t->memory, yaml, strlen(yaml), FAM_FILE_SHARED, error));
done:
    fam_free(t->recipe->memory, yaml);
    fam_free(&t->memory, path);
    return status;
}

/* What the run's folder has of a run that is under way. Until then it is as it was found. */
static fam_status begin(fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    if (t->metrics)
        return FAM_OK;
    FAM_TRY(write_recipe(t, error));
    FAM_TRY(fam_metrics_file_open(&t->metrics, t->folder, t->step, error));
    /* A run that could not keep what it learns is found out before it learns anything. */
    if (t->step == 0)
        status = fam_trainer_write_checkpoint(t, error);
    if (status != FAM_OK) {
        fam_metrics_file_close(t->metrics);
        t->metrics = NULL;
    }
done:
    return status;
}

static fam_status open_all(fam_trainer *t, const char *recipe_path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_snapshot snapshot = {0};
    FAM_FAIL_IF(!t->options.out || !*t->options.out, FAM_STATUS_INVALID_ARGUMENT, "out: found none, need an output folder");
    FAM_TRY(fam_recipe_read(&t->recipe, &t->memory, recipe_path, t->options.sets, (int64_t)t->options.set_count, error));
    t->carry = t->recipe->train.carry;
    FAM_TRY(check_overrides(t, error));
    FAM_TRY(fam_run_folder_open(&t->folder, &t->memory, t->options.out, error));
    FAM_TRY_ALLOC(t->result, fam_path_join(&t->memory, t->options.out, RESULT), RESULT);
    FAM_TRY(find_snapshot(t, &snapshot, error));
    FAM_TRY(fam_trainer_open_model(t, &snapshot, error));
    FAM_TRY(fam_trainer_open_data(t, error));
    if (snapshot.folder)
        FAM_TRY(fam_trainer_restore(t, &snapshot, error));
    t->saved_at = fam_seconds_now();
done:
    fam_free(&t->memory, snapshot.folder);
    return status;
}

/* Everything but the struct, which holds the counters. */
static void release(fam_trainer *t)
{
    fam_training_free(t->pass);
    fam_optimizer_free(t->optimizer);
    fam_parameters_free(t->parameters);
    fam_gradients_free(t->gradients);
    fam_source_free(t->source);
    fam_source_free(t->validation_source);
    fam_engine_free(t->engine);
    bool begun = t->metrics != NULL;
    fam_metrics_file_close(t->metrics);
    if (begun)
        fam_run_folder_close(t->folder);
    else
        fam_run_folder_discard(t->folder);
    fam_round *r = &t->round;
    fam_pass_buffers *b = &t->buffers;
    void *blocks[] = {r->ids,    r->weights, r->answers, r->offsets, r->states,     r->next_states,
                      r->place,  b->ids,     b->weights, b->offsets, b->given,      b->states,
                      b->finals, t->result,  t->validation, t->validation_place, t->passed_state, t->curriculum.accuracies};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        fam_free(&t->memory, blocks[i]);
    fam_recipe_free(t->recipe);
}

void fam_trainer_free(fam_trainer *t)
{
    if (t)
        release(t);
    free(t);
}

fam_status fam_trainer_create(fam_trainer **out, const char *recipe_path, const fam_trainer_options *options,
                              fam_error *error)
{
    return fam_trainer_create_faulty(out, recipe_path, options, &(fam_trainer_fault){0}, error);
}

fam_status fam_trainer_create_faulty(fam_trainer **out, const char *recipe_path, const fam_trainer_options *options,
                                     fam_trainer_fault *fault, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_trainer *t = NULL;
    FAM_TRY_ALLOC(t, calloc(1, sizeof *t), recipe_path); /* its own fam_memory cannot count it */
    fam_memory_init(&t->memory);
    t->memory.fail_at = fault->fail_at;
    t->memory.fail_for_good = fault->fail_for_good;
    t->engine_fail_at = fault->engine_fail_at;
    fam_trainer_options_init(&t->options);
    FAM_FAIL_IF(!options, FAM_STATUS_INVALID_ARGUMENT, "trainer options: found none, need an output folder in them");
    FAM_TRY(fam_options_copy(&t->options, sizeof t->options, options, options->size, "trainer options", error));
    t->resumed_from = -1;
    FAM_TRY(open_all(t, recipe_path, error));
    /* the caller's strings are only read during the call */
    t->options.out = t->options.device = t->options.isa = NULL;
    t->options.sets = t->options.overrides = NULL;
    t->options.set_count = t->options.override_count = 0;
    *out = t;
    t = NULL;
done:
    if (t) {
        release(t);
        fault->bytes_left = t->memory.bytes;
        free(t);
    }
    return status;
}

/* ---- asking ------------------------------------------------------------------------------------------------------- */

/* At the peak of a step or of a save: the largest pass with everything that it works with, what is trained with its moments
 * and its copies in the model's arithmetic, the documents of a round, and the host's copy of the moments in a save. */
static uint64_t memory_of_run(const fam_trainer *t, int recompute)
{
    const fam_round_plan longest = fam_plan_longest(t->recipe, t->block_size), validation = fam_trainer_validation_plan(t);
    fam_training_options options = {.sequences = longest.sequences, .tokens = longest.tokens,
                                    .recompute = (fam_recompute)recompute,
                                    .stop_gradient_segments = t->recipe->train.stop_gradient_segments, .backward = true};
    const fam_model *model = t->parts.model;
    uint64_t pass = fam_training_bytes(model, &options, t->gradients->trained), moments = fam_optimizer_bytes(t->recipe, t->gradients),
             masters = (uint64_t)t->parameters->elements * sizeof(float), copies = 0;
    if (t->validation_source) {
        options.sequences = validation.sequences;
        options.tokens = validation.tokens;
        options.backward = false;
        uint64_t other = fam_training_bytes(model, &options, t->gradients->trained) + fam_gradients_bytes(model, t->gradients->trained);
        pass = other > pass ? other : pass;
    }
    for (int64_t i = 0; i < t->parameters->count; i++)
        if (t->parameters->list[i].weight)
            copies += (uint64_t)t->parameters->list[i].count * fam_dtype_bytes(model->backend->dtype);
    bool starts = t->carry > 1 || t->recipe->train.state_passing_probability > 0;
    uint64_t documents = (uint64_t)(longest.passes * longest.sequences), state = (uint64_t)t->state_elements * sizeof(float),
             tokens = (uint64_t)(longest.sequences * longest.tokens);
    uint64_t buffers = documents * (uint64_t)(longest.tokens * t->carry) * 9 + tokens * 8 +
                       (t->carry > 1 ? 2 * documents * state : 0) +
                       (starts ? 2 * (uint64_t)longest.sequences * state : 0) + 3 * state;
    return pass + masters + 2 * moments + copies + buffers;
}

void fam_trainer_info_get(const fam_trainer *t, fam_trainer_info *out)
{
    const fam_round_plan longest = fam_plan_longest(t->recipe, t->block_size);
    *out = (fam_trainer_info){.out = fam_run_folder_path(t->folder),
                              .result = t->result,
                              .step = t->step,
                              .steps = t->recipe->train.steps,
                              .resumed_from = t->resumed_from,
                              .trained_parameters = t->parameters->elements,
                              .block_size = t->block_size,
                              .tokens_longest = longest.tokens,
                              .sequences_longest = longest.sequences,
                              .memory_bytes = memory_of_run(t, t->recipe->train.recompute),
                              .memory_none = memory_of_run(t, FAM_RECOMPUTE_NONE),
                              .memory_layer = memory_of_run(t, FAM_RECOMPUTE_LAYER),
                              .memory_span = memory_of_run(t, FAM_RECOMPUTE_SPAN),
                              .checkpoint_bytes = fam_trainer_checkpoint_bytes(t)};
}

bool fam_trainer_done(const fam_trainer *t)
{
    return t->step >= t->recipe->train.steps;
}

size_t fam_trainer_validation(const fam_trainer *t, const fam_validation_result **results)
{
    *results = t->validation;
    return (size_t)t->validation_count;
}

/* Broken and skipped records of the data: told at the first one, whenever they have doubled, and at the end. */
static void tell_records(fam_trainer *t)
{
    for (int64_t i = 0; i < t->recipe->data_count; i++) {
        fam_source_counts counts;
        fam_source_counts_get(t->source, i, &counts);
        int64_t now = counts.bad_records + counts.skipped_records, told = t->told_records[i];
        if (now == told || (now < 2 * told && !fam_trainer_done(t)))
            continue;
        t->told_records[i] = now;
        say(t, FAM_LOG_WARNING,
            "step %lld: %s: so far %lld broken records and %lld that were too long or had nothing to train on were left out",
            (long long)t->step, t->recipe->data[i].name, (long long)counts.bad_records,
            (long long)counts.skipped_records);
    }
}

/* ---- stepping ----------------------------------------------------------------------------------------------------- */

static bool save_is_due(const fam_trainer *t)
{
    int64_t every = t->recipe->output.every, seconds = t->recipe->output.seconds;
    return (every > 0 && t->step % every == 0) || (seconds > 0 && fam_seconds_now() - t->saved_at >= (double)seconds) ||
           fam_trainer_done(t);
}

/* A checkpoint that cannot be written (a full disk) does not end the run: the old ones are there, and the next may
 * succeed. The last one must. */
static fam_status save_if_due(fam_trainer *t, fam_step_metrics *m, fam_error *error)
{
    fam_error why = {0};
    if (!save_is_due(t))
        return FAM_OK;
    fam_status status = fam_trainer_save(t, &why);
    t->saved_at = fam_seconds_now();
    m->saved = status == FAM_OK;
    if (status == FAM_OK)
        return FAM_OK;
    if (fam_trainer_done(t) || status != FAM_STATUS_IO)
        return fam_error_set(error, status, "%s", why.message);
    say(t, FAM_LOG_WARNING, "step %lld: no checkpoint, the run goes on: %s", (long long)t->step, why.message);
    return FAM_OK;
}

static bool log_is_due(const fam_trainer *t, const fam_step_metrics *m)
{
    return t->step % t->recipe->output.log_every == 0 || m->validated || m->promoted || m->skipped || fam_trainer_done(t);
}

/* Validation that was given up, or that failed, leaves the results of the one before. */
static fam_status validate_if_due(fam_trainer *t, fam_step_metrics *m, fam_error *error)
{
    int64_t every = t->recipe->validation.every;
    if (every == 0 || (t->step % every != 0 && !fam_trainer_done(t)))
        return FAM_OK;
    fam_status status = fam_trainer_validate(t, error);
    m->validated = status == FAM_OK;
    return status == FAM_STATUS_STOPPED ? FAM_OK : status; /* the next step hears of the wish to stop */
}

/* Whatever is wrong with the validation, the step is told and kept first. */
static fam_status after_step(fam_trainer *t, fam_step_metrics *m, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_error invalid = {0};
    fam_status validated = validate_if_due(t, m, &invalid);
    tell_records(t);
    if (log_is_due(t, m)) {
        fam_error why = {0};
        if (fam_trainer_log_step(t, m, &why) != FAM_OK)
            say(t, FAM_LOG_WARNING, "step %lld: not in the metrics: %s", (long long)t->step, why.message);
    }
    if (m->skipped)
        say(t, FAM_LOG_WARNING, "step %lld: loss or gradient not finite, nothing was changed (%lld in a row, %lld in all)",
            (long long)m->step, (long long)m->bad_in_row, (long long)m->bad_total);
    FAM_FAIL_IF(t->bad_in_row >= t->recipe->optimizer.bad_steps_max, FAM_STATUS_FAILED,
                "%s: step %lld: found %lld steps in a row with a loss or gradient that is not finite, need fewer than %lld; "
                "the last checkpoint is that of step %lld",
                t->recipe->path, (long long)t->step, (long long)t->bad_in_row, (long long)t->recipe->optimizer.bad_steps_max,
                (long long)t->saved_step);
    FAM_TRY(save_if_due(t, m, error));
    FAM_FAIL_IF(validated != FAM_OK, validated, "step %lld: validation: %s", (long long)t->step, invalid.message);
done:
    return status;
}

fam_status fam_trainer_step(fam_trainer *t, fam_step_metrics *metrics, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_step_metrics own;
    fam_step_metrics *m = metrics ? metrics : &own;
    FAM_FAIL_IF(fam_trainer_done(t), FAM_STATUS_STOPPED, "%s: step %lld was the last", t->recipe->path, (long long)t->step);
    FAM_TRY(begin(t, error));
    FAM_TRY(fam_trainer_update(t, m, error));
    FAM_TRY(after_step(t, m, error));
done:
    return status;
}

fam_status fam_trainer_save(fam_trainer *t, fam_error *error)
{
    fam_status status = begin(t, error);
    return status == FAM_OK ? fam_trainer_write_checkpoint(t, error) : status;
}

fam_status fam_trainer_finish(fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    char *fresh = NULL;
    FAM_TRY(begin(t, error));
    FAM_TRY(fam_run_folder_remove(t->folder, FRESH_RESULT, error));
    FAM_TRY_ALLOC(fresh, fam_path_join(&t->memory, fam_run_folder_path(t->folder), FRESH_RESULT), "result");
    FAM_TRY(fam_trainer_write_weights(t, fresh, error));
    FAM_TRY(fam_run_folder_replace(t->folder, FRESH_RESULT, RESULT, error));
done:
    fam_free(&t->memory, fresh);
    return status;
}
