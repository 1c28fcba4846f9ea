/*
 * Format room: models in GGUF files. The tiny model is written and spoiled in one place at a time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fam/modes.h"
#include "gguf_writer.h"
#include "model_checks.h"
#include "scratch.h"
#include "suite.h"
#include "tiny_model.h"

static const char *gguf_name(const char *hf, char buffer[96])
{
    static const char *const names[][2] = {
        {"model.embed_tokens", "token_embd"},
        {"model.norm", "output_norm"},
        {"lm_head", "output"},
        {"input_layernorm", "attn_norm"},
        {"post_attention_layernorm", "ffn_norm"},
        {"self_attn.q_proj", "attn_q"},
        {"self_attn.k_proj", "attn_k"},
        {"self_attn.v_proj", "attn_v"},
        {"self_attn.o_proj", "attn_output"},
        {"mlp.gate_proj", "ffn_gate"},
        {"mlp.up_proj", "ffn_up"},
        {"mlp.down_proj", "ffn_down"},
    };
    int layer = -1;
    sscanf(hf, "model.layers.%d.", &layer);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(hf, names[i][0])) {
            if (layer < 0)
                snprintf(buffer, 96, "%s.weight", names[i][1]);
            else
                snprintf(buffer, 96, "blk.%d.%s.weight", layer, names[i][1]);
            return buffer;
        }
    abort();
}

/* The tiny model; a key or tensor of the name `without` is left out, so that a row can put its own. */
static void begin_gguf(gguf_writer *writer, const char *without, bool tied)
{
    static const struct {
        const char *key;
        uint32_t value;
    } keys[] = {
        {"llama.block_count", TINY_L},          {"llama.context_length", 2048},
        {"llama.embedding_length", TINY_E},     {"llama.feed_forward_length", TINY_I},
        {"llama.attention.head_count", TINY_H}, {"llama.attention.head_count_kv", TINY_G},
        {"llama.rope.dimension_count", TINY_D}, {"llama.vocab_size", TINY_V},
    };
    gguf_writer_begin(writer);
    if (strcmp(without, "general.architecture") != 0)
        gguf_writer_string(writer, "general.architecture", "llama");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(without, keys[i].key) != 0)
            gguf_writer_u32(writer, keys[i].key, keys[i].value);
    if (strcmp(without, "llama.attention.layer_norm_rms_epsilon") != 0)
        gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add_model(&list, tied);
    for (int i = 0; i < list.count; i++) {
        char name[96];
        const fam_tensor *t = &list.tensors[i];
        if (strcmp(without, gguf_name(t->name, name)) != 0)
            gguf_writer_tensor(writer, name, 0, t->n_dims, t->shape, t->data, t->bytes);
    }
}

static const char *save_gguf(gguf_writer *writer, const char *directory)
{
    const char *path = scratch_path(directory, "m.gguf");
    assert_true(gguf_writer_save(writer, path));
    return path;
}

