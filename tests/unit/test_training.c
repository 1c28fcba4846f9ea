/*
 * The training pass as a whole: its loss, states and nll against a pass in double, all its gradients against that
 * pass's central differences, in every mode, with everything that a batch can bring; the same bits whatever is kept or
 * made again and whatever the number of threads; and the memory that it said it would take.
 */
#define SUITE_TIMEOUT 300

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/features.h"
#include "base/random.h"
#include "model/training_private.h"
#include "random_model.h"
#include "reference_pass.h"
#include "scratch.h"
#include "session/internal.h"
#include "suite.h"

static const random_model SMALL = {.vocab = 11,
                                   .width = 8,
                                   .wide = 12,
                                   .layers = 2,
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .head_dim = 4,
                                   .prompt_rows = 3,
                                   .rank = 2};

/* ---- cases -------------------------------------------------------------------------------------------------------- */

typedef struct pass_case {
    const char *name;
    int mode, state_norm, positions;
    int64_t block, segments, window, sequences, tokens;
    fam_trained trained;
    bool adapter, tied, stop_gradient;
    const char *starts; /* a letter a sequence: g given, l learned; NULL: no start states */
    double noise;
} pass_case;

static const pass_case CASES[] = {
    {"learned start", FAM_MODE_FAM, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 4, 0, 0, 2, 11, FAM_TRAIN_ALL, false,
     false, false, NULL, 0},
    {"mixed starts, kappa, noise", FAM_MODE_FAM, FAM_STATE_NORM_RMS_INIT, FAM_POSITIONS_LAST, 4, 1, 0, 3, 12,
     FAM_TRAIN_ALL, false, true, false, "glg", 0.1},
    {"given starts, rms", FAM_MODE_FAM, FAM_STATE_NORM_RMS, FAM_POSITIONS_FLOAT, 3, 2, 0, 2, 13, FAM_TRAIN_ALL, false,
     false, false, "gg", 0.05},
    {"mixed starts, no norm, noise, cut segments", FAM_MODE_FAM, FAM_STATE_NORM_NONE, FAM_POSITIONS_ZERO, 3, 2, 0, 3,
     10, FAM_TRAIN_ALL, false, false, true, "lgl", 0.2},
    {"adapters, mixed starts, kappa, cut segments", FAM_MODE_FAM, FAM_STATE_NORM_RMS_INIT, FAM_POSITIONS_LAST, 4, 1, 0,
     3, 14, FAM_TRAIN_ADAPTERS, true, false, true, "lgg", 0.1},
    {"prompt alone", FAM_MODE_FAM, FAM_STATE_NORM_RMS_INIT, FAM_POSITIONS_LAST, 4, 0, 0, 2, 13, FAM_TRAIN_PROMPT, true,
     true, false, "lg", 0.1},
    {"prompt alone, nothing given", FAM_MODE_FAM, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 5, 1, 0, 1, 17,
     FAM_TRAIN_PROMPT, false, false, false, NULL, 0},
    {"not one block", FAM_MODE_FAM, FAM_STATE_NORM_RMS, FAM_POSITIONS_LAST, 16, 0, 0, 2, 7, FAM_TRAIN_ALL, false, false,
     false, "gl", 0.1},
    {"bswa", FAM_MODE_BSWA, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 3, 2, 0, 2, 13, FAM_TRAIN_ALL, false, false, false,
     NULL, 0},
    {"bswa, cut segments", FAM_MODE_BSWA, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 3, 2, 0, 2, 13, FAM_TRAIN_ALL, false,
     true, true, NULL, 0},
    {"bswa, adapters", FAM_MODE_BSWA, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 4, 1, 0, 2, 12, FAM_TRAIN_ADAPTERS, true,
     false, false, NULL, 0},
    {"swa", FAM_MODE_SWA, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 0, 0, 5, 2, 70, FAM_TRAIN_ADAPTERS, true, false,
     true, NULL, 0},
    {"full", FAM_MODE_FULL, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 0, 0, 0, 3, 9, FAM_TRAIN_ALL, false, false, true,
     NULL, 0},
};
enum { CASE_COUNT = sizeof CASES / sizeof *CASES };

