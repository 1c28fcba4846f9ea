/*
 * Format room: adapters that are written open again, and say in PEFT's words what PEFT says.
 */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/float16.h"
#include "base/random.h"
#include "fam/modes.h"
#include "format/adapter.h"
#include "format/adapter_write.h"
#include "format/json.h"
#include "scratch.h"
#include "suite.h"
#include "tiny_model.h"

static fam_error error;
static fam_memory memory;
static tiny_list lora, prompt;

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

enum { ROWS = 3, ALL = 0x7f };

static fam_adapter_description description(unsigned targets)
{
    fam_adapter_description out = {.base_model = "someone/model", .rank = TINY_R, .alpha = 5, .targets = targets};
    out.settings = fam_settings_none();
    return out;
}

/* The matrices of the targets in `lora`, and a prompt in `prompt`. */
static void make_tensors(unsigned targets)
{
    const char *modules[8] = {0};
    int count = 0;
    for (int i = 0; i < 7; i++)
        if (targets >> i & 1)
            modules[count++] = fam_projection_module(i);
    tiny_list_begin(&lora);
    tiny_list_add_lora(&lora, modules);
    tiny_list_begin(&prompt);
    tiny_list_add(&prompt, "fam.prompt", ROWS, TINY_E);
}

static fam_status write_it(const char *directory, const fam_adapter_description *what, bool with_prompt, bool narrow)
{
    fam_memory_init(&memory);
    fam_status status = fam_adapter_write(directory, &memory, what, lora.tensors, what->rank ? lora.count : 0,
                                          with_prompt ? prompt.tensors : NULL, narrow, &error);
    assert_int_equal(memory.bytes, 0);
    return status;
}

static fam_adapter *open_it(const char *directory)
{
    fam_adapter *adapter = NULL;
    if (fam_adapter_open(&adapter, &memory, directory, &base, &error) != FAM_OK)
        fail_msg("%s", error.message);
    return adapter;
}

