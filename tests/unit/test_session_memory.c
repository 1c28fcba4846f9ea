/*
 * Memory of sessions: flat however long the stream, no allocation while decoding, as much as was estimated, and every
 * allocation that fails is an error that leaves everything as it was.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "run.h"
#include "session/internal.h"

static const char *const MODES[] = {"full_gqa_tied", "swa", "bswa_m2_train", "fam_rms_init_m3", "fam_lora_rsp_train"};
enum { MODE_COUNT = sizeof MODES / sizeof *MODES };

static void feed_random(fam_session *session, int64_t vocab, int64_t count, size_t piece, fam_random *random)
{
    int32_t *tokens = malloc(piece * sizeof *tokens);
    assert_non_null(tokens);
    for (int64_t done = 0; done < count; done += (int64_t)piece) {
        for (size_t i = 0; i < piece; i++)
            tokens[i] = (int32_t)(fam_random_next(random) % (uint64_t)vocab);
        run_feed(session, tokens, 0, piece, piece);
    }
    free(tokens);
}

typedef struct counters {
    uint64_t bytes, peak, allocations;
} counters;

static counters count_memory(const fam_engine *engine)
{
    counters now;
    fam_engine_memory(engine, &now.bytes, &now.peak, &now.allocations);
    return now;
}

static void memory_is_flat_after_ten_and_ten_thousand_blocks(void **state)
{
    (void)state;
    for (int c = 1; c < MODE_COUNT; c++) /* mode full says beforehand how long it can be */
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
            run_case golden;
            fam_engine_info info;
            fam_engine_options options = run_options();
            fam_random random;
            fam_random_seed(&random, 1);
            run_case_open(&golden, MODES[c]);
            options.block_size = 8;
            options.window = 8;
            options.dtype = dtype;
            fam_engine *engine = run_engine(&golden, &options);
            fam_engine_info_get(engine, &info);
            fam_session *session = run_session(engine, &golden, 64);
            feed_random(session, info.vocab_size, 10 * 8, 40, &random);
            counters ten = count_memory(engine);
            feed_random(session, info.vocab_size, 9990 * 8, 40, &random);
            counters many = count_memory(engine);
            assert_true(fam_session_position(session) == 80000);
            assert_true(many.bytes == ten.bytes && many.peak == ten.peak && many.allocations == ten.allocations);
            for (int64_t v = 0; v < info.vocab_size; v++)
                assert_true(isfinite(fam_session_logits(session)[v]));
            fam_session_free(session);
            fam_engine_free(engine);
            run_case_close(&golden);
        }
}

static void nothing_is_allocated_while_decoding(void **state)
{
    (void)state;
    for (int c = 0; c < MODE_COUNT; c++)
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
            run_case golden;
            fam_engine_info info;
            fam_engine_options options = run_options();
            fam_sampling sampling;
            fam_generate_options generate;
            fam_random random;
            fam_random_seed(&random, 1);
            run_case_open(&golden, MODES[c]);
            options.dtype = dtype;
            options.context = 3000;
            fam_engine *engine = run_engine(&golden, &options);
            fam_engine_info_get(engine, &info);
            fam_session *session = run_session(engine, &golden, 64);
            fam_sampling_init(&sampling);
            sampling.temperature = 1;
            sampling.top_k = 20;
            sampling.presence_penalty = 0.1;
            run_ok(fam_session_set_sampling(session, &sampling, error));
            feed_random(session, info.vocab_size, 20, 20, &random);
            feed_random(session, info.vocab_size, 1, 1, &random);
            assert_non_null(fam_session_logits(session));
            counters before = count_memory(engine);
            feed_random(session, info.vocab_size, 1000, 1, &random);
            fam_generate_options_init(&generate);
            generate.max_tokens = 1000;
            run_ok(fam_session_generate(session, &generate, NULL, error));
            counters after = count_memory(engine);
            assert_int_equal(after.allocations, before.allocations);
            assert_int_equal(after.bytes, before.bytes);
            fam_session_free(session);
            fam_engine_free(engine);
            run_case_close(&golden);
        }
}

