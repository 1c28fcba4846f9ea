/*
 * Evaluation: scoring against greedy generation, what a system can see, draws that are kept and taken up again. The
 * model is a random one that says digits.
 */
#include "../cli/tiny_model.h"
#include "data/task.h"
#include "eval/internal.h"
#include "eval/log.h"
#include "eval/reader.h"

static fam_error error;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

#define assert_refused(call, need, words)                                                                              \
    do {                                                                                                               \
        fam_status refused = (call);                                                                                   \
        if (refused != (need) || error.status != (need) || !strstr(error.message, (words)))                            \
            fail_msg("found %d \"%s\", need %d with \"%s\"", refused, error.message, (need), (words));                 \
    } while (0)

static const char *model_path;

static fam_engine *open_engine(fam_mode mode, int64_t block, int64_t segments, int64_t window)
{
    fam_engine *engine;
    fam_engine_options options;
    fam_engine_options_init(&options);
    options.mode = (int)mode;
    options.block_size = block;
    options.memory_segments = segments;
    options.window = window;
    options.threads = 1;
    options.dtype = FAM_DTYPE_F32;
    if (!model_path)
        model_path = tiny_model_of("m", "digits", true);
    assert_ok(fam_engine_open(&engine, model_path, &options, &error));
    return engine;
}

static int folder_make(void **state)
{
    model_path = NULL;
    return run_folder_make(state);
}

#define test_eval(function) cmocka_unit_test_setup_teardown(function, folder_make, run_folder_remove)

/* ---- figures ----------------------------------------------------------------------------------------------------- */

/* Newcombe (1998), Statistics in Medicine 17, table I, method 3. */
static void intervals_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        int64_t right, n;
        double low, high;
    } known[] = {{81, 263, .2553, .3662}, {15, 148, .0624, .1605}, {0, 20, 0, .1611}, {1, 29, .0061, .1718}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double low, high;
        fam_eval_wilson(known[i].right, known[i].n, &low, &high);
        assert_true(fabs(low - known[i].low) < 5e-5 && fabs(high - known[i].high) < 5e-5);
        fam_eval_wilson(known[i].n - known[i].right, known[i].n, &low, &high);
        assert_true(fabs(1 - low - known[i].high) < 5e-5 && fabs(1 - high - known[i].low) < 5e-5);
    }
    double low, high;
    fam_eval_wilson(0, 0, &low, &high);
    assert_true(isnan(low) && isnan(high));
}

static void ranges_hold_each_token_once(void **state)
{
    (void)state;
    for (int64_t length = 2; length < 3000; length += length < 600 ? 1 : 7) {
        int64_t sum = 0;
        int ranges = fam_eval_ranges_of(length);
        for (int i = 0; i < ranges; i++) {
            assert_true(fam_eval_range_tokens(i, length) > 0);
            sum += fam_eval_range_tokens(i, length);
        }
        assert_int_equal(sum, length - 1);
    }
    assert_int_equal(fam_eval_ranges_of((int64_t)1 << 40), FAM_EVAL_RANGES);
}

/* ---- scoring ----------------------------------------------------------------------------------------------------- */

typedef struct heard {
    fam_eval_draw draws[512];
    int draw_count, cells, cancel_after; /* draws that are made; -1: all */
    fam_eval_progress progress;
} heard;

static void on_draw(void *context, const fam_eval_draw *draw)
{
    heard *h = context;
    assert_true(h->draw_count < 512);
    h->draws[h->draw_count++] = *draw;
}

static void on_cell(void *context, const fam_eval_cell *cell)
{
    heard *h = context;
    assert_true(cell->draws > 0);
    h->cells++;
}

static void on_progress(void *context, const fam_eval_progress *progress)
{
    heard *h = context;
    assert_true(progress->tokens_done >= h->progress.tokens_done && progress->draws_done <= progress->draws_total);
    h->progress = *progress;
}

static bool on_cancelled(void *context)
{
    heard *h = context;
    return h->cancel_after >= 0 && h->cancel_after-- == 0;
}

static fam_eval_options options_for(int task, const int64_t *length, int64_t draws, heard *h)
{
    fam_eval_options options;
    fam_eval_options_init(&options);
    options.task = task;
    options.lengths = length;
    options.draws = draws;
    memset(h, 0, sizeof *h);
    h->cancel_after = -1;
    options.on_draw = on_draw;
    options.on_cell = on_cell;
    options.on_progress = on_progress;
    options.cancelled = on_cancelled;
    options.context = h;
    return options;
}

