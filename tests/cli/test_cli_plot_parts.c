/*
 * What fam plot is made of: curves of bounded size, recipes and headers as far as they are looked at, text made
 * harmless, axes.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drawing.h"
#include "escape.h"
#include "eval_results.h"
#include "recipe_facts.h"
#include "run_curves.h"
#include "suite.h"
#include "weights_count.h"

static run_curves *read_curves(const char *text, size_t size, fam_status need)
{
    run_curves *curves;
    fam_error error = {0};
    FILE *in = fmemopen((void *)text, size, "r");
    assert_non_null(in);
    fam_status status = run_curves_read(&curves, in, "m", &error);
    fclose(in);
    if (status != need)
        fail_msg("status %d: %s", status, error.message);
    return curves;
}

/* Steps with the loss 1, but for one with 1000 and one with 0.001. */
static run_curves *long_run(int steps, int peak, int dip)
{
    char *text = malloc((size_t)steps * 64), *p = text;
    assert_non_null(text);
    for (int step = 1; step <= steps; step++)
        p += sprintf(p, "{\"step\":%d,\"loss\":%s,\"skipped\":%s}\n", step,
                     step == peak  ? "1000"
                     : step == dip ? "0.001"
                                   : "1",
                     step == peak ? "true" : "false");
    run_curves *curves = read_curves(text, (size_t)(p - text), FAM_OK);
    free(text);
    return curves;
}

static void lowest_and_highest_stay_whatever_the_length(void **state)
{
    (void)state;
    static const int steps[] = {100, 2047, 2048, 5000, 100000};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        run_curves *c = long_run(steps[i], steps[i] / 3, steps[i] / 2 + 1);
        double low, high, sum = 0;
        int64_t count = 0, skipped = 0;
        assert_true(run_curves_range(c, CURVE_LOSS, &low, &high));
        assert_true(low == 0.001 && high == 1000);
        for (int b = 0; b < CURVE_BUCKETS; b++) {
            const curve_bucket *bucket = &c->buckets[CURVE_LOSS][b];
            count += bucket->count;
            sum += bucket->sum;
            skipped += c->skipped[b];
            if (bucket->count > 0 && bucket->high == 1000)
                assert_int_equal(bucket->high_step, steps[i] / 3);
            if (bucket->count > 0 && bucket->low == 0.001)
                assert_int_equal(bucket->low_step, steps[i] / 2 + 1);
            if (bucket->count > 0 && (bucket->low_step / c->width != b || bucket->high_step / c->width != b))
                fail_msg("bucket %d has the steps %lld and %lld", b, (long long)bucket->low_step,
                         (long long)bucket->high_step);
        }
        assert_int_equal(count, steps[i]);
        assert_int_equal(skipped, 1);
        assert_true(fabs(sum - (steps[i] - 2 + 1000.001)) < 1e-6);
        assert_int_equal(c->last_step, steps[i]);
        run_curves_free(c);
    }
}

static void smoothing_keeps_a_constant_and_gaps(void **state)
{
    (void)state;
    static const char text[] =
        "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":3}\n{\"step\":3,\"loss\":null}\n{\"step\":9,\"loss\":3}\n";
    run_curves *c = read_curves(text, strlen(text), FAM_OK);
    double *smooth = run_curves_smoothed(c, CURVE_LOSS);
    assert_non_null(smooth);
    for (int b = 0; b < 12; b++) {
        bool there = b == 1 || b == 2 || b == 9;
        assert_true(there ? fabs(smooth[b] - 3) < 1e-12 : isnan(smooth[b]));
    }
    free(smooth);
    run_curves_free(c);
}

static void validations_keep_the_first_and_the_newest(void **state)
{
    (void)state;
    enum { POINTS = 5000 };
    char *text = malloc(POINTS * 128), *p = text;
    for (int step = 1; step <= POINTS; step++) {
        p += sprintf(p, "{\"step\":%d,\"validation\":[{\"name\":\"v\",\"loss\":%d}]}\n", step, step);
        if (step != 1 && step != 1024 && step != 1025 && step != 2047 && step != 3333 && step != POINTS)
            continue;
        run_curves *c = read_curves(text, (size_t)(p - text), FAM_OK);
        assert_int_equal(c->validation_count, 1);
        const validation_curve *v = c->validations[0];
        assert_int_equal(v->points[0].step, 1);
        assert_int_equal(v->points[v->count - 1].step, step);
        for (int64_t i = 1; i < v->count; i++)
            assert_true(v->points[i].step > v->points[i - 1].step && v->points[i].step - v->points[i - 1].step <= 8);
        run_curves_free(c);
    }
    free(text);
}

static void a_line_without_end_is_refused(void **state)
{
    (void)state;
    size_t size = (size_t)CURVE_LINE_BYTES + 100;
    char *text = malloc(size);
    memset(text, ' ', size);
    memcpy(text, "{\"step\":1}\n", 11);
    run_curves_free(read_curves(text, size, FAM_STATUS_BAD_FORMAT));
    run_curves_free(read_curves(text, CURVE_LINE_BYTES, FAM_OK)); /* blanks behind the last line are torn, not wrong */
    free(text);
}

