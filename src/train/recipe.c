/*
 * train/recipe.c: from files and sets to one tree of nodes, and from there to a recipe. See recipe.h.
 *
 *   the recipe that `extends` names, <- the recipe, <- set, <- set ...      each laid over the one before
 */
#include "train/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/yaml.h"
#include "train/recipe_keys.h"

enum { EXTENDS_MAX = 16 };

typedef struct reader {
    fam_memory *memory;
    fam_recipe *recipe;
    fam_recipe_source *sources; /* of everything read so far */
    int count;
    fam_yaml_node *root;
} reader;

/* ---- refusing and finding ---- */

fam_status fam_recipe_refuse(const fam_recipe *recipe, const char *key, const fam_yaml_node *node, fam_error *error,
                             const char *format, ...)
{
    char words[512], place[128] = "";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    const fam_recipe_source *source = node ? node->document->context : NULL;
    if (source && source->is_set)
        snprintf(place, sizeof place, ": set \"%.80s\"", source->name);
    else if (source)
        snprintf(place, sizeof place, ": line %d column %d", node->line, node->column);
    return fam_error_set(error, source && source->is_set ? FAM_STATUS_INVALID_ARGUMENT : FAM_STATUS_BAD_FORMAT,
                         "%s: %s%s: %s", source && !source->is_set ? source->name : recipe->path, key, place, words);
}

/* The number that a part of a path is; -1 if it is none. */
static int64_t list_index(const char *part, size_t length)
{
    int64_t value = 0;
    for (size_t i = 0; i < length; i++) {
        if (part[i] < '0' || part[i] > '9' || value > FAM_YAML_NODES_MAX)
            return -1;
        value = value * 10 + (part[i] - '0');
    }
    return length > 0 ? value : -1;
}

/* The place of the child of that name or number: of the pointer to it, which is NULL where it would be appended. NULL
 * if there is no such place. */
static fam_yaml_node **child_place(fam_yaml_node *parent, const char *part, size_t length)
{
    fam_yaml_node **place = &parent->first;
    if (parent->kind == FAM_YAML_MAP) {
        while (*place && (strlen((*place)->key) != length || memcmp((*place)->key, part, length) != 0))
            place = &(*place)->next;
        return place;
    }
    int64_t index = parent->kind == FAM_YAML_LIST ? list_index(part, length) : -1;
    for (; index > 0 && *place; index--)
        place = &(*place)->next;
    return index == 0 ? place : NULL;
}

const fam_yaml_node *fam_recipe_find(const fam_yaml_node *root, const char *path)
{
    fam_yaml_node *node = (fam_yaml_node *)root;
    while (node && *path) {
        size_t length = strcspn(path, ".");
        fam_yaml_node **place = child_place(node, path, length);
        node = place ? *place : NULL;
        path += length + (path[length] == '.');
    }
    return node && !fam_yaml_is_null(node) ? node : NULL;
}

/* ---- files ---- */

/* The folder of a file, from the root. */
static fam_status find_directory(char **out, fam_memory *memory, const char *path, fam_error *error)
{
    const char *slash = strrchr(path, '/');
    char *folder =
        slash ? fam_strndup(memory, path, slash == path ? 1 : (size_t)(slash - path)) : fam_strdup(memory, ".");
    fam_status status = folder ? fam_path_real(out, memory, folder, error) : fam_out_of_memory(error, path);
    fam_free(memory, folder);
    return status;
}

/* Takes `extends` out of the newest source's map; *out stays in the document, and is NULL if there is none. */
static fam_status take_extends(const reader *r, const fam_yaml_node **out, fam_error *error)
{
    const fam_recipe_source *source = &r->sources[r->count - 1];
    fam_yaml_node *root = source->document->root;
    char words[FAM_YAML_WORDS_SIZE];
    *out = NULL;
    if (root->kind != FAM_YAML_MAP)
        return fam_recipe_refuse(r->recipe, "top level", root, error, "found %s, need a map of keys",
                                 fam_yaml_words(root, words));
    fam_yaml_node **place = child_place(root, "extends", 7);
    fam_yaml_node *node = *place;
    if (!node)
        return FAM_OK;
    *place = node->next;
    if (fam_yaml_is_null(node))
        return FAM_OK;
    if (node->kind != FAM_YAML_SCALAR || !*node->text)
        return fam_recipe_refuse(r->recipe, "extends", node, error, "found %s, need the path of a recipe",
                                 fam_yaml_words(node, words));
    if (!source->directory)
        return fam_recipe_refuse(r->recipe, "extends", node, error,
                                 "found it in text that lies in no folder, need none");
    if (r->count == EXTENDS_MAX)
        return fam_recipe_refuse(r->recipe, "extends", node, error, "found a chain of more than %d recipes, need fewer",
                                 EXTENDS_MAX);
    *out = node;
    return FAM_OK;
}

