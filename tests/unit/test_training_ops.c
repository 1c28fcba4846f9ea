/*
 * The operators that only training uses: weights written anew (products with them must be those of a fresh weight of
 * the same values, to the bit, forward and backward), noise on rows, and the most probable column. Every instruction
 * set level that this machine has, both arithmetic types, one thread to three.
 */
#define SUITE_TIMEOUT 300

#include "backward_fixture.h"

/* ---- written weights ---------------------------------------------------------------------------------------------- */

typedef struct written_case {
    fam_type type;
    int64_t rows, columns, permuted_head_dim;
    bool packed_before; /* products were made before the first write */
} written_case;

static const int64_t ROW_COUNTS[] = {1, 3, 5, 70}; /* of inputs: by rows, and by panels */
enum { COUNTS = sizeof ROW_COUNTS / sizeof *ROW_COUNTS, MOST = 70 };

static void prepare_all(fixture *f, const fam_weight *weight)
{
    fam_error error;
    for (int i = 0; i < COUNTS; i++) {
        assert_int_equal(f->ops->prepare(f->exec, weight, ROW_COUNTS[i], &error), FAM_OK);
        assert_int_equal(f->ops->prepare_backward(f->exec, weight, ROW_COUNTS[i], &error), FAM_OK);
    }
}

/* factor * values in the arithmetic type, as a file would hold them. */
static uint8_t *as_file(const fixture *f, const float *values, double factor, int64_t count)
{
    uint8_t *data = malloc((size_t)count * 4);
    for (int64_t i = 0; i < count; i++) {
        float value = (float)(factor * (double)values[i]);
        uint16_t bits = fam_to_bf16(value);
        if (f->dtype == FAM_DTYPE_F32)
            memcpy(data + i * 4, &value, sizeof value);
        else
            memcpy(data + i * 2, &bits, sizeof bits);
    }
    return data;
}

/* All that a weight gives, one after the other: rows of the table, products forward, and what flows back. */
static int64_t results_count(const written_case *c)
{
    int64_t count = 3 * c->columns;
    for (int i = 0; i < COUNTS; i++)
        count += ROW_COUNTS[i] * (c->rows + c->columns) + c->rows * c->columns;
    return count;
}

static float *results(fixture *f, const written_case *c, const fam_weight *weight, const void *in, const float *dout)
{
    float *all = calloc((size_t)results_count(c), sizeof *all), *at = all;
    const int32_t rows[] = {0, (int32_t)(c->rows / 2), (int32_t)c->rows - 1};
    f->ops->embed(f->exec, at, weight, rows, 3);
    at += 3 * c->columns;
    for (int i = 0; i < COUNTS; i++) {
        int64_t n = ROW_COUNTS[i];
        const fam_matmul_job forward = {.out = at, .in = in, .weight = weight};
        f->ops->matmul(f->exec, &forward, 1, n);
        at += n * c->rows;
        const fam_matmul_backward_job back = {at, at + n * c->columns, dout, in, weight, false};
        f->ops->matmul_backward(f->exec, &back, 1, n);
        at += n * c->columns + c->rows * c->columns;
    }
    assert_int_equal(f->ops->finish(f->exec, NULL), FAM_OK);
    return all;
}

