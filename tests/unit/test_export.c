/*
 * Export room: what is written equals the model with its adapters apart, in every mode, container and type; and is
 * written whole or not at all.
 */
#include "fam/export.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/file.h"
#include "base/float16.h"
#include "export/private.h"
#include "format/gguf.h"
#include "format/json.h"
#include "run.h"
#include "scratch.h"
#include "tiny_model.h"

static fam_error failed;

/* Relative to the largest logit, as for the models themselves (test_models.c). */
#define FLOAT32_TOLERANCE 2e-5

static const char *fixture(const char *name)
{
    static char buffers[8][1200];
    static unsigned next;
    char *buffer = buffers[next++ % 8];
    snprintf(buffer, sizeof buffers[0], "%s/%s", suite_path("tests/fixtures/tiny_llama"), name);
    return buffer;
}

static fam_export_options options_to(const char *out)
{
    fam_export_options options;
    fam_export_options_init(&options);
    options.out = out;
    return options;
}

static int files_in(const char *directory)
{
    int count = 0;
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

/* ---- equal results ------------------------------------------------------------------------------------------------- */

static fam_engine *open_engine(const char *model, const fam_adapter_option *adapters, size_t count, int mode)
{
    fam_engine_options options = run_options();
    fam_engine *engine;
    options.adapters = adapters;
    options.adapter_count = count;
    options.mode = mode;
    run_ok(fam_engine_open(&engine, model, &options, error));
    return engine;
}

/* Feeds both the same and compares logits and states after each piece. The worst error. */
static double difference(fam_engine *a, fam_engine *b, const int32_t *tokens, size_t count)
{
    fam_session *first, *second;
    double worst = 0;
    run_ok(fam_session_create(&first, a, NULL, error));
    run_ok(fam_session_create(&second, b, NULL, error));
    for (size_t at = 0; at < count; at += 7) {
        run_picture one, two;
        size_t end = at + 7 < count ? at + 7 : count;
        run_feed(first, tokens, at, end, 7);
        run_feed(second, tokens, at, end, 7);
        run_take_picture(&one, a, first);
        run_take_picture(&two, b, second);
        assert_int_equal(one.count, two.count);
        double logits = run_error(two.values, one.values, one.logits),
               states = run_error(two.values + one.logits, one.values + one.logits, one.count - one.logits);
        worst = fmax(worst, fmax(logits, states));
        run_picture_free(&one);
        run_picture_free(&two);
    }
    fam_session_free(first);
    fam_session_free(second);
    return worst;
}

/* Exports to both formats in float32 and compares in the given mode. */
static void check_equal(const char *model, const fam_adapter_option *adapters, size_t count, int mode,
                        const int32_t *tokens, size_t token_count)
{
    const char *scratch = scratch_make();
    fam_engine *apart = open_engine(model, adapters, count, mode);
    for (int format = FAM_EXPORT_HF; format <= FAM_EXPORT_GGUF; format++) {
        fam_export_result result;
        char out[1200];
        snprintf(out, sizeof out, "%s/%s", scratch, format == FAM_EXPORT_HF ? "merged" : "merged.gguf");
        fam_export_options options = options_to(out);
        options.adapters = adapters;
        options.adapter_count = count;
        options.type = FAM_EXPORT_F32;
        options.mode = mode;
        run_ok(fam_export(model, &options, &result, error));
        assert_int_equal(result.format, format);
        assert_int_equal(result.merged > 0, count > 0);
        fam_engine *merged = open_engine(out, NULL, 0, FAM_AUTO);
        fam_engine_info want, got;
        fam_engine_info_get(apart, &want);
        fam_engine_info_get(merged, &got);
        assert_int_equal(got.mode, want.mode);
        assert_int_equal(got.block_size, want.block_size);
        assert_int_equal(got.memory_segments, want.memory_segments);
        assert_int_equal(got.fam_length, want.fam_length);
        assert_int_equal(got.state_norm, want.state_norm);
        assert_int_equal(got.fam_positions, want.fam_positions);
        assert_int_equal(got.context_length, want.context_length);
        double worst = difference(apart, merged, tokens, token_count);
        print_message("%s, mode %s, %s: off by %.1e\n", model, fam_mode_name(mode), format ? "GGUF" : "directory",
                      worst);
        if (!(worst <= FLOAT32_TOLERANCE))
            fail_msg("need at most %g", FLOAT32_TOLERANCE);
        fam_engine_free(merged);
    }
    fam_engine_free(apart);
    scratch_remove(scratch);
}

static void golden_cases_with_lora_merge_in_all_modes(void **state)
{
    (void)state;
    static const char *const names[] = {"fam_lora_train", "fam_lora_rsp_train"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        run_case golden;
        run_case_open(&golden, names[i]);
        const fam_adapter_option adapter = {golden.adapter, 0.75};
        for (int mode = FAM_AUTO; mode <= FAM_MODE_FAM; mode++)
            check_equal(golden.directory, &adapter, 1, mode, golden.tokens, golden.count);
        run_case_close(&golden);
    }
}

static void golden_cases_without_an_adapter_stay_what_they_are(void **state)
{
    (void)state;
    static const char *const names[] = {"fam_float", "fam_rms_init_m3", "full_gqa_tied", "swa", "bswa_m0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        run_case golden;
        run_case_open(&golden, names[i]);
        check_equal(golden.directory, NULL, 0, FAM_AUTO, golden.tokens, golden.count);
        run_case_close(&golden);
    }
}

static void each_container_and_type_is_exported(void **state)
{
    (void)state;
    static const char *const models[] = {
        "gqa_tied_f32",     "mqa_untied_bf16", "mha_untied_f16",  "llama3_rope",           "llama3_rope_old",
        "sharded_head_dim", "gguf-F32.gguf",   "gguf-F16.gguf",   "gguf-BF16.gguf",        "gguf-Q8_0.gguf",
        "gguf-Q4_0.gguf",   "gguf-Q4_1.gguf",  "gguf-mixed.gguf", "gguf-llama3_rope.gguf", "gguf-untied_mqa.gguf"};
    int32_t tokens[60];
    for (int i = 0; i < 60; i++)
        tokens[i] = i * 37 % 101;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        check_equal(fixture(models[i]), NULL, 0, FAM_AUTO, tokens, 60);
}

/* tests/fixtures/tiny_llama/lora*.expected: what PEFT computed with the adapters apart. */
static void merged_models_give_what_peft_gives(void **state)
{
    (void)state;
    const fam_adapter_option adapters[] = {{fixture("lora"), 0.5}, {fixture("rslora"), 2}};
    const char *out = scratch_path(scratch_make(), "out.gguf");
    fam_export_options options = options_to(out);
    size_t count;
    int32_t *tokens = run_ids(fixture("gqa_tied_f32.tokens.json"), NULL, &count);
    fam_memory memory;
    fam_safetensors *file;
    fam_memory_init(&memory);
    options.adapters = adapters;
    options.adapter_count = 2;
    run_ok(fam_export(fixture("gqa_tied_f32"), &options, NULL, error));
    run_ok(fam_safetensors_open(&file, &memory, fixture("lora_rslora.expected.safetensors"), error));
    const fam_tensor *want = fam_safetensors_tensor(file, "logits_scaled");
    fam_engine *engine = open_engine(out, NULL, 0, FAM_AUTO);
    fam_session *session;
    double worst = 0;
    run_ok(fam_session_create(&session, engine, NULL, error));
    for (size_t t = 0; t < count; t++) {
        float row[101];
        memcpy(row, want->data + t * sizeof row, sizeof row);
        run_feed(session, tokens, t, t + 1, 1);
        worst = fmax(worst, run_error(fam_session_logits(session), row, 101));
    }
    print_message("off by %.1e\n", worst);
    assert_true(worst <= FLOAT32_TOLERANCE);
    fam_session_free(session);
    fam_engine_free(engine);
    fam_safetensors_free(file);
    free(tokens);
}

/* ---- types and settings -------------------------------------------------------------------------------------------- */

static fam_checkpoint *open_checkpoint(const char *path, fam_memory *memory)
{
    fam_checkpoint *checkpoint = NULL;
    fam_memory_init(memory);
    run_ok(fam_checkpoint_open(&checkpoint, memory, path, NULL, error));
    return checkpoint;
}

static void types_are_the_bases_own_or_as_asked(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int asked;
        fam_export_type result;
        fam_type matrix, norm; /* norm: in a directory */
    } rows[] = {
        {"gqa_tied_f32", FAM_AUTO, FAM_EXPORT_F32, FAM_TYPE_F32, FAM_TYPE_F32},
        {"mqa_untied_bf16", FAM_AUTO, FAM_EXPORT_BF16, FAM_TYPE_BF16, FAM_TYPE_BF16},
        {"mha_untied_f16", FAM_AUTO, FAM_EXPORT_F16, FAM_TYPE_F16, FAM_TYPE_F16},
        {"gguf-Q4_1.gguf", FAM_AUTO, FAM_EXPORT_BF16, FAM_TYPE_BF16, FAM_TYPE_F32},
        {"gguf-mixed.gguf", FAM_AUTO, FAM_EXPORT_BF16, FAM_TYPE_BF16, FAM_TYPE_F32},
        {"gguf-F16.gguf", FAM_AUTO, FAM_EXPORT_F16, FAM_TYPE_F16, FAM_TYPE_F32},
        {"gqa_tied_f32", FAM_EXPORT_F16, FAM_EXPORT_F16, FAM_TYPE_F16, FAM_TYPE_F32},
        {"gguf-Q8_0.gguf", FAM_EXPORT_F16, FAM_EXPORT_F16, FAM_TYPE_F16, FAM_TYPE_F32},
        {"mqa_untied_bf16", FAM_EXPORT_F32, FAM_EXPORT_F32, FAM_TYPE_F32, FAM_TYPE_F32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int format = FAM_EXPORT_HF; format <= FAM_EXPORT_GGUF; format++) {
            const char *scratch = scratch_make(), *out = scratch_path(scratch, "out");
            fam_export_options options = options_to(out);
            fam_export_result result;
            fam_memory memory;
            options.type = rows[i].asked;
            options.format = format;
            run_ok(fam_export(fixture(rows[i].model), &options, &result, error));
            assert_int_equal(result.type, rows[i].result);
            fam_checkpoint *checkpoint = open_checkpoint(out, &memory);
            const char *names[] = {"model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"};
            for (int n = 0; n < 2; n++)
                assert_int_equal(fam_checkpoint_tensor(checkpoint, names[n])->type, rows[i].matrix);
            assert_int_equal(fam_checkpoint_tensor(checkpoint, "model.norm.weight")->type,
                             format == FAM_EXPORT_GGUF ? FAM_TYPE_F32 : rows[i].norm);
            fam_checkpoint_free(checkpoint);
            scratch_remove(scratch);
        }
}

static void settings_given_are_written_instead(void **state)
{
    (void)state;
    const char *scratch = scratch_make();
    run_case golden;
    run_case_open(&golden, "fam_lora_train");
    const fam_adapter_option adapter = {golden.adapter, 1};
    for (int format = FAM_EXPORT_HF; format <= FAM_EXPORT_GGUF; format++) {
        const char *out = scratch_path(scratch, format ? "b" : "a");
        fam_export_options options = options_to(out);
        fam_memory memory;
        options.format = format;
        options.adapters = &adapter;
        options.adapter_count = 1;
        options.mode = FAM_MODE_BSWA;
        options.block_size = 11;
        options.state_norm = FAM_STATE_NORM_NONE;
        options.fam_positions = FAM_POSITIONS_ZERO;
        options.window = 5;
        run_ok(fam_export(golden.directory, &options, NULL, error));
        fam_checkpoint *checkpoint = open_checkpoint(out, &memory);
        const fam_settings *s = fam_checkpoint_settings(checkpoint);
        assert_int_equal(s->mode, FAM_MODE_BSWA);
        assert_int_equal(s->block_size, 11);
        assert_int_equal(s->memory_segments, 1); /* the adapter's */
        assert_int_equal(s->state_norm, FAM_STATE_NORM_NONE);
        assert_int_equal(s->fam_positions, FAM_POSITIONS_ZERO);
        assert_int_equal(s->window, 5);
        assert_int_equal(s->fam_length, 4);
        assert_int_equal(fam_checkpoint_tensor(checkpoint, "fam.prompt")->shape[0], 4); /* for another mode later */
        fam_checkpoint_free(checkpoint);
    }
    run_case_close(&golden);
    scratch_remove(scratch);
}

static void a_directorys_config_keeps_what_it_says_besides(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *model = scratch_path(scratch, "model"), *out = scratch_path(scratch, "out");
    const char *ignored[] = {"quantization_config"};
    fam_export_options options = options_to(out);
    fam_memory memory;
    json_t *object;
    mkdir(model, 0777);
    tiny_model_write(
        model, ", \"pad_token_id\": 7, \"torch_dtype\": \"float32\", \"quantization_config\": {\"bits\": 4}", false);
    scratch_write_text(model, "generation_config.json", "{\"eos_token_id\": [1, 2]}");
    scratch_write_text(model, "README.md", "no part of the model");
    options.ignored_config_keys = ignored;
    options.ignored_config_key_count = 1;
    options.type = FAM_EXPORT_BF16;
    run_ok(fam_export(model, &options, NULL, error));
    fam_memory_init(&memory);
    run_ok(fam_json_read(&object, &memory, scratch_path(out, "config.json"), 1 << 20, error));
    assert_int_equal(json_integer_value(json_object_get(object, "pad_token_id")), 7);
    assert_string_equal(json_string_value(json_object_get(object, "torch_dtype")), "bfloat16");
    assert_null(json_object_get(object, "quantization_config"));
    json_decref(object);
    assert_int_equal(access(scratch_path(out, "generation_config.json"), R_OK), 0);
    assert_int_equal(files_in(out), 3);
    scratch_remove(scratch);
}

/* ---- refusals ------------------------------------------------------------------------------------------------------ */

static const char *tiny_model(void)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/model", scratch_make());
    mkdir(path, 0777);
    tiny_model_write(path, "", false);
    return path;
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    const char *model = tiny_model(), *out = scratch_path(scratch_make(), "out");
    fam_export_options options;
#define REFUSED(change, status, words)                                                                                 \
    options = options_to(out);                                                                                         \
    change;                                                                                                            \
    run_refused(fam_export(model, &options, NULL, error), status, words)
    REFUSED(options.out = NULL, FAM_STATUS_INVALID_ARGUMENT, "out: found an empty path");
    REFUSED(options.out = "", FAM_STATUS_INVALID_ARGUMENT, "out: found an empty path");
    REFUSED(options.format = 2, FAM_STATUS_INVALID_ARGUMENT, "format: found 2");
    REFUSED(options.type = 3, FAM_STATUS_INVALID_ARGUMENT, "type: found 3");
    REFUSED(options.type = -2, FAM_STATUS_INVALID_ARGUMENT, "type: found -2");
    REFUSED(options.mode = 4, FAM_STATUS_INVALID_ARGUMENT, "mode: found 4");
    REFUSED(options.state_norm = -2, FAM_STATUS_INVALID_ARGUMENT, "state_norm: found -2");
    REFUSED(options.block_size = 0, FAM_STATUS_INVALID_ARGUMENT, "block_size: found 0");
    REFUSED(options.window = (int64_t)1 << 40, FAM_STATUS_INVALID_ARGUMENT, "window: found");
    REFUSED(options.adapter_count = 1025, FAM_STATUS_INVALID_ARGUMENT, "adapters: found 1025");
    REFUSED(options.size = 4, FAM_STATUS_INVALID_ARGUMENT, "export options: size: found 4");
    REFUSED(options.mode = FAM_MODE_FAM, FAM_STATUS_UNSUPPORTED, "fam.prompt: found none");
    const fam_adapter_option missing = {"/nonexistent", 1}, scaled = {"/nonexistent", NAN};
    REFUSED((options.adapters = &missing, options.adapter_count = 1), FAM_STATUS_NOT_FOUND, "/nonexistent");
    REFUSED((options.adapters = &scaled, options.adapter_count = 1), FAM_STATUS_INVALID_ARGUMENT, "scale: found nan");
#undef REFUSED
    assert_int_equal(access(out, F_OK), -1);
    options = options_to(out);
    run_refused(fam_export("/nonexistent", &options, NULL, error), FAM_STATUS_NOT_FOUND, "/nonexistent");
}

