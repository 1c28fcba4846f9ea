/*
 * Sessions on small golden models, all modes: what must hold whatever is read, in which pieces, and however it is
 * interrupted. Memory has its own program, test_session_memory; files test_session_file.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "model/window.h"
#include "run.h"

/* One case a mode, and the corners: segments, norms, positions past 2^31, a given start, LoRA. */
static const char *const CASES[] = {"full_gqa_tied",   "swa",        "bswa_m0",    "bswa_m2_train",
                                    "fam_rms_init_m3", "fam_offset", "fam_rsp",    "fam_float",
                                    "fam_lora_train",  "fam_zero",   "fam_lora_rsp_train"};
enum { CASE_COUNT = sizeof CASES / sizeof *CASES };

/* Ids below `vocab`, the same for the same seed. */
static int32_t *random_tokens(int64_t vocab, size_t count, uint64_t seed)
{
    fam_random random;
    fam_random_seed(&random, seed);
    int32_t *tokens = malloc(count * sizeof *tokens);
    assert_non_null(tokens);
    for (size_t i = 0; i < count; i++)
        tokens[i] = (int32_t)(fam_random_next(&random) % (uint64_t)vocab);
    return tokens;
}

typedef struct fixture {
    run_case golden;
    fam_engine *engine;
    fam_engine_info info;
    int32_t *tokens; /* more than the case's own: several blocks */
    size_t count;
} fixture;

static void fixture_open(fixture *f, const char *name, fam_dtype dtype)
{
    fam_engine_options options = run_options();
    run_case_open(&f->golden, name);
    options.dtype = dtype;
    options.context = 400;
    f->engine = run_engine(&f->golden, &options);
    fam_engine_info_get(f->engine, &f->info);
    f->count = f->info.mode == FAM_MODE_FULL ? 150 : (size_t)(5 * f->info.block_size + 3);
    f->tokens = random_tokens(f->info.vocab_size, f->count, 7);
}

static void fixture_close(fixture *f)
{
    fam_engine_free(f->engine);
    run_case_close(&f->golden);
    free(f->tokens);
}

static void read_all(run_picture *out, fixture *f, int64_t span, size_t piece)
{
    fam_session *session = run_session(f->engine, &f->golden, span);
    run_feed(session, f->tokens, 0, f->count, piece);
    run_take_picture(out, f->engine, session);
    fam_session_free(session);
}

/* ---- pieces ------------------------------------------------------------------------------------------------------- */

static void pieces_and_spans_give_the_same(fam_dtype dtype, double tolerance)
{
    for (int c = 0; c < CASE_COUNT; c++) {
        fixture f;
        run_picture whole, parts;
        fixture_open(&f, CASES[c], dtype);
        size_t block = (size_t)f.info.block_size;
        const size_t pieces[] = {1, 2, 3, 5, block - 1, block, block + 1, 2 * block + 1, f.count};
        const int64_t spans[] = {1, 4, (int64_t)block, 512};
        read_all(&whole, &f, 512, f.count);
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
            for (size_t s = 0; s < sizeof spans / sizeof *spans; s++) {
                read_all(&parts, &f, spans[s], pieces[p]);
                run_assert_near(&parts, &whole, tolerance);
                run_picture_free(&parts);
            }
        run_picture_free(&whole);
        fixture_close(&f);
    }
}

static void pieces_and_spans_give_the_same_in_float32(void **state)
{
    (void)state;
    pieces_and_spans_give_the_same(FAM_DTYPE_F32, 5e-5);
}

/* What a product rounds to depends on the kernel that made it, and a block's end rounds again: bf16 has 8 bits. */
static void pieces_and_spans_give_the_same_in_bf16(void **state)
{
    (void)state;
    pieces_and_spans_give_the_same(FAM_DTYPE_BF16, 0.25);
}

/* ---- saving and cloning ------------------------------------------------------------------------------------------- */

