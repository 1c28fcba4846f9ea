/*
 * train/trainer_open.c: the model that a run works on and the data that it reads, and whether the two can work together.
 *
 * What a run starts from lies in files: a fresh adapter or model in RUN/start, or the newest checkpoint. So everything is
 * opened as any model or adapter is.
 */
#include <string.h>

#include "base/directory.h"
#include "session/internal.h"
#include "train/start.h"
#include "train/trainer_private.h"

/* ---- the model ---------------------------------------------------------------------------------------------------- */

/* What the engine opens. Strings are released with fam_free. */
typedef struct opening {
    char *model, *adapter; /* adapter: or NULL */
} opening;

static fam_status copy_path(char **out, fam_trainer *t, const char *path, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY_ALLOC(*out, fam_strdup(&t->memory, path), path);
done:
    return status;
}

/* RUN/start/NAME. */
static fam_status start_path(char **out, fam_trainer *t, const char *name, fam_error *error)
{
    fam_status status = FAM_OK;
    char *start = NULL;
    FAM_TRY_ALLOC(start, fam_path_join(&t->memory, fam_run_folder_path(t->folder), "start"), name);
    FAM_TRY(fam_directory_make(start, error));
    FAM_TRY_ALLOC(*out, fam_path_join(&t->memory, start, name), name);
done:
    fam_free(&t->memory, start);
    return status;
}

/* Whether the run has to begin with an adapter of its own: LoRA to train, or a prompt that nobody has. */
static bool needs_start_adapter(const fam_recipe *recipe, const fam_checkpoint *base)
{
    if (recipe->model.adapter)
        return false;
    if (recipe->adapt.what == FAM_TRAIN_WHAT_ADAPTER)
        return true;
    int mode = recipe->fam.mode >= 0 ? recipe->fam.mode : fam_checkpoint_settings(base)->mode;
    return mode == FAM_MODE_FAM && !fam_checkpoint_tensor(base, "fam.prompt");
}

static fam_status find_start(opening *o, fam_trainer *t, const fam_checkpoint *base, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_recipe *recipe = t->recipe;
    if (recipe->model.adapter)
        FAM_TRY(copy_path(&o->adapter, t, recipe->model.adapter, error));
    if (needs_start_adapter(recipe, base)) {
        FAM_TRY(start_path(&o->adapter, t, "adapter", error));
        FAM_TRY(fam_start_adapter(o->adapter, recipe, base, error));
    }
done:
    return status;
}

/* The base is looked at before anything is opened for good: what is written for it depends on it, and resuming needs the
 * same one. */
static fam_status find_on_base(opening *o, fam_trainer *t, const fam_snapshot *snapshot, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_recipe *recipe = t->recipe;
    fam_checkpoint *base = NULL;
    FAM_TRY(fam_checkpoint_open(&base, &t->memory, recipe->model.path, NULL, error));
    fam_checkpoint_fingerprint(base, t->base_fingerprint);
    bool whole = recipe->adapt.what == FAM_TRAIN_WHAT_ALL;
    if (!snapshot->folder)
        FAM_TRY(find_start(o, t, base, error));
    if (snapshot->folder && whole)
        FAM_TRY_ALLOC(o->model, fam_path_join(&t->memory, snapshot->folder, "model"), "model");
    else
        FAM_TRY(copy_path(&o->model, t, recipe->model.path, error));
    if (snapshot->folder && !whole)
        FAM_TRY_ALLOC(o->adapter, fam_path_join(&t->memory, snapshot->folder, "adapter"), "adapter");
done:
    fam_checkpoint_free(base);
    return status;
}

static fam_status find_from_nothing(opening *o, fam_trainer *t, const fam_snapshot *snapshot, fam_error *error)
{
    fam_status status = FAM_OK;
    if (snapshot->folder) {
        FAM_TRY_ALLOC(o->model, fam_path_join(&t->memory, snapshot->folder, "model"), "model");
    } else {
        FAM_TRY(start_path(&o->model, t, "model", error));
        FAM_TRY(fam_start_model(o->model, t->recipe, error));
    }
done:
    return status;
}

