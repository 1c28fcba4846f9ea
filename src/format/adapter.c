/*
 * format/adapter.c: see adapter.h. adapter_config.json's text is adapter_config.c's.
 *
 * A projection's matrices are "base_model.model.<module>.lora_A.weight" [r, in] and "...lora_B.weight" [out, r].
 */
#include "format/adapter.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "fam/modes.h"
#include "format/model_private.h"

enum { NAME_SIZE = FAM_ROLE_NAME_SIZE + 64 };

typedef struct lora {
    char module[FAM_ROLE_NAME_SIZE];
    const fam_tensor *a, *b;
} lora;

struct fam_adapter {
    fam_memory *memory;
    char *path;
    int64_t rank;
    double scale, alpha;
    bool rslora;
    fam_settings settings;
    fam_safetensors *lora_file, *prompt_file; /* NULL where there is none */
    lora *loras;                              /* sorted by module */
    int64_t lora_count;
    const fam_tensor *prompt;
};

static bool has_file(const fam_adapter *adapter, const char *name)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", adapter->path, name);
    return length > 0 && (size_t)length < sizeof path && fam_path_exists(path);
}

/* ---- LoRA -------------------------------------------------------------------------------------------------------- */

/* Whether an entry of target_modules means this module, by PEFT's rule: the whole name, or its end after a point. */
static bool target_matches(const char *target, const char *module)
{
    size_t length = strlen(target), whole = strlen(module);
    if (length > whole || strcmp(module + whole - length, target) != 0)
        return false;
    return length == whole || module[whole - length - 1] == '.';
}

/* Marks the entries of target_modules that mean this module; whether there is one. */
static bool is_target(const fam_peft_config *config, const char *module, bool *used)
{
    bool found = false;
    for (size_t i = 0; i < json_array_size(config->targets); i++)
        if (target_matches(json_string_value(json_array_get(config->targets, i)), module))
            found = used[i] = true;
    return found;
}

/* One of the two matrices of a module; *out is NULL if the file does not have it. */
static fam_status find_matrix(const fam_adapter *adapter, const char *module, char letter, int64_t rows,
                              int64_t columns, const fam_tensor **out, fam_error *error)
{
    fam_status status = FAM_OK;
    char name[NAME_SIZE], found[FAM_SHAPE_WORDS_SIZE];
    fam_safetensors_entry entry;
    const char *path = fam_safetensors_path(adapter->lora_file);
    *out = NULL;
    snprintf(name, sizeof name, "base_model.model.%s.lora_%c.weight", module, letter);
    if (!fam_safetensors_find(adapter->lora_file, name, &entry))
        goto done;
    const fam_tensor *tensor = entry.tensor;
    FAM_FAIL_IF(!tensor, FAM_STATUS_UNSUPPORTED,
                "%s: tensor %s: type: found %s of %d dimensions, need F32, F16 or BF16", path, name, entry.dtype,
                entry.n_dims);
    FAM_FAIL_IF(tensor->n_dims != 2 || tensor->shape[0] != rows || tensor->shape[1] != columns, FAM_STATUS_MISMATCH,
                "%s: tensor %s: shape: found %s, need [%lld, %lld] for this model and rank", path, name,
                fam_shape_words(tensor->n_dims, tensor->shape, found), (long long)rows, (long long)columns);
    *out = tensor;
done:
    return status;
}

/* Looks one projection up, and adds it if the file has LoRA for it. */
static fam_status add_module(fam_adapter *adapter, const fam_peft_config *config, const char *module, int64_t rows,
                             int64_t columns, bool *used, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_tensor *a, *b;
    const char *path = fam_safetensors_path(adapter->lora_file);
    FAM_TRY(find_matrix(adapter, module, 'A', adapter->rank, columns, &a, error));
    FAM_TRY(find_matrix(adapter, module, 'B', rows, adapter->rank, &b, error));
    bool target = config->targets && is_target(config, module, used);
    FAM_FAIL_IF(!a != !b, FAM_STATUS_BAD_FORMAT, "%s: module %s: found lora_%c only, need lora_A and lora_B", path,
                module, a ? 'A' : 'B');
    FAM_FAIL_IF(target && !a, FAM_STATUS_BAD_FORMAT, "%s: module %s: found no tensors, need those of target_modules",
                path, module);
    FAM_FAIL_IF(config->targets && !target && a, FAM_STATUS_BAD_FORMAT,
                "%s: module %s: found tensors, need none: target_modules does not list it", path, module);
    if (!a)
        goto done;
    lora *out = &adapter->loras[adapter->lora_count++];
    snprintf(out->module, sizeof out->module, "%s", module);
    out->a = a;
    out->b = b;
done:
    return status;
}