static void a_gguf_model_opens_under_hugging_face_names(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    gguf_writer writer;
    fam_checkpoint *checkpoint;
    float prompt[3 * TINY_E];
    for (int i = 0; i < 3 * TINY_E; i++)
        prompt[i] = (float)i;
    begin_gguf(&writer, "", false);
    gguf_writer_string(&writer, "fam.mode", "fam");
    gguf_writer_u32(&writer, "fam.block_size", 7);
    gguf_writer_u32(&writer, "fam.fam_length", 3);
    gguf_writer_string(&writer, "fam.state_norm", "rms");
    gguf_writer_array(&writer, "fam.prompt", FAM_GGUF_F32, 3 * TINY_E, prompt, sizeof prompt);
    gguf_writer_string(&writer, "tokenizer.ggml.model", "gpt2");
    gguf_writer_u32(&writer, "llama.expert_count", 0);
    gguf_writer_bool(&writer, "llama.attention.causal", true);
    gguf_writer_u32(&writer, "mine.own", 5);
    assert_int_equal(model_open(save_gguf(&writer, directory), NULL, &checkpoint), FAM_OK);
    assert_non_null(strstr(model_warnings, "mine.own: not used"));
    const fam_model_config *config = fam_checkpoint_config(checkpoint);
    assert_int_equal(config->vocab_size, TINY_V);
    assert_int_equal(config->head_dim, TINY_D);
    assert_int_equal(config->kv_heads, TINY_G);
    assert_true(config->rms_norm_eps == (double)1e-5f);
    assert_true(config->rope_theta == 10000);
    assert_false(config->tied_embeddings);
    assert_true(fam_checkpoint_permuted(checkpoint));
    assert_non_null(fam_checkpoint_gguf(checkpoint));
    assert_int_equal(fam_checkpoint_container(checkpoint), FAM_CONTAINER_GGUF);
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add_model(&list, false);
    for (int i = 0; i < list.count; i++) {
        const fam_tensor *tensor = fam_checkpoint_tensor(checkpoint, list.tensors[i].name);
        assert_non_null(tensor);
        assert_memory_equal(tensor->shape, list.tensors[i].shape, (size_t)tensor->n_dims * sizeof(int64_t));
        assert_memory_equal(tensor->data, list.tensors[i].data, tensor->bytes);
    }
    const fam_tensor *t = fam_checkpoint_tensor(checkpoint, "fam.prompt");
    assert_int_equal(t->shape[0], 3);
    assert_int_equal(t->shape[1], TINY_E);
    assert_memory_equal(t->data, prompt, sizeof prompt);
    const fam_settings *settings = fam_checkpoint_settings(checkpoint);
    assert_int_equal(settings->mode, FAM_MODE_FAM);
    assert_int_equal(settings->block_size, 7);
    assert_int_equal(settings->memory_segments, -1);
    assert_int_equal(settings->state_norm, FAM_STATE_NORM_RMS);
    model_close(checkpoint);
    begin_gguf(&writer, "llama.attention.head_count_kv", true);
    assert_int_equal(model_open(save_gguf(&writer, directory), NULL, &checkpoint), FAM_STATUS_BAD_FORMAT);
    assert_non_null(strstr(model_error.message, "blk.0.attn_k.weight: shape: found [4, 8], need [8, 8]"));
    begin_gguf(&writer, "llama.vocab_size", true);
    assert_int_equal(model_open(save_gguf(&writer, directory), NULL, &checkpoint), FAM_OK);
    assert_true(fam_checkpoint_config(checkpoint)->tied_embeddings);
    assert_int_equal(fam_checkpoint_config(checkpoint)->vocab_size, TINY_V);
    assert_null(fam_checkpoint_tensor(checkpoint, "lm_head.weight"));
    model_close(checkpoint);
    scratch_remove(directory);
}

/* A key of any type in words: "u32 5", "f32 0", "string x", "bool 1", "f32s 5" for an array of so many. */
static void put(gguf_writer *writer, const char *key, const char *value)
{
    double number = strtod(strchr(value, ' '), NULL);
    static const float zeros[64];
    if (strncmp(value, "u32 ", 4) == 0)
        gguf_writer_u32(writer, key, (uint32_t)number);
    else if (strncmp(value, "i32 ", 4) == 0)
        gguf_writer_i32(writer, key, (int32_t)number);
    else if (strncmp(value, "f32 ", 4) == 0)
        gguf_writer_f32(writer, key, (float)number);
    else if (strncmp(value, "bool ", 5) == 0)
        gguf_writer_bool(writer, key, number != 0);
    else if (strncmp(value, "f32s ", 5) == 0)
        gguf_writer_array(writer, key, FAM_GGUF_F32, (uint64_t)number, zeros, (size_t)number * 4);
    else if (strncmp(value, "u8s ", 4) == 0)
        gguf_writer_array(writer, key, FAM_GGUF_U8, (uint64_t)number, zeros, (size_t)number);
    else
        gguf_writer_string(writer, key, value + strlen("string "));
}