/* What greedy generation makes of one draw: before each answer the right text, the answer itself generated. */
static void generate_answers(fam_engine *engine, const fam_task *task, const fam_draw *draw, int64_t *parts,
                             int64_t *right)
{
    fam_session *session;
    fam_episode *episode;
    static int32_t ids[4096];
    static uint8_t answers[4096];
    assert_ok(fam_session_create(&session, engine, NULL, &error));
    assert_ok(fam_episode_create(&episode, task, draw, &error));
    int64_t n = fam_episode_read(episode, ids, answers, 4096);
    assert_int_equal(n, draw->tokens);
    *parts = *right = 0;
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && answers[end] == answers[i]; end++) {}
        if (answers[i]) { /* a clone says it freely */
            fam_session *clone;
            bool same = true;
            assert_ok(fam_session_clone(&clone, session, &error));
            for (int64_t k = i; k < end; k++) {
                int32_t token;
                assert_ok(fam_session_sample(clone, &token, &error));
                assert_ok(fam_session_accept(clone, token, &error));
                same &= token == ids[k];
            }
            fam_session_free(clone);
            *parts += 1;
            *right += same;
        }
        assert_ok(fam_session_feed(session, ids + i, (size_t)(end - i), NULL, &error));
    }
    fam_episode_free(episode);
    fam_session_free(session);
}

static void check_against_generation(fam_mode mode, int task_kind, int64_t keys, int64_t asked, int64_t digits)
{
    const int64_t length = 300;
    heard h;
    fam_memory memory;
    fam_task *task;
    fam_eval_result *result;
    fam_engine *engine = open_engine(mode, 64, 1, 1024);
    fam_eval_options options = options_for(task_kind, &length, 60, &h);
    options.keys = task_kind == FAM_EVAL_RECALL ? &keys : NULL;
    options.key_count = 1;
    options.asked = asked;
    options.digits = digits;
    const fam_eval_system system = {.name = "one", .engine = engine};
    assert_ok(fam_eval_run(&result, &system, 1, &options, &error));
    fam_memory_init(&memory);
    const fam_task_options same = {.kind = (fam_data_kind)task_kind, .digits = digits, .keys = keys, .asked = asked};
    assert_ok(fam_task_create(&task, &memory, &same, fam_engine_tokenizer(engine), &error));
    int64_t right_draws = 0, all_parts_right = 0;
    for (int i = 0; i < h.draw_count; i++) {
        const fam_draw draw = {
            .number = (uint64_t)i, .tokens = length, .depth_to = task_kind == FAM_EVAL_PASSKEY ? 0 : 1};
        int64_t parts, right;
        generate_answers(engine, task, &draw, &parts, &right);
        assert_int_equal(parts, asked);
        assert_int_equal(h.draws[i].parts, parts);
        assert_int_equal(h.draws[i].parts_right, right);
        assert_true(h.draws[i].tokens_right >= right && h.draws[i].tokens >= digits * asked);
        right_draws += right == parts;
        all_parts_right += right;
    }
    assert_in_range(all_parts_right, 1, 60 * asked - 1); /* else nothing was compared */
    size_t count;
    const fam_eval_cell *cell = fam_eval_cells(result, &count);
    assert_int_equal(count, 1);
    assert_int_equal(cell->draws, 60);
    assert_true(fabs(cell->exact - (double)right_draws / 60) < 1e-12);
    assert_true(fabs(cell->parts - (double)all_parts_right / (60.0 * (double)asked)) < 1e-12);
    fam_task_free(task);
    fam_eval_result_free(result);
    fam_engine_free(engine);
}

static void an_answer_is_right_if_greedy_generation_gives_it(void **state)
{
    (void)state;
    check_against_generation(FAM_MODE_FAM, FAM_EVAL_PASSKEY, 1, 1, 1);
    check_against_generation(FAM_MODE_BSWA, FAM_EVAL_PASSKEY, 1, 1, 1);
    check_against_generation(FAM_MODE_FAM, FAM_EVAL_RECALL, 3, 2, 1);
}

