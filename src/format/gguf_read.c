/*
 * format/gguf_read.c: the bytes of a GGUF file, checked. Everything is little-endian:
 *
 *   header    "GGUF", u32 version (2 or 3), u64 tensors, u64 keys                                        24 bytes
 *   key       string name, u32 type, value     a scalar; a string; an array: u32 type, u64 count, elements
 *   tensor    string name, u32 n, n x u64 dimensions (innermost first), u32 type, u64 offset of its data
 *   padding   up to a multiple of general.alignment (32)
 *   data      each tensor at its offset, which is where the one before ended, padded to the alignment
 *   string    u64 bytes, then so many bytes, no NUL
 *
 * Nothing is believed: counts are held against the bytes that are left before anything is allocated for them.
 */
#include <stdio.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "format/gguf_private.h"

enum {
    HEADER_BYTES = 24,
    KEY_BYTES_MIN = 8 + 1 + 4 + 1,        /* name of one byte, u8 */
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 4 + 8, /* name of one byte, no dimensions */
    ALIGNMENT_DEFAULT = 32
};

typedef struct reader {
    fam_gguf *gguf;
    fam_cursor cursor;
    uint64_t keys, tensors;  /* as the header says */
    size_t data_bytes;       /* of the tensors so far, padded */
    const char *kind, *item; /* for messages: "key" or "tensor" and its name, or NULL */
    fam_error *error;
} reader;

/* "<file>: <what>: key 'x', byte 123: <format ...>" */
__attribute__((format(printf, 5, 6))) static fam_status refuse(const reader *r, fam_status status, size_t at,
                                                               const char *what, const char *format, ...)
{
    char detail[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    if (!r->item)
        return fam_error_set(r->error, status, "%s: %s: byte %zu: %s", r->gguf->path, what, at, detail);
    return fam_error_set(r->error, status, "%s: %s: %s '%.80s', byte %zu: %s", r->gguf->path, what, r->kind, r->item,
                         at, detail);
}

static fam_status take(reader *r, void *out, size_t size, const char *what)
{
    if (fam_take(&r->cursor, out, size))
        return FAM_OK;
    return refuse(r, FAM_STATUS_BAD_FORMAT, r->cursor.at, what, "found %zu bytes before the end of the file, need %zu",
                  fam_cursor_remaining(&r->cursor), size);
}

/* The length and the bytes of a string, left in the file. */
static fam_status take_string(reader *r, const uint8_t **out, size_t *length, size_t limit, const char *what)
{
    size_t at = r->cursor.at;
    uint64_t bytes = 0;
    fam_status status = take(r, &bytes, sizeof bytes, what);
    if (status != FAM_OK)
        return status;
    if (bytes > limit)
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, what, "found a length of %llu bytes, need at most %zu",
                      (unsigned long long)bytes, limit);
    if (bytes > fam_cursor_remaining(&r->cursor))
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, what,
                      "found a length of %llu bytes, need at most %zu (what is left of the file)",
                      (unsigned long long)bytes, fam_cursor_remaining(&r->cursor));
    *out = r->cursor.data + r->cursor.at;
    *length = (size_t)bytes;
    r->cursor.at += (size_t)bytes;
    return FAM_OK;
}

/* A name, copied with a NUL after it, and entered in `table` under `index`; it becomes the reader's item. */
static fam_status take_name(reader *r, const char **out, fam_name_table *table, size_t index, const char *kind,
                            size_t limit)
{
    fam_status status = FAM_OK;
    fam_error *error = r->error;
    const uint8_t *text = NULL;
    size_t length = 0, at = r->cursor.at;
    char what[32];
    snprintf(what, sizeof what, "%s name", kind);
    r->item = NULL;
    FAM_TRY(take_string(r, &text, &length, limit, what));
    if (length == 0)
        status = refuse(r, FAM_STATUS_BAD_FORMAT, at, what, "found an empty one, need 1 to %zu bytes", limit);
    else if (memchr(text, '\0', length))
        status = refuse(r, FAM_STATUS_BAD_FORMAT, at, what, "found a NUL in it, need text");
    else if (!fam_utf8_valid(text, length))
        status = refuse(r, FAM_STATUS_BAD_FORMAT, at, what, "found broken UTF-8, need text");
    if (status != FAM_OK)
        goto done;
    FAM_TRY_ALLOC(*out, fam_name_store_add(&r->gguf->names, text, length), r->gguf->path);
    r->kind = kind;
    r->item = *out;
    if (!fam_name_table_add(table, *out, index))
        status = refuse(r, FAM_STATUS_BAD_FORMAT, at, what, "found it a second time, need each once");
done:
    return status;
}

