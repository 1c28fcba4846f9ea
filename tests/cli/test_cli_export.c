/*
 * fam export as users run it: what is written runs without the adapter and says the same; what cannot be written is
 * refused, and leaves nothing.
 */
#include "run.h"
#include "tiny_model.h"

#define BASE "tests/golden/fam_lora_train"

static const char *base(void)
{
    static char path[1200];
    snprintf(path, sizeof path, "%s", suite_path(BASE));
    return path;
}

static const char *adapter(const char *scale)
{
    static char path[1200];
    snprintf(path, sizeof path, "%s%s", suite_path(BASE "/adapter"), scale);
    return path;
}

static double nll_of(run_plan plan)
{
    run_result result = run_plan_now(plan);
    expect_code(result, 0);
    json_t *object = run_json(result.out);
    double nll = json_number_value(json_object_get(object, "nll"));
    json_decref(object);
    run_free(&result);
    return nll;
}

static void an_export_scores_as_the_model_with_its_adapter(void **state)
{
    (void)state;
    const char *ids = run_write_ids("ids", 120, 81, 5);
    double want = nll_of((run_plan){
        .arguments = {"score", base(), "--adapter", adapter(":0.5"), "--ids-file", ids, "--json", "--dtype", "f32"}});
    double plain = nll_of((run_plan){.arguments = {"score", base(), "--ids-file", ids, "--json", "--dtype", "f32"}});
    static const char *const outs[] = {"merged", "merged.gguf", "other"};
    assert_true(plain - want > 1e-3 || want - plain > 1e-3);
    for (int i = 0; i < 3; i++) {
        const char *out = run_file(outs[i]);
        run_result result = run("export", base(), "--adapter", adapter(":0.5"), "--out", out,
                                i == 2 ? "--format" : NULL, i == 2 ? "gguf" : NULL);
        expect_code(result, 0);
        assert_int_equal(result.out_size, 0);
        expect_contains(result.err, i == 0 ? "a Hugging Face directory of f32" : "a GGUF file of f32");
        expect_contains(result.err, "matrices merged");
        run_free(&result);
        double got = nll_of((run_plan){.arguments = {"score", out, "--ids-file", ids, "--json", "--dtype", "f32"}});
        if (!(got - want < 1e-4 && want - got < 1e-4))
            fail_msg("%s: found a mean nll of %.7f, need %.7f", outs[i], got, want);
        result = run("inspect", out);
        expect_contains(result.out, i == 0 ? "safetensors" : "gguf");
        expect_contains(result.out, "rms_init");
        run_free(&result);
    }
}

static void text_goes_through_both_formats(void **state)
{
    (void)state;
    static const char *const tokenizers[] = {"gpt2", "digits", "split_llama3"},
                             text[] = "Ah,  12 Ishmael<|im_end|>\n\xc3\xa4";
    for (int i = 0; i < 3; i++) {
        char names[4][16];
        const char *from = NULL, *model = NULL;
        for (int n = 0; n < 4; n++, from = run_file(names[n - 1])) { /* a directory, GGUF, a directory, GGUF */
            snprintf(names[n], sizeof names[n], "%s%d-%d", n % 2 ? "file" : "model", i, n);
            if (n == 0) {
                model = tiny_model(names[n], tokenizers[i]);
                continue;
            }
            const char *out = run_file(names[n]);
            run_result result = run("export", from, "--out", out, "--format", n % 2 ? "gguf" : "hf");
            expect_code(result, 0);
            run_free(&result);
            run_result want = run("tokenize", model, "--special", "--prompt", text),
                       got = run("tokenize", out, "--special", "--prompt", text);
            expect_code(got, 0);
            assert_string_equal(got.out, want.out);
            run_free(&want);
            run_free(&got);
            want = run("generate", model, "--prompt", "In the beginning", "--max-tokens", "12", "--dtype", "f32");
            got = run("generate", out, "--prompt", "In the beginning", "--max-tokens", "12", "--dtype", "f32");
            expect_code(got, 0);
            assert_string_equal(got.out, want.out);
            run_free(&want);
            run_free(&got);
        }
    }
}

