/*
 * Format room: adapters. A right one is written for the tiny model and spoiled in one place at a time.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fam/modes.h"
#include "format/adapter.h"
#include "scratch.h"
#include "suite.h"
#include "tiny_model.h"

static fam_error error;
static fam_memory memory;

static const fam_model_config base = {
    .family = "llama",
    .vocab_size = TINY_V,
    .hidden_size = TINY_E,
    .intermediate_size = TINY_I,
    .layers = TINY_L,
    .heads = TINY_H,
    .kv_heads = TINY_G,
    .head_dim = TINY_D,
};

static const char peft[] =
    "{\"peft_type\": \"LORA\", \"task_type\": \"CAUSAL_LM\", \"r\": 2, \"lora_alpha\": 5, \"lora_dropout\": 0.1, "
    "\"bias\": "
    "\"none\", \"use_rslora\": false, \"use_dora\": false, \"fan_in_fan_out\": false, \"modules_to_save\": null, "
    "\"rank_pattern\": {}, \"init_lora_weights\": true, \"qalora_group_size\": 16, \"megatron_core\": "
    "\"megatron.core\", "
    "\"target_modules\": [\"q_proj\", \"mlp.down_proj\"]}";

static const char *const two_modules[] = {"self_attn.q_proj", "mlp.down_proj", NULL};

static void write_prompt(const char *directory, int64_t rows, int64_t columns)
{
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add(&list, "fam.prompt", rows, columns);
    tiny_list_write(&list, directory, "fam_prompt.safetensors");
}

static void write_lora(const char *directory)
{
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add_lora(&list, two_modules);
    tiny_list_write(&list, directory, "adapter_model.safetensors");
    scratch_write_text(directory, "adapter_config.json", peft);
}

static const char *write_adapter(void)
{
    const char *directory = scratch_make();
    write_lora(directory);
    write_prompt(directory, 3, TINY_E);
    scratch_write_text(directory, "fam_config.json", "{\"mode\": \"fam\", \"block_size\": 6, \"fam_length\": 3}");
    return directory;
}

static fam_status open_it(const char *directory, fam_adapter **out)
{
    *out = NULL;
    fam_memory_init(&memory);
    return fam_adapter_open(out, &memory, directory, &base, &error);
}

static void close_it(fam_adapter *adapter)
{
    fam_adapter_free(adapter);
    assert_int_equal(memory.bytes, 0);
}

static void expect_refusal(const char *directory, fam_status need, const char *words, const char *row)
{
    fam_adapter *adapter;
    fam_status status = open_it(directory, &adapter);
    if (status != need || adapter || !strstr(error.message, words) ||
        strncmp(error.message, directory, strlen(directory)) != 0)
        fail_msg("%s: status %d: %s; need %d \"%s\"", row, status, status ? error.message : "", need, words);
    assert_int_equal(memory.bytes, 0);
}

static void an_adapter_gives_its_matrices_scale_settings_and_prompt(void **state)
{
    (void)state;
    const char *directory = write_adapter();
    fam_adapter *adapter;
    const fam_tensor *a, *b;
    assert_int_equal(open_it(directory, &adapter), FAM_OK);
    assert_string_equal(fam_adapter_path(adapter), directory);
    assert_int_equal(fam_adapter_rank(adapter), 2);
    assert_true(fam_adapter_scale(adapter) == 2.5);
    assert_int_equal(fam_adapter_lora_count(adapter), 4);
    assert_true(fam_adapter_lora(adapter, "model.layers.1.mlp.down_proj", &a, &b));
    assert_string_equal(a->name, "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight");
    assert_int_equal(a->shape[0], 2);
    assert_int_equal(a->shape[1], TINY_I);
    assert_int_equal(b->shape[0], TINY_E);
    assert_int_equal(b->shape[1], 2);
    assert_true(fam_adapter_lora(adapter, "model.layers.0.self_attn.q_proj", &a, &b));
    assert_false(fam_adapter_lora(adapter, "model.layers.0.self_attn.k_proj", &a, &b));
    assert_false(fam_adapter_lora(adapter, "model.layers.2.self_attn.q_proj", &a, &b));
    assert_false(fam_adapter_lora(adapter, "", &a, &b));
    assert_int_equal(fam_adapter_settings(adapter)->mode, FAM_MODE_FAM);
    assert_int_equal(fam_adapter_settings(adapter)->block_size, 6);
    assert_int_equal(fam_adapter_settings(adapter)->window, -1);
    assert_int_equal(fam_adapter_prompt(adapter)->shape[0], 3);
    close_it(adapter);
    scratch_remove(directory);
}

static void either_pair_may_be_missing(void **state)
{
    (void)state;
    const char *directory = write_adapter();
    fam_adapter *adapter;
    const fam_tensor *a, *b;
    unlink(scratch_path(directory, "adapter_config.json"));
    expect_refusal(directory, FAM_STATUS_NOT_FOUND, "adapter_config.json", "weights only");
    unlink(scratch_path(directory, "adapter_model.safetensors"));
    assert_int_equal(open_it(directory, &adapter), FAM_OK);
    assert_int_equal(fam_adapter_rank(adapter), 0);
    assert_true(fam_adapter_scale(adapter) == 0);
    assert_false(fam_adapter_lora(adapter, "model.layers.0.self_attn.q_proj", &a, &b));
    assert_non_null(fam_adapter_prompt(adapter));
    close_it(adapter);
    unlink(scratch_path(directory, "fam_prompt.safetensors"));
    expect_refusal(directory, FAM_STATUS_NOT_FOUND, "fam_prompt.safetensors: found nothing", "no prompt");
    scratch_write_text(directory, "fam_config.json", "{\"mode\": \"bswa\"}");
    assert_int_equal(open_it(directory, &adapter), FAM_OK);
    close_it(adapter);
    unlink(scratch_path(directory, "fam_config.json"));
    expect_refusal(directory, FAM_STATUS_NOT_FOUND, "found none of its files", "empty");
    write_lora(directory);
    assert_int_equal(open_it(directory, &adapter), FAM_OK);
    assert_null(fam_adapter_prompt(adapter));
    assert_int_equal(fam_adapter_settings(adapter)->mode, -1);
    close_it(adapter);
    unlink(scratch_path(directory, "adapter_model.safetensors"));
    expect_refusal(directory, FAM_STATUS_NOT_FOUND, "adapter_model.safetensors", "config only");
    scratch_write_text(directory, "adapter_model.bin", "x");
    expect_refusal(directory, FAM_STATUS_UNSUPPORTED, "found adapter_model.bin", "PyTorch");
    scratch_remove(directory);
    expect_refusal(directory, FAM_STATUS_NOT_FOUND, "need an adapter directory", "no directory");
    expect_refusal("/dev/null", FAM_STATUS_INVALID_ARGUMENT, "need the directory", "a file");
    expect_refusal("someone/adapter", FAM_STATUS_NOT_FOUND, "hf download someone/adapter", "hub");
}

static void what_is_no_plain_lora_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        fam_status status;
        const char *words;
    } rows[] = {
        {"\"use_dora\": false", "\"use_dora\": true", FAM_STATUS_UNSUPPORTED, "use_dora: found true"},
        {"\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": 4}", FAM_STATUS_UNSUPPORTED, "rank_pattern"},
        {"\"rank_pattern\": {}", "\"alpha_pattern\": {\"q_proj\": 4}", FAM_STATUS_UNSUPPORTED, "alpha_pattern"},
        {"\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]", FAM_STATUS_UNSUPPORTED, "modules_to_save"},
        {"\"modules_to_save\": null", "\"layers_to_transform\": [0]", FAM_STATUS_UNSUPPORTED, "layers_to_transform"},
        {"\"modules_to_save\": null", "\"layers_to_transform\": 1", FAM_STATUS_UNSUPPORTED, "layers_to_transform"},
        {"\"modules_to_save\": null", "\"layer_replication\": [[0, 1]]", FAM_STATUS_UNSUPPORTED, "layer_replication"},
        {"\"modules_to_save\": null", "\"exclude_modules\": [\"k_proj\"]", FAM_STATUS_UNSUPPORTED, "exclude_modules"},
        {"\"modules_to_save\": null", "\"lora_bias\": true", FAM_STATUS_UNSUPPORTED, "lora_bias"},
        {"\"modules_to_save\": null", "\"target_parameters\": [\"x\"]", FAM_STATUS_UNSUPPORTED, "target_parameters"},
        {"\"modules_to_save\": null", "\"trainable_token_indices\": [1]", FAM_STATUS_UNSUPPORTED,
         "trainable_token_indices"},
        {"\"modules_to_save\": null", "\"megatron_config\": {\"a\": 1}", FAM_STATUS_UNSUPPORTED, "megatron_config"},
        {"\"modules_to_save\": null", "\"use_qalora\": true", FAM_STATUS_UNSUPPORTED, "use_qalora"},
        {"\"modules_to_save\": null", "\"alora_invocation_tokens\": [1]", FAM_STATUS_UNSUPPORTED,
         "alora_invocation_tokens"},
        {"\"modules_to_save\": null", "\"corda_config\": {\"a\": 1}", FAM_STATUS_UNSUPPORTED, "corda_config"},
        {"\"modules_to_save\": null", "\"unheard_of\": 1", FAM_STATUS_UNSUPPORTED, "unheard_of: found 1"},
        {"\"fan_in_fan_out\": false", "\"fan_in_fan_out\": true", FAM_STATUS_UNSUPPORTED, "fan_in_fan_out"},
        {"\"bias\": \"none\"", "\"bias\": \"all\"", FAM_STATUS_UNSUPPORTED, "bias: found \"all\""},
        {"\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"", FAM_STATUS_UNSUPPORTED,
         "init_lora_weights: found \"pissa\""},
        {"\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa_niter_16\"", FAM_STATUS_UNSUPPORTED,
         "init_lora_weights"},
        {"\"init_lora_weights\": true", "\"init_lora_weights\": \"loftq\"", FAM_STATUS_UNSUPPORTED,
         "init_lora_weights"},
        {"\"init_lora_weights\": true", "\"init_lora_weights\": \"olora\"", FAM_STATUS_UNSUPPORTED,
         "init_lora_weights"},
        {"\"peft_type\": \"LORA\"", "\"peft_type\": \"LOHA\"", FAM_STATUS_UNSUPPORTED, "peft_type: found \"LOHA\""},
        {"\"peft_type\": \"LORA\"", "\"peft_type\": null", FAM_STATUS_BAD_FORMAT, "peft_type: found null"},
        {"\"task_type\": \"CAUSAL_LM\"", "\"task_type\": \"SEQ_CLS\"", FAM_STATUS_UNSUPPORTED, "task_type"},
        {"\"r\": 2", "\"r\": 0", FAM_STATUS_BAD_FORMAT, "r: found 0"},
        {"\"r\": 2", "\"r\": -2", FAM_STATUS_BAD_FORMAT, "r: found -2"},
        {"\"r\": 2", "\"r\": 2.0", FAM_STATUS_BAD_FORMAT, "r: found the real number 2"},
        {"\"r\": 2", "\"r\": null", FAM_STATUS_BAD_FORMAT, "r: found null"},
        {"\"r\": 2", "\"r\": 3", FAM_STATUS_MISMATCH, "lora_A.weight: shape: found [2, 8], need [3, 8]"},
        {"\"lora_alpha\": 5", "\"lora_alpha\": \"5\"", FAM_STATUS_BAD_FORMAT, "lora_alpha: found \"5\""},
        {"\"lora_alpha\": 5", "\"lora_alpha\": null", FAM_STATUS_BAD_FORMAT, "lora_alpha: found null"},
        {"\"use_rslora\": false", "\"use_rslora\": 1", FAM_STATUS_BAD_FORMAT, "use_rslora: found 1"},
        {"[\"q_proj\", ", "[\"q_proj\", \"k_proj\", ", FAM_STATUS_BAD_FORMAT,
         "model.layers.0.self_attn.k_proj: found no tensors"},
        {"[\"q_proj\", ", "[", FAM_STATUS_BAD_FORMAT, "model.layers.0.self_attn.q_proj: found tensors, need none"},
        {"[\"q_proj\", ", "[\"q_proj\", \"lm_head\", ", FAM_STATUS_UNSUPPORTED, "target_modules: found \"lm_head\""},
        {"[\"q_proj\", ", "[\"_proj\", ", FAM_STATUS_BAD_FORMAT, "q_proj: found tensors"},
        {"[\"q_proj\", ", "[5, ", FAM_STATUS_BAD_FORMAT, "target_modules: found 5"},
        {"[\"q_proj\", ", "5, \"x\": [\"q_proj\", ", FAM_STATUS_UNSUPPORTED, "x: found an array"},
        {"{\"peft", "[{\"peft", FAM_STATUS_BAD_FORMAT, "not JSON"},
    };
    const char *directory = write_adapter();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[4096];
        const char *place = strstr(peft, rows[i].from);
        assert_non_null(place);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - peft), peft, rows[i].to, place + strlen(rows[i].from));
        scratch_write_text(directory, "adapter_config.json", text);
        expect_refusal(directory, rows[i].status, rows[i].words, rows[i].to);
    }
    scratch_remove(directory);
}

static void forms_of_plain_lora_are_accepted(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        double scale;
    } rows[] = {
        {"\"use_rslora\": false", "\"use_rslora\": true", 5 / 1.4142135623730951},
        {"\"lora_alpha\": 5", "\"lora_alpha\": 0.5", 0.25},
        {"[\"q_proj\", \"mlp.down_proj\"]", "\"all-linear\"", 2.5},
        {"[\"q_proj\", \"mlp.down_proj\"]", "\".*(q_proj|down_proj)\"", 2.5},
        {"[\"q_proj\", \"mlp.down_proj\"]", "null", 2.5},
        {"[\"q_proj\", ", "[\"model.layers.0.self_attn.q_proj\", \"layers.1.self_attn.q_proj\", ", 2.5},
        {"\"init_lora_weights\": true", "\"init_lora_weights\": \"gaussian\"", 2.5},
        {"\"rank_pattern\": {}", "\"unheard_of\": {}, \"more\": null, \"off\": false", 2.5},
    };
    const char *directory = write_adapter();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[4096];
        fam_adapter *adapter;
        const char *place = strstr(peft, rows[i].from);
        assert_non_null(place);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - peft), peft, rows[i].to, place + strlen(rows[i].from));
        scratch_write_text(directory, "adapter_config.json", text);
        if (open_it(directory, &adapter) != FAM_OK)
            fail_msg("%s: %s", rows[i].to, error.message);
        assert_true(fabs(fam_adapter_scale(adapter) - rows[i].scale) < 1e-15);
        assert_int_equal(fam_adapter_lora_count(adapter), 4);
        close_it(adapter);
    }
    scratch_remove(directory);
}

static void matrices_must_be_pairs_that_fit_the_model(void **state)
{
    (void)state;
    static const struct {
        const char *remove, *add;
        int64_t rows, columns;
        fam_status status;
        const char *words;
    } rows[] = {
        {"0.mlp.down_proj.lora_B", NULL, 0, 0, FAM_STATUS_BAD_FORMAT,
         "model.layers.0.mlp.down_proj: found lora_A only"},
        {"0.mlp.down_proj.lora_A", NULL, 0, 0, FAM_STATUS_BAD_FORMAT,
         "model.layers.0.mlp.down_proj: found lora_B only"},
        {"0.mlp.down_proj.lora_A", "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight", 2, 8,
         FAM_STATUS_MISMATCH, "shape: found [2, 8], need [2, 12]"},
        {"0.mlp.down_proj.lora_B", "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight", 0, 16,
         FAM_STATUS_MISMATCH, "shape: found [16], need [8, 2]"},
        {NULL, "base_model.model.model.layers.2.mlp.down_proj.lora_A.weight", 2, 12, FAM_STATUS_UNSUPPORTED,
         "layers.2"},
        {NULL, "base_model.model.lm_head.lora_A.weight", 2, 8, FAM_STATUS_UNSUPPORTED, "lm_head"},
        {NULL, "base_model.model.model.embed_tokens.lora_embedding_A", 2, 8, FAM_STATUS_UNSUPPORTED,
         "lora_embedding_A"},
        {NULL, "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", 0, 8, FAM_STATUS_UNSUPPORTED,
         "lora_magnitude_vector"},
        {NULL, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight", 2, 8, FAM_STATUS_UNSUPPORTED,
         "default"},
        {NULL, "base_model.model.model.layers.0.input_layernorm.lora_A.weight", 2, 8, FAM_STATUS_UNSUPPORTED,
         "input_layernorm"},
        {NULL, "model.layers.0.self_attn.q_proj.lora_A.weight", 2, 8, FAM_STATUS_UNSUPPORTED, "model.layers.0"},
        {NULL, ".lora_", 2, 8, FAM_STATUS_UNSUPPORTED, ".lora_"},
        {NULL, "base_model.model..lora_A.weight", 2, 8, FAM_STATUS_UNSUPPORTED, "base_model.model.."},
    };
    const char *directory = write_adapter();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tiny_list list;
        char name[128];
        tiny_list_begin(&list);
        tiny_list_add_lora(&list, two_modules);
        if (rows[i].remove) {
            snprintf(name, sizeof name, "base_model.model.model.layers.%s.weight", rows[i].remove);
            tiny_list_remove(&list, name);
        }
        if (rows[i].add)
            tiny_list_add(&list, rows[i].add, rows[i].rows, rows[i].columns);
        tiny_list_write(&list, directory, "adapter_model.safetensors");
        expect_refusal(directory, rows[i].status, rows[i].words, rows[i].words);
    }
    fam_adapter *adapter;
    write_lora(directory);
    fam_model_config other = base;
    other.hidden_size = 16;
    fam_memory_init(&memory);
    assert_int_equal(fam_adapter_open(&adapter, &memory, directory, &other, &error), FAM_STATUS_MISMATCH);
    assert_int_equal(memory.bytes, 0);
    scratch_remove(directory);
}

static void prompts_and_settings_must_fit(void **state)
{
    (void)state;
    const char *directory = write_adapter();
    write_prompt(directory, 4, TINY_E);
    expect_refusal(directory, FAM_STATUS_MISMATCH, "fam.prompt: shape: found [4, 8], need [3, 8]", "rows");
    write_prompt(directory, 3, TINY_E + 1);
    expect_refusal(directory, FAM_STATUS_MISMATCH, "fam.prompt: shape: found [3, 9]", "width");
    write_prompt(directory, 3, TINY_E);
    scratch_write_text(directory, "fam_config.json", "{\"mode\": \"fam\", \"fam_lenght\": 3}");
    expect_refusal(directory, FAM_STATUS_UNSUPPORTED, "fam_config.json: fam_lenght", "unknown");
    scratch_write_text(directory, "fam_config.json", "[]");
    expect_refusal(directory, FAM_STATUS_BAD_FORMAT, "need an object", "array");
    scratch_write_text(directory, "fam_config.json", "{");
    expect_refusal(directory, FAM_STATUS_BAD_FORMAT, "fam_config.json: not JSON", "cut");
    scratch_write_text(directory, "fam_config.json", "{}");
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add(&list, "prompt", 3, TINY_E);
    tiny_list_write(&list, directory, "fam_prompt.safetensors");
    expect_refusal(directory, FAM_STATUS_UNSUPPORTED, "tensor prompt", "other name");
    list.count = 0;
    tiny_list_write(&list, directory, "fam_prompt.safetensors");
    expect_refusal(directory, FAM_STATUS_BAD_FORMAT, "tensor fam.prompt: found nothing", "no tensor");
    scratch_remove(directory);
}

static void fingerprints_tell_adapters_apart(void **state)
{
    (void)state;
    const char *directory = write_adapter();
    fam_adapter *adapter;
    uint8_t first[16], second[16];
    assert_int_equal(open_it(directory, &adapter), FAM_OK);
    fam_adapter_fingerprint(adapter, first);
    close_it(adapter);
    scratch_write_text(directory, "fam_config.json", "{\"mode\": \"fam\", \"block_size\": 7}");
    assert_int_equal(open_it(directory, &adapter), FAM_OK);
    fam_adapter_fingerprint(adapter, second);
    assert_memory_equal(first, second, 16);
    close_it(adapter);
    tiny_list list;
    tiny_list_begin(&list);
    tiny_list_add(&list, "fam.prompt", 3, TINY_E);
    list.data[3 * TINY_E - 1] += 1;
    tiny_list_write(&list, directory, "fam_prompt.safetensors");
    assert_int_equal(open_it(directory, &adapter), FAM_OK);
    fam_adapter_fingerprint(adapter, second);
    assert_memory_not_equal(first, second, 16);
    close_it(adapter);
    scratch_remove(directory);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    const char *directory = write_adapter();
    fam_status status = FAM_STATUS_FAILED;
    size_t fail = 1;
    for (; status != FAM_OK; fail++) {
        fam_adapter *adapter = NULL;
        fam_memory_init(&memory);
        memory.fail_at = fail;
        status = fam_adapter_open(&adapter, &memory, directory, &base, &error);
        if (status != FAM_OK && (status != FAM_STATUS_OUT_OF_MEMORY || adapter))
            fail_msg("allocation %zu: status %d: %s", fail, status, error.message);
        fam_adapter_free(adapter);
        assert_int_equal(memory.bytes, 0);
    }
    assert_true(fail > 15);
    scratch_remove(directory);
}

static void adapters_of_peft_open(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t rank, count;
        double scale;
    } rows[] = {{"lora", 4, 14, 2.0}, {"rslora", 3, 6, 2.3094010767585034}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[1024];
        fam_checkpoint *checkpoint;
        fam_adapter *adapter;
        snprintf(path, sizeof path, "%s/%s", suite_path("tests/fixtures/tiny_llama"), rows[i].name);
        if (access(path, F_OK) != 0) {
            print_message("skipped: there is no %s\n", path);
            skip();
        }
        fam_memory_init(&memory);
        assert_int_equal(fam_checkpoint_open(&checkpoint, &memory, suite_path("tests/fixtures/tiny_llama/gqa_tied_f32"),
                                             NULL, &error),
                         FAM_OK);
        if (fam_adapter_open(&adapter, &memory, path, fam_checkpoint_config(checkpoint), &error) != FAM_OK)
            fail_msg("%s", error.message);
        assert_int_equal(fam_adapter_rank(adapter), rows[i].rank);
        assert_int_equal(fam_adapter_lora_count(adapter), rows[i].count);
        assert_true(fabs(fam_adapter_scale(adapter) - rows[i].scale) < 1e-12);
        fam_adapter_free(adapter);
        fam_checkpoint_free(checkpoint);
        assert_int_equal(memory.bytes, 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_adapter_gives_its_matrices_scale_settings_and_prompt),
    cmocka_unit_test(either_pair_may_be_missing),
    cmocka_unit_test(what_is_no_plain_lora_is_refused_by_name),
    cmocka_unit_test(forms_of_plain_lora_are_accepted),
    cmocka_unit_test(matrices_must_be_pairs_that_fit_the_model),
    cmocka_unit_test(prompts_and_settings_must_fit),
    cmocka_unit_test(fingerprints_tell_adapters_apart),
    cmocka_unit_test(every_failing_allocation_is_an_error),
    cmocka_unit_test(adapters_of_peft_open),
};
SUITE_MAIN(tests)
