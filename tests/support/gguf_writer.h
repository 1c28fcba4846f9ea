/*
 * tests/support/gguf_writer.h: makes GGUF files in memory, right ones and, on purpose, wrong ones.
 *
 * begin, add keys and tensors in any order, finish. The fields of gguf_writer may be changed before finish to lie about
 * the header; the sections may be appended to with gguf_bytes_add to write what no add function would. Shapes are given
 * outermost first, as fam_tensor has them. Aborts when memory is short: it is for tests only.
 */
#ifndef TESTS_SUPPORT_GGUF_WRITER_H
#define TESTS_SUPPORT_GGUF_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/gguf.h"

/* Bytes that grow; released with gguf_bytes_free. */
typedef struct gguf_bytes {
    uint8_t *data;
    size_t size, capacity;
} gguf_bytes;

void gguf_bytes_add(gguf_bytes *bytes, const void *data, size_t size);
void gguf_bytes_add_u32(gguf_bytes *bytes, uint32_t value);
void gguf_bytes_add_u64(gguf_bytes *bytes, uint64_t value);
void gguf_bytes_add_string(gguf_bytes *bytes, const char *text); /* length and characters */
void gguf_bytes_pad(gguf_bytes *bytes, size_t alignment);
void gguf_bytes_free(gguf_bytes *bytes);

typedef struct gguf_writer {
    char magic[4];
    uint32_t version;
    uint64_t tensors, keys; /* counted by the add functions */
    size_t alignment;       /* a changed one must also be added as the key general.alignment */
    gguf_bytes metadata, infos, data;
} gguf_writer;

void gguf_writer_begin(gguf_writer *writer); /* version 3, alignment 32 */

/* A key with its type, and `size` bytes that are its value. */
void gguf_writer_key(gguf_writer *writer, const char *key, uint32_t type, const void *value, size_t size);
void gguf_writer_u8(gguf_writer *writer, const char *key, uint8_t value);
void gguf_writer_i8(gguf_writer *writer, const char *key, int8_t value);
void gguf_writer_u16(gguf_writer *writer, const char *key, uint16_t value);
void gguf_writer_i16(gguf_writer *writer, const char *key, int16_t value);
void gguf_writer_u32(gguf_writer *writer, const char *key, uint32_t value);
void gguf_writer_i32(gguf_writer *writer, const char *key, int32_t value);
void gguf_writer_u64(gguf_writer *writer, const char *key, uint64_t value);
void gguf_writer_i64(gguf_writer *writer, const char *key, int64_t value);
void gguf_writer_f32(gguf_writer *writer, const char *key, float value);
void gguf_writer_f64(gguf_writer *writer, const char *key, double value);
void gguf_writer_bool(gguf_writer *writer, const char *key, bool value);
void gguf_writer_string(gguf_writer *writer, const char *key, const char *value);
/* `count` elements of a scalar type, `size` bytes together. */
void gguf_writer_array(gguf_writer *writer, const char *key, uint32_t element_type, uint64_t count,
                       const void *elements, size_t size);
void gguf_writer_strings(gguf_writer *writer, const char *key, const char *const *strings, size_t count);

/* A tensor at the next aligned place; `size` bytes of data are taken as they are. */
void gguf_writer_tensor(gguf_writer *writer, const char *name, uint32_t type, int n_dims, const int64_t *shape,
                        const void *data, size_t size);
/* Only the tensor's entry; dimensions innermost first, as in the file. */
void gguf_writer_tensor_info(gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims,
                             const uint64_t *dims, uint64_t offset);

/* The whole file; releases the writer's sections. */
gguf_bytes gguf_writer_finish(gguf_writer *writer);
/* The same, written to `path`; false if that failed. */
bool gguf_writer_save(gguf_writer *writer, const char *path);

/* A right file with a key of every type and a tensor of every supported type; the last tensor needs no padding. */
gguf_bytes gguf_writer_sample(uint32_t version);

#endif
