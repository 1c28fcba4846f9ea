/*
 * tests/support/gguf_walk.h: touches everything that an open GGUF file offers, so that a wrong pointer or length shows
 * under a sanitizer. Shared by the unit test and the fuzz target.
 */
#ifndef TESTS_SUPPORT_GGUF_WALK_H
#define TESTS_SUPPORT_GGUF_WALK_H

#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"

static inline uint64_t gguf_walk_bytes(const void *data, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)data;
    uint64_t sum = size;
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + bytes[i];
    return sum;
}

static inline uint64_t gguf_walk_value(const fam_gguf *gguf, const fam_gguf_value *value)
{
    uint64_t sum = gguf_walk_bytes(value->key, strlen(value->key)) + gguf_walk_bytes(value->data, value->bytes);
    int64_t integer = 0;
    double number = 0;
    bool truth = false;
    const char *text = NULL;
    size_t length = 0;
    fam_error error;
    if (fam_gguf_find(gguf, value->key) != value)
        abort();
    sum += (uint64_t)fam_gguf_get_i64(gguf, value->key, true, &integer, &error) + (uint64_t)integer;
    sum += (uint64_t)fam_gguf_get_f64(gguf, value->key, true, &number, &error) + (number > 0);
    sum += (uint64_t)fam_gguf_get_bool(gguf, value->key, true, &truth, &error) + truth;
    if (fam_gguf_get_string(gguf, value->key, true, &text, &length, &error) == FAM_OK)
        sum += gguf_walk_bytes(text, length);
    fam_gguf_strings strings;
    if (fam_gguf_get_strings(gguf, value->key, true, &strings, &error) == FAM_OK) {
        uint64_t count = 0;
        while (fam_gguf_next_string(&strings, &text, &length)) {
            sum += gguf_walk_bytes(text, length);
            count++;
        }
        if (count != value->count || strings.next != strings.end)
            abort();
    }
    return sum;
}

/* The tensor's bytes, and its first row's values. */
static inline uint64_t gguf_walk_tensor(const fam_gguf *gguf, const fam_tensor *tensor)
{
    uint64_t sum = gguf_walk_bytes(tensor->name, strlen(tensor->name)) + gguf_walk_bytes(tensor->data, tensor->bytes);
    int64_t row = tensor->n_dims > 0 ? tensor->shape[tensor->n_dims - 1] : 1;
    size_t bytes = 0;
    if (fam_gguf_tensor(gguf, tensor->name) != tensor || !fam_type_row_bytes(&bytes, tensor->type, row) ||
        bytes > tensor->bytes)
        abort();
    float *values = malloc((size_t)row * sizeof *values);
    if (!values)
        abort();
    fam_type_dequantize(values, tensor->data, tensor->type, row);
    sum += gguf_walk_bytes(values, (size_t)row * sizeof *values);
    free(values);
    return sum;
}

/* A number that depends on all the contents; aborts where the file contradicts itself. */
static inline uint64_t gguf_walk(const fam_gguf *gguf)
{
    uint64_t sum = fam_gguf_version(gguf);
    for (uint64_t i = 0; fam_gguf_value_at(gguf, i); i++)
        sum = sum * 31 + gguf_walk_value(gguf, fam_gguf_value_at(gguf, i));
    for (uint64_t i = 0; fam_gguf_tensor_at(gguf, i); i++)
        sum = sum * 31 + gguf_walk_tensor(gguf, fam_gguf_tensor_at(gguf, i));
    return sum;
}

/* Parses an exact-size copy of the bytes (so that a sanitizer sees a byte too many) under the name "test.gguf", walks
 * it into *sum (NULL: not) and frees it; aborts if memory is kept. */
static inline fam_status gguf_parse_copy(const uint8_t *data, size_t size, uint64_t *sum, fam_error *error)
{
    fam_memory memory;
    fam_gguf *gguf = NULL;
    fam_memory_init(&memory);
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    fam_status status = fam_gguf_parse(&gguf, &memory, "test.gguf", copy, size, NULL, NULL, error);
    if ((status == FAM_OK) != (gguf != NULL))
        abort();
    if (gguf && sum)
        *sum = gguf_walk(gguf);
    fam_gguf_free(gguf);
    if (memory.bytes != 0)
        abort();
    free(copy);
    return status;
}

#endif