static int files_in(const char *directory)
{
    int count = 0;
    DIR *dir = opendir(directory);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

static void projections_have_the_names_of_peft(void **state)
{
    (void)state;
    assert_string_equal(fam_projection_module(0), "self_attn.q_proj");
    assert_string_equal(fam_projection_name(0), "q_proj");
    assert_string_equal(fam_projection_module(6), "mlp.down_proj");
    assert_string_equal(fam_projection_name(6), "down_proj");
    assert_null(fam_projection_module(7));
    assert_null(fam_projection_name(-1));
}

static void what_is_written_opens_with_the_same_numbers(void **state)
{
    (void)state;
    static const struct {
        unsigned targets;
        bool rslora, narrow;
        double alpha, scale;
    } rows[] = {
        {ALL, false, false, 5, 2.5},
        {1 << 0 | 1 << 6, false, true, 0.5, 0.25},
        {1 << 3, true, false, 5, 5 / 1.4142135623730951},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *directory = scratch_path(scratch_make(), "new");
        fam_adapter_description what = description(rows[i].targets);
        what.alpha = rows[i].alpha;
        what.rslora = rows[i].rslora;
        what.settings.mode = FAM_MODE_FAM;
        what.settings.block_size = 6;
        what.settings.state_norm = FAM_STATE_NORM_RMS_INIT;
        make_tensors(rows[i].targets);
        if (write_it(directory, &what, true, rows[i].narrow) != FAM_OK)
            fail_msg("%s", error.message);
        assert_int_equal(files_in(directory), 4);
        fam_adapter *adapter = open_it(directory);
        assert_int_equal(fam_adapter_rank(adapter), TINY_R);
        assert_true(fabs(fam_adapter_scale(adapter) - rows[i].scale) < 1e-15);
        assert_int_equal(fam_adapter_lora_count(adapter), lora.count / 2);
        for (int t = 0; t < lora.count; t++) {
            char module[96] = "";
            const fam_tensor *need = &lora.tensors[t], *a, *b;
            const char *begin = need->name + strlen("base_model.model.");
            snprintf(module, sizeof module, "%.*s", (int)(strstr(begin, ".lora_") - begin), begin);
            assert_true(fam_adapter_lora(adapter, module, &a, &b));
            const fam_tensor *got = strstr(need->name, ".lora_A") ? a : b;
            assert_int_equal(got->type, rows[i].narrow ? FAM_TYPE_BF16 : FAM_TYPE_F32);
            for (int64_t e = 0; e < need->shape[0] * need->shape[1]; e++) {
                float value, file;
                memcpy(&value, need->data + e * 4, 4);
                fam_type_dequantize(&file, got->data + (size_t)e * fam_type_block_bytes(got->type), got->type, 1);
                assert_true(file == (rows[i].narrow ? fam_from_bf16(fam_to_bf16(value)) : value));
            }
        }
        assert_int_equal(fam_adapter_settings(adapter)->mode, FAM_MODE_FAM);
        assert_int_equal(fam_adapter_settings(adapter)->block_size, 6);
        assert_int_equal(fam_adapter_settings(adapter)->fam_length, ROWS);
        assert_int_equal(fam_adapter_settings(adapter)->state_norm, FAM_STATE_NORM_RMS_INIT);
        assert_int_equal(fam_adapter_settings(adapter)->window, -1);
        assert_memory_equal(fam_adapter_prompt(adapter)->data, prompt.tensors[0].data, ROWS * TINY_E * 4);
        fam_adapter_free(adapter);
        assert_int_equal(memory.bytes, 0);
    }
}

/* Over an adapter with everything, one with less must not leave the rest to be taken along. */
static void what_an_adapter_lacks_is_not_taken_from_an_older_one(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    fam_adapter_description what = description(ALL), none = description(0);
    make_tensors(ALL);
    what.settings.mode = FAM_MODE_FAM;
    assert_int_equal(write_it(directory, &what, true, false), FAM_OK);
    assert_int_equal(files_in(directory), 4);
    what.settings.mode = FAM_MODE_BSWA;
    assert_int_equal(write_it(directory, &what, false, false), FAM_OK);
    assert_int_equal(files_in(directory), 3);
    fam_adapter *adapter = open_it(directory);
    assert_null(fam_adapter_prompt(adapter));
    assert_int_equal(fam_adapter_settings(adapter)->mode, FAM_MODE_BSWA);
    assert_int_equal(fam_adapter_settings(adapter)->fam_length, -1);
    fam_adapter_free(adapter);
    what.settings = fam_settings_none();
    assert_int_equal(write_it(directory, &what, false, false), FAM_OK);
    assert_int_equal(files_in(directory), 2);
    none.rank = 0;
    assert_int_equal(write_it(directory, &none, true, false), FAM_OK);
    assert_int_equal(files_in(directory), 2);
    adapter = open_it(directory);
    assert_int_equal(fam_adapter_rank(adapter), 0);
    assert_int_equal(fam_adapter_prompt(adapter)->shape[0], ROWS);
    fam_adapter_free(adapter);
    scratch_remove(directory);
}

static void what_does_not_belong_together_is_refused(void **state)
{
    (void)state;
    const char *directory = scratch_path(scratch_make(), "never");
    fam_adapter_description what;
    make_tensors(ALL);
#define REFUSED(change, words)                                                                                         \
    do {                                                                                                               \
        what = description(ALL);                                                                                       \
        change;                                                                                                        \
        assert_int_equal(write_it(directory, &what, false, false), FAM_STATUS_INVALID_ARGUMENT);                       \
        if (!strstr(error.message, words))                                                                             \
            fail_msg("%s; need \"%s\"", error.message, words);                                                         \
        assert_int_equal(access(directory, F_OK), -1);                                                                 \
    } while (0)
    REFUSED(what.rank = -1, "found rank -1");
    REFUSED(what.alpha = NAN, "finite alpha");
    REFUSED(what.rank = 3, "need F32 of rank 3");
    REFUSED(what.targets = 0x3f, "mlp.down_proj.lora_A.weight: found one that is no LoRA matrix of a target");
    REFUSED(what.settings.mode = FAM_MODE_FAM, "found no prompt");
    lora.tensors[0].type = FAM_TYPE_BF16;
    REFUSED(, "need F32 of rank 2");
    make_tensors(ALL);
    lora.tensors[0].name = "model.embed_tokens.weight";
    REFUSED(, "model.embed_tokens.weight: found one");
    make_tensors(0x3f);
    REFUSED(, "projection without matrices");
    lora.count = 0;
    REFUSED(, "found rank 2 and 0 matrices");
#undef REFUSED
}

static void a_place_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    const char *scratch = scratch_make();
    fam_adapter_description what = description(ALL);
    make_tensors(ALL);
    assert_int_equal(write_it(scratch_path(scratch, "no/such"), &what, true, false), FAM_STATUS_NOT_FOUND);
    assert_non_null(strstr(error.message, "no/such: cannot make the directory"));
    scratch_write_text(scratch, "file", "x");
    assert_int_equal(write_it(scratch_path(scratch, "file"), &what, true, false), FAM_STATUS_IO);
    assert_non_null(strstr(error.message, "need a directory or nothing"));
    mkdir(scratch_path(scratch, "linked"), 0777);
    assert_int_equal(symlink("/dev/null", scratch_path(scratch, "linked/adapter_model.safetensors")), 0);
    assert_int_equal(write_it(scratch_path(scratch, "linked"), &what, true, false), FAM_STATUS_IO);
    assert_non_null(strstr(error.message, "found a symbolic link"));
    assert_int_equal(files_in(scratch_path(scratch, "linked")), 1);
    mkdir(scratch_path(scratch, "linked/fam_prompt.safetensors"), 0777);
    unlink(scratch_path(scratch, "linked/adapter_model.safetensors"));
    assert_int_equal(write_it(scratch_path(scratch, "linked"), &what, false, false), FAM_STATUS_IO);
    assert_non_null(strstr(error.message, "fam_prompt.safetensors: found no regular file"));
    scratch_remove(scratch);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    fam_adapter_description what = description(ALL);
    what.settings.mode = FAM_MODE_FAM;
    make_tensors(ALL);
    fam_status status = FAM_STATUS_FAILED;
    size_t fail = 1;
    for (; status != FAM_OK; fail++) {
        const char *directory = scratch_make();
        fam_memory_init(&memory);
        memory.fail_at = fail;
        status = fam_adapter_write(directory, &memory, &what, lora.tensors, lora.count, prompt.tensors, true, &error);
        if (status != FAM_OK && status != FAM_STATUS_OUT_OF_MEMORY)
            fail_msg("allocation %zu: status %d: %s", fail, status, error.message);
        assert_int_equal(memory.bytes, 0);
        for (int i = 0; i < 2 && status != FAM_OK; i++) /* no half adapter that looks whole */
            assert_int_equal(access(scratch_path(directory, "adapter_config.json"), F_OK), -1);
        scratch_remove(directory);
    }
    assert_true(fail > 15);
}

