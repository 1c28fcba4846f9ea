/*
 * bench/bench_ops.c: the CPU's operators at the shapes of SmolLM2-135M, without a model file: how fast decoding could
 * be if it were matrix products and rows only, and how fast many rows go through the layers' products.
 *
 *   bench_ops [--threads N] [--isa NAME] [--types bf16,q8_0,...] [--rows N] [--repeat N]
 *
 * One line a measurement, tab-separated: what, type, median, minimum, maximum, unit. The roof is how fast the same
 * threads read the largest set of weights with plain loads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backend/cpu/cpu.h"
#include "base/random.h"
#include "bench_support.h"

enum { LAYERS = 30, WIDTH = 576, KV_WIDTH = 192, HIDDEN = 1536, VOCABULARY = 49152, HEAD_DIM = 64, REPEAT_MAX = 101 };

enum { Q, K, V, O, GATE, UP, DOWN, ROLES };
static const int64_t role_rows[ROLES] = {WIDTH, KV_WIDTH, KV_WIDTH, WIDTH, HIDDEN, HIDDEN, WIDTH};
static const int64_t role_columns[ROLES] = {WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, HIDDEN};

typedef struct bench {
    fam_memory memory;
    fam_backend *backend;
    const fam_backend_ops *ops;
    fam_exec *exec;
    fam_pool *pool;
    uint8_t *data;
    size_t bytes;
    fam_weight *layer[LAYERS][ROLES], *head;
    float *x, *q, *k, *v, *gate, *up, *logits, *gain;
    void *activations, *hidden;
    float *cosines, *sines;
    int repeat;
    int64_t rows;
} bench;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double report(const char *what, const char *type, double *values, int count, const char *unit)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    printf("%s\t%s\t%.1f\t%.1f\t%.1f\t%s\n", what, type, values[count / 2], values[0], values[count - 1], unit);
    fflush(stdout);
    return values[count / 2];
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static fam_weight *make_weight(bench *b, fam_type type, int64_t rows, int64_t columns, size_t *at)
{
    size_t row_bytes;
    fam_weight *weight;
    fam_error error;
    fam_weight_source source = {b->data + *at, type, rows, columns, 0};
    fam_type_row_bytes(&row_bytes, type, columns);
    *at += row_bytes * (size_t)rows;
    check(b->ops->weight_create(b->backend, &weight, &source, &error), &error);
    return weight;
}

/* Small finite values whatever the type: all scales are 2^-10. */
static void fill(bench *b, fam_type type)
{
    size_t block = fam_type_block_bytes(type);
    fam_random random;
    fam_random_seed(&random, 1);
    for (size_t i = 0; i + 8 <= b->bytes; i += 8) {
        uint64_t word = fam_random_next(&random);
        if (type == FAM_TYPE_F32)
            word = (word & 0x807fffff807fffffu) | 0x3c0000003c000000u;
        else if (type == FAM_TYPE_BF16 || type == FAM_TYPE_F16)
            word = (word & 0x80ff80ff80ff80ffu) | 0x1c001c001c001c00u << (type == FAM_TYPE_BF16);
        memcpy(b->data + i, &word, 8);
    }
    const uint16_t scale = 0x1400;
    for (size_t i = 0; block > 4 && i + block <= b->bytes; i += block) {
        memcpy(b->data + i, &scale, 2);
        if (type == FAM_TYPE_Q4_1)
            memcpy(b->data + i + 2, &scale, 2);
    }
}

static void make_model(bench *b, fam_type type)
{
    size_t row_bytes, at = 0;
    b->bytes = 0;
    for (int r = 0; r < ROLES; r++) {
        fam_type_row_bytes(&row_bytes, type, role_columns[r]);
        b->bytes += LAYERS * row_bytes * (size_t)role_rows[r];
    }
    fam_type_row_bytes(&row_bytes, type, WIDTH);
    b->bytes += row_bytes * VOCABULARY;
    b->data = need(malloc(b->bytes));
    fill(b, type);
    for (int l = 0; l < LAYERS; l++)
        for (int r = 0; r < ROLES; r++)
            b->layer[l][r] = make_weight(b, type, role_rows[r], role_columns[r], &at);
    b->head = make_weight(b, type, VOCABULARY, WIDTH, &at);
}

static void free_model(bench *b)
{
    for (int l = 0; l < LAYERS; l++)
        for (int r = 0; r < ROLES; r++)
            b->ops->weight_free(b->backend, b->layer[l][r]);
    b->ops->weight_free(b->backend, b->head);
    free(b->data);
}

static void prepare(bench *b, int64_t n, bool head)
{
    fam_error error;
    for (int l = 0; l < LAYERS; l++)
        for (int r = 0; r < ROLES; r++)
            check(b->ops->prepare(b->exec, b->layer[l][r], n, &error), &error);
    if (head)
        check(b->ops->prepare(b->exec, b->head, n, &error), &error);
}

