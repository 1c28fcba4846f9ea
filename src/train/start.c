/*
 * train/start.c: see start.h. Each tensor has a stream of random numbers of its own, named by the seed and the tensor's
 * name, so that what one holds does not depend on which others there are.
 */
#include "train/start.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/directory.h"
#include "base/random.h"
#include "format/adapter_write.h"
#include "format/hf_write.h"
#include "text/byte_tokenizer.h"

enum {
    PROJECTIONS = 7,
    NAME_BYTES = 160,
    DEFAULT_FAM_LENGTH = 64, /* the paper's */
    OUTSIDE_LAYERS = 4       /* embeddings, final norm, head, prompt */
};

/* Tensors in the making: each with its name and data. */
typedef struct tensor_list {
    fam_memory *memory;
    uint64_t seed;
    fam_tensor *tensors; /* [capacity] */
    int64_t count;
} tensor_list;

static fam_status list_create(tensor_list *list, fam_memory *memory, uint64_t seed, int64_t capacity, fam_error *error)
{
    fam_status status = FAM_OK;
    *list = (tensor_list){.memory = memory, .seed = seed};
    FAM_TRY_ALLOC(list->tensors, fam_alloc_array(memory, (size_t)capacity, sizeof *list->tensors), "first weights");
done:
    return status;
}

static void list_release(tensor_list *list)
{
    for (int64_t i = 0; i < list->count; i++) {
        fam_free(list->memory, (char *)(uintptr_t)list->tensors[i].name);
        fam_free(list->memory, (uint8_t *)(uintptr_t)list->tensors[i].data);
    }
    fam_free(list->memory, list->tensors);
}

/* A tensor of zeros at the end of the list; a vector if columns is 0. *data is to be filled, *random is its stream. */
static fam_status list_add(tensor_list *list, const char *name, int64_t rows, int64_t columns, float **data,
                           fam_random *random, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t count;
    fam_tensor *tensor = &list->tensors[list->count++];
    *tensor = (fam_tensor){.type = FAM_TYPE_F32, .n_dims = columns ? 2 : 1, .shape = {rows, columns}};
    FAM_TRY_ALLOC(tensor->name, fam_strdup(list->memory, name), name);
    FAM_FAIL_IF(!fam_mul_i64(&count, rows, columns ? columns : 1), FAM_STATUS_INVALID_ARGUMENT,
                "%s: found %" PRId64 " x %" PRId64 ", need a size that can be counted", name, rows, columns);
    FAM_TRY_ALLOC(*data, fam_alloc_array(list->memory, (size_t)count, sizeof **data), name);
    tensor->data = (const uint8_t *)*data;
    tensor->bytes = (size_t)count * sizeof **data;
    fam_random_seed(random, XXH3_64bits_withSeed(name, strlen(name), list->seed));
done:
    return status;
}

static void fill_uniform(float *data, int64_t count, double bound, fam_random *random)
{
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)(bound * (2 * fam_random_uniform(random) - 1));
}

/* Box and Muller's transformation. */
static void fill_normal(float *data, int64_t count, double deviation, fam_random *random)
{
    const double pi = 3.14159265358979323846;
    for (int64_t i = 0; i < count; i += 2) {
        double radius = deviation * sqrt(-2 * log(1 - fam_random_uniform(random)));
        double angle = 2 * pi * fam_random_uniform(random);
        data[i] = (float)(radius * cos(angle));
        if (i + 1 < count)
            data[i + 1] = (float)(radius * sin(angle));
    }
}

/* ---- settings and the prompt ------------------------------------------------------------------------------------- */

static fam_settings recipe_settings(const fam_recipe *recipe)
{
    return (fam_settings){.mode = recipe->fam.mode, .block_size = recipe->fam.block_size,
                          .memory_segments = recipe->fam.memory_segments, .fam_length = recipe->fam.fam_length,
                          .window = recipe->fam.window, .state_norm = recipe->fam.state_norm,
                          .fam_positions = recipe->fam.fam_positions};
}

