/*
 * tests/cli/tiny_model.h: a Hugging Face directory with random weights and the reduced tokenizer of tests/fixtures: a
 * model that reads and writes text without a download.
 */
#ifndef TESTS_CLI_TINY_MODEL_H
#define TESTS_CLI_TINY_MODEL_H

#include <math.h>

#include "run.h"

enum { TINY_VOCAB = 2001, TINY_HIDDEN = 32, TINY_INNER = 48, TINY_LAYERS = 2, TINY_BLOCK = 64, TINY_FAM = 8 };

typedef struct tiny_writer {
    char header[16384];
    size_t header_size;
    float *data;
    size_t count;
    unsigned seed;
} tiny_writer;

static void tiny_tensor(tiny_writer *writer, const char *name, int rows, int columns, float scale, float base)
{
    size_t n = (size_t)rows * (size_t)(columns ? columns : 1), start = writer->count * 4;
    char shape[32];
    snprintf(shape, sizeof shape, columns ? "%d,%d" : "%d", rows, columns);
    writer->header_size += (size_t)sprintf(writer->header + writer->header_size,
                                           "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                                           writer->header_size > 1 ? "," : "", name, shape, start, start + 4 * n);
    writer->data = realloc(writer->data, (writer->count + n) * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        writer->seed = writer->seed * 1664525u + 1013904223u;
        writer->data[writer->count++] = base + scale * ((float)(writer->seed >> 8) / 8388608.0f - 1.0f);
    }
}

static void tiny_layer(tiny_writer *writer, int layer)
{
    static const struct {
        const char *name;
        int rows, columns;
    } tensors[] = {{"self_attn.q_proj", TINY_HIDDEN, TINY_HIDDEN}, {"self_attn.k_proj", TINY_HIDDEN / 2, TINY_HIDDEN},
                   {"self_attn.v_proj", TINY_HIDDEN / 2, TINY_HIDDEN}, {"self_attn.o_proj", TINY_HIDDEN, TINY_HIDDEN},
                   {"mlp.gate_proj", TINY_INNER, TINY_HIDDEN},     {"mlp.up_proj", TINY_INNER, TINY_HIDDEN},
                   {"mlp.down_proj", TINY_HIDDEN, TINY_INNER}};
    char name[96];
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, tensors[i].name);
        tiny_tensor(writer, name, tensors[i].rows, tensors[i].columns, 0.3f, 0);
    }
    snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", layer);
    tiny_tensor(writer, name, TINY_HIDDEN, 0, 0.1f, 1);
    snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", layer);
    tiny_tensor(writer, name, TINY_HIDDEN, 0, 0.1f, 1);
}

/* Logits of their own for the digits, louder than all others: the model says digits, which ones depends on what it read. */
static void tiny_loud_digits(tiny_writer *writer)
{
    enum { ZERO = 32, TEN = 42 }; /* ids of the reduced tokenizers */
    tiny_tensor(writer, "lm_head.weight", TINY_VOCAB, TINY_HIDDEN, 0.1f, 0);
    float *rows = writer->data + writer->count - TINY_VOCAB * TINY_HIDDEN;
    for (int i = ZERO * TINY_HIDDEN; i < TEN * TINY_HIDDEN; i++)
        rows[i] *= 30;
}

/* Makes run_file(name), with settings for mode fam; tokenizer: a folder of tests/fixtures/tokenizer/reduced. */
static const char *tiny_model_of(const char *name, const char *tokenizer, bool says_digits)
{
    static char path[512];
    snprintf(path, sizeof path, "%s", run_file(name));
    char file[600], from[600], config[1024];
    assert_int_equal(mkdir(path, 0755), 0);
    tiny_writer writer = {.header = "{", .header_size = 1, .seed = 7};
    tiny_tensor(&writer, "model.embed_tokens.weight", TINY_VOCAB, TINY_HIDDEN, 1, 0);
    for (int layer = 0; layer < TINY_LAYERS; layer++)
        tiny_layer(&writer, layer);
    tiny_tensor(&writer, "model.norm.weight", TINY_HIDDEN, 0, 0.1f, 1);
    tiny_tensor(&writer, "fam.prompt", TINY_FAM, TINY_HIDDEN, 1, 0);
    if (says_digits)
        tiny_loud_digits(&writer);
    strcpy(writer.header + writer.header_size++, "}");
    while (writer.header_size % 8)
        strcpy(writer.header + writer.header_size++, " ");
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    FILE *out = fopen(file, "wb");
    uint64_t size = writer.header_size;
    assert_true(out && fwrite(&size, 8, 1, out) == 1 && fwrite(writer.header, size, 1, out) == 1 &&
                fwrite(writer.data, 4, writer.count, out) == writer.count && fclose(out) == 0);
    free(writer.data);
    int length = snprintf(config, sizeof config,
                          "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_act\":\"silu\","
                          "\"attention_bias\":false,\"mlp_bias\":false,\"max_position_embeddings\":4096,"
                          "\"torch_dtype\":\"float32\",\"vocab_size\":%d,\"hidden_size\":%d,\"intermediate_size\":%d,"
                          "\"num_hidden_layers\":%d,\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":8,"
                          "\"rope_theta\":10000.0,\"rms_norm_eps\":1e-05,\"tie_word_embeddings\":%s,"
                          "\"fam\":{\"mode\":\"fam\",\"block_size\":%d,\"memory_segments\":0,\"fam_length\":%d,"
                          "\"state_norm\":\"rms\"}}",
                          TINY_VOCAB, TINY_HIDDEN, TINY_INNER, TINY_LAYERS, says_digits ? "false" : "true", TINY_BLOCK,
                          TINY_FAM);
    snprintf(file, sizeof file, "%s/config.json", path);
    out = fopen(file, "wb");
    assert_true(out && fwrite(config, (size_t)length, 1, out) == 1 && fclose(out) == 0);
    if (tokenizer) {
        snprintf(from, sizeof from, "%s/tests/fixtures/tokenizer/reduced/%s/tokenizer.json", suite_root(), tokenizer);
        snprintf(file, sizeof file, "%s/tokenizer.json", path);
        assert_int_equal(symlink(from, file), 0);
    }
    return path;
}

static inline const char *tiny_model(const char *name, const char *tokenizer)
{
    return tiny_model_of(name, tokenizer, false);
}

#endif
