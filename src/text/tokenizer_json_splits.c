/*
 * text/tokenizer_json_splits.c: the pre_tokenizer of a tokenizer.json.
 *
 *   {"type": "Sequence", "pretokenizers": [...]}
 *   {"type": "Split", "pattern": {"Regex": s} or {"String": s}, "behavior": "Isolated" ..., "invert": bool}
 *   {"type": "Digits", "individual_digits": bool}
 *   {"type": "ByteLevel", "add_prefix_space": bool, "use_regex": bool (true)}     the last one, and always there
 * Other types are refused by name.
 */
#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "text/tokenizer_json.h"

static fam_status read_behavior(const json_t *split, const char *where, fam_split_behavior *out, fam_error *error)
{
    static const char *const names[] = {[FAM_SPLIT_ISOLATED] = "Isolated",
                                        [FAM_SPLIT_REMOVED] = "Removed",
                                        [FAM_SPLIT_CONTIGUOUS] = "Contiguous",
                                        [FAM_SPLIT_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [FAM_SPLIT_MERGED_WITH_NEXT] = "MergedWithNext"};
    const char *name = NULL;
    fam_status status = fam_json_string(split, where, "behavior", true, &name, error);
    if (status != FAM_OK)
        return status;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (fam_split_behavior)i;
            return FAM_OK;
        }
    return fam_error_set(error, FAM_STATUS_UNSUPPORTED, "%s: behavior: found \"%.64s\", need Isolated, Removed, ...",
                         where, name);
}

static fam_status read_split(fam_tokenizer *t, json_t *value, const char *where, fam_split *split, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *pattern;
    const char *regex = NULL, *string = NULL;
    FAM_TRY(fam_json_child(value, where, "pattern", JSON_OBJECT, true, &pattern, error));
    FAM_TRY(fam_json_string(pattern, where, "Regex", false, &regex, error));
    FAM_TRY(fam_json_string(pattern, where, "String", false, &string, error));
    FAM_FAIL_IF(!regex == !string, FAM_STATUS_BAD_FORMAT, "%s: pattern: found %s, need Regex or String", where,
                regex ? "both" : "neither");
    FAM_TRY(read_behavior(value, where, &split->behavior, error));
    FAM_TRY(fam_json_bool(value, where, "invert", false, &split->invert, error));
    FAM_TRY(fam_tokenizer_put_pattern(t, where, regex ? regex : string, !regex, split, error));
done:
    return status;
}

static fam_status read_byte_level(json_t *value, const char *where, fam_split *split, fam_error *error)
{
    fam_status status = FAM_OK;
    bool use_regex = true;
    split->add_prefix_space = true;
    FAM_TRY(fam_json_bool(value, where, "add_prefix_space", false, &split->add_prefix_space, error));
    FAM_TRY(fam_json_bool(value, where, "use_regex", false, &use_regex, error));
    split->kind = use_regex ? FAM_SPLIT_GPT2 : FAM_SPLIT_NOTHING;
done:
    return status;
}

static fam_status read_digits(json_t *value, const char *where, fam_split *split, fam_error *error)
{
    bool individual = false;
    fam_status status = fam_json_bool(value, where, "individual_digits", false, &individual, error);
    split->kind = FAM_SPLIT_DIGITS;
    split->behavior = individual ? FAM_SPLIT_ISOLATED : FAM_SPLIT_CONTIGUOUS;
    return status;
}

static fam_status read_any(fam_tokenizer *t, json_t *value, const char *where, bool *byte_level, int depth,
                           fam_error *error)
{
    fam_status status = FAM_OK;
    const char *type = NULL;
    FAM_TRY(fam_json_string(value, where, "type", true, &type, error));
    FAM_FAIL_IF(*byte_level, FAM_STATUS_UNSUPPORTED, "%s: found \"%.64s\" after ByteLevel, need ByteLevel last", where,
                type);
    if (strcmp(type, "Sequence") == 0 && depth < 4) {
        json_t *list, *each;
        size_t index;
        FAM_TRY(fam_json_child(value, where, "pretokenizers", JSON_ARRAY, true, &list, error));
        json_array_foreach(list, index, each) FAM_TRY(read_any(t, each, where, byte_level, depth + 1, error));
        goto done;
    }
    FAM_FAIL_IF(t->split_count == FAM_SPLITS_MAX, FAM_STATUS_UNSUPPORTED, "%s: found more than %d, need at most these",
                where, FAM_SPLITS_MAX);
    fam_split *split = &t->splits[t->split_count++];
    if (strcmp(type, "Split") == 0) {
        FAM_TRY(read_split(t, value, where, split, error));
    } else if (strcmp(type, "Digits") == 0) {
        FAM_TRY(read_digits(value, where, split, error));
    } else if (strcmp(type, "ByteLevel") == 0) {
        *byte_level = true;
        FAM_TRY(read_byte_level(value, where, split, error));
    } else {
        FAM_FAIL_IF(true, FAM_STATUS_UNSUPPORTED, "%s: found \"%.64s\", need Split, Digits or ByteLevel", where, type);
    }
done:
    return status;
}

fam_status fam_tokenizer_read_splits(fam_tokenizer *t, json_t *pre_tokenizer, fam_error *error)
{
    fam_status status = FAM_OK;
    bool byte_level = false;
    char where[512];
    snprintf(where, sizeof where, "%.400s: pre_tokenizer", t->name);
    if (pre_tokenizer && !json_is_null(pre_tokenizer))
        FAM_TRY(read_any(t, pre_tokenizer, where, &byte_level, 0, error));
    FAM_FAIL_IF(!byte_level, FAM_STATUS_UNSUPPORTED, "%s: found none that is ByteLevel, need one", where);
done:
    return status;
}
