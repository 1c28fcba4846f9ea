/*
 * Attention of the CPU: every version that this machine can run, against a plain loop in double precision, over shapes
 * and range layouts drawn from a seed. Rows that no query sees hold NaN: whoever reads them into a result shows it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/cpu/attention.h"
#include "base/random.h"
#include "suite.h"

typedef struct version {
    const char *name;
    const fam_cpu_attention_kernel *kernel;
    fam_cpu_isa isa;
    fam_dtype dtype;
} version;

static const version VERSIONS[] = {
    {"portable f32", &fam_cpu_attention_f32_portable, FAM_CPU_PORTABLE, FAM_DTYPE_F32},
    {"portable bf16", &fam_cpu_attention_bf16_portable, FAM_CPU_PORTABLE, FAM_DTYPE_BF16},
    {"avx2 f32", &fam_cpu_attention_f32_avx2, FAM_CPU_AVX2, FAM_DTYPE_F32},
    {"avx2 bf16", &fam_cpu_attention_bf16_avx2, FAM_CPU_AVX2, FAM_DTYPE_BF16},
    {"avx512 f32", &fam_cpu_attention_f32_avx512, FAM_CPU_AVX512, FAM_DTYPE_F32},
    {"avx512 bf16", &fam_cpu_attention_bf16_avx512, FAM_CPU_AVX512, FAM_DTYPE_BF16},
    {"avx512bf16", &fam_cpu_attention_bf16_avx512bf16, FAM_CPU_AVX512BF16, FAM_DTYPE_BF16},
    {"amx", &fam_cpu_attention_bf16_amx, FAM_CPU_AMX, FAM_DTYPE_BF16},
};
enum { VERSION_COUNT = sizeof VERSIONS / sizeof *VERSIONS };

/* One call with everything it points to. Activations are kept as float and as the version's type. */
typedef struct problem {
    fam_attention_shape shape;
    fam_attention_job job; /* its pointers are the typed ones */
    fam_dtype dtype;
    float *q, *k[FAM_KEY_RANGES_MAX], *v[FAM_KEY_RANGES_MAX]; /* as the kernel sees them, widened */
    double *expected;   /* [queries, H, D] */
    double v_max, score_max;
    struct {
        void *pages;
        size_t bytes;
    } typed[1 + 2 * FAM_KEY_RANGES_MAX];
    int typed_count;
} problem;

static int64_t draw(fam_random *random, int64_t from, int64_t to) /* both included */
{
    return from + (int64_t)(fam_random_next(random) % (uint64_t)(to - from + 1));
}

static float draw_value(fam_random *random, float size)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)fam_random_uniform(random) - 0.5f;
    return sum * 1.7f * size;
}

/* Memory whose last byte is the last that may be read. */
static void *guarded(problem *p, size_t bytes)
{
    enum { PAGE = 4096 };
    size_t room = (bytes + PAGE - 1) / PAGE * PAGE;
    uint8_t *pages = mmap(NULL, room + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + room, PAGE, PROT_NONE), 0);
    p->typed[p->typed_count].pages = pages;
    p->typed[p->typed_count++].bytes = room + PAGE;
    return pages + room - bytes;
}

/* `count` values, rounded to the type; *typed the same as the kernel reads them, at an address aligned to the element
 * only. */
static float *make_values(problem *p, void **typed, int64_t count, float size, fam_random *random)
{
    float *values = malloc((size_t)count * sizeof *values + 1);
    size_t bytes = fam_dtype_bytes(p->dtype);
    *typed = guarded(p, (size_t)count * bytes);
    for (int64_t i = 0; i < count; i++) {
        float value = draw_value(random, size);
        uint16_t half = fam_to_bf16(value);
        values[i] = p->dtype == FAM_DTYPE_F32 ? value : fam_from_bf16(half);
        memcpy((uint8_t *)*typed + (size_t)i * bytes, p->dtype == FAM_DTYPE_F32 ? (void *)&value : (void *)&half, bytes);
    }
    return values;
}

static bool sees(const fam_key_range *range, int64_t query, int64_t key)
{
    return key >= range->lower + (range->lower_moves ? query : 0) && key < range->upper + (range->upper_moves ? query : 0);
}

