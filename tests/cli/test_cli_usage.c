/*
 * The command line itself: help, mistakes (rows A of the hostile inputs), standard streams that do not work, limits.
 */
#include "run.h"
#include "snapshot.h"

#define TINY "tests/golden/fam_rms_m1"

static const char *const verbs[] = {"generate", "chat", "score", "tokenize", "inspect", "bench", "export", "train", "eval", "plot"};
enum { VERBS = sizeof verbs / sizeof *verbs };

static void help_is_as_in_the_snapshots(void **state)
{
    (void)state;
    char name[128];
    run_result result = run("--help");
    expect_code(result, 0);
    assert_string_equal(result.err, "");
    snapshot_check("tests/cli/snapshots/help.txt", result.out);
    run_free(&result);
    for (size_t i = 0; i < VERBS; i++) {
        result = run(verbs[i], "--help");
        expect_code(result, 0);
        assert_string_equal(result.err, "");
        snprintf(name, sizeof name, "tests/cli/snapshots/help-%s.txt", verbs[i]);
        snapshot_check(name, result.out);
        run_free(&result);
    }
}

static char *output_of(const char *command)
{
    static char text[1 << 20];
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t size = fread(text, 1, sizeof text - 1, pipe);
    text[size] = '\0';
    assert_int_equal(pclose(pipe), 0);
    return text;
}

static void files_made_from_the_option_table_are_up_to_date(void **state)
{
    (void)state;
    snapshot_check("docs/COMMANDS.md", output_of(FAM_BUILD_DIR "/cli/fam_docs markdown"));
    snapshot_check("docs/fam.1", output_of(FAM_BUILD_DIR "/cli/fam_docs manual"));
    snapshot_check("cli/completion.bash", output_of(FAM_BUILD_DIR "/cli/fam_docs completion"));
}

static void help_names_every_verb_and_version_is_told(void **state)
{
    (void)state;
    run_result result = run("--help");
    for (size_t i = 0; i < VERBS; i++)
        expect_contains(result.out, verbs[i]);
    run_free(&result);
    result = run("--version");
    expect_code(result, 0);
    assert_string_equal(result.out, "fam 0.1.0\n");
    run_free(&result);
}

