/*
 * Pre-tokenizers of tokenizer.json against the `tokenizers` package (tests/oracle/pretokenizer.py); regular expressions
 * that are refused, or take too long.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "line_draw.h"
#include "suite.h"
#include "text/tokenizer_json.h"

#define FIXTURE "tests/fixtures/pretokenizer/splits.json"

static fam_memory memory;
static fam_error error;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

/* Words one after the other, each with its length and offset before it. */
typedef struct words {
    uint8_t bytes[4 * LINE_DRAW_MAX];
    size_t used, count;
} words;

static fam_status collect(void *context, const uint8_t *word, size_t size, int64_t offset, fam_error *unused)
{
    (void)unused;
    words *w = context;
    int64_t head[2] = {(int64_t)size, offset};
    assert_true(size > 0);
    assert_true(w->used + size + sizeof head <= sizeof w->bytes);
    memcpy(w->bytes + w->used, head, sizeof head);
    memcpy(w->bytes + w->used + sizeof head, word, size);
    w->used += size + sizeof head;
    w->count++;
    return FAM_OK;
}

static void split(words *out, fam_pretokenizer *pretokenizer, const uint8_t *text, size_t size, fam_random *random)
{
    out->used = out->count = 0;
    for (size_t at = 0; at < size;) {
        size_t n = random ? fam_random_next(random) % 6 : size;
        n = n < size - at ? n : size - at;
        assert_ok(fam_pretokenizer_push(pretokenizer, text + at, n, (int64_t)at, false, &error));
        at += n;
    }
    assert_ok(fam_pretokenizer_push(pretokenizer, NULL, 0, (int64_t)size, true, &error));
    assert_int_equal(fam_pretokenizer_held(pretokenizer), 0);
}

/* The words, and that each lies in the text where its offset says; a space may have been put before it. */
static void assert_words(const words *got, const json_t *want, const uint8_t *text, const char *what)
{
    size_t at = 0, i;
    json_t *word;
    json_array_foreach(want, i, word)
    {
        int64_t head[2];
        if (i == got->count)
            fail_msg("%s: %zu words, need %zu", what, got->count, json_array_size(want));
        memcpy(head, got->bytes + at, sizeof head);
        const uint8_t *bytes = got->bytes + at + sizeof head;
        if ((size_t)head[0] != json_string_length(word) || memcmp(bytes, json_string_value(word), (size_t)head[0]) != 0)
            fail_msg("%s: word %zu: found \"%.*s\", need \"%s\"", what, i, (int)head[0], (const char *)bytes,
                     json_string_value(word));
        size_t put = head[1] < 0 || memcmp(bytes, text + head[1], (size_t)head[0]) != 0;
        assert_true(put == 0 || bytes[0] == ' ');
        assert_memory_equal(bytes + put, text + head[1] + put, (size_t)head[0] - put);
        at += (size_t)head[0] + sizeof head;
    }
    assert_int_equal(got->count, i);
}

static fam_tokenizer *splits_of(json_t *pre_tokenizer)
{
    fam_tokenizer *tokenizer;
    fam_memory_init(&memory);
    assert_ok(fam_tokenizer_begin(&tokenizer, &memory, "test", &error));
    assert_ok(fam_tokenizer_read_splits(tokenizer, pre_tokenizer, &error));
    return tokenizer;
}

