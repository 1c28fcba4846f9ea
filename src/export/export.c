/*
 * export/export.c: what is to be written, and where: options, the model and its adapters, the list of tensors. The
 * files are hf.c's and gguf.c's.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file.h"
#include "base/options.h"
#include "export/private.h"

enum { ADAPTERS_MAX = 1024, SPARE_BYTES = 1 << 20 };
static const double SCALE_MAX = 1e6;
static const char rope_factors_name[] = "rope_freqs.weight";

void fam_export_options_init_sized(fam_export_options *options, size_t size)
{
    const fam_export_options defaults = {.format = FAM_AUTO,
                                         .type = FAM_AUTO,
                                         .mode = FAM_AUTO,
                                         .state_norm = FAM_AUTO,
                                         .fam_positions = FAM_AUTO,
                                         .block_size = FAM_AUTO,
                                         .memory_segments = FAM_AUTO,
                                         .fam_length = FAM_AUTO,
                                         .window = FAM_AUTO};
    fam_options_give(options, size, &defaults, sizeof defaults);
}

void fam_export_log(const fam_exporter *exporter, fam_log_level level, const char *format, ...)
{
    char line[FAM_ERROR_SIZE];
    va_list arguments;
    if (!exporter->options.log)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    exporter->options.log(exporter->options.log_context, level, line);
}

static void warn(void *context, const char *line)
{
    fam_export_log(context, FAM_LOG_WARNING, "%s", line);
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static fam_settings asked_settings(const fam_export_options *o)
{
    return (fam_settings){.mode = o->mode,
                          .block_size = o->block_size,
                          .memory_segments = o->memory_segments,
                          .fam_length = o->fam_length,
                          .window = o->window,
                          .state_norm = o->state_norm,
                          .fam_positions = o->fam_positions};
}

static fam_status check_options(const fam_export_options *o, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_settings asked = asked_settings(o);
    FAM_FAIL_IF(!o->out || !*o->out, FAM_STATUS_INVALID_ARGUMENT, "export: out: found an empty path, need one");
    FAM_FAIL_IF(o->format != FAM_AUTO && o->format != FAM_EXPORT_HF && o->format != FAM_EXPORT_GGUF,
                FAM_STATUS_INVALID_ARGUMENT, "export: format: found %d, need a value of its enumeration", o->format);
    FAM_FAIL_IF(o->type < FAM_AUTO || o->type > FAM_EXPORT_BF16, FAM_STATUS_INVALID_ARGUMENT,
                "export: type: found %d, need a value of its enumeration", o->type);
    FAM_FAIL_IF(o->adapter_count > ADAPTERS_MAX, FAM_STATUS_INVALID_ARGUMENT, "adapters: found %zu, need at most %d",
                o->adapter_count, ADAPTERS_MAX);
    for (size_t i = 0; i < o->adapter_count; i++)
        FAM_FAIL_IF(!(fabs(o->adapters[i].scale) <= SCALE_MAX), FAM_STATUS_INVALID_ARGUMENT,
                    "adapter %s: scale: found %g, need -1e6 to 1e6", o->adapters[i].path, o->adapters[i].scale);
    FAM_TRY(fam_settings_check(&asked, error));
done:
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), part = strlen(end);
    return length > part && strcmp(text + length - part, end) == 0;
}

static fam_status check_out(fam_exporter *exporter, const char *model_path, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_export_options *o = &exporter->options;
    FAM_TRY_ALLOC(exporter->out, fam_path_trim(&exporter->memory, o->out), o->out);
    exporter->format = o->format != FAM_AUTO               ? (fam_export_format)o->format
                       : ends_with(exporter->out, ".gguf") ? FAM_EXPORT_GGUF
                                                           : FAM_EXPORT_HF;
    FAM_FAIL_IF(fam_path_same(exporter->out, model_path), FAM_STATUS_INVALID_ARGUMENT,
                "%s: out: found the model itself, need a new path", exporter->out);
    FAM_TRY(fam_path_refuse_existing(exporter->out, error));
    FAM_FAIL_IF(exporter->format == FAM_EXPORT_GGUF && o->out[strlen(o->out) - 1] == '/', FAM_STATUS_INVALID_ARGUMENT,
                "%s: out: found a directory's name, need a file's for GGUF", o->out);
done:
    return status;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

static fam_status open_model(fam_exporter *exporter, const char *model_path, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_export_options *o = &exporter->options;
    const fam_settings asked = asked_settings(o);
    FAM_TRY(fam_checkpoint_open(&exporter->checkpoint, &exporter->memory, model_path, &exporter->checkpoint_options,
                                error));
    const fam_model_config *config = fam_checkpoint_config(exporter->checkpoint);
    FAM_TRY_ALLOC(exporter->adapters, fam_alloc_array(&exporter->memory, o->adapter_count, sizeof *exporter->adapters),
                  model_path);
    for (size_t i = 0; i < o->adapter_count; i++) {
        FAM_TRY(fam_adapter_open(&exporter->adapters[i], &exporter->memory, o->adapters[i].path, config, error));
        exporter->adapter_count++;
    }
    exporter->prompt = fam_adapters_prompt(exporter->checkpoint, exporter->adapters, exporter->adapter_count);
    exporter->settings = fam_adapters_settings(exporter->checkpoint, exporter->adapters, exporter->adapter_count);
    fam_settings *s = &exporter->settings;
    fam_settings_merge(s, &asked);
    FAM_FAIL_IF(s->mode == FAM_MODE_FAM && !exporter->prompt, FAM_STATUS_UNSUPPORTED,
                "%s: mode fam: fam.prompt: found none, need one (from the model or an adapter: --adapter)", model_path);
    if (!exporter->prompt)
        goto done;
    FAM_FAIL_IF(s->fam_length >= 0 && s->fam_length != exporter->prompt->shape[0], FAM_STATUS_MISMATCH,
                "%s: fam.prompt: found %lld rows, need fam_length, %lld", model_path,
                (long long)exporter->prompt->shape[0], (long long)s->fam_length);
    s->fam_length = exporter->prompt->shape[0];
done:
    return status;
}

static bool is_matrix(const fam_tensor *tensor)
{
    return tensor->n_dims == 2 && strcmp(tensor->name, "fam.prompt") != 0;
}

/* The base's own type; where its matrices are of several, the one that holds all of their numbers. */
static fam_type own_type(const fam_checkpoint *checkpoint)
{
    const fam_tensor *tensor;
    bool any[FAM_TYPE_COUNT] = {false};
    for (int64_t i = 0; (tensor = fam_checkpoint_tensor_at(checkpoint, i)); i++)
        if (is_matrix(tensor))
            any[tensor->type] = true;
    for (int type = 0; type < FAM_TYPE_COUNT; type++)
        if (any[type] && fam_type_block_elements((fam_type)type) > 1)
            return FAM_TYPE_BF16;
    if (any[FAM_TYPE_F32] || (any[FAM_TYPE_F16] && any[FAM_TYPE_BF16]))
        return FAM_TYPE_F32;
    return any[FAM_TYPE_F16] ? FAM_TYPE_F16 : FAM_TYPE_BF16;
}

