/*
 * format/hf_directory.c: a Hugging Face model directory: config.json, and model.safetensors or its shards. The
 * configuration itself is hf_config.c's, the index's text hf_index.c's.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/model_private.h"

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

/* A path that does not fit could not be opened either. */
static bool has_file(const fam_checkpoint *checkpoint, const char *name)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", checkpoint->path, name);
    return length > 0 && (size_t)length < sizeof path && fam_path_exists(path);
}

static fam_status read_config(fam_checkpoint *checkpoint, const fam_checkpoint_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    char *path = NULL;
    uint8_t *text = NULL;
    size_t size = 0;
    FAM_TRY_ALLOC(path, fam_path_join(checkpoint->memory, checkpoint->path, "config.json"), checkpoint->path);
    FAM_TRY(fam_file_read(&text, &size, checkpoint->memory, path, FAM_CONFIG_BYTES_MAX, error));
    FAM_TRY(fam_hf_config_parse(&checkpoint->config, &checkpoint->settings, path, (const char *)text, size, options,
                                error));
done:
    fam_free(checkpoint->memory, text);
    fam_free(checkpoint->memory, path);
    return status;
}

/* Opens one weights file as the next of checkpoint->files, which has room. */
static fam_status open_file(fam_checkpoint *checkpoint, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    char *path = NULL;
    FAM_TRY_ALLOC(path, fam_path_join(checkpoint->memory, checkpoint->path, name), checkpoint->path);
    FAM_TRY(fam_safetensors_open(&checkpoint->files[checkpoint->file_count], checkpoint->memory, path, error));
    checkpoint->file_count++;
done:
    fam_free(checkpoint->memory, path);
    return status;
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Opens each file that the map names, once, in the order of their names. */
static fam_status open_shards(fam_checkpoint *checkpoint, json_t *map, fam_error *error)
{
    fam_status status = FAM_OK;
    const char **names = NULL, *tensor;
    json_t *file;
    size_t count = 0, size = json_object_size(map);
    FAM_TRY_ALLOC(names, fam_alloc_array(checkpoint->memory, size, sizeof *names), checkpoint->path);
    json_object_foreach(map, tensor, file)
    {
        names[count++] = json_string_value(file);
    }
    qsort(names, count, sizeof *names, compare_text);
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[distinct - 1]) != 0)
            names[distinct++] = names[i];
    FAM_TRY_ALLOC(checkpoint->files, fam_alloc_array(checkpoint->memory, distinct, sizeof *checkpoint->files),
                  checkpoint->path);
    for (size_t i = 0; i < distinct; i++)
        FAM_TRY(open_file(checkpoint, names[i], error));
done:
    fam_free(checkpoint->memory, names);
    return status;
}

static const char *file_name(const fam_safetensors *file)
{
    const char *path = fam_safetensors_path(file), *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Every tensor of a shard must be listed under that shard. `listed` counts them. */
static fam_status check_shard(const fam_safetensors *file, const json_t *map, const char *index_path, size_t *listed,
                              uint64_t *bytes, fam_error *error)
{
    fam_safetensors_entry entry;
    for (int64_t i = 0; fam_safetensors_entry_at(file, i, &entry); i++) {
        const char *where = json_string_value(json_object_get(map, entry.name));
        if (!where || strcmp(where, file_name(file)) != 0)
            return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                                 "%s: weight_map: %.200s: found %s, need \"%s\", which has it", index_path, entry.name,
                                 where ? where : "nothing", file_name(file));
        ++*listed;
        *bytes += entry.bytes;
    }
    return FAM_OK;
}

/* Names a tensor of the map that its file does not have. */
static fam_status find_missing(const fam_checkpoint *checkpoint, json_t *map, const char *index_path, fam_error *error)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        fam_safetensors_entry entry;
        bool found = false;
        for (int64_t i = 0; i < checkpoint->file_count && !found; i++)
            found = fam_safetensors_find(checkpoint->files[i], tensor, &entry);
        if (!found)
            return fam_error_set(error, FAM_STATUS_BAD_FORMAT,
                                 "%s: weight_map: %.200s: found no such tensor in \"%s\", need it there", index_path,
                                 tensor, json_string_value(value));
    }
    return FAM_OK;
}

static fam_status check_total(json_t *index, const char *index_path, uint64_t bytes,
                              const fam_checkpoint_options *options, fam_error *error)
{
    const json_t *total = json_object_get(json_object_get(index, "metadata"), "total_size");
    char words[FAM_JSON_WORDS_SIZE];
    if (!total || json_is_null(total) || fam_key_ignored(options, "total_size"))
        return FAM_OK;
    /* some tools write it as a real number */
    bool equal = json_is_integer(total) ? json_integer_value(total) >= 0 && (uint64_t)json_integer_value(total) == bytes
                                        : json_is_real(total) && json_real_value(total) == (double)bytes;
    if (equal)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: metadata: total_size: found %s, need %llu", index_path,
                         fam_json_words(total, words), (unsigned long long)bytes);
}