static void nothing_that_is_there_is_replaced(void **state)
{
    (void)state;
    const char *model = tiny_model(), *scratch = scratch_make();
    char inside[700];
    scratch_write_text(scratch, "file", "x");
    mkdir(scratch_path(scratch, "empty"), 0777);
    assert_int_equal(symlink("nowhere", scratch_path(scratch, "dangling")), 0);
    assert_int_equal(symlink(model, scratch_path(scratch, "to-model")), 0);
    snprintf(inside, sizeof inside, "%s/", model);
    const struct {
        const char *out;
        fam_status status;
        const char *words;
    } rows[] = {
        {scratch_path(scratch, "file"), FAM_STATUS_IO, "found something there already"},
        {scratch_path(scratch, "empty"), FAM_STATUS_IO, "found something there already"},
        {scratch_path(scratch, "dangling"), FAM_STATUS_IO, "found something there already"},
        {"/dev/full", FAM_STATUS_IO, "found something there already"},
        {"/", FAM_STATUS_IO, "/: found something there already"},
        {model, FAM_STATUS_INVALID_ARGUMENT, "found the model itself"},
        {inside, FAM_STATUS_INVALID_ARGUMENT, "found the model itself"},
        {scratch_path(scratch, "to-model"), FAM_STATUS_INVALID_ARGUMENT, "found the model itself"},
        {scratch_path(scratch, "no/out"), FAM_STATUS_NOT_FOUND, "no: cannot stat"},
        {scratch_path(scratch, "file/out"), FAM_STATUS_NOT_FOUND, "Not a directory"},
    };
    int before = files_in(scratch);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int format = FAM_EXPORT_HF; format <= FAM_EXPORT_GGUF; format++) {
            fam_export_options options = options_to(rows[i].out);
            options.format = format;
            run_refused(fam_export(model, &options, NULL, error), rows[i].status, rows[i].words);
        }
    assert_int_equal(files_in(scratch), before);
    fam_export_options options = options_to("out.gguf/");
    options.format = FAM_EXPORT_GGUF;
    run_refused(fam_export(model, &options, NULL, error), FAM_STATUS_INVALID_ARGUMENT, "found a directory's name");
    options = options_to(scratch_path(scratch, "new///"));
    run_ok(fam_export(model, &options, NULL, error));
    assert_int_equal(access(scratch_path(scratch, "new/config.json"), R_OK), 0);
    options = options_to(scratch_path(scratch, "new"));
    run_refused(fam_export(model, &options, NULL, error), FAM_STATUS_IO, "found something there already");
    scratch_remove(scratch);
}

