/*
 * tests/support/backward_fixture.h: what the tests of the CPU backend's backward operators share: every setting of
 * instruction set and arithmetic type, bit-equality over thread counts, comparison, finite differences.
 */
#ifndef TESTS_SUPPORT_BACKWARD_FIXTURE_H
#define TESTS_SUPPORT_BACKWARD_FIXTURE_H

#include "backend/cpu/cpu.h"
#include "suite.h"
#include "tensors.h"

enum { FIXTURE_ROWS_MAX = 2100 };

typedef struct fixture {
    fam_memory memory;
    fam_backend *backend;
    const fam_backend_ops *ops;
    fam_exec *exec;
    fam_random random;
    fam_dtype dtype;
    fam_cpu_isa isa;
    int threads;
    uint64_t digest; /* of all results */
} fixture;

static inline void open_fixture(fixture *f, fam_cpu_isa isa, fam_dtype dtype, int threads)
{
    fam_error error;
    fam_cpu_options options = {.threads = threads, .dtype = dtype, .isa = isa};
    memset(f, 0, sizeof *f);
    fam_memory_init(&f->memory);
    fam_random_seed(&f->random, 1);
    f->dtype = dtype;
    f->isa = isa;
    f->threads = threads;
    f->digest = 0xcbf29ce484222325u;
    assert_int_equal(fam_cpu_backend_create(&f->backend, &f->memory, &options, &error), FAM_OK);
    f->ops = f->backend->ops;
    assert_int_equal(f->ops->exec_create(f->backend, &f->exec, FIXTURE_ROWS_MAX, &error), FAM_OK);
}

static inline void close_fixture(fixture *f)
{
    assert_int_equal(f->ops->finish(f->exec, NULL), FAM_OK);
    f->ops->exec_free(f->exec);
    f->ops->free_backend(f->backend);
    assert_int_equal(f->memory.bytes, 0);
}

/* Every level and type, with one thread, two and three: the results must be the same bits. */
static inline void for_each_setting(void (*check)(fixture *f))
{
    for (int isa = 0; isa <= (int)fam_cpu_best_isa(); isa++) {
        for (int dtype = FAM_DTYPE_F32; dtype <= FAM_DTYPE_BF16; dtype++) {
            uint64_t first = 0;
            for (int threads = 1; threads <= 3; threads++) {
                fixture f;
                open_fixture(&f, (fam_cpu_isa)isa, (fam_dtype)dtype, threads);
                check(&f);
                if (threads == 1)
                    first = f.digest;
                if (f.digest != first)
                    fail_msg("%s: found other bits with %d threads than with one", fam_cpu_isa_name(f.isa), threads);
                close_fixture(&f);
            }
        }
    }
}

static inline void take_digest(fixture *f, const float *x, int64_t count)
{
    for (int64_t i = 0; x && i < count; i++)
        f->digest = (f->digest ^ fam_bits_from_float(x[i])) * 0x100000001b3u;
}

static inline void assert_near(const fixture *f, const char *what, int64_t at, double found, double need,
                               double tolerance)
{
    if (!(fabs(found - need) <= tolerance))
        fail_msg("%s %s, %d threads: %s[%lld]: found %.9g, need %.9g within %.3g", fam_cpu_isa_name(f->isa),
                 f->dtype == FAM_DTYPE_BF16 ? "bf16" : "f32", f->threads, what, (long long)at, found, need, tolerance);
}

/* found [count] (NULL: not asked for) must be before + need within `relative` of the largest of need and before,
 * or of `largest`, what they are differences of. */
static inline void assert_all_near(fixture *f, const char *what, const float *found, const float *before,
                                   const double *need, int64_t count, double relative, double largest)
{
    largest = fmax(largest, 1e-30);
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(need[i]) + (before ? fabs(before[i]) : 0));
    for (int64_t i = 0; found && i < count; i++)
        assert_near(f, what, i, found[i], need[i] + (before ? before[i] : 0), relative * largest);
    take_digest(f, found, count);
}

static inline float *random_floats(fixture *f, int64_t count)
{
    float *x = malloc((size_t)count * sizeof *x + 1);
    for (int64_t i = 0; i < count; i++)
        x[i] = tensor_value(&f->random);
    return x;
}

static inline float *copy_floats(const float *x, int64_t count)
{
    float *copy = malloc((size_t)count * sizeof *copy + 1);
    memcpy(copy, x, (size_t)count * sizeof *copy);
    return copy;
}

static inline double *as_doubles(const float *x, int64_t count)
{
    double *out = malloc((size_t)count * sizeof *out + 1);
    for (int64_t i = 0; i < count; i++)
        out[i] = x[i];
    return out;
}

/* Central differences of a loss in double with respect to x [count], which the loss reads through `context`. */
static inline double *differences(double (*loss)(const void *context), const void *context, double *x, int64_t count)
{
    const double step = 1e-4;
    double *out = malloc((size_t)count * sizeof *out + 1);
    for (int64_t i = 0; i < count; i++) {
        double value = x[i];
        x[i] = value + step;
        double above = loss(context);
        x[i] = value - step;
        out[i] = (above - loss(context)) / (2 * step);
        x[i] = value;
    }
    return out;
}

#endif
