/*
 * bench/bench_training.c: tokens per second of a training step on the CPU: forward, backward, AdamW on all masters, the
 * new weights packed, the gradients cleared; of a model with random weights on random tokens.
 *
 *   bench_training [--threads N] [--isa NAME] [--dtype f32|bf16] [--layers N] [--hidden N] [--heads N] [--kv-heads N]
 *                  [--ff N] [--vocab N] [--block N] [--fam N] [--segments N] [--blocks N] [--batch N] [--lora RANK]
 *                  [--steps N] [--warmup N] [--profile 1] [--json 1]
 *
 * --fam 0: mode bswa. --lora 0: all weights are trained. Prints medians; with --profile where the time goes, operator
 * by operator, of all steps together; with --json one object, as scripts/bench_train.py reads it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "bench_support.h"
#include "model/training.h"
#include "random_model.h"
#include "timed_ops.h"
#include "train/optimizer.h"

enum { STEPS_MAX = 1000, FORWARD = 0, BACKWARD, REST, STEP, PROCESSOR, PARTS };

typedef struct options {
    random_shape shape;
    int64_t block, segments, blocks, batch, threads, steps, warmup, profile, json;
    const char *isa, *dtype;
} options;

typedef struct bench {
    options o;
    fam_memory memory;
    fam_backend *backend;
    fam_checkpoint *checkpoint;
    fam_adapter *adapter;
    fam_model *model;
    fam_training *training;
    fam_gradients *gradients;
    fam_recipe recipe;
    fam_parameters *parameters;
    fam_optimizer *optimizer;
    random_model *files;
    fam_training_batch batch;
    double times[PARTS][STEPS_MAX], loss;
} bench;

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double *sorted(bench *b, int part)
{
    qsort(b->times[part], (size_t)b->o.steps, sizeof(double), by_size);
    return b->times[part];
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

static void parse(options *o, int argc, char **argv)
{
    const struct {
        const char *name;
        int64_t *value, least;
    } numbers[] = {{"--threads", &o->threads, 1}, {"--layers", &o->shape.layers, 1}, {"--hidden", &o->shape.hidden, 2},
                   {"--heads", &o->shape.heads, 1}, {"--kv-heads", &o->shape.kv_heads, 1}, {"--ff", &o->shape.wide, 1},
                   {"--vocab", &o->shape.vocab, 1}, {"--block", &o->block, 1}, {"--fam", &o->shape.fam_length, 0},
                   {"--segments", &o->segments, 0}, {"--blocks", &o->blocks, 1}, {"--batch", &o->batch, 1},
                   {"--lora", &o->shape.rank, 0}, {"--steps", &o->steps, 1}, {"--warmup", &o->warmup, 0},
                   {"--profile", &o->profile, 0}, {"--json", &o->json, 0}};
    const struct {
        const char *name, **value;
    } words[] = {{"--isa", &o->isa}, {"--dtype", &o->dtype}};
    for (int i = 1; i < argc; i += 2) {
        bool known = false;
        for (size_t k = 0; i + 1 < argc && k < sizeof numbers / sizeof *numbers; k++)
            if (strcmp(argv[i], numbers[k].name) == 0) {
                *numbers[k].value = atoll(argv[i + 1]);
                known = *numbers[k].value >= numbers[k].least;
            }
        for (size_t k = 0; i + 1 < argc && k < sizeof words / sizeof *words; k++)
            if (strcmp(argv[i], words[k].name) == 0) {
                *words[k].value = argv[i + 1];
                known = true;
            }
        if (!known) {
            fprintf(stderr, "bench_training: %s %s: not an option\n", argv[i], i + 1 < argc ? argv[i + 1] : "");
            exit(2);
        }
    }
    if (o->steps > STEPS_MAX || o->shape.hidden % o->shape.heads != 0 || o->shape.layers > 128) {
        fprintf(stderr, "bench_training: need at most %d steps and 128 layers, and heads that divide the width\n",
                STEPS_MAX);
        exit(2);
    }
    o->shape.head_dim = o->shape.hidden / o->shape.heads;
}

/* ---- the model and its batch ------------------------------------------------------------------------------------- */

