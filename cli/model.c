/*
 * cli/model.c: see model.h.
 */
#include "model.h"

#include <stdlib.h>

#include "message.h"

/* Which settings mean something in which mode: one bit a fam_mode. The block size is allowed in all of them, so that
 * modes can be compared with one command: full and swa only cut their work by it. */
static const struct {
    option_id id;
    unsigned modes;
    const char *needed;
} mode_settings[] = {
    {OPTION_MEMORY_SEGMENTS, 1U << FAM_MODE_BSWA | 1U << FAM_MODE_FAM, "bswa or fam"},
    {OPTION_FAM_LENGTH, 1U << FAM_MODE_FAM, "fam"},
    {OPTION_STATE_NORM, 1U << FAM_MODE_FAM, "fam"},
    {OPTION_FAM_POSITIONS, 1U << FAM_MODE_FAM, "fam"},
    {OPTION_WINDOW, 1U << FAM_MODE_SWA, "swa"},
    {OPTION_CONTEXT, 1U << FAM_MODE_FULL, "full"},
};

fam_status model_check_settings(const cli_options *options, int mode, fam_error *error)
{
    for (size_t i = 0; mode >= 0 && i < sizeof mode_settings / sizeof *mode_settings; i++) {
        if (option_given(options, mode_settings[i].id) && !(mode_settings[i].modes >> mode & 1))
            return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--%s: found mode %s, need mode %s",
                           option_get(mode_settings[i].id)->name, fam_mode_name(mode), mode_settings[i].needed);
    }
    return FAM_OK;
}

fam_status model_check_modes(const cli_options *options, const int64_t *modes, size_t count, fam_error *error)
{
    for (size_t i = 0; i < sizeof mode_settings / sizeof *mode_settings; i++) {
        bool meant = false;
        for (size_t k = 0; k < count; k++)
            meant |= mode_settings[i].modes >> modes[k] & 1;
        if (option_given(options, mode_settings[i].id) && !meant)
            return failure(error, FAM_STATUS_INVALID_ARGUMENT, "--%s: found no mode that it belongs to, need mode %s",
                           option_get(mode_settings[i].id)->name, mode_settings[i].needed);
    }
    return FAM_OK;
}

/* The setting, unless it means nothing in a mode that is given. */
static bool means(option_id id, int mode)
{
    for (size_t i = 0; mode >= 0 && i < sizeof mode_settings / sizeof *mode_settings; i++) {
        if (mode_settings[i].id == id)
            return mode_settings[i].modes >> mode & 1;
    }
    return true;
}

static int64_t setting(const cli_options *options, option_id id, int mode)
{
    return means(id, mode) ? option_integer(options, id) : FAM_AUTO;
}

static int choice(const cli_options *options, option_id id, int mode)
{
    return means(id, mode) ? option_choice(options, id) : FAM_AUTO;
}

void model_log(void *context, fam_log_level level, const char *line)
{
    (void)context;
    if (level == FAM_LOG_WARNING)
        message("%s", line);
}

size_t model_adapters(fam_adapter_option *out, const cli_options *options)
{
    size_t count = option_times(options, OPTION_ADAPTER);
    for (size_t i = 0; i < count; i++) {
        const option_value *value = option_nth(options, OPTION_ADAPTER, i);
        out[i] = (fam_adapter_option){value->text, value->real};
    }
    return count;
}

size_t model_ignored_keys(const char **out, const cli_options *options)
{
    size_t count = option_times(options, OPTION_IGNORE_CONFIG_KEY);
    for (size_t i = 0; i < count; i++)
        out[i] = option_nth(options, OPTION_IGNORE_CONFIG_KEY, i)->text;
    return count;
}

static void fill(fam_engine_options *out, const cli_options *options, const model_variant *variant,
                 fam_adapter_option *adapters, const char **keys)
{
    int mode = variant->mode;
    fam_engine_options_init(out);
    out->device = option_text(options, OPTION_DEVICE);
    out->threads = (int)option_integer(options, OPTION_THREADS);
    out->dtype = option_choice(options, OPTION_DTYPE);
    out->isa = option_text(options, OPTION_ISA);
    out->mode = mode == FAM_AUTO ? option_choice(options, OPTION_MODE) : mode;
    out->state_norm = choice(options, OPTION_STATE_NORM, mode);
    out->fam_positions = choice(options, OPTION_FAM_POSITIONS, mode);
    out->block_size = setting(options, OPTION_BLOCK_SIZE, mode);
    out->memory_segments = setting(options, OPTION_MEMORY_SEGMENTS, mode);
    out->fam_length = setting(options, OPTION_FAM_LENGTH, mode);
    out->window = setting(options, OPTION_WINDOW, mode);
    out->context = setting(options, OPTION_CONTEXT, mode);
    out->adapter_count = model_adapters(adapters, options);
    if (variant->adapter)
        adapters[out->adapter_count++] = (fam_adapter_option){variant->adapter->text, variant->adapter->real};
    out->adapters = adapters;
    out->ignored_config_key_count = model_ignored_keys(keys, options);
    out->ignored_config_keys = keys;
    out->log = model_log;
}

