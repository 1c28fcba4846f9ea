/*
 * What runs start from: fresh adapters and models from nothing, opened again as any others.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fam/tokenizer.h"
#include "format/json.h"
#include "run.h"
#include "scratch.h"
#include "session/internal.h"
#include "train/start.h"

static fam_memory memory;

static fam_recipe make_recipe(void)
{
    fam_recipe r = {.memory = &memory};
    fam_memory_init(&memory);
    r.model.is_new = true;
    r.model.layers = 3;
    r.model.hidden_size = 48;
    r.model.intermediate_size = 80;
    r.model.heads = 4;
    r.model.kv_heads = 2;
    r.model.head_dim = 12;
    r.model.context_length = 4096;
    r.model.rope_theta = 10000;
    r.model.rms_norm_eps = 1e-5;
    r.model.init_std = 0.02;
    r.fam.mode = FAM_MODE_FAM;
    r.fam.state_norm = FAM_STATE_NORM_RMS;
    r.fam.fam_positions = -1;
    r.fam.block_size = 32;
    r.fam.memory_segments = -1;
    r.fam.fam_length = 5;
    r.fam.window = -1;
    r.fam.prompt_init = FAM_PROMPT_INIT_TOKENS;
    r.fam.prompt_std = 0.5;
    r.adapt.what = FAM_TRAIN_WHAT_ADAPTER;
    r.adapt.rank = 4;
    r.adapt.alpha = 6;
    r.adapt.targets = 0x7f;
    r.train.seed = 7;
    return r;
}

/* A tensor's numbers. */
typedef struct numbers {
    float *values;
    int64_t count;
    double mean, deviation, least, most;
} numbers;

static numbers read_numbers(const fam_tensor *tensor)
{
    assert_non_null(tensor);
    assert_int_equal(tensor->type, FAM_TYPE_F32);
    numbers n = {.count = (int64_t)(tensor->bytes / sizeof(float)), .least = INFINITY, .most = -INFINITY};
    n.values = malloc(tensor->bytes);
    memcpy(n.values, tensor->data, tensor->bytes);
    for (int64_t i = 0; i < n.count; i++) {
        n.mean += n.values[i] / (double)n.count;
        n.least = fmin(n.least, n.values[i]);
        n.most = fmax(n.most, n.values[i]);
    }
    for (int64_t i = 0; i < n.count; i++)
        n.deviation += (n.values[i] - n.mean) * (n.values[i] - n.mean) / (double)n.count;
    n.deviation = sqrt(n.deviation);
    return n;
}

/* Normal numbers of this standard deviation, as far as one can see. */
static void assert_normal(const fam_tensor *tensor, double deviation)
{
    numbers n = read_numbers(tensor);
    double root = sqrt((double)n.count);
    int64_t inside = 0;
    for (int64_t i = 0; i < n.count; i++)
        inside += fabs(n.values[i]) < deviation;
    if (!(fabs(n.mean) < 5 * deviation / root && fabs(n.deviation / deviation - 1) < 4 / root &&
          fabs((double)inside / (double)n.count - 0.6827) < 2.5 / root && n.most < 6 * deviation))
        fail_msg("%s: found mean %g, deviation %g, %lld of %lld inside of it, need normal ones of %g", tensor->name,
                 n.mean, n.deviation, (long long)inside, (long long)n.count, deviation);
    free(n.values);
}

/* Each row of the prompt is a row of the table, none twice while there are others. */
static void assert_rows_of(const fam_tensor *prompt, const fam_tensor *table)
{
    int64_t vocab = table->shape[0], width = table->shape[1], least = prompt->shape[0] / vocab;
    int64_t *seen = calloc((size_t)vocab, sizeof *seen);
    float *rows = malloc((size_t)(vocab * width) * sizeof *rows);
    assert_int_equal(prompt->shape[1], width);
    fam_type_dequantize(rows, table->data, table->type, vocab * width);
    numbers n = read_numbers(prompt);
    for (int64_t i = 0; i < prompt->shape[0]; i++) {
        int64_t row = 0;
        while (row < vocab && memcmp(rows + row * width, n.values + i * width, (size_t)width * sizeof *rows) != 0)
            row++;
        assert_true(row < vocab);
        seen[row]++;
    }
    for (int64_t row = 0; row < vocab; row++)
        assert_true(seen[row] == least || seen[row] == least + 1);
    free(seen);
    free(rows);
    free(n.values);
}

