/*
 * The trainer: a run that is stopped and goes on equals one that is not, whatever it has to keep; what cannot work is
 * refused before the first step; steps that are not finite change nothing.
 */
#define SUITE_TIMEOUT 240
#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "scratch.h"
#include "train/trainer_private.h"

enum { SETS_MAX = 16, LOSSES_MAX = 32 };

/* From nothing, in blocks of 48 bytes. */
static const char tiny[] = "model:\n"
                           "  new: {layers: 2, hidden_size: 16, intermediate_size: 24, heads: 2}\n"
                           "fam: {mode: fam, block_size: 48, fam_length: 3, state_norm: rms}\n"
                           "optimizer: {learning_rate: 5e-3, warmup_steps: 2}\n"
                           "train: {steps: 8, sequences: 2, blocks: 3, accumulate: 2}\n"
                           "data:\n"
                           "  - {kind: recall, digits: 1, rest_share: 0.1}\n";

static const char *folder;
static const char *path_of(const char *name)
{
    return scratch_path(folder, name);
}

static int make_folder(void **state)
{
    (void)state;
    folder = scratch_make();
    scratch_write_text(folder, "tiny.yaml", tiny);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* ---- runs --------------------------------------------------------------------------------------------------------- */

typedef struct run {
    const char *recipe, *out;
    const char *sets[SETS_MAX];
    int threads;
    char losses[LOSSES_MAX][40]; /* as %a, by step from 1 */
    int64_t steps;
} run;

/* Asked so often before it says yes; never if below 0. */
static bool count_down(void *context)
{
    int *left = context;
    return *left >= 0 && (*left)-- == 0;
}

static fam_trainer_options options_of(const run *r, int *left)
{
    fam_trainer_options o;
    fam_trainer_options_init(&o);
    o.out = r->out;
    o.sets = r->sets;
    while (o.set_count < SETS_MAX && r->sets[o.set_count])
        o.set_count++;
    o.threads = r->threads ? r->threads : 1;
    if (left) {
        o.cancelled = count_down;
        o.context = left;
    }
    return o;
}

static fam_trainer *open_run(const run *r, int *left)
{
    fam_error error = {0};
    fam_trainer *t = NULL;
    const fam_trainer_options o = options_of(r, left);
    if (fam_trainer_create(&t, r->recipe, &o, &error) != FAM_OK)
        fail_msg("%s", error.message);
    return t;
}

/* `steps` more of them, -1: to the end and the result. */
static void step_on(run *r, fam_trainer *t, int64_t steps)
{
    fam_error error = {0};
    for (int64_t i = 0; (steps < 0 || i < steps) && !fam_trainer_done(t); i++) {
        fam_step_metrics m;
        if (fam_trainer_step(t, &m, &error) != FAM_OK)
            fail_msg("%s", error.message);
        assert_true(m.step < LOSSES_MAX);
        snprintf(r->losses[m.step], sizeof r->losses[0], "%a %a", m.loss, m.gradient_norm);
        r->steps = m.step;
    }
    if (steps < 0)
        assert_int_equal(fam_trainer_finish(t, &error), FAM_OK);
}

/* Without a stop. */
static void run_through(run *r)
{
    fam_trainer *t = open_run(r, NULL);
    step_on(r, t, -1);
    fam_trainer_free(t);
}

/* Saved after three steps and dropped after four; given up in the middle of a step, saved, and gone on with. */
static void run_with_stops(run *r)
{
    fam_error error = {0};
    fam_trainer *t = open_run(r, NULL);
    step_on(r, t, 3);
    assert_int_equal(fam_trainer_save(t, &error), FAM_OK);
    step_on(r, t, 1); /* lost */
    fam_trainer_free(t);

    int left = -1;
    t = open_run(r, &left);
    fam_trainer_info info;
    fam_trainer_info_get(t, &info);
    assert_int_equal(info.resumed_from, 3);
    step_on(r, t, 2);
    left = 1; /* between the passes of the sixth step, or of the seventh where a step has one pass */
    fam_status status = FAM_OK;
    while (status == FAM_OK && !fam_trainer_done(t)) {
        fam_step_metrics m;
        status = fam_trainer_step(t, &m, &error);
        if (status == FAM_OK)
            snprintf(r->losses[m.step], sizeof r->losses[0], "%a %a", m.loss, m.gradient_norm);
    }
    assert_int_equal(status, FAM_STATUS_STOPPED);
    step_on(r, t, 1); /* given up is not spoilt */
    assert_int_equal(fam_trainer_save(t, &error), FAM_OK);
    fam_trainer_free(t);
    t = open_run(r, NULL);
    step_on(r, t, -1);
    fam_trainer_free(t);
}

static void assert_same_file(const char *a, const char *b)
{
    fam_memory memory;
    uint8_t *x = NULL, *y = NULL;
    size_t x_size = 0, y_size = 0;
    fam_error error = {0};
    fam_memory_init(&memory);
    if (fam_file_read(&x, &x_size, &memory, a, (size_t)1 << 30, &error) != FAM_OK ||
        fam_file_read(&y, &y_size, &memory, b, (size_t)1 << 30, &error) != FAM_OK)
        fail_msg("%s", error.message);
    assert_int_equal(x_size, y_size);
    assert_memory_equal(x, y, x_size);
    fam_free(&memory, x);
    fam_free(&memory, y);
}

/* Both ways of running give the same losses, norms and weights to the bit. */
static void check_resume(const char *recipe, const char *const *sets, const char *const *results)
{
    run a = {.recipe = path_of(recipe)}, b = {.recipe = path_of(recipe), .threads = 2};
    char out_a[4096], out_b[4096], x[4200], y[4200];
    snprintf(out_a, sizeof out_a, "%s/a", folder);
    snprintf(out_b, sizeof out_b, "%s/b", folder);
    a.out = out_a;
    b.out = out_b;
    for (int i = 0; sets && sets[i]; i++)
        a.sets[i] = b.sets[i] = sets[i];
    run_through(&a);
    run_with_stops(&b);
    assert_int_equal(a.steps, b.steps);
    for (int64_t i = 1; i <= a.steps; i++)
        assert_string_equal(a.losses[i], b.losses[i]);
    for (int i = 0; results[i]; i++) {
        snprintf(x, sizeof x, "%s/result/%s", out_a, results[i]);
        snprintf(y, sizeof y, "%s/result/%s", out_b, results[i]);
        assert_same_file(x, y);
    }
    snprintf(x, sizeof x, "%s/checkpoints/step_%08lld/optimizer.safetensors", out_a, (long long)a.steps);
    snprintf(y, sizeof y, "%s/checkpoints/step_%08lld/optimizer.safetensors", out_b, (long long)a.steps);
    assert_same_file(x, y);
}

static const char *const model_files[] = {"model.safetensors", "config.json", "tokenizer.json", NULL};
static const char *const adapter_files[] = {"adapter_model.safetensors", "fam_prompt.safetensors", "adapter_config.json",
                                            "fam_config.json", NULL};

/* ---- going on ----------------------------------------------------------------------------------------------------- */

static void a_plain_run_goes_on(void **state)
{
    (void)state;
    check_resume("tiny.yaml", NULL, model_files);
}

/* Answers that are easily learned, so that there are promotions on both sides of the stops. */
static void a_curriculum_goes_on(void **state)
{
    (void)state;
    char jsonl[4000] = "", more[1200];
    for (int i = 0; i < 20; i++)
        sprintf(jsonl + strlen(jsonl), "{\"prompt\": \"%d\", \"completion\": \"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"}\n", i);
    scratch_write_text(folder, "ys.jsonl", jsonl);
    snprintf(more, sizeof more, "%s  - {kind: jsonl, path: ys.jsonl, share: 9}\n", tiny);
    scratch_write_text(folder, "ys.yaml", more);
    const char *sets[] = {"curriculum={from_blocks: 1, to_blocks: 8, accuracy: 1e-6, window: 1, at_level: 0.9, recover_steps: 2, "
                          "recover_fraction: 0.5}",
                          "train.blocks=null", "train.tokens_per_step=800", "train.accumulate=null", "train.steps=12",
                          "optimizer.learning_rate=2e-2", NULL};
    check_resume("ys.yaml", sets, model_files);
    size_t size;
    fam_memory memory;
    uint8_t *metrics;
    fam_error error = {0};
    fam_memory_init(&memory);
    assert_int_equal(fam_file_read(&metrics, &size, &memory, scratch_path(folder, "a/metrics.jsonl"), 1 << 20, &error), FAM_OK);
    assert_non_null(strstr((char *)metrics, "\"promoted\":true"));
    assert_non_null(strstr((char *)metrics, "\"level\":4"));
    fam_free(&memory, metrics);
}

static void carried_documents_and_noise_go_on(void **state)
{
    (void)state;
    const char *sets[] = {"train.carry=4", "train.state_noise=0.02", NULL}; /* saved after three parts of four */
    check_resume("tiny.yaml", sets, model_files);
}

static void passed_states_and_offsets_go_on(void **state)
{
    (void)state;
    const char *sets[] = {"train.state_passing_probability=0.7", "train.random_position_offset=true",
                          "fam.fam_positions=zero", "fam.state_norm=rms_init", NULL};
    check_resume("tiny.yaml", sets, model_files);
}

static void adafactor_and_segments_go_on_in_bf16(void **state)
{
    (void)state;
    const char *sets[] = {"optimizer.kind=adafactor", "fam.memory_segments=1", "train.dtype=bf16", "train.recompute=layer",
                          "train.stop_gradient_segments=true", NULL};
    check_resume("tiny.yaml", sets, model_files);
}

static void texts_go_on(void **state)
{
    (void)state;
    char text[6000] = "", jsonl[6000] = "";
    for (int i = 0; i < 60; i++) {
        sprintf(text + strlen(text), "Sentence number %d is not like the others.\n", i * i);
        sprintf(jsonl + strlen(jsonl), "{\"prompt\": \"%d and %d?\", \"completion\": \" is %d\"}\n", i, i, 2 * i);
    }
    scratch_write_text(folder, "book.txt", text);
    scratch_write_text(folder, "sums.jsonl", jsonl);
    char more[1200];
    snprintf(more, sizeof more, "%s  - {kind: text, path: book.txt, repeat_tokens: 20}\n"
                                "  - {kind: jsonl, path: sums.jsonl, shuffle: true}\n", tiny);
    scratch_write_text(folder, "texts.yaml", more);
    check_resume("texts.yaml", NULL, model_files);
}

/* A model to put adapters on: what a run from nothing gave. */
static void make_base(void)
{
    char out[4096];
    snprintf(out, sizeof out, "%s/base", folder);
    run r = {.recipe = path_of("tiny.yaml"), .out = out, .sets = {"train.steps=2"}};
    run_through(&r);
    scratch_write_text(folder, "adapter.yaml",
                       "model: {path: base/result}\n"
                       "fam: {mode: fam, block_size: 48, fam_length: 3, state_norm: rms_init}\n"
                       "adapt: {rank: 3, alpha: 7, targets: [q_proj, down_proj]}\n"
                       "optimizer: {learning_rate: 5e-3, warmup_steps: 2, prompt_learning_rate: 1e-2}\n"
                       "train: {steps: 8, sequences: 2, blocks: 3, accumulate: 2}\n"
                       "data:\n"
                       "  - {kind: recall, digits: 1, rest_share: 0.1}\n");
}

static void adapters_go_on(void **state)
{
    (void)state;
    make_base();
    const char *sets[] = {"adapt.rslora=true", NULL};
    check_resume("adapter.yaml", sets, adapter_files);
}

static void a_prompt_on_an_adapter_goes_on_and_leaves_it_alone(void **state)
{
    (void)state;
    make_base();
    char first[4096], x[4200], y[4200];
    snprintf(first, sizeof first, "%s/first", folder);
    run r = {.recipe = path_of("adapter.yaml"), .out = first};
    run_through(&r);
    char adapter[4200];
    snprintf(adapter, sizeof adapter, "model.adapter=%s/result", first);
    const char *sets[] = {adapter, "adapt.what=prompt", "adapt.rank=null", "adapt.alpha=null", "adapt.targets=null", NULL};
    check_resume("adapter.yaml", sets, adapter_files);
    snprintf(x, sizeof x, "%s/result/adapter_model.safetensors", first);
    snprintf(y, sizeof y, "%s/a/result/adapter_model.safetensors", folder);
    assert_same_file(x, y);
}

/* ---- steps that are not finite -------------------------------------------------------------------------------------- */

static uint64_t digest(const fam_trainer *t)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < t->parameters->count; i++) {
        const fam_parameter *p = &t->parameters->list[i];
        for (int64_t k = 0; k < p->count; k++) {
            uint32_t bits;
            memcpy(&bits, &p->master[k], sizeof bits);
            sum = sum * 1099511628211u + bits;
        }
    }
    return sum;
}

