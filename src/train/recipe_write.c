/*
 * train/recipe_write.c: a recipe as YAML, every key with the value in force; and two recipes compared.
 */
#include <stdio.h>
#include <string.h>

#include <yaml.h>

#include "base/utf8.h"
#include "format/json.h"
#include "train/recipe_keys.h"

enum { VALUE_SIZE = 256 };

static const char head[] = "# Every key with the value in force; docs/RECIPES.md says what they mean.\n";

/* ---- values as text ---- */

/* The fewest digits that read back as the same number, by jansson: the same in every locale. */
static fam_status number_text(char buffer[VALUE_SIZE], const fam_recipe *recipe, double value, fam_error *error)
{
    json_t *number = json_real(value);
    bool same = false, failed = !number;
    for (size_t digits = 1; !failed && !same && digits <= 17; digits++) {
        size_t size = json_dumpb(number, buffer, VALUE_SIZE - 1, JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        json_t *read = size > 0 && size < VALUE_SIZE ? json_loadb(buffer, size, JSON_DECODE_ANY, NULL) : NULL;
        failed = !read; /* a recipe's numbers are far from an overflow: only memory can be short */
        same = !failed && json_number_value(read) == value;
        if (!failed)
            buffer[size] = '\0';
        json_decref(read);
    }
    json_decref(number);
    return same ? FAM_OK : fam_out_of_memory(error, recipe->path);
}

static void words_text(char buffer[VALUE_SIZE], const fam_key *key, unsigned set)
{
    size_t used = 1;
    buffer[0] = '[';
    for (int i = 0; key->words(i); i++)
        if (set >> i & 1)
            used += (size_t)snprintf(buffer + used, VALUE_SIZE - used, "%s%s", used > 1 ? ", " : "", key->words(i));
    snprintf(buffer + used, VALUE_SIZE - used, "]");
}

/* The value as a recipe would say it, text without quotes. *out is `buffer`, or the text itself. `base` is the recipe
 * or the entry. */
static fam_status value_text(const char **out, char buffer[VALUE_SIZE], const fam_recipe *recipe, const void *base,
                             const fam_key *key, fam_error *error)
{
    const void *at = key->type == FAM_KEY_GROUP ? NULL : (const char *)base + key->offset;
    const char *word = NULL;
    *out = buffer;
    switch (key->type) {
    case FAM_KEY_INTEGER:
        if (!key->preset && *(const int64_t *)at == (int64_t)key->unset)
            break;
        snprintf(buffer, VALUE_SIZE, "%lld", (long long)*(const int64_t *)at);
        return FAM_OK;
    case FAM_KEY_NUMBER:
        if (!key->preset && *(const double *)at == key->unset)
            break;
        return number_text(buffer, recipe, *(const double *)at, error);
    case FAM_KEY_BOOLEAN:
        snprintf(buffer, VALUE_SIZE, "%s", *(const bool *)at ? "true" : "false");
        return FAM_OK;
    case FAM_KEY_WORD:
        word = key->words(*(const int *)at);
        break;
    case FAM_KEY_WORDS:
        words_text(buffer, key, *(const unsigned *)at);
        return FAM_OK;
    case FAM_KEY_TEXT:
    case FAM_KEY_PATH:
        word = *(char *const *)at;
        break;
    case FAM_KEY_GROUP:
        word = fam_key_group_is_on(key, recipe) ? "a map" : NULL;
        break;
    case FAM_KEY_ENTRIES:
        snprintf(buffer, VALUE_SIZE, "%lld entries", (long long)*(const int64_t *)((const char *)base + key->count));
        return FAM_OK;
    }
    *out = word ? word : "null";
    return FAM_OK;
}

/* ---- writing ---- */

typedef struct writer {
    const fam_recipe *recipe;
    yaml_emitter_t emitter;
    char *text;
    size_t size, capacity;
} writer;

static int take_bytes(void *context, unsigned char *bytes, size_t size)
{
    writer *w = context;
    size_t need, capacity = w->capacity;
    if (!fam_add_size(&need, w->size, size) || !fam_add_size(&need, need, 1))
        return 0;
    if (need > capacity) {
        capacity = need + need / 2 + 1024;
        char *grown = fam_realloc(w->recipe->memory, w->text, capacity);
        if (!grown)
            return 0;
        w->text = grown;
        w->capacity = capacity;
    }
    memcpy(w->text + w->size, bytes, size);
    w->size += size;
    w->text[w->size] = '\0';
    return 1;
}

/* `made`: whether the event could be made. */
static fam_status emit(writer *w, int made, yaml_event_t *event, fam_error *error)
{
    return made && yaml_emitter_emit(&w->emitter, event) ? FAM_OK : fam_out_of_memory(error, w->recipe->path);
}

static fam_status emit_scalar(writer *w, const char *text, bool quoted, fam_error *error)
{
    yaml_event_t event;
    size_t size = strlen(text);
    if (!fam_utf8_valid((const uint8_t *)text, size))
        return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                             "%s: \"%s\": found bytes that are not UTF-8, need UTF-8 in a recipe", w->recipe->path,
                             text);
    int made = yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)size, 1, 1,
                                            quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE);
    return emit(w, made, &event, error);
}

