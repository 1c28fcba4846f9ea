/*
 * train/parameters.c: see parameters.h.
 */
#include "train/parameters.h"

#include <inttypes.h>
#include <string.h>

#include "train/device_tensors.h"

/* What the visits of the gradients share. */
typedef struct builder {
    fam_parameters *p;
    const fam_checkpoint *checkpoint;
    const fam_adapter *adapter;
    const fam_tensor *prompt;
} builder;

static fam_status count_gradient(void *context, const fam_gradient *gradient, fam_error *error)
{
    (void)gradient;
    (void)error;
    ++*(int64_t *)context;
    return FAM_OK;
}

static fam_device_tensor as_device_tensor(const fam_parameter *p)
{
    return (fam_device_tensor){.name = p->name, .n_dims = p->n_dims, .shape = {p->rows, p->columns}, .data = p->master};
}

/* ---- where masters come from ------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

/* A or B of the adapter by the name that PEFT gives it; NULL if it has none. */
static const fam_tensor *find_lora(const builder *b, const char *name)
{
    static const char prefix[] = "base_model.model.", *const ends[] = {".lora_A.weight", ".lora_B.weight"};
    const size_t skip = sizeof prefix - 1;
    char module[256];
    const fam_tensor *factors[2];
    for (int i = 0; i < 2 && b->adapter && strncmp(name, prefix, skip) == 0; i++) {
        size_t length = strlen(name) - skip;
        if (!ends_with(name, ends[i]) || (length -= strlen(ends[i])) >= sizeof module)
            continue;
        memcpy(module, name + skip, length);
        module[length] = '\0';
        return fam_adapter_lora(b->adapter, module, &factors[0], &factors[1]) ? factors[i] : NULL;
    }
    return NULL;
}

static fam_status find_source(const fam_tensor **out, const builder *b, const fam_parameter *p, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_tensor *tensor = p->is_prompt ? b->prompt : find_lora(b, p->name);
    if (!tensor && !p->is_prompt)
        tensor = fam_checkpoint_tensor(b->checkpoint, p->name);
    const char *path = fam_checkpoint_path(b->checkpoint);
    FAM_FAIL_IF(!tensor, FAM_STATUS_MISMATCH, "%s: tensor %s: found none, need one to train", path, p->name);
    bool same = tensor->n_dims == p->n_dims && tensor->shape[0] == p->rows &&
                (p->n_dims == 1 || tensor->shape[1] == p->columns);
    FAM_FAIL_IF(!same, FAM_STATUS_MISMATCH,
                "%s: tensor %s: found %" PRId64 " x %" PRId64 ", need %" PRId64 " x %" PRId64, path, p->name,
                tensor->shape[0], tensor->n_dims == 1 ? 1 : tensor->shape[1], p->rows, p->columns);
    *out = tensor;
done:
    return status;
}

static bool is_rotated(const char *name)
{
    return ends_with(name, ".self_attn.q_proj.weight") || ends_with(name, ".self_attn.k_proj.weight");
}