static void wrong_gguf_keys_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value; /* NULL: left out */
        fam_status status;
        const char *words;
    } rows[] = {
        {"general.architecture", NULL, FAM_STATUS_BAD_FORMAT, "general.architecture"},
        {"general.architecture", "string qwen2", FAM_STATUS_UNSUPPORTED,
         "general.architecture: found \"qwen2\", need llama"},
        {"general.architecture", "u32 5", FAM_STATUS_BAD_FORMAT, "general.architecture"},
        {"general.type", "string adapter", FAM_STATUS_UNSUPPORTED, "general.type: found \"adapter\""},
        {"llama.block_count", NULL, FAM_STATUS_BAD_FORMAT, "llama.block_count"},
        {"llama.block_count", "string 2", FAM_STATUS_BAD_FORMAT, "llama.block_count"},
        {"llama.block_count", "i32 -2", FAM_STATUS_BAD_FORMAT, "llama.block_count"},
        {"llama.block_count", "u32 0", FAM_STATUS_BAD_FORMAT, "llama.block_count: found 0"},
        {"llama.block_count", "u32 1025", FAM_STATUS_BAD_FORMAT, "llama.block_count: found 1025"},
        {"llama.block_count", "u32 2147483648", FAM_STATUS_BAD_FORMAT, "llama.block_count: found 2147483648"},
        {"llama.block_count", "u32 1", FAM_STATUS_UNSUPPORTED, "tensor blk.1."},
        {"llama.block_count", "u32 3", FAM_STATUS_BAD_FORMAT, "tensor blk.2.attn_norm.weight: found nothing"},
        {"llama.context_length", NULL, FAM_STATUS_BAD_FORMAT, "llama.context_length"},
        {"llama.context_length", "u32 0", FAM_STATUS_BAD_FORMAT, "llama.context_length: found 0"},
        {"llama.embedding_length", NULL, FAM_STATUS_BAD_FORMAT, "llama.embedding_length"},
        {"llama.embedding_length", "u32 0", FAM_STATUS_BAD_FORMAT, "llama.embedding_length: found 0"},
        {"llama.embedding_length", "u32 9", FAM_STATUS_BAD_FORMAT,
         "head_count: found 2, need a divisor of embedding_length, 9"},
        {"llama.feed_forward_length", NULL, FAM_STATUS_BAD_FORMAT, "llama.feed_forward_length"},
        {"llama.feed_forward_length", "u32 13", FAM_STATUS_BAD_FORMAT, "blk.0.ffn_gate.weight: shape"},
        {"llama.attention.head_count", NULL, FAM_STATUS_BAD_FORMAT, "llama.attention.head_count"},
        {"llama.attention.head_count", "u32 0", FAM_STATUS_BAD_FORMAT, "llama.attention.head_count: found 0"},
        {"llama.attention.head_count_kv", "u32 0", FAM_STATUS_BAD_FORMAT, "llama.attention.head_count_kv: found 0"},
        {"llama.attention.head_count_kv", "u32 3", FAM_STATUS_BAD_FORMAT, "key/value heads: found 3"},
        {"llama.attention.head_count_kv", "u8s 2", FAM_STATUS_BAD_FORMAT, "llama.attention.head_count_kv"},
        {"llama.attention.key_length", "u32 3", FAM_STATUS_UNSUPPORTED, "rope.dimension_count: found 4"},
        {"llama.attention.value_length", "u32 6", FAM_STATUS_UNSUPPORTED, "value_length: found 6"},
        {"llama.rope.dimension_count", "u32 3", FAM_STATUS_UNSUPPORTED, "rope.dimension_count: found 3"},
        {"llama.rope.dimension_count", "u32 2", FAM_STATUS_UNSUPPORTED, "rope.dimension_count: found 2"},
        {"llama.rope.dimension_count", "u32 8", FAM_STATUS_UNSUPPORTED, "rope.dimension_count: found 8"},
        {"llama.attention.layer_norm_rms_epsilon", NULL, FAM_STATUS_BAD_FORMAT, "layer_norm_rms_epsilon"},
        {"llama.attention.layer_norm_rms_epsilon", "f32 0", FAM_STATUS_BAD_FORMAT, "layer_norm_rms_epsilon: found 0"},
        {"llama.attention.layer_norm_rms_epsilon", "f32 nan", FAM_STATUS_BAD_FORMAT, "layer_norm_rms_epsilon"},
        {"llama.attention.layer_norm_rms_epsilon", "f32 -1", FAM_STATUS_BAD_FORMAT, "layer_norm_rms_epsilon: found -1"},
        {"llama.rope.freq_base", "f32 0", FAM_STATUS_BAD_FORMAT, "llama.rope.freq_base: found 0"},
        {"llama.rope.freq_base", "f32 inf", FAM_STATUS_BAD_FORMAT, "llama.rope.freq_base: found inf"},
        {"llama.rope.scaling.type", "string linear", FAM_STATUS_UNSUPPORTED,
         "llama.rope.scaling.type: found \"linear\""},
        {"llama.rope.scaling.type", "u32 0", FAM_STATUS_BAD_FORMAT, "llama.rope.scaling.type"},
        {"llama.rope.scale_linear", "f32 2", FAM_STATUS_UNSUPPORTED, "llama.rope.scale_linear"},
        {"llama.rope.scaling.factor", "f32 2", FAM_STATUS_UNSUPPORTED, "llama.rope.scaling.factor"},
        {"llama.vocab_size", "u32 0", FAM_STATUS_BAD_FORMAT, "llama.vocab_size: found 0"},
        {"llama.vocab_size", "u32 11", FAM_STATUS_BAD_FORMAT, "llama.vocab_size: found 11"},
        {"llama.expert_count", "u32 8", FAM_STATUS_UNSUPPORTED, "llama.expert_count"},
        {"llama.attention.sliding_window", "u32 4096", FAM_STATUS_UNSUPPORTED, "llama.attention.sliding_window"},
        {"llama.attention.causal", "bool 0", FAM_STATUS_UNSUPPORTED, "llama.attention.causal: found false"},
        {"llama.logit_scale", "f32 2", FAM_STATUS_UNSUPPORTED, "llama.logit_scale"},
        {"llama.attention.scale", "f32 2", FAM_STATUS_UNSUPPORTED, "llama.attention.scale"},
        {"fam.mode", "string x", FAM_STATUS_BAD_FORMAT, "fam: mode: found \"x\""},
        {"fam.mode", "u32 1", FAM_STATUS_BAD_FORMAT, "fam: mode: found a number"},
        {"fam.block_size", "string 5", FAM_STATUS_BAD_FORMAT, "fam: block_size: found a string"},
        {"fam.block_size", "u32 0", FAM_STATUS_BAD_FORMAT, "fam: block_size: found 0"},
        {"fam.block_size", "f32 5", FAM_STATUS_BAD_FORMAT, "fam.block_size"},
        {"fam.blocks", "u32 5", FAM_STATUS_UNSUPPORTED, "fam: blocks"},
        {"fam.", "u32 5", FAM_STATUS_UNSUPPORTED, "fam: "},
        {"fam.prompt", "f32s 9", FAM_STATUS_BAD_FORMAT, "fam.prompt: found 9 numbers"},
        {"fam.prompt", "f32s 0", FAM_STATUS_BAD_FORMAT, "fam.prompt: found 0 numbers"},
        {"fam.prompt", "u8s 8", FAM_STATUS_BAD_FORMAT, "fam.prompt: found an array of another type"},
        {"fam.prompt", "f32 8", FAM_STATUS_BAD_FORMAT, "fam.prompt: found f32"},
    };
    const char *directory = scratch_make();
    fam_checkpoint *checkpoint;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gguf_writer writer;
        begin_gguf(&writer, rows[i].key, false);
        if (rows[i].value)
            put(&writer, rows[i].key, rows[i].value);
        const char *path = save_gguf(&writer, directory);
        model_expect_refusal(path, rows[i].status, rows[i].words, rows[i].key);
        bool odd =
            rows[i].status == FAM_STATUS_UNSUPPORTED && strncmp(rows[i].words, rows[i].key, strlen(rows[i].key)) == 0;
        if (odd && strncmp(rows[i].key, "llama.", 6) == 0) { /* what is refused by name can be ignored by name */
            assert_int_equal(model_open(path, rows[i].key, &checkpoint), FAM_OK);
            model_close(checkpoint);
        }
    }
    gguf_writer writer;
    begin_gguf(&writer, "", false);
    put(&writer, "fam.prompt", "f32s 8");
    put(&writer, "fam.fam_length", "u32 2");
    model_expect_refusal(save_gguf(&writer, directory), FAM_STATUS_MISMATCH, "need [2, 8]", "prompt rows");
    scratch_remove(directory);
}