/* Text: means by depth are those of fam_session_score over the pieces. */
static void text_has_the_loss_of_its_pieces(void **state)
{
    (void)state;
    const int64_t length = 300;
    heard h;
    char *words = calloc(1, 20000);
    for (int i = 0; i < 600; i++)
        sprintf(words + strlen(words), "word %d goes here, ", i * 7919 % 601);
    const char *path = run_write_text("text", words);
    free(words);
    fam_engine *engine = open_engine(FAM_MODE_FAM, 64, 0, 1024);
    fam_eval_options options = options_for(FAM_EVAL_TEXT, &length, 1000, &h);
    options.files = &path;
    options.file_count = 1;
    const fam_eval_system system = {.name = "one", .engine = engine};
    fam_eval_result *result;
    assert_ok(fam_eval_run(&result, &system, 1, &options, &error));
    size_t cells, ranges;
    const fam_eval_cell *cell = fam_eval_cells(result, &cells);
    const fam_eval_depth *depth = fam_eval_by_depth(result, &ranges);
    assert_int_equal(ranges, 2);
    assert_int_equal(depth[1].from, 256);
    assert_int_equal(depth[1].to, 300);
    run_result told = run("score", model_path, "--file", path, "--json", "--dtype", "f32");
    json_t *score = run_json(told.out);
    int64_t pieces = run_integer(score, "tokens") / length;
    assert_true(pieces >= 5);
    assert_int_equal(cell->draws, pieces);
    assert_int_equal(cell->tokens, pieces * length);
    assert_true(isnan(cell->exact) && fabs(cell->nll - (depth[0].nll * 255 + depth[1].nll * 44) / 299) < 1e-9);
    assert_true(depth[0].nll_low < depth[0].nll && depth[0].nll < depth[0].nll_high);
    json_decref(score);
    run_free(&told);
    double sum = 0; /* the mean over draws, as they were told */
    for (int i = 0; i < h.draw_count; i++)
        sum += h.draws[i].nll;
    assert_true(fabs(sum / (double)pieces - cell->nll) < 1e-9);
    fam_eval_result_free(result);
    fam_engine_free(engine);
}

/* ---- what a system can see --------------------------------------------------------------------------------------- */

/* Loss of the last token of a stream of `count` ids, read from `start` on. */
static double last_loss(fam_engine *engine, const int32_t *ids, int64_t start, int64_t count)
{
    fam_eval_reader reader;
    double nll[8192];
    fam_eval_reader_init(&reader, engine);
    assert_ok(fam_eval_reader_begin(&reader, start, &error));
    for (int64_t at = start, n; at < count; at += n) {
        n = fam_min_i64(fam_eval_reader_room(&reader), count - at);
        assert_int_equal(fam_eval_reader_position(&reader), at);
        assert_ok(fam_eval_reader_read(&reader, ids + at, n, nll, &error));
        nll[0] = nll[n - 1];
    }
    fam_eval_reader_release(&reader);
    return nll[0];
}

/* Whole readings and those of what can be seen are equal to the bit; a token that can be seen at the most makes a
 * difference, one before it none. */
static void what_cannot_be_seen_is_left_out_without_a_trace(void **state)
{
    (void)state;
    static const struct {
        fam_mode mode;
        int64_t block, segments, window;
    } systems[] = {{FAM_MODE_BSWA, 64, 0, 1},  {FAM_MODE_BSWA, 48, 1, 1}, {FAM_MODE_BSWA, 100, 2, 1},
                   {FAM_MODE_BSWA, 700, 0, 1}, {FAM_MODE_SWA, 64, 0, 33}, {FAM_MODE_SWA, 64, 0, 700}};
    enum { TOKENS = 6000 };
    static int32_t ids[TOKENS];
    unsigned seed = 1;
    for (int i = 0; i < TOKENS; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)((seed >> 8) % TINY_VOCAB);
    }
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) {
        fam_engine *engine = open_engine(systems[i].mode, systems[i].block, systems[i].segments, systems[i].window);
        fam_eval_reader reader;
        fam_eval_reader_init(&reader, engine);
        int64_t reach = fam_eval_reader_reach(&reader);
        for (int64_t count = TOKENS; count > TOKENS - 130; count -= 43) {
            int64_t start = fam_eval_reader_start(&reader, count - 2);
            double whole = last_loss(engine, ids, 0, count);
            assert_true(start > 0 && start <= count - 2 && start >= count - 2 - reach - reader.grid);
            double part = last_loss(engine, ids, start, count);
            assert_memory_equal(&whole, &part, sizeof whole);
        }
        /* the last token whose prediction sees the most: at a block's end, if there are blocks */
        int64_t last =
            systems[i].mode == FAM_MODE_BSWA ? (TOKENS - 1) / systems[i].block * systems[i].block - 1 : TOKENS - 2;
        double whole = last_loss(engine, ids, 0, last + 2);
        for (int64_t before = 0; before < 2; before++) {
            int64_t at = last - reach - before;
            int32_t kept = ids[at];
            ids[at] = (kept + 1000) % TINY_VOCAB;
            double other = last_loss(engine, ids, 0, last + 2);
            ids[at] = kept;
            if ((memcmp(&whole, &other, sizeof whole) == 0) != (before == 1))
                fail_msg("system %zu, %lld back: %.17g and %.17g", i, (long long)(last - at), whole, other);
        }
        fam_engine_free(engine);
    }
}

