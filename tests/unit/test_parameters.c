/*
 * What is trained: masters read from every kind of file, written back into the model, to files and from files.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scratch.h"
#include "tiny_model.h"
#include "trainee.h"

/* An engine with gradients and parameters for all weights or its adapter, and an execution. */
typedef struct trained {
    fam_engine *engine;
    fam_exec *exec;
    fam_gradients *gradients;
    fam_parameters *parameters;
} trained;

static fam_engine *open_engine(const char *path, const char *const *adapters, size_t count, double scale)
{
    fam_engine *engine;
    fam_engine_options options = run_options();
    fam_adapter_option given[2];
    for (size_t i = 0; i < count; i++)
        given[i] = (fam_adapter_option){.path = adapters[i], .scale = scale};
    options.adapters = given;
    options.adapter_count = count;
    run_ok(fam_engine_open(&engine, path, &options, error));
    return engine;
}

static void trained_open(trained *t, const char *path, const char *adapter, double scale)
{
    const fam_adapter *opened = NULL;
    t->engine = open_engine(path, &adapter, adapter != NULL, scale);
    if (adapter)
        opened = t->engine->adapters[0];
    const fam_tensor *prompt = fam_checkpoint_tensor(t->engine->checkpoint, "fam.prompt");
    if (opened && fam_adapter_prompt(opened))
        prompt = fam_adapter_prompt(opened);
    fam_backend *backend = t->engine->backend;
    run_ok(backend->ops->exec_create(backend, &t->exec, 1, error));
    run_ok(fam_gradients_create(&t->gradients, t->engine->model, adapter ? FAM_TRAIN_ADAPTERS : FAM_TRAIN_ALL, error));
    run_ok(fam_parameters_create(&t->parameters, t->gradients, t->engine->checkpoint, opened, prompt, error));
}

static void trained_close(trained *t)
{
    fam_parameters_free(t->parameters);
    fam_gradients_free(t->gradients);
    t->engine->backend->ops->exec_free(t->exec);
    fam_engine_free(t->engine);
}

/* The last logits after some tokens; freed by free. */
static float *logits_of(fam_engine *engine)
{
    static const int32_t tokens[] = {1, 5, 3, 7, 2, 9, 4, 1, 8, 6, 0, 3};
    fam_session *session;
    fam_engine_info info;
    fam_engine_info_get(engine, &info);
    run_ok(fam_session_create(&session, engine, NULL, error));
    run_feed(session, tokens, 0, 9, 9); /* many rows, then one by one */
    run_feed(session, tokens, 9, 12, 1);
    float *copy = malloc((size_t)info.vocab_size * sizeof *copy);
    memcpy(copy, fam_session_logits(session), (size_t)info.vocab_size * sizeof *copy);
    fam_session_free(session);
    return copy;
}

/* Writing the masters as they are must leave the model what it was; of scaled masters it must not. */
static void check_push(const char *path, const char *adapter, double scale)
{
    trained t;
    fam_engine_info info;
    trained_open(&t, path, adapter, scale);
    fam_engine_info_get(t.engine, &info);
    float *before = logits_of(t.engine);
    run_ok(fam_parameters_push(t.parameters, t.exec, error));
    float *after = logits_of(t.engine);
    double off = run_error(after, before, (size_t)info.vocab_size);
    if (!(off <= 2e-5))
        fail_msg("%s: found logits that differ by %g after all weights were written as they were", path, off);
    for (int64_t i = 0; i < t.parameters->count; i++) {
        const fam_parameter *p = &t.parameters->list[i];
        for (int64_t e = 0; e < p->count; e++)
            p->master[e] *= 1 + 0.2f * sinf((float)e);
    }
    free(after);
    run_ok(fam_parameters_push(t.parameters, t.exec, error));
    after = logits_of(t.engine);
    if (!(run_error(after, before, (size_t)info.vocab_size) > 1e-3))
        fail_msg("%s: found the same logits after all weights changed", path);
    free(before);
    free(after);
    trained_close(&t);
}

