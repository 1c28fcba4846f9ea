/*
 * Element types: the table, sizes, and values bit for bit as the `gguf` Python package computes them
 * (tests/fixtures/dequant) and as a second, naive implementation here does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/float16.h"
#include "format/tensor.h"
#include "suite.h"

static void assert_same_floats(const float *got, const float *want, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++) {
        bool same = want[i] != want[i] ? got[i] != got[i] : fam_bits_from_float(got[i]) == fam_bits_from_float(want[i]);
        if (!same)
            fail_msg("%s: element %zu: found %a, need %a", what, i, (double)got[i], (double)want[i]);
    }
}

static void every_type_has_its_traits(void **state)
{
    (void)state;
    struct {
        fam_type type;
        const char *name;
        uint32_t id;
        int64_t elements;
        size_t bytes;
    } rows[] = {{FAM_TYPE_F32, "F32", 0, 1, 4},     {FAM_TYPE_F16, "F16", 1, 1, 2},
                {FAM_TYPE_BF16, "BF16", 30, 1, 2},  {FAM_TYPE_Q4_0, "Q4_0", 2, 32, 18},
                {FAM_TYPE_Q4_1, "Q4_1", 3, 32, 20}, {FAM_TYPE_Q8_0, "Q8_0", 8, 32, 34}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fam_type type = FAM_TYPE_COUNT;
        assert_string_equal(fam_type_name(rows[i].type), rows[i].name);
        assert_int_equal(fam_type_block_elements(rows[i].type), rows[i].elements);
        assert_int_equal(fam_type_block_bytes(rows[i].type), rows[i].bytes);
        assert_int_equal(fam_type_gguf_id(rows[i].type), rows[i].id);
        assert_true(fam_type_from_gguf(&type, rows[i].id));
        assert_int_equal(type, rows[i].type);
        assert_non_null(strstr(fam_type_names(), rows[i].name));
    }
    assert_string_equal(fam_type_name(FAM_TYPE_COUNT), "unknown");
}

static void a_listed_type_is_called_as_ggml_calls_it(void **state)
{
    (void)state;
    for (int i = 0; i < FAM_TYPE_COUNT; i++)
        assert_string_equal(fam_gguf_id_name(fam_type_gguf_id((fam_type)i)), fam_type_name((fam_type)i));
}

static void types_that_are_not_listed_are_refused_but_have_names(void **state)
{
    (void)state;
    fam_type type = FAM_TYPE_COUNT;
    for (uint32_t id = 0; id < 100; id++) {
        bool listed = false;
        for (int i = 0; i < FAM_TYPE_COUNT; i++)
            listed = listed || fam_type_gguf_id((fam_type)i) == id;
        assert_int_equal(fam_type_from_gguf(&type, id), listed);
    }
    type = FAM_TYPE_COUNT;
    assert_false(fam_type_from_gguf(&type, UINT32_MAX));
    assert_int_equal(type, FAM_TYPE_COUNT);
    assert_string_equal(fam_gguf_id_name(20), "IQ4_NL");
    assert_string_equal(fam_gguf_id_name(39), "MXFP4");
    assert_non_null(strstr(fam_gguf_id_name(4), "Q4_2"));
    assert_non_null(strstr(fam_gguf_id_name(31), "removed"));
    for (uint32_t id = 0; id <= 42; id++)
        assert_non_null(fam_gguf_id_name(id));
    assert_null(fam_gguf_id_name(43));
    assert_null(fam_gguf_id_name(UINT32_MAX));
}

static void row_bytes_are_exact_or_refused(void **state)
{
    (void)state;
    size_t bytes = 7;
    assert_true(fam_type_row_bytes(&bytes, FAM_TYPE_Q4_1, 64));
    assert_int_equal(bytes, 40);
    assert_true(fam_type_row_bytes(&bytes, FAM_TYPE_F32, 0));
    assert_int_equal(bytes, 0);
    assert_true(fam_type_row_bytes(&bytes, FAM_TYPE_BF16, 3));
    assert_int_equal(bytes, 6);
    assert_true(fam_type_row_bytes(&bytes, FAM_TYPE_F16, INT64_MAX));
    assert_int_equal(bytes, 2 * (size_t)INT64_MAX);
    bytes = 7;
    assert_false(fam_type_row_bytes(&bytes, FAM_TYPE_F32, INT64_MAX));
    assert_false(fam_type_row_bytes(&bytes, FAM_TYPE_F32, (int64_t)1 << 62));
    assert_false(fam_type_row_bytes(&bytes, FAM_TYPE_Q8_0, 33));
    assert_false(fam_type_row_bytes(&bytes, FAM_TYPE_Q8_0, 31));
    assert_false(fam_type_row_bytes(&bytes, FAM_TYPE_F32, -1));
    assert_false(fam_type_row_bytes(&bytes, FAM_TYPE_Q4_0, -32));
    assert_int_equal(bytes, 7);
}

/* The value of element i, from the definition; double holds every step exactly, so that it is rounded once. */
static float naive_value(const uint8_t *data, fam_type type, int64_t i)
{
    const uint8_t *block = data + (size_t)(i / fam_type_block_elements(type)) * fam_type_block_bytes(type);
    int k = (int)(i % fam_type_block_elements(type));
    double d = fam_from_f16((uint16_t)(block[0] | block[1] << 8));
    switch (type) {
    case FAM_TYPE_F32:
        return fam_float_from_bits(block[0] | block[1] << 8 | block[2] << 16 | (uint32_t)block[3] << 24);
    case FAM_TYPE_F16:
        return (float)d;
    case FAM_TYPE_BF16:
        return fam_float_from_bits((uint32_t)(block[0] << 16) | (uint32_t)block[1] << 24);
    case FAM_TYPE_Q8_0:
        return (float)((block[2 + k] < 128 ? block[2 + k] : block[2 + k] - 256) * d);
    case FAM_TYPE_Q4_0:
        return (float)(((k < 16 ? block[2 + k] % 16 : block[2 + k - 16] / 16) - 8) * d);
    case FAM_TYPE_Q4_1: {
        double m = fam_from_f16((uint16_t)(block[2] | block[3] << 8));
        return (float)((k < 16 ? block[4 + k] % 16 : block[4 + k - 16] / 16) * d + m);
    }
    default:
        fail_msg("no naive value for type %s", fam_type_name(type));
    }
    return 0;
}