/* ---- header ------------------------------------------------------------------------------------------------------ */

static fam_status check_magic(const reader *r, const uint8_t *magic)
{
    /* The formats before GGUF wrote their magic as a number, so on disk it is reversed. */
    static const char *const old[][2] = {{"lmgg", "ggml"}, {"fmgg", "ggmf"}, {"tjgg", "ggjt"}, {"algg", "ggla"}};
    if (memcmp(magic, "GGUF", 4) == 0)
        return FAM_OK;
    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        if (memcmp(magic, old[i][0], 4) == 0 || memcmp(magic, old[i][1], 4) == 0)
            return refuse(r, FAM_STATUS_UNSUPPORTED, 0, "magic",
                          "found '%s', a format from before GGUF, need 'GGUF' (convert the model anew)", old[i][1]);
    }
    if (memcmp(magic, "FUGG", 4) == 0)
        return refuse(r, FAM_STATUS_UNSUPPORTED, 0, "magic", "found 'FUGG' (a big-endian file?), need 'GGUF'");
    return refuse(r, FAM_STATUS_BAD_FORMAT, 0, "magic", "found %02x %02x %02x %02x, need 47 47 55 46 ('GGUF')",
                  magic[0], magic[1], magic[2], magic[3]);
}

static fam_status check_version(const reader *r, uint32_t version)
{
    if (version == 2 || version == 3)
        return FAM_OK;
    uint32_t swapped = __builtin_bswap32(version);
    if (swapped >= 1 && swapped <= 0xffff)
        return refuse(r, FAM_STATUS_UNSUPPORTED, 4, "version",
                      "found 0x%08x (a big-endian file?), need version 2 or 3, little-endian", version);
    return refuse(r, FAM_STATUS_UNSUPPORTED, 4, "version", "found %u, need 2 or 3", version);
}

static fam_status check_count(const reader *r, uint64_t count, size_t at, const char *what, size_t entry_min,
                              uint64_t limit)
{
    size_t left = fam_cursor_remaining(&r->cursor);
    if (count > left / entry_min)
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, what,
                      "found %llu, need at most %zu (what the %zu bytes left can hold)", (unsigned long long)count,
                      left / entry_min, left);
    if (count > limit)
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, what, "found %llu, need at most %llu", (unsigned long long)count,
                      (unsigned long long)limit);
    return FAM_OK;
}

static fam_status read_header(reader *r)
{
    fam_status status = FAM_OK;
    if (r->cursor.size < HEADER_BYTES)
        return fam_error_set(r->error, FAM_STATUS_BAD_FORMAT,
                             "%s: too short for GGUF header: byte 0: found %zu bytes, need at least %d", r->gguf->path,
                             r->cursor.size, HEADER_BYTES);
    uint8_t magic[4];
    FAM_TRY(take(r, magic, sizeof magic, "magic"));
    FAM_TRY(check_magic(r, magic));
    FAM_TRY(take(r, &r->gguf->version, 4, "version"));
    FAM_TRY(check_version(r, r->gguf->version));
    FAM_TRY(take(r, &r->tensors, 8, "number of tensors"));
    FAM_TRY(take(r, &r->keys, 8, "number of keys"));
    FAM_TRY(check_count(r, r->tensors, 8, "number of tensors", TENSOR_BYTES_MIN, FAM_GGUF_TENSORS_MAX));
    FAM_TRY(check_count(r, r->keys, 16, "number of keys", KEY_BYTES_MIN, FAM_GGUF_KEYS_MAX));
done:
    return status;
}

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

static fam_status take_type(reader *r, fam_gguf_type *out, const char *what)
{
    size_t at = r->cursor.at;
    uint32_t id = 0;
    fam_status status = take(r, &id, sizeof id, what);
    if (status != FAM_OK)
        return status;
    if (id >= FAM_GGUF_TYPE_COUNT)
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, what, "found %u, need 0 to %d", id, FAM_GGUF_TYPE_COUNT - 1);
    *out = (fam_gguf_type)id;
    return FAM_OK;
}