static void wrong_gguf_tensors_are_refused(void **state)
{
    (void)state;
    static const float zeros[256];
    static const struct {
        const char *without, *name;
        uint32_t type;
        int n_dims;
        int64_t shape[2];
        size_t bytes;
        fam_status status;
        const char *words;
    } rows[] = {
        {"blk.1.ffn_up.weight", NULL, 0, 0, {0}, 0, FAM_STATUS_BAD_FORMAT, "tensor blk.1.ffn_up.weight: found nothing"},
        {"token_embd.weight", NULL, 0, 0, {0}, 0, FAM_STATUS_BAD_FORMAT, "tensor token_embd.weight: found nothing"},
        {"token_embd.weight",
         "token_embd.weight",
         0,
         1,
         {8},
         32,
         FAM_STATUS_BAD_FORMAT,
         "tensor token_embd.weight: found another shape"},
        {"output_norm.weight",
         "output_norm.weight",
         0,
         2,
         {1, 8},
         32,
         FAM_STATUS_BAD_FORMAT,
         "output_norm.weight: shape"},
        {"blk.0.attn_q.weight", "blk.0.attn_q.weight", 0, 2, {8, 4}, 128, FAM_STATUS_BAD_FORMAT, "need [8, 8]"},
        {"", "blk.0.attn_q.bias", 0, 1, {8}, 32, FAM_STATUS_UNSUPPORTED, "tensor blk.0.attn_q.bias"},
        {"", "blk.00.attn_q.weight", 0, 2, {8, 8}, 256, FAM_STATUS_UNSUPPORTED, "tensor blk.00.attn_q.weight"},
        {"", "blk.-1.attn_q.weight", 0, 2, {8, 8}, 256, FAM_STATUS_UNSUPPORTED, "tensor blk.-1.attn_q.weight"},
        {"", "blk.2.attn_q.weight", 0, 2, {8, 8}, 256, FAM_STATUS_UNSUPPORTED, "tensor blk.2.attn_q.weight"},
        {"", "blk.99999999999999999999.attn_q.weight", 0, 2, {8, 8}, 256, FAM_STATUS_UNSUPPORTED, "tensor blk.999"},
        {"", "fam.prompt", 0, 2, {3, 8}, 96, FAM_STATUS_UNSUPPORTED, "tensor fam.prompt"},
        {"",
         "rope_freqs.weight",
         0,
         1,
         {3},
         12,
         FAM_STATUS_BAD_FORMAT,
         "rope_freqs.weight: found F32 [3], need F32 [2]"},
        {"",
         "rope_freqs.weight",
         1,
         1,
         {2},
         4,
         FAM_STATUS_BAD_FORMAT,
         "rope_freqs.weight: found F16 [2], need F32 [2]"},
        {"", "rope_freqs.weight", 0, 1, {2}, 8, FAM_STATUS_BAD_FORMAT, "rope_freqs.weight: element 0: found 0"},
    };
    const char *directory = scratch_make();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gguf_writer writer;
        begin_gguf(&writer, rows[i].without, false);
        if (rows[i].name)
            gguf_writer_tensor(&writer, rows[i].name, rows[i].type, rows[i].n_dims, rows[i].shape, zeros,
                               rows[i].bytes);
        model_expect_refusal(save_gguf(&writer, directory), rows[i].status, rows[i].words, rows[i].words);
    }
    scratch_remove(directory);
}