static int by_module(const void *a, const void *b)
{
    return strcmp(((const lora *)a)->module, ((const lora *)b)->module);
}

static const lora *find_lora(const fam_adapter *adapter, const char *module)
{
    lora key = {0};
    if (!adapter->loras || strlen(module) >= sizeof key.module)
        return NULL;
    snprintf(key.module, sizeof key.module, "%s", module);
    return bsearch(&key, adapter->loras, (size_t)adapter->lora_count, sizeof *adapter->loras, by_module);
}

/* Names a tensor that is none of the matrices found. */
static fam_status refuse_extra(const fam_adapter *adapter, fam_error *error)
{
    static const char prefix[] = "base_model.model.";
    fam_safetensors_entry entry;
    for (int64_t i = 0; fam_safetensors_entry_at(adapter->lora_file, i, &entry); i++) {
        const lora *found = NULL;
        char module[FAM_ROLE_NAME_SIZE];
        const char *end = strstr(entry.name, ".lora_");
        if (strncmp(entry.name, prefix, sizeof prefix - 1) == 0 && end && end > entry.name + sizeof prefix - 1) {
            const char *begin = entry.name + sizeof prefix - 1;
            snprintf(module, sizeof module, "%.*s", (int)(end - begin), begin);
            found = find_lora(adapter, module);
        }
        if (!found || (entry.tensor != found->a && entry.tensor != found->b))
            return fam_error_set(
                error, FAM_STATUS_UNSUPPORTED,
                "%s: tensor %.200s: found one that is no LoRA matrix of a projection of this model, need "
                "none",
                fam_safetensors_path(adapter->lora_file), entry.name);
    }
    return FAM_OK;
}

static fam_status collect_loras(fam_adapter *adapter, const fam_peft_config *config, const char *config_path,
                                const fam_model_config *base, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_family *family = fam_family_find(base->family, strlen(base->family));
    bool *used = NULL;
    size_t targets = json_array_size(config->targets), roles = 0;
    FAM_FAIL_IF(!family, FAM_STATUS_UNSUPPORTED, "%s: model family: found \"%s\", need %s", config_path, base->family,
                fam_family_names());
    while (family->layer[roles].hf)
        roles++;
    FAM_TRY_ALLOC(used, fam_alloc_array(adapter->memory, targets, sizeof *used), config_path);
    FAM_TRY_ALLOC(adapter->loras,
                  fam_alloc_array(adapter->memory, (size_t)base->layers * roles, sizeof *adapter->loras), config_path);
    for (int64_t layer = 0; layer < base->layers; layer++)
        for (const fam_role *role = family->layer; role->hf; role++) {
            char module[FAM_ROLE_NAME_SIZE];
            if (role->rows == FAM_DIM_NONE) /* a norm */
                continue;
            snprintf(module, sizeof module, "model.layers.%lld.%s", (long long)layer, role->hf);
            FAM_TRY(add_module(adapter, config, module, fam_dim_length(base, role->rows),
                               fam_dim_length(base, role->columns), used, error));
        }
    for (size_t i = 0; i < targets; i++)
        FAM_FAIL_IF(!used[i], FAM_STATUS_UNSUPPORTED,
                    "%s: target_modules: found \"%.128s\", need projections of the layers", config_path,
                    json_string_value(json_array_get(config->targets, i)));
    qsort(adapter->loras, (size_t)adapter->lora_count, sizeof *adapter->loras, by_module);
    FAM_TRY(refuse_extra(adapter, error));
    FAM_FAIL_IF(adapter->lora_count == 0, FAM_STATUS_BAD_FORMAT, "%s: found no tensors, need LoRA matrices",
                fam_safetensors_path(adapter->lora_file));
done:
    fam_free(adapter->memory, used);
    return status;
}