static void poison_unseen_rows(problem *p, int r)
{
    fam_key_range *range = &p->job.ranges[r];
    size_t row_bytes = (size_t)p->shape.head_dim * fam_dtype_bytes(p->dtype);
    for (int64_t key = 0; key < range->rows; key++) {
        bool seen = false;
        for (int64_t query = 0; query < p->job.queries && !seen; query++)
            seen = sees(range, query, key);
        for (int64_t head = 0; !seen && head < p->shape.kv_heads; head++) {
            size_t at = (size_t)(head * range->head_stride + key * p->shape.head_dim) * fam_dtype_bytes(p->dtype);
            memset((uint8_t *)range->k + at, 0xff, row_bytes);
            memset((uint8_t *)range->v + at, 0xff, row_bytes);
        }
    }
}

static void expect_row(problem *p, int64_t query, int64_t head)
{
    int64_t dim = p->shape.head_dim, kv = head / (p->shape.heads / p->shape.kv_heads);
    double *out = p->expected + (query * p->shape.heads + head) * dim, maximum = -INFINITY, sum = 0;
    const float *q = p->q + query * p->job.q_stride + head * dim;
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < p->job.range_count; r++)
            for (int64_t key = 0; key < p->job.ranges[r].rows; key++) {
                const float *k = p->k[r] + kv * p->job.ranges[r].head_stride + key * dim;
                const float *v = p->v[r] + kv * p->job.ranges[r].head_stride + key * dim;
                double dot = 0;
                if (!sees(&p->job.ranges[r], query, key))
                    continue;
                for (int64_t i = 0; i < dim; i++)
                    dot += (double)q[i] * k[i];
                dot *= p->shape.scale;
                maximum = dot > maximum ? dot : maximum;
                if (pass == 0)
                    continue;
                p->score_max = fmax(p->score_max, fabs(dot));
                sum += exp(dot - maximum);
                for (int64_t i = 0; i < dim; i++)
                    out[i] += exp(dot - maximum) * v[i];
            }
    for (int64_t i = 0; i < dim; i++)
        out[i] /= sum;
}

/* Fills job->q and the ranges' keys and values; shape, queries and the ranges' numbers are set. */
static void make_problem(problem *p, float q_size, fam_random *random)
{
    int64_t width = p->shape.heads * p->shape.head_dim;
    void *typed;
    p->shape.scale = 1 / sqrtf((float)p->shape.head_dim);
    p->job.q_stride = width + draw(random, 0, 3);
    p->job.out_stride = width + draw(random, 0, 3);
    p->q = make_values(p, &typed, (p->job.queries - 1) * p->job.q_stride + width, q_size, random);
    p->job.q = typed;
    for (int r = 0; r < p->job.range_count; r++) {
        fam_key_range *range = &p->job.ranges[r];
        range->head_stride = range->rows * p->shape.head_dim + draw(random, 0, 1) * draw(random, 0, 100);
        int64_t count = range->head_stride * (p->shape.kv_heads - 1) + range->rows * p->shape.head_dim;
        p->k[r] = make_values(p, &typed, count, 1, random);
        range->k = typed;
        p->v[r] = make_values(p, &typed, count, 1, random);
        range->v = typed;
        for (int64_t i = 0; i < count; i++)
            p->v_max = fmax(p->v_max, fabs((double)p->v[r][i]));
        poison_unseen_rows(p, r);
    }
}

static void expect_results(problem *p)
{
    p->expected = calloc((size_t)(p->job.queries * p->shape.heads * p->shape.head_dim), sizeof *p->expected);
    for (int64_t query = 0; query < p->job.queries; query++)
        for (int64_t head = 0; head < p->shape.heads; head++)
            expect_row(p, query, head);
}

static void free_problem(problem *p)
{
    free(p->q);
    for (int r = 0; r < p->job.range_count; r++) {
        free(p->k[r]);
        free(p->v[r]);
    }
    for (int i = 0; i < p->typed_count; i++)
        munmap(p->typed[i].pages, p->typed[i].bytes);
    free(p->expected);
}

static bool every_query_sees_a_key(const fam_attention_job *job)
{
    for (int64_t query = 0; query < job->queries; query++)
        if (fam_query_key_count(job, query) == 0)
            return false;
    return true;
}

