/*
 * format/gguf.c: opening and freeing a GGUF file, and asking it for keys and tensors. gguf_read.c reads the bytes.
 *
 * Sizes and counts were checked when the file was read and are kept in the tables; what is read again from the mapping
 * (string lengths) is checked again, because another process may write to the file meanwhile.
 */
#include "format/gguf.h"

#include "base/bytes.h"
#include "format/gguf_private.h"

static fam_status gguf_create(fam_gguf **out, fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gguf *gguf = NULL;
    FAM_TRY_ALLOC(gguf, fam_alloc_zeroed(memory, sizeof *gguf), path);
    gguf->memory = gguf->names.memory = memory;
    FAM_TRY_ALLOC(gguf->path, fam_strdup(memory, path), path);
    *out = gguf;
    gguf = NULL;
done:
    fam_gguf_free(gguf);
    return status;
}

fam_status fam_gguf_open(fam_gguf **out, fam_memory *memory, const char *path, fam_gguf_warn warn, void *warn_context,
                         fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gguf *gguf = NULL;
    FAM_TRY(gguf_create(&gguf, memory, path, error));
    FAM_TRY(fam_mapping_open(&gguf->mapping, path, error));
    FAM_TRY(fam_gguf_read(gguf, gguf->mapping.data, gguf->mapping.size, warn, warn_context, error));
    *out = gguf;
    gguf = NULL;
done:
    fam_gguf_free(gguf);
    return status;
}

fam_status fam_gguf_parse(fam_gguf **out, fam_memory *memory, const char *name, const uint8_t *data, size_t size,
                          fam_gguf_warn warn, void *warn_context, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gguf *gguf = NULL;
    FAM_TRY(gguf_create(&gguf, memory, name, error));
    FAM_TRY(fam_gguf_read(gguf, data, size, warn, warn_context, error));
    *out = gguf;
    gguf = NULL;
done:
    fam_gguf_free(gguf);
    return status;
}

void fam_gguf_free(fam_gguf *gguf)
{
    if (!gguf)
        return;
    fam_memory *memory = gguf->memory;
    fam_mapping_close(&gguf->mapping);
    fam_name_table_free(&gguf->value_names, memory);
    fam_name_table_free(&gguf->tensor_names, memory);
    fam_name_store_free(&gguf->names);
    fam_free(memory, gguf->values);
    fam_free(memory, gguf->tensors);
    fam_free(memory, gguf->path);
    fam_free(memory, gguf);
}

const char *fam_gguf_path(const fam_gguf *gguf)
{
    return gguf->path;
}

uint32_t fam_gguf_version(const fam_gguf *gguf)
{
    return gguf->version;
}

uint64_t fam_gguf_value_count(const fam_gguf *gguf)
{
    return gguf->value_count;
}

uint64_t fam_gguf_tensor_count(const fam_gguf *gguf)
{
    return gguf->tensor_count;
}

const fam_gguf_value *fam_gguf_find(const fam_gguf *gguf, const char *key)
{
    size_t index;
    return fam_name_table_find(&gguf->value_names, key, &index) ? &gguf->values[index] : NULL;
}

const fam_gguf_value *fam_gguf_value_at(const fam_gguf *gguf, uint64_t index)
{
    return index < gguf->value_count ? &gguf->values[index] : NULL;
}

const fam_tensor *fam_gguf_tensor(const fam_gguf *gguf, const char *name)
{
    size_t index;
    return fam_name_table_find(&gguf->tensor_names, name, &index) ? &gguf->tensors[index] : NULL;
}

const fam_tensor *fam_gguf_tensor_at(const fam_gguf *gguf, uint64_t index)
{
    return index < gguf->tensor_count ? &gguf->tensors[index] : NULL;
}

