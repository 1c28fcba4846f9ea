/*
 * Text to ids and back, against what the `tokenizers` package answered (tests/oracle/tokenizer.py), and the same ids
 * wherever the text is cut.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/random.h"
#include "base/utf8.h"
#include "line_draw.h"
#include "suite.h"
#include "text/pretokenize.h"
#include "text/tokenizer.h"
#include "text/unicode_class.h"
#include "token_list.h"

#define SMOLLM2 "build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf"

static fam_memory memory;
static fam_error error;

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != FAM_OK)                                                                                          \
            fail_msg("%s", error.message);                                                                             \
    } while (0)

static fam_tokenizer *open_tokenizer(const char *name)
{
    fam_tokenizer *tokenizer;
    fam_memory_init(&memory);
    assert_ok(fam_tokenizer_from_path(&tokenizer, &memory, suite_path(name), NULL, NULL, &error));
    return tokenizer;
}

static fam_tokenizer *open_smollm2(void)
{
    if (!fam_path_exists(suite_path(SMOLLM2))) {
        print_message("%s is not there: make downloads it\n", SMOLLM2);
        skip();
    }
    return open_tokenizer(SMOLLM2);
}

static json_t *read_fixture(const char *name)
{
    json_error_t where;
    json_t *value = json_load_file(suite_path(name), JSON_ALLOW_NUL, &where);
    if (!value)
        fail_msg("%s: %s", name, where.text);
    return value;
}

/* In pieces whose sizes are drawn from `random`, or whole if it is NULL. */
static void encode(token_list *out, const fam_tokenizer *tokenizer, const void *text, size_t size, bool special,
                   fam_random *random)
{
    fam_encoder *encoder;
    assert_ok(fam_encoder_create(&encoder, tokenizer, special, &error));
    for (size_t at = 0; at < size;) {
        size_t n = random ? fam_random_next(random) % 9 : size;
        n = n < size - at ? n : size - at;
        char *copy = malloc(n + 1); /* so that a sanitizer sees reading beyond the piece */
        memcpy(copy, (const char *)text + at, n);
        assert_ok(fam_encoder_feed(encoder, copy, n, token_list_sink, out, &error));
        free(copy);
        at += n;
    }
    assert_ok(fam_encoder_finish(encoder, token_list_sink, out, &error));
    fam_encoder_free(encoder);
}

static void assert_ids(const token_list *got, const json_t *want, const char *what)
{
    size_t count = json_array_size(want);
    bool same = got->count == count;
    for (size_t i = 0; same && i < count; i++)
        same = got->ids[i] == json_integer_value(json_array_get(want, i));
    if (!same)
        fail_msg("%s: other ids: %zu, need %zu", what, got->count, count);
}

static void hash_item(XXH64_state_t *state, size_t count, const void *data, size_t size)
{
    int32_t number = (int32_t)count;
    XXH64_update(state, &number, sizeof number);
    XXH64_update(state, data, size);
}

static void assert_hash(XXH64_state_t *state, const json_t *hashes, size_t group, const char *what)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)XXH64_digest(state));
    if (strcmp(text, json_string_value(json_array_get(hashes, group))) != 0)
        fail_msg("%s: lines %zu to %zu differ", what, 100 * group, 100 * group + 99);
}

/* All lines of the draw; the answers are hashed in groups of 100 lines. */
static void replay(const fam_tokenizer *tokenizer, const char *answers_name, bool cut)
{
    json_t *answers = read_fixture(answers_name), *ids = json_object_get(answers, "ids");
    size_t lines = (size_t)json_integer_value(json_object_get(answers, "lines"));
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(answers, "seed"));
    assert_int_equal(json_integer_value(json_object_get(answers, "group")), 100);
    assert_true(lines >= 2000);
    static uint8_t line[LINE_DRAW_MAX];
    XXH64_state_t *texts = XXH64_createState(), *tokens = XXH64_createState();
    fam_random random;
    fam_random_seed(&random, 7);
    for (size_t number = 0; number < lines; number++) {
        if (number % 100 == 0) {
            XXH64_reset(texts, 0);
            XXH64_reset(tokens, 0);
        }
        size_t length;
        token_list got = {0};
        assert_int_equal(line_draw(seed, number, line, sizeof line, &length), 0);
        encode(&got, tokenizer, line, length, false, cut ? &random : NULL);
        if (number < json_array_size(ids))
            assert_ids(&got, json_array_get(ids, number), answers_name);
        hash_item(texts, length, line, length);
        hash_item(tokens, got.count, got.ids, got.count * sizeof *got.ids);
        token_list_free(&got);
        if (number % 100 == 99) {
            assert_hash(texts, json_object_get(answers, "text_hash"), number / 100, "the draw itself");
            assert_hash(tokens, json_object_get(answers, "ids_hash"), number / 100, answers_name);
        }
    }
    XXH64_freeState(texts);
    XXH64_freeState(tokens);
    json_decref(answers);
}

