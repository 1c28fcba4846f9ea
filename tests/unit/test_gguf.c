/*
 * The GGUF reader on files that are right: what they offer, and real ones. test_gguf_hostile.c has the wrong ones.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "gguf_walk.h"
#include "gguf_writer.h"
#include "suite.h"

static const char NAME[] = "test.gguf";

static void accept(gguf_writer *writer)
{
    gguf_bytes file = gguf_writer_finish(writer);
    fam_error error = {FAM_OK, ""};
    uint64_t sum;
    if (gguf_parse_copy(file.data, file.size, &sum, &error) != FAM_OK)
        fail_msg("refused: %s", error.message);
    gguf_bytes_free(&file);
}

static fam_gguf *open_small(fam_memory *memory, gguf_bytes *file)
{
    fam_gguf *gguf = NULL;
    fam_error error;
    *file = gguf_writer_sample(3);
    fam_memory_init(memory);
    assert_int_equal(fam_gguf_parse(&gguf, memory, NAME, file->data, file->size, NULL, NULL, &error), FAM_OK);
    return gguf;
}

/* ---- right files ------------------------------------------------------------------------------------------------- */

static void keys_of_every_type_are_read(void **state)
{
    (void)state;
    fam_memory memory;
    fam_error error;
    gguf_bytes file;
    fam_gguf *gguf = open_small(&memory, &file);
    const struct {
        const char *key;
        int64_t value;
    } integers[] = {{"u8", 200},         {"u16", 60000}, {"i16", 300},
                    {"u32", 4000000000}, {"i32", 70000}, {"u64", (int64_t)1 << 40},
                    {"i64", INT64_MAX}};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        int64_t value = -1;
        assert_int_equal(fam_gguf_get_i64(gguf, integers[i].key, true, &value, &error), FAM_OK);
        assert_int_equal(value, integers[i].value);
    }
    double number = 0;
    assert_int_equal(fam_gguf_get_f64(gguf, "f32", true, &number, &error), FAM_OK);
    assert_true(number == 0.5);
    assert_int_equal(fam_gguf_get_f64(gguf, "f64", true, &number, &error), FAM_OK);
    assert_true(number == 0.1);
    bool truth = false;
    assert_int_equal(fam_gguf_get_bool(gguf, "yes", true, &truth, &error), FAM_OK);
    assert_true(truth);
    assert_int_equal(fam_gguf_get_bool(gguf, "no", true, &truth, &error), FAM_OK);
    assert_false(truth);
    const char *text = NULL;
    size_t length = 0;
    assert_int_equal(fam_gguf_get_string(gguf, "general.architecture", true, &text, &length, &error), FAM_OK);
    assert_int_equal(length, 5);
    assert_memory_equal(text, "llama", 5);
    assert_int_equal(fam_gguf_value_count(gguf), 18);
    assert_string_equal(fam_gguf_value_at(gguf, 1)->key, "u8");
    assert_null(fam_gguf_value_at(gguf, 18));
    assert_int_equal(fam_gguf_version(gguf), 3);
    assert_string_equal(fam_gguf_path(gguf), NAME);
    fam_gguf_free(gguf);
    assert_int_equal(memory.bytes, 0);
    gguf_bytes_free(&file);
}

