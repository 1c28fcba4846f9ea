/*
 * model/timeline.c: see timeline.h.
 */
#include "model/timeline.h"

static size_t ring_layer_bytes(const fam_model *model, int64_t ring_rows)
{
    const fam_model_config *config = &model->config;
    return (size_t)(config->kv_heads * ring_rows * config->head_dim) * fam_dtype_bytes(model->backend->dtype);
}

uint64_t fam_timeline_ring_bytes(const fam_model *model, int64_t ring_rows)
{
    return 2 * (uint64_t)model->config.layers * ring_layer_bytes(model, ring_rows);
}

uint64_t fam_timeline_state_bytes(const fam_model *model)
{
    const fam_model_config *config = &model->config;
    uint64_t rows = (uint64_t)(config->layers * model->window.fam_length);
    uint64_t projected = (uint64_t)((config->heads + 2 * config->kv_heads) * config->head_dim);
    return rows * ((uint64_t)config->hidden_size * sizeof(float) +
                   projected * fam_dtype_bytes(model->backend->dtype));
}

fam_status fam_timeline_create(fam_timeline **out, const fam_model *model, int64_t context, int64_t offset,
                               fam_error *error)
{
    fam_status status = FAM_OK;
    fam_backend *backend = model->backend;
    const fam_backend_ops *ops = backend->ops;
    const fam_model_config *config = &model->config;
    size_t element = fam_dtype_bytes(backend->dtype);
    fam_timeline *timeline = NULL;

    FAM_TRY_ALLOC(timeline, fam_alloc_zeroed(model->memory, sizeof *timeline), "session");
    timeline->model = model;
    timeline->offset = offset;
    timeline->ring_rows = fam_ring_rows(&model->window, context);
    size_t ring_bytes = fam_timeline_ring_bytes(model, timeline->ring_rows) / 2;
    FAM_TRY(ops->alloc(backend, &timeline->ring_k, ring_bytes, "keys", error));
    FAM_TRY(ops->alloc(backend, &timeline->ring_v, ring_bytes, "values", error));
    if (model->window.mode == FAM_MODE_FAM) {
        size_t rows = (size_t)(config->layers * model->window.fam_length);
        size_t kv_bytes = rows * (size_t)(config->kv_heads * config->head_dim) * element;
        void *state = NULL;
        FAM_TRY(ops->alloc(backend, &state, rows * (size_t)config->hidden_size * sizeof(float), "state", error));
        timeline->state = state;
        FAM_TRY(ops->alloc(backend, &timeline->state_q, rows * (size_t)(config->heads * config->head_dim) * element,
                           "state", error));
        FAM_TRY(ops->alloc(backend, &timeline->state_k, kv_bytes, "state", error));
        FAM_TRY(ops->alloc(backend, &timeline->state_v, kv_bytes, "state", error));
    }
    *out = timeline;
    timeline = NULL;
done:
    fam_timeline_free(timeline);
    return status;
}

void fam_timeline_free(fam_timeline *timeline)
{
    if (!timeline)
        return;
    fam_backend *backend = timeline->model->backend;
    void *blocks[] = {timeline->ring_k,  timeline->ring_v,  timeline->state,
                      timeline->state_q, timeline->state_k, timeline->state_v};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        backend->ops->free(backend, blocks[i]);
    fam_free(timeline->model->memory, timeline);
}

void fam_timeline_copy(fam_timeline *to, const fam_timeline *from)
{
    const fam_model *model = from->model;
    const fam_model_config *config = &model->config;
    fam_backend *backend = model->backend;
    size_t element = fam_dtype_bytes(backend->dtype);
    size_t ring_bytes = fam_timeline_ring_bytes(model, from->ring_rows) / 2;
    to->position = from->position;
    to->offset = from->offset;
    to->with_residual = from->with_residual;
    backend->ops->copy(backend, to->ring_k, from->ring_k, ring_bytes);
    backend->ops->copy(backend, to->ring_v, from->ring_v, ring_bytes);
    if (model->window.mode == FAM_MODE_FAM) {
        size_t rows = (size_t)(config->layers * model->window.fam_length);
        size_t kv_bytes = rows * (size_t)(config->kv_heads * config->head_dim) * element;
        backend->ops->copy(backend, to->state, from->state, rows * (size_t)config->hidden_size * sizeof(float));
        backend->ops->copy(backend, to->state_q, from->state_q,
                           rows * (size_t)(config->heads * config->head_dim) * element);
        backend->ops->copy(backend, to->state_k, from->state_k, kv_bytes);
        backend->ops->copy(backend, to->state_v, from->state_v, kv_bytes);
    }
}

int64_t fam_timeline_room(const fam_timeline *timeline)
{
    int64_t room = FAM_POSITION_MAX - timeline->offset - timeline->position + 1;
    if (timeline->model->window.mode == FAM_MODE_FULL)
        room = fam_min_i64(room, timeline->ring_rows - timeline->position);
    return room;
}

void *fam_timeline_ring_layer(const fam_timeline *timeline, void *ring, int64_t layer)
{
    return (char *)ring + (size_t)layer * ring_layer_bytes(timeline->model, timeline->ring_rows);
}

fam_status fam_timeline_visit(fam_timeline *timeline, fam_timeline_visitor *state_visitor,
                              fam_timeline_visitor *ring_visitor, void *context, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = timeline->model;
    const fam_model_config *config = &model->config;
    size_t row_bytes = (size_t)config->head_dim * fam_dtype_bytes(model->backend->dtype);
    int64_t first = fam_ring_first(&model->window, timeline->position), rows = timeline->ring_rows;

    if (model->window.mode == FAM_MODE_FAM)
        FAM_TRY(state_visitor(context, timeline->state,
                              (size_t)(config->layers * model->window.fam_length * config->hidden_size) * sizeof(float),
                              error));
    void *rings[2] = {timeline->ring_k, timeline->ring_v};
    for (int r = 0; r < 2; r++) {
        for (int64_t head = 0; head < config->layers * config->kv_heads; head++) {
            char *base = (char *)rings[r] + (size_t)(head * rows) * row_bytes;
            for (int64_t t = first; t < timeline->position;) { /* one run, or two where the ring wraps */
                int64_t row = t % rows, n = fam_min_i64(timeline->position - t, rows - row);
                FAM_TRY(ring_visitor(context, base + (size_t)row * row_bytes, (size_t)n * row_bytes, error));
                t += n;
            }
        }
    }
done:
    return status;
}