static void numbers_that_are_not_finite_are_refused_by_name(void **state)
{
    (void)state;
    const char *scratch = scratch_make(), *model = scratch_path(scratch, "model"), *out = scratch_path(scratch, "out");
    static tiny_list list;
    static const float values[] = {1e5f, INFINITY, NAN, 3.4e38f};
    mkdir(model, 0777);
    scratch_write_text(model, "config.json", tiny_config(""));
    for (size_t i = 0; i < 4; i++) {
        tiny_list_begin(&list);
        tiny_list_add_model(&list, false);
        fam_tensor *tensor = tiny_list_find(&list, "model.layers.1.mlp.up_proj.weight");
        float own[TINY_I * TINY_E]; /* the list's tensors share their data */
        memcpy(own, tensor->data, sizeof own);
        own[2 * TINY_E + 3] = values[i];
        tensor->data = (const uint8_t *)own;
        tiny_list_write(&list, model, "model.safetensors");
        for (int type = FAM_EXPORT_F32; type <= FAM_EXPORT_BF16; type++)
            for (int format = FAM_EXPORT_HF; format <= FAM_EXPORT_GGUF; format++) {
                fam_export_options options = options_to(out);
                options.type = type;
                options.format = format;
                bool fits = isfinite(values[i]) && (type == FAM_EXPORT_F32 || (type == FAM_EXPORT_BF16 && i == 0));
                if (fits)
                    continue;
                run_refused(fam_export(model, &options, NULL, error), FAM_STATUS_BAD_FORMAT,
                            "tensor model.layers.1.mlp.up_proj.weight: row 2: found a number that is not finite");
                assert_int_equal(files_in(scratch), 1);
            }
    }
    scratch_remove(scratch);
}

