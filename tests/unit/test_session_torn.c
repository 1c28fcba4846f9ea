/*
 * Sessions when the device fails in the middle of a span, when memory is short while scoring, and when numbers are no
 * longer finite: nothing goes on from what is void, and nothing void replaces a file.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "session/internal.h"

/* ---- a device that fails on request --------------------------------------------------------------------------------
 */

/* Operators are counted; number `fail_at` (from 1) leaves NaN behind, which `finish` reports, once. */
static struct {
    const fam_backend_ops *right;
    fam_backend_ops ops;
    size_t calls, fail_at;
    bool failed;
} device;

static bool fails_now(void)
{
    bool now = ++device.calls == device.fail_at;
    device.failed = device.failed || now;
    return now;
}

static void spoil(float *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = NAN;
}

static void failing_matmul(fam_exec *exec, const fam_matmul_job *jobs, int count, int64_t n)
{
    device.right->matmul(exec, jobs, count, n);
    if (fails_now() && !jobs[0].activation_out)
        spoil(jobs[0].out, n);
}

static void failing_attention(fam_exec *exec, const fam_attention_job *jobs, int count,
                              const fam_attention_shape *shape)
{
    if (!fails_now())
        device.right->attention(exec, jobs, count, shape);
}

static void failing_rescale_rows(fam_exec *exec, float *x, const float *target, int64_t n, int64_t width)
{
    device.right->rescale_rows(exec, x, target, n, width);
    if (fails_now())
        spoil(x, n * width);
}

static fam_status failing_finish(fam_exec *exec, fam_error *error)
{
    fam_status status = device.right->finish(exec, error);
    if (!device.failed)
        return status;
    device.failed = false;
    return fam_error_set(error, FAM_STATUS_DEVICE, "device: found it lost, need it");
}

static void device_take(fam_engine *engine)
{
    device.right = engine->backend->ops;
    device.ops = *device.right;
    device.ops.matmul = failing_matmul;
    device.ops.attention = failing_attention;
    device.ops.rescale_rows = failing_rescale_rows;
    device.ops.finish = failing_finish;
    device.calls = device.fail_at = 0;
    device.failed = false;
    engine->backend->ops = &device.ops;
}

static void device_fail(size_t number)
{
    device.fail_at = device.calls + number;
}

/* Operators that a call made since device_fail; and none fails any more. */
static size_t device_heal(size_t number)
{
    size_t made = device.calls + number - device.fail_at;
    device.fail_at = 0;
    return made;
}

/* ---- torn ----------------------------------------------------------------------------------------------------------
 */

typedef struct fixture {
    run_case golden;
    run_directory directory;
    fam_engine *engine;
    fam_engine_info info;
    fam_session *session, *other; /* both have read HEAD tokens */
} fixture;

enum { HEAD = 20, NEXT = 40 };

static const char *saved(const fixture *f)
{
    return run_path(&f->directory, "saved");
}

static void fixture_open(fixture *f, const char *name)
{
    fam_engine_options options = run_options();
    options.context = 200;
    run_directory_make(&f->directory);
    run_case_open(&f->golden, name);
    assert_true(f->golden.count >= HEAD + NEXT);
    f->engine = run_engine(&f->golden, &options);
    fam_engine_info_get(f->engine, &f->info);
    f->session = run_session(f->engine, &f->golden, 16);
    f->other = run_session(f->engine, &f->golden, 16);
    run_feed(f->session, f->golden.tokens, 0, HEAD, HEAD);
    run_feed(f->other, f->golden.tokens, 0, HEAD, HEAD);
    run_ok(fam_session_save(f->session, saved(f), error));
    device_take(f->engine);
}

static void fixture_close(fixture *f)
{
    fam_session_free(f->session);
    fam_session_free(f->other);
    fam_engine_free(f->engine);
    run_case_close(&f->golden);
    run_directory_remove(&f->directory);
}