/* Feeds the rest in pieces and takes a picture after each; compares with what `want` holds, or fills it. */
static void continue_in_pieces(fixture *f, fam_session *session, size_t from, run_picture *want, bool fill)
{
    static const size_t pieces[] = {3, 1, 11, 2, 29};
    for (size_t i = 0; from < f->count; i++) {
        size_t n = pieces[i % 5] < f->count - from ? pieces[i % 5] : f->count - from;
        run_feed(session, f->tokens, from, from + n, n);
        from += n;
        run_picture now;
        run_take_picture(&now, f->engine, session);
        if (fill) {
            want[i] = now;
        } else {
            run_assert_same(&now, &want[i]);
            run_picture_free(&now);
        }
    }
}

enum { PICTURES_MAX = 64 };

static void check_continuations(fixture *f, fam_engine *other, const char *path, size_t cut)
{
    run_picture want[PICTURES_MAX] = {{0}}, before, after;
    fam_session *first = run_session(f->engine, &f->golden, 16), *restored = run_session(other, &f->golden, 16), *clone;
    run_feed(first, f->tokens, 0, cut, 13);
    run_ok(fam_session_set_note(first, "note", 4, error));
    run_ok(fam_session_save(first, path, error));
    run_ok(fam_session_clone(&clone, first, error));
    run_feed(restored, f->tokens, 1, cut / 2 + 1, 5); /* something else, to be replaced */
    run_ok(fam_session_restore(restored, path, error));
    assert_int_equal(fam_session_position(restored), cut);
    assert_int_equal(fam_session_position(clone), cut);
    run_take_picture(&before, f->engine, first);
    run_take_picture(&after, f->engine, restored);
    run_assert_same(&before, &after);
    run_picture_free(&after);
    size_t size = 0;
    assert_memory_equal(fam_session_note(restored, &size), "note", 4);
    assert_int_equal(size, 4);
    assert_memory_equal(fam_session_note(clone, &size), "note", 4);

    continue_in_pieces(f, clone, cut, want, true);
    run_take_picture(&after, f->engine, first); /* the clone's reading is nothing to the original */
    run_assert_same(&before, &after);
    continue_in_pieces(f, restored, cut, want, false);
    continue_in_pieces(f, first, cut, want, false);
    for (int i = 0; i < PICTURES_MAX; i++)
        run_picture_free(&want[i]);
    run_picture_free(&before);
    run_picture_free(&after);
    fam_session_free(clone);
    fam_session_free(first);
    fam_session_free(restored);
}

static void saved_and_cloned_sessions_go_on_bit_by_bit(void **state)
{
    (void)state;
    run_directory directory;
    run_directory_make(&directory);
    for (int c = 0; c < CASE_COUNT; c++)
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
            fixture f, g;
            fixture_open(&f, CASES[c], (fam_dtype)dtype);
            fixture_open(&g, CASES[c], (fam_dtype)dtype);
            size_t block = (size_t)f.info.block_size;
            const size_t cuts[] = {0, 1, block - 1, block, block + block / 2, 3 * block + 1, 4 * block};
            for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
                check_continuations(&f, g.engine, run_path(&directory, "a.session"), cuts[i] % f.count);
            fixture_close(&f);
            fixture_close(&g);
        }
    run_directory_remove(&directory);
}

static void generate_ids(fam_session *session, int32_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        run_ok(fam_session_sample(session, &out[i], error));
        run_feed(session, out, i, i + 1, 1);
    }
}

/* fam_session_generate into a buffer. */
typedef struct collected {
    int32_t ids[256];
    size_t count, stop_at;
} collected;

static bool collect(void *context, int32_t token, const char *text, size_t length)
{
    collected *c = context;
    (void)text;
    assert_int_equal(length, 0); /* no tokenizer */
    c->ids[c->count++] = token;
    return c->stop_at == 0 || c->count < c->stop_at;
}

static void generate(fam_session *session, collected *out, int64_t count, fam_generate_result *result)
{
    fam_generate_options options;
    fam_generate_options_init(&options);
    options.max_tokens = count;
    options.on_text = collect;
    options.context = out;
    run_ok(fam_session_generate(session, &options, result, error));
}