static void a_step_that_is_not_finite_changes_nothing(void **state)
{
    (void)state;
    char out[4096];
    snprintf(out, sizeof out, "%s/bad", folder);
    run r = {.recipe = path_of("tiny.yaml"), .out = out, .sets = {"optimizer.bad_steps_max=3", "train.steps=30"}};
    fam_trainer *t = open_run(&r, NULL);
    fam_error error = {0};
    fam_step_metrics m;
    step_on(&r, t, 2);
    assert_int_equal(fam_trainer_save(t, &error), FAM_OK);
    uint64_t before = digest(t);
    int64_t steps = fam_optimizer_steps(t->optimizer);
    float *poisoned = t->parts.model->final_norm, healthy = *poisoned;
    *poisoned = NAN;
    assert_int_equal(fam_trainer_step(t, &m, &error), FAM_OK);
    assert_true(m.skipped);
    assert_int_equal(m.bad_in_row, 1);
    assert_true(digest(t) == before);
    assert_int_equal(fam_optimizer_steps(t->optimizer), steps);
    *poisoned = healthy;
    assert_int_equal(fam_trainer_step(t, &m, &error), FAM_OK);
    assert_false(m.skipped);
    assert_int_equal(m.bad_in_row, 0);
    assert_int_equal(m.bad_total, 1);
    assert_true(digest(t) != before);
    *poisoned = INFINITY;
    assert_int_equal(fam_trainer_step(t, &m, &error), FAM_OK);
    assert_int_equal(fam_trainer_step(t, &m, &error), FAM_OK);
    assert_int_equal(fam_trainer_step(t, &m, &error), FAM_STATUS_FAILED); /* the third in a row */
    assert_non_null(strstr(error.message, "3 steps in a row"));
    assert_non_null(strstr(error.message, "step 2")); /* where the last checkpoint is */
    fam_trainer_free(t);
    t = open_run(&r, NULL);
    assert_true(digest(t) == before);
    fam_trainer_free(t);
}