static void assert_file_is(const char *path, const uint8_t *want, size_t size)
{
    size_t now;
    uint8_t *data = run_read(path, &now);
    assert_int_equal(now, size);
    assert_memory_equal(data, want, size);
    free(data);
}

/* All that would go on from a torn timeline says so, and the file stays. */
static void assert_torn(fixture *f)
{
    double nll[2];
    size_t consumed = 9, size;
    fam_session *clone = NULL;
    fam_generate_result result = {.tokens = 9};
    float *states = calloc((size_t)(f->info.layers * f->info.fam_length * f->info.hidden_size + 1), sizeof *states);
    const fam_status need = FAM_STATUS_DEVICE;
    const char *words = "torn, need a reset or a restore";
    uint8_t *before = run_read(saved(f), &size);
    run_refused(fam_session_feed(f->session, f->golden.tokens, 2, &consumed, error), need, words);
    assert_int_equal(consumed, 0);
    run_refused(fam_session_score(f->session, f->golden.tokens, 2, nll, &consumed, error), need, words);
    assert_int_equal(consumed, 0);
    run_refused(fam_session_accept(f->session, 1, error), need, words);
    run_refused(fam_session_generate(f->session, NULL, &result, error), need, words);
    assert_int_equal(result.tokens, 0);
    assert_int_equal(result.reason, FAM_STOP_FAILURE);
    run_refused(fam_session_save(f->session, saved(f), error), need, words);
    run_refused(fam_session_clone(&clone, f->session, error), need, words);
    assert_null(clone);
    if (f->info.mode == FAM_MODE_FAM)
        run_refused(fam_session_state(f->session, states, error), need, words);
    assert_file_is(saved(f), before, size);
    free(before);
    free(states);
}

/* After it the session is as good as one that never failed. */
static void assert_mended(fixture *f, bool by_reset)
{
    run_picture mended, want;
    fam_session *fresh = run_session(f->engine, &f->golden, 16);
    if (by_reset) {
        fam_session_reset(f->session);
    } else {
        run_ok(fam_session_restore(f->session, saved(f), error));
        run_ok(fam_session_restore(fresh, saved(f), error));
    }
    run_feed(f->session, f->golden.tokens, by_reset ? 0 : HEAD, HEAD + NEXT, 7);
    run_feed(fresh, f->golden.tokens, by_reset ? 0 : HEAD, HEAD + NEXT, 7);
    run_take_picture(&mended, f->engine, f->session);
    run_take_picture(&want, f->engine, fresh);
    run_assert_same(&mended, &want);
    run_picture_free(&mended);
    run_picture_free(&want);
    fam_session_free(fresh);
}

typedef fam_status attempt(fixture *f, size_t *consumed, fam_error *error);

static fam_status feed(fixture *f, size_t *consumed, fam_error *error)
{
    return fam_session_feed(f->session, f->golden.tokens + HEAD, NEXT, consumed, error);
}

static fam_status score(fixture *f, size_t *consumed, fam_error *error)
{
    double nll[NEXT];
    return fam_session_score(f->session, f->golden.tokens + HEAD, NEXT, nll, consumed, error);
}

static fam_status accept(fixture *f, size_t *consumed, fam_error *error)
{
    fam_status status = fam_session_accept(f->session, 3, error);
    *consumed = status == FAM_OK;
    return status;
}

/* Operator 1, 2, 3, ... of the call fails. A failure among the logits of what was read before tears nothing. */
static void fail_each_operator(attempt *call, const char *name, size_t step)
{
    fixture f;
    fixture_open(&f, name);
    size_t failures = 0, torn = 0;
    for (size_t number = 1;; number += step, failures++) {
        fam_error failure = {0};
        size_t consumed = 99;
        run_ok(fam_session_restore(f.session, saved(&f), error));
        device_fail(number);
        fam_status status = call(&f, &consumed, &failure);
        size_t made = device_heal(number);
        if (status == FAM_OK) {
            assert_true(made < number);
            break;
        }
        assert_true(made >= number);
        assert_int_equal(status, FAM_STATUS_DEVICE);
        assert_non_null(strstr(failure.message, "device: found it lost"));
        assert_int_equal(consumed % 16, 0);
        if (f.session->timeline->torn) {
            torn++;
            assert_torn(&f);
        } else {
            assert_int_equal(fam_session_position(f.session), HEAD + (int64_t)consumed);
        }
        assert_mended(&f, failures % 2);
    }
    assert_true(torn > 3 && torn + 3 * 2 >= failures); /* each of three spans begins with a score of the token before */
    fixture_close(&f);
}