static void mistakes_are_refused_and_leave_nothing(void **state)
{
    (void)state;
    const char *out = run_file("out");
    expect_refused(run("export", base()), 2, "export: found no --out");
    expect_refused(run("export", base(), "--out", ""), 2, "--out: found an empty path");
    expect_refused(run("export", base(), "--out", out, "--format", "onnx"), 2, "need one of hf|gguf");
    expect_refused(run("export", base(), "--out", out, "--type", "q4_0"), 2, "need one of f32|f16|bf16");
    expect_refused(run("export", base(), "--out", out, "--out", out), 2, "--out");
    expect_refused(run("export", base(), "--out", out, "--mode", "full", "--block-size", "0"), 2, "--block-size");
    expect_refused(run("export", base(), "--out", out, "--mode", "bswa", "--window", "5"), 2,
                   "--window: found mode bswa");
    expect_refused(run("export", base(), "--out", out, "--threads", "2"), 2, "unknown option --threads");
    expect_refused(run("export", base(), "--out", base()), 2, "found the model itself");
    expect_refused(run("export", base(), "--out", "/dev/full"), 5, "/dev/full: found something there already");
    expect_refused(run("export", base(), "--out", run_file("no/out")), 5, "No such file or directory");
    expect_refused(run("export", run_file("nothing"), "--out", out), 5, "nothing");
    expect_refused(run("export", base(), "--out", out, "--adapter", run_file("nothing")), 5, "nothing");
    expect_refused(run("export", suite_path("tests/golden/full_gqa_tied"), "--out", out, "--mode", "fam"), 3,
                   "fam.prompt: found none");
    expect_refused(run("export", suite_path("tests/golden/full_gqa_tied"), "--out", out, "--adapter", adapter("")), 3,
                   "shape");
    run_write_text("there", "theirs");
    expect_refused(run("export", base(), "--out", run_file("there")), 5, "there: found something there already");
    assert_int_equal(mkdir(run_file("closed"), 0555), 0);
    run_result result =
        run_plan_now((run_plan){{"export", base(), "--out", run_file("closed/out")}, .unprivileged = true});
    if (result.code != 98) { /* 98: nobody else may run the program here */
        expect_code(result, 5);
        expect_contains(result.err, "Permission denied");
    }
    run_free(&result);
    assert_int_equal(access(out, F_OK), -1);
}

static void a_tokenizer_that_gguf_cannot_carry_is_refused_by_name(void **state)
{
    (void)state;
    const char *model = tiny_model("m", "gpt2");
    char path[600], command[1400];
    snprintf(path, sizeof path, "%s/tokenizer.json", model);
    snprintf(command, sizeof command, "sed -i 's/\"use_regex\":true},\"post/\"use_regex\":false},\"post/' %s", path);
    assert_int_equal(system(command), 0);
    expect_refused(run("export", model, "--out", run_file("out.gguf")), 3,
                   "pre_tokenizer: found one that GGUF has no name");
    assert_int_equal(access(run_file("out.gguf"), F_OK), -1);
    run_result result = run("export", model, "--out", run_file("out")); /* a directory carries it */
    expect_code(result, 0);
    run_free(&result);
}

/* Whatever is short, nothing is left of what was begun. */
static void what_cannot_be_finished_leaves_nothing(void **state)
{
    (void)state;
    static const char *const outs[] = {"merged", "merged.gguf"};
    for (int i = 0; i < 2; i++) {
        for (rlim_t bytes = 2000; bytes <= 60000; bytes += 5000) {
            run_plan plan = {.arguments = {"export", base(), "--adapter", adapter(""), "--out", run_file(outs[i])},
                             .file_size = bytes};
            run_result result = run_plan_now(plan);
            if (result.code != 0) {
                expect_code(result, 5);
                expect_contains(result.err, "File too large");
                char command[200];
                snprintf(command, sizeof command, "test -z \"$(ls -A %s)\"", run_folder);
                if (system(command) != 0)
                    fail_msg("%s: %lu bytes: something was left", outs[i], (unsigned long)bytes);
            }
            assert_true(bytes > 2000 || result.code == 5);
            run_free(&result);
        }
        char command[200];
        snprintf(command, sizeof command, "rm -rf %s", run_file(outs[i]));
        assert_int_equal(system(command), 0);
    }
#if !defined(__SANITIZE_ADDRESS__)
    for (rlim_t megabytes = 20; megabytes <= 120; megabytes += 10) {
        run_plan plan = {.arguments = {"export", base(), "--out", run_file("out")}, .address_space = megabytes << 20};
        run_result result = run_plan_now(plan);
        if (result.code != 0 && result.code != 4 && !strstr(result.err, "loading shared libraries"))
            fail_msg("%lu MB: code %d, err %.400s", (unsigned long)megabytes, result.code, result.err);
        run_free(&result);
        char command[200];
        snprintf(command, sizeof command, "rm -rf %s", run_file("out"));
        assert_int_equal(system(command), 0);
    }
#endif
}

static const struct CMUnitTest tests[] = {
    test_in_folder(an_export_scores_as_the_model_with_its_adapter),
    test_in_folder(text_goes_through_both_formats),
    test_in_folder(mistakes_are_refused_and_leave_nothing),
    test_in_folder(what_cannot_be_finished_leaves_nothing),
    test_in_folder(a_tokenizer_that_gguf_cannot_carry_is_refused_by_name),
};
SUITE_MAIN(tests)
