/*
 * train/trainer_save.c: everything of a run in a checkpoint, and back. What is in one:
 *
 *   adapter/ or model/      the float32 masters as files of the ecosystem, ready for use
 *   optimizer.safetensors   moments
 *   states.safetensors      states that wait to be handed on (RSP, carried documents); only if there are any
 *   source.bin              the place in the data (data/source.h)
 *   trainer.json            steps, counters, the curriculum, the round
 *   recipe.yaml             as used
 */
#include <math.h>
#include <string.h>

#include "format/adapter_write.h"
#include "format/hf_write.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "text/byte_tokenizer.h"
#include "text/tokenizer_export.h"
#include "train/trainer_private.h"

enum { STATE_VERSION = 1, PROJECTIONS = 7 };

const char *fam_trainer_weights_name(const fam_recipe *recipe)
{
    return recipe->adapt.what == FAM_TRAIN_WHAT_ALL ? "model" : "adapter";
}

/* ---- weights ------------------------------------------------------------------------------------------------------ */

static fam_settings settings_of(const fam_model *model)
{
    const fam_window *w = &model->window;
    fam_settings s = fam_settings_none();
    s.mode = (int)w->mode;
    if (w->mode == FAM_MODE_SWA)
        s.window = w->window;
    if (fam_window_has_blocks(w)) {
        s.block_size = w->block_size;
        s.memory_segments = w->memory_segments;
    }
    if (w->mode == FAM_MODE_FAM) {
        s.fam_length = w->fam_length;
        s.state_norm = (int)model->state_norm;
        s.fam_positions = (int)w->positions;
    }
    return s;
}

/* A projection of the first adapter with LoRA: its two tensors; false if there is none. */
static bool find_lora(const fam_trainer *t, int64_t layer, int projection, const fam_tensor *pair[2])
{
    char module[96];
    if (t->parts.adapter_count == 0)
        return false;
    snprintf(module, sizeof module, "model.layers.%lld.%s", (long long)layer, fam_projection_module(projection));
    return fam_adapter_lora(t->parts.adapters[0], module, &pair[0], &pair[1]);
}

/* Which projections have LoRA, in the first layer as in all (fam_trainer_check_adapter). */
static unsigned targets_of(const fam_trainer *t)
{
    unsigned targets = 0;
    const fam_tensor *pair[2];
    for (int p = 0; p < PROJECTIONS; p++)
        targets |= find_lora(t, 0, p, pair) ? 1u << p : 0;
    return targets;
}

fam_status fam_trainer_check_adapter(const fam_trainer *t, fam_error *error)
{
    unsigned targets = targets_of(t);
    const fam_tensor *pair[2];
    for (int64_t l = 1; l < t->parts.model->config.layers; l++)
        for (int p = 0; p < PROJECTIONS; p++)
            if (find_lora(t, l, p, pair) != ((targets >> p & 1) != 0))
                return fam_error_set(error, FAM_STATUS_UNSUPPORTED,
                                     "%s: found LoRA on %s in some layers only, need it in all or none",
                                     fam_adapter_path(t->parts.adapters[0]), fam_projection_name(p));
    return FAM_OK;
}

/* Tensors of an adapter in the making. */
typedef struct adapter_list {
    fam_tensor *lora; /* [2 L 7] */
    int64_t count;
    const fam_tensor *prompt;
    char (*names)[160]; /* of LoRA that is not trained */
    float **widened;    /* the same: its numbers, from fam_alloc */
} adapter_list;