static void models_of_every_kind_are_written_as_they_were(void **state)
{
    static const char *const models[] = {"gqa_tied_f32",  "mha_untied_f16", "mqa_untied_bf16", "sharded_head_dim",
                                         "gguf-F32.gguf", "gguf-F16.gguf",  "gguf-BF16.gguf",  "gguf-Q4_0.gguf",
                                         "gguf-Q4_1.gguf", "gguf-Q8_0.gguf", "gguf-mixed.gguf", "gguf-untied_mqa.gguf"};
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[256];
        snprintf(path, sizeof path, "tests/fixtures/tiny_llama/%s", models[i]);
        check_push(suite_path(path), NULL, 1);
    }
    check_push(suite_path("tests/fixtures/tiny_llama/gqa_tied_f32"), suite_path("tests/fixtures/tiny_llama/lora"), 1);
    check_push(suite_path("tests/fixtures/tiny_llama/gqa_tied_f32"), suite_path("tests/fixtures/tiny_llama/rslora"),
               0.5);
    check_push(suite_path("tests/golden/fam_train_rms"), NULL, 1);
    check_push(suite_path("tests/golden/fam_lora_train"), suite_path("tests/golden/fam_lora_train/adapter"), 1);
}

static const fam_parameter *find(const trained *t, const char *name)
{
    for (int64_t i = 0; i < t->parameters->count; i++)
        if (strcmp(t->parameters->list[i].name, name) == 0)
            return &t->parameters->list[i];
    fail_msg("%s: found none", name);
    return NULL;
}

/* Masters are what the files hold: B without its scale. */
static void masters_are_in_the_files_units(void **state)
{
    trained t;
    const fam_tensor *a, *b;
    (void)state;
    trained_open(&t, suite_path("tests/golden/fam_lora_train"), suite_path("tests/golden/fam_lora_train/adapter"), 0.5);
    const fam_adapter *adapter = t.engine->adapters[0];
    assert_int_equal(t.parameters->count, 1 + 2 * fam_adapter_lora_count(adapter));
    assert_true(fam_adapter_lora(adapter, "model.layers.1.mlp.down_proj", &a, &b));
    const fam_parameter *pa = find(&t, "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"),
                        *pb = find(&t, "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"),
                        *prompt = find(&t, "fam.prompt");
    assert_memory_equal(pa->master, a->data, a->bytes);
    assert_memory_equal(pb->master, b->data, b->bytes);
    assert_memory_equal(prompt->master, fam_adapter_prompt(adapter)->data, fam_adapter_prompt(adapter)->bytes);
    assert_true(pa->factor == 1 && pb->factor == 0.5 * fam_adapter_scale(adapter) && prompt->factor == 1);
    assert_true(!pa->is_prompt && !pb->is_vector && prompt->is_prompt && !prompt->is_vector);
    assert_int_equal(pa->rows, a->shape[0]);
    assert_int_equal(pa->columns, a->shape[1]);
    trained_close(&t);

    trained_open(&t, suite_path("tests/golden/fam_train_rms"), NULL, 1);
    int64_t elements = 0, vectors = 0;
    for (int64_t i = 0; i < t.parameters->count; i++) {
        const fam_parameter *p = &t.parameters->list[i];
        const fam_tensor *tensor = fam_checkpoint_tensor(t.engine->checkpoint, p->name);
        assert_int_equal(tensor->bytes, (size_t)p->count * sizeof *p->master);
        assert_memory_equal(p->master, tensor->data, tensor->bytes);
        assert_int_equal(p->is_vector, tensor->n_dims == 1);
        elements += p->count;
        vectors += p->is_vector;
    }
    assert_int_equal(elements, t.parameters->elements);
    assert_int_equal(vectors, 2 * t.engine->model->config.layers + 1);
    trained_close(&t);
}