static fam_checkpoint *open_checkpoint(const char *path)
{
    fam_checkpoint *checkpoint;
    run_ok(fam_checkpoint_open(&checkpoint, &memory, path, NULL, error));
    return checkpoint;
}

/* ---- a model from nothing ---------------------------------------------------------------------------------------- */

static void check_model(const fam_recipe *recipe, bool tied)
{
    const char *directory = scratch_make(), *path = scratch_path(directory, "model");
    char name[96];
    run_ok(fam_start_model(path, recipe, error));
    fam_checkpoint *c = open_checkpoint(path);
    assert_normal(fam_checkpoint_tensor(c, "model.embed_tokens.weight"), 0.02);
    assert_int_equal(fam_checkpoint_tensor(c, "model.embed_tokens.weight")->shape[0], 257);
    if (tied)
        assert_null(fam_checkpoint_tensor(c, "lm_head.weight"));
    else
        assert_normal(fam_checkpoint_tensor(c, "lm_head.weight"), 0.02);
    for (int l = 0; l < 3; l++) {
        static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                              "mlp.gate_proj",    "mlp.up_proj",      "self_attn.o_proj",
                                              "mlp.down_proj"};
        for (int i = 0; i < 7; i++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, modules[i]);
            assert_normal(fam_checkpoint_tensor(c, name), i < 5 ? 0.02 : 0.02 / sqrt(6));
        }
        snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", l);
        numbers n = read_numbers(fam_checkpoint_tensor(c, name));
        assert_true(n.least == 1 && n.most == 1);
        free(n.values);
    }
    const fam_tensor *prompt = fam_checkpoint_tensor(c, "fam.prompt");
    assert_int_equal(prompt->shape[0], recipe->fam.fam_length < 0 ? 64 : recipe->fam.fam_length);
    if (recipe->fam.prompt_init == FAM_PROMPT_INIT_TOKENS)
        assert_rows_of(prompt, fam_checkpoint_tensor(c, "model.embed_tokens.weight"));
    else
        assert_normal(prompt, 0.5);
    fam_checkpoint_free(c);
    assert_int_equal(memory.bytes, 0);

    fam_engine *engine;
    fam_engine_info info;
    fam_session *session;
    static const int32_t text[70] = {256, 'a', 'b', 255, 0};
    run_ok(fam_engine_open(&engine, path, NULL, error));
    fam_engine_info_get(engine, &info);
    assert_int_equal(info.mode, FAM_MODE_FAM);
    assert_int_equal(info.block_size, 32);
    assert_int_equal(info.state_norm, FAM_STATE_NORM_RMS);
    assert_int_equal(info.vocab_size, 257);
    assert_int_equal(info.context_length, 4096);
    assert_non_null(fam_engine_tokenizer(engine));
    run_ok(fam_session_create(&session, engine, NULL, error));
    run_feed(session, text, 0, 70, 70);
    for (int i = 0; i < 257; i++)
        assert_true(isfinite(fam_session_logits(session)[i]));
    fam_session_free(session);
    fam_engine_free(engine);
    scratch_remove(directory);
}

static void a_model_from_nothing_opens(void **state)
{
    fam_recipe r = make_recipe();
    (void)state;
    check_model(&r, false);
    r.fam.prompt_init = FAM_PROMPT_INIT_NORMAL;
    r.model.tied_embeddings = true;
    check_model(&r, true);
    r.fam.prompt_init = FAM_PROMPT_INIT_TOKENS;
    r.fam.fam_length = 300; /* more than there are tokens */
    check_model(&r, true);
    r.fam.fam_length = -1;
    check_model(&r, true);
}

