/*
 * Format room: safetensors files, right ones and all the wrong ones of our list.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "format/safetensors.h"
#include "scratch.h"
#include "suite.h"
#include "tiny_model.h"

static fam_error error;
static fam_memory memory;

/* Parses a header with `data` zero bytes after it, from a block of exactly that size (so that a sanitizer sees a step
 * too far). */
static fam_status parse(const char *header, size_t length, size_t data, fam_safetensors **out)
{
    static uint8_t *kept;
    free(kept);
    kept = calloc(1, 8 + length + data);
    uint64_t n = length;
    memcpy(kept, &n, 8);
    memcpy(kept + 8, header, length);
    fam_memory_init(&memory);
    return fam_safetensors_parse(out, &memory, "f", kept, 8 + length + data, &error);
}

static void expect_refusal(const char *header, size_t length, size_t data, const char *words)
{
    fam_safetensors *file = NULL;
    fam_status status = parse(header, length, data, &file);
    if (status != FAM_STATUS_BAD_FORMAT || file || !strstr(error.message, words) ||
        strncmp(error.message, "f: ", 3) != 0)
        fail_msg("%.200s: status %d: %s; need \"%s\"", header, status, status ? error.message : "", words);
    assert_int_equal(memory.bytes, 0);
}

static void headers_of_all_wrong_kinds_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *words;
    } rows[] = {
        /* S3, S4, S5 */
        {"{\"a\xff\": 1}", 0, "UTF-8"},
        {" {}", 0, "need '{'"},
        {"\xef\xbb\xbf{}", 0, "need '{'"},
        {"[]", 0, "need '{'"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_off", 4, "not JSON"},
        {"{}\n", 0, "spaces"},
        {"{}x", 0, "spaces"},
        {"{}{}", 0, "spaces"},
        /* S6 */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_"
         "offsets\":[4,8]}}",
         8, "twice"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "duplicate"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
        {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, "duplicate"},
        /* S7 */
        {"{\"a\":{\"dtype\":\"Q9\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype: found \"Q9\""},
        {"{\"a\":{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype"},
        {"{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "need 3 elements of 4 bits"},
        {"{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[3],\"data_offsets\":[0,2]}}", 2, "need 3 elements of 6 bits"},
        {"{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype: found 5"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype: found nothing"},
        /* S8 */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "dimension 0: found -1"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4,
         "dimension 0: found the real number 1"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"],\"data_offsets\":[0,4]}}", 4, "dimension 0: found \"1\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,4]}}", 4, "integer"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "2^63"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,2147483647],\"data_offsets\":[0,0]}}", 0,
         "data_offsets: found 0 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4,0],\"data_offsets\":[0,0]}}", 0, "2^63"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":5,\"data_offsets\":[0,4]}}", 4, "shape: found 5, need an array"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape: found nothing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
         "1,1,1,1,1,1,1,1,1,"
         "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}",
         4, "65 dimensions"},
        /* S9 */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "data_offsets: found -4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "begin <= end"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, "found 3 numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "found 1 numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets: found nothing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", 4, "need at most 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", 4, "found the real number 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9007199254740993,9007199254740997]}}", 4,
         "9007199254740993"},
        /* S10 */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],"
         "\"data_offsets\":[4,12]}}",
         12, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],"
         "\"data_offsets\":[0,8]}}",
         8, "overlaps"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[8,12]}}",
         12, "a hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "a hole"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5,
         "found 5 bytes after the header, need 4"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "need at most 3"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
         "found 4 bytes, need 2 elements of 32 bits"},
        {"{}", 1, "found 1 bytes after the header, need 0"},
        /* S11 */
        {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__: a: found 1, need a string"},
        {"{\"__metadata__\":{\"a\":{}}}", 0, "__metadata__: a: found an object"},
        {"{\"__metadata__\":[]}", 0, "__metadata__"},
        {"{\"__metadata__\":null}", 0, "__metadata__"},
        /* S14 and others */
        {"{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "u0000"},
        {"{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "name: found 0 bytes"},
        {"{\"a\":1}", 0, "found no object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, "found 4 members"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_refusal(rows[i].header, strlen(rows[i].header), rows[i].data, rows[i].words);
}

static void header_lengths_out_of_range_are_refused(void **state)
{
    (void)state;
    const uint64_t lengths[] = {0, 1, 3, 100000001, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t *bytes = calloc(1, 10);
        fam_safetensors *file = NULL;
        memcpy(bytes, &lengths[i], 8);
        memcpy(bytes + 8, "{}", 2);
        fam_memory_init(&memory);
        assert_int_equal(fam_safetensors_parse(&file, &memory, "f", bytes, 10, &error), FAM_STATUS_BAD_FORMAT);
        assert_non_null(strstr(error.message, "header length"));
        for (size_t size = 0; size < 8; size++)
            assert_int_equal(fam_safetensors_parse(&file, &memory, "f", bytes, size, &error), FAM_STATUS_BAD_FORMAT);
        assert_int_equal(memory.bytes, 0);
        free(bytes);
    }
}

static void deep_and_long_headers_are_refused(void **state)
{
    (void)state;
    enum { SIZE = 4000000 };
    char *text = malloc(SIZE + 64);
    int begin = sprintf(text, "{\"a\":");
    memset(text + begin, '[', SIZE);
    expect_refusal(text, SIZE, 0, "not JSON");
    for (int i = 0; i < SIZE; i += 2)
        memcpy(text + begin + i, "[]", 2);
    expect_refusal(text, SIZE, 0, "found no object");
    begin = sprintf(text, "{\"__metadata__\":{\"a\":[");
    for (int i = 0; i < SIZE; i += 3)
        memcpy(text + begin + i, "[],", 3);
    memcpy(text + begin + SIZE - 100, "[]]}}", 5);
    expect_refusal(text, (size_t)(begin + SIZE - 95), 0, "need at most");
    begin = sprintf(text, "{\"");
    memset(text + begin, 'n', SIZE);
    int end = sprintf(text + SIZE - 100, "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}");
    expect_refusal(text, (size_t)(SIZE - 100 + end), 4, "name: found");
    free(text);
}

static void a_name_may_be_as_long_as_the_limit_and_no_longer(void **state)
{
    (void)state;
    for (int length = FAM_SAFETENSORS_NAME_MAX; length <= FAM_SAFETENSORS_NAME_MAX + 1; length++) {
        char text[FAM_SAFETENSORS_NAME_MAX + 100], name[FAM_SAFETENSORS_NAME_MAX + 2];
        memset(name, 'n', sizeof name);
        name[length] = '\0';
        fam_safetensors *file = NULL;
        int size = sprintf(text, "{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", name);
        fam_status status = parse(text, (size_t)size, 4, &file);
        assert_int_equal(status, length == FAM_SAFETENSORS_NAME_MAX ? FAM_OK : FAM_STATUS_BAD_FORMAT);
        fam_safetensors_free(file);
    }
}

static void types_without_use_are_listed_and_not_offered(void **state)
{
    (void)state;
    static const char header[] = "{\"z\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},\"b\":{\"dtype\":"
                                 "\"BF16\",\"shape\":[2,1],\"data_offsets\":[8,12]},"
                                 "\"h\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[12,14]},\"d\":{\"dtype\":"
                                 "\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[14,18]},"
                                 "\"e\":{\"dtype\":\"F8_E4M3\",\"shape\":[0,7],\"data_offsets\":[18,18]},\"../"
                                 "q\":{\"dtype\":\"F4\",\"shape\":[4],\"data_offsets\":[18,20]}}   ";
    fam_safetensors *file = NULL;
    fam_safetensors_entry entry;
    assert_int_equal(parse(header, sizeof header - 1, 20, &file), FAM_OK);
    const fam_tensor *b = fam_safetensors_tensor(file, "b"), *h = fam_safetensors_tensor(file, "h");
    assert_ptr_equal(fam_safetensors_tensor_at(file, 0), b);
    assert_ptr_equal(fam_safetensors_tensor_at(file, 1), h);
    assert_null(fam_safetensors_tensor_at(file, 2));
    assert_null(fam_safetensors_tensor_at(file, -1));
    assert_int_equal(b->type, FAM_TYPE_BF16);
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->bytes, 4);
    assert_int_equal(h->n_dims, 0);
    assert_int_equal(h->data - b->data, 4);
    assert_null(fam_safetensors_tensor(file, "z"));
    assert_null(fam_safetensors_tensor(file, "nothing"));
    assert_true(fam_safetensors_find(file, "z", &entry));
    assert_string_equal(entry.dtype, "I64");
    assert_null(entry.tensor);
    assert_true(fam_safetensors_find(file, "d", &entry));
    assert_int_equal(entry.n_dims, 5);
    assert_null(entry.tensor);
    assert_false(fam_safetensors_find(file, "q", &entry));
    int count = 0;
    while (fam_safetensors_entry_at(file, count, &entry))
        count++;
    assert_int_equal(count, 6);
    fam_safetensors_free(file);
    assert_int_equal(memory.bytes, 0);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    uint8_t whole[256];
    uint64_t n = sizeof header - 1;
    size_t size = 8 + sizeof header - 1 + 8;
    memset(whole, 0, sizeof whole);
    memcpy(whole, &n, 8);
    memcpy(whole + 8, header, sizeof header - 1);
    fam_memory_init(&memory);
    for (size_t cut = 0; cut <= size + 1; cut++) {
        fam_safetensors *file = NULL;
        uint8_t *part = malloc(cut ? cut : 1);
        memcpy(part, whole, cut);
        assert_int_equal(fam_safetensors_parse(&file, &memory, "f", part, cut, &error),
                         cut == size ? FAM_OK : FAM_STATUS_BAD_FORMAT);
        fam_safetensors_free(file);
        free(part);
    }
    /* and the header cut inside, with a length that says so */
    for (size_t cut = 2; cut < sizeof header - 1; cut++) {
        fam_safetensors *file = NULL;
        assert_int_equal(parse(header, cut, 8, &file), FAM_STATUS_BAD_FORMAT);
    }
    assert_int_equal(memory.bytes, 0);
}

static void half_a_million_tensors_take_bounded_time_and_memory(void **state)
{
    (void)state;
    enum { COUNT = 500000 };
    char *text = malloc((size_t)COUNT * 120 + 2);
    size_t size = 0;
    text[size++] = '{';
    for (int i = 0; i < COUNT; i++)
        size += (size_t)sprintf(text + size,
                                "%s\"model.layers.%d.weight.of.a.model.with.long.names\":{\"dtype\":\"U8\",\"shape\":["
                                "1],\"data_offsets\":[%d,%d]}",
                                i ? "," : "", (int)((int64_t)i * 7919 % COUNT), i, i + 1);
    text[size++] = '}';
    fam_safetensors *file = NULL;
    clock_t start = clock();
    assert_int_equal(parse(text, size, COUNT, &file), FAM_OK);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("%zu bytes of header: %.2f s, %zu bytes\n", size, seconds, (size_t)memory.peak_bytes);
    assert_true(memory.peak_bytes < ((size_t)64 << 20) + 16 * size);
    assert_true(seconds < 30);
    fam_safetensors_entry entry;
    assert_true(fam_safetensors_find(file, "model.layers.7919.weight.of.a.model.with.long.names", &entry));
    fam_safetensors_free(file);
    free(text);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    const char *directory = scratch_make(), *path = scratch_path(directory, "m.safetensors");
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add_model(&list, false);
    tiny_list_add(&list, "odd \"name\" \\ \xc3\xa9", 3, 5);
    list.tensors[0].type = FAM_TYPE_BF16;
    list.tensors[0].bytes /= 2;
    fam_memory_init(&memory);
    assert_int_equal(fam_safetensors_write(path, &memory, list.tensors, list.count, &error), FAM_OK);
    fam_safetensors *file = NULL;
    for (int round = 0; round < 2; round++) { /* the second time over the file that is mapped */
        fam_safetensors *next = NULL;
        assert_int_equal(fam_safetensors_open(&next, &memory, path, &error), FAM_OK);
        fam_safetensors_free(file);
        file = next;
        fam_tensor copy[TINY_MAX];
        for (int i = 0; i < list.count; i++) {
            const fam_tensor *tensor = fam_safetensors_tensor(file, list.tensors[i].name);
            assert_non_null(tensor);
            assert_ptr_equal(fam_safetensors_tensor_at(file, i), tensor);
            assert_int_equal(tensor->type, list.tensors[i].type);
            assert_int_equal(tensor->n_dims, list.tensors[i].n_dims);
            assert_memory_equal(tensor->shape, list.tensors[i].shape, sizeof tensor->shape);
            assert_int_equal(tensor->bytes, list.tensors[i].bytes);
            assert_memory_equal(tensor->data, list.tensors[i].data, tensor->bytes);
            copy[i] = *tensor;
        }
        assert_null(fam_safetensors_tensor_at(file, list.count));
        assert_int_equal(fam_safetensors_write(path, &memory, copy, list.count, &error), FAM_OK);
    }
    fam_safetensors_free(file);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(directory);
}

static void the_writer_refuses_what_it_cannot_write(void **state)
{
    (void)state;
    const char *directory = scratch_make(), *path = scratch_path(directory, "m.safetensors");
    static const float data[4];
    const fam_tensor good = {"a", FAM_TYPE_F32, 1, {4}, (const uint8_t *)data, 16};
    fam_tensor pair[2] = {good, good};
    fam_memory_init(&memory);
    assert_int_equal(fam_safetensors_write(path, &memory, pair, 2, &error), FAM_STATUS_INVALID_ARGUMENT);
    pair[1].name = "__metadata__";
    assert_int_equal(fam_safetensors_write(path, &memory, pair, 2, &error), FAM_STATUS_INVALID_ARGUMENT);
    pair[1].name = "\xff";
    assert_int_equal(fam_safetensors_write(path, &memory, pair, 2, &error), FAM_STATUS_INVALID_ARGUMENT);
    pair[1] = good;
    pair[1].name = "b";
    pair[1].bytes = 12;
    assert_int_equal(fam_safetensors_write(path, &memory, pair, 2, &error), FAM_STATUS_INVALID_ARGUMENT);
    pair[1].bytes = 18;
    pair[1].shape[0] = 32;
    pair[1].type = FAM_TYPE_Q4_0;
    assert_int_equal(fam_safetensors_write(path, &memory, pair, 2, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(fam_safetensors_write(scratch_path(directory, "no/m"), &memory, pair, 1, &error),
                     FAM_STATUS_NOT_FOUND);
    assert_int_equal(fam_safetensors_write(path, &memory, NULL, 0, &error), FAM_OK);
    fam_safetensors *file;
    assert_int_equal(fam_safetensors_open(&file, &memory, path, &error), FAM_OK);
    assert_null(fam_safetensors_tensor_at(file, 0));
    assert_null(fam_safetensors_tensor(file, "a"));
    fam_safetensors_free(file);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(directory);
}

static void a_file_can_be_written_in_pieces(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    char whole[1024], pieces[1024];
    static tiny_list list;
    fam_safetensors_writer *writer;
    size_t size, same;
    uint8_t *a, *b;
    snprintf(whole, sizeof whole, "%s", scratch_path(directory, "whole"));
    snprintf(pieces, sizeof pieces, "%s", scratch_path(directory, "pieces"));
    fam_memory_init(&memory);
    tiny_list_begin(&list);
    tiny_list_add_model(&list, false);
    assert_int_equal(fam_safetensors_write(whole, &memory, list.tensors, list.count, &error), FAM_OK);
    assert_int_equal(fam_safetensors_begin(&writer, &memory, pieces, list.tensors, list.count, &error), FAM_OK);
    for (int i = 0; i < list.count; i++) {
        const fam_tensor *t = &list.tensors[i];
        assert_int_equal(fam_safetensors_append(writer, t->data, 5, &error), FAM_OK);
        assert_int_equal(fam_safetensors_append(writer, t->data + 5, t->bytes - 5, &error), FAM_OK);
    }
    assert_int_equal(fam_safetensors_append(writer, list.data, 1, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_int_equal(access(pieces, F_OK), -1);
    assert_int_equal(fam_safetensors_commit(writer, &error), FAM_OK);
    assert_int_equal(fam_file_read(&a, &size, &memory, whole, 1 << 20, &error), FAM_OK);
    assert_int_equal(fam_file_read(&b, &same, &memory, pieces, 1 << 20, &error), FAM_OK);
    assert_int_equal(size, same);
    assert_memory_equal(a, b, size);
    fam_free(&memory, a);
    fam_free(&memory, b);
    unlink(pieces);
    assert_int_equal(fam_safetensors_begin(&writer, &memory, pieces, list.tensors, list.count, &error), FAM_OK);
    assert_int_equal(fam_safetensors_append(writer, list.data, 5, &error), FAM_OK);
    assert_int_equal(fam_safetensors_commit(writer, &error), FAM_STATUS_INVALID_ARGUMENT);
    assert_int_equal(access(pieces, F_OK), -1);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(directory);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    const char *directory = scratch_make(), *path = scratch_path(directory, "m.safetensors");
    tiny_list list;
    tiny_list_begin(&list);
    for (int i = 0; i < 100; i++) { /* more than the table begins with */
        char name[16];
        sprintf(name, "t%d", i);
        tiny_list_add(&list, name, 1, 2);
    }
    fam_status status = FAM_STATUS_FAILED;
    for (size_t fail = 1; status != FAM_OK; fail++) {
        fam_memory_init(&memory);
        memory.fail_at = fail;
        status = fam_safetensors_write(path, &memory, list.tensors, list.count, &error);
        assert_true(status == FAM_OK || status == FAM_STATUS_OUT_OF_MEMORY);
        assert_int_equal(memory.bytes, 0);
    }
    status = FAM_STATUS_FAILED;
    size_t fail = 1;
    for (; status != FAM_OK; fail++) {
        fam_safetensors *file = NULL;
        fam_memory_init(&memory);
        memory.fail_at = fail;
        status = fam_safetensors_open(&file, &memory, path, &error);
        assert_true(status == FAM_OK || (status == FAM_STATUS_OUT_OF_MEMORY && !file));
        fam_safetensors_free(file);
        assert_int_equal(memory.bytes, 0);
    }
    assert_true(fail > 5);
    scratch_remove(directory);
}

static void paths_that_are_no_files_are_refused(void **state)
{
    (void)state;
    fam_safetensors *file = NULL;
    fam_memory_init(&memory);
    assert_int_equal(fam_safetensors_open(&file, &memory, "/tmp", &error), FAM_STATUS_IO);
    assert_int_equal(fam_safetensors_open(&file, &memory, "/dev/zero", &error), FAM_STATUS_IO);
    assert_int_equal(fam_safetensors_open(&file, &memory, "/nonexistent", &error), FAM_STATUS_NOT_FOUND);
    assert_int_equal(memory.bytes, 0);
    fam_safetensors_free(NULL);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(headers_of_all_wrong_kinds_are_refused),
    cmocka_unit_test(header_lengths_out_of_range_are_refused),
    cmocka_unit_test(deep_and_long_headers_are_refused),
    cmocka_unit_test(a_name_may_be_as_long_as_the_limit_and_no_longer),
    cmocka_unit_test(types_without_use_are_listed_and_not_offered),
    cmocka_unit_test(a_file_cut_anywhere_is_refused),
    cmocka_unit_test(half_a_million_tensors_take_bounded_time_and_memory),
    cmocka_unit_test(what_is_written_is_read),
    cmocka_unit_test(the_writer_refuses_what_it_cannot_write),
    cmocka_unit_test(a_file_can_be_written_in_pieces),
    cmocka_unit_test(every_failing_allocation_is_an_error),
    cmocka_unit_test(paths_that_are_no_files_are_refused),
};
SUITE_MAIN(tests)
