/*
 * fam plot as users run it: pages and pictures that are whole and hold what they should; files that are torn, wrong or
 * hostile; and the report that fam train draws.
 */
#include "markup.h"
#include "run.h"

static void need_gnuplot(void)
{
    if (system("command -v gnuplot >/dev/null 2>&1") != 0)
        skip(); /* gnuplot is not installed */
}

/* ---- fixtures --------------------------------------------------------------------------------------------------- */

enum { STEPS = 50 };

/* A line of metrics as the trainer writes it. */
static void write_step(FILE *out, int step, double loss, const char *more)
{
    fprintf(out,
            "{\"step\":%d,\"loss\":%.9g,\"loss_hex\":\"0x1p+0\",\"accuracy\":%.3f,\"answer_tokens\":64,\"blocks\":%d,"
            "\"tokens\":4096,\"gradient_norm\":%.9g,\"gradient_norm_hex\":\"0x1p+0\",\"clipped\":%s,\"skipped\":false,"
            "\"rate\":%.9g,\"prompt_rate\":%.9g,\"seconds\":0.25,\"level\":%d%s}\n",
            step, loss, step / 60.0, step <= 20 ? 2 : 2 + step % 3, 5.0 / step, step <= 5 ? "true" : "false",
            1e-5 * step, 2e-5 * step, step < 20 ? 2 : 4, more);
}

static char *held_out(char out[3000], const char *name, double loss)
{
    snprintf(out, 3000,
             ",\"validation\":[{\"name\":\"%s\",\"sequences\":16,\"blocks\":4,\"loss\":%.9g,\"accuracy\":0.75,"
             "\"exact\":0.5}]",
             name, loss);
    return out;
}

static const char recipe[] = "model:\n  path: smol \"<b>&.gguf\n  new: null\nadapt:\n  what: adapter\n  rank: 8\n"
                             "optimizer:\n  kind: adamw\n  clip: 1.0\ntrain:\n  steps: 60\n  seed: 7\n"
                             "data:\n- kind: recall\n  name: \"</pre><script>alert(1)</script>\"\n";

