/*
 * model/layer_backward.c: see layer_backward.h.
 */
#include "model/layer_backward.h"

/* One of a group of projections that read the same rows. */
typedef struct back_job {
    const fam_linear *linear;
    const fam_linear_gradient *gradient;
    const float *dout;
} back_job;

enum { LORA_JOBS_MAX = FAM_LINEAR_GROUP_MAX * FAM_ADAPTERS_MAX };

/* A list of products backward; those that give nothing that is wanted are left out. */
typedef struct back_list {
    fam_matmul_backward_job jobs[LORA_JOBS_MAX];
    int count;
} back_list;

static void append(back_list *list, fam_matmul_backward_job job)
{
    if (job.din || job.dweight)
        list->jobs[list->count++] = job;
}

static void run(fam_exec *exec, const back_list *list, int64_t n)
{
    if (list->count)
        exec->backend->ops->matmul_backward(exec, list->jobs, list->count, n);
}

/* What adapters add to linears_backward. Each adapter's part of y = x W^T + sum of (x A^T) B^T has its own place in the
 * scratch. */
static void lora_backward(fam_exec *exec, const fam_rows_backward *scratch, const back_job *jobs, int count, float *din,
                          const void *in, int64_t n)
{
    const fam_backend_ops *ops = exec->backend->ops;
    fam_matmul_job again[LORA_JOBS_MAX];
    back_list first = {.count = 0}, second = {.count = 0};
    int again_count = 0;
    size_t at = 0;
    for (int j = 0; j < count; j++) {
        for (int i = 0; i < jobs[j].linear->lora_count; i++) {
            const fam_lora *lora = &jobs[j].linear->lora[i];
            float *da = jobs[j].gradient->lora_a[i], *db = jobs[j].gradient->lora_b[i];
            void *inner = (char *)scratch->lora + at * fam_dtype_bytes(exec->backend->dtype);
            float *dinner = din || da ? scratch->dlora + at : NULL;
            if (db)
                again[again_count++] =
                    (fam_matmul_job){.out = inner, .in = in, .weight = lora->a, .activation_out = true};
            append(&second, (fam_matmul_backward_job){dinner, db, jobs[j].dout, inner, lora->b, true});
            append(&first, (fam_matmul_backward_job){din, da, dinner, in, lora->a, false});
            at += (size_t)(n * lora->rank);
        }
    }
    if (again_count)
        ops->matmul(exec, again, again_count, n);
    run(exec, &second, n);
    run(exec, &first, n);
}

/* din [n, in] (NULL: not wanted; else overwritten) = what flows back through all of the group, and the gradients of W, A,
 * B. */
static void linears_backward(fam_exec *exec, const fam_rows_backward *scratch, const back_job *jobs, int count,
                             float *din, const void *in, int64_t n)
{
    back_list whole = {.count = 0};
    for (int j = 0; j < count; j++)
        append(&whole, (fam_matmul_backward_job){din, jobs[j].gradient->weight, jobs[j].dout, in, jobs[j].linear->weight,
                                                 j == 0});
    run(exec, &whole, n);
    lora_backward(exec, scratch, jobs, count, din, in, n);
}

void fam_layer_feed_forward_backward(fam_exec *exec, const fam_model *model, int64_t number, fam_gradients *gradients,
                                     const fam_rows_backward *scratch, float *dx, const float *mid, const float *gate,
                                     const float *up, int64_t n)
{
    const fam_backend_ops *ops = exec->backend->ops;
    const fam_layer *layer = &model->layers[number];
    const fam_layer_gradient *to = &gradients->layers[number];
    int64_t width = model->config.hidden_size, wide = model->config.intermediate_size;
    double eps = model->config.rms_norm_eps;
    ops->silu_multiply(exec, scratch->gated, gate, up, n, wide);
    const back_job down = {&layer->down, &to->down, dx};
    linears_backward(exec, scratch, &down, 1, scratch->dgated, scratch->gated, n);
    ops->silu_multiply_backward(exec, scratch->dgate, scratch->dup, scratch->dgated, gate, up, n, wide);
    ops->rms_norm(exec, scratch->normed, mid, layer->norm2, eps, n, width);
    const back_job gate_up[] = {{&layer->gate, &to->gate, scratch->dgate}, {&layer->up, &to->up, scratch->dup}};
    linears_backward(exec, scratch, gate_up, 2, scratch->dnormed, scratch->normed, n);
    ops->rms_norm_backward(exec, dx, to->norm2, scratch->dnormed, mid, layer->norm2, eps, n, width);
}

void fam_layer_attended_backward(fam_exec *exec, const fam_model *model, int64_t number, fam_gradients *gradients,
                                 const fam_rows_backward *scratch, float *dattended, const float *dx,
                                 const void *attended, int64_t n)
{
    const back_job output = {&model->layers[number].o, &gradients->layers[number].o, dx};
    linears_backward(exec, scratch, &output, 1, dattended, attended, n);
}

void fam_layer_project_backward(fam_exec *exec, const fam_model *model, int64_t number, fam_gradients *gradients,
                                const fam_rows_backward *scratch, float *dx, const float *x, const float *dq,
                                const float *dk, const float *dv, int64_t n)
{
    const fam_backend_ops *ops = exec->backend->ops;
    const fam_layer *layer = &model->layers[number];
    const fam_layer_gradient *to = &gradients->layers[number];
    int64_t width = model->config.hidden_size;
    double eps = model->config.rms_norm_eps;
    float *dnormed = dx || to->norm1 ? scratch->dnormed : NULL;
    ops->rms_norm(exec, scratch->normed, x, layer->norm1, eps, n, width);
    const back_job qkv[] = {{&layer->q, &to->q, dq}, {&layer->k, &to->k, dk}, {&layer->v, &to->v, dv}};
    linears_backward(exec, scratch, qkv, 3, dnormed, scratch->normed, n);
    if (dnormed)
        ops->rms_norm_backward(exec, dx, to->norm1, dnormed, x, layer->norm1, eps, n, width);
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
