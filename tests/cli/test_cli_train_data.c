/*
 * fam train on files that are not what they should be, and on recipes that cannot work: one clear line before the first
 * step, or, where only reading on shows it, when it shows, with what was done kept.
 */
#define SUITE_TIMEOUT 120
#include "train_runs.h"

/* A recipe whose only entry is JSONL at `path`. */
static const char *jsonl_recipe(const char *path)
{
    char text[2000];
    snprintf(text, sizeof text, TRAIN_HEAD "  - {kind: jsonl, path: \"%s\"}\n", path);
    return run_write_text("jsonl.yaml", text);
}

static const char *text_recipe(const char *path)
{
    char text[2000];
    snprintf(text, sizeof text, TRAIN_HEAD "  - {kind: text, path: \"%s\"}\n", path);
    return run_write_text("text.yaml", text);
}

/* `count` good lines, then `line` (may be NULL), then as many good ones again. */
static const char *write_lines(const char *name, int count, const char *line)
{
    char *text = calloc(1, (size_t)count * 2 * 80 + (line ? strlen(line) : 0) + 2);
    for (int i = 0; i < 2 * count; i++) {
        if (i == count && line)
            sprintf(text + strlen(text), "%s\n", line);
        sprintf(text + strlen(text), "{\"prompt\": \"%d and %d?\", \"completion\": \" is %d\"}\n", i, i, 2 * i);
    }
    const char *path = run_write_text(name, text);
    free(text);
    return path;
}

/* ---- lines -------------------------------------------------------------------------------------------------------- */

static const struct bad_line {
    const char *line, *need;
} bad_lines[] = {
    {"{\"text\": \"a\"", "column"},
    {"nonsense", "column"},
    {"{\"text\": \"a\"} {\"text\": \"b\"}", "column"},
    {"[1, 2]", "need an object"},
    {"{\"text\": \"a\", \"text\": \"b\"}", "column"},
    {"{\"txt\": \"a\"}", "need \"text\", or \"prompt\" and \"completion\", or \"messages\""},
    {"{\"text\": \"a\", \"prompt\": \"b\", \"completion\": \"c\"}", "several kinds"},
    {"{\"text\": null}", "text: found null, need a string"},
    {"{\"text\": 5}", "text: found"},
    {"{\"text\": \"\"}", "text: found an empty string"},
    {"{\"prompt\": \"a\"}", "completion: found nothing"},
    {"{\"prompt\": \"a\", \"completion\": \"\"}", "completion: found an empty string"},
    {"{\"text\": \"a\\u0000b\"}", "column"},
    {"{\"text\": \"\xff\xfe\"}", "column"},
    {"{\"text\": \"\\ud800\"}", "column"},
    {"{\"messages\": []}", "messages: found no assistant's"},
    {"{\"messages\": {}}", "messages: found"},
    {"{\"messages\": [5]}", "messages[0]: found"},
    {"{\"messages\": [{\"role\": \"owl\", \"content\": \"a\"}]}", "messages[0]: role: found \"owl\""},
    {"{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}", "messages[0]: role: found assistant, need user"},
    {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", "no assistant's"},
    {"{\"messages\": [{\"role\": \"user\"}]}", "messages[0]: content"},
};

static void a_bad_line_is_refused_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++) {
        char path[700];
        snprintf(path, sizeof path, "%s", run_write_text("bad.jsonl", ""));
        FILE *file = fopen(path, "wb");
        fprintf(file, "\n%s\n", bad_lines[i].line); /* the second line: a blank one is none */
        fclose(file);
        run_result result = train(jsonl_recipe(path), run_file("out"), NULL);
        expect_contains(result.err, "bad.jsonl: record: line 2: ");
        expect_refused(result, 3, bad_lines[i].need);
        assert_int_equal(access(run_file("out"), F_OK), -1);
    }
}