static void a_tokenizer_is_not_lost_in_silence(void **state)
{
    (void)state;
    const char *model = tiny_model(), *out = scratch_path(scratch_make(), "out.gguf");
    fam_export_options options = options_to(out);
    fam_engine_info info;
    scratch_write_text(model, "tokenizer.model", "sentencepiece");
    run_refused(fam_export(model, &options, NULL, error), FAM_STATUS_UNSUPPORTED,
                "tokenizer.model: tokenizer: found one that GGUF is not written from");
    assert_int_equal(access(out, F_OK), -1);
    unlink(scratch_path(model, "tokenizer.model"));
    run_ok(fam_export(model, &options, NULL, error));
    fam_engine *engine = open_engine(out, NULL, 0, FAM_AUTO);
    assert_null(fam_engine_tokenizer(engine));
    fam_engine_info_get(engine, &info);
    assert_int_equal(info.vocab_size, TINY_V);
    fam_engine_free(engine);
}

/* A model of a terabyte, nearly all of it a hole in its file. */
static void too_little_space_is_told_before_anything_is_written(void **state)
{
    (void)state;
    enum { WIDTH = 1 << 14 };
    const uint64_t bytes = (uint64_t)FAM_VOCAB_MAX * WIDTH * 4;
    const char *scratch = scratch_make(), *model = scratch_path(scratch, "model");
    char header[2048] = "{", *at = header + 1;
    uint64_t offset = 0, space = 0, size;
    fam_memory memory;
    const struct {
        const char *name;
        int64_t rows, columns;
    } tensors[] = {{"embed_tokens", FAM_VOCAB_MAX, WIDTH},  {"norm", WIDTH, 0},
                   {"layers.0.input_layernorm", WIDTH, 0},  {"layers.0.post_attention_layernorm", WIDTH, 0},
                   {"layers.0.self_attn.q_proj", 2, WIDTH}, {"layers.0.self_attn.k_proj", 2, WIDTH},
                   {"layers.0.self_attn.v_proj", 2, WIDTH}, {"layers.0.self_attn.o_proj", WIDTH, 2},
                   {"layers.0.mlp.gate_proj", 1, WIDTH},    {"layers.0.mlp.up_proj", 1, WIDTH},
                   {"layers.0.mlp.down_proj", WIDTH, 1}};
    fam_memory_init(&memory);
    run_ok(fam_path_free_space(model, &memory, &space, error));
    if (space > bytes / 2) {
        print_message("this disk would hold it\n");
        skip();
    }
    mkdir(model, 0777);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        uint64_t end = offset + (uint64_t)tensors[i].rows * (uint64_t)(tensors[i].columns ? tensors[i].columns : 1) * 4;
        char columns[32] = "";
        if (tensors[i].columns)
            snprintf(columns, sizeof columns, ",%lld", (long long)tensors[i].columns);
        at += sprintf(at, "%s\"model.%s.weight\":{\"dtype\":\"F32\",\"shape\":[%lld%s],\"data_offsets\":[%llu,%llu]}",
                      i ? "," : "", tensors[i].name, (long long)tensors[i].rows, columns, (unsigned long long)offset,
                      (unsigned long long)end);
        offset = end;
    }
    *at++ = '}';
    size = (uint64_t)(at - header);
    char whole[4096];
    memcpy(whole, &size, 8);
    memcpy(whole + 8, header, size);
    scratch_write(model, "model.safetensors", whole, 8 + size);
    scratch_write_text(
        model, "config.json",
        "{\"model_type\":\"llama\",\"vocab_size\":16777216,\"hidden_size\":16384,\"intermediate_size\":1,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"head_dim\":2,\"tie_word_embeddings\":true}");
    if (truncate(scratch_path(model, "model.safetensors"), (off_t)(8 + size + offset)) != 0) {
        print_message("this file system has no file of that length\n");
        scratch_remove(scratch);
        skip();
    }
    for (int format = FAM_EXPORT_HF; format <= FAM_EXPORT_GGUF; format++) {
        fam_export_options options = options_to(scratch_path(scratch, "out"));
        options.format = format;
        run_refused(fam_export(model, &options, NULL, error), FAM_STATUS_IO, "out: free space: found");
        assert_int_equal(files_in(scratch), 1);
    }
    scratch_remove(scratch);
}