/* A GGUF file's Q and K rows stand in llama.cpp's order; masters, and what is exported of them, in Hugging Face's. */
static void permuted_rows_are_put_back(void **state)
{
    trained t;
    (void)state;
    trained_open(&t, suite_path("tests/fixtures/tiny_llama/gguf-F32.gguf"), NULL, 1);
    static const char *const names[] = {"model.layers.0.self_attn.q_proj.weight",
                                        "model.layers.0.self_attn.k_proj.weight",
                                        "model.layers.0.self_attn.v_proj.weight"};
    for (int i = 0; i < 3; i++) {
        const fam_parameter *p = find(&t, names[i]);
        const fam_tensor *tensor = fam_checkpoint_tensor(t.engine->checkpoint, names[i]);
        int64_t d = t.engine->model->config.head_dim;
        size_t row_bytes = (size_t)p->columns * sizeof(float);
        assert_true(p->rows >= d && d >= 4);
        for (int64_t row = 0; row < p->rows; row++) {
            int64_t in_head = row % d, half = d / 2, from = row - in_head + in_head % half * 2 + in_head / half;
            if (i == 2)
                from = row;
            assert_memory_equal(p->master + row * p->columns, tensor->data + (size_t)from * row_bytes, row_bytes);
        }
    }
    trained_close(&t);
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static fam_status restore(trained *t, const char *path, fam_error *why)
{
    fam_memory memory;
    fam_safetensors *file;
    fam_memory_init(&memory);
    run_ok(fam_safetensors_open(&file, &memory, path, error));
    fam_status status = fam_parameters_restore(t->parameters, file, why);
    fam_safetensors_free(file);
    assert_int_equal(memory.bytes, 0);
    return status;
}

/* All masters, one after the other; freed by free. */
static float *masters_of(const trained *t)
{
    float *all = malloc((size_t)t->parameters->elements * sizeof *all), *at = all;
    for (int64_t i = 0; i < t->parameters->count; i++) {
        memcpy(at, t->parameters->list[i].master, (size_t)t->parameters->list[i].count * sizeof *at);
        at += t->parameters->list[i].count;
    }
    return all;
}

static void scale_masters(trained *t, float factor)
{
    for (int64_t i = 0; i < t->parameters->count; i++)
        for (int64_t e = 0; e < t->parameters->list[i].count; e++)
            t->parameters->list[i].master[e] *= factor;
}

enum { KEEP, LEAVE_OUT, TURN, FLATTEN, SPOIL };

/* Writes the masters with one tensor changed. */
static void save(const trained *t, const char *path, int64_t number, int change, float value)
{
    fam_tensor *tensors;
    void *block;
    int64_t count = t->parameters->count;
    run_ok(fam_parameters_tensors(t->parameters, &tensors, &block, error));
    fam_tensor *one = &tensors[number];
    if (change == LEAVE_OUT)
        *one = tensors[--count];
    if (change == TURN) {
        int64_t rows = one->shape[0];
        one->shape[0] = one->shape[1];
        one->shape[1] = rows;
    }
    if (change == FLATTEN) {
        one->n_dims = 1;
        one->shape[0] *= one->shape[1];
    }
    if (change == SPOIL)
        memcpy((uint8_t *)(uintptr_t)one->data + one->bytes - sizeof value, &value, sizeof value);
    run_ok(fam_safetensors_write(path, t->parameters->memory, tensors, count, error));
    fam_free(t->parameters->memory, tensors);
    fam_free(t->parameters->memory, block);
}

static void masters_come_back_from_a_file(void **state)
{
    trained t;
    const char *directory = scratch_make();
    (void)state;
    for (int adapter = 0; adapter < 2; adapter++) {
        trained_open(&t, suite_path(adapter ? "tests/golden/fam_lora_train" : "tests/golden/fam_train_rms"),
                     adapter ? suite_path("tests/golden/fam_lora_train/adapter") : NULL, 1);
        size_t bytes = (size_t)t.parameters->elements * sizeof(float);
        scale_masters(&t, 1.5f);
        float *before = masters_of(&t);
        save(&t, scratch_path(directory, "p"), 0, KEEP, 0);
        scale_masters(&t, 3);
        run_ok(restore(&t, scratch_path(directory, "p"), error));
        float *after = masters_of(&t);
        assert_memory_equal(after, before, bytes);
        free(before);
        free(after);
        trained_close(&t);
    }
    scratch_remove(directory);
}

static void a_file_that_does_not_fit_changes_nothing(void **state)
{
    static const struct {
        int change;
        float value;
        fam_status status;
        const char *words;
    } rows[] = {
        {LEAVE_OUT, 0, FAM_STATUS_MISMATCH, "found none"},
        {TURN, 0, FAM_STATUS_MISMATCH, "dimension 0"},
        {FLATTEN, 0, FAM_STATUS_MISMATCH, "found 1 dimensions, need 2"},
        {SPOIL, NAN, FAM_STATUS_BAD_FORMAT, "need a finite number"},
        {SPOIL, -INFINITY, FAM_STATUS_BAD_FORMAT, "need a finite number"},
    };
    trained t;
    const char *directory = scratch_make();
    (void)state;
    trained_open(&t, suite_path("tests/golden/fam_lora_train"), suite_path("tests/golden/fam_lora_train/adapter"), 1);
    float *before = masters_of(&t);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int last = 0; last < 2; last++) {
            int64_t number = last ? t.parameters->count - 1 : 0;
            scale_masters(&t, 2); /* exact, and back */
            save(&t, scratch_path(directory, "p"), number, rows[i].change, rows[i].value);
            scale_masters(&t, 0.5f);
            run_refused(restore(&t, scratch_path(directory, "p"), error), rows[i].status, rows[i].words);
            run_refused(restore(&t, scratch_path(directory, "p"), error), rows[i].status,
                        t.parameters->list[number].name);
            float *after = masters_of(&t);
            assert_memory_equal(after, before, (size_t)t.parameters->elements * sizeof(float));
            free(after);
        }
    }
    free(before);
    trained_close(&t);
    scratch_remove(directory);
}