/* All that a session holds is counted in the estimate, the engine's panels apart. */
static void sessions_take_what_was_estimated(void **state)
{
    (void)state;
    for (int c = 0; c < MODE_COUNT; c++)
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++)
            for (int64_t span = 1; span <= 512; span += 511) {
                run_case golden;
                fam_memory_report report;
                fam_session_options session_options;
                fam_engine_options options = run_options();
                fam_engine_info info;
                fam_random random;
                fam_random_seed(&random, 1);
                run_case_open(&golden, MODES[c]);
                options.dtype = dtype;
                options.threads = 2;
                options.context = 900;
                fam_engine *engine = run_engine(&golden, &options);
                fam_engine_info_get(engine, &info);
                fam_session_options_init(&session_options);
                session_options.span = span;
                counters before = count_memory(engine);
                run_ok(fam_memory_estimate(engine, &session_options, &report, error));
                assert_int_equal(count_memory(engine).allocations, before.allocations);
                fam_session *session = run_session(engine, &golden, span);
                uint64_t panels = count_memory(engine).bytes;
                feed_random(session, info.vocab_size, span, (size_t)span, &random); /* makes the panels */
                panels = count_memory(engine).bytes - panels;
                double taken = (double)(count_memory(engine).bytes - before.bytes - panels),
                       said = (double)(report.state + report.ring + report.scratch);
                if (!(fabs(taken - said) <= 0.05 * said + 16384))
                    fail_msg("%s, span %d: found %.0f bytes, the estimate says %.0f", MODES[c], (int)span, taken, said);
                assert_int_equal(report.total,
                                 report.weights + report.panels + report.state + report.ring + report.scratch);
                fam_session_free(session);
                fam_engine_free(engine);
                run_case_close(&golden);
            }
}

/* ---- each allocation fails in turn -------------------------------------------------------------------------------- */

typedef struct torture {
    run_case golden;
    fam_engine *engine;
    fam_engine_info info;
    fam_session *session; /* has read a few blocks */
    run_directory directory;
} torture;

static void torture_open(torture *t, const char *name, fam_dtype dtype)
{
    fam_engine_options options = run_options();
    fam_random random;
    fam_random_seed(&random, 2);
    run_case_open(&t->golden, name);
    options.dtype = dtype;
    options.context = 900;
    t->engine = run_engine(&t->golden, &options);
    fam_engine_info_get(t->engine, &t->info);
    t->session = run_session(t->engine, &t->golden, 64);
    feed_random(t->session, t->info.vocab_size, 2 * t->info.block_size + 3, 1, &random); /* leaves no panels behind */
    run_ok(fam_session_set_note(t->session, "old", 3, error));
    run_directory_make(&t->directory);
}

static void torture_close(torture *t)
{
    fam_session_free(t->session);
    fam_engine_free(t->engine);
    run_case_close(&t->golden);
    run_directory_remove(&t->directory);
}

typedef fam_status attempt(torture *t, fam_error *error);

/* Lets allocation 1, 2, ... of the call fail until it succeeds; each failure must leave no byte and the session as it was.
 * Returns how many there were. */
static int fail_each_in_turn(torture *t, attempt *call, bool for_good)
{
    run_picture before, after;
    run_take_picture(&before, t->engine, t->session);
    int64_t position = fam_session_position(t->session);
    int failed = 0;
    for (;; failed++) {
        fam_memory *memory = &t->engine->memory;
        uint64_t bytes = memory->bytes;
        fam_error error = {0};
        memory->fail_at = memory->allocations + 1 + (size_t)failed;
        memory->fail_for_good = for_good;
        fam_status status = call(t, &error);
        memory->fail_at = 0;
        if (status == FAM_OK)
            break;
        if (status != FAM_STATUS_OUT_OF_MEMORY || !strstr(error.message, "out of memory"))
            fail_msg("allocation %d: found status %d: %s", failed, status, error.message);
        assert_int_equal(memory->bytes, bytes);
        assert_int_equal(fam_session_position(t->session), position);
        run_take_picture(&after, t->engine, t->session);
        run_assert_same(&before, &after);
        run_picture_free(&after);
        assert_true(failed < 1000);
    }
    run_picture_free(&before);
    return failed;
}

