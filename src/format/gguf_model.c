/*
 * format/gguf_model.c: a model in a GGUF file: its keys as a configuration, its tensors by their Hugging Face names.
 * The container is gguf.c's.
 *
 * Names: "blk.N.<role>.weight" for "model.layers.N.<role>.weight" (family.c). FAM settings are the keys fam.*, the
 * prompt the float32 array fam.prompt, row by row. rope_freqs.weight [D/2] holds what inverse frequencies are divided
 * by.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/model_private.h"

enum { KEY_SIZE = 128 };

/* Reading keys "<architecture>.<rest>". */
typedef struct reading {
    const fam_checkpoint *checkpoint;
    const fam_family *family;
    const fam_checkpoint_options *options;
    fam_error *error;
} reading;

static void full_key(char key[KEY_SIZE], const reading *at, const char *rest)
{
    snprintf(key, KEY_SIZE, "%s.%s", at->family->name, rest);
}

/* What --ignore-config-key names counts as absent. */
static bool is_given(const reading *at, const char *key)
{
    return fam_gguf_find(at->checkpoint->gguf, key) && !fam_key_ignored(at->options, key);
}

/* An integer from `low` to `high`; absent and not required: *out stays. */
static fam_status read_size(const reading *at, const char *rest, bool required, int64_t low, int64_t high, int64_t *out)
{
    char key[KEY_SIZE];
    int64_t value = *out;
    full_key(key, at, rest);
    if (!required && !is_given(at, key))
        return FAM_OK;
    fam_status status = fam_gguf_get_i64(at->checkpoint->gguf, key, required, &value, at->error);
    if (status != FAM_OK)
        return status;
    if (value < low || value > high)
        return fam_error_set(at->error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %lld, need %lld to %lld",
                             at->checkpoint->path, key, (long long)value, (long long)low, (long long)high);
    *out = value;
    return FAM_OK;
}

static fam_status read_positive(const reading *at, const char *rest, bool required, double *out)
{
    char key[KEY_SIZE];
    full_key(key, at, rest);
    double value = *out;
    if (!required && !is_given(at, key))
        return FAM_OK;
    fam_status status = fam_gguf_get_f64(at->checkpoint->gguf, key, required, &value, at->error);
    if (status != FAM_OK)
        return status;
    if (!isfinite(value) || value <= 0)
        return fam_error_set(at->error, FAM_STATUS_BAD_FORMAT, "%s: %s: found %g, need a finite number above 0",
                             at->checkpoint->path, key, value);
    *out = value;
    return FAM_OK;
}

/* ---- which keys there may be ------------------------------------------------------------------------------------- */

/* Whether every byte of a scalar or string value is 0, that is: zero, false, "". */
static bool is_zero(const fam_gguf_value *value)
{
    if (value->type == FAM_GGUF_ARRAY || value->type == FAM_GGUF_STRING)
        return value->count == 0;
    for (size_t i = 0; i < value->bytes; i++)
        if (value->data[i])
            return false;
    return true;
}

static const fam_key_rule *find_rule(const fam_family *family, const char *rest)
{
    for (const fam_key_rule *rule = family->gguf_keys; rule->name; rule++)
        if (strcmp(rule->name, rest) == 0)
            return rule;
    return NULL;
}

/* A key of the architecture must be one that is implemented, or have the value with which it changes nothing. */
static fam_status check_key(const reading *at, const fam_gguf_value *value, const char *rest)
{
    const fam_key_rule *rule = find_rule(at->family, rest);
    if (!rule)
        return fam_error_set(at->error, FAM_STATUS_UNSUPPORTED,
                             "%s: %.128s: found a key that is not implemented, need one that is known to be harmless",
                             at->checkpoint->path, value->key);
    if (rule->need && is_zero(value) != (rule->need[0] == '0'))
        return fam_error_set(at->error, FAM_STATUS_UNSUPPORTED,
                             "%s: %s: found %s, need %s (others are not implemented)", at->checkpoint->path, value->key,
                             is_zero(value) ? "false" : "a value other than 0",
                             rule->need[0] == '0' ? "0 or false" : "true");
    return FAM_OK;
}