/* ---- whole or not at all ------------------------------------------------------------------------------------------- */

typedef struct watch {
    uint64_t done, total;
    int calls, stop_after;
} watch;

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    watch *w = context;
    assert_true(done > w->done && done <= total);
    w->done = done;
    w->total = total;
    w->calls++;
}

static bool on_cancelled(void *context)
{
    const watch *w = context;
    return w->stop_after > 0 && w->calls >= w->stop_after;
}

static void progress_is_told_and_a_cancelled_export_leaves_nothing(void **state)
{
    (void)state;
    const char *model = tiny_model(), *scratch = scratch_make();
    for (int format = FAM_EXPORT_HF; format <= FAM_EXPORT_GGUF; format++) {
        watch w = {.stop_after = 3};
        fam_export_result result;
        fam_export_options options = options_to(scratch_path(scratch, format ? "b" : "a"));
        options.format = format;
        options.progress = on_progress;
        options.cancelled = on_cancelled;
        options.context = &w;
        run_refused(fam_export(model, &options, NULL, error), FAM_STATUS_CANCELLED, "cancelled");
        assert_int_equal(w.calls, 3);
        assert_int_equal(files_in(scratch), format);
        w = (watch){0};
        run_ok(fam_export(model, &options, &result, error));
        assert_true(w.done == w.total && w.total == result.bytes);
        assert_int_equal(files_in(scratch), format + 1);
    }
    scratch_remove(scratch);
}