/* `count` scalars of one type, left in the file. A bool is 0 or 1. */
static fam_status take_scalars(reader *r, fam_gguf_value *value, fam_gguf_type type, uint64_t count)
{
    size_t at = r->cursor.at, left = fam_cursor_remaining(&r->cursor), size = fam_gguf_scalar_bytes(type);
    if (count > left / size)
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, "value",
                      "found %zu bytes before the end of the file, need %llu of type %s", left,
                      (unsigned long long)count, fam_gguf_type_name(type));
    value->data = r->cursor.data + at;
    value->bytes = (size_t)count * size;
    for (size_t i = 0; type == FAM_GGUF_BOOL && i < value->bytes; i++) {
        if (value->data[i] > 1)
            return refuse(r, FAM_STATUS_BAD_FORMAT, at + i, "bool", "found %u, need 0 or 1", value->data[i]);
    }
    r->cursor.at += value->bytes;
    return FAM_OK;
}

static fam_status take_string_elements(reader *r, fam_gguf_value *value)
{
    size_t begin = r->cursor.at, left = fam_cursor_remaining(&r->cursor);
    if (value->count > left / sizeof(uint64_t))
        return refuse(r, FAM_STATUS_BAD_FORMAT, begin, "array",
                      "found %zu bytes before the end of the file, need %llu strings", left,
                      (unsigned long long)value->count);
    for (uint64_t i = 0; i < value->count; i++) {
        const uint8_t *text;
        size_t length;
        fam_status status = take_string(r, &text, &length, FAM_GGUF_STRING_BYTES_MAX, "string");
        if (status != FAM_OK)
            return status;
    }
    value->data = r->cursor.data + begin;
    value->bytes = r->cursor.at - begin;
    return FAM_OK;
}

static fam_status take_array(reader *r, fam_gguf_value *value)
{
    fam_status status = FAM_OK;
    FAM_TRY(take_type(r, &value->element_type, "array type"));
    size_t at = r->cursor.at;
    if (value->element_type == FAM_GGUF_ARRAY) {
        status = refuse(r, FAM_STATUS_UNSUPPORTED, at - 4, "array type",
                        "found an array of arrays, need scalars or strings");
        goto done;
    }
    FAM_TRY(take(r, &value->count, 8, "array length"));
    if (value->count > FAM_GGUF_ARRAY_MAX) {
        status = refuse(r, FAM_STATUS_BAD_FORMAT, at, "array length", "found %llu, need at most %d",
                        (unsigned long long)value->count, FAM_GGUF_ARRAY_MAX);
        goto done;
    }
    FAM_TRY(value->element_type == FAM_GGUF_STRING ? take_string_elements(r, value)
                                                   : take_scalars(r, value, value->element_type, value->count));
done:
    return status;
}

static fam_status read_value(reader *r, size_t index)
{
    fam_status status = FAM_OK;
    fam_gguf_value *value = &r->gguf->values[index];
    FAM_TRY(take_name(r, &value->key, &r->gguf->value_names, index, "key", FAM_GGUF_KEY_BYTES_MAX));
    FAM_TRY(take_type(r, &value->type, "value type"));
    value->element_type = value->type;
    value->count = 1;
    if (value->type == FAM_GGUF_ARRAY) {
        FAM_TRY(take_array(r, value));
    } else if (value->type == FAM_GGUF_STRING) {
        FAM_TRY(take_string(r, &value->data, &value->bytes, FAM_GGUF_STRING_BYTES_MAX, "string"));
        value->count = value->bytes;
    } else {
        FAM_TRY(take_scalars(r, value, value->type, 1));
    }
    r->gguf->value_count = index + 1;
done:
    return status;
}

