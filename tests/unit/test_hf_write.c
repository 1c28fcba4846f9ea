/*
 * Format room: a model directory that is written opens again with the same description, settings and numbers.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "fam/modes.h"
#include "format/hf_write.h"
#include "format/json.h"
#include "scratch.h"
#include "suite.h"
#include "tiny_model.h"

static fam_error error;
static fam_memory memory;
static tiny_list list;

static fam_model_config config(bool tied)
{
    return (fam_model_config){
        .family = "llama",
        .vocab_size = TINY_V,
        .hidden_size = TINY_E,
        .intermediate_size = TINY_I,
        .layers = TINY_L,
        .heads = TINY_H,
        .kv_heads = TINY_G,
        .head_dim = TINY_D,
        .rope_theta = 12345.6,
        .rms_norm_eps = 1e-5f, /* not the decimal 1e-5: a GGUF file's float */
        .tied_embeddings = tied,
        .context_length = 4711,
    };
}

static fam_status write_it(const char *directory, const fam_model_config *what, const fam_settings *settings)
{
    fam_memory_init(&memory);
    fam_status status = fam_hf_write(directory, &memory, what, settings, 3, -1, list.tensors, list.count, &error);
    assert_int_equal(memory.bytes, 0);
    return status;
}

static void same_config(const fam_model_config *a, const fam_model_config *b)
{
    assert_string_equal(a->family, b->family);
    assert_int_equal(a->vocab_size, b->vocab_size);
    assert_int_equal(a->hidden_size, b->hidden_size);
    assert_int_equal(a->intermediate_size, b->intermediate_size);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->kv_heads, b->kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_true(a->rope_theta == b->rope_theta);
    assert_true(a->rms_norm_eps == b->rms_norm_eps);
    assert_int_equal(a->tied_embeddings, b->tied_embeddings);
    assert_int_equal(a->context_length, b->context_length);
    assert_int_equal(a->rope_scaling, b->rope_scaling);
    assert_true(a->rope_factor == b->rope_factor);
    assert_true(a->rope_low_freq_factor == b->rope_low_freq_factor);
    assert_true(a->rope_high_freq_factor == b->rope_high_freq_factor);
    assert_int_equal(a->rope_original_context, b->rope_original_context);
}

static void same_settings(const fam_settings *a, const fam_settings *b)
{
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->block_size, b->block_size);
    assert_int_equal(a->memory_segments, b->memory_segments);
    assert_int_equal(a->fam_length, b->fam_length);
    assert_int_equal(a->window, b->window);
    assert_int_equal(a->state_norm, b->state_norm);
    assert_int_equal(a->fam_positions, b->fam_positions);
}

static void a_written_model_opens_as_it_was(void **state)
{
    (void)state;
    for (int row = 0; row < 4; row++) {
        const char *directory = scratch_path(scratch_make(), "new");
        fam_model_config what = config(row & 1);
        fam_settings settings = fam_settings_none();
        fam_checkpoint *checkpoint = NULL;
        tiny_list_begin(&list);
        tiny_list_add_model(&list, row & 1);
        if (row & 2) {
            settings = (fam_settings){FAM_MODE_FAM, 6, 1, 3, 7, FAM_STATE_NORM_RMS, FAM_POSITIONS_ZERO};
            tiny_list_add(&list, "fam.prompt", 3, TINY_E);
            what.rope_scaling = FAM_ROPE_LLAMA3;
            what.rope_factor = 8;
            what.rope_low_freq_factor = 1;
            what.rope_high_freq_factor = 4.1;
            what.rope_original_context = 512;
        }
        if (write_it(directory, &what, &settings) != FAM_OK)
            fail_msg("%s", error.message);
        if (fam_checkpoint_open(&checkpoint, &memory, directory, NULL, &error) != FAM_OK)
            fail_msg("%s", error.message);
        same_config(fam_checkpoint_config(checkpoint), &what);
        same_settings(fam_checkpoint_settings(checkpoint), &settings);
        for (int i = 0; i < list.count; i++) {
            const fam_tensor *tensor = fam_checkpoint_tensor(checkpoint, list.tensors[i].name);
            assert_non_null(tensor);
            assert_int_equal(tensor->bytes, list.tensors[i].bytes);
            assert_memory_equal(tensor->data, list.tensors[i].data, tensor->bytes);
        }
        fam_checkpoint_free(checkpoint);
        assert_int_equal(memory.bytes, 0);
    }
}

