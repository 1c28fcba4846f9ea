/*
 * format/json.c: see json.h.
 */
#include "format/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

_Static_assert(sizeof(json_int_t) == 8, "integers of 64 bits");

fam_status fam_json_parse(json_t **out, const char *name, const char *text, size_t size, fam_error *error)
{
    json_error_t failure;
    if (size > FAM_JSON_BYTES_MAX)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: size: found %zu bytes, need at most %d", name, size,
                             FAM_JSON_BYTES_MAX);
    json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, &failure);
    if (value) {
        *out = value;
        return FAM_OK;
    }
    if (json_error_code(&failure) == json_error_out_of_memory)
        return fam_out_of_memory(error, name);
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                         "%s: not JSON: line %d column %d: found %s, need one JSON object", name, failure.line,
                         failure.column, failure.text);
}

fam_status fam_json_read(json_t **out, fam_memory *memory, const char *path, size_t limit, fam_error *error)
{
    uint8_t *text = NULL;
    size_t size = 0;
    json_t *value = NULL;
    fam_status status = FAM_OK;
    FAM_TRY(fam_file_read(&text, &size, memory, path, limit, error));
    FAM_TRY(fam_json_parse(&value, path, (const char *)text, size, error));
    FAM_FAIL_IF(!json_is_object(value), FAM_STATUS_BAD_FORMAT, "%s: top level: found an array, need an object", path);
    *out = value;
    value = NULL;
done:
    json_decref(value);
    fam_free(memory, text);
    return status;
}

/* The shortest text that says the same numbers; NULL when memory is short. jansson itself would write 0.1 with 17 digits. */
static char *dump(const json_t *value)
{
    for (int digits = 15; digits < 17; digits++) {
        char *text = json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *same = text ? json_loads(text, 0, NULL) : NULL;
        bool exact = same && json_equal(same, value);
        json_decref(same);
        if (exact)
            return text;
        free(text);
    }
    return json_dumps(value, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
}

fam_status fam_json_write(const char *path, fam_memory *memory, const json_t *value, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_atomic_file *file = NULL;
    char *text;
    FAM_TRY_ALLOC(text, dump(value), path);
    FAM_TRY(fam_atomic_file_begin(&file, memory, path, FAM_FILE_SHARED, error));
    FAM_TRY(fam_atomic_file_write(file, text, strlen(text), error));
    FAM_TRY(fam_atomic_file_write(file, "\n", 1, error));
    status = fam_atomic_file_commit(file, error);
    file = NULL;
done:
    fam_atomic_file_abort(file);
    free(text);
    return status;
}

const char *fam_json_words(const json_t *value, char buffer[FAM_JSON_WORDS_SIZE])
{
    if (!value)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        snprintf(buffer, FAM_JSON_WORDS_SIZE, json_string_length(value) > 64 ? "\"%.64s...\"" : "\"%.64s\"",
                 json_string_value(value));
        return buffer;
    case JSON_INTEGER:
        snprintf(buffer, FAM_JSON_WORDS_SIZE, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return buffer;
    case JSON_REAL:
        snprintf(buffer, FAM_JSON_WORDS_SIZE, "the real number %.17g", json_real_value(value));
        return buffer;
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    }
    return "an unknown value";
}

/* Finds a member; *out is NULL when it is missing or null and may be. */
static fam_status find(const json_t **out, const json_t *object, const char *where, const char *key, bool required,
                       const char *need, fam_error *error)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_null(value) || !value) {
        *out = NULL;
        if (required)
            return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %s, need %s", where, key,
                                 value ? "null" : "nothing", need);
        return FAM_OK;
    }
    *out = value;
    return FAM_OK;
}

static fam_status wrong_type(const json_t *value, const char *where, const char *key, const char *need,
                             fam_error *error)
{
    char words[FAM_JSON_WORDS_SIZE];
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %s, need %s", where, key,
                         fam_json_words(value, words), need);
}

fam_status fam_json_i64(const json_t *object, const char *where, const char *key, bool required, int64_t *out,
                        fam_error *error)
{
    const json_t *value;
    fam_status status = find(&value, object, where, key, required, "an integer", error);
    if (status != FAM_OK || !value)
        return status;
    if (!json_is_integer(value))
        return wrong_type(value, where, key, "an integer", error);
    *out = json_integer_value(value);
    return FAM_OK;
}

fam_status fam_json_f64(const json_t *object, const char *where, const char *key, bool required, double *out,
                        fam_error *error)
{
    const json_t *value;
    fam_status status = find(&value, object, where, key, required, "a number", error);
    if (status != FAM_OK || !value)
        return status;
    if (!json_is_number(value))
        return wrong_type(value, where, key, "a number", error);
    *out = json_number_value(value);
    return FAM_OK;
}

fam_status fam_json_bool(const json_t *object, const char *where, const char *key, bool required, bool *out,
                         fam_error *error)
{
    const json_t *value;
    fam_status status = find(&value, object, where, key, required, "true or false", error);
    if (status != FAM_OK || !value)
        return status;
    if (!json_is_boolean(value))
        return wrong_type(value, where, key, "true or false", error);
    *out = json_is_true(value);
    return FAM_OK;
}

fam_status fam_json_string(const json_t *object, const char *where, const char *key, bool required, const char **out,
                           fam_error *error)
{
    const json_t *value;
    fam_status status = find(&value, object, where, key, required, "a string", error);
    if (status != FAM_OK || !value)
        return status;
    if (!json_is_string(value))
        return wrong_type(value, where, key, "a string", error);
    *out = json_string_value(value);
    return FAM_OK;
}

fam_status fam_json_child(json_t *object, const char *where, const char *key, json_type type, bool required,
                          json_t **out, fam_error *error)
{
    const json_t *value;
    const char *need = type == JSON_OBJECT ? "an object" : "an array";
    fam_status status = find(&value, object, where, key, required, need, error);
    if (status != FAM_OK || !value)
        return status;
    if (json_typeof(value) != type)
        return wrong_type(value, where, key, need, error);
    *out = json_object_get(object, key);
    return FAM_OK;
}
