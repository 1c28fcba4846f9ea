/*
 * model/model.c: from named tensors to weights by role. The first states of mode fam are computed by
 * model/initial_states.c.
 */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "base/float16.h"
#include "model/initial_states.h"
#include "model/rope.h"

enum { NAME_MAX_BYTES = 128 };

/* What the steps of making a model share. */
typedef struct builder {
    fam_model *model;
    const fam_model_source *source;
} builder;

static fam_status find(const fam_tensor **out, const builder *b, const char *name, fam_error *error)
{
    *out = fam_checkpoint_tensor(b->source->checkpoint, name);
    if (*out)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_BAD_FORMAT, "%s: tensor %s: found none, need one",
                         fam_checkpoint_path(b->source->checkpoint), name);
}

static int64_t element_count(const fam_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        count *= tensor->shape[i];
    return count;
}

/* A vector or table of float32 on the device. */
static fam_status load_floats(float **out, fam_model *model, const fam_tensor *tensor, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t count = element_count(tensor);
    float *host = NULL;
    void *device = NULL;
    FAM_TRY_ALLOC(host, fam_alloc(model->memory, (size_t)count * sizeof *host), tensor->name);
    fam_type_dequantize(host, tensor->data, tensor->type, count);
    FAM_TRY(model->backend->ops->alloc(model->backend, &device, (size_t)count * sizeof *host, tensor->name, error));
    model->backend->ops->write(model->backend, device, host, (size_t)count * sizeof *host);
    *out = device;
done:
    fam_free(model->memory, host);
    return status;
}

static fam_status load_weight(fam_weight **out, fam_model *model, const fam_tensor *tensor, int64_t permuted_head_dim,
                              fam_error *error)
{
    fam_weight_source source = {.data = tensor->data,
                                .type = tensor->type,
                                .rows = tensor->shape[0],
                                .columns = tensor->shape[1],
                                .permuted_head_dim = permuted_head_dim};
    model->weight_bytes += tensor->bytes;
    return model->backend->ops->weight_create(model->backend, out, &source, error);
}

/* B times the adapter's scale, in the type that the arithmetic works with. The model owns the copy. */
static fam_status load_scaled(fam_weight **out, fam_model *model, const fam_tensor *tensor, double scale,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t count = element_count(tensor);
    bool narrow = model->backend->dtype == FAM_DTYPE_BF16;
    float *values = NULL;
    FAM_TRY_ALLOC(values, fam_alloc(model->memory, (size_t)count * sizeof *values), tensor->name);
    fam_type_dequantize(values, tensor->data, tensor->type, count);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(scale * (double)values[i]);
    void *data = values;
    if (narrow) {
        uint16_t *bits;
        FAM_TRY_ALLOC(bits, fam_alloc(model->memory, (size_t)count * sizeof *bits), tensor->name);
        for (int64_t i = 0; i < count; i++)
            bits[i] = fam_to_bf16(values[i]);
        data = bits;
    } else {
        values = NULL;
    }
    model->owned[model->owned_count++] = data;
    fam_tensor scaled = *tensor;
    scaled.data = data;
    scaled.type = narrow ? FAM_TYPE_BF16 : FAM_TYPE_F32;
    scaled.bytes = (size_t)count * (narrow ? 2 : 4);
    FAM_TRY(load_weight(out, model, &scaled, 0, error));
done:
    fam_free(model->memory, values);
    return status;
}

