/*
 * The CPU backend's operators against plain double loops: every instruction set level that this machine has, both
 * arithmetic types, one thread and two.
 */
#define SUITE_TIMEOUT 300

#include <pthread.h>
#include <stdatomic.h>

#include "backend/cpu/cpu.h"
#include "suite.h"
#include "tensors.h"

typedef struct fixture {
    fam_memory memory;
    fam_backend *backend;
    const fam_backend_ops *ops;
    fam_exec *exec;
    fam_random random;
    fam_dtype dtype;
    fam_cpu_isa isa;
} fixture;

static void open_fixture(fixture *f, fam_cpu_isa isa, fam_dtype dtype, int threads)
{
    fam_error error;
    fam_cpu_options options = {.threads = threads, .dtype = dtype, .isa = isa};
    memset(f, 0, sizeof *f);
    fam_memory_init(&f->memory);
    fam_random_seed(&f->random, 1);
    f->dtype = dtype;
    f->isa = isa;
    assert_int_equal(fam_cpu_backend_create(&f->backend, &f->memory, &options, &error), FAM_OK);
    f->ops = f->backend->ops;
    assert_int_equal(f->ops->exec_create(f->backend, &f->exec, 4096, &error), FAM_OK);
}

static void close_fixture(fixture *f)
{
    assert_int_equal(f->ops->finish(f->exec, NULL), FAM_OK);
    f->ops->exec_free(f->exec);
    f->ops->free_backend(f->backend);
    assert_int_equal(f->memory.bytes, 0);
}

static void for_each_setting(void (*check)(fixture *f))
{
    for (int isa = 0; isa <= (int)fam_cpu_best_isa(); isa++) {
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
            for (int threads = 1; threads <= 2; threads++) {
                fixture f;
                open_fixture(&f, (fam_cpu_isa)isa, (fam_dtype)dtype, threads);
                check(&f);
                close_fixture(&f);
            }
        }
    }
}

/* An element of an activation array. */
static double activation(const fixture *f, const void *array, int64_t i)
{
    return f->dtype == FAM_DTYPE_BF16 ? fam_from_bf16(((const uint16_t *)array)[i]) : ((const float *)array)[i];
}

/* `found` must be `need` within `tolerance`, and the rounding of an activation if it is one. */
static void assert_near(const fixture *f, double found, double need, double tolerance, bool is_activation)
{
    if (is_activation && f->dtype == FAM_DTYPE_BF16)
        tolerance += fabs(need) * 0x1.02p-8;
    if (!(fabs(found - need) <= tolerance))
        fail_msg("%s %s: found %.9g, need %.9g within %.3g", fam_cpu_isa_name(f->isa),
                 f->dtype == FAM_DTYPE_BF16 ? "bf16" : "f32", found, need, tolerance);
}

static float *random_floats(fixture *f, int64_t count)
{
    float *x = malloc((size_t)count * sizeof *x + 1);
    for (int64_t i = 0; i < count; i++)
        x[i] = tensor_value(&f->random);
    return x;
}

/* ---- matrix products --------------------------------------------------------------------------------------------- */

typedef struct product {
    fam_type type;
    int64_t rows, columns, permuted_head_dim, n;
    bool accumulate, activation_out;
} product;

/* Row of the file that holds row `row` of the weight, by the definition in backend.h. */
static int64_t file_row(const product *p, int64_t row)
{
    int64_t d = p->permuted_head_dim;
    for (int64_t i = 0; d && i < d / 2; i++)
        for (int64_t s = 0; s < 2; s++)
            if (row % d == i + s * (d / 2))
                return row - row % d + 2 * i + s;
    return row;
}

