/*
 * format/gguf_write.c: see gguf_write.h; the layout of the file stands in gguf_read.c.
 */
#include "format/gguf_write.h"

#include <string.h>

#include "base/file.h"

enum { VERSION = 3, ALIGNMENT = 32 };

struct fam_gguf_writer {
    fam_memory *memory;
    uint8_t *bytes; /* metadata, then the table of tensors */
    size_t size, capacity;
    uint64_t keys;
    bool short_of_memory;
    fam_atomic_file *file; /* from begin on */
    size_t *sizes;         /* of the tensors' data */
    int64_t count, at;     /* tensors; the one whose data comes next */
    size_t done;           /* bytes of it that were written */
};

fam_status fam_gguf_writer_create(fam_gguf_writer **out, fam_memory *memory, fam_error *error)
{
    fam_gguf_writer *writer = fam_alloc_zeroed(memory, sizeof *writer);
    if (!writer)
        return fam_out_of_memory(error, "GGUF writer");
    writer->memory = memory;
    *out = writer;
    return FAM_OK;
}

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

static void put(fam_gguf_writer *writer, const void *data, size_t size)
{
    size_t need;
    if (writer->short_of_memory)
        return;
    if (!fam_add_size(&need, writer->size, size) || need > SIZE_MAX / 2) {
        writer->short_of_memory = true;
        return;
    }
    if (need > writer->capacity) {
        size_t capacity = need + need / 2 + 256;
        uint8_t *grown = fam_realloc(writer->memory, writer->bytes, capacity);
        if (!grown) {
            writer->short_of_memory = true;
            return;
        }
        writer->bytes = grown;
        writer->capacity = capacity;
    }
    if (size > 0)
        memcpy(writer->bytes + writer->size, data, size);
    writer->size = need;
}

static void put_number(fam_gguf_writer *writer, uint64_t value, size_t bytes)
{
    uint8_t little[8];
    for (size_t i = 0; i < bytes; i++)
        little[i] = (uint8_t)(value >> 8 * i);
    put(writer, little, bytes);
}

void fam_gguf_put_element(fam_gguf_writer *writer, const char *text, size_t length)
{
    put_number(writer, length, 8);
    put(writer, text, length);
}

void fam_gguf_put_elements(fam_gguf_writer *writer, const void *data, size_t size)
{
    put(writer, data, size);
}

static void put_key(fam_gguf_writer *writer, const char *key, fam_gguf_type type)
{
    writer->keys++;
    fam_gguf_put_element(writer, key, strlen(key));
    put_number(writer, type, 4);
}

void fam_gguf_put_u32(fam_gguf_writer *writer, const char *key, uint32_t value)
{
    put_key(writer, key, FAM_GGUF_U32);
    put_number(writer, value, 4);
}

void fam_gguf_put_f32(fam_gguf_writer *writer, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_key(writer, key, FAM_GGUF_F32);
    put_number(writer, bits, 4);
}

void fam_gguf_put_bool(fam_gguf_writer *writer, const char *key, bool value)
{
    put_key(writer, key, FAM_GGUF_BOOL);
    put_number(writer, value, 1);
}

void fam_gguf_put_string(fam_gguf_writer *writer, const char *key, const char *text, size_t length)
{
    put_key(writer, key, FAM_GGUF_STRING);
    fam_gguf_put_element(writer, text, length);
}

void fam_gguf_put_array(fam_gguf_writer *writer, const char *key, fam_gguf_type element, uint64_t count)
{
    put_key(writer, key, FAM_GGUF_ARRAY);
    put_number(writer, element, 4);
    put_number(writer, count, 8);
}