static fam_status open_engine(fam_trainer *t, const opening *o, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_recipe *recipe = t->recipe;
    fam_engine_options options;
    const fam_adapter_option adapter = {.path = o->adapter, .scale = 1};
    fam_engine_options_init(&options);
    options.device = t->options.device;
    options.threads = t->options.threads;
    options.dtype = t->options.dtype != FAM_AUTO ? t->options.dtype : recipe->train.dtype;
    options.isa = t->options.isa;
    options.mode = recipe->fam.mode;
    options.state_norm = recipe->fam.state_norm;
    options.fam_positions = recipe->fam.fam_positions;
    options.block_size = recipe->fam.block_size;
    options.memory_segments = recipe->fam.memory_segments;
    options.fam_length = recipe->fam.fam_length;
    options.window = recipe->fam.window;
    options.context = 1; /* mode full: no session will be made */
    options.adapters = &adapter;
    options.adapter_count = o->adapter != NULL;
    options.log = t->options.log;
    options.log_context = t->options.log_context;
    fam_engine_fault fault = {.fail_at = t->engine_fail_at, .fail_for_good = t->memory.fail_for_good};
    FAM_TRY(fam_engine_open_faulty(&t->engine, o->model, &options, &fault, error));
    fam_engine_parts_get(t->engine, &t->parts);
    t->tokenizer = fam_engine_tokenizer(t->engine);
    FAM_FAIL_IF(!t->tokenizer, FAM_STATUS_UNSUPPORTED, "%s: tokenizer: found none, need one to read the data with", o->model);
done:
    return status;
}

/* A step's tokens must be numbers that can be counted with. */
static fam_status check_sizes(const fam_trainer *t, fam_error *error)
{
    const fam_recipe *r = t->recipe;
    const int64_t most = (int64_t)1 << 40;
    int64_t blocks = r->curriculum.on ? r->curriculum.to_blocks : r->train.blocks,
            one = blocks > 0 ? blocks : r->train.tokens, tokens = one, state = t->state_elements, all;
    bool counted = fam_mul_i64(&tokens, tokens, blocks > 0 && t->block_size > 0 ? t->block_size : 1) &&
                   fam_mul_i64(&tokens, tokens, t->carry) && fam_mul_i64(&all, tokens, r->train.sequences) &&
                   fam_mul_i64(&all, all, r->train.accumulate) && all <= most &&
                   fam_mul_i64(&state, state, fam_max_i64(all, r->train.tokens_per_step)) &&
                   fam_mul_i64(&state, state, (int64_t)sizeof(float));
    return counted ? FAM_OK
                   : fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                                   "%s: train: found %lld x %lld sequences of %lld %s, need at most %lld tokens a step "
                                   "(all that are carried on counted)",
                                   r->path, (long long)r->train.accumulate, (long long)r->train.sequences, (long long)one,
                                   blocks > 0 ? "blocks" : "tokens", (long long)most);
}

/* Settings that are known only with the model, against what the recipe asks for. */
static fam_status check_mode(const fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_recipe *r = t->recipe;
    bool fam = t->parts.model->window.mode == FAM_MODE_FAM, blocks = t->block_size > 0;
    FAM_FAIL_IF(!fam && (r->train.state_passing_probability > 0 || r->train.state_noise > 0), FAM_STATUS_INVALID_ARGUMENT,
                "%s: train: found state passing or noise in mode %s, need mode fam", r->path,
                fam_mode_name((int)t->parts.model->window.mode));
    FAM_FAIL_IF(!fam && t->carry > 1, FAM_STATUS_INVALID_ARGUMENT,
                "%s: train.carry: found %lld in mode %s, need mode fam (there is no state to hand on)", r->path,
                (long long)t->carry, fam_mode_name((int)t->parts.model->window.mode));
    FAM_FAIL_IF(!blocks && (r->train.stop_gradient_segments || r->validation.blocks > 0), FAM_STATUS_INVALID_ARGUMENT,
                "%s: found stop_gradient_segments or validation.blocks in mode %s, need a mode with blocks", r->path,
                fam_mode_name((int)t->parts.model->window.mode));
    FAM_FAIL_IF(!fam && r->adapt.what == FAM_TRAIN_WHAT_PROMPT, FAM_STATUS_INVALID_ARGUMENT,
                "%s: adapt.what: found prompt in mode %s, need mode fam", r->path,
                fam_mode_name((int)t->parts.model->window.mode));
    FAM_FAIL_IF(!blocks && (r->curriculum.on || r->train.blocks > 0), FAM_STATUS_INVALID_ARGUMENT,
                "%s: train: found a length in blocks in mode %s, need train.tokens", r->path,
                fam_mode_name((int)t->parts.model->window.mode));
    FAM_FAIL_IF(t->carry > 1 && blocks && fam_plan_longest(r, t->block_size).tokens % t->block_size != 0,
                FAM_STATUS_INVALID_ARGUMENT, "%s: train.tokens: found sequences that end within a block, need whole blocks "
                "to carry a document on", r->path);
done:
    return status;
}

