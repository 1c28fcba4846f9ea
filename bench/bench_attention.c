/*
 * Speed of the CPU's attention, each version that this machine can run: GFLOP/s of visible keys for prefill, GB/s of keys
 * and values for decoding. Usage: bench_attention [threads [part of a version's name [part of a scene's name]]];
 * medians of five.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/cpu/attention.h"
#include "base/random.h"

enum { REPETITIONS = 5, LAYERS_MAX = 30 };

typedef struct version {
    const char *name;
    const fam_cpu_attention_kernel *kernel;
    fam_cpu_isa isa;
    fam_dtype dtype;
} version;

static const version VERSIONS[] = {
    {"portable f32", &fam_cpu_attention_f32_portable, FAM_CPU_PORTABLE, FAM_DTYPE_F32},
    {"avx2 f32", &fam_cpu_attention_f32_avx2, FAM_CPU_AVX2, FAM_DTYPE_F32},
    {"avx2 bf16", &fam_cpu_attention_bf16_avx2, FAM_CPU_AVX2, FAM_DTYPE_BF16},
    {"avx512 f32", &fam_cpu_attention_f32_avx512, FAM_CPU_AVX512, FAM_DTYPE_F32},
    {"avx512 bf16", &fam_cpu_attention_bf16_avx512, FAM_CPU_AVX512, FAM_DTYPE_BF16},
    {"avx512bf16", &fam_cpu_attention_bf16_avx512bf16, FAM_CPU_AVX512BF16, FAM_DTYPE_BF16},
    {"amx", &fam_cpu_attention_bf16_amx, FAM_CPU_AMX, FAM_DTYPE_BF16},
};

typedef struct scene {
    const char *name;
    int64_t queries, block; /* block 0: one job that sees all before; else jobs of `block` queries */
    int64_t keys;           /* in front of the queries */
} scene;

static const scene SCENES[] = {
    {"prefill full 4096", 4096, 0, 0},      {"prefill bswa 4096, block 1024", 4096, 1024, 0},
    {"prefill block 256, 1 job", 256, 256, 0}, {"decode 320", 1, 0, 319},
    {"decode 1088", 1, 0, 1087},            {"decode 4096", 1, 0, 4095},
    {"decode 65536", 1, 0, 65535},
};

static int threads_used;