/* The LoRA that is there but is not trained (prompt tuning on an adapter), in float32 as all else. */
static fam_status add_untrained(adapter_list *list, fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    for (int64_t l = 0; l < t->parts.model->config.layers; l++) {
        for (int p = 0; p < PROJECTIONS; p++) {
            const fam_tensor *pair[2];
            if (!find_lora(t, l, p, pair))
                continue;
            for (int k = 0; k < 2; k++, list->count++) {
                int64_t elements = pair[k]->shape[0] * pair[k]->shape[1];
                float **data = &list->widened[list->count];
                FAM_TRY_ALLOC(*data, fam_alloc_array(&t->memory, (size_t)elements, sizeof(float)), pair[k]->name);
                fam_type_dequantize(*data, pair[k]->data, pair[k]->type, elements);
                snprintf(list->names[list->count], sizeof list->names[0],
                         "base_model.model.model.layers.%lld.%s.lora_%c.weight", (long long)l, fam_projection_module(p),
                         "AB"[k]);
                list->lora[list->count] = *pair[k];
                list->lora[list->count].name = list->names[list->count];
                list->lora[list->count].type = FAM_TYPE_F32;
                list->lora[list->count].data = (const uint8_t *)*data;
                list->lora[list->count].bytes = (size_t)elements * sizeof(float);
            }
        }
    }
done:
    return status;
}

static fam_status write_adapter(fam_trainer *t, const char *directory, const fam_tensor *tensors, fam_error *error)
{
    fam_status status = FAM_OK;
    adapter_list list = {0};
    size_t most = 2 * PROJECTIONS * (size_t)t->parts.model->config.layers;
    const fam_adapter *adapter = t->parts.adapter_count > 0 ? t->parts.adapters[0] : NULL;
    FAM_TRY_ALLOC(list.lora, fam_alloc_array(&t->memory, most, sizeof *list.lora), directory);
    FAM_TRY_ALLOC(list.names, fam_alloc_array(&t->memory, most, sizeof *list.names), directory);
    FAM_TRY_ALLOC(list.widened, fam_alloc_array(&t->memory, most, sizeof *list.widened), directory);
    for (int64_t i = 0; i < t->parameters->count; i++) {
        if (t->parameters->list[i].is_prompt)
            list.prompt = &tensors[i];
        else
            list.lora[list.count++] = tensors[i];
    }
    if (t->recipe->adapt.what == FAM_TRAIN_WHAT_PROMPT)
        FAM_TRY(add_untrained(&list, t, error));
    const fam_adapter_description description = {.base_model = t->recipe->model.path,
                                                 .rank = list.count > 0 ? fam_adapter_rank(adapter) : 0,
                                                 .alpha = list.count > 0 ? fam_adapter_alpha(adapter) : 0,
                                                 .rslora = list.count > 0 && fam_adapter_rslora(adapter),
                                                 .targets = targets_of(t),
                                                 .settings = settings_of(t->parts.model)};
    FAM_TRY(fam_adapter_write(directory, &t->memory, &description, list.lora, list.count, list.prompt, false, error));
done:
    for (size_t i = 0; list.widened && i < most; i++)
        fam_free(&t->memory, list.widened[i]);
    fam_free(&t->memory, list.widened);
    fam_free(&t->memory, list.lora);
    fam_free(&t->memory, list.names);
    return status;
}

static fam_status write_model(fam_trainer *t, const char *directory, const fam_tensor *tensors, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_settings settings = settings_of(t->parts.model);
    FAM_TRY(fam_hf_write(directory, &t->memory, &t->parts.model->config, &settings, fam_tokenizer_bos(t->tokenizer),
                         fam_tokenizer_eos(t->tokenizer), tensors, t->parameters->count, error));
    /* not from the checkpoint that the run was resumed from: it is deleted when there are newer ones */
    if (t->recipe->model.is_new)
        FAM_TRY(fam_byte_tokenizer_write(directory, &t->memory, error));
    else if (fam_path_is_directory(t->recipe->model.path))
        FAM_TRY(fam_hf_companions_copy(t->recipe->model.path, directory, &t->memory, error));
    else
        FAM_TRY(fam_tokenizer_write_json(t->tokenizer, &t->memory, directory, error));
done:
    return status;
}

