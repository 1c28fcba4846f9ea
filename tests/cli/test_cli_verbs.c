/*
 * The verbs on a small random model: input, output, JSON, sessions.
 */
#include "format/safetensors.h"
#include "run.h"
#include "tiny_model.h"

static const char text[] = "In the beginning God created the heaven and the earth.\nAnd the earth was without form, and "
                           "void; and darkness was upon the face of the deep.\n";

static char *ids_of(const char *model, const char *first, const char *a, const char *b, const char *c)
{
    run_result result = run("tokenize", model, first, a, b, c);
    expect_code(result, 0);
    free(result.err);
    return result.out;
}

/* ---- tokenize ----------------------------------------------------------------------------------------------------- */

static void tokenize_gives_ids_that_give_the_text(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    char *ids = ids_of(model, "--prompt", text, NULL, NULL);
    assert_int_equal(ids[strlen(ids) - 1], '\n');
    assert_int_equal(strspn(ids, "0123456789 \n"), strlen(ids));
    run_result result = run("tokenize", model, "--decode", "--ids", ids);
    expect_code(result, 0);
    assert_string_equal(result.out, text);
    run_free(&result);
    result = run("tokenize", model, "--decode", "--ids-file", run_write_text("ids", ids));
    assert_string_equal(result.out, text);
    run_free(&result);
    result = run("tokenize", model, "--prompt", text, "--json");
    json_t *object = run_json(result.out), *tokens = json_object_get(object, "tokens");
    size_t i;
    json_t *id;
    char *p = ids;
    json_array_foreach(tokens, i, id)
        assert_int_equal(json_integer_value(id), strtol(p, &p, 10));
    assert_string_equal(p, "\n");
    json_decref(object);
    run_free(&result);
    free(ids);
}

static void sources_are_one_text_in_order(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    char *whole = ids_of(model, "--prompt", "Call me Ishmael.", NULL, NULL);
    run_plan plan = {{"tokenize", model, "--prompt", "mael.", "--file", run_write_text("a", "Call m"), "--file", "-",
                      "--file", run_write_text("b", "Ish")}, .input = "e "};
    run_result result = run_plan_now(plan);
    expect_code(result, 0);
    assert_string_equal(result.out, whole);
    run_free(&result);
    free(whole);
}

static void special_tokens_are_text_unless_asked_for(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    char *plain = ids_of(model, "--prompt", "<|im_end|>", NULL, NULL);
    char *special = ids_of(model, "--prompt", "<|im_end|>", "--special", NULL);
    assert_string_equal(special, "2\n");
    assert_string_not_equal(plain, special);
    run_result result = run("tokenize", model, "--decode", "--ids", plain);
    assert_string_equal(result.out, "<|im_end|>");
    run_free(&result);
    result = run("tokenize", model, "--decode", "--ids", "[1,2]");
    assert_string_equal(result.out, "<|im_start|><|im_end|>");
    run_free(&result);
    free(plain);
    free(special);
}

static void empty_text_has_no_tokens(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    run_result result = run("tokenize", model, "--prompt", "", "--json");
    assert_string_equal(result.out, "{\"tokens\":[]}\n");
    run_free(&result);
    expect_refused(run("generate", model, "--prompt", ""), 2, "the input: found no tokens");
    expect_refused(run("score", model, "--prompt", ""), 2, "found no tokens, need at least two");
    expect_refused(run("score", model, "--prompt", "a"), 2, "found one token, need at least two");
}