/* One thread alone is timed by its own clock, so that a busy machine disturbs less. */
static double now(void)
{
    struct timespec t;
    clock_gettime(threads_used == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *random_activations(int64_t count, fam_dtype dtype)
{
    fam_random random;
    uint8_t *data = aligned_alloc(64, (size_t)fam_round_up(count * (int64_t)fam_dtype_bytes(dtype), 64));
    fam_random_seed(&random, 1);
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = fam_random_next(&random);
        float value = 3.4f * ((float)(bits & 0xffff) / 65536 + (float)(bits >> 16 & 0xffff) / 65536 - 1);
        if (dtype == FAM_DTYPE_F32)
            ((float *)(void *)data)[i] = value;
        else
            ((uint16_t *)(void *)data)[i] = fam_to_bf16(value);
    }
    return data;
}

/* Runs a scene on `layers` sets of keys in turn; seconds for one. */
static double time_scene(const fam_cpu_attention_call *call, const scene *s, const fam_attention_shape *shape, int layers)
{
    int64_t rows = s->queries + s->keys, width = shape->heads * shape->head_dim, stride = rows * shape->head_dim;
    int64_t block = s->block ? s->block : s->queries, bytes = (int64_t)fam_dtype_bytes(call->dtype);
    uint8_t *q = random_activations(s->queries * width, call->dtype), *out = random_activations(s->queries * width, call->dtype);
    uint8_t *kv = random_activations(2 * layers * shape->kv_heads * stride, call->dtype);
    fam_attention_job jobs[64];
    double seconds[REPETITIONS];
    int count = (int)(s->queries / block), turns = s->queries > 1 ? 1 : 1 + (int)(400000 / (rows * layers));
    for (int r = -1; r < REPETITIONS; r++) {
        double start = now();
        for (int turn = 0; turn < turns; turn++)
            for (int layer = 0; layer < layers; layer++) {
                const uint8_t *k = kv + 2 * layer * shape->kv_heads * stride * bytes;
                for (int j = 0; j < count; j++) {
                    int64_t skip = s->block ? j * block * shape->head_dim * bytes : 0;
                    jobs[j] = (fam_attention_job){.out = out + j * block * width * bytes, .q = q + j * block * width * bytes,
                        .q_stride = width, .out_stride = width, .queries = block, .range_count = 1};
                    jobs[j].ranges[0] = (fam_key_range){.k = k + skip, .v = k + shape->kv_heads * stride * bytes + skip,
                        .head_stride = stride, .rows = s->keys + block, .upper = s->keys + 1, .upper_moves = true};
                }
                fam_cpu_attention_all(call, jobs, count, shape);
            }
        if (r >= 0)
            seconds[r] = (now() - start) / turns / layers;
    }
    qsort(seconds, REPETITIONS, sizeof *seconds, by_size);
    free(q);
    free(out);
    free(kv);
    return seconds[REPETITIONS / 2];
}

static void run_version(const version *v, const fam_attention_shape *shape, int threads, const char *only)
{
    fam_memory memory;
    fam_cpu_attention_call call = {.kernel = v->kernel, .dtype = v->dtype};
    fam_memory_init(&memory);
    if (fam_pool_create(&call.pool, &memory, threads, NULL) != FAM_OK)
        return;
    call.scratch = fam_alloc_zeroed(&memory, (size_t)threads * FAM_ATTENTION_SCRATCH_MAX);
    call.partial = fam_alloc_zeroed(&memory, FAM_CPU_PARTIAL_BYTES);
    for (size_t i = 0; i < sizeof SCENES / sizeof *SCENES; i++) {
        const scene *s = &SCENES[i];
        double block = s->block ? (double)s->block : (double)s->queries;
        double bytes = 2.0 * (double)((s->keys + s->queries) * shape->kv_heads * shape->head_dim) * (double)fam_dtype_bytes(v->dtype);
        int layers = s->queries > 1 ? 1 : 200e6 / bytes > LAYERS_MAX ? LAYERS_MAX : 1 + (int)(200e6 / bytes);
        double flops = 4.0 * (double)(shape->heads * shape->head_dim) * (double)s->queries * ((double)s->keys + (block + 1) / 2);
        if ((v->isa == FAM_CPU_PORTABLE && s->queries > 256) || !strstr(s->name, only))
            continue;
        double seconds = time_scene(&call, s, shape, layers);
        printf("  %-14s %-30s %9.1f us  %8.1f GFLOP/s", v->name, s->name, seconds * 1e6, flops / seconds * 1e-9);
        printf(s->queries > 1 ? "\n" : "  %6.1f GB/s\n", bytes / seconds * 1e-9);
        fflush(stdout);
    }
    fam_pool_free(call.pool);
    fam_free(&memory, call.scratch);
    fam_free(&memory, call.partial);
}

int main(int argc, char **argv)
{
    const fam_attention_shape shapes[] = {{9, 3, 64, 0.125f}, {32, 8, 128, 0.088388f}};
    int threads = threads_used = argc > 1 ? atoi(argv[1]) : 2;
    for (int i = 0; i < 2; i++) {
        printf("H=%d G=%d D=%d, %d threads\n", (int)shapes[i].heads, (int)shapes[i].kv_heads, (int)shapes[i].head_dim, threads);
        for (size_t v = 0; v < sizeof VERSIONS / sizeof *VERSIONS; v++)
            if (VERSIONS[v].isa <= fam_cpu_best_isa() && (argc < 3 || strstr(VERSIONS[v].name, argv[2])))
                run_version(&VERSIONS[v], &shapes[i], threads, argc > 3 ? argv[3] : "");
    }
    return 0;
}
