/*
 * fam eval: tables, JSON, what is compared, stopping and going on. The model is a random one that says digits.
 */
#include "run.h"
#include "snapshot.h"
#include "tiny_model.h"

#define ARITHMETIC "--isa", "portable", "--threads", "1", "--dtype", "f32"

/* Standard output up to the empty line before the times, which are never the same. */
static char *without_times(const run_result *result)
{
    char *end = NULL;
    for (char *p = result->out; (p = strstr(p, "\n\n")); p++)
        end = p + 1;
    assert_non_null(end);
    expect_contains(end, ": read ");
    return strndup(result->out, (size_t)(end - result->out));
}

static void tables_are_as_in_the_snapshots(void **state)
{
    (void)state;
    const char *model = tiny_model_of("m", "digits", true);
    run_result result = run("eval", model, "--task", "passkey", "--digits", "1", "--lengths", "200,300", "--draws",
                            "20", "--compare", "fam,bswa", ARITHMETIC);
    expect_code(result, 0);
    char *text = without_times(&result);
    snapshot_check("tests/cli/snapshots/eval-passkey.txt", text);
    free(text);
    run_free(&result);
    result = run("eval", model, "--task", "needle", "--digits", "1", "--lengths", "250,300", "--draws", "5",
                 "--task-depths", "0,0.25,1", "--keys", "1,2", "--compare", "fam,swa", "--window", "100", ARITHMETIC);
    expect_code(result, 0);
    text = without_times(&result);
    snapshot_check("tests/cli/snapshots/eval-needle.txt", text);
    free(text);
    run_free(&result);
    result = run("eval", model, "--task", "recall", "--digits", "1", "--lengths", "200", "--draws", "10", "--keys",
                 "2,8", "--asked", "2", ARITHMETIC);
    expect_code(result, 0);
    text = without_times(&result);
    snapshot_check("tests/cli/snapshots/eval-recall.txt", text);
    free(text);
    run_free(&result);
}

/* All members that docs/EVAL.md promises, and no other. */
static void expect_members(const json_t *object, const char *members)
{
    char found[512] = "";
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char need[64];
        snprintf(need, sizeof need, " %s ", key);
        expect_contains(members, need);
        strcat(strcat(found, key), " ");
    }
    size_t words = 0;
    for (const char *p = members + 1; *p; p++)
        words += *p == ' ';
    if (words != json_object_size(object))
        fail_msg("found %s, need%s", found, members);
}

static void json_has_the_members_of_the_document(void **state)
{
    (void)state;
    const char *model = tiny_model_of("m", "digits", true), *out = run_file("out");
    run_result result =
        run("eval", model, "--task", "passkey", "--lengths", "200", "--draws", "3", "--compare", "fam,bswa",
            "--task-depths", "0.5", "--seed", "18446744073709551615", "--json", "--out", out);
    expect_code(result, 0);
    json_t *object = run_json(result.out), *file = json_load_file(run_file("out/results.json"), 0, NULL);
    assert_true(json_equal(object, file));
    expect_members(object, " kind version task model seed draws digits asked complete systems cells by_depth notes ");
    const json_t *systems = json_object_get(object, "systems"), *cells = json_object_get(object, "cells");
    expect_members(json_array_get(systems, 1), " name mode adapter block_size memory_segments fam_length state_norm "
                                               "fam_positions window dtype reach ");
    expect_members(json_array_get(cells, 0), " system length depth depth_from depth_to keys draws exact exact_low "
                                             "exact_high parts digits nll seconds tokens ");
    assert_string_equal(json_string_value(json_object_get(object, "seed")), "18446744073709551615");
    assert_true(json_is_null(json_object_get(json_array_get(systems, 0), "reach")));
    assert_int_equal(run_integer(json_array_get(systems, 1), "reach"), TINY_BLOCK - 1);
    assert_int_equal(json_array_size(cells), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(cells, 1), "system")), "bswa");
    json_decref(object);
    json_decref(file);
    run_free(&result);
    /* as text: the same members, the shares null, by_depth filled */
    char words[6000] = "";
    for (int i = 0; i < 500; i++)
        strcat(words, "and so on, ");
    result =
        run("eval", model, "--task", "text", "--lengths", "300", "--file", run_write_text("text", words), "--json");
    expect_code(result, 0);
    object = run_json(result.out);
    const json_t *depths = json_object_get(object, "by_depth"),
                 *cell = json_array_get(json_object_get(object, "cells"), 0);
    assert_int_equal(json_array_size(depths), 2);
    expect_members(json_array_get(depths, 0), " system length from to draws nll nll_low nll_high ");
    assert_true(json_is_null(json_object_get(cell, "exact")) && json_is_null(json_object_get(cell, "depth")));
    assert_true(run_integer(cell, "draws") > 3 && json_is_real(json_object_get(cell, "nll")));
    json_decref(object);
    run_free(&result);
    result =
        run("eval", model, "--task", "text", "--lengths", "300", "--file", run_file("text"), "--compare", "fam,bswa");
    expect_code(result, 0);
    expect_contains(result.out, "text: nats per token");
    expect_contains(result.out, "       300          256          300 ");
    run_free(&result);
}

