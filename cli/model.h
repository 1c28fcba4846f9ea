/*
 * cli/model.h: the options about model, mode and machine, and the engine that they open.
 */
#ifndef CLI_MODEL_H
#define CLI_MODEL_H

#include "fam/fam.h"
#include "options.h"

/* The parts of which engines and exports are described. Refuses settings that mean nothing in `mode` (negative: not
 * known). */
fam_status model_check_settings(const cli_options *options, int mode, fam_error *error);
/* --adapter and --ignore-config-key into arrays that hold options->count; how many there are. */
size_t model_adapters(fam_adapter_option *out, const cli_options *options);
size_t model_ignored_keys(const char **out, const cli_options *options);
/* Warnings become messages. */
void model_log(void *context, fam_log_level level, const char *line);

/* Opens the engine that the options describe. Options that contradict each other, or that mean nothing in the mode that
 * results, are refused. Warnings of the library become messages. */
fam_status model_open(fam_engine **out, const cli_options *options, fam_error *error);

/* One of several engines that the same options describe. */
typedef struct model_variant {
    int mode;                    /* enum fam_mode; FAM_AUTO: as the options say */
    const option_value *adapter; /* behind those of --adapter; NULL: none more */
} model_variant;

/* As model_open. Where the variant says the mode, settings that mean nothing in it are left out: another variant has them
 * (model_check_modes). */
fam_status model_open_variant(fam_engine **out, const cli_options *options, const model_variant *variant,
                              fam_error *error);

/* Refuses a setting that means nothing in any of these modes. */
fam_status model_check_modes(const cli_options *options, const int64_t *modes, size_t count, fam_error *error);

/* The engine's tokenizer; without one the status says why the model has none. */
fam_status model_tokenizer(const fam_tokenizer **out, const fam_engine *engine, const char *path, fam_error *error);

/* Sampling from the options. A session that continues and whose options say nothing of it keeps its own. */
fam_status model_set_sampling(fam_session *session, const cli_options *options, fam_error *error);

#endif
