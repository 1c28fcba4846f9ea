/*
 * bench/bench_backward.c: the CPU's operators forward and backward at the shapes of a training step.
 *
 *   bench_backward [--threads N] [--isa NAME] [--dtype f32|bf16] [--rows N] [--repeat N]
 *
 * The shape is that of a small model: E 256, feed forward 768, 4 heads of 64, blocks of 256 with 16 rows of state. One
 * line a measurement, tab-separated: operator, forward, backward (median; GFLOP/s of products, else millions of
 * elements a second), time of backward over forward.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cpu/cpu.h"
#include "base/random.h"
#include "bench_support.h"

enum { WIDTH = 256, HIDDEN = 768, HEADS = 4, HEAD_DIM = 64, BLOCK = 256, STATE = 16, VOCABULARY = 512, REPEAT_MAX = 101 };

typedef struct bench {
    fam_memory memory;
    fam_backend *backend;
    const fam_backend_ops *ops;
    fam_exec *exec;
    fam_random random;
    int64_t n;
    int repeat;
    /* what the measured call works on */
    fam_weight *weight;
    fam_matmul_job product;
    fam_matmul_backward_job product_backward;
    fam_attention_job *attention;
    fam_attention_backward_job *attention_backward;
    int attention_count;
    float *a, *b, *c, *d, *e;
    void *activations;
    int32_t *targets;
    double *nll;
} bench;