static fam_status read_metadata(reader *r)
{
    fam_status status = FAM_OK;
    fam_error *error = r->error;
    fam_gguf *gguf = r->gguf;
    size_t count = (size_t)r->keys;
    FAM_TRY_ALLOC(gguf->values, fam_alloc_array(gguf->memory, count, sizeof *gguf->values), gguf->path);
    FAM_FAIL_IF(!fam_name_table_init(&gguf->value_names, gguf->memory, count, (uintptr_t)gguf),
                FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", gguf->path);
    for (size_t i = 0; i < count; i++)
        FAM_TRY(read_value(r, i));
    r->item = NULL;
done:
    return status;
}

/* What the metadata says about the container itself. */
static fam_status read_settings(reader *r)
{
    fam_gguf *gguf = r->gguf;
    gguf->alignment = ALIGNMENT_DEFAULT;
    const fam_gguf_value *value = fam_gguf_find(gguf, "general.alignment");
    if (value) {
        bool number = value->type == FAM_GGUF_U32;
        uint32_t alignment = number ? fam_read_u32(value->data) : 0;
        if (!number || alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > FAM_GGUF_ALIGNMENT_MAX)
            return fam_error_set(
                r->error, FAM_STATUS_BAD_FORMAT,
                "%s: alignment: key 'general.alignment', byte %zu: found %s %u, need a u32, a power of "
                "two up to %d",
                gguf->path, (size_t)(value->data - r->cursor.data), fam_gguf_type_name(value->type), alignment,
                FAM_GGUF_ALIGNMENT_MAX);
        gguf->alignment = alignment;
    }
    int64_t parts = 1;
    fam_status status = fam_gguf_get_i64(gguf, "split.count", false, &parts, r->error);
    if (status != FAM_OK)
        return status;
    if (parts > 1)
        return fam_error_set(r->error, FAM_STATUS_UNSUPPORTED,
                             "%s: split model: key 'split.count': found one of %lld parts, need the model in one file "
                             "(llama-gguf-split --merge joins them)",
                             gguf->path, (long long)parts);
    return FAM_OK;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* The dimensions, turned around; *rows is the product of all but the innermost, *row the innermost (1 if none). */
static fam_status read_shape(reader *r, fam_tensor *tensor, int64_t *row, int64_t *rows)
{
    size_t at = r->cursor.at;
    uint32_t dims = 0;
    fam_status status = take(r, &dims, sizeof dims, "number of dimensions");
    if (status != FAM_OK)
        return status;
    if (dims > FAM_TENSOR_DIMS_MAX)
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, "number of dimensions", "found %u, need at most %d", dims,
                      FAM_TENSOR_DIMS_MAX);
    tensor->n_dims = (int)dims;
    *row = *rows = 1;
    for (uint32_t i = 0; i < dims; i++) {
        uint64_t dim = 0;
        int64_t elements;
        at = r->cursor.at;
        status = take(r, &dim, sizeof dim, "dimension");
        if (status != FAM_OK)
            return status;
        if (dim == 0 || dim > INT64_MAX)
            return refuse(r, FAM_STATUS_BAD_FORMAT, at, "dimension", "found %llu, need 1 to %lld",
                          (unsigned long long)dim, (long long)INT64_MAX);
        tensor->shape[dims - 1 - i] = (int64_t)dim;
        int64_t *product = i == 0 ? row : rows;
        if (!fam_mul_i64(product, *product, (int64_t)dim) || !fam_mul_i64(&elements, *row, *rows))
            return refuse(r, FAM_STATUS_BAD_FORMAT, at, "dimension",
                          "found %llu, need a product of all dimensions up to %lld", (unsigned long long)dim,
                          (long long)INT64_MAX);
    }
    return FAM_OK;
}

static fam_status read_tensor_type(reader *r, fam_tensor *tensor)
{
    size_t at = r->cursor.at;
    uint32_t id = 0;
    fam_status status = take(r, &id, sizeof id, "tensor type");
    if (status != FAM_OK)
        return status;
    if (fam_type_from_gguf(&tensor->type, id))
        return FAM_OK;
    const char *name = fam_gguf_id_name(id);
    if (name)
        return refuse(r, FAM_STATUS_UNSUPPORTED, at, "tensor type",
                      "found type %u, %s, which is not supported, need one of %s", id, name, fam_type_names());
    return refuse(r, FAM_STATUS_UNSUPPORTED, at, "tensor type", "found type %u, which is not known, need one of %s", id,
                  fam_type_names());
}

/* Tensors lie one after another, as ggml demands too: so none overlap, and no gap can hide anything. */
static fam_status read_offset(reader *r, const fam_tensor *tensor)
{
    size_t at = r->cursor.at, padded = 0;
    uint64_t offset = 0;
    fam_status status = take(r, &offset, sizeof offset, "tensor offset");
    if (status != FAM_OK)
        return status;
    if (offset % r->gguf->alignment != 0)
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, "tensor offset", "found %llu, need a multiple of %zu",
                      (unsigned long long)offset, r->gguf->alignment);
    if (offset != r->data_bytes)
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, "tensor offset",
                      "found %llu (%s), need %zu, where the tensor before it ends, padded", (unsigned long long)offset,
                      offset < r->data_bytes ? "backwards or overlapping" : "a hole before it", r->data_bytes);
    if (!fam_add_size(&padded, tensor->bytes, r->gguf->alignment - 1) ||
        !fam_add_size(&r->data_bytes, r->data_bytes, padded - padded % r->gguf->alignment))
        return refuse(r, FAM_STATUS_BAD_FORMAT, at, "tensor size", "found %zu bytes at %llu, need an end below 2^64",
                      tensor->bytes, (unsigned long long)offset);
    return FAM_OK;
}