/* ---- what cannot work ----------------------------------------------------------------------------------------------- */

static void refuse(const char *recipe, const char *const *sets, const fam_trainer_options *more, fam_status need,
                   const char *words)
{
    char out[4096];
    snprintf(out, sizeof out, "%s/refused", folder);
    run r = {.recipe = path_of(recipe), .out = out};
    for (int i = 0; sets && sets[i]; i++)
        r.sets[i] = sets[i];
    fam_trainer_options o = options_of(&r, NULL);
    if (more) {
        o.resume = more->resume;
        o.overrides = more->overrides;
        o.override_count = more->override_count;
        if (more->out)
            o.out = more->out;
    }
    fam_error error = {0};
    fam_trainer *t = NULL;
    fam_status status = fam_trainer_create(&t, r.recipe, &o, &error);
    if (status != need || !strstr(error.message, words))
        fail_msg("status %d, \"%s\"; need %d with \"%s\"", (int)status, error.message, (int)need, words);
    assert_null(t);
}

static void what_cannot_work_is_refused(void **state)
{
    (void)state;
    make_base();
    refuse("none.yaml", NULL, NULL, FAM_STATUS_NOT_FOUND, "none.yaml");
    refuse("tiny.yaml", (const char *[]){"fam.block_size=2", NULL}, NULL, FAM_STATUS_INVALID_ARGUMENT, "found sequences of 6");
    refuse("tiny.yaml", (const char *[]){"data.0.digits=9", "fam.block_size=8", "train.blocks=40", NULL}, NULL,
           FAM_STATUS_INVALID_ARGUMENT, "found an answer of 9 tokens, need at most a block");
    refuse("adapter.yaml", (const char *[]){"fam.mode=bswa", "fam.fam_length=null", "fam.state_norm=null",
                                            "adapt.what=prompt", "adapt.rank=null", "adapt.alpha=null",
                                            "adapt.targets=null", NULL}, NULL, FAM_STATUS_INVALID_ARGUMENT, "prompt");
    refuse("adapter.yaml", (const char *[]){"model.path=nowhere", NULL}, NULL, FAM_STATUS_NOT_FOUND, "nowhere");
    const fam_trainer_options must = {.resume = FAM_RESUME_MUST};
    refuse("tiny.yaml", NULL, &must, FAM_STATUS_NOT_FOUND, "need one to resume");
    char base[4096];
    snprintf(base, sizeof base, "%s/base", folder);
    const fam_trainer_options never = {.resume = FAM_RESUME_NEVER, .out = base};
    refuse("tiny.yaml", NULL, &never, FAM_STATUS_INVALID_ARGUMENT, "found a run at step 2");
    const fam_trainer_options other = {.out = base};
    refuse("tiny.yaml", (const char *[]){"train.steps=2", "optimizer.learning_rate=1", NULL}, &other, FAM_STATUS_MISMATCH,
           "optimizer.learning_rate");
}