/* ---- what is measured -------------------------------------------------------------------------------------------- */

/* One layer without attention. */
static void run_layer(bench *b, fam_weight **w, int64_t n)
{
    const fam_backend_ops *ops = b->ops;
    fam_head_layout layout = {WIDTH, HEAD_DIM};
    ops->rms_norm(b->exec, b->activations, b->x, b->gain, 1e-5, n, WIDTH);
    fam_matmul_job qkv[] = {{b->q, b->activations, w[Q], false, false},
                            {b->k, b->activations, w[K], false, false},
                            {b->v, b->activations, w[V], false, false}};
    ops->matmul(b->exec, qkv, 3, n);
    ops->rope(b->exec, b->activations, layout, b->q, b->cosines, b->sines, n, WIDTH / HEAD_DIM, HEAD_DIM);
    fam_matmul_job o = {b->x, b->activations, w[O], true, false};
    ops->matmul(b->exec, &o, 1, n);
    ops->rms_norm(b->exec, b->activations, b->x, b->gain, 1e-5, n, WIDTH);
    fam_matmul_job gate_up[] = {{b->gate, b->activations, w[GATE], false, false},
                                {b->up, b->activations, w[UP], false, false}};
    ops->matmul(b->exec, gate_up, 2, n);
    ops->silu_multiply(b->exec, b->hidden, b->gate, b->up, n, HIDDEN);
    fam_matmul_job down = {b->x, b->hidden, w[DOWN], true, false};
    ops->matmul(b->exec, &down, 1, n);
}

static void run_token(bench *b)
{
    for (int l = 0; l < LAYERS; l++)
        run_layer(b, b->layer[l], 1);
    fam_matmul_job head = {b->logits, b->activations, b->head, false, false};
    b->ops->matmul(b->exec, &head, 1, 1);
}

static void reset(bench *b)
{
    for (int64_t i = 0; i < b->rows * WIDTH; i++)
        b->x[i] = (float)(i % 17) - 8;
}

static double bench_decode(bench *b, const char *type)
{
    enum { TOKENS = 16 };
    double speed[REPEAT_MAX];
    prepare(b, 1, true);
    for (int i = -1; i < b->repeat; i++) {
        reset(b);
        double start = seconds_now();
        for (int t = 0; t < TOKENS; t++)
            run_token(b);
        if (i >= 0)
            speed[i] = TOKENS / (seconds_now() - start);
    }
    double median = report("decode", type, speed, b->repeat, "tok/s");
    printf("decode-read\t%s\t%.1f\t\t\tGB/s\n", type, median * (double)b->bytes * 1e-9);
    return median;
}

static void bench_rows(bench *b, const char *type)
{
    double speed[REPEAT_MAX], tokens[REPEAT_MAX], flops = 0;
    for (int r = 0; r < ROLES; r++)
        flops += 2.0 * LAYERS * (double)b->rows * (double)role_rows[r] * (double)role_columns[r];
    double start = seconds_now();
    prepare(b, b->rows, false);
    printf("prepare\t%s\t%.3f\t\t\ts\n", type, seconds_now() - start);
    for (int i = -1; i < b->repeat; i++) {
        reset(b);
        start = seconds_now();
        for (int l = 0; l < LAYERS; l++)
            run_layer(b, b->layer[l], b->rows);
        double seconds = seconds_now() - start;
        if (i >= 0) {
            speed[i] = flops / seconds * 1e-9;
            tokens[i] = (double)b->rows / seconds;
        }
    }
    report("rows", type, speed, b->repeat, "GFLOP/s");
    report("rows", type, tokens, b->repeat, "tok/s");
}

typedef struct reading {
    const uint8_t *data;
    size_t bytes;
    int64_t parts;
    uint64_t sums[1024];
} reading;

static void read_part(void *context, int64_t begin, int64_t end, int thread)
{
    typedef uint64_t words __attribute__((vector_size(64), aligned(8), may_alias));
    reading *r = context;
    size_t from = r->bytes / (size_t)r->parts * (size_t)begin, to = r->bytes / (size_t)r->parts * (size_t)end;
    words a = {0}, b = {0};
    for (size_t i = from; i + 128 <= to; i += 128) {
        __builtin_prefetch(r->data + i + 4096, 0, 2);
        __builtin_prefetch(r->data + i + 4160, 0, 2);
        a += *(const words *)(r->data + i);
        b += *(const words *)(r->data + i + 64);
    }
    a += b;
    r->sums[thread] += a[0] + a[1] + a[2] + a[3] + a[4] + a[5] + a[6] + a[7];
}

