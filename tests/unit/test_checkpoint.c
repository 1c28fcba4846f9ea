/*
 * Format room: models on disk. A tiny model is written and spoiled in one place at a time; every fixture and golden
 * case opens.
 */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fam/modes.h"
#include "format/adapter.h"
#include "model_checks.h"
#include "scratch.h"
#include "suite.h"
#include "tiny_model.h"

/* ---- config.json ------------------------------------------------------------------------------------------------- */

static void a_directory_opens_with_the_defaults_of_its_family(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    fam_checkpoint *checkpoint;
    tiny_model_write(directory, "", false);
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    assert_string_equal(model_warnings, "");
    const fam_model_config *config = fam_checkpoint_config(checkpoint);
    assert_string_equal(config->family, "llama");
    assert_int_equal(config->vocab_size, TINY_V);
    assert_int_equal(config->hidden_size, TINY_E);
    assert_int_equal(config->intermediate_size, TINY_I);
    assert_int_equal(config->layers, TINY_L);
    assert_int_equal(config->heads, TINY_H);
    assert_int_equal(config->kv_heads, TINY_G);
    assert_int_equal(config->head_dim, TINY_D);
    assert_true(config->rope_theta == 10000.0);
    assert_true(config->rms_norm_eps == 1e-6);
    assert_false(config->tied_embeddings);
    assert_int_equal(config->context_length, 2048);
    assert_int_equal(config->rope_scaling, FAM_ROPE_DEFAULT);
    assert_null(config->rope_frequency_factors);
    const fam_settings *settings = fam_checkpoint_settings(checkpoint);
    assert_true(settings->mode == -1 && settings->block_size == -1 && settings->memory_segments == -1);
    assert_true(settings->fam_length == -1 && settings->window == -1 && settings->state_norm == -1);
    assert_int_equal(settings->fam_positions, -1);
    assert_false(fam_checkpoint_permuted(checkpoint));
    assert_null(fam_checkpoint_gguf(checkpoint));
    assert_int_equal(fam_checkpoint_container(checkpoint), FAM_CONTAINER_HF);
    const fam_tensor *down = fam_checkpoint_tensor(checkpoint, "model.layers.1.mlp.down_proj.weight");
    assert_int_equal(down->shape[0], TINY_E);
    assert_int_equal(down->shape[1], TINY_I);
    assert_null(fam_checkpoint_tensor(checkpoint, "model.layers.2.mlp.down_proj.weight"));
    assert_null(fam_checkpoint_tensor(checkpoint, "fam.prompt"));
    assert_string_equal(fam_checkpoint_tensor_at(checkpoint, 0)->name, "model.embed_tokens.weight");
    assert_string_equal(fam_checkpoint_tensor_at(checkpoint, 9 * TINY_L + 2)->name, "lm_head.weight");
    assert_null(fam_checkpoint_tensor_at(checkpoint, 9 * TINY_L + 3));
    model_close(checkpoint);
    scratch_remove(directory);
}

static void keys_that_matter_are_read(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    fam_checkpoint *checkpoint;
    tiny_model_write(directory,
                     ", \"head_dim\": 4, \"rms_norm_eps\": 1e-3, \"tie_word_embeddings\": true, "
                     "\"max_position_embeddings\": 77, \"rope_theta\": 500, \"hidden_act\": \"silu\", "
                     "\"attention_bias\": false, \"pretraining_tp\": 1, \"torch_dtype\": \"float32\", "
                     "\"quantization_config\": null, \"unheard_of\": null, "
                     "\"rope_scaling\": {\"type\": \"llama3\", \"rope_type\": \"llama3\", \"factor\": 8, "
                     "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 33}, "
                     "\"fam\": {\"mode\": \"bswa\", \"block_size\": 5, \"memory_segments\": 0, \"fam_length\": 3, "
                     "\"state_norm\": \"rms_init\", \"fam_positions\": \"float\", \"window\": 9}",
                     true);
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    const fam_model_config *config = fam_checkpoint_config(checkpoint);
    assert_true(config->rms_norm_eps == 1e-3);
    assert_true(config->tied_embeddings);
    assert_int_equal(config->context_length, 77);
    assert_true(config->rope_theta == 500);
    assert_int_equal(config->rope_scaling, FAM_ROPE_LLAMA3);
    assert_true(config->rope_factor == 8 && config->rope_low_freq_factor == 1 && config->rope_high_freq_factor == 4);
    assert_int_equal(config->rope_original_context, 33);
    const fam_settings *settings = fam_checkpoint_settings(checkpoint);
    assert_int_equal(settings->mode, FAM_MODE_BSWA);
    assert_int_equal(settings->block_size, 5);
    assert_int_equal(settings->memory_segments, 0);
    assert_int_equal(settings->fam_length, 3);
    assert_int_equal(settings->state_norm, FAM_STATE_NORM_RMS_INIT);
    assert_int_equal(settings->fam_positions, FAM_POSITIONS_FLOAT);
    assert_int_equal(settings->window, 9);
    assert_null(fam_checkpoint_tensor(checkpoint, "lm_head.weight"));
    model_close(checkpoint);
    scratch_write_text(directory, "config.json",
                       tiny_config(", \"tie_word_embeddings\": true, \"rope_parameters\": {\"rope_type\": \"default\", "
                                   "\"rope_theta\": 123.5}"));
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    assert_true(fam_checkpoint_config(checkpoint)->rope_theta == 123.5);
    assert_int_equal(fam_checkpoint_config(checkpoint)->rope_scaling, FAM_ROPE_DEFAULT);
    model_close(checkpoint);
    /* as in transformers, without an original length it is the model's own */
    scratch_write_text(directory, "config.json",
                       tiny_config(", \"tie_word_embeddings\": true, \"rope_parameters\": {\"rope_type\": \"llama3\", "
                                   "\"factor\": 2, \"low_freq_factor\": 1, \"high_freq_factor\": 2}"));
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    assert_int_equal(fam_checkpoint_config(checkpoint)->rope_original_context, 2048);
    model_close(checkpoint);
    scratch_remove(directory);
}