static void the_same_text_is_not_measured_with(void **state)
{
    (void)state;
    char text[3000] = "";
    for (int i = 0; i < 60; i++)
        sprintf(text + strlen(text), "Sentence number %d is not like the others.\n", i * i);
    scratch_write_text(folder, "book.txt", text);
    scratch_write_text(folder, "copy.txt", text);
    char more[1200];
    snprintf(more, sizeof more, "%s  - {kind: text, path: book.txt}\nvalidation:\n  every: 2\n  data:\n"
                                "    - {kind: text, path: copy.txt}\n", tiny);
    scratch_write_text(folder, "both.yaml", more);
    refuse("both.yaml", NULL, NULL, FAM_STATUS_MISMATCH, "copy.txt");
}

static void files_that_are_trained_on_are_left_out_of_validation(void **state)
{
    (void)state;
    char out[4096], more[1200];
    scratch_write_text(folder, "book.txt", "One sentence. Another sentence. And so it goes on for a while, until there is "
                                           "enough of it to make a sequence of a few blocks, which is not very much.\n");
    snprintf(more, sizeof more, "%s  - {kind: text, path: book.txt}\nvalidation: {every: 2, sequences: 2}\n", tiny);
    scratch_write_text(folder, "mixed.yaml", more);
    snprintf(out, sizeof out, "%s/mixed", folder);
    run r = {.recipe = path_of("mixed.yaml"), .out = out};
    fam_trainer *t = open_run(&r, NULL);
    const fam_validation_result *v;
    step_on(&r, t, 2);
    assert_int_equal(fam_trainer_validation(t, &v), 1);
    assert_string_equal(v[0].name, "recall");
    assert_false(isnan(v[0].loss));
    fam_trainer_free(t);
}