static const char *make_folder(const char *name)
{
    const char *path = run_file(name);
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

/* A run of 50 steps: promoted after 20, validated at 25 and 50, clipped in the first five. */
static const char *make_run(const char *name, double scale, const char *entry)
{
    char path[64], more[3000];
    const char *folder = make_folder(name);
    snprintf(path, sizeof path, "%s/metrics.jsonl", name);
    FILE *out = fopen(run_file(path), "w");
    assert_non_null(out);
    for (int step = 1; step <= STEPS; step++)
        write_step(out, step, scale * 5 / step,
                   step == 20       ? ",\"promoted\":true"
                   : step % 25 == 0 ? held_out(more, entry, scale * 6 / step)
                                    : "");
    assert_int_equal(fclose(out), 0);
    snprintf(path, sizeof path, "%s/recipe.yaml", name);
    run_write_text(path, recipe);
    return folder;
}

static void write_system(FILE *out, const char *name, const char *mode, const char *reach)
{
    fprintf(
        out,
        "{\"name\":\"%s\",\"mode\":\"%s\",\"adapter\":null,\"block_size\":128,\"memory_segments\":0,\"fam_length\":16,"
        "\"state_norm\":\"rms\",\"fam_positions\":null,\"window\":null,\"dtype\":\"f32\",\"reach\":%s}",
        name, mode, reach);
}

static void write_cell(FILE *out, const char *system, int length, double depth, double exact)
{
    fprintf(out,
            "{\"system\":\"%s\",\"length\":%d,\"depth\":%g,\"depth_from\":%g,\"depth_to\":%g,\"keys\":1,\"draws\":25,"
            "\"exact\":%g,\"exact_low\":%g,\"exact_high\":%g,\"parts\":%g,\"digits\":%g,\"nll\":%g,\"seconds\":2.5,"
            "\"tokens\":%d}",
            system, length, depth, depth, depth, exact, exact * 0.9, exact + (1 - exact) * 0.1, exact, exact,
            3 * (1 - exact), 25 * length);
}

/* Two systems, three lengths, two depths; `first` is the first system's name in JSON. */
static const char *make_eval(const char *name, const char *task, const char *first)
{
    char path[64];
    const char *folder = make_folder(name), *comma = "";
    snprintf(path, sizeof path, "%s/results.json", name);
    FILE *out = fopen(run_file(path), "w");
    assert_non_null(out);
    fprintf(
        out,
        "{\"kind\":\"fam-eval\",\"version\":1,\"task\":\"%s\",\"model\":\"m.gguf\",\"seed\":\"18446744073709551615\","
        "\"draws\":25,\"digits\":5,\"asked\":1,\"complete\":true,\"systems\":[",
        task);
    write_system(out, first, "fam", "null");
    fputc(',', out);
    write_system(out, "bswa", "bswa", "3072");
    fputs("],\"cells\":[", out);
    for (int length = 2048; length <= 8192; length *= 2) {
        for (int depth = 0; depth < 2; depth++) {
            fputs(comma, out);
            write_cell(out, first, length, depth, 0.96 - length / 100000.0);
            fputc(',', out);
            write_cell(out, "bswa", length, depth, length == 2048 || depth == 1 ? 1 : 0);
            comma = ",";
        }
    }
    fputs("],\"by_depth\":[],\"notes\":[\"A note <i>.\"]}\n", out);
    assert_int_equal(fclose(out), 0);
    return folder;
}

/* What was written there: a page whose markup holds. Released with free. */
static char *page_of(const char *path)
{
    char *page = run_slurp(path, NULL);
    markup_check(page);
    assert_null(strstr(page, "<script"));
    return page;
}

static char *picture_of(const char *path)
{
    char *svg = run_slurp(path, NULL);
    markup_check(svg);
    assert_int_equal(markup_count(svg, "<?xml "), 1);
    assert_int_equal(markup_count(svg, "<svg"), 1);
    return svg;
}

/* The part of a picture that is plot number n, counted from 1. */
static char *plot_of(const char *svg, const char *name, int n)
{
    char mark[64];
    snprintf(mark, sizeof mark, "id=\"%s_plot_%d\"", name, n);
    const char *from = strstr(svg, mark);
    if (!from)
        fail_msg("no plot %s", mark);
    snprintf(mark, sizeof mark, "id=\"%s_plot_%d\"", name, n + 1);
    const char *to = strstr(from, mark);
    return strndup(from, to ? (size_t)(to - from) : strlen(from));
}

/* Points of the lines in it. */
static int points_in(const char *plot)
{
    int count = 0;
    for (const char *at = plot; *at; at++)
        count += (*at == 'M' || *at == 'L') && at > plot && strchr(" \t'", at[-1]) && at[1] >= '0' && at[1] <= '9';
    return count;
}

/* ---- training --------------------------------------------------------------------------------------------------- */

static void a_run_is_a_page_with_its_pictures(void **state)
{
    (void)state;
    need_gnuplot();
    const char *folder = make_run("tutorial", 1, "recall");
    run_result result = run("plot", folder, "--svg", run_file("figures"));
    expect_code(result, 0);
    assert_string_equal(result.err, "");
    result.out[strcspn(result.out, "\n")] = '\0';
    assert_string_equal(result.out, run_file("tutorial/report.html"));
    run_free(&result);
    char *page = page_of(run_file("tutorial/report.html"));
    static const char *const parts[] = {"<h1>tutorial</h1>",
                                        "step 50 of 60",
                                        "smol &quot;&lt;b&gt;&amp;.gguf",
                                        "204,800",
                                        "LoRA of rank 8",
                                        "10.0 % of the steps",
                                        "16,384 tokens/s",
                                        "75.0 %",
                                        "50.0 %",
                                        "0.1200",
                                        "&lt;/pre&gt;&lt;script&gt;",
                                        "4 blocks",
                                        "clipped above 1",
                                        "clipped (5)"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        expect_contains(page, parts[i]);
    assert_int_equal(markup_count(page, "<svg"), 6);
    assert_null(strstr(page, "http-equiv"));
    free(page);
    char *svg = picture_of(run_file("figures/loss.svg"));
    char *raw = plot_of(svg, "loss", 1), *marks = plot_of(svg, "loss", 3);
    assert_int_equal(points_in(raw), STEPS);
    assert_null(strstr(svg, "<title>loss_plot"));
    assert_int_equal(markup_count(marks, "<use "), 2 + 1); /* two validations, and the legend */
    expect_contains(marks, "recall, held out");
    free(raw);
    free(marks);
    free(svg);
    static const char *const others[] = {"accuracy", "blocks", "gradient_norm", "learning_rate", "speed"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char name[64];
        snprintf(name, sizeof name, "figures/%s.svg", others[i]);
        free(picture_of(run_file(name)));
    }
}

static void runs_are_compared(void **state)
{
    (void)state;
    need_gnuplot();
    const char *one = make_run("one", 1, "recall"), *two = make_run("two", 2, "recall"), *out = run_file("both.html");
    expect_refused(run("plot", one, two), 2, "--out: found none with 2 PATHs");
    run_write_text("two/recipe.yaml", "train:\n  seed: 8\n");
    run_result result = run("plot", one, two, "--out", out, "--svg", run_file("figures"));
    expect_code(result, 0);
    run_free(&result);
    char *page = page_of(out), *svg = picture_of(run_file("figures/loss.svg"));
    expect_contains(page, "<h1>one, two</h1>");
    expect_contains(page, "<td class=\"text\">train.seed</td><td>7</td><td>8</td>");
    expect_contains(page, "The recipe of two");
    char *second = plot_of(svg, "loss", 2), *marks = plot_of(svg, "loss", 4);
    assert_int_equal(points_in(second), STEPS + 2); /* and the legend's line */
    assert_int_equal(markup_count(marks, "<use "), 2);
    free(second);
    free(marks);
    free(svg);
    free(page);
    expect_refused(run("plot", one, make_eval("eval", "passkey", "fam"), "--out", out), 3,
                   "found an evaluation, need a training run");
    expect_refused(run("plot", one, one, one, one, one, one, one, one, one, "--out", out), 2,
                   "found 9 paths, need at most 8");
}

static void runs_of_one_name_are_told_apart(void **state)
{
    (void)state;
    need_gnuplot();
    make_run("one", 1, "recall");
    make_folder("a");
    make_run("a/one", 1, "recall");
    run_result result =
        run_plan_now((run_plan){.arguments = {"plot", "one", "a/one", "--out", "same.html"}, .directory = run_folder});
    expect_code(result, 0);
    run_free(&result);
    char *page = page_of(run_file("same.html"));
    expect_contains(page, "<h1>one, a/one</h1>");
    free(page);
}

/* Appends to the run's metrics. */
static void append(const char *path, const char *text)
{
    FILE *out = fopen(path, "a");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static void a_torn_last_line_is_left_out_and_a_wrong_one_is_named(void **state)
{
    (void)state;
    need_gnuplot();
    const char *folder = make_run("run", 1, "recall"), *metrics = run_file("run/metrics.jsonl");
    append(metrics, "{\"step\":51,\"loss\":0.1,\"acc");
    run_result result = run("plot", folder);
    expect_code(result, 0);
    run_free(&result);
    char *page = page_of(run_file("run/report.html"));
    expect_contains(page, "step 50 of 60");
    free(page);
    append(metrics, "uracy\":1}\n{\"step\":52}\n[1]\n");
    expect_refused(run("plot", folder), 3, "metrics.jsonl: line 53: found no JSON object");
    static const char *const lines[][2] = {
        {"{\"step\":\"1\"}\n", "line 1: \"step\": found something else, need an integer"},
        {"{\"step\":0}\n", "line 1: \"step\": found something else, need an integer of at least 1"},
        {"{\"step\":9007199254740993}\n", "line 1: \"step\""},
        {"{}\n", "line 1: \"step\""},
        {"{\"step\":1,\"loss\":\"x\"}\n", "line 1: \"loss\": found something else, need a number or null"},
        {"{\"step\":1,\"tokens\":-1}\n", "line 1: \"tokens\""},
        {"{\"step\":1}\n{\"step\":2,\"clipped\":1}\n", "line 2: \"clipped\": found something else, need true or false"},
        {"{\"step\":1,\"validation\":{}}\n", "line 1: \"validation\": found something else, need an array"},
        {"{\"step\":1,\"validation\":[1]}\n", "line 1: \"validation\": found something else, need objects"},
        {"{\"step\":1,\"validation\":[{\"name\":7}]}\n", "line 1: \"validation: name\""},
        {"{\"step\":1,\"step\":2}\n", "line 1: found no JSON object"},
        {"{\"step\":1,\"loss\":1e999}\n", "line 1: found no JSON object"},
        {"\n", "line 1: found no JSON object"},
        {"{\"step\":1}\n\xff\n", "line 2: found no JSON object"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        run_write_text("run/metrics.jsonl", lines[i][0]);
        expect_refused(run("plot", folder), 3, lines[i][1]);
    }
}

static void an_empty_or_short_run_is_drawn(void **state)
{
    (void)state;
    need_gnuplot();
    make_folder("run");
    static const char *const texts[] = {
        "",
        "{\"step\":1}\n",
        "{\"step\":1,\"loss\":2.5,\"tokens\":1,\"seconds\":0}\n",
        "{\"step\":1,\"loss\":0,\"gradient_norm\":0,\"rate\":0,\"prompt_rate\":0,\"blocks\":1}\n",
        "{\"step\":9007199254740992,\"loss\":1e300,\"gradient_norm\":5e-324,\"level\":3,\"promoted\":true}\n",
        "{\"step\":3,\"loss\":-1e300,\"accuracy\":1e300}\n{\"step\":2,\"loss\":1e-300}\n",
        "{\"step\":7,\"loss\":null,\"skipped\":true,\"gradient_norm\":1,\"level\":9007199254740992}\n",
        "{\"step\":1,\"seconds\":0.5}\n",
        "{\"step\":1,\"loss\":1e-320}\n",
        "{\"step\":1,\"loss\":1e-310,\"accuracy\":0,\"gradient_norm\":1e308,\"rate\":1e308,\"level\":1,\"tokens\":"
        "9007199254740992,"
        "\"seconds\":5e-324}\n{\"step\":2,\"loss\":1e308,\"gradient_norm\":1e-320,\"rate\":-1,\"tokens\":9,\"seconds\":"
        "1e308}\n",
        "{\"step\":1,\"loss\":-1.7e308}\n{\"step\":2,\"loss\":1.7e308}\n"};
    static const int pictures[] = {0, 0, 1, 3, 3, 2, 2, 1, 1, 6, 1};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        run_write_text("run/metrics.jsonl", texts[i]);
        run_result result = run("plot", run_file("run"));
        expect_code(result, 0);
        run_free(&result);
        char *page = page_of(run_file("run/report.html"));
        assert_int_equal(markup_count(page, "<svg"), pictures[i]);
        free(page);
    }
}

static void a_long_run_gives_a_short_page(void **state)
{
    (void)state;
    need_gnuplot();
    make_folder("run");
    FILE *out = fopen(run_file("run/metrics.jsonl"), "w");
    assert_non_null(out);
    for (int step = 1; step <= 200000; step++)
        fprintf(out, "{\"step\":%d,\"loss\":%d.5,\"gradient_norm\":%d,\"rate\":1e-3,\"accuracy\":0.5,\"blocks\":%d}\n",
                step, step == 123457 ? 900 : 1 + step % 7, 1 + step % 11, 1 + step % 5);
    assert_int_equal(fclose(out), 0);
    run_result result = run("plot", run_file("run"));
    expect_code(result, 0);
    run_free(&result);
    size_t size;
    free(run_slurp(run_file("run/report.html"), &size));
    if (size > 1500000)
        fail_msg("a page of %zu bytes", size);
    free(page_of(run_file("run/report.html")));
}

/* ---- evaluations ------------------------------------------------------------------------------------------------ */

static void an_evaluation_is_a_page_with_tables_and_curves(void **state)
{
    (void)state;
    need_gnuplot();
    const char *folder = make_eval("eval", "passkey", "fam");
    run_result result = run("plot", run_file("eval/results.json"), "--svg", run_file("figures"));
    expect_code(result, 0);
    expect_contains(result.out, "eval/report.html");
    run_free(&result);
    char *page = page_of(run_file("eval/report.html"));
    static const char *const parts[] = {"18446744073709551615",
                                        "3,072 tokens",
                                        "no limit",
                                        "mode fam, block size 128, segments 0, memory of 16, norm rms, f32<",
                                        "mode bswa, block size 128, segments 0, f32<",
                                        "A note &lt;i&gt;.",
                                        "94.0 <span class=\"interval\">(84.6 to 94.6)",
                                        "0.181",
                                        "<tr><td>8,192</td><td>1</td><td>1</td><td>25</td>"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        expect_contains(page, parts[i]);
    free(page);
    char *svg = picture_of(run_file("figures/exact_by_length.svg"));
    char *first = plot_of(svg, "exact_by_length", 2);
    assert_int_equal(markup_count(first, "<use "), 3 + 1);
    free(first);
    free(svg);
    svg = picture_of(run_file("figures/depths_2.svg")); /* of bswa */
    assert_int_equal(markup_count(svg, "<polygon"), 6);
    assert_int_equal(markup_count(svg, ">100<"), 4);
    assert_int_equal(markup_count(svg, ">0<"), 2 + 1); /* and a mark of the axis */
    free(svg);
    free(picture_of(run_file("figures/depths.svg")));
    free(picture_of(run_file("figures/answer_loss.svg")));
    const char *other = make_eval("other", "passkey", "fam"), *out = run_file("both.html");
    result = run("plot", folder, other, "--out", out);
    expect_code(result, 0);
    run_free(&result);
    page = page_of(out);
    expect_contains(page, "eval: fam");
    expect_contains(page, "other: bswa");
    free(page);
    expect_refused(run("plot", folder, make_eval("third", "recall", "fam"), "--out", out), 3,
                   "found the task recall, need passkey");
}

static void the_loss_by_depth_is_drawn(void **state)
{
    (void)state;
    need_gnuplot();
    make_folder("eval");
    run_write_text(
        "eval/results.json",
        "{\"kind\":\"fam-eval\",\"version\":1,\"task\":\"text\",\"model\":null,\"seed\":\"0\",\"draws\":2,\"digits\":5,"
        "\"asked\":1,"
        "\"complete\":false,\"systems\":[{\"name\":\"fam\"}],\"cells\":[{\"system\":\"fam\",\"length\":512,\"depth\":"
        "null,"
        "\"depth_from\":0,\"depth_to\":1,\"keys\":0,\"draws\":1,\"exact\":null,\"exact_low\":null,\"exact_high\":null,"
        "\"parts\":null,\"digits\":null,\"nll\":3,\"seconds\":1,\"tokens\":512}],\"by_depth\":["
        "{\"system\":\"fam\",\"length\":512,\"from\":0,\"to\":255,\"draws\":2,\"nll\":3.25,\"nll_low\":3,\"nll_high\":"
        "3.5},"
        "{\"system\":\"fam\",\"length\":512,\"from\":256,\"to\":511,\"draws\":1,\"nll\":2.5,\"nll_low\":null,\"nll_"
        "high\":null}]}");
    run_result result = run("plot", run_file("eval"), "--svg", run_file("figures"));
    expect_code(result, 0);
    run_free(&result);
    char *page = page_of(run_file("eval/report.html")), *svg = picture_of(run_file("figures/loss_by_depth.svg"));
    char *curve = plot_of(svg, "loss_by_depth", 2);
    assert_int_equal(markup_count(curve, "<use "), 2 + 1);
    expect_contains(page, "3.2500 <span class=\"interval\">(3.0000 to 3.5000)");
    expect_contains(page, "<td>2.5000</td>");
    expect_contains(page, "Not all draws are done yet");
    free(curve);
    free(svg);
    free(page);
}

static void wrong_results_are_named(void **state)
{
    (void)state;
    make_folder("eval");
    const char *path = run_file("eval/results.json");
    static const char *const texts[][2] = {
        {"", "line 1: found no JSON"},
        {"[]", "found no JSON object"},
        {"{}", "\"kind\""},
        {"{\"kind\":\"fam-eval\",\"version\":2}", "found version 2, need 1"},
        {"{\"kind\":\"fam-eval\",\"version\":1,\"task\":7}", "\"task\": found something else, need a string"},
        {"{\"kind\":\"fam-eval\",\"version\":1,\"task\":\"t\",\"model\":null,\"seed\":\"1\",\"draws\":1,\"digits\":1,"
         "\"asked\":1,"
         "\"systems\":[{\"name\":\"a\"},{\"name\":\"a\"}]}",
         "systems[1]: \"name\": found something else, need a name that no other"},
        {"{\"kind\":\"fam-eval\",\"version\":1,\"task\":\"t\",\"model\":null,\"seed\":\"1\",\"draws\":1,\"digits\":1,"
         "\"asked\":1,"
         "\"systems\":[{\"name\":\"a\"}],\"cells\":[{\"system\":\"b\"}]}",
         "cells[0]: \"system\": found something else, need the name"},
        {"{\"kind\":\"fam-eval\",\"version\":1,\"task\":\"t\",\"model\":null,\"seed\":\"1\",\"draws\":1,\"digits\":1,"
         "\"asked\":1,"
         "\"systems\":[{\"name\":\"a\"}],\"cells\":[{\"system\":\"a\",\"length\":1e3}]}",
         "cells[0]: \"length\": found something else"},
        {"{\"kind\":\"fam-eval\",\"version\":1,\"task\":\"t\",\"model\":null,\"seed\":\"1\",\"draws\":1,\"digits\":1,"
         "\"asked\":1,"
         "\"systems\":[{\"name\":\"a\"}],\"cells\":[],\"by_depth\":3}",
         "\"by_depth\": found something else, need an array"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        run_write_text("eval/results.json", texts[i][0]);
        expect_refused(run("plot", path), 3, texts[i][1]);
    }
    expect_refused(run("plot", run_file("nothing")), 5, "nothing");
    expect_refused(run("plot", make_folder("empty")), 5, "found neither metrics.jsonl");
    assert_int_equal(mkfifo(run_file("pipe"), 0600), 0);
    expect_refused(run("plot", run_file("pipe")), 5, "found no regular file");
    expect_refused(run("plot"), 2, "found no PATH");
}

/* ---- hostile names ---------------------------------------------------------------------------------------------- */

static void names_are_text_and_nothing_else(void **state)
{
    (void)state;
    need_gnuplot();
    char touched[600], entry[2400];
    snprintf(touched, sizeof touched, "%s", run_file("touched"));
    /* In JSON; as the name of a folder it may hold no slash. */
    snprintf(entry, sizeof entry,
             "'; system \\\"touch %s\\\"; `touch %s` $(touch %s) @x %%s \\n</text><script>alert(1)</script>&", touched,
             touched, touched);
    make_run("run", 1, entry);
    make_run("';`touch touched`\"<script>&@x\\", 1, "\\u202e\\u0007");
    run_result result = run_plan_now(
        (run_plan){.arguments = {"plot", "run", "';`touch touched`\"<script>&@x\\", "--out", "o.html", "--svg", "svg"},
                   .directory = run_folder});
    expect_code(result, 0);
    run_free(&result);
    free(page_of(run_file("o.html")));
    free(picture_of(run_file("svg/loss.svg")));
    result = run("plot", run_file("run"), "--svg", run_file("svg"));
    expect_code(result, 0);
    run_free(&result);
    char *page = page_of(run_file("run/report.html"));
    expect_contains(page, "&#39;; system &quot;touch");
    free(page);
    free(picture_of(run_file("svg/loss.svg")));
    make_eval("eval", "passkey", entry);
    result = run("plot", run_file("eval"));
    expect_code(result, 0);
    run_free(&result);
    free(page_of(run_file("eval/report.html")));
    assert_int_equal(access(touched, F_OK), -1);
}

/* ---- files and the program gnuplot ------------------------------------------------------------------------------ */

/* With this folder alone on PATH. */
static run_result plot_with_path(const char *folder, const char *run_path)
{
    char *path = strdup(getenv("PATH"));
    setenv("PATH", folder, 1);
    run_result result = run("plot", run_path);
    setenv("PATH", path, 1);
    free(path);
    return result;
}

static void fake_gnuplot(const char *text)
{
    const char *path = run_write_text("bin/gnuplot", text);
    assert_int_equal(chmod(path, 0755), 0);
}

static void a_gnuplot_that_is_missing_or_fails_leaves_the_old_report(void **state)
{
    (void)state;
    const char *folder = make_run("run", 1, "recall"), *bin = make_folder("bin");
    run_write_text("run/report.html", "old");
    expect_refused(plot_with_path(bin, folder), 3,
                   "found no program gnuplot, need it: install the package gnuplot-nox");
    static const char *const fakes[][2] = {
        {"#!/bin/sh\necho '\"-\", line 7: wrong' >&2\nexit 1\n", "gnuplot: could not draw: line 7: wrong"},
        {"#!/bin/sh\nexit 1\n", "gnuplot: could not draw: it ended without a word"},
        {"#!/bin/sh\nkill -9 $$\n", "gnuplot: could not draw"},
        {"#!/bin/sh\nexit 0\n", "gnuplot: found 0 pictures, need 6"},
        {"#!/bin/sh\necho '<?xml version=\"1.0\"?><svg>'\n", "found half a picture"},
        {"#!/bin/sh\necho '<?xml version=\"1.0\"?><svg></svg>'\n", "found 1 pictures, need 6"},
        {"#!/bin/sh\nfor i in 1 2 3 4 5 6 7; do echo '<?xml version=\"1.0\"?><svg></svg>'; done\n",
         "found 6 pictures, need 6"},
    };
    for (size_t i = 0; i < sizeof fakes / sizeof *fakes; i++) {
        fake_gnuplot(fakes[i][0]);
        expect_refused(plot_with_path(bin, folder), 1, fakes[i][1]);
    }
    char *old = run_slurp(run_file("run/report.html"), NULL);
    assert_string_equal(old, "old");
    free(old);
}

static void what_is_no_regular_file_is_not_replaced(void **state)
{
    (void)state;
    need_gnuplot();
    const char *folder = make_run("run", 1, "recall");
    assert_int_equal(symlink("elsewhere", run_file("link")), 0);
    expect_refused(run("plot", folder, "--out", run_file("link")), 5,
                   "link: cannot be written: found something that is no regular file");
    expect_refused(run("plot", folder, "--out", "/dev/null"), 5, "/dev/null: cannot be written");
    expect_refused(run("plot", folder, "--out", run_file("no/where.html")), 5, "where.html: cannot be written");
    run_write_text("file", "");
    expect_refused(run("plot", folder, "--svg", run_file("file")), 5, "file: cannot be made");
    run_result result = run_plan_now((run_plan){.arguments = {"plot", "metrics.jsonl"}, .directory = folder});
    expect_code(result, 0);
    assert_string_equal(result.out, "report.html\n");
    run_free(&result);
    assert_int_equal(access(run_file("run/report.html"), F_OK), 0);
}

/* ---- fam train -------------------------------------------------------------------------------------------------- */

#define TRAIN(out, ...)                                                                                                \
    run("train", suite_path("recipes/tutorial.yaml"), "--out", out, "--set", "train.steps=2", "--set",                 \
        "optimizer.warmup_steps=1", "--set", "train.tokens_per_step=256", "--set", "train.sequences=2", "--set",       \
        "validation.every=1", "--set", "validation.sequences=1", __VA_ARGS__)

static void training_draws_its_report_and_goes_on_without(void **state)
{
    (void)state;
    need_gnuplot();
    run_result result = TRAIN(run_file("run"), NULL);
    expect_code(result, 0);
    run_free(&result);
    char *page = page_of(run_file("run/report.html"));
    expect_contains(page, "Done: step 2 of 2.");
    expect_contains(page, "Trained parameters");
    assert_null(strstr(page, "http-equiv"));
    free(page);
    result = TRAIN(run_file("quiet"), "--no-report");
    expect_code(result, 0);
    assert_null(strstr(result.err, "report"));
    run_free(&result);
    assert_int_equal(access(run_file("quiet/report.html"), F_OK), -1);
    char *path = strdup(getenv("PATH"));
    setenv("PATH", "/nonexistent", 1);
    result = TRAIN(run_file("bare"), NULL);
    setenv("PATH", path, 1);
    free(path);
    expect_code(result, 0);
    assert_int_equal(
        markup_count(result.err, "no report.html, the training goes on without: plots: found no program gnuplot"), 1);
    run_free(&result);
    assert_int_equal(access(run_file("bare/result"), F_OK), 0);
}

static const struct CMUnitTest tests[] = {
    test_in_folder(a_run_is_a_page_with_its_pictures),
    test_in_folder(runs_are_compared),
    test_in_folder(runs_of_one_name_are_told_apart),
    test_in_folder(a_torn_last_line_is_left_out_and_a_wrong_one_is_named),
    test_in_folder(an_empty_or_short_run_is_drawn),
    test_in_folder(a_long_run_gives_a_short_page),
    test_in_folder(an_evaluation_is_a_page_with_tables_and_curves),
    test_in_folder(the_loss_by_depth_is_drawn),
    test_in_folder(wrong_results_are_named),
    test_in_folder(names_are_text_and_nothing_else),
    test_in_folder(a_gnuplot_that_is_missing_or_fails_leaves_the_old_report),
    test_in_folder(what_is_no_regular_file_is_not_replaced),
    test_in_folder(training_draws_its_report_and_goes_on_without),
};
SUITE_MAIN(tests)
