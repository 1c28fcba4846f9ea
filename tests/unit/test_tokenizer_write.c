/*
 * Text room: tokenizers that are written give the same ids as those that they came from, from either kind of file to
 * either; and what a kind of file cannot say is refused by name.
 */
#include "text/tokenizer_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/gguf_write.h"
#include "line_draw.h"
#include "scratch.h"
#include "suite.h"
#include "text/tokenizer_private.h"

static fam_error error;
static fam_memory memory;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

static fam_tokenizer *open_it(const char *path)
{
    fam_tokenizer *tokenizer = NULL;
    assert_ok(fam_tokenizer_from_path(&tokenizer, &memory, path, NULL, NULL, &error));
    return tokenizer;
}

/* Writes a file with the tokenizer and one small tensor. */
static fam_status write_gguf(const fam_tokenizer *tokenizer, const char *path, int64_t rows)
{
    fam_gguf_writer *writer = NULL;
    static const float value = 1;
    const fam_tensor tensor = {.name = "x", .type = FAM_TYPE_F32, .n_dims = 1, .shape = {1}, .bytes = 4};
    assert_ok(fam_gguf_writer_create(&writer, &memory, &error));
    fam_status status = fam_tokenizer_write_gguf(tokenizer, &memory, writer, rows, &error);
    if (status == FAM_OK)
        status = fam_gguf_writer_begin(writer, path, &tensor, 1, &error);
    if (status == FAM_OK)
        status = fam_gguf_writer_append(writer, &value, 4, &error);
    if (status != FAM_OK) {
        fam_gguf_writer_abort(writer);
        return status;
    }
    return fam_gguf_writer_commit(writer, &error);
}

static void same_ids(const fam_tokenizer *a, const fam_tokenizer *b)
{
    for (int line = 0; line < 400; line++) {
        uint8_t text[LINE_DRAW_MAX];
        size_t size, one, two;
        int32_t *first, *second;
        assert_int_equal(line_draw(7, (uint64_t)line, text, sizeof text, &size), 0);
        for (int special = 0; special < 2; special++) {
            assert_ok(fam_tokenizer_encode(&first, &one, &memory, a, (char *)text, size, special, &error));
            assert_ok(fam_tokenizer_encode(&second, &two, &memory, b, (char *)text, size, special, &error));
            if (one != two || memcmp(first, second, one * sizeof *first) != 0)
                fail_msg("line %d: found other ids", line);
            fam_free(&memory, first);
            fam_free(&memory, second);
        }
    }
}

static void same_tokenizer(const fam_tokenizer *a, const fam_tokenizer *b, int32_t rows)
{
    for (int32_t id = 0; id < rows; id++) {
        size_t one = 0, two = 0;
        const char *first = fam_tokenizer_token_text(a, id, &one), *second = fam_tokenizer_token_text(b, id, &two);
        if (fam_tokenizer_kind(a, id) != fam_tokenizer_kind(b, id) || !first != !second || one != two ||
            (first && memcmp(first, second, one) != 0))
            fail_msg("id %d: found another token", (int)id);
    }
    assert_int_equal(fam_tokenizer_bos(a), fam_tokenizer_bos(b));
    int32_t eos = fam_tokenizer_eos(b);
    if (fam_tokenizer_eos(a) != eos) /* GGUF must name one: that which ends a text anyway */
        assert_true(fam_tokenizer_eos(a) < 0 && eos >= 0 && fam_tokenizer_is_end(a, eos));
    assert_int_equal(fam_tokenizer_adds_bos(a), fam_tokenizer_adds_bos(b));
    const char *first = fam_tokenizer_chat_template(a), *second = fam_tokenizer_chat_template(b);
    assert_true(!first == !second && (!first || strcmp(first, second) == 0));
    same_ids(a, b);
}