static void a_failed_operator_leaves_the_session_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"full_gqa_tied", "bswa_m2_train", "fam_rms_init_m3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fail_each_operator(feed, names[i], 1);
        fail_each_operator(score, names[i], 1);
        fail_each_operator(accept, names[i], 1);
    }
}

/* The tokens of one span that were read before another failed count, and no more. */
static void what_was_read_before_the_failure_counts(void **state)
{
    (void)state;
    fixture f;
    fam_error failure = {0};
    size_t consumed = 0;
    fixture_open(&f, "fam_rms_init_m3");
    run_feed(f.other, f.golden.tokens, HEAD, HEAD + 16, 16);
    size_t one_span = device.calls;
    device_fail(one_span + 1);
    assert_int_equal(feed(&f, &consumed, &failure), FAM_STATUS_DEVICE);
    device_heal(one_span + 1);
    assert_int_equal(consumed, 16);
    assert_torn(&f);
    assert_mended(&f, true);
    fixture_close(&f);
}

/* A beginning that fails is no beginning: mode fam projects its first states there. */
static void a_start_that_fails_leaves_the_session_torn(void **state)
{
    (void)state;
    fixture f;
    fam_session *created = NULL;
    fixture_open(&f, "fam_rms_init_m3");
    device_fail(1);
    fam_session_reset(f.session);
    device_heal(1);
    assert_torn(&f);
    assert_mended(&f, true);
    device_fail(1);
    run_refused(fam_session_restore(f.session, saved(&f), error), FAM_STATUS_DEVICE, "lost");
    device_heal(1);
    assert_torn(&f);
    assert_mended(&f, false);
    device_fail(1);
    run_refused(fam_session_create(&created, f.engine, NULL, error), FAM_STATUS_DEVICE, "lost");
    device_heal(1);
    assert_null(created);
    fixture_close(&f);
}

/* ---- scoring while memory is short
 * ----------------------------------------------------------------------------------- */

enum { SCORED = 150, SCORE_SPAN = 64 }; /* spans of 64, 64 and 22: the head meets 32, 31 and 21 rows */

/* Allocation `number` fails. False if there are fewer. */
static bool score_with_failure(const run_case *golden, const double *want, size_t number)
{
    int32_t tokens[SCORED];
    double nll[SCORED];
    size_t consumed = 99;
    fam_engine *engine = run_engine(golden, NULL); /* a new one: panels stay */
    fam_session *session = run_session(engine, golden, SCORE_SPAN);
    for (int i = 0; i < SCORED; i++) {
        tokens[i] = golden->tokens[(size_t)i % golden->count];
        nll[i] = -1;
    }
    fam_error failure = {0};
    engine->memory.fail_at = number == 0 ? 0 : engine->memory.allocations + number;
    fam_status status = fam_session_score(session, tokens, SCORED, nll, &consumed, &failure);
    engine->memory.fail_at = 0;
    assert_int_equal(status, consumed == SCORED ? FAM_OK : FAM_STATUS_OUT_OF_MEMORY);
    assert_true(consumed == SCORED || consumed % SCORE_SPAN == 0);
    assert_int_equal(fam_session_position(session), consumed);
    assert_memory_equal(nll + 1, want + 1, (consumed > 0 ? consumed - 1 : 0) * sizeof *nll);
    if (status != FAM_OK) {
        size_t rest = SCORED - consumed;
        run_ok(fam_session_score(session, tokens + consumed, rest, nll + consumed, &consumed, error));
        assert_int_equal(consumed, rest);
        assert_memory_equal(nll + 1, want + 1, (SCORED - 1) * sizeof *nll);
    }
    fam_session_free(session);
    fam_engine_free(engine);
    return status != FAM_OK;
}

