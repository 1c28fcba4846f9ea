/*
 * train/optimizer.c: see optimizer.h.
 */
#include "train/optimizer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/device_tensors.h"

enum { MOMENTS_MAX = 3 };

/* Of the update's RMS, in Adafactor (the paper's d). */
#define UPDATE_CLIP 1.0

/* A parameter's moments: AdamW m, v; Adafactor m, row, column (NULL where row holds the second moment whole). */
typedef struct moments {
    float *m, *second, *column;
} moments;

struct fam_optimizer {
    fam_parameters *parameters;
    fam_optimizer_kind kind;
    double beta1, beta2, epsilon, weight_decay, clip;
    int64_t steps;
    moments *moments;        /* [parameters->count] */
    fam_device_tensor *list; /* all moments with their names, in files' order */
    int64_t list_count;
};

static bool is_factored(int64_t rows, int64_t columns)
{
    return rows > 1 && columns > 1;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static fam_status add_moment(fam_optimizer *o, float **out, const char *kind, const fam_parameter *p, int n_dims,
                             int64_t rows, int64_t columns, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_memory *memory = o->parameters->memory;
    fam_backend *backend = o->parameters->backend;
    char *name;
    void *data;
    size_t size = strlen(kind) + strlen(p->name) + 2;
    FAM_TRY_ALLOC(name, fam_alloc(memory, size), p->name);
    snprintf(name, size, "%s.%s", kind, p->name);
    fam_device_tensor *tensor = &o->list[o->list_count++];
    *tensor = (fam_device_tensor){.name = name, .n_dims = n_dims, .shape = {rows, columns},
                                  .not_negative = strcmp(kind, "m") != 0};
    FAM_TRY(backend->ops->alloc(backend, &data, (size_t)(rows * columns) * sizeof(float), name, error));
    *out = tensor->data = data;
done:
    return status;
}

static fam_status add_moments(fam_optimizer *o, int64_t number, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_parameter *p = &o->parameters->list[number];
    moments *to = &o->moments[number];
    FAM_TRY(add_moment(o, &to->m, "m", p, p->n_dims, p->rows, p->columns, error));
    if (o->kind == FAM_OPTIMIZER_ADAMW) {
        FAM_TRY(add_moment(o, &to->second, "v", p, p->n_dims, p->rows, p->columns, error));
    } else if (is_factored(p->rows, p->columns)) {
        FAM_TRY(add_moment(o, &to->second, "row", p, 1, p->rows, 1, error));
        FAM_TRY(add_moment(o, &to->column, "column", p, 1, p->columns, 1, error));
    } else {
        FAM_TRY(add_moment(o, &to->second, "row", p, 1, p->count, 1, error));
    }
done:
    return status;
}

fam_status fam_optimizer_create(fam_optimizer **out, fam_parameters *parameters, const fam_recipe *recipe,
                                fam_error *error)
{
    fam_status status = FAM_OK;
    fam_optimizer *o = NULL;
    fam_memory *memory = parameters->memory;
    *out = NULL;
    FAM_TRY_ALLOC(o, fam_alloc_zeroed(memory, sizeof *o), "optimizer");
    o->parameters = parameters;
    o->kind = recipe->optimizer.kind;
    o->beta1 = recipe->optimizer.beta1;
    o->beta2 = recipe->optimizer.beta2;
    o->epsilon = recipe->optimizer.epsilon;
    o->weight_decay = recipe->optimizer.weight_decay;
    o->clip = recipe->optimizer.clip;
    FAM_TRY_ALLOC(o->moments, fam_alloc_array(memory, (size_t)parameters->count, sizeof *o->moments), "optimizer");
    FAM_TRY_ALLOC(o->list, fam_alloc_array(memory, (size_t)parameters->count * MOMENTS_MAX, sizeof *o->list),
                  "optimizer");
    for (int64_t i = 0; i < parameters->count; i++)
        FAM_TRY(add_moments(o, i, error));
    *out = o;
    o = NULL;
done:
    fam_optimizer_free(o);
    return status;
}

void fam_optimizer_free(fam_optimizer *o)
{
    if (!o)
        return;
    fam_memory *memory = o->parameters->memory;
    fam_backend *backend = o->parameters->backend;
    for (int64_t i = 0; i < o->list_count; i++) {
        backend->ops->free(backend, o->list[i].data);
        fam_free(memory, (char *)(uintptr_t)o->list[i].name);
    }
    fam_free(memory, o->list);
    fam_free(memory, o->moments);
    fam_free(memory, o);
}

typedef struct counting {
    fam_optimizer_kind kind;
    uint64_t bytes;
} counting;

static fam_status count_bytes(void *context, const fam_gradient *g, fam_error *error)
{
    counting *c = context;
    int64_t columns = g->n_dims == 1 ? 1 : g->shape[1], count = g->shape[0] * columns, second = count;
    (void)error;
    if (c->kind == FAM_OPTIMIZER_ADAFACTOR && is_factored(g->shape[0], columns))
        second = g->shape[0] + columns;
    c->bytes += (uint64_t)(count + second) * sizeof(float);
    return FAM_OK;
}

uint64_t fam_optimizer_bytes(const fam_recipe *recipe, const fam_gradients *gradients)
{
    counting c = {.kind = recipe->optimizer.kind};
    fam_gradients_visit((fam_gradients *)(uintptr_t)gradients, count_bytes, &c, NULL); /* a visit changes nothing */
    return c.bytes;
}

int64_t fam_optimizer_steps(const fam_optimizer *optimizer)
{
    return optimizer->steps;
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Squares of what is larger leave float32, and with it the second moments. */
static const double NORM_MAX = 1e18;

static double norm_of_gradients(const fam_optimizer *o, fam_exec *exec)
{
    double sum = 0;
    for (int64_t i = 0; i < o->parameters->count; i++) {
        const fam_parameter *p = &o->parameters->list[i];
        sum += p->factor * p->factor * o->parameters->backend->ops->sum_squares(exec, p->gradient, p->count);
    }
    return sqrt(sum);
}

static void update(const fam_optimizer *o, fam_exec *exec, int64_t number, double rate, double scale)
{
    const fam_backend_ops *ops = o->parameters->backend->ops;
    const fam_parameter *p = &o->parameters->list[number];
    const moments *at = &o->moments[number];
    double weight_decay = p->is_prompt || p->is_vector ? 0 : o->weight_decay;
    if (o->kind == FAM_OPTIMIZER_ADAMW) {
        const fam_adamw_step step = {.rate = rate, .beta1 = o->beta1, .beta2 = o->beta2, .epsilon = o->epsilon,
                                     .weight_decay = weight_decay, .scale = scale, .step = o->steps + 1};
        ops->adamw(exec, p->master, at->m, at->second, p->gradient, p->count, &step);
    } else {
        const fam_adafactor_step step = {.rate = rate, .beta1 = o->beta1, .beta2 = o->beta2, .epsilon = o->epsilon,
                                         .weight_decay = weight_decay, .scale = scale, .clip = UPDATE_CLIP,
                                         .step = o->steps + 1};
        ops->adafactor(exec, p->master, at->m, at->second, at->column, p->gradient, p->rows, p->columns, &step);
    }
}

fam_status fam_optimizer_step(fam_optimizer *o, fam_exec *exec, double rate, double prompt_rate,
                              fam_step_result *result, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_backend_ops *ops = o->parameters->backend->ops;
    double norm = norm_of_gradients(o, exec);
    FAM_TRY(ops->finish(exec, error));
    *result = (fam_step_result){.gradient_norm = norm, .skipped = !(norm < NORM_MAX)};
    if (result->skipped)
        return FAM_OK;
    result->clipped = o->clip > 0 && norm > o->clip;
    double scale = result->clipped ? o->clip / norm : 1;
    for (int64_t i = 0; i < o->parameters->count; i++) {
        const fam_parameter *p = &o->parameters->list[i];
        update(o, exec, i, p->is_prompt ? prompt_rate : rate, scale * p->factor);
    }
    o->steps++;
    FAM_TRY(fam_parameters_push(o->parameters, exec, error));
done:
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

fam_status fam_optimizer_tensors(const fam_optimizer *optimizer, fam_tensor **out, int64_t *count, void **block,
                                 fam_error *error)
{
    *count = optimizer->list_count;
    return fam_device_tensors_read(optimizer->list, optimizer->list_count, optimizer->parameters->backend,
                                   optimizer->parameters->memory, out, block, error);
}

fam_status fam_optimizer_restore(fam_optimizer *optimizer, const struct fam_safetensors *file, int64_t steps,
                                 fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(steps < 0, FAM_STATUS_BAD_FORMAT, "%s: steps: found %" PRId64 ", need at least 0",
                fam_safetensors_path(file), steps);
    FAM_TRY(fam_device_tensors_restore(optimizer->list, optimizer->list_count, optimizer->parameters->backend,
                                       optimizer->parameters->memory, file, error));
    optimizer->steps = steps;
done:
    return status;
}

/* ---- rates ------------------------------------------------------------------------------------------------------- */

double fam_learning_rate(const fam_recipe *recipe, double peak, int64_t step)
{
    const double pi = 3.14159265358979323846;
    int64_t warmup = recipe->optimizer.warmup_steps, last = recipe->train.steps - 1;
    double final = recipe->optimizer.final_fraction;
    if (step < warmup)
        return peak * (double)(step + 1) / (double)warmup;
    if (recipe->optimizer.schedule == FAM_SCHEDULE_CONSTANT || last <= warmup)
        return peak;
    if (step >= last)
        return peak * final;
    double done = (double)(step - warmup) / (double)(last - warmup);
    return peak * (final + (1 - final) * (1 + cos(pi * done)) / 2);
}