/* Command lines whose whole answer is kept. */
static const char *const mistakes[][10] = {
    {NULL},
    {"frobnicate"},
    {"train", "recipe.toml"},
    {"gen", TINY},
    {"--frobnicate"},
    {"--help", "generate"},
    {"generate"},
    {"generate", ""},
    {"generate", TINY, "--frobnicate"},
    {"generate", TINY, "--promp", "x"},
    {"generate", TINY, "-p", "x"},
    {"generate", TINY, "extra", "--prompt", "x"},
    {"generate", TINY, "--prompt"},
    {"generate", TINY, "--prompt", "--max-tokens", "5"},
    {"generate", TINY, "--seed", "1", "--seed", "2"},
    {"generate", TINY, "--special=yes"},
    {"generate", TINY},
    {"generate", TINY, "--special", "--ids-file", "ids"},
    {"generate", TINY, "--file", ""},
    {"generate", TINY, "--file", "tests"},
    {"generate", TINY, "--file", "no/such/file"},
    {"generate", TINY, "--file", "-", "--file", "-"},
    {"generate", "no/such/model", "--prompt", "x"},
    {"generate", TINY, "--prompt", "x"},
    {"generate", TINY, "--max-tokens", "12x"},
    {"generate", TINY, "--temperature", "nan"},
    {"generate", TINY, "--top-p", "0"},
    {"generate", TINY, "--min-p", "1.5"},
    {"generate", TINY, "--seed", "18446744073709551616"},
    {"generate", TINY, "--stop", ""},
    {"generate", TINY, "--logit-bias", "5"},
    {"generate", TINY, "--logit-bias", "AI=1"},
    {"generate", TINY, "--logit-bias", "1=nan"},
    {"generate", TINY, "--adapter", "dir:"},
    {"generate", TINY, "--adapter", "dir:abc"},
    {"generate", TINY, "--adapter", ":2"},
    {"generate", TINY, "--mode", "FAM"},
    {"generate", TINY, "--device", "gpu"},
    {"generate", TINY, "--device", "cuda:-1"},
    {"generate", TINY, "--dtype", "f16"},
    {"generate", TINY, "--threads", "0"},
    {"generate", TINY, "--threads", "1000000000"},
    {"generate", TINY, "--no-save", "--prompt", "x"},
    {"generate", TINY, "--save-every", "5", "--prompt", "x"},
    {"generate", TINY, "--session", "no/such/folder/s", "--prompt", "x"},
    {"generate", TINY, "--session", "tests", "--prompt", "x"},
    {"generate", TINY, "--session", "no-such-session", "--no-save", "--prompt", "x"},
    {"generate", TINY, "--mode", "bswa", "--window", "5", "--ids-file", "tests/cli/ids.json"},
    {"generate", TINY, "--mode", "full", "--memory-segments", "1", "--ids-file", "tests/cli/ids.json"},
    {"generate", TINY, "--context", "100", "--ids-file", "tests/cli/ids.json"},
    {"generate", TINY, "--json", "--prompt", "x"},
    {"chat", TINY, "--prompt", "x"},
    {"chat", TINY, "--max-tokens", "0"},
    {"score", TINY},
    {"score", TINY, "--max-tokens", "5", "--prompt", "x"},
    {"tokenize", TINY},
    {"tokenize", TINY, "--decode"},
    {"tokenize", TINY, "--decode", "--prompt", "x"},
    {"tokenize", TINY, "--decode", "--json", "--ids", "1"},
    {"tokenize", TINY, "--ids", "1"},
    {"inspect", "no/such/file"},
    {"inspect", "tests/cli"},
    {"inspect", "tests/cli/run.h"},
    {"inspect", "tests/golden/fam_lora_train/adapter", "--mode", "fam"},
    {"bench", TINY, "--depths", "1,,2"},
    {"bench", TINY, "--depths", "-1"},
    {"bench", TINY, "--prompt-tokens", "0"},
    {"bench", TINY, "--repetitions", "0"},
    {"bench", TINY, "--mode", "full", "--context", "100", "--depths", "100"},
    {"eval", TINY},
    {"eval", TINY, "--task", "riddle"},
    {"eval", TINY, "--task", "passkey"},
    {"eval", TINY, "--task", "passkey", "--draws", "0"},
    {"eval", TINY, "--task", "passkey", "--task-depths", "0,1.5"},
    {"eval", TINY, "--task", "passkey", "--task-depths", "0,,1"},
    {"eval", TINY, "--task", "passkey", "--compare", "fam,bsw"},
    {"eval", TINY, "--task", "passkey", "--compare", "fam,bswa", "--mode", "fam"},
    {"eval", TINY, "--task", "passkey", "--compare", "fam,bswa", "--window", "5"},
    {"eval", TINY, "--task", "passkey", "--compare-adapter", "no/such/adapter"},
    {"eval", "tests/golden/full_gqa_tied", "--task", "passkey", "--compare", "fam,bswa"},
};

static void mistakes_are_answered_as_in_the_snapshot(void **state)
{
    (void)state;
    char *all = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&all, &size);
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        run_plan plan = {.directory = suite_root()};
        fprintf(out, "$ fam");
        for (size_t k = 0; k < 10 && mistakes[i][k]; k++) {
            plan.arguments[k] = mistakes[i][k];
            fprintf(out, mistakes[i][k][0] ? " %s" : " ''%s", mistakes[i][k]);
        }
        run_result result = run_plan_now(plan);
        fprintf(out, "\n%s%s[%d]\n\n", result.out, result.err, result.code);
        if (result.code < 2 || result.code > 5 || strncmp(result.err, "fam: ", 5) != 0 || result.out_size != 0 ||
            strchr(result.err, '\n') != result.err + strlen(result.err) - 1)
            fail_msg("command %zu (%s %s): code %d, out %.200s, err %.400s", i, mistakes[i][0], mistakes[i][1], result.code,
                     result.out, result.err);
        run_free(&result);
    }
    fclose(out);
    snapshot_check("tests/cli/snapshots/mistakes.txt", all);
    free(all);
}

