/*
 * Training when memory is short: each allocation of opening a run, of a step, of saving and of resuming fails in turn. It
 * says so, nothing leaks, and the run goes on as one that was never short of any.
 */
#define SUITE_TIMEOUT 300
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "scratch.h"
#include "train/trainer_private.h"

static const char *folder;

static int make_folder(void **state)
{
    (void)state;
    folder = scratch_make();
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

/* Everything that a run can have to keep. */
static const char whole[] = "model:\n"
                            "  new: {layers: 2, hidden_size: 16, intermediate_size: 24, heads: 2}\n"
                            "fam: {mode: fam, block_size: 48, fam_length: 3, state_norm: rms}\n"
                            "optimizer: {learning_rate: 5e-3, warmup_steps: 2}\n"
                            "train: {steps: 6, sequences: 2, tokens_per_step: 400, carry: 2, state_noise: 0.01}\n"
                            "curriculum: {from_blocks: 2, to_blocks: 4, accuracy: 1e-6, window: 1}\n"
                            "validation: {every: 2, sequences: 2}\n"
                            "data:\n"
                            "  - {kind: recall, digits: 1, rest_share: 0.1}\n"
                            "  - {kind: jsonl, path: sums.jsonl, shuffle: true}\n";

static const char adapter[] = "model: {path: base/result}\n"
                              "fam: {mode: fam, block_size: 48, fam_length: 3}\n"
                              "adapt: {rank: 3, targets: [q_proj, down_proj]}\n"
                              "optimizer: {kind: adafactor, warmup_steps: 2}\n"
                              "train: {steps: 6, sequences: 2, blocks: 2, state_passing_probability: 0.5}\n"
                              "data:\n"
                              "  - {kind: recall, digits: 1, rest_share: 0.1}\n";

static fam_status open_run(fam_trainer **out, const char *recipe, const char *run, fam_trainer_fault *fault,
                           fam_error *error)
{
    fam_trainer_options o;
    fam_trainer_fault none = {0};
    fam_trainer_options_init(&o);
    o.out = run;
    o.threads = 1;
    *out = NULL;
    return fam_trainer_create_faulty(out, recipe, &o, fault ? fault : &none, error);
}

static fam_trainer *must_open(const char *recipe, const char *run)
{
    fam_trainer *t;
    fam_error error = {0};
    if (open_run(&t, recipe, run, NULL, &error) != FAM_OK)
        fail_msg("%s", error.message);
    return t;
}

static void must(fam_status status, const fam_error *error)
{
    if (status != FAM_OK)
        fail_msg("%s", error->message);
}

static uint64_t digest(const fam_trainer *t)
{
    uint64_t sum = (uint64_t)t->step;
    for (int64_t i = 0; i < t->parameters->count; i++)
        for (int64_t k = 0; k < t->parameters->list[i].count; k++) {
            uint32_t bits;
            memcpy(&bits, &t->parameters->list[i].master[k], sizeof bits);
            sum = sum * 1099511628211u + bits;
        }
    return sum;
}

/* What all steps without a fault come to. */
static uint64_t whole_run(const char *recipe, const char *run)
{
    fam_error error = {0};
    fam_trainer *t = must_open(recipe, run);
    while (!fam_trainer_done(t))
        must(fam_trainer_step(t, NULL, &error), &error);
    must(fam_trainer_finish(t, &error), &error);
    uint64_t sum = digest(t);
    fam_trainer_free(t);
    return sum;
}

typedef struct place {
    char recipe[4200], run[4200], copy[4200];
    uint64_t want; /* of the whole run */
} place;

static void make_place(place *p, bool adapters)
{
    char text[4000] = "", base[4200];
    for (int i = 0; i < 60; i++)
        sprintf(text + strlen(text), "{\"prompt\": \"%d and %d?\", \"completion\": \" is %d\"}\n", i, i, 2 * i);
    scratch_write_text(folder, "sums.jsonl", text);
    scratch_write_text(folder, "whole.yaml", whole);
    scratch_write_text(folder, "adapter.yaml", adapter);
    snprintf(base, sizeof base, "%s/base", folder);
    if (adapters)
        whole_run(scratch_path(folder, "whole.yaml"), base);
    snprintf(p->recipe, sizeof p->recipe, "%s/%s", folder, adapters ? "adapter.yaml" : "whole.yaml");
    snprintf(p->run, sizeof p->run, "%s/run", folder);
    snprintf(p->copy, sizeof p->copy, "%s/copy", folder);
    p->want = whole_run(p->recipe, p->copy);
    scratch_remove(p->copy);
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

/* Fails each allocation of opening in turn; returns how many there are. */
static size_t fail_opening(const place *p, bool of_engine, bool for_good, bool fresh)
{
    for (size_t number = 1;; number++) {
        fam_error error = {0};
        fam_trainer *t = NULL;
        fam_trainer_fault fault = {
            .fail_at = of_engine ? 0 : number, .engine_fail_at = of_engine ? number : 0, .fail_for_good = for_good};
        fam_status status = open_run(&t, p->recipe, p->run, &fault, &error);
        if (status == FAM_OK) {
            t->memory.fail_at = 0;
            fam_trainer_free(t);
            return number;
        }
        if (status != FAM_STATUS_OUT_OF_MEMORY)
            fail_msg("allocation %zu: found status %d: %s", number, (int)status, error.message);
        assert_null(t);
        assert_int_equal(fault.bytes_left, 0);
        if (fresh && !for_good && fam_path_exists(p->run))
            fail_msg("allocation %zu: %s was left", number, p->run);
    }
}

static void check_opening(bool adapters)
{
    place p;
    make_place(&p, adapters);
    for (int for_good = 0; for_good < 2; for_good++) {
        assert_true(fail_opening(&p, false, for_good, true) > 100);
        assert_true(fail_opening(&p, true, for_good, true) > 30);
    }
    fam_error error = {0};
    fam_trainer *t = must_open(p.recipe, p.run);
    for (int i = 0; i < 3; i++)
        must(fam_trainer_step(t, NULL, &error), &error);
    must(fam_trainer_save(t, &error), &error);
    fam_trainer_free(t);
    for (int for_good = 0; for_good < 2; for_good++) {
        assert_true(fail_opening(&p, false, for_good, false) > 100);
        assert_true(fail_opening(&p, true, for_good, false) > 30);
    }
    assert_true(whole_run(p.recipe, p.run) == p.want);
}

static void each_allocation_of_opening_a_run_fails_cleanly(void **state)
{
    (void)state;
    check_opening(false);
}

static void each_allocation_of_opening_a_run_of_an_adapter_fails_cleanly(void **state)
{
    (void)state;
    check_opening(true);
}

/* ---- steps -------------------------------------------------------------------------------------------------------- */

static fam_memory *memory_of(fam_trainer *t, bool of_engine)
{
    return of_engine ? t->parts.model->memory : &t->memory;
}

/* The same run, to its end, every allocation of it failing once; each time what failed is done again. */
static void check_steps(bool adapters, bool of_engine)
{
    place p;
    make_place(&p, adapters);
    fam_error error = {0};
    fam_trainer *t = must_open(p.recipe, p.run);
    fam_memory *memory = memory_of(t, of_engine);
    size_t failures = 0;
    while (!fam_trainer_done(t)) {
        for (size_t number = 1;; number++) {
            int64_t step = t->step;
            memory->fail_at = memory->allocations + number;
            fam_status status = fam_trainer_step(t, NULL, &error);
            memory->fail_at = 0;
            if (status == FAM_OK)
                break;
            if (status != FAM_STATUS_OUT_OF_MEMORY)
                fail_msg("step %lld, allocation %zu: found status %d: %s", (long long)step, number, (int)status,
                         error.message);
            failures++;
            if (t->step != step) /* what was due after it failed */
                break;
        }
    }
    assert_true(failures > 10);
    assert_true(digest(t) == p.want);
    for (size_t number = 1;; number++) {
        memory->fail_at = memory->allocations + number;
        fam_status status = fam_trainer_save(t, &error);
        memory->fail_at = 0;
        if (status == FAM_OK)
            break;
        assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
    }
    for (size_t number = 1;; number++) {
        memory->fail_at = memory->allocations + number;
        fam_status status = fam_trainer_finish(t, &error);
        memory->fail_at = 0;
        if (status == FAM_OK)
            break;
        assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
    }
    fam_trainer_free(t);
    assert_true(whole_run(p.recipe, p.run) == p.want);
}

static void each_allocation_of_a_step_fails_cleanly(void **state)
{
    (void)state;
    check_steps(false, false);
}

static void each_allocation_of_a_step_of_an_adapter_fails_cleanly(void **state)
{
    (void)state;
    check_steps(true, false);
}

static void each_allocation_of_a_pass_fails_cleanly(void **state)
{
    (void)state;
    check_steps(false, true);
}

/* ---- saving ------------------------------------------------------------------------------------------------------- */

/* A checkpoint for which memory is short leaves the old one, and the next one comes to be. */
static void each_allocation_of_saving_fails_cleanly(void **state)
{
    (void)state;
    place p;
    make_place(&p, false);
    fam_error error = {0};
    size_t number = 1;
    for (fam_status status = FAM_STATUS_OUT_OF_MEMORY; status != FAM_OK; number++) {
        fam_trainer *t = must_open(p.recipe, p.run);
        if (t->step == 0) {
            must(fam_trainer_step(t, NULL, &error), &error);
            must(fam_trainer_save(t, &error), &error);
        }
        assert_int_equal(t->step, 1);
        must(fam_trainer_step(t, NULL, &error), &error);
        t->memory.fail_at = t->memory.allocations + number;
        t->memory.fail_for_good = number % 2;
        status = fam_trainer_save(t, &error);
        t->memory.fail_at = 0;
        if (status != FAM_OK)
            assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
        bool published = fam_path_exists(scratch_path(p.run, "checkpoints/step_00000002"));
        fam_trainer_free(t);
        if (published) /* what failed came after it: old ones that could not be cleared away */
            break;
    }
    assert_true(number > 50);
    assert_true(whole_run(p.recipe, p.run) == p.want);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

static const struct CMUnitTest tests[] = {
    CASE(each_allocation_of_opening_a_run_fails_cleanly),
    CASE(each_allocation_of_opening_a_run_of_an_adapter_fails_cleanly),
    CASE(each_allocation_of_a_step_fails_cleanly),
    CASE(each_allocation_of_a_step_of_an_adapter_fails_cleanly),
    CASE(each_allocation_of_a_pass_fails_cleanly),
    CASE(each_allocation_of_saving_fails_cleanly),
};

SUITE_MAIN(tests)
