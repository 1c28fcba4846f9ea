/*
 * tests/support/gguf_writer.c: see gguf_writer.h.
 */
#include "gguf_writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gguf_bytes_add(gguf_bytes *bytes, const void *data, size_t size)
{
    if (size > bytes->capacity - bytes->size) {
        size_t capacity = 2 * (bytes->size + size) + 64;
        uint8_t *grown = realloc(bytes->data, capacity);
        if (!grown)
            abort();
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    if (size > 0)
        memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

void gguf_bytes_add_u32(gguf_bytes *bytes, uint32_t value)
{
    gguf_bytes_add(bytes, &value, sizeof value);
}

void gguf_bytes_add_u64(gguf_bytes *bytes, uint64_t value)
{
    gguf_bytes_add(bytes, &value, sizeof value);
}

void gguf_bytes_add_string(gguf_bytes *bytes, const char *text)
{
    gguf_bytes_add_u64(bytes, strlen(text));
    gguf_bytes_add(bytes, text, strlen(text));
}

void gguf_bytes_pad(gguf_bytes *bytes, size_t alignment)
{
    while (bytes->size % alignment != 0)
        gguf_bytes_add(bytes, "", 1);
}

void gguf_bytes_free(gguf_bytes *bytes)
{
    free(bytes->data);
    *bytes = (gguf_bytes){0};
}

void gguf_writer_begin(gguf_writer *writer)
{
    *writer = (gguf_writer){.magic = {'G', 'G', 'U', 'F'}, .version = 3, .alignment = 32};
}

void gguf_writer_key(gguf_writer *writer, const char *key, uint32_t type, const void *value, size_t size)
{
    gguf_bytes_add_string(&writer->metadata, key);
    gguf_bytes_add_u32(&writer->metadata, type);
    gguf_bytes_add(&writer->metadata, value, size);
    writer->keys++;
}

#define SCALAR(name, ctype, id)                                                                                        \
    void gguf_writer_##name(gguf_writer *writer, const char *key, ctype value)                                         \
    {                                                                                                                  \
        gguf_writer_key(writer, key, id, &value, sizeof value);                                                        \
    }
SCALAR(u8, uint8_t, FAM_GGUF_U8)
SCALAR(i8, int8_t, FAM_GGUF_I8)
SCALAR(u16, uint16_t, FAM_GGUF_U16)
SCALAR(i16, int16_t, FAM_GGUF_I16)
SCALAR(u32, uint32_t, FAM_GGUF_U32)
SCALAR(i32, int32_t, FAM_GGUF_I32)
SCALAR(u64, uint64_t, FAM_GGUF_U64)
SCALAR(i64, int64_t, FAM_GGUF_I64)
SCALAR(f32, float, FAM_GGUF_F32)
SCALAR(f64, double, FAM_GGUF_F64)
#undef SCALAR

void gguf_writer_bool(gguf_writer *writer, const char *key, bool value)
{
    uint8_t byte = value;
    gguf_writer_key(writer, key, FAM_GGUF_BOOL, &byte, 1);
}

void gguf_writer_string(gguf_writer *writer, const char *key, const char *value)
{
    gguf_writer_key(writer, key, FAM_GGUF_STRING, NULL, 0);
    gguf_bytes_add_string(&writer->metadata, value);
}

void gguf_writer_array(gguf_writer *writer, const char *key, uint32_t element_type, uint64_t count,
                       const void *elements, size_t size)
{
    gguf_writer_key(writer, key, FAM_GGUF_ARRAY, NULL, 0);
    gguf_bytes_add_u32(&writer->metadata, element_type);
    gguf_bytes_add_u64(&writer->metadata, count);
    gguf_bytes_add(&writer->metadata, elements, size);
}

void gguf_writer_strings(gguf_writer *writer, const char *key, const char *const *strings, size_t count)
{
    gguf_writer_array(writer, key, FAM_GGUF_STRING, count, NULL, 0);
    for (size_t i = 0; i < count; i++)
        gguf_bytes_add_string(&writer->metadata, strings[i]);
}

void gguf_writer_tensor_info(gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims,
                             const uint64_t *dims, uint64_t offset)
{
    gguf_bytes_add_string(&writer->infos, name);
    gguf_bytes_add_u32(&writer->infos, n_dims);
    gguf_bytes_add(&writer->infos, dims, n_dims * sizeof *dims);
    gguf_bytes_add_u32(&writer->infos, type);
    gguf_bytes_add_u64(&writer->infos, offset);
    writer->tensors++;
}

void gguf_writer_tensor(gguf_writer *writer, const char *name, uint32_t type, int n_dims, const int64_t *shape,
                        const void *data, size_t size)
{
    uint64_t dims[8] = {0};
    for (int i = 0; i < n_dims; i++)
        dims[i] = (uint64_t)shape[n_dims - 1 - i];
    gguf_bytes_pad(&writer->data, writer->alignment);
    gguf_writer_tensor_info(writer, name, type, (uint32_t)n_dims, dims, writer->data.size);
    gguf_bytes_add(&writer->data, data, size);
}

gguf_bytes gguf_writer_finish(gguf_writer *writer)
{
    gguf_bytes file = {0};
    gguf_bytes_add(&file, writer->magic, sizeof writer->magic);
    gguf_bytes_add_u32(&file, writer->version);
    gguf_bytes_add_u64(&file, writer->tensors);
    gguf_bytes_add_u64(&file, writer->keys);
    gguf_bytes_add(&file, writer->metadata.data, writer->metadata.size);
    gguf_bytes_add(&file, writer->infos.data, writer->infos.size);
    gguf_bytes_pad(&file, writer->alignment);
    gguf_bytes_add(&file, writer->data.data, writer->data.size);
    if (writer->data.size > 0)
        gguf_bytes_pad(&file, writer->alignment);
    gguf_bytes_free(&writer->metadata);
    gguf_bytes_free(&writer->infos);
    gguf_bytes_free(&writer->data);
    return file;
}

bool gguf_writer_save(gguf_writer *writer, const char *path)
{
    gguf_bytes bytes = gguf_writer_finish(writer);
    FILE *file = fopen(path, "wb");
    bool good = file && fwrite(bytes.data, 1, bytes.size, file) == bytes.size;
    if (file)
        good = fclose(file) == 0 && good;
    gguf_bytes_free(&bytes);
    return good;
}

gguf_bytes gguf_writer_sample(uint32_t version)
{
    gguf_writer w;
    gguf_writer_begin(&w);
    w.version = version;
    gguf_writer_string(&w, "general.architecture", "llama");
    gguf_writer_u8(&w, "u8", 200);
    gguf_writer_i8(&w, "i8", -5);
    gguf_writer_u16(&w, "u16", 60000);
    gguf_writer_i16(&w, "i16", 300);
    gguf_writer_u32(&w, "u32", 4000000000u);
    gguf_writer_i32(&w, "i32", 70000);
    gguf_writer_u64(&w, "u64", (uint64_t)1 << 40);
    gguf_writer_i64(&w, "i64", INT64_MAX);
    gguf_writer_u64(&w, "u64.large", UINT64_MAX);
    gguf_writer_f32(&w, "f32", 0.5f);
    gguf_writer_f64(&w, "f64", 0.1);
    gguf_writer_bool(&w, "yes", true);
    gguf_writer_bool(&w, "no", false);
    const char *strings[] = {"a", "", "\xff\xfe", "four"};
    gguf_writer_strings(&w, "strings", strings, 4);
    int32_t numbers[] = {1, -2, 3};
    gguf_writer_array(&w, "numbers", FAM_GGUF_I32, 3, numbers, sizeof numbers);
    gguf_writer_array(&w, "empty", FAM_GGUF_F64, 0, NULL, 0);
    uint8_t truths[] = {1, 0};
    gguf_writer_array(&w, "truths", FAM_GGUF_BOOL, 2, truths, 2);
    uint8_t data[2 * 3 * 34];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    float scalar = 2.5f;
    gguf_writer_tensor(&w, "scalar", 0, 0, NULL, &scalar, 4);
    gguf_writer_tensor(&w, "f16", 1, 1, (int64_t[]){5}, data, 10);
    gguf_writer_tensor(&w, "bf16", 30, 3, (int64_t[]){2, 3, 4}, data, 48);
    gguf_writer_tensor(&w, "q4_0", 2, 2, (int64_t[]){3, 64}, data, 3 * 36);
    gguf_writer_tensor(&w, "q4_1", 3, 2, (int64_t[]){1, 32}, data, 20);
    gguf_writer_tensor(&w, "q8_0", 8, 4, (int64_t[]){1, 1, 2, 96}, data, 2 * 3 * 34);
    gguf_writer_tensor(&w, "a name of sixty-three bytes, which is the longest that may be .", 0, 1, (int64_t[]){8},
                       data, 32); /* last, and whole to the alignment: every truncation is a loss */
    return gguf_writer_finish(&w);
}