static void replay_file(const char *file, const char *answers, bool cut)
{
    fam_tokenizer *tokenizer = open_tokenizer(file);
    replay(tokenizer, answers, cut);
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
}

static void characters_have_the_classes_of_the_package(void **state)
{
    (void)state;
    json_t *classes = read_fixture("tests/fixtures/tokenizer/classes.json");
    const char *const names[] = {"letter", "number", "white_space", "digit"};
    static uint8_t want[0x110000]; /* a bit a class */
    for (int k = 0; k < 4; k++) {
        size_t i;
        json_t *range;
        json_array_foreach(json_object_get(classes, names[k]), i,
                           range) for (json_int_t c = json_integer_value(json_array_get(range, 0));
                                       c <= json_integer_value(json_array_get(range, 1)); c++) want[c] |=
            (uint8_t)(1 << k);
    }
    for (uint32_t c = 0; c < 0x110000; c++) {
        fam_char_class kind = fam_char_classify(c);
        int got = (kind == FAM_CHAR_LETTER) | (kind == FAM_CHAR_NUMBER) << 1 | (kind == FAM_CHAR_SPACE) << 2 |
                  fam_char_is_numeric(c) << 3;
        if (got != want[c])
            fail_msg("U+%04X: classes %x, need %x", (unsigned)c, (unsigned)got, want[c]);
    }
    json_decref(classes);
}

static void reduced_tokenizers_give_the_ids_of_the_package(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        replay_file("tests/fixtures/tokenizer/reduced/digits", "tests/fixtures/tokenizer/reduced/digits.json", cut);
        replay_file("tests/fixtures/tokenizer/reduced/gpt2", "tests/fixtures/tokenizer/reduced/gpt2.json", cut);
        replay_file("tests/fixtures/tokenizer/reduced/split_gpt2", "tests/fixtures/tokenizer/reduced/split_gpt2.json",
                    cut);
        replay_file("tests/fixtures/tokenizer/reduced/split_llama3",
                    "tests/fixtures/tokenizer/reduced/split_llama3.json", cut);
    }
}

static void gguf_tokenizers_give_the_ids_of_the_package(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        replay_file("tests/fixtures/tokenizer/reduced/smollm.gguf", "tests/fixtures/tokenizer/reduced/digits.json",
                    cut);
        replay_file("tests/fixtures/tokenizer/reduced/gpt2.gguf", "tests/fixtures/tokenizer/reduced/gpt2.json", cut);
    }
}

static void smollm2_gives_the_ids_of_the_package_on_100000_lines(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_smollm2();
    replay(tokenizer, "tests/fixtures/tokenizer/smollm2.json", false);
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
}

static void special_tokens_are_parsed_only_when_asked(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_smollm2();
    json_t *entries = read_fixture("tests/fixtures/tokenizer/special.json"), *entry;
    size_t i;
    fam_random random;
    fam_random_seed(&random, 3);
    json_array_foreach(entries, i, entry)
    {
        const char *text = json_string_value(json_object_get(entry, "text"));
        for (int run = 0; run < 20; run++) {
            token_list plain = {0}, special = {0};
            encode(&plain, tokenizer, text, strlen(text), false, run ? &random : NULL);
            encode(&special, tokenizer, text, strlen(text), true, run ? &random : NULL);
            assert_ids(&plain, json_object_get(entry, "ids"), text);
            assert_ids(&special, json_object_get(entry, "special"), text);
            token_list_free(&plain);
            token_list_free(&special);
        }
    }
    json_decref(entries);
    fam_tokenizer_free(tokenizer);
}

