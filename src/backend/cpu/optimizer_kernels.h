/*
 * backend/cpu/optimizer_kernels.h: the inner loops of the optimisers, in plain C, included once by each instruction
 * set's file: the compiler makes vectors of them. Without fused multiply-adds and with sums in fixed lanes, all levels
 * give the same bits. Square roots and quotients make these loops slow without wide vectors.
 */
#include <math.h>

#include "backend/cpu/kernels.h"

enum { LANES = 8 };

static double sum_lanes(const double *lanes)
{
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static double sum_squares(const float *x, int64_t count)
{
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += (double)x[i + k] * x[i + k];
    for (int k = 0; i + k < count; k++)
        lanes[k] += (double)x[i + k] * x[i + k];
    return sum_lanes(lanes);
}

static void adamw(float *restrict x, float *restrict m, float *restrict v, const float *restrict gradient,
                  int64_t count, const fam_cpu_adamw *a)
{
    const fam_cpu_adamw c = *a;
    for (int64_t i = 0; i < count; i++) {
        float g = c.scale * gradient[i];
        m[i] += c.fresh1 * (g - m[i]);
        v[i] = c.beta2 * v[i] + c.fresh2 * (g * g);
        x[i] = c.keep * x[i] - c.rate * (m[i] / (sqrtf(v[i]) * c.root_correction + c.epsilon));
    }
}

static void average_squares(float *restrict v, const float *restrict gradient, int64_t count,
                            const fam_cpu_adafactor *a)
{
    const fam_cpu_adafactor c = *a;
    for (int64_t i = 0; i < count; i++) {
        float g = c.scale * gradient[i];
        v[i] = c.beta2 * v[i] + c.fresh2 * (g * g + c.floor);
    }
}

static void add_squares(double *restrict sums, const float *restrict x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        sums[i] += (double)x[i] * x[i];
}

static double sum_quotients(const float *gradient, const float *v, int64_t count)
{
    double lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int k = 0; k < LANES; k++)
            lanes[k] += (double)gradient[i + k] * gradient[i + k] / v[i + k];
    for (int k = 0; i + k < count; k++)
        lanes[k] += (double)gradient[i + k] * gradient[i + k] / v[i + k];
    return sum_lanes(lanes);
}

static void adafactor(float *restrict x, float *restrict m, const float *restrict gradient, const float *restrict v,
                      int64_t count, float factor, const fam_cpu_adafactor *a)
{
    const fam_cpu_adafactor c = *a;
    for (int64_t i = 0; i < count; i++) {
        float update = factor * gradient[i] / sqrtf(v[i]);
        m[i] = c.beta1 * m[i] + c.fresh1 * update;
        x[i] = c.keep * x[i] - m[i];
    }
}

static const fam_cpu_optimizer_kernels optimizer_kernels = {sum_squares, adamw, average_squares, add_squares,
                                                            sum_quotients, adafactor};