static fam_status load_linear(fam_linear *out, builder *b, int64_t layer, const char *name, bool rotated,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    fam_model *model = b->model;
    char module[NAME_MAX_BYTES], weight[NAME_MAX_BYTES + 8];
    const fam_tensor *tensor;
    snprintf(module, sizeof module, "model.layers.%lld.%s", (long long)layer, name);
    snprintf(weight, sizeof weight, "%s.weight", module);
    FAM_TRY(find(&tensor, b, weight, error));
    bool permuted = rotated && fam_checkpoint_permuted(b->source->checkpoint);
    FAM_TRY(load_weight(&out->weight, model, tensor, permuted ? model->config.head_dim : 0, error));
    model->parameters += element_count(tensor);
    for (int i = 0; i < b->source->adapter_count; i++) {
        const fam_model_adapter *given = &b->source->adapters[i];
        const fam_tensor *a, *second;
        if (!fam_adapter_lora(given->adapter, module, &a, &second))
            continue;
        fam_lora *lora = &out->lora[out->lora_count++]; /* counted first, so that a failure releases what is there */
        lora->rank = a->shape[0];
        FAM_TRY(load_weight(&lora->a, model, a, 0, error));
        lora->scale = fam_adapter_scale(given->adapter) * given->scale;
        FAM_TRY(load_scaled(&lora->b, model, second, lora->scale, error));
    }
done:
    return status;
}

static fam_status load_norm(float **out, builder *b, const char *name, fam_error *error)
{
    const fam_tensor *tensor;
    fam_status status = find(&tensor, b, name, error);
    if (status != FAM_OK)
        return status;
    b->model->parameters += element_count(tensor);
    return load_floats(out, b->model, tensor, error);
}

static int64_t rank_sum(const fam_linear *linear)
{
    int64_t sum = 0;
    for (int i = 0; i < linear->lora_count; i++)
        sum += linear->lora[i].rank;
    return sum;
}

static fam_status load_layer(builder *b, int64_t number, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_model *model = b->model;
    fam_layer *layer = &model->layers[number];
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "model.layers.%lld.input_layernorm.weight", (long long)number);
    FAM_TRY(load_norm(&layer->norm1, b, name, error));
    snprintf(name, sizeof name, "model.layers.%lld.post_attention_layernorm.weight", (long long)number);
    FAM_TRY(load_norm(&layer->norm2, b, name, error));
    FAM_TRY(load_linear(&layer->q, b, number, "self_attn.q_proj", true, error));
    FAM_TRY(load_linear(&layer->k, b, number, "self_attn.k_proj", true, error));
    FAM_TRY(load_linear(&layer->v, b, number, "self_attn.v_proj", false, error));
    FAM_TRY(load_linear(&layer->o, b, number, "self_attn.o_proj", false, error));
    FAM_TRY(load_linear(&layer->gate, b, number, "mlp.gate_proj", false, error));
    FAM_TRY(load_linear(&layer->up, b, number, "mlp.up_proj", false, error));
    FAM_TRY(load_linear(&layer->down, b, number, "mlp.down_proj", false, error));
    int64_t group[] = {rank_sum(&layer->q) + rank_sum(&layer->k) + rank_sum(&layer->v), rank_sum(&layer->o),
                       rank_sum(&layer->gate) + rank_sum(&layer->up), rank_sum(&layer->down)};
    for (size_t i = 0; i < sizeof group / sizeof *group; i++)
        model->lora_rank_sum = fam_max_i64(model->lora_rank_sum, group[i]);
done:
    return status;
}

static fam_status load_embeddings(builder *b, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_model *model = b->model;
    const fam_tensor *tensor;
    FAM_TRY(find(&tensor, b, "model.embed_tokens.weight", error));
    FAM_TRY(load_weight(&model->embeddings, model, tensor, 0, error));
    model->parameters += element_count(tensor);
    model->head_is_embeddings = model->config.tied_embeddings;
    if (model->head_is_embeddings) {
        model->head.weight = model->embeddings;
    } else {
        FAM_TRY(find(&tensor, b, "lm_head.weight", error));
        FAM_TRY(load_weight(&model->head.weight, model, tensor, 0, error));
        model->parameters += element_count(tensor);
    }
    FAM_TRY(load_norm(&model->final_norm, b, "model.norm.weight", error));
done:
    return status;
}

/* The largest buffer that is thought possible, 64 TiB: products of a few such sizes' factors stay far below 2^63. */
#define BUFFER_BYTES_MAX 0x1p46

static fam_status check_size(const char *what, double bytes, fam_error *error)
{
    if (bytes <= BUFFER_BYTES_MAX)
        return FAM_OK;
    return fam_error_set(error, FAM_STATUS_INVALID_ARGUMENT, "%s: found a size of %.3g bytes, need at most %.3g", what,
                         bytes, BUFFER_BYTES_MAX);
}