/* A checkpoint's numbers may lie narrow. */
static void masters_come_back_from_narrow_files(void **state)
{
    trained t;
    fam_tensor *tensors;
    void *block;
    const char *directory = scratch_make();
    (void)state;
    trained_open(&t, suite_path("tests/golden/fam_lora_train"), suite_path("tests/golden/fam_lora_train/adapter"), 1);
    run_ok(fam_parameters_tensors(t.parameters, &tensors, &block, error));
    for (int64_t i = 0; i < t.parameters->count; i++) {
        uint16_t *narrow = (uint16_t *)(uintptr_t)tensors[i].data;
        for (int64_t e = 0; e < t.parameters->list[i].count; e++)
            narrow[e] = (uint16_t)(0x3f80 + (i + e) % 128); /* 1 to 2 */
        tensors[i].type = FAM_TYPE_BF16;
        tensors[i].bytes /= 2;
    }
    run_ok(fam_safetensors_write(scratch_path(directory, "p"), t.parameters->memory, tensors, t.parameters->count,
                                 error));
    fam_free(t.parameters->memory, tensors);
    fam_free(t.parameters->memory, block);
    run_ok(restore(&t, scratch_path(directory, "p"), error));
    for (int64_t i = 0; i < t.parameters->count; i++)
        for (int64_t e = 0; e < t.parameters->list[i].count; e++)
            assert_true(t.parameters->list[i].master[e] == 1 + (float)((i + e) % 128) / 128);
    trained_close(&t);
    scratch_remove(directory);
}

/* ---- refusals and memory ----------------------------------------------------------------------------------------- */

static void what_cannot_be_trained_is_refused(void **state)
{
    const char *base = suite_path("tests/fixtures/tiny_llama/gqa_tied_f32"),
               *lora = suite_path("tests/fixtures/tiny_llama/lora");
    const char *const twice[] = {lora, lora};
    fam_gradients *g;
    fam_parameters *p = NULL;
    (void)state;

    fam_engine *engine = open_engine(base, twice, 2, 1);
    run_ok(fam_gradients_create(&g, engine->model, FAM_TRAIN_ADAPTERS, error));
    run_refused(fam_parameters_create(&p, g, engine->checkpoint, engine->adapters[0], NULL, error),
                FAM_STATUS_INVALID_ARGUMENT, "found two adapters");
    run_refused(fam_parameters_create(&p, g, engine->checkpoint, NULL, NULL, error), FAM_STATUS_MISMATCH, "lora_A");
    fam_gradients_free(g);
    run_ok(fam_gradients_create(&g, engine->model, FAM_TRAIN_PROMPT, error)); /* mode full: there is none */
    run_refused(fam_parameters_create(&p, g, engine->checkpoint, NULL, NULL, error), FAM_STATUS_INVALID_ARGUMENT,
                "nothing to train");
    fam_gradients_free(g);
    fam_engine_free(engine);

    /* the golden case's adapter, whose rank is another */
    const char *const other[] = {suite_path("tests/golden/fam_lora_train/adapter")};
    engine = open_engine(suite_path("tests/golden/fam_lora_train"), other, 1, 1);
    run_ok(fam_gradients_create(&g, engine->model, FAM_TRAIN_ADAPTERS, error));
    fam_tensor prompt = *fam_adapter_prompt(engine->adapters[0]);
    run_refused(fam_parameters_create(&p, g, engine->checkpoint, engine->adapters[0], NULL, error), FAM_STATUS_MISMATCH,
                "fam.prompt");
    prompt.shape[0]--;
    run_refused(fam_parameters_create(&p, g, engine->checkpoint, engine->adapters[0], &prompt, error),
                FAM_STATUS_MISMATCH, "fam.prompt");
    assert_null(p);

    fam_backend_ops ops = *engine->backend->ops; /* a device without training */
    const fam_backend_ops *whole = engine->backend->ops;
    ops.weight_write = NULL;
    engine->backend->ops = &ops;
    run_refused(fam_parameters_create(&p, g, engine->checkpoint, engine->adapters[0], &prompt, error),
                FAM_STATUS_UNSUPPORTED, "no training");
    engine->backend->ops = whole;
    fam_gradients_free(g);
    fam_engine_free(engine);
    fam_parameters_free(NULL);
}