static fam_sampling lively(uint64_t seed)
{
    fam_sampling sampling;
    fam_sampling_init(&sampling);
    sampling.temperature = 1.5;
    sampling.top_p = 0.95;
    sampling.repetition_penalty = 1.1;
    sampling.frequency_penalty = 0.4;
    sampling.seed = seed;
    return sampling;
}

static void sampling_goes_on_after_restoring_and_cloning(void **state)
{
    (void)state;
    run_directory directory;
    fixture f, g;
    collected head = {0}, want = {0}, from_file = {0}, from_clone = {0};
    const fam_logit_bias bias[] = {{.id = 3, .bias = 2}, {.id = 5, .bias = -INFINITY}};
    fam_sampling sampling = lively(42);
    sampling.logit_bias = bias;
    sampling.logit_bias_count = 2;
    run_directory_make(&directory);
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    fixture_open(&g, "fam_rms_init_m3", FAM_DTYPE_F32);
    fam_session *a = run_session(f.engine, &f.golden, 512), *b = run_session(g.engine, &g.golden, 512), *c;
    run_feed(a, f.tokens, 0, 30, 30);
    run_ok(fam_session_set_sampling(a, &sampling, error));
    generate(a, &head, 7, NULL);
    run_ok(fam_session_save(a, run_path(&directory, "a.session"), error));
    run_ok(fam_session_clone(&c, a, error));
    run_ok(fam_session_restore(b, run_path(&directory, "a.session"), error));
    generate(a, &want, 100, NULL);
    generate(b, &from_file, 100, NULL);
    generate(c, &from_clone, 100, NULL);
    assert_memory_equal(want.ids, from_file.ids, 100 * sizeof(int32_t));
    assert_memory_equal(want.ids, from_clone.ids, 100 * sizeof(int32_t));
    for (int i = 0; i < 100; i++)
        assert_int_not_equal(want.ids[i], 5);
    fam_session_free(a);
    fam_session_free(b);
    fam_session_free(c);
    fixture_close(&f);
    fixture_close(&g);
    run_directory_remove(&directory);
}

/* ---- the start ---------------------------------------------------------------------------------------------------- */

/* The state after some blocks, given to a new stream at that position, is the old stream if there are no segments. */
static void start_state_continues_a_stream(void **state)
{
    (void)state;
    const char *const names[] = {"fam_paper", "fam_offset"};
    for (size_t i = 0; i < 2; i++) {
        fixture f;
        run_picture long_one, short_one;
        fixture_open(&f, names[i], FAM_DTYPE_F32);
        size_t cut = 3 * (size_t)f.info.block_size;
        float *middle = calloc((size_t)(f.info.layers * f.info.fam_length * f.info.hidden_size), sizeof(float));
        fam_session *a = run_session(f.engine, &f.golden, 512), *b;
        run_feed(a, f.tokens, 0, cut, cut);
        run_ok(fam_session_state(a, middle, error));
        fam_session_options options;
        fam_session_options_init(&options);
        options.start_state = middle;
        options.position_offset = f.golden.offset + (int64_t)cut;
        run_ok(fam_session_create(&b, f.engine, &options, error));
        run_feed(a, f.tokens, cut, f.count, f.count);
        run_feed(b, f.tokens, cut, f.count, f.count);
        run_take_picture(&long_one, f.engine, a);
        run_take_picture(&short_one, f.engine, b);
        run_assert_same(&long_one, &short_one);
        fam_session_reset(b); /* begins with the given state again */
        run_feed(b, f.tokens, cut, f.count, f.count);
        run_picture_free(&short_one);
        run_take_picture(&short_one, f.engine, b);
        run_assert_same(&long_one, &short_one);

        middle[5] = NAN;
        run_refused(fam_session_create(&b, f.engine, &options, error), FAM_STATUS_INVALID_ARGUMENT, "start_state");
        run_picture_free(&long_one);
        run_picture_free(&short_one);
        fam_session_free(a);
        fam_session_free(b);
        free(middle);
        fixture_close(&f);
    }
}

