/*
 * tests/support/tiny_model.c: see tiny_model.h.
 */
#include "tiny_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "scratch.h"

const char *const tiny_projections[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                        "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj",    NULL};

void tiny_projection_shape(const char *module, int64_t *rows, int64_t *columns)
{
    bool kv = strstr(module, "k_proj") || strstr(module, "v_proj");
    *rows = strstr(module, "q_proj") ? TINY_H * TINY_D : kv ? TINY_G * TINY_D : TINY_E;
    *columns = strstr(module, "o_proj") ? TINY_H * TINY_D : TINY_E;
    if (strstr(module, "gate_proj") || strstr(module, "up_proj"))
        *rows = TINY_I;
    if (strstr(module, "down_proj"))
        *columns = TINY_I;
}

void tiny_list_begin(tiny_list *list)
{
    memset(list, 0, sizeof *list);
    for (int i = 0; i < 4096; i++)
        list->data[i] = (float)(i * 37 % 101 - 50) / 50.0f;
}

void tiny_list_add(tiny_list *list, const char *name, int64_t rows, int64_t columns)
{
    if (list->named == TINY_MAX)
        abort();
    int at = list->named++;
    snprintf(list->names[at], sizeof list->names[at], "%s", name);
    fam_tensor *tensor = &list->tensors[list->count++];
    *tensor = (fam_tensor){.name = list->names[at], .type = FAM_TYPE_F32, .n_dims = rows ? 2 : 1};
    tensor->shape[0] = rows ? rows : columns;
    tensor->shape[1] = rows ? columns : 0;
    tensor->bytes = (size_t)((rows ? rows : 1) * columns) * sizeof(float);
    tensor->data = (const uint8_t *)(list->data + at * 7); /* each begins elsewhere, so that they differ */
}

void tiny_list_add_model(tiny_list *list, bool tied)
{
    char name[96];
    tiny_list_add(list, "model.embed_tokens.weight", TINY_V, TINY_E);
    for (int layer = 0; layer < TINY_L; layer++) {
        static const char *const norms[] = {"input_layernorm", "post_attention_layernorm"};
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, norms[i]);
            tiny_list_add(list, name, 0, TINY_E);
        }
        for (const char *const *module = tiny_projections; *module; module++) {
            int64_t rows, columns;
            tiny_projection_shape(*module, &rows, &columns);
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, *module);
            tiny_list_add(list, name, rows, columns);
        }
    }
    tiny_list_add(list, "model.norm.weight", 0, TINY_E);
    if (!tied)
        tiny_list_add(list, "lm_head.weight", TINY_V, TINY_E);
}

void tiny_list_add_lora(tiny_list *list, const char *const *modules)
{
    char name[96];
    for (int layer = 0; layer < TINY_L; layer++)
        for (const char *const *module = modules; *module; module++) {
            int64_t rows, columns;
            tiny_projection_shape(*module, &rows, &columns);
            snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_A.weight", layer, *module);
            tiny_list_add(list, name, TINY_R, columns);
            snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_B.weight", layer, *module);
            tiny_list_add(list, name, rows, TINY_R);
        }
}

fam_tensor *tiny_list_find(tiny_list *list, const char *name)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->tensors[i].name, name) == 0)
            return &list->tensors[i];
    abort();
}

void tiny_list_remove(tiny_list *list, const char *name)
{
    fam_tensor *tensor = tiny_list_find(list, name);
    memmove(tensor, tensor + 1, (size_t)(list->tensors + list->count - (tensor + 1)) * sizeof *tensor);
    list->count--;
}

void tiny_list_write(const tiny_list *list, const char *directory, const char *name)
{
    fam_memory memory;
    fam_error error;
    fam_memory_init(&memory);
    if (fam_safetensors_write(scratch_path(directory, name), &memory, list->tensors, list->count, &error) != FAM_OK) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
}

const char *tiny_config(const char *more)
{
    static char text[8192];
    snprintf(text, sizeof text,
             "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": %d, "
             "\"hidden_size\": %d, "
             "\"intermediate_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
             "\"num_key_value_heads\": %d%s}",
             TINY_V, TINY_E, TINY_I, TINY_L, TINY_H, TINY_G, more);
    return text;
}

void tiny_model_write(const char *directory, const char *more_config, bool tied)
{
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add_model(&list, tied);
    tiny_list_write(&list, directory, "model.safetensors");
    scratch_write_text(directory, "config.json", tiny_config(more_config));
}
