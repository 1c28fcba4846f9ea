/*
 * format/safetensors.c: reading safetensors files; tensors are known by name, type and shape, never by meaning.
 *
 *   8 bytes   N, little-endian                               2 <= N <= 100,000,000
 *   N bytes   JSON object, UTF-8, begins with '{', may end with spaces:
 *               "<name>": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...
 *               "__metadata__": {"<string>": "<string>", ...}     optional
 *   rest      data; offsets count from here; the tensors cover it without holes or overlaps
 *
 * The header is walked member by member, so that memory is bounded by names and table whatever the JSON holds.
 */
#include "format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/utf8.h"
#include "format/json.h"

enum {
    ENTRY_TEXT_MAX = 4096,       /* bytes of JSON that describe one tensor */
    METADATA_TEXT_MAX = 2 << 20, /* of "__metadata__" */
};

typedef struct entry {
    fam_tensor tensor; /* type and shape hold only if usable */
    const char *dtype;
    size_t begin, end;
    int n_dims;
    bool usable;
} entry;

struct fam_safetensors {
    fam_memory *memory;
    fam_mapping mapping;
    char *path;
    char *names; /* all names, each NUL-terminated */
    size_t names_used;
    entry *entries; /* usable ones first, then by place in the file */
    entry **by_name;
    size_t count, usable, capacity;
};

typedef struct dtype {
    const char *name;
    unsigned bits;
    int type; /* fam_type, or -1 */
} dtype;

static const dtype dtypes[] = {
    {"F32", 32, FAM_TYPE_F32},
    {"F16", 16, FAM_TYPE_F16},
    {"BF16", 16, FAM_TYPE_BF16},
    {"F64", 64, -1},
    {"I64", 64, -1},
    {"I32", 32, -1},
    {"I16", 16, -1},
    {"I8", 8, -1},
    {"U64", 64, -1},
    {"U32", 32, -1},
    {"U16", 16, -1},
    {"U8", 8, -1},
    {"BOOL", 8, -1},
    {"C64", 64, -1},
    {"F8_E4M3", 8, -1},
    {"F8_E5M2", 8, -1},
    {"F8_E8M0", 8, -1},
    {"F8_E4M3FNUZ", 8, -1},
    {"F8_E5M2FNUZ", 8, -1},
    {"F6_E2M3", 6, -1},
    {"F6_E3M2", 6, -1},
    {"F4", 4, -1},
};

static const dtype *find_dtype(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return &dtypes[i];
    return NULL;
}

/* One tensor's description while it is read; `where` is "<file>: tensor <name>". */
typedef struct reading {
    const char *where;
    fam_error *error;
} reading;