/* Every key that we write PEFT writes too, with a value of the same kind. */
static void peft_uses_the_same_keys(void **state)
{
    (void)state;
    const char *directory = scratch_make();
    fam_adapter_description what = description(ALL);
    json_t *ours, *theirs, *value;
    const char *key;
    make_tensors(ALL);
    assert_int_equal(write_it(directory, &what, false, false), FAM_OK);
    assert_int_equal(fam_json_read(&ours, &memory, scratch_path(directory, "adapter_config.json"), 1 << 20, &error),
                     FAM_OK);
    assert_int_equal(fam_json_read(&theirs, &memory, suite_path("tests/fixtures/tiny_llama/lora/adapter_config.json"),
                                   1 << 20, &error),
                     FAM_OK);
    json_object_foreach(ours, key, value)
    {
        const json_t *same = json_object_get(theirs, key);
        if (!same || json_typeof(same) != json_typeof(value))
            if (!same || !json_is_number(same) || !json_is_number(value))
                if (!same || !json_is_boolean(same) || !json_is_boolean(value))
                    fail_msg("%s: PEFT has %s", key, same ? "another type" : "no such key");
    }
    assert_true(json_equal(json_object_get(ours, "target_modules"), json_object_get(theirs, "target_modules")));
    assert_int_equal(json_typeof(json_object_get(ours, "lora_alpha")), JSON_INTEGER);
    json_decref(ours);
    json_decref(theirs);
    scratch_remove(directory);
}

/* ---- what PEFT has loaded ------------------------------------------------------------------------------------------ */

#define WRITTEN "tests/fixtures/peft/written"