#define LLAMA3(more) ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1" more "}"

static void keys_that_change_the_result_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        fam_status status;
        const char *words;
    } rows[] = {
        {", \"attention_bias\": true", FAM_STATUS_UNSUPPORTED, "attention_bias: found true"},
        {", \"mlp_bias\": true", FAM_STATUS_UNSUPPORTED, "mlp_bias: found true"},
        {", \"mlp_bias\": 1", FAM_STATUS_UNSUPPORTED, "mlp_bias: found 1"},
        {", \"hidden_act\": \"gelu\"", FAM_STATUS_UNSUPPORTED, "hidden_act: found \"gelu\""},
        {", \"pretraining_tp\": 2", FAM_STATUS_UNSUPPORTED, "pretraining_tp: found 2"},
        {", \"quantization_config\": {\"bits\": 4}", FAM_STATUS_UNSUPPORTED, "quantization_config: found an object"},
        {", \"rope_interleaved\": true", FAM_STATUS_UNSUPPORTED, "rope_interleaved"},
        {", \"partial_rotary_factor\": 0.5", FAM_STATUS_UNSUPPORTED, "partial_rotary_factor"},
        {", \"auto_map\": {\"AutoModel\": \"x.Y\"}", FAM_STATUS_UNSUPPORTED, "auto_map"},
        {", \"sliding_window\": 4096", FAM_STATUS_UNSUPPORTED, "sliding_window: found 4096"},
        {", \"unheard_of\": false", FAM_STATUS_UNSUPPORTED, "unheard_of: found false"},
        {", \"logits_scaling\": 2.0", FAM_STATUS_UNSUPPORTED, "logits_scaling"},
        {", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}", FAM_STATUS_UNSUPPORTED,
         "rope_type: found \"linear\""},
        {", \"rope_parameters\": {\"rope_type\": \"yarn\"}", FAM_STATUS_UNSUPPORTED, "rope_type: found \"yarn\""},
        {", \"rope_scaling\": {\"factor\": 2.0}", FAM_STATUS_UNSUPPORTED, "rope_scaling: factor: found"},
        {", \"rope_scaling\": {\"rope_type\": \"default\", \"mrope_section\": [1]}", FAM_STATUS_UNSUPPORTED,
         "mrope_section"},
        {", \"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}", FAM_STATUS_UNSUPPORTED,
         "partial_rotary_factor"},
        {", \"rope_scaling\": {\"rope_type\": \"llama3\", \"type\": \"default\"}", FAM_STATUS_BAD_FORMAT, "rope_type"},
        {", \"rope_scaling\": {\"rope_type\": \"default\"}, \"rope_parameters\": {\"rope_type\": \"default\", "
         "\"rope_theta\": 5}",
         FAM_STATUS_BAD_FORMAT, "rope_parameters"},
        {", \"rope_theta\": 5, \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 6}",
         FAM_STATUS_BAD_FORMAT, "rope_theta: found 6"},
        {", \"rope_scaling\": 2", FAM_STATUS_BAD_FORMAT, "rope_scaling: found 2"},
        {LLAMA3(""), FAM_STATUS_BAD_FORMAT, "high_freq_factor: found nothing"},
        {LLAMA3(", \"high_freq_factor\": 1"), FAM_STATUS_BAD_FORMAT, "high_freq_factor: found 1"},
        {LLAMA3(", \"high_freq_factor\": -4"), FAM_STATUS_BAD_FORMAT, "high_freq_factor: found -4"},
        {LLAMA3(", \"high_freq_factor\": 4, \"original_max_position_embeddings\": 0"), FAM_STATUS_BAD_FORMAT,
         "original"},
        {LLAMA3(", \"high_freq_factor\": 4, \"attention_factor\": 2"), FAM_STATUS_UNSUPPORTED, "attention_factor"},
        {", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 0.5, \"low_freq_factor\": 1, "
         "\"high_freq_factor\": 4}",
         FAM_STATUS_BAD_FORMAT, "factor: found 0.5"},
        {", \"head_dim\": 3", FAM_STATUS_BAD_FORMAT, "head size: found 3"},
        {", \"head_dim\": 0", FAM_STATUS_BAD_FORMAT, "head_dim: found 0"},
        {", \"head_dim\": 6", FAM_STATUS_BAD_FORMAT, "self_attn.q_proj.weight: shape: found [8, 8], need [12, 8]"},
        {", \"rms_norm_eps\": 0", FAM_STATUS_BAD_FORMAT, "rms_norm_eps: found 0"},
        {", \"rms_norm_eps\": -1e-5", FAM_STATUS_BAD_FORMAT, "rms_norm_eps: found -1e-05"},
        {", \"rope_theta\": 0", FAM_STATUS_BAD_FORMAT, "rope_theta: found 0"},
        {", \"rope_theta\": \"10000\"", FAM_STATUS_BAD_FORMAT, "rope_theta: found \"10000\""},
        {", \"max_position_embeddings\": 0", FAM_STATUS_BAD_FORMAT, "max_position_embeddings: found 0"},
        {", \"max_position_embeddings\": 2048.0", FAM_STATUS_BAD_FORMAT,
         "max_position_embeddings: found the real number"},
        {", \"tie_word_embeddings\": 1", FAM_STATUS_BAD_FORMAT, "tie_word_embeddings: found 1"},
        {", \"fam\": []", FAM_STATUS_BAD_FORMAT, "fam: found an array"},
        {", \"fam\": {\"mode\": \"fam2\"}", FAM_STATUS_BAD_FORMAT, "fam: mode: found \"fam2\""},
        {", \"fam\": {\"mode\": 3}", FAM_STATUS_BAD_FORMAT, "fam: mode: found a number"},
        {", \"fam\": {\"block_size\": 0}", FAM_STATUS_BAD_FORMAT, "fam: block_size: found 0"},
        {", \"fam\": {\"block_size\": 2147483649}", FAM_STATUS_BAD_FORMAT, "fam: block_size: found 2147483649"},
        {", \"fam\": {\"block_size\": 1.5}", FAM_STATUS_BAD_FORMAT, "fam: block_size: found the real number"},
        {", \"fam\": {\"block_size\": \"5\"}", FAM_STATUS_BAD_FORMAT, "fam: block_size: found a string"},
        {", \"fam\": {\"memory_segments\": -1}", FAM_STATUS_BAD_FORMAT, "fam: memory_segments: found -1"},
        {", \"fam\": {\"memory_segments\": 1048577}", FAM_STATUS_BAD_FORMAT, "fam: memory_segments: found 1048577"},
        {", \"fam\": {\"fam_length\": 0}", FAM_STATUS_BAD_FORMAT, "fam: fam_length"},
        {", \"fam\": {\"window\": 0}", FAM_STATUS_BAD_FORMAT, "fam: window"},
        {", \"fam\": {\"state_norm\": \"l2\"}", FAM_STATUS_BAD_FORMAT,
         "fam: state_norm: found \"l2\", need none, rms, rms_init"},
        {", \"fam\": {\"blocksize\": 5}", FAM_STATUS_UNSUPPORTED, "fam: blocksize"},
        {", \"fam\": {\"blocksize\": null}", FAM_STATUS_UNSUPPORTED, "fam: blocksize"},
        {", \"vocab_size\": 5", FAM_STATUS_BAD_FORMAT, "duplicate"},
    };
    const char *directory = scratch_make();
    tiny_model_write(directory, "", false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        scratch_write_text(directory, "config.json", tiny_config(rows[i].more));
        model_expect_refusal(directory, rows[i].status, rows[i].words, rows[i].more);
    }
    scratch_remove(directory);
}