/* State rows, ring pieces, the span itself: what the layers ask for. */
static void draw_model_ranges(fam_attention_job *job, fam_random *random)
{
    bool sliding = draw(random, 0, 1);
    int64_t window = draw(random, 1, 200), distance = draw(random, 0, 40), pieces = draw(random, 0, 3);
    job->range_count = 0;
    if (!sliding && draw(random, 0, 1)) {
        int64_t state = draw(random, 1, 70);
        job->ranges[job->range_count++] = (fam_key_range){.rows = state, .lower = -5, .upper = state};
    }
    int64_t behind[3], total = 0;
    for (int i = 0; i < pieces; i++)
        total += behind[i] = draw(random, 0, 150);
    for (int i = 0; i < pieces; total -= behind[i++])
        job->ranges[job->range_count++] = (fam_key_range){.rows = behind[i] + distance, .upper = behind[i],
            .lower = sliding ? total - window + 1 : 0, .lower_moves = sliding};
    job->ranges[job->range_count++] = (fam_key_range){.rows = job->queries + distance, .upper = 1, .upper_moves = true,
        .lower = sliding ? 1 - window : INT64_MIN / 4, .lower_moves = sliding};
}

static void draw_any_ranges(fam_attention_job *job, fam_random *random)
{
    job->range_count = (int)draw(random, 1, 5);
    for (int r = 0; r < job->range_count; r++) {
        int64_t rows = draw(random, 0, 3) ? draw(random, 0, 300) : draw(random, 0, 20);
        job->ranges[r] = (fam_key_range){.rows = rows, .lower = draw(random, -job->queries, rows),
            .upper = draw(random, -job->queries / 2, rows + 10), .lower_moves = draw(random, 0, 1),
            .upper_moves = draw(random, 0, 1)};
    }
}

static void draw_problem(problem *p, fam_dtype dtype, float q_size, fam_random *random)
{
    static const int64_t DIMS[] = {2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 30, 32, 40, 48, 64, 64, 66, 80, 96, 128, 130, 256};
    static const int64_t GROUPS[] = {1, 1, 2, 3, 3, 4, 5, 7, 8, 12};
    memset(p, 0, sizeof *p);
    p->dtype = dtype;
    p->shape.head_dim = DIMS[draw(random, 0, sizeof DIMS / sizeof *DIMS - 1)];
    p->shape.kv_heads = draw(random, 1, 3);
    p->shape.heads = p->shape.kv_heads * GROUPS[draw(random, 0, sizeof GROUPS / sizeof *GROUPS - 1)];
    do {
        p->job.queries = draw(random, 0, 2) == 0 ? 1 : draw(random, 0, 1) ? draw(random, 1, 20) : draw(random, 20, 120);
        if (draw(random, 0, 2))
            draw_model_ranges(&p->job, random);
        else
            draw_any_ranges(&p->job, random);
    } while (!every_query_sees_a_key(&p->job));
    make_problem(p, q_size, random);
    expect_results(p);
}

/* ---- running a version --------------------------------------------------------------------------------------------- */

typedef struct runner {
    fam_memory memory;
    fam_cpu_attention_call call;
} runner;

static void start_runner(runner *r, const version *v, int threads)
{
    fam_error error;
    fam_memory_init(&r->memory);
    r->call = (fam_cpu_attention_call){.kernel = v->kernel, .dtype = v->dtype};
    assert_int_equal(fam_pool_create(&r->call.pool, &r->memory, threads, &error), FAM_OK);
    r->call.scratch = fam_alloc(&r->memory, (size_t)threads * FAM_ATTENTION_SCRATCH_MAX);
    r->call.partial = fam_alloc(&r->memory, FAM_CPU_PARTIAL_BYTES);
    /* What earlier calls left must not matter. */
    memset(r->call.scratch, 0xff, (size_t)threads * FAM_ATTENTION_SCRATCH_MAX);
    memset(r->call.partial, 0xff, FAM_CPU_PARTIAL_BYTES);
}

static void stop_runner(runner *r)
{
    fam_pool_free(r->call.pool);
    fam_free(&r->memory, r->call.scratch);
    fam_free(&r->memory, r->call.partial);
    assert_int_equal(r->memory.bytes, 0);
}

/* Room for the results of a job, filled with a pattern. */
static void *make_output(const problem *p, size_t *bytes)
{
    *bytes = (size_t)(p->job.queries * p->job.out_stride) * fam_dtype_bytes(p->dtype);
    void *out = malloc(*bytes);
    memset(out, 0x5a, *bytes);
    return out;
}