/* Rows of the embedding table of tokens drawn at random: none comes again before all were there. */
static fam_status fill_embeddings(float *data, int64_t rows, const fam_tensor *table, fam_random *random,
                                  fam_memory *memory, fam_error *error)
{
    fam_status status = FAM_OK;
    int64_t vocab = table->shape[0], width = table->shape[1];
    bool *used = NULL;
    size_t row_bytes;
    FAM_FAIL_IF(!fam_type_row_bytes(&row_bytes, table->type, width), FAM_STATUS_BAD_FORMAT,
                "%s: found rows of %" PRId64 " elements, need whole blocks", table->name, width);
    FAM_TRY_ALLOC(used, fam_alloc_array(memory, (size_t)vocab, sizeof *used), "prompt");
    for (int64_t i = 0; i < rows; i++) {
        if (i > 0 && i % vocab == 0)
            memset(used, 0, (size_t)vocab * sizeof *used);
        int64_t token;
        do {
            token = (int64_t)(fam_random_uniform(random) * (double)vocab);
        } while (used[token]);
        used[token] = true;
        fam_type_dequantize(data + i * width, table->data + (size_t)token * row_bytes, table->type, width);
    }
done:
    fam_free(memory, used);
    return status;
}

static fam_status add_prompt(tensor_list *list, const fam_recipe *recipe, int64_t rows, const fam_tensor *embeddings,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    float *data = NULL;
    fam_random random;
    int64_t width = embeddings->shape[1];
    FAM_TRY(list_add(list, "fam.prompt", rows, width, &data, &random, error));
    if (recipe->fam.prompt_init == FAM_PROMPT_INIT_NORMAL)
        fill_normal(data, rows * width, recipe->fam.prompt_std, &random);
    else
        FAM_TRY(fill_embeddings(data, rows, embeddings, &random, list->memory, error));
done:
    return status;
}

/* ---- a fresh adapter --------------------------------------------------------------------------------------------- */

static fam_status add_lora(tensor_list *list, const fam_checkpoint *checkpoint, int64_t layer, int projection,
                           int64_t rank, fam_error *error)
{
    fam_status status = FAM_OK;
    char name[NAME_BYTES];
    float *data = NULL;
    fam_random random;
    const char *module = fam_projection_module(projection);
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s.weight", layer, module);
    const fam_tensor *weight = fam_checkpoint_tensor(checkpoint, name);
    FAM_FAIL_IF(!weight, FAM_STATUS_BAD_FORMAT, "%s: tensor %s: found none, need one", fam_checkpoint_path(checkpoint),
                name);
    int64_t out = weight->shape[0], in = weight->shape[1];
    snprintf(name, sizeof name, "base_model.model.model.layers.%" PRId64 ".%s.lora_A.weight", layer, module);
    FAM_TRY(list_add(list, name, rank, in, &data, &random, error));
    fill_uniform(data, rank * in, 1 / sqrt((double)in), &random);
    snprintf(name, sizeof name, "base_model.model.model.layers.%" PRId64 ".%s.lora_B.weight", layer, module);
    FAM_TRY(list_add(list, name, out, rank, &data, &random, error)); /* zero: the model begins as it was */
done:
    return status;
}

static fam_status check_adapter(const fam_recipe *recipe, fam_mode mode, fam_error *error)
{
    fam_status status = FAM_OK;
    bool lora = recipe->adapt.what == FAM_TRAIN_WHAT_ADAPTER;
    FAM_FAIL_IF(recipe->adapt.what == FAM_TRAIN_WHAT_ALL, FAM_STATUS_INVALID_ARGUMENT,
                "adapt.what: found all, need adapter or prompt for a fresh adapter");
    FAM_FAIL_IF(lora && (recipe->adapt.rank < 1 || recipe->adapt.targets == 0), FAM_STATUS_INVALID_ARGUMENT,
                "adapt: found rank %" PRId64 " and %s, need at least 1 and a target", recipe->adapt.rank,
                recipe->adapt.targets ? "targets" : "no target");
    FAM_FAIL_IF(!lora && mode != FAM_MODE_FAM, FAM_STATUS_INVALID_ARGUMENT,
                "adapt.what: found prompt in mode %s, need mode fam", fam_mode_name(mode));
done:
    return status;
}