static fam_engine *open_model(const char *directory, const pass_case *c, int dtype, int threads, const char *isa)
{
    fam_engine_options options;
    fam_engine *engine;
    fam_error error;
    char path[512];
    fam_engine_options_init(&options);
    snprintf(path, sizeof path, "%s/adapter", directory);
    const fam_adapter_option adapter = {.path = path, .scale = 0.5};
    options.adapters = &adapter;
    options.adapter_count = c->adapter;
    options.threads = threads;
    options.dtype = dtype;
    options.isa = isa;
    options.mode = c->mode;
    if (c->block) {
        options.block_size = c->block;
        options.memory_segments = c->segments;
    }
    if (c->mode == FAM_MODE_FAM) {
        options.state_norm = c->state_norm;
        options.fam_positions = c->positions;
    }
    if (c->mode == FAM_MODE_SWA)
        options.window = c->window;
    if (c->mode == FAM_MODE_FULL)
        options.context = c->tokens;
    if (fam_engine_open(&engine, directory, &options, &error) != FAM_OK)
        fail_msg("%s: %s", c->name, error.message);
    return engine;
}

/* A batch with its memory. */
typedef struct batch {
    fam_training_batch given;
    int32_t *ids;
    float *weights, *states;
    int64_t *offsets;
    bool *starts;
} batch;

static batch make_batch(const pass_case *c, const fam_model *model, uint64_t seed)
{
    batch out = {0};
    fam_random random;
    int64_t n = c->sequences * c->tokens,
            elements = model->config.layers * model->window.fam_length * model->config.hidden_size;
    fam_random_seed(&random, seed);
    out.ids = malloc((size_t)n * sizeof *out.ids);
    out.weights = malloc((size_t)n * sizeof *out.weights);
    out.offsets = malloc((size_t)c->sequences * sizeof *out.offsets);
    out.starts = malloc((size_t)c->sequences * sizeof *out.starts);
    out.states = malloc((size_t)(c->sequences * elements + 1) * sizeof *out.states);
    for (int64_t i = 0; i < n; i++) {
        out.ids[i] = (int32_t)(fam_random_next(&random) % (uint64_t)model->config.vocab_size);
        out.weights[i] = (float)(fam_random_next(&random) % 3) / 2;
    }
    for (int64_t b = 0; b < c->sequences; b++) {
        out.offsets[b] = b * 1000;
        out.starts[b] = c->starts && c->starts[b] == 'g';
    }
    for (int64_t i = 0; i < c->sequences * elements; i++)
        out.states[i] = (float)(4 * fam_random_uniform(&random) - 2);
    out.given = (fam_training_batch){.ids = out.ids,
                                     .weights = out.weights,
                                     .offsets = out.offsets,
                                     .start_states = c->starts ? out.states : NULL,
                                     .given = c->starts ? out.starts : NULL,
                                     .state_noise = c->noise,
                                     .noise_seed = seed};
    if (c->starts && strspn(c->starts, "g") == strlen(c->starts))
        out.given.given = NULL; /* means the same */
    return out;
}

static void free_batch(batch *b)
{
    free(b->ids);
    free(b->weights);
    free(b->offsets);
    free(b->starts);
    free(b->states);
}

/* ---- a pass ------------------------------------------------------------------------------------------------------- */

typedef struct pass {
    fam_training *training;
    fam_gradients *gradients;
    double loss, weight;
} pass;

static const double SCALE = 0.25;

static fam_training_options options_of(const pass_case *c, fam_recompute recompute, bool backward)
{
    return (fam_training_options){.sequences = c->sequences,
                                  .tokens = c->tokens,
                                  .recompute = recompute,
                                  .stop_gradient_segments = c->stop_gradient,
                                  .backward = backward};
}