static void tokenizers_come_back_with_the_same_ids(void **state)
{
    (void)state;
    static const char *const names[] = {"smollm.gguf",
                                        "gpt2.gguf",
                                        "digits/tokenizer.json",
                                        "gpt2/tokenizer.json",
                                        "split_gpt2/tokenizer.json",
                                        "split_llama3/tokenizer.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[1200], scratch[512];
        fam_memory_init(&memory);
        snprintf(scratch, sizeof scratch, "%s", scratch_make());
        snprintf(path, sizeof path, "%s/%s", suite_path("tests/fixtures/tokenizer/reduced"), names[i]);
        fam_tokenizer *from = open_it(path);
        int32_t size = fam_tokenizer_vocab_size(from);
        assert_ok(fam_tokenizer_write_json(from, &memory, scratch, &error));
        fam_tokenizer *json = open_it(scratch);
        same_tokenizer(from, json, size);
        /* three more rows: padding, which is no token */
        const char *file = scratch_path(scratch, "t.gguf");
        assert_ok(write_gguf(json, file, size + 3));
        fam_tokenizer *gguf = open_it(file);
        same_tokenizer(from, gguf, size);
        assert_int_equal(fam_tokenizer_vocab_size(gguf), size + 3);
        assert_int_equal(fam_tokenizer_kind(gguf, size + 1), FAM_TOKEN_NONE);
        assert_int_equal(fam_tokenizer_find(gguf, "[PAD2]", 6), fam_tokenizer_find(from, "[PAD2]", 6));
        assert_ok(fam_tokenizer_write_json(gguf, &memory, scratch, &error));
        fam_tokenizer *again = open_it(scratch);
        same_tokenizer(from, again, size);
        fam_tokenizer_free(again);
        fam_tokenizer_free(gguf);
        fam_tokenizer_free(json);
        fam_tokenizer_free(from);
        assert_int_equal(memory.bytes, 0);
        scratch_remove(scratch);
    }
}

/* ---- what cannot be said ------------------------------------------------------------------------------------------- */

static const char small[] =
    "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true},{\"id\":5,\"content\":\"new\",\"special\":"
    "false}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\","
    "\"unk_token\":null,\"ignore_merges\":false,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"<s>\":3},\"merges\":[\"a b\"]}}";

static fam_tokenizer *parse_small(const char *from, const char *to, const char *config)
{
    char text[2048];
    fam_tokenizer *tokenizer = NULL;
    const char *at = strstr(small, from);
    assert_non_null(at);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - small), small, to, at + strlen(from));
    assert_ok(fam_tokenizer_parse_json(&tokenizer, &memory, "t.json", text, strlen(text), "c.json", config,
                                       config ? strlen(config) : 0, &error));
    return tokenizer;
}

static void what_gguf_has_no_word_for_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } rows[] = {
        {"\"use_regex\":true", "\"use_regex\":false", "t.json: pre_tokenizer: found one that GGUF has no name for"},
        {"\"add_prefix_space\":false", "\"add_prefix_space\":true", "t.json: pre_tokenizer: found one"},
        {"{\"type\":\"ByteLevel\",\"add",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":false},{\"type\":"
         "\"ByteLevel\",\"add_prefix_space\":false}]},\"unused\":{\"add",
         "t.json: pre_tokenizer: found one"},
        {"{\"type\":\"ByteLevel\",\"add",
         "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x+\"},\"behavior\":"
         "\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},\"unused\":{\"add",
         "t.json: pre_tokenizer: found one"},
        {"\"ignore_merges\":false", "\"ignore_merges\":true", "ignore_merges: found true, need false"},
        {"\"unk_token\":null", "\"unk_token\":\"a\"", "unk_token: found one for 254 bytes without a token"},
        {"\"content\":\"new\"", "\"content\":\"[PAD4]\"", "token 4: found none, and another that is called [PAD4]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *scratch = scratch_make(), *path = scratch_path(scratch, "t.gguf");
        fam_memory_init(&memory);
        fam_tokenizer *tokenizer = parse_small(rows[i].from, rows[i].to, NULL);
        fam_status status = write_gguf(tokenizer, path, 6);
        if (status != FAM_STATUS_UNSUPPORTED || !strstr(error.message, rows[i].words))
            fail_msg("%s: status %d: %s", rows[i].to, status, status ? error.message : "");
        assert_int_equal(access(path, F_OK), -1);
        fam_tokenizer_free(tokenizer);
        assert_int_equal(memory.bytes, 0);
        scratch_remove(scratch);
    }
    fam_memory_init(&memory);
    fam_tokenizer *tokenizer = parse_small("\"a b\"", "\"a b\"", NULL);
    assert_int_equal(write_gguf(tokenizer, "/nonexistent/x", 5), FAM_STATUS_MISMATCH); /* five rows for six ids */
    fam_tokenizer_free(tokenizer);
}