static void a_nul_in_a_line_is_refused(void **state)
{
    (void)state;
    static const char bytes[] = "{\"text\": \"a\0b\"}\n";
    expect_refused(train(jsonl_recipe(run_write("nul.jsonl", bytes, sizeof bytes - 1)), run_file("out"), NULL), 3,
                   "nul.jsonl: record: line 1: ");
    expect_refused(train(text_recipe(run_write("nul.txt", bytes, sizeof bytes - 1)), run_file("out"), NULL), 3,
                   "nul.txt: byte 11: found a NUL");
}

static void files_that_are_no_lines_are_refused(void **state)
{
    (void)state;
    char out[100];
    snprintf(out, sizeof out, "%s", run_file("out")); /* many names are asked for below */
    expect_refused(train(jsonl_recipe(run_file("none.jsonl")), out, NULL), 5, "none.jsonl");
    expect_refused(train(jsonl_recipe(run_folder), out, NULL), 5, "found a directory");
    expect_refused(train(jsonl_recipe("/dev/zero"), out, NULL), 5, "found a special file");
    expect_refused(train(jsonl_recipe(run_write_text("e.jsonl", "")), out, NULL), 3, "found an empty one");
    expect_refused(train(jsonl_recipe(run_write_text("b.jsonl", "\n \r\n\n")), out, NULL), 3, "found none in the whole file");
    expect_refused(train(jsonl_recipe(run_write_text("b.jsonl", "\n \r\n\n")), out, "--set", "data.0.shuffle=true"), 3,
                   "found none in the whole file");
    expect_refused(train(jsonl_recipe(run_write_text("bom.jsonl", "\xef\xbb\xbf{\"text\": \"a\"}\n")), out, NULL), 3,
                   "found a byte order mark, need UTF-8 without one");
    expect_refused(train(jsonl_recipe(run_write_text("a.jsonl.gz", "{\"text\": \"a\"}\n")), out, NULL), 3, "decompress it");
    expect_refused(train(jsonl_recipe(run_write_text("a.jsonl", "\x1f\x8b\x08")), out, NULL), 3, "found gzip");
    expect_refused(train(text_recipe(run_write_text("e.txt", "")), out, NULL), 3, "found an empty one");
    expect_refused(train(text_recipe(run_write_text("l.txt", "caf\xe9 noir\n")), out, NULL), 3,
                   "l.txt: byte 3: found 0xe9, which is not UTF-8");
    assert_int_equal(access(out, F_OK), -1);
}

static void a_line_of_more_than_64_mib_is_refused(void **state)
{
    (void)state;
    const size_t size = (size_t)64 << 20;
    char *text = malloc(size + 16);
    memset(text, 'a', size + 16);
    memcpy(text, "{\"text\": \"", 10);
    memcpy(text + size + 13, "\"}\n", 3);
    const char *path = run_write("long.jsonl", text, size + 16);
    free(text);
    expect_refused(train(jsonl_recipe(path), run_file("out"), NULL), 3, "found a line of");
}

static void line_ends_of_all_kinds_are_read_alike(void **state)
{
    (void)state;
    static const char *const texts[] = {"{\"text\": \"abc def\"}\n{\"text\": \"ghi\"}\n",
                                        "{\"text\": \"abc def\"}\r\n{\"text\": \"ghi\"}\r\n",
                                        "{\"text\": \"abc def\"}\n{\"text\": \"ghi\"}",
                                        "\n\n{\"text\": \"abc def\"}\n \t\n{\"text\": \"ghi\"}\n\n"};
    static const char *const outs[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) {
        train_expect(train(jsonl_recipe(run_write_text("lines.jsonl", texts[i])), run_file(outs[i]), NULL), 0, "new run");
        train_expect_same(run_file("a"), run_file(outs[i]), 6);
    }
}

/* ---- records that are left out ------------------------------------------------------------------------------------ */

static long long last_of(const char *out, const char *key)
{
    char *text = run_slurp(train_in(out, "metrics.jsonl"), NULL), *last = text;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        last = line;
    json_t *object = run_json(last);
    const json_t *value = json_object_get(object, key);
    long long number = value ? run_integer(object, key) : 0;
    json_decref(object);
    free(text);
    return number;
}

