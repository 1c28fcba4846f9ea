/*
 * Generating with a tokenizer: ids that pad the vocabulary, stopping and going on, penalties over tokens that the
 * caller draws himself, and a reset. The model is the tiny one of tests/support with a tokenizer of seven tokens for
 * its ten rows.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "scratch.h"
#include "session/internal.h"
#include "tiny_model.h"

/* Ids 7, 8, 9 have no token. é is C3 A9, two tokens of one byte each: the bytes of a character may come one by one. */
enum { TOKENS = 7 };
static const char *const bytes_of[TOKENS] = {"a", "b", "ab", "c", "\xc3", "\xa9", "bc"};
static const char tokenizer_json[] =
    "{\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
    "\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,"
    "\"ab\":2,\"c\":3,\"\xc3\x83\":4,\"\xc2\xa9\":5,\"bc\":6},\"merges\":[\"a b\",\"b c\"]}}";

static const int32_t head[] = {0, 3, 1, 6, 2, 5, 4, 0};
enum { HEAD = sizeof head / sizeof *head };

/* What a cancelled callback counts down, and what generating gives. */
typedef struct listener {
    int cancel_after; /* calls; -1: never */
    int progress_calls;
    int32_t ids[512];
    size_t count;
    char text[4096];
    size_t length;
} listener;

static bool cancelled(void *context)
{
    listener *l = context;
    return l->cancel_after >= 0 && l->cancel_after-- == 0;
}

static void progress(void *context, int64_t done, int64_t total)
{
    listener *l = context;
    (void)done, (void)total;
    l->progress_calls++;
}

static bool hear(void *context, int32_t token, const char *text, size_t length)
{
    listener *l = context;
    assert_true(l->length + length < sizeof l->text);
    memcpy(l->text + l->length, text, length);
    l->length += length;
    if (token >= 0)
        l->ids[l->count++] = token;
    return true;
}

typedef struct fixture {
    const char *directory;
    fam_engine *engine;
    fam_session *session;
    listener *listener;
} fixture;

static void open_session(fixture *f, fam_session **out)
{
    fam_session_options options;
    fam_session_options_init(&options);
    options.cancelled = cancelled;
    options.progress = progress;
    options.context = f->listener;
    run_ok(fam_session_create(out, f->engine, &options, error));
    run_feed(*out, head, 0, HEAD, HEAD);
}

static void fixture_open(fixture *f)
{
    fam_engine_options options = run_options();
    f->listener = calloc(1, sizeof *f->listener);
    assert_non_null(f->listener);
    f->listener->cancel_after = -1;
    f->directory = scratch_make();
    tiny_model_write(f->directory, ", \"max_position_embeddings\": 4096", false);
    scratch_write_text(f->directory, "tokenizer.json", tokenizer_json);
    run_ok(fam_engine_open(&f->engine, f->directory, &options, error));
    assert_non_null(fam_engine_tokenizer(f->engine));
    open_session(f, &f->session);
}

static void fixture_close(fixture *f)
{
    fam_session_free(f->session);
    fam_engine_free(f->engine);
    scratch_remove(f->directory);
    free(f->listener);
}

static fam_sampling sampling_of(double temperature)
{
    fam_sampling sampling;
    fam_sampling_init(&sampling);
    sampling.temperature = temperature;
    sampling.seed = 17;
    return sampling;
}

/* ---- ids without a token
 * --------------------------------------------------------------------------------------------- */

static void padding_is_never_drawn_with(fixture *f, const fam_sampling *sampling, int64_t draws)
{
    bool drawn[TOKENS] = {false};
    run_ok(fam_session_set_sampling(f->session, sampling, error));
    for (int64_t i = 0; i < draws; i++) {
        int32_t token = -1;
        run_ok(fam_session_sample(f->session, &token, error));
        assert_in_range(token, 0, TOKENS - 1);
        drawn[token] = true;
    }
    if (sampling->temperature > 100)
        for (int i = 0; i < TOKENS; i++)
            assert_true(drawn[i]);
}