static void a_run_and_its_checkpoints_can_be_inspected(void **state)
{
    (void)state;
    char out[4096], checkpoint[4200], weights[4300], *json = NULL;
    fam_error error = {0};
    snprintf(out, sizeof out, "%s/run", folder);
    run r = {.recipe = path_of("tiny.yaml"), .out = out, .sets = {"train.steps=3"}};
    run_through(&r);
    snprintf(checkpoint, sizeof checkpoint, "%s/checkpoints/step_00000003", out);
    assert_true(fam_train_is_run(out) && fam_train_is_run(checkpoint) && !fam_train_is_run(folder));
    const char *paths[] = {out, checkpoint};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fam_train_inspect(&json, paths[i], &error), FAM_OK);
        assert_non_null(strstr(json, i == 0 ? "\"kind\":\"run\"" : "\"kind\":\"checkpoint\""));
        assert_non_null(strstr(json, "\"step\":3"));
        assert_non_null(strstr(json, "\"weights\":\"model\""));
        fam_string_free(json);
    }
    snprintf(weights, sizeof weights, "%s/model/model.safetensors", checkpoint);
    FILE *file = fopen(weights, "r+b");
    assert_non_null(file);
    fseek(file, 200, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, 200, SEEK_SET);
    fputc(byte ^ 1, file);
    fclose(file);
    assert_int_equal(fam_train_inspect(&json, checkpoint, &error), FAM_STATUS_BAD_FORMAT);
    assert_non_null(strstr(error.message, "model.safetensors"));
    assert_int_equal(fam_train_inspect(&json, out, &error), FAM_OK); /* the one from before the first step */
    assert_non_null(strstr(json, "\"step\":0"));
    assert_non_null(strstr(json, "\"skipped\":[\""));
    fam_string_free(json);
}

