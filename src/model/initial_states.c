/*
 * model/initial_states.c: see initial_states.h.
 */
#include "model/initial_states.h"

#include "model/layer.h"

typedef struct pass {
    fam_exec *exec;
    fam_rows_scratch scratch;
    void *x, *k, *v;         /* [F, E] float32; activations [G, F, D] */
    void *cos, *sin;         /* [F, D/2] */
    double *positions;       /* [F], host */
} pass;

static fam_status pass_create(pass *p, fam_model *model, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_backend *backend = model->backend;
    const fam_backend_ops *ops = backend->ops;
    const fam_model_config *config = &model->config;
    size_t rows = (size_t)model->window.fam_length;
    size_t kv_bytes = rows * (size_t)(config->kv_heads * config->head_dim) * fam_dtype_bytes(backend->dtype);
    size_t angle_bytes = rows * (size_t)config->head_dim / 2 * sizeof(float);
    FAM_TRY(ops->exec_create(backend, &p->exec, (int64_t)rows, error));
    FAM_TRY(fam_rows_scratch_create(&p->scratch, model, (int64_t)rows, error));
    FAM_TRY(ops->alloc(backend, &p->x, rows * (size_t)config->hidden_size * sizeof(float), "prompt", error));
    FAM_TRY(ops->alloc(backend, &p->k, kv_bytes, "prompt", error));
    FAM_TRY(ops->alloc(backend, &p->v, kv_bytes, "prompt", error));
    FAM_TRY(ops->alloc(backend, &p->cos, angle_bytes, "prompt", error));
    FAM_TRY(ops->alloc(backend, &p->sin, angle_bytes, "prompt", error));
    FAM_TRY_ALLOC(p->positions, fam_alloc_array(model->memory, rows, sizeof(double)), "prompt");
    for (int64_t row = 0; row < (int64_t)rows; row++)
        p->positions[row] = fam_state_position(&model->window, 0, row, 0);
    ops->rope_table(p->exec, p->cos, p->sin, p->positions, model->inverse_frequencies, (int64_t)rows,
                    config->head_dim / 2);
done:
    return status;
}

static void pass_release(pass *p, fam_model *model)
{
    fam_backend *backend = model->backend;
    void *blocks[] = {p->x, p->k, p->v, p->cos, p->sin};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        backend->ops->free(backend, blocks[i]);
    fam_rows_scratch_release(&p->scratch, model);
    if (p->exec)
        backend->ops->exec_free(p->exec);
    fam_free(model->memory, p->positions);
}

/* One layer applied to the rows, which see one another only. */
static void apply_layer(pass *p, const fam_model *model, const fam_layer *layer)
{
    const fam_model_config *config = &model->config;
    int64_t rows = model->window.fam_length, q_width = config->heads * config->head_dim;
    fam_rope_rows rope = {.cos = p->cos, .sin = p->sin};
    const fam_key_place place = {.k = p->k, .v = p->v, .sequences = 1,
                                 .layout = {.row_stride = config->head_dim, .head_stride = rows * config->head_dim}};
    fam_layer_project(p->exec, model, layer, &p->scratch, p->x, rows, rope, rope, p->scratch.rotated_q, &place);
    fam_attention_shape shape = fam_layer_attention_shape(model);
    fam_attention_job job = {.out = p->scratch.attended, .q = p->scratch.rotated_q, .q_stride = q_width,
                             .out_stride = q_width, .queries = rows, .range_count = 1,
                             .ranges = {{.k = p->k, .v = p->v, .head_stride = place.layout.head_stride, .rows = rows,
                                         .lower = 0, .upper = rows}}};
    model->backend->ops->attention(p->exec, &job, 1, &shape);
    fam_layer_finish(p->exec, model, layer, &p->scratch, p->x, p->scratch.attended, rows, true);
}

fam_status fam_initial_states_compute(fam_model *model, const fam_tensor *prompt, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_backend *backend = model->backend;
    const fam_backend_ops *ops = backend->ops;
    int64_t layers = model->config.layers, rows = model->window.fam_length, width = model->config.hidden_size;
    size_t state_bytes = (size_t)(rows * width) * sizeof(float);
    pass p = {0};
    float *host = NULL;
    void *states = NULL, *rms = NULL;

    FAM_TRY(pass_create(&p, model, error));
    FAM_TRY(ops->alloc(backend, &states, (size_t)layers * state_bytes, "first states", error));
    model->initial_states = states;
    FAM_TRY(ops->alloc(backend, &rms, (size_t)(layers * rows) * sizeof(float), "first states", error));
    model->initial_rms = rms;
    FAM_TRY_ALLOC(host, fam_alloc(model->memory, state_bytes), "prompt");
    fam_type_dequantize(host, prompt->data, prompt->type, rows * width);
    ops->write(backend, p.x, host, state_bytes);
    for (int64_t l = 0; l < layers; l++) {
        FAM_TRY(fam_layer_prepare(p.exec, &model->layers[l], rows, error));
        ops->copy(backend, model->initial_states + l * rows * width, p.x, state_bytes);
        if (l + 1 < layers)
            apply_layer(&p, model, &model->layers[l]);
    }
    ops->row_rms(p.exec, model->initial_rms, model->initial_states, layers * rows, width);
    FAM_TRY(ops->finish(p.exec, error));
done:
    fam_free(model->memory, host);
    pass_release(&p, model);
    return status;
}