fam_status fam_trainer_write_weights(fam_trainer *t, const char *directory, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tensor *tensors = NULL;
    void *block = NULL;
    FAM_TRY(fam_parameters_tensors(t->parameters, &tensors, &block, error));
    if (t->recipe->adapt.what == FAM_TRAIN_WHAT_ALL)
        FAM_TRY(write_model(t, directory, tensors, error));
    else
        FAM_TRY(write_adapter(t, directory, tensors, error));
done:
    fam_free(t->parameters->memory, tensors);
    fam_free(t->parameters->memory, block);
    return status;
}

/* ---- where the run stands ----------------------------------------------------------------------------------------- */

static json_t *curriculum_json(const fam_trainer *t)
{
    const fam_curriculum *c = &t->curriculum;
    int64_t window = t->recipe->curriculum.window, kept = fam_min_i64(c->count, window);
    json_t *accuracies = json_array();
    for (int64_t i = 0; accuracies && i < kept; i++)
        json_array_append_new(accuracies, json_real(c->accuracies[i]));
    return json_pack("{s:I, s:I, s:I, s:o}", "level", (json_int_t)c->level, "promoted_at", (json_int_t)c->promoted_at,
                     "count", (json_int_t)c->count, "accuracies", accuracies);
}

static json_t *round_json(const fam_trainer *t)
{
    const fam_round *r = &t->round;
    int64_t part = r->drawn ? r->part : 0; /* documents of which no part is done are drawn again */
    return json_pack("{s:I, s:I}", "part", (json_int_t)part, "blocks", (json_int_t)r->plan.blocks);
}

static void hex(char out[33], const uint8_t bytes[16])
{
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static fam_status write_file(fam_trainer *t, const char *folder, const char *name, const void *data, size_t size,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    char *path = NULL;
    FAM_TRY_ALLOC(path, fam_path_join(&t->memory, folder, name), name);
    FAM_TRY(fam_file_replace(path, &t->memory, data, size, FAM_FILE_SHARED, error));
done:
    fam_free(&t->memory, path);
    return status;
}

static const char *dtype_of(const fam_trainer *t)
{
    return t->parts.model->backend->dtype == FAM_DTYPE_F32 ? "f32" : "bf16";
}

static fam_status write_progress(fam_trainer *t, const char *folder, fam_error *error)
{
    fam_status status = FAM_OK;
    char base[33], *path = NULL;
    hex(base, t->base_fingerprint);
    json_t *json = json_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "version", STATE_VERSION, "base", base, "dtype",
                             dtype_of(t), "step",
                             (json_int_t)t->step, "tokens", (json_int_t)t->tokens, "optimizer_steps",
                             (json_int_t)fam_optimizer_steps(t->optimizer), "bad_in_row", (json_int_t)t->bad_in_row,
                             "bad_total", (json_int_t)t->bad_total, "curriculum", curriculum_json(t), "round",
                             round_json(t));
    FAM_TRY_ALLOC(path, fam_path_join(&t->memory, folder, "trainer.json"), folder);
    FAM_TRY(fam_json_write(path, &t->memory, json, error));
done:
    fam_free(&t->memory, path);
    json_decref(json);
    return status;
}

/* States that wait: what RSP hands on, and what the documents at hand go on from. */
static fam_status write_states(fam_trainer *t, const char *folder, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tensor tensors[2];
    int64_t count = 0;
    char *path = NULL;
    const fam_round *r = &t->round;
    size_t bytes = (size_t)t->state_elements * sizeof(float);
    if (t->has_passed_state)
        tensors[count++] = (fam_tensor){.name = "passed", .type = FAM_TYPE_F32, .n_dims = 1, .shape = {t->state_elements},
                                        .data = (const uint8_t *)t->passed_state, .bytes = bytes};
    if (r->drawn && r->part > 0 && t->state_elements > 0) {
        int64_t documents = r->plan.passes * r->plan.sequences;
        tensors[count++] = (fam_tensor){.name = "carried", .type = FAM_TYPE_F32, .n_dims = 2,
                                        .shape = {documents, t->state_elements}, .data = (const uint8_t *)r->states,
                                        .bytes = (size_t)documents * bytes};
    }
    if (count == 0)
        return FAM_OK;
    FAM_TRY_ALLOC(path, fam_path_join(&t->memory, folder, "states.safetensors"), folder);
    FAM_TRY(fam_safetensors_write(path, &t->memory, tensors, count, error));
done:
    fam_free(&t->memory, path);
    return status;
}