static void each_allocation_may_fail(void **state)
{
    const char *directory = scratch_make();
    trained t;
    (void)state;
    for (int adapter = 0; adapter < 2; adapter++) {
        trained_open(&t,
                     suite_path(adapter ? "tests/golden/fam_lora_train" : "tests/fixtures/tiny_llama/gguf-mixed.gguf"),
                     adapter ? suite_path("tests/golden/fam_lora_train/adapter") : NULL, 1);
        save(&t, scratch_path(directory, "p"), 0, KEEP, 0);
        fam_memory *memory = t.parameters->memory;
        const fam_adapter *opened = adapter ? t.engine->adapters[0] : NULL;
        const fam_tensor *prompt = adapter ? fam_adapter_prompt(opened) : NULL;
        size_t held = memory->bytes;
        fam_parameters *p = NULL;
        for (size_t n = 1; !p; n++) {
            memory->fail_at = memory->allocations + n;
            fam_status status = fam_parameters_create(&p, t.gradients, t.engine->checkpoint, opened, prompt, NULL);
            memory->fail_at = 0;
            assert_int_equal(status, p ? FAM_OK : FAM_STATUS_OUT_OF_MEMORY);
            assert_true(p || memory->bytes == held);
        }
        fam_parameters_free(p);
        assert_true(memory->bytes == held);
        for (size_t n = 1, done = 0; !done; n++) {
            fam_tensor *tensors;
            void *block;
            memory->fail_at = memory->allocations + n;
            done = fam_parameters_tensors(t.parameters, &tensors, &block, NULL) == FAM_OK;
            memory->fail_at = 0;
            fam_free(memory, tensors);
            fam_free(memory, block);
            assert_true(memory->bytes == held);
        }
        scale_masters(&t, 2);
        float *before = masters_of(&t);
        for (size_t n = 1, done = 0; !done; n++) {
            memory->fail_at = memory->allocations + n;
            done = restore(&t, scratch_path(directory, "p"), NULL) == FAM_OK;
            memory->fail_at = 0;
            float *after = masters_of(&t);
            assert_true(memory->bytes == held);
            assert_int_equal(memcmp(after, before, (size_t)t.parameters->elements * sizeof *after) == 0, !done);
            free(after);
        }
        free(before);
        /* writing takes memory the first time only, and a failure is whole after the next try */
        for (size_t n = 1, done = 0; !done; n++) {
            memory->fail_at = memory->allocations + n;
            done = fam_parameters_push(t.parameters, t.exec, NULL) == FAM_OK;
            memory->fail_at = 0;
        }
        size_t allocations = memory->allocations;
        run_ok(fam_parameters_push(t.parameters, t.exec, error));
        assert_true(memory->allocations == allocations);
        trained_close(&t);
    }
    scratch_remove(directory);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(models_of_every_kind_are_written_as_they_were),
    cmocka_unit_test(masters_are_in_the_files_units),
    cmocka_unit_test(permuted_rows_are_put_back),
    cmocka_unit_test(masters_come_back_from_a_file),
    cmocka_unit_test(a_file_that_does_not_fit_changes_nothing),
    cmocka_unit_test(masters_come_back_from_narrow_files),
    cmocka_unit_test(what_cannot_be_trained_is_refused),
    cmocka_unit_test(each_allocation_may_fail),
};
SUITE_MAIN(tests)