static void an_override_lets_another_value_in(void **state)
{
    (void)state;
    char out[4096];
    snprintf(out, sizeof out, "%s/run", folder);
    run r = {.recipe = path_of("tiny.yaml"), .out = out};
    fam_trainer *t = open_run(&r, NULL);
    fam_error error = {0};
    step_on(&r, t, 2);
    assert_int_equal(fam_trainer_save(t, &error), FAM_OK);
    fam_trainer_free(t);
    r.sets[0] = "optimizer.learning_rate=1e-3";
    fam_trainer_options o = options_of(&r, NULL);
    assert_int_equal(fam_trainer_create(&t, r.recipe, &o, &error), FAM_STATUS_MISMATCH);
    const char *keys[] = {"optimizer.learning_rate"};
    o.overrides = keys;
    o.override_count = 1;
    assert_int_equal(fam_trainer_create(&t, r.recipe, &o, &error), FAM_OK);
    step_on(&r, t, 1);
    fam_trainer_free(t);
}

/* ---- what it takes, what it measures --------------------------------------------------------------------------------- */

static void memory_is_as_told(void **state)
{
    (void)state;
    static const char *const ways[] = {"train.recompute=none", "train.recompute=layer", "train.recompute=span"};
    for (int i = 0; i < 3; i++) {
        char out[4096];
        snprintf(out, sizeof out, "%s/memory%d", folder, i);
        run r = {.recipe = path_of("tiny.yaml"), .out = out,
                 .sets = {ways[i], "train.blocks=16", "model.new.hidden_size=64", "train.sequences=8", "train.steps=2"}};
        fam_trainer *t = open_run(&r, NULL);
        fam_trainer_info info;
        fam_trainer_info_get(t, &info);
        step_on(&r, t, 2);
        uint64_t peak = 0;
        fam_engine_memory(t->engine, NULL, &peak, NULL);
        peak += atomic_load(&t->memory.peak_bytes);
        double ratio = (double)info.memory_bytes / (double)peak;
        if (!(ratio > 0.9 && ratio < 1.1))
            fail_msg("%s: told %llu bytes, took %llu", ways[i], (unsigned long long)info.memory_bytes, (unsigned long long)peak);
        fam_trainer_free(t);
    }
}

