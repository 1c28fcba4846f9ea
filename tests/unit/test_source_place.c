/*
 * The place of a source: going on from anywhere gives the same sequences, bytes that are not trusted change nothing,
 * and memory stays bounded whatever the files' sizes.
 */
#include <xxhash.h>

#include "base/random.h"
#include "data/text_file.h"
#include "data_fixture.h"

enum { ENTRIES = 9, SEQUENCES = 300, AFTER = 4 };

static const char *directory;
static fam_data_options entries[ENTRIES];
static fam_tokenizer *tokenizer;

/* Every kind, with files so short that epochs end often. */
static void make_entries(void)
{
    char text[8000] = "", *at = text;
    for (int i = 0; i < 30; i++)
        at += sprintf(at, "Line %d of some text \xc3\xa4\xe6\x97\xa5, which is not long. ", i * i);
    scratch_write_text(directory, "text", text);
    at = text;
    for (int i = 0; i < 40; i++)
        at += sprintf(at, "{\"text\":\"%.*s %d\"}\n%s", 1 + i * 7 % 50,
                      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", i, i % 5 ? "" : "\n");
    scratch_write_text(directory, "texts", text);
    at = text;
    for (int i = 0; i < 25; i++)
        at += sprintf(
            at, i % 6 == 5 ? "bad %d\n" : "{\"prompt\":\"What is %d?\",\"completion\":\" It is %d, said %.*s.\"}\r\n",
            i, i * 77, i % 10 * 9,
            "one and all of them, and then again, and so on, for ever, and a little more than that");
    scratch_write_text(directory, "pairs", text);
    char *path[3] = {strdup(scratch_path(directory, "text")), strdup(scratch_path(directory, "texts")),
                     strdup(scratch_path(directory, "pairs"))};
    const fam_data_kind kinds[ENTRIES] = {FAM_DATA_PASSKEY, FAM_DATA_NEEDLE, FAM_DATA_OVERWRITE,
                                          FAM_DATA_TEXT,    FAM_DATA_TEXT,   FAM_DATA_JSONL,
                                          FAM_DATA_JSONL,   FAM_DATA_JSONL,  FAM_DATA_JSONL};
    for (int i = 0; i < ENTRIES; i++) {
        entries[i] = data_entry(kinds[i], NULL);
        entries[i].path = i < 1 || i == 2 ? NULL : strdup(path[i == 1 || i == 3 || i == 4 ? 0 : i < 7 ? 1 : 2]);
        entries[i].share = 1 + i % 3;
    }
    for (int i = 0; i < 3; i++)
        free(path[i]);
    entries[2].keys = 3;
    entries[2].digits = 2;
    entries[4].repeat_tokens = 20;
    entries[6].shuffle = true;
    entries[6].pack = false;
    entries[6].share = 6;
    entries[7].too_long = FAM_TOO_LONG_SPLIT;
    entries[7].skip_bad = 4;
    entries[8].too_long = FAM_TOO_LONG_SKIP;
    entries[8].skip_bad = 4;
    entries[8].shuffle = true;
    entries[8].repeat_tokens = 7;
}

static int setup(void **state)
{
    (void)state;
    fam_memory_init(&memory);
    directory = scratch_make();
    tokenizer = byte_tokenizer_open(&memory);
    make_entries();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fam_tokenizer_free(tokenizer);
    for (int i = 0; i < ENTRIES; i++)
        free(entries[i].path);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(directory);
    return 0;
}

static fam_source *open_source(uint64_t seed)
{
    fam_source *source;
    assert_ok(fam_source_create(&source, &memory, entries, ENTRIES, tokenizer, seed, &error));
    return source;
}

static int64_t tokens_of(const fam_source *source, int n)
{
    return fam_source_tokens_min(source) + n * 37 % 90;
}

typedef struct place {
    uint8_t *bytes;
    size_t size;
} place;

static place save(const fam_source *source)
{
    place p;
    assert_ok(fam_source_save(source, &p.bytes, &p.size, &error));
    return p;
}

static void assert_counts(const fam_source *a, const fam_source *b)
{
    for (int i = 0; i < ENTRIES; i++) {
        fam_source_counts x, y;
        fam_source_counts_get(a, i, &x);
        fam_source_counts_get(b, i, &y);
        assert_memory_equal(&x, &y, sizeof x);
    }
}

static void going_on_from_anywhere_gives_the_same(void **state)
{
    (void)state;
    static data_sequence want[SEQUENCES + AFTER];
    static place places[SEQUENCES];
    fam_source *whole = open_source(5), *other = open_source(6);
    for (int n = 0; n < SEQUENCES + AFTER; n++) {
        if (n < SEQUENCES)
            places[n] = save(whole);
        want[n] = data_next(whole, tokens_of(whole, n));
    }
    for (int i = 0; i < ENTRIES; i++) { /* the test is one only if all was met */
        fam_source_counts counts;
        fam_source_counts_get(whole, i, &counts);
        assert_true(counts.sequences > 5);
        if (i > 2)
            assert_true(counts.epochs > 0);
        assert_int_equal(counts.bad_records > 0, i > 6);
    }
    for (int n = SEQUENCES - 1; n >= 0; n--) {
        fam_source *fresh = open_source(7); /* and one that is somewhere else already */
        fam_source *two[2] = {fresh, other};
        for (int k = 0; k < 2; k++) {
            assert_ok(fam_source_restore(two[k], places[n].bytes, places[n].size, &error));
            place again = save(two[k]);
            assert_int_equal(again.size, places[n].size);
            assert_memory_equal(again.bytes, places[n].bytes, again.size);
            fam_free(&memory, again.bytes);
            for (int i = 0; i < AFTER; i++) {
                data_sequence s = data_next(two[k], tokens_of(two[k], n + i));
                data_assert_same(&s, &want[n + i]);
                data_sequence_free(&s);
            }
        }
        if (n == SEQUENCES - 1)
            assert_counts(fresh, other);
        fam_source_free(fresh);
    }
    for (int n = 0; n < SEQUENCES + AFTER; n++)
        data_sequence_free(&want[n]);
    for (int n = 0; n < SEQUENCES; n++)
        fam_free(&memory, places[n].bytes);
    fam_source_free(whole);
    fam_source_free(other);
}

static void failing_changes_nothing(void **state)
{
    (void)state;
    entries[5].too_long = entries[7].too_long = FAM_TOO_LONG_REFUSE;
    fam_source *source = open_source(5), *beside = open_source(5);
    int failed = 0;
    for (int n = 0; n < 60; n++) {
        data_sequence small = data_sequence_make(60);
        place before = save(source);
        if (fam_source_next_of(source, 7, 60, &small.view, &error) != FAM_OK) {
            failed++;
            place after = save(source);
            assert_memory_equal(after.bytes, before.bytes, before.size);
            fam_free(&memory, after.bytes);
        } else {
            assert_ok(fam_source_next_of(beside, 7, 60, &small.view, &error));
        }
        data_sequence_free(&small);
        fam_free(&memory, before.bytes);
        data_sequence a = data_next(source, 300), b = data_next(beside, 300);
        data_assert_same(&a, &b);
        data_sequence_free(&a);
        data_sequence_free(&b);
    }
    assert_true(failed > 3);
    fam_source_free(source);
    fam_source_free(beside);
}

/* ---- bytes that are not trusted ---- */

static void sign(uint8_t *bytes, size_t size)
{
    uint64_t hash = XXH3_64bits(bytes, size - 8);
    memcpy(bytes + size - 8, &hash, 8);
}

static void every_broken_bit_and_every_missing_byte_is_found(void **state)
{
    (void)state;
    fam_source *source = open_source(5), *beside = open_source(5);
    for (int n = 0; n < 20; n++) {
        data_sequence a = data_next(source, 300), b = data_next(beside, 300);
        data_sequence_free(&a);
        data_sequence_free(&b);
    }
    place p = save(source);
    for (size_t bit = 0; bit < 8 * p.size; bit++) {
        p.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(fam_source_restore(source, p.bytes, p.size, &error), FAM_STATUS_BAD_FORMAT);
        assert_memory_equal(error.message, "data: place: ", 13);
        p.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t size = 0; size < p.size; size++)
        assert_int_equal(fam_source_restore(source, p.bytes, size, &error), FAM_STATUS_BAD_FORMAT);
    for (int n = 0; n < 20; n++) { /* it was as it was */
        data_sequence a = data_next(source, 300), b = data_next(beside, 300);
        data_assert_same(&a, &b);
        data_sequence_free(&a);
        data_sequence_free(&b);
    }
    fam_free(&memory, p.bytes);
    fam_source_free(source);
    fam_source_free(beside);
}

/* Where things lie (source_place.c). */
enum {
    HEAD = 56,
    ENTRY = 136,
    AT_KIND = 0,
    AT_BYTES = 8,
    AT_HASH = 16,
    AT_RANDOM = 32,
    AT_DRAW = 64,
    AT_EPOCH = 72,
    AT_AT = 80,
    AT_USED = 88,
    AT_BAD = 96
};

static void numbers_that_cannot_be_are_refused_though_signed(void **state)
{
    (void)state;
    static const struct {
        int entry;
        size_t at;
        uint64_t value;
        fam_status status;
        const char *need;
    } bad[] = {{-1, 8, (uint64_t)ENTRIES << 32 | 2, FAM_STATUS_BAD_FORMAT, "version: found 2"},
               {-1, 8, (uint64_t)(ENTRIES + 1) << 32 | 1, FAM_STATUS_MISMATCH, "entries: found 10 saved, need 9"},
               {0, AT_KIND, FAM_DATA_NEEDLE, FAM_STATUS_MISMATCH, "kind: found number 2"},
               {0, AT_BYTES, 77, FAM_STATUS_MISMATCH, "content: found 0 bytes"},
               {0, AT_HASH, 77, FAM_STATUS_MISMATCH, "content: found another"},
               {3, AT_BYTES, 77, FAM_STATUS_MISMATCH, "need the 77 that were read so far"},
               {3, AT_HASH, 77, FAM_STATUS_MISMATCH, "text: content: found another"},
               {1, AT_HASH + 8, 77, FAM_STATUS_MISMATCH, "text: content: found another"},
               {0, AT_DRAW, UINT64_MAX, FAM_STATUS_BAD_FORMAT, "count: found"},
               {3, AT_DRAW, 1, FAM_STATUS_BAD_FORMAT, "found numbers that it never has"},
               {0, AT_EPOCH, 1, FAM_STATUS_BAD_FORMAT, "found numbers that it never has"},
               {0, AT_AT, 1, FAM_STATUS_BAD_FORMAT, "found numbers that it never has"},
               {3, AT_EPOCH, UINT64_MAX, FAM_STATUS_BAD_FORMAT, "count: found"},
               {3, AT_AT, 100000, FAM_STATUS_BAD_FORMAT, "found record or byte 100000"},
               {3, AT_AT, UINT64_MAX, FAM_STATUS_BAD_FORMAT, "found record or byte"},
               {3, AT_AT, 21, FAM_STATUS_BAD_FORMAT, "byte 21: found 0xa4"},
               {3, AT_USED, 100000, FAM_STATUS_BAD_FORMAT, "found 100000 tokens used"},
               {3, AT_USED, UINT64_MAX, FAM_STATUS_BAD_FORMAT, "tokens used"},
               {5, AT_AT, 3, FAM_STATUS_BAD_FORMAT, "need the beginning of a line"},
               {5, AT_USED, 7777, FAM_STATUS_BAD_FORMAT, "found 7777 tokens used"},
               {6, AT_AT, 40, FAM_STATUS_BAD_FORMAT, "found record or byte 40, need below 40"},
               {7, AT_BAD, UINT64_MAX, FAM_STATUS_BAD_FORMAT, "count: found"},
               {7, AT_BAD + 8, 1ull << 63, FAM_STATUS_BAD_FORMAT, "count: found"}};
    fam_source *source = open_source(5);
    place p = save(source);
    uint8_t *copy = malloc(p.size);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(copy, p.bytes, p.size);
        memcpy(copy + (bad[i].entry < 0 ? 0 : HEAD + bad[i].entry * ENTRY) + bad[i].at, &bad[i].value, 8);
        sign(copy, p.size);
        assert_refused(fam_source_restore(source, copy, p.size, &error), bad[i].status, bad[i].need);
    }
    for (int entry = -1; entry < ENTRIES; entry++) { /* random numbers that are all zero */
        memcpy(copy, p.bytes, p.size);
        memset(copy + (entry < 0 ? 24 : HEAD + entry * ENTRY + AT_RANDOM), 0, 32);
        sign(copy, p.size);
        assert_refused(fam_source_restore(source, copy, p.size, &error), FAM_STATUS_BAD_FORMAT, "found");
    }
    memcpy(copy, p.bytes, p.size);
    assert_int_equal(fam_source_restore(source, copy, p.size - 8, &error), FAM_STATUS_BAD_FORMAT);
    assert_ok(fam_source_restore(source, copy, p.size, &error));
    free(copy);
    fam_free(&memory, p.bytes);
    fam_source_free(source);
}