static void only_mode_fam_has_a_state(void **state)
{
    (void)state;
    fixture f;
    fam_session *session;
    float one = 0;
    fam_session_options options;
    fixture_open(&f, "bswa_m0", FAM_DTYPE_F32);
    fam_session_options_init(&options);
    options.start_state = &one;
    run_refused(fam_session_create(&session, f.engine, &options, error), FAM_STATUS_INVALID_ARGUMENT, "start_state");
    session = run_session(f.engine, &f.golden, 4);
    run_refused(fam_session_state(session, &one, error), FAM_STATUS_INVALID_ARGUMENT, "fam");
    fam_session_free(session);
    fixture_close(&f);
}

static void reset_is_a_new_beginning(void **state)
{
    (void)state;
    run_directory directory;
    run_directory_make(&directory);
    for (int c = 0; c < CASE_COUNT; c++) {
        fixture f;
        run_picture fresh, again;
        fixture_open(&f, CASES[c], FAM_DTYPE_F32);
        fam_session *session = run_session(f.engine, &f.golden, 512), *elsewhere;
        fam_session_options options;
        fam_session_options_init(&options);
        options.position_offset = f.golden.offset + 1000;
        run_ok(fam_session_create(&elsewhere, f.engine, &options, error));
        run_feed(elsewhere, f.tokens, 3, 40, 9);
        run_ok(fam_session_save(elsewhere, run_path(&directory, "elsewhere"), error));
        read_all(&fresh, &f, 512, 31);
        assert_null(fam_session_logits(session));
        run_feed(session, f.tokens, 1, f.count, 17);
        run_ok(fam_session_restore(session, run_path(&directory, "elsewhere"), error)); /* another offset */
        fam_session_reset(session);
        assert_int_equal(fam_session_position(session), 0);
        assert_null(fam_session_logits(session));
        run_feed(session, f.tokens, 0, f.count, 31);
        run_take_picture(&again, f.engine, session);
        run_assert_same(&fresh, &again);
        run_picture_free(&fresh);
        run_picture_free(&again);
        fam_session_free(session);
        fam_session_free(elsewhere);
        fixture_close(&f);
    }
    run_directory_remove(&directory);
}

static void positions_go_up_to_their_limit(void **state)
{
    (void)state;
    const char *const names[] = {"fam_float", "swa", "full_mqa_offset"};
    for (size_t i = 0; i < 3; i++) {
        fixture f;
        fam_session *session;
        fam_session_options options;
        size_t consumed = 9;
        fixture_open(&f, names[i], FAM_DTYPE_F32);
        fam_session_options_init(&options);
        options.position_offset = FAM_POSITION_MAX + 1;
        run_refused(fam_session_create(&session, f.engine, &options, error), FAM_STATUS_INVALID_ARGUMENT, "offset");
        options.position_offset = -1;
        run_refused(fam_session_create(&session, f.engine, &options, error), FAM_STATUS_INVALID_ARGUMENT, "offset");
        options.position_offset = FAM_POSITION_MAX - 20;
        run_ok(fam_session_create(&session, f.engine, &options, error));
        run_refused(fam_session_feed(session, f.tokens, 40, &consumed, error), FAM_STATUS_CONTEXT_FULL, "position");
        assert_int_equal(consumed, 0);
        run_feed(session, f.tokens, 0, 20, 7);
        for (int64_t v = 0; v < f.info.vocab_size; v++)
            assert_true(isfinite(fam_session_logits(session)[v]));
        run_refused(fam_session_feed(session, f.tokens, 2, &consumed, error), FAM_STATUS_CONTEXT_FULL, "position");
        assert_int_equal(fam_session_position(session), 20);
        fam_session_free(session);
        fixture_close(&f);
    }
}

/* RoPE is relative: only `zero` keeps the state's rows where they are. */
static void an_offset_moves_all_positions_together(void **state)
{
    (void)state;
    for (int c = 0; c < CASE_COUNT; c++) {
        fixture f;
        run_picture here, there;
        fixture_open(&f, CASES[c], FAM_DTYPE_F32);
        if (f.info.mode == FAM_MODE_FAM && f.info.fam_positions == FAM_POSITIONS_ZERO) {
            fixture_close(&f);
            continue;
        }
        /* At the learned start the first states sit at block 0 whatever the offset, but only as values. */
        f.golden.offset = 0;
        read_all(&here, &f, 512, 31);
        f.golden.offset = ((int64_t)1 << 33) + 5;
        read_all(&there, &f, 512, 31);
        run_assert_near(&there, &here, 2e-4);
        run_picture_free(&here);
        run_picture_free(&there);
        fixture_close(&f);
    }
}