static void rope_factors_of_a_gguf_file_are_handed_on(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    static const float factors[2] = {1.0f, 8.0f};
    const int64_t two = 2;
    gguf_writer writer;
    fam_checkpoint *checkpoint;
    uint8_t with[16], without[16];
    begin_gguf(&writer, "", false);
    assert_int_equal(model_open(save_gguf(&writer, directory), NULL, &checkpoint), FAM_OK);
    fam_checkpoint_fingerprint(checkpoint, without);
    model_close(checkpoint);
    begin_gguf(&writer, "", false);
    gguf_writer_tensor(&writer, "rope_freqs.weight", 0, 1, &two, factors, sizeof factors);
    assert_int_equal(model_open(save_gguf(&writer, directory), NULL, &checkpoint), FAM_OK);
    const fam_model_config *config = fam_checkpoint_config(checkpoint);
    assert_int_equal(config->rope_scaling, FAM_ROPE_DEFAULT);
    assert_memory_equal(config->rope_frequency_factors, factors, sizeof factors);
    assert_null(fam_checkpoint_tensor(checkpoint, "rope_freqs.weight"));
    fam_checkpoint_fingerprint(checkpoint, with);
    assert_memory_not_equal(with, without, 16);
    model_close(checkpoint);
    scratch_remove(directory);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    const int64_t two = 2;
    static const float factors[2] = {1.0f, 8.0f};
    gguf_writer writer;
    begin_gguf(&writer, "", false);
    gguf_writer_tensor(&writer, "rope_freqs.weight", 0, 1, &two, factors, sizeof factors);
    model_fail_each_allocation(save_gguf(&writer, directory));
    scratch_remove(directory);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_gguf_model_opens_under_hugging_face_names),
    cmocka_unit_test(wrong_gguf_keys_are_refused),
    cmocka_unit_test(wrong_gguf_tensors_are_refused),
    cmocka_unit_test(rope_factors_of_a_gguf_file_are_handed_on),
    cmocka_unit_test(every_failing_allocation_is_an_error),
};
SUITE_MAIN(tests)