static void arrays_are_walked_and_typed(void **state)
{
    (void)state;
    fam_memory memory;
    fam_error error;
    gguf_bytes file;
    fam_gguf *gguf = open_small(&memory, &file);
    const char *want[] = {"a", "", "\xff\xfe", "four"}, *text;
    size_t length;
    fam_gguf_strings strings;
    assert_int_equal(fam_gguf_get_strings(gguf, "strings", true, &strings, &error), FAM_OK);
    assert_int_equal(strings.remaining, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(fam_gguf_next_string(&strings, &text, &length));
        assert_int_equal(length, strlen(want[i]));
        assert_memory_equal(text, want[i], length);
    }
    assert_false(fam_gguf_next_string(&strings, &text, &length));
    const fam_gguf_value *value = NULL;
    assert_int_equal(fam_gguf_get_array(gguf, "numbers", true, FAM_GGUF_I32, &value, &error), FAM_OK);
    assert_int_equal(value->count, 3);
    assert_int_equal(value->bytes, 12);
    int32_t second;
    memcpy(&second, value->data + 4, 4);
    assert_int_equal(second, -2);
    assert_int_equal(fam_gguf_get_array(gguf, "empty", true, FAM_GGUF_F64, &value, &error), FAM_OK);
    assert_int_equal(value->count, 0);
    assert_int_equal(fam_gguf_get_array(gguf, "numbers", true, FAM_GGUF_U32, &value, &error), FAM_STATUS_BAD_FORMAT);
    assert_string_equal(error.message,
                        "test.gguf: metadata: key 'numbers': found an array of i32, need an array of u32");
    assert_int_equal(fam_gguf_get_strings(gguf, "numbers", true, &strings, &error), FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_gguf_get_strings(gguf, "general.architecture", true, &strings, &error), FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_gguf_get_strings(gguf, "absent", false, &strings, &error), FAM_OK);
    assert_false(fam_gguf_next_string(&strings, &text, &length));
    fam_gguf_free(gguf);
    gguf_bytes_free(&file);
}

static void strings_that_change_after_opening_end_the_walk(void **state)
{
    (void)state;
    fam_memory memory;
    fam_error error;
    gguf_bytes file;
    fam_gguf *gguf = open_small(&memory, &file);
    fam_gguf_strings strings;
    assert_int_equal(fam_gguf_get_strings(gguf, "strings", true, &strings, &error), FAM_OK);
    file.data[strings.next - file.data + 3] = 0x7f; /* the first length is now far beyond the array */
    const char *text;
    size_t length;
    assert_false(fam_gguf_next_string(&strings, &text, &length));
    fam_gguf_free(gguf);
    gguf_bytes_free(&file);
}

/* G17, G16: what a key is missing or wrong for is told, and nothing is written. */
static void typed_access_refuses_what_does_not_fit(void **state)
{
    (void)state;
    fam_memory memory;
    fam_error error;
    gguf_bytes file;
    fam_gguf *gguf = open_small(&memory, &file);
    int64_t integer = 7;
    double number = 7;
    bool truth = true;
    const char *text = "kept";
    size_t length = 7;
    const char *not_integers[] = {"general.architecture", "f32", "yes", "numbers", "i8", "u64.large", "absent"};
    for (size_t i = 0; i < sizeof not_integers / sizeof *not_integers; i++) {
        assert_int_equal(fam_gguf_get_i64(gguf, not_integers[i], true, &integer, &error), FAM_STATUS_BAD_FORMAT);
        assert_non_null(strstr(error.message, not_integers[i]));
    }
    assert_non_null(strstr(error.message, "test.gguf: metadata: key 'absent': found nothing, need an integer"));
    fam_gguf_get_i64(gguf, "i8", true, &integer, &error);
    assert_non_null(strstr(error.message, "found -5, need"));
    fam_gguf_get_i64(gguf, "u64.large", true, &integer, &error);
    assert_non_null(strstr(error.message, "found 18446744073709551615, need at most 9223372036854775807"));
    assert_int_equal(fam_gguf_get_f64(gguf, "u32", true, &number, &error), FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_gguf_get_bool(gguf, "u8", true, &truth, &error), FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_gguf_get_string(gguf, "u32", true, &text, &length, &error), FAM_STATUS_BAD_FORMAT);
    assert_string_equal(error.message, "test.gguf: metadata: key 'u32': found a value of type u32, need a string");
    assert_int_equal(fam_gguf_get_string(gguf, "strings", false, &text, &length, &error), FAM_STATUS_BAD_FORMAT);
    assert_int_equal(fam_gguf_get_i64(gguf, "absent", false, &integer, &error), FAM_OK);
    assert_int_equal(fam_gguf_get_f64(gguf, "absent", false, &number, &error), FAM_OK);
    assert_int_equal(fam_gguf_get_bool(gguf, "absent", false, &truth, &error), FAM_OK);
    assert_int_equal(fam_gguf_get_string(gguf, "absent", false, &text, &length, &error), FAM_OK);
    assert_true(integer == 7 && number == 7 && truth && length == 7);
    assert_string_equal(text, "kept");
    fam_gguf_free(gguf);
    gguf_bytes_free(&file);
}