static void exhaustive_reading_gives_the_same_answers(void **state)
{
    (void)state;
    const int64_t length = 2500;
    for (int m = 0; m < 2; m++) {
        heard all, part;
        fam_engine *engine = open_engine(FAM_MODE_BSWA, 64, m, 1024);
        const fam_eval_system system = {.name = "bswa", .engine = engine};
        fam_eval_result *result;
        for (int exhaustive = 0; exhaustive < 2; exhaustive++) {
            heard *h = exhaustive ? &all : &part;
            fam_eval_options options = options_for(FAM_EVAL_RECALL, &length, 5, h);
            int64_t keys = 4;
            options.keys = &keys;
            options.key_count = 1;
            options.asked = 3;
            options.exhaustive = exhaustive;
            assert_ok(fam_eval_run(&result, &system, 1, &options, &error));
            fam_eval_result_free(result);
            assert_int_equal(h->progress.tokens_done, h->progress.tokens_total);
        }
        for (int i = 0; i < 5; i++) {
            assert_memory_equal(&all.draws[i].nll, &part.draws[i].nll, sizeof all.draws[i].nll);
            assert_int_equal(all.draws[i].tokens_right, part.draws[i].tokens_right);
            assert_int_equal(all.draws[i].tokens_read, length);
            assert_true(part.draws[i].tokens_read < 1024);
        }
        fam_engine_free(engine);
    }
}

/* ---- running again ----------------------------------------------------------------------------------------------- */

/* The result as JSON without its times, which are never the same. */
static json_t *figures_of(const fam_eval_result *result)
{
    char *text;
    assert_ok(fam_eval_json(&text, result, &error));
    json_t *object = run_json(text), *cell;
    fam_string_free(text);
    size_t i;
    json_array_foreach(json_object_get(object, "cells"), i, cell) assert_int_equal(json_object_del(cell, "seconds"), 0);
    return object;
}

typedef struct pair {
    fam_engine *engines[2];
    fam_eval_system systems[2];
} pair;

static void pair_open(pair *p)
{
    p->engines[0] = open_engine(FAM_MODE_FAM, 64, 0, 1024);
    p->engines[1] = open_engine(FAM_MODE_BSWA, 64, 0, 1024);
    p->systems[0] = (fam_eval_system){.name = "fam", .engine = p->engines[0], .adapter = "some/adapter"};
    p->systems[1] = (fam_eval_system){.name = "bswa", .engine = p->engines[1]};
}

static void pair_close(pair *p)
{
    fam_engine_free(p->engines[0]);
    fam_engine_free(p->engines[1]);
}

