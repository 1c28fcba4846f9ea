/*
 * train/recipe_nodes.c: what the nodes of a recipe say, key by key of the table.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"
#include "format/yaml.h"
#include "train/recipe_keys.h"

enum { NAME_SIZE = 48, PATH_SIZE = 160 };

/* ---- one value ---- */

const char *fam_key_range(const fam_key *key, char buffer[FAM_KEY_RANGE_SIZE])
{
    if (key->type == FAM_KEY_INTEGER)
        snprintf(buffer, FAM_KEY_RANGE_SIZE, "%lld to %lld", (long long)key->least,
                 key->most >= 0x1p63 ? INT64_MAX : (long long)key->most);
    else
        snprintf(buffer, FAM_KEY_RANGE_SIZE, key->above ? "above %.8g, at most %.8g" : "%.8g to %.8g", key->least,
                 key->most);
    return buffer;
}

/* "adapter, prompt or all". */
static const char *word_list(const char *(*words)(int), char *buffer, size_t size)
{
    size_t used = 0;
    for (int i = 0; words(i) && used < size; i++) {
        const char *before = i == 0 ? "" : words(i + 1) ? ", " : " or ";
        used += (size_t)snprintf(buffer + used, size - used, "%s%s", before, words(i));
    }
    return buffer;
}

static int find_word(const char *(*words)(int), const fam_yaml_node *node)
{
    for (int i = 0; node->kind == FAM_YAML_SCALAR && words(i); i++)
        if (strcmp(words(i), node->text) == 0)
            return i;
    return -1;
}

typedef struct filler {
    fam_recipe *recipe;
    fam_error *error;
} filler;

static fam_status set_word(const filler *f, int *out, const fam_key *key, const char *path, const fam_yaml_node *node)
{
    char words[FAM_YAML_WORDS_SIZE], list[256];
    int word = find_word(key->words, node);
    if (word < 0)
        return fam_recipe_refuse(f->recipe, path, node, f->error, "found %s, need %s", fam_yaml_words(node, words),
                                 word_list(key->words, list, sizeof list));
    *out = word;
    return FAM_OK;
}

static fam_status set_words(const filler *f, unsigned *out, const fam_key *key, const char *path,
                            const fam_yaml_node *node)
{
    char words[FAM_YAML_WORDS_SIZE];
    unsigned set = 0;
    if (node->kind != FAM_YAML_LIST || !node->first)
        return fam_recipe_refuse(f->recipe, path, node, f->error, "found %s, need a list of words",
                                 node->kind == FAM_YAML_LIST ? "an empty list" : fam_yaml_words(node, words));
    for (const fam_yaml_node *child = node->first; child; child = child->next) {
        int word = 0;
        fam_status status = set_word(f, &word, key, path, child);
        if (status != FAM_OK)
            return status;
        if (set >> word & 1)
            return fam_recipe_refuse(f->recipe, path, child, f->error, "found %s twice, need it once", child->text);
        set |= 1u << word;
    }
    *out = set;
    return FAM_OK;
}

/* Numbers are JSON's: 5, -1, 0.1, 1e-4. They read the same in every locale. */
static fam_status set_number(const filler *f, void *out, const fam_key *key, const char *path,
                             const fam_yaml_node *node)
{
    fam_status status = FAM_OK;
    char words[FAM_YAML_WORDS_SIZE], range[FAM_KEY_RANGE_SIZE];
    bool whole = key->type == FAM_KEY_INTEGER;
    json_t *number = NULL;
    json_error_t failure = {0};
    if (node->kind == FAM_YAML_SCALAR && node->plain && strchr("-0123456789", node->text[0])) {
        number = json_loads(node->text, JSON_DECODE_ANY, &failure);
        enum json_error_code code = json_error_code(&failure);
        if (!number && (code == json_error_out_of_memory || code == json_error_unknown)) /* unknown: a malloc failed */
            return fam_out_of_memory(f->error, f->recipe->path);
    }
    double value = json_number_value(number);
    if (whole ? !json_is_integer(number) : !json_is_number(number))
        status =
            fam_recipe_refuse(f->recipe, path, node, f->error, "found %s, need %s, %s", fam_yaml_words(node, words),
                              whole ? "a whole number" : "a number", fam_key_range(key, range));
    else if (value < key->least || value > key->most || (key->above && value == key->least))
        status = fam_recipe_refuse(f->recipe, path, node, f->error, "found %s, need %s", fam_yaml_words(node, words),
                                   fam_key_range(key, range));
    else if (whole)
        *(int64_t *)out = json_integer_value(number);
    else
        *(double *)out = value;
    json_decref(number);
    return status;
}