static void no_span_is_read_without_its_scores(void **state)
{
    (void)state;
    static const char *const names[] = {"swa", "fam_rms_init_m3"};
    for (size_t i = 0; i < 2; i++) {
        run_case golden;
        double want[SCORED];
        int32_t tokens[SCORED];
        run_case_open(&golden, names[i]);
        fam_engine *engine = run_engine(&golden, NULL);
        fam_session *session = run_session(engine, &golden, SCORE_SPAN);
        for (int t = 0; t < SCORED; t++)
            tokens[t] = golden.tokens[(size_t)t % golden.count];
        run_ok(fam_session_score(session, tokens, SCORED, want, NULL, error));
        fam_session_free(session);
        fam_engine_free(engine);
        size_t number = 1;
        while (score_with_failure(&golden, want, number))
            number++;
        assert_true(number > 20);
        run_case_close(&golden);
    }
}

/* ---- numbers that are not finite
 * ------------------------------------------------------------------------------------- */

static void write_activation(const fam_engine *engine, void *at, float value)
{
    uint16_t high;
    memcpy(&high, (const char *)&value + 2, 2);
    if (engine->backend->dtype == FAM_DTYPE_F32)
        memcpy(at, &value, sizeof value);
    else
        memcpy(at, &high, sizeof high);
}

/* Place 0, 1, 2, 3 of what a file holds. */
static void spoil_place(fam_session *session, int place, float value)
{
    const fam_timeline *timeline = session->timeline;
    if (place == 0)
        timeline->state[1] = value;
    else if (place < 3)
        write_activation(session->engine, place == 1 ? timeline->ring_k : timeline->ring_v, value);
    else
        session->hidden[0] = value;
}

static void what_is_not_finite_is_not_saved(void **state)
{
    (void)state;
    const float values[] = {NAN, INFINITY, -INFINITY};
    for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
        run_case golden;
        run_directory directory;
        fam_engine_options options = run_options();
        size_t size;
        options.dtype = dtype;
        run_directory_make(&directory);
        run_case_open(&golden, "fam_rms_init_m3");
        fam_engine *engine = run_engine(&golden, &options);
        fam_session *session = run_session(engine, &golden, 16), *reader = run_session(engine, &golden, 16);
        char old[128];
        snprintf(old, sizeof old, "%s/old", directory.path);
        run_feed(session, golden.tokens, 0, HEAD, HEAD);
        run_ok(fam_session_save(session, old, error));
        uint8_t *before = run_read(old, &size);
        for (int place = 0; place < 4; place++)
            for (int i = 0; i < 3; i++) {
                fam_session *clone = NULL;
                run_ok(fam_session_clone(&clone, session, error));
                spoil_place(clone, place, values[i]);
                run_refused(fam_session_save(clone, old, error), FAM_STATUS_FAILED, "found NaN or infinity");
                run_refused(fam_session_save(clone, run_path(&directory, "new"), error), FAM_STATUS_FAILED, "NaN");
                fam_session_free(clone);
                assert_file_is(old, before, size);
                run_refused(fam_session_restore(reader, run_path(&directory, "new"), error), FAM_STATUS_NOT_FOUND,
                            "new");
            }
        run_ok(fam_session_restore(reader, old, error));
        free(before);
        fam_session_free(session);
        fam_session_free(reader);
        fam_engine_free(engine);
        run_case_close(&golden);
        run_directory_remove(&directory);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_failed_operator_leaves_the_session_refused),
    cmocka_unit_test(what_was_read_before_the_failure_counts),
    cmocka_unit_test(a_start_that_fails_leaves_the_session_torn),
    cmocka_unit_test(no_span_is_read_without_its_scores),
    cmocka_unit_test(what_is_not_finite_is_not_saved),
};
SUITE_MAIN(tests)