static float *dequantized(const fixture *f, const product *p, const uint8_t *data)
{
    size_t row_bytes;
    float *w = malloc((size_t)(p->rows * p->columns) * sizeof *w);
    /* products of many rows are made from weights in the arithmetic type */
    bool rounded = f->dtype == FAM_DTYPE_BF16 && f->isa >= FAM_CPU_AVX512BF16 && p->n > 3;
    assert_true(fam_type_row_bytes(&row_bytes, p->type, p->columns));
    for (int64_t r = 0; r < p->rows; r++)
        fam_type_dequantize(w + r * p->columns, data + (size_t)file_row(p, r) * row_bytes, p->type, p->columns);
    for (int64_t i = 0; rounded && i < p->rows * p->columns; i++)
        w[i] = fam_from_bf16(fam_to_bf16(w[i]));
    return w;
}

/* The product in double; the size of its terms together; what it may be off by when x is held in 15 bits of each
 * block's largest. */
static double dot(const float *w, const float *x, int64_t columns, double *plain, double *planes)
{
    double sum = 0, size = 0, blocks = 0;
    for (int64_t at = 0; at < columns; at += 32) {
        double weight = 0, largest = 0;
        for (int64_t i = at; i < columns && i < at + 32; i++) {
            sum += (double)w[i] * x[i];
            size += fabs((double)w[i] * x[i]);
            weight += fabs(w[i]);
            largest = fmax(largest, fabs(x[i]));
        }
        blocks += weight * largest;
    }
    *plain = size;
    *planes = blocks * 0x1p-15;
    return sum;
}

static void check_result(const fixture *f, const product *p, const float *w, const float *x, const float *before,
                         const void *out)
{
    bool in_planes = f->dtype == FAM_DTYPE_BF16 && p->n <= 3 && fam_type_block_elements(p->type) > 1;
    /* of large products some elements, a prime apart, and the last */
    int64_t step = p->n * p->rows * p->columns > 500000 ? 61 : 1, count = p->n * p->rows;
    for (int64_t k = 0; k < count + step - 1; k += step) {
        int64_t at = k < count ? k : count - 1, i = at / p->rows, r = at % p->rows;
        double size, planes, need = dot(w + r * p->columns, x + i * p->columns, p->columns, &size, &planes);
        /* one long float32 sum (oneDNN) is worse than the many short ones of our own */
        double tolerance = size * (p->n > 3 ? 4e-6 : 1e-6) + (in_planes ? planes : 0);
        tolerance += 1e-30;
        if (p->accumulate) {
            need += before[at];
            tolerance += fabs(before[at]) * 1e-6;
        }
        assert_near(f, p->activation_out ? activation(f, out, at) : ((const float *)out)[at], need, tolerance,
                    p->activation_out);
    }
}

static void check_product(fixture *f, const product *p)
{
    uint8_t *whole;
    float *x;
    void *in = tensor_activations(&f->random, f->dtype, p->n * p->columns, &x);
    const uint8_t *data = tensor_weights(&f->random, p->type, p->rows, p->columns, &whole);
    float *w = dequantized(f, p, data), *before = random_floats(f, p->n * p->rows);
    float *out = malloc((size_t)(p->n * p->rows) * sizeof *out);
    fam_weight_source source = {data, p->type, p->rows, p->columns, p->permuted_head_dim};
    fam_weight *weight;
    fam_error error;
    memcpy(out, before, (size_t)(p->n * p->rows) * sizeof *out);
    assert_int_equal(f->ops->weight_create(f->backend, &weight, &source, &error), FAM_OK);
    assert_int_equal(f->ops->prepare(f->exec, weight, p->n, &error), FAM_OK);
    size_t allocations = f->memory.allocations;
    fam_matmul_job job = {out, in, weight, p->accumulate, p->activation_out};
    f->ops->matmul(f->exec, &job, 1, p->n);
    assert_int_equal(f->memory.allocations, allocations);
    check_result(f, p, w, x, before, out);
    f->ops->weight_free(f->backend, weight);
    free(whole);
    free(in);
    free(x);
    free(w);
    free(before);
    free(out);
}