static fam_status create(torture *t, fam_error *error)
{
    fam_session *session = NULL;
    fam_session_options options;
    fam_session_options_init(&options);
    options.start_state = t->golden.start_state;
    fam_status status = fam_session_create(&session, t->engine, &options, error);
    assert_true((status == FAM_OK) == (session != NULL));
    fam_session_free(session);
    return status;
}

static fam_status clone(torture *t, fam_error *error)
{
    fam_session *session = NULL;
    fam_status status = fam_session_clone(&session, t->session, error);
    assert_true((status == FAM_OK) == (session != NULL));
    fam_session_free(session);
    return status;
}

static fam_status save(torture *t, fam_error *error)
{
    const char *path = run_path(&t->directory, "a.session");
    fam_status status = fam_session_save(t->session, path, error);
    assert_true((status == FAM_OK) == (access(path, F_OK) == 0));
    return status;
}

static fam_status restore(torture *t, fam_error *error)
{
    return fam_session_restore(t->session, run_path(&t->directory, "a.session"), error);
}

static fam_status set_note(torture *t, fam_error *error)
{
    fam_status status = fam_session_set_note(t->session, "other", 5, error);
    size_t size;
    if (status != FAM_OK)
        assert_memory_equal(fam_session_note(t->session, &size), "old", 3);
    return status;
}

static fam_status set_sampling(torture *t, fam_error *error)
{
    const fam_logit_bias bias = {.id = 1, .bias = 1};
    fam_sampling sampling;
    fam_sampling_init(&sampling);
    sampling.logit_bias = &bias;
    sampling.logit_bias_count = 1;
    return fam_session_set_sampling(t->session, &sampling, error);
}

static fam_status read_span(fam_session *session, const int32_t *tokens, size_t count, bool scored, size_t *consumed,
                            fam_error *error)
{
    double nll[40];
    return scored ? fam_session_score(session, tokens, count, nll, consumed, error)
                  : fam_session_feed(session, tokens, count, consumed, error);
}

/* Allocation `number` of the first long span fails, after which it succeeds. Panels that were made before one failed may
 * stay: they belong to the engine. False if there are fewer allocations. */
static bool check_first_long_span(torture *t, size_t number, bool scored)
{
    fam_session *spare;
    run_picture before, after, want;
    int32_t tokens[40];
    fam_error failure = {0};
    fam_memory *memory = &t->engine->memory;
    int64_t position = fam_session_position(t->session);
    size_t consumed = 99;
    for (int i = 0; i < 40; i++)
        tokens[i] = (i * 7) % (int)t->info.vocab_size;
    run_ok(fam_session_clone(&spare, t->session, error));
    run_take_picture(&before, t->engine, t->session);
    memory->fail_at = memory->allocations + number;
    fam_status status = read_span(t->session, tokens, 40, scored, &consumed, &failure);
    memory->fail_at = 0;
    assert_int_equal(status, status == FAM_OK ? FAM_OK : FAM_STATUS_OUT_OF_MEMORY);
    assert_true(consumed == 40 || (status != FAM_OK && consumed == 0));
    assert_int_equal(fam_session_position(t->session), position + (int64_t)consumed);
    run_take_picture(&after, t->engine, t->session);
    if (consumed == 0) {
        run_assert_same(&before, &after);
        run_picture_free(&after);
        run_ok(read_span(t->session, tokens, 40, scored, NULL, error));
        run_take_picture(&after, t->engine, t->session);
    }
    run_ok(read_span(spare, tokens, 40, scored, NULL, error));
    run_take_picture(&want, t->engine, spare);
    run_assert_same(&after, &want);
    run_picture_free(&before);
    run_picture_free(&after);
    run_picture_free(&want);
    fam_session_free(spare);
    return status != FAM_OK;
}