static fam_status emit_map(writer *w, bool begin, fam_error *error)
{
    yaml_event_t event;
    int made = begin ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
                     : yaml_mapping_end_event_initialize(&event);
    return emit(w, made, &event, error);
}

static fam_status emit_list(writer *w, bool begin, bool block, fam_error *error)
{
    yaml_event_t event;
    int made = begin ? yaml_sequence_start_event_initialize(
                           &event, NULL, NULL, 1, block ? YAML_BLOCK_SEQUENCE_STYLE : YAML_FLOW_SEQUENCE_STYLE)
                     : yaml_sequence_end_event_initialize(&event);
    return emit(w, made, &event, error);
}

static fam_status write_value(writer *w, const void *base, const fam_key *key, fam_error *error)
{
    fam_status status = FAM_OK;
    char buffer[VALUE_SIZE];
    const char *text = NULL;
    if (key->type == FAM_KEY_WORDS) {
        FAM_TRY(emit_list(w, true, false, error));
        for (int i = 0; key->words(i); i++)
            if (*(const unsigned *)((const char *)base + key->offset) >> i & 1)
                FAM_TRY(emit_scalar(w, key->words(i), false, error));
        return emit_list(w, false, false, error);
    }
    FAM_TRY(value_text(&text, buffer, w->recipe, base, key, error));
    bool is_text =
        (key->type == FAM_KEY_TEXT || key->type == FAM_KEY_PATH) && *(char *const *)((const char *)base + key->offset);
    FAM_TRY(emit_scalar(w, text, is_text, error));
done:
    return status;
}

static fam_status write_entries(writer *w, const fam_key *list, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_data_options *entries = (const fam_data_options *)((const char *)w->recipe + list->offset);
    int64_t count = *(const int64_t *)((const char *)w->recipe + list->count);
    if (count == 0)
        return emit_scalar(w, "null", false, error);
    FAM_TRY(emit_list(w, true, true, error));
    for (int64_t i = 0; i < count; i++) {
        FAM_TRY(emit_map(w, true, error));
        for (const fam_key *key = fam_recipe_entry_keys; key->path; key++) {
            if (!(key->kinds >> entries[i].kind & 1))
                continue;
            FAM_TRY(emit_scalar(w, key->path, false, error));
            FAM_TRY(write_value(w, &entries[i], key, error));
        }
        FAM_TRY(emit_map(w, false, error));
    }
    FAM_TRY(emit_list(w, false, true, error));
done:
    return status;
}

/* Calls itself for a group in a group; the table bounds how often. */
static fam_status write_group(writer *w, const char *group, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(emit_map(w, true, error));
    for (const fam_key *key = fam_recipe_keys; key->path; key++) {
        if (!fam_key_is_in(key, group))
            continue;
        FAM_TRY(emit_scalar(w, fam_key_name(key), false, error));
        if (key->type == FAM_KEY_ENTRIES)
            FAM_TRY(write_entries(w, key, error));
        else if (key->type == FAM_KEY_GROUP && fam_key_group_is_on(key, w->recipe))
            FAM_TRY(write_group(w, key->path, error));
        else
            FAM_TRY(write_value(w, w->recipe, key, error));
    }
    FAM_TRY(emit_map(w, false, error));
done:
    return status;
}

fam_status fam_recipe_write(char **out, const fam_recipe *recipe, fam_error *error)
{
    fam_status status = FAM_OK;
    writer w = {.recipe = recipe};
    yaml_event_t event;
    bool emitting = yaml_emitter_initialize(&w.emitter);
    if (!emitting || !take_bytes(&w, (unsigned char *)head, strlen(head))) {
        status = fam_out_of_memory(error, recipe->path);
        goto done;
    }
    yaml_emitter_set_output(&w.emitter, take_bytes, &w);
    yaml_emitter_set_unicode(&w.emitter, 1);
    yaml_emitter_set_width(&w.emitter, -1);
    FAM_TRY(emit(&w, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING), &event, error));
    FAM_TRY(emit(&w, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1), &event, error));
    FAM_TRY(write_group(&w, "", error));
    FAM_TRY(emit(&w, yaml_document_end_event_initialize(&event, 1), &event, error));
    FAM_TRY(emit(&w, yaml_stream_end_event_initialize(&event), &event, error));
    *out = w.text;
    w.text = NULL;