/* ---- failures and cancelling -------------------------------------------------------------------------------------- */

static void a_refused_feed_changes_nothing(void **state)
{
    (void)state;
    for (int c = 0; c < CASE_COUNT; c++) {
        fixture f;
        run_picture before, after;
        collected untouched = {0}, refused = {0};
        fam_sampling sampling = lively(3);
        fixture_open(&f, CASES[c], FAM_DTYPE_F32);
        fam_session *session = run_session(f.engine, &f.golden, 8), *clone;
        run_feed(session, f.tokens, 0, 21, 21);
        run_ok(fam_session_set_sampling(session, &sampling, error));
        generate(session, &(collected){0}, 20, NULL); /* so that the frequency penalty has something to forget */
        run_ok(fam_session_clone(&clone, session, error));
        run_take_picture(&before, f.engine, session);
        for (int bad = 0; bad < 3; bad++) {
            int32_t tokens[12] = {1, 2, 3};
            double nll[12];
            size_t consumed = 99;
            tokens[bad * 5] = bad == 0 ? -1 : bad == 1 ? (int32_t)f.info.vocab_size : INT32_MAX;
            run_refused(fam_session_feed(session, tokens, 12, &consumed, error), FAM_STATUS_INVALID_ARGUMENT, "id");
            assert_int_equal(consumed, 0);
            run_refused(fam_session_score(session, tokens, 12, nll, &consumed, error), FAM_STATUS_INVALID_ARGUMENT, "id");
            assert_int_equal(consumed, 0);
        }
        if (f.info.mode == FAM_MODE_FULL) {
            int32_t *many = calloc(400, sizeof *many);
            run_refused(fam_session_feed(session, many, 400, NULL, error), FAM_STATUS_CONTEXT_FULL, "--mode bswa");
            free(many);
        }
        run_take_picture(&after, f.engine, session);
        run_assert_same(&before, &after);
        generate(session, &refused, 60, NULL);
        generate(clone, &untouched, 60, NULL);
        assert_memory_equal(refused.ids, untouched.ids, 60 * sizeof(int32_t));
        run_picture_free(&before);
        run_picture_free(&after);
        fam_session_free(session);
        fam_session_free(clone);
        fixture_close(&f);
    }
}

static void full_mode_ends_with_its_context(void **state)
{
    (void)state;
    run_case golden;
    fam_engine_options options = run_options();
    run_case_open(&golden, "full_mqa_offset");
    options.context = 50;
    fam_engine *engine = run_engine(&golden, &options);
    fam_session *session = run_session(engine, &golden, 16);
    size_t consumed = 7;
    run_refused(fam_session_feed(session, golden.tokens, 51, &consumed, error), FAM_STATUS_CONTEXT_FULL, "--adapter");
    assert_int_equal(consumed, 0);
    run_feed(session, golden.tokens, 0, 50, 50);
    run_refused(fam_session_feed(session, golden.tokens, 1, &consumed, error), FAM_STATUS_CONTEXT_FULL, "--mode bswa");
    run_refused(fam_session_generate(session, NULL, NULL, error), FAM_STATUS_CONTEXT_FULL, "context");
    assert_int_equal(fam_session_position(session), 50);
    fam_session_free(session);
    fam_engine_free(engine);
    run_case_close(&golden);
}

typedef struct watch {
    int asked, stop_at;
    int64_t last_done, total;
} watch;

static bool ask(void *context)
{
    watch *w = context;
    if (w->total == 1) /* generating: each token is read by itself */
        w->last_done = 0;
    return ++w->asked == w->stop_at;
}

static void note_progress(void *context, int64_t done, int64_t total)
{
    watch *w = context;
    assert_true(done > w->last_done && done <= total);
    w->last_done = done;
    w->total = total;
}