static fam_status read_tensor(reader *r, size_t index)
{
    fam_status status = FAM_OK;
    fam_tensor *tensor = &r->gguf->tensors[index];
    int64_t row = 1, rows = 1;
    FAM_TRY(take_name(r, &tensor->name, &r->gguf->tensor_names, index, "tensor", FAM_GGUF_TENSOR_NAME_MAX));
    size_t at = r->cursor.at;
    FAM_TRY(read_shape(r, tensor, &row, &rows));
    FAM_TRY(read_tensor_type(r, tensor));
    int64_t block = fam_type_block_elements(tensor->type);
    if (row % block != 0) {
        status = refuse(r, FAM_STATUS_BAD_FORMAT, at, "tensor shape",
                        "found %lld elements in a row of type %s, need a multiple of %lld", (long long)row,
                        fam_type_name(tensor->type), (long long)block);
        goto done;
    }
    size_t row_bytes = 0;
    if (!fam_type_row_bytes(&row_bytes, tensor->type, row) || !fam_mul_size(&tensor->bytes, row_bytes, (size_t)rows)) {
        status = refuse(r, FAM_STATUS_BAD_FORMAT, at, "tensor shape",
                        "found %lld rows of %lld elements of type %s, need less than 2^64 bytes", (long long)rows,
                        (long long)row, fam_type_name(tensor->type));
        goto done;
    }
    FAM_TRY(read_offset(r, tensor));
    r->gguf->tensor_count = index + 1;
done:
    return status;
}

static fam_status read_tensors(reader *r)
{
    fam_status status = FAM_OK;
    fam_error *error = r->error;
    fam_gguf *gguf = r->gguf;
    size_t count = (size_t)r->tensors;
    FAM_TRY_ALLOC(gguf->tensors, fam_alloc_array(gguf->memory, count, sizeof *gguf->tensors), gguf->path);
    FAM_FAIL_IF(!fam_name_table_init(&gguf->tensor_names, gguf->memory, count, (uintptr_t)gguf),
                FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", gguf->path);
    for (size_t i = 0; i < count; i++)
        FAM_TRY(read_tensor(r, i));
    r->item = NULL;
done:
    return status;
}

static size_t pad(size_t at, size_t alignment)
{
    return (at + alignment - 1) / alignment * alignment;
}

/* Points every tensor to its data, now that it is known where the data begin. *end is where they end, padded. */
static fam_status place_tensors(reader *r, size_t *end)
{
    size_t alignment = r->gguf->alignment, at = pad(r->cursor.at, alignment), size = r->cursor.size;
    for (uint64_t i = 0; i < r->gguf->tensor_count; i++) {
        fam_tensor *tensor = &r->gguf->tensors[i];
        if (at > size || tensor->bytes > size - at) {
            r->kind = "tensor";
            r->item = tensor->name;
            return refuse(r, FAM_STATUS_BAD_FORMAT, at, "tensor data",
                          "found the end of the file at byte %zu, need %zu bytes", size, tensor->bytes);
        }
        tensor->data = r->cursor.data + at;
        at = pad(at + tensor->bytes, alignment);
    }
    *end = at;
    return FAM_OK;
}

fam_status fam_gguf_read(fam_gguf *gguf, const uint8_t *data, size_t size, fam_gguf_warn warn, void *warn_context,
                         fam_error *error)
{
    fam_status status = FAM_OK;
    reader r = {.gguf = gguf, .cursor = {.data = data, .size = size}, .error = error};
    size_t end = 0;
    FAM_TRY(read_header(&r));
    FAM_TRY(read_metadata(&r));
    FAM_TRY(read_settings(&r));
    FAM_TRY(read_tensors(&r));
    FAM_TRY(place_tensors(&r, &end));
    if (end < size && warn) {
        fam_error line;
        fam_error_set(&line, FAM_OK, "%s: trailing bytes: byte %zu: found %zu bytes after the last tensor, need none",
                      gguf->path, end, size - end);
        warn(warn_context, line.message);
    }
done:
    return status;
}