static void wrong_sizes_in_a_config_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } rows[] = {
        {"\"vocab_size\": 10", "\"vocab_size\": 0", "vocab_size: found 0"},
        {"\"vocab_size\": 10", "\"vocab_size\": 16777217", "vocab_size: found 16777217"},
        {"\"vocab_size\": 10", "\"vocab_size\": 11", "embed_tokens.weight: shape: found [10, 8], need [11, 8]"},
        {"\"vocab_size\": 10", "\"vocab_size\": -10", "vocab_size: found -10"},
        {"\"hidden_size\": 8", "\"hidden_size\": 9", "num_attention_heads: found 2, need a divisor"},
        {"\"hidden_size\": 8", "\"hidden_size\": \"8\"", "hidden_size: found \"8\""},
        {"\"hidden_size\": 8", "\"hidden\": 8, \"hidden_size\": null", "hidden: found 8"},
        {"\"hidden_size\": 8", "\"hidden_size\": null", "hidden_size: found null"},
        {"\"intermediate_size\": 12", "\"intermediate_size\": 13",
         "mlp.gate_proj.weight: shape: found [12, 8], need [13, 8]"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "model.layers.2.input_layernorm.weight: found nothing"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "model.layers.1."},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", "num_hidden_layers: found 0"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1025", "num_hidden_layers: found 1025"},
        {"\"num_attention_heads\": 2", "\"num_attention_heads\": 0", "num_attention_heads: found 0"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 0", "num_key_value_heads: found 0"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3", "key/value heads: found 3"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": 2", "k_proj.weight: shape: found [4, 8], need [8, 8]"},
        {"\"num_key_value_heads\": 1", "\"num_key_value_heads\": null", "k_proj.weight: shape"},
        {"\"model_type\": \"llama\"", "\"model_type\": \"qwen2\"", "model_type: found \"qwen2\", need llama"},
        {"\"model_type\": \"llama\"", "\"model_kind\": \"llama\"", "model_type: found nothing"},
        {"LlamaForCausalLM", "LlamaForSequenceClassification", "architectures: found"},
        {"{\"arch", "[{\"arch", "not JSON"},
    };
    const char *directory = scratch_make();
    tiny_model_write(directory, "", false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[4096];
        const char *config = tiny_config(""), *place = strstr(config, rows[i].from);
        assert_non_null(place);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - config), config, rows[i].to,
                 place + strlen(rows[i].from));
        scratch_write_text(directory, "config.json", text);
        fam_checkpoint *checkpoint;
        fam_status status = model_open(directory, NULL, &checkpoint);
        if ((status != FAM_STATUS_BAD_FORMAT && status != FAM_STATUS_UNSUPPORTED) ||
            !strstr(model_error.message, rows[i].words))
            fail_msg("%s: status %d: %s", rows[i].to, status, status ? model_error.message : "");
        assert_int_equal(model_memory.bytes, 0);
    }
    scratch_remove(directory);
}