static void texts_are_split_as_the_package_splits_them(void **state)
{
    (void)state;
    json_error_t where;
    json_t *fixture = json_load_file(suite_path(FIXTURE), JSON_ALLOW_NUL, &where), *each;
    assert_non_null(fixture);
    const json_t *texts = json_object_get(fixture, "texts");
    fam_random random;
    fam_random_seed(&random, 1);
    size_t i;
    static words got;
    json_array_foreach(json_object_get(fixture, "cases"), i, each)
    {
        json_t *pre_tokenizer = json_object_get(each, "pre_tokenizer");
        char *name = json_dumps(pre_tokenizer, JSON_ENSURE_ASCII);
        fam_tokenizer *tokenizer = splits_of(pre_tokenizer);
        fam_pretokenizer *pretokenizer;
        assert_ok(fam_pretokenizer_create(&pretokenizer, &memory, tokenizer->splits, tokenizer->split_count, collect,
                                          &got, &error));
        for (size_t t = 0; t < json_array_size(json_object_get(each, "words")); t++) {
            const json_t *text = json_array_get(texts, t);
            const uint8_t *bytes = (const uint8_t *)json_string_value(text);
            for (int run = 0; run < 10; run++) {
                split(&got, pretokenizer, bytes, json_string_length(text), run ? &random : NULL);
                assert_words(&got, json_array_get(json_object_get(each, "words"), t), bytes, name);
            }
        }
        fam_pretokenizer_free(pretokenizer);
        fam_tokenizer_free(tokenizer);
        assert_int_equal(memory.bytes, 0);
        free(name);
    }
    assert_true(i > 70);
    json_decref(fixture);
}

/* Lines of the draw with broken bytes strewn in, whole and in pieces. */
static void broken_text_is_split_the_same_wherever_it_is_cut(void **state)
{
    (void)state;
    json_error_t where;
    json_t *fixture = json_load_file(suite_path(FIXTURE), JSON_ALLOW_NUL, &where), *each;
    assert_non_null(fixture);
    fam_random random;
    fam_random_seed(&random, 2);
    static words whole, pieces;
    static uint8_t line[LINE_DRAW_MAX];
    size_t i;
    json_array_foreach(json_object_get(fixture, "cases"), i, each)
    {
        fam_tokenizer *tokenizer = splits_of(json_object_get(each, "pre_tokenizer"));
        fam_pretokenizer *a, *b;
        assert_ok(
            fam_pretokenizer_create(&a, &memory, tokenizer->splits, tokenizer->split_count, collect, &whole, &error));
        assert_ok(
            fam_pretokenizer_create(&b, &memory, tokenizer->splits, tokenizer->split_count, collect, &pieces, &error));
        for (uint64_t number = 0; number < 60; number++) {
            size_t size;
            assert_int_equal(line_draw(8, number, line, sizeof line, &size), 0);
            size = size < 400 ? size : 400;
            for (size_t k = 0; k < size / 16; k++)
                line[fam_random_next(&random) % size] = (uint8_t)(0x80 | fam_random_next(&random));
            split(&whole, a, line, size, NULL);
            split(&pieces, b, line, size, &random);
            if (whole.count != pieces.count)
                fail_msg("case %zu, line %d: %zu words, need %zu", i, (int)number, pieces.count, whole.count);
            assert_int_equal(whole.used, pieces.used);
            assert_memory_equal(whole.bytes, pieces.bytes, whole.used);
        }
        fam_pretokenizer_free(a);
        fam_pretokenizer_free(b);
        fam_tokenizer_free(tokenizer);
        assert_int_equal(memory.bytes, 0);
    }
    json_decref(fixture);
}

static void constructs_of_another_meaning_are_refused(void **state)
{
    (void)state;
    const char *const unsupported[] = {
        "\\w+",     "\\b",   "\\h",       "\\R",          "\\X",     "(?i)a",       "(?m)a",  "(?<n>a)",
        "(?P<n>a)", "(?R)",  "(*ACCEPT)", "[a[b]]",       "[a&&b]",  "[[:alpha:]]", "a{,3}",  "a{2}?",
        "a{1,2}+",  "\\xff", "\\x{41}",   "\\u0041",      "\\pL",    "\\Aa",        "a\\z",   "\\Ga",
        "(a)\\1",   "\\K",   "[]a]",      "\\p{scx:Han}", "\\Qa\\E", "(?|a)",       "\\p{L&}"};
    const char *const malformed[] = {"",      "(",     "a)", "[a", "a*", "x?", "(?:|a)", "*a", "a\xff", "\\p{Nonsense}",
                                     "[b-a]", "a{3,2}"};
    fam_memory_init(&memory);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        fam_regex *regex;
        fam_status status =
            fam_regex_compile(&regex, &memory, "file", unsupported[i], strlen(unsupported[i]), false, &error);
        if (status != FAM_STATUS_UNSUPPORTED)
            fail_msg("%s: %s", unsupported[i], status ? error.message : "accepted");
        assert_memory_equal(error.message, "file: pattern: byte ", 20);
        assert_int_equal(memory.bytes, 0);
    }
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        fam_regex *regex;
        fam_status status =
            fam_regex_compile(&regex, &memory, "file", malformed[i], strlen(malformed[i]), false, &error);
        if (status != FAM_STATUS_BAD_FORMAT)
            fail_msg("%s: %s", malformed[i], status ? error.message : "accepted");
        assert_int_equal(memory.bytes, 0);
    }
}