/* A limit on the length of files stands for a full disk: it strikes at every kilobyte of what is written. */
static void a_full_disk_leaves_nothing_behind(void **state)
{
    (void)state;
    const char *model = tiny_model(), *scratch = scratch_make();
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    for (int format = FAM_EXPORT_HF; format <= FAM_EXPORT_GGUF; format++) {
        int failures = 0;
        fam_status status = FAM_STATUS_FAILED;
        for (rlim_t size = 0; status != FAM_OK; size += 512) {
            fam_export_options options = options_to(scratch_path(scratch, "out"));
            struct rlimit limit = {size, before.rlim_max};
            options.format = format;
            setrlimit(RLIMIT_FSIZE, &limit);
            status = fam_export(model, &options, NULL, &failed);
            setrlimit(RLIMIT_FSIZE, &before);
            if (status == FAM_OK)
                break;
            failures++;
            assert_int_equal(status, FAM_STATUS_IO);
            assert_non_null(strstr(failed.message, "cannot write"));
            assert_int_equal(files_in(scratch), 0);
        }
        assert_true(failures > 10);
        assert_int_equal(files_in(scratch), 1);
        if (format == FAM_EXPORT_HF)
            scratch_remove(scratch_path(scratch, "out"));
    }
    scratch_remove(scratch);
}

