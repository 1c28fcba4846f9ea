/*
 * eval/report.c: the result as JSON: see report.h. docs/EVAL.md has the members.
 */
#include "eval/report.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { VERSION = 1 };

static const char *const answer_notes[] = {
    "An answer is right if each of its tokens is the most probable one after the right tokens before it: what greedy "
    "generation would write.",
    "Wording of the tasks: docs/TASKS.md; differences from the paper and from RULER: docs/EVAL.md."};
static const char *const text_notes[] = {
    "nll: nats per token, mean over pieces that do not overlap, each read from a fresh session."};

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

static json_t *system_json(const fam_eval_description *system)
{
    const fam_engine_info *info = &system->info;
    return json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:s, s:s, s:I, s:s, s:o}", "name", system->name, "mode",
                     fam_mode_name(info->mode), "adapter", text_or_null(system->adapter), "block_size",
                     (json_int_t)info->block_size, "memory_segments", (json_int_t)info->memory_segments, "fam_length",
                     (json_int_t)info->fam_length, "state_norm", fam_state_norm_name(info->state_norm), "fam_positions",
                     fam_positions_name(info->fam_positions), "window", (json_int_t)info->window, "dtype",
                     info->dtype == FAM_DTYPE_F32 ? "f32" : "bf16", "reach",
                     system->reach < 0 ? json_null() : json_integer(system->reach));
}

static json_t *cell_json(const fam_eval_result *result, const fam_eval_cell *cell)
{
    bool one_depth = cell->depth_from >= cell->depth_to;
    return json_pack("{s:s, s:I, s:o, s:f, s:f, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "system",
                     result->systems[cell->system].name, "length", (json_int_t)cell->length, "depth",
                     one_depth ? json_real(cell->depth_from) : json_null(), "depth_from", cell->depth_from, "depth_to",
                     cell->depth_to, "keys", (json_int_t)cell->keys, "draws", (json_int_t)cell->draws, "exact",
                     real(cell->exact), "exact_low", real(cell->exact_low), "exact_high", real(cell->exact_high),
                     "parts", real(cell->parts), "digits", real(cell->digits), "nll", real(cell->nll), "seconds",
                     real(cell->seconds), "tokens", (json_int_t)cell->tokens);
}

static json_t *depth_json(const fam_eval_result *result, const fam_eval_depth *depth)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "system", result->systems[depth->system].name,
                     "length", (json_int_t)depth->length, "from", (json_int_t)depth->from, "to", (json_int_t)depth->to,
                     "draws", (json_int_t)depth->draws, "nll", real(depth->nll), "nll_low", real(depth->nll_low),
                     "nll_high", real(depth->nll_high));
}

static json_t *notes_json(const fam_eval_result *result)
{
    bool text = result->task == FAM_EVAL_TEXT;
    const char *const *notes = text ? text_notes : answer_notes;
    size_t n = text ? sizeof text_notes / sizeof *text_notes : sizeof answer_notes / sizeof *answer_notes;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(notes[i]));
    return list;
}

static bool fill_lists(const fam_eval_result *result, json_t *systems, json_t *cells, json_t *depths)
{
    int failed = 0; /* of appending, memory is short then; NULL is refused too */
    for (size_t i = 0; i < result->system_count; i++)
        failed |= json_array_append_new(systems, system_json(&result->systems[i]));
    for (size_t i = 0; i < result->cell_count; i++)
        failed |= json_array_append_new(cells, cell_json(result, &result->cells[i]));
    for (size_t i = 0; i < result->depth_count; i++)
        failed |= json_array_append_new(depths, depth_json(result, &result->depths[i]));
    return failed == 0;
}

fam_status fam_eval_json(char **json, const fam_eval_result *result, fam_error *error)
{
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, result->seed);
    json_t *systems = json_array(), *cells = json_array(), *depths = json_array(), *object = NULL;
    bool whole = fill_lists(result, systems, cells, depths);
    /* takes the three lists, also when it fails */
    object = json_pack(
        "{s:s, s:i, s:s, s:o, s:s, s:I, s:I, s:I, s:b, s:o, s:o, s:o, s:o}", "kind", "fam-eval", "version", VERSION,
        "task", fam_eval_task_name(result->task), "model", text_or_null(result->model), "seed", seed, "draws",
        (json_int_t)result->draws, "digits", (json_int_t)result->digits, "asked", (json_int_t)result->asked, "complete",
        (int)result->complete, "systems", systems, "cells", cells, "by_depth", depths, "notes", notes_json(result));
    *json = whole && object ? json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(object);
    return *json ? FAM_OK : fam_error_set(error, FAM_STATUS_OUT_OF_MEMORY, "results: out of memory");
}

fam_status fam_eval_report_write(const fam_eval_result *result, fam_memory *memory, const char *directory,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    char *json = NULL, *path = NULL;
    fam_atomic_file *file = NULL;
    FAM_TRY(fam_eval_json(&json, result, error));
    FAM_TRY_ALLOC(path, fam_path_join(memory, directory, "results.json"), directory);
    FAM_TRY(fam_atomic_file_begin(&file, memory, path, FAM_FILE_SHARED, error));
    FAM_TRY(fam_atomic_file_write(file, json, strlen(json), error));
    FAM_TRY(fam_atomic_file_write(file, "\n", 1, error));
    status = fam_atomic_file_commit(file, error);
    file = NULL;
done:
    fam_atomic_file_abort(file);
    fam_free(memory, path);
    fam_string_free(json);
    return status;
}