static void open_model(bench *b)
{
    fam_error error;
    const options *o = &b->o;
    fam_cpu_options cpu = {.threads = (int)o->threads, .isa = fam_cpu_best_isa(),
                           .dtype = strcmp(o->dtype, "bf16") == 0 ? FAM_DTYPE_BF16 : FAM_DTYPE_F32};
    if (o->isa && !fam_cpu_isa_from_name(&cpu.isa, o->isa)) {
        fprintf(stderr, "bench_training: --isa %s: not known\n", o->isa);
        exit(2);
    }
    check(fam_cpu_backend_create(&b->backend, &b->memory, &cpu, &error), &error);
    b->files = random_model_write(&b->memory, &o->shape);
    check(fam_checkpoint_open(&b->checkpoint, &b->memory, b->files->directory, NULL, &error), &error);
    if (o->shape.rank)
        check(fam_adapter_open(&b->adapter, &b->memory, b->files->adapter, fam_checkpoint_config(b->checkpoint),
                               &error), &error);
    const fam_model_adapter adapters[] = {{b->adapter, 1}};
    const fam_model_source source = {
        .checkpoint = b->checkpoint, .adapters = adapters, .adapter_count = o->shape.rank ? 1 : 0,
        .window = {.mode = o->shape.fam_length ? FAM_MODE_FAM : FAM_MODE_BSWA, .block_size = o->block,
                   .memory_segments = o->segments, .fam_length = o->shape.fam_length, .positions = FAM_POSITIONS_LAST},
        .state_norm = FAM_STATE_NORM_RMS, .prompt = fam_checkpoint_tensor(b->checkpoint, "fam.prompt")};
    check(fam_model_create(&b->model, &b->memory, b->backend, &source, &error), &error);
}

static void make_batch(bench *b)
{
    fam_random random;
    int64_t tokens = b->o.block * b->o.blocks, count = b->o.batch * tokens;
    int32_t *ids = need(fam_alloc_array(&b->memory, (size_t)count, sizeof *ids));
    float *weights = need(fam_alloc_array(&b->memory, (size_t)count, sizeof *weights));
    int64_t *offsets = need(fam_alloc_array(&b->memory, (size_t)b->o.batch, sizeof *offsets));
    fam_random_seed(&random, 2);
    for (int64_t i = 0; i < count; i++) {
        ids[i] = (int32_t)(fam_random_uniform(&random) * (double)b->o.shape.vocab);
        weights[i] = i % tokens != 0;
    }
    b->batch = (fam_training_batch){.ids = ids, .weights = weights, .offsets = offsets};
}

