/*
 * session/engine.c: opening a model with its adapters and settings. Who says what: the model, then adapters in order,
 * then the caller; the last to speak wins.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "backend/open.h"
#include "session/engine.h"
#include "session/internal.h"
#include "session/open_tokenizer.h"

#define STRING_OF(x) #x
#define VERSION_TEXT(major, minor, patch) STRING_OF(major) "." STRING_OF(minor) "." STRING_OF(patch)

const char *fam_version(void)
{
    return VERSION_TEXT(FAM_VERSION_MAJOR, FAM_VERSION_MINOR, FAM_VERSION_PATCH);
}

void fam_engine_options_init_sized(fam_engine_options *options, size_t size)
{
    const fam_engine_options defaults = {.threads = FAM_AUTO, .dtype = FAM_AUTO, .mode = FAM_AUTO,
                                         .state_norm = FAM_AUTO, .fam_positions = FAM_AUTO, .block_size = FAM_AUTO,
                                         .memory_segments = FAM_AUTO, .fam_length = FAM_AUTO, .window = FAM_AUTO,
                                         .context = FAM_AUTO};
    fam_options_give(options, size, &defaults, sizeof defaults);
}

/* ---- settings ----------------------------------------------------------------------------------------------------- */

enum { DEFAULT_BLOCK_SIZE = 1024, DEFAULT_WINDOW = 1024 };

static fam_status check_option(const char *name, int64_t value, int64_t low, int64_t high, fam_error *error)
{
    if (value == FAM_AUTO || (value >= low && value <= high))
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT, "%s: found %" PRId64 ", need %" PRId64 " to %" PRId64,
                         name, value, low, high);
}

static fam_settings asked_settings(const fam_engine_options *o)
{
    return (fam_settings){.mode = o->mode, .block_size = o->block_size, .memory_segments = o->memory_segments,
                          .fam_length = o->fam_length, .window = o->window, .state_norm = o->state_norm,
                          .fam_positions = o->fam_positions};
}

static fam_status check_options(const fam_engine_options *o, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_settings asked = asked_settings(o);
    FAM_TRY(fam_settings_check(&asked, error));
    FAM_TRY(check_option("context", o->context, 1, FAM_POSITION_MAX, error));
    FAM_TRY(check_option("dtype", o->dtype, 0, FAM_DTYPE_BF16, error));
    FAM_TRY(check_option("threads", o->threads, 1, FAM_POOL_THREADS_MAX, error));
    FAM_FAIL_IF(o->adapter_count > FAM_ADAPTERS_MAX, FAM_STATUS_INVALID_ARGUMENT,
                "adapters: found %zu, need at most %d", o->adapter_count, FAM_ADAPTERS_MAX);
done:
    return status;
}

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value < 0 ? fallback : value;
}

