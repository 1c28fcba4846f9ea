/*
 * bench/random_model.h: a llama model of a given shape with random weights, as files in a folder of its own, and LoRA
 * for all its projections if asked for. The folder is removed by random_model_remove.
 */
#ifndef BENCH_RANDOM_MODEL_H
#define BENCH_RANDOM_MODEL_H

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "bench_support.h"
#include "format/adapter.h"
#include "format/safetensors.h"

enum { RANDOM_MODEL_TENSORS_MAX = 2 * 7 * 128 + 16, RANDOM_MODEL_NAME = 96 };

typedef struct random_shape {
    int64_t layers, hidden, heads, kv_heads, head_dim, wide, vocab, fam_length;
    int64_t rank; /* of LoRA; 0: none */
} random_shape;

typedef struct random_model {
    char directory[256], adapter[272];
    fam_memory *memory;
    fam_random random;
    fam_tensor tensors[RANDOM_MODEL_TENSORS_MAX];
    char names[RANDOM_MODEL_TENSORS_MAX][RANDOM_MODEL_NAME];
    int64_t count;
} random_model;

static inline float *random_add(random_model *m, const char *name, int64_t rows, int64_t columns, double size)
{
    if (m->count == RANDOM_MODEL_TENSORS_MAX)
        abort();
    int64_t elements = rows * columns;
    float *x = need(fam_alloc_array(m->memory, (size_t)elements, sizeof *x));
    for (int64_t i = 0; i < elements; i++)
        x[i] = (float)((fam_random_uniform(&m->random) * 2 - 1) * sqrt(3) * size);
    snprintf(m->names[m->count], RANDOM_MODEL_NAME, "%s", name);
    m->tensors[m->count] = (fam_tensor){.name = m->names[m->count], .type = FAM_TYPE_F32, .n_dims = 2,
                                        .shape = {rows, columns}, .data = (const uint8_t *)x,
                                        .bytes = (size_t)elements * sizeof *x};
    m->count++;
    return x;
}

static inline void random_add_ones(random_model *m, const char *name, int64_t count)
{
    float *x = random_add(m, name, 1, count, 0);
    for (int64_t i = 0; i < count; i++)
        x[i] = 1;
    fam_tensor *tensor = &m->tensors[m->count - 1];
    tensor->n_dims = 1;
    tensor->shape[0] = count;
    tensor->shape[1] = 0;
}

static inline void random_flush(random_model *m, const char *directory, const char *name)
{
    char path[512];
    fam_error error;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    check(fam_safetensors_write(path, m->memory, m->tensors, m->count, &error), &error);
    for (int64_t i = 0; i < m->count; i++)
        fam_free(m->memory, (void *)m->tensors[i].data);
    m->count = 0;
}

static inline void random_write_text(const char *directory, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) {
        fprintf(stderr, "%s: %s: cannot be written\n", program_invocation_short_name, path);
        exit(5);
    }
}

/* The seven projections of a layer: out and in. */
static inline void random_projections(random_model *m, const random_shape *s, int64_t layer, bool lora)
{
    int64_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim, e = s->hidden;
    const struct {
        const char *name;
        int64_t out, in;
    } all[] = {{"self_attn.q_proj", q, e}, {"self_attn.k_proj", kv, e},  {"self_attn.v_proj", kv, e},
               {"self_attn.o_proj", e, q}, {"mlp.gate_proj", s->wide, e}, {"mlp.up_proj", s->wide, e},
               {"mlp.down_proj", e, s->wide}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char name[RANDOM_MODEL_NAME];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", (int)layer, all[i].name);
        if (!lora) {
            random_add(m, name, all[i].out, all[i].in, 1 / sqrt((double)all[i].in));
            continue;
        }
        snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_A.weight", (int)layer, all[i].name);
        random_add(m, name, s->rank, all[i].in, 1 / sqrt((double)all[i].in));
        snprintf(name, sizeof name, "base_model.model.model.layers.%d.%s.lora_B.weight", (int)layer, all[i].name);
        random_add(m, name, all[i].out, s->rank, 1e-3);
    }
}

static inline void random_write_model(random_model *m, const random_shape *s)
{
    char text[1024], name[RANDOM_MODEL_NAME];
    snprintf(text, sizeof text,
             "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"vocab_size\": %d, "
             "\"hidden_size\": %d, \"intermediate_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
             "\"num_key_value_heads\": %d, \"head_dim\": %d, \"rope_theta\": 100000.0, \"rms_norm_eps\": 1e-5, "
             "\"tie_word_embeddings\": true}",
             (int)s->vocab, (int)s->hidden, (int)s->wide, (int)s->layers, (int)s->heads, (int)s->kv_heads,
             (int)s->head_dim);
    random_write_text(m->directory, "config.json", text);
    random_add(m, "model.embed_tokens.weight", s->vocab, s->hidden, 0.02);
    for (int64_t layer = 0; layer < s->layers; layer++) {
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", (int)layer);
        random_add_ones(m, name, s->hidden);
        snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", (int)layer);
        random_add_ones(m, name, s->hidden);
        random_projections(m, s, layer, false);
    }
    random_add_ones(m, "model.norm.weight", s->hidden);
    if (s->fam_length)
        random_add(m, "fam.prompt", s->fam_length, s->hidden, 0.02);
    random_flush(m, m->directory, "model.safetensors");
}

static inline void random_write_adapter(random_model *m, const random_shape *s)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": %d, \"bias\": \"none\", \"target_modules\": "
             "[\"q_proj\", \"k_proj\", \"v_proj\", \"o_proj\", \"gate_proj\", \"up_proj\", \"down_proj\"]}",
             (int)s->rank, (int)s->rank);
    random_write_text(m->adapter, "adapter_config.json", text);
    for (int64_t layer = 0; layer < s->layers; layer++)
        random_projections(m, s, layer, true);
    random_flush(m, m->adapter, "adapter_model.safetensors");
}

/* Writes the files; memory is only used meanwhile. */
static inline random_model *random_model_write(fam_memory *memory, const random_shape *shape)
{
    random_model *m = need(fam_alloc_zeroed(memory, sizeof *m));
    m->memory = memory;
    fam_random_seed(&m->random, 1);
    const char *base = getenv("TMPDIR");
    snprintf(m->directory, sizeof m->directory, "%s/fam-bench-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(m->directory)) {
        fprintf(stderr, "%s: %s: cannot be made\n", program_invocation_short_name, m->directory);
        exit(5);
    }
    random_write_model(m, shape);
    if (shape->rank) {
        snprintf(m->adapter, sizeof m->adapter, "%s/adapter", m->directory);
        if (mkdir(m->adapter, 0700) != 0)
            exit(5);
        random_write_adapter(m, shape);
    }
    return m;
}

static inline void random_model_remove(random_model *m)
{
    static const char *const files[] = {"config.json", "model.safetensors", "adapter/adapter_config.json",
                                        "adapter/adapter_model.safetensors"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", m->directory, files[i]);
        unlink(path);
    }
    if (m->adapter[0])
        rmdir(m->adapter);
    rmdir(m->directory);
    fam_free(m->memory, m);
}

#endif
