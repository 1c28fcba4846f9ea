/*
 * tests/support/trainee.c: see trainee.h.
 */
#include "trainee.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "format/json.h"

fam_recipe trainee_recipe(void)
{
    fam_recipe recipe = {0};
    recipe.optimizer.kind = FAM_OPTIMIZER_ADAMW;
    recipe.optimizer.beta1 = 0.9;
    recipe.optimizer.beta2 = 0.99;
    recipe.optimizer.epsilon = 1e-8;
    recipe.optimizer.weight_decay = 0.1;
    recipe.optimizer.clip = 1;
    return recipe;
}

static float *case_weights(const run_case *golden)
{
    char path[1200];
    json_error_t error;
    snprintf(path, sizeof path, "%s/case.json", golden->directory);
    json_t *json = json_load_file(path, 0, &error);
    assert_non_null(json);
    const json_t *list = json_object_get(json, "loss_weights");
    float *weights = malloc(golden->count * sizeof *weights);
    assert_int_equal(json_array_size(list), golden->count);
    for (size_t i = 0; i < golden->count; i++)
        weights[i] = (float)json_number_value(json_array_get(list, i));
    json_decref(json);
    return weights;
}

void trainee_open(trainee *t, const char *name, const fam_recipe *recipe, const fam_engine_options *options)
{
    memset(t, 0, sizeof *t);
    run_case_open(&t->golden, name);
    t->weights = case_weights(&t->golden);
    t->engine = run_engine(&t->golden, options);
    const fam_training_options pass = {.sequences = 1, .tokens = (int64_t)t->golden.count, .backward = true};
    run_ok(fam_training_create(&t->training, t->engine->model, &pass, error));
    t->exec = fam_training_exec(t->training);
    const fam_adapter *adapter = t->engine->adapter_count ? t->engine->adapters[0] : NULL;
    run_ok(fam_gradients_create(&t->gradients, t->engine->model, adapter ? FAM_TRAIN_ADAPTERS : FAM_TRAIN_ALL, error));
    const fam_tensor *prompt =
        adapter ? fam_adapter_prompt(adapter) : fam_checkpoint_tensor(t->engine->checkpoint, "fam.prompt");
    run_ok(fam_parameters_create(&t->parameters, t->gradients, t->engine->checkpoint, adapter, prompt, error));
    run_ok(fam_optimizer_create(&t->optimizer, t->parameters, recipe, error));
}

void trainee_close(trainee *t)
{
    fam_optimizer_free(t->optimizer);
    fam_parameters_free(t->parameters);
    fam_gradients_free(t->gradients);
    fam_training_free(t->training);
    fam_engine_free(t->engine);
    run_case_close(&t->golden);
    free(t->weights);
}

double trainee_pass(trainee *t)
{
    const fam_training_batch batch = {.ids = t->golden.tokens, .weights = t->weights, .offsets = &t->golden.offset,
                                      .start_states = t->golden.start_state};
    double loss, weight;
    fam_gradients_clear(t->gradients, t->exec);
    run_ok(fam_training_forward(t->training, &batch, &loss, &weight, error));
    run_ok(fam_training_backward(t->training, t->gradients, 1 / weight, error));
    return loss / weight;
}

uint64_t trainee_digest(const trainee *t)
{
    fam_memory *memory = t->parameters->memory;
    fam_tensor *masters, *moments;
    void *master_block, *moment_block;
    int64_t count;
    uint64_t hash = 0;
    run_ok(fam_parameters_tensors(t->parameters, &masters, &master_block, error));
    run_ok(fam_optimizer_tensors(t->optimizer, &moments, &count, &moment_block, error));
    for (int64_t i = 0; i < t->parameters->count; i++)
        hash = XXH3_64bits_withSeed(masters[i].data, masters[i].bytes, hash);
    for (int64_t i = 0; i < count; i++)
        hash = XXH3_64bits_withSeed(moments[i].data, moments[i].bytes, hash);
    fam_free(memory, masters);
    fam_free(memory, moments);
    fam_free(memory, master_block);
    fam_free(memory, moment_block);
    return hash;
}
