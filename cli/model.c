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

static void fill(fam_engine_options *out, const cli_options *options, fam_adapter_option *adapters, const char **keys)
{
    fam_engine_options_init(out);
    out->device = option_text(options, OPTION_DEVICE);
    out->threads = (int)option_integer(options, OPTION_THREADS);
    out->dtype = option_choice(options, OPTION_DTYPE);
    out->isa = option_text(options, OPTION_ISA);
    out->mode = option_choice(options, OPTION_MODE);
    out->state_norm = option_choice(options, OPTION_STATE_NORM);
    out->fam_positions = option_choice(options, OPTION_FAM_POSITIONS);
    out->block_size = option_integer(options, OPTION_BLOCK_SIZE);
    out->memory_segments = option_integer(options, OPTION_MEMORY_SEGMENTS);
    out->fam_length = option_integer(options, OPTION_FAM_LENGTH);
    out->window = option_integer(options, OPTION_WINDOW);
    out->context = option_integer(options, OPTION_CONTEXT);
    out->adapter_count = model_adapters(adapters, options);
    out->adapters = adapters;
    out->ignored_config_key_count = model_ignored_keys(keys, options);
    out->ignored_config_keys = keys;
    out->log = model_log;
}

fam_status model_open(fam_engine **out, const cli_options *options, fam_error *error)
{
    *out = NULL;
    fam_status status = model_check_settings(options, option_choice(options, OPTION_MODE), error);
    if (status != FAM_OK)
        return status;
    fam_adapter_option *adapters = calloc(options->count + 1, sizeof *adapters);
    const char **keys = calloc(options->count + 1, sizeof *keys);
    if (adapters && keys) {
        fam_engine_options engine_options;
        fill(&engine_options, options, adapters, keys);
        status = fam_engine_open(out, options->argument, &engine_options, error);
    } else {
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "the options: out of memory");
    }
    free(adapters);
    free(keys);
    if (status != FAM_OK)
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
