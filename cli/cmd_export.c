/*
 * cli/cmd_export.c: fam export: a model with its adapters merged into it, in files of the ecosystem.
 */
#include <stdlib.h>

#include "commands.h"
#include "fam/export.h"
#include "message.h"
#include "model.h"
#include "progress.h"
#include "signals.h"

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    progress_bytes(context, "written", (double)done, (double)total);
}

static bool on_cancelled(void *context)
{
    (void)context;
    return signals_stop_asked();
}

static void fill(fam_export_options *out, const cli_options *options, cli_progress *progress)
{
    fam_export_options_init(out);
    out->out = option_text(options, OPTION_OUT);
    out->format = option_choice(options, OPTION_FORMAT);
    out->type = option_choice(options, OPTION_TYPE);
    out->mode = option_choice(options, OPTION_MODE);
    out->state_norm = option_choice(options, OPTION_STATE_NORM);
    out->fam_positions = option_choice(options, OPTION_FAM_POSITIONS);
    out->block_size = option_integer(options, OPTION_BLOCK_SIZE);
    out->memory_segments = option_integer(options, OPTION_MEMORY_SEGMENTS);
    out->fam_length = option_integer(options, OPTION_FAM_LENGTH);
    out->window = option_integer(options, OPTION_WINDOW);
    out->log = model_log;
    out->progress = on_progress;
    out->cancelled = on_cancelled;
    out->context = progress;
}

static fam_status export_model(const cli_options *options, fam_export_result *result, fam_error *error)
{
    fam_export_options export_options;
    cli_progress progress;
    fam_status status = model_check_settings(options, option_choice(options, OPTION_MODE), error);
    if (status != FAM_OK)
        return status;
    fam_adapter_option *adapters = calloc(options->count + 1, sizeof *adapters);
    const char **keys = calloc(options->count + 1, sizeof *keys);
    if (adapters && keys) {
        progress_start(&progress, 0, 0, 0);
        fill(&export_options, options, &progress);
        export_options.adapters = adapters;
        export_options.adapter_count = model_adapters(adapters, options);
        export_options.ignored_config_keys = keys;
        export_options.ignored_config_key_count = model_ignored_keys(keys, options);
        status = fam_export(options->argument, &export_options, result, error);
        progress_end(&progress);
    } else {
        status = failure(error, FAM_STATUS_OUT_OF_MEMORY, "the options: out of memory");
    }
    free(adapters);
    free(keys);
    return status;
}

int cmd_export(const cli_options *options)
{
    static const char *const types[] = {"f32", "f16", "bf16"};
    fam_error error = {FAM_OK, ""};
    fam_export_result result;
    if (!option_given(options, OPTION_OUT))
        return usage_error("export: found no --out, need where to write");
    fam_status status = export_model(options, &result, &error);
    if (status == FAM_STATUS_CANCELLED) {
        message("stopped; nothing was written");
        return EXIT_INTERRUPTED;
    }
    if (status != FAM_OK)
        return message_failure(&error);
    message("%s: %s of %s, %.0f MB, %lld matrices merged", option_text(options, OPTION_OUT),
            result.format == FAM_EXPORT_GGUF ? "a GGUF file" : "a Hugging Face directory", types[result.type],
            (double)result.bytes / 1e6, (long long)result.merged);
    return 0;
}