fam_status fam_start_adapter(const char *directory, const fam_recipe *recipe, const fam_checkpoint *checkpoint,
                             fam_error *error)
{
    fam_status status = FAM_OK;
    tensor_list lora = {0}, prompt = {0};
    int64_t layers = fam_checkpoint_config(checkpoint)->layers;
    fam_adapter_description description = {.base_model = fam_checkpoint_path(checkpoint),
                                           .settings = *fam_checkpoint_settings(checkpoint)};
    const fam_settings asked = recipe_settings(recipe);
    fam_settings_merge(&description.settings, &asked);
    fam_settings *settings = &description.settings;
    fam_mode mode = settings->mode < 0 ? FAM_MODE_FULL : (fam_mode)settings->mode;
    FAM_TRY(check_adapter(recipe, mode, error));
    if (recipe->adapt.what == FAM_TRAIN_WHAT_ADAPTER) {
        description.rank = recipe->adapt.rank;
        description.alpha = recipe->adapt.alpha;
        description.rslora = recipe->adapt.rslora;
        description.targets = recipe->adapt.targets;
    }
    FAM_TRY(list_create(&lora, recipe->memory, recipe->train.seed, layers * PROJECTIONS * 2, error));
    for (int64_t i = 0; i < layers * PROJECTIONS; i++)
        if (description.targets >> i % PROJECTIONS & 1)
            FAM_TRY(add_lora(&lora, checkpoint, i / PROJECTIONS, (int)(i % PROJECTIONS), description.rank, error));
    FAM_TRY(list_create(&prompt, recipe->memory, recipe->train.seed, 1, error));
    if (mode == FAM_MODE_FAM) {
        const fam_tensor *present = fam_checkpoint_tensor(checkpoint, "fam.prompt");
        if (settings->fam_length < 0)
            settings->fam_length = present ? present->shape[0] : DEFAULT_FAM_LENGTH;
        FAM_TRY(add_prompt(&prompt, recipe, settings->fam_length,
                           fam_checkpoint_tensor(checkpoint, "model.embed_tokens.weight"), error));
        /* a model that has learned one begins with it */
        if (present && present->shape[0] == settings->fam_length)
            fam_type_dequantize((float *)(uintptr_t)prompt.tensors[0].data, present->data, present->type,
                                present->shape[0] * present->shape[1]);
    }
    FAM_TRY(fam_adapter_write(directory, recipe->memory, &description, lora.tensors, lora.count,
                              prompt.count ? prompt.tensors : NULL, false, error));
done:
    list_release(&lora);
    list_release(&prompt);
    return status;
}

/* ---- a model from nothing ---------------------------------------------------------------------------------------- */

static fam_model_config new_config(const fam_recipe *recipe)
{
    fam_model_config c = {.vocab_size = FAM_BYTE_TOKENIZER_SIZE,
                          .hidden_size = recipe->model.hidden_size,
                          .intermediate_size = recipe->model.intermediate_size,
                          .layers = recipe->model.layers,
                          .heads = recipe->model.heads,
                          .kv_heads = recipe->model.kv_heads,
                          .head_dim = recipe->model.head_dim,
                          .rope_theta = recipe->model.rope_theta,
                          .rms_norm_eps = recipe->model.rms_norm_eps,
                          .tied_embeddings = recipe->model.tied_embeddings,
                          .context_length = recipe->model.context_length,
                          .rope_scaling = FAM_ROPE_DEFAULT};
    snprintf(c.family, sizeof c.family, "llama");
    return c;
}

static fam_status check_shape(const fam_model_config *c, fam_error *error)
{
    fam_status status = FAM_OK;
    FAM_FAIL_IF(c->layers < 1 || c->layers > FAM_LAYERS_MAX || c->hidden_size < 1 || c->intermediate_size < 1,
                FAM_STATUS_INVALID_ARGUMENT,
                "model.new: found %" PRId64 " layers of widths %" PRId64 " and %" PRId64 ", need 1 to %d of at least 1",
                c->layers, c->hidden_size, c->intermediate_size, FAM_LAYERS_MAX);
    FAM_FAIL_IF(c->heads < 1 || c->kv_heads < 1 || c->heads % c->kv_heads != 0 || c->head_dim < 2 ||
                    c->head_dim % 2 != 0,
                FAM_STATUS_INVALID_ARGUMENT,
                "model.new: found %" PRId64 " heads of %" PRId64 " on %" PRId64
                " key/value heads, need heads of an even size, a multiple of the latter",
                c->heads, c->head_dim, c->kv_heads);
done:
    return status;
}