static fam_status resolve_settings(fam_model_source *out, const fam_engine *engine, const fam_engine_options *options,
                                   const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_settings s = fam_adapters_settings(engine->checkpoint, engine->adapters, engine->adapter_count);
    const fam_settings asked = asked_settings(options);
    fam_settings_merge(&s, &asked);

    out->prompt = fam_adapters_prompt(engine->checkpoint, engine->adapters, engine->adapter_count);
    out->state_norm = (fam_state_norm)or_default(s.state_norm, FAM_STATE_NORM_NONE);
    out->window = (fam_window){.mode = (fam_mode)or_default(s.mode, FAM_MODE_FULL),
                               .block_size = or_default(s.block_size, DEFAULT_BLOCK_SIZE),
                               .memory_segments = or_default(s.memory_segments, 0),
                               .window = or_default(s.window, DEFAULT_WINDOW),
                               .positions = (fam_positions)or_default(s.fam_positions, FAM_POSITIONS_LAST)};
    if (out->window.mode != FAM_MODE_FAM)
        return FAM_OK;
    FAM_FAIL_IF(!out->prompt, FAM_STATUS_UNSUPPORTED,
                "%s: mode fam: fam.prompt: found none, need one (from the model or an adapter: --adapter)", path);
    out->window.fam_length = or_default(s.fam_length, out->prompt->shape[0]);
    FAM_FAIL_IF(out->window.fam_length != out->prompt->shape[0] ||
                    out->prompt->shape[1] != fam_checkpoint_config(engine->checkpoint)->hidden_size,
                FAM_STATUS_MISMATCH,
                "%s: fam.prompt: found %" PRId64 " x %" PRId64 ", need %" PRId64 " x %" PRId64
                " (fam_length x hidden size)",
                path, out->prompt->shape[0], out->prompt->shape[1], out->window.fam_length,
                fam_checkpoint_config(engine->checkpoint)->hidden_size);
done:
    return status;
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static void warn(void *context, const char *line)
{
    fam_engine *engine = context;
    if (engine->log)
        engine->log(engine->log_context, FAM_LOG_WARNING, line);
}

static fam_status open_adapters(fam_engine *engine, const fam_engine_options *options, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model_config *config = fam_checkpoint_config(engine->checkpoint);
    for (size_t i = 0; i < options->adapter_count; i++) {
        const fam_adapter_option *given = &options->adapters[i];
        FAM_FAIL_IF(!(given->scale >= -1e6 && given->scale <= 1e6), FAM_STATUS_INVALID_ARGUMENT,
                    "adapter %s: scale: found %g, need -1e6 to 1e6", given->path, given->scale);
        FAM_TRY(fam_adapter_open(&engine->adapters[i], &engine->memory, given->path, config, error));
        engine->adapter_scales[i] = given->scale;
        engine->adapter_count++;
    }
done:
    return status;
}

static fam_status open_backend(fam_engine *engine, const fam_engine_options *options, fam_error *error)
{
    const fam_backend_options backend = {.device = options->device, .isa = options->isa, .threads = options->threads,
                                         .dtype = options->dtype};
    fam_backend_choice choice;
    fam_status status = fam_backend_open(&engine->backend, &choice, &engine->memory, &backend, error);
    if (status == FAM_OK) {
        engine->isa = choice.isa;
        engine->threads = choice.threads;
    }
    return status;
}

/* Binds sessions to the model, its adapters and their scales. */
static void make_fingerprint(fam_engine *engine)
{
    enum { PART = 16 + sizeof(double) };
    uint8_t parts[16 + FAM_ADAPTERS_MAX * PART];
    size_t size = 16;
    fam_checkpoint_fingerprint(engine->checkpoint, parts);
    for (int i = 0; i < engine->adapter_count; i++) {
        fam_adapter_fingerprint(engine->adapters[i], parts + size);
        memcpy(parts + size + 16, &engine->adapter_scales[i], sizeof engine->adapter_scales[i]);
        size += PART;
    }
    XXH128_hash_t hash = XXH3_128bits(parts, size);
    memcpy(engine->fingerprint, &hash.low64, 8);
    memcpy(engine->fingerprint + 8, &hash.high64, 8);
}

static fam_status open_model(fam_engine *engine, const fam_engine_options *options, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_model_adapter adapters[FAM_ADAPTERS_MAX];
    fam_model_source source = {.checkpoint = engine->checkpoint, .adapters = adapters,
                               .adapter_count = engine->adapter_count};
    for (int i = 0; i < engine->adapter_count; i++)
        adapters[i] = (fam_model_adapter){.adapter = engine->adapters[i], .scale = engine->adapter_scales[i]};
    FAM_TRY(resolve_settings(&source, engine, options, path, error));
    if (source.window.mode == FAM_MODE_FULL)
        engine->context = or_default(options->context, fam_checkpoint_config(engine->checkpoint)->context_length);
    FAM_TRY(fam_model_check_sizes(fam_checkpoint_config(engine->checkpoint), &source.window, engine->context, 1, error));
    FAM_TRY(open_backend(engine, options, error));
    FAM_TRY(fam_model_create(&engine->model, &engine->memory, engine->backend, &source, error));
done:
    return status;
}

/* Everything but the struct, which holds the counters. */
static void engine_release(fam_engine *engine)
{
    fam_tokenizer_free(engine->tokenizer);
    fam_model_free(engine->model);
    if (engine->backend)
        engine->backend->ops->free_backend(engine->backend);
    for (int i = 0; i < engine->adapter_count; i++)
        fam_adapter_free(engine->adapters[i]);
    fam_checkpoint_free(engine->checkpoint);
}

fam_status fam_engine_open_faulty(fam_engine **out, const char *model_path, const fam_engine_options *given,
                                  fam_engine_fault *fault, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_engine_options options;
    fam_engine *engine = NULL;
    fam_engine_options_init(&options);
    if (given)
        FAM_TRY(fam_options_copy(&options, sizeof options, given, given->size, "engine options", error));
    FAM_TRY(check_options(&options, error));

    FAM_TRY_ALLOC(engine, calloc(1, sizeof *engine), model_path); /* its own fam_memory cannot count it */
    fam_memory_init(&engine->memory);
    engine->memory.fail_at = fault->fail_at;
    engine->memory.fail_for_good = fault->fail_for_good;
    engine->log = options.log;
    engine->log_context = options.log_context;
    const fam_checkpoint_options checkpoint_options = {.ignored_keys = options.ignored_config_keys,
                                                       .ignored_key_count = (int)options.ignored_config_key_count,
                                                       .warn = warn,
                                                       .warn_context = engine};
    FAM_TRY(fam_checkpoint_open(&engine->checkpoint, &engine->memory, model_path, &checkpoint_options, error));
    FAM_TRY(open_adapters(engine, &options, error));
    FAM_TRY(open_model(engine, &options, model_path, error));
    FAM_TRY(fam_open_engine_tokenizer(&engine->tokenizer, &engine->memory, engine->checkpoint, warn, engine, error));
    make_fingerprint(engine);
    engine->memory.fail_at = 0;
    *out = engine;
    engine = NULL;
done:
    if (engine) {
        engine_release(engine);
        fault->bytes_left = engine->memory.bytes;
        free(engine);
    }
    return status;
}

fam_status fam_engine_open(fam_engine **out, const char *model_path, const fam_engine_options *options, fam_error *error)
{
    return fam_engine_open_faulty(out, model_path, options, &(fam_engine_fault){0}, error);
}

void fam_engine_free(fam_engine *engine)
{
    if (!engine)
        return;
    engine_release(engine);
    free(engine);
}

/* ---- asking ------------------------------------------------------------------------------------------------------- */

void fam_engine_info_get(const fam_engine *engine, fam_engine_info *out)
{
    const fam_model *model = engine->model;
    const fam_model_config *config = &model->config;
    *out = (fam_engine_info){
        .family = config->family,
        .container = fam_checkpoint_container(engine->checkpoint) == FAM_CONTAINER_GGUF ? "gguf" : "safetensors",
        .device = engine->backend->ops->name,
        .isa = engine->isa,
        .dtype = engine->backend->dtype,
        .threads = engine->threads,
        .vocab_size = config->vocab_size,
        .hidden_size = config->hidden_size,
        .intermediate_size = config->intermediate_size,
        .layers = config->layers,
        .heads = config->heads,
        .kv_heads = config->kv_heads,
        .head_dim = config->head_dim,
        .context_length = config->context_length,
        .parameters = model->parameters,
        .mode = model->window.mode,
        .state_norm = model->state_norm,
        .fam_positions = model->window.positions,
        .block_size = model->window.block_size,
        .memory_segments = model->window.memory_segments,
        .fam_length = model->window.fam_length,
        .window = model->window.window,
        .context = engine->context,
        .adapter_count = (size_t)engine->adapter_count};
    memcpy(out->fingerprint, engine->fingerprint, sizeof out->fingerprint);
}

void fam_engine_parts_get(fam_engine *engine, fam_engine_parts *out)
{
    *out = (fam_engine_parts){.memory = &engine->memory,
                              .checkpoint = engine->checkpoint,
                              .adapters = engine->adapters,
                              .adapter_count = engine->adapter_count,
                              .prompt = engine->model->window.mode == FAM_MODE_FAM
                                            ? fam_adapters_prompt(engine->checkpoint, engine->adapters, engine->adapter_count)
                                            : NULL,
                              .model = engine->model};
}

const fam_tokenizer *fam_engine_tokenizer(const fam_engine *engine)
{
    return engine->tokenizer;
}

void fam_engine_memory(const fam_engine *engine, uint64_t *bytes, uint64_t *peak_bytes, uint64_t *allocations)
{
    const fam_memory *memory = &engine->memory;
    if (bytes)
        *bytes = atomic_load_explicit(&memory->bytes, memory_order_relaxed);
    if (peak_bytes)
        *peak_bytes = atomic_load_explicit(&memory->peak_bytes, memory_order_relaxed);
    if (allocations)
        *allocations = atomic_load_explicit(&memory->allocations, memory_order_relaxed);
}