static void cancelled_sessions_are_valid_at_their_count(void **state)
{
    (void)state;
    for (int c = 0; c < CASE_COUNT; c++)
        for (int stop_at = 1; stop_at <= 4; stop_at++) {
            fixture f;
            run_picture whole, parts;
            watch w = {.stop_at = stop_at};
            fam_session_options options;
            fam_session *session;
            size_t consumed = 99;
            fixture_open(&f, CASES[c], FAM_DTYPE_F32);
            fam_session_options_init(&options);
            options.span = 9;
            options.position_offset = f.golden.offset;
            options.start_state = f.golden.start_state;
            options.cancelled = ask;
            options.progress = note_progress;
            options.context = &w;
            run_ok(fam_session_create(&session, f.engine, &options, error));
            run_refused(fam_session_feed(session, f.tokens, f.count, &consumed, error), FAM_STATUS_CANCELLED, "cancel");
            assert_int_equal(consumed, 9 * (stop_at - 1));
            assert_int_equal(fam_session_position(session), consumed);
            assert_int_equal(w.last_done, consumed);
            w = (watch){0};
            run_feed(session, f.tokens, consumed, f.count, f.count);
            assert_int_equal(w.last_done, f.count - consumed);
            assert_int_equal(w.total, f.count - consumed);
            read_all(&whole, &f, 9, f.count);
            run_take_picture(&parts, f.engine, session);
            run_assert_same(&parts, &whole);
            collected none = {0};
            w = (watch){.stop_at = 3};
            fam_generate_options generate_options;
            fam_generate_options_init(&generate_options);
            generate_options.on_text = collect;
            generate_options.context = &none;
            run_refused(fam_session_generate(session, &generate_options, NULL, error), FAM_STATUS_CANCELLED, "cancel");
            assert_int_equal(none.count, 2);
            assert_int_equal(fam_session_position(session), f.count + 2);
            run_picture_free(&whole);
            run_picture_free(&parts);
            fam_session_free(session);
            fixture_close(&f);
        }
}

static void options_of_a_wrong_size_are_refused(void **state)
{
    (void)state;
    fixture f;
    fam_session *session;
    fam_engine *engine;
    fixture_open(&f, "swa", FAM_DTYPE_F32);
    fam_session_options options;
    fam_engine_options engine_options;
    fam_sampling sampling;
    fam_session_options_init(&options);
    fam_engine_options_init(&engine_options);
    fam_sampling_init(&sampling);
    options.size = engine_options.size = sampling.size = 0;
    session = run_session(f.engine, &f.golden, 8);
    run_refused(fam_session_set_sampling(session, &sampling, error), FAM_STATUS_INVALID_ARGUMENT, "size");
    fam_session_free(session);
    run_refused(fam_session_create(&session, f.engine, &options, error), FAM_STATUS_INVALID_ARGUMENT, "size");
    run_refused(fam_engine_open(&engine, f.golden.directory, &engine_options, error), FAM_STATUS_INVALID_ARGUMENT, "size");
    options.size = sizeof options + 8;
    run_refused(fam_session_create(&session, f.engine, &options, error), FAM_STATUS_INVALID_ARGUMENT, "size");
    fam_session_options_init(&options);
    options.size = offsetof(fam_session_options, position_offset); /* a program of an older header */
    options.position_offset = -5;
    run_ok(fam_session_create(&session, f.engine, &options, error));
    fam_session_free(session);
    for (int64_t span = -2; span <= 0; span += 2) {
        fam_session_options_init(&options);
        options.span = span;
        run_refused(fam_session_create(&session, f.engine, &options, error), FAM_STATUS_INVALID_ARGUMENT, "span");
    }
    fixture_close(&f);
}

/* ---- results ------------------------------------------------------------------------------------------------------ */

static double nll_of(const float *logits, int64_t count, int32_t target)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++)
        top = (double)logits[i] > top ? (double)logits[i] : top;
    for (int64_t i = 0; i < count; i++)
        sum += exp((double)logits[i] - top);
    return log(sum) + top - (double)logits[target];
}