/* The bias of everything with a token towards nothing leaves nothing to draw: that is an error, not padding. */
static void nothing_is_drawn_when_only_padding_is_left(fixture *f)
{
    fam_sampling sampling = sampling_of(0);
    fam_logit_bias all[TOKENS];
    int32_t token = -7;
    for (int i = 0; i < TOKENS; i++)
        all[i] = (fam_logit_bias){.id = i, .bias = -INFINITY};
    sampling.logit_bias = all;
    sampling.logit_bias_count = TOKENS;
    for (int warm = 0; warm < 2; warm++) {
        fam_error failure = {0};
        sampling.temperature = warm;
        run_ok(fam_session_set_sampling(f->session, &sampling, error));
        assert_int_not_equal(fam_session_sample(f->session, &token, &failure), FAM_OK);
        assert_int_equal(token, -7);
    }
}

static void check_padding(fixture *f)
{
    static const fam_logit_bias towards[] = {{.id = 7, .bias = 1e6f}, {.id = 8, .bias = 50}, {.id = 9, .bias = 3e38f}};
    static const double temperatures[] = {0, 1, 5, 1000};
    for (int biased = 0; biased < 2; biased++)
        for (size_t t = 0; t < 4; t++)
            for (int filtered = 0; filtered < 2; filtered++) {
                fam_sampling sampling = sampling_of(temperatures[t]);
                sampling.logit_bias = towards;
                sampling.logit_bias_count = biased ? 3 : 0;
                sampling.repetition_penalty = filtered ? 0.5 : 1;
                sampling.presence_penalty = filtered ? -1 : 0;
                sampling.top_k = filtered ? TINY_V : 0;
                padding_is_never_drawn_with(f, &sampling, temperatures[t] > 0 ? 3000 : 1);
            }
    nothing_is_drawn_when_only_padding_is_left(f);
}

/* In a clone and after a restore too; and the rows of padding can be read, as before. */
static void padding_of_the_vocabulary_is_never_drawn(void **state)
{
    (void)state;
    fixture f;
    fam_session *first, *clone = NULL;
    static const int32_t padding[] = {7, 8, 9, 9};
    fixture_open(&f);
    first = f.session;
    run_feed(first, padding, 0, 4, 4);
    check_padding(&f);
    fam_session_reset(first);
    run_feed(first, padding, 0, 4, 4);
    check_padding(&f);
    run_ok(fam_session_clone(&clone, first, error));
    f.session = clone;
    check_padding(&f);
    run_ok(fam_session_save(first, scratch_path(f.directory, "session"), error));
    run_ok(fam_session_restore(clone, scratch_path(f.directory, "session"), error));
    check_padding(&f);
    fam_session_free(clone);
    f.session = first;
    fixture_close(&f);
}

/* ---- stopping and going on
 * --------------------------------------------------------------------------------------------- */

enum { LONG = 120 };

static fam_status generate(fixture *f, fam_session *session, int64_t count, const char *const *stop, size_t stop_count,
                           int cancel_after, fam_generate_result *result, fam_error *error)
{
    fam_generate_options options;
    fam_generate_options_init(&options);
    options.max_tokens = count;
    options.stop = stop;
    options.stop_count = stop_count;
    options.on_text = hear;
    options.context = f->listener;
    f->listener->cancel_after = cancel_after;
    fam_status status = fam_session_generate(session, &options, result, error);
    f->listener->cancel_after = -1;
    return status;
}

static void assert_text_is_of_ids(const listener *l)
{
    char want[4096];
    size_t length = 0;
    for (size_t i = 0; i < l->count; i++) {
        memcpy(want + length, bytes_of[l->ids[i]], strlen(bytes_of[l->ids[i]]));
        length += strlen(bytes_of[l->ids[i]]);
    }
    assert_int_equal(l->length, length);
    assert_memory_equal(l->text, want, length);
}