static fam_status write_moments(fam_trainer *t, const char *folder, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_tensor *tensors = NULL;
    void *block = NULL;
    int64_t count = 0;
    char *path = NULL;
    FAM_TRY_ALLOC(path, fam_path_join(&t->memory, folder, "optimizer.safetensors"), folder);
    FAM_TRY(fam_optimizer_tensors(t->optimizer, &tensors, &count, &block, error));
    FAM_TRY(fam_safetensors_write(path, &t->memory, tensors, count, error));
done:
    fam_free(t->parameters->memory, tensors);
    fam_free(t->parameters->memory, block);
    fam_free(&t->memory, path);
    return status;
}

/* The place to go on from: that of the round whose parts are not all done, else the source's own. */
static fam_status write_place(fam_trainer *t, const char *folder, fam_error *error)
{
    fam_status status = FAM_OK;
    uint8_t *now = NULL;
    const uint8_t *place = t->round.place;
    size_t size = t->round.place_size;
    if (!t->round.begun) {
        FAM_TRY(fam_source_save(t->source, &now, &size, error));
        place = now;
    }
    FAM_TRY(write_file(t, folder, "source.bin", place, size, error));
done:
    fam_free(&t->memory, now);
    return status;
}

uint64_t fam_trainer_checkpoint_bytes(const fam_trainer *t)
{
    uint64_t element = t->recipe->optimizer.kind == FAM_OPTIMIZER_ADAMW ? 12 : 9;
    return (uint64_t)t->parameters->elements * element + ((uint64_t)1 << 20) +
           (uint64_t)(t->carry > 1 ? t->round.states_capacity + 1 : 1) * (uint64_t)t->state_elements * sizeof(float);
}

fam_status fam_trainer_write_checkpoint(fam_trainer *t, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_snapshot_writer *writer = NULL;
    char *weights = NULL, *yaml = NULL;
    FAM_TRY(fam_snapshot_begin(&writer, t->folder, t->step, fam_trainer_checkpoint_bytes(t), error));
    const char *folder = fam_snapshot_folder(writer);
    FAM_TRY_ALLOC(weights, fam_path_join(&t->memory, folder, fam_trainer_weights_name(t->recipe)), folder);
    FAM_TRY(fam_trainer_write_weights(t, weights, error));
    FAM_TRY(write_moments(t, folder, error));
    FAM_TRY(write_states(t, folder, error));
    FAM_TRY(write_place(t, folder, error));
    FAM_TRY(fam_recipe_write(&yaml, t->recipe, error));
    FAM_TRY(write_file(t, folder, "recipe.yaml", yaml, strlen(yaml), error));
    FAM_TRY(write_progress(t, folder, error));
    FAM_TRY(fam_metrics_file_sync(t->metrics, error));
    fam_snapshot_writer *whole = writer;
    writer = NULL;
    FAM_TRY(fam_snapshot_commit(whole, t->recipe->output.keep, error));
    t->saved_step = t->step;
done:
    fam_snapshot_abort(writer);
    fam_free(&t->memory, weights);
    fam_free(t->recipe->memory, yaml);
    return status;
}

/* ---- back --------------------------------------------------------------------------------------------------------- */

