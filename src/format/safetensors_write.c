/*
 * format/safetensors_write.c: writing safetensors files; their layout stands in safetensors.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"
#include "format/safetensors.h"

/* Checks one tensor against its own shape. */
static fam_status check_tensor(const fam_tensor *tensor, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t elements = 1;
    size_t bytes = 0;
    FAM_FAIL_IF(tensor->type != FAM_TYPE_F32 && tensor->type != FAM_TYPE_F16 && tensor->type != FAM_TYPE_BF16,
                FAM_STATUS_INVALID_ARGUMENT, "tensor \"%.200s\": type: found a quantised one, need F32, F16 or BF16",
                tensor->name);
    FAM_FAIL_IF(tensor->n_dims < 0 || tensor->n_dims > FAM_TENSOR_DIMS_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "tensor \"%.200s\": shape: found %d dimensions, need at most %d", tensor->name, tensor->n_dims,
                FAM_TENSOR_DIMS_MAX);
    for (int i = 0; i < tensor->n_dims; i++)
        FAM_FAIL_IF(tensor->shape[i] < 0 || !fam_mul_i64(&elements, elements, tensor->shape[i]),
                    FAM_STATUS_INVALID_ARGUMENT, "tensor \"%.200s\": shape: found a wrong length, need a valid one",
                    tensor->name);
    bool fits = fam_mul_size(&bytes, (size_t)elements, tensor->type == FAM_TYPE_F32 ? 4 : 2);
    FAM_FAIL_IF(!fits || bytes != tensor->bytes, FAM_STATUS_INVALID_ARGUMENT,
                "tensor \"%.200s\": size: found %zu bytes, need %zu", tensor->name, tensor->bytes, bytes);
done:
    return status;
}

/* Adds {"dtype", "shape", "data_offsets"} to the header. Jansson takes NULL values and reports them as a failure. */
static fam_status describe(json_t *header, const fam_tensor *tensor, size_t begin, size_t end, fam_error *error)
{
    const char *name = tensor->name;
    if (!*name || strlen(name) > FAM_SAFETENSORS_NAME_MAX || json_object_get(header, name))
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                             "tensor \"%.200s\": name: found one that is empty, long or used before, need a new one",
                             name);
    json_t *object = json_object(), *shape = json_array(), *offsets = json_array();
    const char *dtype = tensor->type == FAM_TYPE_F32 ? "F32" : tensor->type == FAM_TYPE_F16 ? "F16" : "BF16";
    int failed = json_object_set_new(object, "dtype", json_string(dtype));
    for (int i = 0; i < tensor->n_dims; i++)
        failed |= json_array_append_new(shape, json_integer(tensor->shape[i]));
    failed |= json_array_append_new(offsets, json_integer((json_int_t)begin));
    failed |= json_array_append_new(offsets, json_integer((json_int_t)end));
    failed |= json_object_set_new(object, "shape", shape);
    failed |= json_object_set_new(object, "data_offsets", offsets);
    failed |= json_object_set_new(header, name, object);
    if (failed)
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                             "tensor \"%.200s\": found a name that is not UTF-8, or memory is short", name);
    return FAM_OK;
}

static fam_status make_header(char **out, const fam_tensor *tensors, int64_t count, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t at = 0;
    json_t *header = json_object();
    FAM_FAIL_IF(!header || json_object_set_new(header, "__metadata__", json_pack("{s:s}", "format", "pt")) != 0,
                FAM_STATUS_OUT_OF_MEMORY, "safetensors header: out of memory");
    for (int64_t i = 0; i < count; i++) {
        size_t end;
        FAM_TRY(check_tensor(&tensors[i], error));
        FAM_FAIL_IF(!fam_add_size(&end, at, tensors[i].bytes) || end > INT64_MAX, FAM_STATUS_INVALID_ARGUMENT,
                    "tensor \"%.200s\": size: found more than a file can hold, need less", tensors[i].name);
        FAM_TRY(describe(header, &tensors[i], at, end, error));
        at = end;
    }
    *out = json_dumps(header, JSON_COMPACT);
    FAM_FAIL_IF(!*out, FAM_STATUS_OUT_OF_MEMORY, "safetensors header: out of memory");
done:
    json_decref(header);
    return status;
}

struct fam_safetensors_writer {
    fam_memory *memory;
    fam_atomic_file *file;
    uint64_t left; /* bytes of data that are still to come */
};

fam_status fam_safetensors_begin(fam_safetensors_writer **out, fam_memory *memory, const char *path,
                                 const fam_tensor *tensors, int64_t count, fam_error *error)
{
    fam_status status = FAM_OK;
    char *header = NULL;
    fam_safetensors_writer *writer = NULL;
    status = make_header(&header, tensors, count, error);
    if (status != FAM_OK)
        return fam_error_prefix(error, status, path);
    size_t length = strlen(header), padding = -length & 7; /* the data begins at a multiple of 8 */
    uint64_t total = length + padding;
    FAM_FAIL_IF(total > FAM_SAFETENSORS_HEADER_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "%s: header: found %zu bytes, need at most %d", path, length, FAM_SAFETENSORS_HEADER_MAX);
    FAM_TRY_ALLOC(writer, fam_alloc_zeroed(memory, sizeof *writer), path);
    writer->memory = memory;
    for (int64_t i = 0; i < count; i++)
        writer->left += tensors[i].bytes; /* make_header saw that the sum fits */
    FAM_TRY(fam_atomic_file_begin(&writer->file, memory, path, FAM_FILE_SHARED, error));
    FAM_TRY(fam_atomic_file_write(writer->file, &total, sizeof total, error));
    FAM_TRY(fam_atomic_file_write(writer->file, header, length, error));
    FAM_TRY(fam_atomic_file_write(writer->file, "       ", padding, error));
    *out = writer;
    writer = NULL;
done:
    fam_safetensors_abort(writer);
    free(header);
    return status;
}

fam_status fam_safetensors_append(fam_safetensors_writer *writer, const void *data, size_t size, fam_error *error)
{
    if (size > writer->left)
        return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                             "safetensors: data: found %zu bytes, need at most the %llu that are left", size,
                             (unsigned long long)writer->left);
    writer->left -= size;
    return fam_atomic_file_write(writer->file, data, size, error);
}

fam_status fam_safetensors_commit(fam_safetensors_writer *writer, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(writer->left > 0, FAM_STATUS_INVALID_ARGUMENT, "safetensors: data: found nothing, need %llu more bytes",
                (unsigned long long)writer->left);
    status = fam_atomic_file_commit(writer->file, error);
    writer->file = NULL;
done:
    fam_safetensors_abort(writer);
    return status;
}

void fam_safetensors_abort(fam_safetensors_writer *writer)
{
    if (!writer)
        return;
    fam_atomic_file_abort(writer->file);
    fam_free(writer->memory, writer);
}

fam_status fam_safetensors_write(const char *path, fam_memory *memory, const fam_tensor *tensors, int64_t count,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    fam_safetensors_writer *writer = NULL;
    FAM_TRY(fam_safetensors_begin(&writer, memory, path, tensors, count, error));
    for (int64_t i = 0; i < count; i++)
        FAM_TRY(fam_safetensors_append(writer, tensors[i].data, tensors[i].bytes, error));
    status = fam_safetensors_commit(writer, error);
    writer = NULL;
done:
    fam_safetensors_abort(writer);
    return status;
}