static void wrong_numbers_are_refused_for_every_number(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "abc", "12x", "1e999", "nan", "inf", "18446744073709551616",
                                        "99999999999999999999999999", " 5", "5 ", "0x10", "+5", "--5", "1,5", "5\n", "٥"};
    static const char *const integers[] = {"--max-tokens", "--top-k", "--seed", "--threads", "--block-size",
                                           "--memory-segments", "--fam-length", "--window", "--context", "--save-every"};
    static const char *const reals[] = {"--temperature", "--top-p", "--min-p", "--repetition-penalty",
                                        "--presence-penalty", "--frequency-penalty"};
    char need[64];
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
            snprintf(need, sizeof need, "fam: %s: found \"", integers[i]);
            expect_refused(run("generate", "model", integers[i], texts[t]), 2, need);
        }
        for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
            snprintf(need, sizeof need, "fam: %s: found \"", reals[i]);
            expect_refused(run("generate", "model", reals[i], texts[t]), 2, need);
        }
    }
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        expect_refused(run("generate", "model", integers[i], "-1"), 2, integers[i]);
        expect_refused(run("generate", "model", integers[i], "1.5"), 2, integers[i]);
        expect_refused(run("generate", "model", integers[i], "1e2"), 2, integers[i]);
    }
    for (size_t i = 0; i < 4; i++)
        expect_refused(run("generate", "model", reals[i], "-1"), 2, reals[i]);
    static const char *const positive[] = {"--threads", "--block-size", "--fam-length", "--window", "--context"};
    for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
        expect_refused(run("generate", "model", positive[i], "0"), 2, positive[i]);
}

static void values_may_follow_an_equals_sign_or_a_blank(void **state)
{
    (void)state;
    run_plan plan = {{"inspect", TINY, "--mode=bswa", "--block-size", "32", "--json"}, .directory = suite_root()};
    run_result result = run_plan_now(plan);
    expect_code(result, 0);
    json_t *object = run_json(result.out), *run_settings = json_object_get(object, "run");
    assert_string_equal(json_string_value(json_object_get(run_settings, "mode")), "bswa");
    assert_int_equal(run_integer(run_settings, "block_size"), 32);
    json_decref(object);
    run_free(&result);
    expect_refused(run("generate", "m", "--prompt=--max-tokens", "--no-save"), 2, "--no-save");
    expect_refused(run("generate", "--prompt", "x", "--", "--no/such/model"), 5, "--no/such/model");
}

static void long_paths_are_refused(void **state)
{
    (void)state;
    char path[8000];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    expect_refused(run("generate", path, "--prompt", "x"), 2, "MODEL: found a path of 7999 bytes, need at most 4095");
    expect_refused(run("generate", "m", "--file", path), 2, "--file: found a path of 7999 bytes");
    expect_refused(run("generate", "m", "--session", path), 2, "--session: found a path of 7999 bytes");
    expect_refused(run("inspect", path), 2, "PATH: found a path of");
}

static void control_characters_stay_out_of_messages(void **state)
{
    (void)state;
    expect_refused(run("generate", "m", "--file", "a\nb\x1b[31m"), 5, "a?b?[31m");
}

static void standard_output_that_fails_is_an_io_error(void **state)
{
    (void)state;
    const char *const full[][4] = {{"--help"}, {"generate", "--help"}, {"inspect", TINY}};
    for (size_t i = 0; i < 3; i++) {
        run_plan plan = {.directory = suite_root(), .output_path = "/dev/full"};
        memcpy(plan.arguments, full[i], sizeof full[i]);
        expect_refused(run_plan_now(plan), 5, "standard output: cannot write: No space left on device");
        plan.output_path = NULL;
        plan.close_output = true;
        expect_refused(run_plan_now(plan), 5, "standard output: cannot write: Bad file descriptor");
    }
}

