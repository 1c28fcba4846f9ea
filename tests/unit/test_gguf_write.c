/*
 * Format room: GGUF files that are written are read as they were meant.
 */
#include "format/gguf_write.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "fam/modes.h"
#include "gguf_writer.h"
#include "scratch.h"
#include "suite.h"

static fam_error error;
static fam_memory memory;
static int warnings;

static void on_warning(void *context, const char *line)
{
    (void)context;
    print_message("%s\n", line);
    warnings++;
}

static const uint8_t bytes[160] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

static const fam_tensor two[] = {
    {.name = "blk.0.a.weight", .type = FAM_TYPE_F32, .n_dims = 2, .shape = {3, 4}, .bytes = 48},
    {.name = "b", .type = FAM_TYPE_BF16, .n_dims = 1, .shape = {5}, .bytes = 10},
};

static void append(fam_gguf_writer *writer, const void *data, size_t size)
{
    if (fam_gguf_writer_append(writer, data, size, &error) != FAM_OK)
        fail_msg("%s", error.message);
}

static fam_gguf_writer *create(void)
{
    fam_gguf_writer *writer = NULL;
    fam_memory_init(&memory);
    assert_int_equal(fam_gguf_writer_create(&writer, &memory, &error), FAM_OK);
    return writer;
}