static fam_status set_boolean(const filler *f, bool *out, const char *path, const fam_yaml_node *node)
{
    char words[FAM_YAML_WORDS_SIZE];
    bool yes = node->kind == FAM_YAML_SCALAR && node->plain && strcmp(node->text, "true") == 0;
    if (!yes && (node->kind != FAM_YAML_SCALAR || !node->plain || strcmp(node->text, "false") != 0))
        return fam_recipe_refuse(f->recipe, path, node, f->error, "found %s, need true or false",
                                 fam_yaml_words(node, words));
    *out = yes;
    return FAM_OK;
}

static fam_status set_text(const filler *f, char **out, const fam_key *key, const char *path, const fam_yaml_node *node)
{
    char words[FAM_YAML_WORDS_SIZE];
    fam_memory *memory = f->recipe->memory;
    if (node->kind != FAM_YAML_SCALAR || !*node->text)
        return fam_recipe_refuse(f->recipe, path, node, f->error, "found %s, need %s", fam_yaml_words(node, words),
                                 key->type == FAM_KEY_PATH ? "a path" : "text");
    const fam_recipe_source *source = node->document->context;
    bool relative = key->type == FAM_KEY_PATH && source->directory && node->text[0] != '/';
    char *text = relative ? fam_path_join(memory, source->directory, node->text) : fam_strdup(memory, node->text);
    if (!text)
        return fam_out_of_memory(f->error, f->recipe->path);
    fam_free(memory, *out);
    *out = text;
    return FAM_OK;
}

/* A value that is not null. `base` is the recipe or the entry. */
static fam_status set_value(const filler *f, void *base, const fam_key *key, const char *path,
                            const fam_yaml_node *node)
{
    void *out = (char *)base + key->offset;
    switch (key->type) {
    case FAM_KEY_INTEGER:
    case FAM_KEY_NUMBER:
        return set_number(f, out, key, path, node);
    case FAM_KEY_BOOLEAN:
        return set_boolean(f, out, path, node);
    case FAM_KEY_WORD:
        return set_word(f, out, key, path, node);
    case FAM_KEY_WORDS:
        return set_words(f, out, key, path, node);
    case FAM_KEY_TEXT:
    case FAM_KEY_PATH:
        return set_text(f, out, key, path, node);
    case FAM_KEY_GROUP:
    case FAM_KEY_ENTRIES:
        break;
    }
    return FAM_OK;
}

/* The value that holds where nothing is said. */
static fam_status set_preset(const filler *f, void *base, const fam_key *key)
{
    if (key->type == FAM_KEY_GROUP || key->type == FAM_KEY_ENTRIES)
        return FAM_OK;
    void *out = (char *)base + key->offset;
    if (key->preset && key->type == FAM_KEY_WORDS) {
        fam_yaml *list = NULL;
        fam_status status =
            fam_yaml_parse(&list, f->recipe->memory, key->path, key->preset, strlen(key->preset), f->error);
        if (status == FAM_OK)
            status = set_value(f, base, key, key->path, list->root);
        fam_yaml_free(list);
        return status;
    }
    if (key->preset) {
        const fam_yaml node_document = {0};
        const fam_yaml_node node = {
            .kind = FAM_YAML_SCALAR, .plain = true, .text = (char *)key->preset, .document = &node_document};
        return set_value(f, base, key, key->path, &node);
    }
    if (key->type == FAM_KEY_INTEGER)
        *(int64_t *)out = (int64_t)key->unset;
    else if (key->type == FAM_KEY_NUMBER)
        *(double *)out = key->unset;
    else if (key->type == FAM_KEY_WORD)
        *(int *)out = (int)key->unset;
    return FAM_OK;
}