static void negative_integers_of_every_width_are_seen_as_such(void **state)
{
    (void)state;
    gguf_writer w;
    gguf_writer_begin(&w);
    gguf_writer_i8(&w, "i8", -1);
    gguf_writer_i16(&w, "i16", -2);
    gguf_writer_i32(&w, "i32", -3);
    gguf_writer_i64(&w, "i64", INT64_MIN);
    gguf_bytes file = gguf_writer_finish(&w);
    fam_memory memory;
    fam_gguf *gguf = NULL;
    fam_error error;
    fam_memory_init(&memory);
    assert_int_equal(fam_gguf_parse(&gguf, &memory, NAME, file.data, file.size, NULL, NULL, &error), FAM_OK);
    const char *keys[] = {"i8", "i16", "i32", "i64"};
    const char *texts[] = {"found -1,", "found -2,", "found -3,", "found -9223372036854775808,"};
    for (size_t i = 0; i < 4; i++) {
        int64_t integer = 7;
        assert_int_equal(fam_gguf_get_i64(gguf, keys[i], true, &integer, &error), FAM_STATUS_BAD_FORMAT);
        assert_int_equal(integer, 7);
        assert_non_null(strstr(error.message, texts[i]));
    }
    fam_gguf_free(gguf);
    gguf_bytes_free(&file);
}

static void tensors_have_shapes_outermost_first_and_their_data(void **state)
{
    (void)state;
    fam_memory memory;
    gguf_bytes file;
    fam_gguf *gguf = open_small(&memory, &file);
    assert_int_equal(fam_gguf_tensor_count(gguf), 7);
    assert_null(fam_gguf_tensor_at(gguf, 7));
    assert_null(fam_gguf_tensor(gguf, "absent"));
    const fam_tensor *tensor = fam_gguf_tensor(gguf, "bf16");
    assert_ptr_equal(tensor, fam_gguf_tensor_at(gguf, 2));
    assert_int_equal(tensor->type, FAM_TYPE_BF16);
    assert_int_equal(tensor->n_dims, 3);
    assert_int_equal(tensor->shape[0], 2);
    assert_int_equal(tensor->shape[1], 3);
    assert_int_equal(tensor->shape[2], 4);
    assert_int_equal(tensor->bytes, 48);
    for (size_t i = 0; i < 48; i++)
        assert_int_equal(tensor->data[i], (uint8_t)(i * 7));
    tensor = fam_gguf_tensor(gguf, "scalar");
    assert_int_equal(tensor->n_dims, 0);
    float scalar;
    fam_type_dequantize(&scalar, tensor->data, tensor->type, 1);
    assert_true(scalar == 2.5f);
    tensor = fam_gguf_tensor(gguf, "q8_0");
    assert_int_equal(tensor->shape[2], 2);
    assert_int_equal(tensor->shape[3], 96);
    assert_int_equal(tensor->bytes, 2 * 3 * 34);
    fam_gguf_free(gguf);
    gguf_bytes_free(&file);
}

static void version_2_reads_as_version_3_does(void **state)
{
    (void)state;
    uint64_t sums[2] = {0, 0};
    for (uint32_t version = 2; version <= 3; version++) {
        gguf_bytes file = gguf_writer_sample(version);
        assert_int_equal(gguf_parse_copy(file.data, file.size, &sums[version - 2], NULL), FAM_OK);
        gguf_bytes_free(&file);
    }
    assert_true(sums[0] != 0 && sums[0] != sums[1]); /* the version itself is part of the walk */
}

static void a_file_without_keys_and_tensors_is_a_file(void **state)
{
    (void)state;
    gguf_writer w;
    gguf_writer_begin(&w);
    accept(&w);
}

static void count_warning(void *context, const char *line)
{
    assert_non_null(strstr(line, "test.gguf: trailing bytes: byte "));
    assert_non_null(strstr(line, "found 5 bytes after the last tensor"));
    ++*(int *)context;
}