static void ignored_keys_count_as_absent(void **state)
{
    (void)state;
    static const struct {
        const char *more, *ignored;
    } rows[] = {
        {", \"unheard_of\": {\"a\": 1}", "unheard_of"},
        {", \"quantization_config\": {\"bits\": 4}", "quantization_config"},
        {", \"rope_scaling\": {\"type\": \"yarn\"}", "rope_scaling"},
        {", \"rope_scaling\": {\"type\": \"default\", \"factor\": 2.0}", "rope_scaling.factor"},
        {", \"fam\": {\"more\": 2.0}", "fam.more"},
        {", \"with.point\": 1", "with.point"},
    };
    const char *directory = scratch_make();
    fam_checkpoint *checkpoint;
    tiny_model_write(directory, "", false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        scratch_write_text(directory, "config.json", tiny_config(rows[i].more));
        assert_int_equal(model_open(directory, "other.key", &checkpoint), FAM_STATUS_UNSUPPORTED);
        if (model_open(directory, rows[i].ignored, &checkpoint) != FAM_OK)
            fail_msg("%s: %s", rows[i].ignored, model_error.message);
        model_close(checkpoint);
    }
    scratch_remove(directory);
}

/* ---- tensors of a directory -------------------------------------------------------------------------------------- */

static void tensors_must_be_those_that_the_config_calls_for(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    fam_checkpoint *checkpoint;
    tiny_list list;
    scratch_write_text(directory, "config.json", tiny_config(""));
    tiny_list_begin(&list);
    tiny_list_add_model(&list, false);
    tiny_list_remove(&list, "model.layers.1.mlp.up_proj.weight");
    tiny_list_write(&list, directory, "model.safetensors");
    model_expect_refusal(directory, FAM_STATUS_BAD_FORMAT,
                         "tensor model.layers.1.mlp.up_proj.weight: found nothing, need [12, 8]", "missing");

    tiny_list_add(&list, "model.layers.1.mlp.up_proj.weight", TINY_I, TINY_E);
    tiny_list_add(&list, "model.layers.0.self_attn.q_proj.bias", 0, 8);
    tiny_list_write(&list, directory, "model.safetensors");
    model_expect_refusal(directory, FAM_STATUS_UNSUPPORTED, "model.layers.0.self_attn.q_proj.bias", "bias");
    tiny_list_remove(&list, "model.layers.0.self_attn.q_proj.bias");

    tiny_list_add(&list, "model.layers.00.mlp.up_proj.weight", TINY_I, TINY_E);
    tiny_list_write(&list, directory, "model.safetensors");
    model_expect_refusal(directory, FAM_STATUS_UNSUPPORTED, "model.layers.00.mlp.up_proj.weight", "odd number");
    tiny_list_remove(&list, "model.layers.00.mlp.up_proj.weight");

    fam_tensor *norm = tiny_list_find(&list, "model.norm.weight");
    norm->n_dims = 2;
    norm->shape[0] = 1;
    norm->shape[1] = 8;
    tiny_list_write(&list, directory, "model.safetensors");
    model_expect_refusal(directory, FAM_STATUS_BAD_FORMAT, "tensor model.norm.weight: shape: found [1, 8], need [8]",
                         "dims");
    norm->n_dims = 1;
    norm->shape[0] = 8;

    tiny_list_add(&list, "model.layers.0.self_attn.rotary_emb.inv_freq", 0, 2);
    tiny_list_write(&list, directory, "model.safetensors");
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    assert_non_null(strstr(model_warnings, "inv_freq: not used"));
    model_close(checkpoint);

    scratch_write_text(directory, "config.json", tiny_config(", \"tie_word_embeddings\": true"));
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    assert_non_null(strstr(model_warnings, "lm_head.weight: not used"));
    assert_null(fam_checkpoint_tensor(checkpoint, "lm_head.weight"));
    model_close(checkpoint);

    scratch_write_text(directory, "config.json", tiny_config(""));
    tiny_list_remove(&list, "lm_head.weight");
    tiny_list_write(&list, directory, "model.safetensors");
    model_expect_refusal(directory, FAM_STATUS_BAD_FORMAT, "tensor lm_head.weight: found nothing", "not tied");
    scratch_remove(directory);
}

