/*
 * The optimisers: ten steps against PyTorch and an independent Adafactor (tests/oracle/optimizer.py), operators and
 * whole models; clipping, decay, gradients that are not finite, saving, and the learning rate.
 */
#define SUITE_TIMEOUT 300

#include <stdio.h>

#include "backward_fixture.h"
#include "format/json.h"
#include "scratch.h"
#include "trainee.h"

enum { STEPS = 10 };

/* ---- operators against other people's ---------------------------------------------------------------------------- */

typedef struct answers {
    fam_memory memory;
    fam_safetensors *file;
    json_t *json;
} answers;

static void answers_open(answers *a, const char *name)
{
    char path[256];
    json_error_t json_error;
    fam_memory_init(&a->memory);
    snprintf(path, sizeof path, "tests/fixtures/optimizer/%s.safetensors", name);
    run_ok(fam_safetensors_open(&a->file, &a->memory, suite_path(path), error));
    snprintf(path, sizeof path, "tests/fixtures/optimizer/%s.json", name);
    a->json = json_load_file(suite_path(path), 0, &json_error);
    assert_non_null(a->json);
}

static void answers_close(answers *a)
{
    fam_safetensors_free(a->file);
    json_decref(a->json);
}

static double number(const answers *a, const char *key)
{
    const json_t *value = json_object_get(a->json, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* "KIND.PART.SHAPE" as floats (data in files may be unaligned); NULL if there is none. Freed by free. */
static float *answer(const answers *a, const char *kind, const char *part, const char *shape, const fam_tensor **tensor)
{
    char name[128];
    snprintf(name, sizeof name, "%s%s%s.%s", kind, *kind ? "." : "", part, shape);
    *tensor = fam_safetensors_tensor(a->file, name);
    if (!*tensor)
        return NULL;
    float *copy = malloc((*tensor)->bytes);
    memcpy(copy, (*tensor)->data, (*tensor)->bytes);
    return copy;
}

static void compare(fixture *f, const answers *a, const char *kind, const char *part, const char *shape,
                    const float *found)
{
    const fam_tensor *tensor;
    float *need = answer(a, kind, part, shape, &tensor);
    assert_int_equal(need == NULL, found == NULL);
    if (!need)
        return;
    int64_t count = (int64_t)(tensor->bytes / sizeof *need);
    double *doubles = as_doubles(need, count);
    char what[64];
    snprintf(what, sizeof what, "%s %s %s", kind, part, shape);
    assert_all_near(f, what, found, NULL, doubles, count, 1e-5, 0); /* moments forget much larger ones */
    free(doubles);
    free(need);
}

static void check_ten_steps(fixture *f, const answers *a, const char *shape, bool factored_kind)
{
    const fam_tensor *start, *tensor;
    const char *kind = factored_kind ? "adafactor" : "adamw";
    float *x = answer(a, "", "x0", shape, &start), *gradients = answer(a, "", "gradients", shape, &tensor);
    int64_t rows = start->shape[0], columns = start->n_dims == 2 ? start->shape[1] : 1, count = rows * columns;
    bool factored = factored_kind && rows > 1 && columns > 1;
    float *m = calloc((size_t)count, 4), *v = calloc((size_t)count, 4),
          *column = factored ? calloc((size_t)columns, 4) : NULL;
    for (int step = 0; step < STEPS; step++) {
        double rate = json_number_value(json_array_get(json_object_get(a->json, "rates"), (size_t)step));
        /* the scale is part of the gradient */
        const fam_adamw_step w = {rate, number(a, "beta1"), number(a, "beta2"), number(a, "epsilon"),
                                  number(a, "weight_decay"), 0.25, step + 1};
        const fam_adafactor_step s = {rate, w.beta1, w.beta2, w.epsilon, w.weight_decay, 0.25, 1, step + 1};
        float *gradient = gradients + step * count;
        for (int64_t i = 0; i < count; i++)
            gradient[i] *= 4;
        if (factored_kind)
            f->ops->adafactor(f->exec, x, m, v, column, gradient, rows, columns, &s);
        else
            f->ops->adamw(f->exec, x, m, v, gradient, count, &w);
    }
    compare(f, a, kind, "x", shape, x);
    compare(f, a, kind, "m", shape, m);
    compare(f, a, kind, factored_kind ? "row" : "v", shape, v);
    if (factored_kind)
        compare(f, a, kind, "column", shape, column);
    free(x);
    free(gradients);
    free(m);
    free(v);
    free(column);
}

static uint64_t every_level; /* the digest that all levels must have */

static void check_answers(fixture *f)
{
    answers a;
    size_t i;
    json_t *shape;
    answers_open(&a, "steps");
    json_array_foreach(json_object_get(a.json, "shapes"), i, shape)
    {
        check_ten_steps(f, &a, json_string_value(shape), false);
        check_ten_steps(f, &a, json_string_value(shape), true);
    }
    answers_close(&a);
    if (every_level == 0)
        every_level = f->digest;
    if (f->digest != every_level)
        fail_msg("%s: found other bits than on other levels", fam_cpu_isa_name(f->isa));
}

static void ten_steps_are_those_of_pytorch(void **state)
{
    (void)state;
    for_each_setting(check_answers);
}

/* ---- operators on sizes that threads share ----------------------------------------------------------------------- */

static void check_sums(fixture *f)
{
    static const int64_t COUNTS[] = {0, 1, 7, 8, 9, 16384, 16385, 100003, 2200001};
    for (size_t c = 0; c < sizeof COUNTS / sizeof *COUNTS; c++) {
        float *x = random_floats(f, COUNTS[c]);
        long double sum = 0;
        double found = f->ops->sum_squares(f->exec, x, COUNTS[c]);
        for (int64_t i = 0; i < COUNTS[c]; i++)
            sum += (double)x[i] * x[i];
        assert_near(f, "sum of squares", COUNTS[c], found, (double)sum, 1e-14 * (double)sum);
        uint64_t bits;
        memcpy(&bits, &found, sizeof bits);
        f->digest = (f->digest ^ bits) * 0x100000001b3u;
        free(x);
    }
    float huge[3] = {3e38f, -3e38f, 1e-38f}; /* squares beyond float32 */
    assert_near(f, "sum of squares", 3, f->ops->sum_squares(f->exec, huge, 3), 1.8e77, 1e71);
}

static void sums_of_squares_of_any_size(void **state)
{
    (void)state;
    for_each_setting(check_sums);
}

/* One more step of Adafactor, as the contract in backend.h has it, in double. */
static void adafactor_in_double(double *x, double *m, double *row, double *column, const float *gradient, int64_t rows,
                                int64_t columns, const fam_adafactor_step *s)
{
    double b = s->beta2 * (1 - pow(s->beta2, (double)s->step - 1)) / (1 - pow(s->beta2, (double)s->step));
    double floor = fmax(s->epsilon * s->epsilon, 1e-30), mean_row = 0, size = 0;
    double *u = calloc((size_t)(rows * columns), sizeof *u);
    for (int64_t i = 0; i < rows; i++)
        row[i] *= b;
    for (int64_t j = 0; j < columns; j++)
        column[j] *= b;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            double g = s->scale * gradient[i * columns + j], square = g * g + floor;
            row[i] += (1 - b) * square / (double)columns;
            column[j] += (1 - b) * square / (double)rows;
        }
    for (int64_t i = 0; i < rows; i++)
        mean_row += row[i] / (double)rows;
    for (int64_t at = 0; at < rows * columns; at++) {
        u[at] = s->scale * gradient[at] / sqrt(row[at / columns] * column[at % columns] / mean_row);
        size += u[at] * u[at] / (double)(rows * columns);
    }
    for (int64_t at = 0; at < rows * columns; at++) {
        double limit = s->clip > 0 ? fmax(1, sqrt(size) / s->clip) : 1;
        m[at] = s->beta1 * m[at] + (1 - s->beta1) * s->rate * u[at] / limit;
        x[at] = (1 - s->rate * s->weight_decay) * x[at] - m[at];
    }
    free(u);
}

static void check_large_adafactor(fixture *f, int64_t rows, int64_t columns, double clip)
{
    int64_t count = rows * columns;
    float *x = random_floats(f, count), *gradient = random_floats(f, count), *m = random_floats(f, count);
    float *row = random_floats(f, rows), *column = random_floats(f, columns);
    for (int64_t i = 0; i < rows; i++)
        row[i] = fabsf(row[i]) + 0.01f;
    for (int64_t i = 0; i < columns; i++)
        column[i] = fabsf(column[i]) + 0.01f;
    double *dx = as_doubles(x, count), *dm = as_doubles(m, count), *drow = as_doubles(row, rows),
           *dcolumn = as_doubles(column, columns);
    const fam_adafactor_step step = {0.01, 0.9, 0.99, 1e-8, 0.1, 0.5, clip, 7};
    adafactor_in_double(dx, dm, drow, dcolumn, gradient, rows, columns, &step);
    f->ops->adafactor(f->exec, x, m, row, column, gradient, rows, columns, &step);
    assert_all_near(f, "x", x, NULL, dx, count, 1e-6, 0);
    assert_all_near(f, "m", m, NULL, dm, count, 1e-6, 0);
    assert_all_near(f, "row", row, NULL, drow, rows, 1e-6, 0);
    assert_all_near(f, "column", column, NULL, dcolumn, columns, 1e-6, 0);
    float *floats[] = {x, gradient, m, row, column};
    for (int i = 0; i < 5; i++)
        free(floats[i]);
    double *doubles[] = {dx, dm, drow, dcolumn};
    for (int i = 0; i < 4; i++)
        free(doubles[i]);
}

static void check_large(fixture *f)
{
    check_large_adafactor(f, 301, 211, 1);
    check_large_adafactor(f, 301, 211, 0);
    check_large_adafactor(f, 2, 40001, 1);
    check_large_adafactor(f, 40001, 2, 0.1);
    enum { COUNT = 50001 };
    float *x = random_floats(f, COUNT), *m = random_floats(f, COUNT), *v = random_floats(f, COUNT),
          *gradient = random_floats(f, COUNT);
    for (int64_t i = 0; i < COUNT; i++)
        v[i] = fabsf(v[i]);
    double *dx = as_doubles(x, COUNT);
    for (int64_t i = 0; i < COUNT; i++) {
        double g = 0.5 * gradient[i], first = 0.9 * m[i] + 0.1 * g, second = 0.99 * v[i] + 0.01 * g * g;
        dx[i] = dx[i] * (1 - 0.01 * 0.1) -
                0.01 * (first / (1 - pow(0.9, 7))) / (sqrt(second / (1 - pow(0.99, 7))) + 1e-3);
    }
    const fam_adamw_step step = {0.01, 0.9, 0.99, 1e-3, 0.1, 0.5, 7};
    f->ops->adamw(f->exec, x, m, v, gradient, COUNT, &step);
    assert_all_near(f, "x", x, NULL, dx, COUNT, 1e-6, 0);
    free(dx);
    free(x);
    free(m);
    free(v);
    free(gradient);
}

static void tensors_that_threads_share(void **state)
{
    (void)state;
    for_each_setting(check_large);
}

/* ---- whole models ------------------------------------------------------------------------------------------------ */

static fam_recipe recipe_of(const answers *a)
{
    fam_recipe recipe = trainee_recipe();
    recipe.optimizer.beta1 = number(a, "beta1");
    recipe.optimizer.beta2 = number(a, "beta2");
    recipe.optimizer.epsilon = number(a, "epsilon");
    recipe.optimizer.weight_decay = number(a, "weight_decay");
    recipe.optimizer.clip = number(a, "clip");
    return recipe;
}

static void compare_weights(const trainee *t, const answers *a, double tolerance)
{
    fam_tensor *tensors;
    void *block;
    double worst = 0;
    run_ok(fam_parameters_tensors(t->parameters, &tensors, &block, error));
    for (int64_t i = 0; i < t->parameters->count; i++) {
        const fam_tensor *want = fam_safetensors_tensor(a->file, tensors[i].name);
        if (!want || want->bytes != tensors[i].bytes)
            fail_msg("%s: found none of its size", tensors[i].name);
        float *need = malloc(want->bytes);
        memcpy(need, want->data, want->bytes);
        double error = run_error((const float *)tensors[i].data, need, want->bytes / sizeof *need);
        free(need);
        if (!(error <= tolerance))
            fail_msg("%s: found an error of %g, need at most %g", tensors[i].name, error, tolerance);
        worst = error > worst ? error : worst;
    }
    fam_safetensors_entry entry;
    assert_false(fam_safetensors_entry_at(a->file, t->parameters->count, &entry)); /* no other names */
    print_message("weights: error at most %.2g of %.2g\n", worst, tolerance);
    fam_free(t->parameters->memory, tensors);
    fam_free(t->parameters->memory, block);
}

/* As the golden cases have it: some times the error of the reference in float32. */
static double tolerance_of(const answers *a, const char *what)
{
    const json_t *value = json_object_get(json_object_get(a->json, "float32_error"), what);
    assert_true(json_is_number(value));
    return fmax(5 * json_number_value(value), 1e-5);
}

static void assert_relative(const char *name, size_t step, const char *what, double found, double need,
                            double tolerance)
{
    if (!(fabs(found - need) <= tolerance * need))
        fail_msg("%s: step %zu: found a %s of %.8g, need %.8g within %.2g of it", name, step, what, found, need,
                 tolerance);
}

static void check_model(const char *name, int threads)
{
    answers a;
    trainee t;
    answers_open(&a, name);
    fam_recipe recipe = recipe_of(&a);
    fam_engine_options options = run_options();
    options.threads = threads;
    trainee_open(&t, json_string_value(json_object_get(a.json, "case")), &recipe, &options);
    for (size_t step = 0; step <= STEPS; step++) {
        double need = json_number_value(json_array_get(json_object_get(a.json, "losses"), step)),
               found = trainee_pass(&t);
        assert_relative(name, step, "loss", found, need, tolerance_of(&a, "losses"));
        if (step == STEPS)
            break;
        fam_step_result result;
        double norm = json_number_value(json_array_get(json_object_get(a.json, "norms"), step));
        run_ok(fam_optimizer_step(t.optimizer, t.exec, number(&a, "learning_rate"), number(&a, "prompt_learning_rate"),
                                  &result, error));
        assert_true(result.clipped && !result.skipped);
        assert_relative(name, step, "gradient norm", result.gradient_norm, norm, tolerance_of(&a, "norms"));
    }
    assert_int_equal(fam_optimizer_steps(t.optimizer), STEPS);
    compare_weights(&t, &a, tolerance_of(&a, "weights"));
    trainee_close(&t);
    answers_close(&a);
}

static void ten_steps_on_all_weights(void **state)
{
    (void)state;
    check_model("all", 1);
    check_model("all", 3);
}

static void ten_steps_on_an_adapter(void **state)
{
    (void)state;
    check_model("lora", 1);
    check_model("lora", 3);
}

/* Also in bf16 and by Adafactor: the loss on one batch falls. */
static void thirty_steps_let_the_loss_fall(void **state)
{
    static const char *const cases[] = {"fam_train", "fam_lora_train"};
    (void)state;
    for (int i = 0; i < 8; i++) {
        trainee t;
        fam_recipe recipe = trainee_recipe();
        fam_engine_options options = run_options();
        recipe.optimizer.kind = i & 1 ? FAM_OPTIMIZER_ADAFACTOR : FAM_OPTIMIZER_ADAMW;
        options.dtype = i & 2 ? FAM_DTYPE_BF16 : FAM_DTYPE_F32;
        options.threads = 2;
        trainee_open(&t, cases[i / 4], &recipe, &options);
        double first = trainee_pass(&t), last = first;
        for (int step = 0; step < 30; step++) {
            fam_step_result result;
            run_ok(fam_optimizer_step(t.optimizer, t.exec, 3e-3, 3e-3, &result, error));
            last = trainee_pass(&t);
        }
        print_message("%s %s %s: %.3f to %.3f\n", cases[i / 4], i & 1 ? "adafactor" : "adamw", i & 2 ? "bf16" : "f32",
                      first, last);
        assert_true(last < 0.5 * first);
        trainee_close(&t);
    }
}

/* ---- what a step changes ----------------------------------------------------------------------------------------- */

static void write_gradient(const trainee *t, int64_t parameter, int64_t element, float value)
{
    const fam_parameter *p = &t->parameters->list[parameter];
    t->parameters->backend->ops->write(t->parameters->backend, (float *)(uintptr_t)p->gradient + element, &value,
                                       sizeof value);
}

static void a_gradient_that_is_not_finite_changes_nothing(void **state)
{
    static const char *const cases[] = {"fam_train_rms", "fam_lora_train"};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (int i = 0; i < 4; i++) {
        trainee t;
        fam_recipe recipe = trainee_recipe();
        fam_step_result result;
        recipe.optimizer.kind = i & 1 ? FAM_OPTIMIZER_ADAFACTOR : FAM_OPTIMIZER_ADAMW;
        recipe.optimizer.clip = i & 1;
        trainee_open(&t, cases[i / 2], &recipe, NULL);
        trainee_pass(&t);
        run_ok(fam_optimizer_step(t.optimizer, t.exec, 1e-3, 1e-3, &result, error));
        double loss = trainee_pass(&t);
        uint64_t before = trainee_digest(&t);
        for (int64_t p = 0; p < t.parameters->count; p++) {
            trainee_pass(&t);
            write_gradient(&t, p, p % 2 ? t.parameters->list[p].count - 1 : 0, bad[p % 3]);
            run_ok(fam_optimizer_step(t.optimizer, t.exec, 1e-3, 1e-3, &result, error));
            assert_true(result.skipped && !result.clipped && !isfinite(result.gradient_norm));
        }
        assert_int_equal(fam_optimizer_steps(t.optimizer), 1);
        assert_true(trainee_digest(&t) == before);
        assert_true(trainee_pass(&t) == loss);
        run_ok(fam_optimizer_step(t.optimizer, t.exec, 1e-3, 1e-3, &result, error)); /* and it goes on */
        assert_true(!result.skipped && trainee_digest(&t) != before);
        trainee_close(&t);
    }
}

/* With no gradient, what changes a weight is its decay. */
static void only_matrices_decay(void **state)
{
    static const char *const cases[] = {"fam_train_rms", "fam_lora_train"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        trainee t;
        fam_recipe recipe = trainee_recipe();
        fam_step_result result;
        recipe.optimizer.kind = i & 1 ? FAM_OPTIMIZER_ADAFACTOR : FAM_OPTIMIZER_ADAMW;
        trainee_open(&t, cases[i / 2], &recipe, NULL);
        fam_tensor *before, *after;
        void *block_before, *block_after;
        run_ok(fam_parameters_tensors(t.parameters, &before, &block_before, error));
        run_ok(fam_optimizer_step(t.optimizer, t.exec, 0.5, 0.25, &result, error));
        assert_true(result.gradient_norm == 0 && !result.clipped && !result.skipped);
        run_ok(fam_parameters_tensors(t.parameters, &after, &block_after, error));
        for (int64_t p = 0; p < t.parameters->count; p++) {
            bool decays = strcmp(before[p].name, "fam.prompt") != 0 && !strstr(before[p].name, "norm");
            const float *a = (const float *)before[p].data, *b = (const float *)after[p].data;
            for (int64_t e = 0; e < t.parameters->list[p].count; e++)
                assert_true(b[e] == (decays ? (float)(1 - 0.5 * 0.1) * a[e] : a[e]));
        }
        void *blocks[] = {before, after, block_before, block_after};
        for (int b = 0; b < 4; b++)
            fam_free(t.parameters->memory, blocks[b]);
        trainee_close(&t);
    }
}

/* A rate of zero leaves the prompt, or all but the prompt, where it is. */
static void the_prompt_has_its_own_rate(void **state)
{
    (void)state;
    for (int still = 0; still < 2; still++) {
        trainee t;
        fam_recipe recipe = trainee_recipe();
        fam_step_result result;
        fam_tensor *before, *after;
        void *block_before, *block_after;
        trainee_open(&t, "fam_lora_train", &recipe, NULL);
        trainee_pass(&t);
        run_ok(fam_parameters_tensors(t.parameters, &before, &block_before, error));
        run_ok(fam_optimizer_step(t.optimizer, t.exec, still ? 1e-3 : 0, still ? 0 : 1e-3, &result, error));
        run_ok(fam_parameters_tensors(t.parameters, &after, &block_after, error));
        for (int64_t p = 0; p < t.parameters->count; p++) {
            bool same = memcmp(before[p].data, after[p].data, before[p].bytes) == 0;
            assert_int_equal(same, (strcmp(before[p].name, "fam.prompt") == 0) == (still == 1));
        }
        void *blocks[] = {before, after, block_before, block_after};
        for (int b = 0; b < 4; b++)
            fam_free(t.parameters->memory, blocks[b]);
        trainee_close(&t);
    }
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void save(const trainee *t, const char *path, fam_tensor *change, float *value)
{
    fam_tensor *tensors;
    void *block;
    int64_t count;
    run_ok(fam_optimizer_tensors(t->optimizer, &tensors, &count, &block, error));
    for (int64_t i = 0; change && i < count; i++) {
        if (strcmp(tensors[i].name, change->name) != 0)
            continue;
        if (value)
            memcpy((uint8_t *)(uintptr_t)tensors[i].data + tensors[i].bytes - sizeof *value, value, sizeof *value);
        else if (change->n_dims)
            memcpy(&tensors[i], change, sizeof *change);
        else
            tensors[i] = tensors[--count];
    }
    run_ok(fam_safetensors_write(path, t->parameters->memory, tensors, count, error));
    fam_free(t->parameters->memory, tensors);
    fam_free(t->parameters->memory, block);
}

static fam_status restore(trainee *t, const char *path, int64_t steps, fam_error *why)
{
    fam_memory memory;
    fam_safetensors *file;
    fam_memory_init(&memory);
    run_ok(fam_safetensors_open(&file, &memory, path, error));
    fam_status status = fam_optimizer_restore(t->optimizer, file, steps, why);
    fam_safetensors_free(file);
    return status;
}

static void go_on(trainee *t, int steps)
{
    for (int i = 0; i < steps; i++) {
        fam_step_result result;
        trainee_pass(t);
        run_ok(fam_optimizer_step(t->optimizer, t->exec, 1e-3, 2e-3, &result, error));
    }
}

static void a_run_goes_on_from_its_files_bit_by_bit(void **state)
{
    static const char *const cases[] = {"fam_train_rms", "fam_lora_train"};
    const char *directory = scratch_make();
    (void)state;
    for (int i = 0; i < 4; i++) {
        trainee t, other;
        fam_recipe recipe = trainee_recipe();
        fam_memory memory;
        fam_safetensors *file;
        fam_tensor *tensors;
        void *block;
        recipe.optimizer.kind = i & 1 ? FAM_OPTIMIZER_ADAFACTOR : FAM_OPTIMIZER_ADAMW;
        trainee_open(&t, cases[i / 2], &recipe, NULL);
        go_on(&t, 3);
        save(&t, scratch_path(directory, "o"), NULL, NULL);
        run_ok(fam_parameters_tensors(t.parameters, &tensors, &block, error));
        run_ok(fam_safetensors_write(scratch_path(directory, "p"), t.parameters->memory, tensors, t.parameters->count,
                                     error));
        fam_free(t.parameters->memory, tensors);
        fam_free(t.parameters->memory, block);
        go_on(&t, 3);

        trainee_open(&other, cases[i / 2], &recipe, NULL);
        fam_memory_init(&memory);
        run_ok(fam_safetensors_open(&file, &memory, scratch_path(directory, "p"), error));
        run_ok(fam_parameters_restore(other.parameters, file, error));
        run_ok(fam_parameters_push(other.parameters, other.exec, error));
        fam_safetensors_free(file);
        run_ok(restore(&other, scratch_path(directory, "o"), 3, error));
        assert_int_equal(fam_optimizer_steps(other.optimizer), 3);
        go_on(&other, 3);
        assert_true(trainee_digest(&other) == trainee_digest(&t));
        assert_true(trainee_pass(&other) == trainee_pass(&t));
        trainee_close(&t);
        trainee_close(&other);
    }
    scratch_remove(directory);
}

static void files_that_do_not_fit_change_nothing(void **state)
{
    const char *directory = scratch_make();
    static const struct {
        fam_optimizer_kind kind;
        const char *tensor;
        float value; /* 0: the tensor is missing; 1: it has another shape */
        fam_status status;
        const char *words;
    } rows[] = {
        {FAM_OPTIMIZER_ADAMW, "m.model.norm.weight", 0, FAM_STATUS_MISMATCH, "found none"},
        {FAM_OPTIMIZER_ADAMW, "v.fam.prompt", 0, FAM_STATUS_MISMATCH, "found none"},
        {FAM_OPTIMIZER_ADAMW, "v.fam.prompt", 1, FAM_STATUS_MISMATCH, "dimension"},
        {FAM_OPTIMIZER_ADAMW, "m.model.norm.weight", 1, FAM_STATUS_MISMATCH, "dimension"},
        {FAM_OPTIMIZER_ADAMW, "m.model.norm.weight", NAN, FAM_STATUS_BAD_FORMAT, "need a finite number"},
        {FAM_OPTIMIZER_ADAMW, "v.model.norm.weight", INFINITY, FAM_STATUS_BAD_FORMAT, "not below 0"},
        {FAM_OPTIMIZER_ADAMW, "v.model.layers.1.mlp.down_proj.weight", -1e-30f, FAM_STATUS_BAD_FORMAT, "not below 0"},
        {FAM_OPTIMIZER_ADAFACTOR, "row.model.layers.1.mlp.down_proj.weight", -2, FAM_STATUS_BAD_FORMAT, "not below 0"},
        {FAM_OPTIMIZER_ADAFACTOR, "column.model.layers.1.mlp.down_proj.weight", -2, FAM_STATUS_BAD_FORMAT,
         "not below 0"},
        {FAM_OPTIMIZER_ADAFACTOR, "column.fam.prompt", 0, FAM_STATUS_MISMATCH, "found none"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        trainee t;
        fam_recipe recipe = trainee_recipe();
        recipe.optimizer.kind = rows[i].kind;
        trainee_open(&t, "fam_train_rms", &recipe, NULL);
        go_on(&t, 1);
        static const float zeros[8];
        fam_tensor change = {.name = rows[i].tensor, .type = FAM_TYPE_F32, .n_dims = rows[i].value == 1 ? 2 : 0,
                             .shape = {2, 4}, .data = (const uint8_t *)zeros, .bytes = sizeof zeros};
        float value = rows[i].value;
        save(&t, scratch_path(directory, "o"), &change, value == 0 || value == 1 ? NULL : &value);
        go_on(&t, 1);
        uint64_t before = trainee_digest(&t);
        run_refused(restore(&t, scratch_path(directory, "o"), 1, error), rows[i].status, rows[i].words);
        run_refused(restore(&t, scratch_path(directory, "o"), -1, error), FAM_STATUS_BAD_FORMAT, "steps");
        assert_true(trainee_digest(&t) == before);
        assert_int_equal(fam_optimizer_steps(t.optimizer), 2);
        trainee_close(&t);
    }
    scratch_remove(directory);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void each_allocation_may_fail(void **state)
{
    const char *directory = scratch_make();
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        trainee t;
        fam_recipe recipe = trainee_recipe();
        fam_optimizer *o = NULL;
        fam_tensor *tensors;
        void *block;
        int64_t count;
        recipe.optimizer.kind = (fam_optimizer_kind)kind;
        trainee_open(&t, "fam_lora_train", &recipe, NULL);
        go_on(&t, 1);
        save(&t, scratch_path(directory, "o"), NULL, NULL);
        uint64_t digest = trainee_digest(&t);
        fam_memory *memory = t.parameters->memory;
        size_t held = memory->bytes;
        for (size_t n = 1; !o; n++) {
            memory->fail_at = memory->allocations + n;
            fam_status status = fam_optimizer_create(&o, t.parameters, &recipe, NULL);
            memory->fail_at = 0;
            assert_int_equal(status, o ? FAM_OK : FAM_STATUS_OUT_OF_MEMORY);
            assert_true(o || memory->bytes == held);
        }
        /* what is told before a run is what the tensors take, but for their names */
        uint64_t told = fam_optimizer_bytes(&recipe, t.gradients), took = memory->bytes - held;
        run_ok(fam_optimizer_tensors(o, &tensors, &count, &block, error));
        uint64_t sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += tensors[i].bytes;
        assert_true(told == sum && told < took);
        fam_free(memory, tensors);
        fam_free(memory, block);
        fam_optimizer_free(o);
        assert_true(memory->bytes == held);
        for (size_t n = 1, done = 0; !done; n++) {
            memory->fail_at = memory->allocations + n;
            done = fam_optimizer_tensors(t.optimizer, &tensors, &count, &block, NULL) == FAM_OK;
            memory->fail_at = 0;
            fam_free(memory, tensors);
            fam_free(memory, block);
            assert_true(memory->bytes == held);
        }
        for (size_t n = 1, done = 0; !done; n++) {
            memory->fail_at = memory->allocations + n;
            done = restore(&t, scratch_path(directory, "o"), 1, NULL) == FAM_OK;
            memory->fail_at = 0;
            assert_true(memory->bytes == held && trainee_digest(&t) == digest);
        }
        trainee_pass(&t);
        fam_step_result result;
        size_t allocations = memory->allocations;
        run_ok(fam_optimizer_step(t.optimizer, t.exec, 1e-3, 1e-3, &result, error));
        assert_true(memory->allocations == allocations); /* weights were written before */
        trainee_close(&t);
    }
    fam_optimizer_free(NULL);
    scratch_remove(directory);
}

/* ---- rates ------------------------------------------------------------------------------------------------------- */

static void rates_of_steps(void **state)
{
    fam_recipe r = trainee_recipe();
    (void)state;
    r.train.steps = 101;
    r.optimizer.schedule = FAM_SCHEDULE_CONSTANT;
    r.optimizer.final_fraction = 0.1;
    assert_true(fam_learning_rate(&r, 2, 0) == 2 && fam_learning_rate(&r, 2, 100) == 2);
    r.optimizer.warmup_steps = 20;
    for (int step = 0; step < 20; step++)
        assert_true(fabs(fam_learning_rate(&r, 2, step) - 2 * (step + 1) / 20.0) < 1e-15);
    assert_true(fam_learning_rate(&r, 2, 20) == 2 && fam_learning_rate(&r, 2, 1000) == 2);
    r.optimizer.schedule = FAM_SCHEDULE_COSINE;
    assert_true(fam_learning_rate(&r, 2, 9) == 1 && fam_learning_rate(&r, 2, 20) == 2);
    assert_true(fabs(fam_learning_rate(&r, 2, 60) - 2 * 0.55) < 1e-15);
    assert_true(fabs(fam_learning_rate(&r, 2, 40) - 2 * (0.1 + 0.9 * (1 + sqrt(0.5)) / 2)) < 1e-12);
    assert_true(fam_learning_rate(&r, 2, 100) == 0.2 && fam_learning_rate(&r, 2, 5000) == 0.2);
    for (int step = 20; step < 100; step++)
        assert_true(fam_learning_rate(&r, 1, step + 1) < fam_learning_rate(&r, 1, step));
    r.optimizer.final_fraction = 0;
    assert_true(fam_learning_rate(&r, 2, 100) == 0);
    r.train.steps = 1; /* nothing to fall along */
    r.optimizer.warmup_steps = 0;
    assert_true(fam_learning_rate(&r, 2, 0) == 2);
    r.train.steps = 10;
    r.optimizer.warmup_steps = 50;
    assert_true(fam_learning_rate(&r, 50, 9) == 10);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(ten_steps_are_those_of_pytorch),
    cmocka_unit_test(sums_of_squares_of_any_size),
    cmocka_unit_test(tensors_that_threads_share),
    cmocka_unit_test(ten_steps_on_all_weights),
    cmocka_unit_test(ten_steps_on_an_adapter),
    cmocka_unit_test(thirty_steps_let_the_loss_fall),
    cmocka_unit_test(a_gradient_that_is_not_finite_changes_nothing),
    cmocka_unit_test(only_matrices_decay),
    cmocka_unit_test(the_prompt_has_its_own_rate),
    cmocka_unit_test(a_run_goes_on_from_its_files_bit_by_bit),
    cmocka_unit_test(files_that_do_not_fit_change_nothing),
    cmocka_unit_test(each_allocation_may_fail),
    cmocka_unit_test(rates_of_steps),
};
SUITE_MAIN(tests)