/* How a step is cut into passes changes its sums by rounding alone: loss, accuracy and gradient are those of the whole. */
static void passes_of_a_step_add_up_to_one(void **state)
{
    (void)state;
    char jsonl[6000] = "";
    for (int i = 0; i < 40; i++)
        sprintf(jsonl + strlen(jsonl), "{\"prompt\": \"%d\", \"completion\": \"%.*s\"}\n", i, 1 + i % 9, "yyyyyyyyyyyy");
    scratch_write_text(folder, "ys.jsonl", jsonl);
    char more[1200];
    snprintf(more, sizeof more, "%s  - {kind: jsonl, path: ys.jsonl, share: 3, pack: false}\n", tiny);
    scratch_write_text(folder, "ys.yaml", more);
    static const char *const shapes[3][2] = {{"train.sequences=4", "train.accumulate=1"},
                                             {"train.sequences=2", "train.accumulate=2"},
                                             {"train.sequences=1", "train.accumulate=4"}};
    fam_step_metrics m[3];
    double validation[3];
    for (int i = 0; i < 3; i++) {
        char out[4096];
        snprintf(out, sizeof out, "%s/cut%d", folder, i);
        run r = {.recipe = path_of("ys.yaml"), .out = out,
                 .sets = {shapes[i][0], shapes[i][1], "train.steps=6", "train.dtype=f32",
                          "validation={every: 6, sequences: 7, blocks: 2}"}};
        fam_trainer *t = open_run(&r, NULL);
        fam_error error = {0};
        for (int step = 0; step < 6; step++)
            assert_int_equal(fam_trainer_step(t, &m[i], &error), FAM_OK);
        const fam_validation_result *v;
        assert_int_equal(fam_trainer_validation(t, &v), 1);
        validation[i] = v[0].loss;
        fam_trainer_free(t);
        assert_int_equal(m[i].answer_tokens, m[0].answer_tokens);
        assert_float_equal(m[i].accuracy, m[0].accuracy, 1e-12);
        assert_float_equal(m[i].loss, m[0].loss, 1e-4 * m[0].loss);
        assert_float_equal(m[i].gradient_norm, m[0].gradient_norm, 1e-3 * m[0].gradient_norm);
        assert_float_equal(validation[i], validation[0], 1e-3); /* however many go through at once, seven count */
    }
    assert_true(m[0].answer_tokens > 6 && m[0].accuracy > 0);
}

static void validation_is_the_same_draws_each_time(void **state)
{
    (void)state;
    char out[4096];
    snprintf(out, sizeof out, "%s/valid", folder);
    run r = {.recipe = path_of("tiny.yaml"), .out = out, .sets = {"validation={every: 1, sequences: 7, blocks: 2}",
                                                                 "optimizer.learning_rate=1e-30"}};
    fam_trainer *t = open_run(&r, NULL);
    const fam_validation_result *v;
    step_on(&r, t, 1);
    assert_int_equal(fam_trainer_validation(t, &v), 1);
    double loss = v[0].loss;
    assert_string_equal(v[0].name, "recall");
    assert_int_equal(v[0].sequences, 7);
    assert_int_equal(v[0].blocks, 2);
    assert_true(loss > 0 && v[0].accuracy >= 0 && v[0].exact <= 1);
    step_on(&r, t, 1);
    assert_float_equal(v[0].loss, loss, 1e-12); /* the weights stand still */
    fam_trainer_free(t);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

static const struct CMUnitTest tests[] = {
    CASE(a_plain_run_goes_on),
    CASE(a_curriculum_goes_on),
    CASE(carried_documents_and_noise_go_on),
    CASE(passed_states_and_offsets_go_on),
    CASE(adafactor_and_segments_go_on_in_bf16),
    CASE(texts_go_on),
    CASE(adapters_go_on),
    CASE(a_prompt_on_an_adapter_goes_on_and_leaves_it_alone),
    CASE(a_step_that_is_not_finite_changes_nothing),
    CASE(what_cannot_work_is_refused),
    CASE(the_same_text_is_not_measured_with),
    CASE(files_that_are_trained_on_are_left_out_of_validation),
    CASE(a_run_and_its_checkpoints_can_be_inspected),
    CASE(an_override_lets_another_value_in),
    CASE(memory_is_as_told),
    CASE(passes_of_a_step_add_up_to_one),
    CASE(validation_is_the_same_draws_each_time),
};

SUITE_MAIN(tests)
