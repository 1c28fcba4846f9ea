/*
 * format/hf_write.c: see hf_write.h. What is written here hf_config.c must read, and transformers.
 */
#include "format/hf_write.h"

#include <string.h>

#include "base/directory.h"
#include "base/file.h"
#include "format/model_private.h"

/* RoPE in the form of transformers 4, which version 5 reads too. */
static int add_rope(json_t *object, const fam_model_config *config)
{
    int failed = json_object_set_new(object, "rope_theta", json_real(config->rope_theta));
    if (config->rope_scaling == FAM_ROPE_DEFAULT)
        return failed | json_object_set_new(object, "rope_scaling", json_null());
    return failed | json_object_set_new(object, "rope_scaling",
                                        json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor",
                                                  config->rope_factor, "low_freq_factor", config->rope_low_freq_factor,
                                                  "high_freq_factor", config->rope_high_freq_factor,
                                                  "original_max_position_embeddings",
                                                  (json_int_t)config->rope_original_context));
}

static int add_sizes(json_t *object, const fam_model_config *config)
{
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {
        {"vocab_size", config->vocab_size},
        {"hidden_size", config->hidden_size},
        {"intermediate_size", config->intermediate_size},
        {"num_hidden_layers", config->layers},
        {"num_attention_heads", config->heads},
        {"num_key_value_heads", config->kv_heads},
        {"head_dim", config->head_dim},
        {"max_position_embeddings", config->context_length},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        failed |= json_object_set_new(object, sizes[i].key, json_integer(sizes[i].value));
    failed |= json_object_set_new(object, "rms_norm_eps", json_real(config->rms_norm_eps));
    failed |= json_object_set_new(object, "tie_word_embeddings", json_boolean(config->tied_embeddings));
    return failed;
}

static const char *torch_name(fam_type type)
{
    return type == FAM_TYPE_F16 ? "float16" : type == FAM_TYPE_BF16 ? "bfloat16" : "float32";
}

static int add_token(json_t *object, const char *key, int32_t id)
{
    return json_object_set_new(object, key, id >= 0 ? json_integer(id) : json_null());
}

fam_status fam_hf_config_write(const char *path, fam_memory *memory, const fam_model_config *config,
                               const fam_settings *settings, int32_t bos, int32_t eos, fam_type type, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *object = NULL, *fam = NULL;
    const fam_family *family = fam_family_find(config->family, strlen(config->family));
    FAM_FAIL_IF(!family, FAM_STATUS_INVALID_ARGUMENT, "%s: model family: found \"%.16s\", need %s", path,
                config->family, fam_family_names());
    FAM_FAIL_IF(config->rope_frequency_factors, FAM_STATUS_INVALID_ARGUMENT,
                "%s: rope: found frequency factors, need llama3 parameters", path);
    FAM_TRY_ALLOC(fam, fam_settings_to_json(settings), path);
    FAM_TRY_ALLOC(object,
                  json_pack("{s:[s], s:s, s:s, s:b, s:b, s:s}", "architectures", family->hf_class, "model_type",
                            family->name, "hidden_act", "silu", "attention_bias", 0, "mlp_bias", 0, "torch_dtype",
                            torch_name(type)),
                  path);
    int failed = add_sizes(object, config) | add_rope(object, config);
    failed |= add_token(object, "bos_token_id", bos) | add_token(object, "eos_token_id", eos);
    if (json_object_size(fam) > 0)
        failed |= json_object_set(object, "fam", fam);
    FAM_FAIL_IF(failed, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", path);
    FAM_TRY(fam_json_write(path, memory, object, error));
done:
    json_decref(fam);
    json_decref(object);
    return status;
}

fam_status fam_hf_config_rewrite(const char *path, fam_memory *memory, const char *from,
                                 const fam_checkpoint_options *options, const fam_settings *settings, fam_type type,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *object = NULL, *fam = NULL;
    FAM_TRY(fam_json_read(&object, memory, from, FAM_CONFIG_BYTES_MAX, error));
    fam_keys_remove(object, options);
    FAM_TRY_ALLOC(fam, fam_settings_to_json(settings), path);
    /* transformers 5 calls it dtype */
    const char *key = json_object_get(object, "dtype") ? "dtype" : "torch_dtype";
    int failed = json_object_set_new(object, key, json_string(torch_name(type)));
    if (json_object_get(object, "torch_dtype"))
        failed |= json_object_set_new(object, "torch_dtype", json_string(torch_name(type)));
    json_object_del(object, "fam");
    if (json_object_size(fam) > 0)
        failed |= json_object_set(object, "fam", fam);
    FAM_FAIL_IF(failed, FAM_STATUS_OUT_OF_MEMORY, "%s: out of memory", path);
    FAM_TRY(fam_json_write(path, memory, object, error));
done:
    json_decref(fam);
    json_decref(object);
    return status;
}

fam_status fam_hf_write(const char *directory, fam_memory *memory, const fam_model_config *config,
                        const fam_settings *settings, int32_t bos, int32_t eos, const fam_tensor *tensors,
                        int64_t count, fam_error *error)
{
    fam_status status = FAM_OK;
    char *weights = NULL, *text = NULL;
    FAM_FAIL_IF(count < 1, FAM_STATUS_INVALID_ARGUMENT, "%s: found no tensors, need those of the model", directory);
    FAM_TRY_ALLOC(weights, fam_path_join(memory, directory, "model.safetensors"), directory);
    FAM_TRY_ALLOC(text, fam_path_join(memory, directory, "config.json"), directory);
    FAM_TRY(fam_directory_make(directory, error));
    FAM_TRY(fam_safetensors_write(weights, memory, tensors, count, error));
    FAM_TRY(fam_hf_config_write(text, memory, config, settings, bos, eos, tensors[0].type, error));
done:
    fam_free(memory, weights);
    fam_free(memory, text);
    return status;
}

enum { COPY_BYTES_MAX = 1 << 30 };

/* What is taken over from a base directory besides its weights. */
static const char *const companions[] = {
    "tokenizer.json",   "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json",       "merges.txt",            "tokenizer.model",         "chat_template.jinja",
    "chat_template.json", "generation_config.json",
};

static fam_status copy_file(fam_memory *memory, const char *from_directory, const char *to_directory, const char *name,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    char *from = NULL, *to = NULL;
    uint8_t *data = NULL;
    size_t size;
    FAM_TRY_ALLOC(from, fam_path_join(memory, from_directory, name), from_directory);
    FAM_TRY_ALLOC(to, fam_path_join(memory, to_directory, name), to_directory);
    if (!fam_path_exists(from))
        goto done;
    FAM_TRY(fam_file_read(&data, &size, memory, from, COPY_BYTES_MAX, error));
    FAM_TRY(fam_file_replace(to, memory, data, size, FAM_FILE_SHARED, error));
done:
    fam_free(memory, data);
    fam_free(memory, from);
    fam_free(memory, to);
    return status;
}

fam_status fam_hf_companions_copy(const char *from, const char *to, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++)
        FAM_TRY(copy_file(memory, from, to, companions[i], error));
done:
    return status;
}