static void wrong_ids_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *ids, *need;
    } cases[] = {
        {"1 -2", "ids: byte 2: found '-'"},          {"[1,2", "byte 4: found the end, need ']'"},
        {"[1 2]", "byte 3: found '2', need ','"},    {"[1,]", "byte 3: found ']'"},
        {"[1,,2]", "byte 3: found ','"},             {"1.5", "byte 1: found '.'"},
        {"2001", "byte 3: found an id of 2001"},     {"99999999999999999999", "found an id of"},
        {"[1] 2", "byte 4: found '2', need nothing"}, {"abc", "byte 0: found 'a'"},
        {"[[1]]", "byte 1: found '['"},              {"1,2", "byte 1: found ','"},
    };
    const char *model = tiny_model("m", "gpt2");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refused(run("tokenize", model, "--decode", "--ids", cases[i].ids), 3, cases[i].need);
        run_result result = run("score", model, "--ids-file", run_write_text("ids", cases[i].ids));
        expect_code(result, 3);
        expect_contains(result.err, cases[i].need);
        run_free(&result);
    }
    run_result result = run("tokenize", model, "--decode", "--ids", " [ 100 ,\n200 ] ");
    expect_code(result, 0);
    run_free(&result);
}

/* ---- generate ----------------------------------------------------------------------------------------------------- */

static char *generated(run_plan plan)
{
    run_result result = run_plan_now(plan);
    expect_code(result, 0);
    free(result.err);
    return result.out;
}

#define generate(...) generated((run_plan){.arguments = {"generate", __VA_ARGS__}})

static void same_seed_gives_the_same_text(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    char *greedy = generate(model, "--prompt", text, "--max-tokens", "30");
    char *again = generate(model, "--prompt", text, "--max-tokens", "30");
    char *one = generate(model, "--prompt", text, "--max-tokens", "30", "--temperature", "1", "--seed", "1");
    char *one_again = generate(model, "--prompt", text, "--max-tokens", "30", "--temperature", "1", "--seed", "1");
    char *two = generate(model, "--prompt", text, "--max-tokens", "30", "--temperature", "1", "--seed", "2");
    char *k = generate(model, "--prompt", text, "--max-tokens", "30", "--temperature", "1", "--seed", "2", "--top-k", "1");
    assert_string_equal(greedy, again);
    assert_string_equal(one, one_again);
    assert_string_not_equal(one, two);
    assert_string_not_equal(one, greedy);
    assert_string_equal(k, greedy);
    assert_true(strlen(greedy) > 20);
    free(greedy), free(again), free(one), free(one_again), free(two), free(k);
}

static void bias_and_stop_strings_shape_the_text(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    char *ids = ids_of(model, "--prompt", " the", NULL, NULL), bias[64];
    snprintf(bias, sizeof bias, "%d=1000", atoi(ids));
    char *the = generate(model, "--prompt", text, "--max-tokens", "3", "--logit-bias", bias);
    assert_string_equal(the, " the the the");
    char *stopped = generate(model, "--prompt", text, "--max-tokens", "3", "--logit-bias", bias, "--stop", "zzz", "--stop",
                             "he th");
    assert_string_equal(stopped, " t");
    free(ids), free(the), free(stopped);
}

static void generate_stats_add_up(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *ids = run_write_ids("ids", 1000, 2000, 3);
    run_result result = run("generate", model, "--ids-file", ids, "--max-tokens", "7", "--stats", "--logit-bias", "2=-inf",
                            "--logit-bias", "0=-inf");
    expect_code(result, 0);
    json_t *stats = run_stats(result.err);
    assert_int_equal(run_integer(stats, "tokens_read"), 1007);
    assert_int_equal(run_integer(stats, "input_tokens"), 1000);
    assert_int_equal(run_integer(stats, "generated"), 7);
    assert_int_equal(run_integer(stats, "blocks"), 1007 / TINY_BLOCK);
    assert_int_equal(run_integer(stats, "tokens_in_memory"), 1007 / TINY_BLOCK * TINY_BLOCK);
    assert_int_equal(run_integer(stats, "tokens_in_window"), 1007 % TINY_BLOCK);
    assert_true(run_integer(stats, "peak_bytes") > run_integer(stats, "allocated_bytes"));
    json_decref(stats);
    run_free(&result);
}