/* ---- keys that are not known ---- */

/* How many letters must be changed, added or left out (Levenshtein). */
static int distance(const char *a, const char *b)
{
    int row[NAME_SIZE + 1];
    int columns = (int)strlen(b);
    for (int j = 0; j <= columns; j++)
        row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[columns];
}

/* Refuses a key, with advice: the nearest one that there is, or those of its group. */
static fam_status refuse_key(const filler *f, const fam_key *keys, const char *prefix, const char *group,
                             const fam_yaml_node *node)
{
    char name[NAME_SIZE], path[PATH_SIZE], list[512] = "";
    const fam_key *nearest = NULL;
    size_t used = 0;
    int best = 0;
    snprintf(name, sizeof name, "%s", node->key);
    for (const fam_key *key = keys; key->path; key++) {
        bool inside = fam_key_is_in(key, group);
        int far = 2 * distance(name, fam_key_name(key)) + !inside; /* a key of the same group is nearer */
        if (!nearest || far < best) {
            nearest = key;
            best = far;
        }
        if (inside && used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", fam_key_name(key));
    }
    fam_yaml_node place = *node;
    place.line = node->key_line ? node->key_line : node->line;
    place.column = node->key_column ? node->key_column : node->column;
    snprintf(path, sizeof path, "%s%s%.64s", prefix, *prefix ? "." : "", node->key);
    if (best <= 2 * ((int)strlen(name) / 2))
        return fam_recipe_refuse(f->recipe, path, &place, f->error,
                                 "found an unknown key, need a known one; the nearest is %s", nearest->path);
    return fam_recipe_refuse(f->recipe, path, &place, f->error, "found an unknown key, need one of %s", list);
}

/* ---- entries ---- */

static fam_status read_entry(const filler *f, fam_data_options *entry, const char *prefix, const fam_yaml_node *node)
{
    fam_status status = FAM_OK;
    char path[PATH_SIZE], words[FAM_YAML_WORDS_SIZE], list[256];
    if (node->kind != FAM_YAML_MAP)
        return fam_recipe_refuse(f->recipe, prefix, node, f->error, "found %s, need a map of keys",
                                 fam_yaml_words(node, words));
    const fam_key *kind = &fam_recipe_entry_keys[0];
    const fam_yaml_node *given = fam_recipe_find(node, "kind");
    snprintf(path, sizeof path, "%.90s.kind", prefix);
    if (!given)
        return fam_recipe_refuse(f->recipe, path, node, f->error, "found nothing, need %s",
                                 word_list(kind->words, list, sizeof list));
    FAM_TRY(set_value(f, entry, kind, path, given));
    const fam_recipe_source *source = node->document->context;
    entry->line = source && !source->is_set ? node->line : 0;
    for (const fam_key *key = kind + 1; key->path; key++)
        if (key->kinds >> entry->kind & 1)
            FAM_TRY(set_preset(f, entry, key));
    for (const fam_yaml_node *child = node->first; child; child = child->next) {
        const fam_key *key = kind;
        while (key->path && strcmp(key->path, child->key) != 0)
            key++;
        if (!key->path) {
            status = refuse_key(f, fam_recipe_entry_keys, prefix, "", child);
            goto done;
        }
        if (fam_yaml_is_null(child))
            continue;
        snprintf(path, sizeof path, "%.90s.%s", prefix, key->path);
        if (!(key->kinds >> entry->kind & 1)) {
            status =
                fam_recipe_refuse(f->recipe, path, child, f->error, "found a key that kind %s does not use, need none",
                                  fam_data_kind_name(entry->kind));
            goto done;
        }
        FAM_TRY(set_value(f, entry, key, path, child));
    }
done:
    return status;
}

static fam_status read_entries(const filler *f, const fam_key *key, const fam_yaml_node *node)
{
    fam_status status = FAM_OK;
    char path[PATH_SIZE], words[FAM_YAML_WORDS_SIZE];
    fam_data_options *entries = (fam_data_options *)((char *)f->recipe + key->offset);
    int64_t *count = (int64_t *)((char *)f->recipe + key->count);
    if (node->kind != FAM_YAML_LIST)
        return fam_recipe_refuse(f->recipe, key->path, node, f->error, "found %s, need a list of entries",
                                 fam_yaml_words(node, words));
    int given = fam_yaml_count(node);
    if (given > (int)key->most)
        return fam_recipe_refuse(f->recipe, key->path, node, f->error, "found %d entries, need at most %d", given,
                                 (int)key->most);
    for (const fam_yaml_node *child = node->first; child; child = child->next) {
        snprintf(path, sizeof path, "%s.%lld", key->path, (long long)*count);
        FAM_TRY(read_entry(f, &entries[(*count)++], path, child));
    }
done:
    return status;
}

/* ---- the whole ---- */

/* Calls itself for a group in a group; the table bounds how often. */
static fam_status read_group(const filler *f, const char *group, const fam_yaml_node *node)
{
    fam_status status = FAM_OK;
    char words[FAM_YAML_WORDS_SIZE];
    if (node->kind != FAM_YAML_MAP)
        return fam_recipe_refuse(f->recipe, *group ? group : "top level", node, f->error,
                                 "found %s, need a map of keys", fam_yaml_words(node, words));
    for (const fam_yaml_node *child = node->first; child; child = child->next) {
        const fam_key *key = fam_recipe_keys;
        while (key->path && (!fam_key_is_in(key, group) || strcmp(fam_key_name(key), child->key) != 0))
            key++;
        if (!key->path) {
            status = refuse_key(f, fam_recipe_keys, group, group, child);
            goto done;
        }
        if (fam_yaml_is_null(child))
            continue;
        if (key->type == FAM_KEY_GROUP && key->offset != FAM_KEY_ALWAYS)
            *(bool *)((char *)f->recipe + key->offset) = true;
        if (key->type == FAM_KEY_GROUP)
            FAM_TRY(read_group(f, key->path, child));
        else if (key->type == FAM_KEY_ENTRIES)
            FAM_TRY(read_entries(f, key, child));
        else
            FAM_TRY(set_value(f, f->recipe, key, key->path, child));
    }
done:
    return status;
}

fam_status fam_recipe_fill(fam_recipe *recipe, const fam_yaml_node *root, fam_error *error)
{
    fam_status status = FAM_OK;
    const filler f = {recipe, error};
    const fam_key *group = NULL;
    for (const fam_key *key = fam_recipe_keys; key->path; key++)
        FAM_TRY(set_preset(&f, recipe, key));
    FAM_TRY(read_group(&f, "", root));
    for (const fam_key *key = fam_recipe_keys; key->path; key++) {
        if (key->type == FAM_KEY_GROUP)
            group = key;
        bool on = !strchr(key->path, '.') || fam_key_group_is_on(group, recipe);
        if (on && (key->flags & FAM_KEY_REQUIRED) && !fam_recipe_find(root, key->path)) {
            const fam_yaml_node *place =
                on && group && strchr(key->path, '.') ? fam_recipe_find(root, group->path) : NULL;
            status = fam_recipe_refuse(recipe, key->path, place ? place : root, error, "found nothing, need a value");
            goto done;
        }
    }
done:
    return status;
}
