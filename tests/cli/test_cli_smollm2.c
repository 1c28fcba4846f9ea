/*
 * SmolLM2-135M-Instruct from its GGUF file through the program, against what transformers computed (tests/fixtures).
 * Skipped where the file has not been downloaded (scripts/get-smollm2.sh).
 */
#define SUITE_TIMEOUT 600

#include <math.h>

#include "run.h"

#define SMOLLM2 "build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf"
#define MEMORY "models/smollm2-memory"

static const char *smollm2(void)
{
    const char *path = suite_path(SMOLLM2);
    if (access(path, R_OK) != 0) {
        print_message("%s is not there: run scripts/get-smollm2.sh\n", path);
        skip();
    }
    return path;
}

static json_t *fixture(const char *name)
{
    json_t *object = json_load_file(suite_path(name), 0, NULL);
    assert_non_null(object);
    return object;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static void greedy_text_is_that_of_transformers(void **state)
{
    (void)state;
    const char *model = smollm2();
    json_t *prompts = fixture("tests/fixtures/smollm2/prompts.json"), *prompt;
    size_t i;
    json_array_foreach(prompts, i, prompt)
    {
        const char *need = text_of(prompt, "continuation_text");
        char count[16];
        snprintf(count, sizeof count, "%zu", json_array_size(json_object_get(prompt, "continuation")));
        bool special = json_is_true(json_object_get(prompt, "special"));
        run_result result = run("generate", model, "--prompt", text_of(prompt, "text"), "--dtype", "f32", "--max-tokens",
                                count, special ? "--special" : NULL);
        expect_code(result, 0);
        assert_string_equal(result.out, need);
        run_free(&result);
    }
    json_decref(prompts);
}

static void ids_are_those_of_the_tokenizers_package(void **state)
{
    (void)state;
    const char *model = smollm2();
    json_t *prompts = fixture("tests/fixtures/smollm2/prompts.json"), *prompt;
    size_t i;
    json_array_foreach(prompts, i, prompt)
    {
        bool special = json_is_true(json_object_get(prompt, "special"));
        run_result result = run("tokenize", model, "--prompt", text_of(prompt, "text"), "--json", special ? "--special" : NULL);
        expect_code(result, 0);
        json_t *object = run_json(result.out);
        assert_true(json_equal(json_object_get(object, "tokens"), json_object_get(prompt, "ids")));
        json_decref(object);
        run_free(&result);
    }
    json_decref(prompts);
}

static void score_is_that_of_transformers(void **state)
{
    (void)state;
    const char *model = smollm2();
    json_t *need = fixture("tests/fixtures/smollm2/score.json");
    run_result result = run("score", model, "--prompt", text_of(need, "text"), "--dtype", "f32", "--json");
    expect_code(result, 0);
    json_t *found = run_json(result.out);
    double difference = json_real_value(json_object_get(found, "nll")) - json_real_value(json_object_get(need, "nll"));
    if (!(fabs(difference) < 1e-4))
        fail_msg("nll differs by %g", difference);
    json_decref(found);
    json_decref(need);
    run_free(&result);
}

static void key_is_recalled_with_the_memory_and_only_with_it(void **state)
{
    (void)state;
    const char *model = smollm2(), *session = run_file("s");
    const char *document = suite_path("tests/fixtures/passkey/passkey-4000-20817.txt"), *memory = suite_path(MEMORY);
    run_result read = run("generate", model, "--adapter", memory, "--file", document, "--session", session, "--max-tokens", "0",
                          "--stats");
    expect_code(read, 0);
    json_t *stats = run_stats(read.err);
    assert_int_equal(run_integer(stats, "tokens_read"), 3978);
    assert_int_equal(run_integer(stats, "tokens_in_window"), 3978 % 256);
    assert_int_equal(run_integer(stats, "tokens_in_memory"), 3978 / 256 * 256);
    json_decref(stats);
    run_free(&read);
    for (int i = 0; i < 2; i++) { /* one reading, many questions */
        run_result asked = run("generate", model, "--adapter", memory, "--session", session, "--no-save", "--max-tokens", "5");
        expect_code(asked, 0);
        assert_string_equal(asked.out, "20817");
        run_free(&asked);
    }
    run_result bswa = run("generate", model, "--adapter", memory, "--mode", "bswa", "--file", document, "--max-tokens", "5");
    expect_code(bswa, 0);
    assert_null(strstr(bswa.out, "20817"));
    run_free(&bswa);
}

static void eval_tells_the_memory_from_none(void **state)
{
    (void)state;
    run_result result = run("eval", smollm2(), "--adapter", suite_path(MEMORY), "--task", "passkey", "--compare", "fam,bswa",
                            "--lengths", "2048", "--draws", "2", "--json");
    expect_code(result, 0);
    json_t *object = run_json(result.out), *cells = json_object_get(object, "cells");
    static const double need[] = {1, 0};
    for (size_t i = 0; i < 2; i++) {
        double exact = json_real_value(json_object_get(json_array_get(cells, i), "exact"));
        assert_true(fabs(exact - need[i]) < 1e-9);
    }
    assert_int_equal(run_integer(json_array_get(cells, 0), "tokens"), 2 * 2048);
    assert_true(run_integer(json_array_get(cells, 1), "tokens") <= 2 * 768);
    json_decref(object);
    run_free(&result);
}

static void chat_uses_the_models_template(void **state)
{
    (void)state;
    run_plan plan = {.arguments = {"chat", smollm2(), "--dtype", "f32", "--max-tokens", "40"},
                     .input = "What is the capital of France?\nAnd of Italy?\n"};
    run_result result = run_plan_now(plan);
    expect_code(result, 0);
    assert_string_equal(result.out, "The capital of France is Paris.\nThe capital of Italy is Rome.\n");
    run_free(&result);
}

static void bytes_without_a_token_are_told_once(void **state)
{
    (void)state;
    run_plan plan = {.arguments = {"tokenize", smollm2(), "--file", "-"}, .input = "ab\xff" "c\xfe\xff"};
    run_result result = run_plan_now(plan);
    expect_code(result, 0);
    expect_contains(result.err, "3 bytes for which the vocabulary has no token were left out, the first at byte 2");
    run_free(&result);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(greedy_text_is_that_of_transformers),
    cmocka_unit_test(ids_are_those_of_the_tokenizers_package),
    cmocka_unit_test(score_is_that_of_transformers),
    test_in_folder(key_is_recalled_with_the_memory_and_only_with_it),
    cmocka_unit_test(eval_tells_the_memory_from_none),
    cmocka_unit_test(chat_uses_the_models_template),
    cmocka_unit_test(bytes_without_a_token_are_told_once),
};

SUITE_MAIN(tests)