static void check_written(fixture *f, const written_case *c)
{
    fam_error error;
    uint8_t *whole;
    float *x, *dout = random_floats(f, MOST * c->rows);
    void *in = tensor_activations(&f->random, f->dtype, MOST * c->columns, &x);
    fam_weight_source source = {tensor_weights(&f->random, c->type, c->rows, c->columns, &whole), c->type, c->rows,
                                c->columns, c->permuted_head_dim};
    fam_weight *weight;
    assert_int_equal(f->ops->weight_create(f->backend, &weight, &source, &error), FAM_OK);
    if (c->packed_before) {
        prepare_all(f, weight);
        free(results(f, c, weight, in, dout));
    }
    for (int round = 0; round < 2; round++) {
        double factor = round ? -0.75 : 1;
        float *values = random_floats(f, c->rows * c->columns);
        uint8_t *data = as_file(f, values, factor, c->rows * c->columns);
        size_t before = f->memory.allocations;
        assert_int_equal(f->ops->weight_write(f->exec, weight, values, factor, &error), FAM_OK);
        assert_int_equal(f->memory.allocations - before, round == 0); /* its own storage, once */
        fam_weight_source same = {data, f->dtype == FAM_DTYPE_F32 ? FAM_TYPE_F32 : FAM_TYPE_BF16, c->rows, c->columns,
                                  0};
        fam_weight *fresh;
        assert_int_equal(f->ops->weight_create(f->backend, &fresh, &same, &error), FAM_OK);
        prepare_all(f, weight);
        prepare_all(f, fresh);
        float *found = results(f, c, weight, in, dout), *need = results(f, c, fresh, in, dout);
        for (int64_t i = 0; i < results_count(c); i++)
            if (memcmp(&found[i], &need[i], sizeof found[i]) != 0)
                fail_msg("%s %s, %s [%lld, %lld] of %lld, round %d: number %lld: found %.9g, need %.9g",
                         fam_cpu_isa_name(f->isa), f->dtype == FAM_DTYPE_BF16 ? "bf16" : "f32", fam_type_name(c->type),
                         (long long)c->rows, (long long)c->columns, (long long)c->permuted_head_dim, round,
                         (long long)i, found[i], need[i]);
        take_digest(f, found, results_count(c));
        f->ops->weight_free(f->backend, fresh);
        free(found);
        free(need);
        free(values);
        free(data);
    }
    f->ops->weight_free(f->backend, weight);
    free(whole);
    free(in);
    free(x);
    free(dout);
}

static void check_all_written(fixture *f)
{
    static const int64_t columns[] = {1, 7, 33, 64, 288, 576};
    static const int64_t rows[] = {1, 3, 8, 15, 64, 70, 192, 300, 515};
    int step = 0;
    for (int type = 0; type < FAM_TYPE_COUNT; type++) {
        int64_t block = fam_type_block_elements((fam_type)type);
        for (size_t r = (size_t)type % 2; r < sizeof rows / sizeof *rows; r += 2, step++) {
            int64_t wide = block > 1 ? block * (1 + step % 3) : columns[step % 6];
            written_case c = {(fam_type)type, rows[r], wide, rows[r] % 64 == 0 ? 32 : 0, step % 2 == 0};
            check_written(f, &c);
        }
    }
}

static void a_written_weight_is_as_a_fresh_one(void **state)
{
    (void)state;
    for_each_setting(check_all_written);
}

/* Only the first write can want for memory; when it does, the weight is as it was. */
static void check_write_fails(fixture *f)
{
    fam_error error;
    written_case c = {FAM_TYPE_Q8_0, 70, 64, 0, true};
    uint8_t *whole;
    float *x, *values = random_floats(f, c.rows * c.columns), *dout = random_floats(f, MOST * c.rows);
    void *in = tensor_activations(&f->random, f->dtype, MOST * c.columns, &x);
    fam_weight_source source = {tensor_weights(&f->random, c.type, c.rows, c.columns, &whole), c.type, c.rows,
                                c.columns, 0};
    fam_weight *weight;
    assert_int_equal(f->ops->weight_create(f->backend, &weight, &source, &error), FAM_OK);
    prepare_all(f, weight);
    float *before = results(f, &c, weight, in, dout);
    f->memory.fail_at = f->memory.allocations + 1;
    assert_int_equal(f->ops->weight_write(f->exec, weight, values, 1, &error), FAM_STATUS_OUT_OF_MEMORY);
    float *after = results(f, &c, weight, in, dout);
    assert_memory_equal(before, after, (size_t)results_count(&c) * sizeof *before);
    f->memory.fail_at = 0;
    assert_int_equal(f->ops->weight_write(f->exec, weight, values, 1, &error), FAM_OK);
    f->memory.fail_at = f->memory.allocations + 1;
    assert_int_equal(f->ops->weight_write(f->exec, weight, values, 2, &error), FAM_OK);
    f->memory.fail_at = 0;
    f->ops->weight_free(f->backend, weight);
    free(before);
    free(after);
    free(whole);
    free(values);
    free(in);
    free(x);
    free(dout);
}

