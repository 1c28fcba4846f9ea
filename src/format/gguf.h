/*
 * format/gguf.h: a GGUF file, versions 2 and 3, mapped read-only. Metadata by key, tensors by name.
 */
#ifndef FAM_FORMAT_GGUF_H
#define FAM_FORMAT_GGUF_H

#include <stdbool.h>

#include "base/memory.h"
#include "format/tensor.h"

typedef enum fam_gguf_type {
    FAM_GGUF_U8, FAM_GGUF_I8, FAM_GGUF_U16, FAM_GGUF_I16, FAM_GGUF_U32, FAM_GGUF_I32, FAM_GGUF_F32, FAM_GGUF_BOOL,
    FAM_GGUF_STRING, FAM_GGUF_ARRAY, FAM_GGUF_U64, FAM_GGUF_I64, FAM_GGUF_F64
} fam_gguf_type;

typedef struct fam_gguf fam_gguf;

/* A metadata value. Scalars and arrays of scalars point into the file (unaligned, little-endian). */
typedef struct fam_gguf_value {
    const char *key; /* NUL-terminated */
    fam_gguf_type type;
    fam_gguf_type element_type; /* of an array */
    uint64_t count;             /* elements of an array; bytes of a string; else 1 */
    const uint8_t *data;        /* first byte of the value (of a string: its characters; of an array: its first element) */
} fam_gguf_value;

/* Opens and checks the whole metadata and tensor table. `warn` (may be NULL) is told of trailing bytes and the like. */
fam_status fam_gguf_open(fam_gguf **out, fam_memory *memory, const char *path,
                         void (*warn)(void *context, const char *line), void *warn_context, fam_error *error);
/* The same from bytes in memory that outlive it (tests, fuzzing); `name` stands for the path in messages. */
fam_status fam_gguf_parse(fam_gguf **out, fam_memory *memory, const char *name, const uint8_t *data, size_t size,
                          void (*warn)(void *context, const char *line), void *warn_context, fam_error *error);
void fam_gguf_free(fam_gguf *gguf);

const char *fam_gguf_path(const fam_gguf *gguf);
const fam_gguf_value *fam_gguf_find(const fam_gguf *gguf, const char *key);     /* hashed; NULL if absent */
const fam_gguf_value *fam_gguf_value_at(const fam_gguf *gguf, uint64_t index); /* NULL past the end */
const fam_tensor *fam_gguf_tensor(const fam_gguf *gguf, const char *name);     /* hashed; NULL if absent */
const fam_tensor *fam_gguf_tensor_at(const fam_gguf *gguf, uint64_t index);

/* Typed access: FAM_STATUS_BAD_FORMAT when the key is absent (and `required`) or of another type. When absent and not
 * required *out stays as it is. Integers accept every unsigned type, and signed ones when the value is not negative. */
fam_status fam_gguf_get_i64(const fam_gguf *gguf, const char *key, bool required, int64_t *out, fam_error *error);
fam_status fam_gguf_get_f64(const fam_gguf *gguf, const char *key, bool required, double *out, fam_error *error);
fam_status fam_gguf_get_bool(const fam_gguf *gguf, const char *key, bool required, bool *out, fam_error *error);
/* A string in the file: not NUL-terminated; may hold any bytes. */
fam_status fam_gguf_get_string(const fam_gguf *gguf, const char *key, bool required, const char **out, size_t *length,
                               fam_error *error);

/* Walks an array of strings: begin with fam_gguf_strings; next returns false at the end. The array was checked at open. */
typedef struct fam_gguf_strings {
    const uint8_t *next;
    uint64_t remaining;
} fam_gguf_strings;
fam_status fam_gguf_get_strings(const fam_gguf *gguf, const char *key, bool required, fam_gguf_strings *out,
                                fam_error *error);
bool fam_gguf_next_string(fam_gguf_strings *strings, const char **out, size_t *length);

#endif