static fam_status read_curriculum(fam_trainer *t, json_t *json, const char *where, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_curriculum *c = &t->curriculum;
    json_t *accuracies;
    int64_t window = t->recipe->curriculum.window;
    FAM_TRY(fam_json_i64(json, where, "level", true, &c->level, error));
    FAM_TRY(fam_json_i64(json, where, "promoted_at", true, &c->promoted_at, error));
    FAM_TRY(fam_json_i64(json, where, "count", true, &c->count, error));
    FAM_TRY(fam_json_child(json, where, "accuracies", JSON_ARRAY, true, &accuracies, error));
    const fam_recipe *recipe = t->recipe;
    FAM_FAIL_IF(recipe->curriculum.on && (c->level < recipe->curriculum.from_blocks ||
                                          c->level > recipe->curriculum.to_blocks || c->count < 0),
                FAM_STATUS_BAD_FORMAT, "%s: level: found %lld, need one of the recipe's", where, (long long)c->level);
    /* a window that was overridden is filled afresh */
    if ((int64_t)json_array_size(accuracies) != fam_min_i64(c->count, window))
        c->count = 0;
    for (size_t i = 0; recipe->curriculum.on && c->count > 0 && i < json_array_size(accuracies); i++)
        c->accuracies[i] = json_number_value(json_array_get(accuracies, i));
done:
    return status;
}

/* The documents of a round that was begun are drawn again, and its part and states set. */
static fam_status restore_round(fam_trainer *t, json_t *json, const char *where, const fam_safetensors *states,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t part, blocks;
    const fam_recipe *recipe = t->recipe;
    FAM_TRY(fam_json_i64(json, where, "part", true, &part, error));
    FAM_TRY(fam_json_i64(json, where, "blocks", true, &blocks, error));
    FAM_FAIL_IF(part < 0 || part >= t->carry || part > t->step, FAM_STATUS_BAD_FORMAT,
                "%s: part: found %lld, need 0 to %lld", where, (long long)part, (long long)t->carry - 1);
    if (part == 0)
        return FAM_OK;
    FAM_FAIL_IF(recipe->curriculum.on && (blocks < recipe->curriculum.from_blocks || blocks > recipe->curriculum.to_blocks),
                FAM_STATUS_BAD_FORMAT, "%s: blocks: found %lld, need one of the curriculum's", where, (long long)blocks);
    const fam_round_plan plan = fam_plan_of_blocks(recipe, t->block_size, blocks);
    FAM_TRY(fam_trainer_draw_round(t, &plan, t->step - part, error));
    fam_round *r = &t->round;
    r->part = part;
    if (t->state_elements == 0)
        return FAM_OK;
    const fam_tensor *carried = states ? fam_safetensors_tensor(states, "carried") : NULL;
    size_t bytes = (size_t)(plan.passes * plan.sequences * t->state_elements) * sizeof(float);
    FAM_FAIL_IF(!carried || carried->type != FAM_TYPE_F32 || carried->bytes != bytes, FAM_STATUS_BAD_FORMAT,
                "%s: states.safetensors: carried: found none of the right size, need %zu bytes of F32", where, bytes);
    memcpy(r->states, carried->data, bytes);
done:
    return status;
}

static fam_status read_progress(fam_trainer *t, json_t *json, const char *path, int64_t snapshot_step,
                                int64_t *optimizer_steps, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t version;
    const char *base, *dtype;
    char own[33];
    json_t *curriculum;
    FAM_TRY(fam_json_i64(json, path, "version", true, &version, error));
    FAM_FAIL_IF(version != STATE_VERSION, FAM_STATUS_UNSUPPORTED, "%s: version: found %lld, need %d", path,
                (long long)version, STATE_VERSION);
    FAM_TRY(fam_json_string(json, path, "base", true, &base, error));
    hex(own, t->base_fingerprint);
    FAM_FAIL_IF(strcmp(base, own) != 0, FAM_STATUS_MISMATCH, "%s: base: found a run on another model, need %s", path,
                t->recipe->model.path ? t->recipe->model.path : "the model that the run began with");
    FAM_TRY(fam_json_string(json, path, "dtype", true, &dtype, error));
    FAM_FAIL_IF(strcmp(dtype, dtype_of(t)) != 0 && !fam_trainer_overrides(t, "train.dtype"), FAM_STATUS_MISMATCH,
                "%s: dtype: found a run in %s, need the same as now, %s, or an override of train.dtype", path, dtype,
                dtype_of(t));
    FAM_TRY(fam_json_i64(json, path, "step", true, &t->step, error));
    FAM_TRY(fam_json_i64(json, path, "tokens", true, &t->tokens, error));
    FAM_TRY(fam_json_i64(json, path, "optimizer_steps", true, optimizer_steps, error));
    FAM_TRY(fam_json_i64(json, path, "bad_in_row", true, &t->bad_in_row, error));
    FAM_TRY(fam_json_i64(json, path, "bad_total", true, &t->bad_total, error));
    FAM_FAIL_IF(t->step != snapshot_step || t->tokens < 0 || *optimizer_steps < 0 || *optimizer_steps > t->step ||
                    t->bad_in_row < 0 || t->bad_total < t->bad_in_row,
                FAM_STATUS_BAD_FORMAT, "%s: counters: found step %lld of %lld tokens, %lld of the optimizer, need those of step %lld",
                path, (long long)t->step, (long long)t->tokens, (long long)*optimizer_steps, (long long)snapshot_step);
    FAM_TRY(fam_json_child(json, path, "curriculum", JSON_OBJECT, true, &curriculum, error));
    FAM_TRY(read_curriculum(t, curriculum, path, error));
done:
    return status;
}

