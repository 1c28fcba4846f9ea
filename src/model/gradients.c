/*
 * model/gradients.c: see gradients.h. One walk over the roles serves for making, naming and releasing.
 */
#include "model/gradients.h"

#include <stdio.h>

/* A place for one gradient, as the walk comes by. */
typedef struct place {
    float **where;
    const char *name;
    int n_dims;
    int64_t rows, columns; /* columns 1 for vectors */
    double factor;
    fam_weight *weight; /* what is trained: this, or */
    float *vector;
} place;

typedef fam_status place_visitor(void *context, const place *at, fam_error *error);

typedef struct role {
    const char *name;
    const fam_linear *linear; /* the model's */
    fam_linear_gradient *gradient;
    int64_t rows, columns;
} role;

enum { NAME_BYTES = 160, ROLES = 7 };

static fam_status walk_linear(const fam_gradients *g, int64_t layer, const role *r, place_visitor *visit, void *context,
                              fam_error *error)
{
    fam_status status = FAM_OK;
    char name[NAME_BYTES];
    if (g->trained == FAM_TRAIN_ALL) {
        snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)layer, r->name);
        const place at = {&r->gradient->weight, name, 2, r->rows, r->columns, 1, r->linear->weight, NULL};
        FAM_TRY(visit(context, &at, error));
    }
    for (int i = 0; g->trained == FAM_TRAIN_ADAPTERS && i < r->linear->lora_count; i++) {
        const fam_lora *lora = &r->linear->lora[i];
        snprintf(name, sizeof name, "base_model.model.model.layers.%lld.%s.lora_A.weight", (long long)layer, r->name);
        const place a = {&r->gradient->lora_a[i], name, 2, lora->rank, r->columns, 1, lora->a, NULL};
        FAM_TRY(visit(context, &a, error));
        snprintf(name, sizeof name, "base_model.model.model.layers.%lld.%s.lora_B.weight", (long long)layer, r->name);
        const place b = {&r->gradient->lora_b[i], name, 2, r->rows, lora->rank, lora->scale, lora->b, NULL};
        FAM_TRY(visit(context, &b, error));
    }
done:
    return status;
}

static fam_status walk_layer(fam_gradients *g, int64_t number, place_visitor *visit, void *context, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model_config *c = &g->model->config;
    const fam_layer *layer = &g->model->layers[number];
    fam_layer_gradient none, *to = g->layers ? &g->layers[number] : &none; /* none: only counted */
    int64_t width = c->hidden_size, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim,
            wide = c->intermediate_size;
    const role roles[ROLES] = {{"self_attn.q_proj", &layer->q, &to->q, q, width},
                               {"self_attn.k_proj", &layer->k, &to->k, kv, width},
                               {"self_attn.v_proj", &layer->v, &to->v, kv, width},
                               {"self_attn.o_proj", &layer->o, &to->o, width, q},
                               {"mlp.gate_proj", &layer->gate, &to->gate, wide, width},
                               {"mlp.up_proj", &layer->up, &to->up, wide, width},
                               {"mlp.down_proj", &layer->down, &to->down, width, wide}};
    char name[NAME_BYTES];
    if (g->trained == FAM_TRAIN_ALL) {
        snprintf(name, sizeof name, "model.layers.%lld.input_layernorm.weight", (long long)number);
        const place norm1 = {&to->norm1, name, 1, width, 1, 1, NULL, layer->norm1};
        FAM_TRY(visit(context, &norm1, error));
        snprintf(name, sizeof name, "model.layers.%lld.post_attention_layernorm.weight", (long long)number);
        const place norm2 = {&to->norm2, name, 1, width, 1, 1, NULL, layer->norm2};
        FAM_TRY(visit(context, &norm2, error));
    }
    for (int i = 0; i < ROLES; i++)
        FAM_TRY(walk_linear(g, number, &roles[i], visit, context, error));
done:
    return status;
}