static void check_products(fixture *f)
{
    static const int64_t columns[] = {1, 7, 32, 33, 64, 96, 160, 288, 576, 1536};
    static const int64_t rows[] = {1, 2, 3, 5, 8, 64, 70, 192, 300};
    static const int64_t n[] = {1, 2, 3, 4, 5, 15, 16, 17, 64, 65, 127};
    int step = 0;
    for (int type = 0; type < FAM_TYPE_COUNT; type++) {
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
            if (columns[c] % fam_type_block_elements((fam_type)type))
                continue;
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++, step++) {
                product p = {(fam_type)type, rows[r], columns[c], 0, n[step % 11], step % 3 == 1, step % 3 == 2};
                if (rows[r] % 64 == 0 && step % 2)
                    p.permuted_head_dim = rows[r] % 192 ? 32 : 64;
                check_product(f, &p);
            }
        }
    }
}

static void products_are_right_for_all_types_and_shapes(void **state)
{
    (void)state;
    for_each_setting(check_products);
}

/* A group as a layer has it: one input for several weights of different types, others with their own. */
static void check_group(fixture *f)
{
    enum { JOBS = 12, COLUMNS = 96, ROWS = 40 };
    static const int64_t rows_of_input[] = {1, 3, 4, 33};
    for (int k = 0; k < 4; k++) {
        int64_t n = rows_of_input[k];
        fam_matmul_job jobs[JOBS];
        uint8_t *whole[JOBS];
        float *x[JOBS], *w[JOBS], *out[JOBS];
        for (int j = 0; j < JOBS; j++) {
            product p = {(fam_type)(j % FAM_TYPE_COUNT), ROWS, COLUMNS, 0, n, false, false};
            const uint8_t *data = tensor_weights(&f->random, p.type, ROWS, COLUMNS, &whole[j]);
            fam_weight_source source = {data, p.type, ROWS, COLUMNS, 0};
            fam_weight *weight;
            bool shared = j > 0 && j < 5;
            void *in = shared ? (void *)jobs[0].in : tensor_activations(&f->random, f->dtype, n * COLUMNS, &x[j]);
            if (shared)
                x[j] = x[0];
            w[j] = dequantized(f, &p, data);
            out[j] = malloc((size_t)n * ROWS * sizeof(float));
            assert_int_equal(f->ops->weight_create(f->backend, &weight, &source, NULL), FAM_OK);
            assert_int_equal(f->ops->prepare(f->exec, weight, n, NULL), FAM_OK);
            jobs[j] = (fam_matmul_job){out[j], in, weight, false, false};
        }
        f->ops->matmul(f->exec, jobs, JOBS, n);
        for (int j = 0; j < JOBS; j++) {
            product p = {(fam_type)(j % FAM_TYPE_COUNT), ROWS, COLUMNS, 0, n, false, false};
            check_result(f, &p, w[j], x[j], NULL, out[j]);
        }
        for (int j = 0; j < JOBS; j++) {
            f->ops->weight_free(f->backend, (fam_weight *)jobs[j].weight);
            free(whole[j]);
            free(w[j]);
            free(out[j]);
            if (j == 0 || j >= 5) {
                free((void *)jobs[j].in);
                free(x[j]);
            }
        }
    }
}

static void groups_of_products_are_right(void **state)
{
    (void)state;
    for_each_setting(check_group);
}

static void unprepared_products_are_a_failure(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, fam_cpu_best_isa(), FAM_DTYPE_F32, 2);
    float w[64] = {0}, x[8 * 8] = {0}, out[8 * 8];
    fam_weight_source source = {w, FAM_TYPE_F32, 8, 8, 0};
    fam_weight *weight;
    fam_error error;
    assert_int_equal(f.ops->weight_create(f.backend, &weight, &source, &error), FAM_OK);
    fam_matmul_job job = {out, x, weight, false, false};
    f.ops->matmul(f.exec, &job, 1, 1);
    assert_int_equal(f.ops->finish(f.exec, &error), FAM_STATUS_FAILED);
    assert_int_equal(f.ops->finish(f.exec, &error), FAM_OK);
    f.ops->weight_free(f.backend, weight);
    close_fixture(&f);
}

