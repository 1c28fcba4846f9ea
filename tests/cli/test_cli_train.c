/*
 * fam train as users run it: signals, resuming, output that cannot be written, memory that is short. Whatever happens, the
 * run goes on later as if nothing had.
 */
#define SUITE_TIMEOUT 240
#include "train_runs.h"

#include <time.h>

static void pause_ms(long milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

/* A run that nothing befalls. */
static const char *reference(const char *recipe, const char *set)
{
    const char *out = run_file("reference");
    train_expect(train(recipe, out, "--set", set, "--set", "output.every=0"), 0, "new run");
    return out;
}

/* ---- a plain run -------------------------------------------------------------------------------------------------- */

static void a_run_prints_where_its_result_is(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("deep/down/out");
    run_result result = train(recipe, out, NULL);
    expect_code(result, 0);
    char want[700];
    snprintf(want, sizeof want, "%s/result\n", out);
    assert_string_equal(result.out, want);
    run_free(&result);
    free(train_losses(out, 6));
    result = run("generate", train_in(out, "result"), "--prompt", "a", "--max-tokens", "4");
    expect_code(result, 0);
    run_free(&result);
    result = train(recipe, out, NULL);
    assert_string_equal(result.out, want);
    train_expect(result, 0, "all 6 steps are done");
    free(train_losses(out, 6));
}

static void the_folder_is_that_of_the_recipe_if_none_is_given(void **state)
{
    (void)state;
    train_recipe();
    run_result result = run_plan_now(
        (run_plan){{"train", "tiny.yaml", "--no-report", "--set", "train.steps=2"}, .directory = run_folder});
    expect_code(result, 0);
    assert_string_equal(result.out, "runs/tiny/result\n");
    run_free(&result);
}

static void a_dry_run_leaves_nothing(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    run_result result = train(recipe, out, "--dry-run");
    expect_code(result, 0);
    json_t *plan = run_json(result.out);
    assert_int_equal(run_integer(plan, "step"), 0);
    assert_int_equal(run_integer(plan, "steps"), 6);
    assert_int_equal(run_integer(plan, "tokens_longest"), 144);
    assert_true(run_integer(plan, "memory_bytes") > 0 && run_integer(plan, "checkpoint_bytes") > 0);
    json_decref(plan);
    run_free(&result);
    assert_int_equal(access(out, F_OK), -1);
    assert_int_equal(mkdir(out, 0777), 0);
    train_expect(train(recipe, out, "--dry-run"), 0, "new run");
    shell("rmdir %s", out); /* empty as it was */

    train_expect(train(recipe, out, NULL), 0, "new run");
    shell("cp -r %s %s; printf '{\"step\":7}\\n' >> %s/metrics.jsonl; cp %s/metrics.jsonl %s/", out, run_file("copy"),
          out, out, run_file("copy"));
    result = train(recipe, out, "--dry-run", "--set", "train.steps=8", "--set", "train.sequences=3", "--override",
                   "train.sequences");
    expect_code(result, 0);
    expect_contains(result.err, "resumed, steps 7 to 8");
    expect_contains(result.err, "another train.sequences: 3 instead of 2");
    run_free(&result);
    shell("diff -r %s %s", out, run_file("copy"));
}

static void what_is_refused_leaves_no_folder(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    expect_refused(run("train"), 2, "found no RECIPE");
    expect_refused(run("train", recipe, recipe), 2, "one argument too many");
    expect_refused(run("train", "", "--out", out), 2, "RECIPE: found an empty path");
    expect_refused(run("train", recipe, "--out", ""), 2, "--out: found an empty path");
    expect_refused(run("train", recipe, "--out"), 2, "--out");
    expect_refused(train(run_folder, out, NULL), 5, "found a directory");
    expect_refused(train("/dev/zero", out, NULL), 5, "found a special file");
    expect_refused(train(run_file("none.yaml"), out, NULL), 5, "none.yaml");
    expect_refused(train(recipe, recipe, NULL), 5, "tiny.yaml: found a file, need a folder");
    expect_refused(train(recipe, train_in(recipe, "out"), NULL), 5, "tiny.yaml");
    expect_refused(train(recipe, "/proc/out", NULL), 5, "/proc/out");
    expect_refused(train(recipe, out, "--set", "nonsense"), 2, "need KEY=VALUE");
    expect_refused(train(recipe, out, "--set", "train.step=5"), 2, "the nearest is train.steps");
    expect_refused(train(recipe, out, "--set", "train.steps=0"), 2, "train.steps");
    expect_refused(train(recipe, out, "--set", "optimizer.learning_rate=nan"), 2, "found nan");
    expect_refused(train(recipe, out, "--set", "train.seed=18446744073709551616"), 2, "train.seed");
    expect_refused(train(recipe, out, "--override", "train.step"), 2, "override: found \"train.step\"");
    expect_refused(train(recipe, out, "--resume", "perhaps"), 2, "need one of auto|must|never");
    expect_refused(train(recipe, out, "--resume", "must"), 5, "need one to resume");
    expect_refused(train(recipe, out, "--threads", "0"), 2, "--threads");
    expect_refused(train(recipe, out, "--device", "abacus"), 2, "abacus");
    assert_int_equal(access(out, F_OK), -1);
    run_write_text("broken.yaml", "model: {path: [}\n");
    expect_refused(train(run_file("broken.yaml"), out, NULL), 3, "broken.yaml: ");
    assert_int_equal(access(out, F_OK), -1);
}

/* ---- signals ------------------------------------------------------------------------------------------------------ */

/* A run that is under way, some steps after the one at which it began. */
static run_child start_run(const run_plan *plan, const char *out)
{
    int before = train_lines(out);
    run_child child = run_start(plan);
    for (int i = 0; train_lines(out) < before + 3; i++) {
        if (i > 20000)
            fail_msg("%s: no step was made", out);
        pause_ms(1);
    }
    return child;
}

static void a_signal_saves_and_the_run_goes_on(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
    const char *recipe = train_recipe(), *out = run_file("out"), *whole = reference(recipe, "train.steps=200");
    for (int i = 0; i < 3; i++) {
        const run_plan plan = train_plan(recipe, out, "--set", "train.steps=200", "--set", "output.every=0");
        run_child child = start_run(&plan, out);
        kill(child.pid, signals[i]);
        if (i == 1) /* at once: the same wish, as `timeout` and terminals tell it twice */
            kill(child.pid, signals[i]);
        run_result result = run_finish(child);
        assert_int_equal(result.out_size, 0);
        train_expect(result, 75, "of 200; the same command goes on there");
    }
    train_expect(train(recipe, out, "--set", "train.steps=200", "--set", "output.every=0", "--threads", "2"), 0,
                 "resumed");
    train_expect_same(whole, out, 200);
}

static void a_second_signal_exits_at_once_and_the_checkpoint_is_whole(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out"), *whole = reference(recipe, "train.steps=60");
    const run_plan plan = train_plan(recipe, out, "--set", "train.steps=60", "--set", "output.every=1");
    for (int i = 0; i < 3; i++) {
        run_child child = start_run(&plan, out);
        kill(child.pid, SIGTERM);
        kill(child.pid, SIGINT);
        run_result result = run_finish(child);
        expect_code(result, 130);
        run_free(&result);
    }
    run_result result = train(recipe, out, "--set", "train.steps=60", "--resume", "must");
    expect_contains(result.err, "resumed");
    expect_code(result, 0);
    run_free(&result);
    train_expect_same(whole, out, 60);
}

/* ---- resuming ----------------------------------------------------------------------------------------------------- */

static void resuming_is_asked_for_or_refused(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    train_expect(train(recipe, out, "--resume", "never"), 0, "new run");
    expect_refused(train(recipe, out, "--resume", "never"), 2, "found a run at step 6");
    train_expect(train(recipe, out, "--resume", "must", "--set", "train.steps=7"), 0, "resumed, steps 7 to 7");
    expect_refused(train(recipe, out, "--set", "train.seed=5", "--set", "train.steps=8"), 3,
                   "train.seed (5 instead of 1)");
    train_expect(train(recipe, out, "--set", "train.seed=5", "--set", "train.sequences=3", "--override", "train.seed"),
                 3, "train.sequences (3 instead of 2)");
    expect_refused(train(recipe, out, "--set", "model.new.layers=3", "--override", "model.new.layers"), 3,
                   "model.new.layers (3 instead of 2; this one cannot be overridden)");
    expect_refused(train(recipe, out, "--set", "fam.fam_length=4", "--override", "fam.fam_length"), 3,
                   "cannot be overridden");
    train_expect(train(recipe, out, "--set", "optimizer.kind=adafactor", "--override", "optimizer.kind"), 3,
                 "optimizer.safetensors");
    train_expect(train(recipe, out, "--set", "data.0.kind=overwrite", "--override", "data.0.kind"), 3,
                 "data: place: kind");
    run_result result =
        train(recipe, out, "--set", "train.steps=9", "--set", "train.sequences=3", "--override", "train.sequences");
    expect_contains(result.err, "another train.sequences: 3 instead of 2");
    train_expect(result, 0, "resumed, steps 8 to 9");
    free(train_losses(out, 9));
    char *kept = run_slurp(train_in(out, "recipe.yaml"), NULL);
    expect_contains(kept, "sequences: 3");
    free(kept);
}

static void a_folder_belongs_to_one_run_at_a_time(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    const run_plan plan = train_plan(recipe, out, "--set", "train.steps=100000");
    run_child child = start_run(&plan, out);
    expect_refused(train(recipe, out, "--set", "train.steps=100000"), 3, "found a folder in use by process");
    expect_refused(train(recipe, out, "--dry-run"), 3, "found a folder in use by process");
    kill(child.pid, SIGTERM);
    train_expect(run_finish(child), 75, "stopped and saved");
    train_expect(train(recipe, out, "--dry-run", "--set", "train.steps=100000"), 0, "resumed");
}

static void a_folder_may_move_and_lose_what_it_does_not_need(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out"), *moved = run_file("moved"),
               *whole = reference(recipe, "train.steps=10");
    train_expect(train(recipe, out, NULL), 0, "new run");
    shell("mv %s %s; rm -r %s/start %s/recipe.yaml %s/result", out, moved, moved, moved, moved);
    train_expect(train(recipe, moved, "--set", "train.steps=8"), 0, "resumed, steps 7 to 8");
    shell("printf '{\"step\":9,\"loss\":1' >> %s/metrics.jsonl", moved); /* half a line */
    train_expect(train(recipe, moved, "--set", "train.steps=10"), 0, "resumed, steps 9 to 10");
    train_expect_same(whole, moved, 10);
}

/* ---- checkpoints that are damaged --------------------------------------------------------------------------------- */

/* One byte less, or the lowest bit of the byte in the middle turned round. */
static void damage(const char *path, bool shorter)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    if (shorter) {
        assert_int_equal(truncate(path, st.st_size - 1), 0);
        return;
    }
    int fd = open(path, O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
    close(fd);
}

static void a_damaged_checkpoint_is_told_and_the_one_before_taken(void **state)
{
    (void)state;
    static const char *const files[] = {"MANIFEST",
                                        "model/model.safetensors",
                                        "model/config.json",
                                        "model/tokenizer.json",
                                        "optimizer.safetensors",
                                        "source.bin",
                                        "trainer.json",
                                        "recipe.yaml"};
    const char *recipe = train_recipe(), *out = run_file("out"), *good = run_file("good"),
               *whole = reference(recipe, "train.steps=7");
    train_expect(train(recipe, good, NULL), 0, "new run");
    for (int i = 0; i < 2 * 8 + 1; i++) {
        char path[900];
        shell("rm -rf %s; cp -r %s %s", out, good, out);
        snprintf(path, sizeof path, "%s/checkpoints/step_00000006/%s", out, files[i / 2 % 8]);
        if (i < 2 * 8)
            damage(path, i % 2);
        else
            shell("rm %s", path); /* a kill in the middle of saving, on a file system that forgets the order */
        run_result result = train(recipe, out, "--set", "train.steps=7");
        expect_contains(result.err, path);
        train_expect(result, 0, "resumed, steps 5 to 7");
        train_expect_same(whole, out, 7);
    }
}

static void a_run_is_not_begun_anew_over_damaged_checkpoints(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    train_expect(train(recipe, out, NULL), 0, "new run");
    shell("for d in %s/checkpoints/*; do echo >> $d/trainer.json; done; cp -r %s %s", out, out, run_file("copy"));
    static const char *const ways[] = {"auto", "never", "must"};
    for (int i = 0; i < 3; i++) {
        run_result result = train(recipe, out, "--resume", ways[i]);
        expect_contains(result.err, "step_00000006/trainer.json: size");
        expect_contains(result.err, "step_00000002/trainer.json: size");
        train_expect(result, i < 2 ? 3 : 5, i < 2 ? "found 3 and none that is whole" : "found none that is whole");
    }
    shell("diff -r %s %s", out, run_file("copy"));
}

static void a_checkpoint_of_another_model_is_refused(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *base = run_file("base"), *out = run_file("out");
    train_expect(train(recipe, base, NULL), 0, "new run");
    const char *adapter = run_write_text("adapter.yaml", "model: {path: base/result}\n"
                                                         "fam: {mode: fam, block_size: 48, fam_length: 3}\n"
                                                         "adapt: {rank: 3, targets: [q_proj, down_proj]}\n"
                                                         "optimizer: {warmup_steps: 2, schedule: constant}\n"
                                                         "train: {steps: 2, sequences: 2, blocks: 3}\n"
                                                         "data:\n" TRAIN_RECALL);
    train_expect(train(adapter, out, NULL), 0, "new run");
    train_expect(train(adapter, out, "--set", "train.steps=3"), 0, "resumed, steps 3 to 3");
    train_expect(train(recipe, base, "--set", "train.steps=7"), 0, "resumed"); /* and so has other weights now */
    expect_refused(train(adapter, out, "--set", "train.steps=4"), 3, "base: found a run on another model");
    shell("rm -r %s", base);
    expect_refused(train(adapter, out, "--set", "train.steps=4"), 5, "base/result");
}

/* ---- what cannot be written --------------------------------------------------------------------------------------- */

static void an_output_that_is_closed_or_full_is_told(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    run_plan plan = train_plan(recipe, out, NULL);
    plan.output_path = "/dev/full";
    train_expect(run_plan_now(plan), 5, "standard output: cannot write: No space left");
    assert_int_equal(access(train_in(out, "result/config.json"), F_OK), 0); /* it is there all the same */
    plan.output_path = NULL;
    plan.close_output = true;
    train_expect(run_plan_now(plan), 5, "standard output: cannot write");
    plan = (run_plan)train_plan(recipe, run_file("dry"), "--dry-run");
    plan.output_path = "/dev/full";
    train_expect(run_plan_now(plan), 5, "standard output: cannot write: No space left");
    assert_int_equal(access(run_file("dry"), F_OK), -1);
}

static void a_disk_that_is_full_costs_checkpoints_and_not_the_run(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out"), *whole = reference(recipe, "train.steps=10");
    enum { LESS_THAN_MOMENTS = 48000, LESS_THAN_WEIGHTS = 20000 };
    run_plan plan = train_plan(recipe, out, "--set", "train.steps=10");
    plan.file_size = LESS_THAN_WEIGHTS;
    train_expect(run_plan_now(plan), 5, "File too large");
    assert_int_equal(access(out, F_OK), -1);
    plan.file_size = LESS_THAN_MOMENTS;
    train_expect(run_plan_now(plan), 5, "optimizer.safetensors"); /* found out before the first step */
    train_expect(train(recipe, out, NULL), 0, "new run");
    run_result result = run_plan_now(plan);
    expect_contains(result.err, "resumed, steps 7 to 10");
    train_expect(result, 5, "step 8: no checkpoint, the run goes on: ");
    result = train(recipe, out, "--set", "train.steps=10");
    expect_contains(result.err, "resumed, steps 7 to 10");
    expect_code(result, 0);
    run_free(&result);
    train_expect_same(whole, out, 10);
}

static void a_folder_that_may_not_be_written_is_refused(void **state)
{
    (void)state;
    run_plan plan = {{"--version"}, .unprivileged = true};
    run_result result = run_plan_now(plan);
    bool can = result.code == 0;
    run_free(&result);
    if (!can)
        skip(); /* the program lies where nobody may not go */
    const char *recipe = train_recipe(), *out = run_file("out");
    train_expect(train(recipe, out, NULL), 0, "new run");
    shell("chmod -R a+rX,a-w %s", run_folder);
    plan = (run_plan)train_plan(recipe, run_file("other"), NULL);
    plan.unprivileged = true;
    expect_refused(run_plan_now(plan), 5, "other: cannot make: Permission denied");
    plan = (run_plan)train_plan(recipe, out, "--set", "train.steps=7");
    plan.unprivileged = true;
    expect_refused(run_plan_now(plan), 5, "out/lock: cannot open: Permission denied");
}

static void metrics_that_cannot_be_are_refused(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    train_expect(train(recipe, out, NULL), 0, "new run");
    shell("mv %s/metrics.jsonl %s/theirs; ln -s theirs %s/metrics.jsonl", out, out, out);
    train_expect(train(recipe, out, "--set", "train.steps=7"), 5, "metrics.jsonl: found a symbolic link");
    shell("rm %s/metrics.jsonl; mkdir %s/metrics.jsonl", out, out);
    train_expect(train(recipe, out, "--set", "train.steps=7"), 5, "metrics.jsonl");
    shell("rmdir %s/metrics.jsonl; mv %s/theirs %s/metrics.jsonl", out, out, out);
    train_expect(train(recipe, out, "--set", "train.steps=7"), 0, "resumed, steps 7 to 7");
    free(train_losses(out, 7));
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static void too_little_memory_is_told(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    train_expect(train(recipe, out, "--set", "train.sequences=1048576", "--set", "train.blocks=1024"), 4,
                 "out of memory");
    shell("rm -r %s", out);
    expect_refused(train(recipe, out, "--set", "train.sequences=1048576", "--set", "train.blocks=1048576", "--set",
                         "train.carry=1048576"),
                   2, "need at most 1099511627776 tokens a step");
    expect_refused(train(recipe, out, "--set", "fam.block_size=2147483648", "--set", "train.blocks=1048576"), 2,
                   "need at most 1099511627776 tokens a step");
#if !defined(__SANITIZE_ADDRESS__)
    /* From too little to load the program's libraries to enough: done, out of memory, or not started; never a crash. */
    bool told = false;
    for (rlim_t megabytes = 60; megabytes <= 320; megabytes += 10) {
        run_plan plan = train_plan(recipe, out, "--threads", "2", "--set", "train.steps=2", "--set",
                                   "model.new.hidden_size=256", "--set", "train.blocks=32");
        plan.address_space = megabytes << 20;
        run_result result = run_plan_now(plan);
        if (result.code != 0 && result.code != 4 && !strstr(result.err, "loading shared libraries"))
            fail_msg("%lu MB: code %d, err %.400s", (unsigned long)megabytes, result.code, result.err);
        told = told || (result.code == 4 && strstr(result.err, "out of memory"));
        run_free(&result);
        shell("rm -rf %s", out);
    }
    assert_true(told);
#endif
}

static const struct CMUnitTest tests[] = {
    test_in_folder(a_run_prints_where_its_result_is),
    test_in_folder(the_folder_is_that_of_the_recipe_if_none_is_given),
    test_in_folder(a_dry_run_leaves_nothing),
    test_in_folder(what_is_refused_leaves_no_folder),
    test_in_folder(a_signal_saves_and_the_run_goes_on),
    test_in_folder(a_second_signal_exits_at_once_and_the_checkpoint_is_whole),
    test_in_folder(resuming_is_asked_for_or_refused),
    test_in_folder(a_folder_belongs_to_one_run_at_a_time),
    test_in_folder(a_folder_may_move_and_lose_what_it_does_not_need),
    test_in_folder(a_damaged_checkpoint_is_told_and_the_one_before_taken),
    test_in_folder(a_run_is_not_begun_anew_over_damaged_checkpoints),
    test_in_folder(a_checkpoint_of_another_model_is_refused),
    test_in_folder(an_output_that_is_closed_or_full_is_told),
    test_in_folder(a_disk_that_is_full_costs_checkpoints_and_not_the_run),
    test_in_folder(a_folder_that_may_not_be_written_is_refused),
    test_in_folder(metrics_that_cannot_be_are_refused),
    test_in_folder(too_little_memory_is_told),
};
SUITE_MAIN(tests)