/* ---- typed access ------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    size_t bytes;
} TYPES[FAM_GGUF_TYPE_COUNT] = {
    [FAM_GGUF_U8] = {"u8", 1},       [FAM_GGUF_I8] = {"i8", 1},     [FAM_GGUF_U16] = {"u16", 2},
    [FAM_GGUF_I16] = {"i16", 2},     [FAM_GGUF_U32] = {"u32", 4},   [FAM_GGUF_I32] = {"i32", 4},
    [FAM_GGUF_F32] = {"f32", 4},     [FAM_GGUF_BOOL] = {"bool", 1}, [FAM_GGUF_STRING] = {"string", 0},
    [FAM_GGUF_ARRAY] = {"array", 0}, [FAM_GGUF_U64] = {"u64", 8},   [FAM_GGUF_I64] = {"i64", 8},
    [FAM_GGUF_F64] = {"f64", 8},
};

const char *fam_gguf_type_name(fam_gguf_type type)
{
    return (unsigned)type < FAM_GGUF_TYPE_COUNT ? TYPES[type].name : "unknown";
}

size_t fam_gguf_scalar_bytes(fam_gguf_type type)
{
    return (unsigned)type < FAM_GGUF_TYPE_COUNT ? TYPES[type].bytes : 0;
}

/* Looks a key up; *out is NULL when it is absent and not required. */
static fam_status find_value(const fam_gguf_value **out, const fam_gguf *gguf, const char *key, bool required,
                             const char *need, fam_error *error)
{
    *out = fam_gguf_find(gguf, key);
    if (!*out && required)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: metadata: key '%s': found nothing, need %s", gguf->path,
                             key, need);
    return FAM_OK;
}

static fam_status wrong_type(const fam_gguf *gguf, const fam_gguf_value *value, const char *need, fam_error *error)
{
    bool array = value->type == FAM_GGUF_ARRAY;
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: metadata: key '%s': found %s%s, need %s", gguf->path,
                         value->key, array ? "an array of " : "a value of type ",
                         fam_gguf_type_name(value->element_type), need);
}

/* False if the value is no integer. *negative and *magnitude tell its value. */
static bool read_integer(const fam_gguf_value *value, int64_t *number, bool *too_large)
{
    *too_large = false;
    switch (value->type) {
    case FAM_GGUF_U8:
        *number = *value->data;
        return true;
    case FAM_GGUF_I8:
        *number = (int8_t)*value->data;
        return true;
    case FAM_GGUF_U16:
        *number = fam_read_u16(value->data);
        return true;
    case FAM_GGUF_I16:
        *number = (int16_t)fam_read_u16(value->data);
        return true;
    case FAM_GGUF_U32:
        *number = fam_read_u32(value->data);
        return true;
    case FAM_GGUF_I32:
        *number = (int32_t)fam_read_u32(value->data);
        return true;
    case FAM_GGUF_I64:
        *number = (int64_t)fam_read_u64(value->data);
        return true;
    case FAM_GGUF_U64:
        *number = (int64_t)fam_read_u64(value->data);
        *too_large = *number < 0;
        return true;
    default:
        return false;
    }
}

fam_status fam_gguf_get_i64(const fam_gguf *gguf, const char *key, bool required, int64_t *out, fam_error *error)
{
    static const char need[] = "an integer that is not negative";
    fam_status status = FAM_OK;
    const fam_gguf_value *value;
    int64_t number = 0;
    bool too_large = false;
    FAM_TRY(find_value(&value, gguf, key, required, need, error));
    if (!value)
        goto done;
    if (!read_integer(value, &number, &too_large)) {
        status = wrong_type(gguf, value, need, error);
        goto done;
    }
    FAM_FAIL_IF(too_large, FAM_STATUS_BAD_FORMAT, "%s: metadata: key '%s': found %llu, need at most %lld", gguf->path,
                key, (unsigned long long)number, (long long)INT64_MAX);
    FAM_FAIL_IF(number < 0, FAM_STATUS_BAD_FORMAT, "%s: metadata: key '%s': found %lld, need %s", gguf->path, key,
                (long long)number, need);
    *out = number;
done:
    return status;
}