static void types_that_are_not_implemented_are_named(void **state)
{
    (void)state;
    static const char end[] = "\"dtype\":\"F32\",\"shape\":[10,8]";
    const char *directory = scratch_make(), *path = scratch_path(directory, "model.safetensors");
    tiny_model_write(directory, "", false);
    FILE *file = fopen(path, "r+b");
    static char text[65536];
    size_t size = fread(text, 1, sizeof text, file);
    char *place = memmem(text, size, end, sizeof end - 1);
    assert_non_null(place);
    memcpy(place, "\"dtype\":\"I32\"", 13);
    rewind(file);
    fwrite(text, 1, size, file);
    fclose(file);
    model_expect_refusal(directory, FAM_STATUS_UNSUPPORTED,
                         "model.embed_tokens.weight: type: found I32 of 2 dimensions", "I32");
    scratch_remove(directory);
}

static void a_prompt_has_the_width_of_the_model_and_the_rows_of_its_setting(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    fam_checkpoint *checkpoint;
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add_model(&list, false);
    tiny_list_add(&list, "fam.prompt", 3, TINY_E);
    tiny_list_write(&list, directory, "model.safetensors");
    scratch_write_text(directory, "config.json", tiny_config(", \"fam\": {\"mode\": \"fam\"}"));
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    assert_int_equal(fam_checkpoint_tensor(checkpoint, "fam.prompt")->shape[0], 3);
    assert_string_equal(fam_checkpoint_tensor_at(checkpoint, 9 * TINY_L + 3)->name, "fam.prompt");
    model_close(checkpoint);
    scratch_write_text(directory, "config.json", tiny_config(", \"fam\": {\"fam_length\": 4}"));
    model_expect_refusal(directory, FAM_STATUS_MISMATCH, "fam.prompt: shape: found [3, 8], need [4, 8]", "rows");
    scratch_write_text(directory, "config.json", tiny_config(""));
    tiny_list_remove(&list, "fam.prompt");
    tiny_list_add(&list, "fam.prompt", 3, TINY_E + 1);
    tiny_list_write(&list, directory, "model.safetensors");
    model_expect_refusal(directory, FAM_STATUS_MISMATCH, "fam.prompt: shape: found [3, 9]", "width");
    scratch_remove(directory);
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

/* Two shards: layer 0 and what is outside the layers; layer 1. Returns an index text that is right. */
static char *write_shards(const char *directory)
{
    static char text[8192];
    tiny_list all, parts[2];
    tiny_list_begin(&all);
    tiny_list_begin(&parts[0]);
    tiny_list_begin(&parts[1]);
    tiny_list_add_model(&all, false);
    size_t total = 0, at = 0;
    char map[8192] = "";
    for (int i = 0; i < all.count; i++) {
        int part = strstr(all.tensors[i].name, "layers.1") != NULL;
        parts[part].tensors[parts[part].count++] = all.tensors[i];
        total += all.tensors[i].bytes;
        at += (size_t)snprintf(map + at, sizeof map - at, "%s\"%s\": \"part%d.safetensors\"", i ? ", " : "",
                               all.tensors[i].name, part);
    }
    tiny_list_write(&parts[0], directory, "part0.safetensors");
    tiny_list_write(&parts[1], directory, "part1.safetensors");
    snprintf(text, sizeof text, "{\"metadata\": {\"total_size\": %zu}, \"weight_map\": {%s}}", total, map);
    scratch_write_text(directory, "config.json", tiny_config(""));
    scratch_write_text(directory, "model.safetensors.index.json", text);
    return text;
}

static void shards_open_as_one_model(void **state)
{
    (void)state;
    const char *directory = scratch_make(), *single = scratch_make();
    fam_checkpoint *checkpoint;
    uint8_t a[16], b[16];
    tiny_model_write(single, "", false);
    assert_int_equal(model_open(single, NULL, &checkpoint), FAM_OK);
    fam_checkpoint_fingerprint(checkpoint, a);
    model_close(checkpoint);
    write_shards(directory);
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    fam_checkpoint_fingerprint(checkpoint, b);
    assert_memory_equal(a, b, 16);
    model_close(checkpoint);
    scratch_remove(directory);
    scratch_remove(single);
}

static void wrong_shard_indices_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        fam_status status;
        const char *words;
    } rows[] = {
        {"part1.safetensors", "../part1.safetensors", FAM_STATUS_BAD_FORMAT,
         "weight_map: model.layers.1.input_layernorm.weight: found \"../part1"},
        {"part1.safetensors", "/etc/part1.safetensors", FAM_STATUS_BAD_FORMAT, "found \"/etc"},
        {"part1.safetensors", "a/part1.safetensors", FAM_STATUS_BAD_FORMAT, "found \"a/part1"},
        {"part1.safetensors", "..", FAM_STATUS_BAD_FORMAT, "found \"..\""},
        {"part1.safetensors", "part1.bin", FAM_STATUS_BAD_FORMAT, "found \"part1.bin\""},
        {"part1.safetensors", "", FAM_STATUS_BAD_FORMAT, "found \"\""},
        {"part1.safetensors", ".safetensors", FAM_STATUS_BAD_FORMAT, "found \".safetensors\""},
        {"part1.safetensors", "part2.safetensors", FAM_STATUS_NOT_FOUND, "part2.safetensors"},
        {"part1.safetensors", "part0.safetensors", FAM_STATUS_BAD_FORMAT,
         "found part0.safetensors, need \"part1.safetensors\", which has it"},
        {"\"part1.safetensors\"", "1", FAM_STATUS_BAD_FORMAT, "found 1"},
        {"model.layers.1.input_layernorm.weight", "model.layers.1.input.weight", FAM_STATUS_BAD_FORMAT,
         "found nothing, need \"part1"},
        {"{\"model.embed", "{\"more\": \"part0.safetensors\", \"model.embed", FAM_STATUS_BAD_FORMAT,
         "more: found no such tensor"},
        {"total_size\": ", "total_size\": 1", FAM_STATUS_BAD_FORMAT, "total_size: found 1"},
        {"total_size\": ", "total_size\": \"x\", \"y\": ", FAM_STATUS_BAD_FORMAT, "total_size: found \"x\""},
        {"total_size\": ", "total_size\": -1, \"y\": ", FAM_STATUS_BAD_FORMAT, "total_size: found -1"},
        {"\"weight_map\"", "\"weights\"", FAM_STATUS_BAD_FORMAT, "weight_map: found nothing"},
        {"\"weight_map\"", "\"weight_map\": {}, \"x\"", FAM_STATUS_BAD_FORMAT, "weight_map: found no tensors"},
        {"\"weight_map\"", "\"weight_map\": [], \"x\"", FAM_STATUS_BAD_FORMAT, "weight_map: found an array"},
        {"{\"metadata\"", "[{\"metadata\"", FAM_STATUS_BAD_FORMAT, "not JSON"},
    };
    const char *directory = scratch_make();
    char *index = write_shards(directory), text[16384];
    fam_checkpoint *checkpoint;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *place = strstr(index, rows[i].from);
        assert_non_null(place);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - index), index, rows[i].to, place + strlen(rows[i].from));
        scratch_write_text(directory, "model.safetensors.index.json", text);
        model_expect_refusal(directory, rows[i].status, rows[i].words, rows[i].to);
        if (strstr(rows[i].from, "total_size")) {
            assert_int_equal(model_open(directory, "total_size", &checkpoint), FAM_OK);
            model_close(checkpoint);
        }
    }
    scratch_remove(directory);
}