static void other_modes_have_no_prompt(void **state)
{
    const char *directory = scratch_make();
    fam_recipe r = make_recipe();
    (void)state;
    for (int mode = -1; mode < FAM_MODE_FAM; mode++) {
        fam_settings s;
        r.fam.mode = mode;
        run_ok(fam_start_model(scratch_path(directory, "model"), &r, error));
        fam_checkpoint *c = open_checkpoint(scratch_path(directory, "model"));
        s = *fam_checkpoint_settings(c);
        assert_null(fam_checkpoint_tensor(c, "fam.prompt"));
        assert_int_equal(s.mode, mode);
        assert_int_equal(s.block_size, 32);
        fam_checkpoint_free(c);
    }
    scratch_remove(directory);
}

static void a_model_that_cannot_be_is_refused(void **state)
{
    const char *directory = scratch_make(), *path = scratch_path(directory, "model");
    fam_recipe r = make_recipe();
    (void)state;
    r.model.kv_heads = 3;
    run_refused(fam_start_model(path, &r, error), FAM_STATUS_INVALID_ARGUMENT, "key/value heads");
    r = make_recipe();
    r.model.head_dim = 7;
    run_refused(fam_start_model(path, &r, error), FAM_STATUS_INVALID_ARGUMENT, "even");
    r = make_recipe();
    r.model.layers = 0;
    run_refused(fam_start_model(path, &r, error), FAM_STATUS_INVALID_ARGUMENT, "layers");
    r = make_recipe();
    r.model.intermediate_size = r.model.hidden_size = (int64_t)1 << 40;
    run_refused(fam_start_model(path, &r, error), FAM_STATUS_OUT_OF_MEMORY, "out of memory");
    r = make_recipe();
    r.fam.fam_length = INT64_MAX / 8;
    run_refused(fam_start_model(path, &r, error), FAM_STATUS_INVALID_ARGUMENT, "fam.prompt");
    assert_int_equal(memory.bytes, 0);
    r = make_recipe();
    run_refused(fam_start_model(scratch_path(directory, "none/model"), &r, error), FAM_STATUS_NOT_FOUND,
                "none/model");
    scratch_remove(directory);
}

/* ---- the byte tokenizer ------------------------------------------------------------------------------------------ */

typedef struct gathered {
    int32_t ids[512];
    size_t count;
} gathered;

static bool gather(void *context, const int32_t *ids, size_t count)
{
    gathered *g = context;
    assert_true(g->count + count <= 512);
    memcpy(g->ids + g->count, ids, count * sizeof *ids);
    g->count += count;
    return true;
}

static fam_tokenizer *start_tokenizer(const char *directory)
{
    fam_tokenizer *t;
    fam_recipe r = make_recipe();
    run_ok(fam_start_model(scratch_path(directory, "model"), &r, error));
    run_ok(fam_tokenizer_open(&t, scratch_path(directory, "model"), error));
    return t;
}

