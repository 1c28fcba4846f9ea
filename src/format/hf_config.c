/*
 * format/hf_config.c: config.json of a Hugging Face model. Absent keys take the family's default in transformers; RoPE
 * parameters are read in the form of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters).
 */
#include <stdio.h>
#include <string.h>

#include "format/model_private.h"

static const fam_key_rule rope_default_keys[] = {
    {"rope_type", NULL},    {"type", NULL}, {"rope_theta", NULL}, {"partial_rotary_factor", "[1, 1.0]"},
    {"factor", "[1, 1.0]"}, {NULL, NULL},
};

static const fam_key_rule rope_llama3_keys[] = {
    {"rope_type", NULL},
    {"type", NULL},
    {"rope_theta", NULL},
    {"partial_rotary_factor", "[1, 1.0]"},
    {"factor", NULL},
    {"low_freq_factor", NULL},
    {"high_freq_factor", NULL},
    {"original_max_position_embeddings", NULL},
    {NULL, NULL},
};

/* Reads the llama3 parameters. As in transformers, an absent original length is the model's length. */
static fam_status read_llama3(fam_model_config *config, const json_t *rope, const char *where, fam_error *error)
{
    fam_status status = FAM_OK;
    config->rope_scaling = FAM_ROPE_LLAMA3;
    config->rope_original_context = config->context_length;
    FAM_TRY(fam_keys_positive(rope, where, "factor", true, &config->rope_factor, error));
    FAM_TRY(fam_keys_positive(rope, where, "low_freq_factor", true, &config->rope_low_freq_factor, error));
    FAM_TRY(fam_keys_positive(rope, where, "high_freq_factor", true, &config->rope_high_freq_factor, error));
    FAM_TRY(fam_keys_size(rope, where, "original_max_position_embeddings", false, 1, FAM_SETTING_LENGTH_MAX,
                          &config->rope_original_context, error));
    FAM_FAIL_IF(config->rope_factor < 1, FAM_STATUS_BAD_FORMAT, "%s: factor: found %g, need at least 1", where,
                config->rope_factor);
    FAM_FAIL_IF(config->rope_high_freq_factor <= config->rope_low_freq_factor, FAM_STATUS_BAD_FORMAT,
                "%s: high_freq_factor: found %g, need more than low_freq_factor, %g", where,
                config->rope_high_freq_factor, config->rope_low_freq_factor);
done:
    return status;
}

/* The object with RoPE parameters; NULL if there is none. Both forms at once must say the same. */
static fam_status find_rope(json_t **out, const char **key, json_t *object, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *old = NULL, *new = NULL;
    FAM_TRY(fam_json_child(object, name, "rope_scaling", JSON_OBJECT, false, &old, error));
    FAM_TRY(fam_json_child(object, name, "rope_parameters", JSON_OBJECT, false, &new, error));
    FAM_FAIL_IF(old && new && !json_equal(old, new), FAM_STATUS_BAD_FORMAT,
                "%s: rope_parameters: found other values than in rope_scaling, need one of the two", name);
    *out = new ? new : old;
    *key = new ? "rope_parameters" : "rope_scaling";
done:
    return status;
}

static fam_status read_rope(fam_model_config *config, json_t *object, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *rope = NULL;
    const char *key = NULL, *type = NULL, *old_type = NULL;
    char where[2 * FAM_ERROR_SIZE];
    double outer = 0, inner = 0;
    FAM_TRY(find_rope(&rope, &key, object, name, error));
    if (json_object_get(object, "rope_theta") && !json_is_null(json_object_get(object, "rope_theta"))) {
        FAM_TRY(fam_keys_positive(object, name, "rope_theta", true, &outer, error));
        config->rope_theta = outer;
    }
    if (!rope)
        goto done;
    snprintf(where, sizeof where, "%.1500s: %s", name, key);
    if (json_object_get(rope, "rope_theta") && !json_is_null(json_object_get(rope, "rope_theta"))) {
        FAM_TRY(fam_keys_positive(rope, where, "rope_theta", true, &inner, error));
        FAM_FAIL_IF(outer > 0 && outer != inner, FAM_STATUS_BAD_FORMAT,
                    "%s: rope_theta: found %g, need %g as outside of %s", where, inner, outer, key);
        config->rope_theta = inner;
    }
    FAM_TRY(fam_json_string(rope, where, "type", false, &old_type, error));
    FAM_TRY(fam_json_string(rope, where, "rope_type", false, &type, error));
    FAM_FAIL_IF(type && old_type && strcmp(type, old_type) != 0, FAM_STATUS_BAD_FORMAT,
                "%s: rope_type: found \"%.40s\", need \"%.40s\" as in type", where, type, old_type);
    type = type ? type : old_type ? old_type : "default";
    if (strcmp(type, "default") == 0) {
        FAM_TRY(fam_keys_check(rope, where, rope_default_keys, NULL, false, error));
    } else if (strcmp(type, "llama3") == 0) {
        FAM_TRY(fam_keys_check(rope, where, rope_llama3_keys, NULL, false, error));
        FAM_TRY(read_llama3(config, rope, where, error));
    } else {
        FAM_FAIL_IF(true, FAM_STATUS_UNSUPPORTED,
                    "%s: rope_type: found \"%.40s\", need default or llama3 (others are not implemented)", where, type);
    }
done:
    return status;
}