static void config_json_says_what_transformers_reads(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    fam_model_config what = config(true);
    fam_settings none = fam_settings_none();
    uint8_t *text;
    size_t size;
    tiny_list_begin(&list);
    tiny_list_add_model(&list, true);
    assert_int_equal(write_it(directory, &what, &none), FAM_OK);
    json_t *object;
    assert_int_equal(fam_json_read(&object, &memory, scratch_path(directory, "config.json"), 1 << 20, &error), FAM_OK);
    assert_null(json_object_get(object, "fam"));
    assert_int_equal(json_integer_value(json_object_get(object, "bos_token_id")), 3);
    assert_true(json_is_null(json_object_get(object, "eos_token_id")));
    assert_string_equal(json_string_value(json_object_get(object, "torch_dtype")), "float32");
    assert_true(json_is_null(json_object_get(object, "rope_scaling")));
    json_decref(object);
    assert_int_equal(fam_file_read(&text, &size, &memory, scratch_path(directory, "config.json"), 1 << 20, &error),
                     FAM_OK);
    assert_non_null(strstr((const char *)text, "\"rope_theta\": 12345.6,"));
    assert_non_null(strstr((const char *)text, "\"rms_norm_eps\": 9.999999747378752e-6,"));
    fam_free(&memory, text);
    scratch_remove(directory);
}

static void what_cannot_be_written_is_refused(void **state)
{
    (void)state;
    static const float factors[TINY_D / 2] = {1, 8};
    const char *directory = scratch_make();
    fam_model_config what = config(true);
    fam_settings none = fam_settings_none();
    tiny_list_begin(&list);
    assert_int_equal(write_it(directory, &what, &none), FAM_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "found no tensors"));
    tiny_list_add_model(&list, true);
    what.rope_frequency_factors = factors;
    assert_int_equal(write_it(directory, &what, &none), FAM_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "config.json: rope: found frequency factors"));
    what = config(true);
    strcpy(what.family, "gpt2");
    assert_int_equal(write_it(directory, &what, &none), FAM_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "model family: found \"gpt2\""));
    what = config(true);
    assert_int_equal(write_it("/dev/null", &what, &none), FAM_STATUS_IO);
    assert_int_equal(write_it("/dev/null/x", &what, &none), FAM_STATUS_NOT_FOUND);
    scratch_remove(directory);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    fam_model_config what = config(true);
    fam_settings none = fam_settings_none();
    fam_status status = FAM_STATUS_FAILED;
    size_t fail = 1;
    tiny_list_begin(&list);
    tiny_list_add_model(&list, true);
    for (; status != FAM_OK; fail++) {
        const char *directory = scratch_make();
        fam_memory_init(&memory);
        memory.fail_at = fail;
        status = fam_hf_write(directory, &memory, &what, &none, -1, -1, list.tensors, list.count, &error);
        if (status != FAM_OK && status != FAM_STATUS_OUT_OF_MEMORY)
            fail_msg("allocation %zu: status %d: %s", fail, status, error.message);
        assert_int_equal(memory.bytes, 0);
        if (status != FAM_OK)
            assert_int_equal(access(scratch_path(directory, "config.json"), F_OK), -1);
        scratch_remove(directory);
    }
    assert_true(fail > 8);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_written_model_opens_as_it_was),
    cmocka_unit_test(config_json_says_what_transformers_reads),
    cmocka_unit_test(what_cannot_be_written_is_refused),
    cmocka_unit_test(every_failing_allocation_is_an_error),
};
SUITE_MAIN(tests)