static fam_status add_parameter(void *context, const fam_gradient *gradient, fam_error *error)
{
    fam_status status = FAM_OK;
    builder *b = context;
    fam_parameters *all = b->p;
    fam_parameter *p = &all->list[all->count];
    const fam_tensor *source = NULL;
    for (int64_t i = 0; i < all->count; i++)
        FAM_FAIL_IF(strcmp(all->list[i].name, gradient->name) == 0, FAM_STATUS_INVALID_ARGUMENT,
                    "%s: tensor %s: found two adapters that train it, need one", fam_checkpoint_path(b->checkpoint),
                    gradient->name);
    all->count++; /* counted first, so that a failure releases what is there */
    *p = (fam_parameter){.n_dims = gradient->n_dims, .rows = gradient->shape[0],
                         .columns = gradient->n_dims == 1 ? 1 : gradient->shape[1], .gradient = gradient->data,
                         .factor = gradient->factor, .is_prompt = strcmp(gradient->name, "fam.prompt") == 0,
                         .is_vector = gradient->n_dims == 1, .weight = gradient->weight, .vector = gradient->vector};
    p->count = p->rows * p->columns;
    FAM_TRY_ALLOC(p->name, fam_strdup(all->memory, gradient->name), gradient->name);
    FAM_TRY(find_source(&source, b, p, error));
    void *master;
    FAM_TRY(all->backend->ops->alloc(all->backend, &master, (size_t)p->count * sizeof *p->master, p->name, error));
    p->master = master;
    const fam_device_tensor to = as_device_tensor(p);
    bool permuted = is_rotated(p->name) && fam_checkpoint_permuted(b->checkpoint);
    FAM_TRY(fam_device_tensor_load(&to, source, permuted ? fam_checkpoint_config(b->checkpoint)->head_dim : 0,
                                   all->backend, all->memory, error));
    all->elements += p->count;
done:
    return status;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

fam_status fam_parameters_create(fam_parameters **out, fam_gradients *gradients, const fam_checkpoint *checkpoint,
                                 const fam_adapter *adapter, const fam_tensor *prompt, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_parameters *p = NULL;
    int64_t count = 0;
    *out = NULL;
    FAM_TRY_ALLOC(p, fam_alloc_zeroed(gradients->model->memory, sizeof *p), "parameters");
    p->memory = gradients->model->memory;
    p->backend = gradients->model->backend;
    FAM_FAIL_IF(!p->backend->ops->weight_write, FAM_STATUS_UNSUPPORTED, "device %s: found no training, need one with",
                p->backend->ops->name);
    FAM_TRY(fam_gradients_visit(gradients, count_gradient, &count, error));
    FAM_FAIL_IF(count == 0, FAM_STATUS_INVALID_ARGUMENT, "%s: found nothing to train, need an adapter or a prompt",
                fam_checkpoint_path(checkpoint));
    FAM_TRY_ALLOC(p->list, fam_alloc_array(p->memory, (size_t)count, sizeof *p->list), "parameters");
    builder b = {.p = p, .checkpoint = checkpoint, .adapter = adapter, .prompt = prompt};
    FAM_TRY(fam_gradients_visit(gradients, add_parameter, &b, error));
    *out = p;
    p = NULL;
done:
    fam_parameters_free(p);
    return status;
}

void fam_parameters_free(fam_parameters *p)
{
    if (!p)
        return;
    for (int64_t i = 0; i < p->count; i++) {
        p->backend->ops->free(p->backend, p->list[i].master);
        fam_free(p->memory, p->list[i].name);
    }
    fam_free(p->memory, p->list);
    fam_free(p->memory, p);
}

fam_status fam_parameters_push(fam_parameters *parameters, fam_exec *exec, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_backend_ops *ops = parameters->backend->ops;
    for (int64_t i = 0; i < parameters->count; i++) {
        const fam_parameter *p = &parameters->list[i];
        if (p->weight)
            FAM_TRY(ops->weight_write(exec, p->weight, p->master, p->factor, error));
        else
            ops->copy(parameters->backend, p->vector, p->master, (size_t)p->count * sizeof *p->master);
    }
    FAM_TRY(ops->finish(exec, error));
done:
    return status;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static fam_status list_masters(fam_device_tensor **out, const fam_parameters *p, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_TRY_ALLOC(*out, fam_alloc_array(p->memory, (size_t)p->count, sizeof **out), "parameters");
    for (int64_t i = 0; i < p->count; i++)
        (*out)[i] = as_device_tensor(&p->list[i]);
done:
    return status;
}

fam_status fam_parameters_tensors(const fam_parameters *parameters, fam_tensor **out, void **block, fam_error *error)
{
    fam_device_tensor *list;
    *out = NULL;
    *block = NULL;
    fam_status status = list_masters(&list, parameters, error);
    if (status == FAM_OK)
        status = fam_device_tensors_read(list, parameters->count, parameters->backend, parameters->memory, out, block,
                                         error);
    fam_free(parameters->memory, list);
    return status;
}

fam_status fam_parameters_restore(fam_parameters *parameters, const struct fam_safetensors *file, fam_error *error)
{
    fam_device_tensor *list;
    fam_status status = list_masters(&list, parameters, error);
    if (status == FAM_OK)
        status = fam_device_tensors_restore(list, parameters->count, parameters->backend, parameters->memory, file,
                                            error);
    fam_free(parameters->memory, list);
    return status;
}