static void records_that_are_left_out_are_told_and_counted(void **state)
{
    (void)state;
    const char *out = run_file("out"), *recipe = jsonl_recipe(write_lines("a.jsonl", 100, "broken"));
    train_expect(train(recipe, run_file("strict"), "--set", "train.steps=2"), 0, "new run"); /* it does not come so far */
    assert_int_equal(last_of(run_file("strict"), "bad_records"), 0);
    run_result result = train(recipe, out, "--set", "data.0.skip_bad=1");
    expect_contains(result.err, "jsonl: so far 1 broken records and 0 that were too long");
    expect_code(result, 0);
    run_free(&result);
    assert_true(last_of(out, "bad_records") >= 1);
    assert_int_equal(last_of(out, "skipped_records"), 0);

    char line[1000] = "{\"prompt\": \"", *end = line + strlen(line);
    memset(end, 'x', 300);
    strcpy(end + 300, "\", \"completion\": \"y\"}");
    recipe = jsonl_recipe(write_lines("b.jsonl", 20, line));
    out = run_file("long");
    result = train(recipe, out, "--set", "data.0.too_long=skip");
    expect_contains(result.err, "jsonl: so far 0 broken records and 1 that were too long");
    expect_code(result, 0);
    run_free(&result);
    assert_true(last_of(out, "skipped_records") >= 1);
    train_expect(train(recipe, run_file("split"), "--set", "data.0.too_long=split"), 0, "new run");
    shell("grep -v xxx %s/b.jsonl > %s/c.jsonl", run_folder, run_folder);
    recipe = jsonl_recipe(run_file("c.jsonl"));
    result = train(recipe, run_file("all"), NULL);
    if (strstr(result.err, "so far"))
        fail_msg("found \"%s\", need nothing about records", result.err);
    run_free(&result);
}

/* What reading on shows ends the run, and what was done till then is not lost. */
static void a_bad_line_in_the_middle_ends_the_run_and_keeps_its_steps(void **state)
{
    (void)state;
    const char *out = run_file("out"), *whole = run_file("whole"),
               *recipe = jsonl_recipe(write_lines("a.jsonl", 60, "{\"text\": 5}"));
    run_result result = train(recipe, out, "--set", "output.every=0");
    expect_contains(result.err, "out: saved at step ");
    train_expect(result, 3, "a.jsonl: record: line 61: text: found");
    train_expect(train(recipe, out, "--set", "output.every=0"), 3, "a.jsonl: record: line 61: "); /* where it stood */
    train_expect(train(recipe, out, "--set", "data.0.skip_bad=1", "--override", "data.0.skip_bad"), 0, "resumed");
    train_expect(train(recipe, whole, "--set", "data.0.skip_bad=1"), 0, "new run");
    train_expect_same(whole, out, 6);
}

static void records_of_which_none_can_be_used_are_refused(void **state)
{
    (void)state;
    char line[1000] = "{\"prompt\": \"", *end = line + strlen(line);
    memset(end, 'x', 300);
    strcpy(end + 300, "\", \"completion\": \"y\"}\n");
    const char *recipe = jsonl_recipe(run_write_text("long.jsonl", line));
    train_expect(train(recipe, run_file("a"), NULL), 3, "long.jsonl: record: line 1: found 302 tokens, need at most 144");
    train_expect(train(recipe, run_file("b"), "--set", "data.0.too_long=skip"), 3, "found none of at most 144 tokens");
    train_expect(train(recipe, run_file("c"), "--set", "data.0.skip_bad=5"), 3, "found 302 tokens");
}

/* ---- files that change -------------------------------------------------------------------------------------------- */

