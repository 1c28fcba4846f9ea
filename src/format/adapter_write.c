/*
 * format/adapter_write.c: see adapter_write.h. What is written here adapter.c must read, and PEFT.
 */
#include "format/adapter_write.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/directory.h"
#include "base/file.h"
#include "base/float16.h"
#include "fam/modes.h"
#include "format/model_private.h"

enum { PROJECTIONS = 7 };

static const char *const modules[PROJECTIONS] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",
};

const char *fam_projection_module(int index)
{
    return index >= 0 && index < PROJECTIONS ? modules[index] : NULL;
}

const char *fam_projection_name(int index)
{
    const char *module = fam_projection_module(index);
    return module ? strchr(module, '.') + 1 : NULL;
}

/* ---- what is asked for ------------------------------------------------------------------------------------------- */

/* The projection that a matrix belongs to: "base_model.model.model.layers.N.<module>.lora_A.weight"; -1 if it is none.
 * *second: it is B. */
static int projection_of(const char *name, bool *second)
{
    for (int i = 0; i < PROJECTIONS; i++) {
        char end[64];
        for (int letter = 0; letter < 2; letter++) {
            int length = snprintf(end, sizeof end, ".%s.lora_%c.weight", modules[i], 'A' + letter);
            size_t whole = strlen(name);
            if (whole > (size_t)length && strcmp(name + whole - (size_t)length, end) == 0) {
                *second = letter == 1;
                return i;
            }
        }
    }
    return -1;
}

static fam_status check_matrix(const fam_adapter_description *description, const fam_tensor *tensor, unsigned *seen,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    bool second = false;
    int projection = projection_of(tensor->name, &second);
    FAM_FAIL_IF(projection < 0 || !(description->targets >> projection & 1), FAM_STATUS_INVALID_ARGUMENT,
                "adapter: tensor %.200s: found one that is no LoRA matrix of a target, need only those", tensor->name);
    FAM_FAIL_IF(tensor->type != FAM_TYPE_F32 || tensor->n_dims != 2 || tensor->shape[second] != description->rank,
                FAM_STATUS_INVALID_ARGUMENT,
                "adapter: tensor %.200s: found another type or shape, need F32 of rank %lld", tensor->name,
                (long long)description->rank);
    *seen |= 1u << projection;
done:
    return status;
}

static fam_status check_description(const fam_adapter_description *description, const fam_tensor *lora, int64_t count,
                                    const fam_tensor *prompt, fam_error *error)
{
    fam_status status = FAM_OK;
    unsigned seen = 0;
    FAM_FAIL_IF(description->rank < 0 || !isfinite(description->alpha), FAM_STATUS_INVALID_ARGUMENT,
                "adapter: found rank %lld and alpha %g, need a rank from 0 and a finite alpha",
                (long long)description->rank, description->alpha);
    FAM_FAIL_IF((description->rank > 0) != (count > 0), FAM_STATUS_INVALID_ARGUMENT,
                "adapter: found rank %lld and %lld matrices, need both or neither", (long long)description->rank,
                (long long)count);
    for (int64_t i = 0; i < count; i++)
        FAM_TRY(check_matrix(description, &lora[i], &seen, error));
    FAM_FAIL_IF(count > 0 && seen != description->targets, FAM_STATUS_INVALID_ARGUMENT,
                "adapter: targets: found a projection without matrices, need them for each");
    FAM_FAIL_IF(!prompt && description->settings.mode == FAM_MODE_FAM, FAM_STATUS_INVALID_ARGUMENT,
                "adapter: mode fam: found no prompt, need one");
    FAM_FAIL_IF(prompt && (prompt->n_dims != 2 || strcmp(prompt->name, "fam.prompt") != 0), FAM_STATUS_INVALID_ARGUMENT,
                "adapter: prompt: found another tensor, need fam.prompt of two dimensions");
done:
    return status;
}

/* ---- its files --------------------------------------------------------------------------------------------------- */