static void a_catastrophic_pattern_ends_at_the_step_limit(void **state)
{
    (void)state;
    const char *const patterns[] = {"(a+)+$", "(a|aa)+$", "(?:a*)*c"};
    char text[64];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '!';
    for (size_t i = 0; i < 3; i++) {
        fam_regex *regex;
        fam_regex_scratch *scratch;
        fam_found found;
        size_t start, end;
        struct timespec before, after;
        fam_memory_init(&memory);
        assert_ok(fam_regex_compile(&regex, &memory, "file", patterns[i], strlen(patterns[i]), false, &error));
        assert_ok(fam_regex_scratch_create(&scratch, &memory, regex, &error));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
        fam_status status =
            fam_regex_find(&found, &start, &end, regex, scratch, (const uint8_t *)text, 0, sizeof text, true, &error);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
        if (i < 2 || status != FAM_OK)
            assert_int_equal(status, FAM_STATUS_UNSUPPORTED);
        assert_true(after.tv_sec - before.tv_sec < 5);
        fam_regex_scratch_free(scratch);
        fam_regex_free(regex);
        assert_int_equal(memory.bytes, 0);
    }
}

static void other_pre_tokenizers_are_refused_by_name(void **state)
{
    (void)state;
    const struct {
        const char *text, *message;
    } cases[] = {
        {"null", "test: pre_tokenizer: found none that is ByteLevel, need one"},
        {"{\"type\":\"Metaspace\"}", "test: pre_tokenizer: found \"Metaspace\", need Split, Digits or ByteLevel"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}",
         "test: pre_tokenizer: found \"Digits\" after ByteLevel, need ByteLevel last"},
        {"{\"type\":\"Sequence\",\"pretokenizers\":[]}", "test: pre_tokenizer: found none that is ByteLevel, need one"},
        {"{\"type\":\"Split\",\"pattern\":{},\"behavior\":\"Isolated\"}",
         "test: pre_tokenizer: pattern: found neither, need Regex or String"},
        {"{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Odd\"}",
         "test: pre_tokenizer: behavior: found \"Odd\", need Isolated, Removed, ..."},
        {"{}", NULL},
        {"[]", NULL},
        {"7", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *value = json_loads(cases[i].text, JSON_DECODE_ANY, NULL);
        fam_tokenizer *tokenizer;
        fam_memory_init(&memory);
        assert_ok(fam_tokenizer_begin(&tokenizer, &memory, "test", &error));
        assert_int_not_equal(fam_tokenizer_read_splits(tokenizer, value, &error), FAM_OK);
        if (cases[i].message)
            assert_string_equal(error.message, cases[i].message);
        fam_tokenizer_free(tokenizer);
        json_decref(value);
        assert_int_equal(memory.bytes, 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(texts_are_split_as_the_package_splits_them),
    cmocka_unit_test(broken_text_is_split_the_same_wherever_it_is_cut),
    cmocka_unit_test(constructs_of_another_meaning_are_refused),
    cmocka_unit_test(a_catastrophic_pattern_ends_at_the_step_limit),
    cmocka_unit_test(other_pre_tokenizers_are_refused_by_name),
};
SUITE_MAIN(tests)
