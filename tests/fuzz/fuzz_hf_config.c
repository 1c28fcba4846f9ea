/*
 * Fuzz target: the text of a config.json.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/model_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const fam_model_config *c, const fam_settings *s)
{
    if (c->layers < 1 || c->layers > FAM_LAYERS_MAX || c->vocab_size < 1 || c->hidden_size < 1 || c->kv_heads < 1 ||
        c->heads % c->kv_heads != 0 || c->head_dim < 2 || c->head_dim % 2 != 0 ||
        c->heads * c->head_dim > FAM_WIDTH_MAX || c->context_length < 1 || !isfinite(c->rope_theta) ||
        c->rope_theta <= 0 || !isfinite(c->rms_norm_eps) || c->rms_norm_eps <= 0)
        abort();
    if (c->rope_scaling == FAM_ROPE_LLAMA3 &&
        (c->rope_original_context < 1 || !(c->rope_high_freq_factor > c->rope_low_freq_factor) ||
         !(c->rope_factor >= 1)))
        abort();
    if (s->mode < -1 || s->mode > 3 || s->block_size == 0 || s->fam_length == 0 || s->window == 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const ignored[] = {"rope_scaling", "fam.window", "unknown"};
    const fam_checkpoint_options options = {ignored, 3, NULL, NULL};
    fam_error error;
    for (int round = 0; round < 2; round++) {
        fam_model_config config = {0};
        fam_settings settings = fam_settings_none();
        if (fam_hf_config_parse(&config, &settings, "config.json", (const char *)data, size, round ? &options : NULL,
                                &error) == FAM_OK)
            check(&config, &settings);
        else if (strncmp(error.message, "config.json: ", 13) != 0)
            abort();
    }
    return 0;
}
