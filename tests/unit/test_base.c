/*
 * Base room: UTF-8, error lines, memory counters, half floats, replaced files.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/float16.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "suite.h"

static void utf8_accepts_exactly_the_valid_code_points(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x110000; code++) {
        uint8_t bytes[4];
        uint32_t back = 0;
        if (code >= 0xd800 && code < 0xe000)
            continue;
        size_t n = fam_utf8_encode(code, bytes);
        assert_int_equal(fam_utf8_decode(bytes, n, &back), n);
        assert_int_equal(back, code);
        assert_int_equal(fam_utf8_decode(bytes, n - 1, &back), 0);
    }
    const char *broken[] = {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xff", "\xe0\x80\x80"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        assert_false(fam_utf8_valid((const uint8_t *)broken[i], strlen(broken[i])));
}

static void utf8_complete_prefix_holds_back_only_unfinished_characters(void **state)
{
    (void)state;
    assert_int_equal(fam_utf8_complete_prefix((const uint8_t *)"ab\xe2\x82", 4), 2);
    assert_int_equal(fam_utf8_complete_prefix((const uint8_t *)"ab\xe2\x82\xac", 5), 5);
    assert_int_equal(fam_utf8_complete_prefix((const uint8_t *)"\xf0\x9f\x98", 3), 0);
    assert_int_equal(fam_utf8_complete_prefix((const uint8_t *)"\x80\x80", 2), 2);
    assert_int_equal(fam_utf8_complete_prefix((const uint8_t *)"\xed\xa0", 2), 2);
    assert_int_equal(fam_utf8_complete_prefix((const uint8_t *)"", 0), 0);
}

static void error_is_one_clean_line_with_both_ends(void **state)
{
    (void)state;
    fam_error error;
    char name[5000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    name[10] = '\n';
    name[11] = (char)0xff;
    assert_int_equal(fam_error_set(&error, FAM_STATUS_IO, "%s: found 1, need 2", name), FAM_STATUS_IO);
    assert_null(strchr(error.message, '\n'));
    assert_true(fam_utf8_valid((const uint8_t *)error.message, strlen(error.message)));
    assert_non_null(strstr(error.message, ": found 1, need 2"));
    fam_error_set(&error, FAM_STATUS_IO, "a\tb");
    assert_string_equal(error.message, "a?b");
}

static void memory_counts_and_fails_on_request(void **state)
{
    (void)state;
    fam_memory memory;
    fam_memory_init(&memory);
    char *a = fam_alloc(&memory, 100), *b = fam_alloc_array(&memory, 10, 10);
    assert_int_equal((uintptr_t)a % 64, 0);
    assert_int_equal(memory.bytes, 200);
    a = fam_realloc(&memory, a, 300);
    assert_int_equal(memory.bytes, 400);
    assert_null(fam_alloc_array(&memory, SIZE_MAX / 2, 3));
    assert_null(fam_alloc(&memory, SIZE_MAX - 10));
    memory.fail_at = memory.allocations + 2;
    void *c = fam_alloc(&memory, 1);
    assert_non_null(c);
    assert_null(fam_alloc(&memory, 1));
    void *d = fam_alloc(&memory, 1);
    assert_non_null(d);
    fam_free(&memory, a);
    fam_free(&memory, b);
    fam_free(&memory, c);
    fam_free(&memory, d);
    fam_free(&memory, NULL);
    assert_int_equal(memory.bytes, 0);
    assert_int_equal(memory.peak_bytes, 500);
    for (size_t size = 1000; size < 40000000; size = size * 3 + 1) { /* small ones by malloc, large ones mapped */
        uint8_t *zeroed = fam_alloc_zeroed(&memory, size);
        assert_non_null(zeroed);
        assert_int_equal((uintptr_t)zeroed % 64, 0);
        for (size_t i = 0; i < size; i += 997)
            assert_int_equal(zeroed[i], 0);
        zeroed[0] = zeroed[size - 1] = 7;
        zeroed = fam_realloc(&memory, zeroed, size / 2);
        assert_int_equal(zeroed[0], 7);
        fam_free(&memory, zeroed);
    }
    assert_int_equal(memory.bytes, 0);
}

static void half_floats_agree_with_the_compiler(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float bf = fam_from_bf16((uint16_t)bits);
        if (bf == bf)
            assert_int_equal(fam_to_bf16(bf), bits);
#ifdef __FLT16_MAX__
        _Float16 half;
        uint16_t small = (uint16_t)bits;
        memcpy(&half, &small, sizeof half);
        float want = (float)half, got = fam_from_f16(small);
        assert_true(want != want ? got != got : fam_bits_from_float(want) == fam_bits_from_float(got));
#endif
    }
    assert_int_equal(fam_to_bf16(fam_float_from_bits(0x3f808000)), 0x3f80); /* a tie goes to even */
    assert_int_equal(fam_to_bf16(fam_float_from_bits(0x3f818000)), 0x3f82);
}