static void data_that_is_gone_or_another_is_told(void **state)
{
    (void)state;
    const char *path = write_lines("a.jsonl", 30, NULL), *out = run_file("out"), *whole = run_file("whole"),
               *recipe = jsonl_recipe(path);
    train_expect(train(recipe, whole, "--set", "train.steps=8"), 0, "new run");
    train_expect(train(recipe, out, NULL), 0, "new run");
    shell("mv %s %s", path, run_file("kept"));
    expect_refused(train(recipe, out, "--set", "train.steps=8"), 5, "a.jsonl");
    write_lines("a.jsonl", 31, NULL);
    expect_refused(train(recipe, out, "--set", "train.steps=8"), 3, "a.jsonl: content: found");
    shell("sed 's/and/AND/' %s > %s", run_file("kept"), path);
    expect_refused(train(recipe, out, "--set", "train.steps=8"), 3, "a.jsonl: content: found another than what was read");
    char set[700];
    snprintf(set, sizeof set, "data.0.path=%s", run_file("kept"));
    train_expect(train(recipe, out, "--set", "train.steps=8", "--set", set), 0, "resumed, steps 7 to 8");
    train_expect_same(whole, out, 8);
}

static void data_that_changes_while_it_is_read_ends_the_run_and_keeps_its_steps(void **state)
{
    (void)state;
    const char *path = write_lines("a.jsonl", 30, NULL), *out = run_file("out"), *recipe = jsonl_recipe(path);
    shell("cp %s %s", path, run_file("kept"));
    const run_plan plan = train_plan(recipe, out, "--set", "train.steps=1000000", "--set", "output.every=0");
    run_child child = run_start(&plan);
    for (int i = 0; i < 20000 && train_lines(out) < 3; i++)
        usleep(1000);
    shell("echo >> %s", path);
    run_result result = run_finish(child);
    expect_contains(result.err, "saved at step ");
    train_expect(result, 5, "a.jsonl");
    shell("cp %s %s", run_file("kept"), path);
    train_expect(train(recipe, out, "--set", "train.steps=1000000", "--dry-run", "--resume", "must"), 0, "resumed");
}

/* ---- recipes that cannot work ------------------------------------------------------------------------------------- */

static void recipes_that_cannot_work_are_refused_in_words(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    expect_refused(train(recipe, out, "--set", "data.0.digits=9", "--set", "fam.block_size=8", "--set", "train.blocks=40"), 2,
                   "data.0.digits: found an answer of 9 tokens, need at most a block (8)");
    expect_refused(train(recipe, out, "--set", "train.blocks=1", "--set", "fam.block_size=6"), 2,
                   "train.blocks: found sequences of 6 tokens, need at least 8 for what is asked");
    expect_refused(train(recipe, out, "--set", "train.blocks=null", "--set", "curriculum={from_blocks: 1, to_blocks: 64}",
                         "--set", "fam.block_size=6"), 2, "curriculum.from_blocks: found sequences of 6 tokens");
    expect_refused(train(recipe, out, "--set", "validation={every: 1, blocks: 1}", "--set", "fam.block_size=6"), 2,
                   "validation.blocks: found sequences of 6 tokens");
    expect_refused(train(recipe, out, "--set", "data.0.keys=2", "--set", "data.0.asked=3"), 2, "need at most keys, 2");
    expect_refused(train(recipe, out, "--set", "data.0.share=0"), 3, "shares that are all 0");
    expect_refused(train(recipe, out, "--set", "data=[]"), 3, "found no entries");
    expect_refused(train(recipe, out, "--set", "fam.mode=full"), 2, "fam.mode");
    expect_refused(train(recipe, out, "--set", "fam.fam_length=null"), 3, "need the rows of the memory");
    expect_refused(train(recipe, out, "--set", "model.new.heads=3"), 2, "model.new.heads");
    expect_refused(train(recipe, out, "--set", "adapt.what=prompt"), 2, "model.new");
    expect_refused(train(recipe, out, "--set", "validation={every: 1, seed: 1}"), 2, "train.seed too");
    recipe = text_recipe(run_write_text("book.txt", "Some words, and then some more of them.\n"));
    expect_refused(train(recipe, out, "--set", "data.0.weight=0"), 3, "found no token with a loss weight");
    expect_refused(train(recipe, out, "--set", "data.0.weight=0", "--set", "data.0.repeat_tokens=5", "--set",
                         "data.0.repeat_weight=0"), 3, "found no token with a loss weight");
    expect_refused(train(recipe, out, "--set", "data.0.repeat_tokens=70"), 2, "found sequences of 144 tokens, need at least");
    expect_refused(train(recipe, out, "--set", "validation={every: 1}"), 2, "files that are trained on are not measured with");
    assert_int_equal(access(out, F_OK), -1);
}