static void a_write_fails_cleanly(void **state)
{
    (void)state;
    for_each_setting(check_write_fails);
}

/* ---- noise -------------------------------------------------------------------------------------------------------- */

static void check_noise(fixture *f)
{
    enum { N = 300, WIDTH = 577, COUNT = N * WIDTH };
    const double level = 0.25;
    float *x = random_floats(f, COUNT), *noisy = copy_floats(x, COUNT), *other = copy_floats(x, COUNT);
    double *z = malloc(COUNT * sizeof *z), sum = 0, square = 0, fourth = 0, neighbours = 0, rms = 0;
    memset(noisy + WIDTH, 0, WIDTH * sizeof *noisy); /* a row of zeros has hardly a root mean square */
    memset(x + WIDTH, 0, WIDTH * sizeof *x);
    f->ops->add_noise(f->exec, noisy, level, 7, N, WIDTH);
    take_digest(f, noisy, COUNT);
    int64_t tail = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        double mean = 0;
        for (int64_t c = 0; i % WIDTH == 0 && c < WIDTH; c++)
            mean += (double)x[i + c] * x[i + c] / WIDTH;
        rms = i % WIDTH == 0 ? sqrt(mean + 1e-12) : rms;
        z[i] = ((double)noisy[i] - x[i]) / (level * rms);
        sum += z[i] / COUNT;
        square += z[i] * z[i] / COUNT;
        fourth += z[i] * z[i] * z[i] * z[i] / COUNT;
        neighbours += i ? z[i] * z[i - 1] / COUNT : 0;
        tail += fabs(z[i]) > 1.959964;
    }
    /* five standard deviations of each */
    assert_near(f, "mean", 0, sum, 0, 5 / sqrt(COUNT));
    assert_near(f, "variance", 0, square, 1, 5 * sqrt(2.0 / COUNT));
    assert_near(f, "fourth moment", 0, fourth, 3, 5 * sqrt(96.0 / COUNT));
    assert_near(f, "correlation of neighbours", 0, neighbours, 0, 5 / sqrt(COUNT));
    assert_near(f, "share beyond 1.96", 0, (double)tail / COUNT, 0.05, 5 * sqrt(0.05 * 0.95 / COUNT));
    for (int64_t i = 2; i < N; i++)
        assert_true(z[i * WIDTH] != z[0] && z[i * WIDTH + 1] != z[1]);
    /* the numbers belong to places and to the seed */
    f->ops->add_noise(f->exec, other, level, 7, 1, WIDTH);
    assert_memory_equal(other, noisy, WIDTH * sizeof *other);
    memcpy(other, x, WIDTH * sizeof *other);
    f->ops->add_noise(f->exec, other, level, 8, 1, WIDTH);
    int same = 0;
    for (int64_t i = 0; i < WIDTH; i++)
        same += other[i] == noisy[i];
    assert_in_range(same, 0, 5);
    free(x);
    free(noisy);
    free(other);
    free(z);
}

static void noise_is_normal_and_belongs_to_its_place(void **state)
{
    (void)state;
    for_each_setting(check_noise);
}

/* ---- the most probable column ------------------------------------------------------------------------------------- */

static void check_best(fixture *f)
{
    enum { N = 40, WIDTH = 3000 };
    float *x = random_floats(f, N * WIDTH);
    int32_t best[N];
    for (int64_t i = 0; i < N; i++) {
        x[i * WIDTH + i * 70 + 7] = 100;
        if (i % 2)
            x[i * WIDTH + 2999] = 100; /* of equals the first */
    }
    x[0] = 200;
    f->ops->row_best(f->exec, best, x, N, WIDTH);
    for (int64_t i = 0; i < N; i++)
        assert_int_equal(best[i], i ? i * 70 + 7 : 0);
    free(x);
}

static void the_largest_column_is_found(void **state)
{
    (void)state;
    for_each_setting(check_best);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_written_weight_is_as_a_fresh_one),
    cmocka_unit_test(a_write_fails_cleanly),
    cmocka_unit_test(noise_is_normal_and_belongs_to_its_place),
    cmocka_unit_test(the_largest_column_is_found),
};
SUITE_MAIN(tests)