static fam_status add_source(reader *r, const char *name, const char *directory, bool is_set, const char *text,
                             size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_recipe_source *source = &r->sources[r->count++];
    source->is_set = is_set;
    FAM_TRY_ALLOC(source->name, fam_strdup(r->memory, name), name);
    if (directory)
        FAM_TRY_ALLOC(source->directory, fam_strdup(r->memory, directory), name);
    FAM_TRY(fam_yaml_parse(&source->document, r->memory, name, text, size, error));
    source->document->context = source;
done:
    return status;
}

/* Reads one file as the newest source. */
static fam_status read_file(reader *r, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    uint8_t *text = NULL;
    size_t size = 0;
    char *directory = NULL;
    FAM_TRY(fam_file_read(&text, &size, r->memory, path, FAM_YAML_BYTES_MAX, error));
    FAM_TRY(find_directory(&directory, r->memory, path, error));
    FAM_TRY(add_source(r, path, directory, false, (const char *)text, size, error));
done:
    fam_free(r->memory, text);
    fam_free(r->memory, directory);
    return status;
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Reads the file that `extends` names as the newest source. */
static fam_status read_base(reader *r, const fam_yaml_node *extends, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *directory = r->sources[r->count - 1].directory;
    char *path = *extends->text == '/' ? fam_strdup(r->memory, extends->text)
                                       : fam_path_join(r->memory, directory, extends->text);
    if (!path)
        return fam_out_of_memory(error, r->recipe->path);
    FAM_TRY(read_file(r, path, error));
    const fam_recipe_source *base = &r->sources[r->count - 1];
    for (int i = 0; i < r->count - 1; i++)
        if (strcmp(r->sources[i].directory, base->directory) == 0 &&
            strcmp(file_name(r->sources[i].name), file_name(base->name)) == 0) {
            status = fam_recipe_refuse(r->recipe, "extends", extends, error,
                                       "found a recipe that extends itself in the end, need an end");
            goto done;
        }
done:
    fam_free(r->memory, path);
    return status;
}

/* Reads a recipe and all that it extends, and lays them over one another. */
static fam_status read_chain(reader *r, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_yaml_node *extends = NULL;
    FAM_TRY(read_file(r, path, error));
    FAM_TRY(take_extends(r, &extends, error));
    while (extends) {
        FAM_TRY(read_base(r, extends, error));
        FAM_TRY(take_extends(r, &extends, error));
    }
    r->root = r->sources[r->count - 1].document->root;
    for (int i = r->count - 2; i >= 0; i--)
        r->root = fam_yaml_merge(r->root, r->sources[i].document->root);
done:
    return status;
}

/* ---- sets ---- */

/* Puts the value of the newest source at a path: "data.0.path". */
static fam_status place_value(reader *r, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_yaml *document = r->sources[r->count - 1].document;
    fam_yaml_node *parent = r->root, *value = document->root;
    const char *name = r->sources[r->count - 1].name;
    for (const char *part = path;;) {
        size_t length = strcspn(part, ".");
        bool last = part[length] == '\0';
        fam_yaml_node **place = length > 0 ? child_place(parent, part, length) : NULL;
        if (!place)
            return fam_recipe_refuse(r->recipe, path, value, error, "found no place for it, need a known key%s",
                                     parent->kind == FAM_YAML_LIST ? ", and entries numbered from 0 without a gap"
                                                                   : "");
        fam_yaml_node *node = value, *rest = *place ? (*place)->next : NULL;
        if (!last && *place && !fam_yaml_is_null(*place))
            node = *place;
        else if (!last)
            FAM_TRY_ALLOC(node,
                          fam_yaml_node_create(document,
                                               list_index(part + length + 1, strcspn(part + length + 1, ".")) < 0
                                                   ? FAM_YAML_MAP
                                                   : FAM_YAML_LIST,
                                               NULL),
                          name);
        else if (*place)
            node = fam_yaml_merge(*place, value);
        if (parent->kind == FAM_YAML_MAP && !node->key)
            FAM_TRY_ALLOC(node->key, fam_strndup(r->memory, part, length), name);
        *place = node;
        node->next = rest;
        if (last)
            return FAM_OK;
        parent = node;
        part += length + 1;
    }
done:
    return status;
}

static fam_status apply_set(reader *r, const char *set, const char *directory, fam_error *error)
{
    fam_status status = FAM_OK;
    char *path = NULL;
    const char *equals = strchr(set, '=');
    FAM_FAIL_IF(!equals || equals == set, FAM_STATUS_INVALID_ARGUMENT,
                "%s: set \"%.80s\": found no key and value, need KEY=VALUE", r->recipe->path, set);
    FAM_TRY_ALLOC(path, fam_strndup(r->memory, set, (size_t)(equals - set)), set);
    status = add_source(r, set, directory, true, equals + 1, strlen(equals + 1), error);
    if (status == FAM_STATUS_BAD_FORMAT) {
        status = FAM_STATUS_INVALID_ARGUMENT;
        fam_error_prefix(error, status, "set");
        fam_error_prefix(error, status, r->recipe->path);
    }
    if (status == FAM_OK)
        status = place_value(r, path, error);
done:
    fam_free(r->memory, path);
    return status;
}

/* ---- the whole ---- */

/* From the text, or without one from the file. */
static fam_status read_recipe(fam_recipe **out, fam_memory *memory, const char *path, const char *text, size_t size,
                              const char *const *sets, int64_t set_count, fam_error *error)
{
    fam_status status = FAM_OK;
    reader r = {.memory = memory};
    char *here = NULL;
    const fam_yaml_node *extends = NULL;
    FAM_TRY_ALLOC(r.recipe, fam_alloc_zeroed(memory, sizeof *r.recipe), path);
    r.recipe->memory = memory;
    FAM_TRY_ALLOC(r.recipe->path, fam_strdup(memory, path), path);
    FAM_TRY_ALLOC(r.sources, fam_alloc_array(memory, EXTENDS_MAX + (size_t)set_count, sizeof *r.sources), path);
    if (text) {
        FAM_TRY(add_source(&r, path, NULL, false, text, size, error));
        FAM_TRY(take_extends(&r, &extends, error));
        r.root = r.sources[0].document->root;
    } else {
        FAM_TRY(read_chain(&r, path, error));
        FAM_TRY(fam_path_real(&here, memory, ".", error));
    }
    for (int64_t i = 0; i < set_count; i++)
        FAM_TRY(apply_set(&r, sets[i], here, error));
    FAM_TRY(fam_recipe_fill(r.recipe, r.root, error));
    FAM_TRY(fam_recipe_check(r.recipe, r.root, error));
    *out = r.recipe;
    r.recipe = NULL;
done:
    for (int i = 0; i < r.count; i++) {
        fam_yaml_free(r.sources[i].document);
        fam_free(memory, r.sources[i].name);
        fam_free(memory, r.sources[i].directory);
    }
    fam_free(memory, r.sources);
    fam_free(memory, here);
    fam_recipe_free(r.recipe);
    return status;
}

fam_status fam_recipe_read(fam_recipe **out, fam_memory *memory, const char *path, const char *const *sets,
                           int64_t set_count, fam_error *error)
{
    return read_recipe(out, memory, path, NULL, 0, sets, set_count, error);
}

fam_status fam_recipe_parse(fam_recipe **out, fam_memory *memory, const char *name, const char *text, size_t size,
                            const char *const *sets, int64_t set_count, fam_error *error)
{
    return read_recipe(out, memory, name, text, size, sets, set_count, error);
}

static void free_entries(fam_memory *memory, fam_data_options *entries, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        fam_free(memory, entries[i].name);
        fam_free(memory, entries[i].path);
    }
}

void fam_recipe_free(fam_recipe *recipe)
{
    if (!recipe)
        return;
    free_entries(recipe->memory, recipe->data, recipe->data_count);
    free_entries(recipe->memory, recipe->validation.data, recipe->validation.data_count);
    fam_free(recipe->memory, recipe->model.path);
    fam_free(recipe->memory, recipe->model.adapter);
    fam_free(recipe->memory, recipe->path);
    fam_free(recipe->memory, recipe);
}