static pass run_pass(const pass_case *c, const fam_model *model, const batch *b, fam_recompute recompute,
                     const fam_training_limits *limits)
{
    pass out = {0};
    fam_error error;
    const fam_training_options options = options_of(c, recompute, true);
    assert_int_equal(fam_training_create_limited(&out.training, model, &options, limits, &error), FAM_OK);
    assert_int_equal(fam_gradients_create(&out.gradients, model, c->trained, &error), FAM_OK);
    assert_int_equal(fam_training_forward(out.training, &b->given, &out.loss, &out.weight, &error), FAM_OK);
    assert_int_equal(fam_training_backward(out.training, out.gradients, SCALE, &error), FAM_OK);
    return out;
}

static void free_pass(pass *p)
{
    fam_gradients_free(p->gradients);
    fam_training_free(p->training);
}

static int64_t elements_of(const fam_gradient *g)
{
    return g->shape[0] * (g->n_dims == 2 ? g->shape[1] : 1);
}

/* All gradients, one after the other. */
typedef struct collected {
    float *data;
    int64_t count;
} collected;

static fam_status collect(void *context, const fam_gradient *g, fam_error *error)
{
    collected *c = context;
    int64_t n = elements_of(g);
    (void)error;
    c->data = realloc(c->data, (size_t)(c->count + n) * sizeof *c->data);
    memcpy(c->data + c->count, g->data, (size_t)n * sizeof *c->data); /* memory of the CPU is the host's */
    c->count += n;
    return FAM_OK;
}

/* Loss, nll, hits, states, gradients of a pass: everything that it gives. */
static collected results(const pass_case *c, const fam_model *model, pass *p)
{
    collected out = {0};
    int64_t n = c->sequences * c->tokens,
            states = c->sequences * model->config.layers * model->window.fam_length * model->config.hidden_size;
    assert_int_equal(fam_gradients_visit(p->gradients, collect, &out, NULL), FAM_OK);
    out.data = realloc(out.data, (size_t)(out.count + 2 * n + states + 1) * sizeof *out.data);
    out.data[out.count++] = (float)p->loss;
    for (int64_t i = 0; i < n; i++)
        out.data[out.count++] = fam_training_nll(p->training)[i];
    for (int64_t i = 0; i < n; i++)
        out.data[out.count++] = fam_training_hits(p->training)[i];
    fam_training_final_states(p->training, out.data + out.count);
    out.count += states;
    return out;
}

/* ---- differences -------------------------------------------------------------------------------------------------- */

typedef struct comparison {
    const pass_case *c;
    reference_pass *reference;
    const batch *batch;
    fam_exec *exec;
    double worst;
    int tensors;
} comparison;

static fam_status compare_gradient(void *context, const fam_gradient *g, fam_error *error)
{
    comparison *k = context;
    const double step = 1e-5;
    int64_t n = elements_of(g);
    double *values = reference_pass_values(k->reference, g), largest = 0, *need = malloc((size_t)n * sizeof *need);
    (void)error;
    if (!values)
        fail_msg("%s: %s: its place is not one of the model's weights", k->c->name, g->name);
    for (int64_t i = 0; i < n; i++) {
        double value = values[i];
        values[i] = value + step;
        double above = reference_pass_loss(k->reference, &k->batch->given, false);
        values[i] = value - step;
        need[i] = SCALE * (above - reference_pass_loss(k->reference, &k->batch->given, false)) / (2 * step);
        values[i] = value;
        largest = fmax(largest, fabs(need[i]));
    }
    for (int64_t i = 0; i < n; i++) {
        double off = fabs(g->data[i] - need[i]) / fmax(largest, 1e-6);
        if (!(off <= 2e-5))
            fail_msg("%s: %s[%lld]: found %.9g, need %.9g, the largest being %.3g", k->c->name, g->name, (long long)i,
                     g->data[i], need[i], largest);
        k->worst = fmax(k->worst, off);
    }
    /* else nothing was compared; but nothing of the prompt counts where all starts are given and no kappa is read */
    bool counts = k->c->state_norm == FAM_STATE_NORM_RMS_INIT || k->batch->given.given || !k->batch->given.start_states;
    assert_true((largest > 1e-6) == (counts || strcmp(g->name, "fam.prompt") != 0));
    k->tensors++;
    free(need);
    return FAM_OK;
}