static fam_type chosen_type(const fam_exporter *exporter)
{
    switch (exporter->options.type) {
    case FAM_EXPORT_F32:
        return FAM_TYPE_F32;
    case FAM_EXPORT_F16:
        return FAM_TYPE_F16;
    case FAM_EXPORT_BF16:
        return FAM_TYPE_BF16;
    default:
        return own_type(exporter->checkpoint);
    }
}

/* Norms and the prompt are small and matter: they never lose bits. GGUF has them in float32. */
static fam_type vector_type(const fam_exporter *exporter, const fam_tensor *tensor)
{
    return exporter->format == FAM_EXPORT_GGUF || exporter->type == FAM_TYPE_F32 ? FAM_TYPE_F32 : tensor->type;
}

/* ---- the list of tensors ----------------------------------------------------------------------------------------- */

static fam_status add_tensor(fam_exporter *exporter, const fam_tensor *source, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t i = exporter->count;
    fam_tensor *out = &exporter->tensors[i];
    size_t bytes = 0;
    *out = (fam_tensor){.name = source->name, .n_dims = source->n_dims};
    memcpy(out->shape, source->shape, sizeof out->shape);
    exporter->items[i] = (fam_export_item){.source = source};
    bool known = fam_gguf_tensor_name(exporter->names[i], &exporter->items[i].heads,
                                      fam_checkpoint_config(exporter->checkpoint), source->name);
    if (exporter->format == FAM_EXPORT_GGUF) {
        FAM_FAIL_IF(!known, FAM_STATUS_UNSUPPORTED, "%s: tensor %s: found one without a name in GGUF, need none",
                    fam_checkpoint_path(exporter->checkpoint), source->name);
        out->name = exporter->names[i];
    }
    out->type = is_matrix(source) ? exporter->type : vector_type(exporter, source);
    FAM_FAIL_IF(!fam_type_row_bytes(&bytes, out->type, source->shape[source->n_dims - 1]) ||
                    (source->n_dims == 2 && !fam_mul_size(&bytes, bytes, (size_t)source->shape[0])),
                FAM_STATUS_UNSUPPORTED, "%s: tensor %s: size: found more than a file can hold, need less",
                fam_checkpoint_path(exporter->checkpoint), source->name);
    out->bytes = bytes;
    exporter->total += bytes;
    exporter->count++;
done:
    return status;
}