/* An adapter that is gone on with stays what it is. */
static fam_status check_adapter(const fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_recipe *r = t->recipe;
    if (t->parts.adapter_count == 0)
        return FAM_OK;
    FAM_TRY(fam_trainer_check_adapter(t, error));
    const fam_adapter *adapter = t->parts.adapters[0];
    FAM_FAIL_IF(r->adapt.what == FAM_TRAIN_WHAT_ADAPTER &&
                    (r->adapt.rank != fam_adapter_rank(adapter) || r->adapt.alpha != fam_adapter_alpha(adapter) ||
                     r->adapt.rslora != fam_adapter_rslora(adapter)),
                FAM_STATUS_INVALID_ARGUMENT, "%s: adapt: found rank %lld, alpha %g, rslora %s, need those of %s: %lld, %g, %s",
                r->path, (long long)r->adapt.rank, r->adapt.alpha, r->adapt.rslora ? "true" : "false",
                fam_adapter_path(adapter), (long long)fam_adapter_rank(adapter), fam_adapter_alpha(adapter),
                fam_adapter_rslora(adapter) ? "true" : "false");
done:
    return status;
}

/* The first time that masters go into the model it takes memory: later, in a step, it cannot fail for want of it. */
static fam_status push_masters(fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_backend *backend = t->parts.model->backend;
    fam_exec *exec = NULL;
    FAM_TRY(backend->ops->exec_create(backend, &exec, 1, error));
    status = fam_parameters_push(t->parameters, exec, error);
    backend->ops->exec_free(exec);
done:
    return status;
}

fam_status fam_trainer_open_model(fam_trainer *t, const fam_snapshot *snapshot, fam_error *error)
{
    fam_status status = FAM_OK;
    static const fam_trained trained[] = {[FAM_TRAIN_WHAT_ADAPTER] = FAM_TRAIN_ADAPTERS,
                                          [FAM_TRAIN_WHAT_PROMPT] = FAM_TRAIN_PROMPT, [FAM_TRAIN_WHAT_ALL] = FAM_TRAIN_ALL};
    opening o = {0};
    FAM_FAIL_IF(t->recipe->adapt.what == FAM_TRAIN_WHAT_ALL && t->recipe->model.adapter, FAM_STATUS_INVALID_ARGUMENT,
                "%s: model.adapter: found one and adapt.what all, need adapter or prompt (or a model that it is merged into: "
                "fam export)", t->recipe->path);
    if (t->recipe->model.is_new)
        FAM_TRY(find_from_nothing(&o, t, snapshot, error));
    else
        FAM_TRY(find_on_base(&o, t, snapshot, error));
    FAM_TRY(open_engine(t, &o, error));
    const fam_model *model = t->parts.model;
    t->block_size = fam_window_has_blocks(&model->window) ? model->window.block_size : 0;
    t->state_elements = model->config.layers * model->window.fam_length * model->config.hidden_size;
    FAM_TRY(check_sizes(t, error));
    FAM_TRY(check_mode(t, error));
    FAM_TRY(check_adapter(t, error));
    FAM_TRY(fam_gradients_create(&t->gradients, t->parts.model, trained[t->recipe->adapt.what], error));
    FAM_TRY(fam_parameters_create(&t->parameters, t->gradients, t->parts.checkpoint,
                                  t->parts.adapter_count > 0 ? t->parts.adapters[0] : NULL, t->parts.prompt, error));
    FAM_FAIL_IF(t->parameters->count == 0, FAM_STATUS_INVALID_ARGUMENT,
                "%s: adapt: found nothing to train in %s, need LoRA or a prompt", t->recipe->path, o.adapter);
    FAM_TRY(push_masters(t, error));
    FAM_TRY(fam_optimizer_create(&t->optimizer, t->parameters, t->recipe, error));
    if (model->window.mode == FAM_MODE_FAM && t->recipe->train.state_passing_probability > 0)
        FAM_TRY_ALLOC(t->passed_state, fam_alloc_array(&t->memory, (size_t)t->state_elements, sizeof(float)), "state");
done:
    fam_free(&t->memory, o.model);
    fam_free(&t->memory, o.adapter);
    return status;
}

