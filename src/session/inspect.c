/*
 * session/inspect.c: what a path holds, as JSON: a model, an adapter directory, or a session file.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/checkpoint.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/session_file.h"
#include "fam/fam.h"

/* Members are added with their failures ignored one by one: a JSON object that lacks one is caught at the end by
 * json_dumps only if memory is short, which is also when they fail. */
static void set_integer(json_t *object, const char *key, int64_t value)
{
    json_object_set_new(object, key, json_integer(value));
}

static void set_string(json_t *object, const char *key, const char *value)
{
    json_object_set_new(object, key, json_string(value));
}

static json_t *describe_settings(const fam_settings *s)
{
    json_t *object = json_object();
    if (s->mode >= 0)
        set_string(object, "mode", fam_mode_name(s->mode));
    if (s->block_size >= 0)
        set_integer(object, "block_size", s->block_size);
    if (s->memory_segments >= 0)
        set_integer(object, "memory_segments", s->memory_segments);
    if (s->fam_length >= 0)
        set_integer(object, "fam_length", s->fam_length);
    if (s->window >= 0)
        set_integer(object, "window", s->window);
    if (s->state_norm >= 0)
        set_string(object, "state_norm", fam_state_norm_name(s->state_norm));
    if (s->fam_positions >= 0)
        set_string(object, "fam_positions", fam_positions_name(s->fam_positions));
    return object;
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

/* Counts tensors, bytes and parameters by type. */
static void describe_tensors(json_t *object, const fam_checkpoint *checkpoint)
{
    uint64_t bytes[FAM_TYPE_COUNT] = {0}, total = 0;
    int64_t count[FAM_TYPE_COUNT] = {0}, parameters = 0, tensors = 0;
    const fam_tensor *tensor;
    while ((tensor = fam_checkpoint_tensor_at(checkpoint, tensors))) {
        int64_t elements = 1;
        for (int d = 0; d < tensor->n_dims; d++)
            elements *= tensor->shape[d];
        count[tensor->type]++;
        bytes[tensor->type] += tensor->bytes;
        total += tensor->bytes;
        if (strcmp(tensor->name, "fam.prompt") != 0)
            parameters += elements;
        tensors++;
    }
    json_t *types = json_object();
    for (int t = 0; t < FAM_TYPE_COUNT; t++) {
        if (count[t] == 0)
            continue;
        json_t *type = json_object();
        set_integer(type, "tensors", count[t]);
        set_integer(type, "bytes", (int64_t)bytes[t]);
        json_object_set_new(types, fam_type_name((fam_type)t), type);
    }
    set_integer(object, "parameters", parameters);
    set_integer(object, "tensors", tensors);
    set_integer(object, "tensor_bytes", (int64_t)total);
    json_object_set_new(object, "types", types);
}

static fam_status inspect_model(json_t *object, fam_memory *memory, const char *path, fam_error *error)
{
    fam_checkpoint *checkpoint = NULL;
    fam_status status = fam_checkpoint_open(&checkpoint, memory, path, NULL, error);
    if (status != FAM_OK)
        return status;
    const fam_model_config *c = fam_checkpoint_config(checkpoint);
    set_string(object, "kind", "model");
    set_string(object, "container",
               fam_checkpoint_container(checkpoint) == FAM_CONTAINER_GGUF ? "gguf" : "safetensors");
    set_string(object, "family", c->family);
    set_integer(object, "vocab_size", c->vocab_size);
    set_integer(object, "hidden_size", c->hidden_size);
    set_integer(object, "intermediate_size", c->intermediate_size);
    set_integer(object, "layers", c->layers);
    set_integer(object, "heads", c->heads);
    set_integer(object, "kv_heads", c->kv_heads);
    set_integer(object, "head_dim", c->head_dim);
    set_integer(object, "context_length", c->context_length);
    json_object_set_new(object, "rope_theta", json_real(c->rope_theta));
    json_object_set_new(object, "rms_norm_eps", json_real(c->rms_norm_eps));
    json_object_set_new(object, "tied_embeddings", json_boolean(c->tied_embeddings));
    describe_tensors(object, checkpoint);
    json_object_set_new(object, "fam", describe_settings(fam_checkpoint_settings(checkpoint)));
    fam_checkpoint_free(checkpoint);
    return FAM_OK;
}

/* ---- adapters ----------------------------------------------------------------------------------------------------- */

enum { CONFIG_MAX_BYTES = 16 << 20 };

/* The JSON file as it is, under `key`; absent files are left out. */
static fam_status inspect_config(json_t *object, const char *key, fam_memory *memory, const char *directory,
                                 const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *config = NULL;
    char *path = fam_path_join(memory, directory, name);
    FAM_FAIL_IF(!path, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", directory);
    if (fam_path_exists(path)) {
        FAM_TRY(fam_json_read(&config, memory, path, CONFIG_MAX_BYTES, error));
        json_object_set_new(object, key, config);
    }
done:
    fam_free(memory, path);
    return status;
}

static fam_status inspect_tensors(json_t *object, const char *key, fam_memory *memory, const char *directory,
                                  const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_safetensors *file = NULL;
    char *path = fam_path_join(memory, directory, name);
    FAM_FAIL_IF(!path, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", directory);
    if (fam_path_exists(path)) {
        FAM_TRY(fam_safetensors_open(&file, memory, path, error));
        json_t *list = json_object();
        int64_t count = 0;
        uint64_t bytes = 0;
        for (const fam_tensor *tensor; (tensor = fam_safetensors_tensor_at(file, count)); count++)
            bytes += tensor->bytes;
        set_integer(list, "tensors", count);
        set_integer(list, "bytes", (int64_t)bytes);
        json_object_set_new(object, key, list);
    }
done:
    fam_safetensors_free(file);
    fam_free(memory, path);
    return status;
}

static fam_status inspect_adapter(json_t *object, fam_memory *memory, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    set_string(object, "kind", "adapter");
    FAM_TRY(inspect_config(object, "lora", memory, path, "adapter_config.json", error));
    FAM_TRY(inspect_tensors(object, "lora_tensors", memory, path, "adapter_model.safetensors", error));
    FAM_TRY(inspect_config(object, "fam", memory, path, "fam_config.json", error));
    FAM_TRY(inspect_tensors(object, "prompt_tensors", memory, path, "fam_prompt.safetensors", error));
done:
    return status;
}

static bool holds(fam_memory *memory, const char *directory, const char *name)
{
    char *path = fam_path_join(memory, directory, name);
    bool found = path && fam_path_exists(path);
    fam_free(memory, path);
    return found;
}

/* ---- sessions ----------------------------------------------------------------------------------------------------- */

/* The note if it is a JSON object, as that of the program fam is; else nothing. */
static fam_status inspect_note(json_t *object, const char *path, fam_error *error)
{
    fam_session_file file;
    fam_status status = fam_session_file_open(&file, path, error);
    if (status != FAM_OK)
        return status;
    size_t size = file.length[FAM_SECTION_NOTE];
    json_t *note = size > 0 ? json_loadb((const char *)file.section[FAM_SECTION_NOTE], size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(note))
        json_object_set(object, "note", note);
    json_decref(note);
    fam_session_file_close(&file);
    return FAM_OK;
}

static fam_status inspect_session(json_t *object, const char *path, fam_error *error)
{
    fam_session_file_info info;
    fam_status status = fam_session_file_inspect(path, &info, error);
    if (status != FAM_OK)
        return status;
    set_string(object, "kind", "session");
    set_integer(object, "version", info.version);
    set_integer(object, "tokens_read", info.tokens_read);
    set_string(object, "mode", fam_mode_name(info.mode));
    set_integer(object, "layers", info.layers);
    set_integer(object, "hidden_size", info.hidden_size);
    set_integer(object, "vocab_size", info.vocab_size);
    set_integer(object, "block_size", info.block_size);
    set_integer(object, "memory_segments", info.memory_segments);
    set_integer(object, "fam_length", info.fam_length);
    set_integer(object, "window", info.window);
    set_integer(object, "file_bytes", (int64_t)info.file_bytes);
    set_integer(object, "state_bytes", (int64_t)info.state_bytes);
    set_integer(object, "ring_bytes", (int64_t)info.ring_bytes);
    set_integer(object, "note_bytes", (int64_t)info.note_bytes);
    return inspect_note(object, path, error);
}

static bool is_session_file(const char *path)
{
    fam_mapping mapping;
    if (fam_path_is_directory(path) || fam_mapping_open(&mapping, path, NULL) != FAM_OK)
        return false;
    bool is = mapping.size >= 7 && memcmp(mapping.data, "FAMSESS", 7) == 0;
    fam_mapping_close(&mapping);
    return is;
}

/* A model, or nothing that is known. */
static fam_status inspect_other(json_t *object, fam_memory *memory, const char *path, fam_error *error)
{
    fam_mapping mapping;
    bool other = fam_path_is_directory(path) && !holds(memory, path, "config.json") &&
                 !holds(memory, path, "model.safetensors") && !holds(memory, path, "model.safetensors.index.json");
    if (!fam_path_is_directory(path) && fam_mapping_open(&mapping, path, NULL) == FAM_OK) {
        other = mapping.size < 4 || (memcmp(mapping.data, "GGUF", 4) != 0 && memcmp(mapping.data, "FUGG", 4) != 0);
        fam_mapping_close(&mapping);
    }
    fam_status status = inspect_model(object, memory, path, error);
    if (!other || status == FAM_STATUS_UNSUPPORTED || status == FAM_STATUS_OUT_OF_MEMORY)
        return status;
    return fam_error_set(error, status, "%s: found neither a model directory, a GGUF file, an adapter nor a session", path);
}

fam_status fam_inspect(char **json, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory memory;
    json_t *object = NULL;
    fam_memory_init(&memory);
    FAM_TRY_ALLOC(object, json_object(), path);
    set_string(object, "path", path);
    if (is_session_file(path))
        FAM_TRY(inspect_session(object, path, error));
    else if (fam_path_is_directory(path) && !holds(&memory, path, "config.json") &&
             (holds(&memory, path, "adapter_config.json") || holds(&memory, path, "fam_config.json")))
        FAM_TRY(inspect_adapter(object, &memory, path, error));
    else
        FAM_TRY(inspect_other(object, &memory, path, error));
    FAM_TRY_ALLOC(*json, json_dumps(object, JSON_INDENT(1)), path);
done:
    json_decref(object);
    return status;
}

void fam_string_free(char *text)
{
    free(text);
}