/* ---- paths ------------------------------------------------------------------------------------------------------- */

static void paths_that_are_no_models_get_advice(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    model_expect_refusal("HuggingFaceTB/SmolLM2-135M", FAM_STATUS_NOT_FOUND, "hf download HuggingFaceTB/SmolLM2-135M",
                         "hub");
    model_expect_refusal("/nonexistent/model", FAM_STATUS_NOT_FOUND, "need a model directory or a GGUF file", "absent");
    model_expect_refusal("", FAM_STATUS_NOT_FOUND, "need a model directory", "empty");
    model_expect_refusal(directory, FAM_STATUS_NOT_FOUND, "found no config.json", "empty directory");
    scratch_write_text(directory, "pytorch_model.bin", "x");
    model_expect_refusal(directory, FAM_STATUS_UNSUPPORTED,
                         "found pytorch_model.bin, need model.safetensors: convert it", "bin");
    scratch_write_text(directory, "config.json", tiny_config(""));
    model_expect_refusal(directory, FAM_STATUS_UNSUPPORTED, "convert it", "bin and config");
    char path[1024];
    static const char *const names[] = {"pytorch_model.bin", "m.pt", "m.onnx", "model.safetensors", "config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s", scratch_path(directory, names[i]));
        scratch_write_text(directory, names[i], "{}");
        model_expect_refusal(path, FAM_STATUS_UNSUPPORTED, "give the", names[i]);
    }
    snprintf(path, sizeof path, "%s", scratch_path(directory, "m.gguf"));
    scratch_write_text(directory, "m.gguf", "");
    model_expect_refusal(path, FAM_STATUS_BAD_FORMAT, "GGUF", "empty file");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    model_expect_refusal(path, FAM_STATUS_IO, "regular file", "FIFO");
    unlink(path);
    assert_int_equal(symlink("m.gguf", path), 0);
    model_expect_refusal(path, FAM_STATUS_IO, "", "link to itself");
    unlink(scratch_path(directory, "model.safetensors"));
    unlink(scratch_path(directory, "pytorch_model.bin"));
    model_expect_refusal(directory, FAM_STATUS_NOT_FOUND, "found no weights", "config only");
    scratch_remove(directory);
}