/* Cancelled after any number of tokens: their text is given to the last byte, though a stop string might have begun or
 * a character not have ended; and what comes then is what would have come. */
static void cancelled_text_goes_on_as_if_it_had_not_been(void **state)
{
    (void)state;
    static const char *const stop[] = {"ab!", "c!", "\xc3\xa9!", "b b"}; /* "!" and " " cannot come */
    fixture f;
    int32_t whole[LONG];
    fam_generate_result result;
    fam_sampling sampling = sampling_of(1);
    sampling.presence_penalty = 0.5;
    sampling.frequency_penalty = 0.3;
    fixture_open(&f);
    run_ok(fam_session_set_sampling(f.session, &sampling, error));
    run_ok(generate(&f, f.session, LONG, stop, 4, -1, &result, error));
    assert_int_equal(result.tokens, LONG);
    assert_int_equal(result.reason, FAM_STOP_LENGTH);
    assert_int_equal(f.listener->count, LONG);
    assert_text_is_of_ids(f.listener);
    memcpy(whole, f.listener->ids, sizeof whole);
    for (int after = 0; after < LONG; after += 1 + after / 20) {
        fam_session *session = NULL;
        open_session(&f, &session);
        run_ok(fam_session_set_sampling(session, &sampling, error));
        *f.listener = (listener){.cancel_after = -1};
        run_refused(generate(&f, session, LONG, stop, 4, after, &result, error), FAM_STATUS_CANCELLED,
                    "cancelled after");
        assert_int_equal(result.reason, FAM_STOP_FAILURE);
        assert_int_equal(result.tokens, after);
        assert_int_equal(f.listener->count, after);
        assert_int_equal(fam_session_position(session), HEAD + after);
        assert_text_is_of_ids(f.listener);
        run_refused(generate(&f, session, LONG, stop, 4, 0, &result, error), FAM_STATUS_CANCELLED, "cancelled after 0");
        run_ok(generate(&f, session, LONG - after, stop, 4, -1, &result, error));
        assert_int_equal(result.reason, FAM_STOP_LENGTH);
        assert_int_equal(f.listener->count, LONG);
        assert_memory_equal(f.listener->ids, whole, sizeof whole);
        assert_text_is_of_ids(f.listener);
        assert_int_equal(f.listener->progress_calls, 0); /* it tells of what the caller gives, not of what is drawn */
        fam_session_free(session);
    }
    fixture_close(&f);
}

/* The same when the cache of mode full ends: no random number is drawn for a token that has no room. */
static void a_full_context_draws_nothing(void **state)
{
    (void)state;
    fixture f;
    fam_session *clone = NULL;
    fam_generate_result result;
    fam_engine_options options = run_options();
    fam_sampling sampling = sampling_of(1);
    int32_t a = -1, b = -1;
    fixture_open(&f);
    fam_session_free(f.session);
    fam_engine_free(f.engine);
    options.context = HEAD + 5;
    run_ok(fam_engine_open(&f.engine, f.directory, &options, error));
    open_session(&f, &f.session);
    run_ok(fam_session_set_sampling(f.session, &sampling, error));
    run_refused(generate(&f, f.session, LONG, NULL, 0, -1, &result, error), FAM_STATUS_CONTEXT_FULL, "context");
    assert_int_equal(result.reason, FAM_STOP_FAILURE);
    assert_int_equal(result.tokens, 5);
    assert_text_is_of_ids(f.listener);
    for (int i = 0; i < 40; i++) {
        run_ok(fam_session_clone(&clone, f.session, error));
        run_refused(generate(&f, f.session, LONG, NULL, 0, -1, NULL, error), FAM_STATUS_CONTEXT_FULL, "context");
        run_ok(fam_session_sample(f.session, &a, error));
        run_ok(fam_session_sample(clone, &b, error));
        assert_int_equal(a, b);
        fam_session_free(clone);
    }
    fixture_close(&f);
}