/* The keys without which PEFT or transformers would guess. */
static fam_status write_config(const char *path, fam_memory *memory, const fam_adapter_description *description,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *targets = json_array(), *config = NULL;
    int failed = 0;
    for (int i = 0; i < PROJECTIONS; i++)
        if (description->targets >> i & 1)
            failed |= json_array_append_new(targets, json_string(fam_projection_name(i)));
    FAM_TRY_ALLOC(config,
                  json_pack("{s:s, s:s, s:s?, s:b, s:I, s:f, s:f, s:s, s:b, s:b, s:b, s:b, s:n, s:O}", "peft_type",
                            "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", description->base_model,
                            "inference_mode", 1, "r", (json_int_t)description->rank, "lora_alpha", description->alpha,
                            "lora_dropout", 0.0, "bias", "none", "fan_in_fan_out", 0, "init_lora_weights", 1,
                            "use_rslora", description->rslora, "use_dora", 0, "modules_to_save", "target_modules",
                            targets),
                  path);
    FAM_FAIL_IF(failed, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", path);
    if (description->alpha == floor(description->alpha) &&
        fabs(description->alpha) < 1e15) /* PEFT's own are integers */
        FAM_FAIL_IF(json_object_set_new(config, "lora_alpha", json_integer((json_int_t)description->alpha)) != 0,
                    FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", path);
    FAM_TRY(fam_json_write(path, memory, config, error));
done:
    json_decref(config);
    json_decref(targets);
    return status;
}

static fam_status write_narrow(const char *path, fam_memory *memory, const fam_tensor *lora, int64_t count,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tensor *tensors = NULL;
    uint16_t *data = NULL;
    size_t elements = 0;
    for (int64_t i = 0; i < count; i++)
        elements += lora[i].bytes / sizeof(float);
    FAM_TRY_ALLOC(tensors, fam_alloc_array(memory, (size_t)count, sizeof *tensors), path);
    FAM_TRY_ALLOC(data, fam_alloc_array(memory, elements, sizeof *data), path);
    size_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t length = lora[i].bytes / sizeof(float);
        tensors[i] = lora[i];
        tensors[i].type = FAM_TYPE_BF16;
        tensors[i].bytes = length * sizeof *data;
        tensors[i].data = (const uint8_t *)(data + at);
        for (size_t e = 0; e < length; e++) {
            float value;
            memcpy(&value, lora[i].data + e * sizeof value, sizeof value);
            data[at++] = fam_to_bf16(value);
        }
    }
    FAM_TRY(fam_safetensors_write(path, memory, tensors, count, error));
done:
    fam_free(memory, data);
    fam_free(memory, tensors);
    return status;
}

static fam_status write_settings(const char *path, fam_memory *memory, const fam_settings *settings, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *object = NULL;
    FAM_TRY_ALLOC(object, fam_settings_to_json(settings), path);
    if (json_object_size(object) > 0)
        FAM_TRY(fam_json_write(path, memory, object, error));
    else
        FAM_TRY(fam_file_remove(path, error));
done:
    json_decref(object);
    return status;
}

enum { FILE_WEIGHTS, FILE_SETTINGS, FILE_PROMPT, FILE_CONFIG, FILES };

static const char *const file_names[FILES] = {"adapter_model.safetensors", "fam_config.json", "fam_prompt.safetensors",
                                              "adapter_config.json"};

fam_status fam_adapter_write(const char *directory, fam_memory *memory, const fam_adapter_description *description,
                             const fam_tensor *lora, int64_t count, const fam_tensor *prompt, bool narrow,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    char *paths[FILES] = {0};
    fam_settings settings = description->settings;
    if (prompt && settings.fam_length < 0)
        settings.fam_length = prompt->shape[0];
    FAM_TRY(check_description(description, lora, count, prompt, error));
    for (int i = 0; i < FILES; i++)
        FAM_TRY_ALLOC(paths[i], fam_path_join(memory, directory, file_names[i]), directory);
    FAM_TRY(fam_directory_make(directory, error));
    if (count == 0)
        FAM_TRY(fam_file_remove(paths[FILE_CONFIG], error));
    /* what this adapter lacks must not be taken from one that was here before */
    if (count == 0)
        FAM_TRY(fam_file_remove(paths[FILE_WEIGHTS], error));
    else if (narrow)
        FAM_TRY(write_narrow(paths[FILE_WEIGHTS], memory, lora, count, error));
    else
        FAM_TRY(fam_safetensors_write(paths[FILE_WEIGHTS], memory, lora, count, error));
    if (prompt)
        FAM_TRY(fam_safetensors_write(paths[FILE_PROMPT], memory, prompt, 1, error));
    FAM_TRY(write_settings(paths[FILE_SETTINGS], memory, &settings, error));
    if (!prompt)
        FAM_TRY(fam_file_remove(paths[FILE_PROMPT], error));
    if (count > 0)
        FAM_TRY(write_config(paths[FILE_CONFIG], memory, description, error));
done:
    for (int i = 0; i < FILES; i++)
        fam_free(memory, paths[i]);
    return status;
}