static fam_status walk(fam_gradients *g, place_visitor *visit, void *context, fam_error *error)
{
    fam_status status = FAM_OK;
    const fam_model *model = g->model;
    int64_t width = model->config.hidden_size, vocab = model->config.vocab_size;
    if (g->trained == FAM_TRAIN_ALL) {
        const place embeddings = {
            &g->embeddings, "model.embed_tokens.weight", 2, vocab, width, 1, model->embeddings, NULL};
        const place head = {&g->head, "lm_head.weight", 2, vocab, width, 1, model->head.weight, NULL};
        const place norm = {&g->final_norm, "model.norm.weight", 1, width, 1, 1, NULL, model->final_norm};
        FAM_TRY(visit(context, &embeddings, error));
        if (!model->head_is_embeddings)
            FAM_TRY(visit(context, &head, error));
        FAM_TRY(visit(context, &norm, error));
    }
    if (model->window.mode == FAM_MODE_FAM) {
        const place prompt = {&g->prompt, "fam.prompt", 2, model->window.fam_length, width, 1, NULL,
                              model->initial_states};
        FAM_TRY(visit(context, &prompt, error));
    }
    for (int64_t l = 0; l < model->config.layers; l++)
        FAM_TRY(walk_layer(g, l, visit, context, error));
done:
    return status;
}

static fam_status make_place(void *context, const place *at, fam_error *error)
{
    fam_backend *backend = context;
    void *memory = NULL;
    fam_status status =
        backend->ops->alloc(backend, &memory, (size_t)(at->rows * at->columns) * sizeof(float), at->name, error);
    *at->where = memory;
    return status;
}

static fam_status release_place(void *context, const place *at, fam_error *error)
{
    fam_backend *backend = context;
    (void)error;
    backend->ops->free(backend, *at->where);
    return FAM_OK;
}

fam_status fam_gradients_create(fam_gradients **out, const fam_model *model, fam_trained trained, fam_error *error)
{
    fam_status status = FAM_OK;
    fam_gradients *g = NULL;
    FAM_TRY_ALLOC(g, fam_alloc_zeroed(model->memory, sizeof *g), "gradients");
    g->model = model;
    g->trained = trained;
    FAM_TRY_ALLOC(g->layers, fam_alloc_array(model->memory, (size_t)model->config.layers, sizeof *g->layers),
                  "gradients");
    FAM_TRY(walk(g, make_place, model->backend, error));
    *out = g;
    g = NULL;
done:
    fam_gradients_free(g);
    return status;
}

static fam_status count_place(void *context, const place *at, fam_error *error)
{
    (void)error;
    *(uint64_t *)context += (uint64_t)(at->rows * at->columns) * sizeof(float);
    return FAM_OK;
}

uint64_t fam_gradients_bytes(const fam_model *model, fam_trained trained)
{
    fam_gradients counted = {.model = model, .trained = trained};
    uint64_t bytes = sizeof counted + (uint64_t)model->config.layers * sizeof *counted.layers;
    walk(&counted, count_place, &bytes, NULL);
    return bytes;
}

void fam_gradients_free(fam_gradients *g)
{
    if (!g)
        return;
    if (g->layers)
        walk(g, release_place, g->model->backend, NULL);
    fam_free(g->model->memory, g->layers);
    fam_free(g->model->memory, g);
}

typedef struct visiting {
    fam_gradient_visitor *visit;
    void *context;
} visiting;

static fam_status visit_place(void *context, const place *at, fam_error *error)
{
    const visiting *v = context;
    const fam_gradient gradient = {.name = at->name, .data = *at->where, .n_dims = at->n_dims,
                                   .shape = {at->rows, at->columns}, .factor = at->factor, .weight = at->weight,
                                   .vector = at->vector};
    return v->visit(v->context, &gradient, error);
}

fam_status fam_gradients_visit(fam_gradients *g, fam_gradient_visitor *visit, void *context, fam_error *error)
{
    visiting v = {visit, context};
    return walk(g, visit_place, &v, error);
}

static fam_status clear_place(void *context, const place *at, fam_error *error)
{
    fam_exec *exec = context;
    (void)error;
    exec->backend->ops->zero(exec, *at->where, (size_t)(at->rows * at->columns) * sizeof(float));
    return FAM_OK;
}

void fam_gradients_clear(fam_gradients *g, fam_exec *exec)
{
    walk(g, clear_place, exec, NULL);
}