static double value_at(const void *data, int64_t index, fam_dtype dtype)
{
    return dtype == FAM_DTYPE_F32 ? ((const float *)data)[index] : fam_from_bf16(((const uint16_t *)data)[index]);
}

/* Of the largest value: float32 sums, or a result (and weights) rounded to bfloat16. */
static double tolerance(fam_dtype dtype)
{
    return dtype == FAM_DTYPE_F32 ? 2e-6 : 4e-3;
}

/* The largest error over what is allowed; gaps between rows must be as they were. */
static double check_output(const problem *p, const void *out)
{
    int64_t width = p->shape.heads * p->shape.head_dim;
    /* A score s in float32 is off by about s * 2^-23, and so is the weight, relatively. */
    double bound = (tolerance(p->dtype) + 4e-7 * p->score_max) * p->v_max, worst = 0;
    for (int64_t query = 0; query < p->job.queries; query++)
        for (int64_t i = 0; i < p->job.out_stride; i++) {
            double found = value_at(out, query * p->job.out_stride + i, p->dtype);
            if (i >= width) {
                uint32_t pattern = p->dtype == FAM_DTYPE_F32 ? 0x5a5a5a5a : 0x5a5a0000;
                assert_true(fam_bits_from_float((float)found) == pattern);
            } else {
                double error = fabs(found - p->expected[query * width + i]);
                if (!(error <= bound))
                    print_error("query %d of %d, element %d of H=%d G=%d D=%d: found %g, need %g\n", (int)query,
                                (int)p->job.queries, (int)i, (int)p->shape.heads, (int)p->shape.kv_heads,
                                (int)p->shape.head_dim, found, p->expected[query * width + i]);
                assert_true(error <= bound);
                worst = fmax(worst, error / bound);
            }
        }
    return worst;
}

static bool runs_here(const version *v)
{
    return v->isa <= fam_cpu_best_isa();
}

static double run_and_check(runner *r, problem *p)
{
    size_t bytes;
    p->job.out = make_output(p, &bytes);
    fam_cpu_attention_all(&r->call, &p->job, 1, &p->shape);
    double worst = check_output(p, p->job.out);
    free(p->job.out);
    return worst;
}

static void check_random_problems(int count, float q_size, uint64_t seed)
{
    runner runners[VERSION_COUNT];
    double worst[VERSION_COUNT] = {0};
    for (int i = 0; i < VERSION_COUNT; i++)
        start_runner(&runners[i], &VERSIONS[i], 2);
    for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
        fam_random random;
        fam_random_seed(&random, seed);
        for (int n = 0; n < count; n++) {
            problem p;
            draw_problem(&p, (fam_dtype)dtype, q_size, &random);
            for (int i = 0; i < VERSION_COUNT; i++)
                if (VERSIONS[i].dtype == (fam_dtype)dtype && runs_here(&VERSIONS[i]))
                    worst[i] = fmax(worst[i], run_and_check(&runners[i], &p));
            free_problem(&p);
        }
    }
    for (int i = 0; i < VERSION_COUNT; i++) {
        stop_runner(&runners[i]);
        if (runs_here(&VERSIONS[i]))
            print_message("%s: worst error %.2f of what is allowed\n", VERSIONS[i].name, worst[i]);
        else
            print_message("%s: not tested, this processor cannot run it\n", VERSIONS[i].name);
    }
}

/* ---- cases ----------------------------------------------------------------------------------------------------------- */

static void versions_agree_with_double_precision(void **state)
{
    (void)state;
    check_random_problems(300, 2, 1);
}

static void sharp_scores_neither_overflow_nor_vanish(void **state)
{
    (void)state;
    check_random_problems(60, 3e4f, 2);
}

static void scratch_stays_within_its_bound_for_any_shape(void **state)
{
    (void)state;
    for (int i = 0; i < VERSION_COUNT; i++)
        for (int64_t dim = 2; dim <= FAM_HEAD_DIM_MAX; dim += 2)
            for (int64_t group = 1; group <= 64; group++) {
                fam_attention_shape shape = {.heads = group * 2, .kv_heads = 2, .head_dim = dim};
                assert_true(VERSIONS[i].kernel->scratch_bytes(&shape) <= FAM_ATTENTION_SCRATCH_MAX);
                assert_true(VERSIONS[i].kernel->rows(&shape) >= 1);
            }
}

