/*
 * format/hf_index.c: model.safetensors.index.json, which says in which file each tensor is.
 *
 *   {"metadata": {"total_size": <bytes of all tensors>, ...}, "weight_map": {"<tensor>": "<file>.safetensors", ...}}
 *
 * A file's name comes from outside: only a plain name in the same directory is taken.
 */
#include <string.h>

#include "format/model_private.h"

static bool is_plain_name(const char *name)
{
    static const char end[] = ".safetensors";
    size_t length = strlen(name);
    return length > sizeof end - 1 && length <= 255 && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\') &&
           strcmp(name + length - (sizeof end - 1), end) == 0;
}

static fam_status check_weight_map(const json_t *map, const char *name, fam_error *error)
{
    const char *tensor;
    json_t *file;
    if (json_object_size(map) == 0)
        return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: weight_map: found no tensors, need some", name);
    json_object_foreach((json_t *)(uintptr_t)map, tensor, file)
    {
        char words[FAM_JSON_WORDS_SIZE];
        if (!json_is_string(file) || !is_plain_name(json_string_value(file)))
            return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                                 "%s: weight_map: %.128s: found %s, need the name of a .safetensors file beside it",
                                 name, tensor, fam_json_words(file, words));
    }
    return FAM_OK;
}

fam_status fam_hf_index_parse(json_t **out, const char *name, const char *text, size_t size, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *index = NULL, *map = NULL, *metadata = NULL;
    FAM_TRY(fam_json_parse(&index, name, text, size, error));
    FAM_FAIL_IF(!json_is_object(index), FAM_STATUS_BAD_FORMAT, "%s: top level: found an array, need an object", name);
    FAM_TRY(fam_json_child(index, name, "metadata", JSON_OBJECT, false, &metadata, error));
    FAM_TRY(fam_json_child(index, name, "weight_map", JSON_OBJECT, true, &map, error));
    FAM_TRY(check_weight_map(map, name, error));
    *out = index;
    index = NULL;
done:
    json_decref(index);
    return status;
}