static void trailing_bytes_are_told(void **state) /* G28 */
{
    (void)state;
    fam_memory memory;
    fam_error error;
    fam_memory_init(&memory);
    for (int extra = 0; extra <= 5; extra += 5) {
        gguf_bytes file = gguf_writer_sample(3);
        gguf_bytes_add(&file, "extra", (size_t)extra);
        fam_gguf *gguf = NULL;
        int warnings = 0;
        assert_int_equal(fam_gguf_parse(&gguf, &memory, NAME, file.data, file.size, count_warning, &warnings, &error),
                         FAM_OK);
        assert_int_equal(warnings, extra ? 1 : 0);
        fam_gguf_free(gguf);
        gguf_bytes_free(&file);
    }
}

static void padding_after_the_last_tensor_may_be_missing(void **state)
{
    (void)state;
    gguf_writer w;
    gguf_writer_begin(&w);
    gguf_writer_tensor(&w, "t", 1, 1, (int64_t[]){3}, "abcdef", 6);
    gguf_bytes file = gguf_writer_finish(&w);
    uint64_t want = 0, got = 0;
    assert_int_equal(gguf_parse_copy(file.data, file.size, &want, NULL), FAM_OK);
    for (size_t size = file.size; size > file.size - 26; size--) {
        assert_int_equal(gguf_parse_copy(file.data, size, &got, NULL), FAM_OK);
        assert_int_equal(got, want);
    }
    assert_int_equal(gguf_parse_copy(file.data, file.size - 27, &got, NULL), FAM_STATUS_BAD_FORMAT); /* G26 */
    gguf_bytes_free(&file);
}

/* ---- paths and real files ---------------------------------------------------------------------------------------- */

static void only_regular_files_are_opened(void **state) /* G34 */
{
    (void)state;
    fam_memory memory;
    fam_error error;
    fam_gguf *gguf = NULL;
    char directory[] = "/tmp/fam-test-gguf-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    fam_memory_init(&memory);
    assert_int_equal(fam_gguf_open(&gguf, &memory, directory, NULL, NULL, &error), FAM_STATUS_IO);
    assert_int_equal(fam_gguf_open(&gguf, &memory, "/dev/zero", NULL, NULL, &error), FAM_STATUS_IO);
    snprintf(path, sizeof path, "%s/none", directory);
    assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_STATUS_NOT_FOUND);
    snprintf(path, sizeof path, "%s/fifo", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_STATUS_IO);
    unlink(path);
    snprintf(path, sizeof path, "%s/loop", directory);
    assert_int_equal(symlink(path, path), 0);
    assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_STATUS_IO);
    assert_non_null(strstr(error.message, path));
    unlink(path);
    snprintf(path, sizeof path, "%s/empty", directory);
    fclose(fopen(path, "w"));
    assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_STATUS_BAD_FORMAT);
    assert_non_null(strstr(error.message, "too short for GGUF header"));
    if (geteuid() != 0) {
        chmod(path, 0);
        assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_STATUS_IO);
    }
    unlink(path);
    rmdir(directory);
    assert_null(gguf);
    assert_int_equal(memory.bytes, 0);
}

/* Whether the process has a mapping of the file. */
static bool is_mapped(const char *path)
{
    char line[4096];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        found = found || strstr(line, path);
    fclose(maps);
    return found;
}

static void a_file_on_disk_reads_as_its_bytes_do(void **state)
{
    (void)state;
    fam_memory memory;
    fam_error error;
    fam_gguf *gguf = NULL;
    gguf_bytes file = gguf_writer_sample(3);
    uint64_t want = 0;
    char path[] = "/tmp/fam-test-gguf-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, file.data, file.size), file.size);
    close(fd);
    assert_int_equal(gguf_parse_copy(file.data, file.size, &want, NULL), FAM_OK);
    fam_memory_init(&memory);
    assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_OK);
    assert_true(is_mapped(path));
    assert_int_equal(gguf_walk(gguf), want);
    assert_string_equal(fam_gguf_path(gguf), path);
    fam_gguf_free(gguf);
    assert_false(is_mapped(path));
    assert_int_equal(truncate(path, (off_t)file.size - 1), 0);
    gguf = NULL;
    assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_STATUS_BAD_FORMAT);
    assert_null(gguf);
    assert_false(is_mapped(path));
    assert_int_equal(memory.bytes, 0);
    unlink(path);
    fam_gguf_free(NULL);
    gguf_bytes_free(&file);
}