static void compare_forward(const comparison *k, const fam_model *model, const pass *p, double loss)
{
    int64_t n = k->c->sequences * k->c->tokens,
            states = k->c->sequences * model->config.layers * model->window.fam_length * model->config.hidden_size;
    const float *nll = fam_training_nll(p->training);
    float *found = malloc((size_t)(states + 1) * sizeof *found);
    assert_true(fabs(p->loss - loss) <= 1e-5 * loss);
    double weight = 0;
    for (int64_t i = 0; i < n; i++) {
        double need = reference_pass_nll(k->reference)[i];
        if (fabs(nll[i] - need) > 1e-5)
            fail_msg("%s: nll[%lld]: found %.9g, need %.9g", k->c->name, (long long)i, nll[i], need);
        weight += i % k->c->tokens ? (double)k->batch->weights[i] : 0;
        assert_false(i % k->c->tokens == 0 && fam_training_hits(p->training)[i]);
    }
    assert_true(p->weight == weight);
    fam_training_final_states(p->training, found);
    for (int64_t i = 0; i < states; i++)
        if (fabs(found[i] - reference_pass_states(k->reference)[i]) > 2e-5)
            fail_msg("%s: state[%lld]: found %.9g, need %.9g", k->c->name, (long long)i, found[i],
                     reference_pass_states(k->reference)[i]);
    free(found);
}

static random_model shape_of(const pass_case *c)
{
    random_model shape = SMALL;
    shape.tied = c->tied;
    return shape;
}

/* Limits that cut the batches of the cases into spans of one block (without blocks: 64 tokens), and the logits too. */
static const fam_training_limits NARROW = {1, 7}, WIDE = {1 << 20, 1 << 20};

static void gradients_are_those_of_differences(void **state)
{
    (void)state;
    double worst = 0;
    for (int64_t l = 0; l < 100; l++) /* each update of each layer has noise of its own */
        for (int64_t u = 0; u < 100; u++)
            assert_true(fam_training_noise_seed(1, l, u) != fam_training_noise_seed(1, u, l) || l == u);
    for (int i = 0; i < CASE_COUNT; i++) {
        const pass_case *c = &CASES[i];
        const char *directory = scratch_make();
        const random_model shape = shape_of(c);
        random_model_write(directory, &shape, (uint64_t)i + 1);
        fam_engine *engine = open_model(directory, c, FAM_DTYPE_F32, 1, NULL);
        batch b = make_batch(c, engine->model, (uint64_t)i + 100);
        pass p = run_pass(c, engine->model, &b, (fam_recompute)(i % 3), i % 2 ? &NARROW : &WIDE);
        const fam_training_options options = options_of(c, FAM_RECOMPUTE_NONE, true);
        comparison k = {.c = c,
                        .batch = &b,
                        .reference = reference_pass_open(engine->model, fam_training_exec(p.training), &options)};
        double loss = reference_pass_loss(k.reference, &b.given, true);
        compare_forward(&k, engine->model, &p, loss);
        assert_int_equal(fam_gradients_visit(p.gradients, compare_gradient, &k, NULL), FAM_OK);
        assert_int_equal(k.tensors, c->trained == FAM_TRAIN_PROMPT
                                        ? 1
                                        : (c->mode == FAM_MODE_FAM) +
                                              (c->trained == FAM_TRAIN_ADAPTERS ? 28 : 21 - (c->tied ? 1 : 0)));
        worst = fmax(worst, k.worst);
        reference_pass_free(k.reference);
        free_pass(&p);
        free_batch(&b);
        fam_engine_free(engine);
        scratch_remove(directory);
    }
    print_message("gradients differ from differences by at most %.2g of a tensor's largest\n", worst);
}