done:
    if (emitting)
        yaml_emitter_delete(&w.emitter);
    fam_free(recipe->memory, w.text);
    return status;
}

/* ---- comparing ---- */

typedef struct comparison {
    const fam_recipe *saved, *given;
    fam_recipe_difference *say;
    void *context;
    fam_error *error;
} comparison;

/* `path` is what is said; a and b are the recipes, or two entries. */
static fam_status compare_value(const comparison *c, const char *path, const void *a, const void *b, const fam_key *key,
                                bool *equal)
{
    fam_status status = FAM_OK;
    char buffer_a[VALUE_SIZE], buffer_b[VALUE_SIZE];
    const char *text_a = NULL, *text_b = NULL;
    fam_error *error = c->error;
    FAM_TRY(value_text(&text_a, buffer_a, c->saved, a, key, error));
    FAM_TRY(value_text(&text_b, buffer_b, c->given, b, key, error));
    *equal = strcmp(text_a, text_b) == 0;
    if (!*equal)
        c->say(c->context, path, text_a, text_b);
done:
    return status;
}

static fam_status compare_entries(const comparison *c, const fam_key *list)
{
    fam_status status = FAM_OK;
    const fam_data_options *a = (const fam_data_options *)((const char *)c->saved + list->offset);
    const fam_data_options *b = (const fam_data_options *)((const char *)c->given + list->offset);
    int64_t count = *(const int64_t *)((const char *)c->saved + list->count);
    bool equal = true;
    FAM_TRY(compare_value(c, list->path, c->saved, c->given, list, &equal));
    if (!equal)
        return FAM_OK;
    for (int64_t i = 0; i < count; i++) {
        for (const fam_key *key = fam_recipe_entry_keys; key->path; key++) {
            char path[96];
            if ((key->flags & FAM_KEY_FREE) || !(key->kinds >> a[i].kind & 1))
                continue;
            snprintf(path, sizeof path, "%s.%lld.%s", list->path, (long long)i, key->path);
            FAM_TRY(compare_value(c, path, &a[i], &b[i], key, &equal));
            if (!equal && key == fam_recipe_entry_keys) /* of another kind: the other keys are others, too */
                break;
        }
    }
done:
    return status;
}

/* A run may go on longer, unless its rate was drawn to end where it was to end. */
static bool is_free(const comparison *c, const fam_key *key)
{
    bool cosine =
        c->saved->optimizer.schedule == FAM_SCHEDULE_COSINE || c->given->optimizer.schedule == FAM_SCHEDULE_COSINE;
    return (key->flags & FAM_KEY_FREE) || (strcmp(key->path, "train.steps") == 0 && !cosine);
}

fam_status fam_recipe_compare(const fam_recipe *saved, const fam_recipe *given, fam_recipe_difference *say,
                              void *context, fam_error *error)
{
    fam_status status = FAM_OK;
    const comparison c = {saved, given, say, context, error};
    const fam_key *group = NULL;
    bool equal = true;
    for (const fam_key *key = fam_recipe_keys; key->path; key++) {
        if (key->type == FAM_KEY_GROUP)
            group = key;
        else if (strchr(key->path, '.') && !(fam_key_group_is_on(group, saved) && fam_key_group_is_on(group, given)))
            continue;
        if (is_free(&c, key))
            continue;
        if (key->type == FAM_KEY_ENTRIES)
            FAM_TRY(compare_entries(&c, key));
        else
            FAM_TRY(compare_value(&c, key->path, saved, given, key, &equal));
    }
done:
    return status;
}

bool fam_recipe_has_key(const char *path)
{
    for (const fam_key *key = fam_recipe_keys; key->path; key++) {
        size_t length = strlen(key->path);
        if (strcmp(key->path, path) == 0)
            return true;
        if (key->type != FAM_KEY_ENTRIES || strncmp(key->path, path, length) != 0 || path[length] != '.')
            continue;
        const char *number = path + length + 1, *point = number + strspn(number, "0123456789");
        for (const fam_key *entry = fam_recipe_entry_keys; point > number && *point == '.' && entry->path; entry++)
            if (strcmp(entry->path, point + 1) == 0)
                return true;
    }
    return false;
}