fam_status model_open(fam_engine **out, const cli_options *options, fam_error *error)
{
    return model_open_variant(out, options, &(model_variant){.mode = FAM_AUTO}, error);
}

fam_status model_open_variant(fam_engine **out, const cli_options *options, const model_variant *variant,
                              fam_error *error)
{
    *out = NULL;
    bool own_mode = variant->mode == FAM_AUTO; /* else model_check_modes looked at the settings */
    fam_status status = own_mode ? model_check_settings(options, option_choice(options, OPTION_MODE), error) : FAM_OK;
    if (status != FAM_OK)
        return status;
    fam_adapter_option *adapters = calloc(options->count + 1, sizeof *adapters);
    const char **keys = calloc(options->count + 1, sizeof *keys);
    if (adapters && keys) {
        fam_engine_options engine_options;
        fill(&engine_options, options, variant, adapters, keys);
        status = fam_engine_open(out, options->argument, &engine_options, error);
    } else {
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "the options: out of memory");
    }
    free(adapters);
    free(keys);
    if (status != FAM_OK || !own_mode)
        return status;
    fam_engine_info info;
    fam_engine_info_get(*out, &info);
    status = model_check_settings(options, (int)info.mode, error);
    if (status != FAM_OK) {
        fam_engine_free(*out);
        *out = NULL;
    }
    return status;
}

fam_status model_tokenizer(const fam_tokenizer **out, const fam_engine *engine, const char *path, fam_error *error)
{
    *out = fam_engine_tokenizer(engine);
    if (*out)
        return FAM_OK;
    fam_tokenizer *tokenizer = NULL;
    fam_status status = fam_tokenizer_open(&tokenizer, path, error);
    fam_tokenizer_free(tokenizer);
    if (status == FAM_OK)
        status = failure(error, FAM_STATUS_UNSUPPORTED, "%s: tokenizer: does not belong to this model, need --ids-file",
                         path);
    return status;
}

static const option_id sampling_options[] = {OPTION_TEMPERATURE,        OPTION_TOP_K,
                                             OPTION_TOP_P,              OPTION_MIN_P,
                                             OPTION_REPETITION_PENALTY, OPTION_PRESENCE_PENALTY,
                                             OPTION_FREQUENCY_PENALTY,  OPTION_LOGIT_BIAS,
                                             OPTION_SEED};

static bool sampling_given(const cli_options *options)
{
    for (size_t i = 0; i < sizeof sampling_options / sizeof *sampling_options; i++) {
        if (option_given(options, sampling_options[i]))
            return true;
    }
    return false;
}

static fam_status fill_sampling(fam_sampling *out, fam_logit_bias **bias, const cli_options *options, fam_error *error)
{
    fam_sampling_init(out);
    out->temperature = option_real(options, OPTION_TEMPERATURE);
    out->top_k = option_integer(options, OPTION_TOP_K);
    out->top_p = option_real(options, OPTION_TOP_P);
    out->min_p = option_real(options, OPTION_MIN_P);
    out->repetition_penalty = option_real(options, OPTION_REPETITION_PENALTY);
    out->presence_penalty = option_real(options, OPTION_PRESENCE_PENALTY);
    out->frequency_penalty = option_real(options, OPTION_FREQUENCY_PENALTY);
    out->seed = option_unsigned(options, OPTION_SEED);
    out->logit_bias_count = option_times(options, OPTION_LOGIT_BIAS);
    *bias = calloc(out->logit_bias_count + 1, sizeof **bias);
    if (!*bias)
        return failure(error, FAM_STATUS_OUT_OF_MEMORY, "the options: out of memory");
    for (size_t i = 0; i < out->logit_bias_count; i++) {
        const option_value *value = option_nth(options, OPTION_LOGIT_BIAS, i);
        (*bias)[i] = (fam_logit_bias){(int32_t)value->integer, (float)value->real};
    }
    out->logit_bias = *bias;
    return FAM_OK;
}

fam_status model_set_sampling(fam_session *session, const cli_options *options, fam_error *error)
{
    if (fam_session_position(session) > 0 && !sampling_given(options))
        return FAM_OK;
    fam_sampling sampling;
    fam_logit_bias *bias = NULL;
    fam_status status = fill_sampling(&sampling, &bias, options, error);
    if (status == FAM_OK)
        status = fam_session_set_sampling(session, &sampling, error);
    free(bias);
    return status;
}