static void scores_are_those_of_the_logits(void **state)
{
    (void)state;
    for (int c = 0; c < CASE_COUNT; c++) {
        fixture f;
        fixture_open(&f, CASES[c], FAM_DTYPE_F32);
        fam_session *slow = run_session(f.engine, &f.golden, 1), *fast = run_session(f.engine, &f.golden, 50);
        double *nll = calloc(f.count, sizeof *nll);
        size_t consumed = 0, cut = f.count / 3;
        run_ok(fam_session_score(fast, f.tokens, cut, nll, &consumed, error));
        assert_int_equal(consumed, cut);
        run_ok(fam_session_score(fast, f.tokens + cut, f.count - cut, nll + cut, &consumed, error));
        assert_int_equal(consumed, f.count - cut);
        assert_true(isnan(nll[0]));
        for (size_t t = 0; t < f.count; t++) {
            if (t > 0) {
                double want = nll_of(fam_session_logits(slow), f.info.vocab_size, f.tokens[t]);
                assert_true(fabs(nll[t] - want) < 2e-4 * (1 + fabs(want)));
            }
            run_feed(slow, f.tokens, t, t + 1, 1);
        }
        free(nll);
        fam_session_free(slow);
        fam_session_free(fast);
        fixture_close(&f);
    }
}

static void stats_count_what_was_read(void **state)
{
    (void)state;
    for (int c = 0; c < CASE_COUNT; c++) {
        fixture f;
        fixture_open(&f, CASES[c], FAM_DTYPE_F32);
        fam_session *session = run_session(f.engine, &f.golden, 64);
        int64_t block = f.info.block_size, segments = f.info.memory_segments;
        for (int64_t t = 0; t < (int64_t)f.count; t++) {
            fam_session_stats stats;
            fam_session_stats_get(session, &stats);
            int64_t blocks = 0, window = t;
            if (f.info.mode == FAM_MODE_SWA)
                window = t < f.info.window - 1 ? t : f.info.window - 1;
            if (f.info.mode == FAM_MODE_BSWA || f.info.mode == FAM_MODE_FAM) {
                blocks = t / block;
                window = t % block + (blocks < segments ? blocks : segments) * block;
            }
            assert_int_equal(stats.tokens_read, t);
            assert_int_equal(stats.blocks, blocks);
            assert_int_equal(stats.tokens_in_window, window);
            assert_int_equal(stats.tokens_in_memory, f.info.mode == FAM_MODE_FAM ? blocks * block : 0);
            assert_int_equal(fam_session_position(session), t);
            run_feed(session, f.tokens, (size_t)t, (size_t)t + 1, 1);
        }
        fam_session_free(session);
        fixture_close(&f);
    }
}

static void the_seed_decides_what_is_generated(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    collected first[2] = {{.count = 0}}, other = {0};
    fam_generate_result result;
    for (int i = 0; i < 3; i++) {
        fam_session *session = run_session(f.engine, &f.golden, 64);
        fam_sampling sampling = lively(i < 2 ? 11 : 12);
        collected *out = i < 2 ? &first[i] : &other;
        run_ok(fam_session_set_sampling(session, &sampling, error));
        run_feed(session, f.tokens, 0, 40, 40);
        generate(session, out, 60, &result);
        assert_int_equal(result.tokens, 60);
        assert_int_equal(result.reason, FAM_STOP_LENGTH);
        assert_int_equal(out->count, 60);
        fam_session_free(session);
    }
    assert_memory_equal(first[0].ids, first[1].ids, 60 * sizeof(int32_t));
    assert_memory_not_equal(first[0].ids, other.ids, 60 * sizeof(int32_t));
    fixture_close(&f);
}