static fam_status read_shape(entry *out, json_t *array, uint64_t *elements, const reading *at)
{
    fam_error *error = at->error;
    fam_status status = FAM_OK;
    int64_t product = 1;
    size_t dims = json_array_size(array);
    FAM_FAIL_IF(dims > FAM_SAFETENSORS_DIMS_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: shape: found %zu dimensions, need at most %d", at->where, dims, FAM_SAFETENSORS_DIMS_MAX);
    for (size_t i = 0; i < dims; i++) {
        char words[FAM_JSON_WORDS_SIZE];
        const json_t *item = json_array_get(array, i);
        FAM_FAIL_IF(!json_is_integer(item) || json_integer_value(item) < 0, FAM_STATUS_BAD_FORMAT,
                    "%s: shape: dimension %zu: found %s, need an integer of at least 0", at->where, i,
                    fam_json_words(item, words));
        int64_t length = json_integer_value(item);
        FAM_FAIL_IF(!fam_mul_i64(&product, product, length), FAM_STATUS_BAD_FORMAT,
                    "%s: shape: found more than 2^63 elements, need as many as the file holds", at->where);
        if (i < FAM_TENSOR_DIMS_MAX)
            out->tensor.shape[i] = length;
    }
    out->n_dims = (int)dims;
    *elements = (uint64_t)product;
done:
    return status;
}

static fam_status read_offsets(entry *out, json_t *array, size_t data_size, const reading *at)
{
    fam_error *error = at->error;
    fam_status status = FAM_OK;
    char words[FAM_JSON_WORDS_SIZE];
    FAM_FAIL_IF(json_array_size(array) != 2, FAM_STATUS_BAD_FORMAT, "%s: data_offsets: found %zu numbers, need 2",
                at->where, json_array_size(array));
    for (size_t i = 0; i < 2; i++) {
        const json_t *item = json_array_get(array, i);
        FAM_FAIL_IF(!json_is_integer(item) || json_integer_value(item) < 0, FAM_STATUS_BAD_FORMAT,
                    "%s: data_offsets: found %s, need an integer of at least 0", at->where,
                    fam_json_words(item, words));
        FAM_FAIL_IF((uint64_t)json_integer_value(item) > data_size, FAM_STATUS_BAD_FORMAT,
                    "%s: data_offsets: found %s, need at most %zu, the bytes of data in the file", at->where,
                    fam_json_words(item, words), data_size);
    }
    out->begin = (size_t)json_integer_value(json_array_get(array, 0));
    out->end = (size_t)json_integer_value(json_array_get(array, 1));
    FAM_FAIL_IF(out->begin > out->end, FAM_STATUS_BAD_FORMAT, "%s: data_offsets: found [%zu, %zu], need begin <= end",
                at->where, out->begin, out->end);
done:
    return status;
}

static fam_status read_entry(entry *out, json_t *object, size_t data_size, const reading *at)
{
    fam_error *error = at->error;
    fam_status status = FAM_OK;
    const char *name = NULL;
    json_t *shape = NULL, *offsets = NULL;
    uint64_t elements = 0, bits = 0;
    FAM_TRY(fam_json_string(object, at->where, "dtype", true, &name, error));
    FAM_TRY(fam_json_child(object, at->where, "shape", JSON_ARRAY, true, &shape, error));
    FAM_TRY(fam_json_child(object, at->where, "data_offsets", JSON_ARRAY, true, &offsets, error));
    FAM_FAIL_IF(json_object_size(object) != 3, FAM_STATUS_BAD_FORMAT,
                "%s: found %zu members, need dtype, shape and data_offsets only", at->where, json_object_size(object));
    const dtype *type = find_dtype(name);
    FAM_FAIL_IF(!type, FAM_STATUS_BAD_FORMAT, "%s: dtype: found \"%.40s\", need a type of the safetensors format",
                at->where, name);
    FAM_TRY(read_shape(out, shape, &elements, at));
    FAM_TRY(read_offsets(out, offsets, data_size, at));
    bool fits = !__builtin_mul_overflow(elements, (uint64_t)type->bits, &bits);
    FAM_FAIL_IF(!fits || bits % 8 != 0 || bits / 8 != out->end - out->begin, FAM_STATUS_BAD_FORMAT,
                "%s: data_offsets: found %zu bytes, need %llu elements of %u bits", at->where, out->end - out->begin,
                (unsigned long long)elements, type->bits);
    out->dtype = type->name;
    out->usable = type->type >= 0 && out->n_dims <= FAM_TENSOR_DIMS_MAX;
    out->tensor.type = out->usable ? (fam_type)type->type : FAM_TYPE_COUNT;
    out->tensor.n_dims = out->n_dims;
    out->tensor.bytes = out->end - out->begin;
done:
    return status;
}

static fam_status check_metadata(const json_t *object, const char *path, fam_error *error)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: __metadata__: found no object, need one", path);
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char words[FAM_JSON_WORDS_SIZE];
        if (!json_is_string(value))
            return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: __metadata__: %.64s: found %s, need a string", path,
                                 key, fam_json_words(value, words));
    }
    return FAM_OK;
}

/* Room for one more entry. */
static fam_status grow(fam_safetensors *file, fam_error *error)
{
    fam_status status = FAM_OK;
    if (file->count == file->capacity) {
        size_t capacity = file->capacity ? 2 * file->capacity : 64, bytes = 0;
        entry *entries = NULL;
        if (fam_mul_size(&bytes, capacity, sizeof *entries))
            entries = fam_realloc(file->memory, file->entries, bytes);
        if (!entries)
            return fam_out_of_memory(error, file->path);
        file->entries = entries;
        file->capacity = capacity;
    }
    return status;
}