static void each_allocation_of_a_session_fails_cleanly(void **state)
{
    (void)state;
    for (int c = 0; c < MODE_COUNT; c++)
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
            torture t;
            torture_open(&t, MODES[c], (fam_dtype)dtype);
            for (int for_good = 0; for_good < 2; for_good++) {
                assert_true(fail_each_in_turn(&t, create, for_good) > 20);
                assert_true(fail_each_in_turn(&t, clone, for_good) > 20);
                assert_true(fail_each_in_turn(&t, save, for_good) > 5);
                assert_true(fail_each_in_turn(&t, restore, for_good) > 0);
                unlink(run_path(&t.directory, "a.session"));
            }
            assert_true(fail_each_in_turn(&t, set_note, false) == 1);
            assert_true(fail_each_in_turn(&t, set_sampling, false) == 1);
            torture_close(&t);
        }
}

static void each_allocation_of_the_first_long_span_fails_cleanly(void **state)
{
    (void)state;
    for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++)
        for (int scored = 0; scored < 2; scored++) {
            bool failed = true;
            size_t number = 0;
            while (failed) {
                torture t;
                torture_open(&t, "fam_lora_rsp_train", (fam_dtype)dtype);
                failed = check_first_long_span(&t, ++number, scored);
                torture_close(&t);
            }
            assert_true(number > 20);
        }
}

static void each_allocation_of_opening_an_engine_fails_cleanly(void **state)
{
    (void)state;
    char gguf[4096];
    snprintf(gguf, sizeof gguf, "%s", suite_path("tests/fixtures/tiny_llama/gguf-Q4_1.gguf"));
    for (int c = 0; c < 4; c++) {
        run_case golden = {0};
        fam_engine_options options = run_options();
        if (c < 3)
            run_case_open(&golden, MODES[c + 2]);
        const fam_adapter_option adapter = {.path = golden.adapter, .scale = 1};
        options.adapters = &adapter;
        options.adapter_count = golden.adapter[0] ? 1 : 0;
        options.dtype = c % 2 ? FAM_DTYPE_BF16 : FAM_DTYPE_F32;
        for (int for_good = 0; for_good < 2; for_good++) {
            size_t number = 1;
            for (;; number++) {
                fam_engine *engine = NULL;
                fam_error error = {0};
                fam_engine_fault fault = {.fail_at = number, .fail_for_good = for_good, .bytes_left = 1};
                fam_status status =
                    fam_engine_open_faulty(&engine, c < 3 ? golden.directory : gguf, &options, &fault, &error);
                if (status == FAM_OK) {
                    fam_engine_free(engine);
                    break;
                }
                if (status != FAM_STATUS_OUT_OF_MEMORY)
                    fail_msg("allocation %zu: found status %d: %s", number, status, error.message);
                assert_null(engine);
                assert_int_equal(fault.bytes_left, 0);
            }
            assert_true(number > 30);
        }
        run_case_close(&golden);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(memory_is_flat_after_ten_and_ten_thousand_blocks),
    cmocka_unit_test(nothing_is_allocated_while_decoding),
    cmocka_unit_test(sessions_take_what_was_estimated),
    cmocka_unit_test(each_allocation_of_a_session_fails_cleanly),
    cmocka_unit_test(each_allocation_of_the_first_long_span_fails_cleanly),
    cmocka_unit_test(each_allocation_of_opening_an_engine_fails_cleanly),
};
SUITE_MAIN(tests)