/* Two callers on one backend and one weight, one with few rows and one with many. */
typedef struct caller {
    fixture *f;
    const fam_weight *weight;
    int64_t n;
    atomic_int wrong;
} caller;

enum { CALLER_COLUMNS = 96, CALLER_ROWS = 300, CALLER_N = 70 };

static void *call_often(void *argument)
{
    caller *c = argument;
    fam_exec *exec;
    float *x, *out[2];
    fam_random random;
    fam_random_seed(&random, (uint64_t)c->n);
    void *in = tensor_activations(&random, c->f->dtype, c->n * CALLER_COLUMNS, &x);
    for (int i = 0; i < 2; i++)
        out[i] = calloc((size_t)(c->n * CALLER_ROWS), sizeof(float));
    if (c->f->ops->exec_create(c->f->backend, &exec, CALLER_N, NULL) != FAM_OK ||
        c->f->ops->prepare(exec, c->weight, c->n, NULL) != FAM_OK) {
        atomic_fetch_add(&c->wrong, 1);
        return NULL;
    }
    for (int i = 0; i < 300; i++) {
        fam_matmul_job job = {out[i > 0], in, c->weight, false, false};
        c->f->ops->matmul(exec, &job, 1, c->n);
        if (i > 0 && memcmp(out[0], out[1], (size_t)(c->n * CALLER_ROWS) * sizeof(float)) != 0)
            atomic_fetch_add(&c->wrong, 1);
    }
    if (c->f->ops->finish(exec, NULL) != FAM_OK)
        atomic_fetch_add(&c->wrong, 1);
    c->f->ops->exec_free(exec);
    free(in);
    free(x);
    free(out[0]);
    free(out[1]);
    return NULL;
}

static void check_two_callers(fixture *f)
{
    uint8_t *whole;
    const uint8_t *data = tensor_weights(&f->random, FAM_TYPE_Q8_0, CALLER_ROWS, CALLER_COLUMNS, &whole);
    fam_weight_source source = {data, FAM_TYPE_Q8_0, CALLER_ROWS, CALLER_COLUMNS, 0};
    fam_weight *weight;
    assert_int_equal(f->ops->weight_create(f->backend, &weight, &source, NULL), FAM_OK);
    caller callers[3] = {{.f = f, .weight = weight, .n = 1},
                         {.f = f, .weight = weight, .n = CALLER_N},
                         {.f = f, .weight = weight, .n = CALLER_N - 3}};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&callers[i].wrong), 0);
    }
    f->ops->weight_free(f->backend, weight);
    free(whole);
}

static void callers_on_one_backend_do_not_mix(void **state)
{
    (void)state;
    fixture f;
    for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
        open_fixture(&f, fam_cpu_best_isa(), (fam_dtype)dtype, 2);
        check_two_callers(&f);
        close_fixture(&f);
    }
}

static void wrong_weights_are_refused(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FAM_CPU_PORTABLE, FAM_DTYPE_F32, 1);
    fam_weight_source wrong[] = {{"", FAM_TYPE_F32, 0, 8, 0},   {"", FAM_TYPE_F32, 8, -1, 0},
                                 {"", FAM_TYPE_Q4_0, 8, 33, 0}, {"", FAM_TYPE_F32, INT64_MAX / 2, INT64_MAX / 2, 0},
                                 {"", FAM_TYPE_F32, 8, 8, 3},   {"", FAM_TYPE_F32, 8, 8, 16},
                                 {"", FAM_TYPE_F32, 8, 8, -2}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fam_weight *weight;
        assert_int_equal(f.ops->weight_create(f.backend, &weight, &wrong[i], NULL), FAM_STATUS_INVALID_ARGUMENT);
        assert_null(weight);
    }
    close_fixture(&f);
}