static fam_status add_tensor(fam_safetensors *file, const json_t *key, json_t *value, size_t data_size,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    char where[2 * FAM_ERROR_SIZE];
    const char *name = json_string_value(key);
    size_t length = json_string_length(key);
    snprintf(where, sizeof where, "%.900s: tensor \"%.200s\"", file->path, name);
    const reading at = {where, error};
    FAM_FAIL_IF(length == 0 || length > FAM_SAFETENSORS_NAME_MAX, FAM_STATUS_BAD_FORMAT,
                "%s: name: found %zu bytes, need 1 to %d", where, length, FAM_SAFETENSORS_NAME_MAX);
    FAM_FAIL_IF(!json_is_object(value), FAM_STATUS_BAD_FORMAT, "%s: found no object, need one", where);
    FAM_TRY(grow(file, error));
    entry *out = &file->entries[file->count];
    *out = (entry){0};
    FAM_TRY(read_entry(out, value, data_size, &at));
    /* every name is shorter than its text in the header, so the block that `names` points to has room for all */
    out->tensor.name = memcpy(file->names + file->names_used, name, length + 1);
    file->names_used += length + 1;
    file->count++;
    file->usable += out->usable;
done:
    return status;
}

static fam_status read_header(fam_safetensors *file, const char *text, size_t size, size_t data_size, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_json_walk walk = {file->path, text, size, 0};
    json_t *key = NULL, *value = NULL;
    bool metadata = false;
    for (;;) {
        size_t value_at, value_size;
        FAM_TRY(fam_json_walk_next(&walk, &key, &value_at, &value_size, error));
        if (!key)
            break;
        bool is_metadata = strcmp(json_string_value(key), "__metadata__") == 0;
        FAM_FAIL_IF(is_metadata && metadata, FAM_STATUS_BAD_FORMAT, "%s: __metadata__: found it twice, need it once",
                    file->path);
        FAM_TRY(fam_json_walk_value(&value, &walk, value_at, value_size,
                                    is_metadata ? METADATA_TEXT_MAX : ENTRY_TEXT_MAX, error));
        FAM_TRY(is_metadata ? check_metadata(value, file->path, error)
                            : add_tensor(file, key, value, data_size, error));
        metadata = metadata || is_metadata;
        json_decref(key);
        json_decref(value);
        key = value = NULL;
    }
done:
    json_decref(key);
    json_decref(value);
    return status;
}

static int compare_place(const entry *a, const entry *b)
{
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return strcmp(a->tensor.name, b->tensor.name);
}

static int by_place(const void *a, const void *b)
{
    return compare_place(a, b);
}

static int by_use(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return x->usable != y->usable ? y->usable - x->usable : compare_place(x, y);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(entry *const *)a)->tensor.name, (*(entry *const *)b)->tensor.name);
}

/* The tensors must cover the data exactly. */
static fam_status check_places(const fam_safetensors *file, size_t data_size, fam_error *error)
{
    size_t covered = 0;
    for (size_t i = 0; i < file->count; i++) {
        const entry *e = &file->entries[i];
        if (e->begin != covered)
            return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                                 "%s: tensor \"%.200s\": data_offsets: found begin %zu, need %zu (%s)", file->path,
                                 e->tensor.name, e->begin, covered, e->begin < covered ? "it overlaps" : "a hole");
        covered = e->end;
    }
    if (covered != data_size)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                             "%s: data: found %zu bytes after the header, need %zu, where the last tensor ends",
                             file->path, data_size, covered);
    return FAM_OK;
}

/* Sorts entries and names, and finds what is only seen in order: holes, overlaps, duplicates. */
static fam_status finish(fam_safetensors *file, const uint8_t *data, size_t data_size, fam_error *error)
{
    fam_status status = FAM_OK;
    if (file->count > 0)
        qsort(file->entries, file->count, sizeof *file->entries, by_place);
    FAM_TRY(check_places(file, data_size, error));
    if (file->usable < file->count)
        qsort(file->entries, file->count, sizeof *file->entries, by_use);
    FAM_TRY_ALLOC(file->by_name, fam_alloc_array(file->memory, file->count, sizeof *file->by_name), file->path);
    for (size_t i = 0; i < file->count; i++) {
        file->entries[i].tensor.data = data + file->entries[i].begin;
        file->by_name[i] = &file->entries[i];
    }
    if (file->count > 0)
        qsort(file->by_name, file->count, sizeof *file->by_name, by_name);
    for (size_t i = 1; i < file->count; i++) {
        const char *name = file->by_name[i]->tensor.name;
        FAM_FAIL_IF(strcmp(name, file->by_name[i - 1]->tensor.name) == 0, FAM_STATUS_BAD_FORMAT,
                    "%s: tensor \"%.200s\": found it twice, need it once", file->path, name);
    }
done:
    return status;
}