/* ---- the same bits ------------------------------------------------------------------------------------------------ */

static void check_same_bits(const pass_case *c, const char *directory, int dtype, const char *isa,
                            const fam_training_limits *limits)
{
    collected first = {0};
    for (int threads = 1; threads <= 3; threads += 2) {
        fam_engine *engine = open_model(directory, c, dtype, threads, isa);
        batch b = make_batch(c, engine->model, 5);
        for (int recompute = FAM_RECOMPUTE_NONE; recompute <= FAM_RECOMPUTE_SPAN; recompute++) {
            pass p = run_pass(c, engine->model, &b, (fam_recompute)recompute, limits);
            collected found = results(c, engine->model, &p);
            if (!first.data)
                first = found;
            assert_int_equal(found.count, first.count);
            if (memcmp(found.data, first.data, (size_t)first.count * sizeof *first.data) != 0)
                fail_msg("%s: recompute %s, %d threads: found other bits", c->name, fam_recompute_name(recompute),
                         threads);
            fam_gradients_clear(p.gradients, fam_training_exec(p.training)); /* once more from the same way forward */
            fam_error error;
            assert_int_equal(fam_training_backward(p.training, p.gradients, SCALE, &error), FAM_OK);
            collected again = results(c, engine->model, &p);
            assert_memory_equal(again.data, found.data, (size_t)found.count * sizeof *found.data);
            free(again.data);
            if (found.data != first.data)
                free(found.data);
            free_pass(&p);
        }
        free_batch(&b);
        fam_engine_free(engine);
    }
    free(first.data);
}

static void what_is_made_again_is_the_same_to_the_bit(void **state)
{
    (void)state;
    for (int i = 0; i < CASE_COUNT; i++) {
        const char *directory = scratch_make();
        const random_model shape = shape_of(&CASES[i]);
        random_model_write(directory, &shape, 3);
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
            check_same_bits(&CASES[i], directory, dtype, NULL, &NARROW);
            check_same_bits(&CASES[i], directory, dtype, i % 2 ? "portable" : NULL, &WIDE);
        }
        scratch_remove(directory);
    }
}

/* A pass without a way back gives the same, in less memory, and refuses the way back. */
static void a_pass_forward_only_gives_the_same(void **state)
{
    (void)state;
    for (int i = 0; i < CASE_COUNT; i++) {
        const pass_case *c = &CASES[i];
        const char *directory = scratch_make();
        const random_model shape = shape_of(c);
        random_model_write(directory, &shape, 4);
        fam_engine *engine = open_model(directory, c, FAM_DTYPE_F32, 1, NULL);
        batch b = make_batch(c, engine->model, 6);
        pass p = run_pass(c, engine->model, &b, FAM_RECOMPUTE_NONE, &NARROW);
        pass q = {.gradients = p.gradients};
        fam_error error;
        const fam_training_options options = options_of(c, FAM_RECOMPUTE_NONE, false);
        assert_int_equal(fam_training_create_limited(&q.training, engine->model, &options, &NARROW, &error), FAM_OK);
        for (int again = 0; again < 2; again++) /* nothing of a pass before may shine through */
            assert_int_equal(fam_training_forward(q.training, &b.given, &q.loss, &q.weight, &error), FAM_OK);
        assert_true(q.loss == p.loss && q.weight == p.weight);
        collected found = results(c, engine->model, &q), need = results(c, engine->model, &p);
        assert_memory_equal(found.data, need.data, (size_t)need.count * sizeof *need.data);
        assert_int_equal(fam_training_backward(q.training, p.gradients, SCALE, &error), FAM_STATUS_INVALID_ARGUMENT);
        free(found.data);
        free(need.data);
        fam_training_free(q.training);
        free_pass(&p);
        free_batch(&b);
        fam_engine_free(engine);
        scratch_remove(directory);
    }
}