/* What fuzzing began with, and every file that it ever broke something with. */
static void the_corpus_is_read_or_refused(void **state)
{
    (void)state;
    const char *directory = suite_path("tests/corpus/gguf");
    DIR *entries = opendir(directory);
    assert_non_null(entries);
    int files = 0, read = 0;
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.')
            continue;
        char path[4096];
        fam_memory memory;
        fam_mapping mapping;
        fam_error error;
        uint64_t sum;
        fam_memory_init(&memory);
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        assert_int_equal(fam_mapping_open(&mapping, path, &error), FAM_OK);
        files++;
        read += gguf_parse_copy(mapping.data, mapping.size, &sum, &error) == FAM_OK;
        fam_mapping_close(&mapping);
    }
    closedir(entries);
    assert_in_range(files, 5, 10000);
    assert_in_range(read, 2, files - 2);
}

static uint64_t hash_of_values(const fam_tensor *tensor)
{
    int64_t elements = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        elements *= tensor->shape[i];
    float *values = malloc((size_t)elements * sizeof *values);
    assert_non_null(values);
    fam_type_dequantize(values, tensor->data, tensor->type, elements);
    uint64_t hash = XXH3_64bits(values, (size_t)elements * sizeof *values);
    free(values);
    return hash;
}

/* The hashes are of the float32 values that the `gguf` Python package gives for the same file. */
static void smollm2_has_the_values_of_the_gguf_package(void **state)
{
    (void)state;
    const char *path = suite_path("build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf");
    if (!fam_path_exists(path)) {
        print_message("%s is missing\n", path);
        skip();
    }
    fam_memory memory;
    fam_error error;
    fam_gguf *gguf = NULL;
    fam_memory_init(&memory);
    assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_OK);
    assert_int_equal(fam_gguf_tensor_count(gguf), 272);
    assert_true(memory.bytes < 200000);
    const struct {
        const char *name;
        fam_type type;
        int64_t rows, columns;
        uint64_t hash;
    } rows[] = {
        {"token_embd.weight", FAM_TYPE_Q8_0, 49152, 576, 0x0a910ac23069886c},
        {"blk.0.attn_norm.weight", FAM_TYPE_F32, 576, 0, 0xcc13bb331167c218},
        {"blk.0.ffn_down.weight", FAM_TYPE_Q4_1, 576, 1536, 0x36481fd9b6ee0cc9},
        {"output_norm.weight", FAM_TYPE_F32, 576, 0, 0xaf860f0ed75cab3e},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const fam_tensor *tensor = fam_gguf_tensor(gguf, rows[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->type, rows[i].type);
        assert_int_equal(tensor->shape[0], rows[i].rows);
        assert_int_equal(tensor->n_dims > 1 ? tensor->shape[1] : 0, rows[i].columns);
        assert_true(hash_of_values(tensor) == rows[i].hash);
    }
    fam_gguf_strings tokens;
    assert_int_equal(fam_gguf_get_strings(gguf, "tokenizer.ggml.tokens", true, &tokens, &error), FAM_OK);
    assert_int_equal(tokens.remaining, 49152);
    fam_gguf_free(gguf);
    assert_int_equal(memory.bytes, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(keys_of_every_type_are_read),
    cmocka_unit_test(arrays_are_walked_and_typed),
    cmocka_unit_test(strings_that_change_after_opening_end_the_walk),
    cmocka_unit_test(typed_access_refuses_what_does_not_fit),
    cmocka_unit_test(negative_integers_of_every_width_are_seen_as_such),
    cmocka_unit_test(tensors_have_shapes_outermost_first_and_their_data),
    cmocka_unit_test(version_2_reads_as_version_3_does),
    cmocka_unit_test(a_file_without_keys_and_tensors_is_a_file),
    cmocka_unit_test(trailing_bytes_are_told),
    cmocka_unit_test(padding_after_the_last_tensor_may_be_missing),
    cmocka_unit_test(only_regular_files_are_opened),
    cmocka_unit_test(a_file_on_disk_reads_as_its_bytes_do),
    cmocka_unit_test(the_corpus_is_read_or_refused),
    cmocka_unit_test(smollm2_has_the_values_of_the_gguf_package),
};
SUITE_MAIN(tests)