/* Every half, and what lies just below, at and just above the middle of it and the next. */
static void floats_are_rounded_to_the_nearest_half(void **state)
{
    (void)state;
    for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000)
        for (uint32_t bits = 0; bits < 0x7c00; bits++) {
            uint16_t half = (uint16_t)(sign | bits), next = (uint16_t)(half + 1);
            /* the one after the largest is infinite, and its place 65536 */
            float low = fam_from_f16(half), high = bits == 0x7bff ? (sign ? -65536.0f : 65536.0f) : fam_from_f16(next);
            float middle = low + (high - low) / 2;
            uint32_t pattern = fam_bits_from_float(middle);
            assert_int_equal(fam_to_f16(low), half);
            assert_int_equal(fam_to_f16(middle), bits & 1 ? next : half);
            assert_int_equal(fam_to_f16(fam_float_from_bits(pattern - 1)), half);
            assert_int_equal(fam_to_f16(fam_float_from_bits(pattern + 1)), next);
        }
    assert_int_equal(fam_to_f16(1e30f), 0x7c00);
    assert_int_equal(fam_to_f16(fam_float_from_bits(0xff800000)), 0xfc00);
    assert_int_equal(fam_to_f16(1e-30f), 0);
    float nan = fam_from_f16(fam_to_f16(fam_float_from_bits(0x7f800001)));
    assert_true(nan != nan);
}

/* What others may read is theirs by the umask, as with any file; what is private is the owner's from its first byte. */
static void atomic_files_have_the_access_that_was_asked_for(void **state)
{
    (void)state;
    static const struct {
        fam_file_access access;
        mode_t mask;
        int mode;
    } cases[] = {{FAM_FILE_SHARED, 022, 0644}, {FAM_FILE_SHARED, 077, 0600}, {FAM_FILE_PRIVATE, 0, 0600}};
    fam_memory memory;
    fam_error error;
    fam_memory_init(&memory);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[] = "/tmp/fam-test-base-XXXXXX", temporary[96];
        fam_atomic_file *file;
        struct stat st;
        close(mkstemp(path));
        unlink(path);
        umask(cases[i].mask);
        assert_int_equal(fam_atomic_file_begin(&file, &memory, path, cases[i].access, &error), FAM_OK);
        snprintf(temporary, sizeof temporary, "%s.tmp.%ld.0", path, (long)getpid());
        assert_int_equal(stat(temporary, &st), 0);
        assert_int_equal(st.st_mode & 0777, cases[i].mode);
        assert_int_equal(fam_atomic_file_commit(file, &error), FAM_OK);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, cases[i].mode);
        unlink(path);
    }
}

static void atomic_file_replaces_whole_or_not_at_all(void **state)
{
    (void)state;
    fam_memory memory;
    fam_memory_init(&memory);
    fam_error error;
    char path[] = "/tmp/fam-test-base-XXXXXX";
    close(mkstemp(path));
    fam_atomic_file *file;
    assert_int_equal(fam_atomic_file_begin(&file, &memory, path, FAM_FILE_PRIVATE, &error), FAM_OK);
    assert_int_equal(fam_atomic_file_write(file, "new", 3, &error), FAM_OK);
    assert_int_equal(fam_atomic_file_commit(file, &error), FAM_OK);
    assert_int_equal(fam_atomic_file_begin(&file, &memory, path, FAM_FILE_PRIVATE, &error), FAM_OK);
    assert_int_equal(fam_atomic_file_write(file, "newer", 5, &error), FAM_OK);
    fam_atomic_file_abort(file);
    uint8_t *data;
    size_t size;
    assert_int_equal(fam_file_read(&data, &size, &memory, path, 100, &error), FAM_OK);
    assert_string_equal(data, "new");
    fam_free(&memory, data);
    assert_int_equal(fam_file_read(&data, &size, &memory, path, 2, &error), FAM_STATUS_BAD_FORMAT);
    unlink(path);
    assert_int_equal(fam_file_read(&data, &size, &memory, path, 2, &error), FAM_STATUS_NOT_FOUND);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(fam_atomic_file_begin(&file, &memory, path, FAM_FILE_PRIVATE, &error), FAM_STATUS_IO);
    unlink(path);
    fam_mapping mapping;
    assert_int_equal(fam_mapping_open(&mapping, "/dev/zero", &error), FAM_STATUS_IO);
    assert_int_equal(fam_mapping_open(&mapping, "/tmp", &error), FAM_STATUS_IO);
    assert_int_equal(memory.bytes, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(utf8_accepts_exactly_the_valid_code_points),
    cmocka_unit_test(utf8_complete_prefix_holds_back_only_unfinished_characters),
    cmocka_unit_test(error_is_one_clean_line_with_both_ends),
    cmocka_unit_test(memory_counts_and_fails_on_request),
    cmocka_unit_test(half_floats_agree_with_the_compiler),
    cmocka_unit_test(floats_are_rounded_to_the_nearest_half),
    cmocka_unit_test(atomic_file_replaces_whole_or_not_at_all),
    cmocka_unit_test(atomic_files_have_the_access_that_was_asked_for),
};
SUITE_MAIN(tests)