/* ---- drawing by hand
 * ----------------------------------------------------------------------------------------------------- */

static void draw_by_hand(fam_session *session, int32_t *ids, size_t count, bool accepted)
{
    for (size_t i = 0; i < count; i++) {
        run_ok(fam_session_sample(session, &ids[i], error));
        if (accepted)
            run_ok(fam_session_accept(session, ids[i], error));
        else
            run_feed(session, ids, i, i + 1, 1);
    }
}

/* Accepted tokens count for the penalties as generated ones do; fed ones do not. */
static void accepted_tokens_are_generated_ones(void **state)
{
    (void)state;
    static const double temperatures[] = {0, 1};
    for (int t = 0; t < 2; t++)
        for (int kind = 0; kind < 2; kind++) {
            fixture f;
            fam_session *by_hand = NULL, *fed = NULL;
            int32_t accepted[LONG], others[LONG];
            fam_sampling sampling = sampling_of(temperatures[t]);
            sampling.presence_penalty = kind == 0 ? 4 : 0;
            sampling.frequency_penalty = kind == 1 ? 2 : 0;
            fixture_open(&f);
            open_session(&f, &by_hand);
            open_session(&f, &fed);
            run_ok(fam_session_set_sampling(f.session, &sampling, error));
            run_ok(fam_session_set_sampling(by_hand, &sampling, error));
            run_ok(fam_session_set_sampling(fed, &sampling, error));
            run_ok(generate(&f, f.session, LONG, NULL, 0, -1, NULL, error));
            draw_by_hand(by_hand, accepted, LONG, true);
            draw_by_hand(fed, others, LONG, false);
            assert_int_equal(f.listener->count, LONG);
            assert_memory_equal(f.listener->ids, accepted, sizeof accepted);
            assert_memory_not_equal(f.listener->ids, others, sizeof others);
            assert_int_equal(fam_session_position(by_hand), HEAD + LONG);
            run_refused(fam_session_accept(by_hand, TINY_V, error), FAM_STATUS_INVALID_ARGUMENT, "id");
            run_refused(fam_session_accept(by_hand, -1, error), FAM_STATUS_INVALID_ARGUMENT, "id");
            assert_int_equal(fam_session_position(by_hand), HEAD + LONG);
            fam_session_free(by_hand);
            fam_session_free(fed);
            fixture_close(&f);
        }
}

/* ---- a reset
 * ------------------------------------------------------------------------------------------------------------- */

static void a_reset_drops_the_note_and_reseeds(void **state)
{
    (void)state;
    fixture f;
    size_t size = 9;
    int32_t first[LONG], again[LONG], later[LONG];
    fam_sampling sampling = sampling_of(1);
    sampling.repetition_penalty = 1.2;
    sampling.frequency_penalty = 0.2;
    fixture_open(&f);
    run_ok(fam_session_set_sampling(f.session, &sampling, error));
    run_ok(fam_session_set_note(f.session, "a note", 6, error));
    draw_by_hand(f.session, first, LONG, true);
    assert_non_null(fam_session_note(f.session, &size));
    fam_session_reset(f.session);
    assert_null(fam_session_note(f.session, &size));
    assert_int_equal(size, 0);
    run_feed(f.session, head, 0, HEAD, HEAD);
    draw_by_hand(f.session, again, LONG, true);
    assert_memory_equal(first, again, sizeof first);
    draw_by_hand(f.session, later, LONG, true);
    assert_memory_not_equal(first, later, sizeof first);
    fixture_close(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(padding_of_the_vocabulary_is_never_drawn),
    cmocka_unit_test(cancelled_text_goes_on_as_if_it_had_not_been),
    cmocka_unit_test(a_full_context_draws_nothing),
    cmocka_unit_test(accepted_tokens_are_generated_ones),
    cmocka_unit_test(a_reset_drops_the_note_and_reseeds),
};
SUITE_MAIN(tests)
