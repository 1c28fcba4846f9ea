/*
 * One-row products: every version of every type against the portable one, over many shapes, and the portable one
 * against double arithmetic.
 */
#include "backend/cpu/kernels.h"
#include "suite.h"
#include "tensors.h"

static const int64_t float_columns[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 576, 577, 1536};
static const int64_t block_columns[] = {32, 64, 96, 128, 160, 192, 224, 256, 288, 576, 1536};
enum {
    FLOAT_COLUMNS = sizeof float_columns / sizeof *float_columns,
    BLOCK_COLUMNS = sizeof block_columns / sizeof *block_columns,
    ROWS_MAX = 70
};

typedef struct shape {
    fam_type type;
    int64_t rows, columns;
} shape;

/* What row r may be off by: rounding of float32 sums, and for whole-number versions (few rows, bf16) half a unit of the
 * 15 bits that they keep of each block's largest. */
static double tolerance(const float *w, const float *x, const shape *s, fam_dtype dtype)
{
    double size = 0, planes = 0;
    for (int64_t at = 0; at < s->columns; at += 32) {
        double weight = 0, largest = 0;
        for (int64_t i = at; i < s->columns && i < at + 32; i++) {
            size += fabs((double)w[i] * x[i]);
            weight += fabs(w[i]);
            largest = fmax(largest, fabs(x[i]));
        }
        planes += weight * largest * 0x1.1p-15;
    }
    return size * 1e-6 + (dtype == FAM_DTYPE_BF16 && fam_type_block_elements(s->type) > 1 ? planes : 0) + 1e-30;
}

typedef struct input {
    float *x, *w; /* as numbers */
    void *activations;
    uint8_t *whole;
    const uint8_t *weights;
} input;

static input make_input(fam_random *random, const shape *s, fam_dtype dtype)
{
    input in;
    in.activations = tensor_activations(random, dtype, s->columns, &in.x);
    in.weights = tensor_weights(random, s->type, s->rows, s->columns, &in.whole);
    in.w = malloc((size_t)(s->rows * s->columns) * sizeof *in.w);
    fam_type_dequantize(in.w, in.weights, s->type, s->rows * s->columns);
    return in;
}

static void free_input(input *in)
{
    free(in->x);
    free(in->w);
    free(in->activations);
    free(in->whole);
}

/* The rows of a product, behind them a number that must stay. */
static void run(float *out, const fam_cpu_gemv_kernel *kernel, const input *in, const shape *s)
{
    size_t bytes = kernel->prepared_bytes(s->columns);
    void *prepared = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(prepared, 0xff, bytes);
    kernel->prepare(prepared, in->activations, s->columns);
    for (int64_t r = 0; r <= s->rows; r++)
        out[r] = 12345;
    kernel->run(out, in->weights, prepared, s->rows, s->columns);
    assert_true(out[s->rows] == 12345);
    free(prepared);
}

static void check_shape(const shape *s, fam_dtype dtype, fam_random *random)
{
    input in = make_input(random, s, dtype);
    float need[ROWS_MAX + 1], found[ROWS_MAX + 1];
    fam_cpu_kernels portable;
    fam_cpu_kernels_select(&portable, FAM_CPU_PORTABLE, dtype);
    run(need, &portable.gemv[s->type], &in, s);
    for (int64_t r = 0; r < s->rows; r++) {
        double sum = 0;
        for (int64_t i = 0; i < s->columns; i++)
            sum += (double)in.w[r * s->columns + i] * in.x[i];
        assert_true(fabs(need[r] - sum) <= 1e-7 * fabs(sum) + 1e-30);
    }
    for (int isa = FAM_CPU_AVX2; isa <= (int)fam_cpu_best_isa(); isa++) {
        fam_cpu_kernels kernels;
        fam_cpu_kernels_select(&kernels, (fam_cpu_isa)isa, dtype);
        run(found, &kernels.gemv[s->type], &in, s);
        for (int64_t r = 0; r < s->rows; r++) {
            double may = tolerance(in.w + r * s->columns, in.x, s, dtype);
            if (!(fabs(found[r] - need[r]) <= may))
                fail_msg("%s %s %s %lld x %lld, row %lld: found %.9g, need %.9g within %.2g", fam_cpu_isa_name(isa),
                         dtype == FAM_DTYPE_BF16 ? "bf16" : "f32", fam_type_name(s->type), (long long)s->rows,
                         (long long)s->columns, (long long)r, found[r], need[r], may);
        }
    }
    free_input(&in);
}

static void check_type(fam_type type)
{
    bool blocks = fam_type_block_elements(type) > 1;
    fam_random random;
    fam_random_seed(&random, 2 + (uint64_t)type);
    for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
        for (int c = 0; c < (blocks ? (int)BLOCK_COLUMNS : (int)FLOAT_COLUMNS); c++) {
            shape s = {type, 1, blocks ? block_columns[c] : float_columns[c]};
            for (s.rows = 1; s.rows <= ROWS_MAX; s.rows += s.rows < 9 ? 1 : 20 + c % 3)
                check_shape(&s, (fam_dtype)dtype, &random);
        }
    }
}