static void values_equal_the_naive_definition(void **state)
{
    (void)state;
    enum { BLOCKS = 4096 };
    static uint8_t bytes[BLOCKS * 64 + 1];
    static float got[BLOCKS * 32], want[BLOCKS * 32];
    srand(1);
    for (size_t i = 0; i < sizeof bytes; i++) /* random scales: denormals, infinities and NaN among them */
        bytes[i] = (uint8_t)(rand() >> 7);
    for (int t = 0; t < FAM_TYPE_COUNT; t++) {
        fam_type type = (fam_type)t;
        int64_t elements = BLOCKS * fam_type_block_elements(type);
        fam_type_dequantize(got, bytes + 1, type, elements); /* unaligned */
        for (int64_t i = 0; i < elements; i++)
            want[i] = naive_value(bytes + 1, type, i);
        assert_same_floats(got, want, (size_t)elements, fam_type_name(type));
    }
}

static void nothing_is_written_beyond_the_elements(void **state)
{
    (void)state;
    uint8_t bytes[2 * 34] = {0};
    for (int t = 0; t < FAM_TYPE_COUNT; t++) {
        float out[33];
        int64_t block = fam_type_block_elements((fam_type)t);
        out[block] = 77;
        fam_type_dequantize(out, bytes, (fam_type)t, block);
        assert_true(out[block] == 77);
        out[0] = 77;
        fam_type_dequantize(out, bytes, (fam_type)t, 0);
        assert_true(out[0] == 77);
    }
}

/* ---- fixtures: safetensors with `bytes` (U8) and `values` (F32) -------------------------------------------------- */

static uint8_t *read_fixture(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(*size + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    data[*size] = '\0';
    fclose(file);
    return data;
}

/* The data of one tensor; the header is that of our own generator, so looking for words is enough. */
static const uint8_t *fixture_tensor(const uint8_t *file, size_t size, const char *name, size_t *bytes)
{
    uint64_t header = 0;
    memcpy(&header, file, 8);
    assert_true(size > 8 && header < size - 8);
    char *text = strndup((const char *)file + 8, (size_t)header), quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\"", name);
    char *at = strstr(text, quoted);
    at = at ? strstr(at, "\"data_offsets\"") : NULL;
    size_t begin = 0, end = 0;
    assert_true(at && sscanf(at, "\"data_offsets\" : [ %zu , %zu", &begin, &end) == 2);
    assert_true(begin <= end && end <= size - 8 - header);
    free(text);
    *bytes = end - begin;
    return file + 8 + header + begin;
}

static void values_equal_the_gguf_package(fam_type type)
{
    char path[64];
    size_t size = 0, bytes = 0, value_bytes = 0;
    snprintf(path, sizeof path, "tests/fixtures/dequant/%s.safetensors", fam_type_name(type));
    uint8_t *file = read_fixture(suite_path(path), &size);
    if (!file) {
        print_message("%s is missing; `make oracle` makes it\n", path);
        skip();
    }
    const uint8_t *data = fixture_tensor(file, size, "bytes", &bytes);
    const uint8_t *values = fixture_tensor(file, size, "values", &value_bytes);
    int64_t elements = (int64_t)(value_bytes / sizeof(float));
    size_t needed = 0;
    assert_true(elements > 0 && fam_type_row_bytes(&needed, type, elements));
    assert_int_equal(needed, bytes);
    float *want = malloc(value_bytes), *got = malloc(value_bytes);
    assert_true(want && got);
    memcpy(want, values, value_bytes);
    fam_type_dequantize(got, data, type, elements);
    assert_same_floats(got, want, (size_t)elements, path);
    free(want);
    free(got);
    free(file);
}

#define FIXTURE_CASE(type)                                                                                             \
    static void values_equal_the_gguf_package_##type(void **state)                                                     \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        values_equal_the_gguf_package(FAM_TYPE_##type);                                                                \
    }
FIXTURE_CASE(F16)
FIXTURE_CASE(BF16)
FIXTURE_CASE(Q4_0)
FIXTURE_CASE(Q4_1)
FIXTURE_CASE(Q8_0)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_type_has_its_traits),
    cmocka_unit_test(a_listed_type_is_called_as_ggml_calls_it),
    cmocka_unit_test(types_that_are_not_listed_are_refused_but_have_names),
    cmocka_unit_test(row_bytes_are_exact_or_refused),
    cmocka_unit_test(values_equal_the_naive_definition),
    cmocka_unit_test(nothing_is_written_beyond_the_elements),
    cmocka_unit_test(values_equal_the_gguf_package_F16),
    cmocka_unit_test(values_equal_the_gguf_package_BF16),
    cmocka_unit_test(values_equal_the_gguf_package_Q4_0),
    cmocka_unit_test(values_equal_the_gguf_package_Q4_1),
    cmocka_unit_test(values_equal_the_gguf_package_Q8_0),
};
SUITE_MAIN(tests)