/* Everything that asks for memory, with each request failing in turn. */
static fam_status whole_path(fam_memory *memory, const float *w)
{
    fam_cpu_options options = {.threads = 2, .dtype = FAM_DTYPE_F32, .isa = fam_cpu_best_isa()};
    fam_weight_source source = {w, FAM_TYPE_F32, 300, 8, 0};
    fam_error error;
    fam_backend *backend;
    fam_exec *exec = NULL;
    fam_weight *weight = NULL;
    void *buffer = NULL;
    fam_status status = fam_cpu_backend_create(&backend, memory, &options, &error);
    if (status != FAM_OK)
        return status;
    status = backend->ops->alloc(backend, &buffer, 100, "buffer", &error);
    if (status == FAM_OK)
        status = backend->ops->exec_create(backend, &exec, 8, &error);
    if (status == FAM_OK)
        status = backend->ops->weight_create(backend, &weight, &source, &error);
    if (status == FAM_OK)
        status = backend->ops->prepare(exec, weight, 100, &error);
    if (status == FAM_OK)
        status = backend->ops->prepare(exec, weight, 3, &error);
    backend->ops->weight_free(backend, weight);
    backend->ops->exec_free(exec);
    backend->ops->free(backend, buffer);
    backend->ops->free_backend(backend);
    return status;
}