static void bench_roof(bench *b, const char *type)
{
    double speed[REPEAT_MAX];
    reading *r = need(calloc(1, sizeof *r));
    r->data = b->data;
    r->bytes = b->bytes;
    r->parts = 64 * fam_pool_threads(b->pool);
    for (int i = -1; i < b->repeat; i++) {
        double start = seconds_now();
        fam_pool_run(b->pool, read_part, r, r->parts, 1);
        if (i >= 0)
            speed[i] = (double)b->bytes / (seconds_now() - start) * 1e-9;
    }
    report("roof", type, speed, b->repeat, "GB/s");
    free(r);
}

static void nothing(void *context, int64_t begin, int64_t end, int thread)
{
    (void)context;
    (void)begin;
    (void)end;
    (void)thread;
}

static void bench_pool(bench *b)
{
    enum { RUNS = 10000 };
    double cost[REPEAT_MAX];
    for (int i = 0; i < b->repeat; i++) {
        double start = seconds_now();
        for (int k = 0; k < RUNS; k++)
            fam_pool_run(b->pool, nothing, NULL, fam_pool_threads(b->pool), 1);
        cost[i] = (seconds_now() - start) / RUNS * 1e9;
    }
    report("pool-run", "-", cost, b->repeat, "ns");
}

static void make_buffers(bench *b)
{
    size_t n = (size_t)b->rows;
    b->x = need(calloc(n * WIDTH, 4));
    b->q = need(calloc(n * WIDTH, 4));
    b->k = need(calloc(n * KV_WIDTH, 4));
    b->v = need(calloc(n * KV_WIDTH, 4));
    b->gate = need(calloc(n * HIDDEN, 4));
    b->up = need(calloc(n * HIDDEN, 4));
    b->logits = need(calloc(VOCABULARY, 4));
    b->gain = need(calloc(WIDTH, 4));
    b->activations = need(calloc(n * WIDTH, 4));
    b->hidden = need(calloc(n * HIDDEN, 4));
    b->cosines = need(calloc(n * HEAD_DIM / 2, 4));
    b->sines = need(calloc(n * HEAD_DIM / 2, 4));
    for (int i = 0; i < WIDTH; i++)
        b->gain[i] = 1;
}

int main(int argc, char **argv)
{
    static bench b;
    const char *types = "bf16,f16,q8_0,q4_0,q4_1", *dtype = NULL;
    fam_error error;
    fam_cpu_options options = {.threads = 2, .isa = fam_cpu_best_isa()};
    b.rows = 512;
    b.repeat = 9;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0)
            options.threads = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--types") == 0)
            types = argv[i + 1];
        else if (strcmp(argv[i], "--dtype") == 0)
            dtype = argv[i + 1];
        else if (strcmp(argv[i], "--rows") == 0)
            b.rows = atoll(argv[i + 1]);
        else if (strcmp(argv[i], "--repeat") == 0)
            b.repeat = atoi(argv[i + 1]) < REPEAT_MAX ? atoi(argv[i + 1]) : REPEAT_MAX;
        else if (strcmp(argv[i], "--isa") != 0 || !fam_cpu_isa_from_name(&options.isa, argv[i + 1]))
            return fprintf(stderr, "bench_ops: what is %s %s?\n", argv[i], argv[i + 1]), 2;
    }
    options.dtype = options.isa >= FAM_CPU_AVX512BF16 ? FAM_DTYPE_BF16 : FAM_DTYPE_F32;
    if (dtype)
        options.dtype = strcmp(dtype, "bf16") == 0 ? FAM_DTYPE_BF16 : FAM_DTYPE_F32;
    fam_memory_init(&b.memory);
    check(fam_cpu_backend_create(&b.backend, &b.memory, &options, &error), &error);
    check(fam_pool_create(&b.pool, &b.memory, options.threads, &error), &error);
    b.ops = b.backend->ops;
    check(b.ops->exec_create(b.backend, &b.exec, b.rows, &error), &error);
    make_buffers(&b);
    printf("# %s, %s, %d threads, %lld rows\n", fam_cpu_isa_name(options.isa),
           options.dtype == FAM_DTYPE_BF16 ? "bf16" : "f32", options.threads, (long long)b.rows);
    bench_pool(&b);
    for (int t = 0; t < FAM_TYPE_COUNT; t++) {
        char name[16];
        size_t length = strlen(fam_type_name((fam_type)t));
        bool wanted = false;
        for (const char *p = types; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ','))
            wanted = wanted || (strcspn(p, ",") == length && strncasecmp(p, fam_type_name((fam_type)t), length) == 0);
        if (!wanted)
            continue;
        snprintf(name, sizeof name, "%s", fam_type_name((fam_type)t));
        make_model(&b, (fam_type)t);
        bench_roof(&b, name);
        bench_decode(&b, name);
        if (b.rows > 1)
            bench_rows(&b, name);
        free_model(&b);
    }
    b.ops->exec_free(b.exec);
    b.ops->free_backend(b.backend);
    fam_pool_free(b.pool);
    return 0;
}