void fam_gguf_put_copy(fam_gguf_writer *writer, const fam_gguf_value *value)
{
    if (value->type == FAM_GGUF_ARRAY)
        fam_gguf_put_array(writer, value->key, value->element_type, value->count);
    else
        put_key(writer, value->key, value->type);
    if (value->type == FAM_GGUF_STRING)
        put_number(writer, value->count, 8);
    put(writer, value->data, value->bytes);
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static size_t padding_of(size_t size)
{
    return -size & (ALIGNMENT - 1);
}

/* Adds a tensor to the table, its data at *offset, and moves that behind it. */
static fam_status put_tensor(fam_gguf_writer *writer, const fam_tensor *tensor, size_t *offset, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t bytes = 0, row = 0, end;
    size_t length = strlen(tensor->name);
    FAM_FAIL_IF(length == 0 || length > FAM_GGUF_TENSOR_NAME_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "tensor \"%.200s\": name: found %zu bytes, need 1 to %d", tensor->name, length,
                FAM_GGUF_TENSOR_NAME_MAX);
    FAM_FAIL_IF(tensor->n_dims < 1 || tensor->n_dims > FAM_TENSOR_DIMS_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "tensor \"%s\": shape: found %d dimensions, need 1 to %d", tensor->name, tensor->n_dims,
                FAM_TENSOR_DIMS_MAX);
    bool fits = fam_type_row_bytes(&row, tensor->type, tensor->shape[tensor->n_dims - 1]);
    bytes = row;
    for (int i = 0; i < tensor->n_dims; i++) {
        fits = fits && tensor->shape[i] > 0;
        if (i < tensor->n_dims - 1)
            fits = fits && fam_mul_size(&bytes, bytes, (size_t)tensor->shape[i]);
    }
    FAM_FAIL_IF(!fits || bytes != tensor->bytes, FAM_STATUS_INVALID_ARGUMENT,
                "tensor \"%s\": size: found %zu bytes, need what its shape says, %zu", tensor->name, tensor->bytes,
                bytes);
    FAM_FAIL_IF(!fam_add_size(&end, *offset, bytes) || !fam_add_size(&end, end, padding_of(bytes)),
                FAM_STATUS_INVALID_ARGUMENT, "tensor \"%s\": size: found more than a file can hold, need less",
                tensor->name);
    fam_gguf_put_element(writer, tensor->name, length);
    put_number(writer, (uint64_t)tensor->n_dims, 4);
    for (int i = tensor->n_dims; i-- > 0;)
        put_number(writer, (uint64_t)tensor->shape[i], 8);
    put_number(writer, fam_type_gguf_id(tensor->type), 4);
    put_number(writer, *offset, 8);
    *offset = end;
done:
    return status;
}

static fam_status write_head(fam_gguf_writer *writer, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    static const uint8_t zeros[ALIGNMENT];
    uint8_t head[24] = {'G', 'G', 'U', 'F', VERSION};
    for (int i = 0; i < 8; i++) {
        head[8 + i] = (uint8_t)((uint64_t)writer->count >> 8 * i);
        head[16 + i] = (uint8_t)(writer->keys >> 8 * i);
    }
    FAM_TRY(fam_atomic_file_begin(&writer->file, writer->memory, path, FAM_FILE_SHARED, error));
    FAM_TRY(fam_atomic_file_write(writer->file, head, sizeof head, error));
    FAM_TRY(fam_atomic_file_write(writer->file, writer->bytes, writer->size, error));
    FAM_TRY(fam_atomic_file_write(writer->file, zeros, padding_of(sizeof head + writer->size), error));
done:
    return status;
}

fam_status fam_gguf_writer_begin(fam_gguf_writer *writer, const char *path, const fam_tensor *tensors, int64_t count,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    size_t offset = 0;
    FAM_TRY_ALLOC(writer->sizes, fam_alloc_array(writer->memory, (size_t)count, sizeof *writer->sizes), path);
    writer->count = count;
    for (int64_t i = 0; i < count; i++) {
        status = put_tensor(writer, &tensors[i], &offset, error);
        if (status != FAM_OK)
            return fam_error_prefix(error, status, path);
        writer->sizes[i] = tensors[i].bytes;
    }
    FAM_FAIL_IF(writer->short_of_memory, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", path);
    FAM_TRY(write_head(writer, path, error));
done:
    return status;
}

fam_status fam_gguf_writer_append(fam_gguf_writer *writer, const void *data, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    static const uint8_t zeros[ALIGNMENT];
    size_t left = writer->at < writer->count ? writer->sizes[writer->at] - writer->done : 0;
    FAM_FAIL_IF(size > left, FAM_STATUS_INVALID_ARGUMENT,
                "GGUF: data: found %zu bytes, need at most the %zu left of a tensor", size, left);
    FAM_TRY(fam_atomic_file_write(writer->file, data, size, error));
    writer->done += size;
    if (size == left && writer->at < writer->count) {
        FAM_TRY(fam_atomic_file_write(writer->file, zeros, padding_of(writer->sizes[writer->at]), error));
        writer->at++;
        writer->done = 0;
    }
done:
    return status;
}

fam_status fam_gguf_writer_commit(fam_gguf_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(!writer->file || writer->at < writer->count, FAM_STATUS_INVALID_ARGUMENT,
                "GGUF: data: found %lld tensors, need %lld", (long long)writer->at, (long long)writer->count);
    status = fam_atomic_file_commit(writer->file, error);
    writer->file = NULL;
done:
    fam_gguf_writer_abort(writer);
    return status;
}

void fam_gguf_writer_abort(fam_gguf_writer *writer)
{
    if (!writer)
        return;
    fam_atomic_file_abort(writer->file);
    fam_free(writer->memory, writer->sizes);
    fam_free(writer->memory, writer->bytes);
    fam_free(writer->memory, writer);
}