fam_status fam_model_check_sizes(const fam_model_config *config, const fam_window *window, int64_t context,
                                 int64_t span_max, fam_error *error)
{
    fam_status status = FAM_OK;
    double layers = (double)config->layers, kv = (double)(config->kv_heads * config->head_dim),
           widest = (double)fam_max_i64(config->intermediate_size,
                                        fam_max_i64(config->hidden_size, config->heads * config->head_dim)),
           state_rows = (double)window->fam_length;
    FAM_TRY(check_size("ring of keys and values",
                       2 * sizeof(float) * layers * kv * (double)fam_ring_rows(window, context), error));
    FAM_TRY(check_size("state", 3 * sizeof(float) * layers * state_rows * widest, error));
    FAM_TRY(check_size("scratch", sizeof(float) * (double)span_max * widest, error));
    FAM_TRY(check_size("scratch of the state",
                       sizeof(float) * state_rows * widest * (double)(fam_pieces_max(window, span_max) + 2), error));
done:
    return status;
}

fam_status fam_model_create(fam_model **out, fam_memory *memory, fam_backend *backend, const fam_model_source *source,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    fam_model *model = NULL;
    const fam_model_config *config = fam_checkpoint_config(source->checkpoint);
    const char *path = fam_checkpoint_path(source->checkpoint);

    FAM_FAIL_IF(config->head_dim > FAM_HEAD_DIM_MAX, FAM_STATUS_UNSUPPORTED,
                "%s: head size: found %lld, need at most %d", path, (long long)config->head_dim, FAM_HEAD_DIM_MAX);
    FAM_TRY_ALLOC(model, fam_alloc_zeroed(memory, sizeof *model), path);
    model->memory = memory;
    model->backend = backend;
    model->config = *config;
    model->window = source->window;
    model->state_norm = source->state_norm;
    FAM_TRY_ALLOC(model->layers, fam_alloc_array(memory, (size_t)config->layers, sizeof *model->layers), path);
    FAM_TRY_ALLOC(model->owned,
                  fam_alloc_array(memory, (size_t)(config->layers * 7 * source->adapter_count) + 1, sizeof(void *)), path);
    FAM_TRY_ALLOC(model->inverse_frequencies,
                  fam_alloc_array(memory, (size_t)config->head_dim / 2, sizeof(double)), path);
    fam_rope_inverse_frequencies(model->inverse_frequencies, config);

    builder b = {.model = model, .source = source};
    FAM_TRY(load_embeddings(&b, error));
    for (int64_t l = 0; l < config->layers; l++)
        FAM_TRY(load_layer(&b, l, error));
    if (model->window.mode == FAM_MODE_FAM)
        FAM_TRY(fam_initial_states_compute(model, source->prompt, error));
    *out = model;
    model = NULL;
done:
    fam_model_free(model);
    return status;
}

void fam_model_free(fam_model *model)
{
    if (!model)
        return;
    fam_backend *backend = model->backend;
    const fam_backend_ops *ops = backend->ops;
    if (!model->head_is_embeddings)
        ops->weight_free(backend, model->head.weight);
    ops->weight_free(backend, model->embeddings);
    ops->free(backend, model->final_norm);
    for (int64_t l = 0; model->layers && l < model->config.layers; l++) {
        fam_layer *layer = &model->layers[l];
        fam_linear *linears[] = {&layer->q, &layer->k, &layer->v, &layer->o, &layer->gate, &layer->up, &layer->down};
        for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
            fam_linear_release(backend, linears[i]);
        ops->free(backend, layer->norm1);
        ops->free(backend, layer->norm2);
    }
    ops->free(backend, model->initial_states);
    ops->free(backend, model->initial_rms);
    for (int64_t i = 0; i < model->owned_count; i++)
        fam_free(model->memory, model->owned[i]);
    fam_free(model->memory, model->owned);
    fam_free(model->memory, model->layers);
    fam_free(model->memory, model->inverse_frequencies);
    fam_free(model->memory, model);
}
