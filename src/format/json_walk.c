/*
 * format/json_walk.c: the members of an object, one at a time (json.h). Finds where members begin and end; what is
 * between is jansson's to judge.
 *
 *   blanks '{' blanks [ string blanks ':' blanks value blanks { ',' blanks string ... } ] '}' spaces
 */
#include <string.h>

#include "format/json.h"

static void skip_blanks(fam_json_walk *walk)
{
    while (walk->at < walk->size && memchr(" \t\r\n", walk->text[walk->at], 4))
        walk->at++;
}

static fam_status broken(const fam_json_walk *walk, const char *need, fam_error *error)
{
    if (walk->at >= walk->size)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: not JSON: byte %zu: found the end, need %s", walk->name,
                             walk->at, need);
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: not JSON: byte %zu: found '%c', need %s", walk->name,
                         walk->at, walk->text[walk->at], need);
}

/* Goes past a string that begins here; false if it does not end. */
static bool skip_string(fam_json_walk *walk)
{
    size_t at = walk->at + 1;
    while (at < walk->size && walk->text[at] != '"')
        at += walk->text[at] == '\\' ? 2 : 1;
    if (at >= walk->size)
        return false;
    walk->at = at + 1;
    return true;
}

/* Goes past an object or array by counting brackets of both kinds alike: a wrong pairing is found when it is parsed. */
static bool skip_nested(fam_json_walk *walk)
{
    size_t depth = 0;
    while (walk->at < walk->size) {
        char c = walk->text[walk->at];
        if (c == '"') {
            if (!skip_string(walk))
                return false;
            continue;
        }
        walk->at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return true;
    }
    return false;
}

static bool skip_value(fam_json_walk *walk)
{
    char first = walk->text[walk->at];
    if (first == '"')
        return skip_string(walk);
    if (first == '{' || first == '[')
        return skip_nested(walk);
    while (walk->at < walk->size && !memchr(",}] \t\r\n", walk->text[walk->at], 7))
        walk->at++;
    return true;
}

static fam_status end_of_object(fam_json_walk *walk, json_t **key, fam_error *error)
{
    walk->at++;
    while (walk->at < walk->size && walk->text[walk->at] == ' ')
        walk->at++;
    if (walk->at < walk->size)
        return broken(walk, "nothing but spaces after the object", error);
    *key = NULL;
    return FAM_OK;
}

fam_status fam_json_walk_next(fam_json_walk *walk, json_t **key, size_t *value_at, size_t *value_size, fam_error *error)
{
    bool first = walk->at == 0;
    skip_blanks(walk);
    if (first) {
        if (walk->at >= walk->size || walk->text[walk->at] != '{')
            return broken(walk, "'{'", error);
        walk->at++;
        skip_blanks(walk);
    }
    if (walk->at < walk->size && walk->text[walk->at] == '}')
        return end_of_object(walk, key, error);
    if (!first) {
        if (walk->at >= walk->size || walk->text[walk->at] != ',')
            return broken(walk, "',' or '}'", error);
        walk->at++;
        skip_blanks(walk);
    }
    size_t key_at = walk->at;
    if (key_at >= walk->size || walk->text[key_at] != '"' || !skip_string(walk))
        return broken(walk, "a name in quotes", error);
    size_t key_size = walk->at - key_at;
    skip_blanks(walk);
    if (walk->at >= walk->size || walk->text[walk->at] != ':')
        return broken(walk, "':'", error);
    walk->at++;
    skip_blanks(walk);
    size_t at = walk->at;
    if (at >= walk->size || !skip_value(walk) || walk->at == at)
        return broken(walk, "a value", error);
    *value_at = at;
    *value_size = walk->at - at;
    return fam_json_walk_value(key, walk, key_at, key_size, SIZE_MAX, error);
}

fam_status fam_json_walk_value(json_t **out, const fam_json_walk *walk, size_t value_at, size_t value_size,
                               size_t limit, fam_error *error)
{
    json_error_t failure;
    if (value_size > limit)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                             "%s: value of %zu bytes: byte %zu: found more than is reasonable, need at most %zu",
                             walk->name, value_size, value_at, limit);
    json_t *value = json_loadb(walk->text + value_at, value_size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &failure);
    if (value) {
        *out = value;
        return FAM_OK;
    }
    if (json_error_code(&failure) == json_error_out_of_memory)
        return fam_out_of_memory(error, walk->name);
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: not JSON: byte %zu: found %s, need a JSON value",
                         walk->name, value_at + (failure.position > 0 ? (size_t)failure.position : 0), failure.text);
}