static void a_stopped_run_goes_on_to_the_same_figures(void **state)
{
    (void)state;
    static const int64_t lengths[] = {200, 300};
    static const double depths[] = {0, 0.37, 1};
    enum { DRAWS = 3, ALL = 2 * 3 * DRAWS * 2 };
    pair p;
    heard h;
    fam_eval_result *result;
    pair_open(&p);
    fam_eval_options options = options_for(FAM_EVAL_PASSKEY, lengths, DRAWS, &h);
    options.length_count = 2;
    options.depths = depths;
    options.depth_count = 3;
    options.model = "a model";
    assert_ok(fam_eval_run(&result, p.systems, 2, &options, &error));
    assert_int_equal(h.draw_count, ALL);
    assert_int_equal(h.cells, 12);
    json_t *need = figures_of(result);
    assert_true(json_is_true(json_object_get(need, "complete")));
    fam_eval_result_free(result);
    options.directory = run_file("out");
    for (int made = 0, round = 0; made < ALL; round++) {
        memset(&h, 0, sizeof h);
        h.cancel_after = 7;
        fam_status status = fam_eval_run(&result, p.systems, 2, &options, &error);
        assert_int_equal(status, made + 7 < ALL ? FAM_STATUS_CANCELLED : FAM_OK);
        assert_non_null(result);
        made = made + 7 < ALL ? made + 7 : ALL;
        assert_int_equal(h.progress.draws_done, made);
        assert_int_equal(h.progress.draws_total, ALL);
        int kept = 0;
        for (int i = 0; i < h.draw_count; i++)
            kept += h.draws[i].kept;
        assert_int_equal(kept, 7 * round);
        json_t *found = figures_of(result), *file = json_load_file(run_file("out/results.json"), 0, NULL), *cell;
        size_t i;
        json_array_foreach(json_object_get(file, "cells"), i, cell) json_object_del(cell, "seconds");
        assert_true(json_equal(found, file));
        assert_true(json_equal(found, need) == (made == ALL));
        json_decref(found);
        json_decref(file);
        fam_eval_result_free(result);
    }
    json_decref(need);
    pair_close(&p);
}

/* Runs with a directory and 2 draws of passkeys. */
static fam_status run_kept(pair *p, const char *name, uint64_t seed, int64_t draws, heard *h)
{
    static const int64_t length = 200;
    fam_eval_result *result;
    fam_eval_options options = options_for(FAM_EVAL_PASSKEY, &length, draws, h);
    options.directory = run_file(name);
    options.seed = seed;
    fam_status status = fam_eval_run(&result, p->systems, 2, &options, &error);
    fam_eval_result_free(result);
    return status;
}

static void a_line_that_was_cut_off_is_done_again(void **state)
{
    (void)state;
    pair p;
    heard h;
    pair_open(&p);
    assert_ok(run_kept(&p, "whole", 1, 2, &h));
    size_t size;
    char *text = run_slurp(run_file("whole/draws.jsonl"), &size);
    assert_int_equal(mkdir(run_file("cut"), 0755), 0);
    size_t first = (size_t)(strchr(text, '\n') - text) + 1, second = (size_t)(strchr(text + first, '\n') - text) + 1;
    static const int need[] = {4, 4, 4, 3, 3, 0}; /* draws that are made again */
    const size_t cuts[] = {0, first - 1, second - 1, second, second + 5, size};
    for (size_t i = 0; i < 6; i++) {
        run_write("cut/draws.jsonl", text, cuts[i]);
        assert_ok(run_kept(&p, "cut", 1, 2, &h));
        int made = 0;
        for (int k = 0; k < h.draw_count; k++)
            made += !h.draws[k].kept;
        assert_int_equal(made, need[i]);
        assert_ok(run_kept(&p, "cut", 1, 2, &h)); /* the file is whole again */
        for (int k = 0; k < h.draw_count; k++)
            assert_true(h.draws[k].kept);
    }
    free(text);
    pair_close(&p);
}

static void more_draws_keep_those_there(void **state)
{
    (void)state;
    pair p;
    heard h;
    pair_open(&p);
    assert_ok(run_kept(&p, "out", 1, 2, &h));
    assert_ok(run_kept(&p, "out", 1, 5, &h));
    for (int i = 0; i < h.draw_count; i++)
        assert_int_equal(h.draws[i].kept, h.draws[i].number < 2);
    assert_ok(run_kept(&p, "out", 1, 1, &h)); /* fewer: the others stay in the file */
    assert_int_equal(h.draw_count, 2);
    assert_ok(run_kept(&p, "out", 1, 5, &h));
    assert_int_equal(h.progress.tokens_done, 0);
    pair_close(&p);
}