/* An adapter for tests/fixtures/tiny_llama/gqa_tied_f32, of numbers drawn from a seed. */
static void write_drawn(const char *directory)
{
    enum { RANK = 3, LAYERS = 2, WIDTH = 32, INNER = 64, KV = 16, FAM = 4 };
    static const int64_t rows[] = {WIDTH, KV, KV, WIDTH, INNER, INNER, WIDTH};
    static char names[64][96];
    static float data[8192];
    fam_tensor tensors[64], state = {.name = "fam.prompt", .type = FAM_TYPE_F32, .n_dims = 2, .shape = {FAM, WIDTH}};
    fam_adapter_description what = {
        .base_model = "gqa_tied_f32", .rank = RANK, .alpha = 4.5, .rslora = true, .targets = 0x6f}; /* not gate */
    fam_random random;
    int count = 0;
    float *next = data;
    fam_random_seed(&random, 20240409);
    for (int i = 0; i < 8192; i++)
        data[i] = (float)((double)(fam_random_next(&random) >> 40) / (1 << 24) - 0.5) * 0.5f;
    for (int layer = 0; layer < LAYERS; layer++)
        for (int i = 0; i < 7; i++)
            for (int second = 0; second < 2 && (what.targets >> i & 1); second++) {
                int64_t columns = i == 6 ? INNER : WIDTH, length = RANK * (second ? rows[i] : columns);
                snprintf(names[count], sizeof names[0], "base_model.model.model.layers.%d.%s.lora_%c.weight", layer,
                         fam_projection_module(i), 'A' + second);
                tensors[count] = (fam_tensor){.name = names[count],
                                              .type = FAM_TYPE_F32,
                                              .n_dims = 2,
                                              .data = (const uint8_t *)next,
                                              .bytes = (size_t)length * 4};
                tensors[count].shape[0] = second ? rows[i] : RANK;
                tensors[count].shape[1] = second ? RANK : columns;
                next += length;
                count++;
            }
    assert_true(next + FAM * WIDTH <= data + 8192);
    state.data = (const uint8_t *)next;
    state.bytes = FAM * WIDTH * 4;
    what.settings = fam_settings_none();
    what.settings.block_size = 16;
    what.settings.state_norm = FAM_STATE_NORM_RMS_INIT;
    fam_memory_init(&memory);
    if (fam_adapter_write(directory, &memory, &what, tensors, count, &state, false, &error) != FAM_OK)
        fail_msg("%s", error.message);
}

/* The files that PEFT loaded (tests/oracle/peft_written.py) are, byte by byte, those that are written today. After a
 * change that is meant: FAM_UPDATE_FIXTURES=1 test_adapter_write peft_has_loaded_these_very_bytes, then the generator. */
static void peft_has_loaded_these_very_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {"adapter_config.json", "adapter_model.safetensors", "fam_config.json",
                                        "fam_prompt.safetensors"};
    const char *directory = scratch_make();
    write_drawn(getenv("FAM_UPDATE_FIXTURES") ? suite_path(WRITTEN) : directory);
    for (int i = 0; i < 4 && !getenv("FAM_UPDATE_FIXTURES"); i++) {
        uint8_t *ours, *theirs;
        size_t size, same;
        assert_int_equal(fam_file_read(&ours, &size, &memory, scratch_path(directory, files[i]), 1 << 20, &error),
                         FAM_OK);
        assert_int_equal(
            fam_file_read(&theirs, &same, &memory, scratch_path(suite_path(WRITTEN), files[i]), 1 << 20, &error),
            FAM_OK);
        if (size != same || memcmp(ours, theirs, size) != 0)
            fail_msg("%s: found other bytes than in %s", files[i], WRITTEN);
        fam_free(&memory, ours);
        fam_free(&memory, theirs);
    }
    assert_int_equal(files_in(suite_path(WRITTEN)), 4);
    scratch_remove(directory);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(projections_have_the_names_of_peft),
    cmocka_unit_test(what_is_written_opens_with_the_same_numbers),
    cmocka_unit_test(what_an_adapter_lacks_is_not_taken_from_an_older_one),
    cmocka_unit_test(what_does_not_belong_together_is_refused),
    cmocka_unit_test(a_place_that_cannot_be_written_is_an_error),
    cmocka_unit_test(every_failing_allocation_is_an_error),
    cmocka_unit_test(peft_uses_the_same_keys),
    cmocka_unit_test(peft_has_loaded_these_very_bytes),
};
SUITE_MAIN(tests)
