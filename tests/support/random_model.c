/*
 * tests/support/random_model.c: see random_model.h.
 */
#include "random_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/random.h"
#include "format/safetensors.h"
#include "scratch.h"

enum { NAME_BYTES = 96 };

typedef struct tensor_list {
    fam_tensor *tensors;
    int64_t count, room;
    fam_random random;
} tensor_list;

static void add(tensor_list *list, const char *name, int64_t rows, int64_t columns, double size)
{
    int64_t elements = (rows ? rows : 1) * columns;
    if (list->count == list->room) {
        list->room = list->room * 2 + 32;
        list->tensors = realloc(list->tensors, (size_t)list->room * sizeof *list->tensors);
    }
    float *data = malloc((size_t)elements * sizeof *data);
    char *copy = strdup(name);
    if (!list->tensors || !data || !copy)
        abort();
    for (int64_t i = 0; i < elements; i++) { /* of variance 1 before it is scaled; norms lie around 1 */
        double sum = fam_random_uniform(&list->random) + fam_random_uniform(&list->random) +
                     fam_random_uniform(&list->random) - 1.5;
        data[i] = (float)((rows ? 0 : 1) + 2 * size * sum);
    }
    fam_tensor *t = &list->tensors[list->count++];
    *t = (fam_tensor){.name = copy,
                      .type = FAM_TYPE_F32,
                      .n_dims = rows ? 2 : 1,
                      .data = (const uint8_t *)data,
                      .shape = {rows ? rows : columns, rows ? columns : 0},
                      .bytes = (size_t)elements * sizeof *data};
}

static void write_list(tensor_list *list, const char *path)
{
    fam_memory memory;
    fam_error error;
    fam_memory_init(&memory);
    if (fam_safetensors_write(path, &memory, list->tensors, list->count, &error) != FAM_OK) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
    for (int64_t i = 0; i < list->count; i++) {
        free((void *)(uintptr_t)list->tensors[i].name);
        free((void *)(uintptr_t)list->tensors[i].data);
    }
    free(list->tensors);
    *list = (tensor_list){.random = list->random};
}

/* All seven projections of a layer: the matrices, or the LoRA factors. */
static void add_layer(tensor_list *list, const random_model *m, int64_t layer, bool lora)
{
    int64_t q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    const struct {
        const char *name;
        int64_t rows, columns;
    } projections[] = {{"self_attn.q_proj", q, m->width},    {"self_attn.k_proj", kv, m->width},
                       {"self_attn.v_proj", kv, m->width},   {"self_attn.o_proj", m->width, q},
                       {"mlp.gate_proj", m->wide, m->width}, {"mlp.up_proj", m->wide, m->width},
                       {"mlp.down_proj", m->width, m->wide}};
    char name[NAME_BYTES];
    for (size_t i = 0; i < sizeof projections / sizeof *projections; i++) {
        int64_t rows = projections[i].rows, columns = projections[i].columns;
        double size = 1 / sqrt((double)columns);
        const char *at = projections[i].name;
        if (!lora) {
            snprintf(name, sizeof name, "model.layers.%lld.%s.weight", (long long)layer, at);
            add(list, name, rows, columns, size);
            continue;
        }
        snprintf(name, sizeof name, "base_model.model.model.layers.%lld.%s.lora_A.weight", (long long)layer, at);
        add(list, name, m->rank, columns, size);
        snprintf(name, sizeof name, "base_model.model.model.layers.%lld.%s.lora_B.weight", (long long)layer, at);
        add(list, name, rows, m->rank, 0.3 / sqrt((double)m->rank));
    }
}

static void write_config(const char *directory, const random_model *m)
{
    char text[1024];
    snprintf(text, sizeof text,
             "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": %lld, "
             "\"hidden_size\": %lld, \"intermediate_size\": %lld, \"num_hidden_layers\": %lld, "
             "\"num_attention_heads\": %lld, \"num_key_value_heads\": %lld, \"head_dim\": %lld, "
             "\"tie_word_embeddings\": %s}",
             (long long)m->vocab, (long long)m->width, (long long)m->wide, (long long)m->layers, (long long)m->heads,
             (long long)m->kv_heads, (long long)m->head_dim, m->tied ? "true" : "false");
    scratch_write_text(directory, "config.json", text);
}

static void write_adapter(const char *directory, const random_model *m, tensor_list *list)
{
    char path[512], text[512];
    snprintf(path, sizeof path, "%s/adapter", directory);
    if (mkdir(path, 0777) != 0)
        abort();
    for (int64_t l = 0; l < m->layers; l++)
        add_layer(list, m, l, true);
    write_list(list, scratch_path(path, "adapter_model.safetensors"));
    snprintf(
        text, sizeof text,
        "{\"peft_type\": \"LORA\", \"r\": %lld, \"lora_alpha\": %lld, \"target_modules\": [\"q_proj\", \"k_proj\", "
        "\"v_proj\", \"o_proj\", \"gate_proj\", \"up_proj\", \"down_proj\"]}",
        (long long)m->rank, (long long)(2 * m->rank));
    scratch_write_text(path, "adapter_config.json", text);
}

void random_model_write(const char *directory, const random_model *m, uint64_t seed)
{
    tensor_list list = {0};
    char name[NAME_BYTES];
    fam_random_seed(&list.random, seed);
    add(&list, "model.embed_tokens.weight", m->vocab, m->width, 1);
    for (int64_t l = 0; l < m->layers; l++) {
        snprintf(name, sizeof name, "model.layers.%lld.input_layernorm.weight", (long long)l);
        add(&list, name, 0, m->width, 0.2);
        snprintf(name, sizeof name, "model.layers.%lld.post_attention_layernorm.weight", (long long)l);
        add(&list, name, 0, m->width, 0.2);
        add_layer(&list, m, l, false);
    }
    add(&list, "model.norm.weight", 0, m->width, 0.2);
    if (!m->tied)
        add(&list, "lm_head.weight", m->vocab, m->width, 1 / sqrt((double)m->width));
    add(&list, "fam.prompt", m->prompt_rows, m->width, 1);
    write_list(&list, scratch_path(directory, "model.safetensors"));
    write_config(directory, m);
    if (m->rank)
        write_adapter(directory, m, &list);
}
