/*
 * format/adapter_config.c: PEFT's adapter_config.json for LoRA. Keys that are in no list may only be null, false, 0 or
 * empty: PEFT writes all that it knows, and what is switched off does not matter.
 */
#include <math.h>
#include <string.h>

#include "format/model_private.h"

static const fam_key_rule peft_keys[] = {
    {"peft_type", "[\"LORA\"]"},
    {"task_type", "[\"CAUSAL_LM\"]"},
    {"r", NULL},
    {"lora_alpha", NULL},
    {"use_rslora", NULL},
    {"target_modules", NULL},
    {"bias", "[\"none\"]"},
    /* how training began; those that also changed the base model's weights (PiSSA, OLoRA, CorDA, LoftQ) are not here */
    {"init_lora_weights", "[true, false, \"gaussian\", \"orthogonal\", \"eva\"]"},
    {"eva_config", NULL},
    /* training, provenance, and parameters of what is switched off */
    {"lora_dropout", NULL},
    {"inference_mode", NULL},
    {"base_model_name_or_path", NULL},
    {"revision", NULL},
    {"peft_version", NULL},
    {"auto_mapping", NULL},
    {"megatron_core", NULL},
    {"qalora_group_size", NULL},
    {"runtime_config", NULL},
    {NULL, NULL},
};

enum { RANK_MAX = 1 << 20 };

static fam_status check_targets(fam_peft_config *config, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    char words[FAM_JSON_WORDS_SIZE];
    json_t *targets = json_object_get(config->object, "target_modules");
    if (!targets || json_is_null(targets) || json_is_string(targets)) /* a pattern or "all-linear": the tensors tell */
        goto done;
    FAM_FAIL_IF(!json_is_array(targets), FAM_STATUS_BAD_FORMAT, "%s: target_modules: found %s, need names", name,
                fam_json_words(targets, words));
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const json_t *target = json_array_get(targets, i);
        FAM_FAIL_IF(!json_is_string(target), FAM_STATUS_BAD_FORMAT, "%s: target_modules: found %s, need names", name,
                    fam_json_words(target, words));
    }
    config->targets = targets;
done:
    return status;
}

fam_status fam_peft_config_parse(fam_peft_config *out, const char *name, const char *text, size_t size,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    fam_peft_config config = {0};
    const char *type = NULL;
    FAM_TRY(fam_json_parse(&config.object, name, text, size, error));
    FAM_FAIL_IF(!json_is_object(config.object), FAM_STATUS_BAD_FORMAT, "%s: top level: found an array, need an object",
                name);
    FAM_TRY(fam_json_string(config.object, name, "peft_type", true, &type, error));
    FAM_TRY(fam_keys_check(config.object, name, peft_keys, NULL, true, error));
    FAM_TRY(fam_keys_size(config.object, name, "r", true, 1, RANK_MAX, &config.rank, error));
    FAM_TRY(fam_json_f64(config.object, name, "lora_alpha", true, &config.alpha, error));
    FAM_FAIL_IF(!isfinite(config.alpha), FAM_STATUS_BAD_FORMAT, "%s: lora_alpha: found %g, need a finite number", name,
                config.alpha);
    FAM_TRY(fam_json_bool(config.object, name, "use_rslora", false, &config.rslora, error));
    FAM_TRY(check_targets(&config, name, error));
    config.scale = config.alpha / (config.rslora ? sqrt((double)config.rank) : (double)config.rank);
    *out = config;
    config.object = NULL;
done:
    json_decref(config.object);
    return status;
}