static void recipes_that_do_not_fit_their_model_are_refused_in_words(void **state)
{
    (void)state;
    const char *out = run_file("out");
    train_expect(train(train_recipe(), run_file("base"), "--set", "train.steps=2"), 0, "new run");
    const char *recipe = run_write_text("adapter.yaml", "model: {path: base/result}\n"
                                                        "fam: {mode: fam, block_size: 48, fam_length: 5}\n"
                                                        "adapt: {rank: 3, targets: [q_proj]}\n"
                                                        "optimizer: {warmup_steps: 1, schedule: constant}\n"
                                                        "train: {steps: 2, sequences: 2, blocks: 3}\n"
                                                        "data:\n" TRAIN_RECALL);
    train_expect(train(recipe, run_file("five"), NULL), 0, "new run");
    char adapter[700];
    snprintf(adapter, sizeof adapter, "model.adapter=%s", run_file("five/result"));
    expect_refused(train(recipe, out, "--set", adapter, "--set", "fam.fam_length=4"), 3,
                   "found 5 x 16, need 4 x 16 (fam_length x hidden size)");
    expect_refused(train(recipe, out, "--set", "model.path=nowhere"), 5, "nowhere");
    snprintf(adapter, sizeof adapter, "model.adapter=%s", run_file("nowhere"));
    expect_refused(train(recipe, out, "--set", adapter), 5, "nowhere");
    expect_refused(train(recipe, out, "--set", "fam.mode=bswa", "--set", "fam.fam_length=null", "--set", "adapt.what=prompt",
                         "--set", "adapt.rank=null", "--set", "adapt.targets=null"), 2, "need mode fam");
    assert_int_equal(access(out, F_OK), -1);
}

static void a_run_whose_numbers_are_not_finite_ends(void **state)
{
    (void)state;
    const char *recipe = train_recipe(), *out = run_file("out");
    run_result result = train(recipe, out, "--set", "optimizer.learning_rate=100", "--set", "optimizer.clip=0", "--set",
                              "optimizer.bad_steps_max=2", "--set", "train.steps=50", "--set", "output.every=1");
    expect_contains(result.err, "loss or gradient not finite, nothing was changed (1 in a row, 1 in all)");
    train_expect(result, 1, "found 2 steps in a row with a loss or gradient that is not finite");
}

static const struct CMUnitTest tests[] = {
    test_in_folder(a_bad_line_is_refused_with_its_place),
    test_in_folder(a_nul_in_a_line_is_refused),
    test_in_folder(files_that_are_no_lines_are_refused),
    test_in_folder(a_line_of_more_than_64_mib_is_refused),
    test_in_folder(line_ends_of_all_kinds_are_read_alike),
    test_in_folder(records_that_are_left_out_are_told_and_counted),
    test_in_folder(a_bad_line_in_the_middle_ends_the_run_and_keeps_its_steps),
    test_in_folder(records_of_which_none_can_be_used_are_refused),
    test_in_folder(data_that_is_gone_or_another_is_told),
    test_in_folder(data_that_changes_while_it_is_read_ends_the_run_and_keeps_its_steps),
    test_in_folder(recipes_that_cannot_work_are_refused_in_words),
    test_in_folder(recipes_that_do_not_fit_their_model_are_refused_in_words),
    test_in_folder(a_run_whose_numbers_are_not_finite_ends),
};
SUITE_MAIN(tests)