static fam_status restore_states(fam_trainer *t, const fam_safetensors *states, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_tensor *passed = states ? fam_safetensors_tensor(states, "passed") : NULL;
    if (!passed || !t->passed_state)
        return FAM_OK;
    size_t bytes = (size_t)t->state_elements * sizeof(float);
    FAM_FAIL_IF(passed->type != FAM_TYPE_F32 || passed->bytes != bytes, FAM_STATUS_BAD_FORMAT,
                "%s: passed: found %zu bytes, need %zu of F32", fam_safetensors_path(states), passed->bytes, bytes);
    memcpy(t->passed_state, passed->data, bytes);
    t->has_passed_state = true;
done:
    return status;
}

fam_status fam_trainer_restore(fam_trainer *t, const fam_snapshot *snapshot, fam_error *error)
{
    fam_status status = FAM_OK;
    enum { PLACE_MAX = 1 << 30, JSON_MAX = 16 << 20, FILES = 4 };
    static const char *const names[FILES] = {"trainer.json", "source.bin", "optimizer.safetensors", "states.safetensors"};
    char *paths[FILES] = {0};
    json_t *json = NULL, *round;
    uint8_t *place = NULL;
    size_t place_size;
    fam_safetensors *moments = NULL, *states = NULL;
    int64_t optimizer_steps;
    for (int i = 0; i < FILES; i++)
        FAM_TRY_ALLOC(paths[i], fam_path_join(&t->memory, snapshot->folder, names[i]), names[i]);
    FAM_TRY(fam_json_read(&json, &t->memory, paths[0], JSON_MAX, error));
    FAM_TRY(read_progress(t, json, paths[0], snapshot->step, &optimizer_steps, error));
    FAM_TRY(fam_safetensors_open(&moments, &t->memory, paths[2], error));
    FAM_TRY(fam_optimizer_restore(t->optimizer, moments, optimizer_steps, error));
    FAM_TRY(fam_file_read(&place, &place_size, &t->memory, paths[1], PLACE_MAX, error));
    FAM_TRY(fam_source_restore(t->source, place, place_size, error));
    if (fam_path_exists(paths[3]))
        FAM_TRY(fam_safetensors_open(&states, &t->memory, paths[3], error));
    FAM_TRY(restore_states(t, states, error));
    FAM_TRY(fam_json_child(json, paths[0], "round", JSON_OBJECT, true, &round, error));
    FAM_TRY(restore_round(t, round, paths[0], states, error));
    t->resumed_from = t->saved_step = t->step;
done:
    for (int i = 0; i < FILES; i++)
        fam_free(&t->memory, paths[i]);
    fam_safetensors_free(moments);
    fam_safetensors_free(states);
    fam_free(&t->memory, place);
    json_decref(json);
    return status;
}