static void other_questions_and_systems_are_refused(void **state)
{
    (void)state;
    pair p;
    heard h;
    pair_open(&p);
    assert_ok(run_kept(&p, "out", 1, 2, &h));
    assert_refused(run_kept(&p, "out", 2, 2, &h), FAM_STATUS_MISMATCH,
                   "draws.jsonl: line 1: seed: found \"1\", need \"2\"");
    p.systems[0].engine = p.engines[1];
    assert_refused(run_kept(&p, "out", 1, 2, &h), FAM_STATUS_MISMATCH,
                   "line 2: system fam: found a draw of other weights");
    p.systems[0].name = "other"; /* another name: another system */
    assert_ok(run_kept(&p, "out", 1, 2, &h));
    assert_int_equal(mkdir(run_file("held"), 0755), 0);
    fam_eval_log *log;
    fam_memory memory;
    fam_memory_init(&memory);
    const fam_eval_header header = {.task = "passkey", .seed = 1, .digits = 5, .asked = 1, .files = "0000000000000000"};
    assert_ok(fam_eval_log_open(&log, &memory, run_file("held"), &header, NULL, NULL, &error));
    assert_refused(run_kept(&p, "held", 1, 2, &h), FAM_STATUS_IO, "found another process that writes to it");
    fam_eval_log_close(log);
    assert_ok(run_kept(&p, "held", 1, 2, &h));
    run_write_text("file", "x");
    assert_refused(run_kept(&p, "file", 1, 2, &h), FAM_STATUS_IO, "file: cannot make the directory");
    assert_refused(run_kept(&p, "no/such/folder", 1, 2, &h), FAM_STATUS_NOT_FOUND, "folder: cannot make the directory");
    pair_close(&p);
}

static fam_status no_line(void *context, const fam_eval_line *line, fam_error *failure)
{
    (void)context, (void)line, (void)failure;
    return FAM_OK;
}

/* A disk that is full loses the line that did not fit, and nothing else. */
static void a_line_that_does_not_fit_leaves_no_half_of_it(void **state)
{
    (void)state;
    const fam_eval_header header = {.task = "passkey", .digits = 5, .asked = 1, .files = "0"};
    const fam_eval_line line = {
        .system = "a", .identity = "b", .length = 300, .keys = 1, .outcome = {.tokens = 5, .nll = 0.1}};
    fam_memory memory;
    fam_eval_log *log;
    struct rlimit limit;
    struct stat before, after;
    const char *path = run_file("out/draws.jsonl");
    fam_memory_init(&memory);
    assert_ok(fam_eval_log_open(&log, &memory, run_file("out"), &header, no_line, NULL, &error));
    assert_ok(fam_eval_log_add(log, &line, &error));
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = (rlim_t)before.st_size + 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_refused(fam_eval_log_add(log, &line, &error), FAM_STATUS_IO, "draws.jsonl: cannot write: File too large");
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_ok(fam_eval_log_add(log, &line, &error));
    fam_eval_log_close(log);
    size_t size, whole;
    char *text = run_slurp(path, &size);
    assert_ok(fam_eval_log_parse(path, text, size, &header, no_line, NULL, &whole, &error));
    assert_int_equal(whole, size);
    assert_int_equal(whole, (size_t)(2 * before.st_size) - (size_t)(strchr(text, '\n') - text) - 1);
    free(text);
}

