/*
 * model/layer_backward.c: see layer_backward.h.
 */
#include "model/layer_backward.h"

enum { PARTS = 8 };

static int64_t largest_rank(const fam_model *model)
{
    int64_t rank = 0;
    for (int64_t l = 0; l < model->config.layers; l++) {
        const fam_layer *layer = &model->layers[l];
        const fam_linear *linears[] = {&layer->q, &layer->k, &layer->v, &layer->o, &layer->gate, &layer->up, &layer->down};
        for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
            for (int a = 0; a < linears[i]->lora_count; a++)
                rank = fam_max_i64(rank, linears[i]->lora[a].rank);
    }
    return rank;
}

fam_status fam_rows_backward_create(fam_rows_backward *out, const fam_model *model, int64_t capacity, fam_error *error)
{
    fam_status status = FAM_OK;
    size_t n = (size_t)capacity, act = fam_dtype_bytes(model->backend->dtype), width = (size_t)model->config.hidden_size,
           wide = (size_t)model->config.intermediate_size, rank = (size_t)largest_rank(model);
    const size_t sizes[PARTS] = {n * width * act,           n * wide * act,            n * rank * act,
                                 n * width * sizeof(float), n * wide * sizeof(float),  n * wide * sizeof(float),
                                 n * wide * sizeof(float),  n * rank * sizeof(float)};
    void *parts[PARTS] = {0};
    for (int i = 0; i < PARTS; i++)
        FAM_TRY(model->backend->ops->alloc(model->backend, &parts[i], sizes[i], "gradients", error));
done:
    /* also on failure: the owner releases what is there */
    *out = (fam_rows_backward){.capacity = capacity, .normed = parts[0], .gated = parts[1], .lora = parts[2],
                               .dnormed = parts[3], .dgated = parts[4], .dgate = parts[5], .dup = parts[6],
                               .dlora = parts[7]};
    return status;
}

void fam_rows_backward_release(fam_rows_backward *scratch, const fam_model *model)
{
    void *parts[PARTS] = {scratch->normed, scratch->gated, scratch->lora, scratch->dnormed,
                          scratch->dgated, scratch->dgate, scratch->dup,  scratch->dlora};
    for (int i = 0; i < PARTS; i++)
        model->backend->ops->free(model->backend, parts[i]);
    *scratch = (fam_rows_backward){0};
}

/* din [n, in] += what flows back through y = x W^T + sum of (x A^T) B^T, and the gradients of W, A, B. */
static void linear_backward(fam_exec *exec, const fam_linear *linear, const fam_linear_gradient *gradient,
                            fam_rows_backward *scratch, float *din, const float *dout, const void *in, int64_t n)
{
    const fam_backend_ops *ops = exec->backend->ops;
    const fam_matmul_backward_job whole = {.din = din, .dweight = gradient->weight, .dout = dout, .in = in,
                                           .weight = linear->weight};
    ops->matmul_backward(exec, &whole, 1, n);
    for (int i = 0; i < linear->lora_count; i++) {
        const fam_lora *lora = &linear->lora[i];
        float *db = gradient->lora_b[i];
        const fam_matmul_job again = {.out = scratch->lora, .in = in, .weight = lora->a, .activation_out = true};
        if (db)
            ops->matmul(exec, &again, 1, n);
        ops->zero(exec, scratch->dlora, (size_t)(n * lora->rank) * sizeof(float));
        const fam_matmul_backward_job second = {.din = scratch->dlora, .dweight = db, .dout = dout,
                                                .in = scratch->lora, .weight = lora->b};
        ops->matmul_backward(exec, &second, 1, n);
        const fam_matmul_backward_job first = {.din = din, .dweight = gradient->lora_a[i], .dout = scratch->dlora,
                                               .in = in, .weight = lora->a};
        ops->matmul_backward(exec, &first, 1, n);
    }
}