static void short_memory_is_an_error_everywhere(void **state)
{
    (void)state;
    float *w = calloc(300 * 8, sizeof *w);
    for (int for_good = 0; for_good < 2; for_good++) {
        for (size_t i = 1;; i++) {
            fam_memory memory;
            fam_memory_init(&memory);
            memory.fail_at = i;
            memory.fail_for_good = for_good;
            fam_status status = whole_path(&memory, w);
            assert_int_equal(memory.bytes, 0);
            if (status == FAM_OK) {
                assert_true(i > 15);
                break;
            }
            assert_int_equal(status, FAM_STATUS_OUT_OF_MEMORY);
        }
    }
    free(w);
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

static const int64_t widths[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 576, 1537};
static const int64_t row_counts[] = {1, 2, 3, 100};
enum { WIDTHS = sizeof widths / sizeof *widths, ROW_COUNTS = sizeof row_counts / sizeof *row_counts };

static double mean_square(const float *x, int64_t width)
{
    double sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += (double)x[i] * x[i];
    return sum / (double)width;
}

static void check_rms_norm(fixture *f)
{
    for (int k = 0; k < WIDTHS * ROW_COUNTS; k++) {
        int64_t width = widths[k % WIDTHS], n = row_counts[k / WIDTHS];
        float *x = random_floats(f, n * width), *gain = random_floats(f, width), *out = random_floats(f, n * width);
        double eps = k % 2 ? 1e-5 : 1.0;
        f->ops->rms_norm(f->exec, out, x, gain, eps, n, width);
        double scale = 1;
        for (int64_t i = 0; i < n * width; i++) {
            if (i % width == 0)
                scale = sqrt(mean_square(x + i, width) + eps);
            double need = x[i] / scale * gain[i % width];
            assert_near(f, activation(f, out, i), need, fabs(need) * 1e-6, true);
        }
        free(x);
        free(gain);
        free(out);
    }
}

static void rms_norm_is_right(void **state)
{
    (void)state;
    for_each_setting(check_rms_norm);
}

static void check_silu_multiply(fixture *f)
{
    for (int k = 0; k < WIDTHS * ROW_COUNTS; k++) {
        int64_t width = widths[k % WIDTHS], n = row_counts[k / WIDTHS];
        float *gate = random_floats(f, n * width), *up = random_floats(f, n * width),
              *out = random_floats(f, n * width);
        for (int64_t i = 0; i < n * width; i++)
            gate[i] *= 3;
        f->ops->silu_multiply(f->exec, out, gate, up, n, width);
        for (int64_t i = 0; i < n * width; i++) {
            double need = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
            assert_near(f, activation(f, out, i), need, fabs(need) * 1e-6 + 1e-35, true);
        }
        free(gate);
        free(up);
        free(out);
    }
}

static void silu_multiply_is_right(void **state)
{
    (void)state;
    for_each_setting(check_silu_multiply);
}

static void check_silu_extremes(fixture *f)
{
    static const float values[] = {0.0f,    -0.0f, 1e-30f, -1e-30f, 80.0f,  -80.0f, -87.0f, -88.5f,
                                   -100.0f, -1e4f, 1e4f,   1e30f,   -1e30f, 88.5f,  0.5f,   -0.5f};
    float gate[16], up[16], out[16];
    for (int i = 0; i < 16; i++) {
        gate[i] = values[i];
        up[i] = 1;
    }
    f->ops->silu_multiply(f->exec, out, gate, up, 1, 16);
    for (int i = 0; i < 16; i++) {
        double need = values[i] / (1 + exp(-(double)values[i]));
        assert_near(f, activation(f, out, i), need, fabs(need) * 1e-6 + 1e-35, true);
    }
    gate[3] = NAN; /* a broken activation must not be hidden */
    f->ops->silu_multiply(f->exec, out, gate, up, 1, 16);
    assert_true(isnan(activation(f, out, 3)));
}

static void silu_holds_at_the_extremes(void **state)
{
    (void)state;
    for_each_setting(check_silu_extremes);
}

static void check_rope(fixture *f)
{
    static const int64_t head_dims[] = {2, 8, 16, 20, 64, 80, 128};
    for (int k = 0; k < 7 * ROW_COUNTS; k++) {
        int64_t d = head_dims[k % 7], n = row_counts[k / 7], heads = 1 + k % 3, half = d / 2, count = n * heads * d;
        double positions[100], frequencies[64];
        for (int64_t i = 0; i < n; i++)
            positions[i] = i % 3 == 0 ? 1e12 + 0.25 * (double)i : 0.5 * (double)i;
        for (int64_t i = 0; i < half; i++)
            frequencies[i] = pow(10000, -(double)i / (double)half);
        float *cosines = random_floats(f, n * half), *sines = random_floats(f, n * half), *x = random_floats(f, count);
        f->ops->rope_table(f->exec, cosines, sines, positions, frequencies, n, half);
        for (int64_t i = 0; i < n * half; i++) {
            double angle = positions[i / half] * frequencies[i % half];
            assert_near(f, cosines[i], cos(angle), 1e-7, false);
            assert_near(f, sines[i], sin(angle), 1e-7, false);
        }
        /* both layouts that a model has: rows of heads, and heads of rows */
        for (int kind = 0; kind < 3; kind++) {
            bool rotate = kind != 2;
            fam_head_layout layout = kind == 0 ? (fam_head_layout){heads * d, d} : (fam_head_layout){d, n * d};
            float *out = random_floats(f, count);
            f->ops->rope(f->exec, out, layout, x, rotate ? cosines : NULL, rotate ? sines : NULL, n, heads, d);
            for (int64_t i = 0; i < count; i++) {
                int64_t row = i / (heads * d), h = i / d % heads, e = i % d;
                double c = rotate ? cosines[row * half + e % half] : 1, s = rotate ? sines[row * half + e % half] : 0;
                double need = e < half ? x[i] * c - x[i + half] * s : x[i] * c + x[i - half] * s;
                double size = fabs(x[i]) + fabs(e < half ? x[i + half] : x[i - half]);
                assert_near(f, activation(f, out, row * layout.row_stride + h * layout.head_stride + e), need,
                            rotate ? size * 2e-7 : 0, true);
            }
            free(out);
        }
        free(cosines);
        free(sines);
        free(x);
    }
}

static void rope_is_right(void **state)
{
    (void)state;
    for_each_setting(check_rope);
}

/* Any bits: ties, denormals, infinities, NaN. Exactly what fam_to_bf16 does, at every level. */
static void check_conversion(fixture *f)
{
    enum { COUNT = 1 << 16 };
    float *x = malloc(COUNT * sizeof *x);
    uint16_t *out = malloc(COUNT * sizeof(float));
    for (int i = 0; i < COUNT; i++) {
        uint32_t bits = (uint32_t)fam_random_next(&f->random);
        x[i] = fam_float_from_bits(i % 4 == 0 ? (bits & 0xffff0000) | 0x8000 : i % 4 == 1 ? bits & 0x807fffff : bits);
    }
    f->ops->rope(f->exec, out, (fam_head_layout){64, 64}, x, NULL, NULL, COUNT / 64, 1, 64);
    for (int i = 0; i < COUNT; i++) {
        if (f->dtype == FAM_DTYPE_F32)
            assert_memory_equal((float *)(void *)out + i, &x[i], sizeof *x);
        else
            assert_int_equal(out[i], fam_to_bf16(x[i]));
    }
    free(x);
    free(out);
}

static void conversion_is_exact(void **state)
{
    (void)state;
    for_each_setting(check_conversion);
}

static void check_rescale(fixture *f)
{
    for (int k = 0; k < WIDTHS * ROW_COUNTS; k++) {
        int64_t width = widths[k % WIDTHS], n = row_counts[k / WIDTHS];
        float *x = random_floats(f, n * width), *out = malloc((size_t)(n * width) * sizeof *out), target[100];
        f->ops->row_rms(f->exec, target, x, n, width);
        for (int64_t i = 0; i < n; i++) {
            double need = sqrt(mean_square(x + i * width, width) + 1e-12);
            assert_near(f, target[i], need, need * 1e-6, false);
            target[i] = tensor_value(&f->random);
        }
        for (int given = 0; given < 2; given++) {
            memcpy(out, x, (size_t)(n * width) * sizeof *out);
            f->ops->rescale_rows(f->exec, out, given ? target : NULL, n, width);
            double rms = 1;
            for (int64_t i = 0; i < n * width; i++) {
                if (i % width == 0)
                    rms = sqrt(mean_square(x + i, width) + 1e-12);
                double need = x[i] * (given ? target[i / width] : 1) / rms;
                assert_near(f, out[i], need, fabs(need) * 1e-6, false);
            }
        }
        free(x);
        free(out);
    }
}

static void rescaling_is_right(void **state)
{
    (void)state;
    for_each_setting(check_rescale);
}

static void check_embed(fixture *f)
{
    enum { ROWS = 50, COLUMNS = 96, N = 400 };
    for (int type = 0; type < FAM_TYPE_COUNT; type++) {
        uint8_t *whole;
        const uint8_t *data = tensor_weights(&f->random, (fam_type)type, ROWS, COLUMNS, &whole);
        fam_weight_source source = {data, (fam_type)type, ROWS, COLUMNS, 0};
        fam_weight *weight;
        int32_t tokens[N];
        float *out = malloc(N * COLUMNS * sizeof *out), all[ROWS * COLUMNS];
        fam_type_dequantize(all, data, (fam_type)type, ROWS * COLUMNS);
        for (int i = 0; i < N; i++)
            tokens[i] = (int32_t)(fam_random_next(&f->random) % ROWS);
        assert_int_equal(f->ops->weight_create(f->backend, &weight, &source, NULL), FAM_OK);
        f->ops->embed(f->exec, out, weight, tokens, N);
        for (int i = 0; i < N; i++)
            assert_memory_equal(out + i * COLUMNS, all + tokens[i] * COLUMNS, COLUMNS * sizeof(float));
        f->ops->weight_free(f->backend, weight);
        free(out);
        free(whole);
    }
}

static void embedding_is_exact(void **state)
{
    (void)state;
    for_each_setting(check_embed);
}

static void memory_is_zeroed_and_copied(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, FAM_CPU_PORTABLE, FAM_DTYPE_F32, 1);
    void *a, *b;
    char text[100] = "text", back[100];
    assert_int_equal(f.ops->alloc(f.backend, &a, 100, "a", NULL), FAM_OK);
    assert_int_equal(f.ops->alloc(f.backend, &b, 100, "b", NULL), FAM_OK);
    assert_int_equal((uintptr_t)a % 64, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(((char *)a)[i], 0);
    f.ops->write(f.backend, a, text, 100);
    f.ops->copy(f.backend, b, a, 100);
    f.ops->read(f.backend, back, b, 100);
    assert_memory_equal(back, text, 100);
    f.ops->free(f.backend, a);
    f.ops->free(f.backend, b);
    f.ops->free(f.backend, NULL);
    close_fixture(&f);
}

static void levels_have_names_and_too_high_ones_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < FAM_CPU_ISA_COUNT; i++) {
        fam_cpu_isa back;
        assert_true(fam_cpu_isa_from_name(&back, fam_cpu_isa_name((fam_cpu_isa)i)));
        assert_int_equal(back, i);
    }
    fam_cpu_isa other;
    assert_false(fam_cpu_isa_from_name(&other, "avx"));
    for (int i = (int)fam_cpu_best_isa() + 1; i <= FAM_CPU_ISA_COUNT; i++) {
        fam_memory memory;
        fam_backend *backend;
        fam_error error;
        fam_cpu_options options = {.threads = 1, .dtype = FAM_DTYPE_F32, .isa = (fam_cpu_isa)i};
        fam_memory_init(&memory);
        assert_int_equal(fam_cpu_backend_create(&backend, &memory, &options, &error), FAM_STATUS_UNSUPPORTED);
        assert_null(backend);
        assert_int_equal(memory.bytes, 0);
    }
}