static bool begins(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

/* Keys that say nothing about what is computed: provenance, the tokenizer, how the file was made. */
static bool is_harmless_key(const char *key)
{
    static const char *const prefixes[] = {"general.", "tokenizer.", "quantize.", "split."};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (begins(key, prefixes[i]))
            return true;
    return false;
}

static fam_status check_keys(const reading *at)
{
    char prefix[KEY_SIZE];
    full_key(prefix, at, "");
    const fam_gguf_value *value;
    for (uint64_t i = 0; (value = fam_gguf_value_at(at->checkpoint->gguf, i)); i++) {
        if (is_harmless_key(value->key) || begins(value->key, "fam.") || fam_key_ignored(at->options, value->key))
            continue;
        if (!begins(value->key, prefix)) { /* llama.cpp does not read it for this architecture either */
            fam_warn(at->options, "%s: %.128s: not used", at->checkpoint->path, value->key);
            continue;
        }
        fam_status status = check_key(at, value, value->key + strlen(prefix));
        if (status != FAM_OK)
            return status;
    }
    return FAM_OK;
}

/* ---- the configuration ------------------------------------------------------------------------------------------- */

static fam_status find_family(const fam_checkpoint *checkpoint, const fam_family **out, fam_error *error)
{
    fam_status status = FAM_OK;
    const char *name = "", *type = "model";
    size_t length = 0, type_length = strlen(type);
    FAM_TRY(fam_gguf_get_string(checkpoint->gguf, "general.architecture", true, &name, &length, error));
    *out = fam_family_find(name, length);
    FAM_FAIL_IF(!*out, FAM_STATUS_UNSUPPORTED, "%s: general.architecture: found \"%.*s\", need %s", checkpoint->path,
                (int)(length < 40 ? length : 40), name, fam_family_names());
    FAM_TRY(fam_gguf_get_string(checkpoint->gguf, "general.type", false, &type, &type_length, error));
    FAM_FAIL_IF(type_length != 5 || memcmp(type, "model", 5) != 0, FAM_STATUS_UNSUPPORTED,
                "%s: general.type: found \"%.*s\", need \"model\"", checkpoint->path,
                (int)(type_length < 40 ? type_length : 40), type);
done:
    return status;
}

static fam_status read_heads(const reading *at, fam_model_config *config)
{
    fam_status status = FAM_OK;
    fam_error *error = at->error;
    const char *path = at->checkpoint->path;
    int64_t value_length = 0, rope_length = 0;
    FAM_TRY(read_size(at, "attention.head_count", true, 1, FAM_HEADS_MAX, &config->heads));
    config->kv_heads = config->heads;
    FAM_TRY(read_size(at, "attention.head_count_kv", false, 1, FAM_HEADS_MAX, &config->kv_heads));
    FAM_TRY(read_size(at, "attention.key_length", false, 1, FAM_WIDTH_MAX, &config->head_dim));
    FAM_FAIL_IF(config->head_dim == 0 && config->hidden_size % config->heads != 0, FAM_STATUS_BAD_FORMAT,
                "%s: %s.attention.head_count: found %lld, need a divisor of embedding_length, %lld", path,
                at->family->name, (long long)config->heads, (long long)config->hidden_size);
    if (config->head_dim == 0)
        config->head_dim = config->hidden_size / config->heads;
    value_length = rope_length = config->head_dim;
    FAM_TRY(read_size(at, "attention.value_length", false, 1, FAM_WIDTH_MAX, &value_length));
    FAM_FAIL_IF(value_length != config->head_dim, FAM_STATUS_UNSUPPORTED,
                "%s: %s.attention.value_length: found %lld, need the key length, %lld", path, at->family->name,
                (long long)value_length, (long long)config->head_dim);
    FAM_TRY(read_size(at, "rope.dimension_count", false, 1, FAM_WIDTH_MAX, &rope_length));
    FAM_FAIL_IF(rope_length != config->head_dim, FAM_STATUS_UNSUPPORTED,
                "%s: %s.rope.dimension_count: found %lld, need the head size, %lld (partial RoPE is not implemented)",
                path, at->family->name, (long long)rope_length, (long long)config->head_dim);
    FAM_TRY(fam_model_config_check(config, path, error));
done:
    return status;
}

/* The vocabulary is as long as the embedding table; the key, if there is one, must agree. */
static fam_status read_vocabulary(const reading *at, fam_model_config *config)
{
    fam_status status = FAM_OK;
    fam_error *error = at->error;
    const fam_tensor *table = fam_gguf_tensor(at->checkpoint->gguf, "token_embd.weight");
    FAM_FAIL_IF(!table || table->n_dims != 2 || table->shape[0] < 1 || table->shape[0] > FAM_VOCAB_MAX,
                FAM_STATUS_BAD_FORMAT, "%s: tensor token_embd.weight: found %s, need a matrix of 1 to %d rows",
                at->checkpoint->path, table ? "another shape" : "nothing", FAM_VOCAB_MAX);
    config->vocab_size = table->shape[0];
    FAM_TRY(read_size(at, "vocab_size", false, 1, FAM_VOCAB_MAX, &config->vocab_size));
    FAM_FAIL_IF(config->vocab_size != table->shape[0], FAM_STATUS_BAD_FORMAT,
                "%s: %s.vocab_size: found %lld, need the rows of token_embd.weight, %lld", at->checkpoint->path,
                at->family->name, (long long)config->vocab_size, (long long)table->shape[0]);
done:
    return status;
}

static fam_status read_config(const reading *at, fam_model_config *config)
{
    fam_status status = FAM_OK;
    fam_error *error = at->error;
    const fam_gguf *gguf = at->checkpoint->gguf;
    char key[KEY_SIZE];
    const char *scaling = "none";
    size_t length = strlen(scaling);
    *config = (fam_model_config){.rope_theta = at->family->rope_theta};
    snprintf(config->family, sizeof config->family, "%s", at->family->name);
    FAM_TRY(read_size(at, "block_count", true, 1, FAM_LAYERS_MAX, &config->layers));
    FAM_TRY(read_size(at, "context_length", true, 1, FAM_SETTING_LENGTH_MAX, &config->context_length));
    FAM_TRY(read_size(at, "embedding_length", true, 1, FAM_WIDTH_MAX, &config->hidden_size));
    FAM_TRY(read_size(at, "feed_forward_length", true, 1, FAM_WIDTH_MAX, &config->intermediate_size));
    FAM_TRY(read_heads(at, config));
    FAM_TRY(read_positive(at, "attention.layer_norm_rms_epsilon", true, &config->rms_norm_eps));
    FAM_TRY(read_positive(at, "rope.freq_base", false, &config->rope_theta));
    full_key(key, at, "rope.scaling.type");
    if (is_given(at, key))
        FAM_TRY(fam_gguf_get_string(gguf, key, false, &scaling, &length, error));
    FAM_FAIL_IF(length != 4 || memcmp(scaling, "none", 4) != 0, FAM_STATUS_UNSUPPORTED,
                "%s: %s: found \"%.*s\", need \"none\" (others are not implemented)", at->checkpoint->path, key,
                (int)(length < 40 ? length : 40), scaling);
    FAM_TRY(read_vocabulary(at, config));
    config->tied_embeddings = fam_gguf_tensor(gguf, "output.weight") == NULL;
done:
    return status;
}

/* ---- FAM --------------------------------------------------------------------------------------------------------- */

/* fam.prompt is F E numbers: F follows from the model's E. */
static fam_status read_prompt(fam_checkpoint *checkpoint, const fam_gguf_value *value, fam_tensor *prompt,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    uint64_t width = (uint64_t)checkpoint->config.hidden_size;
    FAM_FAIL_IF(value->type != FAM_GGUF_ARRAY || value->element_type != FAM_GGUF_F32, FAM_STATUS_BAD_FORMAT,
                "%s: fam.prompt: found %s, need an array of f32", checkpoint->path,
                value->type == FAM_GGUF_ARRAY ? "an array of another type" : fam_gguf_type_name(value->type));
    FAM_FAIL_IF(value->count == 0 || value->count % width != 0, FAM_STATUS_BAD_FORMAT,
                "%s: fam.prompt: found %llu numbers, need a multiple of embedding_length, %llu", checkpoint->path,
                (unsigned long long)value->count, (unsigned long long)width);
    *prompt = (fam_tensor){"fam.prompt", FAM_TYPE_F32, 2, {(int64_t)(value->count / width), (int64_t)width},
                           value->data,  value->bytes};
done:
    return status;
}

/* Reads the keys fam.*; *has_prompt tells whether `prompt` was filled. */
static fam_status read_fam(fam_checkpoint *checkpoint, fam_tensor *prompt, bool *has_prompt,
                           const fam_checkpoint_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_gguf_value *value;
    char where[2 * FAM_ERROR_SIZE];
    snprintf(where, sizeof where, "%.1500s: fam", checkpoint->path);
    for (uint64_t i = 0; (value = fam_gguf_value_at(checkpoint->gguf, i)); i++) {
        if (!begins(value->key, "fam.") || fam_key_ignored(options, value->key))
            continue;
        const char *key = value->key + strlen("fam.");
        if (strcmp(key, "prompt") == 0) {
            FAM_TRY(read_prompt(checkpoint, value, prompt, error));
            *has_prompt = true;
        } else if (value->type == FAM_GGUF_STRING) {
            FAM_TRY(fam_settings_set_text(&checkpoint->settings, where, key, (const char *)value->data,
                                          (size_t)value->count, error));
        } else {
            int64_t number = 0;
            FAM_TRY(fam_gguf_get_i64(checkpoint->gguf, value->key, true, &number, error));
            FAM_TRY(fam_settings_set_integer(&checkpoint->settings, where, key, number, error));
        }
    }
done:
    return status;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static const char rope_factors_name[] = "rope_freqs.weight";

static fam_status read_rope_factors(fam_checkpoint *checkpoint, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_tensor *tensor = fam_gguf_tensor(checkpoint->gguf, rope_factors_name);
    int64_t count = checkpoint->config.head_dim / 2;
    char found[FAM_SHAPE_WORDS_SIZE];
    if (!tensor)
        goto done;
    FAM_FAIL_IF(tensor->type != FAM_TYPE_F32 || tensor->n_dims != 1 || tensor->shape[0] != count, FAM_STATUS_BAD_FORMAT,
                "%s: tensor %s: found %s %s, need F32 [%lld]", checkpoint->path, tensor->name,
                fam_type_name(tensor->type), fam_shape_words(tensor->n_dims, tensor->shape, found), (long long)count);
    FAM_TRY_ALLOC(checkpoint->rope_factors, fam_alloc(checkpoint->memory, tensor->bytes), checkpoint->path);
    memcpy(checkpoint->rope_factors, tensor->data, tensor->bytes);
    for (int64_t i = 0; i < count; i++)
        FAM_FAIL_IF(!isfinite(checkpoint->rope_factors[i]) || checkpoint->rope_factors[i] <= 0, FAM_STATUS_BAD_FORMAT,
                    "%s: tensor %s: element %lld: found %g, need a finite number above 0", checkpoint->path,
                    tensor->name, (long long)i, (double)checkpoint->rope_factors[i]);
    checkpoint->config.rope_frequency_factors = checkpoint->rope_factors;
done:
    return status;
}

static bool lookup(const fam_checkpoint *checkpoint, const char *name, fam_found *out)
{
    const fam_tensor *tensor = fam_gguf_tensor(checkpoint->gguf, name);
    if (tensor)
        *out = (fam_found){tensor, fam_type_name(tensor->type), tensor->n_dims};
    return tensor != NULL;
}

/* Whether a role of the architecture has this very name ("blk.01." is none). */
static bool is_called_for(const reading *at, const char *name)
{
    const fam_family *family = at->family;
    const fam_role *const lists[] = {family->first, family->layer, family->last};
    char made[FAM_ROLE_NAME_SIZE];
    bool in_layer = begins(name, "blk.");
    long layer = in_layer ? strtol(name + 4, NULL, 10) : -1;
    if (in_layer && (layer < 0 || layer >= at->checkpoint->config.layers))
        return false;
    for (size_t list = 0; list < 3; list++)
        for (const fam_role *role = lists[list]; role->hf; role++) {
            if (list == 1)
                snprintf(made, sizeof made, "blk.%ld.%s.weight", layer, role->gguf);
            else
                snprintf(made, sizeof made, "%s.weight", role->gguf);
            if (strcmp(made, name) == 0)
                return true;
        }
    return false;
}

static fam_status check_extras(const reading *at)
{
    const fam_tensor *tensor;
    for (uint64_t i = 0; (tensor = fam_gguf_tensor_at(at->checkpoint->gguf, i)); i++)
        if (strcmp(tensor->name, rope_factors_name) != 0 && !is_called_for(at, tensor->name))
            return fam_error_set(at->error, FAM_STATUS_UNSUPPORTED,
                                 "%s: tensor %s: found one that the architecture does not call for, need none",
                                 at->checkpoint->path, tensor->name);
    return FAM_OK;
}

fam_status fam_gguf_model_open(fam_checkpoint *checkpoint, const fam_checkpoint_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    reading at = {.checkpoint = checkpoint, .options = options, .error = error};
    fam_tensor prompt = {0};
    bool has_prompt = false;
    FAM_TRY(fam_gguf_open(&checkpoint->gguf, checkpoint->memory, checkpoint->path, options ? options->warn : NULL,
                          options ? options->warn_context : NULL, error));
    FAM_TRY(find_family(checkpoint, &at.family, error));
    FAM_TRY(check_keys(&at));
    FAM_TRY(read_config(&at, &checkpoint->config));
    FAM_TRY(read_fam(checkpoint, &prompt, &has_prompt, options, error));
    FAM_TRY(read_rope_factors(checkpoint, error));
    checkpoint->permuted = true;
    FAM_TRY(fam_checkpoint_collect(checkpoint, at.family, lookup, has_prompt ? &prompt : NULL, error));
    FAM_TRY(check_extras(&at));
done:
    return status;
}