/* Every kind of thing that is exported, with each allocation failing once, and from then on. */
static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    run_case golden;
    run_case_open(&golden, "fam_lora_train");
    const fam_adapter_option adapter = {golden.adapter, 1};
    const struct {
        const char *model;
        size_t adapters;
        int format;
    } rows[] = {
        {golden.directory, 1, FAM_EXPORT_HF},
        {golden.directory, 1, FAM_EXPORT_GGUF},
        {fixture("gguf-llama3_rope.gguf"), 0, FAM_EXPORT_HF},
        {fixture("llama3_rope"), 0, FAM_EXPORT_GGUF},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int for_good = 0; for_good < 2; for_good++) {
            const char *scratch = scratch_make();
            fam_status status = FAM_STATUS_FAILED;
            size_t fail = 0;
            while (status != FAM_OK) {
                fam_export_fault fault = {.fail_at = ++fail, .fail_for_good = for_good};
                fam_export_options options = options_to(scratch_path(scratch, "out"));
                options.format = rows[i].format;
                options.adapters = &adapter;
                options.adapter_count = rows[i].adapters;
                status = fam_export_faulty(rows[i].model, &options, NULL, &fault, &failed);
                assert_int_equal(fault.bytes_left, 0);
                if (status != FAM_OK && (status != FAM_STATUS_OUT_OF_MEMORY || files_in(scratch) != 0))
                    fail_msg("allocation %zu: status %d: %s", fail, status, failed.message);
            }
            assert_true(fail > 60);
            scratch_remove(scratch);
        }
    run_case_close(&golden);
}

/* ---- RoPE ---------------------------------------------------------------------------------------------------------- */

static fam_model_config rope_config(int64_t head_dim, double theta, double factor, double low, double high,
                                    int64_t context)
{
    return (fam_model_config){.family = "llama",
                              .head_dim = head_dim,
                              .rope_theta = theta,
                              .rope_scaling = FAM_ROPE_LLAMA3,
                              .rope_factor = factor,
                              .rope_low_freq_factor = low,
                              .rope_high_freq_factor = high,
                              .rope_original_context = context};
}