/* ---- training steps ----------------------------------------------------------------------------------------------- */

/* Moves every trained tensor a little, in the model (where a visit says it is) and in the reference. */
static fam_status move(void *context, const fam_gradient *g, fam_error *error)
{
    comparison *k = context;
    const fam_backend *backend = k->exec->backend;
    int64_t n = elements_of(g);
    double *values = reference_pass_values(k->reference, g);
    float *moved = malloc((size_t)n * sizeof *moved);
    for (int64_t i = 0; i < n; i++) /* a written weight holds factor times what is written */
        moved[i] = (float)((values[i] + 0.02 * ((double)(i % 7) - 3)) / g->factor);
    assert_true((g->weight != NULL) != (g->vector != NULL));
    if (g->weight)
        assert_int_equal(backend->ops->weight_write(k->exec, g->weight, moved, g->factor, error), FAM_OK);
    else
        backend->ops->write(k->exec->backend, g->vector, moved, (size_t)n * sizeof *moved);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)(g->factor * (double)moved[i]);
    k->tensors++;
    free(moved);
    return FAM_OK;
}

static void a_step_changes_what_the_next_pass_sees(void **state)
{
    (void)state;
    static const int picked[] = {1, 3, 4, 5, 8};
    for (size_t i = 0; i < sizeof picked / sizeof *picked; i++) {
        const pass_case *c = &CASES[picked[i]];
        const char *directory = scratch_make();
        const random_model shape = shape_of(c);
        random_model_write(directory, &shape, 9);
        fam_engine *engine = open_model(directory, c, FAM_DTYPE_F32, 2, NULL);
        batch b = make_batch(c, engine->model, 10);
        pass p = run_pass(c, engine->model, &b, FAM_RECOMPUTE_SPAN, &NARROW); /* everything is packed */
        const fam_training_options options = options_of(c, FAM_RECOMPUTE_NONE, true);
        comparison k = {.c = c, .batch = &b, .exec = fam_training_exec(p.training)};
        k.reference = reference_pass_open(engine->model, k.exec, &options);
        double before = p.loss;
        fam_error error;
        size_t bytes = 0;
        for (int step = 0; step < 2; step++) {
            assert_int_equal(fam_gradients_visit(p.gradients, move, &k, &error), FAM_OK);
            fam_gradients_clear(p.gradients, k.exec);
            assert_int_equal(fam_training_forward(p.training, &b.given, &p.loss, &p.weight, &error), FAM_OK);
            assert_int_equal(fam_training_backward(p.training, p.gradients, SCALE, &error), FAM_OK);
            double need = reference_pass_loss(k.reference, &b.given, true);
            assert_true(fabs(need - before) > 1e-3 * before);
            compare_forward(&k, engine->model, &p, need);
            assert_true(bytes == 0 || bytes == engine->memory.bytes); /* a second write takes nothing */
            bytes = engine->memory.bytes;
        }
        comparison after = k;
        assert_int_equal(fam_gradients_visit(p.gradients, compare_gradient, &after, NULL), FAM_OK);
        reference_pass_free(k.reference);
        free_pass(&p);
        free_batch(&b);
        fam_engine_free(engine);
        scratch_remove(directory);
    }
}