static void added_tokens_are_found_as_the_package_finds_them(void **state)
{
    (void)state;
    json_t *fixture = read_fixture("tests/fixtures/pretokenizer/added.json"), *entry;
    char *text = json_dumps(json_object_get(fixture, "tokenizer"), 0);
    fam_tokenizer *tokenizer;
    size_t i;
    fam_random random;
    fam_random_seed(&random, 4);
    fam_memory_init(&memory);
    assert_ok(fam_tokenizer_parse_json(&tokenizer, &memory, "t.json", text, strlen(text), NULL, NULL, 0, &error));
    json_array_foreach(json_object_get(fixture, "cases"), i, entry)
    {
        const char *line = json_string_value(json_object_get(entry, "text"));
        for (int run = 0; run < 20; run++) {
            token_list plain = {0}, special = {0};
            encode(&plain, tokenizer, line, strlen(line), false, run ? &random : NULL);
            encode(&special, tokenizer, line, strlen(line), true, run ? &random : NULL);
            assert_ids(&plain, json_object_get(entry, "ids"), line);
            assert_ids(&special, json_object_get(entry, "special"), line);
            token_list_free(&plain);
            token_list_free(&special);
        }
    }
    assert_true(i >= 400);
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
    free(text);
    json_decref(fixture);
}

static void smollm2_says_what_it_is(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_smollm2();
    size_t length, count;
    assert_int_equal(fam_tokenizer_vocab_size(tokenizer), 49152);
    assert_int_equal(fam_tokenizer_bos(tokenizer), 1);
    assert_int_equal(fam_tokenizer_eos(tokenizer), 2);
    assert_false(fam_tokenizer_adds_bos(tokenizer));
    assert_int_equal(fam_tokenizer_missing_bytes(tokenizer), 21);
    assert_int_equal(fam_tokenizer_find(tokenizer, "<|im_end|>", 10), 2);
    assert_int_equal(fam_tokenizer_find(tokenizer, "no such token", 13), -1);
    assert_true(fam_tokenizer_is_end(tokenizer, 2));
    assert_true(fam_tokenizer_is_end(tokenizer, 0));
    assert_false(fam_tokenizer_is_end(tokenizer, 1));
    assert_int_equal(fam_tokenizer_end_ids(tokenizer, &count)[0], 2);
    assert_int_equal(count, 2);
    assert_true(fam_tokenizer_is_special(tokenizer, 1));
    assert_false(fam_tokenizer_is_special(tokenizer, 100));
    assert_memory_equal(fam_tokenizer_bytes(tokenizer, 260, &length), " the", 4);
    assert_int_equal(length, 4);
    assert_null(fam_tokenizer_bytes(tokenizer, 49152, &length));
    assert_null(fam_tokenizer_bytes(tokenizer, -1, &length));
    assert_int_equal(fam_tokenizer_check_rows(tokenizer, 49152, &error), FAM_OK);
    assert_int_equal(fam_tokenizer_check_rows(tokenizer, 49151, &error), FAM_STATUS_MISMATCH);
    fam_tokenizer_free(tokenizer);
}

/* Text that is not UTF-8, and every byte value. */
static void draw_bytes(uint8_t *out, size_t size, fam_random *random)
{
    for (size_t i = 0; i < size; i++) {
        uint64_t r = fam_random_next(random);
        out[i] = r % 4 == 0 ? (uint8_t) "  \n\t'sl0"[r >> 8 & 7] : (uint8_t)(r >> 8 | (r % 4 == 1 ? 0x80 : 0));
    }
}

static void any_bytes_give_the_same_ids_wherever_they_are_cut(void **state)
{
    (void)state;
    const char *const files[] = {"tests/fixtures/tokenizer/reduced/digits",
                                 "tests/fixtures/tokenizer/reduced/split_llama3"};
    fam_random random;
    fam_random_seed(&random, 11);
    for (size_t f = 0; f < 2; f++) {
        fam_tokenizer *tokenizer = open_tokenizer(files[f]);
        for (int run = 0; run < 2000; run++) {
            uint8_t text[80];
            size_t size = fam_random_next(&random) % sizeof text;
            draw_bytes(text, size, &random);
            token_list whole = {0}, pieces = {0};
            encode(&whole, tokenizer, text, size, run % 2, NULL);
            encode(&pieces, tokenizer, text, size, run % 2, &random);
            assert_true(token_list_equal(&whole, &pieces));
            token_list_free(&whole);
            token_list_free(&pieces);
        }
        fam_tokenizer_free(tokenizer);
        assert_int_equal(memory.bytes, 0);
    }
}