static float *floats(bench *b, int64_t count)
{
    float *x = need(fam_alloc_array(&b->memory, (size_t)count, sizeof *x));
    for (int64_t i = 0; i < count; i++)
        x[i] = (float)fam_random_uniform(&b->random) * 2 - 1;
    return x;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_seconds(bench *b, void (*call)(bench *))
{
    double times[REPEAT_MAX];
    fam_error error;
    call(b);
    for (int i = 0; i < b->repeat; i++) {
        double begin = seconds_now();
        call(b);
        times[i] = seconds_now() - begin;
    }
    check(b->ops->finish(b->exec, &error), &error);
    qsort(times, (size_t)b->repeat, sizeof *times, compare);
    return times[b->repeat / 2];
}

/* work: 1e9 of it make one unit of what is printed */
static void report(bench *b, const char *what, void (*forward)(bench *), void (*backward)(bench *), double work,
                   double backward_work)
{
    double ahead = median_seconds(b, forward), back = median_seconds(b, backward);
    printf("%s\t%.1f\t%.1f\t%.2f\n", what, work / ahead * 1e-9, backward_work / back * 1e-9, back / ahead);
    fflush(stdout);
}

/* ---- products ------------------------------------------------------------------------------------------------------- */

static void product_forward(bench *b)
{
    b->ops->matmul(b->exec, &b->product, 1, b->n);
}

static void product_backward(bench *b)
{
    b->ops->matmul_backward(b->exec, &b->product_backward, 1, b->n);
}

static void measure_product(bench *b, int64_t rows, int64_t columns)
{
    char name[64];
    fam_error error;
    float *w = floats(b, rows * columns);
    fam_weight_source source = {w, FAM_TYPE_F32, rows, columns, 0};
    check(b->ops->weight_create(b->backend, &b->weight, &source, &error), &error);
    check(b->ops->prepare(b->exec, b->weight, b->n, &error), &error);
    check(b->ops->prepare_backward(b->exec, b->weight, b->n, &error), &error);
    b->product = (fam_matmul_job){b->b, b->activations, b->weight, false, false};
    float *dweight = floats(b, rows * columns);
    double work = 2.0 * (double)b->n * (double)(rows * columns);
    b->product_backward = (fam_matmul_backward_job){b->d, NULL, b->c, b->activations, b->weight, false};
    snprintf(name, sizeof name, "product %dx%d, din", (int)rows, (int)columns);
    report(b, name, product_forward, product_backward, work, work);
    b->product_backward = (fam_matmul_backward_job){NULL, dweight, b->c, b->activations, b->weight, false};
    snprintf(name, sizeof name, "product %dx%d, dweight", (int)rows, (int)columns);
    report(b, name, product_forward, product_backward, work, work);
    b->product_backward.din = b->d;
    snprintf(name, sizeof name, "product %dx%d, both", (int)rows, (int)columns);
    report(b, name, product_forward, product_backward, work, 2 * work);
    b->ops->weight_free(b->backend, b->weight);
    fam_free(&b->memory, w);
    fam_free(&b->memory, dweight);
}

/* ---- attention ------------------------------------------------------------------------------------------------------ */

static void attention_forward(bench *b)
{
    fam_attention_shape shape = {HEADS, HEADS, HEAD_DIM, 0.125f};
    b->ops->attention(b->exec, b->attention, b->attention_count, &shape);
}

static void attention_backward(bench *b)
{
    fam_attention_shape shape = {HEADS, HEADS, HEAD_DIM, 0.125f};
    b->ops->attention_backward(b->exec, b->attention_backward, b->attention_count, &shape);
}

/* Blocks that see the state, the block before and themselves causally. */
static void measure_attention(bench *b)
{
    int64_t width = HEADS * HEAD_DIM, blocks = b->n / BLOCK, head = b->n * HEAD_DIM;
    size_t element = fam_dtype_bytes(b->backend->dtype);
    float *x = floats(b, width * (b->n + STATE));
    uint8_t *typed = need(fam_alloc_zeroed(&b->memory, (size_t)(width * (b->n + STATE)) * 4));
    fam_head_layout plain = {width, HEAD_DIM};
    b->ops->rope(b->exec, typed, plain, x, NULL, NULL, b->n + STATE, HEADS, HEAD_DIM);
    uint8_t *out = need(fam_alloc_zeroed(&b->memory, (size_t)(width * b->n) * 4));
    float *dq = floats(b, width * b->n), *dk = floats(b, width * (b->n + STATE)), *dv = floats(b, width * (b->n + STATE));
    double pairs = 0;
    b->attention = need(fam_alloc_array(&b->memory, (size_t)blocks, sizeof *b->attention));
    b->attention_backward = need(fam_alloc_array(&b->memory, (size_t)blocks, sizeof *b->attention_backward));
    b->attention_count = (int)blocks;
    for (int64_t i = 0; i < blocks; i++) {
        int64_t first = i ? (i - 1) * BLOCK : 0, behind = i ? BLOCK : 0, at = first * HEAD_DIM, state = HEADS * head;
        b->attention[i] = (fam_attention_job){
            .out = out + (size_t)(i * BLOCK * width) * element, .q = typed + (size_t)(i * BLOCK * width) * element,
            .q_stride = width, .out_stride = width, .queries = BLOCK, .range_count = 2,
            .ranges = {{typed + (size_t)state * element, typed + (size_t)state * element, STATE * HEAD_DIM, STATE, 0, STATE,
                        false, false},
                       {typed + (size_t)at * element, typed + (size_t)at * element, head, behind + BLOCK, 0, behind + 1,
                        false, true}}};
        b->attention_backward[i] = (fam_attention_backward_job){
            .forward = &b->attention[i], .dout = b->c + i * BLOCK * width, .dq = dq + i * BLOCK * width,
            .gradients = {{dk + state, dv + state, STATE * HEAD_DIM}, {dk + at, dv + at, head}}};
        pairs += (double)BLOCK * (STATE + (double)behind + BLOCK / 2.0);
    }
    report(b, "attention", attention_forward, attention_backward, 4 * pairs * HEADS * HEAD_DIM,
           10 * pairs * HEADS * HEAD_DIM);
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static void norm_forward(bench *b)
{
    b->ops->rms_norm(b->exec, b->activations, b->a, b->b, 1e-5, b->n, WIDTH);
}

static void norm_backward(bench *b)
{
    b->ops->rms_norm_backward(b->exec, b->d, b->e, b->c, b->a, b->b, 1e-5, b->n, WIDTH);
}

static void silu_forward(bench *b)
{
    b->ops->silu_multiply(b->exec, b->activations, b->a, b->b, b->n, HIDDEN);
}

static void silu_backward(bench *b)
{
    b->ops->silu_multiply_backward(b->exec, b->d, b->e, b->c, b->a, b->b, b->n, HIDDEN);
}

static void rope_forward(bench *b)
{
    b->ops->rope(b->exec, b->activations, (fam_head_layout){WIDTH, HEAD_DIM}, b->a, b->b, b->c, b->n, HEADS, HEAD_DIM);
}

static void rope_backward(bench *b)
{
    b->ops->rope_backward(b->exec, b->d, b->a, (fam_head_layout){WIDTH, HEAD_DIM}, b->b, b->c, b->n, HEADS, HEAD_DIM);
}

static void loss_forward(bench *b)
{
    b->ops->cross_entropy(b->exec, b->nll, b->a, b->targets, b->n, VOCABULARY);
}

static void loss_backward(bench *b)
{
    b->ops->cross_entropy_backward(b->exec, b->d, b->a, b->targets, b->b, b->n, VOCABULARY);
}

static void measure_all(bench *b)
{
    int64_t most = b->n * (HIDDEN > VOCABULARY ? HIDDEN : VOCABULARY);
    b->a = floats(b, most);
    b->b = floats(b, most);
    b->c = floats(b, most);
    b->d = floats(b, most);
    b->e = floats(b, most);
    b->activations = need(fam_alloc_zeroed(&b->memory, (size_t)most * 4));
    b->targets = need(fam_alloc_array(&b->memory, (size_t)b->n, sizeof *b->targets));
    b->nll = need(fam_alloc_array(&b->memory, (size_t)b->n, sizeof *b->nll));
    printf("operator\tforward\tbackward\ttime backward/forward\n");
    b->ops->silu_multiply(b->exec, b->activations, b->a, b->b, b->n, HIDDEN);
    measure_product(b, WIDTH, WIDTH);
    measure_product(b, HIDDEN, WIDTH);
    measure_product(b, WIDTH, HIDDEN);
    measure_attention(b);
    double rows = (double)b->n * 1e3;
    report(b, "rms_norm", norm_forward, norm_backward, rows * WIDTH, rows * WIDTH);
    report(b, "silu_multiply", silu_forward, silu_backward, rows * HIDDEN, rows * HIDDEN);
    report(b, "rope", rope_forward, rope_backward, rows * WIDTH, rows * WIDTH);
    report(b, "cross_entropy", loss_forward, loss_backward, rows * VOCABULARY, rows * VOCABULARY);
}

int main(int argc, char **argv)
{
    bench b = {.n = 2048, .repeat = 15};
    fam_error error;
    fam_cpu_options options = {.threads = 2, .dtype = FAM_DTYPE_F32, .isa = fam_cpu_best_isa()};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0)
            options.threads = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--rows") == 0)
            b.n = atoi(argv[i + 1]) / BLOCK * BLOCK;
        else if (strcmp(argv[i], "--repeat") == 0)
            b.repeat = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--dtype") == 0)
            options.dtype = strcmp(argv[i + 1], "bf16") == 0 ? FAM_DTYPE_BF16 : FAM_DTYPE_F32;
        else if (strcmp(argv[i], "--isa") != 0 || !fam_cpu_isa_from_name(&options.isa, argv[i + 1])) {
            fprintf(stderr, "bench_backward: %s %s: not an option\n", argv[i], argv[i + 1]);
            return 2;
        }
    }
    if (b.n < BLOCK || b.repeat < 1 || b.repeat > REPEAT_MAX || options.threads < 1) {
        fprintf(stderr, "bench_backward: need --rows of at least %d, --repeat 1 to %d\n", BLOCK, REPEAT_MAX);
        return 2;
    }
    fam_memory_init(&b.memory);
    fam_random_seed(&b.random, 1);
    check(fam_cpu_backend_create(&b.backend, &b.memory, &options, &error), &error);
    b.ops = b.backend->ops;
    check(b.ops->exec_create(b.backend, &b.exec, b.n + STATE, &error), &error);
    measure_all(&b);
    return 0;
}