/* Each allocation of a pass fails in turn; nothing is lost, and the pass works as soon as there is memory. */
static void memory_may_run_out_anywhere(void **state)
{
    (void)state;
    const pass_case *c = &CASES[4];
    const char *directory = scratch_make();
    const random_model shape = shape_of(c);
    random_model_write(directory, &shape, 11);
    int failures = 0;
    for (size_t fail = 1;; fail++) {
        fam_engine *engine = open_model(directory, c, FAM_DTYPE_BF16, 2, NULL);
        fam_memory *memory = &engine->memory;
        batch b = make_batch(c, engine->model, 12);
        pass p = {0};
        fam_error error;
        const fam_training_options options = options_of(c, FAM_RECOMPUTE_SPAN, true);
        size_t before = memory->bytes;
        memory->fail_at = memory->allocations + fail;
        fam_status status = fam_training_create(&p.training, engine->model, &options, &error);
        if (status != FAM_OK) {
            assert_true(p.training == NULL && memory->bytes == before);
        } else if ((status = fam_gradients_create(&p.gradients, engine->model, c->trained, &error)) == FAM_OK) {
            status = fam_training_forward(p.training, &b.given, &p.loss, &p.weight, &error);
            bool failed = status != FAM_OK;
            memory->fail_at = 0;
            if (failed) {
                assert_int_equal(fam_training_forward(p.training, &b.given, &p.loss, &p.weight, &error), FAM_OK);
            }
            size_t allocations = memory->allocations;
            assert_int_equal(fam_training_backward(p.training, p.gradients, SCALE, &error), FAM_OK);
            assert_int_equal(memory->allocations, allocations); /* the way back takes none */
        }
        assert_true(status == FAM_OK || status == FAM_STATUS_OUT_OF_MEMORY);
        memory->fail_at = 0;
        failures += status != FAM_OK;
        free_pass(&p);
        free_batch(&b);
        fam_engine_free(engine);
        if (status == FAM_OK)
            break;
    }
    assert_true(failures > 50);
    scratch_remove(directory);
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    const pass_case *c = &CASES[0];
    const char *directory = scratch_make();
    const random_model shape = shape_of(c);
    random_model_write(directory, &shape, 13);
    fam_engine *engine = open_model(directory, c, FAM_DTYPE_F32, 1, NULL);
    static const fam_training_options wrong[] = {
        {.sequences = 0, .tokens = 8},
        {.sequences = 2, .tokens = 0},
        {.sequences = -1, .tokens = 8},
        {.sequences = 1, .tokens = 8, .recompute = (fam_recompute)3},
        {.sequences = INT64_MAX, .tokens = INT64_MAX},
        {.sequences = (int64_t)1 << 32, .tokens = (int64_t)1 << 32},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fam_training *training = NULL;
        fam_error error;
        assert_int_equal(fam_training_create(&training, engine->model, &wrong[i], &error), FAM_STATUS_INVALID_ARGUMENT);
        assert_null(training);
    }
    assert_string_equal(fam_recompute_name(FAM_RECOMPUTE_LAYER), "layer");
    assert_null(fam_recompute_name(3));
    assert_null(fam_recompute_name(-1));
    fam_engine_free(engine);
    scratch_remove(directory);
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static const random_model MEDIUM = {.vocab = 300,
                                    .width = 64,
                                    .wide = 160,
                                    .layers = 4,
                                    .heads = 4,
                                    .kv_heads = 2,
                                    .head_dim = 16,
                                    .prompt_rows = 8,
                                    .rank = 4};

/* Of a way forward and, if there is one, back: what was held at most, beyond what the engine held before. */
static uint64_t measured_bytes(const pass_case *c, fam_engine *engine, const fam_training_options *options)
{
    fam_error error;
    fam_training *training;
    fam_gradients *gradients = NULL;
    double loss, weight;
    batch b = make_batch(c, engine->model, 7);
    size_t before = engine->memory.bytes;
    engine->memory.peak_bytes = before;
    assert_int_equal(fam_training_create(&training, engine->model, options, &error), FAM_OK);
    if (options->backward)
        assert_int_equal(fam_gradients_create(&gradients, engine->model, c->trained, &error), FAM_OK);
    assert_int_equal(fam_training_forward(training, &b.given, &loss, &weight, &error), FAM_OK);
    if (options->backward)
        assert_int_equal(fam_training_backward(training, gradients, 1, &error), FAM_OK);
    uint64_t bytes = engine->memory.peak_bytes - before;
    fam_gradients_free(gradients);
    fam_training_free(training);
    free_batch(&b);
    return bytes;
}

typedef struct memory_range {
    double least, most; /* what was said, relative to what was taken */
} memory_range;

static void check_memory(const pass_case *c, const char *directory, int dtype, const char *isa, memory_range *range)
{
    for (int way = 0; way < 4; way++) { /* three ways back, and none */
        const fam_training_options options = options_of(c, (fam_recompute)(way % 3), way < 3);
        fam_engine *engine = open_model(directory, c, dtype, 2, isa);
        for (int again = 0; again < 2; again++) { /* what is packed once is there for the next pass */
            double said = (double)fam_training_bytes(engine->model, &options, c->trained),
                   took = (double)measured_bytes(c, engine, &options);
            if (!(said >= 0.9 * took && said <= 1.1 * took))
                fail_msg("%s, %s, %s, way %d, pass %d: said %.0f bytes, took %.0f", c->name, isa,
                         dtype == FAM_DTYPE_BF16 ? "bf16" : "f32", way, again, said, took);
            range->least = fmin(range->least, said / took);
            range->most = fmax(range->most, said / took);
        }
        fam_engine_free(engine);
    }
}

static void it_takes_the_memory_that_it_said(void **state)
{
    (void)state;
    static const pass_case cases[] = {
        {"fam", FAM_MODE_FAM, FAM_STATE_NORM_RMS_INIT, FAM_POSITIONS_LAST, 32, 1, 0, 2, 300, FAM_TRAIN_ALL, false,
         false, false, "gl", 0.1},
        {"fam, adapters", FAM_MODE_FAM, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 64, 0, 0, 1, 5000, FAM_TRAIN_ADAPTERS,
         true, false, false, NULL, 0},
        {"bswa, adapters", FAM_MODE_BSWA, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 32, 1, 0, 8, 64, FAM_TRAIN_ADAPTERS,
         true, false, false, NULL, 0},
        {"full", FAM_MODE_FULL, FAM_STATE_NORM_NONE, FAM_POSITIONS_LAST, 0, 0, 0, 4, 200, FAM_TRAIN_ALL, false, true,
         false, NULL, 0},
    };
    const char *directory = scratch_make();
    random_model_write(directory, &MEDIUM, 1);
    memory_range range = {2, 0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++)
            for (int isa = 0; isa <= (int)fam_cpu_best_isa(); isa++)
                if (i == 0 || isa == (int)fam_cpu_best_isa())
                    check_memory(&cases[i], directory, dtype, fam_cpu_isa_name((fam_cpu_isa)isa), &range);
    /* where all is made again span by span, a token more costs hardly more than its place in all layers' inputs */
    const pass_case *c = &cases[1];
    fam_engine *engine = open_model(directory, c, FAM_DTYPE_F32, 1, NULL);
    fam_training_options options = options_of(c, FAM_RECOMPUTE_SPAN, true);
    double bytes[2], inputs = (double)((MEDIUM.layers + 1) * MEDIUM.width) * sizeof(float);
    for (int i = 0; i < 2; i++) {
        options.tokens = 200000 << i; /* beyond what bounds the logits */
        bytes[i] = (double)fam_training_bytes(engine->model, &options, c->trained);
    }
    assert_in_range((int64_t)((bytes[1] - bytes[0]) / 200000), (int64_t)inputs, (int64_t)(2.2 * inputs));
    fam_engine_free(engine);
    scratch_remove(directory);
    print_message("said %.3f to %.3f of what was taken\n", range.least, range.most);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gradients_are_those_of_differences), cmocka_unit_test(what_is_made_again_is_the_same_to_the_bit),
    cmocka_unit_test(a_pass_forward_only_gives_the_same), cmocka_unit_test(a_step_changes_what_the_next_pass_sees),
    cmocka_unit_test(memory_may_run_out_anywhere),        cmocka_unit_test(wrong_options_are_refused),
    cmocka_unit_test(it_takes_the_memory_that_it_said),
};
SUITE_MAIN(tests)