static fam_status read_lora(fam_adapter *adapter, const fam_model_config *base, fam_error *error)
{
    fam_status status = FAM_OK;
    char *config_path = NULL, *weights_path = NULL;
    uint8_t *text = NULL;
    size_t size = 0;
    fam_peft_config config = {0};
    FAM_TRY_ALLOC(config_path, fam_path_join(adapter->memory, adapter->path, "adapter_config.json"), adapter->path);
    FAM_TRY_ALLOC(weights_path, fam_path_join(adapter->memory, adapter->path, "adapter_model.safetensors"),
                  adapter->path);
    FAM_FAIL_IF(
        !has_file(adapter, "adapter_model.safetensors") && has_file(adapter, "adapter_model.bin"),
        FAM_STATUS_UNSUPPORTED,
        "%s: weights: found adapter_model.bin, need adapter_model.safetensors: convert it (PEFT: load it and call "
        "save_pretrained)",
        adapter->path);
    FAM_TRY(fam_file_read(&text, &size, adapter->memory, config_path, FAM_CONFIG_BYTES_MAX, error));
    FAM_TRY(fam_peft_config_parse(&config, config_path, (const char *)text, size, error));
    FAM_TRY(fam_safetensors_open(&adapter->lora_file, adapter->memory, weights_path, error));
    adapter->rank = config.rank;
    adapter->scale = config.scale;
    adapter->alpha = config.alpha;
    adapter->rslora = config.rslora;
    FAM_TRY(collect_loras(adapter, &config, config_path, base, error));
done:
    json_decref(config.object);
    fam_free(adapter->memory, text);
    fam_free(adapter->memory, config_path);
    fam_free(adapter->memory, weights_path);
    return status;
}

/* ---- FAM --------------------------------------------------------------------------------------------------------- */

static fam_status read_settings(fam_adapter *adapter, fam_error *error)
{
    fam_status status = FAM_OK;
    char *path = NULL;
    json_t *object = NULL;
    FAM_TRY_ALLOC(path, fam_path_join(adapter->memory, adapter->path, "fam_config.json"), adapter->path);
    FAM_TRY(fam_json_read(&object, adapter->memory, path, FAM_CONFIG_BYTES_MAX, error));
    FAM_TRY(fam_settings_from_json(&adapter->settings, object, path, error));
done:
    json_decref(object);
    fam_free(adapter->memory, path);
    return status;
}

static fam_status read_prompt(fam_adapter *adapter, const fam_model_config *base, fam_error *error)
{
    fam_status status = FAM_OK;
    char *path = NULL;
    fam_safetensors_entry entry;
    FAM_TRY_ALLOC(path, fam_path_join(adapter->memory, adapter->path, "fam_prompt.safetensors"), adapter->path);
    FAM_TRY(fam_safetensors_open(&adapter->prompt_file, adapter->memory, path, error));
    for (int64_t i = 0; fam_safetensors_entry_at(adapter->prompt_file, i, &entry); i++)
        FAM_FAIL_IF(strcmp(entry.name, "fam.prompt") != 0, FAM_STATUS_UNSUPPORTED,
                    "%s: tensor %.200s: found an unknown one, need fam.prompt only", path, entry.name);
    FAM_FAIL_IF(!fam_safetensors_find(adapter->prompt_file, "fam.prompt", &entry), FAM_STATUS_BAD_FORMAT,
                "%s: tensor fam.prompt: found nothing, need it", path);
    FAM_FAIL_IF(!entry.tensor, FAM_STATUS_UNSUPPORTED,
                "%s: fam.prompt: type: found %s of %d dimensions, need F32, F16 or BF16", path, entry.dtype,
                entry.n_dims);
    FAM_TRY(fam_prompt_check(entry.tensor, path, base->hidden_size, &adapter->settings, error));
    adapter->prompt = entry.tensor;
done:
    fam_free(adapter->memory, path);
    return status;
}

/* ---- the directory ----------------------------------------------------------------------------------------------- */

static fam_status read_directory(fam_adapter *adapter, const fam_model_config *base, fam_error *error)
{
    fam_status status = FAM_OK;
    bool has_lora = has_file(adapter, "adapter_config.json") || has_file(adapter, "adapter_model.safetensors");
    bool has_settings = has_file(adapter, "fam_config.json"), has_prompt = has_file(adapter, "fam_prompt.safetensors");
    FAM_FAIL_IF(!has_lora && !has_settings && !has_prompt, FAM_STATUS_NOT_FOUND,
                "%s: adapter: found none of its files, need adapter_config.json and adapter_model.safetensors, or "
                "fam_config.json and fam_prompt.safetensors",
                adapter->path);
    if (has_settings)
        FAM_TRY(read_settings(adapter, error));
    FAM_FAIL_IF(adapter->settings.mode == FAM_MODE_FAM && !has_prompt, FAM_STATUS_NOT_FOUND,
                "%s: fam_prompt.safetensors: found nothing, need it for mode fam in fam_config.json", adapter->path);
    if (has_prompt)
        FAM_TRY(read_prompt(adapter, base, error));
    if (has_lora)
        FAM_TRY(read_lora(adapter, base, error));
done:
    return status;
}

