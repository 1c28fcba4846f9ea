/*
 * Format room: JSON from files, by value and by walk.
 */
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "scratch.h"
#include "suite.h"

static fam_error error;

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    assert_int_equal(fam_json_parse(&value, "f", text, strlen(text), &error), FAM_OK);
    return value;
}

static void broken_text_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place;
    } rows[] = {
        {"", "line 1 column 0"},
        {"   ", "line 1 column"},
        {"{\"a\": 1,\n \"b\": }", "line 2 column 7"},
        {"{\"a\": 1, \"a\": 2}", "duplicate"},
        {"{\"o\": {\"a\": 1, \"a\": 2}}", "duplicate"},
        {"{} x", "line 1 column 4"},
        {"{} {}", "end of file expected"},
        {"1", "line 1"},
        {"null", "line 1"},
        {"{\"a\": 9223372036854775808}", "integer"},
        {"{\"a\": -9223372036854775809}", "integer"},
        {"{\"a\": 1e999}", "real"},
        {"{\"a\": NaN}", "line 1"},
        {"{\"a\": 01}", "line 1"},
        {"{\"a\": 0x10}", "line 1"},
        {"{\"a\": \"\\u0000\"}", "\\u0000"},
        {"{\"\\u0000\": 1}", "\\u0000"},
        {"{\"a\": \"\\ud800\"}", "line 1"},
        {"{\"a\": \"\xff\"}", "decode byte 0xff"},
        {"\xef\xbb\xbf{}", "line 1"},
        {"{\"a\": \"\n\"}", "newline"},
        {"// c\n{}", "line 1"},
        {"{'a': 1}", "line 1"},
        {"[1, 2", "line 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *value = NULL;
        assert_int_equal(fam_json_parse(&value, "f", rows[i].text, strlen(rows[i].text), &error),
                         FAM_STATUS_BAD_FORMAT);
        assert_null(value);
        assert_memory_equal(error.message, "f: not JSON: line ", 18);
        if (!strstr(error.message, rows[i].place))
            fail_msg("%s: %s", rows[i].text, error.message);
    }
    json_t *value = NULL;
    assert_int_equal(fam_json_parse(&value, "f", "{\"a\0\": 1}", 9, &error), FAM_STATUS_BAD_FORMAT);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    enum { DEEP = 1000000 };
    char *text = malloc(DEEP);
    memset(text, '[', DEEP);
    json_t *value = NULL;
    assert_int_equal(fam_json_parse(&value, "f", text, DEEP, &error), FAM_STATUS_BAD_FORMAT);
    assert_non_null(strstr(error.message, "depth"));
    free(text);
}

static void members_have_types(void **state)
{
    (void)state;
    json_t *object = parse("{\"i\": -3, \"r\": 2.0, \"t\": true, \"s\": \"x\", \"n\": null, \"a\": [1], \"o\": {}}");
    int64_t i = 7;
    double r = 7;
    bool b = false;
    const char *s = "old";
    json_t *child = NULL;
    assert_int_equal(fam_json_i64(object, "f", "i", true, &i, &error), FAM_OK);
    assert_int_equal(i, -3);
    assert_int_equal(fam_json_f64(object, "f", "i", true, &r, &error), FAM_OK);
    assert_true(r == -3);
    assert_int_equal(fam_json_f64(object, "f", "r", true, &r, &error), FAM_OK);
    assert_true(r == 2);
    assert_int_equal(fam_json_bool(object, "f", "t", true, &b, &error), FAM_OK);
    assert_true(b);
    assert_int_equal(fam_json_string(object, "f", "s", true, &s, &error), FAM_OK);
    assert_string_equal(s, "x");
    assert_int_equal(fam_json_child(object, "f", "a", JSON_ARRAY, true, &child, &error), FAM_OK);
    assert_int_equal(json_array_size(child), 1);

    assert_int_equal(fam_json_i64(object, "f", "r", false, &i, &error), FAM_STATUS_BAD_FORMAT);
    assert_string_equal(error.message, "f: r: found the real number 2, need an integer");
    assert_int_equal(fam_json_i64(object, "f", "t", false, &i, &error), FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_json_f64(object, "f", "s", false, &r, &error), FAM_STATUS_BAD_FORMAT);
    assert_string_equal(error.message, "f: s: found \"x\", need a number");
    assert_int_equal(fam_json_bool(object, "f", "i", false, &b, &error), FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_json_string(object, "f", "a", false, &s, &error), FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_json_child(object, "f", "a", JSON_OBJECT, false, &child, &error), FAM_STATUS_BAD_FORMAT);
    assert_string_equal(error.message, "f: a: found an array, need an object");
    assert_int_equal(i, -3);

    assert_int_equal(fam_json_i64(object, "f", "n", false, &i, &error), FAM_OK);
    assert_int_equal(fam_json_i64(object, "f", "missing", false, &i, &error), FAM_OK);
    assert_int_equal(i, -3);
    assert_int_equal(fam_json_i64(object, "f", "n", true, &i, &error), FAM_STATUS_BAD_FORMAT);
    assert_string_equal(error.message, "f: n: found null, need an integer");
    assert_int_equal(fam_json_string(object, "f", "missing", true, &s, &error), FAM_STATUS_BAD_FORMAT);
    assert_string_equal(error.message, "f: missing: found nothing, need a string");
    json_decref(object);
}

