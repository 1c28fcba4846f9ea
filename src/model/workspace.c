/*
 * model/workspace.c: making and releasing a workspace. Every size is counted in one list, so that the estimate is the
 * truth.
 */
#include "model/workspace.h"

typedef struct part {
    void **where;
    size_t bytes;
} part;

enum { PARTS = 12 };

/* The device memory of a workspace (its members where `w` is given) and its sizes. */
static void list_parts(part out[PARTS], fam_workspace *w, const fam_model *model, int64_t span_max, int64_t updates_max)
{
    const fam_model_config *config = &model->config;
    size_t act = fam_dtype_bytes(model->backend->dtype), half = (size_t)config->head_dim / 2;
    size_t n = (size_t)span_max, kv = (size_t)(config->kv_heads * config->head_dim) * act;
    size_t rows = model->window.mode == FAM_MODE_FAM ? (size_t)model->window.fam_length : 0;
    size_t slots = rows * (size_t)updates_max, tables = rows * (size_t)(updates_max + 2);
    size_t width = (size_t)config->hidden_size;
    const part parts[PARTS] = {{&w->x, n * width * sizeof(float)},
                               {&w->span_k, n * kv},
                               {&w->span_v, n * kv},
                               {&w->cos, n * half * sizeof(float)},
                               {&w->sin, n * half * sizeof(float)},
                               {&w->slot_k, slots * kv},
                               {&w->slot_v, slots * kv},
                               {&w->state_cos, tables * half * sizeof(float)},
                               {&w->state_sin, tables * half * sizeof(float)},
                               {&w->logit_rows, FAM_LOGIT_ROWS_MAX * width * act},
                               {&w->logits, FAM_LOGIT_ROWS_MAX * (size_t)config->vocab_size * sizeof(float)},
                               {&w->hidden_row, width * sizeof(float)}};
    for (int i = 0; i < PARTS; i++)
        out[i] = parts[i];
}

static int64_t updates_of(const fam_model *model, int64_t span_max)
{
    return model->window.mode == FAM_MODE_FAM ? fam_pieces_max(&model->window, span_max) : 0;
}

uint64_t fam_workspace_bytes(const fam_model *model, int64_t span_max)
{
    fam_workspace none;
    part parts[PARTS];
    list_parts(parts, &none, model, span_max, updates_of(model, span_max));
    int64_t rows = model->window.mode == FAM_MODE_FAM ? model->window.fam_length : 0;
    const fam_model_config *config = &model->config;
    int64_t columns = fam_max_i64(fam_max_i64(config->hidden_size, config->intermediate_size),
                                  config->heads * config->head_dim);
    uint64_t sum = sizeof(fam_workspace) + fam_rows_scratch_bytes(model, span_max) +
                   model->backend->ops->exec_bytes(model->backend, fam_max_i64(span_max, rows), columns) +
                   (uint64_t)fam_pieces_max(&model->window, span_max) * sizeof(fam_attention_job) +
                   (uint64_t)fam_max_i64(span_max, (updates_of(model, span_max) + 2) * rows) * sizeof(double);
    for (int i = 0; i < PARTS; i++)
        sum += parts[i].bytes;
    if (rows > 0)
        sum += fam_rows_scratch_bytes(model, rows);
    return sum;
}

fam_status fam_workspace_create(fam_workspace **out, const fam_model *model, int64_t span_max, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_backend *backend = model->backend;
    fam_workspace *w = NULL;
    part parts[PARTS];
    int64_t rows = model->window.mode == FAM_MODE_FAM ? model->window.fam_length : 0;

    FAM_TRY_ALLOC(w, fam_alloc_zeroed(model->memory, sizeof *w), "scratch");
    w->model = model;
    w->span_max = span_max;
    w->updates_max = updates_of(model, span_max);
    w->pieces_max = fam_pieces_max(&model->window, span_max);
    FAM_TRY(backend->ops->exec_create(backend, &w->exec, fam_max_i64(span_max, rows), error));
    list_parts(parts, w, model, span_max, w->updates_max);
    for (int i = 0; i < PARTS; i++)
        FAM_TRY(backend->ops->alloc(backend, parts[i].where, parts[i].bytes, "scratch", error));
    FAM_TRY(fam_rows_scratch_create(&w->tokens, model, span_max, error));
    if (rows > 0)
        FAM_TRY(fam_rows_scratch_create(&w->rows, model, rows, error));
    int64_t positions = fam_max_i64(span_max, (w->updates_max + 2) * rows);
    FAM_TRY_ALLOC(w->positions, fam_alloc_array(model->memory, (size_t)positions, sizeof *w->positions), "scratch");
    FAM_TRY_ALLOC(w->jobs, fam_alloc_array(model->memory, (size_t)w->pieces_max, sizeof *w->jobs), "scratch");
    *out = w;
    w = NULL;
done:
    fam_workspace_free(w);
    return status;
}

void fam_workspace_free(fam_workspace *w)
{
    if (!w)
        return;
    const fam_model *model = w->model;
    part parts[PARTS];
    list_parts(parts, w, model, w->span_max, w->updates_max);
    for (int i = 0; i < PARTS; i++)
        model->backend->ops->free(model->backend, *parts[i].where);
    fam_rows_scratch_release(&w->tokens, model);
    fam_rows_scratch_release(&w->rows, model);
    if (w->exec)
        model->backend->ops->exec_free(w->exec);
    fam_free(model->memory, w->probe_rows);
    fam_free(model->memory, w->positions);
    fam_free(model->memory, w->jobs);
    fam_free(model->memory, w);
}