static void drawn_places_are_refused_or_give_sequences(void **state)
{
    (void)state;
    fam_source *source = open_source(5);
    fam_random random;
    int taken = 0;
    fam_random_seed(&random, 1);
    for (int n = 0; n < 3000; n++) {
        place p = save(source);
        for (int i = 0; i < 1 + n % 3; i++) {
            size_t at = HEAD + fam_random_next(&random) % (p.size - HEAD - 8);
            p.bytes[at] = (uint8_t)(fam_random_next(&random) % 4 ? p.bytes[at] + 1u : fam_random_next(&random));
        }
        sign(p.bytes, p.size);
        fam_status status = fam_source_restore(source, p.bytes, p.size, &error);
        assert_true(status == FAM_OK || status == FAM_STATUS_BAD_FORMAT || status == FAM_STATUS_MISMATCH);
        taken += status == FAM_OK;
        fam_free(&memory, p.bytes);
        data_sequence s = data_sequence_make(300);
        for (int i = 0; i < ENTRIES;
             i++) { /* bad_now may have grown past what is allowed: a bad line is then an error */
            status = fam_source_next_of(source, i, 300, &s.view, &error);
            assert_true(status == FAM_OK || (i > 6 && status == FAM_STATUS_BAD_FORMAT));
        }
        data_sequence_free(&s);
        if (n % 50 == 49) {
            fam_source_free(source);
            source = open_source(5);
        }
    }
    assert_true(taken > 100);
    fam_source_free(source);
}