fam_status fam_adapter_open(fam_adapter **out, fam_memory *memory, const char *path, const fam_model_config *base,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    fam_adapter *adapter = NULL;
    if (!fam_path_exists(path))
        return fam_path_not_found(path, "an adapter directory", error);
    FAM_FAIL_IF(!fam_path_is_directory(path), FAM_STATUS_INVALID_ARGUMENT,
                "%s: adapter: found a file, need the directory that holds adapter_config.json or fam_config.json",
                path);
    FAM_TRY_ALLOC(adapter, fam_alloc_zeroed(memory, sizeof *adapter), path);
    adapter->memory = memory;
    adapter->settings = fam_settings_none();
    FAM_TRY_ALLOC(adapter->path, fam_strdup(memory, path), path);
    FAM_TRY(read_directory(adapter, base, error));
    *out = adapter;
    adapter = NULL;
done:
    fam_adapter_free(adapter);
    return status;
}

void fam_adapter_free(fam_adapter *adapter)
{
    if (!adapter)
        return;
    fam_memory *memory = adapter->memory;
    fam_safetensors_free(adapter->lora_file);
    fam_safetensors_free(adapter->prompt_file);
    fam_free(memory, adapter->loras);
    fam_free(memory, adapter->path);
    fam_free(memory, adapter);
}

const char *fam_adapter_path(const fam_adapter *adapter)
{
    return adapter->path;
}

int64_t fam_adapter_rank(const fam_adapter *adapter)
{
    return adapter->rank;
}

double fam_adapter_alpha(const fam_adapter *adapter)
{
    return adapter->alpha;
}

bool fam_adapter_rslora(const fam_adapter *adapter)
{
    return adapter->rslora;
}

double fam_adapter_scale(const fam_adapter *adapter)
{
    return adapter->scale;
}

const fam_settings *fam_adapter_settings(const fam_adapter *adapter)
{
    return &adapter->settings;
}

int64_t fam_adapter_lora_count(const fam_adapter *adapter)
{
    return adapter->lora_count;
}

bool fam_adapter_lora(const fam_adapter *adapter, const char *module, const fam_tensor **a, const fam_tensor **b)
{
    const lora *found = find_lora(adapter, module);
    if (!found)
        return false;
    *a = found->a;
    *b = found->b;
    return true;
}

const fam_tensor *fam_adapter_prompt(const fam_adapter *adapter)
{
    return adapter->prompt;
}

static void hash_file(uint8_t hash[16], const fam_safetensors *file)
{
    const fam_tensor *tensor;
    for (int64_t i = 0; file && (tensor = fam_safetensors_tensor_at(file, i)); i++) {
        fam_hash_add_tensor_head(hash, tensor);
        fam_hash_add(hash, tensor->data, tensor->bytes);
    }
}

void fam_adapter_fingerprint(const fam_adapter *adapter, uint8_t out[16])
{
    memset(out, 0, 16);
    fam_hash_add(out, &adapter->rank, sizeof adapter->rank);
    fam_hash_add(out, &adapter->scale, sizeof adapter->scale);
    hash_file(out, adapter->lora_file);
    hash_file(out, adapter->prompt_file);
}

fam_settings fam_adapters_settings(const fam_checkpoint *checkpoint, fam_adapter *const *adapters, int count)
{
    fam_settings settings = *fam_checkpoint_settings(checkpoint);
    for (int i = 0; i < count; i++)
        fam_settings_merge(&settings, fam_adapter_settings(adapters[i]));
    return settings;
}

const fam_tensor *fam_adapters_prompt(const fam_checkpoint *checkpoint, fam_adapter *const *adapters, int count)
{
    const fam_tensor *prompt = fam_checkpoint_tensor(checkpoint, "fam.prompt");
    for (int i = 0; i < count; i++)
        if (fam_adapter_prompt(adapters[i]))
            prompt = fam_adapter_prompt(adapters[i]);
    return prompt;
}