static void each_byte_is_a_token(void **state)
{
    const char *directory = scratch_make();
    fam_tokenizer *t = start_tokenizer(directory);
    fam_encoder *e;
    uint8_t bytes[512];
    gathered g = {.count = 0};
    size_t length;
    (void)state;
    assert_int_equal(fam_tokenizer_vocab_size(t), 257);
    assert_int_equal(fam_tokenizer_eos(t), 256);
    assert_int_equal(fam_tokenizer_bos(t), -1);
    assert_false(fam_tokenizer_adds_bos(t));
    for (int id = 0; id < 256; id++) {
        const char *text = fam_tokenizer_bytes(t, id, &length);
        assert_true(length == 1 && (uint8_t)text[0] == id && !fam_tokenizer_is_special(t, id));
        assert_false(fam_tokenizer_is_end(t, id));
    }
    assert_true(fam_tokenizer_is_special(t, 256) && fam_tokenizer_is_end(t, 256));
    assert_int_equal(fam_tokenizer_find(t, "<|endoftext|>", 13), 256);
    for (int i = 0; i < 512; i++)
        bytes[i] = (uint8_t)(i * 91 + i / 256); /* all, also as broken UTF-8 */
    run_ok(fam_encoder_create(&e, t, true, error));
    run_ok(fam_encoder_feed(e, (const char *)bytes, 300, gather, &g, error));
    assert_true(g.count > 200); /* a stream is not held back to its end */
    run_ok(fam_encoder_feed(e, (const char *)bytes + 300, 212, gather, &g, error));
    run_ok(fam_encoder_finish(e, gather, &g, error));
    assert_int_equal(g.count, 512);
    for (int i = 0; i < 512; i++)
        assert_int_equal(g.ids[i], bytes[i]);
    assert_int_equal(fam_encoder_dropped(e, NULL), 0);
    fam_encoder_free(e);
    fam_tokenizer_free(t);
    scratch_remove(directory);
}

static void the_tokenizer_is_the_one_that_others_read(void **state)
{
    const char *directory = scratch_make();
    fam_tokenizer *t = start_tokenizer(directory);
    size_t size, need_size, i;
    json_error_t json_error;
    json_t *each;
    (void)state;
    uint8_t *text = run_read(scratch_path(directory, "model/tokenizer.json"), &size),
            *need = run_read(suite_path("tests/fixtures/byte_tokenizer/tokenizer.json"), &need_size);
    assert_int_equal(size, need_size);
    assert_memory_equal(text, need, size);
    json_t *cases = json_load_file(suite_path("tests/fixtures/byte_tokenizer/cases.json"), JSON_ALLOW_NUL, &json_error);
    assert_non_null(cases);
    assert_true(json_array_size(json_object_get(cases, "cases")) >= 30);
    json_array_foreach(json_object_get(cases, "cases"), i, each)
    {
        const json_t *string = json_object_get(each, "text"), *ids = json_object_get(each, "ids");
        gathered g = {.count = 0};
        fam_encoder *e;
        run_ok(fam_encoder_create(&e, t, true, error));
        run_ok(fam_encoder_feed(e, json_string_value(string), json_string_length(string), gather, &g, error));
        run_ok(fam_encoder_finish(e, gather, &g, error));
        assert_int_equal(g.count, json_array_size(ids));
        for (size_t k = 0; k < g.count; k++)
            assert_int_equal(g.ids[k], json_integer_value(json_array_get(ids, k)));
        fam_encoder_free(e);
    }
    json_decref(cases);
    free(text);
    free(need);
    fam_tokenizer_free(t);
    scratch_remove(directory);
}

/* ---- a fresh adapter --------------------------------------------------------------------------------------------- */

