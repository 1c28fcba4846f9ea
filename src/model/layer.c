/*
 * model/layer.c: see layer.h.
 */
#include "model/layer.h"

#include <math.h>

/* The members of a scratch and their sizes, in one place for counting and for making. */
enum { PARTS = 10 };

static void part_sizes(size_t out[PARTS], const fam_model *model, int64_t capacity)
{
    const fam_model_config *config = &model->config;
    size_t n = (size_t)capacity, act = fam_dtype_bytes(model->backend->dtype);
    size_t q = n * (size_t)(config->heads * config->head_dim), kv = n * (size_t)(config->kv_heads * config->head_dim);
    size_t wide = n * (size_t)config->intermediate_size;
    size_t sizes[PARTS] = {n * (size_t)config->hidden_size * act, q * sizeof(float), kv * sizeof(float),
                           kv * sizeof(float), q * act, q * act, wide * sizeof(float), wide * sizeof(float), wide * act,
                           n * (size_t)model->lora_rank_sum * act};
    for (int i = 0; i < PARTS; i++)
        out[i] = sizes[i];
}

uint64_t fam_rows_scratch_bytes(const fam_model *model, int64_t capacity)
{
    size_t sizes[PARTS];
    uint64_t sum = 0;
    part_sizes(sizes, model, capacity);
    for (int i = 0; i < PARTS; i++)
        sum += sizes[i];
    return sum;
}

fam_status fam_rows_scratch_create(fam_rows_scratch *out, const fam_model *model, int64_t capacity, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t sizes[PARTS];
    void *parts[PARTS] = {0};
    part_sizes(sizes, model, capacity);
    for (int i = 0; i < PARTS; i++)
        FAM_TRY(model->backend->ops->alloc(model->backend, &parts[i], sizes[i], "scratch", error));
done:
    /* also on failure: the owner releases what is there */
    *out = (fam_rows_scratch){.capacity = capacity, .normed = parts[0], .q = parts[1], .k = parts[2], .v = parts[3],
                              .rotated_q = parts[4], .attended = parts[5], .gate = parts[6], .up = parts[7],
                              .gated = parts[8], .lora = parts[9]};
    return status;
}

void fam_rows_scratch_release(fam_rows_scratch *scratch, const fam_model *model)
{
    void *parts[PARTS] = {scratch->normed, scratch->q, scratch->k, scratch->v, scratch->rotated_q, scratch->attended,
                          scratch->gate, scratch->up, scratch->gated, scratch->lora};
    for (int i = 0; i < PARTS; i++)
        model->backend->ops->free(model->backend, parts[i]);
    *scratch = (fam_rows_scratch){0};
}

void fam_layer_project(fam_exec *exec, const fam_model *model, const fam_layer *layer, fam_rows_scratch *scratch,
                       const float *x, int64_t n, fam_rope_rows q_rope, fam_rope_rows k_rope, void *q,
                       const fam_key_place *place)
{
    const fam_backend_ops *ops = exec->backend->ops;
    const fam_model_config *config = &model->config;
    int64_t heads = config->heads, kv_heads = config->kv_heads, width = config->head_dim, half = width / 2;
    int64_t rows = n / place->sequences;
    size_t stride = (size_t)place->sequence_stride * fam_dtype_bytes(exec->backend->dtype);
    ops->rms_norm(exec, scratch->normed, x, layer->norm1, config->rms_norm_eps, n, config->hidden_size);
    fam_linear_job jobs[] = {{.linear = &layer->q, .out = scratch->q},
                             {.linear = &layer->k, .out = scratch->k},
                             {.linear = &layer->v, .out = scratch->v}};
    fam_linear_forward(exec, jobs, 3, scratch->normed, n, scratch->lora);
    fam_head_layout q_layout = {.row_stride = heads * width, .head_stride = width};
    ops->rope(exec, q, q_layout, scratch->q, q_rope.cos, q_rope.sin, n, heads, width);
    for (int64_t b = 0; b < place->sequences; b++) {
        int64_t row = b * rows, at = row * kv_heads * width;
        ops->rope(exec, (char *)place->k + (size_t)b * stride, place->layout, scratch->k + at, k_rope.cos + row * half,
                  k_rope.sin + row * half, rows, kv_heads, width);
        ops->rope(exec, (char *)place->v + (size_t)b * stride, place->layout, scratch->v + at, NULL, NULL, rows,
                  kv_heads, width);
    }
}

void fam_layer_add_attended(fam_exec *exec, const fam_layer *layer, fam_rows_scratch *scratch, float *x,
                            const void *attended, int64_t n, bool with_residual)
{
    fam_linear_job output = {.linear = &layer->o, .out = x, .accumulate = with_residual};
    fam_linear_forward(exec, &output, 1, attended, n, scratch->lora);
}

void fam_layer_gate_up(fam_exec *exec, const fam_model *model, const fam_layer *layer, fam_rows_scratch *scratch,
                       const float *x, int64_t n)
{
    const fam_model_config *config = &model->config;
    exec->backend->ops->rms_norm(exec, scratch->normed, x, layer->norm2, config->rms_norm_eps, n, config->hidden_size);
    fam_linear_job gate_up[] = {{.linear = &layer->gate, .out = scratch->gate},
                                {.linear = &layer->up, .out = scratch->up}};
    fam_linear_forward(exec, gate_up, 2, scratch->normed, n, scratch->lora);
}

void fam_layer_down(fam_exec *exec, const fam_model *model, const fam_layer *layer, fam_rows_scratch *scratch,
                    float *out, int64_t n, bool accumulate)
{
    exec->backend->ops->silu_multiply(exec, scratch->gated, scratch->gate, scratch->up, n,
                                      model->config.intermediate_size);
    fam_linear_job down = {.linear = &layer->down, .out = out, .accumulate = accumulate};
    fam_linear_forward(exec, &down, 1, scratch->gated, n, scratch->lora);
}

void fam_layer_add_feed_forward(fam_exec *exec, const fam_model *model, const fam_layer *layer,
                                fam_rows_scratch *scratch, float *x, int64_t n)
{
    fam_layer_gate_up(exec, model, layer, scratch, x, n);
    fam_layer_down(exec, model, layer, scratch, x, n, true);
}

void fam_layer_finish(fam_exec *exec, const fam_model *model, const fam_layer *layer, fam_rows_scratch *scratch,
                      float *x, const void *attended, int64_t n, bool with_residual)
{
    fam_layer_add_attended(exec, layer, scratch, x, attended, n, with_residual);
    fam_layer_add_feed_forward(exec, model, layer, scratch, x, n);
}

fam_status fam_layer_prepare(fam_exec *exec, const fam_layer *layer, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_linear *linears[] = {&layer->q, &layer->k, &layer->v, &layer->o, &layer->gate, &layer->up, &layer->down};
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
        FAM_TRY(fam_linear_prepare(exec, linears[i], n, error));
done:
    return status;
}

fam_attention_shape fam_layer_attention_shape(const fam_model *model)
{
    const fam_model_config *config = &model->config;
    return (fam_attention_shape){.heads = config->heads, .kv_heads = config->kv_heads, .head_dim = config->head_dim,
                                 .scale = (float)(1 / sqrt((double)config->head_dim))};
}