/* Without the bytes that have no token, and with those counted, the text comes back. */
static void bytes_come_back_or_are_counted(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer("tests/fixtures/tokenizer/reduced/digits");
    bool has_token[256];
    int missing = 0;
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        token_list one = {0};
        encode(&one, tokenizer, &text, 1, false, NULL);
        has_token[byte] = one.count > 0;
        missing += !has_token[byte];
        token_list_free(&one);
    }
    assert_int_equal(missing, fam_tokenizer_missing_bytes(tokenizer));
    assert_true(missing > 0 && missing < 64);
    fam_random random;
    fam_random_seed(&random, 5);
    for (int run = 0; run < 2000; run++) {
        uint8_t text[200], want[200];
        size_t size = fam_random_next(&random) % sizeof text, kept = 0, first = SIZE_MAX, length;
        draw_bytes(text, size, &random);
        for (size_t i = 0; i < size; i++) {
            if (has_token[text[i]])
                want[kept++] = text[i];
            else if (first == SIZE_MAX)
                first = i;
        }
        fam_encoder *encoder;
        token_list ids = {0};
        uint64_t offset = 12345;
        char *back;
        assert_ok(fam_encoder_create(&encoder, tokenizer, false, &error));
        for (size_t at = 0; at < size; at += 7)
            assert_ok(fam_encoder_feed(encoder, (char *)text + at, size - at < 7 ? size - at : 7, token_list_sink, &ids,
                                       &error));
        assert_ok(fam_encoder_finish(encoder, token_list_sink, &ids, &error));
        assert_int_equal(fam_encoder_dropped(encoder, &offset), size - kept);
        assert_int_equal(offset, first == SIZE_MAX ? 12345 : first);
        fam_encoder_free(encoder);
        assert_ok(fam_tokenizer_decode(&back, &length, &memory, tokenizer, ids.ids, ids.count, true, &error));
        assert_int_equal(length, kept);
        assert_memory_equal(back, want, kept);
        fam_free(&memory, back);
        token_list_free(&ids);
    }
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
}