static void lines_that_are_wrong_are_told_with_their_place(void **state)
{
    (void)state;
#define HEAD                                                                                                           \
    "{\"kind\":\"fam-eval-draws\",\"version\":1,\"task\":\"passkey\",\"seed\":\"0\",\"digits\":5,\"asked\":1,"         \
    "\"files\":\"0\"}\n"
#define LINE(rest)                                                                                                     \
    HEAD "{\"system\":\"a\",\"identity\":\"b\",\"length\":300,\"depth_from\":0,\"depth_to\":0,\"keys\":1," rest "}\n"
#define GOOD                                                                                                           \
    "\"draw\":0,\"parts\":1,\"parts_right\":1,\"tokens\":5,\"tokens_right\":5,\"nll\":1.5,\"seconds\":1,\"read\":300"
    static const struct {
        const char *text;
        fam_status status;
        const char *words;
    } cases[] = {
        {"", FAM_OK, ""},
        {HEAD, FAM_OK, ""},
        {LINE(GOOD), FAM_OK, ""},
        {LINE(GOOD ",\"ranges\":[1,2.5]"), FAM_OK, ""},
        {LINE(GOOD ",\"ranges\":[1]"), FAM_STATUS_BAD_FORMAT, "f: line 2: ranges: found 1 numbers, need 2"},
        {LINE(GOOD ",\"ranges\":[1,\"x\"]"), FAM_STATUS_BAD_FORMAT, "f: line 2: ranges: element 1: found no number"},
        {LINE("\"draw\":-1"), FAM_STATUS_BAD_FORMAT, "f: line 2: draw: found -1, need 0 to"},
        {LINE("\"draw\":0,\"parts\":1,\"parts_right\":2"), FAM_STATUS_BAD_FORMAT, "parts_right: found 2, need 0 to 1"},
        {LINE("\"draw\":0"), FAM_STATUS_BAD_FORMAT, "f: line 2: parts: "},
        {HEAD "[]\n", FAM_STATUS_BAD_FORMAT, "f: line 2: found an array"},
        {HEAD "{]\n", FAM_STATUS_BAD_FORMAT, "f: line 2: not JSON"},
        {"{\"kind\":\"else\"}\n", FAM_STATUS_MISMATCH, "f: line 1: kind: found \"else\""},
        {"{\"kind\":\"fam-eval-draws\",\"version\":2}\n", FAM_STATUS_MISMATCH, "f: line 1: version: found 2, need 1"},
    };
    const fam_eval_header header = {.task = "passkey", .digits = 5, .asked = 1, .files = "0"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t whole, size = strlen(cases[i].text);
        fam_status status = fam_eval_log_parse("f", cases[i].text, size, &header, no_line, NULL, &whole, &error);
        if (status != cases[i].status || (status != FAM_OK && !strstr(error.message, cases[i].words)))
            fail_msg("case %zu: found %d \"%s\"", i, status, error.message);
        if (status == FAM_OK)
            assert_int_equal(whole, size);
    }
}

/* ---- refusals and failures --------------------------------------------------------------------------------------- */

static void what_cannot_be_measured_is_refused_before_it_begins(void **state)
{
    (void)state;
    static const int64_t length = 300, lengths[] = {300, 20}, twice[] = {300, 300}, zero = 0, three = 3, large = 5000;
    static const double outside = 1.5, nothing = NAN;
    static const char *file = "no/such/file";
    pair p;
    heard h;
    fam_eval_result *result;
    pair_open(&p);
    fam_engine *full = open_engine(FAM_MODE_FULL, 64, 0, 1024), *odd = NULL;
    assert_ok(fam_engine_open(&odd, suite_path("tests/golden/fam_rms_m1"), NULL, &error));
    const fam_eval_system one = {.name = "fam", .engine = p.engines[0]}, no_name = {.engine = full};
    const fam_eval_system whole = {.name = "full", .engine = full}, mute = {.name = "mute", .engine = odd};
    const fam_eval_system same[] = {one, one};
#define REFUSED(systems, count, status, words, ...)                                                                    \
    do {                                                                                                               \
        fam_eval_options options = options_for(FAM_EVAL_PASSKEY, &length, 2, &h);                                      \
        __VA_ARGS__;                                                                                                   \
        assert_refused(fam_eval_run(&result, systems, count, &options, &error), status, words);                        \
        assert_null(result);                                                                                           \
        assert_int_equal(h.draw_count, 0);                                                                             \
    } while (0)
#define BAD(words, ...) REFUSED(&one, 1, FAM_STATUS_INVALID_ARGUMENT, words, __VA_ARGS__)
    BAD("evaluation options: size", options.size = 3);
    BAD("task: found 6, need 0 to 5", options.task = 6);
    BAD("draws: found 0, need 1", options.draws = 0);
    BAD("lengths: found 20, need at least", options.lengths = lengths; options.length_count = 2);
    BAD("lengths: found 300 twice", options.lengths = twice; options.length_count = 2);
    BAD("lengths: found 0 of them", options.length_count = 0);
    BAD("depths: found 1.5, need 0 to 1", options.depths = &outside; options.depth_count = 1);
    BAD("depths: found nan", options.depths = &nothing; options.depth_count = 1);
    BAD("depths: found some, need none", options.task = FAM_EVAL_TEXT; options.depths = &outside);
    BAD("keys: found some, need none for the task passkey", options.keys = &three; options.key_count = 1);
    BAD("keys: found 0, need 1", options.task = FAM_EVAL_RECALL; options.keys = &zero; options.key_count = 1);
    BAD("asked: found 2, need 1 for the task passkey", options.asked = 2);
    BAD("asked: found 4 of 3 keys", options.task = FAM_EVAL_NEEDLE; options.keys = &three; options.key_count = 1;
        options.asked = 4);
    BAD("files: found none", options.task = FAM_EVAL_TEXT);
    BAD("files: found 1, need none", options.files = &file; options.file_count = 1);
    BAD("digits", options.digits = 0);
    REFUSED(&one, 1, FAM_STATUS_NOT_FOUND, "no/such/file", options.task = FAM_EVAL_TEXT; options.files = &file;
            options.file_count = 1);
    REFUSED(&one, 1, FAM_STATUS_NOT_FOUND, "no/such/file", options.task = FAM_EVAL_NEEDLE; options.files = &file;
            options.file_count = 1);
    REFUSED(&one, 0, FAM_STATUS_INVALID_ARGUMENT, "systems: found 0", (void)0);
    REFUSED(&no_name, 1, FAM_STATUS_INVALID_ARGUMENT, "system 0: found one without a name", (void)0);
    REFUSED(same, 2, FAM_STATUS_INVALID_ARGUMENT, "system fam: found two of that name", (void)0);
    REFUSED(&mute, 1, FAM_STATUS_UNSUPPORTED, "system mute: tokenizer: found none", (void)0);
    REFUSED(&whole, 1, FAM_STATUS_CONTEXT_FULL, "lengths: found 5000, need at most 4096", options.lengths = &large);
    const char *small = run_write_text("small", "only a few words");
    BAD("lengths: found 300, need at most", options.task = FAM_EVAL_TEXT; options.files = &small;
        options.file_count = 1);
    fam_engine_free(full);
    fam_engine_free(odd);
    pair_close(&p);
}