static void llama3_parameters_are_found_again_from_factors(void **state)
{
    (void)state;
    const fam_model_config rows[] = {
        rope_config(128, 500000, 8, 1, 4, 8192),  rope_config(64, 500000, 32, 1, 4, 8192),
        rope_config(128, 500000, 8, 1, 4.5, 100), rope_config(128, 10000, 3.5, 2, 6, 4095),
        rope_config(8, 10000, 8, 1, 4, 64),       rope_config(16, 500, 8, 1, 4, 64),
    };
    fam_memory memory;
    fam_memory_init(&memory);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float factors[64], again[64];
        fam_model_config found = rows[i];
        run_ok(fam_export_rope_factors(factors, &rows[i], &memory, error));
        found.rope_scaling = FAM_ROPE_DEFAULT;
        found.rope_frequency_factors = factors;
        run_ok(fam_export_rope_llama3(&found, &memory, "f", error));
        assert_null(found.rope_frequency_factors);
        assert_int_equal(found.rope_scaling, FAM_ROPE_LLAMA3);
        assert_true(found.rope_factor == rows[i].rope_factor);
        run_ok(fam_export_rope_factors(again, &found, &memory, error));
        for (int64_t f = 0; f < rows[i].head_dim / 2; f++)
            assert_true(fabs(again[f] / factors[f] - 1) < 4e-6);
        if (i < 3) { /* a band with many points, and low 1: the very numbers */
            assert_true(found.rope_low_freq_factor == 1);
            assert_true(found.rope_high_freq_factor == rows[i].rope_high_freq_factor);
            assert_int_equal(found.rope_original_context, rows[i].rope_original_context);
        }
    }
    float ones[4] = {1, 1, 1, 1}, other[4] = {1, 3, 2, 8}, less[4] = {0.5f, 1, 1, 1};
    fam_model_config plain = {.family = "llama", .head_dim = 8, .rope_theta = 10000, .rope_frequency_factors = ones};
    run_ok(fam_export_rope_llama3(&plain, &memory, "f", error));
    assert_true(plain.rope_scaling == FAM_ROPE_DEFAULT && !plain.rope_frequency_factors);
    plain.rope_frequency_factors = other;
    run_refused(fam_export_rope_llama3(&plain, &memory, "f", error), FAM_STATUS_UNSUPPORTED,
                "f: tensor rope_freqs.weight: found factors that are not llama3's");
    plain.rope_frequency_factors = less;
    run_refused(fam_export_rope_llama3(&plain, &memory, "f", error), FAM_STATUS_UNSUPPORTED, "rope_freqs.weight");
    assert_int_equal(memory.bytes, 0);
}

/* ---- SmolLM2 ------------------------------------------------------------------------------------------------------- */

static void smollm2_takes_little_memory_and_keeps_its_tokenizer(void **state)
{
    (void)state;
    const char *model = suite_path("build/downloads/SmolLM2-135M-Instruct.Q4_1.gguf"), *scratch = scratch_make();
    if (access(model, R_OK) != 0) {
        print_message("%s: found none: scripts/get-smollm2.sh gets it\n", model);
        skip();
    }
    const fam_adapter_option adapter = {suite_path("models/smollm2-memory"), 1};
    fam_export_options options = options_to(scratch_path(scratch, "out"));
    fam_export_fault fault = {0};
    fam_export_result result;
    fam_tokenizer *before, *after;
    options.adapters = &adapter;
    options.adapter_count = 1;
    run_ok(fam_export_faulty(model, &options, &result, &fault, error));
    print_message("%zu bytes of memory for a file of %llu\n", fault.peak_bytes, (unsigned long long)result.bytes);
    assert_true(fault.peak_bytes < 32 << 20 && result.bytes > 256 << 20);
    assert_int_equal(result.merged, 210);
    run_ok(fam_tokenizer_open(&before, model, error));
    run_ok(fam_tokenizer_open(&after, scratch_path(scratch, "out"), error));
    assert_int_equal(fam_tokenizer_eos(after), fam_tokenizer_eos(before));
    assert_int_equal(fam_tokenizer_bos(after), fam_tokenizer_bos(before));
    fam_tokenizer_free(before);
    fam_tokenizer_free(after);
    scratch_remove(scratch);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(golden_cases_with_lora_merge_in_all_modes),
    cmocka_unit_test(golden_cases_without_an_adapter_stay_what_they_are),
    cmocka_unit_test(each_container_and_type_is_exported),
    cmocka_unit_test(merged_models_give_what_peft_gives),
    cmocka_unit_test(types_are_the_bases_own_or_as_asked),
    cmocka_unit_test(settings_given_are_written_instead),
    cmocka_unit_test(a_directorys_config_keeps_what_it_says_besides),
    cmocka_unit_test(wrong_options_are_refused),
    cmocka_unit_test(nothing_that_is_there_is_replaced),
    cmocka_unit_test(numbers_that_are_not_finite_are_refused_by_name),
    cmocka_unit_test(a_tokenizer_is_not_lost_in_silence),
    cmocka_unit_test(too_little_space_is_told_before_anything_is_written),
    cmocka_unit_test(progress_is_told_and_a_cancelled_export_leaves_nothing),
    cmocka_unit_test(a_full_disk_leaves_nothing_behind),
    cmocka_unit_test(every_failing_allocation_is_an_error),
    cmocka_unit_test(llama3_parameters_are_found_again_from_factors),
    cmocka_unit_test(smollm2_takes_little_memory_and_keeps_its_tokenizer),
};
SUITE_MAIN(tests)