static void assert_fresh_lora(const fam_adapter *adapter, const fam_checkpoint *c, unsigned targets, int64_t rank)
{
    static const char *const modules[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                          "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                          "mlp.down_proj"};
    int64_t layers = fam_checkpoint_config(c)->layers, count = 0;
    for (int64_t i = 0; i < layers * 7; i++) {
        char module[96], name[110];
        const fam_tensor *a, *b;
        snprintf(module, sizeof module, "model.layers.%d.%s", (int)(i / 7), modules[i % 7]);
        snprintf(name, sizeof name, "%s.weight", module);
        bool is_there = fam_adapter_lora(adapter, module, &a, &b);
        assert_int_equal(is_there, targets >> i % 7 & 1);
        if (!is_there)
            continue;
        count++;
        const fam_tensor *weight = fam_checkpoint_tensor(c, name);
        assert_true(a->shape[0] == rank && a->shape[1] == weight->shape[1]);
        assert_true(b->shape[0] == weight->shape[0] && b->shape[1] == rank);
        double bound = 1 / sqrt((double)a->shape[1]);
        numbers n = read_numbers(a), zero = read_numbers(b);
        assert_true(n.least >= -bound && n.least < -0.9 * bound && n.most <= bound && n.most > 0.9 * bound);
        assert_true(fabs(n.mean) < 0.2 * bound && fabs(n.deviation * sqrt(3) / bound - 1) < 0.15);
        assert_true(zero.least == 0 && zero.most == 0);
        free(n.values);
        free(zero.values);
    }
    assert_int_equal(fam_adapter_lora_count(adapter), count);
}

static void a_fresh_adapter_opens(void **state)
{
    static const char *const models[] = {"tests/fixtures/tiny_llama/gqa_tied_f32",
                                         "tests/fixtures/tiny_llama/gguf-Q4_0.gguf",
                                         "tests/golden/fam_rms_m1"};
    const char *directory = scratch_make(), *path = scratch_path(directory, "adapter");
    (void)state;
    for (int i = 0; i < 6; i++) {
        fam_recipe r = make_recipe();
        fam_adapter *adapter;
        bool base_is_fam = i / 2 == 2;
        r.adapt.targets = i % 2 ? 0x41 : 0x7f;
        r.adapt.rslora = i % 2;
        r.fam.prompt_init = i % 2 ? FAM_PROMPT_INIT_NORMAL : FAM_PROMPT_INIT_TOKENS;
        if (base_is_fam && i % 2) /* it says itself what it is */
            r.fam.mode = r.fam.state_norm = -1, r.fam.fam_length = r.fam.block_size = -1;
        if (i % 2)
            r.adapt.rank = 8, r.fam.prompt_std = 0.5;
        fam_checkpoint *c = open_checkpoint(suite_path(models[i / 2]));
        run_ok(fam_start_adapter(path, &r, c, error));
        run_ok(fam_adapter_open(&adapter, &memory, path, fam_checkpoint_config(c), error));
        assert_fresh_lora(adapter, c, r.adapt.targets, r.adapt.rank);
        double scale = i % 2 ? 6 / sqrt(8) : 1.5;
        assert_true(fabs(fam_adapter_scale(adapter) - scale) < 1e-12);
        fam_settings s = *fam_adapter_settings(adapter), want = *fam_checkpoint_settings(c);
        assert_int_equal(s.mode, FAM_MODE_FAM);
        assert_int_equal(s.block_size, r.fam.block_size < 0 ? want.block_size : 32);
        assert_int_equal(s.memory_segments, want.memory_segments);
        assert_int_equal(s.state_norm, FAM_STATE_NORM_RMS);
        assert_int_equal(s.fam_length, r.fam.fam_length < 0 ? want.fam_length : 5);
        const fam_tensor *prompt = fam_adapter_prompt(adapter);
        assert_int_equal(prompt->shape[0], s.fam_length);
        const fam_tensor *present = fam_checkpoint_tensor(c, "fam.prompt");
        if (present && present->shape[0] == s.fam_length)
            assert_memory_equal(prompt->data, present->data, present->bytes); /* what the model has learned is kept */
        else if (i % 2)
            assert_normal(prompt, 0.5);
        else
            assert_rows_of(prompt, fam_checkpoint_tensor(c, "model.embed_tokens.weight"));
        fam_adapter_free(adapter);
        fam_checkpoint_free(c);
        assert_int_equal(memory.bytes, 0);
    }
    scratch_remove(directory);
}

/* The last logits with or without the adapter, mode full; freed by free. */
static float *logits_with(const char *model, const char *adapter, int64_t *vocab)
{
    static const int32_t tokens[] = {1, 5, 3, 7, 2, 9, 4, 1, 8, 6, 0, 3};
    fam_engine *engine;
    fam_engine_info info;
    fam_session *session;
    fam_engine_options options = run_options();
    const fam_adapter_option given = {.path = adapter, .scale = 1};
    options.adapters = &given;
    options.adapter_count = adapter != NULL;
    options.mode = FAM_MODE_FULL;
    run_ok(fam_engine_open(&engine, model, &options, error));
    fam_engine_info_get(engine, &info);
    *vocab = info.vocab_size;
    run_ok(fam_session_create(&session, engine, NULL, error));
    run_feed(session, tokens, 0, 12, 12);
    float *copy = malloc((size_t)*vocab * sizeof *copy);
    memcpy(copy, fam_session_logits(session), (size_t)*vocab * sizeof *copy);
    fam_session_free(session);
    fam_engine_free(engine);
    return copy;
}

static void a_fresh_adapter_changes_nothing(void **state)
{
    const char *directory = scratch_make(), *path = scratch_path(directory, "adapter"),
               *model = suite_path("tests/fixtures/tiny_llama/gqa_tied_f32");
    fam_recipe r = make_recipe();
    int64_t vocab;
    (void)state;
    fam_checkpoint *c = open_checkpoint(model);
    run_ok(fam_start_adapter(path, &r, c, error));
    fam_checkpoint_free(c);
    float *with = logits_with(model, path, &vocab), *without = logits_with(model, NULL, &vocab);
    assert_memory_equal(with, without, (size_t)vocab * sizeof *with);
    free(with);
    free(without);
    scratch_remove(directory);
}

static void the_prompt_alone(void **state)
{
    const char *directory = scratch_make(), *path = scratch_path(directory, "adapter");
    fam_recipe r = make_recipe();
    fam_adapter *adapter;
    (void)state;
    fam_checkpoint *c = open_checkpoint(suite_path("tests/fixtures/tiny_llama/gqa_tied_f32"));
    r.adapt.what = FAM_TRAIN_WHAT_PROMPT;
    run_ok(fam_start_adapter(path, &r, c, error));
    run_ok(fam_adapter_open(&adapter, &memory, path, fam_checkpoint_config(c), error));
    assert_int_equal(fam_adapter_lora_count(adapter), 0);
    assert_int_equal(fam_adapter_prompt(adapter)->shape[0], 5);
    fam_adapter_free(adapter);
    r.fam.mode = FAM_MODE_BSWA;
    run_refused(fam_start_adapter(path, &r, c, error), FAM_STATUS_INVALID_ARGUMENT, "need mode fam");
    r.fam.mode = -1; /* the model says nothing: full */
    run_refused(fam_start_adapter(path, &r, c, error), FAM_STATUS_INVALID_ARGUMENT, "in mode full");
    r.adapt.what = FAM_TRAIN_WHAT_ALL;
    run_refused(fam_start_adapter(path, &r, c, error), FAM_STATUS_INVALID_ARGUMENT, "found all");
    r.adapt.what = FAM_TRAIN_WHAT_ADAPTER;
    r.adapt.rank = 0;
    run_refused(fam_start_adapter(path, &r, c, error), FAM_STATUS_INVALID_ARGUMENT, "rank 0");
    r.adapt.rank = 4;
    r.adapt.targets = 0;
    run_refused(fam_start_adapter(path, &r, c, error), FAM_STATUS_INVALID_ARGUMENT, "no target");
    r.adapt.targets = 1;
    run_ok(fam_start_adapter(path, &r, c, error)); /* LoRA alone, for mode full */
    run_ok(fam_adapter_open(&adapter, &memory, path, fam_checkpoint_config(c), error));
    assert_null(fam_adapter_prompt(adapter));
    fam_adapter_free(adapter);
    fam_checkpoint_free(c);
    scratch_remove(directory);
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static bool same_file(const char *directory, const char *name, const char *other)
{
    size_t size, other_size;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", other, name);
    uint8_t *a = run_read(scratch_path(directory, path), &size);
    snprintf(path, sizeof path, "one/%s", name);
    uint8_t *b = run_read(scratch_path(directory, path), &other_size);
    bool same = size == other_size && memcmp(a, b, size) == 0;
    free(a);
    free(b);
    return same;
}

static void the_seed_decides(void **state)
{
    const char *directory = scratch_make();
    static const char *const names[] = {"one", "two", "three"};
    (void)state;
    for (int model = 0; model < 2; model++) {
        for (int i = 0; i < 3; i++) {
            fam_recipe r = make_recipe();
            r.train.seed = i == 2 ? 8 : 7;
            fam_checkpoint *c = open_checkpoint(suite_path("tests/fixtures/tiny_llama/gqa_tied_f32"));
            if (model)
                run_ok(fam_start_model(scratch_path(directory, names[i]), &r, error));
            else
                run_ok(fam_start_adapter(scratch_path(directory, names[i]), &r, c, error));
            fam_checkpoint_free(c);
        }
        const char *file = model ? "model.safetensors" : "adapter_model.safetensors";
        assert_true(same_file(directory, file, "two") && !same_file(directory, file, "three"));
        if (!model)
            assert_true(same_file(directory, "fam_prompt.safetensors", "two") &&
                        !same_file(directory, "fam_prompt.safetensors", "three"));
    }
    scratch_remove(directory);
}

/* Layers do not hold the same numbers. */
static void tensors_differ(void **state)
{
    const char *directory = scratch_make();
    fam_recipe r = make_recipe();
    (void)state;
    run_ok(fam_start_model(scratch_path(directory, "model"), &r, error));
    fam_checkpoint *c = open_checkpoint(scratch_path(directory, "model"));
    const fam_tensor *a = fam_checkpoint_tensor(c, "model.layers.0.mlp.gate_proj.weight"),
                     *b = fam_checkpoint_tensor(c, "model.layers.1.mlp.gate_proj.weight"),
                     *d = fam_checkpoint_tensor(c, "model.layers.0.mlp.up_proj.weight");
    assert_true(memcmp(a->data, b->data, a->bytes) != 0 && memcmp(a->data, d->data, a->bytes) != 0);
    fam_checkpoint_free(c);
    scratch_remove(directory);
}

static void each_allocation_may_fail(void **state)
{
    const char *directory = scratch_make();
    fam_recipe r = make_recipe();
    (void)state;
    fam_checkpoint *c = open_checkpoint(suite_path("tests/fixtures/tiny_llama/gqa_tied_f32"));
    size_t held = memory.bytes;
    for (int model = 0; model < 2; model++) {
        fam_status status = FAM_STATUS_OUT_OF_MEMORY;
        for (size_t n = 1; status != FAM_OK; n++) {
            memory.fail_at = memory.allocations + n;
            status = model ? fam_start_model(scratch_path(directory, "model"), &r, NULL)
                           : fam_start_adapter(scratch_path(directory, "adapter"), &r, c, NULL);
            memory.fail_at = 0;
            assert_true(status == FAM_OK || status == FAM_STATUS_OUT_OF_MEMORY);
            assert_true(memory.bytes == held);
        }
    }
    fam_checkpoint_free(c);
    scratch_remove(directory);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_model_from_nothing_opens),
    cmocka_unit_test(other_modes_have_no_prompt),
    cmocka_unit_test(a_model_that_cannot_be_is_refused),
    cmocka_unit_test(each_byte_is_a_token),
    cmocka_unit_test(the_tokenizer_is_the_one_that_others_read),
    cmocka_unit_test(a_fresh_adapter_opens),
    cmocka_unit_test(a_fresh_adapter_changes_nothing),
    cmocka_unit_test(the_prompt_alone),
    cmocka_unit_test(the_seed_decides),
    cmocka_unit_test(tensors_differ),
    cmocka_unit_test(each_allocation_may_fail),
};
SUITE_MAIN(tests)