static void f32_rows_are_right(void **state)
{
    (void)state;
    check_type(FAM_TYPE_F32);
}

static void f16_rows_are_right(void **state)
{
    (void)state;
    check_type(FAM_TYPE_F16);
}

static void bf16_rows_are_right(void **state)
{
    (void)state;
    check_type(FAM_TYPE_BF16);
}

static void q8_0_rows_are_right(void **state)
{
    (void)state;
    check_type(FAM_TYPE_Q8_0);
}

static void q4_0_rows_are_right(void **state)
{
    (void)state;
    check_type(FAM_TYPE_Q4_0);
}

static void q4_1_rows_are_right(void **state)
{
    (void)state;
    check_type(FAM_TYPE_Q4_1);
}

/* Largest codes and largest activations at once: nothing may saturate or overflow. */
static void extremes_do_not_saturate(void **state)
{
    (void)state;
    enum { COLUMNS = 256 };
    static const uint8_t codes[] = {0x00, 0x7f, 0x80, 0xff};
    static const fam_type types[] = {FAM_TYPE_Q8_0, FAM_TYPE_Q4_0, FAM_TYPE_Q4_1};
    for (int k = 0; k < 3 * 4 * 3; k++) {
        shape s = {types[k % 3], 1, COLUMNS};
        uint8_t w[COLUMNS / 32 * 34];
        uint16_t half = 0x3c00, x[COLUMNS];
        float values[COLUMNS], as_float[COLUMNS], need[2], found[2];
        memset(w, codes[k / 3 % 4], sizeof w);
        for (size_t b = 0; b < COLUMNS / 32; b++) {
            memcpy(w + b * fam_type_block_bytes(s.type), &half, 2);
            if (s.type == FAM_TYPE_Q4_1)
                memcpy(w + b * fam_type_block_bytes(s.type) + 2, &half, 2);
        }
        for (int i = 0; i < COLUMNS; i++) {
            x[i] = fam_to_bf16(k / 12 == 0 ? 1e4f : k / 12 == 1 ? -1e4f : i % 2 ? 1e4f : -1e4f);
            as_float[i] = fam_from_bf16(x[i]);
        }
        fam_type_dequantize(values, w, s.type, COLUMNS);
        input in = {.x = as_float, .w = values, .activations = x, .weights = w};
        fam_cpu_kernels kernels;
        fam_cpu_kernels_select(&kernels, FAM_CPU_PORTABLE, FAM_DTYPE_BF16);
        run(need, &kernels.gemv[s.type], &in, &s);
        for (int isa = FAM_CPU_AVX2; isa <= (int)fam_cpu_best_isa(); isa++) {
            fam_cpu_kernels_select(&kernels, (fam_cpu_isa)isa, FAM_DTYPE_BF16);
            run(found, &kernels.gemv[s.type], &in, &s);
            assert_true(fabs(found[0] - need[0]) <= tolerance(values, as_float, &s, FAM_DTYPE_BF16));
        }
    }
}

/* Zero activations give zero; a NaN or infinity anywhere is not hidden. */
static void zeros_and_broken_activations_show(void **state)
{
    (void)state;
    enum { COLUMNS = 160 };
    static const uint16_t broken[] = {0x7fc0, 0x7f80, 0xff80, 0xffc1};
    fam_random random;
    fam_random_seed(&random, 3);
    for (int type = 0; type < FAM_TYPE_COUNT; type++) {
        for (int isa = 0; isa <= (int)fam_cpu_best_isa(); isa++) {
            shape s = {(fam_type)type, 5, COLUMNS};
            input in = make_input(&random, &s, FAM_DTYPE_BF16);
            uint16_t *x = in.activations;
            float out[6];
            fam_cpu_kernels kernels;
            fam_cpu_kernels_select(&kernels, (fam_cpu_isa)isa, FAM_DTYPE_BF16);
            memset(x, 0, COLUMNS * sizeof *x);
            run(out, &kernels.gemv[type], &in, &s);
            for (int r = 0; r < 5; r++)
                assert_true(out[r] == 0);
            for (int k = 0; k < 4; k++) {
                memset(x, 0, COLUMNS * sizeof *x);
                x[k * 50 + 3] = broken[k];
                run(out, &kernels.gemv[type], &in, &s);
                for (int r = 0; r < 5; r++)
                    assert_false(isfinite(out[r]));
            }
            free_input(&in);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(f32_rows_are_right),       cmocka_unit_test(f16_rows_are_right),
    cmocka_unit_test(bf16_rows_are_right),      cmocka_unit_test(q8_0_rows_are_right),
    cmocka_unit_test(q4_0_rows_are_right),      cmocka_unit_test(q4_1_rows_are_right),
    cmocka_unit_test(extremes_do_not_saturate), cmocka_unit_test(zeros_and_broken_activations_show),
};

SUITE_MAIN(tests)