static void full_mode_refuses_what_it_cannot_hold_before_reading(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *ids = run_write_ids("ids", 101, 2000, 3);
    run_result result = run("generate", model, "--mode", "full", "--context", "100", "--ids-file", ids, "--session",
                            run_file("s"));
    expect_code(result, 2);
    expect_contains(result.err, "100");
    expect_contains(result.err, "--mode bswa");
    expect_contains(result.err, "--adapter");
    assert_int_equal(result.out_size, 0);
    assert_int_equal(access(run_file("s"), F_OK), -1);
    run_free(&result);
    ids = run_write_ids("ids", 100, 2000, 3);
    free(generate(model, "--mode", "full", "--context", "100", "--ids-file", ids, "--max-tokens", "0"));
}

static void failing_output_does_not_lose_the_session(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *session = run_file("s");
    run_plan plan = {{"generate", model, "--prompt", text, "--session", session}, .output_path = "/dev/full"};
    expect_refused(run_plan_now(plan), 5, "standard output: cannot write");
    run_result result = run("inspect", session);
    expect_code(result, 0);
    run_free(&result);
    plan.output_path = NULL;
    plan.close_output = true;
    run_result closed = run_plan_now(plan);
    expect_code(closed, 5);
    run_free(&closed);
}

static void works_without_home_in_a_read_only_folder_with_few_files(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    assert_int_equal(mkdir(run_file("ro"), 0555), 0);
    run_plan plan = {{"generate", model, "--prompt", text, "--max-tokens", "3"}, .directory = run_file("ro"),
                     .open_files = 16};
    free(generated(plan));
}

/* ---- score, inspect, bench ---------------------------------------------------------------------------------------- */

static void score_depths_add_up_to_the_whole(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2"), *ids = run_write_ids("ids", 3000, 2000, 3);
    run_result result = run("score", model, "--ids-file", ids, "--json", "--by-depth");
    expect_code(result, 0);
    json_t *object = run_json(result.out), *ranges = json_object_get(object, "by_depth"), *range;
    assert_int_equal(run_integer(object, "tokens"), 3000);
    double nll = json_real_value(json_object_get(object, "nll")), sum = 0;
    assert_true(fabs(log(json_real_value(json_object_get(object, "perplexity"))) - nll) < 1e-9);
    assert_true(run_integer(object, "peak_bytes") > 0 && run_integer(object, "allocated_bytes") > 0);
    assert_true(json_is_real(json_object_get(object, "seconds")));
    long long at = 0;
    size_t i;
    json_array_foreach(ranges, i, range)
    {
        long long from = run_integer(range, "from"), to = run_integer(range, "to");
        assert_int_equal(from, at);
        sum += json_real_value(json_object_get(range, "nll")) * (double)(to - from - (i == 0));
        at = to;
    }
    assert_int_equal(at, 3000);
    assert_int_equal(i, 5); /* 0, 256, 512, 1024, 2048 */
    assert_true(fabs(sum / 2999 - nll) < 1e-9);
    json_decref(object);
    run_free(&result);
    result = run("score", model, "--ids-file", ids);
    expect_contains(result.out, "tokens      3000\n");
    assert_null(strstr(result.out, "from"));
    run_free(&result);
}

/* Mean nll over tokens 1 … T-1 of a golden case, from the logits that the reference computed. */
static double golden_nll(const char *folder, const json_t *tokens)
{
    char path[600];
    fam_memory memory;
    fam_safetensors *file = NULL;
    fam_memory_init(&memory);
    snprintf(path, sizeof path, "%s/expected.safetensors", folder);
    assert_int_equal(fam_safetensors_open(&file, &memory, path, NULL), FAM_OK);
    const fam_tensor *logits = fam_safetensors_tensor(file, "logits");
    int64_t rows = logits->shape[0], columns = logits->shape[1];
    double sum = 0;
    for (int64_t t = 1; t < rows; t++) {
        const char *row = (const char *)logits->data + (t - 1) * columns * 4;
        float value;
        double total = 0, target = 0;
        for (int64_t v = 0; v < columns; v++) {
            memcpy(&value, row + 4 * v, 4);
            total += exp(value);
            if (v == json_integer_value(json_array_get(tokens, (size_t)t)))
                target = value;
        }
        sum += log(total) - target;
    }
    fam_safetensors_free(file);
    return sum / (double)(rows - 1);
}