/* Kernels must keep to what they say: bytes behind are as they were. */
static void scratch_use_is_what_was_announced(void **state)
{
    (void)state;
    for (int i = 0; i < VERSION_COUNT; i++) {
        fam_random random;
        if (!runs_here(&VERSIONS[i]))
            continue;
        fam_random_seed(&random, 3);
        for (int n = 0; n < 60; n++) {
            problem p;
            size_t bytes, announced;
            const fam_cpu_attention_kernel *kernel = VERSIONS[i].kernel;
            draw_problem(&p, VERSIONS[i].dtype, 1, &random);
            announced = kernel->scratch_bytes(&p.shape);
            uint8_t *scratch = aligned_alloc(64, (size_t)fam_round_up((int64_t)announced, 64) + 4096);
            float *partial = malloc((size_t)(p.shape.heads * (2 + p.shape.head_dim)) * sizeof *partial);
            memset(scratch + announced, 0xa5, 4096);
            p.job.out = make_output(&p, &bytes);
            int64_t group = p.shape.heads / p.shape.kv_heads, rows = p.job.queries * group;
            kernel->run(&p.job, &p.shape, p.shape.kv_heads - 1, 0,
                        rows < kernel->rows(&p.shape) ? rows : kernel->rows(&p.shape), scratch);
            kernel->partial(partial, &p.job, &p.shape, 0, p.job.queries - 1, 0,
                            fam_query_key_count(&p.job, p.job.queries - 1), scratch);
            for (int b = 0; b < 4096; b++)
                assert_int_equal(scratch[announced + (size_t)b], 0xa5);
            free(scratch);
            free(partial);
            free(p.job.out);
            free_problem(&p);
        }
    }
}

/* Long contexts: many tiles, split keys; a job beside others of other kinds. */
static void many_keys_and_many_jobs_of_all_kinds(void **state)
{
    (void)state;
    enum { JOBS = 9 };
    for (int i = 0; i < VERSION_COUNT; i++) {
        fam_random random;
        runner r;
        problem problems[JOBS];
        fam_attention_job jobs[JOBS];
        if (!runs_here(&VERSIONS[i]))
            continue;
        fam_random_seed(&random, 4);
        start_runner(&r, &VERSIONS[i], 3);
        for (int j = 0; j < JOBS; j++) {
            problem *p = &problems[j];
            size_t bytes;
            memset(p, 0, sizeof *p);
            p->dtype = VERSIONS[i].dtype;
            p->shape = (fam_attention_shape){.heads = 6, .kv_heads = 2, .head_dim = 24};
            p->job.queries = j % 3 == 0 ? 37 + j : 1;
            p->job.range_count = 2;
            p->job.ranges[0] = (fam_key_range){.rows = 3 + j, .upper = INT64_MAX};
            p->job.ranges[1] = (fam_key_range){.rows = 4000, .upper = 3000 + j, .upper_moves = true, .lower = -j * 400};
            make_problem(p, 2, &random);
            expect_results(p);
            p->job.out = make_output(p, &bytes);
            jobs[j] = p->job;
        }
        fam_cpu_attention_all(&r.call, jobs, JOBS, &problems[0].shape);
        for (int j = 0; j < JOBS; j++) {
            check_output(&problems[j], jobs[j].out);
            free(jobs[j].out);
            free_problem(&problems[j]);
        }
        stop_runner(&r);
    }
}

static void results_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (int i = 0; i < VERSION_COUNT; i++) {
        fam_random random;
        if (!runs_here(&VERSIONS[i]))
            continue;
        fam_random_seed(&random, 5);
        for (int n = 0; n < 6; n++) {
            problem p;
            void *outs[3];
            size_t bytes;
            memset(&p, 0, sizeof p);
            p.dtype = VERSIONS[i].dtype;
            p.shape = (fam_attention_shape){.heads = 9, .kv_heads = 3, .head_dim = n % 2 ? 64 : 20};
            p.job.queries = n % 3 ? 150 : 1;
            p.job.range_count = 1;
            p.job.ranges[0] = (fam_key_range){.rows = 2200, .upper = 1 + 13 * n * n * n, .upper_moves = true};
            make_problem(&p, 2, &random);
            for (int t = 0; t < 3; t++) {
                runner r;
                start_runner(&r, &VERSIONS[i], 1 + 2 * t);
                p.job.out = outs[t] = make_output(&p, &bytes);
                fam_cpu_attention_all(&r.call, &p.job, 1, &p.shape);
                assert_memory_equal(outs[t], outs[0], bytes);
                stop_runner(&r);
            }
            for (int t = 0; t < 3; t++)
                free(outs[t]);
            free_problem(&p);
        }
    }
}

