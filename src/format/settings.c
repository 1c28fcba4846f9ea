/*
 * format/settings.c: FAM settings by the names that files use, and their limits. Knows nothing of what they do.
 */
#include <stdio.h>
#include <string.h>

#include "fam/modes.h"
#include "format/gguf_write.h"
#include "format/model_private.h"

fam_settings fam_settings_none(void)
{
    return (fam_settings){-1, -1, -1, -1, -1, -1, -1};
}

void fam_settings_merge(fam_settings *settings, const fam_settings *later)
{
    if (later->mode >= 0)
        settings->mode = later->mode;
    if (later->block_size >= 0)
        settings->block_size = later->block_size;
    if (later->memory_segments >= 0)
        settings->memory_segments = later->memory_segments;
    if (later->fam_length >= 0)
        settings->fam_length = later->fam_length;
    if (later->window >= 0)
        settings->window = later->window;
    if (later->state_norm >= 0)
        settings->state_norm = later->state_norm;
    if (later->fam_positions >= 0)
        settings->fam_positions = later->fam_positions;
}

/* A setting that is one of a few words. */
typedef struct choice {
    const char *key;
    size_t at; /* of the int in fam_settings */
    const char *(*name)(int value);
} choice;

static const choice choices[] = {
    {"mode", offsetof(fam_settings, mode), fam_mode_name},
    {"state_norm", offsetof(fam_settings, state_norm), fam_state_norm_name},
    {"fam_positions", offsetof(fam_settings, fam_positions), fam_positions_name},
};

typedef struct number {
    const char *key;
    size_t at; /* of the int64_t in fam_settings */
    int64_t low, high;
} number;

static const number numbers[] = {
    {"block_size", offsetof(fam_settings, block_size), 1, FAM_SETTING_LENGTH_MAX},
    {"memory_segments", offsetof(fam_settings, memory_segments), 0, FAM_MEMORY_SEGMENTS_MAX},
    {"fam_length", offsetof(fam_settings, fam_length), 1, FAM_SETTING_LENGTH_MAX},
    {"window", offsetof(fam_settings, window), 1, FAM_SETTING_LENGTH_MAX},
};

static const choice *find_choice(const char *key)
{
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (strcmp(choices[i].key, key) == 0)
            return &choices[i];
    return NULL;
}

static const number *find_number(const char *key)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(numbers[i].key, key) == 0)
            return &numbers[i];
    return NULL;
}

/* The key is none at all, or one whose value has another type. */
static fam_status wrong_key(const char *where, const char *key, const char *found, fam_error *error)
{
    if (find_number(key))
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %s, need an integer", where, key, found);
    if (find_choice(key))
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %s, need a string", where, key, found);
    return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                         "%s: %.64s: found an unknown FAM setting, need mode, block_size, memory_segments, fam_length, "
                         "state_norm, fam_positions or window",
                         where, key);
}

fam_status fam_settings_set_text(fam_settings *settings, const char *where, const char *key, const char *text,
                                 size_t length, fam_error *error)
{
    const choice *c = find_choice(key);
    if (!c)
        return wrong_key(where, key, "a string", error);
    for (int i = 0; c->name(i); i++)
        if (strlen(c->name(i)) == length && memcmp(c->name(i), text, length) == 0) {
            *(int *)((char *)settings + c->at) = i;
            return FAM_OK;
        }
    const char *fourth = c->name(3);
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found \"%.*s\", need %s, %s, %s%s%s", where, key,
                         (int)(length < 40 ? length : 40), text, c->name(0), c->name(1), c->name(2),
                         fourth ? ", " : "", fourth ? fourth : "");
}

fam_status fam_settings_set_integer(fam_settings *settings, const char *where, const char *key, int64_t value,
                                    fam_error *error)
{
    const number *n = find_number(key);
    if (!n)
        return wrong_key(where, key, "a number", error);
    if (value < n->low || value > n->high)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %lld, need %lld to %lld", where, key,
                             (long long)value, (long long)n->low, (long long)n->high);
    *(int64_t *)((char *)settings + n->at) = value;
    return FAM_OK;
}

fam_status fam_settings_from_json(fam_settings *settings, const json_t *object, const char *where, fam_error *error)
{
    const char *key;
    json_t *value;
    fam_settings read = fam_settings_none();
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char words[FAM_JSON_WORDS_SIZE];
        fam_status status;
        if (json_is_string(value))
            status =
                fam_settings_set_text(&read, where, key, json_string_value(value), json_string_length(value), error);
        else if (json_is_integer(value))
            status = fam_settings_set_integer(&read, where, key, json_integer_value(value), error);
        else if (json_is_null(value) && (find_choice(key) || find_number(key)))
            status = FAM_OK;
        else
            status = wrong_key(where, key, fam_json_words(value, words), error);
        if (status != FAM_OK)
            return status;
    }
    fam_settings_merge(settings, &read);
    return FAM_OK;
}

fam_status fam_settings_check(const fam_settings *settings, fam_error *error)
{
    fam_status status = FAM_OK;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        int value = *(const int *)((const char *)settings + choices[i].at);
        FAM_FAIL_IF(value < -1 || (value >= 0 && !choices[i].name(value)), FAM_STATUS_INVALID_ARGUMENT,
                    "%s: found %d, need a value of its enumeration", choices[i].key, value);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int64_t value = *(const int64_t *)((const char *)settings + numbers[i].at);
        FAM_FAIL_IF(value != -1 && (value < numbers[i].low || value > numbers[i].high), FAM_STATUS_INVALID_ARGUMENT,
                    "%s: found %lld, need %lld to %lld", numbers[i].key, (long long)value, (long long)numbers[i].low,
                    (long long)numbers[i].high);
    }
done:
    return status;
}

json_t *fam_settings_to_json(const fam_settings *settings)
{
    json_t *object = json_object();
    int failed = !object;
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        int value = *(const int *)((const char *)settings + choices[i].at);
        if (value >= 0)
            failed |= json_object_set_new(object, choices[i].key, json_string(choices[i].name(value)));
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int64_t value = *(const int64_t *)((const char *)settings + numbers[i].at);
        if (value >= 0)
            failed |= json_object_set_new(object, numbers[i].key, json_integer(value));
    }
    if (!failed)
        return object;
    json_decref(object);
    return NULL;
}

void fam_gguf_put_settings(fam_gguf_writer *writer, const fam_settings *settings)
{
    char key[64];
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        const char *name = choices[i].name(*(const int *)((const char *)settings + choices[i].at));
        snprintf(key, sizeof key, "fam.%s", choices[i].key);
        if (name)
            fam_gguf_put_string(writer, key, name, strlen(name));
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int64_t value = *(const int64_t *)((const char *)settings + numbers[i].at);
        snprintf(key, sizeof key, "fam.%s", numbers[i].key);
        if (value >= 0)
            fam_gguf_put_u32(writer, key, (uint32_t)value);
    }
}