static void score_of_the_golden_cases_is_that_of_the_reference(void **state)
{
    (void)state;
    static const char *const cases[] = {"bswa_m0",  "bswa_m2_train",  "fam_float", "fam_lora_train", "fam_one_block",
                                        "fam_paper", "fam_rms_init_m3", "fam_rms_m1", "fam_train",   "full_gqa_tied", "swa"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char model[512], path[600];
        snprintf(model, sizeof model, "%s/tests/golden/%s", suite_root(), cases[i]);
        snprintf(path, sizeof path, "%s/case.json", model);
        json_t *object = json_load_file(path, 0, NULL), *tokens = json_object_get(object, "tokens");
        char *ids = json_dumps(tokens, JSON_COMPACT);
        run_plan plan = {.arguments = {"score", model, "--ids-file", run_write_text("ids", ids), "--json", "--dtype", "f32"}};
        snprintf(path, sizeof path, "%s/adapter", model);
        if (access(path, F_OK) == 0) {
            plan.arguments[7] = "--adapter";
            plan.arguments[8] = path;
        }
        run_result result = run_plan_now(plan);
        expect_code(result, 0);
        json_t *score = run_json(result.out);
        assert_int_equal(run_integer(score, "tokens"), json_array_size(tokens));
        double need = golden_nll(model, tokens), found = json_real_value(json_object_get(score, "nll"));
        if (!(fabs(found - need) < 2e-4))
            fail_msg("%s: nll %.6f, need %.6f", cases[i], found, need);
        json_decref(score);
        json_decref(object);
        free(ids);
        run_free(&result);
    }
}

static void inspect_tells_the_memory_of_a_run(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    run_result result = run("inspect", model, "--json", "--mode", "bswa", "--block-size", "128");
    expect_code(result, 0);
    json_t *object = run_json(result.out), *memory = json_object_get(object, "memory");
    assert_string_equal(json_string_value(json_object_get(object, "kind")), "model");
    long long ring = run_integer(memory, "ring");
    assert_int_equal(run_integer(memory, "state"), 0);
    assert_true(run_integer(memory, "total") >= run_integer(memory, "weights") + ring + run_integer(memory, "scratch"));
    json_decref(object);
    run_free(&result);
    result = run("inspect", model, "--json", "--mode", "fam", "--block-size", "256");
    object = run_json(result.out);
    memory = json_object_get(object, "memory");
    assert_int_equal(run_integer(memory, "ring"), 2 * ring);
    assert_true(run_integer(memory, "state") > 0);
    json_decref(object);
    run_free(&result);
    result = run("inspect", suite_path("tests/golden/fam_lora_train/adapter"), "--json");
    expect_code(result, 0);
    object = run_json(result.out);
    assert_string_equal(json_string_value(json_object_get(object, "kind")), "adapter");
    assert_null(json_object_get(object, "memory"));
    json_decref(object);
    run_free(&result);
}

/* The model's own settings, an adapter's or options: refused in a line, without the memory for it, and in no time. */
static void inspect_refuses_sizes_that_no_machine_has(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    expect_refused(run("inspect", model, "--json", "--mode", "bswa", "--block-size", "1073741824", "--memory-segments",
                       "1048575"), 2, "fam: ring of keys and values: found a size of");
    expect_refused(run("inspect", model, "--mode", "full", "--context", "1099511627776"), 2, "found a size of");
    char *adapter = strdup(run_file("extreme"));
    assert_int_equal(mkdir(adapter, 0755), 0);
    run_write_text("extreme/fam_config.json",
                   "{\"mode\": \"bswa\", \"block_size\": 1073741824, \"memory_segments\": 1048575}");
    expect_refused(run("inspect", model, "--adapter", adapter), 2, "found a size of");
    free(adapter);
}