/* ---- the data ----------------------------------------------------------------------------------------------------- */

/* Every sequence must be able to hold its answers. */
static fam_status check_lengths(const fam_trainer *t, const char *what, const fam_source *source, int64_t tokens,
                                fam_error *error)
{
    int64_t need = fam_source_tokens_min(source);
    if (tokens >= need)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT,
                         "%s: %s: found sequences of %lld tokens, need at least %lld for what is asked in them (longer "
                         "blocks, or more of them)",
                         t->recipe->path, what, (long long)tokens, (long long)need);
}

static fam_status open_validation(fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_recipe *recipe = t->recipe;
    fam_data_options *entries = t->validation_entries;
    int64_t count = 0;
    for (int64_t i = 0; i < recipe->validation.data_count; i++)
        entries[count++] = recipe->validation.data[i];
    /* Else what training draws, drawn from another seed. A file that is trained on measures nothing. */
    for (int64_t i = 0; recipe->validation.data_count == 0 && i < recipe->data_count; i++)
        if (recipe->data[i].kind < FAM_DATA_TEXT)
            entries[count++] = recipe->data[i];
    FAM_FAIL_IF(count == 0, FAM_STATUS_INVALID_ARGUMENT,
                "%s: validation.data: found none, and files that are trained on measure nothing; need entries of its own",
                recipe->path);
    FAM_TRY(fam_source_create(&t->validation_source, &t->memory, entries, count, t->tokenizer, recipe->validation.seed, error));
    FAM_TRY(fam_source_check_disjoint(t->source, t->validation_source, error));
    FAM_TRY(check_lengths(t, "validation.blocks", t->validation_source, fam_trainer_validation_plan(t).tokens,
                          error));
    FAM_TRY(fam_source_save(t->validation_source, &t->validation_place, &t->validation_place_size, error));
    FAM_TRY_ALLOC(t->validation, fam_alloc_array(&t->memory, (size_t)count, sizeof *t->validation), "validation");
    t->validation_count = count;
    for (int64_t i = 0; i < count; i++)
        t->validation[i] = (fam_validation_result){.name = entries[i].name, .sequences = recipe->validation.sequences,
                                                   .loss = __builtin_nan(""), .accuracy = __builtin_nan(""),
                                                   .exact = __builtin_nan("")};
done:
    return status;
}

fam_status fam_trainer_open_data(fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_recipe *recipe = t->recipe;
    FAM_TRY(fam_source_create(&t->source, &t->memory, recipe->data, recipe->data_count, t->tokenizer, recipe->train.seed,
                              error));
    int64_t shortest = recipe->curriculum.on
                           ? fam_plan_of_blocks(recipe, t->block_size, recipe->curriculum.from_blocks).tokens
                           : fam_plan_longest(recipe, t->block_size).tokens;
    FAM_TRY(check_lengths(t, recipe->curriculum.on ? "curriculum.from_blocks" : "train.blocks", t->source,
                          shortest * t->carry, error));
    for (int64_t i = 0; i < recipe->data_count; i++) {
        const fam_data_options *entry = &recipe->data[i];
        FAM_FAIL_IF(t->block_size > 0 && entry->kind < FAM_DATA_TEXT && entry->digits > t->block_size,
                    FAM_STATUS_INVALID_ARGUMENT, "%s: data.%lld.digits: found an answer of %lld tokens, need at most a block (%lld)",
                    recipe->path, (long long)i, (long long)entry->digits, (long long)t->block_size);
    }
    if (recipe->validation.every > 0)
        FAM_TRY(open_validation(t, error));
    if (recipe->curriculum.on) {
        FAM_TRY_ALLOC(t->curriculum.accuracies,
                      fam_alloc_array(&t->memory, (size_t)recipe->curriculum.window, sizeof(double)), "curriculum");
        t->curriculum.level = recipe->curriculum.from_blocks;
        t->curriculum.promoted_at = -1;
    }
done:
    return status;
}