static void another_file_is_a_mismatch(void **state)
{
    (void)state;
    fam_source *source = open_source(5);
    place p = save(source);
    fam_source_free(source);
    char path[200];
    snprintf(path, sizeof path, "%s", entries[5].path);
    FILE *file = fopen(path, "r+");
    fputs("{\"text\":\"z", file); /* as long as before */
    fclose(file);
    source = open_source(5);
    assert_refused(fam_source_restore(source, p.bytes, p.size, &error), FAM_STATUS_MISMATCH, path);
    fam_source_free(source);
    fam_free(&memory, p.bytes);
}

/* ---- memory ---- */

static size_t peak_of_reading(int lines, bool shuffle)
{
    FILE *file = fopen(entries[5].path, "w");
    for (int i = 0; i < lines; i++)
        fprintf(file, "{\"text\":\"line %07d\"}\n", i);
    fclose(file);
    fam_data_options entry = entries[5];
    entry.shuffle = shuffle;
    fam_source *source;
    size_t before = memory.bytes;
    atomic_store(&memory.peak_bytes, before);
    assert_ok(fam_source_create(&source, &memory, &entry, 1, tokenizer, 1, &error));
    data_sequence s = data_sequence_make(4096);
    fam_source_counts counts = {0};
    while (counts.epochs == 0) {
        assert_ok(fam_source_next(source, 4096, &s.view, &error));
        fam_source_counts_get(source, 0, &counts);
    }
    size_t peak = memory.peak_bytes - before;
    place p = save(source);
    fam_free(&memory, p.bytes);
    data_sequence_free(&s);
    fam_source_free(source);
    return peak;
}