fam_status fam_gguf_get_f64(const fam_gguf *gguf, const char *key, bool required, double *out, fam_error *error)
{
    static const char need[] = "a floating-point number";
    const fam_gguf_value *value;
    fam_status status = find_value(&value, gguf, key, required, need, error);
    if (status != FAM_OK || !value)
        return status;
    if (value->type == FAM_GGUF_F32)
        *out = fam_read_f32(value->data);
    else if (value->type == FAM_GGUF_F64)
        memcpy(out, value->data, sizeof *out);
    else
        return wrong_type(gguf, value, need, error);
    return FAM_OK;
}

fam_status fam_gguf_get_bool(const fam_gguf *gguf, const char *key, bool required, bool *out, fam_error *error)
{
    static const char need[] = "a bool";
    const fam_gguf_value *value;
    fam_status status = find_value(&value, gguf, key, required, need, error);
    if (status != FAM_OK || !value)
        return status;
    if (value->type != FAM_GGUF_BOOL)
        return wrong_type(gguf, value, need, error);
    *out = *value->data != 0;
    return FAM_OK;
}

fam_status fam_gguf_get_string(const fam_gguf *gguf, const char *key, bool required, const char **out, size_t *length,
                               fam_error *error)
{
    static const char need[] = "a string";
    const fam_gguf_value *value;
    fam_status status = find_value(&value, gguf, key, required, need, error);
    if (status != FAM_OK || !value)
        return status;
    if (value->type != FAM_GGUF_STRING)
        return wrong_type(gguf, value, need, error);
    *out = (const char *)value->data;
    *length = value->bytes;
    return FAM_OK;
}

fam_status fam_gguf_get_array(const fam_gguf *gguf, const char *key, bool required, fam_gguf_type element_type,
                              const fam_gguf_value **out, fam_error *error)
{
    char need[64] = "an array of ";
    strncat(need, fam_gguf_type_name(element_type), sizeof need - 16);
    const fam_gguf_value *value;
    fam_status status = find_value(&value, gguf, key, required, need, error);
    if (status != FAM_OK || !value)
        return status;
    if (value->type != FAM_GGUF_ARRAY || value->element_type != element_type)
        return wrong_type(gguf, value, need, error);
    *out = value;
    return FAM_OK;
}

fam_status fam_gguf_get_strings(const fam_gguf *gguf, const char *key, bool required, fam_gguf_strings *out,
                                fam_error *error)
{
    const fam_gguf_value *value = NULL;
    fam_status status = fam_gguf_get_array(gguf, key, required, FAM_GGUF_STRING, &value, error);
    if (status != FAM_OK)
        return status;
    *out = value ? (fam_gguf_strings){value->data, value->data + value->bytes, value->count} : (fam_gguf_strings){0};
    return FAM_OK;
}

bool fam_gguf_next_string(fam_gguf_strings *strings, const char **out, size_t *length)
{
    size_t left = (size_t)(strings->end - strings->next);
    if (strings->remaining == 0 || left < sizeof(uint64_t))
        return false;
    uint64_t bytes = fam_read_u64(strings->next);
    if (bytes > left - sizeof(uint64_t))
        return false;
    *out = (const char *)strings->next + sizeof(uint64_t);
    *length = (size_t)bytes;
    strings->next += sizeof(uint64_t) + bytes;
    strings->remaining--;
    return true;
}

bool fam_gguf_has_tokenizer(const fam_gguf *gguf)
{
    const fam_gguf_value *model = fam_gguf_find(gguf, "tokenizer.ggml.model");
    const size_t length = strlen(FAM_GGUF_NO_TOKENIZER);
    return model && !(model->type == FAM_GGUF_STRING && model->count == length &&
                      memcmp(model->data, FAM_GGUF_NO_TOKENIZER, length) == 0);
}