static void files_are_bounded_and_hold_an_object(void **state)
{
    (void)state;
    fam_memory memory;
    fam_memory_init(&memory);
    const char *directory = scratch_make();
    json_t *value = NULL;
    scratch_write_text(directory, "a.json", "[1]");
    scratch_write_text(directory, "o.json", "{\"a\": 1}");
    assert_int_equal(fam_json_read(&value, &memory, scratch_path(directory, "a.json"), 100, &error),
                     FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_json_read(&value, &memory, scratch_path(directory, "o.json"), 7, &error),
                     FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_json_read(&value, &memory, scratch_path(directory, "x.json"), 7, &error),
                     FAM_STATUS_NOT_FOUND);
    assert_int_equal(fam_json_read(&value, &memory, directory, 7, &error), FAM_STATUS_IO);
    assert_null(value);
    assert_int_equal(fam_json_read(&value, &memory, scratch_path(directory, "o.json"), 8, &error), FAM_OK);
    json_decref(value);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(directory);
}

/* Walks and parses everything; the number of members, or -1. */
static int walk(const char *text)
{
    fam_json_walk walk = {"f", text, strlen(text), 0};
    for (int count = 0;; count++) {
        json_t *key = NULL, *value = NULL;
        size_t at, size;
        if (fam_json_walk_next(&walk, &key, &at, &size, &error) != FAM_OK)
            return -1;
        if (!key)
            return count;
        fam_status status = fam_json_walk_value(&value, &walk, at, size, 1000, &error);
        json_decref(key);
        json_decref(value);
        if (status != FAM_OK)
            return -1;
    }
}

static void walk_accepts_what_a_whole_parse_accepts(void **state)
{
    (void)state;
    static const char *const right[] = {
        "{}",
        "{ }",
        " {}",
        "{}  ",
        "{\"a\":1}",
        "{ \"a\" : [1, {\"b\": \"]}\"}] , \"c\":\"\\\"}\", \"d\": null }",
        "{\"\\u0041\": {}, \"b\": true}",
        "{\"a\": -1.5e3,\t\n\"b\": []}",
    };
    static const char *const wrong[] = {
        "",
        " ",
        "{",
        "}",
        "[]",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1}}",
        "{}\n",
        "{\"a\":[}",
        "{\"a\":{]}",
        "{\"a\":[1}]}",
        "{\"a\":\"",
        "{\"a\":\"\\",
        "{\"a",
        "{a:1}",
        "{\"a\":nul}",
        "{\"a\":1 2}",
        "{\"a\":+1}",
        "{\"\\u0000\":1}",
        "{\"a\":{\"b\":1,\"b\":2}}",
        "{} x",
        "{\"a\":1},",
        "{\"a\":1",
        "{\"a\":tru\"e\"}",
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        json_t *whole = parse(right[i]);
        assert_int_equal(walk(right[i]), json_object_size(whole));
        json_decref(whole);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (walk(wrong[i]) != -1)
            fail_msg("accepted: %s", wrong[i]);
        assert_memory_equal(error.message, "f: not JSON: byte ", 18);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(broken_text_is_refused_with_its_place),
    cmocka_unit_test(depth_is_bounded),
    cmocka_unit_test(members_have_types),
    cmocka_unit_test(files_are_bounded_and_hold_an_object),
    cmocka_unit_test(walk_accepts_what_a_whole_parse_accepts),
};
SUITE_MAIN(tests)