/* A config may name its class; one of another head or of the model's own code is another model. */
static fam_status check_class(json_t *object, const char *name, const fam_family *family, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *classes = NULL;
    FAM_TRY(fam_json_child(object, name, "architectures", JSON_ARRAY, false, &classes, error));
    size_t count = json_array_size(classes); /* 0 for NULL */
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(classes, i));
        if (text && strcmp(text, family->hf_class) == 0)
            goto done;
    }
    char words[FAM_JSON_WORDS_SIZE];
    FAM_FAIL_IF(count > 0, FAM_STATUS_UNSUPPORTED, "%s: architectures: found %s, need \"%s\"", name,
                fam_json_words(json_array_get(classes, 0), words), family->hf_class);
done:
    return status;
}

static fam_status read_sizes(fam_model_config *config, json_t *object, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(fam_keys_size(object, name, "vocab_size", true, 1, FAM_VOCAB_MAX, &config->vocab_size, error));
    FAM_TRY(fam_keys_size(object, name, "hidden_size", true, 1, FAM_WIDTH_MAX, &config->hidden_size, error));
    FAM_TRY(
        fam_keys_size(object, name, "intermediate_size", true, 1, FAM_WIDTH_MAX, &config->intermediate_size, error));
    FAM_TRY(fam_keys_size(object, name, "num_hidden_layers", true, 1, FAM_LAYERS_MAX, &config->layers, error));
    FAM_TRY(fam_keys_size(object, name, "num_attention_heads", true, 1, FAM_HEADS_MAX, &config->heads, error));
    config->kv_heads = config->heads;
    FAM_TRY(fam_keys_size(object, name, "num_key_value_heads", false, 1, FAM_HEADS_MAX, &config->kv_heads, error));
    FAM_TRY(fam_keys_size(object, name, "head_dim", false, 1, FAM_WIDTH_MAX, &config->head_dim, error));
    FAM_FAIL_IF(config->head_dim == 0 && config->hidden_size % config->heads != 0, FAM_STATUS_BAD_FORMAT,
                "%s: num_attention_heads: found %lld, need a divisor of hidden_size, %lld, or a head_dim", name,
                (long long)config->heads, (long long)config->hidden_size);
    if (config->head_dim == 0)
        config->head_dim = config->hidden_size / config->heads;
    FAM_TRY(fam_keys_size(object, name, "max_position_embeddings", false, 1, FAM_SETTING_LENGTH_MAX,
                          &config->context_length, error));
    FAM_TRY(fam_keys_positive(object, name, "rms_norm_eps", false, &config->rms_norm_eps, error));
    FAM_TRY(fam_json_bool(object, name, "tie_word_embeddings", false, &config->tied_embeddings, error));
    FAM_TRY(fam_model_config_check(config, name, error));
done:
    return status;
}

static fam_status read_settings(fam_settings *settings, json_t *object, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *fam = NULL;
    char where[2 * FAM_ERROR_SIZE];
    FAM_TRY(fam_json_child(object, name, "fam", JSON_OBJECT, false, &fam, error));
    snprintf(where, sizeof where, "%.1500s: fam", name);
    if (fam)
        FAM_TRY(fam_settings_from_json(settings, fam, where, error));
done:
    return status;
}

fam_status fam_hf_config_parse(fam_model_config *config, fam_settings *settings, const char *name, const char *text,
                               size_t size, const fam_checkpoint_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    json_t *object = NULL;
    const char *type = NULL;
    FAM_TRY(fam_json_parse(&object, name, text, size, error));
    FAM_FAIL_IF(!json_is_object(object), FAM_STATUS_BAD_FORMAT, "%s: top level: found an array, need an object", name);
    fam_keys_remove(object, options);
    FAM_TRY(fam_json_string(object, name, "model_type", true, &type, error));
    const fam_family *family = fam_family_find(type, strlen(type));
    FAM_FAIL_IF(!family, FAM_STATUS_UNSUPPORTED, "%s: model_type: found \"%.40s\", need %s", name, type,
                fam_family_names());
    *config = (fam_model_config){
        .rope_theta = family->rope_theta,
        .rms_norm_eps = family->rms_norm_eps,
        .context_length = family->context_length,
        .tied_embeddings = family->tied_embeddings,
    };
    *settings = fam_settings_none();
    snprintf(config->family, sizeof config->family, "%s", family->name);
    FAM_TRY(check_class(object, name, family, error));
    FAM_TRY(fam_keys_check(object, name, family->hf_keys, fam_common_keys, false, error));
    FAM_TRY(read_sizes(config, object, name, error));
    FAM_TRY(read_rope(config, object, name, error));
    FAM_TRY(read_settings(settings, object, name, error));
done:
    json_decref(object);
    return status;
}