/* Each adapter by its last name, by all of its path where two end alike; `none` is the model alone. */
static void adapters_are_compared_by_name(void **state)
{
    (void)state;
    char *model = strdup(tiny_model_of("m", "digits", true)), *paths[3], file[700];
    static const char *const names[] = {"a", "b", "b/a"};
    for (int i = 0; i < 3; i++) {
        paths[i] = strdup(run_file(names[i]));
        assert_int_equal(mkdir(paths[i], 0755), 0);
        char config[32];
        snprintf(config, sizeof config, "%.8s/fam_config.json", names[i]);
        run_write_text(config, i == 1 ? "{\"block_size\":32}" : "{\"block_size\":16}");
    }
#define NAMES(...)                                                                                                     \
    result = run("eval", model, "--task", "passkey", "--lengths", "200", "--draws", "1", "--json", __VA_ARGS__);       \
    expect_code(result, 0);                                                                                            \
    object = run_json(result.out);                                                                                     \
    systems = json_object_get(object, "systems")
#define NAME(at) json_string_value(json_object_get(json_array_get(systems, at), "name"))
    run_result result;
    json_t *object, *systems;
    NAMES("--compare-adapter", paths[0], "--compare-adapter", paths[1], "--compare-adapter", "none");
    assert_string_equal(NAME(0), "a");
    assert_string_equal(NAME(1), "b");
    assert_string_equal(NAME(2), "none");
    assert_int_equal(run_integer(json_array_get(systems, 0), "block_size"), 16);
    assert_int_equal(run_integer(json_array_get(systems, 1), "block_size"), 32);
    assert_int_equal(run_integer(json_array_get(systems, 2), "block_size"), TINY_BLOCK);
    assert_string_equal(json_string_value(json_object_get(json_array_get(systems, 0), "adapter")), paths[0]);
    json_decref(object);
    run_free(&result);
    NAMES("--compare-adapter", paths[0], "--compare-adapter", paths[2], "--compare", "fam,bswa");
    assert_int_equal(json_array_size(systems), 4);
    snprintf(file, sizeof file, "%s/bswa", paths[2]);
    assert_string_equal(NAME(3), file);
    json_decref(object);
    run_free(&result);
    NAMES("--adapter", paths[1], "--compare", "fam,bswa");
    assert_string_equal(NAME(1), "bswa");
    assert_int_equal(run_integer(json_array_get(systems, 1), "block_size"), 32);
    json_decref(object);
    run_free(&result);
    for (int i = 0; i < 3; i++)
        free(paths[i]);
    free(model);
}

static int lines_of(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), lines = 0;
    if (fd < 0)
        return 0;
    char *text = run_read_all(fd, NULL);
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    free(text);
    return lines;
}

/* Stopped by a signal once and killed once, the command ends with all draws, none of them made twice. */
static void a_command_that_was_stopped_does_the_rest(void **state)
{
    (void)state;
    enum { DRAWS = 60 };
    static const int signals[] = {SIGINT, SIGKILL};
    const char *model = tiny_model_of("m", "digits", true);
    char *log = strdup(run_file("out/draws.jsonl"));
    run_plan plan = {.arguments = {"eval", model, "--task", "passkey", "--lengths", "4000", "--draws", "60",
                                   "--threads", "1", "--out", run_file("out"), "--exhaustive", "--json"}};
    for (int i = 0; i < 2; i++) {
        int before = lines_of(log);
        run_child child = run_start(&plan);
        siginfo_t ended = {0};
        while (lines_of(log) < before + 3 && ended.si_pid == 0) {
            usleep(2000);
            assert_int_equal(waitid(P_PID, (id_t)child.pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
        }
        kill(child.pid, signals[i]);
        run_result result = run_finish(child);
        if (signals[i] == SIGINT) {
            expect_code(result, 130);
            expect_contains(result.err, "fam: interrupted after ");
            expect_contains(result.err, "the same command does the rest");
            json_t *object = run_json(result.out), *file = json_load_file(run_file("out/results.json"), 0, NULL);
            assert_true(json_equal(object, file) && json_is_false(json_object_get(object, "complete")));
            int64_t made = run_integer(json_array_get(json_object_get(object, "cells"), 0), "draws");
            assert_in_range(made, 2, DRAWS - 1);
            assert_int_equal(lines_of(log), made + 1);
            json_decref(object);
            json_decref(file);
        } else {
            assert_int_equal(result.code, 1000 + SIGKILL);
        }
        run_free(&result);
    }
    run_result rest = run_plan_now(plan);
    expect_code(rest, 0);
    assert_int_equal(lines_of(log), DRAWS + 1);
    json_t *object = run_json(rest.out);
    assert_true(json_is_true(json_object_get(object, "complete")));
    json_decref(object);
    run_free(&rest);
    free(log);
}

static const struct CMUnitTest tests[] = {
    test_in_folder(tables_are_as_in_the_snapshots),
    test_in_folder(json_has_the_members_of_the_document),
    test_in_folder(adapters_are_compared_by_name),
    test_in_folder(a_command_that_was_stopped_does_the_rest),
};

SUITE_MAIN(tests)