static int files_in(const char *directory)
{
    int count = 0;
    DIR *dir = opendir(directory);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void keys_and_tensors_are_read_as_they_were_written(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *path = scratch_path(scratch, "x.gguf"), *text;
    fam_gguf_writer *writer = create();
    fam_gguf *gguf;
    int64_t integer = 0;
    double real = 0;
    bool truth = false;
    size_t length;
    fam_gguf_strings strings;
    const fam_gguf_value *array;
    const float numbers[] = {1.5f, -2, 1e30f};
    fam_gguf_put_u32(writer, "u", 4294967295u);
    fam_gguf_put_f32(writer, "f", 1e-5f);
    fam_gguf_put_bool(writer, "yes", true);
    fam_gguf_put_string(writer, "s", "a\0b", 3);
    fam_gguf_put_string(writer, "empty", "", 0);
    fam_gguf_put_array(writer, "list", FAM_GGUF_STRING, 2);
    fam_gguf_put_element(writer, "one", 3);
    fam_gguf_put_element(writer, "", 0);
    fam_gguf_put_array(writer, "numbers", FAM_GGUF_F32, 3);
    fam_gguf_put_elements(writer, numbers, sizeof numbers);
    fam_gguf_put_array(writer, "none", FAM_GGUF_STRING, 0);
    assert_int_equal(fam_gguf_writer_begin(writer, path, two, 2, &error), FAM_OK);
    assert_int_equal(access(path, F_OK), -1);
    append(writer, bytes, 17);
    append(writer, bytes + 17, 31);
    append(writer, bytes + 48, 10);
    assert_int_equal(fam_gguf_writer_commit(writer, &error), FAM_OK);
    assert_int_equal(memory.bytes, 0);

    warnings = 0;
    if (fam_gguf_open(&gguf, &memory, path, on_warning, NULL, &error) != FAM_OK)
        fail_msg("%s", error.message);
    assert_int_equal(warnings, 0);
    assert_int_equal(fam_gguf_version(gguf), 3);
    assert_int_equal(fam_gguf_value_count(gguf), 8);
    assert_int_equal(fam_gguf_get_i64(gguf, "u", true, &integer, &error), FAM_OK);
    assert_true(integer == 4294967295);
    assert_int_equal(fam_gguf_get_f64(gguf, "f", true, &real, &error), FAM_OK);
    assert_true(real == (double)1e-5f);
    assert_int_equal(fam_gguf_get_bool(gguf, "yes", true, &truth, &error), FAM_OK);
    assert_true(truth);
    assert_int_equal(fam_gguf_get_string(gguf, "s", true, &text, &length, &error), FAM_OK);
    assert_int_equal(length, 3);
    assert_memory_equal(text, "a\0b", 3);
    assert_int_equal(fam_gguf_get_strings(gguf, "list", true, &strings, &error), FAM_OK);
    assert_true(fam_gguf_next_string(&strings, &text, &length));
    assert_memory_equal(text, "one", 3);
    assert_true(fam_gguf_next_string(&strings, &text, &length));
    assert_int_equal(length, 0);
    assert_false(fam_gguf_next_string(&strings, &text, &length));
    assert_int_equal(fam_gguf_get_array(gguf, "numbers", true, FAM_GGUF_F32, &array, &error), FAM_OK);
    assert_memory_equal(array->data, numbers, sizeof numbers);
    const fam_tensor *a = fam_gguf_tensor(gguf, "blk.0.a.weight"), *b = fam_gguf_tensor(gguf, "b");
    assert_true(a->type == FAM_TYPE_F32 && a->n_dims == 2 && a->shape[0] == 3 && a->shape[1] == 4);
    assert_memory_equal(a->data, bytes, 48);
    assert_true(b->type == FAM_TYPE_BF16 && b->n_dims == 1 && b->shape[0] == 5);
    assert_memory_equal(b->data, bytes + 48, 10);
    fam_gguf_free(gguf);
    scratch_remove(scratch);
}

/* A file with a key of every type, copied key by key. */
static void values_are_copied_as_they_are(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *path = scratch_path(scratch, "x.gguf");
    gguf_bytes sample = gguf_writer_sample(3);
    fam_gguf_writer *writer = create();
    fam_gguf *from, *copy;
    const fam_gguf_value *value;
    assert_int_equal(fam_gguf_parse(&from, &memory, "sample", sample.data, sample.size, NULL, NULL, &error), FAM_OK);
    for (uint64_t i = 0; (value = fam_gguf_value_at(from, i)); i++)
        if (strcmp(value->key, "general.alignment") != 0)
            fam_gguf_put_copy(writer, value);
    assert_int_equal(fam_gguf_writer_begin(writer, path, two + 1, 1, &error), FAM_OK);
    append(writer, bytes, 10);
    assert_int_equal(fam_gguf_writer_commit(writer, &error), FAM_OK);
    if (fam_gguf_open(&copy, &memory, path, NULL, NULL, &error) != FAM_OK)
        fail_msg("%s", error.message);
    for (uint64_t i = 0; (value = fam_gguf_value_at(from, i)); i++) {
        const fam_gguf_value *same = fam_gguf_find(copy, value->key);
        if (strcmp(value->key, "general.alignment") == 0)
            continue;
        assert_non_null(same);
        assert_int_equal(same->type, value->type);
        assert_int_equal(same->element_type, value->element_type);
        assert_int_equal(same->count, value->count);
        assert_int_equal(same->bytes, value->bytes);
        assert_memory_equal(same->data, value->data, value->bytes);
    }
    assert_true(fam_gguf_value_count(copy) > 10);
    fam_gguf_free(copy);
    fam_gguf_free(from);
    gguf_bytes_free(&sample);
    scratch_remove(scratch);
}

static void settings_are_strings_and_numbers(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *path = scratch_path(scratch, "x.gguf"), *text;
    const fam_settings settings = {FAM_MODE_BSWA, 24, 0, -1, -1, FAM_STATE_NORM_RMS_INIT, -1};
    fam_gguf_writer *writer = create();
    fam_gguf *gguf;
    size_t length;
    fam_gguf_put_settings(writer, &settings);
    assert_int_equal(fam_gguf_writer_begin(writer, path, two + 1, 1, &error), FAM_OK);
    append(writer, bytes, 10);
    assert_int_equal(fam_gguf_writer_commit(writer, &error), FAM_OK);
    assert_int_equal(fam_gguf_open(&gguf, &memory, path, NULL, NULL, &error), FAM_OK);
    assert_int_equal(fam_gguf_value_count(gguf), 4);
    assert_int_equal(fam_gguf_get_string(gguf, "fam.mode", true, &text, &length, &error), FAM_OK);
    assert_memory_equal(text, "bswa", 4);
    assert_int_equal(fam_gguf_find(gguf, "fam.state_norm")->type, FAM_GGUF_STRING);
    assert_int_equal(fam_gguf_find(gguf, "fam.block_size")->type, FAM_GGUF_U32);
    assert_int_equal(fam_gguf_find(gguf, "fam.memory_segments")->type, FAM_GGUF_U32);
    fam_gguf_free(gguf);
    scratch_remove(scratch);
}

static void wrong_tensors_and_data_are_refused(void **state)
{
    (void)state;
    static const char long_name[] = "a name of sixty-four bytes, which is one more than GGUF allows..";
    static const struct {
        fam_tensor tensor;
        const char *words;
    } rows[] = {
        {{.name = "", .type = FAM_TYPE_F32, .n_dims = 1, .shape = {1}, .bytes = 4}, "name: found 0 bytes"},
        {{.name = long_name, .type = FAM_TYPE_F32, .n_dims = 1, .shape = {1}, .bytes = 4}, "name: found 64 bytes"},
        {{.name = "x", .type = FAM_TYPE_F32, .n_dims = 0, .bytes = 4}, "shape: found 0 dimensions"},
        {{.name = "x", .type = FAM_TYPE_F32, .n_dims = 5, .bytes = 4}, "shape: found 5 dimensions"},
        {{.name = "x", .type = FAM_TYPE_F32, .n_dims = 1, .shape = {1}, .bytes = 5}, "size: found 5 bytes, need"},
        {{.name = "x", .type = FAM_TYPE_F32, .n_dims = 1, .shape = {0}, .bytes = 0}, "size: found 0"},
        {{.name = "x", .type = FAM_TYPE_F32, .n_dims = 2, .shape = {-1, 4}, .bytes = 16}, "size: found 16"},
        {{.name = "x", .type = FAM_TYPE_Q4_0, .n_dims = 1, .shape = {31}, .bytes = 18}, "size: found 18"},
        {{.name = "x", .type = FAM_TYPE_F32, .n_dims = 2, .shape = {INT64_MAX, 4}, .bytes = 16}, "size: found 16"},
    };
    const char *scratch = scratch_make(), *path = scratch_path(scratch, "x.gguf");
    assert_int_equal(sizeof long_name - 1, 64);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fam_gguf_writer *writer = create();
        assert_int_equal(fam_gguf_writer_begin(writer, path, &rows[i].tensor, 1, &error), FAM_STATUS_INVALID_ARGUMENT);
        if (!strstr(error.message, rows[i].words) || strncmp(error.message, path, strlen(path)) != 0)
            fail_msg("row %zu: %s", i, error.message);
        fam_gguf_writer_abort(writer);
        assert_int_equal(memory.bytes, 0);
    }
    fam_gguf_writer *writer = create();
    assert_int_equal(fam_gguf_writer_begin(writer, path, two, 2, &error), FAM_OK);
    assert_int_equal(fam_gguf_writer_append(writer, bytes, 49, &error), FAM_STATUS_INVALID_ARGUMENT);
    append(writer, bytes, 48);
    append(writer, bytes, 9);
    assert_int_equal(fam_gguf_writer_commit(writer, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "found 1 tensors, need 2"));
    assert_int_equal(memory.bytes, 0);
    assert_int_equal(files_in(scratch), 0);
    writer = create();
    assert_int_equal(fam_gguf_writer_begin(writer, scratch_path(scratch, "no/x"), two, 2, &error),
                     FAM_STATUS_NOT_FOUND);
    fam_gguf_writer_abort(writer);
    writer = create();
    assert_int_equal(fam_gguf_writer_commit(writer, &error), FAM_STATUS_INVALID_ARGUMENT); /* it was never begun */
    assert_int_equal(memory.bytes, 0);
    scratch_remove(scratch);
}