/* What the program takes is what the library takes. */
static void settings_have_the_limits_of_the_library(void **state)
{
    (void)state;
    static const struct {
        const char *option, *mode, *most, *beyond;
    } limits[] = {{"--block-size", "full", "2147483648", "2147483649"},
                  {"--window", "swa", "2147483648", "2147483649"},
                  {"--memory-segments", "bswa", "1048576", "1048577"},
                  {"--context", "full", "1099511627776", "1099511627777"},
                  {"--fam-length", "fam", "2147483648", "2147483649"},
                  {"--threads", "full", "1024", "1025"}};
    const char *model = tiny_model("m", "gpt2");
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        char need[96];
        snprintf(need, sizeof need, "fam: %s: found \"%s\", need an integer from", limits[i].option, limits[i].beyond);
        expect_refused(run("inspect", model, "--mode", limits[i].mode, limits[i].option, limits[i].beyond), 2, need);
        run_result result = run("inspect", model, "--mode", limits[i].mode, limits[i].option, limits[i].most);
        if (!strcmp(limits[i].option, "--fam-length"))
            assert_non_null(strstr(result.err, "fam.prompt: found 8 x 32, need 2147483648"));
        else if (!strcmp(limits[i].option, "--context"))
            assert_non_null(strstr(result.err, "found a size of"));
        else
            assert_int_equal(result.code, 0);
        run_free(&result);
    }
}

static void bench_tells_every_length_and_depth(void **state)
{
    (void)state;
    run_result result = run("bench", tiny_model("m", NULL), "--prompt-tokens", "10,100", "--depths", "200,0", "--repetitions",
                            "2", "--decode-tokens", "3", "--json");
    expect_code(result, 0);
    json_t *object = run_json(result.out), *item;
    size_t i;
    static const long long lengths[] = {10, 100}, depths[] = {0, 200};
    json_array_foreach(json_object_get(object, "prefill"), i, item)
    {
        assert_int_equal(run_integer(item, "tokens"), lengths[i]);
        double speed = json_real_value(json_object_get(item, "tok_s")), min = json_real_value(json_object_get(item, "min"));
        assert_true(min > 0 && min <= speed && speed <= json_real_value(json_object_get(item, "max")));
    }
    assert_int_equal(i, 2);
    json_array_foreach(json_object_get(object, "decode"), i, item) assert_int_equal(run_integer(item, "depth"), depths[i]);
    assert_int_equal(i, 2);
    json_decref(object);
    run_free(&result);
}

static const struct CMUnitTest tests[] = {
    test_in_folder(tokenize_gives_ids_that_give_the_text),
    test_in_folder(sources_are_one_text_in_order),
    test_in_folder(special_tokens_are_text_unless_asked_for),
    test_in_folder(empty_text_has_no_tokens),
    test_in_folder(wrong_ids_are_refused_with_their_place),
    test_in_folder(same_seed_gives_the_same_text),
    test_in_folder(bias_and_stop_strings_shape_the_text),
    test_in_folder(generate_stats_add_up),
    test_in_folder(full_mode_refuses_what_it_cannot_hold_before_reading),
    test_in_folder(failing_output_does_not_lose_the_session),
    test_in_folder(works_without_home_in_a_read_only_folder_with_few_files),
    test_in_folder(score_depths_add_up_to_the_whole),
    test_in_folder(score_of_the_golden_cases_is_that_of_the_reference),
    test_in_folder(inspect_tells_the_memory_of_a_run),
    test_in_folder(inspect_refuses_sizes_that_no_machine_has),
    test_in_folder(settings_have_the_limits_of_the_library),
    test_in_folder(bench_tells_every_length_and_depth),
};

SUITE_MAIN(tests)
