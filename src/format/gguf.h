/*
 * format/gguf.h: a GGUF file, versions 2 and 3, mapped read-only. Metadata by key, tensors by name.
 *
 * Knows the container only: which keys and tensors a model needs is for others to ask. An open file does not change;
 * any number of threads may read it. Memory held: the tables of keys and tensors, never their contents.
 */
#ifndef FAM_FORMAT_GGUF_H
#define FAM_FORMAT_GGUF_H

#include <stdbool.h>

#include "base/memory.h"
#include "format/tensor.h"

/* The values are those of the file format. */
typedef enum fam_gguf_type {
    FAM_GGUF_U8,
    FAM_GGUF_I8,
    FAM_GGUF_U16,
    FAM_GGUF_I16,
    FAM_GGUF_U32,
    FAM_GGUF_I32,
    FAM_GGUF_F32,
    FAM_GGUF_BOOL,
    FAM_GGUF_STRING,
    FAM_GGUF_ARRAY,
    FAM_GGUF_U64,
    FAM_GGUF_I64,
    FAM_GGUF_F64,
    FAM_GGUF_TYPE_COUNT
} fam_gguf_type;

/* What is taken from a file at most; one more is refused. */
enum {
    FAM_GGUF_KEYS_MAX = 65536,
    FAM_GGUF_KEY_BYTES_MAX = 65535,
    FAM_GGUF_STRING_BYTES_MAX = 64 << 20,
    FAM_GGUF_ARRAY_MAX = 1 << 26,
    FAM_GGUF_TENSORS_MAX = 1 << 20,
    FAM_GGUF_TENSOR_NAME_MAX = 63, /* bytes */
    FAM_GGUF_ALIGNMENT_MAX = 1 << 21
};

/* The value of tokenizer.ggml.model in files of models that have no tokenizer. */
#define FAM_GGUF_NO_TOKENIZER "no_vocab"

typedef struct fam_gguf fam_gguf;

/* A metadata value. Everything but the key points into the file (unaligned, little-endian). */
typedef struct fam_gguf_value {
    const char *key; /* NUL-terminated, valid UTF-8, not empty */
    fam_gguf_type type;
    fam_gguf_type element_type; /* of an array, never itself an array; else as `type` */
    uint64_t count;             /* elements of an array; bytes of a string; else 1 */
    const uint8_t *data; /* first byte of the value (of a string: its characters; of an array: its first element) */
    size_t bytes;        /* from `data` to the value's end */
} fam_gguf_value;

typedef void (*fam_gguf_warn)(void *context, const char *line);

/* Opens a file and checks the whole metadata and tensor table. `warn` (may be NULL) is told of trailing bytes.
 * FAM_STATUS_BAD_FORMAT: malformed or beyond the limits above. FAM_STATUS_UNSUPPORTED: another version or byte order, a
 * tensor type that tensor.h does not list, nested arrays, one part of a split model. FAM_STATUS_NOT_FOUND, _IO,
 * _OUT_OF_MEMORY. `memory` outlives the file. On failure *out is untouched. */
fam_status fam_gguf_open(fam_gguf **out, fam_memory *memory, const char *path, fam_gguf_warn warn, void *warn_context,
                         fam_error *error);
/* The same from bytes in memory that outlive it (tests, fuzzing); `name` stands for the path in messages. */
fam_status fam_gguf_parse(fam_gguf **out, fam_memory *memory, const char *name, const uint8_t *data, size_t size,
                          fam_gguf_warn warn, void *warn_context, fam_error *error);
void fam_gguf_free(fam_gguf *gguf); /* NULL is allowed */

const char *fam_gguf_path(const fam_gguf *gguf);
uint32_t fam_gguf_version(const fam_gguf *gguf);
uint64_t fam_gguf_value_count(const fam_gguf *gguf);
uint64_t fam_gguf_tensor_count(const fam_gguf *gguf);
const fam_gguf_value *fam_gguf_find(const fam_gguf *gguf, const char *key);    /* hashed; NULL if absent */
const fam_gguf_value *fam_gguf_value_at(const fam_gguf *gguf, uint64_t index); /* in file order; NULL past the end */
const fam_tensor *fam_gguf_tensor(const fam_gguf *gguf, const char *name);     /* hashed; NULL if absent */
const fam_tensor *fam_gguf_tensor_at(const fam_gguf *gguf, uint64_t index);    /* in file order; NULL past the end */

/* Whether the file has a tokenizer, of whatever kind. */
bool fam_gguf_has_tokenizer(const fam_gguf *gguf);

const char *fam_gguf_type_name(fam_gguf_type type); /* "u32", "string"; "unknown" */
size_t fam_gguf_scalar_bytes(fam_gguf_type type);   /* 1, 2, 4 or 8; 0 for a string or an array */

/* Typed access: FAM_STATUS_BAD_FORMAT when the key is absent (and `required`) or of another type. When absent and not
 * required *out stays as it is. Integers accept every unsigned type up to INT64_MAX, and signed ones when the value is
 * not negative; numbers accept f32 and f64 (and may be NaN). */
fam_status fam_gguf_get_i64(const fam_gguf *gguf, const char *key, bool required, int64_t *out, fam_error *error);
fam_status fam_gguf_get_f64(const fam_gguf *gguf, const char *key, bool required, double *out, fam_error *error);
fam_status fam_gguf_get_bool(const fam_gguf *gguf, const char *key, bool required, bool *out, fam_error *error);
/* A string in the file: not NUL-terminated; may hold any bytes. */
fam_status fam_gguf_get_string(const fam_gguf *gguf, const char *key, bool required, const char **out, size_t *length,
                               fam_error *error);
/* An array of exactly `element_type`; its `count` scalars lie at (*out)->data, unaligned. */
fam_status fam_gguf_get_array(const fam_gguf *gguf, const char *key, bool required, fam_gguf_type element_type,
                              const fam_gguf_value **out, fam_error *error);

/* Walks an array of strings: begin with fam_gguf_get_strings; next returns false at the end. The array was checked at
 * open. When absent and not required the walk is empty. */
typedef struct fam_gguf_strings {
    const uint8_t *next, *end;
    uint64_t remaining; /* strings */
} fam_gguf_strings;
fam_status fam_gguf_get_strings(const fam_gguf *gguf, const char *key, bool required, fam_gguf_strings *out,
                                fam_error *error);
bool fam_gguf_next_string(fam_gguf_strings *strings, const char **out, size_t *length);

#endif