static void memory_does_not_grow_with_the_file(void **state)
{
    (void)state;
    size_t few = peak_of_reading(20000, false), many = peak_of_reading(100000, false);
    assert_int_equal(few, many);
    assert_true(many < 2 << 20);
    few = peak_of_reading(20000, true);
    many = peak_of_reading(100000, true);
    assert_in_range(many - few, 0, 80000 * 8 * 3); /* the offsets, and what growing their list takes */
}

static void a_line_may_have_64_mib_and_no_more(void **state)
{
    (void)state;
    for (int more = 0; more <= 1; more++)
        for (int end = 1 - more; end < 2; end++) {
            size_t size = ((size_t)64 << 20) + (size_t)more;
            char *text = malloc(size + 1);
            memset(text, ' ', size);
            memcpy(text, "{\"text\":\"abc\"}", 14);
            text[size] = '\n';
            scratch_write(directory, "texts", text, size + (size_t)end);
            free(text);
            fam_source *source;
            fam_status status = fam_source_create(&source, &memory, &entries[5], 1, tokenizer, 1, &error);
            if (more > 0) {
                assert_int_equal(status, FAM_STATUS_BAD_FORMAT);
                assert_non_null(strstr(error.message, "found a line of"));
                continue;
            }
            assert_ok(status);
            data_sequence s = data_next(source, 9);
            assert_string_equal(data_text(&s), "abc#abc#a");
            data_sequence_free(&s);
            fam_source_free(source);
        }
    assert_true(memory.peak_bytes < (size_t)192 << 20);
}