/* Takes over `mapping`, in any case. */
static fam_status parse(fam_safetensors **out, fam_memory *memory, const char *name, const uint8_t *data, size_t size,
                        fam_mapping *mapping, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_safetensors *file = NULL;
    FAM_TRY_ALLOC(file, fam_alloc_zeroed(memory, sizeof *file), name);
    file->memory = memory;
    file->mapping = *mapping;
    *mapping = (fam_mapping){0};
    FAM_TRY_ALLOC(file->path, fam_strdup(memory, name), name);
    FAM_FAIL_IF(size < 8, FAM_STATUS_BAD_FORMAT, "%s: header: found %zu bytes, need at least 8 for a safetensors file",
                name, size);
    uint64_t header = fam_read_u64(data);
    FAM_FAIL_IF(header < 2 || header > FAM_SAFETENSORS_HEADER_MAX || header > size - 8, FAM_STATUS_BAD_FORMAT,
                "%s: header length: byte 0: found %llu, need 2 to %zu (is it a safetensors file?)", name,
                (unsigned long long)header,
                size - 8 < FAM_SAFETENSORS_HEADER_MAX ? size - 8 : (size_t)FAM_SAFETENSORS_HEADER_MAX);
    const char *text = (const char *)data + 8;
    FAM_FAIL_IF(text[0] != '{', FAM_STATUS_BAD_FORMAT, "%s: header: byte 8: found 0x%02x, need '{'", name,
                (unsigned char)text[0]);
    FAM_FAIL_IF(!fam_utf8_valid(data + 8, header), FAM_STATUS_BAD_FORMAT,
                "%s: header: found bytes that are not UTF-8, need JSON", name);
    FAM_TRY_ALLOC(file->names, fam_alloc(memory, header), name);
    FAM_TRY(read_header(file, text, header, size - 8 - header, error));
    FAM_TRY(finish(file, data + 8 + header, size - 8 - header, error));
    *out = file;
    file = NULL;
done:
    fam_safetensors_free(file);
    fam_mapping_close(mapping);
    return status;
}

fam_status fam_safetensors_parse(fam_safetensors **out, fam_memory *memory, const char *name, const uint8_t *data,
                                 size_t size, fam_error *error)
{
    fam_mapping none = {0};
    return parse(out, memory, name, data, size, &none, error);
}

fam_status fam_safetensors_open(fam_safetensors **out, fam_memory *memory, const char *path, fam_error *error)
{
    fam_mapping mapping;
    fam_status status = fam_mapping_open(&mapping, path, error);
    if (status != FAM_OK)
        return status;
    return parse(out, memory, path, mapping.data, mapping.size, &mapping, error);
}

void fam_safetensors_free(fam_safetensors *file)
{
    if (!file)
        return;
    fam_memory *memory = file->memory;
    fam_mapping_close(&file->mapping);
    fam_free(memory, file->path);
    fam_free(memory, file->names);
    fam_free(memory, file->entries);
    fam_free(memory, file->by_name);
    fam_free(memory, file);
}

const char *fam_safetensors_path(const fam_safetensors *file)
{
    return file->path;
}

static const entry *find(const fam_safetensors *file, const char *name)
{
    size_t low = 0, high = file->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, file->by_name[middle]->tensor.name);
        if (order == 0)
            return file->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static void describe(const entry *e, fam_safetensors_entry *out)
{
    *out = (fam_safetensors_entry){e->tensor.name, e->dtype, e->n_dims, e->tensor.bytes, e->usable ? &e->tensor : NULL};
}

bool fam_safetensors_find(const fam_safetensors *file, const char *name, fam_safetensors_entry *out)
{
    const entry *e = find(file, name);
    if (e)
        describe(e, out);
    return e != NULL;
}

bool fam_safetensors_entry_at(const fam_safetensors *file, int64_t index, fam_safetensors_entry *out)
{
    if (index < 0 || (uint64_t)index >= file->count)
        return false;
    describe(&file->entries[index], out);
    return true;
}

const fam_tensor *fam_safetensors_tensor(const fam_safetensors *file, const char *name)
{
    const entry *e = find(file, name);
    return e && e->usable ? &e->tensor : NULL;
}

const fam_tensor *fam_safetensors_tensor_at(const fam_safetensors *file, int64_t index)
{
    return index >= 0 && (uint64_t)index < file->usable ? &file->entries[index].tensor : NULL;
}