/* ---- fingerprints, memory ---------------------------------------------------------------------------------------- */

static void fingerprint(const char *directory, uint8_t out[16])
{
    fam_checkpoint *checkpoint;
    assert_int_equal(model_open(directory, NULL, &checkpoint), FAM_OK);
    fam_checkpoint_fingerprint(checkpoint, out);
    model_close(checkpoint);
}

static void fingerprints_tell_models_apart_and_nothing_else(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    uint8_t first[16], again[16];
    tiny_list list;
    tiny_model_write(directory, "", false);
    fingerprint(directory, first);
    scratch_write_text(
        directory, "config.json",
        tiny_config(", \"torch_dtype\": \"float16\", \"fam\": {\"mode\": \"swa\"}, \"max_position_embeddings\": 2048"));
    fingerprint(directory, again);
    assert_memory_equal(first, again, 16);
    scratch_write_text(directory, "config.json", tiny_config(", \"rope_theta\": 10001"));
    fingerprint(directory, again);
    assert_memory_not_equal(first, again, 16);
    scratch_write_text(directory, "config.json", tiny_config(""));
    tiny_list_begin(&list);
    tiny_list_add_model(&list, false);
    uint8_t changed[TINY_V * TINY_E * 4];
    fam_tensor *head = tiny_list_find(&list, "lm_head.weight");
    memcpy(changed, head->data, sizeof changed);
    changed[sizeof changed - 1] ^= 1;
    head->data = changed;
    tiny_list_write(&list, directory, "model.safetensors");
    fingerprint(directory, again);
    assert_memory_not_equal(first, again, 16);
    scratch_remove(directory);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    const char *directory = scratch_make(), *sharded = scratch_make();
    tiny_model_write(directory, "", false);
    model_fail_each_allocation(directory);
    write_shards(sharded);
    model_fail_each_allocation(sharded);
    scratch_remove(directory);
    scratch_remove(sharded);
}