static void a_long_line_is_forgotten_behind_it(void **state)
{
    (void)state;
    enum { LONG = 1 << 20, SHORT = 150000 };
    FILE *file = fopen(entries[5].path, "w");
    fputs("{\"text\":\"", file);
    for (int i = 0; i < LONG; i++)
        fputc('a', file);
    fputs("\"}\n", file);
    for (int i = 0; i < SHORT; i++)
        fputs("{\"text\":\"b\"}\n", file);
    fclose(file);
    fam_source *source;
    size_t before = memory.bytes;
    assert_ok(fam_source_create(&source, &memory, &entries[5], 1, tokenizer, 1, &error));
    data_sequence s = data_sequence_make(1 << 16);
    for (int64_t read = 0; read < LONG + 3 * SHORT / 2; read += s.tokens)
        assert_ok(fam_source_next(source, s.tokens, &s.view, &error));
    assert_int_equal(s.view.ids[s.tokens - 2] + s.view.ids[s.tokens - 1], 'b' + 256);
    assert_true(memory.peak_bytes - before > 5 * LONG);
    assert_true(memory.bytes - before < 1 << 20);
    data_sequence_free(&s);
    fam_source_free(source);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    fam_source *source = open_source(5);
    place p = save(source);
    fam_source_free(source);
    size_t held = memory.bytes;
    for (size_t n = 1;; n++) {
        fam_status status;
        uint8_t *bytes = NULL;
        size_t size;
        atomic_store(&memory.allocations, 0);
        memory.fail_at = n;
        source = NULL;
        status = fam_source_create(&source, &memory, entries, ENTRIES, tokenizer, 5, &error);
        data_sequence s = data_sequence_make(300);
        for (int i = 0; i < 2 * ENTRIES && status == FAM_OK; i++)
            status = fam_source_next_of(source, i % ENTRIES, 300, &s.view, &error);
        if (status == FAM_OK)
            status = fam_source_save(source, &bytes, &size, &error);
        if (status == FAM_OK)
            status = fam_source_restore(source, p.bytes, p.size, &error);
        memory.fail_at = 0;
        data_sequence_free(&s);
        fam_free(&memory, bytes);
        fam_source_free(source);
        assert_int_equal(memory.bytes, held);
        if (status == FAM_OK)
            break;
        assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
    }
    fam_free(&memory, p.bytes);
}

static void a_file_that_shrinks_is_an_error(void **state)
{
    (void)state;
    fam_input input;
    char bytes[64];
    const char *path = entries[3].path;
    assert_ok(fam_input_open(&input, path, &error));
    assert_ok(fam_input_read(&input, path, input.size - 64, bytes, 64, &error));
    assert_memory_equal(bytes + 60, "ng. ", 4);
    assert_ok(fam_input_check(&input, path, &error));
    scratch_write_text(directory, "text", "short");
    assert_refused(fam_input_read(&input, path, input.size - 64, bytes, 64, &error), FAM_STATUS_IO,
                   "found the end at byte");
    assert_refused(fam_input_check(&input, path, &error), FAM_STATUS_IO, "found 5 bytes, changed");
    fam_input_close(&input);
    assert_false(input.open);
}

#define case_of(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    case_of(going_on_from_anywhere_gives_the_same),
    case_of(failing_changes_nothing),
    case_of(every_broken_bit_and_every_missing_byte_is_found),
    case_of(numbers_that_cannot_be_are_refused_though_signed),
    case_of(drawn_places_are_refused_or_give_sequences),
    case_of(another_file_is_a_mismatch),
    case_of(memory_does_not_grow_with_the_file),
    case_of(a_line_may_have_64_mib_and_no_more),
    case_of(a_long_line_is_forgotten_behind_it),
    case_of(every_allocation_may_fail),
    case_of(a_file_that_shrinks_is_an_error),
};

SUITE_MAIN(tests)