static void decoding_never_splits_a_character(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer("tests/fixtures/tokenizer/reduced/digits");
    fam_decoder *decoder;
    static uint8_t line[LINE_DRAW_MAX];
    size_t held_back = 0;
    assert_ok(fam_decoder_create(&decoder, tokenizer, true, &error));
    for (uint64_t number = 0; number < 500; number++) {
        size_t length, used = 0, shown;
        const char *text;
        char *whole, back[LINE_DRAW_MAX];
        token_list ids = {0};
        assert_int_equal(line_draw(2, number, line, sizeof line, &length), 0);
        encode(&ids, tokenizer, line, length, false, NULL);
        assert_ok(fam_tokenizer_decode(&whole, &length, &memory, tokenizer, ids.ids, ids.count, true, &error));
        size_t allocations = memory.allocations;
        for (size_t i = 0; i < ids.count; i++) {
            assert_ok(fam_decoder_feed(decoder, ids.ids[i], &text, &shown, &error));
            assert_int_equal(fam_utf8_complete_prefix((const uint8_t *)text, shown), shown);
            memcpy(back + used, text, shown);
            used += shown;
            held_back += shown == 0;
        }
        assert_int_equal(memory.allocations, allocations);
        fam_decoder_finish(decoder, &text, &shown);
        memcpy(back + used, text, shown);
        assert_int_equal(used + shown, length);
        assert_memory_equal(back, whole, length);
        fam_free(&memory, whole);
        token_list_free(&ids);
    }
    assert_true(held_back > 1000); /* characters of several tokens did occur */
    const char *text;
    size_t shown;
    assert_int_equal(fam_decoder_feed(decoder, -1, &text, &shown, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_int_equal(fam_decoder_feed(decoder, 2000, &text, &shown, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_int_equal(fam_decoder_feed(decoder, INT32_MAX, &text, &shown, &error), FAM_STATUS_INVALID_ARGUMENT);
    fam_decoder_free(decoder);
    assert_ok(fam_decoder_create(&decoder, tokenizer, false, &error));
    assert_ok(fam_decoder_feed(decoder, 2, &text, &shown, &error));
    assert_int_equal(shown, 0);
    fam_decoder_free(decoder);
    fam_tokenizer_free(tokenizer);
    assert_int_equal(memory.bytes, 0);
}

/* Words of a text by the hand-written matcher, as lengths. */
static size_t words_by_hand(const uint8_t *text, size_t size, size_t *lengths)
{
    size_t count = 0;
    for (size_t at = 0; at < size; at += lengths[count++])
        lengths[count] = fam_gpt2_match(text + at, size - at, true);
    return count;
}

static void the_matcher_by_hand_equals_the_regular_expression(void **state)
{
    (void)state;
    static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    fam_memory_init(&memory);
    fam_regex *regex;
    fam_regex_scratch *scratch;
    assert_ok(fam_regex_compile(&regex, &memory, "test", pattern, strlen(pattern), false, &error));
    assert_ok(fam_regex_scratch_create(&scratch, &memory, regex, &error));
    static uint8_t line[LINE_DRAW_MAX];
    static size_t lengths[LINE_DRAW_MAX];
    for (uint64_t number = 0; number < 20000; number++) {
        size_t size, at = 0;
        assert_int_equal(line_draw(3, number, line, sizeof line, &size), 0);
        size_t count = words_by_hand(line, size, lengths);
        for (size_t i = 0; i < count; at += lengths[i++]) {
            fam_found found;
            size_t start, end;
            assert_ok(fam_regex_find(&found, &start, &end, regex, scratch, line, at, size, true, &error));
            if (found != FAM_FOUND || start != at || end != at + lengths[i])
                fail_msg("line %d, byte %zu: by hand %zu bytes, need %zu", (int)number, at, lengths[i], end - start);
            /* With less text at hand, either more is asked for, or the answer is the same. */
            size_t shorter = at + (size - at) / 2;
            shorter = at + fam_utf8_complete_prefix(line + at, shorter - at);
            size_t early = shorter > at ? fam_gpt2_match(line + at, shorter - at, false) : 0;
            assert_true(early == 0 || early == lengths[i]);
        }
        assert_int_equal(at, size);
    }
    fam_regex_scratch_free(scratch);
    fam_regex_free(regex);
    assert_int_equal(memory.bytes, 0);
}

/* In pieces of 64 bytes, so that looking again at what is held back each time would cost the square of a word's length.
 */
static double encode_seconds(const fam_tokenizer *tokenizer, const char *text, size_t size, size_t *count)
{
    struct timespec begin, end;
    token_list ids = {0};
    fam_encoder *encoder;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    assert_ok(fam_encoder_create(&encoder, tokenizer, false, &error));
    size_t held = memory.bytes;
    for (size_t at = 0; at < size; at += 64)
        assert_ok(fam_encoder_feed(encoder, text + at, 64, token_list_sink, &ids, &error));
    assert_ok(fam_encoder_finish(encoder, token_list_sink, &ids, &error));
    assert_true(memory.bytes < held + (2u << 20)); /* work space for a long word is given back */
    fam_encoder_free(encoder);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    *count = ids.count;
    token_list_free(&ids);
    return (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
}

/* One word of a million bytes or characters: time must not grow with its square. */
static void long_words_take_linear_time(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    const char *const files[] = {"tests/fixtures/tokenizer/reduced/digits",
                                 "tests/fixtures/tokenizer/reduced/split_llama3"};
    const char *const units[] = {"a", " ", "\n", "=", "\xcc\x81", "\xff", "ab", "7", "\xe4\xb8\x96"};
    char *text = malloc(SIZE);
    assert_non_null(text);
    for (size_t f = 0; f < 2; f++) {
        fam_tokenizer *tokenizer = open_tokenizer(files[f]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t length = strlen(units[u]), count;
            for (size_t i = 0; i < SIZE; i++)
                text[i] = units[u][i % length];
            double seconds = encode_seconds(tokenizer, text, SIZE, &count);
            if (seconds > 5) /* a fifth of a second */
                fail_msg("%s: a million of unit %zu: %.1f s", files[f], u, seconds);
            assert_true(memory.peak_bytes < 64u << 20);
        }
        fam_tokenizer_free(tokenizer);
        assert_int_equal(memory.bytes, 0);
    }
    free(text);
}

static bool ignore_ids(void *context, const int32_t *ids, size_t count)
{
    (void)ids;
    *(size_t *)context += count;
    return true;
}

/* 64 MB of lines: the memory of the encoder stays what it was after the first. */
static void a_book_needs_no_more_memory_than_a_page(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer("tests/fixtures/tokenizer/reduced/digits");
    fam_encoder *encoder;
    size_t count = 0, length, fed = 0, page = 0;
    static uint8_t line[LINE_DRAW_MAX];
    assert_ok(fam_encoder_create(&encoder, tokenizer, false, &error));
    for (uint64_t number = 0; fed < (4u << 20); number++) {
        assert_int_equal(line_draw(4, number % 5000, line, sizeof line, &length), 0);
        assert_ok(fam_encoder_feed(encoder, (char *)line, length, ignore_ids, &count, &error));
        fed += length;
        if (number == 5000)
            page = memory.peak_bytes;
    }
    assert_true(page > 0);
    assert_int_equal(memory.peak_bytes, page);
    assert_int_equal(fam_encoder_fed(encoder), fed);
    assert_true(fam_encoder_held(encoder) < 2 * LINE_DRAW_MAX);
    fam_encoder_free(encoder);
    fam_tokenizer_free(tokenizer);
}

static bool refuse_ids(void *context, const int32_t *ids, size_t count)
{
    (void)context;
    (void)ids;
    (void)count;
    return false;
}

static void a_sink_can_stop_the_encoder(void **state)
{
    (void)state;
    fam_tokenizer *tokenizer = open_tokenizer("tests/fixtures/tokenizer/reduced/digits");
    fam_encoder *encoder;
    token_list ids = {0};
    assert_ok(fam_encoder_create(&encoder, tokenizer, false, &error));
    assert_int_equal(fam_encoder_feed(encoder, "one two", 7, refuse_ids, NULL, &error), FAM_STATUS_CANCELLED);
    assert_int_equal(fam_encoder_feed(encoder, " three", 6, token_list_sink, &ids, &error), FAM_STATUS_CANCELLED);
    fam_encoder_reset(encoder);
    assert_ok(fam_encoder_feed(encoder, "one two", 7, token_list_sink, &ids, &error));
    assert_ok(fam_encoder_put(encoder, 2, token_list_sink, &ids, &error));
    assert_int_equal(ids.ids[ids.count - 1], 2);
    assert_int_equal(fam_encoder_put(encoder, 5000, token_list_sink, &ids, &error), FAM_STATUS_INVALID_ARGUMENT);
    token_list_free(&ids);
    fam_encoder_free(encoder);
    fam_tokenizer_free(tokenizer);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(characters_have_the_classes_of_the_package),
    cmocka_unit_test(reduced_tokenizers_give_the_ids_of_the_package),
    cmocka_unit_test(gguf_tokenizers_give_the_ids_of_the_package),
    cmocka_unit_test(smollm2_gives_the_ids_of_the_package_on_100000_lines),
    cmocka_unit_test(special_tokens_are_parsed_only_when_asked),
    cmocka_unit_test(added_tokens_are_found_as_the_package_finds_them),
    cmocka_unit_test(smollm2_says_what_it_is),
    cmocka_unit_test(any_bytes_give_the_same_ids_wherever_they_are_cut),
    cmocka_unit_test(bytes_come_back_or_are_counted),
    cmocka_unit_test(decoding_never_splits_a_character),
    cmocka_unit_test(the_matcher_by_hand_equals_the_regular_expression),
    cmocka_unit_test(long_words_take_linear_time),
    cmocka_unit_test(a_book_needs_no_more_memory_than_a_page),
    cmocka_unit_test(a_sink_can_stop_the_encoder),
};
SUITE_MAIN(tests)