/* Partial results of any cut of the keys add up to the whole. */
static void parts_of_the_keys_add_up(void **state)
{
    (void)state;
    for (int i = 0; i < VERSION_COUNT; i++) {
        fam_random random;
        if (!runs_here(&VERSIONS[i]))
            continue;
        void *scratch = aligned_alloc(64, FAM_ATTENTION_SCRATCH_MAX);
        fam_random_seed(&random, 6);
        for (int n = 0; n < 60; n++) {
            problem p;
            draw_problem(&p, VERSIONS[i].dtype, 2, &random);
            int64_t dim = p.shape.head_dim, group = p.shape.heads / p.shape.kv_heads, query = p.job.queries / 2;
            int64_t keys = fam_query_key_count(&p.job, query), kv_head = p.shape.kv_heads - 1;
            int64_t cut[4] = {0, keys / 5, keys / 2, keys};
            size_t floats = (size_t)(group * (2 + dim));
            float *parts = malloc(3 * floats * sizeof *parts);
            for (int c = 0; c < 3; c++)
                if (cut[c] < cut[c + 1])
                    VERSIONS[i].kernel->partial(parts + (size_t)c * floats, &p.job, &p.shape, kv_head, query, cut[c],
                                                cut[c + 1], scratch);
            for (int64_t head = 0; head < group; head++)
                for (int64_t d = 0; d < dim; d++) {
                    double maximum = -INFINITY, sum = 0, value = 0;
                    for (int pass = 0; pass < 2; pass++)
                        for (int c = 0; c < 3; c++) {
                            const float *part = parts + (size_t)c * floats + (size_t)(head * (2 + dim));
                            if (cut[c] == cut[c + 1])
                                continue;
                            maximum = fmax(maximum, (double)part[0]);
                            sum += pass ? exp2(part[0] - maximum) * part[1] : 0;
                            value += pass ? exp2(part[0] - maximum) * part[2 + d] : 0;
                        }
                    double expected = p.expected[(query * p.shape.heads + kv_head * group + head) * dim + d];
                    assert_true(fabs(value / sum - expected) <=
                                (tolerance(p.dtype) + 4e-7 * p.score_max) * p.v_max);
                }
            free(parts);
            free_problem(&p);
        }
        free(scratch);
    }
}

/* The version that a level names is there, and is the best one at or below it. */
static void levels_select_their_version(void **state)
{
    (void)state;
    for (int isa = 0; isa < FAM_CPU_ISA_COUNT; isa++)
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
            fam_cpu_kernels kernels;
            const version *best = NULL;
            for (int i = 0; i < VERSION_COUNT; i++)
                if (VERSIONS[i].isa <= (fam_cpu_isa)isa && VERSIONS[i].dtype == (fam_dtype)dtype &&
                    (!best || best->isa <= VERSIONS[i].isa))
                    best = &VERSIONS[i];
            fam_cpu_select_attention(&kernels, (fam_cpu_isa)isa, (fam_dtype)dtype);
            assert_non_null(best);
            assert_ptr_equal(kernels.attention.run, best->kernel->run);
            assert_ptr_equal(kernels.attention.partial, best->kernel->partial);
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(versions_agree_with_double_precision),
    cmocka_unit_test(sharp_scores_neither_overflow_nor_vanish),
    cmocka_unit_test(scratch_stays_within_its_bound_for_any_shape),
    cmocka_unit_test(scratch_use_is_what_was_announced),
    cmocka_unit_test(many_keys_and_many_jobs_of_all_kinds),
    cmocka_unit_test(results_do_not_depend_on_threads),
    cmocka_unit_test(parts_of_the_keys_add_up),
    cmocka_unit_test(levels_select_their_version),
};
SUITE_MAIN(tests)