static char *escaped(void (*escape)(FILE *out, const char *text), const char *text)
{
    char *out = NULL;
    size_t size;
    FILE *file = open_memstream(&out, &size);
    escape(file, text);
    fclose(file);
    return out;
}

static void for_gnuplot(FILE *out, const char *text)
{
    escape_gnuplot(out, text, 12);
}

static void text_is_made_harmless(void **state)
{
    (void)state;
    static const struct {
        const char *text, *html, *gnuplot;
    } cases[] = {
        {"", "", "''"},
        {"a<b>&\"'", "a&lt;b&gt;&amp;&quot;&#39;", "'a<b>&\"’'"},
        {"`x`\n", "`x`\n", "'‘x‘\xef\xbf\xbd'"},
        {"\x01\x7f\xc2\x85z", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz",
         "'\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz'"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "ä€😀", "'ä€😀'"},
        {"\xc0\xaf\xed\xa0\x80x", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx",
         "'\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx'"},
        {"\xe2\x80\xae!\xc3", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!\xef\xbf\xbd",
         "'\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!\xef\xbf\xbd'"},
        {"abcdefghijklmnop", "abcdefghijklmnop", "'abcdefghijkl…'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *html = escaped(escape_html, cases[i].text), *gnuplot = escaped(for_gnuplot, cases[i].text);
        assert_string_equal(html, cases[i].html);
        assert_string_equal(gnuplot, cases[i].gnuplot);
        free(html);
        free(gnuplot);
    }
}

static void a_recipe_is_facts_by_path(void **state)
{
    (void)state;
    static recipe_facts facts;
    static const char text[] =
        "model:\n  path: null\n  new: {layers: 2, list: [a, b]}\ndata:\n- kind: recall\n  shares: [1, [2, 3]]\n"
        "- kind: text\nanchor: &x 1\nalias: *x\ntrain: {steps: 7}\n";
    recipe_facts_read(&facts, text, strlen(text));
    static const char *const want[][2] = {{"model.new.layers", "2"},  {"model.new.list[1]", "b"},
                                          {"data[0].kind", "recall"}, {"data[0].shares[1][0]", "2"},
                                          {"data[1].kind", "text"},   {"train.steps", "7"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const char *value = recipe_fact_get(&facts, want[i][0]);
        if (!value || strcmp(value, want[i][1]) != 0)
            fail_msg("%s: found %s, need %s", want[i][0], value ? value : "nothing", want[i][1]);
    }
    assert_null(recipe_fact_get(&facts, "model.path"));
    assert_null(recipe_fact_get(&facts, "train"));
    static const char *const others[] = {"", "[", "? [a]\n: b\n", "a: *b", "- - - - - - - - - - - - - - - - - - - - 1"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        recipe_facts_read(&facts, others[i], strlen(others[i]));
        assert_int_equal(facts.count, 0);
    }
}

static void weights_are_counted_from_a_header(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        int64_t count;
    } cases[] = {{"{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F32\",\"shape\":[3,4],\"data_offsets\":[0,48]},"
                  "\"y\":{\"shape\":[]}}",
                  13},
                 {"{}", 0},
                 {"[]", -1},
                 {"{\"x\":1}", -1},
                 {"{\"x\":{\"shape\":[-1]}}", -1},
                 {"{\"x\":{\"shape\":[4294967296,4294967296]}}", -1},
                 {"{\"x\":{\"shape\":[0,9007199254740992,2]}}", 0},
                 {"", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(weights_count_of_header(cases[i].json, strlen(cases[i].json)), cases[i].count);
}

static void wilson_is_as_in_the_textbook(void **state)
{
    (void)state;
    /* Agresti and Coull: 5 of 10 is 0.2366 to 0.7634; 0 of 20 is 0 to 0.1611. */
    double low, high;
    eval_wilson(0.5, 10, &low, &high);
    assert_true(fabs(low - 0.23659) < 1e-4 && fabs(high - 0.76341) < 1e-4);
    eval_wilson(0, 20, &low, &high);
    assert_true(low == 0 && fabs(high - 0.16113) < 1e-4);
    eval_wilson(1, 20, &low, &high);
    assert_true(high == 1 && fabs(low - 0.83887) < 1e-4);
}

static void counts_are_told_in_powers_of_1024(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        const char *text;
    } cases[] = {{1, "1"},        {1000, "1,000"},  {1024, "1k"}, {3072, "3k"}, {10000000, "10,000,000"},
                 {1048576, "1M"}, {10485760, "10M"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[DRAWING_COUNT_BYTES];
        assert_string_equal(drawing_count(text, cases[i].value), cases[i].text);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(lowest_and_highest_stay_whatever_the_length),
    cmocka_unit_test(smoothing_keeps_a_constant_and_gaps),
    cmocka_unit_test(validations_keep_the_first_and_the_newest),
    cmocka_unit_test(a_line_without_end_is_refused),
    cmocka_unit_test(text_is_made_harmless),
    cmocka_unit_test(a_recipe_is_facts_by_path),
    cmocka_unit_test(weights_are_counted_from_a_header),
    cmocka_unit_test(wilson_is_as_in_the_textbook),
    cmocka_unit_test(counts_are_told_in_powers_of_1024),
};
SUITE_MAIN(tests)