static void make_pass(bench *b)
{
    fam_error error;
    const fam_training_options what = {.sequences = b->o.batch, .tokens = b->o.block * b->o.blocks, .backward = true};
    check(fam_training_create(&b->training, b->model, &what, &error), &error);
    check(fam_gradients_create(&b->gradients, b->model, b->o.shape.rank ? FAM_TRAIN_ADAPTERS : FAM_TRAIN_ALL, &error),
          &error);
    b->recipe = (fam_recipe){.memory = &b->memory, .optimizer = {.kind = FAM_OPTIMIZER_ADAMW, .learning_rate = 1e-4,
                                                                 .prompt_learning_rate = 1e-4, .beta1 = 0.9,
                                                                 .beta2 = 0.99,
                                                                 .epsilon = 1e-8, .clip = 1}};
    check(fam_parameters_create(&b->parameters, b->gradients, b->checkpoint, b->adapter,
                                fam_checkpoint_tensor(b->checkpoint, "fam.prompt"), &error), &error);
    check(fam_optimizer_create(&b->optimizer, b->parameters, &b->recipe, &error), &error);
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

/* Of all threads: on a busy machine steadier than the wall's clock. */
static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run_step(bench *b, double *times[PARTS])
{
    fam_error error;
    double used = processor_seconds();
    double loss_sum, weight_sum, begin = seconds_now();
    check(fam_training_forward(b->training, &b->batch, &loss_sum, &weight_sum, &error), &error);
    double ahead = seconds_now();
    check(fam_training_backward(b->training, b->gradients, 1 / weight_sum, &error), &error);
    double back = seconds_now();
    fam_step_result result;
    check(fam_optimizer_step(b->optimizer, fam_training_exec(b->training), 1e-4, 1e-4, &result, &error), &error);
    fam_gradients_clear(b->gradients, fam_training_exec(b->training));
    double end = seconds_now(), parts[PARTS] = {ahead - begin, back - ahead, end - back, end - begin,
                                  processor_seconds() - used};
    for (int i = 0; i < PARTS; i++)
        *times[i] = parts[i];
    b->loss = loss_sum / weight_sum;
}

static void measure(bench *b)
{
    double ignored, *places[PARTS] = {&ignored, &ignored, &ignored, &ignored, &ignored}, total = 0;
    for (int64_t i = 0; i < b->o.warmup; i++)
        run_step(b, places);
    if (b->o.profile)
        timed_begin(b->backend, b->o.batch * b->o.shape.fam_length);
    for (int64_t i = 0; i < b->o.steps; i++) {
        for (int p = 0; p < PARTS; p++)
            places[p] = &b->times[p][i];
        run_step(b, places);
        total += b->times[STEP][i];
    }
    if (b->o.profile)
        timed_report(stdout, (int)b->o.steps, total);
}

static void report(bench *b)
{
    int64_t middle = b->o.steps / 2, count = b->o.batch * b->o.block * b->o.blocks;
    double *step = sorted(b, STEP);
    double median = step[middle], ahead = sorted(b, FORWARD)[middle], back = sorted(b, BACKWARD)[middle],
           rest = sorted(b, REST)[middle], processor = sorted(b, PROCESSOR)[0];
    double mib = (double)atomic_load(&b->memory.peak_bytes) / (1 << 20);
    if (b->o.json)
        printf("{\"tokens_per_second\": %.1f, \"seconds\": %.5f, \"forward\": %.5f, \"backward\": %.5f, "
               "\"rest\": %.5f, \"spread\": [%.5f, %.5f], \"processor\": %.5f, \"loss\": %.5f, \"peak_mib\": %.1f}\n",
               (double)count / median, median, ahead, back, rest, step[0], step[b->o.steps - 1], processor,
               b->loss, mib);
    else
        printf("%.0f tokens a second; a step %.1f ms (%.1f to %.1f): forward %.1f, backward %.1f, the rest %.1f; "
               "least processor time %.1f ms; loss %.4f; %.0f MiB\n",
               (double)count / median, median * 1e3, step[0] * 1e3, step[b->o.steps - 1] * 1e3, ahead * 1e3, back * 1e3,
               rest * 1e3, processor * 1e3, b->loss, mib);
}

static void close_all(bench *b)
{
    fam_optimizer_free(b->optimizer);
    fam_parameters_free(b->parameters);
    fam_gradients_free(b->gradients);
    fam_training_free(b->training);
    fam_model_free(b->model);
    fam_adapter_free(b->adapter);
    fam_checkpoint_free(b->checkpoint);
    random_model_remove(b->files);
    b->backend->ops->free_backend(b->backend);
    fam_free(&b->memory, (void *)b->batch.ids);
    fam_free(&b->memory, (void *)b->batch.weights);
    fam_free(&b->memory, (void *)b->batch.offsets);
}

int main(int argc, char **argv)
{
    static bench b = {.o = {.shape = {.layers = 8, .hidden = 256, .heads = 4, .kv_heads = 4, .wide = 768, .vocab = 512,
                                      .fam_length = 16},
                            .block = 256, .blocks = 8, .batch = 4, .threads = 2, .steps = 7, .warmup = 2,
                            .dtype = "bf16"}};
    parse(&b.o, argc, argv);
    fam_memory_init(&b.memory);
    open_model(&b);
    make_batch(&b);
    make_pass(&b);
    measure(&b);
    report(&b);
    close_all(&b);
    return 0;
}