static fam_status add_normal(tensor_list *list, const char *name, int64_t rows, int64_t columns, double deviation,
                             fam_error *error)
{
    float *data = NULL;
    fam_random random;
    fam_status status = list_add(list, name, rows, columns, &data, &random, error);
    if (status == FAM_OK)
        fill_normal(data, rows * columns, deviation, &random);
    return status;
}

static fam_status add_norm(tensor_list *list, const char *name, int64_t width, fam_error *error)
{
    float *data = NULL;
    fam_random random;
    fam_status status = list_add(list, name, width, 0, &data, &random, error);
    for (int64_t i = 0; status == FAM_OK && i < width; i++)
        data[i] = 1;
    return status;
}

static fam_status add_layer(tensor_list *list, const fam_model_config *c, int64_t layer, double deviation,
                            fam_error *error)
{
    fam_status status = FAM_OK;
    char name[NAME_BYTES];
    int64_t width = c->hidden_size, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim,
            wide = c->intermediate_size;
    const int64_t shapes[PROJECTIONS][2] = {{q, width}, {kv, width}, {kv, width}, {width, q},
                                            {wide, width}, {wide, width}, {width, wide}};
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".input_layernorm.weight", layer);
    FAM_TRY(add_norm(list, name, width, error));
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".post_attention_layernorm.weight", layer);
    FAM_TRY(add_norm(list, name, width, error));
    for (int i = 0; i < PROJECTIONS; i++) {
        const char *projection = fam_projection_name(i);
        bool ends_in_residual = strcmp(projection, "o_proj") == 0 || strcmp(projection, "down_proj") == 0;
        snprintf(name, sizeof name, "model.layers.%" PRId64 ".%s.weight", layer, fam_projection_module(i));
        FAM_TRY(add_normal(list, name, shapes[i][0], shapes[i][1],
                           ends_in_residual ? deviation / sqrt(2 * (double)c->layers) : deviation, error));
    }
done:
    return status;
}

fam_status fam_start_model(const char *directory, const fam_recipe *recipe, fam_error *error)
{
    fam_status status = FAM_OK;
    tensor_list list = {0};
    fam_model_config c = new_config(recipe);
    fam_settings settings = recipe_settings(recipe);
    double deviation = recipe->model.init_std;
    FAM_TRY(check_shape(&c, error));
    FAM_TRY(list_create(&list, recipe->memory, recipe->train.seed, c.layers * (PROJECTIONS + 2) + OUTSIDE_LAYERS,
                        error));
    FAM_TRY(add_normal(&list, "model.embed_tokens.weight", c.vocab_size, c.hidden_size, deviation, error));
    for (int64_t l = 0; l < c.layers; l++)
        FAM_TRY(add_layer(&list, &c, l, deviation, error));
    FAM_TRY(add_norm(&list, "model.norm.weight", c.hidden_size, error));
    if (!c.tied_embeddings)
        FAM_TRY(add_normal(&list, "lm_head.weight", c.vocab_size, c.hidden_size, deviation, error));
    if (settings.mode == FAM_MODE_FAM) {
        if (settings.fam_length < 0)
            settings.fam_length = DEFAULT_FAM_LENGTH;
        FAM_TRY(add_prompt(&list, recipe, settings.fam_length, &list.tensors[0], error));
    }
    FAM_TRY(fam_directory_make(directory, error));
    FAM_TRY(fam_byte_tokenizer_write(directory, recipe->memory, error)); /* config.json comes last */
    FAM_TRY(fam_hf_write(directory, recipe->memory, &c, &settings, -1, FAM_BYTE_TOKENIZER_END, list.tensors, list.count,
                         error));
done:
    list_release(&list);
    return status;
}
