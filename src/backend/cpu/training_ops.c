/*
 * backend/cpu/training_ops.c: operators that only training uses: noise on rows, and the most probable column.
 */
#include <math.h>

#include "backend/cpu/internal.h"
#include "base/random.h"

/* ---- noise -------------------------------------------------------------------------------------------------------- */

typedef struct noise_arguments {
    const fam_cpu_kernels *kernels;
    float *x;
    double level;
    uint64_t seed;
    int64_t width;
} noise_arguments;

/* Numbers 2 pair and 2 pair + 1 of the stream: Box and Muller's transformation of two uniform ones. */
static void normal_pair(float out[2], uint64_t seed, int64_t pair)
{
    const double pi = 3.14159265358979323846;
    uint64_t counter = seed + (uint64_t)pair * 0x9e3779b97f4a7c15u, bits;
    bits = fam_splitmix64(&counter);
    float uniform = (float)(((double)(bits >> 32) + 0.5) * 0x1p-32); /* in (0, 1] */
    float radius = sqrtf(-2 * logf(uniform)), angle = (float)(2 * pi * ((double)(bits & UINT32_MAX) * 0x1p-32));
    out[0] = radius * cosf(angle);
    out[1] = radius * sinf(angle);
}

static void noise_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const noise_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        float *row = a->x + i * a->width, pair[2];
        float scale = (float)(a->level * sqrt(a->kernels->mean_square(row, a->width) + 1e-12));
        for (int64_t c = 0; c < a->width; c++) {
            int64_t at = i * a->width + c;
            if (c == 0 || at % 2 == 0)
                normal_pair(pair, a->seed, at / 2);
            row[c] += scale * pair[at % 2];
        }
    }
}

void fam_cpu_add_noise(fam_exec *exec, float *x, double level, uint64_t seed, int64_t n, int64_t width)
{
    /* The seed itself goes through the mixer, so that streams of neighbouring seeds share nothing. */
    noise_arguments a = {fam_cpu_exec_of(exec)->kernels, x, level, fam_splitmix64(&seed), width};
    fam_cpu_for_rows(exec, noise_rows, &a, n, width);
}

/* ---- the most probable column ------------------------------------------------------------------------------------- */

typedef struct best_arguments {
    int32_t *best;
    const float *x;
    int64_t width;
} best_arguments;

enum { BEST_LANES = 16, BEST_PIECE = 64 * BEST_LANES };

/* Whether one of BEST_PIECE numbers is larger than `top`; the compiler makes vectors of it. */
static bool has_larger(const float *x, float top)
{
    float lanes[BEST_LANES];
    for (int k = 0; k < BEST_LANES; k++)
        lanes[k] = top;
    for (int i = 0; i < BEST_PIECE; i += BEST_LANES)
        for (int k = 0; k < BEST_LANES; k++)
            lanes[k] = x[i + k] > lanes[k] ? x[i + k] : lanes[k];
    for (int k = 0; k < BEST_LANES; k++)
        if (lanes[k] > top)
            return true;
    return false;
}

static void best_rows(void *context, int64_t begin, int64_t end, int thread)
{
    const best_arguments *a = context;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        const float *row = a->x + i * a->width;
        int64_t best = 0;
        for (int64_t at = 0; at < a->width; at += BEST_PIECE) {
            int64_t to = a->width - at < BEST_PIECE ? a->width : at + BEST_PIECE;
            if (to - at == BEST_PIECE && !has_larger(row + at, row[best]))
                continue;
            for (int64_t c = at; c < to; c++)
                if (row[c] > row[best])
                    best = c;
        }
        a->best[i] = (int32_t)best;
    }
}

void fam_cpu_row_best(fam_exec *exec, int32_t *best, const float *x, int64_t n, int64_t width)
{
    best_arguments a = {best, x, width};
    fam_cpu_for_rows(exec, best_rows, &a, n, width);
}