static void broken_pipe_is_an_io_error(void **state)
{
    (void)state;
    int ends[2];
    char path[64];
    assert_int_equal(pipe(ends), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[1]);
    run_plan plan = {{"inspect", TINY}, .directory = suite_root(), .output_path = path};
    close(ends[0]); /* the write end is open already: opening it again through /proc does not wait */
    signal(SIGPIPE, SIG_IGN);
    run_result result = run_plan_now(plan);
    close(ends[1]);
    expect_code(result, 5);
    expect_contains(result.err, "fam: standard output: cannot write: Broken pipe");
    run_free(&result);
}

static void closed_standard_input_cannot_be_read(void **state)
{
    (void)state;
    run_plan plan = {{"score", TINY, "--ids-file", "-"}, .directory = suite_root(), .close_input = true};
    expect_refused(run_plan_now(plan), 5, "standard input: cannot read: Bad file descriptor");
}

static void no_arguments_at_all_is_a_usage_error(void **state)
{
    (void)state;
    run_plan plan = {.no_arguments_at_all = true};
    expect_refused(run_plan_now(plan), 2, "found no verb");
}

static void few_files_and_little_memory_are_survived(void **state)
{
    (void)state;
    run_plan plan = {{"inspect", TINY}, .directory = suite_root(), .open_files = 16};
    run_result result = run_plan_now(plan);
    expect_code(result, 0);
    run_free(&result);
#if !defined(__SANITIZE_ADDRESS__)
    /* From too little to load the program's libraries to enough: done, out of memory, or not started; never a crash. */
    for (rlim_t megabytes = 80; megabytes <= 400; megabytes += 20) {
        plan = (run_plan){{"score", TINY, "--ids-file", "tests/cli/ids.json"}, .directory = suite_root(),
                          .address_space = megabytes << 20};
        result = run_plan_now(plan);
        if (result.code != 0 && result.code != 4 && !strstr(result.err, "loading shared libraries"))
            fail_msg("%lu MB: code %d, err %.400s", (unsigned long)megabytes, result.code, result.err);
        run_free(&result);
    }
#endif
}

static void missing_permissions_are_told_before_the_model_is_read(void **state)
{
    (void)state;
    run_plan plan = {{"--version"}, .unprivileged = true};
    run_result result = run_plan_now(plan);
    bool can = result.code == 0;
    run_free(&result);
    if (!can)
        skip(); /* the program lies where nobody may not go */
    const char *secret = run_write_text("secret", "x");
    assert_int_equal(chmod(secret, 0), 0);
    assert_int_equal(chmod(run_folder, 0555), 0);
    plan = (run_plan){.arguments = {"generate", "model", "--session", "s", "--prompt", "x"}, .directory = run_folder,
                      .unprivileged = true};
    expect_refused(run_plan_now(plan), 5, "s: cannot be saved: directory .: Permission denied");
    plan = (run_plan){.arguments = {"generate", "model", "--file", secret}, .unprivileged = true};
    expect_refused(run_plan_now(plan), 5, "secret: cannot open: Permission denied");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(help_is_as_in_the_snapshots),
    cmocka_unit_test(files_made_from_the_option_table_are_up_to_date),
    cmocka_unit_test(help_names_every_verb_and_version_is_told),
    cmocka_unit_test(mistakes_are_answered_as_in_the_snapshot),
    cmocka_unit_test(wrong_numbers_are_refused_for_every_number),
    cmocka_unit_test(values_may_follow_an_equals_sign_or_a_blank),
    cmocka_unit_test(long_paths_are_refused),
    cmocka_unit_test(control_characters_stay_out_of_messages),
    cmocka_unit_test(standard_output_that_fails_is_an_io_error),
    cmocka_unit_test(broken_pipe_is_an_io_error),
    cmocka_unit_test(closed_standard_input_cannot_be_read),
    cmocka_unit_test(no_arguments_at_all_is_a_usage_error),
    cmocka_unit_test(few_files_and_little_memory_are_survived),
    test_in_folder(missing_permissions_are_told_before_the_model_is_read),
};

SUITE_MAIN(tests)