/* ---- what others made -------------------------------------------------------------------------------------------- */

/* Opens all models of a folder (directories with config.json, and *.gguf) with their adapter/ if there is one. */
static int open_all(const char *folder)
{
    DIR *listing = opendir(folder);
    int opened = 0;
    if (!listing)
        return 0;
    for (struct dirent *entry; (entry = readdir(listing));) {
        char path[2048], inside[2100];
        fam_checkpoint *checkpoint;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        snprintf(inside, sizeof inside, "%s/config.json", path);
        bool gguf = strlen(path) > 5 && strcmp(path + strlen(path) - 5, ".gguf") == 0;
        if (entry->d_name[0] == '.' || (!gguf && access(inside, F_OK) != 0))
            continue;
        if (model_open(path, NULL, &checkpoint) != FAM_OK)
            fail_msg("%s: %s", path, model_error.message);
        snprintf(inside, sizeof inside, "%s/adapter", path);
        if (access(inside, F_OK) == 0) {
            fam_adapter *adapter;
            if (fam_adapter_open(&adapter, &model_memory, inside, fam_checkpoint_config(checkpoint), &model_error) !=
                FAM_OK)
                fail_msg("%s: %s", inside, model_error.message);
            assert_non_null(fam_adapter_prompt(adapter));
            assert_true(fam_adapter_lora_count(adapter) > 0);
            fam_adapter_free(adapter);
        }
        model_close(checkpoint);
        opened++;
    }
    closedir(listing);
    return opened;
}

static void golden_cases_open_with_their_adapters(void **state)
{
    (void)state;
    int count = open_all(suite_path("tests/golden"));
    if (count == 0) {
        print_message("skipped: there are no cases in tests/golden\n");
        skip();
    }
    assert_true(count >= 18);
}

static void models_of_transformers_and_gguf_open(void **state)
{
    (void)state;
    int count = open_all(suite_path("tests/fixtures/tiny_llama"));
    if (count == 0) {
        print_message("skipped: there is nothing in tests/fixtures/tiny_llama\n");
        skip();
    }
    assert_true(count >= 15);
    fam_checkpoint *checkpoint;
    assert_int_equal(model_open(suite_path("tests/fixtures/tiny_llama/llama3_rope"), NULL, &checkpoint), FAM_OK);
    const fam_model_config config = *fam_checkpoint_config(checkpoint);
    model_close(checkpoint);
    assert_int_equal(model_open(suite_path("tests/fixtures/tiny_llama/gguf-llama3_rope.gguf"), NULL, &checkpoint),
                     FAM_OK);
    /* the GGUF file's factors are those that the other model's parameters give */
    const float *factors = fam_checkpoint_config(checkpoint)->rope_frequency_factors;
    assert_non_null(factors);
    for (int64_t i = 0; i < config.head_dim / 2; i++) {
        double frequency = pow(config.rope_theta, -(double)i / (double)(config.head_dim / 2));
        double turns = (double)config.rope_original_context * frequency / (2 * acos(-1.0));
        double smooth =
            (turns - config.rope_low_freq_factor) / (config.rope_high_freq_factor - config.rope_low_freq_factor);
        smooth = smooth < 0 ? 0 : smooth > 1 ? 1 : smooth;
        double factor = 1 / ((1 - smooth) / config.rope_factor + smooth);
        assert_true(fabs(factors[i] - factor) < 1e-5 * factor);
    }
    model_close(checkpoint);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_directory_opens_with_the_defaults_of_its_family),
    cmocka_unit_test(keys_that_matter_are_read),
    cmocka_unit_test(keys_that_change_the_result_are_refused_by_name),
    cmocka_unit_test(wrong_sizes_in_a_config_are_refused),
    cmocka_unit_test(ignored_keys_count_as_absent),
    cmocka_unit_test(tensors_must_be_those_that_the_config_calls_for),
    cmocka_unit_test(types_that_are_not_implemented_are_named),
    cmocka_unit_test(a_prompt_has_the_width_of_the_model_and_the_rows_of_its_setting),
    cmocka_unit_test(shards_open_as_one_model),
    cmocka_unit_test(wrong_shard_indices_are_refused),
    cmocka_unit_test(paths_that_are_no_models_get_advice),
    cmocka_unit_test(fingerprints_tell_models_apart_and_nothing_else),
    cmocka_unit_test(every_failing_allocation_is_an_error),
    cmocka_unit_test(golden_cases_open_with_their_adapters),
    cmocka_unit_test(models_of_transformers_and_gguf_open),
};
SUITE_MAIN(tests)