/* The factors that GGUF has instead of llama3's parameters; they are no tensor of the base. */
static fam_status add_rope_factors(fam_exporter *exporter, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model_config *config = fam_checkpoint_config(exporter->checkpoint);
    int64_t half = config->head_dim / 2;
    if (config->rope_scaling == FAM_ROPE_DEFAULT && !config->rope_frequency_factors)
        return FAM_OK;
    FAM_TRY_ALLOC(exporter->rope_factors, fam_alloc_array(&exporter->memory, (size_t)half, sizeof(float)),
                  exporter->out);
    FAM_TRY(fam_export_rope_factors(exporter->rope_factors, config, &exporter->memory, error));
    exporter->items[exporter->count] = (fam_export_item){0};
    exporter->tensors[exporter->count++] = (fam_tensor){.name = rope_factors_name,
                                                        .type = FAM_TYPE_F32,
                                                        .n_dims = 1,
                                                        .shape = {half},
                                                        .bytes = (size_t)half * sizeof(float)};
done:
    return status;
}

static fam_status list_tensors(fam_exporter *exporter, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_tensor *tensor;
    size_t room = 2; /* the prompt of an adapter, the factors */
    while (fam_checkpoint_tensor_at(exporter->checkpoint, (int64_t)room - 2))
        room++;
    FAM_TRY_ALLOC(exporter->items, fam_alloc_array(&exporter->memory, room, sizeof *exporter->items), exporter->out);
    FAM_TRY_ALLOC(exporter->tensors, fam_alloc_array(&exporter->memory, room, sizeof *exporter->tensors),
                  exporter->out);
    FAM_TRY_ALLOC(exporter->names, fam_alloc_array(&exporter->memory, room, sizeof *exporter->names), exporter->out);
    exporter->type = chosen_type(exporter);
    for (int64_t i = 0; (tensor = fam_checkpoint_tensor_at(exporter->checkpoint, i)); i++)
        if (strcmp(tensor->name, "fam.prompt") != 0)
            FAM_TRY(add_tensor(exporter, tensor, error));
    if (exporter->format == FAM_EXPORT_GGUF)
        FAM_TRY(add_rope_factors(exporter, error));
    else if (exporter->prompt)
        FAM_TRY(add_tensor(exporter, exporter->prompt, error));
done:
    return status;
}

static fam_status check_space(const fam_exporter *exporter, fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    uint64_t space = 0, need = exporter->total + SPARE_BYTES;
    FAM_TRY(fam_path_free_space(exporter->out, memory, &space, error));
    FAM_FAIL_IF(space < need, FAM_STATUS_IO, "%s: free space: found %llu bytes, need %llu", exporter->out,
                (unsigned long long)space, (unsigned long long)need);
done:
    return status;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static void release(fam_exporter *exporter)
{
    fam_memory *memory = &exporter->memory;
    for (int i = 0; i < exporter->adapter_count; i++)
        fam_adapter_free(exporter->adapters[i]);
    fam_free(memory, exporter->adapters);
    fam_checkpoint_free(exporter->checkpoint);
    fam_free(memory, exporter->items);
    fam_free(memory, exporter->tensors);
    fam_free(memory, exporter->names);
    fam_free(memory, exporter->rope_factors);
    fam_free(memory, exporter->out);
}

static fam_status run(fam_exporter *exporter, const char *model_path, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY(check_options(&exporter->options, error));
    FAM_TRY(check_out(exporter, model_path, error));
    FAM_TRY(open_model(exporter, model_path, error));
    FAM_TRY(list_tensors(exporter, error));
    FAM_TRY(check_space(exporter, &exporter->memory, error));
    FAM_TRY(exporter->format == FAM_EXPORT_GGUF ? fam_export_gguf(exporter, error) : fam_export_hf(exporter, error));
done:
    return status;
}

fam_status fam_export_faulty(const char *model_path, const fam_export_options *given, fam_export_result *result,
                             fam_export_fault *fault, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_exporter exporter = {0};
    fam_memory_init(&exporter.memory);
    fam_export_options_init(&exporter.options);
    FAM_TRY(fam_options_copy(&exporter.options, sizeof exporter.options, given, given->size, "export options", error));
    exporter.memory.fail_at = fault->fail_at;
    exporter.memory.fail_for_good = fault->fail_for_good;
    exporter.checkpoint_options =
        (fam_checkpoint_options){.ignored_keys = exporter.options.ignored_config_keys,
                                 .ignored_key_count = (int)exporter.options.ignored_config_key_count,
                                 .warn = warn,
                                 .warn_context = &exporter};
    FAM_TRY(run(&exporter, model_path, error));
    if (result)
        *result = (fam_export_result){.format = exporter.format,
                                      .type = exporter.type == FAM_TYPE_F16    ? FAM_EXPORT_F16
                                              : exporter.type == FAM_TYPE_BF16 ? FAM_EXPORT_BF16
                                                                               : FAM_EXPORT_F32,
                                      .bytes = exporter.total,
                                      .merged = exporter.merged};
done:
    release(&exporter);
    fault->bytes_left = exporter.memory.bytes;
    fault->peak_bytes = exporter.memory.peak_bytes;
    return status;
}

fam_status fam_export(const char *model_path, const fam_export_options *options, fam_export_result *result,
                      fam_error *error)
{
    return fam_export_faulty(model_path, options, result, &(fam_export_fault){0}, error);
}