static void check_cross_entropy(fixture *f)
{
    static const int64_t vocabs[] = {1, 2, 15, 16, 17, 100, 4096, 49157};
    for (int k = 0; k < 8 * ROW_COUNTS; k++) {
        int64_t vocab = vocabs[k % 8], n = row_counts[k / 8];
        float *logits = random_floats(f, n * vocab);
        int32_t *targets = malloc((size_t)n * sizeof *targets);
        double *nll = malloc((size_t)n * sizeof *nll);
        for (int64_t i = 0; i < n * vocab; i++)
            logits[i] = logits[i] * (k % 2 ? 20 : 1) + (k % 3 ? 1000.0f : 0); /* far from 0: the maximum must go first */
        for (int64_t i = 0; i < n; i++)
            targets[i] = (int32_t)((i * 7 + k) % vocab);
        f->ops->cross_entropy(f->exec, nll, logits, targets, n, vocab);
        for (int64_t i = 0; i < n; i++) {
            const float *row = logits + i * vocab;
            double top = row[0], sum = 0;
            for (int64_t v = 0; v < vocab; v++)
                top = fmax(top, row[v]);
            for (int64_t v = 0; v < vocab; v++)
                sum += exp(row[v] - top);
            double need = top + log(sum) - row[targets[i]];
            assert_true(fabs(nll[i] - need) <= 1e-6 * (1 + fabs(need)));
        }
        free(logits);
        free(targets);
        free(nll);
    }
}

static void cross_entropy_is_right(void **state)
{
    (void)state;
    for_each_setting(check_cross_entropy);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(products_are_right_for_all_types_and_shapes),
    cmocka_unit_test(groups_of_products_are_right),
    cmocka_unit_test(unprepared_products_are_a_failure),
    cmocka_unit_test(callers_on_one_backend_do_not_mix),
    cmocka_unit_test(wrong_weights_are_refused),
    cmocka_unit_test(short_memory_is_an_error_everywhere),
    cmocka_unit_test(rms_norm_is_right),
    cmocka_unit_test(silu_multiply_is_right),
    cmocka_unit_test(silu_holds_at_the_extremes),
    cmocka_unit_test(rope_is_right),
    cmocka_unit_test(conversion_is_exact),
    cmocka_unit_test(rescaling_is_right),
    cmocka_unit_test(cross_entropy_is_right),
    cmocka_unit_test(embedding_is_exact),
    cmocka_unit_test(memory_is_zeroed_and_copied),
    cmocka_unit_test(levels_have_names_and_too_high_ones_are_refused),
};

SUITE_MAIN(tests)