/* Makes allocation 1, 2, 3 ... fail until one is not reached. */
static void fail_each(pair *p, int task, const char *file, bool for_good)
{
    const int64_t length = 300;
    heard h;
    char name[16];
    for (size_t at = 1;; at++) {
        fam_eval_result *result;
        fam_eval_fault fault = {.fail_at = at, .fail_for_good = for_good};
        fam_eval_options options = options_for(task, &length, 1, &h);
        options.files = &file;
        options.file_count = file != NULL;
        snprintf(name, sizeof name, "%d-%zu-%d", task, at, for_good);
        options.directory = run_file(name);
        options.model = "m";
        fam_status status = fam_eval_run_faulty(&result, p->systems, 2, &options, &fault, &error);
        if (status == FAM_OK) {
            fam_eval_result_free(result);
            assert_true(at > 10);
            return;
        }
        assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
        assert_null(result);
        assert_int_equal(fault.bytes_left, 0);
    }
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    pair p;
    pair_open(&p);
    char *words = calloc(1, 8192);
    for (int i = 0; i < 400; i++)
        strcat(words, "And so on. ");
    char *file = strdup(run_write_text("text", words)); /* run_file has few buffers */
    free(words);
    for (int for_good = 0; for_good < 2; for_good++) {
        fail_each(&p, FAM_EVAL_PASSKEY, NULL, for_good);
        fail_each(&p, FAM_EVAL_TEXT, file, for_good);
    }
    free(file);
    pair_close(&p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(intervals_are_the_published_ones),
    cmocka_unit_test(ranges_hold_each_token_once),
    test_eval(an_answer_is_right_if_greedy_generation_gives_it),
    test_eval(text_has_the_loss_of_its_pieces),
    test_eval(what_cannot_be_seen_is_left_out_without_a_trace),
    test_eval(exhaustive_reading_gives_the_same_answers),
    test_eval(a_stopped_run_goes_on_to_the_same_figures),
    test_eval(a_line_that_was_cut_off_is_done_again),
    test_eval(more_draws_keep_those_there),
    test_eval(other_questions_and_systems_are_refused),
    test_eval(a_line_that_does_not_fit_leaves_no_half_of_it),
    cmocka_unit_test(lines_that_are_wrong_are_told_with_their_place),
    test_eval(what_cannot_be_measured_is_refused_before_it_begins),
    test_eval(each_allocation_may_fail),
};

SUITE_MAIN(tests)