static void a_chat_template_and_an_unknown_token_are_carried(void **state)
{
    (void)state;
    const char *scratch = scratch_make();
    fam_memory_init(&memory);
    fam_tokenizer *tokenizer = parse_small("\"unk_token\":null", "\"unk_token\":\"a\",\"fuse_unk\":true",
                                           "{\"eos_token\":\"new\",\"chat_template\":\"{{ \\\"\\u00e4\\\" }}\\n\"}");
    assert_ok(fam_tokenizer_write_json(tokenizer, &memory, scratch, &error));
    fam_tokenizer *again = open_it(scratch);
    same_tokenizer(tokenizer, again, 6);
    assert_int_equal(again->unknown, 0);
    assert_true(again->fuse_unknown);
    assert_string_equal(fam_tokenizer_chat_template(again), "{{ \"\xc3\xa4\" }}\n");
    fam_tokenizer_free(again);
    fam_tokenizer_free(tokenizer);
    scratch_remove(scratch);
}

static void texts_that_json_cannot_hold_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t length;
        const char *words;
    } rows[] = {{"\xff", 1, "token 0: found one that is not UTF-8"}, {"a\0b", 3, "token 0: found a NUL"}};
    for (size_t i = 0; i < 2; i++) {
        const char *scratch = scratch_make();
        fam_tokenizer *tokenizer;
        fam_memory_init(&memory);
        assert_ok(fam_tokenizer_begin(&tokenizer, &memory, "t", &error));
        assert_ok(fam_vocabulary_create(&tokenizer->vocabulary, &memory, 1, 8, &error));
        assert_ok(fam_merges_create(&tokenizer->merges, &memory, 0, &error));
        tokenizer->splits[tokenizer->split_count++] = (fam_split){.kind = FAM_SPLIT_GPT2};
        assert_int_equal(
            fam_vocabulary_put(&tokenizer->vocabulary, 0, rows[i].text, rows[i].length, FAM_TOKEN_NORMAL, true), -1);
        assert_ok(fam_tokenizer_complete(tokenizer, NULL, &error));
        assert_int_equal(fam_tokenizer_write_json(tokenizer, &memory, scratch, &error), FAM_STATUS_UNSUPPORTED);
        assert_non_null(strstr(error.message, rows[i].words));
        assert_int_equal(access(scratch_path(scratch, "tokenizer.json"), F_OK), -1);
        fam_tokenizer_free(tokenizer);
        assert_int_equal(memory.bytes, 0);
        scratch_remove(scratch);
    }
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *file = scratch_path(scratch, "t.gguf");
    fam_memory_init(&memory);
    fam_tokenizer *tokenizer = parse_small("\"a b\"", "\"a b\"", "{\"eos_token\":\"new\",\"chat_template\":\"x\"}");
    for (int kind = 0; kind < 2; kind++) {
        fam_status status = FAM_STATUS_FAILED;
        size_t before = memory.bytes, fail = 0;
        while (status != FAM_OK) {
            memory.allocations = 0;
            memory.fail_at = kind ? 2 + ++fail : ++fail; /* not the creation of the writer, which the test checks */
            status =
                kind ? write_gguf(tokenizer, file, 6) : fam_tokenizer_write_json(tokenizer, &memory, scratch, &error);
            if (status != FAM_OK && status != FAM_STATUS_OUT_OF_MEMORY)
                fail_msg("allocation %zu: status %d: %s", fail, status, error.message);
            assert_int_equal(memory.bytes, before);
        }
        assert_true(fail > 5);
        memory.fail_at = 0;
    }
    fam_tokenizer_free(tokenizer);
    scratch_remove(scratch);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tokenizers_come_back_with_the_same_ids),
    cmocka_unit_test(what_gguf_has_no_word_for_is_refused_by_name),
    cmocka_unit_test(a_chat_template_and_an_unknown_token_are_carried),
    cmocka_unit_test(texts_that_json_cannot_hold_are_refused),
    cmocka_unit_test(every_failing_allocation_is_an_error),
};
SUITE_MAIN(tests)