static fam_status open_sharded(fam_checkpoint *checkpoint, const fam_checkpoint_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    char *path = NULL;
    uint8_t *text = NULL;
    json_t *index = NULL, *map = NULL;
    size_t size = 0, listed = 0;
    uint64_t bytes = 0;
    FAM_TRY_ALLOC(path, fam_path_join(checkpoint->memory, checkpoint->path, index_name), checkpoint->path);
    FAM_TRY(fam_file_read(&text, &size, checkpoint->memory, path, FAM_INDEX_BYTES_MAX, error));
    FAM_TRY(fam_hf_index_parse(&index, path, (const char *)text, size, error));
    map = json_object_get(index, "weight_map");
    FAM_TRY(open_shards(checkpoint, map, error));
    for (int64_t i = 0; i < checkpoint->file_count; i++)
        FAM_TRY(check_shard(checkpoint->files[i], map, path, &listed, &bytes, error));
    if (listed != json_object_size(map))
        FAM_TRY(find_missing(checkpoint, map, path, error));
    FAM_TRY(check_total(index, path, bytes, options, error));
done:
    json_decref(index);
    fam_free(checkpoint->memory, text);
    fam_free(checkpoint->memory, path);
    return status;
}

/* ---- the directory ----------------------------------------------------------------------------------------------- */

/* Says what a directory lacks, and what to do about it. */
static fam_status check_files(const fam_checkpoint *checkpoint, fam_error *error)
{
    static const char *const others[] = {"pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth",
                                         "tf_model.h5",       "flax_model.msgpack",           "model.onnx"};
    bool config = has_file(checkpoint, "config.json");
    bool weights = has_file(checkpoint, single_name) || has_file(checkpoint, index_name);
    if (config && weights)
        return FAM_OK;
    for (size_t i = 0; !weights && i < sizeof others / sizeof *others; i++)
        if (has_file(checkpoint, others[i]))
            return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                                 "%s: weights: found %s, need %s: convert it (in Python: "
                                 "transformers.AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT))",
                                 checkpoint->path, others[i], single_name);
    return fam_error_set(error, FAM_STATUS_NOT_FOUND,
                         "%s: model directory: found %s, need config.json and %s or %s (of a GGUF model give the file)",
                         checkpoint->path, config ? "no weights" : "no config.json", single_name, index_name);
}

static fam_status open_weights(fam_checkpoint *checkpoint, const fam_checkpoint_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    if (!has_file(checkpoint, single_name)) {
        FAM_TRY(open_sharded(checkpoint, options, error));
        goto done;
    }
    if (has_file(checkpoint, index_name)) /* as in transformers, the single file goes first */
        fam_warn(options, "%s: %s: not used, since there is %s", checkpoint->path, index_name, single_name);
    FAM_TRY_ALLOC(checkpoint->files, fam_alloc_array(checkpoint->memory, 1, sizeof *checkpoint->files),
                  checkpoint->path);
    FAM_TRY(open_file(checkpoint, single_name, error));
done:
    return status;
}

static bool lookup(const fam_checkpoint *checkpoint, const char *name, fam_found *out)
{
    fam_safetensors_entry entry;
    for (int64_t i = 0; i < checkpoint->file_count; i++)
        if (fam_safetensors_find(checkpoint->files[i], name, &entry)) {
            *out = (fam_found){entry.tensor, entry.dtype, entry.n_dims};
            return true;
        }
    return false;
}

/* What may lie in a file and is not needed: the table of inverse frequencies that old versions stored, and an output
 * matrix that the configuration ties to the embedding. */
static bool is_harmless(const fam_checkpoint *checkpoint, const char *name)
{
    static const char table[] = "rotary_emb.inv_freq";
    size_t length = strlen(name);
    if (length >= sizeof table - 1 && strcmp(name + length - (sizeof table - 1), table) == 0)
        return true;
    return checkpoint->config.tied_embeddings && strcmp(name, "lm_head.weight") == 0;
}

static fam_status check_extras(const fam_checkpoint *checkpoint, const fam_checkpoint_options *options,
                               fam_error *error)
{
    for (int64_t f = 0; f < checkpoint->file_count; f++) {
        fam_safetensors_entry entry;
        for (int64_t i = 0; fam_safetensors_entry_at(checkpoint->files[f], i, &entry); i++) {
            if (fam_checkpoint_tensor(checkpoint, entry.name))
                continue;
            if (!is_harmless(checkpoint, entry.name))
                return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                                     "%s: tensor %.200s: found one that the configuration does not call for, need none",
                                     fam_safetensors_path(checkpoint->files[f]), entry.name);
            fam_warn(options, "%s: tensor %.200s: not used", fam_safetensors_path(checkpoint->files[f]), entry.name);
        }
    }
    return FAM_OK;
}

fam_status fam_hf_directory_open(fam_checkpoint *checkpoint, const fam_checkpoint_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_found prompt = {0};
    FAM_TRY(check_files(checkpoint, error));
    FAM_TRY(read_config(checkpoint, options, error));
    FAM_TRY(open_weights(checkpoint, options, error));
    const fam_family *family = fam_family_find(checkpoint->config.family, strlen(checkpoint->config.family));
    bool has_prompt = lookup(checkpoint, "fam.prompt", &prompt);
    FAM_FAIL_IF(has_prompt && !prompt.tensor, FAM_STATUS_UNSUPPORTED,
                "%s: tensor fam.prompt: type: found %s of %d dimensions, need F32, F16 or BF16", checkpoint->path,
                prompt.dtype, prompt.n_dims);
    FAM_TRY(fam_checkpoint_collect(checkpoint, family, lookup, prompt.tensor, error));
    FAM_TRY(check_extras(checkpoint, options, error));
done:
    return status;
}