static fam_status write_some(const char *path, size_t fail_at)
{
    fam_gguf_writer *writer = NULL;
    fam_memory_init(&memory);
    memory.fail_at = fail_at;
    fam_status status = fam_gguf_writer_create(&writer, &memory, &error);
    if (status != FAM_OK)
        return status;
    for (int i = 0; i < 40; i++) {
        char key[32];
        snprintf(key, sizeof key, "key.%d", i);
        fam_gguf_put_string(writer, key, (const char *)bytes, sizeof bytes);
    }
    status = fam_gguf_writer_begin(writer, path, two + 1, 1, &error);
    if (status != FAM_OK) {
        fam_gguf_writer_abort(writer);
        return status;
    }
    append(writer, bytes, 10);
    return fam_gguf_writer_commit(writer, &error);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *path = scratch_path(scratch, "x.gguf");
    fam_status status = FAM_STATUS_FAILED;
    size_t fail = 0;
    while (status != FAM_OK) {
        status = write_some(path, ++fail);
        if (status != FAM_OK && (status != FAM_STATUS_OUT_OF_MEMORY || files_in(scratch) != 0))
            fail_msg("allocation %zu: status %d: %s", fail, status, error.message);
        assert_int_equal(memory.bytes, 0);
    }
    assert_true(fail > 10);
    scratch_remove(scratch);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(keys_and_tensors_are_read_as_they_were_written),
    cmocka_unit_test(values_are_copied_as_they_are),
    cmocka_unit_test(settings_are_strings_and_numbers),
    cmocka_unit_test(wrong_tensors_and_data_are_refused),
    cmocka_unit_test(every_failing_allocation_is_an_error),
};
SUITE_MAIN(tests)