static void generating_is_sampling_and_feeding(void **state)
{
    (void)state;
    fixture f;
    fixture_open(&f, "fam_float", FAM_DTYPE_F32);
    fam_session *a = run_session(f.engine, &f.golden, 64), *b = run_session(f.engine, &f.golden, 64);
    collected generated = {.stop_at = 15};
    int32_t sampled[15];
    fam_generate_result result = {.tokens = 3};
    run_refused(fam_session_generate(a, NULL, &result, error), FAM_STATUS_INVALID_ARGUMENT, "token");
    assert_int_equal(result.tokens, 0);
    run_refused(fam_session_sample(a, sampled, error), FAM_STATUS_INVALID_ARGUMENT, "token");
    fam_sampling sampling = lively(5);
    sampling.frequency_penalty = 0; /* feeding begins a new count, generating does not */
    run_ok(fam_session_set_sampling(a, &sampling, error));
    run_ok(fam_session_set_sampling(b, &sampling, error));
    run_feed(a, f.tokens, 0, 20, 20);
    run_feed(b, f.tokens, 0, 20, 20);
    generate(a, &generated, 100, &result);
    assert_int_equal(result.tokens, 15);
    assert_int_equal(result.reason, FAM_STOP_CALLER);
    generate_ids(b, sampled, 15);
    assert_memory_equal(generated.ids, sampled, sizeof sampled);
    generate(a, &generated, 0, &result);
    assert_int_equal(result.tokens, 0);
    fam_session_free(a);
    fam_session_free(b);
    fixture_close(&f);
}

/* ---- threads ------------------------------------------------------------------------------------------------------ */

typedef struct reader {
    fixture *f;
    fam_engine *engine;
    int32_t *tokens;
    run_picture picture;
} reader;

static void *read_in_thread(void *context)
{
    reader *r = context;
    for (int round = 0; round < 20; round++) {
        fam_session *session = run_session(r->engine, &r->f->golden, 32);
        run_feed(session, r->tokens, 0, r->f->count, round % 2 ? 17 : 40);
        if (round == 19)
            run_take_picture(&r->picture, r->engine, session);
        fam_session_free(session);
    }
    return NULL;
}

static void two_sessions_on_one_engine_do_not_mix(void **state)
{
    (void)state;
    fixture f;
    pthread_t threads[2];
    fam_engine_options options = run_options();
    options.threads = 2;
    fixture_open(&f, "fam_rms_init_m3", FAM_DTYPE_F32);
    reader together[2], alone[2];
    fam_engine *shared = run_engine(&f.golden, &options);
    for (int i = 0; i < 2; i++) {
        together[i] = alone[i] = (reader){.f = &f, .engine = shared};
        together[i].tokens = alone[i].tokens = random_tokens(f.info.vocab_size, f.count, 100 + (uint64_t)i);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_in_thread, &together[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) {
        read_in_thread(&alone[i]);
        run_assert_same(&together[i].picture, &alone[i].picture);
        run_picture_free(&together[i].picture);
        run_picture_free(&alone[i].picture);
        free(alone[i].tokens);
    }
    fam_engine_free(shared);
    fixture_close(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(pieces_and_spans_give_the_same_in_float32),
    cmocka_unit_test(pieces_and_spans_give_the_same_in_bf16),
    cmocka_unit_test(saved_and_cloned_sessions_go_on_bit_by_bit),
    cmocka_unit_test(sampling_goes_on_after_restoring_and_cloning),
    cmocka_unit_test(start_state_continues_a_stream),
    cmocka_unit_test(only_mode_fam_has_a_state),
    cmocka_unit_test(reset_is_a_new_beginning),
    cmocka_unit_test(positions_go_up_to_their_limit),
    cmocka_unit_test(an_offset_moves_all_positions_together),
    cmocka_unit_test(a_refused_feed_changes_nothing),
    cmocka_unit_test(full_mode_ends_with_its_context),
    cmocka_unit_test(cancelled_sessions_are_valid_at_their_count),
    cmocka_unit_test(options_of_a_wrong_size_are_refused),
    cmocka_unit_test(scores_are_those_of_the_logits),
    cmocka_unit_test(stats_count_what_was_read),
    cmocka_unit_test(the_seed_decides_what_is_generated),
    cmocka_unit_test(generating_is_sampling_and_feeding),
    cmocka_unit_test(two_sessions_on_one_engine_do_not_mix),
};
SUITE_MAIN(tests)