void fam_layer_feed_forward_backward(fam_exec *exec, const fam_model *model, int64_t number, fam_gradients *gradients,
                                     fam_rows_backward *scratch, float *dx, const float *mid, const float *gate,
                                     const float *up, int64_t n)
{
    const fam_backend_ops *ops = exec->backend->ops;
    const fam_layer *layer = &model->layers[number];
    const fam_layer_gradient *to = &gradients->layers[number];
    int64_t width = model->config.hidden_size, wide = model->config.intermediate_size;
    double eps = model->config.rms_norm_eps;
    ops->silu_multiply(exec, scratch->gated, gate, up, n, wide);
    ops->zero(exec, scratch->dgated, (size_t)(n * wide) * sizeof(float));
    linear_backward(exec, &layer->down, &to->down, scratch, scratch->dgated, dx, scratch->gated, n);
    ops->silu_multiply_backward(exec, scratch->dgate, scratch->dup, scratch->dgated, gate, up, n, wide);
    ops->rms_norm(exec, scratch->normed, mid, layer->norm2, eps, n, width);
    ops->zero(exec, scratch->dnormed, (size_t)(n * width) * sizeof(float));
    linear_backward(exec, &layer->gate, &to->gate, scratch, scratch->dnormed, scratch->dgate, scratch->normed, n);
    linear_backward(exec, &layer->up, &to->up, scratch, scratch->dnormed, scratch->dup, scratch->normed, n);
    ops->rms_norm_backward(exec, dx, to->norm2, scratch->dnormed, mid, layer->norm2, eps, n, width);
}

void fam_layer_attended_backward(fam_exec *exec, const fam_model *model, int64_t number, fam_gradients *gradients,
                                 fam_rows_backward *scratch, float *dattended, const float *dx, const void *attended,
                                 int64_t n)
{
    const fam_model_config *config = &model->config;
    exec->backend->ops->zero(exec, dattended, (size_t)(n * config->heads * config->head_dim) * sizeof(float));
    linear_backward(exec, &model->layers[number].o, &gradients->layers[number].o, scratch, dattended, dx, attended, n);
}

void fam_layer_project_backward(fam_exec *exec, const fam_model *model, int64_t number, fam_gradients *gradients,
                                fam_rows_backward *scratch, float *dx, const float *x, const float *dq, const float *dk,
                                const float *dv, int64_t n)
{
    const fam_backend_ops *ops = exec->backend->ops;
    const fam_layer *layer = &model->layers[number];
    const fam_layer_gradient *to = &gradients->layers[number];
    int64_t width = model->config.hidden_size;
    double eps = model->config.rms_norm_eps;
    ops->rms_norm(exec, scratch->normed, x, layer->norm1, eps, n, width);
    ops->zero(exec, scratch->dnormed, (size_t)(n * width) * sizeof(float));
    linear_backward(exec, &layer->q, &to->q, scratch, scratch->dnormed, dq, scratch->normed, n);
    linear_backward(exec, &layer->k, &to->k, scratch, scratch->dnormed, dk, scratch->normed, n);
    linear_backward(exec, &layer->v, &to->v, scratch, scratch->dnormed, dv, scratch->normed, n);
    ops->rms_norm_backward(exec, dx, to->norm1, scratch->dnormed, x, layer->norm1, eps, n, width);
}

static fam_status prepare_linear(fam_exec *exec, const fam_linear *linear, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_backend_ops *ops = exec->backend->ops;
    FAM_TRY(ops->prepare_backward(exec, linear->weight, n, error));
    for (int i = 0; i < linear->lora_count; i++) {
        FAM_TRY(ops->prepare_backward(exec, linear->lora[i].a, n, error));
        FAM_TRY(ops->prepare_backward(exec, linear->lora[i].b, n, error));
    }
done:
    return status;
}

fam_status fam_layer_prepare_backward(fam_exec *exec, const fam_layer *layer, int64_t n, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_linear *linears[] = {&layer->q, &layer->k, &layer->v, &layer->o, &layer->gate, &layer->up, &layer->down};
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
        FAM_TRY(prepare_linear(exec, linears[i], n, error));
done:
    return status;
}
