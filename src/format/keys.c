/*
 * format/keys.c: which keys a JSON configuration may have, and numbers within limits. What is in no list is refused by
 * its name, so that nothing that would change the result is passed over.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/model_private.h"

bool fam_key_ignored(const fam_checkpoint_options *options, const char *key)
{
    for (int i = 0; options && i < options->ignored_key_count; i++)
        if (strcmp(options->ignored_keys[i], key) == 0)
            return true;
    return false;
}

void fam_keys_remove(json_t *object, const fam_checkpoint_options *options)
{
    for (int i = 0; options && i < options->ignored_key_count; i++) {
        const char *name = options->ignored_keys[i], *dot = strchr(name, '.');
        if (json_object_del(object, name) == 0 || !dot)
            continue;
        json_t *inner = json_object_getn(object, name, (size_t)(dot - name));
        json_object_del(inner, dot + 1); /* takes NULL, and what is no object */
    }
}

void fam_warn(const fam_checkpoint_options *options, const char *format, ...)
{
    if (!options || !options->warn)
        return;
    fam_error line; /* for its clean single line */
    va_list arguments;
    va_start(arguments, format);
    fam_error_set_v(&line, FAM_OK, format, arguments);
    va_end(arguments);
    options->warn(options->warn_context, line.message);
}

static bool is_empty(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return json_object_size(value) == 0;
    case JSON_ARRAY:
        return json_array_size(value) == 0;
    case JSON_STRING:
        return json_string_length(value) == 0;
    case JSON_INTEGER:
        return json_integer_value(value) == 0;
    case JSON_REAL:
        return json_real_value(value) == 0;
    case JSON_TRUE:
        return false;
    case JSON_FALSE:
    case JSON_NULL:
        return true;
    }
    return false;
}

static const fam_key_rule *find_rule(const fam_key_rule *rules, const char *key)
{
    for (; rules && rules->name; rules++)
        if (strcmp(rules->name, key) == 0)
            return rules;
    return NULL;
}

/* Whether `value` is in the JSON array `need`. */
static fam_status check_value(const char *where, const char *key, const json_t *value, const char *need,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *allowed = NULL;
    char words[FAM_JSON_WORDS_SIZE];
    size_t i = 0;
    FAM_TRY(fam_json_parse(&allowed, where, need, strlen(need), error));
    while (i < json_array_size(allowed) && !json_equal(json_array_get(allowed, i), (json_t *)(uintptr_t)value))
        i++;
    FAM_FAIL_IF(json_array_size(allowed) == 0, FAM_STATUS_UNSUPPORTED,
                "%s: %s: found %s, need nothing (it is not implemented)", where, key, fam_json_words(value, words));
    FAM_FAIL_IF(i == json_array_size(allowed), FAM_STATUS_UNSUPPORTED,
                "%s: %s: found %s, need one of %s (others are not implemented)", where, key,
                fam_json_words(value, words), need);
done:
    json_decref(allowed);
    return status;
}

fam_status fam_keys_check(const json_t *object, const char *where, const fam_key_rule *rules, const fam_key_rule *more,
                          bool empty_is_absent, fam_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (json_is_null(value))
            continue;
        const fam_key_rule *rule = find_rule(rules, key);
        if (!rule)
            rule = find_rule(more, key);
        if (!rule && empty_is_absent && is_empty(value))
            continue;
        char words[FAM_JSON_WORDS_SIZE];
        if (!rule)
            return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                                 "%s: %.128s: found %s, need a key that is implemented or known to be harmless", where,
                                 key, fam_json_words(value, words));
        fam_status status = rule->need ? check_value(where, key, value, rule->need, error) : FAM_OK;
        if (status != FAM_OK)
            return status;
    }
    return FAM_OK;
}

fam_status fam_keys_size(const json_t *object, const char *where, const char *key, bool required, int64_t low,
                         int64_t high, int64_t *out, fam_error *error)
{
    int64_t value = low;
    fam_status status = fam_json_i64(object, where, key, required, &value, error);
    if (status != FAM_OK)
        return status;
    if (value < low || value > high)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %lld, need %lld to %lld", where, key,
                             (long long)value, (long long)low, (long long)high);
    const json_t *given = json_object_get(object, key);
    if (given && !json_is_null(given))
        *out = value;
    return FAM_OK;
}

fam_status fam_keys_positive(const json_t *object, const char *where, const char *key, bool required, double *out,
                             fam_error *error)
{
    double value = *out;
    fam_status status = fam_json_f64(object, where, key, required, &value, error);
    if (status != FAM_OK)
        return status;
    if (!isfinite(value) || value <= 0)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %g, need a finite number above 0", where, key,
                             value);
    *out = value;
    return FAM_OK;
}
